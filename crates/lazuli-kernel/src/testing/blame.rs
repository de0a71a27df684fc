//! Finds the instruction at which two backends part.

use super::{run, same};
use crate::backend::Backend;
use crate::ir::{Inner, Inst, Kernel, Nest, Operand, Role, Store, Value};
use crate::plan::{Arg, Binding, Plan, Slot, Step};
use crate::scalar::Scalar;
use crate::shape::{row_strides, size};
use std::sync::Arc;

/// The first instruction of the plan's first kernel whose value, stored at every point in place of what the kernel's own nest stores, differs: printed,
/// with its operands. `None` if all agree: then the nest is at fault, or what stands around the instruction.
pub(super) fn blame(judge: &dyn Backend, other: &dyn Backend, plan: &Plan, inputs: &[Vec<u8>]) -> Option<String> {
    let kernel = plan.steps.iter().find_map(|step| match step {
        Step::Launch { kernel, .. } => Some(kernel.clone()),
        _ => None,
    })?;
    let types = kernel.dtypes();
    let values = |backend: &dyn Backend, v: Value| run(backend, &probe(plan, v), inputs).ok()?.pop();
    for (number, inst) in kernel.body.iter().enumerate() {
        let (v, dtype) = (Value(number as u32), types[number]);
        let (want, got) = (values(judge, v)?, values(other, v)?);
        let mut pairs = want.chunks_exact(dtype.itemsize()).zip(got.chunks_exact(dtype.itemsize()));
        let Some(point) = pairs.position(|(w, g)| !same(dtype, w, g)) else { continue };
        let at = |v: Value, bytes: &[u8]| {
            let dtype = types[v.0 as usize];
            Scalar::from_bytes(dtype, &bytes[point * dtype.itemsize()..])
        };
        let mut report = format!("%{number} = {inst} differs at point {point}: {}, not {}", at(v, &got), at(v, &want));
        for used in inst.uses() {
            report += &format!("; {used} is {}", at(used, &values(judge, used)?));
        }
        return Some(report);
    }
    None
}

/// The plan up to its first launch, which only stores one value of the body to a new last output.
fn probe(plan: &Plan, value: Value) -> Plan {
    let mut plan = Plan { donations: Arc::default(), ..plan.clone() };
    let launch = plan.steps.iter().position(|step| matches!(step, Step::Launch { .. }));
    plan.steps.truncate(launch.map_or(0, |at| at + 1));
    let Some(Step::Launch { kernel, bindings }) = plan.steps.last_mut() else { return plan };
    let mut binding = bindings[0].clone();
    let Binding { extents, args, .. } = &mut binding;
    let old = kernel.clone();
    let last = extents.len().saturating_sub(1);
    let inner = |arg: &Arg| match arg.strides.get(last) {
        Some(0) => Inner::Broadcast,
        None | Some(1) => Inner::Unit,
        _ => Inner::Strided,
    };

    // What the body reads stays; what it only writes goes.
    let read: Vec<usize> = (0..old.operands.len()).filter(|&o| loads(&old, o)).collect();
    let number = |o: u32| read.iter().position(|&r| r == o as usize).unwrap_or(0) as u32;
    let mut operands: Vec<Operand> = read.iter().map(|&o| Operand { role: Role::In, ..old.operands[o] }).collect();
    *args = read.iter().map(|&o| args[o].clone()).collect();
    for (operand, arg) in operands.iter_mut().zip(args.iter()) {
        operand.inner = inner(arg);
    }
    let dtype = old.dtypes()[value.0 as usize];
    let slot = Slot::Output(plan.outputs.len() as u32);
    args.push(Arg { slot, offset: 0, strides: row_strides(extents), len: 0 });
    operands.push(Operand { dtype, role: Role::Out, inner: Inner::Unit });
    plan.outputs.push(size(extents) * dtype.itemsize());

    let mut body = old.body.clone();
    for inst in &mut body {
        if let Inst::Load(operand) | Inst::LoadAt { operand, .. } = inst {
            *operand = number(*operand);
        }
    }
    let stores = vec![Store { operand: operands.len() as u32 - 1, value }];
    let (rank, params) = (old.rank, old.params.clone());
    let nest = match &old.nest {
        // Values may come from results of its reductions.
        Nest::Rows { axes, accumulators, .. } => Nest::Rows {
            axes: *axes,
            accumulators: accumulators.clone(),
            stores,
            epilogue: Vec::new(),
            row_stores: Vec::new(),
        },
        _ => Nest::Map { stores },
    };
    *kernel = Arc::new(Kernel { rank, vector_axis: last as u32, params, operands, body, nest });
    *bindings = Arc::new([binding]);
    plan
}

fn loads(kernel: &Kernel, number: usize) -> bool {
    let reads =
        |inst: &Inst| matches!(*inst, Inst::Load(operand) | Inst::LoadAt { operand, .. } if operand as usize == number);
    kernel.body.iter().any(reads)
}
