//! The road, on one page.

use crate::beside::{Joined, beside};
use crate::fuse::{Schedule, apart, fuse};
use crate::lower::{Program, Recall, lower};
use crate::memory::{self, Arrangement, Assignment};
use crate::report::Report;
use crate::simplify::simplify;
use crate::template::{Draft, Template, compile_like, kernels};
use crate::vectors::as_sums;
use lazuli_ir::{Graph, Inlined, Result};
use lazuli_kernel::{Layout, Plan};
use std::borrow::Cow;
use std::sync::Arc;

/// Which stages run. `eval` of lazy arrays has them off, a compiled function on; either way the results are the same, bit for bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    pub simplify: bool,
    pub fuse: bool,
}

impl Options {
    /// Every equation as it stands.
    pub const EVAL: Options = Options { simplify: false, fuse: false };
    pub const COMPILE: Options = Options { simplify: true, fuse: true };
}

/// The memory that an output lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputSource {
    /// A view of an input, or the input itself: no step writes it.
    Input(usize),
    /// Output number `n` of the plan; several outputs of the graph may lie in one.
    Output(usize),
}

/// Where an output of the graph lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputInfo {
    pub source: OutputSource,
    pub layout: Layout,
}

/// A graph made ready for a backend.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub plan: Plan,
    /// One for each output of the graph.
    pub outputs: Arc<[OutputInfo]>,
    pub report: Report,
}

/// Compiles a graph for inputs that lie in their buffers as these layouts say.
pub fn compile(graph: &Graph, inputs: &[Layout], options: &Options) -> Result<Compiled> {
    compile_watched(graph, inputs, options, &mut |_| {})
}

/// The same; `done` is told the name of each stage when it ends.
pub fn compile_watched(
    graph: &Graph,
    inputs: &[Layout],
    options: &Options,
    done: &mut dyn FnMut(&'static str),
) -> Result<Compiled> {
    Ok(stages(graph, inputs, options, Mode::default(), done)?.0)
}

/// The same, and a template for other extents: only fusion is worth one.
pub fn compile_first(graph: &Graph, inputs: &[Layout], options: &Options) -> Result<(Compiled, Option<Template>)> {
    let mode = Mode { is_first: options.fuse, ..Mode::default() };
    stages(graph, inputs, options, mode, &mut |_| {})
}

/// Compiles a graph whose outputs are to lie in the plan's outputs one by one, row-contiguous: a branch of a choice.
pub(crate) fn compile_branch(graph: &Graph, inputs: &[Layout], options: &Options) -> Result<Compiled> {
    let mode = Mode { is_branch: true, ..Mode::default() };
    Ok(without_donations(stages(graph, inputs, options, mode, &mut |_| {})?.0))
}

/// The same, and a template for other extents.
pub(crate) fn compile_branch_first(
    graph: &Graph,
    inputs: &[Layout],
    options: &Options,
) -> Result<(Compiled, Option<Template>)> {
    let mode = Mode { is_branch: true, is_first: options.fuse };
    let (compiled, template) = stages(graph, inputs, options, mode, &mut |_| {})?;
    Ok((without_donations(compiled), template))
}

/// The same as a template has it, if that fits.
pub(crate) fn compile_branch_like(
    template: Option<&Template>,
    graph: &Graph,
    inputs: &[Layout],
    options: &Options,
) -> Result<Compiled> {
    match compile_like(template.map_or(&[], std::slice::from_ref), graph, None, inputs, options)? {
        Some(compiled) => Ok(without_donations(compiled)),
        None => compile_branch(graph, inputs, options),
    }
}

/// The inputs of a branch are others' too.
fn without_donations(mut compiled: Compiled) -> Compiled {
    compiled.plan.donations = Arc::default();
    compiled
}

/// What a graph is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mode {
    /// The inputs at hand, and others of other extents.
    is_first: bool,
    /// A choice, as a branch of it.
    is_branch: bool,
}

/// The road itself.
fn stages(
    graph: &Graph,
    inputs: &[Layout],
    options: &Options,
    mode: Mode,
    done: &mut dyn FnMut(&'static str),
) -> Result<(Compiled, Option<Template>)> {
    let Inlined { graph, regions } = graph.inline_calls()?;
    done("inline");
    let graph = if options.simplify { Cow::Owned(simplify(&graph)) } else { graph };
    done("simplify");
    debug_assert_eq!(graph.verify().map_err(|e| e.to_string()), Ok(()));
    let graph = if options.fuse { as_sums(graph) } else { graph };
    let schedule = match (options.fuse, regions.is_empty()) {
        (true, _) => fuse(&graph, &[])?,
        (false, true) => apart(&graph),
        (false, false) => fuse(&graph, &regions)?,
    };
    let schedule = Arc::new(schedule);
    done("fuse");
    let mut draft = mode.is_first.then(|| Draft { is_branch: mode.is_branch, ..Draft::default() });
    let recall = draft.as_mut().map_or(Recall::Nothing, |draft| Recall::Note(&mut draft.recipes));
    let mut program = lower(&graph, inputs, &schedule.groups, options, mode.is_branch, recall)?;
    done("lower");
    if let Some(draft) = &mut draft {
        draft.is_plain = matches!(graph, Cow::Borrowed(_));
        draft.kernels = kernels(&program).map(Option::<&Arc<_>>::cloned).collect();
    }
    let joined = if options.fuse { beside(&mut program) } else { Joined::new() };
    done("beside");
    let (assignment, terms) = memory::assign(&program, graph.inputs.len());
    let template = draft.map(|draft| {
        let arrangement = Arrangement::new(&program, assignment.clone(), terms);
        draft.finish(&graph, inputs, schedule.clone(), joined, arrangement)
    });
    let compiled = placed(program, assignment, graph, schedule);
    done("memory");
    Ok((compiled, template))
}

/// What a program is compiled to whose buffers are there.
pub(crate) fn placed(
    mut program: Program,
    assignment: Assignment,
    graph: Cow<Graph>,
    schedule: Arc<Schedule>,
) -> Compiled {
    let (origins, branches) = (std::mem::take(&mut program.origins), std::mem::take(&mut program.branches));
    let (plan, outputs) = assignment.plan(program);
    debug_assert_eq!(plan.verify().map_err(|e| e.to_string()), Ok(()));
    let report = Report { graph: owned(graph), schedule, origins, branches };
    Compiled { plan, outputs, report }
}

fn owned(graph: Cow<Graph>) -> Option<Graph> {
    match graph {
        Cow::Owned(graph) => Some(graph),
        Cow::Borrowed(_) => None,
    }
}
