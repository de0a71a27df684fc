//! Rows: reductions whose results are used at the points of the same row, without a way through memory in between.
//!
//! A task takes a few rows at a time, as many as stay in the cache with their buffers, through all [`passes`]: a map over their points, then the
//! combination of what it left in the buffers, in the documented order (see [`Combine`](lazuli_kernel::Combine)). Where vectors run along the rows, a buffer
//! holds one row after another; where they run along the last kept axis, neighbouring rows stand side by side, and the 64 partials
//! of all of them. Rows are independent, and divided over the threads.

mod passes;

use super::fold::{BLOCK, Bytes, Fold, How, PARTIALS};
use super::map::is_much;
use super::reduce::halve;
use super::{Bound, Context, Need, Pieces, Room, Scratch, counts, derive_dense, is_dense};
use crate::known::{Form, MapKernel, OperandForm};
use crate::settle::{OnWords, Settling};
use crate::tile::{Bases, Part, Tile};
use crate::words::Words;
use lazuli_kernel::{DType, Inner, Result, small};
use passes::{Count, Fact, Map, Source, plan};
pub use passes::{Facts, Passes};
use smallvec::SmallVec;
use std::sync::Arc;

/// Bytes that the rows of one go should take, with all that is read and kept of them.
const ROWS_BYTES: usize = 96 << 10;
/// The same, and the fewest rows, of rows side by side: narrow boxes are walked slowly.
const ACROSS_BYTES: usize = 256 << 10;
const LEAST_ACROSS: usize = 64;

/// Elements of a row that is too short for vectors along it.
const SHORT: usize = 16;

/// Rows made ready.
pub struct Rows {
    made: Arc<Passes>,
    /// Where the numbers of the launch begin. Before them stand how many tasks there are, how many rows one go takes at most, and how many bytes a task works in.
    pub(super) at: usize,
    /// Whether what the last pass stores goes past the caches.
    streams: bool,
}

/// Words before the launch's numbers.
const OWN: usize = 3;

/// Rows and their extents.
struct Run<'a> {
    made: &'a Passes,
    at: usize,
    extents: &'a [usize],
    /// Elements of a row.
    n: usize,
    tasks: usize,
    /// Rows that one go takes at most, neighbours along the last kept axis.
    together: usize,
    streams: bool,
}

/// Whether what the last pass stores goes past the caches, where the numbers of the launch begin there.
fn streams<S: Settling>(cx: &mut S, made: &Passes, at: usize) -> bool {
    let extents = cx.numbers(at, made.rank);
    made.streamable.is_some_and(|stored| is_much(cx, &extents, stored))
}

/// The class of a stride in bytes, `Unit` where there is none.
fn class<S: Settling>(cx: &mut S, stride: Option<&S::N>, itemsize: usize) -> Inner {
    match stride {
        Some(&stride) if !cx.equal(stride, S::count(itemsize)) => match cx.is(stride, 0) {
            true => Inner::Broadcast,
            false => Inner::Strided,
        },
        _ => Inner::Unit,
    }
}

/// What passes depend on, of a launch whose numbers begin there.
fn facts<S: Settling>(form: &Form, cx: &mut S, at: usize) -> Facts {
    let &Form { rank, kept, .. } = form;
    let extents = cx.numbers(at, rank);
    let reduced = &extents[kept..];
    let n = cx.mul_all(reduced);
    // Short rows side by side as well, if there are many: their elements are gathered once, and then fill whole vectors.
    let is_short = kept > 0 && {
        let (is_many, is_long) = (cx.is_reached(extents[kept - 1], LEAST_ACROSS), cx.is_reached(n, SHORT + 1));
        cx.less(is_long, is_many)
    };
    let across = is_short || form.vector_axis < kept;
    let vector_axis = if across { kept - 1 } else { form.vector_axis };
    let fact = |(n, operand): (usize, &OperandForm)| {
        let (itemsize, strides) = (operand.itemsize(), cx.numbers(form.row(at, n), rank));
        let own = &strides[kept..];
        Fact {
            moves: own.iter().any(|&stride| !cx.is(stride, 0)),
            stands: reduced.iter().zip(own).all(|(&n, &stride)| !cx.is_many(n) || cx.is(stride, 0)),
            // A bool in memory may be any byte.
            contiguous: !across && operand.dtype != DType::Bool && is_dense(cx, reduced, own, itemsize),
            along: class(cx, strides.get(vector_axis), itemsize),
            across: class(cx, strides.get(kept.saturating_sub(1)), itemsize),
        }
    };
    Facts { vector_axis, operands: small(form.operands.iter().enumerate().map(fact)) }
}

