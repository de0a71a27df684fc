//! Scatters whose updates are runs: along the last loop axis the position goes up by one, as where whole rows of a table are added to.
//!
//! The position of each run is computed first. Then each task has a range of the target to itself, and goes through all runs in their order, applying of each what
//! falls into the range. So every element of the target meets its updates in the order of the loop space, on any number of threads.

use super::super::fold::{BLOCK, Bytes, Fold, fold_of};
use super::super::{Bound, Context, Need, PARALLEL, Room, Scratch, cost_per_point, row_strides};
use super::{Located, Share, Update};
use crate::known::MapKernel;
use crate::tile::{Bases, Part, Tile};
use crate::words::Words;
use lazuli_kernel::{BinaryOp, Combine, DType, Inst, Result, ScatterOp, Shape, Value, small};
use smallvec::SmallVec;
use std::sync::Arc;

/// Elements of a run that is worth a call of generated code.
const LONG: usize = 64;
/// Elements of a target that are worth a task.
const LEAST: usize = 4096;

pub struct Runs {
    /// Writes the position of each run, and whether it counts at all.
    pub(super) positions: Arc<MapKernel>,
    /// Writes the values of a part of a run.
    pub(super) values: Arc<MapKernel>,
    /// Where the numbers of the two begin.
    pub(super) at: [usize; 2],
    extents: Shape,
    /// The operand that they are, as it lies.
    direct: Option<usize>,
    /// None where they are assigned.
    fold: Option<Box<dyn Fold>>,
    dtype: DType,
    masked: bool,
    target: usize,
    /// Elements of the target.
    len: usize,
    /// In picoseconds, of all updates.
    cost: usize,
}

impl Runs {
    /// None if updates are no runs, or short ones.
    pub fn new(launch: &Bound<'_>, update: Update, words: &mut Words) -> Result<Option<Self>> {
        let Update { op, target, index, mask, value } = update;
        let Bound { kernel, extents, args, .. } = *launch;
        if extents.last().is_none_or(|&n| n < LONG) || !is_run(launch, index, mask) {
            return Ok(None);
        }
        let (target, last) = (target as usize, extents.len() - 1);
        let of_run: SmallVec<[Value; 2]> = small([index].into_iter().chain(mask));
        let mut strides = row_strides(&extents[..last], 0);
        strides.push(1);
        let (positions, at_positions) = launch.write_body(&of_run, &strides, words)?;
        strides[..last].fill(0);
        let (values, at_values) = launch.write_body(&[value], &strides, words)?;
        let dtype = kernel.operands[target].dtype;
        let direct = match kernel.body[value.0 as usize] {
            // Bytes that are no bool have to become one.
            Inst::Load(o) if args[o as usize].strides[last] == 1 && dtype != DType::Bool => Some(o as usize),
            _ => None,
        };
        let combine = match op {
            ScatterOp::Assign => None,
            ScatterOp::Add => Some(Combine::Sum),
            ScatterOp::Mul => Some(Combine::Prod),
            ScatterOp::Min => Some(Combine::Min),
            ScatterOp::Max => Some(Combine::Max),
        };
        let points = extents.iter().product::<usize>();
        Ok(Some(Self {
            positions,
            values,
            at: [at_positions, at_values],
            extents: Shape::from_slice(extents),
            direct,
            fold: combine.and_then(|combine| fold_of(combine, dtype)),
            dtype,
            masked: mask.is_some(),
            target,
            len: args[target].len,
            cost: points.saturating_mul(cost_per_point(kernel)),
        }))
    }

    /// What writes values.
    fn values<'a>(&'a self, words: &'a [isize]) -> Tile<'a> {
        Tile::new(&self.values, words, self.at[1], false)
    }

    /// Elements of a run, and extents of the axes before.
    fn run_and_outer(&self) -> (usize, &[usize]) {
        let (&n, outer) = self.extents.split_last().expect("runs have an axis");
        (n, outer)
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        let shared = Room::measure(|room| self.room(room));
        Need { shared, each: Room::measure(|room| self.buffer(room)), tasks: self.tasks(threads) }
    }

    fn tasks(&self, threads: usize) -> usize {
        match self.cost {
            0..PARALLEL => 1,
            cost => (cost / PARALLEL).clamp(threads, 4 * threads).min(self.len.div_ceil(LEAST)).max(1),
        }
    }

    /// How many there are, and elements of each.
    pub fn count(&self) -> (usize, usize) {
        let (n, outer) = self.run_and_outer();
        (outer.iter().product(), n)
    }

