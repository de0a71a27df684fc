//! Reductions, in the documented order (see [`Combine`]).
//!
//! The body is evaluated into small buffers, one for each accumulator, and combined from there; what is only loaded, and lies in memory as a buffer would, is
//! combined where it lies. Where vectors run along a reduced axis, a buffer holds a block of one result, or short rows of several; where they run along a kept axis, it holds a few rows of a
//! column tile, and the 64 partials of every column stand side by side. Work is divided by results and by blocks of 4,096
//! elements; blocks then fold pairwise. Last, a map over the results runs the epilogue.

use super::fold::{BLOCK, Best, Bytes, Fold, NOTHING, PARTIALS, best_of, fold_of};
use super::map::run_parallel;
use super::{Bound, Context, Need, PARALLEL, Room, Scratch, boxes, cost_per_point, row_strides};
use crate::kernels::Function;
use crate::tile::{Bases, Operand, Part, Tile};
use lazuli_kernel::{Accumulator, DType, Inner, Inst, Kernel, Nest, Operand as Declared, Result, Role, Store, Value};
use std::sync::Arc;

/// Bytes of a buffer of rows, which should stay in the first-level cache.
const ROWS_BYTES: usize = 16 << 10;
/// Columns of a tile.
const COLUMNS: usize = 512;

pub struct Reduce {
    /// Fills the buffers, if there are any.
    body: Option<Tile>,
    extents: Vec<usize>,
    /// Whether vectors run along a kept axis.
    across: bool,
    /// Of one point, in picoseconds.
    cost: usize,
    epilogue: Tile,
    /// Number of kept axes.
    kept: usize,
    /// The launch's operands, which come before buffers and results.
    operands: usize,
    accumulators: Vec<State>,
}

struct State {
    dtype: DType,
    how: How,
    from: From,
}

/// How much there is to reduce.
struct Size {
    points: usize,
    /// Elements of each.
    n: usize,
    /// Blocks of each, at least one.
    blocks: usize,
}

/// What is combined.
enum From {
    /// A buffer, by number.
    Buffer(usize),
    /// An operand, by number, and bytes between its elements along each axis.
    Operand(usize, Vec<isize>),
}

enum How {
    Fold(Box<dyn Fold>),
    Best(Box<dyn Best>),
}

