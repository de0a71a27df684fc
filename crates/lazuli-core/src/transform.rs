//! `vjp`, `jvp` and `vmap` of functions of arrays: run, cut, transform, replay.
//!
//! The front ends put trees and argument numbers on top. The function is called once, on marked arrays.

use crate::array::Array;
use crate::batch;
use crate::shapeless::{self, is_symbolic};
use crate::trace::{self, Cut, Trace};
use lazuli_ir::param::{Param, Params, join};
use lazuli_ir::prims::{GraphRule, ReduceOp, Source};
use lazuli_ir::{AnyShapes, Aval, Error, Fixed, Graph, Result, Scalar, Shape, shape};
use smallvec::SmallVec;
use std::sync::Arc;

/// Values of `f`, and a number of its cotangents pulled back.
#[derive(Debug)]
pub struct Pulled {
    /// What the function returned.
    pub outputs: Vec<Array>,
    /// One per input.
    pub cotangents: Vec<Array>,
}

/// Runs `f` on marked inputs. Values are there: `f` may evaluate them and branch on them.
#[track_caller]
fn traced(
    name: &str,
    transform: &'static str,
    inputs: &[Array],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Cut> {
    let trace = Trace::begin_with_values(name, transform);
    let marked: Vec<Array> = inputs.iter().map(|a| trace.mark(a)).collect();
    let outputs = f(&marked)?;
    trace::cut(&marked, &outputs, &trace.end())
}

/// Outputs of `f` at `primals`, and the cotangents of the primals that `cotangents` of the outputs pull back to. Those are cast to the dtypes of the outputs.
///
/// # Errors
/// If a primal or an output that is differentiated is not float or complex, or shapes differ.
pub fn vjp(
    name: &str,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    primals: &[Array],
    cotangents: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Pulled> {
    // Cotangents may depend on the number and shapes of the outputs, so they are asked for after the trace.
    let mut outputs = Vec::new();
    let cut = traced(name, "vjp", primals, |marked| {
        outputs = f(marked)?;
        Ok(outputs.clone())
    })?;
    let cts = cotangents(&outputs)?;
    if cts.len() != outputs.len() {
        return Err(Error::value(
            "vjp",
            format!("{} cotangents for {} outputs: give one each", cts.len(), outputs.len()),
        ));
    }
    for (i, (ct, out)) in cts.iter().zip(&outputs).enumerate() {
        if !ct.same_shape(out) {
            let (a, b) = (shape::show(ct.shape()), shape::show(out.shape()));
            return Err(Error::value("vjp", format!("cotangent {i} has shape {a}, its output {b}: they must agree")));
        }
    }
    let cts = in_dtypes_of(&outputs, &cts)?;
    let operands: Vec<Array> = primals.iter().chain(&cts).chain(&cut.constants).cloned().collect();
    let transform = Transform::Vjp { primals: primals.len(), cotangents: cts.len() };
    let mut results = transform.apply(cut.graph, &operands)?;
    let cotangents = results.split_off(outputs.len());
    Ok(Pulled { outputs: results, cotangents })
}

/// Outputs of `f` at `primals`, and the gradient of its first output, a scalar, with respect to every primal. The other outputs are passed through.
pub fn value_and_grad(name: &str, f: impl FnOnce(&[Array]) -> Result<Vec<Array>>, primals: &[Array]) -> Result<Pulled> {
    let seed = |outputs: &[Array]| {
        let Some(loss) = outputs.first() else {
            return Err(Error::value(
                "grad",
                "the function returned no array: the first output must be the scalar to differentiate",
            ));
        };
        if loss.ndim() != 0 {
            let s = shape::show(loss.shape());
            return Err(Error::value(
                "grad",
                format!(
                    "the function returned an array of shape {s}: the gradient is that of a scalar, take the sum or mean of it, or use vjp"
                ),
            ));
        }
        let zero = |a: &Array| crate::ops::full_like(a, Scalar::zero(a.dtype()));
        let one = Array::scalar(Scalar::one(loss.dtype()));
        std::iter::once(Ok(one)).chain(outputs[1..].iter().map(zero)).collect()
    };
    vjp(name, f, primals, seed)
}

/// Outputs of `f` at `primals`, and their directional derivatives along `tangents`, which are cast to the dtypes of the primals.
pub fn jvp(
    name: &str,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    primals: &[Array],
    tangents: &[Array],
) -> Result<(Vec<Array>, Vec<Array>)> {
    if primals.len() != tangents.len() {
        return Err(Error::value(
            "jvp",
            format!("{} tangents for {} primals: give one each", tangents.len(), primals.len()),
        ));
    }
    for (i, (p, t)) in primals.iter().zip(tangents).enumerate() {
        if !p.same_shape(t) {
            let (a, b) = (shape::show(t.shape()), shape::show(p.shape()));
            return Err(Error::value("jvp", format!("tangent {i} has shape {a}, its primal {b}: they must agree")));
        }
    }
    let tangents = in_dtypes_of(primals, tangents)?;
    let cut = traced(name, "jvp", primals, f)?;
    let operands: Vec<Array> = primals.iter().chain(&tangents).chain(&cut.constants).cloned().collect();
    let mut outputs = Transform::Jvp { primals: primals.len() }.apply(cut.graph, &operands)?;
    let tangents = outputs.split_off(outputs.len() / 2);
    Ok((outputs, tangents))
}

/// Tangents or cotangents, in the dtypes of what they are those of.
fn in_dtypes_of(like: &[Array], arrays: &[Array]) -> Result<Vec<Array>> {
    arrays.iter().zip(like).map(|(a, like)| crate::ops::astype(a, like.dtype())).collect()
}

/// `f` over a batch: input i is mapped along `in_axes[i]`, or given whole to every call; output i has the batch at `out_axes[i]`, or none.
/// `f` sees placeholders without the batch axis; `out_axes` is asked for once the outputs are known.
pub fn vmap(
    name: &str,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    inputs: &[Array],
    in_axes: &[Option<isize>],
    out_axes: impl FnOnce(usize) -> Result<Vec<Option<isize>>>,
) -> Result<Vec<Array>> {
    let axes: Vec<Option<usize>> = std::iter::zip(inputs, in_axes)
        .enumerate()
        .map(|(i, (a, axis))| {
            let Some(axis) = axis else { return Ok(None) };
            let found = shape::normalize_axis("vmap", *axis, a.ndim()).map_err(|_| {
                let of = shape::show(&a.aval().shape);
                Error::value("vmap", format!("in_axes gives axis {axis} for input {i}, which has shape {of}"))
            });
            found.map(Some)
        })
        .collect::<Result<_>>()?;
    let avals: Vec<&Aval> = inputs.iter().map(|a| a.aval()).collect();
    let (_, points) = unbatch(&avals, &axes)?;
    let trace = Trace::begin(name, "vmap");
    let hole = |((a, axis), aval): ((&Array, &Option<usize>), Aval)| match axis {
        // A shapeless trace has to see what the extents of a point are those of; there may be no point.
        Some(axis) if is_symbolic(a) => {
            let point = crate::ops::reduce(ReduceOp::Any, a, Some(&[*axis as isize]), false)?;
            crate::ops::astype(&point, a.dtype())
        }
        None => Ok(trace.stand_in(a)),
        Some(_) => Ok(trace.fixed_placeholder(aval)),
    };
    let holes = std::iter::zip(inputs, &axes).zip(points).map(hole).collect::<Result<Vec<_>>>()?;
    let outputs = f(&holes)?;
    let cut = trace::cut(&holes, &outputs, &trace.end())?;
    let out_axes = out_axes(outputs.len())?;
    if batch::has_rules(&cut.graph) {
        let constants = cut.constants.iter().map(|a| (a.clone(), None));
        let operands: Vec<_> = inputs.iter().cloned().zip(axes).chain(constants).collect();
        return batch::vmap(&cut.graph, &operands, &out_axes);
    }
    let in_axes = axes.iter().copied().chain(cut.constants.iter().map(|_| None)).collect();
    let operands: Vec<Array> = inputs.iter().chain(&cut.constants).cloned().collect();
    Transform::Vmap { in_axes, out_axes: out_axes.into() }.apply(cut.graph, &operands)
}

/// The extent of a batch that lies along these axes, and the avals of one point of it.
fn unbatch(avals: &[&Aval], axes: &[Option<usize>]) -> Result<(usize, Vec<Aval>)> {
    let mut size = None;
    let mut points: Vec<Aval> = avals.iter().map(|&a| a.clone()).collect();
    for (i, (point, axis)) in points.iter_mut().zip(axes).enumerate() {
        let Some(axis) = *axis else { continue };
        let n = point.shape.remove(axis);
        if *size.get_or_insert(n) != n {
            return Err(Error::value(
                "vmap",
                format!(
                    "input {i} has extent {n} along its mapped axis {axis}, earlier ones {}: mapped axes must have one extent",
                    size.unwrap_or(0)
                ),
            ));
        }
    }
    match size {
        Some(size) => Ok((size, points)),
        None => Err(Error::value("vmap", "no input is mapped: give at least one axis in in_axes")),
    }
}

/// A transformation of a graph whose inputs are its first operands and its last ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Transform {
    /// With respect to its first inputs, the primals. Cotangents of the outputs are operands between those and the others.
    Vjp { primals: usize, cotangents: usize },
    /// The same; tangents of the primals are operands between.
    Jvp { primals: usize },
    /// Operands and outputs with a batch along these axes.
    Vmap { in_axes: SmallVec<[Option<usize>; 4]>, out_axes: SmallVec<[Option<isize>; 4]> },
}

impl Transform {
    fn name(&self) -> &'static str {
        match self {
            Transform::Vjp { .. } => "vjp",
            Transform::Jvp { .. } => "jvp",
            Transform::Vmap { .. } => "vmap",
        }
    }
    fn params(&self) -> String {
        match self {
            Transform::Vjp { primals, cotangents } => {
                join(&[("primals", primals.show()), ("cotangents", cotangents.show())])
            }
            Transform::Jvp { primals } => join(&[("primals", primals.show())]),
            Transform::Vmap { in_axes, out_axes } => {
                join(&[("in_axes", in_axes.show()), ("out_axes", out_axes.show())])
            }
        }
    }
    /// The inverse of name and parameters.
    pub fn read(name: &str, params: &Params) -> Option<Transform> {
        Some(match name {
            "vjp" => Transform::Vjp { primals: params.read("primals")?, cotangents: params.read("cotangents")? },
            "jvp" => Transform::Jvp { primals: params.read("primals")? },
            "vmap" => Transform::Vmap { in_axes: params.read("in_axes")?, out_axes: params.read("out_axes")? },
            _ => return None,
        })
    }

    /// An error if the transformation is not one of this graph for so many operands: one that was read may not be.
    fn check(&self, graph: &Graph, operands: &[&Aval]) -> Result<()> {
        let n = graph.inputs.len();
        let fits = match self {
            Transform::Vjp { primals, cotangents } => {
                *primals <= n && *cotangents == graph.outputs.len() && operands.len() == n + cotangents
            }
            Transform::Jvp { primals } => *primals <= n && operands.len() == n + primals,
            Transform::Vmap { in_axes, out_axes } => {
                let within = |(axis, a): (&Option<usize>, &&Aval)| axis.is_none_or(|axis| axis < a.rank());
                let axes = in_axes.len() == n && in_axes.iter().zip(operands).all(within);
                axes && operands.len() == n && out_axes.len() == graph.outputs.len()
            }
        };
        if fits {
            return Ok(());
        }
        let message = format!("[{}] does not fit a graph of {n} inputs and {} operands", self.params(), operands.len());
        Err(Error::internal(self.name(), message))
    }

    /// The transformed graph for operands of these avals. `shapeless`: the graph was recorded in a shapeless trace, and may hold calls that are made anew for
    /// each binding of shapes.
    fn of(&self, graph: &Graph, operands: &[&Aval], shapeless: bool) -> Result<Graph> {
        self.check(graph, operands)?;
        // What the function would have recorded if it had been called with these shapes.
        let at_point = || {
            let point = graph.rebind(&self.points(graph, operands))?;
            if shapeless { point.inline_rules() } else { Ok(point) }
        };
        let wrt: Vec<usize> = (0..self.operands().0).collect();
        match self {
            Transform::Vjp { .. } => lazuli_transform::vjp(&at_point()?, &wrt),
            Transform::Jvp { .. } => lazuli_transform::jvp(&at_point()?, &wrt),
            Transform::Vmap { in_axes, out_axes } => {
                let (size, _) = unbatch(operands, in_axes)?;
                let point = at_point()?;
                lazuli_transform::vmap(&point, &arguments_of(&point, in_axes), out_axes, size)
            }
        }
    }

    /// The number of primals, and that of the operands between those and the others.
    fn operands(&self) -> (usize, usize) {
        match self {
            &Transform::Vjp { primals, cotangents } => (primals, cotangents),
            &Transform::Jvp { primals } => (primals, primals),
            Transform::Vmap { in_axes, .. } => (in_axes.len(), 0),
        }
    }

    /// The transformed graph as one for other shapes too, if there is one.
    fn for_any_shapes(&self, graph: &Graph, operands: &[&Aval]) -> Result<AnyShapes> {
        self.check(graph, operands)?;
        let point = graph.renew(&self.points(graph, operands))?.inline_rules_for_any_shapes()?;
        let wrt: Vec<usize> = (0..self.operands().0).collect();
        let mut made = match self {
            Transform::Vjp { .. } => lazuli_transform::vjp_for_any_shapes(&point.graph, &wrt)?,
            Transform::Jvp { .. } => lazuli_transform::jvp_for_any_shapes(&point.graph, &wrt)?,
            Transform::Vmap { in_axes, out_axes } => {
                let (size, _) = unbatch(operands, in_axes)?;
                let in_axes = arguments_of(&point.graph, in_axes);
                lazuli_transform::vmap_for_any_shapes(&point.graph, &in_axes, out_axes, size)?
            }
        };
        let sources = self.sources(graph);
        made.fixed.extend(point.fixed.into_iter().map(|fixed| {
            let (input, axis) = sources[fixed.input].place(fixed.axis);
            Fixed { input, axis }
        }));
        Ok(made)
    }

    /// What the inputs of a graph are among the operands.
    fn sources(&self, graph: &Graph) -> Vec<Source> {
        let (primals, between) = self.operands();
        let batch = |k: usize| match self {
            Transform::Vmap { in_axes, .. } => in_axes.get(k).copied().flatten(),
            _ => None,
        };
        let source = |k: usize| Source { operand: if k < primals { k } else { k + between }, batch: batch(k) };
        (0..graph.inputs.len()).map(source).collect()
    }

    /// The shapes of the inputs of a graph for operands of these avals.
    fn points(&self, graph: &Graph, operands: &[&Aval]) -> Vec<Shape> {
        self.sources(graph).iter().map(|source| source.of(&operands[source.operand].shape)).collect()
    }

    /// Transforms a graph for its operands and records the result; in a shapeless trace as what a rule makes.
    #[track_caller]
    pub fn apply(self, graph: Graph, operands: &[Array]) -> Result<Vec<Array>> {
        if operands.iter().any(is_symbolic) {
            let rule = Transformed { transform: self, graph };
            return shapeless::record_rule(Arc::new(rule), &operands.iter().collect::<Vec<_>>());
        }
        let avals: Vec<&Aval> = operands.iter().map(|a| a.aval()).collect();
        // A constant is marked while the function runs, so what depends on it was recorded as if it might have other shapes.
        trace::replay(&self.of(&graph, &avals, shapeless::is_live())?, operands)
    }
}

