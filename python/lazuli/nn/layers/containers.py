"""``Sequential``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["Sequential"]


class Sequential(Module):
    """Applies modules, or any functions of one array, one after the other.

    Args:
        *modules: what to call, in order; kept as the list ``layers``.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.relu, nn.Linear(8, 2))
        >>> model(mx.zeros((3, 4))).shape
        (3, 2)
    """

    def __init__(self, *modules: Callable[[mx.array], mx.array]) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            if isinstance(module, type) and issubclass(module, Module):
                raise TypeError(f"[Sequential] layer {i} is the class {module.__name__}: make a layer of it, {module.__name__}(...)")
            if isinstance(module, (list, tuple)):
                raise TypeError(f"[Sequential] layer {i} is a {type(module).__name__}: layers are given one by one, nn.Sequential(*layers)")
            if not callable(module):
                raise TypeError(f"[Sequential] layer {i} is of type {type(module).__name__}: layers are modules, or functions of one array")
        self.layers = list(modules)

    def __missing__(self, key: Any) -> Any:
        if isinstance(key, int):
            raise KeyError(f"[Sequential] a module is a dict of its attributes, and has none named {key}: write model.layers[{key}]")
        return super().__missing__(key)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x
