//! Arrays that record what is done to them, and the transformations of functions of arrays.
//!
//! An [`Array`] is lazy: operations record nodes, [`eval`](fn@eval) runs them. [`transform`] differentiates and vectorises functions by
//! running them on marked arrays, cutting the graph out ([`trace`]), transforming and replaying it. A [`program::Program`] is a traced and simplified
//! function, run by one plan per binding of shapes. Front ends (Rust's [`function`] and [`tree`], the Python binding) put trees of arrays,
//! argument numbers and caches on top.
//!
//! Absent on purpose: rules of primitives (`lazuli-ir`), kernels (`lazuli-compile`, the backends), modules and optimizers
//! (`lazuli-nn`), anything of Python.
#![forbid(unsafe_code)]

pub mod array;
pub mod backend;
pub mod element;
pub mod eval;
pub mod methods;
pub mod ops;
pub mod print;
pub mod program;
pub mod random;
pub mod trace;
pub mod transform;

pub use array::Array;
pub use element::Element;
pub use eval::{async_eval, eval, synchronize};
pub use lazuli_compile::Options;
pub use lazuli_ir::{Aval, DType, Error, ErrorKind, Graph, Kind, Location, Result, Scalar, Shape};
pub use ops::{Operand, Weak};
pub use program::{CompileStats, Program, compile_stats};
