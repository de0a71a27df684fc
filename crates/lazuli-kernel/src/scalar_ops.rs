//! What every scalar operation means on every dtype: the one table, total, that all backends agree with.
//!
//! Values travel as bits, zero-extended to 64, as in [`Scalar`]. Each operation is written once, as a loop over slices of
//! bits that is monomorphic in operation and dtype, so that the interpreter runs it on tiles and constant folding on
//! slices of one ([`eval`] and its like).
//!
//! Absent: loads, parameters and loop counters, which need a launch; dtypes that an operation does not accept
//! ([`UnaryOp::accepts`]), on which these functions panic.

mod cast;
mod element;
#[cfg(test)]
mod tests;

use crate::dtype::{DType, Kind};
use crate::ir::{BinaryOp, Inst, UnaryOp};
use crate::scalar::Scalar;
pub(crate) use cast::cast;
pub use cast::{f64_to_bf16, f64_to_f16};
pub(crate) use element::Element;
use element::{Float, Integer, Number, each1, each2, with_integer};

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
