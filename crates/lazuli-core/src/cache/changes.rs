//! How the keys of two calls differ, in words: why a call traced, and what keeps changing.

use super::Token;
use lazuli_ir::{DType, shape};
use std::fmt;

/// How many changes from one call to the next are of interest.
const CHANGES: usize = 8;

/// A difference between the keys of two calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What differs: `args[1]`, `args[0].shape[0]`.
    pub what: String,
    /// What it was in the call before.
    pub old: String,
    /// What it is now.
    pub new: String,
    /// How to have one trace for all its values, if there is a way.
    pub remedy: &'static str,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, is {}", self.what, self.old, self.new)
    }
}

impl Change {
    /// A change without a remedy.
    pub fn new(what: impl Into<String>, old: impl fmt::Display, new: impl fmt::Display) -> Change {
        Change { what: what.into(), old: old.to_string(), new: new.to_string(), remedy: "" }
    }
    /// The same with a remedy.
    pub fn remedy(self, remedy: &'static str) -> Change {
        Change { remedy, ..self }
    }
}

/// How an array in a call differs from the one before it.
pub fn array_changes(
    path: &str,
    (old_dtype, old_shape): (DType, &[usize]),
    (new_dtype, new_shape): (DType, &[usize]),
    shape_remedy: &'static str,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if old_dtype != new_dtype {
        changes.push(Change::new(format!("{path}.dtype"), old_dtype, new_dtype));
    }
    if old_shape.len() != new_shape.len() {
        changes.push(Change::new(format!("{path}.shape"), shape::show(old_shape), shape::show(new_shape)));
    } else {
        for (axis, (old, new)) in old_shape.iter().zip(new_shape).enumerate().filter(|(_, (old, new))| old != new) {
            changes.push(Change::new(format!("{path}.shape[{axis}]"), old, new).remedy(shape_remedy));
        }
    }
    changes
}

/// How the key `new` differs from `old`.
pub fn changes<T: Token>(old: &[T], new: &[T]) -> Vec<Change> {
    let mut found = Vec::new();
    let mut paths = None;
    for (i, (a, b)) in old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b) {
        let is_structure = a.is_structure() || b.is_structure();
        if let Some(change) = is_structure.then(|| T::rearranged(old, new, i)).flatten() {
            found.push(change);
            break;
        }
        let paths = paths.get_or_insert_with(|| T::paths(new));
        found.extend(a.changed(b, &paths[i]));
        if is_structure || found.len() >= CHANGES {
            break;
        }
    }
    if found.is_empty() && old.len() != new.len() {
        found.push(Change::new("the number of leaves", old.len(), new.len()));
    }
    found
}

/// Changes as one sentence: why a trace was made.
pub fn cause_of(changes: &[Change]) -> String {
    match changes {
        [] => "for the first call".into(),
        changes => changes.iter().map(Change::to_string).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_arrays_are_named_by_axis() {
        let show = |old: &[usize], new: &[usize]| -> Vec<String> {
            let changes = array_changes("args[0]", (DType::F32, old), (DType::F32, new), "shapeless=True");
            changes.iter().map(Change::to_string).collect()
        };
        assert_eq!(show(&[2, 3], &[4, 3]), ["args[0].shape[0] was 2, is 4"]);
        assert_eq!(show(&[2, 3], &[2]), ["args[0].shape was (2, 3), is (2,)"]);
    }
}
