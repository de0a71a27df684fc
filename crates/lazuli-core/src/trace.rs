//! From recorded nodes to a graph, and back.
//!
//! A transformation runs the user's function on marked arrays, cuts what it did out as a [`Graph`], transforms that, and replays the
//! result on the real arrays. What does not depend on the marked arrays becomes a constant of the graph, unless it is one number all over.

mod cut;

use crate::array::{Array, Hole, Node, Op};
use crate::eval;
use crate::progress::{self, Compiling};
use crate::raise;
use crate::shapeless;
pub use cut::{Cut, cut, depend};
pub(crate) use cut::{cut_pending, cut_to_show, cut_whole, left_behind, reached, unused};
use lazuli_ir::{Atom, Aval, Effect, ErrorKind, Graph, Location, Meta, Prim, Result};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether who calls this crate is a front end, whose places say nothing to users.
static CALLERS_ARE_HIDDEN: AtomicBool = AtomicBool::new(false);

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
    /// Whether its inputs are points of a batch.
    is_of_points: bool,
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
        let level = Level { is_of_points: transform == "vmap", ..level };
        LEVELS.with_borrow_mut(|levels| levels.push(level));
        let function = function.into();
        let compiling = (transform == "compile").then(|| progress::begin(&function));
        let hole = Hole { function, transform, live: Arc::new(AtomicBool::new(true)), fixed: false };
        Trace { hole: Arc::new(hole), began: Instant::now(), _compiling: compiling }
    }
    /// A placeholder of this shape and dtype.
    pub fn placeholder(&self, aval: Aval) -> Array {
        Array::hole(aval, self.hole.clone())
    }
    /// A placeholder whose extents are those of a constant, so the same at each call of what is traced around it.
    pub fn fixed_placeholder(&self, aval: Aval) -> Array {
        Array::hole(aval, Arc::new(Hole { fixed: true, ..Hole::clone(&self.hole) }))
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

/// Whether a function of points of a batch is being traced on this thread.
pub(crate) fn is_of_points() -> bool {
    is_tracing() && LEVELS.with_borrow(|levels| levels.iter().any(|l| l.is_of_points))
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

/// Whether a trace is live whose values are not there, or is within one: effects are recorded.
pub fn is_recording() -> bool {
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

/// Says that the callers of this crate are a front end's and no user's: where no locator is set, no place is named.
pub fn hide_callers() {
    CALLERS_ARE_HIDDEN.store(true, Ordering::Relaxed);
}

/// The caller's place, if the caller is the user.
#[track_caller]
fn caller() -> Location {
    match CALLERS_ARE_HIDDEN.load(Ordering::Relaxed) {
        true => Location::UNKNOWN,
        false => Location::caller(),
    }
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
        (true, None) => caller(),
    };
    Meta { location, ..Meta::default() }
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
