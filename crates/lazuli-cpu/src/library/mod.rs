//! Library calls: what loop nests do not express well.

mod epilogue;
mod matmul;
mod pack;
mod sort;

pub use matmul::VectorProduct;

use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::Context;
use crate::settle::{OnWords, Settling};
use crate::words::{Cursor, Words};
use lazuli_kernel::{Binding, LibraryCall, Result, Shape};
use std::sync::Arc;

/// A library call made ready.
pub struct Call {
    work: Work,
    /// Bytes that it works in.
    need: usize,
}

enum Work {
    Matmul(matmul::Matmul),
    Fused(Box<epilogue::Fused>),
    Sort(sort::Sort),
}

impl Call {
    /// For at most so many threads.
    pub fn new(
        kernels: &Kernels,
        call: &LibraryCall,
        threads: usize,
        at: &mut Cursor,
        words: &mut Words,
    ) -> Result<Self> {
        let (work, need) = match call {
            LibraryCall::Matmul { .. } => {
                let (matmul, need) = matmul::Matmul::new(kernels, call, false, threads, at, words)?;
                (Work::Matmul(matmul), need)
            }
            LibraryCall::Sort { .. } => {
                let sort = sort::Sort::new(call, at, words);
                let need = sort.settle(&mut OnWords(words), threads).into();
                (Work::Sort(sort), need)
            }
        };
        Ok(Self { work, need: need.on(threads) })
    }

    /// A product with its epilogue.
    pub fn with_epilogue(
        kernels: &Kernels,
        call: &LibraryCall,
        known: Arc<Known>,
        binding: &Binding,
        threads: usize,
        at: &mut Cursor,
        words: &mut Words,
    ) -> Result<Self> {
        let (fused, need) = epilogue::Fused::new(kernels, call, known, binding, threads, at, words)?;
        Ok(Self { work: Work::Fused(Box::new(fused)), need: need.on(threads) })
    }

    /// As for `Launch::settle`: how many bytes it then works in.
    pub fn settle<S: Settling>(&self, kernels: &Kernels, cx: &mut S, threads: usize) -> Option<S::N> {
        let need = match &self.work {
            Work::Matmul(matmul) => matmul.settle(kernels, false, cx, threads)?,
            Work::Fused(fused) => fused.settle(kernels, cx, threads)?,
            Work::Sort(sort) => sort.settle(cx, threads),
        };
        Some(need.settle(cx, threads))
    }

    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        match &self.work {
            Work::Matmul(matmul) => matmul.cost(cx),
            Work::Fused(fused) => fused.cost(cx),
            Work::Sort(sort) => sort.cost(cx),
        }
    }

    /// Runs it on the arguments of the call and of its epilogue, if it has one, at these addresses.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match &self.work {
                Work::Matmul(matmul) => matmul.run(words, own(bases), None, cx),
                Work::Fused(fused) => fused.run(words, bases, cx),
                Work::Sort(sort) => sort.run(words, own(bases), cx),
            }
        }
    }

    /// Bytes that it works in, on so many threads as it was made for.
    pub fn need(&self) -> usize {
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

/// The addresses of a call's own arguments, of which there are so many.
fn own<const N: usize>(bases: &[usize]) -> [usize; N] {
    bases.try_into().expect("each argument has an address")
}

/// A strided array of a call, strides in elements.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    strides: &'a [isize],
    itemsize: usize,
}

impl View<'_> {
    /// Address of the element at these indices of the first axes, the others 0.
    fn at(&self, base: usize, indices: &[usize]) -> usize {
        let elements: isize = indices.iter().zip(self.strides).map(|(&i, &s)| i as isize * s).sum();
        base.wrapping_add_signed(elements * self.itemsize as isize)
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
