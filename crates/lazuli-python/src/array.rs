//! The `array` class.

use crate::convert::{self, Arg, number};
use crate::dim::PyDim;
use crate::dtype::PyDtype;
use crate::errors::{run, run_detached};
use crate::indexing;
use lazuli_core::{Array, DType, Dim, Kind, Scalar, ops, shapeless};
use lazuli_ir::{Binary, Unary};
use pyo3::basic::CompareOp;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::sync::Mutex;

/// An n-dimensional array, computed when its value is first needed.
///
/// Args:
///     val: numbers, nested lists or tuples of numbers, a numpy array, or anything with a buffer or `__array__`.
///     dtype (Dtype, optional): of the elements; follows from the values by default (int32, float32, bool, complex64).
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.array([1.0, 2.0]) + 1
///     array([2, 3], dtype=float32)
#[derive(Debug)]
#[pyclass(name = "array", module = "lazuli.core", frozen, weakref)]
pub struct PyArray {
    /// What the object stands for now: an update in place (`x[0] = 1`) replaces it.
    inner: Mutex<Array>,
}

impl PyArray {
    pub fn new(a: Array) -> Self {
        PyArray { inner: Mutex::new(a) }
    }
    pub fn get(&self) -> Array {
        self.inner.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
    /// Replaces what the object stands for; returns what it stood for.
    pub fn set(&self, a: Array) -> Array {
        std::mem::replace(&mut *self.inner.lock().unwrap_or_else(|e| e.into_inner()), a)
    }
}

/// A result as a Python array.
pub fn wrap(f: impl FnOnce() -> lazuli_core::Result<Array>) -> PyResult<PyArray> {
    run(f).map(PyArray::new)
}

/// `a op b`, or NotImplemented for operands that are no arrays or numbers, so that Python tries the other side.
fn operate<'py>(
    slf: &Bound<'py, PyArray>,
    other: &Bound<'py, PyAny>,
    op: Binary,
    swapped: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let Ok(other) = other.extract::<Arg>() else { return Ok(py.NotImplemented().into_bound(py)) };
    let a = slf.get().get();
    let out = run(|| if swapped { ops::binary(op, &other, &a) } else { ops::binary(op, &a, &other) })?;
    Ok(Bound::new(py, PyArray::new(out))?.into_any())
}

macro_rules! operators {
    ($($name:ident $reflected:ident $in_place:ident $op:ident;)*) => {
        #[pymethods]
        impl PyArray { $(
            fn $name<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                operate(slf, other, Binary::$op, false)
            }
            fn $reflected<'py>(slf: &Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                operate(slf, other, Binary::$op, true)
            }
            fn $in_place(&self, other: Arg) -> PyResult<()> {
                let a = self.get();
                let out = run(|| ops::binary(Binary::$op, &a, &other))?;
                self.set(out);
                Ok(())
            }
        )* }
    };
}

operators! {
    __add__ __radd__ __iadd__ Add;
    __sub__ __rsub__ __isub__ Sub;
    __mul__ __rmul__ __imul__ Mul;
    __truediv__ __rtruediv__ __itruediv__ Div;
    __floordiv__ __rfloordiv__ __ifloordiv__ FloorDivide;
    __mod__ __rmod__ __imod__ Remainder;
    __and__ __rand__ __iand__ BitwiseAnd;
    __or__ __ror__ __ior__ BitwiseOr;
    __xor__ __rxor__ __ixor__ BitwiseXor;
    __lshift__ __rlshift__ __ilshift__ LeftShift;
    __rshift__ __rrshift__ __irshift__ RightShift;
}

#[pymethods]
impl PyArray {
    #[new]
    #[pyo3(signature = (val, dtype=None))]
    fn py_new(val: &Bound<'_, PyAny>, dtype: Option<PyDtype>) -> PyResult<Self> {
        convert::to_array(val, dtype.map(|d| d.0)).map(PyArray::new)
    }

