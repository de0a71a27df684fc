//! f32: polynomials and error terms in f32 alone (the trigonometric functions reduce huge arguments in u32).
//!
//! Coefficients were computed for this project with Sollya 8.0: `fpminimax` constrained to f32 (Brisebarre & Chevillard, *Efficient
//! polynomial L-infinity approximations*, ARITH-18, 2007), unless a function says otherwise. Every function of one argument was swept
//! over all 2³² inputs against f64 references; the errors stated are those measured.

pub(super) mod erf;
pub(super) mod exp_log;
pub(super) mod hyperbolic;
pub(super) mod inverse_trig;
pub(super) mod pow;
pub(super) mod trig;

use super::expr::Expr;

type F<'b> = Expr<'b, f32>;
type U<'b> = Expr<'b, u32>;
type I<'b> = Expr<'b, i32>;

/// 1.5·2²³: adding it rounds to an integer, which then sits in the low bits of the significand.
const MAGIC: f32 = 12582912.0;
const TWO_P64: f32 = 18446744073709551616.0;
const TWO_M64: f32 = 1.0 / TWO_P64;
const TWO_P23: f32 = 8388608.0;
const TWO_M23: f32 = 1.0 / TWO_P23;
const LOG2E: f32 = std::f32::consts::LOG2_E;
const LN2: f32 = std::f32::consts::LN_2;
/// ln 2 − LN2.
const LN2_LO: f32 = -1.9046542e-9;
/// ln 2 to 16 significant bits, so that k·LN2_SHORT is exact for an exponent k, and the rest.
const LN2_SHORT: f32 = 0.69314575;
const LN2_SHORT_LO: f32 = 1.4286068e-6;
/// Bits of √½, where the reduced range of the logarithms begins.
const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
const EXPONENT_MASK: u32 = 0xff80_0000;
/// π/2 in two parts.
const PIO2_HI: f32 = std::f32::consts::FRAC_PI_2;
const PIO2_LO: f32 = -4.371139e-8;
/// `ROUGH_RECIPROCAL − bits(x)` are the bits of 1/x within 12 %: enough to scale a correction term.
const ROUGH_RECIPROCAL: u32 = 0x7ef3_11c7;

/// 1/x within 12 %, x normal and below 2¹²⁶.
fn rough_reciprocal(x: F<'_>) -> F<'_> {
    (ROUGH_RECIPROCAL - x.bits()).bitcast()
}
