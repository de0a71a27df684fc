//! The `array` class.

use crate::convert::{self, Arg, number};
use crate::dim::PyDim;
use crate::dtype::PyDtype;
use crate::errors::{read_detached, read_values, run};
use crate::frames;
use crate::indexing;
use crate::scalars::{self, Number};
use lazuli_core::{Array, DType, Dim, Kind, Operand, Scalar, ops, shapeless};
use lazuli_ir::{Binary, Unary};
use pyo3::basic::CompareOp;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// An n-dimensional array, computed when its value is first needed.
///
/// Args:
///     val: numbers, nested lists or tuples of numbers and arrays, a numpy array, or anything with a buffer, DLPack or ``__array__``. Its
///         elements are copied.
///     dtype (Dtype, optional): of the elements. By default that of an array that is given (float32 for float64); of numbers bool, int32
///         (int64 for those beyond its range), float32 or complex64, whichever holds all.
///
/// Raises:
///     ValueError: lists of different lengths, or an integer beyond 64 bits. TypeError: something that is no number.
///
/// Numbers written in the program take the dtype of the array beside them if it can hold their kind: ``x + 1`` is in ``x``'s dtype. An
/// integer that does not fit it is an error. Operands of two dtypes promote; shapes broadcast as in NumPy.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.array([1.0, 2.0]) + 1
///     array([2, 3], dtype=float32)
///     >>> mx.array([[1, 2], [3, 4]])[:, 0]
///     array([1, 3], dtype=int32)
#[derive(Debug)]
#[pyclass(name = "array", module = "lazuli.core", frozen, weakref)]
pub struct PyArray {
    /// What the object stands for now: an update in place (`x[0] = 1`) replaces it.
    inner: Mutex<Held>,
    /// When it was made, in frames.
    pub made: u64,
    /// Which of all updates in place was its last; 0 if it had none.
    updated: AtomicU64,
}

/// What an object holds: an array, or a number that a compiled function traces.
#[derive(Debug, Clone)]
pub enum Held {
    Array(Array),
    Number(Number),
}

/// Counts updates in place.
static UPDATES: AtomicU64 = AtomicU64::new(1);