impl Rows {
    /// For at most so many threads, and the memory that they work in on these.
    pub fn new(launch: &Bound<'_>, threads: usize, words: &mut Words) -> Result<(Self, Need)> {
        let Bound { kernels, known, kernel, extents, .. } = *launch;
        words.derive(OWN);
        let at = launch.write(words);
        let facts = facts(&known.form, &mut OnWords(words), at);
        let made = known.passes.get(|own| *own == facts, || facts.clone(), |facts| plan(kernel, facts));
        made.generate(kernels)?;
        let streams = streams(&mut OnWords(words), &made, at);
        if let Some(map) = made.last_map().filter(|_| streams) {
            map.kernel.function(kernels, true)?;
        }
        words.derive(made.own.len() * (extents.len() + 1));
        let rows = Self { made, at, streams };
        let need = rows.derive(&known.form, &mut OnWords(words), threads).into();
        Ok((rows, need))
    }

    /// As for [`Launch::settle`](super::Launch::settle).
    pub fn settle<S: Settling>(&self, form: &Form, cx: &mut S, threads: usize) -> Option<Need<S::N>> {
        let &Self { ref made, at, streams: streamed } = self;
        let is_alike = facts(form, cx, at) == made.facts && streams(cx, made, at) == streamed;
        is_alike.then(|| self.derive(form, cx, threads))
    }

    /// Derives what follows from the launch's own numbers. The memory that it works in.
    fn derive<S: Settling>(&self, form: &Form, cx: &mut S, threads: usize) -> Need<S::N> {
        let &Self { ref made, at, .. } = self;
        let Passes { rank, kept, across, .. } = **made;
        let extents = cx.numbers(at, rank);
        let n = cx.mul_all(&extents[kept..]);
        let elements = cx.at_least(n, 1);
        let (budget, least) = if across { (ACROSS_BYTES, LEAST_ACROSS) } else { (ROWS_BYTES, 1) };
        let row = cx.mul_by(elements, made.bytes.max(1));
        let together = cx.div(S::count(budget), row);
        let together = cx.at_least(together, least);
        let (outer, last) = match extents[..kept].split_last() {
            Some((&last, outer)) => (cx.mul_all(outer), last),
            None => (S::count(1), S::count(1)),
        };
        let at_most = cx.at_least(last, 1);
        let together = cx.min(together, at_most);
        let blocks = cx.div_up(n, S::count(BLOCK));
        let blocks = cx.at_least(blocks, 1);
        let mut each = S::count(0);
        for piece in &made.pieces {
            let elements = match piece.count {
                Count::Nothing => S::count(0),
                Count::Points => cx.mul(together, n),
                Count::Rows => together,
                Count::Blocks => cx.mul(together, blocks),
                Count::Partials => cx.mul_by(together, PARTIALS),
            };
            let nbytes = cx.mul_by(elements, piece.itemsize);
            let piece = cx.piece(nbytes);
            each = cx.add(each, piece);
        }
        let rows = cx.mul(last, outer);
        let cost = cx.mul(rows, elements);
        let cost = cx.mul_by(cost, made.cost);
        let tasks = cx.tasks(cost, threads);
        let rows = cx.at_least(rows, 1);
        let tasks = cx.min(tasks, rows);
        [tasks, together, each].into_iter().enumerate().for_each(|(n, own)| cx.derive(at - OWN + n, own));
        for (number, own) in made.own.iter().enumerate() {
            let row = form.row(at, made.operands + number);
            let (neighbour, element) = match (own.of_points, across) {
                (false, _) => (S::count(1), S::count(0)),
                (true, false) => (n, S::count(1)),
                (true, true) => (S::count(1), together),
            };
            if own.of_points {
                let element = cx.mul_by(element, own.itemsize);
                derive_dense(cx, row + kept, &extents[kept..], element);
            }
            if kept > 0 {
                let neighbour = cx.mul_by(neighbour, own.itemsize);
                cx.derive(row + kept - 1, neighbour);
            }
        }
        Need { shared: S::count(0), each, tasks }
    }

