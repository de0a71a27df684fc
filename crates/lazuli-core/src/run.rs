//! Running claimed nodes: calls of compiled functions by their own plans, everything between them as one graph each, with
//! simplification and fusion off.
//!
//! A node that somebody outside holds gets its value; the others are forgotten. What only a plan itself still reads is given to it to overwrite
//! (donated): the last handle of the array, and of its memory, is in a record that goes when the plan is done.

use crate::array::{Array, Call, Node, Op, Record, State, Value};
use crate::backend;
use crate::eval::{Claimed, Task};
use crate::interrupt;
use crate::program::Program;
use crate::provisional::Provisional;
use crate::updates::{self, Updates};
use lazuli_compile::{Compiled, Options, OutputInfo, OutputSource};
use lazuli_ir::{Atom, Aval, Equation, Error, ErrorKind, Graph, Result, Var};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Buffer, Event, Executable, Layout, Mode, Run, Stream, small};
use smallvec::{SmallVec, smallvec};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// A plan that takes longer is left to the stream's thread if the user may interrupt: the caller can then wait and ask.
const LONG: Duration = Duration::from_millis(20);

/// A plan that takes no longer is run under a front end's lock: to give that up and take it again, others may have it for much longer.
const QUICK: Duration = Duration::from_micros(10);

/// Memory of so many bytes takes no longer to find than to ask whether some is given up.
const SCALAR: usize = 16;

/// A graph made ready for inputs that lie in memory in one way.
#[derive(Debug)]
pub(crate) struct Ready {
    layouts: Layouts,
    executable: Arc<dyn Executable>,
    outputs: Arc<[OutputInfo]>,
    /// Whether these are the plan's outputs, one after the other.
    is_in_order: bool,
    /// Whether a run does more than give results.
    has_effects: bool,
    /// About how long a run takes, if that is known.
    cost: Option<Duration>,
    /// Of a plan that a better one takes the place of if it is run for long.
    provisional: Option<Provisional>,
    /// Whether the plan can overwrite anything that is given up, and has results for which that is worth asking.
    takes: bool,
}

/// How inputs lie in memory: as those of what was made ready first of a program, but for some.
#[derive(Debug)]
struct Layouts {
    first: Arc<[Layout]>,
    other: Box<[(u32, Layout)]>,
}

impl Layouts {
    fn new(layouts: &[&Layout], like: Option<&Layouts>) -> Layouts {
        let Some(Layouts { first, .. }) = like.filter(|like| like.first.len() == layouts.len()) else {
            return Layouts { first: layouts.iter().copied().cloned().collect(), other: [].into() };
        };
        let other = (0..).zip(layouts).zip(&**first).filter(|((_, layout), first)| *layout != first);
        let other = other.map(|((n, layout), _)| (n, (*layout).clone()));
        Layouts { first: first.clone(), other: other.collect() }
    }
    /// Whether they are these.
    #[inline]
    fn are<'a>(&self, layouts: impl ExactSizeIterator<Item = &'a Layout>) -> bool {
        let mut other = self.other.iter();
        let mut is_own = |(n, (layout, first)): (u32, (&Layout, &Layout))| {
            layout == first || other.next().is_some_and(|(of, own)| *of == n && layout == own)
        };
        layouts.len() <= self.first.len()
            && (0..).zip(layouts.zip(&*self.first)).all(&mut is_own)
            && other.next().is_none()
    }
}

