"""Classes of the user as nodes of trees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from lazuli import _lazuli

T = TypeVar("T")

__all__ = ["register_tree_node"]


def register_tree_node(
    cls: type[T],
    flatten: Callable[[T], tuple[Iterable[Any], Any]] | None = None,
    unflatten: Callable[[Any, tuple[Any, ...]], T] | None = None,
) -> type[T]:
    """Makes a class a node of trees: for ``compile``, the transformations, ``eval`` and ``lazuli.utils``.

    Objects of the class itself are nodes, those of derived classes are not. A dataclass needs no functions:
    its fields are its children, so this serves as a decorator of one.

    Args:
        cls: the class.
        flatten: takes an object apart, into its children (trees) and what else it is made of: constants, which
            are compared by value, and other objects, which are compared by identity.
        unflatten: makes an object of the second and the first. Children may be placeholders or anything else
            that a function puts in their place, so it should not look at them.

    Returns:
        The class.

    Raises:
        TypeError: one function is missing, or both are and the class is no dataclass.

    Example:
        >>> import dataclasses
        >>> import lazuli.core as mx
        >>> @mx.register_tree_node
        ... @dataclasses.dataclass
        ... class Point:
        ...     x: mx.array
        ...     y: mx.array
        >>> mx.compile(lambda p: Point(p.y, p.x))(Point(mx.array(1), mx.array(2)))
        Point(x=array(2, dtype=int32), y=array(1, dtype=int32))
    """
    if (flatten is None) != (unflatten is None):
        raise TypeError(f"[register_tree_node] {cls.__name__}: give both flatten and unflatten, or neither")
    if flatten is None:
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise TypeError(
                f"[register_tree_node] {cls!r} is no dataclass: give flatten and unflatten, which take its objects apart"
                " and make them"
            )
        flatten, unflatten = _functions_of_dataclass(cls)
    _lazuli._register_tree_node(cls, flatten, unflatten)
    return cls


def _functions_of_dataclass(cls: type) -> tuple[Callable[..., Any], Callable[..., Any]]:
    names = [field.name for field in dataclasses.fields(cls)]

    def flatten(value: Any) -> tuple[tuple[Any, ...], None]:
        return tuple(getattr(value, name) for name in names), None

    def unflatten(_: None, children: tuple[Any, ...]) -> Any:
        # Neither __init__ nor __post_init__ runs: they may convert or check what is a placeholder now.
        value = object.__new__(cls)
        for name, child in zip(names, children):
            object.__setattr__(value, name, child)
        return value

    return flatten, unflatten
