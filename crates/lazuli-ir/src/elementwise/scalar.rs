//! What rows of the table do to real numbers, where it takes more than one instruction.
//!
//! All of it is total: every dtype that the row accepts, every bit pattern.

use lazuli_kernel::{BinaryOp, DType, Emit, Scalar, UnaryOp, Value, math};

/// Sum; disjunction for bool.
pub(super) fn add(e: &mut Emit, a: Value, b: Value) -> Value {
    match e.dtype(a) {
        DType::Bool => e.or(a, b),
        _ => e.add(a, b),
    }
}

/// Difference; exclusive or for bool.
pub(super) fn sub(e: &mut Emit, a: Value, b: Value) -> Value {
    match e.dtype(a) {
        DType::Bool => e.binary(BinaryOp::Xor, a, b),
        _ => e.sub(a, b),
    }
}

/// Product; conjunction for bool.
pub(super) fn mul(e: &mut Emit, a: Value, b: Value) -> Value {
    match e.dtype(a) {
        DType::Bool => e.and(a, b),
        _ => e.mul(a, b),
    }
}

/// Absolute value; bool is its own.
pub(super) fn abs(e: &mut Emit, a: Value) -> Value {
    match e.dtype(a) {
        DType::Bool => a,
        _ => e.abs(a),
    }
}

/// −1, 0 or 1; 0 for ±0 and NaN.
pub(super) fn sign(e: &mut Emit, a: Value) -> Value {
    if e.dtype(a) == DType::Bool {
        return a;
    }
    let (zero, one) = (e.like(a, 0.0), e.like(a, 1.0));
    let (above, below) = (e.gt(a, zero), e.lt(a, zero));
    let positive = e.select(above, one, zero);
    if !(e.dtype(a).is_float() || signed(e.dtype(a))) {
        return positive;
    }
    let minus = e.like(a, -1.0);
    e.select(below, minus, positive)
}

fn signed(d: DType) -> bool {
    matches!(d, DType::I8 | DType::I16 | DType::I32 | DType::I64)
}

/// A rounding to an integral value; integers and bool are that already.
pub(super) fn to_integral(e: &mut Emit, op: UnaryOp, a: Value) -> Value {
    if e.dtype(a).is_float() { e.unary(op, a) } else { a }
}

/// Whether a ≠ 0; true for NaN.
pub(super) fn truth(e: &mut Emit, a: Value) -> Value {
    e.cast(DType::Bool, a)
}

pub(super) fn not(e: &mut Emit, a: Value) -> Value {
    e.unary(UnaryOp::Not, a)
}

/// Whether a is this value, which only floats can hold.
pub(super) fn is_float_value(e: &mut Emit, a: Value, v: f64) -> Value {
    if !e.dtype(a).is_float() {
        return e.constant(Scalar::bool(false));
    }
    let v = e.like(a, v);
    e.eq(a, v)
}

pub(super) fn is_nan(e: &mut Emit, a: Value) -> Value {
    e.binary(BinaryOp::Ne, a, a)
}

pub(super) fn is_inf(e: &mut Emit, a: Value) -> Value {
    let magnitude = abs(e, a);
    is_float_value(e, magnitude, f64::INFINITY)
}

pub(super) fn is_finite(e: &mut Emit, a: Value) -> Value {
    if !e.dtype(a).is_float() {
        return e.constant(Scalar::bool(true));
    }
    let (magnitude, inf) = (e.abs(a), e.like(a, f64::INFINITY));
    e.lt(magnitude, inf)
}

/// ⌊a/b⌋ of the rounded quotient for floats; for integers ⌊a/b⌋ exactly, with x // 0 = 0 and MIN // −1 = MIN; for bool, a and b.
pub(super) fn floor_divide(e: &mut Emit, a: Value, b: Value) -> Value {
    let d = e.dtype(a);
    if d == DType::Bool {
        return e.and(a, b);
    }
    let q = e.div(a, b);
    if d.is_float() {
        return e.unary(UnaryOp::Floor, q);
    }
    if !signed(d) {
        return q;
    }
    let r = e.binary(BinaryOp::Rem, a, b);
    let off = signs_differ(e, r, b);
    let one = e.like(a, 1.0);
    let less = e.sub(q, one);
    e.select(off, less, q)
}

