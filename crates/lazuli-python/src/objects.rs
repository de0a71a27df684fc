//! Objects of Python told apart by their addresses, which stay theirs as they are held.

use lazuli_kernel::hash::Map;
use pyo3::prelude::*;
use smallvec::SmallVec;
use std::ops::Deref;

/// Objects in order of appearance, found by their addresses.
pub struct Objects<T> {
    all: SmallVec<[Py<T>; 4]>,
    /// Their places, once there are many.
    places: Map<usize, usize>,
}

/// With fewer objects than this, looking through them all is quickest.
const FEW: usize = 12;

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Objects { all: SmallVec::new(), places: Map::default() }
    }
}

impl<T> Deref for Objects<T> {
    type Target = [Py<T>];
    fn deref(&self) -> &[Py<T>] {
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
