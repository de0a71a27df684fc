//! The buffer protocol: numpy arrays, memoryviews and the like in and out. One of the binding's rooms with unsafe code.

use crate::array::PyArray;
use crate::errors::run;
use lazuli_core::interop::Lent;
use lazuli_core::{Array, DType};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ffi::{CString, c_int, c_void};

/// A copy of what an object's buffer holds; `None` if it has none.
pub fn from_buffer(v: &Bound<'_, PyAny>) -> PyResult<Option<Array>> {
    // SAFETY: `v` is a live object.
    if unsafe { ffi::PyObject_CheckBuffer(v.as_ptr()) } == 0 {
        return Ok(None);
    }
    // Some have a buffer for most of their dtypes: other ways in are tried then.
    let Ok(view) = View::new(v) else { return Ok(None) };
    let Some(dtype) = dtype_of(view.format(), view.raw.itemsize as usize) else {
        return Err(PyTypeError::new_err(format!(
            "[array] elements of format {:?} have no dtype here: cast the source to one of the numeric types",
            view.format()
        )));
    };
    let narrow = dtype.1;
    let bytes = view.bytes()?;
    let shape = view.shape();
    run(|| {
        if narrow.is_some() {
            return narrowed(&bytes, &shape);
        }
        Array::try_from_bytes(&bytes, dtype.0, &shape)
    })
    .map(Some)
}

/// An array of complex128 elements, which has no dtype here: rounded to complex64.
pub fn narrowed(bytes: &[u8], shape: &[usize]) -> lazuli_core::Result<Array> {
    let part = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32;
    let bytes: Vec<u8> = bytes.chunks_exact(8).flat_map(|b| part(b).to_le_bytes()).collect();
    Array::try_from_bytes(&bytes, DType::C64, shape)
}

/// dtype of a struct format; the second is what it must be narrowed to.
fn dtype_of(format: &str, itemsize: usize) -> Option<(DType, Option<DType>)> {
    let code = format.trim_start_matches(['@', '=', '<']);
    Some(match (code, itemsize) {
        ("?", 1) => (DType::Bool, None),
        ("e", 2) => (DType::F16, None),
        ("f", 4) => (DType::F32, None),
        ("d", 8) => (DType::F64, None),
        ("Zf", 8) => (DType::C64, None),
        ("Zd", 16) => (DType::C64, Some(DType::C64)),
        ("b" | "h" | "i" | "l" | "q" | "n", n) => (
            match n {
                1 => DType::I8,
                2 => DType::I16,
                4 => DType::I32,
                _ => DType::I64,
            },
            None,
        ),
        ("B" | "H" | "I" | "L" | "Q" | "N" | "c", n) => (
            match n {
                1 => DType::U8,
                2 => DType::U16,
                4 => DType::U32,
                _ => DType::U64,
            },
            None,
        ),
        _ => return None,
    })
}

/// An acquired buffer; released when dropped.
struct View {
    raw: Box<ffi::Py_buffer>,
}

impl View {
    fn new(v: &Bound<'_, PyAny>) -> PyResult<View> {
        let mut raw = Box::new(ffi::Py_buffer::new());
        // SAFETY: `v` is a live object and `raw` is a buffer structure of our own, released in Drop if this succeeds.
        let status = unsafe { ffi::PyObject_GetBuffer(v.as_ptr(), &mut *raw, ffi::PyBUF_FULL_RO) };
        if status != 0 {
            return Err(PyErr::fetch(v.py()));
        }
        Ok(View { raw })
    }
    fn format(&self) -> &str {
        if self.raw.format.is_null() {
            return "B";
        }
        // SAFETY: an acquired buffer's format is a C string that lives as long as the buffer.
        unsafe { std::ffi::CStr::from_ptr(self.raw.format) }.to_str().unwrap_or("")
    }
    fn shape(&self) -> Vec<usize> {
        if self.raw.shape.is_null() {
            return Vec::new();
        }
        // SAFETY: an acquired buffer with a shape has `ndim` entries there.
        unsafe { std::slice::from_raw_parts(self.raw.shape, self.raw.ndim as usize) }
            .iter()
            .map(|&n| n as usize)
            .collect()
    }
    /// The elements' bytes in row-major order.
    fn bytes(&self) -> PyResult<Vec<u8>> {
        let mut out = vec![0u8; self.raw.len as usize];
        // SAFETY: `out` has the `len` bytes that the acquired buffer's elements take.
        let status = unsafe {
            ffi::PyBuffer_ToContiguous(
                out.as_mut_ptr().cast::<c_void>(),
                &*self.raw,
                self.raw.len,
                b'C' as std::ffi::c_char,
            )
        };
        if status != 0 {
            return Err(PyBufferError::new_err("[array] the buffer could not be read"));
        }
        Ok(out)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the buffer was acquired in `new` and is released once; the interpreter is held wherever a View lives.
        unsafe { ffi::PyBuffer_Release(&mut *self.raw) }
    }
}

