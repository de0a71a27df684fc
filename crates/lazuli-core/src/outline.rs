//! The shapes of all graphs of a shapeless program for new arguments, in one go where nothing is made anew for them ([`lazuli_ir::Outline`]).

use crate::array::Array;
use crate::guards::Guards;
use crate::updates::Updates;
use lazuli_ir::{Aval, Graph, MovingAxes, OutlineBuilder, Result, Shape, ShapeId};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex};

/// An outline of a program, and which of its shapes are those of what.
#[derive(Debug)]
pub(crate) struct Outline {
    outline: lazuli_ir::Outline,
    /// Of the program's outputs: as traced, and the shapes that they have for others.
    traced: Arc<[Aval]>,
    outputs: Vec<ShapeId>,
    /// Of the arrays that guards speak of.
    guarded: Vec<ShapeId>,
    varied: Mutex<Varied>,
    /// Of the variables of the simplified graph and its choices, unless that has calls, whose bodies are bound too.
    simplified: Option<Vec<ShapeId>>,
}

/// Which extents of arguments were not the same in all calls, by number, or will not be, as we guess; and which of shapes may be others with them.
#[derive(Debug)]
struct Varied {
    numbers: Vec<bool>,
    moving: Arc<[MovingAxes]>,
}

impl Outline {
    /// # Errors
    /// Those of shape rules.
    pub fn new(
        traced: &Graph,
        simplified: &Graph,
        constants: &[Array],
        guards: &Guards,
        updates: &Updates,
    ) -> Result<Outline> {
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
        let numbers = outline.leading(|argument| updates.is_of(argument));
        let varied = Mutex::new(Varied { moving: outline.moving(numbers.clone()).into(), numbers });
        Ok(Outline {
            outline,
            varied,
            traced,
            outputs: now(outputs),
            guarded: now(guarded),
            simplified: simplified.map(now),
        })
    }
    /// The avals of the program's outputs for these arguments, and all shapes; `None` if that is for the graphs to say.
    pub fn bind(&self, arguments: &[Array], guards: &Guards) -> Option<(Arc<[Aval]>, Vec<Shape>)> {
        let mut differing: SmallVec<[usize; 8]> = SmallVec::new();
        let shapes =
            self.outline.shapes(arguments.iter().map(|a| &a.aval().shape[..]), &mut |number| differing.push(number))?;
        guards.check_tests(&|k, axis| self.guarded[k].of(&shapes)[axis]).ok()?;
        self.note(&differing);
        let outputs = || self.traced.iter().zip(self.outputs.iter().map(|id| id.of(&shapes)));
        let outputs = match outputs().all(|(traced, shape)| traced.shape == *shape) {
            true => self.traced.clone(),
            false => outputs().map(|(traced, shape)| Aval { shape: Shape::from_slice(shape), ..*traced }).collect(),
        };
        Some((outputs, shapes))
    }
    /// All shapes once more for arguments of these, to which it was bound before.
    pub fn shapes<'a>(&self, arguments: impl Iterator<Item = &'a [usize]>) -> Option<Vec<Shape>> {
        self.outline.shapes(arguments, &mut |_| {})
    }
    /// Notes that arguments have these extents otherwise than those before.
    fn note(&self, differing: &[usize]) {
        let mut varied = self.varied.lock().unwrap_or_else(|e| e.into_inner());
        let mut has_more = false;
        for &number in differing {
            has_more |= !std::mem::replace(&mut varied.numbers[number], true);
        }
        if has_more {
            varied.moving = self.outline.moving(varied.numbers.clone()).into();
        }
    }
    /// Of each shape which of its extents were not the same in all calls, or may not be.
    pub fn moving(&self) -> Arc<[MovingAxes]> {
        self.varied.lock().unwrap_or_else(|e| e.into_inner()).moving.clone()
    }
    /// Which shapes those of the simplified graph's variables are, and of those of its choices; `None` if it has calls.
    pub fn simplified(&self) -> Option<&[ShapeId]> {
        self.simplified.as_deref()
    }
}
