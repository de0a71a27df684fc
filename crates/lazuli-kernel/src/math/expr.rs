//! Typed expressions over [`Emit`], so that a formula reads as one: `fma(r, p, x * 0.5)`.
//!
//! An [`Expr`] is a [`Value`] whose dtype the Rust type system knows. Its operators append one instruction each
//! (or find the equal one that is there); nothing is folded, contracted or reordered. Constants stand for themselves, an `f64` for
//! a number of either floating dtype (rounded to it), a `u64` for an unsigned integer of either width (its low bits). A shortest decimal
//! that names an f32 still names it after passing through f64.

use crate::dtype::DType;
use crate::ir::{BinaryOp, Emit, UnaryOp, Value};
use crate::scalar::Scalar;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Shl, Shr, Sub};

/// A Rust type that is the element type of a dtype.
pub(super) trait Element: Copy {
    const DTYPE: DType;
    /// What a constant is written as.
    type Literal: Copy;
    fn scalar(literal: Self::Literal) -> Scalar;
}

macro_rules! elements {
    ($($t:ty: $dtype:ident from $literal:ty, |$v:ident| $bits:expr;)*) => { $(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            type Literal = $literal;
            fn scalar($v: $literal) -> Scalar {
                Scalar { dtype: Self::DTYPE, bits: $bits }
            }
        }
    )* };
}

elements! {
    bool: Bool from bool, |v| v as u64;
    u32: U32 from u64, |v| v as u32 as u64;
    u64: U64 from u64, |v| v;
    i32: I32 from i64, |v| v as u32 as u64;
    i64: I64 from i64, |v| v as u64;
    f32: F32 from f64, |v| (v as f32).to_bits() as u64;
    f64: F64 from f64, |v| v.to_bits();
}

/// f32 or f64.
pub(super) trait Float: Element<Literal = f64> + 'static {
    /// The integers of its width.
    type Bits: Element<Literal = u64>;
    type Signed: Element<Literal = i64>;
    /// Bits of the significand that are stored: the place of the exponent.
    const SHIFT: u64;
    /// What the exponent field of 1 holds.
    const BIAS: u64;
    const SIGN: u64;
    /// 1.5·2^SHIFT: adding it rounds to an integer, which then sits in the low bits of the significand.
    const MAGIC: f64;
    /// The smallest normal number.
    const MIN_POSITIVE: f64;
}

impl Float for f32 {
    type Bits = u32;
    type Signed = i32;
    const SHIFT: u64 = 23;
    const BIAS: u64 = 127;
    const SIGN: u64 = 1 << 31;
    const MAGIC: f64 = 12582912.0;
    const MIN_POSITIVE: f64 = f32::MIN_POSITIVE as f64;
}

impl Float for f64 {
    type Bits = u64;
    type Signed = i64;
    const SHIFT: u64 = 52;
    const BIAS: u64 = 1023;
    const SIGN: u64 = 1 << 63;
    const MAGIC: f64 = 6755399441055744.0;
    const MIN_POSITIVE: f64 = f64::MIN_POSITIVE;
}

/// A value of element type `T` in the line being built.
pub(super) struct Expr<'b, T> {
    line: &'b RefCell<Emit>,
    value: Value,
    element: PhantomData<T>,
}

pub(super) type Bool<'b> = Expr<'b, bool>;
pub(super) type Bits<'b, T> = Expr<'b, <T as Float>::Bits>;

impl<T> Clone for Expr<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Expr<'_, T> {}

/// What may stand where an expression of `T` is expected: an expression or a constant.
pub(super) trait Arg<'b, T> {
    fn value(self, line: &'b RefCell<Emit>) -> Value;
}

impl<'b, T> Arg<'b, T> for Expr<'b, T> {
    fn value(self, _: &'b RefCell<Emit>) -> Value {
        self.value
    }
}

macro_rules! literals {
    ($($literal:ty)*) => { $(
        impl<'b, T: Element<Literal = $literal>> Arg<'b, T> for $literal {
            fn value(self, line: &'b RefCell<Emit>) -> Value {
                line.borrow_mut().constant(T::scalar(self))
            }
        }
    )* };
}

literals!(bool u64 i64 f64);

