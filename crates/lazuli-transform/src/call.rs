//! Calls: equations that hold a graph.

use lazuli_ir::prims::Call;
use lazuli_ir::{Atom, Aval, Builder, Graph, Result};
use std::borrow::Cow;

/// The body of a call for the operands that it is given.
pub(crate) fn body<'a>(b: &Builder, call: &'a Call, inputs: &[Atom]) -> Result<Cow<'a, Graph>> {
    let avals: Vec<Aval> = inputs.iter().map(|&a| b.aval(a)).collect();
    call.body(&avals.iter().collect::<Vec<_>>())
}

/// Adds a call of this graph, without the inputs that it does not use; the equations themselves if there is but one, beside those for numbers that are literals for known shapes.
pub(crate) fn emit(b: &mut Builder, name: &str, mut graph: Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
    let literals = if b.is_for_any_shapes() { graph.literals().count() } else { 0 };
    if graph.equations.len() - literals <= 1 {
        return b.inline(&graph, inputs);
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
    Ok(b.equation(Call::new(name, graph), &operands, &[])?.into_iter().map(Atom::from).collect())
}
