//! A plan for any extents of a [pattern](crate::pattern): all its numbers as arithmetic on those of the pattern.
//!
//! When a program was lowered by recipes once, these are [linked](link): how each variable lies follows from extents, so do the numbers of its launches, and the sizes of buffers. Where all
//! decisions come out as they did, other extents lead to the same steps, and a plan for them is a copy of the first with other numbers; what has the same ones is shared with it. No graph is
//! bound for that, and nothing lowered.
//!
//! Absent: sorts, calls of the host and choices. Programs with such steps are lowered, by recipes.

mod link;

use super::is_row;
use crate::fuse::Schedule;
use crate::lower::numbers::{Leaf, Lie, Numbers, Source, Values};
use crate::lower::places::{BufferId, Held};
use crate::memory::Arrangement;
use crate::pattern::Pattern;
use crate::pipeline::{OutputInfo, OutputSource};
use lazuli_ir::{Aval, Prim, Shape, ShapeId, Var, small};
use lazuli_kernel::{Arg, Binding, DType, Layout, LibraryCall, Pass, Plan, Scalar, Scatter, Slot, Step};
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
    views: Vec<View>,
    /// Those that have to lie row by row.
    rows: Vec<u32>,
    numbers: Numbers<OfPattern>,
    /// Of each buffer, in bytes.
    sizes: Vec<Source>,
    steps: Vec<StepFormula>,
    outputs: Vec<(OutputSource, Place)>,
    /// For the numbers of the pattern.
    plan: Plan,
    slots: Vec<Slot>,
}

/// Numbers that others are computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OfPattern {
    /// That of a class of the pattern.
    Class(u32),
    /// Of a view.
    Lie(u32, Lie),
}

impl Leaf for OfPattern {
    fn is_extent(self) -> bool {
        matches!(self, OfPattern::Class(_))
    }
}

/// How a variable lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Row by row, in this shape.
    Row(u32),
    /// As an input that does not lie row by row.
    Input(u32),
    View(u32),
}

/// An array in memory seen in another way.
#[derive(Debug)]
struct View {
    of: Place,
    by: By,
    shape: u32,
    /// Whether strides can say it.
    lies: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum By {
    /// An equation, with arrays of these shapes as its shape operands.
    Equation(Prim, SmallVec<[(DType, u32); 2]>),
    /// Transposing its matrices.
    Turning,
}

impl By {
    /// How an array that lies like this lies, seen in this shape.
    fn seen(&self, of: &Layout, shape: &Shape, shape_of: impl Fn(u32) -> Shape) -> Option<Layout> {
        match self {
            By::Equation(prim, shapes) => {
                let avals = shapes.iter().map(|&(dtype, shape)| Aval { dtype, shape: shape_of(shape) });
                let avals: SmallVec<[Aval; 2]> = avals.collect();
                prim.layout(of, shape, &small::<[&Aval; 2]>(avals.iter()))
            }
            By::Turning => {
                let (mut layout, rank) = (of.clone(), of.rank());
                layout.shape.swap(rank - 2, rank - 1);
                layout.strides.swap(rank - 2, rank - 1);
                Some(layout)
            }
        }
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
    Scatter([BindingFormula; 3]),
}

/// What a kernel runs on.
#[derive(Debug)]
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

/// A product of matrices.
#[derive(Debug)]
struct CallFormula {
    dtype: DType,
    batch: SmallVec<[Source; 4]>,
    sizes: [Source; 3],
    args: [ArgFormula; 3],
    by: Classes,
}

/// The numbers of a plan, and where its buffers are.
struct Now<'a> {
    values: Values,
    slots: &'a [Slot],
    was: &'a [Slot],
    changed: Classes,
}

impl Now<'_> {
    fn count(&self, source: Source) -> usize {
        self.values.get(source).max(0) as usize
    }
    fn slot(&self, arg: &ArgFormula) -> Slot {
        arg.buffer.map_or(Slot::Result, |b| self.slots[b.0 as usize])
    }
    fn is_moved(&self, arg: &ArgFormula) -> bool {
        arg.buffer.is_some_and(|b| self.slots[b.0 as usize] != self.was[b.0 as usize])
    }
    fn arg(&self, arg: &ArgFormula) -> Arg {
        let strides = small(arg.strides.iter().map(|s| self.values.get(*s)));
        Arg { slot: self.slot(arg), offset: self.count(arg.offset), strides, len: self.count(arg.len) }
    }

    /// Whether what goes by these classes, on these arrays, is what it was.
    fn is_same(&self, by: Classes, args: &[ArgFormula]) -> bool {
        !by.meets(self.changed) && !args.iter().any(|arg| self.is_moved(arg))
    }
    /// A binding, which was that one.
    fn binding(&self, formula: &BindingFormula, was: &Binding) -> Binding {
        let mut params = was.params.clone();
        if !formula.by.meets(self.changed) {
            let moved = |(arg, was): (&ArgFormula, &Arg)| Arg { slot: self.slot(arg), ..was.clone() };
            let args = formula.args.iter().zip(&was.args).map(moved).collect();
            return Binding { extents: was.extents.clone(), args, params };
        }
        for &(param, dtype, source) in &formula.params {
            params[param as usize] = Scalar::from_i64(dtype, self.values.get(source) as i64);
        }
        let extents = small(formula.extents.iter().map(|n| self.count(*n)));
        Binding { extents, args: formula.args.iter().map(|arg| self.arg(arg)).collect(), params }
    }

