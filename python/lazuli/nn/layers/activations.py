"""Activation functions, and for each a layer that applies it.

The functions are plain compositions of ``lazuli.core`` operations. None of them is compiled in
advance: called by itself, each operation in it runs as such; inside a compiled function all of
them fuse. They take and return arrays of any shape, elementwise unless an ``axis`` is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "HardShrink",
    "HardTanh",
    "Hardswish",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU2",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Step",
    "Tanh",
    "celu",
    "elu",
    "gelu",
    "gelu_approx",
    "gelu_fast_approx",
    "glu",
    "hard_shrink",
    "hard_tanh",
    "hardswish",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "prelu",
    "relu",
    "relu2",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "step",
    "tanh",
]


# ---- rectifiers ----------------------------------------------------------------------------


def relu(x: mx.array) -> mx.array:
    """Rectified linear unit: max(x, 0).

    Example:
        >>> nn.relu(mx.array([-1.0, 2.0]))
        array([0, 2], dtype=float32)
    """
    return mx.maximum(x, 0)


def relu2(x: mx.array) -> mx.array:
    """Squared rectifier: max(x, 0)² (So et al., arXiv:2109.08668)."""
    return mx.square(mx.maximum(x, 0))


def relu6(x: mx.array) -> mx.array:
    """Rectifier capped at 6: min(max(x, 0), 6)."""
    return mx.minimum(mx.maximum(x, 0), 6.0)


def leaky_relu(x: mx.array, negative_slope: float = 0.01) -> mx.array:
    """Rectifier with a slope for negative values: max(negative_slope · x, x)."""
    return mx.maximum(negative_slope * x, x)


def prelu(x: mx.array, alpha: mx.array) -> mx.array:
    """Rectifier with a learned slope: max(0, x) + alpha · min(0, x).

    He et al., arXiv:1502.01852.
    """
    return mx.maximum(0, x) + alpha * mx.minimum(0, x)


def elu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """Exponential linear unit: x if x > 0, else alpha · (eˣ − 1).

    Clevert et al., arXiv:1511.07289.
    """
    # The minimum keeps the exponential, and so the gradient, finite where it is not chosen.
    return mx.where(x > 0, x, alpha * (mx.exp(mx.minimum(x, 0)) - 1))


def celu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """Continuously differentiable ELU: max(0, x) + alpha · (exp(min(0, x) / alpha) − 1).

    Barron, arXiv:1704.07483.
    """
    return mx.maximum(x, 0.0) + alpha * (mx.exp(mx.minimum(x, 0.0) / alpha) - 1)


def selu(x: mx.array) -> mx.array:
    """Scaled ELU: λ · elu(x, α) with λ = 1.0507, α = 1.67326.

    Klambauer et al., arXiv:1706.02515.
    """
    return 1.0507 * elu(x, 1.67326)


# ---- sigmoids and what is gated by them ----------------------------------------------------


def sigmoid(x: mx.array) -> mx.array:
    """Logistic function: 1 / (1 + e⁻ˣ)."""
    return mx.sigmoid(x)


def tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent."""
    return mx.tanh(x)


def softplus(x: mx.array) -> mx.array:
    """A smooth rectifier: log(1 + eˣ), without overflow."""
    return mx.logaddexp(x, 0)


def softsign(x: mx.array) -> mx.array:
    """x / (1 + |x|)."""
    return x / (1 + mx.abs(x))


def log_sigmoid(x: mx.array) -> mx.array:
    """Logarithm of the logistic function, −log(1 + e⁻ˣ), without overflow."""
    return -softplus(-x)


def silu(x: mx.array) -> mx.array:
    """Sigmoid linear unit, also called swish: x · sigmoid(x).

    Ramachandran et al., arXiv:1710.05941.
    """
    return x * mx.sigmoid(x)


def mish(x: mx.array) -> mx.array:
    """x · tanh(softplus(x)) (Misra, arXiv:1908.08681)."""
    return x * mx.tanh(softplus(x))


def glu(x: mx.array, axis: int = -1) -> mx.array:
    """Gated linear unit: a · sigmoid(b), where a and b are the two halves of ``x`` along ``axis``.

    Dauphin et al., arXiv:1612.08083. The output is half as long along ``axis``.
    """
    a, b = mx.split(x, 2, axis=axis)
    return a * mx.sigmoid(b)


# ---- Gaussian error linear units (Hendrycks and Gimpel, arXiv:1606.08415) ------------------


