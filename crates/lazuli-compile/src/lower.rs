//! From groups of equations to steps: kernels over buffers that are not yet placed in memory.
//!
//! A group ends in the variables that it stores. Everything they need that does not lie in memory yet is computed on the spot, by
//! [pulling](body): the groups decide what is stored and when, and nothing else, so no choice of groups can make a result wrong or change a bit of it. Complex
//! numbers are split into two streams here; half floats widen where a nest accumulates.
//!
//! Absent: memory addresses (see [`crate::memory`]) and any knowledge of single primitives beyond their [`Lowering`].

mod again;
mod body;
mod finish;
mod join;
mod numbers;
mod outside;
mod places;
mod reduce;
mod write;

use crate::fuse::Group;
use crate::pipeline::{Compiled, Options};
pub use again::ByFormulas;
pub(crate) use again::{Formulas, Linked, Recall, Recipes, WorkSource, is_row};
use again::{Notes, Pass, Recipe, Written};
use body::{Body, Part};
pub(crate) use finish::Launch;
use finish::{Ending, finish};
pub(crate) use join::is_joined;
use lazuli_ir::prim::Library;
use lazuli_ir::{
    Atom, Aval, Error, Extents, Graph, Index, Ix, Lane, Lowering, Number, Prim, Result, Shape, Var, shape, small,
};
use lazuli_kernel::interrupt::poll_at;
use lazuli_kernel::{Arg, HostCall, Layout, LibraryCall, Nest, Plan, Role, Store, Value};
use outside::OnlyUsers;
pub(crate) use outside::transpose_of;
use places::Places;
pub(crate) use places::{BufferId, Held, Place};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// A step whose arrays are in buffers without an address ([`BufferId::slot`]).
#[derive(Debug)]
pub(crate) enum Work {
    Launch(Launch),
    /// With an epilogue, the output of the call is a buffer that takes no memory: the result goes on into that launch, which has one binding.
    Call {
        call: Box<LibraryCall>,
        epilogue: Option<Box<Launch>>,
    },
    /// Goes on into a map.
    Scatter(Box<Scattered>),
    /// The arrays are row-contiguous: dtype, shape and where they begin.
    Host {
        call: Arc<dyn HostCall>,
        args: Vec<(Aval, Arg)>,
    },
    Branch(Box<Fork>),
}

impl Work {
    /// Whether it does something beyond what it writes.
    pub fn has_effects(&self) -> bool {
        match self {
            Work::Host { .. } => true,
            Work::Branch(fork) => fork.plans.iter().any(Plan::has_effects),
            _ => false,
        }
    }
}

/// A scatter and the map that follows.
#[derive(Debug)]
pub(crate) struct Scattered {
    /// What goes on from each of the launches to the next: a buffer that takes no memory.
    pub result: BufferId,
    /// The target, its updates, and the map, of one binding each.
    pub launches: [Launch; 3],
}

impl Scattered {
    /// These launches, which left that.
    fn again(launches: SmallVec<[Launch; 1]>, written: &Written) -> Scattered {
        let mut launches = launches.into_iter();
        let mut next = || launches.next().expect("a target, its updates and a map");
        let result = written.iter().find(|(held, _)| matches!(held, Held::Aside(..)));
        Scattered { result: result.expect("the target goes there").1.buffer, launches: [next(), next(), next()] }
    }
}

/// A choice between two plans, whose inputs and outputs are whole buffers.
#[derive(Debug)]
pub(crate) struct Fork {
    pub predicate: Arg,
    pub plans: [Plan; 2],
    pub inputs: Vec<Arg>,
    pub outputs: Vec<Arg>,
}

/// A graph as steps over buffers. The graph's inputs are the first buffers.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Size of each buffer in bytes.
    pub buffers: Vec<usize>,
    pub work: Vec<Work>,
    /// Of each entry of `work`, the numbers of the groups that it does; none for copies into outputs.
    pub origins: Vec<SmallVec<[u32; 1]>>,
    pub outputs: Vec<Place>,
    /// Of each choice its equation, and what its branches were compiled to.
    pub branches: Vec<(u32, [Compiled; 2])>,
    /// Of each entry of `work` where its numbers come from, if recipes were followed.
    pub sources: Vec<WorkSource>,
    /// Buffers of which each launch that writes them writes other elements.
    pub in_parts: Vec<BufferId>,
}

