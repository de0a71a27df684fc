//! From the recipes of single launches to [`Formulas`] of a whole plan: what a recipe reads of where variables lie is a number of the pattern here, or of a view of what is.

use super::{
    ArgFormula, BindingFormula, By, CallFormula, Classes, Formulas, OfPattern, Place, StepFormula, View, WorkSource,
};
use crate::beside::Joined;
use crate::lower::again::{Array, Pass, Recipes, is_row};
use crate::lower::numbers::{Decision, Lie, Numbers, OfVar, Source, Step, Visit};
use crate::lower::places::{BufferId, CHAIN, Held};
use crate::lower::{Launch, Program, Work};
use crate::memory::{Alike, Arrangement, ArrayId};
use crate::pattern::Pattern;
use lazuli_ir::number::row_strides;
use lazuli_ir::{Atom, Equation, Extents, Graph, Number, Operation, Prim, Relation, Shape, ShapeId, Var, small};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Layout, LibraryCall, Plan, Role};
use smallvec::SmallVec;

/// A program whose numbers are formulas, before steps are put side by side.
pub(crate) struct Linked<'a> {
    graph: &'a Graph,
    of: (&'a [ShapeId], &'a [Shape]),
    inputs: &'a [Layout],
    recipes: &'a Recipes,
    shapes: Vec<ShapeId>,
    numbers_of: Map<ShapeId, u32>,
    pattern: Pattern,
    numbers: Numbers<OfPattern>,
    views: Vec<View>,
    /// How each view lies now.
    layouts: Vec<Option<Layout>>,
    rows: Vec<u32>,
    places: Map<Var, Place>,
    sizes: Vec<Option<Number>>,
    work: Vec<StepFormula>,
    outputs: Vec<Place>,
}

