//! Library calls: what loop nests do not express well.

mod epilogue;
mod matmul;
mod pack;
mod sort;

pub use matmul::VectorProduct;

use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Context, Need};
use crate::tile::Words;
use lazuli_kernel::{Arg, Binding, DType, LibraryCall, Result, Shape, Slot};
use std::sync::Arc;

/// A library call made ready.
pub struct Call {
    work: Work,
    need: Need,
}

enum Work {
    Matmul(matmul::Matmul),
    Fused(epilogue::Fused),
    Sort,
}

impl Call {
    /// For at most so many threads.
    pub fn new(kernels: &Kernels, call: &LibraryCall, threads: usize, words: &mut Words) -> Result<Self> {
        let (work, need) = match call {
            LibraryCall::Matmul { .. } => {
                let matmul = matmul::Matmul::new(kernels, call, threads, words)?;
                let need = matmul.need(call, threads);
                (Work::Matmul(matmul), need)
            }
            LibraryCall::Sort { .. } => (Work::Sort, sort::Sort::of(call).need(threads)),
        };
        Ok(Self { work, need })
    }

    /// A product with its epilogue.
    pub fn with_epilogue(
        kernels: &Kernels,
        call: &LibraryCall,
        known: Arc<Known>,
        binding: &Binding,
        threads: usize,
        words: &mut Words,
    ) -> Result<Self> {
        let fused = epilogue::Fused::new(kernels, call, known, binding, threads, words)?;
        let need = fused.need(call, threads);
        Ok(Self { work: Work::Fused(fused), need })
    }

    /// Runs it, which was made of this call. `epilogue`: what its epilogue runs on, if it has one. `address` gives that of a slot.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(
        &self,
        call: &LibraryCall,
        epilogue: Option<&Binding>,
        words: &[isize],
        address: &dyn Fn(Slot) -> usize,
        cx: &mut Context<'_>,
    ) {
        let each = self.need.each;
        // SAFETY: passed on.
        unsafe {
            match &self.work {
                Work::Matmul(matmul) => matmul.run(call, words, address, None, each, cx),
                Work::Fused(fused) => {
                    let binding = epilogue.expect("its step has an epilogue");
                    fused.run(call, binding, words, address, each, cx)
                }
                Work::Sort => sort::Sort::of(call).run(address, each, cx),
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
            Work::Sort => vec![],
        }
    }
}

/// A strided array of a call: byte offset in its slot, strides in elements.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    slot: Slot,
    offset: usize,
    strides: &'a [isize],
    itemsize: usize,
}

impl<'a> View<'a> {
    fn new(arg: &'a Arg, dtype: DType) -> Self {
        let itemsize = dtype.itemsize();
        Self { slot: arg.slot, offset: arg.offset * itemsize, strides: &arg.strides, itemsize }
    }
    /// Address of the element at these indices of the first axes, the others 0.
    fn at(&self, base: usize, indices: &[usize]) -> usize {
        let elements: isize = indices.iter().zip(self.strides).map(|(&i, &s)| i as isize * s).sum();
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
