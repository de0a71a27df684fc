//! A graph cut out of what was recorded.

use super::Effects;
use crate::array::{Array, Hole, Node, Op, Record};
use lazuli_ir::prims::{Broadcast, Call};
use lazuli_ir::{Atom, Aval, Dim, Effect, Equation, Error, Graph, Location, Meta, Result, Scalar, Var};
use lazuli_kernel::hash::{Map, Set};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A graph cut out of what was recorded, and the arrays of its constant inputs.
#[derive(Debug)]
pub struct Cut {
    /// Its last inputs are the constants.
    pub graph: Graph,
    /// What the function reached beside its inputs.
    pub constants: Vec<Array>,
}

/// The graph from `inputs` (marked arrays) to `outputs`, with these effects. Calls of compiled functions are inlined.
pub fn cut(inputs: &[Array], outputs: &[Array], effects: &Effects) -> Result<Cut> {
    cut_out(inputs, outputs, effects, Within::Dependent)
}

/// The same with these nodes in the graph and no others.
pub(crate) fn cut_whole(inputs: &[Array], outputs: &[Array], effects: &Effects, made: &[Arc<Node>]) -> Result<Cut> {
    let made = made.iter().map(Arc::as_ptr).collect();
    cut_out(inputs, outputs, effects, Within::These(&made))
}

/// The same with all that has not been run yet in the graph, whether it depends on the inputs or not.
pub(crate) fn cut_pending(inputs: &[Array], outputs: &[Array]) -> Result<Cut> {
    cut_out(inputs, outputs, &Effects::default(), Within::Pending)
}

/// The same, with the programs of compiled functions that fuse as calls instead of inlined; says which equations these are.
pub(crate) fn cut_to_show(outputs: &[Array]) -> Result<(Graph, Vec<usize>)> {
    let mut cutter = Cutter { programs: Some(Vec::new()), ..Cutter::default() };
    cutter.all(&[], outputs, &Effects::default(), Within::Pending)?;
    let programs = cutter.programs.take().unwrap_or_default();
    Ok((cutter.finish().graph, programs))
}

/// Which of `arrays` depend on `inputs`, placeholders of a trace.
pub fn depend(inputs: &[Array], arrays: &[Array]) -> Vec<bool> {
    let found = dependents(inputs, arrays, &Effects::default(), Within::Dependent);
    arrays.iter().map(|a| found.nodes.get(&Arc::as_ptr(&a.node)).copied().unwrap_or(false)).collect()
}

/// Which nodes become equations; the others are constants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within<'a> {
    /// Those that depend on the inputs.
    Dependent,
    /// Those that have not been run.
    Pending,
    /// These.
    These(&'a Set<*const Node>),
}

fn cut_out(inputs: &[Array], outputs: &[Array], effects: &Effects, within: Within<'_>) -> Result<Cut> {
    let mut cutter = Cutter::default();
    cutter.all(inputs, outputs, effects, within)?;
    Ok(cutter.finish())
}

/// Which of `targets` one of `arrays` is, or needs in order to be computed.
pub(crate) fn reached(arrays: &[Array], targets: &[Array]) -> Option<usize> {
    let targets: Map<Key, usize> = targets.iter().map(key).zip(0..).collect();
    if targets.is_empty() {
        return None;
    }
    let mut seen: Set<*const Node> = Set::default();
    let mut stack: Vec<Array> = arrays.to_vec();
    while let Some(array) = stack.pop() {
        if let Some(&at) = targets.get(&key(&array)) {
            return Some(at);
        }
        if !array.is_evaluated()
            && seen.insert(Arc::as_ptr(&array.node))
            && let Some(record) = array.node.record()
        {
            stack.extend(record.inputs.iter().cloned());
        }
    }
    None
}

/// The placeholder of a trace that is over, if one of these arrays depends on any whose extents are not those of a constant.
pub(crate) fn left_behind(arrays: &[Array]) -> Option<Arc<Hole>> {
    let mut seen: Set<*const Node> = Set::default();
    let mut stack: Vec<Arc<Node>> = arrays.iter().map(|a| a.node.clone()).collect();
    while let Some(node) = stack.pop() {
        if !node.traced || !seen.insert(Arc::as_ptr(&node)) {
            continue;
        }
        if let Some(hole) = node.hole().filter(|hole| !hole.fixed && !hole.live.load(Ordering::Relaxed)) {
            return Some(hole);
        }
        if let Some(record) = node.record() {
            stack.extend(record.inputs.iter().chain(&record.shapes).map(|a| a.node.clone()));
        }
    }
    None
}

