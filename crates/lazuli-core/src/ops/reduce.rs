//! Reductions, running combinations, sorting and products of matrices.

use super::by_shape::ByShape;
use super::shape::{axes, axis, expand_dims, flatten, reshape, squeeze, transpose};
use super::{apply, astype, binary, promoted, record, select, take_along_axis, unary};
use crate::array::Array;
use lazuli_ir::prims::{ArgOp, ArgReduce, ArgSort, Cumulative, Matmul, NumberOfElements, Reduce, ReduceOp, Sort};
use lazuli_ir::{Binary, DType, Error, Kind, Result, Unary};
use lazuli_kernel::ScanOp;

/// Combines along axes (all of them if none are given).
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, ReduceOp};
/// let x = array([[1, 2], [3, 4]]);
/// assert_eq!(ops::reduce(ReduceOp::Max, &x, Some(&[0]), false)?.to_vec::<i32>(), [3, 4]);
/// assert_eq!(ops::reduce(ReduceOp::Sum, &x, None, true)?.shape(), [1, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn reduce(op: ReduceOp, a: &Array, over: Option<&[isize]>, keepdims: bool) -> Result<Array> {
    let prim = Reduce {
        op,
        axes: axes(lazuli_ir::Primitive::name(&Reduce { op, axes: Default::default(), keepdims }), over, a.ndim())?,
        keepdims,
    };
    let bool_in = matches!(op, ReduceOp::All | ReduceOp::Any);
    let a = if bool_in { astype(a, DType::Bool)? } else { a.clone() };
    apply(prim, &[&a])
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $name:ident = $op:ident;)*) => { $(
        $(#[doc = $doc])*
        #[track_caller]
        pub fn $name(a: &Array, axes: Option<&[isize]>, keepdims: bool) -> Result<Array> {
            reduce(ReduceOp::$op, a, axes, keepdims)
        }
    )* };
}

reductions! {
    /// Sum along axes. bool and integers below 32 bits sum in int32.
    sum = Sum;
    /// Product along axes.
    prod = Prod;
    /// Smallest element along axes; NaN if there is one.
    min = Min;
    /// Largest element along axes; NaN if there is one.
    max = Max;
    /// Whether all elements along axes are true (not zero).
    all = All;
    /// Whether any element along axes is true (not zero).
    any = Any;
}

/// How many elements a reduction over these axes combines, as a scalar; stays symbolic in a shapeless trace.
#[track_caller]
fn count(a: &Array, over: Option<&[isize]>, dtype: DType) -> Result<Array> {
    let axes = axes("mean", over, a.ndim())?;
    Ok(record(NumberOfElements { axes, dtype, literal: false }, &[], &[a])?.remove(0))
}

/// Of a float or complex dtype; others in float32.
pub(super) fn inexact(a: &Array) -> Result<Array> {
    if a.dtype().is_inexact() { Ok(a.clone()) } else { astype(a, DType::F32) }
}

/// Arithmetic mean along axes; integers in float32.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::mean(&array([[1, 2], [3, 4]]), Some(&[1]), false)?.to_vec::<f32>(), [1.5, 3.5]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn mean(a: &Array, over: Option<&[isize]>, keepdims: bool) -> Result<Array> {
    let a = inexact(a)?;
    binary(Binary::Div, sum(&a, over, keepdims)?, count(&a, over, a.dtype())?)
}

