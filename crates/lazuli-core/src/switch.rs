//! Turning compilation off, so that values can be looked at: for the process, or for a scope of one thread.
//!
//! Existing compiled functions follow at once. The environment's `LAZULI_DISABLE_COMPILE` (or `MLX_DISABLE_COMPILE`) turns it off
//! at the start; `0`, `false` and empty do not.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

fn disabled() -> &'static AtomicBool {
    static DISABLED: OnceLock<AtomicBool> = OnceLock::new();
    DISABLED.get_or_init(|| {
        let set = |name: &str| std::env::var(name).is_ok_and(|v| !matches!(v.as_str(), "" | "0" | "false"));
        AtomicBool::new(set("LAZULI_DISABLE_COMPILE") || set("MLX_DISABLE_COMPILE"))
    })
}

thread_local! {
    static SCOPES: Cell<usize> = const { Cell::new(0) };
}

/// From here on, compiled functions run as plain ones, on every thread.
pub fn disable_compile() {
    disabled().store(true, Ordering::Relaxed);
}

/// Turns compilation on again, also if the environment turned it off.
pub fn enable_compile() {
    disabled().store(false, Ordering::Relaxed);
}

/// Whether compiled functions compile on this thread.
pub fn compile_is_enabled() -> bool {
    SCOPES.get() == 0 && !disabled().load(Ordering::Relaxed)
}

/// While it lives, compiled functions that this thread calls run as plain ones.
#[derive(Debug)]
#[must_use = "compilation is on again as soon as this is dropped"]
pub struct CompileDisabled(PhantomData<*const ()>);

/// Turns compilation off on this thread until the guard is dropped.
///
/// ```
/// use lazuli_core::{Array, compile, compile_disabled};
/// let f = compile(|x: &Array| { println!("{x}"); x.exp() });
/// let _off = compile_disabled();
/// f(&Array::from_slice(&[5.0f32], &[1])); // prints; compiled, there would be no value to print
/// ```
pub fn compile_disabled() -> CompileDisabled {
    SCOPES.set(SCOPES.get() + 1);
    CompileDisabled(PhantomData)
}

impl Drop for CompileDisabled {
    fn drop(&mut self) {
        SCOPES.set(SCOPES.get() - 1);
    }
}