impl Ready {
    /// `like`: the same graph for other inputs, made ready before.
    pub fn new(
        executable: Arc<dyn Executable>,
        outputs: Arc<[OutputInfo]>,
        layouts: &[&Layout],
        like: Option<&Ready>,
    ) -> Ready {
        let is_output = |(n, info): (usize, &OutputInfo)| info.source == OutputSource::Output(n);
        let is_in_order = outputs.iter().enumerate().all(is_output);
        let layouts = Layouts::new(layouts, like.map(|like| &like.layouts));
        let (cost, signature) = (executable.cost(), executable.signature());
        let takes = !signature.donations.is_empty() && signature.outputs.iter().any(|&nbytes| nbytes > SCALAR);
        let has_effects = signature.has_effects;
        Ready { layouts, executable, outputs, is_in_order, has_effects, cost, provisional: None, takes }
    }
    /// The same, until a better one takes its place.
    pub fn provisional(self, since: Provisional) -> Ready {
        Ready { provisional: Some(since), ..self }
    }
    /// Since when it is, if it is so.
    pub fn provisional_since(&self) -> Option<Provisional> {
        self.provisional
    }
    /// What runs.
    pub fn executable(&self) -> &Arc<dyn Executable> {
        &self.executable
    }
    /// Whether the plan is for arguments that lie like these. A constant lies as it does.
    pub fn fits(&self, arguments: &[&Value]) -> bool {
        self.layouts.are(arguments.iter().map(|v| &v.layout))
    }
    /// About how long a run takes, as far as that is known.
    pub fn cost(&self) -> Duration {
        self.cost.unwrap_or_default()
    }
    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.executable.signature().steps
    }
    /// The bytes that a run takes besides its inputs, if it overwrites none.
    pub fn memory(&self) -> usize {
        self.executable.signature().outputs.iter().sum::<usize>() + self.executable.workspace()
    }
    /// Whether a run takes next to no time and waits for nobody, as effects may.
    fn is_quick(&self) -> bool {
        self.cost.is_some_and(|cost| cost <= QUICK) && !self.has_effects
    }
    /// The results of a run, which are taken out of it.
    #[inline]
    fn values(&self, Run { outputs, event }: &mut Run, inputs: &[&Value]) -> SmallVec<[Value; 1]> {
        // Most have one result.
        if let (true, [info]) = (self.is_in_order, &*self.outputs)
            && let Some(buffer) = outputs.pop()
        {
            return smallvec![Value { buffer, layout: info.layout.clone(), event: std::mem::take(event) }];
        }
        self.all_values(outputs, event, inputs)
    }
    #[inline(never)]
    fn all_values(
        &self,
        outputs: &mut SmallVec<[Buffer; 2]>,
        event: &Event,
        inputs: &[&Value],
    ) -> SmallVec<[Value; 1]> {
        let mut values = SmallVec::with_capacity(self.outputs.len());
        if self.is_in_order {
            for (buffer, info) in outputs.drain(..).zip(&*self.outputs) {
                values.push(Value { buffer, layout: info.layout.clone(), event: event.clone() });
            }
            return values;
        }
        for info in &*self.outputs {
            let layout = info.layout.clone();
            values.push(match info.source {
                OutputSource::Input(i) => Value { layout, ..inputs[i].clone() },
                OutputSource::Output(i) => Value { buffer: outputs[i].clone(), layout, event: event.clone() },
            });
        }
        values
    }
}

/// Runs what was claimed, and lets go of it bit by bit.
pub(crate) fn run(claimed: &mut Claimed, mode: Mode) -> Result<()> {
    while let Some(first) = claimed.tasks.front() {
        let n = match &first.record.op {
            Op::Program(program) => {
                run_program(&first.node, &first.record, program, mode)?;
                1
            }
            _ => {
                let tasks: &[Task] = claimed.tasks.make_contiguous();
                let n = tasks.iter().take_while(|t| !matches!(t.record.op, Op::Program(_))).count();
                run_equations(&tasks[..n], mode)?;
                n
            }
        };
        claimed.release(n);
        if !claimed.tasks.is_empty() {
            interrupt::poll()?;
        }
    }
    Ok(())
}

fn missing() -> Error {
    Error::internal("eval", "an input was not run before its use")
}

