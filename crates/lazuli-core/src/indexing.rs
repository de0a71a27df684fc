//! Indices as they are written in Rust: `x.index((0, 1..3, NewAxis))`.
//!
//! An index is one item or a tuple of them: integers (which may count from the end), ranges, [`step`], [`NewAxis`], [`Ellipsis`], and
//! arrays of integers, with NumPy's meaning. Absent: boolean masks, whose result has no shape before it is computed.

use crate::array::Array;
use crate::ops::{self, Item, Operand};
use crate::raise::must;
use lazuli_ir::prims::Bound;
use lazuli_kernel::ScatterOp;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// In an index: a new axis of extent 1.
#[derive(Debug, Clone, Copy)]
pub struct NewAxis;

/// In an index: as many full ranges as are missing.
#[derive(Debug, Clone, Copy)]
pub struct Ellipsis;

/// One item of an index.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an item of an index",
    note = "items are integers, ranges, `step(range, by)`, `NewAxis`, `Ellipsis` and `&Array`"
)]
pub trait IndexItem {
    /// The item in its general form.
    fn item(self) -> Item;
}

/// An index: one item, or a tuple or slice of items.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an index",
    note = "an index is one item or a tuple of them: integers, ranges, `step(range, by)`, `NewAxis`, `Ellipsis`, `&Array`"
)]
pub trait IntoIndex {
    /// The items.
    fn items(self) -> Vec<Item>;
}

macro_rules! integers {
    ($($t:ty)*) => { $(
        impl IndexItem for $t {
            fn item(self) -> Item { Item::Int(self as isize) }
        }
        integers! { @ranges $t, |r|
            Range<$t> => Some(r.start), Some(r.end);
            RangeFrom<$t> => Some(r.start), None;
            RangeTo<$t> => None, Some(r.end);
        }
        impl IndexItem for RangeInclusive<$t> {
            fn item(self) -> Item { Item::Slice(bound(Some(*self.start() as isize), behind(*self.end() as isize))) }
        }
        impl IndexItem for RangeToInclusive<$t> {
            fn item(self) -> Item { Item::Slice(bound(None, behind(self.end as isize))) }
        }
    )* };
    (@ranges $t:ty, |$r:ident| $($range:ty => $start:expr, $stop:expr;)*) => { $(
        impl IndexItem for $range {
            fn item(self) -> Item {
                let $r = self;
                let (start, stop): (Option<$t>, Option<$t>) = ($start, $stop);
                Item::Slice(bound(start.map(|i| i as isize), stop.map(|i| i as isize)))
            }
        }
    )* };
}

integers! { i32 isize usize }

fn bound(start: Option<isize>, stop: Option<isize>) -> Bound {
    Bound { start, stop, step: 1 }
}

/// The position behind this one; that behind the last is the end.
fn behind(last: isize) -> Option<isize> {
    (last != -1).then_some(last.saturating_add(1))
}

macro_rules! items {
    ($($t:ty => |$x:ident| $item:expr;)*) => { $(
        impl IndexItem for $t {
            fn item(self) -> Item { let $x = self; $item }
        }
    )* };
}

items! {
    RangeFull => |_x| Item::Slice(Bound::ALL);
    NewAxis => |_x| Item::NewAxis;
    Ellipsis => |_x| Item::Ellipsis;
    &Array => |x| Item::Array(x.clone());
    Array => |x| Item::Array(x);
    Item => |x| x;
}

impl<T: IndexItem> IntoIndex for T {
    fn items(self) -> Vec<Item> {
        vec![self.item()]
    }
}

impl IntoIndex for &[Item] {
    fn items(self) -> Vec<Item> {
        self.to_vec()
    }
}

impl<const N: usize> IntoIndex for &[Item; N] {
    fn items(self) -> Vec<Item> {
        self.to_vec()
    }
}

macro_rules! tuples {
    ($($($T:ident $i:tt)+;)*) => { $(
        impl<$($T: IndexItem),+> IntoIndex for ($($T,)+) {
            fn items(self) -> Vec<Item> { vec![$(self.$i.item()),+] }
        }
    )* };
}

tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
}

/// In an index: every `by`-th position of a range, backwards if `by` is negative, as Python's `start:stop:by`.
///
/// ```
/// use lazuli_core::{array, step};
/// let x = array([0, 1, 2, 3, 4]);
/// assert_eq!(x.index(step(.., 2)).to_vec::<i32>(), [0, 2, 4]);
/// assert_eq!(x.index(step(.., -1)).to_vec::<i32>(), [4, 3, 2, 1, 0]);
/// ```
///
/// # Panics
/// If `by` is 0, or `range` is no range.
#[track_caller]
pub fn step(range: impl IndexItem, by: isize) -> Item {
    assert!(by != 0, "[step] a step of 0 goes nowhere");
    match range.item() {
        Item::Slice(bound) => Item::Slice(Bound { step: by, ..bound }),
        other => panic!("[step] expected a range, got {other:?}"),
    }
}

impl Array {
    /// What an index names: integers drop their axis, ranges keep it, arrays of integers pick elements; axes that it does not mention
    /// stay whole.
    ///
    /// ```
    /// use lazuli_core::{Ellipsis, NewAxis, array};
    /// let x = array([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.index((1, 0)).item::<i32>(), 4);
    /// assert_eq!(x.index((.., 1..)).to_vec::<i32>(), [2, 3, 5, 6]);
    /// assert_eq!(x.index((Ellipsis, -1)).to_vec::<i32>(), [3, 6]);
    /// assert_eq!(x.index((NewAxis, 0)).shape(), [1, 3]);
    /// assert_eq!(x.index((.., &array([2, 0]))).to_vec::<i32>(), [3, 1, 6, 4]);
    /// ```
    ///
    /// # Panics
    /// If there are more items than axes, an integer is out of bounds, or an array is not of integers. [`ops::get`] returns an error.
    #[track_caller]
    pub fn index(&self, index: impl IntoIndex) -> Array {
        must(ops::get(self, &index.items()))
    }
    /// The array with `value` put where the index points; `value` broadcasts to that part. The array itself does not change.
    ///
    /// ```
    /// let x = lazuli_core::array([[1, 2], [3, 4]]);
    /// assert_eq!(x.set((.., 0), 7).to_vec::<i32>(), [7, 2, 7, 4]);
    /// ```
    ///
    /// # Panics
    /// As [`index`](Self::index), and if `value` does not broadcast. [`ops::update`] returns an error.
    #[track_caller]
    pub fn set(&self, index: impl IntoIndex, value: impl Operand) -> Array {
        must(ops::update(self, &index.items(), &value.array(Some(self.dtype())), ScatterOp::Assign))
    }
    /// The array with `value` added where the index points, as often as it does.
    ///
    /// ```
    /// use lazuli_core::array;
    /// let counts = array([0, 0, 0]).add_at(&array([1, 1, 2]), 1);
    /// assert_eq!(counts.to_vec::<i32>(), [0, 2, 1]);
    /// ```
    ///
    /// # Panics
    /// As [`set`](Self::set).
    #[track_caller]
    pub fn add_at(&self, index: impl IntoIndex, value: impl Operand) -> Array {
        must(ops::update(self, &index.items(), &value.array(Some(self.dtype())), ScatterOp::Add))
    }
}
