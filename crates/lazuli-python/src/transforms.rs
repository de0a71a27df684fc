//! `grad`, `value_and_grad`, `vjp`, `jvp`, `vmap`: trees and argument numbers around the core's functions of arrays.

use crate::array::PyArray;
use crate::compile::guarded::Guarded;
use crate::errors::{Raised, run};
use crate::tree::{self, Kept, Template};
use lazuli_core::program::Arrays;
use lazuli_core::{Array, transform};
use pyo3::exceptions::{PyRecursionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::cell::{Cell, RefCell};

/// The name of a function, for messages.
pub fn name_of(fun: &Bound<'_, PyAny>) -> String {
    let name = fun.getattr("__name__").and_then(|n| n.extract::<String>());
    // A functools.partial has the name of what it calls.
    let name = name.or_else(|_| fun.getattr("func")?.getattr("__name__")?.extract());
    name.or_else(|_| fun.get_type().name().map(|n| n.to_string())).unwrap_or_else(|_| "function".into())
}

/// How deep traces may be nested: each takes some of the stack, which Python's own limit does not know.
const MAX_DEPTH: usize = 256;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<Py<PyAny>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps an object that what is traced holds weakly, until the outermost transformation of this thread is done.
pub fn keep(object: impl FnOnce() -> Py<PyAny>) {
    if DEPTH.get() > 0 {
        KEPT.with_borrow_mut(|kept| kept.push(object()));
    }
}

/// A call of the user's function by a transformation, for as long as it lives.
pub struct Nested(());

impl Nested {
    /// Refuses very many, one within the other: a function that calls itself through a transformation without end.
    pub fn enter(fun: &Bound<'_, PyAny>) -> PyResult<Nested> {
        if DEPTH.get() >= MAX_DEPTH {
            return Err(PyRecursionError::new_err(format!(
                "'{}' is traced within {MAX_DEPTH} other traces: does it call itself without end?",
                name_of(fun)
            )));
        }
        DEPTH.set(DEPTH.get() + 1);
        Ok(Nested(()))
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            drop(KEPT.take());
        }
    }
}

/// The arguments that are differentiated: by position and by name.
struct Chosen {
    positions: Vec<usize>,
    names: Vec<String>,
}

impl Chosen {
    fn new(
        op: &str,
        argnums: &[isize],
        names: Vec<String>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Chosen> {
        let n = args.len() as isize;
        let mut positions = Vec::new();
        for &i in argnums {
            let k = if i < 0 { i + n } else { i };
            if !(0..n).contains(&k) {
                return Err(PyValueError::new_err(format!(
                    "[{op}] argnums names argument {i}, but the function was called with {n} positional arguments"
                )));
            }
            if positions.contains(&(k as usize)) {
                return Err(PyValueError::new_err(format!("[{op}] argnums names argument {i} twice")));
            }
            positions.push(k as usize);
        }
        for name in &names {
            if kwargs.is_none_or(|k| !k.contains(name).unwrap_or(false)) {
                return Err(PyValueError::new_err(format!(
                    "[{op}] argnames names '{name}', which was not passed as a keyword argument"
                )));
            }
        }
        Ok(Chosen { positions, names })
    }
    /// The templates of the chosen arguments and their arrays. Numbers in plain containers are refused: they have no gradient and would be returned as
    /// they are. What an object of a class holds besides arrays is the object's.
    fn flatten(
        &self,
        op: &str,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
        arrays: &mut Vec<Array>,
    ) -> PyResult<Vec<Template>> {
        let mut templates = Vec::new();
        let mut add = |value: &Bound<'_, PyAny>, path: &str| {
            let first = arrays.len();
            let template = tree::flatten(value, arrays)?;
            if let Some(k) = arrays[first..].iter().position(|a| !a.dtype().is_inexact()) {
                let (path, dtype) = (template.path(value.py(), path, k), arrays[first + k].dtype());
                return Err(PyValueError::new_err(format!(
                    "[{op}] {path} has dtype {dtype}, and gradients are those of float and complex arrays: convert it with astype(mx.float32), or \
                     leave it out of what is differentiated"
                )));
            }
            template.leaves(value.py(), path, &mut |leaf, path| {
                if !leaf.hasattr("__complex__")? && !leaf.hasattr("__index__")? && !leaf.hasattr("__float__")? {
                    return Ok(());
                }
                let kind = leaf.get_type().name()?;
                Err(PyValueError::new_err(format!(
                    "[{op}] {path} is a number of type {kind}, and gradients are those of arrays: pass mx.array(…) there, or leave it out of what is \
                     differentiated"
                )))
            })?;
            templates.push(template);
            PyResult::Ok(())
        };
        for &i in &self.positions {
            add(&args.get_item(i)?, &format!("args[{i}]"))?;
        }
        for name in &self.names {
            add(&kwargs.and_then(|k| k.get_item(name).transpose()).expect("checked in new")?, name)?;
        }
        Ok(templates)
    }
    /// Calls the function with other arrays in the chosen arguments.
    fn call<'py>(
        &self,
        fun: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        templates: &[Template],
        arrays: &[Array],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = fun.py();
        let mut arrays = arrays.iter().cloned();
        let mut list: Vec<Bound<'py, PyAny>> = args.iter().collect();
        for (&i, t) in self.positions.iter().zip(templates) {
            list[i] = t.fill(py, Kept::Classes, &mut arrays)?;
        }
        let args = PyTuple::new(py, list)?;
        if self.names.is_empty() {
            return fun.call(args, kwargs);
        }
        let kwargs = kwargs.expect("names were found in it").copy()?;
        for (name, t) in self.names.iter().zip(&templates[self.positions.len()..]) {
            kwargs.set_item(name, t.fill(py, Kept::Classes, &mut arrays)?)?;
        }
        fun.call(args, Some(&kwargs))
    }
}

