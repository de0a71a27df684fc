//! Scans: a running combination or a linear recurrence along the last axis, row by row.
//!
//! The body is evaluated into buffers, one for each value that is scanned, a chunk of a row at a time; the running total goes through them in Rust, element by
//! element in order; then the chunk is stored. Rows are independent, and divided over the threads.

use super::fold::{Element, Operator, with_operator, with_type};
use super::{Bound, Context, Need, PARALLEL, Room, Scratch, cost_per_point, counts};
use crate::known::MapKernel;
use crate::settle::Settling;
use crate::tile::{Bases, Part, Tile};
use crate::words::Words;
use lazuli_kernel::{
    BinaryOp, DType, Emit, Inner, Inst, Kernel, Nest, Operand, Result, Role, ScanOp, Shape, Store, Strides, Value,
};
use smallvec::SmallVec;
use std::sync::Arc;

const CHUNK: usize = 4096;

/// Words before the launch's numbers.
const OWN: usize = 2;

pub struct Scan {
    body: Arc<MapKernel>,
    /// Where its numbers begin. Before them stand how many tasks it has, and how many bytes one works in.
    pub(super) at: usize,
    /// Operand number of the target, and bytes between its elements along each axis.
    target: usize,
    dtype: DType,
    reverse: bool,
    step: Step,
}

/// How a total goes on along a row.
enum Step {
    /// `total op element`. What is stored is the new total, or if exclusive the one before, which begins with the identity.
    Combine { op: Operation, exclusive: bool, identity: u64 },
    /// factor · total + term, of a buffer each. What is stored is the total before, which begins with 0.
    Recur,
}

enum Operation {
    Binary(BinaryOp),
    /// A generated map of two numbers to one, and where its numbers begin.
    Map(Box<MapKernel>, usize),
}

impl Scan {
    /// A running combination of what is stored.
    pub fn combining(
        launch: &Bound<'_>,
        op: ScanOp,
        exclusive: bool,
        reverse: bool,
        store: Store,
        words: &mut Words,
    ) -> Result<Self> {
        let dtype = launch.known.types[store.value.0 as usize];
        let identity = op.identity(dtype).bits;
        let op = match op.binary() {
            Some(op) => Operation::Binary(op),
            None => {
                let map = MapKernel::new(logaddexp(dtype));
                map.function(launch.kernels, false)?;
                // It has neither axes nor parameters: the rows of its operands are all there is.
                let at = words.grow(map.kernel.operands.len());
                Operation::Map(Box::new(map), at)
            }
        };
        Self::new(launch, &[store.value], store.operand, reverse, Step::Combine { op, exclusive, identity }, words)
    }

    /// A linear recurrence with these factors of the terms that are stored.
    pub fn recurring(
        launch: &Bound<'_>,
        factor: Value,
        reverse: bool,
        store: Store,
        words: &mut Words,
    ) -> Result<Self> {
        Self::new(launch, &[factor, store.value], store.operand, reverse, Step::Recur, words)
    }

    fn new(
        launch: &Bound<'_>,
        values: &[Value],
        target: u32,
        reverse: bool,
        step: Step,
        words: &mut Words,
    ) -> Result<Self> {
        let mut strides = Strides::from_elem(0, launch.extents.len());
        strides[launch.extents.len() - 1] = 1;
        words.derive(OWN);
        let (body, at) = launch.write_body(values, &strides, words)?;
        let dtype = launch.kernel.operands[target as usize].dtype;
        Ok(Self { body, at, target: target as usize, dtype, reverse, step })
    }

    /// The maps that run.
    pub fn maps(&self) -> impl Iterator<Item = &MapKernel> {
        let step = match &self.step {
            Step::Combine { op: Operation::Map(map, _), .. } => Some(&**map),
            _ => None,
        };
        [&*self.body].into_iter().chain(step)
    }

