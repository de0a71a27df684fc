//! How an outline is made: from the shapes of graphs, one after the other, whose extents are in one class where they must be equal.

use super::arithmetic::{Notes, Related};
use super::{Axis, Numbers, Outline, ShapeId};
use crate::aval::Aval;
use crate::extents::{Classes, Place};
use crate::graph::{Atom, Graph};
use crate::prim::Prim;
use crate::prims::{self, Call, Derivative};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Error, Result, Shape, shape, small};
use smallvec::{SmallVec, smallvec};

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

/// Makes an [`Outline`], graph by graph.
#[derive(Debug, Default)]
pub struct OutlineBuilder {
    /// Of each extent its value in the graphs.
    own: Vec<usize>,
    /// What is known of it beforehand: that of one that follows from no argument.
    known: Vec<Option<usize>>,
    /// Which extents must be equal.
    classes: Classes,
    /// Extents that must be 0, 1 or neither, as they were.
    alike: Vec<u32>,
    /// Extents that must be what they were.
    fixed: Vec<u32>,
    shapes: Vec<Numbers>,
    arguments: Vec<ShapeId>,
    /// What shapes follow from, and which, in an order in which they can.
    steps: Vec<(Step, SmallVec<[ShapeId; 1]>)>,
    /// Shapes that must be equal, or differ, as they did.
    compared: Vec<(ShapeId, ShapeId)>,
    /// Numbers of shapes, of extents that follow from no argument, and what steps give.
    ids: Map<Numbers, ShapeId>,
    constants: Map<usize, u32>,
    given: Map<Step, SmallVec<[ShapeId; 1]>>,
}

