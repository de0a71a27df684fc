//! The rewrite rules: one row each, with its algebra and what it assumes of NaN and −0.
//!
//! A rule is exact on every input, or it is not here: x + 0 = x is wrong for x = −0, x · 0 = 0 for NaN, and reassociation rounds otherwise. Signs of NaN are not
//! specified, so rules may change them.

use super::{Simplifier, fold};
use lazuli_ir::prims::*;
use lazuli_ir::{Atom, Binary, DType, Equation, Kind, Prim, Scalar, Ternary, Unary, Var};
use smallvec::SmallVec;

/// What an equation is replaced by.
// Short-lived, and one at a time: boxing the larger variant would cost more than it saves.
#[allow(clippy::large_enum_variant)]
pub(super) enum Rewrite {
    /// A value that is there already.
    Is(Atom),
    /// Another equation, of the same shape and dtype for every shape of its operands.
    Becomes { prim: Prim, inputs: SmallVec<[Atom; 3]>, shapes: SmallVec<[Var; 1]> },
}

pub(super) struct Rule {
    pub name: &'static str,
    pub apply: fn(&Simplifier, &Equation) -> Option<Rewrite>,
}

/// Rules by family; those of unary and binary operations with the operation of the equation that they replace.
macro_rules! rules {
    ($($family:ident $(of $op:ident)? { $($rows:tt)* })*) => {
        $(rules!(@family $family $($op)? { $($rows)* });)*
        /// The names of all rules.
        pub(super) fn names() -> impl Iterator<Item = &'static str> {
            [$($family.iter().map(|row| row.1.name).collect::<Vec<_>>()),*].into_iter().flatten()
        }
    };
    (@family $family:ident $op:ident { $($of:ident: $name:literal => $apply:expr;)* }) => {
        const $family: &[($op, Rule)] = &[$(($op::$of, Rule { name: $name, apply: $apply })),*];
    };
    (@family $family:ident { $($name:literal => $apply:expr;)* }) => {
        const $family: &[((), Rule)] = &[$(((), Rule { name: $name, apply: $apply })),*];
    };
}

/// What the first rule puts in place of an equation, among those that speak of its primitive.
pub(super) fn rewrite(s: &Simplifier, e: &Equation) -> Option<Rewrite> {
    fn first<Op: PartialEq>(rows: &[(Op, Rule)], op: &Op, s: &Simplifier, e: &Equation) -> Option<Rewrite> {
        rows.iter().filter(|row| row.0 == *op).find_map(|row| (row.1.apply)(s, e))
    }
    first(EVERY, &(), s, e).or_else(|| match &e.prim {
        Prim::Unary(op) => first(UNARY, op, s, e),
        Prim::Binary(op) => first(BINARY, op, s, e),
        Prim::Ternary(_) => first(TERNARY, &(), s, e),
        _ => first(OTHERS, &(), s, e),
    })
}

