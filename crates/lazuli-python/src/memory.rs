//! How much memory arrays take, what backend runs them, and how they print.

use crate::convert::On;
use lazuli_core::{backend, print};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Bytes of memory that arrays take now. Those of up to 16 bytes lie within the array itself, and are not counted.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> x = mx.zeros(1000)
///     >>> mx.eval(x)
///     >>> mx.get_active_memory() >= 4000
///     True
#[pyfunction]
fn get_active_memory() -> usize {
    backend::default().memory().active
}
/// The most bytes that arrays took since the process began or the last ``reset_peak_memory``.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.get_peak_memory() >= mx.get_active_memory()
///     True
#[pyfunction]
fn get_peak_memory() -> usize {
    backend::default().memory().peak
}
/// Sets the peak to what is in use now.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.reset_peak_memory()
#[pyfunction]
fn reset_peak_memory() {
    backend::default().reset_peak_memory();
}
/// Bytes of freed memory kept for re-use.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.get_cache_memory() >= 0
///     True
#[pyfunction]
fn get_cache_memory() -> usize {
    backend::default().memory().cache
}
/// Returns cached memory to the system.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.clear_cache()
#[pyfunction]
fn clear_cache() {
    backend::default().clear_cache();
}
/// Limits how much freed memory is kept, in bytes; returns the old limit.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> before = mx.set_cache_limit(1 << 20)
///     >>> mx.set_cache_limit(before)
///     1048576
#[pyfunction]
fn set_cache_limit(limit: usize) -> usize {
    backend::default().set_cache_limit(limit)
}
/// Limits the memory that arrays may take, in bytes; returns the old limit. What would need more raises ``MemoryError``, and leaves arrays as
/// they were; state that a compiled function updates is what it was before the call.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> before = mx.set_memory_limit(1 << 30)
///     >>> mx.set_memory_limit(before)
///     1073741824
#[pyfunction]
fn set_memory_limit(limit: usize) -> usize {
    backend::default().set_memory_limit(limit)
}
/// Name, instruction set and threads of a device (by default the default one): a dict.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> sorted(mx.device_info())
///     ['architecture', 'cache_memory', 'device_name', 'threads']
#[pyfunction]
#[pyo3(signature = (d=None))]
fn device_info(py: Python<'_>, d: Option<On>) -> PyResult<Bound<'_, PyDict>> {
    let _ = d;
    let f = backend::default().features();
    let d = PyDict::new(py);
    d.set_item("device_name", f.name)?;
    d.set_item("architecture", f.architecture)?;
    d.set_item("threads", f.threads)?;
    d.set_item("cache_memory", backend::default().memory().cache)?;
    Ok(d)
}

/// Decimal places of printed floats; -1 for six significant digits.
#[pyfunction]
fn _print_precision() -> isize {
    print::precision().map_or(-1, |p| p as isize)
}
/// Sets them.
#[pyfunction]
fn _set_print_precision(precision: isize) -> PyResult<()> {
    if precision > 1000 {
        return Err(PyValueError::new_err(format!("[set_printoptions] {precision} decimal places are too many")));
    }
    print::set_precision(usize::try_from(precision).ok());
    Ok(())
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    for f in [
        wrap_pyfunction!(get_active_memory, m)?,
        wrap_pyfunction!(get_peak_memory, m)?,
        wrap_pyfunction!(reset_peak_memory, m)?,
        wrap_pyfunction!(get_cache_memory, m)?,
        wrap_pyfunction!(clear_cache, m)?,
        wrap_pyfunction!(set_cache_limit, m)?,
        wrap_pyfunction!(set_memory_limit, m)?,
        wrap_pyfunction!(device_info, m)?,
        wrap_pyfunction!(_print_precision, m)?,
        wrap_pyfunction!(_set_print_precision, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
