"""Loss functions.

Each computes an array of losses and reduces it as ``reduction`` says: ``"none"`` returns it whole,
``"mean"`` and ``"sum"`` a scalar. Shapes must match where the text does not say otherwise: they are
not broadcast, since a loss over an accidental outer product trains, but on the wrong thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import lazuli.core as mx
from lazuli import _spelling

__all__ = [
    "binary_cross_entropy",
    "cosine_similarity_loss",
    "cross_entropy",
    "gaussian_nll_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div_loss",
    "l1_loss",
    "log_cosh_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
    "triplet_loss",
]

Reduction = Literal["none", "mean", "sum"]


def _reduce(op: str, loss: mx.array, reduction: Reduction) -> mx.array:
    if reduction == "mean":
        return mx.mean(loss)
    if reduction == "sum":
        return mx.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"[{op}] reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _arrays(op: str, **values: Any) -> None:
    for name, value in values.items():
        if not hasattr(value, "ndim"):
            raise TypeError(f"[{op}] {name} must be an array, not {type(value).__name__}: give mx.array({name})")


def _same_shape(op: str, **arrays: mx.array) -> None:
    _arrays(op, **arrays)
    first, *others = arrays.values()
    if any(a.shape != first.shape for a in others):
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(f"[{op}] shapes must be the same, got {shapes}")


def _at_nonzero(fn: Callable[[mx.array], mx.array], x: mx.array, at_zero: float) -> mx.array:
    """``fn(x)``, but ``at_zero`` with gradient zero where x is 0 and the derivative infinite."""
    zero = x == 0
    return mx.where(zero, at_zero, fn(mx.where(zero, 1, x)))


def _clipped_log(p: mx.array) -> mx.array:
    return mx.maximum(_at_nonzero(mx.log, p, -100), -100)


# ---- classification ------------------------------------------------------------------------


def cross_entropy(
    logits: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """Cross entropy of the distributions softmax(logits) with the targets.

    Args:
        logits: scores, not normalised, of the classes along ``axis``.
        targets: class indices, of the shape of ``logits`` without ``axis``, or probabilities q, of
            the shape of ``logits``, for −Σ q log softmax(logits).
        weights: factors of the losses, of their shape.
        axis: the axis of the classes.
        label_smoothing: how much of the target to spread evenly over all classes, in [0, 1)
            (Szegedy et al., arXiv:1512.00567).
        reduction: how to reduce the losses, of the shape of ``logits`` without ``axis``.

    Raises:
        ValueError: the shapes do not match, or an argument is out of its range.

    Example:
        >>> logits = mx.array([[2.0, -1.0], [-1.0, 2.0]])
        >>> nn.losses.cross_entropy(logits, mx.array([0, 1]))
        array([0.0485873, 0.0485873], dtype=float32)
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"[cross_entropy] label_smoothing must be in [0, 1), got {label_smoothing}"
        )
    _arrays("cross_entropy", logits=logits, targets=targets)
    classes = axis % logits.ndim
    expected = logits.shape[:classes] + logits.shape[classes + 1 :]
    # −Σ q log p, where log p = logits − log Σ exp(logits); `mass` is Σ q.
    mass: mx.array | float = 1.0
    if targets.ndim == logits.ndim:
        _same_shape("cross_entropy", logits=logits, targets=targets)
        score = mx.sum(logits * targets, axis=axis)
        mass = mx.sum(targets, axis=axis)
    elif tuple(targets.shape) == tuple(expected):
        if mx.issubdtype(targets.dtype, mx.inexact):
            dtype = str(targets.dtype).split(".")[-1]
            raise ValueError(
                f"[cross_entropy] targets of shape {targets.shape} are class indices, of an integer dtype, not {dtype}: "
                f"cast them with astype(mx.int32), or give probabilities of shape {logits.shape}"
            )
        indices = mx.expand_dims(targets, axis)
        score = mx.take_along_axis(logits, indices, axis=axis).squeeze(axis)
    else:
        raise ValueError(
            f"[cross_entropy] logits {logits.shape} take class indices of shape {expected} or "
            f"probabilities of shape {logits.shape}, got targets {targets.shape}"
        )
    if label_smoothing > 0:
        score = (1 - label_smoothing) * score + label_smoothing * mx.mean(logits, axis=axis)
        mass = (1 - label_smoothing) * mass + label_smoothing
    loss = mass * mx.logsumexp(logits, axis=axis) - score
    if weights is not None:
        _same_shape("cross_entropy", weights=weights, losses=loss)
        loss = loss * weights
    return _reduce("cross_entropy", loss, reduction)


