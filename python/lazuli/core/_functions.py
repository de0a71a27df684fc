"""Functions composed of the binding's operations. A compiled function fuses them like any others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lazuli import _lazuli as _c
from lazuli._lazuli import array

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d", "atleast_3d",
    "bitwise_left_shift", "bitwise_right_shift", "concat", "conj", "contiguous", "cumulative_prod", "cumulative_sum",
    "degrees", "diff", "divmod", "empty", "empty_like", "flip", "inner", "kron", "logical_xor",
    "matrix_transpose", "nan_to_num", "outer", "permute_dims", "positive", "pow", "radians", "tensordot",
    "trunc", "unstack", "vecdot",
]  # fmt: skip

# The array API's names of functions of the binding.
acos, acosh, asin, asinh = _c.arccos, _c.arccosh, _c.arcsin, _c.arcsinh
atan, atan2, atanh = _c.arctan, _c.arctan2, _c.arctanh
bitwise_left_shift, bitwise_right_shift = _c.left_shift, _c.right_shift
concat, conj, permute_dims, pow = _c.concatenate, _c.conjugate, _c.transpose, _c.power
cumulative_prod, cumulative_sum = _c.cumprod, _c.cumsum


def _as_array(op: str, value: Any) -> array:
    """The array that a value is or converts to; an error names the function that asked."""
    if isinstance(value, array):
        return value
    try:
        return array(value)
    except (TypeError, ValueError) as e:
        raise type(e)(f"[{op}] {e}") from None


def _axes(op: str, axis: int | Sequence[int] | None, ndim: int) -> list[int]:
    """Axes counted from the first, each once; all of them for ``None``."""
    if axis is None:
        return list(range(ndim))
    try:
        axes = [axis.__index__()] if hasattr(axis, "__index__") else [k.__index__() for k in axis]
    except (AttributeError, TypeError):
        raise TypeError(f"[{op}] axis must be an int or a sequence of ints, not {axis!r}") from None
    for k in axes:
        if not -ndim <= k < ndim:
            raise IndexError(f"[{op}] axis {k} is out of bounds for an array with {ndim} dimensions")
    axes = [k % ndim for k in axes]
    if len(set(axes)) != len(axes):
        raise ValueError(f"[{op}] axes {axes} name one axis twice")
    return axes


def _axis(op: str, axis: int, ndim: int) -> int:
    """One axis, counted from the first."""
    if not hasattr(axis, "__index__"):
        raise TypeError(f"[{op}] axis must be an int, not {axis!r}")
    return _axes(op, axis, ndim)[0]


def _part(a: array, axis: int, part: slice) -> array:
    """A slice along one axis."""
    return a[(slice(None),) * axis + (part,)]


def positive(a: array, *, stream: Any = None) -> array:
    """The array itself.

    Example:
        >>> import lazuli.core as mx
        >>> mx.positive(mx.array([-1, 2]))
        array([-1, 2], dtype=int32)
    """
    return _as_array("positive", a)


def contiguous(a: array, allow_col_major: bool = False, *, stream: Any = None) -> array:
    """The array; it is laid out row by row when its memory is read.

    Example:
        >>> import lazuli.core as mx
        >>> mx.contiguous(mx.array([[1, 2], [3, 4]]).T)
        array([[1, 3],
               [2, 4]], dtype=int32)
    """
    return _as_array("contiguous", a)


def empty(shape: int | Sequence[int], dtype: Any = None, *, stream: Any = None) -> array:
    """An array of this shape whose elements may be anything (they are zeros); float32 by default.

    Example:
        >>> import lazuli.core as mx
        >>> mx.empty((2, 3)).shape
        (2, 3)
    """
    return _c.zeros(shape, dtype)


def empty_like(a: array, dtype: Any = None, *, stream: Any = None) -> array:
    """An array of the shape of ``a`` (and by default its dtype) whose elements may be anything (they are zeros).

    Example:
        >>> import lazuli.core as mx
        >>> mx.empty_like(mx.array([1, 2])).dtype
        lazuli.core.int32
    """
    return _c.zeros_like(a, dtype)


def degrees(a: array, *, stream: Any = None) -> array:
    """Radians to degrees, element by element; integers are converted to float32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.degrees(mx.array([0.0, mx.pi]))
        array([0, 180], dtype=float32)
    """
    return _as_array("degrees", a) * (180.0 / math.pi)


def radians(a: array, *, stream: Any = None) -> array:
    """Degrees to radians, element by element; integers are converted to float32.

    Example:
        >>> import lazuli.core as mx
        >>> mx.radians(mx.array([0.0, 180.0]))
        array([0, 3.14159], dtype=float32)
    """
    return _as_array("radians", a) * (math.pi / 180.0)


def trunc(a: array, *, stream: Any = None) -> array:
    """The integral part: rounded towards 0, element by element; integers and bool are returned as they are.

    Raises:
        ValueError: the array is complex.

    Example:
        >>> import lazuli.core as mx
        >>> mx.trunc(mx.array([1.7, -1.7]))
        array([1, -1], dtype=float32)
    """
    a = _as_array("trunc", a)
    if not _c.issubdtype(a.dtype, _c.inexact):
        return a
    return _c.where(a < 0, _c.ceil(a), _c.floor(a))


def divmod(a: Any, b: Any, stream: Any = None) -> list[array]:
    """Quotients, rounded down, and remainders of arrays or numbers whose shapes broadcast.

    Returns:
        list[array]: ``[floor_divide(a, b), remainder(a, b)]``.

    Example:
        >>> import lazuli.core as mx
        >>> mx.divmod(mx.array([7, -7]), 2)
        [array([3, -4], dtype=int32), array([1, 1], dtype=int32)]
    """
    return [_c.floor_divide(a, b), _c.remainder(a, b)]


def logical_xor(a: Any, b: Any, *, stream: Any = None) -> array:
    """Whether exactly one of the two is not 0, element by element: bool. The shapes broadcast.

    Example:
        >>> import lazuli.core as mx
        >>> mx.logical_xor(mx.array([True, True]), mx.array([True, False]))
        array([False, True], dtype=bool)
    """
    a, b = (_as_array("logical_xor", v).astype(_c.bool_) for v in (a, b))
    return _c.not_equal(a, b)


def matrix_transpose(a: array, *, stream: Any = None) -> array:
    """The last two axes swapped.

    Raises:
        IndexError: the array has fewer than 2 dimensions.

    Example:
        >>> import lazuli.core as mx
        >>> mx.matrix_transpose(mx.zeros((5, 2, 3))).shape
        (5, 3, 2)
    """
    return _as_array("matrix_transpose", a).swapaxes(-1, -2)


def flip(a: array, axis: int | Sequence[int] | None = None, *, stream: Any = None) -> array:
    """Elements in reverse order along axes (all of them by default).

    Example:
        >>> import lazuli.core as mx
        >>> mx.flip(mx.array([[1, 2], [3, 4]]), axis=1)
        array([[2, 1],
               [4, 3]], dtype=int32)
    """
    a = _as_array("flip", a)
    for k in _axes("flip", axis, a.ndim):
        a = _part(a, k, slice(None, None, -1))
    return a


def _at_least(n: int, values: tuple[Any, ...]) -> Any:
    def one(value: Any) -> array:
        a = _as_array(f"atleast_{n}d", value)
        if a.ndim >= n:
            return a
        return a.reshape({0: (1,) * n, 1: (1, *a.shape, 1)[:n], 2: (*a.shape, 1)}[a.ndim])

    return one(values[0]) if len(values) == 1 else [one(v) for v in values]


def atleast_1d(*arys: array, stream: Any = None) -> Any:
    """Arrays with at least one axis: one array, or a list of them for several.

    Example:
        >>> import lazuli.core as mx
        >>> mx.atleast_1d(mx.array(1))
        array([1], dtype=int32)
    """
    return _at_least(1, arys)


def atleast_2d(*arys: array, stream: Any = None) -> Any:
    """Arrays with at least two axes, a vector as a row: one array, or a list of them for several.

    Example:
        >>> import lazuli.core as mx
        >>> mx.atleast_2d(mx.array([1, 2])).shape
        (1, 2)
    """
    return _at_least(2, arys)


def atleast_3d(*arys: array, stream: Any = None) -> Any:
    """Arrays with at least three axes: one array, or a list of them for several.

    Example:
        >>> import lazuli.core as mx
        >>> mx.atleast_3d(mx.array([1, 2])).shape
        (1, 2, 1)
    """
    return _at_least(3, arys)


def unstack(x: array, *, axis: int = 0, stream: Any = None) -> tuple[array, ...]:
    """The parts along an axis, without it.

    Example:
        >>> import lazuli.core as mx
        >>> mx.unstack(mx.array([[1, 2], [3, 4]]))
        (array([1, 2], dtype=int32), array([3, 4], dtype=int32))
    """
    x = _as_array("unstack", x)
    k = _axis("unstack", axis, x.ndim)
    return tuple(part.squeeze(k) for part in x.split(x.shape[k], k)) if x.shape[k] else ()


def diff(a: array, n: int = 1, axis: int = -1, *, stream: Any = None) -> array:
    """Differences of neighbours along an axis, ``n`` times; the axis is ``n`` shorter.

    Example:
        >>> import lazuli.core as mx
        >>> mx.diff(mx.array([1, 4, 9, 16]))
        array([3, 5, 7], dtype=int32)
    """
    a = _as_array("diff", a)
    if n < 0:
        raise ValueError(f"[diff] n is a number of times, not {n}")
    k = _axis("diff", axis, a.ndim)
    for _ in range(n):
        a = _part(a, k, slice(1, None)) - _part(a, k, slice(None, -1))
    return a


def outer(a: array, b: array, *, stream: Any = None) -> array:
    """All products of elements of two arrays, as a matrix of shape (a.size, b.size).

    Example:
        >>> import lazuli.core as mx
        >>> mx.outer(mx.array([1, 2]), mx.array([1, 10]))
        array([[1, 10],
               [2, 20]], dtype=int32)
    """
    return _as_array("outer", a).reshape(-1, 1) * _as_array("outer", b).reshape(1, -1)


def inner(a: array, b: array, *, stream: Any = None) -> array:
    """Sum of products over the last axes; the product where one of the arrays has no axes.

    Raises:
        ValueError: the last axes differ, or the arrays are of integers.

    Example:
        >>> import lazuli.core as mx
        >>> mx.inner(mx.array([1.0, 2.0]), mx.array([3.0, 4.0]))
        array(11, dtype=float32)
    """
    a, b = _as_array("inner", a), _as_array("inner", b)
    return tensordot(a, b, axes=([-1], [-1])) if a.ndim and b.ndim else a * b


def vecdot(a: array, b: array, /, *, axis: int = -1, stream: Any = None) -> array:
    """Sum of conjugate(a) * b along an axis; the other axes broadcast.

    Example:
        >>> import lazuli.core as mx
        >>> mx.vecdot(mx.array([[1, 2], [3, 4]]), mx.array([1, 10]))
        array([21, 43], dtype=int32)
    """
    return (_c.conjugate(_as_array("vecdot", a)) * _as_array("vecdot", b)).sum(axis)


def tensordot(a: array, b: array, axes: int | Sequence[Any] = 2, *, stream: Any = None) -> array:
    """Sum of products over pairs of axes.

    Args:
        a, b: arrays of floats or complex numbers.
        axes: a number n (the last n axes of ``a`` with the first n of ``b``), or a pair of axes or lists of axes.

    Returns:
        array: with the other axes of ``a``, then those of ``b``.

    Raises:
        ValueError: paired axes have different extents.

    Example:
        >>> import lazuli.core as mx
        >>> mx.tensordot(mx.ones((2, 3, 4)), mx.ones((3, 4, 5)), axes=2).shape
        (2, 5)
    """
    a, b = _as_array("tensordot", a), _as_array("tensordot", b)
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ValueError(f"[tensordot] {axes} axes of arrays with {a.ndim} and {b.ndim} dimensions")
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        if len(axes) != 2:
            raise ValueError(f"[tensordot] axes is a number or a pair, not {axes!r}")
        left, right = _axes("tensordot", axes[0], a.ndim), _axes("tensordot", axes[1], b.ndim)
    if [a.shape[i] for i in left] != [b.shape[j] for j in right]:
        raise ValueError(f"[tensordot] axes {left} of {a.shape} and {right} of {b.shape} have different extents")
    keep_a = [i for i in range(a.ndim) if i not in left]
    keep_b = [j for j in range(b.ndim) if j not in right]
    shape = [a.shape[i] for i in keep_a] + [b.shape[j] for j in keep_b]
    x = _matrix(a.transpose(keep_a + left), len(keep_a))
    y = _matrix(b.transpose(right + keep_b), len(right))
    return (x @ y).reshape(shape)


def _matrix(a: array, rows: int) -> array:
    """The first ``rows`` axes merged into one, and the others into another."""
    a = a.flatten(0, rows - 1) if rows else a.reshape(1, *a.shape)
    return a.flatten(1, -1) if a.ndim > 1 else a.reshape(-1, 1)


def kron(a: array, b: array, *, stream: Any = None) -> array:
    """The Kronecker product: every element of ``a`` times the whole of ``b``, as blocks.

    Example:
        >>> import lazuli.core as mx
        >>> mx.kron(mx.array([[1, 2]]), mx.array([1, 10]))
        array([[1, 10, 2, 20]], dtype=int32)
    """
    a, b = _as_array("kron", a), _as_array("kron", b)
    rank = max(a.ndim, b.ndim)
    x, y = (v.reshape((1,) * (rank - v.ndim) + v.shape) for v in (a, b))
    left = [n for s in x.shape for n in (s, 1)]
    right = [n for s in y.shape for n in (1, s)]
    out = x.reshape(left) * y.reshape(right)
    for axis in range(rank):
        out = out.flatten(axis, axis + 1)
    return out


def nan_to_num(
    a: Any, nan: float = 0, posinf: float | None = None, neginf: float | None = None, *, stream: Any = None
) -> array:
    """NaN replaced by ``nan``, infinities by the largest finite numbers of the dtype or the values given.

    Example:
        >>> import lazuli.core as mx
        >>> mx.nan_to_num(mx.array([mx.nan, mx.inf, 1.0]), posinf=9.0)
        array([0, 9, 1], dtype=float32)
    """
    from lazuli.core._dtypes import finfo

    a = _as_array("nan_to_num", a)
    if not _c.issubdtype(a.dtype, _c.floating):
        return a
    info = finfo(a.dtype)
    a = _c.where(_c.isnan(a), nan, a)
    a = _c.where(a == math.inf, info.max if posinf is None else posinf, a)
    return _c.where(a == -math.inf, info.min if neginf is None else neginf, a)
