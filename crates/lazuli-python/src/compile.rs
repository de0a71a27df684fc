//! `compile`: the cache in front of core's programs, captures, switches.

use crate::array::PyArray;
use crate::errors::{exception, run};
use crate::key::{Call, Shapes, Token};
use crate::transforms::name_of;
use crate::tree::{self, Kept, Template};
use lazuli_core::shapeless::{self, Scope};
use lazuli_core::trace::Trace;
use lazuli_core::{Array, ErrorKind, Options, Program, switch};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType, PyWeakrefReference};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// How many signatures a function keeps.
const CACHE_SIZE: usize = 1024;

/// A traced call: the program and how its outputs become what the function returned.
#[derive(Debug)]
struct Entry {
    program: Arc<Program>,
    result: Template,
    /// The tree of the captured outputs after the call.
    captured: Option<Template>,
    /// Arguments (by place among the call's arrays) that the function updated in place: their new values are the last outputs.
    updated: Vec<usize>,
    _alive: Vec<Py<PyAny>>,
}

#[derive(Debug, Default)]
struct Cache {
    entries: Mutex<HashMap<Vec<Token>, Arc<Entry>>>,
}

impl Cache {
    fn get(&self, key: &[Token]) -> Option<Arc<Entry>> {
        self.entries.lock().unwrap_or_else(|e| e.into_inner()).get(key).cloned()
    }
    fn insert(&self, key: Vec<Token>, entry: Arc<Entry>) {
        let mut entries = self.entries.lock().unwrap_or_else(|e| e.into_inner());
        if entries.len() >= CACHE_SIZE
            && let Some(any) = entries.keys().next().cloned()
        {
            entries.remove(&any);
        }
        entries.insert(key, entry);
    }
}

/// By the address of a function: a weak reference to it, and its cache.
type Caches = HashMap<usize, (Py<PyAny>, Arc<Cache>)>;

/// Caches of functions, found by the function itself: weakly held, compared by identity.
static CACHES: OnceLock<Mutex<Caches>> = OnceLock::new();

/// The cache of a function: one for all that `compile` makes of it while it lives.
fn cache_of(fun: &Bound<'_, PyAny>) -> Arc<Cache> {
    // A bound method is a new object at each access and can't be found again by identity; it gets a cache of its own.
    if fun.hasattr("__self__").unwrap_or(false) && fun.hasattr("__func__").unwrap_or(false) {
        return Arc::default();
    }
    let key = fun.as_ptr() as usize;
    let caches = CACHES.get_or_init(Mutex::default);
    if let Some((weak, cache)) = caches.lock().unwrap_or_else(|e| e.into_inner()).get(&key)
        && let Ok(weak) = weak.bind(fun.py()).cast::<PyWeakrefReference>()
        && weak.upgrade().is_some_and(|alive| alive.is(fun))
    {
        return cache.clone();
    }
    let cache: Arc<Cache> = Arc::default();
    if let Ok(weak) = PyWeakrefReference::new(fun) {
        let mut caches = caches.lock().unwrap_or_else(|e| e.into_inner());
        caches.insert(key, (weak.into_any().unbind(), cache.clone()));
    }
    cache
}

static MODE: AtomicU8 = AtomicU8::new(3);
/// Names of the modes, by number.
const MODES: [&str; 4] = ["disabled", "no_simplify", "no_fuse", "enabled"];

/// Turns compilation off for the whole process: compiled functions run as plain ones, so that values can be looked at.
#[pyfunction]
pub fn disable_compile() {
    switch::disable_compile();
}
/// Turns compilation on again, also if the environment turned it off.
#[pyfunction]
pub fn enable_compile() {
    switch::enable_compile();
}
/// Sets how much of the compiler runs: "disabled", "no_simplify", "no_fuse" or "enabled".
#[pyfunction]
pub fn set_compile_mode(mode: &str) -> PyResult<()> {
    let found = MODES.iter().position(|m| *m == mode);
    let found = found
        .ok_or_else(|| PyValueError::new_err(format!("[compile] no mode is named {mode:?}: use one of {MODES:?}")))?;
    MODE.store(found as u8, Ordering::Relaxed);
    Ok(())
}

/// How much of the compiler runs.
#[pyfunction]
pub fn get_compile_mode() -> &'static str {
    MODES[MODE.load(Ordering::Relaxed) as usize]
}

