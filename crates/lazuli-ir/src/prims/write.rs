//! Derivatives that the two kinds of scatter share: both write updates into a target at positions given by integers, and have a gather that
//! reads at the same positions.

use crate::aval::Dim;
use crate::builder::Builder;
use crate::elementwise::Binary;
use crate::graph::Atom;
use crate::number::Number;
use crate::pointwise::{Index, Ix, Lane, Pointwise, aligned};
use crate::prim::{Primals, Tangents, TransposeCx};
use crate::prims::{
    Flatten, Iota, NumberOfElements, broadcast_to, cotangent, reshape, tangent_or_zeros, unbroadcast, zeros,
};
use lazuli_kernel::{BinaryOp, DType, Emit, Error, ErrorKind, Result, Scalar, ScatterOp, Shape, Value, shape};
use smallvec::smallvec;

/// A scatter with its positions fixed.
pub(super) struct Writes<'a> {
    pub name: &'static str,
    /// `(op, target, updates)`: the target with the updates combined into it.
    pub put: &'a dyn Fn(&mut Builder, ScatterOp, Atom, Atom) -> Result<Atom>,
    /// What stands at the positions: of `space`, or of a shape that broadcasts to it.
    pub take: &'a dyn Fn(&mut Builder, Atom) -> Result<Atom>,
    /// Shape of the points at which updates happen; that of the updates broadcasts to it.
    pub space: Shape,
}

impl Writes<'_> {
    /// Tangent of the result. Assignment and addition are linear in target and updates. A product is linear in the target; its derivative
    /// in the updates is refused: where positions repeat it needs the product of the others. The extremum's tangent is shared equally by all,
    /// target and updates, that attain it.
    pub(super) fn jvp(
        &self,
        b: &mut Builder,
        op: ScatterOp,
        primals: Primals,
        tangents: &[Option<Atom>],
    ) -> Result<Tangents> {
        let last = primals.inputs.len() - 1;
        let (target, updates) = (primals.inputs[0], primals.inputs[last]);
        let (around, update) = (tangents[0], tangents[last]);
        Ok(smallvec![match op {
            _ if around.is_none() && update.is_none() => None,
            ScatterOp::Add if update.is_none() => around,
            ScatterOp::Assign | ScatterOp::Add => {
                let around = tangent_or_zeros(b, around, target)?;
                let update = tangent_or_zeros(b, update, updates)?;
                Some((self.put)(b, op, around, update)?)
            }
            ScatterOp::Mul if update.is_none() => Some((self.put)(b, op, around.expect("not both none"), updates)?),
            ScatterOp::Mul => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    self.name,
                    "op=mul has no derivative in its updates: multiply with what a gather reads and assign the product",
                ));
            }
            ScatterOp::Min | ScatterOp::Max => {
                let y = primals.outputs[0];
                let dtype = b.dtype(y);
                let there = (self.take)(b, y)?;
                let kept = b.binary(Binary::Eq, target, y)?;
                let taken = b.binary(Binary::Eq, updates, there)?;
                let (ones, more) = (b.cast(kept, dtype)?, b.cast(taken, dtype)?);
                let count = (self.put)(b, ScatterOp::Add, ones, more)?;
                let zero = b.like(y, 0.0);
                let around = tangent_or_zeros(b, around, target)?;
                let update = tangent_or_zeros(b, update, updates)?;
                let (left, right) = (b.select(kept, around, zero)?, b.select(taken, update, zero)?);
                let sum = (self.put)(b, ScatterOp::Add, left, right)?;
                Some(b.div(sum, count)?)
            }
        }])
    }

    /// Cotangents of target and updates (the last operand) where the scatter is linear.
    pub(super) fn transpose(
        &self,
        b: &mut Builder,
        op: ScatterOp,
        cx: TransposeCx,
        cotangents: &[Option<Atom>],
    ) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        let last = cx.avals.len() - 1;
        let mut out: Tangents = cx.avals.iter().map(|_| None).collect();
        if cx.is_linear(0) {
            out[0] = Some(match op {
                ScatterOp::Add => ct,
                ScatterOp::Assign => {
                    let nothing = zeros(b, cx.avals[last].dtype, &cx.avals[last].shape)?;
                    cx.operands.get(last).into_iter().for_each(|&updates| b.alike(nothing, updates));
                    (self.put)(b, op, ct, nothing)?
                }
                ScatterOp::Mul => {
                    let factors = cx.inputs[last]
                        .ok_or_else(|| Error::internal(self.name, "not linear in both operands together"))?;
                    let factors = crate::prims::conjugate(b, factors)?;
                    (self.put)(b, op, ct, factors)?
                }
                ScatterOp::Min | ScatterOp::Max => return Err(Error::internal(self.name, "an extremum is not linear")),
            });
        }
        if cx.is_linear(last) {
            let there = (self.take)(b, ct)?;
            let there = match op {
                ScatterOp::Assign => {
                    let stays = self.stays(b, cx)?;
                    let zero = b.like(ct, 0.0);
                    b.select(stays, there, zero)?
                }
                _ => broadcast_to(b, there, &self.space)?,
            };
            out[last] = Some(unbroadcast(b, there, &cx.avals[last].shape)?);
        }
        Ok(out)
    }

    /// Which updates of an assignment are not overwritten by a later one: each writes its number (from 1), and reads what stands there in the end.
    fn stays(&self, b: &mut Builder, cx: TransposeCx) -> Result<Atom> {
        let n = shape::size(&self.space);
        let dtype = if n < u32::MAX as usize { DType::U32 } else { DType::U64 };
        let numbers = self.numbers(b, dtype)?;
        let blank = zeros(b, dtype, &cx.avals[0].shape)?;
        cx.operands.first().into_iter().for_each(|&target| b.alike(blank, target));
        let written = (self.put)(b, ScatterOp::Assign, blank, numbers)?;
        let there = (self.take)(b, written)?;
        b.binary(Binary::Eq, there, numbers)
    }

    /// The numbers of the updates, from the last to the first.
    fn numbers(&self, b: &mut Builder, dtype: DType) -> Result<Atom> {
        let n = shape::size(&self.space);
        if !b.is_for_any_shapes() {
            let before = b.op(Iota { dtype, shape: smallvec![Dim::Known(n)], axis: 0 }, &[])?;
            let numbers = b.sub(Scalar::from_i64(dtype, n as i64).into(), before)?;
            return reshape(b, numbers, &self.space);
        }
        // Of other extents it is their count that says whether the dtype has enough numbers.
        let points = zeros(b, dtype, &self.space)?;
        let row = b.op(Flatten { start: 0, end: self.space.len().saturating_sub(1) }, &[points])?;
        let row = [row.var().expect("an equation defines it")];
        let count = NumberOfElements { axes: smallvec![0], dtype, literal: true };
        let count = b.equation(count, &[], &row)?[0];
        let shape = smallvec![Dim::Of { operand: 0, axis: 0 }];
        let before = b.equation(Iota { dtype, shape, axis: 0 }, &[], &row)?[0];
        let numbers = b.sub(count.into(), before.into())?;
        let numbers = reshape(b, numbers, &self.space)?;
        b.alike(points, numbers);
        Ok(numbers)
    }
}

