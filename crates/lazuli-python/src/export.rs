//! Functions in files: `export_function`, `exporter`, `import_function`.

use crate::array::PyArray;
use crate::compile::guarded::Guarded;
use crate::errors::{Raised, exception, run};
use crate::location;
use crate::transforms::name_of;
use crate::tree;
use lazuli_core::Array;
use lazuli_core::export::{self, Exported, Traced};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::path::PathBuf;

type Named = Vec<(String, Array)>;

fn array(v: &Bound<'_, PyAny>, op: &str) -> PyResult<Array> {
    match v.cast::<PyArray>() {
        Ok(a) => Ok(a.get().get()),
        Err(_) => Err(PyValueError::new_err(format!(
            "[{op}] the arguments are arrays, by position and by name, or one tuple and one dict of them; found {}",
            v.get_type().name()?
        ))),
    }
}

/// Positional and named arrays: as they are passed, or as one tuple (or list), one dict, or both.
fn arguments(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>, op: &str) -> PyResult<(Vec<Array>, Named)> {
    let mut positional: Vec<Bound<'_, PyAny>> = args.iter().collect();
    let mut named: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)> = Vec::new();
    if let Some(last) = positional.last().cloned()
        && positional.len() <= 2
        && let Ok(dict) = last.cast::<PyDict>()
    {
        positional.pop();
        named.extend(dict.iter());
    }
    if let [only] = &positional[..] {
        let items: Option<Vec<_>> = match (only.cast::<PyTuple>(), only.cast::<PyList>()) {
            (Ok(tuple), _) => Some(tuple.iter().collect()),
            (_, Ok(list)) => Some(list.iter().collect()),
            _ => None,
        };
        if let Some(items) = items {
            positional = items;
        }
    }
    named.extend(kwargs.into_iter().flat_map(|k| k.iter()));
    let positional = positional.iter().map(|v| array(v, op)).collect::<PyResult<_>>()?;
    let name = |key: &Bound<'_, PyAny>| {
        let wrong = |kind| PyTypeError::new_err(format!("[{op}] the names of arguments are strings; found {kind}"));
        key.extract::<String>().or_else(|_| Err(wrong(key.get_type().name()?)))
    };
    let named = named.iter().map(|(k, v)| Ok((name(k)?, array(v, op)?))).collect::<PyResult<_>>()?;
    Ok((positional, named))
}

/// What is to be run for arrays, in Graphviz's DOT language; arrays of `names` are called so.
#[pyfunction]
pub fn _dot(arrays: &Bound<'_, PyTuple>, names: Vec<(String, Py<PyArray>)>) -> PyResult<String> {
    let mut outputs = Vec::new();
    tree::visit(arrays.as_any(), &mut |a| {
        outputs.push(a.get().get());
        Ok(())
    })?;
    let names: Vec<(String, Array)> = names.into_iter().map(|(name, a)| (name, a.get().get())).collect();
    let names: Vec<(&str, &Array)> = names.iter().map(|(name, a)| (&name[..], a)).collect();
    run(|| lazuli_core::explain::to_dot(&outputs, &names))
}

/// One trace of a function, ready to be saved.
#[derive(Debug)]
#[pyclass(name = "_TracedFunction", module = "lazuli.core", frozen)]
pub struct PyTraced(Traced);

/// Traces a function on placeholders like these arrays.
#[pyfunction]
#[pyo3(signature = (fun, args, kwargs, shapeless))]
pub fn _export_trace(
    fun: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
    shapeless: bool,
) -> PyResult<PyTraced> {
    let py = fun.py();
    if !fun.is_callable() {
        return Err(PyTypeError::new_err("[export_function] the function must be callable"));
    }
    let (positional, mut named) = arguments(args, Some(kwargs), "export_function")?;
    named.sort_by(|a, b| a.0.cmp(&b.0));
    location::locate();
    let name = name_of(fun);
    let raised = Raised::new();
    let traced = run(|| {
        Traced::new(&name, &positional, &named, shapeless, |holes| {
            let put_back = |what| {
                let text = format!(
                    "[export_function] {what} is updated in '{name}', which a function in a file does not do: return the new value, or export a function \
                     that leaves it alone (of a module in eval()). It was put back"
                );
                location::warn(py, "CaptureWarning", text)
            };
            let call = || called(py, fun, holes, positional.len(), &named);
            Guarded::call(fun, true, holes, put_back, call).map_err(|e| raised.keep(e))
        })
    });
    raised.resolve(traced).map(PyTraced)
}

/// What the function gives for these arrays.
fn called(py: Python<'_>, fun: &Bound<'_, PyAny>, holes: &[Array], n: usize, named: &Named) -> PyResult<Vec<Array>> {
    let wrap = |a: &Array| Py::new(py, PyArray::new(a.clone()));
    let args = PyTuple::new(py, holes[..n].iter().map(wrap).collect::<PyResult<Vec<_>>>()?)?;
    let kwargs = PyDict::new(py);
    for ((name, _), hole) in named.iter().zip(&holes[n..]) {
        kwargs.set_item(name, wrap(hole)?)?;
    }
    let out = fun.call(args, Some(&kwargs))?;
    if let Ok(a) = out.cast::<PyArray>() {
        return Ok(vec![a.get().get()]);
    }
    let items: Vec<_> = match (out.cast::<PyTuple>(), out.cast::<PyList>()) {
        (Ok(tuple), _) => tuple.iter().collect(),
        (_, Ok(list)) => list.iter().collect(),
        _ => vec![out],
    };
    let one = |v: &Bound<'_, PyAny>| match v.cast::<PyArray>() {
        Ok(a) => Ok(a.get().get()),
        Err(_) => Err(PyValueError::new_err(format!(
            "[export_function] a function that is exported returns an array, or a tuple or list of arrays; found {}",
            v.get_type().name()?
        ))),
    };
    items.iter().map(one).collect()
}

/// Writes traces to a file.
#[pyfunction]
pub fn _export_save(file: PathBuf, traces: Vec<PyRef<'_, PyTraced>>, metadata: &str) -> PyResult<()> {
    let traces: Vec<Traced> = traces.iter().map(|t| t.0.clone()).collect();
    export::save(file, &traces, metadata).map_err(exception)
}

/// A function that was read from a file. It is called with arrays, by position and by name, or with one tuple and one dict of them, and
/// gives a tuple of arrays.
#[derive(Debug)]
#[pyclass(name = "ImportedFunction", module = "lazuli.core", frozen)]
pub struct Imported(Exported);

#[pymethods]
impl Imported {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (positional, named) = arguments(args, kwargs, "import_function")?;
        let results = run(|| self.0.call(&positional, &named))?;
        PyTuple::new(args.py(), results.into_iter().map(PyArray::new))
    }
    /// The text that was saved with the function.
    #[getter]
    fn metadata(&self) -> &str {
        &self.0.metadata
    }
    fn __repr__(&self) -> String {
        let traces = self.0.traces();
        let name = traces.first().map_or("function", |t| t.name());
        format!("<imported {name}, {} traced>", traces.len())
    }
}

/// Reads a function from a file.
#[pyfunction]
pub fn _import_function(file: PathBuf) -> PyResult<Imported> {
    run(|| export::load(file)).map(Imported)
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Imported>()?;
    for f in [
        wrap_pyfunction!(_export_trace, m)?,
        wrap_pyfunction!(_export_save, m)?,
        wrap_pyfunction!(_import_function, m)?,
        wrap_pyfunction!(_dot, m)?,
    ] {
        m.add_function(f)?;
    }
    Ok(())
}
