//! How much of the compiler runs: for the process, or for a scope of one thread.
//!
//! Existing compiled functions follow at once; traces made in one mode wait for its return. The innermost scope of a thread decides,
//! without one the process's mode does. The environment's `LAZULI_DISABLE_COMPILE` (or `MLX_DISABLE_COMPILE`) turns compilation off at
//! the start; `0`, `false` and empty do not.

use lazuli_compile::Options;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// How much of the compiler runs when a compiled function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum CompileMode {
    /// Compiled functions run as plain ones.
    Disabled,
    /// Traced and fused, not simplified.
    NoSimplify,
    /// Traced and simplified, not fused.
    NoFuse,
    /// All of it.
    #[default]
    Enabled,
    /// Each call runs fused, unfused and as a plain function, and fails if they differ.
    Verify,
}

impl CompileMode {
    /// All modes.
    pub const ALL: [CompileMode; 5] = [
        CompileMode::Disabled,
        CompileMode::NoSimplify,
        CompileMode::NoFuse,
        CompileMode::Enabled,
        CompileMode::Verify,
    ];
    /// `"no_fuse"` and the like.
    pub fn name(self) -> &'static str {
        match self {
            CompileMode::Disabled => "disabled",
            CompileMode::NoSimplify => "no_simplify",
            CompileMode::NoFuse => "no_fuse",
            CompileMode::Enabled => "enabled",
            CompileMode::Verify => "verify",
        }
    }
    /// The mode that a function is compiled in: what is verified is what runs when compilation is enabled, and what it would be compiled to where it is turned
    /// off is that, too.
    pub fn compiled(self) -> CompileMode {
        match self {
            CompileMode::NoSimplify | CompileMode::NoFuse => self,
            CompileMode::Disabled | CompileMode::Enabled | CompileMode::Verify => CompileMode::Enabled,
        }
    }
    /// The stages of the compiler that run.
    pub fn options(self) -> Options {
        Options { simplify: self != CompileMode::NoSimplify, fuse: self != CompileMode::NoFuse }
    }
}

/// The process's mode, as a position in [`CompileMode::ALL`].
fn process() -> &'static AtomicU8 {
    static PROCESS: OnceLock<AtomicU8> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let set = |name: &str| std::env::var(name).is_ok_and(|v| is_set(&v));
        let off = set("LAZULI_DISABLE_COMPILE") || set("MLX_DISABLE_COMPILE");
        AtomicU8::new(if off { CompileMode::Disabled } else { CompileMode::Enabled } as u8)
    })
}

/// Whether a variable of this value means yes.
fn is_set(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false")
}

thread_local! {
    static SCOPE: Cell<Option<CompileMode>> = const { Cell::new(None) };
}

/// From here on, compiled functions run as plain ones, on every thread.
pub fn disable_compile() {
    set_compile_mode(CompileMode::Disabled);
}

/// Turns compilation on again, also if the environment turned it off.
pub fn enable_compile() {
    set_compile_mode(CompileMode::Enabled);
}

/// Sets the process's mode.
pub fn set_compile_mode(mode: CompileMode) {
    process().store(mode as u8, Ordering::Relaxed);
}

/// The mode of calls on this thread.
pub fn current_compile_mode() -> CompileMode {
    SCOPE.get().unwrap_or_else(|| CompileMode::ALL[process().load(Ordering::Relaxed) as usize])
}

/// Whether compiled functions compile on this thread.
pub fn compile_is_enabled() -> bool {
    current_compile_mode() != CompileMode::Disabled
}

/// Sets this thread's scope and returns what it was: for front ends whose scopes are not Rust's.
pub fn replace_scope(mode: Option<CompileMode>) -> Option<CompileMode> {
    SCOPE.replace(mode)
}

/// While it lives, compiled functions that this thread calls run in a mode of their own.
#[derive(Debug)]
#[must_use = "the mode ends as soon as this is dropped"]
pub struct CompileScope {
    before: Option<CompileMode>,
    /// A scope belongs to its thread.
    _thread: PhantomData<*const ()>,
}

/// Sets the mode of this thread until the guard is dropped.
///
/// ```
/// use lazuli_core::{Array, CompileMode, compile, compile_mode};
/// let f = compile(|x: &Array| (x + 1.0f32).exp());
/// let x = Array::from_slice(&[5.0f32], &[1]);
/// let fused = f(&x).to_vec::<f32>();
/// let _unfused = compile_mode(CompileMode::NoFuse);
/// assert_eq!(f(&x).to_vec::<f32>(), fused);
/// ```
pub fn compile_mode(mode: CompileMode) -> CompileScope {
    CompileScope { before: replace_scope(Some(mode)), _thread: PhantomData }
}

/// Turns compilation off on this thread until the guard is dropped.
///
/// ```
/// use lazuli_core::{Array, compile, compile_disabled};
/// let f = compile(|x: &Array| { println!("{x}"); x.exp() });
/// let _off = compile_disabled();
/// f(&Array::from_slice(&[5.0f32], &[1])); // prints; compiled, there would be no value to print
/// ```
pub fn compile_disabled() -> CompileScope {
    compile_mode(CompileMode::Disabled)
}

impl Drop for CompileScope {
    fn drop(&mut self) {
        replace_scope(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_variable_means() {
        let check = |value, expected| assert_eq!(is_set(value), expected, "{value:?}");
        for no in ["", "0", "false", "False", "FALSE"] {
            check(no, false);
        }
        for yes in ["1", "true", "yes", "on"] {
            check(yes, true);
        }
    }

    #[test]
    fn scopes_nest_and_belong_to_a_thread() {
        let before = current_compile_mode();
        let outer = compile_mode(CompileMode::NoFuse);
        {
            let _inner = compile_disabled();
            assert_eq!(current_compile_mode(), CompileMode::Disabled);
            std::thread::spawn(move || assert_eq!(current_compile_mode(), before)).join().unwrap();
        }
        assert_eq!(current_compile_mode(), CompileMode::NoFuse);
        drop(outer);
        assert_eq!(current_compile_mode(), before);
    }
}
