//! Padding and concatenation.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::prims::{check_alike, check_axis};
use lazuli_kernel::{Error, Result, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// The array (input 0) with `low` copies of a value (input 1, a scalar of the same dtype) in front and `high` behind it along each axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pad {
    pub low: SmallVec<[usize; 4]>,
    pub high: SmallVec<[usize; 4]>,
}

/// Its inputs one after the other along `axis`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Concatenate {
    pub axis: usize,
}

impl Primitive for Pad {
    fields!("pad" low, high);
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (a, value) = (inputs[0], inputs[1]);
        check_alike("pad", inputs)?;
        if value.rank() != 0 {
            return Err(Error::value("pad", format!("the padding value must be a scalar, not {value}")));
        }
        if self.low.len() != a.rank() || self.high.len() != a.rank() {
            return Err(Error::value("pad", format!("{} widths for the {} axes of {a}", self.low.len(), a.rank())));
        }
        let shape: Shape =
            a.shape.iter().zip(&self.low).zip(&self.high).map(|((n, low), high)| low + n + high).collect();
        Ok(smallvec![Aval::new(a.dtype, shape)])
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

impl Primitive for Concatenate {
    fields!("concatenate" axis);
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let Some(&first) = inputs.first() else {
            return Err(Error::value("concatenate", "needs at least one array"));
        };
        check_alike("concatenate", inputs)?;
        check_axis("concatenate", self.axis, first)?;
        let mut out = first.clone();
        out.shape[self.axis] = 0;
        for a in inputs {
            let fits =
                a.rank() == first.rank() && (0..a.rank()).all(|i| i == self.axis || a.shape[i] == first.shape[i]);
            if !fits {
                let (one, other) = (shape::show(&first.shape), shape::show(&a.shape));
                return Err(Error::value(
                    "concatenate",
                    format!(
                        "shapes {one} and {other} do not fit: all extents but that of axis {} must be equal",
                        self.axis
                    ),
                ));
            }
            out.shape[self.axis] += a.shape[self.axis];
        }
        Ok(smallvec![out])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        super::todo_jvp(b, primals, tangents)
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.batch_all(b)?;
        Ok(smallvec![b.op(Concatenate { axis: self.axis + 1 }, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
}
