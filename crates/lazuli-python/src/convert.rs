//! From Python values to arrays: numbers, nested sequences, anything with a buffer, DLPack or `__array__`.

use crate::array::PyArray;
use crate::dim::PyDim;
use crate::dtype::PyDtype;
use crate::errors::run;
use crate::scalars::Number;
use half::{bf16, f16};
use lazuli_core::{Array, DType, Dim, Extent, Operand, Scalar, Weak, ops};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyList, PyTuple};

/// A number written in the program, if that is what `v` is.
pub fn weak(v: &Bound<'_, PyAny>) -> PyResult<Option<Weak>> {
    if v.is_instance_of::<PyBool>() {
        return Ok(Some(Weak::Bool(v.is_truthy()?)));
    }
    if v.is_exact_instance_of::<PyFloat>() || v.is_instance_of::<PyFloat>() {
        return Ok(Some(Weak::Float(v.extract()?)));
    }
    if v.is_instance_of::<PyInt>() || v.is_instance_of::<PyDim>() {
        return match v.extract::<i64>() {
            Ok(i) => Ok(Some(Weak::Int(i))),
            Err(_) if v.extract::<u64>().is_ok() => Err(PyValueError::new_err(format!(
                "[array] the integer {v} fits uint64 only: give it as mx.array({v}, dtype=mx.uint64)"
            ))),
            Err(e) if v.is_instance_of::<PyDim>() => Err(e),
            Err(_) => Err(PyValueError::new_err(format!("[array] the integer {v} does not fit 64 bits"))),
        };
    }
    if v.is_instance_of::<PyComplex>() {
        let c = v.cast::<PyComplex>()?;
        return Ok(Some(Weak::Complex(c.real() as f32, c.imag() as f32)));
    }
    Ok(None)
}

/// A number that is to be of this dtype: uint64 holds integers that others don't.
fn weak_as(v: &Bound<'_, PyAny>, dtype: Option<DType>) -> PyResult<Option<Weak>> {
    if dtype == Some(DType::U64)
        && v.is_instance_of::<PyInt>()
        && v.extract::<i64>().is_err()
        && let Ok(n) = v.extract::<u64>()
    {
        return Ok(Some(Weak::Int(n as i64))); // which has the same bits
    }
    weak(v)
}

/// What an elementwise function takes: an array, a number, or something that converts to an array.
#[derive(Debug)]
pub enum Arg {
    Array(Array),
    Weak(Weak),
    /// An extent: a number that stays symbolic in a shapeless trace.
    Dim(Dim),
    /// A number that a compiled function traces.
    Number(Number),
}

impl Operand for Arg {
    fn array(&self, beside: Option<DType>) -> Array {
        match self {
            Arg::Array(a) => a.clone(),
            Arg::Weak(w) => w.array(beside),
            Arg::Dim(d) => d.array(beside),
            Arg::Number(n) => n.array(beside),
        }
    }
    fn dtype(&self) -> Option<DType> {
        match self {
            Arg::Array(a) => Some(a.dtype()),
            Arg::Weak(_) | Arg::Dim(_) | Arg::Number(_) => None,
        }
    }
    fn weak(&self) -> Option<Weak> {
        match self {
            Arg::Array(_) | Arg::Dim(_) | Arg::Number(_) => None,
            Arg::Weak(w) => Some(*w),
        }
    }
    fn check(&self, op: &str, beside: Option<DType>) -> lazuli_core::Result<()> {
        match self {
            Arg::Dim(d) => d.check(op, beside),
            Arg::Array(_) | Arg::Weak(_) | Arg::Number(_) => Ok(()),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Arg {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(a) = v.cast::<PyArray>() {
            return Ok(a.get().operand());
        }
        if let Ok(d) = v.cast::<PyDim>() {
            return Ok(match d.get().extent()? {
                Extent::Of(dim) => Arg::Dim(dim),
                Extent::Known(n) => Arg::Weak(Weak::Int(n as i64)),
            });
        }
        match literal(&v)? {
            Some(w) => Ok(Arg::Weak(w)),
            None => Ok(Arg::Array(to_array(&v, None)?)),
        }
    }
}

/// A number written in the program, Python's or numpy's.
pub fn literal(v: &Bound<'_, PyAny>) -> PyResult<Option<Weak>> {
    weak(v)?.map_or_else(|| foreign_integer(v), |w| Ok(Some(w)))
}

/// The integer that numpy's scalars are: beside an array they are numbers like Python's own.
fn foreign_integer(v: &Bound<'_, PyAny>) -> PyResult<Option<Weak>> {
    if v.hasattr("__index__")? && !v.hasattr("__len__")? {
        return weak(&v.call_method0("__index__")?);
    }
    Ok(None)
}

/// The value of a `stream` argument: where work goes, which is checked; all of it goes to the CPU.
pub struct On;

impl<'a, 'py> FromPyObject<'a, 'py> for On {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        v.py().import("lazuli.core._devices")?.call_method1("_device", (&v,)).map(|_| On)
    }
}

impl Arg {
    /// As an array; a number with the default dtype of its kind.
    pub fn into_array(self) -> Array {
        self.array(None)
    }
}

/// An array argument: an array, or anything that converts to one.
pub struct ArrayLike(pub Array);

impl<'a, 'py> FromPyObject<'a, 'py> for ArrayLike {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(ArrayLike(Arg::extract(v)?.into_array()))
    }
}

