//! Graphs as text that is equal where what holds for any shapes is what is made for these.

use crate::aval::{Aval, Dim};
use crate::graph::{Atom, Graph, Var};
use crate::prim::Prim;
use crate::prims::{Bound, Pad, Slice, SliceUpdate};
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
            // Zeros with something in their midst are a padding.
            let zero = inputs.first().and_then(|a| zeros.get(a).copied());
            if let (Prim::SliceUpdate(SliceUpdate { bounds, op: ScatterOp::Assign }), Some(zero)) = (&e.prim, zero)
                && bounds.iter().all(|b| b.step == 1)
            {
                let of = |(b, &n): (&Bound, &usize)| {
                    let (start, count) = b.resolve(n);
                    (start, n - start - count)
                };
                let (low, high) = bounds.iter().zip(&inlined.aval_of(&e.inputs[0]).shape).map(of).unzip();
                out.meta = e.meta;
                names[e.outputs[0].0 as usize] = Some(out.op(Pad { low, high }, &[inputs[1], zero])?);
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