/// Variance along axes: the mean squared distance from the mean, with n − `ddof` in place of n. Real for complex numbers too.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([1.0, 3.0]);
/// assert_eq!(ops::var(&x, None, false, 0.0)?.item::<f32>(), 1.0);
/// assert_eq!(ops::var(&x, None, false, 1.0)?.item::<f32>(), 2.0);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn var(a: &Array, over: Option<&[isize]>, keepdims: bool, ddof: f64) -> Result<Array> {
    let a = inexact(a)?;
    let centred = binary(Binary::Sub, &a, mean(&a, over, true)?)?;
    let squares = match a.dtype().kind() {
        // |z|² of the parts: through |z| it would have no derivative at the mean.
        Kind::Complex => {
            let part = |part| unary(Unary::Square, &unary(part, &centred)?);
            binary(Binary::Add, part(Unary::Real)?, part(Unary::Imag)?)?
        }
        _ => unary(Unary::Square, &centred)?,
    };
    let squares = sum(&squares, over, keepdims)?;
    let n = count(&a, over, squares.dtype())?;
    let n = if ddof == 0.0 { n } else { binary(Binary::Sub, n, ddof)? };
    binary(Binary::Div, squares, n)
}

/// Standard deviation along axes.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::deviation(&array([1.0, 3.0]), None, false, 0.0)?.item::<f32>(), 1.0);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn deviation(a: &Array, over: Option<&[isize]>, keepdims: bool, ddof: f64) -> Result<Array> {
    unary(Unary::Sqrt, &var(a, over, keepdims, ddof)?)
}

#[track_caller]
fn arg(op: ArgOp, name: &str, a: &Array, at: Option<isize>, keepdims: bool) -> Result<Array> {
    let Some(at) = at else {
        let flat = apply(ArgReduce { op, axis: 0, keepdims: false }, &[&reshape(a, [-1])?])?;
        return if keepdims { reshape(&flat, vec![1; a.ndim()]) } else { Ok(flat) };
    };
    apply(ArgReduce { op, axis: axis(name, at, a.ndim())?, keepdims }, &[a])
}

/// Position (uint32) of the smallest element along an axis, or in the flattened array; the first of equals.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::argmin(&array([[3, 1], [2, 4]]), Some(1), false)?.to_vec::<u32>(), [1, 0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn argmin(a: &Array, axis: Option<isize>, keepdims: bool) -> Result<Array> {
    arg(ArgOp::Min, "argmin", a, axis, keepdims)
}
/// Position (uint32) of the largest element along an axis, or in the flattened array; the first of equals.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::argmax(&array([3, 1, 3]), None, false)?.item::<u32>(), 0);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn argmax(a: &Array, axis: Option<isize>, keepdims: bool) -> Result<Array> {
    arg(ArgOp::Max, "argmax", a, axis, keepdims)
}

/// Running combination along an axis, or of the flattened array.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, ScanOp};
/// let x = array([1, 2, 3]);
/// assert_eq!(ops::cumulative(ScanOp::Sum, &x, Some(0), false, true)?.to_vec::<i32>(), [1, 3, 6]);
/// assert_eq!(ops::cumulative(ScanOp::Sum, &x, Some(0), true, false)?.to_vec::<i32>(), [5, 3, 0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn cumulative(op: ScanOp, a: &Array, at: Option<isize>, reverse: bool, inclusive: bool) -> Result<Array> {
    let (a, at) = match at {
        Some(at) => (a.clone(), at),
        None => (reshape(a, [-1])?, 0),
    };
    apply(Cumulative { op, axis: axis("cumulative", at, a.ndim())?, reverse, exclusive: !inclusive }, &[&a])
}

/// Sorted along an axis (of the flattened array if none is given); NaN last.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::sort(&array([[3, 1], [2, 4]]), Some(0))?.to_vec::<i32>(), [2, 1, 3, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn sort(a: &Array, at: Option<isize>) -> Result<Array> {
    let (a, at) = if let Some(at) = at { (a.clone(), at) } else { (reshape(a, [-1])?, 0) };
    apply(Sort { axis: axis("sort", at, a.ndim())? }, &[&a])
}

