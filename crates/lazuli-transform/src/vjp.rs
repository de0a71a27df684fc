//! Reverse mode.

use crate::env::Env;
use crate::jvp::{Mode, push_forward};
use crate::transpose::walk_back;
use crate::{check_differentiable, declare, finish_for_any_shapes, prune, zeros};
use lazuli_ir::{AnyShapes, Atom, Builder, Error, Graph, Meta, Result, Scalar, Var, shape};
use smallvec::SmallVec;

/// Values and cotangents. Inputs: the arguments, a cotangent for each output (of its shape and dtype; that of an output that is neither float nor complex
/// is not used), the constants. Outputs: those of the graph, then the cotangent of each argument in `wrt` (zeros where it has no influence).
///
/// Errors if an argument in `wrt` is neither float nor complex.
pub fn vjp(graph: &Graph, wrt: &[usize]) -> Result<Graph> {
    let mut b = Builder::new();
    let outputs = vjp_in(&mut b, graph, wrt)?;
    Ok(prune(b.finish(outputs)))
}

/// The same as a graph for other shapes too.
///
/// Errors also if there is none, because a rule goes by an extent in the middle of the graph.
pub fn vjp_for_any_shapes(graph: &Graph, wrt: &[usize]) -> Result<AnyShapes> {
    let mut b = Builder::for_any_shapes();
    let outputs = vjp_in(&mut b, graph, wrt)?;
    finish_for_any_shapes(b, outputs)
}

fn vjp_in(b: &mut Builder, graph: &Graph, wrt: &[usize]) -> Result<Vec<Atom>> {
    check_differentiable("vjp", graph, wrt)?;
    reverse(b, graph, wrt, |b| graph.outputs.iter().map(|&out| Some(b.input(graph.aval(out)).into())).collect())
}

/// Values and gradients. Inputs: those of the graph. Outputs: those of the graph, then the gradient of the first of them, a scalar, with respect to each
/// argument in `wrt`. The other outputs are auxiliary. The gradient of a complex result is that of its real part.
///
/// Errors if the first output is not a float or complex scalar, or an argument in `wrt` is neither float nor complex.
pub fn grad(graph: &Graph, wrt: &[usize]) -> Result<Graph> {
    check_differentiable("grad", graph, wrt)?;
    let Some(&loss) = graph.outputs.first() else {
        return Err(Error::value("grad", "the function returns no array: return the scalar to differentiate"));
    };
    let aval = graph.aval(loss);
    if aval.rank() != 0 {
        return Err(Error::value(
            "grad",
            format!(
                "the function must return a scalar first, not an array of shape {}: reduce it with sum or mean, or use vjp with a cotangent of that shape",
                shape::show(&aval.shape)
            ),
        ));
    }
    if !aval.dtype.is_inexact() {
        return Err(Error::value(
            "grad",
            format!(
                "output 0 has dtype {}, and derivatives are taken of float and complex results: convert it with astype(float32) before it is computed \
                 from the arguments",
                aval.dtype
            ),
        ));
    }
    let mut b = Builder::new();
    let outputs = reverse(&mut b, graph, wrt, |_| {
        let mut cotangents = vec![None; graph.outputs.len()];
        cotangents[0] = Some(Scalar::one(aval.dtype).into());
        cotangents
    })?;
    Ok(prune(b.finish(outputs)))
}

/// The outputs of a vjp for these cotangents.
fn reverse(
    b: &mut Builder,
    graph: &Graph,
    wrt: &[usize],
    cotangents: impl FnOnce(&mut Builder) -> Vec<Option<Atom>>,
) -> Result<Vec<Atom>> {
    // The equations, those of their derivatives, and those of the transpose.
    b.reserve(3 * graph.equations.len());
    let arguments = graph.arguments();
    let mut primals = declare(b, graph, arguments);
    let cotangents = cotangents(b);
    primals.extend(declare(b, graph, &graph.inputs[arguments.len()..]));
    b.set_constants(graph.constants);
    let mut directions = vec![None; graph.inputs.len()];
    let unknown: SmallVec<[Var; 4]> =
        wrt.iter().map(|&i| b.unknown(graph.avals[graph.inputs[i].0 as usize].clone())).collect();
    wrt.iter().zip(&unknown).for_each(|(&i, &v)| directions[i] = Some(v.into()));
    let (mut outputs, tangents) = push_forward(b, graph, &primals, &directions, Mode::Reverse)?;
    outputs.iter().zip(&cotangents).for_each(|(&out, ct)| ct.iter().for_each(|&ct| b.alike(ct, out)));

    let (linear, depends) = b.take_dependents(&unknown);
    let values = Env::known(&depends);
    let mut pulled = Env::empty(depends.len());
    let seeds = tangents.into_iter().zip(cotangents).filter_map(|(t, ct)| Some((t?, ct)));
    walk_back(b, &linear, &values, &mut pulled, seeds, |b, a| b.aval(a))?;
    b.meta = Meta::default();
    for (&i, &v) in wrt.iter().zip(&unknown) {
        outputs.push(match pulled.take(v) {
            Some(ct) => ct,
            None => zeros(b, &graph.avals[graph.inputs[i].0 as usize])?,
        });
        b.alike(outputs[outputs.len() - 1], v.into());
    }
    Ok(outputs)
}