/// Appends `f(x)` to the line.
pub(super) fn build1<T: Element>(e: &mut Emit, x: Value, f: impl FnOnce(Expr<'_, T>) -> Expr<'_, T>) -> Value {
    debug_assert_eq!(e.dtype(x), T::DTYPE);
    let line = RefCell::new(std::mem::take(e));
    let value = f(Expr::new(&line, x)).value;
    *e = line.into_inner();
    value
}

/// Appends `f(x, y)` to the line.
pub(super) fn build2<T: Element>(
    e: &mut Emit,
    x: Value,
    y: Value,
    f: impl for<'b> FnOnce(Expr<'b, T>, Expr<'b, T>) -> Expr<'b, T>,
) -> Value {
    debug_assert_eq!((e.dtype(x), e.dtype(y)), (T::DTYPE, T::DTYPE));
    let line = RefCell::new(std::mem::take(e));
    let value = f(Expr::new(&line, x), Expr::new(&line, y)).value;
    *e = line.into_inner();
    value
}

impl<'b, T> Expr<'b, T> {
    fn new(line: &'b RefCell<Emit>, value: Value) -> Self {
        Self { line, value, element: PhantomData }
    }
    fn unary(self, op: UnaryOp) -> Self {
        Self::new(self.line, self.line.borrow_mut().unary(op, self.value))
    }
    fn binary<U>(self, op: BinaryOp, other: impl Arg<'b, T>) -> Expr<'b, U> {
        let other = other.value(self.line);
        Expr::new(self.line, self.line.borrow_mut().binary(op, self.value, other))
    }
    pub fn lt(self, other: impl Arg<'b, T>) -> Bool<'b> {
        self.binary(BinaryOp::Lt, other)
    }
    pub fn le(self, other: impl Arg<'b, T>) -> Bool<'b> {
        self.binary(BinaryOp::Le, other)
    }
    pub fn gt(self, other: impl Arg<'b, T>) -> Bool<'b> {
        self.binary(BinaryOp::Gt, other)
    }
    pub fn ge(self, other: impl Arg<'b, T>) -> Bool<'b> {
        self.binary(BinaryOp::Ge, other)
    }
    pub fn eq(self, other: impl Arg<'b, T>) -> Bool<'b> {
        self.binary(BinaryOp::Eq, other)
    }
    pub fn ne(self, other: impl Arg<'b, T>) -> Bool<'b> {
        self.binary(BinaryOp::Ne, other)
    }
    /// A constant of this type.
    pub fn constant(self, c: impl Arg<'b, T>) -> Self {
        Self::new(self.line, c.value(self.line))
    }
    /// Conversion of value.
    pub fn cast<U: Element>(self) -> Expr<'b, U>
    where
        T: Element,
    {
        Expr::new(self.line, self.line.borrow_mut().cast(U::DTYPE, self.value))
    }
    /// Same bits.
    pub fn bitcast<U: Element>(self) -> Expr<'b, U> {
        Expr::new(self.line, self.line.borrow_mut().bitcast(U::DTYPE, self.value))
    }
}

impl<'b> Bool<'b> {
    /// `a` where true, `b` where false.
    pub fn select<T: Element>(self, a: impl Arg<'b, T>, b: impl Arg<'b, T>) -> Expr<'b, T> {
        let (a, b) = (a.value(self.line), b.value(self.line));
        Expr::new(self.line, self.line.borrow_mut().select(self.value, a, b))
    }
    pub fn not(self) -> Self {
        self.unary(UnaryOp::Not)
    }
}

impl<'b> Expr<'b, u32> {
    /// High half of the 64-bit product.
    pub fn mul_hi(self, other: impl Arg<'b, u32>) -> Self {
        self.binary(BinaryOp::MulHi, other)
    }
}

impl<'b, T: Float> Expr<'b, T> {
    pub fn abs(self) -> Self {
        self.unary(UnaryOp::Abs)
    }
    pub fn sqrt(self) -> Self {
        self.unary(UnaryOp::Sqrt)
    }
    /// To the nearest integer, ties to even.
    pub fn round(self) -> Self {
        self.unary(UnaryOp::Round)
    }
    pub fn is_nan(self) -> Bool<'b> {
        self.ne(self)
    }
    pub fn bits(self) -> Bits<'b, T> {
        self.bitcast()
    }
    /// The sign bit alone.
    pub fn sign_bit(self) -> Bits<'b, T> {
        self.bits() & T::SIGN
    }
    /// `self` with the sign bit of `s` or-ed in: `self` is non-negative or has that sign.
    pub fn with_sign(self, s: Self) -> Self {
        (self.bits() | s.sign_bit()).bitcast()
    }
    /// `self` with its sign flipped where `sign` has the sign bit.
    pub fn flip_sign(self, sign: Bits<'b, T>) -> Self {
        (self.bits() ^ sign).bitcast()
    }
    /// `if self < other { self } else { other }`: a NaN becomes `other`.
    pub fn lesser(self, other: impl Arg<'b, T>) -> Self {
        self.binary(BinaryOp::Lesser, other)
    }
    /// `if self > other { self } else { other }`: a NaN becomes `other`.
    pub fn greater(self, other: impl Arg<'b, T>) -> Self {
        self.binary(BinaryOp::Greater, other)
    }
    /// The smaller of `self` and `hi`; a NaN `self` comes back.
    pub fn at_most(self, hi: impl Arg<'b, T>) -> Self {
        self.constant(hi).lesser(self)
    }
    /// The larger of `self` and `lo`; a NaN `self` comes back.
    pub fn at_least(self, lo: impl Arg<'b, T>) -> Self {
        self.constant(lo).greater(self)
    }
}

/// a·b + c rounded once.
pub(super) fn fma<'b, T: Float>(a: Expr<'b, T>, b: impl Arg<'b, T>, c: impl Arg<'b, T>) -> Expr<'b, T> {
    let (b, c) = (b.value(a.line), c.value(a.line));
    Expr::new(a.line, a.line.borrow_mut().fma(a.value, b, c))
}

/// c₀ + x (c₁ + x (c₂ + …)): Horner's scheme, one fma a step.
pub(super) fn poly<'b, T: Float>(x: Expr<'b, T>, c: &[f64]) -> Expr<'b, T> {
    let (&last, rest) = c.split_last().expect("a polynomial has a coefficient");
    rest.iter().rev().fold(x.constant(last), |p, &c| fma(p, x, c))
}

