//! Extents of arrays as operations take them: numbers, or [`Dim`]s that stay symbolic in a shapeless trace.

use crate::array::Array;
use crate::ops::{Operand, Weak};
use crate::raise::must;
use crate::shapeless::{self, Relation, Side, Test};
use crate::trace;
use lazuli_ir::prims::NumberOfElements;
use lazuli_ir::{DType, Error, Kind, Result};
use smallvec::{SmallVec, smallvec};
use std::cmp::Ordering;
use std::fmt;

/// The extent of one axis of an array.
///
/// Passed to an operation that takes extents, or used as a number beside an array, it holds for whatever shape a
/// [shapeless](crate::Compiled::shapeless) function is called with. Comparing it fixes the outcome of the comparison; [`get`](Dim::get),
/// arithmetic and printing fix the number: later calls for which these differ are refused.
///
/// ```
/// use lazuli_core::{array, compile, ops, DType};
/// let center = compile(|x: &lazuli_core::Array| x - x.sum(()) / x.dim(0)).shapeless();
/// assert_eq!(center(&array([1.0, 3.0])).to_vec::<f32>(), [-1.0, 1.0]);
/// assert_eq!(center(&array([1.0, 2.0, 3.0])).to_vec::<f32>(), [-1.0, 0.0, 1.0]);
/// assert_eq!(center.traces(), 1);
/// ```
#[derive(Clone)]
pub struct Dim {
    pub(crate) array: Array,
    pub(crate) axis: usize,
}

impl Dim {
    /// The number. In a shapeless trace it is guarded: the function is refused for other extents.
    #[track_caller]
    pub fn get(&self) -> usize {
        shapeless::read(&self.array, self.axis);
        self.peek()
    }
    /// The number, for those who promise not to let a program depend on it.
    pub(crate) fn peek(&self) -> usize {
        self.array.aval().shape[self.axis]
    }
    /// The number in the trace that it was made in: for when that is over, and guarded it.
    pub fn was(&self) -> usize {
        self.peek()
    }
    /// Whether the extent may be another at later calls of what is being traced.
    pub fn is_symbolic(&self) -> bool {
        shapeless::is_symbolic(&self.array)
    }
    /// How it compares with a number; in a shapeless trace the outcome is guarded.
    #[track_caller]
    pub fn compare(&self, other: i64, asked: Ordering, or_equal: bool) -> bool {
        compare(self, Side::Number(other), asked, or_equal)
    }
    /// How it compares with another extent; in a shapeless trace the outcome is guarded.
    #[track_caller]
    pub fn compare_dim(&self, other: &Dim, asked: Ordering, or_equal: bool) -> bool {
        compare(self, Side::Extent(other.array.clone(), other.axis), asked, or_equal)
    }
}

/// Whether `left` is as asked against `right`: equal, less or greater, or one of the latter or equal.
#[track_caller]
fn compare(left: &Dim, right: Side<Array>, asked: Ordering, or_equal: bool) -> bool {
    let number = |s: &Side<Array>| match s {
        Side::Extent(a, axis) => a.aval().shape[*axis] as i64,
        Side::Number(n) => *n,
    };
    let symbolic = |s: &Side<Array>| matches!(s, Side::Extent(a, _) if shapeless::is_symbolic(a));
    let left = Side::Extent(left.array.clone(), left.axis);
    let order = number(&left).cmp(&number(&right));
    // a > b is not(a ≤ b), a ≥ b is not(a < b).
    let (relation, negated) = match (asked, or_equal) {
        (Ordering::Equal, _) => (Relation::Equal, false),
        (Ordering::Less, false) => (Relation::Less, false),
        (Ordering::Less, true) => (Relation::LessEqual, false),
        (Ordering::Greater, false) => (Relation::LessEqual, true),
        (Ordering::Greater, true) => (Relation::Less, true),
    };
    let outcome = relation.holds(order);
    if symbolic(&left) || symbolic(&right) {
        shapeless::record(Test { left, relation, right, outcome, location: trace::meta().location });
    }
    outcome != negated
}

impl Array {
    /// The extent of an axis (negative ones count from the end); it stays symbolic in a shapeless trace.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn dim(&self, axis: isize) -> Dim {
        let axis = must(lazuli_ir::shape::normalize_axis("dim", axis, self.ndim()));
        Dim { array: self.clone(), axis }
    }
    /// The extents of all axes.
    pub fn dims(&self) -> Vec<Dim> {
        (0..self.ndim()).map(|axis| Dim { array: self.clone(), axis }).collect()
    }
    /// Whether two arrays have the same extents; in a shapeless trace the outcome is guarded, not the numbers.
    #[track_caller]
    pub fn same_shape(&self, other: &Array) -> bool {
        match shapeless::is_symbolic(self) || shapeless::is_symbolic(other) {
            true => self.dims() == other.dims(),
            false => self.aval().shape == other.aval().shape,
        }
    }
    /// The number of one extent: guarded in a shapeless trace, as by [`shape`](Array::shape), but for this axis only.
    #[track_caller]
    pub(crate) fn extent(&self, axis: usize) -> usize {
        shapeless::read(self, axis);
        self.aval().shape[axis]
    }
}