/// Runs the call of a compiled function: a node that is claimed and its record. If there is no memory for it, state that it has updated is put back.
fn run_program(node: &Node, record: &Arc<Record>, program: &Program, mode: Mode) -> Result<()> {
    let run = || {
        let Record { inputs, .. } = &**record;
        let mut values = input_values(inputs, program)?;
        let ready = program.ready(&values)?;
        let call = Calling { node, program, inputs, is_last: has_own_record(node, record) };
        call.run(&ready, &mut values, mode, |run, values| node.finish(|| ready.values(run, values)))
    };
    run().inspect_err(|e| {
        if let Some(values) = undone(node, &record.inputs, program, e) {
            node.finish(|| values);
        }
    })
}

/// Runs the node that an array is of under the lock of its state, if it is a call of a compiled function whose inputs are there, nobody runs it, and the plan
/// for it is there, takes next to no time and has no effects, which may wait for others; whether it was run.
#[inline]
pub(crate) fn run_if_quick(array: &Array, mode: Mode) -> Result<bool> {
    let node = &*array.node;
    let state = node.state();
    let result = run_locked(node, &state, mode);
    if node.values().is_some() {
        node.settle(state);
    }
    result
}

fn run_locked(node: &Node, state: &State, mode: Mode) -> Result<bool> {
    let State::Call(Call { program, inputs }) = state else { return Ok(false) };
    let Ok(mut values) = input_values(inputs, program) else { return Ok(false) };
    let Some(ready) = program.first_ready(&values, |ready| ready.is_quick()) else { return Ok(false) };
    let call = Calling { node, program, inputs, is_last: true };
    let finish = |run: &mut Run, values: &[&Value]| node.set_values(state, || ready.values(run, values));
    match call.run(ready, &mut values, mode, finish) {
        Ok(()) => Ok(true),
        Err(error) => {
            if let Some(values) = undone(node, inputs, program, &error) {
                node.set_values(state, || values);
            }
            Err(error)
        }
    }
}

/// The results of a call for which there is no memory: the state that it has updated, as it was before.
#[cold]
fn undone(node: &Node, inputs: &[Array], program: &Program, error: &Error) -> Option<SmallVec<[Value; 1]>> {
    let is_of_it = error.kind() == ErrorKind::Memory && !node.traced;
    is_of_it.then(|| program.updates().undone(node, inputs, error))?
}

/// The values of a call's arguments, with room for those of the constants.
#[inline]
fn input_values<'a>(inputs: &'a [Array], program: &Program) -> Result<Values<'a>> {
    let mut values = Values::with_capacity(inputs.len() + program.constants().len());
    for input in inputs {
        values.push(input.value().ok_or_else(missing)?);
    }
    Ok(values)
}

/// A call of a compiled function that is being run.
struct Calling<'a> {
    node: &'a Node,
    program: &'a Program,
    inputs: &'a [Array],
    /// Whether these handles on its inputs go with the run: no trace can reach them, and nobody is reading them.
    is_last: bool,
}

impl<'a> Calling<'a> {
    /// Runs it by its plan, on the values of its arguments. `finish` is given what came of it.
    #[inline]
    fn run(
        &self,
        ready: &Ready,
        values: &mut Values<'a>,
        mode: Mode,
        finish: impl FnOnce(&mut Run, &[&Value]),
    ) -> Result<()> {
        let &Calling { program, inputs, is_last, .. } = self;
        let mut donate = SmallVec::new();
        if ready.takes && is_last {
            add_given_up(inputs, &mut donate);
        }
        for constant in program.constants() {
            values.push(match constant.value() {
                Some(value) => value,
                None => constant.force()?,
            });
        }
        let values = &values[..];
        execute(ready, values, &donate, mode, |run| finish(run, values)).map_err(|e| self.explain(e, ready))
    }
    #[cold]
    fn explain(&self, error: Error, ready: &Ready) -> Error {
        let updates = if self.node.traced { &Updates::Nothing } else { self.program.updates() };
        updates::explain(error, &format!("the call of '{}'", self.program.name()), ready, updates)
    }
}

