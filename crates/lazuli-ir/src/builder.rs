//! Builds a graph equation by equation; what tracing, transforms and simplification write with.

use crate::aval::{Aval, Dim};
use crate::elementwise::{Binary, Ternary, Unary};
use crate::extents::{AnyShapes, Extents, Fixed, check_closed, undecided};
use crate::graph::{Atom, Equation, Graph, Meta, Var};
use crate::prim::Prim;
use crate::prims::*;
use lazuli_kernel::{DType, Result, Scalar, small};
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
    /// Of a graph for any shapes.
    extents: Option<Box<Extents>>,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }
    /// One whose graph holds for other shapes too: what rules state as [numbers](Self::extent) becomes extents of what is there.
    pub fn for_any_shapes() -> Self {
        Self { extents: Some(Box::default()), ..Self::default() }
    }
    /// One for the body of an equation of this one's graph, which holds for other shapes if this one's does. It is to be finished [within](Self::finish_within) that.
    pub fn inner(&self) -> Self {
        Self { extents: self.extents.as_ref().map(|_| Box::default()), ..Self::default() }
    }
    /// Whether the graph is built for any shapes.
    pub fn is_for_any_shapes(&self) -> bool {
        self.extents.is_some()
    }
    /// An extent that a rule read of an array, as a parameter of a primitive. What is 0 or 1 stays so.
    pub fn extent(&self, n: usize) -> Dim {
        if self.extents.is_some() && n > 1 { Dim::Open(n) } else { Dim::Known(n) }
    }
    /// These extents.
    pub fn extents<D: FromIterator<Dim>>(&self, shape: &[usize]) -> D {
        shape.iter().map(|&n| self.extent(n)).collect()
    }
    /// Says that two variables are of one shape, whatever that is.
    pub fn alike(&mut self, a: Atom, b: Atom) {
        if self.extents.is_some() && a.var().is_some() {
            debug_assert_eq!(self.shape(a), self.shape(b));
            (0..self.rank(a)).for_each(|axis| self.same_extent((a, axis), (b, axis)));
        }
    }
    /// Says that an axis of one variable and one of another are of one extent, whatever that is.
    pub fn same_extent(&mut self, (a, i): (Atom, usize), (b, j): (Atom, usize)) {
        if let (Some(extents), Some(a), Some(b)) = (&mut self.extents, a.var(), b.var()) {
            debug_assert_eq!(self.graph.shape_of(a)[i], self.graph.shape_of(b)[j]);
            extents.same((a, i), (b, j));
        }
    }
    /// Says that the extent that the equation of `out` states as number `index` is this one.
    pub fn is_extent_of(&mut self, out: Atom, index: usize, of: Atom, axis: usize) {
        if let (Some(extents), Some(out), Some(of)) = (&mut self.extents, out.var(), of.var()) {
            extents.state((out, index), (of, axis));
        }
    }
    pub fn input(&mut self, aval: Aval) -> Var {
        let v = self.graph.fresh(aval);
        self.graph.inputs.push(v);
        v
    }
    /// A variable that nothing defines. What depends on it is [taken out](Self::take_dependents) before the graph is finished.
    pub fn unknown(&mut self, aval: Aval) -> Var {
        self.graph.fresh(aval)
    }
    /// Takes out the equations that depend on some variables. The equations, and of each variable whether it does.
    pub fn take_dependents(&mut self, of: &[Var]) -> (Vec<Equation>, Vec<bool>) {
        if let Some(extents) = &mut self.extents {
            extents.learn(&self.graph);
        }
        let mut depends = vec![false; self.graph.avals.len()];
        of.iter().for_each(|v| depends[v.0 as usize] = true);
        let mut taken = Vec::with_capacity(self.graph.equations.len());
        let dependent = |e: &mut Equation| {
            let is = e.inputs.iter().any(|a| a.var().is_some_and(|v| depends[v.0 as usize]));
            if is {
                e.outputs.iter().for_each(|v| depends[v.0 as usize] = true);
            }
            is
        };
        taken.extend(self.graph.equations.extract_if(.., dependent));
        if let Some(extents) = &mut self.extents {
            extents.left(self.graph.equations.len(), &taken);
        }
        (taken, depends)
    }
    /// Makes room for so many equations more.
    pub fn reserve(&mut self, equations: usize) {
        self.graph.equations.reserve(equations);
        self.graph.avals.reserve(equations + 8);
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
        equation.outputs = small(avals.into_iter().map(|a| self.graph.fresh(a)));
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
            small(e.outputs.iter().map(|v| self.graph.fresh(of.avals[v.0 as usize].clone())));
        let equation =
            Equation { prim: e.prim.clone(), inputs, shapes, outputs: SmallVec::from_slice(&outputs), meta: e.meta };
        debug_assert!(self.graph.is_inferred(&equation));
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
        if let Some(extents) = &mut self.extents {
            extents.close(&mut self.graph);
            debug_assert!(extents.is_free(), "what a graph goes by was told to nobody");
        }
        self.graph
    }
    /// The graph of an [inner](Self::inner) builder. What it goes by, the graph goes by that is built `around` it, in which its operands `there` are `here`.
    ///
    /// # Errors
    /// If an extent by which it goes is none of an operand's.
    pub fn finish_within(
        mut self,
        around: &mut Builder,
        here: &[Atom],
        there: &[Atom],
        outputs: Vec<Atom>,
    ) -> Result<Graph> {
        self.graph.outputs = outputs;
        if let (Some(extents), Some(within)) = (&mut around.extents, &mut self.extents) {
            within.close(&mut self.graph);
            within.fix_stated(&mut self.graph);
            for Fixed { input, axis } in within.take_fixed(&self.graph, there)? {
                here[input].var().into_iter().for_each(|v| extents.fix(v, axis));
            }
        }
        Ok(self.graph)
    }
    /// The graph of an [inner](Self::inner) builder that says by itself what extents are: nothing around it has to know of them.
    ///
    /// # Errors
    /// If it holds for these shapes only, where it is to hold for others.
    pub fn finish_alone(self, outputs: Vec<Atom>) -> Result<Graph> {
        if self.extents.is_none() {
            return Ok(self.finish(outputs));
        }
        match self.finish_for_any_shapes(outputs)? {
            AnyShapes { graph, fixed } if fixed.is_empty() => Ok(graph),
            _ => Err(undecided("a body goes by an extent")),
        }
    }
    /// The graph, and what it goes by, if it is for any shapes.
    ///
    /// # Errors
    /// If it holds for these shapes only.
    pub fn finish_for_any_shapes(mut self, outputs: Vec<Atom>) -> Result<AnyShapes> {
        self.graph.outputs = outputs;
        let Some(mut extents) = self.extents else { return Err(undecided("it was built so")) };
        extents.close(&mut self.graph);
        let inputs: Vec<Atom> = self.graph.inputs.iter().map(|&v| v.into()).collect();
        let fixed = extents.settle(&mut self.graph, &inputs)?;
        check_closed(&self.graph)?;
        Ok(AnyShapes { fixed, graph: self.graph })
    }
}
