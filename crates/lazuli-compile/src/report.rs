//! What a compilation did, for people. Nothing is written out until it is asked for.

use crate::fuse::{Group, Schedule};
use crate::pipeline::Compiled;
use lazuli_ir::{Graph, Location, Lowering, Var};
use lazuli_kernel::hash::{Map, Set};
use smallvec::SmallVec;
use std::sync::Arc;

/// The stages of one compilation: the graph as it was lowered, and which of its equations became one kernel.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// None where no stage changed the graph that was given.
    pub(crate) graph: Option<Graph>,
    pub(crate) schedule: Arc<Schedule>,
    /// Of each step of the plan, the numbers of the groups that it does; none for copies into outputs.
    pub(crate) origins: Vec<SmallVec<[u32; 1]>>,
    /// Of each choice its equation, and what its branches were compiled to.
    pub(crate) branches: Vec<(u32, [Compiled; 2])>,
}

/// Who does the work of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FusedKind {
    /// Generated code.
    Kernel,
    /// A library routine.
    Library,
    /// The host: an effect.
    Host,
    /// One of two plans.
    Branch,
}

impl FusedKind {
    fn of(lowering: &Lowering) -> FusedKind {
        match lowering {
            Lowering::Library(_) => FusedKind::Library,
            Lowering::Host => FusedKind::Host,
            Lowering::Branch => FusedKind::Branch,
            _ => FusedKind::Kernel,
        }
    }
    pub(crate) fn of_group(graph: &Graph, group: &Group) -> FusedKind {
        let is_view = |&i: &u32| graph.equations[i as usize].prim.is_view();
        match group.anchors.first() {
            // A product with an epilogue is a kernel.
            Some(anchor) if group.members.iter().all(|i| i == anchor || is_view(i)) => {
                FusedKind::of(&crate::lower::lowering(graph, *anchor))
            }
            _ => FusedKind::Kernel,
        }
    }
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            FusedKind::Kernel => "kernel",
            FusedKind::Library => "library call",
            FusedKind::Host => "host call",
            FusedKind::Branch => "branch",
        }
    }
}

/// One kernel or library call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fused {
    /// Names of the operations computed in it, in order.
    pub ops: Vec<&'static str>,
    /// How many groups of such operations run side by side.
    pub times: usize,
    /// Where in the user's program they come from, each place once, in order.
    pub locations: Vec<Location>,
    /// Whose work it is.
    pub kind: FusedKind,
    /// The equations computed in it, by number, in order.
    pub members: Vec<u32>,
    /// What it leaves in memory.
    pub stores: Vec<Var>,
    /// The steps of the plan that do it, by number: none if it has nothing to do for these shapes.
    pub steps: Vec<usize>,
}

impl Report {
    /// The graph as it was lowered: after simplification, calls inlined. `given` is the graph that was compiled.
    pub fn graph<'a>(&'a self, given: &'a Graph) -> &'a Graph {
        self.graph.as_ref().unwrap_or(given)
    }

    /// The kernels and what is computed in each. Groups of views alone are left out: they move no data.
    pub fn kernels(&self, given: &Graph) -> Vec<Fused> {
        let graph = self.graph(given);
        let mut steps: Vec<Vec<usize>> = vec![Vec::new(); self.schedule.groups.len()];
        for (step, groups) in self.origins.iter().enumerate() {
            groups.iter().for_each(|&g| steps[g as usize].push(step));
        }
        let mut kernels: Vec<Fused> = Vec::new();
        let mut by_steps: Map<&[usize], usize> = Map::default();
        for (number, group) in self.schedule.groups.iter().enumerate() {
            let members = || group.members.iter().map(|&i| &graph.equations[i as usize]);
            if members().all(|e| e.prim.is_view()) {
                continue;
            }
            let mut locations: Vec<Location> = Vec::new();
            for e in members() {
                if e.meta.location != Location::UNKNOWN && !locations.contains(&e.meta.location) {
                    locations.push(e.meta.location);
                }
            }
            let steps = &steps[number];
            let first = *by_steps.entry(steps).or_insert(kernels.len());
            if let (false, Some(joined)) = (steps.is_empty(), kernels.get_mut(first)) {
                joined.times += 1;
                joined.members.extend(&group.members);
                joined.stores.extend(&group.stores);
                locations.retain(|at| !joined.locations.contains(at));
                joined.locations.extend(locations);
                continue;
            }
            kernels.push(Fused {
                ops: members().map(|e| e.prim.name()).collect(),
                times: 1,
                locations,
                kind: FusedKind::of_group(graph, group),
                members: group.members.clone(),
                stores: group.stores.to_vec(),
                steps: steps.clone(),
            });
        }
        kernels
    }