impl OutlineBuilder {
    /// For a program whose arguments have these shapes.
    pub fn new<'a>(arguments: impl Iterator<Item = &'a Shape>) -> Self {
        let mut b = OutlineBuilder::default();
        for shape in arguments {
            let numbers = shape.iter().map(|&n| b.extent(n, None)).collect();
            let id = b.shape(numbers);
            b.arguments.push(id);
        }
        b
    }
    /// Adds a graph, of the arguments and constants of these shapes. The shapes of its variables, behind them those of its choices' ([`Graph::branches`]).
    ///
    /// # Errors
    /// Those of shape rules.
    pub fn graph<'a>(&mut self, graph: &Graph, constants: impl Iterator<Item = &'a Shape>) -> Result<Vec<ShapeId>> {
        let mut inputs = self.arguments.clone();
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
    ///
    /// # Errors
    /// If nobody says what an extent follows from.
    pub fn finish(mut self) -> Result<(Outline, Vec<ShapeId>)> {
        // What is known by now to be equal makes more steps the same, and these more shapes equal.
        while self.merge_steps() {}
        let roots: Vec<u32> = (0..self.own.len() as u32).map(|e| self.classes.find(e)).collect();
        let class = |e: u32| roots[e as usize];
        let classes = |id: ShapeId| -> Numbers { self.shapes[id.index()].iter().map(|&e| class(e)).collect() };

        let mut notes = Notes::new(roots.len());
        for (e, known) in (0..).zip(&self.known) {
            known.iter().for_each(|&n| notes.fix(class(e), n));
        }
        let mut axis = |e: u32| {
            let (number, is_first) = notes.argument(e, self.own[e as usize]);
            Axis { number, is_first }
        };
        let of = |id: &ShapeId| classes(*id).into_iter().map(&mut axis).collect();
        let arguments: Vec<SmallVec<[Axis; 4]>> = self.arguments.iter().map(of).collect();
        let first = arguments.iter().flatten().filter(|axis| axis.is_first).map(|axis| axis.number).collect();
        let mut goes_by: Vec<u32> = Vec::new();
        for (step, outputs) in &self.steps {
            let operands: SmallVec<[Numbers; 4]> = step.operands.iter().map(|&id| classes(id)).collect();
            operands.iter().for_each(|operand| goes_by.extend_from_slice(operand));
            if let Rule::Infer { prim, inputs, .. } = &step.rule {
                let output = outputs.first().map(|&id| classes(id));
                let all: SmallVec<[&Numbers; 4]> = operands.iter().collect();
                let (inputs, shapes) = all.split_at(*inputs);
                let avals = self.own_operands(step);
                let avals: SmallVec<[&Aval; 4]> = small(avals.iter().take(inputs.len()));
                prim.relate(&mut Related { notes: &mut notes, inputs, shapes, output: output.as_ref() }, &avals);
            }
        }

        let number = |e: u32| {
            notes.of(class(e)).ok_or_else(|| Error::internal("outline", "what an extent follows from is not known"))
        };
        let mut shapes: Vec<Numbers> = Vec::new();
        let mut found: Map<Numbers, ShapeId> = Map::default();
        let mut ids: Vec<ShapeId> = Vec::with_capacity(self.shapes.len());
        for shape in &self.shapes {
            let shape: Numbers = shape.iter().map(|&e| number(e)).collect::<Result<_>>()?;
            let next = ShapeId(shapes.len() as u32);
            let id = *found.entry(shape.clone()).or_insert(next);
            if id == next {
                shapes.push(shape);
            }
            ids.push(id);
        }
        let alike = self.alike.iter().copied().chain(goes_by).map(number).collect::<Result<Vec<u32>>>()?;
        let alike = distinct(alike, |&n| !notes.is_fixed(n));
        let fixed = self.fixed.iter().map(|&e| number(e)).collect::<Result<Vec<_>>>()?;
        let fixed = distinct(fixed, |&n| !notes.is_fixed(n));
        let compared = self.compared.iter().map(|&(a, b)| {
            let are_same = self.own_shape(a) == self.own_shape(b);
            (a.now(&ids), b.now(&ids), are_same)
        });
        let compared = compared.filter(|(a, b, _)| a != b).collect();
        Ok((Outline { arguments, first, arithmetic: notes.arithmetic, alike, fixed, shapes, compared }, ids))
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
        self.own.push(own);
        self.known.push(known);
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
        let next = ShapeId(self.shapes.len() as u32);
        let id = *self.ids.entry(numbers.clone()).or_insert(next);
        if id == next {
            self.shapes.push(numbers);
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
        let numbers = self.shapes[id.index()].iter().map(|&e| self.classes.find(e)).collect();
        self.shape(numbers)
    }
    fn own_shape(&self, id: ShapeId) -> Shape {
        small(self.shapes[id.index()].iter().map(|&e| self.own[e as usize]))
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
        self.shapes[id.index()].iter().any(|&e| self.known[e as usize].is_none())
    }
    fn unite_all(&mut self, a: &[ShapeId], b: &[ShapeId]) {
        for (a, b) in a.iter().zip(b) {
            let OutlineBuilder { own, shapes, classes, .. } = self;
            for (&a, &b) in shapes[a.index()].iter().zip(&shapes[b.index()]) {
                debug_assert_eq!(own[a as usize], own[b as usize]);
                classes.unite(a, b);
            }
        }
    }
    /// Drops what broadcasting does not go by. The shape, if it is that of one operand.
    fn equal(&mut self, operands: &mut SmallVec<[ShapeId; 4]>) -> Option<ShapeId> {
        operands.retain(|id| !self.shapes[id.index()].is_empty());
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
        let numbers = |id: ShapeId| &self.shapes[id.index()];
        let own = |e: u32| self.own[e as usize];
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
        let OutlineBuilder { shapes, fixed, .. } = self;
        fixed.extend(step.operands.iter().flat_map(|id| &shapes[id.index()]).copied());
        Ok(small(outputs.iter().map(|shape| self.constant(shape))))
    }
    /// The shapes of a graph's variables, and of its choices'. `alike`: the graph holds while the same extents of all of them are 0 and 1.
    fn walk(&mut self, graph: &Graph, inputs: &[ShapeId], alike: bool) -> Result<Vec<ShapeId>> {
        let (mut ids, mut within) = (vec![ShapeId::NONE; graph.avals.len()], Vec::new());
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
                    let mut branch = |graph: &Graph| {
                        let ids = self.walk(graph, &operands[1..], alike)?;
                        let outputs = self.outputs(graph, &ids);
                        within.extend(ids);
                        Ok(outputs)
                    };
                    let [on_true, on_false] = &cond.branches;
                    let (outputs, others) = (branch(on_true)?, branch(on_false)?);
                    self.unite_all(&outputs, &others);
                    outputs
                }
                prim if prim.is_elementwise() => match self.equal(&mut operands) {
                    Some(id) => smallvec![id],
                    None => self.follow(Step { operands, rule: Rule::Broadcast })?,
                },
                // A reshape is left out where it changes no shape.
                Prim::Reshape(_) if alike => {
                    let outputs = self.follow(step())?;
                    self.compared.push((operands[0], outputs[0]));
                    outputs
                }
                _ => self.follow(step())?,
            };
            e.outputs.iter().zip(&outputs).for_each(|(v, &id)| ids[v.0 as usize] = id);
        }
        if alike {
            let OutlineBuilder { shapes, alike, .. } = self;
            let defined = ids.iter().filter(|&&id| id != ShapeId::NONE);
            alike.extend(defined.flat_map(|id| &shapes[id.index()]));
        }
        ids.extend(within);
        Ok(ids)
    }
    /// The shapes of a graph's outputs, given those of its variables.
    fn outputs(&mut self, graph: &Graph, ids: &[ShapeId]) -> SmallVec<[ShapeId; 1]> {
        graph.outputs.iter().map(|a| self.of(a, ids)).collect()
    }
    /// The shapes of a call's outputs, as [`Call::rebound_avals`] has them.
    fn call(&mut self, call: &Call, operands: &[ShapeId], alike: bool) -> Result<SmallVec<[ShapeId; 1]>> {
        let mut alike_within = alike;
        if let Some(prims::Rule { make, fixed: Some(fixed) }) = &call.rule {
            if let Some(source) = make.source() {
                let point = |s: prims::Source| self.shape(s.of(&self.shapes[operands[s.operand].index()]));
                let sources = make.sources();
                let given: Vec<ShapeId> = sources.iter().copied().map(point).collect();
                let OutlineBuilder { shapes, classes, .. } = self;
                // All batches are of one extent.
                let mut batches = sources.iter().filter_map(|s| Some(shapes[operands[s.operand].index()][s.batch?]));
                if let Some(first) = batches.next() {
                    batches.for_each(|n| classes.unite(first, n));
                }
                self.walk(source, &given, true)?;
            }
            let OutlineBuilder { shapes, fixed: all, .. } = self;
            all.extend(fixed.iter().map(|f| shapes[operands[f.input].index()][f.axis]));
            alike_within = true;
        }
        let ids = self.walk(&call.graph, operands, alike_within)?;
        let outputs = self.outputs(&call.graph, &ids);
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

/// Those for which this holds, each once.
fn distinct<T: Ord>(mut of: Vec<T>, holds: impl Fn(&T) -> bool) -> Vec<T> {
    of.retain(holds);
    of.sort();
    of.dedup();
    of
}