def gelu(x: mx.array) -> mx.array:
    """Gaussian error linear unit: x · Φ(x), Φ the normal distribution function.

    Example:
        >>> nn.gelu(mx.array([-1.0, 0.0, 1.0]))
        array([-0.158655, 0, 0.841345], dtype=float32)
    """
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def gelu_approx(x: mx.array) -> mx.array:
    """:func:`gelu` by a hyperbolic tangent: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_fast_approx(x: mx.array) -> mx.array:
    """:func:`gelu` by a logistic function: x · sigmoid(1.702 x)."""
    return x * mx.sigmoid(1.702 * x)


# ---- normalised exponentials ---------------------------------------------------------------


def softmax(x: mx.array, axis: int = -1) -> mx.array:
    """Exponentials divided by their sum along ``axis``."""
    return mx.softmax(x, axis=axis)


def softmin(x: mx.array, axis: int = -1) -> mx.array:
    """:func:`softmax` of −x."""
    return mx.softmax(-x, axis=axis)


def log_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """Logarithm of :func:`softmax`, without overflow: x − logsumexp(x)."""
    return x - mx.logsumexp(x, axis=axis, keepdims=True)


# ---- piecewise linear ----------------------------------------------------------------------


def step(x: mx.array, threshold: float = 0.0) -> mx.array:
    """1 where x ≥ threshold, else 0, as int32."""
    return mx.where(x >= threshold, 1, 0)


def hard_tanh(x: mx.array, min_val: float = -1.0, max_val: float = 1.0) -> mx.array:
    """min(max(x, min_val), max_val)."""
    return mx.minimum(mx.maximum(x, min_val), max_val)


def hardswish(x: mx.array) -> mx.array:
    """x · min(max(x + 3, 0), 6) / 6 (Howard et al., arXiv:1905.02244)."""
    return x * relu6(x + 3) / 6


def hard_shrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """x where |x| > lambd, else 0."""
    return mx.where(mx.abs(x) > lambd, x, 0)


def softshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """x moved towards 0 by lambd, or 0 where it would cross it."""
    return mx.where(mx.abs(x) > lambd, x - mx.sign(x) * lambd, 0)


# ---- layers --------------------------------------------------------------------------------


class _Activation(Module):
    """The layer of a function: calls it with the attributes that ``_arguments`` names."""

    _function: Callable[..., mx.array]
    _arguments: tuple[str, ...] = ()

    def __call__(self, x: mx.array) -> mx.array:
        return type(self)._function(x, *(getattr(self, name) for name in self._arguments))


class ReLU(_Activation):
    """The layer of :func:`relu`."""

    _function = staticmethod(relu)


class ReLU2(_Activation):
    """The layer of :func:`relu2`."""

    _function = staticmethod(relu2)


class ReLU6(_Activation):
    """The layer of :func:`relu6`."""

    _function = staticmethod(relu6)


class SELU(_Activation):
    """The layer of :func:`selu`."""

    _function = staticmethod(selu)


class Sigmoid(_Activation):
    """The layer of :func:`sigmoid`."""

    _function = staticmethod(sigmoid)


class Tanh(_Activation):
    """The layer of :func:`tanh`."""

    _function = staticmethod(tanh)


class Softplus(_Activation):
    """The layer of :func:`softplus`."""

    _function = staticmethod(softplus)


class Softsign(_Activation):
    """The layer of :func:`softsign`."""

    _function = staticmethod(softsign)


class LogSigmoid(_Activation):
    """The layer of :func:`log_sigmoid`."""

    _function = staticmethod(log_sigmoid)


class SiLU(_Activation):
    """The layer of :func:`silu`."""

    _function = staticmethod(silu)


class Mish(_Activation):
    """The layer of :func:`mish`."""

    _function = staticmethod(mish)


class Softmax(_Activation):
    """The layer of :func:`softmax`, along the last axis."""

    _function = staticmethod(softmax)


class Softmin(_Activation):
    """The layer of :func:`softmin`, along the last axis."""

    _function = staticmethod(softmin)


class LogSoftmax(_Activation):
    """The layer of :func:`log_softmax`, along the last axis."""

    _function = staticmethod(log_softmax)


class HardTanh(_Activation):
    """The layer of :func:`hard_tanh`."""

    _function = staticmethod(hard_tanh)


class Hardswish(_Activation):
    """The layer of :func:`hardswish`."""

    _function = staticmethod(hardswish)


class LeakyReLU(_Activation):
    """The layer of :func:`leaky_relu`."""

    _function = staticmethod(leaky_relu)
    _arguments = ("_negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self._negative_slope = negative_slope


class ELU(_Activation):
    """The layer of :func:`elu`."""

    _function = staticmethod(elu)
    _arguments = ("_alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha


class CELU(_Activation):
    """The layer of :func:`celu`."""

    _function = staticmethod(celu)
    _arguments = ("_alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha


class Step(_Activation):
    """The layer of :func:`step`."""

    _function = staticmethod(step)
    _arguments = ("threshold",)

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold


class HardShrink(_Activation):
    """The layer of :func:`hard_shrink`."""

    _function = staticmethod(hard_shrink)
    _arguments = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd


class Softshrink(_Activation):
    """The layer of :func:`softshrink`."""

    _function = staticmethod(softshrink)
    _arguments = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd


class GLU(_Activation):
    """The layer of :func:`glu`."""

    _function = staticmethod(glu)
    _arguments = ("axis",)

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis


class PReLU(_Activation):
    """The layer of :func:`prelu`: its slopes are the parameter ``weight``.

    Args:
        num_parameters: how many slopes; broadcast against the input's last axis.
        init: what they start as.
    """

    _function = staticmethod(prelu)
    _arguments = ("weight",)

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = mx.full((num_parameters,), init)


class GELU(Module):
    """The layer of :func:`gelu`.

    Args:
        approx: ``"none"``; ``"precise"`` or ``"tanh"`` for :func:`gelu_approx`; ``"fast"`` for
            :func:`gelu_fast_approx`.

    Raises:
        ValueError: another ``approx``.
    """

    _functions: dict[str, Any] = {
        "none": gelu,
        "precise": gelu_approx,
        "tanh": gelu_approx,
        "fast": gelu_fast_approx,
    }

    def __init__(self, approx: str = "none") -> None:
        super().__init__()
        if approx not in self._functions:
            raise ValueError(f"[GELU] approx must be one of {[*self._functions]}, got {approx!r}")
        self._approx = approx

    def __call__(self, x: mx.array) -> mx.array:
        return self._functions[self._approx](x)
