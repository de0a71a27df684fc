//! How the matrices of a product are divided: rows of c into tiles, columns of b into panels.

use crate::library::pack::Number;
use crate::settle::Settling;
use lazuli_kernel::MATMUL_BLOCK;
use std::ops::Range;

/// Bytes of sums that are finished at once: they should still be in the second-level cache, and rows of them long.
pub(super) const HOT: usize = 128 << 10;

/// The rows of c, cut into tiles of nearly equal height: `tall` of `height` rows, then others of one less.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiles<N = usize> {
    pub(super) number: N,
    pub(super) height: N,
    pub(super) tall: N,
}

impl<N: Copy> Tiles<N> {
    /// Of so many rows, at least one.
    pub(super) fn of<S: Settling<N = N>>(cx: &mut S, rows: N, most: usize) -> Self {
        let number = cx.div_up(rows, S::count(most));
        let height = cx.div_up(rows, number);
        let less = cx.sub(height, S::count(1));
        let of_short = cx.mul(number, less);
        Self { number, height, tall: cx.sub(rows, of_short) }
    }
    /// Rows of tall and of short tiles.
    pub(super) fn heights<S: Settling<N = N>>(&self, cx: &mut S) -> [N; 2] {
        let less = cx.sub(self.height, S::count(1));
        [self.height, cx.at_least(less, 1)]
    }
}

impl Tiles {
    pub(super) fn first_row(&self, tile: usize) -> usize {
        tile * self.height - tile.saturating_sub(self.tall)
    }
    /// Rows that these have.
    pub(super) fn rows(&self, tiles: &Range<usize>) -> usize {
        self.first_row(tiles.end) - self.first_row(tiles.start)
    }
    /// The tall and the short ones among these.
    pub(super) fn by_height(&self, tiles: &Range<usize>) -> [(usize, Range<usize>); 2] {
        let split = self.tall.clamp(tiles.start, tiles.end);
        [(self.height, tiles.start..split), (self.height - 1, split..tiles.end)]
    }
}

/// b in panels: all of them packed, or the last one only, and the others where they lie.
pub(super) struct Panels<'a> {
    /// Columns of c in real numbers.
    pub(super) columns: usize,
    /// Steps of k in real numbers.
    pub(super) depth: usize,
    pub(super) lanes: usize,
    /// How many they are.
    pub(super) number: usize,
    /// The first that is packed.
    pub(super) first: usize,
    /// Extents of the batch, and first among the strides of b those along it.
    pub(super) batch: &'a [usize],
    pub(super) strides: &'a [isize],
    /// Whether all panels of c go on into an epilogue.
    pub(super) go_on: bool,
}

/// Panels of c whose sums lie side by side in a buffer.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) panels: Range<usize>,
    /// Numbers of a row.
    pub(super) width: usize,
    /// Where in the buffer they begin.
    pub(super) place: usize,
}

/// How the panels and tiles of a product are divided: so many parts down and across.
#[derive(Clone, Copy)]
pub(super) struct Cut<N = usize> {
    pub(super) down: N,
    pub(super) across: N,
    pub(super) tasks: N,
}

/// The groups of some panels, see [`Panels::groups`].
#[derive(Clone)]
pub(super) struct Groups<'a> {
    b: &'a Panels<'a>,
    /// The panels that are left.
    panels: Range<usize>,
    /// Panels of a group.
    together: usize,
    rows: usize,
    itemsize: usize,
    place: usize,
}

impl Iterator for Groups<'_> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        let (b, rows, Range { start, end: all }) = (self.b, self.rows, self.panels.clone());
        if start >= all {
            return None;
        }
        let (last, full) = (b.number - 1, 2 * b.lanes);
        let is_hot = |width: usize| rows * width * self.itemsize <= HOT;
        let mut end = all.min(start + self.together);
        let mut width = (end - start) * full;
        if end > last {
            width -= full - b.vectors(last) * b.lanes;
        } else if end == last && end < all && is_hot(width + b.vectors(last) * b.lanes) {
            (end, width) = (end + 1, width + b.vectors(last) * b.lanes);
        }
        let group = Group { panels: start..end, width, place: self.place };
        self.panels.start = end;
        if b.depth > MATMUL_BLOCK {
            self.place += rows * width;
        }
        Some(group)
    }
}

