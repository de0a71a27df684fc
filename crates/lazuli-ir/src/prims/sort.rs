//! Sorting along an axis. Stable; NaN last; complex numbers by their real parts, then by their imaginary ones.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, kept};
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Arity, Library, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::prims::{GatherAxis, check_axis};
use lazuli_kernel::{DType, Result};
use smallvec::{SmallVec, smallvec};

/// The elements of each row along `axis` in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sort {
    pub axis: usize,
}

/// The permutation (uint32) that sorts each row along `axis`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArgSort {
    pub axis: usize,
}

impl Primitive for Sort {
    fields!("sort" axis);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        check_axis("sort", self.axis, inputs[0])?;
        Ok(smallvec![inputs[0].clone()])
    }
    /// The tangents follow their elements.
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let Some(t) = tangents[0] else { return Ok(smallvec![None]) };
        let order = b.op(ArgSort { axis: self.axis }, primals.inputs)?;
        Ok(smallvec![Some(b.op(GatherAxis { axis: self.axis }, &[t, order])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank(), same);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(Sort { axis: self.axis + 1 }, cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Library(Library::Sort { axis: self.axis, indices: false })
    }
}

impl Primitive for ArgSort {
    fields!("argsort" axis);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        check_axis("argsort", self.axis, inputs[0])?;
        Ok(smallvec![Aval::new(DType::U32, inputs[0].shape.clone())])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank(), same);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(ArgSort { axis: self.axis + 1 }, cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Library(Library::Sort { axis: self.axis, indices: true })
    }
}
