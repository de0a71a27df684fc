//! What every scalar operation means on every dtype: the one table, total, that all backends agree with.
//!
//! Values travel as bits, zero-extended to 64, as in [`Scalar`]. Each operation is written once, as a loop over slices of
//! bits that is monomorphic in operation and dtype, so that the interpreter runs it on tiles and constant folding on
//! slices of one ([`eval`] and its like).
//!
//! Absent: loads, parameters and loop counters, which need a launch; dtypes that an operation does not accept
//! ([`UnaryOp::accepts`]), on which these functions panic.

use crate::dtype::{DType, Kind};
use crate::ir::{BinaryOp, Inst, UnaryOp};
use crate::scalar::Scalar;
use half::{bf16, f16};

/// Numbers that reach the edges of the operations once converted to each dtype; for tests.
pub const INTERESTING: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -3.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    7.0,
    31.0,
    32.0,
    64.0,
    255.0,
    65504.0,
    1e-45,
    6e-8,
    1e20,
    -1e20,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// `op a`. Panics if the operation does not accept the dtype.
///
/// ```
/// use lazuli_kernel::{Scalar, UnaryOp, scalar_ops::eval_unary};
/// assert_eq!(eval_unary(UnaryOp::Neg, Scalar::i32(i32::MIN)), Scalar::i32(i32::MIN));
/// ```
pub fn eval_unary(op: UnaryOp, a: Scalar) -> Scalar {
    one(a.dtype, |out| unary(op, a.dtype, &[a.bits], out))
}

/// `a op b`. Panics if the dtypes differ or the operation does not accept them.
pub fn eval_binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    assert_eq!(a.dtype, b.dtype, "operands of {op:?}");
    one(if op.is_comparison() { DType::Bool } else { a.dtype }, |out| binary(op, a.dtype, &[a.bits], &[b.bits], out))
}

/// a·b + c rounded once.
pub fn eval_fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar {
    one(a.dtype, |out| fma(a.dtype, &[a.bits], &[b.bits], &[c.bits], out))
}

/// [`Inst::Cast`].
pub fn eval_cast(to: DType, a: Scalar) -> Scalar {
    one(to, |out| cast(a.dtype, to, &[a.bits], out))
}

/// The value of an instruction whose operands ([`Inst::uses`]) have these values; `None` if it depends on more than those:
/// loads, parameters, counters, results of reductions.
pub fn eval(inst: &Inst, operands: &[Scalar]) -> Option<Scalar> {
    Some(match (*inst, operands) {
        (Inst::Const(s), _) => s,
        (Inst::Unary(op, _), &[a]) => eval_unary(op, a),
        (Inst::Binary(op, ..), &[a, b]) => eval_binary(op, a, b),
        (Inst::Fma(..), &[a, b, c]) => eval_fma(a, b, c),
        (Inst::Select(..), &[c, a, b]) => {
            if c.bits != 0 {
                a
            } else {
                b
            }
        }
        (Inst::Cast(to, _), &[a]) => eval_cast(to, a),
        (Inst::Bitcast(dtype, _), &[a]) => Scalar { dtype, bits: a.bits },
        _ => return None,
    })
}

fn one(dtype: DType, f: impl FnOnce(&mut [u64])) -> Scalar {
    let mut out = [0];
    f(&mut out);
    Scalar { dtype, bits: out[0] }
}