/// Tells which of a node's inputs nobody but that can read.
#[inline]
fn add_given_up(inputs: &[Array], donate: &mut SmallVec<[bool; 8]>) {
    // Most arrays of one node, such as the state that a step gives, follow one another.
    let mut latest: Option<(&Arc<Node>, bool)> = None;
    for array in inputs {
        let node = &array.node;
        let only = latest.filter(|(latest, _)| Arc::ptr_eq(latest, node)).map(|(_, only)| only);
        let only = only.unwrap_or_else(|| {
            let uses = inputs.iter().filter(|b| Arc::ptr_eq(node, &b.node)).count();
            has_all_handles(node, uses)
        });
        latest = Some((node, only));
        donate.push(only && has_own_memory(array));
    }
}

/// Of the inputs of a plan.
type Values<'a> = SmallVec<[&'a Value; 8]>;

/// Whether the record of a claimed node goes with it: no trace can reach it, and nobody is reading it.
fn has_own_record(node: &Node, record: &Arc<Record>) -> bool {
    // One handle is the caller's, one the node's.
    !node.traced && Arc::strong_count(record) == 2
}

/// Whether `uses` handles are all there are of a node. As they are those of records that only the caller has, nobody can make another.
fn has_all_handles(node: &Arc<Node>, uses: usize) -> bool {
    let only = Arc::strong_count(node) == uses;
    // What other threads did with handles that are gone happened before.
    fence(Ordering::Acquire);
    only
}

/// Whether an array's memory is nobody else's: no view, no export, no queued plan has it.
fn has_own_memory(array: &Array) -> bool {
    array.value().is_some_and(|v| v.buffer.is_unique())
}

/// Runs tasks as one graph, with neither simplification nor fusion.
fn run_equations(tasks: &[Task], mode: Mode) -> Result<()> {
    let held = held(tasks);
    let mut recorder = Recorder::default();
    // Where a value is needed outside: its node and how many outputs it has.
    for (task, held) in tasks.iter().zip(&held) {
        recorder.task(task)?;
        if *held {
            recorder.wanted(task);
        }
    }
    let Recorder { graph, leaves, layouts, .. } = recorder;
    let ready = ready(graph, layouts)?;
    let donate = if ready.takes { donations(tasks, &leaves) } else { SmallVec::new() };
    let inputs: Values<'_> = small(leaves.iter().map(|l| l.value));
    let finish = |run: &mut Run| {
        let mut values = ready.values(run, &inputs).into_iter();
        for (task, _) in tasks.iter().zip(&held).filter(|(_, held)| **held) {
            task.node.finish(|| values.by_ref().take(task.node.avals.len()).collect());
        }
    };
    let result = execute(&ready, &inputs, &donate, mode, finish);
    result.map_err(|e| updates::explain(e, &names(tasks), &ready, &Updates::Nothing))
}

/// What some tasks are, for messages: the last ones are nearest to what was asked for.
fn names(tasks: &[Task]) -> String {
    let name = |task: &Task| match &task.record.op {
        Op::Prim(prim) => Some(format!("{} to {}", prim.name(), task.node.avals.first()?)),
        _ => None,
    };
    let mut last = tasks.iter().rev().filter_map(name);
    let text = last.next().unwrap_or_default();
    match last.count() {
        0 => text,
        n => format!("{text}, with {n} operations before it,"),
    }
}

/// An input of a graph that is being built, and the array it is the value of.
struct Leaf<'a> {
    value: &'a Value,
    /// None for one whose extents alone are read.
    array: Option<&'a Array>,
}

/// Builds the graph of some tasks.
#[derive(Default)]
struct Recorder<'a> {
    graph: Graph,
    leaves: Vec<Leaf<'a>>,
    layouts: Vec<Layout>,
    known: Map<(*const Node, u32), Atom>,
}

