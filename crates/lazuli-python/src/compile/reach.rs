//! Whether a function can reach state at all: most that are compiled reach modules, numbers and other functions only.
//!
//! The answer "no" spares a trace the search for containers and their names (`lazuli/_reach.py`), which takes longer than tracing a small function. What is
//! followed is what that search follows, and more; anything that is not known to be without state is an answer "maybe". Where all that is reached is
//! functions and modules, the modules are found here, for transformations that ask at every call ([`states`]); with them plain lists and dicts, and variables
//! that a function can assign.

use super::Compiled;
use crate::array::PyArray;
use crate::dtype::PyDtype;
use crate::tree::{is_number_or_text, kept_by_looks, version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyFrozenSet, PyList, PyModule, PyString, PyTuple, PyType};
use std::collections::HashSet;

/// After how many objects the search gives up.
const MANY: usize = 256;
/// The same, where modules are gone through.
const MANY_OF_MODULES: usize = 4096;

/// What of the user's a function can change.
#[derive(Default)]
pub struct States<'py> {
    pub modules: Vec<Bound<'py, PyAny>>,
    /// Plain lists and dicts.
    pub containers: Vec<Bound<'py, PyAny>>,
    /// Names of captured and global variables, and what holds each: a cell, the dict of the globals.
    pub variables: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
}

/// What was found, each once.
struct Walk<'py> {
    found: Vec<Bound<'py, PyAny>>,
    seen: HashSet<usize>,
    most: usize,
    /// The state among it, if modules are gone through.
    states: Option<States<'py>>,
}

