"""Initialisers: functions from an array to a new array of its shape.

Each function here returns an initialiser; ``dtype`` is that of the arrays it makes. The *fans* of
an array of shape ``(out, ..., in)`` are its input and output counts, each times the size of the
axes between (the positions of a convolution).

Absent: ``orthogonal``, which needs a QR decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import lazuli.core as mx
from lazuli import _spelling

__all__ = [
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "normal",
    "sparse",
    "uniform",
]

Initializer = Callable[..., mx.array]
Fan = Literal["fan_in", "fan_out"]


def constant(value: float, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Fill with ``value``.

    Example:
        >>> nn.init.constant(0.5)(mx.zeros((2, 2)))
        array([[0.5, 0.5],
               [0.5, 0.5]], dtype=float32)
    """
    return lambda a: mx.full(a.shape, value, dtype=dtype)


def normal(mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Draw from the normal distribution with the given mean and standard deviation."""
    return lambda a: mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)


def uniform(low: float = 0.0, high: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Draw uniformly from [low, high)."""
    return lambda a: mx.random.uniform(low, high, a.shape, dtype=dtype)


def identity(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Ones on the diagonal, zeros elsewhere.

    The initialiser raises ``ValueError`` for an array that is not a square matrix.
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2 or a.shape[0] != a.shape[1]:
            raise ValueError(f"[init.identity] expected a square matrix, got shape {a.shape}")
        return mx.eye(a.shape[0], dtype=dtype)

    return initializer


def sparse(
    sparsity: float, mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Initializer:
    """Draw from a normal distribution, and zero the same fraction of each row (Martens, ICML 2010).

    Args:
        sparsity: the fraction to zero, in [0, 1]; rounded up to whole entries.
        mean: of the normal distribution.
        std: its standard deviation.
        dtype: of the arrays.

    The initialiser raises ``ValueError`` for an array that is not a matrix.
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"[init.sparse] expected a matrix, got shape {a.shape}")
        rows, columns = a.shape
        zeros = math.ceil(sparsity * columns)
        # The ranks of random numbers are a random permutation of each row.
        ranks = mx.argsort(mx.argsort(mx.random.uniform(shape=(rows, columns)), axis=1), axis=1)
        values = mx.random.normal(shape=(rows, columns), scale=std, loc=mean, dtype=dtype)
        return mx.where(ranks < zeros, mx.array(0, dtype=dtype), values)

    return initializer


# ---- scaled to the fans --------------------------------------------------------------------


def _fans(op: str, a: mx.array) -> tuple[int, int]:
    if a.ndim < 2:
        raise ValueError(f"[init.{op}] expected an array of at least 2 axes, got shape {a.shape}")
    between = math.prod(a.shape[1:-1])
    return a.shape[-1] * between, a.shape[0] * between


def _fan(op: str, a: mx.array, mode: Fan) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[init.{op}] mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return _fans(op, a)[mode == "fan_out"]


def glorot_normal(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normal with σ = gain · √(2 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).

    The initialiser is called as ``initializer(array, gain=1.0)``.
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        std = gain * math.sqrt(2 / sum(_fans("glorot_normal", a)))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def glorot_uniform(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Uniform in ±gain · √(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).

    The initialiser is called as ``initializer(array, gain=1.0)``.
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(6 / sum(_fans("glorot_uniform", a)))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def he_normal(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normal with σ = gain / √fan (He et al., arXiv:1502.01852).

    The initialiser is called as ``initializer(array, mode="fan_in", gain=1.0)``.
    """

    def initializer(a: mx.array, mode: Fan = "fan_in", gain: float = 1.0) -> mx.array:
        std = gain / math.sqrt(_fan("he_normal", a, mode))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def he_uniform(dtype: mx.Dtype = mx.float32) -> Initializer:
    """Uniform in ±gain · √(3 / fan) (He et al., arXiv:1502.01852).

    The initialiser is called as ``initializer(array, mode="fan_in", gain=1.0)``.
    """

    def initializer(a: mx.array, mode: Fan = "fan_in", gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(3 / _fan("he_uniform", a, mode))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer

_spelling.answer(__name__, "nn.init", lambda: __all__, _spelling.INITIALISERS)
