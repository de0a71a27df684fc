//! The kernel IR: a loop nest around a straight line of typed scalar operations.
//!
//! A kernel runs over `rank` loop axes, outermost first. Its `body` is evaluated once per point of the loop space;
//! the [`Nest`] says what happens to the values. Everything that decides the machine code is in [`Kernel`], which is
//! hashed and compared; extents, strides, offsets and scalar parameters come with each launch ([`crate::plan::Step`]).
//!
//! Invariants (checked by the verifier):
//! - a value is defined before it is used; operand dtypes agree; no value is complex (lowering splits complex numbers);
//! - arithmetic is on bool, integers, f32 and f64 only: f16 and bf16 values come from loads and casts, and go to casts,
//!   selects and stores. Rounding after every primitive is thus written out;
//! - every scalar operation is total and gives the same bits on every backend. Floats follow IEEE 754 (round to nearest
//!   even, subnormals kept); nothing is contracted or reassociated: `Fma` is the only fused operation;
//! - an output operand is stored at most once per point and is loaded only if its role is `InOut`, at the same point.

use crate::dtype::DType;
use crate::scalar::Scalar;
use std::collections::HashMap;

/// An SSA value: index of the instruction that defines it. An epilogue's instructions are numbered after the body's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

/// Class of an operand's stride along the kernel's vector axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inner {
    /// Stride 0: one element for the whole vector.
    Broadcast,
    /// Stride 1.
    Unit,
    /// Any other, a run-time value.
    Strided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    In,
    Out,
    /// Read and written at the same point (in-place), or the target of a scatter.
    InOut,
}

/// An array that a kernel reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operand {
    pub dtype: DType,
    pub role: Role,
    pub inner: Inner,
}

/// One operand, one result of the same dtype unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// Wraps for integers (two's complement, unsigned too); flips the sign bit of floats.
    Neg,
    /// Wraps for `MIN`; clears the sign bit of floats; identity for unsigned.
    Abs,
    /// Bitwise complement for integers, logical for bool.
    Not,
    /// Floats only.
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    /// To nearest, ties to even.
    Round,
}

/// Two operands of one dtype; comparisons give bool, the others the same dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Integers wrap. Not for bool.
    Add,
    Sub,
    Mul,
    /// IEEE for floats. Integers truncate toward zero, `x/0 = 0`, `MIN/-1 = MIN`.
    Div,
    /// Integers only: sign of the dividend, `x % 0 = 0`, `MIN % -1 = 0`.
    Rem,
    /// Smaller of the two; NaN if either is NaN; −0 < +0. Any dtype but f16/bf16 (bool: and).
    Min,
    Max,
    /// `if a < b { a } else { b }`: x86's MINPS. Floats only.
    Lesser,
    /// `if a > b { a } else { b }`: x86's MAXPS. Floats only.
    Greater,
    /// Bits of integers and bool.
    And,
    Or,
    Xor,
    /// Integers; a shift count that is negative or not below the width gives 0 (`Shr` of a signed number: its sign).
    Shl,
    /// Arithmetic for signed, logical for unsigned.
    Shr,
    /// High 32 bits of the 64-bit product; u32 only.
    MulHi,
    /// Comparisons of any dtype but f16/bf16; false with NaN, except `Ne`.
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl UnaryOp {
    pub const ALL: [UnaryOp; 8] = [
        UnaryOp::Neg,
        UnaryOp::Abs,
        UnaryOp::Not,
        UnaryOp::Sqrt,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Trunc,
        UnaryOp::Round,
    ];
    /// Whether the operation is defined on values of this dtype.
    pub fn accepts(self, d: DType) -> bool {
        let number = d.is_integer() || matches!(d, DType::F32 | DType::F64);
        match self {
            UnaryOp::Neg | UnaryOp::Abs => number,
            UnaryOp::Not => d.is_integer() || d == DType::Bool,
            _ => matches!(d, DType::F32 | DType::F64),
        }
    }
}

