//! Functions with derivatives and a vectorisation of their own, and checkpoints.
//!
//! What a checkpoint does to state comes out as further outputs of it; a custom function, whose rules know of no such outputs, may not update any.
//!
//! A rule of vectorisation is called when its function meets a batch, which may be long after the call was traced. Graphs, which caches hold, refer to it
//! weakly; those who own it are the traces at hand ([`keep`](crate::transforms::keep)) and the compiled functions that it was traced in, which show it to the
//! garbage collector.

use crate::array::PyArray;
use crate::compile::guarded::Guarded;
use crate::errors::{Raised, run};
use crate::transforms::{Nested, axes_of, keep, name_of};
use crate::tree::{self, Kept, Template};
use lazuli_core::custom::Vmap;
use lazuli_core::{Array, Error, Program, custom};
use lazuli_ir::shape;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};
use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

/// Calls `fun` as one that is computed again by its derivative (`recompute`), or one with derivatives, or a vectorisation, of its own.
#[pyfunction]
#[pyo3(signature = (fun, args, kwargs, vjp=None, jvp=None, vmap=None, recompute=false))]
pub fn _custom<'py>(
    fun: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    vjp: Option<&Bound<'py, PyAny>>,
    jvp: Option<&Bound<'py, PyAny>>,
    vmap: Option<&Bound<'py, PyAny>>,
    recompute: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = fun.py();
    let _nested = Nested::enter(fun)?;
    let name = name_of(fun);
    let mut inputs = Vec::new();
    let template = tree::flatten_arguments(args.as_any(), &mut inputs)?;
    let raised = Raised::new();
    let result: RefCell<Option<Template>> = Default::default();
    let updated: RefCell<Vec<Py<PyArray>>> = Default::default();
    let has_rules = vjp.is_some() || jvp.is_some() || vmap.is_some();
    let is_traced = (recompute || has_rules) && custom::is_recorded(&inputs);
    let rule = vmap.map(|rule| VmapRule::new(rule, &name, args, kwargs)).transpose()?;
    let arguments = |arrays: &[Array]| template.fill(py, Kept::Classes, &mut arrays.iter().cloned());
    // A single argument stands by itself, several are a tuple.
    let alone = |arrays: &[Array]| {
        let all = arguments(arrays)?;
        if args.len() == 1 { all.get_item(0) } else { Ok(all) }
    };
    let like_outputs = |arrays: &[Array]| {
        let template = result.borrow();
        template.as_ref().expect("set by the trace").fill(py, Kept::Classes, &mut arrays.iter().cloned())
    };
    let flat = |value: Bound<'py, PyAny>| {
        let mut arrays = Vec::new();
        tree::flatten(&value, &mut arrays).map(|_| arrays)
    };
    let f = |arrays: &[Array]| {
        let call = || {
            let value = fun.call(arguments(arrays)?.cast_into::<PyTuple>()?, Some(kwargs))?;
            if let Some(rule) = &rule {
                let _ = rule.get().results.set(tree::flatten(&value, &mut Vec::new())?);
            }
            let mut outputs = Vec::new();
            *result.borrow_mut() = Some(tree::flatten(&value, &mut outputs)?);
            Ok(outputs)
        };
        let outputs = match (is_traced, recompute) {
            (false, _) => call(),
            (true, true) => Guarded::call_for_updates(fun, arrays, call).map(|(outputs, objects)| {
                *updated.borrow_mut() = objects;
                outputs
            }),
            (true, false) => Guarded::call(fun, true, arrays, |what| refused(&what, &format!("'{name}'")), call),
        };
        outputs.map_err(|e| raised.keep(e))
    };
    let of_rule = |rule: &Bound<'py, PyAny>, kind: &str, holes: Vec<Array>, call: &dyn Fn() -> PyResult<Vec<Array>>| {
        let refuse = |what: String| refused(&what, &format!("the {kind} of '{name}'"));
        Guarded::call(rule, true, &holes, refuse, call).map_err(|e| raised.keep(e))
    };
    let pull = |primals: &[Array], cotangents: &[Array], outputs: &[Array]| {
        let rule = vjp.expect("called where there is one");
        of_rule(rule, "vjp", [primals, cotangents, outputs].concat(), &|| {
            flat(rule.call1((alone(primals)?, like_outputs(cotangents)?, like_outputs(outputs)?))?)
        })
    };
    let push = |primals: &[Array], tangents: &[Array]| {
        let rule = jvp.expect("called where there is one");
        of_rule(rule, "jvp", [primals, tangents].concat(), &|| flat(rule.call1((alone(primals)?, alone(tangents)?))?))
    };
    let outputs = run(|| match recompute {
        true => custom::checkpoint(&name, &inputs, f),
        false => {
            let pull: custom::Vjp = &pull;
            let push: custom::Jvp = &push;
            let vmap = rule.as_ref().map(Weak::to).transpose()?;
            let rules = custom::Rules { vjp: vjp.map(|_| pull), jvp: jvp.map(|_| push), vmap };
            custom::custom_function(&name, &inputs, f, rules)
        }
    });
    let mut outputs = raised.resolve(outputs)?;
    let updated = updated.into_inner();
    for (object, now) in updated.iter().zip(outputs.split_off(outputs.len() - updated.len())) {
        PyArray::update(object.bind(py), now);
    }
    like_outputs(&outputs)
}

/// The error of state that a custom function, or one of its rules, updates with what has no value behind its trace.
fn refused(what: &str, by: &str) -> PyResult<()> {
    Err(PyValueError::new_err(format!(
        "[custom_function] {what} is updated in {by}, which is traced apart from the rest, for its derivatives: return the new value from the function, \
         and assign it behind the call. It was put back"
    )))
}

