//! Building straight lines.

use super::{Accumulator, BinaryOp, Inner, Inst, Operand, Role, UnaryOp, Value};
use crate::dtype::DType;
use crate::hash::WordHasher;
use crate::scalar::Scalar;
use std::hash::{Hash, Hasher};

/// Builds a straight line of instructions, giving equal instructions one value.
///
/// ```
/// use lazuli_kernel::{DType, Emit, BinaryOp, UnaryOp};
/// let mut e = Emit::new();
/// let x = e.input(DType::F32); // operand 0
/// let y = e.unary(UnaryOp::Neg, x);
/// let z = e.binary(BinaryOp::Add, x, y);
/// assert_eq!(e.dtype(z), DType::F32);
/// assert_eq!(e.unary(UnaryOp::Neg, x), y);
/// ```
#[derive(Debug, Default, Clone)]
pub struct Emit {
    pub insts: Vec<Inst>,
    pub types: Vec<DType>,
    pub operands: Vec<Operand>,
    pub params: Vec<DType>,
    known: Known,
    accumulators: Vec<DType>,
}

/// Finds instructions of a line: an open table of their numbers, at most half full. The line itself holds the instructions.
#[derive(Debug, Default, Clone)]
struct Known {
    places: Vec<u32>,
    count: usize,
}

impl Known {
    const FREE: u32 = u32::MAX;

    fn with_capacity(n: usize) -> Self {
        Self { places: vec![Self::FREE; (2 * n).next_power_of_two()], count: 0 }
    }
    /// The number of an instruction, or the place where that should go.
    fn find(&self, line: &[Inst], inst: &Inst) -> Result<u32, usize> {
        let mut hasher = WordHasher::default();
        inst.hash(&mut hasher);
        let last = self.places.len() - 1;
        let mut place = hasher.finish() as usize & last;
        loop {
            match self.places[place] {
                Self::FREE => return Err(place),
                n if line[n as usize] == *inst => return Ok(n),
                _ => place = (place + 1) & last,
            }
        }
    }
    /// The number of an instruction of the line; of one that is new, the number that it will have there.
    fn number(&mut self, line: &[Inst], inst: &Inst) -> u32 {
        if 2 * (self.count + 1) > self.places.len() {
            let old = std::mem::replace(self, Self::with_capacity(self.places.len().max(16)));
            for n in old.places.into_iter().filter(|&n| n != Self::FREE) {
                let place = self.find(line, &line[n as usize]).expect_err("each stood there once");
                self.places[place] = n;
            }
            self.count = old.count;
        }
        self.find(line, inst).unwrap_or_else(|place| {
            self.count += 1;
            self.places[place] = line.len() as u32;
            self.places[place]
        })
    }
    fn clear(&mut self) {
        self.places.fill(Self::FREE);
        self.count = 0;
    }
}

impl Emit {
    pub fn new() -> Self {
        // Room for a typical body: growing by doubling costs as much as filling.
        let (insts, types) = (Vec::with_capacity(64), Vec::with_capacity(64));
        Self { insts, types, known: Known::with_capacity(64), ..Self::default() }
    }
    /// As if it were new.
    pub fn clear(&mut self) {
        let Emit { insts, types, operands, params, known, accumulators } = self;
        insts.clear();
        types.clear();
        operands.clear();
        params.clear();
        known.clear();
        accumulators.clear();
    }
    /// Declares an input operand of stride class `Unit` and loads it.
    pub fn input(&mut self, dtype: DType) -> Value {
        let operand = self.operand(Operand { dtype, role: Role::In, inner: Inner::Unit });
        self.push(Inst::Load(operand))
    }
    pub fn operand(&mut self, operand: Operand) -> u32 {
        self.operands.push(operand);
        self.operands.len() as u32 - 1
    }
    /// Declares a run-time scalar and reads it.
    pub fn param(&mut self, dtype: DType) -> Value {
        self.params.push(dtype);
        self.push(Inst::Param(self.params.len() as u32 - 1))
    }
    /// The value of `inst`, new or already known.
    pub fn push(&mut self, inst: Inst) -> Value {
        let v = Value(self.known.number(&self.insts, &inst));
        if (v.0 as usize) < self.insts.len() {
            return v;
        }
        let dtype = inst.dtype(
            |v| self.types[v.0 as usize],
            |p| self.params[p as usize],
            |o| self.operands[o as usize].dtype,
            |a| self.accumulators[a as usize],
        );
        self.insts.push(inst);
        self.types.push(dtype);
        v
    }
    /// Announces the next accumulator of rows, whose result later instructions may use; returns its number.
    pub fn accumulate(&mut self, value: Value) -> u32 {
        self.accumulators.push(self.dtype(value));
        self.accumulators.len() as u32 - 1
    }
    /// Ends the body and begins the epilogue of a reduction or of rows with these accumulators; returns the body's length.
    pub fn begin_epilogue(&mut self, accumulators: &[Accumulator]) -> usize {
        self.accumulators = accumulators.iter().map(|a| self.dtype(a.value)).collect();
        self.known.clear();
        self.insts.len()
    }
    pub fn dtype(&self, v: Value) -> DType {
        self.types[v.0 as usize]
    }
    pub fn constant(&mut self, s: Scalar) -> Value {
        self.push(Inst::Const(s))
    }
    pub fn f32(&mut self, v: f32) -> Value {
        self.constant(Scalar::f32(v))
    }
    pub fn f64(&mut self, v: f64) -> Value {
        self.constant(Scalar::f64(v))
    }
    pub fn i64(&mut self, v: i64) -> Value {
        self.constant(Scalar::i64(v))
    }
    /// The number `v` in the dtype of `like`.
    pub fn like(&mut self, like: Value, v: f64) -> Value {
        let s = Scalar::from_f64(self.dtype(like), v);
        self.constant(s)
    }
    pub fn unary(&mut self, op: UnaryOp, a: Value) -> Value {
        self.push(Inst::Unary(op, a))
    }
    pub fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        self.push(Inst::Binary(op, a, b))
    }
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Add, a, b)
    }
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Sub, a, b)
    }
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Mul, a, b)
    }
    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Div, a, b)
    }
    pub fn neg(&mut self, a: Value) -> Value {
        self.unary(UnaryOp::Neg, a)
    }
    pub fn abs(&mut self, a: Value) -> Value {
        self.unary(UnaryOp::Abs, a)
    }
    pub fn and(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::And, a, b)
    }
    pub fn or(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Or, a, b)
    }
    pub fn lt(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Lt, a, b)
    }
    pub fn gt(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Gt, a, b)
    }
    pub fn eq(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Eq, a, b)
    }
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.push(Inst::Fma(a, b, c))
    }
    pub fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        self.push(Inst::Select(c, a, b))
    }
    /// Conversion, none if the dtype is already that.
    pub fn cast(&mut self, to: DType, a: Value) -> Value {
        if self.dtype(a) == to { a } else { self.push(Inst::Cast(to, a)) }
    }
    pub fn bitcast(&mut self, to: DType, a: Value) -> Value {
        if self.dtype(a) == to { a } else { self.push(Inst::Bitcast(to, a)) }
    }
}
