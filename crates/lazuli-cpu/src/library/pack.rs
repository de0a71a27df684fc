//! Operands of matrix products as the innermost loops read them: real numbers of the type that is multiplied, rows of a tile side by side,
//! columns of a panel side by side.
//!
//! A complex matrix counts as a real one with twice the columns, real and imaginary parts in turn, as it lies in memory; on the right each number
//! becomes the 2×2 matrix that multiplies by it.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// An element as it lies in memory.
pub trait Number: Copy + Send + Sync + 'static {
    /// What is multiplied and summed.
    type Wide: Copy + Send + Sync + 'static;
    /// Real numbers that it is made of: 1 or 2.
    const PARTS: usize;
    /// Whether it lies in memory as numbers of type `Wide`.
    const SAME: bool;
    const ZERO: Self::Wide;
    /// The numbers that these are made of.
    fn parts(from: &[Self], to: &mut [Self::Wide]);
    /// Entry of the matrix that multiplies by it from the right.
    fn entry(self, row: usize, column: usize) -> Self::Wide;
    /// Stores sums as the elements from `first` (in real numbers) on.
    ///
    /// # Safety
    ///
    /// They lie within memory that is the caller's.
    unsafe fn put(sums: &[Self::Wide], first: usize, to: usize);
}

macro_rules! numbers {
    ($($t:ty, $wide:ty, $same:literal, $widen:expr, $widen_all:expr, $narrow_all:expr;)*) => { $(
        impl Number for $t {
            type Wide = $wide;
            const PARTS: usize = 1;
            const SAME: bool = $same;
            const ZERO: $wide = 0.0;
            #[inline(always)]
            fn parts(from: &[$t], to: &mut [$wide]) { $widen_all(from, to) }
            #[inline(always)]
            fn entry(self, _: usize, _: usize) -> $wide { $widen(self) }
            unsafe fn put(sums: &[$wide], first: usize, to: usize) {
                // SAFETY: the caller's.
                $narrow_all(sums, unsafe { std::slice::from_raw_parts_mut((to as *mut $t).add(first), sums.len()) });
            }
        }
    )* };
}
numbers! {
    f64, f64, true, std::convert::identity, copy, copy;
    f32, f32, true, std::convert::identity, copy, copy;
    f16, f32, false, f16::to_f32, <[f16]>::convert_to_f32_slice, |from, to: &mut [f16]| to.convert_from_f32_slice(from);
    bf16, f32, false, bf16::to_f32, <[bf16]>::convert_to_f32_slice, |from, to: &mut [bf16]| to.convert_from_f32_slice(from);
}

/// By arrays of eight, which takes a few instructions where a call of `memcpy` would take longer than the copy.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    let (mut from, mut to) = (from.chunks_exact(8), to.chunks_exact_mut(8));
    for (to, from) in (&mut to).zip(&mut from) {
        let eight: [T; 8] = std::array::from_fn(|i| from[i]);
        to.copy_from_slice(&eight);
    }
    to.into_remainder().iter_mut().zip(from.remainder()).for_each(|(to, &from)| *to = from);
}

/// Real and imaginary part.
impl Number for [f32; 2] {
    type Wide = f32;
    const PARTS: usize = 2;
    const SAME: bool = true;
    const ZERO: f32 = 0.0;
    fn parts(from: &[Self], to: &mut [f32]) {
        copy(from.as_flattened(), to);
    }
    #[inline(always)]
    fn entry(self, row: usize, column: usize) -> f32 {
        match (row, column) {
            (0, _) => self[column],
            (_, 0) => -self[1],
            _ => self[0],
        }
    }
    unsafe fn put(sums: &[f32], first: usize, to: usize) {
        // SAFETY: the caller's.
        unsafe { f32::put(sums, first, to) }
    }
}

/// A matrix in memory: address, strides of rows and columns in elements.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    pub address: usize,
    pub row: isize,
    pub column: isize,
}

impl Matrix {
    #[inline(always)]
    fn at<T>(self, i: usize, j: usize) -> *const T {
        let elements = i as isize * self.row + j as isize * self.column;
        self.address.wrapping_add_signed(elements * size_of::<T>() as isize) as *const T
    }
}

/// Calls `each(i, j)` for all below (m, n), such that memory is walked along the shorter of two strides.
#[inline(always)]
fn walk(m: usize, n: usize, inner_is_second: bool, mut each: impl FnMut(usize, usize)) {
    if inner_is_second {
        (0..m).for_each(|i| (0..n).for_each(|j| each(i, j)));
    } else {
        (0..n).for_each(|j| (0..m).for_each(|i| each(i, j)));
    }
}

/// Packs rows of a over the steps of k from `first` on, row by row, `pitch` apart: as many as `to` holds. The pitch spreads over the cache's sets what a
/// stride of a power of 2 would heap up.
///
/// # Safety
///
/// The elements can be read.
pub unsafe fn rows<T: Number>(a: Matrix, row: usize, first: usize, steps: usize, pitch: usize, to: &mut [T::Wide]) {
    let parts = T::PARTS;
    for (i, to) in to.chunks_exact_mut(pitch).enumerate() {
        let from = a.at::<T>(row + i, first / parts);
        // SAFETY: the caller's.
        unsafe {
            if a.column == 1 {
                T::parts(std::slice::from_raw_parts(from, steps / parts), &mut to[..steps]);
            } else {
                let elements = (0..).map(|k| from.offset(k * a.column).read());
                to[..steps].chunks_exact_mut(parts).zip(elements).for_each(|(to, element)| T::parts(&[element], to));
            }
        }
    }
}

