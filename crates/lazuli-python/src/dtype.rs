//! `Dtype` objects and their categories.

use lazuli_core::{DType, Kind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Type of the elements of an array: ``mx.bool_``, ``mx.uint8`` to ``mx.uint64``, ``mx.int8`` to ``mx.int64``, ``mx.float16``,
/// ``mx.bfloat16``, ``mx.float32``, ``mx.float64``, ``mx.complex64``.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.array([1.0]).dtype
///     lazuli.core.float32
///     >>> mx.float16.size
///     2
#[pyclass(name = "Dtype", module = "lazuli.core", frozen, eq, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PyDtype(pub DType);

impl<'a, 'py> FromPyObject<'a, 'py> for PyDtype {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(d) = v.cast::<PyDtype>() {
            return Ok(*d.get());
        }
        let text = v.py().import("lazuli._spelling")?.call_method1("no_dtype", (&v,))?;
        Err(PyTypeError::new_err(text.extract::<String>()?))
    }
}

#[pymethods]
impl PyDtype {
    /// Bytes of one element.
    #[getter]
    fn size(&self) -> usize {
        self.0.itemsize()
    }
    fn __repr__(&self) -> String {
        format!("lazuli.core.{}", self.0.name())
    }
    fn __reduce__(&self) -> (Py<PyAny>, (&'static str,)) {
        let getter = Python::attach(|py| py.import("lazuli.core").and_then(|m| m.getattr("_dtype")).map(Bound::unbind));
        (getter.expect("lazuli.core has _dtype"), (self.0.name(),))
    }
}

/// The dtype of this name (`"float32"`).
#[pyfunction]
pub fn _dtype(name: &str) -> PyResult<PyDtype> {
    let found = DType::ALL.into_iter().find(|d| d.name() == name);
    found.map(PyDtype).ok_or_else(|| PyTypeError::new_err(format!("no dtype is named {name:?}")))
}

/// A family of dtypes, for ``mx.issubdtype``: ``generic`` holds all, ``number`` all but bool, ``integer`` is ``signedinteger`` and
/// ``unsignedinteger``, ``inexact`` is ``floating`` and ``complexfloating``.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.issubdtype(mx.uint8, mx.integer)
///     True
#[pyclass(name = "DtypeCategory", module = "lazuli.core", frozen, eq, eq_int, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(non_camel_case_types)]
pub enum Category {
    generic,
    number,
    integer,
    signedinteger,
    unsignedinteger,
    inexact,
    floating,
    complexfloating,
}

impl Category {
    pub const ALL: [Category; 8] = [
        Category::generic,
        Category::number,
        Category::integer,
        Category::signedinteger,
        Category::unsignedinteger,
        Category::inexact,
        Category::floating,
        Category::complexfloating,
    ];
    fn contains(self, kind: Kind) -> bool {
        match self {
            Category::generic => true,
            Category::number => kind != Kind::Bool,
            Category::integer => matches!(kind, Kind::Signed | Kind::Unsigned),
            Category::signedinteger => kind == Kind::Signed,
            Category::unsignedinteger => kind == Kind::Unsigned,
            Category::inexact => matches!(kind, Kind::Float | Kind::Complex),
            Category::floating => kind == Kind::Float,
            Category::complexfloating => kind == Kind::Complex,
        }
    }
    /// Kinds that the category spans.
    fn kinds(self) -> Vec<Kind> {
        let all = [Kind::Bool, Kind::Unsigned, Kind::Signed, Kind::Float, Kind::Complex];
        all.into_iter().filter(|&k| self.contains(k)).collect()
    }
}

/// Whether a dtype (or category) belongs to a category, or is that dtype.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.issubdtype(mx.float32, mx.floating), mx.issubdtype(mx.int8, mx.floating)
///     (True, False)
#[pyfunction]
pub fn issubdtype(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(d) = a.cast::<PyDtype>() {
        return Ok(match b.cast::<Category>() {
            Ok(c) => c.get().contains(d.get().0.kind()),
            Err(_) => d.eq(b)?,
        });
    }
    let (Ok(a), Ok(b)) = (a.cast::<Category>(), b.cast::<Category>()) else {
        return Err(PyTypeError::new_err("issubdtype takes dtypes and dtype categories"));
    };
    Ok(a.get().kinds().iter().all(|&k| b.get().contains(k)))
}
