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

macro_rules! rules {
    ($($(#[$doc:meta])* $name:literal => $apply:expr;)*) => {
        pub(super) const RULES: &[Rule] = &[$(Rule { name: $name, apply: $apply }),*];
    };
}

rules! {
    // f(literals) is a literal: the kernel's own arithmetic.
    "fold" => |_, e| fold::fold(e).map(|s| Rewrite::Is(s.into()));

    // −(−x) = x. The sign bit flips twice, of −0 and NaN too; integers wrap back.
    "negative of negative" => |s, e| inverse(s, e, Unary::Neg, Unary::Neg);
    "conjugate of conjugate" => |s, e| inverse(s, e, Unary::Conjugate, Unary::Conjugate);
    // Bits flip twice (of bool: logical not).
    "invert of invert" => |s, e| inverse(s, e, Unary::BitwiseInvert, Unary::BitwiseInvert);
    // A number that has no imaginary part, unchanged by definition.
    "conjugate of real" => |s, e| is(unary(e, Unary::Conjugate).filter(|&x| s.dtype(x) != DType::C64));
    "real of real" => |s, e| is(unary(e, Unary::Real).filter(|&x| s.dtype(x) != DType::C64));
    // Derivatives have been taken.
    "stop_gradient" => |_, e| is(unary(e, Unary::StopGradient));

    // f(f(x)) = f(x): integral values round to themselves, |x| has its sign bit clear; NaN stays NaN.
    "abs of abs" => |s, e| again(s, e, Unary::Abs);
    "floor of floor" => |s, e| again(s, e, Unary::Floor);
    "ceil of ceil" => |s, e| again(s, e, Unary::Ceil);
    "round of round" => |s, e| again(s, e, Unary::Round);
    // |−x| = |x|: the sign bit is cleared in any case; |MIN| = |−MIN| as both wrap. Complex: the parts only enter by their size.
    "abs of negative" => |s, e| past_sign(s, e, Unary::Abs);
    // (−x)² = x², a sign that cancels; integers wrap the same way.
    "square of negative" => |s, e| past_sign(s, e, Unary::Square);

    // x · 1 = x: NaN and −0 stay. Not for complex numbers, where 1 is 1 + 0i and ∞ · 0 = NaN.
    "times one" => |s, e| neutral(s, e, Binary::Mul, true, is_one);
    // x / 1 = x likewise.
    "over one" => |s, e| neutral(s, e, Binary::Div, false, is_one);
    // x − 0 = x, for −0 too: −0 − (+0) = −0.
    "minus zero" => |s, e| neutral(s, e, Binary::Sub, false, |z| z.bits == 0);
    // x + (−0) = x; x + (+0) is not x for x = −0, unless x is an integer.
    "plus zero" => |s, e| neutral(s, e, Binary::Add, true, |z| match z.dtype.kind() {
        Kind::Float => z.to_f64() == 0.0 && z.to_f64().is_sign_negative(),
        kind => kind != Kind::Complex && z.bits == 0,
    });
    // max(x, x) = x and so on: NaN gives NaN.
    "maximum with itself" => |_, e| itself(e, Binary::Maximum);
    "minimum with itself" => |_, e| itself(e, Binary::Minimum);
    "and with itself" => |_, e| itself(e, Binary::BitwiseAnd);
    "or with itself" => |_, e| itself(e, Binary::BitwiseOr);
    // A scalar condition that is known, between scalars (others would have to be broadcast).
    "where with known condition" => known_condition;

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
    "concatenate of one" => |_, e| match &e.prim {
        Prim::Concatenate(_) if e.inputs.len() == 1 => is(Some(e.inputs[0])),
        _ => None,
    };
}

impl Simplifier {
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
    Some(Rewrite::Becomes { prim: prim.into(), inputs: inputs.into(), shapes: shapes.into() })
}

fn unary(e: &Equation, op: Unary) -> Option<Atom> {
    (e.prim == Prim::Unary(op)).then(|| e.inputs[0])
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
    if e.prim != Prim::Binary(op) {
        return None;
    }
    let drops = |a: Atom| matches!(a, Atom::Lit(z) if z.dtype != DType::C64 && is_neutral(z));
    let (x, y) = (e.inputs[0], e.inputs[1]);
    if drops(y) && s.dtype(x) != DType::Bool {
        return is(Some(x));
    }
    is((either && drops(x) && s.dtype(y) != DType::Bool).then_some(y))
}

fn is_one(s: Scalar) -> bool {
    s == Scalar::one(s.dtype)
}

fn itself(e: &Equation, op: Binary) -> Option<Rewrite> {
    is((e.prim == Prim::Binary(op) && e.inputs[0] == e.inputs[1]).then(|| e.inputs[0]))
}

fn known_condition(s: &Simplifier, e: &Equation) -> Option<Rewrite> {
    let (Prim::Ternary(Ternary::Select), Some(&Atom::Lit(c))) = (&e.prim, e.inputs.first()) else { return None };
    let is_scalar = |a: Atom| match a {
        Atom::Lit(_) => true,
        Atom::Var(v) => s.out.avals[v.0 as usize].shape.is_empty(),
    };
    let (taken, other) = if c.bits != 0 { (e.inputs[1], e.inputs[2]) } else { (e.inputs[2], e.inputs[1]) };
    is(is_scalar(other).then_some(taken))
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
