//! Reverse of linear programs.

use crate::env::Env;
use crate::{call, cond};
use crate::{declare, prune};
use lazuli_ir::prim::{Tangents, TransposeCx};
use lazuli_ir::prims::{Call, Derivative};
use lazuli_ir::{Atom, Aval, Builder, Effect, Equation, Error, Graph, Meta, Prim, Result, Var, small};
use smallvec::SmallVec;

/// The transpose of a graph in its inputs that `linear` names (together). Inputs: the others, then cotangents of the outputs. Outputs: cotangents of the
/// linear inputs, zeros where they have no influence. With the inner product ⟨a, b⟩ = Re(ā·b).
pub fn transpose(graph: &Graph, linear: &[usize]) -> Result<Graph> {
    let mut b = Builder::new();
    let mut inputs: Vec<Option<Atom>> = Vec::with_capacity(graph.inputs.len());
    for (k, v) in graph.inputs.iter().enumerate() {
        let other = !linear.contains(&k);
        inputs.push(other.then(|| b.input(graph.avals[v.0 as usize].clone()).into()));
    }
    let cotangents: Vec<_> = graph.outputs.iter().map(|&a| Some(b.input(graph.aval(a)).into())).collect();
    let (_, results) = pull_back(&mut b, graph, &inputs, &cotangents, &[])?;
    let mut outputs = Vec::with_capacity(linear.len());
    b.meta = Meta::default();
    for &k in linear {
        outputs.push(match results[k] {
            Some(ct) => ct,
            None => crate::zeros(&mut b, &graph.avals[graph.inputs[k].0 as usize])?,
        });
    }
    Ok(prune(b.finish(outputs)))
}

/// Adds the equations of a graph that do not depend on its linear inputs (those that are `None`), then walks the others backwards. Returns the cotangent of each linear
/// input (`None` is zero), added to what `so_far` has of the first of them; before it, of a builder for any shapes, what stood for the inputs.
pub(crate) fn pull_back(
    b: &mut Builder,
    graph: &Graph,
    inputs: &[Option<Atom>],
    cotangents: &[Option<Atom>],
    so_far: &[Option<Atom>],
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    if b.is_for_any_shapes() {
        return pull_back_for_any_shapes(b, graph, inputs, cotangents, so_far);
    }
    let mut values = Env::new(graph, inputs.iter().copied());
    for e in &graph.equations {
        if e.inputs.iter().all(|&a| values.find(a).is_some()) {
            values.copy(b, graph, e)?;
        }
    }
    let mut pulled = Env::new(graph, so_far.iter().copied());
    let seeds = graph.outputs.iter().copied().zip(cotangents.iter().copied());
    walk_back(b, &graph.equations, &values, &mut pulled, seeds, |_, a| graph.aval(a))?;
    let results = graph.inputs.iter().map(|&v| pulled.take(v)).collect();
    Ok((Vec::new(), results))
}

/// The same with the linear equations in the builder for a while, which learns what is of the shape of what.
fn pull_back_for_any_shapes(
    b: &mut Builder,
    graph: &Graph,
    inputs: &[Option<Atom>],
    cotangents: &[Option<Atom>],
    so_far: &[Option<Atom>],
) -> Result<(Vec<Atom>, Vec<Option<Atom>>)> {
    let mut unknown: Vec<Var> = Vec::new();
    let mut operands: Vec<Atom> = Vec::new();
    for (&v, &given) in graph.inputs.iter().zip(inputs) {
        operands.push(given.unwrap_or_else(|| {
            unknown.push(b.unknown(graph.avals[v.0 as usize].clone()));
            unknown[unknown.len() - 1].into()
        }));
    }
    let outputs = b.splice(graph, &operands)?;
    outputs.iter().zip(cotangents).for_each(|(&out, ct)| ct.iter().for_each(|&ct| b.alike(out, ct)));
    let (linear, depends) = b.take_dependents(&unknown);
    let values = Env::known(&depends);
    let mut pulled = Env::empty(depends.len());
    for (a, ct) in operands.iter().zip(so_far) {
        a.var().zip(*ct).into_iter().for_each(|(v, ct)| pulled.set(v, ct));
    }
    walk_back(b, &linear, &values, &mut pulled, outputs.into_iter().zip(cotangents.iter().copied()), |b, a| b.aval(a))?;
    let results = operands.iter().zip(inputs).map(|(a, given)| match given {
        Some(_) => None,
        None => a.var().and_then(|v| pulled.take(v)),
    });
    let results = results.collect();
    Ok((operands, results))
}

