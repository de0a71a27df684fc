//! The steps of a plan made ready, and how they run.

use crate::alike;
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::library::Call;
use crate::memory::ALIGN;
use crate::nest::{Context, Launches, Onwards, cost_per_point};
use crate::places::{Places, Slots};
use crate::pool::Pool;
use crate::stream;
use crate::tile::Words;
use lazuli_kernel::{
    DType, Error, HostArray, HostCall, LibraryCall, Pass, Plan, PlanWords, Result, Shape, Step, host, shape,
};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The steps of a plan made ready. They run without it.
pub struct Steps {
    /// Those that are alike are one.
    steps: Box<[Arc<Made>]>,
    /// Of each step the earlier one that it may be alike, as far as kernels and sizes tell; else itself.
    firsts: Arc<[u32]>,
    places: Places,
    /// Where in the memory of a run the steps work: behind what lies between steps, and so many bytes.
    pub workspace: Range<usize>,
    pub cost: Duration,
}

/// A step made ready: of one plan, or of several.
struct Made {
    step: ReadyStep,
    /// Numbers of its launches, see [`tile`](crate::tile).
    words: Box<[isize]>,
}

enum ReadyStep {
    Launch(Launches),
    Call(Call),
    Scatter(Box<Onwards>),
    /// Of so many bytes.
    Copy(usize),
    Host(Box<Host>),
    /// The plans that a choice is between.
    Branch(Box<[Steps; 2]>),
}

/// A call of the host, and the arrays that it is given.
struct Host {
    call: Arc<dyn HostCall>,
    arrays: Vec<(DType, Shape)>,
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
                let [a, b] = (branch.plans.each_ref())
                    .map(|plan| Steps::new(kernels, plan, &PlanWords::of(plan), None, known, threads));
                ReadyStep::Branch(Box::new([a?, b?]))
            }
            Step::Copy { nbytes, .. } => ReadyStep::Copy(*nbytes),
            Step::Host { call, args } => {
                let arrays = args.iter().map(|arg| (arg.dtype, arg.shape.clone())).collect();
                ReadyStep::Host(Box::new(Host { call: call.clone(), arrays }))
            }
        })
    }

    /// Bytes that it works in on so many threads.
    fn need(&self, threads: usize) -> usize {
        match self {
            ReadyStep::Launch(launches) => launches.need(),
            ReadyStep::Call(call) => call.need(),
            ReadyStep::Scatter(scatter) => scatter.need().on(threads),
            ReadyStep::Branch(plans) => memory(plans),
            ReadyStep::Copy(_) | ReadyStep::Host(_) => 0,
        }
    }
}

impl Steps {
    /// Makes the steps of a verified plan of these words ready, each once that is alike in it or in another plan. `known`: what is known of the kernels that are left.
    pub fn new(
        kernels: &Kernels,
        plan: &Plan,
        plan_words: &PlanWords,
        like: Option<(&PlanWords, &Arc<Steps>)>,
        known: &mut std::slice::Iter<Arc<Known>>,
        threads: usize,
    ) -> Result<Self> {
        let like = like.filter(|(of, _)| of.steps() == plan.steps.len());
        let firsts = like.map_or_else(|| alike::firsts(&plan.steps), |(_, steps)| steps.firsts.clone());
        let mut words = Words::new();
        let mut steps: Vec<Arc<Made>> = Vec::with_capacity(plan.steps.len());
        let (mut need, mut picoseconds) = (0, 0usize);
        for (i, step) in plan.steps.iter().enumerate() {
            let is_alike = |of: &PlanWords, n| alike::may_be_shared(step) && plan_words.is_alike(i, of, n);
            let before = like.filter(|(of, _)| is_alike(of, i)).map(|(_, steps)| &steps.steps[i]);
            let first = firsts[i] as usize;
            let again = || (first < i && is_alike(plan_words, first)).then(|| &steps[first]);
            let made = match before.or_else(again) {
                Some(made) => {
                    alike::skip(step, known);
                    made.clone()
                }
                None => {
                    words.clear();
                    let step = ReadyStep::new(kernels, step, known, threads, &mut words)?;
                    Arc::new(Made { step, words: words[..].into() })
                }
            };
            need = need.max(made.step.need(threads));
            picoseconds = picoseconds.saturating_add(cost(step));
            steps.push(made);
        }
        let start = plan.arena.next_multiple_of(ALIGN);
        let (workspace, cost) = (start..start.saturating_add(need), Duration::from_nanos(picoseconds as u64 / 1000));
        let places = Places::new(plan, plan_words, like.map(|(of, steps)| (of, &steps.places)));
        Ok(Self { steps: steps.into_boxed_slice(), firsts, places, workspace, cost })
    }

