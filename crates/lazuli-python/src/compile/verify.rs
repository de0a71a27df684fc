//! The mode "verify": a call fused, unfused and as a plain function.
//!
//! The plain run sees the call's own values, but what it does to arrays in place it does within a frame that is dropped, and captured
//! containers are put back: state and random keys move on once, by what the compiled call does.

use super::captures::Captured;
use super::entry::{Entry, Outputs};
use super::trace::{Filler, Watched};
use super::{Arguments, Held};
use crate::array::PyArray;
use crate::errors::{exception, run};
use crate::frames::Scope;
use crate::key::Call;
use crate::transforms::name_of;
use lazuli_core::program::Arrays;
use lazuli_core::{Array, trace, verify};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Runs the function plainly and the entry's program fused and unfused; returns what the fused run gave.
pub fn verify(held: &Held, arguments: &Arguments<'_, '_>, call: &Call<'_>, entry: &Entry) -> PyResult<Arrays> {
    let py = arguments.args.py();
    let watched = Watched::of(held, py)?;
    let plain = plain(held, arguments, call, entry, &watched);
    watched.restore(py)?;
    let plain = plain?;
    let results = entry.result.len();
    let path = |i: usize| {
        if i < results { format!("array {i} of the result") } else { format!("updated array {}", i - results) }
    };
    let name = name_of(held.fun.bind(py));
    match plain {
        Some(plain) => run(|| verify::verify(&entry.program, &call.arrays, &plain, &path)),
        None => Err(exception(verify::impure(&name, "it returns or updates something else".into()))),
    }
}

/// What the function gives: none if that is of another structure than when it was traced.
fn plain(
    held: &Held,
    arguments: &Arguments<'_, '_>,
    call: &Call<'_>,
    entry: &Entry,
    watched: &Watched,
) -> PyResult<Option<Vec<Array>>> {
    let py = arguments.args.py();
    let _frame = Scope::enter();
    let mut filler = Filler::new(call, &call.arrays, arguments, py);
    let args = filler.rebuild(arguments.args.as_any())?.cast_into::<PyTuple>()?;
    let kwargs = arguments.kwargs.as_ref().map(|k| filler.rebuild(k.as_any())).transpose()?;
    let kwargs = kwargs.as_ref().map(|k| k.cast::<PyDict>()).transpose()?;
    let value = trace::silently(|| held.fun.bind(py).call(args, kwargs))?;
    let mut outputs = Outputs::default();
    let result = outputs.flatten(&value)?;
    let mut captured = match &held.outputs {
        Some(o) => Some(Captured::of(o.bind(py), &watched.outputs, &mut outputs)?),
        None => None,
    };
    let was_updated = |object: &Py<PyArray>| entry.updated.iter().any(|&place| call.objects[place].is(object));
    let updated = filler.updated(&mut outputs, &arguments.captured, &was_updated);
    if let Some(captured) = &mut captured {
        captured.add_dropped(&mut outputs, &|object| call.objects.iter().any(|o| o.is(object)));
    }
    let outputs = outputs.arrays;
    let same_capture = match (&captured, &entry.captured) {
        (Some(now), Some(traced)) => now.is_like(traced),
        (now, traced) => now.is_some() == traced.is_some(),
    };
    let same = result.is_like(&entry.result, py)? && updated == entry.updated && same_capture;
    Ok(same.then_some(outputs))
}
