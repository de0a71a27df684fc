//! What the lowering of one equation sees of the body that it is written into.

use super::Body;
use crate::lower::places::Places;
use lazuli_ir::pointwise::Terms;
use lazuli_ir::{Arithmetic, Atom, Graph, Index, Ix, Lane, Number, Operation, Place, Pointwise, Relation, Term};
use lazuli_kernel::{BinaryOp, DType, Emit, Scalar, Value, small};
use smallvec::SmallVec;

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

impl Context<'_> {
    /// Digits of an affine position that need no division: each term moves one digit only, and none carries into the next.
    fn split_affine(&mut self, constant: Number, terms: &[Term], extents: &[Number]) -> Option<Index> {
        let strides = self.row_strides(extents);
        let mut rest = constant;
        let mut digits: SmallVec<[(Number, Terms); 4]> = SmallVec::new();
        for &stride in &strides {
            digits.push((self.compute(Operation::Quotient, rest, stride), Terms::new()));
            rest = self.compute(Operation::Remainder, rest, stride);
        }
        for &Term { axis, factor } in terms {
            if self.equal(factor, Number::ZERO) {
                continue;
            }
            let mut moves = |j: &usize| {
                let rest = self.compute(Operation::Remainder, factor, strides[*j]);
                !self.equal(extents[*j], Number::ONE) && self.equal(rest, Number::ZERO)
            };
            let j = (0..extents.len()).find(|j| moves(j))?;
            let factor = self.compute(Operation::Quotient, factor, strides[j]);
            digits[j].1.push(Term { axis, factor });
        }
        for ((constant, terms), &n) in digits.iter().zip(extents) {
            let (mut low, mut high) = (*constant, *constant);
            for term in terms {
                let last = self.compute(Operation::Sum, self.body.loop_extent(term.axis), Number::fixed(-1));
                let reach = self.product(last, term.factor);
                match self.holds(Relation::Less, reach, Number::ZERO) {
                    true => low = self.sum(low, reach),
                    false => high = self.sum(high, reach),
                }
            }
            if self.holds(Relation::Less, low, Number::ZERO) || !self.holds(Relation::Less, high, n) {
                return None;
            }
        }
        Some(small(digits.into_iter().map(|(constant, terms)| Ix::Affine { constant, terms })))
    }
}

impl Arithmetic for Context<'_> {
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        self.body.compute(operation, a, b)
    }
    fn holds(&mut self, relation: Relation, a: Number, b: Number) -> bool {
        self.body.holds(relation, a, b)
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
    fn number(&mut self, dtype: DType, number: Number) -> Value {
        self.body.number(dtype, number)
    }
    fn position(&mut self, at: &Ix) -> Value {
        self.body.position(at)
    }
    fn extent(&mut self, place: Place) -> Number {
        let e = &self.graph.equations[self.equation as usize];
        let (v, axis) = match place {
            Place::Input(k, axis) => match e.inputs[k] {
                Atom::Var(v) => (v, axis),
                Atom::Lit(_) => unreachable!("a scalar has no axes"),
            },
            Place::Shape(k, axis) => (e.shapes[k], axis),
            Place::Output(axis) => (e.outputs[0], axis),
        };
        self.body.extent(self.graph, v, axis)
    }
    fn split(&mut self, at: &Ix, extents: &[Number]) -> Index {
        if let Ix::Affine { constant, terms } = at
            && let Some(digits) = self.split_affine(*constant, terms, extents)
        {
            return digits;
        }
        let mut rest = self.position(at);
        let mut digits = Index::new();
        for &n in extents[1..].iter().rev() {
            let by = self.body.number(DType::I64, n);
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