/// A type of numbers that is computed with, between its value and its bits.
pub(crate) trait Element: Copy + PartialOrd {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

/// Operations that integers and floats share, each with its own meaning.
trait Number: Element {
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn min(self, b: Self) -> Self;
    fn max(self, b: Self) -> Self;
}

trait Integer: Number {
    fn not(self) -> Self;
    fn rem(self, b: Self) -> Self;
    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    fn shl(self, b: Self) -> Self;
    fn shr(self, b: Self) -> Self;
}

trait Float: Number {
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn trunc(self) -> Self;
    fn round(self) -> Self;
    fn fma(self, b: Self, c: Self) -> Self;
}

macro_rules! integers {
    ($($int:ident as $unsigned:ident: $abs:ident),*) => {$(
        impl Element for $int {
            fn of(bits: u64) -> Self { bits as $int }
            fn bits(self) -> u64 { self as $unsigned as u64 }
        }
        impl Number for $int {
            fn neg(self) -> Self { self.wrapping_neg() }
            fn abs(self) -> Self { $abs!(self) }
            fn add(self, b: Self) -> Self { self.wrapping_add(b) }
            fn sub(self, b: Self) -> Self { self.wrapping_sub(b) }
            fn mul(self, b: Self) -> Self { self.wrapping_mul(b) }
            fn div(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_div(b) } }
            fn min(self, b: Self) -> Self { Ord::min(self, b) }
            fn max(self, b: Self) -> Self { Ord::max(self, b) }
        }
        impl Integer for $int {
            fn not(self) -> Self { !self }
            fn rem(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_rem(b) } }
            fn and(self, b: Self) -> Self { self & b }
            fn or(self, b: Self) -> Self { self | b }
            fn xor(self, b: Self) -> Self { self ^ b }
            fn shl(self, b: Self) -> Self {
                if (0..$int::BITS as i128).contains(&(b as i128)) { self << b } else { 0 }
            }
            fn shr(self, b: Self) -> Self {
                // Shifted twice, so that a signed number leaves its sign and an unsigned one leaves nothing.
                let all = $int::BITS - 1;
                if (0..$int::BITS as i128).contains(&(b as i128)) { self >> b } else { (self >> all) >> 1 }
            }
        }
    )*};
}
macro_rules! wrapping_abs {
    ($v:expr) => {
        $v.wrapping_abs()
    };
}
macro_rules! identity {
    ($v:expr) => {
        $v
    };
}
integers!(
    u8 as u8: identity, u16 as u16: identity, u32 as u32: identity, u64 as u64: identity,
    i8 as u8: wrapping_abs, i16 as u16: wrapping_abs, i32 as u32: wrapping_abs, i64 as u64: wrapping_abs
);

macro_rules! floats {
    ($($float:ident as $bits:ident: $fma:path),*) => {$(
        impl Element for $float {
            fn of(bits: u64) -> Self { $float::from_bits(bits as $bits) }
            fn bits(self) -> u64 { self.to_bits() as u64 }
        }
        impl Number for $float {
            fn neg(self) -> Self { -self }
            fn abs(self) -> Self { self.abs() }
            fn add(self, b: Self) -> Self { self + b }
            fn sub(self, b: Self) -> Self { self - b }
            fn mul(self, b: Self) -> Self { self * b }
            fn div(self, b: Self) -> Self { self / b }
            fn min(self, b: Self) -> Self {
                if self.is_nan() || b.is_nan() {
                    $float::NAN
                } else if self < b || self == b && self.is_sign_negative() {
                    self
                } else {
                    b
                }
            }
            fn max(self, b: Self) -> Self {
                if self.is_nan() || b.is_nan() {
                    $float::NAN
                } else if self > b || self == b && self.is_sign_positive() {
                    self
                } else {
                    b
                }
            }
        }
        impl Float for $float {
            fn sqrt(self) -> Self { self.sqrt() }
            fn floor(self) -> Self { self.floor() }
            fn ceil(self) -> Self { self.ceil() }
            fn trunc(self) -> Self { self.trunc() }
            fn round(self) -> Self { self.round_ties_even() }
            fn fma(self, b: Self, c: Self) -> Self { $fma(self, b, c) }
        }
    )*};
}
floats!(f32 as u32: fma_f32, f64 as u64: f64::mul_add);

impl Element for bool {
    fn of(bits: u64) -> Self {
        bits != 0
    }
    fn bits(self) -> u64 {
        self as u64
    }
}

/// Runs `$body` with `$T` naming the Rust type of an integer dtype.
macro_rules! with_integer {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            d => unreachable!("no integer: {d}"),
        }
    };
}

fn each1<A: Element, R: Element>(a: &[u64], out: &mut [u64], f: impl Fn(A) -> R) {
    for (o, &a) in out.iter_mut().zip(a) {
        *o = f(A::of(a)).bits();
    }
}

fn each2<A: Element, R: Element>(a: &[u64], b: &[u64], out: &mut [u64], f: impl Fn(A, A) -> R) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = f(A::of(a), A::of(b)).bits();
    }
}

