//! Random library calls, and products with epilogues.

use super::{Case, Rng};
use crate::dtype::DType;
use crate::ir::{Emit, Inner, Inst, Kernel, Nest, Operand, Role, Store, Value};
use crate::plan::{Arg, Binding, LibraryCall, Plan, Slot, Step};
use crate::scalar::Scalar;
use crate::shape::{Shape, Strides, row_strides, size};
use std::sync::Arc;

/// One library call of this seed.
pub fn random_call(seed: u64) -> Case {
    let mut rng = Rng(seed);
    let mut plan = Plan::default();
    let mut inputs = Vec::new();
    let mut input = |rng: &mut Rng, shape: &[usize], axes: usize, numbers: &mut dyn FnMut(&mut Rng) -> Scalar| {
        // The last `axes` axes in any order in memory, the others in front of them and sometimes shared.
        let outer = shape.len() - axes;
        let mut strides = row_strides(shape);
        if axes == 2 && rng.once_in(2) {
            (strides[outer], strides[outer + 1]) = (1, shape[outer].max(1) as isize);
        }
        if outer > 0 && rng.once_in(4) {
            strides[0] = 0;
        }
        let bytes: Vec<u8> = (0..size(shape)).flat_map(|_| numbers(rng).to_bytes()).collect();
        plan.inputs.push(bytes.len());
        inputs.push(bytes);
        Arg { slot: Slot::Input(inputs.len() as u32 - 1), offset: 0, strides, len: 0 }
    };
    let row = |shape: &[usize]| Arg { slot: Slot::Output(0), offset: 0, strides: row_strides(shape), len: 0 };
    let outer: Shape = (0..rng.below(3)).map(|_| rng.pick(&[1, 2, 3, 5])).collect();
    let extents = |inner: &[usize]| outer.iter().chain(inner).copied().collect::<Shape>();
    let call = if rng.once_in(2) {
        let dtype = rng.pick(&[DType::F16, DType::BF16, DType::F32, DType::F64, DType::C64]);
        let [m, n, k] = [(); 3].map(|()| rng.pick(&[0, 1, 1, 2, 3, 8, 17, 31, 33, 64, 100, 300]));
        let mut tame = |rng: &mut Rng| rng.scalar(dtype, true);
        let a = input(&mut rng, &extents(&[m, k]), 2, &mut tame);
        let b = input(&mut rng, &extents(&[k, n]), 2, &mut tame);
        let c = row(&extents(&[m, n]));
        let call = LibraryCall::Matmul { dtype, batch: outer.clone(), m, n, k, a, b, c };
        if rng.once_in(2) {
            let step = with_epilogue(call, &mut rng, &mut plan, &mut inputs);
            plan.steps.push(step);
            return Case { plan, inputs };
        }
        plan.outputs.push(call.result_bytes());
        call
    } else {
        let dtype = rng.pick(&DType::ALL);
        let tame = rng.once_in(2);
        let n = rng.pick(&[0, 1, 2, 3, 17, 100, 1000]);
        let indices = rng.once_in(2);
        let input = input(&mut rng, &extents(&[n]), 1, &mut |rng| rng.scalar(dtype, tame));
        let output = row(&extents(&[n]));
        let to = if indices { DType::U32 } else { dtype };
        plan.outputs.push(size(&extents(&[n])) * to.itemsize());
        LibraryCall::Sort { dtype, rows: outer, n, indices, input, output }
    };
    plan.steps.push(Step::Call(Box::new(call)));
    Case { plan, inputs }
}

/// A product that is scaled and added to an array, of its own shape or broadcast, which it may overwrite; its result is stored as well, or not.
fn with_epilogue(mut call: LibraryCall, rng: &mut Rng, plan: &mut Plan, inputs: &mut Vec<Vec<u8>>) -> Step {
    let nbytes = call.result_bytes();
    let LibraryCall::Matmul { dtype, batch, m, n, c, .. } = &mut call else { unreachable!("only a product has one") };
    c.slot = Slot::Result;
    let extents: Shape = batch.iter().copied().chain([*m, *n]).filter(|&n| n != 1).collect();
    let (parts, part) = if dtype.is_complex() { (2, DType::F32) } else { (1, *dtype) };
    let wide = if part == DType::F64 { part } else { DType::F32 };
    let rank = extents.len();
    let row = row_strides(&extents);
    // Along some axes the other array stands still.
    let whole = rng.once_in(3);
    let mut other: Strides = row.iter().map(|&s| if whole || rng.once_in(2) { s } else { 0 }).collect();
    let transposed = !whole && rank >= 2 && rng.once_in(3);
    if transposed {
        let shape: Shape = extents.iter().rev().copied().collect();
        other = row_strides(&shape).into_iter().rev().collect();
    }
    inputs.push((0..size(&extents)).flat_map(|_| rng.scalar(part, true).to_bytes()).collect());
    plan.inputs.push(nbytes / parts);

    let mut e = Emit::new();
    let mut args = Vec::new();
    let mut operand = |e: &mut Emit, role, slot, offset, strides: Strides| {
        let inner = match strides.last() {
            Some(0) => Inner::Broadcast,
            None | Some(1) => Inner::Unit,
            _ => Inner::Strided,
        };
        args.push(Arg { slot, offset, strides, len: 0 });
        e.operand(Operand { dtype: part, role, inner })
    };
    let own: Strides = row.iter().map(|s| s * parts as isize).collect();
    let products: Vec<u32> = (0..parts).map(|p| operand(&mut e, Role::In, Slot::Result, p, own.clone())).collect();
    let other_slot = Slot::Input(inputs.len() as u32 - 1);
    let other_operand = operand(&mut e, Role::In, other_slot, 0, other);
    let loaded: Vec<Value> = products.iter().map(|&o| e.push(Inst::Load(o))).collect();
    let other = e.push(Inst::Load(other_operand));
    let other = e.cast(wide, other);
    let scale = e.param(wide);
    let mut results = Vec::new();
    for &value in &loaded {
        let value = e.cast(wide, value);
        let scaled = e.mul(value, scale);
        let sum = e.add(scaled, other);
        results.push(e.cast(part, sum));
    }
    if rng.once_in(2) {
        results.push(loaded[0]);
    }
    let mut stores = Vec::new();
    for (i, &value) in results.iter().enumerate() {
        let slot = Slot::Output(i as u32);
        plan.outputs.push(nbytes / parts);
        stores.push(Store { operand: operand(&mut e, Role::Out, slot, 0, row.clone()), value });
    }
    if whole && nbytes > 0 {
        plan.donations = [(0, inputs.len() as u32 - 1)].into();
    }
    let kernel = Kernel {
        rank: rank as u32,
        vector_axis: rank.saturating_sub(1) as u32,
        params: vec![wide],
        operands: e.operands,
        body: e.insts,
        nest: Nest::Map { stores },
    };
    let binding = Binding { extents, args, params: vec![Scalar::from_f64(wide, 0.5)] };
    Step::Product { call: Box::new(call), kernel: Arc::new(kernel), binding: Arc::new(binding) }
}
