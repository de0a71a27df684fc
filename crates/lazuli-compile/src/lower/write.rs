//! Writes into a part of an array: at computed positions, and into slices.

use super::body::{Access, Body, Part};
use super::finish::{finish, finish_together};
use super::{Group, Lowerer, Place, Scattered, Var, Work, store_lane};
use lazuli_ir::number::fixed;
use lazuli_ir::prim::ScatterPoint;
use lazuli_ir::{Atom, Aval, Error, Extents, Graph, Index, Ix, Lane, Number, Prim, Result, Shape, Term, small};
use lazuli_kernel::{BinaryOp, DType, Inst, Layout, Nest, Role, ScatterOp, Store, Value, shape};
use smallvec::{SmallVec, smallvec};

impl Lowerer<'_> {
    /// What a group computes from the result `v` of a write, as if that were its target: at each of its points, which are those of `v`. None if there is nothing, or if it needs `v` at
    /// other points.
    fn map_of_target(&mut self, anchor: u32, v: Var, group: &Group) -> Option<(Body, Written)> {
        let graph = self.graph;
        let space = &self.aval(v).shape;
        let stores = group.stores.as_slice();
        let fits = |&u: &Var| self.aval(u).size() == self.aval(v).size();
        if stores == [v] || self.aval(v).size() == 0 || !stores.iter().all(fits) {
            return None;
        }
        if stores.iter().any(|&u| self.places.of(graph, u).is_some()) {
            return None;
        }
        let mut body = self.body();
        let extents = fixed(space);
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
            let point = body.begin(&fixed(space), &[]);
            let ScatterPoint { at, value } =
                body.with(graph, &mut self.places, anchor, |cx| equation.prim.scatter(cx, &point));
            let mask = inside(&mut body, &at, &aval.shape);
            let at = body.within(v, &at, &aval.shape, false);
            body.define(v, at.clone(), value);
            body.give(v);
            let value = self.eval_all(&mut body, &[u], &at, &fixed(&aval.shape))[0].1.real();
            if body.is_stray {
                return false;
            }
            let strides = body.row_strides(&fixed(&aval.shape));
            let index = body.linear(&at, &strides, 1, Number::ZERO);
            updates.push((u, body, index, mask, value));
        }
        let stores = self.store(&mut everywhere, &written);
        self.launch(everywhere, Nest::Map { stores });
        for (u, mut body, index, mask, value) in updates {
            let strides = SmallVec::from_elem(0, body.loops.len());
            let access = Access { buffer: self.stored(u).buffer, offset: 0, strides, len: aval.size() };
            let target = body.access(access, self.aval(u).dtype, Role::InOut);
            self.launch(body, Nest::Scatter { op: ScatterOp::Assign, target, index, mask, value });
        }
        true
    }

    /// The same of an update of a slice.
    fn update_onwards(&mut self, anchor: u32, op: ScatterOp, group: &Group) -> bool {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let Some((mut everywhere, written)) = self.map_of_target(anchor, v, group) else { return false };
        let mut body = self.body();
        let part = self.input_aval(anchor, 1).shape;
        let point = body.begin(&fixed(&part), &[]);
        let Some(at) = of_part(&equation.prim, &aval.shape, &part, &point) else { return false };
        let value = match op {
            ScatterOp::Assign => body.operand(graph, &mut self.places, anchor, 1, &point),
            _ => body.with(graph, &mut self.places, anchor, |cx| equation.prim.pointwise(cx, &at)),
        };
        body.define(v, at.clone(), value);
        body.give(v);
        let updates = self.eval_all(&mut body, &following(graph, v, group), &at, &fixed(&aval.shape));
        if body.is_stray || !are_affine(&updates) {
            return false;
        }
        let stores = self.store(&mut everywhere, &written);
        self.launch(everywhere, Nest::Map { stores });
        let mut stores = Vec::new();
        for (u, lane, at) in updates {
            let place = self.stored(u);
            store_lane(&mut body, None, &place, lane, &at, &mut stores);
        }
        self.launch(body, Nest::Map { stores });
        true
    }

    /// The place of what has just been stored.
    fn stored(&mut self, v: Var) -> Place {
        self.places.of(self.graph, v).expect("it has just been stored").clone()
    }

    /// A copy of the target, then its updates one by one. Half floats are combined in f32 and round once, at the end. What is combined goes on into the map that follows.
    pub(super) fn scatter(&mut self, anchor: u32, op: ScatterOp, space: &Shape, group: &Group) -> Result<()> {
        if op == ScatterOp::Assign && self.scatter_onwards(anchor, space, group) {
            return Ok(());
        }
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let half = matches!(aval.dtype, DType::F16 | DType::BF16) && op != ScatterOp::Assign;
        let wide = Aval::new(if half { DType::F32 } else { aval.dtype }, aval.shape.clone());
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
        if op != ScatterOp::Assign && streams == 1 && self.combine_onwards(anchor, op, space, &wide, group) {
            return Ok(());
        }
        let place = self.fresh(aval);
        let to = if half { self.fresh(&wide) } else { place.clone() };
        self.copy_input(anchor, &to, wide.dtype);
        for stream in 0..streams {
            let (body, nest) = self.updates(anchor, op, space, &to, wide.dtype, stream);
            self.launch(body, nest);
        }
        if half {
            self.convert(&to, DType::F32, &place, aval.dtype);
        }
        self.places.set(v, place);
        self.maps(group)
    }

    /// The updates of what lies at `to`, in this dtype; of complex numbers one part.
    fn updates(
        &mut self,
        anchor: u32,
        op: ScatterOp,
        space: &Shape,
        to: &Place,
        dtype: DType,
        part: usize,
    ) -> (Body, Nest) {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let parts = if dtype.is_complex() { 2 } else { 1 };
        let mut body = self.body();
        let at = body.begin(&fixed(space), &[]);
        let ScatterPoint { at, value } =
            body.with(graph, &mut self.places, anchor, |cx| equation.prim.scatter(cx, &at));
        let mask = inside(&mut body, &at, &to.layout.shape);
        let strides: Extents = small(to.layout.strides.iter().map(|&stride| Number::fixed(stride)));
        let index = body.linear(&at, &strides, parts as isize, Number::fixed(part as isize));
        let value = match value {
            Lane::Complex(re, im) => [re, im][part],
            Lane::Real(x) => body.emit.cast(dtype, x),
        };
        let strides = SmallVec::from_elem(0, body.loops.len());
        let access = Access { buffer: to.buffer, offset: 0, strides, len: to.layout.size() * parts };
        let dtype = body.emit.dtype(value);
        let target = body.access(access, dtype, Role::InOut);
        (body, Nest::Scatter { op, target, index, mask, value })
    }

    /// Updates that are combined with what stands at their positions, where the result goes on into a map at its own points: one step, which can do both
    /// part by part of the result. False if that is not possible, and nothing has been done.
    fn combine_onwards(&mut self, anchor: u32, op: ScatterOp, space: &Shape, wide: &Aval, group: &Group) -> bool {
        let graph = self.graph;
        let v = graph.equations[anchor as usize].outputs[0];
        let stores = group.stores.as_slice();
        if stores == [v] || wide.size() == 0 || shape::size(space) == 0 {
            return false;
        }
        let result = self.fresh(wide);
        let Some(epilogue) = self.epilogue(v, None, &result, wide.dtype, stores) else { return false };
        let target = self.input_into(anchor, &result, wide.dtype);
        let (updates, nest) = self.updates(anchor, op, space, &result, wide.dtype, 0);
        // Until here nothing that the group stores has a place: what it needs of that it has computed.
        let (epilogue, stores) = self.end_epilogue(epilogue, stores);
        let (updates, _) = finish(&updates, nest, false);
        let [target, last] = finish_together([(&target.0, target.1), (&epilogue, Nest::Map { stores })]);
        self.spare = Some(epilogue);
        let launches = [target, updates, last];
        self.work.push(Work::Scatter(Box::new(Scattered { result: result.buffer, launches })));
        true
    }

    /// A copy of the target, then a strided map over the part that is updated.
    pub(super) fn update(&mut self, anchor: u32, op: ScatterOp, group: &Group) -> Result<()> {
        if self.update_onwards(anchor, op, group) {
            return Ok(());
        }
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let place = self.fresh(aval);
        self.copy_input(anchor, &place, aval.dtype);
        let part = self.input_aval(anchor, 1).shape;
        let layout = equation.prim.layout(&place.layout, &part, &[]).ok_or_else(|| {
            Error::internal(equation.prim.name(), "an update states where its part lies in a row-contiguous target")
        })?;
        let target = Place { buffer: place.buffer, layout };
        let mut body = self.body();
        let at = body.begin(&fixed(&part), &[]);
        let update = body.operand(graph, &mut self.places, anchor, 1, &at);
        let mut stores = Vec::new();
        match op {
            ScatterOp::Assign => store_lane(&mut body, None, &target, update, &at, &mut stores),
            _ => combine_lane(&mut body, &target, op, update, &at, &mut stores),
        }
        self.launch(body, Nest::Map { stores });
        self.places.set(v, place);
        self.maps(group)
    }
}