def binary_cross_entropy(
    inputs: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    with_logits: bool = True,
    reduction: Reduction = "mean",
) -> mx.array:
    """Cross entropy of Bernoulli distributions with the targets.

    Args:
        inputs: logits if ``with_logits``, else probabilities.
        targets: 0 or 1, or probabilities.
        weights: factors of the losses.
        with_logits: what ``inputs`` are. Logits are faster and lose no precision; logarithms of
            probabilities are cut off at −100.
        reduction: how to reduce the losses, of the shape of ``inputs``.

    Example:
        >>> logits = mx.array([0.105361, 0.223144, 1.20397, 0.916291])
        >>> nn.losses.binary_cross_entropy(logits, mx.array([0, 0, 1, 1]))
        array(0.539246, dtype=float32)
    """
    _same_shape("binary_cross_entropy", inputs=inputs, targets=targets)
    if with_logits:
        loss = mx.logaddexp(0.0, inputs) - inputs * targets
    else:
        loss = -(targets * _clipped_log(inputs) + (1 - targets) * _clipped_log(1 - inputs))
    if weights is not None:
        _same_shape("binary_cross_entropy", weights=weights, losses=loss)
        loss = loss * weights
    return _reduce("binary_cross_entropy", loss, reduction)


def nll_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """Negative log likelihood: −inputs at the index ``targets``.

    Args:
        inputs: log probabilities of the classes along ``axis``.
        targets: class indices, of the shape of ``inputs`` without ``axis``.
        axis: the axis of the classes.
        reduction: how to reduce the losses, of the shape of ``targets``.
    """
    picked = mx.take_along_axis(inputs, mx.expand_dims(targets, axis), axis=axis)
    return _reduce("nll_loss", -picked.squeeze(axis), reduction)


def kl_div_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """Kullback-Leibler divergence: Σ exp(targets) · (targets − inputs) along ``axis``.

    Args:
        inputs: log probabilities of the prediction.
        targets: log probabilities of the target.
        axis: the axis of the distribution.
        reduction: how to reduce the losses, of the shape of ``inputs`` without ``axis``.
    """
    loss = mx.sum(mx.exp(targets) * (targets - inputs), axis=axis)
    return _reduce("kl_div_loss", loss, reduction)


def hinge_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """max(0, 1 − inputs · targets), for targets of −1 or 1."""
    return _reduce("hinge_loss", mx.maximum(1 - inputs * targets, 0), reduction)


# ---- regression ----------------------------------------------------------------------------


def l1_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """Absolute error: |predictions − targets|."""
    _same_shape("l1_loss", predictions=predictions, targets=targets)
    return _reduce("l1_loss", mx.abs(predictions - targets), reduction)


def mse_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """Squared error: (predictions − targets)².

    Example:
        >>> nn.losses.mse_loss(mx.array([1.0, 2.0]), mx.array([1.0, 4.0]))
        array(2, dtype=float32)
    """
    _same_shape("mse_loss", predictions=predictions, targets=targets)
    return _reduce("mse_loss", mx.square(predictions - targets), reduction)


def smooth_l1_loss(
    predictions: mx.array, targets: mx.array, beta: float = 1.0, reduction: Reduction = "mean"
) -> mx.array:
    """With d = |predictions − targets|: d² / (2 beta) where d < beta, else d − beta / 2.

    Girshick, arXiv:1504.08083. With ``beta == 0`` the absolute error.
    """
    _same_shape("smooth_l1_loss", predictions=predictions, targets=targets)
    error = mx.abs(predictions - targets)
    if beta == 0:
        return _reduce("smooth_l1_loss", error, reduction)
    loss = mx.where(error < beta, 0.5 * mx.square(error) / beta, error - 0.5 * beta)
    return _reduce("smooth_l1_loss", loss, reduction)