    /// For the positions and masks of all runs.
    pub fn room<'m>(&self, room: &mut Room<'m>) -> Located<'m> {
        let (runs, _) = self.count();
        let masks = if self.masked { runs } else { 0 };
        Located {
            positions: room.take(runs, DType::I64),
            masks: room.take(masks, DType::Bool),
            values: room.take(0, self.dtype),
        }
    }

    /// Of the values of a part of a run.
    pub fn buffer<'m>(&self, room: &mut Room<'m>) -> Scratch<'m> {
        room.take(BLOCK.min(self.run_and_outer().0), self.dtype)
    }

    /// Finds where all runs begin.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn locate(&self, words: &[isize], bases: &[usize], located: &mut Located<'_>) {
        let mut all: Bases = bases.into();
        all.push(located.positions.address());
        if self.masked {
            all.push(located.masks.address());
        }
        let first = Part::all(&self.extents).with(self.extents.len() - 1, 0, 1);
        // SAFETY: the first points of all runs, which are points of the launch; the buffers have an element for each run.
        unsafe { Tile::new(&self.positions, words, self.at[0], false).run(&all, &first) };
    }

    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let mut located = self.room(cx.room());
        // SAFETY: passed on.
        unsafe { self.locate(words, bases, &mut located) };
        let Need { each, tasks, .. } = self.need(cx.threads());
        cx.share(tasks, self.len.div_ceil(LEAST), each, &|units, room| {
            let range = units.start * LEAST..self.len.min(units.end * LEAST);
            let share = Share { target: bases[self.target], range, located: &located, list: None };
            let mut buffer = self.buffer(room);
            // SAFETY: passed on; ranges of the target are disjoint, and each is one task's.
            unsafe { self.apply(words, bases, &share, &mut buffer) };
        });
    }

    /// Applies a share of the runs.
    ///
    /// # Safety
    ///
    /// As for [`run`](Self::run); nobody else touches the range of the share, which is within the target.
    pub(super) unsafe fn apply(&self, words: &[isize], bases: &[usize], share: &Share<'_>, buffer: &mut Scratch<'_>) {
        let values = self.values(words);
        let ((runs, _), Share { located, list, .. }) = (self.count(), share);
        let (positions, masks) = (located.positions(runs), located.masks(runs));
        for k in 0..list.map_or(runs, <[u64]>::len) {
            let run = list.map_or(k, |list| list[k] as usize);
            if masks.is_none_or(|m| m[run] != 0) {
                // SAFETY: passed on.
                unsafe { self.update(&values, bases, share, run, positions[run], buffer) };
            }
        }
    }

    /// The same of one run, which begins at this position.
    ///
    /// # Safety
    ///
    /// As for [`apply`](Self::apply).
    unsafe fn update(
        &self,
        values: &Tile<'_>,
        bases: &[usize],
        &Share { target, ref range, .. }: &Share<'_>,
        run: usize,
        position: i64,
        buffer: &mut Scratch<'_>,
    ) {
        let ((n, outer), size) = (self.run_and_outer(), self.dtype.itemsize());
        let within = |bound: usize| (bound as i64).saturating_sub(position).clamp(0, n as i64) as usize;
        let (begin, end) = (within(range.start), within(range.end));
        if begin >= end {
            return;
        }
        let mut part =
            Part { start: SmallVec::from_elem(0, outer.len() + 1), count: SmallVec::from_elem(1, outer.len() + 1) };
        let mut rest = run;
        for axis in (0..outer.len()).rev() {
            let (quotient, index) = if axis == 0 { (0, rest) } else { (rest / outer[axis], rest % outer[axis]) };
            (rest, part.start[axis]) = (quotient, index);
        }
        if let Some(at) = self.direct.map(|o| address(bases[o], values.strides(o), &part.start))
            && at.is_multiple_of(size)
        {
            let first = (position + begin as i64) as usize;
            let (from, to) = (at.wrapping_add(begin * size), target.wrapping_add(first * size));
            // SAFETY: elements of the run, which nobody writes meanwhile, and of the range, which are this task's.
            unsafe {
                self.combine(to, Bytes::new(std::slice::from_raw_parts(from as *const u8, (end - begin) * size)))
            };
            return;
        }
        for from in (begin..end).step_by(BLOCK) {
            let count = BLOCK.min(end - from);
            (part.start[outer.len()], part.count[outer.len()]) = (from, count);
            let mut all: Bases = bases.into();
            all.push(buffer.address().wrapping_sub(from * size));
            // SAFETY: points of the launch; the buffer holds as many values.
            unsafe { values.run(&all, &part) };
            let first = (position + from as i64) as usize;
            debug_assert!(range.start <= first && first + count <= range.end);
            // SAFETY: elements of the range, which are this task's.
            unsafe { self.combine(target.wrapping_add(first * size), buffer.bytes(0, count * size)) };
        }
    }

    /// Combines values into what lies at this address.
    ///
    /// # Safety
    ///
    /// So many bytes there are nobody else's.
    unsafe fn combine(&self, to: usize, values: &Bytes) {
        // SAFETY: passed on.
        let there = Bytes::new_mut(unsafe { std::slice::from_raw_parts_mut(to as *mut u8, values.len()) });
        match &self.fold {
            None => there.copy_from(values),
            Some(fold) => fold.zip(there, values),
        }
    }
}

/// Where an operand has its element of these indices.
fn address(base: usize, strides: &[isize], at: &[usize]) -> usize {
    let offset = at.iter().zip(strides).map(|(&i, &s)| (i as isize).wrapping_mul(s)).sum();
    base.wrapping_add_signed(offset)
}

/// Whether the position goes up by one along the last axis, and the mask stays the same.
fn is_run(launch: &Bound<'_>, index: Value, mask: Option<Value>) -> bool {
    let last = launch.extents.len() - 1;
    let body = &launch.kernel.body;
    let mut moves: Vec<bool> = Vec::with_capacity(body.len());
    for inst in body {
        moves.push(match *inst {
            Inst::Index(axis) => axis as usize == last,
            Inst::Load(o) => launch.args[o as usize].strides[last] != 0,
            _ => inst.uses().iter().any(|v| moves[v.0 as usize]),
        });
    }
    let stays = |v: Value| !moves[v.0 as usize];
    let counts = |v: Value| matches!(body[v.0 as usize], Inst::Index(axis) if axis as usize == last);
    let goes_up = match body[index.0 as usize] {
        Inst::Binary(BinaryOp::Add, a, b) => counts(a) && stays(b) || counts(b) && stays(a),
        _ => counts(index),
    };
    goes_up && mask.is_none_or(stays)
}
