//! The backend: prepares plans, runs their steps, and answers for memory and streams.

use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::library::Call;
use crate::memory::{Allocator, CpuMemory};
use crate::nest::{Context, Launches};
use crate::pool::Pool;
use crate::stream::Streams;
use lazuli_kernel::{
    Backend, Buffer, Error, Event, Executable, Features, Interpreter, MemoryStats, Mode, Plan, Result, Run, Slot, Step,
    Stream,
};
use smallvec::SmallVec;
use std::any::Any;
use std::sync::Arc;

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
/// let plan = Plan {
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
/// let executable = cpu.prepare(plan)?;
/// let input: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let run = cpu.enqueue(Stream(0), &executable, &[cpu.upload(&input)?], &[false], Mode::Wait)?;
/// run.event.wait()?;
/// let mut bytes = [0; 4];
/// cpu.download(&run.outputs[0], 12, &mut bytes)?;
/// assert_eq!(f32::from_le_bytes(bytes), -4.0);
/// # Ok::<(), lazuli_kernel::Error>(())
/// ```
#[derive(Debug)]
pub struct Cpu {
    kernels: Kernels,
    context: Arc<Context>,
    streams: Streams,
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
        let context = Arc::new(Context { pool, allocator: Allocator::new() });
        Self { kernels: Kernels::new(isa), context, streams: Streams::default() }
    }

    fn allocate(&self, nbytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(Arc::new(self.context.allocator.allocate(nbytes)?)))
    }

    /// Memory for each output: an input's that was given up and that the plan has a use for, or fresh.
    fn outputs(&self, plan: &Plan, inputs: &[Buffer], donate: &[bool]) -> Result<Vec<Buffer>> {
        let given = |output: usize| {
            let &(_, input) = plan.donations.iter().find(|&&(o, _)| o as usize == output)?;
            let buffer = &inputs[input as usize];
            let donated = donate.get(input as usize).is_some_and(|&d| d);
            let is_shared = || inputs.iter().filter(|other| other.same(buffer)).count() > 1;
            (donated && buffer.nbytes() == plan.outputs[output] && !is_shared()).then(|| buffer.clone())
        };
        let sizes = plan.outputs.iter().enumerate();
        sizes.map(|(o, &nbytes)| given(o).map_or_else(|| self.allocate(nbytes), Ok)).collect()
    }
}

/// A verified plan with its steps made ready.
struct Prepared {
    plan: Plan,
    steps: Vec<ReadyStep>,
}

enum ReadyStep {
    Launch(Launches),
    Call(Call),
    Copy { from: Slot, to: Slot, nbytes: usize },
}

/// A verified plan for the interpreter, where no code can be generated.
#[derive(Debug)]
struct Interpreted {
    interpreter: Interpreter,
    executable: Arc<dyn Executable>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({})", self.plan)
    }
}

