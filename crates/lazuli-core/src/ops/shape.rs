//! Views and rearrangements: the shapes change, the elements do not.

use super::by_shape::ByShape;
use super::{apply, astype, record, slice_axis};
use crate::array::Array;
use crate::dim::{Dim, Extent, Extents, Resolved};
use crate::shapeless::is_symbolic;
use lazuli_ir::prims::{
    Bitcast, Bound, Broadcast, Concatenate, ExpandDims, Flatten, Pad, Part, Reshape, Slice, Squeeze, Transpose,
    Unflatten,
};
use lazuli_ir::{DType, Error, Result, Scalar, shape};
use smallvec::SmallVec;

/// A non-negative axis of an array of this rank, from one that may count from the end.
pub(crate) fn axis(op: &str, axis: isize, rank: usize) -> Result<usize> {
    shape::normalize_axis(op, axis, rank)
}

/// Sorted, distinct, non-negative axes; all of them if none are given.
pub(crate) fn axes(op: &str, given: Option<&[isize]>, rank: usize) -> Result<SmallVec<[usize; 4]>> {
    let Some(given) = given else { return Ok((0..rank).collect()) };
    let mut out: SmallVec<[usize; 4]> = SmallVec::new();
    for &a in given {
        out.push(axis(op, a, rank)?);
    }
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::value(op, format!("axes {given:?} name one axis twice")));
    }
    Ok(out)
}

/// The same elements in row-major order in another shape; one extent may be −1, which follows from the others.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([1, 2, 3, 4, 5, 6]);
/// assert_eq!(ops::reshape(&x, [2, -1])?.shape(), [2, 3]);
/// assert!(ops::reshape(&x, [4, -1]).is_err());
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn reshape(a: &Array, to: impl Extents) -> Result<Array> {
    let to = Resolved::new("reshape", &to.extents(), true)?;
    if to.infer.is_none() && to.is_known() && !is_symbolic(a) && a.aval().shape == to.peek() {
        return Ok(a.clone());
    }
    let shapes = to.operands();
    Ok(record(Reshape { shape: to.dims.clone(), infer: to.infer }, &[a], &shapes)?.remove(0))
}

/// Merges axes `start ..= end` into one. A scalar becomes an array of one element.
///
/// ```
/// use lazuli_core::{DType, ops};
/// let x = ops::zeros([2, 3, 4], DType::F32)?;
/// assert_eq!(ops::flatten(&x, 1, -1)?.shape(), [2, 12]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn flatten(a: &Array, start: isize, end: isize) -> Result<Array> {
    if a.ndim() == 0 {
        return reshape(a, [1]);
    }
    // As in MLX, bounds are clamped to the axes there are.
    let rank = a.ndim() as isize;
    let clamp = |x: isize| (if x < 0 { x + rank } else { x }).clamp(0, rank - 1) as usize;
    let (first, last) = (clamp(start), clamp(end));
    if first > last {
        return Err(Error::value("flatten", format!("start_axis {start} lies behind end_axis {end}")));
    }
    if first == last { Ok(a.clone()) } else { apply(Flatten { start: first, end: last }, &[a]) }
}

/// Splits an axis into several; one extent may be −1.
///
/// ```
/// use lazuli_core::{DType, ops};
/// let x = ops::zeros([2, 12], DType::F32)?;
/// assert_eq!(ops::unflatten(&x, 1, [3, -1])?.shape(), [2, 3, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn unflatten(a: &Array, at: isize, to: impl Extents) -> Result<Array> {
    let to = Resolved::new("unflatten", &to.extents(), true)?;
    let axis = axis("unflatten", at, a.ndim())?;
    let shapes = to.operands();
    Ok(record(Unflatten { axis, shape: to.dims.clone(), infer: to.infer }, &[a], &shapes)?.remove(0))
}

