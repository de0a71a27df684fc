//! Attention and transformers (Vaswani et al., arXiv:1706.03762).
//!
//! Sequences are `(batch, length, features)`; `dims` is the number of features. Masks are added to the attention scores (0 to attend, a
//! large negative number or −∞ not to) or are boolean (true to attend), and broadcast to `(batch, heads, queries, keys)`. Absent:
//! key-value caches.

use crate::activations::widen;
use crate::{Activation, Dropout, LayerNorm, Linear, Module};
use lazuli_core::raise::must;
use lazuli_core::{Array, DType, Error, NewAxis, Scalar, select};
use lazuli_derive::Tree;

/// The `(n, n)` mask with which no position attends to a later one: 0, and the lowest finite number of the dtype.
///
/// ```
/// use lazuli_core::DType;
/// assert_eq!(lazuli_nn::layers::causal_mask(2, DType::F32).to_vec::<f32>(), [0.0, f32::MIN, 0.0, 0.0]);
/// ```
#[track_caller]
pub fn causal_mask(n: usize, dtype: DType) -> Array {
    let positions = Array::arange(0..n as i32);
    let hidden = positions.index((.., NewAxis)).less(positions.index((NewAxis, ..)));
    hidden.astype(dtype) * Array::scalar(Scalar::from_f64(dtype, lowest(dtype)))
}

/// The lowest finite number of a float dtype.
fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -65504.0,
        DType::BF16 => -3.3895313892515355e38,
        DType::F64 => f64::MIN,
        _ => f32::MIN as f64,
    }
}

/// Scaled dot-product attention in several heads: softmax(Q Kᵀ / √d + mask) V, where queries, keys and values are projected and cut into
/// heads of d features, and the heads' outputs are joined and projected.
///
/// ```
/// use lazuli_core::{Array, DType};
/// use lazuli_nn::{MultiHeadAttention, layers::causal_mask};
/// let (attention, x) = (MultiHeadAttention::new(8, 2), Array::zeros([1, 5, 8], DType::F32));
/// let mask = causal_mask(5, DType::F32);
/// assert_eq!(attention.forward(&x, &x, &x, Some(&mask)).shape(), [1, 5, 8]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct MultiHeadAttention {
    /// How many; divides the features of queries, keys and values.
    pub heads: usize,
    /// From queries to `dims`.
    pub query_proj: Linear,
    /// From keys to `dims`.
    pub key_proj: Linear,
    /// From values to features that are cut into heads.
    pub value_proj: Linear,
    /// From the joined heads to the output.
    pub out_proj: Linear,
}

impl MultiHeadAttention {
    /// With projections of `dims` features, without biases. For others, replace the projections.
    ///
    /// # Panics
    /// If the number of heads does not divide that of features.
    #[track_caller]
    pub fn new(dims: usize, heads: usize) -> MultiHeadAttention {
        if heads == 0 || !dims.is_multiple_of(heads) {
            let message = format!("{heads} heads do not divide {dims} features evenly");
            must(Err(Error::value("MultiHeadAttention", message)))
        }
        let projection = || Linear::new(dims, dims).without_bias();
        MultiHeadAttention {
            heads,
            query_proj: projection(),
            key_proj: projection(),
            value_proj: projection(),
            out_proj: projection(),
        }
    }
    /// Attention of queries to keys, and what it makes of the values.
    ///
    /// # Panics
    /// If shapes do not match.
    #[track_caller]
    pub fn forward(&self, queries: &Array, keys: &Array, values: &Array, mask: Option<&Array>) -> Array {
        // From (batch, length, features) to (batch, head, length, d).
        let heads = |x: Array| x.unflatten(-1, [self.heads as isize, -1]).swapaxes(-2, -3);
        let q = heads(self.query_proj.forward(queries));
        let k = heads(self.key_proj.forward(keys));
        let v = heads(self.value_proj.forward(values));
        let d = q.dim(-1).get() as f64;
        let mut scores = (q * (1.0 / d).sqrt()).matmul(&k.swapaxes(-1, -2));
        if let Some(mask) = mask {
            scores = match mask.dtype() {
                DType::Bool => select(mask, &scores, f64::NEG_INFINITY),
                _ => &scores + mask.astype(scores.dtype()),
            };
        }
        let weights = widen(&scores).softmax(-1).astype(v.dtype());
        self.out_proj.forward(&weights.matmul(&v).swapaxes(-2, -3).flatten(-2..=-1))
    }
}

