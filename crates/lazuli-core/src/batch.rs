//! Vectorisation where a call has a rule of its own for it.
//!
//! A graph without such calls is vectorised as a whole ([`lazuli_transform::vmap`]). Where there are some, the equations between them are, and each rule is called
//! on the arrays that its call would get, with the batch. So what a rule does is recorded where the batched function is called: what it reaches through its
//! closure is what any function there would reach, and transformations around it see its operations. A call whose body holds such calls is recorded anew, with
//! its derivative; a choice likewise.
//!
//! Absent: rules within bodies that a rule of a shapeless program makes (a derivative within a batch): the functions themselves are vectorised there.

use crate::array::Array;
use crate::cond::{self, Branch};
use crate::custom::{self, Rules, Vmap};
use crate::dim::Dim;
use crate::ops;
use crate::shapeless::is_symbolic;
use crate::transform::Transform;
use lazuli_ir::prims::{Call, Cond, Derivative, ReduceOp};
use lazuli_ir::{Atom, Equation, Error, Graph, Prim, Result, Var, prune, shape};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::Arc;

/// A rule as a call holds it.
pub(crate) struct Rule {
    /// How many operands of the call are the function's inputs; the others are what it reaches besides.
    pub primals: usize,
    pub vmap: Arc<dyn Vmap>,
}

fn rule_of(call: &Call) -> Option<&Rule> {
    call.vmap.as_ref()?.0.downcast_ref()
}

/// An array, and where it has the batch.
type Batched = (Array, Option<usize>);

/// The rules of a graph's calls, those in bodies included.
pub(crate) fn rules(graph: &Graph) -> Vec<Arc<dyn Vmap>> {
    let mut found = Vec::new();
    for e in &graph.equations {
        match &e.prim {
            Prim::Call(call) => {
                found.extend(rule_of(call).map(|rule| rule.vmap.clone()));
                found.extend(bodies(call).flat_map(rules));
            }
            Prim::Cond(cond) => found.extend(cond.branches.iter().flat_map(|branch| rules(branch))),
            _ => {}
        }
    }
    found
}

/// The graphs in which rules are looked for: not those that are made for shapes.
fn bodies(call: &Call) -> impl Iterator<Item = &Graph> {
    let own = call.rule.is_none() && !matches!(call.derivative, Derivative::Pullback { .. });
    call.graphs().map(|graph| &**graph).filter(move |_| own)
}

pub(crate) fn has_rules(graph: &Graph) -> bool {
    graph.equations.iter().any(|e| is_ruled(&e.prim))
}

fn is_ruled(prim: &Prim) -> bool {
    match prim {
        Prim::Call(call) => rule_of(call).is_some() || bodies(call).any(has_rules),
        Prim::Cond(cond) => cond.branches.iter().any(|branch| has_rules(branch)),
        _ => false,
    }
}

/// What a graph of one point gives over the batch that its operands have; the batch of output k is at `out_axes[k]`, as
/// [`lazuli_transform::vmap`] has it.
pub(crate) fn vmap(graph: &Graph, operands: &[Batched], out_axes: &[Option<isize>]) -> Result<Vec<Array>> {
    let mut walk = Walk::new(graph, operands)?;
    let rest = walk.equations()?;
    walk.segment(&rest, &graph.outputs, out_axes)
}

/// The same, with the batch in front of each output that has it.
fn vmap_in_front(graph: &Graph, operands: &[Batched]) -> Result<Vec<Batched>> {
    let mut walk = Walk::new(graph, operands)?;
    let rest = walk.equations()?;
    let axes: Vec<Option<isize>> = graph.outputs.iter().map(|&a| walk.is_batched(a).then_some(0)).collect();
    let outputs = walk.segment(&rest, &graph.outputs, &axes)?;
    Ok(outputs.into_iter().zip(axes.iter().map(|axis| axis.map(|_| 0))).collect())
}

/// What a graph gives if no rule is asked, with the batch in front of all outputs.
fn by_default(graph: &Graph, operands: &[Batched]) -> Result<Vec<Array>> {
    let equations: Vec<&Equation> = graph.equations.iter().collect();
    Walk::new(graph, operands)?.segment(&equations, &graph.outputs, &vec![Some(0); graph.outputs.len()])
}