/// Permutes the axes; reverses them if `order` is empty or absent.
///
/// ```
/// use lazuli_core::{DType, ops};
/// let x = ops::zeros([2, 3, 4], DType::F32)?;
/// assert_eq!(ops::transpose(&x, None)?.shape(), [4, 3, 2]);
/// assert_eq!(ops::transpose(&x, Some(&[1, 0, 2]))?.shape(), [3, 2, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn transpose(a: &Array, order: Option<&[isize]>) -> Result<Array> {
    let axes: SmallVec<[usize; 4]> = match order {
        None => (0..a.ndim()).rev().collect(),
        Some(order) => order.iter().map(|&x| axis("transpose", x, a.ndim())).collect::<Result<_>>()?,
    };
    if axes.len() == a.ndim() && axes.iter().copied().eq(0..a.ndim()) {
        return Ok(a.clone());
    }
    apply(Transpose { axes }, &[a])
}

/// Two axes in each other's place.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::swapaxes(&array([[1, 2, 3]]), 0, 1)?.shape(), [3, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn swapaxes(a: &Array, x: isize, y: isize) -> Result<Array> {
    let (x, y) = (axis("swapaxes", x, a.ndim())?, axis("swapaxes", y, a.ndim())?);
    let mut order: Vec<isize> = (0..a.ndim() as isize).collect();
    order.swap(x, y);
    transpose(a, Some(&order))
}

/// Moves one axis to another position; the others keep their order.
///
/// ```
/// use lazuli_core::{DType, ops};
/// let x = ops::zeros([2, 3, 4], DType::F32)?;
/// assert_eq!(ops::moveaxis(&x, 0, -1)?.shape(), [3, 4, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn moveaxis(a: &Array, from: isize, to: isize) -> Result<Array> {
    let (from, to) = (axis("moveaxis", from, a.ndim())?, axis("moveaxis", to, a.ndim())?);
    let mut order: Vec<isize> = (0..a.ndim() as isize).collect();
    let moved = order.remove(from);
    order.insert(to, moved);
    transpose(a, Some(&order))
}

/// Adds axes of extent 1 at these positions of the result.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::expand_dims(&array([1, 2]), &[0, 2])?.shape(), [1, 2, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn expand_dims(a: &Array, at: &[isize]) -> Result<Array> {
    let axes = axes("expand_dims", Some(at), a.ndim() + at.len())?;
    if axes.is_empty() { Ok(a.clone()) } else { apply(ExpandDims { axes }, &[a]) }
}

/// Removes these axes of extent 1, or all of them.
///
/// ```
/// use lazuli_core::{DType, ops};
/// let x = ops::zeros([1, 2, 1], DType::F32)?;
/// assert_eq!(ops::squeeze(&x, None)?.shape(), [2]);
/// assert_eq!(ops::squeeze(&x, Some(&[0]))?.shape(), [2, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn squeeze(a: &Array, at: Option<&[isize]>) -> Result<Array> {
    let axes = match at {
        Some(_) => axes("squeeze", at, a.ndim())?,
        // Which axes these are is fixed by comparisons: the rank of the result depends on it.
        None => (0..a.ndim()).filter(|&i| a.dim(i as isize) == 1).collect(),
    };
    if axes.is_empty() { Ok(a.clone()) } else { apply(Squeeze { axes }, &[a]) }
}

/// Stretches axes of extent 1 and adds axes in front.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::broadcast_to(&array([1, 2]), [2, 2])?.to_vec::<i32>(), [1, 2, 1, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn broadcast_to(a: &Array, to: impl Extents) -> Result<Array> {
    let to = Resolved::new("broadcast_to", &to.extents(), false)?;
    if to.is_known() && !is_symbolic(a) && a.aval().shape == to.peek() && a.literal().is_none() {
        return Ok(a.clone());
    }
    let shapes = to.operands();
    Ok(record(Broadcast { shape: to.dims.clone() }, &[a], &shapes)?.remove(0))
}

/// All arrays stretched to the shape they broadcast to.
///
/// ```
/// use lazuli_core::{array, ops};
/// let both = ops::broadcast_arrays(&[array([1, 2]), array([[3], [4]])])?;
/// assert_eq!(both[1].to_vec::<i32>(), [3, 3, 4, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn broadcast_arrays(arrays: &[Array]) -> Result<Vec<Array>> {
    ByShape::BroadcastArrays {}.apply(&arrays.iter().collect::<Vec<_>>())
}

pub(crate) fn stretched(arrays: &[Array]) -> Result<Vec<Array>> {
    let common = common_extents("broadcast_arrays", arrays)?;
    arrays.iter().map(|a| broadcast_to(a, &common)).collect()
}

