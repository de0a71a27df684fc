//! A traced call, as the cache keeps it.

use super::captures::Edit;
use crate::key::Identities;
use crate::tree::Template;
use lazuli_core::Program;
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
    /// Arguments (by place among the call's arrays) that the function updated in place: their new values are the last outputs.
    pub updated: Vec<usize>,
    /// Objects whose addresses are in the key.
    pub identities: Identities,
}

impl Entry {
    /// Whether it holds no object that could hold others, the function among them: such an entry may outlive the compiled object.
    pub fn is_plain(&self, py: Python<'_>) -> bool {
        self.identities.strong.is_empty() && self.captured.is_none() && self.result.is_plain(py)
    }
    /// Shows a garbage collector the objects that it holds.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.result.traverse(visit)?;
        if let Some(edit) = &self.captured {
            edit.traverse(visit)?;
        }
        self.identities.strong.iter().try_for_each(|object| visit.call(object))
    }
}
