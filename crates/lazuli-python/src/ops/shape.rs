//! Functions that change shapes, and join and part arrays.

use super::words::*;
use super::{axes, scalar, wrapped};
use crate::array::{PyArray, spread, wrap};
use crate::convert::{Arg, ArrayLike, Ints, On};
use crate::dim::Dims;
use crate::errors::{self, run};
use lazuli_core::{Array, Error, Result, Scalar, ops};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

methods! { add_methods;
    /// Merges the axes from ``start_axis`` to ``end_axis`` into one.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.flatten(mx.zeros((2, 3, 4)), start_axis=1).shape
    ///     (2, 12)
    fn flatten(start_axis=0, end_axis=-1, *) [a, start_axis: isize, end_axis: isize] -> PyArray { wrap(|| ops::flatten(a, start_axis, end_axis)) }
    /// Removes axes of extent 1: those named, or all of them.
    ///
    /// Raises:
    ///     ValueError: a named axis has another extent.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.squeeze(mx.zeros((1, 3, 1)), axis=0).shape
    ///     (3, 1)
    fn squeeze(axis=None, *) [a, axis: Option<Ints>] -> PyArray { wrap(|| ops::squeeze(a, axes(&axis))) }
    /// Swaps two axes.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.swapaxes(mx.zeros((2, 3, 4)), 0, 2).shape
    ///     (4, 3, 2)
    fn swapaxes(axis1, axis2, *) [a, axis1: isize, axis2: isize] -> PyArray { wrap(|| ops::swapaxes(a, axis1, axis2)) }
    /// Moves an axis to another position; the others keep their order.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.moveaxis(mx.zeros((2, 3, 4)), 0, -1).shape
    ///     (3, 4, 2)
    fn moveaxis(source, destination, *) [a, source: isize, destination: isize] -> PyArray { wrap(|| ops::moveaxis(a, source, destination)) }
    /// Parts along an axis.
    ///
    /// Args:
    ///     indices_or_sections: a number of equal parts, or the positions at which to cut.
    ///     axis: the axis.
    ///
    /// Returns:
    ///     list[array]: the parts, in order.
    ///
    /// Raises:
    ///     ValueError: the extent of the axis is no multiple of the number.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.split(mx.arange(5), [2])
    ///     [array([0, 1], dtype=int32), array([2, 3, 4], dtype=int32)]
    fn split(indices_or_sections, axis=0, *) [a, indices_or_sections: Sections, axis: isize] -> Vec<PyArray> {
        run(|| match &indices_or_sections {
            Sections::Number(n) => ops::split(a, *n, axis),
            Sections::At(at) => ops::split_at(a, at, axis),
        })
        .map(wrapped)
    }
}

