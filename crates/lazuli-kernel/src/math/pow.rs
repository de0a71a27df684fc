//! Roots and powers.

use super::exp_log::{ExpLog, scale_bias, scale2, split};
use super::expr::{Bits, Expr, Float, fma, poly};

pub(super) trait Roots: ExpLog {
    /// `ROUGH_RECIPROCAL − bits(x)` are the bits of 1/x within 12 %.
    const ROUGH_RECIPROCAL: u64;
    /// `ROUGH_INV_CBRT − bits(m)/3` are the bits of m^(−⅓) within 3 %.
    const ROUGH_INV_CBRT: u64;
    /// Below it the residual of a cube would underflow; cbrt scales up by 2^(3·k) and back by 2^−k.
    const CBRT_TINY: f64;
    const CBRT_SCALE: [f64; 2];
    /// ⌊bits / 3⌋ to the accuracy of ROUGH_INV_CBRT, for bits of a positive number.
    fn third(bits: Bits<'_, Self>) -> Bits<'_, Self>;
}

impl Roots for f32 {
    const ROUGH_RECIPROCAL: u64 = 0x7ef3_11c7;
    const ROUGH_INV_CBRT: u64 = 0x54a2_fa8c;
    const CBRT_TINY: f64 = 1.0e-28;
    const CBRT_SCALE: [f64; 2] = [16777216.0, 1.0 / 256.0];
    fn third(bits: Bits<'_, f32>) -> Bits<'_, f32> {
        (bits.bitcast::<i32>().cast::<f32>() * (1.0 / 3.0)).cast::<i32>().bitcast()
    }
}

impl Roots for f64 {
    const ROUGH_RECIPROCAL: u64 = 0x7fde_6238_e000_0000;
    const ROUGH_INV_CBRT: u64 = 0x553f09fc2aaaac00;
    const CBRT_TINY: f64 = 1.0e-280;
    const CBRT_SCALE: [f64; 2] = [18014398509481984.0, 1.0 / 262144.0];
    fn third(bits: Bits<'_, f64>) -> Bits<'_, f64> {
        // The high word as the low bits of 2⁵² + word; and back.
        const TWO_P52: f64 = 4503599627370496.0;
        let word = ((bits >> 32) | TWO_P52.to_bits()).bitcast::<f64>() - TWO_P52;
        fma(word, 1.0 / 3.0, TWO_P52).bits() << 32
    }
}

/// 1/x within 12 %, x normal and its reciprocal too: enough to scale a correction term.
pub(super) fn rough_reciprocal<T: Roots>(x: Expr<'_, T>) -> Expr<'_, T> {
    (T::ROUGH_RECIPROCAL - x.bits()).bitcast()
}

/// y = 1/√x, then one Newton step on 1 − xy² evaluated with the exact residual of x·y; right for subnormal x too. rsqrt(±0) = ±∞ as
/// IEEE 754's rSqrt.
pub(super) fn rsqrt<T: Float>(x: Expr<'_, T>) -> Expr<'_, T> {
    let y = 1.0 / x.sqrt();
    let t = x * y;
    let tl = fma(x, y, -t);
    let r = fma(-tl, y, fma(-t, y, 1.0));
    let z = fma(0.5 * y, r, y);
    r.eq(r).select(z, y)
}

/// y ≈ m^(−⅓) from the bits divided by 3 (W. Kahan, *Computing a real cube root*, 1991), two steps of third order
/// y += yh(⅓ + ²⁄₉h), h = 1 − my³; then c = my² and one Newton step on the exact residual of c³.
pub(super) fn cbrt<'b, T: Roots>(x: Expr<'b, T>) -> Expr<'b, T> {
    let [up, down] = T::CBRT_SCALE;
    let ax = x.abs();
    let tiny = ax.lt(T::CBRT_TINY);
    let m = tiny.select(ax * up, ax);
    let back: Expr<T> = tiny.select(down, 1.0);
    let start = (T::ROUGH_INV_CBRT - T::third(m.bits())).bitcast();
    let y = (0..2).fold(start, |y: Expr<'b, T>, _| {
        let h = fma(-m * y, y * y, 1.0);
        fma(y * h, fma(h, 2.0 / 9.0, 1.0 / 3.0), y)
    });
    let y2 = y * y;
    let c = m * y2;
    let c2 = c * c;
    let cl = fma(c, c, -c2);
    let rem = fma(-cl, c, fma(-c2, c, m));
    let r = fma(rem, y2 * (1.0 / 3.0), c) * back;
    let r = ax.lt(f64::INFINITY).select(r, ax);
    ax.gt(0.0).select(r, ax).with_sign(x)
}

pub(super) trait Pow: ExpLog {
    /// log₂((1+s)/(1−s)) = s(C1 + u(C3 + u·LOG2(u))), u = s², |s| ≤ 0.1718, with C1 = 2/ln 2 and C3 = 2/(3 ln 2) in two parts each.
    const C1: [f64; 2];
    const C3: [f64; 2];
    const LOG2: &'static [f64];
    /// (2ʳ − 1 − r ln 2)/r² on |r| ≤ ½.
    const EXP2_TAIL: &'static [f64];
    /// A magnitude of y that makes any x but 1 overflow or underflow, so far from the largest number that y log₂x is finite.
    const Y_MAX: f64;
    /// Exponents of 2 that certainly give 0 and ∞.
    const RESULT_RANGE: [f64; 2];
}

impl Pow for f32 {
    const C1: [f64; 2] = [2.88539, 3.851926e-8];
    const C3: [f64; 2] = [0.9617967, -2.182136e-8];
    // Error 2^−37.6 of log₂.
    const LOG2: &'static [f64] = &[0.5770829, 0.41170472, 0.3402544];
    // Error 2^−27.8 of 2ʳ.
    const EXP2_TAIL: &'static [f64] = &[0.24022648, 0.05550362, 0.009618504, 0.0013390203, 0.00015327267];
    const Y_MAX: f64 = 1.0e12;
    const RESULT_RANGE: [f64; 2] = [-160.0, 129.0];
}

impl Pow for f64 {
    const C1: [f64; 2] = [2.8853900817779268, 4.0710547481862066e-17];
    const C3: [f64; 2] = [0.9617966939259756, 5.0577616648125906e-17];
    // Error 2^−75.6 of log₂.
    const LOG2: &'static [f64] = &[
        0.5770780163555854,
        0.4121985831110945,
        0.32059889798521507,
        0.2623081878707947,
        0.2219531982809546,
        0.1923533894978558,
        0.16991959027712894,
        0.14823964087694338,
        0.17330511389645537,
    ];
    // Error 2^−57.9 of 2ʳ.
    const EXP2_TAIL: &'static [f64] = &[
        0.24022650695910122,
        0.05550410866482073,
        0.009618129107597023,
        0.001333355814668744,
        0.00015403530454022657,
        1.5252733545535121e-05,
        1.321543662912644e-06,
        1.0178185217050839e-07,
        7.0735761197215085e-09,
        4.436218695153353e-10,
    ];
    const Y_MAX: f64 = 1.0e25;
    const RESULT_RANGE: [f64; 2] = [-1100.0, 1025.0];
}

