//! Hyperbolic functions of f32 and their inverses.

use super::super::expr::{fma, poly};
use super::exp_log::{EXPM1_TAIL, HUGE, TINY, log1p_core, reduce_ln2, split1p};
use super::*;

/// (sinh r − r)/r³ in r² on |r| ≤ 0.347, error 2^−34.1.
const SINH: [f32; 3] = [0.16666667, 0.008333192, 0.0001995845];
/// (cosh r − 1)/r² in r² there, error 2^−33.2.
const COSH: [f32; 3] = [0.5, 0.041666456, 0.0013935777];

/// E/(E + 2) with E = e^(2|x|) − 1 as a sum of two terms, one reciprocal and one step on the residual; no branch for small x. Only
/// |x| > 8.66 reaches 1 ULP, where 1 is returned for values just above 1 − 2⁻²⁴; below it is 0.84.
pub(crate) fn tanh(x: F<'_>) -> F<'_> {
    let a = x.abs();
    let c = (a + a).at_most(20.0);
    let (t, rh, r, rl) = reduce_ln2(c, 127.0);
    let s: F = (t << 23).bitcast();
    let tail = fma(r * r, poly(r, EXPM1_TAIL), rl);
    let s1 = s - 1.0;
    let a = fma(s, rh, s1);
    let b = fma(s, tail, fma(s, rh, s1 - a));
    let e = a + b;
    let el = b - (e - a);
    let d = e + 2.0;
    let dl = (e - (d - 2.0)) + el;
    let k = 1.0 / d;
    let q = e * k;
    let rem = fma(-q, dl, fma(-q, d, e) + el);
    fma(rem, k, q).with_sign(x)
}

/// What sinh and cosh share, of a = |x| = n ln 2 + r.
struct Parts<'b> {
    /// 2ⁿ⁻², 2⁻ⁿ⁻².
    up: F<'b>,
    down: F<'b>,
    /// r without its low part.
    r: F<'b>,
    /// sinh(r) − r, cosh(r) − 1.
    sinh: F<'b>,
    cosh: F<'b>,
}

fn parts(a: F<'_>) -> Parts<'_> {
    let c = a.at_most(89.5);
    let (t, rh, r, rl) = reduce_ln2(c, 125.0);
    let e = t << 23;
    let down: I = ((250 << 23) - e).bitcast();
    let r2 = r * r;
    Parts {
        up: e.bitcast(),
        down: down.gt(0).select(down, 0).bitcast(),
        r: rh,
        sinh: fma(r * r2, poly(r2, SINH), rl),
        cosh: r2 * poly(r2, COSH),
    }
}

/// sinh(r)·ch + cosh(r)·sh with ch and sh = (2ⁿ ± 2⁻ⁿ)/2 (J.-M. Muller, *Elementary Functions*, 3rd ed., 2016): no division, no
/// cancellation. The head sh + ch·r is exact in two terms. Done at half scale against overflow.
pub(crate) fn sinh(x: F<'_>) -> F<'_> {
    let ax = x.abs();
    let Parts { up, down, r, sinh, cosh } = parts(ax);
    let ch = up + down;
    let sh = up - down;
    let a = fma(ch, r, sh);
    let al = fma(ch, r, sh - a);
    let y = a + fma(sh, cosh, fma(ch, sinh, al));
    ax.lt(TINY).select(ax, y + y).with_sign(x)
}

/// cosh(r)·ch + sinh(r)·sh, as [`sinh`]; ch's own rounding error (n = 12) is carried too.
pub(crate) fn cosh(x: F<'_>) -> F<'_> {
    let Parts { up, down, r, sinh, cosh } = parts(x.abs());
    let ch = up + down;
    let sh = up - down;
    let a = fma(sh, r, ch);
    let al = fma(sh, r, ch - a);
    let chl = down - (ch - up);
    let y = a + fma(ch, cosh, fma(sh, sinh, al + chl));
    y + y
}

/// log(1 + w + wl), times 2 where `doubled`; wl is a small correction.
fn log1p_sum<'b>(w: F<'b>, wl: F<'b>, doubled: Option<Expr<'b, bool>>) -> F<'b> {
    let (f, kk, s4) = split1p(w);
    let kk = match doubled {
        Some(doubled) => kk + doubled.select(TWO_P23, 0.0),
        None => kk,
    };
    // log(1 + f + fl) − log(1 + f) ≈ fl/(1 + f) ≈ fl (1 − 0.7 f): the correction needs few bits.
    log1p_core(f, Some(fma(-0.7 * f, wl, wl) * (0.25 * s4)), kk)
}

/// log1p(w), w = |x| + (√(1 + x²) − 1) with its residual as a second term; above 9·10¹⁸ log|x| + ln 2.
pub(crate) fn asinh(x: F<'_>) -> F<'_> {
    let ax = x.abs();
    let big = ax.gt(HUGE);
    let v = ax * ax;
    let h = fma(ax, ax, 1.0);
    let rd = 1.0 / (1.0 + h.sqrt());
    let z = v * rd; // √(1+x²) − 1, the root of z(z + 2) = x²
    let rem = fma(-z, z, fma(ax, ax, -(z + z)));
    let w = ax + z;
    let wl = fma(rem, rd, z - (w - ax));
    let y = log1p_sum(big.select(ax, w), big.select(0.0, wl), Some(big));
    ax.lt(f32::INFINITY).select(y, ax).with_sign(x)
}

/// log1p(t + √(t² + 2t)), t = x − 1, with the root's residual as a second term; above 9·10¹⁸ log x + ln 2.
pub(crate) fn acosh(x: F<'_>) -> F<'_> {
    let big = x.gt(HUGE);
    let t = x - 1.0;
    let v = fma(t, t, t + t);
    let vl = fma(t, t, (t + t) - v);
    let g = v.sqrt();
    let rem = fma(-g, g, v) + vl;
    let rg = rough_reciprocal(g) * 0.5;
    let w = t + g;
    let wl = fma(rem, rg, t - (big.select(x, w) - g));
    let y = log1p_sum(big.select(x, w), big.select(0.0, wl), Some(big));
    let y = x.lt(f32::INFINITY).select(y, x);
    x.lt(1.0).select(f32::NAN, y)
}

/// log1p(2|x|/(1 − |x|))/2 with the quotient's residual as a second term.
pub(crate) fn atanh(x: F<'_>) -> F<'_> {
    let y = x.abs();
    let c = 1.0 - y;
    let cl = (1.0 - c) - y;
    let rk = 1.0 / c;
    let y2 = y + y;
    let w = y2 * rk;
    let wl = fma(-w, cl, fma(-w, c, y2)) * rk;
    let r = 0.5 * log1p_sum(w, wl, None);
    let edge = y.eq(1.0).select(f32::INFINITY, f32::NAN);
    y.lt(1.0).select(r, edge).with_sign(x)
}
