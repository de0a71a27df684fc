//! Graphs as text that is equal where what holds for any shapes is what is made for these.

use crate::aval::{Aval, Dim};
use crate::graph::{Atom, Graph, Var};
use crate::prim::Prim;
use crate::prims::{Bound, Broadcast, Pad, Slice, SliceUpdate, Unslice};
use lazuli_kernel::{Result, Scalar, ScatterOp};
use smallvec::SmallVec;
use std::collections::HashMap;

impl Graph {
    /// The program as it is for these shapes alone, for comparison: bodies in place of calls, numbers in place of extents, nothing in place of what changes no shape.
    #[doc(hidden)]
    pub fn for_these_shapes(&self) -> Result<Graph> {
        let inlined = self.inline_calls()?.graph.into_owned();
        let mut out = crate::Builder::new();
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

type Widths = SmallVec<[usize; 4]>;

/// What lies in the midst of zeros in an output of this shape, the zero, and how many of them there are before and behind it along each axis; `None` if the equation does not say so.
fn padding(
    prim: &Prim,
    inputs: &[Atom],
    to: &[usize],
    zeros: &HashMap<Atom, Atom>,
    out: &crate::Builder,
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
