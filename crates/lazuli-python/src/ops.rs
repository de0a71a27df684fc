//! The functions of arrays: those of the op table by its macro, the others row by row. Each row is a function, and with `methods!` a
//! method of arrays too.
//!
//! A row's signature is written once, in Python's words: PyO3 parses arguments by it and Python shows it. An argument that a row does not
//! have is answered with the name that it has here ([`crate::errors::unknown`]).
//!
//! The examples of the documentation are run by the suite of the Python package.

use crate::array::PyArray;
use crate::convert::{Arg, Ints, dtype_or};
use crate::dtype::PyDtype;
use crate::errors::run;
use lazuli_core::{Array, DType, Scalar, Weak, ops};
use pyo3::prelude::*;

/// Python's words for truth values, so that a signature reads the same to Rust and to Python.
#[allow(non_upper_case_globals)]
mod words {
    pub const True: bool = true;
    pub const False: bool = false;
}

/// The first line of a documentation: Python takes the signature from it.
macro_rules! signature {
    ($name:expr, $first:literal, $($sig:tt)*) => { concat!($name, "(", $first, stringify!($($sig)*), ", stream=None)\n--\n") };
}

/// Functions, each with its signature, the types of its arguments, and what it does.
macro_rules! functions {
    ($add:ident; $($(#[doc = $doc:literal])* fn $name:ident($($sig:tt)*) [$($params:tt)*] -> $out:ty { $($body:tt)* })*) => {
        $(
            #[doc = signature!(stringify!($name), "", $($sig)*)]
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3(signature = ($($sig)*, stream=None, **unknown), text_signature = None)]
            #[allow(clippy::too_many_arguments)]
            fn $name($($params)*, stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<$out> {
                let _ = stream;
                errors::unknown(stringify!($name), unknown)?;
                $($body)*
            }
        )*
        pub fn $add(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
    };
}

/// The name of a row in Python, which follows Rust's where that is another.
macro_rules! named {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $py:literal) => {
        $py
    };
}

/// Functions of one array and other arguments, which are methods of arrays too.
macro_rules! methods {
    ($add:ident; $($(#[doc = $doc:literal])* fn $name:ident $(as $py:literal)? ($($sig:tt)*) [$a:ident $(, $($params:tt)*)?] -> $out:ty { $($body:tt)* })*) => {
        $(
            #[doc = signature!(named!($name $($py)?), "a, ", $($sig)*)]
            $(#[doc = $doc])*
            #[pyfunction]
            #[pyo3($(name = $py,)? signature = (a, $($sig)*, stream=None, **unknown), text_signature = None)]
            fn $name(a: ArrayLike, $($($params)*,)? stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<$out> {
                let _ = stream;
                errors::unknown(named!($name $($py)?), unknown)?;
                let $a = &a.0;
                $($body)*
            }
        )*
        pub fn $add(m: &Bound<'_, PyModule>) -> PyResult<()> {
            $( m.add_function(wrap_pyfunction!($name, m)?)?; )*
            Ok(())
        }
        #[pymethods]
        impl PyArray { $(
            #[doc = signature!(named!($name $($py)?), "$self, ", $($sig)*)]
            $(#[doc = $doc])*
            #[pyo3($(name = $py,)? signature = ($($sig)*, stream=None, **unknown), text_signature = None)]
            fn $name(&self, $($($params)*,)? stream: Option<On>, unknown: Option<&Bound<'_, PyDict>>) -> PyResult<$out> {
                let _ = stream;
                errors::unknown(named!($name $($py)?), unknown)?;
                let $a = &self.get();
                $($body)*
            }
        )* }
    };
}

mod contract;
mod create;
mod elementwise;
mod reduce;
mod select;
mod shape;
mod values;

/// Axes as the core takes them.
fn axes(axis: &Option<Ints>) -> Option<&[isize]> {
    axis.as_ref().map(|a| &a.0[..])
}

/// A number, or an array of one element, as a scalar of a dtype.
fn scalar(op: &str, v: &Arg, dtype: DType) -> PyResult<Scalar> {
    match v {
        Arg::Weak(w) => run(|| w.checked_scalar(op, dtype)),
        Arg::Dim(d) => run(|| Weak::from(d.get()).checked_scalar(op, dtype)),
        Arg::Array(a) => run(|| ops::astype(a, dtype)?.try_item_scalar()),
        Arg::Number(n) => run(|| n.array_of(dtype).try_item_scalar()),
    }
}

/// Arrays of the core as Python's.
fn wrapped(arrays: Vec<Array>) -> Vec<PyArray> {
    arrays.into_iter().map(PyArray::new).collect()
}

/// The dtype that arrays and dtypes promote to.
///
/// Args:
///     *arrays_and_dtypes: arrays, dtypes and numbers; numbers take the dtype of the arrays beside them if it can hold their kind.
///
/// Returns:
///     Dtype: what an operation on them is computed in; float32 if there are none.
///
/// Example:
///     >>> import lazuli.core as mx
///     >>> mx.result_type(mx.array(1), mx.float16)
///     lazuli.core.float16
#[pyfunction]
#[pyo3(signature = (*arrays_and_dtypes))]
fn result_type(arrays_and_dtypes: Vec<Bound<'_, PyAny>>) -> PyResult<PyDtype> {
    let mut numbers = Vec::new();
    let mut found = None;
    for v in &arrays_and_dtypes {
        let dtype = match v.cast::<PyDtype>() {
            Ok(d) => d.get().0,
            Err(_) => match v.extract::<Arg>()? {
                Arg::Array(a) => a.dtype(),
                Arg::Weak(w) => {
                    numbers.push(w);
                    continue;
                }
                Arg::Dim(d) => {
                    numbers.push(d.get().into());
                    continue;
                }
                Arg::Number(n) => {
                    numbers.push(n.kind());
                    continue;
                }
            },
        };
        found = Some(found.map_or(dtype, |d: DType| d.promote(dtype)));
    }
    let all = numbers.iter().map(|w| w.dtype_beside(found)).chain(found).reduce(DType::promote);
    Ok(PyDtype(all.unwrap_or(dtype_or(None, DType::F32))))
}

pub fn add_to(m: &Bound<'_, PyModule>) -> PyResult<()> {
    elementwise::add_to(m)?;
    values::add_to(m)?;
    reduce::add_to(m)?;
    shape::add_to(m)?;
    create::add_to(m)?;
    select::add_to(m)?;
    contract::add_to(m)?;
    m.add_function(wrap_pyfunction!(result_type, m)?)
}
