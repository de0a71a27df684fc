//! Scans: a running combination along the last axis, row by row.
//!
//! The body is evaluated into a buffer, a chunk of a row at a time; the running total goes through the buffer in Rust, element by
//! element in order; then the chunk is stored. Rows are independent, and divided over the threads.

use super::fold::{Element, Operator, with_operator, with_type};
use super::{Bound, Context, Need, PARALLEL, Room, Scratch, cost_per_point};
use crate::kernels::Function;
use crate::known::MapKernel;
use crate::tile::{Bases, Operand, Part, Tile};
use lazuli_kernel::{
    BinaryOp, DType, Emit, Inner, Inst, Kernel, Nest, Operand as Declared, Result, Role, ScanOp, Store, Value,
};
use std::sync::Arc;

const CHUNK: usize = 4096;

pub struct Scan {
    body: Tile,
    /// Operand number of the target, and bytes between its elements along each axis.
    target: usize,
    dtype: DType,
    step: Step,
    identity: u64,
    reverse: bool,
    exclusive: bool,
}

/// `total op element`.
enum Step {
    Binary(BinaryOp),
    /// A generated map of two numbers to one.
    Map(Box<Tile>),
}

impl Scan {
    pub fn new(
        launch: &Bound<'_>,
        op: ScanOp,
        reverse: bool,
        exclusive: bool,
        value: Value,
        store: u32,
    ) -> Result<Self> {
        let Bound { kernels, kernel, extents, .. } = launch;
        let mut strides = launch.no_strides();
        strides[extents.len() - 1] = 1;
        let body = launch.body_tile(&[value], &strides)?;
        let dtype = kernel.operands[store as usize].dtype;
        let step = match op.binary() {
            Some(op) => Step::Binary(op),
            None => {
                let map = MapKernel::new(logaddexp(dtype));
                let operands = [Operand { strides: &[], len: 0 }; 3].into_iter();
                Step::Map(Box::new(Tile::new(kernels, &map, &[], operands, &[], false)?))
            }
        };
        Ok(Self { body, target: store as usize, dtype, step, identity: op.identity(dtype).bits, reverse, exclusive })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        let mut all = vec![self.body.function().clone()];
        if let Step::Map(tile) = &self.step {
            all.push(tile.function().clone());
        }
        all
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, bases: &[usize], each: usize, cx: &mut Context<'_>) {
        let (n, outer) = self.row_and_outer();
        if n == 0 {
            return;
        }
        cx.share(self.tasks(cx.threads()), outer.iter().product(), each, &|rows, room| {
            let mut buffer = self.buffer(room);
            for row in rows {
                // SAFETY: passed on; rows are independent, and each is one task's.
                unsafe { self.row(bases, row, n, outer, &mut buffer) };
            }
        })
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        Need { shared: 0, each: Room::measure(|room| self.buffer(room)), tasks: self.tasks(threads) }
    }

    /// Elements of a row, and extents of the axes before.
    fn row_and_outer(&self) -> (usize, &[usize]) {
        let (&n, outer) = self.body.extents().split_last().expect("a scan has an axis");
        (n, outer)
    }

    fn tasks(&self, threads: usize) -> usize {
        let points: usize = self.body.extents().iter().product();
        match points.saturating_mul(cost_per_point(self.body.kernel()) + 1500) {
            0..PARALLEL => 1,
            cost => (cost / PARALLEL).clamp(1, 8 * threads),
        }
    }

