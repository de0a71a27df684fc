//! Says what well-formed means, once: for a kernel by itself, and for the launches and library calls of a plan.
//!
//! [`Kernel::verify`] checks the invariants stated in [`crate::ir`]. [`Plan::verify`] proves, with every shape known, that no step
//! touches a byte outside its slots, that no store hits a place that another point of the same step reads or writes, and
//! that donated inputs are not read after they are overwritten. A backend that has verified a plan, and at each run the sizes
//! of the buffers it is given ([`Signature::verify_inputs`]), may run its kernels without a check of its own.
//!
//! A plan for other shapes may differ from one that was verified in some [values](crate::varying) only. A proof is noted as arithmetic on these, and comparisons, and holds of each plan of whose values
//! they come out alike ([`Proofs`]).
//!
//! The proofs are sufficient conditions on affine index maps, in integer arithmetic that does not overflow unseen. They accept
//! every layout that views of a row-contiguous array can have. A broken invariant is a fault of Lazuli, hence
//! [`ErrorKind::Internal`](crate::ErrorKind::Internal); the message shows the kernel, with the offending line marked.

mod access;
mod kernel;
mod plan;
mod proofs;
#[cfg(test)]
mod tests;
mod uses;
mod words;

pub use proofs::Proofs;
pub use uses::Uses;
pub use words::{PLACE, Parts, PlanWords};
