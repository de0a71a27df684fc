//! What a reduction works in, and how many tasks it has.

use super::results::From;
use super::{COLUMNS, ROWS_BYTES, Reduction};
use crate::nest::Need;
use crate::nest::fold::{BLOCK, How, PARTIALS};
use crate::settle::Settling;
use lazuli_kernel::DType;

/// The numbers of a reduction, as those of [`Run`](super::Run).
pub(super) struct Sizes<'a, N> {
    made: &'a Reduction,
    points: N,
    n: N,
    blocks: N,
    /// The last kept extent; 1 if there is none.
    last: N,
}

impl<'a, N: Copy> Sizes<'a, N> {
    pub fn new<S: Settling<N = N>>(cx: &mut S, made: &'a Reduction, extents: &[N]) -> Self {
        let (kept, reduced) = extents.split_at(made.kept);
        let n = cx.mul_all(reduced);
        let blocks = cx.div_up(n, S::count(BLOCK));
        Self {
            made,
            points: cx.mul_all(kept),
            n,
            blocks: cx.at_least(blocks, 1),
            last: kept.last().copied().unwrap_or(S::count(1)),
        }
    }

    /// The memory that it works in on at most so many threads.
    pub fn need<S: Settling<N = N>>(&self, cx: &mut S, threads: usize) -> Need<N> {
        let accumulators = &self.made.accumulators;
        let elements = cx.mul(self.points, self.blocks);
        let mut shared = S::count(0);
        for state in accumulators {
            let positions = matches!(state.how, How::Best(_)).then_some(DType::I64);
            for dtype in [state.dtype].into_iter().chain(positions) {
                shared = with_piece(cx, shared, elements, dtype);
            }
        }
        let mut each = S::count(0);
        let buffer = if self.made.across { self.columns(cx) } else { self.rows(cx) };
        for state in accumulators.iter().filter(|s| matches!(s.from, From::Buffer(_))) {
            each = with_piece(cx, each, buffer, state.dtype);
        }
        if self.made.across {
            let width = self.width(cx);
            let partials = cx.mul_by(width, PARTIALS);
            for state in accumulators {
                each = with_piece(cx, each, partials, state.dtype);
            }
        }
        Need { shared, each, tasks: self.tasks(cx, threads) }
    }

    /// Elements of a buffer of rows: of short ones those of neighbouring results together.
    fn rows<S: Settling<N = N>>(&self, cx: &mut S) -> N {
        let block = cx.at_most(self.n, BLOCK);
        let together = match self.made.kept > 0 && cx.is(self.blocks, 1) {
            true => {
                let n = cx.at_least(self.n, 1);
                let fit = cx.div(S::count(BLOCK), n);
                let fit = cx.at_least(fit, 1);
                let last = cx.at_least(self.last, 1);
                cx.min(fit, last)
            }
            false => S::count(1),
        };
        let elements = cx.mul(block, together);
        cx.at_least(elements, BLOCK)
    }

    /// Columns of a tile.
    fn width<S: Settling<N = N>>(&self, cx: &mut S) -> N {
        cx.at_most(self.last, COLUMNS)
    }

    /// Elements of a buffer of columns: a few rows of a tile.
    fn columns<S: Settling<N = N>>(&self, cx: &mut S) -> N {
        let largest = self.made.accumulators.iter().map(|s| s.dtype.itemsize()).max().unwrap_or(8);
        let width = self.width(cx);
        let nbytes = cx.mul_by(width, largest);
        let height = cx.div(S::count(ROWS_BYTES), nbytes);
        let height = cx.at_least(height, 1);
        let height = cx.at_most(height, PARTIALS);
        cx.mul(height, width)
    }

    fn tasks<S: Settling<N = N>>(&self, cx: &mut S, threads: usize) -> N {
        let (units, each) = match self.made.across {
            true => {
                let (width, outer) = (self.width(cx), cx.div(self.points, self.last));
                let tiles = cx.div_up(self.last, width);
                let units = cx.mul_all(&[outer, tiles, self.blocks]);
                let block = cx.at_most(self.n, BLOCK);
                (units, cx.mul(block, width))
            }
            false => (cx.mul(self.points, self.blocks), cx.div(self.n, self.blocks)),
        };
        let cost = cx.mul(units, each);
        let cost = cx.mul_by(cost, self.made.cost);
        let tasks = cx.tasks(cost, threads);
        let units = cx.at_least(units, 1);
        cx.min(tasks, units)
    }
}

/// So many bytes, and those of a piece of so many elements.
fn with_piece<S: Settling>(cx: &mut S, nbytes: S::N, elements: S::N, dtype: DType) -> S::N {
    let piece = cx.mul_by(elements, dtype.itemsize());
    let piece = cx.piece(piece);
    cx.add(nbytes, piece)
}
