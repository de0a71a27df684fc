//! From recorded nodes to a graph, and back.
//!
//! A transformation runs the user's function on marked arrays, cuts what it did out as a [`Graph`], transforms that, and replays the
//! result on the real arrays. What does not depend on the marked arrays becomes a constant of the graph, unless it is one number all over.

use crate::array::{Array, Hole, Node, Op, Record};
use crate::eval;
use crate::progress::{self, Compiling};
use crate::raise;
use crate::shapeless;
use lazuli_ir::prims::{Broadcast, Call};
use lazuli_ir::{
    Atom, Aval, Dim, Effect, Equation, Error, ErrorKind, Graph, Location, Meta, Prim, Result, Scalar, Var,
};
use lazuli_kernel::hash::{Map, Set};
use smallvec::{SmallVec, smallvec};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

thread_local! {
    /// How many traces are live on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// The live traces of this thread, the innermost last.
    static LEVELS: RefCell<Vec<Level>> = const { RefCell::new(Vec::new()) };
    /// How many of them keep what is recorded.
    static KEEPING: Cell<usize> = const { Cell::new(0) };
    /// Finds the user's place in the program: set by a front end whose frames Rust cannot see.
    static LOCATE: Cell<Option<fn() -> Location>> = const { Cell::new(None) };
}

/// What a live trace has seen besides arrays.
#[derive(Default)]
struct Level {
    /// Whether its inputs have values, unless a trace around it took them away.
    has_values: bool,
    /// What has effects, in order.
    effects: Vec<Array>,
    /// What has been recorded since it began, if that is what will be cut out.
    made: Option<Vec<Arc<Node>>>,
    /// Whether numbers were drawn from a key that does not depend on its inputs.
    drew: bool,
}

/// A live trace: placeholders that have no value.
#[derive(Debug)]
pub struct Trace {
    hole: Arc<Hole>,
    began: Instant,
    /// Tells of a trace that takes long.
    _compiling: Option<Compiling>,
}

impl Trace {
    /// Begins the trace of `function` by `transform` (names for messages).
    pub fn begin(function: impl Into<String>, transform: &'static str) -> Trace {
        Trace::at(Level::default(), function, transform)
    }
    /// The same, of a function whose inputs are [marked](Self::mark): where no other trace is around it, what the function does happens at once.
    pub fn begin_with_values(function: impl Into<String>, transform: &'static str) -> Trace {
        Trace::at(Level { has_values: true, ..Level::default() }, function, transform)
    }
    /// The same, of a function that is cut out with all that it records, whether that depends on its inputs or not.
    pub(crate) fn begin_whole(function: impl Into<String>, transform: &'static str) -> Trace {
        KEEPING.set(KEEPING.get() + 1);
        Trace::at(Level { made: Some(Vec::new()), ..Level::default() }, function, transform)
    }
    fn at(level: Level, function: impl Into<String>, transform: &'static str) -> Trace {
        DEPTH.set(DEPTH.get() + 1);
        LEVELS.with_borrow_mut(|levels| levels.push(level));
        let function = function.into();
        let compiling = (transform == "compile").then(|| progress::begin(&function));
        let hole = Hole { function, transform, live: AtomicBool::new(true) };
        Trace { hole: Arc::new(hole), began: Instant::now(), _compiling: compiling }
    }
    /// A placeholder of this shape and dtype.
    pub fn placeholder(&self, aval: Aval) -> Array {
        Array::hole(aval, self.hole.clone())
    }
    /// A placeholder for an array; in a shapeless trace it knows what its extents are those of, those of a constant too.
    pub fn stand_in(&self, array: &Array) -> Array {
        if shapeless::is_live() { self.mark(array) } else { self.placeholder(array.aval().clone()) }
    }
    /// Ends it: what was recorded that has effects, in order, for [`cut`].
    pub fn end(self) -> Effects {
        Effects(
            LEVELS
                .with_borrow_mut(|levels| levels.last_mut().map(|l| std::mem::take(&mut l.effects)))
                .unwrap_or_default(),
        )
    }
    /// What has been recorded so far.
    pub(crate) fn made(&self) -> Vec<Arc<Node>> {
        LEVELS.with_borrow(|levels| levels.last().and_then(|l| l.made.clone())).unwrap_or_default()
    }
    /// Whether numbers were drawn from the thread's key, which does not depend on the inputs: they are constants.
    pub(crate) fn drew(&self) -> bool {
        LEVELS.with_borrow(|levels| levels.last().is_some_and(|l| l.drew))
    }
    /// How long it has been live.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
    /// The same value, marked: under `grad` the values are there.
    pub fn mark(&self, array: &Array) -> Array {
        array.alias()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.hole.live.store(false, Ordering::Relaxed);
        DEPTH.set(DEPTH.get() - 1);
        let level = LEVELS.with_borrow_mut(|levels| {
            let mut level = levels.pop()?;
            // What is left of it when it is over belongs to what goes on.
            if let Some(made) = level.made.take() {
                KEEPING.set(KEEPING.get() - 1);
                if let Some(outer) = levels.iter_mut().rev().find_map(|l| l.made.as_mut()) {
                    outer.extend(made);
                } else {
                    return Some((level, Some(made)));
                }
            }
            Some((level, None))
        });
        drop(level);
    }
}

