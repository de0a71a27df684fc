//! DLPack, both ways: arrays that share memory with other frameworks. The structures are those of DLPack 1.0 (dmlc/dlpack, `dlpack.h`).
//! One of the binding's rooms with unsafe code.
//!
//! Out: the capsule holds the array's buffer, which therefore is neither freed nor donated. The memory is read-only, which only versioned
//! capsules can say: for those who ask for one without a version it is copied.
//!
//! In: the exporter's memory is shared if its elements are aligned and of a dtype of ours. What the exporter gave is given back exactly once,
//! by a thread that holds the interpreter: buffers may die on any thread, so that what they owned goes to a queue which holders of the
//! interpreter drain.

use crate::array::PyArray;
use crate::errors::{read_detached, run};
use lazuli_core::interop::Lent;
use lazuli_core::{Array, DType, backend};
use lazuli_kernel::{Layout, shape};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Mutex;

const CPU: i32 = 1;
/// Kinds of devices whose memory the host can read: the CPU, and memory pinned for CUDA or ROCm.
const READABLE: [i32; 3] = [CPU, 3, 11];
const READ_ONLY: u64 = 1;
const IS_COPIED: u64 = 2;
const VERSION: Version = Version { major: 1, minor: 0 };

#[repr(C)]
#[derive(Clone, Copy)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Tensor {
    data: *mut c_void,
    device_kind: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Managed {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct ManagedVersioned {
    version: Version,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut ManagedVersioned)>,
    flags: u64,
    tensor: Tensor,
}

/// What the two structures have in common.
trait Capsule: Sized {
    const NAME: &'static CStr;
    const USED: &'static CStr;
    fn new(tensor: Tensor, flags: u64, deleter: unsafe extern "C" fn(*mut Self)) -> Self;
    fn context(&mut self) -> &mut *mut c_void;
    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)>;
    fn tensor(&self) -> Tensor;
    /// An error if this is of a version that can't be read.
    fn readable(&self) -> PyResult<()>;
}

impl Capsule for Managed {
    const NAME: &'static CStr = c"dltensor";
    const USED: &'static CStr = c"used_dltensor";
    fn new(tensor: Tensor, _: u64, deleter: unsafe extern "C" fn(*mut Self)) -> Self {
        Managed { tensor, context: std::ptr::null_mut(), deleter: Some(deleter) }
    }
    fn context(&mut self) -> &mut *mut c_void {
        &mut self.context
    }
    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)> {
        self.deleter
    }
    fn tensor(&self) -> Tensor {
        self.tensor
    }
    fn readable(&self) -> PyResult<()> {
        Ok(())
    }
}

impl Capsule for ManagedVersioned {
    const NAME: &'static CStr = c"dltensor_versioned";
    const USED: &'static CStr = c"used_dltensor_versioned";
    fn new(tensor: Tensor, flags: u64, deleter: unsafe extern "C" fn(*mut Self)) -> Self {
        ManagedVersioned { version: VERSION, context: std::ptr::null_mut(), deleter: Some(deleter), flags, tensor }
    }
    fn context(&mut self) -> &mut *mut c_void {
        &mut self.context
    }
    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)> {
        self.deleter
    }
    fn tensor(&self) -> Tensor {
        self.tensor
    }
    fn readable(&self) -> PyResult<()> {
        match self.version.major == VERSION.major {
            true => Ok(()),
            false => Err(PyBufferError::new_err(format!(
                "[from_dlpack] the exporter speaks version {} of DLPack, and version 1 was asked for",
                self.version.major
            ))),
        }
    }
}

/// The type code and bits of a dtype.
fn code_of(dtype: DType) -> (u8, u8) {
    let code = match dtype {
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => 0,
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => 1,
        DType::F16 | DType::F32 | DType::F64 => 2,
        DType::BF16 => 4,
        DType::C64 => 5,
        DType::Bool => 6,
    };
    (code, 8 * dtype.itemsize() as u8)
}

/// What a capsule's structure points to.
struct Exported<M> {
    managed: M,
    shape: Vec<i64>,
    strides: Vec<i64>,
    _lent: Lent,
}

/// Frees what [`export`] made.
///
/// # Safety
/// `managed` must be one that `export` made, and not have been deleted before.
unsafe extern "C" fn delete<M: Capsule>(managed: *mut M) {
    // SAFETY: the context of an exported structure is its box, which is freed here, once.
    drop(unsafe { Box::from_raw((*(*managed).context()).cast::<Exported<M>>()) });
}

