//! How a product is divided, and what it works in.

use super::panels::{Cut, HOT, Tiles};
use super::{FEW_TILES, MOST_PANELS, MOST_TILES, PACK_PANELS, TASK};
use crate::library::pack::Number;
use crate::nest::Need;
use crate::settle::Settling;
use lazuli_kernel::MATMUL_BLOCK;

/// What of a product does not vary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed {
    /// Real numbers of an element, whether these are computed with as they are, and bytes of such a number and of an element.
    parts: usize,
    same: bool,
    wide: usize,
    itemsize: usize,
    /// Real numbers of a vector.
    lanes: usize,
    /// Whether blocks of the result go on into an epilogue.
    goes_on: bool,
}

impl Fixed {
    pub fn of<T: Number>(lanes: usize, goes_on: bool) -> Fixed {
        let (wide, itemsize) = (size_of::<T::Wide>(), size_of::<T>());
        Fixed { parts: T::PARTS, same: T::SAME, wide, itemsize, lanes, goes_on }
    }
}

/// The numbers of a product.
pub(super) struct Sizes<'a, N> {
    pub m: N,
    pub n: N,
    pub k: N,
    pub batch: &'a [N],
    /// Strides of a, and of b, in elements: along the axes of the batch, then those of the matrix.
    pub a: &'a [N],
    pub b: &'a [N],
    pub tiles: Tiles<N>,
}

impl<N: Copy> Sizes<'_, N> {
    /// How it is divided for so many threads, and the memory that it works in on these.
    pub fn settle<S: Settling<N = N>>(&self, cx: &mut S, fixed: &Fixed, threads: usize) -> (Cut<N>, Need<N>) {
        let &Fixed { parts, lanes, .. } = fixed;
        let (columns, depth) = (cx.mul_by(self.n, parts), cx.mul_by(self.k, parts));
        let panels = cx.div_up(columns, S::count(2 * lanes));
        let matrices = cx.mul_all(self.batch);
        let is_nothing = [matrices, self.m, self.n, self.k].iter().any(|&n| cx.is(n, 0));
        if is_nothing {
            let one = S::count(1);
            return (Cut { down: one, across: one, tasks: one }, Need::none::<S>());
        }
        let cut = self.cut(cx, [columns, depth, matrices, panels], threads);
        let shared = self.packed(cx, fixed, columns, depth);
        (cut, Need { shared, each: self.each(cx, fixed, &cut, [columns, depth, panels]), tasks: cut.tasks })
    }

    fn cut<S: Settling<N = N>>(&self, cx: &mut S, of: [N; 4], threads: usize) -> Cut<N> {
        let [columns, depth, matrices, panels] = of;
        let flops = cx.mul_all(&[S::count(2), self.m, columns, depth, matrices]);
        let tasks = cx.div(flops, S::count(TASK));
        let tasks = cx.at_least(tasks, 1);
        let tasks = cx.at_most(tasks, 4 * threads);
        let parts = cx.div_up(tasks, matrices);
        let tiles = self.tiles.number;
        let (least, pairs) = (cx.div_up(tiles, S::count(MOST_TILES)), cx.div_up(tiles, S::count(2)));
        let most = cx.min(parts, pairs);
        let down = cx.max(least, most);
        let (least, parts) = (cx.div_up(panels, S::count(MOST_PANELS)), cx.div_up(parts, down));
        let most = cx.min(parts, panels);
        Cut { down, across: cx.max(least, most), tasks }
    }

    /// Bytes of the panels of b that are packed, of all matrices.
    fn packed<S: Settling<N = N>>(&self, cx: &mut S, fixed: &Fixed, columns: N, depth: N) -> N {
        let &Fixed { parts, same, wide, lanes, .. } = fixed;
        let mut packed = cx.multiple(columns, lanes);
        if parts == 1 && same && cx.is(self.b[self.batch.len() + 1], 1) {
            // Of few tiles; see [`Panels`](super::Panels).
            let few = cx.div(S::count(FEW_TILES), self.tiles.number);
            let is_few = cx.at_most(few, 1);
            let whole = cx.div(columns, S::count(2 * lanes));
            let in_place = cx.mul_by(whole, 2 * lanes);
            let in_place = cx.mul(in_place, is_few);
            packed = cx.sub(packed, in_place);
        }
        let mut numbers = cx.mul(packed, depth);
        for (&extent, &stride) in self.batch.iter().zip(self.b) {
            // Axes that it is broadcast along share their matrices.
            if !cx.is(stride, 0) {
                numbers = cx.mul(numbers, extent);
            }
        }
        let nbytes = cx.mul_by(numbers, wide);
        cx.piece(nbytes)
    }

    /// Bytes that the largest part may take: for rows of a that are packed, for sums apart from c, and for elements that these become. Parts are no larger than by nearly equal shares.
    fn each<S: Settling<N = N>>(&self, cx: &mut S, fixed: &Fixed, cut: &Cut<N>, of: [N; 3]) -> N {
        let ([columns, depth, panels], &Fixed { parts, same, wide, itemsize, lanes, goes_on }) = (of, fixed);
        let tiles = cx.div_up(self.tiles.number, cut.down);
        let rows = cx.mul(tiles, self.tiles.height);
        let rows = cx.min(rows, self.m);
        let panels = cx.div_up(panels, cut.across);
        let pitch = cx.at_most(depth, MATMUL_BLOCK);
        let pitch = cx.add(pitch, S::count(16));
        let packs_a = self.packs_a(cx, fixed, panels);
        let packed = cx.mul_all(&[rows, pitch, packs_a]);
        // As [`Panels::groups`](super::panels::Panels::groups) has them: all, or the last if it is narrow.
        let panels = match goes_on || !same {
            true => panels,
            false => {
                let whole = cx.multiple(columns, lanes);
                let missing = cx.sub(whole, columns);
                cx.at_most(missing, 1)
            }
        };
        let panel = cx.mul_by(rows, 2 * lanes);
        let all = cx.mul(panel, panels);
        let hot = cx.at_least(panel, HOT / wide);
        let group = cx.min(all, hot);
        // Where k is one block, groups are finished one after the other.
        let is_deep = cx.is_reached(depth, MATMUL_BLOCK + 1);
        let of_all = cx.mul(all, is_deep);
        let apart = cx.max(group, of_all);
        let elements = if goes_on && !same { cx.div_up(group, S::count(parts)) } else { S::count(0) };
        let mut nbytes = S::count(0);
        for (count, size) in [(packed, wide), (apart, wide), (elements, itemsize)] {
            let piece = cx.mul_by(count, size);
            let piece = cx.piece(piece);
            nbytes = cx.add(nbytes, piece);
        }
        nbytes
    }

    /// 1 if a part of so many panels may have a packed, else 0.
    fn packs_a<S: Settling<N = N>>(&self, cx: &mut S, fixed: &Fixed, panels: N) -> N {
        let axes = self.batch.len();
        let reads_in_place = fixed.same && (fixed.parts == 1 || cx.is(self.a[axes + 1], 1));
        match reads_in_place {
            false => S::count(1),
            true if cx.is(self.a[axes], 1) => cx.is_reached(panels, 2),
            true => cx.is_reached(panels, PACK_PANELS),
        }
    }
}