pub(crate) fn unary(op: UnaryOp, dtype: DType, a: &[u64], out: &mut [u64]) {
    debug_assert!(op.accepts(dtype), "{op:?} of {dtype}");
    match dtype {
        DType::F32 => unary_float::<f32>(op, a, out),
        DType::F64 => unary_float::<f64>(op, a, out),
        DType::Bool => match op {
            UnaryOp::Not => each1(a, out, |a: bool| !a),
            _ => unreachable!("{op:?} of bool"),
        },
        _ => with_integer!(dtype, T => match op {
            UnaryOp::Neg => each1(a, out, <T as Number>::neg),
            UnaryOp::Abs => each1(a, out, <T as Number>::abs),
            UnaryOp::Not => each1(a, out, <T as Integer>::not),
            _ => unreachable!("{op:?} of {dtype}"),
        }),
    }
}

fn unary_float<T: Float>(op: UnaryOp, a: &[u64], out: &mut [u64]) {
    match op {
        UnaryOp::Neg => each1(a, out, T::neg),
        UnaryOp::Abs => each1(a, out, T::abs),
        UnaryOp::Sqrt => each1(a, out, T::sqrt),
        UnaryOp::Floor => each1(a, out, T::floor),
        UnaryOp::Ceil => each1(a, out, T::ceil),
        UnaryOp::Trunc => each1(a, out, T::trunc),
        UnaryOp::Round => each1(a, out, T::round),
        UnaryOp::Not => unreachable!("not of a float"),
    }
}

pub(crate) fn binary(op: BinaryOp, dtype: DType, a: &[u64], b: &[u64], out: &mut [u64]) {
    debug_assert!(op.accepts(dtype), "{op:?} of {dtype}");
    match dtype {
        DType::F32 => binary_float::<f32>(op, a, b, out),
        DType::F64 => binary_float::<f64>(op, a, b, out),
        DType::Bool => match op {
            BinaryOp::And | BinaryOp::Min => each2(a, b, out, |a: bool, b| a & b),
            BinaryOp::Or | BinaryOp::Max => each2(a, b, out, |a: bool, b| a | b),
            BinaryOp::Xor => each2(a, b, out, |a: bool, b| a ^ b),
            _ => compare::<bool>(op, a, b, out),
        },
        _ => with_integer!(dtype, T => binary_integer::<T>(op, a, b, out)),
    }
}

fn binary_integer<T: Integer>(op: BinaryOp, a: &[u64], b: &[u64], out: &mut [u64]) {
    match op {
        BinaryOp::Add => each2(a, b, out, T::add),
        BinaryOp::Sub => each2(a, b, out, T::sub),
        BinaryOp::Mul => each2(a, b, out, T::mul),
        BinaryOp::Div => each2(a, b, out, T::div),
        BinaryOp::Rem => each2(a, b, out, T::rem),
        BinaryOp::Min => each2(a, b, out, T::min),
        BinaryOp::Max => each2(a, b, out, T::max),
        BinaryOp::And => each2(a, b, out, T::and),
        BinaryOp::Or => each2(a, b, out, T::or),
        BinaryOp::Xor => each2(a, b, out, T::xor),
        BinaryOp::Shl => each2(a, b, out, T::shl),
        BinaryOp::Shr => each2(a, b, out, T::shr),
        // Of u32 only, so that the product of the zero-extended bits is whole.
        BinaryOp::MulHi => each2(a, b, out, |a: u64, b| (a * b) >> 32),
        _ => compare::<T>(op, a, b, out),
    }
}

fn binary_float<T: Float>(op: BinaryOp, a: &[u64], b: &[u64], out: &mut [u64]) {
    match op {
        BinaryOp::Add => each2(a, b, out, T::add),
        BinaryOp::Sub => each2(a, b, out, T::sub),
        BinaryOp::Mul => each2(a, b, out, T::mul),
        BinaryOp::Div => each2(a, b, out, T::div),
        BinaryOp::Min => each2(a, b, out, T::min),
        BinaryOp::Max => each2(a, b, out, T::max),
        BinaryOp::Lesser => each2(a, b, out, |a: T, b| if a < b { a } else { b }),
        BinaryOp::Greater => each2(a, b, out, |a: T, b| if a > b { a } else { b }),
        _ => compare::<T>(op, a, b, out),
    }
}

