//! What the shapes of a program follow from, in all its graphs at once.
//!
//! For new shapes a shapeless program is looked at through several graphs: as traced, with the bodies of its calls and what their rules were applied to; as simplified; and what it recorded
//! besides. These compute the same shapes again and again: most arrays have the shape of another, and one graph is made of the other. An outline has each of these shapes once: those that follow by
//! one rule from the same shapes are one. Shape rules are functions of avals, so that is so for all arguments.
//!
//! It speaks of arguments for which nothing is refused or made anew. Of others it says nothing: then the graphs are asked one by one ([`Graph::rebound_avals`]).

use crate::aval::{Aval, is_addressable};
use crate::extents::alike;
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
    /// The shape of this number.
    pub fn of(self, shapes: &[Shape]) -> &Shape {
        &shapes[self.index()]
    }
}

/// How shapes follow from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Rule {
    /// That of what is elementwise, from those of its operands.
    Broadcast,
    /// Those of the outputs of an equation, from its operands, and shape operands that follow this many.
    Infer { prim: Box<Prim>, dtypes: SmallVec<[DType; 4]>, inputs: usize },
}

/// Some shapes that follow from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Step {
    operands: SmallVec<[ShapeId; 4]>,
    rule: Rule,
}

impl Step {
    fn outputs(&self, now: &[Shape]) -> Result<SmallVec<[Shape; 1]>> {
        match &self.rule {
            Rule::Broadcast => {
                let mut out = Shape::new();
                for id in &self.operands {
                    out = shape::broadcast("broadcast", &out, id.of(now))?;
                }
                Ok(smallvec![out])
            }
            Rule::Infer { prim, dtypes, inputs } => {
                let aval = |(id, &dtype): (&ShapeId, _)| Aval { dtype, shape: Shape::from_slice(id.of(now)) };
                let avals: SmallVec<[Aval; 4]> = small(self.operands.iter().zip(dtypes).map(aval));
                let avals: SmallVec<[&Aval; 4]> = small(&avals);
                let (inputs, shapes) = avals.split_at(*inputs);
                Ok(small(prim.infer(inputs, shapes)?.into_iter().map(|a| a.shape)))
            }
        }
    }
}

/// The shapes of a program's graphs, each once.
#[derive(Debug)]
pub struct Outline {
    /// Those of the arguments, then others, for the arguments that it was made for.
    own: Vec<Shape>,
    /// What the others follow from, in an order in which they can, and the first of its outputs. What follows from no argument has no step.
    steps: Vec<(Step, ShapeId)>,
    /// Of each shape whether its extents of 0 and 1 must be those that they were.
    alike: Vec<bool>,
    /// Extents that must be what they were.
    fixed: Vec<(ShapeId, usize)>,
    /// Shapes that must be equal, or differ, as they did.
    compared: Vec<(ShapeId, ShapeId)>,
}

impl Outline {
    /// All shapes, by their numbers, for arguments of these; `None` if it does not speak of them.
    pub fn shapes<'a>(&self, arguments: impl Iterator<Item = &'a [usize]>) -> Option<Vec<Shape>> {
        let mut now: Vec<Shape> = self.own.iter().map(|shape| Shape::from_slice(shape)).collect();
        let mut is_changed = vec![false; now.len()];
        for (k, shape) in arguments.enumerate() {
            if shape.len() != now[k].len() {
                return None;
            }
            if now[k][..] != *shape {
                (now[k], is_changed[k]) = (Shape::from_slice(shape), true);
            }
        }
        for (step, first) in &self.steps {
            if step.operands.iter().any(|id| is_changed[id.index()]) {
                for (k, shape) in step.outputs(&now).ok()?.into_iter().enumerate() {
                    let k = first.index() + k;
                    if shape != now[k] {
                        (now[k], is_changed[k]) = (shape, true);
                    }
                }
            }
        }
        // No dtype is wider.
        let is_admitted =
            |k: usize| is_addressable(DType::C64, &now[k]) && (!self.alike[k] || alike(&self.own[k], &now[k]));
        let same = |shapes: &[Shape], a: ShapeId, b: ShapeId| shapes[a.index()] == shapes[b.index()];
        let holds = (0..now.len()).all(|k| !is_changed[k] || is_admitted(k))
            && self.fixed.iter().all(|&(id, axis)| now[id.index()][axis] == self.own[id.index()][axis])
            && self.compared.iter().all(|&(a, b)| same(&self.own, a, b) == same(&now, a, b));
        holds.then_some(now)
    }
}

