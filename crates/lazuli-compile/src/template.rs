//! What one compilation of a graph leaves for the same graph with other extents: a shapeless function is compiled for its first shapes, and for others of the same
//! [pattern](crate::pattern) along a shorter road.
//!
//! Taken over are the schedule, the kernels (see [`crate::lower`], "again"), which of them run side by side, and which buffers share memory; where these
//! lie follows from their sizes.

use crate::beside::{Joined, arrange, beside, is_small};
use crate::fuse::{Schedule, fuse};
use crate::lower::{ByFormulas, Formulas, Linked, Program, Recall, Recipes, Work, is_row, lower};
use crate::memory::{self, Arrangement, Assignment};
use crate::pattern::{Fit, Pattern};
use crate::pipeline::{Compiled, Options, OutputInfo, placed};
use crate::vectors::as_sums;
use lazuli_ir::{Graph, Inlined, MovingAxes, Result, Shape, ShapeId};
use lazuli_kernel::{Kernel, Layout};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// A compilation that others of the same graph follow.
#[derive(Debug)]
pub struct Template {
    /// Whether the graph was taken as it is: nothing was inlined, and no product written as a sum.
    is_plain: bool,
    /// Whether the graph is a branch of a choice.
    is_branch: bool,
    pattern: Pattern,
    pub(crate) schedule: Arc<Schedule>,
    /// How the inputs lay.
    inputs: Vec<Layout>,
    pub(crate) recipes: Recipes,
    /// Of each entry of the work its kernel, if it is a launch.
    kernels: Vec<Option<Arc<Kernel>>>,
    pub(crate) joined: Joined,
    pub(crate) memory: Arc<Arrangement>,
    /// Made when it is followed first; None if some numbers are not known as formulas.
    formulas: OnceLock<Option<Formulas>>,
}

/// The shapes of a graph in outline.
#[derive(Debug, Clone)]
pub struct Outlined<'a> {
    /// Which shapes of the outline those of its variables are, and of those of its choices.
    pub ids: &'a [ShapeId],
    /// All shapes of the outline.
    pub shapes: &'a [Shape],
    /// Which of their extents are not the same in all plans.
    pub moving: Arc<[MovingAxes]>,
}

/// Notes a template while a graph is compiled.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub is_plain: bool,
    pub is_branch: bool,
    pub recipes: Recipes,
    pub kernels: Vec<Option<Arc<Kernel>>>,
}

impl Draft {
    pub fn finish(
        self,
        graph: &Graph,
        inputs: &[Layout],
        schedule: Arc<Schedule>,
        joined: Joined,
        memory: Arrangement,
    ) -> Template {
        let Draft { is_plain, is_branch, recipes, kernels } = self;
        let pattern = Pattern::of(shapes(graph).into_iter(), input_shapes(graph).into_iter());
        let (inputs, memory, formulas) = (inputs.to_vec(), Arc::new(memory), OnceLock::new());
        Template { is_plain, is_branch, pattern, schedule, inputs, recipes, kernels, joined, memory, formulas }
    }
}

/// Compiles a graph as one of these templates has it: they are of the same graph for other inputs, the same but for its extents ([`Graph::rebind`]). None if its extents are of a
/// pattern that none of them has.
pub fn compile_like(
    templates: &[Template],
    graph: &Graph,
    outlined: Option<&Outlined>,
    inputs: &[Layout],
    options: &Options,
) -> Result<Option<Compiled>> {
    let find = |is_plain: bool, graph: &Graph| {
        let shapes = shapes(graph);
        templates.iter().rev().find(|t| t.is_plain == is_plain && t.fits(graph, &shapes))
    };
    // Whether a graph stays as it is depends on its pattern alone.
    let (template, graph) = match find(true, graph) {
        Some(template) => {
            debug_assert!(matches!(as_sums(graph.inline_calls()?.graph), Cow::Borrowed(_)), "{graph}");
            (template, Cow::Borrowed(graph))
        }
        None if templates.iter().all(|t| t.is_plain) => return Ok(None),
        None => {
            let Inlined { graph, .. } = graph.inline_calls()?;
            let graph = as_sums(graph);
            let Some(template) = find(false, &graph) else { return Ok(None) };
            (template, graph)
        }
    };
    let mut program = template.lowered(&graph, inputs, options)?;
    let linked = match (outlined, &graph) {
        (Some(outlined), &Cow::Borrowed(plain)) if template.formulas.get().is_none() => {
            Linked::new(plain, (outlined.ids, outlined.shapes), inputs, &template.schedule, &template.recipes, &program)
        }
        _ => None,
    };
    let taken_over = template.assignment(&mut program);
    let is_alike = taken_over.is_some();
    let assignment = taken_over.unwrap_or_else(|| memory::assign(&program, graph.inputs.len()).0);
    let compiled = placed(program, assignment, graph, template.schedule.clone());
    if outlined.is_some() && is_alike {
        let finish = |linked: Linked| linked.finish(&template.joined, &template.memory, &compiled);
        template.formulas.get_or_init(|| linked.and_then(finish));
    }
    Ok(Some(compiled))
}

