//! Whole numbers that lowering goes by, with where they come from.
//!
//! What a lowering makes of extents (parameters, offsets, strides) is a [`Number`], so that who keeps origins can find it again for other extents without lowering anew. It is computed by
//! [`Operation`]s and looked at through [`Relation`]s alone, which the [lowering context](crate::Pointwise) sees.

use crate::prims::Bound;
use lazuli_kernel::{DType, Scalar, small};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

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

/// Strides of a row-contiguous array of these extents.
pub fn row_strides(extents: &[Number], mut compute: impl FnMut(Operation, Number, Number) -> Number) -> Extents {
    let mut strides: Extents = SmallVec::from_elem(Number::ONE, extents.len());
    for i in (1..extents.len()).rev() {
        let step = compute(Operation::AtLeastOne, extents[i], Number::ZERO);
        strides[i - 1] = compute(Operation::Product, strides[i], step);
    }
    strides
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