/// The value of `fun` and the gradients of the chosen arguments (a list per argument and one per name).
///
/// The function returns a scalar array, or a tuple that begins with one.
#[pyfunction]
#[pyo3(signature = (fun, argnums, argnames, args, kwargs))]
pub fn _value_and_grad<'py>(
    fun: &Bound<'py, PyAny>,
    argnums: Vec<isize>,
    argnames: Vec<String>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyList>)> {
    let py = fun.py();
    let _nested = Nested::enter(fun)?;
    let chosen = Chosen::new("grad", &argnums, argnames, args, Some(kwargs))?;
    let mut primals = Vec::new();
    let templates = chosen.flatten("grad", args, Some(kwargs), &mut primals)?;
    let raised = Raised::new();
    let mut result: Option<Template> = None;
    let pulled = run(|| {
        transform::value_and_grad(
            &name_of(fun),
            |marked| {
                let value = chosen.call(fun, args, Some(kwargs), &templates, marked).map_err(|e| raised.keep(e))?;
                let mut outputs = Vec::new();
                result = Some(loss_first(&value, &mut outputs).map_err(|e| raised.keep(e))?);
                Ok(outputs)
            },
            &primals,
        )
    });
    let pulled = raised.resolve(pulled)?;
    let value = result.expect("set by the trace").fill(py, Kept::Classes, &mut pulled.outputs.into_iter())?;
    let mut cotangents = pulled.cotangents.into_iter();
    let gradients =
        templates.iter().map(|t| t.fill(py, Kept::Contents, &mut cotangents)).collect::<PyResult<Vec<_>>>()?;
    Ok((value, PyList::new(py, gradients)?))
}

/// Takes the result of a loss function apart; its first array must be the loss.
fn loss_first(value: &Bound<'_, PyAny>, outputs: &mut Vec<Array>) -> PyResult<Template> {
    let first = match value.cast::<PyTuple>() {
        Ok(t) if !t.is_empty() => t.get_item(0)?,
        _ => value.clone(),
    };
    if !first.is_instance_of::<PyArray>() {
        return Err(PyValueError::new_err(format!(
            "[grad] the function must return a scalar array, or a tuple that begins with one; it returned {}",
            first.get_type().name()?
        )));
    }
    tree::flatten(value, outputs)
}

/// Arrays of a list or tuple.
fn arrays_of(op: &str, what: &str, v: &Bound<'_, PyAny>) -> PyResult<Vec<Array>> {
    let wrong = |found: &Bound<'_, PyAny>, of: &str| {
        let found = found.get_type().name().map(|n| n.to_string()).unwrap_or_default();
        PyTypeError::new_err(format!("[{op}] {what} are a list of arrays, not {of}{found}"))
    };
    if v.is_instance_of::<PyArray>() || !v.hasattr("__iter__")? {
        return Err(wrong(v, ""));
    }
    let item = |x: PyResult<Bound<'_, PyAny>>| {
        let x = x?;
        Ok(x.cast::<PyArray>().map_err(|_| wrong(&x, "of "))?.get().get())
    };
    v.try_iter()?.map(item).collect()
}

