//! Which equations become one kernel.
//!
//! The graph is walked once, from its end to its beginning. When an equation is reached, all kernels that need its result are known, and with each of them the
//! *class* of indices at which it is needed there: those of the kernel's loop along all axes (so that the kernel could store the value as well), along some of them
//! (behind a broadcast; those that a reduction keeps, above all), or others (behind a transpose, a gather). From that follows where it is computed:
//!
//! - **pulled** into every kernel that needs it: views always; what only one kernel needs, unless that would compute much more often what is not
//!   cheap; cheap values that several kernels need, where computing them again moves fewer bytes than storing and loading them;
//! - **stored** by a kernel that needs it at its own indices and that no other user precedes, or by a new kernel.
//!
//! Reductions, scans, scatters, updates and library calls are *anchors*: each begins a kernel, but that reductions of one space join, and that a reduction joins the
//! map that consumes it: at every point of its result (its epilogue), or at every point of what it reduces, where a row of that stays in the cache ([`loops`]).
//! What is joined from parts is computed part by part, where a map needs it at its own points, and stored for all others.
//! A matrix product joins the map that consumes it at every point of its result, too, and so do an update of a slice and one at computed positions, of a few
//! elements or of whole rows.
//!
//! Every kernel has a *height*, above that of all kernels that read what it stores; only kernels of one height are merged. So no kernel ever waits
//! for itself. A kernel has any number of operands, and about [`MOST_INSTRUCTIONS`] instructions; what would exceed them is split, without a word.
//!
//! Whatever is decided here, results are the same: see [`crate::lower`].

mod classes;
mod cost;
mod loops;
mod merge;
mod order;
mod points;
mod product;
mod pull;
mod reads;
mod schedule;

use crate::lower::lowering;
use classes::{Class, Other};
use lazuli_ir::prim::Library;
use lazuli_ir::{Atom, Effect, Equation, Graph, Lowering, Result, Shape, Var};
use lazuli_kernel::ScatterOp;
use lazuli_kernel::hash::Map;
use lazuli_kernel::interrupt::poll_at;
use loops::Loop;
use points::regroups;
use reads::Reads;
use schedule::boundaries;
pub(crate) use schedule::{Group, Schedule, apart};
use smallvec::SmallVec;

/// The most instructions of one kernel: what it computes and uses later lies on the stack of the thread that runs it, 64 bytes each.
pub(crate) const MOST_INSTRUCTIONS: u32 = 4096;

/// Points of a loop that takes less time than its launch.
const SMALL: usize = 4096;
/// The same for views, which cost nothing.
const MOST_VIEWS: usize = 16;

/// Groups the equations of a graph without calls, within `regions` if there are any.
///
/// # Errors
/// If the user interrupts, as for all stages over many equations.
pub(crate) fn fuse(graph: &Graph, regions: &[u32]) -> Result<Schedule> {
    let lowerings: Vec<Lowering> = (0..graph.equations.len() as u32).map(|i| lowering(graph, i)).collect();
    let mut fuser = Fuser::new(graph, regions, &lowerings);
    for i in (0..graph.equations.len()).rev() {
        poll_at(i)?;
        fuser.equation(i as u32);
    }
    fuser.merge_siblings();
    Ok(order::ordered(fuser))
}

/// A value is computed in this kernel, at these indices.
#[derive(Debug, Clone, Copy)]
struct Placement {
    kernel: u32,
    class: Class,
    /// Instructions spent so far on computing more than once.
    spent: u32,
    /// It goes into what is computed along a row, so that reductions behind it have to be done first.
    along_row: bool,
}

#[derive(Debug)]
struct Kernel {
    /// What it runs over; none if it takes no more stores.
    nest: Option<Loop>,
    /// Numbers of elements, counted from the end, at which the loop axes are split.
    boundaries: SmallVec<[usize; 4]>,
    height: u32,
    region: u32,
    stream: u32,
    /// It is the epilogue of a matrix product, or follows a write into a part of an array: a map whose loop is that of the result.
    is_epilogue: bool,
    instructions: u32,
    /// Variables needed that are not computed here.
    reads: Reads,
    group: Group,
}

impl Kernel {
    /// Whether it can store what it needs at these indices.
    fn stores_at(&self, class: Class) -> bool {
        match (&self.nest, class) {
            (Some(nest), Class::On(mask)) => {
                Some(mask) == nest.kept || mask == nest.axes.all() && (nest.kept.is_none() || nest.is_row)
            }
            _ => false,
        }
    }
    fn is_host(&self, graph: &Graph) -> bool {
        self.group.anchors.iter().any(|&i| graph.equations[i as usize].outputs.is_empty())
    }
    fn is_map(&self) -> bool {
        self.nest.as_ref().is_some_and(|nest| nest.kept.is_none())
    }
}

