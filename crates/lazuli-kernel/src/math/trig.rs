//! sin, cos and tan, for arguments of any size.
//!
//! x = qπ/2 + (r − n) with |r| ≤ 0.79 and n the low part of the remainder. Up to a bound by three constants and fma (Cody & Waite 1980),
//! above by a product with a window of the bits of 2/π that the exponent picks (M. Payne & R. Hanek, *Radian reduction for trigonometric
//! functions*, SIGNUM Newsletter 18, 1983). Both are computed for every lane and one is selected, since the IR does not branch; the line
//! builder shares the reductions of sin and cos of one x. Reducing f32 in f64 was weighed: 33 operations on windows of 29 bits, which
//! fill as many vectors as the 63 integer ones.

use super::expr::{Bits, Expr, Float, fma, poly};

/// A reduced argument: x = qπ/2 + (r − n).
#[derive(Clone, Copy)]
pub(super) struct Reduced<'b, T: Float> {
    q: Bits<'b, T>,
    r: Expr<'b, T>,
    n: Expr<'b, T>,
}

pub(super) trait Trig: Float {
    const TWO_OVER_PI: f64;
    /// π/2 in three parts, all rounded so that they are positive: that keeps sin(−0) = −0.
    const PIO2: [f64; 3];
    /// Both reductions are right around it.
    const FAST_BOUND: f64;
    /// (r − sin r)/r³, cos r and (r − tan r)/r³ in r².
    const SIN: &'static [f64];
    const COS: &'static [f64];
    const TAN: &'static [f64];
    /// For |x| ≥ `FAST_BOUND`.
    fn reduce_huge(x: Expr<'_, Self>) -> Reduced<'_, Self>;
}

const TWO_M30: f64 = 1.0 / 1073741824.0;

impl Trig for f32 {
    const TWO_OVER_PI: f64 = std::f32::consts::FRAC_2_PI as f64;
    const PIO2: [f64; 3] = [1.57079625, 7.5497894e-8, 5.390303e-15];
    // Anything in [2¹⁶, 10⁵].
    const FAST_BOUND: f64 = 1.0e5;
    const SIN: &'static [f64] = &[0.16666654, -0.008332114, 0.00019509417];
    const COS: &'static [f64] = &[1.0, -0.5, 0.041666646, -0.0013887307, 2.4431802e-5];
    const TAN: &'static [f64] =
        &[-0.33333352, -0.13332585, -0.05406859, -0.021237906, -0.010950327, 5.603306e-5, -0.0044484907];

