//! Where the arguments of steps lie.
//!
//! What is made ready of a step says nothing of that. It stands here for all steps of a plan in their order: of each argument the number of its slot, and an offset. A run looks all of
//! them up at once.

use lazuli_kernel::{Binding, Kernel, LibraryCall, Plan, Slot, Step, small};
use smallvec::SmallVec;

/// Addresses of the slots of a run: of its own memory, of the result that a step hands on to its epilogue, and of inputs and outputs.
pub struct Slots(SmallVec<[usize; 16]>);

/// Slots before the inputs.
const OWN: usize = 2;

impl Slots {
    /// Those of a run with memory at this address, before its inputs and outputs. A result lies where its step says.
    pub fn new(memory: usize) -> Self {
        Self(small([memory, 0]))
    }
    /// So many, each elsewhere.
    #[cfg(debug_assertions)]
    pub fn of(count: usize) -> Self {
        Self((0..OWN + count).map(|n| n << 40).collect())
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

#[derive(Default)]
pub struct Places {
    /// Of each argument: the number of its slot, and bytes from the start of that.
    slots: Vec<u32>,
    offsets: Vec<usize>,
    /// Bytes of one of its elements.
    pub itemsizes: Vec<u32>,
    /// How many arguments each step has.
    pub counts: Vec<u32>,
    /// Number of the first output's slot.
    outputs: usize,
}

impl Places {
    pub fn of(plan: &Plan) -> Self {
        let mut places = Places { outputs: OWN + plan.inputs.len(), ..Places::default() };
        for step in &plan.steps {
            let before = places.slots.len();
            places.push_all(step);
            places.counts.push((places.slots.len() - before) as u32);
        }
        places
    }

    /// Where the arguments lie in a run.
    pub fn addresses(&self, Slots(slots): &Slots) -> Addresses {
        let of = |(&slot, &offset): (&u32, &usize)| slots[slot as usize].wrapping_add(offset);
        small(self.slots.iter().zip(&self.offsets).map(of))
    }

    /// The addresses of the arguments of each step.
    pub fn by_step<'a>(&self, addresses: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
        let mut rest = addresses;
        self.counts.iter().map(move |&count| rest.split_off(..count as usize).expect("each has its address"))
    }
}

/// Arguments, in the order in which [`PlanWords`](lazuli_kernel::PlanWords) have them.
impl Places {
    /// What lies from an element of so many bytes in a slot on.
    fn push(&mut self, slot: Slot, from: usize, itemsize: usize) {
        let (number, at) = match slot {
            Slot::Temp { offset, .. } => (0, offset),
            Slot::Result => (1, 0),
            Slot::Input(n) => (OWN + n as usize, 0),
            Slot::Output(n) => (self.outputs + n as usize, 0),
        };
        self.slots.push(number as u32);
        self.offsets.push(from.wrapping_mul(itemsize).wrapping_add(at));
        self.itemsizes.push(itemsize as u32);
    }

    fn push_binding(&mut self, kernel: &Kernel, binding: &Binding) {
        let args = binding.args.iter().zip(&kernel.operands);
        args.for_each(|(arg, operand)| self.push(arg.slot, arg.offset, operand.dtype.itemsize()));
    }

    fn push_call(&mut self, call: &LibraryCall) {
        match call {
            LibraryCall::Matmul { dtype, a, b, c, .. } => {
                [a, b, c].iter().for_each(|arg| self.push(arg.slot, arg.offset, dtype.itemsize()));
            }
            LibraryCall::Sort { dtype, input, output, .. } => {
                self.push(input.slot, input.offset, dtype.itemsize());
                self.push(output.slot, output.offset, call.result_dtype().itemsize());
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
            Step::Copy { from, to, .. } => [from, to].iter().for_each(|&&slot| self.push(slot, 0, 1)),
            Step::Branch(branch) => {
                self.push(branch.predicate.slot, branch.predicate.offset, 1);
                branch.inputs.iter().chain(&branch.outputs).for_each(|&slot| self.push(slot, 0, 1));
            }
            Step::Host { args, .. } => {
                args.iter().for_each(|arg| self.push(arg.slot, arg.offset, arg.dtype.itemsize()))
            }
        }
    }
}