    /// The maps that run.
    pub fn maps(&self) -> impl Iterator<Item = &MapKernel> {
        self.made.maps().map(|map| &map.kernel)
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let &Self { ref made, at, streams } = self;
        let extents = counts(&words[at..][..made.rank]);
        let own: &[isize; OWN] = words[at - OWN..].first_chunk().expect("they stand before its numbers");
        let [tasks, together, each] = own.map(|n| n as usize);
        let n = extents[made.kept..].iter().product();
        // SAFETY: passed on.
        unsafe { Run { made, at, extents: &extents, n, tasks, together, streams }.all(words, bases, each, cx) }
    }
}

impl Run<'_> {
    /// Takes all rows through the passes; a task works in `each` bytes.
    ///
    /// # Safety
    ///
    /// As for [`Rows::run`].
    unsafe fn all(&self, words: &[isize], bases: &[usize], each: usize, cx: &mut Context<'_>) {
        let Passes { kept, across, .. } = *self.made;
        let (last, outer) = self.last_and_outer();
        let (rows, tasks) = (last * outer, if cx.threads() == 1 { 1 } else { self.tasks });
        // Fewer rows in one go where there would be too few goes for the threads.
        let least = if across { LEAST_ACROSS.min(self.together) } else { 1 };
        let together = if tasks > 1 { self.together.min(rows / tasks).max(least) } else { self.together };
        let goes = last.div_ceil(together);
        cx.share(tasks, outer * goes, each, &|units, room| {
            let mut memory = Memory::new(self, room);
            for unit in units {
                let (point, start) = (unit / goes, unit % goes * together);
                let mut part = Part::all(self.extents);
                let mut rest = point;
                for axis in (0..kept.saturating_sub(1)).rev() {
                    (part.start[axis], part.count[axis]) = (rest % self.extents[axis], 1);
                    rest /= self.extents[axis];
                }
                let count = together.min(last - start);
                if kept > 0 {
                    (part.start[kept - 1], part.count[kept - 1]) = (start, count);
                }
                // SAFETY: passed on; units are disjoint sets of rows, and rows are independent of one another.
                unsafe { self.unit(words, bases, &part, count, &mut memory) };
            }
        });
    }

    /// Extent of the last kept axis, and points of those before.
    fn last_and_outer(&self) -> (usize, usize) {
        match self.extents[..self.made.kept].split_last() {
            Some((&last, outer)) => (last, outer.iter().product()),
            None => (1, 1),
        }
    }

    /// Takes `count` rows, those of the part, through all passes.
    ///
    /// # Safety
    ///
    /// As for [`all`](Self::all); nobody else works on these rows.
    unsafe fn unit(&self, words: &[isize], bases: &[usize], part: &Part, count: usize, memory: &mut Memory<'_>) {
        let Passes { passes, epilogue, kept, .. } = self.made;
        let mut over_rows = part.clone();
        over_rows.count[*kept..].fill(1);
        // Rows without elements have nothing to compute at points, nor memory to load from.
        let has_points = self.n > 0;
        for (i, pass) in passes.iter().enumerate() {
            if let Some(map) = pass.scalars.as_ref().filter(|_| has_points) {
                // SAFETY: passed on; the scalars have a place for each row of the part.
                unsafe { self.map(map, false, words, bases, &over_rows, memory) };
            }
            // What is combined as it lies in an operand goes first: the last pass may store over that.
            for &a in &pass.direct {
                // SAFETY: passed on.
                unsafe { self.combine(a, words, bases, part, count, memory) };
            }
            if let Some(map) = pass.points.as_ref().filter(|_| has_points) {
                // SAFETY: passed on; the buffers have a place for each point of the part.
                unsafe { self.map(map, self.streams && i + 1 == passes.len(), words, bases, part, memory) };
            }
            for &a in &pass.buffered {
                // SAFETY: passed on.
                unsafe { self.combine(a, words, bases, part, count, memory) };
            }
        }
        if let Some(map) = epilogue {
            // SAFETY: as above.
            unsafe { self.map(map, false, words, bases, &over_rows, memory) };
        }
    }

    /// Combines the elements of an accumulator into its results, one for each of `count` rows.
    ///
    /// # Safety
    ///
    /// As for [`unit`](Self::unit); the elements are there.
    unsafe fn combine(
        &self,
        a: usize,
        words: &[isize],
        bases: &[usize],
        part: &Part,
        count: usize,
        memory: &mut Memory<'_>,
    ) {
        let Passes { kept, across, .. } = *self.made;
        let (state, n) = (&self.made.accumulators[a], self.n);
        let size = state.dtype.itemsize();
        let strides = self.strides(state.array, words);
        let pitch = if kept > 0 { strides[kept - 1] } else { 0 };
        let elements = match state.elements {
            Source::Launch(o) => {
                let starts = part.start[..kept].iter().zip(strides);
                let at = starts.map(|(&i, &s)| (i as isize).wrapping_mul(s)).sum();
                bases[o as usize].wrapping_add_signed(at)
            }
            Source::Buffer(b) => memory.buffers[b as usize].address(),
            _ => unreachable!("elements are in an operand or in a buffer"),
        };
        // SAFETY: elements of the rows at hand: in a buffer of ours, or of an operand that is read at each of their points, which the plan's verifier
        // proved to be within its slot. Nothing is written there meanwhile.
        let at = |byte: isize, n: usize| unsafe {
            Bytes::new(std::slice::from_raw_parts(elements.wrapping_add_signed(byte) as *const u8, n * size))
        };
        let results = &mut memory.results[a];
        match &state.how {
            How::Best(best) => {
                let values = results.values.bytes_mut(0, count * size);
                let positions = results.positions.bytes_mut(0, 8 * count).of_mut::<i64>();
                best.fill_identity(values, positions);
                match across {
                    true => (0..n).for_each(|i| {
                        let row = at((i * self.together * size) as isize, count);
                        best.update_each(values, positions, row, i as i64);
                    }),
                    false => (0..count).for_each(|row| {
                        let (value, position) = (values.range_mut(row * size, size), &mut positions[row]);
                        best.update(value, position, at(row as isize * pitch, n), 0);
                    }),
                }
                if n == 0 {
                    positions.fill(0);
                }
            }
            How::Fold(fold) if n == 0 => fold.fill_identity(results.values.bytes_mut(0, count * size)),
            How::Fold(fold) => {
                let blocks = n.div_ceil(BLOCK);
                for block in 0..blocks {
                    let (first, elements) = (block * BLOCK, BLOCK.min(n - block * BLOCK));
                    let totals = results.values.bytes_mut(block * self.together * size, count * size);
                    if across {
                        let width = self.together * size;
                        let partials = memory.partials.as_mut().expect("rows side by side have partials");
                        fold.fill_identity(partials.bytes_mut(0, PARTIALS.min(elements) * width));
                        for round in (0..elements).step_by(PARTIALS) {
                            let rows = PARTIALS.min(elements - round);
                            let fresh = at(((first + round) * width) as isize, rows * self.together);
                            fold.zip(partials.bytes_mut(0, rows * width), fresh);
                        }
                        halve(&**fold, partials, PARTIALS.min(elements), width);
                        totals.copy_from(partials.bytes(0, count * size));
                    } else if blocks == 1 && pitch == (n * size) as isize {
                        fold.rows(totals, at(0, count * n), n);
                    } else {
                        for row in 0..count {
                            let here = at(row as isize * pitch + (first * size) as isize, elements);
                            fold.rows(totals.range_mut(row * size, size), here, elements);
                        }
                    }
                }
                fold_blocks(&**fold, &mut results.values, blocks, self.together * size);
            }
        }
    }

    /// Bytes between neighbours of an array along each axis.
    fn strides<'w>(&self, array: u32, words: &'w [isize]) -> &'w [isize] {
        let rank = self.extents.len();
        let rows = self.at + rank + self.made.params;
        &words[rows + array as usize * (rank + 1)..][..rank]
    }

    /// Runs a map of the passes over a part.
    ///
    /// # Safety
    ///
    /// As for [`unit`](Self::unit); the memory has a place for each point of the part.
    unsafe fn map(
        &self,
        map: &Map,
        streams: bool,
        words: &[isize],
        bases: &[usize],
        part: &Part,
        memory: &mut Memory<'_>,
    ) {
        let Passes { kept, across, buffers, scalars, accumulators, .. } = self.made;
        let start = if *kept > 0 { part.start[kept - 1] } else { 0 };
        let address = |&source: &Source| match source {
            Source::Launch(o) => bases[o as usize],
            Source::Buffer(b) => {
                let row = if *across { 1 } else { self.n } * buffers[b as usize].itemsize();
                memory.buffers[b as usize].address().wrapping_sub(start * row)
            }
            Source::Result(a) => {
                let size = accumulators[a as usize].dtype.itemsize();
                memory.results[a as usize].values.address().wrapping_sub(start * size)
            }
            Source::Position(a) => memory.results[a as usize].positions.address().wrapping_sub(start * 8),
            Source::Scalar(s) => {
                let size = scalars[s as usize].itemsize();
                memory.scalars[s as usize].address().wrapping_sub(start * size)
            }
        };
        let all: Bases = small(map.sources.iter().map(address));
        let tile = Tile::new(&map.kernel, words, self.at, streams).with_sources(&map.arrays);
        // SAFETY: passed on. Addresses of our own memory are such that the first row of the part is the first there.
        unsafe { tile.run(&all, part) };
    }

    /// All that a task works in, in the order of [`Memory`].
    fn pieces<'m>(&self, room: &mut Room<'m>) -> impl Iterator<Item = Scratch<'m>> {
        let (points, blocks) = (self.together.saturating_mul(self.n), self.n.div_ceil(BLOCK).max(1));
        let (rows, blocks, partials) = (self.together, self.together.saturating_mul(blocks), PARTIALS * self.together);
        self.made.pieces.iter().map(move |piece| {
            let elements = match piece.count {
                Count::Nothing => 0,
                Count::Points => points,
                Count::Rows => rows,
                Count::Blocks => blocks,
                Count::Partials => partials,
            };
            room.take_bytes(elements.saturating_mul(piece.itemsize))
        })
    }
}

