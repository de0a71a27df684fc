//! Captured trees: what they were before a trace, what a call does to them.
//!
//! Captured containers are the user's own and stay the same objects. A trace runs on them; afterwards each place of an output capture is
//! compared with what stood there before, which gives an [`Edit`] that later calls repeat. A container that stands elsewhere afterwards is moved, and
//! an array object that was updated in place and stands nowhere is updated still: both are named by where they were ([`Captured`]).

use super::entry::{Outputs, Results};
use super::snapshot::{Snapshot, copy_of};
use crate::array::PyArray;
use crate::frames;
use crate::nodes;
use crate::random::RandomState;
use crate::tree::{self, Level, Template};
use lazuli_core::Array;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::collections::{HashMap, HashSet};

/// One step on the way to a part of a tree.
#[derive(Debug)]
enum Step {
    Item(usize),
    Entry(Py<PyAny>),
    Child(usize),
}

/// The way from a captured tree to a part of it.
#[derive(Debug, Default)]
struct Path(Vec<Step>);

impl Path {
    /// The same, with more steps behind it.
    fn and(&self, more: impl IntoIterator<Item = Step>, py: Python<'_>) -> Path {
        let copy = |step: &Step| match step {
            Step::Item(i) => Step::Item(*i),
            Step::Entry(key) => Step::Entry(key.clone_ref(py)),
            Step::Child(i) => Step::Child(*i),
        };
        Path(self.0.iter().map(copy).chain(more).collect())
    }
    /// What stands there now.
    fn find<'py>(&self, tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut at = tree.clone();
        for step in &self.0 {
            let next = match step {
                Step::Item(i) => match (at.cast::<PyList>(), at.cast::<PyTuple>()) {
                    (Ok(list), _) => list.get_item(*i).ok(),
                    (_, Ok(tuple)) => tuple.get_item(*i).ok(),
                    _ => None,
                },
                Step::Entry(key) => at.cast::<PyDict>().ok().map(|dict| dict.get_item(key)).transpose()?.flatten(),
                Step::Child(i) => nodes::find(&at)?.and_then(|node| node.children.get_item(*i).ok()),
            };
            at = next.ok_or_else(|| moved(&at, "another structure"))?;
        }
        Ok(at)
    }
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.iter().try_for_each(|step| match step {
            Step::Entry(key) => visit.call(key),
            Step::Item(_) | Step::Child(_) => Ok(()),
        })
    }
}

/// Where the lists, dicts and arrays of a captured tree were before the function ran.
#[derive(Default)]
pub struct Origins {
    /// In order, those around others first, and their numbers by address.
    containers: Vec<(Py<PyAny>, Path)>,
    numbers: HashMap<usize, usize>,
    /// By number, those whose change is known.
    seen_to: Vec<bool>,
    arrays: Vec<(Py<PyArray>, Path)>,
}

