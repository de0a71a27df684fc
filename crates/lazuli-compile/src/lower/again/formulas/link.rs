//! From the recipes of single launches to [`Formulas`] of a whole plan: what a recipe reads of where variables lie is a number of the pattern here, or computed from such.

mod parts;
mod places;

use super::{
    ArgFormula, BindingFormula, CallFormula, ChoiceFormula, Class, Formulas, HostFormula, OutputFormula, PlanFormulas,
    StepFormula, WorkSource,
};
use crate::beside::Joined;
use crate::fuse::Schedule;
use crate::lower::again::{Array, Pass, Recipes, is_row};
use crate::lower::numbers::{Decision, Numbers, OfVar, Source, Step};
use crate::lower::outside::{stretched, swap_last};
use crate::lower::places::{BufferId, Held};
use crate::lower::{Fork, Launch, Program, Work};
use crate::memory::{Alike, Arrangement};
use crate::pattern::Pattern;
use crate::pipeline::Compiled;
use crate::template::{Template, input_shapes};
use lazuli_ir::{
    Arithmetic, Atom, Extents, Graph, Number, Operation, Relation, Shape, ShapeId, Strided, Var, shape, small,
};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Arg, Layout, LibraryCall, Role};
use smallvec::SmallVec;
use std::mem::replace;
use std::sync::Arc;

/// A program whose numbers are formulas, before steps are put side by side.
pub(crate) struct Linked<'a> {
    inputs: &'a [Layout],
    shapes: Vec<ShapeId>,
    numbers_of: Map<ShapeId, u32>,
    pattern: Pattern,
    numbers: Numbers<Class>,
    /// The whole, or a branch while that is linked.
    of: Scope<'a>,
    /// How each lies.
    outputs: Vec<Strided>,
}

/// A graph that was lowered, and where its variables lie.
struct Scope<'a> {
    graph: &'a Graph,
    /// The shapes of an outline that its variables have, and those of its choices.
    ids: &'a [ShapeId],
    recipes: &'a Recipes,
    places: Map<Var, Strided>,
    sizes: Vec<Option<Number>>,
    work: Vec<StepFormula>,
}

impl<'a> Scope<'a> {
    fn new(graph: &'a Graph, ids: &'a [ShapeId], recipes: &'a Recipes, program: &Program) -> Self {
        // A buffer without bytes has none for all extents of the pattern.
        let empty = |&nbytes: &usize| (nbytes == 0).then_some(Number::ZERO);
        let sizes = program.buffers.iter().map(empty).collect();
        Scope { graph, ids, recipes, places: Map::default(), sizes, work: Vec::with_capacity(program.work.len()) }
    }
}

/// Where these numbers come from.
fn sources(numbers: &[Number]) -> SmallVec<[Source; 4]> {
    small(numbers.iter().map(|n| Source::from(*n)))
}

impl<'a> Linked<'a> {
    /// A program that was lowered by these recipes, of a graph whose variables have these shapes of an outline. None if the source of some numbers is not known.
    pub fn new(
        graph: &'a Graph,
        of: (&'a [ShapeId], &'a [Shape]),
        inputs: &'a [Layout],
        schedule: &Schedule,
        recipes: &'a Recipes,
        program: &Program,
    ) -> Option<Self> {
        let (mut shapes, mut numbers_of) = (Vec::new(), Map::default());
        for &id in of.0.iter().filter(|id| id.is_of(of.1)) {
            numbers_of.entry(id).or_insert_with(|| {
                shapes.push(id);
                shapes.len() as u32 - 1
            });
        }
        let mut linked = Linked {
            inputs,
            pattern: Pattern::of(shapes.iter().map(|id| &id.of(of.1)[..]), input_shapes(graph).into_iter()),
            shapes,
            numbers_of,
            numbers: Numbers::default(),
            of: Scope::new(graph, of.0, recipes, program),
            outputs: Vec::new(),
        };
        for (n, (&v, layout)) in graph.inputs.iter().zip(inputs).enumerate() {
            let (place, size) = match is_row(layout) {
                true => (linked.row(v)?, linked.nbytes(Held::Var(v))?),
                false => {
                    let place = Strided { extents: linked.extents(v)?, ..Strided::fixed(layout) };
                    (place, Number::fixed(program.buffers[n] as isize))
                }
            };
            linked.of.places.insert(v, place);
            linked.of.sizes[n] = Some(size);
        }
        linked.program(schedule, program)?;
        for (&atom, place) in graph.outputs.iter().zip(&program.outputs) {
            let output = match atom {
                // What is empty has a buffer that no step writes, unless it is a view.
                Atom::Var(v) if shape::size(&place.layout.shape) == 0 && is_row(&place.layout) => linked.row(v)?,
                _ => linked.atom(atom)?,
            };
            linked.outputs.push(output);
        }
        Some(linked)
    }

