//! Equations of one graph in another: what tracing, the transforms and the compiler inline with.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::{Atom, Equation, Graph, Meta, Var};
use crate::location::Location;
use crate::prim::Prim;
use crate::prims::{Broadcast, Call};
use lazuli_kernel::Result;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// A graph without calls.
#[derive(Debug)]
pub struct Inlined<'a> {
    pub graph: Cow<'a, Graph>,
    /// Of each equation: all equations of one outermost call share a region, every other equation is alone in its own. Empty if every equation is
    /// alone.
    pub regions: Vec<u32>,
}

impl Graph {
    /// The same program with the bodies of calls in place of them, on the call's stream, at its location where they know none of their own.
    ///
    /// # Errors
    /// If a body refuses the shapes of its operands.
    pub fn inline_calls(&self) -> Result<Inlined<'_>> {
        if !self.equations.iter().any(|e| matches!(e.prim, Prim::Call(_))) {
            return Ok(Inlined { graph: Cow::Borrowed(self), regions: Vec::new() });
        }
        let mut out = Graph { constants: self.constants, ..Graph::default() };
        for &v in &self.inputs {
            let fresh = out.fresh(self.avals[v.0 as usize].clone());
            out.inputs.push(fresh);
        }
        let inputs: Vec<Atom> = out.inputs.iter().map(|&v| v.into()).collect();
        let mut inliner = Inliner { out: &mut out, regions: Vec::new(), last_region: 0, expand: true };
        let outputs = inliner.body(self, &inputs, None)?;
        let regions = inliner.regions;
        out.outputs = outputs;
        Ok(Inlined { graph: Cow::Owned(out), regions })
    }

    /// Adds the equations of `body` on these atoms as they are, calls among them. Returns what its outputs are here.
    pub fn splice(&mut self, body: &Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
        Inliner { out: self, regions: Vec::new(), last_region: 0, expand: false }.body(body, inputs, None)
    }

    pub(crate) fn fresh(&mut self, aval: Aval) -> Var {
        self.avals.push(aval);
        Var(self.avals.len() as u32 - 1)
    }
}

impl Builder {
    /// Adds the equations of `body` on these atoms, those of calls within it in place of the calls, as if the builder's equation were a call of it.
    pub fn inline(&mut self, body: &Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
        let meta = self.meta;
        Inliner { out: self.graph_mut(), regions: Vec::new(), last_region: 0, expand: true }.body(
            body,
            inputs,
            Some((0, meta)),
        )
    }
}

struct Inliner<'a> {
    out: &'a mut Graph,
    regions: Vec<u32>,
    last_region: u32,
    /// Whether calls are replaced by their bodies.
    expand: bool,
}

fn rename(names: &[Option<Atom>], a: Atom) -> Atom {
    match a {
        Atom::Var(v) => names[v.0 as usize].expect("a variable is defined before it is used"),
        literal => literal,
    }
}

impl Inliner<'_> {
    fn push(&mut self, equation: Equation, region: Option<u32>) {
        let region = region.unwrap_or_else(|| self.new_region());
        self.out.equations.push(equation);
        self.regions.push(region);
    }

    fn new_region(&mut self) -> u32 {
        self.last_region += 1;
        self.last_region
    }

    /// Adds the equations of a graph. `call` is the region and meta of the call that it is the body of. Recurses as deep as calls are nested in the program's
    /// text, never along a graph.
    fn body(&mut self, body: &Graph, inputs: &[Atom], call: Option<(u32, Meta)>) -> Result<Vec<Atom>> {
        let mut names = vec![None; body.avals.len()];
        for (v, &a) in body.inputs.iter().zip(inputs) {
            names[v.0 as usize] = Some(a);
        }
        for e in &body.equations {
            let inputs: SmallVec<[Atom; 3]> = e.inputs.iter().map(|&a| rename(&names, a)).collect();
            let meta = match call {
                None => e.meta,
                Some((_, outer)) => {
                    let known = e.meta.location != Location::UNKNOWN;
                    let location = if known { e.meta.location } else { outer.location };
                    Meta { location, effect: e.meta.effect, again: outer.again.max(e.meta.again), ..outer }
                }
            };
            if let (true, Prim::Call(inner)) = (self.expand, &e.prim) {
                let region = call.map_or_else(|| self.new_region(), |(region, _)| region);
                let outputs = self.call(inner, &inputs, (region, meta))?;
                for (v, a) in e.outputs.iter().zip(outputs) {
                    names[v.0 as usize] = Some(a);
                }
                continue;
            }
            let region = call.map(|(region, _)| region);
            let mut shapes = SmallVec::new();
            for &v in &e.shapes {
                shapes.push(self.variable(rename(&names, v.into()), meta, region));
            }
            let mut outputs = SmallVec::new();
            for &v in &e.outputs {
                let fresh = self.out.fresh(body.avals[v.0 as usize].clone());
                names[v.0 as usize] = Some(fresh.into());
                outputs.push(fresh);
            }
            self.push(Equation { prim: e.prim.clone(), inputs, shapes, outputs, meta }, region);
        }
        Ok(body.outputs.iter().map(|&a| rename(&names, a)).collect())
    }

    fn call(&mut self, call: &Call, inputs: &[Atom], within: (u32, Meta)) -> Result<Vec<Atom>> {
        let avals: SmallVec<[Aval; 4]> = inputs.iter().map(|&a| self.out.aval(a)).collect();
        let body = call.body(&avals.iter().collect::<SmallVec<[&Aval; 4]>>())?;
        self.body(&body, inputs, Some(within))
    }

    /// A shape operand is a variable: a scalar literal that takes its place in a body is given one.
    fn variable(&mut self, a: Atom, meta: Meta, region: Option<u32>) -> Var {
        match a {
            Atom::Var(v) => v,
            Atom::Lit(s) => {
                let v = self.out.fresh(Aval::scalar(s.dtype));
                let prim = Broadcast { shape: smallvec![] }.into();
                let equation =
                    Equation { prim, inputs: smallvec![a], shapes: smallvec![], outputs: smallvec![v], meta };
                self.push(equation, region);
                v
            }
        }
    }
}
