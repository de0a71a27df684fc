//! The steps of a plan made ready, and how they run.

use crate::kernels::{Function, Kernels};
use crate::library::Call;
use crate::memory::ALIGN;
use crate::nest::{Context, Launches, Onwards};
use crate::places::{Addresses, Places, Slots};
use crate::pool::Pool;
use crate::settle::{OnWords, Settling};
use crate::stream;
use crate::variants::{Anew, Variant, unique};
use crate::words::{Cursor, Words};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, HostArray, HostCall, Plan, Result, Shape, Step, host, interrupt, shape, small};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The steps of a plan made ready. They run without it.
pub struct Steps {
    made: Arc<Made>,
    /// What differs, if they were made for another plan.
    variant: Option<Variant>,
    /// Where in the memory of a run the steps work: behind what lies between steps, and so many bytes.
    pub workspace: Range<usize>,
    pub cost: Duration,
}

/// What is made ready of a plan, of which [variants](crate::variants) take over all but some words.
pub struct Made {
    /// No other has it.
    pub id: u64,
    pub steps: Box<[ReadyStep]>,
    /// Of all steps, one behind the other.
    pub words: Box<[isize]>,
    pub places: Places,
}

impl Made {
    pub fn new(steps: Vec<ReadyStep>, words: Box<[isize]>, places: Places) -> Self {
        Made { id: unique(), steps: steps.into(), words, places }
    }
}

pub enum ReadyStep {
    Launch(Launches),
    Call(Call),
    Scatter(Box<Onwards>),
    /// Of as many bytes as this word says.
    Copy(usize),
    Host(Box<Host>),
    /// The plans that a choice is between.
    Branch(Box<[Steps; 2]>),
}

/// A call of the host, and the arrays that it is given.
pub struct Host {
    call: Arc<dyn HostCall>,
    /// Of each array its dtype and rank. Their extents stand one behind the other in the words from here on.
    arrays: Vec<(DType, usize)>,
    at: usize,
}

impl ReadyStep {
    /// The next one of a plan, whose words are added.
    pub fn new(kernels: &Kernels, step: &Step, threads: usize, at: &mut Cursor, words: &mut Words) -> Result<Self> {
        Ok(match step {
            Step::Launch { kernel, bindings } => {
                ReadyStep::Launch(Launches::new(kernels, kernels.known(kernel)?, bindings, threads, at, words)?)
            }
            Step::Call(call) => ReadyStep::Call(Call::new(kernels, call, threads, at, words)?),
            Step::Product { call, kernel, binding } => {
                let known = kernels.known(kernel)?;
                ReadyStep::Call(Call::with_epilogue(kernels, call, known, binding, threads, at, words)?)
            }
            Step::Scatter(scatter) => {
                let [a, b, c] = scatter.passes().map(|pass| kernels.known(&pass.kernel));
                ReadyStep::Scatter(Box::new(Onwards::new(kernels, scatter, [a?, b?, c?], threads, at, words)?))
            }
            Step::Branch(branch) => {
                let [a, b] = branch.plans.each_ref().map(|plan| Steps::new(kernels, plan, threads));
                ReadyStep::Branch(Box::new([a?, b?]))
            }
            Step::Copy { nbytes, .. } => {
                words.push(*nbytes as isize, Some(at.numbers as u32));
                ReadyStep::Copy(words.len() - 1)
            }
            Step::Host { call, args } => {
                let begin = words.len();
                let extents = args.iter().flat_map(|arg| &arg.shape);
                (at.numbers..).zip(extents).for_each(|(place, &n)| words.push(n as isize, Some(place as u32)));
                let arrays = args.iter().map(|arg| (arg.dtype, arg.shape.len())).collect();
                ReadyStep::Host(Box::new(Host { call: call.clone(), arrays, at: begin }))
            }
        })
    }

    /// Bytes that it works in on so many threads.
    pub fn need(&self, threads: usize) -> usize {
        match self {
            ReadyStep::Launch(launches) => launches.need(),
            ReadyStep::Call(call) => call.need(),
            ReadyStep::Scatter(scatter) => scatter.need().on(threads),
            ReadyStep::Branch(plans) => memory(plans),
            ReadyStep::Copy(_) | ReadyStep::Host(_) => 0,
        }
    }

    /// Works out anew what follows from the numbers that the words have now, and how many bytes it then works in. None if it would be made ready in another way for these.
    pub fn settle<S: Settling>(&self, kernels: &Kernels, cx: &mut S, threads: usize) -> Option<S::N> {
        match self {
            ReadyStep::Launch(launches) => launches.settle(cx, threads),
            ReadyStep::Call(call) => call.settle(kernels, cx, threads),
            ReadyStep::Copy(_) | ReadyStep::Host(_) => Some(S::count(0)),
            ReadyStep::Scatter(_) | ReadyStep::Branch(_) => None,
        }
    }

    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        match self {
            ReadyStep::Launch(launches) => launches.cost(cx),
            ReadyStep::Call(call) => call.cost(cx),
            ReadyStep::Scatter(scatter) => S::count(scatter.cost),
            &ReadyStep::Copy(at) => {
                let nbytes = cx.number(at);
                cx.mul_by(nbytes, 100)
            }
            ReadyStep::Host(host) => host.cost(cx),
            ReadyStep::Branch(plans) => {
                let most = plans.iter().map(|plan| plan.cost).max().unwrap_or_default();
                S::count(usize::try_from(most.as_nanos()).map_or(usize::MAX, |cost| cost.saturating_mul(1000)))
            }
        }
    }
}

