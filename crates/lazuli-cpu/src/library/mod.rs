//! Library calls: what loop nests do not express well.

mod epilogue;
mod matmul;
mod pack;
mod sort;

use crate::kernels::{Function, Kernels};
use crate::nest::{Context, Need};
use lazuli_kernel::{Arg, Binding, DType, Kernel, LibraryCall, Result, Slot};
use std::sync::Arc;

/// A library call made ready.
pub enum Call {
    Matmul(Box<matmul::Matmul>),
    Fused(Box<epilogue::Fused>),
    Sort(sort::Sort),
}

impl Call {
    /// For at most so many threads.
    pub fn new(kernels: &Kernels, call: &LibraryCall, threads: usize) -> Result<Self> {
        Ok(match call {
            LibraryCall::Matmul { .. } => Call::Matmul(Box::new(matmul::Matmul::new(kernels, call, threads)?)),
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                Call::Sort(sort::Sort::new(*dtype, rows, *n, *indices, input, output))
            }
        })
    }

    /// A product with its epilogue.
    pub fn with_epilogue(
        kernels: &Kernels,
        call: &LibraryCall,
        kernel: &Kernel,
        binding: &Binding,
        threads: usize,
    ) -> Result<Self> {
        Ok(Call::Fused(Box::new(epilogue::Fused::new(kernels, call, kernel, binding, threads)?)))
    }

    /// Runs it. `address` gives that of a slot.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self {
                Call::Matmul(matmul) => matmul.run(address, None, cx),
                Call::Fused(fused) => fused.run(address, cx),
                Call::Sort(sort) => sort.run(address, cx),
            }
        }
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        match self {
            Call::Matmul(matmul) => matmul.need(threads),
            Call::Fused(fused) => fused.need(threads),
            Call::Sort(sort) => sort.need(threads),
        }
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        match self {
            Call::Matmul(matmul) => matmul.functions(),
            Call::Fused(fused) => fused.functions(),
            Call::Sort(_) => vec![],
        }
    }
}

/// A strided array of a call: byte offset in its slot, strides in elements.
#[derive(Debug, Clone)]
struct View {
    slot: Slot,
    offset: usize,
    strides: Vec<isize>,
    itemsize: usize,
}

impl View {
    fn new(arg: &Arg, dtype: DType) -> Self {
        let itemsize = dtype.itemsize();
        Self { slot: arg.slot, offset: arg.offset * itemsize, strides: arg.strides.to_vec(), itemsize }
    }
    /// Address of the element at these indices of the first axes, the others 0.
    fn at(&self, base: usize, indices: &[usize]) -> usize {
        let elements: isize = indices.iter().zip(&self.strides).map(|(&i, &s)| i as isize * s).sum();
        base.wrapping_add(self.offset).wrapping_add_signed(elements * self.itemsize as isize)
    }
}

/// The indices of point `number` of a space, in row-major order.
fn indices(extents: &[usize], mut number: usize) -> Vec<usize> {
    let mut at = vec![0; extents.len()];
    for (i, &n) in at.iter_mut().zip(extents).rev() {
        *i = number % n;
        number /= n;
    }
    at
}
