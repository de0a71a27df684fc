//! Which functions are one: they share a cache of traces, however often they are compiled.
//!
//! A function is itself (`is`), a bound method is its object and its function, a `functools.partial` is its contents. Caches are found by
//! addresses; what stands there is held weakly and the cache goes when it dies, so a recycled address finds nothing.

use super::Cache;
use crate::key::{Call, Token, bound_method};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple, PyType, PyWeakrefReference};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

struct Known {
    number: u64,
    /// Of all objects whose addresses are in the key; each takes the entry away when it dies.
    _weak: Vec<Py<PyWeakrefReference>>,
    cache: Arc<Cache>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn known() -> MutexGuard<'static, HashMap<Vec<Token>, Known>> {
    static KNOWN: OnceLock<Mutex<HashMap<Vec<Token>, Known>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner())
}

/// The cache of a function.
pub fn cache_of(fun: &Bound<'_, PyAny>) -> PyResult<Arc<Cache>> {
    let py = fun.py();
    let mut call = Call { by_identity: true, ..Call::default() };
    identify(fun, &mut call)?;
    if let Some(found) = known().get(&*call.tokens) {
        return Ok(found.cache.clone());
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut weak = Vec::new();
    for object in &call.identities {
        let tokens = call.tokens.to_vec();
        let forget = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let mut known = known();
            let gone = match known.get(&tokens) {
                Some(found) if found.number == number => known.remove(&tokens),
                _ => None,
            };
            drop(known);
            drop(gone);
        };
        let callback = PyCFunction::new_closure(py, None, None, forget)?;
        match PyWeakrefReference::new_with(object.bind(py), callback) {
            Ok(reference) => weak.push(reference.unbind()),
            // It cannot be told from what comes to stand at its address later.
            Err(_) => return Ok(Arc::default()),
        }
    }
    let cache: Arc<Cache> = Arc::default();
    let new = Known { number, _weak: weak, cache: cache.clone() };
    let mut known = known();
    if let Some(found) = known.get(&*call.tokens) {
        let first = found.cache.clone();
        drop(known);
        drop(new);
        return Ok(first);
    }
    known.insert(call.tokens.into_vec(), new);
    Ok(cache)
}

/// Whether it is a `functools.partial` itself, not of a class derived from it.
fn is_partial(fun: &Bound<'_, PyAny>) -> PyResult<bool> {
    static PARTIAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = fun.py();
    let load = || Ok::<_, PyErr>(py.import("functools")?.getattr("partial")?.unbind());
    Ok(fun.get_type().is(PARTIAL.get_or_try_init(py, load)?.bind(py)))
}

fn identify(fun: &Bound<'_, PyAny>, call: &mut Call<'_>) -> PyResult<()> {
    if !is_partial(fun)? {
        return call.callable(fun);
    }
    let py = fun.py();
    let inner = fun.getattr(intern!(py, "func"))?;
    call.tokens.push(Token::Part("partial"));
    identify(&inner, call)?;
    call.read(&fun.getattr(intern!(py, "args"))?, &|| "args".into())?;
    let keywords = fun.getattr(intern!(py, "keywords"))?.cast_into::<PyDict>()?;
    call.read(in_order(&inner, &keywords)?.as_any(), &|| "keywords".into())
}

/// Keyword arguments in the order in which they enter the key: as they are given, or sorted where the function cannot tell.
pub fn in_order<'py>(fun: &Bound<'py, PyAny>, kwargs: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    if kwargs.len() < 2 {
        return Ok(kwargs.clone());
    }
    let name = |key: &Bound<'py, PyAny>| Ok(key.cast::<PyString>()?.to_string_lossy().into_owned());
    let names = kwargs.keys().iter().map(|key| name(&key)).collect::<PyResult<Vec<_>>>()?;
    if names.is_sorted() || !takes_names_alone(fun)? {
        return Ok(kwargs.clone());
    }
    let mut entries: Vec<_> = names.into_iter().zip(kwargs.iter()).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted = PyDict::new(fun.py());
    entries.iter().try_for_each(|(_, (key, value))| sorted.set_item(key, value))?;
    Ok(sorted)
}

/// Whether it is known to take keyword arguments by name alone: a function of Python without `**kwargs`, a method or a `functools.partial` of one, an
/// object that is called through one.
fn takes_names_alone(fun: &Bound<'_, PyAny>) -> PyResult<bool> {
    static FUNCTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    /// `inspect.CO_VARKEYWORDS`.
    const VARIABLE_KEYWORDS: u32 = 8;
    let py = fun.py();
    if is_partial(fun)? {
        return takes_names_alone(&fun.getattr("func")?);
    }
    let function = FUNCTION.import(py, "types", "FunctionType")?;
    let called = match bound_method(fun)? {
        Some((_, function)) => function,
        None if fun.get_type().is(function) => fun.clone(),
        None => fun.get_type().getattr("__call__")?,
    };
    if !called.get_type().is(function) {
        return Ok(false);
    }
    let flags: u32 = called.getattr(intern!(py, "__code__"))?.getattr(intern!(py, "co_flags"))?.extract()?;
    Ok(flags & VARIABLE_KEYWORDS == 0)
}

/// Reads a `functools.partial` into the key of a call: its lists and dicts may have changed since it was compiled.
pub fn read_partial(fun: &Bound<'_, PyAny>, call: &mut Call<'_>) -> PyResult<()> {
    if !is_partial(fun)? {
        return Ok(());
    }
    let by_identity = std::mem::replace(&mut call.by_identity, true);
    let read = identify(fun, call);
    call.by_identity = by_identity;
    read
}
