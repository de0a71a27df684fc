//! Slices by Python's rule, and updates of the part of an array that a slice names.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::elementwise::Binary;
use crate::extents::{Place, Relations, kept, known, stated};
use crate::graph::Atom;
use crate::number::{Arithmetic, Extents, Number, Operation, Strided};
use crate::param::{Param, fields};
use crate::pointwise::{Index, Ix, Lane, Pointwise, and, select};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::view::view_rules;
use crate::prims::write::combined;
use crate::prims::{check_alike, cotangent, tangent_or_zeros, zeros};
use lazuli_kernel::{BinaryOp, DType, Error, Result, ScatterOp, Shape, Value, shape};
use smallvec::{SmallVec, smallvec};

/// `start:stop:step` along one axis, as in Python: negative positions count from the end, positions past an end are moved to it,
/// what is missing is the end that the step comes from or goes to. Resolved against the extent at each binding of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bound {
    pub start: Option<isize>,
    pub stop: Option<isize>,
    /// Not 0.
    pub step: isize,
}

impl Bound {
    /// The whole axis.
    pub const ALL: Bound = Bound { start: None, stop: None, step: 1 };

    pub fn range(start: usize, stop: usize) -> Self {
        Bound { start: Some(start as isize), stop: Some(stop as isize), step: 1 }
    }
    /// Whether it names all of any axis, in some order.
    fn is_whole(self) -> bool {
        self.start.is_none() && self.stop.is_none() && self.step.abs() == 1
    }
    /// Whether as many elements are left out on both sides of an axis of any other extent as of `n`, if some are left.
    fn keeps_widths(self, n: usize) -> bool {
        let by_ends = self.start.is_none_or(|n| n >= 0) && self.stop.is_none_or(|n| n < 0 || n == isize::MAX);
        self == Bound::ALL || by_ends && self.resolve(n).1 > 0
    }
    /// First position and number of elements on an axis of extent `n`.
    ///
    /// ```
    /// use lazuli_ir::prims::Bound;
    /// assert_eq!(Bound { start: Some(-3), stop: None, step: 2 }.resolve(10), (7, 2));
    /// assert_eq!(Bound { start: None, stop: None, step: -1 }.resolve(4), (3, 4));
    /// assert_eq!(Bound { start: Some(5), stop: Some(2), step: 1 }.resolve(10), (5, 0));
    /// ```
    pub fn resolve(self, n: usize) -> (usize, usize) {
        let n = n as isize;
        let (lowest, highest) = if self.step > 0 { (0, n) } else { (-1, n - 1) };
        let clamp = |p: isize| (if p < 0 { p.saturating_add(n) } else { p }).clamp(lowest, highest);
        let (first, last) = if self.step > 0 { (0, n) } else { (n - 1, -1) };
        let (start, stop) = (self.start.map_or(first, clamp), self.stop.map_or(last, clamp));
        let reach = if self.step > 0 { stop - start } else { start - stop };
        let count = if reach <= 0 { 0 } else { (reach as usize).div_ceil(self.step.unsigned_abs()) };
        (if count == 0 { start.clamp(0, n) as usize } else { start as usize }, count)
    }
}

/// `1:-1:2`, with what is missing (and a step of 1) left out.
impl Param for Bound {
    fn show(&self) -> String {
        let end = |p: Option<isize>| p.map_or(String::new(), |p| p.to_string());
        let step = if self.step == 1 { String::new() } else { format!(":{}", self.step) };
        format!("{}:{}{step}", end(self.start), end(self.stop))
    }
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let end = |part: &str| if part.is_empty() { Some(None) } else { part.parse().ok().map(Some) };
        let (start, stop) = (end(parts.next()?)?, end(parts.next()?)?);
        let step = parts.next().map_or(Some(1), |p| p.parse().ok())?;
        (step != 0 && parts.next().is_none()).then_some(Bound { start, stop, step })
    }
}

/// The part of an array that `bounds` (one per axis) name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    pub bounds: SmallVec<[Bound; 4]>,
}

/// Zeros of the extents `shape` with the input in the part that `bounds` (one per axis) name: the transpose of a slice of an array of that shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unslice {
    pub bounds: SmallVec<[Bound; 2]>,
    pub shape: SmallVec<[Dim; 4]>,
}

