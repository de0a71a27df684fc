//! Methods and operators: over the fallible functions of [`crate::ops`], panicking at the caller's line on a programmer's error such
//! as a shape mismatch.

use crate::array::Array;
use crate::dim::{Dim, Extents};
use crate::ops::{self, Operand};
use crate::raise::must;
use lazuli_ir::prims::Bound;
use lazuli_ir::{Binary, DType, Scalar};
use lazuli_kernel::ScanOp;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

macro_rules! table_methods {
    ($($(#[$meta:meta])* $family:ident[$n:tt] { $($variant:ident $name:ident $doc:literal $body:tt)* })*) => {
        $( table_methods!(@ [$n] $($name $doc)*); )*
    };
    (@ [1] $($name:ident $doc:literal)*) => { impl Array { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(&self) -> Array { must(ops::$name(self)) }
    )* } };
    (@ [2] $($name:ident $doc:literal)*) => { impl Array { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(&self, other: impl Operand) -> Array { must(ops::$name(self, other)) }
    )* } };
    (@ [3] $($name:ident $doc:literal)*) => {};
}

lazuli_ir::elementwise_table!(table_methods);

// On the left stand one float type and one integer type only: with two, a literal's type would be open, and `(1.0 - x).exp()` with it.
macro_rules! operators {
    ($($trait:ident $method:ident $op:ident;)*) => { $(
        operators!(@arrays $trait $method $op Array &Array);
        operators!(@numbers $trait $method $op f64 i32 Dim);
    )* };
    (@arrays $trait:ident $method:ident $op:ident $($left:ty)*) => { $(
        impl<T: Operand> $trait<T> for $left {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array { must(ops::binary(Binary::$op, self, other)) }
        }
    )* };
    (@numbers $trait:ident $method:ident $op:ident $($left:ty)*) => { $(
        impl $trait<&Array> for $left {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: &Array) -> Array { must(ops::binary(Binary::$op, self, other)) }
        }
        impl $trait<Array> for $left {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: Array) -> Array { must(ops::binary(Binary::$op, self, other)) }
        }
    )* };
}

operators! { Add add Add; Sub sub Sub; Mul mul Mul; Div div Div; Rem rem Remainder; }

impl Neg for Array {
    type Output = Array;
    #[track_caller]
    fn neg(self) -> Array {
        must(ops::negative(&self))
    }
}
impl Neg for &Array {
    type Output = Array;
    #[track_caller]
    fn neg(self) -> Array {
        must(ops::negative(self))
    }
}

