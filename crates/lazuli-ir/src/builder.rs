//! Builds a graph equation by equation; what tracing, transforms and simplification write with.

use crate::aval::Aval;
use crate::elementwise::{Binary, Ternary, Unary};
use crate::graph::{Atom, Equation, Graph, Meta, Var};
use crate::prim::Prim;
use crate::prims::*;
use lazuli_kernel::{DType, Result, Scalar};
use smallvec::SmallVec;

/// A graph under construction. Every equation's shapes and dtypes are inferred as it is added.
///
/// ```
/// use lazuli_ir::{Aval, Builder, DType, Unary, Binary};
/// let mut b = Builder::new();
/// let x = b.input(Aval::new(DType::F32, [3].as_slice()));
/// let y = b.unary(Unary::Neg, x.into())?;
/// let z = b.binary(Binary::Add, x.into(), y)?;
/// let graph = b.finish(vec![z]);
/// assert_eq!(graph.equations.len(), 2);
/// # Ok::<(), lazuli_ir::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    graph: Graph,
    /// Given to every equation that is added.
    pub meta: Meta,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn input(&mut self, aval: Aval) -> Var {
        let v = self.graph.fresh(aval);
        self.graph.inputs.push(v);
        v
    }
    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }
    pub fn aval(&self, atom: Atom) -> Aval {
        self.graph.aval(atom)
    }
    pub fn dtype(&self, atom: Atom) -> DType {
        match atom {
            Atom::Var(v) => self.graph.avals[v.0 as usize].dtype,
            Atom::Lit(s) => s.dtype,
        }
    }
    /// Extents of an atom (none for a literal).
    pub fn shape(&self, atom: Atom) -> &[usize] {
        match atom {
            Atom::Var(v) => &self.graph.avals[v.0 as usize].shape,
            Atom::Lit(_) => &[],
        }
    }
    pub fn rank(&self, atom: Atom) -> usize {
        self.shape(atom).len()
    }
    /// Adds an equation and returns its outputs.
    pub fn equation(&mut self, prim: impl Into<Prim>, inputs: &[Atom], shapes: &[Var]) -> Result<SmallVec<[Var; 1]>> {
        let prim = prim.into();
        let meta = Meta { effect: self.meta.effect.max(prim.effect()), ..self.meta };
        let (inputs, shapes) = (SmallVec::from_slice(inputs), SmallVec::from_slice(shapes));
        let mut equation = Equation { prim, inputs, shapes, outputs: SmallVec::new(), meta };
        let avals = self.graph.infer(&equation)?;
        equation.outputs = avals.into_iter().map(|a| self.graph.fresh(a)).collect();
        let outputs = SmallVec::from_slice(&equation.outputs);
        self.graph.equations.push(equation);
        Ok(outputs)
    }
    /// Adds an equation of another graph, whose operands here have the avals that they have there.
    pub fn copy(
        &mut self,
        e: &Equation,
        of: &Graph,
        inputs: SmallVec<[Atom; 3]>,
        shapes: SmallVec<[Var; 1]>,
    ) -> SmallVec<[Var; 1]> {
        let outputs: SmallVec<[Var; 1]> =
            e.outputs.iter().map(|v| self.graph.fresh(of.avals[v.0 as usize].clone())).collect();
        let equation =
            Equation { prim: e.prim.clone(), inputs, shapes, outputs: SmallVec::from_slice(&outputs), meta: e.meta };
        debug_assert!(
            self.graph
                .infer(&equation)
                .is_ok_and(|avals| avals.iter().eq(equation.outputs.iter().map(|v| &self.graph.avals[v.0 as usize])))
        );
        self.graph.equations.push(equation);
        outputs
    }
    /// Adds the equations of `body` on these atoms as they are, calls among them. Returns what its outputs are here.
    pub fn splice(&mut self, body: &Graph, inputs: &[Atom]) -> Result<Vec<Atom>> {
        self.graph.splice(body, inputs)
    }
    /// Adds an equation with one output.
    pub fn op(&mut self, prim: impl Into<Prim>, inputs: &[Atom]) -> Result<Atom> {
        Ok(self.equation(prim, inputs, &[])?[0].into())
    }
    pub fn unary(&mut self, op: Unary, a: Atom) -> Result<Atom> {
        self.op(op, &[a])
    }
    pub fn binary(&mut self, op: Binary, a: Atom, b: Atom) -> Result<Atom> {
        self.op(op, &[a, b])
    }
    pub fn add(&mut self, a: Atom, b: Atom) -> Result<Atom> {
        self.binary(Binary::Add, a, b)
    }
    pub fn sub(&mut self, a: Atom, b: Atom) -> Result<Atom> {
        self.binary(Binary::Sub, a, b)
    }
    pub fn mul(&mut self, a: Atom, b: Atom) -> Result<Atom> {
        self.binary(Binary::Mul, a, b)
    }
    pub fn div(&mut self, a: Atom, b: Atom) -> Result<Atom> {
        self.binary(Binary::Div, a, b)
    }
    pub fn neg(&mut self, a: Atom) -> Result<Atom> {
        self.unary(Unary::Neg, a)
    }
    pub fn select(&mut self, condition: Atom, a: Atom, b: Atom) -> Result<Atom> {
        self.op(Ternary::Select, &[condition, a, b])
    }
    /// Conversion, none if the dtype is already that.
    pub fn cast(&mut self, a: Atom, dtype: DType) -> Result<Atom> {
        if self.dtype(a) == dtype { Ok(a) } else { self.op(Cast { dtype }, &[a]) }
    }
    /// The number `v` as a literal of the dtype of `like`.
    pub fn like(&self, like: Atom, v: f64) -> Atom {
        Atom::Lit(Scalar::from_f64(self.dtype(like), v))
    }
    /// Declares the last `n` inputs to be constants.
    pub fn set_constants(&mut self, n: usize) {
        self.graph.constants = n;
    }
    pub fn finish(mut self, outputs: Vec<Atom>) -> Graph {
        self.graph.outputs = outputs;
        self.graph
    }
}
