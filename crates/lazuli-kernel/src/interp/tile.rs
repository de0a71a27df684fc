//! Evaluates the straight line of a kernel for a tile of points at a time, instruction by instruction.
//!
//! A tile is up to [`TILE`] consecutive points of a loop space in row-major order. Registers hold bits, zero-extended to 64, one
//! array a value; operations are the loops of [`crate::scalar_ops`].

use super::memory::Slots;
use crate::dtype::DType;
use crate::ir::{Inst, Kernel, Value};
use crate::plan::Arg;
use crate::scalar::Scalar;
use crate::scalar_ops;
use smallvec::SmallVec;
use std::ops::Range;

/// Most points of a tile.
pub(super) const TILE: usize = 256;
pub(super) type Tile = [u64; TILE];

/// Consecutive points of a loop space in row-major order.
#[derive(Debug)]
pub(super) struct Points {
    pub count: usize,
    runs: Vec<Run>,
}

/// Points that differ in the last index only.
#[derive(Debug)]
struct Run {
    /// First of them, counted from the first of the tile.
    first: usize,
    count: usize,
    /// Indices of the first.
    indices: SmallVec<[usize; 4]>,
}

impl Points {
    /// The `count` points from number `start` on.
    pub fn new(extents: &[usize], start: usize, count: usize) -> Self {
        let row = extents.last().copied().unwrap_or(1);
        let mut runs = Vec::new();
        let mut first = 0;
        while first < count {
            let indices = indices(extents, start + first);
            let length = (row - indices.last().copied().unwrap_or(0)).min(count - first);
            runs.push(Run { first, count: length, indices });
            first += length;
        }
        Self { count, runs }
    }

    /// All points of a loop space.
    pub fn all(extents: &[usize]) -> Self {
        Self::new(extents, 0, crate::shape::size(extents))
    }
}

/// Indices of the point of this number in row-major order.
pub(super) fn indices(extents: &[usize], mut number: usize) -> SmallVec<[usize; 4]> {
    let mut out = SmallVec::from_elem(0, extents.len());
    for (index, &n) in out.iter_mut().zip(extents).rev() {
        *index = number % n;
        number /= n;
    }
    out
}

/// Element of the slot at these indices.
pub(super) fn position(arg: &Arg, indices: &[usize]) -> isize {
    arg.offset as isize + indices.iter().zip(&arg.strides).map(|(&i, &s)| i as isize * s).sum::<isize>()
}

/// Distance between the elements of points that follow one another in a run.
fn run_stride(arg: &Arg, run: &Run) -> isize {
    run.indices.len().checked_sub(1).map_or(0, |axis| arg.strides[axis])
}

/// Reads the argument's element at every point.
pub(super) fn gather(bytes: &[u8], arg: &Arg, dtype: DType, points: &Points, out: &mut [u64]) {
    for run in &points.runs {
        let out = &mut out[run.first..run.first + run.count];
        let (first, stride) = (position(arg, &run.indices), run_stride(arg, run));
        match dtype.itemsize() {
            1 => read::<1>(bytes, first, stride, out),
            2 => read::<2>(bytes, first, stride, out),
            4 => read::<4>(bytes, first, stride, out),
            _ => read::<8>(bytes, first, stride, out),
        }
    }
    normalize(dtype, &mut out[..points.count]);
}

/// Any byte but 0 is true.
fn normalize(dtype: DType, values: &mut [u64]) {
    if dtype == DType::Bool {
        values.iter_mut().for_each(|v| *v = (*v != 0) as u64);
    }
}

fn read<const N: usize>(bytes: &[u8], first: isize, stride: isize, out: &mut [u64]) {
    let bits = |element: &[u8]| {
        let mut raw = [0; 8];
        raw[..N].copy_from_slice(element);
        u64::from_le_bytes(raw)
    };
    if stride == 1 {
        let row = &bytes[first as usize * N..][..out.len() * N];
        out.iter_mut().zip(row.chunks_exact(N)).for_each(|(o, element)| *o = bits(element));
    } else {
        for (i, o) in out.iter_mut().enumerate() {
            *o = bits(&bytes[(first + i as isize * stride) as usize * N..][..N]);
        }
    }
}

/// Writes the argument's element at every point.
pub(super) fn put(bytes: &mut [u8], arg: &Arg, dtype: DType, points: &Points, values: &[u64]) {
    for run in &points.runs {
        let values = &values[run.first..run.first + run.count];
        let (first, stride) = (position(arg, &run.indices), run_stride(arg, run));
        match dtype.itemsize() {
            1 => write::<1>(bytes, first, stride, values),
            2 => write::<2>(bytes, first, stride, values),
            4 => write::<4>(bytes, first, stride, values),
            _ => write::<8>(bytes, first, stride, values),
        }
    }
}

