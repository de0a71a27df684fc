//! Forward mode.

use crate::env::Env;
use crate::linearize::{Residual, linearize_for};
use crate::{call, check_differentiable, cond, declare, finish_for_any_shapes, prune, zeros};
use lazuli_ir::prim::Primals;
use lazuli_ir::prims::{Broadcast, Call, Derivative};
use lazuli_ir::{AnyShapes, Atom, Aval, Builder, Dim, Effect, Error, Graph, Meta, Prim, Result, Scalar, small};
use smallvec::SmallVec;

/// Values and directional derivatives. Inputs: the arguments, a tangent for each argument in `wrt` (in that order, of its shape and dtype), the
/// constants. Outputs: those of the graph, then the tangent of each of them (zeros where there is none).
///
/// Errors if an argument in `wrt` is neither float nor complex.
pub fn jvp(graph: &Graph, wrt: &[usize]) -> Result<Graph> {
    let mut b = Builder::new();
    let outputs = forward(&mut b, graph, wrt)?;
    Ok(prune(b.finish(outputs)))
}

/// The same as a graph for other shapes too.
///
/// Errors also if there is none, because a rule goes by an extent in the middle of the graph.
pub fn jvp_for_any_shapes(graph: &Graph, wrt: &[usize]) -> Result<AnyShapes> {
    let mut b = Builder::for_any_shapes();
    let outputs = forward(&mut b, graph, wrt)?;
    finish_for_any_shapes(b, outputs)
}

/// The outputs of a jvp.
fn forward(b: &mut Builder, graph: &Graph, wrt: &[usize]) -> Result<Vec<Atom>> {
    check_differentiable("jvp", graph, wrt)?;
    let arguments = graph.arguments();
    let mut primals = declare(b, graph, arguments);
    let directions = declare(b, graph, &wrt.iter().map(|&i| arguments[i]).collect::<Vec<_>>());
    primals.extend(declare(b, graph, &graph.inputs[arguments.len()..]));
    b.set_constants(graph.constants);
    let mut tangents = vec![None; graph.inputs.len()];
    for (&i, t) in wrt.iter().zip(directions) {
        tangents[i] = Some(t);
    }
    let (mut outputs, tangents) = push_forward(b, graph, &primals, &tangents, Mode::Forward)?;
    b.meta = Meta::default();
    for (k, (&out, t)) in graph.outputs.iter().zip(tangents).enumerate() {
        outputs.push(match t {
            Some(t) => t,
            None => zeros(b, &graph.aval(out))?,
        });
        b.alike(outputs[graph.outputs.len() + k], outputs[k]);
    }
    Ok(outputs)
}

/// What becomes of the tangents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are computed.
    Forward,
    /// Their equations are transposed, and not run.
    Reverse,
}

/// Adds the equations of a graph and those of their jvp rules. Returns the outputs and their tangents (`None` is zero).
pub(crate) fn push_forward(
    b: &mut Builder,
    graph: &Graph,
    primals: &[Atom],
    tangents: &[Option<Atom>],
    mode: Mode,
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let mut values = Env::new(graph, primals.iter().map(|&a| Some(a)));
    let mut moved = Env::new(graph, tangents.iter().copied());
    for (&primal, tangent) in primals.iter().zip(tangents) {
        tangent.iter().for_each(|&t| b.alike(t, primal));
    }
    let tangent = |moved: &Env, a: Atom| a.var().and_then(|v| moved.find(v.into()));
    for e in &graph.equations {
        let tangents: SmallVec<[Option<Atom>; 3]> = small(e.inputs.iter().map(|&a| tangent(&moved, a)));
        if tangents.iter().all(Option::is_none) {
            values.copy(b, graph, e)?;
            continue;
        }
        let inputs = values.inputs(e);
        let results = if let Prim::Call(call) = &e.prim {
            b.meta = e.meta;
            let (outputs, results) = call_jvp(b, call, &inputs, &tangents, mode)?;
            for (&v, out) in e.outputs.iter().zip(outputs) {
                values.set(v, out);
            }
            results.into()
        } else if let Prim::Cond(cond) = &e.prim {
            b.meta = e.meta;
            let (outputs, results) = cond::jvp(b, cond, &inputs, &tangents, mode)?;
            for (&v, out) in e.outputs.iter().zip(outputs) {
                values.set(v, out);
            }
            results.into()
        } else {
            values.copy(b, graph, e)?;
            b.meta = Meta { effect: Effect::None, ..e.meta };
            let shapes = values.shapes(b, e)?;
            let outputs: SmallVec<[Atom; 1]> = small(e.outputs.iter().map(|&v| values.get(v.into())));
            e.prim.jvp(b, Primals { inputs: &inputs, shapes: &shapes, outputs: &outputs }, &tangents)?
        };
        for (&v, t) in e.outputs.iter().zip(results) {
            if let Some(t) = t {
                debug_assert_eq!(b.aval(t), graph.avals[v.0 as usize], "tangent of {}", e.prim.name());
                b.alike(t, values.get(v.into()));
                moved.set(v, t);
            }
        }
    }
    let outputs = graph.outputs.iter().map(|&a| values.get(a)).collect();
    let tangents = graph.outputs.iter().map(|&a| tangent(&moved, a)).collect();
    Ok((outputs, tangents))
}

