//! Layers, losses and optimizers, as trees of arrays.
//!
//! A [`Module`] is a struct of arrays and modules with a `forward`; its gradient is a value of its own type. Every tree has
//! [`Parameters`]: named by path, frozen, cast, saved and loaded. An [`Optimizer`](optimizers::Optimizer) is a tree too, so a training
//! step compiles as a function of `&mut (Model, Optimizer)`. Mathematics, defaults, initial values and the names of parameters are those
//! of the Python package, so weights travel between both.
//!
//! ```
//! use lazuli_core::{Array, array, compile, random, value_and_grad};
//! use lazuli_nn::{Linear, Module, losses, optimizers::{Optimizer, Sgd}};
//! random::seed(0);
//! let mut state = (Linear::new(2, 1), Sgd::new(0.1).momentum(0.8));
//! let step = compile(|(model, opt): &mut (Linear, Sgd), x: &Array, y: &Array| {
//!     let (loss, grads) = value_and_grad(|m: &Linear| losses::mse(&m.forward(x).squeeze(), y))(&*model);
//!     opt.update(model, &grads);
//!     loss
//! });
//! let (x, y) = (array([[1.0, 2.0], [3.0, -4.0]]), array([1.0, 0.0]));
//! let first = step(&mut state, &x, &y).item::<f32>();
//! for _ in 0..10 { step(&mut state, &x, &y); }
//! assert!(step(&mut state, &x, &y).item::<f32>() < first);
//! ```
//!
//! Absent: convolution, pooling and quantised layers; checkpointing.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// The derive's paths go through `::lazuli`, which re-exports this crate; here they are met within.
extern crate self as lazuli;
#[doc(hidden)]
pub use lazuli_core::{Array, tree};
#[doc(hidden)]
pub mod nn {
    pub use crate::Module;
}

pub mod activations;
pub mod init;
pub mod layers;
pub mod losses;
mod module;
pub mod optimizers;
mod param;
pub mod schedules;

pub use activations::{Activation, Celu, Elu, Glu, HardShrink, LeakyRelu, PRelu, Softshrink, Step};
pub use layers::{
    Alibi, BatchNorm, Bilinear, Dropout, Dropout2d, Dropout3d, Embedding, GroupNorm, Gru, Identity, InstanceNorm,
    LayerNorm, Linear, Lstm, MultiHeadAttention, RmsNorm, Rnn, Rope, Sequential, SinusoidalPositionalEncoding,
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
};
#[doc(hidden)]
pub use lazuli_core::Tree;
#[doc(inline)]
pub use lazuli_derive::{Module, Tree};
pub use module::{CloneModule, Module, Parameters, Training, set_training};
pub use param::Param;
