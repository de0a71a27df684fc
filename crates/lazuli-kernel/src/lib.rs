//! What a backend sees: data types, shapes and layouts, the kernel IR with its verifier and printer,
//! plans of kernels and library calls, and the [`Backend`] trait that runs them.
//!
//! A [`Kernel`] is a loop nest around a straight line of typed scalar operations. Its meaning is fixed here,
//! by the reference interpreter, which is backend number zero: safe, slow, and the judge of all others. Every other
//! backend gives the same bits.
//!
//! Absent on purpose: primitives, graphs, derivatives, Python. A backend never sees them.
#![forbid(unsafe_code)]

pub mod backend;
pub mod dtype;
pub mod error;
pub mod hash;
pub mod host;
pub mod interp;
pub mod interrupt;
pub mod ir;
pub mod math;
pub mod noted;
mod parse;
pub mod plan;
mod print;
pub mod scalar;
pub mod scalar_ops;
pub mod shape;
mod small;
#[doc(hidden)]
pub mod testing;
pub mod text;
mod varying;
mod verify;

pub use backend::{Backend, Buffer, Event, Executable, Features, MemoryStats, Mode, Run, Stream, Variant};
pub use dtype::{DType, Kind};
pub use error::{Error, ErrorKind, Result};
pub use host::{HostArray, HostCall};
pub use interp::Interpreter;
pub use ir::{
    Accumulator, BinaryOp, Combine, Emit, Inner, Inst, Kernel, Nest, Operand, Role, ScanOp, ScatterOp, Store, UnaryOp,
    Value,
};
pub use plan::{Arg, Binding, Branch, HostArg, LibraryCall, MATMUL_BLOCK, Pass, Plan, Scatter, Signature, Slot, Step};
pub use scalar::Scalar;
pub use shape::{Layout, Shape, Strides};
pub use small::small;
pub use varying::{Origin, Varying, VaryingParam};
pub use verify::{PLACE, Parts, PlanWords, Proofs, Uses};
