//! Which steps are made ready in the same way.
//!
//! What is ready of a step follows from its kernels, which are shared, and from its numbers: extents, strides, parameters. Where its arrays lie is kept [apart](crate::places).

use crate::known::Known;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{LibraryCall, Shape, Step, small};
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

/// Goes on behind the kernels of a step.
pub fn skip(step: &Step, known: &mut std::slice::Iter<Arc<Known>>) {
    let kernels = match step {
        Step::Launch { .. } | Step::Product { .. } => 1,
        Step::Scatter(_) => 3,
        Step::Call(_) | Step::Copy { .. } | Step::Host { .. } | Step::Branch(_) => 0,
    };
    known.by_ref().take(kernels).for_each(drop);
}
