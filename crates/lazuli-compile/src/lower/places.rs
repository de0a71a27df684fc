//! Where variables lie in memory.

use lazuli_ir::{Atom, Graph, Var};
use lazuli_kernel::Layout;

/// A piece of memory of the plan: the graph's inputs first, then what steps write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BufferId(pub u32);

/// A buffer, and where in it a variable's elements lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub buffer: BufferId,
    pub layout: Layout,
}

/// The places of those variables that have one so far. A view of a variable in memory has one too, wherever strides can say it: views move no data.
#[derive(Debug)]
pub(crate) struct Places {
    places: Vec<Option<Place>>,
    /// Equation that defines each variable.
    producers: Vec<u32>,
}

/// Producer of an input.
const NONE: u32 = u32::MAX;

/// How long a chain of views is followed to its source. Longer ones are simplified before, or computed.
const CHAIN: usize = 16;

impl Places {
    pub fn new(graph: &Graph) -> Self {
        let mut producers = vec![NONE; graph.avals.len()];
        for (i, e) in graph.equations.iter().enumerate() {
            for v in &e.outputs {
                producers[v.0 as usize] = i as u32;
            }
        }
        Self { places: vec![None; graph.avals.len()], producers }
    }
    pub fn set(&mut self, v: Var, place: Place) {
        self.places[v.0 as usize] = Some(place);
    }
    /// The equation that defines a variable that is not an input.
    pub fn producer(&self, v: Var) -> u32 {
        let equation = self.producers[v.0 as usize];
        assert_ne!(equation, NONE, "every input has a place");
        equation
    }
    pub fn of(&mut self, graph: &Graph, v: Var) -> Option<&Place> {
        if self.places[v.0 as usize].is_none() {
            self.follow_views(graph, v);
        }
        self.places[v.0 as usize].as_ref()
    }
    fn follow_views(&mut self, graph: &Graph, v: Var) {
        let mut chain: smallvec::SmallVec<[(Var, u32); CHAIN]> = smallvec::SmallVec::new();
        let mut source = v;
        while self.places[source.0 as usize].is_none() {
            let producer = self.producers[source.0 as usize];
            let view = graph.equations.get(producer as usize).filter(|e| e.prim.is_view() && chain.len() < CHAIN);
            let Some(Atom::Var(input)) = view.map(|e| e.inputs[0]) else { return };
            chain.push((source, producer));
            source = input;
        }
        for (view, equation) in chain.into_iter().rev() {
            let place = self.places[source.0 as usize].as_ref().expect("found by the loop, or set by the last round");
            let Some(layout) = graph.equations[equation as usize].prim.layout(&place.layout, graph.shape_of(view))
            else {
                return;
            };
            self.places[view.0 as usize] = Some(Place { buffer: place.buffer, layout });
            source = view;
        }
    }
}