fn options(mode: u8) -> Options {
    Options { simplify: mode >= 2, fuse: mode == 1 || mode == 3 }
}

/// A compiled function.
#[derive(Debug)]
#[pyclass(name = "CompiledFunction", module = "lazuli.core", frozen, weakref)]
pub struct Compiled {
    fun: Py<PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: Shapeless,
    cache: Arc<Cache>,
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
        match v.extract::<&str>() {
            Ok("auto") => Ok(Shapeless::Auto),
            Ok(_) => Err(PyValueError::new_err("[compile] shapeless is True, False or \"auto\"")),
            Err(_) if v.is_truthy()? => Ok(Shapeless::Yes),
            Err(_) => Ok(Shapeless::No),
        }
    }
}

/// Returns a compiled version of `fun`: the first call with arguments of new shapes, dtypes or constants traces the function, simplifies and fuses what it
/// did, and generates code; later calls run that.
///
/// Args:
///     fun: a function of arrays, constants, and trees of them.
///     inputs: a list or dict of arrays that the function reads besides its arguments. Their values at each call are used.
///     outputs: a list or dict that the function updates. It is updated at each call.
///     shapeless: do not retrace when only shapes change. What the function read of its arguments' shapes is checked: where a
///         number or the outcome of a comparison differs, the call raises ``ShapeGuardError``, or with "auto" retraces.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> f = mx.compile(lambda x, y: mx.exp(-x) + y)
///     >>> f(mx.array(1.0), mx.array(2.0))
///     array(2.36788, dtype=float32)
#[pyfunction]
#[pyo3(signature = (fun, inputs=None, outputs=None, shapeless=None), text_signature = "(fun, inputs=None, outputs=None, shapeless=False)")]
pub fn compile(
    fun: &Bound<'_, PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: Option<Shapeless>,
) -> PyResult<Compiled> {
    let shapeless = shapeless.unwrap_or(Shapeless::No);
    if !fun.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "[compile] the first argument must be callable, not {}",
            fun.get_type().name()?
        )));
    }
    // Captured trees belong to this wrapper, so its traces do too.
    let own = inputs.is_some() || outputs.is_some() || shapeless != Shapeless::No;
    let cache = if own { Arc::default() } else { cache_of(fun) };
    Ok(Compiled { fun: fun.clone().unbind(), inputs, outputs, shapeless, cache })
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
        let mode = MODE.load(Ordering::Relaxed);
        // Within a shapeless trace the function is a part of that: its own trace would take extents for numbers.
        if !switch::compile_is_enabled() || mode == 0 || shapeless::is_live() {
            return self.fun.bind(py).call(args, kwargs);
        }
        let (mut call, arguments) = self.read(mode, args, kwargs)?;
        let (entry, outputs) = match self.find(&call)? {
            Some(entry) => {
                let outputs = run(|| entry.program.call(&call.arrays))?;
                (entry, outputs)
            }
            None => self.trace(py, &arguments, &mut call, mode)?,
        };
        let mut outputs = outputs.into_iter();
        let result = entry.result.fill(py, Kept::Classes, &mut outputs)?;
        if let (Some(template), Some(tree)) = (&entry.captured, &self.outputs) {
            write_back(tree.bind(py), template, &mut outputs)?;
        }
        for &i in &entry.updated {
            let new = outputs.next().expect("one output per updated argument");
            for (object, place) in &call.objects {
                if *place == i {
                    object.get().set(new.clone());
                }
            }
        }
        Ok(result)
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
        let (call, _) = self.read(MODE.load(Ordering::Relaxed), args, kwargs)?;
        match self.find(&call)? {
            Some(entry) => run(|| entry.program.to_dot(fused)),
            None => Err(PyValueError::new_err(format!(
                "[to_dot] '{}' was not called with such arguments yet: call it once before",
                name_of(self.fun.bind(args.py()))
            ))),
        }
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
    /// Attributes of the function: its name, doc, signature.
    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        if name == "__wrapped__" {
            return Ok(self.fun.bind(py).clone());
        }
        self.fun.bind(py).getattr(name)
    }
    #[getter]
    fn __doc__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.fun.bind(py).getattr("__doc__")
    }
    fn __repr__(&self, py: Python<'_>) -> String {
        let traces = self.cache.entries.lock().unwrap_or_else(|e| e.into_inner()).len();
        format!("<compiled {}, {traces} traced>", name_of(self.fun.bind(py)))
    }
    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.fun)?;
        visit.call(&self.inputs)?;
        visit.call(&self.outputs)
    }
}