    fn call(&self, formula: &CallFormula) -> LibraryCall {
        let [m, n, k] = formula.sizes.map(|size| self.count(size));
        let [a, b, c] = formula.args.each_ref().map(|arg| self.arg(arg));
        let batch = small(formula.batch.iter().map(|n| self.count(*n)));
        LibraryCall::Matmul { dtype: formula.dtype, batch, m, n, k, a, b, c }
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
                false => Step::Call(Box::new(self.call(formula))),
            },
            (StepFormula::Product(of_call, formula), Step::Product { call, kernel, binding }) => Step::Product {
                call: match self.is_same(of_call.by, &of_call.args) {
                    true => call.clone(),
                    false => Box::new(self.call(of_call)),
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
                let [first, second, last] = formulas;
                let (target, updates) = (pass(first, target), pass(second, updates));
                Step::Scatter(Box::new(Scatter { target, updates, epilogue: pass(last, epilogue) }))
            }
            _ => unreachable!("formulas are those of the plan's steps"),
        }
    }
}

impl Formulas {
    /// The plan for these shapes of an outline, of which variables have those of `ids`, and inputs that lie like this; None if it is not for formulas to say.
    pub fn plan(
        &self,
        (ids, all): (&[ShapeId], &[Shape]),
        inputs: &[Layout],
        schedule: &Schedule,
        memory: &Arrangement,
    ) -> Option<(Plan, Vec<OutputInfo>)> {
        let numbers = self.pattern.fits(self.shapes.iter().map(|id| &id.of(all)[..]))?;
        let lies = |(layout, own): (&Layout, &Option<Layout>)| own.as_ref().map_or(is_row(layout), |own| own == layout);
        if !inputs.iter().zip(&self.inputs).all(lies) || !schedule.can_split(|v| &ids[v.0 as usize].of(all)[..]) {
            return None;
        }
        let mut changed = Classes::default();
        for (class, (was, now)) in (0..).zip(self.pattern.numbers().iter().zip(&numbers)) {
            if was != now {
                changed = changed.with(Classes::of(class));
            }
        }
        let views = self.views(all, inputs)?;
        let lie = |view: u32, lie: Lie| views[view as usize].as_ref().map(|layout| lie.of(layout));
        let values = self.numbers.values(|number| match number {
            OfPattern::Class(class) => Some(numbers[class as usize] as isize),
            OfPattern::Lie(view, number) => lie(view, number),
        })?;
        let sizes: Vec<usize> = self.sizes.iter().map(|size| values.get(*size) as usize).collect();
        let (slots, arena) = memory.placed(&sizes);
        let now = Now { values, slots: &slots, was: &self.slots, changed };
        let plan = Plan {
            inputs: memory.inputs(&sizes),
            outputs: memory.outputs(&sizes),
            arena,
            steps: self.steps.iter().zip(&self.plan.steps).map(|(formula, was)| now.step(formula, was)).collect(),
            donations: self.plan.donations.clone(),
        };
        let output = |&(source, place): &(OutputSource, Place)| {
            let layout = match place {
                Place::Row(shape) => Layout::row(self.shape(all, shape).clone()),
                Place::Input(n) => inputs[n as usize].clone(),
                Place::View(view) => views[view as usize].clone()?,
            };
            Some(OutputInfo { source, layout })
        };
        Some((plan, self.outputs.iter().map(output).collect::<Option<_>>()?))
    }

    fn shape<'a>(&self, all: &'a [Shape], shape: u32) -> &'a Shape {
        self.shapes[shape as usize].of(all)
    }

    /// How views lie; None if one does not as it did.
    fn views(&self, all: &[Shape], inputs: &[Layout]) -> Option<Vec<Option<Layout>>> {
        let mut views: Vec<Option<Layout>> = Vec::with_capacity(self.views.len());
        for view in &self.views {
            let (shape, shape_of) = (self.shape(all, view.shape), |n: u32| self.shape(all, n).clone());
            let seen = |of: &Layout| view.by.seen(of, shape, shape_of);
            let layout = match view.of {
                Place::Row(of) => seen(&Layout::row(shape_of(of))),
                Place::Input(n) => seen(&inputs[n as usize]),
                Place::View(of) => seen(views[of as usize].as_ref()?),
            };
            if layout.is_some() != view.lies {
                return None;
            }
            views.push(layout);
        }
        self.rows.iter().all(|&view| views[view as usize].as_ref().is_some_and(is_row)).then_some(views)
    }
}
