//! Shapeless traces: extents that stay symbolic, and the numbers that were read, which are guarded ([`crate::guards`]).
//!
//! While a shapeless trace is live on a thread, the extents of arrays that depend on its inputs may differ at later calls. What is
//! done with an extent is one of these:
//! - it is handed to an operation as a [`Dim`](crate::Dim): it becomes a shape operand, and shape rules run again;
//! - an operation decides by it: the operation is recorded [by shape](crate::ops::by_shape), and its body is made again where that extent is another;
//! - its number is read ([`Array::shape`] and its like, [`Dim::get`](crate::Dim::get)) or compared: that is recorded as a test with the place of
//!   the reader. The program runs only for shapes for which every test has the outcome it had.
//!
//! What is refused for some extents is as much a reading of them: an error while such a trace is live guards the extents of all inputs, since the function
//! may go another way where there is none; and what the function records and makes no use of is looked at in each binding, since it may be
//! refused there.
//!
//! Traces within it (bodies of calls, rules of derivatives, points of a batch) stand in arrays that know what their extents are those of
//! ([`Trace::stand_in`]), so that what is read there is guarded as well; a test of an array of which nobody knows that is refused.
//!
//! So forgetting to think of shapeless traces costs generality, never correctness: numbers are guarded by default. Compiled functions that are
//! called meanwhile run as plain functions, as part of the trace. Absent: arrays of a live trace that other threads look at.

use crate::array::Array;
use crate::ops::by_shape::ByShape;
use crate::trace::{self, Cut, Trace};
use crate::transform::{Transform, Transformed};
use lazuli_ir::param::Params;
use lazuli_ir::prims::{Call, GraphRule};
use lazuli_ir::{AnyShapes, Aval, Error, Fixed, Graph, Location, Result};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a comparison asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Less,
    LessEqual,
}

impl Relation {
    const ALL: [Relation; 3] = [Relation::Equal, Relation::Less, Relation::LessEqual];
    pub fn sign(self) -> &'static str {
        match self {
            Relation::Equal => "=",
            Relation::Less => "<",
            Relation::LessEqual => "<=",
        }
    }
    pub fn of_sign(sign: &str) -> Option<Relation> {
        Relation::ALL.into_iter().find(|r| r.sign() == sign)
    }
    /// In words, or what it is that does not hold.
    pub fn words(self, outcome: bool) -> &'static str {
        match (self, outcome) {
            (Relation::Equal, true) => "equal to",
            (Relation::Equal, false) => "different from",
            (Relation::Less, true) => "less than",
            (Relation::Less, false) => "not less than",
            (Relation::LessEqual, true) => "at most",
            (Relation::LessEqual, false) => "more than",
        }
    }
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Relation::Equal => order.is_eq(),
            Relation::Less => order.is_lt(),
            Relation::LessEqual => order.is_le(),
        }
    }
}

/// One side of a comparison: an extent of an array (of the array of that number, once the trace is cut), or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side<A> {
    Extent(A, usize),
    Number(i64),
}

/// Something that held of extents at the trace.
#[derive(Debug, Clone)]
pub(crate) struct Test<A> {
    pub left: Side<A>,
    pub relation: Relation,
    pub right: Side<A>,
    /// What it came to.
    pub outcome: bool,
    pub location: Location,
}

impl<A> Test<A> {
    /// Whether it may come to something else for other extents, of which the same are 0 and 1.
    fn may_differ(&self) -> bool {
        !matches!(
            (&self.left, &self.right),
            (Side::Extent(..), Side::Number(..=1)) | (Side::Number(..=1), Side::Extent(..))
        )
    }
}

/// What was read of extents during a trace.
#[derive(Default)]
pub struct Facts {
    pub(crate) tests: Vec<Test<Array>>,
    /// Whether anything depends on the number of axes.
    pub(crate) rank: bool,
    /// Where an operation was refused first.
    pub(crate) refused: Option<Location>,
    /// All that was recorded.
    pub(crate) recorded: Vec<Array>,
    /// Tells the trace from others.
    number: u64,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("tests", &self.tests.len()).field("rank", &self.rank).finish()
    }
}

enum State {
    Off,
    On(Facts),
    /// A body is being made for one binding of shapes: numbers are numbers.
    Making,
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Off) };
}

/// Puts back the state that it replaced.
struct Restore(Option<State>);

impl Restore {
    fn enter(state: State) -> Restore {
        Restore(Some(STATE.replace(state)))
    }
    fn leave(mut self) -> State {
        STATE.replace(self.0.take().unwrap_or(State::Off))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            STATE.set(state);
        }
    }
}

/// A live shapeless trace of this thread.
pub struct Scope(Restore);

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope")
    }
}

impl Scope {
    /// From here on, numbers read of the extents of traced arrays are guarded.
    pub fn begin() -> Scope {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Relaxed);
        Scope(Restore::enter(State::On(Facts { number, ..Facts::default() })))
    }
    /// Ends it; what was read.
    pub fn end(self) -> Facts {
        match self.0.leave() {
            State::On(facts) => facts,
            _ => Facts::default(),
        }
    }
}

/// Whether a shapeless trace is live on this thread.
pub fn is_live() -> bool {
    STATE.with_borrow(|s| matches!(s, State::On(_)))
}

/// The number of the shapeless trace that is live on this thread.
pub fn live() -> Option<u64> {
    STATE.with_borrow(|s| match s {
        State::On(facts) => Some(facts.number),
        State::Off | State::Making => None,
    })
}

/// Whether a body is being made for one binding of shapes.
pub(crate) fn is_making() -> bool {
    STATE.with_borrow(|s| matches!(s, State::Making))
}

/// Whether the extents of this array may differ at later calls of what is being traced.
pub fn is_symbolic(a: &Array) -> bool {
    a.is_traced() && is_live()
}

