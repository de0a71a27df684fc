//! The functions of arrays: those of the op table by its macro, the others one by one.

use crate::array::{PyArray, spread, wrap};
use crate::convert::{Arg, ArrayLike, Ints, dtype_or, to_array};
use crate::dim::{Dims, OneExtent, PyDim};
use crate::dtype::PyDtype;
use crate::errors::run;
use lazuli_core::{Array, DType, Error, Operand, Result, Scalar, Weak, ops, shapeless};
use lazuli_kernel::ScatterOp;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};

macro_rules! table_functions {
    ($($(#[$meta:meta])* $family:ident[$n:tt] { $($variant:ident $name:ident $doc:literal $body:tt)* })*) => {
        $( table_functions!(@ [$n] $($name $doc)*); )*
    };
    (@ [1] $($name:ident $doc:literal)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (a, /, *, stream=None))]
            fn $name(a: ArrayLike, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                wrap(|| ops::$name(&a.0))
            }
        )*
        fn add_unary(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
    (@ [2] $($name:ident $doc:literal)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (a, b, /, *, stream=None))]
            fn $name(a: Arg, b: Arg, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                wrap(|| ops::$name(&a, &b))
            }
        )*
        fn add_binary(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
    (@ [3] $($name:ident $doc:literal)*) => {};
}

lazuli_ir::elementwise_table!(table_functions);

/// `x` where the condition holds, `y` elsewhere; the three broadcast.
#[pyfunction]
#[pyo3(signature = (condition, x, y, /, *, stream=None))]
fn r#where(condition: Arg, x: Arg, y: Arg, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
    let _ = stream;
    wrap(|| ops::select(&condition, &x, &y))
}

/// Limits `a` to `a_min ..= a_max`, either of which may be None.
#[pyfunction]
#[pyo3(signature = (a, /, a_min=None, a_max=None, *, stream=None))]
fn clip(a: ArrayLike, a_min: Option<Arg>, a_max: Option<Arg>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
    let _ = stream;
    wrap(|| ops::clip(&a.0, a_min.as_ref().map(|x| x as &dyn Operand), a_max.as_ref().map(|x| x as &dyn Operand)))
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $py:literal $name:ident($($extra:ident: $t:ty = $default:literal),*);)*) => {
        $(
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(name = $py, signature = (a, /, axis=None, keepdims=false $(, $extra=$default)*, *, stream=None))]
            fn $name(a: ArrayLike, axis: Option<Ints>, keepdims: bool $(, $extra: $t)*, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                wrap(|| ops::$name(&a.0, axis.as_ref().map(|x| &x.0[..]), keepdims $(, $extra)*))
            }
        )*
        fn add_reductions(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
        #[pymethods]
        impl PyArray { $(
            $(#[doc = $doc])*
            #[pyo3(name = $py, signature = (axis=None, keepdims=false $(, $extra=$default)*, *, stream=None))]
            fn $name(&self, axis: Option<Ints>, keepdims: bool $(, $extra: $t)*, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                let a = self.get();
                wrap(|| ops::$name(&a, axis.as_ref().map(|x| &x.0[..]), keepdims $(, $extra)*))
            }
        )* }
    };
}

reductions! {
    /// Sum over axes (all of them by default). bool and integers below 32 bits sum in int32.
    "sum" sum();
    /// Product over axes.
    "prod" prod();
    /// Smallest element over axes; NaN if there is one.
    "min" min();
    /// Largest element over axes; NaN if there is one.
    "max" max();
    /// Whether all elements over axes are true.
    "all" all();
    /// Whether any element over axes is true.
    "any" any();
    /// Arithmetic mean over axes; integers in float32.
    "mean" mean();
    /// Variance over axes, with n - ddof in the denominator.
    "var" var(ddof: f64 = 0.0);
    /// Standard deviation over axes, with n - ddof in the denominator.
    "std" deviation(ddof: f64 = 0.0);
    /// log of the sum of e^x over axes, without overflow.
    "logsumexp" logsumexp();
}

