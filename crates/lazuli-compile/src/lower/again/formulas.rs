//! A plan for any extents of a [pattern](crate::pattern): all its numbers as arithmetic on those of the pattern.
//!
//! When a program was lowered by recipes once, these are [linked](link): how each variable lies follows from extents, so do the numbers of its launches, and the sizes of buffers. Where all
//! decisions come out as they did, other extents lead to the same steps, and a plan for them is a copy of the first with other numbers; what has the same ones is shared with it. No graph is
//! bound for that, and nothing lowered.
//!
//! Absent: choices. Programs with such steps are lowered, by recipes.

mod link;

use super::is_row;
use crate::lower::numbers::{Leaf, Numbers, Source};
use crate::lower::places::{BufferId, Held};
use crate::memory::Arrangement;
use crate::pattern::Pattern;
use crate::pipeline::{OutputInfo, OutputSource};
use lazuli_ir::{Shape, ShapeId, Var, small};
use lazuli_kernel::{
    Arg, Binding, DType, HostArg, Kernel, Layout, LibraryCall, Pass, Plan, Scalar, Scatter, Slot, Step, Strides,
};
pub(crate) use link::Linked;
use smallvec::SmallVec;
use std::sync::Arc;

/// Where the numbers of an entry of the work come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WorkSource {
    /// This launch of the recipe for that.
    Launch(Held, u32),
    /// All three of it.
    Scatter(Held),
    /// Where factors lie. `result` is computed, or its transpose; the recipe of an epilogue.
    Matmul { factors: [Var; 2], result: Var, turned: Option<Var>, epilogue: Option<Var> },
    /// They are the same for all extents.
    Fixed,
    /// How a variable lies, and along which axis it is sorted.
    Sort { of: Var, result: Var, axis: u32 },
    /// Where the inputs of this equation lie.
    Host(u32),
    /// Of others that is not known.
    Other,
}

/// A plan of which all numbers are known as formulas.
#[derive(Debug)]
pub(crate) struct Formulas {
    /// The shapes that variables have, each once.
    shapes: Vec<ShapeId>,
    pattern: Pattern,
    /// How inputs have to lie; None for row by row.
    inputs: Vec<Option<Layout>>,
    numbers: Numbers<Class>,
    /// Of each buffer, in bytes.
    sizes: Vec<Source>,
    steps: Vec<StepFormula>,
    outputs: Vec<OutputFormula>,
    /// Which numbers all of these go by.
    outputs_by: Classes,
    /// For the numbers of the pattern: the plan, where its buffers are, and its outputs.
    plan: Plan,
    slots: Vec<Slot>,
    infos: Arc<[OutputInfo]>,
    /// Whether the kernels of the plan are those that a backend has.
    pub is_ready: bool,
}

/// The number of a class of the pattern, from which others are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Class(u32);

impl Leaf for Class {
    fn is_extent(self) -> bool {
        true
    }
}

/// Which numbers of a pattern something depends on: a bit for each class, the last for all beyond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Classes(u64);

impl Classes {
    fn of(class: u32) -> Classes {
        Classes(1 << class.min(63))
    }
    fn with(self, other: Classes) -> Classes {
        Classes(self.0 | other.0)
    }
    fn meets(self, other: Classes) -> bool {
        self.0 & other.0 != 0
    }
}

#[derive(Debug)]
enum StepFormula {
    Launch(Vec<BindingFormula>),
    Call(CallFormula),
    Product(CallFormula, BindingFormula),
    Scatter(Box<[BindingFormula; 3]>),
    Host(Vec<HostFormula>),
}

/// What a kernel runs on.
#[derive(Debug, Default)]
struct BindingFormula {
    extents: SmallVec<[Source; 4]>,
    args: Vec<ArgFormula>,
    /// Parameters that are numbers.
    params: SmallVec<[(u32, DType, Source); 2]>,
    by: Classes,
}

#[derive(Debug)]
struct ArgFormula {
    /// None for what the step hands on.
    buffer: Option<BufferId>,
    offset: Source,
    strides: SmallVec<[Source; 4]>,
    len: Source,
}

/// A call of a library routine.
#[derive(Debug, Default)]
struct CallFormula {
    /// Of a product the batch, rows, columns, and what is summed; of a sort the rows, and what is sorted.
    sizes: SmallVec<[Source; 5]>,
    args: SmallVec<[ArgFormula; 3]>,
    by: Classes,
}