/// Of what was recorded and depends on `inputs`, what `outputs` do not need; without what others of it need.
pub(crate) fn unused(inputs: &[Array], outputs: &[Array], recorded: Vec<Array>) -> Vec<Array> {
    let node = |a: &Array| Arc::as_ptr(&a.node);
    let used = dependents(inputs, outputs, &Effects::default(), Within::Dependent).nodes;
    let is_left = |a: &Array| !used.contains_key(&node(a)) && !a.node.avals.is_empty();
    let left: Vec<Array> = recorded.into_iter().filter(is_left).collect();
    let found = dependents(inputs, &left, &Effects::default(), Within::Dependent).nodes;
    let mut needed: Set<*const Node> = Set::default();
    for record in left.iter().filter_map(|a| a.node.record()) {
        needed.extend(record.inputs.iter().chain(&record.shapes).map(node));
    }
    let wanted = |a: &Array| found.get(&node(a)) == Some(&true) && !needed.contains(&node(a));
    left.into_iter().filter(wanted).collect()
}

type Key = (*const Node, u32);

fn key(a: &Array) -> Key {
    (Arc::as_ptr(&a.node), a.index)
}

struct Dependents {
    /// In an order in which they can run.
    order: Vec<Arc<Node>>,
    nodes: Map<*const Node, bool>,
}

/// The nodes that depend on the inputs, and those with effects: a depth-first walk without recursion, over nodes that some trace can reach.
fn dependents(inputs: &[Array], outputs: &[Array], effects: &Effects, within: Within<'_>) -> Dependents {
    enum Visit {
        Enter(Arc<Node>),
        Leave(Arc<Node>),
    }
    let mut found = Dependents { order: Vec::new(), nodes: Map::default() };
    for input in inputs {
        found.nodes.insert(Arc::as_ptr(&input.node), true);
    }
    let performed: Set<*const Node> = effects.0.iter().map(|a| Arc::as_ptr(&a.node)).collect();
    // Effects first: they are found, and run, in their order.
    let mut stack: Vec<Visit> = effects.0.iter().chain(outputs).rev().map(|a| Visit::Enter(a.node.clone())).collect();
    while let Some(visit) = stack.pop() {
        match visit {
            Visit::Enter(node) => {
                let is_outside = match within {
                    Within::Dependent => !node.traced,
                    Within::Pending => false,
                    Within::These(nodes) => !nodes.contains(&Arc::as_ptr(&node)),
                };
                let is_outside = is_outside && !performed.contains(&Arc::as_ptr(&node));
                if is_outside || found.nodes.contains_key(&Arc::as_ptr(&node)) {
                    continue;
                }
                found.nodes.insert(Arc::as_ptr(&node), false);
                let Some(record) = node.record() else { continue };
                let inputs: SmallVec<[Arc<Node>; 4]> =
                    record.inputs.iter().chain(&record.shapes).rev().map(|a| a.node.clone()).collect();
                stack.push(Visit::Leave(node));
                stack.extend(inputs.into_iter().map(Visit::Enter));
            }
            Visit::Leave(node) => {
                // A traced node keeps its record; another may have been run by a thread meanwhile.
                let Some(record) = node.record() else { continue };
                let depends = record
                    .inputs
                    .iter()
                    .chain(&record.shapes)
                    .any(|a| found.nodes.get(&Arc::as_ptr(&a.node)).copied().unwrap_or(false));
                if depends || within != Within::Dependent || performed.contains(&Arc::as_ptr(&node)) {
                    found.nodes.insert(Arc::as_ptr(&node), true);
                    found.order.push(node);
                }
            }
        }
    }
    found
}

#[derive(Default)]
struct Cutter {
    graph: Graph,
    known: Map<Key, Atom>,
    constants: Vec<Array>,
    constant_vars: Vec<Var>,
    /// Whether some equations are those of a compiled function, which stand together and not where they are needed.
    spliced: bool,
    /// Which equations are programs, if these are kept as calls.
    programs: Option<Vec<usize>>,
}

