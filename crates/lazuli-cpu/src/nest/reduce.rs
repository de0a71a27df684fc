//! Reductions, in the documented order (see [`Combine`]).
//!
//! The body is evaluated into small buffers, one for each accumulator, and combined from there; what is only loaded, and lies in memory as a buffer would, is
//! combined where it lies. Where vectors run along a reduced axis, a buffer holds a block of one result, or short rows of several; where they run along a kept axis, it holds a few rows of a
//! column tile, and the 64 partials of every column stand side by side. Work is divided by results and by blocks of 4,096
//! elements; blocks then fold pairwise. Last, a map over the results runs the epilogue.

mod results;
mod sizes;
mod walk;

use super::fold::{BLOCK, How, PARTIALS};
use super::map::run_parallel;
use super::{Bound, Context, Need, Room, Scratch, cost_per_point, counts, derive_dense, fill_row, is_dense};
use crate::known::{Form, Known, MapKernel, OperandForm};
use crate::settle::{OnWords, Settling};
use crate::tile::{Bases, Part, Tile};
use crate::words::Words;
use lazuli_kernel::{DType, Inner, Inst, Kernel, Nest, Operand, Result, Role, Store, Value, small};
use results::{From, Results, Shared, State};
use smallvec::SmallVec;
use std::sync::Arc;

pub(super) use results::halve;
use sizes::Sizes;

/// Bytes of a buffer of rows, which should stay in the first-level cache.
const ROWS_BYTES: usize = 16 << 10;
/// Columns of a tile.
const COLUMNS: usize = 512;

/// What follows from the kernel of a reduction, and from how its operands lie.
#[derive(Debug)]
pub struct Reduction {
    /// Fills the buffers, if there are any.
    body: Option<Arc<MapKernel>>,
    epilogue: MapKernel,
    /// Whether vectors run along a kept axis.
    across: bool,
    /// Of one point, in picoseconds.
    cost: usize,
    /// Number of axes, and of the kept ones among them.
    rank: usize,
    kept: usize,
    /// The launch's operands, which come before buffers and results.
    operands: usize,
    accumulators: SmallVec<[State; 1]>,
    /// How operands lie.
    lies: SmallVec<[Lie; 8]>,
}

/// How an operand of a reduction lies: its stride along the last kept axis, and whether its elements can be combined where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie {
    across: Inner,
    in_place: bool,
}

/// A reduction made ready.
pub struct Reduce {
    made: Arc<Reduction>,
    /// Where the numbers begin: of the launch's operands and of the epilogue's results. Those of the buffers follow for each run of rows. Before them stand how many tasks it has at most, and how many
    /// bytes one works in.
    pub(super) at: usize,
}

/// A reduction and its extents.
struct Run<'a> {
    made: &'a Reduction,
    at: usize,
    extents: &'a [usize],
    /// Results of each accumulator.
    points: usize,
    /// Elements of each.
    n: usize,
    /// Blocks of each, at least one.
    blocks: usize,
    /// The most tasks.
    tasks: usize,
}

/// Words before the launch's numbers.
const OWN: usize = 2;

impl Reduction {
    fn new(known: &Known, lies: &[Lie]) -> Self {
        let kernel = known.kernel();
        let Nest::Reduce { accumulators, epilogue, stores, .. } = &kernel.nest else {
            unreachable!("the caller has a reduction")
        };
        let kept = (kernel.rank - kernel.reduced()) as usize;
        let mut values: SmallVec<[Value; 2]> = SmallVec::new();
        let mut states: SmallVec<[State; 1]> = SmallVec::new();
        for a in accumulators {
            let dtype = known.types[a.value.0 as usize];
            let how = How::of(a.combine, dtype);
            let from = match kernel.body[a.value.0 as usize] {
                Inst::Load(o) if lies[o as usize].in_place => From::Operand(o as usize),
                _ => {
                    values.push(a.value);
                    From::Buffer(values.len() - 1)
                }
            };
            states.push(State { dtype, how, from });
        }
        Self {
            body: (!values.is_empty()).then(|| known.body_map(&values)),
            epilogue: MapKernel::new(epilogue_map(kernel, kept, lies, &states, epilogue, stores)),
            across: (kernel.vector_axis as usize) < kept,
            cost: cost_per_point(kernel),
            rank: kernel.rank as usize,
            kept,
            operands: kernel.operands.len(),
            accumulators: states,
            lies: lies.into(),
        }
    }
}