/// Records a test of a symbolic array.
pub(crate) fn record(test: Test<Array>) {
    // The state is not borrowed while the test's arrays are dropped or compared.
    STATE.with_borrow_mut(|s| {
        if let State::On(facts) = s {
            facts.rank = true;
            let id = |s: &Side<Array>| match s {
                Side::Extent(a, axis) => (Some(a.id()), *axis as i64),
                Side::Number(n) => (None, *n),
            };
            let same = |t: &Test<Array>| {
                t.relation == test.relation && id(&t.left) == id(&test.left) && id(&t.right) == id(&test.right)
            };
            if !facts.tests.iter().any(same) {
                facts.tests.push(test);
            }
        }
    });
}

/// The extent of an axis as a number: guarded if it is symbolic.
#[track_caller]
pub(crate) fn read(a: &Array, axis: usize) {
    if is_symbolic(a) {
        let number = Side::Number(a.aval().shape[axis] as i64);
        let left = Side::Extent(a.clone(), axis);
        record(Test {
            left,
            relation: Relation::Equal,
            right: number,
            outcome: true,
            location: trace::meta().location,
        });
    }
}

/// All extents as numbers.
#[track_caller]
pub(crate) fn read_all(a: &Array) {
    if is_symbolic(a) {
        read_rank();
        (0..a.aval().rank()).for_each(|axis| read(a, axis));
    }
}

/// Notes that the number of axes was looked at.
pub(crate) fn read_rank() {
    STATE.with_borrow_mut(|s| {
        if let State::On(facts) = s {
            facts.rank = true;
        }
    });
}

/// Notes that something was refused: for other extents it may not be, and the function may go another way then.
#[track_caller]
pub fn refused() {
    if is_live() {
        let location = trace::meta().location;
        STATE.with_borrow_mut(|s| {
            if let State::On(facts) = s {
                facts.rank = true;
                facts.refused.get_or_insert(location);
            }
        });
    }
}

/// Notes what was recorded.
pub(crate) fn recorded(array: &Array) {
    STATE.with_borrow_mut(|s| {
        if let State::On(facts) = s {
            facts.recorded.push(array.clone());
        }
    });
}

/// Makes the body of a call: what is recorded in it is looked at for other shapes as a part of the call.
pub(crate) fn as_one<T>(body: impl FnOnce() -> T) -> T {
    let recorded = |f: &mut dyn FnMut(&mut Vec<Array>)| {
        STATE.with_borrow_mut(|s| {
            if let State::On(facts) = s {
                f(&mut facts.recorded)
            }
        });
    };
    let mut before = 0;
    recorded(&mut |arrays| before = arrays.len());
    let made = body();
    let mut within = Vec::new();
    recorded(&mut |arrays| within = arrays.split_off(before));
    made
}

/// Records a call of what a rule makes for each binding of shapes.
#[track_caller]
pub(crate) fn record_rule(rule: Arc<dyn GraphRule>, inputs: &[&Array]) -> Result<Vec<Array>> {
    let avals: SmallVec<[&Aval; 4]> = inputs.iter().map(|a| a.aval()).collect();
    let call = Call::ruled(rule.name(), rule, &avals).inspect_err(|_| refused())?;
    let outputs: SmallVec<[Aval; 1]> = call.graph.output_avals().into();
    let n = outputs.len() as u32;
    let operands = inputs.iter().map(|&a| a.clone()).collect();
    let out = trace::record(call.into(), operands, SmallVec::new(), outputs, trace::meta())?;
    Ok((0..n).map(|k| out.sibling(k)).collect())
}

/// What `f` records for operands of these avals, whose numbers are numbers.
pub(crate) fn made(
    name: &'static str,
    inputs: &[&Aval],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Graph> {
    let _making = Restore::enter(State::Making);
    body(name, inputs, f).map(|(graph, _)| graph)
}

/// The same as a body for other shapes too, with the extents whose numbers `f` went by; `None` if it went by those of arrays that are no operands.
pub(crate) fn made_for_any_shapes(
    name: &'static str,
    inputs: &[&Aval],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Option<AnyShapes> {
    let scope = Scope::begin();
    let (graph, operands) = body(name, inputs, f).ok()?;
    let Facts { tests, refused, .. } = scope.end();
    if refused.is_some() || graph.has_rules() {
        return None;
    }
    let mut fixed = Vec::new();
    for side in tests.into_iter().filter(Test::may_differ).flat_map(|test| [test.left, test.right]) {
        if let Side::Extent(a, axis) = side {
            let input = operands.iter().position(|operand| operand.id() == a.id())?;
            let place = Fixed { input, axis };
            if !fixed.contains(&place) {
                fixed.push(place);
            }
        }
    }
    Some(AnyShapes { graph, fixed })
}

/// What `f` records for operands of these avals, and the placeholders of those.
fn body(
    name: &'static str,
    inputs: &[&Aval],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<(Graph, Vec<Array>)> {
    let inner = Trace::begin(name, "call");
    let holes: Vec<Array> = inputs.iter().map(|&a| inner.placeholder(a.clone())).collect();
    let Cut { graph, constants } = trace::cut_pending(&holes, &f(&holes)?)?;
    match constants.is_empty() {
        true => Ok((graph, holes)),
        false => Err(Error::internal(name, "what is made for each binding of shapes holds an array")),
    }
}

/// The rule of this name: how calls of shapeless functions are read from files.
pub(crate) fn read_rule(name: &str, params: &Params, source: Option<Graph>) -> Option<Arc<dyn GraphRule>> {
    match source {
        Some(graph) => Some(Arc::new(Transformed { transform: Transform::read(name, params)?, graph })),
        None => Some(Arc::new(ByShape::read(name, params)?)),
    }
}