/// What an exported buffer needs to stay alive: the array's memory and the arrays that the view points to.
struct Export {
    _lent: Lent,
    shape: Vec<isize>,
    strides: Vec<isize>,
    format: CString,
}

/// Fills `view` with the array's memory, read-only.
///
/// # Safety
/// `view` must be null or point to a buffer structure, as `__getbuffer__` is given it.
unsafe fn export(slf: Bound<'_, PyArray>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("view is null"));
    }
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        return Err(PyBufferError::new_err(
            "arrays are read-only from outside: copy first, or assign through the array",
        ));
    }
    let array = slf.get().get();
    let format = match array.dtype() {
        DType::Bool => "?",
        DType::U8 => "B",
        DType::U16 => "H",
        DType::U32 => "I",
        DType::U64 => "Q",
        DType::I8 => "b",
        DType::I16 => "h",
        DType::I32 => "i",
        DType::I64 => "q",
        DType::F16 => "e",
        DType::BF16 => {
            return Err(PyBufferError::new_err("bfloat16 has no buffer format: cast with astype(float32) first"));
        }
        DType::F32 => "f",
        DType::F64 => "d",
        DType::C64 => "Zf",
    };
    let item = array.dtype().itemsize() as isize;
    let address = std::ptr::from_ref(slf.get()) as usize;
    UNTOLD.set(None);
    let contiguous = crate::errors::read_detached(slf.py(), "numpy or a buffer", || {
        lazuli_core::eval(std::slice::from_ref(&array))?;
        array.contiguous()
    })
    .inspect_err(|e| UNTOLD.set(Some((address, e.clone_ref(slf.py())))))?;
    let lent = run(|| contiguous.lend())?;
    let layout = lent.layout.clone();
    let pointer = lent.address as *mut u8;
    let export = Box::new(Export {
        shape: layout.shape.iter().map(|&n| n as isize).collect(),
        strides: layout.strides.iter().map(|&s| s * item).collect(),
        format: CString::new(format).expect("no NUL in a format"),
        _lent: lent,
    });
    // SAFETY: the caller gives a valid view. The pointers stored in it are to memory that `export` owns or keeps alive; it is freed in
    // `release`, which Python calls once for this view.
    unsafe {
        let size = layout.size() as isize;
        (*view).buf = pointer.cast::<c_void>();
        (*view).len = size * item;
        (*view).readonly = 1;
        (*view).itemsize = item;
        (*view).format = if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT {
            export.format.as_ptr().cast_mut()
        } else {
            std::ptr::null_mut()
        };
        (*view).ndim = layout.rank() as c_int;
        (*view).shape = if flags & ffi::PyBUF_ND == ffi::PyBUF_ND {
            export.shape.as_ptr().cast_mut()
        } else {
            std::ptr::null_mut()
        };
        (*view).strides = if flags & ffi::PyBUF_STRIDES == ffi::PyBUF_STRIDES {
            export.strides.as_ptr().cast_mut()
        } else {
            std::ptr::null_mut()
        };
        (*view).suboffsets = std::ptr::null_mut();
        (*view).internal = Box::into_raw(export).cast::<c_void>();
        (*view).obj = slf.into_ptr();
    }
    Ok(())
}

thread_local! {
    /// Why the latest buffer was refused, and of which array.
    static UNTOLD: Cell<Option<(usize, PyErr)>> = const { Cell::new(None) };
}

/// Why a buffer of this array was refused just now, if it was. NumPy drops such an error and asks in another way: it is told then, as a call that runs
/// out of memory fails once and is over.
pub fn untold(array: &PyArray) -> Option<PyErr> {
    UNTOLD.take().filter(|(address, _)| *address == std::ptr::from_ref(array) as usize).map(|(_, error)| error)
}

/// Frees what [`export`] allocated.
///
/// # Safety
/// `view` must have been filled by [`export`], and not been released before.
unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: `internal` is the box that `export` leaked into this view.
    drop(unsafe { Box::from_raw((*view).internal.cast::<Export>()) });
}

#[pymethods]
impl PyArray {
    /// # Safety
    /// Called by Python's buffer protocol with a valid view.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: the view is the one Python gave us.
        unsafe { export(slf, view, flags) }
    }
    /// # Safety
    /// Called by Python once for each view that `__getbuffer__` filled.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the view was filled by `export`.
        unsafe { release(view) }
    }
}
