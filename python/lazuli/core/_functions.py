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
    "degrees", "diag", "diagonal", "diff", "divmod", "empty", "empty_like", "finfo", "flip", "iinfo", "inner", "kron",
    "logical_xor", "matrix_transpose", "median", "nan_to_num", "outer", "partition", "permute_dims", "positive", "pow",
    "radians", "tensordot", "topk", "trace", "unstack", "vecdot",
]  # fmt: skip

acos, acosh, asin, asinh = _c.arccos, _c.arccosh, _c.arcsin, _c.arcsinh
atan, atan2, atanh = _c.arctan, _c.arctan2, _c.arctanh
bitwise_left_shift, bitwise_right_shift = _c.left_shift, _c.right_shift
concat, conj, permute_dims, pow = _c.concatenate, _c.conjugate, _c.transpose, _c.power
cumulative_prod, cumulative_sum = _c.cumprod, _c.cumsum


def positive(a: array) -> array:
    """The array itself."""
    return +a


def contiguous(a: array, allow_col_major: bool = False, *, stream: Any = None) -> array:
    """The array; it is laid out row by row when its memory is read."""
    return a


def empty(shape: int | Sequence[int], dtype: Any = None, *, stream: Any = None) -> array:
    """An array of this shape whose elements may be anything (they are zeros)."""
    return _c.zeros(shape, dtype)


def empty_like(a: array, dtype: Any = None, *, stream: Any = None) -> array:
    """An array of the shape of ``a`` whose elements may be anything (they are zeros)."""
    return _c.full_like(a, 0, dtype)


def degrees(a: array, *, stream: Any = None) -> array:
    """Radians to degrees."""
    return a * (180.0 / math.pi)


def radians(a: array, *, stream: Any = None) -> array:
    """Degrees to radians."""
    return a * (math.pi / 180.0)


def divmod(a: Any, b: Any, *, stream: Any = None) -> tuple[array, array]:
    """Quotient (rounded down) and remainder."""
    return _c.floor_divide(a, b), _c.remainder(a, b)


def logical_xor(a: Any, b: Any, *, stream: Any = None) -> array:
    """Whether exactly one of the two is true."""
    return _c.not_equal(_c.array(a).astype(_c.bool_), _c.array(b).astype(_c.bool_))


def matrix_transpose(a: array, *, stream: Any = None) -> array:
    """The last two axes swapped."""
    return a.swapaxes(-1, -2)


