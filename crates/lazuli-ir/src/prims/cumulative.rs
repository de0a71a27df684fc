//! Running sums, products, extrema and log-sum-exps along an axis.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::prims::check_axis;
use lazuli_kernel::{DType, Error, Result, ScanOp};
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
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let a = inputs[0];
        check_axis(self.name(), self.axis, a)?;
        if a.dtype.is_complex() && self.op != ScanOp::Sum {
            return Err(Error::value(self.name(), "is not defined on complex64: work on real and imag parts"));
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
        super::todo_jvp(b, primals, tangents)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(Cumulative { axis: self.axis + 1, ..self.clone() }, cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Scan { op: self.op, axis: self.axis, reverse: self.reverse, exclusive: self.exclusive }
    }
}
