//! Arrays from nothing: constants, ranges, grids.

use super::by_shape::ByShape;
use super::{astype, binary, record};
use crate::array::Array;
use crate::dim::{Extent, Extents, Resolved};
use crate::shapeless::is_symbolic;
use lazuli_ir::prims::Iota;
use lazuli_ir::{Binary, DType, Error, Result, Scalar};

/// An array of this shape, every element `value`.
///
/// ```
/// use lazuli_core::{Scalar, ops};
/// assert_eq!(ops::full([2, 2], Scalar::f32(7.0))?.to_vec::<f32>(), [7.0; 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn full(shape: impl Extents, value: Scalar) -> Result<Array> {
    super::broadcast_to(&Array::scalar(value), shape)
}
/// Zeros of this shape.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::zeros((2, 3), DType::F32)?.shape(), [2, 3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn zeros(shape: impl Extents, dtype: DType) -> Result<Array> {
    full(shape, Scalar::zero(dtype))
}
/// Ones of this shape.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::ones([3], DType::I32)?.to_vec::<i32>(), [1, 1, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn ones(shape: impl Extents, dtype: DType) -> Result<Array> {
    full(shape, Scalar::one(dtype))
}
/// An array of the shape of `a`, every element `value`; its extents stay symbolic in a shapeless trace.
///
/// ```
/// use lazuli_core::{Scalar, array, ops};
/// let x = array([[1.0, 2.0]]);
/// assert_eq!(ops::full_like(&x, Scalar::f32(5.0))?.to_vec::<f32>(), [5.0, 5.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn full_like(a: &Array, value: Scalar) -> Result<Array> {
    if is_symbolic(a) { full(a.dims(), value) } else { full(&a.aval().shape, value) }
}

/// 0, 1, 2, … along `axis` of an array of this shape.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::iota([2, 3], 1, DType::I32)?.to_vec::<i32>(), [0, 1, 2, 0, 1, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn iota(shape: impl Extents, axis: usize, dtype: DType) -> Result<Array> {
    let shape = Resolved::new("iota", &shape.extents(), false)?;
    Ok(record(Iota { dtype, shape: shape.dims.clone(), axis }, &[], &shape.operands())?.remove(0))
}

/// `start, start + step, …` up to but not including `stop`: ⌈(stop − start) / step⌉ elements.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::arange(0.0, 1.0, 0.25, DType::F32)?.to_vec::<f32>(), [0.0, 0.25, 0.5, 0.75]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
///
/// # Errors
/// If `step` is 0 or a bound is not finite.
#[track_caller]
pub fn arange(start: f64, stop: f64, step: f64, dtype: DType) -> Result<Array> {
    if step == 0.0 || !(start.is_finite() && stop.is_finite() && !step.is_nan()) {
        return Err(Error::value(
            "arange",
            format!("start={start}, stop={stop}, step={step}: bounds must be finite and step not 0"),
        ));
    }
    let n = ((stop - start) / step).ceil().max(0.0);
    if n > i32::MAX as f64 * 64.0 {
        return Err(Error::value("arange", format!("{n} elements are too many")));
    }
    if dtype.is_float() {
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let i = iota([n as usize], 0, wide)?;
        let scaled = binary(Binary::Mul, &i, Array::scalar(Scalar::from_f64(wide, step)))?;
        return astype(&binary(Binary::Add, scaled, Array::scalar(Scalar::from_f64(wide, start)))?, dtype);
    }
    let i = iota([n as usize], 0, dtype)?;
    let scaled = binary(Binary::Mul, &i, Array::scalar(Scalar::from_i64(dtype, step as i64)))?;
    binary(Binary::Add, scaled, Array::scalar(Scalar::from_i64(dtype, start as i64)))
}

/// `n` evenly spaced numbers from `start` to `stop`, both included.
///
/// ```
/// use lazuli_core::{DType, ops};
/// assert_eq!(ops::linspace(0.0, 1.0, 5, DType::F32)?.to_vec::<f32>(), [0.0, 0.25, 0.5, 0.75, 1.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn linspace(start: f64, stop: f64, n: usize, dtype: DType) -> Result<Array> {
    if n == 1 {
        return full([1], Scalar::from_f64(dtype, start));
    }
    // Weighted from both ends, so that both are met exactly.
    let i = iota([n], 0, DType::F32)?;
    let t = binary(Binary::Div, &i, n as f32 - 1.0)?;
    let low = binary(Binary::Mul, binary(Binary::Sub, 1.0f32, &t)?, start as f32)?;
    let high = binary(Binary::Mul, &t, stop as f32)?;
    astype(&binary(Binary::Add, low, high)?, dtype)
}

/// Grids of the coordinates along each of the one-dimensional inputs; `xy` swaps the first two axes, as in plots.
///
/// ```
/// use lazuli_core::{array, ops};
/// let grids = ops::meshgrid(&[array([1, 2, 3]), array([10, 20])], false, true)?;
/// assert_eq!(grids[0].to_vec::<i32>(), [1, 2, 3, 1, 2, 3]);
/// assert_eq!(grids[1].to_vec::<i32>(), [10, 10, 10, 20, 20, 20]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn meshgrid(arrays: &[Array], sparse: bool, xy: bool) -> Result<Vec<Array>> {
    ByShape::Meshgrid { sparse, xy }.apply(&arrays.iter().collect::<Vec<_>>())
}

pub(crate) fn grids(arrays: &[Array], sparse: bool, xy: bool) -> Result<Vec<Array>> {
    let n = arrays.len();
    let place = |i: usize| if xy && n >= 2 && i < 2 { 1 - i } else { i };
    let along = |(i, a): (usize, &Array)| {
        let mut shape = vec![1isize; n];
        shape[place(i)] = -1;
        super::reshape(a, &shape)
    };
    let sparse_grids = arrays.iter().enumerate().map(along).collect::<Result<Vec<_>>>()?;
    let mut full: Vec<Extent> = vec![1.into(); n];
    for (i, a) in sparse_grids.iter().enumerate() {
        full[place(i)] = a.dim(place(i) as isize).into();
    }
    let grid = |a: &Array| if sparse { Ok(a.clone()) } else { super::broadcast_to(a, &full) };
    sparse_grids.iter().map(grid).collect()
}