    /// In integers: 96 bits of 2/π times the 24-bit significand, mod 2⁹⁶, have 2 quadrant bits and a fraction of 62 bits, which become two
    /// floats.
    fn reduce_huge(x: Expr<'_, f32>) -> Reduced<'_, f32> {
        // 2/π after 8 zero bits.
        const W: [u64; 7] = [0x0051_7cc1, 0xb727_220a, 0x94fe_13ab, 0xe8fa_9a6e, 0xe06d_b14a, 0xcc9e_21c8, 0x20ff_28b1];
        const PIO2: [f64; 2] = [std::f32::consts::FRAC_PI_2 as f64, -4.371139e-8];
        let b = x.bits();
        let sign = x.sign_bit();
        let e = (b >> 23) & 0xff;
        let m = (b & 0x007f_ffff) | 0x0080_0000;
        let [h0, h1, h2] = window(e - 143, 5, x.bits(), &W);
        let l1 = m * h1;
        let lo = l1 + m.mul_hi(h2);
        let carry: Expr<u32> = lo.lt(l1).select(1u64, 0u64);
        let hi = m * h0 + m.mul_hi(h1) + carry;
        let q = (hi + 0x2000_0000) >> 30;
        let fraction: Expr<i32> = (hi - (q << 30)).bitcast();
        let f1: Expr<f32> = fraction.cast();
        let rest = fraction - f1.cast();
        let f2 = fma(rest.cast(), 2147483648.0, (lo >> 1).bitcast::<i32>().cast::<f32>());
        let r = f1 * (PIO2[0] * TWO_M30);
        let n = fma(f1, -PIO2[0] * TWO_M30, r);
        let n = fma(f1, -PIO2[1] * TWO_M30, n);
        let n = fma(f2, -PIO2[0] * TWO_M30 * (0.5 * TWO_M30), n);
        let r = fma(x, 0.0, r); // ∞ and NaN give NaN
        let negative = 0u64 - (sign >> 31);
        Reduced { q: (q ^ negative) - negative, r: r.flip_sign(sign), n: n.flip_sign(sign) }
    }
}

impl Trig for f64 {
    const TWO_OVER_PI: f64 = std::f64::consts::FRAC_2_PI;
    const PIO2: [f64; 3] = [std::f64::consts::FRAC_PI_2, 6.123233995736765e-17, 1.0828566739219139e-32];
    // Anything in [1, 2⁴⁰].
    const FAST_BOUND: f64 = 1.0e9;
    // Error 2^−62.9.
    const SIN: &'static [f64] = &[
        0.16666666666666666,
        -0.0083333333333331,
        0.00019841269841057189,
        -2.755731912936086e-06,
        2.5052086002996332e-08,
        -1.6056253984975449e-10,
        7.485169425249052e-13,
    ];
    // Error 2^−63.9.
    const COS: &'static [f64] = &[
        1.0,
        -0.5,
        0.041666666666666595,
        -0.0013888888888873331,
        2.4801587288989655e-05,
        -2.7557314212067704e-07,
        2.087570455856594e-09,
        -1.1358698547773899e-11,
    ];
    // Error 2^−56.2.
    const TAN: &'static [f64] = &[
        -0.3333333333333277,
        -0.13333333333415567,
        -0.05396825392621991,
        -0.02186948961970881,
        -0.008863219013489076,
        -0.003592290440517171,
        -0.0014547496750601777,
        -0.0005950997423531075,
        -0.00022227626209447282,
        -0.00013673954870247775,
        2.6688780555741003e-05,
        -8.973132525726453e-05,
        4.5027635287510424e-05,
        -2.089970468743702e-05,
    ];

    /// In floating point: 192 bits F of 2/π, 0 ≤ F < 4, as four numbers of up to 52 bits; their products with the significand are exact in two
    /// terms each, and every sum below is exact or keeps its error until the terms are below 2⁻¹⁰⁰. (No f64 comes closer to a multiple of π/2
    /// than about 2⁻⁶¹: J.-M. Muller, *Elementary Functions*, ch. 11.)
    fn reduce_huge(x: Expr<'_, f64>) -> Reduced<'_, f64> {
        // 2/π after 54 zero bits, so that the window begins at the bit numbered by the exponent.
        const W: [u64; 19] = [
            0x0000_0000_0000_028b,
            0xe60d_b939_1054_a7f0,
            0x9d5f_47d4_d377_036d,
            0x8a56_64f1_0e41_07f9,
            0x458e_af7a_ef15_86dc,
            0x91b8_e909_374b_8019,
            0x24bb_a827_4648_73f8,
            0x77ac_72c4_a69c_fba2,
            0x08d7_d4ba_ed12_13a6,
            0x71c0_9ad1_7df9_04e6,
            0x4758_e60d_4ce7_d272,
            0x117e_2ef7_e4a0_ec7f,
            0xe25f_ff78_1660_3fbc,
            0xbc46_2d68_29b4_7db4,
            0xd9fb_3c9f_2c26_dd3d,
            0x18fd_9a79_7fa8_b5d4,
            0x9eeb_1faf_97c5_ecf4,
            0x1ce7_de29_4a4b_a9af,
            0xed7e_c47e_3574_2158,
        ];
        const PIO2: [f64; 2] = [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17];
        let b = x.bits();
        let sign = x.sign_bit();
        let [h0, h1, h2] = window(((b >> 52) & 0x7ff) - 1023, 6, x.bits(), &W);
        let m: Expr<f64> = ((b & 0x000f_ffff_ffff_ffff) | 4503599627370496f64.to_bits()).bitcast();
        // 52 bits whose last one stands for 2^−lsb: as the significand of 2^(52−lsb), less that.
        fn number(bits: Expr<'_, u64>, lsb: i32) -> Expr<'_, f64> {
            let top = 2f64.powi(52 - lsb);
            (bits | top.to_bits()).bitcast::<f64>() - top
        }
        let a = number(h0 >> 12, 50);
        let b = number(((h0 & 0xfff) << 40) | (h1 >> 24), 102);
        let c = number(((h1 & 0xff_ffff) << 28) | (h2 >> 36), 154);
        let d = number(h2 & 0xf_ffff_ffff, 190);
        // m·a mod 4, a multiple of 2⁻⁵⁰ below 4: exact.
        let pa = m * a;
        let ea = fma(m, a, -pa);
        let pa = fma((pa * 0.25).round(), -4.0, pa) + ea;
        let pb = m * b;
        let eb = fma(m, b, -pb);
        let (s, es) = two_sum(pa, pb);
        let q = s.round();
        let pc = m * c;
        let ec = fma(m, d, fma(m, c, -pc));
        // es and eb are multiples of 2⁻¹⁰² below 2⁻⁵⁰: their sum is exact.
        let (t, et) = two_sum(es + eb, pc);
        let (f, ef) = two_sum(s - q, t);
        let low = ef + (et + ec);
        let r = f * PIO2[0];
        let n = fma(f, -PIO2[0], r);
        let n = fma(f, -PIO2[1], n);
        let n = fma(low, -PIO2[0], n);
        let r = fma(x, 0.0, r); // ∞ and NaN give NaN
        let q = q.flip_sign(sign) + f64::MAGIC;
        Reduced { q: q.bits(), r: r.flip_sign(sign), n: n.flip_sign(sign) }
    }
}

/// a + b and its rounding error (Knuth).
fn two_sum<'b, T: Float>(a: Expr<'b, T>, b: Expr<'b, T>) -> (Expr<'b, T>, Expr<'b, T>) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// Three words of the bit string `words`, beginning at bit `p`. Words hold 2^`log_width` bits. The word is picked by a tree of selects.
fn window<'b, B: super::expr::Element<Literal = u64>>(
    p: Expr<'b, B>,
    log_width: u64,
    like: Expr<'b, B>,
    words: &[u64],
) -> [Expr<'b, B>; 3] {
    let mut row: Vec<Expr<B>> = words.iter().map(|&w| like.constant(w)).collect();
    let mut step = (words.len() - 3).next_power_of_two() / 2;
    while step > 0 {
        let there = (p & ((step as u64) << log_width)).ne(0u64);
        let last = 3 + step; // words still reachable from the smaller steps
        row = (0..last).map(|i| there.select(row[i + step], row[i])).collect();
        step /= 2;
    }
    let s = p & ((1 << log_width) - 1);
    let rest = ((1 << log_width) - 1) - s;
    std::array::from_fn(|i| (row[i] << s) | ((row[i + 1] >> 1) >> rest))
}

