//! Tracing: the function runs on placeholders, and what it did becomes an entry of the cache.
//!
//! Arguments are rebuilt around placeholders; captured array objects stand for placeholders on this thread alone (see
//! [`crate::frames`]). Whatever goes wrong, captured containers are as they were before and nothing is cached.

use super::captures::Captured;
use super::entry::{Entry, Outputs, Place, Source};
use super::snapshot::{Before, Replaced, Snapshot};
use super::{Arguments, Cache, Compiled, Held, Shapeless, reach};
use crate::array::PyArray;
use crate::custom;
use crate::errors::run;
use crate::frames::{self, Scope, Seen};
use crate::key::{Call, Identities, Shapes, Token};
use crate::location;
use crate::nodes::{self, Parts};
use crate::scalars::Number;
use crate::transforms::{Nested, name_of};
use crate::tree;
use lazuli_core::cache::Change;
use lazuli_core::program::Recorded;
use lazuli_core::trace::{self, Trace};
use lazuli_core::{Array, CompileMode, Program, Updates, log, shapeless};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl Compiled {
    /// Traces the function for a call.
    pub(super) fn trace(
        &self,
        held: &Held,
        arguments: &Arguments<'_, '_>,
        call: &mut Call<'_>,
        mode: CompileMode,
    ) -> PyResult<Arc<Entry>> {
        let py = arguments.args.py();
        call.nodes[arguments.nodes..].iter().try_for_each(|node| holds_its_arrays(node, py))?;
        let watched = Watched::of(held, py)?;
        match self.run(held, arguments, call, mode, &watched) {
            // The call does to the outputs what the trace did, as every later call will.
            Ok(traced) => watched.outputs.restore_items(py).map(|()| traced),
            Err(e) => {
                // The error at hand is the one to report.
                let _ = watched.restore(py);
                Err(e)
            }
        }
    }

    fn run(
        &self,
        held: &Held,
        arguments: &Arguments<'_, '_>,
        call: &mut Call<'_>,
        mode: CompileMode,
        watched: &Watched,
    ) -> PyResult<Arc<Entry>> {
        let py = arguments.args.py();
        let fun = held.fun.bind(py);
        let _nested = Nested::enter(fun)?;
        let name = name_of(fun);
        location::locate();
        let trace = Trace::begin(name.clone(), "compile");
        let shapes = (self.shapeless != Shapeless::No).then(shapeless::Scope::begin);
        let frame = Scope::enter();
        let holes: Vec<Array> = call.arrays.iter().map(|a| trace.placeholder(a.aval().clone())).collect();
        let mut filler = Filler::new(call, &holes, arguments, py);
        let new_args = filler.rebuild(arguments.args.as_any())?.cast_into::<PyTuple>()?;
        let new_kwargs = arguments.kwargs.as_ref().map(|k| filler.rebuild(k.as_any())).transpose()?;
        for &place in &arguments.captured {
            frame.stand(call.objects[place].bind(py), holes[place].clone());
        }
        let given = filler.modules(py)?;
        let before = held.outputs.as_ref().map(|o| arrays_in(o.bind(py))).transpose()?.unwrap_or_default();
        let is_output = |object: &Py<PyArray>| before.iter().any(|(o, _)| o.is(object));

        let kwargs = new_kwargs.as_ref().map(|k| k.cast::<PyDict>()).transpose()?;
        let value = fun.call(&new_args, kwargs)?;

        let mut outputs = Outputs::default();
        let result = outputs.flatten(&value)?;
        result.leaves(py, "the result", &mut |leaf, path| refuse_leaf(&name, &holes, leaf, path))?;
        drop(value);
        let mut captured = match &held.outputs {
            Some(o) => Some(Captured::of(o.bind(py), &watched.outputs, &mut outputs)?),
            None => None,
        };
        let sources = filler.sources(&outputs.places, &arguments.captured);
        let updated = filler.updated(&mut outputs, &arguments.captured, &is_output);
        if let Some(captured) = &mut captured {
            captured.add_dropped(&mut outputs, &|object| call.objects.iter().any(|o| o.is(object)));
        }
        refuse_updates_of_copies(&name, &given, &outputs, &new_args, new_kwargs.as_ref())?;
        let updates = match &captured {
            Some(captured) if captured.makes_objects_anew() => Updates::Nothing,
            Some(captured) if !captured.is_array_for_array(&outputs) => Updates::More,
            _ => updates(py, call, &outputs, &sources, &updated),
        };
        let outputs = outputs.arrays;
        refuse_updates_of_others(&name, call, &updated, py)?;
        let replaced = watched.reached.replaced(py)?;
        let (seen, mut drew) = frame.finish();
        let facts = shapes.map(shapeless::Scope::end);
        let time = trace.elapsed();
        let effects = &trace.end();
        let is_argument = |object: &Py<PyArray>| call.objects[..arguments.arrays].iter().any(|o| o.is(object));
        let is_outside = |s: &Seen| !is_output(&s.object) && !is_argument(&s.object);
        let mut outside: Vec<Seen> = seen.into_iter().filter(is_outside).collect();
        // A captured key that is not among the outputs stays where it is.
        if let Some(key) = outside.iter().position(|s| is_captured_key(s.object.bind(py), arguments, call)) {
            outside.remove(key);
            drew = true;
        }
        // A seed that is set in the function is a side effect of the trace.
        let random_key = crate::random::key_object(py)?;
        let (seeded, outside): (Vec<Seen>, Vec<Seen>) = outside.into_iter().partition(|s| random_key.is(&s.object));
        watched.refuse(&name, &holes, &replaced, &outside)?;

        let path = |place: usize| call.paths().swap_remove(place);
        let recorded = Recorded {
            name: name.clone(),
            inputs: &holes,
            outputs: &outputs,
            arguments: &call.arrays[..arguments.arrays],
            effects,
            path: &path,
            facts,
            time,
            updates,
        };
        let program = run(|| Program::from_trace(recorded, mode.options()))?;
        if drew {
            let text = format!(
                "[compile] '{name}' draws random numbers without capturing mx.random.state: they are the same at every call. Give it in inputs= and \
                 in outputs=, or pass a key as an argument"
            );
            location::warn(py, "CaptureWarning", text)?;
        }
        warn_of_constants(py, &name, &program, &before)?;
        for seen in seeded {
            PyArray::update(&random_key, seen.now);
        }

        let program = Arc::new(program);
        let identities = Identities::new(py, std::mem::take(&mut call.identities));
        let symbolic = program.is_symbolic();
        let rules = custom::vmap_rules(py, &program);
        let entry = Arc::new(Entry { program, result, captured, sources, updated, identities, rules });
        // What was traced within another trace may mention that trace's placeholders: it serves this call alone.
        if !symbolic {
            let cache = if entry.is_plain(py) { &self.shared } else { &self.own };
            let (key, cause) = free_key(cache, self.shapeless, call, entry.program.is_any_rank());
            let inserted = cache.insert_for(key, entry.clone(), cause);
            log::traced(&name, || cache.latest_changes());
            // If another thread was first, its entry stays; this call has its own.
            if let Some(warning) = inserted.warning {
                location::warn(py, "RecompileWarning", format!("[compile] '{name}' keeps being traced: {warning}"))?;
            }
        }
        Ok(entry)
    }
}

