//! Typed expressions over [`Emit`], so that a formula reads as one: `fma(r, p, x * 0.5)`.
//!
//! An [`Expr`] is a [`Value`] whose dtype the Rust type system knows. Its operators append one instruction each
//! (or find the equal one that is there); nothing is folded, contracted or reordered. Constants stand for themselves:
//! an `f32` next to an `Expr<f32>` becomes a [`Inst::Const`](crate::ir::Inst::Const).

use crate::dtype::DType;
use crate::ir::{BinaryOp, Emit, UnaryOp, Value};
use crate::scalar::Scalar;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Shl, Shr, Sub};

/// A Rust type that is the element type of a dtype.
pub(super) trait Element: Copy {
    const DTYPE: DType;
    fn scalar(self) -> Scalar;
}

macro_rules! elements {
    ($($t:ty: $dtype:ident, |$v:ident| $bits:expr;)*) => { $(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            fn scalar(self) -> Scalar {
                let $v = self;
                Scalar { dtype: Self::DTYPE, bits: $bits }
            }
        }
    )* };
}

elements! {
    bool: Bool, |v| v as u64;
    u32: U32, |v| v as u64;
    i32: I32, |v| v as u32 as u64;
    u64: U64, |v| v;
    i64: I64, |v| v as u64;
    f32: F32, |v| v.to_bits() as u64;
    f64: F64, |v| v.to_bits();
}

/// A floating-point element type with the unsigned integer of its width.
pub(super) trait Float: Element {
    type Bits: Element;
    const SIGN: Self::Bits;
}

impl Float for f32 {
    type Bits = u32;
    const SIGN: u32 = 1 << 31;
}

impl Float for f64 {
    type Bits = u64;
    const SIGN: u64 = 1 << 63;
}

/// A value of element type `T` in the line being built.
pub(super) struct Expr<'b, T> {
    line: &'b RefCell<Emit>,
    value: Value,
    element: PhantomData<T>,
}

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

impl<'b, T: Element> Arg<'b, T> for T {
    fn value(self, line: &'b RefCell<Emit>) -> Value {
        line.borrow_mut().constant(self.scalar())
    }
}

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
    pub fn lt(self, other: impl Arg<'b, T>) -> Expr<'b, bool> {
        self.binary(BinaryOp::Lt, other)
    }
    pub fn le(self, other: impl Arg<'b, T>) -> Expr<'b, bool> {
        self.binary(BinaryOp::Le, other)
    }
    pub fn gt(self, other: impl Arg<'b, T>) -> Expr<'b, bool> {
        self.binary(BinaryOp::Gt, other)
    }
    pub fn ge(self, other: impl Arg<'b, T>) -> Expr<'b, bool> {
        self.binary(BinaryOp::Ge, other)
    }
    pub fn eq(self, other: impl Arg<'b, T>) -> Expr<'b, bool> {
        self.binary(BinaryOp::Eq, other)
    }
    pub fn ne(self, other: impl Arg<'b, T>) -> Expr<'b, bool> {
        self.binary(BinaryOp::Ne, other)
    }
    /// `c` in place of the value of this line.
    pub fn constant(self, c: T) -> Self
    where
        T: Element,
    {
        Self::new(self.line, c.value(self.line))
    }
    /// Conversion of value.
    pub fn cast<U: Element>(self) -> Expr<'b, U> {
        Expr::new(self.line, self.line.borrow_mut().cast(U::DTYPE, self.value))
    }
    /// Same bits.
    pub fn bitcast<U: Element>(self) -> Expr<'b, U> {
        Expr::new(self.line, self.line.borrow_mut().bitcast(U::DTYPE, self.value))
    }
}

impl<'b> Expr<'b, bool> {
    /// `a` where true, `b` where false.
    pub fn select<T: Element>(self, a: impl Arg<'b, T>, b: impl Arg<'b, T>) -> Expr<'b, T> {
        let (a, b) = (a.value(self.line), b.value(self.line));
        Expr::new(self.line, self.line.borrow_mut().select(self.value, a, b))
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
    pub fn bits(self) -> Expr<'b, T::Bits> {
        self.bitcast()
    }
    /// The sign bit alone.
    pub fn sign_bit(self) -> Expr<'b, T::Bits> {
        self.bits() & T::SIGN
    }
    /// `self` with the sign bit of `s` or-ed in: `self` is non-negative or has that sign.
    pub fn with_sign(self, s: Self) -> Self {
        (self.bits() | s.sign_bit()).bitcast()
    }
    /// `self` with its sign flipped where `sign` has the sign bit.
    pub fn flip_sign(self, sign: Expr<'b, T::Bits>) -> Self {
        (self.bits() ^ sign).bitcast()
    }
    /// The smaller of `self` and `hi`; a NaN `self` comes back.
    pub fn at_most(self, hi: impl Arg<'b, T>) -> Self {
        let hi = Self::new(self.line, hi.value(self.line));
        hi.binary(BinaryOp::Lesser, self)
    }
    /// The larger of `self` and `lo`; a NaN `self` comes back.
    pub fn at_least(self, lo: impl Arg<'b, T>) -> Self {
        let lo = Self::new(self.line, lo.value(self.line));
        lo.binary(BinaryOp::Greater, self)
    }
    /// `if self < other { self } else { other }`: a NaN becomes `other`.
    pub fn lesser(self, other: impl Arg<'b, T>) -> Self {
        self.binary(BinaryOp::Lesser, other)
    }
    /// `if self > other { self } else { other }`: a NaN becomes `other`.
    pub fn greater(self, other: impl Arg<'b, T>) -> Self {
        self.binary(BinaryOp::Greater, other)
    }
    pub fn is_nan(self) -> Expr<'b, bool> {
        self.ne(self)
    }
}