def flip(a: array, axis: int | Sequence[int] | None = None, *, stream: Any = None) -> array:
    """Elements in reverse order along axes (all of them by default)."""
    axes = range(a.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    index = [slice(None)] * a.ndim
    for k in axes:
        index[k] = slice(None, None, -1)
    return a[tuple(index)]


def _at_least(n: int, a: array) -> array:
    if a.ndim >= n:
        return a
    shape = {0: (1,) * n, 1: (1, *a.shape, 1)[: n] if n > 1 else a.shape, 2: (*a.shape, 1)}[a.ndim]
    return a.reshape(shape)


def atleast_1d(*arrays: array, stream: Any = None) -> Any:
    """Arrays with at least one axis."""
    out = [_at_least(1, a) for a in arrays]
    return out[0] if len(out) == 1 else out


def atleast_2d(*arrays: array, stream: Any = None) -> Any:
    """Arrays with at least two axes."""
    out = [_at_least(2, a) for a in arrays]
    return out[0] if len(out) == 1 else out


def atleast_3d(*arrays: array, stream: Any = None) -> Any:
    """Arrays with at least three axes."""
    out = [_at_least(3, a) for a in arrays]
    return out[0] if len(out) == 1 else out


def unstack(a: array, axis: int = 0, *, stream: Any = None) -> list[array]:
    """The parts along an axis, without it."""
    return [part.squeeze(axis) for part in a.split(a.shape[axis], axis)]


def diagonal(a: array, offset: int = 0, axis1: int = 0, axis2: int = 1, *, stream: Any = None) -> array:
    """The elements (i, i + offset) of two axes, as the last axis."""
    if a.ndim < 2:
        raise ValueError(f"[diagonal] needs at least 2 dimensions, not {a.ndim}")
    a = _c.moveaxis(_c.moveaxis(a, axis1, -1), axis2 - (axis2 > axis1 >= 0) if axis2 >= 0 else axis2, -1)
    n, m = a.shape[-2:]
    length = max(0, min(n, m - offset) if offset >= 0 else min(n + offset, m))
    i = _c.arange(length)
    return a[..., i + max(0, -offset), i + max(0, offset)]


def diag(a: array, k: int = 0, *, stream: Any = None) -> array:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal."""
    if a.ndim == 2:
        return diagonal(a, k)
    if a.ndim != 1:
        raise ValueError(f"[diag] takes a vector or a matrix, not {a.ndim} dimensions")
    n = a.size + abs(k)
    i = _c.arange(a.size)
    return _c.zeros((n, n), a.dtype).at[i + max(0, -k), i + max(0, k)].add(a)


def trace(a: array, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, *, stream: Any = None) -> array:
    """The sum of a diagonal."""
    out = diagonal(a, offset, axis1, axis2).sum(-1)
    return out if dtype is None else out.astype(dtype)


def diff(a: array, n: int = 1, axis: int = -1, *, stream: Any = None) -> array:
    """Differences of neighbours along an axis, ``n`` times."""
    for _ in range(n):
        upper, lower = [slice(None)] * a.ndim, [slice(None)] * a.ndim
        upper[axis], lower[axis] = slice(1, None), slice(None, -1)
        a = a[tuple(upper)] - a[tuple(lower)]
    return a


def outer(a: array, b: array, *, stream: Any = None) -> array:
    """All products of elements of two arrays, as a matrix."""
    return a.reshape(-1, 1) * b.reshape(1, -1)


def inner(a: array, b: array, *, stream: Any = None) -> array:
    """Sum of products over the last axes."""
    return tensordot(a, b, axes=([-1], [-1])) if a.ndim and b.ndim else a * b


def vecdot(a: array, b: array, axis: int = -1, *, stream: Any = None) -> array:
    """Sum of conjugate(a) * b along an axis."""
    return (_c.conjugate(a) * b).sum(axis)


def tensordot(a: array, b: array, axes: Any = 2, *, stream: Any = None) -> array:
    """Sum of products over pairs of axes.

    Args:
        axes: a number n (the last n axes of ``a`` with the first n of ``b``), or two lists of axes.
    """
    if isinstance(axes, int):
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        left, right = ([x] if isinstance(x, int) else list(x) for x in axes)
        left, right = [x % a.ndim for x in left], [x % b.ndim for x in right]
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
    """The Kronecker product."""
    rank = max(a.ndim, b.ndim)
    x, y = (v.reshape((1,) * (rank - v.ndim) + v.shape) for v in (a, b))
    left = [n for s in x.shape for n in (s, 1)]
    right = [n for s in y.shape for n in (1, s)]
    out = x.reshape(left) * y.reshape(right)
    for axis in range(rank):
        out = out.flatten(axis, axis + 1)
    return out


def nan_to_num(a: array, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None, *, stream: Any = None) -> array:
    """NaN replaced by ``nan``, infinities by the largest finite numbers or the values given."""
    if not _c.issubdtype(a.dtype, _c.floating):
        return a
    info = finfo(a.dtype)
    a = _c.where(_c.isnan(a), nan, a)
    a = _c.where(a == math.inf, info.max if posinf is None else posinf, a)
    return _c.where(a == -math.inf, info.min if neginf is None else neginf, a)


def partition(a: array, kth: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """Elements along an axis such that those before position ``kth`` are not larger (they are sorted)."""
    return _c.sort(a, axis)


def topk(a: array, k: int, axis: int | None = -1, *, stream: Any = None) -> array:
    """The ``k`` largest elements along an axis, ascending."""
    if axis is None:
        a, axis = a.reshape(-1), -1
    index = [slice(None)] * a.ndim
    index[axis] = slice(-k, None) if k else slice(0, 0)
    return _c.sort(a, axis)[tuple(index)]


def median(a: array, axis: int | Sequence[int] | None = None, keepdims: bool = False, *, stream: Any = None) -> array:
    """The middle element along axes; the mean of two for an even number."""
    axes = list(range(a.ndim)) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    axes = [k % a.ndim for k in axes]
    kept = [k for k in range(a.ndim) if k not in axes]
    flat = a.transpose(kept + axes).reshape([a.shape[k] for k in kept] + [-1])
    ordered, n = _c.sort(flat, -1), flat.shape[-1]
    out = _c.mean(ordered[..., (n - 1) // 2 : n // 2 + 1], -1)
    return out.reshape([1 if k in axes else a.shape[k] for k in range(a.ndim)]) if keepdims else out


class finfo:
    """Limits of a float dtype: ``min``, ``max``, ``eps``, ``smallest_normal``."""

    _BITS = {"float16": (10, 5), "bfloat16": (7, 8), "float32": (23, 8), "float64": (52, 11), "complex64": (23, 8)}

    def __init__(self, dtype: Any) -> None:
        name = repr(dtype).split(".")[-1]
        if name not in self._BITS:
            raise ValueError(f"[finfo] {dtype} is not a float dtype")
        mantissa, exponent = self._BITS[name]
        top = 2 ** (exponent - 1)
        self.dtype = dtype
        self.max = (2.0 - 2.0**-mantissa) * 2.0 ** (top - 1)
        self.min = -self.max
        self.eps = 2.0**-mantissa
        self.smallest_normal = 2.0 ** (2 - top)

    def __repr__(self) -> str:
        return f"finfo(min={self.min}, max={self.max}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer dtype: ``min``, ``max``."""

    def __init__(self, dtype: Any) -> None:
        if not _c.issubdtype(dtype, _c.integer):
            raise ValueError(f"[iinfo] {dtype} is not an integer dtype")
        bits = 8 * dtype.size
        signed = _c.issubdtype(dtype, _c.signedinteger)
        self.dtype = dtype
        self.min = -(2 ** (bits - 1)) if signed else 0
        self.max = 2 ** (bits - signed) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