    /// An error is that of a call of the host; nothing else can fail.
    pub fn run(&self, slots: &Slots, pool: &Pool) -> Result<()> {
        let addresses = self.places.addresses(slots);
        let Range { start, end } = self.workspace;
        // SAFETY: memory of this run that is nobody else's.
        let mut cx = unsafe { Context::new(pool, slots.memory() + start, end - start) };
        let stop = stream::stop_flag();
        for (made, bases) in self.steps.iter().zip(self.places.by_step(&addresses)) {
            stream::stop_here(&stop);
            let words = &made.words[..];
            // SAFETY: `prepare` verified the plan: every access of every step is within its slot, no point of a step gets in the way of another,
            // and donated inputs are not read after they are overwritten. `enqueue` checked that the inputs are as large as the plan
            // says, and allocated the outputs and the run's own memory, which nobody else knows yet (a donated buffer was given up
            // by its only user). Steps run one after another, and whoever called `enqueue` holds the buffers until they are done.
            unsafe {
                match &made.step {
                    ReadyStep::Launch(launches) => launches.run(words, bases, &mut cx.step()),
                    ReadyStep::Call(call) => call.run(words, bases, &mut cx.step()),
                    ReadyStep::Scatter(scatter) => scatter.run(words, bases, &mut cx.step()),
                    &ReadyStep::Copy(nbytes) => {
                        std::ptr::copy(bases[0] as *const u8, bases[1] as *mut u8, nbytes);
                    }
                    ReadyStep::Host(host) => host.run(bases)?,
                    ReadyStep::Branch(plans) => {
                        let chosen = usize::from(*(bases[0] as *const u8) == 0);
                        let mut cx = cx.step();
                        let mut memory = cx.room().take_bytes(memory(plans));
                        let mut slots = Slots::new(memory.address());
                        bases[1..].iter().for_each(|&at| slots.push(at));
                        plans[chosen].run(&slots, pool)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Steps {
    /// The code of the functions of each step.
    pub fn disassemble(&self) -> Vec<Vec<String>> {
        let code = |made: &Arc<Made>| {
            let functions = match &made.step {
                ReadyStep::Launch(launch) => launch.functions(),
                ReadyStep::Call(call) => call.functions(),
                ReadyStep::Scatter(scatter) => scatter.functions(),
                ReadyStep::Copy(_) | ReadyStep::Host(_) => vec![],
                ReadyStep::Branch(plans) => return plans.iter().flat_map(|p| p.disassemble().concat()).collect(),
            };
            let section = |f: &Arc<Function>| {
                let (kernel, code) = (f.kernel.to_string(), f.disassemble());
                format!("## Kernel\n{}\n\n## Machine code\n{code}", kernel.trim_end())
            };
            functions.iter().map(section).collect()
        };
        self.steps.iter().map(code).collect()
    }
}

impl Host {
    /// # Safety
    ///
    /// At these addresses are arrays as it takes them, which nobody writes meanwhile.
    unsafe fn run(&self, bases: &[usize]) -> Result<()> {
        let mut arrays = SmallVec::<[HostArray<'_>; 4]>::new();
        for (&(dtype, ref shape), &at) in self.arrays.iter().zip(bases) {
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

fn product(factors: &[usize]) -> usize {
    factors.iter().fold(1usize, |n, &f| n.saturating_mul(f))
}

fn cost_of_call(call: &LibraryCall) -> usize {
    match call {
        LibraryCall::Matmul { batch, m, n, k, .. } => product(&[30, product(batch), *m, *n, *k]),
        LibraryCall::Sort { rows, n, .. } => product(&[5000, product(rows), *n]),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use lazuli_kernel::Verifier;
    use lazuli_kernel::testing::{DTYPES, NestKind, random_case};
    use std::sync::LazyLock;

    static KERNELS: LazyLock<Kernels> = LazyLock::new(|| Kernels::new(Isa::detect()));

    /// The steps of plans that are made ready one after another.
    #[derive(Default)]
    struct Series {
        verifier: Verifier,
        latest: Option<Arc<Steps>>,
    }

    impl Series {
        /// How the steps of a plan are there: made, the same as an earlier one, or shared with the plan before.
        fn next(&mut self, plan: &Plan) -> String {
            let known = plan.steps.iter().map(|step| match step {
                Step::Launch { kernel, .. } => KERNELS.known(kernel),
                _ => unreachable!("the cases are launches"),
            });
            let known = known.collect::<Result<Vec<_>>>().unwrap();
            self.verifier.verify(plan, &|kernel| Ok(KERNELS.known(kernel)?.uses.clone())).unwrap();
            let like = self.latest.as_ref().map(|steps| (self.verifier.before(), steps));
            let steps =
                Arc::new(Steps::new(&KERNELS, plan, self.verifier.words(), like, &mut known.iter(), 2).unwrap());
            let before = self.latest.replace(steps.clone());
            let find = |among: &[Arc<Made>], made: &Arc<Made>| among.iter().position(|other| Arc::ptr_eq(other, made));
            let one = |(i, made): (usize, &Arc<Made>)| match before.as_ref().and_then(|of| find(&of.steps, made)) {
                Some(n) => format!("shared {n}"),
                None => find(&steps.steps[..i], made).map_or("made".into(), |n| format!("again {n}")),
            };
            steps.steps.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
        }
    }

    #[test]
    fn steps_that_are_alike_are_made_ready_once() {
        if KERNELS.isa == Isa::Interpreter {
            return;
        }
        let mut plan = random_case(3, NestKind::Map, &DTYPES).plan;
        let step = plan.steps[0].clone();
        plan.steps = vec![step.clone(); 3];
        let mut other = plan.clone();
        let halve = |step: &mut Step| match step {
            Step::Launch { bindings, .. } => Arc::make_mut(bindings)[0].extents.iter_mut().for_each(|n| *n /= 2),
            _ => unreachable!("a launch"),
        };
        halve(&mut other.steps[1]);
        let shown = |plans: &[&Plan]| {
            let mut series = Series::default();
            plans.iter().map(|plan| series.next(plan)).last().unwrap()
        };
        assert_eq!(shown(&[&plan]), "made, again 0, again 0");
        assert_eq!(shown(&[&other]), "made, made, again 0");
        // After another plan what is alike there is looked at, and may differ.
        assert_eq!(shown(&[&plan, &other]), "shared 0, made, shared 0");
        let mut halves = plan.clone();
        halves.steps.iter_mut().for_each(halve);
        assert_eq!(shown(&[&plan, &halves]), "made, again 0, again 0");
        assert_eq!(shown(&[&plan, &halves, &halves]), "shared 0, shared 0, shared 0");
        halves.steps[0] = step;
        assert_eq!(shown(&[&plan, &halves]), "shared 0, made, made");
    }
}
