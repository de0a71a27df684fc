//! Values at an index: how every primitive whose outputs can be computed point by point is lowered.
//!
//! Elementwise operations, views, gathers, padding, concatenation, iota and random bits all answer one question: *what is the
//! value of the output at this index?*, by asking for values of their inputs at indices of their own. Whether an input is then
//! loaded from memory or computed on the spot (fused) is the compiler's choice, hidden behind [`Pointwise::input`].

use lazuli_kernel::{BinaryOp, DType, Emit, Scalar, Value, small};
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
    /// `constant + Σ coefficient · loop counter`: becomes strides and an offset of a load, run-time numbers.
    Affine { constant: isize, terms: SmallVec<[(u32, isize); 2]> },
    /// An i64 value of the straight line; loads at it are clamped by the kernel IR.
    Computed(Value),
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
        Ix::Affine { constant, terms: SmallVec::new() }
    }
    /// The counter of a loop axis.
    pub fn axis(axis: u32) -> Self {
        Ix::Affine { constant: 0, terms: smallvec![(axis, 1)] }
    }
}

/// Position within an array, one [`Ix`] per axis.
pub type Index = SmallVec<[Ix; 4]>;

/// What a primitive's lowering may ask for.
pub trait Pointwise {
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
    fn number(&mut self, value: Scalar) -> Value;
    /// The i64 value of a position.
    fn position(&mut self, at: &Ix) -> Value;
    /// `a + b`, affine if both are.
    fn offset(&mut self, a: &Ix, b: &Ix) -> Ix {
        match (a, b) {
            (Ix::Affine { constant: p, terms: s }, Ix::Affine { constant: q, terms: t }) => {
                let mut terms: SmallVec<[(u32, isize); 2]> = SmallVec::from_slice(s);
                for &(axis, c) in t {
                    match terms.iter_mut().find(|(a, _)| *a == axis) {
                        Some((_, sum)) => *sum += c,
                        None => terms.push((axis, c)),
                    }
                }
                terms.retain(|(_, c)| *c != 0);
                Ix::Affine { constant: p + q, terms }
            }
            (zero, other) | (other, zero) if *zero == Ix::constant(0) => other.clone(),
            _ => {
                let (a, b) = (self.position(a), self.position(b));
                Ix::Computed(self.emit().add(a, b))
            }
        }
    }
    /// `scale · at + offset`, affine if `at` is.
    fn affine(&mut self, at: &Ix, scale: isize, offset: isize) -> Ix {
        match at {
            Ix::Affine { constant, terms } => Ix::Affine {
                constant: constant * scale + offset,
                terms: if scale == 0 { SmallVec::new() } else { small(terms.iter().map(|&(a, c)| (a, c * scale))) },
            },
            Ix::Computed(v) => {
                let (mut v, scale, offset) = (*v, Scalar::i64(scale as i64), Scalar::i64(offset as i64));
                if scale.bits != 1 {
                    let s = self.number(scale);
                    v = self.emit().mul(v, s);
                }
                if offset.bits != 0 {
                    let o = self.number(offset);
                    v = self.emit().add(v, o);
                }
                Ix::Computed(v)
            }
        }
    }
    /// The row-major digits of a position along an axis of extent `Π extents`: its index in an array of shape `extents` (none of them 0). By division,
    /// unless the loop axes permit an affine answer.
    fn split(&mut self, at: &Ix, extents: &[usize]) -> Index {
        let mut rest = self.position(at);
        let mut digits = Index::new();
        for &n in extents[1..].iter().rev() {
            let n = self.number(Scalar::i64(n as i64));
            digits.push(Ix::Computed(self.emit().binary(BinaryOp::Rem, rest, n)));
            rest = self.emit().div(rest, n);
        }
        digits.push(Ix::Computed(rest));
        digits.reverse();
        digits
    }
    /// Row-major position of an index of an array of shape `extents`: `Σ stride · at`, affine if all of `at` is.
    fn join(&mut self, at: &[Ix], extents: &[usize]) -> Ix {
        let mut sum = Ix::constant(0);
        for (ix, stride) in at.iter().zip(lazuli_kernel::shape::row_strides(extents)) {
            let term = self.affine(ix, stride, 0);
            sum = self.offset(&sum, &term);
        }
        sum
    }
    /// An index of an array of shape `from` as the index of the same element, counted in row-major order, of an array of shape `to`. Axes
    /// are taken in the smallest blocks of equal size, so that those which a reshape leaves alone stay as they are.
    fn reshape(&mut self, at: &[Ix], from: &[usize], to: &[usize]) -> Index {
        let mut index: Index = small(to.iter().map(|_| Ix::constant(0)));
        if from.contains(&0) {
            return index;
        }
        let (mut i, mut j) = (0, 0);
        while i < from.len() && j < to.len() {
            let (first, start) = (i, j);
            let (mut m, mut n) = (from[i], to[j]);
            (i, j) = (i + 1, j + 1);
            while m != n {
                if m < n {
                    m *= from[i];
                    i += 1;
                } else {
                    n *= to[j];
                    j += 1;
                }
            }
            let block = self.join(&at[first..i], &from[first..i]);
            let digits = if j - start == 1 { smallvec![block] } else { self.split(&block, &to[start..j]) };
            for (slot, digit) in index[start..j].iter_mut().zip(digits) {
                *slot = digit;
            }
        }
        index
    }
}
