//! The parts of a step: the sources that each has, and the classes of the pattern that it goes by.

use super::sources;
use crate::lower::again::formulas::{
    ArgFormula, BindingFormula, CallFormula, Class, Classes, Formulas, HostFormula, OutputFormula, StepFormula,
};
use crate::lower::numbers::{Source, Step, Visit};
use crate::lower::places::BufferId;
use crate::memory::ArrayId;
use lazuli_ir::{Extents, Number};
use lazuli_kernel::Arg;

impl ArgFormula {
    /// An array of a library call.
    pub(super) fn of(arg: &Arg, offset: Number, strides: Extents) -> ArgFormula {
        let (buffer, strides) = (Some(BufferId::of(arg)), sources(&strides));
        ArgFormula { buffer, offset: offset.into(), strides, len: Source::Fixed(0) }
    }
    fn sources(&mut self, f: &mut Visit) {
        [&mut self.offset, &mut self.len].into_iter().chain(&mut self.strides).for_each(f);
    }
}

impl BindingFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.extents.iter_mut().for_each(&mut *f);
        self.args.iter_mut().for_each(|arg| arg.sources(f));
        self.params.iter_mut().for_each(|(_, _, source)| f(source));
    }
    fn part(&mut self, part: &mut Part) {
        self.by = part(&mut |f| self.sources(f));
    }
}

impl CallFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.sizes.iter_mut().for_each(&mut *f);
        self.args.iter_mut().for_each(|arg| arg.sources(f));
    }
    fn part(&mut self, part: &mut Part) {
        self.by = part(&mut |f| self.sources(f));
    }
}

impl HostFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.shape.iter_mut().chain([&mut self.offset]).for_each(f);
    }
}

impl OutputFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.shape.iter_mut().chain(&mut self.strides).chain([&mut self.offset]).for_each(f);
    }
}

impl StepFormula {
    /// An array of one of its launches.
    pub(super) fn array(&self, id: ArrayId) -> Option<&ArgFormula> {
        let bindings = match self {
            StepFormula::Launch(bindings) => &bindings[..],
            StepFormula::Product(_, of) => std::slice::from_ref(of),
            StepFormula::Scatter(of) => std::slice::from_ref(of.get(id.launch as usize)?),
            StepFormula::Call(_) | StepFormula::Host(_) => &[],
        };
        bindings.get(id.binding as usize)?.args.get(id.operand as usize)
    }
    /// Its sources, and what notes which classes those go by.
    fn parts(&mut self, part: &mut Part) {
        match self {
            StepFormula::Launch(bindings) => bindings.iter_mut().for_each(|binding| binding.part(part)),
            StepFormula::Call(call) => call.part(part),
            StepFormula::Product(call, binding) => {
                call.part(part);
                binding.part(part);
            }
            StepFormula::Scatter(bindings) => bindings.iter_mut().for_each(|binding| binding.part(part)),
            StepFormula::Host(args) => {
                part(&mut |f| args.iter_mut().for_each(|arg| arg.sources(f)));
            }
        }
    }
}

/// Called with a way to visit the sources of a part of a step; gives the classes that it goes by.
type Part<'a> = dyn FnMut(&mut dyn FnMut(&mut Visit)) -> Classes + 'a;

impl Formulas {
    /// Leaves the numbers that are needed, and notes which classes each part of a step goes by.
    pub(super) fn end(&mut self) {
        let Formulas { numbers, steps, sizes, outputs, outputs_by, .. } = self;
        numbers.end();
        numbers.keep(&mut |f: &mut Visit| {
            sizes.iter_mut().for_each(&mut *f);
            outputs.iter_mut().for_each(|output| output.sources(f));
            let mut visit = |sources: &mut dyn FnMut(&mut Visit)| {
                sources(f);
                Classes::default()
            };
            steps.iter_mut().for_each(|step| step.parts(&mut visit));
        });
        let mut of_numbers: Vec<Classes> = Vec::new();
        for step in numbers.steps() {
            let of = |source: Source| match source {
                Source::Fixed(_) => Classes::default(),
                Source::Step(n) => of_numbers[n as usize],
            };
            let classes = match step {
                Step::Leaf(Class(class)) => Classes::of(class),
                Step::Compute(_, a, b) => of(a).with(of(b)),
            };
            of_numbers.push(classes);
        }
        let mut by = |sources: &mut dyn FnMut(&mut Visit)| {
            let mut by = Classes::default();
            sources(&mut |source: &mut Source| {
                if let Source::Step(n) = source {
                    by = by.with(of_numbers[*n as usize]);
                }
            });
            by
        };
        steps.iter_mut().for_each(|step| step.parts(&mut by));
        *outputs_by = by(&mut |f| outputs.iter_mut().for_each(|output| output.sources(f)));
    }
}