impl Array {
    /// Computes the value now; returns the array for chaining.
    ///
    /// # Panics
    /// If the array has no value, as within a compiled function, or cannot be computed. [`eval`](crate::eval()) returns an error.
    #[track_caller]
    pub fn eval(&self) -> &Array {
        must(crate::eval(std::slice::from_ref(self)));
        self
    }
    /// The same values in another dtype.
    ///
    /// ```
    /// use lazuli_core::{DType, array};
    /// assert_eq!(array([1.7, -1.7]).astype(DType::I32).to_vec::<i32>(), [1, -1]);
    /// ```
    #[track_caller]
    pub fn astype(&self, dtype: DType) -> Array {
        must(ops::astype(self, dtype))
    }
    /// The same elements in row-major order in another shape; one extent may be −1: it follows from the others.
    ///
    /// ```
    /// use lazuli_core::array;
    /// assert_eq!(array([1, 2, 3, 4]).reshape([2, -1]).shape(), [2, 2]);
    /// ```
    ///
    /// # Panics
    /// If the sizes differ. [`ops::reshape`] returns an error.
    #[track_caller]
    pub fn reshape(&self, shape: impl Extents) -> Array {
        must(ops::reshape(self, shape))
    }
    /// The axes in reverse order: the transpose of a matrix.
    #[track_caller]
    pub fn t(&self) -> Array {
        must(ops::transpose(self, None))
    }
    /// The axes in this order.
    ///
    /// ```
    /// use lazuli_core::{Array, DType};
    /// assert_eq!(Array::zeros([2, 3, 4], DType::F32).transpose([2, 0, 1]).shape(), [4, 2, 3]);
    /// ```
    ///
    /// # Panics
    /// If the axes are not a permutation of those of the array.
    #[track_caller]
    pub fn transpose<const N: usize>(&self, axes: [isize; N]) -> Array {
        must(ops::transpose(self, Some(&axes)))
    }
    /// Two axes in each other's place.
    ///
    /// # Panics
    /// If the array has no such axis.
    #[track_caller]
    pub fn swapaxes(&self, a: isize, b: isize) -> Array {
        must(ops::swapaxes(self, a, b))
    }
    /// One axis in another position; the others keep their order.
    ///
    /// # Panics
    /// If the array has no such axis.
    #[track_caller]
    pub fn moveaxis(&self, from: isize, to: isize) -> Array {
        must(ops::moveaxis(self, from, to))
    }
    /// Merges the axes of the range into one.
    ///
    /// ```
    /// use lazuli_core::{Array, DType};
    /// assert_eq!(Array::zeros([2, 3, 4], DType::F32).flatten(0..=1).shape(), [6, 4]);
    /// ```
    #[track_caller]
    pub fn flatten(&self, axes: std::ops::RangeInclusive<isize>) -> Array {
        must(ops::flatten(self, *axes.start(), *axes.end()))
    }
    /// Splits an axis into several; one extent may be −1.
    ///
    /// ```
    /// use lazuli_core::{Array, DType};
    /// assert_eq!(Array::zeros([6, 4], DType::F32).unflatten(0, [2, -1]).shape(), [2, 3, 4]);
    /// ```
    ///
    /// # Panics
    /// If the product of the extents is not that of the axis.
    #[track_caller]
    pub fn unflatten(&self, axis: isize, shape: impl Extents) -> Array {
        must(ops::unflatten(self, axis, shape))
    }
    /// Without the axes of extent 1. [`ops::squeeze`] takes those to remove.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([[[1.0], [2.0]]]).squeeze().shape(), [2]);
    /// ```
    #[track_caller]
    pub fn squeeze(&self) -> Array {
        must(ops::squeeze(self, None))
    }
    /// With axes of extent 1 at these positions of the result.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([1.0, 2.0]).expand_dims([0, -1]).shape(), [1, 2, 1]);
    /// ```
    ///
    /// # Panics
    /// If a position is out of range or named twice.
    #[track_caller]
    pub fn expand_dims<const N: usize>(&self, axes: [isize; N]) -> Array {
        must(ops::expand_dims(self, &axes))
    }
    /// Stretches axes of extent 1 and adds axes in front.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([[1.0], [2.0]]).broadcast_to([3, 2, 4]).shape(), [3, 2, 4]);
    /// ```
    ///
    /// # Panics
    /// If the array does not broadcast to the shape.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Extents) -> Array {
        must(ops::broadcast_to(self, shape))
    }
    /// Product of matrices in the last two axes; the axes before them broadcast. A vector is a row on the left and a column on the right.
    ///
    /// ```
    /// use lazuli_core::array;
    /// let a = array([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(a.matmul(&array([1.0, 10.0])).to_vec::<f32>(), [21.0, 43.0]);
    /// ```
    ///
    /// # Panics
    /// If the inner extents differ, an operand is a scalar, or neither is of floats. [`ops::matmul`] returns an error.
    #[track_caller]
    pub fn matmul(&self, other: &Array) -> Array {
        must(ops::matmul(self, other))
    }
    /// Elements at integer positions along an axis, which is replaced by the axes of `indices`.
    ///
    /// ```
    /// use lazuli_core::array;
    /// assert_eq!(array([10, 20, 30]).take(&array([2, 0]), 0).to_vec::<i32>(), [30, 10]);
    /// ```
    ///
    /// # Panics
    /// If `indices` is not of integers, or the array has no such axis.
    #[track_caller]
    pub fn take(&self, indices: &Array, axis: isize) -> Array {
        must(ops::take(self, indices, Some(axis)))
    }
    /// Elements at positions along one axis, where `indices` has as many axes as the array and the others run along.
    ///
    /// ```
    /// use lazuli_core::array;
    /// let x = array([[1, 2], [3, 4]]);
    /// assert_eq!(x.take_along_axis(&array([[1], [0]]), 1).to_vec::<i32>(), [2, 3]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not match beside the axis.
    #[track_caller]
    pub fn take_along_axis(&self, indices: &Array, axis: isize) -> Array {
        must(ops::take_along_axis(self, indices, Some(axis)))
    }
    /// The part of axis `axis` from `start` up to `stop`. See also [`index`](Self::index).
    ///
    /// # Panics
    /// If the array has no such axis.
    #[track_caller]
    pub fn slice_axis(&self, axis: isize, start: isize, stop: isize) -> Array {
        must(ops::slice_axis(self, axis, Bound { start: Some(start), stop: Some(stop), step: 1 }))
    }
    /// `n` equal parts of an axis.
    ///
    /// ```
    /// let parts = lazuli_core::array([1, 2, 3, 4]).split(2, 0);
    /// assert_eq!(parts[1].to_vec::<i32>(), [3, 4]);
    /// ```
    ///
    /// # Panics
    /// If `n` does not divide the extent. [`ops::split_at`] cuts where it is told to.
    #[track_caller]
    pub fn split(&self, n: usize, axis: isize) -> Vec<Array> {
        must(ops::split(self, n, axis))
    }
    /// Exponentials over axes, divided by their sum.
    ///
    /// ```
    /// let p = lazuli_core::array([[0.0, 0.0]]).softmax(-1);
    /// assert_eq!(p.to_vec::<f32>(), [0.5, 0.5]);
    /// ```
    #[track_caller]
    pub fn softmax(&self, axes: impl Axes) -> Array {
        must(ops::softmax(self, axes.axes().as_deref(), false))
    }
    /// log Σ eˣ over axes, without overflow.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([1000.0, 1000.0]).logsumexp(()).item::<f32>(), 1000.0 + 2f32.ln());
    /// ```
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Axes) -> Array {
        must(ops::logsumexp(self, axes.axes().as_deref(), axes.keepdims()))
    }
    /// Variance over axes: the mean squared distance from the mean.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([1.0, 3.0]).var(()).item::<f32>(), 1.0);
    /// ```
    #[track_caller]
    pub fn var(&self, axes: impl Axes) -> Array {
        must(ops::var(self, axes.axes().as_deref(), axes.keepdims(), 0.0))
    }
    /// Standard deviation over axes.
    #[track_caller]
    pub fn std(&self, axes: impl Axes) -> Array {
        must(ops::deviation(self, axes.axes().as_deref(), axes.keepdims(), 0.0))
    }
    /// Position (uint32) of the largest element along an axis; the first of equals.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([[1, 5, 2]]).argmax(-1).to_vec::<u32>(), [1]);
    /// ```
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> Array {
        must(ops::argmax(self, Some(axis), false))
    }
    /// Position (uint32) of the smallest element along an axis; the first of equals.
    #[track_caller]
    pub fn argmin(&self, axis: isize) -> Array {
        must(ops::argmin(self, Some(axis), false))
    }
    /// Sorted along an axis, NaN last.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([3, 1, 2]).sort(0).to_vec::<i32>(), [1, 2, 3]);
    /// ```
    #[track_caller]
    pub fn sort(&self, axis: isize) -> Array {
        must(ops::sort(self, Some(axis)))
    }
    /// The permutation (uint32) that sorts along an axis; equal elements keep their order.
    #[track_caller]
    pub fn argsort(&self, axis: isize) -> Array {
        must(ops::argsort(self, Some(axis)))
    }
    /// Running sum along an axis.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([1, 2, 3]).cumsum(0).to_vec::<i32>(), [1, 3, 6]);
    /// ```
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Array {
        must(ops::cumulative(ScanOp::Sum, self, Some(axis), false, true))
    }
    /// The last two axes with what lies above the `k`-th diagonal set to zero.
    ///
    /// # Panics
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn tril(&self, k: isize) -> Array {
        must(ops::tril(self, k))
    }
    /// The last two axes with what lies below the `k`-th diagonal set to zero.
    ///
    /// # Panics
    /// If there are fewer than two axes.
    #[track_caller]
    pub fn triu(&self, k: isize) -> Array {
        must(ops::triu(self, k))
    }
    /// Elements limited to `low ..= high`.
    ///
    /// ```
    /// assert_eq!(lazuli_core::array([-2, 0, 9]).clip(-1, 1).to_vec::<i32>(), [-1, 0, 1]);
    /// ```
    #[track_caller]
    pub fn clip(&self, low: impl Operand, high: impl Operand) -> Array {
        must(ops::clip(self, Some(&low), Some(&high)))
    }
    /// Whether each element is within `1e-5 · |other| + 1e-8` of the other's. [`ops::isclose`] takes the tolerances.
    #[track_caller]
    pub fn isclose(&self, other: &Array) -> Array {
        must(ops::isclose(self, other, 1e-5, 1e-8, false))
    }
    /// Whether [all](Self::isclose) elements are close: reads the value.
    ///
    /// ```
    /// use lazuli_core::array;
    /// assert!(array([1.0, 2.0]).allclose(&array([1.0, 2.000001])));
    /// ```
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the array has no value, as within a compiled function.
    #[track_caller]
    pub fn allclose(&self, other: &Array) -> bool {
        self.isclose(other).all(()).item()
    }

    /// Zeros of this shape.
    ///
    /// ```
    /// use lazuli_core::{Array, DType};
    /// assert_eq!(Array::zeros([2], DType::F32).to_vec::<f32>(), [0.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn zeros(shape: impl Extents, dtype: DType) -> Array {
        must(ops::zeros(shape, dtype))
    }
    /// Ones of this shape.
    #[track_caller]
    pub fn ones(shape: impl Extents, dtype: DType) -> Array {
        must(ops::ones(shape, dtype))
    }
    /// One value in an array of this shape.
    ///
    /// ```
    /// use lazuli_core::Array;
    /// assert_eq!(Array::full([2], 7).to_vec::<i32>(), [7, 7]);
    /// ```
    ///
    /// # Panics
    /// If `value` is an array that does not broadcast to the shape.
    #[track_caller]
    pub fn full(shape: impl Extents, value: impl Operand) -> Array {
        must(ops::broadcast_to(&value.array(None), shape))
    }
    /// The integers of a range, int32.
    ///
    /// ```
    /// use lazuli_core::Array;
    /// assert_eq!(Array::arange(1..4).to_vec::<i32>(), [1, 2, 3]);
    /// ```
    #[track_caller]
    pub fn arange(range: std::ops::Range<i32>) -> Array {
        must(ops::arange(range.start as f64, range.end as f64, 1.0, DType::I32))
    }
    /// `n` evenly spaced numbers from `start` to `stop`, both included, float32.
    ///
    /// ```
    /// use lazuli_core::Array;
    /// assert_eq!(Array::linspace(0.0, 1.0, 3).to_vec::<f32>(), [0.0, 0.5, 1.0]);
    /// ```
    #[track_caller]
    pub fn linspace(start: f64, stop: f64, n: usize) -> Array {
        must(ops::linspace(start, stop, n, DType::F32))
    }
    /// The identity matrix of `n` rows, float32.
    #[track_caller]
    pub fn eye(n: usize) -> Array {
        must(ops::eye(n, n, 0, DType::F32))
    }
    /// Zeros of the array's shape and dtype.
    #[track_caller]
    pub fn zeros_like(&self) -> Array {
        must(ops::full_like(self, Scalar::zero(self.dtype())))
    }
    /// Ones of the array's shape and dtype.
    #[track_caller]
    pub fn ones_like(&self) -> Array {
        must(ops::full_like(self, Scalar::one(self.dtype())))
    }
}

