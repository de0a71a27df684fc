//! Exponentials and logarithms.
//!
//! Exponentials reduce by n = rint(x log₂e), r = x − n ln 2 with ln 2 in two parts (W. J. Cody & W. Waite, *Software Manual for the
//! Elementary Functions*, 1980); logarithms take 2ᵏ out of the bits. Where one rounded term is not enough, a value is carried as an
//! unevaluated sum of two (T. J. Dekker, *A floating-point technique for extending the available precision*, Numer. Math. 18, 1971),
//! products' residuals by fma. log(1 + f) is a polynomial in f32; in f64, where that would need twenty terms, the series of atanh in
//! s = f/(2 + f) (J.-M. Muller, *Elementary Functions*, 3rd ed., 2016, ch. 11).

use super::expr::{Bits, Bool, Expr, Float, fma, poly};

pub(super) const TWO_P64: f64 = 18446744073709551616.0;
pub(super) const TWO_M64: f64 = 1.0 / TWO_P64;

/// Constants and polynomials of this family, lowest coefficient first.
pub(super) trait ExpLog: Float {
    const LOG2E: f64;
    const LN2: f64;
    /// ln 2 − LN2.
    const LN2_LO: f64;
    /// ln 2 to so few bits that k·LN2_SHORT is exact for an exponent k, and the rest.
    const LN2_SHORT: f64;
    const LN2_SHORT_LO: f64;
    const LOG10E: f64;
    const LOG10_2: f64;
    const LOG10_2_LO: f64;
    /// Arguments beyond which eˣ, 2ˣ are certainly ∞ or certainly 0, and eˣ − 1 certainly −1.
    const EXP_RANGE: [f64; 2];
    const EXP2_RANGE: [f64; 2];
    const EXPM1_MIN: f64;
    /// Below this expm1(x) = sinh(x) = x.
    const TINY: f64;
    /// A power of two that brings any subnormal into the normal range, and its exponent.
    const LIFT: f64;
    const LIFT_EXPONENT: f64;
    /// Results are scaled by 2ⁿ in two steps, the second of which is this or its inverse.
    const SCALE: f64;
    /// Bits of √½, where the reduced range of the logarithms begins.
    const SQRT_HALF_BITS: u64;
    /// Logarithms carry the exponent k as k·UNIT: f32 leaves it in its place in the bits, which saves a shift.
    const UNIT: f64;
    /// eʳ and 2ʳ on half a period.
    const EXP: &'static [f64];
    const EXP2: &'static [f64];
    /// (eʳ − 1 − r)/r², and the same with an error small enough to be doubled.
    const EXPM1_TAIL: &'static [f64];
    const EXPM1_TAIL_LONG: &'static [f64];

