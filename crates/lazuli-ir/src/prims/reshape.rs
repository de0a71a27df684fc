//! Views that regroup axes: the elements in the same row-major order under other extents.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::extents::{Place, Relations, known, stated};
use crate::graph::Atom;
use crate::number::{Arithmetic, Extents, Number, Operation, Strided};
use crate::param::fields;
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::view::view_rules;
use crate::prims::{check_axis, cotangent};
use lazuli_kernel::{Error, Result, Shape, shape};
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

/// Extents whose product is `size`, or an error for which `say` gives the words: it is told the extents as they were asked for, -1 for the one to infer.
fn resolve(
    op: &str,
    size: usize,
    dims: &[Dim],
    infer: Option<usize>,
    shapes: &[&Aval],
    say: impl Fn(&str) -> String,
) -> Result<Shape> {
    let mut to: Shape = dims.iter().map(|d| d.resolve(shapes)).collect();
    if let Some(axis) = infer {
        let Some(open) = to.get_mut(axis) else {
            return Err(Error::internal(op, format!("the extent to infer, {axis}, is not one of {}", dims.len())));
        };
        *open = 1;
        match shape::size(&to) {
            0 => return Err(Error::value(op, "cannot infer an extent where another one is 0: write it out")),
            known => to[axis] = size / known,
        }
    }
    if shape::size(&to) == size {
        return Ok(to);
    }
    let asked = to.iter().enumerate().map(|(axis, &n)| if infer == Some(axis) { -1 } else { n as isize });
    Err(Error::value(op, say(&shape::tuple(asked))))
}

/// The same as relations: the extents of the output from axis `first` on.
fn regrouped(extents: &mut dyn Relations, size: Number, dims: &[Dim], infer: Option<usize>, first: usize) {
    let dim = |(i, &dim)| if infer == Some(i) { Number::ONE } else { extents.dim(dim) };
    let mut to: Extents = dims.iter().enumerate().map(dim).collect();
    if let Some(axis) = infer {
        let known = extents.product(&to);
        to[axis] = extents.compute(Operation::Quotient, size, known);
    }
    let product = extents.product(&to);
    extents.equal(product, size);
    to.into_iter().enumerate().for_each(|(i, n)| extents.is(Place::Output(first + i), n));
}

impl Primitive for Reshape {
    fields!("reshape" shape, infer);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        let to = resolve("reshape", a.size(), &self.shape, self.infer, shapes, |to| {
            let (size, from) = (a.size(), shape::show(&a.shape));
            format!("cannot reshape an array of size {size} and shape {from} into shape {to}: the sizes must agree")
        })?;
        Ok(smallvec![Aval::new(a.dtype, to)])
    }
    view_rules!();
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![Some(reshape(b, cotangent(cotangents), &cx.avals[0].shape)?)])
    }
    fn same_extents(&self, _: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        stated(&self.shape, 0, &mut |from, to| {
            if self.infer.map(Place::Output) != Some(to) {
                same(from, to);
            }
        });
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let from = extents.axes(0, 0..inputs[0].rank());
        let size = extents.product(&from);
        regrouped(extents, size, &self.shape, self.infer, 0);
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        if self.infer == Some(axis) { None } else { known(&self.shape, axis) }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let batched = Reshape { shape: cx.batched_dims(b, &self.shape), infer: self.infer.map(|axis| axis + 1) };
        Ok(smallvec![b.equation(batched, cx.inputs, cx.shapes)?[0].into()])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        regroup(cx, at)
    }
    fn strided(&self, cx: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        regrouped_strides(cx, input, output)
    }
}

impl Primitive for Flatten {
    fields!("flatten" start, end);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
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
        let shape = b.extents(&from[self.start..=self.end]);
        Ok(smallvec![Some(b.op(Unflatten { axis: self.start, shape, infer: None }, &[ct])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        (0..self.start.min(inputs[0].rank())).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)));
        let merged = self.end - self.start;
        (self.end + 1..inputs[0].rank()).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis - merged)));
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let merged = extents.axes(0, self.start..inputs[0].rank().min(self.end + 1));
        let n = extents.product(&merged);
        extents.is(Place::Output(self.start), n);
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
    fn strided(&self, cx: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        regrouped_strides(cx, input, output)
    }
}