/// Stores what stands at an index combined with an update.
fn combine_lane(body: &mut Body, place: &Place, op: ScatterOp, update: Lane, at: &[Ix], stores: &mut Vec<Store>) {
    let binary = op.binary().expect("what is assigned is stored as it is");
    match update {
        Lane::Real(x) => {
            let dtype = body.emit.dtype(x);
            let operand = body.walked(None, place, at, Part::WHOLE, dtype, Role::InOut);
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
            let operands = Part::COMPLEX.map(|part| body.walked(None, place, at, part, DType::F32, Role::InOut));
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
fn inside(body: &mut Body, at: &[Ix], extents: &[usize]) -> Option<Value> {
    let mut mask: Option<Value> = None;
    for (ix, &n) in at.iter().zip(extents) {
        let Ix::Computed(v) = *ix else { continue };
        let (zero, n) = (body.emit.i64(0), body.number(DType::I64, Number::fixed(n as isize)));
        let low = body.emit.binary(BinaryOp::Ge, v, zero);
        let high = body.emit.lt(v, n);
        let both = body.emit.and(low, high);
        mask = Some(mask.map_or(both, |m| body.emit.and(m, both)));
    }
    mask
}

/// Variables with their values, and where those are stored.
pub(super) type Written = SmallVec<[(Var, Lane, Index); 4]>;

pub(super) fn are_affine(written: &Written) -> bool {
    written.iter().all(|(_, _, at)| at.iter().all(|ix| matches!(ix, Ix::Affine { .. })))
}

/// The index in an array of shape `of` of a point of the part that an update names.
fn of_part(prim: &Prim, of: &Shape, part: &Shape, point: &[Ix]) -> Option<Index> {
    let along = |axis: usize| {
        let mut layout = Layout { strides: SmallVec::from_elem(0, of.len()), ..Layout::row(of.clone()) };
        layout.strides[axis] = 1;
        let Layout { offset, strides, .. } = prim.layout(&layout, part, &[])?;
        let Ix::Affine { terms, .. } = &point[axis] else { return None };
        let scaled = |t: &Term| Term { factor: Number::fixed(t.factor.value * strides[axis]), ..*t };
        Some(Ix::Affine { constant: Number::fixed(offset), terms: small(terms.iter().map(scaled)) })
    };
    (0..of.len()).map(along).collect()
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
