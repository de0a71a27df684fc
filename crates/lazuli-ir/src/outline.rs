//! What the shapes of a program follow from, in all its graphs at once.
//!
//! For new shapes a shapeless program is looked at through several graphs: as traced, with the bodies of its calls and what their rules were applied to; as simplified; and what it recorded
//! besides. These compute the same shapes again and again: most arrays have the shape of another, and one graph is made of the other. An outline has each of them once. It numbers extents: those
//! that must be equal for equations to be well formed ([`Primitive::same_extents`](crate::Primitive::same_extents)) have one number, so shapes of the same numbers are one, and so are equations of one rule over the same
//! shapes.
//!
//! That extents are equal is looked at, not believed: whenever shapes are asked for, each extent of an argument, and each that a rule gives, is compared with what is there under its number. Rules are functions of
//! avals, so what holds of the equations that are left holds of all. An outline speaks of arguments for which that is so and nothing is refused or made anew. Of others it says nothing: then the
//! graphs are asked one by one ([`Graph::rebound_avals`]).

use crate::aval::{Aval, is_addressable};
use crate::extents::{Classes, Place, alike};
use crate::graph::{Atom, Graph};
use crate::prim::Prim;
use crate::prims::{self, Call, Derivative};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Result, Shape, shape, small};
use smallvec::{SmallVec, smallvec};

/// Number of a shape of an [`Outline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShapeId(u32);

impl ShapeId {
    /// That of a variable that nothing defines.
    const NONE: ShapeId = ShapeId(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }
    /// The number that it has from now on, by [`OutlineBuilder::finish`].
    pub fn now(self, ids: &[ShapeId]) -> ShapeId {
        ids.get(self.index()).copied().unwrap_or(ShapeId::NONE)
    }
    /// Whether it is the number of one of these shapes.
    pub fn is_of(self, shapes: &[Shape]) -> bool {
        self.index() < shapes.len()
    }
    /// The shape of this number.
    pub fn of(self, shapes: &[Shape]) -> &Shape {
        &shapes[self.index()]
    }
}

/// A shape as the numbers of its extents.
type Numbers = SmallVec<[u32; 4]>;

/// How shapes follow from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Rule {
    /// That of what is elementwise, from those of its operands.
    Broadcast,
    /// Those of the outputs of an equation, from its operands, and shape operands that follow this many.
    Infer { prim: Box<Prim>, dtypes: SmallVec<[DType; 4]>, inputs: usize },
}

/// Some shapes that others follow from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Step {
    operands: SmallVec<[ShapeId; 4]>,
    rule: Rule,
}

impl Rule {
    fn outputs(&self, operands: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        match self {
            Rule::Broadcast => {
                let mut shape = Shape::new();
                for operand in operands {
                    shape = shape::broadcast("broadcast", &shape, &operand.shape)?;
                }
                Ok(smallvec![Aval { dtype: DType::Bool, shape }])
            }
            Rule::Infer { prim, inputs, .. } => {
                let (inputs, shapes) = operands.split_at(*inputs);
                prim.infer(inputs, shapes)
            }
        }
    }
    /// The dtype of an operand; that of one that is broadcast is of no account.
    fn dtype(&self, operand: usize) -> DType {
        match self {
            Rule::Broadcast => DType::Bool,
            Rule::Infer { dtypes, .. } => dtypes[operand],
        }
    }
}

/// How some shapes follow from others, in an outline.
#[derive(Debug)]
struct Inference {
    rule: Rule,
    /// Numbers of avals.
    operands: SmallVec<[u32; 4]>,
    /// The extents that it goes by, but for those that are known beforehand.
    goes_by: SmallVec<[u32; 4]>,
    outputs: SmallVec<[ShapeId; 1]>,
}

/// The shapes of a program's graphs, each once.
#[derive(Debug)]
pub struct Outline {
    /// Of each extent its value for the arguments that it was made for.
    own: Vec<usize>,
    /// What is known of it beforehand: that of one that follows from no argument.
    known: Vec<Option<usize>>,
    /// Extents that must be 0, 1 or neither, as they were.
    alike: Vec<u32>,
    /// Extents that must be what they were.
    fixed: Vec<u32>,
    shapes: Vec<Numbers>,
    arguments: Vec<ShapeId>,
    /// Avals of operands, each once.
    avals: Vec<(DType, ShapeId)>,
    /// In an order in which shapes can follow.
    inferences: Vec<Inference>,
    /// Shapes that must be equal, or differ, as they did.
    compared: Vec<(ShapeId, ShapeId)>,
}