rules! {
    EVERY {
        // f(literals) is a literal: the kernel's own arithmetic.
        "fold" => |_, e| fold::fold(e).map(|s| Rewrite::Is(s.into()));
    }
    UNARY of Unary {
        // −(−x) = x. The sign bit flips twice, of −0 and NaN too; integers wrap back.
        Neg: "negative of negative" => |s, e| inverse(s, e, Unary::Neg, Unary::Neg);
        Conjugate: "conjugate of conjugate" => |s, e| inverse(s, e, Unary::Conjugate, Unary::Conjugate);
        // Bits flip twice (of bool: logical not).
        BitwiseInvert: "invert of invert" => |s, e| inverse(s, e, Unary::BitwiseInvert, Unary::BitwiseInvert);
        // ¬¬x = x of a bool; of a number it would be whether x is not 0.
        LogicalNot: "not of not" => |s, e| match inverse(s, e, Unary::LogicalNot, Unary::LogicalNot) {
            Some(Rewrite::Is(x)) if s.dtype(x) == DType::Bool => is(Some(x)),
            _ => None,
        };
        // ¬(x = y) is x ≠ y, where either is NaN too. (¬(x < y) is not x ≥ y then.)
        LogicalNot: "not of equal" => |s, e| negated(s, e, Binary::Eq, Binary::Ne);
        LogicalNot: "not of not_equal" => |s, e| negated(s, e, Binary::Ne, Binary::Eq);
        // A number that has no imaginary part, unchanged by definition.
        Conjugate: "conjugate of real" => |s, e| is(unary(e, Unary::Conjugate).filter(|&x| s.dtype(x) != DType::C64));
        Real: "real of real" => |s, e| is(unary(e, Unary::Real).filter(|&x| s.dtype(x) != DType::C64));
        // Derivatives have been taken.
        StopGradient: "stop_gradient" => |_, e| is(unary(e, Unary::StopGradient));
        // Integers and bools are integral, and unsigned ones are not below 0.
        Floor: "floor of an integer" => |s, e| integral(s, e, Unary::Floor);
        Ceil: "ceil of an integer" => |s, e| integral(s, e, Unary::Ceil);
        Round: "round of an integer" => |s, e| integral(s, e, Unary::Round);
        Abs: "abs of unsigned" => |s, e| {
            is(unary(e, Unary::Abs).filter(|&x| matches!(s.dtype(x).kind(), Kind::Unsigned | Kind::Bool)))
        };
        // f(f(x)) = f(x): integral values round to themselves, |x| has its sign bit clear; NaN stays NaN.
        Abs: "abs of abs" => |s, e| again(s, e, Unary::Abs);
        Floor: "floor of floor" => |s, e| again(s, e, Unary::Floor);
        Ceil: "ceil of ceil" => |s, e| again(s, e, Unary::Ceil);
        Round: "round of round" => |s, e| again(s, e, Unary::Round);
        // |−x| = |x|: the sign bit is cleared in any case; |MIN| = |−MIN| as both wrap. Complex: the parts only enter by their size.
        Abs: "abs of negative" => |s, e| past_sign(s, e, Unary::Abs);
        // (−x)² = x², a sign that cancels; integers wrap the same way.
        Square: "square of negative" => |s, e| past_sign(s, e, Unary::Square);
        // |x|² = x² for the same reason; of real numbers.
        Square: "square of abs" => |s, e| {
            let y = unary(e, Unary::Square)?;
            let x = s.producer(y).and_then(|p| unary(p, Unary::Abs)).filter(|&x| s.dtype(x) != DType::C64)?;
            becomes(Unary::Square, &[x], &[])
        };
        // |x²| = x²: a square has its sign bit clear, that of −0 and of −∞ too; not so of integers, which wrap.
        Abs: "abs of square" => |s, e| {
            let y = unary(e, Unary::Abs).filter(|&y| s.dtype(y).is_float())?;
            is(s.producer(y).is_some_and(|p| unary(p, Unary::Square).is_some()).then_some(y))
        };
    }
    BINARY of Binary {
        // x · x = x²: one multiplication, rounded once, either way; complex numbers have formulas of their own.
        Mul: "times itself" => |s, e| match binary(e, Binary::Mul) {
            Some((x, y)) if x == y && is_real(s.dtype(x)) => becomes(Unary::Square, &[x], &[]),
            _ => None,
        };
        // x + (−y) = x − y: IEEE 754 defines the difference so; −0 and ∞ come out alike. Integers wrap alike, complex numbers go by parts.
        Add: "plus negative" => |s, e| {
            let (x, y) = binary(e, Binary::Add)?;
            match (s.negated(x), s.negated(y)) {
                (_, Some(y)) => becomes(Binary::Sub, &[x, y], &[]),
                (Some(x), None) => becomes(Binary::Sub, &[y, x], &[]),
                (None, None) => None,
            }
        };
        // x − (−y) = x + y likewise.
        Sub: "minus negative" => |s, e| {
            let (x, y) = binary(e, Binary::Sub)?;
            becomes(Binary::Add, &[x, s.negated(y)?], &[])
        };
        // (−x)(−y) = xy and (−x)/(−y) = x/y: the sign of a result is the product of signs, of 0 and ∞ too.
        Mul: "product of negatives" => |s, e| both_signs(s, e, Binary::Mul);
        Div: "quotient of negatives" => |s, e| both_signs(s, e, Binary::Div);
        // x · (−1) = −x: the sign bit flips, of 0 and ∞ too.
        Mul: "times minus one" => |_, e| {
            let (x, y) = binary(e, Binary::Mul)?;
            let is_minus_one = |a: Atom| {
                let signed = |d: DType| d.is_float() || d.kind() == Kind::Signed;
                matches!(a, Atom::Lit(z) if signed(z.dtype) && z == Scalar::from_f64(z.dtype, -1.0))
            };
            let x = if is_minus_one(y) { x } else { Some(y).filter(|_| is_minus_one(x))? };
            becomes(Unary::Neg, &[x], &[])
        };
        // x / 2ᵏ = x · 2⁻ᵏ: both are the one real number, rounded once; where 2⁻ᵏ is a normal number.
        Div: "over a power of two" => |_, e| {
            let (x, y) = binary(e, Binary::Div)?;
            becomes(Binary::Mul, &[x, reciprocal_of_power_of_two(y)?.into()], &[])
        };
        // x · 1 = x: NaN and −0 stay. Not for complex numbers, where 1 is 1 + 0i and ∞ · 0 = NaN.
        // The kernel of powers gives the product and x themselves for these exponents.
        Power: "to the power of two" => |s, e| match binary(e, Binary::Power) {
            Some((x, Atom::Lit(z))) if is_real(s.dtype(x)) && z == Scalar::from_f64(z.dtype, 2.0) => becomes(Unary::Square, &[x], &[]),
            _ => None,
        };
        Power: "to the power of one" => |s, e| neutral(s, e, Binary::Power, false, is_one);
        Mul: "times one" => |s, e| neutral(s, e, Binary::Mul, true, is_one);
        // x / 1 = x likewise.
        Div: "over one" => |s, e| neutral(s, e, Binary::Div, false, is_one);
        // x − 0 = x, for −0 too: −0 − (+0) = −0.
        Sub: "minus zero" => |s, e| neutral(s, e, Binary::Sub, false, |z| z.bits == 0);
        // x + (−0) = x; x + (+0) is not x for x = −0, unless x is an integer.
        Add: "plus zero" => |s, e| neutral(s, e, Binary::Add, true, |z| match z.dtype.kind() {
            Kind::Float => z.to_f64() == 0.0 && z.to_f64().is_sign_negative(),
            kind => kind != Kind::Complex && z.bits == 0,
        });
        // max(x, x) = x and so on: NaN gives NaN.
        Maximum: "maximum with itself" => |_, e| itself(e, Binary::Maximum);
        Minimum: "minimum with itself" => |_, e| itself(e, Binary::Minimum);
        BitwiseAnd: "and with itself" => |_, e| itself(e, Binary::BitwiseAnd);
        BitwiseOr: "or with itself" => |_, e| itself(e, Binary::BitwiseOr);
        // max(x, −∞) = x: nothing is below −∞, and NaN stays NaN.
        Maximum: "maximum with -inf" => |s, e| neutral(s, e, Binary::Maximum, true, |z| is_infinite(z, f64::NEG_INFINITY));
        Minimum: "minimum with inf" => |s, e| neutral(s, e, Binary::Minimum, true, |z| is_infinite(z, f64::INFINITY));
        // No bit changes: of integers.
        BitwiseOr: "or with zero" => |s, e| neutral(s, e, Binary::BitwiseOr, true, |z| z.bits == 0);
        BitwiseXor: "xor with zero" => |s, e| neutral(s, e, Binary::BitwiseXor, true, |z| z.bits == 0);
        LeftShift: "left shift by zero" => |s, e| neutral(s, e, Binary::LeftShift, false, |z| z.bits == 0);
        RightShift: "right shift by zero" => |s, e| neutral(s, e, Binary::RightShift, false, |z| z.bits == 0);
        // Of bools; of numbers the result says whether they are not 0.
        LogicalAnd: "logical and with true" => |s, e| neutral_bool(s, e, Binary::LogicalAnd, true);
        LogicalOr: "logical or with false" => |s, e| neutral_bool(s, e, Binary::LogicalOr, false);
        LogicalAnd: "logical and with itself" => |s, e| itself(e, Binary::LogicalAnd).filter(|_| s.dtype(e.inputs[0]) == DType::Bool);
        LogicalOr: "logical or with itself" => |s, e| itself(e, Binary::LogicalOr).filter(|_| s.dtype(e.inputs[0]) == DType::Bool);
    }
    TERNARY {
        // where(¬c, x, y) = where(c, y, x), of a bool.
        "where of not" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::Ternary(Ternary::Select), Some(p)) => {
                let c = unary(p, Unary::LogicalNot).filter(|&c| s.dtype(c) == DType::Bool)?;
                becomes(Ternary::Select, &[c, e.inputs[2], e.inputs[1]], &[])
            }
            _ => None,
        };
        // where(c, true, false) = c.
        "where true or false" => |_, e| match (&e.prim, &e.inputs[..]) {
            (Prim::Ternary(Ternary::Select), &[c, Atom::Lit(x), Atom::Lit(y)]) if x.dtype == DType::Bool && x.bits != 0 && y.bits == 0 => is(Some(c)),
            _ => None,
        };
        // A condition that is known, where what is not taken has no shape of its own to broadcast to.
        "where with known condition" => known_condition;
    }
    OTHERS {
        "astype of the same dtype" => |s, e| match e.prim {
            Prim::Cast(Cast { dtype }) if s.dtype(e.inputs[0]) == dtype => is(Some(e.inputs[0])),
            _ => None,
        };
        // The first conversion loses nothing, so that the second sees the same number.
        "astype of astype" => cast_of_cast;
        "transpose by nothing" => |_, e| match &e.prim {
            Prim::Transpose(t) if t.axes.iter().copied().eq(0..t.axes.len()) => is(Some(e.inputs[0])),
            _ => None,
        };
        // Axis i of the result is axis inner[outer[i]] of the operand.
        "transpose of transpose" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::Transpose(outer), Some(inner_e)) => match &inner_e.prim {
                Prim::Transpose(inner) => {
                    let axes = outer.axes.iter().map(|&i| inner.axes[i]).collect();
                    becomes(Transpose { axes }, &inner_e.inputs, &[])
                }
                _ => None,
            },
            _ => None,
        };
        // Only the last of several shapes counts.
        "reshape of reshape" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::Reshape(_), Some(inner)) if regroups(&inner.prim) => becomes(e.prim.clone(), &inner.inputs, &e.shapes),
            _ => None,
        };
        "broadcast of broadcast" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::Broadcast(_), Some(inner)) if matches!(inner.prim, Prim::Broadcast(_)) => {
                becomes(e.prim.clone(), &inner.inputs, &e.shapes)
            }
            _ => None,
        };
        "broadcast of a literal to no axes" => |_, e| match (&e.prim, e.inputs.first()) {
            (Prim::Broadcast(b), Some(&Atom::Lit(s))) if b.shape.is_empty() => is(Some(s.into())),
            _ => None,
        };
        // The axes of extent 1 that one adds the other removes.
        "squeeze of expand_dims" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::Squeeze(outer), Some(Equation { prim: Prim::ExpandDims(inner), inputs, .. })) if outer.axes == inner.axes => is(Some(inputs[0])),
            _ => None,
        };
        "expand_dims of squeeze" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::ExpandDims(outer), Some(Equation { prim: Prim::Squeeze(inner), inputs, .. })) if outer.axes == inner.axes => is(Some(inputs[0])),
            _ => None,
        };
        "slice of everything" => |_, e| match &e.prim {
            Prim::Slice(s) if s.bounds.iter().all(|&b| b == Bound::ALL) => is(Some(e.inputs[0])),
            _ => None,
        };
        "slice of slice" => |s, e| match (&e.prim, s.operand(e)) {
            (Prim::Slice(outer), Some(Equation { prim: Prim::Slice(inner), inputs, .. })) => {
                let pairs = inner.bounds.iter().zip(&outer.bounds);
                let bounds = pairs.map(|(&inner, &outer)| compose(inner, outer)).collect::<Option<_>>()?;
                becomes(Slice { bounds }, inputs, &[])
            }
            _ => None,
        };
        "concatenate of one" => |_, e| match &e.prim {
            Prim::Concatenate(_) if e.inputs.len() == 1 => is(Some(e.inputs[0])),
            _ => None,
        };
    }
}

