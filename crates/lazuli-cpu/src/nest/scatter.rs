//! Scatters: updates at computed positions, in row-major order of the loop space.
//!
//! The body is evaluated into buffers of positions, values and masks; the updates are applied from there, one after another, on one thread. Where they are runs of neighbours
//! ([`runs`]), a run is applied as one, and the target is divided over the threads. Where a map follows, both are done block by block of the target ([`onwards`]).

mod onwards;
mod runs;

pub use onwards::Onwards;

use super::fold::{Operator, with_operator, with_type};
use super::map::run_parallel;
use super::{Bound, Context, Need, Room, Scratch, boxes, row_strides};
use crate::known::MapKernel;
use crate::tile::{Bases, Part, Tile};
use crate::words::Words;
use lazuli_kernel::{DType, Result, ScatterOp, Shape, Value, small};
use runs::Runs;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

const CHUNK: usize = 4096;

pub enum Scatter {
    Runs(Box<Runs>),
    Points(Box<Points>),
}

/// What is done at each point, as the kernel's nest says it.
#[derive(Clone, Copy)]
pub struct Update {
    pub op: ScatterOp,
    pub target: u32,
    pub index: Value,
    pub mask: Option<Value>,
    pub value: Value,
}

/// Update by update.
pub struct Points {
    body: Arc<MapKernel>,
    /// Where its numbers begin.
    at: usize,
    extents: Shape,
    op: ScatterOp,
    target: usize,
    /// Elements of the target.
    len: usize,
    dtype: DType,
    masked: bool,
}

impl Scatter {
    pub fn new(launch: &Bound<'_>, update: Update, words: &mut Words) -> Result<Self> {
        Ok(match Runs::new(launch, update, words)? {
            Some(runs) => Scatter::Runs(Box::new(runs)),
            None => Scatter::Points(Box::new(Points::new(launch, update, words)?)),
        })
    }

    /// Where its numbers begin.
    pub fn at(&self) -> usize {
        match self {
            Scatter::Runs(runs) => runs.at[0],
            Scatter::Points(points) => points.at,
        }
    }

    /// The maps that run.
    pub fn maps(&self) -> impl Iterator<Item = &MapKernel> {
        let (first, second) = match self {
            Scatter::Runs(runs) => (&runs.positions, Some(&runs.values)),
            Scatter::Points(points) => (&points.body, None),
        };
        [first].into_iter().chain(second).map(|map| &**map)
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        match self {
            Scatter::Runs(runs) => runs.need(threads),
            Scatter::Points(points) => points.need(),
        }
    }

    /// How many updates there are, and elements of each.
    fn count(&self) -> (usize, usize) {
        match self {
            Scatter::Runs(runs) => runs.count(),
            Scatter::Points(points) => (points.total(), 1),
        }
    }

    /// For where all of them go.
    fn located<'m>(&self, room: &mut Room<'m>) -> Located<'m> {
        match self {
            Scatter::Runs(runs) => runs.room(room),
            Scatter::Points(points) => points.room_for(points.total(), room),
        }
    }

    /// For what [`apply`](Self::apply) works in.
    fn buffer<'m>(&self, room: &mut Room<'m>) -> Scratch<'m> {
        match self {
            Scatter::Runs(runs) => runs.buffer(room),
            Scatter::Points(_) => room.take_bytes(0),
        }
    }

    /// Finds where all of them go.
    ///
    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    unsafe fn locate(&self, words: &[isize], bases: &[usize], located: &mut Located<'_>, cx: &Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self {
                Scatter::Runs(runs) => runs.locate(words, bases, located),
                Scatter::Points(points) => points.locate(words, bases, located, cx),
            }
        }
    }

    /// Applies a share of them.
    ///
    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run); nobody else touches the range of the share.
    unsafe fn apply(&self, words: &[isize], bases: &[usize], share: &Share<'_>, buffer: &mut Scratch<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self {
                Scatter::Runs(runs) => runs.apply(words, bases, share, buffer),
                Scatter::Points(points) => points.apply(share, points.total()),
            }
        }
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self {
                Scatter::Runs(runs) => runs.run(words, bases, cx),
                Scatter::Points(points) => points.run(words, bases, cx),
            }
        }
    }
}

/// Where all updates of a launch go. Of runs this is where they begin; single ones have their values with them.
pub struct Located<'m> {
    positions: Scratch<'m>,
    /// Whether they count at all; empty if all do.
    masks: Scratch<'m>,
    values: Scratch<'m>,
}

/// What one task applies: of all updates, or of those that are listed, what falls into a range of the target.
struct Share<'a> {
    /// Address of the first element of the target.
    target: usize,
    range: Range<usize>,
    located: &'a Located<'a>,
    list: Option<&'a [u64]>,
}

impl Located<'_> {
    fn positions(&self, n: usize) -> &[i64] {
        self.positions.bytes(0, 8 * n).of()
    }
    fn masks(&self, n: usize) -> Option<&[u8]> {
        (!self.masks.is_empty()).then(|| self.masks.bytes(0, n).of())
    }
}