/// Joins arrays along an axis; dtypes promote.
///
/// ```
/// use lazuli_core::{array, concatenate};
/// assert_eq!(concatenate(&[array([1]), array([2, 3])], 0).to_vec::<i32>(), [1, 2, 3]);
/// ```
///
/// # Panics
/// If there are no arrays, or their shapes differ beside the axis.
#[track_caller]
pub fn concatenate(arrays: &[Array], axis: isize) -> Array {
    must(ops::concatenate(arrays, axis))
}

/// Joins arrays of one shape along a new axis.
///
/// ```
/// use lazuli_core::{array, stack};
/// assert_eq!(stack(&[array([1, 2]), array([3, 4])], 0).shape(), [2, 2]);
/// ```
///
/// # Panics
/// If there are no arrays, or their shapes differ.
#[track_caller]
pub fn stack(arrays: &[Array], axis: isize) -> Array {
    must(ops::stack(arrays, axis))
}

/// `a` where the condition holds, `b` elsewhere; the three broadcast. (`where` is a keyword of Rust.)
///
/// ```
/// use lazuli_core::{array, select};
/// let x = array([-1.0, 2.0]);
/// assert_eq!(select(x.greater(0.0), &x, 0.0).to_vec::<f32>(), [0.0, 2.0]);
/// ```
///
/// # Panics
/// If the shapes do not broadcast.
#[track_caller]
pub fn select(condition: impl Operand, a: impl Operand, b: impl Operand) -> Array {
    must(ops::select(condition, a, b))
}