    /// # Safety
    ///
    /// As for [`Launch::run`](super::Launch::run).
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let extents = self.extents(words);
        let (n, outer) = row_and_outer(&extents);
        if n == 0 {
            return;
        }
        let [tasks, each] = [words[self.at - 2], words[self.at - 1]].map(|n| n as usize);
        cx.share(tasks, outer.iter().product(), each, &|rows, room| {
            let mut buffers = self.buffers(n, room);
            for row in rows {
                // SAFETY: passed on; rows are independent, and each is one task's.
                unsafe { self.row(words, &extents, bases, row, &mut buffers) };
            }
        })
    }

    /// The memory that it works in on at most so many threads.
    pub fn settle<S: Settling>(&self, cx: &mut S, threads: usize) -> Need<S::N> {
        let extents = cx.numbers(self.at, self.body.kernel.rank as usize);
        let points = cx.mul_all(&extents);
        let cost = cx.mul_by(points, cost_per_point(&self.body.kernel) + 1500);
        let tasks = cx.div(cost, S::count(PARALLEL));
        let tasks = cx.at_least(tasks, 1);
        let tasks = cx.at_most(tasks, 8 * threads);
        let chunk = cx.at_most(extents[extents.len() - 1], CHUNK);
        let buffer = cx.mul_by(chunk, self.dtype.itemsize());
        let buffer = cx.piece(buffer);
        let each = cx.mul_by(buffer, self.values());
        cx.derive(self.at - 2, tasks);
        cx.derive(self.at - 1, each);
        Need { shared: S::count(0), each, tasks }
    }

    /// How many values are scanned.
    fn values(&self) -> usize {
        match self.step {
            Step::Combine { .. } => 1,
            Step::Recur => 2,
        }
    }

    fn extents(&self, words: &[isize]) -> Shape {
        counts(&words[self.at..][..self.body.kernel.rank as usize])
    }

    /// For rows of so many elements, of every value that is scanned; the last becomes what is stored.
    fn buffers<'m>(&self, n: usize, room: &mut Room<'m>) -> SmallVec<[Scratch<'m>; 2]> {
        (0..self.values()).map(|_| room.take(CHUNK.min(n), self.dtype)).collect()
    }

    /// # Safety
    ///
    /// As for [`run`](Self::run); the row is this task's.
    unsafe fn row(&self, words: &[isize], extents: &[usize], bases: &[usize], row: usize, buffers: &mut [Scratch<'_>]) {
        let (n, outer) = row_and_outer(extents);
        let rank = outer.len() + 1;
        let body = Tile::new(&self.body, words, self.at, false);
        let mut part = Part::all(extents);
        let mut rest = row;
        for axis in (0..rank - 1).rev() {
            (part.start[axis], part.count[axis]) = (rest % outer[axis], 1);
            rest /= outer[axis];
        }
        let strides = body.strides(self.target);
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
            all.extend(buffers.iter_mut().map(|buffer| buffer.address().wrapping_sub(first * size)));
            // SAFETY: a part of the launch; the buffers hold a chunk each.
            unsafe { body.run(&all, &part) };
            total = Some(self.chunk(words, total, buffers, count));
            let [.., stored] = buffers else { unreachable!("a value at least is scanned") };
            let bytes = stored.bytes(0, count * size);
            with_type!(self.dtype, T => for (i, &x) in bytes.of::<T>().iter().enumerate() {
                let at = target.wrapping_add_signed((first + i) as isize * strides[rank - 1]);
                // SAFETY: the target's element at this point, which the plan's verifier proved to be within its slot.
                unsafe { (at as *mut T).write(x) };
            });
        }
    }

    /// Replaces the elements of a chunk by what is stored, going on from `total`; returns the new one.
    fn chunk(&self, words: &[isize], total: Option<u64>, buffers: &mut [Scratch<'_>], count: usize) -> u64 {
        let nbytes = count * self.dtype.itemsize();
        match (&self.step, buffers) {
            (Step::Combine { op, exclusive, identity }, [elements]) => {
                let bytes = elements.bytes_mut(0, nbytes);
                let start = total.or(exclusive.then_some(*identity));
                match op {
                    Operation::Binary(op) => with_type!(self.dtype, T => with_operator!(*op, O => {
                        let apply = |a: T, b: T| <O as Operator<T>>::apply(a, b);
                        combine(bytes.of_mut::<T>(), start, self.reverse, *exclusive, apply)
                    })),
                    Operation::Map(map, at) => with_type!(self.dtype, T => {
                        let tile = Tile::new(map, words, *at, false);
                        let apply = |a: T, b: T| {
                            let mut out = a;
                            let bases = [&raw const a as usize, &raw const b as usize, &raw mut out as usize];
                            // SAFETY: the map has no axes: it reads the two numbers and writes the third.
                            unsafe { tile.run(&bases, &Part::all(&[])) };
                            out
                        };
                        combine(bytes.of_mut::<T>(), start, self.reverse, *exclusive, apply)
                    }),
                }
            }
            (Step::Recur, [factors, terms]) => {
                let (factors, terms) = (factors.bytes(0, nbytes), terms.bytes_mut(0, nbytes));
                match self.dtype {
                    DType::F64 => recur::<f64>(factors.of(), terms.of_mut(), total, self.reverse),
                    _ => recur::<f32>(factors.of(), terms.of_mut(), total, self.reverse),
                }
            }
            _ => unreachable!("it has as many buffers as values"),
        }
    }
}

/// Elements of a row, and extents of the axes before.
fn row_and_outer(extents: &[usize]) -> (usize, &[usize]) {
    let (&n, outer) = extents.split_last().expect("a scan has an axis");
    (n, outer)
}

fn combine<T: Element>(
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

/// yᵢ₊₁ = aᵢ yᵢ + cᵢ over the terms' places, where the first y of a row is 0 and its first factor multiplies nothing.
fn recur<T: Element>(factors: &[T], terms: &mut [T], start: Option<u64>, reverse: bool) -> u64 {
    let mut total = start.map(T::from_bits);
    let mut step = |(&factor, term): (&T, &mut T)| {
        let next = total.map_or(*term, |t| factor.mul(t).add(*term));
        *term = total.unwrap_or(T::from_bits(0));
        total = Some(next);
    };
    let pairs = factors.iter().zip(terms);
    if reverse {
        pairs.rev().for_each(&mut step)
    } else {
        pairs.for_each(&mut step)
    }
    total.map_or(0, T::bits)
}

/// out = logaddexp(a, b), without axes.
fn logaddexp(dtype: DType) -> Kernel {
    let mut e = Emit::new();
    let (a, b) = (e.input(dtype), e.input(dtype));
    let value = lazuli_kernel::math::logaddexp(&mut e, a, b);
    let out = e.operand(Operand { dtype, role: Role::Out, inner: Inner::Unit });
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
