//! Reductions, in the documented order (see [`Combine`]).
//!
//! The body is evaluated into small buffers, one for each accumulator, and combined from there; what is only loaded, and lies in memory as a buffer would, is
//! combined where it lies. Where vectors run along a reduced axis, a buffer holds a block of one result, or short rows of several; where they run along a kept axis, it holds a few rows of a
//! column tile, and the 64 partials of every column stand side by side. Work is divided by results and by blocks of 4,096
//! elements; blocks then fold pairwise. Last, a map over the results runs the epilogue.

mod results;
mod walk;

use super::fold::{BLOCK, PARTIALS, best_of, fold_of};
use super::map::run_parallel;
use super::{Bound, Context, Need, PARALLEL, Pieces, Room, Scratch, cost_per_point, row_strides};
use crate::kernels::Function;
use crate::known::MapKernel;
use crate::tile::{Bases, Part, Tile};
use lazuli_kernel::{
    Accumulator, DType, Inner, Inst, Kernel, Nest, Operand, Result, Role, Shape, Store, Value, shape, small,
};
use results::{From, How, Results, Shared, State};
use smallvec::SmallVec;
use std::sync::Arc;

pub(super) use results::halve;

/// Bytes of a buffer of rows, which should stay in the first-level cache.
const ROWS_BYTES: usize = 16 << 10;
/// Columns of a tile.
const COLUMNS: usize = 512;

pub struct Reduce {
    /// Fills the buffers, if there are any.
    body: Option<Tile>,
    extents: Shape,
    /// Whether vectors run along a kept axis.
    across: bool,
    /// Of one point, in picoseconds.
    cost: usize,
    epilogue: Tile,
    /// Number of kept axes.
    kept: usize,
    /// The launch's operands, which come before buffers and results.
    operands: usize,
    accumulators: SmallVec<[State; 1]>,
}

/// How much there is to reduce.
struct Size {
    points: usize,
    /// Elements of each.
    n: usize,
    /// Blocks of each, at least one.
    blocks: usize,
}

impl Reduce {
    pub fn new(launch: &Bound<'_>, accumulators: &[Accumulator], epilogue: &[Inst], stores: &[Store]) -> Result<Self> {
        let Bound { kernels, known, kernel, extents, params, .. } = launch;
        let kept = extents.len() - kernel.reduced() as usize;
        let across = (kernel.vector_axis as usize) < kept;
        let mut values: SmallVec<[Value; 2]> = SmallVec::new();
        let mut states: SmallVec<[State; 1]> = SmallVec::new();
        for a in accumulators {
            let dtype = known.types[a.value.0 as usize];
            let how = match fold_of(a.combine, dtype) {
                Some(fold) => How::Fold(fold),
                None => How::Best(best_of(a.combine, dtype)),
            };
            let from = in_place(launch, kept, across, a.value).unwrap_or_else(|| {
                values.push(a.value);
                From::Buffer(values.len() - 1)
            });
            states.push(State { dtype, how, from });
        }
        let body = match values.is_empty() {
            true => None,
            // Their strides are filled in for each run of rows.
            false => Some(launch.body_tile(&values, &launch.no_strides())?),
        };
        let map = known.epilogues.get(classes(launch, kept), |classes| {
            MapKernel::new(epilogue_map(kernel, kept, classes, &states, epilogue, stores))
        });
        let mut strides = launch.no_strides();
        strides[..kept].copy_from_slice(&shape::row_strides(&extents[..kept]));
        let results = map.kernel.operands.len() - kernel.operands.len();
        let epilogue = Tile::new(kernels, &map, extents, launch.with_buffers(results, &strides), params, false)?;
        let (cost, operands, extents) = (cost_per_point(kernel), kernel.operands.len(), Shape::from_slice(extents));
        Ok(Self { body, extents, across, cost, epilogue, kept, operands, accumulators: states })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.body.iter().chain([&self.epilogue]).map(|tile| tile.function().clone()).collect()
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], each: usize, cx: &mut Context<'_>) {
        let extents = &self.extents;
        let Size { points, n, blocks } = self.size();
        let mut results = self.results(cx.room());
        if n == 0 {
            for (state, result) in self.accumulators.iter().zip(&mut results) {
                state.begin(result, 0, points);
            }
        } else {
            let shared: SmallVec<[Shared; 2]> = small(results.iter_mut().map(Results::shared));
            // SAFETY: passed on; the tasks below write disjoint ranges of the results.
            unsafe {
                match self.across {
                    true => self.columns(bases, &shared, each, cx),
                    false => self.rows(bases, &shared, each, cx),
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

    fn results<'m>(&self, room: &mut Room<'m>) -> SmallVec<[Results<'m>; 2]> {
        let Size { points, blocks, .. } = self.size();
        small(self.accumulators.iter().map(|state| Results::new(room, state, points.saturating_mul(blocks))))
    }

    fn buffers<'m>(&self, room: &mut Room<'m>, elements: usize) -> Pieces<'m> {
        small(self.buffered().map(|s| room.take(elements, s.dtype)))
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
    fn row_memory<'m>(&self, room: &mut Room<'m>) -> Pieces<'m> {
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
    fn column_memory<'m>(&self, room: &mut Room<'m>) -> [Pieces<'m>; 2] {
        let width = self.width();
        let buffers = self.buffers(room, self.height() * width);
        [buffers, small(self.accumulators.iter().map(|state| room.take(PARTIALS * width, state.dtype)))]
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
}

/// The operand that a value is loaded from, if it lies as its buffer would: contiguous along all reduced axes or (`across`) along the last kept one.
fn in_place(launch: &Bound<'_>, kept: usize, across: bool, value: Value) -> Option<From> {
    let Inst::Load(o) = launch.kernel.body[value.0 as usize] else { return None };
    let dtype = launch.kernel.operands[o as usize].dtype;
    let strides = launch.args[o as usize].strides.as_slice();
    let extents = launch.extents;
    let dense = row_strides(extents, kept);
    let lies_well = match across {
        true => strides[kept - 1] == 1,
        false => (0..dense.len()).all(|a| extents[kept + a] == 1 || strides[kept + a] == dense[a]),
    };
    // A bool in memory may be any byte.
    let size = dtype.itemsize() as isize;
    (lies_well && dtype != DType::Bool).then(|| From::Operand(o as usize, small(strides.iter().map(|s| s * size))))
}

/// The stride classes of the launch's operands along the last kept axis.
fn classes(launch: &Bound<'_>, kept: usize) -> SmallVec<[Inner; 8]> {
    let args = launch.args.iter().zip(&launch.kernel.operands);
    small(args.map(|(arg, declared)| match (kept, arg.strides.get(kept.saturating_sub(1))) {
        (0, _) | (_, Some(1) | None) => Inner::Unit,
        (_, Some(0)) if declared.role == Role::In => Inner::Broadcast,
        _ => Inner::Strided,
    }))
}

/// The map that turns results into what is stored, for operands of these classes: an operand for each `Reduced` and `ReducedIndex` after the kernel's own.
fn epilogue_map(
    kernel: &Kernel,
    kept: usize,
    classes: &[Inner],
    states: &[State],
    epilogue: &[Inst],
    stores: &[Store],
) -> Kernel {
    let own = kernel.operands.iter().zip(classes);
    let mut operands: Vec<Operand> = own.map(|(&operand, &inner)| Operand { inner, ..operand }).collect();
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
