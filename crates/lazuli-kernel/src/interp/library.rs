//! Library calls, by their definitions.

use super::memory::Slots;
use super::tile::{Points, gather, indices, position, put};
use super::total::Total;
use crate::dtype::DType;
use crate::ir::{BinaryOp, Combine};
use crate::plan::{Arg, LibraryCall, MATMUL_BLOCK};
use crate::scalar_ops::{self, Element};
use crate::shape::size;
use std::cmp::Ordering;

/// Runs a verified call.
pub(super) fn call(call: &LibraryCall, slots: &mut Slots) {
    match call {
        LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } => {
            for number in 0..size(batch) {
                let at = |arg: &Arg| inner(arg, batch, number);
                matmul(*dtype, (*m, *n, *k), &at(a), &at(b), &at(c), slots);
            }
        }
        LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
            for number in 0..size(rows) {
                sort(*dtype, *n, *indices, &inner(input, rows, number), &inner(output, rows, number), slots);
            }
        }
    }
}

/// The argument over its inner axes, at the point of this number of the outer ones.
fn inner(arg: &Arg, outer: &[usize], number: usize) -> Arg {
    let offset = position(arg, &indices(outer, number));
    // A negative one belongs to an argument without elements.
    Arg { offset: offset.max(0) as usize, strides: arg.strides[outer.len()..].into(), ..*arg }
}

/// All elements of an argument in row-major order, converted.
fn elements(arg: &Arg, extents: &[usize], from: DType, to: DType, slots: &Slots) -> Vec<u64> {
    let mut bits = vec![0; size(extents)];
    gather(slots.bytes(arg.slot), arg, from, &Points::all(extents), &mut bits);
    let mut out = vec![0; bits.len()];
    scalar_ops::cast(from, to, &bits, &mut out);
    out
}

fn matmul(dtype: DType, (m, n, k): (usize, usize, usize), a: &Arg, b: &Arg, c: &Arg, slots: &mut Slots) {
    let wide = match dtype {
        DType::F64 | DType::C64 => dtype,
        _ => DType::F32,
    };
    let a = elements(a, &[m, k], dtype, wide, slots);
    let b = elements(b, &[k, n], dtype, wide, slots);
    let product = match wide {
        DType::C64 => complex_product(m, n, k, &a, &b),
        _ if m == 1 || n == 1 => vector_product(wide, m, n, k, &a, &b),
        DType::F64 => product(m, n, k, &a, &b, f64::mul_add, |x, y| x + y),
        _ => product(m, n, k, &a, &b, f32::mul_add, |x, y| x + y),
    };
    let mut out = vec![0; product.len()];
    scalar_ops::cast(wide, dtype, &product, &mut out);
    put(slots.bytes_mut(c.slot), c, dtype, &Points::all(&[m, n]), &out);
}

/// Each element is a chain of fused multiply-adds over k in order; blocks of it are added.
fn product<T: Element>(
    m: usize,
    n: usize,
    k: usize,
    a: &[u64],
    b: &[u64],
    fma: impl Fn(T, T, T) -> T,
    add: impl Fn(T, T) -> T,
) -> Vec<u64> {
    let b: Vec<T> = b.iter().map(|&bits| T::of(bits)).collect();
    let mut out = Vec::with_capacity(m * n);
    for i in 0..m {
        let mut row: Option<Vec<T>> = None;
        for first in (0..k).step_by(MATMUL_BLOCK) {
            let mut sums = vec![T::of(0); n];
            for p in first..k.min(first + MATMUL_BLOCK) {
                let factor = T::of(a[i * k + p]);
                sums.iter_mut().zip(&b[p * n..]).for_each(|(sum, &b)| *sum = fma(factor, b, *sum));
            }
            row = Some(match row {
                None => sums,
                Some(row) => row.into_iter().zip(sums).map(|(x, y)| add(x, y)).collect(),
            });
        }
        out.extend(row.unwrap_or(vec![T::of(0); n]).into_iter().map(T::bits));
    }
    out
}

/// Products are rounded, and summed in the order of reductions.
fn vector_product(dtype: DType, m: usize, n: usize, k: usize, a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut sum = Total::new(Combine::Sum, dtype);
    let mut element = |i: usize, j: usize| {
        let column: Vec<u64> = (0..k).map(|p| b[p * n + j]).collect();
        let mut products = vec![0; k];
        scalar_ops::binary(BinaryOp::Mul, dtype, &a[i * k..(i + 1) * k], &column, &mut products);
        sum.add(0, &products);
        sum.take().0
    };
    (0..m * n).map(|at| element(at / n, at % n)).collect()
}

/// A product of real matrices: a number on the left is a row of two, on the right a block of four.
fn complex_product(m: usize, n: usize, k: usize, a: &[u64], b: &[u64]) -> Vec<u64> {
    let parts = |bits: u64| [bits & 0xFFFF_FFFF, bits >> 32];
    let a: Vec<u64> = a.iter().flat_map(|&bits| parts(bits)).collect();
    let rows = |p: usize| {
        let row = &b[p * n..(p + 1) * n];
        let minus = |im: u64| im ^ 1 << 31;
        let upper = row.iter().flat_map(move |&bits| parts(bits));
        upper.chain(row.iter().flat_map(move |&bits| [minus(parts(bits)[1]), parts(bits)[0]]))
    };
    let b: Vec<u64> = (0..k).flat_map(rows).collect();
    let real = product(m, 2 * n, 2 * k, &a, &b, f32::mul_add, |x, y| x + y);
    real.chunks_exact(2).map(|pair| pair[0] | pair[1] << 32).collect()
}

fn sort(dtype: DType, n: usize, positions: bool, input: &Arg, output: &Arg, slots: &mut Slots) {
    // The halves compare as the f32 of the same value.
    let key = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let keys = elements(input, &[n], dtype, key, slots);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| compare(key, keys[i], keys[j]));
    let (out_dtype, out) = if positions {
        (DType::U32, order.iter().map(|&i| i as u64).collect::<Vec<_>>())
    } else {
        let values = elements(input, &[n], dtype, dtype, slots);
        (dtype, order.iter().map(|&i| values[i]).collect())
    };
    put(slots.bytes_mut(output.slot), output, out_dtype, &Points::all(&[n]), &out);
}

/// NaN behind all else; complex numbers by their real parts, then by their imaginary ones.
fn compare(dtype: DType, a: u64, b: u64) -> Ordering {
    fn of<T: Element>(a: u64, b: u64) -> Ordering {
        let (a, b) = (T::of(a), T::of(b));
        let is_nan = |v: T| v.partial_cmp(&v).is_none();
        a.partial_cmp(&b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
    }
    match dtype {
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => a.cmp(&b),
        DType::I8 => of::<i8>(a, b),
        DType::I16 => of::<i16>(a, b),
        DType::I32 => of::<i32>(a, b),
        DType::I64 => of::<i64>(a, b),
        DType::F64 => of::<f64>(a, b),
        DType::F16 | DType::BF16 | DType::F32 => of::<f32>(a, b),
        DType::C64 => {
            let is_nan = |v: u64| f32::of(v).is_nan() || f32::of(v >> 32).is_nan();
            let parts = || of::<f32>(a, b).then_with(|| of::<f32>(a >> 32, b >> 32));
            is_nan(a).cmp(&is_nan(b)).then_with(parts)
        }
    }
}
