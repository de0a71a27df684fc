//! Sorting of rows: stable, NaN last.
//!
//! Elements become integers in the same order (zeros of either sign alike, NaNs alike and last); those are sorted together with
//! their positions, which makes any sort a stable one. Rows are divided over the threads.

use super::{View, indices};
use crate::nest::Context;
use crate::nest::fold::{Element, with_type};
use half::{bf16, f16};
use lazuli_kernel::{Arg, DType, Slot};

#[derive(Debug)]
pub struct Sort {
    dtype: DType,
    rows: Vec<usize>,
    n: usize,
    positions: bool,
    input: View,
    output: View,
}

impl Sort {
    pub fn new(dtype: DType, rows: &[usize], n: usize, positions: bool, input: &Arg, output: &Arg) -> Self {
        let to = if positions { DType::U32 } else { dtype };
        let (input, output) = (View::new(input, dtype), View::new(output, to));
        Self { dtype, rows: rows.to_vec(), n, positions, input, output }
    }

    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, cx: &Context) {
        let rows: usize = self.rows.iter().product();
        if rows * self.n == 0 {
            return;
        }
        let (from, to) = (address(self.input.slot), address(self.output.slot));
        let tasks = (rows * self.n / 4096).clamp(1, 8 * cx.pool.threads()).min(rows);
        cx.pool.run(tasks, &|k| {
            for row in rows * k / tasks..rows * (k + 1) / tasks {
                let at = indices(&self.rows, row);
                // SAFETY: passed on; each row is one task's.
                unsafe { self.row(self.input.at(from, &at), self.output.at(to, &at)) };
            }
        });
    }

    unsafe fn row(&self, from: usize, to: usize) {
        let step = |view: &View| view.strides[self.rows.len()] * view.itemsize as isize;
        let (read_step, write_step) = (step(&self.input), step(&self.output));
        with_type!(self.dtype, T => {
            let read = |i: usize| {
                let at = from.wrapping_add_signed(i as isize * read_step) as *const T;
                // SAFETY: an element of the input's row.
                unsafe { at.read() }
            };
            // Read whole before anything is written: the output may be the input's memory.
            let values: Vec<T> = (0..self.n).map(read).collect();
            let order = self.order(|i| values[i].bits());
            for (i, &position) in order.iter().enumerate() {
                let at = to.wrapping_add_signed(i as isize * write_step);
                // SAFETY: an element of the output's row.
                unsafe {
                    match self.positions {
                        true => (at as *mut u32).write(position),
                        false => (at as *mut T).write(values[position as usize]),
                    }
                }
            }
        })
    }

    /// The positions in sorted order.
    fn order(&self, bits: impl Fn(usize) -> u64) -> Vec<u32> {
        let all = 0..self.n as u32;
        if self.dtype.itemsize() <= 4 {
            let mut keys: Vec<u64> = all.map(|i| key(self.dtype, bits(i as usize)) << 32 | i as u64).collect();
            keys.sort_unstable();
            return keys.into_iter().map(|k| k as u32).collect();
        }
        let key = |b: u64| match self.dtype {
            DType::C64 => complex_key(b),
            dtype => (false, key(dtype, b)),
        };
        let mut keys: Vec<((bool, u64), u32)> = all.map(|i| (key(bits(i as usize)), i)).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, i)| i).collect()
    }
}

/// An unsigned number that orders as the value with these bits; at most 32 bits for dtypes of that size.
fn key(dtype: DType, bits: u64) -> u64 {
    match dtype {
        DType::F16 => float_key(f16::from_bits(bits as u16).to_f32()),
        DType::BF16 => float_key(bf16::from_bits(bits as u16).to_f32()),
        DType::F32 => float_key(f32::from_bits(bits as u32)),
        DType::F64 => {
            let v = f64::from_bits(bits);
            if v.is_nan() {
                return u64::MAX;
            }
            let b = (v + 0.0).to_bits();
            if b >> 63 != 0 { !b } else { b | 1 << 63 }
        }
        DType::I8 => bits ^ 1 << 7,
        DType::I16 => bits ^ 1 << 15,
        DType::I32 => bits ^ 1 << 31,
        DType::I64 => bits ^ 1 << 63,
        _ => bits,
    }
}

fn float_key(v: f32) -> u64 {
    if v.is_nan() {
        return u32::MAX as u64;
    }
    // −0 + 0 = +0
    let b = (v + 0.0).to_bits();
    (if b >> 31 != 0 { !b } else { b | 1 << 31 }) as u64
}

/// By real parts, then imaginary ones; behind all others where either is NaN.
fn complex_key(bits: u64) -> (bool, u64) {
    let (re, im) = (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32));
    (re.is_nan() || im.is_nan(), float_key(re) << 32 | float_key(im))
}