/// Whether something of its is made anew for operands of other shapes, or may be (`alike`: where its rules have to take the same way).
fn is_made_anew(prim: &Prim, alike: bool) -> bool {
    match prim {
        Prim::Call(Call { rule: Some(rule), .. }) => rule.fixed.is_none() || rule.make.source_operands().is_none(),
        Prim::Cond(cond) => alike || cond.branches.iter().any(|g| g.has_rules()),
        _ => false,
    }
}

impl Graph {
    /// The same graph, which has no bodies, with shapes of an outline for its variables: those of these numbers.
    pub fn outlined(&self, ids: &[ShapeId], shapes: &[Shape]) -> Graph {
        let aval = |(own, id): (&Aval, &ShapeId)| match *id {
            ShapeId::NONE => own.clone(),
            id => Aval { dtype: own.dtype, shape: Shape::from_slice(id.of(shapes)) },
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
    /// Of each shape whether it follows from an argument.
    varies: Vec<bool>,
    known: Map<Step, ShapeId>,
    constants: Map<Shape, ShapeId>,
}

impl OutlineBuilder {
    /// For a program whose arguments have these shapes.
    pub fn new<'a>(arguments: impl Iterator<Item = &'a Shape>) -> Self {
        let own: Vec<Shape> = arguments.cloned().collect();
        let (alike, varies) = (vec![false; own.len()], vec![true; own.len()]);
        let outline = Outline { own, steps: Vec::new(), alike, fixed: Vec::new(), compared: Vec::new() };
        OutlineBuilder { outline, varies, known: Map::default(), constants: Map::default() }
    }
    /// A shape that is what it is, whatever the arguments are.
    pub fn constant(&mut self, shape: &Shape) -> ShapeId {
        if let Some(&id) = self.constants.get(shape) {
            return id;
        }
        let id = self.add(shape.clone(), false);
        self.constants.insert(shape.clone(), id);
        id
    }
    /// Adds a graph, of the arguments and constants of these shapes. The shapes of its variables.
    ///
    /// # Errors
    /// Those of shape rules.
    pub fn graph<'a>(&mut self, graph: &Graph, constants: impl Iterator<Item = &'a Shape>) -> Result<Vec<ShapeId>> {
        let mut inputs: Vec<ShapeId> = (0..graph.arguments().len() as u32).map(ShapeId).collect();
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
    pub fn finish(self) -> Outline {
        self.outline
    }

    fn add(&mut self, shape: Shape, varies: bool) -> ShapeId {
        self.outline.own.push(shape);
        self.outline.alike.push(false);
        self.varies.push(varies);
        ShapeId(self.varies.len() as u32 - 1)
    }
    /// What follows by a step.
    fn follow(&mut self, step: Step, outputs: usize) -> Result<SmallVec<[ShapeId; 1]>> {
        let all = |first: ShapeId| small((0..outputs as u32).map(|k| ShapeId(first.0 + k)));
        if let Some(&first) = self.known.get(&step) {
            return Ok(all(first));
        }
        let shapes = step.outputs(&self.outline.own)?;
        if !step.operands.iter().any(|id| self.varies[id.index()]) {
            return Ok(small(shapes.iter().map(|shape| self.constant(shape))));
        }
        let first = ShapeId(self.varies.len() as u32);
        for shape in shapes {
            self.add(shape, true);
        }
        self.outline.steps.push((step.clone(), first));
        self.known.insert(step, first);
        Ok(all(first))
    }
    /// The shapes of a graph's variables. `alike`: the graph holds while the same extents of all of them are 0 and 1.
    fn walk(&mut self, graph: &Graph, inputs: &[ShapeId], alike: bool) -> Result<Vec<ShapeId>> {
        let mut ids = vec![ShapeId::NONE; graph.avals.len()];
        graph.inputs.iter().zip(inputs).for_each(|(v, &id)| ids[v.0 as usize] = id);
        for e in &graph.equations {
            let operands: SmallVec<[ShapeId; 3]> = e.inputs.iter().map(|a| self.of(a, &ids)).collect();
            let step = || {
                let shapes = e.shapes.iter().map(|&v| Atom::Var(v));
                let all: SmallVec<[Atom; 4]> = e.inputs.iter().copied().chain(shapes).collect();
                let dtypes = all.iter().map(|a| graph.aval_of(a).dtype).collect();
                let rule = Rule::Infer { prim: Box::new(e.prim.clone()), dtypes, inputs: e.inputs.len() };
                let shapes = e.shapes.iter().map(|v| ids[v.0 as usize]);
                Step { operands: operands.iter().copied().chain(shapes).collect(), rule }
            };
            let outputs = match &e.prim {
                prim if is_made_anew(prim, alike) => self.keep(&step())?,
                Prim::Call(call) => self.call(call, &operands, alike)?,
                prim if prim.is_elementwise() => smallvec![self.broadcast(&operands)?],
                _ => self.follow(step(), e.outputs.len())?,
            };
            e.outputs.iter().zip(&outputs).for_each(|(v, &id)| ids[v.0 as usize] = id);
            // A reshape is left out where it changes no shape.
            if let (true, Prim::Reshape(_)) = (alike, &e.prim) {
                self.outline.compared.push((operands[0], outputs[0]));
            }
        }
        if alike {
            ids.iter().filter(|&&id| id != ShapeId::NONE).for_each(|id| self.outline.alike[id.index()] = true);
        }
        Ok(ids)
    }
    fn broadcast(&mut self, operands: &[ShapeId]) -> Result<ShapeId> {
        let has_axes = |id: &ShapeId| self.varies[id.index()] || !self.outline.own[id.index()].is_empty();
        let mut operands: SmallVec<[ShapeId; 4]> = operands.iter().copied().filter(has_axes).collect();
        operands.sort();
        operands.dedup();
        match operands[..] {
            [] => Ok(self.constant(&Shape::new())),
            [id] => Ok(id),
            _ => Ok(self.follow(Step { operands, rule: Rule::Broadcast }, 1)?[0]),
        }
    }
    /// What follows by a step from shapes that must be what they were.
    fn keep(&mut self, step: &Step) -> Result<SmallVec<[ShapeId; 1]>> {
        let Outline { own, fixed, .. } = &mut self.outline;
        fixed.extend(step.operands.iter().flat_map(|&id| (0..id.of(own).len()).map(move |axis| (id, axis))));
        let outputs = step.outputs(own)?;
        Ok(small(outputs.iter().map(|shape| self.constant(shape))))
    }
    /// The shapes of a call's outputs, as [`Call::rebound_avals`] has them.
    fn call(&mut self, call: &Call, operands: &[ShapeId], alike: bool) -> Result<SmallVec<[ShapeId; 1]>> {
        let mut alike_within = alike;
        if let Some(prims::Rule { make, fixed: Some(fixed) }) = &call.rule
            && let (Some(source), Some(of_source)) = (make.source(), make.source_operands())
        {
            let given: Vec<ShapeId> = of_source.into_iter().map(|k| operands[k]).collect();
            self.walk(source, &given, true)?;
            self.outline.fixed.extend(fixed.iter().map(|&(k, axis)| (operands[k], axis)));
            alike_within = true;
        }
        let ids = self.walk(&call.graph, operands, alike_within)?;
        let outputs: SmallVec<[ShapeId; 1]> = call.graph.outputs.iter().map(|a| self.of(a, &ids)).collect();
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
