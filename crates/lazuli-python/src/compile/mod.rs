//! `compile`: the compiled function as Python sees it, and the path of a call.
//!
//! Files by purpose: `identity` (which functions share a cache), `trace` (running a function on placeholders), `captures` (trees that a
//! function reads and updates besides its arguments), `snapshot` (what state was before), `guarded` (functions that may leave nothing in it), `reach` (whether it can reach state beside those), `entry` (a traced call), `switches`, `verify`. The key is in [`crate::key`].
//!
//! Invariants: no lock is held while the user's code runs; a cache that outlives the compiled object holds no object of the user's that
//! could hold the function ([`Entry::is_plain`]).

mod captures;
mod entry;
mod explain;
pub(crate) mod guarded;
mod identity;
mod reach;
mod snapshot;
pub mod switches;
pub(crate) mod trace;
mod verify;

use crate::array::PyArray;
use crate::errors::{exception, run, run_detached};
use crate::key::{Call, Shapes, Token, Tokens};
use crate::transforms::{keep, name_of};
use entry::{Entry, Results};
pub use explain::{Explanation, Lowered};
use lazuli_core::program::Arrays;
use lazuli_core::{CompileMode, ErrorKind, cache, shapeless, switch};
use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple, PyType};
use std::sync::Arc;

type Cache = cache::Cache<Token, Entry>;
type Kept = cache::Kept<Token, Entry>;

/// A function that `compile` made: it is called as the function itself is.
///
/// Its name, signature, documentation and attributes are the function's; `__wrapped__` is the function.
#[derive(Debug)]
#[pyclass(name = "CompiledFunction", module = "lazuli.core", weakref)]
pub struct Compiled {
    /// None once the garbage collector has cleared it.
    held: Option<Held>,
    shapeless: Shapeless,
    traced_scalars: bool,
    /// Traces that all that `compile` makes of the function share.
    shared: Arc<Cache>,
    /// Traces of this object alone: those with captures, or whose results hold objects of the user's.
    own: Arc<Cache>,
}

/// What happens where only shapes differ from those of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shapeless {
    /// A trace for each.
    No,
    /// The trace is used again; an error if what it read of its shapes does not hold.
    Yes,
    /// The trace is used again, or another made if that would be an error.
    Auto,
}

impl<'a, 'py> FromPyObject<'a, 'py> for Shapeless {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let is_bool = |v: &Bound<'_, PyAny>| {
            Ok::<_, PyErr>(v.is_instance_of::<PyBool>() || v.get_type().qualname()?.to_str()?.starts_with("bool"))
        };
        match v.extract::<&str>() {
            Ok("auto") => Ok(Shapeless::Auto),
            Err(_) if is_bool(&v)? => Ok(if v.is_truthy()? { Shapeless::Yes } else { Shapeless::No }),
            _ => Err(PyValueError::new_err(format!(
                "[compile] shapeless is True, False or \"auto\", not {}",
                v.repr()?.to_string_lossy()
            ))),
        }
    }
}

impl Shapeless {
    /// As the user writes it.
    fn show(self) -> &'static str {
        match self {
            Shapeless::No => "False",
            Shapeless::Yes => "True",
            Shapeless::Auto => "\"auto\"",
        }
    }
}

#[derive(Debug)]
struct Held {
    fun: Py<PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
}

impl Held {
    /// Whether the same object is captured as inputs and as outputs: then the key says all of its structure.
    fn is_captured_both_ways(&self) -> bool {
        matches!((&self.inputs, &self.outputs), (Some(inputs), Some(outputs)) if inputs.is(outputs))
    }
}

