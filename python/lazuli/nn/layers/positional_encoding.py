"""Positions for attention: ``RoPE``, ``SinusoidalPositionalEncoding``, ``ALiBi``."""

from __future__ import annotations

import math

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["ALiBi", "RoPE", "SinusoidalPositionalEncoding"]


class RoPE(Module):
    """Rotates pairs of features by angles that grow with the position.

    Su et al., arXiv:2104.09864. Pair i of ``dims / 2`` turns by
    ``scale · position · base^(−2i / dims)``. Shape: ``(..., positions, features)`` to the same;
    features beyond ``dims`` are left alone.

    Args:
        dims: how many features to rotate; even.
        traditional: whether pair i is features (2i, 2i + 1), as in the paper; otherwise it is
            (i, i + dims / 2), which needs no interleaving.
        base: of the geometric progression of angles.
        scale: of the positions.

    Raises:
        ValueError: ``dims`` is odd.
    """

    def __init__(
        self, dims: int, traditional: bool = False, base: float = 10000, scale: float = 1.0
    ) -> None:
        super().__init__()
        if dims % 2:
            raise ValueError(f"[RoPE] dims must be even, got {dims}")
        self.dims = dims
        self.traditional = traditional
        self.base = base
        self.scale = scale

    def _extra_repr(self) -> str:
        return f"{self.dims}, traditional={self.traditional}"

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        """Rotate ``x``, whose first position is number ``offset``."""
        length, features = x.shape[-2:]
        half = self.dims // 2
        positions = (mx.arange(length).astype(mx.float32) + offset) * self.scale
        frequencies = mx.exp(mx.arange(half).astype(mx.float32) * (-math.log(self.base) / half))
        angles = positions[:, None] * frequencies
        cos, sin = mx.cos(angles), mx.sin(angles)

        turned, rest = x[..., : self.dims], x[..., self.dims :]
        if self.traditional:
            a, b = turned[..., 0::2], turned[..., 1::2]
        else:
            a, b = turned[..., :half], turned[..., half:]
        pair = [a * cos - b * sin, a * sin + b * cos]
        if self.traditional:
            turned = mx.stack(pair, axis=-1).reshape(turned.shape)
        else:
            turned = mx.concatenate(pair, axis=-1)
        turned = turned.astype(x.dtype)
        return turned if features == self.dims else mx.concatenate([turned, rest], axis=-1)


class SinusoidalPositionalEncoding(Module):
    """Sines and cosines of positions at geometrically spaced frequencies.

    Vaswani et al., arXiv:1706.03762. Shape: positions ``s`` to ``s + (dims,)``, sines in the first
    half and cosines in the second.

    Args:
        dims: length of an encoding; even.
        min_freq: the lowest frequency.
        max_freq: the highest.
        scale: multiplies the encoding. Default: √(2 / dims), which gives it norm 1.
        cos_first: cosines before sines.
        full_turns: whether frequencies count turns, not radians, per position.

    Raises:
        ValueError: ``dims`` is odd or not positive.
    """

    def __init__(
        self,
        dims: int,
        min_freq: float = 0.0001,
        max_freq: float = 1,
        scale: float | None = None,
        cos_first: bool = False,
        full_turns: bool = False,
    ) -> None:
        super().__init__()
        if dims <= 0 or dims % 2:
            raise ValueError(
                f"[SinusoidalPositionalEncoding] dims must be positive and even, got {dims}"
            )
        half = dims // 2
        # From max_freq (at 0) down to min_freq (at 1).
        fraction = mx.arange(half).astype(mx.float32) / max(half - 1, 1)
        low, high = math.log(min_freq), math.log(max_freq)
        self._sigmas = mx.exp(high + fraction * (low - high))
        if full_turns:
            self._sigmas = self._sigmas * (2 * math.pi)
        self.scale = math.sqrt(2 / dims) if scale is None else scale
        self.cos_first = cos_first

    def __call__(self, x: mx.array) -> mx.array:
        angles = x[..., None] * self._sigmas
        waves = [mx.sin(angles), mx.cos(angles)]
        if self.cos_first:
            waves.reverse()
        y = mx.concatenate(waves, axis=-1)
        return y if self.scale == 1 else y * self.scale


class ALiBi(Module):
    """Adds to attention scores a penalty linear in the distance (Press et al., arXiv:2108.12409).

    Shape: ``(batch, heads, queries, keys)`` to the same. No parameters.
    """

    @staticmethod
    def create_alibi_slope(num_heads: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """The penalty of each head per position, of shape ``(num_heads, 1, 1)``.

        For n heads, n a power of two: 2^(−8k/n), k = 1 … n. Otherwise those of the next lower
        power of two, then every other one of the next higher (the paper's own code does so).
        """

        def geometric(n: int) -> list[float]:
            return [2 ** (-8 * k / n) for k in range(1, n + 1)]

        lower = 1 << (num_heads.bit_length() - 1)
        slopes = geometric(lower) + geometric(2 * lower)[::2][: num_heads - lower]
        return mx.array(slopes, dtype=dtype).reshape(num_heads, 1, 1)

    @staticmethod
    def create_alibi_matrix(
        q_sequence_length: int,
        k_sequence_length: int,
        num_heads: int,
        offset: int = 0,
        dtype: mx.Dtype = mx.float32,
    ) -> mx.array:
        """The bias, −slope · |query − key|, of shape ``(1, num_heads, queries, keys)``.

        Args:
            q_sequence_length: the last position of a query, plus one.
            k_sequence_length: the number of keys.
            num_heads: the number of heads.
            offset: the position of the first query.
            dtype: of the result.
        """
        return ALiBi._bias(q_sequence_length - offset, k_sequence_length, num_heads, offset, dtype)

    @staticmethod
    def _bias(queries: int, keys: int, num_heads: int, offset: int, dtype: mx.Dtype) -> mx.array:
        distance = mx.abs((mx.arange(queries) + offset)[:, None] - mx.arange(keys)).astype(dtype)
        return (-distance * ALiBi.create_alibi_slope(num_heads, dtype))[None]

    def __call__(
        self, attention_scores: mx.array, offset: int = 0, mask: mx.array | None = None
    ) -> mx.array:
        """Add the bias, and ``mask`` if given, to scores whose first query is at ``offset``."""
        heads, queries, keys = attention_scores.shape[1:]
        bias = self._bias(queries, keys, heads, offset, attention_scores.dtype)
        if mask is not None:
            bias = bias + mask
        return attention_scores + bias
