//! From errors and panics of Lazuli to Python exceptions.

use lazuli_core::trace::{self, Read};
use lazuli_core::{Array, Error, ErrorKind, interrupt};
use pyo3::exceptions::{
    PyIndexError, PyMemoryError, PyNotImplementedError, PyOSError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs core code: its errors become exceptions of the right type, its panics `RuntimeError`.
pub fn run<T>(f: impl FnOnce() -> lazuli_core::Result<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(exception),
        Err(panic) => Err(panicked(panic)),
    }
}

/// As [`run`], for work that may take long: the interpreter is released meanwhile, and signals are looked at now and then. What a handler
/// raises (`KeyboardInterrupt`) comes out in place of the result.
pub fn run_detached<T: Send>(py: Python<'_>, f: impl FnOnce() -> lazuli_core::Result<T> + Send) -> PyResult<T> {
    let result = py.detach(|| {
        let _watch = interrupt::watch(signalled);
        run(f)
    });
    RAISED.take().map_or(result, Err)
}

/// Waits for effects, without the interpreter's lock, which they may need on another thread; and looks at signals.
pub fn wait(run: &mut (dyn FnMut() + Send)) {
    Python::attach(|py| {
        py.detach(|| {
            let _watch = interrupt::watch(signalled);
            run();
        });
    });
}

thread_local! {
    /// What a signal handler raised while this thread waited.
    static RAISED: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// Runs the handlers of signals that have arrived; whether one of them raised.
fn signalled() -> bool {
    match Python::attach(|py| py.check_signals()) {
        Ok(()) => false,
        Err(e) => {
            RAISED.set(Some(e));
            true
        }
    }
}

/// As [`run_detached`], for the reading of a value, which is an error while tracing: `how` is what the user wrote.
pub fn read_detached<T: Send>(
    py: Python<'_>,
    how: &'static str,
    f: impl FnOnce() -> lazuli_core::Result<T> + Send,
) -> PyResult<T> {
    run_detached(py, || trace::reading(Read { how, remedy: remedy(how) }, f))
}

/// As [`read_detached`], of the values of these arrays: where they are there, or take next to no time, the interpreter is kept.
pub fn read_values<T: Send>(
    py: Python<'_>,
    how: &'static str,
    arrays: &[Array],
    f: impl FnOnce() -> lazuli_core::Result<T> + Send,
) -> PyResult<T> {
    match run(|| lazuli_core::try_eval(arrays))? {
        true => run(f),
        false => read_detached(py, how, f),
    }
}

/// What to write instead, where values cannot be read.
fn remedy(how: &str) -> &'static str {
    match how {
        "bool()" => {
            "choose with mx.where(condition, a, b), or branch with mx.cond(condition, true_fun, false_fun), instead of branching on a value"
        }
        "item()" | "tolist()" => "return the array and read its value outside",
        "float()" | "int()" | "complex()" => {
            "keep computing with the array, which ops take in place of a number, or return it and convert it outside"
        }
        "index()" => "index an array with it (x[i], mx.take), or pass the number as an argument of its own",
        "in" => "write mx.any(x == value)",
        "print() or str()" | "format()" => {
            "print it with mx.debug.print(\"{}\", x), see what is known of it with mx.describe(x), or turn compilation off with mx.disable_compile()"
        }
        "numpy or a buffer" => "convert it outside of the function, or use the operations of lazuli.core inside",
        "eval()" | "async_eval()" => "leave the call out: what the function returns is evaluated outside",
        _ => "do it outside of the function",
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    PyRuntimeError::new_err(format!("a bug in Lazuli: {}; please report it", text.unwrap_or("panic")))
}

/// The exception of an error's kind.
pub fn exception(e: Error) -> PyErr {
    // The function may catch it.
    lazuli_core::shapeless::refused();
    // What Python raised within comes out as it was.
    if let Some(raised) = e.cause::<PyErr>() {
        return Python::attach(|py| raised.clone_ref(py));
    }
    if e.kind() == ErrorKind::Cancelled
        && let Some(raised) = RAISED.take()
    {
        return raised;
    }
    let text = e.to_string();
    match e.kind() {
        ErrorKind::Value => PyValueError::new_err(text),
        ErrorKind::Type => PyTypeError::new_err(text),
        ErrorKind::Index => PyIndexError::new_err(text),
        ErrorKind::Memory => PyMemoryError::new_err(text),
        ErrorKind::Unsupported => PyNotImplementedError::new_err(text),
        ErrorKind::Io => PyOSError::new_err(text),
        ErrorKind::TracedRead => own("TracerError", text),
        ErrorKind::LeakedTracer => own("LeakedTracerError", text),
        ErrorKind::ShapeGuard => own("ShapeGuardError", text),
        ErrorKind::Verification => own("VerificationError", text),
        _ => PyRuntimeError::new_err(text),
    }
}

/// The exception for arguments that a function does not have, which names what they are called here.
pub fn unknown(function: &str, arguments: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    let Some(arguments) = arguments else { return Ok(()) };
    // numpy's functions hand their arguments on to methods, these among them: they ask for nothing.
    let is_nothing = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        value.is_none() && name.extract::<String>().is_ok_and(|name| matches!(&name[..], "dtype" | "out"))
    };
    if arguments.iter().all(is_nothing) {
        return Ok(());
    }
    let text =
        arguments.py().import("lazuli._spelling")?.call_method1("unknown_arguments", (function, arguments.keys()))?;
    Err(PyTypeError::new_err(text.extract::<String>()?))
}

/// An exception of the package's own, defined in Python (one of them has two bases).
fn own(name: &'static str, text: String) -> PyErr {
    Python::attach(|py| {
        static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let module = MODULE.get_or_try_init(py, || py.import("lazuli._errors").map(Bound::unbind));
        let class = module.and_then(|m| Ok(m.bind(py).getattr(name)?.cast_into::<PyType>()?));
        class.map_or_else(|e| e, |class| PyErr::from_type(class, text))
    })
}

/// The exception of a Python callback travels through core code as an [`Error`]; this is the error that stands for it.
pub struct Raised(std::cell::RefCell<Option<PyErr>>);

impl Raised {
    pub fn new() -> Self {
        Raised(std::cell::RefCell::new(None))
    }
    /// Keeps the exception and gives the error that stands for it.
    pub fn keep(&self, e: PyErr) -> Error {
        *self.0.borrow_mut() = Some(e);
        Error::internal("python", "the function raised")
    }
    /// The result, with the exception that was kept in place of its stand-in.
    pub fn resolve<T>(self, result: PyResult<T>) -> PyResult<T> {
        match (result, self.0.into_inner()) {
            (Err(_), Some(e)) => Err(e),
            (result, _) => result,
        }
    }
}
