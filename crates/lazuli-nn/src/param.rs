//! A parameter that can be frozen.

use lazuli_core::ops::Operand;
use lazuli_core::tree::{Constant, FIXED, Leaf, LeafMut};
use lazuli_core::{Array, DType, Tree};
use std::ops::{Deref, DerefMut};

/// An array that is trained unless it is frozen: see [`Parameters::freeze`](crate::Parameters::freeze). Otherwise it is used as the array
/// that it is. A plain [`Array`] in a struct is trained too, but cannot be frozen.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_nn::Param;
/// let scale = Param::from(array([1.0, 2.0]));
/// assert_eq!((array([3.0, 4.0]) * &scale).to_vec::<f32>(), [3.0, 8.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Param {
    value: Array,
    frozen: Frozen,
}

/// Whether a parameter is frozen: a constant leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Frozen(pub bool);

impl Param {
    /// Whether training leaves it alone.
    pub fn is_frozen(&self) -> bool {
        self.frozen.0
    }
}

impl From<Array> for Param {
    fn from(value: Array) -> Param {
        Param { value, frozen: Frozen(false) }
    }
}

impl Deref for Param {
    type Target = Array;
    fn deref(&self) -> &Array {
        &self.value
    }
}

impl DerefMut for Param {
    fn deref_mut(&mut self) -> &mut Array {
        &mut self.value
    }
}

impl Operand for Param {
    fn array(&self, _: Option<DType>) -> Array {
        self.value.clone()
    }
    fn dtype(&self) -> Option<DType> {
        Some(self.value.dtype())
    }
}

impl Tree for Param {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Open(if self.frozen.0 { FIXED } else { "Param" }, 0));
        f(Leaf::Constant(Constant::hashed(&self.frozen)));
        f(Leaf::Array(&self.value));
        f(Leaf::Close);
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        f(LeafMut::Constant(&mut self.frozen));
        f(LeafMut::Array(&mut self.value));
    }
}
