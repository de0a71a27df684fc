//! Running what has been recorded.
//!
//! `eval` collects the cut of nodes that its arrays need and that no one has run, claims them all under one lock, so that each
//! node is run once, and sends them down the road that `compile` takes too, with simplification and fusion off. A node of the
//! cut that somebody outside holds gets its value; the others are forgotten.

use crate::array::{Array, Node, Op, Record, State, Value};
use crate::backend;
use crate::program::Program;
use lazuli_compile::{Options, OutputSource};
use lazuli_ir::{Atom, Equation, Error, Graph, Result, Var};
use lazuli_kernel::{Buffer, Event, Layout, Mode, Stream};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

/// Computes the arrays and returns when their values are there.
///
/// # Errors
/// If one of them is, or depends on, an input of a trace; or if memory runs out. Nothing is changed then.
pub fn eval(arrays: &[Array]) -> Result<()> {
    start(arrays, Mode::Wait)?;
    for array in arrays {
        if let Some(value) = array.value() {
            value.event.wait()?;
        }
    }
    Ok(())
}

/// Starts computing the arrays and returns at once.
pub fn async_eval(arrays: &[Array]) -> Result<()> {
    start(arrays, Mode::Background)
}

/// Marks nodes that a thread is running, for other threads to wait on.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    over: Mutex<bool>,
    bell: Condvar,
}

impl Claim {
    fn wait(&self) {
        let mut over = self.over.lock().unwrap_or_else(|e| e.into_inner());
        while !*over {
            over = self.bell.wait(over).unwrap_or_else(|e| e.into_inner());
        }
    }
    fn finish(&self) {
        *self.over.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.bell.notify_all();
    }
}

/// A node of the cut and what it computes.
struct Task {
    node: Arc<Node>,
    record: Arc<Record>,
}

/// Held while nodes are claimed, never while they are run.
fn claims() -> MutexGuard<'static, ()> {
    static CLAIMS: Mutex<()> = Mutex::new(());
    CLAIMS.lock().unwrap_or_else(|e| e.into_inner())
}

fn start(arrays: &[Array], mode: Mode) -> Result<()> {
    loop {
        let lock = claims();
        match collect(arrays)? {
            Cut::Busy(claim) => {
                drop(lock);
                claim.wait();
            }
            Cut::Tasks(tasks) if tasks.is_empty() => return Ok(()),
            Cut::Tasks(tasks) => {
                let claim = Arc::new(Claim::default());
                for task in &tasks {
                    *task.node.state() = State::Running(task.record.clone(), claim.clone());
                }
                drop(lock);
                // Puts back what was not run, on errors and panics too, and wakes those who wait.
                let guard = Guard { tasks, claim };
                return run(&guard.tasks, mode);
            }
        }
    }
}

struct Guard {
    tasks: Vec<Task>,
    claim: Arc<Claim>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        for task in &self.tasks {
            let mut state = task.node.state();
            if matches!(&*state, State::Running(_, claim) if Arc::ptr_eq(claim, &self.claim)) {
                *state = State::Pending(task.record.clone());
            }
        }
        self.claim.finish();
    }
}

enum Cut {
    /// In an order in which they can run.
    Tasks(Vec<Task>),
    /// Some node is being run by another thread.
    Busy(Arc<Claim>),
}

/// What has to be run for these arrays: a depth-first walk without recursion.
fn collect(arrays: &[Array]) -> Result<Cut> {
    enum Visit {
        Enter(Arc<Node>),
        Leave(Arc<Node>, Arc<Record>),
    }
    let mut seen: HashMap<*const Node, ()> = HashMap::new();
    let mut tasks = Vec::new();
    let mut stack: Vec<Visit> = arrays.iter().rev().map(|a| Visit::Enter(a.node.clone())).collect();
    while let Some(visit) = stack.pop() {
        let node = match visit {
            Visit::Leave(node, record) => {
                tasks.push(Task { node, record });
                continue;
            }
            Visit::Enter(node) => node,
        };
        let record = match &*node.state() {
            State::Done { .. } => continue,
            State::Hole(hole) => return Err(hole.error()),
            State::Running(_, claim) => return Ok(Cut::Busy(claim.clone())),
            State::Pending(record) => record.clone(),
        };
        if seen.insert(Arc::as_ptr(&node), ()).is_some() {
            continue;
        }
        let inputs: SmallVec<[Arc<Node>; 4]> = record.inputs.iter().rev().map(|a| a.node.clone()).collect();
        stack.push(Visit::Leave(node, record));
        stack.extend(inputs.into_iter().map(Visit::Enter));
    }
    Ok(Cut::Tasks(tasks))
}

