//! Parts that an axis is cut into: what the derivative of a concatenation reads, and equal parts.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::extents::{Place, Relations};
use crate::graph::Atom;
use crate::number::{Arithmetic, Extents, Number, Operation, Strided};
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::view::view_rules;
use crate::prims::{Concatenate, Pad, check_axis, cotangent, zeros};
use lazuli_kernel::{Error, Result};
use smallvec::{SmallVec, smallvec};

/// Part number `index` of `count` that an axis is cut into: of equal ones, or, if `extents` are stated (of each part one), of these.
///
/// It says for all shapes what a slice would for known ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    pub axis: usize,
    pub index: usize,
    pub count: usize,
    pub extents: SmallVec<[Dim; 4]>,
}

impl Part {
    /// Where it begins on an axis of extent `n`, and its extent.
    pub(crate) fn resolve(&self, n: usize, shapes: &[&Aval]) -> (usize, usize) {
        match self.extents.is_empty() {
            true => (self.index * (n / self.count), n / self.count),
            false => {
                let before = self.extents[..self.index].iter().map(|d| d.resolve(shapes)).sum();
                (before, self.extents[self.index].resolve(shapes))
            }
        }
    }
}

impl Part {
    /// The extents that are stated of the parts before, where those of shape operands are these.
    fn before(&self, mut extent: impl FnMut(usize, usize) -> Number) -> Extents {
        let mut extent = |dim: &Dim| match *dim {
            Dim::Of { operand, axis } => extent(operand as usize, axis as usize),
            Dim::Known(n) | Dim::Open(n) => Number::fixed(n as isize),
        };
        self.extents.iter().take(self.index).map(&mut extent).collect()
    }
    /// Where it begins on an axis of extent `n`.
    fn start(&self, cx: &mut dyn Arithmetic, n: Number, before: &[Number]) -> Number {
        if self.extents.is_empty() {
            let extent = cx.compute(Operation::Quotient, n, Number::fixed(self.count as isize));
            return cx.product(extent, Number::fixed(self.index as isize));
        }
        before.iter().fold(Number::ZERO, |start, extent| cx.sum(start, *extent))
    }
}

impl Primitive for Part {
    fields!("part" axis, index, count, extents);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.extents
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let mut out = inputs[0].clone();
        check_axis("part", self.axis, &out)?;
        if self.index >= self.count || !self.extents.is_empty() && self.extents.len() != self.count {
            let message =
                format!("part {} of {}, of which {} extents are stated", self.index, self.count, self.extents.len());
            return Err(Error::internal("part", message));
        }
        let n = out.shape[self.axis];
        let extents = self.extents.iter().map(|d| d.resolve(shapes));
        if self.extents.is_empty() {
            if !n.is_multiple_of(self.count) {
                return Err(Error::value(
                    "part",
                    format!("an axis of extent {n} can't be cut into {} equal parts", self.count),
                ));
            }
        } else if extents.clone().sum::<usize>() != n {
            let extents: Vec<usize> = extents.collect();
            return Err(Error::value(
                "part",
                format!("an axis of extent {n} can't be cut into parts of extents {extents:?}"),
            ));
        }
        out.shape[self.axis] = self.resolve(n, shapes).1;
        Ok(smallvec![out])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        let aval = b.aval(ct);
        if !b.is_for_any_shapes() {
            let shapes: SmallVec<[Aval; 4]> = cx.shapes.iter().map(|&v| b.aval(v.into())).collect();
            let n = cx.avals[0].shape[self.axis];
            let (start, extent) = self.resolve(n, &shapes.iter().collect::<SmallVec<[&Aval; 4]>>());
            let mut low: SmallVec<[usize; 4]> = SmallVec::from_elem(0, aval.rank());
            let mut high = low.clone();
            (low[self.axis], high[self.axis]) = (start, n - start - extent);
            let zero = b.like(ct, 0.0);
            return Ok(smallvec![Some(b.op(Pad { low, high }, &[ct, zero])?)]);
        }
        let mut parts: SmallVec<[Atom; 4]> = SmallVec::new();
        for k in 0..self.count {
            parts.push(match self.extents.get(k) {
                _ if k == self.index => ct,
                None => {
                    let nothing = zeros(b, aval.dtype, &aval.shape)?;
                    b.alike(nothing, ct);
                    nothing
                }
                Some(&extent) => {
                    let mut shape: SmallVec<[Dim; 4]> = b.extents(&aval.shape);
                    shape[self.axis] = extent;
                    let zero = b.like(ct, 0.0);
                    b.equation(crate::prims::Broadcast { shape }, &[zero], cx.shapes)?[0].into()
                }
            });
        }
        Ok(smallvec![Some(b.op(Concatenate { axis: self.axis }, &parts)?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let others = (0..inputs[0].rank()).filter(|&axis| axis != self.axis || self.count == 1);
        others.for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)));
        if let Some(&Dim::Of { operand, axis }) = self.extents.get(self.index) {
            same(Place::Shape(operand as usize, axis as usize), Place::Output(self.axis));
        }
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        let n = extents.extent(Place::Input(0, self.axis));
        let (part, all) = match self.extents.is_empty() {
            true => {
                let count = Number::fixed(self.count as isize);
                let part = extents.compute(Operation::Quotient, n, count);
                (part, extents.product(&[part, count]))
            }
            false => {
                let parts: Extents = self.extents.iter().map(|&dim| extents.dim(dim)).collect();
                (parts[self.index], extents.sum(&parts))
            }
        };
        extents.equal(all, n);
        extents.is(Place::Output(self.axis), part);
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        match self.extents.get(self.index) {
            _ if axis != self.axis => None,
            None => Some(smallvec![Place::Input(0, axis)]),
            Some(Dim::Known(_)) => Some(SmallVec::new()),
            Some(_) => None,
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let part = Part { axis: self.axis + 1, extents: cx.dims(&self.extents), ..self.clone() };
        Ok(smallvec![b.equation(part, cx.inputs, cx.shapes)?[0].into()])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let n = cx.extent(Place::Input(0, self.axis));
        let before = self.before(|operand, axis| cx.extent(Place::Shape(operand, axis)));
        let start = self.start(cx, n, &before);
        let mut index: Index = at.into();
        index[self.axis] = cx.affine(&at[self.axis], Number::ONE, start);
        cx.input(0, &index)
    }
    fn strided(
        &self,
        cx: &mut dyn Arithmetic,
        input: &Strided,
        output: &[Number],
        shapes: &[Extents],
    ) -> Option<Strided> {
        let mut out = Strided { extents: output.into(), ..input.clone() };
        if !output.iter().any(|n| cx.equal(*n, Number::ZERO)) {
            let before = self.before(|operand, axis| shapes[operand][axis]);
            let start = self.start(cx, input.extents[self.axis], &before);
            let skipped = cx.product(start, input.strides[self.axis]);
            out.offset = cx.sum(out.offset, skipped);
        }
        Some(out)
    }
}
