//! Choices: equations that hold two graphs. A transformed choice is a choice between transformed branches, by the same predicate; only a predicate that
//! differs from point to point of a batch makes both branches run, and selects.

use crate::jvp::Mode;
use crate::linearize::{Linearized, Residual, linearize_for};
use crate::transpose::pull_back;
use crate::vmap::{repeated, vectorise};
use crate::{declare, prune, zeros};
use lazuli_ir::prim::Tangents;
use lazuli_ir::prims::{Cond, expand_dims};
use lazuli_ir::{Atom, Aval, Builder, Graph, Result, Var};
use std::sync::Arc;

/// The choice for operands of these avals.
fn bound(cond: &Cond, operands: &[Aval]) -> Result<Cond> {
    cond.rebind(&operands.iter().collect::<Vec<_>>())
}

fn avals(b: &Builder, atoms: &[Atom]) -> Vec<Aval> {
    atoms.iter().map(|&a| b.aval(a)).collect()
}

/// Adds a choice between these graphs.
fn emit(b: &mut Builder, branches: [Graph; 2], inputs: &[Atom]) -> Result<Vec<Atom>> {
    let [on_true, on_false] = branches.map(prune);
    Ok(b.equation(Cond::new(on_true, on_false), inputs, &[])?.into_iter().map(Atom::from).collect())
}

/// Where the linear parts take a value from that they need of the forward parts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Operand(usize),
    /// An output of the forward choice, those of the function first.
    Output(usize),
}

/// The choice, which also returns what its derivative needs, and one between the linear parts on the tangents. A branch gives zeros for what only the other
/// needs; values of equal avals share an output.
pub(crate) fn jvp(
    b: &mut Builder,
    cond: &Cond,
    inputs: &[Atom],
    tangents: &[Option<Atom>],
    mode: Mode,
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let (operands, tangents) = (&inputs[1..], &tangents[1..]);
    let cond = bound(cond, &avals(b, operands))?;
    let wrt: Vec<usize> = (0..operands.len()).filter(|&k| tangents[k].is_some()).collect();
    let [on_true, on_false] = &cond.branches;
    let mut part = |branch| linearize_for(Some((b, operands)), branch, &wrt, mode);
    let parts = [part(on_true)?, part(on_false)?];
    let outputs = on_true.output_avals();
    let n = outputs.len();

    // The outputs beyond the function's own, and where each branch's residuals are found.
    let mut slots: Vec<Aval> = Vec::new();
    let mut sources: Vec<Source> = Vec::new();
    let mut found: [Vec<usize>; 2] = Default::default();
    let mut filled: [Vec<Option<Atom>>; 2] = Default::default();
    for (k, part) in parts.iter().enumerate() {
        for residual in &part.residuals {
            let source = match *residual {
                Residual::Input(i) => Source::Operand(i),
                Residual::Output(i) => {
                    let atom = part.forward.outputs[i];
                    match part.forward.outputs[..n].iter().position(|&own| own == atom) {
                        Some(own) => Source::Output(own),
                        None => Source::Output(n + slot(&mut slots, &mut filled[k], part.forward.aval(atom), atom)),
                    }
                }
            };
            let at = sources.iter().position(|s| *s == source).unwrap_or(sources.len());
            if at == sources.len() {
                sources.push(source);
            }
            found[k].push(at);
        }
    }
    let forward = |part: &Linearized, filled: &[Option<Atom>]| -> Result<Graph> {
        let mut inner = b.inner();
        let given = declare(&mut inner, &part.forward, &part.forward.inputs);
        let wanted: Vec<Atom> = filled.iter().flatten().copied().collect();
        let own: Vec<Atom> = part.forward.outputs[..n].iter().copied().chain(wanted).collect();
        let mut results = inner.splice(&Graph { outputs: own, ..part.forward.clone() }, &given)?;
        let mut kept = results.split_off(n).into_iter();
        for (s, aval) in slots.iter().enumerate() {
            results.push(match filled.get(s).copied().flatten() {
                Some(_) => kept.next().expect("one for each that is filled"),
                None => zeros(&mut inner, aval)?,
            });
        }
        Ok(inner.finish(results))
    };
    let branches = [forward(&parts[0], &filled[0])?, forward(&parts[1], &filled[1])?];
    let mut results = emit(b, branches, inputs)?;

    let has_tangent: Vec<bool> = (0..n).map(|j| parts.iter().any(|p| p.tangents[j].is_some())).collect();
    if !has_tangent.contains(&true) {
        results.truncate(n);
        return Ok((results, vec![None; n]));
    }
    let mut linear_inputs = vec![inputs[0]];
    linear_inputs.extend(sources.iter().map(|s| match *s {
        Source::Operand(i) => operands[i],
        Source::Output(i) => results[i],
    }));
    let residuals = avals(b, &linear_inputs[1..]);
    linear_inputs.extend(tangents.iter().flatten());
    let linear = |part: &Linearized, found: &[usize]| -> Result<Graph> {
        let mut inner = b.inner();
        let given: Vec<Atom> = residuals.iter().map(|a| inner.input(a.clone()).into()).collect();
        let mut taken: Vec<Atom> = found.iter().map(|&at| given[at]).collect();
        taken.extend(declare(&mut inner, &part.linear, &part.linear.inputs[found.len()..]));
        let found = inner.splice(&part.linear, &taken)?;
        let mut results = Vec::new();
        for j in (0..n).filter(|&j| has_tangent[j]) {
            results.push(match part.tangents[j] {
                Some(t) => found[t],
                None => zeros(&mut inner, &outputs[j])?,
            });
        }
        Ok(inner.finish(results))
    };
    let branches = [linear(&parts[0], &found[0])?, linear(&parts[1], &found[1])?];
    b.meta.effect = Default::default();
    let mut moved = emit(b, branches, &linear_inputs)?.into_iter();
    results.truncate(n);
    Ok((results, has_tangent.into_iter().map(|has| if has { moved.next() } else { None }).collect()))
}

