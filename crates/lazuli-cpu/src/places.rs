//! Where the arguments of steps lie.
//!
//! What is made ready of a step says nothing of that, so that steps share it whose arrays lie elsewhere. It stands here for all steps of a plan in their order: of each argument the number
//! of its slot, which most often is the same for all shapes of a program, and an offset. A run looks all of them up at once.

use lazuli_kernel::{Binding, Kernel, LibraryCall, Plan, PlanWords, Slot, Step, small};
use smallvec::SmallVec;
use std::sync::Arc;

/// Addresses of the slots of a run: of its own memory, of the result that a step hands on to its epilogue, and of inputs and outputs.
pub struct Slots(SmallVec<[usize; 16]>);

/// Slots before the inputs.
const OWN: usize = 2;

impl Slots {
    /// Those of a run with memory at this address, before its inputs and outputs. A result lies where its step says.
    pub fn new(memory: usize) -> Self {
        Self(small([memory, 0]))
    }
    /// The next input; or output, when all inputs are there.
    pub fn push(&mut self, address: usize) {
        self.0.push(address);
    }
    pub fn memory(&self) -> usize {
        self.0[0]
    }
    pub fn inputs_and_outputs(&self) -> &[usize] {
        &self.0[OWN..]
    }
}

/// Addresses of all arguments of a plan.
pub type Addresses = SmallVec<[usize; 64]>;

pub struct Places {
    numbers: Arc<Numbers>,
    /// Bytes from the start of each argument's slot.
    offsets: Box<[usize]>,
}

/// What is the same for all plans of one structure.
struct Numbers {
    /// Of the slot of each argument.
    slots: Vec<u32>,
    /// Bytes of one of its elements.
    itemsizes: Vec<u32>,
    /// How many arguments each step has.
    counts: Vec<u32>,
}

impl Places {
    /// Those of a plan of these words. Numbers are shared with a plan that has them too.
    pub fn new(plan: &Plan, words: &PlanWords, like: Option<(&PlanWords, &Places)>) -> Self {
        let numbers = match like {
            Some((of, places)) if words.has_structure_of(of) => places.numbers.clone(),
            _ => Arc::new(Numbers::of(plan)),
        };
        let mut offsets = Vec::with_capacity(numbers.itemsizes.len());
        let mut itemsizes = &numbers.itemsizes[..];
        for (step, &count) in numbers.counts.iter().enumerate() {
            let own = itemsizes.split_off(..count as usize).expect("each has a size");
            let places = words.places(step).zip(own);
            offsets.extend(places.map(|([at, from], &size)| from.wrapping_mul(size as usize).wrapping_add(at)));
        }
        Self { numbers, offsets: offsets.into_boxed_slice() }
    }

    /// Where the arguments lie in a run.
    pub fn addresses(&self, Slots(slots): &Slots) -> Addresses {
        let of = |(&slot, &offset): (&u32, &usize)| slots[slot as usize].wrapping_add(offset);
        small(self.numbers.slots.iter().zip(&self.offsets).map(of))
    }

    /// The addresses of the arguments of each step.
    pub fn by_step<'a>(&self, addresses: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
        let mut rest = addresses;
        self.numbers.counts.iter().map(move |&count| rest.split_off(..count as usize).expect("each has its address"))
    }
}

impl Numbers {
    fn of(plan: &Plan) -> Self {
        let mut list = List { outputs: OWN + plan.inputs.len(), slots: vec![], itemsizes: vec![] };
        let mut counts = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let before = list.slots.len();
            list.push_all(step);
            counts.push((list.slots.len() - before) as u32);
        }
        Self { slots: list.slots, itemsizes: list.itemsizes, counts }
    }
}

/// Arguments, in the order in which [`PlanWords`] have them.
struct List {
    /// Number of the first output's slot.
    outputs: usize,
    slots: Vec<u32>,
    itemsizes: Vec<u32>,
}

impl List {
    /// Elements of so many bytes in a slot.
    fn push(&mut self, slot: Slot, itemsize: usize) {
        let number = match slot {
            Slot::Temp { .. } => 0,
            Slot::Result => 1,
            Slot::Input(n) => OWN + n as usize,
            Slot::Output(n) => self.outputs + n as usize,
        };
        self.slots.push(number as u32);
        self.itemsizes.push(itemsize as u32);
    }

    fn push_binding(&mut self, kernel: &Kernel, binding: &Binding) {
        let args = binding.args.iter().zip(&kernel.operands);
        args.for_each(|(arg, operand)| self.push(arg.slot, operand.dtype.itemsize()));
    }

    fn push_call(&mut self, call: &LibraryCall) {
        match call {
            LibraryCall::Matmul { dtype, a, b, c, .. } => {
                [a, b, c].iter().for_each(|arg| self.push(arg.slot, dtype.itemsize()));
            }
            LibraryCall::Sort { dtype, input, output, .. } => {
                self.push(input.slot, dtype.itemsize());
                self.push(output.slot, call.result_dtype().itemsize());
            }
        }
    }

    /// All arguments of a step.
    fn push_all(&mut self, step: &Step) {
        match step {
            Step::Launch { kernel, bindings } => bindings.iter().for_each(|b| self.push_binding(kernel, b)),
            Step::Call(call) => self.push_call(call),
            Step::Product { call, kernel, binding } => {
                self.push_call(call);
                self.push_binding(kernel, binding);
            }
            Step::Scatter(scatter) => {
                scatter.passes().iter().for_each(|pass| self.push_binding(&pass.kernel, &pass.binding))
            }
            Step::Copy { from, to, .. } => [from, to].iter().for_each(|&&slot| self.push(slot, 1)),
            Step::Branch(branch) => {
                self.push(branch.predicate.slot, 1);
                branch.inputs.iter().chain(&branch.outputs).for_each(|&slot| self.push(slot, 1));
            }
            Step::Host { args, .. } => args.iter().for_each(|arg| self.push(arg.slot, arg.dtype.itemsize())),
        }
    }
}
