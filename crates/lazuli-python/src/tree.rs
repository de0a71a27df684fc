//! Trees of Python containers: what transformations and compiled functions take and return.
//!
//! Lists, tuples (named ones too) and dicts (a `Module` is one) are nodes, arrays are leaves, everything else is a constant leaf that is kept as is.

use crate::array::PyArray;
use lazuli_core::Array;
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

/// A tree with its arrays taken out, in order; [`fill`](Template::fill) puts others in.
#[derive(Debug)]
pub enum Template {
    Array,
    Leaf(Py<PyAny>),
    List(Vec<Template>),
    /// The type is kept: a named tuple is made anew by its `_make`.
    Tuple(Option<Py<PyAny>>, Vec<Template>),
    /// Keys in order of insertion, with the object itself if its type is not `dict` but derives from it (a `Module`).
    Dict(Option<Py<PyAny>>, Vec<(Py<PyAny>, Template)>),
}

/// What becomes of dicts of a derived class when a tree is built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// An object of the class with the same attributes: what a function is called with.
    Classes,
    /// A plain dict: gradients.
    Contents,
}

/// An object like `object`, with other entries.
pub fn twin<'py>(object: &Bound<'py, PyAny>, entries: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let class = object.get_type();
    let new = class.call_method1("__new__", (&class,))?;
    new.cast::<PyDict>()?.update(entries.as_mapping())?;
    if let Ok(attributes) = object.getattr("__dict__") {
        new.getattr("__dict__")?.cast::<PyDict>()?.update(attributes.cast::<PyDict>()?.as_mapping())?;
    }
    Ok(new)
}

/// How deep trees may be nested: deeper ones, and those that contain themselves, would exhaust the stack.
const MAX_DEPTH: usize = 256;

thread_local! {
    static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One level of a walk over a tree, for as long as it lives.
pub struct Level;

impl Level {
    pub fn enter() -> PyResult<Level> {
        if DEPTH.get() >= MAX_DEPTH {
            return Err(PyRecursionError::new_err(format!(
                "a tree of arrays is nested more than {MAX_DEPTH} deep: does a container hold itself?"
            )));
        }
        DEPTH.set(DEPTH.get() + 1);
        Ok(Level)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Takes a tree apart: its arrays go to `arrays`.
pub fn flatten(v: &Bound<'_, PyAny>, arrays: &mut Vec<Array>) -> PyResult<Template> {
    map_arrays(v, &mut |a| {
        arrays.push(a.get().get());
        Ok(())
    })
}

/// Takes a tree apart, calling `see` with each array object.
pub fn map_arrays<'py>(
    v: &Bound<'py, PyAny>,
    see: &mut dyn FnMut(&Bound<'py, PyArray>) -> PyResult<()>,
) -> PyResult<Template> {
    if let Ok(a) = v.cast::<PyArray>() {
        see(a)?;
        return Ok(Template::Array);
    }
    let _level = Level::enter()?;
    if let Ok(list) = v.cast::<PyList>() {
        return Ok(Template::List(list.iter().map(|x| map_arrays(&x, see)).collect::<PyResult<_>>()?));
    }
    if let Ok(tuple) = v.cast::<PyTuple>() {
        let class = (!tuple.is_exact_instance_of::<PyTuple>()).then(|| tuple.get_type().into_any().unbind());
        return Ok(Template::Tuple(class, tuple.iter().map(|x| map_arrays(&x, see)).collect::<PyResult<_>>()?));
    }
    if let Ok(dict) = v.cast::<PyDict>() {
        let derived = (!dict.is_exact_instance_of::<PyDict>()).then(|| v.clone().unbind());
        let entries = dict.iter().map(|(k, x)| Ok((k.unbind(), map_arrays(&x, see)?)));
        return Ok(Template::Dict(derived, entries.collect::<PyResult<_>>()?));
    }
    Ok(Template::Leaf(v.clone().unbind()))
}

/// Calls `see` with every array object of a tree.
pub fn visit<'py>(v: &Bound<'py, PyAny>, see: &mut dyn FnMut(&Bound<'py, PyArray>) -> PyResult<()>) -> PyResult<()> {
    if let Ok(a) = v.cast::<PyArray>() {
        return see(a);
    }
    let _level = Level::enter()?;
    if let Ok(list) = v.cast::<PyList>() {
        return list.iter().try_for_each(|x| visit(&x, see));
    }
    if let Ok(tuple) = v.cast::<PyTuple>() {
        return tuple.iter().try_for_each(|x| visit(&x, see));
    }
    if let Ok(dict) = v.cast::<PyDict>() {
        return dict.iter().try_for_each(|(_, x)| visit(&x, see));
    }
    Ok(())
}

impl Template {
    /// The tree with these arrays in the places of its own.
    pub fn fill<'py>(
        &self,
        py: Python<'py>,
        kept: Kept,
        arrays: &mut dyn Iterator<Item = Array>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Template::Array => {
                let a = arrays.next().expect("as many arrays as the template has places");
                Bound::new(py, PyArray::new(a))?.into_any()
            }
            Template::Leaf(v) => v.bind(py).clone(),
            Template::List(items) => {
                let items = items.iter().map(|t| t.fill(py, kept, arrays)).collect::<PyResult<Vec<_>>>()?;
                PyList::new(py, items)?.into_any()
            }
            Template::Tuple(class, items) => {
                let items = items.iter().map(|t| t.fill(py, kept, arrays)).collect::<PyResult<Vec<_>>>()?;
                let tuple = PyTuple::new(py, items)?;
                match class {
                    None => tuple.into_any(),
                    Some(c) if c.bind(py).hasattr("_make")? => c.bind(py).call_method1("_make", (tuple,))?,
                    Some(c) => c.bind(py).call1((tuple,))?,
                }
            }
            Template::Dict(derived, entries) => {
                let dict = PyDict::new(py);
                for (k, t) in entries {
                    dict.set_item(k, t.fill(py, kept, arrays)?)?;
                }
                match derived {
                    Some(object) if kept == Kept::Classes => twin(object.bind(py), &dict)?,
                    _ => dict.into_any(),
                }
            }
        })
    }
    /// How many arrays it has places for.
    pub fn len(&self) -> usize {
        match self {
            Template::Array => 1,
            Template::Leaf(_) => 0,
            Template::List(items) | Template::Tuple(_, items) => items.iter().map(Template::len).sum(),
            Template::Dict(_, entries) => entries.iter().map(|(_, t)| t.len()).sum(),
        }
    }
}