impl Origins {
    fn of(tree: &Bound<'_, PyAny>, saved: &Snapshot) -> PyResult<Origins> {
        let py = tree.py();
        let mut found = Origins::default();
        let mut seen = HashSet::new();
        let mut todo = vec![(tree.clone(), Path::default())];
        while let Some((v, path)) = todo.pop() {
            if !seen.insert(v.as_ptr() as usize) {
                continue;
            }
            if let Ok(array) = v.cast::<PyArray>() {
                found.arrays.push((array.clone().unbind(), path));
                continue;
            }
            let items = saved.items(&v);
            let items = items.as_ref().unwrap_or(&v);
            let mut add = |x, step| todo.push((x, path.and([step], py)));
            if let Ok(list) = items.cast::<PyList>() {
                list.iter().enumerate().for_each(|(i, x)| add(x, Step::Item(i)));
            } else if let Ok(dict) = items.cast::<PyDict>() {
                dict.iter().for_each(|(key, x)| add(x, Step::Entry(key.unbind())));
            } else if let Ok(tuple) = v.cast::<PyTuple>() {
                // A tuple never changes: one of the same items is as good.
                tuple.iter().enumerate().for_each(|(i, x)| add(x, Step::Item(i)));
                continue;
            } else if let Some(node) = nodes::find(&v)? {
                // What it is beside its children nobody can compare: where it stands elsewhere it is made anew.
                node.children.iter().enumerate().for_each(|(i, x)| add(x, Step::Child(i)));
                continue;
            } else {
                continue;
            }
            found.numbers.insert(v.as_ptr() as usize, found.containers.len());
            found.containers.push((v.unbind(), path));
        }
        found.seen_to = vec![false; found.containers.len()];
        Ok(found)
    }
    /// Whether this is a container that was there.
    pub fn has(&self, v: &Bound<'_, PyAny>) -> bool {
        self.numbers.contains_key(&(v.as_ptr() as usize))
    }
    fn see_to(&mut self, v: &Bound<'_, PyAny>) {
        if let Some(&number) = self.numbers.get(&(v.as_ptr() as usize)) {
            self.seen_to[number] = true;
        }
    }
    fn path(&self, v: &Bound<'_, PyAny>) -> Path {
        let number = self.numbers.get(&(v.as_ptr() as usize));
        number.map(|&number| self.containers[number].1.and([], v.py())).unwrap_or_default()
    }
}

/// What a call does to a captured tree.
#[derive(Debug)]
pub struct Captured {
    root: Edit,
    /// Where the containers were that stand elsewhere now, or stand nowhere and are changed, and what is done to each.
    edits: Vec<(Path, Edit)>,
    /// Which of these are moved, by their numbers in [`Outputs::moved`].
    moved: Vec<usize>,
    /// Where the array objects were that are updated in place and stand nowhere now; their arrays are the last outputs.
    dropped: Vec<Path>,
}

/// A captured tree as a call finds it.
pub struct Standing<'py> {
    edited: Vec<Bound<'py, PyAny>>,
    dropped: Vec<Bound<'py, PyArray>>,
}

impl Standing<'_> {
    /// Updates those that are dropped with the last outputs.
    pub fn update_dropped(&self, outputs: &mut impl Iterator<Item = Array>) {
        for object in &self.dropped {
            PyArray::update(object, outputs.next().expect("one output per dropped array"));
        }
    }
}

