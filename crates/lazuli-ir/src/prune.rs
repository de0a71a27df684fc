//! Dead code elimination.

use crate::graph::{Atom, Effect, Graph, Var};

/// The graph without equations that no output needs; those with an ordered effect stay. Variables are numbered anew. Inputs stay.
///
/// ```
/// use lazuli_ir::{Graph, prune};
/// let graph: Graph = "graph v1 (a: f32[3]) {\n  b: f32[3] = exp a\n  c: f32[3] = sin a\n  return c\n}".parse()?;
/// assert_eq!(prune(graph).equations.len(), 1);
/// # Ok::<(), lazuli_ir::Error>(())
/// ```
pub fn prune(mut graph: Graph) -> Graph {
    let mut live = vec![false; graph.avals.len()];
    let mark = |live: &mut [bool], atom: Atom| {
        if let Atom::Var(v) = atom {
            live[v.0 as usize] = true;
        }
    };
    graph.outputs.iter().for_each(|&a| mark(&mut live, a));
    let mut is_kept = vec![true; graph.equations.len()];
    for (e, is_kept) in graph.equations.iter().zip(&mut is_kept).rev() {
        if e.meta.effect == Effect::None && !e.outputs.iter().any(|v| live[v.0 as usize]) {
            *is_kept = false;
            continue;
        }
        e.inputs.iter().for_each(|&a| mark(&mut live, a));
        e.shapes.iter().for_each(|&v| mark(&mut live, v.into()));
        e.outputs.iter().for_each(|&v| mark(&mut live, v.into()));
    }
    graph.inputs.iter().for_each(|&v| mark(&mut live, v.into()));
    if is_kept.iter().chain(&live).all(|&stays| stays) {
        return graph;
    }
    let mut keep = is_kept.into_iter();
    graph.equations.retain(|_| keep.next() == Some(true));

    let mut number = vec![0; live.len()];
    let mut avals = Vec::with_capacity(live.len());
    for (v, aval) in std::mem::take(&mut graph.avals).into_iter().enumerate() {
        if live[v] {
            number[v] = avals.len() as u32;
            avals.push(aval);
        }
    }
    let var = |v: &mut Var| v.0 = number[v.0 as usize];
    let atom = |a: &mut Atom| {
        if let Atom::Var(v) = a {
            v.0 = number[v.0 as usize];
        }
    };
    for e in &mut graph.equations {
        e.inputs.iter_mut().for_each(atom);
        e.shapes.iter_mut().for_each(var);
        e.outputs.iter_mut().for_each(var);
    }
    graph.inputs.iter_mut().for_each(var);
    graph.outputs.iter_mut().for_each(atom);
    Graph { avals, ..graph }
}
