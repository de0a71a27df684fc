//! Library calls: what loop nests do not express well.

mod epilogue;
mod matmul;
mod pack;
mod sort;

pub use matmul::VectorProduct;

use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Context, Need};
use lazuli_kernel::{Arg, Binding, DType, LibraryCall, Result, Shape, Slot, Strides};
use std::sync::Arc;

/// A library call made ready.
pub struct Call {
    work: Work,
    need: Need,
}

enum Work {
    Matmul(Box<matmul::Matmul>),
    Fused(Box<epilogue::Fused>),
    Sort(sort::Sort),
}

impl Call {
    /// For at most so many threads.
    pub fn new(kernels: &Kernels, call: &LibraryCall, threads: usize) -> Result<Self> {
        let work = match call {
            LibraryCall::Matmul { .. } => Work::Matmul(Box::new(matmul::Matmul::new(kernels, call, threads)?)),
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                Work::Sort(sort::Sort::new(*dtype, rows, *n, *indices, input, output))
            }
        };
        Ok(Self::of(work, threads))
    }

    /// A product with its epilogue.
    pub fn with_epilogue(
        kernels: &Kernels,
        call: &LibraryCall,
        known: &Known,
        binding: &Binding,
        threads: usize,
    ) -> Result<Self> {
        let fused = epilogue::Fused::new(kernels, call, known, binding, threads)?;
        Ok(Self::of(Work::Fused(fused), threads))
    }

    fn of(work: Work, threads: usize) -> Self {
        let need = match &work {
            Work::Matmul(matmul) => matmul.need(threads),
            Work::Fused(fused) => fused.need(threads),
            Work::Sort(sort) => sort.need(threads),
        };
        Self { work, need }
    }

    /// Runs it. `address` gives that of a slot.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, cx: &mut Context<'_>) {
        let each = self.need.each;
        // SAFETY: passed on.
        unsafe {
            match &self.work {
                Work::Matmul(matmul) => matmul.run(address, None, each, cx),
                Work::Fused(fused) => fused.run(address, each, cx),
                Work::Sort(sort) => sort.run(address, each, cx),
            }
        }
    }

    /// The memory that it works in.
    pub fn need(&self) -> Need {
        self.need
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        match &self.work {
            Work::Matmul(matmul) => matmul.functions(),
            Work::Fused(fused) => fused.functions(),
            Work::Sort(_) => vec![],
        }
    }
}

/// A strided array of a call: byte offset in its slot, strides in elements.
#[derive(Debug, Clone)]
struct View {
    slot: Slot,
    offset: usize,
    strides: Strides,
    itemsize: usize,
}

impl View {
    fn new(arg: &Arg, dtype: DType) -> Self {
        let itemsize = dtype.itemsize();
        Self { slot: arg.slot, offset: arg.offset * itemsize, strides: Strides::from_slice(&arg.strides), itemsize }
    }
    /// Address of the element at these indices of the first axes, the others 0.
    fn at(&self, base: usize, indices: &[usize]) -> usize {
        let elements: isize = indices.iter().zip(&self.strides).map(|(&i, &s)| i as isize * s).sum();
        base.wrapping_add(self.offset).wrapping_add_signed(elements * self.itemsize as isize)
    }
}

/// The indices of point `number` of a space, in row-major order.
fn indices(extents: &[usize], mut number: usize) -> Shape {
    let mut at = Shape::from_elem(0, extents.len());
    for (i, &n) in at.iter_mut().zip(extents).rev() {
        *i = number % n;
        number /= n;
    }
    at
}