impl Simplifier {
    /// x where the atom is −x.
    fn negated(&self, a: Atom) -> Option<Atom> {
        self.producer(a).and_then(|p| unary(p, Unary::Neg))
    }
    fn dtype(&self, a: Atom) -> DType {
        match a {
            Atom::Var(v) => self.out.avals[v.0 as usize].dtype,
            Atom::Lit(s) => s.dtype,
        }
    }
}

/// Ops whose result has the same bits with their operands exchanged.
pub(super) fn commutes(prim: &Prim) -> bool {
    use Binary::*;
    matches!(
        prim,
        Prim::Binary(
            Add | Mul | Maximum | Minimum | Eq | Ne | LogicalAnd | LogicalOr | BitwiseAnd | BitwiseOr | BitwiseXor
        )
    )
}

fn regroups(prim: &Prim) -> bool {
    use Prim::*;
    matches!(prim, Reshape(_) | Flatten(_) | Unflatten(_) | ExpandDims(_) | Squeeze(_))
}

fn is(a: Option<Atom>) -> Option<Rewrite> {
    a.map(Rewrite::Is)
}

fn becomes(prim: impl Into<Prim>, inputs: &[Atom], shapes: &[Var]) -> Option<Rewrite> {
    Some(Rewrite::Becomes {
        prim: prim.into(),
        inputs: SmallVec::from_slice(inputs),
        shapes: SmallVec::from_slice(shapes),
    })
}