/// Which outputs take the places of which of the call's arrays.
fn updates(py: Python<'_>, call: &Call<'_>, outputs: &Outputs, sources: &[Source], updated: &[usize]) -> Updates {
    // Where the array of each place is among the outputs.
    let mut arrays = 0;
    let mut numbers = Vec::with_capacity(sources.len());
    for source in sources {
        numbers.push(arrays);
        arrays += usize::from(!matches!(source, Source::Moved(_) | Source::Made(_)));
    }
    let in_place = sources.iter().zip(&numbers).filter_map(|(source, &number)| match source {
        Source::Updated(place) => Some((number, *place)),
        _ => None,
    });
    let mut pairs: Vec<(usize, usize)> = in_place.collect();
    let mut taken: HashSet<usize> = pairs.iter().map(|(output, _)| *output).collect();
    for (place, before) in &outputs.replaced {
        // Another object than a new one is no output, which could become what stood there before.
        let number = match sources[*place] {
            Source::New => numbers[*place],
            Source::Output(first) => numbers[first],
            Source::Updated(place) if call.objects[place].is(before) => continue,
            _ => return Updates::More,
        };
        match call.objects.place(before.bind(py)) {
            Some(before) if taken.insert(number) => pairs.push((number, before)),
            _ => return Updates::More,
        }
    }
    pairs.extend(updated.iter().enumerate().map(|(k, &place)| (arrays + k, place)));
    Updates::of_arrays(pairs)
}

