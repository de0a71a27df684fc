//! A plan for any extents of a [pattern](crate::pattern): all its numbers as arithmetic on those of the pattern.
//!
//! When a program was lowered by recipes once, these are [linked](link): how each variable lies follows from extents, so do the numbers of its launches, and the sizes of buffers. Where all
//! decisions come out as they did, other extents lead to the same steps, and the plan for them is the one that is there with other numbers in it. No graph is bound for that, and nothing
//! lowered.
//!
//! Absent: choices. Programs with such steps are lowered, by recipes.

mod link;

use super::is_row;
use crate::lower::numbers::{Leaf, Numbers, Source};
use crate::lower::places::{BufferId, Held};
use crate::memory::Arrangement;
use crate::pattern::{ClassNumbers, Pattern};
use crate::pipeline::{OutputInfo, OutputSource};
use lazuli_ir::{Shape, ShapeId, Var};
use lazuli_kernel::{Arg, Binding, DType, Layout, LibraryCall, Plan, Scalar, Scatter, Slot, Step};
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
    /// The numbers of the pattern that were asked for last, and for these the plan, where its buffers are, and its outputs.
    last: ClassNumbers,
    plan: Plan,
    slots: Vec<Slot>,
    infos: Arc<[OutputInfo]>,
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

/// The numbers of a plan, where its buffers are, and which classes have other numbers than the plan was written for.
struct Now<'a> {
    values: &'a [isize],
    slots: &'a [Slot],
    changed: Classes,
}

impl Now<'_> {
    fn has_changed(&self, by: Classes) -> bool {
        by.meets(self.changed)
    }
    #[inline]
    fn count(&self, source: Source) -> usize {
        source.value(self.values).max(0) as usize
    }
    #[inline]
    fn counts(&self, sources: &[Source], counts: &mut [usize]) {
        counts.iter_mut().zip(sources).for_each(|(n, source)| *n = self.count(*source));
    }
    #[inline]
    fn strides(&self, sources: &[Source], strides: &mut [isize]) {
        strides.iter_mut().zip(sources).for_each(|(stride, source)| *stride = source.value(self.values));
    }

    #[inline]
    fn arg(&self, formula: &ArgFormula, arg: &mut Arg, has_changed: bool) {
        if let Some(buffer) = formula.buffer {
            arg.slot = self.slots[buffer.0 as usize];
        }
        if has_changed {
            arg.offset = self.count(formula.offset);
            arg.len = self.count(formula.len);
            self.strides(&formula.strides, &mut arg.strides);
        }
    }

    fn binding(&self, formula: &BindingFormula, binding: &mut Binding) {
        let has_changed = self.has_changed(formula.by);
        let args = formula.args.iter().zip(&mut binding.args);
        args.for_each(|(formula, arg)| self.arg(formula, arg, has_changed));
        if has_changed {
            self.counts(&formula.extents, &mut binding.extents);
            for &(param, dtype, source) in &formula.params {
                binding.params[param as usize] = Scalar::from_i64(dtype, source.value(self.values) as i64);
            }
        }
    }

    fn call(&self, formula: &CallFormula, call: &mut LibraryCall) {
        let has_changed = self.has_changed(formula.by);
        match (call, &formula.sizes[..], &formula.args[..]) {
            (
                LibraryCall::Matmul { batch, m, n, k, a, b, c, .. },
                [of_batch @ .., of_m, of_n, of_k],
                [of_a, of_b, of_c],
            ) => {
                self.arg(of_a, a, has_changed);
                self.arg(of_b, b, has_changed);
                self.arg(of_c, c, has_changed);
                if has_changed {
                    self.counts(of_batch, batch);
                    (*m, *n, *k) = (self.count(*of_m), self.count(*of_n), self.count(*of_k));
                }
            }
            (LibraryCall::Sort { rows, n, input, output, .. }, [of_rows @ .., of_n], [of_input, of_output]) => {
                self.arg(of_input, input, has_changed);
                self.arg(of_output, output, has_changed);
                if has_changed {
                    self.counts(of_rows, rows);
                    *n = self.count(*of_n);
                }
            }
            _ => unreachable!("formulas are those of the plan's calls"),
        }
    }

    fn output(&self, formula: &OutputFormula) -> OutputInfo {
        let number = |source: &Source| source.value(self.values);
        let layout = Layout {
            shape: formula.shape.iter().map(|extent| self.count(*extent)).collect(),
            strides: formula.strides.iter().map(number).collect(),
            offset: number(&formula.offset),
        };
        OutputInfo { source: formula.source, layout }
    }

    fn step(&self, formula: &StepFormula, step: &mut Step) {
        match (formula, step) {
            (StepFormula::Launch(formulas), Step::Launch { bindings, .. }) => {
                let bindings = formulas.iter().zip(Arc::make_mut(bindings));
                bindings.for_each(|(formula, binding)| self.binding(formula, binding));
            }
            (StepFormula::Call(formula), Step::Call(call)) => self.call(formula, call),
            (StepFormula::Product(of_call, formula), Step::Product { call, binding, .. }) => {
                self.call(of_call, call);
                self.binding(formula, Arc::make_mut(binding));
            }
            (StepFormula::Scatter(formulas), Step::Scatter(scatter)) => {
                let Scatter { target, updates, epilogue } = &mut **scatter;
                let passes = formulas.iter().zip([target, updates, epilogue]);
                passes.for_each(|(formula, pass)| self.binding(formula, &mut pass.binding));
            }
            (StepFormula::Host(formulas), Step::Host { args, .. }) => {
                for (formula, arg) in formulas.iter().zip(args) {
                    arg.slot = self.slots[formula.buffer.0 as usize];
                    arg.offset = self.count(formula.offset);
                    self.counts(&formula.shape, &mut arg.shape);
                }
            }
            _ => unreachable!("formulas are those of the plan's steps"),
        }
    }
}