/// What a trace recorded that has effects, in order: it is part of the function whether its results are used or not.
#[derive(Default)]
pub struct Effects(Vec<Array>);

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Effects").field("len", &self.0.len()).finish()
    }
}

/// Notes that a node is recorded.
pub(crate) fn recorded(node: &Arc<Node>) {
    if KEEPING.get() > 0 {
        LEVELS.with_borrow_mut(|levels| {
            if let Some(made) = levels.iter_mut().rev().find_map(|l| l.made.as_mut()) {
                made.push(node.clone());
            }
        });
    }
}

/// Notes that numbers are drawn from the thread's key.
pub(crate) fn draw(key: &Array) {
    if is_tracing() && !key.is_traced() {
        LEVELS.with_borrow_mut(|levels| levels.iter_mut().for_each(|l| l.drew = true));
    }
}

/// Whether a trace is live whose values are not there, or is within one: effects are recorded, and branches are too.
pub(crate) fn is_recording() -> bool {
    LEVELS.with_borrow(|levels| levels.iter().any(|l| !l.has_values))
}

/// Notes that a node has an effect. While something is traced whose values are not there, it is part of that; else it happens now.
pub(crate) fn perform(node: &Array) -> Result<()> {
    let recorded = LEVELS.with_borrow_mut(|levels| {
        let is_recorded = levels.iter().any(|l| !l.has_values);
        if let (true, Some(level)) = (is_recorded, levels.last_mut()) {
            level.effects.push(node.clone());
        }
        is_recorded
    });
    if recorded || SILENT.get() { Ok(()) } else { eval::happen(node) }
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether effects that would happen now are left out.
pub(crate) fn is_silent() -> bool {
    SILENT.get()
}

/// Runs `f` without the effects that would happen in it.
pub fn silently<T>(f: impl FnOnce() -> T) -> T {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            SILENT.set(self.0);
        }
    }
    let _leave = Leave(SILENT.replace(true));
    f()
}

/// Whether a trace is live on this thread.
pub fn is_tracing() -> bool {
    DEPTH.get() > 0
}

/// Sets how this thread finds the place of the user's code while tracing.
pub fn set_locator(locate: Option<fn() -> Location>) {
    LOCATE.set(locate);
}

/// The place of the user's code, if a front end has said how to find it.
pub fn place() -> Location {
    LOCATE.get().map_or(Location::UNKNOWN, |locate| locate())
}

/// How a value is about to be read, and what to do instead while tracing: what the error names if there is no value.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// `bool()`, `print`.
    pub how: &'static str,
    /// What to write instead.
    pub remedy: &'static str,
}

thread_local! {
    static READ: Cell<Option<Read>> = const { Cell::new(None) };
}

/// Runs `f`, which reads a value.
pub fn reading<T>(read: Read, f: impl FnOnce() -> T) -> T {
    struct Leave(Option<Read>);
    impl Drop for Leave {
        fn drop(&mut self) {
            READ.set(self.0);
        }
    }
    let _leave = Leave(READ.replace(Some(read)));
    f()
}

