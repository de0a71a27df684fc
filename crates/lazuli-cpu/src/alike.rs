//! Which steps are made ready in the same way.
//!
//! What is ready of a step follows from its kernels, which are shared, and from its numbers: extents, strides, parameters. Where its arrays lie is kept [apart](crate::places).

use crate::known::Known;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Arg, Binding, LibraryCall, Pass, Shape, Slot, Step, small};
use std::sync::Arc;

/// Of each step the first one that it may be alike; itself, if there is none before it.
pub fn firsts(steps: &[Step]) -> Arc<[u32]> {
    let mut firsts = Map::default();
    (0..).zip(steps).map(|(i, step)| key(step).map_or(i, |key| *firsts.entry(key).or_insert(i))).collect()
}

/// What steps have in common that are made ready in the same way, if they may be.
type Key = (usize, Shape);

fn key(step: &Step) -> Option<Key> {
    let (kernel, numbers) = match step {
        Step::Launch { kernel, bindings } => (Some(kernel), bindings.first()?.extents.clone()),
        Step::Product { call, kernel, .. } => (Some(kernel), sizes(call)),
        Step::Call(call) => (None, sizes(call)),
        Step::Scatter(_) | Step::Copy { .. } | Step::Host { .. } | Step::Branch(_) => return None,
    };
    Some((kernel.map_or(0, |kernel| Arc::as_ptr(kernel) as usize), numbers))
}

fn sizes(call: &LibraryCall) -> Shape {
    match call {
        LibraryCall::Matmul { m, n, k, .. } => small([*m, *n, *k]),
        LibraryCall::Sort { n, .. } => small([*n]),
    }
}

/// Whether what is ready of a step is of use for others: of the rest there is little, or there are steps within.
pub fn may_be_shared(step: &Step) -> bool {
    matches!(step, Step::Launch { .. } | Step::Call(_) | Step::Product { .. } | Step::Scatter(_))
}

/// Whether what is ready of another step is what would be made of this one.
pub fn is_ready(step: &Step, was: &Step) -> bool {
    match (step, was) {
        (Step::Launch { kernel, bindings }, Step::Launch { kernel: of, bindings: was }) => {
            Arc::ptr_eq(kernel, of)
                && (Arc::ptr_eq(bindings, was)
                    || bindings.len() == was.len() && bindings.iter().zip(&**was).all(|(b, was)| same_binding(b, was)))
        }
        (Step::Call(call), Step::Call(was)) => same_call(call, was),
        (Step::Product { call, kernel, binding }, Step::Product { call: was, kernel: of, binding: of_binding }) => {
            Arc::ptr_eq(kernel, of)
                && same_call(call, was)
                && (Arc::ptr_eq(binding, of_binding) || same_binding(binding, of_binding))
        }
        (Step::Scatter(scatter), Step::Scatter(was)) => {
            let same = |(pass, was): (&Pass, &Pass)| {
                Arc::ptr_eq(&pass.kernel, &was.kernel) && same_binding(&pass.binding, &was.binding)
            };
            scatter.passes().into_iter().zip(was.passes()).all(same)
        }
        // There is little to make, or there are steps within.
        _ => false,
    }
}

/// Goes on behind the kernels of a step.
pub fn skip(step: &Step, known: &mut std::slice::Iter<Arc<Known>>) {
    let kernels = match step {
        Step::Launch { .. } | Step::Product { .. } => 1,
        Step::Scatter(_) => 3,
        Step::Call(_) | Step::Copy { .. } | Step::Host { .. } | Step::Branch(_) => 0,
    };
    known.by_ref().take(kernels).for_each(drop);
}

fn same_binding(binding: &Binding, was: &Binding) -> bool {
    binding.extents == was.extents
        && binding.params == was.params
        && binding.args.len() == was.args.len()
        && binding.args.iter().zip(&was.args).all(|(arg, was)| same_arg(arg, was))
}

fn same_arg(arg: &Arg, was: &Arg) -> bool {
    arg.len == was.len && arg.strides == was.strides && (arg.slot == Slot::Result) == (was.slot == Slot::Result)
}

fn same_call(call: &LibraryCall, was: &LibraryCall) -> bool {
    let same = |args: &[(&Arg, &Arg)]| args.iter().all(|(arg, was)| same_arg(arg, was));
    match (call, was) {
        (
            LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c },
            LibraryCall::Matmul { dtype: of, batch: was, m: m2, n: n2, k: k2, a: a2, b: b2, c: c2 },
        ) => (dtype, batch, m, n, k) == (of, was, m2, n2, k2) && same(&[(a, a2), (b, b2), (c, c2)]),
        (
            LibraryCall::Sort { dtype, rows, n, indices, input, output },
            LibraryCall::Sort { dtype: of, rows: was, n: n2, indices: i2, input: of_input, output: of_output },
        ) => (dtype, rows, n, indices) == (of, was, n2, i2) && same(&[(input, of_input), (output, of_output)]),
        _ => false,
    }
}
