//! Diagonals: matrices made of them, elements on them, triangles beside them.

use super::create::iota;
use super::shape::{axis, expand_dims, pad, transpose};
use super::{apply, astype, binary, select, sum};
use crate::array::Array;
use crate::dim::Extent;
use lazuli_ir::prims::Diagonal;
use lazuli_ir::{Binary, DType, Error, Result, Scalar};

/// Ones on the `k`-th diagonal of an (n, m) matrix, zeros elsewhere.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::eye(2, 3, 1, DType::I32)?.to_vec::<i32>(), [0, 1, 0, 0, 0, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn eye(n: impl Into<Extent>, m: impl Into<Extent>, k: isize, dtype: DType) -> Result<Array> {
    let on = compare_diagonal(n.into(), m.into(), k, Binary::Eq)?;
    astype(&on, dtype)
}

/// Ones on and below the `k`-th diagonal of an (n, m) matrix, zeros above.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::tri(2, 3, 0, DType::I32)?.to_vec::<i32>(), [1, 0, 0, 1, 1, 0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn tri(n: impl Into<Extent>, m: impl Into<Extent>, k: isize, dtype: DType) -> Result<Array> {
    astype(&compare_diagonal(n.into(), m.into(), k, Binary::LessEqual)?, dtype)
}

/// Whether column `op` row + k.
#[track_caller]
fn compare_diagonal(n: Extent, m: Extent, k: isize, op: Binary) -> Result<Array> {
    let rows = iota((n, 1), 0, DType::I32)?;
    let columns = iota((1, m), 1, DType::I32)?;
    binary(op, columns, binary(Binary::Add, rows, k as i64)?)
}

/// The last two axes with what lies above the `k`-th diagonal set to zero.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::tril(&array([[1, 2], [3, 4]]), 0)?.to_vec::<i32>(), [1, 0, 3, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn tril(a: &Array, k: isize) -> Result<Array> {
    triangle(a, k, "tril", true)
}
/// The last two axes with what lies below the `k`-th diagonal set to zero.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::triu(&array([[1, 2], [3, 4]]), 0)?.to_vec::<i32>(), [1, 2, 0, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn triu(a: &Array, k: isize) -> Result<Array> {
    triangle(a, k - 1, "triu", false)
}
#[track_caller]
fn triangle(a: &Array, k: isize, name: &str, keep: bool) -> Result<Array> {
    if a.ndim() < 2 {
        return Err(Error::value(name, format!("needs at least 2 dimensions, not {}", a.ndim())));
    }
    let mask = compare_diagonal(a.dim(-2).into(), a.dim(-1).into(), k, Binary::LessEqual)?;
    let zero = Array::scalar(Scalar::zero(a.dtype()));
    if keep { select(mask, a, zero) } else { select(mask, zero, a) }
}

/// The elements (i, i + `offset`) of two axes, as the last axis of the result.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([[1, 2, 3], [4, 5, 6]]);
/// assert_eq!(ops::diagonal(&x, 1, 0, 1)?.to_vec::<i32>(), [2, 6]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
///
/// # Errors
/// If the array has fewer than 2 dimensions, or both axes are the same.
#[track_caller]
pub fn diagonal(a: &Array, offset: isize, axis1: isize, axis2: isize) -> Result<Array> {
    if a.ndim() < 2 {
        return Err(Error::value("diagonal", format!("needs at least 2 dimensions, not {}", a.ndim())));
    }
    let (first, second) = (axis("diagonal", axis1, a.ndim())?, axis("diagonal", axis2, a.ndim())?);
    if first == second {
        return Err(Error::value("diagonal", format!("axis1 and axis2 are both axis {first}")));
    }
    let kept = (0..a.ndim()).filter(|k| ![first, second].contains(k)).chain([first, second]);
    let a = transpose(a, Some(&kept.map(|k| k as isize).collect::<Vec<_>>()))?;
    apply(Diagonal { offset }, &[&a])
}

/// The `k`-th diagonal of a matrix, or the matrix with a vector on its `k`-th diagonal and zeros elsewhere.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::diag(&array([1, 2]), 0)?.to_vec::<i32>(), [1, 0, 0, 2]);
/// assert_eq!(ops::diag(&array([[1, 2], [3, 4]]), -1)?.to_vec::<i32>(), [3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
///
/// # Errors
/// If the array has neither 1 nor 2 dimensions.
#[track_caller]
pub fn diag(a: &Array, k: isize) -> Result<Array> {
    match a.ndim() {
        1 => {
            let zero = Scalar::zero(a.dtype());
            let a = pad(a, &[(k.min(0).unsigned_abs(), k.max(0) as usize)], zero)?;
            let on = compare_diagonal(a.dim(0).into(), a.dim(0).into(), k, Binary::Eq)?;
            select(on, expand_dims(&a, &[1])?, Array::scalar(zero))
        }
        2 => diagonal(a, k, 0, 1),
        n => Err(Error::value("diag", format!("takes a vector or a matrix, not {n} dimensions"))),
    }
}

/// The sum of a [`diagonal`]; in `dtype`, by default that of the array.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::trace(&array([[1, 2], [3, 4]]), 0, 0, 1, None)?.item::<i32>(), 5);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn trace(a: &Array, offset: isize, axis1: isize, axis2: isize, dtype: Option<DType>) -> Result<Array> {
    let a = diagonal(a, offset, axis1, axis2)?;
    sum(&astype(&a, dtype.unwrap_or(a.dtype()))?, Some(&[-1]), false)
}