/// a − b⌊a/b⌋ with the sign of b, as Python's `%`. Integers: x % 0 = 0. Bool: false.
///
/// Floats are exact before the sign is mended, as C's `fmod`: each step takes off a multiple of b that leaves less than 2⁻⁵² of what was
/// there, and its remainder fits a double (both are multiples of the last place of b). Six steps reach every f32 quotient; f64 takes as many,
/// and is exact for quotients below 2³¹².
pub(super) fn remainder(e: &mut Emit, a: Value, b: Value) -> Value {
    let d = e.dtype(a);
    if d == DType::Bool {
        return e.constant(Scalar::bool(false));
    }
    if !d.is_float() {
        let r = e.binary(BinaryOp::Rem, a, b);
        if !signed(d) {
            return r;
        }
        let (off, mended) = (signs_differ(e, r, b), e.add(r, b));
        return e.select(off, mended, r);
    }
    let divisor = e.cast(DType::F64, b);
    let mut r = e.cast(DType::F64, a);
    for _ in 0..6 {
        let q = e.div(r, divisor);
        let q = e.unary(UnaryOp::Trunc, q);
        let minus_q = e.neg(q);
        r = e.fma(minus_q, divisor, r);
    }
    let r = e.cast(d, r);
    // A finite a within an infinite b, where 0·∞ spoiled the steps, is its own remainder.
    let (size_a, size_b) = (e.abs(a), e.abs(b));
    let within = e.lt(size_a, size_b);
    let r = e.select(within, a, r);
    let (off, mended) = (signs_differ(e, r, b), e.add(r, b));
    let r = e.select(off, mended, r);
    // A remainder of 0 has the sign of b.
    let zero = e.like(a, 0.0);
    let (minus_zero, is_zero, below) = (e.neg(zero), e.eq(r, zero), e.lt(b, zero));
    let signed_zero = e.select(below, minus_zero, zero);
    e.select(is_zero, signed_zero, r)
}

/// Whether r is not 0 and b has the other sign.
fn signs_differ(e: &mut Emit, r: Value, b: Value) -> Value {
    let zero = e.like(r, 0.0);
    let (r_below, r_above) = (e.lt(r, zero), e.gt(r, zero));
    let (b_below, b_above) = (e.lt(b, zero), e.gt(b, zero));
    let (one, other) = (e.and(r_below, b_above), e.and(r_above, b_below));
    e.or(one, other)
}

/// aᵇ.
pub(super) fn power(e: &mut Emit, a: Value, b: Value) -> Value {
    if e.dtype(a).is_float() { math::pow(e, a, b) } else { integer_power(e, a, b) }
}

/// aᵇ of integers by repeated squaring over all bits of b, wrapping; 0 for b < 0. Of bool: a or not b.
fn integer_power(e: &mut Emit, a: Value, b: Value) -> Value {
    let d = e.dtype(a);
    if d == DType::Bool {
        let b = not(e, b);
        return e.or(a, b);
    }
    let (zero, one) = (e.like(a, 0.0), e.like(a, 1.0));
    let bits = 8 * d.itemsize() as u32 - signed(d) as u32;
    let (mut result, mut square) = (one, a);
    for bit in 0..bits {
        let mask = e.constant(Scalar::from_i64(d, 1i64 << bit));
        let taken = e.and(b, mask);
        let taken = e.binary(BinaryOp::Ne, taken, zero);
        let product = e.mul(result, square);
        result = e.select(taken, product, result);
        if bit + 1 < bits {
            square = e.mul(square, square);
        }
    }
    if !signed(d) {
        return result;
    }
    let negative = e.lt(b, zero);
    e.select(negative, zero, result)
}