impl Formulas {
    /// The plan for these shapes of an outline, and where its outputs lie, for inputs that lie like this; None if it is not for formulas to say.
    pub fn plan(
        &mut self,
        (_, all): (&[ShapeId], &[Shape]),
        inputs: &[Layout],
        memory: &Arrangement,
    ) -> Option<(&mut Plan, &Arc<[OutputInfo]>)> {
        let numbers = self.pattern.fits(self.shapes.iter().map(|id| &id.of(all)[..]))?;
        let lies = |(layout, own): (&Layout, &Option<Layout>)| own.as_ref().map_or(is_row(layout), |own| own == layout);
        if !inputs.iter().zip(&self.inputs).all(lies) {
            return None;
        }
        let values = self.numbers.values(|Class(class)| Some(numbers[class as usize] as isize))?;
        let mut changed = Classes::default();
        for (class, _) in (0..).zip(self.last.iter().zip(&numbers)).filter(|(_, (was, now))| was != now) {
            changed = changed.with(Classes::of(class));
        }
        let sizes: SmallVec<[usize; 64]> = self.sizes.iter().map(|size| values.get(*size) as usize).collect();
        let arena = memory.place(&sizes, &mut self.slots);
        let now = Now { values: values.all(), slots: &self.slots, changed };
        let plan = &mut self.plan;
        plan.arena = arena;
        plan.inputs.iter_mut().zip(memory.inputs(&sizes)).for_each(|(nbytes, now)| *nbytes = now);
        plan.outputs.iter_mut().zip(memory.outputs(&sizes)).for_each(|(nbytes, now)| *nbytes = now);
        self.steps.iter().zip(&mut plan.steps).for_each(|(formula, step)| now.step(formula, step));
        if now.has_changed(self.outputs_by) {
            self.infos = self.outputs.iter().map(|output| now.output(output)).collect();
        }
        self.last = numbers;
        Some((plan, &self.infos))
    }
}
