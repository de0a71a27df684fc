"""How arrays are printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lazuli import _lazuli as _c

__all__ = ["PrintOptions", "get_printoptions", "printoptions", "set_printoptions"]


class PrintOptions:
    """How arrays are printed.

    Attributes:
        precision: decimal places of floats; -1 for six significant digits.
    """

    def __init__(self, precision: int = -1) -> None:
        self.precision = precision

    def __repr__(self) -> str:
        return f"PrintOptions(precision={self.precision})"


def get_printoptions() -> PrintOptions:
    """How arrays are printed now.

    Example:
        >>> import lazuli.core as mx
        >>> mx.get_printoptions()
        PrintOptions(precision=-1)
    """
    return PrintOptions(_c._print_precision())


def set_printoptions(precision: int = -1) -> None:
    """Sets how arrays are printed, in the whole process.

    Args:
        precision: decimal places of floats; -1, the default, for six significant digits.

    Example:
        >>> import lazuli.core as mx
        >>> mx.set_printoptions(precision=2)
        >>> mx.array([1 / 3])
        array([0.33], dtype=float32)
        >>> mx.set_printoptions()
    """
    _c._set_print_precision(precision)


@contextmanager
def printoptions(precision: int = -1) -> Iterator[None]:
    """Within this context arrays are printed so.

    Example:
        >>> import lazuli.core as mx
        >>> with mx.printoptions(precision=2):
        ...     print(mx.array([1 / 3]))
        array([0.33], dtype=float32)
    """
    before = _c._print_precision()
    _c._set_print_precision(precision)
    try:
        yield
    finally:
        _c._set_print_precision(before)
