//! Kernels for other extents of the same [pattern](crate::pattern): their launches follow by arithmetic from what was noted when they were lowered first.
//!
//! Most kernels are made of elementwise equations, broadcasts and transposes over what lies in memory. Every index in them is a counter of the loop, or 0: each axis of an operand is
//! walked along one axis of the loop, or stands still. Which one depends on ranks and on which extents are 1, on nothing else; so does all that is written into the kernel. Of such a
//! kernel a [`Recipe`] is noted: the kernel, and how its operands are walked. What depends on extents, namely strides, which loop axes are merged, along which one vectors run and how each operand is
//! walked along that, is found anew each time, by the functions that found it first, and has to come out as the kernel has it.
//!
//! Of a kernel with other indices (gathers, padding, reshapes that regroup) the whole launch is noted, with the extents that were looked at when it was made and how its operands lay: it holds
//! where all of these are as they were, as they are for what depends on the weights of a model alone. Otherwise it is lowered anew.

use super::Lowerer;
use super::body::{Access, Body, Part};
use super::finish::{Axes, Bound, Ending, Launch};
use super::places::{BufferId, Place};
use crate::fuse::same_points;
use lazuli_ir::{Equation, Graph, Ix, Prim, Var, small};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Kernel, Layout, Role, Scalar, Shape};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Recipes by the first variable that each kernel stores.
pub(crate) type Recipes = Map<Var, Recipe>;

/// What lowering does with recipes.
pub(crate) enum Recall<'a> {
    Nothing,
    /// Notes them.
    Note(&'a mut Recipes),
    /// Goes by those that were noted for extents of the same pattern.
    Follow(&'a Recipes),
}

/// An axis of a variable.
pub(super) type Axis = (Var, usize);

/// How an operand is walked: a part of a variable's elements in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    of: Var,
    part: Part,
    /// Of each axis of the variable the loop axis along which it is walked; none where that stands still.
    axes: SmallVec<[Option<u32>; 4]>,
}

impl Walk {
    /// The walk of an index; none if that is more than counters.
    pub fn new(of: Var, at: &[Ix], part: Part) -> Option<Walk> {
        let mut axes = SmallVec::new();
        for ix in at {
            let Ix::Affine { constant: 0, terms } = ix else { return None };
            match terms[..] {
                [] => axes.push(None),
                [(axis, 1)] => axes.push(Some(axis)),
                _ => return None,
            }
        }
        Some(Walk { of, part, axes })
    }

    /// The operand, of a variable that lies here.
    fn access(&self, place: &Place, loops: usize) -> Access {
        let Layout { strides, offset, .. } = &place.layout;
        let mut access = Access {
            buffer: place.buffer,
            offset: offset * self.part.of + self.part.number,
            strides: SmallVec::from_elem(0, loops),
            len: 0,
        };
        for (axis, stride) in self.axes.iter().zip(strides) {
            if let Some(axis) = axis {
                access.strides[*axis as usize] += stride * self.part.of;
            }
        }
        access
    }
}

/// What is noted of a body while it is written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    operands: Vec<Option<Noted>>,
    /// Parameters that are numbers of elements: which, and of which equation.
    counts: SmallVec<[(u32, u32); 2]>,
    /// Whether something was written that depends on more than ranks and ones.
    depends: bool,
    /// Variables whose extents were looked at, and where those lay that are read.
    looked_at: SmallVec<[Var; 16]>,
    placed: SmallVec<[(Var, Layout); 4]>,
}

/// An operand.
#[derive(Debug, Clone)]
struct Noted {
    of: Var,
    /// None if it is walked in another way, or in two.
    walk: Option<Walk>,
}

impl Notes {
    /// An operand is a variable, which lies here if it is read, and is walked like this.
    pub fn operand(&mut self, operand: u32, is_new: bool, of: Var, place: Option<&Place>, walk: Option<Walk>) {
        let operand = operand as usize;
        self.looked_at.push(of);
        self.placed.extend(place.map(|place| (of, place.layout.clone())));
        self.operands.resize(self.operands.len().max(operand + 1), None);
        match &mut self.operands[operand] {
            noted if is_new => *noted = Some(Noted { of, walk }),
            Some(noted) if noted.walk != walk => noted.walk = None,
            _ => {}
        }
    }

    /// The result of an equation is computed here.
    pub fn computed(&mut self, graph: &Graph, equation: u32) {
        let e = &graph.equations[equation as usize];
        self.looked_at.extend(mentioned(e));
        let is_plain = match &e.prim {
            prim if prim.is_elementwise() => true,
            Prim::NumberOfElements(_)
            | Prim::Broadcast(_)
            | Prim::Transpose(_)
            | Prim::ExpandDims(_)
            | Prim::Squeeze(_) => true,
            Prim::Reshape(_) | Prim::Flatten(_) | Prim::Unflatten(_) => {
                same_points(&graph.aval_of(&e.inputs[0]).shape, graph.shape_of(e.outputs[0]))
            }
            _ => false,
        };
        self.depends |= !is_plain;
    }

    /// An index of one shape was taken for one of another.
    pub fn reindexed(&mut self, from: &[usize], to: &[usize]) {
        self.depends |= !same_points(from, to);
    }

