//! The compiler pipeline: from a Graph to a Plan of kernels and library calls.
//!
//! [`compile`] is the whole road on one page. `eval` of lazy arrays takes it with simplification and fusion off, a compiled function with both on;
//! fusing never changes a result, bit for bit.
//!
//! Absent on purpose: machine code (a backend's), arrays and caches (`lazuli-core`'s), derivatives (`lazuli-transform`'s).
#![forbid(unsafe_code)]

mod beside;
pub mod dot;
mod fuse;
mod lower;
mod memory;
mod pattern;
pub mod pipeline;
pub mod report;
mod simplify;
mod template;
pub mod testing;
mod vectors;

pub use lower::ByFormulas;
pub use pattern::Fit;
pub use pipeline::{Compiled, Options, OutputInfo, OutputSource, compile, compile_first, compile_watched};
pub use report::{Fused, FusedKind, Report};
pub use simplify::{rule_names, simplify};
pub use template::{Outlined, Template, compile_like, plan_like, widen};