struct Fuser<'a> {
    graph: &'a Graph,
    regions: &'a [u32],
    /// Of each equation.
    lowerings: &'a [Lowering],
    /// Equations that read each variable: `users[starts[v]..starts[v + 1]]`.
    starts: Vec<u32>,
    users: Vec<u32>,
    producers: Vec<u32>,
    kernels: Vec<Kernel>,
    /// A kernel that was merged into another, and which.
    merged: Vec<u32>,
    /// Of each equation.
    placements: Vec<SmallVec<[Placement; 1]>>,
    /// Of each equation: it is computed point by point. What writes a part of an array may be, on the way to its users.
    pointwise: Vec<bool>,
    /// Of each variable: it has to lie in memory.
    stored: Vec<bool>,
    /// Of each variable: the least height of the kernel that stores it.
    floors: Vec<u32>,
    /// Of each variable: the kernel that stores it, so far as there is one.
    writers: Vec<u32>,
    /// The class that an index of a class becomes for an operand of another shape.
    classes: Map<(Class, u32, Shape), u32>,
    /// Of each class of other indices.
    others: Vec<Other>,
    reasons: Vec<(Var, &'static str)>,
    last_effect: u32,
    /// Whether anything reads what an equation with an effect gives, so that others wait for effects.
    waits_for_effects: bool,
}

/// Producer of an input of the graph.
const NONE: u32 = u32::MAX;
/// In place of a user: classes of a map that became part of a reduction.
const LIFTED: u32 = u32::MAX - 1;

impl<'a> Fuser<'a> {
    fn new(graph: &'a Graph, regions: &'a [u32], lowerings: &'a [Lowering]) -> Self {
        let n = graph.avals.len();
        let mut starts = vec![0u32; n + 1];
        let mut producers = vec![NONE; n];
        for (i, e) in graph.equations.iter().enumerate() {
            operands(e).for_each(|v| starts[v.0 as usize + 1] += 1);
            e.outputs.iter().for_each(|v| producers[v.0 as usize] = i as u32);
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut users = vec![0; starts[n] as usize];
        for (i, e) in graph.equations.iter().enumerate() {
            for v in operands(e) {
                users[next[v.0 as usize] as usize] = i as u32;
                next[v.0 as usize] += 1;
            }
        }
        let mut stored = vec![false; n];
        for a in &graph.outputs {
            if let Atom::Var(v) = a {
                stored[v.0 as usize] = true;
            }
        }
        Self {
            graph,
            regions,
            lowerings,
            starts,
            users,
            producers,
            kernels: Vec::new(),
            merged: Vec::new(),
            placements: graph.equations.iter().map(|_| SmallVec::new()).collect(),
            pointwise: lowerings.iter().map(|lowering| *lowering == Lowering::Pointwise).collect(),
            stored,
            floors: vec![0; n],
            writers: vec![NONE; n],
            classes: Map::default(),
            others: Vec::new(),
            reasons: Vec::new(),
            last_effect: 0,
            waits_for_effects: graph
                .equations
                .iter()
                .any(|e| e.meta.effect == Effect::Ordered && !e.outputs.is_empty()),
        }
    }

    fn find(&self, mut kernel: u32) -> u32 {
        while self.merged[kernel as usize] != kernel {
            kernel = self.merged[kernel as usize];
        }
        kernel
    }

    fn kernel(&self, kernel: u32) -> &Kernel {
        &self.kernels[kernel as usize]
    }

    fn shape(&self, v: Var) -> &'a Shape {
        let graph: &'a Graph = self.graph;
        graph.shape_of(v)
    }

    /// Whether the kernel may compute an equation.
    fn is_near(&self, equation: u32, kernel: u32) -> bool {
        let k = self.kernel(kernel);
        let region = self.regions.get(equation as usize).copied().unwrap_or(0);
        k.region == region && k.stream == self.graph.equations[equation as usize].meta.stream
    }