impl Read {
    pub(crate) const ITEM: Read = Read {
        how: "item()",
        remedy: "choose with `select` or `cond` instead of branching on it, or return the array and read its value outside",
    };
    pub(crate) const VALUES: Read = Read { how: "to_vec()", remedy: "return the array and read its values outside" };
    pub(crate) const PRINT: Read = Read {
        how: "print or to_string()",
        remedy: "print it with debug::print, see what is known of it with describe() or {:?}, or turn compilation off with disable_compile()",
    };
    pub(crate) const EVAL: Read =
        Read { how: "eval()", remedy: "leave the call out: what the function returns is evaluated outside" };

    /// Runs `f`, which reads a value in this way, unless a front end has said in which. An error names the line of the read.
    #[track_caller]
    pub(crate) fn of<T>(self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        if READ.get().is_some() {
            return f();
        }
        let caller = Location::caller();
        reading(self, f).map_err(|e| match e.kind() {
            ErrorKind::TracedRead if LOCATE.get().is_none() => raise::at_the_users_line(e, caller),
            _ => e,
        })
    }
}

pub(crate) fn current_read() -> Option<Read> {
    READ.get()
}

/// Which of `arrays` depend on `inputs`, placeholders of a trace.
pub fn depend(inputs: &[Array], arrays: &[Array]) -> Vec<bool> {
    let found = dependents(inputs, arrays, &Effects::default(), Within::Dependent);
    arrays.iter().map(|a| found.nodes.get(&Arc::as_ptr(&a.node)).copied().unwrap_or(false)).collect()
}

/// What a new equation carries: the user's place if a trace is live (nobody asks for it otherwise).
#[track_caller]
pub(crate) fn meta() -> Meta {
    let is_tracing = is_tracing();
    if is_tracing {
        progress::recorded();
    }
    let location = match (is_tracing && !crate::shapeless::is_making(), LOCATE.get()) {
        (false, _) => Location::UNKNOWN,
        (true, Some(locate)) => locate(),
        (true, None) => Location::caller(),
    };
    Meta { location, ..Meta::default() }
}

/// A graph cut out of what was recorded, and the arrays of its constant inputs.
#[derive(Debug)]
pub struct Cut {
    /// Its last inputs are the constants.
    pub graph: Graph,
    /// What the function reached beside its inputs.
    pub constants: Vec<Array>,
}

/// The graph from `inputs` (marked arrays) to `outputs`, with these effects. Calls of compiled functions are inlined.
pub fn cut(inputs: &[Array], outputs: &[Array], effects: &Effects) -> Result<Cut> {
    cut_out(inputs, outputs, effects, Within::Dependent)
}

/// The same with these nodes in the graph and no others.
pub(crate) fn cut_whole(inputs: &[Array], outputs: &[Array], effects: &Effects, made: &[Arc<Node>]) -> Result<Cut> {
    let made = made.iter().map(Arc::as_ptr).collect();
    cut_out(inputs, outputs, effects, Within::These(&made))
}

/// The same with all that has not been run yet in the graph, whether it depends on the inputs or not.
pub(crate) fn cut_pending(inputs: &[Array], outputs: &[Array]) -> Result<Cut> {
    cut_out(inputs, outputs, &Effects::default(), Within::Pending)
}

/// The same, with the programs of compiled functions that fuse as calls instead of inlined; says which equations these are.
pub(crate) fn cut_to_show(outputs: &[Array]) -> Result<(Graph, Vec<usize>)> {
    let mut cutter = Cutter { programs: Some(Vec::new()), ..Cutter::default() };
    cutter.all(&[], outputs, &Effects::default(), Within::Pending)?;
    let programs = cutter.programs.take().unwrap_or_default();
    Ok((cutter.finish().graph, programs))
}

/// Which nodes become equations; the others are constants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within<'a> {
    /// Those that depend on the inputs.
    Dependent,
    /// Those that have not been run.
    Pending,
    /// These.
    These(&'a Set<*const Node>),
}

fn cut_out(inputs: &[Array], outputs: &[Array], effects: &Effects, within: Within<'_>) -> Result<Cut> {
    let mut cutter = Cutter::default();
    cutter.all(inputs, outputs, effects, within)?;
    Ok(cutter.finish())
}

