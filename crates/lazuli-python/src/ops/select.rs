//! Elements by their positions.

use crate::array::{PyArray, wrap};
use crate::convert::{ArrayLike, On};
use crate::errors;
use lazuli_core::ops;
use lazuli_kernel::ScatterOp;
use pyo3::prelude::*;
use pyo3::types::PyDict;

functions! { add_functions;
    /// Elements at integer positions along an axis.
    ///
    /// Args:
    ///     a: an array.
    ///     indices: integers; negative ones count from the end. Arrays of positions out of bounds take the nearest element.
    ///     axis: the axis; by default the array is flattened first.
    ///
    /// Returns:
    ///     array: with the axes of ``indices`` in place of the axis.
    ///
    /// Raises:
    ///     IndexError: ``indices`` are no integers.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.take(mx.array([10, 20, 30]), mx.array([2, 0, -1]))
    ///     array([30, 10, 30], dtype=int32)
    fn take(a, indices, axis=None, *) [a: ArrayLike, indices: ArrayLike, axis: Option<isize>] -> PyArray { wrap(|| ops::take(&a.0, &indices.0, axis)) }
    /// Elements at positions along one axis: ``out[i, j] = a[i, indices[i, j]]`` for the last axis of a matrix.
    ///
    /// Args:
    ///     a: an array.
    ///     indices: integers, an array of the rank of ``a`` that broadcasts with it along the other axes.
    ///     axis: the axis; None flattens both.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.take_along_axis(mx.array([[1, 2], [3, 4]]), mx.array([[1], [0]]), axis=1)
    ///     array([[2],
    ///            [3]], dtype=int32)
    fn take_along_axis(a, indices, axis=-1, *) [a: ArrayLike, indices: ArrayLike, axis: Option<isize>] -> PyArray {
        wrap(|| ops::take_along_axis(&a.0, &indices.0, axis))
    }
    /// The array with values put at positions along one axis, as ``take_along_axis`` finds them.
    ///
    /// Args:
    ///     a: an array; it stays as it is.
    ///     indices: integers, an array of the rank of ``a``.
    ///     values: broadcast to the shape of ``indices``, converted to the dtype of ``a``.
    ///     axis: the axis; None flattens all three.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.put_along_axis(mx.zeros((2, 2)), mx.array([[1], [0]]), mx.array(5.0), axis=1)
    ///     array([[0, 5],
    ///            [5, 0]], dtype=float32)
    fn put_along_axis(a, indices, values, axis=None, *) [a: ArrayLike, indices: ArrayLike, values: ArrayLike, axis: Option<isize>] -> PyArray {
        wrap(|| ops::put_along_axis(&a.0, &indices.0, &values.0, axis, ScatterOp::Assign))
    }
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions(m)
}
