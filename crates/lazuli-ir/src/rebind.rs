//! A graph for inputs of other shapes than it has.
//!
//! What a shape rule gives follows from the avals of the operands alone. So of an equation whose operands have the shapes that they have in the graph, the outputs have those
//! that they have there, and only what is reached from an input of another shape is inferred again: of a step of training, not the update of the parameters.

use crate::aval::Aval;
use crate::extents::alike;
use crate::graph::{Atom, Equation, Graph, Var, aval_of, infer};
use crate::prim::Prim;
use lazuli_kernel::{Result, Shape, small};
use smallvec::SmallVec;

/// For which shapes rules make what they make anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remake {
    /// For those that are asked for.
    Once,
    /// For others too, if they can: as when the graph was recorded.
    Lasting,
}

impl Graph {
    /// The same program for inputs of other shapes: every shape rule runs again that can come to another result.
    pub fn rebind(&self, inputs: &[Shape]) -> Result<Graph> {
        self.bound(inputs, Remake::Once)
    }

    /// The same program as it would have been recorded for inputs of these shapes: what is made anew for them holds for others too, if it can.
    pub fn renew(&self, inputs: &[Shape]) -> Result<Graph> {
        self.bound(inputs, Remake::Lasting)
    }

    pub(crate) fn bound(&self, inputs: &[Shape], remake: Remake) -> Result<Graph> {
        let mut now = Rebound::new(self, inputs.iter().map(|s| &s[..]));
        let mut changed = Vec::new();
        for (i, e) in self.equations.iter().enumerate() {
            if !now.reaches(e) {
                continue;
            }
            // Bodies are bound to the avals of their operands.
            let prim = match e.prim.bodies() {
                [] => None,
                _ => e.prim.bound(&now.operands(e), remake)?,
            };
            match prim {
                Some(prim) => {
                    let e = Equation { prim, ..e.clone() };
                    now.infer(&e)?;
                    changed.push((i, e));
                }
                None => now.infer(e)?,
            }
        }
        let mut equations = self.equations.clone();
        changed.into_iter().for_each(|(i, e)| equations[i] = e);
        let (inputs, outputs, constants) = (self.inputs.clone(), self.outputs.clone(), self.constants);
        Ok(Graph { avals: now.into_avals(), inputs, constants, equations, outputs })
    }

    /// The avals of its variables for inputs of other shapes: what [`rebind`](Self::rebind) would give them; `None` if something has to be made anew for these shapes, or
    /// (`alike`) of some variable, or one of a body, not the same extents are 0 and 1.
    pub fn rebound_avals<'a>(
        &self,
        inputs: impl Iterator<Item = &'a [usize]>,
        alike: bool,
    ) -> Result<Option<Rebound<'_>>> {
        let mut now = Rebound::new(self, inputs);
        for e in self.equations.iter() {
            if !now.reaches(e) {
                continue;
            }
            match &e.prim {
                Prim::Call(call) => {
                    let Some(outputs) = call.rebound_avals(&now.operands(e), alike)? else { return Ok(None) };
                    e.outputs.iter().zip(outputs).for_each(|(&v, aval)| now.set(v, aval));
                }
                Prim::Cond(cond) => {
                    let Some(outputs) = cond.rebound_avals(&now.operands(e), alike)? else { return Ok(None) };
                    e.outputs.iter().zip(outputs).for_each(|(&v, aval)| now.set(v, aval));
                }
                _ => now.infer(e)?,
            }
        }
        Ok((!alike || now.is_alike()).then_some(now))
    }
}

/// The avals of a graph's variables for inputs of other shapes than it has.
#[derive(Debug)]
pub struct Rebound<'a> {
    graph: &'a Graph,
    /// Of each variable the place of its aval among those that are others than the graph has, plus 1; 0 if it has that.
    places: Vec<u32>,
    changed: Vec<(Var, Aval)>,
}

