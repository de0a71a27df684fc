//! Positions of extrema.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::Place;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::prims::check_axis;
use lazuli_kernel::{Combine, DType, Error, Result};
use smallvec::{SmallVec, smallvec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgOp {
    Min,
    Max,
}

/// Position (uint32) of the smallest or largest element along `axis`: the first of them; the first NaN, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    pub op: ArgOp,
    pub axis: usize,
    pub keepdims: bool,
}

impl Primitive for ArgReduce {
    fields!(op { ArgOp::Min => "argmin", ArgOp::Max => "argmax" } axis, keepdims);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        check_axis(self.name(), self.axis, a)?;
        if a.dtype.is_complex() {
            return Err(Error::value(self.name(), "complex numbers have no order: reduce their abs, real or imag"));
        }
        if a.shape[self.axis] == 0 {
            let name = self.name();
            return Err(Error::value(
                name,
                format!("axis {} of {a} is empty: an empty {name} has no value", self.axis),
            ));
        }
        let mut shape = a.shape.clone();
        if self.keepdims {
            shape[self.axis] = 1;
        } else {
            shape.remove(self.axis);
        }
        Ok(smallvec![Aval::new(DType::U32, shape)])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        for axis in (0..inputs[0].rank()).filter(|&axis| axis != self.axis) {
            let to = axis - (!self.keepdims && axis > self.axis) as usize;
            same(Place::Input(0, axis), Place::Output(to));
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(ArgReduce { axis: self.axis + 1, ..self.clone() }, cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        let combine = match self.op {
            ArgOp::Min => Combine::ArgMin,
            ArgOp::Max => Combine::ArgMax,
        };
        Lowering::Reduce { combine, axes: smallvec![self.axis] }
    }
}
