//! What a compilation did, for people. Nothing is written out until it is asked for.

use crate::fuse::Schedule;
use lazuli_ir::{Graph, Location, Lowering, Var};
use lazuli_kernel::{Plan, Step};
use std::fmt::Write;

/// The stages of one compilation: the graph as it was lowered, and which of its equations became one kernel.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// None where no stage changed the graph that was given.
    pub(crate) graph: Option<Graph>,
    pub(crate) schedule: Schedule,
}

/// One kernel or library call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fused {
    /// Names of the operations computed in it, in order.
    pub ops: Vec<&'static str>,
    /// Where in the user's program they come from, each place once, in order.
    pub locations: Vec<Location>,
    /// Whether it is a library routine's work.
    pub library: bool,
}

impl Report {
    /// The graph as it was lowered: after simplification, calls inlined. `given` is the graph that was compiled.
    pub fn graph<'a>(&'a self, given: &'a Graph) -> &'a Graph {
        self.graph.as_ref().unwrap_or(given)
    }

    /// The groups of equations that became kernels. Groups of views alone are left out: they move no data.
    pub fn kernels(&self, given: &Graph) -> Vec<Fused> {
        let graph = self.graph(given);
        let mut kernels = Vec::new();
        for group in &self.schedule.groups {
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
            let is_library = |&i: &u32| matches!(crate::lower::lowering(graph, i), Lowering::Library(_));
            kernels.push(Fused {
                ops: members().map(|e| e.prim.name()).collect(),
                locations,
                library: group.anchors.iter().any(is_library),
            });
        }
        kernels
    }

    /// Variables that had to be stored between kernels, with the reason and the place where they are computed.
    pub fn boundaries(&self, given: &Graph) -> Vec<(Var, &'static str, Location)> {
        let graph = self.graph(given);
        let place = |v: Var| {
            let e = graph.equations.iter().find(|e| e.outputs.contains(&v));
            e.map_or(Location::UNKNOWN, |e| e.meta.location)
        };
        self.schedule.reasons.iter().rev().map(|&(v, why)| (v, why, place(v))).collect()
    }

    /// All of it as text: a summary, the kernels, what separates them, and the plan.
    pub fn explain(&self, given: &Graph, plan: &Plan) -> String {
        let kernels = self.kernels(given);
        let fused: usize = kernels.iter().filter(|k| !k.library).map(|k| k.ops.len()).sum();
        let calls = kernels.iter().filter(|k| k.library).count();
        let mut text = String::new();
        let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}{}", if one.ends_with("ch") { "es" } else { "s" }) };
        let _ = write!(text, "{}, {} in them", plural(kernels.len() - calls, "kernel"), plural(fused, "op"));
        let launches = plan.steps.iter().filter(|s| matches!(s, Step::Launch { .. })).count();
        let _ = write!(text, ", run by {}", plural(launches, "launch"));
        let _ = writeln!(text, ", {}, {} bytes moved", plural(calls, "library call"), bytes_moved(plan));
        for (i, kernel) in kernels.iter().enumerate() {
            let _ = write!(text, "  {i}: {}", kernel.ops.join(" "));
            let at: Vec<String> = kernel.locations.iter().map(|l| l.to_string()).collect();
            let _ = writeln!(text, "{}{}", if at.is_empty() { "" } else { "  from " }, at.join(", "));
        }
        for (v, why, at) in self.boundaries(given) {
            let at = if at == Location::UNKNOWN { String::new() } else { format!(" ({at})") };
            let _ = writeln!(text, "  v{}{at} is stored: {why}", v.0);
        }
        let _ = writeln!(text, "arena of {} bytes", plan.arena);
        text
    }
}

/// Bytes that the kernels of a plan read and write, each operand once, library calls left out: what fusing saves.
pub fn bytes_moved(plan: &Plan) -> usize {
    let mut total = 0;
    for step in &plan.steps {
        match step {
            Step::Launch { kernel, bindings } => {
                let args = bindings.iter().flat_map(|b| b.args.iter().map(|a| (&b.extents, a)).zip(&kernel.operands));
                for ((extents, arg), operand) in args {
                    let walked = extents.iter().zip(&arg.strides).filter(|(_, s)| **s != 0).map(|(n, _)| n);
                    let elements = if arg.len > 0 { arg.len } else { walked.product() };
                    total += elements * operand.dtype.itemsize();
                }
            }
            Step::Copy { nbytes, .. } => total += 2 * nbytes,
            Step::Call(_) => {}
        }
    }
    total
}
