//! Numbers of the program that a compiled function traces: `float64` and `complex128` of numpy, and with `traced_scalars=True` all.
//!
//! Beside an array such a number takes the array's dtype, and by themselves numbers do Python's arithmetic: in float64 and int64. What functions
//! of arrays are given, and what is looked at as an array, is an array of the default dtype of its kind. Absent: powers of integers, whose type
//! depends on their values, integers beyond 64 bits, and the refusal of one that its array's dtype cannot hold; all these need the value. Powers
//! of floats may differ from Python's in the last bit of float64.

use crate::convert::Arg;
use lazuli_core::{Array, DType, Operand, Result, Weak, ops};
use lazuli_ir::{Binary, Unary};

/// A number that is traced.
#[derive(Debug, Clone)]
pub struct Number {
    /// Its value, of the kind's widest dtype where it was computed.
    pub value: Array,
    /// The dtype it has by itself.
    default: DType,
}

/// What kinds of numbers do arithmetic in.
fn wide(default: DType) -> DType {
    match default {
        DType::F32 => DType::F64,
        DType::I32 => DType::I64,
        other => other,
    }
}

impl Number {
    /// A number written in the program.
    pub fn new(number: Weak) -> Number {
        let default = number.dtype_beside(None);
        // Integers go as they are: an int32 is cast to anything as an int64 is.
        let dtype = if default == DType::F32 { DType::F64 } else { default };
        Number { value: Array::scalar(number.scalar(dtype)), default }
    }
    /// The number that an array stands for, which was made of one of this default dtype.
    pub fn of(value: Array, default: DType) -> Number {
        Number { value, default }
    }
    pub fn default(&self) -> DType {
        self.default
    }
    /// A number of the same kind: what decides which dtype it takes.
    pub fn kind(&self) -> Weak {
        match self.default {
            DType::Bool => Weak::Bool(false),
            DType::I32 => Weak::Int(0),
            DType::I64 => Weak::Int(i64::MAX),
            DType::C64 => Weak::Complex(0.0, 0.0),
            _ => Weak::Float(0.0),
        }
    }
    /// The dtype that it takes beside an array.
    pub fn dtype_beside(&self, beside: Option<DType>) -> DType {
        self.kind().dtype_beside(beside)
    }
    pub fn array_of(&self, dtype: DType) -> Array {
        ops::astype(&self.value, dtype).expect("scalars are cast to any dtype")
    }
    /// `−k`, `abs(k)`: a number, where Python has one.
    pub fn unary(&self, op: Unary) -> Option<Result<Number>> {
        let default = match (op, self.default) {
            (Unary::Neg | Unary::Abs, DType::Bool) => DType::I32,
            (Unary::Abs, DType::C64) => DType::F32,
            (Unary::Neg | Unary::Abs, default) => default,
            _ => return None,
        };
        let operand = if self.default == DType::Bool { DType::I64 } else { wide(self.default) };
        let value = ops::unary(op, &self.array_of(operand));
        Some(value.map(|value| Number { value, default }))
    }
}

impl Operand for Number {
    fn array(&self, beside: Option<DType>) -> Array {
        self.array_of(self.dtype_beside(beside))
    }
    fn dtype(&self) -> Option<DType> {
        None
    }
}

/// What an operator gives for two numbers, of which one is traced: a number, where it is one whatever the values are.
pub fn binary(op: Binary, a: &Arg, b: &Arg) -> Option<Result<Number>> {
    let number = |arg: &Arg| match arg {
        Arg::Number(n) => Some(n.clone()),
        Arg::Weak(w) => Some(Number::new(*w)),
        Arg::Array(_) | Arg::Dim(_) => None,
    };
    let (a, b) = (number(a)?, number(b)?);
    let mut default = a.default.promote(b.default);
    if [a.default, b.default].contains(&DType::F32) && default != DType::C64 {
        default = DType::F32;
    }
    let is_arithmetic = !matches!(op, Binary::BitwiseAnd | Binary::BitwiseOr | Binary::BitwiseXor);
    if default == DType::Bool && is_arithmetic {
        default = DType::I32;
    }
    let is_integer = matches!(default, DType::Bool | DType::I32 | DType::I64);
    let gives = match op {
        Binary::Add | Binary::Sub | Binary::Mul => default,
        Binary::Div if is_integer => DType::F32,
        Binary::Div => default,
        Binary::FloorDivide | Binary::Remainder if default != DType::C64 => default,
        Binary::Power if !is_integer => default,
        Binary::BitwiseAnd | Binary::BitwiseOr | Binary::BitwiseXor | Binary::LeftShift | Binary::RightShift
            if is_integer =>
        {
            default
        }
        Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual | Binary::Eq | Binary::Ne => {
            DType::Bool
        }
        _ => return None,
    };
    let dtype = if op == Binary::Div { wide(gives) } else { wide(default) };
    let value = ops::binary(op, a.array_of(dtype), b.array_of(dtype));
    Some(value.map(|value| Number { value, default: gives }))
}
