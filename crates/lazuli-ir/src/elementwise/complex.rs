//! What rows of the table do to complex numbers.
//!
//! The parts of complex64 are f32. Everything beyond sums and products is computed on f64 parts and rounded once: squares of f32 parts neither
//! overflow nor underflow there and are exact, so the textbook formulas hold where f32 would need scaling. Branch cuts, and the sign
//! of zero on them, are those of C (ISO C99, Annex G); the inverse functions follow W. Kahan, "Branch cuts for complex elementary functions,
//! or: Much ado about nothing's sign bit" (in The State of the Art in Numerical Analysis, 1987). Results of infinite parts are C's for
//! abs, exp, log, sqrt and tanh; elsewhere a NaN part may stand where C gives a limit.

use crate::pointwise::Lane;
use lazuli_kernel::{BinaryOp, DType, Emit, UnaryOp, Value, math};
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A complex op that the row's dtype rule refuses.
pub(super) fn refused<const N: usize>(_: &mut Emit, _: [Lane; N]) -> Lane {
    unreachable!("the dtype rule refuses complex operands")
}

/// A real f64 number of the line being written.
#[derive(Clone, Copy)]
struct Real<'e>(Value, &'e RefCell<Emit>);

/// A condition.
#[derive(Clone, Copy)]
struct Cond<'e>(Value, &'e RefCell<Emit>);

impl<'e> Real<'e> {
    fn with(self, f: impl FnOnce(&mut Emit, Value) -> Value) -> Self {
        Real(f(&mut self.1.borrow_mut(), self.0), self.1)
    }
    fn is(self, op: BinaryOp, other: Self) -> Cond<'e> {
        Cond(self.1.borrow_mut().binary(op, self.0, other.0), self.1)
    }
    fn at(self, v: f64) -> Self {
        self.with(|e, _| e.f64(v))
    }
    fn abs(self) -> Self {
        self.with(|e, x| e.abs(x))
    }
    fn sqrt(self) -> Self {
        self.with(|e, x| e.unary(UnaryOp::Sqrt, x))
    }
    fn lt(self, v: f64) -> Cond<'e> {
        self.is(BinaryOp::Lt, self.at(v))
    }
    fn eq(self, v: f64) -> Cond<'e> {
        self.is(BinaryOp::Eq, self.at(v))
    }
    fn infinite(self) -> Cond<'e> {
        self.abs().eq(f64::INFINITY)
    }
    /// The magnitude of `self` with the sign bit of `s`.
    fn copysign(self, s: Self) -> Self {
        let mut e = self.1.borrow_mut();
        let bits = |e: &mut Emit, v| e.bitcast(DType::I64, v);
        let (x, s) = (bits(&mut e, self.0), bits(&mut e, s.0));
        let (magnitude, sign) = (e.i64(i64::MAX), e.i64(i64::MIN));
        let (x, s) = (e.and(x, magnitude), e.and(s, sign));
        let joined = e.or(x, s);
        let v = e.bitcast(DType::F64, joined);
        drop(e);
        Real(v, self.1)
    }
    fn atan2(self, x: Self) -> Self {
        self.with(|e, y| math::atan2(e, y, x.0))
    }
}

impl<'e> Cond<'e> {
    fn or(self, other: Self) -> Self {
        Cond(self.1.borrow_mut().or(self.0, other.0), self.1)
    }
    fn and(self, other: Self) -> Self {
        Cond(self.1.borrow_mut().and(self.0, other.0), self.1)
    }
    fn select(self, a: Real<'e>, b: Real<'e>) -> Real<'e> {
        Real(self.1.borrow_mut().select(self.0, a.0, b.0), self.1)
    }
    fn pick(self, a: Complex<'e>, b: Complex<'e>) -> Complex<'e> {
        Complex { re: self.select(a.re, b.re), im: self.select(a.im, b.im) }
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => { $(
        impl $trait for Real<'_> {
            type Output = Self;
            fn $method(self, other: Self) -> Self { self.with(|e, a| e.$method(a, other.0)) }
        }
        impl $trait<f64> for Real<'_> {
            type Output = Self;
            fn $method(self, other: f64) -> Self { self.$method(self.at(other)) }
        }
    )* };
}

operators! { Add add; Sub sub; Mul mul; Div div; }

impl Neg for Real<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.with(|e, a| e.neg(a))
    }
}

/// A complex number of f64 parts.
#[derive(Clone, Copy)]
struct Complex<'e> {
    re: Real<'e>,
    im: Real<'e>,
}

fn c<'e>(re: Real<'e>, im: Real<'e>) -> Complex<'e> {
    Complex { re, im }
}

impl<'e> Add for Complex<'e> {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        c(self.re + o.re, self.im + o.im)
    }
}

