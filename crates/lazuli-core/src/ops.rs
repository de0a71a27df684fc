//! The operations, fallible form: each returns an error that names the op, the shapes and dtypes at fault, and the remedy.
//!
//! The methods and free functions that users call ([`crate::methods`]) panic at the caller's line with the same text. Operands of
//! mixed dtypes promote; numbers written in the program are weak: they take the dtype of the array beside them.

pub(crate) mod by_shape;
mod create;
mod derived;
mod diagonal;
mod elementwise;
mod index;
pub mod random;
mod reduce;
mod shape;

pub use create::*;
pub use derived::*;
pub use diagonal::*;
pub use elementwise::*;
pub use index::*;
/// What functions of this module are told: parts of axes, what to combine with, rows of the op table.
pub use lazuli_ir::{
    Binary, Unary,
    prims::{Bound, ReduceOp},
};
pub use lazuli_kernel::{ScanOp, ScatterOp};
pub use reduce::*;
pub use shape::*;

use crate::array::{Array, Op};
use crate::{shapeless, trace};
use lazuli_ir::{Aval, DType, Error, Kind, Prim, Result, Scalar};
use smallvec::SmallVec;

/// Records a primitive; its outputs.
#[track_caller]
pub(crate) fn record(prim: impl Into<Prim>, inputs: &[&Array], shapes: &[&Array]) -> Result<SmallVec<[Array; 1]>> {
    let prim = prim.into();
    let meta = trace::meta();
    let avals: SmallVec<[&Aval; 3]> = inputs.iter().map(|a| a.aval()).collect();
    let extents: SmallVec<[&Aval; 1]> = shapes.iter().map(|a| a.aval()).collect();
    let outputs = prim.infer(&avals, &extents).map_err(|e| {
        shapeless::refused();
        match meta.location.place() {
            Some((file, line)) => e.at(format!("{file}:{line}")),
            None => e,
        }
    })?;
    let n = outputs.len() as u32;
    let inputs = inputs.iter().map(|&a| a.clone()).collect();
    let out = Array::pending(Op::Prim(prim), inputs, shapes.iter().map(|&a| a.clone()).collect(), outputs, meta);
    Ok((0..n).map(|k| out.sibling(k)).collect())
}

/// Records a primitive with one output.
#[track_caller]
pub(crate) fn apply(prim: impl Into<Prim>, inputs: &[&Array]) -> Result<Array> {
    Ok(record(prim, inputs, &[])?.remove(0))
}

/// What an op takes beside an array: an array, or a number whose dtype is weak.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand beside an array",
    note = "operands are arrays, extents (`x.dim(0)`), and numbers of type `f64`, `f32`, `i64`, `i32` and `bool`: cast others with `as`, or make an array of them"
)]
pub trait Operand {
    /// As an array; `beside` is the dtype of the other operand, if that is an array.
    fn array(&self, beside: Option<DType>) -> Array;
    /// The dtype, unless it is weak.
    fn dtype(&self) -> Option<DType>;
    /// The number, if it is one written in the program.
    fn weak(&self) -> Option<Weak> {
        None
    }
    /// Whether it can be had beside such an operand: an error for a number that the dtype cannot hold.
    #[track_caller]
    fn check(&self, _op: &str, _beside: Option<DType>) -> Result<()> {
        Ok(())
    }
}

/// An operand as an array beside one of `beside`.
///
/// # Errors
/// If it is an integer that the dtype it takes cannot hold.
#[track_caller]
pub fn beside(op: &str, operand: &dyn Operand, beside: Option<DType>) -> Result<Array> {
    match operand.weak() {
        Some(number) => number.checked_scalar(op, number.dtype_beside(beside)).map(Array::scalar),
        None => {
            operand.check(op, beside)?;
            Ok(operand.array(beside))
        }
    }
}

impl Operand for Array {
    fn array(&self, _: Option<DType>) -> Array {
        self.clone()
    }
    fn dtype(&self) -> Option<DType> {
        Some(Array::dtype(self))
    }
}

