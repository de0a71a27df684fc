//! A plan for any extents of a [pattern](crate::pattern): all its numbers as arithmetic on those of the pattern.
//!
//! When a program was lowered by recipes once, these are [linked](link): how each variable lies follows from extents, so do the numbers of its launches, and the sizes of buffers. Where all
//! decisions come out as they did, other extents lead to the same steps, and the plan for them is the one that is there with other numbers in it: a [variant](lazuli_kernel::Variant), which has to be written out only where somebody asks for
//! it. No graph is bound for that, and nothing lowered. The branches of a choice have plans of their own, made of the same numbers.

mod link;
mod moving;
mod plan;
mod write;

use super::is_row;
use crate::lower::numbers::{Leaf, Numbers, Source, Values};
use crate::lower::places::{BufferId, Held};
use crate::memory::Arrangement;
use crate::pattern::{ClassNumbers, Fit, Pattern};
use crate::pipeline::{OutputInfo, OutputSource};
use crate::template::Outlined;
use lazuli_ir::{ShapeId, Var};
use lazuli_kernel::{DType, Layout, Plan, Slot, Step, Variant, Varying};
pub(crate) use link::Linked;
use moving::Moving;
use smallvec::SmallVec;
use std::sync::Arc;
use write::Now;

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
    /// The same; and those of the plans of its branches.
    Choice(u32),
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
    own: PlanFormulas,
    outputs: Vec<OutputFormula>,
    /// The plan as it was written last, and its outputs.
    plan: Plan,
    infos: Arc<[OutputInfo]>,
    /// Those of its numbers that are not the same in all plans.
    moving: Option<Moving>,
}

/// The number of a class of the pattern, from which others are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Class(u32);

impl Leaf for Class {
    fn is_extent(self) -> bool {
        true
    }
}

/// A plan: the whole, or that of a branch.
#[derive(Debug)]
struct PlanFormulas {
    memory: Arc<Arrangement>,
    /// Of each buffer, in bytes.
    sizes: Vec<Source>,
    steps: Vec<StepFormula>,
    /// Where buffers were last, and the size of the arena.
    slots: Vec<Slot>,
    arena: usize,
}

#[derive(Debug)]
enum StepFormula {
    Launch(Vec<BindingFormula>),
    Call(CallFormula),
    Product(CallFormula, BindingFormula),
    Scatter(Box<[BindingFormula; 3]>),
    Host(Vec<HostFormula>),
    Choice(Box<ChoiceFormula>),
}

/// What a kernel runs on.
#[derive(Debug, Default)]
struct BindingFormula {
    extents: SmallVec<[Source; 4]>,
    args: Vec<ArgFormula>,
    /// Parameters that are numbers.
    params: SmallVec<[(u32, DType, Source); 2]>,
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
}

/// An array that the host is given.
#[derive(Debug)]
struct HostFormula {
    buffer: BufferId,
    offset: Source,
    shape: SmallVec<[Source; 4]>,
}

/// A choice, and the plans that it is between.
#[derive(Debug)]
struct ChoiceFormula {
    predicate: ArgFormula,
    inputs: Vec<BufferId>,
    outputs: Vec<BufferId>,
    plans: Vec<PlanFormulas>,
}

/// Where an output of the graph lies.
#[derive(Debug)]
struct OutputFormula {
    source: OutputSource,
    shape: SmallVec<[Source; 4]>,
    strides: SmallVec<[Source; 4]>,
    offset: Source,
}

/// A plan by formulas.
#[derive(Debug)]
pub struct ByFormulas<'a> {
    formulas: &'a mut Formulas,
    /// Whether it is known where buffers are.
    is_placed: bool,
}

impl Formulas {
    /// They are for these shapes too from now on. Whether these have the pattern but for magnitudes.
    pub fn widen(&mut self, outlined: &Outlined) -> bool {
        self.pattern.widen(self.shapes.iter().map(|id| &id.of(outlined.shapes)[..]))
    }

    /// Whether they say the plan for these shapes of an outline and inputs that lie like this: it is the one that is asked for from then on.
    pub fn are_for(&mut self, Outlined { shapes: all, moving, .. }: &Outlined, inputs: &[&Layout], fit: Fit) -> bool {
        let known = self.moving.take().filter(|known| Arc::ptr_eq(&known.of, moving));
        let Some(mut now) = known.or_else(|| Moving::new(self, moving, all, fit)) else { return false };
        let is_one = now.set(self, all, fit).is_some();
        #[cfg(debug_assertions)]
        {
            let numbers = self.pattern.fits(self.shapes.iter().map(|id| &id.of(all)[..]), fit);
            let values = numbers.and_then(|numbers| self.values(&numbers));
            assert!(values.is_some() || !is_one, "they follow from no numbers of the pattern");
            if let (Some(values), true) = (values, is_one) {
                assert_eq!(now.all[..values.all().len()], *values.all());
            }
        }
        self.moving = Some(now);
        let lies =
            |(layout, own): (&&Layout, &Option<Layout>)| own.as_ref().map_or(is_row(layout), |own| own == *layout);
        is_one && inputs.iter().zip(&self.inputs).all(lies)
    }
    /// That plan, and where its outputs lie.
    pub fn plan(&mut self) -> (ByFormulas<'_>, Arc<[OutputInfo]>) {
        if let Some(Moving { all, outputs: true, .. }) = &self.moving {
            let now = Now { values: all, slots: &[] };
            self.infos = self.outputs.iter().map(|output| now.output(output)).collect();
        }
        let infos = self.infos.clone();
        (ByFormulas { formulas: self, is_placed: false }, infos)
    }

    /// Those of all formulas for these numbers of classes.
    fn values(&self, numbers: &ClassNumbers) -> Option<Values> {
        self.numbers.values(|Class(class)| Some(numbers[class as usize] as isize))
    }
}

impl ByFormulas<'_> {
    /// The formulas of the plan, their values, and the plan as it was written last. It is known where buffers are.
    fn placed(&mut self) -> (&PlanFormulas, &[isize], &mut Plan) {
        let Formulas { own, plan, moving, .. } = &mut *self.formulas;
        let values = moving.as_ref().map_or(&[][..], |now| &now.all);
        if !std::mem::replace(&mut self.is_placed, true) {
            own.each_mut(&mut |plan| plan.place(values));
        }
        (own, values, plan)
    }
}

impl Variant for ByFormulas<'_> {
    fn values(&self) -> Option<(&Arc<Varying>, &[i64])> {
        let Moving { varying, values, .. } = self.formulas.moving.as_ref()?;
        (!values.is_empty()).then_some((varying, values))
    }
    fn plan(&mut self) -> &mut Plan {
        let (own, values, plan) = self.placed();
        own.write(values, plan);
        plan
    }
    fn step(&mut self, number: usize) -> &Step {
        let (own, values, plan) = self.placed();
        own.now(values).step(&own.steps[number], &mut plan.steps[number]);
        &plan.steps[number]
    }
}
