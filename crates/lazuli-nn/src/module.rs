//! What a module is, and switching between training and evaluation.

use lazuli_core::tree::{Constant, Leaf, LeafMut};
use lazuli_core::{Array, Tree};
use std::fmt::Debug;

/// A tree with a `forward`: implement it for a struct that derives `Clone`, `Debug` and `Tree`.
pub trait Module: Tree + CloneModule + Debug {
    /// The module's output for one input.
    fn forward(&self, x: &Array) -> Array;
}

/// Cloning behind `Box<dyn Module>`: every module that is `Clone` has it.
pub trait CloneModule {
    /// A copy in a box.
    fn clone_module(&self) -> Box<dyn Module>;
}

impl<T: Module + Clone> CloneModule for T {
    fn clone_module(&self) -> Box<dyn Module> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Module> {
    fn clone(&self) -> Self {
        (**self).clone_module()
    }
}

/// Whether a module trains: a constant leaf, so a compiled function is traced once for either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Training(pub bool);

impl Tree for Training {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Constant(Constant::hashed(self)));
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        f(LeafMut::Constant(self));
    }
}

/// Sets every module in the tree to training, or to evaluation.
///
/// ```
/// use lazuli_nn::{Dropout, Module, set_training};
/// let mut layer = Dropout::new(0.5);
/// set_training(&mut layer, false);
/// assert_eq!(layer.forward(&lazuli_core::array([1.0, 2.0])).to_vec::<f32>(), [1.0, 2.0]);
/// ```
pub fn set_training(tree: &mut (impl Tree + ?Sized), on: bool) {
    tree.visit_mut(&mut |leaf| {
        if let LeafMut::Constant(c) = leaf
            && let Some(training) = c.downcast_mut::<Training>()
        {
            *training = Training(on);
        }
    });
}
