//! Reads and writes along one axis, at positions given for every element: `take_along_axis` and `put_along_axis`.
//!
//! Negative indices count from the end. What is read out of range is unspecified, what is written there is dropped.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, kept, stretched};
use crate::graph::Atom;
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise, aligned, select};
use crate::prim::{Arity, Lowering, Primals, Primitive, ScatterPoint, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::write::{Writes, combined, position_at};
use crate::prims::{check_alike, check_axis, cotangent, unbroadcast, zeros};
use lazuli_kernel::{Error, Result, ScatterOp, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// `out[…, j, …] = array[…, indices[…, j, …], …]` along `axis`. Array (input 0) and integer indices (input 1) have one rank and broadcast
/// against each other at all other axes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatherAxis {
    pub axis: usize,
}

/// The target (input 0) with updates (input 2) combined into it at positions `indices` (input 1) along `axis`, in row-major order of the
/// updates. All have one rank; indices and updates broadcast against each other, and at all other axes against the target, which
/// itself is not stretched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScatterAxis {
    pub axis: usize,
    pub op: ScatterOp,
}

fn check(op: &str, axis: usize, array: &Aval, indices: &Aval) -> Result<()> {
    check_axis(op, axis, array)?;
    if !indices.dtype.is_integer() {
        return Err(Error::value(
            op,
            format!("indices must be integers, not {}: cast with astype first", indices.dtype),
        ));
    }
    if indices.rank() != array.rank() {
        return Err(Error::value(
            op,
            format!("indices have {} dimensions, the array has {}: they must be equal", indices.rank(), array.rank()),
        ));
    }
    Ok(())
}

/// `shape` with another extent at `axis`.
fn with_extent(shape: &[usize], axis: usize, extent: usize) -> Shape {
    let mut out: Shape = shape.into();
    out[axis] = extent;
    out
}

impl ScatterAxis {
    /// The points at which updates happen.
    fn space(&self, inputs: &[&Aval]) -> Result<Shape> {
        let updates = shape::broadcast(self.name(), &inputs[1].shape, &inputs[2].shape)?;
        let around = with_extent(&inputs[0].shape, self.axis, 1);
        shape::broadcast(self.name(), &updates, &around)
    }
    /// The rules of writing at `indices`, for operands of these avals.
    fn with_writes<R>(&self, indices: Atom, avals: &[Aval], f: impl FnOnce(&Writes) -> R) -> R {
        let avals: SmallVec<[&Aval; 3]> = avals.iter().collect();
        let put = |b: &mut Builder, op: ScatterOp, target: Atom, updates: Atom| {
            b.op(ScatterAxis { axis: self.axis, op }, &[target, indices, updates])
        };
        let take = |b: &mut Builder, array: Atom| b.op(GatherAxis { axis: self.axis }, &[array, indices]);
        let space = self.space(&avals).expect("its inputs were inferred");
        f(&Writes { name: self.name(), put: &put, take: &take, space })
    }
}