/// The extents that arrays broadcast to, as those of the arrays that have them. For bodies [by shape](super::by_shape): it goes by which extents are 1.
pub(crate) fn common_extents(op: &str, arrays: &[Array]) -> Result<Vec<Extent>> {
    let shapes = || arrays.iter().map(|a| &a.aval().shape);
    let common = shapes().try_fold(lazuli_ir::Shape::new(), |common, s| shape::broadcast(op, &common, s))?;
    let extent = |(axis, &n): (usize, &usize)| {
        let own = |a: &Array| (axis + a.ndim()).checked_sub(common.len()).filter(|&own| a.aval().shape[own] == n);
        let found = arrays.iter().find_map(|a| Some(Dim { array: a.clone(), axis: own(a)? }));
        found.map_or(Extent::Known(n as isize), Extent::Of)
    };
    Ok(common.iter().enumerate().map(extent).collect())
}

/// The part of each axis that Python's `start:stop:step` names.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_core::ops::{self, Bound};
/// let x = array([[1, 2, 3], [4, 5, 6]]);
/// let every_second = Bound { step: 2, ..Bound::ALL };
/// assert_eq!(ops::slice(&x, &[Bound::range(0, 1), every_second])?.to_vec::<i32>(), [1, 3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn slice(a: &Array, bounds: &[Bound]) -> Result<Array> {
    if bounds.iter().all(|b| b.start.is_none() && b.stop.is_none() && b.step == 1) {
        return Ok(a.clone());
    }
    apply(Slice { bounds: bounds.into() }, &[a])
}

/// Joins arrays along an axis; dtypes promote.
///
/// ```
/// use lazuli_core::{array, ops};
/// let (x, y) = (array([[1, 2]]), array([[3.5, 4.5]]));
/// assert_eq!(ops::concatenate(&[x, y], 0)?.to_vec::<f32>(), [1.0, 2.0, 3.5, 4.5]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn concatenate(arrays: &[Array], at: isize) -> Result<Array> {
    let Some(first) = arrays.first() else {
        return Err(Error::value("concatenate", "needs at least one array"));
    };
    let axis = axis("concatenate", at, first.ndim())?;
    let dtype = arrays.iter().fold(first.dtype(), |d, a| d.promote(a.dtype()));
    let arrays = arrays.iter().map(|a| astype(a, dtype)).collect::<Result<Vec<_>>>()?;
    if arrays.len() == 1 {
        return Ok(arrays[0].clone());
    }
    apply(Concatenate { axis }, &arrays.iter().collect::<Vec<_>>())
}

/// Joins arrays of one shape along a new axis.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::stack(&[array([1, 2]), array([3, 4])], 1)?.to_vec::<i32>(), [1, 3, 2, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn stack(arrays: &[Array], at: isize) -> Result<Array> {
    if arrays.is_empty() {
        return Err(Error::value("stack", "needs at least one array"));
    }
    // For other shapes the concatenation refuses what differs.
    let first = &arrays[0].aval().shape;
    if let Some(odd) = arrays.iter().find(|a| a.aval().shape != *first) {
        let (x, y) = (shape::show(first), shape::show(&odd.aval().shape));
        return Err(Error::value("stack", format!("arrays must have one shape, not {x} and {y}")));
    }
    let expanded = arrays.iter().map(|a| expand_dims(a, &[at])).collect::<Result<Vec<_>>>()?;
    concatenate(&expanded, at)
}

/// Parts of an axis: cut at `indices`.
///
/// ```
/// use lazuli_core::{array, ops};
/// let parts = ops::split_at(&array([1, 2, 3, 4]), &[1, 3], 0)?;
/// assert_eq!(parts[1].to_vec::<i32>(), [2, 3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn split_at(a: &Array, indices: &[isize], at: isize) -> Result<Vec<Array>> {
    let axis = axis("split", at, a.ndim())?;
    let cut = |start: Option<isize>, stop: Option<isize>| {
        let mut bounds = vec![Bound { start: None, stop: None, step: 1 }; a.ndim()];
        bounds[axis] = Bound { start, stop, step: 1 };
        apply(Slice { bounds: bounds.into() }, &[a])
    };
    let starts = std::iter::once(None).chain(indices.iter().map(|&i| Some(i)));
    let stops = indices.iter().map(|&i| Some(i)).chain(std::iter::once(None));
    starts.zip(stops).map(|(start, stop)| cut(start, stop)).collect()
}