/// Refuses a captured object of a registered class that gives other arrays each time it is taken apart: those that the function reads are none of them.
fn holds_its_arrays(node: &Parts, py: Python<'_>) -> PyResult<()> {
    let arrays = |children: &Bound<'_, PyTuple>| {
        let mut found = Vec::new();
        tree::visit(children.as_any(), &mut |array| {
            found.push(array.clone().unbind());
            Ok(())
        })?;
        PyResult::Ok(found)
    };
    let object = node.object.bind(py);
    let Some(again) = nodes::find(object)? else { return Ok(()) };
    let (first, second) = (arrays(node.children.bind(py))?, arrays(&again.children)?);
    if first.len() == second.len() && first.iter().zip(&second).all(|(a, b)| a.is(b)) {
        return Ok(());
    }
    let class = object.get_type().name()?;
    Err(PyValueError::new_err(format!(
        "[compile] a captured object of {class} cannot be followed: what is registered as its flatten function makes new arrays, where it must \
         give those that the object holds"
    )))
}

/// The error of a result that is to run after the trace: what it computes would mention placeholders, and later calls would find it exhausted. And of
/// a container or an object that is no tree, in which placeholders would stay.
fn refuse_leaf(name: &str, holes: &[Array], leaf: &Bound<'_, PyAny>, path: &str) -> PyResult<()> {
    if tree::is_number_or_text(leaf) {
        return Ok(());
    }
    if tree::hides_arrays(leaf)? {
        let kind = leaf.get_type().name()?;
        return Err(PyValueError::new_err(format!(
            "[compile] {path} of '{name}' is a {kind} of arrays, which no compiled function returns: return a list of them"
        )));
    }
    if !leaf.hasattr("__next__")? && !leaf.hasattr("__await__")? {
        return refuse_object(name, holes, leaf, path);
    }
    let kind = leaf.get_type().name()?;
    Err(PyValueError::new_err(format!(
        "[compile] {path} of '{name}' is a {kind}, which runs only when it is iterated or awaited, after the trace: return a list of arrays"
    )))
}