/// An array that the host is given.
#[derive(Debug)]
struct HostFormula {
    buffer: BufferId,
    offset: Source,
    shape: SmallVec<[Source; 4]>,
}

/// Where an output of the graph lies.
#[derive(Debug)]
struct OutputFormula {
    source: OutputSource,
    shape: SmallVec<[Source; 4]>,
    strides: SmallVec<[Source; 4]>,
    offset: Source,
}

/// The kernels of a step, as [`Plan::share_kernels`] has them.
fn kernels(step: &Step) -> SmallVec<[&Arc<Kernel>; 3]> {
    match step {
        Step::Launch { kernel, .. } | Step::Product { kernel, .. } => small([kernel]),
        Step::Scatter(scatter) => small(scatter.passes().map(|pass| &pass.kernel)),
        Step::Branch(branch) => branch.plans.iter().flat_map(|plan| &plan.steps).flat_map(kernels).collect(),
        Step::Call(_) | Step::Copy { .. } | Step::Host { .. } => SmallVec::new(),
    }
}

/// The numbers of a plan, and where its buffers are.
struct Now<'a> {
    values: &'a [isize],
    slots: &'a [Slot],
    was: &'a [Slot],
    changed: Classes,
}

/// A number for each axis. There are few, which are written in place.
#[inline]
fn axes<T: Copy + Default>(sources: &[Source], number: impl Fn(Source) -> T) -> SmallVec<[T; 4]> {
    let mut few = [T::default(); 4];
    if sources.len() > few.len() {
        return sources.iter().map(|source| number(*source)).collect();
    }
    for (now, source) in few.iter_mut().zip(sources) {
        *now = number(*source);
    }
    SmallVec::from_buf_and_len(few, sources.len())
}

impl Now<'_> {
    fn count(&self, source: Source) -> usize {
        source.value(self.values).max(0) as usize
    }
    fn shape(&self, extents: &[Source]) -> Shape {
        axes(extents, |extent| self.count(extent))
    }
    fn strides(&self, strides: &[Source]) -> Strides {
        axes(strides, |stride| stride.value(self.values))
    }

    fn arg(&self, arg: &ArgFormula) -> Arg {
        Arg {
            slot: arg.buffer.map_or(Slot::Result, |b| self.slots[b.0 as usize]),
            offset: self.count(arg.offset),
            strides: self.strides(&arg.strides),
            len: self.count(arg.len),
        }
    }
    fn is_moved(&self, arg: &ArgFormula) -> bool {
        arg.buffer.is_some_and(|b| self.slots[b.0 as usize] != self.was[b.0 as usize])
    }
    /// Whether what goes by these classes, on these arrays, is what it was.
    fn is_same(&self, by: Classes, args: &[ArgFormula]) -> bool {
        !by.meets(self.changed) && !args.iter().any(|arg| self.is_moved(arg))
    }

    /// A binding, which was that one.
    fn binding(&self, formula: &BindingFormula, was: &Binding) -> Binding {
        let mut params = was.params.clone();
        for &(param, dtype, source) in &formula.params {
            params[param as usize] = Scalar::from_i64(dtype, source.value(self.values) as i64);
        }
        let args = formula.args.iter().map(|arg| self.arg(arg)).collect();
        Binding { extents: self.shape(&formula.extents), args, params }
    }

    /// A call, which was that one.
    fn call(&self, formula: &CallFormula, was: &LibraryCall) -> LibraryCall {
        match (was, &formula.sizes[..], &formula.args[..]) {
            (&LibraryCall::Matmul { dtype, .. }, [batch @ .., m, n, k], [a, b, c]) => LibraryCall::Matmul {
                dtype,
                batch: self.shape(batch),
                m: self.count(*m),
                n: self.count(*n),
                k: self.count(*k),
                a: self.arg(a),
                b: self.arg(b),
                c: self.arg(c),
            },
            (&LibraryCall::Sort { dtype, indices, .. }, [rows @ .., n], [input, output]) => LibraryCall::Sort {
                dtype,
                rows: self.shape(rows),
                n: self.count(*n),
                indices,
                input: self.arg(input),
                output: self.arg(output),
            },
            _ => unreachable!("formulas are those of the plan's calls"),
        }
    }

    fn output(&self, formula: &OutputFormula) -> OutputInfo {
        let layout = Layout {
            shape: self.shape(&formula.shape),
            strides: self.strides(&formula.strides),
            offset: formula.offset.value(self.values),
        };
        OutputInfo { source: formula.source, layout }
    }

    /// A step, which was that one.
    fn step(&self, formula: &StepFormula, was: &Step) -> Step {
        match (formula, was) {
            (StepFormula::Launch(formulas), Step::Launch { kernel, bindings }) => {
                let all = formulas.iter().zip(bindings.iter());
                let bindings = match formulas.iter().all(|formula| self.is_same(formula.by, &formula.args)) {
                    true => bindings.clone(),
                    false => all.map(|(formula, was)| self.binding(formula, was)).collect(),
                };
                Step::Launch { kernel: kernel.clone(), bindings }
            }
            (StepFormula::Call(formula), Step::Call(call)) => match self.is_same(formula.by, &formula.args) {
                true => Step::Call(call.clone()),
                false => Step::Call(Box::new(self.call(formula, call))),
            },
            (StepFormula::Product(of_call, formula), Step::Product { call, kernel, binding }) => Step::Product {
                call: match self.is_same(of_call.by, &of_call.args) {
                    true => call.clone(),
                    false => Box::new(self.call(of_call, call)),
                },
                kernel: kernel.clone(),
                binding: match self.is_same(formula.by, &formula.args) {
                    true => binding.clone(),
                    false => Arc::new(self.binding(formula, binding)),
                },
            },
            (StepFormula::Scatter(formulas), Step::Scatter(was)) => {
                let Scatter { target, updates, epilogue } = &**was;
                let pass = |formula: &BindingFormula, was: &Pass| Pass {
                    kernel: was.kernel.clone(),
                    binding: self.binding(formula, &was.binding),
                };
                let [first, second, last] = &**formulas;
                let (target, updates) = (pass(first, target), pass(second, updates));
                Step::Scatter(Box::new(Scatter { target, updates, epilogue: pass(last, epilogue) }))
            }
            (StepFormula::Host(formulas), Step::Host { call, args }) => {
                let arg = |(formula, was): (&HostFormula, &HostArg)| HostArg {
                    slot: self.slots[formula.buffer.0 as usize],
                    offset: self.count(formula.offset),
                    dtype: was.dtype,
                    shape: self.shape(&formula.shape),
                };
                Step::Host { call: call.clone(), args: formulas.iter().zip(args).map(arg).collect() }
            }
            _ => unreachable!("formulas are those of the plan's steps"),
        }
    }
}