/// The target (input 0) with `update` (input 1, of exactly the slice's shape) combined into the part that `bounds` name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SliceUpdate {
    pub bounds: SmallVec<[Bound; 4]>,
    pub op: ScatterOp,
}

fn sliced(op: &str, bounds: &[Bound], a: &Aval) -> Result<Shape> {
    if bounds.len() != a.rank() {
        return Err(Error::index(op, format!("{} bounds for the {} axes of {a}", bounds.len(), a.rank())));
    }
    if bounds.iter().any(|b| b.step == 0) {
        return Err(Error::value(op, "a slice's step must not be 0"));
    }
    Ok(bounds.iter().zip(&a.shape).map(|(b, &n)| b.resolve(n).1).collect())
}

/// Input `k` is of the extents that bounds leave of these.
fn is_part(extents: &mut dyn Relations, k: usize, bounds: &[Bound], whole: &[Number]) {
    for (axis, (bound, &n)) in bounds.iter().zip(whole).enumerate() {
        let count = if bound.is_whole() { n } else { extents.of(Operation::Count(*bound), n) };
        extents.is(Place::Input(k, axis), count);
    }
}

fn batched<B: FromIterator<Bound>>(bounds: &[Bound]) -> B {
    std::iter::once(Bound::ALL).chain(bounds.iter().copied()).collect()
}

/// An index of an array as one of the part that bounds name, and where it lies within that; `None`: everywhere. `whole` are the extents of the array.
fn index_of_part(
    cx: &mut dyn Pointwise,
    bounds: &[Bound],
    at: &[Ix],
    whole: impl Fn(usize) -> Place,
) -> (Index, Option<Value>) {
    let (mut index, mut mask) = (Index::new(), None);
    for (axis, (bound, ix)) in bounds.iter().zip(at).enumerate() {
        if *bound == Bound::ALL {
            index.push(ix.clone());
            continue;
        }
        let n = cx.extent(whole(axis));
        let (start, count) = (
            cx.compute(Operation::Start(*bound), n, Number::ZERO),
            cx.compute(Operation::Count(*bound), n, Number::ZERO),
        );
        // Steps from the start, forwards or backwards.
        let direction = Number::fixed(bound.step.signum());
        let before = cx.product(start, Number::fixed(-direction.value));
        let steps = cx.affine(ix, direction, before);
        let stride = Number::fixed(bound.step.abs());
        if stride == Number::ONE && cx.equal(count, n) {
            index.push(steps);
            continue;
        }
        let p = cx.position(&steps);
        let end = cx.product(count, stride);
        let (zero, end) = (cx.emit().i64(0), cx.number(DType::I64, end));
        and(cx, &mut mask, BinaryOp::Ge, p, zero);
        and(cx, &mut mask, BinaryOp::Lt, p, end);
        if stride == Number::ONE {
            index.push(steps);
            continue;
        }
        let stride = cx.number(DType::I64, stride);
        let rest = cx.emit().binary(BinaryOp::Rem, p, stride);
        and(cx, &mut mask, BinaryOp::Eq, rest, zero);
        index.push(Ix::Computed(cx.emit().div(p, stride)));
    }
    (index, mask)
}

