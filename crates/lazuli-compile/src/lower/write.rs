//! Writes into a part of an array: at computed positions, and into slices.

use super::body::{Body, Part};
use super::finish::{finish, finish_together};
use super::{Group, Held, Lowerer, Place, Scattered, Var, Work, store_lane};
use lazuli_ir::prim::ScatterPoint;
use lazuli_ir::{Arithmetic, Atom, Error, Extents, Graph, Index, Ix, Lane, Number, Result, Shape};
use lazuli_kernel::{BinaryOp, DType, Inst, Nest, Role, ScatterOp, Store, Value, shape};
use smallvec::{SmallVec, smallvec};

impl Lowerer<'_> {
    /// What a group computes from the result `v` of a write, as if that were its target: at each of its points, which are those of `v`. None if there is nothing, or if it needs `v` at
    /// other points.
    fn map_of_target(&mut self, anchor: u32, v: Var, group: &Group) -> Option<(Body, Written)> {
        let graph = self.graph;
        let stores = group.stores.as_slice();
        let fits = |&u: &Var| self.aval(u).size() == self.aval(v).size();
        if stores == [v] || self.aval(v).size() == 0 || !stores.iter().all(fits) {
            return None;
        }
        if stores.iter().any(|&u| self.places.of(graph, u).is_some()) {
            return None;
        }
        let mut body = self.body();
        let extents = body.extents(graph, v.into());
        let at = body.begin(&extents, &[]);
        let target = body.operand(graph, &mut self.places, anchor, 0, &at);
        body.define(v, at.clone(), target);
        body.give(v);
        let written = self.eval_all(&mut body, stores, &at, &extents);
        (!body.is_stray && are_affine(&written)).then_some((body, written))
    }

    /// An assignment at computed positions whose result goes on into a map, at its own points: the map is computed from the target everywhere, and then from the
    /// updates where they are, in their order. So the last update of a position has the last word, as in the result itself. False if that is not possible, and nothing has been done.
    fn scatter_onwards(&mut self, anchor: u32, space: &Shape, group: &Group) -> bool {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        if group.stores.iter().chain([&v]).any(|&u| self.aval(u).dtype.is_complex()) {
            return false;
        }
        let Some((mut everywhere, written)) = self.map_of_target(anchor, v, group) else { return false };
        let mut updates = Vec::with_capacity(written.len());
        for u in following(graph, v, group) {
            let mut body = self.body();
            let (points, extents) = (self.points(&mut body, anchor, space), body.extents(graph, v.into()));
            let point = body.begin(&points, &[]);
            let ScatterPoint { at, value } =
                body.with(graph, &mut self.places, anchor, |cx| equation.prim.scatter(cx, &point));
            let mask = inside(&mut body, &at, &extents);
            let at = body.within(v, &at, &aval.shape, false);
            body.define(v, at.clone(), value);
            body.give(v);
            let value = self.eval_all(&mut body, &[u], &at, &extents)[0].1.real();
            if body.is_stray {
                return false;
            }
            let strides = body.row_strides(&extents);
            let index = body.linear(&at, &strides, 1, Number::ZERO);
            updates.push((u, body, index, mask, value));
        }
        let stores = self.store(&mut everywhere, &written);
        self.launch(everywhere, Nest::Map { stores });
        for (u, mut body, index, mask, value) in updates {
            let (place, dtype) = (self.stored(u), self.aval(u).dtype);
            let target = body.anywhere(Held::Var(u), &place, Part::WHOLE, dtype, Role::InOut);
            self.launch(body, Nest::Scatter { op: ScatterOp::Assign, target, index, mask, value });
        }
        self.recipe(Held::Var(v), &group.stores);
        true
    }

    /// The same of an update of a slice.
    fn update_onwards(&mut self, anchor: u32, op: ScatterOp, group: &Group) -> bool {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let Some((mut everywhere, written)) = self.map_of_target(anchor, v, group) else { return false };
        let mut body = self.body();
        let (points, extents) = (body.extents(graph, equation.inputs[1]), body.extents(graph, v.into()));
        let point = body.begin(&points, &[]);
        let at = body.with(graph, &mut self.places, anchor, |cx| equation.prim.part_at(cx, &point));
        let value = match op {
            ScatterOp::Assign => body.operand(graph, &mut self.places, anchor, 1, &point),
            _ => body.with(graph, &mut self.places, anchor, |cx| equation.prim.pointwise(cx, &at)),
        };
        body.define(v, at.clone(), value);
        body.give(v);
        let updates = self.eval_all(&mut body, &following(graph, v, group), &at, &extents);
        if body.is_stray || !are_affine(&updates) {
            return false;
        }
        let stores = self.store(&mut everywhere, &written);
        self.launch(everywhere, Nest::Map { stores });
        let mut stores = Vec::new();
        for (u, lane, at) in updates {
            let place = self.stored(u);
            store_lane(&mut body, Some(Held::Var(u)), &place, lane, &at, &mut stores);
        }
        self.launch(body, Nest::Map { stores });
        self.recipe(Held::Var(v), &group.stores);
        true
    }

    /// The points of a scatter: each of their extents is that of an operand.
    fn points(&self, body: &mut Body, anchor: u32, space: &Shape) -> Extents {
        let graph = self.graph;
        let operands = graph.equations[anchor as usize].inputs.iter().filter_map(|a| a.var());
        let axes = operands.flat_map(|v| (0..graph.shape_of(v).len()).map(move |axis| (v, axis)));
        let extent = |&n: &usize| {
            let (v, axis) = axes.clone().find(|&(v, axis)| graph.shape_of(v)[axis] == n).expect("one of an operand");
            body.extent(graph, v, axis)
        };
        space.iter().map(extent).collect()
    }

    /// The place of what has just been stored.
    fn stored(&mut self, v: Var) -> Place {
        self.places.of(self.graph, v).expect("it has just been stored").clone()
    }

    /// A copy of the target, then its updates one by one. Half floats are combined in f32 and round once, at the end. What is combined goes on into the map that follows.
    pub(super) fn scatter(&mut self, anchor: u32, op: ScatterOp, space: &Shape, group: &Group) -> Result<()> {
        let equation = &self.graph.equations[anchor as usize];
        let v = equation.outputs[0];
        if self.launch_again(Held::Var(v), &group.stores) {
            return self.maps(group);
        }
        if op == ScatterOp::Assign && self.scatter_onwards(anchor, space, group) {
            return Ok(());
        }
        let aval = self.aval(v);
        let half = matches!(aval.dtype, DType::F16 | DType::BF16) && op != ScatterOp::Assign;
        let streams: usize = if aval.dtype == DType::C64 { 2 } else { 1 };
        if streams == 2 && !matches!(op, ScatterOp::Assign | ScatterOp::Add) {
            let message = "complex numbers can be assigned and added at computed positions, and no more";
            return Err(Error::new(lazuli_ir::ErrorKind::Unsupported, equation.prim.name(), message));
        }
        // A bool is added as "or", multiplied as "and".
        let op = match (aval.dtype, op) {
            (DType::Bool, ScatterOp::Add) => ScatterOp::Max,
            (DType::Bool, ScatterOp::Mul) => ScatterOp::Min,
            _ => op,
        };
        if op != ScatterOp::Assign && streams == 1 && self.combine_onwards(anchor, op, space, half, group) {
            return Ok(());
        }
        let to = if half { Held::Aside(v, DType::F32) } else { Held::Var(v) };
        let place = self.fresh_for(to);
        let (body, nest) = self.input_into(anchor, (to, &place));
        self.launch(body, nest);
        for stream in 0..streams {
            let (body, nest) = self.updates(anchor, op, space, (to, &place), stream);
            self.launch(body, nest);
        }
        let place = if half { self.narrowed((to, &place), v) } else { place };
        self.recipe(Held::Var(v), &group.stores);
        self.places.set(v, place);
        self.maps(group)
    }

    /// The updates of what lies there; of complex numbers one part.
    fn updates(
        &mut self,
        anchor: u32,
        op: ScatterOp,
        space: &Shape,
        (to, place): (Held, &Place),
        part: usize,
    ) -> (Body, Nest) {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let dtype = to.dtype(graph);
        let parts = if dtype.is_complex() { 2 } else { 1 };
        let mut body = self.body();
        let (points, extents) = (self.points(&mut body, anchor, space), body.extents(graph, to.var().into()));
        let at = body.begin(&points, &[]);
        let ScatterPoint { at, value } =
            body.with(graph, &mut self.places, anchor, |cx| equation.prim.scatter(cx, &at));
        let mask = inside(&mut body, &at, &extents);
        let strides = body.row_strides(&extents);
        let index = body.linear(&at, &strides, parts, Number::fixed(part as isize));
        let value = match value {
            Lane::Complex(re, im) => [re, im][part],
            Lane::Real(x) => body.emit.cast(dtype, x),
        };
        let dtype = body.emit.dtype(value);
        let target = body.anywhere(to, place, Part { of: parts, number: 0 }, dtype, Role::InOut);
        (body, Nest::Scatter { op, target, index, mask, value })
    }

    /// Updates that are combined with what stands at their positions, where the result goes on into a map at its own points: one step, which can do both
    /// part by part of the result. False if that is not possible, and nothing has been done.
    fn combine_onwards(&mut self, anchor: u32, op: ScatterOp, space: &Shape, half: bool, group: &Group) -> bool {
        let v = self.graph.equations[anchor as usize].outputs[0];
        let aval = self.aval(v);
        let stores = group.stores.as_slice();
        if stores == [v] || aval.size() == 0 || shape::size(space) == 0 {
            return false;
        }
        let result = Held::Aside(v, if half { DType::F32 } else { aval.dtype });
        let place = self.fresh_for(result);
        let Some(epilogue) = self.epilogue(v, None, (result, &place), stores) else {
            self.buffers.pop();
            return false;
        };
        let (mut target, target_nest) = self.input_into(anchor, (result, &place));
        let (mut updates, nest) = self.updates(anchor, op, space, (result, &place), 0);
        // Until here nothing that the group stores has a place: what it needs of that it has computed.
        let (mut epilogue, nest_stores) = self.end_epilogue(epilogue, stores);
        let (update, ending) = finish(&updates, nest, false);
        let maps = finish_together([(&target, target_nest), (&epilogue, Nest::Map { stores: nest_stores })]);
        let [(first, of_first), (last, of_last)] = maps;
        self.note([(&mut target, &first, &of_first), (&mut epilogue, &last, &of_last)]);
        self.note([(&mut updates, &update, &ending)]);
        if let Some([_, last, updates]) = self.passes.as_deref_mut() {
            std::mem::swap(last, updates);
        }
        self.recipe_of(Held::Var(v), stores, None, true);
        self.spare = Some(epilogue);
        let launches = [first, update, last];
        self.work.push(Work::Scatter(Box::new(Scattered { result: place.buffer, launches })));
        true
    }

    /// A copy of the target, then a strided map over the part that is updated.
    pub(super) fn update(&mut self, anchor: u32, op: ScatterOp, group: &Group) -> Result<()> {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        if self.launch_again(Held::Var(v), &group.stores) {
            return self.maps(group);
        }
        if self.update_onwards(anchor, op, group) {
            return Ok(());
        }
        let (to, place) = (Held::Var(v), self.fresh_for(Held::Var(v)));
        let (body, nest) = self.input_into(anchor, (to, &place));
        self.launch(body, nest);
        let mut body = self.body();
        let points = body.extents(graph, equation.inputs[1]);
        let point = body.begin(&points, &[]);
        let update = body.operand(graph, &mut self.places, anchor, 1, &point);
        let at = body.with(graph, &mut self.places, anchor, |cx| equation.prim.part_at(cx, &point));
        let mut stores = Vec::new();
        match op {
            ScatterOp::Assign => store_lane(&mut body, Some(to), &place, update, &at, &mut stores),
            _ => combine_lane(&mut body, (to, &place), op, update, &at, &mut stores),
        }
        self.launch(body, Nest::Map { stores });
        self.recipe(Held::Var(v), &group.stores);
        self.places.set(v, place);
        self.maps(group)
    }
}