impl<'a> Recorder<'a> {
    fn fresh(&mut self, aval: &Aval) -> Var {
        self.graph.avals.push(aval.clone());
        Var(self.graph.avals.len() as u32 - 1)
    }
    fn leaf(&mut self, aval: &Aval, leaf: Leaf<'a>, layout: Layout) -> Var {
        let v = self.fresh(aval);
        self.graph.inputs.push(v);
        self.leaves.push(leaf);
        self.layouts.push(layout);
        v
    }
    fn atom(&mut self, a: &'a Array) -> Result<Atom> {
        let key = (Arc::as_ptr(&a.node), a.index);
        if let Some(&atom) = self.known.get(&key) {
            return Ok(atom);
        }
        let value = a.value().ok_or_else(missing)?;
        let v = self.leaf(a.aval(), Leaf { value, array: Some(a) }, value.layout.clone());
        self.known.insert(key, v.into());
        Ok(v.into())
    }
    fn task(&mut self, task: &'a Task) -> Result<()> {
        let inputs = task.record.inputs.iter().map(|a| self.atom(a)).collect::<Result<SmallVec<[Atom; 3]>>>()?;
        let key = Arc::as_ptr(&task.node);
        match &task.record.op {
            Op::Literal(s) => {
                self.known.insert((key, 0), Atom::Lit(*s));
            }
            Op::Alias => {
                self.known.insert((key, 0), inputs[0]);
            }
            Op::Prim(prim) => {
                // Extents need no data: an empty buffer stands in for what has not been run.
                let stand_in = |a: &Array| (Leaf { value: Value::empty(), array: None }, Layout::row(a.shape()));
                let shapes = task.record.shapes.iter().map(|a| {
                    let (leaf, layout) = stand_in(a);
                    self.leaf(a.aval(), leaf, layout)
                });
                let shapes = shapes.collect();
                let outputs: SmallVec<[Var; 1]> = task.node.avals.iter().map(|a| self.fresh(a)).collect();
                for (k, &v) in outputs.iter().enumerate() {
                    self.known.insert((key, k as u32), v.into());
                }
                let equation = Equation { prim: prim.clone(), inputs, shapes, outputs, meta: task.node.meta };
                self.graph.equations.push(equation);
            }
            Op::Program(_) => unreachable!("programs run by themselves"),
        }
        Ok(())
    }
    fn wanted(&mut self, task: &Task) {
        let key = Arc::as_ptr(&task.node);
        self.graph.outputs.extend((0..task.node.avals.len() as u32).map(|k| self.known[&(key, k)]));
    }
}

impl Value {
    /// That of an argument whose data is not read.
    pub(crate) fn empty() -> &'static Value {
        static EMPTY: OnceLock<Value> = OnceLock::new();
        EMPTY.get_or_init(|| {
            let buffer = backend::default().upload(&[]).expect("an empty buffer takes no memory");
            Value { buffer, layout: Layout::row(&[0][..]), event: Event::done() }
        })
    }
}

/// What ran before, by the graph; for each, by the layouts of its inputs.
type Known = Map<Graph, Vec<Arc<Ready>>>;

/// Graphs of more equations than this are not worth remembering: lowering them is small beside building them.
const REMEMBERED_EQUATIONS: usize = 64;
/// How many graphs are remembered, and for how many layouts each.
const REMEMBERED_GRAPHS: usize = 4096;
const REMEMBERED_LAYOUTS: usize = 16;

