//! The user's place in a Python program: the innermost frame that is not Lazuli's own.

use lazuli_core::{Location, trace};
use pyo3::prelude::*;

/// From here on, what this thread records while tracing carries Python places.
pub fn locate() {
    trace::set_locator(Some(here));
}

/// Issues a warning of the package's own at the user's line.
pub fn warn(py: Python<'_>, category: &str, text: String) -> PyResult<()> {
    let (file, line) = frame(py).unwrap_or_else(|| ("lazuli".into(), 1));
    let category = py.import("lazuli._errors")?.getattr(category)?;
    py.import("warnings")?.call_method1("warn_explicit", (text, category, file, line))?;
    Ok(())
}

/// Walks out of the package's own frames.
fn here() -> Location {
    Python::attach(|py| find(py).unwrap_or(Location::UNKNOWN))
}

fn find(py: Python<'_>) -> Option<Location> {
    frame(py).map(|(file, line)| Location::new(&file, line))
}

/// File and line of the innermost frame that is the user's.
fn frame(py: Python<'_>) -> Option<(String, u32)> {
    let mut frame = py.import("sys").ok()?.call_method0("_getframe").ok()?;
    loop {
        let code = frame.getattr("f_code").ok()?;
        let file: String = code.getattr("co_filename").ok()?.extract().ok()?;
        if !file.contains("/lazuli/") && !file.ends_with("functools.py") {
            return Some((file, frame.getattr("f_lineno").ok()?.extract().ok()?));
        }
        frame = frame.getattr("f_back").ok().filter(|f| !f.is_none())?;
    }
}
