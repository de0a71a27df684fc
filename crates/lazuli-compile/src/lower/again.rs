//! Kernels for other extents of the same [pattern](crate::pattern): their launches follow by arithmetic from what was noted when they were lowered first.
//!
//! Most kernels are made of elementwise equations, broadcasts and transposes over what lies in memory. Every index in them is a counter of the loop, or 0: each axis of an operand is
//! walked along one axis of the loop, or stands still. Which one depends on ranks and on which extents are 1, on nothing else; so does all that is written into the kernel. Of such a
//! kernel a [`Recipe`] is noted: the kernel, and how its operands are walked. What depends on extents, namely strides, which loop axes are merged, along which one vectors run and how each operand is
//! walked along that, is found anew each time, by the functions that found it first, and has to come out as the kernel has it.
//!
//! Kernels with other indices (gathers, padding, reshapes that regroup) have no recipe, and are lowered anew.

use super::Lowerer;
use super::body::{Access, Body, Part};
use super::finish::{Axes, Bound, Ending, Launch};
use super::places::{BufferId, Place};
use crate::fuse::same_points;
use lazuli_ir::{Graph, Ix, Prim, Var, small};
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
    /// Of each operand; none if it is walked in another way, or in two.
    walks: Vec<Option<Walk>>,
    /// Parameters that are numbers of elements: which, and of which equation.
    counts: SmallVec<[(u32, u32); 2]>,
    /// Whether something was written that depends on more than ranks and ones.
    depends: bool,
}

impl Notes {
    /// An operand is walked like this.
    pub fn walk(&mut self, operand: u32, is_new: bool, walk: Option<Walk>) {
        let operand = operand as usize;
        if is_new {
            self.walks.resize(operand, None);
            self.walks.push(walk);
        } else if self.walks.get(operand).is_none_or(|known| *known != walk) {
            self.walks.resize(self.walks.len().max(operand + 1), None);
            self.walks[operand] = None;
        }
    }

    /// The result of an equation is computed here.
    pub fn computed(&mut self, graph: &Graph, equation: u32) {
        let e = &graph.equations[equation as usize];
        let is_plain = match &e.prim {
            Prim::Unary(_) | Prim::Binary(_) | Prim::Ternary(_) | Prim::Cast(_) | Prim::NumberOfElements(_) => true,
            Prim::Broadcast(_) | Prim::Transpose(_) | Prim::ExpandDims(_) | Prim::Squeeze(_) => true,
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

/// A kernel, and how its launch follows from where its operands lie.
#[derive(Debug)]
pub(crate) struct Recipe {
    stores: SmallVec<[Var; 2]>,
    kernel: Arc<Kernel>,
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
    params: Vec<Scalar>,
    /// Of the parameters, those that are numbers of elements: by an equation.
    counts: SmallVec<[(u32, u32); 2]>,
}

impl Recipe {
    /// Of a body that ended in this launch and stores these variables, whose loop axes are these without those of extent 1: the kept ones, then the reduced ones.
    pub(super) fn new(
        graph: &Graph,
        stores: &[Var],
        body: &Body,
        [kept, reduced]: [&[Axis]; 2],
        launch: &Launch,
        ending: Ending,
    ) -> Option<Recipe> {
        let notes = body.notes.as_ref().filter(|notes| !notes.depends)?;
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
        let used = |numbers: &[Option<u32>], i: usize| numbers.get(i).copied().flatten();
        let mut walks = SmallVec::new();
        for operand in (0..body.args.len()).filter(|&i| used(&ending.live.operands, i).is_some()) {
            walks.push(notes.walks.get(operand)?.clone()?);
        }
        let counts = notes.counts.iter();
        let counts = counts.filter_map(|&(p, e)| used(&ending.live.params, p as usize).map(|p| (p, e))).collect();
        Some(Recipe {
            stores: stores.into(),
            kernel: launch.kernel.clone(),
            loops,
            kept: ending.kept,
            counted: SmallVec::from_slice(&ending.live.axes),
            ordered: ending.ordered,
            axes: ending.axes,
            walks,
            strided: ending.live.strided(),
            params: launch.bindings[0].params.clone(),
            counts,
        })
    }
}

/// A launch, and where it leaves what it stores.
pub(super) type Followed = (Launch, SmallVec<[(Var, Place); 2]>);

impl Lowerer<'_> {
    /// The launch that stores these variables, by its recipe: if there is one, and it leads to the same kernel here. `given` lies in a place that only this launch knows.
    pub(super) fn follow(&mut self, stores: &[Var], given: Option<(Var, &Place)>) -> Option<Followed> {
        let Recall::Follow(recipes) = self.recall else { return None };
        let recipe = recipes.get(stores.first()?).filter(|recipe| recipe.stores[..] == *stores)?;
        let (graph, kernel) = (self.graph, &recipe.kernel);
        let extent = |axis: &Option<Axis>| axis.map_or(1, |(v, axis)| graph.shape_of(v)[axis]);
        let loops: Shape = small(recipe.loops.iter().map(extent));
        let mut written: SmallVec<[(Var, Place); 2]> = SmallVec::new();
        let mut accesses: SmallVec<[Access; 8]> = SmallVec::with_capacity(recipe.walks.len());
        for (walk, operand) in recipe.walks.iter().zip(&kernel.operands) {
            let v = walk.of;
            let place = match (operand.role, given) {
                (Role::In, Some((own, place))) if own == v => place,
                (Role::In, _) => self.places.of(graph, v)?,
                _ => {
                    if written.iter().all(|(known, _)| *known != v) {
                        let buffer = BufferId((self.buffers.len() + written.len()) as u32);
                        written.push((v, Place { buffer, layout: Layout::row(graph.shape_of(v).clone()) }));
                    }
                    &written.iter().find(|(known, _)| *known == v).expect("it has been added").1
                }
            };
            accesses.push(walk.access(place, loops.len()));
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
        let axes = Axes::new(&loops, recipe.kept, &used, &recipe.counted, recipe.ordered, false);
        let args: Vec<_> = used.iter().map(|access| axes.operands(access)).collect();
        let same_inner = || args.iter().zip(&kernel.operands).all(|(a, o)| a.inner(kernel.vector_axis) == o.inner);
        if axes != recipe.axes || axes.vector_axis(&used, &recipe.strided) != kernel.vector_axis || !same_inner() {
            return None;
        }
        let mut params = recipe.params.clone();
        for &(param, equation) in &recipe.counts {
            let e = &graph.equations[equation as usize];
            let Prim::NumberOfElements(count) = &e.prim else { return None };
            params[param as usize] = count.parameter(graph.shape_of(e.shapes[0]));
        }
        self.buffers.extend(written.iter().map(|(v, _)| graph.avals[v.0 as usize].nbytes()));
        let bound = Bound { extents: axes.extents(&loops), args, params };
        Some((Launch { kernel: kernel.clone(), bindings: smallvec![bound] }, written))
    }
}
