//! Reductions, running reductions, and sorting.

use super::axes;
use super::words::*;
use crate::array::{PyArray, wrap};
use crate::convert::{ArrayLike, Ints, On};
use crate::errors;
use lazuli_core::ops;
use lazuli_kernel::ScanOp;
use pyo3::prelude::*;
use pyo3::types::PyDict;

methods! { add_reductions;
    /// Sum over axes.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default. Negative ones count from the last.
    ///     keepdims: whether the axes stay, with extent 1.
    ///
    /// Returns:
    ///     array: in the array's dtype; int32 for bool and for integers below 32 bits. float16 and bfloat16 are summed in float32 and
    ///     rounded once.
    ///
    /// Raises:
    ///     IndexError: an axis is out of bounds. ValueError: an axis is named twice.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.sum(mx.array([[1, 2], [3, 4]]), axis=0)
    ///     array([4, 6], dtype=int32)
    fn sum(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::sum(a, axes(&axis), keepdims)) }
    /// Product over axes; arguments, dtypes and errors as for ``sum``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.prod(mx.array([[1, 2], [3, 4]]), axis=1)
    ///     array([2, 12], dtype=int32)
    fn prod(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::prod(a, axes(&axis), keepdims)) }
    /// Smallest element over axes; NaN if there is one.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default.
    ///     keepdims: whether the axes stay, with extent 1.
    ///
    /// Returns:
    ///     array: in the array's dtype.
    ///
    /// Raises:
    ///     ValueError: an axis of extent 0, or a complex array.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.min(mx.array([[3, 2], [1, 4]]), axis=0)
    ///     array([1, 2], dtype=int32)
    fn min(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::min(a, axes(&axis), keepdims)) }
    /// Largest element over axes; NaN if there is one. Arguments and errors as for ``min``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.max(mx.array([[3, 2], [1, 4]]), axis=0, keepdims=True)
    ///     array([[3, 4]], dtype=int32)
    fn max(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::max(a, axes(&axis), keepdims)) }
    /// Whether all elements over axes are not 0: bool. True over no elements.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default.
    ///     keepdims: whether the axes stay, with extent 1.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.all(mx.array([[1, 0], [3, 4]]), axis=1)
    ///     array([False, True], dtype=bool)
    fn all(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::all(a, axes(&axis), keepdims)) }
    /// Whether any element over axes is not 0: bool. False over no elements.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default.
    ///     keepdims: whether the axes stay, with extent 1.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.any(mx.array([[1, 0], [0, 0]]), axis=1)
    ///     array([True, False], dtype=bool)
    fn any(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::any(a, axes(&axis), keepdims)) }
    /// Arithmetic mean over axes, in the array's dtype; of integers and bool in float32. NaN over no elements.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default.
    ///     keepdims: whether the axes stay, with extent 1.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.mean(mx.array([[1, 2], [3, 4]]), axis=0)
    ///     array([2, 3], dtype=float32)
    fn mean(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::mean(a, axes(&axis), keepdims)) }
    /// Variance over axes: the mean of the squared distances from the mean; of integers and bool in float32.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default.
    ///     keepdims: whether the axes stay, with extent 1.
    ///     ddof: taken off the number of elements in the denominator; 1 gives the unbiased estimate. The array API calls it ``correction``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.var(mx.array([1.0, 2.0, 3.0]), ddof=1)
    ///     array(1, dtype=float32)
    fn var(axis=None, keepdims=False, ddof=0.0, *, correction=None) [a, axis: Option<Ints>, keepdims: bool, ddof: f64, correction: Option<f64>] -> PyArray {
        wrap(|| ops::var(a, axes(&axis), keepdims, correction.unwrap_or(ddof)))
    }
    /// Standard deviation over axes: the root of ``var``, with its arguments.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.std(mx.array([[0.0, 2.0], [1.0, 5.0]]), axis=1)
    ///     array([1, 2], dtype=float32)
    fn deviation as "std"(axis=None, keepdims=False, ddof=0.0, *, correction=None) [a, axis: Option<Ints>, keepdims: bool, ddof: f64, correction: Option<f64>] -> PyArray {
        wrap(|| ops::deviation(a, axes(&axis), keepdims, correction.unwrap_or(ddof)))
    }
    /// Logarithm of the sum of e^x over axes, without overflow; of integers and bool in float32.
    ///
    /// Args:
    ///     axis: an axis or several; all of them by default.
    ///     keepdims: whether the axes stay, with extent 1.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.logsumexp(mx.array([1000.0, 1000.0]))
    ///     array(1000.69, dtype=float32)
    fn logsumexp(axis=None, keepdims=False, *) [a, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::logsumexp(a, axes(&axis), keepdims)) }
    /// Position of the largest element along an axis: uint32. The first of equal ones; of the first NaN if there is one.
    ///
    /// Args:
    ///     axis: the axis; by default the position is that in the flattened array.
    ///     keepdims: whether the axis stays, with extent 1.
    ///
    /// Raises:
    ///     ValueError: an axis of extent 0.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.argmax(mx.array([[1, 5], [7, 2]]), axis=1)
    ///     array([1, 0], dtype=uint32)
    fn argmax(axis=None, keepdims=False, *) [a, axis: Option<isize>, keepdims: bool] -> PyArray { wrap(|| ops::argmax(a, axis, keepdims)) }
    /// Position of the smallest element along an axis: uint32. Arguments and errors as for ``argmax``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.argmin(mx.array([[1, 5], [7, 2]]))
    ///     array(0, dtype=uint32)
    fn argmin(axis=None, keepdims=False, *) [a, axis: Option<isize>, keepdims: bool] -> PyArray { wrap(|| ops::argmin(a, axis, keepdims)) }
    /// Running sum along an axis.
    ///
    /// Args:
    ///     axis: the axis; by default the array is flattened first.
    ///     reverse: whether to run from the last element to the first.
    ///     inclusive: whether element i of the result counts element i of the array.
    ///
    /// Returns:
    ///     array: in the array's dtype; int32 for bool.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.cumsum(mx.array([1, 2, 3]))
    ///     array([1, 3, 6], dtype=int32)
    ///     >>> mx.cumsum(mx.array([1, 2, 3]), reverse=True, inclusive=False)
    ///     array([5, 3, 0], dtype=int32)
    fn cumsum(axis=None, *, reverse=False, inclusive=True) [a, axis: Option<isize>, reverse: bool, inclusive: bool] -> PyArray {
        wrap(|| ops::cumulative(ScanOp::Sum, a, axis, reverse, inclusive))
    }
    /// Running product along an axis; arguments as for ``cumsum``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.cumprod(mx.array([1, 2, 3, 4]))
    ///     array([1, 2, 6, 24], dtype=int32)
    fn cumprod(axis=None, *, reverse=False, inclusive=True) [a, axis: Option<isize>, reverse: bool, inclusive: bool] -> PyArray {
        wrap(|| ops::cumulative(ScanOp::Prod, a, axis, reverse, inclusive))
    }
    /// Running maximum along an axis; arguments as for ``cumsum``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.cummax(mx.array([1, 3, 2, 4]))
    ///     array([1, 3, 3, 4], dtype=int32)
    fn cummax(axis=None, *, reverse=False, inclusive=True) [a, axis: Option<isize>, reverse: bool, inclusive: bool] -> PyArray {
        wrap(|| ops::cumulative(ScanOp::Max, a, axis, reverse, inclusive))
    }
    /// Running minimum along an axis; arguments as for ``cumsum``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.cummin(mx.array([3, 4, 1, 2]))
    ///     array([3, 3, 1, 1], dtype=int32)
    fn cummin(axis=None, *, reverse=False, inclusive=True) [a, axis: Option<isize>, reverse: bool, inclusive: bool] -> PyArray {
        wrap(|| ops::cumulative(ScanOp::Min, a, axis, reverse, inclusive))
    }
    /// Running logarithm of the sum of e^x along an axis; arguments as for ``cumsum``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.logcumsumexp(mx.array([0.0, 0.0, 0.0]))
    ///     array([0, 0.693147, 1.09861], dtype=float32)
    fn logcumsumexp(axis=None, *, reverse=False, inclusive=True) [a, axis: Option<isize>, reverse: bool, inclusive: bool] -> PyArray {
        wrap(|| ops::cumulative(ScanOp::LogAddExp, a, axis, reverse, inclusive))
    }
}

