//! The same bytes under another dtype.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, Relations, kept};
use crate::graph::Atom;
use crate::number::{Number, Operation};
use crate::param::fields;
use crate::pointwise::{Index, Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::{BinaryOp, DType, Emit, Error, Result, Scalar, Value};
use smallvec::{SmallVec, smallvec};

/// The bytes of each row read as `dtype` (little-endian): an element size other than the input's changes the extent of the last axis. As bool, a byte
/// is whether it is not 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bitcast {
    pub dtype: DType,
}

impl Primitive for Bitcast {
    fields!("view" dtype);
    fn arity(&self) -> Arity {
        Arity::Exactly(1)
    }
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
    fn same_extents(&self, inputs: &[&Aval], _: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let is_resized = inputs[0].dtype.itemsize() != self.dtype.itemsize();
        kept(0, 0..inputs[0].rank() - is_resized as usize, same);
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        let [from, to] = [inputs[0].dtype, self.dtype].map(|dtype| Number::fixed(dtype.itemsize() as isize));
        if from != to {
            let last = inputs[0].rank() - 1;
            let n = extents.extent(Place::Input(0, last));
            let bytes = extents.product(&[n, from]);
            let rest = extents.compute(Operation::Remainder, bytes, to);
            extents.equal(rest, Number::ZERO);
            let n = extents.compute(Operation::Quotient, bytes, to);
            extents.is(Place::Output(last), n);
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        Ok(smallvec![b.op(self.clone(), cx.inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Pointwise
    }
    /// By way of unsigned integers: a wider element is put together from its parts, a narrower one is cut out of the element that holds it.
    fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
        let (from, to) = (cx.input_dtype(0).itemsize(), self.dtype.itemsize());
        let bits = if from == to {
            let x = cx.input(0, at);
            bits_of(cx.emit(), x)
        } else if from < to {
            let parts = to / from;
            let wide = unsigned(to);
            let mut sum: Option<Value> = None;
            for part in 0..parts {
                let mut index: Index = at.into();
                let last = index.len() - 1;
                index[last] = cx.affine(&at[last], Number::fixed(parts as isize), Number::fixed(part as isize));
                let x = cx.input(0, &index);
                let e = cx.emit();
                let x = bits_of(e, x);
                let x = e.cast(wide, x);
                let by = e.constant(Scalar::from_i64(wide, (8 * from * part) as i64));
                let x = e.binary(BinaryOp::Shl, x, by);
                sum = Some(match sum {
                    Some(s) => e.or(s, x),
                    None => x,
                });
            }
            sum.expect("at least one part")
        } else {
            let parts = from / to;
            let last = at.len() - 1;
            let extents = [cx.extent(Place::Input(0, last)), Number::fixed(parts as isize)];
            let digits = cx.split(&at[last], &extents);
            let mut index: Index = at.into();
            index[last] = digits[0].clone();
            let x = cx.input(0, &index);
            let part = cx.position(&digits[1]);
            let e = cx.emit();
            let x = bits_of(e, x);
            let wide = e.dtype(x);
            let (part, size) = (e.cast(wide, part), e.constant(Scalar::from_i64(wide, 8 * to as i64)));
            let by = e.mul(part, size);
            let x = e.binary(BinaryOp::Shr, x, by);
            e.cast(unsigned(to), x)
        };
        let e = cx.emit();
        match self.dtype {
            DType::Bool => Lane::Real(e.cast(DType::Bool, bits)),
            DType::C64 => {
                let by = e.constant(Scalar::from_i64(DType::U64, 32));
                let high = e.binary(BinaryOp::Shr, bits, by);
                let (re, im) = (e.cast(DType::U32, bits), e.cast(DType::U32, high));
                Lane::Complex(e.bitcast(DType::F32, re), e.bitcast(DType::F32, im))
            }
            dtype => Lane::Real(e.bitcast(dtype, bits)),
        }
    }
}

fn unsigned(bytes: usize) -> DType {
    match bytes {
        1 => DType::U8,
        2 => DType::U16,
        4 => DType::U32,
        _ => DType::U64,
    }
}

/// The bits of a number as an unsigned integer.
fn bits_of(e: &mut Emit, x: Lane) -> Value {
    match x {
        Lane::Complex(re, im) => {
            let (re, im) = (e.bitcast(DType::U32, re), e.bitcast(DType::U32, im));
            let (re, im) = (e.cast(DType::U64, re), e.cast(DType::U64, im));
            let by = e.constant(Scalar::from_i64(DType::U64, 32));
            let im = e.binary(BinaryOp::Shl, im, by);
            e.or(re, im)
        }
        Lane::Real(v) => match e.dtype(v) {
            DType::Bool => e.cast(DType::U8, v),
            d => e.bitcast(unsigned(d.itemsize()), v),
        },
    }
}
