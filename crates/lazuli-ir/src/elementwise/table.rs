//! The table itself. It is a callback macro: `lazuli-ir` expands it into the families, `lazuli-core` into functions and methods,
//! the Python binding into functions, stubs and documentation; each takes what it needs of a row. An example is the operands and the
//! printed result, as the documentation of the Python function shows them; the suite of the Python package runs all of them.

use super::{Accepts, Gives, Partial, Row, complex, partials, rules, scalar};
use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, stretched};
use crate::graph::Atom;
use crate::param::Params;
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use lazuli_kernel::{BinaryOp, Emit, Result, UnaryOp, math};
use smallvec::SmallVec;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};

/// Calls `$with!` with every row of the elementwise ops.
#[macro_export]
macro_rules! elementwise_table {
    ($with:ident) => {
        $with! {
            /// Ops of one operand.
            Unary[1] {
                Neg negative "Elementwise negation, −a, of a's dtype. Integers wrap; bool is refused." {
                    example: ["[-2.0, 0.0, 3.0]"] => "array([2, -0, -3], dtype=float32)",
                    accepts: Number, gives: Same,
                    partials: |_, _, _| Ok([Partial::MinusOne]),
                    real: |e, [a]| e.unary(UnaryOp::Neg, a),
                    complex: |e, [a]| complex::each(e, a, Emit::neg),
                }
                Abs abs "Elementwise absolute value, of a's dtype; float32 for complex64. The smallest signed integer wraps to itself. The derivative at 0 is 0." {
                    example: ["[-2, 0, 3]"] => "array([2, 0, 3], dtype=int32)",
                    accepts: Any, gives: RealPart,
                    partials: partials::abs_partial,
                    real: |e, [a]| scalar::abs(e, a),
                    complex: complex::abs,
                }
                Sign sign "Elementwise sign, −1, 0 or 1 in a's dtype; 0 for NaN. For complex64 a/|a|, and 0 for 0. The derivative is taken as 0." {
                    example: ["[-2.0, 0.0, 3.0]"] => "array([-1, 0, 1], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::sign(e, a),
                    complex: complex::sign,
                }
                LogicalNot logical_not "Whether a is 0 or False, elementwise: bool. NaN counts as true." {
                    example: ["[0, 2]"] => "array([True, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| { let a = scalar::truth(e, a); scalar::not(e, a) },
                    complex: |e, [a]| { let a = complex::truth(e, a); Lane::Real(scalar::not(e, a)) },
                }
                BitwiseInvert bitwise_invert "Elementwise complement of the bits of integers; logical not of bool." {
                    example: ["[0, 1, -1]"] => "array([-1, -2, 0], dtype=int32)",
                    accepts: Bits, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::not(e, a),
                    complex: complex::refused,
                }
                Floor floor "Greatest integral value not above a, elementwise and of a's dtype; integers and bool are returned as they are. The derivative is 0." {
                    example: ["[-1.5, 0.5, 2.0]"] => "array([-2, 0, 2], dtype=float32)",
                    accepts: Ordered, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::to_integral(e, UnaryOp::Floor, a),
                    complex: complex::refused,
                }
                Ceil ceil "Least integral value not below a, elementwise and of a's dtype; integers and bool are returned as they are. The derivative is 0." {
                    example: ["[-1.5, 0.5, 2.0]"] => "array([-1, 1, 2], dtype=float32)",
                    accepts: Ordered, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::to_integral(e, UnaryOp::Ceil, a),
                    complex: complex::refused,
                }
                Round round "Nearest integral value, halves to the even one, elementwise and of a's dtype; both parts of complex64. The derivative is 0." {
                    example: ["[0.5, 1.5, -2.7]"] => "array([0, 2, -3], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::to_integral(e, UnaryOp::Round, a),
                    complex: |e, [a]| complex::each(e, a, |e, x| e.unary(UnaryOp::Round, x)),
                }
                Square square "Elementwise a · a, of a's dtype. Integers wrap." {
                    example: ["[-2, 0, 3]"] => "array([4, 0, 9], dtype=int32)",
                    accepts: Any, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Times(b.add(x, x)?)]),
                    real: |e, [a]| scalar::mul(e, a, a),
                    complex: |e, [a]| complex::mul(e, a, a),
                }
                Sqrt sqrt "Elementwise square root: float or complex64. NaN below 0; −0 for −0. The complex root has a real part that is not negative." {
                    example: ["[4.0, 2.0, -1.0]"] => "array([2, 1.41421, nan], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, _, y| Ok([Partial::Over(b.add(y, y)?)]),
                    real: |e, [a]| e.unary(UnaryOp::Sqrt, a),
                    complex: complex::sqrt,
                }
                Rsqrt rsqrt "Elementwise 1/√a: float or complex64. ±∞ at ±0." {
                    example: ["[4.0, 0.25]"] => "array([0.5, 2], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: partials::rsqrt_partial,
                    real: |e, [a]| math::rsqrt(e, a),
                    complex: complex::rsqrt,
                }
                Reciprocal reciprocal "Elementwise 1/a: float or complex64." {
                    example: ["[2.0, -4.0]"] => "array([0.5, -0.25], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, _, y| { let y2 = b.mul(y, y)?; Ok([Partial::Times(b.neg(y2)?)]) },
                    real: |e, [a]| { let one = e.like(a, 1.0); e.div(one, a) },
                    complex: complex::reciprocal,
                }
                Exp exp "Elementwise exponential eᵃ: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([1, 2.71828, 0.135335], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |_, _, y| Ok([Partial::Times(y)]),
                    real: |e, [a]| math::exp(e, a),
                    complex: complex::exp,
                }
                Exp2 exp2 "Elementwise 2ᵃ: float." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([1, 2, 0.25], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, _, y| Ok([Partial::Times(b.mul(y, b.like(y, LN_2))?)]),
                    real: |e, [a]| math::exp2(e, a),
                    complex: complex::refused,
                }
                Expm1 expm1 "Elementwise eᵃ − 1 without cancellation near 0: float." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 1.71828, -0.864665], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, _, y| Ok([Partial::Times(b.add(y, b.like(y, 1.0))?)]),
                    real: |e, [a]| math::expm1(e, a),
                    complex: complex::refused,
                }
                Log log "Elementwise natural logarithm: float or complex64. −∞ at 0 and NaN below; complex numbers have the argument in (−π, π]." {
                    example: ["[1.0, 2.0, 0.0]"] => "array([0, 0.693147, -inf], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |_, [x], _| Ok([Partial::Over(x)]),
                    real: |e, [a]| math::log(e, a),
                    complex: complex::log,
                }
                Log2 log2 "Elementwise logarithm to base 2: float or complex64." {
                    example: ["[1.0, 8.0]"] => "array([0, 3], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Over(b.mul(x, b.like(x, LN_2))?)]),
                    real: |e, [a]| math::log2(e, a),
                    complex: complex::log2,
                }
                Log10 log10 "Elementwise logarithm to base 10: float or complex64." {
                    example: ["[1.0, 1000.0]"] => "array([0, 3], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Over(b.mul(x, b.like(x, LN_10))?)]),
                    real: |e, [a]| math::log10(e, a),
                    complex: complex::log10,
                }
                Log1p log1p "Elementwise log(1 + a) without cancellation near 0: float or complex64." {
                    example: ["[1.0, 2.0, 0.0]"] => "array([0.693147, 1.09861, 0], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Over(b.add(x, b.like(x, 1.0))?)]),
                    real: |e, [a]| math::log1p(e, a),
                    complex: complex::log1p,
                }
                Sin sin "Elementwise sine of an angle in radians: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 0.841471, -0.909297], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Times(b.unary(Unary::Cos, x)?)]),
                    real: |e, [a]| math::sin(e, a),
                    complex: complex::sin,
                }
                Cos cos "Elementwise cosine of an angle in radians: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([1, 0.540302, -0.416147], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| { let s = b.unary(Unary::Sin, x)?; Ok([Partial::Times(b.neg(s)?)]) },
                    real: |e, [a]| math::cos(e, a),
                    complex: complex::cos,
                }
                Tan tan "Elementwise tangent of an angle in radians: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 1.55741, 2.18504], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, _, y| { let y2 = b.mul(y, y)?; Ok([Partial::Times(b.add(y2, b.like(y, 1.0))?)]) },
                    real: |e, [a]| math::tan(e, a),
                    complex: complex::tan,
                }
                Arcsin arcsin "Elementwise inverse sine in [−π/2, π/2]: float or complex64. Real numbers beyond ±1 give NaN." {
                    example: ["[0.0, 0.5, -1.0]"] => "array([0, 0.523599, -1.5708], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Over(partials::root_of_one_minus_square(b, x)?)]),
                    real: |e, [a]| math::asin(e, a),
                    complex: complex::arcsin,
                }
                Arccos arccos "Elementwise inverse cosine in [0, π]: float or complex64. Real numbers beyond ±1 give NaN." {
                    example: ["[0.0, 0.5, -1.0]"] => "array([1.5708, 1.0472, 3.14159], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| { let r = partials::root_of_one_minus_square(b, x)?; Ok([Partial::Over(b.neg(r)?)]) },
                    real: |e, [a]| math::acos(e, a),
                    complex: complex::arccos,
                }
                Arctan arctan "Elementwise inverse tangent in [−π/2, π/2]: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 0.785398, -1.10715], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Over(partials::one_plus_square(b, x)?)]),
                    real: |e, [a]| math::atan(e, a),
                    complex: complex::arctan,
                }
                Sinh sinh "Elementwise hyperbolic sine: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 1.1752, -3.62686], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Times(b.unary(Unary::Cosh, x)?)]),
                    real: |e, [a]| math::sinh(e, a),
                    complex: complex::sinh,
                }
                Cosh cosh "Elementwise hyperbolic cosine: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([1, 1.54308, 3.7622], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Times(b.unary(Unary::Sinh, x)?)]),
                    real: |e, [a]| math::cosh(e, a),
                    complex: complex::cosh,
                }
                Tanh tanh "Elementwise hyperbolic tangent: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 0.761594, -0.964028], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, _, y| { let y2 = b.mul(y, y)?; Ok([Partial::Times(b.sub(b.like(y, 1.0), y2)?)]) },
                    real: |e, [a]| math::tanh(e, a),
                    complex: complex::tanh,
                }
                Arcsinh arcsinh "Elementwise inverse hyperbolic sine: float or complex64." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 0.881374, -1.44364], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| { let s = partials::one_plus_square(b, x)?; Ok([Partial::Over(b.unary(Unary::Sqrt, s)?)]) },
                    real: |e, [a]| math::asinh(e, a),
                    complex: complex::arcsinh,
                }
                Arccosh arccosh "Elementwise inverse hyperbolic cosine, not negative: float or complex64. Real numbers below 1 give NaN." {
                    example: ["[1.0, 2.0]"] => "array([0, 1.31696], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: partials::arccosh_partial,
                    real: |e, [a]| math::acosh(e, a),
                    complex: complex::arccosh,
                }
                Arctanh arctanh "Elementwise inverse hyperbolic tangent: float or complex64. ±∞ at ±1; real numbers beyond give NaN." {
                    example: ["[0.0, 0.5, -1.0]"] => "array([0, 0.549306, -inf], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Over(partials::one_minus_square(b, x)?)]),
                    real: |e, [a]| math::atanh(e, a),
                    complex: complex::arctanh,
                }
                Erf erf "Elementwise error function 2/√π ∫₀ᵃ e^(−t²) dt: float." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0, 0.842701, -0.995322], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, [x], _| partials::gaussian_partial(b, x, FRAC_2_SQRT_PI),
                    real: |e, [a]| math::erf(e, a),
                    complex: complex::refused,
                }
                Erfc erfc "Elementwise 1 − erf(a) without cancellation for large a: float." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([1, 0.157299, 1.99532], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, [x], _| partials::gaussian_partial(b, x, -FRAC_2_SQRT_PI),
                    real: |e, [a]| math::erfc(e, a),
                    complex: complex::refused,
                }
                Erfinv erfinv "Elementwise inverse of the error function: float. ±∞ at ±1, NaN beyond." {
                    example: ["[0.0, 0.5, -1.0]"] => "array([0, 0.476936, -inf], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: partials::erfinv_partial,
                    real: |e, [a]| math::erfinv(e, a),
                    complex: complex::refused,
                }
                Sigmoid sigmoid "Elementwise logistic function 1/(1 + e⁻ᵃ): float." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0.5, 0.731059, 0.119203], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, _, y| { let rest = b.sub(b.like(y, 1.0), y)?; Ok([Partial::Times(b.mul(y, rest)?)]) },
                    real: |e, [a]| math::sigmoid(e, a),
                    complex: complex::refused,
                }
                Softplus softplus "Elementwise log(1 + eᵃ), without overflow: float." {
                    example: ["[0.0, 1.0, -2.0]"] => "array([0.693147, 1.31326, 0.126928], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, [x], _| Ok([Partial::Times(b.unary(Unary::Sigmoid, x)?)]),
                    real: |e, [a]| math::softplus(e, a),
                    complex: complex::refused,
                }
                Cbrt cbrt "Elementwise cube root, negative for negative a: float." {
                    example: ["[8.0, -27.0]"] => "array([2, -3], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: |b, _, y| { let y2 = b.mul(y, y)?; Ok([Partial::Over(b.mul(y2, b.like(y, 3.0))?)]) },
                    real: |e, [a]| math::cbrt(e, a),
                    complex: complex::refused,
                }
                Real real "Elementwise real part: float32 for complex64, other dtypes unchanged." {
                    example: ["[1 + 2j, 3 - 1j]"] => "array([1, 3], dtype=float32)",
                    accepts: Any, gives: RealPart,
                    partials: |_, _, _| Ok([Partial::Itself]),
                    real: |_, [a]| a,
                    complex: |_, [a]| Lane::Real(a.parts().0),
                }
                Imag imag "Elementwise imaginary part: float32 for complex64, zeros of a's dtype for others." {
                    example: ["[1 + 2j, 3 - 1j]"] => "array([2, -1], dtype=float32)",
                    accepts: Any, gives: RealPart,
                    partials: |_, _, _| Ok([Partial::Itself]),
                    real: |e, [a]| e.like(a, 0.0),
                    complex: |_, [a]| Lane::Real(a.parts().1),
                }
                Conjugate conjugate "Elementwise complex conjugate; other dtypes unchanged." {
                    example: ["[1 + 2j, 3 - 1j]"] => "array([1-2j, 3+1j], dtype=complex64)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::Itself]),
                    real: |_, [a]| a,
                    complex: |e, [a]| { let (re, im) = a.parts(); Lane::Complex(re, e.neg(im)) },
                }
                IsNan isnan "Whether a is NaN, elementwise: bool. For complex64, whether either part is." {
                    example: ["[1.0, mx.nan, -mx.inf]"] => "array([False, True, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::is_nan(e, a),
                    complex: |e, [a]| Lane::Real(complex::any(e, a, scalar::is_nan)),
                }
                IsInf isinf "Whether a is infinite, elementwise: bool. For complex64, whether either part is." {
                    example: ["[1.0, mx.nan, -mx.inf]"] => "array([False, False, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::is_inf(e, a),
                    complex: |e, [a]| Lane::Real(complex::any(e, a, scalar::is_inf)),
                }
                IsFinite isfinite "Whether a is neither infinite nor NaN, elementwise: bool. For complex64, whether both parts are finite." {
                    example: ["[1.0, mx.nan, -mx.inf]"] => "array([True, False, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::is_finite(e, a),
                    complex: |e, [a]| Lane::Real(complex::all(e, a, scalar::is_finite)),
                }
                IsPosInf isposinf "Whether a is +∞, elementwise: bool. For complex64, whether it is ∞ + 0i." {
                    example: ["[1.0, mx.inf, -mx.inf]"] => "array([False, True, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::is_float_value(e, a, f64::INFINITY),
                    complex: |e, [a]| complex::is_real(e, a, f64::INFINITY),
                }
                IsNegInf isneginf "Whether a is −∞, elementwise: bool. For complex64, whether it is −∞ + 0i." {
                    example: ["[1.0, mx.inf, -mx.inf]"] => "array([False, False, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |e, [a]| scalar::is_float_value(e, a, f64::NEG_INFINITY),
                    complex: |e, [a]| complex::is_real(e, a, f64::NEG_INFINITY),
                }
                StopGradient stop_gradient "The operand itself, which derivatives take for a constant." {
                    example: ["[1.0, 2.0]"] => "array([1, 2], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero]),
                    real: |_, [a]| a,
                    complex: |_, [a]| a,
                }
            }
            /// Ops of two operands of one dtype.
            Binary[2] {
                Add add "Elementwise sum a + b. Integers wrap; for bool it is logical or." {
                    example: ["[1.0, 2.0, 3.0]", "[4.0, 5.0, 6.0]"] => "array([5, 7, 9], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::One, Partial::One]),
                    real: |e, [a, b]| scalar::add(e, a, b),
                    complex: |e, [a, b]| complex::zip(e, a, b, Emit::add),
                }
                Sub subtract "Elementwise difference a − b. Integers wrap; for bool it is exclusive or." {
                    example: ["[1.0, 2.0, 3.0]", "[4.0, 5.0, 6.0]"] => "array([-3, -3, -3], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::One, Partial::MinusOne]),
                    real: |e, [a, b]| scalar::sub(e, a, b),
                    complex: |e, [a, b]| complex::zip(e, a, b, Emit::sub),
                }
                Mul multiply "Elementwise product a · b. Integers wrap; for bool it is logical and." {
                    example: ["[1.0, 2.0, 3.0]", "[4.0, 5.0, 6.0]"] => "array([4, 10, 18], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |_, [x, y], _| Ok([Partial::Times(y), Partial::Times(x)]),
                    real: |e, [a, b]| scalar::mul(e, a, b),
                    complex: |e, [a, b]| complex::mul(e, a, b),
                }
                Div divide "Elementwise quotient a / b: float or complex64. IEEE 754: ±∞ or NaN where b is 0." {
                    example: ["[1.0, 2.0, 3.0]", "[4.0, 5.0, 6.0]"] => "array([0.25, 0.4, 0.5], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: |b, [_, y], q| { let s = b.div(q, y)?; Ok([Partial::Over(y), Partial::Times(b.neg(s)?)]) },
                    real: |e, [a, b]| e.binary(BinaryOp::Div, a, b),
                    complex: complex::divide,
                }
                FloorDivide floor_divide "Elementwise ⌊a / b⌋, of the operands' dtype. An integer divided by 0 is 0, and the smallest signed integer divided by −1 is itself; floats give the floor of the rounded quotient. The derivative is 0." {
                    example: ["[7, -7]", "[2, 2]"] => "array([3, -4], dtype=int32)",
                    accepts: Ordered, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| scalar::floor_divide(e, a, b),
                    complex: complex::refused,
                }
                Remainder remainder "Elementwise a − b⌊a / b⌋, with the sign of b as Python's %. An integer modulo 0 is 0, a float modulo 0 is NaN." {
                    example: ["[7, -7]", "[2, 2]"] => "array([1, 1], dtype=int32)",
                    accepts: Ordered, gives: Same,
                    partials: partials::remainder_partials,
                    real: |e, [a, b]| scalar::remainder(e, a, b),
                    complex: complex::refused,
                }
                Power power "Elementwise aᵇ. Integers multiply exactly and wrap, and give 0 for a negative exponent; floats follow C's pow (a⁰ = 1 and 1ᵇ = 1 even for NaN, NaN for a negative a and a b that is not an integer). For complex64 e^(b log a), with a⁰ = 1." {
                    example: ["[2.0, 3.0]", "[3.0, -1.0]"] => "array([8, 0.333333], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: partials::power_partials,
                    real: |e, [a, b]| scalar::power(e, a, b),
                    complex: complex::power,
                }
                Maximum maximum "Elementwise larger of a and b; NaN if either is NaN, and +0 above −0. Complex numbers are ordered by real part, then by imaginary part. At equal operands the derivative belongs to b." {
                    example: ["[1.0, 5.0]", "[3.0, mx.nan]"] => "array([3, nan], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |b, [x, y], _| partials::extremum_partials(b, x, y, Binary::Greater, Binary::LessEqual),
                    real: |e, [a, b]| e.binary(BinaryOp::Max, a, b),
                    complex: |e, [a, b]| complex::extremum(e, BinaryOp::Gt, a, b),
                }
                Minimum minimum "Elementwise smaller of a and b; NaN if either is NaN, and −0 below +0. Complex numbers are ordered by real part, then by imaginary part. At equal operands the derivative belongs to b." {
                    example: ["[1.0, 5.0]", "[3.0, mx.nan]"] => "array([1, nan], dtype=float32)",
                    accepts: Any, gives: Same,
                    partials: |b, [x, y], _| partials::extremum_partials(b, x, y, Binary::Less, Binary::GreaterEqual),
                    real: |e, [a, b]| e.binary(BinaryOp::Min, a, b),
                    complex: |e, [a, b]| complex::extremum(e, BinaryOp::Lt, a, b),
                }
                Arctan2 arctan2 "Elementwise angle of the point (b, a) in [−π, π]: float." {
                    example: ["[1.0, -1.0]", "[1.0, -1.0]"] => "array([0.785398, -2.35619], dtype=float32)",
                    accepts: Float, gives: Same,
                    partials: partials::arctan2_partials,
                    real: |e, [a, b]| math::atan2(e, a, b),
                    complex: complex::refused,
                }
                LogAddExp logaddexp "Elementwise log(eᵃ + eᵇ), without overflow: float or complex64." {
                    example: ["[0.0, 1000.0]", "[0.0, 1000.0]"] => "array([0.693147, 1000.69], dtype=float32)",
                    accepts: Inexact, gives: Same,
                    partials: partials::logaddexp_partials,
                    real: |e, [a, b]| math::logaddexp(e, a, b),
                    complex: complex::logaddexp,
                }
                Eq equal "Whether a = b, elementwise: bool. False where an operand is NaN." {
                    example: ["[1, 2, 3]", "[3, 2, 1]"] => "array([False, True, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Eq, a, b),
                    complex: |e, [a, b]| Lane::Real(complex::equal(e, a, b)),
                }
                Ne not_equal "Whether a ≠ b, elementwise: bool. True where an operand is NaN." {
                    example: ["[1, 2, 3]", "[3, 2, 1]"] => "array([True, False, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Ne, a, b),
                    complex: |e, [a, b]| { let same = complex::equal(e, a, b); Lane::Real(scalar::not(e, same)) },
                }
                Less less "Whether a < b, elementwise: bool. False where an operand is NaN. Complex numbers are ordered by real part, then by imaginary part." {
                    example: ["[1, 2, 3]", "[3, 2, 1]"] => "array([True, False, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Lt, a, b),
                    complex: |e, [a, b]| Lane::Real(complex::compare(e, BinaryOp::Lt, a, b)),
                }
                LessEqual less_equal "Whether a ≤ b, elementwise: bool. False where an operand is NaN. Complex numbers are ordered by real part, then by imaginary part." {
                    example: ["[1, 2, 3]", "[3, 2, 1]"] => "array([True, True, False], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Le, a, b),
                    complex: |e, [a, b]| Lane::Real(complex::compare(e, BinaryOp::Le, a, b)),
                }
                Greater greater "Whether a > b, elementwise: bool. False where an operand is NaN. Complex numbers are ordered by real part, then by imaginary part." {
                    example: ["[1, 2, 3]", "[3, 2, 1]"] => "array([False, False, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Gt, a, b),
                    complex: |e, [a, b]| Lane::Real(complex::compare(e, BinaryOp::Gt, a, b)),
                }
                GreaterEqual greater_equal "Whether a ≥ b, elementwise: bool. False where an operand is NaN. Complex numbers are ordered by real part, then by imaginary part." {
                    example: ["[1, 2, 3]", "[3, 2, 1]"] => "array([False, True, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Ge, a, b),
                    complex: |e, [a, b]| Lane::Real(complex::compare(e, BinaryOp::Ge, a, b)),
                }
                LogicalAnd logical_and "Whether both a and b are not 0, elementwise: bool. NaN counts as true." {
                    example: ["[0, 1, 2]", "[0, 0, 3]"] => "array([False, False, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| { let (a, b) = (scalar::truth(e, a), scalar::truth(e, b)); e.and(a, b) },
                    complex: |e, [a, b]| { let (a, b) = (complex::truth(e, a), complex::truth(e, b)); Lane::Real(e.and(a, b)) },
                }
                LogicalOr logical_or "Whether a or b is not 0, elementwise: bool. NaN counts as true." {
                    example: ["[0, 1, 2]", "[0, 0, 3]"] => "array([False, True, True], dtype=bool)",
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| { let (a, b) = (scalar::truth(e, a), scalar::truth(e, b)); e.or(a, b) },
                    complex: |e, [a, b]| { let (a, b) = (complex::truth(e, a), complex::truth(e, b)); Lane::Real(e.or(a, b)) },
                }
                BitwiseAnd bitwise_and "Elementwise and of the bits of integers or bool, of the operands' dtype." {
                    example: ["[6, 5]", "[3, 3]"] => "array([2, 1], dtype=int32)",
                    accepts: Bits, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::And, a, b),
                    complex: complex::refused,
                }
                BitwiseOr bitwise_or "Elementwise or of the bits of integers or bool, of the operands' dtype." {
                    example: ["[6, 5]", "[3, 3]"] => "array([7, 7], dtype=int32)",
                    accepts: Bits, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Or, a, b),
                    complex: complex::refused,
                }
                BitwiseXor bitwise_xor "Elementwise exclusive or of the bits of integers or bool, of the operands' dtype." {
                    example: ["[6, 5]", "[3, 3]"] => "array([5, 6], dtype=int32)",
                    accepts: Bits, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Xor, a, b),
                    complex: complex::refused,
                }
                LeftShift left_shift "Elementwise a · 2ᵇ of integers, wrapping. 0 where b is negative or not below the width." {
                    example: ["[1, -8]", "[3, 1]"] => "array([8, -16], dtype=int32)",
                    accepts: Integer, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Shl, a, b),
                    complex: complex::refused,
                }
                RightShift right_shift "Elementwise a / 2ᵇ of integers, rounded down. Where b is negative or not below the width: 0, or −1 for a negative a." {
                    example: ["[1, -8]", "[3, 1]"] => "array([0, -4], dtype=int32)",
                    accepts: Integer, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Shr, a, b),
                    complex: complex::refused,
                }
                Complex complex "Elementwise complex64 number a + bi of two float32 operands." {
                    example: ["[1.0, 2.0]", "[0.5, -1.0]"] => "array([1+0.5j, 2-1j], dtype=complex64)",
                    accepts: Float32, gives: Complex,
                    partials: |_, _, _| Ok([Partial::Itself, Partial::Itself]),
                    real: |_, _| unreachable!("the result is complex"),
                    complex: |_, [a, b]| Lane::Complex(a.real(), b.real()),
                }
            }
            /// Ops of three operands.
            Ternary[3] {
                Select where "`a` where the condition (bool) holds, `b` elsewhere, of their dtype." {
                    example: ["[True, False]", "[1, 2]", "[10, 20]"] => "array([1, 20], dtype=int32)",
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Itself, Partial::Itself]),
                    real: |e, [c, a, b]| e.select(c, a, b),
                    complex: |e, [c, a, b]| complex::select(e, c.real(), a, b),
                }
            }
        }
    };
}

elementwise_table!(families);
