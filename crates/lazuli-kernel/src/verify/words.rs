//! A plan as words: its structure, by which a proof goes its way, and its numbers, which it looks at through [`Arithmetic`](crate::noted::Arithmetic).
//!
//! Numbers stand in the order in which a proof reads them: sizes of inputs and outputs and of the arena, then step by step what [`PlanWords`] adds for each. Plans of one structure have the same places for them. Of each step
//! first comes all that its *form* is, structure and numbers, then where its arrays lie. The words of the plans of a choice are part of its form.

use crate::ir::Kernel;
use crate::plan::{Arg, Binding, LibraryCall, Plan, Slot, Step};
use std::ops::Range;
use std::sync::Arc;

/// A plan as words.
#[derive(Debug, Default)]
pub struct PlanWords {
    pub(super) structure: Vec<u64>,
    pub(super) numbers: Vec<i64>,
    /// As bits: no proof looks at them.
    params: Vec<u64>,
    /// Where the words of each step end, behind where the first begins.
    pub(super) ends: Vec<Ends>,
    /// Of the step that is on its way: which slots its arrays are in, and where they lie there.
    slots: Vec<u64>,
    places: Vec<[i64; PLACE]>,
}

/// Where words of a step end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Of the structure: the form, and all.
    structure_of_form: u32,
    structure: u32,
    params: u32,
    /// Of numbers: those of the form, and all.
    pub form: u32,
    pub numbers: u32,
}

/// Where an array lies: which piece of the arena its slot is, if it is one (where that begins, and its size), and from which element of the slot on the array lies.
pub const PLACE: usize = 3;

/// A size as a number: none is larger than memory, and that has no more.
#[inline]
fn number(n: usize) -> i64 {
    n.min(i64::MAX as usize) as i64
}

/// A slot as a word.
#[inline]
fn word(slot: Slot) -> u64 {
    match slot {
        Slot::Input(n) => u64::from(n),
        Slot::Output(n) => 1 << 32 | u64::from(n),
        Slot::Temp { .. } => 2 << 32,
        Slot::Result => 3 << 32,
    }
}

/// Where what begins at an element of a slot lies.
#[inline]
fn place(slot: Slot, from: usize) -> [i64; PLACE] {
    let (offset, nbytes) = if let Slot::Temp { offset, nbytes } = slot { (offset, nbytes) } else { (0, 0) };
    [offset, nbytes, from].map(number)
}

/// Where the words of a step are: its structure but for slots, the numbers of its form, where those of the places of its arrays begin ([`PLACE`] for each), and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    pub structure: Range<usize>,
    pub numbers: Range<usize>,
    pub places: usize,
    pub params: Range<usize>,
}

impl PlanWords {
    /// Those of a plan. Not among them is what may be donated.
    pub fn of(plan: &Plan) -> Self {
        let mut words = PlanWords::default();
        words.write(plan);
        words
    }

    /// Those of a step by itself.
    pub fn of_step(step: &Step) -> Self {
        let mut words = PlanWords { ends: vec![Ends::default()], ..PlanWords::default() };
        words.step(step);
        words.end_step();
        words
    }
    /// Whether a step, whose words these are by themselves, is as the one of this number of another plan but for numbers and parameters. Where these are among that plan's.
    pub fn is_step_of(&self, other: &PlanWords, number: usize) -> Option<[Range<usize>; 2]> {
        let (begin, end) = (other.ends[number], other.ends[number + 1]);
        let range = |begin: u32, end: u32| begin as usize..end as usize;
        let (numbers, params) = (range(begin.numbers, end.numbers), range(begin.params, end.params));
        let is_alike = self.structure == other.structure[range(begin.structure, end.structure)]
            && (self.numbers.len(), self.params.len()) == (numbers.len(), params.len());
        is_alike.then_some([numbers, params])
    }
    fn write(&mut self, plan: &Plan) {
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
        let [structure_of_form, form] = [self.structure.len(), self.numbers.len()].map(|n| n as u32);
        self.structure.append(&mut self.slots);
        self.numbers.extend_from_slice(self.places.as_flattened());
        self.places.clear();
        let [structure, params, numbers] =
            [self.structure.len(), self.params.len(), self.numbers.len()].map(|n| n as u32);
        self.ends.push(Ends { structure_of_form, structure, params, form, numbers });
    }

    /// Whether these are the same steps with the same kernels as those of another plan, on arrays in the same slots.
    pub fn has_structure_of(&self, other: &PlanWords) -> bool {
        self.structure == other.structure
    }
    /// All numbers.
    pub fn numbers(&self) -> &[i64] {
        &self.numbers
    }
    /// The parameters of all kernels, one launch after another: as bits, of which no proof depends.
    pub fn params(&self) -> &[u64] {
        &self.params
    }
    /// The kernels of all steps, and what else is no number.
    pub fn structure(&self) -> &[u64] {
        &self.structure
    }
    /// Where the words of a step are.
    pub fn parts(&self, step: usize) -> Parts {
        let (begin, end) = (self.ends[step], self.ends[step + 1]);
        let range = |begin: u32, end: u32| begin as usize..end as usize;
        Parts {
            structure: range(begin.structure, end.structure_of_form),
            numbers: range(begin.numbers, end.form),
            places: end.form as usize,
            params: range(begin.params, end.params),
        }
    }

    #[inline]
    fn sizes(&mut self, all: &[usize]) {
        self.numbers.extend(all.iter().map(|&n| number(n)));
    }
    #[inline]
    fn place(&mut self, slot: Slot, from: usize) {
        self.slots.push(word(slot));
        self.places.push(place(slot, from));
    }
    #[inline]
    fn arg(&mut self, arg: &Arg) {
        self.args(std::slice::from_ref(arg));
    }
    /// Lengths, then strides; and places. Vectors are extended at once: that is all that there is to do.
    #[inline]
    fn args(&mut self, args: &[Arg]) {
        self.structure
            .extend(args.iter().map(|arg| (arg.strides.len() as u64) << 1 | u64::from(arg.slot == Slot::Result)));
        self.slots.extend(args.iter().map(|arg| word(arg.slot)));
        self.places.extend(args.iter().map(|arg| place(arg.slot, arg.offset)));
        self.numbers.extend(args.iter().map(|arg| number(arg.len)));
        args.iter().for_each(|arg| self.numbers.extend(arg.strides.iter().map(|&stride| stride as i64)));
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
        self.args(args);
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
                [from, to].into_iter().for_each(|slot| self.place(*slot, 0));
                self.numbers.push(number(*nbytes));
            }
            Step::Host { args, .. } => {
                self.structure.extend_from_slice(&[5, args.len() as u64]);
                for arg in args {
                    self.structure.extend_from_slice(&[arg.dtype as u64, arg.shape.len() as u64]);
                    self.place(arg.slot, arg.offset);
                    self.sizes(&arg.shape);
                }
            }
            Step::Branch(branch) => {
                self.structure.push(6);
                self.arg(&branch.predicate);
                branch.inputs.iter().chain(&branch.outputs).for_each(|slot| self.place(*slot, 0));
                for plan in &branch.plans {
                    let PlanWords { structure, numbers, params, .. } = PlanWords::of(plan);
                    self.structure.push(plan.donations.len() as u64);
                    self.structure.extend(structure);
                    self.numbers.extend(numbers);
                    self.params.extend(params);
                }
            }
        }
    }
}
