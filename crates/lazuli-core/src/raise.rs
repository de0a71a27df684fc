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
    if !is_ours(&caller) {
        return error.at(caller);
    }
    match users_line(&Backtrace::force_capture().to_string()) {
        Some(line) => error.at(line),
        None => error,
    }
}

fn is_ours(place: &str) -> bool {
    place.contains("lazuli-core/src/")
}

/// The innermost `file:line` of the user's own on a stack. Libraries of C may have lines where the program has none.
fn users_line(stack: &str) -> Option<&str> {
    let places = stack.lines().filter_map(|line| line.trim().strip_prefix("at "));
    // Without the column.
    let mut lines = places.map(|place| place.rsplit_once(':').map_or(place, |(line, _)| line).trim_start_matches("./"));
    lines.find(|line| {
        line.rsplit_once(':').is_some_and(|(file, _)| file.ends_with(".rs"))
            && !is_ours(line)
            && !line.starts_with("/rustc/")
            && !line.contains("/rustlib/src/")
            && !line.contains("/.cargo/registry/")
    })
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

#[cfg(test)]
mod tests {
    use super::users_line;

    #[test]
    fn the_users_line_is_one_of_rust() {
        let inner = "
           0: std::backtrace::Backtrace::create
                     at /rustc/5980/library/std/src/backtrace.rs:331:13
           1: lazuli_core::raise::at_the_users_line
                     at ./crates/lazuli-core/src/raise.rs:40:23
           2: core::fmt::write";
        let users = "
           3: program::main::{{closure}}
                     at ./src/main.rs:7:9";
        let outer = "
           4: core::ops::function::FnOnce::call_once
                     at /opt/rust/lib/rustlib/src/rust/library/core/src/ops/function.rs:250:5
           5: __libc_start_call_main
                     at ./csu/../sysdeps/nptl/libc_start_call_main.h:58:16
           6: _start";
        assert_eq!(users_line(&[inner, users, outer].concat()), Some("src/main.rs:7"));
        assert_eq!(users_line(&[inner, outer].concat()), None);
    }
}
