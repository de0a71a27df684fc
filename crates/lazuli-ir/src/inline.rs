//! Equations of one graph in another: what tracing, the transforms and the compiler inline with.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{AnyShapes, Extents, undecided};
use crate::graph::{Atom, Effect, Equation, Graph, Meta, Var};
use crate::prim::Prim;
use crate::prims::{Broadcast, Call, Reshape};
use lazuli_kernel::{Result, small};
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
        let (graph, regions) = self.expanded(Expand::All, Origin::Known)?;
        Ok(Inlined { graph: Cow::Owned(graph), regions })
    }

    /// What would have been recorded if the shapes had been known: the bodies that rules have made in place of their calls, numbers in place of extents, nothing
    /// in place of what changes no shape; within the bodies of other calls and in branches too. In the order in which its outputs need its equations.
    /// Derivatives add up what they add up in the order of equations, so theirs have the same bits then.
    ///
    /// # Errors
    /// If a body refuses the shapes of its operands.
    pub fn inline_rules(&self) -> Result<Graph> {
        let (mut graph, _) = self.expanded(Expand::Rules, Origin::Trace)?;
        graph.order_by_need();
        Ok(graph)
    }

    /// What [`inline_rules`](Self::inline_rules) gives, for any shapes: extents stay what they are those of, of inputs where they can be.
    ///
    /// # Errors
    /// If some bodies hold for these shapes only, or the order of equations would be another.
    pub fn inline_rules_for_any_shapes(&self) -> Result<AnyShapes> {
        let (graph, _) = self.expanded(Expand::Lasting, Origin::Trace)?;
        let (mut extents, AnyShapes { mut graph, fixed }) = Extents::of_inputs(&graph)?;
        let all = graph.equations.clone();
        graph.order_by(false);
        extents.define(&mut graph, &all)?;
        Ok(AnyShapes { graph, fixed })
    }

    /// The same program with the bodies of these calls in their place, and the region of each equation.
    fn expanded(&self, expand: Expand, origin: Origin) -> Result<(Graph, Vec<u32>)> {
        let mut out = Graph { constants: self.constants, ..Graph::default() };
        for &v in &self.inputs {
            let fresh = out.fresh(self.avals[v.0 as usize].clone());
            out.inputs.push(fresh);
        }
        let inputs: Vec<Atom> = out.inputs.iter().map(|&v| v.into()).collect();
        let mut inliner = Inliner { out: &mut out, regions: Vec::new(), last_region: 0, expand };
        let outputs = inliner.body(self, &inputs, None, origin)?;
        let regions = inliner.regions;
        out.outputs = outputs;
        Ok((out, regions))
    }

    /// Puts the equations in the order of a walk from those with effects, then from the outputs, in depth and first operands first: the order in which a trace
    /// is cut out. It drops those that nothing needs.
    pub fn order_by_need(&mut self) {
        self.order_by(true);
    }

    /// The same; `shapes`: whether what is needed for its extents alone counts where it would not be needed if they were known.
    fn order_by(&mut self, shapes: bool) {
        let mut producers: Vec<Option<usize>> = vec![None; self.avals.len()];
        for (i, e) in self.equations.iter().enumerate() {
            e.outputs.iter().for_each(|v| producers[v.0 as usize] = Some(i));
        }
        let producer = |a: Atom| if let Atom::Var(v) = a { producers[v.0 as usize] } else { None };
        let mut equations: Vec<Option<Equation>> = std::mem::take(&mut self.equations).into_iter().map(Some).collect();
        let mut entered = vec![false; equations.len()];
        // An equation, and whether what it needs is there.
        let has_effect = |e: &Option<Equation>| e.as_ref().is_some_and(|e| e.meta.effect != Effect::None);
        let performed = (0..equations.len()).filter(|&i| has_effect(&equations[i]));
        let mut stack: Vec<(usize, bool)> =
            performed.chain(self.outputs.iter().filter_map(|&a| producer(a))).map(|i| (i, false)).collect();
        stack.reverse();
        while let Some((i, is_ready)) = stack.pop() {
            if is_ready {
                self.equations.extend(equations[i].take());
            } else if !std::mem::replace(&mut entered[i], true)
                && let Some(e) = &equations[i]
            {
                let wanted = e.shapes.iter().filter(|_| shapes || e.prim.keeps_shapes()).map(|&v| v.into());
                let operands = e.inputs.iter().copied().chain(wanted);
                let needed: SmallVec<[usize; 4]> = operands.filter_map(producer).collect();
                stack.push((i, true));
                stack.extend(needed.into_iter().rev().map(|i| (i, false)));
            }
        }
    }

    /// Adds the equations of `body` on these atoms as they are, calls among them. Returns what its outputs are here.
    pub fn splice(&mut self, body: &Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
        Inliner { out: self, regions: Vec::new(), last_region: 0, expand: Expand::Nothing }.body(
            body,
            inputs,
            None,
            Origin::Known,
        )
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
        Inliner { out: self.graph_mut(), regions: Vec::new(), last_region: 0, expand: Expand::All }.body(
            body,
            inputs,
            Some((0, meta)),
            Origin::Known,
        )
    }
}

struct Inliner<'a> {
    out: &'a mut Graph,
    regions: Vec<u32>,
    last_region: u32,
    expand: Expand,
}

