//! Products of real numbers with a vector, or over nothing: reductions.

use super::{SIZES, is_vector};
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Bound, Context, Launch, Need};
use crate::settle::{OnWords, Settling};
use crate::words::{Numbering, Words};
use lazuli_kernel::{
    Accumulator, Arg, BinaryOp, Combine, DType, Emit, Inner, Inst, Kernel, LibraryCall, Nest, Operand, Result, Role,
    Shape, Store, small,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// `c[…, i, j] = Σ a[…, i, k] · b[…, k, j]` as a reduction over k. Products are rounded; sums go in the order of reductions.
pub struct Vector {
    known: Arc<Known>,
    launch: Launch,
}

/// Which of its own matrix axes each argument has along m, n and k.
const AXES: [[Option<usize>; 3]; 3] = [[Some(0), None, Some(1)], [None, Some(1), Some(0)], [Some(0), Some(1), None]];

impl Vector {
    /// Of a call whose numbers begin there in the plan.
    pub fn new(
        kernels: &Kernels,
        call: &LibraryCall,
        numbers: usize,
        threads: usize,
        words: &mut Words,
    ) -> Result<(Self, Need)> {
        let &LibraryCall::Matmul { dtype, ref batch, m, n, k, ref a, ref b, ref c } = call else {
            unreachable!("the caller has a product")
        };
        let (outer, rank) = (batch.len(), batch.len() + SIZES);
        let extents: Shape = small(batch.iter().copied().chain([m, n, k]));
        // Extents are the call's own; lengths and strides are those of its arguments, one after the other.
        let mut listed: Vec<Option<u32>> = (0..rank).map(|n| Some((numbers + n) as u32)).collect();
        listed.extend([None; 3]);
        let mut args = Vec::with_capacity(3);
        for (i, (arg, axes)) in [a, b, c].into_iter().zip(AXES).enumerate() {
            let first = numbers + rank + i * (1 + outer + 2) + 1;
            let own = axes.map(|axis| axis.map(|x| outer + x));
            let axes: SmallVec<[Option<usize>; 8]> = (0..outer).map(Some).chain(own).collect();
            listed.extend(axes.iter().map(|axis| axis.map(|axis| (first + axis) as u32)));
            let strides = small(axes.iter().map(|axis| axis.map_or(0, |axis| arg.strides[axis])));
            args.push(Arg { strides, ..*arg });
        }
        let strides = |arg: usize, axis: usize| args[arg].strides[axis] as i64;
        let numbers: SmallVec<[i64; 8]> = small(extents.iter().map(|&n| n as i64));
        let form = VectorProduct::of(dtype, &mut OnWords(&mut []), &numbers, 1, &mut |_, arg, axis| strides(arg, axis));
        let known = kernels.vector_product(form)?;
        let bound = Bound {
            kernels,
            known: &known,
            kernel: known.kernel(),
            extents: &extents,
            args: &args,
            params: &[],
            numbering: Numbering::listed(&listed),
        };
        let (launch, need) = Launch::new(&bound, threads, false, words)?;
        Ok((Self { known, launch }, need))
    }

    /// As for `Launch::settle`.
    pub fn settle<S: Settling>(&self, cx: &mut S, threads: usize) -> Option<Need<S::N>> {
        let need = self.launch.settle(&self.known, cx, threads)?;
        let at = self.launch.at(&self.known.form)?;
        VectorProduct::is_of(&self.known, cx, at).then_some(need)
    }

    /// The extents of (…, m, n, k); none if there are no points.
    fn extents<S: Settling>(&self, cx: &mut S) -> SmallVec<[S::N; 8]> {
        let form = &self.known.form;
        self.launch.at(form).map_or_else(SmallVec::new, |at| cx.numbers(at, form.rank))
    }
    /// Columns of the result, if it has points.
    pub fn columns<S: Settling>(&self, cx: &mut S) -> S::N {
        self.extents(cx).iter().rev().nth(1).copied().unwrap_or(S::count(0))
    }
    pub fn result_bytes<S: Settling>(&self, cx: &mut S) -> S::N {
        // All axes but the reduced one, unless there are no points.
        match self.extents(cx).split_last() {
            Some((_, kept)) => {
                let elements = cx.mul_all(kept);
                cx.mul_by(elements, self.known.kernel().operands[0].dtype.itemsize())
            }
            None => S::count(0),
        }
    }
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        self.launch.cost(&self.known, cx)
    }
    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.launch.functions(&self.known)
    }

    /// Runs it on a, b and c at these addresses.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, words: &[isize], bases: &[usize; 3], cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe { self.launch.run(&self.known, words, bases, cx) }
    }
}