/// `n` equal parts of an axis.
///
/// ```
/// use lazuli_core::{array, ops};
/// let parts = ops::split(&array([1, 2, 3, 4]), 2, 0)?;
/// assert_eq!(parts[1].to_vec::<i32>(), [3, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn split(a: &Array, n: usize, at: isize) -> Result<Vec<Array>> {
    let axis = axis("split", at, a.ndim())?;
    ByShape::Split { parts: n, axis }.apply(&[a])
}

pub(crate) fn parts(a: &Array, n: usize, axis: usize) -> Result<Vec<Array>> {
    let extent = a.aval().shape[axis];
    // An axis without elements can be cut into any number of parts, but not into more than there is memory for.
    if n == 0 || !extent.is_multiple_of(n) || n > extent.max(1 << 16) {
        return Err(Error::value(
            "split",
            format!("an axis of extent {extent} can't be cut into {n} equal parts: give the indices to cut at"),
        ));
    }
    if is_symbolic(a) {
        let part = |index| apply(Part { axis, index, count: n, extents: SmallVec::new() }, &[a]);
        return (0..n).map(part).collect();
    }
    let indices: Vec<isize> = (1..n).map(|i| (i * (extent / n)) as isize).collect();
    split_at(a, &indices, axis as isize)
}

/// Adds `widths[i] = (before, after)` elements of `value` around each axis.
///
/// ```
/// use lazuli_core::{Scalar, array, ops};
/// let x = ops::pad(&array([1, 2]), &[(1, 2)], Scalar::i32(0))?;
/// assert_eq!(x.to_vec::<i32>(), [0, 1, 2, 0, 0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn pad(a: &Array, widths: &[(usize, usize)], value: Scalar) -> Result<Array> {
    pad_with(a, widths, &Array::scalar(value))
}

/// The same by an array of one element, converted to the dtype of the other.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = ops::pad_with(&array([1, 2]), &[(1, 2)], &array([7.5]))?;
/// assert_eq!(x.to_vec::<i32>(), [7, 1, 2, 7, 7]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn pad_with(a: &Array, widths: &[(usize, usize)], value: &Array) -> Result<Array> {
    check_widths(a, widths)?;
    let one = squeeze(value, None)?;
    if one.ndim() > 0 {
        let message =
            format!("the padding value must have one element, and has shape {}", shape::show(&value.aval().shape));
        return Err(Error::value("pad", message));
    }
    let value = astype(&one, a.dtype())?;
    let low = widths.iter().map(|w| w.0).collect();
    let high = widths.iter().map(|w| w.1).collect();
    apply(Pad { low, high }, &[a, &value])
}

fn check_widths(a: &Array, widths: &[(usize, usize)]) -> Result<()> {
    if widths.len() == a.ndim() {
        return Ok(());
    }
    let message = format!("{} widths were given for an array of {} dimensions", widths.len(), a.ndim());
    Err(Error::value("pad", message))
}

/// Adds copies of the elements at the ends of each axis: how many before and after it.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::pad_edge(&array([1, 2]), &[(1, 2)])?.to_vec::<i32>(), [1, 1, 2, 2, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn pad_edge(a: &Array, widths: &[(usize, usize)]) -> Result<Array> {
    check_widths(a, widths)?;
    let pad = |a: Array, (axis, &(low, high)): (usize, &(usize, usize))| match (low, high) {
        (0, 0) => Ok(a),
        _ => Ok(ByShape::PadEdge { axis, low, high }.apply(&[&a])?.remove(0)),
    };
    widths.iter().enumerate().try_fold(a.clone(), pad)
}

