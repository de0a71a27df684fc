//! What the shapes of a program follow from, in all its graphs at once.
//!
//! For new shapes a shapeless program is looked at through several graphs: as traced, with the bodies of its calls and what their rules were applied to; as simplified; and what it recorded
//! besides. These compute the same shapes again and again: most arrays have the shape of another, and one graph is made of the other. An outline has each of them once. It numbers extents: those
//! that must be equal for equations to be well formed ([`Primitive::same_extents`](crate::Primitive::same_extents)) have one number, so shapes of the same numbers are one, and so are equations of one rule over the same
//! shapes. What these make of extents, and what else they ask of them ([`Primitive::relate`](crate::Primitive::relate)), is [arithmetic] on the extents of arguments, so that for other
//! arguments no rule runs.
//!
//! That extents are equal is looked at, not believed: whenever shapes are asked for, each extent of an argument is compared with what is there under its number. An outline speaks of arguments for which that is
//! so, all that equations ask holds, the same extents of their operands are 0 and 1, and nothing is made anew. Of others it says nothing: then the graphs are asked one by one ([`Graph::rebound_avals`]).

mod arithmetic;
mod builder;

use crate::aval::{Aval, is_addressable};
use crate::graph::{Equation, Graph};
use crate::prim::Prim;
use crate::prims::Cond;
use arithmetic::Arithmetic;
pub use builder::OutlineBuilder;
use lazuli_kernel::{DType, Shape};
use smallvec::SmallVec;

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
    /// The shape of this number, or what else there is one of for each.
    pub fn of<T>(self, all: &[T]) -> &T {
        &all[self.index()]
    }
}

/// Of each axis of a shape whether its extent may be another one.
pub type MovingAxes = SmallVec<[bool; 4]>;

/// A shape as the numbers of its extents.
type Numbers = SmallVec<[u32; 4]>;

/// An axis of an argument.
#[derive(Debug, Clone, Copy)]
struct Axis {
    number: u32,
    /// Whether nothing says before what the number is.
    is_first: bool,
}

/// The shapes of a program's graphs, each once.
#[derive(Debug)]
pub struct Outline {
    arguments: Vec<SmallVec<[Axis; 4]>>,
    /// The numbers of their extents, each once.
    first: Vec<u32>,
    arithmetic: Arithmetic,
    /// Numbers that must be 0, 1 or neither, as they were.
    alike: Vec<u32>,
    /// Numbers that must be as they were, by a measure.
    fixed: Vec<u32>,
    shapes: Vec<Numbers>,
    /// Shapes that must be equal, or differ, as they did.
    compared: Vec<(ShapeId, ShapeId, bool)>,
}

