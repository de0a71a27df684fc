//! sin, cos and tan of f32, for arguments of any size.
//!
//! x = qπ/2 + (r − n) with |r| ≤ 0.79 and n the low part of the remainder. Up to 10⁵ by three constants and fma (Cody & Waite 1980), above
//! in integers (M. Payne & R. Hanek, *Radian reduction for trigonometric functions*, SIGNUM Newsletter 18, 1983). Both are computed for every lane and
//! one is selected, since the IR does not branch; equal reductions of one x are shared by the line builder. Reducing in f64 instead
//! was weighed: windows of 29 bits of 1/2π take 33 f64 operations, which fill as many vectors as the 63 integer ones.

use super::super::expr::{fma, poly};
use super::*;

const TWO_OVER_PI: f32 = std::f32::consts::FRAC_2_PI;
/// π/2 in three parts, all rounded so that they are positive: that keeps sin(−0) = −0.
const PIO2: [f32; 3] = [f32::from_bits(0x3fc9_0fda), 7.5497894e-8, 5.390303e-15];
/// Anything in [2¹⁶, 10⁵] is right for both reductions.
const FAST_BOUND: f32 = 1.0e5;
/// 2/π as a binary fraction, 8 bits before the point.
const TWO_OVER_PI_BITS: [u32; 7] =
    [0x0051_7cc1, 0xb727_220a, 0x94fe_13ab, 0xe8fa_9a6e, 0xe06d_b14a, 0xcc9e_21c8, 0x20ff_28b1];
const TWO_M30: f32 = 1.0 / 1073741824.0;

/// A reduced argument: x = qπ/2 + (r − n).
#[derive(Clone, Copy)]
struct Reduced<'b> {
    q: U<'b>,
    r: F<'b>,
    n: F<'b>,
}

/// For |x| ≤ `FAST_BOUND`. r1 = x − k·PIO2₁ is exact; c = k·PIO2₂ is rounded; r = r1 − c and r1 − r = c + its rounding is exact (r1 lies on a
/// grid of 2⁻²⁴, coarser than c's last bit); n collects what r lost. ±∞ give NaN by themselves.
fn reduce_fast(x: F<'_>) -> Reduced<'_> {
    let m = fma(x, TWO_OVER_PI, MAGIC);
    let k = m - MAGIC;
    let r1 = fma(k, -PIO2[0], x);
    let c = k * PIO2[1];
    let r = r1 - c;
    let t = r1 - r;
    let n = fma(k, PIO2[1], -t);
    let n = fma(k, PIO2[2], n);
    Reduced { q: m.bits(), r, n }
}

/// For |x| ≥ 2¹⁶. The exponent picks a window of 96 bits of 2/π, which times the 24-bit significand, mod 2⁹⁶, has 2 quadrant bits and a
/// fraction of 62 bits, which become two floats.
fn reduce_huge(x: F<'_>) -> Reduced<'_> {
    let b = x.bits();
    let sign = x.sign_bit();
    let e = (b >> 23) & 0xff;
    let m = (b & 0x007f_ffff) | 0x0080_0000;
    let p = e - 143;
    let s = p & 31;
    let s1 = 31 - s;
    let j2 = (p & 64).ne(0);
    let j1 = (p & 32).ne(0);
    const T: [u32; 7] = TWO_OVER_PI_BITS;
    let a: [U; 5] = std::array::from_fn(|i| j2.select(T[i + 2], T[i]));
    let w: [U; 4] = std::array::from_fn(|i| j1.select(a[i + 1], a[i]));
    let h: [U; 3] = std::array::from_fn(|i| (w[i] << s) | ((w[i + 1] >> 1) >> s1));
    let l1 = m * h[1];
    let lo = l1 + m.mul_hi(h[2]);
    let carry = lo.lt(l1).select(1, 0);
    let hi = m * h[0] + m.mul_hi(h[1]) + carry;
    let q = (hi + 0x2000_0000) >> 30;
    let fraction: I = (hi - (q << 30)).bitcast();
    let f1: F = fraction.cast();
    let rest = fraction - f1.cast();
    let f2 = fma(rest.cast(), 2147483648.0, (lo >> 1).bitcast::<i32>().cast::<f32>());
    let r = f1 * (PIO2_HI * TWO_M30);
    let n = fma(f1, -PIO2_HI * TWO_M30, r);
    let n = fma(f1, -PIO2_LO * TWO_M30, n);
    let n = fma(f2, -PIO2_HI * TWO_M30 * (0.5 * TWO_M30), n);
    let r = fma(x, 0.0, r); // ∞ and NaN give NaN
    let negative: U = (sign.bitcast::<i32>() >> 31).bitcast();
    Reduced { q: (q ^ negative) - negative, r: r.flip_sign(sign), n: n.flip_sign(sign) }
}

fn reduce(x: F<'_>) -> Reduced<'_> {
    let small = reduce_fast(x);
    let huge = reduce_huge(x);
    let fast = x.abs().le(FAST_BOUND);
    Reduced { q: fast.select(small.q, huge.q), r: fast.select(small.r, huge.r), n: fast.select(small.n, huge.n) }
}

/// z = (r − n)² to first order, which is what brings cos under 1 ULP.
fn square<'b>(r: F<'b>, n: F<'b>) -> F<'b> {
    fma(r, r, (r * n) * -2.0)
}

const SIN: [f32; 3] = [0.16666654, -0.008332114, 0.00019509417];
const COS: [f32; 5] = [1.0, -0.5, 0.041666646, -0.0013887307, 2.4431802e-5];

/// sin(r − n + qπ/2): r − (n + r·z·S(z)) of degree 7, 1 − z/2 + z²C(z) of degree 8.
fn sincos(Reduced { q, r, n }: Reduced<'_>) -> F<'_> {
    let z = square(r, n);
    let s = r - fma(r, z * poly(z, SIN), n);
    let c = poly(z, COS);
    (q & 1).ne(0).select(c, s).flip_sign((q << 30) & (1 << 31))
}

pub(crate) fn sin(x: F<'_>) -> F<'_> {
    sincos(reduce(x))
}

/// sin one quadrant on.
pub(crate) fn cos(x: F<'_>) -> F<'_> {
    let reduced = reduce(x);
    sincos(Reduced { q: reduced.q + 1, ..reduced })
}

const TAN: [f32; 7] = [-0.33333352, -0.13332585, -0.05406859, -0.021237906, -0.010950327, 5.603306e-5, -0.0044484907];

/// t = r + r³T(r²) of degree 15, kept as t + tl; in odd quadrants u = −1/t with one Newton step on the residual 1 + u(t + tl).
pub(crate) fn tan(x: F<'_>) -> F<'_> {
    let Reduced { q, r, n } = reduce(x);
    let z = square(r, n);
    let zp = z * poly(z, TAN);
    let e = fma(r, zp, fma(-n, zp, n));
    let t = r - e;
    let tl = (r - t) - e;
    let u = -1.0 / t;
    let d = fma(u, tl, fma(u, t, 1.0));
    let c = fma(u, d, u);
    (q & 1).ne(0).select(c, t)
}
