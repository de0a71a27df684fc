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
mod outside;
mod places;
mod write;

use crate::fuse::{Group, same_points};
use crate::pipeline::{Compiled, Options};
use again::{Axis, Notes, Recipe};
pub(crate) use again::{Recall, Recipes};
use body::{Access, Body, Part};
pub(crate) use finish::{Bound, Launch, Operands};
use finish::{Ending, finish};
use lazuli_ir::prim::Library;
use lazuli_ir::{Atom, Aval, Error, Graph, Index, Ix, Lane, Lowering, Result, Shape, Var, shape, small};
use lazuli_kernel::{Accumulator, Combine, DType, HostCall, Inst, Layout, Nest, Plan, Role, ScanOp, Store, Value};
pub(crate) use outside::transpose_of;
use places::Places;
pub(crate) use places::{BufferId, Place};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// A step whose arrays are in buffers without an address.
#[derive(Debug)]
pub(crate) enum Work {
    Launch(Launch),
    /// With an epilogue, `c` is a buffer that takes no memory: the result goes on into that launch, which has one binding.
    Matmul {
        dtype: DType,
        batch: Shape,
        m: usize,
        n: usize,
        k: usize,
        a: Operands,
        b: Operands,
        c: Operands,
        epilogue: Option<Box<Launch>>,
    },
    /// Goes on into a map.
    Scatter(Box<Scattered>),
    Sort {
        dtype: DType,
        rows: Shape,
        n: usize,
        indices: bool,
        input: Operands,
        output: Operands,
    },
    /// The arrays are row-contiguous: dtype, shape and where they begin.
    Host {
        call: Arc<dyn HostCall>,
        args: Vec<(Aval, Operands)>,
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

/// A choice between two plans, whose inputs and outputs are whole buffers.
#[derive(Debug)]
pub(crate) struct Fork {
    pub predicate: Operands,
    pub plans: [Plan; 2],
    pub inputs: Vec<Operands>,
    pub outputs: Vec<Operands>,
}

/// A graph as steps over buffers. The graph's inputs are the first buffers.
#[derive(Debug)]
pub(crate) struct Program {
    /// Size of each buffer in bytes.
    pub buffers: Vec<usize>,
    pub work: Vec<Work>,
    /// Of each entry of `work`, the numbers of the groups that it does; none for copies into outputs.
    pub origins: Vec<SmallVec<[u32; 1]>>,
    pub outputs: Vec<Place>,
    /// Of each choice its equation, and what its branches were compiled to.
    pub branches: Vec<(u32, [Compiled; 2])>,
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
    let mut lowerer = Lowerer::new(graph, inputs, *options, recall)?;
    let mut origins = Vec::with_capacity(groups.len());
    for (number, group) in groups.iter().enumerate() {
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
    only_users: Option<Vec<Option<u32>>>,
    options: Options,
    branches: Vec<(u32, [Compiled; 2])>,
    /// The last body, for the next.
    spare: Body,
    recall: Recall<'a>,
}

impl<'a> Lowerer<'a> {
    fn new(graph: &'a Graph, inputs: &[Layout], options: Options, recall: Recall<'a>) -> Result<Self> {
        if inputs.len() != graph.inputs.len() {
            let message = format!("{} layouts for {} inputs", inputs.len(), graph.inputs.len());
            return Err(Error::internal("compile", message));
        }
        let mut lowerer = Self {
            graph,
            places: Places::new(graph),
            buffers: Vec::with_capacity(8),
            work: Vec::with_capacity(4),
            only_users: None,
            options,
            branches: Vec::new(),
            spare: Body::new(),
            recall,
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
                if !is_own {
                    place = self.copied(&place, &aval);
                }
            }
            outputs.push(place);
        }
        origins.resize(self.work.len(), SmallVec::new());
        Ok(Program { buffers: self.buffers, work: self.work, origins, outputs, branches: self.branches })
    }

    fn buffer(&mut self, nbytes: usize) -> BufferId {
        self.buffers.push(nbytes);
        BufferId(self.buffers.len() as u32 - 1)
    }

    fn fresh(&mut self, aval: &Aval) -> Place {
        Place { buffer: self.buffer(aval.nbytes()), layout: Layout::row(Shape::from_slice(&aval.shape)) }
    }

    fn group(&mut self, group: &Group) -> Result<()> {
        let Some(&anchor) = group.anchors.first() else { return self.maps(group) };
        let equation = &self.graph.equations[anchor as usize];
        let result = match self.lowering(anchor) {
            Lowering::Reduce { .. } => self.reduce(group),
            Lowering::Scan { op, axis, reverse, exclusive } => self.scan(anchor, op, axis, reverse, exclusive),
            Lowering::Scatter { op, space, .. } => self.scatter(anchor, op, &space, group),
            Lowering::Update { op } => self.update(anchor, op, group),
            Lowering::Library(Library::Matmul) => self.matmul(anchor, group),
            Lowering::Library(Library::Sort { axis, indices }) => self.sort(anchor, axis, indices),
            Lowering::Host => self.host(anchor),
            Lowering::Branch => self.branch(anchor),
            Lowering::Pointwise | Lowering::Call => Err(Error::internal(
                equation.prim.name(),
                "is no anchor of a group: pointwise equations are pulled, calls inlined before",
            )),
        };
        result.map_err(|e| match equation.meta.location.place() {
            Some((file, line)) => e.at(format!("{file}:{line}")),
            None => e,
        })
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
            self.map(&now, &group.shapes)?;
        }
        Ok(())
    }

    /// A kernel over the space of the first of these variables that computes and stores all of them. What is in memory already, as a view or whole, stays there.
    fn map(&mut self, stores: &[Var], shapes: &[Shape]) -> Result<()> {
        let graph = self.graph;
        let stores: SmallVec<[Var; 4]> = small(stores.iter().copied().filter(|&v| self.places.of(graph, v).is_none()));
        let Some(&first) = stores.first() else { return Ok(()) };
        if self.launch_again(&stores) {
            return Ok(());
        }
        let mut body = self.body();
        let space = &self.aval(first).shape;
        let mut splits = self.boundaries(&stores);
        splits.extend(shapes.iter().map(|s| s.as_slice()));
        let at = body.begin(space, &splits);
        let written = self.eval_all(&mut body, &stores, &at, space);
        let nest = Nest::Map { stores: self.store(&mut body, &written) };
        self.launch_noted(body, nest, &stores, [&axes_of(first, 0..space.len()), &[]]);
        Ok(())
    }

    /// Shapes that the loop axes should be split for, so that reshapes between what is computed here stay affine.
    fn boundaries<'b>(&self, stores: &[Var]) -> SmallVec<[&'b [usize]; 4]>
    where
        'a: 'b,
    {
        let mut shapes: SmallVec<[&'b [usize]; 4]> = SmallVec::new();
        for &v in stores {
            let shape: &'b [usize] = &self.graph.avals[v.0 as usize].shape;
            shapes.push(shape);
            let e = &self.graph.equations[self.places.producer(v) as usize];
            if let (true, Some(Atom::Var(input))) = (e.prim.is_view(), e.inputs.first()) {
                shapes.push(&self.graph.avals[input.0 as usize].shape);
            }
        }
        shapes
    }

    /// The loop index of an array of shape `from` as that of one of shape `to`, of as many elements.
    fn reindex(&mut self, body: &mut Body, at: &[Ix], from: &[usize], to: &[usize]) -> Index {
        body.reshape(self.graph, &mut self.places, at, from, to)
    }

    /// Declares the outputs and gives each variable its place.
    fn store(&mut self, body: &mut Body, written: &[(Var, Lane, Index)]) -> Vec<Store> {
        let mut stores = Vec::with_capacity(written.len());
        for (v, lane, at) in written {
            let place = self.fresh(self.aval(*v));
            store_lane(body, Some(*v), &place, *lane, at, &mut stores);
            self.places.set(*v, place);
        }
        stores
    }

    /// An empty body: what the last one had room for, this one need not ask for again.
    fn body(&mut self) -> Body {
        let mut body = std::mem::take(&mut self.spare);
        body.clear(matches!(self.recall, Recall::Note(_)).then(Notes::default));
        body
    }

    fn launch(&mut self, body: Body, nest: Nest) {
        self.launch_noted(body, nest, &[], [&[], &[]]);
    }

    /// A launch that stores these variables and runs over these axes (kept and reduced ones), to be noted if that is wanted.
    fn launch_noted(&mut self, body: Body, nest: Nest, stores: &[Var], axes: [&[Axis]; 2]) {
        let kept = body.loops.len() - nest.reduced() as usize;
        if !body.loops[..kept].contains(&0) {
            let (launch, ending) = finish(&body, nest, false);
            self.note(stores, &body, axes, &launch, ending);
            self.work.push(Work::Launch(launch));
        }
        self.spare = body;
    }

    /// Notes a launch.
    fn note(&mut self, stores: &[Var], body: &Body, axes: [&[Axis]; 2], launch: &Launch, ending: Ending) {
        if let (Recall::Note(recipes), Some(&first)) = (&mut self.recall, stores.first())
            && let Some(recipe) = Recipe::new(self.graph, stores, body, axes, launch, ending)
        {
            recipes.insert(first, recipe);
        }
    }

    /// A launch that stores these variables, as noted; whether there is one.
    fn launch_again(&mut self, stores: &[Var]) -> bool {
        let Some((launch, written)) = self.follow(stores, None) else { return false };
        self.work.push(Work::Launch(launch));
        written.into_iter().for_each(|(v, place)| self.places.set(v, place));
        true
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
                self.launch(body, Nest::Map { stores });
                Ok(place)
            }
        }
    }

    /// Reductions of one space along the same axes, with what they read and what follows from them: as rows, where a result is used at the points that
    /// are reduced or something is stored there.
    fn reduce(&mut self, group: &Group) -> Result<()> {
        let graph = self.graph;
        if group.stores.iter().all(|&v| self.aval(v).size() == 0) {
            // Nothing is computed, and indices of nothing would not tell apart what is.
            for &v in &group.stores {
                let place = self.fresh(self.aval(v));
                self.places.set(v, place);
            }
            return Ok(());
        }
        if self.launch_again(&group.stores) {
            return Ok(());
        }
        let Lowering::Reduce { axes, .. } = self.lowering(group.anchors[0]) else { unreachable!("the caller looked") };
        let space: Shape = self.input_aval(group.anchors[0], 0).shape;
        let is_reduced = |axis: usize| axes.contains(&axis);
        let outer: Shape = small((0..space.len()).filter(|&a| !is_reduced(a)).map(|a| space[a]));
        let inner: Shape = small((0..space.len()).filter(|&a| is_reduced(a)).map(|a| space[a]));
        let mut body = self.body();
        let outer_at = body.begin(&outer, &[]);
        let kept = body.loops.len();
        let inner_at = body.begin(&inner, &[]);
        if body.loops.len() == kept {
            body.loops.push(1);
        }
        let (mut o, mut i) = (outer_at.iter(), inner_at.iter());
        let axis = |axis| if is_reduced(axis) { i.next() } else { o.next() }.expect("as many as axes").clone();
        let at: Index = small((0..space.len()).map(axis));

        let mut accumulators: Vec<Accumulator> = Vec::new();
        let mut results = SmallVec::<[(u32, usize, usize); 2]>::new();
        for &anchor in &group.anchors {
            let Lowering::Reduce { combine, .. } = self.lowering(anchor) else { unreachable!("all anchors reduce") };
            let at = self.reindex(&mut body, &at, &space, &self.input_aval(anchor, 0).shape);
            let lane = body.operand(graph, &mut self.places, anchor, 0, &at);
            let output = self.aval(graph.equations[anchor as usize].outputs[0]).dtype;
            let values = accumulated(&mut body, combine, lane, output).map_err(|why| {
                Error::new(lazuli_ir::ErrorKind::Unsupported, graph.equations[anchor as usize].prim.name(), why)
            })?;
            results.push((anchor, accumulators.len(), values.len()));
            for value in values {
                body.emit.accumulate(value);
                accumulators.push(Accumulator { combine, value });
            }
            self.define_results(&mut body, &accumulators, &results[results.len() - 1..], &outer_at, &outer);
        }
        let at_points = |v: Var| {
            let shape = &graph.avals[v.0 as usize].shape;
            same_points(shape, &space) && !same_points(shape, &outer)
        };
        let (points, rows): (SmallVec<[Var; 4]>, SmallVec<[Var; 4]>) =
            group.stores.iter().copied().partition(|&v| at_points(v));
        let written = self.eval_all(&mut body, &points, &at, &space);
        let point_stores = self.store(&mut body, &written);
        let body_len = body.begin_epilogue(&accumulators);
        self.define_results(&mut body, &accumulators, &results, &outer_at, &outer);
        let written = self.eval_all(&mut body, &rows, &outer_at, &outer);
        let row_stores = self.store(&mut body, &written);
        let epilogue = body.emit.insts[body_len..].to_vec();
        let axes = (body.loops.len() - kept) as u32;
        let nest = match point_stores.is_empty() && !waits(&body.emit.insts[..body_len], &accumulators) {
            true => Nest::Reduce { axes, accumulators, epilogue, stores: row_stores },
            false => Nest::Rows { axes, accumulators, stores: point_stores, epilogue, row_stores },
        };
        match graph.equations[group.anchors[0] as usize].inputs[0] {
            Atom::Var(v) => {
                let [outer, inner] =
                    [false, true].map(|r| axes_of(v, (0..space.len()).filter(|&a| is_reduced(a) == r)));
                self.launch_noted(body, nest, &group.stores, [&outer, &inner]);
            }
            Atom::Lit(_) => self.launch(body, nest),
        }
        Ok(())
    }

    /// Declares the results of reductions: equation, first accumulator and number of accumulators of each.
    fn define_results(
        &mut self,
        body: &mut Body,
        accumulators: &[Accumulator],
        results: &[(u32, usize, usize)],
        at: &[Ix],
        outer: &[usize],
    ) {
        for &(anchor, first, n) in results {
            let v = self.graph.equations[anchor as usize].outputs[0];
            let aval = self.aval(v);
            let lane = reduced(body, accumulators[first].combine, first as u32, n, aval.dtype);
            let at = self.reindex(body, at, outer, &aval.shape);
            body.define(v, at, lane);
        }
    }

    /// Variables at an index of an array of shape `space`, whose points they have.
    fn eval_all(
        &mut self,
        body: &mut Body,
        variables: &[Var],
        at: &[Ix],
        space: &[usize],
    ) -> SmallVec<[(Var, Lane, Index); 4]> {
        let mut written = SmallVec::new();
        for &v in variables {
            let at = self.reindex(body, at, space, &self.aval(v).shape);
            let lane = body.eval(self.graph, &mut self.places, v, &at);
            written.push((v, lane, at));
        }
        written
    }

    fn input_aval(&self, equation: u32, k: usize) -> Aval {
        self.graph.aval(self.graph.equations[equation as usize].inputs[k])
    }

    /// Running combinations: half floats in f32, one stream after the other of a complex sum.
    fn scan(&mut self, anchor: u32, op: ScanOp, axis: usize, reverse: bool, exclusive: bool) -> Result<()> {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let place = self.fresh(aval);
        let order: SmallVec<[usize; 4]> = (0..aval.rank()).filter(|&a| a != axis).chain([axis]).collect();
        let wide = match aval.dtype {
            DType::F16 | DType::BF16 => Some(self.fresh(&Aval::new(DType::F32, aval.shape.clone()))),
            _ => None,
        };
        let streams = if aval.dtype == DType::C64 { 2 } else { 1 };
        if streams == 2 && op != ScanOp::Sum {
            let message = "of complex numbers is not available on this backend: use their real and imaginary parts";
            return Err(Error::new(lazuli_ir::ErrorKind::Unsupported, equation.prim.name(), message));
        }
        for stream in 0..streams {
            let mut body = self.body();
            let extents: Shape = order.iter().map(|&a| aval.shape[a]).collect();
            let outer = body.begin(&extents[..extents.len() - 1], &[]);
            body.loops.push(extents[extents.len() - 1]);
            let scanned = Ix::axis(body.loops.len() as u32 - 1);
            let mut at: Index = outer.clone();
            at.insert(axis, scanned);
            let value = match body.operand(graph, &mut self.places, anchor, 0, &at) {
                Lane::Complex(re, im) => [re, im][stream],
                Lane::Real(x) if wide.is_some() => body.emit.cast(DType::F32, x),
                Lane::Real(x) => body.emit.cast(aval.dtype, x),
            };
            let target = wide.as_ref().unwrap_or(&place);
            let (offset, strides) = body.affine_access(&target.layout, &at, streams as isize);
            let access = Access { buffer: target.buffer, offset: offset + stream as isize, strides, len: 0 };
            let dtype = body.emit.dtype(value);
            let store = body.access(access, dtype, Role::Out);
            self.launch(body, Nest::Scan { op, reverse, exclusive, value, store });
        }
        if let Some(wide) = wide {
            self.convert(&wide, DType::F32, &place, aval.dtype);
        }
        self.places.set(v, place);
        Ok(())
    }

    /// A copy with conversion from one place to another of the same shape.
    fn convert(&mut self, from: &Place, from_dtype: DType, to: &Place, to_dtype: DType) {
        let mut body = self.body();
        let at = body.begin(&from.layout.shape, &[]);
        let lane = body.load(None, from, from_dtype, &at, None);
        let lane = match lane {
            Lane::Real(x) => Lane::Real(body.emit.cast(to_dtype, x)),
            complex => complex,
        };
        let mut stores = Vec::new();
        store_lane(&mut body, None, to, lane, &at, &mut stores);
        self.launch(body, Nest::Map { stores });
    }

    /// Computes input 0 of an equation into `place`.
    fn copy_input(&mut self, anchor: u32, place: &Place, dtype: DType) {
        let (body, nest) = self.input_into(anchor, place, dtype);
        self.launch(body, nest);
    }

    /// A map that computes input 0 of an equation into `place`, row by row.
    fn input_into(&mut self, anchor: u32, place: &Place, dtype: DType) -> (Body, Nest) {
        let graph = self.graph;
        let mut body = self.body();
        let at = body.begin(&place.layout.shape, &[]);
        let lane = body.operand(graph, &mut self.places, anchor, 0, &at);
        let lane = match lane {
            Lane::Real(x) => Lane::Real(body.emit.cast(dtype, x)),
            complex => complex,
        };
        let mut stores = Vec::new();
        store_lane(&mut body, None, place, lane, &at, &mut stores);
        (body, Nest::Map { stores })
    }
}

