//! A Graph as one equation.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{AnyShapes, Fixed, alike};
use crate::graph::{Atom, Effect, Graph};
use crate::param::{Param, Params};
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::rebind::{Rebound, Remake};
use lazuli_kernel::{Error, Result, Shape};
use smallvec::SmallVec;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Runs a Graph on the inputs: how a derived op (softmax, layer norm), a checkpointed function and one with derivatives of its own are recorded. Eager fuses
/// inside it, never across; `compile` inlines it whatever its derivative is, so that it never stands in the way of fusion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    pub name: Arc<str>,
    /// Without constants: what it needs is passed.
    pub graph: Arc<Graph>,
    /// What makes the body for other shapes, where that is more than running the shape rules again.
    pub rule: Option<Rule>,
    pub derivative: Derivative,
    /// How it runs over a batch, if not as its body does. It is no part of the text: a graph that is read has none.
    pub vmap: Option<VmapRule>,
}

/// A rule of vectorisation that the caller gave. What it is, who calls it knows; transformations that do not, vectorise the body. Those of two calls are the same if they
/// are one object.
#[derive(Clone)]
pub struct VmapRule(pub Arc<dyn Any + Send + Sync>);

impl fmt::Debug for VmapRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmapRule").finish_non_exhaustive()
    }
}
impl PartialEq for VmapRule {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for VmapRule {}
impl std::hash::Hash for VmapRule {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        Arc::as_ptr(&self.0).hash(h);
    }
}

/// Makes a graph for inputs of given avals: of a body that depends on their extents in ways that no parameter states, such as the derivative
/// of another graph. Rules of one name and parameters that transform equal graphs are the same.
pub trait GraphRule: fmt::Debug + Send + Sync {
    /// The body for inputs of these avals, without constants; dtypes and the number of outputs do not depend on the shapes.
    fn graph(&self, inputs: &[&Aval]) -> Result<Graph>;
    fn name(&self) -> &'static str;
    /// Parameters as those of a primitive: `shift=1,axis=0`.
    fn params(&self) -> String;
    /// The graph that it transforms, if it does.
    fn source(&self) -> Option<&Graph> {
        None
    }
    /// The body of [`graph`](Self::graph), up to what changes no value, as one that holds for other shapes as well; `None` if it is to be made anew for each.
    fn for_any_shapes(&self, _inputs: &[&Aval]) -> Option<AnyShapes> {
        None
    }
    /// The same rule for a graph that is [renewed](Graph::renew) for inputs of these avals, if it transforms one.
    fn renewed(&self, _inputs: &[&Aval]) -> Result<Option<Arc<dyn GraphRule>>> {
        Ok(None)
    }
    /// What the inputs of the graph that it transforms are, if it does. A body [for any shapes](Self::for_any_shapes) is what is made anew while of all variables of that graph, and of its
    /// own, the same extents are 0 and 1.
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }
}

/// What an input of a graph that is transformed is among the operands of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub operand: usize,
    /// The axis along which the operand has it many times.
    pub batch: Option<usize>,
}

impl Source {
    /// What it has of each axis of its operand.
    pub fn of<A: smallvec::Array<Item: Copy>>(&self, operand: &SmallVec<A>) -> SmallVec<A> {
        let own = operand.iter().enumerate().filter(|(axis, _)| Some(*axis) != self.batch);
        own.map(|(_, &extent)| extent).collect()
    }
    /// The operand, and which of its axes this one of the input is.
    pub fn place(&self, axis: usize) -> (usize, usize) {
        (self.operand, axis + self.batch.is_some_and(|batch| batch <= axis) as usize)
    }
}

/// Finds the rule of this name, with these parameters, that transforms this graph: the inverse of what a [`GraphRule`] says of itself.
pub type ReadRule = dyn Fn(&str, &Params, Option<Graph>) -> Option<Arc<dyn GraphRule>>;

/// A shared [`GraphRule`], and what it made.
#[derive(Debug, Clone)]
pub struct Rule {
    pub make: Arc<dyn GraphRule>,
    /// Of a body that holds for other shapes: the extents of inputs that must be as they were.
    pub fixed: Option<Arc<[Fixed]>>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.make, &other.make);
        Arc::ptr_eq(a, b) || a.name() == b.name() && a.params() == b.params() && a.source() == b.source()
    }
}
impl Eq for Rule {}
impl std::hash::Hash for Rule {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        self.make.name().hash(h);
    }
}

