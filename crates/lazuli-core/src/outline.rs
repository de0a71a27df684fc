//! The shapes of all graphs of a shapeless program for new arguments, in one go where nothing is made anew for them ([`lazuli_ir::Outline`]).

use crate::array::Array;
use crate::guards::Guards;
use lazuli_ir::{Aval, Graph, OutlineBuilder, Result, Shape, ShapeId};
use std::sync::Arc;

/// An outline of a program, and which of its shapes are those of what.
#[derive(Debug)]
pub(crate) struct Outline {
    outline: lazuli_ir::Outline,
    /// Of the program's outputs: as traced, and the shapes that they have for others.
    traced: Arc<[Aval]>,
    outputs: Vec<ShapeId>,
    /// Of the arrays that guards speak of.
    guarded: Vec<ShapeId>,
    /// Of the variables of the simplified graph and its choices, unless that has calls, whose bodies are bound too.
    simplified: Option<Vec<ShapeId>>,
}

impl Outline {
    /// # Errors
    /// Those of shape rules.
    pub fn new(traced: &Graph, simplified: &Graph, constants: &[Array], guards: &Guards) -> Result<Outline> {
        let mut b = OutlineBuilder::new(traced.arguments().iter().map(|&v| traced.shape_of(v)));
        let constants = || constants.iter().map(|c| &c.aval().shape);
        let ids = b.graph(traced, constants())?;
        let outputs = traced.outputs.iter().map(|a| b.of(a, &ids)).collect();
        let guarded = guards.outline(&mut b, traced.arguments().iter().map(|&v| traced.shape_of(v)))?;
        let simplified = match simplified.has_no_calls() {
            true => Some(b.graph(simplified, constants())?),
            false => None,
        };
        let (outline, ids) = b.finish()?;
        let now = |all: Vec<ShapeId>| all.into_iter().map(|id| id.now(&ids)).collect();
        let traced = traced.output_avals().into();
        Ok(Outline { outline, traced, outputs: now(outputs), guarded: now(guarded), simplified: simplified.map(now) })
    }
    /// The avals of the program's outputs for these arguments, and all shapes; `None` if that is for the graphs to say.
    pub fn bind(&self, arguments: &[Array], guards: &Guards) -> Option<(Arc<[Aval]>, Vec<Shape>)> {
        let shapes = self.outline.shapes(arguments.iter().map(|a| &a.aval().shape[..]))?;
        guards.check_tests(&|k, axis| self.guarded[k].of(&shapes)[axis]).ok()?;
        let outputs = || self.traced.iter().zip(self.outputs.iter().map(|id| id.of(&shapes)));
        let outputs = match outputs().all(|(traced, shape)| traced.shape == *shape) {
            true => self.traced.clone(),
            false => outputs().map(|(traced, shape)| Aval { shape: Shape::from_slice(shape), ..*traced }).collect(),
        };
        Some((outputs, shapes))
    }
    /// Which shapes those of the simplified graph's variables are, and of those of its choices; `None` if it has calls.
    pub fn simplified(&self) -> Option<&[ShapeId]> {
        self.simplified.as_deref()
    }
}