/// The graph made ready, from memory if the same one ran before: programs evaluate the same few operations again and again.
fn ready(graph: Graph, layouts: Vec<Layout>) -> Result<Arc<Ready>> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let make = |graph: &Graph| {
        let Compiled { mut plan, outputs, .. } = lazuli_compile::compile(graph, &layouts, &Options::EVAL)?;
        let executable = backend::default().prepare(&mut plan)?;
        let layouts: Vec<&Layout> = layouts.iter().collect();
        Ok(Arc::new(Ready::new(executable, outputs, &layouts, None)))
    };
    if graph.equations.len() > REMEMBERED_EQUATIONS {
        return make(&graph);
    }
    let known = || KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let found = known()
        .get_or_insert_default()
        .get(&graph)
        .and_then(|all| all.iter().find(|ready| ready.layouts.are(layouts.iter())).cloned());
    if let Some(ready) = found {
        return Ok(ready);
    }
    let ready = make(&graph)?;
    let mut known = known();
    let known = known.get_or_insert_default();
    if known.len() >= REMEMBERED_GRAPHS {
        known.clear();
    }
    let all = known.entry(graph).or_default();
    all.insert(0, ready.clone());
    all.truncate(REMEMBERED_LAYOUTS);
    Ok(ready)
}

/// Which tasks have a handle outside of these tasks.
fn held(tasks: &[Task]) -> SmallVec<[bool; 8]> {
    if let [task] = tasks {
        return std::iter::once(Arc::strong_count(&task.node) > 1).collect();
    }
    let place: Map<*const Node, usize> = tasks.iter().enumerate().map(|(i, t)| (Arc::as_ptr(&t.node), i)).collect();
    // One handle is the task's own.
    let mut inside = vec![1usize; tasks.len()];
    for a in tasks.iter().flat_map(|t| t.record.inputs.iter().chain(&t.record.shapes)) {
        if let Some(&i) = place.get(&Arc::as_ptr(&a.node)) {
            inside[i] += 1;
        }
    }
    tasks.iter().zip(inside).map(|(t, n)| Arc::strong_count(&t.node) > n).collect()
}

/// Which leaves nobody but these tasks can read.
fn donations(tasks: &[Task], leaves: &[Leaf]) -> SmallVec<[bool; 8]> {
    let mut uses: Map<*const Node, usize> = Map::default();
    for task in tasks.iter().filter(|t| has_own_record(&t.node, &t.record)) {
        for a in task.record.inputs.iter().chain(&task.record.shapes) {
            *uses.entry(Arc::as_ptr(&a.node)).or_default() += 1;
        }
    }
    let uses = |a: &Array| uses.get(&Arc::as_ptr(&a.node)).copied().unwrap_or(0);
    let is_given_up = |a: &Array| has_all_handles(&a.node, uses(a)) && has_own_memory(a);
    leaves.iter().map(|leaf| leaf.array.is_some_and(is_given_up)).collect()
}

/// Runs a plan on values. `finish` is given what came of it, where it lies: to move that takes longer than a small kernel.
#[inline]
fn execute(ready: &Ready, inputs: &[&Value], donate: &[bool], mode: Mode, finish: impl FnOnce(&mut Run)) -> Result<()> {
    let mut buffers: SmallVec<[&Buffer; 8]> = SmallVec::with_capacity(inputs.len());
    let mut after: SmallVec<[Event; 2]> = SmallVec::new();
    for value in inputs {
        buffers.push(&value.buffer);
        match value.event.poll() {
            Some(result) => result?,
            None => after.push(value.event.clone()),
        }
    }
    let watched = ready.cost.is_some_and(|cost| cost > LONG) && mode == Mode::Wait && interrupt::is_watched();
    let how = if watched { Mode::Background } else { mode };
    let mut run = backend::default().enqueue(Stream::default(), &ready.executable, &buffers, donate, &after, how);
    let run = match &mut run {
        Ok(run) => run,
        Err(e) => return Err(e.clone()),
    };
    // What overwrites its inputs is beyond recall: it is finished, and its results, or its error, are those of the arrays from here on.
    let is_final = donate.contains(&true);
    if watched && is_final {
        while run.event.wait_for(Duration::from_millis(50)).is_none() {
            let _ = interrupt::poll();
        }
    } else if watched || ready.has_effects {
        // Effects have happened when this returns.
        interrupt::wait(&run.event).inspect_err(|_| run.event.cancel())?;
    } else if !is_final && let Some(result) = run.event.poll() {
        result?;
    }
    finish(run);
    Ok(())
}
