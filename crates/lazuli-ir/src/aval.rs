//! Abstract values: what is known of an array without its data.

use lazuli_kernel::{DType, Shape, shape, small};
use std::fmt;
use std::sync::LazyLock;

/// dtype and shape.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Aval {
    pub dtype: DType,
    pub shape: Shape,
}

// Without a call, as shapes are short.
impl Clone for Aval {
    #[inline]
    fn clone(&self) -> Self {
        Self { dtype: self.dtype, shape: small(self.shape.iter().copied()) }
    }
}

impl Aval {
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into() }
    }
    pub fn scalar(dtype: DType) -> Self {
        Self { dtype, shape: Shape::new() }
    }
    /// That of all scalars of a dtype.
    pub fn of_scalars(dtype: DType) -> &'static Aval {
        static ALL: LazyLock<[Aval; DType::ALL.len()]> = LazyLock::new(|| DType::ALL.map(Aval::scalar));
        ALL.iter().find(|a| a.dtype == dtype).expect("it is one of all dtypes")
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// Number of elements.
    pub fn size(&self) -> usize {
        shape::size(&self.shape)
    }
    /// Whether its bytes could be addressed at all: fewer than 2⁴⁸, which no machine has and up to
    /// which plans are verified.
    pub fn is_addressable(&self) -> bool {
        is_addressable(self.dtype, &self.shape)
    }
    /// Bytes of a contiguous array of this aval.
    pub fn nbytes(&self) -> usize {
        self.size() * self.dtype.itemsize()
    }
}

pub(crate) fn is_addressable(dtype: DType, shape: &[usize]) -> bool {
    let bytes = shape.iter().try_fold(dtype.itemsize(), |n, &extent| n.checked_mul(extent.max(1)));
    bytes.is_some_and(|n| n < 1 << 48)
}

/// `f32[2,3]`, `bool[]`.
impl fmt::Display for Aval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(|n| n.to_string()).collect();
        write!(f, "{}[{}]", self.dtype.short_name(), dims.join(","))
    }
}

/// An extent in a parameter of a primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    Known(usize),
    /// The extent of axis `axis` of the equation's shape operand number `operand` ([`crate::Equation::shapes`]): it stays symbolic, so that a shapeless
    /// trace holds for other shapes.
    Of {
        operand: u32,
        axis: u32,
    },
    /// A number that a rule read of an extent, in a graph that is being built [for any shapes](crate::Builder::for_any_shapes). Finished ones have none.
    Open(usize),
}

impl Dim {
    /// The extent, given the avals of the equation's shape operands.
    pub fn resolve(self, shapes: &[&Aval]) -> usize {
        match self {
            Dim::Known(n) | Dim::Open(n) => n,
            Dim::Of { operand, axis } => shapes[operand as usize].shape[axis as usize],
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Known(n)
    }
}

/// `4`, or `#0.1` for axis 1 of shape operand 0; `?4` while it is open.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Open(n) => write!(f, "?{n}"),
            Dim::Of { operand, axis } => write!(f, "#{operand}.{axis}"),
        }
    }
}

/// `(0,1)`: axes as parameters print.
pub fn show_axes(axes: &[usize]) -> String {
    format!("({})", axes.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(","))
}

/// `(2,#0.1)`: extents as parameters print.
pub fn show_dims(dims: &[Dim]) -> String {
    format!("({})", dims.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(","))
}
