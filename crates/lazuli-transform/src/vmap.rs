//! Vectorisation.

use crate::env::Env;
use crate::{call, cond, finish_for_any_shapes, prune, zeros};
use lazuli_ir::prim::{VmapCx, stretch};
use lazuli_ir::prims::{Call, Derivative, Reduce, ReduceOp, Transpose};
use lazuli_ir::{AnyShapes, Atom, Aval, Builder, Effect, Equation, Error, Graph, Meta, Prim, Result, Var, shape};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// The extent of the batch and the avals of single points of it, for arguments of these avals mapped over `in_axes` (`None`: the whole argument for every
/// point; negative axes count from the end). What a function is traced with before [`vmap`].
///
/// Errors if nothing is mapped, if an axis is out of bounds, or if mapped extents differ.
pub fn unbatch(arguments: &[Aval], in_axes: &[Option<isize>]) -> Result<(usize, Vec<Aval>)> {
    let mut size: Option<(usize, usize)> = None;
    let mut points = arguments.to_vec();
    for (k, (point, axis)) in points.iter_mut().zip(in_axes).enumerate() {
        let Some(axis) = *axis else { continue };
        let Some(at) = within(axis, point.rank()) else {
            return Err(Error::index(
                "vmap",
                format!("in_axes names axis {axis} of argument {k}, which has shape {}", shape::show(&point.shape)),
            ));
        };
        let n = point.shape[at];
        match size {
            Some((first, m)) if m != n => {
                return Err(Error::value(
                    "vmap",
                    format!(
                        "mapped axes must have one extent, but axis {axis} of argument {k} (shape {}) has {n} and argument {first} has {m}",
                        shape::show(&point.shape)
                    ),
                ));
            }
            Some(_) => {}
            None => size = Some((k, n)),
        }
        point.shape.remove(at);
    }
    match size {
        Some((_, n)) => Ok((n, points)),
        None => {
            Err(Error::value("vmap", "no argument is mapped: give at least one of them an axis in in_axes, not None"))
        }
    }
}

/// A position among `rank` axes, as Python counts.
fn within(axis: isize, rank: usize) -> Option<usize> {
    let k = if axis < 0 { axis + rank as isize } else { axis };
    (0..rank as isize).contains(&k).then_some(k as usize)
}

/// The program over a whole batch of `size` points. The graph is that of one point. Inputs: the arguments, those with an axis in `in_axes` having
/// the batch there; the constants, which all points share. Outputs: with the batch at their axis in `out_axes`, repeated along it if they do not depend on a
/// mapped argument; without a batch where that is `None`. Axes are those of the batched arrays; negative ones count from the end.
///
/// Errors if an axis is out of bounds, or an output whose axis is `None` depends on a mapped argument.
pub fn vmap(graph: &Graph, in_axes: &[Option<isize>], out_axes: &[Option<isize>], size: usize) -> Result<Graph> {
    let mut b = Builder::new();
    let outputs = vmap_in(&mut b, graph, in_axes, out_axes, size)?;
    Ok(prune(b.finish(outputs)))
}

/// The same as a graph for other shapes too, of the points and of the batch.
///
/// Errors also if there is none, because a rule goes by an extent in the middle of the graph.
pub fn vmap_for_any_shapes(
    graph: &Graph,
    in_axes: &[Option<isize>],
    out_axes: &[Option<isize>],
    size: usize,
) -> Result<AnyShapes> {
    let mut b = Builder::for_any_shapes();
    let outputs = vmap_in(&mut b, graph, in_axes, out_axes, size)?;
    finish_for_any_shapes(b, outputs)
}

