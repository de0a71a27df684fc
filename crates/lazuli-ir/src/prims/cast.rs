//! Conversion between dtypes.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, kept};
use crate::graph::Atom;
use crate::param::fields;
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use lazuli_kernel::{DType, Result, Value};
use smallvec::{SmallVec, smallvec};

/// Converts to `dtype`: floats round to nearest even, float to integer truncates and saturates, integers wrap, complex to real drops the imaginary
/// part, to bool is `!= 0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cast {
    pub dtype: DType,
}

impl Primitive for Cast {
    fields!("astype" dtype);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        Ok(smallvec![Aval::new(self.dtype, inputs[0].shape.clone())])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let differentiable = self.dtype.is_inexact() && b.dtype(primals.inputs[0]).is_inexact();
        Ok(smallvec![match tangents[0] {
            Some(t) if differentiable => Some(b.cast(t, self.dtype)?),
            _ => None,
        }])
    }
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangents[0].expect("not called with a zero cotangent");
        Ok(smallvec![Some(b.cast(ct, cx.avals[0].dtype)?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank(), same);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.cast(cx.inputs[0], self.dtype)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let x = cx.input(0, at);
        let e = cx.emit();
        match (x, self.dtype) {
            (Lane::Complex(..), DType::C64) => x,
            (Lane::Complex(re, im), DType::Bool) => {
                let (re, im) = (e.cast(DType::Bool, re), e.cast(DType::Bool, im));
                Lane::Real(e.or(re, im))
            }
            (Lane::Complex(re, _), to) => Lane::Real(e.cast(to, re)),
            (Lane::Real(v), DType::C64) => {
                let re: Value = e.cast(DType::F32, v);
                Lane::Complex(re, e.f32(0.0))
            }
            (Lane::Real(v), to) => Lane::Real(e.cast(to, v)),
        }
    }
}
