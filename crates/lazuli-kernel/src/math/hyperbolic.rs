//! Hyperbolic functions and their inverses. Every scheme serves f32 and f64.

use super::exp_log::{log1p_core, reduce_ln2, split1p};
use super::expr::{Bool, Expr, fma, poly};
use super::pow::{Roots, rough_reciprocal};

pub(super) trait Hyperbolic: Roots {
    /// Beyond it e^(2x) is so large that tanh is 1; and beyond it sinh and cosh overflow.
    const TANH_MAX: f64;
    const SINH_MAX: f64;
    /// Above it x² would overflow; there asinh and acosh are log(2x).
    const HUGE: f64;
    /// (sinh r − r)/r³ in r² on |r| ≤ 0.347.
    const SINH: &'static [f64];
    /// (cosh r − 1)/r² in r² there.
    const COSH: &'static [f64];
}

impl Hyperbolic for f32 {
    const TANH_MAX: f64 = 10.0;
    const SINH_MAX: f64 = 89.5;
    const HUGE: f64 = 9.0e18;
    // Error 2^−34.1.
    const SINH: &'static [f64] = &[0.16666667, 0.008333192, 0.0001995845];
    // Error 2^−33.2.
    const COSH: &'static [f64] = &[0.5, 0.041666456, 0.0013935777];
}

impl Hyperbolic for f64 {
    const TANH_MAX: f64 = 22.0;
    const SINH_MAX: f64 = 710.5;
    const HUGE: f64 = 1.0e150;
    // Error 2^−64.7.
    const SINH: &'static [f64] = &[
        0.16666666666666666,
        0.008333333333334211,
        0.00019841269838349356,
        2.75573236510912e-06,
        2.504897263185575e-08,
        1.6911216346860664e-10,
    ];
    // Error 2^−58.1.
    const COSH: &'static [f64] = &[
        0.5000000000000012,
        0.041666666666519206,
        0.001388888894613979,
        2.4801490755946953e-05,
        2.763101712453225e-07,
    ];
}

/// E/(E + 2) with E = e^(2|x|) − 1 as a sum of two terms, one reciprocal and one step on the residual; no branch for small x. Only
/// |x| > 8.66 reaches 1 ULP, where 1 is returned for values just above 1 − 2⁻²⁴; below it is 0.84.
pub(super) fn tanh<T: Hyperbolic>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a = x.abs();
    let c = (a + a).at_most(2.0 * T::TANH_MAX);
    let (t, rh, r, rl) = reduce_ln2(c, T::BIAS);
    let s: Expr<T> = (t << T::SHIFT).bitcast();
    let tail = fma(r * r, poly(r, T::EXPM1_TAIL), rl);
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
struct Parts<'b, T> {
    /// 2ⁿ⁻², 2⁻ⁿ⁻².
    up: Expr<'b, T>,
    down: Expr<'b, T>,
    /// r without its low part.
    r: Expr<'b, T>,
    /// sinh(r) − r, cosh(r) − 1.
    sinh: Expr<'b, T>,
    cosh: Expr<'b, T>,
}