/// Returns a compiled version of `fun`: the first call with arguments of new structure, shapes, dtypes or constants traces the function, simplifies and
/// fuses what it did, and generates code; later calls run that.
///
/// Arrays that the function reaches other than through its arguments and captures are constants, side effects happen at the trace. Items that it
/// replaces in an argument that is a list or dict (`d['w'] = ...`) are such a side effect; updates of an argument array in place happen at every call.
///
/// Args:
///     fun: a function of arrays, constants, and trees of them.
///     inputs: a tree of arrays (lists, dicts, a module's state, `mx.random.state`) that the function reads besides its arguments. Their values at each
///         call are used.
///     outputs: a tree that the function updates. It is updated at each call.
///     shapeless: do not retrace when only shapes change. What the function read of its arguments' shapes is checked: where a
///         number or the outcome of a comparison differs, the call raises ``ShapeGuardError``, or with "auto" retraces.
///     traced_scalars: pass numbers among the arguments as arrays: another number is no reason for another trace. Beside an array such a number takes the
///         array's dtype, and among numbers `+`, `-`, `*`, `/` and the like compute in float64 and int64, as Python does; functions of arrays take it for `mx.array(x)`.
///     cache_size: how many traces of the function are kept; what was used least recently goes. Default: 1,024.
///
/// Raises:
///     ValueError: for a ``cache_size`` below 1; when called, for an argument that is neither an array nor a constant; if the function reads the value of an array (`TracerError`); if it
///         reaches an argument's array other than through the argument; if it updates arrays of a module, an optimizer or the like that are not in `outputs`;
///         if it updates an array of numpy's in place, or returns arrays in a set or the like.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> f = mx.compile(lambda x, y: mx.exp(-x) + y)
///     >>> f(mx.array(1.0), mx.array(2.0))
///     array(2.36788, dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (fun, inputs=None, outputs=None, shapeless=None, *, traced_scalars=false, cache_size=None),
    text_signature = "(fun, inputs=None, outputs=None, shapeless=False, *, traced_scalars=False, cache_size=None)"
)]
pub fn compile(
    fun: &Bound<'_, PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: Option<Shapeless>,
    traced_scalars: bool,
    cache_size: Option<i64>,
) -> PyResult<Compiled> {
    let shapeless = shapeless.unwrap_or(Shapeless::No);
    if !fun.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "[compile] the first argument must be callable, not {}",
            fun.get_type().name()?
        )));
    }
    // Captured trees belong to this object, so its traces do too.
    let own: Arc<Cache> = Arc::default();
    let shared = if inputs.is_some() || outputs.is_some() { own.clone() } else { identity::cache_of(fun)? };
    if let Some(size) = cache_size {
        let too_small = || {
            PyValueError::new_err(format!(
                "[compile] cache_size is {size}: 1 trace at least is kept, and None is for 1,024"
            ))
        };
        let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or_else(too_small)?;
        shared.set_capacity(size);
        own.set_capacity(size);
    }
    let held = Held { fun: fun.clone().unbind(), inputs, outputs };
    Ok(Compiled { held: Some(held), shapeless, traced_scalars, shared, own })
}