    fn equation(&mut self, i: u32) {
        let graph: &'a Graph = self.graph;
        let e = &graph.equations[i as usize];
        if e.meta.effect == Effect::Ordered {
            let floor = self.last_effect + 1;
            e.outputs.iter().for_each(|v| self.require(*v, floor, "it has an effect"));
        }
        let lowerings: &'a [Lowering] = self.lowerings;
        match &lowerings[i as usize] {
            Lowering::Pointwise if e.prim.is_view() => self.view(i, e),
            Lowering::Pointwise => self.pointwise(i, e),
            Lowering::Reduce { axes, .. } => self.reduce(i, e, axes),
            Lowering::Library(Library::Matmul) => self.product(i, e),
            &Lowering::Update { op } if combines_by_parts(graph, e, op) && self.is_passed_on(e.outputs[0]) => {
                self.pointwise[i as usize] = true;
                self.pointwise(i, e);
            }
            Lowering::Scatter { op: ScatterOp::Assign, space, .. } => self.write(i, e, space),
            Lowering::Scatter { space, run, .. } if !graph.avals[e.outputs[0].0 as usize].dtype.is_complex() => {
                self.combine(i, e, space, *run)
            }
            &Lowering::Update { op } if combines_by_parts(graph, e, op) => match e.inputs[1] {
                Atom::Var(part) => self.write(i, e, self.shape(part)),
                Atom::Lit(_) => self.write(i, e, &[]),
            },
            Lowering::Host => self.host(i, e),
            other => {
                self.closed(i, e);
                self.keep(e, other);
            }
        }
        if e.meta.effect == Effect::Ordered {
            let heights = self.placements[i as usize].iter().map(|p| self.kernel(p.kernel).height);
            self.last_effect = heights.max().unwrap_or(self.last_effect);
        }
    }

    /// The variable must lie in memory before any kernel below this height runs.
    fn require(&mut self, v: Var, floor: u32, why: &'static str) {
        let n = v.0 as usize;
        self.floors[n] = self.floors[n].max(floor);
        if !self.stored[n] {
            self.stored[n] = true;
            if self.producers[n] != NONE {
                self.reasons.push((v, why));
            }
        }
    }

    /// Notes why what an anchor by itself gives lies in memory.
    fn keep(&mut self, e: &Equation, lowering: &Lowering) {
        let why = match lowering {
            Lowering::Scan { .. } | Lowering::Recurrence { .. } => "a running combination stores it",
            Lowering::Scatter { .. } | Lowering::Update { .. } => "it is updated in memory",
            _ => return,
        };
        self.note(e.outputs[0], why);
    }

    /// Notes why a variable lies in memory that others read and that need not.
    fn note(&mut self, v: Var, why: &'static str) {
        if !self.stored[v.0 as usize] && self.starts[v.0 as usize] < self.starts[v.0 as usize + 1] {
            self.reasons.push((v, why));
        }
    }

    fn is_pointwise(&self, equation: u32) -> bool {
        self.pointwise[equation as usize]
    }

    /// Whether nobody wants a variable in memory: all its users compute with it point by point, or combine it.
    fn is_passed_on(&self, v: Var) -> bool {
        let users = &self.users[self.starts[v.0 as usize] as usize..self.starts[v.0 as usize + 1] as usize];
        let passes_on = |&u: &u32| {
            let of_points = matches!(self.lowerings[u as usize], Lowering::Pointwise | Lowering::Reduce { .. });
            of_points && !self.graph.equations[u as usize].prim.is_view()
        };
        !self.stored[v.0 as usize] && !users.is_empty() && users.iter().all(passes_on)
    }

    /// Computes an equation in a kernel.
    fn place(&mut self, i: u32, p: Placement, cost: u32) {
        let graph: &'a Graph = self.graph;
        let e = &graph.equations[i as usize];
        let kernel = &mut self.kernels[p.kernel as usize];
        for v in &e.outputs {
            kernel.reads.remove(*v);
        }
        kernel.reads.extend(operands(e));
        kernel.instructions += cost;
        if kernel.group.members.last() != Some(&i) {
            kernel.group.members.push(i);
        }
        self.placements[i as usize].push(p);
    }

    /// Stores a variable in a kernel.
    fn store(&mut self, kernel: u32, v: Var) {
        self.kernels[kernel as usize].group.stores.push(v);
        self.writers[v.0 as usize] = kernel;
    }

    /// Whether a kernel has room for an equation of this cost.
    fn has_room(&self, kernel: u32, cost: u32) -> bool {
        self.kernel(kernel).instructions + cost <= MOST_INSTRUCTIONS
    }

    fn new_kernel(&mut self, i: u32, nest: Option<Loop>, space: &Shape, height: u32) -> u32 {
        let id = self.kernels.len() as u32;
        self.merged.push(id);
        self.kernels.push(Kernel {
            nest,
            boundaries: boundaries(space),
            height,
            region: self.regions.get(i as usize).copied().unwrap_or(0),
            stream: self.graph.equations[i as usize].meta.stream,
            is_epilogue: false,
            instructions: 0,
            reads: Reads::default(),
            group: Group::default(),
        });
        id
    }

    fn is_input(&self, v: Var) -> bool {
        self.producers[v.0 as usize] == NONE
    }

    /// Whether a variable lies in memory whatever else is decided.
    fn is_stored_anyway(&self, v: Var) -> bool {
        let producer = self.producers[v.0 as usize];
        producer == NONE || self.stored[v.0 as usize] || !self.is_pointwise(producer)
    }