def huber_loss(
    inputs: mx.array, targets: mx.array, delta: float = 1.0, reduction: Reduction = "none"
) -> mx.array:
    """With d = |inputs − targets|: d² / 2 where d ≤ delta, else delta · (d − delta / 2).

    Huber, Ann. Math. Statist. 35 (1964), 73.
    """
    error = mx.abs(inputs - targets)
    loss = mx.where(error <= delta, 0.5 * mx.square(error), delta * (error - 0.5 * delta))
    return _reduce("huber_loss", loss, reduction)


def log_cosh_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """log cosh d with d = inputs − targets, without overflow.

    Near d² / 2 for small d, |d| − log 2 for large.
    """
    error = inputs - targets
    return _reduce("log_cosh_loss", mx.logaddexp(error, -error) - math.log(2), reduction)


def gaussian_nll_loss(
    inputs: mx.array,
    targets: mx.array,
    vars: mx.array,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> mx.array:
    """Negative log likelihood of normal distributions: (log v + (inputs − targets)² / v) / 2.

    Args:
        inputs: means.
        targets: samples.
        vars: variances; v is max(vars, eps).
        full: whether to add the constant log(2π) / 2.
        eps: the least variance.
        reduction: how to reduce the losses, of the shape of ``inputs``.
    """
    _same_shape("gaussian_nll_loss", inputs=inputs, targets=targets, vars=vars)
    variance = mx.maximum(vars, eps)
    loss = 0.5 * (mx.log(variance) + mx.square(targets - inputs) / variance)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce("gaussian_nll_loss", loss, reduction)


# ---- similarity and ranking ----------------------------------------------------------------


def cosine_similarity_loss(
    x1: mx.array,
    x2: mx.array,
    axis: int = 1,
    eps: float = 1e-8,
    reduction: Reduction = "none",
) -> mx.array:
    """The cosine of the angle between vectors along ``axis``: x1 · x2 / max(‖x1‖ ‖x2‖, eps)."""

    def norm(x: mx.array) -> mx.array:
        return _at_nonzero(mx.sqrt, mx.sum(mx.square(x), axis=axis), 0)

    loss = mx.sum(x1 * x2, axis=axis) / mx.maximum(norm(x1) * norm(x2), eps)
    return _reduce("cosine_similarity_loss", loss, reduction)


def triplet_loss(
    anchors: mx.array,
    positives: mx.array,
    negatives: mx.array,
    axis: int = -1,
    p: int = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: Reduction = "none",
) -> mx.array:
    """max(‖anchors − positives‖ − ‖anchors − negatives‖ + margin, 0), with p-norms along ``axis``.

    Schroff et al., arXiv:1503.03832. ``eps`` is added under the root of the norms.
    """

    def distance(x: mx.array) -> mx.array:
        return (mx.sum(mx.abs(anchors - x) ** p, axis=axis) + eps) ** (1 / p)

    loss = mx.maximum(distance(positives) - distance(negatives) + margin, 0)
    return _reduce("triplet_loss", loss, reduction)


def margin_ranking_loss(
    inputs1: mx.array,
    inputs2: mx.array,
    targets: mx.array,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """max(0, −targets · (inputs1 − inputs2) + margin).

    A target of 1 wants ``inputs1`` to be larger, −1 ``inputs2``.

    Example:
        >>> nn.losses.margin_ranking_loss(mx.array([3.0]), mx.array([1.0]), mx.array([-1]))
        array([2], dtype=float32)
    """
    _same_shape("margin_ranking_loss", inputs1=inputs1, inputs2=inputs2, targets=targets)
    loss = mx.maximum(0, -targets * (inputs1 - inputs2) + margin)
    return _reduce("margin_ranking_loss", loss, reduction)

_spelling.answer(__name__, "nn.losses", lambda: __all__, _spelling.LOSSES)
