//! Maps: every point stores its values; points are independent, so that any split into boxes gives the same result.

use super::{Bound, Context, PARALLEL, cost_per_point};
use crate::kernels::Function;
use crate::tile::{Part, Tile};
use lazuli_kernel::{Result, Role};
use std::sync::Arc;

/// Outputs of so many bytes are stored past the caches: they would only push everything else out.
const STREAM_BYTES: usize = 24 << 20;

/// A task's share of the vector axis is a multiple of this many elements, which keeps rows aligned.
const GRAIN: usize = 1024;

pub struct Map {
    tile: Tile,
}

impl Map {
    pub fn new(launch: &Bound<'_>) -> Result<Self> {
        let points: usize = launch.extents.iter().product();
        let stored = launch.kernel.operands.iter().filter(|o| o.role != Role::In).map(|o| points * o.dtype.itemsize());
        let stream = stored.sum::<usize>() >= STREAM_BYTES;
        let Bound { kernels, kernel, extents, operands, params } = launch;
        Ok(Self { tile: Tile::new(kernels, (*kernel).clone(), extents, operands, params, stream)? })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.tile.function().clone()]
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], cx: &Context) {
        // SAFETY: passed on.
        unsafe { run_parallel(&self.tile, bases, &Part::all(self.tile.extents()), cx) }
    }
}

/// Runs a tile over a box, on several threads where that pays.
///
/// # Safety
///
/// As for [`Tile::run`].
pub unsafe fn run_parallel(tile: &Tile, bases: &[usize], part: &Part, cx: &Context) {
    let points: usize = part.count.iter().product();
    let cost = points.saturating_mul(cost_per_point(tile.kernel()));
    let threads = cx.pool.threads();
    if cost < PARALLEL || threads == 1 {
        // SAFETY: passed on.
        return unsafe { tile.run(bases, part) };
    }
    // More tasks than threads, so that a thread that is held up does not hold up all; each still worth its start.
    let tasks = (cost / PARALLEL).clamp(threads, 8 * threads);
    let grain = |axis: usize| if axis == tile.vector_axis() { GRAIN } else { 1 };
    let shares = |axis: usize| part.count[axis] / grain(axis);
    let axes = 0..part.count.len();
    let Some(axis) = axes.clone().find(|&a| shares(a) >= tasks).or_else(|| axes.max_by_key(|&a| shares(a))) else {
        // SAFETY: passed on.
        return unsafe { tile.run(bases, part) };
    };
    let (all, unit) = (part.count[axis], grain(axis));
    let share = all.div_ceil(tasks).next_multiple_of(unit);
    cx.pool.run(all.div_ceil(share), &|k| {
        let start = k * share;
        let own = part.with(axis, part.start[axis] + start, share.min(all - start));
        // SAFETY: the boxes of the tasks are parts of the caller's, and disjoint; points of a map are independent.
        unsafe { tile.run(bases, &own) };
    });
}