/// Lowers the groups in their order. With `own_outputs` each output has a buffer to itself, row-contiguous. The branches of choices are compiled by `options`.
pub(crate) fn lower(
    graph: &Graph,
    inputs: &[Layout],
    groups: &[Group],
    options: &Options,
    own_outputs: bool,
    recall: Recall,
) -> Result<Program> {
    let mut lowerer = Lowerer::new(graph, inputs, groups.len(), *options, recall)?;
    let mut origins = Vec::with_capacity(groups.len());
    for (number, group) in groups.iter().enumerate() {
        poll_at(number)?;
        lowerer.group(group)?;
        origins.resize(lowerer.work.len(), smallvec![number as u32]);
    }
    lowerer.end(origins, own_outputs)
}

struct Lowerer<'a> {
    graph: &'a Graph,
    places: Places,
    buffers: Vec<usize>,
    work: Vec<Work>,
    /// Found when first needed.
    only_users: Option<OnlyUsers>,
    options: Options,
    branches: Vec<(u32, [Compiled; 2])>,
    /// The last body, for the next.
    spare: Option<Body>,
    /// Where launches by a recipe leave what they store.
    written: Written,
    recall: Recall<'a>,
    /// What was noted of launches that are in no recipe yet; None if something could not be.
    passes: Option<Vec<Pass>>,
    sources: Vec<WorkSource>,
    in_parts: Vec<BufferId>,
    /// Whether anything is put together from parts.
    has_joins: bool,
}

impl<'a> Lowerer<'a> {
    fn new(graph: &'a Graph, inputs: &[Layout], groups: usize, options: Options, recall: Recall<'a>) -> Result<Self> {
        if inputs.len() != graph.inputs.len() {
            let message = format!("{} layouts for {} inputs", inputs.len(), graph.inputs.len());
            return Err(Error::internal("compile", message));
        }
        let (producers, only_users) = match recall {
            Recall::Follow(recipes) => (recipes.producers.clone(), recipes.only_users.clone()),
            _ => (Places::producers(graph), None),
        };
        let mut lowerer = Self {
            graph,
            places: Places::new(producers),
            buffers: Vec::with_capacity(graph.avals.len()),
            work: Vec::with_capacity(2 * groups),
            only_users,
            options,
            branches: Vec::new(),
            spare: None,
            written: Written::new(),
            recall,
            passes: Some(Vec::new()),
            sources: Vec::new(),
            in_parts: Vec::new(),
            has_joins: graph.equations.iter().any(is_joined),
        };
        for (&v, layout) in graph.inputs.iter().zip(inputs) {
            let aval = &graph.avals[v.0 as usize];
            if layout.shape != aval.shape {
                let message = format!("an input of shape {} where the graph has {aval}", shape::show(&layout.shape));
                return Err(Error::internal("compile", message));
            }
            let last = layout.span().map_or(0, |(_, high)| high + 1);
            let buffer = lowerer.buffer(last as usize * aval.dtype.itemsize());
            lowerer.places.set(v, Place { buffer, layout: layout.clone() });
        }
        Ok(lowerer)
    }

    fn end(mut self, mut origins: Vec<SmallVec<[u32; 1]>>, own_outputs: bool) -> Result<Program> {
        let graph = self.graph;
        let mut outputs: Vec<Place> = Vec::with_capacity(graph.outputs.len());
        for &atom in &graph.outputs {
            let mut place = self.materialise(atom)?;
            if own_outputs {
                let (aval, b) = (graph.aval(atom), place.buffer.0 as usize);
                let is_own = b >= graph.inputs.len()
                    && place.layout == Layout::row(aval.shape.clone())
                    && self.buffers[b] == aval.nbytes()
                    && outputs.iter().all(|other| other.buffer != place.buffer);
                if let (false, Atom::Var(v)) = (is_own, atom) {
                    place = self.copied(v, &place);
                }
            }
            outputs.push(place);
        }
        origins.resize(self.work.len(), SmallVec::new());
        if let Recall::Note(recipes) = self.recall {
            (recipes.producers, recipes.only_users) = (self.places.into_producers(), self.only_users);
        }
        self.sources.resize(self.work.len(), WorkSource::Other);
        let Lowerer { buffers, work, branches, sources, in_parts, .. } = self;
        Ok(Program { buffers, work, origins, outputs, branches, sources, in_parts })
    }

    /// Adds a step of which is known where its numbers come from.
    fn push_from(&mut self, work: Work, source: WorkSource) {
        if let Recall::Follow(_) = self.recall {
            self.sources.resize(self.work.len(), WorkSource::Other);
            self.sources.push(source);
        }
        self.work.push(work);
    }

    fn buffer(&mut self, nbytes: usize) -> BufferId {
        self.buffers.push(nbytes);
        BufferId(self.buffers.len() as u32 - 1)
    }