#[pymethods]
impl Compiled {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = args.py();
        let held = self.held()?;
        let mode = switch::current_compile_mode();
        // Within a shapeless trace the function is a part of that: its own trace would take extents for numbers.
        if mode == CompileMode::Disabled || shapeless::is_live() {
            return held.fun.bind(py).call(args, kwargs);
        }
        let latest = self.latest();
        let (mut call, arguments) = self.read(held, mode, args, kwargs, latest.as_deref())?;
        let found = match &latest {
            Some(latest) if call.tokens.are_known() && latest.entry.identities.live(py) => Some(latest.entry.clone()),
            _ => self.find(py, &call)?,
        };
        let entry = match found {
            // What a trace around this one is about is no constant there, though it was one when the function was called by itself.
            Some(entry) if entry.program.constants().is_empty() || !trace::reaches_traced(held, py)? => entry,
            _ => self.trace(held, &arguments, &mut call, mode)?,
        };
        entry.rules.iter().for_each(|rule| keep(|| rule.clone_ref(py)));
        // Within a trace there are no values to compare.
        let outputs = match mode == CompileMode::Verify && !lazuli_core::trace::is_tracing() {
            true => verify::verify(held, &arguments, &call, &entry)?,
            false => {
                let arrays = std::mem::take(&mut call.arrays);
                run(|| entry.program.call_alike(arrays))?
            }
        };
        finish(py, held, &entry, &call, outputs)
    }

    /// Says what a call with these arguments runs, and why: the graph at each stage, the kernels and the operations fused into each, what separates
    /// them, constants, costs and times. Nothing is computed; the function is traced if it was not called with such arguments before.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> f = mx.compile(lambda x: mx.exp(-x) + 1)
    ///     >>> f.explain(mx.ones((3,))).summary
    ///     '1 kernel, 3 ops fused, 1 trace, 0 constants'
    #[pyo3(signature = (*args, **kwargs))]
    fn explain(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Explanation> {
        let held = self.held()?;
        fits("explain", held.fun.bind(args.py()), args, kwargs)?;
        let mode = switch::current_compile_mode().compiled();
        let (mut call, arguments) = self.read(held, mode, args, kwargs, None)?;
        let names = call.paths();
        let entry = match self.find(args.py(), &call)? {
            Some(entry) => entry,
            None => self.trace(held, &arguments, &mut call, mode)?,
        };
        let cache = if self.own.is_empty() { &self.shared } else { &self.own };
        let changes = self.shared.changes_to(&entry).or_else(|| self.own.changes_to(&entry));
        let about = lazuli_core::explain::Call {
            cause: cache::cause_of(&changes.unwrap_or_default()),
            traces: cache.len(),
            arguments: names,
            constants: trace::names_of(held, entry.program.constants(), args.py())?,
        };
        let avals: Vec<_> = call.arrays.iter().map(|a| a.aval().clone()).collect();
        run_detached(args.py(), || lazuli_core::explain(&entry.program, &avals, about)).map(Explanation::new)
    }

    /// What a call with these arguments runs, as text: the graph, the plan of kernels and library calls, and the machine code of each step. Nothing
    /// is computed.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> print(mx.compile(lambda x: mx.exp(-x)).lower(mx.ones((3,))).graph)
    ///     graph v1 (a: f32[3]) {
    ///       b: f32[3] = negative a
    ///       c: f32[3] = exp b
    ///       return c
    ///     }
    #[pyo3(signature = (*args, **kwargs))]
    fn lower(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Lowered> {
        fits("lower", self.held()?.fun.bind(args.py()), args, kwargs)?;
        self.explain(args, kwargs).map(Lowered::new)
    }

    /// Prints what a call with these arguments runs in Graphviz's DOT language: its kernels and library calls, or with
    /// `fused=False` the graph as traced. The function has to have been called with such arguments before.
    #[pyo3(signature = (*args, fused=true, **kwargs))]
    fn to_dot<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        fused: bool,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<String> {
        let held = self.held()?;
        let (call, _) = self.read(held, switch::current_compile_mode(), args, kwargs, None)?;
        match self.find(args.py(), &call)? {
            Some(entry) => run(|| entry.program.to_dot(fused)),
            None => Err(PyValueError::new_err(format!(
                "[to_dot] '{}' was not called with such arguments yet: call it once before",
                name_of(held.fun.bind(args.py()))
            ))),
        }
    }

    /// Why the function was traced last: what differed from the call before, as pairs of text and remedy. Empty for the first trace.
    fn why(&self) -> Vec<(String, &'static str)> {
        let cache = if self.shared.is_empty() { &self.own } else { &self.shared };
        cache.latest_changes().into_iter().map(|c| (c.to_string(), c.remedy)).collect()
    }

    /// The tree given as `outputs=`: state that a call changes.
    #[getter]
    fn _outputs(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.held()?.outputs.as_ref().map(|tree| tree.clone_ref(py)))
    }

    /// For type checkers: `CompiledFunction[[mx.array], mx.array]`.
    #[classmethod]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        class.py().import("types")?.getattr("GenericAlias")?.call1((class, item))
    }
    fn __get__<'py>(
        slf: Bound<'py, Self>,
        object: &Bound<'py, PyAny>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if object.is_none() {
            return Ok(slf.into_any());
        }
        slf.py().import("types")?.getattr("MethodType")?.call1((slf, object))
    }
    /// The module that defines the function, where the class has its own; other attributes as for any object.
    fn __getattribute__<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if name == "__module__" {
            return slf.borrow().held()?.fun.bind(py).getattr(name);
        }
        py.get_type::<PyAny>().call_method1(intern!(py, "__getattribute__"), (slf, name))
    }
    /// Attributes of the function: its name, signature, and those of the user's.
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let fun = self.held()?.fun.bind(py);
        if name == "__wrapped__" {
            return Ok(fun.clone());
        }
        // What makes a method or a wrapper recognisable as such is not passed on.
        let special = name.starts_with("__") && name.ends_with("__");
        if special && !PASSED_ON.contains(&name) {
            return Err(PyAttributeError::new_err(format!("'CompiledFunction' object has no attribute '{name}'")));
        }
        fun.getattr(name)
    }
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let held = self.held()?;
        let mut own = self.own.len();
        if !Arc::ptr_eq(&self.own, &self.shared) {
            own += self.shared.len();
        }
        let traces = if own == 1 { "1 trace".into() } else { format!("{own} traces") };
        let shapeless = if self.shapeless == Shapeless::No { "" } else { ", shapeless" };
        Ok(format!("<compiled {}{}, {traces}{shapeless}>", name_of(held.fun.bind(py)), signature(held.fun.bind(py))))
    }
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    /// As what it compiles is: a function is the same object, a bound method that of the copy of its object, which captures what is copied with it.
    fn __deepcopy__<'py>(slf: &Bound<'py, Self>, memo: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.borrow();
        let held = this.held()?;
        let copy = py.import("copy")?.getattr("deepcopy")?;
        let fun = copy.call1((&held.fun, memo))?.unbind();
        if fun.is(&held.fun) {
            return Ok(slf.clone().into_any());
        }
        // What it is part of may have led to it again.
        if let Some(found) = memo.get_item(slf.as_ptr() as usize)? {
            return Ok(found);
        }
        let captured = py.import("lazuli.core._transforms")?.getattr("_copy_captured")?;
        let copied = |tree: &Py<PyAny>| PyResult::Ok(captured.call1((tree, memo))?.unbind());
        let inputs = held.inputs.as_ref().map(copied).transpose()?;
        let outputs = held.outputs.as_ref().map(copied).transpose()?;
        let new = compile(fun.bind(py), inputs, outputs, Some(this.shapeless), this.traced_scalars, None)?;
        Ok(Bound::new(py, new)?.into_any())
    }
    /// By name, as functions are pickled, if the name leads to this object; else by the function that it compiles.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.borrow();
        let held = this.held()?;
        if held.inputs.is_some() || held.outputs.is_some() {
            return Err(PyTypeError::new_err(format!(
                "[compile] '{}' captures state (inputs=, outputs=), which a pickle would part from what the function uses: pickle the state, and compile \
                 the function where it is loaded",
                name_of(held.fun.bind(py))
            )));
        }
        let shapeless = match this.shapeless {
            Shapeless::Auto => "auto".into_pyobject(py)?.into_any(),
            other => (other == Shapeless::Yes).into_pyobject(py)?.to_owned().into_any(),
        };
        let options = (held.fun.bind(py), shapeless, this.traced_scalars);
        py.import("lazuli.core._transforms")?.getattr("_reduce_compiled")?.call1((slf, options))
    }
    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        if let Some(held) = &self.held {
            visit.call(&held.fun)?;
            visit.call(&held.inputs)?;
            visit.call(&held.outputs)?;
        }
        self.own.try_entries().iter().try_for_each(|entry| entry.traverse(&visit))
    }
    fn __clear__(&mut self) {
        self.held = None;
        self.own = Arc::default();
    }
}

