"""``Sequential``."""

from __future__ import annotations

from collections.abc import Callable

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
        self.layers = list(modules)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x
