//! Paths of arrays in trees: `layers.0.weight`, the names of the containers' parts from the outside in, joined by dots.
//!
//! They name parameters in messages and files. The order is that of [`Tree::visit`]. Absent: parsing of paths; what a path names is
//! found by comparing.

use crate::array::Array;
use crate::tree::{FIXED, Leaf, Tree};
use std::fmt::Write;

/// An array of a tree.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it is; empty if the tree is an array itself.
    pub path: String,
    /// The array.
    pub array: Array,
    /// Whether it is inside a container of kind [`FIXED`]: then transformations do not differentiate by it.
    pub fixed: bool,
}

impl Entry {
    /// Whether a gradient by this array is taken: it is not fixed, and of floats or complex numbers.
    pub fn varies(&self) -> bool {
        !self.fixed && (self.array.dtype().is_float() || self.array.dtype().is_complex())
    }
}

/// The arrays of a tree with their paths, in order.
///
/// ```
/// use lazuli_core::{array, paths};
/// let tree = (array(1.0), vec![array(2.0), array(3.0)]);
/// let paths: Vec<String> = paths::entries(&tree).into_iter().map(|e| e.path).collect();
/// assert_eq!(paths, ["0", "1.0", "1.1"]);
/// ```
pub fn entries(tree: &(impl Tree + ?Sized)) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut path = String::new();
    // Per open container: the length of its own path, and whether it or one around it is fixed.
    let mut open: Vec<(usize, bool)> = Vec::new();
    tree.visit(&mut |leaf| {
        let (base, fixed) = open.last().copied().unwrap_or((0, false));
        match leaf {
            Leaf::Array(a) => found.push(Entry { path: path.clone(), array: a.clone(), fixed }),
            Leaf::Constant(_) => {}
            Leaf::Open(kind, _) => open.push((path.len(), fixed || kind == FIXED)),
            Leaf::Close => {
                path.truncate(base);
                open.pop();
            }
            Leaf::Name(name) => {
                path.truncate(base);
                let dot = if base == 0 { "" } else { "." };
                write!(path, "{dot}{name}").expect("a string grows");
            }
        }
    });
    found
}
