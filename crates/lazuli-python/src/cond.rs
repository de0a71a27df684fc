//! `cond`: trees around the core's choice between functions of arrays, and what the functions do to array objects in place.
//!
//! While both functions are traced, each in a frame of its own, an object that one of them updates in place becomes a result of both, and is updated when the
//! choice has been recorded: as if only the one that is taken had run. Items of containers cannot follow so; where a function replaces arrays in
//! them, they are put back and it is refused.

use crate::array::PyArray;
use crate::compile::guarded::Guarded;
use crate::convert::{ArrayLike, to_array};
use crate::errors::{Raised, run, run_detached};
use crate::frames::{Scope, Seen};
use crate::transforms::{Nested, name_of};
use crate::tree::{self, Kept, Template};
use lazuli_core::cond::{self, Branch};
use lazuli_core::{Array, trace};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyDict, PyFloat, PyInt, PyList, PyTuple};

/// A function as traced: what it returned, and the array objects that it updated in place.
struct Traced {
    branch: Branch,
    result: Template,
    updated: Vec<Seen>,
}

/// The result of the function that the predicate chooses.
#[pyfunction]
pub fn _cond<'py>(
    predicate: ArrayLike,
    on_true: &Bound<'py, PyAny>,
    on_false: &Bound<'py, PyAny>,
    operands: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = operands.py();
    crate::location::locate();
    let predicate = predicate.0;
    let mut inputs = Vec::new();
    let template = tree::flatten_arguments(operands.as_any(), &mut inputs)?;
    let call = |fun: &Bound<'py, PyAny>, arrays: &[Array]| {
        let arguments = template.fill(py, Kept::Classes, &mut arrays.iter().cloned())?;
        numbers_as_arrays(fun.call(arguments.cast_into::<PyTuple>()?, None)?)
    };
    match run_detached(py, || cond::called(&predicate))? {
        Some(true) => return call(on_true, &inputs),
        Some(false) => return call(on_false, &inputs),
        None => {}
    }
    let traced = |fun: &Bound<'py, PyAny>| {
        let _nested = Nested::enter(fun)?;
        let name = name_of(fun);
        let guarded = Guarded::all(fun)?;
        let frame = Scope::enter();
        let raised = Raised::new();
        let mut result = None;
        let branch = run(|| {
            Branch::trace(&name, &inputs, |arrays| {
                let mut outputs = Vec::new();
                let template = call(fun, arrays).and_then(|value| tree::flatten(&value, &mut outputs));
                result = Some(template.map_err(|e| raised.keep(e))?);
                Ok(outputs)
            })
        });
        let branch = raised.resolve(branch);
        let (updated, _) = frame.finish();
        guarded.refuse(py, &name)?;
        PyResult::Ok(Traced { branch: branch?, result: result.expect("set by the trace"), updated })
    };
    let (mut first, mut second) = (traced(on_true)?, traced(on_false)?);
    if !first.result.is_like(&second.result, py)? {
        return Err(PyValueError::new_err(format!(
            "[cond] '{}' returns {} and '{}' {}: both functions must return the same containers and constants",
            name_of(on_true),
            first.result.show(py),
            name_of(on_false),
            second.result.show(py)
        )));
    }
    let own = first.branch.outputs.len();
    let (objects, left) = updated_objects(py, &predicate, &mut first, &mut second)?;
    let path = |k: usize| match k < own {
        true => format!("array {k} of the result"),
        false => "an array that is updated in place".into(),
    };
    let mut outputs = run(|| cond::record(&predicate, &inputs, first.branch, second.branch, &path))?;
    for (object, now) in left.into_iter().chain(objects.into_iter().zip(outputs.split_off(own))) {
        PyArray::update(object.bind(py), now);
    }
    first.result.fill(py, Kept::Classes, &mut outputs.into_iter())
}

/// Objects with what is in them after the choice.
type Known = Vec<(Py<PyArray>, Array)>;

/// The objects that either function updates in place: those for which what each leaves in them has become an output of it, then those for which it is known
/// what the choice leaves.
fn updated_objects(
    py: Python<'_>,
    predicate: &Array,
    first: &mut Traced,
    second: &mut Traced,
) -> PyResult<(Vec<Py<PyArray>>, Known)> {
    let key = crate::random::key_object(py)?;
    let mut objects: Vec<Py<PyArray>> = Vec::new();
    for seen in first.updated.iter().chain(&second.updated) {
        let is_key = seen.object.is(&key);
        if is_key && !key.get().get().is_traced() && trace::is_recording() {
            // A key that is not part of what is traced moves on at the trace, as ever.
            PyArray::update(&key, seen.now.clone());
        } else if !objects.iter().any(|o| o.is(&seen.object)) {
            objects.push(seen.object.clone_ref(py));
        }
    }
    let (mut outputs, mut known) = (Vec::new(), Vec::new());
    for object in objects {
        let now = [&*first, &*second].map(|side| {
            let updated = side.updated.iter().find(|s| s.object.is(&object));
            updated.map_or_else(|| object.get().get(), |s| s.now.clone())
        });
        match run_detached(py, || cond::left(predicate, &now[0], &now[1]))? {
            Some(left) => known.push((object, left)),
            None => {
                let [on_true, on_false] = now;
                first.branch.outputs.push(on_true);
                second.branch.outputs.push(on_false);
                outputs.push(object);
            }
        }
    }
    Ok((outputs, known))
}

/// The same tree with arrays for numbers: what a branch gives is data.
fn numbers_as_arrays(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let _level = tree::Level::enter()?;
    let py = value.py();
    let is_number = value.is_instance_of::<PyBool>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>();
    if is_number || !value.is_instance_of::<PyArray>() && value.hasattr("__array_interface__")? {
        return Ok(Bound::new(py, PyArray::new(to_array(&value, None)?))?.into_any());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        let items = list.iter().map(numbers_as_arrays).collect::<PyResult<Vec<_>>>()?;
        return Ok(PyList::new(py, items)?.into_any());
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        let items = tuple.iter().map(numbers_as_arrays).collect::<PyResult<Vec<_>>>()?;
        return tree::tuple_of(&tuple.get_type(), &tree::attributes(&value)?, PyTuple::new(py, items)?);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let entries = PyDict::new(py);
        for (k, v) in dict.iter() {
            entries.set_item(k, numbers_as_arrays(v)?)?;
        }
        return Ok(entries.into_any());
    }
    Ok(value)
}
