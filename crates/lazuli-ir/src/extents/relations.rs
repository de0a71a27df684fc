//! Extents of an equation as arithmetic on those of its operands.
//!
//! Which extents are [the same](crate::Primitive::same_extents) a primitive says in pairs. What else its shape rule makes of extents, and what it asks of them, it
//! [states](crate::Primitive::relate) as arithmetic on [`Number`]s, so that the shapes of a program follow for other arguments without its rules.

use super::Place;
use crate::aval::Dim;
use crate::number::{Extents, Number, Operation};
use std::ops::Range;

/// Who is told how the extents of an equation are related.
pub trait Relations {
    /// An extent of the equation.
    fn extent(&mut self, place: Place) -> Number;
    /// A number of two others.
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number;
    /// An extent is this number.
    fn is(&mut self, place: Place, number: Number);
    /// Two numbers are equal.
    fn equal(&mut self, a: Number, b: Number);
    /// A number is no more than another.
    fn at_most(&mut self, a: Number, b: Number);

    fn sum(&mut self, numbers: &[Number]) -> Number {
        numbers.iter().fold(Number::ZERO, |sum, &n| self.compute(Operation::Sum, sum, n))
    }
    fn product(&mut self, numbers: &[Number]) -> Number {
        numbers.iter().fold(Number::ONE, |product, &n| self.compute(Operation::Product, product, n))
    }
    /// What an operation makes of one number.
    fn of(&mut self, operation: Operation, n: Number) -> Number {
        self.compute(operation, n, Number::ZERO)
    }
    /// The extents of these axes of input `k`.
    fn axes(&mut self, k: usize, axes: Range<usize>) -> Extents {
        axes.map(|axis| self.extent(Place::Input(k, axis))).collect()
    }
    /// An extent that parameters state.
    fn dim(&mut self, dim: Dim) -> Number {
        match dim {
            Dim::Known(n) | Dim::Open(n) => Number::fixed(n as isize),
            Dim::Of { operand, axis } => self.extent(Place::Shape(operand as usize, axis as usize)),
        }
    }
    /// The extents that parameters state of the axes of the output from number `first` on.
    fn stated(&mut self, dims: &[Dim], first: usize) -> Extents {
        let extents: Extents = dims.iter().map(|&dim| self.dim(dim)).collect();
        extents.iter().enumerate().for_each(|(i, &n)| self.is(Place::Output(first + i), n));
        extents
    }
}