fn unary(e: &Equation, op: Unary) -> Option<Atom> {
    matches!(e.prim, Prim::Unary(own) if own == op).then(|| e.inputs[0])
}

/// outer(inner(x)) = x.
fn inverse(s: &Simplifier, e: &Equation, outer: Unary, inner: Unary) -> Option<Rewrite> {
    is(unary(e, outer).and_then(|y| s.producer(y)).and_then(|p| unary(p, inner)))
}

/// op(op(x)) = op(x), of real numbers.
fn again(s: &Simplifier, e: &Equation, op: Unary) -> Option<Rewrite> {
    let y = unary(e, op).filter(|&y| s.dtype(y) != DType::C64)?;
    is(s.producer(y).is_some_and(|p| unary(p, op).is_some()).then_some(y))
}

/// op(−x) = op(x).
fn past_sign(s: &Simplifier, e: &Equation, op: Unary) -> Option<Rewrite> {
    let y = unary(e, op)?;
    let x = s.producer(y).and_then(|p| unary(p, Unary::Neg))?;
    becomes(op, &[x], &[])
}

/// op(x, z) = x where z is a literal of this kind; of either operand if `either`.
fn neutral(s: &Simplifier, e: &Equation, op: Binary, either: bool, is_neutral: fn(Scalar) -> bool) -> Option<Rewrite> {
    let (x, y) = binary(e, op)?;
    let drops = |a: Atom| matches!(a, Atom::Lit(z) if z.dtype != DType::C64 && is_neutral(z));
    if drops(y) && s.dtype(x) != DType::Bool {
        return is(Some(x));
    }
    is((either && drops(x) && s.dtype(y) != DType::Bool).then_some(y))
}

