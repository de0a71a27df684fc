//! Printing of values while a program runs, to Python's `sys.stdout`.

use crate::array::PyArray;
use crate::errors;
use lazuli_core::debug::{self, Writer};
use lazuli_core::{Array, Error};
use pyo3::prelude::*;

/// Sends what is printed to `sys.stdout`, and has those who wait for it give up the interpreter.
pub fn install() {
    lazuli_core::eval::set_waiter(errors::wait);
    debug::set_writer(Some(Writer::new(|line| {
        // While the interpreter shuts down there is nobody to print for.
        Python::try_attach(|py| write(py, line)).unwrap_or(Ok(())).map_err(|e| {
            let text = format!("sys.stdout.write raised {e}");
            Error::internal("debug.print", text).caused_by(e)
        })
    })));
}

fn write(py: Python<'_>, line: &str) -> PyResult<()> {
    let out = py.import("sys")?.getattr("stdout")?;
    if !out.is_none() {
        out.call_method1("write", (line,))?;
    }
    Ok(())
}

/// Prints a line: `format` with arrays in the place of `{0}`, `{1}`, ….
#[pyfunction]
pub fn _debug_print(format: &str, values: Vec<PyRef<'_, PyArray>>) -> PyResult<()> {
    crate::location::locate();
    let values: Vec<Array> = values.iter().map(|v| v.get()).collect();
    errors::run(|| debug::try_print(format, &values.iter().collect::<Vec<_>>()))
}
