"""Function transformations: signatures for people and type checkers around the binding's functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from lazuli import _lazuli

R = TypeVar("R")

__all__ = ["compile_disabled", "compile_mode", "grad", "value_and_grad", "vmap"]


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] = (),
) -> Callable[..., tuple[Any, Any]]:
    """Returns a function that computes the value of ``fun`` and its gradient.

    Args:
        fun: returns a scalar array, or a tuple that begins with one.
        argnums: positional arguments (arrays or trees of them) to differentiate; the first by default, none if
            ``argnames`` is given.
        argnames: keyword arguments to differentiate.

    Returns:
        A function that returns the value and the gradients. A single gradient stands by itself, several
        positional ones are a tuple; with ``argnames`` the gradients are a pair of those by position and a dict
        of those by name.

    Example:
        >>> import lazuli.core as mx
        >>> mx.value_and_grad(lambda x: (x * x).sum())(mx.array([1.0, 2.0]))
        (array(5, dtype=float32), array([2, 4], dtype=float32))
    """
    names = [argnames] if isinstance(argnames, str) else list(argnames)
    if argnums is None:
        argnums = [] if names else 0
    single = isinstance(argnums, int)
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if not numbers and not names:
        raise ValueError("[grad] nothing to differentiate: give argnums or argnames")

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        value, gradients = _lazuli._value_and_grad(fun, numbers, names, args, kwargs)
        by_position, by_name = gradients[: len(numbers)], gradients[len(numbers) :]
        positional = None if not numbers else by_position[0] if single else tuple(by_position)
        return value, (positional, dict(zip(names, by_name))) if names else positional

    return wrapper


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] = (),
) -> Callable[..., Any]:
    """Returns a function that computes the gradient of ``fun``; see :func:`value_and_grad`.

    Example:
        >>> import lazuli.core as mx
        >>> mx.grad(mx.exp)(mx.array(1.0))
        array(2.71828, dtype=float32)
    """
    both = value_and_grad(fun, argnums, argnames)

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return wrapper


def vmap(fun: Callable[..., R], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., R]:
    """Returns ``fun`` over a batch: mapped along an axis of its arguments, without a loop.

    Args:
        fun: a function of arrays and trees of arrays.
        in_axes: the axis of each argument to map along, or ``None`` to pass it whole: one value for all, or a tree
            like the arguments.
        out_axes: where the batch goes in each result, likewise.

    Example:
        >>> import lazuli.core as mx
        >>> mx.vmap(lambda x: x.sum())(mx.ones((3, 4)))
        array([4, 4, 4], dtype=float32)
    """

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> R:
        return _lazuli._vmap(fun, in_axes, out_axes, args, kwargs)

    return wrapper


@contextmanager
def compile_mode(mode: str) -> Iterator[None]:
    """Within this context compiled functions run in ``mode``: "disabled", "no_simplify", "no_fuse" or "enabled"."""
    before = _lazuli.get_compile_mode()
    _lazuli.set_compile_mode(mode)
    try:
        yield
    finally:
        _lazuli.set_compile_mode(before)


def compile_disabled() -> Any:
    """Within this context compiled functions run as plain ones."""
    return compile_mode("disabled")