    /// Extents of the axes: ints, or in a shapeless trace what stands for them.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let a = self.get();
        match shapeless::is_symbolic(&a) {
            true => PyTuple::new(py, a.dims().into_iter().map(PyDim)),
            false => PyTuple::new(py, &a.aval().shape),
        }
    }
    #[getter]
    fn dtype(&self) -> PyDtype {
        PyDtype(self.get().dtype())
    }
    /// Number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.get().ndim()
    }
    /// Number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.get().size()
    }
    /// Bytes of one element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.get().dtype().itemsize()
    }
    /// Bytes of all elements.
    #[getter]
    fn nbytes(&self) -> usize {
        self.get().nbytes()
    }
    /// The axes in reverse order.
    #[getter(T)]
    fn transposed(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::transpose(&a, None))
    }
    /// The last two axes swapped.
    #[getter(mT)]
    fn matrix_transposed(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::swapaxes(&a, -1, -2))
    }
    #[getter]
    fn real(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::unary(Unary::Real, &a))
    }
    #[getter]
    fn imag(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::unary(Unary::Imag, &a))
    }
    /// Functional updates: `x.at[idx].add(y)` gives `x` with `y` added at `idx`; where positions repeat, all of them count.
    #[getter]
    fn at(slf: Py<Self>) -> indexing::At {
        indexing::At::new(slf)
    }

    /// The value of an array of one element, as a Python number.
    fn item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let a = self.get();
        let s = run_detached(py, || a.try_item_scalar())?;
        number(py, s)
    }
    /// The elements as nested lists of Python numbers; a number for an array without axes.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let a = self.get();
        let bytes = run_detached(py, || a.try_to_bytes())?;
        nested(py, a.dtype(), a.shape(), &bytes)
    }
    /// Conversion to another dtype.
    #[pyo3(signature = (dtype, stream=None))]
    fn astype(&self, dtype: PyDtype, stream: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let _ = stream;
        let a = self.get();
        wrap(|| ops::astype(&a, dtype.0))
    }

    /// The diagonal of a matrix, or the matrix with a vector on its diagonal; see the function.
    #[pyo3(signature = (k=0, *, stream=None))]
    fn diag<'py>(slf: &Bound<'py, Self>, k: isize, stream: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let _ = stream;
        slf.py().import("lazuli.core")?.call_method1("diag", (slf, k))
    }
    /// The elements (i, i + offset) of two axes, as the last axis; see the function.
    #[pyo3(signature = (offset=0, axis1=0, axis2=1, stream=None))]
    fn diagonal<'py>(
        slf: &Bound<'py, Self>,
        offset: isize,
        axis1: isize,
        axis2: isize,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = stream;
        slf.py().import("lazuli.core")?.call_method1("diagonal", (slf, offset, axis1, axis2))
    }

    fn __pow__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if modulo.is_some() {
            return Err(PyTypeError::new_err("[power] arrays do not support the modulo argument of pow()"));
        }
        operate(slf, other, Binary::Power, false)
    }
    fn __rpow__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        _modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        operate(slf, other, Binary::Power, true)
    }
    fn __ipow__(&self, other: Arg, _modulo: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let a = self.get();
        let out = run(|| ops::binary(Binary::Power, &a, &other))?;
        self.set(out);
        Ok(())
    }
    fn __matmul__(&self, other: convert::ArrayLike) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::matmul(&a, &other.0))
    }
    fn __rmatmul__(&self, other: convert::ArrayLike) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::matmul(&other.0, &a))
    }
    fn __imatmul__(&self, other: convert::ArrayLike) -> PyResult<()> {
        let a = self.get();
        let out = run(|| ops::matmul(&a, &other.0))?;
        self.set(out);
        Ok(())
    }
    fn __neg__(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::negative(&a))
    }
    fn __pos__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __abs__(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::abs(&a))
    }
    fn __invert__(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| if a.dtype() == DType::Bool { ops::logical_not(&a) } else { ops::bitwise_invert(&a) })
    }
    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let op = match op {
            CompareOp::Lt => Binary::Less,
            CompareOp::Le => Binary::LessEqual,
            CompareOp::Eq => Binary::Eq,
            CompareOp::Ne => Binary::Ne,
            CompareOp::Gt => Binary::Greater,
            CompareOp::Ge => Binary::GreaterEqual,
        };
        operate(slf, other, op, false)
    }
    /// By identity: equality of arrays is elementwise.
    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }

    fn __bool__(&self, py: Python<'_>) -> PyResult<bool> {
        let s = self.one(py, "bool")?;
        Ok(if s.dtype == DType::C64 { s.to_f64() != 0.0 || s.imag() != 0.0 } else { s.to_f64() != 0.0 })
    }
    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.one(py, "float")?.to_f64())
    }
    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        number(py, self.one(py, "int")?)?.call_method0("__int__")
    }
    fn __index__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let a = self.get();
        if !matches!(a.dtype().kind(), Kind::Signed | Kind::Unsigned | Kind::Bool) {
            return Err(PyTypeError::new_err(format!("an index must be of an integer dtype, not {}", a.dtype())));
        }
        number(py, self.one(py, "index")?)?.call_method0("__int__")
    }
    fn __complex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyComplex>> {
        let s = self.one(py, "complex")?;
        Ok(pyo3::types::PyComplex::from_doubles(py, s.to_f64(), s.imag() as f64))
    }
    fn __len__(&self) -> PyResult<usize> {
        let a = self.get();
        a.dims().first().map(Dim::get).ok_or_else(|| PyTypeError::new_err("len() of an array without axes"))
    }
    fn __iter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<ArrayIterator>> {
        let length = slf.borrow(py).__len__()?;
        Py::new(py, ArrayIterator { array: slf.get().get(), next: 0.into(), length })
    }
    fn __contains__(&self, py: Python<'_>, value: Arg) -> PyResult<bool> {
        let a = self.get();
        let s = run_detached(py, || ops::any(&ops::equal(&a, value.into_array())?, None, false)?.try_item_scalar())?;
        Ok(s.bits != 0)
    }
    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<Self> {
        indexing::get(&self.get(), index).map(PyArray::new)
    }
    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: Arg) -> PyResult<()> {
        let out = indexing::update(&self.get(), index, value, lazuli_kernel::ScatterOp::Assign)?;
        self.set(out);
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let a = self.get();
        run_detached(py, || lazuli_core::print::format(&a))
    }
    fn __format__(&self, py: Python<'_>, spec: &str) -> PyResult<String> {
        let a = self.get();
        if a.ndim() == 0 {
            let value = self.item(py)?;
            if spec.is_empty() {
                return run_detached(py, || Ok(lazuli_core::print::scalar(a.try_item_scalar()?)));
            }
            return value.call_method1("__format__", (spec,))?.extract();
        }
        match spec.is_empty() {
            true => self.__repr__(py),
            false => Err(PyTypeError::new_err("only arrays without axes take a format: format the elements")),
        }
    }
    fn __copy__(&self) -> Self {
        PyArray::new(self.get())
    }
    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        PyArray::new(self.get())
    }
    fn __getstate__(&self, py: Python<'_>) -> PyResult<(Vec<usize>, &'static str, Py<PyAny>)> {
        let a = self.get();
        let bytes = run_detached(py, || a.try_to_bytes())?;
        Ok((a.shape().to_vec(), a.dtype().name(), pyo3::types::PyBytes::new(py, &bytes).into_any().unbind()))
    }
    fn __setstate__(&self, state: (Vec<usize>, String, Vec<u8>)) -> PyResult<()> {
        let (shape, dtype, bytes) = state;
        let dtype = DType::ALL.into_iter().find(|d| d.name() == dtype);
        let dtype = dtype.ok_or_else(|| PyValueError::new_err("[array] the pickle names an unknown dtype"))?;
        self.set(run(|| Array::try_from_bytes(&bytes, dtype, &shape))?);
        Ok(())
    }
    /// What `pickle` calls to make the object before its state is set.
    fn __getnewargs__(&self) -> (i32,) {
        (0,)
    }
    #[getter]
    fn __array_priority__(&self) -> f64 {
        1000.0
    }
}