/// Called when a capsule dies: frees what nobody has taken.
///
/// # Safety
/// `capsule` must be one that [`export`] made.
unsafe extern "C" fn destroy<M: Capsule>(capsule: *mut ffi::PyObject) {
    // SAFETY: a live capsule; one of this name points to a structure that nobody has taken.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, M::NAME.as_ptr()) == 1 {
            let managed = ffi::PyCapsule_GetPointer(capsule, M::NAME.as_ptr()).cast::<M>();
            if let Some(deleter) = (*managed).deleter() {
                deleter(managed);
            }
        }
    }
}

/// A capsule of an array's memory.
fn export<'py, M: Capsule>(py: Python<'py>, dtype: DType, lent: Lent, flags: u64) -> PyResult<Bound<'py, PyAny>> {
    let (code, bits) = code_of(dtype);
    let mut shape: Vec<i64> = lent.layout.shape.iter().map(|&n| n as i64).collect();
    let mut strides: Vec<i64> = lent.layout.strides.iter().map(|&s| s as i64).collect();
    let tensor = Tensor {
        data: lent.address as *mut c_void,
        device_kind: CPU,
        device_id: 0,
        ndim: shape.len() as i32,
        code,
        bits,
        lanes: 1,
        shape: shape.as_mut_ptr(),
        strides: strides.as_mut_ptr(),
        byte_offset: 0,
    };
    let exported = Box::new(Exported { managed: M::new(tensor, flags, delete::<M>), shape, strides, _lent: lent });
    let exported = Box::into_raw(exported);
    // SAFETY: the box was just leaked; it is freed by `delete`, which its structure leads to. Vectors do not move what they point to when they move.
    unsafe {
        debug_assert_eq!((*exported).managed.tensor().shape, (*exported).shape.as_mut_ptr());
        debug_assert_eq!((*exported).managed.tensor().strides, (*exported).strides.as_mut_ptr());
        let managed = &raw mut (*exported).managed;
        *(*managed).context() = exported.cast();
        let capsule = ffi::PyCapsule_New(managed.cast(), M::NAME.as_ptr(), Some(destroy::<M>));
        if capsule.is_null() {
            delete(managed);
        }
        Bound::from_owned_ptr_or_err(py, capsule)
    }
}

/// What an exporter gave us; it goes to the queue when dropped.
struct Owner(Given);

/// A structure that an exporter gave, and how to give it back.
struct Given {
    managed: *mut c_void,
    delete: unsafe fn(*mut c_void),
}

// SAFETY: the structure is not looked at any more; deleting it may be done on any thread that holds the interpreter.
unsafe impl Send for Given {}
// SAFETY: as above.
unsafe impl Sync for Owner {}

/// What waits to be given back by a thread that holds the interpreter.
static QUEUE: Mutex<Vec<Given>> = Mutex::new(Vec::new());

impl Drop for Owner {
    fn drop(&mut self) {
        let given = Given { managed: self.0.managed, delete: self.0.delete };
        QUEUE.lock().unwrap_or_else(|e| e.into_inner()).push(given);
        // SAFETY: both may be called on any thread, with or without the interpreter.
        unsafe {
            if ffi::Py_IsInitialized() != 0 {
                // If too many calls are pending, the next import or export drains the queue.
                ffi::Py_AddPendingCall(Some(drain_pending), std::ptr::null_mut());
            }
        }
    }
}

extern "C" fn drain_pending(_: *mut c_void) -> c_int {
    Python::attach(drain);
    0
}

/// Gives back what waits for it.
fn drain(_: Python<'_>) {
    let waiting = std::mem::take(&mut *QUEUE.lock().unwrap_or_else(|e| e.into_inner()));
    for given in waiting {
        // SAFETY: this thread holds the interpreter, and a structure enters the queue once, when its only owner is dropped.
        unsafe { (given.delete)(given.managed) };
    }
}

/// Calls the deleter of a structure.
///
/// # Safety
/// `managed` must be a structure of type `M` that was taken from its capsule and not deleted since.
unsafe fn give_back<M: Capsule>(managed: *mut c_void) {
    let managed = managed.cast::<M>();
    // SAFETY: the caller's promise; a structure without a deleter needs none.
    unsafe {
        if let Some(deleter) = (*managed).deleter() {
            deleter(managed);
        }
    }
}

/// Takes the structure out of a capsule that holds one of this type.
fn take<M: Capsule>(capsule: &Bound<'_, PyAny>) -> PyResult<Option<(Tensor, Owner)>> {
    // SAFETY: `capsule` is a live object. A valid capsule of this name points to a structure of this type, which becomes ours as its name changes.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule.as_ptr(), M::NAME.as_ptr()) == 0 {
            return Ok(None);
        }
        let managed = ffi::PyCapsule_GetPointer(capsule.as_ptr(), M::NAME.as_ptr()).cast::<M>();
        (*managed).readable()?;
        if ffi::PyCapsule_SetName(capsule.as_ptr(), M::USED.as_ptr()) != 0 {
            return Err(PyErr::fetch(capsule.py()));
        }
        Ok(Some(((*managed).tensor(), Owner(Given { managed: managed.cast(), delete: give_back::<M> }))))
    }
}

