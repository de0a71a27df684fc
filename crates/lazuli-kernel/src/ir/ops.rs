//! The scalar operations, and how reductions, scans and scatters combine: what each means and which dtypes it accepts.
//!
//! Their values are computed by [`crate::scalar_ops`].

use crate::dtype::DType;
use crate::scalar::Scalar;

/// One operand, one result of the same dtype unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// Wraps for integers (two's complement, unsigned too); flips the sign bit of floats.
    Neg,
    /// Wraps for `MIN`; clears the sign bit of floats; identity for unsigned.
    Abs,
    /// Bitwise complement for integers, logical for bool.
    Not,
    /// Floats only.
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    /// To nearest, ties to even.
    Round,
}

/// Two operands of one dtype; comparisons give bool, the others the same dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Integers wrap. Not for bool.
    Add,
    Sub,
    Mul,
    /// IEEE for floats. Integers truncate toward zero, `x/0 = 0`, `MIN/-1 = MIN`.
    Div,
    /// Integers only: sign of the dividend, `x % 0 = 0`, `MIN % -1 = 0`.
    Rem,
    /// Smaller of the two; NaN if either is NaN; −0 < +0. Any dtype but f16/bf16 (bool: and).
    Min,
    Max,
    /// `if a < b { a } else { b }`: x86's MINPS. Floats only.
    Lesser,
    /// `if a > b { a } else { b }`: x86's MAXPS. Floats only.
    Greater,
    /// Bits of integers and bool.
    And,
    Or,
    Xor,
    /// Integers; a shift count that is negative or not below the width gives 0 (`Shr` of a signed number: its sign).
    Shl,
    /// Arithmetic for signed, logical for unsigned.
    Shr,
    /// High 32 bits of the 64-bit product; u32 only.
    MulHi,
    /// Comparisons of any dtype but f16/bf16; false with NaN, except `Ne`.
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl UnaryOp {
    pub const ALL: [UnaryOp; 8] = [
        UnaryOp::Neg,
        UnaryOp::Abs,
        UnaryOp::Not,
        UnaryOp::Sqrt,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Trunc,
        UnaryOp::Round,
    ];
    /// Whether the operation is defined on values of this dtype.
    pub fn accepts(self, d: DType) -> bool {
        let number = d.is_integer() || matches!(d, DType::F32 | DType::F64);
        match self {
            UnaryOp::Neg | UnaryOp::Abs => number,
            UnaryOp::Not => d.is_integer() || d == DType::Bool,
            _ => matches!(d, DType::F32 | DType::F64),
        }
    }
}

impl BinaryOp {
    pub const ALL: [BinaryOp; 21] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Rem,
        BinaryOp::Min,
        BinaryOp::Max,
        BinaryOp::Lesser,
        BinaryOp::Greater,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Xor,
        BinaryOp::Shl,
        BinaryOp::Shr,
        BinaryOp::MulHi,
        BinaryOp::Eq,
        BinaryOp::Ne,
        BinaryOp::Lt,
        BinaryOp::Le,
        BinaryOp::Gt,
        BinaryOp::Ge,
    ];
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge)
    }
    /// Whether the operation is defined on values of this dtype.
    pub fn accepts(self, d: DType) -> bool {
        let float = matches!(d, DType::F32 | DType::F64);
        match self {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div => d.is_integer() || float,
            BinaryOp::Rem | BinaryOp::Shl | BinaryOp::Shr => d.is_integer(),
            BinaryOp::Lesser | BinaryOp::Greater => float,
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => d.is_integer() || d == DType::Bool,
            BinaryOp::MulHi => d == DType::U32,
            _ => d.is_integer() || float || d == DType::Bool,
        }
    }
}

/// How a reduction combines. `Sum` and `Prod` of integers wrap.
///
/// **Order of floating-point sums and products.** The reduced axes of one output element are numbered in row-major
/// order, `i = 0, 1, …, n−1`. Element i of a block of 4,096 is combined into partial `i mod 64` of its block, in order of i, on top of
/// the identity (0 or 1). The 64 partials of a block fold by halving: `p[j] = p[j] ⊕ p[j+32]`, then 16, 8, 4, 2, 1. Blocks
/// fold by a pairwise tree: neighbours `(0,1), (2,3), …` are combined, an odd last one is carried, until one is left. The result
/// depends on n and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Combine {
    /// f32, f64, integers.
    Sum,
    Prod,
    /// As [`BinaryOp::Min`]; the identity is +∞ or the largest value.
    Min,
    Max,
    /// Bool.
    All,
    Any,
    /// The smallest value and the first position of it; NaN wins over all, the first of them. Compared by `<`: −0 and +0 are
    /// equal, and the first of them is the value. Of no elements: position 0 and the identity of `Min`.
    ArgMin,
    ArgMax,
}

