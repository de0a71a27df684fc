//! Views that regroup axes: the elements in the same row-major order under other extents.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::view::view_rules;
use crate::prims::{check_axis, cotangent};
use lazuli_kernel::{BinaryOp, Error, Layout, Result, Scalar, Shape, Strides, shape};
use smallvec::{SmallVec, smallvec};

/// The same elements in row-major order with extents `shape`, of which the one at axis `infer` is what the number of elements leaves
/// (its entry in `shape` is not read).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reshape {
    pub shape: SmallVec<[Dim; 4]>,
    pub infer: Option<usize>,
}

/// Merges the axes `start..=end` into one. A scalar becomes an array of one element (`start` and `end` are 0).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flatten {
    pub start: usize,
    pub end: usize,
}

/// Splits an axis into axes of the extents `shape`, of which the one numbered `infer` is what the axis' extent leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unflatten {
    pub axis: usize,
    pub shape: SmallVec<[Dim; 4]>,
    pub infer: Option<usize>,
}

/// Extents whose product is `size`, or an error for which `say` gives the words.
fn resolve(
    op: &str,
    size: usize,
    dims: &[Dim],
    infer: Option<usize>,
    shapes: &[&Aval],
    say: impl Fn(&[usize]) -> String,
) -> Result<Shape> {
    let mut to: Shape = dims.iter().map(|d| d.resolve(shapes)).collect();
    if let Some(axis) = infer {
        to[axis] = 1;
        match shape::size(&to) {
            0 => return Err(Error::value(op, "cannot infer an extent where another one is 0: write it out")),
            known => to[axis] = size / known,
        }
    }
    if shape::size(&to) == size { Ok(to) } else { Err(Error::value(op, say(&to))) }
}

impl Primitive for Reshape {
    fields!("reshape" shape, infer);
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        let to = resolve("reshape", a.size(), &self.shape, self.infer, shapes, |to| {
            let (from, to) = (shape::show(&a.shape), shape::show(to));
            format!(
                "cannot reshape an array of size {} and shape {from} into shape {to}: the sizes must agree",
                a.size()
            )
        })?;
        Ok(smallvec![Aval::new(a.dtype, to)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(reshape(b, cotangent(cotangents), &cx.avals[0].shape)?)])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let shape = std::iter::once(Dim::Known(cx.size)).chain(cx.dims(&self.shape)).collect();
        let batched = Reshape { shape, infer: self.infer.map(|axis| axis + 1) };
        let operand = cx.batch_all(b)?[0];
        Ok(smallvec![b.equation(batched, &[operand], cx.shapes)?[0].into()])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        regroup(cx, at)
    }
    fn layout(&self, input: &Layout, output: &[usize]) -> Option<Layout> {
        regroup_layout(input, output)
    }
}

