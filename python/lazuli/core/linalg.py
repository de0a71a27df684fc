"""Linear algebra: ``norm`` and ``cross``. Absent so far: the decompositions and what needs them (``svd``, ``qr``, ``inv``, ``solve``, ``eigh``, ...)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lazuli import _lazuli as _c
from lazuli import _spelling
from lazuli._lazuli import array
from lazuli.core._functions import _as_array, _axes, _axis

__all__ = ["cross", "norm"]


def norm(
    a: array,
    /,
    ord: int | float | str | None = None,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    stream: Any = None,
) -> array:
    """Norm of vectors or matrices.

    Args:
        a: the array; integers count as float32.
        ord: of a vector: ``p`` gives ``sum(|a|**p)**(1/p)``, infinities the largest and smallest magnitude, 0 the
            number of elements that are not 0. Of a matrix: ``"fro"``, 1 and -1 (largest and smallest sum of a
            column's magnitudes), infinities (of a row's). By default the root of the sum of squares.
        axis: one axis for vectors, two for matrices. By default all of the array.
        keepdims: keep the axes, with extent 1.

    Raises:
        NotImplementedError: for matrix norms that need singular values (``"nuc"``, 2 and -2).

    Example:
        >>> import lazuli.core as mx
        >>> mx.linalg.norm(mx.array([3.0, 4.0]))
        array(5, dtype=float32)
    """
    a = _as_array("linalg.norm", a)
    if not _c.issubdtype(a.dtype, _c.inexact):
        a = a.astype(_c.float32)
    axes = _axes("linalg.norm", axis, a.ndim)
    if ord is None or (ord == "fro" and len(axes) == 2):
        magnitude = _c.abs(a) if a.dtype == _c.complex64 else a
        return _c.sqrt(_c.square(magnitude).sum(axes, keepdims))
    if len(axes) == 1:
        return _vector(_c.abs(a), ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"[linalg.norm] ord={ord!r} needs one axis (vectors) or two (matrices), not {len(axes)}")
    return _matrix(_c.abs(a), ord, axes, keepdims)


def _vector(magnitude: array, ord: Any, axis: int, keepdims: bool) -> array:
    if isinstance(ord, str):
        raise ValueError(f"[linalg.norm] ord={ord!r} is no norm of vectors")
    if ord == math.inf:
        return magnitude.max(axis, keepdims)
    if ord == -math.inf:
        return magnitude.min(axis, keepdims)
    if ord == 0:
        return (magnitude != 0).astype(magnitude.dtype).sum(axis, keepdims)
    if ord == 1:
        return magnitude.sum(axis, keepdims)
    if ord == 2:
        return _c.sqrt(_c.square(magnitude).sum(axis, keepdims))
    return (magnitude**ord).sum(axis, keepdims) ** (1.0 / ord)


def _matrix(magnitude: array, ord: Any, axes: list[int], keepdims: bool) -> array:
    if ord in ("nuc", 2, -2):
        raise NotImplementedError(f"[linalg.norm] ord={ord!r} needs singular values, which are not there yet")
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise ValueError(f"[linalg.norm] ord={ord!r} is no norm of matrices")
    summed, kept = axes if abs(ord) == 1 else axes[::-1]
    sums = magnitude.sum(summed, True)
    out = sums.max(kept, True) if ord > 0 else sums.min(kept, True)
    return out if keepdims else out.squeeze(axes)


def cross(a: array, b: array, axis: int = -1, *, stream: Any = None) -> array:
    """The cross product of vectors along an axis; the other axes broadcast.

    Args:
        a, b: arrays with extent 3 or 2 along the axis; the third component of vectors of two is 0.
        axis: the axis.

    Returns:
        array: with extent 3 along the axis; without the axis if both have two components: then it is the third.

    Raises:
        ValueError: vectors of another length.

    Example:
        >>> import lazuli.core as mx
        >>> mx.linalg.cross(mx.array([1.0, 0.0, 0.0]), mx.array([0.0, 1.0, 0.0]))
        array([0, 0, 1], dtype=float32)
    """
    a, b = _as_array("linalg.cross", a), _as_array("linalg.cross", b)
    i, j = _axis("linalg.cross", axis, a.ndim), _axis("linalg.cross", axis, b.ndim)
    n, m = a.shape[i], b.shape[j]
    if n not in (2, 3) or m not in (2, 3):
        raise ValueError(f"[linalg.cross] vectors have 2 or 3 components, not {n} and {m}")
    x, y = ([v.squeeze(k) for v in v_.split(v_.shape[k], k)] for v_, k in ((a, i), (b, j)))
    third = x[0] * y[1] - x[1] * y[0]
    if n == m == 2:
        return third
    zero = _c.zeros_like(third)
    (x0, x1, x2), (y0, y1, y2) = (v if len(v) == 3 else [*v, zero] for v in (x, y))
    return _c.stack([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, third], axis)

_spelling.answer(__name__, "mx.linalg", lambda: __all__, _spelling.LINALG, _spelling.FUNCTIONS)