impl<'py> Walk<'py> {
    fn new(fun: &Bound<'py, PyAny>, most: usize, states: Option<States<'py>>) -> Self {
        let mut walk = Walk { found: Vec::new(), seen: HashSet::new(), most, states };
        walk.add(fun.clone());
        walk
    }
    fn add(&mut self, v: Bound<'py, PyAny>) {
        if self.found.len() <= self.most && !is_plain(&v) && self.seen.insert(v.as_ptr() as usize) {
            self.found.push(v);
        }
    }
    /// Follows everything; false if something may be state that is not known.
    fn run(&mut self) -> PyResult<bool> {
        let mut next = 0;
        while let Some(value) = self.found.get(next).cloned() {
            next += 1;
            if self.found.len() > self.most || !expand(&value, self)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The state that `fun` reaches, if it is known that it reaches no other.
pub fn states<'py>(fun: &Bound<'py, PyAny>) -> PyResult<Option<States<'py>>> {
    let mut walk = Walk::new(fun, MANY_OF_MODULES, Some(States::default()));
    Ok(if walk.run()? { walk.states } else { None })
}

/// Whether `fun` may reach a module's, an optimizer's or any other object's state by the names in its code, its closure or its defaults.
pub fn may_reach_state(fun: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(!Walk::new(fun, MANY, None).run()?)
}

/// Adds what an object leads to; false for one that may be or lead to state.
fn expand<'py>(value: &Bound<'py, PyAny>, walk: &mut Walk<'py>) -> PyResult<bool> {
    let py = value.py();
    if is_plain(value) {
        return Ok(true);
    }
    let class = value.get_type();
    if walk.states.is_some() && expand_module(value, walk)? {
        return Ok(true);
    }
    let is_function = class.is(type_of(py, &FUNCTION, "types", "FunctionType")?);
    if let Some(states) = &mut walk.states {
        if is_function {
            add_variables(value, states)?;
        } else if value.is_exact_instance_of::<PyList>() || value.is_exact_instance_of::<PyDict>() {
            states.containers.push(value.clone());
        }
    }
    let mut add = |v: Bound<'py, PyAny>| walk.add(v);
    if is_function {
        let cells = value.getattr(intern!(py, "__closure__"))?;
        if let Ok(cells) = cells.cast::<PyTuple>() {
            // A cell that is not assigned yet has no contents.
            cells.iter().filter_map(|c| c.getattr(intern!(py, "cell_contents")).ok()).for_each(&mut add);
        }
        add(value.getattr(intern!(py, "__defaults__"))?);
        add(value.getattr(intern!(py, "__kwdefaults__"))?);
        value.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?.iter().for_each(|(_, v)| add(v));
        if is_own(value)? {
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

/// Adds what a module leads to, a class with methods, a bound method or a frozen set; false for anything else.
fn expand_module<'py>(value: &Bound<'py, PyAny>, walk: &mut Walk<'py>) -> PyResult<bool> {
    let py = value.py();
    if let Ok(class) = value.cast::<PyType>() {
        for base in class.mro() {
            let base = base.cast_into::<PyType>()?;
            if is_not_users(&base) {
                continue;
            }
            for item in base.getattr(intern!(py, "__dict__"))?.call_method0(intern!(py, "items"))?.try_iter()? {
                let (name, v): (Bound<'py, PyString>, Bound<'py, PyAny>) = item?.extract()?;
                let is_special = name.to_str().is_ok_and(|n| n.starts_with("__") && n.ends_with("__"));
                if let Ok(fun) = v.getattr(intern!(py, "__func__")) {
                    walk.add(fun);
                } else if v.is_instance(type_of(py, &PROPERTY, "builtins", "property")?)? {
                    walk.add(v.getattr(intern!(py, "fget"))?);
                    walk.add(v.getattr(intern!(py, "fset"))?);
                } else if !is_special || v.get_type().is(type_of(py, &FUNCTION, "types", "FunctionType")?) {
                    walk.add(v);
                }
            }
        }
        return Ok(true);
    }
    if value.get_type().is(type_of(py, &METHOD, "types", "MethodType")?) {
        walk.add(value.getattr(intern!(py, "__self__"))?);
        walk.add(value.getattr(intern!(py, "__func__"))?);
        return Ok(true);
    }
    if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
        set.iter().for_each(|v| walk.add(v));
        return Ok(true);
    }
    let Ok(dict) = value.cast::<PyDict>() else { return Ok(false) };
    if dict.is_exact_instance_of::<PyDict>() || version(value).is_none() {
        return Ok(false);
    }
    walk.add(value.get_type().into_any());
    dict.iter().for_each(|(_, v)| walk.add(v));
    let attributes = value.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
    let kept = kept_by_looks(py);
    attributes.iter().filter(|(name, _)| !kept.iter().any(|kept| name.is(kept))).for_each(|(_, v)| walk.add(v));
    walk.states.iter_mut().for_each(|states| states.modules.push(value.clone()));
    Ok(true)
}

/// Whether a function is Lazuli's own.
fn is_own(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module = function.getattr(intern!(function.py(), "__module__"))?;
    Ok(module.cast::<PyString>().is_ok_and(|m| m.to_string_lossy().starts_with("lazuli.")))
}

/// The variables that a function shares with others: those that it captures, and global ones that its code names.
fn add_variables<'py>(function: &Bound<'py, PyAny>, states: &mut States<'py>) -> PyResult<()> {
    let py = function.py();
    let code = function.getattr(intern!(py, "__code__"))?;
    if let Ok(cells) = function.getattr(intern!(py, "__closure__"))?.cast::<PyTuple>() {
        let names = code.getattr(intern!(py, "co_freevars"))?.cast_into::<PyTuple>()?;
        states.variables.extend(names.iter().zip(cells.iter()));
    }
    if is_own(function)? {
        return Ok(());
    }
    let globals = function.getattr(intern!(py, "__globals__"))?.cast_into::<PyDict>()?;
    for name in &code.getattr(intern!(py, "co_names"))?.cast_into::<PyTuple>()? {
        let value = globals.get_item(&name)?;
        // Functions, classes and modules are no state.
        if value.is_some_and(|v| !v.is_callable() && !v.is_instance_of::<PyModule>()) {
            states.variables.push((name, globals.clone().into_any()));
        }
    }
    Ok(())
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
static METHOD: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PROPERTY: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn type_of<'py>(
    py: Python<'py>,
    known: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    known.import(py, module, name)
}
