//! Layers, losses and optimizers, as trees of arrays.
//!
//! A [`Module`] is a struct of arrays and modules with a `forward`; its parameters are its float arrays, and its gradient is a value of
//! its own type. An [`Optimizer`](optimizers::Optimizer) is a tree too, so a training step compiles as a function of
//! `&mut (Model, Optimizer)`. Mathematics, defaults and initial values are those of the Python package. Absent: convolutions,
//! recurrent layers, attention, schedules of the learning rate, and frozen parameters.
#![forbid(unsafe_code)]

// The derive's paths go through `::lazuli`, which re-exports this crate; here they are met within.
extern crate self as lazuli;
#[doc(hidden)]
pub use lazuli_core::{Tree, tree};

pub mod activations;
pub mod init;
pub mod layers;
pub mod losses;
mod module;
pub mod optimizers;

pub use layers::{Activation, Dropout, Embedding, LayerNorm, Linear, Sequential};
pub use module::{CloneModule, Module, Training, set_training};
