//! The error function of f32, its complement and its inverse.

use super::super::expr::{fma, poly};
use super::*;

const ERF_CLAMP: f32 = 3.92;
/// Chosen so that √erfc of it is within 2⁻³³ of an f32.
const ERF_SHIFT: f32 = 1.0449219;
const ERF_SMALL: [f32; 7] =
    [0.12837917, -0.3761262, 0.11283488, -0.026848927, 0.005177912, -0.00079109287, 7.505686e-5];
const ERF_LARGE: [f32; 11] = [
    0.37346575,
    -0.50697273,
    0.18564983,
    0.051863916,
    -0.047087334,
    -0.001916223,
    0.009569223,
    -0.0028442692,
    5.872388e-5,
    0.00010134359,
    -1.3205866e-5,
];

/// |x| ≤ 1: x + x·S(x²). Above: 1 − F(t)², F = √erfc a polynomial of degree 10 in t = min(|x|, 3.92) − 1.045; the root halves the range that
/// a polynomial has to follow (compare Abramowitz & Stegun 7.1.28), and F² ≥ 0 keeps the result at or below 1.
pub(crate) fn erf(x: F<'_>) -> F<'_> {
    let a = x.abs();
    let small = fma(x, poly(x * x, ERF_SMALL), x);
    let f = poly(a.at_most(ERF_CLAMP) - ERF_SHIFT, ERF_LARGE);
    let large = fma(-f, f, 1.0).with_sign(x);
    a.gt(1.0).select(large, small)
}

const ERFC_CLAMP: f32 = 10.1;
/// eᵇ − 1 − b over b².
const EXP_TAIL: [f32; 5] = [0.49999982, 0.16666517, 0.041670714, 0.008369133, 0.0013699816];
/// Chosen so that P(0) is nearly an f32.
const ERFC_K: f32 = 2.4804688;
const ERFC_P0: f32 = 1.2653165;
/// The rest of P after its first coefficient.
const ERFC_P: [f32; 9] = [
    -0.12157094,
    -0.101362236,
    0.15844993,
    -0.10173484,
    0.031119756,
    0.0016908825,
    -0.004_331_78,
    0.00029967027,
    0.000_549_492,
];
const ERFC_SMALL: [f32; 5] = [0.12837917, -0.3761261, 0.11282857, -0.026758973, 0.0047211717];

/// |x| < ½: 1 − (x + x·S(x²)). Otherwise e^(−x²)·P(u)/(1 + 2|x|), u = (|x| − K)/(|x| + K), degree 9, all in sums of two terms
/// (M. Shepherd & J. Laframboise, *Chebyshev approximation of (1+2x)exp(x²)erfc x*, Math. Comp. 36, 1981). Right for subnormal results.
pub(crate) fn erfc(x: F<'_>) -> F<'_> {
    let a0 = x.abs();
    let a = a0.gt(ERFC_CLAMP).select(ERFC_CLAMP, a0);
    let s = a * a;
    let sl = fma(a, a, -s);
    // e^(−s−sl) = 2ᵏ(1 + b)
    let m = fma(s, -LOG2E, MAGIC);
    let k = m - MAGIC;
    let f = fma(k, -LN2_SHORT, -s);
    let f = fma(k, -LN2_SHORT_LO, f - sl);
    let b = fma(f * f, poly(f, EXP_TAIL), f);
    let u = (a - ERFC_K) / (a + ERFC_K);
    let t = u * poly(u, ERFC_P);
    let p = ERFC_P0 + t;
    let pl = (ERFC_P0 - p) + t;
    // (p + pl)/(1 + 2a) with 1 + 2a = d + dl
    let d = fma(a, 2.0, 1.0);
    let dl = fma(a, 2.0, 1.0 - d);
    let rd = 1.0 / d;
    let q = p * rd;
    let e = fma(-q, dl, fma(-q, d, p) + pl);
    let ql = e * rd;
    let g = q + fma(q, b, fma(ql, b, ql));
    let scale: F = ((m.bits() << 23) + ((127 + 64) << 23)).bitcast();
    let r = g * scale * TWO_M64;
    let r = x.lt(0.0).select(2.0 - r, r);
    let w = poly(x * x, ERFC_SMALL);
    let small = 1.0 - fma(x, w, x);
    a0.lt(0.5).select(small, r)
}

/// (log(1+f) − f)/f².
const LOG: [f32; 7] = [-0.50000584, 0.3333527, -0.24961476, 0.19887927, -0.17325515, 0.16338545, -0.10040011];
const CENTRAL: [f32; 10] = [
    0.50140935,
    0.24664028,
    -0.004_177_37,
    -0.001252731,
    0.00021833467,
    -4.9690357e-6,
    -3.4606019e-6,
    4.673129e-7,
    2.3082382e-8,
    -8.869062e-9,
];
const TAIL: [f32; 8] =
    [-0.16719797, 0.0026628922, 0.006842242, -0.0034516247, 0.0011522229, -0.00020054856, -6.190975e-5, 3.8191356e-5];

/// w = −ln(1 − x²); w < 5: x + x·C(w − 2.5), degree 9; else s + T(s − 3), s = √w, degree 7 (the two ranges of M. Giles, *Approximating the
/// erfinv function*, GPU Computing Gems, 2011; own fits).
pub(crate) fn erfinv(x: F<'_>) -> F<'_> {
    let a = x.abs();
    let y = fma(-x, x, 1.0).bits();
    let k = (y - SQRT_HALF_BITS).bitcast::<i32>() >> 23;
    let m: F = (y - (k.bitcast::<u32>() << 23)).bitcast();
    let f = m - 1.0;
    let l = fma(f * f, poly(f, LOG), f);
    let w = fma(k.cast(), -LN2, -l);
    let central = fma(a, poly(w - 2.5, CENTRAL), a);
    let s = w.sqrt();
    let tail = s + poly(s - 3.0, TAIL);
    let r = w.lt(5.0).select(central, tail);
    let edge = a.eq(1.0).select(f32::INFINITY, f32::NAN);
    a.lt(1.0).select(r, edge).with_sign(x)
}