functions! { add_functions;
    /// e^(x - max) over its sum along axes.
    ///
    /// Args:
    ///     a: an array; integers and bool are converted to float32.
    ///     axis: an axis or several; all of them by default.
    ///     precise: whether float16 and bfloat16 are computed in float32 throughout.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.softmax(mx.array([[0.0, 0.0], [0.0, 100.0]]), axis=-1)
    ///     array([[0.5, 0.5],
    ///            [3.78351e-44, 1]], dtype=float32)
    fn softmax(a, axis=None, *, precise=False) [a: ArrayLike, axis: Option<Ints>, precise: bool] -> PyArray { wrap(|| ops::softmax(&a.0, axes(&axis), precise)) }
    /// The middle element along axes; the mean of two for an even number. Integers count as float32.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.median(mx.array([[1, 2], [7, 4]]))
    ///     array(3, dtype=float32)
    fn median(a, axis=None, keepdims=False, *) [a: ArrayLike, axis: Option<Ints>, keepdims: bool] -> PyArray { wrap(|| ops::median(&a.0, axes(&axis), keepdims)) }
    /// Sorted along an axis, ascending, NaN last.
    ///
    /// Args:
    ///     a: an array that is not complex.
    ///     axis: the axis; None flattens the array first.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.sort(mx.array([3.0, mx.nan, 1.0]))
    ///     array([1, 3, nan], dtype=float32)
    fn sort(a, axis=-1, *) [a: ArrayLike, axis: Option<isize>] -> PyArray { wrap(|| ops::sort(&a.0, axis)) }
    /// The permutation (uint32) that sorts along an axis; equal elements keep their order.
    ///
    /// Args:
    ///     a: an array that is not complex.
    ///     axis: the axis; None flattens the array first.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.argsort(mx.array([3, 1, 2]))
    ///     array([1, 2, 0], dtype=uint32)
    fn argsort(a, axis=-1, *) [a: ArrayLike, axis: Option<isize>] -> PyArray { wrap(|| ops::argsort(&a.0, axis)) }
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_reductions(m)?;
    add_functions(m)
}
