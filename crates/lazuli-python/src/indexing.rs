//! Python indices: integers, slices, `None`, `...`, arrays, lists of integers, boolean masks in assignments.

use crate::array::PyArray;
use crate::convert::{Arg, to_array};
use crate::errors::run;
use lazuli_core::ops::{self, Item};
use lazuli_core::{Array, DType};
use lazuli_ir::prims::Bound as SliceBound;
use lazuli_kernel::ScatterOp;
use pyo3::exceptions::{PyAttributeError, PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyTuple};

/// An index as the core takes it, or a boolean mask.
enum Index {
    Items(Vec<Item>),
    Mask(Array),
}

fn parse(index: &Bound<'_, PyAny>) -> PyResult<Index> {
    if let Ok(tuple) = index.cast::<PyTuple>() {
        return Ok(Index::Items(tuple.iter().map(|i| item(&i)).collect::<PyResult<_>>()?));
    }
    if let Ok(a) = index.cast::<PyArray>() {
        let a = a.get().get();
        if a.dtype() == DType::Bool {
            return Ok(Index::Mask(a));
        }
    }
    if index.is_instance_of::<PyBool>() {
        return Ok(Index::Mask(to_array(index, None)?));
    }
    Ok(Index::Items(vec![item(index)?]))
}

fn item(v: &Bound<'_, PyAny>) -> PyResult<Item> {
    if let Ok(slice) = v.cast::<PySlice>() {
        let part = |name: &str| -> PyResult<Option<isize>> {
            let value = slice.getattr(name)?;
            if value.is_none() { Ok(None) } else { value.call_method0("__index__")?.extract().map(Some) }
        };
        let step = part("step")?.unwrap_or(1);
        if step == 0 {
            return Err(PyValueError::new_err("[index] a slice step cannot be 0"));
        }
        return Ok(Item::Slice(SliceBound { start: part("start")?, stop: part("stop")?, step }));
    }
    if v.is_instance_of::<PyInt>() && !v.is_instance_of::<PyBool>() {
        return Ok(Item::Int(v.extract()?));
    }
    if v.is_none() {
        return Ok(Item::NewAxis);
    }
    if v.is_instance_of::<PyEllipsis>() {
        return Ok(Item::Ellipsis);
    }
    if let Ok(a) = v.cast::<PyArray>() {
        let a = a.get().get();
        if a.dtype() == DType::Bool {
            return Err(mask_error());
        }
        return Ok(Item::Array(a));
    }
    if v.is_instance_of::<PyList>() || v.hasattr("__array__")? {
        let a = to_array(v, None)?;
        return if a.dtype() == DType::Bool { Err(mask_error()) } else { Ok(Item::Array(a)) };
    }
    if v.hasattr("__index__")? {
        return Ok(Item::Int(v.call_method0("__index__")?.extract()?));
    }
    Err(PyTypeError::new_err(format!(
        "[index] {} can't index an array: use integers, slices, None, ..., integer arrays or lists of integers",
        v.get_type().name()?
    )))
}

fn mask_error() -> PyErr {
    PyIndexError::new_err(
        "[index] a boolean mask selects a number of elements that depends on its values, which a lazy array cannot have: \
         use where(mask, x, y), or assign with x[mask] = value",
    )
}

/// `a[index]`.
pub fn get(a: &Array, index: &Bound<'_, PyAny>) -> PyResult<Array> {
    match parse(index)? {
        Index::Items(items) => run(|| ops::get(a, &items)),
        Index::Mask(_) => Err(mask_error()),
    }
}

/// `a` with the part that the index names replaced by, or combined with, a value.
pub fn update(a: &Array, index: &Bound<'_, PyAny>, value: Arg, op: ScatterOp) -> PyResult<Array> {
    let value = run(|| ops::beside("index", &value, Some(a.dtype())))?;
    match parse(index)? {
        Index::Items(items) => run(|| ops::update(a, &items, &value, op)),
        Index::Mask(mask) => run(|| {
            // The mask covers the leading axes.
            let rest = (mask.ndim() as isize..a.ndim() as isize).collect::<Vec<_>>();
            let mask = ops::expand_dims(&mask, &rest)?;
            let value = ops::astype(&value, a.dtype())?;
            let new = match op {
                ScatterOp::Assign => value,
                ScatterOp::Add => ops::add(a, &value)?,
                ScatterOp::Mul => ops::multiply(a, &value)?,
                ScatterOp::Min => ops::minimum(a, &value)?,
                ScatterOp::Max => ops::maximum(a, &value)?,
            };
            ops::select(&mask, new, a)
        }),
    }
}

/// `x.at`: functional updates that count every one of repeated positions.
#[derive(Debug)]
#[pyclass(name = "ArrayAt", module = "lazuli.core", frozen)]
pub struct At {
    array: Py<PyArray>,
    index: Option<Py<PyAny>>,
}

impl At {
    pub fn new(array: Py<PyArray>) -> Self {
        At { array, index: None }
    }
    fn apply(&self, py: Python<'_>, value: Arg, op: ScatterOp) -> PyResult<PyArray> {
        let Some(index) = &self.index else {
            return Err(PyValueError::new_err("[at] an index is missing: x.at[index].add(value)"));
        };
        update(&self.array.get().get(), index.bind(py), value, op).map(PyArray::new)
    }
}

#[pymethods]
impl At {
    fn __getitem__(&self, py: Python<'_>, index: Py<PyAny>) -> At {
        At { array: self.array.clone_ref(py), index: Some(index) }
    }
    /// Called for names that updates do not have: the error says how Lazuli spells them.
    fn __getattr__(slf: &Bound<'_, Self>, name: &str) -> PyResult<Py<PyAny>> {
        let text = slf.py().import("lazuli._spelling")?.call_method1("unknown_update", (name,))?;
        Err(PyAttributeError::new_err(text.extract::<String>()?))
    }
    /// The array with `value` added at the index.
    fn add(&self, py: Python<'_>, value: Arg) -> PyResult<PyArray> {
        self.apply(py, value, ScatterOp::Add)
    }
    /// The array with `value` subtracted at the index.
    fn subtract(&self, py: Python<'_>, value: Arg) -> PyResult<PyArray> {
        let dtype = self.array.get().get().dtype();
        let minus = run(|| ops::negative(&ops::beside("index", &value, Some(dtype))?))?;
        self.apply(py, Arg::Array(minus), ScatterOp::Add)
    }
    /// The array multiplied by `value` at the index.
    fn multiply(&self, py: Python<'_>, value: Arg) -> PyResult<PyArray> {
        self.apply(py, value, ScatterOp::Mul)
    }
    /// The array divided by `value` at the index.
    fn divide(&self, py: Python<'_>, value: Arg) -> PyResult<PyArray> {
        let dtype = self.array.get().get().dtype();
        let inverse = run(|| ops::reciprocal(&ops::beside("index", &value, Some(dtype))?))?;
        self.apply(py, Arg::Array(inverse), ScatterOp::Mul)
    }
    /// The larger of the array and `value` at the index.
    fn maximum(&self, py: Python<'_>, value: Arg) -> PyResult<PyArray> {
        self.apply(py, value, ScatterOp::Max)
    }
    /// The smaller of the array and `value` at the index.
    fn minimum(&self, py: Python<'_>, value: Arg) -> PyResult<PyArray> {
        self.apply(py, value, ScatterOp::Min)
    }
}