impl BinaryOp {
    pub const ALL: [BinaryOp; 21] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Rem,
        BinaryOp::Min,
        BinaryOp::Max,
        BinaryOp::Lesser,
        BinaryOp::Greater,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Xor,
        BinaryOp::Shl,
        BinaryOp::Shr,
        BinaryOp::MulHi,
        BinaryOp::Eq,
        BinaryOp::Ne,
        BinaryOp::Lt,
        BinaryOp::Le,
        BinaryOp::Gt,
        BinaryOp::Ge,
    ];
    pub fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge)
    }
    /// Whether the operation is defined on values of this dtype.
    pub fn accepts(self, d: DType) -> bool {
        let float = matches!(d, DType::F32 | DType::F64);
        match self {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div => d.is_integer() || float,
            BinaryOp::Rem | BinaryOp::Shl | BinaryOp::Shr => d.is_integer(),
            BinaryOp::Lesser | BinaryOp::Greater => float,
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => d.is_integer() || d == DType::Bool,
            BinaryOp::MulHi => d == DType::U32,
            _ => d.is_integer() || float || d == DType::Bool,
        }
    }
}

/// One instruction of the straight line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inst {
    /// A run-time scalar: entry of the launch's parameters, dtype as declared in [`Kernel::params`].
    Param(u32),
    /// A constant of the algorithm (a polynomial's coefficient), part of the machine code.
    Const(Scalar),
    /// Counter of a loop axis, i64.
    Index(u32),
    /// Extent of a loop axis, i64.
    Extent(u32),
    /// Element of an operand at the current point. A byte of a bool that is not 0 reads as true.
    Load(u32),
    /// Element at a computed position (i64, counted in elements from the operand's offset). The position is clamped
    /// to `0..len` of the launch's argument; where `mask` is given and false, the value is 0 and nothing is read, as
    /// when `len` is 0.
    LoadAt {
        operand: u32,
        index: Value,
        mask: Option<Value>,
    },
    Unary(UnaryOp, Value),
    Binary(BinaryOp, Value, Value),
    /// a·b + c rounded once; f32 and f64.
    Fma(Value, Value, Value),
    /// `if .0 { .1 } else { .2 }`; any dtype.
    Select(Value, Value, Value),
    /// Conversion of value. To float: rounded once to nearest even (u64/i64 to f32 and f64 to f16 or bf16 too), except that
    /// integers go to f16 and bf16 by way of f32, as in MLX; float to integer: truncated,
    /// saturated, NaN is 0; integer to integer: wrapped; to bool: `!= 0` (NaN is true); from bool: 0 or 1.
    Cast(DType, Value),
    /// Same bits, another dtype of the same size; not to bool.
    Bitcast(DType, Value),
    /// Result of an accumulator; in the epilogue of a reduction only.
    Reduced(u32),
    /// Position (i64, row-major over the reduced axes) found by an `ArgMin`/`ArgMax` accumulator; epilogue only.
    ReducedIndex(u32),
}

/// Writes a value to an output operand at the current point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Store {
    pub operand: u32,
    pub value: Value,
}

/// How a reduction combines. `Sum` and `Prod` of integers wrap.
///
/// **Order of floating-point sums and products.** The reduced axes of one output element are numbered in row-major
/// order, `i = 0, 1, …, n−1`. Element i of a block of 4,096 is combined into partial `i mod 64` of its block, in order of i, on top of
/// the identity (0 or 1). The 64 partials of a block fold by halving: `p[j] = p[j] ⊕ p[j+32]`, then 16, 8, 4, 2, 1. Blocks
/// fold by a pairwise tree: neighbours `(0,1), (2,3), …` are combined, an odd last one is carried, until one is left. The result
/// depends on n and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Combine {
    /// f32, f64, integers.
    Sum,
    Prod,
    /// As [`BinaryOp::Min`]; the identity is +∞ or the largest value.
    Min,
    Max,
    /// Bool.
    All,
    Any,
    /// The smallest value and the first position of it; NaN wins over all, the first of them. Compared by `<`: −0 and +0 are
    /// equal, and the first of them is the value. Of no elements: position 0 and the identity of `Min`.
    ArgMin,
    ArgMax,
}

/// One reduction within a kernel; several may share a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Accumulator {
    pub combine: Combine,
    /// Value of the body that is accumulated.
    pub value: Value,
}

/// Running combination along an axis, element by element in order: `total = total op element`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScanOp {
    Sum,
    Prod,
    Min,
    Max,
    /// log(eᵃ + eᵇ) as in [`crate::math::logaddexp`]; f32 and f64.
    LogAddExp,
}

