"""Linear algebra: ``norm``. Absent so far: the decompositions and what needs them (``svd``, ``qr``, ``inv``, ``solve``, ``eigh``, ...)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lazuli import _lazuli as _c
from lazuli._lazuli import array

__all__ = ["norm"]


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
    if not _c.issubdtype(a.dtype, _c.inexact):
        a = a.astype(_c.float32)
    axes = list(range(a.ndim)) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    if ord is None or (ord == "fro" and len(axes) == 2):
        magnitude = _c.abs(a) if a.dtype == _c.complex64 else a
        return _c.sqrt(_c.square(magnitude).sum(axes, keepdims))
    if len(axes) == 1:
        return _vector(_c.abs(a), ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"[linalg.norm] ord={ord!r} needs one axis (vectors) or two (matrices), not {len(axes)}")
    return _matrix(_c.abs(a), ord, [k % a.ndim for k in axes], keepdims)


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
