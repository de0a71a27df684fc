//! asin, acos, atan and atan2. Every scheme serves f32 and f64.

use super::expr::{Bool, Expr, fma, poly};
use super::pow::{Roots, rough_reciprocal};

pub(super) trait InverseTrig: Roots {
    /// π/2 in two parts.
    const PIO2: [f64; 2];
    /// (atan z − z)/z³ in z² on [0, 1].
    const ATAN: &'static [f64];
    /// (asin s − s)/s³ in s² on [0, ½].
    const ASIN: &'static [f64];
    /// Beyond it atan is π/2.
    const ATAN_BIG: f64;
    /// atan2 scales by SCALE_UP where the larger operand is below SMALL, and by SCALE_DOWN where it is above LARGE.
    const SMALL: f64;
    const LARGE: f64;
    const SCALE_UP: f64;
    const SCALE_DOWN: f64;
}

impl InverseTrig for f32 {
    const PIO2: [f64; 2] = [std::f32::consts::FRAC_PI_2 as f64, -4.371139e-8];
    const ATAN: &'static [f64] = &[
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
    const ASIN: &'static [f64] = &[0.16666752, 0.07495307, 0.045469638, 0.024181534, 0.042165037];
    const ATAN_BIG: f64 = 1.0e9;
    const SMALL: f64 = power_of_two(-60);
    const LARGE: f64 = power_of_two(100);
    const SCALE_UP: f64 = power_of_two(60);
    const SCALE_DOWN: f64 = power_of_two(-24);
}

impl InverseTrig for f64 {
    const PIO2: [f64; 2] = [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17];
    // Error 2^−57.6.
    const ATAN: &'static [f64] = &[
        -0.3333333333333307,
        0.19999999999951756,
        -0.1428571428258855,
        0.1111111100735493,
        -0.09090907008003227,
        0.07692279891000552,
        -0.06666404438129865,
        0.058805298846729526,
        -0.052535270812955864,
        0.047223492737180406,
        -0.042192457555029254,
        0.036643201134804834,
        -0.0299058087635479,
        0.021987149042429332,
        -0.013902640588944897,
        0.00719792575897647,
        -0.002885627889651036,
        0.0008315652318609962,
        -0.00015221219870193814,
        1.3230091772371405e-05,
    ];
    // Error 2^−55.9.
    const ASIN: &'static [f64] = &[
        0.16666666666665408,
        0.07500000000337102,
        0.04464285682827013,
        0.030381959138981125,
        0.022371758008737835,
        0.01735970531637236,
        0.013885230602039715,
        0.012169240344520724,
        0.006527862707984047,
        0.019528546896388492,
        -0.016224660166076297,
        0.03191252891780875,
    ];
    const ATAN_BIG: f64 = 1.0e18;
    const SMALL: f64 = power_of_two(-900);
    const LARGE: f64 = power_of_two(900);
    const SCALE_UP: f64 = power_of_two(120);
    const SCALE_DOWN: f64 = power_of_two(-200);
}

/// 2 to the `n`.
const fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}

/// z + z³P(z²) of degree 19; for |x| > 1 π/2 − atan(1/|x|) with π/2 in two terms, the sum compensated and the reciprocal's residual times
/// 0.48 ≈ z/(1 + z²) near z = 1, the only place where it is visible.
pub(super) fn atan<T: InverseTrig>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a0 = x.abs();
    let a = a0.gt(T::ATAN_BIG).select(T::ATAN_BIG, a0);
    let invert = a.gt(1.0);
    let rc = -1.0 / a;
    let z = invert.select(rc, a);
    let residual = fma(rc, a, 1.0);
    let correction = fma(residual, -0.48, T::PIO2[1]);
    let h = T::PIO2[0] + z;
    let hl = (T::PIO2[0] - h) + z;
    let z2 = z * z;
    let w = z2 * poly(z2, T::ATAN);
    let small = fma(z, w, z);
    let large = h + fma(z, w, hl + correction);
    invert.select(large, small).with_sign(x)
}

