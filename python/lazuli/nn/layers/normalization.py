"""Normalisation layers: subtract a mean, divide by a standard deviation, scale and shift.

Channels are the last axis. Statistics and normalised values of float16 and bfloat16 inputs are
computed in float32; the output has the promoted dtype of input and parameters. Variances divide
by n (not n − 1), except in the running estimate of :class:`BatchNorm`.
"""

from __future__ import annotations

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]

Axes = int | tuple[int, ...]


def widen(x: mx.array) -> mx.array:
    """``x``, in float32 if it is of half precision."""
    return x.astype(mx.float32) if x.dtype in (mx.float16, mx.bfloat16) else x


def _standardise(x: mx.array, axis: Axes, eps: float) -> mx.array:
    mean = mx.mean(x, axis=axis, keepdims=True)
    variance = mx.var(x, axis=axis, keepdims=True)
    return (x - mean) * mx.rsqrt(variance + eps)


class _Norm(Module):
    """What the layers share: optional parameters ``weight`` and ``bias`` of shape ``(dims,)``."""

    def _add_affine(self, dims: int, bias: bool = True) -> None:
        self.weight = mx.ones((dims,))
        if bias:
            self.bias = mx.zeros((dims,))

    def _check(self, x: mx.array, dims: int) -> None:
        """Refuses an input of other features, those that would broadcast among them."""
        if x.ndim == 0 or x.shape[-1] != dims:
            kind = type(self).__name__
            raise ValueError(f"[{kind}] takes an array of shape (..., {dims}), not one of shape {tuple(x.shape)}")

    def _affine(self, y: mx.array, dtype: mx.Dtype) -> mx.array:
        """Scale and shift ``y``, made from an input of ``dtype``."""
        narrow = dtype
        for name, op in (("weight", mx.multiply), ("bias", mx.add)):
            if name in self:
                self._check(y, self[name].shape[0])
                y = op(y, self[name])
                if self[name].dtype != dtype:
                    narrow = y.dtype
        return y.astype(narrow)


class LayerNorm(_Norm):
    """Normalises over the last axis: (x − E[x]) / √(Var[x] + eps) · weight + bias.

    Ba et al., arXiv:1607.06450. Shape: ``(..., dims)`` to the same.

    Args:
        dims: length of the last axis.
        eps: added to the variance.
        affine: whether to scale by a parameter ``weight`` (ones at first).
        bias: whether to also shift by a parameter ``bias`` (zeros at first).

    Example:
        >>> nn.LayerNorm(2)(mx.array([[1.0, 3.0]])).round(3)
        array([[-1, 1]], dtype=float32)
    """

    def __init__(
        self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        if affine:
            self._add_affine(dims, bias)
        self.eps = eps
        self.dims = dims

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        return self._affine(_standardise(widen(x), -1, self.eps), x.dtype)


class RMSNorm(_Norm):
    """Divides by the root mean square of the last axis: x / √(E[x²] + eps) · weight.

    Zhang and Sennrich, arXiv:1910.07467. Shape: ``(..., dims)`` to the same.

    Args:
        dims: length of the last axis.
        eps: added to the mean square.
    """

    def __init__(self, dims: int, eps: float = 1e-5) -> None:
        super().__init__()
        self._add_affine(dims, bias=False)
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"

    def __call__(self, x: mx.array) -> mx.array:
        wide = widen(x)
        mean_square = mx.mean(mx.square(wide), axis=-1, keepdims=True)
        return self._affine(wide * mx.rsqrt(mean_square + self.eps), x.dtype)


class InstanceNorm(_Norm):
    """Normalises each channel of each example over its positions.

    Ulyanov et al., arXiv:1607.08022.

    Shape: ``(N, ..., dims)`` with at least one axis of positions, to the same.

    Args:
        dims: the number of channels.
        eps: added to the variance.
        affine: whether to scale and shift by parameters ``weight`` and ``bias``.
    """

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        if affine:
            self._add_affine(dims)
        self.dims = dims
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim < 3:
            raise ValueError(f"[InstanceNorm] expected shape (N, ..., {self.dims}), got {x.shape}")
        positions = tuple(range(1, x.ndim - 1))
        return self._affine(_standardise(widen(x), positions, self.eps), x.dtype)


class GroupNorm(_Norm):
    """Normalises each group of channels of each example over positions and group.

    Wu and He, arXiv:1803.08494. Shape: ``(N, ..., dims)`` to the same.

    Args:
        num_groups: the number of groups.
        dims: the number of channels; a multiple of ``num_groups``.
        eps: added to the variance.
        affine: whether to scale and shift by parameters ``weight`` and ``bias``.
        pytorch_compatible: whether a group is a run of consecutive channels, as in PyTorch. If
            not, group g is the channels that are g modulo ``num_groups``.

    Raises:
        ValueError: ``num_groups`` does not divide ``dims``.
    """

    def __init__(
        self,
        num_groups: int,
        dims: int,
        eps: float = 1e-5,
        affine: bool = True,
        pytorch_compatible: bool = False,
    ) -> None:
        super().__init__()
        if dims % num_groups != 0:
            raise ValueError(
                f"[GroupNorm] {num_groups} groups do not divide {dims} channels evenly"
            )
        if affine:
            self._add_affine(dims)
        self.num_groups = num_groups
        self.dims = dims
        self.eps = eps
        self.pytorch_compatible = pytorch_compatible

    def _extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.dims}, eps={self.eps}, affine={'weight' in self}, "
            f"pytorch_compatible={self.pytorch_compatible}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim < 2:
            raise ValueError(f"[GroupNorm] expected shape (N, ..., {self.dims}), got {x.shape}")
        self._check(x, self.dims)
        batch, *_, dims = x.shape
        size = dims // self.num_groups
        split, reduced = (
            ((self.num_groups, size), (1, 3))
            if self.pytorch_compatible
            else ((size, self.num_groups), (1, 2))
        )
        grouped = widen(x).reshape(batch, -1, *split)
        return self._affine(_standardise(grouped, reduced, self.eps).reshape(x.shape), x.dtype)


