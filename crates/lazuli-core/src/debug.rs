//! Printing values of arrays while a program runs.

use crate::array::Array;
use crate::raise::must;
use crate::trace;
use lazuli_ir::Result;
use lazuli_ir::prims::DebugPrint;
pub use lazuli_kernel::host::{Writer, set_writer};
use smallvec::SmallVec;

/// Prints a line to the standard output, or to where [`set_writer`] says: the format with the arrays' values in place of `{}`, or of `{0}`, `{1}`, ….
///
/// Otherwise than `println!` it can be used where values are not known yet: in a compiled function it prints at every call, in a function
/// that is vectorised a line for each element of the batch, and of what is differentiated the values, once. Prints happen in the order of the
/// program, when the function is called, whatever becomes of its results.
///
/// An array without axes prints as a number; `{:.3}` and the like format numbers as Python does; `{!r}` prints as `println!` would. `{{` and `}}`
/// are braces.
///
/// ```
/// use lazuli_core::debug::{self, Writer};
/// use lazuli_core::{Array, array, compile};
/// use std::sync::{Arc, Mutex};
/// let seen: Arc<Mutex<String>> = Arc::default();
/// let to = seen.clone();
/// debug::set_writer(Some(Writer::new(move |line| Ok(to.lock().unwrap().push_str(line)))));
///
/// let f = compile(|x: &Array| {
///     let y = x.square();
///     debug::print("x = {}, its square {:.2f}", &[x, &y]);
///     y + 1.0
/// });
/// f(&array(2.0));
/// f(&array(3.0));
/// assert_eq!(*seen.lock().unwrap(), "x = 2.0, its square 4.00\nx = 3.0, its square 9.00\n");
/// ```
///
/// # Panics
/// If the format is not well formed or does not fit the arrays, or the line cannot be written.
#[track_caller]
pub fn print(format: &str, values: &[&Array]) {
    must(try_print(format, values));
}

/// As [`print`].
///
/// # Errors
/// Where `print` panics.
#[track_caller]
pub fn try_print(format: &str, values: &[&Array]) -> Result<()> {
    let print = DebugPrint::new(format, &values.iter().map(|a| a.aval()).collect::<Vec<_>>())?;
    let inputs = values.iter().map(|&a| a.clone()).collect();
    trace::record(print.into(), inputs, SmallVec::new(), SmallVec::new(), trace::meta()).map(drop)
}
