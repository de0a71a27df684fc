//! Random numbers with MLX's key semantics: an explicit `key`, or the implicit one in `random.state`.

use crate::array::PyArray;
use crate::convert::{Arg, ArrayLike, dtype_or};
use crate::dim::{Dims, OneExtent};
use crate::dtype::PyDtype;
use crate::errors::run;
use lazuli_core::ops::random;
use lazuli_core::{Array, DType, Extent, Extents, Operand, ops};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

/// The list that holds the implicit key; a compiled function captures it as state.
static STATE: PyOnceLock<Py<PyList>> = PyOnceLock::new();

fn state(py: Python<'_>) -> PyResult<&Bound<'_, PyList>> {
    let make = || Ok::<_, PyErr>(PyList::new(py, [Bound::new(py, PyArray::new(random::key(0)))?])?.unbind());
    Ok(STATE.get_or_try_init(py, make)?.bind(py))
}

/// The key given, or a fresh one; the implicit key moves on.
fn key_of(py: Python<'_>, key: Option<ArrayLike>) -> PyResult<Array> {
    if let Some(key) = key {
        return Ok(key.0);
    }
    let state = state(py)?;
    let Ok(now) = state.get_item(0).and_then(|a| Ok(a.cast_into::<PyArray>()?.get().get())) else {
        return Err(PyValueError::new_err("[random] random.state must hold one key: call random.seed()"));
    };
    let keys = run(|| random::split(&now, 2))?;
    let row = |i| run(|| ops::get(&keys, &[ops::Item::Int(i)]));
    state.set_item(0, Bound::new(py, PyArray::new(row(0)?))?)?;
    row(1)
}

/// Sets the implicit key from a number.
#[pyfunction]
fn seed(py: Python<'_>, seed: u64) -> PyResult<()> {
    state(py)?.set_item(0, Bound::new(py, PyArray::new(random::key(seed)))?)
}

/// The key of a number: uint32 of shape (2,).
#[pyfunction]
fn key(seed: u64) -> PyArray {
    PyArray::new(random::key(seed))
}

/// `num` keys from one: uint32 of shape (num, 2).
#[pyfunction]
#[pyo3(signature = (key, num=2, stream=None))]
fn split(key: ArrayLike, num: usize, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
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
    ($($(#[doc = $doc:literal])* fn $name:ident($($sig:tt)*) [$($arg:ident: $t:ty),*] |$key:ident| $body:block)*) => {
        $(
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = ($($sig)*, key=None, stream=None))]
            fn $name(py: Python<'_>, $($arg: $t,)* key: Option<ArrayLike>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
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

samplers! {
    /// Uniform numbers in [low, high).
    fn uniform(low=Arg::Weak(lazuli_core::Weak::Float(0.0)), high=Arg::Weak(lazuli_core::Weak::Float(1.0)), shape=None, dtype=None)
        [low: Arg, high: Arg, shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        let dims = shape_or(shape, &[&low, &high])?;
        random::uniform(&low, &high, &dims, dtype_or(dtype, DType::F32), key)
    }
    /// Normal numbers with mean `loc` and standard deviation `scale`.
    fn normal(shape=None, dtype=None, loc=None, scale=None)
        [shape: Option<Dims>, dtype: Option<PyDtype>, loc: Option<Arg>, scale: Option<Arg>] |key| {
        let dims = extents(shape);
        let loc = loc.unwrap_or(Arg::Weak(lazuli_core::Weak::Float(0.0)));
        let scale = scale.unwrap_or(Arg::Weak(lazuli_core::Weak::Float(1.0)));
        random::normal(&dims, dtype_or(dtype, DType::F32), &loc, &scale, key)
    }
    /// Integers in [low, high).
    fn randint(low, high, shape=None, dtype=None) [low: Arg, high: Arg, shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        let dims = shape_or(shape, &[&low, &high])?;
        random::randint(&low, &high, &dims, dtype_or(dtype, DType::I32), key)
    }
    /// True with probability `p`.
    fn bernoulli(p=Arg::Weak(lazuli_core::Weak::Float(0.5)), shape=None) [p: Arg, shape: Option<Dims>] |key| {
        let dims = shape_or(shape, &[&p])?;
        random::bernoulli(&p, &dims, key)
    }
    /// Positions drawn with probability softmax(logits) along an axis.
    fn categorical(logits, axis=-1, shape=None, num_samples=None)
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
    /// Standard Gumbel numbers.
    fn gumbel(shape=None, dtype=None) [shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        random::gumbel(extents(shape), dtype_or(dtype, DType::F32), key)
    }
    /// Laplace numbers.
    fn laplace(shape=None, dtype=None, loc=Arg::Weak(lazuli_core::Weak::Float(0.0)), scale=Arg::Weak(lazuli_core::Weak::Float(1.0)))
        [shape: Option<Dims>, dtype: Option<PyDtype>, loc: Arg, scale: Arg] |key| {
        random::laplace(extents(shape), dtype_or(dtype, DType::F32), &loc, &scale, key)
    }
    /// Normal numbers cut off outside [lower, upper].
    fn truncated_normal(lower, upper, shape=None, dtype=None) [lower: Arg, upper: Arg, shape: Option<Dims>, dtype: Option<PyDtype>] |key| {
        let dims = shape_or(shape, &[&lower, &upper])?;
        random::truncated_normal(&lower, &upper, &dims, dtype_or(dtype, DType::F32), key)
    }
    /// A permutation of 0 ... n-1, or of an array along an axis.
    fn permutation(x, axis=0) [x: &Bound<'_, PyAny>, axis: isize] |key| {
        match x.extract::<OneExtent>() {
            Ok(n) => random::permutation(n.0, key),
            Err(_) => {
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
    let r = PyModule::new(m.py(), "random")?;
    add_samplers(&r)?;
    for f in [wrap_pyfunction!(seed, &r)?, wrap_pyfunction!(key, &r)?, wrap_pyfunction!(split, &r)?] {
        r.add_function(f)?;
    }
    r.add("state", state(m.py())?)?;
    m.add_submodule(&r)
}
