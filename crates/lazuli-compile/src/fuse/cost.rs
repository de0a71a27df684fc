//! What an equation costs to compute at one point: the instructions that it emits.

use crate::lower::is_joined;
use lazuli_ir::prims::Cast;
use lazuli_ir::{Arithmetic, Atom, Binary, Equation, Graph, Index, Ix, Lane, Number, Pointwise, Prim, Ternary, Unary};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Emit, Inst, Value};
use std::cell::RefCell;

thread_local! {
    /// Each kind of elementwise operation is measured once.
    static KNOWN: RefCell<Map<(Elementwise, DType), u32>> = RefCell::default();
}

/// An elementwise operation, for which the dtype of the last operand decides the instructions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Elementwise {
    Unary(Unary),
    Binary(Binary),
    Ternary(Ternary),
    Cast(DType),
}

/// Instructions of a pointwise equation at one point, loads and parameters not counted; none for a view, and for what is joined from parts, which the loop is cut for.
pub(super) fn cost(graph: &Graph, e: &Equation) -> u32 {
    if e.prim.is_view() || is_joined(e) {
        return 0;
    }
    let op = match e.prim {
        Prim::Unary(op) => Elementwise::Unary(op),
        Prim::Binary(op) => Elementwise::Binary(op),
        Prim::Ternary(op) => Elementwise::Ternary(op),
        Prim::Cast(Cast { dtype }) => Elementwise::Cast(dtype),
        _ => return measure(graph, e),
    };
    let dtype = match e.inputs.last() {
        Some(Atom::Var(v)) => graph.avals[v.0 as usize].dtype,
        Some(Atom::Lit(s)) => s.dtype,
        None => DType::Bool,
    };
    KNOWN.with_borrow_mut(|known| *known.entry((op, dtype)).or_insert_with(|| measure(graph, e)))
}

/// Writes the equation into a straight line that is thrown away.
fn measure(graph: &Graph, e: &Equation) -> u32 {
    let mut probe = Probe { graph, e, emit: Emit::new() };
    let at: Index = (0..graph.shape_of(e.outputs[0]).len() as u32).map(Ix::axis).collect();
    e.prim.pointwise(&mut probe, &at);
    let free = |inst: &&Inst| !matches!(inst, Inst::Param(_) | Inst::Const(_) | Inst::Index(_));
    probe.emit.insts.iter().filter(free).count() as u32
}

/// A lowering context in which every operand and number is a parameter.
struct Probe<'a> {
    graph: &'a Graph,
    e: &'a Equation,
    emit: Emit,
}

impl Arithmetic for Probe<'_> {}

impl Pointwise for Probe<'_> {
    fn input(&mut self, k: usize, _: &[Ix]) -> Lane {
        match self.input_dtype(k) {
            DType::C64 => Lane::Complex(self.emit.param(DType::F32), self.emit.param(DType::F32)),
            dtype => Lane::Real(self.emit.param(dtype)),
        }
    }
    fn input_masked(&mut self, k: usize, at: &[Ix], _: Value) -> Lane {
        self.input(k, at)
    }
    fn inputs(&self) -> usize {
        self.e.inputs.len()
    }
    fn input_shape(&self, k: usize) -> &[usize] {
        match self.e.inputs[k] {
            Atom::Lit(_) => &[],
            Atom::Var(v) => self.graph.shape_of(v),
        }
    }
    fn shape_operand(&self, k: usize) -> &[usize] {
        self.graph.shape_of(self.e.shapes[k])
    }
    fn input_dtype(&self, k: usize) -> DType {
        match self.e.inputs[k] {
            Atom::Lit(s) => s.dtype,
            Atom::Var(v) => self.graph.avals[v.0 as usize].dtype,
        }
    }
    fn output_shape(&self) -> &[usize] {
        self.graph.shape_of(self.e.outputs[0])
    }
    fn emit(&mut self) -> &mut Emit {
        &mut self.emit
    }
    fn number(&mut self, dtype: DType, _: Number) -> Value {
        self.emit.param(dtype)
    }
    fn position(&mut self, at: &Ix) -> Value {
        match at {
            Ix::Computed(v) => *v,
            Ix::Affine { terms, .. } => self.emit.push(Inst::Index(terms.first().map_or(0, |t| t.axis))),
        }
    }
}
