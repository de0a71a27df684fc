//! Padding and concatenation.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, Relations};
use crate::graph::Atom;
use crate::number::{Extents, Number};
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise, and, select};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::{
    Bound, Part, Reduce, ReduceOp, Slice, check_alike, check_axis, cotangent, expand_dims, tangent_or_zeros, zeros,
};
use lazuli_kernel::{BinaryOp, DType, Error, Result, Scalar, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// The array (input 0) with `low` copies of a value (input 1, a scalar of the same dtype) in front and `high` behind it along each axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pad {
    pub low: SmallVec<[usize; 4]>,
    pub high: SmallVec<[usize; 4]>,
}

/// Its inputs one after the other along `axis`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Concatenate {
    pub axis: usize,
}

impl Pad {
    /// Bools of the output's shape: true where the padding value stands. `inside`: false, of the shape of the array.
    fn outside(&self, b: &mut Builder, inside: Atom) -> Result<Atom> {
        b.op(self.clone(), &[inside, Scalar::bool(true).into()])
    }
}

impl Concatenate {
    /// The transpose for any shapes: parts of the extents that the operands have.
    fn parts(&self, b: &mut Builder, cx: TransposeCx, ct: Atom) -> Result<Tangents> {
        let (axis, count) = (self.axis, cx.avals.len());
        let mut out = Tangents::new();
        for index in 0..count {
            if !cx.is_linear(index) {
                out.push(None);
                continue;
            }
            let extents = cx.avals.iter().map(|aval| b.extent(aval.shape[axis])).collect();
            let part = b.op(Part { axis, index, count, extents }, &[ct])?;
            for (k, &operand) in cx.operands.iter().enumerate() {
                b.is_extent_of(part, k, operand, axis);
            }
            out.push(Some(part));
        }
        Ok(out)
    }
}

impl Primitive for Pad {
    fields!("pad" low, high);
    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (a, value) = (inputs[0], inputs[1]);
        check_alike("pad", inputs)?;
        if value.rank() != 0 {
            return Err(Error::value("pad", format!("the padding value must be a scalar, not {value}")));
        }
        if self.low.len() != a.rank() || self.high.len() != a.rank() {
            return Err(Error::value("pad", format!("{} widths for the {} axes of {a}", self.low.len(), a.rank())));
        }
        // What is too large to count is too large to hold, which is found later.
        let extent = |((n, low), high): ((&usize, &usize), &usize)| n.saturating_add(*low).saturating_add(*high);
        let shape: Shape = a.shape.iter().zip(&self.low).zip(&self.high).map(extent).collect();
        Ok(smallvec![Aval::new(a.dtype, shape)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let array = tangent_or_zeros(b, tangents[0], primals.inputs[0])?;
        let value = tangent_or_zeros(b, tangents[1], primals.inputs[1])?;
        Ok(smallvec![Some(b.op(self.clone(), &[array, value])?)])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let (ct, from) = (cotangent(cotangents), &cx.avals[0].shape);
        let array = match cx.is_linear(0) {
            true => {
                // What is left counting from both ends, where the number of elements is not to be written down.
                let ends = |low: usize, high: usize| Bound {
                    start: (low > 0).then_some(low as isize),
                    stop: (high > 0).then_some(-(high as isize)),
                    step: 1,
                };
                let bound = |(&n, (&low, &high)): (&usize, (&usize, &usize))| match b.is_for_any_shapes() {
                    true => ends(low, high),
                    false => Bound::range(low, low + n),
                };
                let bounds = from.iter().zip(self.low.iter().zip(&self.high)).map(bound).collect();
                Some(b.op(Slice { bounds }, &[ct])?)
            }
            false => None,
        };
        let value = match cx.is_linear(1) {
            true => {
                let inside = zeros(b, DType::Bool, from)?;
                let outside = self.outside(b, inside)?;
                let zero = b.like(ct, 0.0);
                let border = b.select(outside, ct, zero)?;
                let axes = (0..from.len()).collect();
                Some(b.op(Reduce { op: ReduceOp::Sum, axes, keepdims: false }, &[border])?)
            }
            false => None,
        };
        Ok(smallvec![array, value])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let same_axis = |axis: &usize| self.low[*axis] == 0 && self.high[*axis] == 0;
        (0..inputs[0].rank()).filter(same_axis).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)));
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        for axis in 0..inputs[0].rank() {
            let n = extents.extent(Place::Input(0, axis));
            let [low, high] = [&self.low, &self.high].map(|widths| Number::fixed(widths[axis] as isize));
            let padded = extents.sum(&[n, low, high]);
            extents.is(Place::Output(axis), padded);
        }
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        Some(smallvec![Place::Input(0, axis)])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let array = cx.batch(b, 0)?;
        let widths = |w: &SmallVec<[usize; 4]>| std::iter::once(0).chain(w.iter().copied()).collect();
        let pad = Pad { low: widths(&self.low), high: widths(&self.high) };
        if !cx.batched[1] {
            return Ok(smallvec![b.op(pad, &[array, cx.inputs[1]])?]);
        }
        // Each point of the batch has a value of its own: broadcast it and select it outside.
        let whole: Shape = b.shape(array).into();
        let inside = zeros(b, DType::Bool, &whole)?;
        b.alike(inside, array);
        let outside = pad.outside(b, inside)?;
        let zero = b.like(array, 0.0);
        let inside = b.op(pad, &[array, zero])?;
        let value = expand_dims(b, cx.inputs[1], &(1..=self.low.len()).collect::<Vec<_>>())?;
        Ok(smallvec![b.select(outside, value, inside)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let (mut index, mut mask) = (Index::new(), None);
        for (axis, ix) in at.iter().enumerate() {
            let (low, high) = (self.low[axis], self.high[axis]);
            let ix = cx.affine(ix, Number::ONE, Number::fixed(-(low as isize)));
            if low > 0 {
                let p = cx.position(&ix);
                let zero = cx.emit().i64(0);
                and(cx, &mut mask, BinaryOp::Ge, p, zero);
            }
            if high > 0 {
                let p = cx.position(&ix);
                let n = cx.extent(Place::Input(0, axis));
                let n = cx.number(DType::I64, n);
                and(cx, &mut mask, BinaryOp::Lt, p, n);
            }
            index.push(ix);
        }
        let Some(mask) = mask else { return cx.input(0, &index) };
        let inside = cx.input_masked(0, &index, mask);
        let value = cx.input(1, &[]);
        select(cx.emit(), mask, inside, value)
    }
}