impl Primitive for Slice {
    fields!("slice" bounds);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        Ok(smallvec![Aval::new(inputs[0].dtype, sliced("slice", &self.bounds, inputs[0])?)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let (ct, from) = (cotangent(cotangents), &cx.avals[0].shape);
        let zero = b.like(ct, 0.0);
        if self.bounds.iter().all(|bound| bound.step == 1) {
            let keeps_widths = |(bound, &n): (&Bound, &usize)| bound.keeps_widths(n);
            if b.is_for_any_shapes() && !self.bounds.iter().zip(from).all(keeps_widths) {
                let shape = b.extents(from);
                return Ok(smallvec![Some(
                    b.op(Unslice { bounds: SmallVec::from_slice(&self.bounds), shape }, &[ct])?
                )]);
            }
            let (low, high) = self
                .bounds
                .iter()
                .zip(from)
                .map(|(bound, &n)| {
                    let (start, count) = bound.resolve(n);
                    (start, n - start - count)
                })
                .unzip();
            return Ok(smallvec![Some(b.op(crate::prims::Pad { low, high }, &[ct, zero])?)]);
        }
        let zeros = zeros(b, cx.avals[0].dtype, from)?;
        Ok(smallvec![Some(b.op(SliceUpdate { bounds: self.bounds.clone(), op: ScatterOp::Assign }, &[zeros, ct])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let whole = |axis: &usize| self.bounds[*axis].is_whole();
        (0..inputs[0].rank()).filter(whole).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)));
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        let parts = self.bounds.iter().enumerate().filter(|(_, bound)| !bound.is_whole());
        parts.for_each(|(axis, &bound)| {
            let n = extents.extent(Place::Input(0, axis));
            let count = extents.of(Operation::Count(bound), n);
            extents.is(Place::Output(axis), count);
        });
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        Some(smallvec![Place::Input(0, axis)])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(Slice { bounds: batched(&self.bounds) }, cx.inputs)?])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let mut index = Index::new();
        for (axis, (bound, ix)) in self.bounds.iter().zip(at).enumerate() {
            if *bound == Bound::ALL {
                index.push(ix.clone());
                continue;
            }
            let n = cx.extent(Place::Input(0, axis));
            let start = cx.compute(Operation::Start(*bound), n, Number::ZERO);
            index.push(cx.affine(ix, Number::fixed(bound.step), start));
        }
        cx.input(0, &index)
    }
    fn strided(&self, cx: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        let mut out = Strided { extents: output.into(), ..input.clone() };
        let is_empty = output.iter().any(|n| cx.equal(*n, Number::ZERO));
        for (axis, bound) in self.bounds.iter().enumerate() {
            if !is_empty {
                let start = cx.compute(Operation::Start(*bound), input.extents[axis], Number::ZERO);
                let skipped = cx.product(start, input.strides[axis]);
                out.offset = cx.sum(out.offset, skipped);
            }
            out.strides[axis] = cx.product(input.strides[axis], Number::fixed(bound.step));
        }
        Some(out)
    }
}

impl Primitive for Unslice {
    fields!("unslice" bounds, shape);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let whole = Aval::new(inputs[0].dtype, self.shape.iter().map(|d| d.resolve(shapes)).collect::<Shape>());
        let part = sliced("unslice", &self.bounds, &whole)?;
        if part != inputs[0].shape {
            let (part, got) = (shape::show(&part), shape::show(&inputs[0].shape));
            return Err(Error::value("unslice", format!("the slice of {whole} has shape {part}, the input {got}")));
        }
        Ok(smallvec![whole])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let t = cotangent(tangents);
        Ok(smallvec![Some(b.equation(self.clone(), &[t], primals.shapes)?[0].into())])
    }
    fn transpose(&self, b: &mut Builder, _: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(b.op(Slice { bounds: SmallVec::from_slice(&self.bounds) }, &[cotangent(cotangents)])?)])
    }
    fn same_extents(&self, _: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        stated(&self.shape, 0, same);
        let whole = |axis: &usize| self.bounds[*axis].is_whole();
        (0..output.rank()).filter(whole).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)));
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        let whole = extents.stated(&self.shape, 0);
        is_part(extents, 0, &self.bounds, &whole);
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        known(&self.shape, axis)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let unslice = Unslice { bounds: batched(&self.bounds), shape: cx.batched_dims(b, &self.shape) };
        Ok(smallvec![b.equation(unslice, cx.inputs, cx.shapes)?[0].into()])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let (index, mask) = index_of_part(cx, &self.bounds, at, Place::Output);
        match mask {
            Some(mask) => cx.input_masked(0, &index, mask),
            None => cx.input(0, &index),
        }
    }
}