/// What a function of arrays returned: one array, or several.
fn results(value: &Bound<'_, PyAny>) -> PyResult<Vec<Array>> {
    let mut arrays = Vec::new();
    let flat =
        value.is_instance_of::<PyArray>() || value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
    if !flat {
        return Err(PyValueError::new_err(format!(
            "the function must return an array or a list of arrays, not {}",
            value.get_type().name()?
        )));
    }
    tree::flatten(value, &mut arrays)?;
    Ok(arrays)
}

fn call_with<'py>(fun: &Bound<'py, PyAny>, arrays: &[Array]) -> PyResult<Bound<'py, PyAny>> {
    let py = fun.py();
    let args = arrays.iter().map(|a| Bound::new(py, PyArray::new(a.clone()))).collect::<PyResult<Vec<_>>>()?;
    fun.call1(PyTuple::new(py, args)?)
}

fn wrap_all(arrays: Vec<Array>) -> Vec<PyArray> {
    arrays.into_iter().map(PyArray::new).collect()
}

/// Outputs of `fun` at `primals`, and what `cotangents` of the outputs pull back to.
#[pyfunction]
pub fn vjp(
    fun: &Bound<'_, PyAny>,
    primals: &Bound<'_, PyAny>,
    cotangents: &Bound<'_, PyAny>,
) -> PyResult<(Vec<PyArray>, Vec<PyArray>)> {
    let _nested = Nested::enter(fun)?;
    let primals = arrays_of("vjp", "primals", primals)?;
    let cotangents = arrays_of("vjp", "cotangents", cotangents)?;
    let raised = Raised::new();
    let pulled = run(|| {
        let f = |marked: &[Array]| call_with(fun, marked).and_then(|v| results(&v)).map_err(|e| raised.keep(e));
        transform::vjp(&name_of(fun), f, &primals, |_| Ok(cotangents))
    });
    let pulled = raised.resolve(pulled)?;
    Ok((wrap_all(pulled.outputs), wrap_all(pulled.cotangents)))
}

/// Outputs of `fun` at `primals`, and their derivatives along `tangents`.
#[pyfunction]
pub fn jvp(
    fun: &Bound<'_, PyAny>,
    primals: &Bound<'_, PyAny>,
    tangents: &Bound<'_, PyAny>,
) -> PyResult<(Vec<PyArray>, Vec<PyArray>)> {
    let _nested = Nested::enter(fun)?;
    let primals = arrays_of("jvp", "primals", primals)?;
    let tangents = arrays_of("jvp", "tangents", tangents)?;
    let raised = Raised::new();
    let pushed = run(|| {
        let f = |marked: &[Array]| call_with(fun, marked).and_then(|v| results(&v)).map_err(|e| raised.keep(e));
        transform::jvp(&name_of(fun), f, &primals, &tangents)
    });
    let (outputs, tangents) = raised.resolve(pushed)?;
    Ok((wrap_all(outputs), wrap_all(tangents)))
}

