//! Maps: every point stores its values; points are independent, so that any split into boxes gives the same result.

use super::{Bound, Context, PARALLEL, cost_per_point, numbers_of};
use crate::known::{Form, MapKernel};
use crate::settle::{OnWords, Settling};
use crate::tile::{Part, Tile, Whole};
use crate::words::Words;
use lazuli_kernel::{Result, small};
use smallvec::SmallVec;

/// Outputs of so many bytes are stored past the caches: they would only push everything else out.
const STREAM_BYTES: usize = 24 << 20;

/// A task's share of the vector axis is a multiple of this many elements, which keeps rows aligned.
const GRAIN: usize = 1024;

/// How a map runs, and where in the words of the plan what it needs for that begins.
pub struct Map {
    at: usize,
    how: How,
    /// Whether it runs in parts that others choose.
    in_parts: bool,
}

#[derive(PartialEq)]
enum How {
    /// In one call, whose rows step along this axis.
    Whole(Option<usize>),
    /// Whole or in parts. `streams`: past the caches, where that can be.
    Parts { streams: bool, is_small: bool },
}

impl How {
    /// That of a map over these extents. `along`: bytes between neighbours along the axis of vectors, of each operand.
    fn of<S: Settling>(cx: &mut S, form: &Form, extents: &[S::N], along: &[S::N], in_parts: bool) -> How {
        let (streams, is_small) = (streams(cx, form, extents), is_small(cx, form, extents));
        match is_small && !streams && !in_parts {
            true => {
                Whole::rows(cx, form.vector_axis, extents, along).map_or(How::Parts { streams, is_small }, How::Whole)
            }
            false => How::Parts { streams, is_small },
        }
    }
}

impl Map {
    pub fn new(launch: &Bound<'_>, words: &mut Words) -> Result<Self> {
        let Bound { kernel, extents, args, .. } = *launch;
        let along = args.iter().zip(&kernel.operands).map(|(arg, declared)| {
            let itemsize = declared.dtype.itemsize() as i64;
            arg.strides.get(kernel.vector_axis as usize).map_or(0, |&stride| stride as i64 * itemsize)
        });
        let along: SmallVec<[i64; 8]> = small(along);
        match How::of(&mut OnWords(&mut []), &launch.known.form, &numbers_of(extents), &along, false) {
            How::Whole(rows) => {
                let function = launch.known.map.function(launch.kernels, false)?;
                let at = Whole::write(words, function, rows, &launch.numbers());
                Ok(Self { at, how: How::Whole(rows), in_parts: false })
            }
            How::Parts { streams, .. } => Ok(Self { in_parts: false, ..Self::in_parts(launch, streams, words)? }),
        }
    }

    /// One that runs in parts that others choose, past the caches where that pays.
    pub fn in_parts_of_others(launch: &Bound<'_>, words: &mut Words) -> Result<Self> {
        let streams = streams(&mut OnWords(&mut []), &launch.known.form, &numbers_of(launch.extents));
        Self::in_parts(launch, streams, words)
    }

    /// The same. `streams`: past the caches.
    pub fn in_parts(launch: &Bound<'_>, streams: bool, words: &mut Words) -> Result<Self> {
        launch.known.map.function(launch.kernels, false)?;
        if streams {
            launch.known.map.function(launch.kernels, true)?;
        }
        let is_small = is_small(&mut OnWords(&mut []), &launch.known.form, &numbers_of(launch.extents));
        let how = How::Parts { streams, is_small };
        Ok(Self { at: launch.write(words), how, in_parts: true })
    }

    /// What runs over parts of it, if it was made for that.
    pub fn tile<'a>(&self, map: &'a MapKernel, words: &'a [isize]) -> Option<Tile<'a>> {
        match self.how {
            How::Whole(_) => None,
            How::Parts { streams, .. } => Some(Tile::new(map, words, self.at, streams)),
        }
    }

    /// Where its extents stand.
    pub fn extents(&self, form: &Form) -> usize {
        match self.how {
            How::Whole(_) => Whole::extents(form, self.at),
            How::Parts { .. } => self.at,
        }
    }

    /// Whether it would be made in this way for the numbers that the words have now. None if not.
    pub fn settle<S: Settling>(&self, form: &Form, cx: &mut S) -> Option<()> {
        let extents = cx.numbers(self.extents(form), form.rank);
        let along = |operand| match self.how {
            How::Whole(_) => Some(Whole::along(form, self.at, operand)),
            How::Parts { .. } => (form.rank > 0).then(|| form.row(self.at, operand) + form.vector_axis),
        };
        let along = (0..form.operands.len()).map(|operand| along(operand).map_or(S::fixed(0), |word| cx.number(word)));
        let along: SmallVec<[S::N; 8]> = small(along);
        (How::of(cx, form, &extents, &along, self.in_parts) == self.how).then_some(())
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, map: &MapKernel, words: &[isize], bases: &[usize], cx: &Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self.how {
                How::Whole(_) => Whole::run(map, words, self.at, bases),
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
fn is_small<S: Settling>(cx: &mut S, form: &Form, extents: &[S::N]) -> bool {
    let points = cx.mul_all(extents);
    let cost = cx.mul_by(points, form.cost);
    cx.less(cost, S::count(PARALLEL))
}

/// Whether the outputs of a map are stored past the caches.
fn streams<S: Settling>(cx: &mut S, form: &Form, extents: &[S::N]) -> bool {
    let stored = form.operands.iter().filter(|o| !o.is_in).map(|o| o.itemsize());
    is_much(cx, extents, stored.sum())
}

/// Whether so many bytes at each of the points of a space are stored past the caches.
pub fn is_much<S: Settling>(cx: &mut S, extents: &[S::N], nbytes: usize) -> bool {
    let points = cx.mul_all(extents);
    let all = cx.mul_by(points, nbytes);
    !cx.less(all, S::count(STREAM_BYTES))
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