/// A way through the equations of a graph.
struct Walk<'a> {
    graph: &'a Graph,
    values: Vec<Option<Batched>>,
    /// Whether a variable has the batch, known before its value.
    batched: Vec<bool>,
    /// Behind which equation nothing needs a variable.
    last_use: Vec<usize>,
    /// An array that has the batch, which says how large it is.
    anchor: (Array, usize),
}

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph, operands: &[Batched]) -> Result<Walk<'a>> {
        let anchor = operands.iter().find_map(|(a, axis)| Some((a.clone(), (*axis)?)));
        let anchor = anchor.ok_or_else(|| Error::internal("vmap", "no operand has a batch"))?;
        let n = graph.avals.len();
        let mut walk = Walk { graph, values: vec![None; n], batched: vec![false; n], last_use: vec![0; n], anchor };
        for (&v, operand) in graph.inputs.iter().zip(operands) {
            walk.set(v, operand.clone());
        }
        for (i, e) in graph.equations.iter().enumerate() {
            read(e).for_each(|v| walk.last_use[v.0 as usize] = i);
        }
        graph.outputs.iter().filter_map(|a| a.var()).for_each(|v| walk.last_use[v.0 as usize] = usize::MAX);
        Ok(walk)
    }
    fn set(&mut self, v: Var, value: Batched) {
        self.batched[v.0 as usize] = value.1.is_some();
        self.values[v.0 as usize] = Some(value);
    }
    fn is_batched(&self, atom: Atom) -> bool {
        atom.var().is_some_and(|v| self.batched[v.0 as usize])
    }
    fn get(&self, atom: Atom) -> Batched {
        match atom {
            Atom::Var(v) => self.values[v.0 as usize].clone().expect("computed before it is asked for"),
            Atom::Lit(s) => (Array::scalar(s), None),
        }
    }

    /// Goes through all equations; returns those at the end that are not computed yet.
    fn equations(&mut self) -> Result<Vec<&'a Equation>> {
        let graph = self.graph;
        let mut pending: Vec<&'a Equation> = Vec::new();
        for (i, e) in graph.equations.iter().enumerate() {
            let batched = read(e).any(|v| self.batched[v.0 as usize]);
            if !batched || !is_ruled(&e.prim) {
                e.outputs.iter().for_each(|v| self.batched[v.0 as usize] = batched);
                pending.push(e);
                continue;
            }
            self.compute(&std::mem::take(&mut pending), i)?;
            let inputs: Vec<Batched> = e.inputs.iter().map(|&a| self.get(a)).collect();
            let outputs = match &e.prim {
                Prim::Call(call) => call_over(call, inputs)?,
                Prim::Cond(cond) => cond_over(cond, inputs)?,
                _ => return Err(Error::internal("vmap", "only calls and choices have rules")),
            };
            for (&v, output) in e.outputs.iter().zip(outputs) {
                self.set(v, output);
            }
        }
        Ok(pending)
    }

    /// Computes what these equations give that is needed by equation `next` or behind it.
    fn compute(&mut self, equations: &[&Equation], next: usize) -> Result<()> {
        let made = equations.iter().flat_map(|e| e.outputs.iter().copied());
        let wanted: Vec<Var> = made.filter(|v| self.last_use[v.0 as usize] >= next).collect();
        let atoms: Vec<Atom> = wanted.iter().map(|&v| v.into()).collect();
        let axes: Vec<Option<isize>> = atoms.iter().map(|&a| self.is_batched(a).then_some(0)).collect();
        let outputs = self.segment(equations, &atoms, &axes)?;
        for ((v, output), axis) in wanted.into_iter().zip(outputs).zip(axes) {
            self.set(v, (output, axis.map(|_| 0)));
        }
        Ok(())
    }

    /// Vectorises some equations, for these outputs.
    fn segment(&self, equations: &[&Equation], outputs: &[Atom], out_axes: &[Option<isize>]) -> Result<Vec<Array>> {
        if outputs.is_empty() && equations.is_empty() {
            return Ok(Vec::new());
        }
        let mut avals = self.graph.avals.clone();
        let (anchor, at) = &self.anchor;
        let mut point = anchor.aval().clone();
        point.shape.remove(*at);
        avals.push(point);
        let mut inputs = vec![Var(avals.len() as u32 - 1)];
        let mut operands = vec![anchor.clone()];
        let mut in_axes: SmallVec<[Option<usize>; 4]> = SmallVec::from_slice(&[Some(*at)]);
        let mut known = vec![false; avals.len()];
        equations.iter().flat_map(|e| &e.outputs).for_each(|v| known[v.0 as usize] = true);
        let used = equations.iter().flat_map(|e| read(e)).chain(outputs.iter().filter_map(|a| a.var()));
        for v in used {
            if !std::mem::replace(&mut known[v.0 as usize], true) {
                let (array, axis) = self.get(v.into());
                inputs.push(v);
                operands.push(array);
                in_axes.push(axis);
            }
        }
        let equations = equations.iter().map(|&e| e.clone()).collect();
        let graph = prune(Graph { inputs, equations, outputs: outputs.to_vec(), avals, constants: 0 });
        Transform::Vmap { in_axes, out_axes: out_axes.into() }.apply(graph, &operands)
    }
}