pub(crate) fn edges(a: &Array, axis: usize, low: usize, high: usize) -> Result<Array> {
    if a.aval().shape[axis] == 0 {
        return Err(Error::value("pad", format!("axis {axis} has no elements that could be repeated")));
    }
    let end = |bound: Bound, n: usize| {
        let one = slice_axis(a, axis as isize, bound)?;
        let mut to = a.dims().extents();
        to[axis] = n.into();
        broadcast_to(&one, &to)
    };
    let (first, last) = (Bound { stop: Some(1), ..Bound::ALL }, Bound { start: Some(-1), ..Bound::ALL });
    concatenate(&[end(first, low)?, a.clone(), end(last, high)?], axis as isize)
}

/// The same bytes as elements of another dtype; the last axis grows or shrinks with the item size.
///
/// ```
/// use lazuli_core::{DType, array, ops};
/// assert_eq!(ops::view(&array([1.0]), DType::U32)?.to_vec::<u32>(), [1f32.to_bits()]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn view(a: &Array, dtype: DType) -> Result<Array> {
    if a.dtype() == dtype { Ok(a.clone()) } else { apply(Bitcast { dtype }, &[a]) }
}

/// `repeats` copies of every element along an axis, next to each other.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::repeat(&array([1, 2]), 2, 0)?.to_vec::<i32>(), [1, 1, 2, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn repeat(a: &Array, repeats: usize, at: isize) -> Result<Array> {
    let axis = axis("repeat", at, a.ndim())?;
    let expanded = expand_dims(a, &[axis as isize + 1])?;
    let mut to = expanded.dims().extents();
    to[axis + 1] = repeats.into();
    flatten(&broadcast_to(&expanded, &to)?, axis as isize, axis as isize + 1)
}

/// The whole array repeated `reps[i]` times along axis i.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::tile(&array([1, 2]), &[2])?.to_vec::<i32>(), [1, 2, 1, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn tile(a: &Array, reps: &[usize]) -> Result<Array> {
    let times = |axis: usize, rank: usize| (axis + reps.len()).checked_sub(rank).map_or(1, |i| reps[i]);
    let rank = a.ndim().max(reps.len());
    let lacking = rank - a.ndim();
    // Copies lie along an axis before the one that they are joined with; where the array lacks one, along that.
    let (mut at, mut counts) = (Vec::new(), Vec::new());
    for axis in (0..rank).filter(|&axis| axis < lacking || times(axis, rank) != 1) {
        at.push((axis + at.len().saturating_sub(lacking)) as isize);
        counts.push(times(axis, rank));
    }
    let expanded = expand_dims(a, &at)?;
    let mut to = expanded.dims().extents();
    at.iter().zip(&counts).for_each(|(&at, &count)| to[at as usize] = count.into());
    let copies = broadcast_to(&expanded, &to)?;
    if !is_symbolic(a) {
        // At once, so that a kernel's loops are those of the copies.
        let dims = [&vec![1; lacking][..], &a.aval().shape].concat();
        return reshape(&copies, (0..rank).map(|axis| dims[axis] * times(axis, rank)).collect::<Vec<usize>>());
    }
    at[lacking..].iter().rev().try_fold(copies, |copies, &at| flatten(&copies, at, at + 1))
}

/// Elements shifted along an axis; what leaves one end enters at the other.
///
/// ```
/// use lazuli_core::{array, ops};
/// assert_eq!(ops::roll(&array([1, 2, 3]), 1, 0)?.to_vec::<i32>(), [3, 1, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn roll(a: &Array, shift: isize, at: isize) -> Result<Array> {
    let axis = axis("roll", at, a.ndim())?;
    Ok(ByShape::Roll { shift, axis }.apply(&[a])?.remove(0))
}

pub(crate) fn rolled(a: &Array, shift: isize, axis: usize) -> Result<Array> {
    // For other extents that leave something of both parts, as for this one, it is the same counting from an end.
    if is_symbolic(a) && shift != 0 && shift.unsigned_abs() < a.aval().shape[axis] {
        let parts = split_at(a, &[-shift], axis as isize)?;
        return concatenate(&[parts[1].clone(), parts[0].clone()], axis as isize);
    }
    let n = a.extent(axis) as isize;
    if n == 0 || shift.rem_euclid(n) == 0 {
        return Ok(a.clone());
    }
    let parts = split_at(a, &[n - shift.rem_euclid(n)], axis as isize)?;
    concatenate(&[parts[1].clone(), parts[0].clone()], axis as isize)
}