impl Primitive for Flatten {
    fields!("flatten" start, end);
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        let mut shape = a.shape.clone();
        if shape.is_empty() {
            shape.push(1);
        }
        if self.start > self.end || self.end >= shape.len() {
            let (start, end) = (self.start, self.end);
            return Err(Error::index(
                "flatten",
                format!("axes {start} to {end} are not a range of axes of an array with {} dimensions", a.rank()),
            ));
        }
        let merged = shape[self.start..=self.end].iter().product();
        shape.drain(self.start..=self.end);
        shape.insert(self.start, merged);
        Ok(smallvec![Aval::new(a.dtype, shape)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        let from = &cx.avals[0].shape;
        if from.is_empty() {
            return Ok(smallvec![Some(reshape(b, ct, from)?)]);
        }
        let shape = from[self.start..=self.end].iter().map(|&n| Dim::Known(n)).collect();
        Ok(smallvec![Some(b.op(Unflatten { axis: self.start, shape, infer: None }, &[ct])?)])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        if b.rank(cx.inputs[0]) == 1 {
            return Ok(smallvec![crate::prims::expand_dims(b, cx.inputs[0], &[1])?]);
        }
        Ok(smallvec![b.op(Flatten { start: self.start + 1, end: self.end + 1 }, cx.inputs)?])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        regroup(cx, at)
    }
    fn layout(&self, input: &Layout, output: &[usize]) -> Option<Layout> {
        regroup_layout(input, output)
    }
}

impl Primitive for Unflatten {
    fields!("unflatten" axis, shape, infer);
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        check_axis("unflatten", self.axis, a)?;
        let extent = a.shape[self.axis];
        let to = resolve("unflatten", extent, &self.shape, self.infer, shapes, |to| {
            let to = shape::show(to);
            format!("cannot split axis {} of extent {extent} into {to}: their product must be the extent", self.axis)
        })?;
        let mut shape = a.shape.clone();
        shape.remove(self.axis);
        shape.insert_many(self.axis, to);
        Ok(smallvec![Aval::new(a.dtype, shape)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        Ok(smallvec![Some(match self.shape.len() {
            0 => reshape(b, ct, &cx.avals[0].shape)?,
            n => b.op(Flatten { start: self.axis, end: self.axis + n - 1 }, &[ct])?,
        })])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let operand = cx.batch_all(b)?[0];
        let batched = Unflatten { axis: self.axis + 1, shape: cx.dims(&self.shape), infer: self.infer };
        Ok(smallvec![b.equation(batched, &[operand], cx.shapes)?[0].into()])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        regroup(cx, at)
    }
    fn layout(&self, input: &Layout, output: &[usize]) -> Option<Layout> {
        regroup_layout(input, output)
    }
}

/// `a` with these extents; itself if it has them.
pub fn reshape(b: &mut Builder, a: Atom, to: &[usize]) -> Result<Atom> {
    if b.shape(a) == to {
        return Ok(a);
    }
    b.op(Reshape { shape: to.iter().map(|&n| Dim::Known(n)).collect(), infer: None }, &[a])
}

/// Splits both shapes into the shortest runs of axes with equal products: pairs of (axes of `from`, axes of `to`). Neither has an extent 0.
fn runs(from: &[usize], to: &[usize]) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < from.len() || j < to.len() {
        let (i0, j0) = (i, j);
        let (mut p, mut q) = (1, 1);
        loop {
            if p <= q && i < from.len() && (p < q || i == i0) {
                p *= from[i];
                i += 1;
            } else if j < to.len() && (q < p || j == j0) {
                q *= to[j];
                j += 1;
            } else {
                break;
            }
        }
        out.push((i0..i, j0..j));
    }
    out
}

/// The input at the position that has the same number in row-major order. An axis that was split has an affine index; where axes were
/// merged, the index is computed by division.
fn regroup(cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
    let (from, to): (Shape, Shape) = (cx.input_shape(0).into(), cx.output_shape().into());
    if shape::size(&from) == 0 {
        let nowhere: SmallVec<[Ix; 4]> = from.iter().map(|_| Ix::constant(0)).collect();
        return cx.input(0, &nowhere);
    }
    let mut index: SmallVec<[Ix; 4]> = SmallVec::new();
    for (ins, outs) in runs(&from, &to) {
        let linear = cx.linear(&at[outs.clone()], &shape::row_strides(&to[outs]));
        let last = ins.end;
        let mut lead: Option<usize> = None;
        let real = ins.clone().filter(|&i| from[i] != 1).count();
        let mut below: usize = from[ins.clone()].iter().product();
        for i in ins {
            below /= from[i];
            if from[i] == 1 {
                index.push(Ix::constant(0));
                continue;
            }
            if real == 1 {
                index.push(linear.clone());
                continue;
            }
            let mut v = cx.position(&linear);
            if below != 1 {
                let n = cx.number(Scalar::i64(below as i64));
                v = cx.emit().div(v, n);
            }
            if lead.is_some() {
                let n = cx.number(Scalar::i64(from[i] as i64));
                v = cx.emit().binary(BinaryOp::Rem, v, n);
            }
            lead.get_or_insert(i);
            debug_assert!(i < last);
            index.push(Ix::Computed(v));
        }
    }
    cx.input(0, &index)
}

/// Strides of the regrouped axes, where each run of input axes that is regrouped lies evenly in memory.
fn regroup_layout(input: &Layout, output: &[usize]) -> Option<Layout> {
    let done = |strides: Strides| Some(Layout { shape: output.into(), strides, offset: input.offset });
    if input.size() == 0 {
        return done(shape::row_strides(output));
    }
    let mut strides: Strides = SmallVec::from_elem(0, output.len());
    for (ins, outs) in runs(&input.shape, output) {
        // Stride of the run's last axis, if the others step over exactly what lies within them.
        let mut inner: Option<(isize, isize)> = None;
        for i in ins.rev().filter(|&i| input.shape[i] != 1) {
            let (n, s) = (input.shape[i] as isize, input.strides[i]);
            inner = match inner {
                None => Some((s, s * n)),
                Some((unit, next)) if s == next => Some((unit, next * n)),
                Some(_) => return None,
            };
        }
        let mut step = inner.map_or(0, |(unit, _)| unit);
        for j in outs.rev() {
            strides[j] = step;
            step *= output[j] as isize;
        }
    }
    done(strides)
}