fn write<const N: usize>(bytes: &mut [u8], first: isize, stride: isize, values: &[u64]) {
    if stride == 1 {
        let row = &mut bytes[first as usize * N..][..values.len() * N];
        row.chunks_exact_mut(N).zip(values).for_each(|(element, v)| element.copy_from_slice(&v.to_le_bytes()[..N]));
    } else {
        for (i, v) in values.iter().enumerate() {
            bytes[(first + i as isize * stride) as usize * N..][..N].copy_from_slice(&v.to_le_bytes()[..N]);
        }
    }
}

/// Results of reductions at a tile of points: for each accumulator the values, and the positions of those that track one.
#[derive(Debug)]
pub(super) struct Results {
    pub values: Vec<Tile>,
    pub positions: Vec<Tile>,
}

/// The registers of one launch.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub extents: &'a [usize],
    pub args: &'a [Arg],
    kernel: &'a Kernel,
    insts: Vec<Inst>,
    types: Vec<DType>,
    registers: Vec<Tile>,
}

impl<'a> Machine<'a> {
    pub fn new(kernel: &'a Kernel, extents: &'a [usize], args: &'a [Arg], params: &[Scalar]) -> Self {
        let insts: Vec<Inst> = kernel.insts().copied().collect();
        let mut registers = vec![[0; TILE]; insts.len()];
        for (inst, register) in insts.iter().zip(&mut registers) {
            match *inst {
                Inst::Param(p) => register.fill(params[p as usize].bits),
                Inst::Const(s) => register.fill(s.bits),
                Inst::Extent(axis) => register.fill(extents[axis as usize] as u64),
                _ => {}
            }
        }
        Self { extents, args, kernel, insts, types: kernel.dtypes(), registers }
    }

    pub fn value(&self, v: Value) -> &Tile {
        &self.registers[v.0 as usize]
    }
    pub fn dtype(&self, v: Value) -> DType {
        self.types[v.0 as usize]
    }

    /// Evaluates the body at these points.
    pub fn body(&mut self, points: &Points, slots: &Slots) {
        self.run(0..self.kernel.body.len(), points, slots, None);
    }

    /// The same in rows: with the results of each point's row.
    pub fn body_of_rows(&mut self, points: &Points, slots: &Slots, results: &Results) {
        self.run(0..self.kernel.body.len(), points, slots, Some(results));
    }

    /// Evaluates the epilogue at these points of the kept axes.
    pub fn epilogue(&mut self, points: &Points, slots: &Slots, results: &Results) {
        self.run(self.kernel.body.len()..self.insts.len(), points, slots, Some(results));
    }

    fn run(&mut self, range: Range<usize>, points: &Points, slots: &Slots, results: Option<&Results>) {
        let n = points.count;
        for number in range {
            let (done, rest) = self.registers.split_at_mut(number);
            let out = &mut rest[0][..n];
            let of = |v: Value| &done[v.0 as usize][..n];
            let dtype = |v: Value| self.types[v.0 as usize];
            match self.insts[number] {
                // In their registers since the launch.
                Inst::Param(_) | Inst::Const(_) | Inst::Extent(_) => {}
                Inst::Index(axis) => count(points, axis as usize, out),
                Inst::Load(o) => {
                    let arg = &self.args[o as usize];
                    gather(slots.bytes(arg.slot), arg, self.types[number], points, out);
                }
                Inst::LoadAt { operand, index, mask } => {
                    let arg = &self.args[operand as usize];
                    load_at(slots.bytes(arg.slot), arg, self.types[number], of(index), mask.map(of), out);
                }
                Inst::Unary(op, a) => scalar_ops::unary(op, dtype(a), of(a), out),
                Inst::Binary(op, a, b) => scalar_ops::binary(op, dtype(a), of(a), of(b), out),
                Inst::Fma(a, b, c) => scalar_ops::fma(dtype(a), of(a), of(b), of(c), out),
                Inst::Select(c, a, b) => scalar_ops::select(of(c), of(a), of(b), out),
                Inst::Cast(to, a) => scalar_ops::cast(dtype(a), to, of(a), out),
                Inst::Bitcast(_, a) => out.copy_from_slice(of(a)),
                Inst::Reduced(a) => out.copy_from_slice(&results.expect("a reduction").values[a as usize][..n]),
                Inst::ReducedIndex(a) => out.copy_from_slice(&results.expect("a reduction").positions[a as usize][..n]),
            }
        }
    }
}

/// The index along an axis at every point.
fn count(points: &Points, axis: usize, out: &mut [u64]) {
    for run in &points.runs {
        let step = (axis + 1 == run.indices.len()) as u64;
        for (i, o) in out[run.first..run.first + run.count].iter_mut().enumerate() {
            *o = run.indices[axis] as u64 + i as u64 * step;
        }
    }
}

fn load_at(bytes: &[u8], arg: &Arg, dtype: DType, index: &[u64], mask: Option<&[u64]>, out: &mut [u64]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = 0;
        if arg.len > 0 && mask.is_none_or(|m| m[i] != 0) {
            let within = (index[i] as i64).clamp(0, arg.len as i64 - 1) as usize;
            let at = (arg.offset + within) * dtype.itemsize();
            *o = Scalar::from_bytes(dtype, &bytes[at..]).bits;
        }
    }
    normalize(dtype, out);
}
