//! Replaces calls by the equations of their bodies.
//!
//! Every equation afterwards belongs to a *region*: all equations of one outermost call share one, every other equation is alone in its own. Eager evaluation
//! fuses within regions and never across; `compile` ignores them.

use lazuli_ir::prims::{Broadcast, Call};
use lazuli_ir::{Atom, Aval, Equation, Graph, Location, Meta, Prim, Result, Var};
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// A graph without calls, and the region of each of its equations.
#[derive(Debug)]
pub(crate) struct Flat<'a> {
    pub graph: Cow<'a, Graph>,
    /// Empty if every equation is alone.
    pub regions: Vec<u32>,
}

pub(crate) fn inline(graph: &Graph) -> Result<Flat<'_>> {
    if !graph.equations.iter().any(|e| matches!(e.prim, Prim::Call(_))) {
        return Ok(Flat { graph: Cow::Borrowed(graph), regions: Vec::new() });
    }
    let mut inliner = Inliner::default();
    let mut names = vec![None; graph.avals.len()];
    for &v in &graph.inputs {
        let fresh = inliner.fresh(graph.avals[v.0 as usize].clone());
        inliner.out.inputs.push(fresh);
        names[v.0 as usize] = Some(Atom::Var(fresh));
    }
    inliner.out.constants = graph.constants;
    inliner.splice(graph, &mut names, None)?;
    inliner.out.outputs = graph.outputs.iter().map(|&a| rename(&names, a)).collect();
    Ok(Flat { graph: Cow::Owned(inliner.out), regions: inliner.regions })
}

#[derive(Default)]
struct Inliner {
    out: Graph,
    regions: Vec<u32>,
    last_region: u32,
}

fn rename(names: &[Option<Atom>], a: Atom) -> Atom {
    match a {
        Atom::Var(v) => names[v.0 as usize].expect("a variable is defined before it is used"),
        literal => literal,
    }
}

impl Inliner {
    fn fresh(&mut self, aval: Aval) -> Var {
        self.out.avals.push(aval);
        Var(self.out.avals.len() as u32 - 1)
    }

    fn push(&mut self, equation: Equation, region: Option<u32>) {
        let region = region.unwrap_or_else(|| self.new_region());
        self.out.equations.push(equation);
        self.regions.push(region);
    }

    fn new_region(&mut self) -> u32 {
        self.last_region += 1;
        self.last_region
    }

    /// Appends the equations of a graph whose variables have these names so far. `call` is the region and meta of the call that it is the body of.
    /// Recurses as deep as calls are nested in the program's text.
    fn splice(&mut self, body: &Graph, names: &mut [Option<Atom>], call: Option<(u32, Meta)>) -> Result<()> {
        for e in &body.equations {
            let inputs: SmallVec<[Atom; 3]> = e.inputs.iter().map(|&a| rename(names, a)).collect();
            let meta = match call {
                None => e.meta,
                Some((_, outer)) => {
                    let known = e.meta.location != Location::UNKNOWN;
                    Meta {
                        location: if known { e.meta.location } else { outer.location },
                        effect: e.meta.effect,
                        ..outer
                    }
                }
            };
            if let Prim::Call(inner) = &e.prim {
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
                shapes.push(self.variable(rename(names, v.into()), meta, region));
            }
            let mut outputs = SmallVec::new();
            for &v in &e.outputs {
                let fresh = self.fresh(body.avals[v.0 as usize].clone());
                names[v.0 as usize] = Some(fresh.into());
                outputs.push(fresh);
            }
            self.push(Equation { prim: e.prim.clone(), inputs, shapes, outputs, meta }, region);
        }
        Ok(())
    }

    fn call(&mut self, call: &Call, inputs: &[Atom], within: (u32, Meta)) -> Result<Vec<Atom>> {
        let avals: SmallVec<[Aval; 4]> = inputs.iter().map(|&a| self.out.aval(a)).collect();
        let fits = call.graph.inputs.iter().zip(&avals).all(|(v, a)| call.graph.avals[v.0 as usize] == *a);
        let rebound = if fits { None } else { Some(call.rebind(&avals.iter().collect::<Vec<_>>())?) };
        let body = rebound.as_ref().map_or(&call.graph, |c| &c.graph);
        let mut names = vec![None; body.avals.len()];
        for (v, &a) in body.inputs.iter().zip(inputs) {
            names[v.0 as usize] = Some(a);
        }
        self.splice(body, &mut names, Some(within))?;
        Ok(body.outputs.iter().map(|&a| rename(&names, a)).collect())
    }

    /// A shape operand is a variable: a scalar literal that takes its place in a body is given one.
    fn variable(&mut self, a: Atom, meta: Meta, region: Option<u32>) -> Var {
        match a {
            Atom::Var(v) => v,
            Atom::Lit(s) => {
                let v = self.fresh(Aval::scalar(s.dtype));
                let prim = Broadcast { shape: smallvec![] }.into();
                let equation =
                    Equation { prim, inputs: smallvec![a], shapes: smallvec![], outputs: smallvec![v], meta };
                self.push(equation, region);
                v
            }
        }
    }
}