/// Walks backwards over equations, of which those count that read what has no value, from the cotangents of some variables to those of what they follow from.
pub(crate) fn walk_back(
    b: &mut Builder,
    equations: &[Equation],
    values: &Env,
    pulled: &mut Env,
    seeds: impl Iterator<Item = (Atom, Option<Atom>)>,
    aval: impl Fn(&Builder, Atom) -> Aval,
) -> Result<()> {
    for (out, ct) in seeds {
        if let (Some(v), Some(ct)) = (out.var(), ct) {
            accumulate(b, pulled, v, ct)?;
        }
    }
    for e in equations.iter().rev() {
        if e.inputs.iter().all(|&a| values.find(a).is_some()) {
            continue;
        }
        let cotangents: SmallVec<[Option<Atom>; 1]> = small(e.outputs.iter().map(|&v| pulled.take(v)));
        if cotangents.iter().all(Option::is_none) {
            continue;
        }
        b.meta = Meta { effect: Effect::None, ..e.meta };
        let inputs: SmallVec<[Option<Atom>; 3]> = small(e.inputs.iter().map(|&a| values.find(a)));
        let avals: SmallVec<[Aval; 3]> = small(e.inputs.iter().map(|&a| aval(b, a)));
        let results = if let Prim::Call(call) = &e.prim {
            call_transpose(b, call, &e.inputs, &inputs, &avals, &cotangents)?
        } else if let Prim::Cond(cond) = &e.prim {
            // A branch adds to what there is, in the order of the function that it was: its sums are those of calling that.
            let unknown = |a: &Atom| a.var().filter(|_| values.find(*a).is_none());
            let so_far: SmallVec<[Option<Atom>; 3]> =
                e.inputs.iter().map(|a| unknown(a).and_then(|v| pulled.take(v))).collect();
            let results = cond::transpose(b, cond, &e.inputs, &inputs, &avals, &cotangents, &so_far)?;
            results.into_iter().zip(so_far).map(|(ct, so_far)| ct.or(so_far)).collect()
        } else {
            let shapes = values.shapes(b, e)?;
            let operands = if b.is_for_any_shapes() { &e.inputs[..] } else { &[] };
            let cx = TransposeCx { inputs: &inputs, avals: &avals, operands, shapes: &shapes };
            e.prim.transpose(b, cx, &cotangents)?
        };
        for ((&a, ct), aval) in e.inputs.iter().zip(results).zip(&avals) {
            let (Some(v), Some(ct)) = (a.var(), ct) else { continue };
            if values.find(a).is_none() {
                debug_assert_eq!(&b.aval(ct), aval, "cotangent of an operand of {}", e.prim.name());
                b.alike(ct, a);
                accumulate(b, pulled, v, ct)?;
            }
        }
    }
    Ok(())
}

fn accumulate(b: &mut Builder, pulled: &mut Env, v: Var, ct: Atom) -> Result<()> {
    let sum = match pulled.take(v) {
        Some(so_far) => b.add(so_far, ct)?,
        None => ct,
    };
    pulled.set(v, sum);
    Ok(())
}

/// A call that is linear in some operands becomes a call of its body's transpose.
fn call_transpose(
    b: &mut Builder,
    call: &Call,
    operands: &[Atom],
    inputs: &[Option<Atom>],
    avals: &[Aval],
    cotangents: &[Option<Atom>],
) -> Result<Tangents> {
    if let Derivative::Pullback { vjp } = &call.derivative {
        return pullback(b, call, vjp, inputs, cotangents);
    }
    let rebound = call.rebind(&avals.iter().collect::<Vec<_>>())?;
    let body = &rebound.graph;
    let mut inner = b.inner();
    let given: Vec<Var> = body.inputs.iter().zip(inputs).filter(|(_, a)| a.is_some()).map(|(&v, _)| v).collect();
    let mut given = declare(&mut inner, body, &given).into_iter();
    let inner_inputs: Vec<Option<Atom>> = inputs.iter().map(|a| a.and_then(|_| given.next())).collect();
    let inner_cotangents: Vec<Option<Atom>> =
        cotangents.iter().map(|ct| ct.map(|ct| inner.input(b.aval(ct)).into())).collect();
    let (inner_operands, results) = pull_back(&mut inner, body, &inner_inputs, &inner_cotangents, &[])?;
    let outputs = results.iter().copied().flatten().collect();
    let graph = prune(inner.finish_within(b, operands, &inner_operands, outputs)?);
    let operands: Vec<Atom> = inputs.iter().chain(cotangents).copied().flatten().collect();
    let name = format!("{}_vjp", call.name.strip_suffix("_jvp").unwrap_or(&call.name));
    let mut outputs = call::emit(b, &name, graph, &operands)?.into_iter();
    Ok(results.iter().map(|r| r.and_then(|_| outputs.next())).collect())
}

/// Cotangents by the vjp that a function states for itself.
fn pullback(
    b: &mut Builder,
    call: &Call,
    vjp: &Graph,
    inputs: &[Option<Atom>],
    cotangents: &[Option<Atom>],
) -> Result<Tangents> {
    // The function's inputs and outputs, then the tangents.
    let (primals, outputs) = (vjp.outputs.len(), cotangents.len());
    let given = inputs.len() - primals;
    let Some(known) = inputs[..given].iter().copied().collect::<Option<Vec<Atom>>>() else {
        return Err(Error::internal("call", "a custom vjp is linear in its tangents only"));
    };
    let mut operands = known[..given - outputs].to_vec();
    for (ct, &out) in cotangents.iter().zip(&call.graph.outputs) {
        operands.push(match ct {
            Some(ct) => *ct,
            None => crate::zeros(b, &call.graph.aval(out))?,
        });
    }
    operands.extend(&known[given - outputs..]);
    let name = format!("{}_vjp", call.name.strip_suffix("_jvp").unwrap_or(&call.name));
    let results = call::emit(b, &name, vjp.clone(), &operands)?;
    let linear = inputs[given..].iter().map(Option::is_none).zip(results).map(|(linear, ct)| linear.then_some(ct));
    Ok(std::iter::repeat_n(None, given).chain(linear).collect())
}
