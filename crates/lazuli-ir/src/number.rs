//! Whole numbers that lowering goes by, with where they come from.
//!
//! What a lowering makes of extents (parameters, offsets, strides) is a [`Number`], so that who keeps origins can find it again for other extents without lowering anew. It is computed by
//! [`Operation`]s and looked at through [`Relation`]s alone, which the [lowering context](crate::Pointwise) sees.

use crate::prims::Bound;
use lazuli_kernel::{DType, Layout, Scalar, small};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// A number, and its origin. Numbers of one value are equal, whatever their origins.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    pub value: isize,
    /// Where it comes from, to who keeps origins; 0 for a number that is the same for all extents.
    pub origin: u32,
}

/// One for each axis.
pub type Extents = SmallVec<[Number; 4]>;

impl Number {
    pub const ZERO: Number = Number::fixed(0);
    pub const ONE: Number = Number::fixed(1);

    /// A number that depends on no extent.
    #[inline]
    pub const fn fixed(value: isize) -> Self {
        Number { value, origin: 0 }
    }
    /// Whether it is this number for all extents.
    #[inline]
    pub fn is_fixed(self) -> bool {
        self.origin == 0
    }
    #[inline]
    pub(crate) fn is_always(self, value: isize) -> bool {
        self.is_fixed() && self.value == value
    }
    /// The parameter that it becomes.
    pub fn scalar(self, dtype: DType) -> Scalar {
        Scalar::from_i64(dtype, self.value as i64)
    }
}

impl PartialEq for Number {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Number {}

impl Hash for Number {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

/// Numbers that depend on no extent.
pub fn fixed(numbers: &[usize]) -> Extents {
    small(numbers.iter().map(|&n| Number::fixed(n as isize)))
}

/// What makes a number of two others. The last three take the first alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Sum,
    Product,
    /// Rounded down; 0 by 0, as is the remainder.
    Quotient,
    Remainder,
    /// The lesser of the two.
    Least,
    /// The same, but at least 1.
    AtLeastOne,
    /// On an axis of this extent the first position of what a bound names.
    Start(Bound),
    /// The number of elements that a bound names there.
    Count(Bound),
}

impl Operation {
    /// Wraps around, as numbers do that are too large for an array.
    #[inline]
    pub fn apply(self, a: isize, b: isize) -> isize {
        match self {
            Operation::Sum => a.wrapping_add(b),
            Operation::Product => a.wrapping_mul(b),
            Operation::Quotient => a.checked_div_euclid(b).unwrap_or(0),
            Operation::Remainder => a.checked_rem_euclid(b).unwrap_or(0),
            Operation::Least => a.min(b),
            Operation::AtLeastOne => a.max(1),
            Operation::Start(bound) => bound.resolve(a as usize).0 as isize,
            Operation::Count(bound) => bound.resolve(a as usize).1 as isize,
        }
    }
    /// What needs no computing, as it is one of the two, or the same for all extents.
    ///
    /// ```
    /// use lazuli_ir::{Number, Operation};
    /// let n = Number { value: 7, origin: 1 };
    /// assert_eq!(Operation::Product.at_once(n, Number::ONE).unwrap().origin, 1);
    /// assert!(Operation::Product.at_once(n, Number::ZERO).unwrap().is_fixed());
    /// assert!(Operation::Product.at_once(n, n).is_none());
    /// ```
    #[inline]
    pub fn at_once(self, a: Number, b: Number) -> Option<Number> {
        match self {
            _ if a.is_fixed() && b.is_fixed() => Some(Number::fixed(self.apply(a.value, b.value))),
            Operation::Sum if b.is_always(0) => Some(a),
            Operation::Sum if a.is_always(0) => Some(b),
            Operation::Product if a.is_always(0) || b.is_always(0) => Some(Number::ZERO),
            Operation::Product | Operation::Quotient if b.is_always(1) => Some(a),
            Operation::Product if a.is_always(1) => Some(b),
            Operation::Quotient | Operation::Remainder if a.is_always(0) => Some(Number::ZERO),
            Operation::Start(Bound { start: None | Some(0), step: 1.., .. }) => Some(Number::ZERO),
            _ => None,
        }
    }
}

/// What a lowering may decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equal,
    Less,
}

impl Relation {
    #[inline]
    pub fn holds(self, a: isize, b: isize) -> bool {
        match self {
            Relation::Equal => a == b,
            Relation::Less => a < b,
        }
    }
}

