//! Reads and writes at positions given by integer arrays: windows anywhere in an array.
//!
//! Negative indices count from the end. An index out of range never touches foreign memory: what is read there is unspecified, what
//! is written there is dropped.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::prims::{check_alike, check_axis};
use lazuli_kernel::{Error, Result, ScatterOp, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// Windows of extents `slice_sizes` (one per axis) out of the array (input 0). The integer arrays (inputs 1…, one per entry of `axes`) broadcast
/// together and give where a window begins along these axes; along the others it begins at 0. The output's shape is that
/// of the indices, then `slice_sizes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gather {
    pub axes: SmallVec<[usize; 4]>,
    pub slice_sizes: SmallVec<[Dim; 4]>,
}

/// The target (input 0) with windows of updates (the last input) combined into it, in row-major order of the updates. The integer arrays
/// between them, one per entry of `axes`, broadcast together and give where a window begins; the updates' shape is that of the
/// indices, then one extent of the window per axis of the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scatter {
    pub axes: SmallVec<[usize; 4]>,
    pub op: ScatterOp,
}

/// Shape that the index arrays broadcast to.
fn index_shape(op: &str, axes: &[usize], array: &Aval, indices: &[&Aval]) -> Result<Shape> {
    if indices.len() != axes.len() {
        return Err(Error::value(op, format!("{} index arrays for {} axes", indices.len(), axes.len())));
    }
    let mut out = Shape::new();
    for index in indices {
        if !index.dtype.is_integer() {
            return Err(Error::value(
                op,
                format!("indices must be integers, not {}: cast with astype first", index.dtype),
            ));
        }
        out = shape::broadcast(op, &out, &index.shape)?;
    }
    for (i, &axis) in axes.iter().enumerate() {
        check_axis(op, axis, array)?;
        if axes[..i].contains(&axis) {
            return Err(Error::value(op, format!("axis {axis} is indexed twice")));
        }
    }
    Ok(out)
}

fn check_window(op: &str, window: &[usize], array: &Aval) -> Result<()> {
    if window.len() != array.rank() || window.iter().zip(&array.shape).any(|(w, n)| w > n) {
        let (window, from) = (shape::show(window), shape::show(&array.shape));
        return Err(Error::value(op, format!("a window of shape {window} does not fit into an array of shape {from}")));
    }
    Ok(())
}

impl Primitive for Gather {
    fields!("gather" axes, slice_sizes);
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let array = inputs[0];
        let mut out = index_shape("gather", &self.axes, array, &inputs[1..])?;
        let window: Shape = self.slice_sizes.iter().map(|d| d.resolve(shapes)).collect();
        check_window("gather", &window, array)?;
        out.extend(window);
        Ok(smallvec![Aval::new(array.dtype, out)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        super::todo_jvp(b, primals, tangents)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        super::todo_vmap(b, cx)
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
}

impl Primitive for Scatter {
    fields!("scatter" axes, op);
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let [target, indices @ .., updates] = inputs else {
            return Err(Error::internal("scatter", "takes a target, indices and updates"));
        };
        check_alike("scatter", &[target, updates])?;
        let index = index_shape("scatter", &self.axes, target, indices)?;
        if !updates.shape.starts_with(&index) {
            let (got, want) = (shape::show(&updates.shape), shape::show(&index));
            return Err(Error::value(
                "scatter",
                format!("updates of shape {got} must begin with the shape {want} of the indices: broadcast them first"),
            ));
        }
        check_window("scatter", &updates.shape[index.len()..], target)?;
        Ok(smallvec![(*target).clone()])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        super::todo_jvp(b, primals, tangents)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        super::todo_vmap(b, cx)
    }
    fn lowering(&self, inputs: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Scatter { op: self.op, space: inputs[inputs.len() - 1].shape.clone() }
    }
}
