//! Functions with derivatives and a vectorisation of their own, and functions whose values reverse mode computes again.
//!
//! They are recorded as one call that holds the function's graph and, traced at the same time, those of its rules. What a function or a rule reaches through its closure
//! is passed to the call. A compiled function inlines the call like any other, so that neither stands in the way of fusion. Where nothing is
//! traced, the function is simply called. A rule of vectorisation goes with the call, and is called when the call meets a batch, whose extents and axes it is given
//! (see `batch`); derivatives of what it gives are those of the call, vectorised, or those of its own operations where the call has none.

use crate::array::Array;
use crate::batch;
use crate::ops;
use crate::trace::{self, Cut, Trace};
use lazuli_ir::prims::{Call, Derivative, VmapRule};
use lazuli_ir::{Error, Graph, Result, Var, shape};
use smallvec::SmallVec;
use std::any::Any;
use std::sync::Arc;

/// From primals, cotangents of the outputs, and outputs to a cotangent for each primal.
pub type Vjp<'a> = &'a dyn Fn(&[Array], &[Array], &[Array]) -> Result<Vec<Array>>;
/// From primals and a tangent for each of them to tangents of the outputs.
pub type Jvp<'a> = &'a dyn Fn(&[Array], &[Array]) -> Result<Vec<Array>>;

/// What a function gives over a batch. Functions and closures of this signature are such.
pub trait Vmap: Any + Send + Sync {
    /// The outputs of the function for a batch of inputs, and where each output has the batch: nowhere, if it is one for all points. Inputs have the batch at their axis
    /// in `axes`, or are whole (`None`); at least one has it.
    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>]) -> Result<(Vec<Array>, Vec<Option<usize>>)>;
}

impl<F> Vmap for F
where
    F: Fn(&[Array], &[Option<usize>]) -> Result<(Vec<Array>, Vec<Option<usize>>)> + Send + Sync + 'static,
{
    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>]) -> Result<(Vec<Array>, Vec<Option<usize>>)> {
        self(inputs, axes)
    }
}

/// How transformations take a function, where not through its own operations.
#[derive(Clone, Default)]
pub struct Rules<'a> {
    /// Reverse mode.
    pub vjp: Option<Vjp<'a>>,
    /// Forward mode.
    pub jvp: Option<Jvp<'a>>,
    /// Vectorisation.
    pub vmap: Option<Arc<dyn Vmap>>,
}

impl std::fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (vjp, jvp, vmap) = (self.vjp.is_some(), self.jvp.is_some(), self.vmap.is_some());
        f.debug_struct("Rules").field("vjp", &vjp).field("jvp", &jvp).field("vmap", &vmap).finish()
    }
}

/// The outputs of `f`, which is differentiated by these rules: in reverse mode by `vjp`, in forward mode by `jvp`, and through its own operations where the rule
/// is not given; over a batch `vmap` is called, or `f` and its rules are vectorised. Arrays that `f` reaches through its closure have no derivative by a rule, and must
/// be the same for all points of a batch if there is a `vmap`.
///
/// ```
/// use lazuli_core::custom::{Rules, custom_function};
/// use lazuli_core::{Array, array, grad, vmap};
/// use std::sync::Arc;
/// // The gradient of |x|² as if it were that of 3x.
/// let f = |x: &Array| {
///     let vjp = |_: &[Array], cotangents: &[Array], _: &[Array]| Ok(vec![&cotangents[0] * 3.0]);
///     let rules = Rules { vjp: Some(&vjp), ..Rules::default() };
///     custom_function("f", &[x.clone()], |x| Ok(vec![x[0].square()]), rules).unwrap().remove(0)
/// };
/// assert_eq!(f(&array(2.0)).item::<f32>(), 4.0);
/// assert_eq!(grad(f)(&array(2.0)).item::<f32>(), 3.0);
///
/// // Over a batch, one sum along the axes that are left.
/// let total = |x: &Array| {
///     let vmap = |x: &[Array], axes: &[Option<usize>]| {
///         let rest: Vec<isize> = (0..x[0].ndim() as isize).filter(|&i| Some(i as usize) != axes[0]).collect();
///         Ok((vec![x[0].sum(rest)], vec![Some(0)]))
///     };
///     let rules = Rules { vmap: Some(Arc::new(vmap)), ..Rules::default() };
///     custom_function("total", &[x.clone()], |x| Ok(vec![x[0].sum(())]), rules).unwrap().remove(0)
/// };
/// assert_eq!(vmap(total)(&array([[1.0, 2.0], [3.0, 4.0]])).to_vec::<f32>(), [3.0, 7.0]);
/// ```
///
/// # Errors
/// Those of `f` and the rules; and where a rule gives another number of arrays, or other shapes, than there are primals (outputs). Those of `vmap` arise where
/// the call meets a batch.
#[track_caller]
pub fn custom_function(
    name: &str,
    inputs: &[Array],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    rules: Rules<'_>,
) -> Result<Vec<Array>> {
    let Rules { vjp, jvp, vmap } = rules;
    if !is_recorded(inputs) || vjp.is_none() && jvp.is_none() && vmap.is_none() {
        return f(inputs);
    }
    let n = inputs.len();
    let mut outputs = Vec::new();
    let op = "custom_function";
    let body = traced(op, name, inputs, &[], |a| {
        outputs = f(a)?;
        Ok(outputs.clone())
    })?;
    let vjp = match vjp {
        None => None,
        Some(rule) => Some(traced(op, name, inputs, &[&outputs[..], &outputs].concat(), |a| {
            let (cotangents, values) = a[n..].split_at(outputs.len());
            agree("vjp", "a cotangent for each input", rule(&a[..n], cotangents, values)?, inputs)
        })?),
    };
    let jvp = match jvp {
        None => None,
        Some(rule) => Some(traced(op, name, inputs, inputs, |a| {
            agree("jvp", "a tangent for each output", rule(&a[..n], &a[n..])?, &outputs)
        })?),
    };
    // Every graph takes the inputs, then all constants, its own among them, then what else its rule is given.
    let mut constants: Vec<Array> = Vec::new();
    let cuts = [Some(body), vjp, jvp];
    let starts: Vec<usize> = cuts
        .iter()
        .map(|cut| {
            let start = constants.len();
            constants.extend(cut.iter().flat_map(|c| c.constants.iter().cloned()));
            start
        })
        .collect();
    let mut graphs =
        cuts.into_iter().zip(starts).map(|(cut, start)| cut.map(|c| Arc::new(with_all(c, n, start, &constants))));
    let mut next = || graphs.next().flatten();
    let (body, vjp, jvp) = (next(), next(), next());
    let body = body.ok_or_else(|| Error::internal("custom_function", "the function has no graph"))?;
    let derivative = match (&vjp, &jvp) {
        (None, None) => Derivative::Body,
        _ => Derivative::Custom { vjp, jvp },
    };
    let vmap = vmap.map(|vmap| VmapRule(Arc::new(batch::Rule { primals: n, vmap })));
    let call = Call { derivative, vmap, ..Call::new(name, body) };
    record(call, inputs, constants)
}

