//! Reads and writes along one axis, at positions given for every element: `take_along_axis` and `put_along_axis`.
//!
//! Negative indices count from the end. What is read out of range is unspecified, what is written there is dropped.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::prims::{check_alike, check_axis};
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
}

impl Primitive for GatherAxis {
    fields!("take_along_axis" axis);
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (array, indices) = (inputs[0], inputs[1]);
        check(self.name(), self.axis, array, indices)?;
        let around = with_extent(&array.shape, self.axis, 1);
        Ok(smallvec![Aval::new(array.dtype, shape::broadcast(self.name(), &around, &indices.shape)?)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        super::todo_jvp(b, primals, tangents)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.align(b)?;
        Ok(smallvec![b.op(GatherAxis { axis: self.axis + 1 }, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
}

impl Primitive for ScatterAxis {
    fields!("put_along_axis" axis, op);
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
        super::todo_jvp(b, primals, tangents)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        super::todo_vmap(b, cx)
    }
    fn lowering(&self, inputs: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Scatter { op: self.op, space: self.space(inputs).expect("inferred before it is lowered") }
    }
}