/// An array of what an object exports. Without `copy` the memory is shared if it can be; `Some(false)` insists.
pub fn import(v: &Bound<'_, PyAny>, copy: Option<bool>) -> PyResult<Array> {
    let py = v.py();
    drain(py);
    let (kind, _): (i32, i32) = v.call_method0("__dlpack_device__")?.extract()?;
    if !READABLE.contains(&kind) {
        return Err(PyValueError::new_err(format!(
            "[from_dlpack] the data is on a device of DLPack's kind {kind}, and the CPU cannot read it: move it to the CPU first"
        )));
    }
    let options = PyDict::new(py);
    options.set_item("max_version", (VERSION.major, VERSION.minor))?;
    let capsule = match v.call_method("__dlpack__", (), Some(&options)) {
        // An exporter of before there were versions.
        Err(e) if e.is_instance_of::<PyTypeError>(py) => v.call_method0("__dlpack__")?,
        capsule => capsule?,
    };
    let taken = match take::<ManagedVersioned>(&capsule)? {
        None => take::<Managed>(&capsule)?,
        taken => taken,
    };
    let (tensor, owner) = taken.ok_or_else(|| {
        PyTypeError::new_err("[from_dlpack] __dlpack__() did not return a DLPack capsule that is still unused")
    })?;
    let array = adopt(&tensor, owner, copy);
    drain(py);
    array
}

/// Shape and strides of a tensor, in elements.
fn layout(tensor: &Tensor) -> PyResult<Layout> {
    let n = usize::try_from(tensor.ndim)
        .map_err(|_| PyBufferError::new_err("[from_dlpack] a negative number of dimensions"))?;
    let read = |from: *mut i64| -> Vec<i64> {
        // SAFETY: a structure's shape and strides have `ndim` entries; neither is read if there are none.
        (0..n).map(|i| unsafe { *from.add(i) }).collect()
    };
    let extents: Result<Vec<usize>, _> = read(tensor.shape).into_iter().map(usize::try_from).collect();
    let extents = extents.map_err(|_| PyBufferError::new_err("[from_dlpack] an extent is negative"))?;
    Ok(match tensor.strides.is_null() {
        true => Layout::row(&extents[..]),
        false => {
            let strides = read(tensor.strides).into_iter().map(|s| s as isize).collect();
            Layout { shape: extents[..].into(), strides, offset: 0 }
        }
    })
}

fn adopt(tensor: &Tensor, owner: Owner, copy: Option<bool>) -> PyResult<Array> {
    let code = (tensor.code, tensor.bits);
    let dtype = DType::ALL.into_iter().find(|&d| code_of(d) == code).filter(|_| tensor.lanes == 1);
    let narrowed = code == (5, 128) && tensor.lanes == 1;
    let Some(dtype) = dtype.or(narrowed.then_some(DType::C64)) else {
        return Err(PyTypeError::new_err(format!(
            "[from_dlpack] elements of DLPack's type code {}, {} bits and {} lanes have no dtype here: convert the source first",
            tensor.code, tensor.bits, tensor.lanes
        )));
    };
    let layout = layout(tensor)?;
    let item = if narrowed { 16 } else { dtype.itemsize() };
    let Some((low, high)) = layout.span() else {
        return run(|| Array::try_from_bytes(&[], dtype, &layout.shape));
    };
    let start =
        (tensor.data as usize).wrapping_add(tensor.byte_offset as usize).wrapping_add_signed(low * item as isize);
    let pointer = NonNull::new(start as *mut u8)
        .ok_or_else(|| PyBufferError::new_err("[from_dlpack] the data is at address 0"))?;
    let nbytes = (high - low + 1) as usize * item;
    let layout = Layout { offset: -low, ..layout };
    if copy != Some(true) && !narrowed && start.is_multiple_of(item) {
        // SAFETY: the exporter's memory spans these bytes until `owner` gives its structure back; it is aligned to its elements.
        let buffer = unsafe { backend::adopt(pointer, nbytes, Box::new(owner)) };
        return run(|| Array::from_buffer(buffer, dtype, layout));
    }
    if copy == Some(false) {
        let why = if narrowed { "complex128 is converted to complex64" } else { "its elements are not aligned" };
        return Err(PyValueError::new_err(format!(
            "[from_dlpack] copy=False, but sharing the memory is not possible: {why}"
        )));
    }
    // SAFETY: as above, and `owner` lives until the bytes are copied.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.as_ptr(), nbytes) };
    let bytes = gather(bytes, &layout, item);
    drop(owner);
    run(|| match narrowed {
        true => crate::buffer::narrowed(&bytes, &layout.shape),
        false => Array::try_from_bytes(&bytes, dtype, &layout.shape),
    })
}

