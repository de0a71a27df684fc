//! Rows: reductions whose results are used at the points of the same row, without a way through memory in between.
//!
//! A task takes a few rows at a time, as many as stay in the cache with their buffers, through all [`passes`]: a map over their points, then the
//! combination of what it left in the buffers, in the documented order (see [`Combine`](lazuli_kernel::Combine)). Where vectors run along the rows, a buffer
//! holds one row after another; where they run along the last kept axis, neighbouring rows stand side by side, and the 64 partials
//! of all of them. Rows are independent, and divided over the threads.

mod passes;

use super::fold::{BLOCK, Best, Bytes, Fold, PARTIALS, best_of, fold_of};
use super::map::STREAM_BYTES;
use super::reduce::halve;
use super::{Bound, Context, Need, PARALLEL, Pieces, Room, Scratch, cost_per_point, row_strides};
use crate::kernels::Function;
use crate::tile::{Bases, Operand, Part, Tile};
use lazuli_kernel::{Arg, DType, Inner, Nest, Result, small};
use passes::plan;
use passes::{Fact, Source};
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

pub struct Rows {
    passes: Vec<Pass>,
    epilogue: Option<Map>,
    accumulators: SmallVec<[State; 2]>,
    buffers: SmallVec<[DType; 8]>,
    scalars: SmallVec<[DType; 8]>,
    extents: SmallVec<[usize; 4]>,
    /// Number of kept axes.
    kept: usize,
    /// Elements of a row.
    n: usize,
    /// Rows that one go takes at most, neighbours along the last kept axis.
    together: usize,
    /// Whether vectors run along the last kept axis.
    across: bool,
    /// Of all passes at one point, in picoseconds.
    cost: usize,
}

struct Pass {
    scalars: Option<Map>,
    points: Option<Map>,
    /// Accumulators whose elements lie in an operand, and in a buffer.
    direct: SmallVec<[usize; 2]>,
    buffered: SmallVec<[usize; 2]>,
}

struct Map {
    tile: Tile,
    sources: SmallVec<[Source; 4]>,
}

struct State {
    dtype: DType,
    how: How,
    /// Where its elements are.
    elements: Source,
    /// Bytes between rows there.
    pitch: isize,
    /// Bytes along each axis, where they are in an operand.
    strides: SmallVec<[isize; 4]>,
}

enum How {
    Fold(Box<dyn Fold>),
    Best(Box<dyn Best>),
}

/// The class of a stride, `Unit` where there is none.
fn class(stride: Option<&isize>) -> Inner {
    match stride {
        None | Some(1) => Inner::Unit,
        Some(0) => Inner::Broadcast,
        Some(_) => Inner::Strided,
    }
}