/// The variables that an equation reads.
fn read(e: &Equation) -> impl Iterator<Item = Var> {
    e.inputs.iter().filter_map(|a| a.var()).chain(e.shapes.iter().copied())
}

/// A call over a batch: by its rule, or with a body that holds rules.
fn call_over(call: &Call, mut operands: Vec<Batched>) -> Result<Vec<Batched>> {
    let Some(rule) = rule_of(call) else {
        return match &call.derivative {
            Derivative::Custom { vjp, jvp } => {
                let count = |g: &Arc<Graph>| g.inputs.len() - operands.len();
                let primals = vjp.as_ref().map(|g| g.outputs.len()).or(jvp.as_ref().map(count)).unwrap_or(0);
                let besides = operands.split_off(primals);
                let body = |inputs: &[Batched]| vmap_in_front(&call.graph, &[inputs, &besides].concat());
                custom_over(call, &operands, &besides, &body)
            }
            Derivative::Recompute => {
                let (arrays, axes): (Vec<Array>, Vec<_>) = operands.into_iter().unzip();
                let found = RefCell::new(Vec::new());
                let outputs = custom::checkpoint(&call.name, &arrays, |arrays| {
                    let outputs = vmap_in_front(&call.graph, &with_axes(arrays, &axes))?;
                    let (outputs, axes) = outputs.into_iter().unzip();
                    found.replace(axes);
                    Ok(outputs)
                })?;
                Ok(with_axes(&outputs, &found.into_inner()))
            }
            _ => vmap_in_front(&call.graph, &operands),
        };
    };
    let besides = operands.split_off(rule.primals);
    if let Some((array, _)) = besides.iter().find(|(_, axis)| axis.is_some()) {
        return Err(Error::value(
            "custom_function",
            format!(
                "'{}' has a rule of vmap and reaches an array that differs from point to point other than through its positional arguments (the batch has shape \
                 {}): pass it as an argument, so that the rule is given it",
                call.name,
                shape::show(&array.aval().shape)
            ),
        ));
    }
    let ruled = |inputs: &[Batched]| by_rule(call, rule, inputs, &besides);
    match call.derivative {
        Derivative::Custom { .. } => custom_over(call, &operands, &besides, &ruled),
        _ => ruled(&operands),
    }
}

fn with_axes(arrays: &[Array], axes: &[Option<usize>]) -> Vec<Batched> {
    arrays.iter().cloned().zip(axes.iter().copied()).collect()
}