/// Special attributes that a compiled function has of its function.
const PASSED_ON: &[&str] = &[
    "__name__",
    "__qualname__",
    "__annotations__",
    "__signature__",
    "__defaults__",
    "__kwdefaults__",
    "__type_params__",
];

/// The signature of a function, for people.
fn signature(fun: &Bound<'_, PyAny>) -> String {
    let text = fun.py().import("inspect").and_then(|m| m.call_method1("signature", (fun,))?.str()?.extract());
    text.unwrap_or_default()
}

/// An error if a function cannot be called with these arguments, as far as its signature says: those of a call are asked for where none happens.
fn fits(
    op: &str,
    fun: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let py = fun.py();
    // Functions of C may have none.
    let Ok(bind) = py.import("inspect")?.call_method1("signature", (fun,)).and_then(|s| s.getattr("bind")) else {
        return Ok(());
    };
    let Err(wrong) = bind.call(args, kwargs) else { return Ok(()) };
    let (name, signature) = (name_of(fun), signature(fun));
    Err(PyTypeError::new_err(format!(
        "[{op}] {}, for {name}{signature}: {op} takes the arguments of a call, of which shapes and dtypes count, not values (for an array, \
         mx.zeros(shape) will do)",
        wrong.value(py)
    )))
}

/// The arguments of a call, as against what is captured.
struct Arguments<'a, 'py> {
    args: &'a Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
    /// How many of the call's array objects they hold, and of its objects of registered classes.
    arrays: usize,
    nodes: usize,
    /// Where among the call's array objects those are that are captured.
    captured: Vec<usize>,
    /// Where among its containers those of the arguments are that are captured too.
    captured_containers: Vec<usize>,
}

