//! How arrays print: as MLX prints them.

use crate::array::Array;
use crate::trace::Read;
use lazuli_ir::ErrorKind;
pub use lazuli_kernel::text::{precision, scalar, set_precision};
use std::fmt;

/// `array([1, 2], dtype=float32)`.
///
/// # Panics
/// If the array is a placeholder of a trace, live or past: it has no value. `{:?}` prints what is known of any array.
impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format(self) {
            Ok(text) => f.write_str(&text),
            Err(e) if matches!(e.kind(), ErrorKind::TracedRead | ErrorKind::LeakedTracer) => crate::raise::must(Err(e)),
            Err(_) => fmt::Debug::fmt(self, f),
        }
    }
}

/// What is known without running anything.
impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.is_evaluated() {
            true => "evaluated",
            false => "lazy",
        };
        write!(f, "Array({}, {what})", self.aval())
    }
}

/// The printed form; runs what is needed.
pub fn format(a: &Array) -> lazuli_ir::Result<String> {
    Ok(lazuli_kernel::text::array(a.dtype(), a.shape(), &Read::PRINT.of(|| a.try_to_bytes())?))
}
