//! The split of a jvp into what is computed from primals and what is linear in tangents.

use crate::jvp::{Mode, push_forward};
use crate::{check_differentiable, declare, prune};
use lazuli_ir::{Atom, Builder, Effect, Equation, Graph, Result, Var};

/// A program and its derivative at a point that is not yet given.
#[derive(Debug, Clone)]
pub struct Linearized {
    /// Inputs: those of the graph. Outputs: those of the graph, then what the linear part needs of this one.
    pub forward: Graph,
    /// Where each of the first inputs of the linear part comes from.
    pub residuals: Vec<Residual>,
    /// Inputs: the residuals, then a tangent for each differentiated argument. Outputs: tangents.
    pub linear: Graph,
    /// For each output of the graph, which output of the linear part is its tangent; `None` if that is zero.
    pub tangents: Vec<Option<usize>>,
}

/// A value that the linear part takes from the forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// An input of the graph.
    Input(usize),
    /// An output of the forward part.
    Output(usize),
}

/// Splits the jvp of a graph with respect to the arguments `wrt`. The linear part, given tangents of these arguments, has the tangents of the outputs.
pub fn linearize(graph: &Graph, wrt: &[usize]) -> Result<Linearized> {
    linearize_for(None, graph, wrt, Mode::Forward)
}

/// The same for a linear part that will be run, or one that will be transposed; of a body, in the graph of a builder, of these operands.
pub(crate) fn linearize_for(
    around: Option<(&mut Builder, &[Atom])>,
    graph: &Graph,
    wrt: &[usize],
    mode: Mode,
) -> Result<Linearized> {
    check_differentiable("linearize", graph, wrt)?;
    let (joint, tangents) = joint(around, graph, wrt, mode)?;
    let linear = dependents(&joint, graph.inputs.len());
    let is_linear = |a: Atom| a.var().is_some_and(|v| linear[v.0 as usize]);

    let (mut directions, mut results) = (Vec::new(), Vec::new());
    let primal_outputs = &joint.outputs[..graph.outputs.len()];
    for t in tangents {
        directions.push(t.filter(|&t| is_linear(t)).map(|t| {
            results.push(t);
            results.len() - 1
        }));
    }
    // Equations of the linear part that its outputs need, then the values that those need of the forward part.
    let mut live = vec![false; joint.avals.len()];
    results.iter().filter_map(|a| a.var()).for_each(|v| live[v.0 as usize] = true);
    let mut needed: Vec<Var> = Vec::new();
    let mut linear_equations = Vec::new();
    for e in joint.equations.iter().rev() {
        let is_needed = e.outputs.iter().any(|v| linear[v.0 as usize] && live[v.0 as usize]);
        let happens = depends(e, &linear) && e.meta.effect == Effect::Ordered;
        if !is_needed && !happens {
            continue;
        }
        for v in e.inputs.iter().filter_map(|a| a.var()).chain(e.shapes.iter().copied()) {
            if !linear[v.0 as usize] && !live[v.0 as usize] {
                needed.push(v);
            }
            live[v.0 as usize] = true;
        }
        linear_equations.push(e.clone());
    }
    linear_equations.reverse();
    needed.sort_unstable();

    let mut input_position = vec![None; joint.avals.len()];
    for (k, v) in joint.inputs[..graph.inputs.len()].iter().enumerate() {
        input_position[v.0 as usize] = Some(k);
    }
    let mut outputs = primal_outputs.to_vec();
    let mut residuals = Vec::with_capacity(needed.len());
    for &v in &needed {
        residuals.push(match input_position[v.0 as usize] {
            Some(k) => Residual::Input(k),
            None => {
                outputs.push(v.into());
                Residual::Output(outputs.len() - 1)
            }
        });
    }
    let (primals, directions_in) = joint.inputs.split_at(graph.inputs.len());
    let forward = Graph {
        avals: joint.avals.clone(),
        inputs: primals.to_vec(),
        constants: graph.constants,
        equations: joint.equations.iter().filter(|e| !depends(e, &linear)).cloned().collect(),
        outputs,
    };
    let linear = Graph {
        inputs: needed.iter().chain(directions_in).copied().collect(),
        avals: joint.avals,
        constants: 0,
        equations: linear_equations.into(),
        outputs: results,
    };
    Ok(Linearized { forward: prune(forward), residuals, linear: prune(linear), tangents: directions })
}

/// The jvp of a graph in one: inputs are its own, then tangents of `wrt`; outputs its own. With the tangents of the outputs.
pub(crate) fn joint(
    around: Option<(&mut Builder, &[Atom])>,
    graph: &Graph,
    wrt: &[usize],
    mode: Mode,
) -> Result<(Graph, Vec<Option<Atom>>)> {
    let mut b = around.as_ref().map_or_else(Builder::new, |(around, _)| around.inner());
    let primals = declare(&mut b, graph, &graph.inputs);
    let mut tangents = vec![None; graph.inputs.len()];
    for &i in wrt {
        tangents[i] = Some(b.input(graph.avals[graph.inputs[i].0 as usize].clone()).into());
    }
    let (outputs, tangents) = push_forward(&mut b, graph, &primals, &tangents, mode)?;
    let graph = match around {
        Some((around, operands)) => b.finish_within(around, operands, &primals, outputs)?,
        None => b.finish(outputs),
    };
    Ok((graph, tangents))
}

/// Which variables depend on the inputs from number `first` on.
pub(crate) fn dependents(graph: &Graph, first: usize) -> Vec<bool> {
    let mut depends = vec![false; graph.avals.len()];
    graph.inputs[first..].iter().for_each(|v| depends[v.0 as usize] = true);
    for e in &graph.equations {
        if self::depends(e, &depends) {
            e.outputs.iter().for_each(|v| depends[v.0 as usize] = true);
        }
    }
    depends
}

/// Whether an equation reads one of these variables.
fn depends(e: &Equation, variables: &[bool]) -> bool {
    e.inputs.iter().filter_map(|a| a.var()).any(|v| variables[v.0 as usize])
}
