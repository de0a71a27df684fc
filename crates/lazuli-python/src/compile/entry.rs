//! A traced call, as the cache keeps it.

use super::captures::Edit;
use crate::array::PyArray;
use crate::key::{Call, Identities};
use crate::tree::{self, Kept, Template};
use lazuli_core::program::Arrays;
use lazuli_core::{Array, Program};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;

/// The program of a traced call, and how its outputs become what the function returned and did.
#[derive(Debug)]
pub struct Entry {
    pub program: Arc<Program>,
    pub result: Template,
    /// What the call does to the captured outputs; its arrays follow those of the result.
    pub captured: Option<Edit>,
    /// Which objects the arrays of both are.
    pub sources: Vec<Source>,
    /// Arguments, and captured arrays that it replaced afterwards, that the function updated in place, by their places among the call's arrays: their
    /// new values are the last outputs.
    pub updated: Vec<usize>,
    /// Objects whose addresses are in the key.
    pub identities: Identities,
    /// Rules of vectorisation that the program holds weakly.
    pub rules: Vec<Py<PyAny>>,
}

/// Which object an array that a call returns, or puts into a captured tree, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    New,
    /// One of the call's own: an argument or a captured array that is passed on as it is.
    Object(usize),
    /// A captured array of the call's that the function updates in place.
    Updated(usize),
    /// That of an earlier output.
    Output(usize),
}

/// The arrays that a function returns and puts into captured trees, and their objects.
#[derive(Default)]
pub struct Outputs {
    pub arrays: Vec<Array>,
    pub objects: Vec<Py<PyArray>>,
}

impl Outputs {
    pub fn push(&mut self, object: &Bound<'_, PyArray>) {
        self.arrays.push(object.get().get());
        self.objects.push(object.clone().unbind());
    }
    /// Takes a tree apart. Extents in it become numbers, which they are for the caller.
    pub fn flatten(&mut self, v: &Bound<'_, PyAny>) -> PyResult<Template> {
        let mut template = tree::map_arrays(v, &mut |object| {
            self.push(object);
            Ok(())
        })?;
        template.fix_extents(v.py())?;
        Ok(template)
    }
}

/// The outputs of a call on their way into its result and into captured trees.
pub struct Results<'a> {
    arrays: <Arrays as IntoIterator>::IntoIter,
    sources: &'a [Source],
    call: &'a Call,
    /// The objects of those that are through.
    objects: Vec<Py<PyArray>>,
}

impl<'a> Results<'a> {
    pub fn new(arrays: Arrays, entry: &'a Entry, call: &'a Call) -> Results<'a> {
        Results { arrays: arrays.into_iter(), sources: &entry.sources, call, objects: Vec::new() }
    }
    /// The next one's object.
    pub fn object<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let array = self.arrays.next().expect("one array per place");
        let object = match self.sources[self.objects.len()] {
            Source::New => Py::new(py, PyArray::new(array))?,
            Source::Object(place) => self.call.objects[place].clone_ref(py),
            Source::Updated(place) => {
                PyArray::update(self.call.objects[place].bind(py), array);
                self.call.objects[place].clone_ref(py)
            }
            Source::Output(k) => self.objects[k].clone_ref(py),
        };
        self.objects.push(object.clone_ref(py));
        Ok(object.into_bound(py).into_any())
    }
    /// Updates an object with the next one.
    pub fn update(&mut self, object: &Bound<'_, PyArray>) {
        PyArray::update(object, self.arrays.next().expect("one array per update"));
        self.objects.push(object.clone().unbind());
    }
    /// What is left when the sources are at their end.
    pub fn rest(self) -> impl Iterator<Item = Array> {
        self.arrays
    }
    /// Builds a tree of the next ones.
    pub fn fill<'py>(&mut self, py: Python<'py>, template: &Template) -> PyResult<Bound<'py, PyAny>> {
        template.fill_with(py, Kept::Classes, &mut |py| self.object(py))
    }
}

impl Entry {
    /// Whether it holds no object that could hold others, the function among them: such an entry may outlive the compiled object.
    pub fn is_plain(&self, py: Python<'_>) -> bool {
        self.identities.strong.is_empty()
            && self.rules.is_empty()
            && self.captured.is_none()
            && self.result.is_plain(py)
    }
    /// Shows a garbage collector the objects that it holds.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.result.traverse(visit)?;
        if let Some(edit) = &self.captured {
            edit.traverse(visit)?;
        }
        self.identities.strong.iter().chain(&self.rules).try_for_each(|object| visit.call(object))
    }
}
