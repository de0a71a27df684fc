//! The backend: prepares plans, runs their steps, and answers for memory and streams.

use crate::alike;
use crate::fork;
use crate::isa::Isa;
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::library::Call;
use crate::memory::{ALIGN, Allocator, CpuMemory};
use crate::nest::{Context, Launches, Onwards, cost_per_point};
use crate::pool::Pool;
use crate::stream::{self, Streams};
use crate::tile::Words;
use lazuli_kernel::{
    Backend, Binding, Buffer, Error, Event, Executable, Features, HostArg, HostArray, Interpreter, LibraryCall,
    MemoryStats, Mode, Pass, Plan, Result, Run, Slot, Step, Stream, Verified, host,
};
use smallvec::SmallVec;
use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::sync::{Arc, Weak};
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

    /// Makes a plan ready; what it has in common with another one is taken over from there.
    fn make(&self, mut plan: Plan, like: Option<&Prepared>) -> Result<Arc<dyn Executable>> {
        if self.kernels.isa == Isa::Interpreter {
            let interpreter = Interpreter::default();
            let executable = interpreter.prepare(plan)?;
            return Ok(Arc::new(Interpreted { interpreter, executable }));
        }
        let mut known: Vec<Arc<Known>> = Vec::with_capacity(like.map_or(16, |like| like.known.len()));
        plan.share_kernels(&mut |kernel| {
            let one = match like.and_then(|like| like.known.get(known.len())) {
                Some(one) if Arc::ptr_eq(one.kernel(), kernel) => one.clone(),
                _ => self.kernels.known(kernel)?,
            };
            let shared = one.kernel().clone();
            known.push(one);
            Ok(shared)
        })?;
        let next = Cell::new(0);
        let plan = Verified::new(plan, like.map(|like| &like.plan), &|kernel| match known
            .get(next.replace(next.get() + 1))
        {
            Some(one) if Arc::ptr_eq(one.kernel(), kernel) => Ok(one.uses.clone()),
            _ => Ok(self.kernels.known(kernel)?.uses.clone()),
        })?;
        let was = like.map(|like| (&*like.plan, &like.steps));
        let steps = Arc::new(Steps::new(&self.kernels, &plan, was, &mut known.iter(), self.pool.threads())?);
        Ok(Arc::new(Prepared { plan, known: known.into_boxed_slice(), steps, pool: self.pool.clone() }))
    }

    fn allocate(&self, nbytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(Arc::new(self.allocator.allocate(nbytes)?)))
    }

    /// Memory for each output, an input's that was given up and that the plan has a use for or fresh; and whether any was given up.
    fn outputs(&self, plan: &Plan, inputs: &[&Buffer], donate: &[bool]) -> Result<(SmallVec<[Buffer; 2]>, bool)> {
        if !donate.contains(&true) {
            let mut fresh = SmallVec::with_capacity(plan.outputs.len());
            for &nbytes in &plan.outputs {
                fresh.push(self.allocate(nbytes)?);
            }
            return Ok((fresh, false));
        }
        let taken = plan.taken(inputs, donate);
        let memory = taken.iter().zip(&plan.outputs).map(|(taken, &nbytes)| match taken {
            Some(input) => Ok(inputs[*input as usize].clone()),
            None => self.allocate(nbytes),
        });
        Ok((memory.collect::<Result<_>>()?, taken.iter().any(Option::is_some)))
    }
}

/// A verified plan with its steps made ready.
struct Prepared {
    plan: Verified,
    /// What is known of each kernel of a step, in the order in which the plan has them.
    known: Box<[Arc<Known>]>,
    steps: Arc<Steps>,
    /// Of the backend that made it.
    pool: Arc<Pool>,
}

/// The steps of a plan made ready. What they run on they look up in the plan.
struct Steps {
    /// Numbers of the launches, see [`tile`](crate::tile).
    words: Box<[isize]>,
    steps: Vec<ReadyStep>,
    /// Where in the memory of a run the steps work: behind what lies between steps, and so many bytes.
    workspace: Range<usize>,
    cost: Duration,
}

