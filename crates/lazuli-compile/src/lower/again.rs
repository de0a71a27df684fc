//! Kernels for other extents of the same [pattern](crate::pattern): their launches follow by arithmetic from what was noted when they were lowered first.
//!
//! What is written into a kernel depends on ranks, on which extents are equal, 0 and 1, and on [decisions](super::numbers) by numbers that are made of extents and strides. All else that a launch
//! has follows from such numbers: its parameters, and how its operands are walked. Of a kernel a [`Recipe`] is noted: the kernel, and where these numbers come from.
//! Where nothing has changed, as for what depends on the weights of a model alone, the launch is taken over with other buffers. Otherwise the decisions have to come out as they did; which loop axes are
//! merged, along which one vectors run and how each operand is walked along that is found anew, by the functions that found it first, and has to come out as the kernel has it. If something does
//! not, the kernel is lowered anew.
//!
//! Absent: recipes of launches that are not a group of their own, as scans, writes at computed positions and copies are. These are lowered anew.

use super::Lowerer;
use super::body::{Access, Body, Part};
use super::finish::{Axes, Bound, Ending, Launch};
use super::numbers::{Numbers, Source, Values, Visit};
use super::outside::OnlyUsers;
use super::places::{BufferId, Place, Producers};
use crate::fuse::same_points;
use lazuli_ir::{Graph, Ix, Number, Prim, Var, small};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Kernel, Layout, Role, Scalar, Shape};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// What lowering for other extents takes over.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    /// By the first variable that each kernel stores.
    pub launches: Map<Var, Recipe>,
    pub producers: Producers,
    pub only_users: Option<OnlyUsers>,
}

/// What lowering does with recipes.
pub(crate) enum Recall<'a> {
    Nothing,
    /// Notes them.
    Note(&'a mut Recipes),
    /// Goes by those that were noted for extents of the same pattern.
    Follow(&'a Recipes),
}

/// How an operand is walked: a part of a variable's elements in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    of: Var,
    part: Part,
    by: Steps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Steps {
    /// Along these axes of the variable and of the loop by these factors, from these positions.
    Strides { terms: SmallVec<[(u32, u32, Source); 4]>, from: SmallVec<[(u32, Source); 1]> },
    /// Anywhere, at computed positions.
    Anywhere,
}

impl Walk {
    /// The walk of an affine index.
    pub fn new(of: Var, at: &[Ix], part: Part) -> Walk {
        let (mut terms, mut from) = (SmallVec::new(), SmallVec::new());
        for (i, ix) in at.iter().enumerate() {
            let Ix::Affine { constant, terms: of_axis } = ix else {
                unreachable!("the caller asked for an affine access")
            };
            if !(constant.is_fixed() && *constant == Number::ZERO) {
                from.push((i as u32, Source::from(*constant)));
            }
            terms.extend(of_axis.iter().map(|term| (i as u32, term.axis, Source::from(term.factor))));
        }
        Walk { of, part, by: Steps::Strides { terms, from } }
    }

    pub fn anywhere(of: Var, part: Part) -> Walk {
        Walk { of, part, by: Steps::Anywhere }
    }

    fn sources(&mut self, f: &mut Visit) {
        if let Steps::Strides { terms, from } = &mut self.by {
            terms.iter_mut().for_each(|(_, _, source)| f(source));
            from.iter_mut().for_each(|(_, source)| f(source));
        }
    }

    /// The operand, of a variable that lies here.
    fn access(&self, place: &Place, loops: usize, values: &Values) -> Access {
        let (Layout { strides, offset, .. }, Part { of, number }) = (&place.layout, self.part);
        let mut access = Access {
            buffer: place.buffer,
            offset: offset * of + number,
            strides: SmallVec::from_elem(0, loops),
            len: 0,
        };
        match &self.by {
            Steps::Strides { terms, from } => {
                for (axis, along, factor) in terms {
                    access.strides[*along as usize] += values.get(*factor) * strides[*axis as usize] * of;
                }
                for (axis, constant) in from {
                    access.offset += values.get(*constant) * strides[*axis as usize] * of;
                }
            }
            Steps::Anywhere => access.reach(&place.layout, self.part),
        }
        access
    }
}

/// What is noted of a body while it is written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub numbers: Numbers,
    operands: Vec<Option<SmallVec<[Walk; 1]>>>,
    params: SmallVec<[(u32, DType, Source); 4]>,
    /// Extents of the loop axes.
    pub loops: SmallVec<[Number; 4]>,
    /// Views that are computed, as they do not lie in memory.
    computed: SmallVec<[Var; 2]>,
    /// Whether one parameter stands for two numbers.
    is_mixed: bool,
}

impl Notes {
    /// An operand is a variable that is walked like this. There may be several such walks, if they lead to the same elements.
    pub fn operand(&mut self, operand: u32, is_new: bool, walk: Walk) {
        let operand = operand as usize;
        self.operands.resize(self.operands.len().max(operand + 1), None);
        match &mut self.operands[operand] {
            walks if is_new => *walks = Some(smallvec![walk]),
            Some(walks) if !walks.contains(&walk) => walks.push(walk),
            _ => {}
        }
    }

