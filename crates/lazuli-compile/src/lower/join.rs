//! Maps over what is put together from parts, concatenations and padded arrays: one launch for each part, over its own points.
//!
//! An index of a concatenation lies in one of its parts or another. Where a map runs over all of them, it would have to look which at each of its points; so
//! it is cut where they meet, and so where an array meets its padding. Of several such those which meet at the same points are cut by it; others are put into memory before.

use super::write::{Written, are_affine};
use super::{Body, Group, Held, Lowerer, store_lane};
use lazuli_ir::prims::{Concatenate, Pad};
use lazuli_ir::{Arithmetic, Equation, Extents, Graph, Ix, Number, Operation, Prim, Result, Shape, Var};
use lazuli_kernel::Nest;
use lazuli_kernel::hash::Set;
use smallvec::SmallVec;
use std::cmp::Ordering;

/// Whether an equation puts its result together from parts: inputs that it joins, or one and its padding.
pub(crate) fn is_joined(e: &Equation) -> bool {
    match &e.prim {
        Prim::Concatenate(_) => e.inputs.len() > 1,
        Prim::Pad(pad) => pad.low.iter().chain(&pad.high).any(|&width| width > 0),
        _ => false,
    }
}

/// Whether two equations put parts of equal shapes together in one way.
fn meet_alike(graph: &Graph, a: u32, b: u32) -> bool {
    let (a, b) = (&graph.equations[a as usize], &graph.equations[b as usize]);
    let extents = |e: &Equation| e.inputs.iter().map(|&atom| graph.aval(atom).shape).collect::<SmallVec<[Shape; 4]>>();
    a.prim == b.prim && extents(a) == extents(b)
}

/// How many parts an equation puts together.
fn count(e: &Equation) -> usize {
    match &e.prim {
        Prim::Pad(pad) => 2 * pad.low.len() + 1,
        _ => e.inputs.len(),
    }
}

/// A part: where it begins in the whole, its extents, and the input that it is of, at its own points unless that is a scalar.
struct Piece {
    start: Extents,
    extents: Extents,
    input: usize,
}