impl Combine {
    pub const ALL: [Combine; 8] = [
        Combine::Sum,
        Combine::Prod,
        Combine::Min,
        Combine::Max,
        Combine::All,
        Combine::Any,
        Combine::ArgMin,
        Combine::ArgMax,
    ];
    /// Whether values of this dtype can be reduced so.
    pub fn accepts(self, d: DType) -> bool {
        match self {
            Combine::All | Combine::Any => d == DType::Bool,
            Combine::ArgMin | Combine::ArgMax => BinaryOp::Lt.accepts(d),
            _ => self.binary().is_some_and(|op| op.accepts(d)),
        }
    }
    /// The operation between two values; none for those that track a position.
    pub fn binary(self) -> Option<BinaryOp> {
        match self {
            Combine::Sum => Some(BinaryOp::Add),
            Combine::Prod => Some(BinaryOp::Mul),
            Combine::Min => Some(BinaryOp::Min),
            Combine::Max => Some(BinaryOp::Max),
            Combine::All => Some(BinaryOp::And),
            Combine::Any => Some(BinaryOp::Or),
            Combine::ArgMin | Combine::ArgMax => None,
        }
    }
    /// The result of reducing nothing.
    pub fn identity(self, d: DType) -> Scalar {
        match self {
            Combine::Sum | Combine::Any => Scalar::zero(d),
            Combine::Prod | Combine::All => Scalar::one(d),
            Combine::Min | Combine::ArgMin => Scalar::from_f64(d, f64::INFINITY),
            Combine::Max | Combine::ArgMax if d == DType::Bool => Scalar::bool(false),
            Combine::Max | Combine::ArgMax => Scalar::from_f64(d, f64::NEG_INFINITY),
        }
    }
}

/// Running combination along an axis, element by element in order: `total = total op element`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScanOp {
    Sum,
    Prod,
    Min,
    Max,
    /// log(eᵃ + eᵇ) as in [`crate::math::logaddexp`]; f32 and f64.
    LogAddExp,
}

impl ScanOp {
    pub const ALL: [ScanOp; 5] = [ScanOp::Sum, ScanOp::Prod, ScanOp::Min, ScanOp::Max, ScanOp::LogAddExp];
    /// Whether values of this dtype can be scanned so.
    pub fn accepts(self, d: DType) -> bool {
        self.binary().map_or(matches!(d, DType::F32 | DType::F64), |op| op.accepts(d))
    }
    /// The operation between two values, where it is one instruction.
    pub fn binary(self) -> Option<BinaryOp> {
        match self {
            ScanOp::Sum => Some(BinaryOp::Add),
            ScanOp::Prod => Some(BinaryOp::Mul),
            ScanOp::Min => Some(BinaryOp::Min),
            ScanOp::Max => Some(BinaryOp::Max),
            ScanOp::LogAddExp => None,
        }
    }
    /// What an exclusive scan begins with.
    pub fn identity(self, d: DType) -> Scalar {
        match self {
            ScanOp::Sum => Combine::Sum.identity(d),
            ScanOp::Prod => Combine::Prod.identity(d),
            ScanOp::Min => Combine::Min.identity(d),
            ScanOp::Max | ScanOp::LogAddExp => Combine::Max.identity(d),
        }
    }
}

/// How a scatter combines an update with what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScatterOp {
    /// The last update in row-major order stays.
    Assign,
    Add,
    Mul,
    Min,
    Max,
}

impl ScatterOp {
    pub const ALL: [ScatterOp; 5] = [ScatterOp::Assign, ScatterOp::Add, ScatterOp::Mul, ScatterOp::Min, ScatterOp::Max];
    /// Whether values of this dtype can be scattered so.
    pub fn accepts(self, d: DType) -> bool {
        self.binary().map_or(d != DType::C64, |op| op.accepts(d))
    }
    /// The operation between what stands there and the update; none for `Assign`.
    pub fn binary(self) -> Option<BinaryOp> {
        match self {
            ScatterOp::Assign => None,
            ScatterOp::Add => Some(BinaryOp::Add),
            ScatterOp::Mul => Some(BinaryOp::Mul),
            ScatterOp::Min => Some(BinaryOp::Min),
            ScatterOp::Max => Some(BinaryOp::Max),
        }
    }
}
