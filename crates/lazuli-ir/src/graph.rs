//! The Graph: a typed, immutable program over primitives.
//!
//! Invariants (checked by [`Graph::verify`]): each variable is defined once, by an input or an equation, before it is used; its aval is what the
//! primitive's rule infers. A graph holds no data: arrays that the traced function closed over are inputs, listed last.

use crate::aval::Aval;
use crate::extents;
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
    pub equations: Vec<Equation>,
    pub outputs: Vec<Atom>,
}

impl Graph {
    pub fn aval(&self, atom: Atom) -> Aval {
        self.aval_of(&atom).clone()
    }
    pub fn aval_of(&self, atom: &Atom) -> &Aval {
        aval_of(atom, &self.avals)
    }
    pub fn shape_of(&self, v: Var) -> &Shape {
        &self.avals[v.0 as usize].shape
    }
    /// Inputs that are not constants.
    pub fn arguments(&self) -> &[Var] {
        &self.inputs[..self.inputs.len() - self.constants]
    }
    pub fn input_avals(&self) -> Vec<Aval> {
        self.inputs.iter().map(|v| self.avals[v.0 as usize].clone()).collect()
    }
    pub fn output_avals(&self) -> Vec<Aval> {
        self.outputs.iter().map(|&a| self.aval(a)).collect()
    }
    /// The same program for inputs of other shapes: every shape rule runs again.
    pub fn rebind(&self, inputs: &[Shape]) -> Result<Graph> {
        let mut graph = self.clone();
        for (v, shape) in self.inputs.iter().zip(inputs) {
            graph.avals[v.0 as usize].shape = Shape::from_slice(shape);
        }
        for i in 0..graph.equations.len() {
            // Bodies are bound to the avals of their operands.
            if !graph.equations[i].prim.bodies().is_empty() {
                let operands: Vec<&Aval> = graph.equations[i].inputs.iter().map(|a| graph.aval_of(a)).collect();
                if let Some(prim) = graph.equations[i].prim.rebind(&operands)? {
                    graph.equations[i].prim = prim;
                }
            }
            infer_again(&graph.equations[i], &mut graph.avals)?;
        }
        Ok(graph)
    }
    /// The avals of its variables for inputs of other shapes: what [`rebind`](Self::rebind) would give them; `None` if something has to be made anew for these shapes, or
    /// (`alike`) of some variable, or one of a body, not the same extents are 0 and 1.
    pub fn rebound_avals<'a>(
        &self,
        inputs: impl Iterator<Item = &'a [usize]>,
        alike: bool,
    ) -> Result<Option<Vec<Aval>>> {
        let mut avals = self.avals.clone();
        for (v, shape) in self.inputs.iter().zip(inputs) {
            avals[v.0 as usize].shape = Shape::from_slice(shape);
        }
        for e in &self.equations {
            match &e.prim {
                Prim::Call(call) => {
                    let outputs: Option<SmallVec<[Aval; 1]>> = {
                        let operands: SmallVec<[&Aval; 8]> = small(e.inputs.iter().map(|a| aval_of(a, &avals)));
                        match call.fits(&operands) {
                            true => Some(call.graph.output_avals().into()),
                            false => call.rebound_avals(&operands, alike)?,
                        }
                    };
                    let Some(outputs) = outputs else { return Ok(None) };
                    e.outputs.iter().zip(outputs).for_each(|(v, aval)| avals[v.0 as usize] = aval);
                }
                Prim::Cond(cond) if alike || cond.branches.iter().any(|g| g.has_rules()) => return Ok(None),
                _ => infer_again(e, &mut avals)?,
            }
        }
        Ok((!alike || self.is_alike(&avals)).then_some(avals))
    }
    /// Whether rules take the same way for variables of these avals.
    fn is_alike(&self, avals: &[Aval]) -> bool {
        // A reshape is left out where it changes no shape.
        let is_same = |e: &Equation, avals: &[Aval]| match e.inputs[0] {
            Atom::Var(v) => avals[v.0 as usize].shape == avals[e.outputs[0].0 as usize].shape,
            Atom::Lit(_) => false,
        };
        let mut reshapes = self.equations.iter().filter(|e| matches!(e.prim, Prim::Reshape(_)));
        self.avals.iter().zip(avals).all(|(a, b)| extents::alike(&a.shape, &b.shape))
            && reshapes.all(|e| is_same(e, &self.avals) == is_same(e, avals))
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
    /// What the rule of an equation's primitive says of its outputs.
    pub fn infer(&self, e: &Equation) -> Result<SmallVec<[Aval; 1]>> {
        infer(e, &self.avals)
    }
}

/// Gives the outputs of an equation the avals that follow from those of its inputs, of which only the shapes have changed.
fn infer_again(e: &Equation, avals: &mut [Aval]) -> Result<()> {
    // Elementwise operations on operands of one shape, as most are, have that shape.
    if e.prim.is_elementwise() {
        let mut shapes = e.inputs.iter().filter_map(|a| a.var()).map(|v| &avals[v.0 as usize].shape);
        if let Some(first) = shapes.next()
            && shapes.all(|shape| shape == first)
        {
            let shape = Shape::from_slice(first);
            let out = &mut avals[e.outputs[0].0 as usize];
            out.shape = shape;
            if out.is_addressable() {
                return Ok(());
            }
        }
    }
    let inferred = infer(e, avals)?;
    e.outputs.iter().zip(inferred).for_each(|(v, aval)| avals[v.0 as usize] = aval);
    Ok(())
}

fn aval_of<'a>(atom: &Atom, avals: &'a [Aval]) -> &'a Aval {
    match atom {
        Atom::Var(v) => &avals[v.0 as usize],
        Atom::Lit(s) => Aval::of_scalars(s.dtype),
    }
}

/// The same, of an equation over variables of these avals.
fn infer(e: &Equation, avals: &[Aval]) -> Result<SmallVec<[Aval; 1]>> {
    let inputs: SmallVec<[&Aval; 3]> = small(e.inputs.iter().map(|a| aval_of(a, avals)));
    let shapes: SmallVec<[&Aval; 1]> = small(e.shapes.iter().map(|v| &avals[v.0 as usize]));
    e.prim.infer(&inputs, &shapes).map_err(|err| match e.meta.location.place() {
        Some((file, line)) => err.at(format!("{file}:{line}")),
        None => err,
    })
}