/// Axes of a tree's arrays, from a tree of ints and None that may stop short: a number stands for all arrays below it.
/// `what` are arguments or results, by the name of the parameter that gives their axes.
pub fn axes_of(template: &Template, what: &str, axes: &Bound<'_, PyAny>, out: &mut Vec<Option<isize>>) -> PyResult<()> {
    let broadcast = |out: &mut Vec<Option<isize>>, axis: Option<isize>| out.extend((0..template.len()).map(|_| axis));
    if axes.is_none() {
        broadcast(out, None);
        return Ok(());
    }
    if let Ok(axis) = axes.extract::<isize>() {
        broadcast(out, Some(axis));
        return Ok(());
    }
    let like = if what == "in_axes" { "arguments" } else { "results" };
    let mismatch = |found: String| {
        let text = format!("[vmap] {what} is an int, None, or a tree of them like the {like}; it has {found}");
        PyValueError::new_err(text)
    };
    let kind = || axes.get_type().name().map(|n| n.to_string()).unwrap_or_default();
    match template {
        Template::List(_, items) | Template::Tuple(_, items) | Template::Node(_, _, items) => {
            let many = items.len();
            let wrong = |_| mismatch(format!("a value of type {} for {many} of the {like}", kind()));
            let axes: Vec<Bound<'_, PyAny>> = axes.try_iter().map_err(wrong)?.collect::<PyResult<_>>()?;
            if axes.len() != many {
                return Err(mismatch(format!("length {} for {many} of the {like}", axes.len())));
            }
            items.iter().zip(&axes).try_for_each(|(t, a)| axes_of(t, what, a, out))
        }
        Template::Dict(_, entries) => {
            let py = axes.py();
            entries.iter().try_for_each(|(k, t)| {
                let axes = axes.get_item(k.bind(py));
                axes_of(t, what, &axes.map_err(|_| mismatch(format!("no entry {:?}", k.bind(py))))?, out)
            })
        }
        _ => Err(mismatch(format!("a value of type {} for one of the {like}", kind()))),
    }
}

/// `fun` over a batch.
#[pyfunction]
pub fn _vmap<'py>(
    fun: &Bound<'py, PyAny>,
    in_axes: &Bound<'py, PyAny>,
    out_axes: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = fun.py();
    let _nested = Nested::enter(fun)?;
    crate::location::locate();
    let mut inputs = Vec::new();
    let template = tree::flatten_arguments(args.as_any(), &mut inputs)?;
    let mut axes = Vec::new();
    axes_of(&template, "in_axes", in_axes, &mut axes)?;
    let raised = Raised::new();
    let name = name_of(fun);
    let result: RefCell<Option<Template>> = Default::default();
    let outputs = run(|| {
        let f = |holes: &[Array]| {
            let call = || {
                let args = template.fill(py, Kept::Classes, &mut holes.iter().cloned())?;
                let value = fun.call(args.cast_into::<PyTuple>()?, Some(kwargs))?;
                let mut outputs = Vec::new();
                *result.borrow_mut() = Some(tree::flatten(&value, &mut outputs)?);
                Ok(outputs)
            };
            let refuse = |what| {
                Err(PyValueError::new_err(format!(
                    "[vmap] {what} is updated in '{name}' with what depends on a point of the batch, and there are many: return it, and put it together \
                     behind vmap. It was put back"
                )))
            };
            Guarded::call(fun, false, holes, refuse, call).map_err(|e| raised.keep(e))
        };
        let out_axes = |_| {
            let mut axes = Vec::new();
            let template = result.borrow();
            let template = template.as_ref().expect("set by the trace");
            axes_of(template, "out_axes", out_axes, &mut axes).map_err(|e| raised.keep(e))?;
            Ok(axes)
        };
        transform::vmap(&name, f, &inputs, &axes, out_axes)
    });
    let outputs = raised.resolve(outputs)?;
    let result = result.into_inner().expect("set by the trace");
    result.fill(py, Kept::Classes, &mut outputs.into_iter())
}

/// Computes all arrays of these trees now.
#[pyfunction]
#[pyo3(signature = (*args))]
pub fn eval(py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<()> {
    let arrays = tree_arrays(args)?;
    crate::errors::read_values(py, "eval()", &arrays, || lazuli_core::eval(&arrays))
}

/// Starts computing all arrays of these trees and returns at once.
#[pyfunction]
#[pyo3(signature = (*args))]
pub fn async_eval(py: Python<'_>, args: &Bound<'_, PyTuple>) -> PyResult<()> {
    let arrays = tree_arrays(args)?;
    crate::errors::read_detached(py, "async_eval()", || lazuli_core::async_eval(&arrays))
}

fn tree_arrays(args: &Bound<'_, PyTuple>) -> PyResult<Arrays> {
    let mut arrays = Arrays::new();
    tree::visit(args.as_any(), &mut |a| {
        arrays.push(a.get().get());
        Ok(())
    })?;
    Ok(arrays)
}

/// Waits for all work that was started.
#[pyfunction]
#[pyo3(signature = (stream=None))]
pub fn synchronize(py: Python<'_>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let _ = stream;
    crate::errors::run_detached(py, lazuli_core::synchronize)
}