impl Rows {
    pub fn new(launch: &Bound<'_>) -> Result<Self> {
        let Bound { known, kernel, extents, args, .. } = launch;
        let Nest::Rows { accumulators, stores, .. } = &kernel.nest else { unreachable!("the caller has rows") };
        let kept = extents.len() - kernel.reduced() as usize;
        let n: usize = extents[kept..].iter().product();
        // Short rows side by side as well: their elements are gathered once, and then fill whole vectors.
        let is_short = n <= SHORT && kept > 0 && extents[kept - 1] >= LEAST_ACROSS;
        let across = is_short || (kernel.vector_axis as usize) < kept;
        let vector_axis = if across { kept - 1 } else { kernel.vector_axis as usize };
        let dense = row_strides(extents, kept);
        // A bool in memory may be any byte.
        let fact = |(o, d): (&Arg, &lazuli_kernel::Operand)| {
            let own = &o.strides[kept..];
            let fits = (0..dense.len()).all(|a| extents[kept + a] == 1 || own[a] == dense[a]);
            Fact {
                stands: (kept..extents.len()).all(|a| extents[a] <= 1 || o.strides[a] == 0),
                contiguous: !across && fits && d.dtype != DType::Bool,
                along: class(o.strides.get(vector_axis)),
                across: class(o.strides.get(kept.saturating_sub(1))),
            }
        };
        let facts = Facts { vector_axis, operands: small(args.iter().zip(&kernel.operands).map(fact)) };
        let planned = known.passes.get(facts, |facts| plan(kernel, facts));
        let Passes { passes, epilogue, buffers, scalars, elements } = &*planned;
        let moves = |o: &usize| (kept..extents.len()).any(|a| args[*o].strides[a] != 0);
        let own = (0..args.len()).filter(moves).map(|o| kernel.operands[o].dtype.itemsize());
        let bytes: usize = own.chain(buffers.iter().map(|d| d.itemsize())).sum::<usize>().max(1);
        let (budget, least) = if across { (ACROSS_BYTES, LEAST_ACROSS) } else { (ROWS_BYTES, 1) };
        let last = if kept == 0 { 1 } else { extents[kept - 1] };
        let together = (budget / bytes.saturating_mul(n.max(1))).max(least).clamp(1, last.max(1));

        let layout = Layout { extents, kept, across, together, n };
        let (of_points, of_rows) = (layout.points(), layout.rows());
        let types = &known.types;
        let state = |(a, &elements): (&lazuli_kernel::Accumulator, &Source)| {
            let dtype = types[a.value.0 as usize];
            let how = match fold_of(a.combine, dtype) {
                Some(fold) => How::Fold(fold),
                None => How::Best(best_of(a.combine, dtype)),
            };
            let size = dtype.itemsize() as isize;
            let strides: SmallVec<[isize; 4]> = match elements {
                Source::Launch(o) => small(args[o as usize].strides.iter().map(|s| s * size)),
                _ => small(of_points.iter().map(|s| s * size)),
            };
            State { dtype, how, elements, pitch: if kept > 0 { strides[kept - 1] } else { 0 }, strides }
        };
        let accumulators: SmallVec<[State; 2]> = small(accumulators.iter().zip(elements).map(state));
        let written: usize = stores.iter().map(|s| kernel.operands[s.operand as usize].dtype.itemsize()).sum();
        let stream = extents.iter().product::<usize>().saturating_mul(written) >= STREAM_BYTES;
        let bind = |map: &Option<passes::Map>, stream: bool| -> Result<Option<Map>> {
            let Some(map) = map else { return Ok(None) };
            let operand = |source: &Source| match *source {
                Source::Launch(o) => (&args[o as usize]).into(),
                Source::Buffer(_) => Operand { strides: &of_points, len: 0 },
                _ => Operand { strides: &of_rows, len: 0 },
            };
            let operands = map.sources.iter().map(operand);
            let tile = Tile::new(launch.kernels, &map.kernel, extents, operands, launch.params, stream)?;
            Ok(Some(Map { tile, sources: SmallVec::from_slice(&map.sources) }))
        };
        let mut ready: Vec<Pass> = Vec::with_capacity(passes.len());
        for (i, pass) in passes.iter().enumerate() {
            let is_direct = |a: &usize| matches!(accumulators[*a].elements, Source::Launch(_));
            let of = |direct: bool| small(pass.accumulators.iter().copied().filter(|a| is_direct(a) == direct));
            let (direct, buffered): (SmallVec<[usize; 2]>, SmallVec<[usize; 2]>) = (of(true), of(false));
            // Not what is in a buffer: that is read again at once.
            let points = bind(&pass.points, stream && i + 1 == passes.len() && buffered.is_empty())?;
            ready.push(Pass { scalars: bind(&pass.scalars, false)?, points, direct, buffered });
        }
        let epilogue = bind(epilogue, false)?;
        let maps = ready.iter().filter_map(|p| p.points.as_ref()).map(|m| cost_per_point(m.tile.kernel()));
        let cost = maps.sum::<usize>() + 200 * accumulators.len();
        Ok(Self {
            passes: ready,
            epilogue,
            accumulators,
            buffers: SmallVec::from_slice(buffers),
            scalars: SmallVec::from_slice(scalars),
            extents: (*extents).into(),
            kept,
            n,
            together,
            across,
            cost,
        })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        let of_pass =
            |p: &Pass| [&p.scalars, &p.points].into_iter().flatten().map(|m| m.tile.function().clone()).collect();
        let maps = self.passes.iter().flat_map(|p| -> Vec<Arc<Function>> { of_pass(p) });
        maps.chain(self.epilogue.iter().map(|m| m.tile.function().clone())).collect()
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], each: usize, cx: &mut Context<'_>) {
        let (last, outer) = self.last_and_outer();
        let (rows, tasks) = (last * outer, self.tasks(cx.threads()));
        // Fewer rows in one go where there would be too few goes for the threads.
        let least = if self.across { LEAST_ACROSS.min(self.together) } else { 1 };
        let together = if tasks > 1 { self.together.min(rows / tasks).max(least) } else { self.together };
        let goes = last.div_ceil(together);
        cx.share(tasks, outer * goes, each, &|units, room| {
            let mut memory = Memory::new(self, room);
            for unit in units {
                let (point, start) = (unit / goes, unit % goes * together);
                let mut part = Part::all(&self.extents);
                let mut rest = point;
                for axis in (0..self.kept.saturating_sub(1)).rev() {
                    (part.start[axis], part.count[axis]) = (rest % self.extents[axis], 1);
                    rest /= self.extents[axis];
                }
                let count = together.min(last - start);
                if self.kept > 0 {
                    (part.start[self.kept - 1], part.count[self.kept - 1]) = (start, count);
                }
                // SAFETY: passed on; units are disjoint sets of rows, and rows are independent of one another.
                unsafe { self.unit(bases, &part, count, &mut memory) };
            }
        });
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        Need { shared: 0, each: Room::measure(|room| Memory::new(self, room)), tasks: self.tasks(threads) }
    }

    /// Extent of the last kept axis, and points of those before.
    fn last_and_outer(&self) -> (usize, usize) {
        match self.extents[..self.kept].split_last() {
            Some((&last, outer)) => (last, outer.iter().product()),
            None => (1, 1),
        }
    }

    fn tasks(&self, threads: usize) -> usize {
        let (last, outer) = self.last_and_outer();
        let rows = last * outer;
        match rows.saturating_mul(self.n.max(1)).saturating_mul(self.cost) {
            0..PARALLEL => 1,
            cost => (cost / PARALLEL).clamp(threads, 8 * threads).min(rows),
        }
    }

    /// Takes `count` rows, those of the part, through all passes.
    ///
    /// # Safety
    ///
    /// As for [`run`](Self::run); nobody else works on these rows.
    unsafe fn unit(&self, bases: &[usize], part: &Part, count: usize, memory: &mut Memory<'_>) {
        let mut over_rows = part.clone();
        over_rows.count[self.kept..].fill(1);
        // Rows without elements have nothing to compute at points, nor memory to load from.
        let has_points = self.n > 0;
        for pass in &self.passes {
            if let Some(map) = pass.scalars.as_ref().filter(|_| has_points) {
                // SAFETY: passed on; the scalars have a place for each row of the part.
                unsafe { map.run(self, bases, &over_rows, memory) };
            }
            // What is combined as it lies in an operand goes first: the last pass may store over that.
            for &a in &pass.direct {
                // SAFETY: passed on.
                unsafe { self.combine(a, bases, part, count, memory) };
            }
            if let Some(map) = pass.points.as_ref().filter(|_| has_points) {
                // SAFETY: passed on; the buffers have a place for each point of the part.
                unsafe { map.run(self, bases, part, memory) };
            }
            for &a in &pass.buffered {
                // SAFETY: passed on.
                unsafe { self.combine(a, bases, part, count, memory) };
            }
        }
        if let Some(map) = &self.epilogue {
            // SAFETY: as above.
            unsafe { map.run(self, bases, &over_rows, memory) };
        }
    }

    /// Combines the elements of an accumulator into its results, one for each of `count` rows.
    ///
    /// # Safety
    ///
    /// As for [`unit`](Self::unit); the elements are there.
    unsafe fn combine(&self, a: usize, bases: &[usize], part: &Part, count: usize, memory: &mut Memory<'_>) {
        let (state, n) = (&self.accumulators[a], self.n);
        let size = state.dtype.itemsize();
        let elements = match state.elements {
            Source::Buffer(b) => memory.buffers[b as usize].address(),
            _ if self.kept == 0 => bases[state.operand()],
            _ => {
                let strides = &state.strides;
                let at = part.start.iter().zip(strides).map(|(&i, &s)| (i as isize).wrapping_mul(s)).sum();
                bases[state.operand()].wrapping_add_signed(at)
            }
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
                match self.across {
                    true => (0..n).for_each(|i| {
                        let row = at((i * self.together * size) as isize, count);
                        best.update_each(values, positions, row, i as i64);
                    }),
                    false => (0..count).for_each(|row| {
                        let (value, position) = (values.range_mut(row * size, size), &mut positions[row]);
                        best.update(value, position, at(row as isize * state.pitch, n), 0);
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
                    if self.across {
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
                    } else if blocks == 1 && state.pitch == (n * size) as isize {
                        fold.rows(totals, at(0, count * n), n);
                    } else {
                        for row in 0..count {
                            let here = at(row as isize * state.pitch + (first * size) as isize, elements);
                            fold.rows(totals.range_mut(row * size, size), here, elements);
                        }
                    }
                }
                fold_blocks(&**fold, &mut results.values, blocks, self.together * size);
            }
        }
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

impl State {
    fn operand(&self) -> usize {
        match self.elements {
            Source::Launch(o) => o as usize,
            _ => unreachable!("elements are in an operand or in a buffer"),
        }
    }
}

impl Map {
    /// # Safety
    ///
    /// As for [`Tile::run`]; the memory has a place for each point of the part.
    unsafe fn run(&self, rows: &Rows, bases: &[usize], part: &Part, memory: &mut Memory<'_>) {
        let start = if rows.kept > 0 { part.start[rows.kept - 1] } else { 0 };
        let address = |&source: &Source| match source {
            Source::Launch(o) => bases[o as usize],
            Source::Buffer(b) => {
                let row = if rows.across { 1 } else { rows.n } * rows.buffers[b as usize].itemsize();
                memory.buffers[b as usize].address().wrapping_sub(start * row)
            }
            Source::Result(a) => {
                let size = rows.accumulators[a as usize].dtype.itemsize();
                memory.results[a as usize].values.address().wrapping_sub(start * size)
            }
            Source::Position(a) => memory.results[a as usize].positions.address().wrapping_sub(start * 8),
            Source::Scalar(s) => {
                let size = rows.scalars[s as usize].itemsize();
                memory.scalars[s as usize].address().wrapping_sub(start * size)
            }
        };
        let all: Bases = small(self.sources.iter().map(address));
        // SAFETY: passed on. Addresses of our own memory are such that the first row of the part is the first there.
        unsafe { self.tile.run(&all, part) };
    }
}

/// How rows lie in buffers.
struct Layout<'a> {
    extents: &'a [usize],
    kept: usize,
    across: bool,
    together: usize,
    n: usize,
}

impl Layout<'_> {
    /// Strides of what is there once per point, in elements.
    fn points(&self) -> SmallVec<[isize; 4]> {
        let mut strides = self.rows();
        let step = if self.across { self.together as isize } else { 1 };
        let dense = row_strides(self.extents, self.kept);
        strides[self.kept..].iter_mut().zip(dense).for_each(|(s, d)| *s = d * step);
        if self.kept > 0 && !self.across {
            strides[self.kept - 1] = self.n as isize;
        }
        strides
    }
    /// Of what is there once per row.
    fn rows(&self) -> SmallVec<[isize; 4]> {
        let mut strides: SmallVec<[isize; 4]> = SmallVec::from_elem(0, self.extents.len());
        if self.kept > 0 {
            strides[self.kept - 1] = 1;
        }
        strides
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
    fn new(rows: &Rows, room: &mut Room<'m>) -> Self {
        let (together, n) = (rows.together, rows.n);
        let blocks = n.div_ceil(BLOCK).max(1);
        let largest = rows.accumulators.iter().map(|a| a.dtype.itemsize()).max().unwrap_or(1);
        let buffers = small(rows.buffers.iter().map(|&d| room.take(together.saturating_mul(n), d)));
        let scalars = small(rows.scalars.iter().map(|&d| room.take(together, d)));
        let result = |a: &State| {
            let positions = if matches!(a.how, How::Best(_)) { together } else { 0 };
            Results {
                values: room.take(together.saturating_mul(blocks), a.dtype),
                positions: room.take(positions, DType::I64),
            }
        };
        let results = small(rows.accumulators.iter().map(result));
        let partials = rows.across.then(|| room.take(PARTIALS * together * largest, DType::U8));
        Self { buffers, scalars, results, partials }
    }
}
