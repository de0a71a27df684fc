//! Random numbers with MLX's key semantics: an explicit `key`, or the implicit one in `random.state`.

use crate::array::PyArray;
use crate::convert::{Arg, ArrayLike, On, dtype_or};
use crate::dim::{Dims, OneExtent};
use crate::dtype::PyDtype;
use crate::errors::{self, run};
use lazuli_core::ops::random;
use lazuli_core::{Array, DType, Extent, Extents, Operand, Weak, ops};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::cell::RefCell;

thread_local! {
    /// The object that holds the thread's key; drawing updates it in place.
    static KEY: RefCell<Option<Py<PyArray>>> = const { RefCell::new(None) };
}

/// The implicit key of the calling thread, as a tree of one array that a compiled function captures.
///
/// Each thread has a key of its own, that of seed 0 until `seed` is called on it.
#[derive(Debug)]
#[pyclass(name = "RandomState", module = "lazuli.core.random", frozen, sequence)]
pub struct RandomState;

#[pymethods]
impl RandomState {
    fn __len__(&self) -> usize {
        1
    }
    fn __getitem__(&self, py: Python<'_>, index: isize) -> PyResult<PyArray> {
        at(index)?;
        // A copy: drawing updates the thread's own in place.
        Ok(PyArray::new(key_object(py)?.get().get()))
    }
    fn __setitem__(&self, py: Python<'_>, index: isize, key: ArrayLike) -> PyResult<()> {
        at(index)?;
        if key.0.dtype() != DType::U32 || key.0.shape() != [2] {
            return Err(PyValueError::new_err(format!(
                "[random] a key is a uint32 array of shape (2,), not {}",
                key.0.aval()
            )));
        }
        PyArray::update(&key_object(py)?, key.0);
        Ok(())
    }
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("[{}]", key_object(py)?.repr()?))
    }
    /// Pickles and copies are of the calling thread's state as well.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<&'static str> {
        let _ = py;
        Ok("state")
    }
}

fn at(index: isize) -> PyResult<()> {
    match index {
        0 | -1 => Ok(()),
        _ => Err(PyIndexError::new_err("random.state holds one key")),
    }
}