impl<'a> Linked<'a> {
    /// A program that was lowered by these recipes, of a graph whose variables have these shapes of an outline. None if the source of some numbers is not known.
    pub fn new(
        graph: &'a Graph,
        of: (&'a [ShapeId], &'a [Shape]),
        inputs: &'a [Layout],
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
            graph,
            of,
            inputs,
            recipes,
            pattern: Pattern::of(shapes.iter().map(|id| &id.of(of.1)[..])),
            shapes,
            numbers_of,
            numbers: Numbers::default(),
            views: Vec::new(),
            layouts: Vec::new(),
            rows: Vec::new(),
            places: Map::default(),
            sizes: vec![None; program.buffers.len()],
            work: Vec::with_capacity(program.work.len()),
            outputs: Vec::new(),
        };
        for (n, (&v, layout)) in graph.inputs.iter().zip(inputs).enumerate() {
            let (place, size) = match is_row(layout) {
                true => (linked.row(v)?, linked.nbytes(Held::Var(v))?),
                false => (Place::Input(n as u32), Number::fixed(program.buffers[n] as isize)),
            };
            linked.places.insert(v, place);
            linked.sizes[n] = Some(size);
        }
        for (work, source) in program.work.iter().zip(&program.sources) {
            let step = linked.step(work, *source)?;
            linked.work.push(step);
        }
        for atom in &graph.outputs {
            let Atom::Var(v) = atom else { return None };
            let place = linked.place(*v)?;
            linked.outputs.push(place);
        }
        Some(linked)
    }

    /// The shape of a variable.
    fn shape(&self, v: Var) -> Option<u32> {
        self.numbers_of.get(self.of.0.get(v.0 as usize)?).copied()
    }
    fn row(&self, v: Var) -> Option<Place> {
        self.shape(v).map(Place::Row)
    }
    fn class(&mut self, class: u32) -> Number {
        match self.pattern.numbers()[class as usize] as isize {
            few @ (0 | 1) => Number::fixed(few),
            n => self.numbers.leaf(OfPattern::Class(class), n),
        }
    }
    fn extents(&mut self, v: Var) -> Option<Extents> {
        let classes: SmallVec<[u32; 4]> = SmallVec::from_slice(self.pattern.classes(self.shape(v)? as usize).0);
        Some(small(classes.iter().map(|&class| self.class(class))))
    }
    fn size(&mut self, v: Var) -> Option<Number> {
        let (_, class) = self.pattern.classes(self.shape(v)? as usize);
        Some(self.class(class))
    }
    fn nbytes(&mut self, of: Held) -> Option<Number> {
        let (size, itemsize) = (self.size(of.var())?, of.dtype(self.graph).itemsize());
        Some(self.numbers.compute(Operation::Product, size, Number::fixed(itemsize as isize)))
    }

    /// Where a variable lies: [`Places`](crate::lower::places::Places), as formulas.
    fn place(&mut self, v: Var) -> Option<Place> {
        let mut chain: SmallVec<[(Var, &'a Equation); CHAIN]> = SmallVec::new();
        let mut source = v;
        let mut place = loop {
            if let Some(place) = self.places.get(&source) {
                break *place;
            }
            let view = self.graph.equations.get(self.recipes.producers[source.0 as usize] as usize)?;
            let Some(Atom::Var(input)) = view.inputs.first().filter(|_| view.prim.is_view() && chain.len() < CHAIN)
            else {
                return None;
            };
            chain.push((source, view));
            source = *input;
        };
        for (view, equation) in chain.into_iter().rev() {
            let mut shapes: SmallVec<[(DType, u32); 2]> = SmallVec::new();
            for &v in &equation.shapes {
                shapes.push((self.graph.avals[v.0 as usize].dtype, self.shape(v)?));
            }
            let by = By::Equation(equation.prim.clone(), shapes);
            let groups = matches!(equation.prim, Prim::Reshape(_) | Prim::Flatten(_) | Prim::Unflatten(_));
            place = match place {
                // Row by row is row by row, however axes are grouped.
                Place::Row(_) if groups && self.seen(place, &by, view).is_some_and(|now| is_row(&now)) => {
                    self.row(view)?
                }
                _ => self.view(place, by, view)?,
            };
            self.places.insert(view, place);
        }
        Some(place)
    }
    /// What lies in a place, seen as this variable; None if strides can't say it.
    fn view(&mut self, of: Place, by: By, v: Var) -> Option<Place> {
        let shape = self.shape(v)?;
        let same = |view: &View| (view.of, view.shape) == (of, shape) && view.by == by;
        let n = self.views.iter().position(same).unwrap_or_else(|| {
            let layout = self.seen(of, &by, v);
            self.views.push(View { of, by, shape, lies: layout.is_some() });
            self.layouts.push(layout);
            self.views.len() - 1
        });
        self.views[n].lies.then_some(Place::View(n as u32))
    }
    /// How what lies in a place lies now, seen so.
    fn seen(&self, of: Place, by: &By, v: Var) -> Option<Layout> {
        let shape_of = |shape: u32| self.shapes[shape as usize].of(self.of.1).clone();
        let seen = |of: &Layout| by.seen(of, &shape_of(self.shape(v)?), shape_of);
        match of {
            Place::Row(of) => seen(&Layout::row(shape_of(of))),
            Place::Input(n) => seen(&self.inputs[n as usize]),
            Place::View(of) => seen(self.layouts[of as usize].as_ref()?),
        }
    }
    /// A number of how a variable lies.
    fn lie(&mut self, v: Var, lie: Lie) -> Option<Number> {
        Some(match (self.place(v)?, lie) {
            (Place::Row(_), Lie::Stride(axis)) => self.row_strides(v)?[axis as usize],
            (Place::Row(_), Lie::Offset | Lie::First) => Number::ZERO,
            (Place::Row(_), Lie::Reach) => self.size(v)?,
            (Place::Input(n), _) => Number::fixed(lie.of(&self.inputs[n as usize])),
            (Place::View(view), _) => {
                let value = lie.of(self.layouts[view as usize].as_ref()?);
                self.numbers.leaf(OfPattern::Lie(view, lie), value)
            }
        })
    }
    fn row_strides(&mut self, v: Var) -> Option<Extents> {
        let extents = self.extents(v)?;
        Some(row_strides(&extents, |operation, a, b| self.numbers.compute(operation, a, b)))
    }

    fn step(&mut self, work: &Work, source: WorkSource) -> Option<StepFormula> {
        match (work, source) {
            (Work::Launch(launch), WorkSource::Launch(of, n)) => {
                let recipe = self.recipes.launches.get(&of)?;
                let binding = self.binding(recipe.passes.get(n as usize)?, launch, None)?;
                if n as usize + 1 == recipe.passes.len() {
                    self.set_written(&recipe.passes)?;
                }
                Some(StepFormula::Launch(vec![binding]))
            }
            (Work::Launch(launch), WorkSource::Fixed) => self.fixed(launch),
            (Work::Scatter(scattered), WorkSource::Scatter(of)) => {
                let passes = &self.recipes.launches.get(&of)?.passes;
                let [first, second, last] = &passes[..] else { return None };
                let ([target, updates, map], result) = (&scattered.launches, Some(scattered.result));
                let (first, second) = (self.binding(first, target, result)?, self.binding(second, updates, result)?);
                let formulas = [first, second, self.binding(last, map, result)?];
                self.set_written(passes)?;
                Some(StepFormula::Scatter(formulas))
            }
            (Work::Call { call, epilogue }, WorkSource::Matmul { factors, result, turned, epilogue: by }) => {
                let LibraryCall::Matmul { c, .. } = &**call else { return None };
                let whole = turned.unwrap_or(result);
                let product = BufferId::of(c);
                self.sizes[product.0 as usize] = Some(self.nbytes(Held::Var(whole))?);
                let formula = self.product(call, factors, result, turned, epilogue.is_some())?;
                let Some(launch) = epilogue else {
                    self.set_product(result, turned)?;
                    return Some(StepFormula::Call(formula));
                };
                let [pass] = &self.recipes.launches.get(&Held::Var(by?))?.passes[..] else { return None };
                let binding = self.binding(pass, launch, Some(product))?;
                for (held, _) in written(pass) {
                    match held.var() == whole {
                        true => self.set_product(result, turned)?,
                        false => self.set_row(held.var())?,
                    }
                }
                Some(StepFormula::Product(formula, binding))
            }
            _ => None,
        }
    }
    /// A number that the program states, in memory.
    fn fixed(&mut self, launch: &Launch) -> Option<StepFormula> {
        let [bound] = &launch.bindings[..] else { return None };
        let [arg] = &bound.args[..] else { return None };
        let buffer = BufferId::of(arg);
        let size = launch.kernel.operands[0].dtype.itemsize();
        let args = vec![ArgFormula::of_number(buffer)];
        self.sizes[buffer.0 as usize] = Some(Number::fixed(size as isize));
        let (extents, params) = (SmallVec::new(), SmallVec::new());
        Some(StepFormula::Launch(vec![BindingFormula { extents, args, params, by: Classes::default() }]))
    }
    fn set_row(&mut self, v: Var) -> Option<()> {
        let place = self.row(v)?;
        self.places.insert(v, place);
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
        let place = if turned.is_some() { self.view(place, By::Turning, v)? } else { place };
        self.places.insert(v, place);
        Some(())
    }

    /// The binding of a launch by what was noted of it. It may touch a result that the step hands on.
    fn binding(&mut self, recipe: &Pass, launch: &Launch, result: Option<BufferId>) -> Option<BindingFormula> {
        let [bound] = &launch.bindings[..] else { return None };
        for &v in &recipe.rows {
            match self.place(v)? {
                Place::Row(_) => {}
                Place::Input(_) => return None,
                Place::View(view) if self.layouts[view as usize].as_ref().is_some_and(is_row) => self.rows.push(view),
                Place::View(_) => return None,
            }
        }
        for &v in &recipe.computed {
            if self.place(v).is_some() {
                return None;
            }
        }
        let mut numbers: SmallVec<[Number; 32]> = SmallVec::new();
        let number = |numbers: &[Number], source: Source| match source {
            Source::Fixed(value) => Number::fixed(value),
            Source::Step(n) => numbers[n as usize],
        };
        for step in recipe.numbers.steps() {
            let value = match step {
                Step::Leaf(OfVar::Extent(v, axis)) => self.extents(v)?[axis as usize],
                Step::Leaf(OfVar::Lie(v, lie)) => self.lie(v, lie)?,
                Step::Compute(operation, a, b) => {
                    self.numbers.compute(operation, number(&numbers, a), number(&numbers, b))
                }
            };
            numbers.push(value);
        }
        for &Decision { relation, a, b, holds } in recipe.numbers.decisions() {
            let (a, b) = (number(&numbers, a), number(&numbers, b));
            if relation.holds(a.value, b.value) != holds {
                return None;
            }
            self.numbers.decided(relation, a, b);
        }
        let now = |source: Source| Source::from(number(&numbers, source));
        let mut args = Vec::with_capacity(recipe.arrays.len());
        for (Array { offset, strides, len, .. }, arg) in recipe.arrays.iter().zip(&bound.args) {
            let buffer = Some(BufferId::of(arg)).filter(|b| Some(*b) != result);
            let strides = small(strides.iter().map(|s| now(*s)));
            args.push(ArgFormula { buffer, offset: now(*offset), strides, len: now(*len) });
        }
        for (held, operand) in written(recipe) {
            self.sizes[BufferId::of(&bound.args[operand]).0 as usize] = Some(self.nbytes(held)?);
        }
        Some(BindingFormula {
            extents: small(recipe.extents.iter().map(|n| now(*n))),
            args,
            params: small(recipe.by_number.iter().map(|&(param, dtype, source)| (param, dtype, now(source)))),
            by: Classes::default(),
        })
    }

    fn product(
        &mut self,
        call: &LibraryCall,
        factors: [Var; 2],
        result: Var,
        turned: Option<Var>,
        hands_on: bool,
    ) -> Option<CallFormula> {
        let LibraryCall::Matmul { dtype, a, b, c, .. } = call else { return None };
        let [left, right] = factors.map(|v| self.matrices(v, turned.is_some()));
        let (left, right) = (left?, right?);
        let mut batch = self.extents(result)?;
        batch.truncate(batch.len() - 2);
        let whole = turned.unwrap_or(result);
        let own = Matrices { extents: self.extents(whole)?, strides: self.row_strides(whole)?, offset: Number::ZERO };
        let [[m, k], [_, n]] = [&left, &right].map(|matrices| matrices.matrix());
        let args = [(a, &left), (b, &right), (c, &own)].map(|(arg, matrices)| matrices.stretched(&batch, arg));
        let [a, b, c] = args;
        let c = if hands_on { ArgFormula { buffer: None, ..c } } else { c };
        let batch = small(batch.iter().map(|n| Source::from(*n)));
        let sizes = [m, n, k].map(Source::from);
        Some(CallFormula { dtype: *dtype, batch, sizes, args: [a, b, c], by: Classes::default() })
    }
    fn matrices(&mut self, v: Var, turned: bool) -> Option<Matrices> {
        let mut extents = self.extents(v)?;
        let mut strides: Extents = SmallVec::new();
        for axis in 0..extents.len() {
            strides.push(self.lie(v, Lie::Stride(axis as u32))?);
        }
        if turned {
            let rank = extents.len();
            [&mut extents, &mut strides].into_iter().for_each(|numbers| numbers.swap(rank - 2, rank - 1));
        }
        Some(Matrices { extents, strides, offset: self.lie(v, Lie::Offset)? })
    }

    /// The formulas of the plan that it became when launches were put side by side, and memory was assigned. None if something decides over memory that no formula says.
    pub fn finish(mut self, joined: &Joined, memory: &Arrangement, plan: Plan) -> Option<Formulas> {
        let mut work: Vec<Option<StepFormula>> = self.work.drain(..).map(Some).collect();
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
        let sizes: Vec<Number> = self.sizes.drain(..).collect::<Option<_>>()?;
        for (a, b) in memory.equal_sizes() {
            self.numbers.decided(Relation::Equal, sizes[a.0 as usize], sizes[b.0 as usize]);
        }
        for &(arrays, how) in memory.walked_alike() {
            let [a, b] = arrays.map(|id| steps.get(id.step as usize)?.array(id));
            walked_alike(&mut self.numbers, a?, b?, how);
        }
        let now: Vec<usize> = sizes.iter().map(|size| size.value as usize).collect();
        let mut formulas = Formulas {
            shapes: self.shapes,
            pattern: self.pattern,
            inputs: self.inputs.iter().map(|layout| (!is_row(layout)).then(|| layout.clone())).collect(),
            views: self.views,
            rows: self.rows,
            numbers: self.numbers,
            sizes: sizes.into_iter().map(Source::from).collect(),
            steps,
            outputs: memory.sources().iter().copied().zip(self.outputs).collect(),
            plan,
            slots: memory.placed(&now).0,
        };
        formulas.end();
        Some(formulas)
    }
}

/// What a launch writes, and as which operand.
fn written(pass: &Pass) -> impl Iterator<Item = (Held, usize)> {
    let operands = pass.arrays.iter().zip(&pass.kernel.operands).enumerate();
    operands.filter(|(_, (_, operand))| operand.role != Role::In).map(|(n, (array, _))| (array.of, n))
}

/// Decides that two arrays are walked alike, neither at computed positions.
fn walked_alike(numbers: &mut Numbers<OfPattern>, a: &ArgFormula, b: &ArgFormula, how: Alike) {
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

/// A stack of matrices in memory.
struct Matrices {
    extents: Extents,
    strides: Extents,
    offset: Number,
}

impl Matrices {
    /// Rows and columns.
    fn matrix(&self) -> [Number; 2] {
        let rank = self.extents.len();
        [self.extents[rank - 2], self.extents[rank - 1]]
    }
    /// Seen with the batch axes of a product.
    fn stretched(&self, batch: &[Number], arg: &lazuli_kernel::Arg) -> ArgFormula {
        let own = self.extents.len() - 2;
        let skip = batch.len() - own;
        let stride = |i: usize| match i.checked_sub(skip) {
            Some(axis) if self.extents[axis].value != 1 => Source::from(self.strides[axis]),
            _ => Source::Fixed(0),
        };
        let mut strides: SmallVec<[Source; 4]> = small((0..batch.len()).map(stride));
        strides.extend(self.strides[own..].iter().map(|s| Source::from(*s)));
        ArgFormula { buffer: Some(BufferId::of(arg)), offset: self.offset.into(), strides, len: Source::Fixed(0) }
    }
}

impl ArgFormula {
    /// A single number in a buffer of its own.
    fn of_number(buffer: BufferId) -> ArgFormula {
        let zero = Source::Fixed(0);
        ArgFormula { buffer: Some(buffer), offset: zero, strides: SmallVec::new(), len: zero }
    }
    fn sources(&mut self, f: &mut Visit) {
        [&mut self.offset, &mut self.len].into_iter().chain(&mut self.strides).for_each(f);
    }
}

impl BindingFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.extents.iter_mut().for_each(&mut *f);
        self.args.iter_mut().for_each(|arg| arg.sources(f));
        self.params.iter_mut().for_each(|(_, _, source)| f(source));
    }
    fn part(&mut self, part: &mut Part) {
        self.by = part(&mut |f| self.sources(f));
    }
}

