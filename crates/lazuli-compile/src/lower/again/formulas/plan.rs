//! A plan by formulas, and those of its choices.

use super::{Now, PlanFormulas, StepFormula};
use crate::lower::places::BufferId;
use lazuli_kernel::Plan;
use smallvec::SmallVec;

impl PlanFormulas {
    /// Shows it, and then those within.
    pub fn each(&self, show: &mut dyn FnMut(&PlanFormulas)) {
        show(self);
        for step in &self.steps {
            if let StepFormula::Choice(choice) = step {
                choice.plans.iter().for_each(|plan| plan.each(show));
            }
        }
    }
    /// The same, to change them.
    pub fn each_mut(&mut self, show: &mut dyn FnMut(&mut PlanFormulas)) {
        show(self);
        for step in &mut self.steps {
            if let StepFormula::Choice(choice) = step {
                choice.plans.iter_mut().for_each(|plan| plan.each_mut(show));
            }
        }
    }

    /// Where each piece of the arena begins, and how large that is.
    pub fn places(&self, values: &[isize]) -> (SmallVec<[usize; 64]>, usize) {
        self.memory.places(|b| self.sizes[b.0 as usize].value(values) as usize)
    }
    /// Sets where buffers are, if pieces of the arena begin there and it is so large.
    pub fn set_places(&mut self, values: &[isize], places: &[usize], arena: usize) {
        let PlanFormulas { memory, sizes, slots, .. } = self;
        let size = |b: BufferId| sizes[b.0 as usize].value(values) as usize;
        memory.set_slots(|piece| places[piece], size, slots);
        self.arena = arena;
    }
    /// Sets where buffers are.
    pub fn place(&mut self, values: &[isize]) {
        let (places, arena) = self.places(values);
        self.set_places(values, &places, arena);
    }

    pub fn now<'a>(&'a self, values: &'a [isize]) -> Now<'a> {
        Now { values, slots: &self.slots }
    }
    /// Writes its numbers over those of a plan, where it is known where buffers are.
    pub fn write(&self, values: &[isize], plan: &mut Plan) {
        let now = self.now(values);
        let sizes: SmallVec<[usize; 64]> = self.sizes.iter().map(|size| now.count(*size)).collect();
        plan.arena = self.arena;
        plan.inputs.iter_mut().zip(self.memory.inputs(&sizes)).for_each(|(nbytes, now)| *nbytes = now);
        plan.outputs.iter_mut().zip(self.memory.outputs(&sizes)).for_each(|(nbytes, now)| *nbytes = now);
        self.steps.iter().zip(&mut plan.steps).for_each(|(formula, step)| now.step(formula, step));
    }
}
