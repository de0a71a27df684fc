//! Which extents of a graph are one and the same, whatever shapes it is bound to.
//!
//! Rules of derivatives and of vmap state extents as numbers. While a graph is built [for any shapes](crate::Builder::for_any_shapes), a number of theirs is marked
//! ([`Dim::Open`]), and when the graph is finished it is found again as the extent of an axis of an input, or of a variable that is there. That follows from
//! classes of extents that are equal wherever the equations are well formed ([`Primitive::same_extents`](crate::Primitive::same_extents)), those of equations that are
//! transposed and taken out among them, and from what an engine knows to be [alike](crate::Builder::alike), a tangent and its primal, or [of one extent](crate::Builder::same_extent), batches.
//!
//! What is found so holds for all shapes for which the rules take the same way. They go by ranks and by which extents are 0 and 1, so those must be as they were; what
//! else must be so is [fixed](AnyShapes::fixed).

mod compare;
mod define;
mod relations;

use crate::aval::{Aval, Dim};
use crate::elementwise::Binary;
use crate::graph::{Atom, Effect, Equation, Graph, Var};
use crate::prim::Prim;
use crate::prims::{Derivative, NumberOfElements, Reshape};
use define::define_by_other;
use lazuli_kernel::{Error, Result, small};
pub use relations::Relations;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};

/// A graph that holds for other shapes too, if of all its variables the same extents are 0 and 1, and these extents of inputs are as they were.
#[derive(Debug)]
pub struct AnyShapes {
    pub graph: Graph,
    pub fixed: Vec<Fixed>,
}

/// An extent of an input that must be as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    pub input: usize,
    pub axis: usize,
}

/// An extent of an equation: of an axis of an operand, of a shape operand, of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Input(usize, usize),
    Shape(usize, usize),
    Output(usize),
}

/// The axes of input `k` that broadcasting does not stretch are those of the output, aligned at the last.
pub(crate) fn stretched(k: usize, from: &[usize], to: &[usize], same: &mut dyn FnMut(Place, Place)) {
    let skip = to.len() - from.len();
    for axis in (0..from.len()).filter(|&axis| from[axis] != 1) {
        same(Place::Input(k, axis), Place::Output(skip + axis));
    }
}

/// Axes of input `k`, by their position in the output.
pub(crate) fn kept(k: usize, axes: impl IntoIterator<Item = usize>, same: &mut dyn FnMut(Place, Place)) {
    axes.into_iter().enumerate().for_each(|(to, from)| same(Place::Input(k, from), Place::Output(to)));
}

/// What parameters say of the axes of the output from number `first` on.
pub(crate) fn stated(dims: &[Dim], first: usize, same: &mut dyn FnMut(Place, Place)) {
    for (i, dim) in dims.iter().enumerate() {
        if let Dim::Of { operand, axis } = *dim {
            same(Place::Shape(operand as usize, axis as usize), Place::Output(first + i));
        }
    }
}

/// What follows from an extent that parameters state as a number: nothing else.
pub(crate) fn known(dims: &[Dim], axis: usize) -> Option<SmallVec<[Place; 2]>> {
    matches!(dims.get(axis)?, Dim::Known(_)).then(SmallVec::new)
}

/// Whether two shapes have as many axes, and extents of 0 and 1 at the same ones.
pub(crate) fn alike(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(&m, &n)| m == n || m > 1 && n > 1)
}

/// A partition of extents, each of which has a number.
#[derive(Debug, Default)]
pub(crate) struct Classes(Vec<u32>);