impl fmt::Debug for Dim {
    #[track_caller]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}
impl fmt::Display for Dim {
    #[track_caller]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl PartialEq for Dim {
    #[track_caller]
    fn eq(&self, other: &Dim) -> bool {
        self.compare_dim(other, Ordering::Equal, true)
    }
}
impl PartialOrd for Dim {
    /// Reads both numbers: `<` and its like ask for less.
    #[track_caller]
    fn partial_cmp(&self, other: &Dim) -> Option<Ordering> {
        Some(self.get().cmp(&other.get()))
    }
    #[track_caller]
    fn lt(&self, other: &Dim) -> bool {
        self.compare_dim(other, Ordering::Less, false)
    }
    #[track_caller]
    fn le(&self, other: &Dim) -> bool {
        self.compare_dim(other, Ordering::Less, true)
    }
    #[track_caller]
    fn gt(&self, other: &Dim) -> bool {
        self.compare_dim(other, Ordering::Greater, false)
    }
    #[track_caller]
    fn ge(&self, other: &Dim) -> bool {
        self.compare_dim(other, Ordering::Greater, true)
    }
}

macro_rules! numbers {
    ($($t:ty)*) => { $(
        impl PartialEq<$t> for Dim {
            #[track_caller]
            fn eq(&self, other: &$t) -> bool { self.compare(*other as i64, Ordering::Equal, true) }
        }
        impl PartialOrd<$t> for Dim {
            #[track_caller]
            fn partial_cmp(&self, other: &$t) -> Option<Ordering> { Some((self.get() as i64).cmp(&(*other as i64))) }
            #[track_caller]
            fn lt(&self, other: &$t) -> bool { self.compare(*other as i64, Ordering::Less, false) }
            #[track_caller]
            fn le(&self, other: &$t) -> bool { self.compare(*other as i64, Ordering::Less, true) }
            #[track_caller]
            fn gt(&self, other: &$t) -> bool { self.compare(*other as i64, Ordering::Greater, false) }
            #[track_caller]
            fn ge(&self, other: &$t) -> bool { self.compare(*other as i64, Ordering::Greater, true) }
        }
        impl From<$t> for Extent {
            fn from(n: $t) -> Extent { Extent::Known(n as isize) }
        }
    )* };
}
numbers! { usize isize i32 i64 }

/// Arithmetic among extents is on their numbers, which are guarded.
macro_rules! arithmetic {
    ($($trait:ident $method:ident;)*) => { $(
        impl std::ops::$trait for Dim {
            type Output = isize;
            #[track_caller]
            fn $method(self, other: Dim) -> isize { (self.get() as isize).$method(other.get() as isize) }
        }
        impl std::ops::$trait<isize> for Dim {
            type Output = isize;
            #[track_caller]
            fn $method(self, other: isize) -> isize { (self.get() as isize).$method(other) }
        }
        impl std::ops::$trait<Dim> for isize {
            type Output = isize;
            #[track_caller]
            fn $method(self, other: Dim) -> isize { self.$method(other.get() as isize) }
        }
    )* };
}
arithmetic! { Add add; Sub sub; Mul mul; Div div; Rem rem; }

/// As a number beside an array it stays symbolic.
impl Operand for Dim {
    fn array(&self, beside: Option<DType>) -> Array {
        let weak = Weak::Int(self.peek() as i64);
        let dtype = weak.dtype_beside(beside);
        // Not through a count: it would wrap where the literal does, but the literal needs no kernel.
        if !self.is_symbolic() {
            return weak.array(beside);
        }
        let count = NumberOfElements { axes: smallvec![self.axis], dtype, literal: true };
        must(crate::ops::record(count, &[], &[&self.array])).remove(0)
    }
    fn dtype(&self) -> Option<DType> {
        None
    }
    #[track_caller]
    fn check(&self, op: &str, beside: Option<DType>) -> Result<()> {
        let weak = Weak::Int(self.peek() as i64);
        let dtype = weak.dtype_beside(beside);
        weak.checked_scalar(op, dtype).inspect_err(|_| shapeless::refused())?;
        // Another extent may be too large.
        let bits = 8 * dtype.itemsize() - usize::from(dtype.kind() == Kind::Signed);
        if dtype.is_integer() && bits < 63 {
            self.compare((1i64 << bits) - 1, Ordering::Less, true);
        }
        Ok(())
    }
}

/// An extent that an operation is asked for: a number (−1 for one that follows, where the operation says so), or a [`Dim`].
#[derive(Debug, Clone)]
pub enum Extent {
    /// A number.
    Known(isize),
    /// The extent of an array's axis.
    Of(Dim),
}

impl From<Dim> for Extent {
    fn from(d: Dim) -> Extent {
        Extent::Of(d)
    }
}
impl From<&Dim> for Extent {
    fn from(d: &Dim) -> Extent {
        Extent::Of(d.clone())
    }
}

impl Extent {
    /// The number, guarded if it is symbolic.
    #[track_caller]
    pub fn get(&self) -> isize {
        match self {
            Extent::Known(n) => *n,
            Extent::Of(d) => d.get() as isize,
        }
    }
}

/// Extents for a shape: slices, arrays and vectors of numbers or [`Dim`]s, and tuples of both.
///
/// ```
/// use lazuli_core::{array, ops, DType};
/// let x = array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
/// assert_eq!(x.reshape((x.dim(1), -1)).shape(), [3, 2]);
/// assert_eq!(ops::zeros([x.dim(0)], DType::F32)?.shape(), [2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a shape",
    note = "a shape is one argument: an array, a slice, a vector or a tuple of extents, like `[2, 3]` or `(x.dim(0), -1)`; of one axis it is `[3]`"
)]
pub trait Extents {
    /// The extents, in order.
    fn extents(&self) -> Vec<Extent>;
}

