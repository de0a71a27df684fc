//! Lazuli: lazy arrays, gradients, and `compile`.
//!
//! Operations on an [`Array`] are recorded and run when a value is needed. [`compile`](fn@compile) traces a function of arrays once, simplifies
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
//! [`Compiled::try_call`]; [`ops`] has the fallible form of each.
//!
//! | to | see |
//! | --- | --- |
//! | make arrays | [`array`](fn@array), [`Array::zeros`] and its like, [`random`], `Array::from` |
//! | compute | methods and operators of [`Array`], [`concatenate`], [`stack`], [`select`], [`ops`] |
//! | index | [`Array::index`], [`Array::set`] |
//! | transform functions | [`compile`](fn@compile), [`grad`], [`value_and_grad`], [`vjp`], [`jvp`], [`vmap`]; a branch on a value is [`cond`](fn@cond) |
//! | build models | [`nn`], `#[derive(Tree)]`, `#[derive(Module)]` |
//! | look at values | [`Array::item`], [`Array::to_vec`], `println!("{x}")`; in compiled functions [`debug::print`] |
//! | see what was compiled | [`Compiled`]'s `explain`, [`Explanation`] |
//! | read and write files | [`files`], [`nn::Parameters`]; functions: [`export`] |
//!
//! Absent: devices other than the CPU, Python (the package of the same name wraps the same crates).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(doctest)]
mod guide;

pub use lazuli_core::{
    Array, Axes, CompileMode, CompileStats, Compiled, DType, Differentiable, Element, Ellipsis, Error, ErrorKind,
    Explanation, Function, Mappable, NewAxis, Operand, Output, Result, Scalar, Tree, array, async_eval, catch, compile,
    compile_disabled, compile_is_enabled, compile_mode, compile_stats, concatenate, cond, custom, debug,
    disable_compile, enable_compile, export, files, grad, grad_all, jvp, keep, ops, paths, random, select,
    set_compile_mode, stack, step, synchronize, tree, try_jvp, try_vjp, value_and_grad, vjp, vmap, vmap_along,
    vmap_into,
};
/// Derives [`Module`](trait@nn::Module) for a struct of modules that are applied one after the other. A module with a `forward` of its own derives
/// [`Tree`](macro@Tree) and implements `Module`.
///
/// ```
/// use lazuli::nn::{Activation, Linear, Module};
/// use lazuli::{Array, DType};
///
/// #[derive(Debug, Clone, Module)]
/// struct Mlp { hidden: Linear, activation: Activation, out: Linear }
///
/// let mlp = Mlp { hidden: Linear::new(2, 8), activation: Activation::RELU, out: Linear::new(8, 1) };
/// assert_eq!(mlp.forward(&Array::ones([4, 2], DType::F32)).shape(), [4, 1]);
/// ```
///
pub use lazuli_derive::Module;
/// Derives [`Tree`](trait@Tree) for a struct or enum whose fields are trees, so that compiled functions take it, and so that it can be differentiated
/// and, if it is a [`Module`](trait@nn::Module), trained.
///
/// ```
/// use lazuli::nn::{Linear, Module, Parameters};
/// use lazuli::{Array, DType, Tree};
///
/// #[derive(Debug, Clone, Tree)]
/// struct Residual {
///     inner: Linear,
///     #[tree(constant)]
///     scaled: bool,
/// }
///
/// impl Module for Residual {
///     fn forward(&self, x: &Array) -> Array {
///         let y = self.inner.forward(x);
///         if self.scaled { x + y / 2.0 } else { x + y }
///     }
/// }
///
/// let residual = Residual { inner: Linear::new(3, 3), scaled: true };
/// assert_eq!(residual.forward(&Array::ones([4, 3], DType::F32)).shape(), [4, 3]);
/// assert_eq!(residual.parameters()[0].path, "inner.weight");
/// ```
///
pub use lazuli_derive::Tree;
pub use lazuli_nn as nn;
pub use tree::eval;

/// What most programs use: `use lazuli::prelude::*;`.
///
/// ```
/// use lazuli::prelude::*;
/// let model = Sequential::new().then(Linear::new(2, 8)).then(Activation::RELU);
/// assert_eq!(model.forward(&array([[1.0, 2.0]])).shape(), [1, 8]);
/// ```
pub mod prelude {
    pub use crate::nn::optimizers::{self, Optimizer};
    pub use crate::nn::{self, Activation, Linear, Module, Parameters, Sequential, losses};
    pub use crate::{
        Array, DType, Ellipsis, NewAxis, Tree, array, compile, grad, keep, random, step, value_and_grad, vmap,
    };
}
