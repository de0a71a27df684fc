//! Reductions, in the documented order (see [`Combine`]).
//!
//! The body is evaluated into small buffers, one for each accumulator, and combined from there; what is only loaded, and lies in memory as a buffer would, is
//! combined where it lies. Where vectors run along a reduced axis, a buffer holds a block of one result, or short rows of several; where they run along a kept axis, it holds a few rows of a
//! column tile, and the 64 partials of every column stand side by side. Work is divided by results and by blocks of 4,096
//! elements; blocks then fold pairwise. Last, a map over the results runs the epilogue.

mod results;
mod walk;

use super::fold::{BLOCK, How, PARTIALS};
use super::map::run_parallel;
use super::{Bound, Context, Need, PARALLEL, Room, Scratch, cost_per_point, counts, fill_dense, fill_row, is_dense};
use crate::known::{Form, Known, MapKernel};
use crate::tile::{Bases, Part, Tile};
use crate::words::Words;
use lazuli_kernel::{DType, Inner, Inst, Kernel, Nest, Operand, Result, Role, Store, Value, small};
use results::{From, Results, Shared, State};
use smallvec::SmallVec;
use std::sync::Arc;

pub(super) use results::halve;

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
    /// Where the numbers begin: of the launch's operands and of the epilogue's results. Those of the buffers follow for each run of rows. Before them stands how many bytes
    /// a task works in.
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
}

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
        words.derive(1);
        let at = launch.write(words);
        let is = |own: &SmallVec<[Lie; 8]>| lies(&known.form, &words[at..]).eq(own.iter().copied());
        let key = || small(lies(&known.form, &words[at..]));
        let made = known.reductions.get(is, key, |lies| Reduction::new(known, lies));
        if let Some(body) = &made.body {
            body.function(kernels, false)?;
        }
        made.epilogue.function(kernels, false)?;
        let results = &made.epilogue.kernel.operands[made.operands..];
        words.derive(results.len() * (extents.len() + 1));
        let reduce = Self { made, at };
        let need = reduce.derive(words, threads);
        Ok((reduce, need))
    }

    /// As for [`Launch::settle`](super::Launch::settle).
    pub fn settle(&self, form: &Form, words: &mut [isize], threads: usize) -> Option<Need> {
        let is_alike = lies(form, &words[self.at..]).eq(self.made.lies.iter().copied());
        is_alike.then(|| self.derive(words, threads))
    }

    /// Writes the words that are derived from the launch's own numbers. The memory that it works in.
    fn derive(&self, words: &mut [isize], threads: usize) -> Need {
        let &Self { ref made, at } = self;
        let extents = counts(&words[at..][..made.rank]);
        let need = Run::new(made, at, &extents).need(threads);
        words[at - 1] = need.each as isize;
        let width = made.rank + 1;
        let results = &made.epilogue.kernel.operands[made.operands..];
        let rows = &mut words[at + made.rank + made.epilogue.kernel.params.len() + made.operands * width..];
        for (result, row) in results.iter().zip(rows.chunks_exact_mut(width)) {
            fill_dense(&mut row[..made.kept], &extents[..made.kept], result.dtype.itemsize());
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
        let each = words[self.at - 1] as usize;
        // SAFETY: passed on.
        unsafe { Run::new(&self.made, self.at, &extents).all(words, bases, each, cx) }
    }
}

impl<'a> Run<'a> {
    fn new(made: &'a Reduction, at: usize, extents: &'a [usize]) -> Self {
        let (kept, reduced) = extents.split_at(made.kept);
        let n: usize = reduced.iter().product();
        Self { made, at, extents, points: kept.iter().product(), n, blocks: n.div_ceil(BLOCK).max(1) }
    }

    /// The memory that it works in on at most so many threads.
    fn need(&self, threads: usize) -> Need {
        let shared = Room::measure(|room| self.results(room).for_each(drop));
        let each = match self.made.across {
            true => Room::measure(|room| {
                self.column_buffers(room).for_each(drop);
                self.partials(room).for_each(drop);
            }),
            false => Room::measure(|room| self.row_buffers(room).for_each(drop)),
        };
        Need { shared, each, tasks: self.tasks(threads).1 }
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

    /// Units of work, and how many tasks they make on so many threads.
    fn tasks(&self, threads: usize) -> (usize, usize) {
        let &Run { points, n, blocks, .. } = self;
        let (units, each) = match self.made.across {
            true => (points / self.columns_of_all() * self.tiles() * blocks, BLOCK.min(n) * self.width()),
            false => (points * blocks, if blocks == 1 { n } else { n / blocks }),
        };
        let tasks = match units.saturating_mul(each).saturating_mul(self.made.cost) {
            0..PARALLEL => 1,
            cost => (cost / PARALLEL).clamp(threads, 8 * threads),
        };
        (units, tasks.min(units.max(1)))
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

/// How a launch's operands lie, whose numbers these words begin with.
fn lies<'a>(form: &'a Form, words: &'a [isize]) -> impl Iterator<Item = Lie> + 'a {
    let &Form { rank, kept, vector_axis, .. } = form;
    let across = vector_axis < kept;
    let (extents, rows) = form.numbers(words);
    let reduced = &extents[kept..];
    form.operands.iter().zip(rows).map(move |(operand, row)| {
        let itemsize = operand.itemsize();
        let (along_kept, along_reduced) = row[..rank].split_at(kept);
        // Along the last kept axis; there is one result without any.
        let stride = along_kept.last().copied().unwrap_or(itemsize as isize);
        // As a buffer would: contiguous along all reduced axes, or along the last kept one.
        let is_unit = stride == itemsize as isize;
        let lies_well = if across { is_unit } else { is_dense(reduced, along_reduced, itemsize) };
        let class = match stride {
            _ if is_unit => Inner::Unit,
            0 if operand.is_in => Inner::Broadcast,
            _ => Inner::Strided,
        };
        // A bool in memory may be any byte.
        Lie { across: class, in_place: lies_well && operand.dtype != DType::Bool }
    })
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
