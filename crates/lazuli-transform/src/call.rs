//! Calls: equations that hold a graph.

use crate::env::Env;
use lazuli_ir::prims::Call;
use lazuli_ir::{Atom, Aval, Builder, Equation, Graph, Location, Meta, Prim, Result};
use std::borrow::Cow;
use std::sync::Arc;

/// The body of a call for the operands that it is given.
pub(crate) fn body<'a>(b: &Builder, call: &'a Call, inputs: &[Atom]) -> Result<Cow<'a, Graph>> {
    let avals: Vec<Aval> = inputs.iter().map(|&a| b.aval(a)).collect();
    if call.graph.inputs.iter().zip(&avals).all(|(v, aval)| &call.graph.avals[v.0 as usize] == aval) {
        return Ok(Cow::Borrowed(&call.graph));
    }
    let rebound = call.rebind(&avals.iter().collect::<Vec<_>>())?;
    Ok(Cow::Owned(Arc::unwrap_or_clone(rebound.graph)))
}

/// Adds a call of this graph, without the inputs that it does not use; the equations themselves if there is but one.
pub(crate) fn emit(b: &mut Builder, name: &str, mut graph: Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
    if graph.equations.len() <= 1 {
        return inline(b, &graph, inputs);
    }
    let mut used = vec![false; graph.avals.len()];
    for e in &graph.equations {
        for v in e.inputs.iter().filter_map(|a| a.var()).chain(e.shapes.iter().copied()) {
            used[v.0 as usize] = true;
        }
    }
    for v in graph.outputs.iter().filter_map(|a| a.var()) {
        used[v.0 as usize] = true;
    }
    let (mut kept, mut operands) = (Vec::new(), Vec::new());
    for (&v, &atom) in graph.inputs.iter().zip(inputs) {
        if used[v.0 as usize] {
            kept.push(v);
            operands.push(atom);
        }
    }
    if kept.len() < graph.inputs.len() {
        graph.inputs = kept;
        graph = crate::prune(graph);
    }
    let call = Call::new(name, graph);
    Ok(b.equation(call, &operands, &[])?.into_iter().map(Atom::from).collect())
}

/// Adds the equations of a graph, those of calls within it in place of the calls. They happen where the builder stands.
fn inline(b: &mut Builder, graph: &Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
    let outer = b.meta;
    let here = |e: &Equation| {
        let location = if outer.location == Location::UNKNOWN { e.meta.location } else { outer.location };
        Meta { location, stream: outer.stream, effect: e.meta.effect }
    };
    let outputs = expand(b, graph, inputs, here)?;
    b.meta = outer;
    Ok(outputs)
}

/// Adds the equations of a graph with the meta that is made for each; calls are inlined.
fn expand(b: &mut Builder, graph: &Graph, inputs: &[Atom], meta: impl Fn(&Equation) -> Meta) -> Result<Vec<Atom>> {
    let mut env = Env::new(graph, inputs.iter().map(|&a| Some(a)));
    for e in &graph.equations {
        let Prim::Call(call) = &e.prim else {
            env.copy(b, &Equation { meta: meta(e), ..e.clone() })?;
            continue;
        };
        b.meta = meta(e);
        let operands = env.inputs(e);
        let body = body(b, call, &operands)?;
        let outputs = inline(b, &body, &operands)?;
        for (&v, out) in e.outputs.iter().zip(outputs) {
            env.set(v, out);
        }
    }
    Ok(graph.outputs.iter().map(|&a| env.get(a)).collect())
}

/// The same program without calls: their bodies stand in place of them, at the call's location and on its stream.
pub fn inline_calls(graph: &Graph) -> Result<Graph> {
    if !graph.equations.iter().any(|e| matches!(e.prim, Prim::Call(_))) {
        return Ok(graph.clone());
    }
    let mut b = Builder::new();
    let inputs = crate::declare(&mut b, graph, &graph.inputs);
    b.set_constants(graph.constants);
    let outputs = expand(&mut b, graph, &inputs, |e| e.meta)?;
    Ok(b.finish(outputs))
}