/// The output of a branch for a value that its linear part needs: the first of its aval that the branch has not filled, or another.
fn slot(slots: &mut Vec<Aval>, filled: &mut Vec<Option<Atom>>, aval: Aval, atom: Atom) -> usize {
    let free = |&s: &usize| slots[s] == aval && filled.get(s).copied().flatten().is_none();
    let s = (0..slots.len()).find(free).unwrap_or(slots.len());
    if s == slots.len() {
        slots.push(aval);
    }
    if filled.len() <= s {
        filled.resize(s + 1, None);
    }
    filled[s] = Some(atom);
    s
}

/// A choice that is linear in some operands becomes one between the transposed branches, which add to the cotangents `so_far`.
pub(crate) fn transpose(
    b: &mut Builder,
    cond: &Cond,
    of: &[Atom],
    inputs: &[Option<Atom>],
    avals: &[Aval],
    cotangents: &[Option<Atom>],
    so_far: &[Option<Atom>],
) -> Result<Tangents> {
    let cond = bound(cond, &avals[1..])?;
    let operands = &inputs[1..];
    let mut pulled = Vec::with_capacity(2);
    let mut adds = vec![false; operands.len()];
    for body in &cond.branches {
        let mut inner = b.inner();
        let given: Vec<Var> = body.inputs.iter().zip(operands).filter(|(_, a)| a.is_some()).map(|(&v, _)| v).collect();
        let mut given = declare(&mut inner, body, &given).into_iter();
        let known: Vec<Option<Atom>> = operands.iter().map(|a| a.and_then(|_| given.next())).collect();
        let seeds: Vec<Option<Atom>> =
            cotangents.iter().map(|ct| ct.map(|ct| inner.input(b.aval(ct)).into())).collect();
        let before: Vec<Option<Atom>> =
            so_far[1..].iter().map(|ct| ct.map(|ct| inner.input(b.aval(ct)).into())).collect();
        let (there, results) = pull_back(&mut inner, body, &known, &seeds, &before)?;
        adds.iter_mut().zip(results.iter().zip(&before)).for_each(|(adds, (after, before))| *adds |= after != before);
        pulled.push((inner, there, results));
    }
    let has: Vec<bool> = (0..operands.len()).map(|k| operands[k].is_none() && adds[k]).collect();
    let mut branches = Vec::with_capacity(2);
    for (mut inner, there, results) in pulled {
        let mut outputs = Vec::new();
        for k in (0..operands.len()).filter(|&k| has[k]) {
            outputs.push(match results[k] {
                Some(ct) => ct,
                None => zeros(&mut inner, &avals[1 + k])?,
            });
        }
        branches.push(inner.finish_within(b, &of[1..], &there, outputs)?);
    }
    let branches: [Graph; 2] = branches.try_into().expect("there are two");
    let given: Vec<Atom> = inputs.iter().chain(cotangents).chain(so_far).copied().flatten().collect();
    let mut outputs = emit(b, branches, &given)?.into_iter();
    Ok(std::iter::once(None).chain(has.into_iter().map(|has| if has { outputs.next() } else { None })).collect())
}

