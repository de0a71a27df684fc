//! The backend: prepares plans, runs their steps, and answers for memory and streams.

use crate::fork;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::memory::{ALIGN, Allocator, CpuMemory};
use crate::places::Slots;
use crate::pool::Pool;
use crate::steps::Steps;
use crate::stream::Streams;
use crate::variants::Variants;
use lazuli_kernel::{
    Backend, Buffer, Error, Event, Executable, Features, Interpreter, Kernel, MemoryStats, Mode, Plan, PlanWords,
    Proofs, Result, Run, Signature, Stream, Uses, Variant, Varying,
};
use smallvec::SmallVec;
use std::any::Any;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// The CPU backend.
///
/// ```
/// use lazuli_cpu::Cpu;
/// use lazuli_kernel::{Arg, Backend, Binding, Mode, Plan, Slot, Step, Stream};
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
/// let cpu = Cpu::new();
/// let executable = cpu.prepare(&mut plan)?;
/// let input: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let run = cpu.enqueue(Stream(0), &executable, &[&cpu.upload(&input)?], &[false], &[], Mode::Wait)?;
/// run.event.wait()?;
/// let mut bytes = [0; 4];
/// cpu.download(&run.outputs[0], 12, &mut bytes)?;
/// assert_eq!(f32::from_le_bytes(bytes), -4.0);
/// # Ok::<(), lazuli_kernel::Error>(())
/// ```
#[derive(Debug)]
pub struct Cpu {
    kernels: Kernels,
    pool: Arc<Pool>,
    allocator: &'static Allocator,
    streams: Arc<Streams>,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// With the best instruction set of this processor (or the one that `LAZULI_CPU_ISA` names) and one thread per core (or
    /// `LAZULI_NUM_THREADS`).
    pub fn new() -> Self {
        Self::build(Isa::detect(), Pool::new())
    }

    /// With this instruction set, if the processor has it; else an error of kind `Unsupported`.
    pub fn with_isa(isa: Isa) -> Result<Self> {
        Self::with_isa_and_threads(isa, Pool::new().threads())
    }

    /// With this instruction set and number of threads.
    pub fn with_isa_and_threads(isa: Isa, threads: usize) -> Result<Self> {
        if !isa.is_available() {
            let message = format!("this processor does not have {}", isa.name());
            return Err(Error::new(lazuli_kernel::ErrorKind::Unsupported, "cpu", message));
        }
        Ok(Self::build(isa, Pool::with_threads(threads)))
    }

    fn build(isa: Isa, pool: Pool) -> Self {
        let streams = Arc::new(Streams::default());
        let weak: Weak<Streams> = Arc::downgrade(&streams);
        fork::before_fork(weak);
        Self { kernels: Kernels::new(isa), pool: Arc::new(pool), allocator: Allocator::of_process(), streams }
    }

    fn uses(&self, kernel: &Arc<Kernel>) -> Result<Arc<Uses>> {
        Ok(self.kernels.known(kernel)?.uses.clone())
    }

    /// The words of a plan, whose kernels become those that are known.
    fn read(&self, plan: &mut Plan) -> Result<PlanWords> {
        plan.share_kernels(&mut |kernel| self.kernels.share(kernel))?;
        Ok(PlanWords::of(plan))
    }

    /// Makes a plan ready; its variants are made so in this series.
    fn make(&self, plan: &mut Plan, series: Arc<Mutex<Series>>) -> Result<Arc<dyn Executable>> {
        let words = self.read(plan)?;
        plan.prove(&words, &|kernel| self.uses(kernel))?;
        let steps = Steps::new(&self.kernels, plan, self.pool.threads())?;
        let (signature, pool) = (Signature::of(plan), self.pool.clone());
        Ok(Arc::new(Prepared { signature, steps, series, pool }))
    }

