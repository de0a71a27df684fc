//! Functions that are traced within others, for a branch, a batch, a derivative, a file: state that they change.
//!
//! What depends on their placeholders has no value behind the trace. It is put back and named, or, for a checkpoint, comes out as further outputs.

use super::snapshot::{Before, Snapshot};
use super::trace::Watched;
use super::{Held, reach};
use crate::array::PyArray;
use crate::frames::Scope;
use lazuli_core::{Array, trace};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::HashSet;

/// State that a function of a choice may not replace, as whether it runs is not known, and into which other functions that are traced may not put what has
/// no value behind the trace.
pub(crate) struct Guarded(Watched);

impl Guarded {
    /// Modules and optimizers, plain containers and variables.
    pub fn all(fun: &Bound<'_, PyAny>) -> PyResult<Guarded> {
        Guarded::reaching(fun, true)
    }
    /// `all`: not modules and optimizers alone.
    fn reaching(fun: &Bound<'_, PyAny>, all: bool) -> PyResult<Guarded> {
        let held = Held { fun: fun.clone().unbind(), inputs: None, outputs: None };
        let Some(states) = reach::states(fun)? else { return Watched::reaching(&held, all, fun.py()).map(Guarded) };
        let [outputs, inputs, mut reached] = std::array::from_fn(|_| Snapshot::default());
        states.modules.iter().try_for_each(|state| reached.add(state))?;
        if all {
            for container in &states.containers {
                if !reached.contains(container) {
                    reached.add_one(container)?;
                }
            }
            states.variables.iter().try_for_each(|(name, holder)| reached.add_variable(name, holder))?;
        }
        Ok(Guarded(Watched { outputs, inputs, reached, fun: held.fun, names: None }))
    }
    /// Calls `f`, which calls the function on placeholders; then puts back state into which that has put what depends on them, which has no value, and
    /// gives the error that `refuse` makes of its name. Other updates are side effects like any.
    pub fn call<T>(
        fun: &Bound<'_, PyAny>,
        all: bool,
        holes: &[Array],
        refuse: impl FnOnce(String) -> PyResult<()>,
        f: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<T> {
        let py = fun.py();
        let Guarded(watched) = Guarded::reaching(fun, all)?;
        let frame = Scope::enter();
        let result = f();
        let (seen, _) = frame.finish();
        let replaced = watched.reached.replaced(py)?;
        let new: Vec<Array> =
            replaced.iter().map(|r| r.array.get().get()).chain(seen.iter().map(|s| s.now.clone())).collect();
        let depends = trace::depend(holes, &new);
        for (seen, _) in seen.iter().zip(&depends[replaced.len()..]).filter(|(_, depends)| !**depends) {
            PyArray::update(seen.object.bind(py), seen.now.clone());
        }
        let Some((what, _)) = watched.name_of(&depends, &replaced, &seen)? else { return result };
        watched.restore(py)?;
        // What the function raises is the error to report.
        result.and_then(|result| refuse(what).map(|()| result))
    }
    /// Calls `f`, which calls the function on placeholders and gives its outputs. Array objects that are updated then, or stand in state where others stood,
    /// with what depends on the placeholders, are given: what is in them is added to the outputs.
    pub fn call_for_updates(
        fun: &Bound<'_, PyAny>,
        holes: &[Array],
        f: impl FnOnce() -> PyResult<Vec<Array>>,
    ) -> PyResult<(Vec<Array>, Vec<Py<PyArray>>)> {
        let py = fun.py();
        let Guarded(watched) = Guarded::all(fun)?;
        let frame = Scope::enter();
        let result = f();
        let (seen, _) = frame.finish();
        let mut met: HashSet<usize> = seen.iter().map(|s| s.object.as_ptr() as usize).collect();
        let in_place = seen.len();
        let mut new: Vec<(Py<PyArray>, Array)> = seen.into_iter().map(|s| (s.object, s.now)).collect();
        for r in watched.reached.replaced(py)? {
            if met.insert(r.array.as_ptr() as usize) {
                new.push((r.array.clone().unbind(), r.array.get().get()));
            }
        }
        let arrays: Vec<Array> = new.iter().map(|(_, now)| now.clone()).collect();
        let depends = trace::depend(holes, &arrays);
        let mut outputs = match result {
            Ok(outputs) => outputs,
            Err(e) => {
                if depends.contains(&true) {
                    watched.restore(py)?;
                }
                return Err(e);
            }
        };
        let mut objects = Vec::new();
        for (k, ((object, now), depends)) in new.into_iter().zip(depends).enumerate() {
            if depends {
                outputs.push(now);
                objects.push(object);
            } else if k < in_place {
                PyArray::update(object.bind(py), now);
            }
        }
        Ok((outputs, objects))
    }
    /// Puts back what the function replaced; an error if that held arrays.
    pub fn refuse(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let Guarded(watched) = self;
        let mut replaced = watched.reached.replaced(py)?;
        replaced.extend(watched.reached.lost(py)?);
        // What was made in the function has no value behind it.
        let changed: Vec<bool> =
            replaced.iter().map(|r| r.before != Before::Nothing || r.array.get().get().is_traced()).collect();
        let Some((what, _)) = watched.name_of(&changed, &replaced, &[])? else { return Ok(()) };
        watched.restore(py)?;
        Err(PyValueError::new_err(format!(
            "[cond] {what} is replaced in '{name}', which runs only if the predicate chooses it: return the new value from both functions, and assign it \
             behind mx.cond. It was put back"
        )))
    }
}
