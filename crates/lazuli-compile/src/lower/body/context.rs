//! What the lowering of one equation sees of the body that it is written into.

use super::Body;
use crate::lower::places::Places;
use lazuli_ir::{Atom, Graph, Index, Ix, Lane, Pointwise};
use lazuli_kernel::{BinaryOp, DType, Emit, Scalar, Value};

/// What the lowering of one equation sees.
pub(in crate::lower) struct Context<'a> {
    pub(super) body: &'a mut Body,
    pub(super) graph: &'a Graph,
    pub(super) places: &'a mut Places,
    pub(super) equation: u32,
}

impl Context<'_> {
    fn operand(&mut self, k: usize, at: &[Ix], mask: Option<Value>) -> Lane {
        let lane = match self.graph.equations[self.equation as usize].inputs[k] {
            Atom::Lit(s) => self.body.literal(self.equation, k as u32, s),
            Atom::Var(v) => {
                if mask.is_some() || at.iter().all(|ix| matches!(ix, Ix::Affine { .. })) {
                    return self.body.value(self.graph, self.places, v, at, mask);
                }
                let shape = self.graph.shape_of(v);
                let at = self.body.within(v, at, shape, false);
                return self.body.value(self.graph, self.places, v, &at, None);
            }
        };
        match (mask, lane) {
            (None, _) => lane,
            (Some(mask), Lane::Real(v)) => {
                let zero = self.body.emit.constant(Scalar::zero(self.body.emit.dtype(v)));
                Lane::Real(self.body.emit.select(mask, v, zero))
            }
            (Some(mask), Lane::Complex(re, im)) => {
                let zero = self.body.emit.f32(0.0);
                Lane::Complex(self.body.emit.select(mask, re, zero), self.body.emit.select(mask, im, zero))
            }
        }
    }
}

impl Pointwise for Context<'_> {
    fn input(&mut self, k: usize, at: &[Ix]) -> Lane {
        self.operand(k, at, None)
    }
    fn input_masked(&mut self, k: usize, at: &[Ix], mask: Value) -> Lane {
        self.operand(k, at, Some(mask))
    }
    fn input_shape(&self, k: usize) -> &[usize] {
        match self.graph.equations[self.equation as usize].inputs[k] {
            Atom::Lit(_) => &[],
            Atom::Var(v) => self.graph.shape_of(v),
        }
    }
    fn inputs(&self) -> usize {
        self.graph.equations[self.equation as usize].inputs.len()
    }
    fn shape_operand(&self, k: usize) -> &[usize] {
        self.graph.shape_of(self.graph.equations[self.equation as usize].shapes[k])
    }
    fn input_dtype(&self, k: usize) -> DType {
        match self.graph.equations[self.equation as usize].inputs[k] {
            Atom::Lit(s) => s.dtype,
            Atom::Var(v) => self.graph.avals[v.0 as usize].dtype,
        }
    }
    fn output_shape(&self) -> &[usize] {
        self.graph.shape_of(self.graph.equations[self.equation as usize].outputs[0])
    }
    fn emit(&mut self) -> &mut Emit {
        &mut self.body.emit
    }
    fn number(&mut self, value: Scalar) -> Value {
        let known = self.body.params.len();
        let number = self.body.param(value);
        if let Some(notes) = &mut self.body.notes
            && self.body.params.len() > known
        {
            notes.number(known as u32, self.graph, self.equation);
        }
        number
    }
    fn position(&mut self, at: &Ix) -> Value {
        self.body.position(at)
    }
    fn split(&mut self, at: &Ix, extents: &[usize]) -> Index {
        if let Ix::Affine { constant, terms } = at
            && let Some(digits) = self.body.split_affine(*constant, terms, extents)
        {
            return digits;
        }
        let mut rest = self.position(at);
        let mut digits = Index::new();
        for &n in extents[1..].iter().rev() {
            let by = self.number(Scalar::i64(n as i64));
            let digit = self.body.emit.binary(BinaryOp::Rem, rest, by);
            self.body.bounded.push((digit, n));
            digits.push(Ix::Computed(digit));
            rest = self.body.emit.div(rest, by);
        }
        self.body.bounded.push((rest, extents[0]));
        digits.push(Ix::Computed(rest));
        digits.reverse();
        digits
    }
}