    /// What the two branches of a choice were compiled to, and their graphs: of the equation of this number.
    pub fn branches<'a>(&'a self, given: &'a Graph, equation: u32) -> Option<[(&'a Graph, &'a Compiled); 2]> {
        let (_, compiled) = self.branches.iter().find(|(i, _)| *i == equation)?;
        let [a, b] = self.graph(given).equations[equation as usize].prim.bodies() else { return None };
        Some([(a, &compiled[0]), (b, &compiled[1])])
    }

    /// Variables that lie in memory between two kernels, with the reason and the place where they are computed.
    pub fn boundaries(&self, given: &Graph) -> Vec<(Var, &'static str, Location)> {
        let graph = self.graph(given);
        let Schedule { groups, reasons } = &*self.schedule;
        let memory = Memory::new(graph, groups);
        // Of each variable the first group that reads it, and whether others do.
        let mut readers: Map<Var, (usize, bool)> = Map::default();
        for (g, group) in groups.iter().enumerate() {
            for v in memory.reads(group).0 {
                readers.entry(v).and_modify(|(_, others)| *others = true).or_insert((g, false));
            }
        }
        // The first reason that was noted is the one.
        let reasons: Map<Var, &'static str> = reasons.iter().rev().copied().collect();
        let results: Set<Var> = graph.outputs.iter().filter_map(|a| a.var()).collect();
        let is_plain = groups.iter().all(|g| g.members.len() == 1);
        let mut found = Vec::new();
        for (g, group) in groups.iter().enumerate() {
            let is_between = |v: &Var| readers.get(v).is_some_and(|&(first, others)| others || first != g);
            for &v in group.stores.iter().filter(|v| is_between(v)) {
                let why = reasons.get(&v).copied().unwrap_or_else(|| match FusedKind::of_group(graph, group) {
                    FusedKind::Library => "a library routine stores it",
                    FusedKind::Branch => "a branch gives it",
                    FusedKind::Host | FusedKind::Kernel if is_plain => "nothing is fused",
                    FusedKind::Host | FusedKind::Kernel if results.contains(&v) => "it is a result as well",
                    FusedKind::Host | FusedKind::Kernel => "a kernel that it could not join needs it too",
                });
                let place = memory.producers.get(&v).map(|&i| graph.equations[i as usize].meta.location);
                found.push((v, why, place.unwrap_or_default()));
            }
        }
        found
    }
}

/// What lies in memory while the groups of a graph run.
pub(crate) struct Memory<'a> {
    graph: &'a Graph,
    pub stored: Set<Var>,
    /// Of each variable the equation that gives it.
    pub producers: Map<Var, u32>,
}

impl<'a> Memory<'a> {
    pub fn new(graph: &'a Graph, groups: &[Group]) -> Memory<'a> {
        let equations = graph.equations.iter().zip(0..);
        Memory {
            graph,
            stored: groups.iter().flat_map(|group| group.stores.iter().copied()).collect(),
            producers: equations.flat_map(|(e, i)| e.outputs.iter().map(move |&v| (v, i))).collect(),
        }
    }
    /// The view that gives a variable which is not in memory, as views need not be.
    pub fn view(&self, v: Var) -> Option<u32> {
        self.producers.get(&v).copied().filter(|_| !self.stored.contains(&v))
    }
    /// What a group reads, and through which views that are not among its members.
    pub fn reads(&self, group: &Group) -> (Vec<Var>, Vec<u32>) {
        let variables = |i: &u32| self.graph.equations[*i as usize].inputs.iter().rev().filter_map(|a| a.var());
        let outputs = |i: &u32| self.graph.equations[*i as usize].outputs.iter().copied();
        let (mut reads, mut views) = (Vec::new(), Vec::new());
        let mut seen: Set<Var> = group.members.iter().flat_map(outputs).collect();
        let mut todo: Vec<Var> = group.members.iter().rev().flat_map(variables).collect();
        while let Some(v) = todo.pop() {
            if !seen.insert(v) {
                continue;
            }
            match self.view(v) {
                Some(i) => {
                    views.push(i);
                    todo.extend(variables(&i));
                }
                None => reads.push(v),
            }
        }
        (reads, views)
    }
}
