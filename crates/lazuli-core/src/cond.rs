//! Branches on values: [`cond`], and for front ends its parts.
//!
//! Where nothing is traced, the function that is chosen is simply called. While anything is, both are, each with all that it records ([`Branch`]), and one
//! equation holds both graphs; what they reach through their closures is passed to it. What runs is the branch that the value chooses and no other. So
//! the graph that is differentiated is the same one whether the function is compiled or not, and derivatives of any order have the same bits.

use crate::array::Array;
use crate::function::Output;
use crate::ops;
use crate::random;
use crate::trace::{self, Effects, Trace};
use crate::tree::{self, Constant, Leaf, Tree};
use lazuli_ir::prims::Cond;
use lazuli_ir::{Aval, DType, Error, Graph, Result, Scalar, Var, shape};
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::Arc;

/// The result of `on_true` if the predicate is true, else that of `on_false`, for these operands. Only one of them runs, in compiled functions too: there, and
/// where derivatives are taken, both are traced, and the value chooses.
///
/// The predicate is an array without axes; numbers other than 0 are true. Both functions give trees of one structure, whose arrays agree in shape and
/// dtype. Derivatives go through the branch that is taken; under [`vmap`](crate::vmap), if the predicate differs from point to point, both
/// branches are computed for all points, prints included, and results selected.
///
/// ```
/// use lazuli_core::{Array, array, compile, cond};
/// let root = compile(|x: &Array| cond(&x.greater(0.0), |x: &Array| x.sqrt(), |x: &Array| -x, x));
/// assert_eq!(root(&array(4.0)).item::<f32>(), 2.0);
/// assert_eq!(root(&array(-4.0)).item::<f32>(), 4.0);
/// assert_eq!(root.traces(), 1);
/// ```
///
/// # Panics
/// If the predicate has axes, if the results of the functions do not agree, and where the functions do. With `catch`, and in functions that return
/// `Result`, that is an error.
#[track_caller]
pub fn cond<T: Tree + Clone, O: Output>(
    predicate: &Array,
    on_true: impl FnOnce(&T) -> O,
    on_false: impl FnOnce(&T) -> O,
    operands: &T,
) -> O {
    let both = || {
        if let Some(chosen) = called(predicate)? {
            let output = if chosen { on_true(operands) } else { on_false(operands) };
            return output.into_result();
        }
        let inputs = tree::arrays(operands);
        let trace = |name: &str, f: &mut dyn FnMut(&T) -> Result<O::Tree>| {
            let mut result = None;
            let branch = Branch::trace(name, &inputs, |holes| {
                let tree = f(&tree::fill(operands, &mut holes.iter().cloned()))?;
                Ok(tree::arrays(result.insert(tree)))
            })?;
            Ok::<_, Error>((branch, result.expect("set by the function")))
        };
        let (mut on_true, mut on_false) = (Some(on_true), Some(on_false));
        let keys = Keys::new();
        let mut once = |x: &T| on_true.take().expect("called once")(x).into_result();
        let (mut first, tree) = trace("the function if true", &mut once)?;
        let drawn = keys.next();
        let mut once = |x: &T| on_false.take().expect("called once")(x).into_result();
        let (mut second, other) = trace("the function if false", &mut once)?;
        if structure(&tree) != structure(&other) {
            let message = "the functions return other trees: both must give the same containers and constants";
            return Err(Error::value("cond", message));
        }
        let key = keys.after(drawn, predicate, [&mut first, &mut second])?;
        let mut outputs = record(predicate, &inputs, first, second, &|k| format!("array {k} of the result"))?;
        if let Some(state) = key.or_else(|| outputs.pop().map(|key| random::State { key })) {
            keys.set(state);
        }
        Ok(tree::fill(&tree, &mut outputs.into_iter()))
    };
    O::from_result(both())
}

/// The containers and constants of a tree.
fn structure(tree: &dyn Tree) -> Vec<Piece> {
    let mut pieces = Vec::new();
    tree.visit(&mut |leaf| match leaf {
        Leaf::Array(_) => pieces.push(Piece::Array),
        Leaf::Constant(c) => pieces.push(Piece::Constant(c)),
        Leaf::Open(kind, n) => pieces.push(Piece::Open(kind, n)),
        Leaf::Close => pieces.push(Piece::Close),
        Leaf::Name(_) => {}
    });
    pieces
}