/// A rule of vectorisation, with what it has to know of the call that it was traced with.
#[pyclass(name = "_VmapRule", frozen, weakref)]
pub struct VmapRule {
    name: String,
    rule: Py<PyAny>,
    /// The positional arguments, and whether there is but one.
    arguments: Template,
    is_alone: bool,
    /// The names of arguments that are passed by name.
    named: Vec<String>,
    /// What the function returns, once it was traced.
    results: OnceLock<Template>,
}

#[pymethods]
impl VmapRule {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.rule)?;
        self.arguments.traverse(&visit)?;
        self.results.get().map_or(Ok(()), |results| results.traverse(&visit))
    }
}

impl std::fmt::Debug for VmapRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VmapRule").field("name", &self.name).finish_non_exhaustive()
    }
}

impl VmapRule {
    fn new<'py>(
        rule: &Bound<'py, PyAny>,
        name: &str,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, VmapRule>> {
        let new = VmapRule {
            name: name.to_owned(),
            rule: rule.clone().unbind(),
            arguments: tree::flatten_arguments(args.as_any(), &mut Vec::new())?,
            is_alone: args.len() == 1,
            named: kwargs.keys().iter().map(|k| k.to_string()).collect(),
            results: OnceLock::new(),
        };
        Bound::new(rule.py(), new)
    }

    fn call(&self, py: Python<'_>, inputs: &[Array], axes: &[Option<usize>]) -> PyResult<Batch> {
        let name = &self.name;
        if let Some(named) = self.named.first() {
            return Err(PyValueError::new_err(format!(
                "[custom_function] '{name}' is given '{named}' by name, and has a rule of vmap, which takes positional arguments alone: pass it by position"
            )));
        }
        let mut arguments = self.arguments.fill(py, Kept::Classes, &mut inputs.iter().cloned())?;
        let mut tree = self.arguments.axes(py, &mut axes.iter().copied())?;
        if self.is_alone {
            (arguments, tree) = (arguments.get_item(0)?, tree.get_item(0)?);
        }
        let returned = self.rule.bind(py).call1((arguments, tree))?;
        let pair = returned.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let Some(pair) = pair else {
            let kind = returned.get_type().name()?;
            return Err(PyValueError::new_err(format!(
                "[custom_function] the vmap of '{name}' must return a pair: the outputs, and for each of them the axis of the batch or None; it returned \
                 {kind}"
            )));
        };
        let mut outputs = Vec::new();
        let template = tree::flatten(&pair.get_item(0)?, &mut outputs)?;
        let results = self.results.get().expect("the function was traced");
        if !template.is_like(results, py)? {
            let (got, want) = (template.show(py), results.show(py));
            return Err(PyValueError::new_err(format!(
                "[custom_function] the vmap of '{name}' returned {got} for what the function returns as {want}: both must have one structure"
            )));
        }
        let mut axes = Vec::new();
        axes_of(&template, &format!("the axes that the rule of '{name}' returns"), &pair.get_item(1)?, &mut axes)?;
        let within = |(k, (array, axis)): (usize, (&Array, Option<isize>))| {
            let Some(axis) = axis else { return Ok(None) };
            let rank = array.aval().rank();
            let at = if axis < 0 { axis + rank as isize } else { axis };
            usize::try_from(at).ok().filter(|at| *at < rank).map(Some).ok_or_else(|| {
                let of = shape::show(&array.aval().shape);
                PyValueError::new_err(format!(
                    "[custom_function] the vmap of '{name}' gave axis {axis} for array {k}, which has shape {of}"
                ))
            })
        };
        let axes = outputs.iter().zip(axes).enumerate().map(within).collect::<PyResult<_>>()?;
        Ok((outputs, axes))
    }
}

/// Arrays, and where they have the batch.
type Batch = (Vec<Array>, Vec<Option<usize>>);

/// A rule as graphs hold it.
struct Weak {
    name: String,
    rule: Py<PyWeakrefReference>,
}

impl Weak {
    fn to(rule: &Bound<'_, VmapRule>) -> lazuli_core::Result<Arc<dyn Vmap>> {
        keep(|| rule.clone().into_any().unbind());
        let weak = PyWeakrefReference::new(rule.as_any()).map_err(raised)?;
        Ok(Arc::new(Weak { name: rule.get().name.clone(), rule: weak.unbind() }))
    }
}

impl Vmap for Weak {
    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>]) -> lazuli_core::Result<Batch> {
        Python::attach(|py| {
            let rule = self.rule.bind(py).upgrade_as::<VmapRule>().map_err(raised)?;
            let gone = || Error::value("custom_function", format!("the vmap of '{}' is gone", self.name));
            rule.ok_or_else(gone)?.get().call(py, inputs, axes).map_err(raised)
        })
    }
}

/// The error that stands for an exception on its way through the core.
fn raised(e: PyErr) -> Error {
    Error::internal("python", e.to_string()).caused_by(e)
}

/// The rules that calls in a program hold weakly.
pub fn vmap_rules(py: Python<'_>, program: &Program) -> Vec<Py<PyAny>> {
    let rule = |rule: Arc<dyn Vmap>| {
        let rule: &dyn Any = &*rule;
        Some(rule.downcast_ref::<Weak>()?.rule.bind(py).upgrade()?.unbind())
    };
    program.vmap_rules().into_iter().filter_map(rule).collect()
}
