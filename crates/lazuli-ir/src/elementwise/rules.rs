//! What the elementwise families share: the rules that follow from a row.

use super::{Binary, Gives, Partial, Row, Ternary, Unary};
use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::Atom;
use crate::pointwise::{Ix, Lane, Pointwise, aligned};
use crate::prim::{Prim, Primals, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::{conjugate, unbroadcast};
use lazuli_kernel::{DType, Error, Result, Shape, Value, shape};
use smallvec::{SmallVec, smallvec};

/// Operands broadcast; all have one dtype, but for a bool condition in front of the others.
pub(super) fn infer<const N: usize>(row: &Row<N>, inputs: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
    let dtype = inputs[N - 1].dtype;
    let alike = if N == 3 { &inputs[1..] } else { inputs };
    if N == 3 && inputs[0].dtype != DType::Bool || alike.iter().any(|a| a.dtype != dtype) {
        let got: Vec<_> = inputs.iter().map(|a| a.dtype.name()).collect();
        return Err(Error::value(row.name, format!("operands must have one dtype, not {}", got.join(", "))));
    }
    if !row.accepts.contains(dtype) {
        return Err(Error::value(
            row.name,
            format!("is defined on {}, not on {dtype}: cast with astype first", row.accepts.describe()),
        ));
    }
    let mut dims = Shape::from_slice(&inputs[0].shape);
    for a in &inputs[1..] {
        if a.shape != dims {
            dims = shape::broadcast(row.name, &dims, &a.shape)?;
        }
    }
    let dtype = match row.gives {
        Gives::Same => dtype,
        Gives::Bool => DType::Bool,
        Gives::RealPart if dtype == DType::C64 => DType::F32,
        Gives::RealPart => dtype,
        Gives::Complex => DType::C64,
    };
    Ok(smallvec![Aval::new(dtype, dims)])
}

/// Σ partialᵢ · tangentᵢ.
pub(super) fn jvp<const N: usize>(
    prim: Prim,
    row: &Row<N>,
    b: &mut Builder,
    primals: Primals,
    tangents: &[Option<Atom>],
) -> Result<Tangents> {
    let inputs: [Atom; N] = primals.inputs.try_into().expect("as many operands as the row says");
    let partials = (row.partials)(b, inputs, primals.outputs[0])?;
    if partials.contains(&Partial::Itself) {
        return linear_jvp(prim, b, primals, tangents, &partials);
    }
    let mut sum: Option<Atom> = None;
    for (partial, tangent) in partials.into_iter().zip(tangents) {
        let Some(t) = *tangent else { continue };
        let term = match partial {
            Partial::Zero => continue,
            Partial::One => t,
            Partial::MinusOne => b.neg(t)?,
            Partial::Times(factor) => b.mul(t, factor)?,
            Partial::Over(divisor) => b.div(t, divisor)?,
            Partial::RealTimes(factor) => {
                let product = b.mul(t, factor)?;
                b.unary(Unary::Real, product)?
            }
            Partial::Itself => unreachable!("handled above"),
        };
        sum = Some(match sum {
            Some(s) => b.add(s, term)?,
            None => term,
        });
    }
    Ok(smallvec![match sum {
        Some(s) => Some(broadcast_like(b, s, primals.outputs[0])?),
        None => None,
    }])
}

/// A tangent broadcast to the shape of the result, where a wider operand has none.
fn broadcast_like(b: &mut Builder, a: Atom, like: Atom) -> Result<Atom> {
    let shape = b.aval(like).shape;
    crate::prims::broadcast_to(b, a, &shape)
}

/// The op itself on tangents, with zeros for the operands that have none.
fn linear_jvp(
    prim: Prim,
    b: &mut Builder,
    primals: Primals,
    tangents: &[Option<Atom>],
    partials: &[Partial],
) -> Result<Tangents> {
    let mut operands: SmallVec<[Atom; 3]> = SmallVec::new();
    let mut any = false;
    for ((&input, &tangent), partial) in primals.inputs.iter().zip(tangents).zip(partials) {
        operands.push(match (partial, tangent) {
            (Partial::Itself, Some(t)) => {
                any = true;
                t
            }
            (Partial::Itself, None) => b.like(input, 0.0),
            _ => input,
        });
    }
    if !any {
        return Ok(smallvec![None]);
    }
    let t = b.op(prim, &operands)?;
    Ok(smallvec![Some(broadcast_like(b, t, primals.outputs[0])?)])
}

/// Cotangents of the operands of the linear ops.
pub(super) fn transpose(prim: Prim, b: &mut Builder, cx: TransposeCx, ct: Option<Atom>) -> Result<Tangents> {
    let ct = ct.expect("not called with a zero cotangent");
    let terms: SmallVec<[Option<Atom>; 3]> = match &prim {
        Prim::Unary(Unary::Neg) => smallvec![Some(b.neg(ct)?)],
        Prim::Binary(Binary::Add) => smallvec![Some(ct), Some(ct)],
        Prim::Binary(Binary::Sub) => smallvec![Some(ct), if cx.is_linear(1) { Some(b.neg(ct)?) } else { None }],
        Prim::Binary(Binary::Mul) => match (cx.inputs[0], cx.inputs[1]) {
            (None, Some(factor)) => {
                let factor = conjugate(b, factor)?;
                smallvec![Some(b.mul(ct, factor)?), None]
            }
            (Some(factor), None) => {
                let factor = conjugate(b, factor)?;
                smallvec![None, Some(b.mul(factor, ct)?)]
            }
            _ => return Err(Error::internal("multiply", "not linear in both operands together")),
        },
        Prim::Binary(Binary::Div) => {
            let divisor = cx.inputs[1].ok_or_else(|| Error::internal("divide", "not linear in the divisor"))?;
            let divisor = conjugate(b, divisor)?;
            smallvec![Some(b.div(ct, divisor)?), None]
        }
        Prim::Unary(Unary::Conjugate) => smallvec![Some(conjugate(b, ct)?)],
        // The inner product Re(ā·b) pairs a real cotangent w of re z with w, and that of im z with i·w.
        Prim::Unary(Unary::Real) if cx.avals[0].dtype == DType::C64 => {
            smallvec![Some(b.binary(Binary::Complex, ct, b.like(ct, 0.0))?)]
        }
        Prim::Unary(Unary::Imag) if cx.avals[0].dtype == DType::C64 => {
            smallvec![Some(b.binary(Binary::Complex, b.like(ct, 0.0), ct)?)]
        }
        Prim::Unary(Unary::Real) => smallvec![Some(ct)],
        Prim::Unary(Unary::Imag) => smallvec![None],
        Prim::Binary(Binary::Complex) => smallvec![Some(b.unary(Unary::Real, ct)?), Some(b.unary(Unary::Imag, ct)?)],
        Prim::Ternary(Ternary::Select) => {
            let condition = cx.inputs[0].ok_or_else(|| Error::internal("where", "not linear in the condition"))?;
            let zero = b.like(ct, 0.0);
            let first = if cx.is_linear(1) { Some(b.select(condition, ct, zero)?) } else { None };
            let second = if cx.is_linear(2) { Some(b.select(condition, zero, ct)?) } else { None };
            smallvec![None, first, second]
        }
        _ => return Err(Error::internal(prim.name(), "this op is not linear: its jvp emitted it on a tangent")),
    };
    let mut out = Tangents::new();
    for (k, term) in terms.into_iter().enumerate() {
        out.push(match term {
            Some(t) if cx.is_linear(k) => Some(unbroadcast(b, t, &cx.avals[k].shape)?),
            _ => None,
        });
    }
    Ok(out)
}

/// Aligns the axes after the batch: an operand of lower rank gets axes of extent 1 behind its batch axis.
pub(super) fn vmap(prim: Prim, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
    let rank = |b: &Builder, k: usize| b.rank(cx.inputs[k]) - cx.batched[k] as usize;
    let most = (0..cx.inputs.len()).map(|k| rank(b, k)).max().unwrap_or(0);
    let mut operands: SmallVec<[Atom; 3]> = SmallVec::new();
    for k in 0..cx.inputs.len() {
        let missing = most - rank(b, k);
        operands.push(if cx.batched[k] && missing > 0 {
            crate::prims::expand_dims(b, cx.inputs[k], &(1..=missing).collect::<Vec<_>>())?
        } else {
            cx.inputs[k]
        });
    }
    Ok(smallvec![b.op(prim, &operands)?])
}

/// Loads or computes the operands at the index aligned to their shapes and applies the row.
pub(super) fn pointwise<const N: usize>(row: &Row<N>, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane {
    let mut lanes = [Lane::Real(Value(0)); N];
    for (k, lane) in lanes.iter_mut().enumerate() {
        let shape = cx.input_shape(k);
        *lane = if shape.len() == at.len() && !shape.contains(&1) {
            cx.input(k, at)
        } else {
            let index = aligned(shape, at);
            cx.input(k, &index)
        };
    }
    if row.gives == Gives::Complex || lanes.iter().any(|l| matches!(l, Lane::Complex(..))) {
        return (row.complex)(cx.emit(), lanes);
    }
    let e = cx.emit();
    let narrow = match e.dtype(lanes[N - 1].real()) {
        d @ (DType::F16 | DType::BF16) => Some(d),
        _ => None,
    };
    let values = lanes.map(|l| match (narrow, l.real()) {
        (Some(d), v) if e.dtype(v) == d => e.cast(DType::F32, v),
        (_, v) => v,
    });
    let v = (row.real)(e, values);
    match narrow {
        Some(d) if e.dtype(v) == DType::F32 => Lane::Real(e.cast(d, v)),
        _ => Lane::Real(v),
    }
}
