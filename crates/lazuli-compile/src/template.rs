//! What one compilation of a graph leaves for the same graph with other extents: a shapeless function is compiled for its first shapes, and for others of the same
//! [pattern](crate::pattern) along a shorter road.
//!
//! Taken over are the schedule, the kernels whose indices are plain (see [`crate::lower`], "again") and which of them run side by side; where things lie is planned anew.

use crate::beside::{Joined, arrange, beside};
use crate::fuse::Schedule;
use crate::lower::{Program, Recall, Recipes, Work, lower};
use crate::pattern::Pattern;
use crate::pipeline::{Compiled, Options, placed};
use crate::vectors::as_sums;
use lazuli_ir::{Graph, Inlined, Result};
use lazuli_kernel::{Kernel, Layout};
use std::sync::Arc;

/// A compilation that others of the same graph follow.
#[derive(Debug)]
pub struct Template {
    pattern: Pattern,
    schedule: Arc<Schedule>,
    /// How the inputs lay.
    inputs: Vec<Layout>,
    recipes: Recipes,
    /// Of each entry of the work its kernel, if it is a launch.
    kernels: Kernels,
    joined: Joined,
}

type Kernels = Vec<Option<Arc<Kernel>>>;

/// Notes a template while a graph is compiled.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub recipes: Recipes,
    pub kernels: Kernels,
}

impl Draft {
    pub fn finish(self, graph: &Graph, inputs: &[Layout], schedule: Arc<Schedule>, joined: Joined) -> Template {
        let Draft { recipes, kernels } = self;
        Template { pattern: Pattern::of(graph), schedule, inputs: inputs.to_vec(), recipes, kernels, joined }
    }
}

/// Compiles a graph as one of these templates has it: they are of the same graph for other inputs, the same but for its extents ([`Graph::rebind`]). None if its extents are of a
/// pattern that none of them has.
pub fn compile_like(
    templates: &[Template],
    graph: &Graph,
    inputs: &[Layout],
    options: &Options,
) -> Result<Option<Compiled>> {
    let Inlined { graph, .. } = graph.inline_calls()?;
    let graph = as_sums(graph);
    // What is a multiple of what is no part of a pattern.
    let fits = |template: &&Template| template.pattern.fits(&graph) && template.schedule.can_split(&graph);
    let Some(template) = templates.iter().rev().find(fits) else { return Ok(None) };
    let recall = Recall::Follow(&template.recipes);
    let groups = &template.schedule.groups;
    let mut program = lower(&graph, inputs, groups, options, false, recall)?;
    // Which views need a copy depends on how inputs lie, and with that what is computed in which order.
    if cfg!(debug_assertions) && template.inputs.iter().zip(inputs).all(|(was, now)| lies_alike(was, now)) {
        let anew = lower(&graph, inputs, groups, options, false, Recall::Nothing)?;
        assert_eq!(format!("{program:?}"), format!("{anew:?}"), "what follows a template");
    }
    if kernels(&program) == template.kernels {
        arrange(&mut program, &template.joined);
    } else {
        beside(&mut program);
    }
    Ok(Some(placed(program, graph, template.schedule.clone(), &mut |_| {})))
}

/// Whether two inputs lie in the same way: row by row, or in the very same one.
fn lies_alike(a: &Layout, b: &Layout) -> bool {
    let is_row = |layout: &Layout| *layout == Layout::row(layout.shape.clone());
    a == b || is_row(a) && is_row(b)
}

/// Of each entry of a program's work its kernel, if it is a launch.
pub(crate) fn kernels(program: &Program) -> Kernels {
    let kernel = |work: &Work| if let Work::Launch(launch) = work { Some(launch.kernel.clone()) } else { None };
    program.work.iter().map(kernel).collect()
}
