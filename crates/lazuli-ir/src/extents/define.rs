//! Definitions of what is wanted for its extents before it is there.
//!
//! Equations that are put in the order of need, where extents do not count as one, may ask for those of an array that is computed later, or not at all. Such an array is stood in for: by an input
//! that has its shape for all shapes, or by one that is computed in the same way, from such, whose data nobody looks at.

use super::{Extents, undecided};
use crate::graph::{Atom, Effect, Equation, Graph, Var};
use lazuli_kernel::{Result, small};
use smallvec::SmallVec;
use std::collections::HashMap;

/// How many equations are added for extents at most: beyond that the graph is made anew.
const MOST: usize = 32;

struct Definitions<'a> {
    extents: &'a mut Extents,
    graph: &'a mut Graph,
    /// Where each variable is defined among all equations, and whether it is in those of the graph so far.
    all: &'a [Equation],
    producers: Vec<Option<usize>>,
    is_defined: Vec<bool>,
    stand_ins: HashMap<Var, Var>,
    left: usize,
}

impl Extents {
    /// Defines what equations want the extents of. `all`: the equations that there were before they were put in order.
    pub fn define(&mut self, graph: &mut Graph, all: &[Equation]) -> Result<()> {
        let mut producers = vec![None; graph.avals.len()];
        for (i, e) in all.iter().enumerate() {
            e.outputs.iter().for_each(|v| producers[v.0 as usize] = Some(i));
        }
        let mut is_defined = vec![false; graph.avals.len()];
        graph.inputs.iter().for_each(|v| is_defined[v.0 as usize] = true);
        let equations = std::mem::take(&mut graph.equations);
        let stand_ins = HashMap::new();
        let mut definitions = Definitions { extents: self, graph, all, producers, is_defined, stand_ins, left: MOST };
        for mut e in equations {
            for v in &mut e.shapes {
                *v = definitions
                    .stand_in(*v)
                    .ok_or_else(|| undecided("an array is wanted for its extents before it is there"))?;
            }
            e.outputs.iter().for_each(|v| definitions.is_defined[v.0 as usize] = true);
            definitions.graph.equations.push(e);
        }
        Ok(())
    }
}

impl Definitions<'_> {
    /// What has the shape of a variable. Recurses as far as equations may be added.
    fn stand_in(&mut self, v: Var) -> Option<Var> {
        if self.is_defined[v.0 as usize] {
            return Some(v);
        }
        let known = self.stand_ins.get(&v).copied().or_else(|| self.input_like(v));
        if known.is_some() {
            return known;
        }
        let e = &self.all[self.producers[v.0 as usize]?];
        self.left = self.left.checked_sub(1)?;
        if e.meta.effect != Effect::None {
            return None;
        }
        let mut inputs: SmallVec<[Atom; 3]> = SmallVec::new();
        for &a in &e.inputs {
            inputs.push(match a {
                Atom::Var(v) => self.stand_in(v)?.into(),
                literal => literal,
            });
        }
        let mut shapes: SmallVec<[Var; 1]> = SmallVec::new();
        for &v in &e.shapes {
            shapes.push(self.stand_in(v)?);
        }
        let outputs: SmallVec<[Var; 1]> = small(e.outputs.iter().map(|own| {
            let aval = self.graph.avals[own.0 as usize].clone();
            let out = self.graph.fresh(aval);
            self.stand_ins.insert(*own, out);
            out
        }));
        self.graph.equations.push(Equation { inputs, shapes, outputs, ..e.clone() });
        self.stand_ins.get(&v).copied()
    }
    /// An input that is of the shape of a variable for all shapes.
    fn input_like(&mut self, v: Var) -> Option<Var> {
        let (graph, extents) = (&*self.graph, &mut *self.extents);
        let rank = graph.shape_of(v).len();
        let aval = |v: Var| &graph.avals[v.0 as usize];
        let mut inputs = graph.inputs.iter().copied().filter(|&of| aval(of) == aval(v));
        inputs.find(|&of| (0..rank).all(|axis| extents.are_same((of, axis), (v, axis))))
    }
}