/// These axes of a variable.
fn axes_of(v: Var, axes: impl Iterator<Item = usize>) -> SmallVec<[Axis; 4]> {
    small(axes.map(|axis| (v, axis)))
}

pub(crate) fn lowering(graph: &Graph, equation: u32) -> Lowering {
    let e = &graph.equations[equation as usize];
    let inputs: SmallVec<[&Aval; 3]> = small(e.inputs.iter().map(|a| graph.aval_of(a)));
    let outputs: SmallVec<[&Aval; 1]> = small(e.outputs.iter().map(|v| &graph.avals[v.0 as usize]));
    e.prim.lowering(&inputs, &outputs)
}

/// Stores a number at an affine index of a place: that of a variable, if it is one's.
fn store_lane(body: &mut Body, v: Option<Var>, place: &Place, lane: Lane, at: &[Ix], stores: &mut Vec<Store>) {
    let parts: SmallVec<[(Part, Value); 2]> = match lane {
        Lane::Real(value) => smallvec![(Part::WHOLE, value)],
        Lane::Complex(re, im) => Part::COMPLEX.into_iter().zip([re, im]).collect(),
    };
    for (part, value) in parts {
        let operand = body.walked(v, place, at, part, body.emit.dtype(value), Role::Out);
        stores.push(Store { operand, value });
    }
}