/// An array with the elements of any Python value that has some.
pub fn to_array(v: &Bound<'_, PyAny>, dtype: Option<DType>) -> PyResult<Array> {
    if let Ok(a) = v.cast::<PyArray>() {
        let a = a.get().get();
        return run(|| dtype.map_or(Ok(a.clone()), |d| ops::astype(&a, d)));
    }
    if let Some(w) = weak_as(v, dtype)? {
        let d = dtype.unwrap_or_else(|| w.dtype_beside(None));
        let s = w.scalar(d);
        return run(|| Array::try_from_bytes(&s.to_bytes(), d, &[]));
    }
    if v.is_instance_of::<PyList>() || v.is_instance_of::<PyTuple>() {
        return from_sequence(v, dtype);
    }
    refuse_times(v)?;
    let array = if let Some(numbers) = with_numbers(v)? {
        return to_array(&numbers, dtype);
    } else if let Some(a) = crate::buffer::from_buffer(v)? {
        a
    } else if v.hasattr("__mlx_array__")? {
        return to_array(&v.call_method0("__mlx_array__")?, dtype);
    } else if v.hasattr("__dlpack__")? && v.hasattr("__dlpack_device__")? {
        crate::dlpack::import(v, Some(true))?
    } else if v.hasattr("__array__")? {
        return to_array(&v.call_method0("__array__")?, dtype);
    } else {
        return Err(PyTypeError::new_err(format!(
            "[array] cannot make an array of {}: give numbers, nested lists or tuples of them, a numpy array, or an object with a buffer, DLPack or __array__",
            v.get_type().name()?
        )));
    };
    in_dtype(array, dtype)
}

/// Refuses the dates and durations of numpy's, which say that they are bytes.
fn refuse_times(v: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = v.py();
    let Some(dtype) = v.getattr_opt(intern!(py, "dtype"))? else { return Ok(()) };
    let Some(kind) = dtype.getattr_opt(intern!(py, "kind"))? else { return Ok(()) };
    if !matches!(kind.extract::<&str>(), Ok("m" | "M")) {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "[array] {} of numpy's has no dtype here: give its count of a unit as an integer, x.astype('int64')",
        dtype.str()?
    )))
}

/// An array of objects that numpy makes where it is given extents of a shapeless trace, with their numbers, which are guarded, in the dtype that numpy
/// gives them.
fn with_numbers<'py>(v: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = v.py();
    if lazuli_core::shapeless::live().is_none() || !v.hasattr(intern!(py, "__array_interface__"))? {
        return Ok(None);
    }
    let dtype = v.getattr(intern!(py, "dtype"))?;
    if !dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
        return Ok(None);
    }
    let items = v.call_method0(intern!(py, "ravel"))?.call_method0(intern!(py, "tolist"))?;
    let numbers = items.try_iter()?.map(|item| crate::dim::plain(&item?)).collect::<PyResult<Vec<_>>>()?;
    let inferred = if numbers.is_empty() { Some("int64") } else { None };
    let array = py.import("numpy")?.call_method1("array", (numbers, inferred))?;
    match array.getattr(intern!(py, "dtype"))?.getattr(intern!(py, "hasobject"))?.is_truthy()? {
        true => Ok(None),
        false => array.call_method1(intern!(py, "reshape"), (v.getattr(intern!(py, "shape"))?,)).map(Some),
    }
}