/// The bytes of elements of a layout, in row-major order.
fn gather(bytes: &[u8], layout: &Layout, item: usize) -> Vec<u8> {
    if layout.is_row_contiguous() {
        return bytes.to_vec();
    }
    let mut out = Vec::with_capacity(shape::size(&layout.shape) * item);
    let mut index = vec![0usize; layout.rank()];
    for _ in 0..layout.size() {
        let at: isize = index.iter().zip(&layout.strides).map(|(&i, &s)| i as isize * s).sum::<isize>() + layout.offset;
        out.extend_from_slice(&bytes[at as usize * item..][..item]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < layout.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// from_dlpack(x, *, copy=None)
/// --
///
/// An array of what an object of another framework holds, through DLPack.
///
/// The memory is shared where it can be: it stays alive as long as the array, and who writes to it from outside changes the array, and
/// what lazily depends on it. ``mx.array(x)`` copies.
///
/// Args:
///     x: an object with ``__dlpack__`` and ``__dlpack_device__`` whose memory the CPU can read: a numpy array, a tensor of PyTorch, ...
///     copy: True copies, False never does, None only if sharing is not possible.
///
/// Returns:
///     array: of the dtype and shape of ``x``; complex128 becomes complex64.
///
/// Raises:
///     ValueError: the data is on another device, or ``copy=False`` and it can't be shared.
///     TypeError: ``x`` does not support DLPack, or its elements have no dtype here.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> x = mx.array([1.0, 2.0])
///     >>> mx.from_dlpack(x)
///     array([1, 2], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, *, copy=None), text_signature = None)]
pub fn from_dlpack(x: &Bound<'_, PyAny>, copy: Option<bool>) -> PyResult<PyArray> {
    if !x.hasattr("__dlpack__")? || !x.hasattr("__dlpack_device__")? {
        return Err(PyTypeError::new_err(format!(
            "[from_dlpack] {} does not support DLPack: mx.array(x) takes other objects",
            x.get_type().name()?
        )));
    }
    import(x, copy).map(PyArray::new)
}

#[pymethods]
impl PyArray {
    /// __dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)
    /// --
    ///
    /// The array as a DLPack capsule, for ``from_dlpack`` of other frameworks; computes the value first.
    ///
    /// The memory is shared and marked read-only, which takes a capsule with a version (``max_version=(1, 0)`` or newer); without one it is copied.
    /// Not everybody heeds the mark: PyTorch lets a program write to the tensor, which changes the array. ``copy=True`` is safe from that.
    ///
    /// Args:
    ///     stream: ignored: the value is there when this returns.
    ///     max_version: the newest version that the caller can read, a pair.
    ///     dl_device: where to export to: only ``(1, 0)``, the CPU.
    ///     copy: True copies; False never does.
    ///
    /// Raises:
    ///     BufferError: another device, or ``copy=False`` without a version.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None), text_signature = None)]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = stream;
        drain(py);
        if dl_device.is_some_and(|(kind, _)| kind != CPU) {
            return Err(PyBufferError::new_err("[__dlpack__] arrays are exported to the CPU only, device (1, 0)"));
        }
        let versioned = max_version.is_some_and(|(major, _)| major >= VERSION.major);
        if !versioned && copy == Some(false) {
            return Err(PyBufferError::new_err(
                "[__dlpack__] arrays are read-only, which a capsule without a version cannot say: ask for max_version=(1, 0), or allow a copy",
            ));
        }
        let copied = copy.unwrap_or(!versioned);
        let array = self.get();
        let array = read_detached(py, "numpy or a buffer", || {
            lazuli_core::eval(std::slice::from_ref(&array))?;
            match copied {
                true => Array::try_from_bytes(&array.try_to_bytes()?, array.dtype(), array.shape()),
                false => Ok(array),
            }
        })?;
        let lent = run(|| array.lend())?;
        match versioned {
            true => export::<ManagedVersioned>(py, array.dtype(), lent, if copied { IS_COPIED } else { READ_ONLY }),
            false => export::<Managed>(py, array.dtype(), lent, 0),
        }
    }
    /// __dlpack_device__($self)
    /// --
    ///
    /// DLPack's kind and number of the device that holds the array: ``(1, 0)``, the CPU.
    #[pyo3(text_signature = None)]
    fn __dlpack_device__(&self) -> (i32, i32) {
        (CPU, 0)
    }
}