    fn fresh(&mut self, aval: &Aval) -> Place {
        Place { buffer: self.buffer(aval.nbytes()), layout: Layout::row(Shape::from_slice(&aval.shape)) }
    }

    /// A new place for this.
    fn fresh_for(&mut self, held: Held) -> Place {
        let layout = Layout::row(Shape::from_slice(self.graph.shape_of(held.var())));
        Place { buffer: self.buffer(held.nbytes(self.graph)), layout }
    }

    fn group(&mut self, group: &Group) -> Result<()> {
        let anchor = group.anchors.first().copied();
        let without_joined = if anchor.is_some() { self.join_before(group)? } else { None };
        let group = without_joined.as_ref().unwrap_or(group);
        let is_launch = |e: u32| matches!(self.graph.equations[e as usize].prim, Prim::Reduce(_) | Prim::ArgReduce(_));
        let mut again = |&first: &Var| self.launch_again(Held::Var(first), &group.stores);
        if anchor.is_none_or(is_launch) && group.stores.first().is_some_and(&mut again) {
            return Ok(());
        }
        let Some(anchor) = anchor else { return self.maps(group) };
        let result = match self.lowering(anchor) {
            Lowering::Branch => self.branch(anchor),
            lowering => self.anchored(anchor, lowering, group),
        };
        let equation = &self.graph.equations[anchor as usize];
        result.map_err(|e| match equation.meta.location.place() {
            Some((file, line)) => e.at(format!("{file}:{line}")),
            None => e,
        })
    }

    /// A group by its anchor, which is no choice: choices within choices recurse, and what is large stays off their stack.
    #[inline(never)]
    fn anchored(&mut self, anchor: u32, lowering: Lowering, group: &Group) -> Result<()> {
        match lowering {
            Lowering::Reduce { .. } => self.reduce(group),
            Lowering::Scan { op, axis, reverse, exclusive } => self
                .running(anchor, axis, &|values, store| Nest::Scan { op, reverse, exclusive, value: values[0], store }),
            Lowering::Recurrence { axis, reverse } => self.running(anchor, axis, &|values, store| Nest::Recurrence {
                reverse,
                factor: values[0],
                term: values[1],
                store,
            }),
            Lowering::Scatter { op, space, .. } => self.scatter(anchor, op, &space, group),
            Lowering::Update { op } => self.update(anchor, op, group),
            Lowering::Library(Library::Matmul) => self.matmul(anchor, group),
            Lowering::Library(Library::Sort { axis, indices }) => self.sort(anchor, axis, indices),
            Lowering::Host => self.host(anchor),
            Lowering::Branch | Lowering::Pointwise | Lowering::Call => Err(Error::internal(
                self.graph.equations[anchor as usize].prim.name(),
                "is no anchor of a group: pointwise equations are pulled, calls inlined before",
            )),
        }
    }

    fn lowering(&self, equation: u32) -> Lowering {
        lowering(self.graph, equation)
    }

