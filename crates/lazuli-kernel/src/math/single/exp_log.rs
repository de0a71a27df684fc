//! Exponentials and logarithms of f32.
//!
//! Exponentials reduce by n = rint(x log₂e), r = x − n ln 2 with ln 2 in two parts (W. J. Cody & W. Waite, *Software Manual for the
//! Elementary Functions*, 1980); logarithms take 2ᵏ out of the bits. Where one rounded term is not enough, a value is carried as an
//! unevaluated sum of two (T. J. Dekker, *A floating-point technique for extending the available precision*, Numer. Math. 18, 1971),
//! products' residuals by fma.

use super::super::expr::{fma, poly};
use super::*;

/// Arguments beyond which eˣ is certainly ∞ or certainly 0.
pub(super) const EXP_MAX: f32 = 89.0;
pub(super) const EXP_MIN: f32 = -104.0;
/// Below this expm1(x) = sinh(x) = x in f32.
pub(super) const TINY: f32 = 1.0e-8;
/// Above this x² would overflow and log(2x) is as good as asinh and acosh.
pub(super) const HUGE: f32 = 9.0e18;

/// The logarithms keep the exponent as k·2²³, its place in the bits, so that no shift is needed; these are divided by 2²³.
const LN2_STEP: f32 = LN2 * TWO_M23;
const LN2_STEP_LO: f32 = LN2_LO * TWO_M23;
const LN2_SHORT_STEP: f32 = LN2_SHORT * TWO_M23;
const LN2_SHORT_STEP_LO: f32 = LN2_SHORT_LO * TWO_M23;
const LOG10E: f32 = std::f32::consts::LOG10_E;
const LOG10_2_STEP: f32 = std::f32::consts::LOG10_2 * TWO_M23;
/// log₁₀2 below f32.
const LOG10_2_STEP_LO: f32 = -1.432099e-8 * TWO_M23;
const THREE_QUARTERS_BITS: u32 = 0x3f40_0000;
const FOUR_BITS: u32 = 0x4080_0000;

/// eʳ on |r| ≤ 0.347, relative error 2^−27.8.
const EXP: [f32; 7] = [1.0, 1.0, 0.49999994, 0.1666652, 0.04166824, 0.008368827, 0.0013823241];
/// 2ʳ on |r| ≤ ½, relative error 2^−27.8.
const EXP2: [f32; 7] = [1.0, LN2, 0.24022645, 0.05550359, 0.009618834, 0.0013391302, 0.00015241285];
/// (eʳ − 1 − r)/r² on |r| ≤ 0.347, error 2^−27.4 of eʳ − 1.
pub(super) const EXPM1_TAIL: [f32; 5] = [0.49999997, 0.16666543, 0.041667506, 0.008366556, 0.0013864286];
/// The same with error 2^−30.8 of eʳ − 1 (expm1 doubles the tail's error when n = 1).
const EXPM1_TAIL_LONG: [f32; 6] = [0.5, 0.16666666, 0.041666478, 0.008333567, 0.0013933713, 0.00019743445];
/// (log(1+f) − f)/f² on [√½−1, √2−1], error 2^−27.6 of log(1+f).
const LOG: [f32; 9] =
    [-0.49999988, 0.33333325, -0.250016, 0.20002005, -0.16608757, 0.14181067, -0.13244638, 0.12909776, -0.076246545];
/// (log₂(1+f) − LOG2E·f)/f there, error 2^−27.1; its first term is what f32 lacks of log₂e.
const LOG2: [f32; 10] = [
    1.9319e-08,
    -0.72134733,
    0.4808982,
    -0.3606979,
    0.28857028,
    -0.23959541,
    0.20453882,
    -0.19115907,
    0.18657231,
    -0.110217266,
];
/// (log₁₀(1+f) − LOG10E·f)/f there, error 2^−28.9 of f.
const LOG10: [f32; 10] = [
    -1.0142e-08,
    -0.21714719,
    0.1447648,
    -0.10858075,
    0.086867645,
    -0.07212744,
    0.06158433,
    -0.057541896,
    0.05609487,
    -0.03310287,
];
/// (log(1+f) − f)/f² on [−¼, ½], error 2^−27.5 of log(1+f).
const LOG1P: [f32; 9] =
    [-0.5, 0.33333454, -0.25000116, 0.19990718, -0.16646448, 0.14478527, -0.13169388, 0.10479882, -0.04517996];