impl Captured {
    /// What became of a tree; new arrays go to `outputs`.
    pub fn of(tree: &Bound<'_, PyAny>, saved: &Snapshot, outputs: &mut Outputs) -> PyResult<Captured> {
        outputs.origins = Origins::of(tree, saved)?;
        let root = Edit::of(tree, Some(tree), saved, outputs)?;
        let py = tree.py();
        let (mut edits, mut moved) = (Vec::new(), Vec::new());
        loop {
            while let Some(v) = outputs.moved.get(moved.len()).map(|v| v.bind(py).clone()) {
                moved.push(edits.len());
                let edit = Edit::of(&v, Some(&v), saved, outputs)?;
                edits.push((outputs.origins.path(&v), edit));
            }
            // One that stands nowhere may have been given another, which is moved then.
            let Some(number) = outputs.origins.seen_to.iter().position(|seen_to| !seen_to) else { break };
            let v = outputs.origins.containers[number].0.bind(py).clone();
            match Edit::of(&v, Some(&v), saved, outputs)? {
                Edit::Nothing => {}
                edit => edits.push((outputs.origins.path(&v), edit)),
            }
        }
        Ok(Captured { root, edits, moved, dropped: Vec::new() })
    }
    /// Adds array objects of the tree that were updated in place and stand nowhere now, but for those that `is_seen_to`. Their arrays go to `outputs`.
    pub fn add_dropped(&mut self, outputs: &mut Outputs, is_seen_to: &dyn Fn(&Py<PyArray>) -> bool) {
        for (object, path) in std::mem::take(&mut outputs.origins.arrays) {
            if frames::is_updated(object.get()) && !outputs.has(&object) && !is_seen_to(&object) {
                outputs.arrays.push(object.get().get());
                self.dropped.push(path);
            }
        }
    }
    /// Whether the same is moved and dropped.
    pub fn is_like(&self, other: &Captured) -> bool {
        self.edits.len() == other.edits.len() && self.moved == other.moved && self.dropped.len() == other.dropped.len()
    }
    /// The tree as this call finds it. `checks`: whether it may have another structure than when the function was traced, which is an error.
    pub fn standing<'py>(&self, tree: &Bound<'py, PyAny>, checks: bool) -> PyResult<Standing<'py>> {
        let edited = self.edits.iter().map(|(path, _)| path.find(tree)).collect::<PyResult<Vec<_>>>()?;
        let array = |path: &Path| {
            let v = path.find(tree)?;
            v.cast_into::<PyArray>().map_err(|e| moved(e.into_inner().as_any(), "an array"))
        };
        let dropped = self.dropped.iter().map(array).collect::<PyResult<Vec<_>>>()?;
        if checks {
            self.root.fits(tree)?;
            self.edits.iter().zip(&edited).try_for_each(|((_, edit), v)| edit.fits(v))?;
        }
        Ok(Standing { edited, dropped })
    }
    /// The containers that a call moves, by number.
    pub fn moved(&self, standing: &Standing<'_>) -> Vec<Py<PyAny>> {
        self.moved.iter().map(|&k| standing.edited[k].clone().unbind()).collect()
    }
    /// Whether all it does is to put arrays in the places of others, or to update them.
    pub fn is_array_for_array(&self, outputs: &Outputs) -> bool {
        let known = outputs.replaced.len() + outputs.repeated;
        self.edits.is_empty() && self.dropped.is_empty() && self.root.puts() == Some(known)
    }
    /// Whether it gives an object of a registered class new contents, of which nobody knows what stood where before.
    pub fn makes_objects_anew(&self) -> bool {
        self.root.makes_objects_anew() || self.edits.iter().any(|(_, edit)| edit.makes_objects_anew())
    }
    /// Does it to a tree, with these arrays.
    pub fn apply(&self, tree: &Bound<'_, PyAny>, standing: &Standing<'_>, arrays: &mut Results<'_>) -> PyResult<()> {
        self.root.apply(tree, arrays)?;
        self.edits.iter().zip(&standing.edited).try_for_each(|((_, edit), v)| edit.apply(v, arrays))
    }
    /// Shows a garbage collector the objects that it holds.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.root.traverse(visit)?;
        self.edits.iter().try_for_each(|(path, edit)| path.traverse(visit).and_then(|()| edit.traverse(visit)))?;
        self.dropped.iter().try_for_each(|path| path.traverse(visit))
    }
}

/// What a call does to one place of a captured tree.
#[derive(Debug)]
pub enum Edit {
    Nothing,
    /// Updates the array object that stands there.
    Update,
    /// Puts in something new: an array, a constant, a container that was not there.
    Put(Template),
    /// Items of a list that keeps its length, of a tuple.
    Items(Vec<Edit>),
    /// All items of a list whose length changed.
    Refill(Template),
    /// Entries of a dict, keys that go, and the order of its keys if those that stay do not keep theirs, or new ones do not follow them.
    Entries {
        edits: Vec<(Py<PyAny>, Edit)>,
        gone: Vec<Py<PyAny>>,
        order: Option<Vec<Py<PyAny>>>,
    },
    /// Gives an object of a registered class the attributes of a new one.
    Become(Template),
    /// Does this, and gives an object of a derived class (a module) these attributes beside its contents, or takes them away.
    Set(Box<Edit>, Vec<(Py<PyAny>, Option<Template>)>),
}