/// What a reduction accumulates for a number: its parts, in the dtype of the accumulator.
fn accumulated(
    body: &mut Body,
    combine: Combine,
    lane: Lane,
    output: DType,
) -> Result<SmallVec<[Value; 2]>, &'static str> {
    let e = &mut body.emit;
    Ok(match (lane, combine) {
        (Lane::Complex(re, im), Combine::All | Combine::Any) => {
            let (re, im) = (e.cast(DType::Bool, re), e.cast(DType::Bool, im));
            smallvec![e.or(re, im)]
        }
        (Lane::Complex(re, im), Combine::Sum) => smallvec![re, im],
        (Lane::Complex(..), _) => {
            return Err("complex numbers can be summed, and no more: use their real and imaginary parts");
        }
        (Lane::Real(x), Combine::ArgMin | Combine::ArgMax) => {
            let dtype = match e.dtype(x) {
                DType::F16 | DType::BF16 => DType::F32,
                DType::Bool => DType::U8,
                d => d,
            };
            smallvec![e.cast(dtype, x)]
        }
        (Lane::Real(x), _) => {
            let dtype = match output {
                DType::F16 | DType::BF16 => DType::F32,
                d => d,
            };
            smallvec![e.cast(dtype, x)]
        }
    })
}

/// Whether what is accumulated depends on results of accumulators.
fn waits(insts: &[Inst], accumulators: &[Accumulator]) -> bool {
    let mut waits: Vec<bool> = Vec::with_capacity(insts.len());
    for inst in insts {
        let result = matches!(inst, Inst::Reduced(_) | Inst::ReducedIndex(_));
        waits.push(result || inst.uses().iter().any(|v| waits[v.0 as usize]));
    }
    accumulators.iter().any(|a| waits[a.value.0 as usize])
}

/// The number that a reduction gives, from its accumulators `first..first + n`.
fn reduced(body: &mut Body, combine: Combine, first: u32, n: usize, output: DType) -> Lane {
    let e = &mut body.emit;
    let inst = match combine {
        Combine::ArgMin | Combine::ArgMax => Inst::ReducedIndex(first),
        _ => Inst::Reduced(first),
    };
    let value = e.push(inst);
    if n == 2 {
        return Lane::Complex(value, e.push(Inst::Reduced(first + 1)));
    }
    Lane::Real(e.cast(output, value))
}
