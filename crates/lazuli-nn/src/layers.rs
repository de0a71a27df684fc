//! Layers, by kind. Mathematics, shapes, defaults and names of parameters are those of the Python package.

mod dropout;
mod linear;
mod normalization;
mod position;
mod recurrent;
mod transformer;

pub use dropout::{Dropout, Dropout2d, Dropout3d};
pub use linear::{Bilinear, Embedding, Identity, Linear, Sequential};
pub use normalization::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RmsNorm};
pub use position::{Alibi, Rope, SinusoidalPositionalEncoding};
pub use recurrent::{Gru, Lstm, Rnn};
pub use transformer::{
    MultiHeadAttention, Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer, causal_mask,
};
