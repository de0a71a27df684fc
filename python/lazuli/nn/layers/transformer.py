"""Attention and transformers (Vaswani et al., arXiv:1706.03762).

Sequences are ``(batch, length, features)``; ``dims`` is the number of features. Masks are added to
the attention scores (0 to attend, a large negative number or −inf not to) or are boolean (true to
attend), and broadcast to ``(batch, heads, queries, keys)``.

Absent: key-value caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lazuli.core as mx
from lazuli.nn.layers.activations import relu
from lazuli.nn.layers.base import Module
from lazuli.nn.layers.dropout import Dropout
from lazuli.nn.layers.linear import Linear
from lazuli.nn.layers.normalization import LayerNorm, widen
from lazuli.nn.utils import checkpoint

__all__ = [
    "MultiHeadAttention",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = Callable[[Any], Any]


class MultiHeadAttention(Module):
    """Scaled dot-product attention in several heads.

    softmax(Q Kᵀ / √d + mask) V, where queries, keys and values are projected and cut into
    ``num_heads`` heads of d features, and the heads' outputs are joined and projected.

    Args:
        dims: features of the model: the default of all that follow.
        num_heads: the number of heads; divides ``dims``.
        query_input_dims: features of the queries.
        key_input_dims: features of the keys.
        value_input_dims: features of the values. Default: those of the keys.
        value_dims: features of the projected values.
        value_output_dims: features of the output.
        bias: whether the four projections have a bias.

    Raises:
        ValueError: ``num_heads`` does not divide ``dims``.

    Example:
        >>> attention = nn.MultiHeadAttention(dims=8, num_heads=2)
        >>> x = mx.zeros((1, 5, 8))
        >>> mask = nn.MultiHeadAttention.create_additive_causal_mask(5)
        >>> attention(x, x, x, mask).shape
        (1, 5, 8)
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        query_input_dims: int | None = None,
        key_input_dims: int | None = None,
        value_input_dims: int | None = None,
        value_dims: int | None = None,
        value_output_dims: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if dims % num_heads != 0:
            raise ValueError(
                f"[MultiHeadAttention] {num_heads} heads do not divide {dims} features evenly"
            )
        query_input_dims = query_input_dims or dims
        key_input_dims = key_input_dims or dims
        value_input_dims = value_input_dims or key_input_dims
        value_dims = value_dims or dims
        value_output_dims = value_output_dims or dims

        self.num_heads = num_heads
        self.query_proj = Linear(query_input_dims, dims, bias=bias)
        self.key_proj = Linear(key_input_dims, dims, bias=bias)
        self.value_proj = Linear(value_input_dims, value_dims, bias=bias)
        self.out_proj = Linear(value_dims, value_output_dims, bias=bias)

    def __call__(
        self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None = None
    ) -> mx.array:
        def heads(x: mx.array) -> mx.array:  # (batch, length, features) to (batch, head, length, d)
            x = x.reshape(*x.shape[:-1], self.num_heads, -1)
            return x.swapaxes(-2, -3)

        q, k, v = self.query_proj(queries), self.key_proj(keys), self.value_proj(values)
        q, k, v = heads(q), heads(k), heads(v)
        scores = (q * math.sqrt(1 / q.shape[-1])) @ k.swapaxes(-1, -2)
        if mask is not None:
            if mask.dtype == mx.bool_:
                scores = mx.where(mask, scores, -math.inf)
            else:
                scores = scores + mask.astype(scores.dtype)
        weights = mx.softmax(widen(scores), axis=-1).astype(v.dtype)
        joined = (weights @ v).swapaxes(-2, -3)
        return self.out_proj(joined.reshape(*joined.shape[:-2], -1))

    @staticmethod
    def create_additive_causal_mask(N: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """The ``(N, N)`` mask with which no position attends to a later one.

        Its entries are 0 and the lowest finite number of ``dtype``.
        """
        positions = mx.arange(N)
        hidden = positions[:, None] < positions[None, :]
        return hidden.astype(dtype) * mx.finfo(dtype).min


class _TransformerLayer(Module):
    """What encoder and decoder layers share: the feed-forward block and the order of the norms."""

    def _add_feed_forward(
        self, dims: int, mlp_dims: int | None, activation: Activation, norm_first: bool
    ) -> None:
        mlp_dims = mlp_dims or 4 * dims
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        self.activation = activation
        self.norm_first = norm_first

    def _feed_forward(self, x: mx.array, dropout: Dropout) -> mx.array:
        return self.linear2(dropout(self.activation(self.linear1(x))))

    def _residual(
        self,
        x: mx.array,
        norm: LayerNorm,
        block: Callable[[mx.array], mx.array],
        dropout: Dropout | None = None,
    ) -> mx.array:
        """x + dropout(block(norm(x))), or norm(x + dropout(block(x))) if norms come last."""
        y = block(norm(x) if self.norm_first else x)
        if dropout is not None:
            y = dropout(y)
        return x + y if self.norm_first else norm(x + y)


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention and a feed-forward block, each with a residual connection and a layer norm.

    Args:
        dims: features of input and output.
        num_heads: heads of the attention.
        mlp_dims: features inside the feed-forward block. Default: ``4 * dims``.
        dropout: probability of dropout, after the attention and inside the feed-forward block.
        activation: of the feed-forward block.
        norm_first: whether norms come before the blocks, not after the sums (see Xiong et al.,
            arXiv:2002.04745).
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dims, num_heads)
        self.ln1 = LayerNorm(dims)
        self.ln2 = LayerNorm(dims)
        self._add_feed_forward(dims, mlp_dims, activation, norm_first)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        x = self._residual(x, self.ln1, lambda y: self.attention(y, y, y, mask), self.dropout1)
        return self._residual(x, self.ln2, lambda y: self._feed_forward(y, self.dropout2))