    /// A parameter that an equation computes of extents.
    pub fn number(&mut self, param: u32, graph: &Graph, equation: u32) {
        if let Prim::NumberOfElements(_) = graph.equations[equation as usize].prim {
            self.counts.push((param, equation));
        }
    }
}

/// The variables of an equation.
pub(super) fn mentioned(e: &Equation) -> impl Iterator<Item = Var> + '_ {
    e.inputs.iter().filter_map(|a| a.var()).chain(e.shapes.iter().chain(&e.outputs).copied())
}

/// A kernel, and what its launch follows from.
#[derive(Debug)]
pub(crate) struct Recipe {
    stores: SmallVec<[Var; 2]>,
    kernel: Arc<Kernel>,
    params: Vec<Scalar>,
    how: How,
}

#[derive(Debug)]
enum How {
    /// From how its operands are walked.
    Walked(Box<Walked>),
    /// It is the same for the same extents and places.
    Fixed(Box<Fixed>),
}

#[derive(Debug)]
struct Walked {
    /// Whose extents the loop axes of the body have; none for the one of extent 1 that stands for all reduced ones.
    loops: SmallVec<[Option<Axis>; 4]>,
    /// How many of them are not reduced.
    kept: usize,
    /// Those whose counter is read.
    counted: SmallVec<[u32; 4]>,
    ordered: bool,
    /// What became of them.
    axes: Axes,
    walks: SmallVec<[Walk; 4]>,
    strided: SmallVec<[bool; 8]>,
    /// Of the parameters, those that are numbers of elements: by an equation.
    counts: SmallVec<[(u32, u32); 2]>,
}

#[derive(Debug)]
struct Fixed {
    extents: Vec<(Var, Shape)>,
    places: SmallVec<[(Var, Layout); 4]>,
    bound: Bound,
    /// Whose each operand is.
    operands: SmallVec<[Var; 4]>,
}

/// What a launch that is noted stores and is made of.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub stores: &'a [Var],
    /// The loop axes are these without those of extent 1: kept ones, then reduced ones.
    pub axes: [&'a [Axis]; 2],
    /// Variables whose extents were looked at before its body was written.
    pub looked_at: &'a [Var],
}

impl Recipe {
    /// Of a body that ended in this launch.
    pub(super) fn new(graph: &Graph, subject: Subject, body: &Body, launch: &Launch, ending: Ending) -> Option<Recipe> {
        let notes = body.notes.as_ref()?;
        let is_used = |i: &usize| ending.live.operands[*i].is_some();
        let operands = (0..body.args.len()).filter(is_used).map(|i| notes.operands.get(i)?.as_ref());
        let operands: SmallVec<[&Noted; 4]> = operands.collect::<Option<_>>()?;
        let how = match Walked::new(graph, subject.axes, body, notes, &operands, ending) {
            Some(walked) => How::Walked(Box::new(walked)),
            None => How::Fixed(Box::new(Fixed::new(graph, subject, notes, &operands, launch))),
        };
        let params = launch.bindings[0].params.clone();
        Some(Recipe { stores: subject.stores.into(), kernel: launch.kernel.clone(), params, how })
    }
}

impl Walked {
    fn new(
        graph: &Graph,
        [kept, reduced]: [&[Axis]; 2],
        body: &Body,
        notes: &Notes,
        operands: &[&Noted],
        ending: Ending,
    ) -> Option<Walked> {
        if notes.depends {
            return None;
        }
        let extent = |&(v, axis): &Axis| graph.shape_of(v)[axis];
        let wide = |axes: &[Axis]| -> SmallVec<[Option<Axis>; 4]> {
            small(axes.iter().filter(|a| extent(a) != 1).map(|a| Some(*a)))
        };
        let mut loops = wide(kept);
        let is_split = loops.len() != ending.kept;
        loops.extend(wide(reduced));
        if loops.len() == ending.kept && body.loops.len() > ending.kept {
            loops.push(None);
        }
        let extents = loops.iter().map(|a| a.as_ref().map_or(1, extent));
        if is_split || !extents.eq(body.loops.iter().copied()) {
            return None;
        }
        let walks = operands.iter().map(|noted| noted.walk.clone()).collect::<Option<_>>()?;
        let used = |&(param, equation): &(u32, u32)| Some((ending.live.params[param as usize]?, equation));
        Some(Walked {
            loops,
            kept: ending.kept,
            counted: SmallVec::from_slice(&ending.live.axes),
            ordered: ending.ordered,
            axes: ending.axes,
            walks,
            strided: ending.live.strided(),
            counts: notes.counts.iter().filter_map(used).collect(),
        })
    }
}

impl Fixed {
    fn new(graph: &Graph, subject: Subject, notes: &Notes, operands: &[&Noted], launch: &Launch) -> Fixed {
        let axes = subject.axes.into_iter().flatten().map(|(v, _)| v);
        let mut looked_at: Vec<Var> =
            notes.looked_at.iter().chain(subject.stores).chain(subject.looked_at).chain(axes).copied().collect();
        looked_at.sort_unstable();
        looked_at.dedup();
        Fixed {
            extents: looked_at.into_iter().map(|v| (v, graph.shape_of(v).clone())).collect(),
            places: notes.placed.clone(),
            bound: launch.bindings[0].clone(),
            operands: small(operands.iter().map(|noted| noted.of)),
        }
    }
}