/// The arguments of a call, as against what is captured.
struct Arguments<'a, 'py> {
    args: &'a Bound<'py, PyTuple>,
    kwargs: Option<&'a Bound<'py, PyDict>>,
    /// How many of the call's distinct arrays, and of its array objects, they hold.
    arrays: usize,
    objects: usize,
}

impl Compiled {
    /// The arrays and the key of a call.
    fn read<'a, 'py>(
        &self,
        mode: u8,
        args: &'a Bound<'py, PyTuple>,
        kwargs: Option<&'a Bound<'py, PyDict>>,
    ) -> PyResult<(Call, Arguments<'a, 'py>)> {
        let mut call = Call::default();
        call.tokens.push(Token::Int(mode as i64));
        call.read(args.as_any(), &|| "args".into())?;
        if let Some(kwargs) = kwargs {
            call.read(kwargs.as_any(), &|| "kwargs".into())?;
        }
        let arguments = Arguments { args, kwargs, arrays: call.arrays.len(), objects: call.objects.len() };
        if let Some(inputs) = &self.inputs {
            call.read(inputs.bind(args.py()), &|| "inputs".into())?;
        }
        Ok((call, arguments))
    }

    fn find(&self, call: &Call) -> PyResult<Option<Arc<Entry>>> {
        if self.shapeless == Shapeless::No {
            return Ok(self.cache.get(&call.tokens));
        }
        for shapes in [Shapes::Any, Shapes::Ranked] {
            let mut key = call.key(shapes);
            while let Some(entry) = self.cache.get(&key) {
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

    /// The key of a new trace: the first that none has.
    fn free_key(&self, call: &Call, any_rank: bool) -> Vec<Token> {
        if self.shapeless == Shapeless::No {
            return call.key(Shapes::Exact);
        }
        let mut key = call.key(if any_rank { Shapes::Any } else { Shapes::Ranked });
        while self.cache.get(&key).is_some() {
            key.push(Token::Next);
        }
        key
    }

    /// Runs the function on placeholders, makes the program, and calls it. Whatever happens, arrays of the user that stood for
    /// placeholders meanwhile are put back; if the function raises, the captured containers are too.
    fn trace(
        &self,
        py: Python<'_>,
        arguments: &Arguments<'_, '_>,
        call: &mut Call,
        mode: u8,
    ) -> PyResult<(Arc<Entry>, Vec<Array>)> {
        let name = name_of(self.fun.bind(py));
        let trace = Trace::begin(name.clone(), "compile");
        let _places = crate::location::Guard::new();
        let scope = (self.shapeless != Shapeless::No).then(Scope::begin);
        let holes: Vec<Array> = call.arrays.iter().map(|a| trace.placeholder(a.aval().clone())).collect();
        // Arguments are rebuilt around placeholders; captured arrays become placeholders where they stand.
        let mut filler = Filler {
            places: call.arrays.iter().map(|a| a.id()).zip(0..).collect(),
            wrappers: HashMap::new(),
            holes: &holes,
        };
        let new_args = filler.rebuild(arguments.args.as_any())?;
        let new_kwargs = arguments.kwargs.map(|k| filler.rebuild(k.as_any())).transpose()?;
        let wrappers = filler.wrappers;
        let saved = Snapshot::of(py, [&self.inputs, &self.outputs])?;
        let stood: Vec<(&Py<PyArray>, Array)> = call.objects[arguments.objects..]
            .iter()
            .map(|(o, place)| (o, o.get().set(holes[*place].clone())))
            .collect();
        let traced = (|| {
            let kwargs = new_kwargs.as_ref().map(|k| k.cast::<PyDict>()).transpose()?;
            let value = self.fun.bind(py).call(new_args.cast::<PyTuple>()?, kwargs)?;
            let mut outputs = Vec::new();
            let result = tree::flatten(&value, &mut outputs)?;
            let captured = self.outputs.as_ref().map(|o| tree::flatten(o.bind(py), &mut outputs)).transpose()?;
            let mut updated = Vec::new();
            for (i, hole) in holes.iter().enumerate().take(arguments.arrays) {
                if let Some(now) = wrappers.get(&i).map(|w| w.get().get())
                    && now.id() != hole.id()
                {
                    updated.push(i);
                    outputs.push(now);
                }
            }
            Ok((result, captured, updated, outputs))
        })();
        // In reverse, for an object that occurs twice.
        for (object, array) in stood.into_iter().rev() {
            object.get().set(array);
        }
        let facts = scope.map(Scope::end);
        drop(trace);
        let (result, captured, updated, outputs) = match traced {
            Ok(traced) => traced,
            Err(e) => {
                saved.restore(py)?;
                return Err(e);
            }
        };
        let finish = || -> PyResult<(Arc<Entry>, Vec<Array>)> {
            let program = run(|| match facts {
                None => Program::from_trace(name, &holes, &outputs, options(mode)),
                Some(facts) => Program::from_shapeless_trace(name, &holes, &outputs, options(mode), facts),
            })?;
            self.refuse_closures(&program, &call.arrays[..arguments.arrays])?;
            let program = Arc::new(program);
            let outputs = program.call(&call.arrays).map_err(exception)?;
            let alive = std::mem::take(&mut call.alive);
            let entry = Arc::new(Entry { program, result, captured, updated, _alive: alive });
            let key = self.free_key(call, entry.program.is_any_rank());
            self.cache.insert(key, entry.clone());
            Ok((entry, outputs))
        };
        finish().inspect_err(|_| {
            // The error at hand is the one to report.
            let _ = saved.restore(py);
        })
    }

    /// An argument that is also reached through a closure would silently be a constant.
    fn refuse_closures(&self, program: &Program, arguments: &[Array]) -> PyResult<()> {
        let taken = |c: &Array| arguments.iter().any(|a| a.id() == c.id());
        if program.constants().iter().any(taken) {
            return Err(PyValueError::new_err(format!(
                "[compile] '{}' was given an array that it also reaches through its closure (an uncaptured input): there it would be a \
                 constant. Use the argument, or capture the other with inputs=",
                program.name()
            )));
        }
        Ok(())
    }
}

/// Builds arguments anew around placeholders: one wrapper per distinct array.
struct Filler<'a> {
    places: HashMap<(usize, u32), usize>,
    wrappers: HashMap<usize, Py<PyArray>>,
    holes: &'a [Array],
}

impl Filler<'_> {
    fn rebuild<'py>(&mut self, v: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = v.py();
        if let Ok(a) = v.cast::<PyArray>() {
            let place = self.places[&a.get().get().id()];
            let wrapper = match self.wrappers.get(&place) {
                Some(w) => w.clone_ref(py),
                None => {
                    let w = Py::new(py, PyArray::new(self.holes[place].clone()))?;
                    self.wrappers.insert(place, w.clone_ref(py));
                    w
                }
            };
            return Ok(wrapper.into_bound(py).into_any());
        }
        if let Ok(list) = v.cast::<PyList>() {
            let items = list.iter().map(|x| self.rebuild(&x)).collect::<PyResult<Vec<_>>>()?;
            return Ok(PyList::new(py, items)?.into_any());
        }
        if let Ok(tuple) = v.cast::<PyTuple>() {
            let items = PyTuple::new(py, tuple.iter().map(|x| self.rebuild(&x)).collect::<PyResult<Vec<_>>>()?)?;
            let class: Bound<'py, PyType> = tuple.get_type();
            return match tuple.is_exact_instance_of::<PyTuple>() {
                true => Ok(items.into_any()),
                false if class.hasattr("_make")? => class.call_method1("_make", (items,)),
                false => class.call1((items,)),
            };
        }
        if let Ok(dict) = v.cast::<PyDict>() {
            let entries = PyDict::new(py);
            for (k, x) in dict.iter() {
                entries.set_item(k, self.rebuild(&x)?)?;
            }
            return match dict.is_exact_instance_of::<PyDict>() {
                true => Ok(entries.into_any()),
                false => tree::twin(v, &entries),
            };
        }
        Ok(v.clone())
    }
}

