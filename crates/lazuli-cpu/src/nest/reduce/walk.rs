//! The two ways through the points of a reduction: along rows, and down columns.

use super::results::{From, Shared, halve};
use super::{Reduction, Run};
use crate::nest::fold::{BLOCK, Bytes, How, PARTIALS};
use crate::nest::{Context, Pieces, boxes, row_strides};
use crate::tile::{Part, Tile};
use lazuli_kernel::small;

impl Run<'_> {
    /// Vectors along the last reduced axis: units are blocks of one result, or results that fit in a block together.
    ///
    /// # Safety
    ///
    /// As for [`all`](Self::all); the results have places for all blocks of all points.
    pub(super) unsafe fn rows(
        &self,
        words: &[isize],
        bases: &[usize],
        results: &[Shared],
        each: usize,
        cx: &mut Context<'_>,
    ) {
        let &Run { made, extents, n, blocks, .. } = self;
        let Reduction { epilogue, accumulators, kept: axes, .. } = made;
        let (axes, operands) = (*axes, Tile::new(epilogue, words, self.at, false));
        let (kept, reduced) = extents.split_at(axes);
        let mut layout = vec![0; extents.len()];
        layout[axes..].copy_from_slice(&row_strides(extents, axes));
        let run = self.rows_together();
        if axes > 0 {
            layout[axes - 1] = n as isize;
        }
        let body = self.body(words, &layout);
        let last = kept.last().copied().unwrap_or(1);
        let (units, tasks) = (self.units(), self.tasks);
        cx.share(tasks, units, each, &|units, room| {
            let mut buffers: Pieces<'_> = small(self.row_buffers(room));
            let mut unit = units.start;
            while unit < units.end {
                let (point, block) = (unit / blocks, unit % blocks);
                let together = run.min(units.end - unit).min(last - point % last);
                let first = block * BLOCK;
                let count = BLOCK.min(n - first);
                // Kept axes but the last do not move the buffers.
                let at = (point % last) * n * (axes > 0) as usize + first;
                let mut part = Part::all(extents);
                let mut rest = point;
                for axis in (0..axes).rev() {
                    (part.start[axis], part.count[axis]) = (rest % kept[axis], 1);
                    rest /= kept[axis];
                }
                if axes > 0 {
                    part.count[axes - 1] = together;
                }
                if let Some((body, rows)) = &body {
                    let all = self.body_bases(bases, &mut buffers, at);
                    boxes(reduced, first, count, |start, counts, _| {
                        part.start[axes..].copy_from_slice(start);
                        part.count[axes..].copy_from_slice(counts);
                        // SAFETY: a part of the launch; the buffers hold `together` rows of `count` elements.
                        unsafe { body.with_rows(rows).run(&all, &part) };
                    });
                }
                for (state, result) in accumulators.iter().zip(results) {
                    let size = state.dtype.itemsize();
                    // SAFETY: each unit is one task's, and each has places of its own.
                    let (values, positions) = unsafe { result.range(block * self.points + point, together) };
                    match &state.from {
                        From::Buffer(b) => {
                            state.rows(values, positions, buffers[*b].bytes(0, together * count * size), count, first)
                        }
                        From::Operand(o) => {
                            let strides = operands.strides(*o);
                            let row = offset(&part.start[..axes], strides) + (first * size) as isize;
                            let pitch = if axes > 0 { strides[axes - 1] } else { 0 };
                            let whole = if pitch == (count * size) as isize { together } else { 1 };
                            for k in (0..together).step_by(whole) {
                                // SAFETY: whole rows of this part of the operand, which `in_place` found to be contiguous.
                                let elements =
                                    unsafe { operand(bases[*o], row + k as isize * pitch, whole * count * size) };
                                let positions = positions.get_mut(k..k + whole).unwrap_or_default();
                                state.rows(values.range_mut(k * size, whole * size), positions, elements, count, first);
                            }
                        }
                    }
                }
                unit += together;
            }
        })
    }

    /// Vectors along the last kept axis: units are blocks of column tiles.
    ///
    /// # Safety
    ///
    /// As for [`rows`](Self::rows).
    pub(super) unsafe fn columns(
        &self,
        words: &[isize],
        bases: &[usize],
        results: &[Shared],
        each: usize,
        cx: &mut Context<'_>,
    ) {
        let &Run { made, extents, points, n, blocks, .. } = self;
        let Reduction { epilogue, accumulators, kept: axes, .. } = made;
        let (axes, operands) = (*axes, Tile::new(epilogue, words, self.at, false));
        let (kept, reduced) = extents.split_at(axes);
        let (axis, columns) = (axes - 1, self.columns_of_all());
        let (width, tiles, height) = (self.width(), self.tiles(), self.height());
        let (units, tasks) = (self.units(), self.tasks);
        cx.share(tasks, units, each, &|units, room| {
            let mut buffers: Pieces<'_> = small(self.column_buffers(room));
            let mut partials: Pieces<'_> = small(self.partials(room));
            for unit in units {
                let (block, tile, point) = (unit % blocks, unit / blocks % tiles, unit / blocks / tiles);
                let (left, first) = (tile * width, block * BLOCK);
                let across = width.min(columns - left);
                let rows = BLOCK.min(n - first);
                // Buffers are rows of `across` columns.
                let mut layout: Vec<isize> = vec![0; extents.len()];
                let reduced_strides = row_strides(extents, axes);
                layout[axes..].iter_mut().zip(reduced_strides).for_each(|(l, s)| *l = s * across as isize);
                layout[axis] = 1;
                let mut part = Part::all(extents);
                let mut rest = point;
                for a in (0..axis).rev() {
                    (part.start[a], part.count[a]) = (rest % kept[a], 1);
                    rest /= kept[a];
                }
                (part.start[axis], part.count[axis]) = (left, across);
                let place = block * points + point * columns + left;
                for ((state, partials), result) in accumulators.iter().zip(&mut partials).zip(results) {
                    match &state.how {
                        How::Fold(fold) => {
                            let used = PARTIALS.min(rows) * across * state.dtype.itemsize();
                            fold.fill_identity(partials.bytes_mut(0, used));
                        }
                        How::Best(best) => {
                            // SAFETY: each unit is one task's, and each has places of its own.
                            let (values, positions) = unsafe { result.range(place, across) };
                            best.fill_identity(values, positions);
                        }
                    }
                }
                for ((state, partials), result) in accumulators.iter().zip(&mut partials).zip(results) {
                    let From::Operand(o) = &state.from else { continue };
                    let strides = operands.strides(*o);
                    let size = across * state.dtype.itemsize();
                    let corner = offset(&part.start[..axes], &strides[..axes]);
                    let place_of = |row: usize| {
                        let mut rest = first + row;
                        let mut at = corner;
                        for (&n, &stride) in reduced.iter().zip(&strides[axes..]).rev() {
                            at += (rest % n) as isize * stride;
                            rest /= n;
                        }
                        at
                    };
                    // SAFETY: a row of this part of the operand, which `in_place` found to be contiguous.
                    let row = |row: usize| unsafe { operand(bases[*o], place_of(row), size) };
                    let address = |row: usize| bases[*o].wrapping_add_signed(place_of(row));
                    match &state.how {
                        How::Fold(fold) => {
                            // Several rows of one partial at a time: the partials are more than the first-level cache holds.
                            for round in (0..rows).step_by(4 * PARTIALS) {
                                for p in 0..PARTIALS.min(rows - round) {
                                    let into = partials.bytes_mut(p * size, size);
                                    match round + p + 3 * PARTIALS < rows {
                                        true => {
                                            let number = [0, 1, 2, 3].map(|k| round + p + k * PARTIALS);
                                            fold.zip_four(into, number.map(row), number.map(|r| address(r + 1)))
                                        }
                                        false => (round + p..rows.min(round + 4 * PARTIALS))
                                            .step_by(PARTIALS)
                                            .for_each(|r| fold.zip(into, row(r))),
                                    }
                                }
                            }
                        }
                        How::Best(best) => {
                            // SAFETY: each unit is one task's, and each has places of its own.
                            let (values, positions) = unsafe { result.range(place, across) };
                            (0..rows).for_each(|r| best.update_each(values, positions, row(r), (first + r) as i64));
                        }
                    }
                }
                let body = self.body(words, &layout);
                let mut row = 0;
                while let (true, Some((body, rows_of))) = (row < rows, &body) {
                    // Not across the end of the partials.
                    let high = height.min(rows - row).min(PARTIALS - row % PARTIALS);
                    let at = left + (first + row) * across;
                    let all = self.body_bases(bases, &mut buffers, at);
                    boxes(reduced, first + row, high, |start, counts, _| {
                        part.start[axes..].copy_from_slice(start);
                        part.count[axes..].copy_from_slice(counts);
                        // SAFETY: a part of the launch; the buffers hold `high` rows of `across` elements.
                        unsafe { body.with_rows(rows_of).run(&all, &part) };
                    });
                    for (a, state) in accumulators.iter().enumerate() {
                        let From::Buffer(b) = state.from else { continue };
                        let size = across * state.dtype.itemsize();
                        let fresh = buffers[b].bytes(0, high * size);
                        match &state.how {
                            How::Fold(fold) => {
                                fold.zip(partials[a].bytes_mut(row % PARTIALS * size, high * size), fresh);
                            }
                            How::Best(best) => {
                                // SAFETY: as above.
                                let (values, positions) = unsafe { results[a].range(place, across) };
                                for k in 0..high {
                                    let row_of = buffers[b].bytes(k * size, size);
                                    best.update_each(values, positions, row_of, (first + row + k) as i64);
                                }
                            }
                        }
                    }
                    row += high;
                }
                for (a, state) in accumulators.iter().enumerate() {
                    if let How::Fold(fold) = &state.how {
                        let size = across * state.dtype.itemsize();
                        halve(&**fold, &mut partials[a], PARTIALS.min(rows), size);
                        // SAFETY: as above.
                        let (values, _) = unsafe { results[a].range(place, across) };
                        values.copy_from(partials[a].bytes(0, size));
                    }
                }
            }
        })
    }
}

fn offset(start: &[usize], strides: &[isize]) -> isize {
    start.iter().zip(strides).map(|(&i, &s)| i as isize * s).sum()
}

/// Bytes of an operand.
///
/// # Safety
///
/// They can be read, and nobody writes them while the result lives.
unsafe fn operand<'a>(base: usize, at: isize, n: usize) -> &'a Bytes {
    // SAFETY: the caller's.
    Bytes::new(unsafe { std::slice::from_raw_parts(base.wrapping_add_signed(at) as *const u8, n) })
}