impl CallFormula {
    fn sources(&mut self, f: &mut Visit) {
        self.batch.iter_mut().chain(&mut self.sizes).for_each(&mut *f);
        self.args.iter_mut().for_each(|arg| arg.sources(f));
    }
    fn part(&mut self, part: &mut Part) {
        self.by = part(&mut |f| self.sources(f));
    }
}

impl StepFormula {
    /// An array of one of its launches.
    fn array(&self, id: ArrayId) -> Option<&ArgFormula> {
        let bindings = match self {
            StepFormula::Launch(bindings) => &bindings[..],
            StepFormula::Product(_, of) => std::slice::from_ref(of),
            StepFormula::Scatter(of) => std::slice::from_ref(of.get(id.launch as usize)?),
            StepFormula::Call(_) => &[],
        };
        bindings.get(id.binding as usize)?.args.get(id.operand as usize)
    }
    /// Its sources, and what notes which classes those go by.
    fn parts(&mut self, part: &mut Part) {
        match self {
            StepFormula::Launch(bindings) => bindings.iter_mut().for_each(|binding| binding.part(part)),
            StepFormula::Call(call) => call.part(part),
            StepFormula::Product(call, binding) => {
                call.part(part);
                binding.part(part);
            }
            StepFormula::Scatter(bindings) => bindings.iter_mut().for_each(|binding| binding.part(part)),
        }
    }
}

