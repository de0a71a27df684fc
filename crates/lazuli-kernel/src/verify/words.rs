//! A plan as words: its structure, by which a proof goes its way, and its numbers, which it looks at through [`Arithmetic`](super::noted::Arithmetic).
//!
//! Numbers stand in the order in which a proof reads them: sizes of inputs and outputs and of the arena, then step by step what [`Words`] adds for each: first all else, then where its arrays
//! lie. Plans of one structure have the same places for them.

use crate::ir::Kernel;
use crate::plan::{Arg, Binding, LibraryCall, Plan, Slot, Step};
use std::sync::Arc;

/// A plan as words.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub structure: Vec<u64>,
    pub numbers: Vec<i64>,
    /// Parameters of kernels: no proof looks at them.
    params: Vec<u64>,
    /// Where the words of each step end, behind where the first begins.
    pub ends: Vec<Ends>,
    /// Where the arrays of the step lie that is on its way.
    places: Vec<i64>,
    /// Whether there are plans within, whose words these are not.
    pub has_choices: bool,
}

/// Where words of a step end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    structure: u32,
    params: u32,
    /// Those numbers that say not where arrays lie, but all else.
    pub forms: u32,
    pub numbers: u32,
}

/// A size as a number: none is larger than memory, and that has no more.
#[inline]
fn number(n: usize) -> i64 {
    n.min(i64::MAX as usize) as i64
}

/// The structure of a slot.
#[inline]
fn kind(slot: Slot) -> u64 {
    match slot {
        Slot::Input(n) => u64::from(n),
        Slot::Output(n) => 1 << 32 | u64::from(n),
        Slot::Temp { .. } => 2 << 32,
        Slot::Result => 3 << 32,
    }
}

impl Words {
    pub fn of(plan: &Plan) -> Self {
        let mut words = Words::default();
        words.write(plan);
        words
    }

    /// Those of this plan in place of others. Not among them is what may be donated.
    pub fn write(&mut self, plan: &Plan) {
        self.structure.clear();
        self.numbers.clear();
        self.params.clear();
        self.ends.clear();
        self.has_choices = false;
        self.structure.extend_from_slice(&[plan.inputs.len(), plan.outputs.len(), plan.steps.len()].map(|n| n as u64));
        self.sizes(&plan.inputs);
        self.sizes(&plan.outputs);
        self.numbers.push(number(plan.arena));
        self.end_step();
        for step in &plan.steps {
            self.step(step);
            self.end_step();
        }
    }
    fn end_step(&mut self) {
        let forms = self.numbers.len();
        self.numbers.append(&mut self.places);
        let ends = [self.structure.len(), self.params.len(), forms, self.numbers.len()];
        let [structure, params, forms, numbers] = ends.map(|n| n as u32);
        self.ends.push(Ends { structure, params, forms, numbers });
    }

    /// Whether this step is the same one in another plan, but for where its arrays lie. Of a choice nothing is said of the plans within.
    pub fn is_alike(&self, was: &Words, n: usize) -> bool {
        let (Some(&[begin, end]), Some(&[was_begin, was_end])) = (self.ends.get(n..n + 2), was.ends.get(n..n + 2))
        else {
            return false;
        };
        let range = |begin: u32, end: u32| begin as usize..end as usize;
        self.structure[range(begin.structure, end.structure)]
            == was.structure[range(was_begin.structure, was_end.structure)]
            && self.numbers[range(begin.numbers, end.forms)] == was.numbers[range(was_begin.numbers, was_end.forms)]
            && self.params[range(begin.params, end.params)] == was.params[range(was_begin.params, was_end.params)]
    }

    #[inline]
    fn sizes(&mut self, all: &[usize]) {
        self.numbers.extend(all.iter().map(|&n| number(n)));
    }
    fn slot(&mut self, slot: Slot) {
        self.structure.push(kind(slot));
        self.piece(slot);
    }
    /// Where a piece of the arena is.
    #[inline]
    fn piece(&mut self, slot: Slot) {
        if let Slot::Temp { offset, nbytes } = slot {
            self.places.extend_from_slice(&[number(offset), number(nbytes)]);
        }
    }
    #[inline]
    fn arg(&mut self, Arg { slot, offset, strides, len }: &Arg) {
        self.structure.push((strides.len() as u64) << 34 | kind(*slot));
        self.piece(*slot);
        self.places.push(number(*offset));
        self.numbers.push(number(*len));
        for &stride in strides {
            self.numbers.push(stride as i64);
        }
    }
    fn kernel(&mut self, kernel: &Arc<Kernel>) {
        self.structure.push(Arc::as_ptr(kernel) as u64);
    }
    #[inline]
    fn binding(&mut self, Binding { extents, args, params }: &Binding) {
        self.structure.extend_from_slice(&[extents.len(), args.len(), params.len()].map(|n| n as u64));
        self.structure.extend(params.iter().map(|param| param.dtype as u64));
        self.params.extend(params.iter().map(|param| param.bits));
        self.sizes(extents);
        args.iter().for_each(|arg| self.arg(arg));
    }
    fn call(&mut self, call: &LibraryCall) {
        match call {
            LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } => {
                self.structure.extend_from_slice(&[0, batch.len() as u64, *dtype as u64]);
                self.sizes(batch);
                self.numbers.extend_from_slice(&[*m, *n, *k].map(number));
                [a, b, c].into_iter().for_each(|arg| self.arg(arg));
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                self.structure.extend_from_slice(&[1, rows.len() as u64, u64::from(*indices), *dtype as u64]);
                self.sizes(rows);
                self.numbers.push(number(*n));
                [input, output].into_iter().for_each(|arg| self.arg(arg));
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Launch { kernel, bindings } => {
                self.structure.extend_from_slice(&[0, bindings.len() as u64]);
                self.kernel(kernel);
                bindings.iter().for_each(|binding| self.binding(binding));
            }
            Step::Call(call) => {
                self.structure.push(1);
                self.call(call);
            }
            Step::Product { call, kernel, binding } => {
                self.structure.push(2);
                self.kernel(kernel);
                self.call(call);
                self.binding(binding);
            }
            Step::Scatter(scatter) => {
                self.structure.push(3);
                for pass in scatter.passes() {
                    self.kernel(&pass.kernel);
                    self.binding(&pass.binding);
                }
            }
            Step::Copy { from, to, nbytes } => {
                self.structure.push(4);
                self.slot(*from);
                self.slot(*to);
                self.numbers.push(number(*nbytes));
            }
            Step::Host { args, .. } => {
                self.structure.extend_from_slice(&[5, args.len() as u64]);
                for arg in args {
                    self.structure.extend_from_slice(&[arg.dtype as u64, arg.shape.len() as u64]);
                    self.slot(arg.slot);
                    self.places.push(number(arg.offset));
                    self.sizes(&arg.shape);
                }
            }
            Step::Branch(branch) => {
                self.has_choices = true;
                self.structure.push(6);
                self.arg(&branch.predicate);
                branch.inputs.iter().chain(&branch.outputs).for_each(|slot| self.slot(*slot));
                branch.plans.iter().for_each(|plan| {
                    self.sizes(&plan.inputs);
                    self.sizes(&plan.outputs);
                });
            }
        }
    }
}