/// Which calls are replaced by their bodies.
#[derive(Clone, Copy, PartialEq)]
enum Expand {
    Nothing,
    /// Those whose bodies a rule makes. What the graph says of extents itself, beside bodies made for these shapes, becomes what it is for known ones.
    Rules,
    /// The same for any shapes: what the graph says of extents stays.
    Lasting,
    All,
}

/// Where a graph is from that is wanted as for known shapes.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// It is for these shapes: what it says is as it is.
    Known,
    /// A trace recorded it for any shapes.
    Trace,
    /// A rule made it for any shapes. The equations of bodies within it are in the order that they have where it makes one for known shapes, which is not that of need.
    Rule,
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
    fn body(&mut self, body: &Graph, inputs: &[Atom], call: Option<(u32, Meta)>, origin: Origin) -> Result<Vec<Atom>> {
        let symbolic = origin != Origin::Known;
        let mut names = vec![None; body.avals.len()];
        self.out.equations.reserve(body.equations.len());
        self.out.avals.reserve(body.avals.len());
        for (v, &a) in body.inputs.iter().zip(inputs) {
            names[v.0 as usize] = Some(a);
        }
        for e in &body.equations {
            let inputs: SmallVec<[Atom; 3]> = small(e.inputs.iter().map(|&a| rename(&names, a)));
            let meta = call.map_or(e.meta, |(_, outer)| e.meta.within(outer));
            let expands = |call: &Call| match self.expand {
                Expand::Nothing => false,
                Expand::All => true,
                Expand::Rules | Expand::Lasting => call.rule.is_some(),
            };
            if let Prim::Call(inner) = &e.prim
                && expands(inner)
            {
                let region = call.map_or_else(|| self.new_region(), |(region, _)| region);
                if self.expand == Expand::Lasting && inner.is_remade() {
                    return Err(undecided("it has a body that is made anew"));
                }
                let origin = match inner.is_remade() {
                    true => Origin::Known,
                    false if symbolic && inner.rule.is_some() => Origin::Rule,
                    false => origin,
                };
                let outputs = self.call(inner, &inputs, (region, meta), origin)?;
                for (v, a) in e.outputs.iter().zip(outputs) {
                    names[v.0 as usize] = Some(a);
                }
                continue;
            }
            let becomes_known = symbolic && self.expand == Expand::Rules;
            let extents = e.shapes.iter().filter(|_| becomes_known);
            let avals: SmallVec<[Aval; 1]> = extents.map(|&v| self.out.aval(rename(&names, v.into()))).collect();
            let known = becomes_known.then(|| e.prim.with_known_extents(&avals.iter().collect::<Vec<_>>())).flatten();
            let stands_for = match &e.prim {
                Prim::NumberOfElements(count) if becomes_known && count.literal => {
                    Some(count.value(&avals[0].shape).into())
                }
                // Of other shapes, a reshape may change them.
                Prim::Broadcast(_) | Prim::Reshape(Reshape { infer: None, .. })
                    if becomes_known || symbolic && matches!(e.prim, Prim::Broadcast(_)) =>
                {
                    let same = self.out.aval(inputs[0]) == body.avals[e.outputs[0].0 as usize];
                    inputs[0].var().filter(|_| same).map(Atom::from)
                }
                _ => None,
            };
            if let Some(atom) = stands_for {
                names[e.outputs[0].0 as usize] = Some(atom);
                continue;
            }
            let region = call.map(|(region, _)| region);
            let mut shapes = SmallVec::new();
            for &v in e.shapes.iter().filter(|_| known.is_none()) {
                shapes.push(self.variable(rename(&names, v.into()), meta, region));
            }
            let mut outputs = SmallVec::new();
            for &v in &e.outputs {
                let fresh = self.out.fresh(body.avals[v.0 as usize].clone());
                names[v.0 as usize] = Some(fresh.into());
                outputs.push(fresh);
            }
            let prim = match &e.prim {
                Prim::Call(inner) if symbolic => inner.map_graphs(|g| self.in_body(g, origin))?.into(),
                Prim::Cond(inner) if symbolic => inner.map_graphs(|g| self.in_body(g, origin))?.into(),
                prim => known.unwrap_or_else(|| prim.clone()),
            };
            self.push(Equation { prim, inputs, shapes, outputs, meta }, region);
        }
        Ok(body.outputs.iter().map(|&a| rename(&names, a)).collect())
    }

    /// The graph of a call or choice that stays one.
    fn in_body(&self, graph: &Graph, origin: Origin) -> Result<Graph> {
        if origin == Origin::Rule {
            return graph.expanded(self.expand, origin).map(|(graph, _)| graph);
        }
        match self.expand {
            Expand::Lasting => match graph.inline_rules_for_any_shapes()? {
                AnyShapes { graph, fixed } if fixed.is_empty() => Ok(graph),
                _ => Err(undecided("a body goes by an extent")),
            },
            _ => graph.inline_rules(),
        }
    }

    fn call(&mut self, call: &Call, inputs: &[Atom], within: (u32, Meta), origin: Origin) -> Result<Vec<Atom>> {
        let avals: SmallVec<[Aval; 4]> = inputs.iter().map(|&a| self.out.aval(a)).collect();
        let body = call.body(&avals.iter().collect::<SmallVec<[&Aval; 4]>>())?;
        self.body(&body, inputs, Some(within), origin)
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