impl<T: Operand + ?Sized> Operand for &T {
    fn array(&self, beside: Option<DType>) -> Array {
        (**self).array(beside)
    }
    fn dtype(&self) -> Option<DType> {
        (**self).dtype()
    }
    fn weak(&self) -> Option<Weak> {
        (**self).weak()
    }
    #[track_caller]
    fn check(&self, op: &str, beside: Option<DType>) -> Result<()> {
        (**self).check(op, beside)
    }
}

/// A number written in the program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weak {
    /// Takes any dtype.
    Bool(bool),
    /// Takes any dtype but bool; int32 by itself, int64 where it does not fit.
    Int(i64),
    /// Takes float dtypes and complex64; float32 by itself.
    Float(f64),
    /// Real and imaginary part: complex64.
    Complex(f32, f32),
}

impl Weak {
    /// The dtype beside an array of `beside`: that of the array if its kind can hold the number, else the default of the
    /// number's kind (int32, float32, complex64).
    pub fn dtype_beside(self, beside: Option<DType>) -> DType {
        let (kind, default) = match self {
            Weak::Bool(_) => (Kind::Bool, DType::Bool),
            Weak::Int(v) if i32::try_from(v).is_err() => (Kind::Signed, DType::I64),
            Weak::Int(_) => (Kind::Signed, DType::I32),
            Weak::Float(_) => (Kind::Float, DType::F32),
            Weak::Complex(..) => (Kind::Complex, DType::C64),
        };
        match beside {
            Some(d) if d.kind() >= kind || kind == Kind::Signed && d.kind() == Kind::Unsigned => d,
            _ => default,
        }
    }
    /// The number as a scalar of this dtype.
    pub fn scalar(self, dtype: DType) -> Scalar {
        match self {
            Weak::Bool(v) => Scalar::from_i64(dtype, v as i64),
            Weak::Int(v) => Scalar::from_i64(dtype, v),
            Weak::Float(v) => Scalar::from_f64(dtype, v),
            Weak::Complex(re, im) => Scalar::c64(re, im),
        }
    }
    /// As [`scalar`](Self::scalar).
    ///
    /// # Errors
    /// If it is an integer outside the range of an integer `dtype`: it would wrap.
    pub fn checked_scalar(self, op: &str, dtype: DType) -> Result<Scalar> {
        if let (Weak::Int(v), true) = (self, dtype.is_integer()) {
            let bits = 8 * dtype.itemsize() as u32;
            let fits = match dtype.kind() {
                Kind::Unsigned => v >= 0 && (bits == 64 || v >> bits == 0),
                _ => bits == 64 || (v >> (bits - 1) == 0 || v >> (bits - 1) == -1),
            };
            if !fits {
                let remedy = "cast the array with astype first, or give the number as an array of a wider dtype";
                return Err(Error::value(
                    op,
                    format!("{v} does not fit {dtype}, the dtype of the array beside it: {remedy}"),
                ));
            }
        }
        Ok(self.scalar(dtype))
    }
}

impl Operand for Weak {
    fn array(&self, beside: Option<DType>) -> Array {
        Array::scalar(self.scalar(self.dtype_beside(beside)))
    }
    fn dtype(&self) -> Option<DType> {
        None
    }
    fn weak(&self) -> Option<Weak> {
        Some(*self)
    }
}

macro_rules! weak {
    ($($t:ty => $variant:ident as $as:ty),*) => { $(
        impl Operand for $t {
            fn array(&self, beside: Option<DType>) -> Array { Weak::$variant(*self as $as).array(beside) }
            fn dtype(&self) -> Option<DType> { None }
            fn weak(&self) -> Option<Weak> { Some(Weak::$variant(*self as $as)) }
        }
        impl From<$t> for Weak { fn from(v: $t) -> Weak { Weak::$variant(v as $as) } }
    )* };
}

weak! { f32 => Float as f64, f64 => Float as f64, i32 => Int as i64, i64 => Int as i64, usize => Int as i64, bool => Bool as bool }