/// Called with a way to visit the sources of a part of a step; gives the classes that it goes by.
type Part<'a> = dyn FnMut(&mut dyn FnMut(&mut Visit)) -> Classes + 'a;

impl Formulas {
    /// Leaves the numbers that are needed, and notes which classes each part of a step goes by.
    fn end(&mut self) {
        let Formulas { numbers, steps, sizes, pattern, views, .. } = self;
        numbers.end();
        numbers.keep(&mut |f: &mut Visit| {
            sizes.iter_mut().for_each(&mut *f);
            let mut visit = |sources: &mut dyn FnMut(&mut Visit)| {
                sources(f);
                Classes::default()
            };
            steps.iter_mut().for_each(|step| step.parts(&mut visit));
        });
        let of_shape = |shape: u32| {
            let (extents, _) = pattern.classes(shape as usize);
            extents.iter().fold(Classes::default(), |all, class| all.with(Classes::of(*class)))
        };
        let mut of_views: Vec<Classes> = Vec::with_capacity(views.len());
        for view in views.iter() {
            let of = match view.of {
                Place::Row(shape) => of_shape(shape),
                Place::Input(_) => Classes::default(),
                Place::View(of) => of_views[of as usize],
            };
            of_views.push(of.with(of_shape(view.shape)));
        }
        let mut of_numbers: Vec<Classes> = Vec::new();
        for step in numbers.steps() {
            let of = |source: Source| match source {
                Source::Fixed(_) => Classes::default(),
                Source::Step(n) => of_numbers[n as usize],
            };
            let classes = match step {
                Step::Leaf(OfPattern::Class(class)) => Classes::of(class),
                Step::Leaf(OfPattern::Lie(view, _)) => of_views[view as usize],
                Step::Compute(_, a, b) => of(a).with(of(b)),
            };
            of_numbers.push(classes);
        }
        for step in steps {
            step.parts(&mut |sources| {
                let mut by = Classes::default();
                sources(&mut |source: &mut Source| {
                    if let Source::Step(n) = source {
                        by = by.with(of_numbers[*n as usize]);
                    }
                });
                by
            });
        }
    }
}