fn refuse_object(name: &str, holes: &[Array], leaf: &Bound<'_, PyAny>, path: &str) -> PyResult<()> {
    let find = leaf.py().import("lazuli._reach")?.getattr("arrays_within")?;
    let found: Vec<(String, Bound<'_, PyArray>)> = find.call1((leaf,))?.extract()?;
    let arrays: Vec<Array> = found.iter().map(|(_, object)| object.get().get()).collect();
    if arrays.is_empty() {
        return Ok(());
    }
    let Some(first) = trace::depend(holes, &arrays).into_iter().position(|depends| depends) else { return Ok(()) };
    let (at, kind) = (&found[first].0, leaf.get_type().name()?);
    Err(PyValueError::new_err(format!(
        "[compile] {path} of '{name}' is a {kind} that holds an array, {at}, where no compiled function returns one: return a list or dict of its \
         arrays, or make {kind} a node of trees with mx.register_tree_node"
    )))
}

/// The error of an update in place of what an array was made of (a numpy array), where it would be lost.
fn refuse_updates_of_others(name: &str, call: &Call<'_>, updated: &[usize], py: Python<'_>) -> PyResult<()> {
    for (leaf, place) in &call.made {
        let leaf = leaf.bind(py);
        if updated.contains(place) && leaf.hasattr("__setitem__")? {
            return Err(PyValueError::new_err(format!(
                "[compile] '{name}' updates {} in place, which is of type {}: the function works on an array made of it, and the update would be lost. \
                 Pass an mx.array",
                call.paths().swap_remove(*place),
                leaf.get_type().name()?
            )));
        }
    }
    Ok(())
}

/// The error of a module among the arguments whose arrays the function replaces: it works on a copy, of which the caller sees only what is returned.
fn refuse_updates_of_copies(
    name: &str,
    given: &Snapshot,
    outputs: &Outputs,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = args.py();
    let lost: Vec<Replaced<'_>> =
        given.replaced(py)?.into_iter().filter(|r| !outputs.has(r.array.as_unbound())).collect();
    let Some(first) = lost.first() else { return Ok(()) };
    let find = py.import("lazuli._reach")?.getattr("name_in_arguments")?;
    let what: String = find.call1((args, kwargs, &first.container, &first.key))?.extract()?;
    let others = match lost.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Err(PyValueError::new_err(format!(
        "[compile] {what}{others} is updated in '{name}', which works on a copy of a module among its arguments: the update would be lost. Let the \
         function reach the module through its closure, and add the module's state to inputs= and outputs=; or return the new arrays"
    )))
}

/// The key of a new trace, the first that none has, and why the latest trace for such arguments does not do, if there is one.
fn free_key(cache: &Cache, shapeless: Shapeless, call: &Call<'_>, any_rank: bool) -> (Vec<Token>, Option<Change>) {
    if shapeless == Shapeless::No {
        return (call.key(Shapes::Exact), None);
    }
    let free = |shapes: Shapes| {
        let (mut key, mut latest) = (call.key(shapes), None);
        while let Some(entry) = cache.get(&key) {
            latest = Some(entry);
            key.push(Token::Next);
        }
        (key, latest)
    };
    let (own, other) = if any_rank { (Shapes::Any, Shapes::Ranked) } else { (Shapes::Ranked, Shapes::Any) };
    let (key, latest) = free(own);
    let latest = latest.or_else(|| free(other).1);
    (key, latest.and_then(|latest| latest.program.refusal(&call.arrays)))
}

/// Warns of arrays that the function updates and also reads, without having captured them as inputs.
fn warn_of_constants(
    py: Python<'_>,
    name: &str,
    program: &Program,
    outputs: &[(Bound<'_, PyArray>, String)],
) -> PyResult<()> {
    let constants = program.constants();
    let is_read = |o: &Bound<'_, PyArray>| {
        let id = o.get().get().id();
        constants.iter().any(|c| c.id() == id)
    };
    let Some((_, path)) = outputs.iter().find(|(o, _)| is_read(o)) else { return Ok(()) };
    let text = format!(
        "[compile] '{name}' reads {path} without capturing it in inputs=: every call starts from the value that it has now. Give the same tree in \
         inputs="
    );
    location::warn(py, "CaptureWarning", text)
}

/// Whether an object is the thread's random key and is captured.
fn is_captured_key(object: &Bound<'_, PyArray>, arguments: &Arguments<'_, '_>, call: &Call<'_>) -> bool {
    let py = object.py();
    crate::random::key_object(py).is_ok_and(|key| key.is(object))
        && arguments.captured.iter().any(|&place| call.objects[place].bind(py).is(object))
}

/// The array objects of an output capture, and where they stand.
fn arrays_in<'py>(v: &Bound<'py, PyAny>) -> PyResult<Vec<(Bound<'py, PyArray>, String)>> {
    let mut call = Call { captured: true, ..Call::default() };
    call.tokens.push(Token::Part("outputs"));
    call.read(v, &|| "outputs".into())?;
    let paths = call.paths();
    Ok(call.objects.iter().map(|o| o.bind(v.py()).clone()).zip(paths).collect())
}

/// State as it was before the function ran: captured trees, and modules and optimizers that the function can reach.
pub(super) struct Watched {
    pub outputs: Snapshot,
    pub inputs: Snapshot,
    /// What the function reaches, or captures as inputs, besides the outputs.
    pub reached: Snapshot,
    pub fun: Py<PyAny>,
    /// Finds names of what it changed; none if there are no containers.
    pub names: Option<Py<PyAny>>,
}

/// What finds the state that a function can reach, and its names.
fn search<'py>(py: Python<'py>, fun: &Py<PyAny>, inputs: &Option<Py<PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    py.import("lazuli._reach")?.getattr("Reach")?.call1((fun, inputs))
}

