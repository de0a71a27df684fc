//! Random scatters with the maps that follow them.

use super::{Case, Rng};
use crate::dtype::DType;
use crate::ir::{BinaryOp, Emit, Inner, Inst, Kernel, Nest, Operand, Role, ScatterOp, Store, Value};
use crate::plan::{Arg, Binding, Pass, Plan, Scatter, Slot, Step};
use crate::scalar::Scalar;
use crate::shape::{Shape, Strides, row_strides, size};
use std::sync::Arc;

/// A scatter of this seed: a target of one or several blocks, whole or the same along some axes; updates one by one or in runs, at positions that repeat, at some outside, some masked; and
/// a map that combines the result with an array, or with the target, and may overwrite it.
pub fn random_scatter(seed: u64) -> Case {
    let mut rng = Rng(seed);
    let mut case = Case { plan: Plan::default(), inputs: Vec::new() };
    let dtype = rng.pick(&[DType::F32, DType::F32, DType::F64, DType::I32, DType::U8, DType::I64]);
    let extents: Shape =
        rng.pick(&[&[][..], &[1], &[7], &[100], &[20_000], &[0], &[3, 5], &[300, 70], &[2, 9000], &[7, 40, 65]]).into();
    let (points, row) = (size(&extents), row_strides(&extents));

    let mut target = Line::default();
    let whole = rng.once_in(2);
    let strides: Strides = row.iter().map(|&s| if whole || rng.once_in(2) { s } else { 0 }).collect();
    let source = case.input(&mut rng, dtype, points);
    let loaded = target.load(dtype, arg(source, strides.clone(), 0));
    target.store(loaded, arg(Slot::Result, row.clone(), 0));
    let target = target.pass(&extents, |stores| Nest::Map { stores });

    // An inner axis along which positions go up by one, or each its own.
    let run = rng.pick(&[1, 1, 3, 64, 65, 200, 6000]).min(points.max(1));
    let n = rng.pick(&[0, 1, 2, 30, 300]).min(30_000 / run);
    let mut loops: Shape = [n].into_iter().collect();
    loops.extend((run > 1).then_some(run));
    let mut updates = Line::default();
    let per_run: Strides = row_strides(&loops[..1]).into_iter().chain((run > 1).then_some(0)).collect();
    let bytes = (0..n).flat_map(|_| {
        let at = rng.below(points + 2 * run + 4) as i64 - run as i64 - 2;
        // A few positions have most of the updates.
        let at = if rng.once_in(2) { at / 100 * 100 } else { at };
        Scalar::i64(at).to_bytes()
    });
    let bytes: Vec<u8> = bytes.collect();
    let at = case.slot(bytes);
    let mut index = updates.load(DType::I64, arg(at, per_run.clone(), 0));
    if run > 1 {
        let along = updates.emit.push(Inst::Index(1));
        index = updates.emit.add(index, along);
    }
    let values = case.input(&mut rng, dtype, n * run);
    let value = updates.load(dtype, arg(values, row_strides(&loops), 0));
    let mask = rng.once_in(3).then(|| {
        let counts = case.input(&mut rng, DType::Bool, n * run);
        let of_run = rng.once_in(2);
        updates.load(DType::Bool, arg(counts, if of_run { per_run } else { row_strides(&loops) }, 0))
    });
    let op = rng.pick(&ScatterOp::ALL);
    let updated = updates.operand(dtype, Role::InOut, arg(Slot::Result, loops.iter().map(|_| 0).collect(), points));
    let updates = updates.pass(&loops, |_| Nest::Scatter { op, target: updated, index, mask, value });

    let mut map = Line::default();
    let result = map.load(dtype, arg(Slot::Result, row.clone(), 0));
    let other = match rng.below(3) {
        0 => arg(source, strides, 0),
        1 => arg(
            case.input(&mut rng, dtype, points),
            row.iter().map(|&s| if rng.once_in(2) { s } else { 0 }).collect(),
            0,
        ),
        _ => arg(case.input(&mut rng, dtype, points), row.clone(), 0),
    };
    let mut overwritten: Vec<Slot> = whole.then_some(source).into_iter().collect();
    overwritten.extend((other.slot != source && other.strides == row).then_some(other.slot));
    let other = map.load(dtype, other);
    let sum = map.emit.binary(BinaryOp::Add, result, other);
    map.store(sum, arg(Slot::Output(0), row.clone(), 0));
    case.plan.outputs.push(points * dtype.itemsize());
    if rng.once_in(2) {
        map.store(result, arg(Slot::Output(1), row, 0));
        case.plan.outputs.push(points * dtype.itemsize());
    }
    let epilogue = map.pass(&extents, |stores| Nest::Map { stores });
    if let (true, [.., Slot::Input(n)]) = (points > 0, overwritten.as_slice()) {
        case.plan.donations = [(0, *n)].into();
    }
    case.plan.steps.push(Step::Scatter(Box::new(Scatter { target, updates, epilogue })));
    case
}

impl Case {
    fn slot(&mut self, bytes: Vec<u8>) -> Slot {
        self.plan.inputs.push(bytes.len());
        self.inputs.push(bytes);
        Slot::Input(self.inputs.len() as u32 - 1)
    }
    /// So many random elements.
    fn input(&mut self, rng: &mut Rng, dtype: DType, elements: usize) -> Slot {
        let bytes = (0..elements).flat_map(|_| rng.scalar(dtype, true).to_bytes()).collect();
        self.slot(bytes)
    }
}

fn arg(slot: Slot, strides: Strides, len: usize) -> Arg {
    Arg { slot, offset: 0, strides, len }
}

/// A straight line under construction.
#[derive(Default)]
struct Line {
    emit: Emit,
    args: Vec<Arg>,
    stores: Vec<Store>,
}

impl Line {
    fn operand(&mut self, dtype: DType, role: Role, arg: Arg) -> u32 {
        let inner = match arg.strides.last() {
            _ if arg.len > 0 => Inner::Strided,
            Some(0) => Inner::Broadcast,
            None | Some(1) => Inner::Unit,
            _ => Inner::Strided,
        };
        self.args.push(arg);
        self.emit.operand(Operand { dtype, role, inner })
    }
    fn load(&mut self, dtype: DType, arg: Arg) -> Value {
        let operand = self.operand(dtype, Role::In, arg);
        self.emit.push(Inst::Load(operand))
    }
    fn store(&mut self, value: Value, arg: Arg) {
        let operand = self.operand(self.emit.dtype(value), Role::Out, arg);
        self.stores.push(Store { operand, value });
    }
    fn pass(self, extents: &[usize], nest: impl FnOnce(Vec<Store>) -> Nest) -> Pass {
        let Line { emit, args, stores } = self;
        let rank = extents.len() as u32;
        let kernel = Kernel {
            rank,
            vector_axis: rank.saturating_sub(1),
            params: emit.params,
            operands: emit.operands,
            body: emit.insts,
            nest: nest(stores),
        };
        Pass { kernel: Arc::new(kernel), binding: Binding { extents: extents.into(), args, params: Vec::new() } }
    }
}