impl Edit {
    /// What became of `v`, which stands where `before` stood; new arrays go to `outputs`.
    fn of(
        v: &Bound<'_, PyAny>,
        before: Option<&Bound<'_, PyAny>>,
        saved: &Snapshot,
        outputs: &mut Outputs,
    ) -> PyResult<Edit> {
        let edit = Edit::of_contents(v, before, saved, outputs)?;
        if let (Edit::Put(_), Some(before)) = (&edit, before) {
            match before.cast::<PyArray>() {
                Ok(array) if v.is_instance_of::<PyArray>() => {
                    outputs.replaced.push((outputs.places.len() - 1, array.clone().unbind()));
                }
                Err(_) if tree::is_number_or_text(v) && before.get_type().is(v.get_type()) && before.eq(v)? => {
                    outputs.repeated += 1;
                }
                _ => {}
            }
        }
        let is_container = v.is_instance_of::<PyDict>() || v.is_instance_of::<PyList>();
        if !is_container || !before.is_some_and(|b| b.is(v)) {
            return Ok(edit);
        }
        let changed = saved.changed_attributes(v)?.into_iter();
        let set = |(name, value): (Bound<'_, PyAny>, Option<Bound<'_, PyAny>>)| {
            Ok((name.unbind(), value.map(|value| outputs.flatten(&value)).transpose()?))
        };
        let attributes = changed.map(set).collect::<PyResult<Vec<_>>>()?;
        Ok(if attributes.is_empty() { edit } else { Edit::Set(Box::new(edit), attributes) })
    }

    fn of_contents(
        v: &Bound<'_, PyAny>,
        before: Option<&Bound<'_, PyAny>>,
        saved: &Snapshot,
        outputs: &mut Outputs,
    ) -> PyResult<Edit> {
        let same = before.is_some_and(|b| b.is(v));
        if let (true, Ok(array)) = (same, v.cast::<PyArray>()) {
            return Ok(Edit::updated(array, outputs));
        }
        let _level = Level::enter()?;
        if same {
            outputs.origins.see_to(v);
        }
        if same && v.is_instance_of::<RandomState>() {
            return Ok(Edit::updated(&crate::random::key_object(v.py())?, outputs));
        }
        if same && let Ok(tuple) = v.cast::<PyTuple>() {
            let items = tuple.iter().map(|x| Edit::of(&x, Some(&x), saved, outputs)).collect::<PyResult<_>>()?;
            return Ok(Edit::items(items));
        }
        let items = if same { saved.items(v) } else { None };
        let Some(items) = items else {
            let constant = same && !v.is_instance_of::<PyDict>() && !v.is_instance_of::<PyList>();
            return if constant { Ok(Edit::Nothing) } else { outputs.flatten(v).map(Edit::Put) };
        };
        if let Ok(list) = v.cast::<PyList>() {
            let before = items.cast::<PyList>()?;
            if list.len() != before.len() {
                return outputs.flatten_contents(v).map(Edit::Refill);
            }
            let pairs = list.iter().zip(before.iter());
            return Ok(Edit::items(
                pairs.map(|(x, b)| Edit::of(&x, Some(&b), saved, outputs)).collect::<PyResult<_>>()?,
            ));
        }
        if let Ok(dict) = v.cast::<PyDict>() {
            let before = items.cast::<PyDict>()?;
            let (mut edits, mut gone, mut now, mut kept, mut new) = (vec![], vec![], vec![], vec![], vec![]);
            for (key, x) in tree::entries(dict)? {
                let old = before.get_item(&key)?;
                if old.is_none() {
                    new.push(key.clone());
                }
                match Edit::of(&x, old.as_ref(), saved, outputs)? {
                    Edit::Nothing => {}
                    edit => edits.push((key.clone().unbind(), edit)),
                }
                now.push(key);
            }
            for key in before.keys() {
                if dict.contains(&key)? {
                    kept.push(key);
                } else {
                    gone.push(key.unbind());
                }
            }
            let in_order = kept.iter().chain(&new).zip(&now).all(|(a, b)| a.is(b));
            let order = (!in_order).then(|| now.into_iter().map(Bound::unbind).collect());
            return Ok(if edits.is_empty() && gone.is_empty() && in_order {
                Edit::Nothing
            } else {
                Edit::Entries { edits, gone, order }
            });
        }
        outputs.flatten_contents(v).map(Edit::Become)
    }