    /// The steps of a program whose inputs have places.
    fn program(&mut self, schedule: &Schedule, program: &Program) -> Option<()> {
        self.split(schedule)?;
        for (work, source) in program.work.iter().zip(&program.sources) {
            let step = self.step(work, *source)?;
            self.of.work.push(step);
        }
        Some(())
    }

    /// Decides that loops can be split where they are to be split ([`Schedule::can_split`]): each boundary is a multiple of the one before.
    fn split(&mut self, schedule: &Schedule) -> Option<()> {
        let graph = self.of.graph;
        for alike in schedule.split(|v| &graph.shape_of(v)[..]) {
            let mut ends: SmallVec<[Number; 8]> = SmallVec::new();
            for v in alike {
                let mut end = Number::ONE;
                for n in self.extents(v)?.into_iter().rev() {
                    ends.push(end);
                    end = self.numbers.product(end, n);
                }
                ends.push(end);
            }
            ends.sort_by_key(|end| end.value);
            for pair in ends.windows(2) {
                let rest = self.numbers.compute(Operation::Remainder, pair[1], pair[0]);
                if !self.numbers.equal(rest, Number::ZERO) {
                    return None;
                }
            }
        }
        Some(())
    }

    fn step(&mut self, work: &Work, source: WorkSource) -> Option<StepFormula> {
        match (work, source) {
            (Work::Launch(launch), WorkSource::Launch(of, n)) => {
                let recipe = self.of.recipes.launches.get(&of)?;
                let binding = self.binding(recipe.passes.get(n as usize)?, launch, None)?;
                if n as usize + 1 == recipe.passes.len() {
                    self.set_written(&recipe.passes)?;
                }
                Some(StepFormula::Launch(vec![binding]))
            }
            (Work::Launch(launch), WorkSource::Fixed) => self.fixed(launch),
            (Work::Scatter(scattered), WorkSource::Scatter(of)) => {
                let passes = &self.of.recipes.launches.get(&of)?.passes;
                let [first, second, last] = &passes[..] else { return None };
                let ([target, updates, map], result) = (&scattered.launches, Some(scattered.result));
                let (first, second) = (self.binding(first, target, result)?, self.binding(second, updates, result)?);
                let formulas = [first, second, self.binding(last, map, result)?];
                self.set_written(passes)?;
                Some(StepFormula::Scatter(formulas.into()))
            }
            (Work::Call { call, epilogue }, WorkSource::Matmul { factors, result, turned, epilogue: by }) => {
                let LibraryCall::Matmul { a, b, c, .. } = &**call else { return None };
                let (whole, product) = (turned.unwrap_or(result), BufferId::of(c));
                self.of.sizes[product.0 as usize] = Some(self.nbytes(Held::Var(whole))?);
                let mut formula = self.product([a, b, c], factors, result, turned)?;
                let Some(launch) = epilogue else {
                    self.set_product(result, turned)?;
                    return Some(StepFormula::Call(formula));
                };
                formula.args[2].buffer = None;
                let [pass] = &self.of.recipes.launches.get(&Held::Var(by?))?.passes[..] else { return None };
                let binding = self.binding(pass, launch, Some(product))?;
                for (held, _) in written(pass) {
                    match held.var() == whole {
                        true => self.set_product(result, turned)?,
                        false => self.set_row(held.var())?,
                    }
                }
                Some(StepFormula::Product(formula, binding))
            }
            (Work::Call { call, .. }, WorkSource::Sort { of, result, axis }) => {
                let LibraryCall::Sort { input, output, .. } = &**call else { return None };
                self.of.sizes[BufferId::of(output).0 as usize] = Some(self.nbytes(Held::Var(result))?);
                self.set_row(result)?;
                self.sort([input, output], [of, result], axis as usize).map(StepFormula::Call)
            }
            (Work::Host { args, .. }, WorkSource::Host(anchor)) => {
                let atoms = &self.of.graph.equations[anchor as usize].inputs;
                let args = args.iter().zip(atoms).map(|((_, arg), atom)| self.host_argument(arg, *atom));
                args.collect::<Option<_>>().map(StepFormula::Host)
            }
            (Work::Branch(fork), WorkSource::Choice(anchor)) => self.choice(fork, anchor),
            _ => None,
        }
    }
    /// A number that the program states, in memory.
    fn fixed(&mut self, launch: &Launch) -> Option<StepFormula> {
        let [bound] = &launch.bindings[..] else { return None };
        let parts = bound.args.iter().zip(&launch.kernel.operands);
        let part = |(arg, _): (&Arg, _)| ArgFormula {
            buffer: Some(BufferId::of(arg)),
            offset: Source::Fixed(arg.offset as isize),
            strides: SmallVec::new(),
            len: Source::Fixed(0),
        };
        let args: Vec<ArgFormula> = parts.clone().map(part).collect();
        let nbytes: usize = parts.map(|(_, operand)| operand.dtype.itemsize()).sum();
        self.of.sizes[args.first()?.buffer?.0 as usize] = Some(Number::fixed(nbytes as isize));
        Some(StepFormula::Launch(vec![BindingFormula { args, ..BindingFormula::default() }]))
    }
    fn set_row(&mut self, v: Var) -> Option<()> {
        let place = self.row(v)?;
        self.of.places.insert(v, place);
        Some(())
    }
    /// Variables that launches have written lie row by row.
    fn set_written(&mut self, passes: &[Pass]) -> Option<()> {
        for (held, _) in passes.iter().flat_map(written) {
            if let Held::Var(v) = held {
                self.set_row(v)?;
            }
        }
        Some(())
    }
    /// A product lies row by row, or its transpose does.
    fn set_product(&mut self, v: Var, turned: Option<Var>) -> Option<()> {
        let place = self.row(turned.unwrap_or(v))?;
        self.of.places.insert(v, if turned.is_some() { transposed(place) } else { place });
        Some(())
    }

