//! Lazuli: lazy arrays, gradients, and `compile`.
//!
//! Operations on an [`Array`] are recorded and run when a value is needed. [`compile`] traces a function of arrays once, simplifies
//! and fuses what it did, and runs that as generated machine code at later calls.
//!
//! ```
//! use lazuli::{Array, array, compile};
//! fn fun(x: &Array, y: &Array) -> Array { (-x).exp() + y }
//! let (x, y) = (array(1.0), array(2.0));
//! assert_eq!(fun(&x, &y).to_string(), "array(2.36788, dtype=float32)");
//! let f = compile(fun);
//! assert_eq!(f(&x, &y).to_string(), "array(2.36788, dtype=float32)");
//! ```
//!
//! State comes first, as `&mut`. A training step is a function of the model and the optimizer:
//!
//! ```
//! use lazuli::nn::{Linear, Module, losses, optimizers::{Optimizer, Sgd}};
//! use lazuli::{Array, array, compile, random, value_and_grad};
//! random::seed(0);
//! let mut state = (Linear::new(2, 1), Sgd::new(0.1).momentum(0.8));
//! let batch = (array([[1.0, 2.0], [3.0, -4.0]]), array([1.0, 0.0]));
//! let step = compile(|(model, opt): &mut (Linear, Sgd), (x, y): &(Array, Array)| {
//!     let loss = |m: &Linear| losses::binary_cross_entropy(&m.forward(x).squeeze(), y);
//!     let (loss, grads) = value_and_grad(loss)(&*model);
//!     opt.update(model, &grads);
//!     loss
//! });
//! let first = step(&mut state, &batch).item::<f32>();
//! for _ in 0..10 { step(&mut state, &batch); }
//! assert!(step(&mut state, &batch).item::<f32>() < first);
//! ```
//!
//! What a method panics over (shapes that do not match, a dtype, a value read while tracing) is an error within [`catch`] and
//! [`Compiled::try_call`]; [`ops`] has the fallible form of each. Absent: devices other than the CPU, shapeless traces in Rust,
//! Python (the package of the same name wraps the same crates).
#![forbid(unsafe_code)]

pub use lazuli_core::{
    Array, CompileStats, Compiled, DType, Differentiable, Element, Error, ErrorKind, Function, Mappable, Operand,
    Output, Result, Scalar, Tree, array, async_eval, catch, compile, compile_disabled, compile_is_enabled,
    compile_stats, disable_compile, enable_compile, grad, ops, random, synchronize, tree, value_and_grad, vmap,
    vmap_along,
};
pub use lazuli_derive::Tree;
pub use lazuli_nn as nn;
pub use tree::eval;
