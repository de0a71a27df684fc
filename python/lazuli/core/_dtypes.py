"""Facts about dtypes."""

from __future__ import annotations

from typing import Any

from lazuli import _lazuli as _c

__all__ = ["can_cast", "finfo", "iinfo", "isdtype"]

_KINDS = {
    "bool": lambda d: d == _c.bool_,
    "signed integer": lambda d: _c.issubdtype(d, _c.signedinteger),
    "unsigned integer": lambda d: _c.issubdtype(d, _c.unsignedinteger),
    "integral": lambda d: _c.issubdtype(d, _c.integer),
    "real floating": lambda d: _c.issubdtype(d, _c.floating),
    "complex floating": lambda d: _c.issubdtype(d, _c.complexfloating),
    "numeric": lambda d: _c.issubdtype(d, _c.number),
}


def _checked(op: str, dtype: Any) -> _c.Dtype:
    if not isinstance(dtype, _c.Dtype):
        raise TypeError(f"[{op}] expected a dtype, not {dtype!r}")
    return dtype


def _name(dtype: _c.Dtype) -> str:
    return repr(dtype).split(".")[-1]


def can_cast(from_: Any, to: _c.Dtype) -> bool:
    """Whether a dtype, or that of an array, promotes to ``to`` without a further conversion.

    Example:
        >>> import lazuli.core as mx
        >>> mx.can_cast(mx.int32, mx.float32), mx.can_cast(mx.float32, mx.int32)
        (True, False)
    """
    dtype = from_.dtype if isinstance(from_, _c.array) else _checked("can_cast", from_)
    return _c.result_type(dtype, _checked("can_cast", to)) == to


def isdtype(dtype: _c.Dtype, kind: Any) -> bool:
    """Whether a dtype is of a kind.

    Args:
        dtype: the dtype.
        kind: a dtype, or ``"bool"``, ``"signed integer"``, ``"unsigned integer"``, ``"integral"``, ``"real floating"``,
            ``"complex floating"``, ``"numeric"``, or a tuple of such, of which any will do.

    Raises:
        ValueError: there is no such kind.

    Example:
        >>> import lazuli.core as mx
        >>> mx.isdtype(mx.uint8, ("bool", "integral"))
        True
    """
    _checked("isdtype", dtype)
    if isinstance(kind, tuple):
        return any([isdtype(dtype, k) for k in kind])
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"[isdtype] {kind!r} is not a kind of dtypes: there are {', '.join(map(repr, _KINDS))}")
        return bool(_KINDS[kind](dtype))
    return dtype == _checked("isdtype", kind)


class finfo:
    """Limits of a float dtype; of complex64 those of its parts.

    Attributes:
        min, max: the smallest and the largest finite number.
        eps: the distance from 1 to the next number.
        smallest_normal: the smallest positive number with all its digits.
        bits: of a number.

    Raises:
        ValueError: the dtype is not one of floats.

    Example:
        >>> import lazuli.core as mx
        >>> mx.finfo(mx.float16)
        finfo(min=-65504, max=65504, dtype=float16)
    """

    # Bits of the mantissa and of the exponent (IEEE 754-2019, table 3.5; bfloat16 is the upper half of float32).
    _BITS = {"float16": (10, 5), "bfloat16": (7, 8), "float32": (23, 8), "float64": (52, 11), "complex64": (23, 8)}

    def __init__(self, dtype: _c.Dtype) -> None:
        name = _name(_checked("finfo", dtype))
        if name not in self._BITS:
            raise ValueError(f"[finfo] {name} is not a float dtype")
        mantissa, exponent = self._BITS[name]
        top = 2 ** (exponent - 1)
        self.dtype = dtype
        self.bits = 1 + exponent + mantissa
        self.max = (2.0 - 2.0**-mantissa) * 2.0 ** (top - 1)
        self.min = -self.max
        self.eps = 2.0**-mantissa
        self.smallest_normal = 2.0 ** (2 - top)

    def __repr__(self) -> str:
        return f"finfo(min={self.min:g}, max={self.max:g}, dtype={_name(self.dtype)})"


class iinfo:
    """Limits of an integer dtype: ``min``, ``max``, ``bits``.

    Raises:
        ValueError: the dtype is not one of integers.

    Example:
        >>> import lazuli.core as mx
        >>> mx.iinfo(mx.int8)
        iinfo(min=-128, max=127, dtype=int8)
    """

    def __init__(self, dtype: _c.Dtype) -> None:
        if not _c.issubdtype(_checked("iinfo", dtype), _c.integer):
            raise ValueError(f"[iinfo] {_name(dtype)} is not an integer dtype")
        signed = _c.issubdtype(dtype, _c.signedinteger)
        self.dtype = dtype
        self.bits = 8 * dtype.size
        self.min = -(2 ** (self.bits - 1)) if signed else 0
        self.max = 2 ** (self.bits - signed) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={_name(self.dtype)})"