/// Functions of one array and plain arguments, which are methods too.
macro_rules! functions {
    ($($(#[doc = $doc:literal])* fn $name:ident($a:ident $(, $arg:ident: $t:ty $(= $default:expr)?)*) $body:block)*) => {
        $(
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = (a, /, $($arg $(= $default)?,)* *, stream=None))]
            fn $name(a: ArrayLike, $($arg: $t,)* stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                let $a = &a.0;
                wrap(|| $body)
            }
        )*
        fn add_functions(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
        #[pymethods]
        impl PyArray { $(
            $(#[doc = $doc])*
            #[pyo3(signature = ($($arg $(= $default)?,)* *, stream=None))]
            fn $name(&self, $($arg: $t,)* stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                let $a = &self.get();
                wrap(|| $body)
            }
        )* }
    };
}

/// Axes as the core takes them.
fn axes(axis: &Option<Ints>) -> Option<&[isize]> {
    axis.as_ref().map(|a| &a.0[..])
}

functions! {
    /// Merges the axes from start_axis to end_axis into one.
    fn flatten(a, start_axis: isize = 0, end_axis: isize = -1) { ops::flatten(a, start_axis, end_axis) }
    /// Removes axes of extent 1: those named, or all of them.
    fn squeeze(a, axis: Option<Ints> = None) { ops::squeeze(a, axes(&axis)) }
    /// Swaps two axes.
    fn swapaxes(a, axis1: isize, axis2: isize) { ops::swapaxes(a, axis1, axis2) }
    /// Moves an axis to another position.
    fn moveaxis(a, source: isize, destination: isize) { ops::moveaxis(a, source, destination) }
    /// Position (uint32) of the largest element along an axis, or in the flattened array.
    fn argmax(a, axis: Option<isize> = None, keepdims: bool = false) { ops::argmax(a, axis, keepdims) }
    /// Position (uint32) of the smallest element along an axis, or in the flattened array.
    fn argmin(a, axis: Option<isize> = None, keepdims: bool = false) { ops::argmin(a, axis, keepdims) }
    /// Running sum along an axis, or of the flattened array.
    fn cumsum(a, axis: Option<isize> = None, reverse: bool = false, inclusive: bool = true) {
        ops::cumulative(lazuli_kernel::ScanOp::Sum, a, axis, reverse, inclusive)
    }
    /// Running product along an axis, or of the flattened array.
    fn cumprod(a, axis: Option<isize> = None, reverse: bool = false, inclusive: bool = true) {
        ops::cumulative(lazuli_kernel::ScanOp::Prod, a, axis, reverse, inclusive)
    }
    /// Running maximum along an axis, or of the flattened array.
    fn cummax(a, axis: Option<isize> = None, reverse: bool = false, inclusive: bool = true) {
        ops::cumulative(lazuli_kernel::ScanOp::Max, a, axis, reverse, inclusive)
    }
    /// Running minimum along an axis, or of the flattened array.
    fn cummin(a, axis: Option<isize> = None, reverse: bool = false, inclusive: bool = true) {
        ops::cumulative(lazuli_kernel::ScanOp::Min, a, axis, reverse, inclusive)
    }
    /// Running log of the sum of e^x along an axis, or of the flattened array.
    fn logcumsumexp(a, axis: Option<isize> = None, reverse: bool = false, inclusive: bool = true) {
        ops::cumulative(lazuli_kernel::ScanOp::LogAddExp, a, axis, reverse, inclusive)
    }
    /// The same bytes as elements of another dtype.
    fn view(a, dtype: PyDtype) { ops::view(a, dtype.0) }
}

macro_rules! unary_methods {
    ($($name:ident)*) => {
        #[pymethods]
        impl PyArray { $(
            /// See the function of this name.
            #[pyo3(signature = (*, stream=None))]
            fn $name(&self, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                let a = self.get();
                wrap(|| ops::$name(&a))
            }
        )* }
    };
}

unary_methods! { abs cos exp log log10 log1p log2 reciprocal rsqrt sin sqrt square }

#[pymethods]
impl PyArray {
    /// The same elements in row-major order in another shape; one extent may be -1.
    #[pyo3(name = "reshape", signature = (*shape, stream=None))]
    fn py_reshape(&self, shape: &Bound<'_, PyTuple>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
        let _ = stream;
        let (a, to) = (self.get(), spread::<Dims>(shape)?);
        wrap(|| ops::reshape(&a, to.0))
    }
    /// Permutes the axes; reverses them without arguments.
    #[pyo3(name = "transpose", signature = (*axes, stream=None))]
    fn py_transpose(&self, axes: &Bound<'_, PyTuple>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
        let _ = stream;
        let a = self.get();
        let order = if axes.is_empty() { None } else { Some(spread::<Ints>(axes)?) };
        wrap(|| ops::transpose(&a, order.as_ref().map(|o| &o.0[..])))
    }
    /// The complex conjugate.
    fn conj(&self) -> PyResult<PyArray> {
        let a = self.get();
        wrap(|| ops::conjugate(&a))
    }
    /// Rounded to a number of decimals, ties to even.
    #[pyo3(name = "round", signature = (decimals=0, *, stream=None))]
    fn py_round(&self, decimals: i32, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
        let _ = stream;
        let a = self.get();
        wrap(|| rounded(&a, decimals))
    }
    /// Parts of an axis: a number of equal ones, or cut at indices.
    #[pyo3(name = "split", signature = (indices_or_sections, axis=0, *, stream=None))]
    fn py_split(
        &self,
        indices_or_sections: Ints1,
        axis: isize,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<PyArray>> {
        let _ = stream;
        parts(&self.get(), indices_or_sections, axis)
    }
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

/// A number of sections, or a list of indices.
enum Ints1 {
    Sections(usize),
    Indices(Vec<isize>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Ints1 {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match v.extract::<usize>() {
            Ok(n) => Ok(Ints1::Sections(n)),
            Err(_) => Ok(Ints1::Indices(v.extract::<Ints>()?.0)),
        }
    }
}

fn parts(a: &Array, by: Ints1, axis: isize) -> PyResult<Vec<PyArray>> {
    let parts = run(|| match &by {
        Ints1::Sections(n) => ops::split(a, *n, axis),
        Ints1::Indices(at) => ops::split_at(a, at, axis),
    })?;
    Ok(parts.into_iter().map(PyArray::new).collect())
}

/// Functions with signatures of their own.
macro_rules! plain {
    ($($(#[doc = $doc:literal])* fn $name:ident($($sig:tt)*) [$($arg:ident: $t:ty),*] $body:block)*) => {
        $(
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = ($($sig)*, stream=None))]
            fn $name($($arg: $t,)* stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
                let _ = stream;
                let result: PyResult<PyArray> = $body;
                result
            }
        )*
        fn add_plain(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
}

/// A number, or an array of one element, as a scalar of a dtype.
fn scalar(v: &Arg, dtype: DType) -> PyResult<Scalar> {
    match v {
        Arg::Weak(w) => Ok(w.scalar(dtype)),
        Arg::Dim(d) => Ok(Weak::from(d.get()).scalar(dtype)),
        Arg::Array(a) => run(|| ops::astype(a, dtype)?.try_item_scalar()),
    }
}

plain! {
    /// The same elements in row-major order in another shape; one extent may be -1.
    fn reshape(a, /, shape, *) [a: ArrayLike, shape: Dims] { wrap(|| ops::reshape(&a.0, shape.0)) }
    /// Splits an axis into several.
    fn unflatten(a, /, axis, shape, *) [a: ArrayLike, axis: isize, shape: Dims] { wrap(|| ops::unflatten(&a.0, axis, shape.0)) }
    /// Permutes the axes; reverses them by default.
    fn transpose(a, /, axes=None, *) [a: ArrayLike, axes: Option<Ints>] { wrap(|| ops::transpose(&a.0, axes.as_ref().map(|x| &x.0[..]))) }
    /// Adds axes of extent 1 at these positions of the result.
    fn expand_dims(a, /, axis, *) [a: ArrayLike, axis: Ints] { wrap(|| ops::expand_dims(&a.0, &axis.0)) }
    /// Stretches axes of extent 1 and adds axes in front.
    fn broadcast_to(a, /, shape, *) [a: ArrayLike, shape: Dims] { wrap(|| ops::broadcast_to(&a.0, shape.0)) }
    /// Joins arrays along an axis (0 by default; None flattens them first).
    fn concatenate(arrays, axis=Some(0), *) [arrays: Vec<ArrayLike>, axis: Option<isize>] {
        let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
        wrap(|| match axis {
            Some(axis) => ops::concatenate(&arrays, axis),
            None => ops::concatenate(&arrays.iter().map(|a| ops::reshape(a, [-1])).collect::<Result<Vec<_>>>()?, 0),
        })
    }
    /// Joins arrays of one shape along a new axis.
    fn stack(arrays, axis=0, *) [arrays: Vec<ArrayLike>, axis: isize] {
        let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
        wrap(|| ops::stack(&arrays, axis))
    }
    /// Copies of every element along an axis, next to each other.
    fn repeat(array, repeats, axis=None, *) [array: ArrayLike, repeats: usize, axis: Option<isize>] {
        wrap(|| match axis {
            Some(axis) => ops::repeat(&array.0, repeats, axis),
            None => ops::repeat(&ops::reshape(&array.0, [-1])?, repeats, 0),
        })
    }
    /// The whole array repeated along its axes.
    fn tile(a, reps, /, *) [a: ArrayLike, reps: Ints] {
        let reps = reps.extents("tile")?;
        wrap(|| ops::tile(&a.0, &reps))
    }
    /// An array of this shape, every element a value (or the values broadcast).
    fn full(shape, vals, dtype=None, *) [shape: Dims, vals: Arg, dtype: Option<PyDtype>] {
        let vals = vals.into_array();
        wrap(|| ops::broadcast_to(&ops::astype(&vals, dtype_or(dtype, vals.dtype()))?, shape.0))
    }
    /// Zeros of this shape (float32 by default).
    fn zeros(shape, dtype=None, *) [shape: Dims, dtype: Option<PyDtype>] { wrap(|| ops::zeros(shape.0, dtype_or(dtype, DType::F32))) }
    /// Ones of this shape (float32 by default).
    fn ones(shape, dtype=None, *) [shape: Dims, dtype: Option<PyDtype>] { wrap(|| ops::ones(shape.0, dtype_or(dtype, DType::F32))) }
    /// Zeros of the shape and dtype of an array.
    fn zeros_like(a, /, *) [a: ArrayLike] { wrap(|| ops::full_like(&a.0, Scalar::zero(a.0.dtype()))) }
    /// Ones of the shape and dtype of an array.
    fn ones_like(a, /, *) [a: ArrayLike] { wrap(|| ops::full_like(&a.0, Scalar::one(a.0.dtype()))) }
    /// An array of the shape and dtype of another, every element a value.
    fn full_like(a, /, vals, dtype=None, *) [a: ArrayLike, vals: Arg, dtype: Option<PyDtype>] {
        let value = scalar(&vals, dtype_or(dtype, a.0.dtype()))?;
        wrap(|| ops::full_like(&a.0, value))
    }
    /// n evenly spaced numbers from start to stop, both included.
    fn linspace(start, stop, num=50, dtype=None, *) [start: f64, stop: f64, num: usize, dtype: Option<PyDtype>] {
        wrap(|| ops::linspace(start, stop, num, dtype_or(dtype, DType::F32)))
    }
    /// Ones on a diagonal of an (n, m) matrix.
    fn eye(n, m=None, k=0, dtype=None, *) [n: OneExtent, m: Option<OneExtent>, k: isize, dtype: Option<PyDtype>] {
        let m = m.map_or_else(|| n.0.clone(), |m| m.0);
        wrap(|| ops::eye(n.0, m, k, dtype_or(dtype, DType::F32)))
    }
    /// The (n, n) identity matrix.
    fn identity(n, dtype=None, *) [n: OneExtent, dtype: Option<PyDtype>] { wrap(|| ops::eye(n.0.clone(), n.0, 0, dtype_or(dtype, DType::F32))) }
    /// Ones on and below a diagonal of an (n, m) matrix.
    fn tri(n, m=None, k=0, dtype=None, *) [n: OneExtent, m: Option<OneExtent>, k: isize, dtype: Option<PyDtype>] {
        let m = m.map_or_else(|| n.0.clone(), |m| m.0);
        wrap(|| ops::tri(n.0, m, k, dtype_or(dtype, DType::F32)))
    }
    /// The last two axes with what lies above the k-th diagonal set to zero.
    fn tril(x, k=0, *) [x: ArrayLike, k: isize] { wrap(|| ops::tril(&x.0, k)) }
    /// The last two axes with what lies below the k-th diagonal set to zero.
    fn triu(x, k=0, *) [x: ArrayLike, k: isize] { wrap(|| ops::triu(&x.0, k)) }
    /// Product of matrices in the last two axes; the axes before them broadcast.
    fn matmul(a, b, /, *) [a: ArrayLike, b: ArrayLike] { wrap(|| ops::matmul(&a.0, &b.0)) }
    /// beta * c + alpha * (a @ b).
    fn addmm(c, a, b, /, alpha=1.0, beta=1.0, *) [c: ArrayLike, a: ArrayLike, b: ArrayLike, alpha: f64, beta: f64] {
        wrap(|| {
            let scaled = |x: Array, by: f64| if by == 1.0 { Ok(x) } else { ops::multiply(&x, by) };
            ops::add(scaled(c.0.clone(), beta)?, scaled(ops::matmul(&a.0, &b.0)?, alpha)?)
        })
    }
    /// e^(x - max) over its sum along axes (all of them by default).
    fn softmax(a, /, axis=None, *, precise=false) [a: ArrayLike, axis: Option<Ints>, precise: bool] {
        wrap(|| ops::softmax(&a.0, axes(&axis), precise))
    }
    /// Sorted along an axis (the last by default; None flattens first); NaN last.
    fn sort(a, /, axis=Some(-1), *) [a: ArrayLike, axis: Option<isize>] { wrap(|| ops::sort(&a.0, axis)) }
    /// The permutation (uint32) that sorts along an axis.
    fn argsort(a, /, axis=Some(-1), *) [a: ArrayLike, axis: Option<isize>] { wrap(|| ops::argsort(&a.0, axis)) }
    /// Elements at integer positions along an axis (of the flattened array by default).
    fn take(a, indices, /, axis=None, *) [a: ArrayLike, indices: ArrayLike, axis: Option<isize>] { wrap(|| ops::take(&a.0, &indices.0, axis)) }
    /// Elements at positions along one axis.
    fn take_along_axis(a, indices, /, axis=None, *) [a: ArrayLike, indices: ArrayLike, axis: Option<isize>] {
        wrap(|| ops::take_along_axis(&a.0, &indices.0, axis))
    }
    /// The array with values put at positions along one axis.
    fn put_along_axis(a, indices, values, /, axis=None, *) [a: ArrayLike, indices: ArrayLike, values: ArrayLike, axis: Option<isize>] {
        wrap(|| ops::put_along_axis(&a.0, &indices.0, &values.0, axis, ScatterOp::Assign))
    }
    /// Elements shifted along an axis, or of the flattened array.
    fn roll(a, shift, /, axis=None, *) [a: ArrayLike, shift: Ints, axis: Option<Ints>] { roll_axes(&a.0, &shift.0, axis.as_ref().map(|x| &x.0[..])) }
    /// Whether arrays have one shape and equal elements.
    fn array_equal(a, b, equal_nan=false, *) [a: ArrayLike, b: ArrayLike, equal_nan: bool] { wrap(|| ops::array_equal(&a.0, &b.0, equal_nan)) }
    /// |a - b| <= atol + rtol * |b|, element by element.
    fn isclose(a, b, /, rtol=1e-5, atol=1e-8, *, equal_nan=false) [a: ArrayLike, b: ArrayLike, rtol: f64, atol: f64, equal_nan: bool] {
        wrap(|| ops::isclose(&a.0, &b.0, rtol, atol, equal_nan))
    }
    /// Whether all elements are close.
    fn allclose(a, b, /, rtol=1e-5, atol=1e-8, *, equal_nan=false) [a: ArrayLike, b: ArrayLike, rtol: f64, atol: f64, equal_nan: bool] {
        wrap(|| ops::all(&ops::isclose(&a.0, &b.0, rtol, atol, equal_nan)?, None, false))
    }
    /// Conversion to another dtype.
    fn astype(a, dtype, *) [a: ArrayLike, dtype: PyDtype] { wrap(|| ops::astype(&a.0, dtype.0)) }
}

/// Rounded to a number of decimals, ties to even.
#[pyfunction]
#[pyo3(name = "round", signature = (a, /, decimals=0, *, stream=None))]
fn round_decimals(a: ArrayLike, decimals: i32, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyArray> {
    let _ = stream;
    wrap(|| rounded(&a.0, decimals))
}

fn roll_axes(a: &Array, shift: &[isize], axis: Option<&[isize]>) -> PyResult<PyArray> {
    wrap(|| {
        let Some(axis) = axis else {
            let flat = ops::roll(&ops::reshape(a, [-1])?, shift.iter().sum(), 0)?;
            return ops::reshape(&flat, a.dims());
        };
        if shift.len() != 1 && shift.len() != axis.len() {
            return Err(Error::value("roll", format!("{} shifts were given for {} axes", shift.len(), axis.len())));
        }
        axis.iter().enumerate().try_fold(a.clone(), |a, (i, &x)| ops::roll(&a, shift[i % shift.len()], x))
    })
}

/// start, start + step, ... up to but not including stop. int32 for ints, float32 if a bound is a float.
#[pyfunction]
#[pyo3(signature = (start, stop=None, step=None, dtype=None, *, stream=None))]
fn arange(
    start: &Bound<'_, PyAny>,
    stop: Option<&Bound<'_, PyAny>>,
    step: Option<&Bound<'_, PyAny>>,
    dtype: Option<PyDtype>,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyArray> {
    let _ = stream;
    // 0, 1, … up to an extent: that stays symbolic.
    let (first, last) = if stop.is_some() { (Some(start), stop) } else { (None, Some(start)) };
    let is = |v: Option<&Bound<'_, PyAny>>, n: i64| {
        v.is_none_or(|v| v.is_exact_instance_of::<PyInt>() && v.extract::<i64>().is_ok_and(|i| i == n))
    };
    if let (true, true, Some(Ok(n))) = (is(first, 0), is(step, 1), last.map(|v| v.cast::<PyDim>())) {
        let d = dtype_or(dtype, DType::I32);
        let counted = match d {
            d if !d.is_float() => d,
            DType::F64 => d,
            _ => DType::F32,
        };
        return wrap(|| ops::astype(&ops::iota([n.get().0.clone()], 0, counted)?, d));
    }
    let float = [Some(start), stop, step].into_iter().flatten().any(|v| v.is_instance_of::<pyo3::types::PyFloat>());
    let d = dtype_or(dtype, if float { DType::F32 } else { DType::I32 });
    let number = |v: &Bound<'_, PyAny>| -> PyResult<f64> { v.extract() };
    let step = step.map_or(Ok(1.0), number)?;
    let (start, stop) = match stop {
        Some(stop) => (number(start)?, number(stop)?),
        None => (0.0, number(start)?),
    };
    wrap(|| ops::arange(start, stop, step, d))
}

/// Adds elements around the axes: `pad_width` is a number, a pair, or a pair per axis.
#[pyfunction]
#[pyo3(signature = (a, pad_width, mode="constant", constant_values=None, *, stream=None))]
fn pad(
    a: ArrayLike,
    pad_width: &Bound<'_, PyAny>,
    mode: &str,
    constant_values: Option<Arg>,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyArray> {
    let _ = stream;
    let a = a.0;
    let widths: Vec<(usize, usize)> = if let Ok(n) = pad_width.extract::<usize>() {
        vec![(n, n); a.ndim()]
    } else if let Ok(pair) = pad_width.extract::<(usize, usize)>() {
        vec![pair; a.ndim()]
    } else {
        let pairs = pad_width
            .extract::<Vec<Ints>>()
            .map_err(|_| PyTypeError::new_err("[pad] pad_width must be an int, a pair, or a pair per axis"))?;
        let pair = |p: Ints| match p.extents("pad")?[..] {
            [n] => Ok((n, n)),
            [low, high] => Ok((low, high)),
            _ => Err(PyValueError::new_err("[pad] each axis takes one width or two")),
        };
        let widths = pairs.into_iter().map(pair).collect::<PyResult<Vec<_>>>()?;
        if widths.len() == 1 { vec![widths[0]; a.ndim()] } else { widths }
    };
    match mode {
        "constant" => {
            let value = constant_values.map_or(Ok(Scalar::zero(a.dtype())), |v| scalar(&v, a.dtype()))?;
            wrap(|| ops::pad(&a, &widths, value))
        }
        "edge" => wrap(|| {
            let mut out = a.clone();
            for (axis, &(low, high)) in widths.iter().enumerate() {
                let edges = move |a: &[Array]| {
                    let n = a[0].shape()[axis] as f64;
                    let at = ops::arange(-(low as f64), n + high as f64, 1.0, DType::I32)?;
                    let at = ops::clip(&at, Some(&0i64), Some(&(n as i64 - 1)))?;
                    Ok(vec![ops::take(&a[0], &at, Some(axis as isize))?])
                };
                out = shapeless::by_shape("pad", &[&out], edges)?.remove(0);
            }
            Ok(out)
        }),
        _ => Err(PyValueError::new_err(format!("[pad] mode {mode:?} is not known: use \"constant\" or \"edge\""))),
    }
}

/// Parts of an axis: a number of equal ones, or cut at indices.
#[pyfunction]
#[pyo3(signature = (a, /, indices_or_sections, axis=0, *, stream=None))]
fn split(
    a: ArrayLike,
    indices_or_sections: Ints1,
    axis: isize,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<PyArray>> {
    let _ = stream;
    parts(&a.0, indices_or_sections, axis)
}

/// All arrays stretched to the shape they broadcast to.
#[pyfunction]
#[pyo3(signature = (*arrays, stream=None))]
fn broadcast_arrays(arrays: Vec<ArrayLike>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<PyArray>> {
    let _ = stream;
    let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
    Ok(run(|| ops::broadcast_arrays(&arrays))?.into_iter().map(PyArray::new).collect())
}

/// Grids of the coordinates along each of the one-dimensional inputs.
#[pyfunction]
#[pyo3(signature = (*arrays, sparse=false, indexing="xy", stream=None))]
fn meshgrid(
    arrays: Vec<ArrayLike>,
    sparse: bool,
    indexing: &str,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<PyArray>> {
    let _ = stream;
    let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
    let xy = match indexing {
        "xy" => true,
        "ij" => false,
        _ => return Err(PyValueError::new_err(format!("[meshgrid] indexing is \"xy\" or \"ij\", not {indexing:?}"))),
    };
    Ok(run(|| ops::meshgrid(&arrays, sparse, xy))?.into_iter().map(PyArray::new).collect())
}

/// As an array: the array itself, or one made of the value.
#[pyfunction]
#[pyo3(signature = (a, dtype=None))]
fn asarray(a: &Bound<'_, PyAny>, dtype: Option<PyDtype>) -> PyResult<PyArray> {
    to_array(a, dtype.map(|d| d.0)).map(PyArray::new)
}

/// x / sqrt(mean(x^2) + eps) * weight along the last axis.
#[pyfunction]
#[pyo3(signature = (x, weight=None, eps=1e-5, *, stream=None))]
fn _rms_norm(
    x: ArrayLike,
    weight: Option<ArrayLike>,
    eps: f64,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyArray> {
    let _ = stream;
    wrap(|| ops::rms_norm(&x.0, weight.as_ref().map(|w| &w.0), eps))
}

/// (x - mean) / sqrt(var + eps) * weight + bias along the last axis.
#[pyfunction]
#[pyo3(signature = (x, weight=None, bias=None, eps=1e-5, *, stream=None))]
fn _layer_norm(
    x: ArrayLike,
    weight: Option<ArrayLike>,
    bias: Option<ArrayLike>,
    eps: f64,
    stream: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyArray> {
    let _ = stream;
    wrap(|| ops::layer_norm(&x.0, weight.as_ref().map(|w| &w.0), bias.as_ref().map(|b| &b.0), eps))
}

/// The extents that shapes broadcast to.
#[pyfunction]
#[pyo3(signature = (*shapes))]
fn broadcast_shapes<'py>(py: Python<'py>, shapes: Vec<Ints>) -> PyResult<Bound<'py, PyTuple>> {
    let mut out = lazuli_core::Shape::new();
    for s in &shapes {
        let s = s.extents("broadcast_shapes")?;
        out = run(|| lazuli_ir::shape::broadcast("broadcast_shapes", &out, &s))?;
    }
    PyTuple::new(py, out)
}

/// The dtype that arrays and numbers promote to.
#[pyfunction]
#[pyo3(signature = (*args))]
fn result_type(args: Vec<Arg>) -> PyDtype {
    let arrays = args.iter().filter_map(|a| a.dtype()).reduce(DType::promote);
    let all = args.iter().map(|a| a.array(arrays).dtype()).reduce(DType::promote);
    PyDtype(all.unwrap_or(DType::F32))
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_unary(m)?;
    add_binary(m)?;
    add_reductions(m)?;
    add_functions(m)?;
    add_plain(m)?;
    for f in [
        wrap_pyfunction!(r#where, m)?,
        wrap_pyfunction!(clip, m)?,
        wrap_pyfunction!(round_decimals, m)?,
        wrap_pyfunction!(arange, m)?,
        wrap_pyfunction!(pad, m)?,
        wrap_pyfunction!(split, m)?,
        wrap_pyfunction!(broadcast_arrays, m)?,
        wrap_pyfunction!(meshgrid, m)?,
        wrap_pyfunction!(asarray, m)?,
        wrap_pyfunction!(_rms_norm, m)?,
        wrap_pyfunction!(_layer_norm, m)?,
        wrap_pyfunction!(broadcast_shapes, m)?,
        wrap_pyfunction!(result_type, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