/// For |x| ≤ `FAST_BOUND`. r1 = x − k·PIO2₁ is exact; c = k·PIO2₂ is rounded; r = r1 − c and r1 − r = c + its rounding is exact (r1 lies on a
/// grid coarser than c's last bit); n collects what r lost. ±∞ give NaN by themselves.
fn reduce_fast<T: Trig>(x: Expr<'_, T>) -> Reduced<'_, T> {
    let m = fma(x, T::TWO_OVER_PI, T::MAGIC);
    let k = m - T::MAGIC;
    let r1 = fma(k, -T::PIO2[0], x);
    let c = k * T::PIO2[1];
    let r = r1 - c;
    let t = r1 - r;
    let n = fma(k, T::PIO2[1], -t);
    let n = fma(k, T::PIO2[2], n);
    Reduced { q: m.bits(), r, n }
}

fn reduce<T: Trig>(x: Expr<'_, T>) -> Reduced<'_, T> {
    let small = reduce_fast(x);
    let huge = T::reduce_huge(x);
    let fast = x.abs().le(T::FAST_BOUND);
    Reduced { q: fast.select(small.q, huge.q), r: fast.select(small.r, huge.r), n: fast.select(small.n, huge.n) }
}

/// (r − n)² to first order, which is what brings cos under 1 ULP.
fn square<'b, T: Float>(r: Expr<'b, T>, n: Expr<'b, T>) -> Expr<'b, T> {
    fma(r, r, (r * n) * -2.0)
}

/// sin(r − n + qπ/2).
fn sin_reduced<T: Trig>(Reduced { q, r, n }: Reduced<'_, T>) -> Expr<'_, T> {
    let z = square(r, n);
    let s = r - fma(r, z * poly(z, T::SIN), n);
    let c = poly(z, T::COS);
    // The second bit of q becomes the sign.
    let sign = (q << (T::SIGN.trailing_zeros() as u64 - 1)) & T::SIGN;
    (q & 1).ne(0u64).select(c, s).flip_sign(sign)
}

pub(super) fn sin<T: Trig>(x: Expr<'_, T>) -> Expr<'_, T> {
    sin_reduced(reduce(x))
}

/// sin one quadrant on.
pub(super) fn cos<T: Trig>(x: Expr<'_, T>) -> Expr<'_, T> {
    let Reduced { q, r, n } = reduce(x);
    sin_reduced(Reduced { q: q + 1, r, n })
}

/// t = r + r³T(r²), kept as t + tl; in odd quadrants u = −1/t with one Newton step on the residual 1 + u(t + tl).
pub(super) fn tan<T: Trig>(x: Expr<'_, T>) -> Expr<'_, T> {
    let Reduced { q, r, n } = reduce(x);
    let z = square(r, n);
    let zp = z * poly(z, T::TAN);
    let e = fma(r, zp, fma(-n, zp, n));
    let t = r - e;
    let tl = (r - t) - e;
    let u = -1.0 / t;
    let d = fma(u, tl, fma(u, t, 1.0));
    let c = fma(u, d, u);
    (q & 1).ne(0u64).select(c, t)
}
