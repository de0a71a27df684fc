//! What a kernel reads: a set of few variables, most often fewer than its operands may be.

use lazuli_ir::Var;
use smallvec::SmallVec;

/// Each variable once.
#[derive(Debug, Default)]
pub(super) struct Reads(SmallVec<[Var; 8]>);

impl Reads {
    pub fn contains(&self, v: Var) -> bool {
        self.0.contains(&v)
    }
    pub fn insert(&mut self, v: Var) {
        if !self.contains(v) {
            self.0.push(v);
        }
    }
    pub fn extend(&mut self, variables: impl IntoIterator<Item = Var>) {
        for v in variables {
            self.insert(v);
        }
    }
    pub fn remove(&mut self, v: Var) {
        if let Some(at) = self.0.iter().position(|&other| other == v) {
            self.0.swap_remove(at);
        }
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn iter(&self) -> impl Iterator<Item = Var> + '_ {
        self.0.iter().copied()
    }
}