impl<'e> Sub for Complex<'e> {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        c(self.re - o.re, self.im - o.im)
    }
}

impl<'e> Mul for Complex<'e> {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        c(self.re * o.re - self.im * o.im, self.re * o.im + self.im * o.re)
    }
}

impl<'e> Div for Complex<'e> {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        let d = o.re * o.re + o.im * o.im;
        c((self.re * o.re + self.im * o.im) / d, (self.im * o.re - self.re * o.im) / d)
    }
}

impl<'e> Complex<'e> {
    /// i·z.
    fn times_i(self) -> Self {
        c(-self.im, self.re)
    }
    /// −i·z.
    fn over_i(self) -> Self {
        c(self.im, -self.re)
    }
    /// |z|; ∞ if a part is, even beside NaN.
    fn abs(self) -> Real<'e> {
        let m = (self.re * self.re + self.im * self.im).sqrt();
        self.re.infinite().or(self.im.infinite()).select(m.at(f64::INFINITY), m)
    }
    /// z/|z|; 0 for 0.
    fn sign(self) -> Self {
        let m = self.abs();
        let d = m.eq(0.0).select(m.at(1.0), m);
        c(self.re / d, self.im / d)
    }
    fn sqrt(self) -> Self {
        let m = self.abs();
        // The larger part by adding magnitudes, the other from |im| = 2·re·im.
        let large = ((m + self.re.abs()) * 0.5).sqrt();
        let small = self.im.abs() / (large + large);
        let small = m.eq(0.0).select(m.at(0.0), small);
        let left = self.re.lt(0.0);
        let z = c(left.select(small, large), left.select(large, small).copysign(self.im));
        self.im.infinite().pick(c(m, self.im), z)
    }
    fn exp(self) -> Self {
        let r = self.re.with(math::exp);
        let z = c(r * self.im.with(math::cos), r * self.im.with(math::sin));
        // A real argument stays real, and e^−∞ is 0 in every direction.
        let real = self.im.eq(0.0);
        let z = c(z.re, real.select(self.im, z.im));
        let z = c(real.select(r, z.re), z.im);
        r.eq(0.0).pick(c(r.at(0.0), r.at(0.0).copysign(z.im)), z)
    }
    /// log |z| + i·arg z. Near |z| = 1 through |z|² − 1, which is exact up to one rounding.
    fn log(self) -> Self {
        let (x2, y2) = (self.re * self.re, self.im * self.im);
        let square = x2 + y2;
        let (larger, smaller) =
            (x2.with(|e, a| e.binary(BinaryOp::Max, a, y2.0)), x2.with(|e, a| e.binary(BinaryOp::Min, a, y2.0)));
        let near = (larger - 1.0) + smaller;
        let is_near = near.abs().lt(0.5);
        let re = is_near.select(near.with(math::log1p), square.with(math::log)) * 0.5;
        let re = self.re.infinite().or(self.im.infinite()).select(re.at(f64::INFINITY), re);
        c(re, self.im.atan2(self.re))
    }
    /// log(1 + z), from |1 + z|² − 1 = x(2 + x) + y².
    fn log1p(self) -> Self {
        let x1 = self.re + 1.0;
        let near = self.re * (self.re + 2.0) + self.im * self.im;
        let square = x1 * x1 + self.im * self.im;
        let re = near.abs().lt(0.5).select(near.with(math::log1p), square.with(math::log)) * 0.5;
        let re = self.re.infinite().or(self.im.infinite()).select(re.at(f64::INFINITY), re);
        c(re, self.im.atan2(x1))
    }
    fn scale(self, by: f64) -> Self {
        c(self.re * by, self.im * by)
    }
    fn cosh(self) -> Self {
        let (ch, sh) = (self.re.with(math::cosh), self.re.with(math::sinh));
        c(ch * self.im.with(math::cos), sh * self.im.with(math::sin))
    }
    fn sinh(self) -> Self {
        let (ch, sh) = (self.re.with(math::cosh), self.re.with(math::sinh));
        c(sh * self.im.with(math::cos), ch * self.im.with(math::sin))
    }
    /// (sinh 2x + i sin 2y)/(cosh 2x + cos 2y), written with tan y so that nothing cancels (Kahan); its limit ±1 for large |x|.
    fn tanh(self) -> Self {
        let (t, s) = (self.im.with(math::tan), self.re.with(math::sinh));
        let b = t * t + 1.0;
        let r = (s * s + 1.0).sqrt();
        let d = b * s * s + 1.0;
        let z = c(b * r * s / d, t / d);
        let limit = c(self.re.at(1.0).copysign(self.re), self.re.at(0.0).copysign(t));
        self.re.abs().lt(50.0).pick(z, limit)
    }
    fn asin(self) -> Self {
        let (p, q) = self.roots();
        let re = self.re.atan2(p.re * q.re - p.im * q.im);
        let im = (p.re * q.im - p.im * q.re).with(math::asinh);
        c(re, im)
    }
    fn acos(self) -> Self {
        let (p, q) = self.roots();
        let re = p.re.atan2(q.re) * 2.0;
        let im = (q.re * p.im - q.im * p.re).with(math::asinh);
        c(re, im)
    }
    /// √(1 − z) and √(1 + z).
    fn roots(self) -> (Self, Self) {
        (c(-self.re + 1.0, -self.im).sqrt(), c(self.re + 1.0, self.im).sqrt())
    }
    fn acosh(self) -> Self {
        let (p, q) = (c(self.re - 1.0, self.im).sqrt(), c(self.re + 1.0, self.im).sqrt());
        let re = (p.re * q.re + p.im * q.im).with(math::asinh);
        c(re, p.im.atan2(q.re) * 2.0)
    }
    fn atanh(self) -> Self {
        let x = self.re.abs();
        let y2 = self.im * self.im;
        let distance = -x + 1.0;
        let re = (x * 4.0 / (distance * distance + y2)).with(math::log1p) * 0.25;
        let im = (self.im + self.im).atan2(distance * (x + 1.0) - y2) * 0.5;
        c(re.copysign(self.re), im)
    }
}

