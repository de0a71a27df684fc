//! The error function, its complement and its inverse.

use super::exp_log::{ExpLog, TWO_M64, exponent_field};
use super::expr::{Expr, fma, poly};

pub(super) trait Erf: ExpLog {
    /// (erf x − x)/x in x² for |x| ≤ 1.
    const ERF_SMALL: &'static [f64];
    /// A root of erfc in x − ERF_SHIFT, up to ERF_CLAMP, beyond which erf is 1.
    const ERF_LARGE: &'static [f64];
    const ERF_SHIFT: f64;
    const ERF_CLAMP: f64;
    /// 1 − erfc from that root.
    fn erf_of_root(root: Expr<'_, Self>) -> Expr<'_, Self>;

    /// (erf x − x)/x in x² for |x| ≤ ½.
    const ERFC_SMALL: &'static [f64];
    /// (1 + 2x)·exp(x²)·erfc(x) in (x − K)/(x + K) from ½ to ERFC_CLAMP, where erfc is 0: the first coefficient, and the rest.
    const ERFC_P0: f64;
    const ERFC_P: &'static [f64];
    const ERFC_K: f64;
    const ERFC_CLAMP: f64;
    /// (eʳ − 1 − r)/r² on |r| ≤ 0.347.
    const ERFC_EXP_TAIL: &'static [f64];

    /// erfinv(x)/x − 1 in w − c up to SPLIT, where w = −log(1 − x²).
    const CENTRAL: &'static [f64];
    const CENTRAL_SHIFT: f64;
    const SPLIT: f64;
    /// erfinv(x) − √w in √w − TAIL_SHIFT above.
    const TAIL: &'static [f64];
    const TAIL_SHIFT: f64;
    /// log(1 + f) for 1 + f in [√½, √2].
    fn rough_log1p(f: Expr<'_, Self>) -> Expr<'_, Self>;
}

impl Erf for f32 {
    const ERF_SMALL: &'static [f64] =
        &[0.12837917, -0.3761262, 0.11283488, -0.026848927, 0.005177912, -0.00079109287, 7.505686e-5];
    const ERF_LARGE: &'static [f64] = &[
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
    // Chosen so that √erfc of it is within 2⁻³³ of an f32.
    const ERF_SHIFT: f64 = 1.0449219;
    const ERF_CLAMP: f64 = 3.92;
    fn erf_of_root(root: Expr<'_, f32>) -> Expr<'_, f32> {
        fma(-root, root, 1.0)
    }

    const ERFC_SMALL: &'static [f64] = &[0.12837917, -0.3761261, 0.11282857, -0.026758973, 0.0047211717];
    const ERFC_P0: f64 = 1.2653165;
    const ERFC_P: &'static [f64] = &[
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
    // Chosen so that the first coefficient is nearly an f32.
    const ERFC_K: f64 = 2.4804688;
    const ERFC_CLAMP: f64 = 10.1;
    const ERFC_EXP_TAIL: &'static [f64] = &[0.49999982, 0.16666517, 0.041670714, 0.008369133, 0.0013699816];

    const CENTRAL: &'static [f64] = &[
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
    const CENTRAL_SHIFT: f64 = 2.5;
    const SPLIT: f64 = 5.0;
    const TAIL: &'static [f64] = &[
        -0.16719797,
        0.0026628922,
        0.006842242,
        -0.0034516247,
        0.0011522229,
        -0.00020054856,
        -6.190975e-5,
        3.8191356e-5,
    ];
    const TAIL_SHIFT: f64 = 3.0;
    fn rough_log1p(f: Expr<'_, f32>) -> Expr<'_, f32> {
        const P: &[f64] = &[-0.50000584, 0.3333527, -0.24961476, 0.19887927, -0.17325515, 0.16338545, -0.10040011];
        fma(f * f, poly(f, P), f)
    }
}

impl Erf for f64 {
    // Error 2^−56.
    const ERF_SMALL: &'static [f64] = &[
        0.12837916709551256,
        -0.3761263890318346,
        0.11283791670942668,
        -0.026866170642933267,
        0.0052239776049508215,
        -0.000854832588244731,
        0.000120552923664167,
        -1.4924691776601541e-05,
        1.6446904371860057e-06,
        -1.6204733000644746e-07,
        1.370470581236866e-08,
        -7.768631603009701e-10,
    ];
    // The fourth root: the square root would take ten terms more. Error 2^−58.8 of erf.
    const ERF_LARGE: &'static [f64] = &[
        0.6165886939507804,
        -0.41505812636126194,
        0.009135330164952507,
        0.0503296418964067,
        -0.004801396502665597,
        -0.004776773678538926,
        0.0008404877579813,
        0.00027714573771499436,
        -7.594767730792732e-05,
        -8.344600208099859e-06,
        3.7182518495499838e-06,
        1.9998299842180983e-07,
        -1.3261716647284425e-07,
        -1.2524602981126416e-08,
        6.576024274090727e-09,
        5.293934472254386e-10,
        -4.869345738142505e-10,
        8.132543640310469e-11,
        -4.043649923119215e-12,
        -4.175199823842902e-13,
        6.528048674769845e-14,
        -2.5949246107380878e-15,
    ];
    // Chosen so that the root of erfc of it is within 2⁻⁶⁶ of an f64.
    const ERF_SHIFT: f64 = 1.03173828125;
    const ERF_CLAMP: f64 = 5.93;
    fn erf_of_root(root: Expr<'_, f64>) -> Expr<'_, f64> {
        let square = root * root;
        fma(-square, square, 1.0)
    }

    // Error 2^−56.3.
    const ERFC_SMALL: &'static [f64] = &[
        0.1283791670955126,
        -0.3761263890318405,
        0.11283791670975715,
        -0.026866170651641794,
        0.0052239777367068625,
        -0.00085483381490273,
        0.00012056000286265213,
        -1.4949050094492836e-05,
        1.6890956375535858e-06,
        -1.8988410965628923e-07,
    ];
    // Error 2^−58.1.
    const ERFC_P0: f64 = 1.2662029172956206;
    const ERFC_P: &'static [f64] = &[
        -0.12005135226072937,
        -0.10575225933126224,
        0.15988064527728973,
        -0.09931615405477398,
        0.028070883789404956,
        0.002986228369123257,
        -0.004274080971611979,
        8.358827096820642e-05,
        0.0006634637330933148,
        -7.95775425532009e-06,
        -0.00011863699399566531,
        -1.1510902706627157e-05,
        2.1622319780846382e-05,
        6.530165522625289e-06,
        -3.130938816308248e-06,
        -2.302081845685264e-06,
        4.773282730009666e-08,
        6.198323284484642e-07,
        1.7316276658226125e-07,
        -1.435162945520445e-07,
        -5.254214527301394e-08,
        2.8493650885741543e-08,
    ];
    // Chosen so that the first coefficient is within 2⁻⁶⁵ of an f64.
    const ERFC_K: f64 = 2503.0 / 1024.0;
    const ERFC_CLAMP: f64 = 27.3;
    const ERFC_EXP_TAIL: &'static [f64] = Self::EXPM1_TAIL;