    /// The result of an equation is computed here.
    pub fn computed(&mut self, graph: &Graph, equation: u32) {
        let e = &graph.equations[equation as usize];
        let may_lie = match &e.prim {
            Prim::Reshape(_) | Prim::Flatten(_) | Prim::Unflatten(_) => {
                !same_points(&graph.aval_of(&e.inputs[0]).shape, graph.shape_of(e.outputs[0]))
            }
            _ => false,
        };
        if may_lie && !self.computed.contains(&e.outputs[0]) {
            self.computed.push(e.outputs[0]);
        }
    }

    /// A parameter that is a number, or one more that it is.
    pub fn param(&mut self, param: u32, is_new: bool, dtype: DType, number: Number) {
        let source = Source::from(number);
        match is_new {
            true if number.is_fixed() => {}
            true => self.params.push((param, dtype, source)),
            false => {
                let known = self.params.iter().find(|(known, ..)| *known == param);
                self.is_mixed |= known.map_or(!number.is_fixed(), |(_, _, known)| *known != source);
            }
        }
    }
}

/// A kernel, and what its launch follows from.
#[derive(Debug)]
pub(crate) struct Recipe {
    stores: SmallVec<[Var; 2]>,
    /// What lies in a place that only this launch knows.
    given: Option<Var>,
    kernel: Arc<Kernel>,
    /// As it was.
    bound: Bound,
    numbers: Numbers,
    /// Of each operand its walk, and how the variable lay.
    operands: SmallVec<[(Walk, Layout); 4]>,
    /// Other walks of operands that have to lead to the same elements.
    others: SmallVec<[(u32, Walk, Layout); 1]>,
    /// Variables that are computed, and may not lie in memory.
    computed: SmallVec<[Var; 2]>,
    /// The loop axes of the body.
    loops: SmallVec<[Source; 4]>,
    /// How many of them are not reduced.
    kept: usize,
    /// Those whose counter is read.
    counted: SmallVec<[u32; 4]>,
    ordered: bool,
    /// What became of them.
    axes: Axes,
    strided: SmallVec<[bool; 8]>,
    params: SmallVec<[(u32, DType, Source); 4]>,
    /// Operands of one buffer that are not to become one.
    apart: SmallVec<[(u32, u32); 2]>,
}

impl Recipe {
    /// Of a body that stores these variables and ended in this launch. `lies` says how variables lie that are read or stored.
    pub(super) fn new(
        stores: &[Var],
        body: &mut Body,
        launch: &Launch,
        ending: Ending,
        given: Option<Var>,
        lies: &mut dyn FnMut(Var, Role) -> Option<Layout>,
    ) -> Option<Recipe> {
        let mut notes = std::mem::take(body.notes.as_mut()?);
        if notes.is_mixed {
            return None;
        }
        let (mut operands, mut others) = (SmallVec::new(), SmallVec::new());
        for i in (0..body.args.len()).filter(|i| ending.live.operands[*i].is_some()) {
            let walks = notes.operands.get_mut(i)?.take()?;
            let (number, mut walks) = (operands.len(), walks.into_iter());
            let role = launch.kernel.operands[number].role;
            let first = walks.next()?;
            let layout = lies(first.of, role)?;
            operands.push((first, layout));
            for walk in walks {
                let layout = lies(walk.of, role)?;
                others.push((number as u32, walk, layout));
            }
        }
        let used =
            |&(param, dtype, source): &(u32, DType, Source)| Some((ending.live.params[param as usize]?, dtype, source));
        let params: SmallVec<_> = notes.params.iter().filter_map(used).collect();
        notes.numbers.end();
        let (all, args) = (&launch.kernel.operands, &launch.bindings[0].args);
        let could_be_one = |&(i, k): &(u32, u32)| {
            let [(a, x), (b, y)] = [i, k].map(|n| (&all[n as usize], &args[n as usize]));
            a.dtype == b.dtype && a.role == b.role && x.buffer == y.buffer
        };
        let pairs = (0..all.len() as u32).flat_map(|i| (0..i).map(move |k| (i, k)));
        let apart = pairs.filter(could_be_one).collect();
        let mut recipe = Recipe {
            stores: stores.into(),
            given,
            kernel: launch.kernel.clone(),
            bound: launch.bindings[0].clone(),
            numbers: notes.numbers,
            operands,
            others,
            computed: notes.computed,
            loops: small(notes.loops.iter().map(|n| Source::from(*n))),
            kept: ending.kept,
            counted: SmallVec::from_slice(&ending.live.axes),
            ordered: ending.ordered,
            axes: ending.axes,
            strided: ending.live.strided(),
            params,
            apart,
        };
        let Recipe { numbers, operands, others, loops, params, .. } = &mut recipe;
        numbers.keep(&mut |f| {
            operands.iter_mut().for_each(|(walk, _)| walk.sources(f));
            others.iter_mut().for_each(|(_, walk, _)| walk.sources(f));
            loops.iter_mut().for_each(&mut *f);
            params.iter_mut().for_each(|(_, _, source)| f(source));
        });
        Some(recipe)
    }