impl PyArray {
    fn one(&self, py: Python<'_>, what: &str) -> PyResult<Scalar> {
        let a = self.get();
        // A value is read, which no trace has: its extents need no guard.
        if a.aval().size() != 1 {
            return Err(PyValueError::new_err(format!(
                "[{what}] an array of shape {} has {} elements: only an array of one element converts to a Python number",
                lazuli_ir::shape::show(&a.aval().shape),
                a.aval().size()
            )));
        }
        run_detached(py, || a.try_item_scalar())
    }
}

/// Bytes of elements as nested lists; depth is bounded by the rank.
fn nested<'py>(py: Python<'py>, dtype: DType, shape: &[usize], bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let Some((&n, inner)) = shape.split_first() else { return number(py, Scalar::from_bytes(dtype, bytes)) };
    let step = inner.iter().product::<usize>() * dtype.itemsize();
    let rows =
        (0..n).map(|i| nested(py, dtype, inner, &bytes[i * step..(i + 1) * step])).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, rows)?.into_any())
}

/// Iterates along the first axis.
#[pyclass(module = "lazuli.core", frozen)]
pub struct ArrayIterator {
    array: Array,
    next: std::sync::atomic::AtomicUsize,
    length: usize,
}

#[pymethods]
impl ArrayIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __next__(&self) -> PyResult<Option<PyArray>> {
        let i = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if i >= self.length {
            return Ok(None);
        }
        wrap(|| ops::get(&self.array, &[ops::Item::Int(i as isize)])).map(Some)
    }
}

/// Used by signatures that take shapes as one argument or several: `reshape(2, 3)`, `reshape((2, 3))`.
pub fn spread<'py, T: FromPyObjectOwned<'py, Error = PyErr>>(args: &Bound<'py, PyTuple>) -> PyResult<T> {
    if args.len() == 1 { args.get_item(0)?.extract() } else { args.extract() }
}
