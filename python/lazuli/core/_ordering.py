"""Functions of the order of elements, and of counting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazuli import _lazuli as _c
from lazuli._lazuli import array
from lazuli.core._functions import _as_array, _axis, _part

__all__ = ["argpartition", "count_nonzero", "minmax", "partition", "searchsorted", "topk", "unique"]


def _along(op: str, a: Any, axis: int | None) -> tuple[array, int]:
    """The array and the axis to work along; flattened if there is no axis."""
    a = _as_array(op, a)
    return (a.reshape(-1), 0) if axis is None else (a, _axis(op, axis, a.ndim))


def _kth(op: str, a: array, kth: int, axis: int) -> None:
    n = a.shape[axis]
    if kth >= n or -kth > n:
        raise ValueError(f"[{op}] kth={kth} is out of bounds for an axis of extent {n}")


def partition(a: array, kth: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """Elements along an axis such that those before position ``kth`` are not larger (they are sorted).

    Args:
        a: an array that is not complex.
        kth: a position along the axis.
        axis: the axis; None flattens the array first.

    Example:
        >>> import lazuli.core as mx
        >>> mx.partition(mx.array([3, 1, 2]), 1)
        array([1, 2, 3], dtype=int32)
    """
    a, axis = _along("partition", a, axis)
    _kth("partition", a, kth, axis)
    return _c.sort(a, axis)


def argpartition(a: array, kth: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """The positions (uint32) of what ``partition`` returns.

    Example:
        >>> import lazuli.core as mx
        >>> mx.argpartition(mx.array([3, 1, 2]), 1)
        array([1, 2, 0], dtype=uint32)
    """
    a, axis = _along("argpartition", a, axis)
    _kth("argpartition", a, kth, axis)
    return _c.argsort(a, axis)


def topk(a: array, k: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """The ``k`` largest elements along an axis, ascending.

    Raises:
        ValueError: the axis has fewer than ``k`` elements.

    Example:
        >>> import lazuli.core as mx
        >>> mx.topk(mx.array([3, 1, 4, 2]), 2)
        array([3, 4], dtype=int32)
    """
    a, axis = _along("topk", a, axis)
    n = a.shape[axis]
    if k < 0 or k > n:
        raise ValueError(f"[topk] k={k} is out of bounds for an axis of extent {n}")
    return _part(_c.sort(a, axis), axis, slice(-k, None) if k else slice(0, 0))


def minmax(
    a: array, axis: int | Sequence[int] | None = None, keepdims: bool = False, *, stream: Any = None
) -> tuple[array, array]:
    """The smallest and the largest element over axes, as ``min`` and ``max`` find them.

    Example:
        >>> import lazuli.core as mx
        >>> mx.minmax(mx.array([3, 1, 2]))
        (array(1, dtype=int32), array(3, dtype=int32))
    """
    return _c.min(a, axis, keepdims), _c.max(a, axis, keepdims)


def count_nonzero(
    a: array, *, axis: int | Sequence[int] | None = None, keepdims: bool = False, stream: Any = None
) -> array:
    """How many elements over axes are not 0: int32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.count_nonzero(mx.array([[1, 0], [3, 4]]), axis=0)
        array([2, 1], dtype=int32)
    """
    return (_as_array("count_nonzero", a) != 0).sum(axis, keepdims)


def _before(a: array, b: array) -> array:
    """Whether ``a`` is sorted before ``b``: NaN is last."""
    if not _c.issubdtype(a.dtype, _c.inexact) and not _c.issubdtype(b.dtype, _c.inexact):
        return a < b
    return _c.logical_or(a < b, _c.logical_and(_c.isnan(b), _c.logical_not(_c.isnan(a))))


def searchsorted(
    sorted_sequence: array, values: array, /, side: str = "left", *, stream: Any = None
) -> array:
    """Where values would go in a sorted vector, by binary search.

    Args:
        sorted_sequence: a vector, ascending, NaN last.
        values: an array of any shape.
        side: ``"left"`` gives the number of elements smaller than the value, ``"right"`` that of those not larger.

    Returns:
        array: uint32, of the shape of ``values``.

    Example:
        >>> import lazuli.core as mx
        >>> mx.searchsorted(mx.array([1, 2, 2, 4]), mx.array([0, 2, 5]))
        array([0, 1, 4], dtype=uint32)
    """
    a, v = _as_array("searchsorted", sorted_sequence), _as_array("searchsorted", values)
    if a.ndim != 1:
        raise ValueError(f"[searchsorted] sorted_sequence is a vector, not an array of shape {a.shape}")
    if side not in ("left", "right"):
        raise ValueError(f'[searchsorted] side is "left" or "right", not {side!r}')
    low, high = _c.zeros(v.shape, _c.int32), _c.full(v.shape, a.size, _c.int32)
    for _ in range(a.size.bit_length()):
        middle = (low + high) // 2
        at = _c.take(a, middle)
        behind = _before(at, v) if side == "left" else _c.logical_not(_before(v, at))
        behind = _c.logical_and(behind, low < high)
        low, high = _c.where(behind, middle + 1, low), _c.where(behind, high, middle)
    return low.astype(_c.uint32)


def unique(
    a: array,
    /,
    size: int,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    fill_value: Any = None,
    *,
    stream: Any = None,
) -> Any:
    """The sorted distinct elements of the flattened array, as many as ``size`` says: the shape may not depend on values.

    Args:
        a: an array that is not complex and not empty. Every NaN is distinct.
        size: of the result. If there are more distinct elements, the smallest are returned.
        return_index: also return where each is first (uint32).
        return_inverse: also return which one each element of ``a`` is (uint32, of the shape of ``a``).
        return_counts: also return how often each occurs (int32), 0 for those filled in.
        fill_value: stands where there are fewer; by default the smallest element.

    Returns:
        array | tuple[array, ...]: values, then index, inverse and counts as asked for.

    Example:
        >>> import lazuli.core as mx
        >>> mx.unique(mx.array([2, 1, 2, 3, 1]), 3, return_counts=True)
        (array([1, 2, 3], dtype=int32), array([2, 2, 1], dtype=int32))
    """
    a = _as_array("unique", a)
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"[unique] size is a number of elements, not {size!r}")
    if a.size == 0:
        raise ValueError("[unique] the array is empty")
    flat = a.reshape(-1)
    order = _c.argsort(flat)
    ordered = _c.take(flat, order)
    begins = _c.concatenate([_c.array([True]), ordered[1:] != ordered[:-1]])
    group = _c.cumsum(begins.astype(_c.int32)) - 1
    # One slot more than asked for takes what is not wanted.
    slot = _c.where(_c.logical_and(begins, group < size), group, size)

    def gathered(values: array, fill: array) -> array:
        out = _c.broadcast_to(fill.astype(values.dtype), (size + 1,))
        return _c.put_along_axis(out, slot, values, 0)[:size]

    fill = ordered[0] if fill_value is None else _as_array("unique", fill_value)
    results = [gathered(ordered, fill)]
    if return_index:
        results.append(gathered(order, order[0]))
    if return_inverse:
        inverse = _c.minimum(group, max(size - 1, 0)).astype(_c.uint32)
        results.append(_c.put_along_axis(_c.zeros_like(inverse), order, inverse, 0).reshape(a.shape))
    if return_counts:
        results.append(_c.zeros(size + 1, _c.int32).at[_c.minimum(group, size)].add(1)[:size])
    return tuple(results) if len(results) > 1 else results[0]
