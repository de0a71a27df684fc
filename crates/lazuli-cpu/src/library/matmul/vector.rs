//! Products of real numbers with a vector, or over nothing: reductions.

use super::{SIZES, is_vector};
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Bound, Context, Launch, Need};
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
        let form = VectorProduct::of(dtype, &extents, |arg, axis| args[arg].strides[axis]);
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
    pub fn settle(&self, words: &mut [isize], threads: usize) -> Option<Need> {
        let need = self.launch.settle(&self.known, words, threads)?;
        VectorProduct::is_of(&self.known, self.launch.numbers(&self.known, words)).then_some(need)
    }

    /// Columns of the result, if it has points.
    pub fn columns(&self, words: &[isize]) -> usize {
        let (extents, _) = self.launch.numbers(&self.known, words);
        extents.iter().rev().nth(1).copied().unwrap_or(0)
    }
    pub fn result_bytes(&self, words: &[isize]) -> usize {
        // All axes but the reduced one, unless there are no points.
        let (extents, _) = self.launch.numbers(&self.known, words);
        let elements = extents.split_last().map_or(0, |(_, kept)| kept.iter().product::<usize>());
        elements * self.known.kernel().operands[0].dtype.itemsize()
    }
    pub fn cost(&self, words: &[isize]) -> usize {
        self.launch.cost(&self.known, words)
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
    /// That over these extents of loop axes (…, m, n, k), for strides of a, b and c along them.
    fn of(dtype: DType, extents: &[usize], stride: impl Fn(usize, usize) -> isize) -> Self {
        // Along whichever axis b (for a column: a) is contiguous; a product of a row and a column has but one.
        let (reduced, kept) = (extents.len() - 1, extents.len() - 2);
        let along_kept = extents[kept] > 1 && stride(1, kept) == 1 && stride(1, reduced) != 1;
        let vector_axis = if along_kept { kept } else { reduced };
        let inner = [0, 1, 2].map(|arg| match stride(arg, vector_axis) {
            0 => Inner::Broadcast,
            1 => Inner::Unit,
            _ => Inner::Strided,
        });
        VectorProduct { dtype, rank: extents.len() as u32, vector_axis: vector_axis as u32, inner }
    }
    /// Whether this is what is known of the kernel for a launch of these extents, and with these strides in bytes.
    fn is_of(known: &Known, (extents, rows): (Shape, &[isize])) -> bool {
        let (kernel, rank) = (known.kernel(), extents.len());
        if rank < SIZES {
            return false;
        }
        let dtype = kernel.operands[0].dtype;
        let is_product = is_vector(dtype, [extents[rank - 3], extents[rank - 2], extents[rank - 1]]);
        let form = Self::of(dtype, &extents, |arg, axis| {
            // Of the same class as strides in elements.
            match rows[arg * (rank + 1) + axis] {
                stride if stride == dtype.itemsize() as isize => 1,
                0 => 0,
                _ => 2,
            }
        });
        let own = |arg: usize| kernel.operands[arg].inner;
        is_product && (form.vector_axis, form.inner) == (kernel.vector_axis, [0, 1, 2].map(own))
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
