//! Proofs about steps that hand on a result to an epilogue.

use super::{Lie, Prover, with, wrong};
use crate::dtype::DType;
use crate::error::Result;
use crate::ir::{Kernel, Nest, Role};
use crate::noted::Arithmetic;
use crate::plan::{Binding, LibraryCall, Pass, Scatter, Slot};
use std::sync::Arc;

impl<'a, A: Arithmetic> Prover<'a, '_, A> {
    /// Adds what a product touches whose elements go through a map. What that writes is nothing that the product reads, and no element of what it reads itself but at the
    /// same points: other tiles are still to come.
    pub(super) fn product(&mut self, call: &'a LibraryCall, kernel: &Arc<Kernel>, binding: &'a Binding) -> Result<()> {
        let Some(product) = self.matmul(call) else { return wrong("only a product has an epilogue") };
        let dtype = product.dtype;
        if !dtype.is_inexact() {
            return wrong("matmul is for floats and complex numbers");
        }
        let Nest::Map { .. } = kernel.nest else { return wrong("an epilogue is a map") };
        let bound = self.binding(binding);
        let [rows, columns, _] = product.sizes;
        let result = with(&product.batch, &[rows, columns]);
        let mut axes = bound.extents.iter();
        let mut has_axis = |n: A::N| self.cx.is(n, 1) || axes.next().is_some_and(|&axis| self.cx.equal(axis, n));
        if !(result.iter().all(|&n| has_axis(n)) && axes.next().is_none()) {
            return wrong("the loop axes of the epilogue are not those of the product");
        }
        let c = &product.args[2];
        if c.arg.slot != Slot::Result || !self.cx.is(c.offset, 0) || !self.steps_by_rows(&result, &c.strides) {
            return wrong("the result of the product is not where its epilogue expects it");
        }
        self.factors(call, &product)?;
        let uses = (self.uses)(kernel)?;
        self.launch(kernel, &uses, &bound, true)?;
        // Complex numbers are read as their parts.
        let (parts, part) = if dtype.is_complex() { (2, DType::F32) } else { (1, dtype) };
        if self.size(&result, dtype.itemsize()).is_none() {
            return wrong("the result of the product is too large");
        }
        for (i, (operand, lie)) in kernel.operands.iter().zip(&bound.args).enumerate() {
            let mut reads_its_point = || {
                operand.role == Role::In
                    && operand.dtype == part
                    && !uses.is_computed(i)
                    && self.is_row(&bound.extents, &lie.strides, parts)
                    && self.cx.less(lie.offset, A::fixed(parts))
            };
            if lie.arg.slot == Slot::Result && !reads_its_point() {
                return wrong("an epilogue reads the result of the product at its own points, and does not write it");
            }
        }
        Ok(())
    }

    /// Adds what a scatter touches that a map follows. What the map writes is nothing that the updates read, and no element of what it or the target is computed
    /// from but at the same points: other blocks are still to come.
    pub(super) fn scatter(&mut self, scatter: &'a Scatter) -> Result<()> {
        let Scatter { target, updates, epilogue } = scatter;
        let bound = scatter.passes().map(|pass| self.binding(&pass.binding));
        let (Nest::Map { stores }, Nest::Map { .. }) = (&target.kernel.nest, &epilogue.kernel.nest) else {
            return wrong("the target of a scatter and what follows are maps");
        };
        let Nest::Scatter { target: updated, .. } = updates.kernel.nest else {
            return wrong("the updates of a scatter are one");
        };
        let [store] = stores.as_slice() else { return wrong("the target of a scatter is one array") };
        let [of_target, of_updates, of_epilogue] = &bound;
        let extents = &of_target.extents;
        let are_alike = of_epilogue.extents.len() == extents.len()
            && of_epilogue.extents.iter().zip(extents).all(|(&n, &m)| self.cx.equal(n, m));
        if !are_alike {
            return wrong("the loop axes of the epilogue are not those of the target");
        }
        let stored = &target.kernel.operands[store.operand as usize];
        let dtype = stored.dtype;
        if self.size(extents, dtype.itemsize()).is_none() {
            return wrong("the result of the scatter is too large");
        }
        let mut all_uses = Vec::with_capacity(3);
        for (number, (pass, bound)) in scatter.passes().into_iter().zip(&bound).enumerate() {
            let uses = (self.uses)(&pass.kernel)?;
            self.accesses.as_wholes = number == 1;
            self.launch(&pass.kernel, &uses, bound, true)?;
            all_uses.push(uses);
        }
        let is_result = |lie: &Lie<'a, A::N>| lie.arg.slot == Slot::Result;
        let others = |pass: &Pass, own: u32| {
            pass.binding.args.iter().enumerate().any(|(o, arg)| o != own as usize && arg.slot == Slot::Result)
        };
        if !self.lies_by_rows(extents, &of_target.args[store.operand as usize])
            || stored.role != Role::Out
            || others(target, store.operand)
        {
            return wrong("the target of a scatter goes to its result, each point to its own");
        }
        let to = &of_updates.args[updated as usize];
        let points = self.points(extents);
        let is_whole =
            self.cx.is(to.offset, 0) && points.is_some_and(|points| self.cx.equal(to.len, points)) && is_result(to);
        if !is_whole || others(updates, updated) {
            return wrong("updates go to all of the result of their scatter, and do not read it");
        }
        if updates.kernel.operands[updated as usize].dtype != dtype {
            return wrong("the updates of a scatter are not of the dtype of its target");
        }
        for (i, (operand, lie)) in epilogue.kernel.operands.iter().zip(&of_epilogue.args).enumerate() {
            let mut reads_its_point = || {
                operand.role == Role::In
                    && operand.dtype == dtype
                    && !all_uses[2].is_computed(i)
                    && self.lies_by_rows(extents, lie)
            };
            if is_result(lie) && !reads_its_point() {
                return wrong("an epilogue reads the result of the scatter at its own points, and does not write it");
            }
        }
        Ok(())
    }

    /// Whether an argument is the result that a step hands on, each point of it.
    fn lies_by_rows(&mut self, extents: &[A::N], lie: &Lie<'a, A::N>) -> bool {
        lie.arg.slot == Slot::Result && self.cx.is(lie.offset, 0) && self.is_row(extents, &lie.strides, 1)
    }

    /// Whether strides are those of a row-contiguous array of elements that are so many apart.
    fn is_row(&mut self, extents: &[A::N], strides: &[A::N], apart: i64) -> bool {
        self.are_row_steps(extents, strides, apart, false)
    }

    /// The same of an array's own elements, where those of axes of one element do not matter.
    fn steps_by_rows(&mut self, extents: &[A::N], strides: &[A::N]) -> bool {
        self.are_row_steps(extents, strides, 1, true)
    }

    fn are_row_steps(&mut self, extents: &[A::N], strides: &[A::N], apart: i64, but_short: bool) -> bool {
        let mut step = Some(A::fixed(apart));
        extents.len() == strides.len()
            && extents.iter().zip(strides).rev().all(|(&n, &stride)| {
                let is_many = self.cx.is_many(n);
                let is_step = step.is_some_and(|step| self.cx.equal(stride, step));
                if is_many {
                    step = step.and_then(|step| self.cx.product(step, n));
                }
                is_step || but_short && !is_many
            })
    }
}