/// a·b + c rounded once.
pub(super) fn fma<'b, T: Float>(a: Expr<'b, T>, b: impl Arg<'b, T>, c: impl Arg<'b, T>) -> Expr<'b, T> {
    let (b, c) = (b.value(a.line), c.value(a.line));
    Expr::new(a.line, a.line.borrow_mut().fma(a.value, b, c))
}

/// c₀ + x (c₁ + x (c₂ + …)): Horner's scheme, one fma a step.
pub(super) fn poly<'b, T: Float, const N: usize>(x: Expr<'b, T>, c: [T; N]) -> Expr<'b, T> {
    let top = x.constant(c[N - 1]);
    c[..N - 1].iter().rev().fold(top, |p, &c| fma(p, x, c))
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident;)*) => { $(
        impl<'b, T: Element> $trait for Expr<'b, T> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.binary(BinaryOp::$op, other)
            }
        }
        impl<'b, T: Element> $trait<T> for Expr<'b, T> {
            type Output = Self;
            fn $method(self, other: T) -> Self {
                self.binary(BinaryOp::$op, other)
            }
        }
    )* };
}

operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
    BitAnd bitand And;
    BitOr bitor Or;
    BitXor bitxor Xor;
    Shl shl Shl;
    Shr shr Shr;
}

macro_rules! constant_first {
    ($($t:ty)*) => { $(
        impl<'b> Sub<Expr<'b, $t>> for $t {
            type Output = Expr<'b, $t>;
            fn sub(self, other: Expr<'b, $t>) -> Expr<'b, $t> {
                other.constant(self) - other
            }
        }
        impl<'b> Div<Expr<'b, $t>> for $t {
            type Output = Expr<'b, $t>;
            fn div(self, other: Expr<'b, $t>) -> Expr<'b, $t> {
                other.constant(self) / other
            }
        }
        impl<'b> Add<Expr<'b, $t>> for $t {
            type Output = Expr<'b, $t>;
            fn add(self, other: Expr<'b, $t>) -> Expr<'b, $t> {
                other.constant(self) + other
            }
        }
        impl<'b> Mul<Expr<'b, $t>> for $t {
            type Output = Expr<'b, $t>;
            fn mul(self, other: Expr<'b, $t>) -> Expr<'b, $t> {
                other.constant(self) * other
            }
        }
    )* };
}

constant_first!(f32 f64 u32 u64);

impl<T: Element> Neg for Expr<'_, T> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(UnaryOp::Neg)
    }
}

impl<T: Element> Not for Expr<'_, T> {
    type Output = Self;
    fn not(self) -> Self {
        self.unary(UnaryOp::Not)
    }
}