/// A plan for a graph whose variables have these shapes, and where its outputs lie: the one that [`compile_like`] would make, by formulas. None if there are none that fit these extents so well. Its kernels
/// may be replaced by equal ones, which later plans have then.
pub fn plan_like<'a>(
    templates: &'a mut [Template],
    outlined: &Outlined,
    inputs: &[&Layout],
    fit: Fit,
) -> Option<(ByFormulas<'a>, Arc<[OutputInfo]>)> {
    let is_for = |template: &mut Template| {
        let formulas = template.formulas.get_mut().and_then(Option::as_mut);
        formulas.is_some_and(|formulas| formulas.are_for(outlined, inputs, fit))
    };
    let n = templates.iter_mut().rposition(is_for)?;
    // Shapes that follow one another are most often of one template.
    templates[n..].rotate_left(1);
    templates.last_mut()?.formulas.get_mut()?.as_mut().map(Formulas::plan)
}

/// Whether one of these templates is for a graph of other magnitudes too, from now on: it would be fused, and steps put side by side, in the same way.
pub fn widen(templates: &mut [Template], graph: &Graph, outlined: &Outlined) -> bool {
    let all = shapes(graph);
    let is_like = |t: &&mut Template| t.pattern.fits(all.iter().copied(), Fit::Alike).is_some();
    let Some(template) = templates.iter_mut().rev().find(is_like) else { return false };
    let is_linked = template.formulas.get().is_some_and(Option::is_some);
    // If it is for these magnitudes already, something else hinders.
    if !is_linked || template.pattern.fits(all.iter().copied(), Fit::Good).is_some() || !template.fuses_alike(graph) {
        return false;
    }
    template.widen(graph);
    let formulas = template.formulas.get_mut().and_then(Option::as_mut);
    formulas.is_some_and(|formulas| formulas.widen(outlined))
}

/// A text without the numbers that stand behind this.
fn without_numbers(text: &str, before: &str) -> String {
    let parts = text.split(before).enumerate();
    let kept = |(n, part): (usize, &str)| match n {
        0 => part.to_owned(),
        _ => before.to_owned() + part.trim_start_matches(|c: char| c.is_ascii_digit()),
    };
    parts.map(kept).collect()
}