impl Lowerer<'_> {
    /// The equations, first to last, whose joined result is needed for these variables and does not lie in memory.
    fn joins(&mut self, of: impl Iterator<Item = Var>) -> SmallVec<[u32; 2]> {
        let mut found = SmallVec::new();
        if !self.has_joins {
            return found;
        }
        let graph = self.graph;
        let mut wanted: SmallVec<[Var; 8]> = of.collect();
        let mut seen = Set::default();
        while let Some(v) = wanted.pop() {
            if self.places.of(graph, v).is_some() {
                continue;
            }
            let equation = self.places.producer(v);
            if seen.insert(equation) {
                let e = &graph.equations[equation as usize];
                found.extend(is_joined(e).then_some(equation));
                wanted.extend(e.inputs.iter().filter_map(|a| a.var()));
            }
        }
        found.sort_unstable();
        found
    }

    /// Puts what is joined for these variables into memory.
    pub(super) fn join_first(&mut self, of: impl Iterator<Item = Var>) -> Result<()> {
        for equation in self.joins(of) {
            self.materialise(self.graph.equations[equation as usize].outputs[0].into())?;
        }
        Ok(())
    }

    /// Puts what is joined for a group of anchors into memory; what is left of the group, if it stores some of that itself.
    pub(super) fn join_before(&mut self, group: &Group) -> Result<Option<Group>> {
        let graph = self.graph;
        let inputs = group.anchors.iter().flat_map(|&e| &graph.equations[e as usize].inputs);
        self.join_first(inputs.filter_map(|a| a.var()).chain(group.stores.iter().copied()))?;
        let is_joined = |v: &Var| is_joined(&graph.equations[self.places.producer(*v) as usize]);
        if !self.has_joins || !group.stores.iter().any(is_joined) {
            return Ok(None);
        }
        let stores = group.stores.iter().copied().filter(|v| !is_joined(v)).collect();
        Ok(Some(Group { stores, ..group.clone() }))
    }

    /// What is joined for a map that stores these variables: what it is cut by is returned, all else put into memory.
    pub(super) fn cuts(&mut self, stores: &[Var]) -> Result<SmallVec<[u32; 2]>> {
        let graph = self.graph;
        let size = stores.first().map_or(0, |&v| self.aval(v).size());
        if size == 0 {
            return Ok(SmallVec::new());
        }
        let joins = self.joins(stores.iter().copied());
        let result = |equation: u32| graph.equations[equation as usize].outputs[0];
        let Some(&last) = joins.iter().rfind(|&&e| self.aval(result(e)).size() == size) else {
            return self.join_first(stores.iter().copied()).map(|()| SmallVec::new());
        };
        let (cuts, others): (SmallVec<[u32; 2]>, SmallVec<[u32; 2]>) =
            joins.into_iter().partition(|&equation| meet_alike(graph, equation, last));
        for equation in others {
            self.materialise(result(equation).into())?;
        }
        Ok(cuts)
    }

    /// A map that is cut where the parts of these equations meet. False if it stores something of which a part is no regular piece, or needs them at other points too, and nothing has been done.
    pub(super) fn map_by_parts(&mut self, cuts: &[u32], stores: &[Var]) -> bool {
        let graph = self.graph;
        let last = &graph.equations[cuts[cuts.len() - 1] as usize];
        let mut bodies: SmallVec<[(Body, Written); 4]> = SmallVec::new();
        for number in 0..count(last) {
            let mut body = self.body();
            let piece = body.piece(graph, last, number);
            if piece.extents.iter().any(|n| n.value == 0) {
                self.spare = Some(body);
                continue;
            }
            let written = self.part(&mut body, cuts, &piece, stores);
            if !are_affine(&written) || body.is_stray {
                self.spare = Some(body);
                return false;
            }
            bodies.push((body, written));
        }
        let places: SmallVec<[_; 4]> = stores.iter().map(|&v| self.fresh(self.aval(v))).collect();
        for (mut body, written) in bodies {
            let mut stores = Vec::new();
            for ((v, lane, at), place) in written.iter().zip(&places) {
                store_lane(&mut body, Some(Held::Var(*v)), place, *lane, at, &mut stores);
            }
            self.launch(body, Nest::Map { stores });
        }
        self.recipe(Held::Var(stores[0]), stores);
        for (&v, place) in stores.iter().zip(places) {
            self.in_parts.push(place.buffer);
            self.places.set(v, place);
        }
        true
    }

    /// What is stored at the points of one part.
    fn part(&mut self, body: &mut Body, cuts: &[u32], piece: &Piece, stores: &[Var]) -> Written {
        let graph = self.graph;
        let whole = body.extents(graph, graph.equations[cuts[0] as usize].outputs[0].into());
        let point = body.begin(&piece.extents, &[]);
        let mut at = point.clone();
        for (ix, &start) in at.iter_mut().zip(&piece.start) {
            if let Ix::Affine { constant, .. } = ix {
                *constant = start;
            }
        }
        for &equation in cuts {
            let e = &graph.equations[equation as usize];
            let is_scalar = graph.aval(e.inputs[piece.input]).rank() == 0;
            let value =
                body.operand(graph, &mut self.places, equation, piece.input, if is_scalar { &[] } else { &point });
            body.define(e.outputs[0], at.clone(), value);
            body.give(e.outputs[0]);
        }
        self.eval_all(body, stores, &at, &whole)
    }
}

impl Body {
    /// A part of what an equation puts together.
    fn piece(&mut self, graph: &Graph, e: &Equation, number: usize) -> Piece {
        let Prim::Pad(Pad { low, high }) = &e.prim else { return self.joined(graph, e, number) };
        let (inside, whole) = (self.extents(graph, e.inputs[0]), self.extents(graph, e.outputs[0].into()));
        let (mut start, mut extents) = (Extents::new(), Extents::new());
        // What lies before and behind along an axis does so within the array along those before that, and all along those after it; the array itself comes last.
        let (of, is_behind) = (number / 2, number % 2 == 1);
        for axis in 0..low.len() {
            let [before, behind] = [low, high].map(|widths| Number::fixed(widths[axis] as isize));
            let (from, n) = match axis.cmp(&of) {
                Ordering::Less => (before, inside[axis]),
                Ordering::Equal if is_behind => (self.compute(Operation::Sum, before, inside[axis]), behind),
                Ordering::Equal => (Number::ZERO, before),
                Ordering::Greater => (Number::ZERO, whole[axis]),
            };
            start.push(from);
            extents.push(n);
        }
        Piece { start, extents, input: if of < low.len() { 1 } else { 0 } }
    }

    /// A part of a concatenation.
    fn joined(&mut self, graph: &Graph, e: &Equation, number: usize) -> Piece {
        let Prim::Concatenate(Concatenate { axis }) = e.prim else { unreachable!("the only other that is joined") };
        let mut from = Number::ZERO;
        for input in &e.inputs[..number] {
            let n = self.extent(graph, input.var().expect("what is joined has axes"), axis);
            from = self.compute(Operation::Sum, from, n);
        }
        let extents = self.extents(graph, e.inputs[number]);
        let start = (0..extents.len()).map(|k| if k == axis { from } else { Number::ZERO }).collect();
        Piece { start, extents, input: number }
    }
}
