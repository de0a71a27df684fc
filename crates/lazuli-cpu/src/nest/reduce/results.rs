//! What a reduction combines, and the results of its blocks.

use crate::nest::fold::{Bytes, Fold, How, NOTHING, PARTIALS};
use crate::nest::{Room, Scratch};
use lazuli_kernel::DType;

/// An accumulator.
#[derive(Debug)]
pub(super) struct State {
    pub dtype: DType,
    pub how: How,
    pub from: From,
}

/// What is combined.
#[derive(Debug)]
pub(super) enum From {
    /// A buffer, by number.
    Buffer(usize),
    /// An operand, by number.
    Operand(usize),
}

/// Folds rows of `size` bytes by halving into the first. Rows beyond those used would be identities, which change no bit of a partial: it began as
/// one, so that it is not −0.
pub(in crate::nest) fn halve(fold: &dyn Fold, partials: &mut Scratch<'_>, used: usize, size: usize) {
    let mut used = used;
    let mut half = PARTIALS / 2;
    while half > 0 {
        if used > half {
            let (low, high) = partials.split(half * size, (used - half) * size);
            fold.zip(low.first(high.len()), high);
            used = half;
        }
        half /= 2;
    }
}

impl State {
    pub fn begin(&self, result: &mut Results<'_>, from: usize, n: usize) {
        let size = self.dtype.itemsize();
        let values = result.values.bytes_mut(from * size, n * size);
        match (&self.how, &mut result.positions) {
            (How::Best(best), Some(positions)) => {
                best.fill_identity(values, &mut positions.bytes_mut(8 * from, 8 * n).of_mut::<i64>()[..])
            }
            (How::Fold(fold), _) => fold.fill_identity(values),
            (How::Best(_), None) => unreachable!("bests have positions"),
        }
    }

    /// Totals of rows of `count` elements, at most a block each, whose first element is number `first`.
    pub fn rows(&self, values: &mut Bytes, positions: &mut [i64], rows: &Bytes, count: usize, first: usize) {
        match &self.how {
            How::Fold(fold) => fold.rows(values, rows, count),
            How::Best(best) => {
                best.fill_identity(values, positions);
                let size = self.dtype.itemsize();
                for (k, position) in positions.iter_mut().enumerate() {
                    let row = rows.range(k * count * size, count * size);
                    let value = values.range_mut(k * size, size);
                    best.update(value, position, row, first as i64);
                }
            }
        }
    }

    /// Folds the results of blocks pairwise into those of the first.
    pub fn fold_blocks(&self, result: &mut Results<'_>, points: usize, blocks: usize) {
        let size = points * self.dtype.itemsize();
        let mut left = blocks;
        while left > 1 {
            for pair in 0..left / 2 {
                let (a, b) = (2 * pair, 2 * pair + 1);
                match (&self.how, &mut result.positions) {
                    (How::Fold(fold), _) => {
                        let (low, high) = result.values.two(a * size, b * size, size);
                        fold.zip(low, high);
                    }
                    (How::Best(best), Some(positions)) => {
                        let (low, high) = result.values.two(a * size, b * size, size);
                        let (p, q) = positions.two(8 * a * points, 8 * b * points, 8 * points);
                        best.merge(low, p.of_mut(), high, q.of());
                    }
                    (How::Best(_), None) => unreachable!("bests have positions"),
                }
                result.move_block(a, pair, size, points);
            }
            if left % 2 == 1 {
                result.move_block(left - 1, left / 2, size, points);
            }
            left = left.div_ceil(2);
        }
    }
}

/// Values, and positions where those are tracked, of each block of each kept point: block by block.
pub(super) struct Results<'m> {
    pub values: Scratch<'m>,
    pub positions: Option<Scratch<'m>>,
    size: usize,
    elements: usize,
}

/// The same, for tasks that write disjoint ranges at once.
pub(super) struct Shared {
    values: usize,
    positions: Option<usize>,
    size: usize,
    elements: usize,
}

impl<'m> Results<'m> {
    pub fn new(room: &mut Room<'m>, state: &State, elements: usize) -> Self {
        let positions = matches!(state.how, How::Best(_)).then(|| room.take(elements, DType::I64));
        let values = room.take(elements, state.dtype);
        Self { values, positions, size: state.dtype.itemsize(), elements }
    }
    pub fn shared(&mut self) -> Shared {
        Shared {
            values: self.values.address(),
            positions: self.positions.as_mut().map(Scratch::address),
            size: self.size,
            elements: self.elements,
        }
    }
    fn move_block(&mut self, from: usize, to: usize, size: usize, points: usize) {
        if from != to {
            let (target, source) = self.values.two(to * size, from * size, size);
            target.copy_from(source);
            if let Some(positions) = &mut self.positions {
                let (target, source) = positions.two(8 * to * points, 8 * from * points, 8 * points);
                target.copy_from(source);
            }
        }
    }
    /// Position 0 for what has seen nothing.
    pub fn settle_positions(&mut self, points: usize) {
        if let Some(positions) = &mut self.positions {
            let positions = positions.bytes_mut(0, 8 * points).of_mut::<i64>();
            positions.iter_mut().filter(|p| **p == NOTHING).for_each(|p| *p = 0);
        }
    }
}

impl Shared {
    /// Values (and positions) `from..from + n`.
    ///
    /// # Safety
    ///
    /// The results outlive the returned slices, and nobody else uses this range meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, from: usize, n: usize) -> (&mut Bytes, &mut [i64]) {
        assert!(from + n <= self.elements);
        // SAFETY: within the allocation; exclusive by the caller's promise.
        let slice = |base: usize, size: usize| unsafe {
            std::slice::from_raw_parts_mut((base as *mut u8).add(from * size), n * size)
        };
        let positions: &mut [u8] = self.positions.map_or(&mut [], |base| slice(base, 8));
        (Bytes::new_mut(slice(self.values, self.size)), Bytes::new_mut(positions).of_mut())
    }
}