/// Arithmetic on numbers, and decisions by them. By itself it is on their values alone; who keeps origins notes both.
pub trait Arithmetic {
    /// A number of two others.
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        Number::fixed(operation.apply(a.value, b.value))
    }
    /// Whether this holds of two numbers: a decision, on which what is written may depend.
    fn holds(&mut self, relation: Relation, a: Number, b: Number) -> bool {
        relation.holds(a.value, b.value)
    }
    fn sum(&mut self, a: Number, b: Number) -> Number {
        self.compute(Operation::Sum, a, b)
    }
    fn product(&mut self, a: Number, b: Number) -> Number {
        self.compute(Operation::Product, a, b)
    }
    fn negative(&mut self, a: Number) -> Number {
        self.compute(Operation::Product, a, Number::fixed(-1))
    }
    fn equal(&mut self, a: Number, b: Number) -> bool {
        self.holds(Relation::Equal, a, b)
    }
    /// Strides of a row-contiguous array.
    fn row_strides(&mut self, extents: &[Number]) -> Extents {
        let mut strides: Extents = SmallVec::from_elem(Number::ONE, extents.len());
        for i in (1..extents.len()).rev() {
            let step = self.compute(Operation::AtLeastOne, extents[i], Number::ZERO);
            strides[i - 1] = self.product(strides[i], step);
        }
        strides
    }
    /// The smallest runs of axes of two shapes of one size, which is not 0, that have as many elements in one as in the other.
    fn runs(&mut self, from: &[Number], to: &[Number]) -> SmallVec<[(Range<usize>, Range<usize>); 4]> {
        let mut runs = SmallVec::new();
        let (mut i, mut j) = (0, 0);
        while i < from.len() && j < to.len() {
            let (first, start) = (i, j);
            let (mut m, mut n) = (from[i], to[j]);
            (i, j) = (i + 1, j + 1);
            while !self.equal(m, n) {
                if self.holds(Relation::Less, m, n) {
                    m = self.product(m, from[i]);
                    i += 1;
                } else {
                    n = self.product(n, to[j]);
                    j += 1;
                }
            }
            runs.push((first..i, start..j));
        }
        runs
    }
}

/// Arithmetic on values.
#[derive(Debug)]
pub struct Values;

impl Arithmetic for Values {}

/// Where the elements of an array lie in its buffer: a [`Layout`] as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strided {
    pub extents: Extents,
    pub strides: Extents,
    /// Of the element with all indices 0.
    pub offset: Number,
}

impl Strided {
    /// Row by row, from the start of the buffer on.
    pub fn row(cx: &mut dyn Arithmetic, extents: Extents) -> Self {
        Self { strides: cx.row_strides(&extents), extents, offset: Number::ZERO }
    }
    /// Like this, whatever other extents are.
    pub fn fixed(layout: &Layout) -> Self {
        let strides = small(layout.strides.iter().map(|&stride| Number::fixed(stride)));
        Self { extents: fixed(&layout.shape), strides, offset: Number::fixed(layout.offset) }
    }
    /// How it lies here.
    pub fn layout(&self) -> Layout {
        let shape = small(self.extents.iter().map(|n| n.value as usize));
        Layout { shape, strides: small(self.strides.iter().map(|n| n.value)), offset: self.offset.value }
    }
    /// The lowest element and the highest, where there are any.
    pub fn span(&self, cx: &mut dyn Arithmetic) -> Option<(Number, Number)> {
        let (mut low, mut high) = (self.offset, self.offset);
        for (&n, &stride) in self.extents.iter().zip(&self.strides) {
            if cx.equal(n, Number::ZERO) {
                return None;
            }
            let last = cx.sum(n, Number::fixed(-1));
            let reach = cx.product(last, stride);
            match cx.holds(Relation::Less, reach, Number::ZERO) {
                true => low = cx.sum(low, reach),
                false => high = cx.sum(high, reach),
            }
        }
        Some((low, high))
    }
    /// Whether the elements follow one another in row-major order (axes of extent 1 may have any stride).
    pub fn is_row_contiguous(&self, cx: &mut dyn Arithmetic) -> bool {
        if self.extents.iter().any(|n| cx.equal(*n, Number::ZERO)) {
            return true;
        }
        let steps = cx.row_strides(&self.extents);
        let mut axes = self.extents.iter().zip(self.strides.iter().zip(steps));
        axes.all(|(&n, (&stride, step))| cx.equal(n, Number::ONE) || cx.equal(stride, step))
    }
}