/// The position that index array `k` gives at an index of the shape that all index arrays broadcast to, on an axis of extent `n`: negative ones
/// count from the end.
pub(super) fn position_at(cx: &mut dyn Pointwise, k: usize, at: &[Ix], n: Number) -> Ix {
    let at: Index = aligned(cx.input_shape(k), at);
    let signed = cx.input_dtype(k).kind() == lazuli_kernel::Kind::Signed;
    let given = cx.input(k, &at).real();
    let given = cx.emit().cast(DType::I64, given);
    if !signed {
        return Ix::Computed(given);
    }
    let n = cx.number(DType::I64, n);
    let e = cx.emit();
    let zero = e.i64(0);
    let (negative, from_end) = (e.lt(given, zero), e.add(given, n));
    Ix::Computed(e.select(negative, from_end, given))
}

/// What stands at a position with an update combined into it, as a scatter does it: half floats in f32, a bool added as "or" and multiplied as "and".
pub(super) fn combined(e: &mut Emit, op: ScatterOp, target: Lane, update: Lane) -> Lane {
    let binary = op.binary().expect("an assignment combines nothing");
    let mut one = |a: Value, b: Value| match (e.dtype(a), binary) {
        (dtype @ (DType::F16 | DType::BF16), _) => {
            let (a, b) = (e.cast(DType::F32, a), e.cast(DType::F32, b));
            let wide = e.binary(binary, a, b);
            e.cast(dtype, wide)
        }
        (DType::Bool, BinaryOp::Add) => e.or(a, b),
        (DType::Bool, BinaryOp::Mul) => e.and(a, b),
        _ => e.binary(binary, a, b),
    };
    match (target, update) {
        (Lane::Real(a), Lane::Real(b)) => Lane::Real(one(a, b)),
        _ => {
            let ((ar, ai), (br, bi)) = (target.parts(), update.parts());
            Lane::Complex(one(ar, br), one(ai, bi))
        }
    }
}