/// Runs claimed tasks: calls of compiled functions by their own plans, everything between them as one graph each.
fn run(tasks: &[Task], mode: Mode) -> Result<()> {
    let mut first = 0;
    while first < tasks.len() {
        let plain = tasks[first..].iter().take_while(|t| !matches!(t.record.op, Op::Program(_))).count();
        if plain > 0 {
            run_equations(tasks, first, first + plain, mode)?;
        }
        first += plain;
        if first < tasks.len() {
            run_program(tasks, first, mode)?;
            first += 1;
        }
    }
    Ok(())
}

/// Runs tasks `from..to` as one graph, with neither simplification nor fusion.
fn run_equations(tasks: &[Task], from: usize, to: usize, mode: Mode) -> Result<()> {
    let held = held(tasks, from, to);
    let mut graph = Graph::default();
    let mut leaves: Vec<Value> = Vec::new();
    let mut known: HashMap<(*const Node, u32), Atom> = HashMap::new();
    // Where a value is needed outside: its node, its output, the graph's output.
    let mut wanted: Vec<(usize, u32)> = Vec::new();
    for (i, task) in tasks.iter().enumerate().take(to).skip(from) {
        let mut atom = |graph: &mut Graph, a: &Array| -> Result<Atom> {
            let key = (Arc::as_ptr(&a.node), a.index);
            if let Some(&atom) = known.get(&key) {
                return Ok(atom);
            }
            let value = a.value().ok_or_else(|| Error::internal("eval", "an input was not run before its use"))?;
            let v = fresh(graph, a.aval().clone());
            graph.inputs.push(v);
            leaves.push(value);
            known.insert(key, v.into());
            Ok(v.into())
        };
        let inputs = task.record.inputs.iter().map(|a| atom(&mut graph, a)).collect::<Result<SmallVec<[Atom; 3]>>>()?;
        let key = Arc::as_ptr(&task.node);
        match &task.record.op {
            Op::Literal(s) => {
                known.insert((key, 0), Atom::Lit(*s));
            }
            Op::Alias => {
                known.insert((key, 0), inputs[0]);
            }
            Op::Prim(prim) => {
                // Extents need no data: an empty buffer stands in for what has not been run.
                let shapes = task.record.shapes.iter().map(|a| {
                    let v = fresh(&mut graph, a.aval().clone());
                    graph.inputs.push(v);
                    leaves.push(Value {
                        buffer: backend::empty(),
                        layout: Layout::row(a.shape()),
                        event: Event::done(),
                    });
                    v
                });
                let shapes = shapes.collect();
                let outputs: SmallVec<[Var; 1]> =
                    task.node.avals.iter().map(|a| fresh(&mut graph, a.clone())).collect();
                for (k, &v) in outputs.iter().enumerate() {
                    known.insert((key, k as u32), v.into());
                }
                graph.equations.push(Equation { prim: prim.clone(), inputs, shapes, outputs, meta: task.node.meta });
            }
            Op::Program(_) => unreachable!("programs run by themselves"),
        }
        if held[i - from] {
            wanted.extend((0..task.node.avals.len() as u32).map(|k| (i, k)));
        }
    }
    graph.outputs = wanted.iter().map(|&(i, k)| known[&(Arc::as_ptr(&tasks[i].node), k)]).collect();
    let layouts: Vec<Layout> = leaves.iter().map(|v| v.layout.clone()).collect();
    let ready = ready(graph, layouts)?;
    let values = execute(&ready.0, &ready.1, leaves, &[], mode)?;
    let mut values = values.into_iter();
    for (i, task) in tasks.iter().enumerate().take(to).skip(from) {
        if held[i - from] {
            finish(task, values.by_ref().take(task.node.avals.len()).collect());
        }
    }
    Ok(())
}

/// What ran before, by graph and layouts of its inputs.
type Known = HashMap<(Graph, Vec<Layout>), Ready>;
/// An executable, and where its outputs lie.
type Ready = Arc<(Arc<dyn lazuli_kernel::Executable>, Vec<lazuli_compile::OutputInfo>)>;