/// Bytes that steps work in, and their cost in picoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load<N = usize> {
    pub need: N,
    pub cost: N,
}

impl Load {
    /// Of a step that was made ready on these words.
    pub fn of(step: &ReadyStep, words: &mut [isize], threads: usize) -> Load {
        Load { need: step.need(threads), cost: step.cost(&mut OnWords(words)) as usize }
    }
    /// With one more step.
    pub fn add(&mut self, Load { need, cost }: Load) {
        self.need = self.need.max(need);
        self.cost = self.cost.saturating_add(cost);
    }
}

impl From<Load<i64>> for Load {
    fn from(Load { need, cost }: Load<i64>) -> Load {
        Load { need: need as usize, cost: cost as usize }
    }
}

impl Steps {
    /// Makes the steps of a verified plan ready.
    pub fn new(kernels: &Kernels, plan: &Plan, threads: usize) -> Result<Self> {
        let (mut at, mut words) = (Cursor::default(), Words::default());
        let mut load = Load::default();
        let mut steps = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            interrupt::poll()?;
            let step = ReadyStep::new(kernels, step, threads, &mut at, &mut words)?;
            load.add(Load::of(&step, &mut words, threads));
            steps.push(step);
        }
        let made = Made::new(steps, words.into_boxed_slice(), Places::of(plan));
        Ok(Self::of(Arc::new(made), None, plan.arena, load))
    }

    /// Those that were made, perhaps for another plan, with so much memory between steps.
    pub fn of(made: Arc<Made>, variant: Option<Variant>, arena: usize, load: Load) -> Self {
        let start = arena.next_multiple_of(ALIGN);
        let workspace = start..start.saturating_add(load.need);
        Self { made, variant, workspace, cost: Duration::from_nanos(load.cost as u64 / 1000) }
    }

    /// Panics unless they run as others that were made for the plan itself.
    #[cfg(debug_assertions)]
    pub fn assert_are(&self, own: &Steps, plan: &Plan) {
        assert_eq!((&self.workspace, self.cost), (&own.workspace, own.cost), "{plan}");
        let slots = Slots::of(plan.inputs.len() + plan.outputs.len());
        let mut addresses = self.made.places.addresses(&slots);
        let variant = self.variant.as_ref().expect("they are of another plan");
        variant.place(&mut addresses);
        assert_eq!(addresses, own.made.places.addresses(&slots), "{plan}");
        if variant.anew.is_empty() {
            variant.with_words(|words| assert_eq!(*words, own.made.words[..], "{plan}"));
        }
    }

    /// An error is that of a call of the host; nothing else can fail.
    pub fn run(&self, slots: &Slots, pool: &Pool) -> Result<()> {
        let Made { words, places, .. } = &*self.made;
        let mut addresses = places.addresses(slots);
        match &self.variant {
            None => self.run_on(words, &[], &addresses, slots, pool),
            Some(variant) => {
                variant.place(&mut addresses);
                variant.with_words(|words| self.run_on(words, &variant.anew, &addresses, slots, pool))
            }
        }
    }

    /// The same on these words, but for steps that were made anew.
    fn run_on(
        &self,
        words: &[isize],
        mut anew: &[Anew],
        addresses: &Addresses,
        slots: &Slots,
        pool: &Pool,
    ) -> Result<()> {
        let Made { steps, places, .. } = &*self.made;
        let Range { start, end } = self.workspace;
        // SAFETY: memory of this run that is nobody else's.
        let mut cx = unsafe { Context::new(pool, slots.memory() + start, end - start) };
        let stop = stream::stop_flag();
        for (n, (step, bases)) in steps.iter().zip(places.by_step(addresses)).enumerate() {
            stream::stop_here(&stop);
            let (step, words) = match anew {
                [first, rest @ ..] if first.number == n => {
                    anew = rest;
                    (&first.step, &first.words[..])
                }
                _ => (step, words),
            };
            // SAFETY: the plan was verified, or a proof holds for its values, from which its words follow: every access of every step is within its slot, no point of a step gets in the way of another,
            // and donated inputs are not read after they are overwritten. `enqueue` checked that the inputs are as large as the plan
            // says, and allocated the outputs and the run's own memory, which nobody else knows yet (a donated buffer was given up
            // by its only user). Steps run one after another, and whoever called `enqueue` holds the buffers until they are done.
            unsafe {
                match step {
                    ReadyStep::Launch(launches) => launches.run(words, bases, &mut cx.step()),
                    ReadyStep::Call(call) => call.run(words, bases, &mut cx.step()),
                    ReadyStep::Scatter(scatter) => scatter.run(words, bases, &mut cx.step()),
                    &ReadyStep::Copy(at) => {
                        std::ptr::copy(bases[0] as *const u8, bases[1] as *mut u8, words[at] as usize);
                    }
                    ReadyStep::Host(host) => host.run(words, bases)?,
                    ReadyStep::Branch(plans) => run_branch(plans, bases, &mut cx.step(), pool)?,
                }
            }
        }
        Ok(())
    }
}