impl Reduce {
    /// For at most so many threads, and the memory that it works in on these.
    pub fn new(launch: &Bound<'_>, threads: usize, words: &mut Words) -> Result<(Self, Need)> {
        let Bound { kernels, known, extents, .. } = *launch;
        words.derive(OWN);
        let at = launch.write(words);
        let lies = lies(&known.form, &mut OnWords(words), at);
        let made = known.reductions.get(|own| *own == lies, || lies.clone(), |lies| Reduction::new(known, lies));
        if let Some(body) = &made.body {
            body.function(kernels, false)?;
        }
        made.epilogue.function(kernels, false)?;
        let results = &made.epilogue.kernel.operands[made.operands..];
        words.derive(results.len() * (extents.len() + 1));
        let reduce = Self { made, at };
        let need = reduce.derive(&known.form, &mut OnWords(words), threads).into();
        Ok((reduce, need))
    }

    /// As for [`Launch::settle`](super::Launch::settle).
    pub fn settle<S: Settling>(&self, form: &Form, cx: &mut S, threads: usize) -> Option<Need<S::N>> {
        let is_alike = lies(form, cx, self.at) == self.made.lies;
        is_alike.then(|| self.derive(form, cx, threads))
    }

    /// Derives what follows from the launch's own numbers. The memory that it works in.
    fn derive<S: Settling>(&self, form: &Form, cx: &mut S, threads: usize) -> Need<S::N> {
        let &Self { ref made, at } = self;
        let extents = cx.numbers(at, made.rank);
        let need = Sizes::new(cx, made, &extents).need(cx, threads);
        cx.derive(at - 2, need.tasks);
        cx.derive(at - 1, need.each);
        let results = &made.epilogue.kernel.operands[made.operands..];
        for (n, result) in results.iter().enumerate() {
            let row = form.row(at, made.operands + n);
            derive_dense(cx, row, &extents[..made.kept], S::count(result.dtype.itemsize()));
        }
        need
    }

    /// The maps that run.
    pub fn maps(&self) -> impl Iterator<Item = &MapKernel> {
        self.made.body.as_deref().into_iter().chain([&self.made.epilogue])
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let extents = counts(&words[self.at..][..self.made.rank]);
        let [tasks, each] = [words[self.at - 2], words[self.at - 1]].map(|n| n as usize);
        // SAFETY: passed on.
        unsafe { Run::new(&self.made, self.at, &extents, tasks).all(words, bases, each, cx) }
    }
}

impl<'a> Run<'a> {
    fn new(made: &'a Reduction, at: usize, extents: &'a [usize], tasks: usize) -> Self {
        let (kept, reduced) = extents.split_at(made.kept);
        let n: usize = reduced.iter().product();
        Self { made, at, extents, points: kept.iter().product(), n, blocks: n.div_ceil(BLOCK).max(1), tasks }
    }