impl Compiled {
    fn held(&self) -> PyResult<&Held> {
        self.held
            .as_ref()
            .ok_or_else(|| PyRuntimeError::new_err("[compile] this compiled function was garbage collected"))
    }

    /// The trace that was used last, if the key of a call like that is its own.
    fn latest(&self) -> Option<Arc<Kept>> {
        match self.shapeless {
            Shapeless::No => self.shared.newest().or_else(|| self.own.newest()),
            Shapeless::Yes | Shapeless::Auto => None,
        }
    }

    /// The arrays and the key of a call, which may be that of a trace.
    fn read<'a, 'py, 'k>(
        &self,
        held: &Held,
        mode: CompileMode,
        args: &'a Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        like: Option<&'k Kept>,
    ) -> PyResult<(Call<'k>, Arguments<'a, 'py>)> {
        let tokens = like.map_or_else(Tokens::default, |kept| Tokens::like(&kept.key));
        let mut call = Call { tokens, traced_scalars: self.traced_scalars, ..Call::default() };
        call.tokens.push(Token::Mode(mode.compiled()));
        call.tokens.push(Token::Shapeless(self.shapeless.show()));
        call.tokens.push(Token::Bool(self.traced_scalars));
        call.tokens.push(Token::Part("args"));
        call.read(args.as_any(), &|| "args".into())?;
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        let kwargs = kwargs.map(|kwargs| identity::in_order(held.fun.bind(args.py()), kwargs)).transpose()?;
        if let Some(kwargs) = &kwargs {
            call.tokens.push(Token::Part("kwargs"));
            call.read(kwargs.as_any(), &|| "kwargs".into())?;
        }
        // What a `functools.partial` holds can be changed: it is looked at in every call.
        identity::read_partial(held.fun.bind(args.py()), &mut call)?;
        let (arrays, nodes, containers) = (call.arrays.len(), call.nodes.len(), call.containers.len());
        let (mut captured, mut captured_containers) = (Vec::new(), Vec::new());
        if let Some(inputs) = &held.inputs {
            let inputs = inputs.bind(args.py());
            call.tokens.push(Token::Part("inputs"));
            call.captured = true;
            let first = call.tokens.len();
            call.read(inputs, &|| "inputs".into())?;
            captured.extend(arrays..call.arrays.len());
            // Objects that are arguments too.
            for token in &call.tokens[first..] {
                match token {
                    Token::Same(place) if *place < arrays => captured.push(*place),
                    Token::Again(place) if *place < containers => captured_containers.push(*place),
                    _ => {}
                }
            }
        }
        if let (Some(_), Some(outputs), false) = (&held.inputs, &held.outputs, held.is_captured_both_ways()) {
            call.tokens.push(Token::Part("outputs"));
            call.read_outputs(outputs.bind(args.py()))?;
        }
        call.read_reached(args.py())?;
        Ok((call, Arguments { args, kwargs, arrays, nodes, captured, captured_containers }))
    }

    fn find(&self, py: Python<'_>, call: &Call<'_>) -> PyResult<Option<Arc<Entry>>> {
        if self.shapeless == Shapeless::No {
            return Ok(self.find_key(py, &call.tokens));
        }
        // Most calls are like the one before, and then no key need be made and looked up.
        for cache in [&self.shared, &self.own] {
            if let Some(newest) = cache.newest().filter(|newest| call.is_like(&newest.key))
                && newest.entry.identities.live(py)
                && newest.entry.program.admit(&call.arrays).is_ok()
            {
                return Ok(Some(newest.entry.clone()));
            }
        }
        for shapes in [Shapes::Any, Shapes::Ranked] {
            let mut key = call.key(shapes);
            while let Some(entry) = self.find_key(py, &key) {
                match entry.program.admit(&call.arrays) {
                    Ok(()) => return Ok(Some(entry)),
                    Err(e) if self.shapeless == Shapeless::Auto && e.kind() == ErrorKind::ShapeGuard => {
                        key.push(Token::Next);
                    }
                    Err(e) => return Err(exception(e)),
                }
            }
        }
        Ok(None)
    }

    fn find_key(&self, py: Python<'_>, key: &[Token]) -> Option<Arc<Entry>> {
        for cache in [&self.shared, &self.own] {
            if let Some(entry) = cache.get(key) {
                if entry.identities.live(py) {
                    return Some(entry);
                }
                cache.forget_dead(key);
            }
            if Arc::ptr_eq(&self.shared, &self.own) {
                break;
            }
        }
        None
    }
}

