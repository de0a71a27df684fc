//! A single number of any dtype, held by its bits so that it can be compared and hashed exactly.

use crate::dtype::DType;
use crate::scalar_ops::{self, f64_to_bf16, f64_to_f16};
use half::{bf16, f16};
use std::fmt;

/// dtype and bits (zero-extended to 64; complex64 keeps the real part in the low half).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar {
    pub dtype: DType,
    pub bits: u64,
}

impl Scalar {
    pub fn bool(v: bool) -> Self {
        Self { dtype: DType::Bool, bits: v as u64 }
    }
    pub fn f32(v: f32) -> Self {
        Self { dtype: DType::F32, bits: v.to_bits() as u64 }
    }
    pub fn f64(v: f64) -> Self {
        Self { dtype: DType::F64, bits: v.to_bits() }
    }
    pub fn i64(v: i64) -> Self {
        Self { dtype: DType::I64, bits: v as u64 }
    }
    pub fn i32(v: i32) -> Self {
        Self { dtype: DType::I32, bits: v as u32 as u64 }
    }
    pub fn u32(v: u32) -> Self {
        Self { dtype: DType::U32, bits: v as u64 }
    }
    pub fn c64(re: f32, im: f32) -> Self {
        Self { dtype: DType::C64, bits: re.to_bits() as u64 | (im.to_bits() as u64) << 32 }
    }
    /// `v` converted to `dtype`: rounded once for floats, saturated for integers (NaN is 0), `v != 0` for bool.
    pub fn from_f64(dtype: DType, v: f64) -> Self {
        let bits = match dtype {
            DType::Bool => (v != 0.0) as u64,
            DType::U8 => v as u8 as u64,
            DType::U16 => v as u16 as u64,
            DType::U32 => v as u32 as u64,
            DType::U64 => v as u64,
            DType::I8 => v as i8 as u8 as u64,
            DType::I16 => v as i16 as u16 as u64,
            DType::I32 => v as i32 as u32 as u64,
            DType::I64 => v as i64 as u64,
            DType::F16 => f64_to_f16(v).to_bits() as u64,
            DType::BF16 => f64_to_bf16(v).to_bits() as u64,
            DType::F32 => (v as f32).to_bits() as u64,
            DType::F64 => v.to_bits(),
            DType::C64 => (v as f32).to_bits() as u64,
        };
        Self { dtype, bits }
    }
    /// `v` converted to `dtype` as by [`Inst::Cast`](crate::Inst::Cast): wrapped for narrower integers, rounded for floats, `v != 0` for bool.
    pub fn from_i64(dtype: DType, v: i64) -> Self {
        match dtype {
            DType::C64 => Self::c64(v as f32, 0.0),
            _ => scalar_ops::eval_cast(dtype, Self::i64(v)),
        }
    }
    pub fn zero(dtype: DType) -> Self {
        Self { dtype, bits: 0 }
    }
    pub fn one(dtype: DType) -> Self {
        Self::from_i64(dtype, 1)
    }
    /// The value as f64 (the real part of a complex number).
    pub fn to_f64(self) -> f64 {
        match self.dtype {
            DType::F16 => f16::from_bits(self.bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(self.bits as u16).to_f64(),
            DType::F32 | DType::C64 => f32::from_bits(self.bits as u32) as f64,
            DType::F64 => f64::from_bits(self.bits),
            DType::U64 => self.bits as f64,
            _ => self.to_i64() as f64,
        }
    }
    /// The value as i64: sign-extended for signed integers, truncated and saturated for floats.
    pub fn to_i64(self) -> i64 {
        match self.dtype {
            DType::I8 => self.bits as u8 as i8 as i64,
            DType::I16 => self.bits as u16 as i16 as i64,
            DType::I32 => self.bits as u32 as i32 as i64,
            d if d.is_float() || d == DType::C64 => self.to_f64() as i64,
            _ => self.bits as i64,
        }
    }
    /// The imaginary part (0 unless complex).
    pub fn imag(self) -> f32 {
        if self.dtype == DType::C64 { f32::from_bits((self.bits >> 32) as u32) } else { 0.0 }
    }
    /// Little-endian bytes, `itemsize` of them.
    pub fn to_bytes(self) -> smallvec::SmallVec<[u8; 8]> {
        self.bits.to_le_bytes()[..self.dtype.itemsize()].into()
    }
    /// Inverse of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(dtype: DType, bytes: &[u8]) -> Self {
        let mut raw = [0; 8];
        raw[..dtype.itemsize()].copy_from_slice(&bytes[..dtype.itemsize()]);
        Self { dtype, bits: u64::from_le_bytes(raw) }
    }
}

/// `1.5:f32`, `nan:f32`, `-3:i8`, `true:bool`; parses back to the same bits (NaN payloads aside).
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.dtype.short_name();
        match self.dtype {
            DType::Bool => write!(f, "{}:{d}", self.bits != 0),
            DType::U64 => write!(f, "{}:{d}", self.bits),
            DType::C64 => write!(f, "({},{}):{d}", f32::from_bits(self.bits as u32), self.imag()),
            DType::F32 => write!(f, "{:?}:{d}", f32::from_bits(self.bits as u32)),
            _ if self.dtype.is_float() => write!(f, "{:?}:{d}", self.to_f64()),
            _ => write!(f, "{}:{d}", self.to_i64()),
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
