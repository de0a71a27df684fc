//! Each operation at the edges of its dtypes.

use super::element::fma_f32;
use super::*;
use half::{bf16, f16};

/// `Scalar::eq`, and all NaNs are equal.
fn same(a: Scalar, b: Scalar) -> bool {
    a == b || a.dtype == b.dtype && a.to_f64().is_nan() && b.to_f64().is_nan()
}

fn scalar(text: &str) -> Scalar {
    text.parse().unwrap()
}

/// Each case is `op operands = result`, with scalars as they print.
#[track_caller]
fn check(cases: &[&str]) {
    for case in cases {
        let words: Vec<&str> = case.split_whitespace().collect();
        let [op, operands @ .., "=", want] = &words[..] else { panic!("not a case: {case}") };
        let v: Vec<Scalar> = operands.iter().filter_map(|w| w.parse().ok()).collect();
        let of = |all: &[&str]| all.contains(op);
        let got = if of(&["cast"]) {
            eval_cast(DType::from_short_name(operands[0]).unwrap(), v[0])
        } else if of(&["fma"]) {
            eval_fma(v[0], v[1], v[2])
        } else if v.len() == 1 {
            eval_unary(UnaryOp::ALL.into_iter().find(|o| crate::print::keyword(o) == *op).unwrap(), v[0])
        } else {
            eval_binary(BinaryOp::ALL.into_iter().find(|o| crate::print::keyword(o) == *op).unwrap(), v[0], v[1])
        };
        assert!(same(got, scalar(want)), "{case}, not {got}");
    }
}

#[test]
fn integers_are_total() {
    check(&[
        "neg -128:i8 = -128:i8",
        "neg 1:u8 = 255:u8",
        "abs -128:i8 = -128:i8",
        "abs -5:i64 = 5:i64",
        "abs 200:u8 = 200:u8",
        "not 0:u16 = 65535:u16",
        "not -1:i32 = 0:i32",
        "not true:bool = false:bool",
        "add 127:i8 1:i8 = -128:i8",
        "sub 0:u32 1:u32 = 4294967295:u32",
        "mul 16:u8 17:u8 = 16:u8",
        "div 7:i32 0:i32 = 0:i32",
        "div -7:i32 2:i32 = -3:i32",
        "div -2147483648:i32 -1:i32 = -2147483648:i32",
        "div -9223372036854775808:i64 -1:i64 = -9223372036854775808:i64",
        "div 18446744073709551615:u64 2:u64 = 9223372036854775807:u64",
        "rem 7:i32 0:i32 = 0:i32",
        "rem -7:i32 2:i32 = -1:i32",
        "rem -128:i8 -1:i8 = 0:i8",
        "min -1:i8 1:i8 = -1:i8",
        "max 255:u8 1:u8 = 255:u8",
        "min true:bool false:bool = false:bool",
        "max true:bool false:bool = true:bool",
        "xor true:bool true:bool = false:bool",
        "lt false:bool true:bool = true:bool",
        "shl 1:u8 7:u8 = 128:u8",
        "shl 1:u8 8:u8 = 0:u8",
        "shl 1:i32 -1:i32 = 0:i32",
        "shl 1:i64 63:i64 = -9223372036854775808:i64",
        "shl 1:u64 18446744073709551615:u64 = 0:u64",
        "shr -8:i8 1:i8 = -4:i8",
        "shr -8:i8 100:i8 = -1:i8",
        "shr -8:i8 -1:i8 = -1:i8",
        "shr 8:i8 100:i8 = 0:i8",
        "shr 255:u8 8:u8 = 0:u8",
        "shr 255:u8 7:u8 = 1:u8",
        "mulhi 4294967295:u32 4294967295:u32 = 4294967294:u32",
        "mulhi 65536:u32 65535:u32 = 0:u32",
        "lt -1:i8 1:i8 = true:bool",
        "gt 18446744073709551615:u64 1:u64 = true:bool",
    ]);
}