    /// The binding of a launch by what was noted of it. It may touch a result that the step hands on.
    fn binding(&mut self, pass: &Pass, launch: &Launch, result: Option<BufferId>) -> Option<BindingFormula> {
        let [bound] = &launch.bindings[..] else { return None };
        for &v in &pass.rows {
            let place = self.place(v)?;
            if !self.is_row(&place) {
                return None;
            }
        }
        for &v in &pass.computed {
            if self.place(v).is_some() {
                return None;
            }
        }
        let mut numbers: SmallVec<[Number; 32]> = SmallVec::new();
        let number = |numbers: &[Number], source: Source| match source {
            Source::Fixed(value) => Number::fixed(value),
            Source::Step(n) => numbers[n as usize],
        };
        for step in pass.numbers.steps() {
            let value = match step {
                Step::Leaf(OfVar::Extent(v, axis)) => self.extents(v)?[axis as usize],
                Step::Leaf(OfVar::Lie(v, lie)) => self.lie(v, lie)?,
                Step::Compute(operation, a, b) => {
                    self.numbers.compute(operation, number(&numbers, a), number(&numbers, b))
                }
            };
            numbers.push(value);
        }
        for &Decision { relation, a, b, holds } in pass.numbers.decisions() {
            let (a, b) = (number(&numbers, a), number(&numbers, b));
            if relation.holds(a.value, b.value) != holds {
                return None;
            }
            self.numbers.decided(relation, a, b);
        }
        let now = |source: Source| Source::from(number(&numbers, source));
        let mut args = Vec::with_capacity(pass.arrays.len());
        for (Array { offset, strides, len, .. }, arg) in pass.arrays.iter().zip(&bound.args) {
            let buffer = Some(BufferId::of(arg)).filter(|b| Some(*b) != result);
            let strides = small(strides.iter().map(|s| now(*s)));
            args.push(ArgFormula { buffer, offset: now(*offset), strides, len: now(*len) });
        }
        for (held, operand) in written(pass) {
            self.of.sizes[BufferId::of(&bound.args[operand]).0 as usize] = Some(self.nbytes(held)?);
        }
        Some(BindingFormula {
            extents: small(pass.extents.iter().map(|n| now(*n))),
            args,
            params: small(pass.by_number.iter().map(|&(param, dtype, source)| (param, dtype, now(source)))),
        })
    }

