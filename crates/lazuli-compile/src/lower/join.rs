//! Maps over what is joined from parts: one launch for each part, over its own points.
//!
//! An index of a concatenation lies in one of its parts or another. Where a map runs over all of them, it would have to look which at each of its points; so
//! it is cut where they meet. Of several concatenations those which meet at the same points are cut by it; others are put into memory before.

use super::write::{Written, are_affine};
use super::{Body, Group, Held, Lowerer, store_lane};
use lazuli_ir::{Arithmetic, Atom, Equation, Graph, Ix, Number, Operation, Prim, Result, Shape, Var};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Nest, shape};
use smallvec::SmallVec;

/// The axis along which an equation joins several inputs.
pub(crate) fn joined_axis(e: &Equation) -> Option<usize> {
    match e.prim {
        Prim::Concatenate(ref join) if e.inputs.len() > 1 => Some(join.axis),
        _ => None,
    }
}

/// Whether two equations join parts of equal shapes along one axis.
fn meet_alike(graph: &Graph, a: u32, b: u32) -> bool {
    let inputs = |e: u32| graph.equations[e as usize].inputs.iter().map(|&atom| shape_of(graph, atom));
    joined_axis(&graph.equations[a as usize]) == joined_axis(&graph.equations[b as usize]) && inputs(a).eq(inputs(b))
}

fn shape_of(graph: &Graph, atom: Atom) -> &Shape {
    graph.shape_of(atom.var().expect("what is joined has axes"))
}

impl Lowerer<'_> {
    /// The equations, first to last, whose joined result is needed for these variables and does not lie in memory.
    fn joins(&mut self, of: impl Iterator<Item = Var>) -> SmallVec<[u32; 2]> {
        let mut joins = SmallVec::new();
        if !self.has_joins {
            return joins;
        }
        let graph = self.graph;
        let mut wanted: SmallVec<[Var; 8]> = of.collect();
        let mut seen = Map::default();
        while let Some(v) = wanted.pop() {
            if self.places.of(graph, v).is_some() {
                continue;
            }
            let equation = self.places.producer(v);
            if seen.insert(equation, ()).is_none() {
                let e = &graph.equations[equation as usize];
                joins.extend(joined_axis(e).map(|_| equation));
                wanted.extend(e.inputs.iter().filter_map(|a| a.var()));
            }
        }
        joins.sort_unstable();
        joins
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
        let is_joined = |v: &Var| joined_axis(&graph.equations[self.places.producer(*v) as usize]).is_some();
        if !self.has_joins || !group.stores.iter().any(is_joined) {
            return Ok(None);
        }
        let stores = group.stores.iter().copied().filter(|v| !is_joined(v)).collect();
        Ok(Some(Group { stores, ..group.clone() }))
    }

    /// What is joined for a map that stores these variables: what it is cut by is returned, all else put into memory.
    pub(super) fn cuts(&mut self, stores: &[Var]) -> Result<SmallVec<[u32; 2]>> {
        let graph = self.graph;
        let size = self.aval(stores[0]).size();
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

    /// A map that is cut where the parts of these equations meet. False if it stores something of which a part is no regular piece, and nothing has been done.
    pub(super) fn map_by_parts(&mut self, cuts: &[u32], stores: &[Var]) -> bool {
        let graph = self.graph;
        let last = cuts[cuts.len() - 1];
        let mut bodies: SmallVec<[(Body, Written); 4]> = SmallVec::new();
        for part in 0..graph.equations[last as usize].inputs.len() {
            if shape::size(shape_of(graph, graph.equations[last as usize].inputs[part])) == 0 {
                continue;
            }
            let mut body = self.body();
            let written = self.part(&mut body, cuts, part, stores);
            if !are_affine(&written) {
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
    fn part(&mut self, body: &mut Body, cuts: &[u32], part: usize, stores: &[Var]) -> Written {
        let graph = self.graph;
        let last = &graph.equations[cuts[cuts.len() - 1] as usize];
        let axis = joined_axis(last).expect("it is cut by what is joined");
        let mut start = Number::ZERO;
        for input in &last.inputs[..part] {
            let n = body.extent(graph, input.var().expect("what is joined has axes"), axis);
            start = body.compute(Operation::Sum, start, n);
        }
        let (points, whole) = (body.extents(graph, last.inputs[part]), body.extents(graph, last.outputs[0].into()));
        let point = body.begin(&points, &[]);
        let mut at = point.clone();
        if let Ix::Affine { constant, .. } = &mut at[axis] {
            *constant = start;
        }
        for &equation in cuts {
            let value = body.operand(graph, &mut self.places, equation, part, &point);
            body.define(graph.equations[equation as usize].outputs[0], at.clone(), value);
        }
        self.eval_all(body, stores, &at, &whole)
    }
}
