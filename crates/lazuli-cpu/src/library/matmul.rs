//! Matrix products, by the `gemm` crate, called single-threaded on panels from our own pool.
//!
//! The bits of a product depend on (m, n, k, dtype) alone. Panels are cut by those; operands whose matrices are neither row- nor
//! column-contiguous are copied first; and a product with m = 1 or n = 1, for which `gemm` picks its order of summation by layout, is a
//! reduction of our own, whose order is fixed. f16 and bf16 are widened to f32 and rounded once at the end.

use super::{View, indices};
use crate::kernels::{Function, Kernels};
use crate::nest::{Context, Launch};
use half::{bf16, f16};
use lazuli_kernel::{
    Accumulator, Arg, BinaryOp, Combine, DType, Emit, Inner, Inst, Kernel, Nest, Operand, Result, Role, Slot, Store,
};
use std::sync::Arc;

/// Work that is worth a panel of its own, in multiplications.
const PANEL: usize = 1 << 21;
/// Rows of the panels of large products.
const ROWS: usize = 256;

pub enum Matmul {
    /// With a vector, or over nothing.
    Vector(Launch),
    Matrix(Product),
}

pub struct Product {
    dtype: DType,
    batch: Vec<usize>,
    m: usize,
    n: usize,
    k: usize,
    a: View,
    b: View,
    c: View,
}

impl Matmul {
    pub fn new(
        kernels: &Kernels,
        dtype: DType,
        batch: &[usize],
        [m, n, k]: [usize; 3],
        [a, b, c]: [&Arg; 3],
    ) -> Result<Self> {
        if m == 1 || n == 1 || k == 0 {
            return Ok(Matmul::Vector(reduction(kernels, dtype, batch, [m, n, k], [a, b, c])?));
        }
        let view = |arg| View::new(arg, dtype);
        Ok(Matmul::Matrix(Product { dtype, batch: batch.to_vec(), m, n, k, a: view(a), b: view(b), c: view(c) }))
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        match self {
            Matmul::Vector(launch) => launch.functions(),
            Matmul::Matrix(_) => vec![],
        }
    }

    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, cx: &Context) -> Result<()> {
        // SAFETY: passed on.
        unsafe {
            match self {
                Matmul::Vector(launch) => launch.run(address, cx),
                Matmul::Matrix(product) => match product.dtype {
                    DType::F64 => product.run::<f64>(address, cx),
                    DType::F32 => product.run::<f32>(address, cx),
                    DType::F16 => product.run::<f16>(address, cx),
                    _ => product.run::<bf16>(address, cx),
                },
            }
        }
    }
}

/// `c[…, i, j] = Σ a[…, i, k] · b[…, k, j]` as a reduction over k. Products are rounded; sums go in the order of reductions.
fn reduction(
    kernels: &Kernels,
    dtype: DType,
    batch: &[usize],
    [m, n, k]: [usize; 3],
    [a, b, c]: [&Arg; 3],
) -> Result<Launch> {
    let outer = batch.len();
    let (rank, extents) = (outer as u32 + 3, batch.iter().copied().chain([m, n, k]).collect::<Vec<_>>());
    let strides = |arg: &Arg, axes: [Option<usize>; 3]| -> lazuli_kernel::Strides {
        let own = axes.map(|axis| axis.map_or(0, |x| arg.strides[outer + x]));
        arg.strides[..outer].iter().copied().chain(own).collect()
    };
    let moved = |arg: &Arg, axes| Arg { strides: strides(arg, axes), ..arg.clone() };
    let args =
        [moved(a, [Some(0), None, Some(1)]), moved(b, [None, Some(1), Some(0)]), moved(c, [Some(0), Some(1), None])];
    // Along whichever axis b (for a column: a) is contiguous; a product of a row and a column has but one.
    let (reduced, kept) = (outer + 2, outer + 1);
    let along_kept = n > 1 && args[1].strides[kept] == 1 && args[1].strides[reduced] != 1;
    let vector_axis = if along_kept { kept } else { reduced };
    let inner = |arg: &Arg| match arg.strides[vector_axis] {
        0 => Inner::Broadcast,
        1 => Inner::Unit,
        _ => Inner::Strided,
    };
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut e = Emit::new();
    let operand = |role, arg| Operand { dtype, role, inner: inner(arg) };
    let mut factor = |arg| {
        let operand = e.operand(operand(Role::In, arg));
        let value = e.push(Inst::Load(operand));
        e.cast(wide, value)
    };
    let (x, y) = (factor(&args[0]), factor(&args[1]));
    let value = e.binary(BinaryOp::Mul, x, y);
    let accumulators = vec![Accumulator { combine: Combine::Sum, value }];
    let target = e.operand(operand(Role::Out, &args[2]));
    let begin = e.begin_epilogue(&accumulators);
    let sum = e.push(Inst::Reduced(0));
    let rounded = e.cast(dtype, sum);
    let epilogue = e.insts.split_off(begin);
    let stores = vec![Store { operand: target, value: rounded }];
    let kernel = Kernel {
        rank,
        vector_axis: vector_axis as u32,
        params: vec![],
        operands: e.operands,
        body: e.insts,
        nest: Nest::Reduce { axes: 1, accumulators, epilogue, stores },
    };
    Launch::new(kernels, &kernel, &extents, &args, &[])
}