macro_rules! operators {
    ($($trait:ident $method:ident: $($literal:ty)*;)*) => { $(
        impl<T: Element> $trait for Expr<'_, T> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                operators!(@op self $trait other)
            }
        }
        $( impl<T: Element<Literal = $literal>> $trait<$literal> for Expr<'_, T> {
            type Output = Self;
            fn $method(self, other: $literal) -> Self {
                operators!(@op self $trait other)
            }
        } )*
    )* };
    (@op $a:ident BitAnd $b:ident) => { $a.binary(BinaryOp::And, $b) };
    (@op $a:ident BitOr $b:ident) => { $a.binary(BinaryOp::Or, $b) };
    (@op $a:ident BitXor $b:ident) => { $a.binary(BinaryOp::Xor, $b) };
    (@op $a:ident $op:ident $b:ident) => { $a.binary(BinaryOp::$op, $b) };
}

operators! {
    Add add: f64 u64;
    Sub sub: f64 u64;
    Mul mul: f64 u64;
    Div div: f64;
    BitAnd bitand: u64;
    BitOr bitor: u64;
    BitXor bitxor: u64;
    Shl shl: u64;
    Shr shr: u64;
}

macro_rules! constant_first {
    ($($trait:ident $method:ident: $($literal:ty)*;)*) => { $( $(
        impl<'b, T: Element<Literal = $literal>> $trait<Expr<'b, T>> for $literal {
            type Output = Expr<'b, T>;
            fn $method(self, other: Expr<'b, T>) -> Expr<'b, T> {
                $trait::$method(other.constant(self), other)
            }
        }
    )* )* };
}

constant_first! {
    Add add: f64;
    Sub sub: f64 u64;
    Mul mul: f64;
    Div div: f64;
}

impl<T: Float> Neg for Expr<'_, T> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(UnaryOp::Neg)
    }
}