#[test]
fn floats_follow_ieee_754() {
    check(&[
        "neg 0.0:f32 = -0.0:f32",
        "abs -0.0:f64 = 0.0:f64",
        "sqrt -0.0:f32 = -0.0:f32",
        "sqrt -1.0:f32 = NaN:f32",
        "round 2.5:f32 = 2.0:f32",
        "round -0.5:f32 = -0.0:f32",
        "round 3.5:f64 = 4.0:f64",
        "floor -0.5:f64 = -1.0:f64",
        "ceil -0.5:f32 = -0.0:f32",
        "trunc -1.5:f32 = -1.0:f32",
        "div 1.0:f32 0.0:f32 = inf:f32",
        "div 0.0:f32 0.0:f32 = NaN:f32",
        "mul 1e-30:f32 1e-15:f32 = 1e-45:f32",
        "min NaN:f32 1.0:f32 = NaN:f32",
        "min 1.0:f32 NaN:f32 = NaN:f32",
        "max 1.0:f64 NaN:f64 = NaN:f64",
        "min 0.0:f32 -0.0:f32 = -0.0:f32",
        "min -0.0:f32 0.0:f32 = -0.0:f32",
        "max -0.0:f32 0.0:f32 = 0.0:f32",
        "max 0.0:f32 -0.0:f32 = 0.0:f32",
        "lesser NaN:f32 1.0:f32 = 1.0:f32",
        "lesser 1.0:f32 NaN:f32 = NaN:f32",
        "lesser -0.0:f32 0.0:f32 = 0.0:f32",
        "greater -0.0:f32 0.0:f32 = 0.0:f32",
        "greater 0.0:f32 -0.0:f32 = -0.0:f32",
        "eq 0.0:f32 -0.0:f32 = true:bool",
        "eq NaN:f32 NaN:f32 = false:bool",
        "ne NaN:f32 NaN:f32 = true:bool",
        "ge NaN:f32 1.0:f32 = false:bool",
        // Exact product 1 + 2⁻²² + 2⁻⁴⁶: two roundings would lose the last term.
        "fma 1.0000001:f32 1.0000001:f32 -1.0000002:f32 = 1.4210855e-14:f32",
        "fma inf:f32 0.0:f32 1.0:f32 = NaN:f32",
    ]);
}

#[test]
fn casts_round_once_saturate_and_wrap() {
    check(&[
        "cast u8 300.7:f32 = 255:u8",
        "cast u8 -1.0:f32 = 0:u8",
        "cast i8 -128.9:f32 = -128:i8",
        "cast i32 NaN:f32 = 0:i32",
        "cast i32 2147483648.0:f32 = 2147483647:i32",
        "cast i64 -inf:f64 = -9223372036854775808:i64",
        "cast u64 1e20:f64 = 18446744073709551615:u64",
        "cast u64 9.223372036854775808e18:f64 = 9223372036854775808:u64",
        "cast i16 inf:f16 = 32767:i16",
        "cast bool NaN:f32 = true:bool",
        "cast bool -0.0:f32 = false:bool",
        "cast bool 256:i32 = true:bool",
        "cast bool 1e-45:f32 = true:bool",
        "cast f16 true:bool = 1.0:f16",
        "cast i8 200:u8 = -56:i8",
        "cast u32 -1:i8 = 4294967295:u32",
        "cast u8 -1:i64 = 255:u8",
        "cast f32 16777217:i32 = 16777216.0:f32",
        "cast f32 18446744073709551615:u64 = 1.8446744073709552e19:f32",
        "cast f64 9223372036854775807:i64 = 9.223372036854775807e18:f64",
        // 2⁶² + 2³⁸ + 1 is just above a tie of f32: by way of f64 it would round to even, down.
        "cast f32 4611686293305294849:i64 = 4611686568183201792.0:f32",
        // From an integer to bf16 goes through f32: 2⁶² + 2⁵⁴ + 1 becomes a tie.
        "cast bf16 4629700416936869889:i64 = 4611686018427387904.0:bf16",
        "cast f16 65519.0:f32 = 65504.0:f16",
        "cast f16 65520.0:f32 = inf:f16",
        "cast f16 70000:i32 = inf:f16",
        "cast bf16 3.4e38:f64 = inf:bf16",
        "cast f32 1e300:f64 = inf:f32",
        "cast bf16 1e300:f64 = inf:bf16",
        "cast f16 -1e300:f64 = -inf:f16",
        "cast bf16 NaN:f64 = NaN:bf16",
        // Just above a tie of f16 and of bf16, by less than f32 can hold.
        "cast f16 1.00048828125000001:f64 = 1.0:f16",
        "cast f16 1.0004882812500002:f64 = 1.0009765625:f16",
        "cast f16 1.00048828125:f64 = 1.0:f16",
        "cast bf16 1.0039062500000002:f64 = 1.0078125:bf16",
        "cast bf16 1.00390625:f64 = 1.0:bf16",
        // Half of the smallest subnormal is a tie; anything above it is not.
        "cast f16 2.98023223876953125e-8:f64 = 0.0:f16",
        "cast f16 2.98023223876953160e-8:f64 = 5.960464477539063e-8:f16",
        "cast f32 5.960464477539063e-8:f16 = 5.9604645e-8:f32",
        "cast bf16 1e-45:f64 = 0.0:bf16",
        "cast f32 1e-40:bf16 = 9.1835e-41:f32",
    ]);
}

