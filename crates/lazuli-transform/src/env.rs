//! Values of one graph's variables in another that is being built.

use lazuli_ir::prims::Broadcast;
use lazuli_ir::{Atom, Builder, Equation, Graph, Result, Var, small};
use smallvec::SmallVec;

/// Where each variable of a graph is found in the builder; `None` where it is not.
#[derive(Debug)]
pub(crate) struct Env(Vec<Option<Atom>>);

impl Env {
    /// The inputs are these atoms; nothing else is known yet.
    pub fn new(graph: &Graph, inputs: impl IntoIterator<Item = Option<Atom>>) -> Self {
        let mut env = Env(vec![None; graph.avals.len()]);
        for (&v, atom) in graph.inputs.iter().zip(inputs) {
            env.0[v.0 as usize] = atom;
        }
        env
    }
    /// Of the builder itself, for what does not depend on variables without a value.
    pub fn known(depends: &[bool]) -> Self {
        let own = |(v, depends): (usize, &bool)| (!depends).then_some(Var(v as u32).into());
        Env(depends.iter().enumerate().map(own).collect())
    }
    /// Nothing is known yet of so many variables.
    pub fn empty(variables: usize) -> Self {
        Env(vec![None; variables])
    }
    pub fn set(&mut self, v: Var, atom: Atom) {
        self.0[v.0 as usize] = Some(atom);
    }
    pub fn take(&mut self, v: Var) -> Option<Atom> {
        self.0[v.0 as usize].take()
    }
    /// The value of an atom, if its variable has one.
    pub fn find(&self, atom: Atom) -> Option<Atom> {
        match atom {
            Atom::Var(v) => self.0[v.0 as usize],
            literal => Some(literal),
        }
    }
    pub fn get(&self, atom: Atom) -> Atom {
        self.find(atom).expect("a variable is defined before it is used")
    }
    pub fn inputs(&self, e: &Equation) -> SmallVec<[Atom; 3]> {
        small(e.inputs.iter().map(|&a| self.get(a)))
    }
    /// The shape operands of an equation. A literal among them becomes a variable.
    pub fn shapes(&self, b: &mut Builder, e: &Equation) -> Result<SmallVec<[Var; 1]>> {
        let mut out = SmallVec::new();
        for &v in &e.shapes {
            out.push(match self.get(v.into()) {
                Atom::Var(v) => v,
                literal => b.equation(Broadcast { shape: SmallVec::new() }, &[literal], &[])?[0],
            });
        }
        Ok(out)
    }
    /// Copies an equation of `graph` into the builder as it is.
    pub fn copy(&mut self, b: &mut Builder, graph: &Graph, e: &Equation) -> Result<()> {
        b.meta = e.meta;
        let (inputs, shapes) = (self.inputs(e), self.shapes(b, e)?);
        let outputs = b.copy(e, graph, inputs, shapes);
        for (&v, out) in e.outputs.iter().zip(outputs) {
            self.set(v, out.into());
        }
        Ok(())
    }
}
