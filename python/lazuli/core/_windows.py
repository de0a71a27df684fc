"""Window functions, and parts of arrays at positions that are data."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

from lazuli import _lazuli as _c
from lazuli._lazuli import array
from lazuli.core._functions import _as_array, _axes

__all__ = ["as_strided", "bartlett", "blackman", "gather_mm", "hamming", "hanning", "slice", "slice_update"]


def _window(M: int, cosines: Sequence[float]) -> array:
    """Σ cosines[k] · cos(2πkn / (M − 1)) for n = 0 … M − 1 (Harris, Proc. IEEE 66, 1978, pages 51-83)."""
    if M <= 1:
        return _c.ones(max(M, 0))
    # From the middle outwards, so that both halves have the same bits.
    n = _c.abs(_c.arange(M) * 2 - (M - 1)) * (math.pi / (M - 1))
    out = _c.full(M, cosines[0])
    for k, c in enumerate(cosines[1:], 1):
        out = out + c * (-1) ** k * _c.cos(n * k)
    return out


def hanning(M: int, *, stream: Any = None) -> array:
    """The Hann window: 0.5 - 0.5 cos(2πn / (M - 1)) for n = 0 ... M - 1, float32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.hanning(3)
        array([0, 1, 0], dtype=float32)
    """
    return _window(M, (0.5, -0.5))


def hamming(M: int, *, stream: Any = None) -> array:
    """The Hamming window: 0.54 - 0.46 cos(2πn / (M - 1)) for n = 0 ... M - 1, float32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.hamming(3)
        array([0.08, 1, 0.08], dtype=float32)
    """
    return _window(M, (0.54, -0.46))


def blackman(M: int, *, stream: Any = None) -> array:
    """The Blackman window: 0.42 - 0.5 cos(2πn / (M - 1)) + 0.08 cos(4πn / (M - 1)) for n = 0 ... M - 1, float32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.round(mx.blackman(5), 2)
        array([-0, 0.34, 1, 0.34, -0], dtype=float32)
    """
    return _window(M, (0.42, -0.5, 0.08))


def bartlett(M: int, *, stream: Any = None) -> array:
    """The triangular window: 1 - 2|n - (M - 1) / 2| / (M - 1) for n = 0 ... M - 1, float32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.bartlett(5)
        array([0, 0.5, 1, 0.5, 0], dtype=float32)
    """
    if M <= 1:
        return _c.ones(max(M, 0))
    return 1.0 - _c.abs(_c.arange(M) * 2 - (M - 1)) / (M - 1)


def as_strided(
    a: array,
    /,
    shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    offset: int = 0,
    *,
    stream: Any = None,
) -> array:
    """Elements of the flattened array at ``offset + i * strides[0] + j * strides[1] + ...``.

    Args:
        a: an array, taken as if laid out row by row.
        shape: of the result; by default that of ``a``.
        strides: a step for each axis, in elements; by default those of a row-major array of this shape.
        offset: position of the first element.

    Raises:
        ValueError: a position is outside of the array.

    Example:
        >>> import lazuli.core as mx
        >>> mx.as_strided(mx.arange(6), (2, 3), (1, 2))
        array([[0, 2, 4],
               [1, 3, 5]], dtype=int32)
    """
    a = _as_array("as_strided", a)
    shape = a.shape if shape is None else tuple(shape)
    strides = tuple(math.prod(shape[k + 1 :]) for k in range(len(shape))) if strides is None else tuple(strides)
    if len(strides) != len(shape):
        raise ValueError(f"[as_strided] shape {shape} and strides {strides} have different lengths")
    if math.prod(shape) == 0:
        return _c.zeros(shape, a.dtype)
    ends = [(n - 1) * s for n, s in zip(shape, strides)]
    low, high = offset + sum(min(e, 0) for e in ends), offset + sum(max(e, 0) for e in ends)
    if low < 0 or high >= a.size:
        raise ValueError(f"[as_strided] positions {low} to {high} are not all within an array of {a.size} elements")
    at = _c.array(offset)
    for n, s in zip(shape, strides):
        at = _c.expand_dims(at, -1) + _c.arange(n) * s
    return _c.take(a.reshape(-1), at)


def _part(
    op: str, a: array, start: array, axes: Sequence[int], sizes: Sequence[int], *, from_first: bool
) -> tuple[Any, ...]:
    """The index of a part that begins at ``start``; parts that would leave the array are moved inside.

    It has positions along the axes that are named and those between, with ``from_first`` along all before, and rows behind.
    """
    start, axes = _as_array(op, start).reshape(-1), _axes(op, axes, a.ndim)
    if start.size != len(axes):
        raise ValueError(f"[{op}] {start.size} start indices were given for {len(axes)} axes")
    index: list[Any] = []
    named = range(0 if from_first else min(axes, default=0), max(axes, default=-1) + 1)
    for k, n in enumerate(sizes):
        if n < 0 or n > a.shape[k]:
            raise ValueError(f"[{op}] a part of extent {n} does not fit axis {k} of an array of shape {a.shape}")
        if k not in named:
            # All of an axis without its extent being read, which stays symbolic.
            index.append(builtins.slice(None, None if n == a.shape[k] else n))
            continue
        grid = _c.arange(n)
        if k in axes:
            last = _c.subtract(a.shape[k], n)
            grid = grid + _c.maximum(_c.minimum(start[axes.index(k)], last), 0)
        index.append(grid.reshape([-1 if j == k else 1 for j in named]))
    return tuple(index)


def slice(a: array, start_indices: array, axes: Sequence[int], slice_size: Sequence[int], *, stream: Any = None) -> array:
    """A part of an array that begins at positions which are data.

    Args:
        a: an array.
        start_indices: integers, where the part begins along each of ``axes``; along the others it begins at 0. A part that would leave
            the array is moved inside.
        axes: the axes.
        slice_size: extents of the part, one for each axis of ``a``.

    Example:
        >>> import lazuli.core as mx
        >>> mx.slice(mx.array([[1, 2, 3], [4, 5, 6]]), mx.array([1, 1]), (0, 1), (1, 2))
        array([[5, 6]], dtype=int32)
    """
    a = _as_array("slice", a)
    sizes = list(slice_size)
    if len(sizes) != a.ndim:
        raise ValueError(f"[slice] slice_size has {len(sizes)} extents, and the array {a.ndim} dimensions")
    part = _part("slice", a, start_indices, axes, sizes, from_first=False)
    return a[part] if all(n > 0 for n in sizes) else _c.zeros(sizes, a.dtype)


def slice_update(a: array, update: array, start_indices: array, axes: Sequence[int], *, stream: Any = None) -> array:
    """The array with a part replaced that begins at positions which are data, as for ``slice``.

    Args:
        a: an array; it stays as it is.
        update: the part, with as many dimensions as ``a``; converted to its dtype.

    Example:
        >>> import lazuli.core as mx
        >>> mx.slice_update(mx.zeros((2, 2)), mx.ones((1, 2)), mx.array(1), (0,))
        array([[0, 0],
               [1, 1]], dtype=float32)
    """
    a, update = _as_array("slice_update", a), _as_array("slice_update", update)
    if update.ndim != a.ndim:
        raise ValueError(f"[slice_update] an update of shape {update.shape} for an array of shape {a.shape}")
    # Rows that are written lie one behind another.
    part, out = _part("slice_update", a, start_indices, axes, update.shape, from_first=True), array(a)
    if all(n > 0 for n in update.shape):
        out[part] = update
    return out


def gather_mm(
    a: array,
    b: array,
    /,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """Products of matrices that indices choose from batches.

    Args:
        a, b: arrays of shape (..., n, k) and (..., k, m); the axes before the matrices count as one, flattened.
        lhs_indices, rhs_indices: integers that broadcast, which matrix of each; by default all in order.
        sorted_indices: a hint that is not needed.

    Example:
        >>> import lazuli.core as mx
        >>> a, b = mx.ones((2, 1, 3)), mx.arange(6.0).reshape(2, 3, 1)
        >>> mx.gather_mm(a, b, mx.array([0, 1, 1]), mx.array([0, 0, 1])).reshape(-1)
        array([3, 3, 12], dtype=float32)
    """

    def chosen(v: Any, indices: Any) -> array:
        v = _as_array("gather_mm", v)
        if v.ndim < 2:
            raise ValueError(f"[gather_mm] takes matrices, not an array of shape {v.shape}")
        if indices is None:
            return v
        return _c.take(v.reshape(-1, *v.shape[-2:]), _as_array("gather_mm", indices), 0)

    return chosen(a, lhs_indices) @ chosen(b, rhs_indices)