impl Classes {
    /// The number of one more, alone in its class.
    pub fn add(&mut self) -> u32 {
        let next = self.0.len() as u32;
        self.0.push(next);
        next
    }
    /// The first of its class.
    pub fn find(&mut self, mut node: u32) -> u32 {
        while self.0[node as usize] != node {
            let above = self.0[self.0[node as usize] as usize];
            self.0[node as usize] = above;
            node = above;
        }
        node
    }
    pub fn unite(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

/// The numbers of the extents of a graph.
#[derive(Debug, Default)]
struct Nodes {
    /// Of each variable the number of its first extent.
    first: Vec<u32>,
    /// Those of the bodies of calls and choices, by the first output of the equation.
    bodies: HashMap<Var, Vec<Nodes>>,
}

impl Nodes {
    fn cover(&mut self, classes: &mut Classes, avals: &[Aval]) {
        for aval in &avals[self.first.len()..] {
            let next = classes.0.len() as u32;
            self.first.push(next);
            classes.0.extend((0..aval.rank() as u32).map(|axis| next + axis));
        }
    }
    fn of(&self, v: Var, axis: usize) -> u32 {
        self.first[v.0 as usize] + axis as u32
    }

    /// What follows from the equations of a graph from number `from` on.
    fn learn(&mut self, classes: &mut Classes, graph: &Graph, from: usize) {
        self.cover(classes, &graph.avals);
        for e in &graph.equations[from..] {
            let inputs: SmallVec<[&Aval; 3]> = small(e.inputs.iter().map(|a| graph.aval_of(a)));
            let Some(&out) = e.outputs.first() else { continue };
            if !e.prim.bodies().is_empty() {
                if e.prim.fits(&inputs) {
                    let bodies = e.prim.bodies().iter().map(|body| self.learn_body(classes, graph, e, body)).collect();
                    self.bodies.insert(out, bodies);
                }
                continue;
            }
            let nodes = &*self;
            let node = |place| match place {
                Place::Input(k, axis) => e.inputs[k].var().map(|v| nodes.of(v, axis)),
                Place::Shape(k, axis) => Some(nodes.of(e.shapes[k], axis)),
                Place::Output(axis) => Some(nodes.of(out, axis)),
            };
            e.prim.same_extents(&inputs, &graph.avals[out.0 as usize], &mut |a, b| {
                if let (Some(a), Some(b)) = (node(a), node(b)) {
                    classes.unite(a, b);
                }
            });
        }
    }

    /// Within a body, whose inputs and outputs are those of the equation.
    fn learn_body(&self, classes: &mut Classes, graph: &Graph, e: &Equation, body: &Graph) -> Nodes {
        let mut inner = Nodes::default();
        inner.learn(classes, body, 0);
        let inputs = e.prim.operands(&e.inputs).iter().zip(body.inputs.iter().map(|&v| Atom::Var(v)));
        let outputs: SmallVec<[Atom; 2]> = small(e.outputs.iter().map(|&v| v.into()));
        for (here, there) in inputs.chain(outputs.iter().zip(body.outputs.iter().copied())) {
            if let (Some(here), Some(there)) = (here.var(), there.var()) {
                let rank = graph.shape_of(here).len();
                (0..rank).for_each(|axis| classes.unite(self.of(here, axis), inner.of(there, axis)));
            }
        }
        inner
    }
}

/// What a builder knows of extents.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    classes: Classes,
    nodes: Nodes,
    /// How many of the equations have been looked at.
    learned: usize,
    /// Those that were taken out.
    taken: Vec<Equation>,
    same: Vec<[(Var, usize); 2]>,
    fixed: Vec<(Var, usize)>,
    /// Of what equations state of extents that are none of their outputs', by output and number, what they are those of.
    stated: Stated,
}

/// Where an extent is found around the graph that looks for it.
struct Found {
    v: Var,
    axis: u32,
    aval: Aval,
}

type Outer<'a> = &'a mut dyn FnMut(&mut Classes, u32) -> Option<Found>;

impl Extents {
    pub fn same(&mut self, a: (Var, usize), b: (Var, usize)) {
        self.same.push([a, b]);
    }
    pub fn fix(&mut self, v: Var, axis: usize) {
        self.fixed.push((v, axis));
    }
    pub fn state(&mut self, what: (Var, usize), of: (Var, usize)) {
        self.stated.insert(what, of);
    }
    /// Looks at what was added since.
    pub fn learn(&mut self, graph: &Graph) {
        self.nodes.learn(&mut self.classes, graph, self.learned);
        self.learned = graph.equations.len();
        for places in self.same.drain(..) {
            let [a, b] = places.map(|(v, axis)| self.nodes.of(v, axis));
            self.classes.unite(a, b);
        }
    }
    /// These equations were taken out, and so many left.
    pub fn left(&mut self, equations: usize, taken: &[Equation]) {
        self.learned = equations;
        self.taken.extend_from_slice(taken);
    }
    /// Finds the open numbers of a finished graph, as far as it can say what they are; the others stay open.
    pub fn close(&mut self, graph: &mut Graph) {
        self.learn(graph);
        close(&mut self.classes, &self.nodes, &self.stated, graph, &mut |_, _| None);
        self.define_by_taken(graph);
    }
    /// Fixes what is still open of extents that are none of outputs, as nobody around the graph can say what they are.
    pub fn fix_stated(&mut self, graph: &mut Graph) {
        let Extents { fixed, stated, .. } = self;
        for e in graph.equations.iter_mut().filter(|e| has_open_dims(&e.prim)) {
            let Some(&out) = e.outputs.first() else { continue };
            let settled = e.prim.map_dims(&mut |i, dim| match (dim, stated.get(&(out, i))) {
                (Dim::Open(n), Some(&(v, axis))) => {
                    fixed.push((v, axis));
                    Dim::Known(n)
                }
                _ => dim,
            });
            e.prim = settled.unwrap_or_else(|| e.prim.clone());
        }
    }
    /// Fixes what is still open, and states it as the number that it is; within bodies it stays open. [What is fixed](Self::take_fixed) altogether.
    pub fn settle(&mut self, graph: &mut Graph, of: &[Atom]) -> Result<Vec<Fixed>> {
        for e in graph.equations.iter().filter(|e| has_open_dims(&e.prim)) {
            let Some(&out) = e.outputs.first() else { continue };
            let rank = graph.shape_of(out).len();
            let open = e.prim.dims().iter().enumerate().filter(|(_, dim)| matches!(dim, Dim::Open(_)));
            let stated = open.map(|(i, _)| stated_at(&self.stated, &e.prim, (out, rank), i));
            self.fixed.extend(stated);
        }
        // While they are open they follow from no number.
        let fixed = self.take_fixed(graph, of)?;
        for e in graph.equations.iter_mut().filter(|e| has_open_dims(&e.prim)) {
            let number = |dim| if let Dim::Open(n) = dim { Dim::Known(n) } else { dim };
            if let Some(settled) = e.prim.map_dims(&mut |_, dim| number(dim)) {
                e.prim = settled;
            }
        }
        Ok(fixed)
    }
    /// The extents that are fixed, as those of these variables that they follow from; an error if one follows from others too.
    pub fn take_fixed(&mut self, graph: &Graph, of: &[Atom]) -> Result<Vec<Fixed>> {
        let given = self.classes_of(graph, of);
        let mut todo = std::mem::take(&mut self.fixed);
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        let mut derived = None;
        while let Some((v, axis)) = todo.pop() {
            let root = self.classes.find(self.nodes.of(v, axis));
            if !seen.insert(root) {
                continue;
            }
            match given.get(&root) {
                Some(&(input, axis)) => out.push(Fixed { input, axis }),
                None => {
                    let from =
                        derived.get_or_insert_with(|| self.derived(graph, &given)).get(&root).ok_or_else(|| {
                            undecided(
                                "a rule goes by an extent that does not follow from those of inputs in a known way",
                            )
                        })?;
                    todo.extend(from.iter().map(|&(v, axis)| (v, axis)));
                }
            }
        }
        Ok(out)
    }
    /// Of classes of extents what they follow from, where that is known and follows from those that are given: of what is padded and cut again each follows from the other.
    fn derived(
        &mut self,
        graph: &Graph,
        given: &HashMap<u32, (usize, usize)>,
    ) -> HashMap<u32, SmallVec<[(Var, usize); 2]>> {
        let mut derived = HashMap::new();
        for e in graph.equations.iter().filter(|e| e.outputs.len() == 1) {
            for axis in 0..graph.shape_of(e.outputs[0]).len() {
                let Some(from) = followed(graph, e, axis) else { continue };
                let mut root = |(v, axis): (Var, usize)| self.classes.find(self.nodes.of(v, axis));
                let is_known = |root: u32| given.contains_key(&root) || derived.contains_key(&root);
                if from.iter().all(|&place| is_known(root(place))) {
                    derived.entry(root((e.outputs[0], axis))).or_insert(from);
                }
            }
        }
        derived
    }
    /// Whether no extent is fixed.
    pub fn is_free(&self) -> bool {
        self.fixed.is_empty()
    }
    /// The same graph with the extents that it states of variables as those of inputs, where they are, and without reshapes that change no shape: those that change
    /// none for other shapes either, or not while some extents are fixed.
    ///
    /// # Errors
    /// If rules go by a number that is that of an extent.
    pub fn of_inputs(graph: &Graph) -> Result<(Extents, AnyShapes)> {
        let mut extents = Extents::default();
        extents.learn(graph);
        let mut graph = graph.clone();
        let arguments: Vec<Atom> = graph.inputs.iter().map(|&v| v.into()).collect();
        let inputs = extents.classes_of(&graph, &arguments);
        let numbers: Vec<Atom> = graph.literals().collect();
        let mut fixed = Vec::new();
        let mut names: Vec<Atom> = (0..graph.avals.len() as u32).map(|v| Var(v).into()).collect();
        let name = |names: &[Atom], a: Atom| a.var().map_or(a, |v| names[v.0 as usize]);
        let mut equations = std::mem::take(&mut graph.equations);
        equations.retain_mut(|e| {
            e.inputs.iter_mut().for_each(|a| *a = name(&names, *a));
            let is_same = matches!(e.prim, Prim::Reshape(Reshape { infer: None, .. }))
                && graph.aval_of(&e.inputs[0]) == &graph.avals[e.outputs[0].0 as usize];
            if is_same && let Some(from) = e.inputs[0].var() {
                let out = e.outputs[0];
                names[out.0 as usize] = from.into();
                for axis in (0..graph.shape_of(from).len()).filter(|&axis| graph.shape_of(from)[axis] > 1) {
                    if !extents.are_same((from, axis), (out, axis)) {
                        fixed.push((from, axis));
                        let Prim::Reshape(Reshape { shape, .. }) = &e.prim else { unreachable!("it was looked at") };
                        fixed.extend(matches!(shape[axis], Dim::Of { .. }).then_some((out, axis)));
                    }
                }
                return false;
            }
            if e.prim.keeps_shapes() {
                e.shapes.iter_mut().for_each(|v| *v = name(&names, (*v).into()).var().unwrap_or(*v));
                return true;
            }
            let shapes = std::mem::take(&mut e.shapes);
            let mut find = |v: Var, axis: usize| {
                let root = extents.classes.find(extents.nodes.of(v, axis));
                let input = inputs.get(&root).map(|&(k, axis)| (graph.inputs[k], axis as u32));
                input.unwrap_or((name(&names, v.into()).var().unwrap_or(v), axis as u32))
            };
            state_as(e, &shapes, &mut find);
            true
        });
        let is_power = |e: &Equation| matches!(e.prim, Prim::Binary(Binary::Power));
        if equations.iter().any(|e| is_power(e) && e.inputs.iter().any(|a| numbers.contains(a))) {
            return Err(undecided("a rule goes by an exponent that is an extent"));
        }
        graph.equations = equations;
        graph.outputs.iter_mut().for_each(|a| *a = name(&names, *a));
        extents.fixed = fixed;
        let fixed = extents.take_fixed(&graph, &arguments)?;
        Ok((extents, AnyShapes { graph, fixed }))
    }
    /// The extents of these variables (their number, and the axis) by their class.
    fn classes_of(&mut self, graph: &Graph, of: &[Atom]) -> HashMap<u32, (usize, usize)> {
        let mut known = HashMap::new();
        for (k, v) in of.iter().enumerate().filter_map(|(k, a)| Some((k, a.var()?))) {
            for axis in 0..graph.shape_of(v).len() {
                known.entry(self.classes.find(self.nodes.of(v, axis))).or_insert((k, axis));
            }
        }
        known
    }
    fn are_same(&mut self, a: (Var, usize), b: (Var, usize)) -> bool {
        self.classes.find(self.nodes.of(a.0, a.1)) == self.classes.find(self.nodes.of(b.0, b.1))
    }
}

/// The extents of variables of a graph that one of an equation's output follows from, if that is known and it is none of them.
fn followed(graph: &Graph, e: &Equation, axis: usize) -> Option<SmallVec<[(Var, usize); 2]>> {
    let inputs: SmallVec<[&Aval; 3]> = small(e.inputs.iter().map(|a| graph.aval_of(a)));
    let from = e.prim.extent_follows_from(&inputs, axis)?;
    let mut is_same = false;
    e.prim.same_extents(&inputs, graph.aval_of(&e.outputs[0].into()), &mut |a, b| {
        is_same |= [a, b].contains(&Place::Output(axis));
    });
    let variable = |place: Place| match place {
        Place::Input(k, axis) => Some((e.inputs[k].var()?, axis)),
        Place::Shape(k, axis) => Some((e.shapes[k], axis)),
        Place::Output(_) => None,
    };
    if is_same { None } else { from.into_iter().map(variable).collect() }
}

/// States the extents that an equation states of shape operands as those that `find` gives for them.
fn state_as(e: &mut Equation, shapes: &[Var], find: &mut dyn FnMut(Var, usize) -> (Var, u32)) {
    if let Prim::NumberOfElements(count) = &e.prim {
        let axes: SmallVec<[(Var, u32); 4]> = count.axes.iter().map(|&axis| find(shapes[0], axis)).collect();
        let of_one = axes.first().map(|first| first.0).filter(|v| axes.iter().all(|at| at.0 == *v));
        e.shapes.push(of_one.unwrap_or(shapes[0]));
        if of_one.is_some() {
            let axes = axes.iter().map(|at| at.1 as usize).collect();
            e.prim = NumberOfElements { axes, ..count.clone() }.into();
        }
        return;
    }
    let own = &mut e.shapes;
    let stated = e.prim.map_dims(&mut |_, dim| match dim {
        Dim::Of { operand, axis } => {
            let (v, axis) = find(shapes[operand as usize], axis as usize);
            of(own, v, axis)
        }
        dim => dim,
    });
    match stated {
        Some(prim) => e.prim = prim,
        None => e.shapes = SmallVec::from_slice(shapes),
    }
}

pub(crate) fn undecided(why: &str) -> Error {
    Error::internal("extents", format!("the graph holds for these shapes only: {why}"))
}

/// The extent of an axis of a variable, which is made a shape operand if it is none.
fn of(shapes: &mut SmallVec<[Var; 1]>, v: Var, axis: u32) -> Dim {
    let operand = shapes.iter().position(|&own| own == v).unwrap_or_else(|| {
        shapes.push(v);
        shapes.len() - 1
    });
    Dim::Of { operand: operand as u32, axis }
}

fn has_open_dims(prim: &Prim) -> bool {
    prim.dims().iter().any(|d| matches!(d, Dim::Open(_)))
}

fn is_open(prim: &Prim) -> bool {
    has_open_dims(prim) || prim.bodies().iter().any(|body| has_open(body))
}

fn has_open(graph: &Graph) -> bool {
    graph.equations.iter().any(|e| is_open(&e.prim))
}

/// An error if a number of a rule's is still open.
pub(crate) fn check_closed(graph: &Graph) -> Result<()> {
    match has_open(graph) {
        true => Err(undecided("what an extent is that of is not known")),
        false => Ok(()),
    }
}

/// Variables whose data is needed.
fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.avals.len()];
    graph.outputs.iter().filter_map(|a| a.var()).for_each(|v| live[v.0 as usize] = true);
    for e in graph.equations.iter().rev() {
        if e.meta.effect != Effect::None || e.outputs.iter().any(|v| live[v.0 as usize]) {
            e.inputs.iter().filter_map(|a| a.var()).for_each(|v| live[v.0 as usize] = true);
        }
    }
    live
}

