//! Maps: every point stores its values; points are independent, so that any split into boxes gives the same result.

use super::{Bound, Context, PARALLEL, cost_per_point};
use crate::known::MapKernel;
use crate::tile::{Part, Tile, Whole, Words};
use lazuli_kernel::{Result, Role};

/// Outputs of so many bytes are stored past the caches: they would only push everything else out.
const STREAM_BYTES: usize = 24 << 20;

/// A task's share of the vector axis is a multiple of this many elements, which keeps rows aligned.
const GRAIN: usize = 1024;

/// How a map runs, and where in the words of the plan what it needs for that begins.
pub struct Map {
    at: usize,
    how: How,
}

enum How {
    /// In one call.
    Whole,
    /// Whole or in parts. `streams`: past the caches, where that can be.
    Parts { streams: bool, is_small: bool },
}

impl Map {
    pub fn new(launch: &Bound<'_>, words: &mut Words) -> Result<Self> {
        let Bound { kernels, known, extents, args, params, .. } = *launch;
        let (function, streams) = (known.map.function(kernels, false)?, streams(launch));
        if is_small(launch)
            && !streams
            && let Some(at) = Whole::write(words, function, extents, args, params)
        {
            return Ok(Self { at, how: How::Whole });
        }
        Self::in_parts(launch, streams, words)
    }

    /// One that runs in parts that others choose. `streams`: past the caches, where that can be.
    pub fn in_parts(launch: &Bound<'_>, streams: bool, words: &mut Words) -> Result<Self> {
        launch.known.map.function(launch.kernels, false)?;
        if streams {
            launch.known.map.function(launch.kernels, true)?;
        }
        let (at, _) = launch.write(words, 0);
        Ok(Self { at, how: How::Parts { streams, is_small: is_small(launch) } })
    }

    /// What runs over parts of it, if it was made for that.
    pub fn tile<'a>(&self, map: &'a MapKernel, words: &'a [isize]) -> Option<Tile<'a>> {
        match self.how {
            How::Whole => None,
            How::Parts { streams, .. } => Some(Tile::new(map, words, self.at, streams)),
        }
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, map: &MapKernel, words: &[isize], bases: &[usize], cx: &Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self.how {
                How::Whole => Whole::run(map, words, self.at, bases),
                How::Parts { streams, is_small } => {
                    let tile = Tile::new(map, words, self.at, streams);
                    match is_small {
                        true => tile.run(bases, &tile.all()),
                        false => run_parallel(&tile, bases, &tile.all(), cx),
                    }
                }
            }
        }
    }
}

/// Whether no other thread is worth waking for it.
fn is_small(launch: &Bound<'_>) -> bool {
    let points: usize = launch.extents.iter().product();
    points.saturating_mul(cost_per_point(launch.kernel)) < PARALLEL
}

/// Whether the outputs of a map are stored past the caches.
pub fn streams(launch: &Bound<'_>) -> bool {
    let stored = launch.kernel.operands.iter().filter(|o| o.role != Role::In).map(|o| o.dtype.itemsize());
    is_much(launch.extents.iter().product(), stored.sum())
}

/// Whether so many bytes at each of so many points are stored past the caches.
pub fn is_much(points: usize, nbytes: usize) -> bool {
    points.saturating_mul(nbytes) >= STREAM_BYTES
}

/// Runs a tile over a box, on several threads where that pays.
///
/// # Safety
///
/// As for [`Tile::run`].
pub unsafe fn run_parallel(tile: &Tile<'_>, bases: &[usize], part: &Part, cx: &Context<'_>) {
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
pub fn cut<'a>(tile: &Tile<'_>, part: &'a Part, tasks: usize) -> (usize, impl Fn(usize) -> Part + Sync + 'a) {
    let vector_axis = tile.vector_axis();
    let grain = |axis: usize| if axis == vector_axis { GRAIN } else { 1 };
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
