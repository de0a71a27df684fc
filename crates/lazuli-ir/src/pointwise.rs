//! Values at an index: how every primitive whose outputs can be computed point by point is lowered.
//!
//! Elementwise operations, views, gathers, padding, concatenation, iota and random bits all answer one question: *what is the
//! value of the output at this index?*, by asking for values of their inputs at indices of their own. Whether an input is then
//! loaded from memory or computed on the spot (fused) is the compiler's choice, hidden behind [`Pointwise::input`].

use crate::extents::Place;
use crate::number::{Arithmetic, Extents, Number};
use lazuli_kernel::{BinaryOp, DType, Emit, Value, small};
use smallvec::{SmallVec, smallvec};

/// A number of the straight line: one value, or the two parts of a complex one. f16 and bf16 values are kept in their own dtype;
/// who computes with them casts to f32 and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    Real(Value),
    Complex(Value, Value),
}

impl Lane {
    /// The single value of a number that is not complex.
    pub fn real(self) -> Value {
        match self {
            Lane::Real(v) => v,
            Lane::Complex(..) => {
                panic!("a complex number where a real one was expected: the dtype rule should have refused it")
            }
        }
    }
    /// Real and imaginary part of a complex number.
    pub fn parts(self) -> (Value, Value) {
        match self {
            Lane::Complex(re, im) => (re, im),
            Lane::Real(_) => {
                panic!("a real number where a complex one was expected: the dtype rule should have refused it")
            }
        }
    }
}

/// `if c { a } else { b }`.
pub fn select(e: &mut Emit, c: Value, a: Lane, b: Lane) -> Lane {
    match (a, b) {
        (Lane::Real(a), Lane::Real(b)) => Lane::Real(e.select(c, a, b)),
        _ => {
            let ((ar, ai), (br, bi)) = (a.parts(), b.parts());
            Lane::Complex(e.select(c, ar, br), e.select(c, ai, bi))
        }
    }
}

/// Adds a comparison to a condition.
pub fn and(cx: &mut dyn Pointwise, mask: &mut Option<Value>, op: BinaryOp, a: Value, b: Value) {
    let e = cx.emit();
    let holds = e.binary(op, a, b);
    *mask = Some(match *mask {
        Some(m) => e.and(m, holds),
        None => holds,
    });
}

/// An index of the output as an index of an operand that broadcasts to it.
pub fn aligned(operand: &[usize], at: &[Ix]) -> Index {
    let skip = at.len() - operand.len();
    small(operand.iter().zip(&at[skip..]).map(|(&n, ix)| if n == 1 { Ix::constant(0) } else { ix.clone() }))
}

/// Position along one axis.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Ix {
    /// `constant + Σ factor · loop counter`: becomes strides and an offset of a load, run-time numbers.
    Affine { constant: Number, terms: Terms },
    /// An i64 value of the straight line; loads at it are clamped by the kernel IR.
    Computed(Value),
}

/// The linear part of an affine position.
pub type Terms = SmallVec<[Term; 2]>;

/// The counter of a loop axis times a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term {
    pub axis: u32,
    pub factor: Number,
}

// Copies the terms as they lie: the derived one takes them one by one.
impl Clone for Ix {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Ix::Affine { constant, terms } => Ix::Affine { constant: *constant, terms: SmallVec::from_slice(terms) },
            Ix::Computed(v) => Ix::Computed(*v),
        }
    }
}

impl Ix {
    pub fn constant(constant: isize) -> Self {
        Ix::Affine { constant: Number::fixed(constant), terms: SmallVec::new() }
    }
    /// The counter of a loop axis.
    pub fn axis(axis: u32) -> Self {
        Ix::Affine { constant: Number::ZERO, terms: smallvec![Term { axis, factor: Number::ONE }] }
    }
}

/// Position within an array, one [`Ix`] per axis.
pub type Index = SmallVec<[Ix; 4]>;