impl<T: Clone + Into<Extent>> Extents for [T] {
    fn extents(&self) -> Vec<Extent> {
        self.iter().cloned().map(Into::into).collect()
    }
}
impl<T: Clone + Into<Extent>, const N: usize> Extents for [T; N] {
    fn extents(&self) -> Vec<Extent> {
        self.as_slice().extents()
    }
}
impl<T: Clone + Into<Extent>> Extents for Vec<T> {
    fn extents(&self) -> Vec<Extent> {
        self.as_slice().extents()
    }
}
impl Extents for lazuli_ir::Shape {
    fn extents(&self) -> Vec<Extent> {
        self.as_slice().extents()
    }
}
impl<E: Extents + ?Sized> Extents for &E {
    fn extents(&self) -> Vec<Extent> {
        (**self).extents()
    }
}

macro_rules! tuples {
    ($($($t:ident)*;)*) => { $(
        impl<$($t: Clone + Into<Extent>),*> Extents for ($($t,)*) {
            #[allow(non_snake_case, reason = "named as their types are")]
            fn extents(&self) -> Vec<Extent> {
                let ($($t,)*) = self;
                vec![$($t.clone().into()),*]
            }
        }
    )* };
}
tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }

/// Extents as a primitive takes them: its parameters, the arrays that they speak of, and which one follows from the others.
pub(crate) struct Resolved {
    pub dims: SmallVec<[lazuli_ir::Dim; 4]>,
    pub shapes: SmallVec<[Array; 1]>,
    pub infer: Option<usize>,
}

impl Resolved {
    /// `infers`: whether one of them may be −1.
    pub fn new(op: &str, to: &[Extent], infers: bool) -> Result<Resolved> {
        let mut out = Resolved { dims: SmallVec::new(), shapes: SmallVec::new(), infer: None };
        for (i, extent) in to.iter().enumerate() {
            out.dims.push(match extent {
                Extent::Of(d) if d.is_symbolic() => {
                    let known = out.shapes.iter().position(|a| a.id() == d.array.id());
                    let operand = known.unwrap_or_else(|| {
                        out.shapes.push(d.array.clone());
                        out.shapes.len() - 1
                    });
                    lazuli_ir::Dim::Of { operand: operand as u32, axis: d.axis as u32 }
                }
                Extent::Of(d) => d.peek().into(),
                Extent::Known(n @ 0..) => (*n as usize).into(),
                Extent::Known(-1) if infers && out.infer.is_none() => {
                    out.infer = Some(i);
                    1.into()
                }
                Extent::Known(_) => {
                    let shape: Vec<isize> = to.iter().map(Extent::get).collect();
                    let but = if infers { ", but for one -1 that follows from the size" } else { "" };
                    return Err(Error::value(op, format!("shape {shape:?}: extents are not negative{but}")));
                }
            });
        }
        Ok(out)
    }
    /// Whether none of the extents is symbolic.
    pub fn is_known(&self) -> bool {
        self.shapes.is_empty()
    }
    /// The numbers.
    pub fn peek(&self) -> lazuli_ir::Shape {
        let avals: SmallVec<[&lazuli_ir::Aval; 1]> = self.shapes.iter().map(|a| a.aval()).collect();
        self.dims.iter().map(|d| d.resolve(&avals)).collect()
    }
    pub fn operands(&self) -> SmallVec<[&Array; 1]> {
        self.shapes.iter().collect()
    }
}