fn vmap_in(
    b: &mut Builder,
    graph: &Graph,
    in_axes: &[Option<isize>],
    out_axes: &[Option<isize>],
    size: usize,
) -> Result<Vec<Atom>> {
    let count = |what: &str, have: usize, want: usize| match have == want {
        true => Ok(()),
        false => Err(Error::value("vmap", format!("{what} has {have} entries for {want} arrays"))),
    };
    count("in_axes", in_axes.len(), graph.arguments().len())?;
    count("out_axes", out_axes.len(), graph.outputs.len())?;
    let (mut inputs, mut batched) = (Vec::new(), Vec::new());
    for (k, v) in graph.inputs.iter().enumerate() {
        let mut aval = graph.avals[v.0 as usize].clone();
        let at = match in_axes.get(k).copied().flatten() {
            None => None,
            Some(axis) => Some(within(axis, aval.rank() + 1).ok_or_else(|| {
                let message = format!(
                    "in_axes names axis {axis} of argument {k}, whose points have shape {}",
                    shape::show(&aval.shape)
                );
                Error::index("vmap", message)
            })?),
        };
        if let Some(at) = at {
            aval.shape.insert(at, size);
        }
        inputs.push((Atom::from(b.input(aval)), at));
        batched.push(at.is_some());
    }
    b.set_constants(graph.constants);
    let mut fronts = Vec::with_capacity(inputs.len());
    for (atom, at) in inputs {
        fronts.push(move_axis(b, atom, at.unwrap_or(0), 0)?);
    }
    let results = vectorise(b, graph, &fronts, &batched, size)?;
    b.meta = Meta::default();
    let mut outputs = Vec::with_capacity(results.len());
    for (k, ((out, is_batched), axis)) in results.into_iter().zip(out_axes).enumerate() {
        let Some(axis) = *axis else {
            if is_batched {
                return Err(Error::value(
                    "vmap",
                    format!(
                        "output {k} depends on a mapped argument, so that out_axes must name an axis for it, not None"
                    ),
                ));
            }
            outputs.push(out);
            continue;
        };
        let rank = b.rank(out) + !is_batched as usize;
        let at = within(axis, rank).ok_or_else(|| {
            Error::index("vmap", format!("out_axes names axis {axis} of output {k}, which has {rank} dimensions"))
        })?;
        let front = match is_batched {
            true => out,
            false => repeated(b, out, &fronts, &batched, size)?,
        };
        outputs.push(move_axis(b, front, 0, at)?);
    }
    Ok(outputs)
}

/// A value for each point of the batch that some of these operands have in front.
pub(crate) fn repeated(b: &mut Builder, a: Atom, operands: &[Atom], batched: &[bool], size: usize) -> Result<Atom> {
    let all = stretch(b, a, size)?;
    if let Some(with) = batched.iter().position(|&batched| batched) {
        b.same_extent((all, 0), (operands[with], 0));
    }
    Ok(all)
}

fn move_axis(b: &mut Builder, a: Atom, from: usize, to: usize) -> Result<Atom> {
    if from == to {
        return Ok(a);
    }
    let mut axes: SmallVec<[usize; 4]> = (0..b.rank(a)).filter(|&i| i != from).collect();
    axes.insert(to, from);
    b.op(Transpose { axes }, &[a])
}

/// Adds the equations of a graph for inputs of which some have the batch as axis 0. Returns the outputs and whether each has it too.
pub(crate) fn vectorise(
    b: &mut Builder,
    graph: &Graph,
    inputs: &[Atom],
    batched: &[bool],
    size: usize,
) -> Result<Vec<(Atom, bool)>> {
    let mut values = Env::new(graph, inputs.iter().map(|&a| Some(a)));
    let mut is_batched = vec![false; graph.avals.len()];
    for (v, &flag) in graph.inputs.iter().zip(batched) {
        is_batched[v.0 as usize] = flag;
    }
    let flag = |is_batched: &[bool], a: Atom| a.var().is_some_and(|v| is_batched[v.0 as usize]);
    let first = batched.iter().position(|&batched| batched);
    if let Some(first) = first {
        let others = (first + 1..inputs.len()).filter(|&k| batched[k]);
        others.for_each(|k| b.same_extent((inputs[first], 0), (inputs[k], 0)));
    }
    for e in &graph.equations {
        let batched: SmallVec<[bool; 3]> = e.inputs.iter().map(|&a| flag(&is_batched, a)).collect();
        let shapes_batched: SmallVec<[bool; 1]> = e.shapes.iter().map(|&v| is_batched[v.0 as usize]).collect();
        if !batched.contains(&true) {
            // What follows from the shape of a point is one for all points.
            match shapes_batched.contains(&true) {
                true => {
                    let prim = e.prim.of_batched_shapes(&shapes_batched);
                    values.copy(b, graph, &Equation { prim, ..e.clone() })?;
                }
                false => values.copy(b, graph, e)?,
            }
            continue;
        }
        let operands = values.inputs(e);
        // What the equation becomes states its own effects.
        b.meta = Meta { effect: e.stated_effect(), ..e.meta };
        let results = if let Prim::Call(call) = &e.prim {
            call_vmap(b, call, &operands, &batched, size)?
        } else if let Prim::Cond(cond) = &e.prim {
            cond::vmap(b, cond, &operands, &batched, size)?
        } else if size == 0 && b.meta.effect == Effect::None {
            // Of no points there is nothing to compute, and some rules look at the first.
            let none = |v: &Var| {
                let mut aval = graph.avals[v.0 as usize].clone();
                aval.shape.insert(0, 0);
                Ok((zeros(b, &aval)?, true))
            };
            e.outputs.iter().map(none).collect::<Result<_>>()?
        } else {
            let shapes = values.shapes(b, e)?;
            let (inputs, shapes) = (&operands[..], &shapes[..]);
            let cx = VmapCx { inputs, batched: &batched, shapes, shapes_batched: &shapes_batched, size };
            e.prim.vmap(b, cx)?.into_iter().map(|a| (a, true)).collect()
        };
        for (&v, (out, flag)) in e.outputs.iter().zip(results) {
            if flag {
                debug_assert_eq!(b.shape(out)[0], size, "batch of {}", e.prim.name());
                debug_assert_eq!(b.shape(out)[1..], graph.avals[v.0 as usize].shape[..], "point of {}", e.prim.name());
                first.into_iter().for_each(|first| b.same_extent((out, 0), (inputs[first], 0)));
            }
            values.set(v, out);
            is_batched[v.0 as usize] = flag;
        }
    }
    Ok(graph.outputs.iter().map(|&a| (values.get(a), flag(&is_batched, a))).collect())
}