impl Primitive for SliceUpdate {
    fields!("slice_update" bounds, op);
    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (target, update) = (inputs[0], inputs[1]);
        check_alike("slice_update", &[target, update])?;
        let part = sliced("slice_update", &self.bounds, target)?;
        if part != update.shape {
            let (part, got) = (shape::show(&part), shape::show(&update.shape));
            return Err(Error::value(
                "slice_update",
                format!("the slice of the target has shape {part}, the update {got}: broadcast the update first"),
            ));
        }
        Ok(smallvec![target.clone()])
    }
    /// The update within the slice, combined into the target; the target around it. For those who need no copy of the result in memory.
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let (index, mask) = index_of_part(cx, &self.bounds, at, |axis| Place::Input(0, axis));
        let update = match mask {
            Some(mask) => cx.input_masked(1, &index, mask),
            None => cx.input(1, &index),
        };
        if (self.op, mask) == (ScatterOp::Assign, None) {
            return update;
        }
        let around = cx.input(0, at);
        let inside = match self.op {
            ScatterOp::Assign => update,
            op => combined(cx.emit(), op, around, update),
        };
        match mask {
            Some(mask) => select(cx.emit(), mask, inside, around),
            None => inside,
        }
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let (target, update) = (primals.inputs[0], primals.inputs[1]);
        let slice = |b: &mut Builder, a: Atom| b.op(Slice { bounds: self.bounds.clone() }, &[a]);
        let zero = b.like(target, 0.0);
        let around = tangent_or_zeros(b, tangents[0], target)?;
        let part = match (self.op, tangents[1]) {
            (ScatterOp::Add, None) => return Ok(smallvec![tangents[0]]),
            (ScatterOp::Add, Some(t)) => return Ok(smallvec![Some(b.op(self.clone(), &[around, t])?)]),
            (ScatterOp::Assign, t) => tangent_or_zeros(b, t, update)?,
            (ScatterOp::Mul, t) => {
                let inner = slice(b, around)?;
                let left = b.mul(inner, update)?;
                match t {
                    Some(t) => {
                        let old = slice(b, target)?;
                        let right = b.mul(t, old)?;
                        b.add(left, right)?
                    }
                    None => left,
                }
            }
            // Target and update share where they are equal.
            (ScatterOp::Min | ScatterOp::Max, t) => {
                let (old, new, inner) = (slice(b, target)?, slice(b, primals.outputs[0])?, slice(b, around)?);
                let (kept, taken) = (b.binary(Binary::Eq, old, new)?, b.binary(Binary::Eq, update, new)?);
                let dtype = b.dtype(target);
                let (m, n) = (b.cast(kept, dtype)?, b.cast(taken, dtype)?);
                let count = b.add(m, n)?;
                let left = b.select(kept, inner, zero)?;
                let sum = match t {
                    Some(t) => {
                        let right = b.select(taken, t, zero)?;
                        b.add(left, right)?
                    }
                    None => left,
                };
                b.div(sum, count)?
            }
        };
        let assign = SliceUpdate { bounds: self.bounds.clone(), op: ScatterOp::Assign };
        Ok(smallvec![Some(b.op(assign, &[around, part])?)])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        let mut nothing = None;
        let target = match self.op {
            _ if !cx.is_linear(0) => None,
            ScatterOp::Add => Some(ct),
            ScatterOp::Assign => {
                let zeros = *nothing.insert(zeros(b, cx.avals[1].dtype, &cx.avals[1].shape)?);
                Some(b.op(self.clone(), &[ct, zeros])?)
            }
            _ => return Err(Error::internal("slice_update", "only assignment and addition are linear")),
        };
        // It says of what shape the zeros are, too.
        let part = b.op(Slice { bounds: self.bounds.clone() }, &[ct])?;
        nothing.into_iter().for_each(|zeros| b.alike(zeros, part));
        Ok(smallvec![target, cx.is_linear(1).then_some(part)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank(), same);
        let whole = (0..inputs[0].rank()).filter(|&axis| self.bounds[axis].is_whole());
        whole.for_each(|axis| same(Place::Input(1, axis), Place::Input(0, axis)));
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let whole = extents.axes(0, 0..inputs[0].rank());
        is_part(extents, 1, &self.bounds, &whole);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.batch_all(b)?;
        Ok(smallvec![b.op(SliceUpdate { bounds: batched(&self.bounds), op: self.op }, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Update { op: self.op }
    }
    fn part_at(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Index {
        let along = |(axis, (bound, ix)): (usize, (&Bound, &Ix))| {
            let n = cx.extent(Place::Input(0, axis));
            let start = cx.compute(Operation::Start(*bound), n, Number::ZERO);
            cx.affine(ix, Number::fixed(bound.step), start)
        };
        self.bounds.iter().zip(at).enumerate().map(along).collect()
    }
}