/// What the kernel of a product with a vector depends on: axes with those of the batch, and the strides of a, b and c along the axis of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VectorProduct {
    dtype: DType,
    rank: u32,
    vector_axis: u32,
    inner: [Inner; 3],
}

impl VectorProduct {
    /// That over these extents of loop axes (…, m, n, k), for strides of a, b and c along them, where neighbours lie so far apart.
    fn of<S: Settling>(
        dtype: DType,
        cx: &mut S,
        extents: &[S::N],
        unit: usize,
        stride: &mut dyn FnMut(&mut S, usize, usize) -> S::N,
    ) -> Self {
        let mut is_unit = |cx: &mut S, arg: usize, axis: usize| {
            let stride = stride(cx, arg, axis);
            (cx.equal(stride, S::count(unit)), stride)
        };
        // Along whichever axis b (for a column: a) is contiguous; a product of a row and a column has but one.
        let (reduced, kept) = (extents.len() - 1, extents.len() - 2);
        let along_kept = cx.is_many(extents[kept]) && is_unit(cx, 1, kept).0 && !is_unit(cx, 1, reduced).0;
        let vector_axis = if along_kept { kept } else { reduced };
        let inner = [0, 1, 2].map(|arg| match is_unit(cx, arg, vector_axis) {
            (true, _) => Inner::Unit,
            (false, stride) if cx.is(stride, 0) => Inner::Broadcast,
            _ => Inner::Strided,
        });
        VectorProduct { dtype, rank: extents.len() as u32, vector_axis: vector_axis as u32, inner }
    }
    /// Whether this is what is known of the kernel for a launch whose numbers begin there.
    fn is_of<S: Settling>(known: &Known, cx: &mut S, at: usize) -> bool {
        let (kernel, form) = (known.kernel(), &known.form);
        let (extents, dtype) = (cx.numbers(at, form.rank), kernel.operands[0].dtype);
        let sizes = extents.last_chunk::<SIZES>().expect("a product has three sizes");
        if !is_vector(dtype, cx, *sizes) {
            return false;
        }
        let mut stride = |cx: &mut S, arg: usize, axis: usize| cx.number(form.row(at, arg) + axis);
        let now = Self::of(dtype, cx, &extents, dtype.itemsize(), &mut stride);
        let own = |arg: usize| kernel.operands[arg].inner;
        (now.vector_axis, now.inner) == (kernel.vector_axis, [0, 1, 2].map(own))
    }

    /// A reduction over the last of the loop axes (…, m, n, k), with a, b and c as its operands.
    pub fn kernel(&self) -> Kernel {
        let Self { dtype, rank, vector_axis, inner: [a, b, c] } = *self;
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let mut e = Emit::new();
        let mut factor = |inner| {
            let operand = e.operand(Operand { dtype, role: Role::In, inner });
            let value = e.push(Inst::Load(operand));
            e.cast(wide, value)
        };
        let (x, y) = (factor(a), factor(b));
        let value = e.binary(BinaryOp::Mul, x, y);
        let accumulators = vec![Accumulator { combine: Combine::Sum, value }];
        let target = e.operand(Operand { dtype, role: Role::Out, inner: c });
        let begin = e.begin_epilogue(&accumulators);
        let sum = e.push(Inst::Reduced(0));
        let rounded = e.cast(dtype, sum);
        let epilogue = e.insts.split_off(begin);
        let stores = vec![Store { operand: target, value: rounded }];
        Kernel {
            rank,
            vector_axis,
            params: vec![],
            operands: e.operands,
            body: e.insts,
            nest: Nest::Reduce { axes: 1, accumulators, epilogue, stores },
        }
    }
}