    fn stores_at(&self, d: &Placement) -> bool {
        self.kernel(d.kernel).stores_at(d.class)
    }

    /// The height of the highest kernel that needs a variable in memory, 0 if none does.
    fn height_for(&self, v: Var, demands: &[Placement]) -> u32 {
        let heights = demands.iter().map(|d| self.kernel(d.kernel).height);
        heights.max().unwrap_or(0).max(self.floors[v.0 as usize])
    }

    /// The height of a new kernel that stores a variable.
    fn above(&self, v: Var, demands: &[Placement]) -> u32 {
        let heights = demands.iter().map(|d| self.kernel(d.kernel).height + 1);
        heights.max().unwrap_or(0).max(self.floors[v.0 as usize])
    }

    /// A reduction joins the highest kernels that need its result if it can be there in time for all of what they do; otherwise it begins one.
    fn reduce(&mut self, i: u32, e: &Equation, axes: &[usize]) {
        let v = e.outputs[0];
        let (space, itemsize) = match e.inputs[0] {
            Atom::Var(u) => (self.shape(u).clone(), self.graph.avals[u.0 as usize].dtype.itemsize()),
            Atom::Lit(s) => (Shape::new(), s.dtype.itemsize()),
        };
        let nest = Loop::reduction(&space, axes, itemsize);
        let demands = self.demands(v);
        self.raise_over_host(v, &demands, |f, d| f.takes_row(d, &nest));
        let joined = self.join_rows(&demands, self.height_for(v, &demands), i, &nest);
        let own = Class::On(nest.axes.all());
        let kernel = match joined {
            Some(kernel) => kernel,
            None => self.new_kernel(i, Some(nest), self.shape(v), self.above(v, &demands)),
        };
        let read_elsewhere = demands.iter().any(|d| self.find(d.kernel) != kernel);
        if self.stored[v.0 as usize] || read_elsewhere || joined.is_none() {
            if joined.is_none() && !demands.is_empty() && !self.stored[v.0 as usize] {
                self.reasons.push((v, "it is needed at other points than the reduction gives"));
            }
            self.store(kernel, v);
        }
        self.kernels[kernel as usize].group.anchors.push(i);
        self.place(i, Placement { kernel, class: own, spent: 0, along_row: false }, 1);
    }

    /// A call of the host: it reads what lies in memory, and nothing waits for it but the effects that follow.
    fn host(&mut self, i: u32, e: &Equation) {
        let height = self.last_effect + 1;
        let kernel = self.new_kernel(i, None, &Shape::new(), height);
        operands(e).for_each(|v| self.require(v, height + 1, "the host reads it"));
        self.kernels[kernel as usize].group.anchors.push(i);
        self.place(i, Placement { kernel, class: Class::On(0), spent: 0, along_row: false }, 1);
    }

    /// An anchor by itself.
    fn closed(&mut self, i: u32, e: &Equation) {
        let mut height = if e.meta.effect == Effect::Ordered { self.last_effect + 1 } else { 0 };
        for &v in &e.outputs {
            let demands = self.demands(v);
            height = height.max(self.above(v, &demands));
        }
        let kernel = self.new_kernel(i, None, &Shape::new(), height);
        let reader = match self.lowerings[i as usize] {
            Lowering::Library(_) => Some("a library routine reads it"),
            Lowering::Branch => Some("a branch reads it"),
            _ => None,
        };
        if let Some(reader) = reader {
            operands(e).for_each(|u| self.require(u, height + 1, reader));
        }
        self.kernels[kernel as usize].group.anchors.push(i);
        e.outputs.iter().for_each(|&v| self.store(kernel, v));
        self.place(i, Placement { kernel, class: Class::On(0), spent: 0, along_row: false }, 1);
    }
}

/// Whether an update can be computed point by point: complex numbers can be assigned and added so.
fn combines_by_parts(graph: &Graph, e: &Equation, op: ScatterOp) -> bool {
    matches!(op, ScatterOp::Assign | ScatterOp::Add) || !graph.avals[e.outputs[0].0 as usize].dtype.is_complex()
}

/// The variables that an equation reads, each once.
fn operands(e: &Equation) -> impl Iterator<Item = Var> + '_ {
    let inputs = &e.inputs;
    inputs.iter().enumerate().filter_map(move |(k, a)| match a {
        Atom::Var(v) if !inputs[..k].contains(a) => Some(*v),
        _ => None,
    })
}

/// Whether shapes agree but for axes of extent 1.
pub(crate) fn same_points(a: &[usize], b: &[usize]) -> bool {
    a == b || a.iter().filter(|&&n| n != 1).eq(b.iter().filter(|&&n| n != 1))
}