fn is_one(s: Scalar) -> bool {
    s == Scalar::one(s.dtype)
}

fn itself(e: &Equation, op: Binary) -> Option<Rewrite> {
    is(binary(e, op).and_then(|(x, y)| (x == y).then_some(x)))
}

fn known_condition(_: &Simplifier, e: &Equation) -> Option<Rewrite> {
    let (Prim::Ternary(Ternary::Select), Some(&Atom::Lit(c))) = (&e.prim, e.inputs.first()) else { return None };
    let (taken, other) = if c.bits != 0 { (e.inputs[1], e.inputs[2]) } else { (e.inputs[2], e.inputs[1]) };
    is((taken == other || matches!(other, Atom::Lit(_))).then_some(taken))
}

fn binary(e: &Equation, op: Binary) -> Option<(Atom, Atom)> {
    matches!(e.prim, Prim::Binary(own) if own == op).then(|| (e.inputs[0], e.inputs[1]))
}

fn is_real(d: DType) -> bool {
    !matches!(d.kind(), Kind::Complex | Kind::Bool)
}

/// ¬op(x, y), as the comparison that says the opposite.
fn negated(s: &Simplifier, e: &Equation, op: Binary, opposite: Binary) -> Option<Rewrite> {
    let (x, y) = unary(e, Unary::LogicalNot).and_then(|y| s.producer(y)).and_then(|p| binary(p, op))?;
    becomes(opposite, &[x, y], &[])
}

