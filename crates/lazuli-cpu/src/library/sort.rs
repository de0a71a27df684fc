//! Sorting of rows: stable, NaN last.
//!
//! Elements become integers in the same order (zeros of either sign alike, NaNs alike and last); those are sorted together with
//! their positions, which makes any sort a stable one. Rows are divided over the threads.

use super::{View, indices};
use crate::nest::fold::{Element, with_type};
use crate::nest::{Context, Need, Room, Scratch, counts};
use crate::settle::Settling;
use crate::words::{Cursor, Words};
use half::{bf16, f16};
use lazuli_kernel::{DType, LibraryCall, Shape};

#[derive(Debug)]
pub struct Sort {
    dtype: DType,
    positions: bool,
    /// Where its numbers begin: extents of the rows, elements of each, then the strides of the input and of the output in elements. Before them stand how many tasks it has, and how many bytes one
    /// works in.
    at: usize,
    /// Axes of the rows.
    outer: usize,
}

/// A sort and its numbers.
struct Run<'a> {
    sort: &'a Sort,
    rows: Shape,
    n: usize,
    /// The input, and the output.
    views: [View<'a>; 2],
}

impl Sort {
    pub fn new(call: &LibraryCall, at: &mut Cursor, words: &mut Words) -> Self {
        let LibraryCall::Sort { dtype, rows, n, indices, input, output } = call else {
            unreachable!("the caller has a sort")
        };
        words.derive(2);
        let (begin, numbers, outer) = (words.len(), at.call(call), rows.len());
        let mut places = (numbers..).map(|place| Some(place as u32));
        let mut push = |number: isize| words.push(number, places.next().expect("there is no last one"));
        rows.iter().chain([n]).for_each(|&n| push(n as isize));
        for arg in [input, output] {
            // The length stands before strides.
            push(arg.len as isize);
            arg.strides.iter().for_each(|&stride| push(stride));
        }
        Self { dtype: *dtype, positions: *indices, at: begin, outer }
    }

    fn on<'a>(&'a self, words: &'a [isize]) -> Run<'a> {
        let rank = self.outer + 1;
        let (extents, args) = words[self.at..].split_at(rank);
        let to = if self.positions { DType::U32 } else { self.dtype };
        let view = |n: usize, dtype: DType| {
            let strides = &args[n * (1 + rank) + 1..][..rank];
            View { strides, itemsize: dtype.itemsize() }
        };
        let mut rows = counts(extents);
        let n = rows.pop().expect("there is an axis that is sorted");
        Run { sort: self, rows, n, views: [view(0, self.dtype), view(1, to)] }
    }

    /// Runs it from one address to the other.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, words: &[isize], [from, to]: [usize; 2], cx: &mut Context<'_>) {
        let run = self.on(words);
        let rows = run.rows.iter().product();
        if rows * run.n == 0 {
            return;
        }
        let [input, output] = run.views;
        let [tasks, each] = [words[self.at - 2], words[self.at - 1]].map(|n| n as usize);
        cx.share(tasks, rows, each, &|rows, room| {
            let mut memory = run.memory(room);
            for row in rows {
                let at = indices(&run.rows, row);
                // SAFETY: passed on; each row is one task's.
                unsafe { run.row(input.at(from, &at), output.at(to, &at), &mut memory) };
            }
        });
    }

    /// The memory that it works in on at most so many threads.
    pub fn settle<S: Settling>(&self, cx: &mut S, threads: usize) -> Need<S::N> {
        let extents = cx.numbers(self.at, self.outer + 1);
        let (elements, n) = (cx.mul_all(&extents), extents[self.outer]);
        let tasks = cx.div(elements, S::count(4096));
        let tasks = cx.at_least(tasks, 1);
        let tasks = cx.at_most(tasks, 8 * threads);
        let [values, keys] = [self.dtype.itemsize(), self.key_size()].map(|size| {
            let nbytes = cx.mul_by(n, size);
            cx.piece(nbytes)
        });
        let each = cx.add(values, keys);
        cx.derive(self.at - 2, tasks);
        cx.derive(self.at - 1, each);
        Need { shared: S::count(0), each, tasks }
    }

    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        let extents = cx.numbers(self.at, self.outer + 1);
        let elements = cx.mul_all(&extents);
        cx.mul_by(elements, 5000)
    }

    /// Bytes of a key.
    fn key_size(&self) -> usize {
        if self.is_narrow() { size_of::<u64>() } else { size_of::<u128>() }
    }

    /// Whether keys are of at most 32 bits.
    fn is_narrow(&self) -> bool {
        self.dtype.itemsize() <= 4
    }

    /// A key of 65 bits.
    fn wide_key(&self, bits: u64) -> u128 {
        match self.dtype {
            DType::C64 => complex_key(bits),
            dtype => key(dtype, bits) as u128,
        }
    }
}

impl Run<'_> {
    /// A row of elements, and one of keys.
    fn memory<'m>(&self, room: &mut Room<'m>) -> [Scratch<'m>; 2] {
        [room.take(self.n, self.sort.dtype), room.take_bytes(self.n.saturating_mul(self.sort.key_size()))]
    }

    /// # Safety
    ///
    /// As for [`run`](Self::run): rows of the input and of the output at these addresses.
    unsafe fn row(&self, from: usize, to: usize, [values, keys]: &mut [Scratch<'_>; 2]) {
        let step = |view: View<'_>| view.strides[self.rows.len()] * view.itemsize as isize;
        let [read_step, write_step] = self.views.map(step);
        with_type!(self.sort.dtype, T => {
            // Read whole before anything is written: the output may be the input's memory.
            let values = values.bytes_mut(0, self.n * size_of::<T>()).of_mut::<T>();
            for (i, value) in values.iter_mut().enumerate() {
                let at = from.wrapping_add_signed(i as isize * read_step) as *const T;
                // SAFETY: an element of the input's row.
                *value = unsafe { at.read() };
            }
            let place = |i: usize, position: u32| {
                let at = to.wrapping_add_signed(i as isize * write_step);
                // SAFETY: an element of the output's row.
                unsafe {
                    match self.sort.positions {
                        true => (at as *mut u32).write(position),
                        false => (at as *mut T).write(values[position as usize]),
                    }
                }
            };
            let bits = values.iter().map(|v| v.bits());
            if self.sort.is_narrow() {
                let keys = keys.bytes_mut(0, self.n * size_of::<u64>()).of_mut::<u64>();
                let numbered = bits.zip(0..).map(|(b, i): (u64, u64)| key(self.sort.dtype, b) << 32 | i);
                keys.iter_mut().zip(numbered).for_each(|(k, numbered)| *k = numbered);
                keys.sort_unstable();
                keys.iter().enumerate().for_each(|(i, &k)| place(i, k as u32));
            } else {
                // SAFETY: as many numbers, for which any bits are valid, in memory that is ours and aligned for them.
                let keys = unsafe { std::slice::from_raw_parts_mut(keys.address() as *mut u128, self.n) };
                let numbered = bits.zip(0..).map(|(b, i): (u64, u128)| self.sort.wide_key(b) << 32 | i);
                keys.iter_mut().zip(numbered).for_each(|(k, numbered)| *k = numbered);
                keys.sort_unstable();
                keys.iter().enumerate().for_each(|(i, &k)| place(i, k as u32));
            }
        })
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
fn complex_key(bits: u64) -> u128 {
    let (re, im) = (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32));
    ((re.is_nan() || im.is_nan()) as u128) << 64 | (float_key(re) << 32 | float_key(im)) as u128
}
