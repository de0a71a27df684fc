//! Functions of values, element by element, that are composed of rows of the op table.

use super::words::*;
use crate::array::{PyArray, wrap};
use crate::convert::{Arg, ArrayLike, On};
use crate::dtype::PyDtype;
use crate::errors;
use lazuli_core::{Array, DType, Operand, Result, ops};
use pyo3::prelude::*;
use pyo3::types::PyDict;

functions! { add_functions;
    /// Limited to ``a_min .. a_max``, element by element; NaN stays NaN.
    ///
    /// Args:
    ///     a: an array of any dtype but complex64.
    ///     a_min, a_max: bounds that broadcast with ``a``; one of them may be None.
    ///
    /// Returns:
    ///     array: in the dtype that ``a`` and the bounds promote to.
    ///
    /// Raises:
    ///     ValueError: both bounds are None, or the shapes do not broadcast.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.clip(mx.array([-2, 0, 5]), 0, 3)
    ///     array([0, 0, 3], dtype=int32)
    fn clip(a, a_min=None, a_max=None, *) [a: ArrayLike, a_min: Option<Arg>, a_max: Option<Arg>] -> PyArray {
        wrap(|| ops::clip(&a.0, a_min.as_ref().map(|x| x as &dyn Operand), a_max.as_ref().map(|x| x as &dyn Operand)))
    }
    /// |a - b| <= atol + rtol * |b|, element by element.
    ///
    /// Args:
    ///     a, b: arrays or numbers whose shapes broadcast.
    ///     rtol, atol: relative and absolute tolerance.
    ///     equal_nan: whether NaN is close to NaN. Infinities are close to themselves.
    ///
    /// Returns:
    ///     array: of bool.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.isclose(mx.array([1.0, 2.0]), mx.array([1.000001, 2.1]))
    ///     array([True, False], dtype=bool)
    fn isclose(a, b, rtol=1e-5, atol=1e-8, *, equal_nan=False) [a: ArrayLike, b: ArrayLike, rtol: f64, atol: f64, equal_nan: bool] -> PyArray {
        wrap(|| ops::isclose(&a.0, &b.0, rtol, atol, equal_nan))
    }
    /// Whether all elements are close, as ``isclose`` says it: one bool.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.allclose(mx.array([1.0, 2.0]), mx.array([1.000001, 2.0]))
    ///     array(True, dtype=bool)
    fn allclose(a, b, rtol=1e-5, atol=1e-8, *, equal_nan=False) [a: ArrayLike, b: ArrayLike, rtol: f64, atol: f64, equal_nan: bool] -> PyArray {
        wrap(|| ops::all(&ops::isclose(&a.0, &b.0, rtol, atol, equal_nan)?, None, false))
    }
    /// Whether arrays have one shape and equal elements: one bool.
    ///
    /// Args:
    ///     a, b: arrays; their dtypes promote. Other shapes are no error, they are not equal.
    ///     equal_nan: whether NaN equals NaN.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array_equal(mx.array([1, 2]), mx.array([1.0, 2.0]))
    ///     array(True, dtype=bool)
    fn array_equal(a, b, equal_nan=False) [a: ArrayLike, b: ArrayLike, equal_nan: bool] -> PyArray { wrap(|| ops::array_equal(&a.0, &b.0, equal_nan)) }
    /// Conversion to another dtype; the array itself if it has it.
    ///
    /// Floats become integers by truncation; those beyond the range, and NaN, become the nearest bound and 0. Integers keep their lowest bits.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.astype(mx.array([1.9, -1.9]), mx.int32)
    ///     array([1, -1], dtype=int32)
    fn astype(a, dtype, *) [a: ArrayLike, dtype: PyDtype] -> PyArray { wrap(|| ops::astype(&a.0, dtype.0)) }
}

methods! { add_methods;
    /// Rounded to a number of decimals, halves to even; both parts of complex numbers.
    ///
    /// Args:
    ///     decimals: places behind the point; before it if negative.
    ///
    /// Returns:
    ///     array: in the dtype of the array.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.round(mx.array([1.25, -2.675]), 1)
    ///     array([1.2, -2.7], dtype=float32)
    fn round(decimals=0) [a, decimals: i32] -> PyArray { wrap(|| rounded(a, decimals)) }
    /// The same bytes as elements of another dtype.
    ///
    /// The last axis grows or shrinks if the sizes of elements differ.
    ///
    /// Raises:
    ///     ValueError: the bytes of the last axis are no multiple of the new size.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.view(mx.array([1.0, -0.0]), mx.uint32)
    ///     array([1065353216, 2147483648], dtype=uint32)
    fn view(dtype) [a, dtype: PyDtype] -> PyArray { wrap(|| ops::view(a, dtype.0)) }
}

/// Rounds to decimals: scaled, rounded to even, scaled back.
fn rounded(a: &Array, decimals: i32) -> Result<Array> {
    if decimals == 0 {
        return if a.dtype().is_integer() || a.dtype() == DType::Bool { Ok(a.clone()) } else { ops::round(a) };
    }
    let scale = 10f64.powi(decimals.abs());
    match decimals > 0 {
        true => ops::divide(ops::round(&ops::multiply(a, scale)?)?, scale),
        false => ops::astype(&ops::multiply(ops::round(&ops::divide(a, scale)?)?, scale)?, a.dtype()),
    }
}

/// The functions; `round` takes the place of the table's, which knows no decimals.
pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions(m)?;
    add_methods(m)
}
