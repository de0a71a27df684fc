//! The elementwise functions: from the op table, one function per row.

use super::{Operand, Weak, apply, beside};
use crate::array::Array;
use lazuli_ir::prims::Cast;
use lazuli_ir::{Accepts, Binary, DType, Error, Prim, Result, Ternary, Unary};

/// Conversion to another dtype; the array itself if it has it.
///
/// ```
/// use lazuli_core::{DType, array, ops};
/// assert_eq!(ops::astype(&array([1.7, -1.7]), DType::I32)?.to_vec::<i32>(), [1, -1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn astype(a: &Array, dtype: DType) -> Result<Array> {
    if a.dtype() == dtype { Ok(a.clone()) } else { apply(Cast { dtype }, &[a]) }
}

/// The dtype that operands of `dtype` are cast to before an op that accepts `accepts`: integers and bool become float32 for an op on floats, bool
/// becomes int32 for an op on numbers.
fn lift(accepts: Accepts, dtype: DType) -> DType {
    let candidates = [dtype, DType::I32, DType::F32, DType::C64];
    let lifted = candidates.into_iter().find(|&d| accepts.contains(d) && d.kind() >= dtype.kind());
    lifted.unwrap_or(dtype)
}

/// Applies a row of one operand.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, Unary};
/// assert_eq!(ops::unary(Unary::Neg, &array([1.0, -2.0]))?.to_vec::<f32>(), [-1.0, 2.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn unary(op: Unary, a: &Array) -> Result<Array> {
    // A truth value is no number: its negation is `logical_not`.
    if a.dtype() == DType::Bool && op.row().accepts == Accepts::Number {
        let remedy = "take logical_not, or cast with astype first";
        return Err(Error::value(op.row().name, format!("is not defined on bool: {remedy}")));
    }
    apply(op, &[&astype(a, lift(op.row().accepts, a.dtype()))?])
}

/// Applies a row of two operands, promoted to one dtype.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, Binary};
/// assert_eq!(ops::binary(Binary::Add, &array([1, 2]), &array([0.5]))?.to_vec::<f32>(), [1.5, 2.5]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn binary(op: Binary, a: impl Operand, b: impl Operand) -> Result<Array> {
    let is_square =
        op == Binary::Power && b.weak().is_some_and(|number| [Weak::Int(2), Weak::Float(2.0)].contains(&number));
    let (a, b) = promoted(op.row().name, &a, &b)?;
    let dtype = lift(op.row().accepts, a.dtype());
    if is_square && !dtype.is_complex() {
        // The same bits, without a logarithm.
        return apply(Unary::Square, &[&astype(&a, dtype)?]);
    }
    apply(op, &[&astype(&a, dtype)?, &astype(&b, dtype)?])
}

/// Both operands in the dtype they promote to.
#[track_caller]
pub fn promoted(op: &str, a: &dyn Operand, b: &dyn Operand) -> Result<(Array, Array)> {
    let (x, y) = (beside(op, a, b.dtype())?, beside(op, b, a.dtype())?);
    let dtype = x.dtype().promote(y.dtype());
    Ok((astype(&x, dtype)?, astype(&y, dtype)?))
}

/// `a` where the condition holds, `b` elsewhere; the three broadcast. The condition is cast to bool.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([-1.0, 2.0]);
/// assert_eq!(ops::select(&x.greater(0.0f32), &x, 0.0f32)?.to_vec::<f32>(), [0.0, 2.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn select(condition: impl Operand, a: impl Operand, b: impl Operand) -> Result<Array> {
    let (a, b) = promoted(Ternary::Select.row().name, &a, &b)?;
    let condition = astype(&condition.array(None), DType::Bool)?;
    apply(Ternary::Select, &[&condition, &a, &b])
}

macro_rules! functions {
    ($($(#[$meta:meta])* $family:ident[$n:tt] { $($variant:ident $name:ident $doc:literal $body:tt)* })*) => {
        $( functions!(@ $family [$n] $($variant $name $doc)*); )*
    };
    (@ $family:ident [1] $($variant:ident $name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(a: &Array) -> Result<Array> { unary(Unary::$variant, a) }
    )* };
    (@ $family:ident [2] $($variant:ident $name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(a: impl Operand, b: impl Operand) -> Result<Array> { binary(Binary::$variant, a, b) }
    )* };
    // `where` is a keyword; see `select`.
    (@ $family:ident [3] $($variant:ident $name:ident $doc:literal)*) => {};
}

lazuli_ir::elementwise_table!(functions);

/// The elementwise function of this name in the table, for front ends that look ops up by name.
pub fn by_name(name: &str) -> Option<Prim> {
    let unary = Unary::ALL.iter().find(|u| u.row().name == name).map(|&u| u.into());
    unary.or_else(|| Binary::ALL.iter().find(|b| b.row().name == name).map(|&b| b.into()))
}

/// Limits to `low ..= high`, either of which may be absent.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([-1.0, 0.5, 2.0]);
/// assert_eq!(ops::clip(&x, Some(&0.0f32), Some(&1.0f32))?.to_vec::<f32>(), [0.0, 0.5, 1.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn clip(a: &Array, low: Option<&dyn Operand>, high: Option<&dyn Operand>) -> Result<Array> {
    if low.is_none() && high.is_none() {
        return Err(Error::value("clip", "at least one bound is needed: give a_min, a_max or both"));
    }
    let mut out = a.clone();
    if let Some(low) = low {
        out = binary(Binary::Maximum, &out, low)?;
    }
    if let Some(high) = high {
        out = binary(Binary::Minimum, &out, high)?;
    }
    Ok(out)
}
