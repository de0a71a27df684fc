//! Whether a function can reach state at all: most that are compiled reach modules, numbers and other functions only.
//!
//! The answer "no" spares a trace the search for containers and their names (`lazuli/_reach.py`), which takes longer than tracing a small function. What is
//! followed is what that search follows, and more; anything that is not known to be without state is an answer "maybe".

use super::Compiled;
use crate::array::PyArray;
use crate::dtype::PyDtype;
use crate::tree::is_number_or_text;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyList, PyModule, PyString, PyTuple, PyType};

/// After how many objects the search gives up.
const MANY: usize = 256;

/// Whether `fun` may reach a module's, an optimizer's or any other object's state by the names in its code, its closure or its defaults.
pub fn may_reach_state(fun: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut found = vec![fun.clone()];
    let mut next = 0;
    while let Some(value) = found.get(next).cloned() {
        next += 1;
        if found.len() > MANY || !expand(&value, &mut found)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds what an object leads to; false for one that may be or lead to state.
fn expand<'py>(value: &Bound<'py, PyAny>, found: &mut Vec<Bound<'py, PyAny>>) -> PyResult<bool> {
    let py = value.py();
    if is_plain(value) {
        return Ok(true);
    }
    let mut add = |v: Bound<'py, PyAny>| {
        if found.len() <= MANY && !is_plain(&v) && found.iter().all(|f| !f.is(&v)) {
            found.push(v);
        }
    };
    let class = value.get_type();
    if class.is(type_of(py, &FUNCTION, "types", "FunctionType")?) {
        let cells = value.getattr(intern!(py, "__closure__"))?;
        if let Ok(cells) = cells.cast::<PyTuple>() {
            // A cell that is not assigned yet has no contents.
            cells.iter().filter_map(|c| c.getattr(intern!(py, "cell_contents")).ok()).for_each(&mut add);
        }
        add(value.getattr(intern!(py, "__defaults__"))?);
        add(value.getattr(intern!(py, "__kwdefaults__"))?);
        value.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?.iter().for_each(|(_, v)| add(v));
        let module = value.getattr(intern!(py, "__module__"))?;
        if module.cast::<PyString>().is_ok_and(|m| m.to_string_lossy().starts_with("lazuli.")) {
            return Ok(true);
        }
        let globals = value.getattr(intern!(py, "__globals__"))?.cast_into::<PyDict>()?;
        return add_globals(&value.getattr(intern!(py, "__code__"))?, &globals, &mut add).map(|()| true);
    }
    if let Ok(compiled) = value.cast::<Compiled>() {
        let compiled = compiled.borrow();
        let held = compiled.held()?;
        if held.outputs.is_some() {
            return Ok(false);
        }
        add(held.fun.bind(py).clone());
    } else if class.is(type_of(py, &PARTIAL, "functools", "partial")?) {
        for part in [intern!(py, "func"), intern!(py, "args"), intern!(py, "keywords")] {
            add(value.getattr(part)?);
        }
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        tuple.iter().for_each(add);
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        list.iter().for_each(add);
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        dict.iter().for_each(|(_, v)| add(v));
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// The globals that a function's code names, and that of the functions in it.
fn add_globals<'py>(
    code: &Bound<'py, PyAny>,
    globals: &Bound<'py, PyDict>,
    add: &mut impl FnMut(Bound<'py, PyAny>),
) -> PyResult<()> {
    let py = code.py();
    let names = code.getattr(intern!(py, "co_names"))?.cast_into::<PyTuple>()?;
    for name in &names {
        let Some(value) = globals.get_item(name)? else { continue };
        if let Ok(module) = value.cast::<PyModule>() {
            for name in &names {
                module.dict().get_item(name)?.into_iter().for_each(&mut *add);
            }
        }
        add(value);
    }
    for constant in code.getattr(intern!(py, "co_consts"))?.cast_into::<PyTuple>()? {
        if constant.get_type().is(code.get_type()) {
            add_globals(&constant, globals, add)?;
        }
    }
    Ok(())
}

/// Whether an object neither is state nor leads to any.
fn is_plain(v: &Bound<'_, PyAny>) -> bool {
    is_number_or_text(v)
        || v.is_exact_instance_of::<PyCFunction>()
        || v.is_exact_instance_of::<PyModule>()
        || v.cast::<PyType>().is_ok_and(is_not_users)
        || v.is_instance_of::<PyArray>()
        || v.is_exact_instance_of::<PyDtype>()
}

/// Whether a class holds nothing of the user's.
fn is_not_users(class: &Bound<'_, PyType>) -> bool {
    let is_known = |module: &str| matches!(module, "builtins" | "typing" | "types") || module.starts_with("lazuli");
    class.module().is_ok_and(|module| module.to_str().is_ok_and(is_known))
}

static FUNCTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PARTIAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn type_of<'py>(
    py: Python<'py>,
    known: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    known.import(py, module, name)
}
