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
    pub(super) fn number(&self) -> usize {
        self.columns.div_ceil(2 * self.lanes)
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
        match self.number() {
            n if n == self.first => 0,
            n => self.place(n - 1).saturating_add((self.vectors(n - 1) * self.lanes).saturating_mul(self.depth)),
        }
    }
    /// Whether a panel of c has to be converted, is narrower than its vectors or goes on into an epilogue: it is computed apart.
    pub(super) fn is_apart<T: Number>(&self, panel: usize) -> bool {
        self.go_on || !T::SAME || self.width(panel) < self.vectors(panel) * self.lanes
    }
    /// Those of some panels that are computed apart, so many rows of them: neighbours together, as long as they are [`HOT`]. Where k is one block they are
    /// finished one after the other, and share a place.
    pub(super) fn groups<T: Number>(&self, panels: &Range<usize>, rows: usize) -> SmallVec<[Group; 4]> {
        let mut groups: SmallVec<[Group; 4]> = SmallVec::new();
        for panel in panels.clone().filter(|&p| self.is_apart::<T>(p)) {
            let width = self.vectors(panel) * self.lanes;
            match groups.last_mut() {
                Some(g) if g.panels.end == panel && rows * (g.width + width) * size_of::<T::Wide>() <= HOT => {
                    g.panels.end = panel + 1;
                    g.width += width;
                }
                last => {
                    let next = last.map_or(0, |g| g.place + rows * g.width);
                    let place = if self.depth > MATMUL_BLOCK { next } else { 0 };
                    groups.push(Group { panels: panel..panel + 1, width, place });
                }
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
