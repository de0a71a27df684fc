//! Arrays from numbers and nested lists written in the program: [`array`].

use crate::array::Array;
use crate::element::Element;
use crate::raise::must;
use lazuli_ir::{Error, Result, shape};

/// A number, or nested lists of numbers of one shape.
///
/// `f64` is left out so that `1.0` is a `float32`, the default: see [`Array::from_slice`] for other dtypes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number or a list from which `array` makes an array",
    note = "`array` takes `f32`, `i32`, `bool`, and arrays, vectors and slices of them, nested or not; for elements of other types there is `Array::from_slice(&data, &shape)`"
)]
pub trait Literal {
    /// The type of the numbers.
    type Element: Element;
    /// The shape, told by the first of each list.
    fn shape(&self, into: &mut Vec<usize>);
    /// The elements in row-major order; an error if `shape` is not that of this part.
    fn elements(&self, shape: &[usize], into: &mut Vec<Self::Element>) -> Result<()>;
}

macro_rules! numbers {
    ($($t:ty),*) => { $(
        impl Literal for $t {
            type Element = $t;
            fn shape(&self, _: &mut Vec<usize>) {}
            fn elements(&self, _: &[usize], into: &mut Vec<$t>) -> Result<()> {
                into.push(*self);
                Ok(())
            }
        }
    )* };
}

numbers! { f32, i32, bool }

impl<T: Literal> Literal for [T] {
    type Element = T::Element;
    fn shape(&self, into: &mut Vec<usize>) {
        into.push(self.len());
        if let Some(first) = self.first() {
            first.shape(into);
        }
    }
    fn elements(&self, shape: &[usize], into: &mut Vec<T::Element>) -> Result<()> {
        if shape.first() != Some(&self.len()) {
            return Err(Error::value(
                "array",
                format!(
                    "a list has {} items beside lists of shape {}: lists must have one shape",
                    self.len(),
                    shape::show(shape)
                ),
            ));
        }
        self.iter().try_for_each(|x| x.elements(&shape[1..], into))
    }
}

macro_rules! lists {
    ($([$($generics:tt)*] $t:ty;)*) => { $(
        impl<$($generics)*> Literal for $t {
            type Element = T::Element;
            fn shape(&self, into: &mut Vec<usize>) {
                self[..].shape(into);
            }
            fn elements(&self, shape: &[usize], into: &mut Vec<T::Element>) -> Result<()> {
                self[..].elements(shape, into)
            }
        }
    )* };
}

lists! { [T: Literal] Vec<T>; [T: Literal, const N: usize] [T; N]; }

impl<T: Literal + ?Sized> Literal for &T {
    type Element = T::Element;
    fn shape(&self, into: &mut Vec<usize>) {
        (**self).shape(into);
    }
    fn elements(&self, shape: &[usize], into: &mut Vec<T::Element>) -> Result<()> {
        (**self).elements(shape, into)
    }
}

/// An array of a number, or of nested lists of numbers.
///
/// ```
/// use lazuli_core::array;
/// assert_eq!(array(2.5).to_string(), "array(2.5, dtype=float32)");
/// assert_eq!(array([[1, 2, 3], [4, 5, 6]]).shape(), [2, 3]);
/// let rows = vec![vec![true], vec![false]];
/// assert_eq!(array(&rows).shape(), [2, 1]);
/// ```
///
/// # Panics
/// If lists at one depth have different lengths.
#[track_caller]
pub fn array(value: impl Literal) -> Array {
    let (mut shape, mut elements) = (Vec::new(), Vec::new());
    value.shape(&mut shape);
    must(value.elements(&shape, &mut elements));
    Array::from_slice(&elements, &shape)
}