/// How a call is differentiated. Graphs of rules have no constants either: what a rule needs besides is among the call's inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Derivative {
    /// Through the body; what the derivative needs of it is kept.
    #[default]
    Body,
    /// Through the body, which reverse mode computes again from the inputs: nothing else is kept (a checkpoint).
    Recompute,
    /// Reverse mode by `vjp` (inputs: those of the call, a cotangent for each output, the outputs; outputs: a cotangent for each of the call's first inputs, the
    /// primals), forward mode by `jvp` (inputs: those of the call, a tangent for each primal; outputs: tangents of the outputs). The one that is missing goes through the
    /// body. What comes after the primals has no derivative.
    Custom { vjp: Option<Arc<Graph>>, jvp: Option<Arc<Graph>> },
    /// The tangents of a call with a `vjp` of its own, in the middle of reverse mode: inputs are those of the call, its outputs, and tangents, in which it is
    /// linear; it is transposed, never run, and its body gives zeros.
    Pullback { vjp: Arc<Graph> },
}

impl Derivative {
    /// Its graphs, by name.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &Arc<Graph>)> {
        let (vjp, jvp) = match self {
            Derivative::Body | Derivative::Recompute => (None, None),
            Derivative::Custom { vjp, jvp } => (vjp.as_ref(), jvp.as_ref()),
            Derivative::Pullback { vjp } => (Some(vjp), None),
        };
        vjp.map(|g| ("vjp", g)).into_iter().chain(jvp.map(|g| ("jvp", g)))
    }
}

