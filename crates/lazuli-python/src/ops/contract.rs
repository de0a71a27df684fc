//! Products of matrices, and norms of rows.

use crate::array::{PyArray, wrap};
use crate::convert::{ArrayLike, On};
use crate::errors;
use lazuli_core::{Array, ops};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

functions! { add_functions;
    /// Product of matrices in the last two axes; the axes before them broadcast.
    ///
    /// Args:
    ///     a: floats or complex numbers, of shape (..., n, k); a vector (k,) is a row.
    ///     b: of shape (..., k, m); a vector (k,) is a column. The dtypes promote.
    ///
    /// Returns:
    ///     array: of shape (..., n, m), without the axes that vectors lack. float16 and bfloat16 are summed in float32.
    ///
    /// Raises:
    ///     ValueError: the inner extents differ, an operand has no axes, or both are of integers.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.matmul(mx.array([[1.0, 2.0], [3.0, 4.0]]), mx.array([1.0, 10.0]))
    ///     array([21, 43], dtype=float32)
    fn matmul(a, b, *) [a: ArrayLike, b: ArrayLike] -> PyArray { wrap(|| ops::matmul(&a.0, &b.0)) }
    /// ``beta * c + alpha * (a @ b)``.
    ///
    /// Args:
    ///     c: an array that broadcasts with the product.
    ///     a, b: as for ``matmul``.
    ///     alpha, beta: factors.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.addmm(mx.array([1.0]), mx.ones((1, 2)), mx.ones((2, 1)), beta=10.0)
    ///     array([[12]], dtype=float32)
    fn addmm(c, a, b, alpha=1.0, beta=1.0, *) [c: ArrayLike, a: ArrayLike, b: ArrayLike, alpha: f64, beta: f64] -> PyArray {
        wrap(|| {
            let scaled = |x: Array, by: f64| if by == 1.0 { Ok(x) } else { ops::multiply(&x, by) };
            ops::add(scaled(c.0.clone(), beta)?, scaled(ops::matmul(&a.0, &b.0)?, alpha)?)
        })
    }
}

/// An error unless an array is of floats.
fn floats(op: &str, x: &Array) -> PyResult<()> {
    match x.dtype().is_float() {
        true => Ok(()),
        false => Err(PyValueError::new_err(format!(
            "[{op}] is defined on floats, not on {}: cast with astype first",
            x.dtype()
        ))),
    }
}

/// rms_norm(x, weight=None, eps=1e-5, *, stream=None)
/// --
///
/// ``x / sqrt(mean(x * x) + eps) * weight`` along the last axis.
///
/// Args:
///     x: floats, of shape (..., n).
///     weight: of shape (n,), or None for ones.
///     eps: added to the mean, so that rows of zeros stay finite.
///
/// Raises:
///     ValueError: ``x`` is not of floats, or the weight has another length.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.fast.rms_norm(mx.array([3.0, 4.0]), mx.array([1.0, 2.0]), eps=0.0)
///     array([0.848528, 2.26274], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, weight=None, eps=1e-5, *, stream=None), text_signature = None)]
fn rms_norm(x: ArrayLike, weight: Option<ArrayLike>, eps: f64, stream: Option<On>) -> PyResult<PyArray> {
    let _ = stream;
    floats("rms_norm", &x.0)?;
    wrap(|| ops::rms_norm(&x.0, weight.as_ref().map(|w| &w.0), eps))
}

/// layer_norm(x, weight=None, bias=None, eps=1e-5, *, stream=None)
/// --
///
/// ``(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` along the last axis.
///
/// Args:
///     x: floats, of shape (..., n).
///     weight: of shape (n,), or None for ones.
///     bias: of shape (n,), or None for zeros.
///     eps: added to the variance, so that rows of one value stay finite.
///
/// Raises:
///     ValueError: ``x`` is not of floats, or the weight or the bias has another length.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.fast.layer_norm(mx.array([1.0, 3.0]), eps=0.0)
///     array([-1, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, weight=None, bias=None, eps=1e-5, *, stream=None), text_signature = None)]
fn layer_norm(
    x: ArrayLike,
    weight: Option<ArrayLike>,
    bias: Option<ArrayLike>,
    eps: f64,
    stream: Option<On>,
) -> PyResult<PyArray> {
    let _ = stream;
    floats("layer_norm", &x.0)?;
    wrap(|| ops::layer_norm(&x.0, weight.as_ref().map(|w| &w.0), bias.as_ref().map(|b| &b.0), eps))
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions(m)?;
    let fast = PyModule::new(m.py(), "lazuli.core.fast")?;
    fast.add_function(wrap_pyfunction!(rms_norm, &fast)?)?;
    fast.add_function(wrap_pyfunction!(layer_norm, &fast)?)?;
    // Not by its public name, which is that of a module of the package: `from lazuli._lazuli import *` would hide it.
    m.add("_fast", fast)
}