fn compare<T: Element>(op: BinaryOp, a: &[u64], b: &[u64], out: &mut [u64]) {
    match op {
        BinaryOp::Eq => each2(a, b, out, |a: T, b| a == b),
        BinaryOp::Ne => each2(a, b, out, |a: T, b| a != b),
        BinaryOp::Lt => each2(a, b, out, |a: T, b| a < b),
        BinaryOp::Le => each2(a, b, out, |a: T, b| a <= b),
        BinaryOp::Gt => each2(a, b, out, |a: T, b| a > b),
        BinaryOp::Ge => each2(a, b, out, |a: T, b| a >= b),
        _ => unreachable!("{op:?} on a dtype that it does not accept"),
    }
}

pub(crate) fn fma(dtype: DType, a: &[u64], b: &[u64], c: &[u64], out: &mut [u64]) {
    fn each3<T: Float>(a: &[u64], b: &[u64], c: &[u64], out: &mut [u64]) {
        for (((o, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *o = T::of(a).fma(T::of(b), T::of(c)).bits();
        }
    }
    match dtype {
        DType::F32 => each3::<f32>(a, b, c, out),
        DType::F64 => each3::<f64>(a, b, c, out),
        _ => unreachable!("fma of {dtype}"),
    }
}

pub(crate) fn select(condition: &[u64], a: &[u64], b: &[u64], out: &mut [u64]) {
    for (((o, &c), &a), &b) in out.iter_mut().zip(condition).zip(a).zip(b) {
        *o = if c != 0 { a } else { b };
    }
}

/// Goes by way of f64 from floats and of i64 or u64 from the others: each holds its sources exactly.
pub(crate) fn cast(from: DType, to: DType, a: &[u64], out: &mut [u64]) {
    match from {
        _ if from == to => out.copy_from_slice(a),
        DType::F16 => from_float(to, a, out, |a| f16::from_bits(a as u16).to_f64()),
        DType::BF16 => from_float(to, a, out, |a| bf16::from_bits(a as u16).to_f64()),
        DType::F32 => from_float(to, a, out, |a| f32::of(a) as f64),
        DType::F64 => from_float(to, a, out, f64::of),
        DType::I8 => from_signed(to, a, out, |a| i8::of(a) as i64),
        DType::I16 => from_signed(to, a, out, |a| i16::of(a) as i64),
        DType::I32 => from_signed(to, a, out, |a| i32::of(a) as i64),
        DType::I64 => from_signed(to, a, out, i64::of),
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => from_unsigned(to, a, out),
        DType::C64 => unreachable!("no value of a kernel is complex"),
    }
}

fn from_float(to: DType, a: &[u64], out: &mut [u64], value: impl Fn(u64) -> f64) {
    let value = |&a: &u64| value(a);
    let values = a.iter().map(value);
    let out = out.iter_mut();
    match to {
        DType::Bool => out.zip(values).for_each(|(o, v)| *o = (v != 0.0) as u64),
        DType::F16 => out.zip(values).for_each(|(o, v)| *o = f64_to_f16(v).to_bits() as u64),
        DType::BF16 => out.zip(values).for_each(|(o, v)| *o = f64_to_bf16(v).to_bits() as u64),
        DType::F32 => out.zip(values).for_each(|(o, v)| *o = (v as f32).bits()),
        DType::F64 => out.zip(values).for_each(|(o, v)| *o = v.bits()),
        // `as` truncates and saturates, and turns NaN into 0.
        _ => with_integer!(to, T => out.zip(values).for_each(|(o, v)| *o = (v as T).bits())),
    }
}

fn from_signed(to: DType, a: &[u64], out: &mut [u64], value: impl Fn(u64) -> i64) {
    let value = |&a: &u64| value(a);
    let values = a.iter().map(value);
    let out = out.iter_mut();
    match to {
        DType::Bool => out.zip(values).for_each(|(o, v)| *o = (v != 0) as u64),
        DType::F16 => out.zip(values).for_each(|(o, v)| *o = f16::from_f32(v as f32).to_bits() as u64),
        DType::BF16 => out.zip(values).for_each(|(o, v)| *o = bf16::from_f32(v as f32).to_bits() as u64),
        DType::F32 => out.zip(values).for_each(|(o, v)| *o = (v as f32).bits()),
        DType::F64 => out.zip(values).for_each(|(o, v)| *o = (v as f64).bits()),
        _ => with_integer!(to, T => out.zip(values).for_each(|(o, v)| *o = (v as T).bits())),
    }
}

fn from_unsigned(to: DType, a: &[u64], out: &mut [u64]) {
    let out = out.iter_mut().zip(a);
    match to {
        DType::Bool => out.for_each(|(o, &v)| *o = (v != 0) as u64),
        DType::F16 => out.for_each(|(o, &v)| *o = f16::from_f32(v as f32).to_bits() as u64),
        DType::BF16 => out.for_each(|(o, &v)| *o = bf16::from_f32(v as f32).to_bits() as u64),
        DType::F32 => out.for_each(|(o, &v)| *o = (v as f32).bits()),
        DType::F64 => out.for_each(|(o, &v)| *o = (v as f64).bits()),
        _ => with_integer!(to, T => out.for_each(|(o, &v)| *o = (v as T).bits())),
    }
}

/// a·b + c rounded once, as [`f32::mul_add`]; that is a call, or worse, unless compiled for a processor with the instruction, where this is
/// arithmetic that vectorises. In f64 the product is exact, and the sum is rounded to odd before it is rounded to f32.
fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (a as f64 * b as f64, c as f64);
    let sum = product + c;
    // What the sum lost, exactly (Knuth's TwoSum); NaN beside infinities.
    let rest = sum - product;
    let lost = (product - (sum - rest)) + (c - rest);
    let bits = sum.to_bits();
    let toward_lost = if (lost > 0.0) == (sum > 0.0) { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if lost.abs() > 0.0 && bits & 1 == 0 { toward_lost } else { bits }) as f32
}

/// f64 to f16, rounded once to nearest even. (`half` converts by way of f32 where it uses the hardware, and drops low bits where it does not.)
pub fn f64_to_f16(v: f64) -> f16 {
    f16::from_f32(round_to_odd(v))
}

/// f64 to bf16, rounded once to nearest even.
pub fn f64_to_bf16(v: f64) -> bf16 {
    bf16::from_f32(round_to_odd(v))
}

/// f64 to f32, toward zero, with the last bit set if anything was lost: rounding the result to a format that is two or
/// more bits narrower then gives what rounding `v` itself would (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008).
fn round_to_odd(v: f64) -> f32 {
    let near = v as f32;
    if near as f64 == v {
        return near;
    }
    let away = (near as f64).abs() > v.abs();
    f32::from_bits((near.to_bits() - away as u32) | 1)
}

/// Where `candidate` stands before all else that an `ArgMin` (`ArgMax`) saw, given the best so far: NaN first, then by `<` (`>`).
pub(crate) fn arg_better(largest: bool, dtype: DType, candidate: u64, best: u64) -> bool {
    fn better<T: Element>(largest: bool, candidate: u64, best: u64) -> bool {
        let (candidate, best) = (T::of(candidate), T::of(best));
        let is_nan = |v: T| v.partial_cmp(&v).is_none();
        !is_nan(best) && (is_nan(candidate) || if largest { candidate > best } else { candidate < best })
    }
    match dtype.kind() {
        Kind::Bool => better::<bool>(largest, candidate, best),
        Kind::Float if dtype == DType::F32 => better::<f32>(largest, candidate, best),
        Kind::Float => better::<f64>(largest, candidate, best),
        _ => with_integer!(dtype, T => better::<T>(largest, candidate, best)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Scalar::eq`, and all NaNs are equal.
    fn same(a: Scalar, b: Scalar) -> bool {
        a == b || a.dtype == b.dtype && a.to_f64().is_nan() && b.to_f64().is_nan()
    }

    fn scalar(text: &str) -> Scalar {
        text.parse().unwrap()
    }

    /// Each case is `op operands = result`, with scalars as they print.
    #[track_caller]
    fn check(cases: &[&str]) {
        for case in cases {
            let words: Vec<&str> = case.split_whitespace().collect();
            let [op, operands @ .., "=", want] = &words[..] else { panic!("not a case: {case}") };
            let v: Vec<Scalar> = operands.iter().filter_map(|w| w.parse().ok()).collect();
            let of = |all: &[&str]| all.contains(op);
            let got = if of(&["cast"]) {
                eval_cast(DType::from_short_name(operands[0]).unwrap(), v[0])
            } else if of(&["fma"]) {
                eval_fma(v[0], v[1], v[2])
            } else if v.len() == 1 {
                eval_unary(UnaryOp::ALL.into_iter().find(|o| crate::print::keyword(o) == *op).unwrap(), v[0])
            } else {
                eval_binary(BinaryOp::ALL.into_iter().find(|o| crate::print::keyword(o) == *op).unwrap(), v[0], v[1])
            };
            assert!(same(got, scalar(want)), "{case}, not {got}");
        }
    }

    #[test]
    fn integers_are_total() {
        check(&[
            "neg -128:i8 = -128:i8",
            "neg 1:u8 = 255:u8",
            "abs -128:i8 = -128:i8",
            "abs -5:i64 = 5:i64",
            "abs 200:u8 = 200:u8",
            "not 0:u16 = 65535:u16",
            "not -1:i32 = 0:i32",
            "not true:bool = false:bool",
            "add 127:i8 1:i8 = -128:i8",
            "sub 0:u32 1:u32 = 4294967295:u32",
            "mul 16:u8 17:u8 = 16:u8",
            "div 7:i32 0:i32 = 0:i32",
            "div -7:i32 2:i32 = -3:i32",
            "div -2147483648:i32 -1:i32 = -2147483648:i32",
            "div -9223372036854775808:i64 -1:i64 = -9223372036854775808:i64",
            "div 18446744073709551615:u64 2:u64 = 9223372036854775807:u64",
            "rem 7:i32 0:i32 = 0:i32",
            "rem -7:i32 2:i32 = -1:i32",
            "rem -128:i8 -1:i8 = 0:i8",
            "min -1:i8 1:i8 = -1:i8",
            "max 255:u8 1:u8 = 255:u8",
            "min true:bool false:bool = false:bool",
            "max true:bool false:bool = true:bool",
            "xor true:bool true:bool = false:bool",
            "lt false:bool true:bool = true:bool",
            "shl 1:u8 7:u8 = 128:u8",
            "shl 1:u8 8:u8 = 0:u8",
            "shl 1:i32 -1:i32 = 0:i32",
            "shl 1:i64 63:i64 = -9223372036854775808:i64",
            "shl 1:u64 18446744073709551615:u64 = 0:u64",
            "shr -8:i8 1:i8 = -4:i8",
            "shr -8:i8 100:i8 = -1:i8",
            "shr -8:i8 -1:i8 = -1:i8",
            "shr 8:i8 100:i8 = 0:i8",
            "shr 255:u8 8:u8 = 0:u8",
            "shr 255:u8 7:u8 = 1:u8",
            "mulhi 4294967295:u32 4294967295:u32 = 4294967294:u32",
            "mulhi 65536:u32 65535:u32 = 0:u32",
            "lt -1:i8 1:i8 = true:bool",
            "gt 18446744073709551615:u64 1:u64 = true:bool",
        ]);
    }

    #[test]
    fn floats_follow_ieee_754() {
        check(&[
            "neg 0.0:f32 = -0.0:f32",
            "abs -0.0:f64 = 0.0:f64",
            "sqrt -0.0:f32 = -0.0:f32",
            "sqrt -1.0:f32 = NaN:f32",
            "round 2.5:f32 = 2.0:f32",
            "round -0.5:f32 = -0.0:f32",
            "round 3.5:f64 = 4.0:f64",
            "floor -0.5:f64 = -1.0:f64",
            "ceil -0.5:f32 = -0.0:f32",
            "trunc -1.5:f32 = -1.0:f32",
            "div 1.0:f32 0.0:f32 = inf:f32",
            "div 0.0:f32 0.0:f32 = NaN:f32",
            "mul 1e-30:f32 1e-15:f32 = 1e-45:f32",
            "min NaN:f32 1.0:f32 = NaN:f32",
            "min 1.0:f32 NaN:f32 = NaN:f32",
            "max 1.0:f64 NaN:f64 = NaN:f64",
            "min 0.0:f32 -0.0:f32 = -0.0:f32",
            "min -0.0:f32 0.0:f32 = -0.0:f32",
            "max -0.0:f32 0.0:f32 = 0.0:f32",
            "max 0.0:f32 -0.0:f32 = 0.0:f32",
            "lesser NaN:f32 1.0:f32 = 1.0:f32",
            "lesser 1.0:f32 NaN:f32 = NaN:f32",
            "lesser -0.0:f32 0.0:f32 = 0.0:f32",
            "greater -0.0:f32 0.0:f32 = 0.0:f32",
            "greater 0.0:f32 -0.0:f32 = -0.0:f32",
            "eq 0.0:f32 -0.0:f32 = true:bool",
            "eq NaN:f32 NaN:f32 = false:bool",
            "ne NaN:f32 NaN:f32 = true:bool",
            "ge NaN:f32 1.0:f32 = false:bool",
            // Exact product 1 + 2⁻²² + 2⁻⁴⁶: two roundings would lose the last term.
            "fma 1.0000001:f32 1.0000001:f32 -1.0000002:f32 = 1.4210855e-14:f32",
            "fma inf:f32 0.0:f32 1.0:f32 = NaN:f32",
        ]);
    }

    #[test]
    fn casts_round_once_saturate_and_wrap() {
        check(&[
            "cast u8 300.7:f32 = 255:u8",
            "cast u8 -1.0:f32 = 0:u8",
            "cast i8 -128.9:f32 = -128:i8",
            "cast i32 NaN:f32 = 0:i32",
            "cast i32 2147483648.0:f32 = 2147483647:i32",
            "cast i64 -inf:f64 = -9223372036854775808:i64",
            "cast u64 1e20:f64 = 18446744073709551615:u64",
            "cast u64 9.223372036854775808e18:f64 = 9223372036854775808:u64",
            "cast i16 inf:f16 = 32767:i16",
            "cast bool NaN:f32 = true:bool",
            "cast bool -0.0:f32 = false:bool",
            "cast bool 256:i32 = true:bool",
            "cast bool 1e-45:f32 = true:bool",
            "cast f16 true:bool = 1.0:f16",
            "cast i8 200:u8 = -56:i8",
            "cast u32 -1:i8 = 4294967295:u32",
            "cast u8 -1:i64 = 255:u8",
            "cast f32 16777217:i32 = 16777216.0:f32",
            "cast f32 18446744073709551615:u64 = 1.8446744073709552e19:f32",
            "cast f64 9223372036854775807:i64 = 9.223372036854775807e18:f64",
            // 2⁶² + 2³⁸ + 1 is just above a tie of f32: by way of f64 it would round to even, down.
            "cast f32 4611686293305294849:i64 = 4611686568183201792.0:f32",
            // From an integer to bf16 goes through f32: 2⁶² + 2⁵⁴ + 1 becomes a tie.
            "cast bf16 4629700416936869889:i64 = 4611686018427387904.0:bf16",
            "cast f16 65519.0:f32 = 65504.0:f16",
            "cast f16 65520.0:f32 = inf:f16",
            "cast f16 70000:i32 = inf:f16",
            "cast bf16 3.4e38:f64 = inf:bf16",
            "cast f32 1e300:f64 = inf:f32",
            "cast bf16 1e300:f64 = inf:bf16",
            "cast f16 -1e300:f64 = -inf:f16",
            "cast bf16 NaN:f64 = NaN:bf16",
            // Just above a tie of f16 and of bf16, by less than f32 can hold.
            "cast f16 1.00048828125000001:f64 = 1.0:f16",
            "cast f16 1.0004882812500002:f64 = 1.0009765625:f16",
            "cast f16 1.00048828125:f64 = 1.0:f16",
            "cast bf16 1.0039062500000002:f64 = 1.0078125:bf16",
            "cast bf16 1.00390625:f64 = 1.0:bf16",
            // Half of the smallest subnormal is a tie; anything above it is not.
            "cast f16 2.98023223876953125e-8:f64 = 0.0:f16",
            "cast f16 2.98023223876953160e-8:f64 = 5.960464477539063e-8:f16",
            "cast f32 5.960464477539063e-8:f16 = 5.9604645e-8:f32",
            "cast bf16 1e-45:f64 = 0.0:bf16",
            "cast f32 1e-40:bf16 = 9.1835e-41:f32",
        ]);
    }

    /// f16 values are spaced so that every f64 between two neighbours must go to the nearer one.
    #[test]
    fn f64_to_half_rounds_to_nearest_even() {
        let next = |v: f64| f64::from_bits(v.to_bits() + 1);
        let last = |v: f64| f64::from_bits(v.to_bits() - 1);
        for bits in (0..0x7bffu16).step_by(7) {
            let (low, high) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            let tie = (low.to_f64() + high.to_f64()) / 2.0;
            let even = if bits % 2 == 0 { low } else { high };
            assert_eq!([f64_to_f16(last(tie)), f64_to_f16(tie), f64_to_f16(next(tie))], [low, even, high], "{tie}");
            assert_eq!(f64_to_f16(-next(tie)), -high);
        }
        for bits in (0..0x7f7fu16).step_by(7) {
            let (low, high) = (bf16::from_bits(bits), bf16::from_bits(bits + 1));
            let tie = (low.to_f64() + high.to_f64()) / 2.0;
            let even = if bits % 2 == 0 { low } else { high };
            assert_eq!([f64_to_bf16(last(tie)), f64_to_bf16(tie), f64_to_bf16(next(tie))], [low, even, high], "{tie}");
        }
    }

    #[test]
    fn fma_is_that_of_the_processor() {
        let mut rng = crate::testing::Rng(1);
        let mut number = || {
            // Near exponents, so that sums cancel and round; any bits now and then.
            let bits = rng.bits();
            if bits >> 60 == 0 { bits as u32 } else { bits as u32 & 0x83ff_ffff | 0x3e00_0000 }
        };
        for _ in 0..200_000 {
            let [a, b, c] = [number(), number(), number()].map(f32::from_bits);
            // A sum that almost cancels.
            for c in [c, -(a * b), f32::from_bits((-(a * b)).to_bits() ^ 1), 1e-45, -0.0] {
                let (got, want) = (fma_f32(a, b, c), a.mul_add(b, c));
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{a:e} · {b:e} + {c:e}: {got:e}, not {want:e}"
                );
            }
        }
        for (a, b, c) in
            INTERESTING.iter().flat_map(|&a| INTERESTING.iter().flat_map(move |&b| INTERESTING.map(|c| (a, b, c))))
        {
            let [a, b, c] = [a, b, c].map(|v| v as f32);
            let (got, want) = (fma_f32(a, b, c), a.mul_add(b, c));
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{a:e} · {b:e} + {c:e}: {got:e}, not {want:e}"
            );
        }
    }

    /// Every operation returns on every pair of edge values, and gives a value of its dtype.
    #[test]
    fn every_operation_is_total() {
        for d in DType::ALL.into_iter().filter(|d| *d != DType::C64) {
            let values = INTERESTING.map(|v| Scalar::from_f64(d, v));
            let fits = |s: Scalar| s.dtype.itemsize() == 8 || s.bits >> (8 * s.dtype.itemsize()) == 0;
            for a in values {
                for op in UnaryOp::ALL.into_iter().filter(|op| op.accepts(d)) {
                    assert!(fits(eval_unary(op, a)), "{op:?} {a}");
                }
                for to in DType::ALL.into_iter().filter(|d| *d != DType::C64) {
                    assert!(fits(eval_cast(to, a)), "cast {to} {a}");
                }
                for b in values {
                    for op in BinaryOp::ALL.into_iter().filter(|op| op.accepts(d)) {
                        assert!(fits(eval_binary(op, a, b)), "{op:?} {a} {b}");
                    }
                }
            }
        }
    }
}