/// Of what extents are that equations state, and that are none of their outputs'.
type Stated = HashMap<(Var, usize), (Var, usize)>;

/// The extent that a parameter states as number `i`, of an equation with an output of this rank.
fn stated_at(stated: &Stated, prim: &Prim, (out, rank): (Var, usize), i: usize) -> (Var, usize) {
    let of_output = || match prim {
        Prim::Unflatten(p) => (out, p.axis + i),
        _ => (out, rank.saturating_sub(prim.dims().len()) + i),
    };
    stated.get(&(out, i)).copied().unwrap_or_else(of_output)
}

/// Finds the open numbers of a graph: as extents of its inputs, of what is computed anyway, or of what is `outer`, which becomes an input. Returns these variables
/// of the graph around it, in the order of the new inputs.
fn close(classes: &mut Classes, nodes: &Nodes, stated: &Stated, graph: &mut Graph, outer: Outer) -> Vec<Var> {
    let mut lifted: Vec<(Var, Var)> = Vec::new();
    if !has_open(graph) {
        return Vec::new();
    }
    let live = live(graph);
    let mut known: HashMap<u32, (Var, u32)> = HashMap::new();
    let note = |classes: &mut Classes, known: &mut HashMap<u32, (Var, u32)>, graph: &Graph, v: Var| {
        for axis in (0..graph.shape_of(v).len()).filter(|&axis| graph.shape_of(v)[axis] > 1) {
            known.entry(classes.find(nodes.of(v, axis))).or_insert((v, axis as u32));
        }
    };
    for k in 0..graph.inputs.len() {
        note(classes, &mut known, graph, graph.inputs[k]);
    }
    let mut equations = std::mem::take(&mut graph.equations);
    for e in &mut equations {
        let mut find = |classes: &mut Classes, graph: &mut Graph, node: u32| {
            let root = classes.find(node);
            if let Some(&at) = known.get(&root) {
                return Some(at);
            }
            let Found { v, axis, aval } = outer(classes, root)?;
            let own = lifted.iter().find(|(of, _)| *of == v).map(|&(_, own)| own).unwrap_or_else(|| {
                let own = graph.fresh(aval);
                graph.inputs.push(own);
                lifted.push((v, own));
                own
            });
            known.insert(root, (own, axis));
            Some((own, axis))
        };
        if let Some(&out) = e.outputs.first() {
            let Equation { prim, shapes, inputs, .. } = e;
            let rank = graph.shape_of(out).len();
            let closed = prim.map_dims(&mut |i, dim| match dim {
                Dim::Open(_) => {
                    let (v, axis) = stated_at(stated, prim, (out, rank), i);
                    match find(classes, graph, nodes.of(v, axis)) {
                        Some((v, axis)) => of(shapes, v, axis),
                        None => dim,
                    }
                }
                dim => dim,
            });
            if let Some(closed) = closed {
                *prim = closed;
            }
            let is_closed = matches!(&*prim, Prim::Call(call) if call.derivative != Derivative::Body);
            if !is_closed
                && let Some(inner) = nodes.bodies.get(&out)
                && prim.bodies().iter().any(|body| has_open(body))
            {
                let mut bodies: SmallVec<[Graph; 2]> = small(prim.bodies().iter().map(|body| Graph::clone(body)));
                let mut more: SmallVec<[Vec<Var>; 2]> = SmallVec::new();
                for (body, inner) in bodies.iter_mut().zip(inner) {
                    more.push(close(classes, inner, &Stated::new(), body, &mut |classes, root| {
                        let (v, axis) = find(classes, graph, root)?;
                        Some(Found { v, axis, aval: graph.avals[v.0 as usize].clone() })
                    }));
                }
                // Each body takes what the others take.
                for (k, body) in bodies.iter_mut().enumerate() {
                    let mut own = body.inputs.split_off(body.inputs.len() - more[k].len());
                    for (j, more) in more.iter().enumerate() {
                        let others = more.iter().filter(|_| j != k);
                        let others: Vec<Var> = others.map(|v| body.fresh(graph.avals[v.0 as usize].clone())).collect();
                        body.inputs.extend(if j == k { std::mem::take(&mut own) } else { others });
                    }
                }
                if let ([first, second], [of_first, of_second]) = (&mut bodies[..], &inner[..]) {
                    define_by_other(classes, (first, of_first), (second, of_second));
                    define_by_other(classes, (second, of_second), (first, of_first));
                }
                inputs.extend(more.into_iter().flatten().map(Atom::Var));
                *prim = prim.with_bodies(bodies);
            }
        }
        for &v in e.outputs.iter().filter(|v| live[v.0 as usize]) {
            note(classes, &mut known, graph, v);
        }
    }
    graph.equations = equations;
    lifted.into_iter().map(|(of, _)| of).collect()
}

impl Graph {
    /// Variables that would be literals if the shapes had been known.
    pub fn literals(&self) -> impl Iterator<Item = Atom> {
        let is_literal = |e: &&Equation| matches!(&e.prim, Prim::NumberOfElements(count) if count.literal);
        self.equations.iter().filter(is_literal).map(|e| e.outputs[0].into())
    }
}
