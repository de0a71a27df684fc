//! Proofs about steps that hand on a result to an epilogue.

use super::super::uses::Uses;
use super::{Accesses, as_wholes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Kernel, Nest, Role};
use crate::plan::{Arg, Binding, LibraryCall, Pass, Plan, Scatter, Slot};
use crate::shape::{self, Shape, Strides};
use crate::small::small;

impl Plan {
    /// Adds what a product touches whose elements go through a map. What that writes is nothing that the product reads, and no element of what it reads itself but at the
    /// same points: other tiles are still to come.
    pub(super) fn product_accesses(
        &self,
        call: &LibraryCall,
        kernel: &Kernel,
        uses: &Uses,
        binding: &Binding,
        out: &mut Accesses,
    ) -> Result<()> {
        let wrong = |message: &str| Err(Error::internal("verify", message));
        let LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } = call else {
            return wrong("only a product has an epilogue");
        };
        if !dtype.is_inexact() {
            return wrong("matmul is for floats and complex numbers");
        }
        let Nest::Map { .. } = kernel.nest else { return wrong("an epilogue is a map") };
        let result: Shape = small(batch.iter().copied().chain([*m, *n]));
        let points: Shape = small(result.iter().copied().filter(|&n| n != 1));
        if binding.extents != points {
            return wrong("the loop axes of the epilogue are not those of the product");
        }
        let contiguous = shape::row_strides(&result);
        let lies_well = result.iter().zip(&c.strides).zip(&contiguous).all(|((&n, s), row)| n <= 1 || s == row);
        if c.slot != Slot::Result || c.offset != 0 || c.strides.len() != result.len() || !lies_well {
            return wrong("the result of the product is not where its epilogue expects it");
        }
        self.factors(*dtype, batch, [*m, *n, *k], [a, b], out)?;
        as_wholes(out);
        self.binding_accesses(kernel, uses, binding, true, out)?;
        // Complex numbers are read as their parts.
        let (parts, part) = if dtype.is_complex() { (2, DType::F32) } else { (1, *dtype) };
        let Some(row) = row_strides(&points, *dtype) else { return wrong("the result of the product is too large") };
        let strides: Strides = small(row.iter().map(|s| s * parts));
        for ((operand, arg), uses) in kernel.operands.iter().zip(&binding.args).zip(uses.iter()) {
            let reads_its_point = operand.role == Role::In
                && operand.dtype == part
                && !uses.computed
                && arg.strides == strides
                && (arg.offset as isize) < parts;
            if arg.slot == Slot::Result && !reads_its_point {
                return wrong("an epilogue reads the result of the product at its own points, and does not write it");
            }
        }
        Ok(())
    }

    /// Adds what a scatter touches that a map follows; `uses` are those of its passes. What the map writes is nothing that the updates read, and no element of what it or the target is computed
    /// from but at the same points: other blocks are still to come.
    pub(super) fn scatter_accesses(&self, scatter: &Scatter, uses: [&Uses; 3], out: &mut Accesses) -> Result<()> {
        let wrong = |message: &str| Err(Error::internal("verify", message));
        let Scatter { target, updates, epilogue } = scatter;
        let (Nest::Map { stores }, Nest::Map { .. }) = (&target.kernel.nest, &epilogue.kernel.nest) else {
            return wrong("the target of a scatter and what follows are maps");
        };
        let Nest::Scatter { target: updated, .. } = updates.kernel.nest else {
            return wrong("the updates of a scatter are one");
        };
        let [store] = stores.as_slice() else { return wrong("the target of a scatter is one array") };
        let extents = &target.binding.extents;
        if epilogue.binding.extents != *extents {
            return wrong("the loop axes of the epilogue are not those of the target");
        }
        let dtype = target.kernel.operands[store.operand as usize].dtype;
        let Some(row) = row_strides(extents, dtype) else { return wrong("the result of the scatter is too large") };
        let points = shape::size(extents);
        let is_result = |arg: &Arg| arg.slot == Slot::Result;
        let lies_well = |arg: &Arg| is_result(arg) && arg.offset == 0 && arg.strides == row;
        let others = |pass: &Pass, own: u32| {
            pass.binding.args.iter().enumerate().any(|(o, arg)| o != own as usize && is_result(arg))
        };
        for ((pass, uses), is_update) in scatter.passes().into_iter().zip(uses).zip([false, true, false]) {
            let first = out.len();
            self.binding_accesses(&pass.kernel, uses, &pass.binding, true, out)?;
            out[first..].iter_mut().for_each(|a| a.pointwise &= !is_update);
        }
        let stored = &target.kernel.operands[store.operand as usize];
        if !lies_well(&target.binding.args[store.operand as usize])
            || stored.role != Role::Out
            || others(target, store.operand)
        {
            return wrong("the target of a scatter goes to its result, each point to its own");
        }
        let to = &updates.binding.args[updated as usize];
        if !is_result(to) || to.offset != 0 || to.len != points || others(updates, updated) {
            return wrong("updates go to all of the result of their scatter, and do not read it");
        }
        if updates.kernel.operands[updated as usize].dtype != dtype {
            return wrong("the updates of a scatter are not of the dtype of its target");
        }
        let [.., uses] = uses;
        for ((operand, arg), uses) in epilogue.kernel.operands.iter().zip(&epilogue.binding.args).zip(uses.iter()) {
            let reads_its_point =
                operand.role == Role::In && operand.dtype == dtype && !uses.computed && lies_well(arg);
            if is_result(arg) && !reads_its_point {
                return wrong("an epilogue reads the result of the scatter at its own points, and does not write it");
            }
        }
        Ok(())
    }
}

/// Strides of a row-contiguous array over these extents, if it is not too large for memory.
fn row_strides(extents: &[usize], dtype: DType) -> Option<Strides> {
    let nbytes = extents.iter().try_fold(dtype.itemsize(), |n, &e| n.checked_mul(e.max(1)))?;
    (nbytes <= isize::MAX as usize).then(|| shape::row_strides(extents))
}
