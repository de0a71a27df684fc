"""Table look-up: ``Embedding``. The quantized one is absent."""

from __future__ import annotations

import math

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["Embedding"]


class Embedding(Module):
    """A vector for each integer below ``num_embeddings``: row ``x`` of ``weight``.

    Shapes: integers of shape ``s`` to ``s + (dims,)``; ``weight`` is ``(num_embeddings, dims)`` and
    starts normal with variance 1/dims.

    Args:
        num_embeddings: how many vectors (the size of the vocabulary).
        dims: their length.

    Example:
        >>> nn.Embedding(100, 8)(mx.array([[1, 2, 3]])).shape
        (1, 3, 8)
    """

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__()
        self.weight = mx.random.normal(shape=(num_embeddings, dims), scale=math.sqrt(1 / dims))

    def _extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))

    def __call__(self, x: mx.array) -> mx.array:
        return self["weight"][x]

    def as_linear(self, x: mx.array) -> mx.array:
        """``x @ weight.T``, the scores of all embeddings: an output layer with tied weight."""
        return x @ self["weight"].T