/// Shallow copies of the containers of captured trees, to put back if the function raises.
struct Snapshot(Vec<(Py<PyAny>, Py<PyAny>)>);

impl Snapshot {
    fn of(py: Python<'_>, trees: [&Option<Py<PyAny>>; 2]) -> PyResult<Snapshot> {
        let mut copies = Vec::new();
        let mut todo: Vec<Bound<'_, PyAny>> = trees.into_iter().flatten().map(|t| t.bind(py).clone()).collect();
        let mut seen = std::collections::HashSet::new();
        while let Some(v) = todo.pop() {
            if !seen.insert(v.as_ptr() as usize) {
                continue;
            }
            if let Ok(list) = v.cast::<PyList>() {
                todo.extend(list.iter());
                copies.push((v.clone().unbind(), PyList::new(py, list.iter())?.into_any().unbind()));
            } else if let Ok(dict) = v.cast::<PyDict>() {
                todo.extend(dict.values().iter());
                let copy = PyDict::new(py);
                copy.update(dict.as_mapping())?;
                copies.push((v.clone().unbind(), copy.into_any().unbind()));
            } else if let Ok(tuple) = v.cast::<PyTuple>() {
                todo.extend(tuple.iter());
            }
        }
        Ok(Snapshot(copies))
    }
    fn restore(&self, py: Python<'_>) -> PyResult<()> {
        for (container, copy) in &self.0 {
            let (container, copy) = (container.bind(py), copy.bind(py));
            if let Ok(list) = container.cast::<PyList>() {
                list.set_slice(0, list.len(), copy)?;
            } else if let Ok(dict) = container.cast::<PyDict>() {
                dict.clear();
                dict.update(copy.cast::<PyDict>()?.as_mapping())?;
            }
        }
        Ok(())
    }
}

