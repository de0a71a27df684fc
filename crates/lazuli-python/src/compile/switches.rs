//! Turning the compiler off, in whole or in part.

use lazuli_core::{CompileMode, switch};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Turns compilation off for the whole process: compiled functions run as plain ones, so that values can be looked at.
#[pyfunction]
pub fn disable_compile() {
    switch::disable_compile();
}
/// Turns compilation on again, also if the environment turned it off.
#[pyfunction]
pub fn enable_compile() {
    switch::enable_compile();
}

fn named(name: &str) -> PyResult<CompileMode> {
    CompileMode::ALL.into_iter().find(|m| m.name() == name).ok_or_else(|| {
        let names = CompileMode::ALL.map(CompileMode::name);
        PyValueError::new_err(format!("[compile] no mode is named {name:?}: use one of {names:?}"))
    })
}

/// Sets how much of the compiler runs, for the whole process: "disabled", "no_simplify", "no_fuse", "enabled" or "verify".
#[pyfunction]
pub fn set_compile_mode(mode: &str) -> PyResult<()> {
    switch::set_compile_mode(named(mode)?);
    Ok(())
}

/// How much of the compiler runs on this thread.
#[pyfunction]
pub fn get_compile_mode() -> &'static str {
    switch::current_compile_mode().name()
}

/// Sets the mode of this thread alone, or with `None` leaves it to the process; returns what it was.
#[pyfunction]
#[pyo3(signature = (mode))]
pub fn _replace_compile_scope(mode: Option<&str>) -> PyResult<Option<&'static str>> {
    let mode = mode.map(named).transpose()?;
    Ok(switch::replace_scope(mode).map(CompileMode::name))
}
