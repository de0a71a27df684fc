//! The graphs of a program: those of the shapes that it was traced for, and of a shapeless one those of other shapes for which something in them is made anew. Each is bound to
//! all shapes for which it holds.

use crate::array::Array;
use crate::guards::{Bound, Guards, Made};
use crate::outline::Outline;
use crate::templates::Templates;
use crate::updates::Updates;
use lazuli_compile::Outlined;
use lazuli_ir::{Aval, Graph, Result};
use lazuli_kernel::shape::is_same;
use std::sync::{Arc, Mutex, OnceLock};

/// A graph as traced and as it runs, and what is known of other shapes for which it holds.
#[derive(Debug)]
pub(crate) struct Edition {
    /// As traced: what transformations of the compiled function see.
    pub traced: Graph,
    /// What runs.
    pub simplified: Graph,
    /// The shapes of both; `None` if some can't be told.
    outline: OnceLock<Option<Outline>>,
    /// What was compiled for some shapes and helps for others.
    pub templates: Templates,
}

impl Edition {
    pub fn new(traced: Graph, simplified: Graph) -> Edition {
        Edition { traced, simplified, outline: OnceLock::new(), templates: Templates::default() }
    }
    /// The shapes of the simplified graph's variables, if all shapes were made.
    pub fn outlined<'a>(&'a self, made: Option<&'a Made>) -> Option<Outlined<'a>> {
        match (made?, self.outline.get()?) {
            (Made::Shapes(shapes), Some(outline)) => {
                Some(Outlined { ids: outline.simplified()?, shapes, moving: outline.moving() })
            }
            _ => None,
        }
    }
    /// What was made when it was bound to arguments of these shapes, once more.
    pub fn made_again<'a>(&self, arguments: impl Iterator<Item = &'a [usize]>) -> Option<Made> {
        self.outline.get()?.as_ref()?.shapes(arguments).map(Made::Shapes)
    }
    /// The avals of the traced graph's outputs for arguments of these shapes; `None` if something in it has to be made anew for them.
    pub fn rebound_avals<'a>(
        &'a self,
        shapes: impl Iterator<Item = &'a [usize]>,
        constants: &'a [Array],
    ) -> Result<Option<Arc<[Aval]>>> {
        let constants = constants.iter().map(|c| &c.aval().shape[..]);
        Ok(self
            .traced
            .rebound_avals(shapes.chain(constants), false)?
            .map(|now| now.output_avals().into_iter().collect()))
    }
    /// The binding to these arguments by the outline: of shapes that are admitted, and for which nothing is made anew.
    pub fn bind(
        self: &Arc<Self>,
        guards: &Guards,
        arguments: &[Array],
        constants: &[Array],
        updates: &Updates,
    ) -> Option<Bound> {
        let outline = || Outline::new(&self.traced, &self.simplified, constants, guards, updates).ok();
        let (outputs, shapes) = self.outline.get_or_init(outline).as_ref()?.bind(arguments, guards)?;
        #[cfg(debug_assertions)]
        {
            guards.check(arguments).expect("what an outline admits");
            let inferred = self.rebound_avals(arguments.iter().map(|a| &a.aval().shape[..]), constants);
            assert_eq!(inferred.expect("what an outline admits"), Some(outputs.clone()), "{}", self.traced);
        }
        Some(Bound::new(outputs, Some(self.clone()), Some(Made::Shapes(shapes))))
    }
    /// Whether arguments have the shapes of the graph.
    pub fn fits(&self, arguments: &[Array]) -> bool {
        self.traced.arguments().iter().zip(arguments).all(|(&v, a)| is_same(self.traced.shape_of(v), &a.aval().shape))
    }
}

/// How many editions a program has beside the one of its trace: of those that go by numbers of extents each may hold for a few shapes only.
const MOST: usize = 16;

/// The editions of a program beside the one of its trace.
#[derive(Debug, Default)]
pub(crate) struct Editions(Mutex<Vec<Arc<Edition>>>);

impl Editions {
    /// Those that there are, the latest first.
    pub fn known(&self) -> Vec<Arc<Edition>> {
        let known = self.0.lock().unwrap_or_else(|e| e.into_inner());
        known.iter().rev().cloned().collect()
    }
    /// Whether there may be more.
    pub fn has_room(&self) -> bool {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).len() < MOST
    }
    pub fn add(&self, edition: Arc<Edition>) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(edition);
    }
}
