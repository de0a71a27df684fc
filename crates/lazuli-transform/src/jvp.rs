//! Forward mode.

use crate::env::Env;
use crate::linearize::{Residual, linearize};
use crate::{call, check_differentiable, declare, prune, zeros};
use lazuli_ir::prim::Primals;
use lazuli_ir::prims::Call;
use lazuli_ir::{Atom, Builder, Effect, Graph, Meta, Prim, Result};
use smallvec::SmallVec;

/// Values and directional derivatives. Inputs: the arguments, a tangent for each argument in `wrt` (in that order, of its shape and dtype), the
/// constants. Outputs: those of the graph, then the tangent of each of them (zeros where there is none).
///
/// Errors if an argument in `wrt` is neither float nor complex.
pub fn jvp(graph: &Graph, wrt: &[usize]) -> Result<Graph> {
    check_differentiable("jvp", graph, wrt)?;
    let mut b = Builder::new();
    let arguments = graph.arguments();
    let mut primals = declare(&mut b, graph, arguments);
    let directions = declare(&mut b, graph, &wrt.iter().map(|&i| arguments[i]).collect::<Vec<_>>());
    primals.extend(declare(&mut b, graph, &graph.inputs[arguments.len()..]));
    b.set_constants(graph.constants);
    let mut tangents = vec![None; graph.inputs.len()];
    for (&i, t) in wrt.iter().zip(directions) {
        tangents[i] = Some(t);
    }
    let (mut outputs, tangents) = push_forward(&mut b, graph, &primals, &tangents)?;
    b.meta = Meta::default();
    for (&out, t) in graph.outputs.iter().zip(tangents) {
        outputs.push(match t {
            Some(t) => t,
            None => zeros(&mut b, &graph.aval(out))?,
        });
    }
    Ok(prune(b.finish(outputs)))
}

/// Adds the equations of a graph and those of their jvp rules. Returns the outputs and their tangents (`None` is zero).
pub(crate) fn push_forward(
    b: &mut Builder,
    graph: &Graph,
    primals: &[Atom],
    tangents: &[Option<Atom>],
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let mut values = Env::new(graph, primals.iter().map(|&a| Some(a)));
    let mut moved = Env::new(graph, tangents.iter().copied());
    let tangent = |moved: &Env, a: Atom| a.var().and_then(|v| moved.find(v.into()));
    for e in &graph.equations {
        let tangents: SmallVec<[Option<Atom>; 3]> = e.inputs.iter().map(|&a| tangent(&moved, a)).collect();
        if tangents.iter().all(Option::is_none) {
            values.copy(b, e)?;
            continue;
        }
        let inputs = values.inputs(e);
        let results = if let Prim::Call(call) = &e.prim {
            b.meta = e.meta;
            let (outputs, results) = call_jvp(b, call, &inputs, &tangents)?;
            for (&v, out) in e.outputs.iter().zip(outputs) {
                values.set(v, out);
            }
            results
        } else {
            values.copy(b, e)?;
            b.meta = Meta { effect: Effect::None, ..e.meta };
            let shapes = values.shapes(b, e)?;
            let outputs: SmallVec<[Atom; 1]> = e.outputs.iter().map(|&v| values.get(v.into())).collect();
            e.prim.jvp(b, Primals { inputs: &inputs, shapes: &shapes, outputs: &outputs }, &tangents)?.to_vec()
        };
        for (&v, t) in e.outputs.iter().zip(results) {
            if let Some(t) = t {
                debug_assert_eq!(b.aval(t), graph.avals[v.0 as usize], "tangent of {}", e.prim.name());
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
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let body = call::body(b, call, inputs)?;
    let wrt: Vec<usize> = (0..inputs.len()).filter(|&k| tangents[k].is_some()).collect();
    let parts = linearize(&body, &wrt)?;
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