/// Which of `targets` one of `arrays` is, or needs in order to be computed.
pub(crate) fn reached(arrays: &[Array], targets: &[Array]) -> Option<usize> {
    let targets: Map<Key, usize> = targets.iter().map(key).zip(0..).collect();
    if targets.is_empty() {
        return None;
    }
    let mut seen: Set<*const Node> = Set::default();
    let mut stack: Vec<Array> = arrays.to_vec();
    while let Some(array) = stack.pop() {
        if let Some(&at) = targets.get(&key(&array)) {
            return Some(at);
        }
        if !array.is_evaluated()
            && seen.insert(Arc::as_ptr(&array.node))
            && let Some(record) = array.node.record()
        {
            stack.extend(record.inputs.iter().cloned());
        }
    }
    None
}

/// The placeholder of a trace that is over, if one of these arrays depends on any.
pub(crate) fn left_behind(arrays: &[Array]) -> Option<Arc<Hole>> {
    let mut seen: Set<*const Node> = Set::default();
    let mut stack: Vec<Arc<Node>> = arrays.iter().map(|a| a.node.clone()).collect();
    while let Some(node) = stack.pop() {
        if !node.traced || !seen.insert(Arc::as_ptr(&node)) {
            continue;
        }
        if let Some(hole) = node.hole().filter(|hole| !hole.live.load(Ordering::Relaxed)) {
            return Some(hole);
        }
        if let Some(record) = node.record() {
            stack.extend(record.inputs.iter().chain(&record.shapes).map(|a| a.node.clone()));
        }
    }
    None
}

/// Of what was recorded and depends on `inputs`, what `outputs` do not need; without what others of it need.
pub(crate) fn unused(inputs: &[Array], outputs: &[Array], recorded: Vec<Array>) -> Vec<Array> {
    let node = |a: &Array| Arc::as_ptr(&a.node);
    let used = dependents(inputs, outputs, &Effects::default(), Within::Dependent).nodes;
    let is_left = |a: &Array| !used.contains_key(&node(a)) && !a.node.avals.is_empty();
    let left: Vec<Array> = recorded.into_iter().filter(is_left).collect();
    let found = dependents(inputs, &left, &Effects::default(), Within::Dependent).nodes;
    let mut needed: Set<*const Node> = Set::default();
    for record in left.iter().filter_map(|a| a.node.record()) {
        needed.extend(record.inputs.iter().chain(&record.shapes).map(node));
    }
    let wanted = |a: &Array| found.get(&node(a)) == Some(&true) && !needed.contains(&node(a));
    left.into_iter().filter(wanted).collect()
}

type Key = (*const Node, u32);

fn key(a: &Array) -> Key {
    (Arc::as_ptr(&a.node), a.index)
}

struct Dependents {
    /// In an order in which they can run.
    order: Vec<Arc<Node>>,
    nodes: Map<*const Node, bool>,
}

/// The nodes that depend on the inputs, and those with effects: a depth-first walk without recursion, over nodes that some trace can reach.
fn dependents(inputs: &[Array], outputs: &[Array], effects: &Effects, within: Within<'_>) -> Dependents {
    enum Visit {
        Enter(Arc<Node>),
        Leave(Arc<Node>),
    }
    let mut found = Dependents { order: Vec::new(), nodes: Map::default() };
    for input in inputs {
        found.nodes.insert(Arc::as_ptr(&input.node), true);
    }
    let performed: Set<*const Node> = effects.0.iter().map(|a| Arc::as_ptr(&a.node)).collect();
    // Effects first: they are found, and run, in their order.
    let mut stack: Vec<Visit> = effects.0.iter().chain(outputs).rev().map(|a| Visit::Enter(a.node.clone())).collect();
    while let Some(visit) = stack.pop() {
        match visit {
            Visit::Enter(node) => {
                let is_outside = match within {
                    Within::Dependent => !node.traced,
                    Within::Pending => false,
                    Within::These(nodes) => !nodes.contains(&Arc::as_ptr(&node)),
                };
                let is_outside = is_outside && !performed.contains(&Arc::as_ptr(&node));
                if is_outside || found.nodes.contains_key(&Arc::as_ptr(&node)) {
                    continue;
                }
                found.nodes.insert(Arc::as_ptr(&node), false);
                let Some(record) = node.record() else { continue };
                let inputs: SmallVec<[Arc<Node>; 4]> =
                    record.inputs.iter().chain(&record.shapes).rev().map(|a| a.node.clone()).collect();
                stack.push(Visit::Leave(node));
                stack.extend(inputs.into_iter().map(Visit::Enter));
            }
            Visit::Leave(node) => {
                // A traced node keeps its record; another may have been run by a thread meanwhile.
                let Some(record) = node.record() else { continue };
                let depends = record
                    .inputs
                    .iter()
                    .chain(&record.shapes)
                    .any(|a| found.nodes.get(&Arc::as_ptr(&a.node)).copied().unwrap_or(false));
                if depends || within != Within::Dependent || performed.contains(&Arc::as_ptr(&node)) {
                    found.nodes.insert(Arc::as_ptr(&node), true);
                    found.order.push(node);
                }
            }
        }
    }
    found
}

