//! The functions of the op table, and the methods that some of them are.

use crate::array::{PyArray, wrap};
use crate::convert::{Arg, ArrayLike, On};
use crate::errors;
use lazuli_core::ops;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What the documentation says of the dtypes that an op accepts.
macro_rules! accepted {
    (Any) => {
        "of any dtype"
    };
    (Number) => {
        "of any dtype but bool"
    };
    (Real) => {
        "of integers or floats; bool counts as int32"
    };
    (Ordered) => {
        "of any dtype but complex64"
    };
    (Inexact) => {
        "of floats or complex numbers; integers and bool are converted to float32"
    };
    (Float) => {
        "of floats; integers and bool are converted to float32"
    };
    (Integer) => {
        "of integers; bool counts as int32"
    };
    (Bits) => {
        "of integers or bool"
    };
    (Bool) => {
        "of bool"
    };
    (Float32) => {
        "of float32, to which integers, bool and narrower floats are converted"
    };
}

/// What it says of the dtype of the result.
macro_rules! given {
    (Same) => {
        "in the dtype of the (converted) operands"
    };
    (Bool) => {
        "of bool"
    };
    (RealPart) => {
        "in the operand's dtype; float32 for complex64"
    };
    (Complex) => {
        "of complex64"
    };
}

/// What it says of errors.
macro_rules! refused {
    (Any) => {
        ""
    };
    ($other:ident) => {
        "    ValueError: an operand has a dtype that the function is not defined on.\n"
    };
}

macro_rules! raises {
    (1 Any) => { "" };
    (1 $accepts:ident) => { concat!("\nRaises:\n", refused!($accepts)) };
    ($n:tt $accepts:ident) => {
        concat!("\nRaises:\n    ValueError: the shapes do not broadcast, or an integer written in the program does not fit the array's dtype.\n",
            refused!($accepts))
    };
}

macro_rules! table_functions {
    ($($(#[$meta:meta])* $family:ident[$n:tt] { $($variant:ident $name:ident $doc:literal {
        example: [$($operand:literal),*] => $result:literal, accepts: $accepts:ident, gives: $gives:ident, $($rest:tt)*
    })* })*) => {
        $( table_functions!(@ [$n] $($name, concat!(
            $doc, "\n\nArgs:\n    ", table_functions!(@operands [$n]), " ", accepted!($accepts), ".\n\nReturns:\n    array: ", given!($gives), ".\n",
            raises!($n $accepts), "\nExample:\n    >>> import lazuli.core as mx\n    >>> mx.", stringify!($name), "(",
            table_functions!(@calls $($operand)*), ")\n    ", $result
        ); )*); )*
    };
    (@operands [1]) => { "a: an array or a number," };
    (@operands [2]) => { "a, b: arrays or numbers whose shapes broadcast; their dtypes promote;" };
    (@operands [3]) => { "condition: an array, true where its elements are not 0.\n    a, b: arrays or numbers; the shapes of all three broadcast; the dtypes of these two promote;" };
    (@calls $first:literal $($more:literal)*) => { concat!("mx.array(", $first, ")" $(, ", mx.array(", $more, ")")*) };
    (@ [1] $($name:ident, $doc:expr;)*) => {
        $(
            #[doc = signature!(stringify!($name), "", a, *)]
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (a, *, stream=None, **unknown), text_signature = None)]
            fn $name(a: ArrayLike, stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<PyArray> {
                let _ = stream;
                errors::unknown(stringify!($name), unknown)?;
                wrap(|| ops::$name(&a.0))
            }
        )*
        fn add_unary(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
    (@ [2] $($name:ident, $doc:expr;)*) => {
        $(
            #[doc = signature!(stringify!($name), "", a, b)]
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (a, b, stream=None, **unknown), text_signature = None)]
            fn $name(a: Arg, b: Arg, stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<PyArray> {
                let _ = stream;
                errors::unknown(stringify!($name), unknown)?;
                wrap(|| ops::$name(&a, &b))
            }
        )*
        fn add_binary(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
    // The one op of three operands is a keyword in Rust.
    (@ [3] $name:ident, $doc:expr;) => {
        #[doc = signature!(stringify!($name), "", condition, x, y, /, *)]
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(name = "where", signature = (condition, x, y, /, *, stream=None, **unknown), text_signature = None)]
        fn select(condition: Arg, x: Arg, y: Arg, stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<PyArray> {
            let _ = stream;
            errors::unknown(stringify!($name), unknown)?;
            wrap(|| ops::select(&condition, &x, &y))
        }
    };
}

lazuli_ir::elementwise_table!(table_functions);

macro_rules! unary_methods {
    ($($name:ident)*) => {
        #[pymethods]
        impl PyArray { $(
            #[doc = concat!(
                stringify!($name), "($self, *, stream=None)\n--\n\nThe function ``", stringify!($name), "`` of the array, element by element: ``mx.",
                stringify!($name), "(x)``, which says more.\n\nExample:\n    >>> import lazuli.core as mx\n    >>> x = mx.array([0.25, 1.0])\n",
                "    >>> mx.array_equal(x.", stringify!($name), "(), mx.", stringify!($name), "(x))\n    array(True, dtype=bool)"
            )]
            #[pyo3(signature = (*, stream=None, **unknown), text_signature = None)]
            fn $name(&self, stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<PyArray> {
                let _ = stream;
                errors::unknown(stringify!($name), unknown)?;
                let a = self.get();
                wrap(|| ops::$name(&a))
            }
        )* }
    };
}

unary_methods! { abs cos exp log log10 log1p log2 reciprocal rsqrt sin sqrt square }

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_unary(m)?;
    add_binary(m)?;
    m.add_function(wrap_pyfunction!(select, m)?)
}
