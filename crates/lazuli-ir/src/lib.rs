//! The primitives of Lazuli and the Graph that equations over them form.
//!
//! A [`Graph`] is an immutable, typed program: inputs, equations in an order in which they can run, outputs. It prints, parses back
//! and verifies. A [`Prim`] is an operation with its parameters; each states in one row ([`elementwise`]) or one block
//! ([`prims`]) its shape and dtype rule, derivative, vmap rule and lowering. The rest of the system derives from that.
//!
//! [`testing::samples`] has a sample of every primitive, for sweeps over the whole table.
//!
//! Absent on purpose: arrays and their values (a graph's constants are inputs), the engines that transform graphs (they are in
//! `lazuli-transform` and use the rules stated here), machine code, Python.
#![forbid(unsafe_code)]

pub mod aval;
pub mod builder;
pub mod elementwise;
mod equations;
mod extents;
pub mod graph;
pub mod inline;
pub mod location;
pub mod number;
mod outline;
pub mod param;
mod parse;
pub mod pointwise;
pub mod prim;
pub mod prims;
pub mod print;
mod prune;
mod rebind;
#[doc(hidden)]
pub mod testing;
mod verify;

pub use aval::{Aval, Dim};
pub use builder::Builder;
pub use elementwise::{Accepts, Binary, Partial, Ternary, Unary};
pub use equations::Equations;
pub use extents::{AnyShapes, Fixed, Place, Relations};
pub use graph::{Atom, Effect, Equation, Graph, Meta, Var};
pub use inline::Inlined;
pub use lazuli_kernel::{DType, Error, ErrorKind, Kind, Result, Scalar, Shape, shape, small};
pub use location::Location;
pub use number::{Arithmetic, Extents, Number, Operation, Relation, Strided};
pub use outline::{MovingAxes, Outline, OutlineBuilder, ShapeId};
pub use pointwise::{Index, Ix, Lane, Pointwise, Term};
pub use prim::{Lowering, Prim, Primitive, Tangents, TransposeCx, VmapOut};
pub use print::Text;
pub use prune::prune;
pub use rebind::Rebound;