/// What a rule gives, if it fits what the function gives for a point.
fn by_rule(call: &Call, rule: &Rule, inputs: &[Batched], besides: &[Batched]) -> Result<Vec<Batched>> {
    let (arrays, axes): (Vec<Array>, Vec<_>) = inputs.iter().cloned().unzip();
    let (outputs, axes) = rule.vmap.vmap(&arrays, &axes)?;
    let wrong =
        |message: String| Err(Error::value("custom_function", format!("the vmap of '{}' {message}", call.name)));
    let points = call.graph.output_avals();
    if (outputs.len(), axes.len()) != (points.len(), points.len()) {
        let (n, axes, want) = (outputs.len(), axes.len(), points.len());
        return wrong(format!(
            "gave {n} arrays and {axes} axes: it must give {want} of each, as the function gives arrays"
        ));
    }
    // What a shapeless trace compares has to hold for other shapes too.
    let expected = match arrays.iter().chain(&outputs).any(is_symbolic) {
        true => Some(by_default(&call.graph.without_effects(), &[inputs, besides].concat())?),
        false => None,
    };
    let (anchor, at) =
        inputs.iter().find_map(|(a, axis)| Some((a, (*axis)?))).expect("a call without a batch is copied");
    let mut checked = Vec::with_capacity(outputs.len());
    for (k, ((output, axis), point)) in outputs.into_iter().zip(axes).zip(&points).enumerate() {
        let shown = shape::show(&output.aval().shape);
        if let Some(axis) = axis
            && axis >= output.aval().rank()
        {
            return wrong(format!("gave axis {axis} for array {k}, which has shape {shown}"));
        }
        let fits = match &expected {
            Some(expected) => {
                let dims = |a: &Array, axis: Option<usize>| -> Vec<Dim> {
                    a.dims().into_iter().enumerate().filter(|(i, _)| Some(*i) != axis).map(|(_, dim)| dim).collect()
                };
                dims(&output, axis) == dims(&expected[k], Some(0))
                    && axis.is_none_or(|axis| output.dim(axis as isize) == anchor.dim(at as isize))
            }
            None => {
                let mut shape = output.aval().shape.clone();
                let size = axis.map(|axis| shape.remove(axis));
                shape == point.shape && size.is_none_or(|n| n == anchor.aval().shape[at])
            }
        };
        if !fits {
            let of = shape::show(&point.shape);
            let size = anchor.aval().shape[at];
            let (want, axis) = match axis {
                Some(axis) => (format!(" with the batch of {size} at axis {axis}"), axis.to_string()),
                None => (String::new(), "None".into()),
            };
            return wrong(format!(
                "gave array {k} the shape {shown} and the axis {axis}: the function gives {of} for a point, so it must give that{want}"
            ));
        }
        checked.push((ops::astype(&output, point.dtype)?, axis));
    }
    Ok(checked)
}

