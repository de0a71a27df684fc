//! Roots and powers of f32.

use super::super::expr::{fma, poly};
use super::exp_log::{scale2, split};
use super::*;

/// Bits from which a third of those of m is taken to get m^(−⅓) within 3 %.
const ROUGH_INV_CBRT: u32 = 0x54a2_fa8c;
const THIRD: f32 = 1.0 / 3.0;
/// 2/(3 ln 2) and 2/ln 2 in two parts each.
const C3: f32 = 0.9617967;
const C3_LO: f32 = -2.182136e-8;
const C1: f32 = 2.885_39;
const C1_LO: f32 = 3.851926e-8;
/// log₂((1+s)/(1−s)) = s(C1 + u(C3 + u·P(u))), u = s², |s| ≤ 0.1718: error 2^−37.6.
const LOG2: [f32; 3] = [0.5770829, 0.41170472, 0.3402544];
/// (2ʳ − 1 − r ln 2)/r² on |r| ≤ ½, error 2^−27.8.
const EXP2: [f32; 5] = [0.24022648, 0.05550362, 0.009618504, 0.0013390203, 0.00015327267];

/// y = 1/√x, then one Newton step on 1 − xy² evaluated with the exact residual of x·y; right for subnormal x too. rsqrt(±0) = ±∞ as
/// IEEE 754's rSqrt.
pub(crate) fn rsqrt(x: F<'_>) -> F<'_> {
    let y = 1.0 / x.sqrt();
    let t = x * y;
    let tl = fma(x, y, -t);
    let r = fma(-tl, y, fma(-t, y, 1.0));
    let z = fma(0.5 * y, r, y);
    r.eq(r).select(z, y)
}

/// y ≈ m^(−⅓) from the bits divided by 3 (W. Kahan, *Computing a real cube root*, 1991), two steps of third order
/// y += yh(⅓ + ²⁄₉h), h = 1 − my³; then c = my² and one Newton step on the exact residual of c³.
pub(crate) fn cbrt<'b>(x: F<'b>) -> F<'b> {
    let ax = x.abs();
    let tiny = ax.lt(1.0e-28);
    let m = tiny.select(ax * 16777216.0, ax);
    let back = tiny.select(1.0 / 256.0, 1.0);
    let b3 = (m.bitcast::<i32>().cast::<f32>() * THIRD).cast::<i32>().bitcast();
    let y = (0..2).fold((ROUGH_INV_CBRT - b3).bitcast(), |y: F<'b>, _| {
        let h = fma(-m * y, y * y, 1.0);
        fma(y * h, fma(h, 2.0 / 9.0, THIRD), y)
    });
    let y2 = y * y;
    let c = m * y2;
    let c2 = c * c;
    let cl = fma(c, c, -c2);
    let rem = fma(-cl, c, fma(-c2, c, m));
    let r = fma(rem, y2 * THIRD, c) * back;
    let r = ax.lt(f32::INFINITY).select(r, ax);
    ax.gt(0.0).select(r, ax).with_sign(x)
}

/// All special cases of C's pow. log₂|x| = k + s(C1 + u(C3 + uP(u))), s = (m−1)/(m+1), in sums of two terms (about 2⁻³² relative); times y
/// in two terms; 2ʳ by a polynomial of degree 6 with a head of two terms; scaled as in exp. x = 0 and ∞ enter as log₂ = ∓∞ and ride through
/// the clamps. (The plan is that of SLEEF's pow: N. Shibata & F. Petrogalli, IEEE TPDS 2020.)
pub(crate) fn pow<'b>(x: F<'b>, y: F<'b>) -> F<'b> {
    let ax = x.abs();
    let (m, kk) = split(ax);
    let k = kk * TWO_M23;
    // s = (m − 1)/(m + 1) = sh + sl
    let f = m - 1.0;
    let d = m + 1.0;
    let dl = m - (d - 1.0);
    let rk = 1.0 / d;
    let sh = f * rk;
    let sl = fma(-sh, dl, fma(-sh, d, f)) * rk;
    let uh = sh * sh;
    let ul = fma(sh + sh, sl, fma(sh, sh, -uh));
    let b = fma(uh, poly(uh, LOG2), C3_LO);
    let ph = C3 + b;
    let pl = b - (ph - C3);
    let th = uh * ph;
    let tl = fma(ul, ph, fma(uh, pl, fma(uh, ph, -th)));
    let qh = C1 + th;
    let ql = (th - (qh - C1)) + (tl + C1_LO);
    let lh = sh * qh;
    let ll = fma(sl, qh, fma(sh, ql, fma(sh, qh, -lh)));
    let rh = k + lh;
    let rl = (lh - (rh - k)) + ll;
    let rh = ax.eq(0.0).select(-f32::INFINITY, rh);
    let rh = ax.eq(f32::INFINITY).select(f32::INFINITY, rh);
    // y log₂|x| = c + el
    let yc = y.at_most(1.0e12).at_least(-1.0e12);
    let eh = yc * rh;
    let el = fma(yc, rl, fma(yc, rh, -eh));
    let c = eh.at_most(129.0).at_least(-160.0);
    let t = c + (MAGIC + 254.0);
    let n = t - (MAGIC + 254.0);
    let r = (c - n) + el;
    let r = r.lesser(1.0).greater(-1.0); // infinite or NaN where the result is 0 or ∞ anyway
    let a = fma(r, LN2, 1.0);
    let al = fma(r, LN2, 1.0 - a);
    let p = a + fma(r * r, poly(r, EXP2), al);
    let mag = scale2(p, t.bits(), c.lt(0.0));
    let integer = y.round().eq(y);
    let half = y * 0.5;
    let odd = integer & half.round().ne(half);
    let sign = odd.select(x.sign_bit(), 0);
    let res: F = (mag.bits() | sign).bitcast();
    let negative = x.lt(0.0) & x.gt(-f32::INFINITY);
    let bad = (negative & !integer) | x.is_nan() | y.is_nan();
    let res = bad.select(f32::NAN, res);
    (x.eq(1.0) | y.eq(0.0)).select(1.0, res)
}
