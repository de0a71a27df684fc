//! Graphs as text that is equal where what holds for any shapes is what is made for these.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::graph::{Atom, Graph, Meta, Var};
use crate::prim::Prim;
use crate::prims::{Bound, Broadcast, Pad, Slice, SliceUpdate, Unslice};
use lazuli_kernel::{Result, Scalar, ScatterOp};
use smallvec::SmallVec;
use std::collections::HashMap;

impl Graph {
    /// The program as it is for these shapes alone, for comparison: bodies in place of calls, both branches of choices and selections in place of them, numbers in place of extents, nothing
    /// in place of what changes no shape.
    #[doc(hidden)]
    pub fn for_these_shapes(&self) -> Result<Graph> {
        let inlined = self.spread()?;
        let mut out = Builder::new();
        let mut names: Vec<Option<Atom>> = vec![None; inlined.avals.len()];
        for &v in &inlined.inputs {
            names[v.0 as usize] = Some(out.input(inlined.avals[v.0 as usize].clone()).into());
        }
        out.set_constants(inlined.constants);
        let mut zeros: HashMap<Atom, Atom> = HashMap::new();
        for e in &inlined.equations {
            let name = |a: &Atom| a.var().map_or(Some(*a), |v| names[v.0 as usize]).expect("defined before it is used");
            let inputs: SmallVec<[Atom; 3]> = e.inputs.iter().map(name).collect();
            let shapes: SmallVec<[Var; 1]> = e.shapes.iter().filter_map(|&v| name(&v.into()).var()).collect();
            let avals: SmallVec<[&Aval; 1]> = e.shapes.iter().map(|&v| &inlined.avals[v.0 as usize]).collect();
            let same = matches!(e.prim, Prim::Broadcast(_) | Prim::Reshape(_))
                && e.inputs[0].var().is_some()
                && inlined.aval_of(&e.inputs[0]) == &inlined.avals[e.outputs[0].0 as usize];
            let literal = match &e.prim {
                Prim::NumberOfElements(count) => Some(count.value(&avals[0].shape).into()),
                _ if same => Some(inputs[0]),
                _ => None,
            };
            if let Some(atom) = literal {
                names[e.outputs[0].0 as usize] = Some(atom);
                continue;
            }
            // Zeros with something in their midst are a padding, and zeros with zeros are zeros.
            let to = e.outputs.first().map_or(&[][..], |v| inlined.shape_of(*v));
            if let Some((within, zero, low, high)) = padding(&e.prim, &inputs, to, &zeros, &out) {
                out.meta = e.meta;
                let padded = match zeros.contains_key(&within) {
                    true => out.op(Broadcast { shape: to.iter().map(|&n| Dim::Known(n)).collect() }, &[zero])?,
                    false => out.op(Pad { low, high }, &[within, zero])?,
                };
                if zeros.contains_key(&within) {
                    zeros.insert(padded, zero);
                }
                names[e.outputs[0].0 as usize] = Some(padded);
                continue;
            }
            let known = match &e.prim {
                Prim::Slice(slice) => {
                    let from = &inlined.aval_of(&e.inputs[0]).shape;
                    let bound = |(b, &n): (&Bound, &usize)| match b.resolve(n) {
                        (start, count) if b.step == 1 => Bound::range(start, start + count),
                        _ => *b,
                    };
                    Some(Slice { bounds: slice.bounds.iter().zip(from).map(bound).collect() }.into())
                }
                Prim::Part(part) => {
                    let from = &inlined.aval_of(&e.inputs[0]).shape;
                    let mut bounds: SmallVec<[Bound; 4]> = from.iter().map(|&n| Bound::range(0, n)).collect();
                    let (start, extent) = part.resolve(from[part.axis], &avals);
                    bounds[part.axis] = Bound::range(start, start + extent);
                    Some(Slice { bounds }.into())
                }
                Prim::Cond(cond) => Some(cond.map_graphs(|branch| branch.for_these_shapes())?.into()),
                prim => prim.map_dims(&mut |_, dim| Dim::Known(dim.resolve(&avals))),
            };
            out.meta = e.meta;
            let outputs = match known {
                Some(prim) => out.equation(prim, &inputs, &[])?,
                None => out.equation(e.prim.clone(), &inputs, &shapes)?,
            };
            for (v, to) in e.outputs.iter().zip(outputs) {
                names[v.0 as usize] = Some(to.into());
                match (&e.prim, inputs.first()) {
                    (Prim::Broadcast(_), Some(&Atom::Lit(s))) if s == Scalar::zero(s.dtype) => {
                        zeros.insert(to.into(), s.into());
                    }
                    _ => {}
                }
            }
        }
        let outputs =
            inlined.outputs.iter().map(|a| a.var().map_or(Some(*a), |v| names[v.0 as usize])).collect::<Option<_>>();
        let mut graph = out.finish(outputs.expect("outputs are defined"));
        graph.order_by_need();
        Ok(crate::prune(graph))
    }
}

impl Graph {
    /// The same with bodies in place of calls and choices.
    fn spread(&self) -> Result<Graph> {
        let mut spread = Spread::default();
        let inputs: Vec<Atom> =
            self.inputs.iter().map(|v| spread.out.input(self.avals[v.0 as usize].clone()).into()).collect();
        let outputs = spread.body(self, &inputs, None)?;
        spread.out.set_constants(self.constants);
        Ok(spread.out.finish(outputs))
    }
}