/// f16 values are spaced so that every f64 between two neighbours must go to the nearer one.
#[test]
fn f64_to_half_rounds_to_nearest_even() {
    let next = |v: f64| f64::from_bits(v.to_bits() + 1);
    let last = |v: f64| f64::from_bits(v.to_bits() - 1);
    for bits in (0..0x7bffu16).step_by(7) {
        let (low, high) = (f16::from_bits(bits), f16::from_bits(bits + 1));
        let tie = (low.to_f64() + high.to_f64()) / 2.0;
        let even = if bits % 2 == 0 { low } else { high };
        assert_eq!([f64_to_f16(last(tie)), f64_to_f16(tie), f64_to_f16(next(tie))], [low, even, high], "{tie}");
        assert_eq!(f64_to_f16(-next(tie)), -high);
    }
    for bits in (0..0x7f7fu16).step_by(7) {
        let (low, high) = (bf16::from_bits(bits), bf16::from_bits(bits + 1));
        let tie = (low.to_f64() + high.to_f64()) / 2.0;
        let even = if bits % 2 == 0 { low } else { high };
        assert_eq!([f64_to_bf16(last(tie)), f64_to_bf16(tie), f64_to_bf16(next(tie))], [low, even, high], "{tie}");
    }
}

#[test]
fn fma_is_that_of_the_processor() {
    let mut rng = crate::testing::Rng(1);
    let mut number = || {
        // Near exponents, so that sums cancel and round; any bits now and then.
        let bits = rng.bits();
        if bits >> 60 == 0 { bits as u32 } else { bits as u32 & 0x83ff_ffff | 0x3e00_0000 }
    };
    for _ in 0..200_000 {
        let [a, b, c] = [number(), number(), number()].map(f32::from_bits);
        // A sum that almost cancels.
        for c in [c, -(a * b), f32::from_bits((-(a * b)).to_bits() ^ 1), 1e-45, -0.0] {
            let (got, want) = (fma_f32(a, b, c), a.mul_add(b, c));
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{a:e} · {b:e} + {c:e}: {got:e}, not {want:e}"
            );
        }
    }
    for (a, b, c) in
        INTERESTING.iter().flat_map(|&a| INTERESTING.iter().flat_map(move |&b| INTERESTING.map(|c| (a, b, c))))
    {
        let [a, b, c] = [a, b, c].map(|v| v as f32);
        let (got, want) = (fma_f32(a, b, c), a.mul_add(b, c));
        assert!(
            got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
            "{a:e} · {b:e} + {c:e}: {got:e}, not {want:e}"
        );
    }
}

/// Every operation returns on every pair of edge values, and gives a value of its dtype.
#[test]
fn every_operation_is_total() {
    for d in DType::ALL.into_iter().filter(|d| *d != DType::C64) {
        let values = INTERESTING.map(|v| Scalar::from_f64(d, v));
        let fits = |s: Scalar| s.dtype.itemsize() == 8 || s.bits >> (8 * s.dtype.itemsize()) == 0;
        for a in values {
            for op in UnaryOp::ALL.into_iter().filter(|op| op.accepts(d)) {
                assert!(fits(eval_unary(op, a)), "{op:?} {a}");
            }
            for to in DType::ALL.into_iter().filter(|d| *d != DType::C64) {
                assert!(fits(eval_cast(to, a)), "cast {to} {a}");
            }
            for b in values {
                for op in BinaryOp::ALL.into_iter().filter(|op| op.accepts(d)) {
                    assert!(fits(eval_binary(op, a, b)), "{op:?} {a} {b}");
                }
            }
        }
    }
}
