//! Proofs about steps that hand on a result to an epilogue.

use super::super::kept::Was;
use super::super::uses::Uses;
use super::{Accesses, Factors};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Kernel, Nest, Role};
use crate::plan::{Arg, Binding, LibraryCall, Pass, Plan, Scatter, Slot};
use crate::shape::{self, Shape};
use crate::small::small;

impl Plan {
    /// Adds what a product touches whose elements go through a map. What that writes is nothing that the product reads, and no element of what it reads itself but at the
    /// same points: other tiles are still to come.
    pub(super) fn product_accesses<'a>(
        &self,
        call: &'a LibraryCall,
        kernel: &Kernel,
        uses: &Uses,
        binding: &'a Binding,
        was: Option<(&'a Plan, (&'a LibraryCall, &'a Binding))>,
        out: &mut Accesses<'a>,
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
        let points = || result.iter().copied().filter(|&n| n != 1);
        if !points().eq(binding.extents.iter().copied()) {
            return wrong("the loop axes of the epilogue are not those of the product");
        }
        let mut steps = result.iter().zip(&c.strides).rev().zip(row_steps(&result, 1));
        let lies_well = c.strides.len() == result.len() && steps.all(|((&n, &s), step)| n <= 1 || step == Some(s));
        if c.slot != Slot::Result || c.offset != 0 || !lies_well {
            return wrong("the result of the product is not where its epilogue expects it");
        }
        let of_factors = match was {
            Some((plan, (LibraryCall::Matmul { dtype: of, batch, m, n, k, a, b, .. }, _))) if of == dtype => {
                Some((plan, Factors { batch, sizes: [*m, *n, *k], args: [a, b] }))
            }
            _ => None,
        };
        self.factors(*dtype, &Factors { batch, sizes: [*m, *n, *k], args: [a, b] }, of_factors, out)?;
        self.binding_accesses(kernel, uses, binding, was.map(|(plan, (_, was))| (plan, was)), true, out)?;
        // Complex numbers are read as their parts.
        let (parts, part) = if dtype.is_complex() { (2, DType::F32) } else { (1, *dtype) };
        if !fits_memory(&result, *dtype) {
            return wrong("the result of the product is too large");
        }
        for (i, (operand, arg)) in kernel.operands.iter().zip(&binding.args).enumerate() {
            let reads_its_point = || {
                operand.role == Role::In
                    && operand.dtype == part
                    && !uses.is_computed(i)
                    && is_row(&binding.extents, &arg.strides, parts)
                    && (arg.offset as isize) < parts
            };
            if arg.slot == Slot::Result && !reads_its_point() {
                return wrong("an epilogue reads the result of the product at its own points, and does not write it");
            }
        }
        Ok(())
    }

    /// Adds what a scatter touches that a map follows; `uses` are those of its passes. What the map writes is nothing that the updates read, and no element of what it or the target is computed
    /// from but at the same points: other blocks are still to come.
    pub(super) fn scatter_accesses<'a>(
        &self,
        scatter: &'a Scatter,
        uses: [&Uses; 3],
        was: Was<'a, Scatter>,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
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
        if !fits_memory(extents, dtype) {
            return wrong("the result of the scatter is too large");
        }
        let points = shape::size(extents);
        let is_result = |arg: &Arg| arg.slot == Slot::Result;
        let lies_well = |arg: &Arg| is_result(arg) && arg.offset == 0 && is_row(extents, &arg.strides, 1);
        let others = |pass: &Pass, own: u32| {
            pass.binding.args.iter().enumerate().any(|(o, arg)| o != own as usize && is_result(arg))
        };
        for (number, (pass, uses)) in scatter.passes().into_iter().zip(uses).enumerate() {
            let was = was.map(|(plan, was)| (plan, was.passes()[number]));
            let was = was.filter(|(_, was)| was.kernel == pass.kernel).map(|(plan, was)| (plan, &was.binding));
            out.as_wholes = number == 1;
            self.binding_accesses(&pass.kernel, uses, &pass.binding, was, true, out)?;
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
        for (i, (operand, arg)) in epilogue.kernel.operands.iter().zip(&epilogue.binding.args).enumerate() {
            let reads_its_point =
                operand.role == Role::In && operand.dtype == dtype && !uses.is_computed(i) && lies_well(arg);
            if is_result(arg) && !reads_its_point {
                return wrong("an epilogue reads the result of the scatter at its own points, and does not write it");
            }
        }
        Ok(())
    }
}

/// Whether an array of these extents is not too large for memory.
fn fits_memory(extents: &[usize], dtype: DType) -> bool {
    let nbytes = extents.iter().try_fold(dtype.itemsize(), |n, &e| n.checked_mul(e.max(1)));
    nbytes.is_some_and(|n| n <= isize::MAX as usize)
}

/// The strides of a row-contiguous array of these extents, of elements that are so many apart, from the last axis on; None where they are too large for memory.
fn row_steps(extents: &[usize], apart: isize) -> impl Iterator<Item = Option<isize>> {
    let mut next = Some(apart);
    extents.iter().rev().map(move |&n| {
        let step = next;
        next = step.and_then(|step| step.checked_mul(isize::try_from(n.max(1)).ok()?));
        step
    })
}

/// Whether strides are these.
fn is_row(extents: &[usize], strides: &[isize], apart: isize) -> bool {
    extents.len() == strides.len() && strides.iter().rev().map(|&s| Some(s)).eq(row_steps(extents, apart))
}