/// A launch, and where it leaves what it stores.
pub(super) type Followed = (Launch, SmallVec<[(Var, Place); 2]>);

/// Where the operands of a launch are: in place already, in one that only this launch knows, or in a new one, for what it stores.
struct Arrays<'l, 'a> {
    lowerer: &'l mut Lowerer<'a>,
    given: Option<(Var, &'l Place)>,
    written: SmallVec<[(Var, Place); 2]>,
}

impl Arrays<'_, '_> {
    fn place(&mut self, v: Var, role: Role) -> Option<&Place> {
        let graph = self.lowerer.graph;
        match (role, self.given) {
            (Role::In, Some((own, place))) if own == v => Some(place),
            (Role::In, _) => self.lowerer.places.of(graph, v),
            _ => {
                let known = self.written.iter().position(|(known, _)| *known == v);
                let n = known.unwrap_or_else(|| {
                    let buffer = BufferId((self.lowerer.buffers.len() + self.written.len()) as u32);
                    self.written.push((v, Place { buffer, layout: Layout::row(graph.shape_of(v).clone()) }));
                    self.written.len() - 1
                });
                Some(&self.written[n].1)
            }
        }
    }
}

impl Lowerer<'_> {
    /// The launch that stores these variables, by its recipe: if there is one, and it leads to the same kernel here. `given` lies in a place that only this launch knows.
    pub(super) fn follow(&mut self, stores: &[Var], given: Option<(Var, &Place)>) -> Option<Followed> {
        let Recall::Follow(recipes) = self.recall else { return None };
        let recipe = recipes.get(stores.first()?).filter(|recipe| recipe.stores[..] == *stores)?;
        let graph = self.graph;
        let mut arrays = Arrays { lowerer: self, given, written: SmallVec::new() };
        let bound = match &recipe.how {
            How::Walked(walked) => walked.bound(graph, recipe, &mut arrays)?,
            How::Fixed(fixed) => fixed.bound(graph, &recipe.kernel, &mut arrays)?,
        };
        let written = arrays.written;
        self.buffers.extend(written.iter().map(|(v, _)| graph.avals[v.0 as usize].nbytes()));
        Some((Launch { kernel: recipe.kernel.clone(), bindings: smallvec![bound] }, written))
    }
}

impl Walked {
    fn bound(&self, graph: &Graph, recipe: &Recipe, arrays: &mut Arrays) -> Option<Bound> {
        let kernel = &recipe.kernel;
        let extent = |axis: &Option<Axis>| axis.map_or(1, |(v, axis)| graph.shape_of(v)[axis]);
        let loops: Shape = small(self.loops.iter().map(extent));
        let mut accesses: SmallVec<[Access; 8]> = SmallVec::with_capacity(self.walks.len());
        for (walk, operand) in self.walks.iter().zip(&kernel.operands) {
            accesses.push(walk.access(arrays.place(walk.of, operand.role)?, loops.len()));
        }
        let same = |i: usize, k: usize| {
            let (a, b) = (&kernel.operands[i], &kernel.operands[k]);
            a.dtype == b.dtype && a.role == b.role && accesses[i] == accesses[k]
        };
        if (1..accesses.len()).any(|i| (0..i).any(|k| same(i, k))) {
            // Two operands would be one.
            return None;
        }
        let used: SmallVec<[&Access; 8]> = small(accesses.iter());
        let axes = Axes::new(&loops, self.kept, &used, &self.counted, self.ordered, false);
        let args: Vec<_> = used.iter().map(|access| axes.operands(access)).collect();
        let same_inner = || args.iter().zip(&kernel.operands).all(|(a, o)| a.inner(kernel.vector_axis) == o.inner);
        if axes != self.axes || axes.vector_axis(&used, &self.strided) != kernel.vector_axis || !same_inner() {
            return None;
        }
        let mut params = recipe.params.clone();
        for &(param, equation) in &self.counts {
            let e = &graph.equations[equation as usize];
            let Prim::NumberOfElements(count) = &e.prim else { return None };
            params[param as usize] = count.parameter(graph.shape_of(e.shapes[0]));
        }
        Some(Bound { extents: axes.extents(&loops), args, params })
    }
}

impl Fixed {
    fn bound(&self, graph: &Graph, kernel: &Kernel, arrays: &mut Arrays) -> Option<Bound> {
        if !self.extents.iter().all(|(v, shape)| graph.shape_of(*v) == shape) {
            return None;
        }
        for (v, layout) in &self.places {
            if arrays.place(*v, Role::In)?.layout != *layout {
                return None;
            }
        }
        let mut bound = self.bound.clone();
        for ((array, v), operand) in bound.args.iter_mut().zip(&self.operands).zip(&kernel.operands) {
            array.buffer = arrays.place(*v, operand.role)?.buffer;
        }
        Some(bound)
    }
}