/// What asin and acos share: s² and s with asin|x| = asin s or π/2 − 2 asin s.
struct Half<'b, T> {
    /// |x| > ½, where s = √((1 − |x|)/2).
    big: Bool<'b>,
    root: Expr<'b, T>,
    /// asin(s)/s − 1.
    p: Expr<'b, T>,
    /// The root's residual, doubled.
    low: Expr<'b, T>,
}

fn half<'b, T: InverseTrig>(x: Expr<'b, T>, a: Expr<'b, T>) -> Half<'b, T> {
    let big = a.gt(0.5);
    let zb = fma(a, -0.5, 0.5);
    let z = big.select(zb, x * x);
    let root = zb.sqrt();
    Half { big, root, p: z * poly(z, T::ASIN), low: fma(-root, root, zb) * rough_reciprocal(root) }
}

/// |x| ≤ ½: x + x³P(x²) of degree 11; else π/2 − 2 asin(s), s = √((1−|x|)/2) (Cody & Waite 1980), with the residual z − s² divided by s by a
/// rough reciprocal.
pub(super) fn asin<T: InverseTrig>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a = x.abs();
    let Half { big, root, p, low } = half(x, a);
    let s = big.select(root, a);
    let small = fma(s, p, s);
    let h = fma(root, -2.0, T::PIO2[0]);
    let hl = fma(root, -2.0, T::PIO2[0] - h);
    let e = fma(s * -2.0, p, (hl + T::PIO2[1]) - low);
    big.select(h + e, small).with_sign(x)
}

/// π/2 − asin(x), 2 asin(s) or π − 2 asin(s): a base in two terms plus y(1 + p).
pub(super) fn acos<T: InverseTrig>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a = x.abs();
    let Half { big, root, p, low } = half(x, a);
    let m = big.select(root + root, a);
    let ml = big.select(low, 0.0);
    let negative = x.lt(0.0);
    let base = |one: f64| -> Expr<T> { big.select(negative.select(2.0 * one, 0.0), one) };
    let (base_h, base_l) = (base(T::PIO2[0]), base(T::PIO2[1]));
    let flip = x.sign_bit() ^ big.select(0u64, T::SIGN);
    let y = m.flip_sign(flip);
    let yl = ml.flip_sign(flip);
    let h = base_h + y;
    let hl = (base_h - h) + y;
    h + fma(y, p, (hl + base_l) + yl)
}

/// All special cases of IEEE 754. t = min/max of |x| and |y|, the quotient's residual carried with a rough reciprocal; then as [`atan`] with base 0, π/2
/// or π. Scaling by a power of two keeps the divisor in the range of the rough reciprocal and the residual above underflow.
pub(super) fn atan2<'b, T: InverseTrig>(y: Expr<'b, T>, x: Expr<'b, T>) -> Expr<'b, T> {
    let (ay, ax) = (y.abs(), x.abs());
    let sx = x.sign_bit();
    let swap = ay.gt(ax);
    let num0 = swap.select(ax, ay);
    let den0 = swap.select(ay, ax);
    let scale: Expr<T> = den0.lt(T::SMALL).select(T::SCALE_UP, 1.0);
    let scale: Expr<T> = den0.gt(T::LARGE).select(T::SCALE_DOWN, scale);
    let num = num0 * scale;
    let den = den0 * scale;
    let t = num / den;
    let t = num.eq(den).select(1.0, t);
    let t = den.eq(0.0).select(0.0, t);
    let tl = fma(-t, den, num) * rough_reciprocal(den);
    let tl = den.lt(f64::INFINITY).select(tl, 0.0);
    let negative = sx.ne(0u64);
    let base = |one: f64| -> Expr<T> { swap.select(one, negative.select(2.0 * one, 0.0)) };
    let (base_h, base_l) = (base(T::PIO2[0]), base(T::PIO2[1]));
    let flip = swap.select(T::SIGN, 0u64) ^ sx;
    let z = t.flip_sign(flip);
    let zl = tl.flip_sign(flip);
    let z2 = z * z;
    let h = base_h + z;
    let hl = (base_h - h) + z;
    let d = fma(z2, -0.5, 1.0);
    let e = fma(z, z2 * poly(z2, T::ATAN), fma(zl, d, hl + base_l));
    let r = (h + e).with_sign(y);
    (x.is_nan() | y.is_nan()).select(x + y, r)
}
