//! A Graph as one equation.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::{Atom, Graph};
use crate::param::Params;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::{Error, Result, Shape};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Runs a Graph on the inputs: how a derived op (softmax, layer norm) is recorded. Eager fuses inside it, never across; `compile` inlines it, and so
/// do the transforms, which is why it states no derivative of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    pub name: Arc<str>,
    /// Without constants: what it needs is passed.
    pub graph: Arc<Graph>,
    /// What makes the body for other shapes, where that is more than running the shape rules again.
    pub rule: Option<Rule>,
}

/// Makes a graph for inputs of given avals: of a body that depends on their extents in ways that no parameter states, such as the derivative
/// of another graph.
pub trait GraphRule: fmt::Debug + Send + Sync {
    /// The body for inputs of these avals, without constants; dtypes and the number of outputs do not depend on the shapes.
    fn graph(&self, inputs: &[&Aval]) -> Result<Graph>;
}

/// A shared [`GraphRule`], equal to itself only.
#[derive(Debug, Clone)]
pub struct Rule(pub Arc<dyn GraphRule>);

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Rule {}
impl std::hash::Hash for Rule {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        Arc::as_ptr(&self.0).cast::<()>().hash(h);
    }
}

impl Call {
    /// A call of this graph, which has no constants.
    pub fn new(name: impl Into<Arc<str>>, graph: impl Into<Arc<Graph>>) -> Call {
        Call { name: name.into(), graph: graph.into(), rule: None }
    }
    /// A call whose body `rule` makes for each binding of shapes; these are the first.
    pub fn ruled(name: impl Into<Arc<str>>, rule: Arc<dyn GraphRule>, inputs: &[&Aval]) -> Result<Call> {
        Ok(Call { name: name.into(), graph: rule.graph(inputs)?.into(), rule: Some(Rule(rule)) })
    }
    /// The body for inputs of these avals.
    pub fn body(&self, inputs: &[&Aval]) -> Result<Cow<'_, Graph>> {
        if self.fits(inputs) {
            return Ok(Cow::Borrowed(&self.graph));
        }
        Ok(Cow::Owned(Arc::unwrap_or_clone(self.rebind(inputs)?.graph)))
    }
    /// The same call for inputs of these avals: the body's shape rules run again, or its rule makes another.
    pub fn rebind(&self, inputs: &[&Aval]) -> Result<Call> {
        let graph = match &self.rule {
            Some(rule) => rule.0.graph(inputs)?,
            None => {
                let shapes: Vec<Shape> = inputs.iter().map(|a| a.shape.clone()).collect();
                self.graph.rebind(&shapes)?
            }
        };
        Ok(Call { name: self.name.clone(), graph: graph.into(), rule: self.rule.clone() })
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
        format!("name={}", self.name)
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
}