/// One predicate for all points: a choice between batched branches. One for each point: both branches, and a selection.
pub(crate) fn vmap(
    b: &mut Builder,
    cond: &Cond,
    inputs: &[Atom],
    batched: &[bool],
    size: usize,
) -> Result<Vec<(Atom, bool)>> {
    let (predicate, operands) = (inputs[0], &inputs[1..]);
    let points: Vec<Aval> = avals(b, operands)
        .into_iter()
        .zip(&batched[1..])
        .map(|(mut aval, &batched)| {
            if batched {
                aval.shape.remove(0);
            }
            aval
        })
        .collect();
    let cond = bound(cond, &points)?;
    if batched[0] {
        let mut both = Vec::with_capacity(2);
        for body in &cond.branches {
            both.push(vectorise(b, body, operands, &batched[1..], size)?);
        }
        let mut outputs = Vec::new();
        for (&(x, x_batched), &(y, y_batched)) in both[0].iter().zip(&both[1]) {
            let rank = b.rank(x) - x_batched as usize;
            let x = if x_batched { x } else { repeated(b, x, inputs, batched, size)? };
            let y = if y_batched { y } else { repeated(b, y, inputs, batched, size)? };
            let chosen = expand_dims(b, predicate, &(1..=rank).collect::<Vec<_>>())?;
            outputs.push((b.select(chosen, x, y)?, true));
        }
        return Ok(outputs);
    }
    let mut both = Vec::with_capacity(2);
    for body in &cond.branches {
        let mut inner = b.inner();
        let given: Vec<Atom> = operands.iter().map(|&a| inner.input(b.aval(a)).into()).collect();
        let results = vectorise(&mut inner, body, &given, &batched[1..], size)?;
        both.push((inner, given, results));
    }
    let flags: Vec<bool> = both[0].2.iter().zip(&both[1].2).map(|(x, y)| x.1 || y.1).collect();
    let mut branches = Vec::with_capacity(2);
    for (mut inner, given, results) in both {
        let mut outputs = Vec::new();
        for ((out, is_batched), &wanted) in results.into_iter().zip(&flags) {
            outputs.push(match wanted && !is_batched {
                true => repeated(&mut inner, out, &given, &batched[1..], size)?,
                false => out,
            });
        }
        branches.push(Arc::new(prune(inner.finish_alone(outputs)?)));
    }
    let branches: [Arc<Graph>; 2] = branches.try_into().expect("there are two");
    let outputs = b.equation(Cond { branches }, inputs, &[])?;
    Ok(outputs.into_iter().map(Atom::from).zip(flags).collect())
}
