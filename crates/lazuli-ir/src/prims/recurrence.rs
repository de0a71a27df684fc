//! Linear recurrences along an axis: what derivatives of running products and log-sum-exps are, and closed under derivatives themselves.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, kept};
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::{check_alike, check_axis, cotangent};
use lazuli_kernel::{Error, Result, shape};
use smallvec::{SmallVec, smallvec};

/// y₀ = 0, y₁ = c₀, yᵢ₊₁ = aᵢ yᵢ + cᵢ along `axis`, from its end if `reverse`. Factors a (input 0) and terms c (input 1) have one shape and float dtype, which is that of
/// the result; a₀ and the last term are not used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recurrence {
    pub axis: usize,
    pub reverse: bool,
}

impl Primitive for Recurrence {
    fields!("linear_recurrence" axis, reverse);
    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (factors, terms) = (inputs[0], inputs[1]);
        check_alike(self.name(), inputs)?;
        check_axis(self.name(), self.axis, terms)?;
        if factors.shape != terms.shape {
            let (a, c) = (shape::show(&factors.shape), shape::show(&terms.shape));
            return Err(Error::value(
                self.name(),
                format!("factors of shape {a} and terms of shape {c}: they must be equal"),
            ));
        }
        if !terms.dtype.is_float() {
            return Err(Error::value(
                self.name(),
                format!("needs a float dtype, not {}: cast with astype first", terms.dtype),
            ));
        }
        Ok(smallvec![Aval::new(terms.dtype, terms.shape.clone())])
    }
    /// dyᵢ₊₁ = aᵢ dyᵢ + (daᵢ yᵢ + dcᵢ).
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let moved = match tangents[0] {
            Some(factors) => Some(b.mul(factors, primals.outputs[0])?),
            None => None,
        };
        let terms = match (moved, tangents[1]) {
            (Some(moved), Some(terms)) => b.add(moved, terms)?,
            (Some(terms), None) | (None, Some(terms)) => terms,
            (None, None) => return Ok(smallvec![None]),
        };
        Ok(smallvec![Some(b.op(self.clone(), &[primals.inputs[0], terms])?)])
    }
    /// Linear in the terms: yᵢ takes cⱼ times the product of the factors between j and i, and so takes j of the cotangents at i from the other end.
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let Some(factors) = cx.inputs[0] else {
            return Err(Error::internal(self.name(), "is not linear in its factors"));
        };
        let back = Recurrence { reverse: !self.reverse, ..*self };
        Ok(smallvec![None, Some(b.op(back, &[factors, cotangent(cotangents)])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        (0..2).for_each(|k| kept(k, 0..inputs[k].rank(), same));
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = [cx.batch(b, 0)?, cx.batch(b, 1)?];
        Ok(smallvec![b.op(Recurrence { axis: self.axis + 1, ..*self }, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Recurrence { axis: self.axis, reverse: self.reverse }
    }
}