enum ReadyStep {
    Launch(Launches),
    Call(Call),
    Scatter(Box<Onwards>),
    /// The plans that a choice is between.
    Branch(Box<[Steps; 2]>),
    /// All is in the plan.
    Plain,
    /// One of these, which is none of others.
    Shared(Arc<Steps>, usize),
}

/// Bytes that either plan of a choice needs besides inputs and outputs.
fn memory(plans: &[Steps; 2]) -> usize {
    let most = plans.iter().map(|p| p.workspace.end).max().unwrap_or(0);
    most.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}

/// A verified plan for the interpreter, where no code can be generated.
#[derive(Debug)]
struct Interpreted {
    interpreter: Interpreter,
    executable: Arc<dyn Executable>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({})", *self.plan)
    }
}

impl Executable for Prepared {
    fn plan(&self) -> &Plan {
        &self.plan
    }
    fn cost(&self) -> Duration {
        self.steps.cost
    }
    fn workspace(&self) -> usize {
        self.steps.workspace.end
    }
    fn disassemble(&self) -> Vec<Vec<String>> {
        self.steps.disassemble()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Steps {
    /// The code of the functions of each step.
    fn disassemble(&self) -> Vec<Vec<String>> {
        let code = |(step, _): (&ReadyStep, &[isize])| {
            let functions = match step {
                ReadyStep::Launch(launch) => launch.functions(),
                ReadyStep::Call(call) => call.functions(),
                ReadyStep::Scatter(scatter) => scatter.functions(),
                ReadyStep::Plain | ReadyStep::Shared(..) => vec![],
                ReadyStep::Branch(plans) => return plans.iter().flat_map(|p| p.disassemble().concat()).collect(),
            };
            let section = |f: &Arc<Function>| {
                let (kernel, code) = (f.kernel.to_string(), f.disassemble());
                format!("## Kernel\n{}\n\n## Machine code\n{code}", kernel.trim_end())
            };
            functions.iter().map(section).collect()
        };
        self.all().map(code).collect()
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

/// Where the slots of a run lie.
struct Places {
    inputs: SmallVec<[usize; 8]>,
    outputs: SmallVec<[usize; 4]>,
    /// Of the memory of the run.
    memory: usize,
}

fn address(buffer: &Buffer) -> Result<usize> {
    match buffer.memory::<CpuMemory>() {
        Some(memory) => Ok(memory.pointer() as usize),
        None => Err(Error::internal("enqueue", "a buffer is of another backend")),
    }
}

impl ReadyStep {
    /// `known`: what is known of the kernels that are left.
    fn new(
        kernels: &Kernels,
        step: &Step,
        known: &mut std::slice::Iter<Arc<Known>>,
        threads: usize,
        words: &mut Words,
    ) -> Result<Self> {
        let mut next = || known.next().cloned().ok_or_else(|| Error::internal("prepare", "a kernel is not known"));
        Ok(match step {
            Step::Launch { bindings, .. } => {
                ReadyStep::Launch(Launches::new(kernels, next()?, bindings, threads, words)?)
            }
            Step::Call(call) => ReadyStep::Call(Call::new(kernels, call, threads, words)?),
            Step::Product { call, binding, .. } => {
                ReadyStep::Call(Call::with_epilogue(kernels, call, next()?, binding, threads, words)?)
            }
            Step::Scatter(scatter) => {
                let known = [next()?, next()?, next()?];
                ReadyStep::Scatter(Box::new(Onwards::new(kernels, scatter, known, threads, words)?))
            }
            Step::Branch(branch) => {
                let [a, b] = branch.plans.each_ref().map(|plan| Steps::new(kernels, plan, None, known, threads));
                ReadyStep::Branch(Box::new([a?, b?]))
            }
            Step::Copy { .. } | Step::Host { .. } => ReadyStep::Plain,
        })
    }

    /// Bytes that it works in on so many threads.
    fn need(&self, threads: usize) -> usize {
        match self {
            ReadyStep::Launch(launches) => launches.need(threads),
            ReadyStep::Call(call) => call.need().on(threads),
            ReadyStep::Scatter(scatter) => scatter.need().on(threads),
            ReadyStep::Branch(plans) => memory(plans),
            ReadyStep::Plain => 0,
            ReadyStep::Shared(steps, n) => steps.steps[*n].need(threads),
        }
    }
}

impl Steps {
    /// Makes the steps of a verified plan ready, but those that are in another plan just so. `known`: what is known of the kernels that are left.
    fn new(
        kernels: &Kernels,
        plan: &Plan,
        like: Option<(&Plan, &Arc<Steps>)>,
        known: &mut std::slice::Iter<Arc<Known>>,
        threads: usize,
    ) -> Result<Self> {
        let most = || plan.steps.iter().map(most_words).sum();
        let mut words = Words::with_capacity(like.map_or_else(most, |(_, steps)| steps.words.len()));
        let mut steps: Vec<ReadyStep> = Vec::with_capacity(plan.steps.len());
        let (mut need, mut picoseconds) = (0, 0usize);
        for (i, step) in plan.steps.iter().enumerate() {
            let same = like.filter(|(plan, _)| plan.steps.get(i).is_some_and(|was| alike::is_ready(step, was)));
            let ready = match same {
                Some((_, steps)) => {
                    alike::skip(step, known);
                    steps.share(i)
                }
                None => ReadyStep::new(kernels, step, known, threads, &mut words)?,
            };
            need = need.max(ready.need(threads));
            picoseconds = picoseconds.saturating_add(cost(step));
            steps.push(ready);
        }
        let start = plan.arena.next_multiple_of(ALIGN);
        let (workspace, cost) = (start..start.saturating_add(need), Duration::from_nanos(picoseconds as u64 / 1000));
        Ok(Self { words: words.into_boxed_slice(), steps, workspace, cost })
    }

    /// A step, for another plan.
    fn share(self: &Arc<Self>, n: usize) -> ReadyStep {
        match &self.steps[n] {
            ReadyStep::Shared(steps, n) => ReadyStep::Shared(steps.clone(), *n),
            _ => ReadyStep::Shared(self.clone(), n),
        }
    }

    /// Each step, and the words that it was made with.
    fn all(&self) -> impl Iterator<Item = (&ReadyStep, &[isize])> {
        self.steps.iter().map(|step| match step {
            ReadyStep::Shared(of, n) => (&of.steps[*n], &of.words[..]),
            own => (own, &self.words[..]),
        })
    }

    /// An error is that of a call of the host; nothing else can fail.
    fn run(&self, plan: &Plan, places: &Places, pool: &Pool) -> Result<()> {
        let address = |slot: Slot| match slot {
            Slot::Input(n) => places.inputs[n as usize],
            Slot::Output(n) => places.outputs[n as usize],
            Slot::Temp { offset, .. } => places.memory + offset,
            Slot::Result => unreachable!("its step has memory for it"),
        };
        let Range { start, end } = self.workspace;
        // SAFETY: memory of this run that is nobody else's.
        let mut cx = unsafe { Context::new(pool, places.memory + start, end - start) };
        let stop = stream::stop_flag();
        for ((ready, words), step) in self.all().zip(&plan.steps) {
            stream::stop_here(&stop);
            // SAFETY: `prepare` verified the plan: every access of every step is within its slot, no point of a step gets in the way of another,
            // and donated inputs are not read after they are overwritten. `enqueue` checked that the inputs are as large as the plan
            // says, and allocated the outputs and the run's own memory, which nobody else knows yet (a donated buffer was given up
            // by its only user). Steps run one after another, and whoever called `enqueue` holds the buffers until they are done.
            unsafe {
                match (ready, step) {
                    (ReadyStep::Launch(launches), Step::Launch { bindings, .. }) => {
                        launches.run(bindings, words, &address, &mut cx.step())
                    }
                    (ReadyStep::Call(ready), Step::Call(call)) => {
                        ready.run(call, None, words, &address, &mut cx.step())
                    }
                    (ReadyStep::Call(ready), Step::Product { call, binding, .. }) => {
                        ready.run(call, Some(binding), words, &address, &mut cx.step())
                    }
                    (ReadyStep::Scatter(ready), Step::Scatter(scatter)) => {
                        ready.run(scatter, words, &address, &mut cx.step())
                    }
                    (ReadyStep::Plain, Step::Copy { from, to, nbytes }) => {
                        let (from, to) = (address(*from) as *const u8, address(*to) as *mut u8);
                        std::ptr::copy(from, to, *nbytes);
                    }
                    (ReadyStep::Branch(plans), Step::Branch(branch)) => {
                        let predicate = (address(branch.predicate.slot) + branch.predicate.offset) as *const u8;
                        let chosen = usize::from(*predicate == 0);
                        let mut cx = cx.step();
                        let mut memory = cx.room().take_bytes(memory(plans));
                        let places = Places {
                            inputs: branch.inputs.iter().map(|&slot| address(slot)).collect(),
                            outputs: branch.outputs.iter().map(|&slot| address(slot)).collect(),
                            memory: memory.address(),
                        };
                        plans[chosen].run(&branch.plans[chosen], &places, pool)?;
                    }
                    (ReadyStep::Plain, Step::Host { call, args }) => {
                        let array = |a: &'_ HostArg| {
                            let range = a.bytes();
                            if range.is_empty() {
                                return &[][..];
                            }
                            std::slice::from_raw_parts((address(a.slot) + range.start) as *const u8, range.len())
                        };
                        let arrays =
                            args.iter().map(|a| HostArray { dtype: a.dtype, shape: &a.shape, bytes: array(a) });
                        host::perform(&**call, &arrays.collect::<SmallVec<[HostArray<'_>; 4]>>())?;
                    }
                    _ => unreachable!("steps are made ready in their order"),
                }
            }
        }
        Ok(())
    }
}

impl Interpreted {
    /// Through buffers of the interpreter's own.
    fn run(&self, places: &Places) -> Result<()> {
        let plan = self.executable.plan();
        let upload = |(&at, &nbytes): (&usize, &usize)| {
            // SAFETY: an input, which is at least as large as the plan says and, while this plan runs, not written by others.
            self.interpreter.upload(unsafe { std::slice::from_raw_parts(at as *const u8, nbytes) })
        };
        let inputs = places.inputs.iter().zip(&plan.inputs).map(upload).collect::<Result<Vec<_>>>()?;
        let inputs: Vec<&Buffer> = inputs.iter().collect();
        let run = self.interpreter.enqueue(Stream(0), &self.executable, &inputs, &[], &[], Mode::Wait)?;
        run.event.wait()?;
        for ((from, &at), &nbytes) in run.outputs.iter().zip(&places.outputs).zip(&plan.outputs) {
            // SAFETY: an output of this run, of the size that the plan says, which nobody else uses yet.
            let to = unsafe { std::slice::from_raw_parts_mut(at as *mut u8, nbytes) };
            self.interpreter.download(from, 0, to)?;
        }
        Ok(())
    }
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
    fn run(&self, places: &Places, pool: &Pool) -> Result<()> {
        match self {
            Ours::Prepared(prepared) => prepared.steps.run(&prepared.plan, places, pool),
            Ours::Interpreted(interpreted) => interpreted.run(places),
        }
    }
}

fn product(factors: &[usize]) -> usize {
    factors.iter().fold(1usize, |n, &f| n.saturating_mul(f))
}

fn cost_of_call(call: &LibraryCall) -> usize {
    match call {
        LibraryCall::Matmul { batch, m, n, k, .. } => product(&[30, product(batch), *m, *n, *k]),
        LibraryCall::Sort { rows, n, .. } => product(&[5000, product(rows), *n]),
    }
}

/// About how many words a step takes, at most.
fn most_words(step: &Step) -> usize {
    // A block has four words for each operand, and a few besides; arrays of a nest's own are few.
    let of = |b: &Binding| (b.args.len() + 3) * (b.extents.len() + 4) + b.params.len();
    match step {
        Step::Launch { bindings, .. } => bindings.iter().map(of).sum(),
        Step::Product { binding, .. } => of(binding),
        Step::Scatter(scatter) => scatter.passes().iter().map(|pass| 2 * of(&pass.binding)).sum(),
        Step::Call(_) | Step::Copy { .. } | Step::Host { .. } | Step::Branch(_) => 0,
    }
}

/// Rough cost of a step on one thread, in picoseconds.
fn cost(step: &Step) -> usize {
    match step {
        Step::Launch { kernel, bindings } => {
            let points = bindings.iter().fold(0usize, |n, b| n.saturating_add(product(&b.extents)));
            product(&[points, cost_per_point(kernel)])
        }
        Step::Call(call) => cost_of_call(call),
        Step::Product { call, kernel, binding } => {
            cost_of_call(call).saturating_add(product(&[product(&binding.extents), cost_per_point(kernel)]))
        }
        Step::Scatter(scatter) => {
            let of_pass = |pass: &Pass| product(&[product(&pass.binding.extents), cost_per_point(&pass.kernel)]);
            scatter.passes().into_iter().fold(0, |sum, pass| sum.saturating_add(of_pass(pass)))
        }
        Step::Copy { nbytes, .. } => product(&[100, *nbytes]),
        Step::Branch(branch) => {
            let whole = |plan: &Plan| plan.steps.iter().fold(0usize, |sum, step| sum.saturating_add(cost(step)));
            branch.plans.iter().map(whole).max().unwrap_or(0)
        }
        Step::Host { args, .. } => 1_000_000 + args.iter().map(|a| product(&[100, a.bytes().len()])).sum::<usize>(),
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

    fn prepare(&self, plan: Plan) -> Result<Arc<dyn Executable>> {
        self.make(plan, None)
    }

    fn prepare_like(&self, plan: Plan, like: &Arc<dyn Executable>) -> Result<Arc<dyn Executable>> {
        self.make(plan, like.as_any().downcast_ref().filter(|like: &&Prepared| Arc::ptr_eq(&like.pool, &self.pool)))
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
        let plan = executable.plan();
        plan.verify_inputs(inputs)?;
        let (outputs, taken) = self.outputs(plan, inputs, donate)?;
        let memory = match ours.memory() {
            0 => None,
            nbytes => Some(self.allocator.allocate(nbytes)?),
        };
        let memory_at = memory.as_ref().map_or(ALIGN, |m| m.pointer() as usize);
        let mut places = Places { inputs: SmallVec::new(), outputs: SmallVec::new(), memory: memory_at };
        for buffer in inputs {
            places.inputs.push(address(buffer)?);
        }
        for buffer in &outputs {
            places.outputs.push(address(buffer)?);
        }
        if mode == Mode::Wait
            && let Some(result) = self.streams.run_now(after, || ours.run(&places, &self.pool))
        {
            let event = result.map_or_else(Event::failed, |()| Event::done());
            return Ok(Run { outputs, event });
        }
        let held: (Vec<Buffer>, SmallVec<[Buffer; 2]>) = (inputs.iter().copied().cloned().collect(), outputs.clone());
        let (executable, pool) = (executable.clone(), self.pool.clone());
        let work = Box::new(move || {
            let result = Ours::of(&*executable)?.run(&places, &pool);
            drop((memory, held));
            result
        });
        // What overwrites an input runs to its end, or that would be lost.
        let event = self.streams.enqueue(stream, after, !taken, work)?;
        Ok(Run { outputs, event })
    }

    fn synchronize(&self, stream: Stream) -> Event {
        self.streams.synchronize(stream)
    }

    fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let memory = self.allocator.allocate(bytes.len())?;
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
