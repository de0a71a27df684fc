//! Arrays from nothing: constants, ranges, grids.

use super::scalar;
use super::words::True;
use crate::array::{PyArray, wrap};
use crate::convert::{Arg, ArrayLike, On, dtype_or};
use crate::dim::{Dims, OneExtent, PyDim};
use crate::dtype::PyDtype;
use crate::errors;
use lazuli_core::ops::{self, Item};
use lazuli_core::{DType, Scalar};
use lazuli_ir::prims::Bound as SliceBound;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt};

functions! { add_functions;
    /// An array of this shape, every element a value.
    ///
    /// Args:
    ///     shape: an extent or several.
    ///     vals: a number, or an array that broadcasts to the shape.
    ///     dtype: by default that of ``vals``.
    ///
    /// Raises:
    ///     ValueError: a negative extent, or an integer that does not fit the dtype.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.full((2, 2), 7)
    ///     array([[7, 7],
    ///            [7, 7]], dtype=int32)
    fn full(shape, vals, dtype=None, *) [shape: Dims, vals: Arg, dtype: Option<PyDtype>] -> PyArray {
        if let (Arg::Weak(_), Some(d)) = (&vals, dtype) {
            let value = scalar("full", &vals, d.0)?;
            return wrap(|| ops::full(shape.0, value));
        }
        let vals = vals.into_array();
        wrap(|| ops::broadcast_to(&ops::astype(&vals, dtype_or(dtype, vals.dtype()))?, shape.0))
    }
    /// Zeros of this shape.
    ///
    /// Args:
    ///     shape: an extent or several.
    ///     dtype: float32 by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.zeros((2, 3))
    ///     array([[0, 0, 0],
    ///            [0, 0, 0]], dtype=float32)
    fn zeros(shape, dtype=None, *) [shape: Dims, dtype: Option<PyDtype>] -> PyArray { wrap(|| ops::zeros(shape.0, dtype_or(dtype, DType::F32))) }
    /// Ones of this shape.
    ///
    /// Args:
    ///     shape: an extent or several.
    ///     dtype: float32 by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.ones(3, mx.int32)
    ///     array([1, 1, 1], dtype=int32)
    fn ones(shape, dtype=None, *) [shape: Dims, dtype: Option<PyDtype>] -> PyArray { wrap(|| ops::ones(shape.0, dtype_or(dtype, DType::F32))) }
    /// Zeros of the shape of an array, and of its dtype by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.zeros_like(mx.array([1, 2]))
    ///     array([0, 0], dtype=int32)
    fn zeros_like(a, dtype=None, *) [a: ArrayLike, dtype: Option<PyDtype>] -> PyArray {
        wrap(|| ops::full_like(&a.0, Scalar::zero(dtype_or(dtype, a.0.dtype()))))
    }
    /// Ones of the shape of an array, and of its dtype by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.ones_like(mx.array([1.5, 2.5]))
    ///     array([1, 1], dtype=float32)
    fn ones_like(a, dtype=None, *) [a: ArrayLike, dtype: Option<PyDtype>] -> PyArray {
        wrap(|| ops::full_like(&a.0, Scalar::one(dtype_or(dtype, a.0.dtype()))))
    }
    /// An array of the shape of another, every element a value.
    ///
    /// Args:
    ///     a: gives the shape, and the dtype by default.
    ///     vals: a number or an array of one element.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.full_like(mx.array([1.0, 2.0]), 7)
    ///     array([7, 7], dtype=float32)
    fn full_like(a, vals, dtype=None, *) [a: ArrayLike, vals: Arg, dtype: Option<PyDtype>] -> PyArray {
        let value = scalar("full_like", &vals, dtype_or(dtype, a.0.dtype()))?;
        wrap(|| ops::full_like(&a.0, value))
    }
    /// ``start, start + step, ...`` up to but not including ``stop``; ``arange(stop)`` begins at 0.
    ///
    /// Args:
    ///     start, stop, step: numbers; ``step`` is 1 by default and may be negative.
    ///     dtype: by default float32 if one of them is a float, else int32, or int64 for numbers beyond its range.
    ///
    /// Raises:
    ///     ValueError: the step is 0, or a bound is not finite.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.arange(1, 2, 0.25)
    ///     array([1, 1.25, 1.5, 1.75], dtype=float32)
    fn arange(start, stop=None, step=None, dtype=None, *)
        [start: &Bound<'_, PyAny>, stop: Option<&Bound<'_, PyAny>>, step: Option<&Bound<'_, PyAny>>, dtype: Option<PyDtype>] -> PyArray {
        // 0, 1, … up to an extent: that stays symbolic.
        let (first, last) = if stop.is_some() { (Some(start), stop) } else { (None, Some(start)) };
        let is = |v: Option<&Bound<'_, PyAny>>, n: i64| {
            v.is_none_or(|v| v.is_exact_instance_of::<PyInt>() && v.extract::<i64>().is_ok_and(|i| i == n))
        };
        if let (true, true, Some(Ok(n))) = (is(first, 0), is(step, 1), last.map(|v| v.cast::<PyDim>())) {
            let d = dtype_or(dtype, DType::I32);
            let counted = if d.is_float() && d != DType::F64 { DType::F32 } else { d };
            let extent = n.get().extent()?;
            return wrap(|| ops::astype(&ops::iota(&[extent][..], 0, counted)?, d));
        }
        let float = [Some(start), stop, step].into_iter().flatten().any(|v| v.is_instance_of::<PyFloat>());
        let number = |v: &Bound<'_, PyAny>| -> PyResult<f64> { v.extract() };
        let step = step.map_or(Ok(1.0), number)?;
        let (start, stop) = match stop {
            Some(stop) => (number(start)?, number(stop)?),
            None => (0.0, number(start)?),
        };
        let wide = [start, stop].iter().any(|v| v.abs() > i32::MAX as f64);
        let default = if float { DType::F32 } else if wide { DType::I64 } else { DType::I32 };
        wrap(|| ops::arange(start, stop, step, dtype_or(dtype, default)))
    }
    /// ``num`` evenly spaced numbers from ``start`` to ``stop``.
    ///
    /// Args:
    ///     start, stop: numbers.
    ///     num: how many.
    ///     endpoint: whether ``stop`` is the last of them, or where the next would be.
    ///     dtype: float32 by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.linspace(0, 1, 5)
    ///     array([0, 0.25, 0.5, 0.75, 1], dtype=float32)
    fn linspace(start, stop, num=50, endpoint=True, dtype=None)
        [start: f64, stop: f64, num: usize, endpoint: bool, dtype: Option<PyDtype>] -> PyArray {
        let dtype = dtype_or(dtype, DType::F32);
        wrap(|| {
            if endpoint || num == 0 {
                return ops::linspace(start, stop, num, dtype);
            }
            let part = SliceBound { start: None, stop: Some(-1), step: 1 };
            ops::get(&ops::linspace(start, stop, num + 1, dtype)?, &[Item::Slice(part)])
        })
    }
    /// Ones on a diagonal of an (n, m) matrix, zeros elsewhere.
    ///
    /// Args:
    ///     n: rows.
    ///     m: columns; as many as rows by default.
    ///     k: which diagonal: 0 is the main one, positive ones lie above it.
    ///     dtype: float32 by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.eye(2, 3, k=1)
    ///     array([[0, 1, 0],
    ///            [0, 0, 1]], dtype=float32)
    fn eye(n, m=None, k=0, dtype=None, *) [n: OneExtent, m: Option<OneExtent>, k: isize, dtype: Option<PyDtype>] -> PyArray {
        let m = m.map_or_else(|| n.0.clone(), |m| m.0);
        wrap(|| ops::eye(n.0, m, k, dtype_or(dtype, DType::F32)))
    }
    /// The (n, n) identity matrix, in float32 by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.identity(2)
    ///     array([[1, 0],
    ///            [0, 1]], dtype=float32)
    fn identity(n, dtype=None, *) [n: OneExtent, dtype: Option<PyDtype>] -> PyArray { wrap(|| ops::eye(n.0.clone(), n.0, 0, dtype_or(dtype, DType::F32))) }
    /// Ones on and below a diagonal of an (n, m) matrix, zeros above; arguments as for ``eye``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.tri(2, dtype=mx.int32)
    ///     array([[1, 0],
    ///            [1, 1]], dtype=int32)
    fn tri(n, m=None, k=0, dtype=None, *) [n: OneExtent, m: Option<OneExtent>, k: isize, dtype: Option<PyDtype>] -> PyArray {
        let m = m.map_or_else(|| n.0.clone(), |m| m.0);
        wrap(|| ops::tri(n.0, m, k, dtype_or(dtype, DType::F32)))
    }
    /// The last two axes with what lies above the k-th diagonal set to zero.
    ///
    /// Raises:
    ///     ValueError: the array has fewer than 2 dimensions.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.tril(mx.array([[1, 2], [3, 4]]))
    ///     array([[1, 0],
    ///            [3, 4]], dtype=int32)
    fn tril(x, k=0, *) [x: ArrayLike, k: isize] -> PyArray { wrap(|| ops::tril(&x.0, k)) }
    /// The last two axes with what lies below the k-th diagonal set to zero.
    ///
    /// Raises:
    ///     ValueError: the array has fewer than 2 dimensions.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.triu(mx.array([[1, 2], [3, 4]]))
    ///     array([[1, 2],
    ///            [0, 4]], dtype=int32)
    fn triu(x, k=0, *) [x: ArrayLike, k: isize] -> PyArray { wrap(|| ops::triu(&x.0, k)) }
    /// The elements (i, i + offset) of two axes, as the last axis.
    ///
    /// Raises:
    ///     ValueError: the array has fewer than 2 dimensions, or the axes are the same.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.diagonal(mx.array([[1, 2], [3, 4]]))
    ///     array([1, 4], dtype=int32)
    fn diagonal(a, offset=0, axis1=0, axis2=1, *) [a: ArrayLike, offset: isize, axis1: isize, axis2: isize] -> PyArray { wrap(|| ops::diagonal(&a.0, offset, axis1, axis2)) }
    /// The k-th diagonal of a matrix, or the matrix with a vector on its k-th diagonal and zeros elsewhere.
    ///
    /// Raises:
    ///     ValueError: the array has neither 1 nor 2 dimensions.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.diag(mx.array([1, 2]))
    ///     array([[1, 0],
    ///            [0, 2]], dtype=int32)
    fn diag(a, k=0, *) [a: ArrayLike, k: isize] -> PyArray { wrap(|| ops::diag(&a.0, k)) }
    /// The sum of a diagonal, as ``diagonal`` finds it; in ``dtype``, by default that of ``a``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.trace(mx.array([[1, 2], [3, 4]]))
    ///     array(5, dtype=int32)
    fn trace(a, offset=0, axis1=0, axis2=1, dtype=None, *) [a: ArrayLike, offset: isize, axis1: isize, axis2: isize, dtype: Option<PyDtype>] -> PyArray {
        wrap(|| ops::trace(&a.0, offset, axis1, axis2, dtype.map(|d| d.0)))
    }
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions(m)
}