impl Call {
    /// A call of this graph, which has no constants.
    pub fn new(name: impl Into<Arc<str>>, graph: impl Into<Arc<Graph>>) -> Call {
        Call { name: name.into(), graph: graph.into(), rule: None, derivative: Derivative::Body, vmap: None }
    }
    /// A call whose body `rule` makes: for any shapes if it can, else anew for each binding of shapes. These are the first.
    pub fn ruled(name: impl Into<Arc<str>>, rule: Arc<dyn GraphRule>, inputs: &[&Aval]) -> Result<Call> {
        let (graph, fixed) = match rule.for_any_shapes(inputs) {
            Some(AnyShapes { graph, fixed }) => (graph, Some(fixed.into())),
            None => (rule.graph(inputs)?, None),
        };
        let call = Call { rule: Some(Rule { make: rule.clone(), fixed }), ..Call::new(name, graph) };
        #[cfg(debug_assertions)]
        if !call.is_remade() {
            call.check_lasting(&*rule, inputs);
        }
        Ok(call)
    }
    /// Whether its body is made anew for other shapes.
    pub fn is_remade(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.fixed.is_none())
    }
    /// The body for inputs of these avals.
    pub fn body(&self, inputs: &[&Aval]) -> Result<Cow<'_, Graph>> {
        if self.fits(inputs) {
            return Ok(Cow::Borrowed(&self.graph));
        }
        Ok(Cow::Owned(Arc::unwrap_or_clone(self.rebind(inputs)?.graph)))
    }
    /// The same call for inputs of these avals: the body's shape rules run again, or its rule makes another; those of the derivative too.
    pub fn rebind(&self, inputs: &[&Aval]) -> Result<Call> {
        self.bound(inputs, Remake::Once)
    }
    /// The same; `remake`: for which shapes rules make what they make anew.
    pub(crate) fn bound(&self, inputs: &[&Aval], remake: Remake) -> Result<Call> {
        let shapes: Vec<Shape> = inputs.iter().map(|a| a.shape.clone()).collect();
        let (graph, rule) = match (&self.rule, remake) {
            (None, _) => (self.graph.bound(&shapes, remake)?.into(), None),
            (Some(rule), _) if self.lasts(inputs)?.is_some() => {
                (self.graph.rebind(&shapes)?.into(), Some(rule.clone()))
            }
            (Some(Rule { make, .. }), Remake::Once) => {
                (make.graph(inputs)?.into(), Some(Rule { make: make.clone(), fixed: None }))
            }
            (Some(Rule { make, .. }), Remake::Lasting) => {
                let make = make.renewed(inputs)?.unwrap_or_else(|| make.clone());
                let Call { graph, rule, .. } = Call::ruled(self.name.clone(), make, inputs)?;
                (graph, rule)
            }
        };
        let rebound = |rule: &Arc<Graph>, more: Vec<Aval>| {
            let shapes: Vec<Shape> = shapes.iter().cloned().chain(more.into_iter().map(|a| a.shape)).collect();
            rule.bound(&shapes, remake).map(Arc::new)
        };
        let derivative = match &self.derivative {
            Derivative::Custom { vjp, jvp } => {
                let outputs = [graph.output_avals(), graph.output_avals()].concat();
                let vjp = vjp.as_ref().map(|g| rebound(g, outputs)).transpose()?;
                let tangents = |g: &Arc<Graph>| {
                    let primals = g.inputs.len() - self.graph.inputs.len();
                    inputs[..primals].iter().map(|&a| a.clone()).collect()
                };
                Derivative::Custom { vjp, jvp: jvp.as_ref().map(|g| rebound(g, tangents(g))).transpose()? }
            }
            other => other.clone(),
        };
        Ok(Call { name: self.name.clone(), graph, rule, derivative, vmap: self.vmap.clone() })
    }
    /// The avals of the outputs for inputs of these avals, as [`Graph::rebound_avals`].
    pub fn rebound_avals(&self, inputs: &[&Aval], alike: bool) -> Result<Option<SmallVec<[Aval; 1]>>> {
        let given = || inputs.iter().map(|a| &a.shape[..]);
        let body = match self.rule {
            Some(_) => self.lasts(inputs)?,
            None => self.graph.rebound_avals(given(), alike)?,
        };
        let Some(body) = body else { return Ok(None) };
        let outputs = body.output_avals();
        if let Derivative::Custom { vjp, jvp } = &self.derivative {
            let results = || outputs.iter().map(|a| &a.shape[..]);
            if let Some(vjp) = vjp
                && vjp.rebound_avals(given().chain(results()).chain(results()), alike)?.is_none()
            {
                return Ok(None);
            }
            if let Some(jvp) = jvp {
                let primals = jvp.inputs.len() - self.graph.inputs.len();
                if jvp.rebound_avals(given().chain(given().take(primals)), alike)?.is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(outputs))
    }
    /// The avals of the variables of a ruled call's body for inputs of these avals, if it is what the rule would make for them.
    fn lasts(&self, inputs: &[&Aval]) -> Result<Option<Rebound<'_>>> {
        let Some(Rule { make, fixed: Some(fixed) }) = &self.rule else { return Ok(None) };
        let own = |k: usize| self.graph.shape_of(self.graph.inputs[k]);
        let is_fixed = |f: &Fixed| own(f.input)[f.axis] == inputs[f.input].shape[f.axis];
        if !(0..inputs.len()).all(|k| alike(own(k), &inputs[k].shape)) || !fixed.iter().all(is_fixed) {
            return Ok(None);
        }
        if !self.source_lasts(&**make, inputs)? {
            return Ok(None);
        }
        // What is refused is for the rule to refuse.
        let body = self.graph.rebound_avals(inputs.iter().map(|a| &a.shape[..]), true).unwrap_or(None);
        #[cfg(debug_assertions)]
        if body.is_some() {
            self.check_lasting(&**make, inputs);
        }
        Ok(body)
    }
    /// Whether what the body was made of is for these inputs what it was: of all variables the same extents are 0 and 1. An error where it refuses these.
    fn source_lasts(&self, rule: &dyn GraphRule, inputs: &[&Aval]) -> Result<bool> {
        let Some(source) = rule.source() else { return Ok(true) };
        let sources = rule.sources();
        // A batch of several extents is refused.
        let mut batches = sources.iter().filter_map(|s| Some(inputs[s.operand].shape[s.batch?]));
        if batches.next().is_some_and(|first| batches.any(|n| n != first)) {
            return Ok(false);
        }
        let was: Vec<Shape> = sources.iter().map(|s| s.of(self.graph.shape_of(self.graph.inputs[s.operand]))).collect();
        let now: Vec<Shape> = sources.iter().map(|s| s.of(&inputs[s.operand].shape)).collect();
        let now = || now.iter().map(|shape| &shape[..]);
        if source.inputs.iter().map(|&v| source.shape_of(v)).eq(&was) {
            return Ok(source.rebound_avals(now(), true)?.is_some());
        }
        Ok(source.rebind(&was)?.rebound_avals(now(), true)?.is_some())
    }
    /// Checks that the body is what its rule would make anew.
    #[cfg(debug_assertions)]
    fn check_lasting(&self, rule: &dyn GraphRule, inputs: &[&Aval]) {
        let shapes: Vec<Shape> = inputs.iter().map(|a| a.shape.clone()).collect();
        let text = |g: Graph| g.for_these_shapes().map(|g| g.to_string()).map_err(|e| e.to_string());
        let rebound = self.graph.rebind(&shapes).map_err(|e| e.to_string()).and_then(text);
        let anew = rule.graph(inputs).map_err(|e| e.to_string()).and_then(text);
        assert_eq!(rebound, anew, "the body of '{}' does not hold for these shapes:\n{}", self.name, self.graph);
    }
    /// Its body and the graphs of its derivative.
    pub fn graphs(&self) -> impl Iterator<Item = &Arc<Graph>> {
        let derivative = match &self.derivative {
            Derivative::Custom { vjp, jvp } => [vjp.as_ref(), jvp.as_ref()],
            Derivative::Pullback { vjp } => [Some(vjp), None],
            Derivative::Body | Derivative::Recompute => [None, None],
        };
        std::iter::once(&self.graph).chain(derivative.into_iter().flatten())
    }
    /// The same call with `f` of its body and of the graphs of its derivative.
    pub fn map_graphs(&self, f: impl Fn(&Graph) -> Result<Graph>) -> Result<Call> {
        let one = |g: &Arc<Graph>| f(g).map(Arc::new);
        let derivative = match &self.derivative {
            Derivative::Custom { vjp, jvp } => {
                Derivative::Custom { vjp: vjp.as_ref().map(one).transpose()?, jvp: jvp.as_ref().map(one).transpose()? }
            }
            Derivative::Pullback { vjp } => Derivative::Pullback { vjp: one(vjp)? },
            other => other.clone(),
        };
        Ok(Call { graph: one(&self.graph)?, derivative, ..self.clone() })
    }
    /// Whether the inputs of the body are of these avals.
    pub fn fits(&self, inputs: &[&Aval]) -> bool {
        self.graph.inputs.iter().zip(inputs).all(|(v, a)| self.graph.avals[v.0 as usize] == **a)
    }
}

