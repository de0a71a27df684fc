//! The reference interpreter: backend number zero, and the judge of all others.
//!
//! It runs a plan step by step on the caller's thread, each kernel in tiles of points and each instruction as a loop over a
//! tile that rustc can vectorise: slow next to machine code, fast enough to be the fallback on a machine for which
//! there is no code generator. It is safe Rust throughout.
//!
//! Absent: code generation, threads, re-use of freed memory, and memory that the host can read in place: what it stores is
//! behind locks, so that layers above it which take host memory for granted fail here.

mod library;
mod memory;
mod nest;
mod tile;
mod total;

use crate::backend::{Backend, Buffer, Event, Executable, Features, MemoryStats, Mode, Run, Stream};
use crate::error::{Error, Result};
use crate::host::{self, HostArray};
use crate::plan::{Binding, Branch, HostArg, Pass, Plan, Signature, Step};
use memory::{Bytes, Slots, Tally};
use smallvec::SmallVec;
use std::any::Any;
use std::sync::Arc;

/// The reference interpreter.
///
/// ```
/// use lazuli_kernel::{Arg, Backend, Binding, Interpreter, Mode, Plan, Slot, Step, Stream};
/// use std::sync::Arc;
///
/// // out[i] = −in[i] for four numbers.
/// let kernel = "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 0 %1 = neg %0 map { store 1 <- %1 } }";
/// let arg = |slot| Arg { slot, offset: 0, strides: [1].into_iter().collect(), len: 0 };
/// let mut plan = Plan {
///     inputs: vec![16],
///     outputs: vec![16],
///     steps: vec![Step::launch(
///         Arc::new(kernel.parse()?),
///         Binding {
///             extents: [4].into_iter().collect(),
///             args: vec![arg(Slot::Input(0)), arg(Slot::Output(0))],
///             params: vec![],
///         },
///     )],
///     ..Plan::default()
/// };
/// let backend = Interpreter::default();
/// let executable = backend.prepare(&mut plan)?;
/// let input: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let run = backend.enqueue(Stream(0), &executable, &[&backend.upload(&input)?], &[false], &[], Mode::Wait)?;
/// run.event.wait()?;
/// let mut bytes = [0; 4];
/// backend.download(&run.outputs[0], 12, &mut bytes)?;
/// assert_eq!(f32::from_le_bytes(bytes), -4.0);
/// # Ok::<(), lazuli_kernel::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Interpreter {
    tally: Arc<Tally>,
}

/// A verified plan.
#[derive(Debug)]
struct Prepared {
    plan: Plan,
    signature: Signature,
}