#[derive(Default)]
struct Cutter {
    graph: Graph,
    known: Map<Key, Atom>,
    constants: Vec<Array>,
    constant_vars: Vec<Var>,
    /// Which equations are programs, if these are kept as calls.
    programs: Option<Vec<usize>>,
}

impl Cutter {
    fn all(&mut self, inputs: &[Array], outputs: &[Array], effects: &Effects, within: Within<'_>) -> Result<()> {
        for input in inputs {
            let v = self.fresh(input.aval().clone());
            self.known.insert(key(input), v.into());
            self.graph.inputs.push(v);
        }
        let dependent = dependents(inputs, outputs, effects, within);
        let performed: Set<*const Node> = effects.0.iter().map(|a| Arc::as_ptr(&a.node)).collect();
        for node in &dependent.order {
            self.node(node, performed.contains(&Arc::as_ptr(node)))?;
        }
        for output in outputs {
            let out = self.atom(output)?;
            self.graph.outputs.push(out);
        }
        Ok(())
    }
    fn finish(mut self) -> Cut {
        self.graph.constants = self.constants.len();
        self.graph.inputs.extend(self.constant_vars);
        Cut { graph: self.graph, constants: self.constants }
    }
    fn fresh(&mut self, aval: Aval) -> Var {
        self.graph.avals.push(aval);
        Var(self.graph.avals.len() as u32 - 1)
    }
    /// The atom of an array: known, a literal, or a new constant.
    fn atom(&mut self, a: &Array) -> Result<Atom> {
        if let Some(&atom) = self.known.get(&key(a)) {
            return Ok(atom);
        }
        if let Some(s) = a.literal() {
            return Ok(Atom::Lit(s));
        }
        let v = self.fresh(a.aval().clone());
        self.known.insert(key(a), v.into());
        self.constants.push(a.clone());
        self.constant_vars.push(v);
        Ok(v.into())
    }
    /// The atom of an operand. An array of one number that the function made by itself, such as zeros, needs no memory: it is computed where it is used.
    fn operand(&mut self, a: &Array) -> Result<Atom> {
        if !self.known.contains_key(&key(a))
            && let Some(number) = repeated(a)
        {
            let v = self.fresh(a.aval().clone());
            self.known.insert(key(a), v.into());
            let prim = Broadcast { shape: a.aval().shape.iter().map(|&n| Dim::Known(n)).collect() }.into();
            let (inputs, outputs) = (smallvec![Atom::Lit(number)], smallvec![v]);
            let meta = a.node.meta;
            self.graph.equations.push(Equation { prim, inputs, shapes: SmallVec::new(), outputs, meta });
            return Ok(v.into());
        }
        self.atom(a)
    }
    /// Adds a node. If it has effects and is not `performed` here, they have happened already, and are left out.
    fn node(&mut self, node: &Arc<Node>, performed: bool) -> Result<()> {
        let record = node.record().ok_or_else(|| Error::internal("trace", "a traced node lost its record"))?;
        let inputs = record.inputs.iter().map(|a| self.operand(a)).collect::<Result<SmallVec<[Atom; 3]>>>()?;
        let this = Arc::as_ptr(node);
        match &record.op {
            Op::Literal(s) => {
                self.known.insert((this, 0), Atom::Lit(*s));
            }
            Op::Alias => {
                self.known.insert((this, 0), inputs[0]);
            }
            Op::Prim(prim) => {
                let mut shapes = SmallVec::new();
                for a in &record.shapes {
                    shapes.push(match self.atom(a)? {
                        Atom::Var(v) => v,
                        Atom::Lit(_) => return Err(Error::internal("trace", "a literal as a shape operand")),
                    });
                }
                let outputs: SmallVec<[Var; 1]> = node.avals.iter().map(|a| self.fresh(a.clone())).collect();
                for (k, &v) in outputs.iter().enumerate() {
                    self.known.insert((this, k as u32), v.into());
                }
                let (prim, meta) = match performed {
                    true => (prim.clone(), node.meta),
                    false => (prim.without_effects(), Meta { effect: Effect::None, ..node.meta }),
                };
                self.graph.equations.push(Equation { prim, inputs, shapes, outputs, meta });
            }
            Op::Program(program) => {
                let mut arguments: Vec<Atom> = inputs.to_vec();
                for constant in program.constants() {
                    arguments.push(self.atom(constant)?);
                }
                if let Some(programs) = &mut self.programs
                    && program.options().fuse
                {
                    programs.push(self.graph.equations.len());
                    let body = program.bound(record.inputs.iter().map(|a| &a.aval().shape[..]))?;
                    let prim = Call::new(program.name(), Graph { constants: 0, ..body }).into();
                    let outputs: SmallVec<[Var; 1]> = node.avals.iter().map(|a| self.fresh(a.clone())).collect();
                    self.known.extend(outputs.iter().enumerate().map(|(k, &v)| ((this, k as u32), v.into())));
                    let (inputs, shapes) = (arguments.into(), SmallVec::new());
                    self.graph.equations.push(Equation { prim, inputs, shapes, outputs, meta: node.meta });
                    return Ok(());
                }
                let mut body = program.graph_for(&record.inputs)?;
                if !performed {
                    body = body.without_effects();
                }
                let outputs = self.graph.splice(&body, &arguments)?;
                self.known.extend(outputs.into_iter().enumerate().map(|(k, atom)| ((this, k as u32), atom)));
            }
        }
        Ok(())
    }
}