/// The axes of the arguments of a graph, among those of all its inputs.
fn arguments_of(graph: &Graph, in_axes: &[Option<usize>]) -> Vec<Option<isize>> {
    in_axes[..graph.arguments().len()].iter().map(|axis| axis.map(|axis| axis as isize)).collect()
}

/// A graph and what is made of it for each binding of shapes.
#[derive(Debug)]
pub(crate) struct Transformed {
    pub transform: Transform,
    pub graph: Graph,
}

impl GraphRule for Transformed {
    fn graph(&self, inputs: &[&Aval]) -> Result<Graph> {
        // Constants are operands like the others.
        Ok(Graph { constants: 0, ..self.transform.of(&self.graph, inputs, true)? })
    }
    fn name(&self) -> &'static str {
        self.transform.name()
    }
    fn params(&self) -> String {
        self.transform.params()
    }
    fn source(&self) -> Option<&Graph> {
        Some(&self.graph)
    }
    fn for_any_shapes(&self, inputs: &[&Aval]) -> Option<AnyShapes> {
        // Constants are operands like the others.
        let AnyShapes { graph, fixed } = self.transform.for_any_shapes(&self.graph, inputs).ok()?;
        Some(AnyShapes { graph: Graph { constants: 0, ..graph }, fixed })
    }
    fn sources(&self) -> Vec<Source> {
        self.transform.sources(&self.graph)
    }
    fn renewed(&self, inputs: &[&Aval]) -> Result<Option<Arc<dyn GraphRule>>> {
        let transform = self.transform.clone();
        transform.check(&self.graph, inputs)?;
        if let Transform::Vmap { in_axes, .. } = &transform {
            unbatch(inputs, in_axes)?;
        }
        let graph = self.graph.renew(&transform.points(&self.graph, inputs))?;
        Ok(Some(Arc::new(Transformed { transform, graph })))
    }
}