impl Primitive for Unflatten {
    fields!("unflatten" axis, shape, infer);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn dims(&self) -> &[Dim] {
        &self.shape
    }
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        check_axis("unflatten", self.axis, a)?;
        let extent = a.shape[self.axis];
        let to = resolve("unflatten", extent, &self.shape, self.infer, shapes, |to| {
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
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        (0..self.axis).for_each(|axis| same(Place::Input(0, axis), Place::Output(axis)));
        let more = |axis| axis + self.shape.len() - 1;
        (self.axis + 1..inputs[0].rank()).for_each(|axis| same(Place::Input(0, axis), Place::Output(more(axis))));
        stated(&self.shape, self.axis, &mut |from, to| {
            if self.infer.map(|i| Place::Output(self.axis + i)) != Some(to) {
                same(from, to);
            }
        });
    }
    fn relate(&self, extents: &mut dyn Relations, _: &[&Aval]) {
        let n = extents.extent(Place::Input(0, self.axis));
        regrouped(extents, n, &self.shape, self.infer, self.axis);
    }
    fn extent_follows_from(&self, _: &[&Aval], axis: usize) -> Option<SmallVec<[Place; 2]>> {
        let stated = axis.checked_sub(self.axis)?;
        if self.infer == Some(stated) { None } else { known(&self.shape, stated) }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let batched = Unflatten { axis: self.axis + 1, shape: cx.dims(&self.shape), infer: self.infer };
        Ok(smallvec![b.equation(batched, cx.inputs, cx.shapes)?[0].into()])
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        regroup(cx, at)
    }
    fn strided(&self, cx: &mut dyn Arithmetic, input: &Strided, output: &[Number], _: &[Extents]) -> Option<Strided> {
        regrouped_strides(cx, input, output)
    }
}

/// `a` with these extents; itself if it has them.
pub fn reshape(b: &mut Builder, a: Atom, to: &[usize]) -> Result<Atom> {
    if b.shape(a) == to {
        return Ok(a);
    }
    let shape = b.extents(to);
    b.op(Reshape { shape, infer: None }, &[a])
}

/// The input at the position that has the same number in row-major order.
fn regroup(cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
    let (from, to) = (cx.input_extents(0), cx.output_extents());
    let index = cx.reshape(at, &to, &from);
    cx.input(0, &index)
}

/// Strides of the regrouped axes, where each run of input axes that is regrouped lies evenly in memory.
fn regrouped_strides(cx: &mut dyn Arithmetic, input: &Strided, output: &[Number]) -> Option<Strided> {
    if input.extents.iter().any(|n| cx.equal(*n, Number::ZERO)) {
        let strides = cx.row_strides(output);
        return Some(Strided { extents: output.into(), strides, offset: input.offset });
    }
    let mut strides: Extents = SmallVec::from_elem(Number::ZERO, output.len());
    for (from, to) in cx.runs(&input.extents, output) {
        // The stride of the run's last axis, if each of the others steps over exactly what lies within it.
        let (mut unit, mut step): (_, Option<Number>) = (Number::ZERO, None);
        for axis in from.rev() {
            let (n, stride) = (input.extents[axis], input.strides[axis]);
            if cx.equal(n, Number::ONE) {
                continue;
            }
            match step {
                None => unit = stride,
                Some(step) if cx.equal(step, stride) => {}
                Some(_) => return None,
            }
            step = Some(cx.product(stride, n));
        }
        for axis in to.rev() {
            strides[axis] = unit;
            unit = cx.product(unit, output[axis]);
        }
    }
    Some(Strided { extents: output.into(), strides, offset: input.offset })
}