    fn buffer<'m>(&self, room: &mut Room<'m>) -> Scratch<'m> {
        room.take(CHUNK.min(self.row_and_outer().0), self.dtype)
    }

    unsafe fn row(&self, bases: &[usize], row: usize, n: usize, outer: &[usize], buffer: &mut Scratch<'_>) {
        let rank = outer.len() + 1;
        let mut part = Part::all(self.body.extents());
        let mut rest = row;
        for axis in (0..rank - 1).rev() {
            (part.start[axis], part.count[axis]) = (rest % outer[axis], 1);
            rest /= outer[axis];
        }
        let strides = &self.body.strides()[self.target * rank..][..rank];
        let offset: isize = part.start.iter().zip(&strides[..rank - 1]).map(|(&i, &s)| i as isize * s).sum();
        let target = bases[self.target].wrapping_add_signed(offset);
        let size = self.dtype.itemsize();
        let mut total = None;
        let chunks = n.div_ceil(CHUNK);
        for c in 0..chunks {
            let first = if self.reverse { chunks - 1 - c } else { c } * CHUNK;
            let count = CHUNK.min(n - first);
            (part.start[rank - 1], part.count[rank - 1]) = (first, count);
            let mut all: Bases = bases.into();
            all.push(buffer.address().wrapping_sub(first * size));
            // SAFETY: a part of the launch; the buffer holds a chunk.
            unsafe { self.body.run(&all, &part) };
            let bits = self.chunk(total, buffer, count);
            total = Some(bits);
            let bytes = buffer.bytes(0, count * size);
            with_type!(self.dtype, T => for (i, &x) in bytes.of::<T>().iter().enumerate() {
                let at = target.wrapping_add_signed((first + i) as isize * strides[rank - 1]);
                // SAFETY: the target's element at this point, which the plan's verifier proved to be within its slot.
                unsafe { (at as *mut T).write(x) };
            });
        }
    }

    /// Replaces the elements of a chunk by running totals, going on from `total`; returns the new one.
    fn chunk(&self, total: Option<u64>, buffer: &mut Scratch<'_>, count: usize) -> u64 {
        let bytes = buffer.bytes_mut(0, count * self.dtype.itemsize());
        let start = total.or(self.exclusive.then_some(self.identity));
        match &self.step {
            Step::Binary(op) => with_type!(self.dtype, T => with_operator!(*op, O => {
                let apply = |a: T, b: T| <O as Operator<T>>::apply(a, b);
                running(bytes.of_mut::<T>(), start, self.reverse, self.exclusive, apply)
            })),
            Step::Map(tile) => with_type!(self.dtype, T => {
                let apply = |a: T, b: T| {
                    let mut out = a;
                    let bases = [&raw const a as usize, &raw const b as usize, &raw mut out as usize];
                    // SAFETY: the map has no axes: it reads the two numbers and writes the third.
                    unsafe { tile.run(&bases, &Part::all(&[])) };
                    out
                };
                running(bytes.of_mut::<T>(), start, self.reverse, self.exclusive, apply)
            }),
        }
    }
}

fn running<T: Element>(
    elements: &mut [T],
    start: Option<u64>,
    reverse: bool,
    exclusive: bool,
    apply: impl Fn(T, T) -> T,
) -> u64 {
    let mut total = start.map(T::from_bits);
    let mut step = |x: &mut T| {
        let next = total.map_or(*x, |t| apply(t, *x));
        *x = if exclusive { total.unwrap_or(*x) } else { next };
        total = Some(next);
    };
    if reverse {
        elements.iter_mut().rev().for_each(&mut step)
    } else {
        elements.iter_mut().for_each(&mut step)
    }
    total.map_or(0, T::bits)
}

/// out = logaddexp(a, b), without axes.
fn logaddexp(dtype: DType) -> Kernel {
    let mut e = Emit::new();
    let (a, b) = (e.input(dtype), e.input(dtype));
    let value = lazuli_kernel::math::logaddexp(&mut e, a, b);
    let out = e.operand(Declared { dtype, role: Role::Out, inner: Inner::Unit });
    debug_assert!(matches!(e.insts[0], Inst::Load(0)));
    Kernel {
        rank: 0,
        vector_axis: 0,
        params: vec![],
        operands: e.operands,
        body: e.insts,
        nest: Nest::Map { stores: vec![Store { operand: out, value }] },
    }
}
