//! From errors to panics and back: methods panic at the caller's line, and [`catch`] makes a `Result` of that again.

use crate::shapeless;
use lazuli_ir::{Error, Location, Result};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    /// How many calls of [`catch`] are live on this thread.
    static CATCHING: Cell<usize> = const { Cell::new(0) };
}

/// The value, or a panic at the caller's line with the error's text.
///
/// # Panics
/// If `result` is an error. Within [`catch`], the error itself is the payload, and nothing is printed.
#[track_caller]
pub fn must<T>(result: Result<T>) -> T {
    match result.inspect_err(|_| shapeless::refused()) {
        Ok(value) => value,
        Err(error) if CATCHING.get() > 0 => resume_unwind(Box::new(error)),
        Err(error) => panic!("{error}"),
    }
}

/// The error with the caller's line. Where that is one of our own, as in the formatting of an array, the line is looked for on the stack, which
/// names it if the program has its debug information.
pub(crate) fn at_the_users_line(error: Error, caller: Location) -> Error {
    let caller = caller.to_string();
    let is_ours = |place: &str| place.contains("lazuli-core/src/");
    if !is_ours(&caller) {
        return error.at(caller);
    }
    let stack = Backtrace::force_capture().to_string();
    let lines = stack.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let is_users = |place: &&str| {
        !is_ours(place)
            && !place.starts_with("/rustc/")
            && !place.contains("/rustlib/src/")
            && !place.contains("/.cargo/registry/")
    };
    match lines.into_iter().find(is_users) {
        // Without the column.
        Some(place) => error.at(place.rsplit_once(':').map_or(place, |(line, _)| line).trim_start_matches("./")),
        None => error,
    }
}

/// Runs `f`; a panic of [`must`] in it is returned as the error that caused it. Other panics go on.
///
/// ```
/// use lazuli_core::{Array, catch};
/// let (a, b) = (Array::from_slice(&[1.0f32; 3], &[3]), Array::from_slice(&[1.0f32; 4], &[4]));
/// let error = catch(|| Ok(&a + &b)).unwrap_err();
/// assert!(error.message().contains("(3)") || error.message().contains("(3,)"), "{error}");
/// ```
pub fn catch<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CATCHING.set(CATCHING.get() - 1);
        }
    }
    CATCHING.set(CATCHING.get() + 1);
    let leave = Leave;
    let result = catch_unwind(AssertUnwindSafe(f));
    drop(leave);
    result.unwrap_or_else(|payload| match payload.downcast::<Error>() {
        Ok(error) => Err(*error),
        Err(payload) => resume_unwind(payload),
    })
}