impl<'a> Rebound<'a> {
    fn new<'s>(graph: &'a Graph, inputs: impl Iterator<Item = &'s [usize]>) -> Self {
        let mut now = Rebound { graph, places: vec![0; graph.avals.len()], changed: Vec::new() };
        for (&v, shape) in graph.inputs.iter().zip(inputs) {
            let own = &graph.avals[v.0 as usize];
            if own.shape[..] != *shape {
                now.set(v, Aval::new(own.dtype, Shape::from_slice(shape)));
            }
        }
        now
    }

    pub fn aval_of<'b>(&'b self, atom: &Atom) -> &'b Aval {
        match atom {
            Atom::Var(v) if self.places[v.0 as usize] != 0 => &self.changed[self.places[v.0 as usize] as usize - 1].1,
            _ => aval_of(atom, &self.graph.avals),
        }
    }
    /// Those of the graph's outputs.
    pub fn output_avals(&self) -> SmallVec<[Aval; 1]> {
        self.graph.outputs.iter().map(|a| self.aval_of(a).clone()).collect()
    }
    /// Of all variables.
    fn into_avals(self) -> Vec<Aval> {
        let mut avals = self.graph.avals.clone();
        self.changed.into_iter().for_each(|(v, aval)| avals[v.0 as usize] = aval);
        avals
    }
    /// Those of the operands of a body.
    fn operands(&self, e: &Equation) -> SmallVec<[&Aval; 8]> {
        small(e.inputs.iter().map(|a| self.aval_of(a)))
    }

    fn is_changed(&self, v: Var) -> bool {
        self.places[v.0 as usize] != 0
    }
    /// Whether an equation has to be looked at again.
    fn reaches(&self, e: &Equation) -> bool {
        let is = e.inputs.iter().any(|a| a.var().is_some_and(|v| self.is_changed(v)))
            || e.shapes.iter().any(|&v| self.is_changed(v));
        debug_assert!(
            is || self.graph.is_inferred(e),
            "its outputs have other avals than they have in the graph: {e:?}"
        );
        is
    }
    fn set(&mut self, v: Var, aval: Aval) {
        if aval != self.graph.avals[v.0 as usize] {
            self.changed.push((v, aval));
            self.places[v.0 as usize] = self.changed.len() as u32;
        }
    }
    /// Gives the outputs of an equation the avals that follow from those of its inputs.
    fn infer(&mut self, e: &Equation) -> Result<()> {
        // Elementwise operations on operands of one shape, as most are, have that shape.
        if e.prim.is_elementwise() {
            let mut operands = e.inputs.iter().filter(|a| matches!(a, Atom::Var(_))).map(|a| &self.aval_of(a).shape);
            if let Some(first) = operands.next()
                && operands.all(|shape| shape == first)
            {
                let v = e.outputs[0];
                let aval = Aval { dtype: self.graph.avals[v.0 as usize].dtype, shape: Shape::from_slice(first) };
                if aval.is_addressable() {
                    self.set(v, aval);
                    return Ok(());
                }
            }
        }
        let inferred = infer(e, |a| self.aval_of(a))?;
        e.outputs.iter().zip(inferred).for_each(|(&v, aval)| self.set(v, aval));
        Ok(())
    }
    /// Whether rules take the same way for these avals as for those of the graph.
    fn is_alike(&self) -> bool {
        // A reshape is left out where it changes no shape.
        let mut reshapes = self.graph.equations.iter().filter(|e| matches!(e.prim, Prim::Reshape(_)));
        self.changed.iter().all(|(v, aval)| alike(self.graph.shape_of(*v), &aval.shape))
            && reshapes.all(|e| {
                let (from, to) = (e.inputs[0], e.outputs[0].into());
                let was = self.graph.aval_of(&from).shape == self.graph.aval_of(&to).shape;
                was == (self.aval_of(&from).shape == self.aval_of(&to).shape)
            })
    }
}