/// An array that comes from outside, in the dtype asked for.
fn in_dtype(array: Array, dtype: Option<DType>) -> PyResult<Array> {
    // Doubles are numpy's default, not a choice: they become float32 unless asked for, as Python's floats do.
    let default = if array.dtype() == DType::F64 { DType::F32 } else { array.dtype() };
    run(|| ops::astype(&array, dtype.unwrap_or(default)))
}

/// asarray(a, dtype=None, *, copy=None)
/// --
///
/// As an array: the array itself, or one made of the value.
///
/// Args:
///     a: what ``mx.array`` takes. The memory of an object with DLPack (a numpy array, a tensor of PyTorch) is shared where it can be, see
///         ``mx.from_dlpack``.
///     dtype: by default as for ``mx.array``: float64 becomes float32.
///     copy: True copies, False never does, None only if sharing is not possible.
///
/// Raises:
///     ValueError: ``copy=False``, and a copy is needed.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.asarray([1, 2], dtype=mx.float32)
///     array([1, 2], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, dtype=None, *, copy=None), text_signature = None)]
pub fn asarray(a: &Bound<'_, PyAny>, dtype: Option<PyDtype>, copy: Option<bool>) -> PyResult<PyArray> {
    let dtype = dtype.map(|d| d.0);
    refuse_times(a)?;
    let own = a.cast::<PyArray>().ok().map(|a| a.get().get());
    let shared = match own {
        Some(own) if copy != Some(true) => Some(own),
        Some(own) => {
            let bytes = crate::errors::run_detached(a.py(), || own.try_to_bytes())?;
            Some(run(|| Array::try_from_bytes(&bytes, own.dtype(), own.shape()))?)
        }
        None if copy != Some(true) && a.hasattr("__dlpack__")? && a.hasattr("__dlpack_device__")? => {
            Some(crate::dlpack::import(a, copy)?)
        }
        None => None,
    };
    let array = match &shared {
        Some(array) if a.is_instance_of::<PyArray>() => run(|| ops::astype(array, dtype.unwrap_or(array.dtype())))?,
        Some(array) => {
            let converted = in_dtype(array.clone(), dtype)?;
            // What is converted is a copy, and does not change when the memory outside does.
            crate::errors::run_detached(a.py(), || lazuli_core::eval(std::slice::from_ref(&converted)))?;
            converted
        }
        None => to_array(a, dtype)?,
    };
    if copy == Some(false) && shared.is_none_or(|shared| shared.dtype() != array.dtype()) {
        return Err(PyValueError::new_err(
            "[asarray] copy=False, but a copy is needed: the value has no memory to share, or another dtype",
        ));
    }
    Ok(PyArray::new(array))
}

/// Nested lists and tuples of numbers, or of arrays of one shape.
fn from_sequence(v: &Bound<'_, PyAny>, dtype: Option<DType>) -> PyResult<Array> {
    let mut shape = Vec::new();
    let mut items = Vec::new();
    gather(v, 0, dtype, &mut shape, &mut None, &mut items)?;
    let beside = items.iter().filter_map(|v| v.dtype()).reduce(DType::promote);
    let dtype = dtype.unwrap_or_else(|| {
        let dtype_of = |v: &Arg| match v {
            Arg::Weak(w) => w.dtype_beside(beside),
            Arg::Number(n) => n.dtype_beside(beside),
            Arg::Array(_) | Arg::Dim(_) => DType::Bool,
        };
        let found = items.iter().map(dtype_of).chain(beside);
        found.reduce(DType::promote).unwrap_or(DType::F32)
    });
    if !items.iter().all(|v| matches!(v, Arg::Weak(_))) {
        return stack(&items, &shape, dtype);
    }
    let mut bytes = Vec::with_capacity(items.len() * dtype.itemsize());
    for w in items.iter().filter_map(|v| v.weak()) {
        bytes.extend_from_slice(&w.scalar(dtype).to_bytes());
    }
    run(|| Array::try_from_bytes(&bytes, dtype, &shape))
}

/// Arrays and numbers found in nested lists of this shape, stacked.
fn stack(items: &[Arg], shape: &[usize], dtype: DType) -> PyResult<Array> {
    run(|| {
        let arrays = items.iter().map(|v| ops::astype(&v.array(Some(dtype)), dtype));
        let arrays = arrays.collect::<lazuli_core::Result<Vec<_>>>()?;
        let stacked = ops::stack(&arrays, 0)?;
        let to: Vec<Extent> =
            shape.iter().map(|&n| n.into()).chain(arrays[0].dims().iter().map(Extent::from)).collect();
        ops::reshape(&stacked, to)
    })
}