    /// Makes a variant ready beside others of its family, for these values.
    fn make_variant(
        &self,
        variant: &mut dyn Variant,
        (varying, values): (&Arc<Varying>, &[i64]),
        series: &Arc<Mutex<Series>>,
    ) -> Result<Arc<dyn Executable>> {
        let mut families = series.lock().unwrap_or_else(|e| e.into_inner());
        let found = families.iter().rposition(|family| Arc::ptr_eq(&family.varying, varying));
        // It stays away if the variant cannot be made ready.
        let mut family = match found {
            Some(n) => families.remove(n),
            None => Family::new(varying),
        };
        let (signature, steps) = self.follow(&mut family, variant, values)?;
        if families.len() == MOST_FAMILIES {
            families.remove(0);
        }
        families.push(family);
        drop(families);
        #[cfg(debug_assertions)]
        {
            let plan = variant.plan();
            plan.verify()?;
            assert_eq!(signature, Signature::of(plan), "{plan}");
            steps.assert_are(&Steps::new(&self.kernels, plan, self.pool.threads())?, plan);
        }
        Ok(Arc::new(Prepared { signature, steps, series: series.clone(), pool: self.pool.clone() }))
    }

    /// The steps of a variant, beside others of its family.
    fn follow(&self, family: &mut Family, variant: &mut dyn Variant, values: &[i64]) -> Result<(Signature, Steps)> {
        let Family { varying, proofs, made, followed, strays } = family;
        let (kernels, threads) = (&self.kernels, self.pool.threads());
        if !proofs.hold(values) {
            let plan = variant.plan();
            let words = match made {
                Some(known) => known.read(plan)?,
                None => self.read(plan)?,
            };
            proofs.verify(plan, &words, (varying, values), &|kernel| self.uses(kernel))?;
            if made.is_none() {
                *made = Some(Arc::new(Variants::new(kernels, plan, words, (varying, values), threads)?));
            }
        }
        let known = made.as_mut().ok_or_else(|| Error::internal("prepare", "there are proofs of no plan"))?;
        let mut follow = known.follow(kernels, values, threads, proofs.room());
        let anew = follow.other.len().saturating_sub(known.never());
        (*followed, *strays) = (*followed + 1, *strays + usize::from(anew > 0));
        if anew > MOST_ANEW || *strays >= MOST_STRAYS && *followed >= LEAST_FOLLOWED {
            (*followed, *strays) = (0, 0);
            let plan = variant.plan();
            let words = known.read(plan)?;
            proofs.check(plan, &words, (varying, values))?;
            *known = Arc::new(Variants::new(kernels, plan, words, (varying, values), threads)?);
            follow = known.follow(kernels, values, threads, proofs.room());
        }
        if !follow.other.is_empty() {
            follow = follow.complete(kernels, variant, threads)?;
        }
        Ok((known.signature(values), follow.steps()))
    }

    /// Leaves work to a stream's thread.
    #[inline(never)]
    fn queue(
        &self,
        (stream, after): (Stream, &[Event]),
        is_stoppable: bool,
        executable: &Arc<dyn Executable>,
        inputs: &[&Buffer],
        Work { slots, memory, outputs }: Work,
    ) -> Result<Run> {
        let held: (Vec<Buffer>, SmallVec<[Buffer; 2]>) = (inputs.iter().copied().cloned().collect(), outputs.clone());
        let (executable, pool) = (executable.clone(), self.pool.clone());
        let work = Box::new(move || {
            let result = Ours::of(&*executable)?.run(&slots, &pool);
            drop((memory, held));
            result
        });
        let event = self.streams.enqueue(stream, after, is_stoppable, work)?;
        Ok(Run { outputs, event })
    }

    /// Adds memory for each output, an input's that was given up and that the plan has a use for or fresh; whether any is an input's.
    #[inline(never)]
    fn add_given(
        &self,
        signature: &Signature,
        inputs: &[&Buffer],
        donate: &[bool],
        outputs: &mut SmallVec<[Buffer; 2]>,
    ) -> Result<bool> {
        let taken = signature.taken(inputs, donate);
        for (taken, &nbytes) in taken.iter().zip(&signature.outputs) {
            outputs.push(match taken {
                Some(input) => inputs[*input as usize].clone(),
                None => self.allocator.buffer(nbytes)?,
            });
        }
        Ok(taken.iter().any(Option::is_some))
    }
}

/// How many families a series has.
const MOST_FAMILIES: usize = 8;
/// How many steps are made anew for a variant before all are; or for how many variants some are, if all were made for one so many variants ago.
const MOST_ANEW: usize = 8;
const MOST_STRAYS: usize = 2;
const LEAST_FOLLOWED: usize = 16;

/// Families of variants, the latest last: those of one program.
type Series = Vec<Family>;

/// Variants that differ in values only.
struct Family {
    varying: Arc<Varying>,
    proofs: Proofs,
    /// There where there are proofs.
    made: Option<Arc<Variants>>,
    /// How many variants followed since, and how many of them had steps that were made anew though others follow.
    followed: usize,
    strays: usize,
}