impl Combine {
    pub const ALL: [Combine; 8] = [
        Combine::Sum,
        Combine::Prod,
        Combine::Min,
        Combine::Max,
        Combine::All,
        Combine::Any,
        Combine::ArgMin,
        Combine::ArgMax,
    ];
    /// Whether values of this dtype can be reduced so.
    pub fn accepts(self, d: DType) -> bool {
        match self {
            Combine::All | Combine::Any => d == DType::Bool,
            Combine::ArgMin | Combine::ArgMax => BinaryOp::Lt.accepts(d),
            _ => self.binary().is_some_and(|op| op.accepts(d)),
        }
    }
    /// The operation between two values; none for those that track a position.
    pub fn binary(self) -> Option<BinaryOp> {
        match self {
            Combine::Sum => Some(BinaryOp::Add),
            Combine::Prod => Some(BinaryOp::Mul),
            Combine::Min => Some(BinaryOp::Min),
            Combine::Max => Some(BinaryOp::Max),
            Combine::All => Some(BinaryOp::And),
            Combine::Any => Some(BinaryOp::Or),
            Combine::ArgMin | Combine::ArgMax => None,
        }
    }
    /// The result of reducing nothing.
    pub fn identity(self, d: DType) -> Scalar {
        match self {
            Combine::Sum | Combine::Any => Scalar::zero(d),
            Combine::Prod | Combine::All => Scalar::one(d),
            Combine::Min | Combine::ArgMin => Scalar::from_f64(d, f64::INFINITY),
            Combine::Max | Combine::ArgMax if d == DType::Bool => Scalar::bool(false),
            Combine::Max | Combine::ArgMax => Scalar::from_f64(d, f64::NEG_INFINITY),
        }
    }
}

impl ScanOp {
    pub const ALL: [ScanOp; 5] = [ScanOp::Sum, ScanOp::Prod, ScanOp::Min, ScanOp::Max, ScanOp::LogAddExp];
    /// Whether values of this dtype can be scanned so.
    pub fn accepts(self, d: DType) -> bool {
        self.binary().map_or(matches!(d, DType::F32 | DType::F64), |op| op.accepts(d))
    }
    /// The operation between two values, where it is one instruction.
    pub fn binary(self) -> Option<BinaryOp> {
        match self {
            ScanOp::Sum => Some(BinaryOp::Add),
            ScanOp::Prod => Some(BinaryOp::Mul),
            ScanOp::Min => Some(BinaryOp::Min),
            ScanOp::Max => Some(BinaryOp::Max),
            ScanOp::LogAddExp => None,
        }
    }
    /// What an exclusive scan begins with.
    pub fn identity(self, d: DType) -> Scalar {
        match self {
            ScanOp::Sum => Combine::Sum.identity(d),
            ScanOp::Prod => Combine::Prod.identity(d),
            ScanOp::Min => Combine::Min.identity(d),
            ScanOp::Max | ScanOp::LogAddExp => Combine::Max.identity(d),
        }
    }
}

impl ScatterOp {
    pub const ALL: [ScatterOp; 5] = [ScatterOp::Assign, ScatterOp::Add, ScatterOp::Mul, ScatterOp::Min, ScatterOp::Max];
    /// Whether values of this dtype can be scattered so.
    pub fn accepts(self, d: DType) -> bool {
        self.binary().map_or(d != DType::C64, |op| op.accepts(d))
    }
    /// The operation between what stands there and the update; none for `Assign`.
    pub fn binary(self) -> Option<BinaryOp> {
        match self {
            ScatterOp::Assign => None,
            ScatterOp::Add => Some(BinaryOp::Add),
            ScatterOp::Mul => Some(BinaryOp::Mul),
            ScatterOp::Min => Some(BinaryOp::Min),
            ScatterOp::Max => Some(BinaryOp::Max),
        }
    }
}

/// How a scatter combines an update with what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScatterOp {
    /// The last update in row-major order stays.
    Assign,
    Add,
    Mul,
    Min,
    Max,
}

/// What is done with the values of the body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Nest {
    /// Every point of the loop space stores its values. Points are independent.
    Map { stores: Vec<Store> },
    /// The last `axes` loop axes are reduced; the stores happen once per point of the remaining ones, whose
    /// operands have stride 0 along reduced axes. `epilogue` continues the numbering of the body and may use [`Inst::Reduced`],
    /// [`Inst::Param`], [`Inst::Const`], [`Inst::Index`], loads at kept axes, and scalar operations; not values of the body.
    Reduce { axes: u32, accumulators: Vec<Accumulator>, epilogue: Vec<Inst>, stores: Vec<Store> },
    /// Running combination along the last loop axis, from its end if `reverse`. An inclusive one begins with the first element; an
    /// exclusive one begins with the identity and leaves the current element out. `store` has the value's dtype.
    Scan { op: ScanOp, reverse: bool, exclusive: bool, value: Value, store: u32 },
    /// `target[index] = target[index] op value` for every point, in row-major order of the loop space, where `mask` (if any) holds and
    /// `0 ≤ index < len`. `index` is i64, in elements from the target's offset.
    Scatter { op: ScatterOp, target: u32, index: Value, mask: Option<Value>, value: Value },
}