impl PyArray {
    pub fn new(a: Array) -> Self {
        PyArray::holding(Held::Array(a))
    }
    /// An object that stands for a number of the program.
    pub fn number(n: Number) -> Self {
        PyArray::holding(Held::Number(n))
    }
    fn holding(held: Held) -> Self {
        PyArray { inner: Mutex::new(held), made: frames::now(), updated: AtomicU64::new(0) }
    }
    /// An object that counts as older than every frame.
    pub fn older(a: Array) -> Self {
        PyArray { inner: Mutex::new(Held::Array(a)), made: 0, updated: AtomicU64::new(0) }
    }
    /// What the object stands for: while a function is traced, perhaps a placeholder.
    pub fn get(&self) -> Array {
        match self.held() {
            Held::Array(a) => a,
            Held::Number(n) => n.array(None),
        }
    }
    /// The same, with numbers told from arrays.
    pub fn held(&self) -> Held {
        if let Some(shown) = frames::look(self) {
            return Held::Array(shown);
        }
        self.inner.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
    /// The number that it stands for, if it does.
    pub fn as_number(&self) -> Option<Number> {
        match self.held() {
            Held::Array(_) => None,
            Held::Number(n) => Some(n),
        }
    }
    /// What it is beside an array.
    pub fn operand(&self) -> Arg {
        match self.held() {
            Held::Array(a) => Arg::Array(a),
            Held::Number(n) => Arg::Number(n),
        }
    }
    /// Replaces what the object stands for: an update in place.
    pub fn update(slf: &Bound<'_, PyArray>, a: Array) {
        if let Some(a) = frames::update(slf, a) {
            slf.get().set(Held::Array(a));
        }
    }
    /// Replaces what the object stands for by what may be a number.
    fn replace(slf: &Bound<'_, PyArray>, held: Held) {
        match held {
            Held::Array(a) => PyArray::update(slf, a),
            Held::Number(n) => {
                if frames::update(slf, n.array(None)).is_some() {
                    slf.get().set(Held::Number(n));
                }
            }
        }
    }
    /// A number that is another after each update in place. While a function is traced and the object stands for something else, it is another
    /// each time.
    pub fn version(&self) -> u64 {
        match frames::look(self) {
            Some(_) => UPDATES.fetch_add(1, Ordering::Relaxed),
            None => self.updated.load(Ordering::Relaxed),
        }
    }
    fn set(&self, a: Held) {
        self.updated.store(UPDATES.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.inner.lock().unwrap_or_else(|e| e.into_inner()), a);
        drop(old);
    }
}

/// The only element of an array; `how` is what the user wrote.
fn read_element(py: Python<'_>, how: &'static str, a: &Array) -> PyResult<Scalar> {
    read_values(py, how, std::slice::from_ref(a), || a.try_item_scalar())
}

/// What is known of an array without running anything: its shape and dtype, and where its value stands. Safe at any time, while tracing too.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.describe(mx.array([1.0, 2.0]))
///     'array of shape (2,), float32, evaluated'
#[pyfunction]
pub fn describe(x: &Bound<'_, PyAny>) -> PyResult<String> {
    match x.cast::<PyArray>() {
        Ok(a) => Ok(a.get().get().describe()),
        Err(_) => Ok(format!("no array: {}", x.get_type().name()?)),
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
    let a = slf.get().operand();
    let out = if swapped { apply(op, &other, &a) } else { apply(op, &a, &other) }?;
    Ok(Bound::new(py, PyArray::holding(out))?.into_any())
}

/// Of two numbers a number, where that is one whatever they are; else an array.
fn apply(op: Binary, a: &Arg, b: &Arg) -> PyResult<Held> {
    run(|| match scalars::binary(op, a, b) {
        Some(number) => number.map(Held::Number),
        None => ops::binary(op, a, b).map(Held::Array),
    })
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
            fn $in_place(slf: &Bound<'_, Self>, other: Arg) -> PyResult<()> {
                PyArray::replace(slf, apply(Binary::$op, &slf.get().operand(), &other)?);
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

    /// Extents of the axes, a tuple: of ints, or in a shapeless trace of what stands for them.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let a = self.get();
        match shapeless::is_symbolic(&a) {
            true => PyTuple::new(py, a.dims().into_iter().map(PyDim::new)),
            false => PyTuple::new(py, &a.aval().shape),
        }
    }
    /// Type of the elements.
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
    /// The real part: float32 for complex64, the array itself for other dtypes.
    #[getter]
    fn real(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::unary(Unary::Real, &a))
    }
    /// The imaginary part: float32 for complex64, zeros for other dtypes.
    #[getter]
    fn imag(&self) -> PyResult<Self> {
        let a = self.get();
        wrap(|| ops::unary(Unary::Imag, &a))
    }
    /// Functional updates: ``x.at[index].add(y)`` is a new array, ``x`` with ``y`` added at the index. Where positions repeat, all of
    /// them count. Also ``subtract``, ``multiply``, ``divide``, ``maximum``, ``minimum``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.zeros(3).at[mx.array([0, 0, 2])].add(1.0)
    ///     array([2, 0, 1], dtype=float32)
    #[getter]
    fn at(slf: Py<Self>) -> indexing::At {
        indexing::At::new(slf)
    }

    /// The value of an array of one element, as a Python number.
    ///
    /// Raises:
    ///     ValueError: the array has another number of elements, or is being traced and has no value.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array([1.5]).item()
    ///     1.5
    fn item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let a = self.get();
        let s = read_element(py, "item()", &a)?;
        number(py, s)
    }
    /// The elements as nested lists of Python numbers; a number for an array without axes.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array([[1, 2], [3, 4]]).tolist()
    ///     [[1, 2], [3, 4]]
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let a = self.get();
        let bytes = read_detached(py, "tolist()", || a.try_to_bytes())?;
        nested(py, a.dtype(), a.shape(), &bytes)
    }
    /// The complex conjugate; arrays of other dtypes as they are.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array([1 + 2j]).conj()
    ///     array([1-2j], dtype=complex64)
    #[pyo3(signature = (*, stream=None))]
    fn conj(&self, stream: Option<convert::On>) -> PyResult<Self> {
        let _ = stream;
        let a = self.get();
        wrap(|| ops::conjugate(&a))
    }
    /// Conversion to another dtype; the array itself if it has it. See ``mx.astype``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array([1.9, -1.9]).astype(mx.int32)
    ///     array([1, -1], dtype=int32)
    #[pyo3(signature = (dtype, stream=None))]
    fn astype(&self, dtype: PyDtype, stream: Option<convert::On>) -> PyResult<Self> {
        let _ = stream;
        let a = self.get();
        wrap(|| ops::astype(&a, dtype.0))
    }

    /// The diagonal of a matrix, or the matrix with a vector on its diagonal. See ``mx.diag``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array([[1, 2], [3, 4]]).diag()
    ///     array([1, 4], dtype=int32)
    #[pyo3(signature = (k=0, *, stream=None))]
    fn diag(&self, k: isize, stream: Option<convert::On>) -> PyResult<Self> {
        let _ = stream;
        wrap(|| ops::diag(&self.get(), k))
    }
    /// The elements (i, i + offset) of two axes, as the last axis. See ``mx.diagonal``.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.array([[1, 2], [3, 4]]).diagonal(1)
    ///     array([2], dtype=int32)
    #[pyo3(signature = (offset=0, axis1=0, axis2=1, stream=None))]
    fn diagonal(&self, offset: isize, axis1: isize, axis2: isize, stream: Option<convert::On>) -> PyResult<Self> {
        let _ = stream;
        wrap(|| ops::diagonal(&self.get(), offset, axis1, axis2))
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
    fn __ipow__(slf: &Bound<'_, Self>, other: Arg, _modulo: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        PyArray::replace(slf, apply(Binary::Power, &slf.get().operand(), &other)?);
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
    fn __imatmul__(slf: &Bound<'_, Self>, other: convert::ArrayLike) -> PyResult<()> {
        let a = slf.get().get();
        let out = run(|| ops::matmul(&a, &other.0))?;
        PyArray::update(slf, out);
        Ok(())
    }
    fn __neg__(&self) -> PyResult<Self> {
        match self.as_number().and_then(|n| n.unary(Unary::Neg)) {
            Some(number) => run(|| number).map(PyArray::number),
            None => wrap(|| ops::negative(&self.get())),
        }
    }
    fn __pos__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __abs__(&self) -> PyResult<Self> {
        match self.as_number().and_then(|n| n.unary(Unary::Abs)) {
            Some(number) => run(|| number).map(PyArray::number),
            None => wrap(|| ops::abs(&self.get())),
        }
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
        let s = self.one(py, "bool()")?;
        Ok(if s.dtype == DType::C64 { s.to_f64() != 0.0 || s.imag() != 0.0 } else { s.to_f64() != 0.0 })
    }
    fn __float__(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.one(py, "float()")?.to_f64())
    }
    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        number(py, self.one(py, "int()")?)?.call_method0("__int__")
    }
    fn __index__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let a = self.get();
        if a.ndim() > 0 && a.size() != 1 {
            return Err(PyTypeError::new_err(
                "an index, an axis or an extent is one integer, not an array of several: arrays that are joined are one argument, [x, y]",
            ));
        }
        if !matches!(a.dtype().kind(), Kind::Signed | Kind::Unsigned | Kind::Bool) {
            return Err(PyTypeError::new_err(format!(
                "an index, an axis or an extent is an integer, not an array of {}",
                a.dtype()
            )));
        }
        number(py, self.one(py, "index()")?)?.call_method0("__int__")
    }
    fn __complex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyComplex>> {
        let s = self.one(py, "complex()")?;
        Ok(pyo3::types::PyComplex::from_doubles(py, s.to_f64(), s.imag() as f64))
    }
    fn __len__(&self) -> PyResult<usize> {
        let a = self.get();
        let length = a.dims().first().map(Dim::get);
        length.ok_or_else(|| PyTypeError::new_err("an array without axes has no len(): size is its number of elements"))
    }
    fn __iter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<ArrayIterator>> {
        let length = slf.get().get().dims().first().map(Dim::get);
        let length = length
            .ok_or_else(|| PyTypeError::new_err("an array without axes can't be iterated over: item() is its value"))?;
        Py::new(py, ArrayIterator { array: slf.get().get(), next: 0.into(), length })
    }
    fn __contains__(&self, py: Python<'_>, value: Arg) -> PyResult<bool> {
        let a = self.get();
        let s =
            read_detached(py, "in", || ops::any(&ops::equal(&a, value.into_array())?, None, false)?.try_item_scalar())?;
        Ok(s.bits != 0)
    }
    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<Self> {
        indexing::get(&self.get(), index).map(PyArray::new)
    }
    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: Arg) -> PyResult<()> {
        let out = indexing::update(&slf.get().get(), index, value, lazuli_kernel::ScatterOp::Assign)?;
        PyArray::update(slf, out);
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let a = self.get();
        read_detached(py, "print() or str()", || lazuli_core::print::format(&a))
    }
    /// A table of the values, for notebooks.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("lazuli._notebook")?.call_method1("view", (slf,))
    }
    fn __format__(&self, py: Python<'_>, spec: &str) -> PyResult<String> {
        let a = self.get();
        if a.ndim() == 0 {
            let s = read_element(py, "format()", &a)?;
            return number(py, s)?.call_method1("__format__", (spec,))?.extract();
        }
        match spec.is_empty() {
            true => self.__repr__(py),
            false => Err(PyTypeError::new_err(format!(
                "the format {spec:?} is for numbers, and this array has the shape {}: format its elements, or print within mx.printoptions(precision=...)",
                lazuli_ir::shape::show(a.shape())
            ))),
        }
    }
    /// As ``mx.round``: ``round(x, 2)``.
    #[pyo3(signature = (ndigits=None))]
    fn __round__<'py>(slf: &Bound<'py, Self>, ndigits: Option<i32>) -> PyResult<Bound<'py, PyAny>> {
        slf.call_method1("round", (ndigits.unwrap_or(0),))
    }
    /// The bytes of the elements, row by row. (Python would ask integers for `__index__` before it asks for a buffer.)
    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let a = self.get();
        Ok(PyBytes::new(py, &read_detached(py, "bytes()", || a.try_to_bytes())?))
    }
    /// As a numpy array: for dtypes that buffers do not have (bfloat16), by way of float32.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(error) = crate::buffer::untold(self) {
            return Err(error);
        }
        let a = self.get();
        let converts = a.dtype() == DType::BF16;
        if converts && copy == Some(false) {
            return Err(PyValueError::new_err(
                "numpy has no bfloat16: the elements have to be converted, which copies",
            ));
        }
        let a = if converts { run(|| ops::astype(&a, DType::F32))? } else { a };
        let view = py.import("builtins")?.call_method1("memoryview", (Bound::new(py, PyArray::new(a))?,))?;
        let make = if copy == Some(true) { "array" } else { "asarray" };
        py.import("numpy")?.call_method1(make, (view, dtype))
    }
    /// The module whose functions take such arrays.
    #[pyo3(signature = (*, api_version=None))]
    fn __array_namespace__<'py>(
        &self,
        py: Python<'py>,
        api_version: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyModule>> {
        let _ = api_version;
        py.import("lazuli.core")
    }
    /// Called for names that arrays do not have: the error says how Lazuli spells them.
    fn __getattr__(slf: &Bound<'_, Self>, name: &str) -> PyResult<Py<PyAny>> {
        let text = match name.starts_with("__") {
            true => format!("'lazuli.core.array' object has no attribute '{name}'"),
            false => slf.py().import("lazuli._spelling")?.call_method1("unknown_attribute", (name,))?.extract()?,
        };
        Err(PyAttributeError::new_err(text))
    }
    fn __copy__(&self) -> Self {
        PyArray::new(self.get())
    }
    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        PyArray::new(self.get())
    }
    fn __getstate__(&self, py: Python<'_>) -> PyResult<(Vec<usize>, &'static str, Py<PyAny>)> {
        let a = self.get();
        let bytes = read_detached(py, "pickle or save", || a.try_to_bytes())?;
        Ok((a.shape().to_vec(), a.dtype().name(), pyo3::types::PyBytes::new(py, &bytes).into_any().unbind()))
    }
    fn __setstate__(&self, state: (Vec<usize>, String, Vec<u8>)) -> PyResult<()> {
        let (shape, dtype, bytes) = state;
        let dtype = DType::ALL.into_iter().find(|d| d.name() == dtype);
        let dtype = dtype.ok_or_else(|| PyValueError::new_err("[array] the pickle names an unknown dtype"))?;
        self.set(Held::Array(run(|| Array::try_from_bytes(&bytes, dtype, &shape))?));
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
    fn one(&self, py: Python<'_>, what: &'static str) -> PyResult<Scalar> {
        let a = self.get();
        // A value is read, which no trace has: its extents need no guard.
        if a.aval().size() != 1 {
            return Err(PyValueError::new_err(format!(
                "[{what}] an array of shape {} has {} elements: only an array of one element converts to a Python number",
                lazuli_ir::shape::show(&a.aval().shape),
                a.aval().size()
            )));
        }
        read_element(py, what, &a)
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