#[derive(PartialEq)]
enum Piece {
    Array,
    Constant(Constant),
    Open(&'static str, usize),
    Close,
}

/// The thread's random key while branches are traced. It goes on from the branch that is taken: each draws from the same key, and what is left of it is a
/// result of the choice, or, where that is made now, what the one taken has left. One that does not belong to a trace without values
/// moves on at the trace, as ever. If something goes wrong it is as before.
struct Keys {
    before: random::State,
    done: Cell<bool>,
}

impl Keys {
    fn new() -> Keys {
        Keys { before: random::state(), done: Cell::new(false) }
    }
    fn goes_on(&self) -> bool {
        self.before.key.is_traced() || !trace::is_recording()
    }
    /// What the first branch has left; the second begins.
    fn next(&self) -> random::State {
        let drawn = random::state();
        if self.goes_on() {
            random::set_state(self.before.clone());
        }
        drawn
    }
    /// The key after the choice. If that is for the choice to say, it becomes an output of both branches, and this is `None`.
    fn after(
        &self,
        drawn: random::State,
        predicate: &Array,
        branches: [&mut Branch; 2],
    ) -> Result<Option<random::State>> {
        let now = random::state();
        let drew = [&drawn, &now].iter().any(|s| s.key.id() != self.before.key.id());
        if !drew || !self.goes_on() {
            return Ok(Some(now));
        }
        if let Some(key) = left(predicate, &drawn.key, &now.key)? {
            return Ok(Some(random::State { key }));
        }
        for (branch, key) in branches.into_iter().zip([drawn.key, now.key]) {
            branch.outputs.push(key);
        }
        Ok(None)
    }
    fn set(&self, state: random::State) {
        self.done.set(true);
        random::set_state(state);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if !self.done.get() {
            random::set_state(self.before.clone());
        }
    }
}

/// Which branch is to be called, without tracing them: nothing is traced around the choice.
///
/// # Errors
/// If the predicate has axes.
pub fn called(predicate: &Array) -> Result<Option<bool>> {
    if predicate.aval().rank() > 0 {
        let of = shape::show(&predicate.aval().shape);
        return Err(Error::value(
            "cond",
            format!(
                "the predicate has shape {of}: it must be an array without axes; reduce it with any or all, or use where to choose by element"
            ),
        ));
    }
    if trace::is_tracing() { Ok(None) } else { is_true(predicate).map(Some) }
}

fn is_true(predicate: &Array) -> Result<bool> {
    Ok(predicate.try_item_scalar()? != Scalar::zero(predicate.dtype()))
}

/// What the branch that is taken leaves in the place of an array, where that is known and depends on nothing that is traced, whichever is taken: such an array
/// need not come out of the choice, which would keep all that the choice is made of.
///
/// # Errors
/// Those of computing the predicate.
pub fn left(predicate: &Array, on_true: &Array, on_false: &Array) -> Result<Option<Array>> {
    if trace::is_recording() || on_true.is_traced() || on_false.is_traced() {
        return Ok(None);
    }
    Ok(Some(if is_true(predicate)? { on_true } else { on_false }.clone()))
}

/// A function as it was traced, not yet cut out.
#[derive(Debug)]
pub struct Branch {
    name: String,
    inputs: Vec<Array>,
    /// What it returned. A front end may add to it before the branches are put together.
    pub outputs: Vec<Array>,
    made: Made,
    effects: Effects,
}

struct Made(Vec<Arc<crate::array::Node>>);

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("nodes", &self.0.len()).finish()
    }
}

impl Branch {
    /// Runs a function on stand-ins of these arrays.
    ///
    /// # Errors
    /// Those of the function.
    pub fn trace(name: &str, inputs: &[Array], f: impl FnOnce(&[Array]) -> Result<Vec<Array>>) -> Result<Branch> {
        let trace = Trace::begin_whole(name, "cond");
        let inputs: Vec<Array> = inputs.iter().map(|a| trace.mark(a)).collect();
        let outputs = f(&inputs)?;
        let made = Made(trace.made());
        Ok(Branch { name: name.to_owned(), inputs, outputs, made, effects: trace.end() })
    }
}

/// Records the choice between two functions that were traced with these inputs. `path` names an output.
///
/// # Errors
/// If their outputs do not agree.
#[track_caller]
pub fn record(
    predicate: &Array,
    inputs: &[Array],
    on_true: Branch,
    on_false: Branch,
    path: &dyn Fn(usize) -> String,
) -> Result<Vec<Array>> {
    agree(&on_true, &on_false, path)?;
    let predicate = ops::astype(predicate, DType::Bool)?;
    let cut = |b: &Branch| trace::cut_whole(&b.inputs, &b.outputs, &b.effects, &b.made.0);
    let cuts = [cut(&on_true)?, cut(&on_false)?];
    // Both graphs take the operands, then the constants of both.
    let constants: Vec<Array> = cuts.iter().flat_map(|c| c.constants.iter().cloned()).collect();
    let first = cuts[0].constants.len();
    let [a, b] = cuts.map(|c| c.graph);
    let cond = Cond::new(with_constants(a, 0, &constants), with_constants(b, first, &constants));
    let operands = std::iter::once(&predicate).chain(inputs).chain(&constants).cloned().collect();
    let avals: SmallVec<[Aval; 1]> = cond.branches[0].output_avals().into();
    let n = avals.len() as u32;
    let out = trace::record(cond.into(), operands, SmallVec::new(), avals, trace::meta())?;
    Ok((0..n).map(|k| out.sibling(k)).collect())
}

/// The graph with all constants as its last inputs, of which its own begin at `start`.
fn with_constants(mut graph: Graph, start: usize, constants: &[Array]) -> Graph {
    let own = graph.inputs.split_off(graph.inputs.len() - graph.constants);
    for (k, constant) in constants.iter().enumerate() {
        let v = k.checked_sub(start).and_then(|k| own.get(k)).copied().unwrap_or_else(|| {
            graph.avals.push(constant.aval().clone());
            Var(graph.avals.len() as u32 - 1)
        });
        graph.inputs.push(v);
    }
    Graph { constants: 0, ..graph }
}

fn agree(on_true: &Branch, on_false: &Branch, path: &dyn Fn(usize) -> String) -> Result<()> {
    let (a, b) = (&on_true.outputs, &on_false.outputs);
    if a.len() != b.len() {
        let (a, b) = (a.len(), b.len());
        return Err(Error::value(
            "cond",
            format!(
                "'{}' returns {a} arrays and '{}' {b}: both branches must return the same structure",
                on_true.name, on_false.name
            ),
        ));
    }
    match a.iter().zip(b).position(|(a, b)| a.aval() != b.aval()) {
        None => Ok(()),
        Some(k) => {
            let show = |a: &Array| format!("{} of shape {}", a.dtype(), shape::show(&a.aval().shape));
            Err(Error::value(
                "cond",
                format!(
                    "{} is {} from '{}' and {} from '{}': both branches must return the same shapes and dtypes (see astype, broadcast_to)",
                    path(k),
                    show(&a[k]),
                    on_true.name,
                    show(&b[k]),
                    on_false.name
                ),
            ))
        }
    }
}
