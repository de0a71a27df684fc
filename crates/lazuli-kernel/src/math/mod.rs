//! Elementary functions as straight lines of kernel IR.
//!
//! Each function here appends instructions to an [`Emit`] and returns the value of the result: range reduction and a polynomial on
//! explicit `Fma`, no tables, no branches, no calls. So a function has one definition for every backend, gives the same bits on all of
//! them, and fuses like any other arithmetic. What they need of a backend is what the IR promises: exact fma, nothing contracted
//! or reassociated, subnormals kept, round to nearest even.
//!
//! [`FUNCTIONS`] lists them with their greatest errors; tests and the example `ulp` are driven by it. Most schemes serve f32 and f64
//! with constants of each, which a trait per family states; f16 and bf16 are the caller's business (cast to f32 and back).
//!
//! Coefficients were computed for this project: with Sollya 8.0's `fpminimax` constrained to the dtype (N. Brisebarre & S. Chevillard,
//! *Efficient polynomial L-infinity approximations*, ARITH-18, 2007), or by weighted least squares at Chebyshev points in mpmath with the leading
//! coefficients rounded one by one. An error beside a table of coefficients is the polynomial's own, without rounding. f32 errors were
//! measured over all 2³² inputs of functions of one argument (2²⁸ pairs or more for two), f64 ones over 40,000 points each that
//! `tools/math_reference.py` makes, both rounded up.
//!
//! Absent: derivatives, complex numbers, and special functions beyond the error function.

mod erf;
mod exp_log;
mod expr;
mod hyperbolic;
mod inverse_trig;
mod pow;
mod trig;

use crate::dtype::DType;
use crate::ir::{Emit, Value};
use expr::{build1, build2};

/// Appends a function to a straight line.
#[derive(Debug, Clone, Copy)]
pub enum Emitter {
    Unary(fn(&mut Emit, Value) -> Value),
    Binary(fn(&mut Emit, Value, Value) -> Value),
}

/// A row of the table of functions.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    pub name: &'static str,
    pub emit: Emitter,
    /// Greatest error over all f32 inputs, in units in the last place of the exact result: measured, rounded up.
    pub max_ulp_f32: f64,
    /// The same for f64, over samples.
    pub max_ulp_f64: f64,
}

impl Function {
    pub fn arity(&self) -> usize {
        match self.emit {
            Emitter::Unary(_) => 1,
            Emitter::Binary(_) => 2,
        }
    }
}