/// Puts new arrays into a captured tree, so that it has the structure it had after the trace.
fn write_back(tree: &Bound<'_, PyAny>, template: &Template, arrays: &mut dyn Iterator<Item = Array>) -> PyResult<()> {
    let py = tree.py();
    /// The child to put in place, or none if it was updated where it stands.
    fn child<'py>(
        py: Python<'py>,
        now: Option<Bound<'py, PyAny>>,
        template: &Template,
        arrays: &mut dyn Iterator<Item = Array>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (now, template) {
            (Some(now), Template::List(_)) if now.is_instance_of::<PyList>() => {
                write_back(&now, template, arrays).map(|()| None)
            }
            (Some(now), Template::Dict(..)) if now.is_instance_of::<PyDict>() => {
                write_back(&now, template, arrays).map(|()| None)
            }
            (Some(_), t) if t.len() == 0 => Ok(None),
            (_, t) => t.fill(py, Kept::Classes, arrays).map(Some),
        }
    }
    match template {
        Template::List(items) => {
            let list = tree.cast::<PyList>()?;
            if list.len() != items.len() {
                let filled = template.fill(py, Kept::Classes, arrays)?;
                return list.set_slice(0, list.len(), &filled);
            }
            for (i, t) in items.iter().enumerate() {
                if let Some(new) = child(py, Some(list.get_item(i)?), t, arrays)? {
                    list.set_item(i, new)?;
                }
            }
        }
        Template::Dict(_, entries) => {
            let dict = tree.cast::<PyDict>()?;
            for (k, t) in entries {
                if let Some(new) = child(py, dict.get_item(k)?, t, arrays)? {
                    dict.set_item(k, new)?;
                }
            }
        }
        Template::Tuple(_, items) => {
            let tuple = tree.cast::<PyTuple>()?;
            for (x, t) in tuple.iter().zip(items) {
                write_back(&x, t, arrays)?;
            }
        }
        Template::Array => {
            tree.cast::<PyArray>()?.get().set(arrays.next().expect("one output per captured array"));
        }
        Template::Leaf(_) => {}
    }
    Ok(())
}

/// Counts of what compilation has done in this process: traces, simplifications, plans, kernels, hits.
#[pyfunction]
pub fn compile_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let s = lazuli_core::compile_stats();
    let d = PyDict::new(py);
    for (name, n) in [
        ("traces", s.traces),
        ("simplifications", s.simplifications),
        ("plans", s.plans),
        ("kernels", s.kernels),
        ("hits", s.hits),
    ] {
        d.set_item(name, n)?;
    }
    Ok(d)
}
