//! The Graph: a typed, immutable program over primitives.
//!
//! Invariants (checked by [`Graph::verify`]): each variable is defined once, by an input or an equation, before it is used; its aval is what the
//! primitive's rule infers. A graph holds no data: arrays that the traced function closed over are inputs, listed last.

use crate::aval::Aval;
use crate::equations::Equations;
use crate::location::Location;
use crate::prim::Prim;
use lazuli_kernel::{Result, Scalar, Shape, small};
use smallvec::SmallVec;

/// A variable: index into [`Graph::avals`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub u32);

/// What an equation reads: a variable, or a scalar written in place (rank 0; a run-time parameter of kernels, never part of
/// their code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Atom {
    Var(Var),
    Lit(Scalar),
}

impl Atom {
    /// The variable; `None` for a literal.
    pub fn var(self) -> Option<Var> {
        match self {
            Atom::Var(v) => Some(v),
            Atom::Lit(_) => None,
        }
    }
}

impl From<Var> for Atom {
    fn from(v: Var) -> Self {
        Atom::Var(v)
    }
}

impl From<Scalar> for Atom {
    fn from(s: Scalar) -> Self {
        Atom::Lit(s)
    }
}

/// Whether an equation may be dropped, merged or reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Effect {
    #[default]
    None,
    /// Runs exactly once, in the order of the trace.
    Ordered,
}

/// What an equation carries besides its meaning. The location is outside equality; stream and effect bound CSE, DCE and fusion.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meta {
    pub location: Location,
    pub stream: u32,
    pub effect: Effect,
    /// How many times what this computes is being computed again, to save keeping it (checkpointing): equations of different numbers are not
    /// the same, however equal they look.
    pub again: u32,
}

impl Meta {
    /// That of an equation of a body in place of the call: on the call's stream, at its location if it knows none of its own.
    pub fn within(self, call: Meta) -> Meta {
        let location = if self.location == Location::UNKNOWN { call.location } else { self.location };
        Meta { location, effect: self.effect, again: call.again.max(self.again), ..call }
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        (self.stream, self.effect, self.again) == (other.stream, other.effect, other.again)
    }
}
impl Eq for Meta {}
impl std::hash::Hash for Meta {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        (self.stream, self.effect, self.again).hash(h)
    }
}

/// One application of a primitive.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Equation {
    pub prim: Prim,
    pub inputs: SmallVec<[Atom; 3]>,
    /// Variables whose extents the primitive's parameters mention ([`crate::Dim::Of`]): their avals are needed, their data is not.
    pub shapes: SmallVec<[Var; 1]>,
    pub outputs: SmallVec<[Var; 1]>,
    pub meta: Meta,
}

// Copies the variables as they lie: the derived one takes them one by one.
impl Clone for Equation {
    fn clone(&self) -> Self {
        Self {
            prim: self.prim.clone(),
            inputs: SmallVec::from_slice(&self.inputs),
            shapes: SmallVec::from_slice(&self.shapes),
            outputs: SmallVec::from_slice(&self.outputs),
            meta: self.meta,
        }
    }
}

impl Equation {
    /// The effect that it was given beyond that of its primitive.
    pub fn stated_effect(&self) -> Effect {
        if self.meta.effect > self.prim.effect() { self.meta.effect } else { Effect::None }
    }
}

/// A program: inputs, equations, outputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Graph {
    /// Of every variable.
    pub avals: Vec<Aval>,
    /// Arguments, then constants.
    pub inputs: Vec<Var>,
    /// How many of the inputs, counted from the end, are constants.
    pub constants: usize,
    pub equations: Equations,
    pub outputs: Vec<Atom>,
}

impl Graph {
    pub fn aval(&self, atom: Atom) -> Aval {
        self.aval_of(&atom).clone()
    }
    pub fn aval_of(&self, atom: &Atom) -> &Aval {
        aval_of(atom, &self.avals)
    }
    #[inline]
    pub fn shape_of(&self, v: Var) -> &Shape {
        &self.avals[v.0 as usize].shape
    }
    /// Inputs that are not constants.
    #[inline]
    pub fn arguments(&self) -> &[Var] {
        &self.inputs[..self.inputs.len() - self.constants]
    }
    pub fn input_avals(&self) -> Vec<Aval> {
        self.inputs.iter().map(|v| self.avals[v.0 as usize].clone()).collect()
    }
    pub fn output_avals(&self) -> Vec<Aval> {
        self.outputs.iter().map(|&a| self.aval(a)).collect()
    }
    /// What running it does besides computing its outputs.
    pub fn effect(&self) -> Effect {
        self.equations.iter().map(|e| e.meta.effect).max().unwrap_or_default()
    }
    /// The same program without its effects.
    pub fn without_effects(&self) -> Graph {
        let mut graph = self.clone();
        if self.effect() == Effect::None {
            return graph;
        }
        graph.equations.retain(|e| !matches!(e.prim, Prim::DebugPrint(_)));
        for e in graph.equations.iter_mut().filter(|e| e.meta.effect == Effect::Ordered) {
            e.prim = e.prim.without_effects();
            e.meta.effect = Effect::None;
        }
        graph
    }
    /// Whether there is a call in it, or in the body of one, whose body a rule makes.
    pub fn has_rules(&self) -> bool {
        let is_ruled = |prim: &Prim| matches!(prim, Prim::Call(call) if call.rule.is_some());
        self.equations.iter().any(|e| is_ruled(&e.prim) || e.prim.bodies().iter().any(|g| g.has_rules()))
    }
    /// Whether some of these are made anew for each binding of shapes.
    pub fn is_remade(&self) -> bool {
        let is_remade = |prim: &Prim| matches!(prim, Prim::Call(call) if call.is_remade());
        self.equations.iter().any(|e| is_remade(&e.prim) || e.prim.bodies().iter().any(|g| g.is_remade()))
    }
    /// What the rule of an equation's primitive says of its outputs.
    pub fn infer(&self, e: &Equation) -> Result<SmallVec<[Aval; 1]>> {
        infer(e, |a| self.aval_of(a))
    }
    /// Whether that is what they are.
    pub(crate) fn is_inferred(&self, e: &Equation) -> bool {
        self.infer(e).is_ok_and(|avals| avals.iter().eq(e.outputs.iter().map(|&v| &self.avals[v.0 as usize])))
    }
}

pub(crate) fn aval_of<'a>(atom: &Atom, avals: &'a [Aval]) -> &'a Aval {
    match atom {
        Atom::Var(v) => &avals[v.0 as usize],
        Atom::Lit(s) => Aval::of_scalars(s.dtype),
    }
}

/// What the rule of an equation's primitive says of its outputs, for operands of these avals.
pub(crate) fn infer<'a>(e: &Equation, aval_of: impl Fn(&Atom) -> &'a Aval) -> Result<SmallVec<[Aval; 1]>> {
    let inputs: SmallVec<[&Aval; 3]> = small(e.inputs.iter().map(&aval_of));
    let shapes: SmallVec<[&Aval; 1]> = small(e.shapes.iter().map(|&v| aval_of(&v.into())));
    e.prim.infer(&inputs, &shapes).map_err(|err| match e.meta.location.place() {
        Some((file, line)) => err.at(format!("{file}:{line}")),
        None => err,
    })
}
