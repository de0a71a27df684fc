//! Definitions of what is wanted for its extents where it is not computed.
//!
//! Equations that are put in the order of need, where extents do not count as one, may ask for those of an array that is computed later, or not at all. A branch of a choice may state those of what
//! the other branch computes. Such an array is stood in for: by an input that has its shape for all shapes, or by one that is computed in the same way, from such, whose data nobody looks at.

use super::{Classes, Extents, Nodes, Stated, has_open, has_open_dims, is_open, of, stated_at, undecided};
use crate::aval::{Aval, Dim};
use crate::graph::{Atom, Effect, Equation, Graph, Var};
use lazuli_kernel::{Result, small};
use smallvec::SmallVec;

/// How many equations are added for extents at most: beyond that the graph is made anew.
const MOST: usize = 32;

/// Arrays that are wanted in a graph for their extents, as they are computed elsewhere.
struct Definitions<'a> {
    equations: &'a [Equation],
    avals: &'a [Aval],
    /// Which equation computes each.
    producers: Vec<Option<usize>>,
    /// What has the shape of each in the graph.
    stand_ins: Vec<Option<Var>>,
    left: usize,
}

impl Extents {
    /// Defines what equations want the extents of. `all`: the equations that there were before they were put in order.
    pub fn define(&mut self, graph: &mut Graph, all: &[Equation]) -> Result<()> {
        let (avals, inputs) = (graph.avals.clone(), graph.inputs.clone());
        let mut definitions = Definitions::new(all, &avals);
        inputs.iter().for_each(|&v| definitions.stand_ins[v.0 as usize] = Some(v));
        let mut like = |v: Var| {
            let aval = |v: Var| &avals[v.0 as usize];
            let mut alike = inputs.iter().copied().filter(|&input| aval(input) == aval(v));
            alike.find(|&input| (0..aval(v).rank()).all(|axis| self.are_same((input, axis), (v, axis))))
        };
        for mut e in std::mem::take(&mut graph.equations) {
            for v in &mut e.shapes {
                *v = definitions
                    .stand_in(graph, *v, &mut like)
                    .ok_or_else(|| undecided("an array is wanted for its extents before it is there"))?;
            }
            e.outputs.iter().for_each(|&v| definitions.stand_ins[v.0 as usize] = Some(v));
            graph.equations.push(e);
        }
        Ok(())
    }

    /// Finds what is still open in a graph as extents of what was computed by equations that were taken out of it.
    pub fn define_by_taken(&mut self, graph: &mut Graph) {
        let Extents { classes, nodes, stated, taken, .. } = self;
        if taken.is_empty() || !graph.equations.iter().any(|e| has_open_dims(&e.prim)) {
            return;
        }
        let (avals, inputs) = (graph.avals.clone(), graph.inputs.iter().map(|&v| (v, v)).collect());
        define_from(classes, (graph, nodes, stated), Source { equations: taken, avals: &avals, nodes, inputs });
        nodes.cover(classes, &graph.avals);
    }
}

/// Equations that compute what is wanted for its extents.
struct Source<'a> {
    equations: &'a [Equation],
    avals: &'a [Aval],
    nodes: &'a Nodes,
    /// What of theirs is which input of the graph.
    inputs: Vec<(Var, Var)>,
}

/// Finds what is still open in a branch of a choice as extents of what the other branch computes of the same operands.
pub(super) fn define_by_other(
    classes: &mut Classes,
    (branch, nodes): (&mut Graph, &Nodes),
    (other, others): (&Graph, &Nodes),
) {
    if !has_open(branch) {
        return;
    }
    let inputs = std::iter::zip(&other.inputs, &branch.inputs).map(|(&a, &b)| (a, b)).collect();
    let source = Source { equations: &other.equations, avals: &other.avals, nodes: others, inputs };
    define_from(classes, (branch, nodes, &Stated::new()), source);
}

