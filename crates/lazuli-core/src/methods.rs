//! Methods and operators: over the fallible functions of [`crate::ops`], panicking at the caller's line on a programmer's error such
//! as a shape mismatch.

use crate::array::Array;
use crate::dim::{Dim, Extents};
use crate::ops::{self, Item, Operand};
use crate::raise::must;
use lazuli_ir::prims::Bound;
use lazuli_ir::{Binary, DType};
use lazuli_kernel::ScatterOp;
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

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident;)*) => { $(
        operators!(@arrays $trait $method $op Array &Array);
        operators!(@numbers $trait $method $op f32 f64 i32 i64 Dim);
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
    #[track_caller]
    pub fn eval(&self) -> &Array {
        must(crate::eval(std::slice::from_ref(self)));
        self
    }
    #[track_caller]
    pub fn astype(&self, dtype: DType) -> Array {
        must(ops::astype(self, dtype))
    }
    /// One extent may be −1: it follows from the others.
    #[track_caller]
    pub fn reshape(&self, shape: impl Extents) -> Array {
        must(ops::reshape(self, shape))
    }
    /// The axes in reverse order.
    #[track_caller]
    pub fn t(&self) -> Array {
        must(ops::transpose(self, None))
    }
    #[track_caller]
    pub fn transpose<const N: usize>(&self, axes: [isize; N]) -> Array {
        must(ops::transpose(self, Some(&axes)))
    }
    /// Merges the axes of the range into one.
    #[track_caller]
    pub fn flatten(&self, axes: std::ops::RangeInclusive<isize>) -> Array {
        must(ops::flatten(self, *axes.start(), *axes.end()))
    }
    /// Without the axes of extent 1.
    #[track_caller]
    pub fn squeeze(&self) -> Array {
        must(ops::squeeze(self, None))
    }
    #[track_caller]
    pub fn expand_dims<const N: usize>(&self, axes: [isize; N]) -> Array {
        must(ops::expand_dims(self, &axes))
    }
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Extents) -> Array {
        must(ops::broadcast_to(self, shape))
    }
    /// Product of matrices in the last two axes.
    #[track_caller]
    pub fn matmul(&self, other: &Array) -> Array {
        must(ops::matmul(self, other))
    }
    /// Elements at integer positions along an axis.
    #[track_caller]
    pub fn take(&self, indices: &Array, axis: isize) -> Array {
        must(ops::take(self, indices, Some(axis)))
    }
    /// The part of axis `axis` from `start` up to `stop`.
    #[track_caller]
    pub fn slice_axis(&self, axis: isize, start: isize, stop: isize) -> Array {
        must(ops::slice_axis(self, axis, Bound { start: Some(start), stop: Some(stop), step: 1 }))
    }
    /// What an index names: see [`Item`].
    #[track_caller]
    pub fn index(&self, items: &[Item]) -> Array {
        must(ops::get(self, items))
    }
    /// The array with `value` put where the index points.
    #[track_caller]
    pub fn set(&self, items: &[Item], value: &Array) -> Array {
        must(ops::update(self, items, value, ScatterOp::Assign))
    }
    #[track_caller]
    pub fn softmax(&self, axes: impl Axes) -> Array {
        must(ops::softmax(self, axes.axes().as_deref(), false))
    }
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Axes) -> Array {
        must(ops::logsumexp(self, axes.axes().as_deref(), false))
    }
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> Array {
        must(ops::argmax(self, Some(axis), false))
    }
    #[track_caller]
    pub fn argmin(&self, axis: isize) -> Array {
        must(ops::argmin(self, Some(axis), false))
    }
}

/// Which axes a reduction runs over: `()` for all, one, or several.
pub trait Axes {
    /// `None` is all of them.
    fn axes(&self) -> Option<Vec<isize>>;
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

macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => { impl Array { $(
        $(#[doc = $doc])*
        #[track_caller]
        pub fn $name(&self, axes: impl Axes) -> Array { must(ops::$name(self, axes.axes().as_deref(), false)) }
    )* } };
}

reductions! {
    /// Sum over axes; `()` is all of them.
    sum;
    /// Product over axes.
    prod;
    /// Smallest element over axes.
    min;
    /// Largest element over axes.
    max;
    /// Mean over axes.
    mean;
    /// Whether all are true.
    all;
    /// Whether any is true.
    any;
}