/// What a primitive's lowering may ask for.
///
/// A lowering may hold for other extents. It goes by ranks, dtypes and parameters of the primitive as it likes, and by which extents are 0, 1 and equal to one another. All else that it makes of
/// extents it makes of [`Number`]s, which it asks for by [`extent`](Self::extent), and what it decides by them it decides by [`holds`](Self::holds).
pub trait Pointwise: Arithmetic {
    /// The value of input `k` at an index of that input (as many entries as it has axes).
    fn input(&mut self, k: usize, at: &[Ix]) -> Lane;
    /// The value of input `k` where `mask` (bool) holds; zero elsewhere, where nothing is read. For positions that may lie outside.
    fn input_masked(&mut self, k: usize, at: &[Ix], mask: Value) -> Lane;
    /// Number of inputs.
    fn inputs(&self) -> usize;
    /// Shape of input `k` in this binding of shapes.
    fn input_shape(&self, k: usize) -> &[usize];
    /// Shape of the equation's shape operand `k` ([`crate::Equation::shapes`]).
    fn shape_operand(&self, k: usize) -> &[usize];
    fn input_dtype(&self, k: usize) -> DType;
    /// Shape of the output that is asked for.
    fn output_shape(&self) -> &[usize];
    /// The straight line being written.
    fn emit(&mut self) -> &mut Emit;
    /// A number that depends on shapes or parameters: becomes a run-time parameter, so that it is not part of the machine code.
    fn number(&mut self, dtype: DType, number: Number) -> Value;
    /// The i64 value of a position.
    fn position(&mut self, at: &Ix) -> Value;
    /// An extent of the equation.
    fn extent(&mut self, place: Place) -> Number {
        Number::fixed(match place {
            Place::Input(k, axis) => self.input_shape(k)[axis],
            Place::Shape(k, axis) => self.shape_operand(k)[axis],
            Place::Output(axis) => self.output_shape()[axis],
        } as isize)
    }
    /// The extents of input `k`.
    fn input_extents(&mut self, k: usize) -> Extents {
        (0..self.input_shape(k).len()).map(|axis| self.extent(Place::Input(k, axis))).collect()
    }
    /// The extents of the output that is asked for.
    fn output_extents(&mut self) -> Extents {
        (0..self.output_shape().len()).map(|axis| self.extent(Place::Output(axis))).collect()
    }
    /// `a + b`, affine if both are.
    fn offset(&mut self, a: &Ix, b: &Ix) -> Ix {
        match (a, b) {
            (Ix::Affine { constant: p, terms: s }, Ix::Affine { constant: q, terms: t }) => {
                let mut terms: Terms = SmallVec::from_slice(s);
                for term in t {
                    match terms.iter().position(|known| known.axis == term.axis) {
                        Some(i) => {
                            terms[i].factor = self.sum(terms[i].factor, term.factor);
                            if self.equal(terms[i].factor, Number::ZERO) {
                                terms.remove(i);
                            }
                        }
                        None => terms.push(*term),
                    }
                }
                Ix::Affine { constant: self.sum(*p, *q), terms }
            }
            (zero, other) | (other, zero) if self.is_zero(zero) => other.clone(),
            _ => {
                let (a, b) = (self.position(a), self.position(b));
                Ix::Computed(self.emit().add(a, b))
            }
        }
    }
    /// Whether a position is 0, at every point.
    fn is_zero(&mut self, at: &Ix) -> bool {
        match at {
            Ix::Affine { constant, terms } => terms.is_empty() && self.equal(*constant, Number::ZERO),
            Ix::Computed(_) => false,
        }
    }
    /// `scale · at + offset`, affine if `at` is.
    fn affine(&mut self, at: &Ix, scale: Number, offset: Number) -> Ix {
        match at {
            Ix::Affine { constant, terms } => {
                let scaled = self.product(*constant, scale);
                let constant = self.sum(scaled, offset);
                let terms = match self.equal(scale, Number::ZERO) {
                    true => SmallVec::new(),
                    false => small(terms.iter().map(|t| Term { factor: self.product(t.factor, scale), ..*t })),
                };
                Ix::Affine { constant, terms }
            }
            Ix::Computed(v) => {
                let mut v = *v;
                if !self.equal(scale, Number::ONE) {
                    let s = self.number(DType::I64, scale);
                    v = self.emit().mul(v, s);
                }
                if !self.equal(offset, Number::ZERO) {
                    let o = self.number(DType::I64, offset);
                    v = self.emit().add(v, o);
                }
                Ix::Computed(v)
            }
        }
    }
    /// The row-major digits of a position along an axis of extent `Π extents`: its index in an array of shape `extents` (none of them 0). By division,
    /// unless the loop axes permit an affine answer.
    fn split(&mut self, at: &Ix, extents: &[Number]) -> Index {
        let mut rest = self.position(at);
        let mut digits = Index::new();
        for &n in extents[1..].iter().rev() {
            let n = self.number(DType::I64, n);
            digits.push(Ix::Computed(self.emit().binary(BinaryOp::Rem, rest, n)));
            rest = self.emit().div(rest, n);
        }
        digits.push(Ix::Computed(rest));
        digits.reverse();
        digits
    }
    /// Row-major position of an index of an array of shape `extents`: `Σ stride · at`, affine if all of `at` is.
    fn join(&mut self, at: &[Ix], extents: &[Number]) -> Ix {
        let mut sum = Ix::constant(0);
        for (ix, stride) in at.iter().zip(self.row_strides(extents)) {
            let term = self.affine(ix, stride, Number::ZERO);
            sum = self.offset(&sum, &term);
        }
        sum
    }
    /// An index of an array of shape `from` as the index of the same element, counted in row-major order, of an array of shape `to`. Axes
    /// are taken in the smallest blocks of equal size, so that those which a reshape leaves alone stay as they are.
    fn reshape(&mut self, at: &[Ix], from: &[Number], to: &[Number]) -> Index {
        let mut index: Index = small(to.iter().map(|_| Ix::constant(0)));
        if from.contains(&Number::ZERO) {
            return index;
        }
        for (of, into) in self.runs(from, to) {
            let block = self.join(&at[of.clone()], &from[of]);
            let digits = if into.len() == 1 { smallvec![block] } else { self.split(&block, &to[into.clone()]) };
            for (slot, digit) in index[into].iter_mut().zip(digits) {
                *slot = digit;
            }
        }
        index
    }
}
