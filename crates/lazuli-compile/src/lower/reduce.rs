//! Reductions and scans.

use super::body::{Body, Part};
use super::{Held, Lowerer};
use crate::fuse::{Group, same_points};
use lazuli_ir::{Error, ErrorKind, Extents, Index, Ix, Lane, Lowering, Number, Result, Shape, Var, small};
use lazuli_kernel::{Accumulator, Combine, DType, Inst, Nest, Role, ScanOp, Value};
use smallvec::{SmallVec, smallvec};

impl Lowerer<'_> {
    /// Reductions of one space along the same axes, with what they read and what follows from them: as rows, where a result is used at the points that
    /// are reduced or something is stored there.
    pub(super) fn reduce(&mut self, group: &Group) -> Result<()> {
        let graph = self.graph;
        if group.stores.iter().all(|&v| self.aval(v).size() == 0) {
            // Nothing is computed, and indices of nothing would not tell apart what is.
            for &v in &group.stores {
                let place = self.fresh(self.aval(v));
                self.places.set(v, place);
            }
            return Ok(());
        }
        if self.launch_again(Held::Var(group.stores[0]), &group.stores) {
            return Ok(());
        }
        let Lowering::Reduce { axes, .. } = self.lowering(group.anchors[0]) else { unreachable!("the caller looked") };
        let space: Shape = self.input_aval(group.anchors[0], 0).shape;
        let is_reduced = |axis: usize| axes.contains(&axis);
        let outer: Shape = small((0..space.len()).filter(|&a| !is_reduced(a)).map(|a| space[a]));
        let mut body = self.body();
        let extents = body.extents(graph, graph.equations[group.anchors[0] as usize].inputs[0]);
        let along =
            |reduced| -> Extents { small((0..space.len()).filter(|&a| is_reduced(a) == reduced).map(|a| extents[a])) };
        let (outer_extents, inner_extents) = (along(false), along(true));
        let outer_at = body.begin(&outer_extents, &[]);
        let kept = body.loops.len();
        let inner_at = body.begin(&inner_extents, &[]);
        if body.loops.len() == kept {
            body.push_loop(Number::ONE);
        }
        let (mut o, mut i) = (outer_at.iter(), inner_at.iter());
        let axis = |axis| if is_reduced(axis) { i.next() } else { o.next() }.expect("as many as axes").clone();
        let at: Index = small((0..space.len()).map(axis));

        let mut accumulators: Vec<Accumulator> = Vec::new();
        let mut results = SmallVec::<[(u32, usize, usize); 2]>::new();
        for &anchor in &group.anchors {
            let Lowering::Reduce { combine, .. } = self.lowering(anchor) else { unreachable!("all anchors reduce") };
            let at = self.reindex(&mut body, &at, &extents, graph.equations[anchor as usize].inputs[0]);
            let lane = body.operand(graph, &mut self.places, anchor, 0, &at);
            let output = self.aval(graph.equations[anchor as usize].outputs[0]).dtype;
            let values = accumulated(&mut body, combine, lane, output)
                .map_err(|why| Error::new(ErrorKind::Unsupported, graph.equations[anchor as usize].prim.name(), why))?;
            results.push((anchor, accumulators.len(), values.len()));
            for value in values {
                body.emit.accumulate(value);
                accumulators.push(Accumulator { combine, value });
            }
            self.define_results(&mut body, &accumulators, &results[results.len() - 1..], &outer_at, &outer_extents);
        }
        let at_points = |v: Var| {
            let shape = &graph.avals[v.0 as usize].shape;
            same_points(shape, &space) && !same_points(shape, &outer)
        };
        let (points, rows): (SmallVec<[Var; 4]>, SmallVec<[Var; 4]>) =
            group.stores.iter().copied().partition(|&v| at_points(v));
        let written = self.eval_all(&mut body, &points, &at, &extents);
        let point_stores = self.store(&mut body, &written);
        let body_len = body.begin_epilogue(&accumulators);
        self.define_results(&mut body, &accumulators, &results, &outer_at, &outer_extents);
        let written = self.eval_all(&mut body, &rows, &outer_at, &outer_extents);
        let row_stores = self.store(&mut body, &written);
        let epilogue = body.emit.insts[body_len..].to_vec();
        let axes = (body.loops.len() - kept) as u32;
        let nest = match point_stores.is_empty() && !waits(&body.emit.insts[..body_len], &accumulators) {
            true => Nest::Reduce { axes, accumulators, epilogue, stores: row_stores },
            false => Nest::Rows { axes, accumulators, stores: point_stores, epilogue, row_stores },
        };
        self.launch(body, nest);
        self.recipe(Held::Var(group.stores[0]), &group.stores);
        Ok(())
    }

    /// Declares the results of reductions: equation, first accumulator and number of accumulators of each.
    fn define_results(
        &mut self,
        body: &mut Body,
        accumulators: &[Accumulator],
        results: &[(u32, usize, usize)],
        at: &[Ix],
        outer: &[Number],
    ) {
        for &(anchor, first, n) in results {
            let v = self.graph.equations[anchor as usize].outputs[0];
            let aval = self.aval(v);
            let lane = reduced(body, accumulators[first].combine, first as u32, n, aval.dtype);
            let at = self.reindex(body, at, outer, v.into());
            body.define(v, at, lane);
        }
    }

    /// Running combinations and recurrences, by the nest of the operands' values and of what is stored: half floats in f32, one stream after the other of complex sums.
    pub(super) fn running(&mut self, anchor: u32, axis: usize, nest: &dyn Fn(&[Value], u32) -> Nest) -> Result<()> {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        if self.launch_again(Held::Var(v), &[v]) {
            return Ok(());
        }
        let wide = matches!(aval.dtype, DType::F16 | DType::BF16);
        let target = if wide { Held::Aside(v, DType::F32) } else { Held::Var(v) };
        let place = self.fresh_for(target);
        let streams = if aval.dtype == DType::C64 { 2 } else { 1 };
        for stream in 0..streams {
            let mut body = self.body();
            let mut outer = body.extents(graph, v.into());
            let extent = outer.remove(axis);
            let outer = body.begin(&outer, &[]);
            body.push_loop(extent);
            let scanned = Ix::axis(body.loops.len() as u32 - 1);
            let mut at: Index = outer;
            at.insert(axis, scanned);
            let mut values: SmallVec<[Value; 2]> = SmallVec::new();
            for operand in 0..equation.inputs.len() {
                values.push(match body.operand(graph, &mut self.places, anchor, operand, &at) {
                    Lane::Complex(re, im) => [re, im][stream],
                    Lane::Real(x) => body.emit.cast(target.dtype(graph), x),
                });
            }
            let part = if streams == 2 { Part::COMPLEX[stream] } else { Part::WHOLE };
            let store = body.walked(Some(target), &place, &at, part, body.emit.dtype(values[0]), Role::Out);
            let nest = nest(&values, store);
            if streams == 2 && !matches!(nest, Nest::Scan { op: ScanOp::Sum, .. }) {
                let message = "of complex numbers is not available on this backend: use their real and imaginary parts";
                return Err(Error::new(ErrorKind::Unsupported, equation.prim.name(), message));
            }
            self.launch(body, nest);
        }
        let place = if wide { self.narrowed((target, &place), v) } else { place };
        self.recipe(Held::Var(v), &[v]);
        self.places.set(v, place);
        Ok(())
    }
}