    /// k·UNIT from the bits of k·2^SHIFT.
    fn exponent(e: Bits<'_, Self>) -> Expr<'_, Self>;
    /// log(1 + f) − f for 1 + f in [√½, √2].
    fn log_tail(f: Expr<'_, Self>) -> Expr<'_, Self>;
    /// low + log(1 + f) − f for f in [−¼, ½].
    fn log1p_tail<'b>(f: Expr<'b, Self>, low: Expr<'b, Self>) -> Expr<'b, Self>;
    /// log₂(1 + f) − f·LOG2E, as log_tail.
    fn log2_tail(f: Expr<'_, Self>) -> Expr<'_, Self>;
    /// log₁₀(1 + f) − f·LOG10E, as log_tail.
    fn log10_tail(f: Expr<'_, Self>) -> Expr<'_, Self>;
}

impl ExpLog for f32 {
    const LOG2E: f64 = std::f32::consts::LOG2_E as f64;
    const LN2: f64 = std::f32::consts::LN_2 as f64;
    const LN2_LO: f64 = -1.9046542e-9;
    const LN2_SHORT: f64 = 0.69314575;
    const LN2_SHORT_LO: f64 = 1.4286068e-6;
    const LOG10E: f64 = std::f32::consts::LOG10_E as f64;
    const LOG10_2: f64 = std::f32::consts::LOG10_2 as f64;
    const LOG10_2_LO: f64 = -1.432099e-8;
    const EXP_RANGE: [f64; 2] = [-104.0, 89.0];
    const EXP2_RANGE: [f64; 2] = [-151.0, 129.0];
    const EXPM1_MIN: f64 = -18.0;
    const TINY: f64 = 1.0e-8;
    const LIFT: f64 = 8388608.0;
    const LIFT_EXPONENT: f64 = 23.0;
    const SCALE: f64 = TWO_P64;
    const SQRT_HALF_BITS: u64 = 0x3f35_04f3;
    const UNIT: f64 = 8388608.0;
    // Relative error 2^−27.8.
    const EXP: &'static [f64] = &[1.0, 1.0, 0.49999994, 0.1666652, 0.04166824, 0.008368827, 0.0013823241];
    // Relative error 2^−27.8.
    const EXP2: &'static [f64] = &[1.0, Self::LN2, 0.24022645, 0.05550359, 0.009618834, 0.0013391302, 0.00015241285];
    // Error 2^−27.4 of eʳ − 1.
    const EXPM1_TAIL: &'static [f64] = &[0.49999997, 0.16666543, 0.041667506, 0.008366556, 0.0013864286];
    // Error 2^−30.8 of eʳ − 1.
    const EXPM1_TAIL_LONG: &'static [f64] = &[0.5, 0.16666666, 0.041666478, 0.008333567, 0.0013933713, 0.00019743445];

    fn exponent(e: Bits<'_, f32>) -> Expr<'_, f32> {
        e.bitcast::<i32>().cast()
    }
    fn log_tail(f: Expr<'_, f32>) -> Expr<'_, f32> {
        // Error 2^−27.6 of log(1 + f).
        const P: &[f64] = &[
            -0.49999988,
            0.33333325,
            -0.250016,
            0.20002005,
            -0.16608757,
            0.14181067,
            -0.13244638,
            0.12909776,
            -0.076246545,
        ];
        f * f * poly(f, P)
    }
    fn log1p_tail<'b>(f: Expr<'b, f32>, low: Expr<'b, f32>) -> Expr<'b, f32> {
        // Error 2^−27.5 of log(1 + f).
        const P: &[f64] =
            &[-0.5, 0.33333454, -0.25000116, 0.19990718, -0.16646448, 0.14478527, -0.13169388, 0.10479882, -0.04517996];
        fma(f * f, poly(f, P), low)
    }
    fn log2_tail(f: Expr<'_, f32>) -> Expr<'_, f32> {
        // Error 2^−27.1; the first term is what f32 lacks of log₂e.
        const P: &[f64] = &[
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
        f * poly(f, P)
    }
    fn log10_tail(f: Expr<'_, f32>) -> Expr<'_, f32> {
        // Error 2^−28.9 of f.
        const P: &[f64] = &[
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
        f * poly(f, P)
    }
}

impl ExpLog for f64 {
    const LOG2E: f64 = std::f64::consts::LOG2_E;
    const LN2: f64 = std::f64::consts::LN_2;
    const LN2_LO: f64 = 2.3190468138462996e-17;
    const LN2_SHORT: f64 = 0.6931471805601177;
    const LN2_SHORT_LO: f64 = -1.7239444525614835e-13;
    const LOG10E: f64 = std::f64::consts::LOG10_E;
    const LOG10_2: f64 = std::f64::consts::LOG10_2;
    const LOG10_2_LO: f64 = -2.8037281277851704e-18;
    const EXP_RANGE: [f64; 2] = [-746.0, 710.0];
    const EXP2_RANGE: [f64; 2] = [-1076.0, 1025.0];
    const EXPM1_MIN: f64 = -40.0;
    const TINY: f64 = 1.0e-17;
    const LIFT: f64 = 4503599627370496.0;
    const LIFT_EXPONENT: f64 = 52.0;
    const SCALE: f64 = 1.3407807929942597e154; // 2⁵¹²
    const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;
    const UNIT: f64 = 1.0;
    // Relative error 2^−57.9.
    const EXP: &'static [f64] = &[
        1.0,
        1.0,
        0.5000000000000011,
        0.16666666666666421,
        0.04166666666652688,
        0.008333333333488643,
        0.0013888888944387332,
        0.00019841269519411007,
        2.4801492382655585e-05,
        2.755757467752781e-06,
        2.763048717679222e-07,
        2.5003842068783045e-08,
    ];
    // Relative error 2^−57.3.
    const EXP2: &'static [f64] = &[
        1.0,
        Self::LN2,
        0.24022650695910136,
        0.05550410866482233,
        0.009618129107592587,
        0.0013333558146358634,
        0.00015403530458754544,
        1.5252733828893382e-05,
        1.3215434563166104e-06,
        1.0178076598318694e-07,
        7.0738941805687345e-09,
        4.451517988099611e-10,
    ];
    // Error 2^−61.5 of eʳ − 1.
    const EXPM1_TAIL: &'static [f64] = &[
        0.5,
        0.16666666666666677,
        0.04166666666666661,
        0.008333333333321457,
        0.0013888888888923812,
        0.00019841269886509494,
        2.480158723748324e-05,
        2.755724385885897e-06,
        2.755735297706279e-07,
        2.5109150869314925e-08,
        2.0889456931189163e-09,
    ];
    const EXPM1_TAIL_LONG: &'static [f64] = Self::EXPM1_TAIL;

    fn exponent(e: Bits<'_, f64>) -> Expr<'_, f64> {
        // Not a conversion from i64, which AVX2 lacks: k + 1024 becomes the low bits of 2⁵² + k + 1024.
        let biased: Expr<f64> = (((e + (1024 << 52)) >> 52) | 0x4330_0000_0000_0000).bitcast();
        biased - (4503599627370496.0 + 1024.0)
    }
    fn log_tail(f: Expr<'_, f64>) -> Expr<'_, f64> {
        let (square, rest) = log_series(f);
        rest - square
    }
    fn log1p_tail<'b>(f: Expr<'b, f64>, low: Expr<'b, f64>) -> Expr<'b, f64> {
        let (square, rest) = log_series(f);
        (rest + low) - square
    }
    fn log2_tail(f: Expr<'_, f64>) -> Expr<'_, f64> {
        fma(f, 2.0355273740931033e-17, Self::log_tail(f) * Self::LOG2E)
    }
    fn log10_tail(f: Expr<'_, f64>) -> Expr<'_, f64> {
        fma(f, 1.098319650216765e-17, Self::log_tail(f) * Self::LOG10E)
    }
}

/// log(1 + f) = f − square + rest, square = f²/2, for f in [√½ − 1, ½]: with s = f/(2 + f) it is 2s + sR(s²), and 2s = f − s·f²/2·…, so that
/// rest = s(f²/2 + R).
fn log_series(f: Expr<'_, f64>) -> (Expr<'_, f64>, Expr<'_, f64>) {
    // (log((1+s)/(1−s)) − 2s)/s³ in s², |s| ≤ 0.2, error 2^−62.6 of the logarithm.
    const R: &[f64] = &[
        0.666666666666666,
        0.4000000000005638,
        0.2857142855593508,
        0.22222224282150774,
        0.1818166681659099,
        0.15391079432053692,
        0.1317416661770491,
        0.13839098893892576,
    ];
    let s = f / (2.0 + f);
    let z = s * s;
    let square = (0.5 * f) * f;
    (square, s * fma(z, poly(z, R), square))
}

/// x = n ln 2 + r: bits whose low end is n + bias, then r without its low part (exact), r rounded, and the low part.
pub(super) fn reduce_ln2<T: ExpLog>(x: Expr<'_, T>, bias: u64) -> (Bits<'_, T>, Expr<'_, T>, Expr<'_, T>, Expr<'_, T>) {
    let magic = T::MAGIC + bias as f64;
    let t = fma(x, T::LOG2E, magic);
    let n = t - magic;
    let rh = fma(n, -T::LN2, x);
    let rl = n * -T::LN2_LO;
    (t.bits(), rh, rh + rl, rl)
}

/// What [`scale2`] expects to be added to n.
pub(super) fn scale_bias<T: Float>() -> u64 {
    2 * T::BIAS
}

/// p·2ⁿ; `t` holds n + `scale_bias` in its low bits; `negative`: n may be below 0. Both factors are powers of two and only the second product can
/// round, so overflow and subnormal results round once.
pub(super) fn scale2<'b, T: ExpLog>(p: Expr<'b, T>, t: Bits<'b, T>, negative: Bool<'b>) -> Expr<'b, T> {
    let s: Expr<T> = negative.select(1.0 / T::SCALE, T::SCALE);
    let factor = ((t << T::SHIFT) - s.bits()).bitcast();
    (p * factor) * s
}

/// A polynomial of degree 6 (f64: 11) in r, times 2ⁿ.
pub(super) fn exp<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let [lo, hi] = T::EXP_RANGE;
    let c = x.at_most(hi).at_least(lo);
    let magic = T::MAGIC + scale_bias::<T>() as f64;
    let t = fma(c, T::LOG2E, magic);
    let n = t - magic;
    let r = fma(n, -T::LN2_LO, fma(n, -T::LN2, c));
    scale2(poly(r, T::EXP), t.bits(), x.lt(0.0))
}

/// r = x − rint(x) is exact; a polynomial of degree 6 (f64: 11); scaled as in [`exp`].
pub(super) fn exp2<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let [lo, hi] = T::EXP2_RANGE;
    let c = x.at_most(hi).at_least(lo);
    let magic = T::MAGIC + scale_bias::<T>() as f64;
    let t = c + magic;
    let n = t - magic;
    let r = c - n;
    scale2(poly(r, T::EXP2), t.bits(), x.lt(0.0))
}

/// 2ⁿ(1 + r + tail) − 1. The head 2ⁿr + (2ⁿ − 1) is an exact sum of two terms; only the tail is rounded. Done at half scale so that
/// the largest n does not overflow.
pub(super) fn expm1<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let c = x.at_most(T::EXP_RANGE[1]).at_least(T::EXPM1_MIN);
    let (t, rh, r, rl) = reduce_ln2(c, T::BIAS - 1);
    let s: Expr<T> = (t << T::SHIFT).bitcast(); // 2ⁿ⁻¹
    let tail = fma(r * r, poly(r, T::EXPM1_TAIL_LONG), rl);
    let s1 = s - 0.5;
    let a = fma(s, rh, s1);
    let al = fma(s, rh, s1 - a);
    let s1l = (s - s1) - 0.5;
    let y = a + fma(s, tail, al + s1l);
    x.abs().lt(T::TINY).select(x, y + y)
}

/// e⁻ᵃ = (p + pl)·s·2⁻⁶⁴ as (p, pl, s) for a ≥ 0.
fn exp_neg<T: ExpLog>(a: Expr<'_, T>) -> (Expr<'_, T>, Expr<'_, T>, Expr<'_, T>) {
    let c = (-a).at_least(T::EXP_RANGE[0]);
    let (t, rh, r, rl) = reduce_ln2(c, T::BIAS + 64);
    let s = (t << T::SHIFT).bitcast();
    let tail = fma(r * r, poly(r, T::EXPM1_TAIL), rl);
    let h = 1.0 + rh;
    let l = (rh - (h - 1.0)) + tail;
    let p = h + l;
    (p, l - (p - h), s)
}

/// From t = e^−|x| as a sum of two terms: (x < 0 ? t : 1)/(1 + t), one reciprocal and one step on the residual; the numerator's 2ⁿ is
/// applied last so that subnormal results round once.
pub(super) fn sigmoid<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
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

/// x = m·2ᵏ for x > 0 as (m, k·UNIT), m in [√½, √2). Subnormal x are scaled first.
pub(super) fn split<T: ExpLog>(x: Expr<'_, T>) -> (Expr<'_, T>, Expr<'_, T>) {
    let subnormal = x.lt(T::MIN_POSITIVE);
    let xs = subnormal.select(x * T::LIFT, x).bits();
    let e = exponent_field::<T>(xs - T::SQRT_HALF_BITS);
    let m = (xs - e).bitcast();
    let k = T::exponent(e) - subnormal.select(T::LIFT_EXPONENT * T::UNIT, 0.0);
    (m, k)
}

/// Sign and exponent.
pub(super) fn exponent_field<T: Float>(e: Bits<'_, T>) -> Bits<'_, T> {
    e & (u64::MAX << T::SHIFT)
}

/// The result of a logarithm where x is not a positive finite number.
fn log_special<'b, T: ExpLog>(x: Expr<'b, T>, y: Expr<'b, T>) -> Expr<'b, T> {
    let a: Expr<T> = x.lt(f64::INFINITY).select(y, x);
    let b: Expr<T> = x.eq(0.0).select(-f64::INFINITY, f64::NAN);
    x.gt(0.0).select(a, b)
}

/// x = 2ᵏ(1 + f); log(1 + f) plus k ln 2 in two parts.
pub(super) fn log<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let (m, k) = split(x);
    let f = m - 1.0;
    let low = fma(k, T::LN2_LO / T::UNIT, T::log_tail(f));
    log_special(x, fma(k, T::LN2 / T::UNIT, f + low))
}

/// As [`log`]: f log₂e enters as one fma, then k by another.
pub(super) fn log2<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let (m, k) = split(x);
    let f = m - 1.0;
    log_special(x, fma(k, 1.0 / T::UNIT, fma(f, T::LOG2E, T::log2_tail(f))))
}

/// As [`log2`], with log₁₀2 in two parts.
pub(super) fn log10<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let (m, k) = split(x);
    let f = m - 1.0;
    let y = fma(f, T::LOG10E, fma(k, T::LOG10_2_LO / T::UNIT, T::log10_tail(f)));
    log_special(x, fma(k, T::LOG10_2 / T::UNIT, y))
}

/// 1 + x = 2ᵏ(1 + f) as (f, k·UNIT, 2²⁻ᵏ). f = 2⁻ᵏx + (2⁻ᵏ − 1) is exact in [−¼, ½] because the range starts at ¾ (an observation of
/// N. Juffa's).
pub(super) fn split1p<T: ExpLog>(x: Expr<'_, T>) -> (Expr<'_, T>, Expr<'_, T>, Expr<'_, T>) {
    let three_quarters = (T::BIAS << T::SHIFT) - (1 << (T::SHIFT - 1));
    let four = (T::BIAS + 2) << T::SHIFT;
    let u = 1.0 + x;
    let e = exponent_field::<T>(u.bits() - three_quarters);
    let s4: Expr<T> = (four - e).bitcast();
    let f = (x.bits() - e).bitcast() + fma(s4, 0.25, -1.0);
    (f, T::exponent(e), s4)
}

/// log(2ᵏ(1 + f + fl)) for `k` times UNIT.
pub(super) fn log1p_core<'b, T: ExpLog>(f: Expr<'b, T>, fl: Option<Expr<'b, T>>, k: Expr<'b, T>) -> Expr<'b, T> {
    let a = fma(k, T::LN2_SHORT / T::UNIT, f);
    let al = f - fma(-k, T::LN2_SHORT / T::UNIT, a);
    let low = fma(k, T::LN2_SHORT_LO / T::UNIT, fl.map_or(al, |fl| al + fl));
    a + T::log1p_tail(f, low)
}

/// u = 1 + x gives k only; k ln 2 + f in two terms.
pub(super) fn log1p<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let (f, k, _) = split1p(x);
    let y = log1p_core(f, None, k).with_sign(x);
    let a: Expr<T> = x.lt(f64::INFINITY).select(y, x);
    let b: Expr<T> = x.eq(-1.0).select(-f64::INFINITY, f64::NAN);
    x.gt(-1.0).select(a, b)
}

/// log(1 + e⁻ᵃ), a ≥ 0, as a sum of two terms: e⁻ᵃ in two, log1p as above with k in {0, 1}.
fn log1p_exp_neg<T: ExpLog>(a: Expr<'_, T>) -> (Expr<'_, T>, Expr<'_, T>) {
    let (p, pl, s) = exp_neg(a);
    let e = (p * s) * TWO_M64;
    let el = (pl * s) * TWO_M64;
    let up = e.ge(0.5);
    let f = up.select(fma(e, 0.5, -0.5), e);
    let l: Expr<T> = up.select(T::LN2_SHORT, 0.0);
    let ll: Expr<T> = up.select(T::LN2_SHORT_LO, 0.0);
    let head = l + f;
    let al = fma(el, fma(e, -0.5, 1.0), f - (head - l)) + ll;
    (head, T::log1p_tail(f, al))
}

/// max(x, 0) + log(1 + e^−|x|), the sum with its error (TwoSum).
pub(super) fn softplus<T: ExpLog>(x: Expr<'_, T>) -> Expr<'_, T> {
    let (a, b) = log1p_exp_neg(x.abs());
    let mx = x.at_least(0.0);
    let big = mx.at_least(a);
    let small = mx.lesser(a);
    let t = mx + a;
    let tl = (big - t) + small;
    x.lt(f64::INFINITY).select(t + (b + tl), x)
}

/// max + log(1 + e^−|a − b|), the sum with its error (TwoSum).
pub(super) fn logaddexp<'b, T: ExpLog>(a: Expr<'b, T>, b: Expr<'b, T>) -> Expr<'b, T> {
    let hi = a.lt(b).select(b, a);
    let d: Expr<T> = a.eq(b).select(0.0, a - b); // equal infinities
    let (head, tail) = log1p_exp_neg(d.abs());
    let t = hi + head;
    let v = t - hi;
    let tl = (hi - (t - v)) + (head - v);
    hi.abs().lt(f64::INFINITY).select(t + (tl + tail), t)
}
