//! Maps: every point stores its values; points are independent, so that any split into boxes gives the same result.

use super::{Bound, Context, PARALLEL, cost_per_point};
use crate::kernels::Function;
use crate::tile::{Part, Tile};
use lazuli_kernel::{Result, Role};
use std::sync::Arc;

/// Outputs of so many bytes are stored past the caches: they would only push everything else out.
pub(super) const STREAM_BYTES: usize = 24 << 20;

/// A task's share of the vector axis is a multiple of this many elements, which keeps rows aligned.
const GRAIN: usize = 1024;

pub struct Map {
    tile: Tile,
    /// Whether no other thread is worth waking for it.
    is_small: bool,
}

impl Map {
    pub fn new(launch: &Bound<'_>) -> Result<Self> {
        let points: usize = launch.extents.iter().product();
        let is_small = points.saturating_mul(cost_per_point(launch.kernel)) < PARALLEL;
        Ok(Self { tile: launch.tile(streams(launch))?, is_small })
    }

    pub fn tile(&self) -> &Tile {
        &self.tile
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.tile.function().clone()]
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], cx: &Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            if self.is_small {
                return self.tile.run_all(bases);
            }
            run_parallel(&self.tile, bases, &Part::all(self.tile.extents()), cx)
        }
    }
}

/// Whether a map's outputs are stored past the caches.
pub(super) fn streams(launch: &Bound<'_>) -> bool {
    let points: usize = launch.extents.iter().product();
    let stored = launch.kernel.operands.iter().filter(|o| o.role != Role::In).map(|o| points * o.dtype.itemsize());
    stored.sum::<usize>() >= STREAM_BYTES
}

/// Runs a tile over a box, on several threads where that pays.
///
/// # Safety
///
/// As for [`Tile::run`].
pub unsafe fn run_parallel(tile: &Tile, bases: &[usize], part: &Part, cx: &Context<'_>) {
    let points: usize = part.count.iter().product();
    let cost = points.saturating_mul(cost_per_point(tile.kernel()));
    let threads = cx.threads();
    if cost < PARALLEL || threads == 1 {
        // SAFETY: passed on.
        return unsafe { tile.run(bases, part) };
    }
    // More tasks than threads, so that a thread that is held up does not hold up all; each still worth its start.
    let (tasks, own) = cut(tile, part, (cost / PARALLEL).clamp(threads, 8 * threads));
    // SAFETY: the boxes of the tasks are parts of the caller's, and disjoint; points of a map are independent.
    cx.run(tasks, &|k| unsafe { tile.run(bases, &own(k)) });
}

/// Disjoint boxes that make up a box: about `tasks` of them, if it has so many rows or so long ones. Their number, and each of them.
pub fn cut<'a>(tile: &Tile, part: &'a Part, tasks: usize) -> (usize, impl Fn(usize) -> Part + Sync + 'a) {
    let grain = |axis: usize| if axis == tile.vector_axis() { GRAIN } else { 1 };
    let shares = |axis: usize| part.count[axis] / grain(axis);
    let axes = 0..part.count.len();
    let axis = axes.clone().find(|&a| shares(a) >= tasks).or_else(|| axes.max_by_key(|&a| shares(a)));
    // A box without axes is one point.
    let (all, unit) = axis.map_or((1, 1), |a| (part.count[a], grain(a)));
    let share = all.div_ceil(tasks.max(1)).next_multiple_of(unit);
    let own = move |k: usize| match axis {
        Some(axis) => part.with(axis, part.start[axis] + k * share, share.min(all - k * share)),
        None => part.clone(),
    };
    (all.div_ceil(share), own)
}