impl Outline {
    /// All shapes, by their numbers, for arguments of these; `None` if it does not speak of them. `differs` is told the numbers of extents that arguments have otherwise than those that
    /// it was made for.
    pub fn shapes<'a>(
        &self,
        arguments: impl Iterator<Item = &'a [usize]>,
        differs: &mut dyn FnMut(usize),
    ) -> Option<Vec<Shape>> {
        let was = &self.arithmetic.own;
        let mut now: SmallVec<[isize; 128]> = SmallVec::from_slice(was);
        for (axes, shape) in self.arguments.iter().zip(arguments) {
            if axes.len() != shape.len() {
                return None;
            }
            for (axis, &n) in axes.iter().zip(shape) {
                let known = &mut now[axis.number as usize];
                if axis.is_first {
                    *known = n as isize;
                } else if *known != n as isize {
                    return None;
                }
            }
        }
        if !self.arithmetic.complete(&mut now) {
            return None;
        }
        let pair = |n: &u32| (was[*n as usize], now[*n as usize]);
        let is_alike = |(was, now): (isize, isize)| was == now || was > 1 && now > 1;
        let is_same = |(was, now): (isize, isize)| was == now;
        if !self.fixed.iter().map(pair).all(is_same) || !self.alike.iter().map(pair).all(is_alike) {
            return None;
        }
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.shapes.len());
        for numbers in &self.shapes {
            let mut extents = [0; 4];
            // Lists of so many extents are written in place.
            let shape = match extents.get_mut(..numbers.len()) {
                Some(own) => {
                    own.iter_mut().zip(numbers).for_each(|(own, n)| *own = now[*n as usize] as usize);
                    Shape::from_buf_and_len(extents, numbers.len())
                }
                None => numbers.iter().map(|n| now[*n as usize] as usize).collect(),
            };
            // No dtype is wider.
            if !is_addressable(DType::C64, &shape) {
                return None;
            }
            shapes.push(shape);
        }
        let holds = |&(a, b, are_same): &(ShapeId, ShapeId, bool)| (a.of(&shapes) == b.of(&shapes)) == are_same;
        if !self.compared.iter().all(holds) {
            return None;
        }
        self.first.iter().map(|&n| n as usize).filter(|&n| was[n] != now[n]).for_each(differs);
        Some(shapes)
    }

    /// Of each number whether arguments have it as their first extent and as no other, and none of those of which `is_state` says so has it: that of a batch most often.
    pub fn leading(&self, is_state: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut leading = vec![false; self.arithmetic.own.len()];
        let first = |axes: &SmallVec<[Axis; 4]>| axes.first().map(|axis| axis.number);
        self.arguments.iter().filter_map(first).for_each(|n| leading[n as usize] = true);
        for (argument, axes) in self.arguments.iter().enumerate() {
            let others = axes.iter().skip(usize::from(!is_state(argument)));
            others.for_each(|axis| leading[axis.number as usize] = false);
        }
        leading
    }
    /// Of each shape which of its extents may be others, if these numbers are.
    pub fn moving(&self, mut numbers: Vec<bool>) -> Vec<MovingAxes> {
        self.arithmetic.spread(&mut numbers);
        self.shapes.iter().map(|shape| shape.iter().map(|&n| numbers[n as usize]).collect()).collect()
    }
}

impl Graph {
    /// Whether the only bodies that it has are branches of choices.
    pub fn has_no_calls(&self) -> bool {
        let is_one = |e: &Equation| {
            let bodies = e.prim.bodies();
            bodies.is_empty() || matches!(e.prim, Prim::Cond(_)) && bodies.iter().all(|body| body.has_no_calls())
        };
        self.equations.iter().all(is_one)
    }

    /// How many variables it has, with those of its choices.
    fn variables(&self) -> usize {
        self.avals.len()
            + self.choices().flat_map(|(_, cond)| &cond.branches).map(|body| body.variables()).sum::<usize>()
    }
    /// Its choices: which equations they are.
    fn choices(&self) -> impl Iterator<Item = (usize, &Cond)> {
        self.equations.iter().enumerate().filter_map(|(n, e)| match &e.prim {
            Prim::Cond(cond) => Some((n, cond)),
            _ => None,
        })
    }
    /// Each choice by the number of its equation, and of its branches the shapes of an outline that their variables have, if these are those of the graph's.
    pub fn branches<'a>(&'a self, ids: &'a [ShapeId]) -> impl Iterator<Item = (usize, [&'a [ShapeId]; 2])> {
        let mut rest = &ids[self.avals.len()..];
        self.choices().map(move |(n, cond)| {
            (n, cond.branches.each_ref().map(|body| rest.split_off(..body.variables()).expect("ids of all variables")))
        })
    }

    /// The same graph, which has no calls, with shapes of an outline for its variables, and those of its choices: those of these numbers.
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
        let mut equations = self.equations.clone();
        for (n, ids) in self.branches(ids) {
            let prim = &mut equations[n].prim;
            let bodies = prim.bodies().iter().zip(ids).map(|(body, ids)| body.outlined(ids, shapes));
            *prim = prim.with_bodies(bodies.collect::<SmallVec<[Graph; 2]>>());
        }
        Graph { avals, inputs, constants, equations, outputs }
    }
}
