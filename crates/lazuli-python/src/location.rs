//! The user's place in a Python program: the innermost frame that is not Lazuli's own.

use lazuli_core::{Location, trace};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// From here on, what this thread records while tracing carries Python places.
pub fn locate() {
    trace::set_locator(Some(here));
}

/// Issues a warning of the package's own at the user's line.
pub fn warn(py: Python<'_>, category: &str, text: String) -> PyResult<()> {
    let (file, line) = frame(py).unwrap_or_else(|| (PyString::new(py, "lazuli"), 1));
    let category = py.import("lazuli._errors")?.getattr(category)?;
    py.import("warnings")?.call_method1("warn_explicit", (text, category, file, line))?;
    Ok(())
}

/// Walks out of the package's own frames.
fn here() -> Location {
    Python::attach(|py| find(py).unwrap_or(Location::UNKNOWN))
}

fn find(py: Python<'_>) -> Option<Location> {
    frame(py).and_then(|(file, line)| Some(Location::new(file.to_str().ok()?, line)))
}

/// Files whose frames are not the user's.
struct Own {
    /// The package's folder, as the names of its files begin: as it was imported, and with links followed.
    folders: Vec<String>,
    /// Stands between the user and the package where a `partial` or a wrapper is called.
    functools: String,
}

impl Own {
    fn find(py: Python<'_>) -> PyResult<Own> {
        let file_of = |module| py.import(module)?.getattr(intern!(py, "__file__"))?.extract::<String>();
        let folders = py.import("lazuli._traceback")?.getattr("FOLDERS")?.extract()?;
        Ok(Own { folders, functools: file_of("functools")? })
    }
    fn has(&self, file: &str) -> bool {
        self.folders.iter().any(|folder| file.starts_with(folder)) || file == self.functools
    }
}

/// File and line of the innermost frame that is the user's.
fn frame(py: Python<'_>) -> Option<(Bound<'_, PyString>, u32)> {
    static INNERMOST: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static OWN: PyOnceLock<Own> = PyOnceLock::new();
    let own = OWN.get_or_try_init(py, || Own::find(py)).ok()?;
    let mut frame = INNERMOST.import(py, "sys", "_getframe").ok()?.call0().ok()?;
    loop {
        let code = frame.getattr(intern!(py, "f_code")).ok()?;
        let file = code.getattr(intern!(py, "co_filename")).ok()?.cast_into::<PyString>().ok()?;
        if file.to_str().is_ok_and(|f| !own.has(f)) {
            return Some((file, frame.getattr(intern!(py, "f_lineno")).ok()?.extract().ok()?));
        }
        frame = frame.getattr(intern!(py, "f_back")).ok().filter(|f| !f.is_none())?;
    }
}
