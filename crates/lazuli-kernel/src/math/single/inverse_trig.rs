//! asin, acos, atan and atan2 of f32: coefficients by weighted least squares and Sollya's remez.

use super::super::expr::{fma, poly};
use super::*;

/// (atan z − z)/z³ in z² on [0, 1].
const ATAN: [f32; 9] = [
    -0.333333,
    0.19998536,
    -0.14264126,
    0.109516546,
    -0.08402056,
    0.057_935_8,
    -0.031157766,
    0.010904537,
    -0.001791502,
];
/// (asin s − s)/s³ in s² on [0, ½].
const ASIN: [f32; 5] = [0.16666752, 0.07495307, 0.045469638, 0.024181534, 0.042165037];
/// Beyond it atan is π/2.
const ATAN_BIG: f32 = 1.0e9;

/// z + z³P(z²) of degree 19; for |x| > 1 π/2 − atan(1/|x|) with π/2 in two terms, the sum compensated and the reciprocal's residual times
/// 0.48 ≈ z/(1 + z²) near z = 1, the only place where it is visible.
pub(crate) fn atan(x: F<'_>) -> F<'_> {
    let a0 = x.abs();
    let a = a0.gt(ATAN_BIG).select(ATAN_BIG, a0);
    let invert = a.gt(1.0);
    let rc = -1.0 / a;
    let z = invert.select(rc, a);
    let residual = fma(rc, a, 1.0);
    let correction = fma(residual, -0.48, PIO2_LO);
    let h = PIO2_HI + z;
    let hl = (PIO2_HI - h) + z;
    let z2 = z * z;
    let w = z2 * poly(z2, ATAN);
    let small = fma(z, w, z);
    let large = h + fma(z, w, hl + correction);
    invert.select(large, small).with_sign(x)
}

/// What asin and acos share: s² and s with asin|x| = asin s or π/2 − 2 asin s.
struct Half<'b> {
    /// |x| > ½, where s = √((1 − |x|)/2).
    big: Expr<'b, bool>,
    root: F<'b>,
    /// asin(s)/s − 1.
    p: F<'b>,
    /// The root's residual, doubled.
    low: F<'b>,
}

fn half<'b>(x: F<'b>, a: F<'b>) -> Half<'b> {
    let big = a.gt(0.5);
    let zb = fma(a, -0.5, 0.5);
    let z = big.select(zb, x * x);
    let root = zb.sqrt();
    Half { big, root, p: z * poly(z, ASIN), low: fma(-root, root, zb) * rough_reciprocal(root) }
}

/// |x| ≤ ½: x + x³P(x²) of degree 11; else π/2 − 2 asin(s), s = √((1−|x|)/2) (Cody & Waite 1980), with the residual z − s² divided by s by a
/// rough reciprocal.
pub(crate) fn asin(x: F<'_>) -> F<'_> {
    let a = x.abs();
    let Half { big, root, p, low } = half(x, a);
    let s = big.select(root, a);
    let small = fma(s, p, s);
    let h = fma(root, -2.0, PIO2_HI);
    let hl = fma(root, -2.0, PIO2_HI - h);
    let e = fma(s * -2.0, p, (hl + PIO2_LO) - low);
    big.select(h + e, small).with_sign(x)
}

/// π/2 − asin(x), 2 asin(s) or π − 2 asin(s): a base in two terms plus y(1 + p).
pub(crate) fn acos(x: F<'_>) -> F<'_> {
    let a = x.abs();
    let Half { big, root, p, low } = half(x, a);
    let m = big.select(root + root, a);
    let ml = big.select(low, 0.0);
    let negative = x.lt(0.0);
    let base = |one: f32| big.select(negative.select(2.0 * one, 0.0), one);
    let (base_h, base_l) = (base(PIO2_HI), base(PIO2_LO));
    let flip = x.sign_bit() ^ big.select(0, 1 << 31);
    let y = m.flip_sign(flip);
    let yl = ml.flip_sign(flip);
    let h = base_h + y;
    let hl = (base_h - h) + y;
    h + fma(y, p, (hl + base_l) + yl)
}

/// 2 to the `n`.
const fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((127 + n) as u32) << 23)
}

/// All special cases of IEEE 754. t = min/max of |x| and |y|, the quotient's residual carried with a rough reciprocal; then as [`atan`] with base 0, π/2
/// or π. Scaling by a power of two keeps the divisor in the range of the rough reciprocal and the residual above underflow.
pub(crate) fn atan2<'b>(y: F<'b>, x: F<'b>) -> F<'b> {
    let (ay, ax) = (y.abs(), x.abs());
    let sx = x.sign_bit();
    let swap = ay.gt(ax);
    let num0 = swap.select(ax, ay);
    let den0 = swap.select(ay, ax);
    let scale = den0.lt(power_of_two(-60)).select(power_of_two(60), 1.0);
    let scale = den0.gt(power_of_two(100)).select(power_of_two(-24), scale);
    let num = num0 * scale;
    let den = den0 * scale;
    let t = num / den;
    let t = num.eq(den).select(1.0, t);
    let t = den.eq(0.0).select(0.0, t);
    let tl = fma(-t, den, num) * rough_reciprocal(den);
    let tl = den.lt(f32::INFINITY).select(tl, 0.0);
    let negative = sx.ne(0);
    let base = |one: f32| swap.select(one, negative.select(2.0 * one, 0.0));
    let (base_h, base_l) = (base(PIO2_HI), base(PIO2_LO));
    let flip = swap.select(1 << 31, 0) ^ sx;
    let z = t.flip_sign(flip);
    let zl = tl.flip_sign(flip);
    let z2 = z * z;
    let h = base_h + z;
    let hl = (base_h - h) + z;
    let d = fma(z2, -0.5, 1.0);
    let e = fma(z, z2 * poly(z2, ATAN), fma(zl, d, hl + base_l));
    let r = (h + e).with_sign(y);
    (x.is_nan() | y.is_nan()).select(x + y, r)
}