/// The feed-forward block of a layer, and the order of its norms.
macro_rules! blocks {
    ($name:ident) => {
        impl $name {
            /// Features inside the feed-forward block, in place of 4 · dims.
            pub fn mlp_dims(self, mlp_dims: usize) -> $name {
                let dims = self.linear2.weight.shape()[0];
                $name { linear1: Linear::new(dims, mlp_dims), linear2: Linear::new(mlp_dims, dims), ..self }
            }
            /// The feed-forward block's function, in place of `relu`.
            pub fn activation(self, activation: Activation) -> $name {
                $name { activation, ..self }
            }
            /// Norms after the sums, not before the blocks (see Xiong et al., arXiv:2002.04745).
            pub fn norm_last(self) -> $name {
                $name { norm_first: false, ..self }
            }
            #[track_caller]
            fn feed_forward(&self, x: &Array, dropout: &Dropout) -> Array {
                self.linear2.forward(&dropout.forward(&self.activation.forward(&self.linear1.forward(x))))
            }
            /// x + block(norm(x)), or norm(x + block(x)) if norms come last.
            #[track_caller]
            fn residual(&self, x: &Array, norm: &LayerNorm, block: impl FnOnce(&Array) -> Array) -> Array {
                match self.norm_first {
                    true => x + block(&norm.forward(x)),
                    false => norm.forward(&(x + block(x))),
                }
            }
        }
    };
}

/// Self-attention and a feed-forward block, each with a residual connection and a layer norm.
#[derive(Debug, Clone, Tree)]
pub struct TransformerEncoderLayer {
    /// Of the sequence to itself.
    pub attention: MultiHeadAttention,
    ln1: LayerNorm,
    ln2: LayerNorm,
    linear1: Linear,
    linear2: Linear,
    activation: Activation,
    norm_first: bool,
    dropout1: Dropout,
    dropout2: Dropout,
}

impl TransformerEncoderLayer {
    /// With 4 · dims features in the feed-forward block, `relu`, norms first, no dropout.
    ///
    /// # Panics
    /// If the number of heads does not divide that of features.
    #[track_caller]
    pub fn new(dims: usize, heads: usize) -> TransformerEncoderLayer {
        TransformerEncoderLayer {
            attention: MultiHeadAttention::new(dims, heads),
            ln1: LayerNorm::new(dims),
            ln2: LayerNorm::new(dims),
            linear1: Linear::new(dims, 4 * dims),
            linear2: Linear::new(4 * dims, dims),
            activation: Activation::RELU,
            norm_first: true,
            dropout1: Dropout::new(0.0),
            dropout2: Dropout::new(0.0),
        }
    }
    /// Dropout after the attention and inside the feed-forward block.
    ///
    /// # Panics
    /// If `p` is not in [0, 1).
    #[track_caller]
    pub fn dropout(self, p: f64) -> TransformerEncoderLayer {
        TransformerEncoderLayer { dropout1: Dropout::new(p), dropout2: Dropout::new(p), ..self }
    }
    /// The layer's output for a sequence.
    #[track_caller]
    pub fn forward_masked(&self, x: &Array, mask: Option<&Array>) -> Array {
        let x = self.residual(x, &self.ln1, |y| self.dropout1.forward(&self.attention.forward(y, y, y, mask)));
        self.residual(&x, &self.ln2, |y| self.feed_forward(y, &self.dropout2))
    }
}

blocks! { TransformerEncoderLayer }

impl Module for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.forward_masked(x, None)
    }
}

/// Self-attention, attention to an encoder's output, and a feed-forward block.
#[derive(Debug, Clone, Tree)]
pub struct TransformerDecoderLayer {
    /// Of the sequence to itself.
    pub self_attention: MultiHeadAttention,
    /// To the encoder's output.
    pub cross_attention: MultiHeadAttention,
    ln1: LayerNorm,
    ln2: LayerNorm,
    ln3: LayerNorm,
    linear1: Linear,
    linear2: Linear,
    activation: Activation,
    norm_first: bool,
    dropout1: Dropout,
    dropout2: Dropout,
    dropout3: Dropout,
}