impl Panels<'_> {
    /// Extents of the batch of b: axes that it is broadcast along share their matrices.
    pub(super) fn extents(&self) -> impl Iterator<Item = usize> {
        self.batch.iter().zip(self.strides).map(|(&n, &stride)| if stride == 0 { 1 } else { n })
    }
    /// Matrices of b.
    pub(super) fn matrices(&self) -> usize {
        self.extents().product()
    }
    /// Vectors of a panel, 1 or 2.
    pub(super) fn vectors(&self, panel: usize) -> usize {
        if self.columns - 2 * self.lanes * panel > self.lanes { 2 } else { 1 }
    }
    /// Columns of c that a panel has, which may be fewer than its vectors hold.
    pub(super) fn width(&self, panel: usize) -> usize {
        (self.columns - 2 * self.lanes * panel).min(2 * self.lanes)
    }
    /// Where in the packed numbers of a matrix those of a panel begin.
    pub(super) fn place(&self, panel: usize) -> usize {
        (2 * self.lanes * (panel - self.first)).saturating_mul(self.depth)
    }
    /// Packed numbers of one matrix.
    pub(super) fn size(&self) -> usize {
        (self.columns.next_multiple_of(self.lanes) - 2 * self.lanes * self.first).saturating_mul(self.depth)
    }
    /// Those of some panels that are computed apart, so many rows of them, as what has to be converted, is narrower than its vectors or goes on into an epilogue: neighbours together, as
    /// long as they are [`HOT`]. Where k is one block they are finished one after the other, and share a place.
    pub(super) fn groups<T: Number>(&self, panels: &Range<usize>, rows: usize) -> Groups<'_> {
        let last = self.number - 1;
        let first = match self.go_on || !T::SAME {
            true => panels.start,
            // Only the last may be narrow.
            false if self.width(last) < self.vectors(last) * self.lanes => panels.start.max(last),
            false => panels.end,
        };
        let itemsize = size_of::<T::Wide>();
        let together = if first < panels.end { (HOT / (rows * 2 * self.lanes * itemsize).max(1)).max(1) } else { 1 };
        Groups { b: self, panels: first..panels.end, together, rows, itemsize, place: 0 }
    }
    /// The columns of c, in real numbers, that some panels have.
    pub(super) fn columns_of(&self, panels: &Range<usize>) -> Range<usize> {
        2 * self.lanes * panels.start..self.columns.min(2 * self.lanes * panels.end)
    }
    /// Numbers between rows of a, packed.
    pub(super) fn pitch(&self) -> usize {
        MATMUL_BLOCK.min(self.depth) + 16
    }
    /// Which packed matrix belongs to this point of the batch.
    pub(super) fn matrix(&self, at: &[usize]) -> usize {
        at.iter().zip(self.extents()).fold(0, |n, (&i, extent)| n * extent + i.min(extent - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// Panel by panel, each joining the one before where it may.
    fn one_by_one<T: Number>(b: &Panels, panels: &Range<usize>, rows: usize) -> Vec<(Range<usize>, usize, usize)> {
        let mut groups: Vec<(Range<usize>, usize, usize)> = Vec::new();
        for panel in panels.clone() {
            let width = b.vectors(panel) * b.lanes;
            if T::SAME && !b.go_on && b.width(panel) == width {
                continue;
            }
            match groups.last_mut() {
                Some(g) if g.0.end == panel && rows * (g.1 + width) * size_of::<T::Wide>() <= HOT => {
                    (g.0.end, g.1) = (panel + 1, g.1 + width);
                }
                last => {
                    let next = last.map_or(0, |g| g.2 + rows * g.1);
                    groups.push((panel..panel + 1, width, if b.depth > MATMUL_BLOCK { next } else { 0 }));
                }
            }
        }
        groups
    }

    #[test]
    fn groups_are_as_large_as_they_may() {
        fn check<T: Number>(columns: usize, rows: usize, depth: usize, go_on: bool) {
            let lanes = 8;
            let number = columns.div_ceil(2 * lanes);
            let b = Panels { columns, depth, lanes, number, first: 0, batch: &[], strides: &[], go_on };
            for panels in [0..number, 0..number / 2, number / 2..number, number / 3..number - number / 3] {
                let groups = b.groups::<T>(&panels, rows);
                let groups: Vec<_> = groups.map(|g| (g.panels, g.width, g.place)).collect();
                assert_eq!(groups, one_by_one::<T>(&b, &panels, rows), "{columns} columns, {rows} rows, {panels:?}");
            }
        }
        for columns in (1..70).chain([100, 640, 648, 1000, 5000]) {
            for rows in [1, 2, 12, 100, 128, 129, 192, 341, 1024, 5000] {
                for depth in [1, MATMUL_BLOCK + 1] {
                    for go_on in [false, true] {
                        check::<f32>(columns, rows, depth, go_on);
                        check::<f64>(columns, rows, depth, go_on);
                        check::<f16>(columns, rows, depth, go_on);
                    }
                }
            }
        }
    }
}