impl Points {
    fn new(launch: &Bound<'_>, update: Update, words: &mut Words) -> Result<Self> {
        let Update { op, target, index, mask, value } = update;
        let Bound { kernel, extents, args, .. } = *launch;
        let values: SmallVec<[Value; 3]> = small([index, value].into_iter().chain(mask));
        // Row-major, so that a chunk of the loop space is consecutive in the buffers.
        let (body, at) = launch.write_body(&values, &row_strides(extents, 0), words)?;
        let len = args[target as usize].len;
        let dtype = kernel.operands[target as usize].dtype;
        let (target, extents) = (target as usize, Shape::from_slice(extents));
        Ok(Self { body, at, extents, op, target, len, dtype, masked: mask.is_some() })
    }

    fn tile<'a>(&'a self, words: &'a [isize]) -> Tile<'a> {
        Tile::new(&self.body, words, self.at, false)
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let (extents, body) = (&self.extents, self.tile(words));
        let total = self.total();
        let mut chunk = self.room_for(CHUNK.min(total), cx.room());
        let mut part = Part::all(extents);
        for first in (0..total).step_by(CHUNK) {
            let count = CHUNK.min(total - first);
            let all = self.with_buffers(bases, &mut chunk, first);
            boxes(extents, first, count, |start, counts, _| {
                part.start.copy_from_slice(start);
                part.count.copy_from_slice(counts);
                // SAFETY: a part of the launch; the buffers hold a chunk.
                unsafe { body.run(&all, &part) };
            });
            let share = Share { target: bases[self.target], range: 0..self.len, located: &chunk, list: None };
            // SAFETY: passed on; the target has so many elements.
            unsafe { self.apply(&share, count) };
        }
    }

    /// Evaluates all of it.
    ///
    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run); there is room for all points.
    unsafe fn locate(&self, words: &[isize], bases: &[usize], located: &mut Located<'_>, cx: &Context<'_>) {
        let all = self.with_buffers(bases, located, 0);
        // SAFETY: passed on.
        unsafe { run_parallel(&self.tile(words), &all, &Part::all(&self.extents), cx) };
    }

    /// The addresses of the operands and of buffers that begin with the point of this number.
    fn with_buffers(&self, bases: &[usize], to: &mut Located<'_>, first: usize) -> Bases {
        let mut all: Bases = bases.into();
        let own = [(&mut to.positions, DType::I64), (&mut to.values, self.dtype), (&mut to.masks, DType::Bool)];
        for (buffer, dtype) in own.into_iter().take(2 + self.masked as usize) {
            all.push(buffer.address().wrapping_sub(first * dtype.itemsize()));
        }
        debug_assert_eq!(all.len(), self.body.kernel.operands.len());
        all
    }

    /// Applies a share of `n` updates.
    ///
    /// # Safety
    ///
    /// Nobody else touches the range of the share.
    unsafe fn apply(&self, share: &Share<'_>, n: usize) {
        let Share { target, ref range, located, list } = *share;
        let (positions, masks) = (located.positions(n), located.masks(n));
        let values = located.values.bytes(0, n * self.dtype.itemsize());
        with_type!(self.dtype, T => {
            let (target, values) = (target as *mut T, values.of::<T>());
            match self.op.binary() {
                // SAFETY: passed on.
                None => unsafe { update(target, range.clone(), positions, masks, values, list, |_, new| new) },
                Some(op) => with_operator!(op, O => {
                    let apply = |old: T, new: T| <O as Operator<T>>::apply(old, new);
                    // SAFETY: passed on.
                    unsafe { update(target, range.clone(), positions, masks, values, list, apply) }
                }),
            }
        });
    }

    fn need(&self) -> Need {
        Need { shared: Room::measure(|room| self.room_for(CHUNK.min(self.total()), room)), ..Need::default() }
    }

    fn total(&self) -> usize {
        self.extents.iter().product()
    }

    /// For so many points.
    fn room_for<'m>(&self, n: usize, room: &mut Room<'m>) -> Located<'m> {
        let masks = if self.masked { n } else { 0 };
        let (positions, values) = (room.take(n, DType::I64), room.take(n, self.dtype));
        Located { positions, values, masks: room.take(masks, DType::Bool) }
    }
}

/// Applies those updates, of all or of a list, whose position lies within a range of the target.
///
/// # Safety
///
/// Nobody else touches the range.
unsafe fn update<T: Copy>(
    target: *mut T,
    range: Range<usize>,
    positions: &[i64],
    mask: Option<&[u8]>,
    values: &[T],
    list: Option<&[u64]>,
    apply: impl Fn(T, T) -> T,
) {
    let len = range.len();
    let one = |i: usize, position: i64, value: T| {
        // Negative positions, and those before the range, wrap to numbers beyond its length.
        let within = (position as usize).wrapping_sub(range.start) < len;
        if within && mask.is_none_or(|m| m[i] != 0) {
            let place = target.wrapping_add(position as usize);
            // SAFETY: within the range.
            unsafe { place.write(apply(place.read(), value)) };
        }
    };
    match list {
        None => positions.iter().zip(values).enumerate().for_each(|(i, (&at, &value))| one(i, at, value)),
        Some(list) => list.iter().for_each(|&i| one(i as usize, positions[i as usize], values[i as usize])),
    }
}