    fn updated(array: &Bound<'_, PyArray>, outputs: &mut Outputs) -> Edit {
        if !frames::is_updated(array.get()) {
            return Edit::Nothing;
        }
        outputs.replaced.push((outputs.places.len(), array.clone().unbind()));
        outputs.push(array);
        Edit::Update
    }

    fn items(items: Vec<Edit>) -> Edit {
        if items.iter().all(|e| matches!(e, Edit::Nothing)) { Edit::Nothing } else { Edit::Items(items) }
    }

    /// The error of a tree that it cannot be done to.
    fn fits(&self, v: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = v.py();
        match self {
            Edit::Nothing | Edit::Become(_) => Ok(()),
            Edit::Set(edit, _) => edit.fits(v),
            Edit::Update if v.is_instance_of::<PyArray>() || v.is_instance_of::<RandomState>() => Ok(()),
            Edit::Update => Err(moved(v, "an array")),
            Edit::Put(_) => Err(moved(v, "a container around it")),
            Edit::Items(items) => {
                let (kind, now): (_, Vec<Bound<'_, PyAny>>) = match (v.cast::<PyTuple>(), v.cast::<PyList>()) {
                    (Ok(tuple), _) => ("tuple", tuple.iter().collect()),
                    (_, Ok(list)) => ("list", list.iter().collect()),
                    _ => return Err(moved(v, "a list")),
                };
                if now.len() != items.len() {
                    return Err(moved(v, &format!("a {kind} of {}", items.len())));
                }
                now.iter().zip(items).filter(|(_, edit)| !edit.is_put()).try_for_each(|(x, edit)| edit.fits(x))
            }
            Edit::Refill(_) => v.cast::<PyList>().map(drop).map_err(|_| moved(v, "a list")),
            Edit::Entries { edits, .. } => {
                let dict = v.cast::<PyDict>().map_err(|_| moved(v, "a dict"))?;
                edits.iter().filter(|(_, edit)| !edit.is_put()).try_for_each(|(key, edit)| {
                    let now = dict.get_item(key)?;
                    edit.fits(&now.ok_or_else(|| moved(v, &format!("a dict with the key {}", key.bind(py))))?)
                })
            }
        }
    }

    fn is_put(&self) -> bool {
        matches!(self, Edit::Put(_))
    }

    fn makes_objects_anew(&self) -> bool {
        match self {
            Edit::Become(_) => true,
            Edit::Items(items) => items.iter().any(Edit::makes_objects_anew),
            Edit::Entries { edits, .. } => edits.iter().any(|(_, edit)| edit.makes_objects_anew()),
            Edit::Set(edit, _) => edit.makes_objects_anew(),
            Edit::Nothing | Edit::Update | Edit::Put(_) | Edit::Refill(_) => false,
        }
    }

    /// In how many places it puts something or updates an array; `None` if it does more than that.
    fn puts(&self) -> Option<usize> {
        match self {
            Edit::Nothing => Some(0),
            Edit::Update | Edit::Put(_) => Some(1),
            Edit::Items(items) => items.iter().map(Edit::puts).sum(),
            Edit::Entries { edits, gone, order: None } if gone.is_empty() => {
                edits.iter().map(|(_, edit)| edit.puts()).sum()
            }
            Edit::Refill(_) | Edit::Entries { .. } | Edit::Become(_) | Edit::Set(..) => None,
        }
    }

