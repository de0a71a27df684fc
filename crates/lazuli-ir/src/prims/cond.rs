//! A choice between two graphs, of which one runs.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::{Atom, Effect, Graph};
use crate::param::Params;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use crate::rebind::Remake;
use lazuli_kernel::{DType, Error, Result, Shape};
use smallvec::SmallVec;
use std::sync::Arc;

/// Runs `branches[0]` if input 0, a bool without axes, is true, else `branches[1]`; the branch's inputs are the other inputs.
///
/// The branches have no constants, take the same inputs, and give outputs of the same avals. Plans branch on the value, so that only what is taken runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cond {
    pub branches: [Arc<Graph>; 2],
}

impl Cond {
    pub fn new(on_true: impl Into<Arc<Graph>>, on_false: impl Into<Arc<Graph>>) -> Cond {
        Cond { branches: [on_true.into(), on_false.into()] }
    }
    /// Whether the branches' inputs are of these avals (those behind the predicate).
    pub fn fits(&self, operands: &[&Aval]) -> bool {
        let same = |g: &Arc<Graph>| g.inputs.iter().zip(operands).all(|(v, a)| g.avals[v.0 as usize] == **a);
        self.branches.iter().all(same)
    }
    /// The same choice for inputs of these avals (those behind the predicate): the shape rules of both branches run again.
    pub fn rebind(&self, operands: &[&Aval]) -> Result<Cond> {
        self.bound(operands, Remake::Once)
    }
    /// The same; `remake`: for which shapes rules make what they make anew.
    pub(crate) fn bound(&self, operands: &[&Aval], remake: Remake) -> Result<Cond> {
        let shapes: Vec<Shape> = operands.iter().map(|a| a.shape.clone()).collect();
        self.map_graphs(|g| g.bound(&shapes, remake))
    }
    /// The avals of the outputs for inputs of these avals, the predicate first, as [`Graph::rebound_avals`].
    pub fn rebound_avals(&self, inputs: &[&Aval], alike: bool) -> Result<Option<SmallVec<[Aval; 1]>>> {
        check_predicate(inputs[0])?;
        let mut outputs: SmallVec<[SmallVec<[Aval; 1]>; 2]> = SmallVec::new();
        for branch in &self.branches {
            let Some(now) = branch.rebound_avals(inputs[1..].iter().map(|a| &a.shape[..]), alike)? else {
                return Ok(None);
            };
            outputs.push(now.output_avals());
        }
        agreed(&outputs[0], &outputs[1])?;
        Ok(outputs.pop())
    }
    /// The same choice between what is made of its branches.
    pub fn map_graphs(&self, f: impl Fn(&Graph) -> Result<Graph>) -> Result<Cond> {
        let [on_true, on_false] = &self.branches;
        Ok(Cond::new(f(on_true)?, f(on_false)?))
    }
}

fn check_predicate(predicate: &Aval) -> Result<()> {
    if *predicate == Aval::scalar(DType::Bool) {
        return Ok(());
    }
    Err(Error::value("cond", format!("the predicate must be a bool without axes, not {predicate}")))
}

/// An error if the outputs of the branches do not agree.
fn agreed(on_true: &[Aval], on_false: &[Aval]) -> Result<()> {
    if on_true == on_false {
        return Ok(());
    }
    let (a, b) = (list(on_true), list(on_false));
    Err(Error::value(
        "cond",
        format!("the branches give other shapes or dtypes: {a} if true, {b} if false; they must agree"),
    ))
}

fn list(avals: &[Aval]) -> String {
    format!("({})", avals.iter().map(Aval::to_string).collect::<Vec<_>>().join(", "))
}

impl Primitive for Cond {
    fn name(&self) -> &'static str {
        "cond"
    }
    fn arity(&self) -> Arity {
        Arity::Exactly(1 + self.branches[0].inputs.len())
    }
    /// The branches are not among the parameters: the graph's parser reads them.
    fn parse(_: &str, _: &Params) -> Option<Self> {
        None
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let operands = &inputs[1..];
        check_predicate(inputs[0])?;
        for g in &self.branches {
            let dtypes = g.inputs.iter().map(|v| g.avals[v.0 as usize].dtype);
            if g.constants != 0 || g.inputs.len() != operands.len() || !dtypes.eq(operands.iter().map(|a| a.dtype)) {
                let got: Vec<Aval> = operands.iter().map(|&a| a.clone()).collect();
                let message = format!("a branch takes {}, not {}", list(&g.input_avals()), list(&got));
                return Err(Error::internal("cond", message));
            }
        }
        let outputs = match self.fits(operands) {
            true => self.branches.each_ref().map(|g| g.output_avals()),
            false => self.rebind(operands)?.branches.map(|g| g.output_avals()),
        };
        agreed(&outputs[0], &outputs[1])?;
        let [outputs, _] = outputs;
        Ok(outputs.into())
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Err(Error::internal("cond", "the transforms have a rule for it that goes into its branches"))
    }
    fn vmap(&self, _: &mut Builder, _: VmapCx) -> Result<VmapOut> {
        Err(Error::internal("cond", "the transforms have a rule for it that goes into its branches"))
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Branch
    }
    fn effect(&self) -> Effect {
        self.branches.iter().map(|g| g.effect()).max().unwrap_or_default()
    }
}