impl Executable for Prepared {
    fn plan(&self) -> &Plan {
        &self.plan
    }
    fn disassemble(&self) -> Vec<Vec<String>> {
        let functions = |step: &ReadyStep| match step {
            ReadyStep::Launch(launch) => launch.functions(),
            ReadyStep::Call(call) => call.functions(),
            ReadyStep::Copy { .. } => vec![],
        };
        let code = |step| functions(step).iter().map(|f| format!("{}\n{}", f.kernel, f.disassemble())).collect();
        self.steps.iter().map(code).collect()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Executable for Interpreted {
    fn plan(&self) -> &Plan {
        self.executable.plan()
    }
    fn disassemble(&self) -> Vec<Vec<String>> {
        self.executable.disassemble()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The memory of a run, held until it is done.
struct Memory {
    inputs: SmallVec<[Buffer; 8]>,
    outputs: SmallVec<[Buffer; 4]>,
    arena: CpuMemory,
}

fn address(buffer: &Buffer) -> Result<usize> {
    match buffer.memory::<CpuMemory>() {
        Some(memory) => Ok(memory.pointer() as usize),
        None => Err(Error::internal("enqueue", "a buffer is of another backend")),
    }
}

impl Prepared {
    fn run(&self, memory: &Memory, cx: &Context) -> Result<()> {
        let resolve = |buffers: &[Buffer]| buffers.iter().map(address).collect::<Result<SmallVec<[usize; 8]>>>();
        let (inputs, outputs) = (resolve(&memory.inputs)?, resolve(&memory.outputs)?);
        let arena = memory.arena.pointer() as usize;
        let address = |slot: Slot| match slot {
            Slot::Input(n) => inputs[n as usize],
            Slot::Output(n) => outputs[n as usize],
            Slot::Temp { offset, .. } => arena + offset,
        };
        for step in &self.steps {
            // SAFETY: `prepare` verified the plan: every access of every step is within its slot, no point of a step gets in the way of another,
            // and donated inputs are not read after they are overwritten. `enqueue` checked that the inputs are as large as the plan
            // says, and allocated the outputs and the arena, which nobody else knows yet (a donated buffer was given up
            // by its only user). Steps run one after another, plans of a stream too; the buffers are held by `memory`.
            unsafe {
                match step {
                    ReadyStep::Launch(launch) => launch.run(&address, cx)?,
                    ReadyStep::Call(call) => call.run(&address, cx)?,
                    ReadyStep::Copy { from, to, nbytes } => {
                        let (from, to) = (address(*from) as *const u8, address(*to) as *mut u8);
                        std::ptr::copy(from, to, *nbytes);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Interpreted {
    /// Through buffers of the interpreter's own.
    fn run(&self, memory: &Memory) -> Result<()> {
        let bytes = |buffer: &Buffer| -> Result<&[u8]> {
            // SAFETY: a buffer of ours, alive and, while this plan runs, not written by others.
            Ok(unsafe { std::slice::from_raw_parts(address(buffer)? as *const u8, buffer.nbytes()) })
        };
        let upload = |buffer| self.interpreter.upload(bytes(buffer)?);
        let inputs = memory.inputs.iter().map(upload).collect::<Result<Vec<_>>>()?;
        let run = self.interpreter.enqueue(Stream(0), &self.executable, &inputs, &[], Mode::Wait)?;
        run.event.wait()?;
        for (from, to) in run.outputs.iter().zip(&memory.outputs) {
            // SAFETY: an output of this run, which nobody else uses yet.
            let to = unsafe { std::slice::from_raw_parts_mut(address(to)? as *mut u8, from.nbytes()) };
            self.interpreter.download(from, 0, to)?;
        }
        Ok(())
    }
}

impl Backend for Cpu {
    fn features(&self) -> Features {
        Features {
            name: "cpu".into(),
            architecture: self.kernels.isa.name().into(),
            threads: self.context.pool.threads(),
            host_memory: true,
        }
    }

    fn prepare(&self, plan: Plan) -> Result<Arc<dyn Executable>> {
        if self.kernels.isa == Isa::Interpreter {
            let interpreter = Interpreter::default();
            let executable = interpreter.prepare(plan)?;
            return Ok(Arc::new(Interpreted { interpreter, executable }));
        }
        plan.verify()?;
        let ready = |step: &Step| {
            Ok(match step {
                Step::Launch { kernel, bindings } => {
                    ReadyStep::Launch(Launches::new(&self.kernels, kernel, bindings, self.context.pool.threads())?)
                }
                Step::Call(call) => ReadyStep::Call(Call::new(&self.kernels, call)?),
                Step::Copy { from, to, nbytes } => ReadyStep::Copy { from: *from, to: *to, nbytes: *nbytes },
            })
        };
        let steps = plan.steps.iter().map(ready).collect::<Result<_>>()?;
        Ok(Arc::new(Prepared { plan, steps }))
    }

    fn enqueue(
        &self,
        stream: Stream,
        executable: &Arc<dyn Executable>,
        inputs: &[Buffer],
        donate: &[bool],
        mode: Mode,
    ) -> Result<Run> {
        let plan = executable.plan();
        plan.verify_inputs(inputs)?;
        inputs.iter().try_for_each(|b| address(b).map(drop))?;
        let outputs = self.outputs(plan, inputs, donate)?;
        let arena = self.context.allocator.allocate(plan.arena)?;
        let memory = Memory { inputs: inputs.into(), outputs: outputs.as_slice().into(), arena };
        let any = executable.as_any();
        let is_ours = any.is::<Prepared>() || any.is::<Interpreted>();
        if !is_ours {
            return Err(Error::internal("enqueue", "the executable is of another backend"));
        }
        let run = |executable: &Arc<dyn Executable>, memory: &Memory, cx: &Context| {
            let any = executable.as_any();
            match (any.downcast_ref::<Prepared>(), any.downcast_ref::<Interpreted>()) {
                (Some(prepared), _) => prepared.run(memory, cx),
                (_, Some(interpreted)) => interpreted.run(memory),
                _ => unreachable!("checked above"),
            }
        };
        if mode == Mode::Wait
            && let Ok(result) = self.streams.run_now(stream, || run(executable, &memory, &self.context))
        {
            result?;
            return Ok(Run { outputs, event: Event::done() });
        }
        let (executable, context) = (executable.clone(), self.context.clone());
        let event = self.streams.enqueue(stream, Box::new(move || run(&executable, &memory, &context)))?;
        Ok(Run { outputs, event })
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.streams.synchronize(stream)
    }

    fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let memory = self.context.allocator.allocate(bytes.len())?;
        // SAFETY: fresh memory of that size, which nobody else knows yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.pointer(), bytes.len()) };
        Ok(Buffer::new(Arc::new(memory)))
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
        self.context.allocator.stats()
    }
    fn reset_peak_memory(&self) {
        self.context.allocator.reset_peak();
    }
    fn clear_cache(&self) {
        self.context.allocator.clear_cache();
    }
    fn set_cache_limit(&self, nbytes: usize) -> usize {
        self.context.allocator.set_limit(nbytes)
    }
    fn kernels_generated(&self) -> usize {
        self.kernels.generated()
    }
}