/// Finds what is still open in a graph as extents of what others compute.
fn define_from(classes: &mut Classes, (graph, nodes, stated): (&mut Graph, &Nodes, &Stated), source: Source) {
    let Source { equations, avals, nodes: others, inputs } = source;
    let mut definitions = Definitions::new(equations, avals);
    inputs.iter().for_each(|&(there, here)| definitions.stand_ins[there.0 as usize] = Some(here));
    // Inputs that were added for their extents have no numbers there.
    let known = |v: &Var| (v.0 as usize) < others.first.len();
    let shape_of = |v: Var| &avals[v.0 as usize].shape;
    for mut e in std::mem::take(&mut graph.equations) {
        let stated = match e.outputs.first() {
            Some(&out) if has_open_dims(&e.prim) => {
                let Equation { prim, shapes, .. } = &mut e;
                let rank = graph.shape_of(out).len();
                prim.map_dims(&mut |i, dim| {
                    let Dim::Open(_) = dim else { return dim };
                    let (v, axis) = stated_at(stated, prim, (out, rank), i);
                    let root = classes.find(nodes.of(v, axis));
                    let mut computed = equations.iter().flat_map(|e| e.outputs.iter().copied()).filter(known);
                    let found = computed.find_map(|v| {
                        let mut axes = 0..shape_of(v).len();
                        axes.find(|&axis| classes.find(others.of(v, axis)) == root).map(|axis| (v, axis))
                    });
                    let mut like = |v: Var| {
                        let aval = |v: Var| &avals[v.0 as usize];
                        let mut alike = inputs.iter().filter(|(input, _)| aval(*input) == aval(v) && known(input));
                        let mut is_same =
                            |input, axis| classes.find(others.of(input, axis)) == classes.find(others.of(v, axis));
                        let like = alike.find(|(input, _)| (0..aval(v).rank()).all(|axis| is_same(*input, axis)));
                        like.map(|&(_, here)| here)
                    };
                    let own = found.and_then(|(v, axis)| Some((definitions.stand_in(graph, v, &mut like)?, axis)));
                    own.map_or(dim, |(v, axis)| of(shapes, v, axis as u32))
                })
            }
            _ => None,
        };
        if let Some(stated) = stated {
            e.prim = stated;
        }
        graph.equations.push(e);
    }
}

impl<'a> Definitions<'a> {
    fn new(equations: &'a [Equation], avals: &'a [Aval]) -> Self {
        let mut producers = vec![None; avals.len()];
        for (i, e) in equations.iter().enumerate() {
            e.outputs.iter().for_each(|v| producers[v.0 as usize] = Some(i));
        }
        Definitions { equations, avals, producers, stand_ins: vec![None; avals.len()], left: MOST }
    }

    /// What has the shape of a variable in the graph; `like`: an input that has it for all shapes. Recurses as far as equations may be added.
    fn stand_in(&mut self, graph: &mut Graph, v: Var, like: &mut dyn FnMut(Var) -> Option<Var>) -> Option<Var> {
        let known = self.stand_ins[v.0 as usize].or_else(|| like(v));
        if known.is_some() {
            self.stand_ins[v.0 as usize] = known;
            return known;
        }
        let e = &self.equations[self.producers[v.0 as usize]?];
        self.left = self.left.checked_sub(1)?;
        if e.meta.effect != Effect::None || is_open(&e.prim) {
            return None;
        }
        let mut inputs: SmallVec<[Atom; 3]> = SmallVec::new();
        for &a in &e.inputs {
            inputs.push(match a {
                Atom::Var(v) => self.stand_in(graph, v, like)?.into(),
                literal => literal,
            });
        }
        let mut shapes: SmallVec<[Var; 1]> = SmallVec::new();
        for &v in &e.shapes {
            shapes.push(self.stand_in(graph, v, like)?);
        }
        let outputs: SmallVec<[Var; 1]> = small(e.outputs.iter().map(|own| {
            let out = graph.fresh(self.avals[own.0 as usize].clone());
            self.stand_ins[own.0 as usize] = Some(out);
            out
        }));
        graph.equations.push(Equation { inputs, shapes, outputs, ..e.clone() });
        self.stand_ins[v.0 as usize]
    }
}