/// Rounding of what is integral by its dtype.
fn integral(s: &Simplifier, e: &Equation, op: Unary) -> Option<Rewrite> {
    is(unary(e, op).filter(|&x| !s.dtype(x).is_inexact()))
}

/// op(−x, −y) = op(x, y), of real numbers.
fn both_signs(s: &Simplifier, e: &Equation, op: Binary) -> Option<Rewrite> {
    let (x, y) = binary(e, op).filter(|&(x, _)| is_real(s.dtype(x)))?;
    becomes(op, &[s.negated(x)?, s.negated(y)?], &[])
}

/// 2⁻ᵏ for a literal float 2ᵏ, where it is a normal number of the dtype.
fn reciprocal_of_power_of_two(a: Atom) -> Option<Scalar> {
    let Atom::Lit(z) = a else { return None };
    if !z.dtype.is_float() {
        return None;
    }
    // An f64 has a mantissa of 52 bits, 0 for powers of two; every other float is one of them.
    let v = z.to_f64();
    let least = match z.dtype {
        DType::F16 => -14,
        DType::F64 => -1022,
        _ => -126,
    };
    let exponent = (v.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let fits = v > 0.0 && v.to_bits() & ((1 << 52) - 1) == 0 && (least..=-least).contains(&exponent) && exponent != 0;
    fits.then(|| Scalar::from_f64(z.dtype, 1.0 / v))
}

fn is_infinite(s: Scalar, sign: f64) -> bool {
    s.dtype.is_float() && s.to_f64() == sign
}

/// op(x, z) = x of bools where z is this literal.
fn neutral_bool(s: &Simplifier, e: &Equation, op: Binary, z: bool) -> Option<Rewrite> {
    let (x, y) = binary(e, op)?;
    let drops = |a: Atom| a == Atom::Lit(Scalar::bool(z));
    let is_bool = |a: Atom| s.dtype(a) == DType::Bool;
    is(if drops(y) && is_bool(x) { Some(x) } else { Some(y).filter(|&y| drops(x) && is_bool(y)) })
}

/// `outer` of `inner` along one axis, for every extent of it: where positions count from the start and steps go forward, or both turn the axis around.
fn compose(inner: Bound, outer: Bound) -> Option<Bound> {
    const FLIP: Bound = Bound { start: None, stop: None, step: -1 };
    if inner == Bound::ALL || outer == Bound::ALL {
        return Some(if inner == Bound::ALL { outer } else { inner });
    }
    if inner == FLIP && outer == FLIP {
        return Some(Bound::ALL);
    }
    let forward = |b: Bound| b.step > 0 && b.start.unwrap_or(0) >= 0 && b.stop.unwrap_or(0) >= 0;
    if !forward(inner) || !forward(outer) {
        return None;
    }
    // Element i of what the outer one sees is element first + step · i of the array; each end is the nearer one.
    let first = inner.start.unwrap_or(0);
    let at = |i: isize| i.checked_mul(inner.step)?.checked_add(first);
    let start = at(outer.start.unwrap_or(0))?;
    let stop = match (inner.stop, outer.stop) {
        (stop, None) => stop,
        (None, Some(n)) => Some(at(n)?),
        (Some(stop), Some(n)) => Some(stop.min(at(n)?)),
    };
    Some(Bound { start: Some(start), stop, step: inner.step.checked_mul(outer.step)? })
}

fn cast_of_cast(s: &Simplifier, e: &Equation) -> Option<Rewrite> {
    let (Prim::Cast(_), Some(inner)) = (&e.prim, s.operand(e)) else { return None };
    let Prim::Cast(Cast { dtype: middle }) = inner.prim else { return None };
    let first = s.dtype(inner.inputs[0]);
    let kept = match (first.kind(), middle.kind()) {
        // 0 and 1 are numbers of every dtype.
        (Kind::Bool, _) => middle != DType::C64,
        (Kind::Unsigned, Kind::Unsigned) | (Kind::Signed, Kind::Signed) => middle.itemsize() >= first.itemsize(),
        (Kind::Unsigned, Kind::Signed) => middle.itemsize() > first.itemsize(),
        (Kind::Float, Kind::Float) => middle == first || middle.itemsize() > first.itemsize(),
        _ => false,
    };
    if kept { becomes(e.prim.clone(), &inner.inputs, &[]) } else { None }
}