/// Stores what stands at an index combined with an update.
fn combine_lane(
    body: &mut Body,
    (to, place): (Held, &Place),
    op: ScatterOp,
    update: Lane,
    at: &[Ix],
    stores: &mut Vec<Store>,
) {
    let binary = op.binary().expect("what is assigned is stored as it is");
    match update {
        Lane::Real(x) => {
            let dtype = body.emit.dtype(x);
            let operand = body.walked(Some(to), place, at, Part::WHOLE, dtype, Role::InOut);
            let old = body.emit.push(Inst::Load(operand));
            let e = &mut body.emit;
            let value = match (dtype, binary) {
                (DType::F16 | DType::BF16, _) => {
                    let (old, x) = (e.cast(DType::F32, old), e.cast(DType::F32, x));
                    let wide = e.binary(binary, old, x);
                    e.cast(dtype, wide)
                }
                (DType::Bool, BinaryOp::Add) => e.or(old, x),
                (DType::Bool, BinaryOp::Mul) => e.and(old, x),
                _ => e.binary(binary, old, x),
            };
            stores.push(Store { operand, value });
        }
        Lane::Complex(re, im) => {
            let operands = Part::COMPLEX.map(|part| body.walked(Some(to), place, at, part, DType::F32, Role::InOut));
            let [a, b] = operands.map(|o| body.emit.push(Inst::Load(o)));
            let e = &mut body.emit;
            let (re, im) = match binary {
                BinaryOp::Mul => {
                    let (ac, bd, ad, bc) = (e.mul(a, re), e.mul(b, im), e.mul(a, im), e.mul(b, re));
                    (e.sub(ac, bd), e.add(ad, bc))
                }
                _ => (e.binary(binary, a, re), e.binary(binary, b, im)),
            };
            stores.extend([Store { operand: operands[0], value: re }, Store { operand: operands[1], value: im }]);
        }
    }
}

