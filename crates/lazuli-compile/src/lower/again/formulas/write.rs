//! Numbers, written over those of a plan.

use super::{ArgFormula, BindingFormula, CallFormula, OutputFormula, StepFormula};
use crate::lower::numbers::Source;
use crate::pipeline::OutputInfo;
use lazuli_kernel::{Arg, Binding, Branch, Layout, LibraryCall, Scalar, Scatter, Slot, Step};
use std::sync::Arc;

/// The numbers of a plan, and where its buffers are.
pub(super) struct Now<'a> {
    pub values: &'a [isize],
    pub slots: &'a [Slot],
}

impl Now<'_> {
    pub fn count(&self, source: Source) -> usize {
        source.value(self.values).max(0) as usize
    }
    fn counts(&self, sources: &[Source], counts: &mut [usize]) {
        counts.iter_mut().zip(sources).for_each(|(n, source)| *n = self.count(*source));
    }
    fn strides(&self, sources: &[Source], strides: &mut [isize]) {
        strides.iter_mut().zip(sources).for_each(|(stride, source)| *stride = source.value(self.values));
    }

    fn arg(&self, formula: &ArgFormula, arg: &mut Arg) {
        if let Some(buffer) = formula.buffer {
            arg.slot = self.slots[buffer.0 as usize];
        }
        arg.offset = self.count(formula.offset);
        arg.len = self.count(formula.len);
        self.strides(&formula.strides, &mut arg.strides);
    }

    fn binding(&self, formula: &BindingFormula, binding: &mut Binding) {
        let args = formula.args.iter().zip(&mut binding.args);
        args.for_each(|(formula, arg)| self.arg(formula, arg));
        self.counts(&formula.extents, &mut binding.extents);
        for &(param, dtype, source) in &formula.params {
            binding.params[param as usize] = Scalar::from_i64(dtype, source.value(self.values) as i64);
        }
    }

    fn call(&self, formula: &CallFormula, call: &mut LibraryCall) {
        match (call, &formula.sizes[..], &formula.args[..]) {
            (
                LibraryCall::Matmul { batch, m, n, k, a, b, c, .. },
                [of_batch @ .., of_m, of_n, of_k],
                [of_a, of_b, of_c],
            ) => {
                self.arg(of_a, a);
                self.arg(of_b, b);
                self.arg(of_c, c);
                self.counts(of_batch, batch);
                (*m, *n, *k) = (self.count(*of_m), self.count(*of_n), self.count(*of_k));
            }
            (LibraryCall::Sort { rows, n, input, output, .. }, [of_rows @ .., of_n], [of_input, of_output]) => {
                self.arg(of_input, input);
                self.arg(of_output, output);
                self.counts(of_rows, rows);
                *n = self.count(*of_n);
            }
            _ => unreachable!("formulas are those of the plan's calls"),
        }
    }

    pub fn output(&self, formula: &OutputFormula) -> OutputInfo {
        let number = |source: &Source| source.value(self.values);
        let layout = Layout {
            shape: formula.shape.iter().map(|extent| self.count(*extent)).collect(),
            strides: formula.strides.iter().map(number).collect(),
            offset: number(&formula.offset),
        };
        OutputInfo { source: formula.source, layout }
    }

    pub fn step(&self, formula: &StepFormula, step: &mut Step) {
        match (formula, step) {
            (StepFormula::Launch(formulas), Step::Launch { bindings, .. }) => {
                let bindings = formulas.iter().zip(Arc::make_mut(bindings));
                bindings.for_each(|(formula, binding)| self.binding(formula, binding));
            }
            (StepFormula::Call(formula), Step::Call(call)) => self.call(formula, call),
            (StepFormula::Product(of_call, formula), Step::Product { call, binding, .. }) => {
                self.call(of_call, call);
                self.binding(formula, Arc::make_mut(binding));
            }
            (StepFormula::Scatter(formulas), Step::Scatter(scatter)) => {
                let Scatter { target, updates, epilogue } = &mut **scatter;
                let passes = formulas.iter().zip([target, updates, epilogue]);
                passes.for_each(|(formula, pass)| self.binding(formula, &mut pass.binding));
            }
            (StepFormula::Host(formulas), Step::Host { args, .. }) => {
                for (formula, arg) in formulas.iter().zip(args) {
                    arg.slot = self.slots[formula.buffer.0 as usize];
                    arg.offset = self.count(formula.offset);
                    self.counts(&formula.shape, &mut arg.shape);
                }
            }
            (StepFormula::Choice(formula), Step::Branch(branch)) => {
                let Branch { predicate, plans, inputs, outputs } = &mut **branch;
                self.arg(&formula.predicate, predicate);
                let buffers = formula.inputs.iter().chain(&formula.outputs);
                buffers.zip(inputs.iter_mut().chain(outputs)).for_each(|(b, slot)| *slot = self.slots[b.0 as usize]);
                formula.plans.iter().zip(plans).for_each(|(formula, plan)| formula.write(self.values, plan));
            }
            _ => unreachable!("formulas are those of the plan's steps"),
        }
    }
}
