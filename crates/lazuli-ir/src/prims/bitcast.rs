//! The same bytes under another dtype.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::{DType, Error, Result};
use smallvec::{SmallVec, smallvec};

/// The bytes of each row read as `dtype` (little-endian): an element size other than the input's changes the extent of the last axis. As bool, a byte
/// is whether it is not 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bitcast {
    pub dtype: DType,
}

impl Primitive for Bitcast {
    fields!("view" dtype);
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let mut out = inputs[0].clone();
        let (from, to) = (out.dtype.itemsize(), self.dtype.itemsize());
        out.dtype = self.dtype;
        if from != to {
            let Some(n) = out.shape.last_mut() else {
                return Err(Error::value(
                    "view",
                    format!(
                        "a scalar {} can only be viewed as a dtype of the same size, not as {}",
                        inputs[0].dtype, self.dtype
                    ),
                ));
            };
            if *n * from % to != 0 {
                return Err(Error::value(
                    "view",
                    format!(
                        "the {} bytes of the last axis of {} are not a multiple of the size of {}",
                        *n * from,
                        inputs[0],
                        self.dtype
                    ),
                ));
            }
            *n = *n * from / to;
        }
        Ok(smallvec![out])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(self.clone(), cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
}