functions! { add_functions;
    /// The same elements, in row-major order, in another shape.
    ///
    /// Args:
    ///     a: an array.
    ///     shape: the new extents; one of them may be -1, which follows from the others.
    ///
    /// Raises:
    ///     ValueError: the shapes have different numbers of elements.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.reshape(mx.arange(6), (2, -1))
    ///     array([[0, 1, 2],
    ///            [3, 4, 5]], dtype=int32)
    fn reshape(a, shape, *) [a: ArrayLike, shape: Dims] -> PyArray { wrap(|| ops::reshape(&a.0, shape.0)) }
    /// Splits an axis into several; one of the extents may be -1.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.unflatten(mx.zeros((2, 6)), 1, (3, -1)).shape
    ///     (2, 3, 2)
    fn unflatten(a, axis, shape, *) [a: ArrayLike, axis: isize, shape: Dims] -> PyArray { wrap(|| ops::unflatten(&a.0, axis, shape.0)) }
    /// Permutes the axes; reverses them by default.
    ///
    /// Raises:
    ///     ValueError: ``axes`` is no permutation of the axes.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.transpose(mx.zeros((2, 3, 4)), (1, 0, 2)).shape
    ///     (3, 2, 4)
    fn transpose(a, axes=None, *) [a: ArrayLike, axes: Option<Ints>] -> PyArray { wrap(|| ops::transpose(&a.0, axes.as_ref().map(|x| &x.0[..]))) }
    /// Adds axes of extent 1 at these positions of the result.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.expand_dims(mx.zeros((3,)), (0, 2)).shape
    ///     (1, 3, 1)
    fn expand_dims(a, axis, *) [a: ArrayLike, axis: Ints] -> PyArray { wrap(|| ops::expand_dims(&a.0, &axis.0)) }
    /// Stretches axes of extent 1 to a shape, and adds axes in front. Nothing is copied.
    ///
    /// Raises:
    ///     ValueError: an axis of another extent would have to stretch.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.broadcast_to(mx.array([[1], [2]]), (2, 3))
    ///     array([[1, 1, 1],
    ///            [2, 2, 2]], dtype=int32)
    fn broadcast_to(a, shape, *) [a: ArrayLike, shape: Dims] -> PyArray { wrap(|| ops::broadcast_to(&a.0, shape.0)) }
    /// Joins arrays along an axis. Their dtypes promote.
    ///
    /// Args:
    ///     arrays: arrays that have the same extents along the other axes.
    ///     axis: the axis; None flattens the arrays first.
    ///
    /// Raises:
    ///     ValueError: there are no arrays, or their shapes do not fit.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.concatenate([mx.array([1, 2]), mx.array([3])])
    ///     array([1, 2, 3], dtype=int32)
    fn concatenate(arrays, axis=0, *) [arrays: Vec<ArrayLike>, axis: Option<isize>] -> PyArray {
        let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
        wrap(|| match axis {
            Some(axis) => ops::concatenate(&arrays, axis),
            None => ops::concatenate(&arrays.iter().map(|a| ops::reshape(a, [-1])).collect::<Result<Vec<_>>>()?, 0),
        })
    }
    /// Joins arrays of one shape along a new axis.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.stack([mx.array([1, 2]), mx.array([3, 4])], axis=1)
    ///     array([[1, 3],
    ///            [2, 4]], dtype=int32)
    fn stack(arrays, axis=0, *) [arrays: Vec<ArrayLike>, axis: isize] -> PyArray {
        let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
        wrap(|| ops::stack(&arrays, axis))
    }
    /// Copies of every element along an axis, next to each other.
    ///
    /// Args:
    ///     array: an array.
    ///     repeats: how many of each.
    ///     axis: the axis; by default the array is flattened first.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.repeat(mx.array([1, 2]), 2)
    ///     array([1, 1, 2, 2], dtype=int32)
    fn repeat(array, repeats, axis=None, *) [array: ArrayLike, repeats: usize, axis: Option<isize>] -> PyArray {
        wrap(|| match axis {
            Some(axis) => ops::repeat(&array.0, repeats, axis),
            None => ops::repeat(&ops::reshape(&array.0, [-1])?, repeats, 0),
        })
    }
    /// The whole array repeated along its axes.
    ///
    /// Args:
    ///     a: an array.
    ///     reps: how often along each axis, counted from the last; more of them than axes add axes in front.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.tile(mx.array([1, 2]), 2)
    ///     array([1, 2, 1, 2], dtype=int32)
    fn tile(a, reps, *) [a: ArrayLike, reps: Ints] -> PyArray {
        let reps = reps.extents("tile")?;
        wrap(|| ops::tile(&a.0, &reps))
    }
    /// Elements shifted along axes; what leaves at the end comes in at the beginning.
    ///
    /// Args:
    ///     a: an array.
    ///     shift: how far, one number for all axes or one for each.
    ///     axis: an axis or several; by default the flattened array is shifted, by the sum of the shifts.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.roll(mx.arange(4), 1)
    ///     array([3, 0, 1, 2], dtype=int32)
    fn roll(a, shift, axis=None, *) [a: ArrayLike, shift: Ints, axis: Option<Ints>] -> PyArray { roll_axes(&a.0, &shift.0, axis.as_ref().map(|x| &x.0[..])) }
    /// Adds elements around the axes.
    ///
    /// Args:
    ///     a: an array.
    ///     pad_width: how many: a number for all axes and both ends, a pair (before, after) for all axes, or a pair for each axis.
    ///     mode: ``"constant"``, or ``"edge"`` for copies of the outermost elements.
    ///     constant_values: the constant, 0 by default.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.pad(mx.array([1, 2]), (1, 2), constant_values=9)
    ///     array([9, 1, 2, 9, 9], dtype=int32)
    fn pad(a, pad_width, mode="constant", constant_values=None, *)
        [a: ArrayLike, pad_width: &Bound<'_, PyAny>, mode: &str, constant_values: Option<Arg>] -> PyArray {
        padded(&a.0, pad_width, mode, constant_values)
    }
    /// All arrays stretched to the shape they broadcast to.
    ///
    /// Returns:
    ///     list[array]: as many as there are arguments.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.broadcast_arrays(mx.array([[1], [2]]), mx.array(5))
    ///     [array([[1],
    ///            [2]], dtype=int32), array([[5],
    ///            [5]], dtype=int32)]
    fn broadcast_arrays(*arrays) [arrays: Vec<ArrayLike>] -> Vec<PyArray> {
        let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
        run(|| ops::broadcast_arrays(&arrays)).map(wrapped)
    }
    /// Grids of the coordinates along each of the one-dimensional inputs.
    ///
    /// Args:
    ///     *arrays: coordinates along each axis.
    ///     sparse: whether each grid keeps extent 1 along the axes of the others.
    ///     indexing: ``"xy"`` swaps the first two axes, as in plots; ``"ij"`` does not, as in matrices.
    ///
    /// Returns:
    ///     tuple[array, ...]: one grid for each input.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.meshgrid(mx.array([1, 2]), mx.array([3, 4]))[0]
    ///     array([[1, 2],
    ///            [1, 2]], dtype=int32)
    fn meshgrid(*arrays, sparse=False, indexing="xy") [arrays: &Bound<'_, PyTuple>, sparse: bool, indexing: &str] -> Py<PyTuple> {
        let inputs = arrays.extract::<Vec<ArrayLike>>()?.into_iter().map(|a| a.0).collect::<Vec<Array>>();
        let xy = match indexing {
            "xy" => true,
            "ij" => false,
            _ => return Err(PyValueError::new_err(format!("[meshgrid] indexing is \"xy\" or \"ij\", not {indexing:?}"))),
        };
        let grids = run(|| ops::meshgrid(&inputs, sparse, xy)).map(wrapped)?;
        Ok(PyTuple::new(arrays.py(), grids)?.unbind())
    }
}