fn unsupported(name: &str, dtype: DType) -> ! {
    panic!("[{name}] defined for float32 and float64, not {dtype:?}: cast the operand first")
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($x:ident $(, $y:ident)?) = $module:ident, f32 $ulp32:literal, f64 $ulp64:literal;)*) => {
        $( functions!(@define $(#[$doc])* $name($x $(, $y)?) $module $ulp32 $ulp64); )*
        /// Every function of this module.
        pub const FUNCTIONS: &[Function] = &[ $( Function {
            name: stringify!($name),
            emit: functions!(@emitter $name $($y)?),
            max_ulp_f32: $ulp32,
            max_ulp_f64: $ulp64,
        } ),* ];
    };
    (@define $(#[$doc:meta])* $name:ident($x:ident) $module:ident $ulp32:literal $ulp64:literal) => {
        $(#[$doc])*
        ///
        #[doc = concat!("Greatest error ", stringify!($ulp32), " ULP in f32, ", stringify!($ulp64), " in f64.")]
        pub fn $name(e: &mut Emit, $x: Value) -> Value {
            match e.dtype($x) {
                DType::F32 => build1(e, $x, $module::$name::<f32>),
                DType::F64 => build1(e, $x, $module::$name::<f64>),
                dtype => unsupported(stringify!($name), dtype),
            }
        }
    };
    (@define $(#[$doc:meta])* $name:ident($x:ident, $y:ident) $module:ident $ulp32:literal $ulp64:literal) => {
        $(#[$doc])*
        ///
        #[doc = concat!("Greatest error ", stringify!($ulp32), " ULP in f32, ", stringify!($ulp64), " in f64.")]
        pub fn $name(e: &mut Emit, $x: Value, $y: Value) -> Value {
            match e.dtype($x) {
                DType::F32 => build2(e, $x, $y, $module::$name::<f32>),
                DType::F64 => build2(e, $x, $y, $module::$name::<f64>),
                dtype => unsupported(stringify!($name), dtype),
            }
        }
    };
    (@emitter $name:ident) => { Emitter::Unary($name) };
    (@emitter $name:ident $y:ident) => { Emitter::Binary($name) };
}

functions! {
    /// eˣ.
    exp(x) = exp_log, f32 0.8914, f64 0.85;
    /// 2ˣ.
    exp2(x) = exp_log, f32 0.8785, f64 0.80;
    /// eˣ − 1.
    expm1(x) = exp_log, f32 0.8901, f64 1.10;
    /// Natural logarithm. log(±0) = −∞, NaN below 0.
    log(x) = exp_log, f32 0.9048, f64 0.95;
    /// Logarithm to base 2.
    log2(x) = exp_log, f32 0.9551, f64 1.10;
    /// Logarithm to base 10.
    log10(x) = exp_log, f32 0.9455, f64 0.85;
    /// log(1 + x). log1p(−1) = −∞, NaN below.
    log1p(x) = exp_log, f32 0.9161, f64 0.85;
    /// 1/(1 + e⁻ˣ).
    sigmoid(x) = exp_log, f32 0.7797, f64 0.80;
    /// log(1 + eˣ).
    softplus(x) = exp_log, f32 0.9260, f64 0.80;
    /// log(eᵃ + eᵇ); logaddexp(−∞, −∞) = −∞. The error is in units of the largest of |a|, |b| and the result: near a result of 0 the sum
    /// itself cancels.
    logaddexp(a, b) = exp_log, f32 1.0, f64 1.0;
    /// Hyperbolic sine.
    sinh(x) = hyperbolic, f32 0.9343, f64 0.90;
    /// Hyperbolic cosine.
    cosh(x) = hyperbolic, f32 0.7472, f64 0.75;
    /// Hyperbolic tangent.
    tanh(x) = hyperbolic, f32 1.0, f64 1.05;
    /// Inverse hyperbolic sine.
    asinh(x) = hyperbolic, f32 0.9148, f64 0.85;
    /// Inverse hyperbolic cosine, NaN below 1.
    acosh(x) = hyperbolic, f32 0.8980, f64 0.80;
    /// Inverse hyperbolic tangent, ±∞ at ±1, NaN beyond.
    atanh(x) = hyperbolic, f32 0.9193, f64 0.85;
    /// 1/√x. rsqrt(±0) = ±∞.
    rsqrt(x) = pow, f32 0.5001, f64 0.501;
    /// Cube root.
    cbrt(x) = pow, f32 0.5003, f64 0.501;
    /// x to the power y, with the special cases of C's `pow`: pow(1, y) = pow(x, ±0) = 1 even for NaN, NaN for a negative finite x and a
    /// finite y that is not an integer.
    pow(x, y) = pow, f32 0.8445, f64 0.80;
    /// The error function, 2/√π ∫₀ˣ e^(−t²) dt.
    erf(x) = erf, f32 0.9910, f64 1.15;
    /// 1 − erf(x), without its cancellation.
    erfc(x) = erf, f32 1.5476, f64 1.40;
    /// The inverse of [`erf`], ±∞ at ±1, NaN beyond.
    erfinv(x) = erf, f32 1.6314, f64 2.10;
    /// Sine, of any finite argument.
    sin(x) = trig, f32 0.8839, f64 0.85;
    /// Cosine, of any finite argument.
    cos(x) = trig, f32 0.8830, f64 0.85;
    /// Tangent, of any finite argument.
    tan(x) = trig, f32 1.1951, f64 1.15;
    /// Inverse sine, NaN beyond ±1.
    asin(x) = inverse_trig, f32 0.7074, f64 0.75;
    /// Inverse cosine, NaN beyond ±1.
    acos(x) = inverse_trig, f32 0.6979, f64 0.70;
    /// Inverse tangent.
    atan(x) = inverse_trig, f32 1.0075, f64 1.05;
    /// Angle of the point (x, y), with the special cases of IEEE 754: atan2(±0, −0) = ±π, and so on.
    atan2(y, x) = inverse_trig, f32 1.1300, f64 0.95;
}
