//! Where variables lie in memory.

use lazuli_ir::number::{Values, fixed};
use lazuli_ir::{Atom, Extents, Graph, Strided, Var, shape, small};
use lazuli_kernel::{Arg, DType, Layout, Slot};
use std::sync::Arc;

/// A piece of memory of the plan: the graph's inputs first, then what steps write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BufferId(pub u32);

impl BufferId {
    /// How arrays name it until memory is assigned: as an input, the first of which are those of the graph.
    pub fn slot(self) -> Slot {
        Slot::Input(self.0)
    }
    /// The buffer of an array to whom no memory is assigned yet.
    pub fn of(arg: &Arg) -> BufferId {
        match arg.slot {
            Slot::Input(n) => BufferId(n),
            slot => unreachable!("{slot:?} before memory is assigned"),
        }
    }
}

/// What lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    Var(Var),
    /// An array of the shape of a variable and of this dtype, row by row, that only one group knows: a result on its way, or a copy.
    Aside(Var, DType),
}

impl Held {
    /// The variable whose shape it has.
    pub fn var(self) -> Var {
        match self {
            Held::Var(v) | Held::Aside(v, _) => v,
        }
    }
    pub fn dtype(self, graph: &Graph) -> DType {
        match self {
            Held::Var(v) => graph.avals[v.0 as usize].dtype,
            Held::Aside(_, dtype) => dtype,
        }
    }
    pub fn nbytes(self, graph: &Graph) -> usize {
        shape::size(graph.shape_of(self.var())) * self.dtype(graph).itemsize()
    }
}

/// A buffer, and where in it a variable's elements lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub buffer: BufferId,
    pub layout: Layout,
}

/// The places of those variables that have one so far. A view of a variable in memory has one too, wherever strides can say it: views move no data.
#[derive(Debug)]
pub(crate) struct Places {
    places: Vec<Place>,
    /// Where that of each variable is among them.
    of: Vec<u32>,
    producers: Producers,
}

/// The equation that defines each variable.
pub(crate) type Producers = Arc<[u32]>;

/// The producer of an input, and the place of a variable that has none.
const NONE: u32 = u32::MAX;

/// How long a chain of views is followed to its source. Longer ones are simplified before, or computed.
pub(super) const CHAIN: usize = 16;

impl Places {
    /// No places, of a graph whose variables have these producers.
    pub fn new(producers: Producers) -> Self {
        Self { places: Vec::with_capacity(producers.len() / 2 + 8), of: vec![NONE; producers.len()], producers }
    }
    pub fn producers(graph: &Graph) -> Producers {
        let mut producers = vec![NONE; graph.avals.len()];
        for (i, e) in graph.equations.iter().enumerate() {
            for v in &e.outputs {
                producers[v.0 as usize] = i as u32;
            }
        }
        producers.into()
    }
    pub fn into_producers(self) -> Producers {
        self.producers
    }
    pub fn set(&mut self, v: Var, place: Place) {
        self.of[v.0 as usize] = self.places.len() as u32;
        self.places.push(place);
    }
    /// The equation that defines a variable that is not an input.
    pub fn producer(&self, v: Var) -> u32 {
        let equation = self.producers[v.0 as usize];
        assert_ne!(equation, NONE, "every input has a place");
        equation
    }
    #[inline]
    pub fn of(&mut self, graph: &Graph, v: Var) -> Option<&Place> {
        if self.of[v.0 as usize] == NONE {
            self.follow_views(graph, v);
        }
        self.known(v)
    }
    fn known(&self, v: Var) -> Option<&Place> {
        self.places.get(self.of[v.0 as usize] as usize)
    }
    fn follow_views(&mut self, graph: &Graph, v: Var) {
        let mut chain: smallvec::SmallVec<[(Var, u32); CHAIN]> = smallvec::SmallVec::new();
        let mut source = v;
        while self.of[source.0 as usize] == NONE {
            let producer = self.producers[source.0 as usize];
            let view = graph.equations.get(producer as usize).filter(|e| e.prim.is_view() && chain.len() < CHAIN);
            let Some(Atom::Var(input)) = view.map(|e| e.inputs[0]) else { return };
            chain.push((source, producer));
            source = input;
        }
        for (view, equation) in chain.into_iter().rev() {
            let place = self.known(source).expect("found by the loop, or set by the last round");
            let e = &graph.equations[equation as usize];
            let shapes: smallvec::SmallVec<[Extents; 2]> = small(e.shapes.iter().map(|&v| fixed(graph.shape_of(v))));
            let (of, extents) = (Strided::fixed(&place.layout), fixed(graph.shape_of(view)));
            let Some(seen) = e.prim.strided(&mut Values, &of, &extents, &shapes) else { return };
            let place = Place { buffer: place.buffer, layout: seen.layout() };
            self.set(view, place);
            source = view;
        }
    }
}