/// Folds blocks of `size` bytes pairwise into the first.
fn fold_blocks(fold: &dyn Fold, totals: &mut Scratch<'_>, blocks: usize, size: usize) {
    let mut left = blocks;
    while left > 1 {
        for pair in 0..left / 2 {
            let (low, high) = totals.two(2 * pair * size, (2 * pair + 1) * size, size);
            fold.zip(low, high);
            if pair > 0 {
                let (to, from) = totals.two(pair * size, 2 * pair * size, size);
                to.copy_from(from);
            }
        }
        if left % 2 == 1 {
            let (to, from) = totals.two(left / 2 * size, (left - 1) * size, size);
            to.copy_from(from);
        }
        left = left.div_ceil(2);
    }
}

/// What one task works in.
struct Memory<'m> {
    buffers: Pieces<'m>,
    scalars: Pieces<'m>,
    results: SmallVec<[Results<'m>; 2]>,
    /// Of rows side by side.
    partials: Option<Scratch<'m>>,
}

/// Of one accumulator.
struct Results<'m> {
    /// One for each row, and for each block of it.
    values: Scratch<'m>,
    positions: Scratch<'m>,
}

impl<'m> Memory<'m> {
    fn new(rows: &Run<'_>, room: &mut Room<'m>) -> Self {
        let Passes { buffers, scalars, accumulators, across, .. } = rows.made;
        let mut pieces = rows.pieces(room);
        let mut take = || pieces.next().expect("there is a piece for each");
        Self {
            buffers: small(buffers.iter().map(|_| take())),
            scalars: small(scalars.iter().map(|_| take())),
            results: small(accumulators.iter().map(|_| Results { values: take(), positions: take() })),
            partials: across.then(take),
        }
    }
}
