//! How the matrices of a product are divided: rows of c into tiles, columns of b into panels.

use crate::library::pack::Number;
use lazuli_kernel::{MATMUL_BLOCK, Shape};
use smallvec::SmallVec;
use std::ops::Range;

/// Bytes of sums that are finished at once: they should still be in the second-level cache, and rows of them long.
const HOT: usize = 128 << 10;

/// The rows of c, cut into tiles of nearly equal height: `tall` of `height` rows, then others of one less.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiles {
    pub(super) number: usize,
    pub(super) height: usize,
    pub(super) tall: usize,
}

impl Tiles {
    pub(super) fn of(m: usize, most: usize) -> Self {
        let number = m.div_ceil(most);
        let height = m.div_ceil(number);
        Self { number, height, tall: m - number * (height - 1) }
    }
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
pub(super) struct Panels {
    /// Columns of c in real numbers.
    pub(super) columns: usize,
    /// Steps of k in real numbers.
    pub(super) depth: usize,
    pub(super) lanes: usize,
    /// How many they are.
    pub(super) number: usize,
    /// The first that is packed.
    pub(super) first: usize,
    /// Of the batch, 1 where b is broadcast.
    pub(super) extents: Shape,
    /// Whether all panels of c go on into an epilogue.
    pub(super) go_on: bool,
}

/// Panels of c whose sums lie side by side in a buffer.
pub(super) struct Group {
    pub(super) panels: Range<usize>,
    /// Numbers of a row.
    pub(super) width: usize,
    /// Where in the buffer they begin.
    pub(super) place: usize,
}

/// How the panels and tiles of a product are divided: so many parts down and across.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) down: usize,
    pub(super) across: usize,
    pub(super) tasks: usize,
}

impl Panels {
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
        match self.number {
            n if n == self.first => 0,
            n => self.place(n - 1).saturating_add((self.vectors(n - 1) * self.lanes).saturating_mul(self.depth)),
        }
    }
    /// Those of some panels that are computed apart, so many rows of them, as what has to be converted, is narrower than its vectors or goes on into an epilogue: neighbours together, as
    /// long as they are [`HOT`]. Where k is one block they are finished one after the other, and share a place.
    pub(super) fn groups<T: Number>(&self, panels: &Range<usize>, rows: usize) -> SmallVec<[Group; 4]> {
        let mut groups: SmallVec<[Group; 4]> = SmallVec::new();
        let (last, full) = (self.number - 1, 2 * self.lanes);
        let mut next = match self.go_on || !T::SAME {
            true => panels.start,
            // Only the last may be narrow.
            false if self.width(last) < self.vectors(last) * self.lanes => panels.start.max(last),
            false => return groups,
        };
        let hot = |width: usize| rows * width * size_of::<T::Wide>() <= HOT;
        let together = (HOT / (rows * full * size_of::<T::Wide>()).max(1)).max(1);
        let mut place = 0;
        while next < panels.end {
            let mut end = panels.end.min(next + together);
            let mut width = (end - next) * full;
            if end > last {
                width -= full - self.vectors(last) * self.lanes;
            } else if end == last && end < panels.end && hot(width + self.vectors(last) * self.lanes) {
                (end, width) = (end + 1, width + self.vectors(last) * self.lanes);
            }
            groups.push(Group { panels: next..end, width, place });
            next = end;
            if self.depth > MATMUL_BLOCK {
                place += rows * width;
            }
        }
        groups
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
        at.iter().zip(&self.extents).fold(0, |n, (&i, &extent)| n * extent + i.min(extent - 1))
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
            let b = Panels { columns, depth, lanes, number, first: 0, extents: Shape::new(), go_on };
            for panels in [0..number, 0..number / 2, number / 2..number, number / 3..number - number / 3] {
                let groups = b.groups::<T>(&panels, rows);
                let groups: Vec<_> = groups.into_iter().map(|g| (g.panels, g.width, g.place)).collect();
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
