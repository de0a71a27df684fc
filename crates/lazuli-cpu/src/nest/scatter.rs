//! Scatters: updates at computed positions, in row-major order of the loop space.
//!
//! The body is evaluated into buffers of positions, values and masks; the updates are applied from there, one after another, on one thread. Where they are runs of neighbours
//! ([`runs`]), a run is applied as one, and the target is divided over the threads.

mod runs;

use super::fold::{Operator, with_operator, with_type};
use super::{Bound, Context, Need, Room, Scratch, boxes, row_strides};
use crate::kernels::Function;
use crate::tile::{Bases, Part, Tile};
use lazuli_kernel::{DType, Result, ScatterOp, Value};
use runs::Runs;
use std::sync::Arc;

const CHUNK: usize = 4096;

pub enum Scatter {
    Runs(Runs),
    Points(Points),
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
    body: Tile,
    op: ScatterOp,
    target: usize,
    /// Elements of the target.
    len: usize,
    dtype: DType,
    masked: bool,
    /// Number of the launch's operands.
    operands: usize,
}

impl Scatter {
    pub fn new(launch: &Bound<'_>, update: Update) -> Result<Self> {
        Ok(match Runs::new(launch, update)? {
            Some(runs) => Scatter::Runs(runs),
            None => Scatter::Points(Points::new(launch, update)?),
        })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        match self {
            Scatter::Runs(runs) => runs.functions(),
            Scatter::Points(points) => vec![points.body.function().clone()],
        }
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        match self {
            Scatter::Runs(runs) => runs.need(threads),
            Scatter::Points(points) => points.need(),
        }
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], each: usize, cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self {
                Scatter::Runs(runs) => runs.run(bases, each, cx),
                Scatter::Points(points) => points.run(bases, cx),
            }
        }
    }
}

impl Points {
    fn new(launch: &Bound<'_>, update: Update) -> Result<Self> {
        let Update { op, target, index, mask, value } = update;
        let Bound { kernels, kernel, extents, operands, params } = launch;
        let values: Vec<Value> = [index, value].into_iter().chain(mask).collect();
        // Row-major, so that a chunk of the loop space is consecutive in the buffers.
        let mut buffers = launch.with_buffers(values.len());
        for buffer in &mut buffers[operands.len()..] {
            buffer.strides = row_strides(extents, 0).into();
        }
        let body = Tile::new(kernels, &launch.body_map(&values), extents, &buffers, params, false)?;
        let len = operands[target as usize].len;
        let dtype = kernel.operands[target as usize].dtype;
        let (target, operands) = (target as usize, operands.len());
        Ok(Self { body, op, target, len, dtype, masked: mask.is_some(), operands })
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    unsafe fn run(&self, bases: &[usize], cx: &mut Context<'_>) {
        let extents = self.body.extents();
        let total: usize = extents.iter().product();
        let mut buffers = self.buffers(cx.room());
        debug_assert_eq!(self.operands + buffers.len(), self.body.kernel().operands.len());
        let mut part = Part::all(extents);
        for first in (0..total).step_by(CHUNK) {
            let count = CHUNK.min(total - first);
            let mut all: Bases = bases.into();
            for (buffer, dtype) in buffers.iter_mut().zip(self.dtypes()) {
                all.push(buffer.address().wrapping_sub(first * dtype.itemsize()));
            }
            boxes(extents, first, count, |start, counts, _| {
                part.start.copy_from_slice(start);
                part.count.copy_from_slice(counts);
                // SAFETY: a part of the launch; the buffers hold a chunk.
                unsafe { self.body.run(&all, &part) };
            });
            let indices = buffers[0].bytes(0, 8 * count).of::<i64>();
            let mask = self.masked.then(|| buffers[2].bytes(0, count).of::<u8>());
            let values = buffers[1].bytes(0, count * self.dtype.itemsize());
            with_type!(self.dtype, T => {
                let values = values.of::<T>();
                let target = bases[self.target] as *mut T;
                match self.op.binary() {
                    // SAFETY: passed on.
                    None => unsafe { update(target, self.len, indices, mask, values, |_, new| new) },
                    Some(op) => with_operator!(op, O => {
                        let apply = |old: T, new: T| <O as Operator<T>>::apply(old, new);
                        // SAFETY: passed on.
                        unsafe { update(target, self.len, indices, mask, values, apply) }
                    }),
                }
            });
        }
    }

    fn need(&self) -> Need {
        Need { shared: Room::measure(|room| self.buffers(room)), ..Need::default() }
    }

    /// Of positions, values and masks.
    fn dtypes(&self) -> impl Iterator<Item = DType> {
        [DType::I64, self.dtype, DType::Bool].into_iter().take(2 + self.masked as usize)
    }

    /// A chunk of each.
    fn buffers<'m>(&self, room: &mut Room<'m>) -> Vec<Scratch<'m>> {
        let chunk = CHUNK.min(self.body.extents().iter().product());
        self.dtypes().map(|dtype| room.take(chunk, dtype)).collect()
    }
}

/// Applies the updates whose position lies within the target.
///
/// # Safety
///
/// The target has `len` elements that nobody else touches.
unsafe fn update<T: Copy>(
    target: *mut T,
    len: usize,
    indices: &[i64],
    mask: Option<&[u8]>,
    values: &[T],
    apply: impl Fn(T, T) -> T,
) {
    for (i, (&index, &value)) in indices.iter().zip(values).enumerate() {
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        if position < len && mask.is_none_or(|m| m[i] != 0) {
            // SAFETY: within the target.
            unsafe {
                let place = target.add(position);
                place.write(apply(place.read(), value));
            }
        }
    }
}
