//! Ops on literals alone, computed now: the straight line that a kernel would run, on the scalar operations of `lazuli-kernel`.

use lazuli_ir::{Arithmetic, Atom, DType, Equation, Ix, Lane, Number, Pointwise, Scalar};
use lazuli_kernel::{Emit, Inst, Value, scalar_ops};

/// The value of an elementwise equation whose operands are all literals.
pub(super) fn fold(e: &Equation) -> Option<Scalar> {
    let elementwise = e.prim.is_elementwise();
    if !elementwise || !e.inputs.iter().all(|a| matches!(a, Atom::Lit(_))) {
        return None;
    }
    let mut line = Line { e, emit: Emit::new() };
    let lane = e.prim.pointwise(&mut line, &[]);
    let mut values: Vec<Scalar> = Vec::with_capacity(line.emit.insts.len());
    for inst in &line.emit.insts {
        let value = match inst {
            Inst::Const(s) => *s,
            inst => {
                let operands: Vec<Scalar> = inst.uses().iter().map(|v| values[v.0 as usize]).collect();
                scalar_ops::eval(inst, &operands)?
            }
        };
        values.push(value);
    }
    let at = |v: Value| values[v.0 as usize];
    Some(match lane {
        Lane::Real(v) => at(v),
        Lane::Complex(re, im) => Scalar::c64(f32::from_bits(at(re).bits as u32), f32::from_bits(at(im).bits as u32)),
    })
}

/// A lowering context in which operands are constants.
struct Line<'a> {
    e: &'a Equation,
    emit: Emit,
}

impl Arithmetic for Line<'_> {}

impl Pointwise for Line<'_> {
    fn input(&mut self, k: usize, _: &[Ix]) -> Lane {
        let Atom::Lit(s) = self.e.inputs[k] else { unreachable!("the caller saw literals only") };
        match s.dtype {
            DType::C64 => {
                let re = self.emit.f32(f32::from_bits(s.bits as u32));
                Lane::Complex(re, self.emit.f32(s.imag()))
            }
            _ => Lane::Real(self.emit.constant(s)),
        }
    }
    fn input_masked(&mut self, k: usize, at: &[Ix], _: Value) -> Lane {
        self.input(k, at)
    }
    fn inputs(&self) -> usize {
        self.e.inputs.len()
    }
    fn input_shape(&self, _: usize) -> &[usize] {
        &[]
    }
    fn shape_operand(&self, _: usize) -> &[usize] {
        &[]
    }
    fn input_dtype(&self, k: usize) -> DType {
        match self.e.inputs[k] {
            Atom::Lit(s) => s.dtype,
            Atom::Var(_) => unreachable!("the caller saw literals only"),
        }
    }
    fn output_shape(&self) -> &[usize] {
        &[]
    }
    fn emit(&mut self) -> &mut Emit {
        &mut self.emit
    }
    fn number(&mut self, dtype: DType, number: Number) -> Value {
        self.emit.constant(number.scalar(dtype))
    }
    fn position(&mut self, _: &Ix) -> Value {
        self.emit.i64(0)
    }
}