    /// A product of these arrays: of factors, or of their transposes the other way round.
    fn product(&mut self, args: [&Arg; 3], factors: [Var; 2], result: Var, turned: Option<Var>) -> Option<CallFormula> {
        let mut factor = |v: Var| {
            let place = self.place(v)?;
            Some(if turned.is_some() { transposed(place) } else { place })
        };
        let (left, right) = (factor(factors[0])?, factor(factors[1])?);
        let product = self.row(turned.unwrap_or(result))?;
        let rank = product.extents.len();
        let inner = left.extents[left.extents.len() - 1];
        let sizes = product.extents.iter().copied().chain([inner]).map(Source::from).collect();
        let arrays = args.into_iter().zip([left, right, product]);
        let args = arrays.map(|(arg, Strided { extents, strides, offset })| {
            let strides = stretched(&strides, |axis| extents[axis].value == 1, rank - 2, Number::ZERO);
            ArgFormula::of(arg, offset, strides)
        });
        Some(CallFormula { sizes, args: args.collect() })
    }

    /// A sort of the rows along an axis.
    fn sort(&mut self, args: [&Arg; 2], of: [Var; 2], axis: usize) -> Option<CallFormula> {
        let mut formula = CallFormula::default();
        for (arg, v) in args.into_iter().zip(of) {
            let Strided { mut extents, mut strides, offset } = self.place(v)?;
            for numbers in [&mut extents, &mut strides] {
                let last = numbers.remove(axis);
                numbers.push(last);
            }
            formula.sizes = extents.iter().map(|n| Source::from(*n)).collect();
            formula.args.push(ArgFormula::of(arg, offset, strides));
        }
        Some(formula)
    }

    /// What the host is given: a variable where it lies, or a copy.
    fn host_argument(&mut self, arg: &Arg, atom: Atom) -> Option<HostFormula> {
        let (buffer, place) = (BufferId::of(arg), self.atom(atom)?);
        let offset = if place.is_row_contiguous(&mut self.numbers) { place.offset } else { Number::ZERO };
        Some(HostFormula { buffer, offset: offset.into(), shape: sources(&place.extents) })
    }

    /// A choice: its branches are programs of their own, for inputs as they lie here.
    fn choice(&mut self, fork: &Fork, anchor: u32) -> Option<StepFormula> {
        let (graph, recipes) = (self.of.graph, self.of.recipes);
        let equation = &graph.equations[anchor as usize];
        let places: Vec<Strided> = equation.inputs.iter().map(|atom| self.atom(*atom)).collect::<Option<_>>()?;
        let (predicate, inputs) = places.split_first()?;
        let (_, ids) = graph.branches(self.of.ids).find(|(n, _)| *n == anchor as usize)?;
        let mut plans = Vec::with_capacity(ids.len());
        for (number, (body, ids)) in equation.prim.bodies().iter().zip(ids).enumerate() {
            plans.push(self.branch(recipes.branches.get(&(anchor, number))?, (body, ids), inputs)?);
        }
        for (&v, array) in equation.outputs.iter().zip(&fork.outputs) {
            self.of.sizes[BufferId::of(array).0 as usize] = Some(self.nbytes(Held::Var(v))?);
            self.set_row(v)?;
        }
        let buffers = |arrays: &[Arg]| arrays.iter().map(BufferId::of).collect();
        Some(StepFormula::Choice(Box::new(ChoiceFormula {
            predicate: ArgFormula::of(&fork.predicate, predicate.offset, Extents::new()),
            inputs: buffers(&fork.inputs),
            outputs: buffers(&fork.outputs),
            plans,
        })))
    }
    /// The plan of a branch whose inputs lie like this, as this template has it.
    fn branch(
        &mut self,
        template: &'a Template,
        (graph, ids): (&'a Graph, &'a [ShapeId]),
        inputs: &[Strided],
    ) -> Option<PlanFormulas> {
        let layouts: Vec<Layout> = inputs.iter().map(Strided::layout).collect();
        let mut program = template.branch(graph, &layouts)?;
        let around = replace(&mut self.of, Scope::new(graph, ids, &template.recipes, &program));
        for (n, (&v, place)) in graph.inputs.iter().zip(inputs).enumerate() {
            self.of.places.insert(v, place.clone());
            self.of.sizes[n] = Some(self.reach(v, place)?);
        }
        self.program(&template.schedule, &program)?;
        let of = replace(&mut self.of, around);
        template.assignment(&mut program)?;
        plan(&mut self.numbers, of, &template.joined, &template.memory)
    }