impl Template {
    /// Whether a graph of its pattern but for magnitudes is fused, and its steps put side by side, as it has them; so are its branches.
    fn fuses_alike(&self, graph: &Graph) -> bool {
        let numbers = self.pattern.fits(shapes(graph).into_iter(), Fit::Alike);
        let are_small = |numbers: &[usize]| numbers.iter().all(|&n| is_small(n));
        let mut branches = self.recipes.branches.iter();
        self.is_plain
            && numbers.is_some_and(|numbers| are_small(&numbers))
            && are_small(self.pattern.numbers())
            && fuse(graph, &[]).is_ok_and(|schedule| schedule == *self.schedule)
            && branches.all(|(of, template)| template.fuses_alike(branch(graph, *of)))
    }
    fn widen(&mut self, graph: &Graph) {
        self.pattern.widen(shapes(graph).into_iter());
        self.recipes.branches.iter_mut().for_each(|(of, template)| template.widen(branch(graph, *of)));
    }
    /// Whether a graph whose variables have these shapes is of its pattern.
    fn fits(&self, graph: &Graph, shapes: &[&[usize]]) -> bool {
        // What is a multiple of what is no part of a pattern.
        self.pattern.fits(shapes.iter().copied(), Fit::Good).is_some() && self.schedule.can_split(|v| graph.shape_of(v))
    }
    /// A branch as steps, if it is compiled as this template has it.
    pub(crate) fn branch(&self, graph: &Graph, inputs: &[Layout]) -> Option<Program> {
        let is_like = self.is_plain && self.fits(graph, &shapes(graph));
        is_like.then(|| self.lowered(graph, inputs, &Options { simplify: false, fuse: true }).ok())?
    }
    /// A graph of its pattern as steps.
    fn lowered(&self, graph: &Graph, inputs: &[Layout], options: &Options) -> Result<Program> {
        let groups = &self.schedule.groups;
        let program = lower(graph, inputs, groups, options, self.is_branch, Recall::Follow(&self.recipes))?;
        // Which views need a copy depends on how inputs lie, and with that what is computed in which order.
        let lies_alike = || self.inputs.iter().zip(inputs).all(|(was, now)| lies_alike(was, now));
        if cfg!(debug_assertions) && lies_alike() && self.fuses_branches_alike(graph)? {
            let anew = lower(graph, inputs, groups, options, self.is_branch, Recall::Nothing)?;
            let shown = |p: &Program| {
                // Branches have the memory of the template's, which others of these sizes would perhaps not have.
                let text = format!("{:?} {:?} {:?} {:?}", p.buffers, p.work, p.outputs, p.branches);
                ["Temp { offset: ", "arena: "].iter().fold(text, |text, before| without_numbers(&text, before))
            };
            assert_eq!(shown(&program), shown(&anew), "what follows a template");
        }
        Ok(program)
    }
    /// Whether the branches of a graph of its pattern would be fused as it has them. For few extents they would not be, as orders of magnitude of what is computed are no part of a pattern.
    fn fuses_branches_alike(&self, graph: &Graph) -> Result<bool> {
        for (of, template) in &self.recipes.branches {
            let branch = match branch(graph, *of) {
                plain if template.is_plain => Cow::Borrowed(plain),
                other => as_sums(other.inline_calls()?.graph),
            };
            if fuse(&branch, &[])? != *template.schedule || !template.fuses_branches_alike(&branch)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
    /// Puts steps side by side. The assignment of memory, if that can be taken over, and they are the same steps.
    pub(crate) fn assignment(&self, program: &mut Program) -> Option<Assignment> {
        if self.join(program) { self.memory.follow(program) } else { None }
    }
    /// Puts steps side by side; whether they are the same ones as in the template.
    fn join(&self, program: &mut Program) -> bool {
        let is_alike = kernels(program).eq(self.kernels.iter().map(Option::as_ref));
        match is_alike {
            true => arrange(program, &self.joined),
            false => drop(beside(program)),
        }
        is_alike
    }
}

/// The branch of this choice, and of this number.
fn branch(graph: &Graph, (choice, number): (u32, usize)) -> &Graph {
    &graph.equations[choice as usize].prim.bodies()[number]
}

/// A graph, and those that it runs.
fn graphs(graph: &Graph) -> Vec<&Graph> {
    let within = graph.equations.iter().flat_map(|e| e.prim.bodies()).flat_map(|body| graphs(body));
    std::iter::once(graph).chain(within).collect()
}
/// The shapes of the variables of a graph, and of those that it runs.
fn shapes(graph: &Graph) -> Vec<&[usize]> {
    graphs(graph).into_iter().flat_map(|graph| graph.avals.iter().map(|aval| &aval.shape[..])).collect()
}
/// Those of inputs.
pub(crate) fn input_shapes(graph: &Graph) -> Vec<&[usize]> {
    graphs(graph).into_iter().flat_map(|graph| graph.inputs.iter().map(|&v| &graph.shape_of(v)[..])).collect()
}

/// Whether two inputs lie in the same way: row by row, or in the very same one.
fn lies_alike(a: &Layout, b: &Layout) -> bool {
    a == b || is_row(a) && is_row(b)
}

/// Of each entry of a program's work its kernel, if it is a launch.
pub(crate) fn kernels(program: &Program) -> impl Iterator<Item = Option<&Arc<Kernel>>> {
    program.work.iter().map(|work| if let Work::Launch(launch) = work { Some(&launch.kernel) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::compile_first;

    #[test]
    fn memory_is_taken_over() {
        let text = "
graph v1 (x: f32[20,8], w: f32[8,8]) {
  a: f32[20,8] = matmul x w
  b: f32[20] = sum[axes=(1),keepdims=false] a
  c: f32[20,1] = expand_dims[axes=(1)] b
  d: f32[20,8] = divide a c
  e: f32[20,8] = matmul d w
  f: f32[8] = sum[axes=(0),keepdims=false] e
  g: f32[8,20] = transpose[axes=(1,0)] d
  h: f32[8,8] = matmul g e
  i: f32[8,8] = subtract w h
  return i f
}";
        let graph: Graph = text.parse().unwrap();
        let rows = |graph: &Graph| graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect::<Vec<_>>();
        let fused = Options { simplify: false, fuse: true };
        let (_, template) = compile_first(&graph, &rows(&graph), &fused).unwrap();
        let template = template.unwrap();
        for n in 17..32 {
            let other = graph.rebind(&[[n, 8].into_iter().collect(), [8, 8].into_iter().collect()]).unwrap();
            let mut program = template.lowered(&other, &rows(&other), &fused).unwrap();
            assert!(template.join(&mut program));
            let assignment = template.memory.follow(&program).expect("the same steps");
            assert_eq!(format!("{assignment:?}"), format!("{:?}", memory::assign(&program, 2).0), "{n}");
        }
    }
}