    /// Reduces everything; a task works in `each` bytes.
    ///
    /// # Safety
    ///
    /// As for [`Reduce::run`].
    unsafe fn all(&self, words: &[isize], bases: &[usize], each: usize, cx: &mut Context<'_>) {
        let Reduction { epilogue, across, kept, accumulators, .. } = self.made;
        let epilogue = Tile::new(epilogue, words, self.at, false);
        let &Run { points, n, blocks, .. } = self;
        let mut results: SmallVec<[Results<'_>; 2]> = small(self.results(cx.room()));
        if n == 0 {
            for (state, result) in accumulators.iter().zip(&mut results) {
                state.begin(result, 0, points);
            }
        } else {
            let shared: SmallVec<[Shared; 2]> = small(results.iter_mut().map(Results::shared));
            // SAFETY: passed on; the tasks below write disjoint ranges of the results.
            unsafe {
                match across {
                    true => self.columns(words, bases, &shared, each, cx),
                    false => self.rows(words, bases, &shared, each, cx),
                }
            }
            for (state, result) in accumulators.iter().zip(&mut results) {
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
        let mut part = Part::all(self.extents);
        part.count[*kept..].fill(1);
        // SAFETY: the launch's own operands are valid by the caller's promise; the results hold an element for every kept point.
        unsafe { run_parallel(&epilogue, &all, &part, cx) };
    }

    /// Units of work.
    fn units(&self) -> usize {
        match self.made.across {
            true => self.points / self.columns_of_all() * self.tiles() * self.blocks,
            false => self.points * self.blocks,
        }
    }

    fn results<'m>(&self, room: &mut Room<'m>) -> impl Iterator<Item = Results<'m>> {
        let elements = self.points.saturating_mul(self.blocks);
        self.made.accumulators.iter().map(move |state| Results::new(room, state, elements))
    }

    fn buffers<'m>(&self, room: &mut Room<'m>, elements: usize) -> impl Iterator<Item = Scratch<'m>> {
        self.buffered().map(move |s| room.take(elements, s.dtype))
    }

    /// Short rows of neighbouring results that share a buffer.
    fn rows_together(&self) -> usize {
        match self.extents[..self.made.kept].last() {
            Some(&last) if self.blocks == 1 => (BLOCK / self.n.max(1)).clamp(1, last.max(1)),
            _ => 1,
        }
    }

    /// Buffers of a task that takes rows.
    fn row_buffers<'m>(&self, room: &mut Room<'m>) -> impl Iterator<Item = Scratch<'m>> {
        self.buffers(room, BLOCK.max(self.n.min(BLOCK) * self.rows_together()))
    }

    /// Extent of the last kept axis.
    fn columns_of_all(&self) -> usize {
        self.extents[self.made.kept - 1]
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
        let largest = self.made.accumulators.iter().map(|s| s.dtype.itemsize()).max().unwrap_or(8);
        (ROWS_BYTES / (self.width() * largest)).clamp(1, PARTIALS)
    }

    /// Buffers of a task that takes columns.
    fn column_buffers<'m>(&self, room: &mut Room<'m>) -> impl Iterator<Item = Scratch<'m>> {
        self.buffers(room, self.height() * self.width())
    }

    /// And its partials.
    fn partials<'m>(&self, room: &mut Room<'m>) -> impl Iterator<Item = Scratch<'m>> {
        let elements = PARTIALS * self.width();
        self.made.accumulators.iter().map(move |state| room.take(elements, state.dtype))
    }

    /// The accumulators that have a buffer, in the order of those.
    fn buffered(&self) -> impl Iterator<Item = &'a State> {
        self.made.accumulators.iter().filter(|s| matches!(s.from, From::Buffer(_)))
    }

    /// The body, if there are buffers, and the rows of its operands; those of the buffers have these strides in elements.
    fn body<'w>(&self, words: &'w [isize], strides: &[isize]) -> Option<(Tile<'w>, Vec<isize>)>
    where
        'a: 'w,
    {
        let tile = Tile::new(self.made.body.as_ref()?, words, self.at, false);
        let width = strides.len() + 1;
        let mut rows = tile.rows(self.made.operands).to_vec();
        let first = rows.len();
        rows.resize(first + self.buffered().count() * width, 0);
        for (state, row) in self.buffered().zip(rows[first..].chunks_exact_mut(width)) {
            fill_row(row, strides, state.dtype.itemsize());
        }
        Some((tile, rows))
    }

    /// Addresses for the body, such that the element at linear position `at` of the buffers' layout is their first.
    fn body_bases(&self, bases: &[usize], buffers: &mut [Scratch<'_>], at: usize) -> Bases {
        let mut all: Bases = bases.into();
        for (state, buffer) in self.buffered().zip(buffers) {
            all.push(buffer.address().wrapping_sub(at * state.dtype.itemsize()));
        }
        all
    }
}

/// How a launch's operands lie, whose numbers begin there.
fn lies<S: Settling>(form: &Form, cx: &mut S, at: usize) -> SmallVec<[Lie; 8]> {
    let &Form { rank, kept, vector_axis, .. } = form;
    let across = vector_axis < kept;
    let reduced = cx.numbers(at + kept, rank - kept);
    let lie = |(n, operand): (usize, &OperandForm)| {
        let itemsize = operand.itemsize();
        let row = cx.numbers(form.row(at, n), rank);
        let (along_kept, along_reduced) = row.split_at(kept);
        // Along the last kept axis; there is one result without any.
        let stride = along_kept.last().copied().unwrap_or(S::count(itemsize));
        // As a buffer would: contiguous along all reduced axes, or along the last kept one.
        let is_unit = cx.equal(stride, S::count(itemsize));
        let lies_well = if across { is_unit } else { is_dense(cx, &reduced, along_reduced, itemsize) };
        let class = match is_unit {
            true => Inner::Unit,
            false if operand.is_in && cx.is(stride, 0) => Inner::Broadcast,
            false => Inner::Strided,
        };
        // A bool in memory may be any byte.
        Lie { across: class, in_place: lies_well && operand.dtype != DType::Bool }
    };
    small(form.operands.iter().enumerate().map(lie))
}

/// The map that turns results into what is stored, for operands that lie so: an operand for each `Reduced` and `ReducedIndex` after the kernel's own.
fn epilogue_map(
    kernel: &Kernel,
    kept: usize,
    lies: &[Lie],
    states: &[State],
    epilogue: &[Inst],
    stores: &[Store],
) -> Kernel {
    let own = kernel.operands.iter().zip(lies);
    let mut operands: Vec<Operand> = own.map(|(&operand, lie)| Operand { inner: lie.across, ..operand }).collect();
    // Numbers of the operands that hold each accumulator's results.
    let mut places = Vec::with_capacity(states.len());
    for state in states {
        let mut add = |dtype| {
            operands.push(Operand { dtype, role: Role::In, inner: Inner::Unit });
            operands.len() as u32 - 1
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
    Kernel {
        rank: kernel.rank,
        vector_axis: kept.saturating_sub(1) as u32,
        params: kernel.params.clone(),
        operands,
        body,
        nest: Nest::Map { stores },
    }
}
