//! Which backend runs the work of this process.

pub use lazuli_cpu::adopt;
use lazuli_kernel::Backend;
use std::sync::{Arc, OnceLock};

/// The CPU backend of this process.
pub fn default() -> &'static Arc<dyn Backend> {
    static BACKEND: OnceLock<Arc<dyn Backend>> = OnceLock::new();
    BACKEND.get_or_init(|| Arc::new(lazuli_cpu::Cpu::new()))
}