impl Executable for Prepared {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn workspace(&self) -> usize {
        self.plan.arena
    }
    /// The kernels as text: there is no code below them.
    fn disassemble(&self) -> Result<Vec<Vec<Arc<str>>>> {
        fn kernels(step: &Step) -> Vec<Arc<str>> {
            match step {
                Step::Launch { kernel, .. } | Step::Product { kernel, .. } => vec![kernel.to_string().into()],
                Step::Scatter(scatter) => scatter.passes().map(|pass| pass.kernel.to_string().into()).to_vec(),
                Step::Branch(branch) => branch.plans.iter().flat_map(|p| p.steps.iter().flat_map(kernels)).collect(),
                _ => vec![],
            }
        }
        Ok(self.plan.steps.iter().map(kernels).collect())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Interpreter {
    fn allocate(&self, nbytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(Bytes::allocate(nbytes, &self.tally)?))
    }

    /// Memory for each output: an input's that was given up and that the plan has a use for, or fresh.
    fn outputs(&self, signature: &Signature, inputs: &[&Buffer], donate: &[bool]) -> Result<SmallVec<[Buffer; 2]>> {
        let taken = signature.taken(inputs, donate);
        let memory = taken.iter().zip(&signature.outputs).map(|(taken, &nbytes)| match taken {
            Some(input) => Ok(inputs[*input as usize].clone()),
            None => self.allocate(nbytes),
        });
        memory.collect()
    }
}

fn run_step(step: &Step, slots: &mut Slots, tally: &Arc<Tally>) -> Result<()> {
    match step {
        Step::Branch(branch) => run_branch(branch, slots, tally)?,
        Step::Launch { kernel, bindings } => {
            for Binding { extents, args, params } in &**bindings {
                nest::launch(kernel, extents, args, params, slots);
            }
        }
        Step::Call(call) => library::call(call, slots),
        Step::Product { call, kernel, binding } => {
            slots.begin_result(call.result_bytes());
            library::call(call, slots);
            nest::launch(kernel, &binding.extents, &binding.args, &binding.params, slots);
        }
        Step::Scatter(scatter) => {
            slots.begin_result(scatter.result_bytes());
            for Pass { kernel, binding: Binding { extents, args, params } } in scatter.passes() {
                nest::launch(kernel, extents, args, params, slots);
            }
        }
        Step::Copy { from, to, nbytes } => {
            let bytes = slots.bytes(*from)[..*nbytes].to_vec();
            slots.bytes_mut(*to)[..*nbytes].copy_from_slice(&bytes);
        }
        Step::Host { call, args } => {
            let array = |a: &'_ HostArg| slots.bytes(a.slot)[a.bytes()].to_vec();
            let bytes: Vec<Vec<u8>> = args.iter().map(array).collect();
            let arrays = args.iter().zip(&bytes).map(|(a, bytes)| HostArray { dtype: a.dtype, shape: &a.shape, bytes });
            host::perform(&**call, &arrays.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Runs the plan that is chosen, on copies of its inputs.
fn run_branch(branch: &Branch, slots: &mut Slots, tally: &Arc<Tally>) -> Result<()> {
    let chosen = slots.bytes(branch.predicate.slot)[branch.predicate.offset] != 0;
    let plan = &branch.plans[usize::from(!chosen)];
    let fresh = |nbytes: usize| Ok(Buffer::new(Bytes::allocate(nbytes, tally)?));
    let mut inputs = Vec::with_capacity(branch.inputs.len());
    for (&slot, &nbytes) in branch.inputs.iter().zip(&plan.inputs) {
        let buffer = fresh(nbytes)?;
        Bytes::of(&buffer)?.write().copy_from_slice(&slots.bytes(slot)[..nbytes]);
        inputs.push(buffer);
    }
    let outputs = plan.outputs.iter().map(|&n| fresh(n)).collect::<Result<Vec<Buffer>>>()?;
    let arena = fresh(plan.arena)?;
    let mut inner = Slots::lock(&inputs.iter().collect::<Vec<_>>(), &outputs, &arena)?;
    plan.steps.iter().try_for_each(|step| run_step(step, &mut inner, tally))?;
    drop(inner);
    for ((&slot, buffer), &nbytes) in branch.outputs.iter().zip(&outputs).zip(&plan.outputs) {
        slots.bytes_mut(slot)[..nbytes].copy_from_slice(&Bytes::of(buffer)?.read()[..nbytes]);
    }
    Ok(())
}

impl Backend for Interpreter {
    fn features(&self) -> Features {
        let (name, architecture) = ("interpreter".into(), "portable".into());
        Features { name, architecture, threads: 1, host_memory: false }
    }

    fn prepare(&self, plan: &mut Plan) -> Result<Arc<dyn Executable>> {
        plan.verify()?;
        Ok(Arc::new(Prepared { plan: plan.clone(), signature: Signature::of(plan) }))
    }

    fn enqueue(
        &self,
        _: Stream,
        executable: &Arc<dyn Executable>,
        inputs: &[&Buffer],
        donate: &[bool],
        after: &[Event],
        _: Mode,
    ) -> Result<Run> {
        let Some(Prepared { plan, signature }) = executable.as_any().downcast_ref() else {
            return Err(Error::internal("enqueue", "the executable is of another backend"));
        };
        signature.verify_inputs(inputs)?;
        after.iter().try_for_each(Event::wait)?;
        let outputs = self.outputs(signature, inputs, donate)?;
        let arena = self.allocate(plan.arena)?;
        let mut slots = Slots::lock(inputs, &outputs, &arena)?;
        let result = plan.steps.iter().try_for_each(|step| run_step(step, &mut slots, &self.tally));
        drop(slots);
        Ok(Run { outputs, event: result.map_or_else(Event::failed, |()| Event::done()) })
    }

    fn synchronize(&self, _: Stream) -> Event {
        Event::done()
    }

    fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let memory = Bytes::allocate(bytes.len(), &self.tally)?;
        memory.write().copy_from_slice(bytes);
        Ok(Buffer::new(memory))
    }

    fn download(&self, buffer: &Buffer, offset: usize, out: &mut [u8]) -> Result<()> {
        let bytes = Bytes::of(buffer)?.read();
        match offset.checked_add(out.len()).and_then(|end| bytes.get(offset..end)) {
            Some(range) => {
                out.copy_from_slice(range);
                Ok(())
            }
            None => {
                let message = format!("bytes {offset}.. to {} more of {} are out of bounds", out.len(), bytes.len());
                Err(Error::internal("download", message))
            }
        }
    }

    fn host_pointer(&self, _: &Buffer) -> Option<*mut u8> {
        None
    }

    fn memory(&self) -> MemoryStats {
        self.tally.stats()
    }
    fn reset_peak_memory(&self) {
        self.tally.reset_peak();
    }
    fn clear_cache(&self) {}
    fn set_cache_limit(&self, _: usize) -> usize {
        0
    }
    fn set_memory_limit(&self, _: usize) -> usize {
        usize::MAX
    }
    fn kernels_generated(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
