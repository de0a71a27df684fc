//! Random bits.

use crate::aval::{Aval, Dim};
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::{DType, Error, Result, Shape};
use smallvec::{SmallVec, smallvec};

/// Bits that are a function of a key and their position: for keys (input 0) of shape (…, 2) and dtype uint32 an array of shape (…) ++ `shape`
/// of unsigned integers of `width` bytes (1, 2 or 4), by Threefry-2x32.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RandomBits {
    pub shape: SmallVec<[Dim; 4]>,
    pub width: usize,
}

impl Primitive for RandomBits {
    fields!("random_bits" shape, width);
    fn infer(&self, inputs: &[&Aval], shapes: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let key = inputs[0];
        let dtype = match self.width {
            1 => DType::U8,
            2 => DType::U16,
            4 => DType::U32,
            width => {
                return Err(Error::value("random_bits", format!("a width of {width} bytes: it must be 1, 2 or 4")));
            }
        };
        if key.dtype != DType::U32 || key.shape.last() != Some(&2) {
            return Err(Error::value("random_bits", format!("a key is a uint32 array of shape (…, 2), not {key}")));
        }
        let mut out: Shape = key.shape[..key.rank() - 1].into();
        out.extend(self.shape.iter().map(|d| d.resolve(shapes)));
        Ok(smallvec![Aval::new(dtype, out)])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![None])
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.batch_all(b)?;
        let batched = RandomBits { shape: cx.dims(&self.shape), width: self.width };
        Ok(smallvec![b.equation(batched, &inputs, cx.shapes)?[0].into()])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
}