/// x = n ln 2 + r: bits whose low end is n + bias, then r without its low part (exact), r rounded, and the low part.
pub(super) fn reduce_ln2(x: F<'_>, bias: f32) -> (U<'_>, F<'_>, F<'_>, F<'_>) {
    let t = fma(x, LOG2E, MAGIC + bias);
    let n = t - (MAGIC + bias);
    let rh = fma(n, -LN2, x);
    let rl = n * -LN2_LO;
    (t.bits(), rh, rh + rl, rl)
}

/// p·2ⁿ; `t` holds n + 254 in its low 9 bits; `negative`: n may be below 0. Both factors are powers of two and only the second product can
/// round, so overflow and subnormal results round once.
pub(super) fn scale2<'b>(p: F<'b>, t: U<'b>, negative: Expr<'b, bool>) -> F<'b> {
    let s = negative.select(TWO_M64, TWO_P64);
    let factor: F = ((t << 23) - s.bits()).bitcast();
    (p * factor) * s
}

/// A polynomial of degree 6 in r, times 2ⁿ.
pub(crate) fn exp(x: F<'_>) -> F<'_> {
    let c = x.at_most(EXP_MAX).at_least(EXP_MIN);
    let t = fma(c, LOG2E, MAGIC + 254.0);
    let n = t - (MAGIC + 254.0);
    let r = fma(n, -LN2_LO, fma(n, -LN2, c));
    scale2(poly(r, EXP), t.bits(), x.lt(0.0))
}

/// r = x − rint(x) is exact; a polynomial of degree 6; scaled as in [`exp`].
pub(crate) fn exp2(x: F<'_>) -> F<'_> {
    let c = x.at_most(129.0).at_least(-151.0);
    let t = c + (MAGIC + 254.0);
    let n = t - (MAGIC + 254.0);
    let r = c - n;
    scale2(poly(r, EXP2), t.bits(), x.lt(0.0))
}

/// 2ⁿ(1 + r + tail) − 1. The head 2ⁿr + (2ⁿ − 1) is an exact sum of two terms; only the tail is rounded. Done at half scale so that
/// n = 128 does not overflow.
pub(crate) fn expm1(x: F<'_>) -> F<'_> {
    let c = x.at_most(EXP_MAX).at_least(-18.0);
    let (t, rh, r, rl) = reduce_ln2(c, 126.0);
    let s: F = (t << 23).bitcast(); // 2ⁿ⁻¹
    let tail = fma(r * r, poly(r, EXPM1_TAIL_LONG), rl);
    let s1 = s - 0.5;
    let a = fma(s, rh, s1);
    let al = fma(s, rh, s1 - a);
    let s1l = (s - s1) - 0.5;
    let y = a + fma(s, tail, al + s1l);
    x.abs().lt(TINY).select(x, y + y)
}

/// e⁻ᵃ = (p + pl)·s·2⁻⁶⁴ as (p, pl, s) for a ≥ 0.
fn exp_neg(a: F<'_>) -> (F<'_>, F<'_>, F<'_>) {
    let c = (-a).at_least(EXP_MIN);
    let (t, rh, r, rl) = reduce_ln2(c, 191.0);
    let s = (t << 23).bitcast();
    let tail = fma(r * r, poly(r, EXPM1_TAIL), rl);
    let h = 1.0 + rh;
    let l = (rh - (h - 1.0)) + tail;
    let p = h + l;
    (p, l - (p - h), s)
}

/// From t = e^−|x| as a sum of two terms: (x < 0 ? t : 1)/(1 + t), one reciprocal and one step on the residual; the numerator's 2ⁿ is
/// applied last so that subnormal results round once.
pub(crate) fn sigmoid(x: F<'_>) -> F<'_> {
    let (p, pl, s) = exp_neg(x.abs());
    let s0 = s * TWO_M64;
    let e = p * s0;
    let d = 1.0 + e;
    let dl = fma(pl, s0, e - (d - 1.0));
    let negative = x.lt(0.0);
    let num = negative.select(p, 1.0);
    let num_l = negative.select(pl, 0.0);
    let scale = negative.select(s, TWO_P64);
    let k = 1.0 / d;
    let q = num * k;
    let rem = fma(-q, dl, fma(-q, d, num) + num_l);
    (fma(rem, k, q) * scale) * TWO_M64
}

/// x = m·2ᵏ for x > 0 as (m, k·2²³), m in [√½, √2). Subnormal x are scaled first.
pub(super) fn split(x: F<'_>) -> (F<'_>, F<'_>) {
    let subnormal = x.lt(f32::MIN_POSITIVE);
    let xs = subnormal.select(x * TWO_P23, x).bits();
    let e = (xs - SQRT_HALF_BITS) & EXPONENT_MASK;
    let m = (xs - e).bitcast();
    let k = e.bitcast::<i32>().cast::<f32>() - subnormal.select(23.0 * TWO_P23, 0.0);
    (m, k)
}

/// The result of a logarithm where x is not a positive finite number.
fn log_special<'b>(x: F<'b>, y: F<'b>) -> F<'b> {
    let a = x.lt(f32::INFINITY).select(y, x);
    let b = x.eq(0.0).select(-f32::INFINITY, f32::NAN);
    x.gt(0.0).select(a, b)
}

/// x = 2ᵏ(1 + f); f + f²P(f), P of degree 8, plus k ln 2 in two parts.
pub(crate) fn log(x: F<'_>) -> F<'_> {
    let (m, k) = split(x);
    let f = m - 1.0;
    let z = f * f * poly(f, LOG);
    log_special(x, fma(k, LN2_STEP, f + fma(k, LN2_STEP_LO, z)))
}

/// As [`log`]: f log₂e enters as one fma beside f·P(f), then k by another.
pub(crate) fn log2(x: F<'_>) -> F<'_> {
    let (m, k) = split(x);
    let f = m - 1.0;
    log_special(x, fma(k, TWO_M23, fma(f, LOG2E, f * poly(f, LOG2))))
}

/// As [`log2`], with log₁₀2 in two parts.
pub(crate) fn log10(x: F<'_>) -> F<'_> {
    let (m, k) = split(x);
    let f = m - 1.0;
    let y = fma(f, LOG10E, fma(k, LOG10_2_STEP_LO, f * poly(f, LOG10)));
    log_special(x, fma(k, LOG10_2_STEP, y))
}

/// 1 + x = 2ᵏ(1 + f) as (f, k·2²³, 2²⁻ᵏ). f = 2⁻ᵏx + (2⁻ᵏ − 1) is exact in [−¼, ½] because the range starts at ¾ (an observation of
/// N. Juffa's).
pub(super) fn split1p(x: F<'_>) -> (F<'_>, F<'_>, F<'_>) {
    let u = 1.0 + x;
    let e = (u.bits() - THREE_QUARTERS_BITS) & EXPONENT_MASK;
    let s4: F = (FOUR_BITS - e).bitcast();
    let f = (x.bits() - e).bitcast() + fma(s4, 0.25, -1.0);
    (f, e.bitcast::<i32>().cast(), s4)
}

/// log(2ᵏ(1 + f + fl)) for kk = k·2²³.
pub(super) fn log1p_core<'b>(f: F<'b>, fl: Option<F<'b>>, kk: F<'b>) -> F<'b> {
    let a = fma(kk, LN2_SHORT_STEP, f);
    let al = f - fma(-kk, LN2_SHORT_STEP, a);
    let low = fma(kk, LN2_SHORT_STEP_LO, fl.map_or(al, |fl| al + fl));
    a + fma(f * f, poly(f, LOG1P), low)
}

/// u = 1 + x gives k only; P of degree 8 on [−¼, ½]; k ln 2 + f in two terms.
pub(crate) fn log1p(x: F<'_>) -> F<'_> {
    let (f, kk, _) = split1p(x);
    let y = log1p_core(f, None, kk).with_sign(x);
    let a = x.lt(f32::INFINITY).select(y, x);
    let b = x.eq(-1.0).select(-f32::INFINITY, f32::NAN);
    x.gt(-1.0).select(a, b)
}

/// max(x, 0) + log1p(e^−|x|): e^−|x| as a sum of two terms, log1p as above with k in {0, 1}, the last sum with its error (TwoSum).
pub(crate) fn softplus(x: F<'_>) -> F<'_> {
    let (p, pl, s) = exp_neg(x.abs());
    let e = (p * s) * TWO_M64;
    let el = (pl * s) * TWO_M64;
    let up = e.ge(0.5);
    let f = up.select(fma(e, 0.5, -0.5), e);
    let l = up.select(LN2_SHORT, 0.0);
    let ll = up.select(LN2_SHORT_LO, 0.0);
    let a = l + f;
    let al = fma(el, fma(e, -0.5, 1.0), f - (a - l)) + ll;
    let b = fma(f * f, poly(f, LOG1P), al);
    let mx = x.at_least(0.0);
    let big = mx.at_least(a);
    let small = a.at_most(mx);
    let t = mx + a;
    let tl = (big - t) + small;
    x.lt(f32::INFINITY).select(t + (b + tl), x)
}

/// max + softplus(−|a − b|).
pub(crate) fn logaddexp<'b>(a: F<'b>, b: F<'b>) -> F<'b> {
    let hi = a.lt(b).select(b, a);
    let d = a.eq(b).select(0.0, a - b); // equal infinities
    hi + softplus(-d.abs())
}