    // Interpolated at Chebyshev points, error 2^−54.6.
    const CENTRAL: &'static [f64] = &[
        0.6536545626831027,
        0.24015818242558834,
        -0.006033670871426908,
        -0.0007407025341546572,
        0.00018673420802008554,
        -1.3882523393920442e-05,
        -1.3654691764001387e-06,
        4.2347881677716927e-07,
        -2.9070390761936884e-08,
        -4.1126604066482585e-09,
        1.0512230784674892e-09,
        -5.4143045472080583e-11,
        -1.2978695334656446e-11,
        2.6305301926231066e-12,
        -8.074595688729043e-14,
        -4.0020617748552674e-14,
        6.525655141401077e-15,
        -3.933508641199522e-17,
        -1.2261848463709764e-16,
        1.5506009496679205e-17,
        6.38844750019161e-19,
        -3.4715307676023003e-19,
        1.877151678052992e-20,
        3.1905586173417536e-21,
        -3.3850330157210103e-22,
    ];
    const CENTRAL_SHIFT: f64 = 3.125;
    const SPLIT: f64 = 6.25;
    // As above, error 2^−54.6.
    const TAIL: &'static [f64] = &[
        -0.15773761619223986,
        0.009984051909123787,
        0.0007047075546346469,
        -0.0006021663898492617,
        0.00020640503666205412,
        -5.7443192969554695e-05,
        1.4360798702091025e-05,
        -3.2653720875467858e-06,
        6.272841031483422e-07,
        -6.1692708539084e-08,
        -2.9024372242284135e-08,
        2.5199835046864322e-08,
        -1.1857803601128267e-08,
        3.889475658298782e-09,
        -7.410111670188721e-10,
        -7.536219587310037e-11,
        1.2795163550054922e-10,
        -5.350898872724212e-11,
        1.1995481007015268e-11,
        -9.944038971182117e-13,
        -7.838894711872005e-13,
        6.981184831055582e-13,
        -2.055041076789933e-13,
        -2.1944695956192584e-14,
        2.0650440955691657e-14,
        -1.3113602593366404e-15,
        -4.2486356868144243e-16,
    ];
    const TAIL_SHIFT: f64 = 4.25390625;
    fn rough_log1p(f: Expr<'_, f64>) -> Expr<'_, f64> {
        f + Self::log_tail(f)
    }
}