/// What the function calls these arrays, which it reaches; empty for one that it made itself.
pub(super) fn names_of(held: &Held, arrays: &[Array], py: Python<'_>) -> PyResult<Vec<String>> {
    let mut names = vec![String::new(); arrays.len()];
    if arrays.is_empty() {
        return Ok(names);
    }
    for found in search(py, &held.fun, &held.inputs)?.call_method0("arrays")?.try_iter()? {
        let (name, object): (String, Bound<'_, PyArray>) = found?.extract()?;
        let id = object.get().get().id();
        if let Some(place) = arrays.iter().position(|a| a.id() == id)
            && names[place].is_empty()
        {
            names[place] = name;
        }
    }
    Ok(names)
}

/// Whether there is a trace around a call, and the function reaches an array that this is about.
pub(super) fn reaches_traced(held: &Held, py: Python<'_>) -> PyResult<bool> {
    if !trace::is_tracing() {
        return Ok(false);
    }
    for found in search(py, &held.fun, &held.inputs)?.call_method0("arrays")?.try_iter()? {
        let (_, object): (Bound<'_, PyAny>, Bound<'_, PyArray>) = found?.extract()?;
        if object.get().get().is_traced() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Watched {
    pub fn of(held: &Held, py: Python<'_>) -> PyResult<Watched> {
        Watched::reaching(held, false, py)
    }
    /// `all`: what the function reaches besides modules and optimizers too, plain containers and variables.
    pub fn reaching(held: &Held, all: bool, py: Python<'_>) -> PyResult<Watched> {
        let [mut outputs, mut inputs, mut reached] = std::array::from_fn(|_| Snapshot::default());
        if let Some(tree) = &held.outputs {
            outputs.add(tree.bind(py))?;
        }
        if let Some(tree) = &held.inputs {
            inputs.add(tree.bind(py))?;
        }
        let mut names = None;
        if all || held.inputs.is_some() || reach::may_reach_state(held.fun.bind(py))? {
            let search = search(py, &held.fun, &held.inputs)?;
            for container in search.call_method1("containers", (all,))?.try_iter()? {
                let container = container?;
                if !outputs.contains(&container) {
                    reached.add_one(&container)?;
                }
            }
            if all {
                for variable in search.call_method0("variables")?.try_iter()? {
                    let (name, holder): (Bound<'_, PyAny>, Bound<'_, PyAny>) = variable?.extract()?;
                    reached.add_variable(&name, &holder)?;
                }
            }
            names = Some(search.unbind());
        }
        Ok(Watched { outputs, inputs, reached, fun: held.fun.clone_ref(py), names })
    }
    /// Puts everything back.
    pub fn restore(&self, py: Python<'_>) -> PyResult<()> {
        [&self.reached, &self.inputs, &self.outputs].into_iter().try_for_each(|s| s.restore(py))
    }

    /// The error of array state that the function changed without capturing it. State that it added, and that is the same whatever the arguments are,
    /// is a side effect like others (a table made when first needed).
    fn refuse(&self, name: &str, holes: &[Array], replaced: &[Replaced<'_>], outside: &[Seen]) -> PyResult<()> {
        let new: Vec<Array> =
            replaced.iter().map(|r| r.array.get().get()).chain(outside.iter().map(|s| s.now.clone())).collect();
        let changed: Vec<bool> = trace::depend(holes, &new)
            .into_iter()
            .enumerate()
            .map(|(i, depends)| depends || replaced.get(i).is_none_or(|r| r.before == Before::Something))
            .collect();
        let Some((what, remedy)) = self.name_of(&changed, replaced, outside)? else { return Ok(()) };
        Err(PyValueError::new_err(format!(
            "[compile] {what} is updated in '{name}', which has not captured it as an output: {remedy}. It was put back"
        )))
    }

    /// What the function calls the first of what it `changed`, how many more there are, and how to capture that.
    pub fn name_of(
        &self,
        changed: &[bool],
        replaced: &[Replaced<'_>],
        outside: &[Seen],
    ) -> PyResult<Option<(String, String)>> {
        let count = changed.iter().filter(|c| **c).count();
        let Some(first) = changed.iter().position(|c| *c) else { return Ok(None) };
        Python::attach(|py| {
            let names = match &self.names {
                Some(names) => names.bind(py).clone(),
                None => {
                    // It finds what is there now.
                    self.restore(py)?;
                    let names = search(py, &self.fun, &None)?;
                    names.call_method1("containers", (true,))?;
                    names
                }
            };
            let (what, remedy): (String, String) = match replaced.get(first) {
                Some(r) => names.call_method1("name_of_item", (&r.container, &r.key))?.extract()?,
                None => {
                    let seen = &outside[first - replaced.len()];
                    names.call_method1("name_of_array", (&seen.object, seen.at.to_string()))?.extract()?
                }
            };
            let others = match count {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            Ok(Some((what + &others, remedy)))
        })
    }
}

/// Builds arguments anew around placeholders: one wrapper per distinct array object, one container per distinct container. Those that are captured too
/// stay themselves: on this thread the array objects in them stand for placeholders. It walks them in the order in which the call was read.
pub(super) struct Filler<'a> {
    call: &'a Call<'a>,
    /// What is put in each array's place.
    arrays: &'a [Array],
    wrappers: Vec<Option<Py<PyArray>>>,
    /// What stands for containers, by their addresses.
    containers: HashMap<usize, Py<PyAny>>,
    /// Those of them that were built, in the order in which they were.
    new: Vec<Py<PyAny>>,
    /// How many leaves of `call.made` and objects of `call.nodes` were met.
    made: usize,
    nodes: usize,
}

impl<'a> Filler<'a> {
    pub fn new(call: &'a Call<'a>, arrays: &'a [Array], arguments: &Arguments<'_, '_>, py: Python<'_>) -> Self {
        let mut wrappers: Vec<Option<Py<PyArray>>> = (0..arguments.arrays).map(|_| None).collect();
        for &place in arguments.captured.iter().filter(|place| **place < arguments.arrays) {
            wrappers[place] = Some(call.objects[place].clone_ref(py));
        }
        let captured = arguments.captured_containers.iter().map(|&place| &call.containers[place]);
        let containers = captured.map(|c| (c.as_ptr() as usize, c.clone_ref(py))).collect();
        Filler { call, arrays, wrappers, containers, new: Vec::new(), made: 0, nodes: 0 }
    }
    /// Arguments, and arrays of output captures that stand there no more, that were updated in place, by their places; their new arrays go to `outputs`.
    pub fn updated(
        &self,
        outputs: &mut Outputs,
        captured: &[usize],
        is_output: &dyn Fn(&Py<PyArray>) -> bool,
    ) -> Vec<usize> {
        let mut updated = Vec::new();
        for (place, wrapper) in self.wrappers.iter().enumerate() {
            // The number of the caller's stays what it is.
            if let Some(now) = wrapper.as_ref().filter(|_| !self.is_number(place)).map(|w| w.get().get())
                && now.id() != self.arrays[place].id()
            {
                updated.push(place);
                outputs.arrays.push(now);
            }
        }
        for &place in captured.iter().filter(|place| **place >= self.wrappers.len()) {
            let object = &self.call.objects[place];
            if frames::is_updated(object.get()) && is_output(object) && !outputs.has(object) {
                updated.push(place);
                outputs.arrays.push(object.get().get());
            }
        }
        updated
    }
    /// The modules that stand for those of the caller's, as they are now.
    pub fn modules(&self, py: Python<'_>) -> PyResult<Snapshot> {
        let mut modules = Snapshot::default();
        for new in &self.new {
            let new = new.bind(py);
            if tree::version(new).is_some() {
                modules.add(new)?;
            }
        }
        Ok(modules)
    }
    fn is_number(&self, place: usize) -> bool {
        self.call.objects[place].get().as_number().is_some()
    }
    /// Where what a function returned, or put into captured trees, comes from.
    pub fn sources(&self, places: &[Place], captured: &[usize]) -> Vec<Source> {
        let mut known: HashMap<usize, Source> = HashMap::new();
        // A number that is returned is an array for the caller.
        for (place, wrapper) in self.wrappers.iter().enumerate().filter(|(place, _)| !self.is_number(*place)) {
            known.extend(wrapper.as_ref().map(|w| (w.as_ptr() as usize, Source::Object(place))));
        }
        for &place in captured {
            let object = &self.call.objects[place];
            let updated = frames::is_updated(object.get());
            known
                .insert(object.as_ptr() as usize, if updated { Source::Updated(place) } else { Source::Object(place) });
        }
        let mut sources = Vec::with_capacity(places.len());
        for (k, place) in places.iter().enumerate() {
            let object = match place {
                Place::Array(object) => object,
                Place::Moved(number) => {
                    sources.push(Source::Moved(*number));
                    continue;
                }
                Place::Made(number) => {
                    sources.push(Source::Made(*number));
                    continue;
                }
            };
            let address = object.as_ptr() as usize;
            sources.push(known.get(&address).copied().unwrap_or(Source::New));
            known.entry(address).or_insert(Source::Output(k));
        }
        sources
    }
    /// Where the array of a leaf is.
    fn place(&mut self, v: &Bound<'_, PyAny>) -> Option<usize> {
        if let Ok(array) = v.cast::<PyArray>() {
            return self.call.objects.place(array);
        }
        let (leaf, place) = self.call.made.get(self.made)?;
        if !leaf.is(v) {
            return None;
        }
        self.made += 1;
        Some(*place)
    }
    pub fn rebuild<'py>(&mut self, v: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = v.py();
        if let Some(place) = self.place(v) {
            let wrapper = match &self.wrappers[place] {
                Some(w) => w.clone_ref(py),
                None => {
                    let a = self.arrays[place].clone();
                    let w = Py::new(
                        py,
                        match self.call.objects[place].get().as_number() {
                            Some(n) => PyArray::number(Number::of(a, n.default())),
                            None => PyArray::new(a),
                        },
                    )?;
                    self.wrappers[place] = Some(w.clone_ref(py));
                    w
                }
            };
            return Ok(wrapper.into_bound(py).into_any());
        }
        if let Ok(tuple) = v.cast::<PyTuple>() {
            let is_exact = tuple.is_exact_instance_of::<PyTuple>();
            let attributes = match is_exact {
                true => Vec::new(),
                false => tree::map_attributes(v, &mut |x| self.rebuild(x))?,
            };
            let items = PyTuple::new(py, tuple.iter().map(|x| self.rebuild(&x)).collect::<PyResult<Vec<_>>>()?)?;
            return if is_exact { Ok(items.into_any()) } else { tree::tuple_of(&tuple.get_type(), &attributes, items) };
        }
        let new = if let Ok(list) = v.cast::<PyList>() {
            let new = match list.is_exact_instance_of::<PyList>() {
                true => None,
                false => Some(tree::shell_with(v, &mut |x| self.rebuild(x))?),
            };
            let items = PyList::new(py, list.iter().map(|x| self.rebuild(&x)).collect::<PyResult<Vec<_>>>()?)?;
            match new {
                None => items.into_any(),
                Some(new) => tree::put_items(&new, &items).map(|()| new)?,
            }
        } else if let Ok(dict) = v.cast::<PyDict>() {
            let new = match dict.is_exact_instance_of::<PyDict>() {
                true => None,
                false => Some(tree::shell_with(v, &mut |x| self.rebuild(x))?),
            };
            let entries = PyDict::new(py);
            for (k, x) in tree::entries(dict)? {
                entries.set_item(k, self.rebuild(&x)?)?;
            }
            match new {
                None => entries.into_any(),
                Some(new) => tree::put_entries(&new, &entries).map(|()| new)?,
            }
        } else if let Some(parts) = self.call.nodes.get(self.nodes).filter(|parts| parts.object.is(v)) {
            self.nodes += 1;
            let children = parts.children.bind(py).iter().map(|x| self.rebuild(&x)).collect::<PyResult<Vec<_>>>()?;
            nodes::build(&v.get_type(), parts.aux.bind(py), PyTuple::new(py, children)?)?
        } else {
            return Ok(v.clone());
        };
        let one = self.containers.entry(v.as_ptr() as usize).or_insert_with(|| {
            self.new.push(new.clone().unbind());
            new.unbind()
        });
        Ok(one.clone_ref(py).into_bound(py))
    }
}