    /// The launch where nothing has changed but which buffers there are.
    fn unchanged(&self, graph: &Graph, arrays: &mut Arrays) -> Option<Bound> {
        if !self.numbers.are_unchanged(graph, arrays) {
            return None;
        }
        let mut lies_alike = |walk: &Walk, was: &Layout, operand: u32| match self.kernel.operands[operand as usize].role
        {
            Role::In => arrays.place(walk.of, Role::In).is_some_and(|place| place.layout == *was),
            _ => *graph.shape_of(walk.of) == was.shape,
        };
        let mut operands = self.operands.iter().zip(0..);
        if !operands.all(|((walk, was), number)| lies_alike(walk, was, number))
            || !self.others.iter().all(|(number, walk, was)| lies_alike(walk, was, *number))
        {
            return None;
        }
        let mut bound = self.bound.clone();
        for ((array, (walk, _)), operand) in bound.args.iter_mut().zip(&self.operands).zip(&self.kernel.operands) {
            array.buffer = arrays.place(walk.of, operand.role)?.buffer;
        }
        Some(bound)
    }

    /// The launch, by the same body.
    fn bound(&self, graph: &Graph, arrays: &mut Arrays, accesses: &mut Vec<Access>) -> Option<Bound> {
        let kernel = &self.kernel;
        let values = self.numbers.values(graph, arrays)?;
        let loops: Shape = small(self.loops.iter().map(|source| values.get(*source) as usize));
        accesses.clear();
        for ((walk, _), operand) in self.operands.iter().zip(&kernel.operands) {
            accesses.push(walk.access(arrays.place(walk.of, operand.role)?, loops.len(), &values));
        }
        for (i, walk, _) in &self.others {
            let role = kernel.operands[*i as usize].role;
            if walk.access(arrays.place(walk.of, role)?, loops.len(), &values) != accesses[*i as usize] {
                return None;
            }
        }
        if self.apart.iter().any(|&(i, k)| accesses[i as usize] == accesses[k as usize]) {
            return None;
        }
        let used: SmallVec<[&Access; 16]> = small(accesses.iter());
        let axes = &self.axes;
        if !axes.hold(&loops, self.kept, &used, &self.counted, self.ordered)
            || axes.vector_axis(&used, &self.strided) != kernel.vector_axis
        {
            return None;
        }
        drop(used);
        let are_loops = axes.are_loops();
        let operands = |access: Access| if are_loops { access.operands() } else { axes.operands(&access) };
        let mut args = Vec::with_capacity(accesses.len());
        args.extend(accesses.drain(..).map(operands));
        if args.iter().zip(&kernel.operands).any(|(a, o)| a.inner(kernel.vector_axis) != o.inner) {
            return None;
        }
        let mut params = self.bound.params.clone();
        for &(param, dtype, source) in &self.params {
            params[param as usize] = Scalar::from_i64(dtype, values.get(source) as i64);
        }
        Some(Bound { extents: axes.extents(&loops), args, params })
    }
}

/// Room to work in, from one launch to the next.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Where a launch that was followed leaves what it stores.
    pub written: Vec<(Var, Place)>,
    accesses: Vec<Access>,
}

/// Where the operands of a launch are: in place already, in one that only this launch knows, or in a new one, for what it stores.
pub(super) struct Arrays<'l, 'a> {
    lowerer: &'l mut Lowerer<'a>,
    given: Option<(Var, &'l Place)>,
    written: &'l mut Vec<(Var, Place)>,
}

impl Arrays<'_, '_> {
    pub fn place(&mut self, v: Var, role: Role) -> Option<&Place> {
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
    /// The launch that stores these variables, by its recipe: if there is one, and it leads to the same kernel here. What it stores and where is left in `room`. `given` lies in a
    /// place that only this launch knows.
    pub(super) fn follow(&mut self, stores: &[Var], given: Option<(Var, &Place)>, room: &mut Room) -> Option<Launch> {
        let Recall::Follow(recipes) = self.recall else { return None };
        let recipe = recipes.launches.get(stores.first()?)?;
        if recipe.stores[..] != *stores || recipe.given != given.map(|(v, _)| v) {
            return None;
        }
        let graph = self.graph;
        if recipe.computed.iter().any(|v| self.places.of(graph, *v).is_some()) {
            return None;
        }
        let Room { written, accesses } = room;
        written.clear();
        let mut arrays = Arrays { lowerer: self, given, written };
        let bound = recipe.unchanged(graph, &mut arrays).or_else(|| recipe.bound(graph, &mut arrays, accesses))?;
        self.buffers.extend(written.iter().map(|(v, _)| graph.avals[v.0 as usize].nbytes()));
        Some(Launch { kernel: recipe.kernel.clone(), bindings: smallvec![bound] })
    }
}