impl Formulas {
    /// The plan was made ready: where its kernels are equal to those there, it has those from now on.
    pub fn made_ready(&mut self, plan: &Plan) {
        let mut ready = plan.steps.iter().flat_map(kernels);
        let taken =
            self.plan.share_kernels(&mut |own| Ok(ready.next().filter(|kernel| *kernel == own).unwrap_or(own).clone()));
        debug_assert!(taken.is_ok(), "nothing fails");
        self.is_ready = true;
    }

    /// The plan for these shapes of an outline, of which variables have those of `ids`, and inputs that lie like this; None if it is not for formulas to say.
    pub fn plan(
        &self,
        (_, all): (&[ShapeId], &[Shape]),
        inputs: &[Layout],
        memory: &Arrangement,
    ) -> Option<(Plan, Arc<[OutputInfo]>)> {
        let numbers = self.pattern.fits(self.shapes.iter().map(|id| &id.of(all)[..]))?;
        let lies = |(layout, own): (&Layout, &Option<Layout>)| own.as_ref().map_or(is_row(layout), |own| own == layout);
        if !inputs.iter().zip(&self.inputs).all(lies) {
            return None;
        }
        let mut changed = Classes::default();
        for (class, (was, now)) in (0..).zip(self.pattern.numbers().iter().zip(&numbers)) {
            if was != now {
                changed = changed.with(Classes::of(class));
            }
        }
        let values = self.numbers.values(|Class(class)| Some(numbers[class as usize] as isize))?;
        let sizes: Vec<usize> = self.sizes.iter().map(|size| values.get(*size) as usize).collect();
        let (slots, arena) = memory.placed(&sizes);
        let now = Now { values: values.all(), slots: &slots, was: &self.slots, changed };
        let plan = Plan {
            inputs: memory.inputs(&sizes),
            outputs: memory.outputs(&sizes),
            arena,
            steps: self.steps.iter().zip(&self.plan.steps).map(|(formula, was)| now.step(formula, was)).collect(),
            donations: self.plan.donations.clone(),
        };
        let infos = match self.outputs_by.meets(changed) {
            true => self.outputs.iter().map(|output| now.output(output)).collect(),
            false => self.infos.clone(),
        };
        Some((plan, infos))
    }
}