class BatchNorm(_Norm):
    """Normalises each channel over batch and positions (Ioffe and Szegedy, arXiv:1502.03167).

    In training mode with the statistics of the input, which also update the running ones; in
    evaluation mode with the running ones. ``running_mean`` and ``running_var`` are state, never
    trained.

    Shape: ``(N, C)``, ``(N, L, C)`` or ``(N, H, W, C)`` to the same.

    Args:
        num_features: the number of channels.
        eps: added to the variance.
        momentum: the weight of the newest statistics in the running ones.
        affine: whether to scale and shift by parameters ``weight`` and ``bias``.
        track_running_stats: whether to keep running statistics; without, those of the input are
            used in both modes.

    Example:
        >>> layer = nn.BatchNorm(3)
        >>> layer(mx.ones((4, 3))).shape
        (4, 3)
        >>> layer.running_mean
        array([0.1, 0.1, 0.1], dtype=float32)
    """

    _never_trained = frozenset({"running_mean", "running_var"})

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if affine:
            self._add_affine(num_features)
        if track_running_stats:
            self.running_mean = mx.zeros((num_features,))
            self.running_var = mx.ones((num_features,))
            self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def _extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={'weight' in self}, track_running_stats={self.track_running_stats}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if not 2 <= x.ndim <= 4:
            raise ValueError(
                f"[BatchNorm] expected an input of 2, 3 or 4 axes, got shape {x.shape}"
            )
        if self.track_running_stats:
            self._check(x, self.num_features)
        wide = widen(x)
        if self.training or not self.track_running_stats:
            if self.training and all(n == 1 for n in x.shape[:-1]):
                raise ValueError(
                    "[BatchNorm] training needs more than one value per channel, "
                    f"got shape {x.shape}"
                )
            others = tuple(range(x.ndim - 1))
            mean = mx.mean(wide, axis=others)
            variance = mx.var(wide, axis=others)
            if self.training and self.track_running_stats:
                self._update_running(mean, mx.var(wide, axis=others, ddof=1))
        else:
            mean, variance = self.running_mean, self.running_var
        return self._affine((wide - mean) * mx.rsqrt(variance + self.eps), x.dtype)

    def _update_running(self, mean: mx.array, variance: mx.array) -> None:
        m = self.momentum
        self.running_mean = (1 - m) * self.running_mean + m * mean
        self.running_var = (1 - m) * self.running_var + m * variance