    /// The formulas of the plan that it became when launches were put side by side, and memory was assigned. None if something decides over memory that no formula says.
    pub fn finish(mut self, joined: &Joined, memory: &Arc<Arrangement>, compiled: &Compiled) -> Option<Formulas> {
        let own = plan(&mut self.numbers, self.of, joined, memory)?;
        let output = |(source, Strided { extents, strides, offset })| OutputFormula {
            source,
            shape: sources(&extents),
            strides: sources(&strides),
            offset: offset.into(),
        };
        let mut formulas = Formulas {
            shapes: self.shapes,
            moving: None,
            pattern: self.pattern,
            inputs: self.inputs.iter().map(|layout| (!is_row(layout)).then(|| layout.clone())).collect(),
            numbers: self.numbers,
            own,
            outputs: memory.sources().iter().copied().zip(self.outputs).map(output).collect(),
            plan: compiled.plan.clone(),
            infos: compiled.outputs.clone(),
        };
        formulas.end();
        Some(formulas)
    }
}

/// The plan that a program became: put side by side like this, with its memory arranged like this.
fn plan(numbers: &mut Numbers<Class>, of: Scope, joined: &Joined, memory: &Arc<Arrangement>) -> Option<PlanFormulas> {
    let mut work: Vec<Option<StepFormula>> = of.work.into_iter().map(Some).collect();
    let mut steps: Vec<StepFormula> = Vec::with_capacity(joined.len());
    for parts in joined {
        let mut parts = parts.iter().map(|&n| work[n as usize].take());
        let mut step = parts.next()??;
        for part in parts {
            match (&mut step, part?) {
                (StepFormula::Launch(bindings), StepFormula::Launch(more)) => bindings.extend(more),
                _ => return None,
            }
        }
        steps.push(step);
    }
    let sizes: Vec<Number> = of.sizes.into_iter().collect::<Option<_>>()?;
    for (a, b) in memory.equal_sizes() {
        numbers.decided(Relation::Equal, sizes[a.0 as usize], sizes[b.0 as usize]);
    }
    for &(arrays, how) in memory.walked_alike() {
        let [a, b] = arrays.map(|id| steps.get(id.step as usize)?.array(id));
        walked_alike(numbers, a?, b?, how);
    }
    let sizes = sizes.into_iter().map(Source::from).collect();
    Some(PlanFormulas { memory: memory.clone(), sizes, steps, slots: memory.slots().to_vec(), arena: 0 })
}

/// The same numbers as their transposes.
fn transposed(mut place: Strided) -> Strided {
    swap_last(&mut place.extents);
    swap_last(&mut place.strides);
    place
}

/// What a launch writes, and as which operand.
fn written(pass: &Pass) -> impl Iterator<Item = (Held, usize)> {
    let operands = pass.arrays.iter().zip(&pass.kernel.operands).enumerate();
    operands.filter(|(_, (_, operand))| operand.role != Role::In).map(|(n, (array, _))| (array.of, n))
}

/// Decides that two arrays are walked alike, neither at computed positions.
fn walked_alike(numbers: &mut Numbers<Class>, a: &ArgFormula, b: &ArgFormula, how: Alike) {
    for (a, b) in a.strides.iter().zip(&b.strides).chain([(&a.len, &b.len)]) {
        let (a, b) = (numbers.number(*a), numbers.number(*b));
        numbers.decided(Relation::Equal, a, b);
    }
    let [from, to] = [a, b].map(|array| numbers.number(array.offset));
    let apart = Number::fixed(to.value - from.value);
    let moved = numbers.compute(Operation::Sum, from, apart);
    numbers.decided(Relation::Equal, moved, to);
    if how == Alike::Parts {
        for stride in &a.strides {
            let stride = numbers.number(*stride);
            let rest = numbers.compute(Operation::Remainder, stride, Number::fixed(2));
            numbers.decided(Relation::Equal, rest, Number::ZERO);
        }
    }
}