impl TransformerDecoderLayer {
    /// As [`TransformerEncoderLayer::new`].
    ///
    /// # Panics
    /// If the number of heads does not divide that of features.
    #[track_caller]
    pub fn new(dims: usize, heads: usize) -> TransformerDecoderLayer {
        TransformerDecoderLayer {
            self_attention: MultiHeadAttention::new(dims, heads),
            cross_attention: MultiHeadAttention::new(dims, heads),
            ln1: LayerNorm::new(dims),
            ln2: LayerNorm::new(dims),
            ln3: LayerNorm::new(dims),
            linear1: Linear::new(dims, 4 * dims),
            linear2: Linear::new(4 * dims, dims),
            activation: Activation::RELU,
            norm_first: true,
            dropout1: Dropout::new(0.0),
            dropout2: Dropout::new(0.0),
            dropout3: Dropout::new(0.0),
        }
    }
    /// Dropout after each attention and inside the feed-forward block.
    ///
    /// # Panics
    /// If `p` is not in [0, 1).
    #[track_caller]
    pub fn dropout(self, p: f64) -> TransformerDecoderLayer {
        let [dropout1, dropout2, dropout3] = [Dropout::new(p), Dropout::new(p), Dropout::new(p)];
        TransformerDecoderLayer { dropout1, dropout2, dropout3, ..self }
    }
    /// The layer's output for a sequence and an encoder's output.
    ///
    /// # Panics
    /// If shapes do not match.
    #[track_caller]
    pub fn forward(&self, x: &Array, memory: &Array, x_mask: Option<&Array>, memory_mask: Option<&Array>) -> Array {
        let to_self = |y: &Array| self.dropout1.forward(&self.self_attention.forward(y, y, y, x_mask));
        let to_memory =
            |y: &Array| self.dropout2.forward(&self.cross_attention.forward(y, memory, memory, memory_mask));
        let x = self.residual(x, &self.ln1, to_self);
        let x = self.residual(&x, &self.ln2, to_memory);
        self.residual(&x, &self.ln3, |y| self.feed_forward(y, &self.dropout3))
    }
}

blocks! { TransformerDecoderLayer }

/// A stack of layers and a final layer norm.
#[derive(Debug, Clone, Tree)]
pub struct TransformerEncoder {
    /// One after the other.
    pub layers: Vec<TransformerEncoderLayer>,
    ln: LayerNorm,
}

impl TransformerEncoder {
    /// These layers, for `dims` features.
    pub fn new(layers: Vec<TransformerEncoderLayer>, dims: usize) -> TransformerEncoder {
        TransformerEncoder { layers, ln: LayerNorm::new(dims) }
    }
    /// The output for a sequence.
    #[track_caller]
    pub fn forward_masked(&self, x: &Array, mask: Option<&Array>) -> Array {
        self.ln.forward(&self.layers.iter().fold(x.clone(), |x, layer| layer.forward_masked(&x, mask)))
    }
}

impl Module for TransformerEncoder {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.forward_masked(x, None)
    }
}

/// A stack of layers and a final layer norm.
#[derive(Debug, Clone, Tree)]
pub struct TransformerDecoder {
    /// One after the other.
    pub layers: Vec<TransformerDecoderLayer>,
    ln: LayerNorm,
}

impl TransformerDecoder {
    /// These layers, for `dims` features.
    pub fn new(layers: Vec<TransformerDecoderLayer>, dims: usize) -> TransformerDecoder {
        TransformerDecoder { layers, ln: LayerNorm::new(dims) }
    }
    /// The output for a sequence and an encoder's output.
    ///
    /// # Panics
    /// If shapes do not match.
    #[track_caller]
    pub fn forward(&self, x: &Array, memory: &Array, x_mask: Option<&Array>, memory_mask: Option<&Array>) -> Array {
        let each = |x: Array, layer: &TransformerDecoderLayer| layer.forward(&x, memory, x_mask, memory_mask);
        self.ln.forward(&self.layers.iter().fold(x.clone(), each))
    }
}

/// An encoder, and a decoder that attends to its output.
///
/// ```
/// use lazuli_core::{Array, DType};
/// use lazuli_nn::Transformer;
/// let (source, target) = (Array::zeros([1, 5, 8], DType::F32), Array::zeros([1, 3, 8], DType::F32));
/// let model = Transformer::new(8, 2, 1, 1);
/// assert_eq!(model.forward(&source, &target, None, None, None).shape(), [1, 3, 8]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Transformer {
    /// Of the source.
    pub encoder: TransformerEncoder,
    /// Of the target.
    pub decoder: TransformerDecoder,
}

impl Transformer {
    /// As many layers of each kind as told. For other layers, put the struct together.
    ///
    /// # Panics
    /// If the number of heads does not divide that of features.
    #[track_caller]
    pub fn new(dims: usize, heads: usize, encoder_layers: usize, decoder_layers: usize) -> Transformer {
        let encoder = (0..encoder_layers).map(|_| TransformerEncoderLayer::new(dims, heads)).collect();
        let decoder = (0..decoder_layers).map(|_| TransformerDecoderLayer::new(dims, heads)).collect();
        Transformer { encoder: TransformerEncoder::new(encoder, dims), decoder: TransformerDecoder::new(decoder, dims) }
    }
    /// The output for a source and a target sequence.
    ///
    /// # Panics
    /// If shapes do not match.
    #[track_caller]
    pub fn forward(
        &self,
        source: &Array,
        target: &Array,
        source_mask: Option<&Array>,
        target_mask: Option<&Array>,
        memory_mask: Option<&Array>,
    ) -> Array {
        self.decoder.forward(target, &self.encoder.forward_masked(source, source_mask), target_mask, memory_mask)
    }
}