/// An element as it lies in memory, and the type it is multiplied in.
trait Number: Copy + Send + Sync + 'static {
    type Wide: Copy + Default + Send + Sync + 'static;
    const SAME: bool;
    const ONE: Self::Wide;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! numbers {
    ($($t:ty, $wide:ty, $same:literal, $widen:expr, $narrow:expr;)*) => { $(
        impl Number for $t {
            type Wide = $wide;
            const SAME: bool = $same;
            const ONE: $wide = 1.0;
            fn widen(self) -> $wide { $widen(self) }
            fn narrow(wide: $wide) -> Self { $narrow(wide) }
        }
    )* };
}
numbers! {
    f64, f64, true, std::convert::identity, std::convert::identity;
    f32, f32, true, std::convert::identity, std::convert::identity;
    f16, f32, false, f16::to_f32, f16::from_f32;
    bf16, f32, false, bf16::to_f32, bf16::from_f32;
}

/// A matrix in the type it is multiplied in: address, strides of rows and columns in elements.
#[derive(Clone, Copy)]
struct Matrix {
    address: usize,
    row: isize,
    column: isize,
}

impl Product {
    unsafe fn run<T: Number>(&self, address: &dyn Fn(Slot) -> usize, cx: &Context) -> Result<()> {
        let &Product { m, n, k, .. } = self;
        let matrices: usize = self.batch.iter().product();
        if matrices * m * n == 0 {
            return Ok(());
        }
        let bases = [&self.a, &self.b, &self.c].map(|v| address(v.slot));
        let rows = panel_rows(m, n, k);
        let panels = m.div_ceil(rows);
        // Of each operand, the matrices that must be copied once before (all or none: layouts agree over the batch).
        // SAFETY: passed on.
        let (a_copy, b_copy) = unsafe {
            (self.copies::<T>(&self.a, bases[0], [m, k], cx)?, self.copies::<T>(&self.b, bases[1], [k, n], cx)?)
        };
        let wide_c = if T::SAME { None } else { Some(buffer::<T::Wide>(cx, matrices * m * n)?) };
        cx.pool.run_if(2 * m * n * k * matrices > PANEL, matrices * panels, &|task| {
            let (matrix, panel) = (task / panels, task % panels);
            let at = indices(&self.batch, matrix);
            let first = panel * rows;
            // A last panel of one row would take another way through the library: it goes with the one before.
            let last = if m - (first + rows).min(m) == 1 { m } else { (first + rows).min(m) };
            if last - first == 1 && m > 1 {
                return;
            }
            let pick = |copy: &Option<Copies>, view: &View, base: usize| match copy {
                Some(c) => c.matrix::<T>(&at, &self.batch),
                None => {
                    let axes = self.batch.len();
                    Matrix { address: view.at(base, &at), row: view.strides[axes], column: view.strides[axes + 1] }
                }
            };
            let (a, b) = (pick(&a_copy, &self.a, bases[0]), pick(&b_copy, &self.b, bases[1]));
            let a = Matrix { address: offset::<T::Wide>(a.address, first as isize * a.row), ..a };
            let c = self.c.at(bases[2], &at);
            let into = match &wide_c {
                None => c,
                Some(w) => w.pointer() as usize + matrix * m * n * size_of::<T::Wide>(),
            };
            let into = offset::<T::Wide>(into, (first * n) as isize);
            // SAFETY: the panel's rows of a and c, and b, are valid by the caller's promise (or are our copies); panels of c are disjoint.
            unsafe {
                gemm::gemm(
                    last - first,
                    n,
                    k,
                    into as *mut T::Wide,
                    1,
                    n as isize,
                    false,
                    a.address as *const T::Wide,
                    a.column,
                    a.row,
                    b.address as *const T::Wide,
                    b.column,
                    b.row,
                    T::Wide::default(),
                    T::ONE,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
            if !T::SAME {
                let to = offset::<T>(c, (first * n) as isize) as *mut T;
                for i in 0..(last - first) * n {
                    // SAFETY: the same panel, just computed, and its place in c.
                    unsafe { to.add(i).write(T::narrow((into as *const T::Wide).add(i).read())) };
                }
            }
        });
        Ok(())
    }

    /// Row-contiguous copies of an operand's matrices in the type they are multiplied in, if it needs them.
    unsafe fn copies<T: Number>(
        &self,
        view: &View,
        base: usize,
        [rows, columns]: [usize; 2],
        cx: &Context,
    ) -> Result<Option<Copies>> {
        let axes = self.batch.len();
        let (row, column) = (view.strides[axes], view.strides[axes + 1]);
        let is_plain = |outer: isize, inner: isize, n: usize| inner == 1 && outer >= n as isize;
        if T::SAME && (is_plain(row, column, columns) || is_plain(column, row, rows)) {
            return Ok(None);
        }
        // Axes of the batch that the operand is broadcast along share their copies.
        let extents: Vec<usize> =
            self.batch.iter().zip(&view.strides).map(|(&n, &s)| if s == 0 { 1 } else { n }).collect();
        let matrices: usize = extents.iter().product();
        let memory = buffer::<T::Wide>(cx, matrices * rows * columns)?;
        let to = memory.pointer() as usize;
        let share = (1 << 16) / columns.max(1) + 1;
        let parts = rows.div_ceil(share);
        cx.pool.run_if(matrices * rows * columns > 1 << 16, matrices * parts, &|task| {
            let (matrix, part) = (task / parts, task % parts);
            let from = view.at(base, &indices(&extents, matrix));
            for i in part * share..((part + 1) * share).min(rows) {
                for j in 0..columns {
                    let source = offset::<T>(from, i as isize * row + j as isize * column) as *const T;
                    let target = offset::<T::Wide>(to, ((matrix * rows + i) * columns + j) as isize) as *mut T::Wide;
                    // SAFETY: an element of the operand, by the caller's promise, and its place in our copy.
                    unsafe { target.write(source.read().widen()) };
                }
            }
        });
        Ok(Some(Copies { memory, extents, rows, columns }))
    }
}

struct Copies {
    memory: crate::memory::CpuMemory,
    /// Of the batch, 1 where broadcast.
    extents: Vec<usize>,
    rows: usize,
    columns: usize,
}

impl Copies {
    fn matrix<T: Number>(&self, at: &[usize], batch: &[usize]) -> Matrix {
        debug_assert_eq!(at.len(), batch.len());
        let number = at.iter().zip(&self.extents).fold(0, |n, (&i, &extent)| n * extent + i.min(extent - 1));
        let elements = (number * self.rows * self.columns) as isize;
        let address = offset::<T::Wide>(self.memory.pointer() as usize, elements);
        Matrix { address, row: self.columns as isize, column: 1 }
    }
}

fn offset<T>(address: usize, elements: isize) -> usize {
    address.wrapping_add_signed(elements * size_of::<T>() as isize)
}

fn buffer<T>(cx: &Context, n: usize) -> Result<crate::memory::CpuMemory> {
    cx.allocator.allocate(n * size_of::<T>())
}

/// Rows of a panel, by the product's shape alone: enough to be worth a task, and in large products enough to make up for
/// packing b anew.
fn panel_rows(m: usize, n: usize, k: usize) -> usize {
    let worth = PANEL.div_ceil(n * k).max(ROWS.min(m.div_ceil(2)));
    worth.next_multiple_of(16).min(m)
}

#[cfg(test)]
mod tests {
    use super::panel_rows;

    #[test]
    fn panels_have_more_than_one_row() {
        for m in 2..600 {
            for (n, k) in [(2, 1), (10, 256), (256, 784), (4096, 4096)] {
                let rows = panel_rows(m, n, k);
                assert!((2..=m).contains(&rows), "{m} {n} {k}: {rows}");
            }
        }
    }
}