class TransformerEncoder(Module):
    """A stack of :class:`TransformerEncoderLayer` and a final layer norm.

    Args:
        num_layers: how many layers.
        dims, num_heads, mlp_dims, dropout, activation, norm_first: as for the layer.
        checkpoint: whether gradients compute each layer again, in place of keeping what it computed.
    """

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.layers = [
            TransformerEncoderLayer(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        for layer in self.layers:
            x = (checkpoint(layer) if self.checkpoint else layer)(x, mask)
        return self.ln(x)


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention, attention to an encoder's output, and a feed-forward block.

    The arguments are those of :class:`TransformerEncoderLayer`.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(dims, num_heads)
        self.cross_attention = MultiHeadAttention(dims, num_heads)
        self.ln1 = LayerNorm(dims)
        self.ln2 = LayerNorm(dims)
        self.ln3 = LayerNorm(dims)
        self._add_feed_forward(dims, mlp_dims, activation, norm_first)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: mx.array | None = None,
        memory_mask: mx.array | None = None,
    ) -> mx.array:
        def to_self(y: mx.array) -> mx.array:
            return self.self_attention(y, y, y, x_mask)

        def to_memory(y: mx.array) -> mx.array:
            return self.cross_attention(y, memory, memory, memory_mask)

        x = self._residual(x, self.ln1, to_self, self.dropout1)
        x = self._residual(x, self.ln2, to_memory, self.dropout2)
        return self._residual(x, self.ln3, lambda y: self._feed_forward(y, self.dropout3))


class TransformerDecoder(Module):
    """A stack of :class:`TransformerDecoderLayer` and a final layer norm.

    The arguments are those of :class:`TransformerEncoder`.
    """

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.layers = [
            TransformerDecoderLayer(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: mx.array | None = None,
        memory_mask: mx.array | None = None,
    ) -> mx.array:
        for layer in self.layers:
            x = (checkpoint(layer) if self.checkpoint else layer)(x, memory, x_mask, memory_mask)
        return self.ln(x)


class Transformer(Module):
    """An encoder and a decoder that attends to its output.

    Args:
        dims: features of both.
        num_heads: heads of every attention.
        num_encoder_layers: depth of the encoder.
        num_decoder_layers: depth of the decoder.
        mlp_dims: features inside feed-forward blocks. Default: ``4 * dims``.
        dropout: probability of dropout.
        activation: of the feed-forward blocks.
        custom_encoder: called as ``custom_encoder(src, src_mask)`` instead of the encoder.
        custom_decoder: called as ``custom_decoder(tgt, memory, tgt_mask, memory_mask)``.
        norm_first: whether norms come before the blocks.
        checkpoint: whether gradients compute each layer again, in place of keeping what it computed.

    Example:
        >>> model = nn.Transformer(8, 2, num_encoder_layers=1, num_decoder_layers=1)
        >>> model(mx.zeros((1, 5, 8)), mx.zeros((1, 3, 8)), None, None, None).shape
        (1, 3, 8)
    """

    def __init__(
        self,
        dims: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        norm_first: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        shared = (dims, num_heads, mlp_dims, dropout, activation, norm_first, checkpoint)
        self.encoder = custom_encoder or TransformerEncoder(num_encoder_layers, *shared)
        self.decoder = custom_decoder or TransformerDecoder(num_decoder_layers, *shared)

    def __call__(
        self,
        src: mx.array,
        tgt: mx.array,
        src_mask: mx.array | None = None,
        tgt_mask: mx.array | None = None,
        memory_mask: mx.array | None = None,
    ) -> mx.array:
        return self.decoder(tgt, self.encoder(src, src_mask), tgt_mask, memory_mask)