/// Makes of the outputs of a call what the function returned, and does what it did to captured trees and to arguments.
fn finish<'py>(
    py: Python<'py>,
    held: &Held,
    entry: &Entry,
    call: &Call<'_>,
    outputs: Arrays,
) -> PyResult<Bound<'py, PyAny>> {
    let captured = entry.captured.as_ref().zip(held.outputs.as_ref()).map(|(edit, tree)| (edit, tree.bind(py)));
    let checks = !held.is_captured_both_ways();
    let standing = captured.map(|(edit, tree)| edit.standing(tree, checks)).transpose()?;
    let moved = captured.zip(standing.as_ref()).map(|((edit, _), s)| edit.moved(s)).unwrap_or_default();
    let mut results = Results::new(outputs, entry, call, moved);
    let result = results.fill(py, &entry.result)?;
    if let (Some((edit, tree)), Some(standing)) = (captured, &standing) {
        edit.apply(tree, standing, &mut results)?;
    }
    let mut outputs = results.rest();
    for &place in &entry.updated {
        let new = outputs.next().expect("one output per updated argument");
        PyArray::update(call.objects[place].bind(py), new);
    }
    if let Some(standing) = standing {
        standing.update_dropped(&mut outputs);
    }
    Ok(result)
}

/// Counts of what compilation has done in this process: ``traces`` of functions, ``simplifications`` of graphs, ``plans`` (a program made ready for
/// arguments that lie in memory as they do), those of them that were ``lowered`` (other shapes of a shapeless function most often follow from one that was), ``kernels`` for which code was generated, and ``hits``, runs of a plan that was there already. A call is lazy: it is
/// counted as a plan or a hit when its result is computed.
#[pyfunction]
pub fn compile_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let s = lazuli_core::compile_stats();
    let d = PyDict::new(py);
    for (name, n) in [
        ("traces", s.traces),
        ("simplifications", s.simplifications),
        ("plans", s.plans),
        ("lowered", s.lowered),
        ("kernels", s.kernels),
        ("hits", s.hits),
    ] {
        d.set_item(name, n)?;
    }
    Ok(d)
}