/// Runs one of the plans of a choice, as the first argument says.
///
/// # Safety
///
/// At these addresses lie a boolean, and what the plans take for their inputs and outputs.
#[inline(never)]
unsafe fn run_branch(plans: &[Steps; 2], bases: &[usize], cx: &mut Context<'_>, pool: &Pool) -> Result<()> {
    // SAFETY: the caller's.
    let chosen = unsafe { usize::from(*(bases[0] as *const u8) == 0) };
    let mut memory = cx.room().take_bytes(memory(plans));
    let mut slots = Slots::new(memory.address());
    bases[1..].iter().for_each(|&at| slots.push(at));
    plans[chosen].run(&slots, pool)
}

impl ReadyStep {
    fn disassemble(&self, known: &mut Texts) -> Result<Vec<Arc<str>>> {
        interrupt::poll()?;
        let functions = match self {
            ReadyStep::Launch(launch) => launch.functions(),
            ReadyStep::Call(call) => call.functions(),
            ReadyStep::Scatter(scatter) => scatter.functions(),
            ReadyStep::Copy(_) | ReadyStep::Host(_) => vec![],
            ReadyStep::Branch(plans) => {
                let [a, b] = plans.each_ref().map(|plan| plan.disassembled(known));
                return Ok([a?, b?].concat().concat());
            }
        };
        let section = |f: &Arc<Function>| {
            let (kernel, code) = (f.kernel.to_string(), f.disassemble());
            format!("## Kernel\n{}\n\n## Machine code\n{code}", kernel.trim_end()).into()
        };
        let text = |f: &Arc<Function>| known.entry(Arc::as_ptr(f)).or_insert_with(|| section(f)).clone();
        Ok(functions.iter().map(text).collect())
    }
}

/// The code of functions, as text.
type Texts = Map<*const Function, Arc<str>>;

impl Steps {
    /// The code of the functions of each step; that of a function is one text wherever it is used.
    pub fn disassemble(&self) -> Result<Vec<Vec<Arc<str>>>> {
        self.disassembled(&mut Texts::default())
    }

    fn disassembled(&self, known: &mut Texts) -> Result<Vec<Vec<Arc<str>>>> {
        let mut code = self.made.steps.iter().map(|step| step.disassemble(known)).collect::<Result<Vec<_>>>()?;
        for anew in self.variant.iter().flat_map(|variant| &variant.anew) {
            code[anew.number] = anew.step.disassemble(known)?;
        }
        Ok(code)
    }
}

impl Host {
    /// Rough cost, in picoseconds.
    fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        let (mut cost, mut at) = (S::count(1_000_000), self.at);
        for &(dtype, rank) in &self.arrays {
            let extents = cx.numbers(at, rank);
            let points = cx.mul_all(&extents);
            let own = cx.mul_by(points, 100 * dtype.itemsize());
            (cost, at) = (cx.add(cost, own), at + rank);
        }
        cost
    }

    fn arrays(&self, words: &[isize]) -> impl Iterator<Item = (DType, Shape)> {
        let mut rest = &words[self.at..];
        self.arrays.iter().map(move |&(dtype, rank)| {
            let extents = rest.split_off(..rank).expect("the extents are there");
            (dtype, small(extents.iter().map(|&n| n as usize)))
        })
    }

    /// # Safety
    ///
    /// At these addresses are arrays as it takes them, which nobody writes meanwhile.
    #[inline(never)]
    unsafe fn run(&self, words: &[isize], bases: &[usize]) -> Result<()> {
        let shapes: SmallVec<[(DType, Shape); 4]> = self.arrays(words).collect();
        let mut arrays = SmallVec::<[HostArray<'_>; 4]>::new();
        for (&(dtype, ref shape), &at) in shapes.iter().zip(bases) {
            let bytes = match shape::size(shape) * dtype.itemsize() {
                0 => &[],
                // SAFETY: the caller's.
                n => unsafe { std::slice::from_raw_parts(at as *const u8, n) },
            };
            arrays.push(HostArray { dtype, shape, bytes });
        }
        host::perform(&*self.call, &arrays)
    }
}

/// Bytes that either plan of a choice needs besides inputs and outputs.
fn memory(plans: &[Steps; 2]) -> usize {
    let most = plans.iter().map(|p| p.workspace.end).max().unwrap_or(0);
    most.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}
