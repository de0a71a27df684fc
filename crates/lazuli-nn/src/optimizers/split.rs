//! Two optimizers for the parameters of one model.

use super::{Optimizer, Place, Rate};
use lazuli_core::Array;
use lazuli_core::tree::{Constant, Leaf, LeafMut};
use lazuli_derive::Tree;

/// Hands each parameter to one of two optimizers, by its path. Either may be a `Split` again.
///
/// ```
/// use lazuli_nn::optimizers::{Adam, Muon, Split};
/// let optimizer = Split::new(|path| path.ends_with("weight"), Muon::new(0.02), Adam::new(1e-3));
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Split<A, B> {
    takes: Filter,
    /// For the parameters that the filter takes.
    pub first: A,
    /// For the others.
    pub second: B,
}

/// A constant, by the function's address.
#[derive(Debug, Clone, Copy)]
struct Filter(fn(&str) -> bool);

impl lazuli_core::Tree for Filter {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Constant(Constant::new::<Filter>(&(self.0 as usize).to_le_bytes())));
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        f(LeafMut::Constant(self));
    }
}

impl<A: Optimizer, B: Optimizer> Split<A, B> {
    /// The parameters whose paths `takes` accepts go to `first`, the others to `second`.
    pub fn new(takes: fn(&str) -> bool, first: A, second: B) -> Split<A, B> {
        Split { takes: Filter(takes), first, second }
    }
}

/// The rate is that of the first.
impl<A: Optimizer, B: Optimizer> Optimizer for Split<A, B> {
    fn rate(&self) -> &Rate {
        self.first.rate()
    }
    fn rate_mut(&mut self) -> &mut Rate {
        self.first.rate_mut()
    }
    fn begin(&mut self) {
        self.first.begin();
        self.second.begin();
    }
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        match (self.takes.0)(place.path) {
            true => self.first.step(place, gradient, parameter),
            false => self.second.step(place, gradient, parameter),
        }
    }
}