impl Primitive for Concatenate {
    fields!("concatenate" axis);
    fn arity(&self) -> Arity {
        Arity::AtLeast(0)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let Some(&first) = inputs.first() else {
            return Err(Error::value("concatenate", "needs at least one array"));
        };
        check_alike("concatenate", inputs)?;
        check_axis("concatenate", self.axis, first)?;
        let mut out = first.clone();
        out.shape[self.axis] = 0;
        for a in inputs {
            let fits =
                a.rank() == first.rank() && (0..a.rank()).all(|i| i == self.axis || a.shape[i] == first.shape[i]);
            if !fits {
                let (one, other) = (shape::show(&first.shape), shape::show(&a.shape));
                return Err(Error::value(
                    "concatenate",
                    format!(
                        "shapes {one} and {other} do not fit: all extents but that of axis {} must be equal",
                        self.axis
                    ),
                ));
            }
            out.shape[self.axis] += a.shape[self.axis];
        }
        Ok(smallvec![out])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let mut parts: SmallVec<[Atom; 4]> = SmallVec::new();
        for (&input, &tangent) in primals.inputs.iter().zip(tangents) {
            parts.push(tangent_or_zeros(b, tangent, input)?);
        }
        Ok(smallvec![Some(b.op(self.clone(), &parts)?)])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        if b.is_for_any_shapes() {
            return self.parts(b, cx, ct);
        }
        let (mut from, mut out) = (0, Tangents::new());
        for (k, aval) in cx.avals.iter().enumerate() {
            let to = from + aval.shape[self.axis];
            let mut bounds: SmallVec<[Bound; 4]> = SmallVec::from_elem(Bound::ALL, aval.rank());
            bounds[self.axis] = Bound::range(from, to);
            out.push(if cx.is_linear(k) { Some(b.op(Slice { bounds }, &[ct])?) } else { None });
            from = to;
        }
        Ok(out)
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        for (k, a) in inputs.iter().enumerate() {
            let others = (0..a.rank()).filter(|&axis| axis != self.axis);
            others.for_each(|axis| same(Place::Input(k, axis), Place::Output(axis)));
        }
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let parts: Extents = (0..inputs.len()).map(|k| extents.extent(Place::Input(k, self.axis))).collect();
        let n = extents.sum(&parts);
        extents.is(Place::Output(self.axis), n);
    }
    fn extent_follows_from(&self, inputs: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        Some((0..inputs.len()).map(|k| Place::Input(k, axis)).collect())
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.batch_all(b)?;
        Ok(smallvec![b.op(Concatenate { axis: self.axis + 1 }, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    /// Where the position lies within an input, that input; the last one elsewhere.
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        // Of each part its input, where it begins and ends, and whether it is the first and the last.
        let mut parts: SmallVec<[(usize, Number, Number); 4]> = SmallVec::new();
        let mut end = Number::ZERO;
        for k in 0..cx.inputs() {
            let n = cx.extent(Place::Input(k, self.axis));
            let start = end;
            end = cx.sum(end, n);
            if n.value > 0 || parts.is_empty() && k + 1 == cx.inputs() {
                parts.push((k, start, end));
            }
        }
        let here = cx.position(&at[self.axis]);
        let mut out: Option<Lane> = None;
        for (number, &(k, start, stop)) in parts.iter().enumerate().rev() {
            let mut index: Index = at.into();
            let before = cx.negative(start);
            index[self.axis] = cx.affine(&at[self.axis], Number::ONE, before);
            let mut mask = None;
            if number > 0 {
                let start = cx.number(DType::I64, start);
                and(cx, &mut mask, BinaryOp::Ge, here, start);
            }
            let mut before = None;
            if number + 1 < parts.len() {
                let stop = cx.number(DType::I64, stop);
                and(cx, &mut mask, BinaryOp::Lt, here, stop);
                and(cx, &mut before, BinaryOp::Lt, here, stop);
            }
            let lane = match mask {
                Some(mask) => cx.input_masked(k, &index, mask),
                None => cx.input(k, &index),
            };
            out = Some(match (out, before) {
                (Some(rest), Some(before)) => select(cx.emit(), before, lane, rest),
                _ => lane,
            });
        }
        out.expect("at least one part")
    }
}
