//! A Graph as one equation.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::{Atom, Graph};
use crate::param::Params;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::{Error, Result, Shape};
use smallvec::SmallVec;
use std::sync::Arc;

/// Runs a Graph on the inputs: how a derived op (softmax, layer norm) is recorded. Eager fuses inside it, never across; `compile` inlines it, and so
/// do the transforms, which is why it states no derivative of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    pub name: Arc<str>,
    /// Without constants: what it needs is passed.
    pub graph: Arc<Graph>,
}

impl Call {
    /// The same call for inputs of these avals: the body's shape rules run again.
    pub fn rebind(&self, inputs: &[&Aval]) -> Result<Call> {
        let shapes: Vec<Shape> = inputs.iter().map(|a| a.shape.clone()).collect();
        Ok(Call { name: self.name.clone(), graph: Arc::new(self.graph.rebind(&shapes)?) })
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