impl Primitive for GatherAxis {
    fields!("take_along_axis" axis);
    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (array, indices) = (inputs[0], inputs[1]);
        check(self.name(), self.axis, array, indices)?;
        let around = with_extent(&array.shape, self.axis, 1);
        let out = shape::broadcast(self.name(), &around, &indices.shape)?;
        if array.shape[self.axis] == 0 && shape::size(&out) > 0 {
            let (from, to) = (shape::show(&array.shape), shape::show(&out));
            return Err(Error::value(
                self.name(),
                format!("axis {} of shape {from} has no elements to take for a result of shape {to}", self.axis),
            ));
        }
        Ok(smallvec![Aval::new(array.dtype, out)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let Some(t) = tangents[0] else { return Ok(smallvec![None]) };
        Ok(smallvec![Some(b.op(self.clone(), &[t, primals.inputs[1]])?)])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let (ct, array) = (cotangent(cotangents), &cx.avals[0]);
        let indices = cx.inputs[1].expect("indices are not linear");
        let stretched = with_extent(b.shape(ct), self.axis, array.shape[self.axis]);
        let zeros = zeros(b, array.dtype, &stretched)?;
        let add = ScatterAxis { axis: self.axis, op: ScatterOp::Add };
        let sum = b.op(add, &[zeros, indices, ct])?;
        Ok(smallvec![Some(unbroadcast(b, sum, &array.shape)?), None])
    }
    fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        for (k, a) in inputs.iter().enumerate() {
            stretched(k, &a.shape, &output.shape, &mut |from, to| {
                if from != Place::Input(0, self.axis) {
                    same(from, to);
                }
            });
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.align(b)?;
        Ok(smallvec![b.op(GatherAxis { axis: self.axis + 1 }, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let n = cx.extent(Place::Input(0, self.axis));
        let position = position_at(cx, 1, at, n);
        let mut index = aligned(cx.input_shape(0), at);
        index[self.axis] = position;
        cx.input(0, &index)
    }
}

impl Primitive for ScatterAxis {
    fields!("put_along_axis" axis, op);
    fn arity(&self) -> Arity {
        Arity::Exactly(3)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (target, indices, updates) = (inputs[0], inputs[1], inputs[2]);
        check_alike(self.name(), &[target, updates])?;
        check(self.name(), self.axis, target, indices)?;
        check(self.name(), self.axis, target, &Aval::new(indices.dtype, updates.shape.clone()))?;
        let space = self.space(inputs)?;
        if with_extent(&space, self.axis, target.shape[self.axis]) != target.shape {
            let (space, to) = (shape::show(&space), shape::show(&target.shape));
            return Err(Error::value(
                self.name(),
                format!(
                    "updates of shape {space} do not fit a target of shape {to}: all extents but that of axis {} must agree",
                    self.axis
                ),
            ));
        }
        Ok(smallvec![target.clone()])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let avals: SmallVec<[Aval; 3]> = primals.inputs.iter().map(|&a| b.aval(a)).collect();
        self.with_writes(primals.inputs[1], &avals, |writes| writes.jvp(b, self.op, primals, tangents))
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let indices = cx.inputs[1].expect("indices are not linear");
        self.with_writes(indices, cx.avals, |writes| writes.transpose(b, self.op, cx, cotangents))
    }
    fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..output.rank(), same);
        for (k, a) in inputs.iter().enumerate().skip(1) {
            stretched(k, &a.shape, &output.shape, &mut |from, to| {
                if to != Place::Output(self.axis) {
                    same(from, to);
                }
            });
        }
        if inputs[1].shape[self.axis] != 1 && inputs[2].shape[self.axis] != 1 {
            same(Place::Input(1, self.axis), Place::Input(2, self.axis));
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let mut inputs = cx.align(b)?;
        inputs[0] = cx.batch(b, 0)?;
        Ok(smallvec![b.op(ScatterAxis { axis: self.axis + 1, op: self.op }, &inputs)?])
    }
    fn lowering(&self, inputs: &[&Aval], _: &[&Aval]) -> Lowering {
        let space = self.space(inputs).expect("inferred before it is lowered");
        // One position along the axis: whether an element is it, each can tell by itself.
        let op = matches!(self.op, ScatterOp::Assign | ScatterOp::Add) || !inputs[0].dtype.is_complex();
        if space[self.axis] == 1 && op {
            return Lowering::Pointwise;
        }
        let is_run = self.axis + 1 < space.len() && inputs[1].shape.last() == Some(&1);
        let run = space.last().copied().filter(|_| is_run).unwrap_or(1);
        Lowering::Scatter { op: self.op, space, run }
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let n = cx.extent(Place::Input(0, self.axis));
        let position = position_at(cx, 1, at, n);
        let (here, there) = (cx.position(&at[self.axis]), cx.position(&position));
        let target = cx.input(0, at);
        let around = aligned(cx.input_shape(2), at);
        let update = cx.input(2, &around);
        let e = cx.emit();
        let is_there = e.eq(here, there);
        let updated = match self.op {
            ScatterOp::Assign => update,
            op => combined(e, op, target, update),
        };
        select(e, is_there, updated, target)
    }
    fn scatter(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> ScatterPoint {
        let n = cx.extent(Place::Input(0, self.axis));
        let mut position: Index = at.into();
        position[self.axis] = position_at(cx, 1, at, n);
        let here = aligned(cx.input_shape(2), at);
        ScatterPoint { at: position, value: cx.input(2, &here) }
    }
}
