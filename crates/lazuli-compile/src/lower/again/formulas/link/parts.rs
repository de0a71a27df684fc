//! The parts of a step, and the sources of their numbers.

use super::sources;
use crate::lower::again::formulas::{
    ArgFormula, BindingFormula, CallFormula, Formulas, HostFormula, OutputFormula, PlanFormulas, StepFormula,
};
use crate::lower::numbers::{Source, Visit};
use crate::lower::places::BufferId;
use crate::memory::ArrayId;
use lazuli_ir::{Extents, Number};
use lazuli_kernel::Arg;
use smallvec::{SmallVec, smallvec};

impl ArgFormula {
    /// An array of a library call.
    pub(super) fn of(arg: &Arg, offset: Number, strides: Extents) -> ArgFormula {
        let (buffer, strides) = (Some(BufferId::of(arg)), sources(&strides));
        ArgFormula { buffer, offset: offset.into(), strides, len: Source::Fixed(0) }
    }
    fn sources(&mut self, f: &mut Visit) {
        [&mut self.offset, &mut self.len].into_iter().chain(&mut self.strides).for_each(f);
    }
    fn counts(&self, f: &mut dyn FnMut(&Source)) {
        [&self.offset, &self.len].into_iter().for_each(f);
    }
}

impl BindingFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.extents.iter_mut().for_each(&mut *f);
        self.args.iter_mut().for_each(|arg| arg.sources(f));
        self.params.iter_mut().for_each(|(_, _, source)| f(source));
    }
    fn counts(&self, f: &mut dyn FnMut(&Source)) {
        self.extents.iter().for_each(&mut *f);
        self.args.iter().for_each(|arg| arg.counts(f));
    }
}

impl CallFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.sizes.iter_mut().for_each(&mut *f);
        self.args.iter_mut().for_each(|arg| arg.sources(f));
    }
    fn counts(&self, f: &mut dyn FnMut(&Source)) {
        self.sizes.iter().for_each(&mut *f);
        self.args.iter().for_each(|arg| arg.counts(f));
    }
}

impl HostFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.shape.iter_mut().chain([&mut self.offset]).for_each(f);
    }
    fn counts(&self, f: &mut dyn FnMut(&Source)) {
        self.shape.iter().chain([&self.offset]).for_each(f);
    }
}

impl PlanFormulas {
    /// Its sources, and those of the plans within.
    pub(in super::super) fn sources(&mut self, f: &mut Visit) {
        self.sizes.iter_mut().for_each(&mut *f);
        self.steps.iter_mut().for_each(|step| step.sources(f));
    }
    /// Those of numbers that count something, or say where it is.
    pub(in super::super) fn counts(&self, f: &mut dyn FnMut(&Source)) {
        self.sizes.iter().for_each(&mut *f);
        self.steps.iter().for_each(|step| step.counts(f));
    }
}

impl OutputFormula {
    pub(in super::super) fn sources(&mut self, f: &mut Visit) {
        self.shape.iter_mut().chain(&mut self.strides).chain([&mut self.offset]).for_each(f);
    }
}

impl StepFormula {
    /// What its kernels run on, and those of the plans within.
    pub(in super::super) fn bindings(&self) -> SmallVec<[&BindingFormula; 3]> {
        match self {
            StepFormula::Launch(bindings) => bindings.iter().collect(),
            StepFormula::Product(_, of) => smallvec![of],
            StepFormula::Scatter(of) => of.iter().collect(),
            StepFormula::Choice(choice) => {
                choice.plans.iter().flat_map(|plan| &plan.steps).flat_map(StepFormula::bindings).collect()
            }
            StepFormula::Call(_) | StepFormula::Host(_) => SmallVec::new(),
        }
    }
    /// An array of one of its launches.
    pub(super) fn array(&self, id: ArrayId) -> Option<&ArgFormula> {
        // The launches of a scatter have one binding each.
        let n = if let StepFormula::Scatter(_) = self { id.launch } else { id.binding };
        self.bindings().get(n as usize)?.args.get(id.operand as usize)
    }
    fn sources(&mut self, f: &mut Visit) {
        match self {
            StepFormula::Launch(bindings) => bindings.iter_mut().for_each(|binding| binding.sources(f)),
            StepFormula::Call(call) => call.sources(f),
            StepFormula::Product(call, binding) => {
                call.sources(f);
                binding.sources(f);
            }
            StepFormula::Scatter(bindings) => bindings.iter_mut().for_each(|binding| binding.sources(f)),
            StepFormula::Host(args) => args.iter_mut().for_each(|arg| arg.sources(f)),
            StepFormula::Choice(choice) => {
                choice.predicate.sources(f);
                choice.plans.iter_mut().for_each(|plan| plan.sources(f));
            }
        }
    }
    fn counts(&self, f: &mut dyn FnMut(&Source)) {
        match self {
            StepFormula::Call(call) => call.counts(f),
            StepFormula::Product(call, binding) => {
                call.counts(f);
                binding.counts(f);
            }
            StepFormula::Host(args) => args.iter().for_each(|arg| arg.counts(f)),
            StepFormula::Launch(bindings) => bindings.iter().for_each(|binding| binding.counts(f)),
            StepFormula::Scatter(bindings) => bindings.iter().for_each(|binding| binding.counts(f)),
            StepFormula::Choice(choice) => {
                choice.predicate.counts(f);
                choice.plans.iter().for_each(|plan| plan.counts(f));
            }
        }
    }
}

impl Formulas {
    /// Leaves the numbers that are needed.
    pub(super) fn end(&mut self) {
        let Formulas { numbers, own, outputs, .. } = self;
        numbers.end();
        numbers.keep(&mut |f: &mut Visit| {
            own.sources(f);
            outputs.iter_mut().for_each(|output| output.sources(f));
        });
    }
}