impl Family {
    fn new(varying: &Arc<Varying>) -> Self {
        Family { varying: varying.clone(), proofs: Proofs::default(), made: None, followed: 0, strays: 0 }
    }
}

/// The steps of a plan that was verified, made ready.
struct Prepared {
    signature: Signature,
    steps: Steps,
    series: Arc<Mutex<Series>>,
    /// Of the backend that made it.
    pool: Arc<Pool>,
}

/// A verified plan for the interpreter, where no code can be generated.
#[derive(Debug)]
struct Interpreted {
    interpreter: Interpreter,
    executable: Arc<dyn Executable>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({:?})", self.signature)
    }
}

impl Executable for Prepared {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn cost(&self) -> Option<Duration> {
        Some(self.steps.cost)
    }
    fn workspace(&self) -> usize {
        self.steps.workspace.end
    }
    fn disassemble(&self) -> Result<Vec<Vec<Arc<str>>>> {
        self.steps.disassemble()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Executable for Interpreted {
    fn signature(&self) -> &Signature {
        self.executable.signature()
    }
    fn workspace(&self) -> usize {
        self.executable.workspace()
    }
    fn disassemble(&self) -> Result<Vec<Vec<Arc<str>>>> {
        self.executable.disassemble()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[inline]
fn address(buffer: &Buffer) -> Result<usize> {
    match buffer.memory::<CpuMemory>() {
        Some(memory) => Ok(memory.pointer() as usize),
        None => Err(Error::internal("enqueue", "a buffer is of another backend")),
    }
}

impl Interpreted {
    /// Through buffers of the interpreter's own.
    fn run(&self, slots: &Slots) -> Result<()> {
        let signature = self.executable.signature();
        let upload = |(&at, &nbytes): (&usize, &usize)| {
            // SAFETY: an input, which is at least as large as the plan says and, while this plan runs, not written by others.
            self.interpreter.upload(unsafe { std::slice::from_raw_parts(at as *const u8, nbytes) })
        };
        let (inputs, outputs) = slots.inputs_and_outputs().split_at(signature.inputs.len());
        let inputs = inputs.iter().zip(&signature.inputs).map(upload).collect::<Result<Vec<_>>>()?;
        let inputs: Vec<&Buffer> = inputs.iter().collect();
        let run = self.interpreter.enqueue(Stream(0), &self.executable, &inputs, &[], &[], Mode::Wait)?;
        run.event.wait()?;
        for ((from, &at), &nbytes) in run.outputs.iter().zip(outputs).zip(&signature.outputs) {
            // SAFETY: an output of this run, of the size that the plan says, which nobody else uses yet.
            let to = unsafe { std::slice::from_raw_parts_mut(at as *mut u8, nbytes) };
            self.interpreter.download(from, 0, to)?;
        }
        Ok(())
    }
}

/// The memory that a run works on.
struct Work {
    slots: Slots,
    memory: Option<CpuMemory>,
    outputs: SmallVec<[Buffer; 2]>,
}

/// An executable of this backend.
enum Ours<'a> {
    Prepared(&'a Prepared),
    Interpreted(&'a Interpreted),
}

impl<'a> Ours<'a> {
    fn of(executable: &'a dyn Executable) -> Result<Self> {
        let any = executable.as_any();
        let prepared = any.downcast_ref().map(Ours::Prepared);
        prepared
            .or_else(|| any.downcast_ref().map(Ours::Interpreted))
            .ok_or_else(|| Error::internal("enqueue", "the executable is of another backend"))
    }
    /// Bytes that a run needs besides inputs and outputs.
    fn memory(&self) -> usize {
        match self {
            Ours::Prepared(prepared) => prepared.steps.workspace.end,
            Ours::Interpreted(_) => 0,
        }
    }
    fn run(&self, slots: &Slots, pool: &Pool) -> Result<()> {
        match self {
            Ours::Prepared(prepared) => prepared.steps.run(slots, pool),
            Ours::Interpreted(interpreted) => interpreted.run(slots),
        }
    }
}

impl Backend for Cpu {
    fn features(&self) -> Features {
        Features {
            name: "cpu".into(),
            architecture: self.kernels.isa.name().into(),
            threads: self.pool.threads(),
            host_memory: true,
        }
    }

    fn prepare(&self, plan: &mut Plan) -> Result<Arc<dyn Executable>> {
        if self.kernels.isa == Isa::Interpreter {
            let interpreter = Interpreter::default();
            let executable = interpreter.prepare(plan)?;
            return Ok(Arc::new(Interpreted { interpreter, executable }));
        }
        self.make(plan, Arc::default())
    }

    fn prepare_variant(
        &self,
        variant: &mut dyn Variant,
        like: Option<&Arc<dyn Executable>>,
    ) -> Result<Arc<dyn Executable>> {
        let series = match like.map(|like| like.as_any().downcast_ref()) {
            Some(Some(Prepared { series, pool, .. })) if Arc::ptr_eq(pool, &self.pool) => series.clone(),
            None if self.kernels.isa != Isa::Interpreter => Arc::default(),
            _ => return self.prepare(variant.plan()),
        };
        match variant.values().map(|(varying, values)| (varying.clone(), values.to_vec())) {
            Some((varying, values)) => self.make_variant(variant, (&varying, &values), &series),
            None => self.make(variant.plan(), series),
        }
    }

    fn enqueue(
        &self,
        stream: Stream,
        executable: &Arc<dyn Executable>,
        inputs: &[&Buffer],
        donate: &[bool],
        after: &[Event],
        mode: Mode,
    ) -> Result<Run> {
        let ours = Ours::of(&**executable)?;
        let signature = executable.signature();
        signature.verify_inputs(inputs)?;
        let mut outputs = SmallVec::with_capacity(signature.outputs.len());
        let taken = donate.contains(&true) && self.add_given(signature, inputs, donate, &mut outputs)?;
        for &nbytes in &signature.outputs[outputs.len()..] {
            outputs.push(self.allocator.buffer(nbytes)?);
        }
        let memory = match ours.memory() {
            0 => None,
            nbytes => Some(self.allocator.allocate(nbytes)?),
        };
        let memory_at = memory.as_ref().map_or(ALIGN, |m| m.pointer() as usize);
        let mut slots = Slots::new(memory_at);
        inputs.iter().try_for_each(|buffer| address(buffer).map(|at| slots.push(at)))?;
        outputs.iter().try_for_each(|buffer| address(buffer).map(|at| slots.push(at)))?;
        if mode == Mode::Wait
            && let Some(result) = self.streams.run_now(after, || ours.run(&slots, &self.pool))
        {
            let event = result.map_or_else(Event::failed, |()| Event::done());
            return Ok(Run { outputs, event });
        }
        // What overwrites an input runs to its end, or that would be lost.
        self.queue((stream, after), !taken, executable, inputs, Work { slots, memory, outputs })
    }

    fn synchronize(&self, stream: Stream) -> Event {
        self.streams.synchronize(stream)
    }

    fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.allocator.buffer(bytes.len())?;
        // SAFETY: fresh memory of that size, which nobody else knows yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address(&buffer)? as *mut u8, bytes.len()) };
        Ok(buffer)
    }

    fn download(&self, buffer: &Buffer, offset: usize, out: &mut [u8]) -> Result<()> {
        let from = address(buffer)?;
        if offset.checked_add(out.len()).is_none_or(|end| end > buffer.nbytes()) {
            let (n, of) = (out.len(), buffer.nbytes());
            return Err(Error::internal("download", format!("bytes {offset}.. to {n} more of {of} are out of bounds")));
        }
        // SAFETY: within the buffer, which `buffer` keeps alive; the work that writes it is done, says the contract.
        unsafe { std::ptr::copy_nonoverlapping((from + offset) as *const u8, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    fn host_pointer(&self, buffer: &Buffer) -> Option<*mut u8> {
        buffer.memory::<CpuMemory>().map(CpuMemory::pointer)
    }

    fn memory(&self) -> MemoryStats {
        self.allocator.stats()
    }
    fn reset_peak_memory(&self) {
        self.allocator.reset_peak();
    }
    fn clear_cache(&self) {
        self.allocator.clear_cache();
    }
    fn set_cache_limit(&self, nbytes: usize) -> usize {
        self.allocator.set_cache_limit(nbytes)
    }
    fn set_memory_limit(&self, nbytes: usize) -> usize {
        self.allocator.set_limit(nbytes)
    }
    fn kernels_generated(&self) -> usize {
        self.kernels.generated()
    }
}