/// Graphs of more equations than this are not worth remembering: lowering them is small beside building them.
const REMEMBERED_EQUATIONS: usize = 64;
/// How many graphs are remembered.
const REMEMBERED_GRAPHS: usize = 4096;

/// The graph made ready, from memory if the same one ran before: programs evaluate the same few operations again and again.
fn ready(graph: Graph, layouts: Vec<Layout>) -> Result<Ready> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    let make = |graph: &Graph, layouts: &[Layout]| -> Result<Ready> {
        let compiled = lazuli_compile::compile(graph, layouts, &Options::EVAL)?;
        Ok(Arc::new((backend::default().prepare(compiled.plan)?, compiled.outputs)))
    };
    if graph.equations.len() > REMEMBERED_EQUATIONS {
        return make(&graph, &layouts);
    }
    let known = KNOWN.get_or_init(Mutex::default);
    let key = (graph, layouts);
    if let Some(ready) = known.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
        return Ok(ready.clone());
    }
    let ready = make(&key.0, &key.1)?;
    let mut known = known.lock().unwrap_or_else(|e| e.into_inner());
    if known.len() >= REMEMBERED_GRAPHS {
        known.clear();
    }
    known.insert(key, ready.clone());
    Ok(ready)
}

/// Which of the tasks `from..to` have a handle outside of them (later tasks count as outside).
fn held(tasks: &[Task], from: usize, to: usize) -> Vec<bool> {
    let place: HashMap<*const Node, usize> =
        tasks[from..to].iter().enumerate().map(|(i, t)| (Arc::as_ptr(&t.node), i)).collect();
    // One handle is the task's own.
    let mut inside = vec![1usize; to - from];
    for task in &tasks[from..to] {
        for a in task.record.inputs.iter().chain(&task.record.shapes) {
            if let Some(&i) = place.get(&Arc::as_ptr(&a.node)) {
                inside[i] += 1;
            }
        }
    }
    tasks[from..to].iter().zip(inside).map(|(t, n)| Arc::strong_count(&t.node) > n).collect()
}

/// Runs the call of a compiled function.
fn run_program(tasks: &[Task], at: usize, mode: Mode) -> Result<()> {
    let task = &tasks[at];
    let Op::Program(program) = &task.record.op else { unreachable!("called for programs") };
    let values: Vec<Value> = task
        .record
        .inputs
        .iter()
        .map(|a| a.value().ok_or_else(|| Error::internal("eval", "an input was not run before its use")))
        .collect::<Result<_>>()?;
    let values = call_program(program, values, &[], mode)?;
    finish(task, values);
    Ok(())
}

/// Runs a compiled function on values.
pub(crate) fn call_program(
    program: &Arc<Program>,
    mut inputs: Vec<Value>,
    donate: &[bool],
    mode: Mode,
) -> Result<SmallVec<[Value; 1]>> {
    let ready = program.ready(&mut inputs)?;
    execute(&ready.executable, &ready.outputs, inputs, donate, mode)
}

fn execute(
    executable: &Arc<dyn lazuli_kernel::Executable>,
    outputs: &[lazuli_compile::OutputInfo],
    inputs: Vec<Value>,
    donate: &[bool],
    mode: Mode,
) -> Result<SmallVec<[Value; 1]>> {
    let buffers: SmallVec<[Buffer; 8]> = inputs.iter().map(|v| v.buffer.clone()).collect();
    let run = backend::default().enqueue(Stream::default(), executable, &buffers, donate, mode)?;
    Ok(outputs
        .iter()
        .map(|o| match o.source {
            OutputSource::Input(i) => Value { layout: o.layout.clone(), ..inputs[i].clone() },
            OutputSource::Output(i) => {
                Value { buffer: run.outputs[i].clone(), layout: o.layout.clone(), event: run.event.clone() }
            }
        })
        .collect())
}

/// Gives a node its values. What a trace can reach keeps its record.
fn finish(task: &Task, values: SmallVec<[Value; 1]>) {
    let record = task.node.traced.then(|| task.record.clone());
    let old = std::mem::replace(&mut *task.node.state(), State::Done { values, record });
    drop(old);
}

fn fresh(graph: &mut Graph, aval: lazuli_ir::Aval) -> Var {
    graph.avals.push(aval);
    Var(graph.avals.len() as u32 - 1)
}

/// Waits for all work that has been started.
pub fn synchronize() -> Result<()> {
    backend::default().synchronize(Stream::default())
}