impl Reduce {
    pub fn new(launch: &Bound<'_>, accumulators: &[Accumulator], epilogue: &[Inst], stores: &[Store]) -> Result<Self> {
        let Bound { kernels, kernel, extents, params, .. } = launch;
        let kept = extents.len() - kernel.reduced() as usize;
        let types = kernel.dtypes();
        let across = (kernel.vector_axis as usize) < kept;
        let mut values: Vec<Value> = Vec::new();
        let states: Vec<State> = accumulators
            .iter()
            .map(|a| {
                let dtype = types[a.value.0 as usize];
                let how = match fold_of(a.combine, dtype) {
                    Some(fold) => How::Fold(fold),
                    None => How::Best(best_of(a.combine, dtype)),
                };
                let from = in_place(launch, kept, across, a.value).unwrap_or_else(|| {
                    values.push(a.value);
                    From::Buffer(values.len() - 1)
                });
                State { dtype, how, from }
            })
            .collect();
        let body = match values.is_empty() {
            true => None,
            false => {
                let buffers = launch.with_buffers(values.len());
                Some(Tile::new(kernels, launch.body_map(&values), extents, &buffers, params, false)?)
            }
        };
        let (map, operands) = epilogue_map(launch, kept, &states, epilogue, stores);
        let epilogue = Tile::new(kernels, map, extents, &operands, params, false)?;
        let (cost, operands, extents) = (cost_per_point(kernel), kernel.operands.len(), extents.to_vec());
        Ok(Self { body, extents, across, cost, epilogue, kept, operands, accumulators: states })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.body.iter().chain([&self.epilogue]).map(|tile| tile.function().clone()).collect()
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], cx: &mut Context<'_>) {
        let extents = &self.extents;
        let Size { points, n, blocks } = self.size();
        let mut results = self.results(cx.room());
        if n == 0 {
            for (state, result) in self.accumulators.iter().zip(&mut results) {
                state.begin(result, 0, points);
            }
        } else {
            let shared: Vec<Shared> = results.iter_mut().map(Results::shared).collect();
            // SAFETY: passed on; the tasks below write disjoint ranges of the results.
            unsafe {
                match self.across {
                    true => self.columns(bases, &shared, cx),
                    false => self.rows(bases, &shared, cx),
                }
            }
            for (state, result) in self.accumulators.iter().zip(&mut results) {
                state.fold_blocks(result, points, blocks);
            }
        }
        let mut all: Bases = bases.into();
        for result in &mut results {
            if n == 0 || result.positions.is_some() {
                result.settle_positions(points);
            }
            all.push(result.values.address());
            all.extend(result.positions.as_mut().map(Scratch::address));
        }
        let mut part = Part::all(extents);
        part.count[self.kept..].fill(1);
        // SAFETY: the launch's own operands are valid by the caller's promise; the results hold an element for every kept point.
        unsafe { run_parallel(&self.epilogue, &all, &part, cx) };
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        let shared = Room::measure(|room| self.results(room));
        let each = match self.across {
            true => Room::measure(|room| self.column_memory(room)),
            false => Room::measure(|room| self.row_memory(room)),
        };
        Need { shared, each, tasks: self.tasks(threads).1 }
    }

    fn size(&self) -> Size {
        let (kept, reduced) = self.extents.split_at(self.kept);
        let n: usize = reduced.iter().product();
        Size { points: kept.iter().product(), n, blocks: n.div_ceil(BLOCK).max(1) }
    }

    /// Units of work, and how many tasks they make on so many threads.
    fn tasks(&self, threads: usize) -> (usize, usize) {
        let Size { points, n, blocks } = self.size();
        let (units, each) = match self.across {
            true => (points / self.columns_of_all() * self.tiles() * blocks, BLOCK.min(n) * self.width()),
            false => (points * blocks, n / blocks),
        };
        let tasks = match units.saturating_mul(each).saturating_mul(self.cost) {
            0..PARALLEL => 1,
            cost => (cost / PARALLEL).clamp(threads, 8 * threads),
        };
        (units, tasks.min(units.max(1)))
    }

    fn results<'m>(&self, room: &mut Room<'m>) -> Vec<Results<'m>> {
        let Size { points, blocks, .. } = self.size();
        self.accumulators.iter().map(|state| Results::new(room, state, points.saturating_mul(blocks))).collect()
    }

    fn buffers<'m>(&self, room: &mut Room<'m>, elements: usize) -> Vec<Scratch<'m>> {
        self.buffered().map(|s| room.take(elements, s.dtype)).collect()
    }

    /// Short rows of neighbouring results that share a buffer.
    fn rows_together(&self) -> usize {
        let Size { n, blocks, .. } = self.size();
        match self.extents[..self.kept].last() {
            Some(&last) if blocks == 1 => (BLOCK / n.max(1)).clamp(1, last.max(1)),
            _ => 1,
        }
    }

    /// Buffers of a task that takes rows.
    fn row_memory<'m>(&self, room: &mut Room<'m>) -> Vec<Scratch<'m>> {
        let n = self.size().n;
        self.buffers(room, BLOCK.max(n.min(BLOCK) * self.rows_together()))
    }

    /// Extent of the last kept axis.
    fn columns_of_all(&self) -> usize {
        self.extents[self.kept - 1]
    }

    /// Columns of a tile.
    fn width(&self) -> usize {
        self.columns_of_all().min(COLUMNS)
    }

    fn tiles(&self) -> usize {
        self.columns_of_all().div_ceil(self.width())
    }

    /// Rows of a buffer of columns.
    fn height(&self) -> usize {
        let largest = self.accumulators.iter().map(|s| s.dtype.itemsize()).max().unwrap_or(8);
        (ROWS_BYTES / (self.width() * largest)).clamp(1, PARTIALS)
    }

    /// Buffers and partials of a task that takes columns.
    fn column_memory<'m>(&self, room: &mut Room<'m>) -> [Vec<Scratch<'m>>; 2] {
        let width = self.width();
        let buffers = self.buffers(room, self.height() * width);
        [buffers, self.accumulators.iter().map(|state| room.take(PARTIALS * width, state.dtype)).collect()]
    }

    /// The accumulators that have a buffer, in the order of those.
    fn buffered(&self) -> impl Iterator<Item = &State> {
        self.accumulators.iter().filter(|s| matches!(s.from, From::Buffer(_)))
    }

    /// The body's strides with those of the buffers, in elements per axis.
    fn body_strides(&self, body: &Tile, buffer: &[isize]) -> Vec<isize> {
        let mut strides = body.strides().to_vec();
        let rank = buffer.len();
        for (a, state) in self.buffered().enumerate() {
            let own = &mut strides[(self.operands + a) * rank..][..rank];
            own.iter_mut().zip(buffer).for_each(|(s, &b)| *s = b * state.dtype.itemsize() as isize);
        }
        strides
    }

    /// Addresses for the body, such that the element at linear position `at` of the buffers' layout is their first.
    fn body_bases(&self, bases: &[usize], buffers: &mut [Scratch<'_>], at: usize) -> Bases {
        let mut all: Bases = bases.into();
        for (state, buffer) in self.buffered().zip(buffers) {
            all.push(buffer.address().wrapping_sub(at * state.dtype.itemsize()));
        }
        all
    }

    /// Vectors along the last reduced axis: units are blocks of one result, or results that fit in a block together.
    unsafe fn rows(&self, bases: &[usize], results: &[Shared], cx: &mut Context<'_>) {
        let extents = &self.extents;
        let (kept, reduced) = extents.split_at(self.kept);
        let Size { points, n, blocks } = self.size();
        let mut layout = vec![0; extents.len()];
        layout[self.kept..].copy_from_slice(&row_strides(extents, self.kept));
        let run = self.rows_together();
        if self.kept > 0 {
            layout[self.kept - 1] = n as isize;
        }
        let body = self.body.as_ref().map(|body| (body, self.body_strides(body, &layout)));
        let last = kept.last().copied().unwrap_or(1);
        let (units, tasks) = self.tasks(cx.threads());
        cx.share(tasks, units, Room::measure(|room| self.row_memory(room)), &|units, room| {
            let mut buffers = self.row_memory(room);
            let mut unit = units.start;
            while unit < units.end {
                let (point, block) = (unit / blocks, unit % blocks);
                let together = run.min(units.end - unit).min(last - point % last);
                let first = block * BLOCK;
                let count = BLOCK.min(n - first);
                // Kept axes but the last do not move the buffers.
                let at = (point % last) * n * (self.kept > 0) as usize + first;
                let mut part = Part::all(extents);
                let mut rest = point;
                for axis in (0..self.kept).rev() {
                    (part.start[axis], part.count[axis]) = (rest % kept[axis], 1);
                    rest /= kept[axis];
                }
                if self.kept > 0 {
                    part.count[self.kept - 1] = together;
                }
                if let Some((body, strides)) = &body {
                    let all = self.body_bases(bases, &mut buffers, at);
                    boxes(reduced, first, count, |start, counts, _| {
                        part.start[self.kept..].copy_from_slice(start);
                        part.count[self.kept..].copy_from_slice(counts);
                        // SAFETY: a part of the launch; the buffers hold `together` rows of `count` elements.
                        unsafe { body.run_with(strides, &all, &part) };
                    });
                }
                for (state, result) in self.accumulators.iter().zip(results) {
                    let size = state.dtype.itemsize();
                    // SAFETY: each unit is one task's, and each has places of its own.
                    let (values, positions) = unsafe { result.range(block * points + point, together) };
                    match &state.from {
                        From::Buffer(b) => {
                            state.rows(values, positions, buffers[*b].bytes(0, together * count * size), count, first)
                        }
                        From::Operand(o, strides) => {
                            let row = offset(&part.start[..self.kept], strides) + (first * size) as isize;
                            let pitch = if self.kept > 0 { strides[self.kept - 1] } else { 0 };
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
    unsafe fn columns(&self, bases: &[usize], results: &[Shared], cx: &mut Context<'_>) {
        let extents = &self.extents;
        let (kept, reduced) = extents.split_at(self.kept);
        let (axis, columns) = (self.kept - 1, self.columns_of_all());
        let Size { points, n, blocks } = self.size();
        let (width, tiles, height) = (self.width(), self.tiles(), self.height());
        let (units, tasks) = self.tasks(cx.threads());
        cx.share(tasks, units, Room::measure(|room| self.column_memory(room)), &|units, room| {
            let [mut buffers, mut partials] = self.column_memory(room);
            for unit in units {
                let (block, tile, point) = (unit % blocks, unit / blocks % tiles, unit / blocks / tiles);
                let (left, first) = (tile * width, block * BLOCK);
                let across = width.min(columns - left);
                let rows = BLOCK.min(n - first);
                // Buffers are rows of `across` columns.
                let mut layout: Vec<isize> = vec![0; extents.len()];
                let reduced_strides = row_strides(extents, self.kept);
                layout[self.kept..].iter_mut().zip(reduced_strides).for_each(|(l, s)| *l = s * across as isize);
                layout[axis] = 1;
                let mut part = Part::all(extents);
                let mut rest = point;
                for a in (0..axis).rev() {
                    (part.start[a], part.count[a]) = (rest % kept[a], 1);
                    rest /= kept[a];
                }
                (part.start[axis], part.count[axis]) = (left, across);
                let place = block * points + point * columns + left;
                for ((state, partials), result) in self.accumulators.iter().zip(&mut partials).zip(results) {
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
                for ((state, partials), result) in self.accumulators.iter().zip(&mut partials).zip(results) {
                    let From::Operand(o, strides) = &state.from else { continue };
                    let size = across * state.dtype.itemsize();
                    let corner = offset(&part.start[..self.kept], &strides[..self.kept]);
                    let place_of = |row: usize| {
                        let mut rest = first + row;
                        let mut at = corner;
                        for (&n, &stride) in reduced.iter().zip(&strides[self.kept..]).rev() {
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
                let body = self.body.as_ref().map(|body| (body, self.body_strides(body, &layout)));
                let mut row = 0;
                while let (true, Some((body, strides))) = (row < rows, &body) {
                    // Not across the end of the partials.
                    let high = height.min(rows - row).min(PARTIALS - row % PARTIALS);
                    let at = left + (first + row) * across;
                    let all = self.body_bases(bases, &mut buffers, at);
                    boxes(reduced, first + row, high, |start, counts, _| {
                        part.start[self.kept..].copy_from_slice(start);
                        part.count[self.kept..].copy_from_slice(counts);
                        // SAFETY: a part of the launch; the buffers hold `high` rows of `across` elements.
                        unsafe { body.run_with(strides, &all, &part) };
                    });
                    for (a, state) in self.accumulators.iter().enumerate() {
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
                for (a, state) in self.accumulators.iter().enumerate() {
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

/// The operand that a value is loaded from, if it lies as its buffer would: contiguous along all reduced axes or (`across`) along the last kept one.
fn in_place(launch: &Bound<'_>, kept: usize, across: bool, value: Value) -> Option<From> {
    let Inst::Load(o) = launch.kernel.body[value.0 as usize] else { return None };
    let dtype = launch.kernel.operands[o as usize].dtype;
    let strides = &launch.operands[o as usize].strides;
    let extents = launch.extents;
    let dense = row_strides(extents, kept);
    let lies_well = match across {
        true => strides[kept - 1] == 1,
        false => (0..dense.len()).all(|a| extents[kept + a] == 1 || strides[kept + a] == dense[a]),
    };
    // A bool in memory may be any byte.
    let size = dtype.itemsize() as isize;
    (lies_well && dtype != DType::Bool).then(|| From::Operand(o as usize, strides.iter().map(|s| s * size).collect()))
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

/// Folds rows of `size` bytes by halving into the first. Rows beyond those used would be identities, which change no bit of a partial: it began as
/// one, so that it is not −0.
pub(super) fn halve(fold: &dyn Fold, partials: &mut Scratch<'_>, used: usize, size: usize) {
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
    fn begin(&self, result: &mut Results<'_>, from: usize, n: usize) {
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
    fn rows(&self, values: &mut Bytes, positions: &mut [i64], rows: &Bytes, count: usize, first: usize) {
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
    fn fold_blocks(&self, result: &mut Results<'_>, points: usize, blocks: usize) {
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
struct Results<'m> {
    values: Scratch<'m>,
    positions: Option<Scratch<'m>>,
    size: usize,
    elements: usize,
}

/// The same, for tasks that write disjoint ranges at once.
struct Shared {
    values: usize,
    positions: Option<usize>,
    size: usize,
    elements: usize,
}

impl<'m> Results<'m> {
    fn new(room: &mut Room<'m>, state: &State, elements: usize) -> Self {
        let positions = matches!(state.how, How::Best(_)).then(|| room.take(elements, DType::I64));
        let values = room.take(elements, state.dtype);
        Self { values, positions, size: state.dtype.itemsize(), elements }
    }
    fn shared(&mut self) -> Shared {
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
    fn settle_positions(&mut self, points: usize) {
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
    unsafe fn range(&self, from: usize, n: usize) -> (&mut Bytes, &mut [i64]) {
        assert!(from + n <= self.elements);
        // SAFETY: within the allocation; exclusive by the caller's promise.
        let slice = |base: usize, size: usize| unsafe {
            std::slice::from_raw_parts_mut((base as *mut u8).add(from * size), n * size)
        };
        let positions: &mut [u8] = self.positions.map_or(&mut [], |base| slice(base, 8));
        (Bytes::new_mut(slice(self.values, self.size)), Bytes::new_mut(positions).of_mut())
    }
}

/// The map that turns results into what is stored: an operand for each `Reduced` and `ReducedIndex` after the launch's own.
fn epilogue_map(
    launch: &Bound<'_>,
    kept: usize,
    states: &[State],
    epilogue: &[Inst],
    stores: &[Store],
) -> (Kernel, Vec<Operand>) {
    let (kernel, extents) = (launch.kernel, launch.extents);
    let vector_axis = kept.saturating_sub(1);
    let mut declared = kernel.operands.clone();
    let mut operands = launch.operands.clone();
    for (d, o) in declared.iter_mut().zip(&operands) {
        d.inner = match (kept, o.strides.get(vector_axis)) {
            (0, _) | (_, Some(1) | None) => Inner::Unit,
            (_, Some(0)) if d.role == Role::In => Inner::Broadcast,
            _ => Inner::Strided,
        };
    }
    let mut strides: smallvec::SmallVec<[isize; 4]> = smallvec::SmallVec::from_elem(0, extents.len());
    strides[..kept].copy_from_slice(&lazuli_kernel::shape::row_strides(&extents[..kept]));
    // Numbers of the operands that hold each accumulator's results.
    let mut places = Vec::with_capacity(states.len());
    for state in states {
        let mut add = |dtype| {
            declared.push(Declared { dtype, role: Role::In, inner: Inner::Unit });
            operands.push(Operand { strides: strides.clone(), len: 0 });
            declared.len() as u32 - 1
        };
        let value = add(state.dtype);
        let position = matches!(state.how, How::Best(_)).then(|| add(DType::I64));
        places.push((value, position));
    }
    let first = kernel.body.len() as u32;
    let move_value = |v: Value| Value(v.0 - first);
    let body = epilogue
        .iter()
        .map(|inst| match *inst {
            Inst::Reduced(a) => Inst::Load(places[a as usize].0),
            Inst::ReducedIndex(a) => Inst::Load(places[a as usize].1.expect("a tracked position")),
            Inst::LoadAt { operand, index, mask } => {
                Inst::LoadAt { operand, index: move_value(index), mask: mask.map(move_value) }
            }
            Inst::Unary(op, a) => Inst::Unary(op, move_value(a)),
            Inst::Binary(op, a, b) => Inst::Binary(op, move_value(a), move_value(b)),
            Inst::Fma(a, b, c) => Inst::Fma(move_value(a), move_value(b), move_value(c)),
            Inst::Select(a, b, c) => Inst::Select(move_value(a), move_value(b), move_value(c)),
            Inst::Cast(d, a) => Inst::Cast(d, move_value(a)),
            Inst::Bitcast(d, a) => Inst::Bitcast(d, move_value(a)),
            leaf @ (Inst::Param(_) | Inst::Const(_) | Inst::Index(_) | Inst::Extent(_) | Inst::Load(_)) => leaf,
        })
        .collect();
    let stores = stores.iter().map(|s| Store { operand: s.operand, value: move_value(s.value) }).collect();
    let map = Kernel {
        rank: kernel.rank,
        vector_axis: vector_axis as u32,
        params: kernel.params.clone(),
        operands: declared,
        body,
        nest: Nest::Map { stores },
    };
    (map, operands)
}