/// The object that holds the calling thread's key.
pub fn key_object(py: Python<'_>) -> PyResult<Bound<'_, PyArray>> {
    if let Some(object) = KEY.with_borrow(|k| k.as_ref().map(|k| k.clone_ref(py))) {
        return Ok(object.into_bound(py));
    }
    let object = Bound::new(py, PyArray::older(random::key(0)))?;
    let old = KEY.replace(Some(object.clone().unbind()));
    drop(old);
    Ok(object)
}

/// The key given, or a fresh one; the implicit key moves on.
fn key_of(py: Python<'_>, key: Option<ArrayLike>) -> PyResult<Array> {
    if let Some(key) = key {
        return Ok(key.0);
    }
    let object = key_object(py)?;
    crate::frames::draw(object.get());
    let keys = run(|| random::split(&object.get().get(), 2))?;
    let row = |i| run(|| ops::get(&keys, &[ops::Item::Int(i)]));
    PyArray::update(&object, row(0)?);
    row(1)
}

/// Sets the calling thread's implicit key from a number.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.random.seed(7)
#[pyfunction]
fn seed(py: Python<'_>, seed: u64) -> PyResult<()> {
    PyArray::update(&key_object(py)?, random::key(seed));
    Ok(())
}

/// The key of a number: uint32 of shape (2,). The same key gives the same numbers.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.random.key(7)
///     array([0, 7], dtype=uint32)
#[pyfunction]
fn key(seed: u64) -> PyArray {
    PyArray::new(random::key(seed))
}

/// Keys from a key, independent of each other and of it: uint32 of shape (num, 2).
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> first, second = mx.random.split(mx.random.key(0))
///     >>> first.shape
///     (2,)
#[pyfunction]
#[pyo3(signature = (key, num=2, stream=None))]
fn split(key: ArrayLike, num: usize, stream: Option<On>) -> PyResult<PyArray> {
    let _ = stream;
    run(|| random::split(&key.0, num)).map(PyArray::new)
}

fn extents(shape: Option<Dims>) -> Vec<Extent> {
    shape.map_or(Vec::new(), |s| s.0)
}

/// The shape that parameters broadcast to, if no shape is given.
fn shape_or(shape: Option<Dims>, params: &[&Arg]) -> PyResult<Vec<Extent>> {
    if let Some(shape) = shape {
        return Ok(shape.0);
    }
    let arrays: Vec<Array> = params.iter().map(|p| p.array(None)).filter(|a| a.ndim() > 0).collect();
    if let [one] = &arrays[..] {
        return Ok(one.dims().extents());
    }
    let common = run(|| ops::broadcast_arrays(&arrays))?;
    Ok(common.first().map_or(Vec::new(), |a| a.dims().extents()))
}

macro_rules! samplers {
    ($($(#[doc = $doc:literal])* fn $name:ident($($sig:tt)*) $text:literal [$($params:tt)*] |$key:ident| $body:block)*) => {
        $(
            #[doc = concat!(stringify!($name), "(", $text, ", key=None, stream=None)\n--\n")]
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = ($($sig)*, key=None, stream=None, **unknown), text_signature = None)]
            #[allow(clippy::too_many_arguments)]
            fn $name(py: Python<'_>, $($params)*, key: Option<ArrayLike>, stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<PyArray> {
                let _ = stream;
                errors::unknown(stringify!($name), unknown)?;
                let $key = &key_of(py, key)?;
                let out: lazuli_core::Result<Array> = { $body };
                run(|| out).map(PyArray::new)
            }
        )*
        fn add_samplers(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
}

/// A parameter of a distribution, or its default.
fn or(value: Option<Arg>, default: f64) -> Arg {
    value.unwrap_or(Arg::Weak(Weak::Float(default)))
}

/// A bound, which stands where other libraries take the shape: a tuple is meant as one.
struct Limit(Arg);

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if v.is_instance_of::<PyTuple>() {
            let text = "a bound is a number or an array, not a tuple: give the shape as shape=, and the key as key=";
            return Err(PyTypeError::new_err(text));
        }
        Arg::extract(v).map(Limit)
    }
}

samplers! {
    /// Numbers uniform in [low, high).
    ///
    /// Args:
    ///     low, high: numbers or arrays that broadcast to the shape.
    ///     shape: of the result; by default what the bounds broadcast to.
    ///     dtype: a float dtype, float32 by default.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Raises:
    ///     ValueError: a negative extent, another dtype, or bounds that do not broadcast to the shape.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.uniform(shape=(2,), key=mx.random.key(0))
    ///     array([0.216295, 0.804124], dtype=float32)
    fn uniform(low=None, high=None, shape=None, dtype=None) "low=0, high=1, shape=None, dtype=None"
        [low: Option<Limit>, high: Option<Limit>, shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        let (low, high) = (or(low.map(|v| v.0), 0.0), or(high.map(|v| v.0), 1.0));
        let dims = shape_or(shape, &[&low, &high])?;
        random::uniform(&low, &high, &dims, dtype_or(dtype, DType::F32), key)
    }
    /// Normal numbers with mean ``loc`` and standard deviation ``scale``.
    ///
    /// Args:
    ///     shape: of the result; one number by default.
    ///     dtype: a float dtype or complex64, float32 by default.
    ///     loc, scale: numbers or arrays that broadcast to the shape; 0 and 1 by default.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.normal((2,), key=mx.random.key(0))
    ///     array([-0.784766, 0.856445], dtype=float32)
    fn normal(shape=None, dtype=None, loc=None, scale=None) "shape=None, dtype=None, loc=None, scale=None"
        [shape: Option<Dims>, dtype: Option<PyDtype>, loc: Option<Arg>, scale: Option<Arg>] |key| {
        let dims = extents(shape);
        random::normal(&dims, dtype_or(dtype, DType::F32), or(loc, 0.0), or(scale, 1.0), key)
    }
    /// Integers uniform in [low, high).
    ///
    /// Args:
    ///     low, high: numbers or arrays that broadcast to the shape.
    ///     shape: of the result; by default what the bounds broadcast to.
    ///     dtype: an integer dtype, int32 by default.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.randint(0, 10, (3,), key=mx.random.key(0))
    ///     array([9, 3, 6], dtype=int32)
    fn randint(low, high, shape=None, dtype=None) "low, high, shape=None, dtype=None"
        [low: Arg, high: Arg, shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        let dims = shape_or(shape, &[&low, &high])?;
        random::randint(&low, &high, &dims, dtype_or(dtype, DType::I32), key)
    }
    /// True with probability ``p``: bool.
    ///
    /// Args:
    ///     p: a number or an array.
    ///     shape: of the result; by default that of ``p``.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.bernoulli(mx.array([0.0, 1.0]))
    ///     array([False, True], dtype=bool)
    fn bernoulli(p=None, shape=None) "p=0.5, shape=None" [p: Option<Arg>, shape: Option<Dims>] |key| {
        let p = or(p, 0.5);
        let dims = shape_or(shape, &[&p])?;
        random::bernoulli(&p, &dims, key)
    }
    /// Positions (uint32) along an axis, drawn with probability softmax(logits).
    ///
    /// Args:
    ///     logits: unnormalised logarithms of the probabilities.
    ///     axis: the axis of the categories, which the result lacks.
    ///     shape: of the result, to which the other axes of ``logits`` broadcast.
    ///     num_samples: in place of ``shape``: how many draws, as a last axis.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Raises:
    ///     ValueError: both ``shape`` and ``num_samples`` are given.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.categorical(mx.array([0.0, 100.0]), num_samples=3)
    ///     array([1, 1, 1], dtype=uint32)
    fn categorical(logits, axis=-1, shape=None, num_samples=None) "logits, axis=-1, shape=None, num_samples=None"
        [logits: ArrayLike, axis: isize, shape: Option<Dims>, num_samples: Option<usize>] |key| {
        if shape.is_some() && num_samples.is_some() {
            return Err(PyValueError::new_err("[categorical] give shape or num_samples, not both"));
        }
        let logits = match shape {
            None => logits.0,
            Some(s) => {
                let mut dims = s.0;
                run(|| {
                    let at = lazuli_ir::shape::normalize_axis("categorical", axis, logits.0.ndim())?;
                    // The axis counts from the back: `shape` may have batch axes in front that the logits lack.
                    let behind = logits.0.ndim() - 1 - at;
                    dims.insert(dims.len().saturating_sub(behind), logits.0.dim(at as isize).into());
                    ops::broadcast_to(&logits.0, &dims)
                })?
            }
        };
        random::categorical(&logits, axis, num_samples, key)
    }
    /// Standard Gumbel numbers, -log(-log(u)) for uniform u.
    ///
    /// Args:
    ///     shape: of the result; one number by default.
    ///     dtype: a float dtype, float32 by default.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.gumbel((2,), key=mx.random.key(0))
    ///     array([-0.425993, 1.52325], dtype=float32)
    fn gumbel(shape=None, dtype=None) "shape=None, dtype=None" [shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        random::gumbel(extents(shape), dtype_or(dtype, DType::F32), key)
    }
    /// Laplace numbers with mean ``loc`` and scale ``scale``.
    ///
    /// Args:
    ///     shape: of the result; one number by default.
    ///     dtype: a float dtype, float32 by default.
    ///     loc, scale: numbers or arrays that broadcast to the shape.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.laplace((2,), key=mx.random.key(0))
    ///     array([0.837963, -0.937127], dtype=float32)
    fn laplace(shape=None, dtype=None, loc=None, scale=None) "shape=None, dtype=None, loc=0.0, scale=1.0"
        [shape: Option<Dims>, dtype: Option<PyDtype>, loc: Option<Arg>, scale: Option<Arg>] |key| {
        random::laplace(extents(shape), dtype_or(dtype, DType::F32), or(loc, 0.0), or(scale, 1.0), key)
    }
    /// Standard normal numbers cut off outside [lower, upper].
    ///
    /// Args:
    ///     lower, upper: numbers or arrays that broadcast to the shape.
    ///     shape: of the result; by default what the bounds broadcast to.
    ///     dtype: a float dtype, float32 by default.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.truncated_normal(-1.0, 1.0, (2,), key=mx.random.key(0))
    ///     array([-0.506315, 0.546452], dtype=float32)
    fn truncated_normal(lower, upper, shape=None, dtype=None) "lower, upper, shape=None, dtype=None"
        [lower: Arg, upper: Arg, shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        let dims = shape_or(shape, &[&lower, &upper])?;
        random::truncated_normal(&lower, &upper, &dims, dtype_or(dtype, DType::F32), key)
    }
    /// A permutation of 0 ... x - 1 (uint32), or of an array along an axis.
    ///
    /// Args:
    ///     x: a number, or an array.
    ///     axis: along which to permute the array.
    ///     key: of ``mx.random.key`` or ``split``; by default the implicit one, which moves on.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.random.permutation(5, key=mx.random.key(0))
    ///     array([1, 2, 0, 4, 3], dtype=uint32)
    fn permutation(x, axis=0) "x, axis=0" [x: &Bound<'_, PyAny>, axis: isize] |key| {
        // An array is never taken for a number, whatever its size: while a function is traced it has none.
        let number = if x.is_instance_of::<PyArray>() { None } else { x.extract::<OneExtent>().ok() };
        match number {
            Some(n) => random::permutation(n.0, key),
            None => {
                let a = x.extract::<ArrayLike>()?.0;
                run(|| {
                    let at = lazuli_ir::shape::normalize_axis("permutation", axis, a.ndim())?;
                    Ok(ops::take(&a, &random::permutation(a.dim(at as isize), key)?, Some(axis)))
                })?
            }
        }
    }
}

/// The functions of `lazuli.core.random`, in a module of their own.
pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let r = PyModule::new(m.py(), "lazuli.core.random")?;
    add_samplers(&r)?;
    for f in [wrap_pyfunction!(seed, &r)?, wrap_pyfunction!(key, &r)?, wrap_pyfunction!(split, &r)?] {
        r.add_function(f)?;
    }
    r.add_class::<RandomState>()?;
    r.add("state", Py::new(m.py(), RandomState)?)?;
    m.add("_random", r)
}