const MAX_DEPTH: usize = 64;

fn beside(depth: usize) -> PyErr {
    PyValueError::new_err(format!(
        "[array] an element stands beside a list at depth {depth}: rows have one length and depth"
    ))
}

/// Walks nested lists: their `shape`, and at which depth the `leaves` are, which is the same for all.
fn gather(
    v: &Bound<'_, PyAny>,
    depth: usize,
    dtype: Option<DType>,
    shape: &mut Vec<usize>,
    leaves: &mut Option<usize>,
    items: &mut Vec<Arg>,
) -> PyResult<()> {
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err(format!("[array] lists are nested more than {MAX_DEPTH} deep")));
    }
    let n = v.len()?;
    match shape.get(depth) {
        None => shape.push(n),
        Some(&m) if m != n => {
            return Err(PyValueError::new_err(format!(
                "[array] rows at depth {depth} have {m} and {n} elements: all rows of an array have one length"
            )));
        }
        _ => {}
    }
    for item in v.try_iter()? {
        let item = item?;
        if item.is_instance_of::<PyList>() || item.is_instance_of::<PyTuple>() {
            if *leaves == Some(depth) {
                return Err(beside(depth));
            }
            gather(&item, depth + 1, dtype, shape, leaves, items)?;
            continue;
        }
        if shape.len() > depth + 1 {
            return Err(beside(depth));
        }
        *leaves = Some(depth);
        items.push(match weak_as(&item, dtype)? {
            Some(w) => Arg::Weak(w),
            None => match item.cast::<PyArray>() {
                Ok(a) => a.get().operand(),
                Err(_) => Arg::Array(to_array(&item, None)?),
            },
        });
    }
    Ok(())
}

/// Shape arguments: an int or a sequence of ints.
pub struct Ints(pub Vec<isize>);

impl<'a, 'py> FromPyObject<'a, 'py> for Ints {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(i) = v.extract::<isize>() {
            return Ok(Ints(vec![i]));
        }
        v.extract::<Vec<isize>>().map(Ints).map_err(|error| not_ints(&v, error))
    }
}

/// The error of a value that is neither an int nor a sequence of ints: of an array that gives no number, the one that says why.
pub fn not_ints(v: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyValueError>(v.py()) {
        return error;
    }
    let is_sequence = v.is_instance_of::<PyTuple>() || v.is_instance_of::<PyList>();
    let is_short = is_sequence && v.len().is_ok_and(|n| n <= 8);
    let kind = || v.get_type().name();
    let what = if is_short { v.repr().or_else(|_| kind()) } else { kind() };
    let what = what.map(|text| text.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!("expected an int or a sequence of ints, not {what}"))
}

impl Ints {
    /// As extents.
    pub fn extents(&self, op: &str) -> PyResult<Vec<usize>> {
        let negative = |n: &isize| usize::try_from(*n);
        self.0
            .iter()
            .map(negative)
            .collect::<Result<_, _>>()
            .map_err(|_| PyValueError::new_err(format!("[{op}] shape {:?} has a negative extent", self.0)))
    }
}

/// An optional dtype argument.
pub fn dtype_or(dtype: Option<PyDtype>, default: DType) -> DType {
    dtype.map_or(default, |d| d.0)
}

/// The Python number of a scalar.
pub fn number<'py>(py: Python<'py>, s: Scalar) -> PyResult<Bound<'py, PyAny>> {
    Ok(match s.dtype {
        DType::Bool => PyBool::new(py, s.bits != 0).to_owned().into_any(),
        DType::U64 => s.bits.into_pyobject(py)?.into_any(),
        DType::C64 => PyComplex::from_doubles(py, s.to_f64(), s.imag() as f64).into_any(),
        DType::F16 => (f16::from_bits(s.bits as u16).to_f64()).into_pyobject(py)?.into_any(),
        DType::BF16 => (bf16::from_bits(s.bits as u16).to_f64()).into_pyobject(py)?.into_any(),
        d if d.is_float() => s.to_f64().into_pyobject(py)?.into_any(),
        _ => s.to_i64().into_pyobject(py)?.into_any(),
    })
}
