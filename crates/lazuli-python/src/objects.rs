//! Objects of Python told apart by their addresses, which stay theirs as they are held.

use pyo3::prelude::*;
use std::collections::HashMap;
use std::ops::Deref;

/// Objects in order of appearance, found by their addresses.
pub struct Objects<T> {
    all: Vec<Py<T>>,
    /// Their places, once there are many.
    places: HashMap<usize, usize>,
}

/// With fewer objects than this, looking through them all is quickest.
const FEW: usize = 12;

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Objects { all: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Deref for Objects<T> {
    type Target = Vec<Py<T>>;
    fn deref(&self) -> &Vec<Py<T>> {
        &self.all
    }
}

impl<T> Objects<T> {
    pub fn place(&self, object: &Bound<'_, T>) -> Option<usize> {
        let address = object.as_ptr();
        match self.all.len() {
            0..=FEW => self.all.iter().position(|o| o.as_ptr() == address),
            _ => self.places.get(&(address as usize)).copied(),
        }
    }
    /// Adds an object that is not among them.
    pub fn push(&mut self, object: &Bound<'_, T>) {
        if self.all.len() == FEW {
            self.places = self.all.iter().map(|o| o.as_ptr() as usize).zip(0..).collect();
        }
        if self.all.len() >= FEW {
            self.places.insert(object.as_ptr() as usize, self.all.len());
        }
        self.all.push(object.clone().unbind());
    }
}