/// The number that an array repeats, if it was made while something was traced and does not depend on that.
fn repeated(a: &Array) -> Option<Scalar> {
    if a.is_traced() || a.node.meta.location == Location::UNKNOWN {
        return None;
    }
    let mut record = a.node.record()?;
    loop {
        match &*record {
            Record { op: Op::Prim(prim), inputs, shapes } if prim.is_view() && shapes.is_empty() => {
                match inputs[0].literal() {
                    Some(number) => return Some(number),
                    None => record = inputs[0].node.record()?.clone(),
                }
            }
            _ => return None,
        }
    }
}

/// Records an operation; if it has an effect, that is noted or happens.
pub(crate) fn record(
    prim: Prim,
    inputs: SmallVec<[Array; 2]>,
    shapes: SmallVec<[Array; 1]>,
    avals: SmallVec<[Aval; 1]>,
    meta: Meta,
) -> Result<Array> {
    let effect = meta.effect.max(prim.effect());
    let node = Array::pending(Op::Prim(prim), inputs, shapes, avals, Meta { effect, ..meta });
    if effect == Effect::Ordered {
        perform(&node)?;
    }
    Ok(node)
}

/// Records the equations of a graph on arrays: its arguments, then its constants. Shapes are those of the graph.
///
/// # Errors
/// Those of its effects, if they happen at once.
pub fn replay(graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
    let mut arrays: Vec<Option<Array>> = vec![None; graph.avals.len()];
    for (v, a) in graph.inputs.iter().zip(inputs) {
        arrays[v.0 as usize] = Some(a.clone());
    }
    let get = |arrays: &[Option<Array>], a: Atom| match a {
        Atom::Var(v) => arrays[v.0 as usize].clone().expect("defined before use, as verified"),
        Atom::Lit(s) => Array::scalar(s),
    };
    for e in &graph.equations {
        let inputs = e.inputs.iter().map(|&a| get(&arrays, a)).collect();
        let shapes = e.shapes.iter().map(|&v| get(&arrays, v.into())).collect();
        let avals = e.outputs.iter().map(|v| graph.avals[v.0 as usize].clone()).collect();
        let out = record(e.prim.clone(), inputs, shapes, avals, e.meta)?;
        for (k, v) in e.outputs.iter().enumerate() {
            arrays[v.0 as usize] = Some(out.sibling(k as u32));
        }
    }
    Ok(graph.outputs.iter().map(|&a| get(&arrays, a)).collect())
}
