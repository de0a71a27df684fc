//! Shapes, strides and layouts. Strides and offsets count elements, not bytes.

use crate::error::{Error, Result};
use crate::small;
use smallvec::SmallVec;

/// Extents of the axes, outermost first. Rank 0 is a scalar.
pub type Shape = SmallVec<[usize; 4]>;
/// Distance in elements between neighbours along each axis; negative after a flip, 0 where broadcast.
pub type Strides = SmallVec<[isize; 4]>;

/// Number of elements of a shape (1 for a scalar). A number beyond all memory stays one, so that it is not taken for another.
pub fn size(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n, &extent| n.saturating_mul(extent))
}

/// Whether two shapes, or strides, are the same: short lists, which are compared in place, as to call `memcmp` takes longer.
#[inline]
pub fn is_same<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// Strides of a row-contiguous (C order) array of this shape.
pub fn row_strides(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for (stride, &n) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= n.max(1) as isize;
    }
    strides
}

/// The shape that `a` and `b` broadcast to by NumPy's rule: aligned at the last axis, an extent of 1 stretches.
pub fn broadcast(op: &str, a: &[usize], b: &[usize]) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let mut out: Shape = SmallVec::from_elem(1, rank);
    for (i, n) in out.iter_mut().enumerate() {
        let at = |s: &[usize]| (i + s.len()).checked_sub(rank).map_or(1, |k| s[k]);
        *n = match (at(a), at(b)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => {
                return Err(Error::value(
                    op,
                    format!(
                        "shapes {} and {} cannot be broadcast: axes are aligned at the last one, and there extents must be equal or 1",
                        show(a),
                        show(b)
                    ),
                ));
            }
        };
    }
    Ok(out)
}

/// `(2, 3)`, `(4,)`, `()`: as Python prints a tuple.
pub fn show(shape: &[usize]) -> String {
    tuple(shape)
}

/// Items as Python writes a tuple of them.
pub fn tuple(items: impl IntoIterator<Item: std::fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match &items[..] {
        [one] => format!("({one},)"),
        _ => format!("({})", items.join(", ")),
    }
}

/// An axis given as a Python index (negative counts from the end), or an error that names the op.
pub fn normalize_axis(op: &str, axis: isize, rank: usize) -> Result<usize> {
    let k = if axis < 0 { axis + rank as isize } else { axis };
    if (0..rank as isize).contains(&k) {
        return Ok(k as usize);
    }
    Err(Error::index(op, format!("axis {axis} is out of bounds for an array with {rank} dimensions")))
}

/// Where the elements of an array lie in its buffer.
#[derive(Debug, Eq, Hash)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "the derived comparison, without calls")]
pub struct Layout {
    pub shape: Shape,
    pub strides: Strides,
    /// Of the element with all indices 0.
    pub offset: isize,
}

impl PartialEq for Layout {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset && is_same(&self.shape, &other.shape) && is_same(&self.strides, &other.strides)
    }
}

// Every call of a compiled function clones some: without calls, as they are short.
impl Clone for Layout {
    #[inline]
    fn clone(&self) -> Self {
        let (shape, strides) = (small(self.shape.iter().copied()), small(self.strides.iter().copied()));
        Self { shape, strides, offset: self.offset }
    }
}

impl Layout {
    /// Row-contiguous from the start of the buffer.
    pub fn row(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Self { strides: row_strides(&shape), shape, offset: 0 }
    }
    pub fn size(&self) -> usize {
        size(&self.shape)
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// Whether the elements follow one another in row-major order (axes of extent 1 may have any stride).
    pub fn is_row_contiguous(&self) -> bool {
        let mut step = 1isize;
        for (&n, &s) in self.shape.iter().zip(&self.strides).rev() {
            if n != 1 && s != step {
                return self.size() == 0;
            }
            step *= n as isize;
        }
        true
    }
    /// Smallest and largest element position touched, or `None` if there are no elements.
    pub fn span(&self) -> Option<(isize, isize)> {
        if self.size() == 0 {
            return None;
        }
        let (mut lo, mut hi) = (self.offset, self.offset);
        for (&n, &s) in self.shape.iter().zip(&self.strides) {
            let reach = (n as isize - 1) * s;
            if reach < 0 { lo += reach } else { hi += reach }
        }
        Some((lo, hi))
    }
}
