//! Data types and how two of them promote.

use std::fmt;

/// Type of the elements of an array. Sizes in bytes: [`itemsize`](DType::itemsize).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
    /// Complex number of two f32.
    C64,
}

/// Family of a dtype, in the order in which families promote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    Complex,
}

impl DType {
    pub const ALL: [DType; 14] = [
        DType::Bool,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::C64,
    ];

    #[inline]
    pub fn itemsize(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 | DType::C64 => 8,
        }
    }
    pub fn kind(self) -> Kind {
        match self {
            DType::Bool => Kind::Bool,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => Kind::Unsigned,
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Signed,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Kind::Float,
            DType::C64 => Kind::Complex,
        }
    }
    pub fn is_float(self) -> bool {
        self.kind() == Kind::Float
    }
    /// Signed or unsigned, not bool.
    pub fn is_integer(self) -> bool {
        matches!(self.kind(), Kind::Signed | Kind::Unsigned)
    }
    pub fn is_complex(self) -> bool {
        self == DType::C64
    }
    /// Float or complex: what has a derivative.
    pub fn is_inexact(self) -> bool {
        self.is_float() || self.is_complex()
    }
    /// `float32`, `bool`, …: the name that Python prints.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::U16 => "uint16",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::C64 => "complex64",
        }
    }
    /// `f32`, `bool`, …: the name in printed kernels and graphs.
    pub fn short_name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::C64 => "c64",
        }
    }
    pub fn from_short_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.short_name() == name)
    }

    /// The dtype that operands of `self` and `other` are cast to, as in MLX: bool < integers < floats < complex;
    /// unsigned with signed takes the next wider signed type (uint64 with signed: float32); float16 with bfloat16
    /// is float32.
    ///
    /// ```
    /// use lazuli_kernel::DType::*;
    /// assert_eq!(U8.promote(I8), I16);
    /// assert_eq!(U64.promote(I32), F32);
    /// assert_eq!(I64.promote(F16), F16);
    /// assert_eq!(F16.promote(BF16), F32);
    /// ```
    pub fn promote(self, other: DType) -> DType {
        let (lo, hi) = if self.kind() <= other.kind() { (self, other) } else { (other, self) };
        match (lo.kind(), hi.kind()) {
            (Kind::Unsigned, Kind::Signed) if lo == DType::U64 => DType::F32,
            (Kind::Unsigned, Kind::Signed) if lo.itemsize() >= hi.itemsize() => match lo.itemsize() {
                1 => DType::I16,
                2 => DType::I32,
                _ => DType::I64,
            },
            (Kind::Float, Kind::Float) if lo != hi && lo.itemsize() == hi.itemsize() => DType::F32,
            (a, b) if a == b && lo.itemsize() > hi.itemsize() => lo,
            _ => hi,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DType::{self, *};

    /// Rows and columns in the order of `DType::ALL`; measured on MLX 0.32.4.
    const PROMOTION: [[DType; 14]; 14] = [
        [Bool, U8, U16, U32, U64, I8, I16, I32, I64, F16, BF16, F32, F64, C64],
        [U8, U8, U16, U32, U64, I16, I16, I32, I64, F16, BF16, F32, F64, C64],
        [U16, U16, U16, U32, U64, I32, I32, I32, I64, F16, BF16, F32, F64, C64],
        [U32, U32, U32, U32, U64, I64, I64, I64, I64, F16, BF16, F32, F64, C64],
        [U64, U64, U64, U64, U64, F32, F32, F32, F32, F16, BF16, F32, F64, C64],
        [I8, I16, I32, I64, F32, I8, I16, I32, I64, F16, BF16, F32, F64, C64],
        [I16, I16, I32, I64, F32, I16, I16, I32, I64, F16, BF16, F32, F64, C64],
        [I32, I32, I32, I64, F32, I32, I32, I32, I64, F16, BF16, F32, F64, C64],
        [I64, I64, I64, I64, F32, I64, I64, I64, I64, F16, BF16, F32, F64, C64],
        [F16, F16, F16, F16, F16, F16, F16, F16, F16, F16, F32, F32, F64, C64],
        [BF16, BF16, BF16, BF16, BF16, BF16, BF16, BF16, BF16, F32, BF16, F32, F64, C64],
        [F32, F32, F32, F32, F32, F32, F32, F32, F32, F32, F32, F32, F64, C64],
        [F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, F64, C64],
        [C64, C64, C64, C64, C64, C64, C64, C64, C64, C64, C64, C64, C64, C64],
    ];

    #[test]
    fn promotion_is_that_of_mlx() {
        for (a, row) in DType::ALL.into_iter().zip(PROMOTION) {
            for (b, want) in DType::ALL.into_iter().zip(row) {
                assert_eq!(a.promote(b), want, "{a} with {b}");
            }
        }
    }
}