/// Whether a position lies within `extents`; `None` if it is affine, hence inside by construction.
fn inside(body: &mut Body, at: &[Ix], extents: &[Number]) -> Option<Value> {
    let mut mask: Option<Value> = None;
    for (ix, &n) in at.iter().zip(extents) {
        let Ix::Computed(v) = *ix else { continue };
        let (zero, n) = (body.emit.i64(0), body.number(DType::I64, n));
        let low = body.emit.binary(BinaryOp::Ge, v, zero);
        let high = body.emit.lt(v, n);
        let both = body.emit.and(low, high);
        mask = Some(mask.map_or(both, |m| body.emit.and(m, both)));
    }
    mask
}

/// Variables with their values, and where those are stored.
pub(in crate::lower) type Written = SmallVec<[(Var, Lane, Index); 4]>;

pub(in crate::lower) fn are_affine(written: &Written) -> bool {
    written.iter().all(|(_, _, at)| at.iter().all(|ix| matches!(ix, Ix::Affine { .. })))
}

/// Those of the variables that a group stores which depend on `v`, itself among them.
fn following(graph: &Graph, v: Var, group: &Group) -> SmallVec<[Var; 4]> {
    let mut found: SmallVec<[Var; 8]> = smallvec![v];
    for &i in &group.members {
        let e = &graph.equations[i as usize];
        if e.inputs.iter().any(|a| matches!(a, Atom::Var(u) if found.contains(u))) {
            found.extend(e.outputs.iter().copied());
        }
    }
    group.stores.iter().copied().filter(|u| found.contains(u)).collect()
}