#[derive(Default)]
struct Spread {
    out: Builder,
    /// Of each selection that stands for a choice the predicate and what it is chosen from. A choice by the same predicate goes on from that: it does not matter which values that only other
    /// choices read share an output.
    chosen: HashMap<Atom, (Atom, [Atom; 2])>,
}

impl Spread {
    fn body(&mut self, graph: &Graph, inputs: &[Atom], outer: Option<Meta>) -> Result<Vec<Atom>> {
        let mut names: Vec<Option<Atom>> = vec![None; graph.avals.len()];
        graph.inputs.iter().zip(inputs).for_each(|(v, &a)| names[v.0 as usize] = Some(a));
        let name = |names: &[Option<Atom>], a: &Atom| {
            a.var().map_or(Some(*a), |v| names[v.0 as usize]).expect("defined before it is used")
        };
        for e in &graph.equations {
            let inputs: SmallVec<[Atom; 3]> = e.inputs.iter().map(|a| name(&names, a)).collect();
            let avals: SmallVec<[Aval; 3]> = inputs.iter().map(|&a| self.out.aval(a)).collect();
            let avals: SmallVec<[&Aval; 3]> = avals.iter().collect();
            let meta = outer.map_or(e.meta, |outer| e.meta.within(outer));
            let rebound = e.prim.rebind(&avals)?;
            let prim = rebound.as_ref().unwrap_or(&e.prim);
            let outputs: Vec<Atom> = match prim.bodies() {
                [] => {
                    let mut shapes: SmallVec<[Var; 1]> = SmallVec::new();
                    for &v in &e.shapes {
                        shapes.push(match name(&names, &v.into()) {
                            Atom::Var(v) => v,
                            scalar => self.out.equation(Broadcast { shape: SmallVec::new() }, &[scalar], &[])?[0],
                        });
                    }
                    self.out.meta = meta;
                    self.out.equation(e.prim.clone(), &inputs, &shapes)?.into_iter().map(Atom::from).collect()
                }
                [body] => self.body(body, &inputs, Some(meta))?,
                branches => {
                    let predicate = inputs[0];
                    let mut sides = Vec::new();
                    for (side, body) in branches.iter().enumerate() {
                        let operands: Vec<Atom> = (inputs[1..].iter())
                            .map(|a| match self.chosen.get(a) {
                                Some((by, from)) if *by == predicate => from[side],
                                _ => *a,
                            })
                            .collect();
                        sides.push(self.body(body, &operands, Some(meta))?);
                    }
                    self.out.meta = Meta::default();
                    let mut outputs = Vec::new();
                    for (&x, &y) in sides[0].iter().zip(&sides[1]) {
                        if x == y {
                            outputs.push(x);
                            continue;
                        }
                        let chosen = self.out.select(predicate, x, y)?;
                        self.chosen.insert(chosen, (predicate, [x, y]));
                        outputs.push(chosen);
                    }
                    outputs
                }
            };
            e.outputs.iter().zip(outputs).for_each(|(v, a)| names[v.0 as usize] = Some(a));
        }
        Ok(graph.outputs.iter().map(|a| name(&names, a)).collect())
    }
}

type Widths = SmallVec<[usize; 4]>;

/// What lies in the midst of zeros in an output of this shape, the zero, and how many of them there are before and behind it along each axis; `None` if the equation does not say so.
fn padding(
    prim: &Prim,
    inputs: &[Atom],
    to: &[usize],
    zeros: &HashMap<Atom, Atom>,
    out: &Builder,
) -> Option<(Atom, Atom, Widths, Widths)> {
    let around = |bounds: &[Bound]| {
        let of = |(b, &n): (&Bound, &usize)| {
            let (start, count) = b.resolve(n);
            (start, n - start - count)
        };
        bounds.iter().zip(to).map(of).unzip()
    };
    match prim {
        Prim::Pad(Pad { low, high }) if matches!(inputs[1], Atom::Lit(s) if s == Scalar::zero(s.dtype)) => {
            Some((inputs[0], inputs[1], low.clone(), high.clone()))
        }
        Prim::SliceUpdate(SliceUpdate { bounds, op: ScatterOp::Assign }) if bounds.iter().all(|b| b.step == 1) => {
            let (low, high) = around(bounds);
            Some((inputs[1], *zeros.get(&inputs[0])?, low, high))
        }
        Prim::Unslice(Unslice { bounds, .. }) if bounds.iter().all(|b| b.step == 1) => {
            let (low, high) = around(bounds);
            Some((inputs[0], Scalar::zero(out.dtype(inputs[0])).into(), low, high))
        }
        Prim::Concatenate(c) => {
            let mut others = inputs.iter().enumerate().filter(|(_, a)| !zeros.contains_key(a));
            let (k, within) = others.next().unwrap_or((0, inputs.first()?));
            if others.next().is_some() {
                return None;
            }
            let extent = |a: &Atom| out.shape(*a)[c.axis];
            let (mut low, mut high): (Widths, Widths) = to.iter().map(|_| (0, 0)).unzip();
            low[c.axis] = inputs[..k].iter().map(extent).sum();
            high[c.axis] = inputs[k + 1..].iter().map(extent).sum();
            Some((*within, Scalar::zero(out.dtype(*within)).into(), low, high))
        }
        _ => None,
    }
}
