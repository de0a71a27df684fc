//! The shapes of all graphs of a shapeless program for new arguments, in one go where nothing is made anew for them ([`lazuli_ir::Outline`]).

use crate::array::Array;
use crate::guards::Guards;
use lazuli_ir::{Aval, DType, Graph, OutlineBuilder, Result, Shape, ShapeId};
use lazuli_kernel::small;
use smallvec::SmallVec;

/// An outline of a program, and which of its shapes are those of what.
#[derive(Debug)]
pub(crate) struct Outline {
    outline: lazuli_ir::Outline,
    /// Of the program's outputs.
    outputs: Vec<(DType, ShapeId)>,
    /// Of the arrays that guards speak of.
    guarded: Vec<ShapeId>,
    /// Of the variables of the simplified graph, unless that has bodies, which are bound too.
    simplified: Option<Vec<ShapeId>>,
}

impl Outline {
    /// # Errors
    /// Those of shape rules.
    pub fn new(traced: &Graph, simplified: &Graph, constants: &[Array], guards: &Guards) -> Result<Outline> {
        let mut b = OutlineBuilder::new(traced.arguments().iter().map(|&v| traced.shape_of(v)));
        let constants = || constants.iter().map(|c| &c.aval().shape);
        let ids = b.graph(traced, constants())?;
        let outputs: Vec<_> = traced.outputs.iter().map(|a| (traced.aval_of(a).dtype, b.of(a, &ids))).collect();
        let guarded = guards.outline(&mut b, traced.arguments().iter().map(|&v| traced.shape_of(v)))?;
        let simplified = match simplified.equations.iter().all(|e| e.prim.bodies().is_empty()) {
            true => Some(b.graph(simplified, constants())?),
            false => None,
        };
        let (outline, ids) = b.finish()?;
        let now = |all: Vec<ShapeId>| all.into_iter().map(|id| id.now(&ids)).collect();
        let outputs = outputs.into_iter().map(|(dtype, id): (DType, ShapeId)| (dtype, id.now(&ids))).collect();
        Ok(Outline { outline, outputs, guarded: now(guarded), simplified: simplified.map(now) })
    }
    /// The avals of the program's outputs for these arguments, and all shapes; `None` if that is for the graphs to say.
    pub fn bind(&self, arguments: &[Array], guards: &Guards) -> Option<(SmallVec<[Aval; 1]>, Vec<Shape>)> {
        let shapes = self.outline.shapes(arguments.iter().map(|a| &a.aval().shape[..]))?;
        guards.check_tests(&|k, axis| self.guarded[k].of(&shapes)[axis]).ok()?;
        let aval = |&(dtype, id): &(DType, ShapeId)| Aval { dtype, shape: Shape::from_slice(id.of(&shapes)) };
        Some((small(self.outputs.iter().map(aval)), shapes))
    }
    /// Which shapes those of the simplified graph's variables are; `None` if it has bodies.
    pub fn simplified(&self) -> Option<&[ShapeId]> {
        self.simplified.as_deref()
    }
}