impl Outline {
    /// All shapes, by their numbers, for arguments of these; `None` if it does not speak of them.
    pub fn shapes<'a>(&self, arguments: impl Iterator<Item = &'a [usize]>) -> Option<Vec<Shape>> {
        let mut now = self.known.clone();
        for (&id, shape) in self.arguments.iter().zip(arguments) {
            if !self.note(&mut now, id, shape) {
                return None;
            }
        }
        let value = |now: &[Option<usize>], e: u32| now[e as usize].unwrap_or(self.own[e as usize]);
        let is_own = |now: &[Option<usize>], e: u32| value(now, e) == self.own[e as usize];
        let mut avals: Vec<Option<Aval>> = vec![None; self.avals.len()];
        for Inference { rule, operands, goes_by, outputs } in &self.inferences {
            let is_noted = match goes_by.iter().all(|&e| is_own(&now, e)) {
                true => outputs.iter().all(|&id| self.note(&mut now, id, &self.own_shape(id))),
                false => {
                    for &k in operands {
                        avals[k as usize].get_or_insert_with(|| {
                            let (dtype, id) = self.avals[k as usize];
                            Aval { dtype, shape: small(self.shapes[id.index()].iter().map(|&e| value(&now, e))) }
                        });
                    }
                    let operands = operands.iter().filter_map(|&k| avals[k as usize].as_ref());
                    let given = rule.outputs(&small::<[&Aval; 4]>(operands)).ok()?;
                    outputs.iter().zip(&given).all(|(&id, aval)| self.note(&mut now, id, &aval.shape))
                }
            };
            if !is_noted {
                return None;
            }
        }
        let is_alike = |e: u32| alike(&[self.own[e as usize]], &[value(&now, e)]);
        if !self.fixed.iter().all(|&e| is_own(&now, e)) || !self.alike.iter().all(|&e| is_alike(e)) {
            return None;
        }
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.shapes.len());
        for numbers in &self.shapes {
            let shape: Shape = small(numbers.iter().map(|&e| value(&now, e)));
            // No dtype is wider.
            if !is_addressable(DType::C64, &shape) {
                return None;
            }
            shapes.push(shape);
        }
        let were_same = |a: ShapeId, b: ShapeId| self.own_shape(a) == self.own_shape(b);
        let holds = self.compared.iter().all(|&(a, b)| were_same(a, b) == (a.of(&shapes) == b.of(&shapes)));
        holds.then_some(shapes)
    }
    /// Notes the extents of a shape: whether they are what others of their numbers are.
    #[inline]
    fn note(&self, now: &mut [Option<usize>], id: ShapeId, shape: &[usize]) -> bool {
        let numbers = &self.shapes[id.index()];
        numbers.len() == shape.len() && numbers.iter().zip(shape).all(|(&e, &n)| *now[e as usize].get_or_insert(n) == n)
    }
    fn own_shape(&self, id: ShapeId) -> Shape {
        small(self.shapes[id.index()].iter().map(|&e| self.own[e as usize]))
    }
}

impl Graph {
    /// The same graph, which has no bodies, with shapes of an outline for its variables: those of these numbers.
    pub fn outlined(&self, ids: &[ShapeId], shapes: &[Shape]) -> Graph {
        // Lists of so many extents are copied whole, which is quicker than as many as there are.
        let whole = |shape: &Shape| {
            let mut extents = [0; 4];
            extents.get_mut(..shape.len())?.copy_from_slice(shape);
            Some((extents, shape.len()))
        };
        let whole: Vec<Option<([usize; 4], usize)>> = shapes.iter().map(whole).collect();
        let aval = |(own, id): (&Aval, &ShapeId)| {
            let shape = match whole.get(id.index()) {
                Some(&Some((extents, rank))) => Shape::from_buf_and_len(extents, rank),
                Some(None) => id.of(shapes).clone(),
                None => return own.clone(),
            };
            Aval { dtype: own.dtype, shape }
        };
        let (inputs, outputs, constants) = (self.inputs.clone(), self.outputs.clone(), self.constants);
        let avals = self.avals.iter().zip(ids).map(aval).collect();
        Graph { avals, inputs, constants, equations: self.equations.clone(), outputs }
    }
}