/// |x| ≤ 1: x + x·S(x²). Above: 1 − F(t)² (f64: F⁴), F a root of erfc as a polynomial in t = min(|x|, clamp) − shift. The root shrinks the range
/// that a polynomial has to follow (compare Abramowitz & Stegun 7.1.28), and its even power keeps the result at or below 1.
pub(super) fn erf<T: Erf>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a = x.abs();
    let small = fma(x, poly(x * x, T::ERF_SMALL), x);
    let root = poly(a.at_most(T::ERF_CLAMP) - T::ERF_SHIFT, T::ERF_LARGE);
    let large = T::erf_of_root(root).with_sign(x);
    a.gt(1.0).select(large, small)
}

/// |x| < ½: 1 − (x + x·S(x²)). Otherwise e^(−x²)·P(u)/(1 + 2|x|), u = (|x| − K)/(|x| + K), all in sums of two terms
/// (M. Shepherd & J. Laframboise, *Chebyshev approximation of (1+2x)exp(x²)erfc x*, Math. Comp. 36, 1981). Right for subnormal results.
pub(super) fn erfc<T: Erf>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a0 = x.abs();
    let a = a0.gt(T::ERFC_CLAMP).select(T::ERFC_CLAMP, a0);
    let s = a * a;
    let sl = fma(a, a, -s);
    // e^(−s−sl) = 2ᵏ(1 + b)
    let m = fma(s, -T::LOG2E, T::MAGIC);
    let k = m - T::MAGIC;
    let f = fma(k, -T::LN2_SHORT, -s);
    let f = fma(k, -T::LN2_SHORT_LO, f - sl);
    let b = fma(f * f, poly(f, T::ERFC_EXP_TAIL), f);
    let u = (a - T::ERFC_K) / (a + T::ERFC_K);
    let t = u * poly(u, T::ERFC_P);
    let p = T::ERFC_P0 + t;
    let pl = (T::ERFC_P0 - p) + t;
    // (p + pl)/(1 + 2a) with 1 + 2a = d + dl
    let d = fma(a, 2.0, 1.0);
    let dl = fma(a, 2.0, 1.0 - d);
    let rd = 1.0 / d;
    let q = p * rd;
    let e = fma(-q, dl, fma(-q, d, p) + pl);
    let ql = e * rd;
    let g = q + fma(q, b, fma(ql, b, ql));
    let scale: Expr<T> = ((m.bits() << T::SHIFT) + ((T::BIAS + 64) << T::SHIFT)).bitcast();
    let r = g * scale * TWO_M64;
    let r = x.lt(0.0).select(2.0 - r, r);
    let w = poly(x * x, T::ERFC_SMALL);
    let small = 1.0 - fma(x, w, x);
    a0.lt(0.5).select(small, r)
}

/// w = −log(1 − x²); up to a split x + x·C(w − c), above s + T(s − c), s = √w (the two ranges of M. Giles, *Approximating the
/// erfinv function*, GPU Computing Gems, 2011; own fits).
pub(super) fn erfinv<T: Erf>(x: Expr<'_, T>) -> Expr<'_, T> {
    let a = x.abs();
    let y = fma(-x, x, 1.0).bits();
    let e = exponent_field::<T>(y - T::SQRT_HALF_BITS);
    let f = (y - e).bitcast() - 1.0;
    let w = fma(T::exponent(e), -T::LN2 / T::UNIT, -T::rough_log1p(f));
    let central = fma(a, poly(w - T::CENTRAL_SHIFT, T::CENTRAL), a);
    let s = w.sqrt();
    let tail = s + poly(s - T::TAIL_SHIFT, T::TAIL);
    let r = w.lt(T::SPLIT).select(central, tail);
    let edge: Expr<T> = a.eq(1.0).select(f64::INFINITY, f64::NAN);
    a.lt(1.0).select(r, edge).with_sign(x)
}