/// Packs the rows of a tile over the steps of k from `first` on, the rows' numbers of one step side by side: as many as `to` holds. For real numbers that lie so that
/// rows are neighbours.
///
/// # Safety
///
/// The elements can be read.
pub unsafe fn steps<T: Number>(a: Matrix, rows: Range<usize>, first: usize, to: &mut [T::Wide]) {
    for (k, to) in to.chunks_exact_mut(rows.len()).enumerate() {
        // SAFETY: the caller's.
        T::parts(unsafe { std::slice::from_raw_parts(a.at::<T>(rows.start, first + k), rows.len()) }, to);
    }
}

/// Side of the squares that are turned in registers.
const SQUARE: usize = 8;

/// Transposes a square of real numbers: from columns `pitch` elements apart to rows `width` numbers apart.
///
/// # Safety
///
/// The elements can be read.
#[inline(always)]
unsafe fn turn<T: Number>(from: *const T, pitch: isize, width: usize, to: &mut [T::Wide]) {
    let to = &mut to[..(SQUARE - 1) * width + SQUARE];
    #[cfg(target_arch = "x86_64")]
    if T::SAME && size_of::<T>() == 4 {
        // SAFETY: numbers of 32 bits as they lie in memory, eight of each column; generated code of this backend needs AVX2 already.
        return unsafe { turn_words(from.cast(), pitch, width, to.as_mut_ptr().cast()) };
    }
    for j in 0..SQUARE {
        for k in 0..SQUARE {
            // SAFETY: the caller's.
            to[k * width + j] = unsafe { from.offset(j as isize * pitch).add(k).read() }.entry(0, 0);
        }
    }
}

/// The same for numbers of 32 bits.
///
/// # Safety
///
/// The processor has AVX2; eight numbers can be read from each of eight columns, and written to each of eight rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn turn_words(from: *const f32, pitch: isize, width: usize, to: *mut f32) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's.
    let column = |j: isize| unsafe { _mm256_loadu_ps(from.offset(j * pitch)) };
    let pairs = |a, b| [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)];
    let fours = |a, b| [_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b)];
    // Of four columns: rows 0, 1, 2, 3 in the lower half, 4 more in the upper.
    let half = |j: isize| {
        let [a, b] = pairs(column(j), column(j + 1));
        let [c, d] = pairs(column(j + 2), column(j + 3));
        let ([p, q], [r, s]) = (fours(a, c), fours(b, d));
        [p, q, r, s]
    };
    let (left, right) = (half(0), half(4));
    for k in 0..4 {
        let low = _mm256_permute2f128_ps::<0x20>(left[k], right[k]);
        let high = _mm256_permute2f128_ps::<0x31>(left[k], right[k]);
        // SAFETY: the caller's.
        unsafe {
            _mm256_storeu_ps(to.add(k * width), low);
            _mm256_storeu_ps(to.add((k + 4) * width), high);
        }
    }
}

/// Packs `columns` of b over the steps of k from `first` on: as many as `to` holds, the columns' numbers of one step side by side, zeros after them up to
/// `width`.
///
/// # Safety
///
/// The elements can be read.
pub unsafe fn columns<T: Number>(b: Matrix, first: usize, columns: Range<usize>, width: usize, to: &mut [T::Wide]) {
    let parts = T::PARTS;
    let steps = to.len() / width;
    let n = columns.len();
    if n < width {
        to.chunks_exact_mut(width).for_each(|to| to[n..].fill(T::ZERO));
    }
    if b.column == 1 && parts == 1 {
        for (k, to) in to.chunks_exact_mut(width).enumerate() {
            // SAFETY: the caller's.
            T::parts(unsafe { std::slice::from_raw_parts(b.at::<T>(first + k, columns.start), n) }, &mut to[..n]);
        }
        return;
    }
    if b.row == 1 && parts == 1 {
        // Steps are neighbours in memory: squares of them are turned, then the rest goes one by one.
        let square = |m: usize| m - m % SQUARE;
        let (whole_steps, whole_columns) = (square(steps), square(n));
        for j in (0..whole_columns).step_by(SQUARE) {
            for k in (0..whole_steps).step_by(SQUARE) {
                // SAFETY: the caller's.
                unsafe { turn::<T>(b.at(first + k, columns.start + j), b.column, width, &mut to[k * width + j..]) };
            }
        }
        for j in 0..n {
            let from = if j < whole_columns { whole_steps } else { 0 };
            for k in from..steps {
                // SAFETY: the caller's.
                to[k * width + j] = unsafe { b.at::<T>(first + k, columns.start + j).read() }.entry(0, 0);
            }
        }
        return;
    }
    walk(steps, n, b.column.abs() <= b.row.abs(), |k, j| {
        let (k_of_b, j_of_b) = (first + k, columns.start + j);
        // SAFETY: the caller's.
        let element = unsafe { b.at::<T>(k_of_b / parts, j_of_b / parts).read() };
        to[k * width + j] = element.entry(k_of_b % parts, j_of_b % parts);
    });
}
