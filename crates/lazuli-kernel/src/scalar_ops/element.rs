//! The types of numbers that are computed with, and what each operation means on them.

/// A type of numbers that is computed with, between its value and its bits.
pub(crate) trait Element: Copy + PartialOrd {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

/// Operations that integers and floats share, each with its own meaning.
pub(super) trait Number: Element {
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn min(self, b: Self) -> Self;
    fn max(self, b: Self) -> Self;
}

pub(super) trait Integer: Number {
    fn not(self) -> Self;
    fn rem(self, b: Self) -> Self;
    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    fn shl(self, b: Self) -> Self;
    fn shr(self, b: Self) -> Self;
}

pub(super) trait Float: Number {
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn trunc(self) -> Self;
    fn round(self) -> Self;
    fn fma(self, b: Self, c: Self) -> Self;
}

macro_rules! integers {
    ($($int:ident as $unsigned:ident: $abs:ident),*) => {$(
        impl Element for $int {
            fn of(bits: u64) -> Self { bits as $int }
            fn bits(self) -> u64 { self as $unsigned as u64 }
        }
        impl Number for $int {
            fn neg(self) -> Self { self.wrapping_neg() }
            fn abs(self) -> Self { $abs!(self) }
            fn add(self, b: Self) -> Self { self.wrapping_add(b) }
            fn sub(self, b: Self) -> Self { self.wrapping_sub(b) }
            fn mul(self, b: Self) -> Self { self.wrapping_mul(b) }
            fn div(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_div(b) } }
            fn min(self, b: Self) -> Self { Ord::min(self, b) }
            fn max(self, b: Self) -> Self { Ord::max(self, b) }
        }
        impl Integer for $int {
            fn not(self) -> Self { !self }
            fn rem(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_rem(b) } }
            fn and(self, b: Self) -> Self { self & b }
            fn or(self, b: Self) -> Self { self | b }
            fn xor(self, b: Self) -> Self { self ^ b }
            fn shl(self, b: Self) -> Self {
                if (0..$int::BITS as i128).contains(&(b as i128)) { self << b } else { 0 }
            }
            fn shr(self, b: Self) -> Self {
                // Shifted twice, so that a signed number leaves its sign and an unsigned one leaves nothing.
                let all = $int::BITS - 1;
                if (0..$int::BITS as i128).contains(&(b as i128)) { self >> b } else { (self >> all) >> 1 }
            }
        }
    )*};
}
macro_rules! wrapping_abs {
    ($v:expr) => {
        $v.wrapping_abs()
    };
}
macro_rules! identity {
    ($v:expr) => {
        $v
    };
}
integers!(
    u8 as u8: identity, u16 as u16: identity, u32 as u32: identity, u64 as u64: identity,
    i8 as u8: wrapping_abs, i16 as u16: wrapping_abs, i32 as u32: wrapping_abs, i64 as u64: wrapping_abs
);

macro_rules! floats {
    ($($float:ident as $bits:ident: $fma:path),*) => {$(
        impl Element for $float {
            fn of(bits: u64) -> Self { $float::from_bits(bits as $bits) }
            fn bits(self) -> u64 { self.to_bits() as u64 }
        }
        impl Number for $float {
            fn neg(self) -> Self { -self }
            fn abs(self) -> Self { self.abs() }
            fn add(self, b: Self) -> Self { self + b }
            fn sub(self, b: Self) -> Self { self - b }
            fn mul(self, b: Self) -> Self { self * b }
            fn div(self, b: Self) -> Self { self / b }
            fn min(self, b: Self) -> Self {
                if self.is_nan() || b.is_nan() {
                    $float::NAN
                } else if self < b || self == b && self.is_sign_negative() {
                    self
                } else {
                    b
                }
            }
            fn max(self, b: Self) -> Self {
                if self.is_nan() || b.is_nan() {
                    $float::NAN
                } else if self > b || self == b && self.is_sign_positive() {
                    self
                } else {
                    b
                }
            }
        }
        impl Float for $float {
            fn sqrt(self) -> Self { self.sqrt() }
            fn floor(self) -> Self { self.floor() }
            fn ceil(self) -> Self { self.ceil() }
            fn trunc(self) -> Self { self.trunc() }
            fn round(self) -> Self { self.round_ties_even() }
            fn fma(self, b: Self, c: Self) -> Self { $fma(self, b, c) }
        }
    )*};
}
floats!(f32 as u32: fma_f32, f64 as u64: f64::mul_add);

impl Element for bool {
    fn of(bits: u64) -> Self {
        bits != 0
    }
    fn bits(self) -> u64 {
        self as u64
    }
}

/// Runs `$body` with `$T` naming the Rust type of an integer dtype.
macro_rules! with_integer {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            d => unreachable!("no integer: {d}"),
        }
    };
}

pub(super) use with_integer;

pub(super) fn each1<A: Element, R: Element>(a: &[u64], out: &mut [u64], f: impl Fn(A) -> R) {
    for (o, &a) in out.iter_mut().zip(a) {
        *o = f(A::of(a)).bits();
    }
}

pub(super) fn each2<A: Element, R: Element>(a: &[u64], b: &[u64], out: &mut [u64], f: impl Fn(A, A) -> R) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = f(A::of(a), A::of(b)).bits();
    }
}

/// a·b + c rounded once, as [`f32::mul_add`]; that is a call, or worse, unless compiled for a processor with the instruction, where this is
/// arithmetic that vectorises. In f64 the product is exact, and the sum is rounded to odd before it is rounded to f32.
pub(super) fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (a as f64 * b as f64, c as f64);
    let sum = product + c;
    // What the sum lost, exactly (Knuth's TwoSum); NaN beside infinities.
    let rest = sum - product;
    let lost = (product - (sum - rest)) + (c - rest);
    let bits = sum.to_bits();
    let toward_lost = if (lost > 0.0) == (sum > 0.0) { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if lost.abs() > 0.0 && bits & 1 == 0 { toward_lost } else { bits }) as f32
}