/// Everything that decides the machine code of one loop nest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Number of loop axes. Reduced axes come last.
    pub rank: u32,
    /// The axis that vectors run along: the last one, or for a reduction also the last kept one.
    pub vector_axis: u32,
    pub params: Vec<DType>,
    pub operands: Vec<Operand>,
    pub body: Vec<Inst>,
    pub nest: Nest,
}

impl Kernel {
    /// Instructions in the order of their numbering: the body, then the epilogue of a reduction.
    pub fn insts(&self) -> impl Iterator<Item = &Inst> {
        let epilogue: &[Inst] = match &self.nest {
            Nest::Reduce { epilogue, .. } => epilogue,
            _ => &[],
        };
        self.body.iter().chain(epilogue)
    }
    /// Number of loop axes that are reduced.
    pub fn reduced(&self) -> u32 {
        match self.nest {
            Nest::Reduce { axes, .. } => axes,
            _ => 0,
        }
    }
    /// dtype of every value, in numbering order.
    pub fn dtypes(&self) -> Vec<DType> {
        let accumulators: &[Accumulator] = match &self.nest {
            Nest::Reduce { accumulators, .. } => accumulators,
            _ => &[],
        };
        let mut types = Vec::with_capacity(self.body.len());
        for inst in self.insts() {
            let t = inst.dtype(
                |v| types[v.0 as usize],
                |p| self.params[p as usize],
                |o| self.operands[o as usize].dtype,
                |a| types[accumulators[a as usize].value.0 as usize],
            );
            types.push(t);
        }
        types
    }
}

impl Inst {
    /// dtype of the result, given those of values, parameters, operands and accumulators.
    pub fn dtype(
        &self,
        value: impl Fn(Value) -> DType,
        param: impl Fn(u32) -> DType,
        operand: impl Fn(u32) -> DType,
        accumulator: impl Fn(u32) -> DType,
    ) -> DType {
        match *self {
            Inst::Param(p) => param(p),
            Inst::Const(s) => s.dtype,
            Inst::Index(_) | Inst::Extent(_) | Inst::ReducedIndex(_) => DType::I64,
            Inst::Load(o) | Inst::LoadAt { operand: o, .. } => operand(o),
            Inst::Unary(_, a) | Inst::Fma(a, _, _) => value(a),
            Inst::Binary(op, a, _) => {
                if op.is_comparison() {
                    DType::Bool
                } else {
                    value(a)
                }
            }
            Inst::Select(_, a, _) => value(a),
            Inst::Cast(d, _) | Inst::Bitcast(d, _) => d,
            Inst::Reduced(a) => accumulator(a),
        }
    }
    /// The values used, in order.
    pub fn uses(&self) -> smallvec::SmallVec<[Value; 3]> {
        match *self {
            Inst::LoadAt { index, mask, .. } => [index].into_iter().chain(mask).collect(),
            Inst::Unary(_, a) | Inst::Cast(_, a) | Inst::Bitcast(_, a) => [a].into_iter().collect(),
            Inst::Binary(_, a, b) => [a, b].into_iter().collect(),
            Inst::Fma(a, b, c) | Inst::Select(a, b, c) => [a, b, c].into_iter().collect(),
            _ => smallvec::SmallVec::new(),
        }
    }
}

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
    known: HashMap<Inst, Value>,
    accumulators: Vec<DType>,
}

impl Emit {
    pub fn new() -> Self {
        Self::default()
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
        if let Some(&v) = self.known.get(&inst) {
            return v;
        }
        let dtype = inst.dtype(
            |v| self.types[v.0 as usize],
            |p| self.params[p as usize],
            |o| self.operands[o as usize].dtype,
            |a| self.accumulators[a as usize],
        );
        let v = Value(self.insts.len() as u32);
        self.insts.push(inst);
        self.types.push(dtype);
        self.known.insert(inst, v);
        v
    }
    /// Ends the body and begins the epilogue of a reduction with these accumulators; returns the body's length.
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