impl Primitive for Call {
    fn name(&self) -> &'static str {
        "call"
    }
    fn params(&self) -> String {
        let derivative = match self.derivative {
            Derivative::Body => "",
            Derivative::Recompute => ",derivative=recompute",
            Derivative::Custom { .. } => ",derivative=custom",
            Derivative::Pullback { .. } => ",derivative=pullback",
        };
        format!("name={}{derivative}", self.name.show())
    }
    fn arity(&self) -> Arity {
        Arity::Exactly(self.graph.inputs.len())
    }
    /// The body is not among the parameters: the graph's parser reads it.
    fn parse(_: &str, _: &Params) -> Option<Self> {
        None
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let expected = self.graph.input_avals();
        let fits = expected.len() == inputs.len() && expected.iter().zip(inputs).all(|(e, got)| e.dtype == got.dtype);
        if !fits {
            let list = |avals: &mut dyn Iterator<Item = String>| avals.collect::<Vec<_>>().join(", ");
            let (want, got) =
                (list(&mut expected.iter().map(Aval::to_string)), list(&mut inputs.iter().map(|a| a.to_string())));
            return Err(Error::internal(&*self.name, format!("takes ({want}), not ({got})")));
        }
        if expected.iter().zip(inputs).all(|(e, got)| e == *got) {
            return Ok(self.graph.output_avals().into());
        }
        Ok(self.rebind(inputs)?.graph.output_avals().into())
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Err(Error::internal("call", "is inlined by the transforms, which have no rule for it"))
    }
    fn vmap(&self, _: &mut Builder, _: VmapCx) -> Result<VmapOut> {
        Err(Error::internal("call", "is inlined by the transforms, which have no rule for it"))
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Call
    }
    fn effect(&self) -> Effect {
        self.graph.effect()
    }
}