    fn aval(&self, v: Var) -> &'a Aval {
        &self.graph.avals[v.0 as usize]
    }

    /// A kernel for each number of points that the variables have: most often one.
    fn maps(&mut self, group: &Group) -> Result<()> {
        let mut rest: SmallVec<[Var; 4]> = group.stores.as_slice().into();
        while let Some(&first) = rest.first() {
            let size = self.aval(first).size();
            let (now, later) = rest.iter().copied().partition(|&v| self.aval(v).size() == size);
            rest = later;
            let now: SmallVec<[Var; 4]> = now;
            self.map(&now, &group.splits)?;
        }
        Ok(())
    }

    /// A kernel over the space of the first of these variables that computes and stores all of them. What is in memory already, as a view or whole, stays there.
    #[inline(never)]
    fn map(&mut self, stores: &[Var], splits: &[Var]) -> Result<()> {
        let graph = self.graph;
        let mut stores: SmallVec<[Var; 4]> = stores.into();
        stores.retain(|v| self.places.of(graph, *v).is_none());
        let cuts = self.cuts(&stores)?;
        // Some of them may have been put there for that.
        stores.retain(|v| self.places.of(graph, *v).is_none());
        let Some(&first) = stores.first() else { return Ok(()) };
        if self.launch_again(Held::Var(first), &stores) || !cuts.is_empty() && self.map_by_parts(&cuts, &stores) {
            return Ok(());
        }
        if !cuts.is_empty() {
            self.join_first(stores.iter().copied())?;
            return self.map(&stores, splits);
        }
        let mut body = self.body();
        let space = body.extents(graph, first.into());
        let boundaries = self.boundaries(&stores).into_iter().chain(splits.iter().copied());
        let shapes: SmallVec<[Extents; 4]> = small(boundaries.map(|v| body.extents(graph, v.into())));
        let at = body.begin(&space, &shapes);
        let written = self.eval_all(&mut body, &stores, &at, &space);
        let nest = Nest::Map { stores: self.store(&mut body, &written) };
        self.launch(body, nest);
        self.recipe(Held::Var(first), &stores);
        Ok(())
    }

    /// Variables for whose shapes the loop axes should be split, so that reshapes between what is computed here stay affine.
    fn boundaries(&self, stores: &[Var]) -> SmallVec<[Var; 4]> {
        let mut shaped: SmallVec<[Var; 4]> = SmallVec::new();
        for &v in stores {
            shaped.push(v);
            let e = &self.graph.equations[self.places.producer(v) as usize];
            if let (true, Some(Atom::Var(input))) = (e.prim.is_view(), e.inputs.first()) {
                shaped.push(*input);
            }
        }
        shaped
    }

    /// The loop index of an array of shape `from` as that of an atom of as many elements.
    fn reindex(&mut self, body: &mut Body, at: &[Ix], from: &[Number], to: Atom) -> Index {
        let to = body.extents(self.graph, to);
        body.reshape(self.graph, &mut self.places, at, from, &to)
    }

    /// Declares the outputs and gives each variable its place.
    fn store(&mut self, body: &mut Body, written: &[(Var, Lane, Index)]) -> Vec<Store> {
        let mut stores = Vec::with_capacity(written.len());
        for (v, lane, at) in written {
            let place = self.fresh(self.aval(*v));
            store_lane(body, Some(Held::Var(*v)), &place, *lane, at, &mut stores);
            self.places.set(*v, place);
        }
        stores
    }

    /// An empty body: what the last one had room for, this one need not ask for again.
    fn body(&mut self) -> Body {
        let mut body = self.spare.take().unwrap_or_else(Body::with_room);
        body.clear(matches!(self.recall, Recall::Note(_)).then(Notes::default));
        body
    }

    /// Adds a launch, unless it has no points, and notes it if that is wanted.
    fn launch(&mut self, mut body: Body, nest: Nest) {
        let kept = body.loops.len() - nest.reduced() as usize;
        if !body.loops[..kept].contains(&0) {
            let (launch, ending) = finish(&body, nest, false);
            self.note([(&mut body, &launch, &ending)]);
            self.work.push(Work::Launch(launch));
        }
        self.spare = Some(body);
    }

    /// Notes launches that have their loop axes in common, if that is wanted.
    #[inline(never)]
    fn note<const N: usize>(&mut self, ended: [(&mut Body, &Launch, &Ending); N]) {
        let (Recall::Note(_), graph, places) = (&self.recall, self.graph, &mut self.places) else { return };
        let mut lies = |of: Held, role| match (of, role) {
            (Held::Var(v), Role::In) => Some(places.of(graph, v)?.layout.clone()),
            _ => Some(Layout::row(graph.shape_of(of.var()).clone())),
        };
        let noted = Pass::noted(ended, &mut lies);
        self.passes = self.passes.take().zip(noted).map(|(mut all, noted)| {
            all.extend(noted);
            all
        });
    }

    /// The launches that were noted since the last recipe are that of this, in a group that stores these variables.
    fn recipe(&mut self, of: Held, stores: &[Var]) {
        self.recipe_of(of, stores, None, false);
    }

    /// The same; `given` lies in a place that only these launches know, and they may be one scatter and the map that follows.
    fn recipe_of(&mut self, of: Held, stores: &[Var], given: Option<Held>, is_scatter: bool) {
        let passes = self.passes.replace(Vec::new());
        if let (Recall::Note(recipes), Some(passes)) = (&mut self.recall, passes.filter(|passes| !passes.is_empty())) {
            recipes.launches.insert(of, Recipe { stores: stores.into(), given, passes, is_scatter });
        }
    }

    /// The launches of a group that stores these variables, as noted for this; whether there are such.
    fn launch_again(&mut self, of: Held, stores: &[Var]) -> bool {
        let mut written = std::mem::take(&mut self.written);
        let followed = self.follow(of, stores, None, &mut written);
        let is_followed = followed.is_some();
        if let Some((recipe, launches)) = followed {
            match recipe.is_scatter {
                true => self
                    .push_from(Work::Scatter(Box::new(Scattered::again(launches, &written))), WorkSource::Scatter(of)),
                false => {
                    for (n, launch) in (0..).zip(launches) {
                        self.push_from(Work::Launch(launch), WorkSource::Launch(of, n));
                    }
                }
            }
            for (held, place) in written.drain(..) {
                if let Held::Var(v) = held {
                    self.places.set(v, place);
                }
            }
        }
        self.written = written;
        is_followed
    }

    /// The place of an atom, computed now if it has none.
    fn materialise(&mut self, atom: Atom) -> Result<Place> {
        let graph = self.graph;
        match atom {
            Atom::Var(v) => {
                if self.places.of(graph, v).is_none() {
                    self.map(&[v], &[])?;
                }
                let place = self.places.of(graph, v);
                Ok(place.expect("a map gives all that it stores a place").clone())
            }
            Atom::Lit(s) => {
                let mut body = self.body();
                let lane = body.literal(0, 0, s);
                let place = self.fresh(&Aval::scalar(s.dtype));
                let mut stores = Vec::new();
                store_lane(&mut body, None, &place, lane, &[], &mut stores);
                let (launch, _) = finish(&body, Nest::Map { stores }, false);
                self.push_from(Work::Launch(launch), WorkSource::Fixed);
                self.spare = Some(body);
                Ok(place)
            }
        }
    }

    /// Variables at an index of an array of shape `space`, whose points they have.
    fn eval_all(
        &mut self,
        body: &mut Body,
        variables: &[Var],
        at: &[Ix],
        space: &[Number],
    ) -> SmallVec<[(Var, Lane, Index); 4]> {
        let mut written = SmallVec::new();
        for &v in variables {
            let at = self.reindex(body, at, space, v.into());
            let lane = body.eval(self.graph, &mut self.places, v, &at);
            written.push((v, lane, at));
        }
        written
    }

    fn input_aval(&self, equation: u32, k: usize) -> Aval {
        self.graph.aval(self.graph.equations[equation as usize].inputs[k])
    }

    /// The variable that this is, but for its dtype, in a place of its own.
    fn narrowed(&mut self, (wide, at_wide): (Held, &Place), v: Var) -> Place {
        let place = self.fresh_for(Held::Var(v));
        self.convert((wide, at_wide), (Held::Var(v), &place));
        place
    }

    /// A copy with conversion from one place to another, which are of one shape.
    fn convert(&mut self, (from, at_from): (Held, &Place), (to, at_to): (Held, &Place)) {
        let graph = self.graph;
        let mut body = self.body();
        let extents = body.extents(graph, from.var().into());
        let at = body.begin(&extents, &[]);
        let lane = match body.load(from, at_from, from.dtype(graph), &at, None) {
            Lane::Real(x) => Lane::Real(body.emit.cast(to.dtype(graph), x)),
            complex => complex,
        };
        let mut stores = Vec::new();
        store_lane(&mut body, Some(to), at_to, lane, &at, &mut stores);
        self.launch(body, Nest::Map { stores });
    }

    /// A map that computes input 0 of an equation into a place, row by row.
    fn input_into(&mut self, anchor: u32, (to, place): (Held, &Place)) -> (Body, Nest) {
        let graph = self.graph;
        let mut body = self.body();
        let extents = body.extents(graph, to.var().into());
        let at = body.begin(&extents, &[]);
        let lane = match body.operand(graph, &mut self.places, anchor, 0, &at) {
            Lane::Real(x) => Lane::Real(body.emit.cast(to.dtype(graph), x)),
            complex => complex,
        };
        let mut stores = Vec::new();
        store_lane(&mut body, Some(to), place, lane, &at, &mut stores);
        (body, Nest::Map { stores })
    }
}

pub(crate) fn lowering(graph: &Graph, equation: u32) -> Lowering {
    let e = &graph.equations[equation as usize];
    let inputs: SmallVec<[&Aval; 3]> = small(e.inputs.iter().map(|a| graph.aval_of(a)));
    let outputs: SmallVec<[&Aval; 1]> = small(e.outputs.iter().map(|v| &graph.avals[v.0 as usize]));
    e.prim.lowering(&inputs, &outputs)
}

/// Stores a number at an affine index of a place. What is stored is None for a number that the program states.
fn store_lane(body: &mut Body, of: Option<Held>, place: &Place, lane: Lane, at: &[Ix], stores: &mut Vec<Store>) {
    let parts: SmallVec<[(Part, Value); 2]> = match lane {
        Lane::Real(value) => smallvec![(Part::WHOLE, value)],
        Lane::Complex(re, im) => Part::COMPLEX.into_iter().zip([re, im]).collect(),
    };
    for (part, value) in parts {
        let operand = body.walked(of, place, at, part, body.emit.dtype(value), Role::Out);
        stores.push(Store { operand, value });
    }
}
