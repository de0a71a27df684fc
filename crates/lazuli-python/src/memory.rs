//! How much memory arrays take, and what backend runs them.

use lazuli_core::backend;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Bytes of memory that arrays take now.
#[pyfunction]
fn get_active_memory() -> usize {
    backend::default().memory().active
}
/// The most bytes that arrays took since the process began or the last reset.
#[pyfunction]
fn get_peak_memory() -> usize {
    backend::default().memory().peak
}
/// Sets the peak to what is in use now.
#[pyfunction]
fn reset_peak_memory() {
    backend::default().reset_peak_memory();
}
/// Bytes of freed memory kept for re-use.
#[pyfunction]
fn get_cache_memory() -> usize {
    backend::default().memory().cache
}
/// Returns cached memory to the system.
#[pyfunction]
fn clear_cache() {
    backend::default().clear_cache();
}
/// Limits how much freed memory is kept, in bytes; returns the old limit.
#[pyfunction]
fn set_cache_limit(limit: usize) -> usize {
    backend::default().set_cache_limit(limit)
}
/// Limits the memory that arrays may take, in bytes; returns the old limit. What would need more raises `MemoryError`, and leaves arrays as
/// they were.
#[pyfunction]
fn set_memory_limit(limit: usize) -> usize {
    backend::default().set_memory_limit(limit)
}
/// Name, instruction set and threads of the backend.
#[pyfunction]
fn device_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let f = backend::default().features();
    let d = PyDict::new(py);
    d.set_item("device_name", f.name)?;
    d.set_item("architecture", f.architecture)?;
    d.set_item("threads", f.threads)?;
    d.set_item("cache_memory", backend::default().memory().cache)?;
    Ok(d)
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
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