/// Applies a function of complex numbers on f64 parts.
fn on<const N: usize>(e: &mut Emit, lanes: [Lane; N], f: impl FnOnce([Complex<'_>; N]) -> Complex<'_>) -> Lane {
    let parts = lanes.map(|l| {
        let (re, im) = l.parts();
        (e.cast(DType::F64, re), e.cast(DType::F64, im))
    });
    let line = RefCell::new(std::mem::take(e));
    let z = f(parts.map(|(re, im)| c(Real(re, &line), Real(im, &line))));
    let (re, im) = (z.re.0, z.im.0);
    *e = line.into_inner();
    Lane::Complex(e.cast(DType::F32, re), e.cast(DType::F32, im))
}

/// The same for functions with a real result.
fn real_part(lane: Lane) -> Lane {
    Lane::Real(lane.parts().0)
}

pub(super) fn abs(e: &mut Emit, [a]: [Lane; 1]) -> Lane {
    real_part(on(e, [a], |[z]| {
        let m = z.abs();
        c(m, m)
    }))
}

macro_rules! functions {
    ($n:literal: $($name:ident |[$($z:ident),*]| $body:expr;)*) => { $(
        pub(super) fn $name(e: &mut Emit, lanes: [Lane; $n]) -> Lane {
            on(e, lanes, |[$($z),*]| $body)
        }
    )* };
}

functions! { 1:
    sign |[z]| z.sign();
    sqrt |[z]| z.sqrt();
    rsqrt |[z]| one(z) / z.sqrt();
    reciprocal |[z]| one(z) / z;
    exp |[z]| z.exp();
    log |[z]| z.log();
    log2 |[z]| z.log().scale(std::f64::consts::LOG2_E);
    log10 |[z]| z.log().scale(std::f64::consts::LOG10_E);
    log1p |[z]| z.log1p();
    sin |[z]| z.times_i().sinh().over_i();
    cos |[z]| z.times_i().cosh();
    tan |[z]| z.times_i().tanh().over_i();
    sinh |[z]| z.sinh();
    cosh |[z]| z.cosh();
    tanh |[z]| z.tanh();
    arcsin |[z]| z.asin();
    arccos |[z]| z.acos();
    arctan |[z]| z.times_i().atanh().over_i();
    arcsinh |[z]| z.times_i().asin().over_i();
    arccosh |[z]| z.acosh();
    arctanh |[z]| z.atanh();
}

functions! { 2:
    divide |[a, b]| a / b;
    power |[a, b]| power_of(a, b);
    logaddexp |[a, b]| {
        let (low, high) = (less_of(a, b).pick(a, b), less_of(a, b).pick(b, a));
        let same = equal_of(a, b);
        let d = low - high;
        let d = same.pick(c(d.re.at(0.0), d.im.at(0.0)), d);
        high + d.exp().log1p()
    };
}

fn one(z: Complex<'_>) -> Complex<'_> {
    c(z.re.at(1.0), z.re.at(0.0))
}

/// e^(b log a); a⁰ = 1, and 0ᵇ = 0 for a b of positive real part.
fn power_of<'e>(a: Complex<'e>, b: Complex<'e>) -> Complex<'e> {
    let zero = c(a.re.at(0.0), a.re.at(0.0));
    let base_zero = a.re.eq(0.0).and(a.im.eq(0.0));
    let exponent_zero = b.re.eq(0.0).and(b.im.eq(0.0));
    let vanishes = base_zero.and(b.re.is(BinaryOp::Gt, zero.re));
    exponent_zero.pick(one(a), vanishes.pick(zero, (b * a.log()).exp()))
}

/// Lexicographic order.
fn less_of<'e>(a: Complex<'e>, b: Complex<'e>) -> Cond<'e> {
    a.re.is(BinaryOp::Lt, b.re).or(a.re.is(BinaryOp::Eq, b.re).and(a.im.is(BinaryOp::Lt, b.im)))
}

fn equal_of<'e>(a: Complex<'e>, b: Complex<'e>) -> Cond<'e> {
    a.re.is(BinaryOp::Eq, b.re).and(a.im.is(BinaryOp::Eq, b.im))
}

/// Both parts by one op.
pub(super) fn each(e: &mut Emit, a: Lane, f: impl Fn(&mut Emit, Value) -> Value) -> Lane {
    let (re, im) = a.parts();
    Lane::Complex(f(e, re), f(e, im))
}

/// Parts with parts.
pub(super) fn zip(e: &mut Emit, a: Lane, b: Lane, f: impl Fn(&mut Emit, Value, Value) -> Value) -> Lane {
    let ((a, b), (c, d)) = (a.parts(), b.parts());
    Lane::Complex(f(e, a, c), f(e, b, d))
}

pub(super) fn mul(e: &mut Emit, a: Lane, b: Lane) -> Lane {
    let ((a, b), (c, d)) = (a.parts(), b.parts());
    let (ac, bd, ad, bc) = (e.mul(a, c), e.mul(b, d), e.mul(a, d), e.mul(b, c));
    Lane::Complex(e.sub(ac, bd), e.add(ad, bc))
}

/// Whether a number is not 0.
pub(super) fn truth(e: &mut Emit, a: Lane) -> Value {
    any(e, a, |e, part| e.cast(DType::Bool, part))
}

/// Whether either part has a property.
pub(super) fn any(e: &mut Emit, a: Lane, f: impl Fn(&mut Emit, Value) -> Value) -> Value {
    let (re, im) = a.parts();
    let (re, im) = (f(e, re), f(e, im));
    e.or(re, im)
}

/// Whether both parts have a property.
pub(super) fn all(e: &mut Emit, a: Lane, f: impl Fn(&mut Emit, Value) -> Value) -> Value {
    let (re, im) = a.parts();
    let (re, im) = (f(e, re), f(e, im));
    e.and(re, im)
}

/// Whether the number is this real one.
pub(super) fn is_real(e: &mut Emit, a: Lane, v: f64) -> Lane {
    let (re, im) = a.parts();
    let (v, zero) = (e.like(re, v), e.like(im, 0.0));
    let (re, im) = (e.eq(re, v), e.eq(im, zero));
    Lane::Real(e.and(re, im))
}

pub(super) fn equal(e: &mut Emit, a: Lane, b: Lane) -> Value {
    let ((a, b), (c, d)) = (a.parts(), b.parts());
    let (re, im) = (e.eq(a, c), e.eq(b, d));
    e.and(re, im)
}

/// Lexicographic order, as NumPy's and MLX's: by real part (`Lt` or `Gt`), then by imaginary part with `op`.
pub(super) fn compare(e: &mut Emit, op: BinaryOp, a: Lane, b: Lane) -> Value {
    let strict = match op {
        BinaryOp::Lt | BinaryOp::Le => BinaryOp::Lt,
        _ => BinaryOp::Gt,
    };
    let ((a, b), (c, d)) = (a.parts(), b.parts());
    let (first, tie, second) = (e.binary(strict, a, c), e.eq(a, c), e.binary(op, b, d));
    let second = e.and(tie, second);
    e.or(first, second)
}

/// The one of `a` and `b` that comes first by `op`; the first that holds a NaN, if any does.
pub(super) fn extremum(e: &mut Emit, op: BinaryOp, a: Lane, b: Lane) -> Lane {
    let (nan_a, nan_b) = (any(e, a, super::scalar::is_nan), any(e, b, super::scalar::is_nan));
    let first = compare(e, op, a, b);
    let not_b = e.unary(UnaryOp::Not, nan_b);
    let first = e.and(first, not_b);
    let take_a = e.or(nan_a, first);
    select(e, take_a, a, b)
}

pub(super) fn select(e: &mut Emit, condition: Value, a: Lane, b: Lane) -> Lane {
    zip(e, a, b, |e, a, b| e.select(condition, a, b))
}
