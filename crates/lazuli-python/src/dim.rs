//! `Dim`: an extent that is not known to be the same at later calls, which passes for an `int`.
//!
//! Under a shapeless trace `x.shape` is a tuple of these. Functions that take extents take them as they are; beside an array they are scalars that
//! stay symbolic; a comparison guards its outcome. Everything else sees the number and guards it. It is no subclass of `int`, whose number C code
//! reads without asking, but says that its class is `int`.
//!
//! In a later trace it is its number if that was read, and so guarded (a key of a cache that was hashed); if not, it is an error to use it.

use crate::array::PyArray;
use crate::convert::not_ints;
use crate::errors::run;
use lazuli_core::{Dim, ErrorKind, Extent, Location, shapeless};
use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::{PyComplex, PyInt, PyTuple, PyType};
use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// An extent of an array of a shapeless trace; it behaves as an int.
#[derive(Debug)]
#[pyclass(name = "Dim", module = "lazuli.core", frozen)]
pub struct PyDim {
    dim: Dim,
    /// The trace that it is of, and where it was made.
    trace: Option<u64>,
    at: Location,
    /// Whether its number was read, so that its trace guards it.
    is_read: AtomicBool,
}

impl PyDim {
    pub fn new(dim: Dim) -> PyDim {
        PyDim { dim, trace: shapeless::live(), at: lazuli_core::trace::place(), is_read: AtomicBool::new(false) }
    }
    /// The extent; the number, if it is of a trace that is over and guarded that.
    pub fn extent(&self) -> PyResult<Extent> {
        match shapeless::live() {
            Some(live) if self.trace != Some(live) && self.is_read.load(Relaxed) => {
                Ok((self.dim.was() as isize).into())
            }
            Some(live) if self.trace != Some(live) => {
                let n = self.dim.was();
                let made = if self.at == Location::UNKNOWN { String::new() } else { format!(", made at {}", self.at) };
                let text = format!(
                    "[compile] this extent was left behind by a trace that is over{made}, in which it was {n}: keep its number, int(n), which fixes \
                     it there"
                );
                run(|| Err(lazuli_ir::Error::new(ErrorKind::LeakedTracer, "compile", text)))
            }
            _ => Ok((&self.dim).into()),
        }
    }
    /// The number, guarded.
    fn number(&self) -> PyResult<isize> {
        let number = self.extent()?.get();
        self.is_read.store(true, Relaxed);
        Ok(number)
    }
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.number()?.into_pyobject(py)?.into_any())
    }
    fn compare(&self, other: Extent, asked: Ordering, or_equal: bool) -> PyResult<bool> {
        Ok(match (self.extent()?, other) {
            (Extent::Of(a), Extent::Of(b)) => a.compare_dim(&b, asked, or_equal),
            (Extent::Of(a), Extent::Known(n)) => a.compare(n as i64, asked, or_equal),
            (Extent::Known(n), Extent::Of(b)) => b.compare(n as i64, asked.reverse(), or_equal),
            (Extent::Known(n), Extent::Known(m)) => n.cmp(&m) == asked || or_equal && n == m,
        })
    }
}

/// The number of a `Dim`, guarded, or the object itself.
pub fn plain<'py>(v: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match v.cast::<PyDim>() {
        Ok(d) => d.get().read(v.py()),
        Err(_) => Ok(v.clone()),
    }
}

macro_rules! binary {
    ($($name:ident $reflected:ident $method:ident;)*) => {
        #[pymethods]
        impl PyDim { $(
            fn $name<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                let py = other.py();
                if other.is_instance_of::<PyArray>() {
                    return Ok(py.NotImplemented().into_bound(py));
                }
                self.read(py)?.$method(plain(other)?)
            }
            fn $reflected<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                plain(other)?.$method(self.read(other.py())?)
            }
        )* }
    };
}

binary! {
    __add__ __radd__ add;
    __sub__ __rsub__ sub;
    __mul__ __rmul__ mul;
    __truediv__ __rtruediv__ div;
    __floordiv__ __rfloordiv__ floor_div;
    __mod__ __rmod__ rem;
    __divmod__ __rdivmod__ divmod;
    __lshift__ __rlshift__ lshift;
    __rshift__ __rrshift__ rshift;
    __and__ __rand__ bitand;
    __or__ __ror__ bitor;
    __xor__ __rxor__ bitxor;
}

