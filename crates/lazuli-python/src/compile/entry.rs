//! A traced call, as the cache keeps it.

use super::captures::{Captured, Origins};
use crate::array::PyArray;
use crate::key::{Call, Identities};
use crate::tree::{self, Apart, Kept, Places, Template};
use lazuli_core::program::Arrays;
use lazuli_core::{Array, Program};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// The program of a traced call, and how its outputs become what the function returned and did.
#[derive(Debug)]
pub struct Entry {
    pub program: Arc<Program>,
    pub result: Template,
    /// What the call does to the captured outputs; its arrays follow those of the result.
    pub captured: Option<Captured>,
    /// Which objects stand in the places of both.
    pub sources: Vec<Source>,
    /// Arguments, and captured arrays that it replaced afterwards, that the function updated in place, by their places among the call's arrays: their
    /// new values are the last outputs.
    pub updated: Vec<usize>,
    /// Objects whose addresses are in the key.
    pub identities: Identities,
    /// Rules of vectorisation that the program holds weakly.
    pub rules: Vec<Py<PyAny>>,
}

/// Which object it is that a call returns, or puts into a captured tree, in the place of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    New,
    /// One of the call's own: an argument or a captured array that is passed on as it is.
    Object(usize),
    /// A captured array of the call's that the function updates in place.
    Updated(usize),
    /// That of an earlier place.
    Output(usize),
    /// A container that stood elsewhere in the captured tree, by its number among those; it is no array of the call's.
    Moved(usize),
    /// A new container that stands in an earlier place too, by its number among the new ones; it is no array of the call's.
    Made(usize),
}

/// What stands in a place of what a function returns and puts into captured trees.
pub enum Place {
    Array(Py<PyArray>),
    /// A container, by its number among those that were moved.
    Moved(usize),
    /// A new container, by its number among those that are taken apart.
    Made(usize),
}

/// The arrays that a function returns and puts into captured trees, and what stands in each place.
#[derive(Default)]
pub struct Outputs {
    pub arrays: Vec<Array>,
    pub places: Vec<Place>,
    /// Where the containers of captured trees were: those that are met elsewhere are moved, not made anew.
    pub origins: Origins,
    /// The containers that were moved.
    pub moved: Vec<Py<PyAny>>,
    /// The places of arrays that stand in captured trees where an array stood before, and that one: the same, if it is updated in place.
    pub replaced: Vec<(usize, Py<PyArray>)>,
    /// How many numbers and texts are put where the same stood before.
    pub repeated: usize,
    /// The containers that were taken apart, to be made anew once each, and their numbers by address.
    made: Vec<Py<PyAny>>,
    numbers: HashMap<usize, usize>,
}

impl Outputs {
    pub fn push(&mut self, object: &Bound<'_, PyArray>) {
        self.arrays.push(object.get().get());
        self.places.push(Place::Array(object.clone().unbind()));
    }
    /// Whether the object stands in one of the places.
    pub fn has(&self, object: &Py<PyArray>) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Array(o) if o.is(object)))
    }
    /// Takes a tree apart. Extents in it become numbers, which they are for the caller.
    pub fn flatten(&mut self, v: &Bound<'_, PyAny>) -> PyResult<Template> {
        let mut template = tree::map_places(v, self)?;
        template.fix_extents(v.py())?;
        Ok(template)
    }
    /// Takes apart what is in a container, which may itself be one that was there.
    pub fn flatten_contents(&mut self, v: &Bound<'_, PyAny>) -> PyResult<Template> {
        let mut template = tree::map_contents(v, self)?;
        template.fix_extents(v.py())?;
        Ok(template)
    }
    fn moved(&mut self, v: &Bound<'_, PyAny>) -> usize {
        let known = self.moved.iter().position(|m| m.is(v));
        known.unwrap_or_else(|| {
            self.moved.push(v.clone().unbind());
            self.moved.len() - 1
        })
    }
}

impl<'py> Apart<'py> for Outputs {
    fn take(&mut self, v: &Bound<'py, PyAny>) -> PyResult<bool> {
        if let Ok(array) = v.cast::<PyArray>() {
            self.push(array);
        } else if self.origins.has(v) {
            let number = self.moved(v);
            self.places.push(Place::Moved(number));
        } else if let Some(&number) = self.numbers.get(&(v.as_ptr() as usize)) {
            self.places.push(Place::Made(number));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
    fn pass(&mut self, container: &Bound<'py, PyAny>) {
        self.numbers.insert(container.as_ptr() as usize, self.made.len());
        self.made.push(container.clone().unbind());
    }
}

/// The outputs of a call on their way into its result and into captured trees.
pub struct Results<'a> {
    arrays: <Arrays as IntoIterator>::IntoIter,
    sources: &'a [Source],
    call: &'a Call<'a>,
    /// The containers that are moved.
    moved: Vec<Py<PyAny>>,
    /// Those that are made.
    made: Vec<Py<PyAny>>,
    /// What stands in the places that are through.
    objects: SmallVec<[Py<PyAny>; 4]>,
}

impl<'a> Results<'a> {
    pub fn new(arrays: Arrays, entry: &'a Entry, call: &'a Call<'a>, moved: Vec<Py<PyAny>>) -> Results<'a> {
        let (arrays, sources) = (arrays.into_iter(), &entry.sources);
        Results { arrays, sources, call, moved, made: Vec::new(), objects: SmallVec::new() }
    }
    fn array(&mut self) -> Array {
        self.arrays.next().expect("one array per place")
    }
    /// Updates an object with the next one.
    pub fn update(&mut self, object: &Bound<'_, PyArray>) {
        let array = self.array();
        PyArray::update(object, array);
        self.objects.push(object.clone().into_any().unbind());
    }
    /// What is left when the sources are at their end.
    pub fn rest(self) -> impl Iterator<Item = Array> {
        self.arrays
    }
    /// Builds a tree of the next ones.
    pub fn fill<'py>(&mut self, py: Python<'py>, template: &Template) -> PyResult<Bound<'py, PyAny>> {
        template.fill_with(py, Kept::Classes, self)
    }
}

impl<'py> Places<'py> for Results<'_> {
    fn next(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let own = |place: usize| self.call.objects[place].clone_ref(py);
        let object = match self.sources[self.objects.len()] {
            Source::New => Py::new(py, PyArray::new(self.array()))?.into_any(),
            Source::Object(place) => {
                self.array();
                own(place).into_any()
            }
            Source::Updated(place) => {
                let object = own(place);
                PyArray::update(object.bind(py), self.array());
                object.into_any()
            }
            Source::Output(k) => {
                self.array();
                self.objects[k].clone_ref(py)
            }
            Source::Moved(k) => self.moved[k].clone_ref(py),
            Source::Made(k) => self.made[k].clone_ref(py),
        };
        self.objects.push(object.clone_ref(py));
        Ok(object.into_bound(py))
    }
    fn pass(&mut self, container: &Bound<'py, PyAny>) {
        self.made.push(container.clone().unbind());
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
        if let Some(captured) = &self.captured {
            captured.traverse(visit)?;
        }
        self.identities.strong.iter().chain(&self.rules).try_for_each(|object| visit.call(object))
    }
}