/// A call becomes a call of the batched body.
fn call_vmap(
    b: &mut Builder,
    call: &Call,
    inputs: &[Atom],
    batched: &[bool],
    size: usize,
) -> Result<Vec<(Atom, bool)>> {
    let points: Vec<Aval> = inputs
        .iter()
        .zip(batched)
        .map(|(&a, &batched)| {
            let mut aval = b.aval(a);
            if batched {
                aval.shape.remove(0);
            }
            aval
        })
        .collect();
    let call = call.rebind(&points.iter().collect::<Vec<_>>())?;
    let body = &call.graph;
    let mut inner = b.inner();
    let inner_inputs: Vec<Atom> = inputs.iter().map(|&a| inner.input(b.aval(a)).into()).collect();
    let results = vectorise(&mut inner, body, &inner_inputs, batched, size)?;
    if call.derivative != Derivative::Body {
        // One rule for all points: every output has the batch.
        let outputs = batch_all(&mut inner, results, &inner_inputs, batched, size)?;
        let derivative = batched_derivative(b, &call, batched, size)?;
        let call = Call { derivative, ..Call::new(call.name.clone(), prune(inner.finish_alone(outputs)?)) };
        return Ok(b.equation(call, inputs, &[])?.into_iter().map(|v| (v.into(), true)).collect());
    }
    let graph = prune(inner.finish(results.iter().map(|r| r.0).collect()));
    let outputs = call::emit(b, &call.name, graph, inputs)?;
    Ok(outputs.into_iter().zip(results).map(|(out, (_, flag))| (out, flag)).collect())
}

/// These values with the batch in front, which some of the operands have.
fn batch_all(
    b: &mut Builder,
    results: Vec<(Atom, bool)>,
    operands: &[Atom],
    batched: &[bool],
    size: usize,
) -> Result<Vec<Atom>> {
    let all = |(out, is_batched)| if is_batched { Ok(out) } else { repeated(b, out, operands, batched, size) };
    results.into_iter().map(all).collect()
}

/// The derivative of a call over a batch, all of whose outputs have the batch, as has every input that says so.
fn batched_derivative(around: &Builder, call: &Call, batched: &[bool], size: usize) -> Result<Derivative> {
    let over = |rule: &Graph, more: &[bool]| -> Result<(Builder, Vec<Atom>)> {
        let flags: Vec<bool> = batched.iter().chain(more).copied().collect();
        let mut b = around.inner();
        let mut inputs: Vec<Atom> = Vec::with_capacity(flags.len());
        for (mut aval, &batched) in rule.input_avals().into_iter().zip(&flags) {
            if batched {
                aval.shape.insert(0, size);
            }
            inputs.push(b.input(aval).into());
        }
        let results = vectorise(&mut b, rule, &inputs, &flags, size)?;
        let outputs = batch_all(&mut b, results, &inputs, &flags, size)?;
        Ok((b, outputs))
    };
    let Derivative::Custom { vjp, jvp } = &call.derivative else { return Ok(call.derivative.clone()) };
    let vjp = match vjp {
        None => None,
        Some(rule) => {
            let (mut b, cotangents) = over(rule, &vec![true; 2 * call.graph.outputs.len()])?;
            let mut outputs = Vec::new();
            for (ct, &wanted) in cotangents.into_iter().zip(batched) {
                // What is one for all points takes the sum of their cotangents.
                outputs.push(match wanted {
                    true => ct,
                    false => b.op(Reduce { op: ReduceOp::Sum, axes: smallvec![0], keepdims: false }, &[ct])?,
                });
            }
            Some(Arc::new(prune(b.finish_alone(outputs)?)))
        }
    };
    let jvp = match jvp {
        None => None,
        Some(rule) => {
            let primals = rule.inputs.len() - batched.len();
            let (b, outputs) = over(rule, &batched[..primals])?;
            Some(Arc::new(prune(b.finish_alone(outputs)?)))
        }
    };
    Ok(Derivative::Custom { vjp, jvp })
}