impl Cutter {
    fn all(&mut self, inputs: &[Array], outputs: &[Array], effects: &Effects, within: Within<'_>) -> Result<()> {
        for input in inputs {
            let v = self.fresh(input.aval().clone());
            self.known.insert(key(input), v.into());
            self.graph.inputs.push(v);
        }
        let dependent = dependents(inputs, outputs, effects, within);
        let performed: Set<*const Node> = effects.0.iter().map(|a| Arc::as_ptr(&a.node)).collect();
        for node in &dependent.order {
            self.node(node, performed.contains(&Arc::as_ptr(node)))?;
        }
        for output in outputs {
            let out = self.atom(output)?;
            self.graph.outputs.push(out);
        }
        if self.spliced && within != Within::Pending {
            // As if the compiled functions had been plain ones: derivatives add up in the order of equations.
            self.graph.order_by_need();
        }
        Ok(())
    }
    fn finish(mut self) -> Cut {
        self.graph.constants = self.constants.len();
        self.graph.inputs.extend(self.constant_vars);
        Cut { graph: self.graph, constants: self.constants }
    }
    fn fresh(&mut self, aval: Aval) -> Var {
        self.graph.avals.push(aval);
        Var(self.graph.avals.len() as u32 - 1)
    }
    /// The atom of an array: known, a literal, or a new constant.
    fn atom(&mut self, a: &Array) -> Result<Atom> {
        if let Some(&atom) = self.known.get(&key(a)) {
            return Ok(atom);
        }
        if let Some(s) = a.literal() {
            return Ok(Atom::Lit(s));
        }
        let v = self.fresh(a.aval().clone());
        self.known.insert(key(a), v.into());
        self.constants.push(a.clone());
        self.constant_vars.push(v);
        Ok(v.into())
    }
    /// The atom of an operand. An array of one number that the function made by itself, such as zeros, needs no memory: it is computed where it is used.
    fn operand(&mut self, a: &Array) -> Result<Atom> {
        if !self.known.contains_key(&key(a))
            && let Some(number) = repeated(a)
        {
            let v = self.fresh(a.aval().clone());
            self.known.insert(key(a), v.into());
            let prim = Broadcast { shape: a.aval().shape.iter().map(|&n| Dim::Known(n)).collect() }.into();
            let (inputs, outputs) = (smallvec![Atom::Lit(number)], smallvec![v]);
            let meta = a.node.meta;
            self.graph.equations.push(Equation { prim, inputs, shapes: SmallVec::new(), outputs, meta });
            return Ok(v.into());
        }
        self.atom(a)
    }
    /// Adds a node. If it has effects and is not `performed` here, they have happened already, and are left out.
    fn node(&mut self, node: &Arc<Node>, performed: bool) -> Result<()> {
        let record = node.record().ok_or_else(|| Error::internal("trace", "a traced node lost its record"))?;
        let inputs = record.inputs.iter().map(|a| self.operand(a)).collect::<Result<SmallVec<[Atom; 3]>>>()?;
        let this = Arc::as_ptr(node);
        match &record.op {
            Op::Literal(s) => {
                self.known.insert((this, 0), Atom::Lit(*s));
            }
            Op::Alias => {
                self.known.insert((this, 0), inputs[0]);
            }
            Op::Prim(prim) => {
                let mut shapes = SmallVec::new();
                for a in &record.shapes {
                    shapes.push(match self.atom(a)? {
                        Atom::Var(v) => v,
                        Atom::Lit(_) => return Err(Error::internal("trace", "a literal as a shape operand")),
                    });
                }
                let outputs: SmallVec<[Var; 1]> = node.avals.iter().map(|a| self.fresh(a.clone())).collect();
                for (k, &v) in outputs.iter().enumerate() {
                    self.known.insert((this, k as u32), v.into());
                }
                let (prim, meta) = match performed {
                    true => (prim.clone(), node.meta),
                    false => (prim.without_effects(), Meta { effect: Effect::None, ..node.meta }),
                };
                self.graph.equations.push(Equation { prim, inputs, shapes, outputs, meta });
            }
            Op::Program(program) => {
                let mut arguments: Vec<Atom> = inputs.to_vec();
                for constant in program.constants() {
                    arguments.push(self.atom(constant)?);
                }
                if let Some(programs) = &mut self.programs
                    && program.options().fuse
                {
                    programs.push(self.graph.equations.len());
                    let body = program.bound(record.inputs.iter().map(|a| &a.aval().shape[..]))?.graph;
                    let prim = Call::new(program.name(), Graph { constants: 0, ..body }).into();
                    let outputs: SmallVec<[Var; 1]> = node.avals.iter().map(|a| self.fresh(a.clone())).collect();
                    self.known.extend(outputs.iter().enumerate().map(|(k, &v)| ((this, k as u32), v.into())));
                    let (inputs, shapes) = (arguments.into(), SmallVec::new());
                    self.graph.equations.push(Equation { prim, inputs, shapes, outputs, meta: node.meta });
                    return Ok(());
                }
                let mut body = program.recorded_for(&record.inputs)?;
                if !performed {
                    body = body.without_effects();
                }
                let outputs = self.graph.splice(&body, &arguments)?;
                self.spliced = true;
                self.known.extend(outputs.into_iter().enumerate().map(|(k, atom)| ((this, k as u32), atom)));
            }
        }
        Ok(())
    }
}

/// The number that an array repeats, if it was made while something was traced and does not depend on that.
fn repeated(a: &Array) -> Option<Scalar> {
    if a.is_traced() || a.node.meta.location == Location::UNKNOWN {
        return None;
    }
    let mut record = a.node.record()?;
    loop {
        match &*record {
            Record { op: Op::Prim(prim), inputs, shapes } if prim.is_view() && shapes.is_empty() => {
                match inputs[0].literal() {
                    Some(number) => return Some(number),
                    None => record = inputs[0].node.record()?.clone(),
                }
            }
            _ => return None,
        }
    }
}
