//! The list of a graph's equations.

use crate::graph::Equation;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Equations in order, shared by the copies of a graph until one of them edits them: a graph that is bound to other shapes differs in its avals alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Equations(Arc<Vec<Equation>>);

impl Deref for Equations {
    type Target = Vec<Equation>;
    #[inline]
    fn deref(&self) -> &Vec<Equation> {
        &self.0
    }
}
/// Copies what is shared.
impl DerefMut for Equations {
    fn deref_mut(&mut self) -> &mut Vec<Equation> {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Vec<Equation>> for Equations {
    fn from(list: Vec<Equation>) -> Self {
        Equations(list.into())
    }
}
impl FromIterator<Equation> for Equations {
    fn from_iter<I: IntoIterator<Item = Equation>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}
impl IntoIterator for Equations {
    type Item = Equation;
    type IntoIter = std::vec::IntoIter<Equation>;
    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}
impl<'a> IntoIterator for &'a Equations {
    type Item = &'a Equation;
    type IntoIter = std::slice::Iter<'a, Equation>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
impl<'a> IntoIterator for &'a mut Equations {
    type Item = &'a mut Equation;
    type IntoIter = std::slice::IterMut<'a, Equation>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