/// A call with a derivative of its own over a batch: `body` in its place, which is differentiated by the rules of a point, vectorised.
fn custom_over(
    call: &Call,
    primals: &[Batched],
    besides: &[Batched],
    body: &dyn Fn(&[Batched]) -> Result<Vec<Batched>>,
) -> Result<Vec<Batched>> {
    let Derivative::Custom { vjp, jvp } = &call.derivative else {
        return Err(Error::internal("vmap", "a call without a derivative of its own"));
    };
    let (arrays, axes): (Vec<Array>, Vec<Option<usize>>) = primals.iter().cloned().unzip();
    let out_axes: RefCell<Vec<Option<usize>>> = RefCell::default();
    let f = |inputs: &[Array]| {
        let inputs = with_axes(inputs, &axes);
        let anchor = inputs.iter().chain(besides).find(|(_, axis)| axis.is_some()).expect("something has a batch");
        let mut outputs = body(&inputs)?;
        // One derivative for all points: every output has the batch.
        for output in outputs.iter_mut().filter(|(_, axis)| axis.is_none()) {
            *output = (stretched(&output.0, anchor)?, Some(0));
        }
        let (outputs, axes) = outputs.into_iter().unzip();
        out_axes.replace(axes);
        Ok(outputs)
    };
    let pull = |primals: &[Array], cotangents: &[Array], outputs: &[Array]| {
        let graph = vjp.as_ref().expect("called where there is one");
        let (out_axes, inputs) = (out_axes.borrow(), with_axes(primals, &axes));
        let operands = [&inputs, besides, &with_axes(cotangents, &out_axes), &with_axes(outputs, &out_axes)].concat();
        let wanted: Vec<Option<isize>> = axes.iter().map(|axis| Some(axis.unwrap_or(0) as isize)).collect();
        let found = vmap(graph, &operands, &wanted)?;
        // What is one for all points takes the sum of their cotangents.
        let summed = |(ct, axis): (Array, &Option<usize>)| match axis {
            Some(_) => Ok(ct),
            None => ops::reduce(ReduceOp::Sum, &ct, Some(&[0]), false),
        };
        found.into_iter().zip(&axes).map(summed).collect()
    };
    let push = |primals: &[Array], tangents: &[Array]| {
        let graph = jvp.as_ref().expect("called where there is one");
        let operands = [&with_axes(primals, &axes), besides, &with_axes(tangents, &axes)].concat();
        let wanted: Vec<Option<isize>> = out_axes.borrow().iter().map(|axis| axis.map(|at| at as isize)).collect();
        vmap(graph, &operands, &wanted)
    };
    let rules = Rules {
        vjp: vjp.as_ref().map(|_| &pull as custom::Vjp<'_>),
        jvp: jvp.as_ref().map(|_| &push as custom::Jvp<'_>),
        vmap: None,
    };
    let outputs = custom::custom_function(&call.name, &arrays, f, rules)?;
    Ok(with_axes(&outputs, &out_axes.into_inner()))
}

/// An array repeated along a new axis in front, as often as the batch of another is large.
fn stretched(array: &Array, anchor: &Batched) -> Result<Array> {
    let graph = Graph {
        inputs: vec![Var(0)],
        outputs: vec![Var(0).into()],
        avals: vec![array.aval().clone()],
        ..Graph::default()
    };
    let walk = Walk::new(&graph, std::slice::from_ref(anchor))?;
    let walk = Walk { values: vec![Some((array.clone(), None))], ..walk };
    Ok(walk.segment(&[], &graph.outputs, &[Some(0)])?.swap_remove(0))
}

/// A choice over a batch whose branches hold rules.
fn cond_over(cond: &Cond, mut operands: Vec<Batched>) -> Result<Vec<Batched>> {
    let (predicate, axis) = operands.remove(0);
    let [on_true, on_false] = &cond.branches;
    let in_front: Vec<Option<isize>> = vec![Some(0); on_true.outputs.len()];
    if axis.is_some() {
        // Both branches, and a selection. They may have no batch of their own: the predicate has it.
        let mut both = Vec::with_capacity(2);
        for branch in [on_true, on_false] {
            let outputs = match operands.iter().any(|(_, axis)| axis.is_some()) {
                true => vmap(branch, &operands, &in_front)?,
                false => {
                    let arrays: Vec<Array> = operands.iter().map(|(a, _)| a.clone()).collect();
                    let anchor = (predicate.clone(), axis);
                    let outputs = crate::trace::replay(branch, &arrays)?;
                    outputs.iter().map(|a| stretched(a, &anchor)).collect::<Result<_>>()?
                }
            };
            both.push(outputs);
        }
        let mut chosen = Vec::new();
        for (x, y) in both[0].iter().zip(&both[1]) {
            let rest: Vec<isize> = (1..x.aval().rank() as isize).collect();
            chosen.push((ops::select(&ops::expand_dims(&predicate, &rest)?, x, y)?, Some(0)));
        }
        return Ok(chosen);
    }
    let (arrays, axes): (Vec<Array>, Vec<_>) = operands.into_iter().unzip();
    let branch = |name: &str, graph: &Graph| {
        Branch::trace(name, &arrays, |inputs| vmap(graph, &with_axes(inputs, &axes), &in_front))
    };
    let branches = [branch("the function if true", on_true)?, branch("the function if false", on_false)?];
    let [on_true, on_false] = branches;
    let outputs = cond::record(&predicate, &arrays, on_true, on_false, &|k| format!("array {k} of the result"))?;
    Ok(outputs.into_iter().map(|a| (a, Some(0))).collect())
}