/// The outputs of `f`, which reverse mode computes again from the inputs when it needs values on the way to them: less memory for more time.
///
/// ```
/// use lazuli_core::{Array, array, custom, grad};
/// let f = |x: &Array| custom::checkpoint("f", &[x.clone()], |x| Ok(vec![x[0].sin().exp()])).unwrap().remove(0);
/// assert_eq!(grad(f)(&array(0.0)).item::<f32>(), 1.0);
/// ```
///
/// # Errors
/// Those of `f`.
#[track_caller]
pub fn checkpoint(name: &str, inputs: &[Array], f: impl FnOnce(&[Array]) -> Result<Vec<Array>>) -> Result<Vec<Array>> {
    if !is_recorded(inputs) {
        return f(inputs);
    }
    let body = traced("checkpoint", name, inputs, &[], f)?;
    let graph = Graph { constants: 0, ..body.graph };
    let call = Call { derivative: Derivative::Recompute, ..Call::new(name, graph) };
    record(call, inputs, body.constants)
}

/// Whether somebody may ask for the derivative: whether a function of these arrays is traced, not called alone.
pub fn is_recorded(inputs: &[Array]) -> bool {
    trace::is_tracing() || inputs.iter().any(Array::is_traced)
}

/// What `f` does on stand-ins of these arrays.
fn traced(
    transform: &'static str,
    name: &str,
    inputs: &[Array],
    more: &[Array],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Cut> {
    let trace = Trace::begin(name, transform);
    let holes: Vec<Array> = inputs.iter().chain(more).map(|a| trace.stand_in(a)).collect();
    let outputs = f(&holes)?;
    trace::cut(&holes, &outputs, &trace.end())
}

/// The arrays, in the dtypes of `like`, if they are as many and of the same shapes.
fn agree(rule: &str, what: &str, arrays: Vec<Array>, like: &[Array]) -> Result<Vec<Array>> {
    if arrays.len() != like.len() {
        let (got, want) = (arrays.len(), like.len());
        return Err(Error::value(
            "custom_function",
            format!("the {rule} gave {got} arrays for {want}: it must give {what}"),
        ));
    }
    let check = |(k, (a, like)): (usize, (Array, &Array))| {
        if !a.same_shape(like) {
            let (got, want) = (shape::show(a.shape()), shape::show(like.shape()));
            let message = format!("array {k} of the {rule} has shape {got}, not {want}: it must give {what}");
            return Err(Error::value("custom_function", message));
        }
        ops::astype(&a, like.dtype())
    };
    arrays.into_iter().zip(like).enumerate().map(check).collect()
}

/// The graph of a cut, whose own constants are `constants[start..]`, with the first `n` inputs, all constants, and then the other inputs.
fn with_all(cut: Cut, n: usize, start: usize, constants: &[Array]) -> Graph {
    let Cut { mut graph, constants: own } = cut;
    let arguments: Vec<Var> = graph.arguments().to_vec();
    let own_vars = graph.inputs.split_off(arguments.len());
    let mut all: Vec<Var> = Vec::with_capacity(constants.len());
    for (k, constant) in constants.iter().enumerate() {
        all.push(match k.checked_sub(start).filter(|&k| k < own.len()) {
            Some(k) => own_vars[k],
            None => {
                graph.avals.push(constant.aval().clone());
                Var(graph.avals.len() as u32 - 1)
            }
        });
    }
    graph.inputs = arguments[..n].iter().chain(&all).chain(&arguments[n..]).copied().collect();
    graph.constants = 0;
    graph
}

#[track_caller]
fn record(call: Call, inputs: &[Array], constants: Vec<Array>) -> Result<Vec<Array>> {
    let avals: SmallVec<[_; 1]> = call.graph.output_avals().into();
    let n = avals.len() as u32;
    let operands = inputs.iter().cloned().chain(constants).collect();
    let out = trace::record(call.into(), operands, SmallVec::new(), avals, trace::meta())?;
    Ok((0..n).map(|k| out.sibling(k)).collect())
}