/// All special cases of C's pow. log₂|x| = k + s(C1 + u(C3 + u·P(u))), s = (m−1)/(m+1), in sums of two terms (about 2⁻¹¹ of the last place);
/// times y in two terms; 2ʳ by a polynomial with a head of two terms; scaled as in exp. x = 0 and ∞ enter as log₂ = ∓∞ and ride through
/// the clamps. (The plan is that of SLEEF's pow: N. Shibata & F. Petrogalli, IEEE TPDS 2020.)
pub(super) fn pow<'b, T: Pow>(x: Expr<'b, T>, y: Expr<'b, T>) -> Expr<'b, T> {
    let ax = x.abs();
    let (m, k) = split(ax);
    let k = if T::UNIT == 1.0 { k } else { k * (1.0 / T::UNIT) };
    // s = (m − 1)/(m + 1) = sh + sl
    let f = m - 1.0;
    let d = m + 1.0;
    let dl = m - (d - 1.0);
    let rk = 1.0 / d;
    let sh = f * rk;
    let sl = fma(-sh, dl, fma(-sh, d, f)) * rk;
    let uh = sh * sh;
    let ul = fma(sh + sh, sl, fma(sh, sh, -uh));
    let b = fma(uh, poly(uh, T::LOG2), T::C3[1]);
    let ph = T::C3[0] + b;
    let pl = b - (ph - T::C3[0]);
    let th = uh * ph;
    let tl = fma(ul, ph, fma(uh, pl, fma(uh, ph, -th)));
    let qh = T::C1[0] + th;
    let ql = (th - (qh - T::C1[0])) + (tl + T::C1[1]);
    let lh = sh * qh;
    let ll = fma(sl, qh, fma(sh, ql, fma(sh, qh, -lh)));
    let rh = k + lh;
    let rl = (lh - (rh - k)) + ll;
    let rh = ax.eq(0.0).select(-f64::INFINITY, rh);
    let rh = ax.eq(f64::INFINITY).select(f64::INFINITY, rh);
    // y log₂|x| = c + el
    let yc = y.at_most(T::Y_MAX).at_least(-T::Y_MAX);
    let eh = yc * rh;
    let el = fma(yc, rl, fma(yc, rh, -eh));
    let c = eh.at_most(T::RESULT_RANGE[1]).at_least(T::RESULT_RANGE[0]);
    let magic = T::MAGIC + scale_bias::<T>() as f64;
    let t = c + magic;
    let n = t - magic;
    let r = (c - n) + el;
    let r = r.lesser(1.0).greater(-1.0); // infinite or NaN where the result is 0 or ∞ anyway
    let a = fma(r, T::LN2, 1.0);
    let al = fma(r, T::LN2, 1.0 - a);
    let p = a + fma(r * r, poly(r, T::EXP2_TAIL), al);
    let mag = scale2(p, t.bits(), c.lt(0.0));
    let integer = y.round().eq(y);
    let half = y * 0.5;
    let odd = integer & half.round().ne(half);
    let sign: Bits<T> = odd.select(x.sign_bit(), 0u64);
    let res: Expr<T> = (mag.bits() | sign).bitcast();
    let negative = x.lt(0.0) & x.gt(-f64::INFINITY);
    let bad = (negative & integer.not()) | x.is_nan() | y.is_nan();
    let res: Expr<T> = bad.select(f64::NAN, res);
    // As everybody writes them: the same bits as the product, and as x.
    let res = y.eq(2.0).select(x * x, res);
    let res = y.eq(1.0).select(x, res);
    (x.eq(1.0) | y.eq(0.0)).select(1.0, res)
}