fn parts<T: Hyperbolic>(a: Expr<'_, T>) -> Parts<'_, T> {
    let c = a.at_most(T::SINH_MAX);
    let (t, rh, r, rl) = reduce_ln2(c, T::BIAS - 2);
    let e = t << T::SHIFT;
    let down: Expr<T::Signed> = (((2 * T::BIAS - 4) << T::SHIFT) - e).bitcast();
    let r2 = r * r;
    Parts {
        up: e.bitcast(),
        down: down.gt(0i64).select(down, 0i64).bitcast(),
        r: rh,
        sinh: fma(r * r2, poly(r2, T::SINH), rl),
        cosh: r2 * poly(r2, T::COSH),
    }
}

/// sinh(r)·ch + cosh(r)·sh with ch and sh = (2ⁿ ± 2⁻ⁿ)/2 (J.-M. Muller, *Elementary Functions*, 3rd ed., 2016): no division, no
/// cancellation. The head sh + ch·r is exact in two terms, and sh's own rounding error (2⁻ⁿ just below the last place) is carried. Done at half scale against overflow.
pub(super) fn sinh<T: Hyperbolic>(x: Expr<'_, T>) -> Expr<'_, T> {
    let ax = x.abs();
    let Parts { up, down, r, sinh, cosh } = parts(ax);
    let ch = up + down;
    let sh = up - down;
    let a = fma(ch, r, sh);
    let al = fma(ch, r, sh - a);
    let shl = (up - sh) - down;
    let y = a + fma(sh, cosh, fma(ch, sinh, al + shl));
    ax.lt(T::TINY).select(ax, y + y).with_sign(x)
}

/// cosh(r)·ch + sinh(r)·sh, as [`sinh`].
pub(super) fn cosh<T: Hyperbolic>(x: Expr<'_, T>) -> Expr<'_, T> {
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
fn log1p_sum<'b, T: Hyperbolic>(w: Expr<'b, T>, wl: Expr<'b, T>, doubled: Option<Bool<'b>>) -> Expr<'b, T> {
    let (f, k, s4) = split1p(w);
    let k = match doubled {
        Some(doubled) => k + doubled.select(T::UNIT, 0.0),
        None => k,
    };
    // log(1 + f + fl) − log(1 + f) ≈ fl/(1 + f) ≈ fl (1 − 0.7 f): the correction needs few bits.
    log1p_core(f, Some(fma(-0.7 * f, wl, wl) * (0.25 * s4)), k)
}

/// log1p(w), w = |x| + (√(1 + x²) − 1) with its residual as a second term; above `HUGE` log|x| + ln 2.
pub(super) fn asinh<T: Hyperbolic>(x: Expr<'_, T>) -> Expr<'_, T> {
    let ax = x.abs();
    let big = ax.gt(T::HUGE);
    let v = ax * ax;
    let h = fma(ax, ax, 1.0);
    let rd = 1.0 / (1.0 + h.sqrt());
    let z = v * rd; // √(1+x²) − 1, the root of z(z + 2) = x²
    let rem = fma(-z, z, fma(ax, ax, -(z + z)));
    let w = ax + z;
    let wl = fma(rem, rd, z - (w - ax));
    let y = log1p_sum(big.select(ax, w), big.select(0.0, wl), Some(big));
    ax.lt(f64::INFINITY).select(y, ax).with_sign(x)
}

/// log1p(t + √(t² + 2t)), t = x − 1, with the root's residual as a second term; above `HUGE` log x + ln 2.
pub(super) fn acosh<T: Hyperbolic>(x: Expr<'_, T>) -> Expr<'_, T> {
    let big = x.gt(T::HUGE);
    let t = x - 1.0;
    let v = fma(t, t, t + t);
    let vl = fma(t, t, (t + t) - v);
    let g = v.sqrt();
    let rem = fma(-g, g, v) + vl;
    let rg = rough_reciprocal(g) * 0.5;
    let w = t + g;
    let wl = fma(rem, rg, t - (w - g));
    let y = log1p_sum(big.select(x, w), big.select(0.0, wl), Some(big));
    let y = x.lt(f64::INFINITY).select(y, x);
    x.lt(1.0).select(f64::NAN, y)
}

/// log1p(2|x|/(1 − |x|))/2 with the quotient's residual as a second term.
pub(super) fn atanh<T: Hyperbolic>(x: Expr<'_, T>) -> Expr<'_, T> {
    let y = x.abs();
    let c = 1.0 - y;
    let cl = (1.0 - c) - y;
    let rk = 1.0 / c;
    let y2 = y + y;
    let w = y2 * rk;
    let wl = fma(-w, cl, fma(-w, c, y2)) * rk;
    let r = 0.5 * log1p_sum(w, wl, None);
    let edge: Expr<T> = y.eq(1.0).select(f64::INFINITY, f64::NAN);
    y.lt(1.0).select(r, edge).with_sign(x)
}