macro_rules! unary {
    ($($name:ident)*) => {
        #[pymethods]
        impl PyDim { $(
            fn $name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.read(py)?.call_method0(stringify!($name))
            }
        )* }
    };
}

unary! { __index__ __int__ __float__ __neg__ __pos__ __abs__ __invert__ __trunc__ __floor__ __ceil__ __repr__ __str__ }

#[pymethods]
impl PyDim {
    fn __complex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyComplex>> {
        Ok(PyComplex::from_doubles(py, self.number()? as f64, 0.0))
    }
    /// `isinstance(n, int)` holds.
    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> Bound<'py, PyType> {
        py.get_type::<PyInt>()
    }
    fn __richcmp__<'py>(&self, other: &Bound<'py, PyAny>, op: CompareOp) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        if other.is_instance_of::<PyArray>() {
            return Ok(py.NotImplemented().into_bound(py));
        }
        let (asked, or_equal) = match op {
            CompareOp::Lt => (Ordering::Less, false),
            CompareOp::Le => (Ordering::Less, true),
            CompareOp::Eq | CompareOp::Ne => (Ordering::Equal, true),
            CompareOp::Gt => (Ordering::Greater, false),
            CompareOp::Ge => (Ordering::Greater, true),
        };
        let holds = if let Ok(d) = other.cast::<PyDim>() {
            self.compare(d.get().extent()?, asked, or_equal)?
        } else if let (true, Ok(n)) = (other.is_instance_of::<PyInt>(), other.extract::<isize>()) {
            self.compare(n.into(), asked, or_equal)?
        } else {
            return self.read(py)?.rich_compare(other, op);
        };
        Ok((holds != matches!(op, CompareOp::Ne)).into_pyobject(py)?.to_owned().into_any())
    }
    fn __bool__(&self) -> PyResult<bool> {
        self.compare(0.into(), Ordering::Equal, true).map(|is_zero| !is_zero)
    }
    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.read(py)?.hash()
    }
    fn __format__<'py>(&self, py: Python<'py>, spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.read(py)?.call_method1("__format__", (spec,))
    }
    #[pyo3(signature = (*digits))]
    fn __round__<'py>(&self, py: Python<'py>, digits: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.read(py)?.call_method1("__round__", digits)
    }
    fn __pow__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        if other.is_instance_of::<PyArray>() {
            return Ok(py.NotImplemented().into_bound(py));
        }
        self.read(py)?.pow(plain(other)?, modulo)
    }
    fn __rpow__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        plain(other)?.pow(self.read(other.py())?, modulo)
    }
    /// Attributes of the number: `bit_length`, `real`, …
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.read(py)?.getattr(name)
    }
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyAny>,))> {
        Ok((py.get_type::<PyInt>(), (self.read(py)?,)))
    }
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}

/// One extent: an int (−1 for one that follows, where the function says so) or a `Dim`.
pub struct OneExtent(pub Extent);

impl<'a, 'py> FromPyObject<'a, 'py> for OneExtent {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match v.cast::<PyDim>() {
            Ok(d) => d.get().extent().map(OneExtent),
            Err(_) => v.extract::<isize>().map(|n| OneExtent(n.into())),
        }
    }
}

/// A shape argument: one extent, or a sequence of them.
pub struct Dims(pub Vec<Extent>);

impl<'a, 'py> FromPyObject<'a, 'py> for Dims {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match v.extract::<OneExtent>() {
            Ok(one) => return Ok(Dims(vec![one.0])),
            Err(error) if v.is_instance_of::<PyDim>() => return Err(error),
            Err(error) if v.is_instance_of::<PyArray>() => return Err(not_ints(&v, error)),
            Err(_) => {}
        }
        let all = v.extract::<Vec<OneExtent>>().map_err(|error| not_ints(&v, error))?;
        Ok(Dims(all.into_iter().map(|e| e.0).collect()))
    }
}