/// A call becomes two: its body, which also returns what the derivative needs, and the linear part on the tangents.
fn call_jvp(
    b: &mut Builder,
    call: &Call,
    inputs: &[Atom],
    tangents: &[Option<Atom>],
    mode: Mode,
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    match (&call.derivative, mode) {
        (Derivative::Custom { vjp: Some(_), .. }, Mode::Reverse)
        | (Derivative::Custom { jvp: Some(_), .. }, Mode::Forward) => {
            return custom_jvp(b, call, inputs, tangents, mode);
        }
        (Derivative::Recompute, Mode::Reverse) => return recomputing_jvp(b, call, inputs, tangents),
        (Derivative::Pullback { .. }, _) => {
            return Err(Error::internal(
                "call",
                "the pullback of a custom vjp is transposed before it is differentiated",
            ));
        }
        _ => {}
    }
    let body = call::body(b, call, inputs)?;
    let wrt: Vec<usize> = (0..inputs.len()).filter(|&k| tangents[k].is_some()).collect();
    let parts = linearize_for(Some((b, inputs)), &body, &wrt, mode)?;
    let mut outputs = call::emit(b, &call.name, parts.forward, inputs)?;
    b.meta.effect = Effect::None;
    let mut operands: Vec<Atom> = Vec::new();
    for residual in &parts.residuals {
        operands.push(match *residual {
            Residual::Input(k) => inputs[k],
            Residual::Output(k) => outputs[k],
        });
    }
    operands.extend(tangents.iter().flatten());
    let results = call::emit(b, &format!("{}_jvp", call.name), parts.linear, &operands)?;
    outputs.truncate(body.outputs.len());
    Ok((outputs, parts.tangents.iter().map(|t| t.map(|k| results[k])).collect()))
}

/// The call as it is, and its tangents by a rule of its own: its jvp, or what its vjp is the transpose of.
fn custom_jvp(
    b: &mut Builder,
    call: &Call,
    inputs: &[Atom],
    tangents: &[Option<Atom>],
    mode: Mode,
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let avals: Vec<Aval> = inputs.iter().map(|&a| b.aval(a)).collect();
    let call = call.rebind(&avals.iter().collect::<Vec<_>>())?;
    let outputs: Vec<Atom> = b.equation(call.clone(), inputs, &[])?.into_iter().map(Atom::from).collect();
    let Derivative::Custom { vjp, jvp } = &call.derivative else { unreachable!("the caller looked") };
    let primals = match (mode, vjp, jvp) {
        (Mode::Reverse, Some(vjp), _) => vjp.outputs.len(),
        (_, _, Some(jvp)) => jvp.inputs.len() - inputs.len(),
        _ => unreachable!("the caller looked"),
    };
    if tangents[..primals].iter().all(Option::is_none) {
        return Ok((outputs.clone(), vec![None; outputs.len()]));
    }
    b.meta.effect = Effect::None;
    let mut operands = inputs.to_vec();
    if mode == Mode::Reverse {
        operands.extend(&outputs);
    }
    for (tangent, aval) in tangents[..primals].iter().zip(&avals) {
        operands.push(match tangent {
            Some(t) => *t,
            None => zeros(b, aval)?,
        });
    }
    let results = match (mode, vjp, jvp) {
        (Mode::Reverse, Some(vjp), _) => {
            let stub = Call::new(format!("{}_jvp", call.name), stub(b, &operands, &outputs)?);
            let pullback = Call { derivative: Derivative::Pullback { vjp: vjp.clone() }, ..stub };
            b.equation(pullback, &operands, &[])?.into_iter().map(Atom::from).collect()
        }
        (_, _, Some(jvp)) => call::emit(b, &format!("{}_jvp", call.name), Graph::clone(jvp), &operands)?,
        _ => unreachable!("the caller looked"),
    };
    let has_tangent = |&a: &Atom| b.dtype(a).is_inexact();
    let differentiable: Vec<bool> = outputs.iter().map(has_tangent).collect();
    let results = results.into_iter().zip(differentiable).map(|(t, yes)| yes.then_some(t)).collect();
    Ok((outputs, results))
}

/// A body that gives zeros of the avals of `outputs`: it stands for one that is not run.
fn stub(b: &Builder, operands: &[Atom], outputs: &[Atom]) -> Result<Graph> {
    let mut inner = Builder::new();
    for &a in operands {
        inner.input(b.aval(a));
    }
    let mut zeros = Vec::new();
    for &out in outputs {
        let aval = b.aval(out);
        let shape = aval.shape.iter().map(|&n| Dim::Known(n)).collect();
        zeros.push(inner.op(Broadcast { shape }, &[Scalar::zero(aval.dtype).into()])?);
    }
    Ok(inner.finish(zeros))
}

/// The call as it is, and one that computes the body again on its way to the tangents: transposed, it happens when cotangents arrive.
fn recomputing_jvp(
    b: &mut Builder,
    call: &Call,
    inputs: &[Atom],
    tangents: &[Option<Atom>],
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let outputs: Vec<Atom> = b.equation(call.clone(), inputs, &[])?.into_iter().map(Atom::from).collect();
    let body = call::body(b, call, inputs)?;
    let mut inner = b.inner();
    let primals = declare(&mut inner, &body, &body.inputs);
    let directions: Vec<Option<Atom>> = tangents.iter().map(|t| t.map(|t| inner.input(b.aval(t)).into())).collect();
    // What happened once does not happen again.
    let (_, results) = push_forward(&mut inner, &body.without_effects(), &primals, &directions, Mode::Reverse)?;
    let found = results.iter().copied().flatten().collect();
    let graph = prune(inner.finish_within(b, inputs, &primals, found)?);
    let operands: Vec<Atom> = inputs.iter().copied().chain(tangents.iter().flatten().copied()).collect();
    b.meta.effect = Effect::None;
    b.meta.again += 1;
    let found = b.equation(Call::new(format!("{}_jvp", call.name), graph), &operands, &[])?;
    let mut found = found.into_iter().map(Atom::from);
    Ok((outputs, results.iter().map(|t| t.and_then(|_| found.next())).collect()))
}
