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
#![warn(missing_docs)]

pub mod array;
pub mod backend;
mod batch;
mod bindings;
pub mod cache;
pub mod compile;
pub mod cond;
pub mod custom;
pub mod debug;
pub mod differentiate;
pub mod dim;
mod edition;
pub mod element;
pub mod eval;
pub mod explain;
pub mod export;
pub mod files;
pub mod function;
mod guards;
pub mod indexing;
pub mod interop;
pub mod interrupt;
pub mod literal;
pub mod log;
pub mod methods;
pub mod ops;
mod outline;
pub mod paths;
pub mod print;
pub mod program;
mod progress;
mod provisional;
pub mod raise;
pub mod random;
mod run;
pub mod shapeless;
mod stats;
pub mod switch;
mod templates;
pub mod trace;
pub mod transform;
pub mod tree;
mod updates;
pub mod verify;

pub use array::Array;
pub use compile::{Compiled, compile};
pub use cond::cond;
pub use differentiate::{
    Differentiable, Mappable, grad, grad_all, jvp, try_jvp, try_vjp, value_and_grad, vjp, vmap, vmap_along, vmap_into,
};
pub use dim::{Dim, Extent, Extents};
pub use element::Element;
pub use eval::{async_eval, eval, synchronize, try_eval};
pub use explain::explain;
pub use function::{Function, Output};
pub use indexing::{Ellipsis, NewAxis, step};
pub use lazuli_compile::Options;
pub use lazuli_explain::Explanation;
pub use lazuli_ir::{Aval, DType, Error, ErrorKind, Graph, Kind, Location, Result, Scalar, Shape};
pub use literal::array;
pub use methods::{Axes, concatenate, keep, select, stack};
pub use ops::{Operand, Weak};
pub use program::Program;
pub use raise::catch;
pub use stats::{CompileStats, compile_stats};
pub use switch::{
    CompileMode, compile_disabled, compile_is_enabled, compile_mode, current_compile_mode, disable_compile,
    enable_compile, set_compile_mode,
};
pub use tree::Tree;
pub use updates::Updates;