/// What a reduction accumulates for a number: its parts, in the dtype of the accumulator.
fn accumulated(
    body: &mut Body,
    combine: Combine,
    lane: Lane,
    output: DType,
) -> Result<SmallVec<[Value; 2]>, &'static str> {
    let e = &mut body.emit;
    Ok(match (lane, combine) {
        (Lane::Complex(re, im), Combine::All | Combine::Any) => {
            let (re, im) = (e.cast(DType::Bool, re), e.cast(DType::Bool, im));
            smallvec![e.or(re, im)]
        }
        (Lane::Complex(re, im), Combine::Sum) => smallvec![re, im],
        (Lane::Complex(..), _) => {
            return Err("complex numbers can be summed, and no more: use their real and imaginary parts");
        }
        (Lane::Real(x), Combine::ArgMin | Combine::ArgMax) => {
            let dtype = match e.dtype(x) {
                DType::F16 | DType::BF16 => DType::F32,
                DType::Bool => DType::U8,
                d => d,
            };
            smallvec![e.cast(dtype, x)]
        }
        (Lane::Real(x), _) => {
            let dtype = match output {
                DType::F16 | DType::BF16 => DType::F32,
                d => d,
            };
            smallvec![e.cast(dtype, x)]
        }
    })
}

/// Whether what is accumulated depends on results of accumulators.
fn waits(insts: &[Inst], accumulators: &[Accumulator]) -> bool {
    let mut waits: Vec<bool> = Vec::with_capacity(insts.len());
    for inst in insts {
        let result = matches!(inst, Inst::Reduced(_) | Inst::ReducedIndex(_));
        waits.push(result || inst.uses().iter().any(|v| waits[v.0 as usize]));
    }
    accumulators.iter().any(|a| waits[a.value.0 as usize])
}

/// The number that a reduction gives, from its accumulators `first..first + n`.
fn reduced(body: &mut Body, combine: Combine, first: u32, n: usize, output: DType) -> Lane {
    let e = &mut body.emit;
    let inst = match combine {
        Combine::ArgMin | Combine::ArgMax => Inst::ReducedIndex(first),
        _ => Inst::Reduced(first),
    };
    let value = e.push(inst);
    if n == 2 {
        return Lane::Complex(value, e.push(Inst::Reduced(first + 1)));
    }
    Lane::Real(e.cast(output, value))
}
