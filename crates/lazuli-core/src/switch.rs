//! How much of the compiler runs: for the process, or for a scope of one thread.
//!
//! Existing compiled functions follow at once; traces made in one mode wait for its return. The innermost scope of a thread decides,
//! without one the process's mode does. The environment's `LAZULI_DISABLE_COMPILE` (or `MLX_DISABLE_COMPILE`) turns compilation off at
//! the start; `0`, `false` and empty do not.

use lazuli_compile::Options;
use std::cell::{Cell, RefCell};
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

thread_local! {
    /// The live scopes by their numbers, in the order in which they began, each with the mode to go back to.
    static SCOPES: RefCell<Vec<(u64, Option<CompileMode>)>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// While it lives, compiled functions that this thread calls run in a mode of their own. Scopes may end in any order.
#[derive(Debug)]
#[must_use = "the mode ends as soon as this is dropped"]
pub struct CompileScope {
    number: u64,
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
    let number = NEXT.replace(NEXT.get() + 1);
    SCOPES.with_borrow_mut(|scopes| scopes.push((number, replace_scope(Some(mode)))));
    CompileScope { number, _thread: PhantomData }
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
        // Where the thread ends there is nothing to go back to.
        let _ = SCOPES.try_with(|scopes| {
            let scopes = &mut *scopes.borrow_mut();
            let Some(at) = scopes.iter().position(|(number, _)| *number == self.number) else { return };
            let (_, before) = scopes.remove(at);
            match scopes.get_mut(at) {
                // The one that began next goes back to where this one would.
                Some((_, its)) => *its = before,
                None => {
                    replace_scope(before);
                }
            }
        });
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

    #[test]
    fn scopes_may_end_in_any_order() {
        let before = current_compile_mode();
        let modes = [CompileMode::Disabled, CompileMode::NoFuse, CompileMode::Verify];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 0, 1]] {
            let mut scopes = modes.map(|mode| Some(compile_mode(mode)));
            for n in order {
                scopes[n] = None;
                let innermost = (0..3).rev().find(|&n| scopes[n].is_some());
                assert_eq!(current_compile_mode(), innermost.map_or(before, |n| modes[n]), "{order:?}");
            }
        }
    }
}
