//! Partial derivatives of the table's rows, where they take more than an expression.
//!
//! They reuse the result where that is as accurate. At points without a derivative they give what MLX and JAX give, stated at each.

use super::{Binary, Partial, Unary};
use crate::builder::Builder;
use crate::graph::Atom;
use crate::prims::conjugate;
use lazuli_kernel::{DType, Result, Scalar};

/// sign(a), so 0 at 0; for a complex number Re(t·ā/|a|), in operations that have derivatives of their own.
pub(super) fn abs_partial(b: &mut Builder, [x]: [Atom; 1], y: Atom) -> Result<[Partial; 1]> {
    if b.dtype(x) != DType::C64 {
        return Ok([Partial::Times(b.unary(Unary::Sign, x)?)]);
    }
    let at_zero = b.binary(Binary::Eq, y, b.like(y, 0.0))?;
    let divisor = b.select(at_zero, b.like(y, 1.0), y)?;
    let divisor = b.cast(divisor, DType::C64)?;
    let conjugated = conjugate(b, x)?;
    Ok([Partial::RealTimes(b.div(conjugated, divisor)?)])
}

/// −y/(2a).
pub(super) fn rsqrt_partial(b: &mut Builder, [x]: [Atom; 1], y: Atom) -> Result<[Partial; 1]> {
    let half = b.mul(y, b.like(y, -0.5))?;
    Ok([Partial::Times(b.div(half, x)?)])
}

/// (1 − a)(1 + a): accurate near a = ±1, where 1 − a² cancels.
pub(super) fn one_minus_square(b: &mut Builder, x: Atom) -> Result<Atom> {
    let one = b.like(x, 1.0);
    let (below, above) = (b.sub(one, x)?, b.add(one, x)?);
    b.mul(below, above)
}

pub(super) fn root_of_one_minus_square(b: &mut Builder, x: Atom) -> Result<Atom> {
    let s = one_minus_square(b, x)?;
    b.unary(Unary::Sqrt, s)
}

pub(super) fn one_plus_square(b: &mut Builder, x: Atom) -> Result<Atom> {
    let s = b.mul(x, x)?;
    b.add(s, b.like(x, 1.0))
}

/// 1/(√(a − 1)·√(a + 1)): two roots, for the branch cut of complex numbers and NaN below 1.
pub(super) fn arccosh_partial(b: &mut Builder, [x]: [Atom; 1], _: Atom) -> Result<[Partial; 1]> {
    let one = b.like(x, 1.0);
    let (p, q) = (b.sub(x, one)?, b.add(x, one)?);
    let (p, q) = (b.unary(Unary::Sqrt, p)?, b.unary(Unary::Sqrt, q)?);
    Ok([Partial::Over(b.mul(p, q)?)])
}

/// `scale`·e^(−a²).
pub(super) fn gaussian_partial(b: &mut Builder, x: Atom, scale: f64) -> Result<[Partial; 1]> {
    let s = b.mul(x, x)?;
    let s = b.neg(s)?;
    let g = b.unary(Unary::Exp, s)?;
    Ok([Partial::Times(b.mul(g, b.like(x, scale))?)])
}

/// √π/2·e^(y²).
pub(super) fn erfinv_partial(b: &mut Builder, _: [Atom; 1], y: Atom) -> Result<[Partial; 1]> {
    let s = b.mul(y, y)?;
    let g = b.unary(Unary::Exp, s)?;
    Ok([Partial::Times(b.mul(g, b.like(y, 1.0 / std::f64::consts::FRAC_2_SQRT_PI))?)])
}

/// 1 and −⌊a/b⌋.
pub(super) fn remainder_partials(b: &mut Builder, [x, y]: [Atom; 2], _: Atom) -> Result<[Partial; 2]> {
    let q = b.binary(Binary::FloorDivide, x, y)?;
    Ok([Partial::One, Partial::Times(b.neg(q)?)])
}

/// b·aᵇ⁻¹ and aᵇ·log a; the first is 0 where b = 0, the second where aᵇ = 0 (both are the limit there).
pub(super) fn power_partials(b: &mut Builder, [x, y]: [Atom; 2], z: Atom) -> Result<[Partial; 2]> {
    let one = b.like(y, 1.0);
    let less = match y {
        Atom::Lit(s) if s.dtype != DType::C64 => b.like(y, s.to_f64() - 1.0),
        _ => b.sub(y, one)?,
    };
    let power = b.binary(Binary::Power, x, less)?;
    let mut first = b.mul(y, power)?;
    if !matches!(y, Atom::Lit(s) if s != Scalar::zero(s.dtype)) {
        let constant = b.binary(Binary::Eq, y, b.like(y, 0.0))?;
        first = b.select(constant, b.like(y, 0.0), first)?;
    }
    if matches!(y, Atom::Lit(_)) {
        return Ok([Partial::Times(first), Partial::Zero]);
    }
    let log = b.unary(Unary::Log, x)?;
    let second = b.mul(z, log)?;
    let vanishes = b.binary(Binary::Eq, z, b.like(z, 0.0))?;
    Ok([Partial::Times(first), Partial::Times(b.select(vanishes, b.like(z, 0.0), second)?)])
}

/// 1 for the operand that was taken: the first where `first` holds, the second where `second` does (at ties too); with NaN neither.
pub(super) fn extremum_partials(
    b: &mut Builder,
    x: Atom,
    y: Atom,
    first: Binary,
    second: Binary,
) -> Result<[Partial; 2]> {
    let dtype = b.dtype(x);
    let mut taken = |op| {
        let mask = b.binary(op, x, y)?;
        Ok(Partial::Times(b.cast(mask, dtype)?))
    };
    Ok([taken(first)?, taken(second)?])
}

/// b/(a² + b²) and −a/(a² + b²); NaN at the origin.
pub(super) fn arctan2_partials(b: &mut Builder, [y, x]: [Atom; 2], _: Atom) -> Result<[Partial; 2]> {
    let (y2, x2) = (b.mul(y, y)?, b.mul(x, x)?);
    let d = b.add(y2, x2)?;
    let (p, q) = (b.div(x, d)?, b.div(y, d)?);
    Ok([Partial::Times(p), Partial::Times(b.neg(q)?)])
}

/// The operands' shares 1/(1 + e^(b−a)) and 1/(1 + e^(a−b)); halves where a = b, infinite ones too.
pub(super) fn logaddexp_partials(b: &mut Builder, [x, y]: [Atom; 2], z: Atom) -> Result<[Partial; 2]> {
    if b.dtype(x) == DType::C64 {
        let (p, q) = (b.sub(x, z)?, b.sub(y, z)?);
        return Ok([Partial::Times(b.unary(Unary::Exp, p)?), Partial::Times(b.unary(Unary::Exp, q)?)]);
    }
    let (difference, tie) = (b.sub(x, y)?, b.binary(Binary::Eq, x, y)?);
    let d = b.select(tie, b.like(x, 0.0), difference)?;
    let minus = b.neg(d)?;
    Ok([Partial::Times(b.unary(Unary::Sigmoid, d)?), Partial::Times(b.unary(Unary::Sigmoid, minus)?)])
}