/// Which axes a reduction runs over: `()` for all, one, or several; within [`keep`], they stay with extent 1.
///
/// ```
/// use lazuli_core::{array, keep};
/// let x = array([[1.0, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.sum(()).item::<f32>(), 10.0);
/// assert_eq!(x.sum(0).to_vec::<f32>(), [4.0, 6.0]);
/// assert_eq!(x.sum([0, 1]).ndim(), 0);
/// assert_eq!(x.sum(keep(-1)).shape(), [2, 1]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name axes",
    note = "axes are `()` for all of them, an integer, an array or vector of `isize`, or `keep` of one of these"
)]
pub trait Axes {
    /// `None` is all of them.
    fn axes(&self) -> Option<Vec<isize>>;
    /// Whether they stay, with extent 1.
    fn keepdims(&self) -> bool {
        false
    }
}

impl Axes for () {
    fn axes(&self) -> Option<Vec<isize>> {
        None
    }
}
impl Axes for isize {
    fn axes(&self) -> Option<Vec<isize>> {
        Some(vec![*self])
    }
}
impl Axes for i32 {
    fn axes(&self) -> Option<Vec<isize>> {
        Some(vec![*self as isize])
    }
}
impl<const N: usize> Axes for [isize; N] {
    fn axes(&self) -> Option<Vec<isize>> {
        Some(self.to_vec())
    }
}
impl Axes for &[isize] {
    fn axes(&self) -> Option<Vec<isize>> {
        Some(self.to_vec())
    }
}
impl Axes for Vec<isize> {
    fn axes(&self) -> Option<Vec<isize>> {
        Some(self.clone())
    }
}

/// Axes that stay with extent 1: see [`keep`].
#[derive(Debug, Clone, Copy)]
pub struct Keep<A>(A);

/// These axes, which a reduction leaves with extent 1: see [`Axes`].
pub fn keep<A: Axes>(axes: A) -> Keep<A> {
    Keep(axes)
}

impl<A: Axes> Axes for Keep<A> {
    fn axes(&self) -> Option<Vec<isize>> {
        self.0.axes()
    }
    fn keepdims(&self) -> bool {
        true
    }
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => { impl Array { $(
        $(#[doc = $doc])*
        #[track_caller]
        pub fn $name(&self, axes: impl Axes) -> Array {
            must(ops::$name(self, axes.axes().as_deref(), axes.keepdims()))
        }
    )* } };
}

reductions! {
    /// Sum over axes: see [`Axes`]. bool and integers below 32 bits sum in int32.
    sum;
    /// Product over axes.
    prod;
    /// Smallest element over axes; NaN if there is one.
    min;
    /// Largest element over axes; NaN if there is one.
    max;
    /// Arithmetic mean over axes; integers in float32.
    mean;
    /// Whether all elements over axes are true (not zero).
    all;
    /// Whether any element over axes is true (not zero).
    any;
}