/// The middle element along axes (all of them if none are given), the mean of two for an even number; NaN if there is none. Integers count as float32.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::median(&array([[1, 9], [2, 4]]), Some(&[1]), false)?.to_vec::<f32>(), [5.0, 3.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn median(a: &Array, over: Option<&[isize]>, keepdims: bool) -> Result<Array> {
    let axes = axes("median", over, a.ndim())?;
    let order = (0..a.ndim()).filter(|k| !axes.contains(k)).chain(axes.iter().copied());
    let a = transpose(a, Some(&order.map(|k| k as isize).collect::<Vec<_>>()))?;
    let rows = match axes.len() {
        0 => expand_dims(&a, &[-1])?,
        n => flatten(&a, -(n as isize), -1)?,
    };
    let out = ByShape::Median {}.apply(&[&rows])?.remove(0);
    let axes: Vec<isize> = axes.iter().map(|&k| k as isize).collect();
    if keepdims { expand_dims(&out, &axes) } else { Ok(out) }
}

/// The median of each row along the last axis. An odd number of elements has one in the middle, which is taken as it is: a mean of it with itself might overflow.
pub(crate) fn middle(a: &Array) -> Result<Array> {
    let (sorted, last) = (sort(a, Some(-1))?, Some(&[-1][..]));
    if a.dim(-1) == 0 {
        return mean(&sorted, last, false);
    }
    let n = count(a, last, DType::I64)?;
    let at = |position: Array| {
        let position = reshape(&position, vec![1; a.ndim()])?;
        inexact(&squeeze(&take_along_axis(&sorted, &position, Some(-1))?, last)?)
    };
    let below = at(binary(Binary::FloorDivide, binary(Binary::Sub, &n, 1i64)?, 2i64)?)?;
    let above = at(binary(Binary::FloorDivide, &n, 2i64)?)?;
    let is_odd = binary(Binary::Eq, binary(Binary::Remainder, &n, 2i64)?, 1i64)?;
    let between = binary(Binary::Div, binary(Binary::Add, &below, above)?, 2.0)?;
    select(is_odd, below, between)
}

/// The permutation (uint32) that sorts along an axis; stable.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::argsort(&array([3.0, 1.0, 2.0]), None)?.to_vec::<u32>(), [1, 2, 0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn argsort(a: &Array, at: Option<isize>) -> Result<Array> {
    let (a, at) = if let Some(at) = at { (a.clone(), at) } else { (reshape(a, [-1])?, 0) };
    apply(ArgSort { axis: axis("argsort", at, a.ndim())? }, &[&a])
}

/// Product of matrices in the last two axes; the axes before them broadcast. A vector is a row on the left and a column on the right.
///
/// ```
/// use lazuli_core::{array, ops};
/// let (a, b) = (array([[1.0, 2.0], [3.0, 4.0]]), array([1.0, 1.0]));
/// assert_eq!(ops::matmul(&a, &b)?.to_vec::<f32>(), [3.0, 7.0]);
/// assert!(ops::matmul(&b, &array([1.0, 2.0, 3.0])).is_err());
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn matmul(a: &Array, b: &Array) -> Result<Array> {
    let (x, y) = promoted("matmul", a, b)?;
    if x.ndim() == 0 || y.ndim() == 0 {
        return Err(Error::value("matmul", "operands need at least one dimension: multiply by a scalar with *"));
    }
    if !x.dtype().is_inexact() {
        return Err(Error::value(
            "matmul",
            format!("is defined on float dtypes, not on {} and {}: cast with astype first", a.dtype(), b.dtype()),
        ));
    }
    let x2 = if x.ndim() == 1 { expand_dims(&x, &[0])? } else { x.clone() };
    let y2 = if y.ndim() == 1 { expand_dims(&y, &[1])? } else { y.clone() };
    let out = apply(Matmul {}, &[&x2, &y2])?;
    let mut dropped: Vec<isize> = Vec::new();
    if x.ndim() == 1 {
        dropped.push(-2);
    }
    if y.ndim() == 1 {
        dropped.push(-1);
    }
    if dropped.is_empty() { Ok(out) } else { squeeze(&out, Some(&dropped)) }
}