/// Makes an [`Outline`], graph by graph.
#[derive(Debug)]
pub struct OutlineBuilder {
    outline: Outline,
    /// What shapes follow from, and which.
    steps: Vec<(Step, SmallVec<[ShapeId; 1]>)>,
    /// Which extents must be equal.
    classes: Classes,
    /// Numbers of shapes, of extents that follow from no argument, and what steps give.
    shapes: Map<Numbers, ShapeId>,
    constants: Map<usize, u32>,
    given: Map<Step, SmallVec<[ShapeId; 1]>>,
}

impl OutlineBuilder {
    /// For a program whose arguments have these shapes.
    pub fn new<'a>(arguments: impl Iterator<Item = &'a Shape>) -> Self {
        let outline = Outline {
            own: Vec::new(),
            known: Vec::new(),
            alike: Vec::new(),
            fixed: Vec::new(),
            shapes: Vec::new(),
            arguments: Vec::new(),
            avals: Vec::new(),
            inferences: Vec::new(),
            compared: Vec::new(),
        };
        let mut b = OutlineBuilder {
            outline,
            classes: Classes::default(),
            steps: Vec::new(),
            shapes: Map::default(),
            constants: Map::default(),
            given: Map::default(),
        };
        for shape in arguments {
            let numbers = shape.iter().map(|&n| b.extent(n, None)).collect();
            let id = b.shape(numbers);
            b.outline.arguments.push(id);
        }
        b
    }
    /// Adds a graph, of the arguments and constants of these shapes. The shapes of its variables.
    ///
    /// # Errors
    /// Those of shape rules.
    pub fn graph<'a>(&mut self, graph: &Graph, constants: impl Iterator<Item = &'a Shape>) -> Result<Vec<ShapeId>> {
        let mut inputs = self.outline.arguments.clone();
        inputs.extend(constants.map(|shape| self.constant(shape)));
        self.walk(graph, &inputs, false)
    }
    /// The shape of an atom of a graph, given those of its variables.
    pub fn of(&mut self, atom: &Atom, ids: &[ShapeId]) -> ShapeId {
        match atom {
            Atom::Var(v) => ids[v.0 as usize],
            Atom::Lit(_) => self.constant(&Shape::new()),
        }
    }
    /// The outline, and the numbers that its shapes have from now on: equal ones have one.
    pub fn finish(mut self) -> (Outline, Vec<ShapeId>) {
        // What is known by now to be equal makes more steps the same, and these more shapes equal.
        while self.merge_steps() {}
        let mut numbers: Vec<Option<u32>> = vec![None; self.outline.own.len()];
        let (mut own, mut known) = (Vec::new(), Vec::new());
        for e in 0..numbers.len() as u32 {
            let root = self.classes.find(e) as usize;
            let number = *numbers[root].get_or_insert_with(|| {
                own.push(self.outline.own[root]);
                known.push(None);
                own.len() as u32 - 1
            });
            numbers[e as usize] = Some(number);
            let known = &mut known[number as usize];
            *known = known.or(self.outline.known[e as usize]);
        }
        let number = |e: &u32| numbers[*e as usize].unwrap_or(*e);
        let mut shapes: Vec<Numbers> = Vec::new();
        let mut found: Map<Numbers, ShapeId> = Map::default();
        let ids: Vec<ShapeId> = (self.outline.shapes.iter())
            .map(|shape| {
                let shape: Numbers = shape.iter().map(number).collect();
                *found.entry(shape).or_insert_with_key(|shape| {
                    shapes.push(shape.clone());
                    ShapeId(shapes.len() as u32 - 1)
                })
            })
            .collect();
        let [alike, fixed] = [&self.outline.alike, &self.outline.fixed].map(|extents| {
            let mut extents: Vec<u32> = extents.iter().map(number).collect();
            extents.sort();
            extents.dedup();
            extents
        });
        let of = |id: ShapeId| ids[id.index()];
        let arguments = self.outline.arguments.iter().map(|&id| of(id)).collect();
        let compared = self.outline.compared.iter().map(|&(a, b)| (of(a), of(b))).filter(|(a, b)| a != b).collect();
        let mut avals: Vec<(DType, ShapeId)> = Vec::new();
        let mut aval = |dtype: DType, id: ShapeId| {
            let known = avals.iter().position(|aval| *aval == (dtype, id));
            known.unwrap_or_else(|| {
                avals.push((dtype, id));
                avals.len() - 1
            }) as u32
        };
        let inference = |(step, outputs): (Step, SmallVec<[ShapeId; 1]>)| {
            let mut goes_by: SmallVec<[u32; 4]> = SmallVec::new();
            step.operands.iter().for_each(|&id| goes_by.extend_from_slice(&shapes[of(id).index()]));
            goes_by.retain(|e| known[*e as usize].is_none());
            goes_by.sort();
            goes_by.dedup();
            let operands = step.operands.iter().enumerate();
            let operands = operands.map(|(k, &id)| aval(step.rule.dtype(k), of(id))).collect();
            Inference { operands, goes_by, outputs: outputs.iter().map(|&id| of(id)).collect(), rule: step.rule }
        };
        let inferences = self.steps.into_iter().map(inference).collect();
        (Outline { own, known, alike, fixed, shapes, arguments, avals, inferences, compared }, ids)
    }
    /// Whether some steps are the same as others, by what is known now. They are dropped.
    fn merge_steps(&mut self) -> bool {
        self.given.clear();
        let before = self.steps.len();
        for (mut step, outputs) in std::mem::take(&mut self.steps) {
            step.operands = step.operands.iter().map(|&id| self.canonical(id)).collect();
            let known = match step.rule {
                Rule::Broadcast => self.equal(&mut step.operands).map(|id| smallvec![id]),
                Rule::Infer { .. } => None,
            };
            match known.or_else(|| self.given.get(&step).cloned()) {
                Some(known) => self.unite_all(&known, &outputs),
                None => {
                    self.given.insert(step.clone(), outputs.clone());
                    self.steps.push((step, outputs));
                }
            }
        }
        self.steps.len() < before
    }

    /// A number for an extent.
    fn extent(&mut self, own: usize, known: Option<usize>) -> u32 {
        self.outline.own.push(own);
        self.outline.known.push(known);
        self.classes.add()
    }
    fn constant_extent(&mut self, n: usize) -> u32 {
        if let Some(&e) = self.constants.get(&n) {
            return e;
        }
        let e = self.extent(n, Some(n));
        self.constants.insert(n, e);
        e
    }
    /// The number of a shape.
    fn shape(&mut self, numbers: Numbers) -> ShapeId {
        let next = ShapeId(self.outline.shapes.len() as u32);
        let id = *self.shapes.entry(numbers.clone()).or_insert(next);
        if id == next {
            self.outline.shapes.push(numbers);
        }
        id
    }
    /// A shape that is what it is, whatever the arguments are.
    fn constant(&mut self, shape: &Shape) -> ShapeId {
        let numbers = shape.iter().map(|&n| self.constant_extent(n)).collect();
        self.shape(numbers)
    }
    /// The same shape by the numbers that its extents have by now.
    fn canonical(&mut self, id: ShapeId) -> ShapeId {
        let numbers = self.outline.shapes[id.index()].iter().map(|&e| self.classes.find(e)).collect();
        self.shape(numbers)
    }
    fn own_shape(&self, id: ShapeId) -> Shape {
        self.outline.own_shape(id)
    }
    fn own_operands(&self, step: &Step) -> SmallVec<[Aval; 4]> {
        let aval = |(k, &id)| Aval { dtype: step.rule.dtype(k), shape: self.own_shape(id) };
        step.operands.iter().enumerate().map(aval).collect()
    }
    fn own_outputs(&self, step: &Step) -> Result<SmallVec<[Shape; 1]>> {
        let operands = self.own_operands(step);
        Ok(step.rule.outputs(&small::<[&Aval; 4]>(&operands))?.into_iter().map(|aval| aval.shape).collect())
    }
    fn varies(&self, id: ShapeId) -> bool {
        self.outline.shapes[id.index()].iter().any(|&e| self.outline.known[e as usize].is_none())
    }
    fn unite_all(&mut self, a: &[ShapeId], b: &[ShapeId]) {
        for (a, b) in a.iter().zip(b) {
            let Outline { own, shapes, .. } = &self.outline;
            for (&a, &b) in shapes[a.index()].iter().zip(&shapes[b.index()]) {
                debug_assert_eq!(own[a as usize], own[b as usize]);
                self.classes.unite(a, b);
            }
        }
    }
    /// Drops what broadcasting does not go by. The shape, if it is that of one operand.
    fn equal(&mut self, operands: &mut SmallVec<[ShapeId; 4]>) -> Option<ShapeId> {
        operands.retain(|id| !self.outline.shapes[id.index()].is_empty());
        operands.sort();
        operands.dedup();
        match operands[..] {
            [] => Some(self.constant(&Shape::new())),
            [id] => Some(id),
            _ => None,
        }
    }
    /// What follows by a step.
    fn follow(&mut self, step: Step) -> Result<SmallVec<[ShapeId; 1]>> {
        if let Some(outputs) = self.given.get(&step) {
            return Ok(outputs.clone());
        }
        let shapes = self.own_outputs(&step)?;
        if !step.operands.iter().any(|&id| self.varies(id)) {
            return Ok(small(shapes.iter().map(|shape| self.constant(shape))));
        }
        let mut outputs: SmallVec<[ShapeId; 1]> = SmallVec::new();
        for shape in &shapes {
            let equal = if shapes.len() == 1 { self.equal_extents(&step, shape) } else { Vec::new() };
            let mut numbers: SmallVec<[Option<u32>; 4]> = smallvec![None; shape.len()];
            for (e, axis) in equal {
                match numbers[axis] {
                    None => numbers[axis] = Some(e),
                    Some(first) => self.classes.unite(first, e),
                }
            }
            // An extent of 1 is taken for a constant where it is that of no operand.
            let numbers = numbers.into_iter().zip(shape).map(|(e, &n)| match e {
                Some(e) => self.classes.find(e),
                None if n == 1 => self.constant_extent(1),
                None => self.extent(n, None),
            });
            let numbers = numbers.collect();
            outputs.push(self.shape(numbers));
        }
        self.steps.push((step.clone(), outputs.clone()));
        self.given.insert(step, outputs.clone());
        Ok(outputs)
    }
    /// Which extents of operands those of the output of a step are, by their axis. It notes which extents of operands are equal.
    fn equal_extents(&mut self, step: &Step, output: &Shape) -> Vec<(u32, usize)> {
        let numbers = |id: ShapeId| &self.outline.shapes[id.index()];
        let own = |e: u32| self.outline.own[e as usize];
        let mut equal = Vec::new();
        match &step.rule {
            Rule::Broadcast => {
                for &id in &step.operands {
                    let skip = output.len() - numbers(id).len();
                    equal.extend(numbers(id).iter().enumerate().map(|(axis, &e)| (e, skip + axis)));
                }
                equal.retain(|&(e, _)| own(e) != 1);
            }
            Rule::Infer { prim, inputs: count, .. } => {
                let avals = self.own_operands(step);
                let avals: SmallVec<[&Aval; 4]> = small(avals.iter().take(*count));
                let out = Aval { dtype: DType::F32, shape: Shape::from_slice(output) };
                let of = |place| match place {
                    Place::Input(k, axis) => Some(numbers(step.operands[k])[axis]),
                    Place::Shape(k, axis) => Some(numbers(step.operands[count + k])[axis]),
                    Place::Output(_) => None,
                };
                prim.same_extents(&avals, &out, &mut |a, b| match (of(a), of(b), a, b) {
                    (Some(a), Some(b), ..) if own(a) == own(b) => self.classes.unite(a, b),
                    (Some(e), None, _, Place::Output(axis)) | (None, Some(e), Place::Output(axis), _) => {
                        equal.push((e, axis))
                    }
                    _ => {}
                });
            }
        }
        equal.retain(|&(e, axis)| own(e) == output[axis]);
        equal
    }
    /// What follows by a step from shapes that must be what they were.
    fn keep(&mut self, step: &Step) -> Result<SmallVec<[ShapeId; 1]>> {
        let outputs = self.own_outputs(step)?;
        let Outline { shapes, fixed, .. } = &mut self.outline;
        fixed.extend(step.operands.iter().flat_map(|id| &shapes[id.index()]));
        Ok(small(outputs.iter().map(|shape| self.constant(shape))))
    }
    /// The shapes of a graph's variables. `alike`: the graph holds while the same extents of all of them are 0 and 1.
    fn walk(&mut self, graph: &Graph, inputs: &[ShapeId], alike: bool) -> Result<Vec<ShapeId>> {
        let mut ids = vec![ShapeId::NONE; graph.avals.len()];
        graph.inputs.iter().zip(inputs).for_each(|(v, &id)| ids[v.0 as usize] = id);
        for e in &graph.equations {
            let mut operands: SmallVec<[ShapeId; 4]> = e.inputs.iter().map(|a| self.of(a, &ids)).collect();
            let step = || {
                let shapes = e.shapes.iter().map(|&v| Atom::Var(v));
                let all: SmallVec<[Atom; 4]> = e.inputs.iter().copied().chain(shapes).collect();
                let dtypes = all.iter().map(|a| graph.aval_of(a).dtype).collect();
                let rule = Rule::Infer { prim: Box::new(e.prim.clone()), dtypes, inputs: e.inputs.len() };
                let shapes = e.shapes.iter().map(|v| ids[v.0 as usize]);
                Step { operands: operands.iter().copied().chain(shapes).collect(), rule }
            };
            let outputs = match &e.prim {
                Prim::Call(call) if call.is_remade() => self.keep(&step())?,
                Prim::Call(call) => self.call(call, &operands, alike)?,
                Prim::Cond(cond) => {
                    let [first, second] = [0, 1].map(|k| self.body(&cond.branches[k], &operands[1..], alike));
                    let outputs = first?;
                    self.unite_all(&outputs, &second?);
                    outputs
                }
                prim if prim.is_elementwise() => match self.equal(&mut operands) {
                    Some(id) => smallvec![id],
                    None => self.follow(Step { operands, rule: Rule::Broadcast })?,
                },
                // A reshape is left out where it changes no shape.
                Prim::Reshape(_) if alike => {
                    let outputs = self.follow(step())?;
                    self.outline.compared.push((operands[0], outputs[0]));
                    outputs
                }
                _ => self.follow(step())?,
            };
            e.outputs.iter().zip(&outputs).for_each(|(v, &id)| ids[v.0 as usize] = id);
        }
        if alike {
            let Outline { shapes, alike, .. } = &mut self.outline;
            let defined = ids.iter().filter(|&&id| id != ShapeId::NONE);
            alike.extend(defined.flat_map(|id| &shapes[id.index()]));
        }
        Ok(ids)
    }
    /// The shapes of the outputs of a body.
    fn body(&mut self, graph: &Graph, operands: &[ShapeId], alike: bool) -> Result<SmallVec<[ShapeId; 1]>> {
        let ids = self.walk(graph, operands, alike)?;
        Ok(graph.outputs.iter().map(|a| self.of(a, &ids)).collect())
    }
    /// The shapes of a call's outputs, as [`Call::rebound_avals`] has them.
    fn call(&mut self, call: &Call, operands: &[ShapeId], alike: bool) -> Result<SmallVec<[ShapeId; 1]>> {
        let mut alike_within = alike;
        if let Some(prims::Rule { make, fixed: Some(fixed) }) = &call.rule {
            if let Some(source) = make.source() {
                let point = |s: prims::Source| self.shape(s.of(&self.outline.shapes[operands[s.operand].index()]));
                let given: Vec<ShapeId> = make.sources().into_iter().map(point).collect();
                self.walk(source, &given, true)?;
            }
            let Outline { shapes, fixed: all, .. } = &mut self.outline;
            all.extend(fixed.iter().map(|&(k, axis)| shapes[operands[k].index()][axis]));
            alike_within = true;
        }
        let outputs = self.body(&call.graph, operands, alike_within)?;
        if let Derivative::Custom { vjp, jvp } = &call.derivative {
            if let Some(vjp) = vjp {
                self.walk(vjp, &[operands, &outputs, &outputs].concat(), alike)?;
            }
            if let Some(jvp) = jvp {
                let primals = jvp.inputs.len() - call.graph.inputs.len();
                self.walk(jvp, &[operands, &operands[..primals]].concat(), alike)?;
            }
        }
        Ok(outputs)
    }
}