/// The shape that shapes broadcast to: aligned at the last axis, extents are equal or 1.
///
/// Raises:
///     ValueError: they do not broadcast.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.broadcast_shapes((2, 1), (3,))
///     (2, 3)
#[pyfunction]
#[pyo3(signature = (*shapes))]
fn broadcast_shapes<'py>(py: Python<'py>, shapes: Vec<Ints>) -> PyResult<Bound<'py, PyTuple>> {
    let mut out = lazuli_core::Shape::new();
    for s in &shapes {
        let s = s.extents("broadcast_shapes")?;
        out = run(|| lazuli_ir::shape::broadcast("broadcast_shapes", &out, &s))?;
    }
    PyTuple::new(py, out)
}

#[pymethods]
impl PyArray {
    /// reshape($self, *shape, stream=None)
    /// --
    ///
    /// The same elements, in row-major order, in another shape: ``reshape(2, 3)`` or ``reshape((2, 3))``; one extent may be -1.
    ///
    /// Raises:
    ///     ValueError: the shapes have different numbers of elements.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.arange(6).reshape(2, -1).shape
    ///     (2, 3)
    #[pyo3(name = "reshape", signature = (*shape, stream=None, **unknown), text_signature = None)]
    fn py_reshape(
        &self,
        shape: &Bound<'_, PyTuple>,
        stream: Option<On>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyArray> {
        let _ = stream;
        errors::unknown("reshape", unknown)?;
        let (a, to) = (self.get(), spread::<Dims>(shape)?);
        wrap(|| ops::reshape(&a, to.0))
    }
    /// transpose($self, *axes, stream=None)
    /// --
    ///
    /// Permutes the axes: ``transpose(1, 0)`` or ``transpose((1, 0))``; reverses them without arguments.
    ///
    /// Raises:
    ///     ValueError: ``axes`` is no permutation of the axes.
    ///
    /// Example:
    ///     >>> import lazuli.core as mx
    ///     >>> mx.zeros((2, 3)).transpose().shape
    ///     (3, 2)
    #[pyo3(name = "transpose", signature = (*axes, stream=None, **unknown), text_signature = None)]
    fn py_transpose(
        &self,
        axes: &Bound<'_, PyTuple>,
        stream: Option<On>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyArray> {
        let _ = stream;
        errors::unknown("transpose", unknown)?;
        let a = self.get();
        let order = if axes.is_empty() { None } else { Some(spread::<Ints>(axes)?) };
        wrap(|| ops::transpose(&a, order.as_ref().map(|o| &o.0[..])))
    }
}

/// A number of sections, or the positions at which to cut.
enum Sections {
    Number(usize),
    At(Vec<isize>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Sections {
    type Error = PyErr;
    fn extract(v: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match v.extract::<usize>() {
            Ok(n) => Ok(Sections::Number(n)),
            Err(_) => Ok(Sections::At(v.extract::<Ints>()?.0)),
        }
    }
}

fn roll_axes(a: &Array, shift: &[isize], axis: Option<&[isize]>) -> PyResult<PyArray> {
    wrap(|| {
        let Some(axis) = axis else {
            let flat = ops::roll(&ops::reshape(a, [-1])?, shift.iter().sum(), 0)?;
            return ops::reshape(&flat, a.dims());
        };
        if shift.len() != 1 && shift.len() != axis.len() {
            return Err(Error::value("roll", format!("{} shifts were given for {} axes", shift.len(), axis.len())));
        }
        axis.iter().enumerate().try_fold(a.clone(), |a, (i, &x)| ops::roll(&a, shift[i % shift.len()], x))
    })
}

/// Widths before and after each axis.
fn widths(pad_width: &Bound<'_, PyAny>, rank: usize) -> PyResult<Vec<(usize, usize)>> {
    if let Ok(n) = pad_width.extract::<usize>() {
        return Ok(vec![(n, n); rank]);
    }
    if let Ok(pair) = pad_width.extract::<(usize, usize)>() {
        return Ok(vec![pair; rank]);
    }
    let pairs = pad_width
        .extract::<Vec<Ints>>()
        .map_err(|_| PyTypeError::new_err("[pad] pad_width must be an int, a pair, or a pair per axis"))?;
    let pair = |p: Ints| match p.extents("pad")?[..] {
        [n] => Ok((n, n)),
        [low, high] => Ok((low, high)),
        _ => Err(PyValueError::new_err("[pad] each axis takes one width or two")),
    };
    let widths = pairs.into_iter().map(pair).collect::<PyResult<Vec<_>>>()?;
    match widths.len() {
        1 => Ok(vec![widths[0]; rank]),
        n if n == rank => Ok(widths),
        n => Err(PyValueError::new_err(format!("[pad] {n} pairs of widths were given for {rank} axes"))),
    }
}

fn padded(a: &Array, pad_width: &Bound<'_, PyAny>, mode: &str, constant: Option<Arg>) -> PyResult<PyArray> {
    let widths = widths(pad_width, a.ndim())?;
    match mode {
        "constant" => {
            if let Some(value @ (Arg::Array(_) | Arg::Number(_))) = &constant {
                return wrap(|| ops::pad_with(a, &widths, &ops::Operand::array(value, Some(a.dtype()))));
            }
            let value = constant.map_or(Ok(Scalar::zero(a.dtype())), |v| scalar("pad", &v, a.dtype()))?;
            wrap(|| ops::pad(a, &widths, value))
        }
        "edge" => wrap(|| ops::pad_edge(a, &widths)),
        _ => Err(PyValueError::new_err(format!("[pad] mode {mode:?} is not known: use \"constant\" or \"edge\""))),
    }
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_methods(m)?;
    add_functions(m)?;
    m.add_function(wrap_pyfunction!(broadcast_shapes, m)?)
}
