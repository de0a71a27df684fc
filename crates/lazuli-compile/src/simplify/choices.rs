//! Choices: what is decided while compiling runs without them, and what nobody reads is neither given nor taken.

use super::simplify;
use lazuli_ir::prims::Cond;
use lazuli_ir::{Atom, Effect, Equation, Graph, Prim, Var, prune};
use smallvec::SmallVec;
use std::sync::Arc;

/// The branch that runs whatever the value is: the predicate is a literal, or both branches are the same.
pub(super) fn decided(cond: &Cond, predicate: Atom) -> Option<&Arc<Graph>> {
    let [on_true, on_false] = &cond.branches;
    match predicate {
        Atom::Lit(s) if s.bits != 0 => Some(on_true),
        Atom::Lit(_) => Some(on_false),
        Atom::Var(_) if on_true == on_false => Some(on_true),
        Atom::Var(_) => None,
    }
}

/// The choice between simplified branches.
pub(super) fn simplified(cond: &Cond) -> Cond {
    Cond { branches: cond.branches.each_ref().map(|g| simplify(g).into()) }
}

/// The graph with choices that give only what is read, and take only what their branches read.
pub(super) fn narrowed(graph: Graph) -> Graph {
    if !graph.equations.iter().any(|e| matches!(e.prim, Prim::Cond(_))) {
        return graph;
    }
    let mut live = vec![false; graph.avals.len()];
    graph.outputs.iter().filter_map(|a| a.var()).for_each(|v| live[v.0 as usize] = true);
    let mut kept: Vec<Equation> = Vec::with_capacity(graph.equations.len());
    for e in graph.equations.iter().rev() {
        if e.meta.effect == Effect::None && !e.outputs.iter().any(|v| live[v.0 as usize]) {
            continue;
        }
        let e = match &e.prim {
            Prim::Cond(cond) => narrow(e, cond, &live),
            _ => e.clone(),
        };
        e.inputs.iter().filter_map(|a| a.var()).chain(e.shapes.iter().copied()).for_each(|v| live[v.0 as usize] = true);
        kept.push(e);
    }
    kept.reverse();
    prune(Graph { equations: kept.into(), ..graph })
}

fn narrow(e: &Equation, cond: &Cond, live: &[bool]) -> Equation {
    let is_live = |v: &&Var| live[v.0 as usize];
    let wanted: SmallVec<[usize; 4]> = (0..e.outputs.len()).filter(|&k| live[e.outputs[k].0 as usize]).collect();
    let mut branches = cond.branches.each_ref().map(|g| {
        let outputs = wanted.iter().map(|&k| g.outputs[k]).collect();
        narrowed(prune(Graph { outputs, ..Graph::clone(g) }))
    });
    let is_read: Vec<bool> = (0..e.inputs.len() - 1).map(|k| branches.iter().any(|g| reads(g, g.inputs[k]))).collect();
    for branch in &mut branches {
        let mut read = is_read.iter();
        branch.inputs.retain(|_| read.next() == Some(&true));
        *branch = prune(std::mem::take(branch));
    }
    let inputs = e.inputs.iter().enumerate().filter(|&(k, _)| k == 0 || is_read[k - 1]).map(|(_, &a)| a).collect();
    let outputs = e.outputs.iter().filter(is_live).copied().collect();
    let [on_true, on_false] = branches;
    Equation { prim: Cond::new(on_true, on_false).into(), inputs, outputs, ..e.clone() }
}

/// Whether a graph reads a variable, its extents at least.
fn reads(graph: &Graph, v: Var) -> bool {
    let reads = |e: &Equation| e.inputs.contains(&v.into()) || e.shapes.contains(&v);
    graph.outputs.contains(&v.into()) || graph.equations.iter().any(reads)
}
