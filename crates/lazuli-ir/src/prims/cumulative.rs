//! Running sums, products, extrema and log-sum-exps along an axis.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::elementwise::{Binary, Unary};
use crate::extents::{Place, kept};
use crate::graph::{Atom, Var};
use crate::param::fields;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::{GatherAxis, Iota, NumberOfElements, Recurrence, check_axis, cotangent};
use lazuli_kernel::{DType, Error, Result, Scalar, ScanOp};
use smallvec::{SmallVec, smallvec};

/// Element i of the result combines the elements 0..=i of the input along `axis` (i.. if `reverse`), without element i if `exclusive`: the
/// first is then the op's identity. A running sum or product of bools is int32; otherwise the dtype stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cumulative {
    pub op: ScanOp,
    pub axis: usize,
    pub reverse: bool,
    pub exclusive: bool,
}

impl Primitive for Cumulative {
    fields!(op {
        ScanOp::Sum => "cumsum",
        ScanOp::Prod => "cumprod",
        ScanOp::Min => "cummin",
        ScanOp::Max => "cummax",
        ScanOp::LogAddExp => "logcumsumexp",
    } axis, reverse, exclusive);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        check_axis(self.name(), self.axis, a)?;
        if a.dtype.is_complex() && self.op != ScanOp::Sum {
            let why = match self.op {
                ScanOp::Min | ScanOp::Max => "complex numbers have no order: scan their abs, real or imag",
                _ => "is not defined on complex64: of the scans only cumsum is",
            };
            return Err(Error::value(self.name(), why));
        }
        let dtype = match self.op {
            ScanOp::LogAddExp if !a.dtype.is_float() => {
                return Err(Error::value(
                    self.name(),
                    format!("needs a float dtype, not {}: cast with astype first", a.dtype),
                ));
            }
            ScanOp::Sum | ScanOp::Prod if a.dtype == DType::Bool => DType::I32,
            _ => a.dtype,
        };
        Ok(smallvec![Aval::new(dtype, a.shape.clone())])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let Some(t) = tangents[0] else { return Ok(smallvec![None]) };
        let (x, y) = (primals.inputs[0], primals.outputs[0]);
        Ok(smallvec![match self.op {
            _ if !b.dtype(x).is_inexact() => None,
            ScanOp::Sum => Some(b.op(self.clone(), &[t])?),
            ScanOp::Min | ScanOp::Max => Some(self.extremum(b, x, y, t)?),
            // pᵢ = pᵢ₋₁ xᵢ, so dpᵢ = xᵢ dpᵢ₋₁ + pᵢ₋₁ tᵢ: right where the data has zeros, as a quotient is not.
            ScanOp::Prod => {
                let before = self.before(b, x, y)?;
                let term = b.mul(before, t)?;
                Some(self.recurrence(b, x, term)?)
            }
            // lᵢ = log(exp lᵢ₋₁ + exp xᵢ), so dlᵢ = exp(lᵢ₋₁ − lᵢ) dlᵢ₋₁ + exp(xᵢ − lᵢ) tᵢ, with weights of at most 1.
            ScanOp::LogAddExp => {
                let before = self.before(b, x, y)?;
                let to = if self.exclusive { b.op(Cumulative { exclusive: false, ..self.clone() }, &[x])? } else { y };
                let (factor, weight) = (share(b, before, to)?, share(b, x, to)?);
                let term = b.mul(t, weight)?;
                Some(self.recurrence(b, factor, term)?)
            }
        }])
    }
    fn transpose(&self, b: &mut Builder, _: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        if self.op != ScanOp::Sum {
            return Err(Error::internal(self.name(), "only the sum is linear"));
        }
        let back = Cumulative { reverse: !self.reverse, ..self.clone() };
        Ok(smallvec![Some(b.op(back, &[cotangent(cotangents)])?)])
    }
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        kept(0, 0..inputs[0].rank(), same);
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(Cumulative { axis: self.axis + 1, ..self.clone() }, cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Scan { op: self.op, axis: self.axis, reverse: self.reverse, exclusive: self.exclusive }
    }
}

impl Cumulative {
    /// The exclusive scan, given the result.
    fn before(&self, b: &mut Builder, x: Atom, y: Atom) -> Result<Atom> {
        if self.exclusive { Ok(y) } else { b.op(Cumulative { exclusive: true, ..self.clone() }, &[x]) }
    }

    /// dᵢ = aᵢ dᵢ₋₁ + cᵢ along the axis, linear in c; for an exclusive scan dᵢ₋₁.
    fn recurrence(&self, b: &mut Builder, a: Atom, c: Atom) -> Result<Atom> {
        let before = b.op(Recurrence { axis: self.axis, reverse: self.reverse }, &[a, c])?;
        if self.exclusive {
            return Ok(before);
        }
        let carried = b.mul(a, before)?;
        b.add(carried, c)
    }

    /// The tangent at the last element, in the direction of the scan, that set the extremum.
    fn extremum(&self, b: &mut Builder, x: Atom, y: Atom, t: Atom) -> Result<Atom> {
        let inclusive = if self.exclusive { b.op(Cumulative { exclusive: false, ..self.clone() }, &[x])? } else { y };
        let attains = b.binary(Binary::Eq, x, inclusive)?;
        // Positions are numbered from 1 in the direction of the scan; 0 is none.
        let (shape, shapes): (SmallVec<[Dim; 4]>, SmallVec<[Var; 1]>) = match x {
            Atom::Var(v) => ((0..b.rank(x) as u32).map(|axis| Dim::Of { operand: 0, axis }).collect(), smallvec![v]),
            Atom::Lit(_) => return Err(Error::internal(self.name(), "a scalar has no axis")),
        };
        let one = Atom::Lit(Scalar::i32(1));
        let at = b.equation(Iota { dtype: DType::I32, shape, axis: self.axis }, &[], &shapes)?[0].into();
        let count = NumberOfElements { axes: smallvec![self.axis], dtype: DType::I32, literal: false };
        let n: Atom = b.equation(count, &[], &shapes)?[0].into();
        let number = if self.reverse { b.sub(n, at)? } else { b.add(at, one)? };
        let none = Atom::Lit(Scalar::i32(0));
        let marked = b.select(attains, number, none)?;
        let last = b.op(Cumulative { op: ScanOp::Max, ..self.clone() }, &[marked])?;
        // The identity of an exclusive scan over int32 lies below 0.
        let last = b.binary(Binary::Maximum, last, none)?;
        let position = if self.reverse { b.sub(n, last)? } else { b.sub(last, one)? };
        let taken = b.op(GatherAxis { axis: self.axis }, &[t, position])?;
        let (nothing, zero) = (b.binary(Binary::Eq, last, none)?, b.like(t, 0.0));
        b.select(nothing, zero, taken)
    }
}

/// exp(part − whole), and 0 where the part is −∞ (the whole may be −∞, too): there nothing is computed of them, so that derivatives of it are 0 as well.
fn share(b: &mut Builder, part: Atom, whole: Atom) -> Result<Atom> {
    let (lowest, zero) = (b.like(part, f64::NEG_INFINITY), b.like(part, 0.0));
    let nothing = b.binary(Binary::Eq, part, lowest)?;
    let [part, whole] = [b.select(nothing, zero, part)?, b.select(nothing, zero, whole)?];
    let difference = b.sub(part, whole)?;
    let weight = b.unary(Unary::Exp, difference)?;
    b.select(nothing, zero, weight)
}
