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
//! - an output operand is stored exactly once per point and is loaded only if its role is `InOut`, at the same point (in the epilogue
//!   of a reduction, and not at all where it is the target of a scatter; rows have no such operand);
//! - NaN is one value: which bits a computed NaN has is not specified, hence neither is a bitcast of it.

mod emit;
mod ops;

pub use emit::Emit;
pub use ops::{BinaryOp, Combine, ScanOp, ScatterOp, UnaryOp};

use crate::dtype::DType;
use crate::scalar::Scalar;

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
    /// Result of an accumulator, in the epilogue of a reduction or of rows; in the body of rows behind the value that is accumulated.
    Reduced(u32),
    /// Position (i64, row-major over the reduced axes) found by an `ArgMin`/`ArgMax` accumulator; where `Reduced` may stand.
    ReducedIndex(u32),
}

/// Writes a value to an output operand at the current point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Store {
    pub operand: u32,
    pub value: Value,
}

/// One reduction within a kernel; several may share a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Accumulator {
    pub combine: Combine,
    /// Value of the body that is accumulated.
    pub value: Value,
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
    /// Reductions along the last `axes` loop axes, a *row*, whose results are used at the points of the same row: a softmax or a normalisation.
    /// The body may use the result ([`Inst::Reduced`]) of an accumulator whose value is defined before, and so falls into stages, one for
    /// each time that it waits for results ([`Kernel::stages`]). `stores` happen at every point, after all that the row reads in its body; then
    /// `epilogue` and `row_stores`, as those of a reduction.
    Rows { axes: u32, accumulators: Vec<Accumulator>, stores: Vec<Store>, epilogue: Vec<Inst>, row_stores: Vec<Store> },
    /// Running combination along the last loop axis, from its end if `reverse`. An inclusive one begins with the first element; an
    /// exclusive one begins with the identity and leaves the current element out. `store` has the value's dtype.
    Scan { op: ScanOp, reverse: bool, exclusive: bool, value: Value, store: u32 },
    /// A linear recurrence along the last loop axis, from its end if `reverse`: what is stored is 0 at its first point, the first term at the second, and at each later one
    /// factor · stored + term of the point before. f32 and f64; `store` has the dtype of both values.
    Recurrence { reverse: bool, factor: Value, term: Value, store: u32 },
    /// `target[index] = target[index] op value` for every point, in row-major order of the loop space, where `mask` (if any) holds and
    /// `0 ≤ index < len`. `index` is i64, in elements from the target's offset. The target has role `InOut` and is the only output.
    Scatter { op: ScatterOp, target: u32, index: Value, mask: Option<Value>, value: Value },
}

impl Nest {
    /// Number of loop axes that are reduced.
    pub fn reduced(&self) -> u32 {
        match *self {
            Nest::Reduce { axes, .. } | Nest::Rows { axes, .. } => axes,
            Nest::Map { .. } | Nest::Scan { .. } | Nest::Recurrence { .. } | Nest::Scatter { .. } => 0,
        }
    }
}

/// Everything that decides the machine code of one loop nest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Number of loop axes, 0 for a scalar. Reduced axes come last.
    pub rank: u32,
    /// The axis that vectors run along: the last one (0 if there is none), or for a reduction and rows also the last kept one.
    pub vector_axis: u32,
    pub params: Vec<DType>,
    pub operands: Vec<Operand>,
    pub body: Vec<Inst>,
    pub nest: Nest,
}

impl Kernel {
    /// Instructions in the order of their numbering: the body, then the epilogue of a reduction or of rows.
    pub fn insts(&self) -> impl Iterator<Item = &Inst> {
        let epilogue: &[Inst] = match &self.nest {
            Nest::Reduce { epilogue, .. } | Nest::Rows { epilogue, .. } => epilogue,
            _ => &[],
        };
        self.body.iter().chain(epilogue)
    }
    /// Number of loop axes that are reduced.
    pub fn reduced(&self) -> u32 {
        self.nest.reduced()
    }
    /// Those of a reduction or of rows.
    pub fn accumulators(&self) -> &[Accumulator] {
        match &self.nest {
            Nest::Reduce { accumulators, .. } | Nest::Rows { accumulators, .. } => accumulators,
            _ => &[],
        }
    }
    /// The stage of each value of the body: how many times a row has to be gone through before it can be computed. 0 but in rows.
    pub fn stages(&self) -> Vec<u32> {
        let accumulators = self.accumulators();
        let mut stages: Vec<u32> = Vec::with_capacity(self.body.len());
        for inst in &self.body {
            stages.push(match *inst {
                Inst::Reduced(a) | Inst::ReducedIndex(a) => 1 + stages[accumulators[a as usize].value.0 as usize],
                _ => inst.uses().iter().map(|v| stages[v.0 as usize]).max().unwrap_or(0),
            });
        }
        stages
    }
    /// dtype of every value, in numbering order.
    pub fn dtypes(&self) -> Vec<DType> {
        let accumulators = self.accumulators();
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
        let none = Value(0);
        let (values, n) = match *self {
            Inst::LoadAt { index, mask, .. } => ([index, mask.unwrap_or(none), none], 1 + mask.is_some() as usize),
            Inst::Unary(_, a) | Inst::Cast(_, a) | Inst::Bitcast(_, a) => ([a, none, none], 1),
            Inst::Binary(_, a, b) => ([a, b, none], 2),
            Inst::Fma(a, b, c) | Inst::Select(a, b, c) => ([a, b, c], 3),
            _ => ([none; 3], 0),
        };
        smallvec::SmallVec::from_buf_and_len(values, n)
    }
}