    /// Does it to a tree that it [fits](Self::fits), with these arrays.
    fn apply(&self, v: &Bound<'_, PyAny>, arrays: &mut Results<'_>) -> PyResult<()> {
        let py = v.py();
        match self {
            Edit::Nothing | Edit::Put(_) => {}
            Edit::Update => match v.cast::<PyArray>() {
                Ok(array) => arrays.update(array),
                Err(_) => arrays.update(&crate::random::key_object(py)?),
            },
            Edit::Items(items) => {
                if let Ok(tuple) = v.cast::<PyTuple>() {
                    return tuple.iter().zip(items).try_for_each(|(x, edit)| edit.apply(&x, arrays));
                }
                let list = v.cast::<PyList>()?;
                for (i, edit) in items.iter().enumerate() {
                    match edit {
                        Edit::Nothing => {}
                        Edit::Put(t) => list.set_item(i, arrays.fill(py, t)?)?,
                        edit => edit.apply(&list.get_item(i)?, arrays)?,
                    }
                }
            }
            Edit::Refill(template) => {
                let list = v.cast::<PyList>()?;
                list.set_slice(0, list.len(), &arrays.fill(py, template)?)?;
            }
            Edit::Entries { edits, gone, order } => {
                let dict = v.cast::<PyDict>()?;
                for (key, edit) in edits {
                    match edit {
                        Edit::Put(t) => tree::set_entry(dict, key.bind(py), &arrays.fill(py, t)?)?,
                        edit => {
                            if let Some(now) = dict.get_item(key)? {
                                edit.apply(&now, arrays)?;
                            }
                        }
                    }
                }
                for key in gone {
                    if dict.contains(key)? {
                        tree::remove_entry(dict, key.bind(py))?;
                    }
                }
                if let Some(order) = order {
                    let (found, all) = (PyDict::new(py), copy_of(dict)?);
                    for key in order {
                        if let Some(value) = all.get_item(key)? {
                            found.set_item(key, value)?;
                            all.del_item(key)?;
                        }
                    }
                    found.update(all.as_mapping())?;
                    tree::set_entries(dict, &found)?;
                }
            }
            Edit::Become(template) => become_like(v, &arrays.fill(py, template)?)?,
            Edit::Set(edit, attributes) => {
                edit.apply(v, arrays)?;
                let own = v.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
                for (name, value) in attributes {
                    match value {
                        Some(value) => own.set_item(name, arrays.fill(py, value)?)?,
                        None if own.contains(name)? => own.del_item(name)?,
                        None => {}
                    }
                }
                if tree::version(v).is_some() {
                    v.call_method0(intern!(py, "_configuration_changed"))?;
                }
            }
        }
        Ok(())
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Edit::Nothing | Edit::Update => Ok(()),
            Edit::Put(t) | Edit::Refill(t) | Edit::Become(t) => t.traverse(visit),
            Edit::Items(items) => items.iter().try_for_each(|e| e.traverse(visit)),
            Edit::Entries { edits, gone, order } => {
                edits.iter().try_for_each(|(k, e)| visit.call(k).and_then(|()| e.traverse(visit)))?;
                gone.iter().chain(order.iter().flatten()).try_for_each(|k| visit.call(k))
            }
            Edit::Set(edit, attributes) => {
                edit.traverse(visit)?;
                attributes.iter().try_for_each(|(name, value)| {
                    visit.call(name)?;
                    value.as_ref().map_or(Ok(()), |value| value.traverse(visit))
                })
            }
        }
    }
}

fn moved(v: &Bound<'_, PyAny>, was: &str) -> PyErr {
    let now = v.get_type().name().map_or_else(|_| "something else".to_owned(), |n| n.to_string());
    PyValueError::new_err(format!(
        "[compile] outputs= had {was} when the function was traced and has a {now} now: give it in inputs= as well, so that its structure is \
         looked at in every call"
    ))
}

/// Copies the attributes of `new` into `object`, of the same registered class.
fn become_like(object: &Bound<'_, PyAny>, new: &Bound<'_, PyAny>) -> PyResult<()> {
    if let (Ok(Ok(own)), Ok(Ok(attributes))) = (
        object.getattr(intern!(object.py(), "__dict__")).map(|d| d.cast_into::<PyDict>()),
        new.getattr(intern!(new.py(), "__dict__")).map(|d| d.cast_into::<PyDict>()),
    ) {
        return own.update(attributes.as_mapping());
    }
    let slots = object.py().import("copyreg")?.getattr("_slotnames")?.call1((object.get_type(),))?;
    for name in slots.try_iter()? {
        let name = name?.cast_into::<pyo3::types::PyString>()?;
        if new.hasattr(&name)? {
            object.setattr(&name, new.getattr(&name)?)?;
        }
    }
    Ok(())
}
