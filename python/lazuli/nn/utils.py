"""Differentiation with respect to a module's parameters.

Absent: gradient checkpointing and averaging over processes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["value_and_grad"]


def value_and_grad(
    model: Module, fn: Callable[..., Any]
) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """The function that computes ``fn`` and its gradient by ``model``'s trainable parameters.

    Args:
        model: the module that ``fn`` uses, as an argument or otherwise.
        fn: returns a scalar, or a tuple that begins with one (as for ``mx.value_and_grad``).

    Returns:
        A function of the arguments of ``fn`` that returns ``(value, gradients)``; the gradients
        have the structure of ``model.trainable_parameters()``. Whatever ``fn`` assigns in the
        model (running statistics, for instance) stays; parameters it leaves alone are as before.

    Example:
        >>> model = nn.Linear(3, 1)
        >>> def loss_fn(model, x, y):
        ...     return nn.losses.mse_loss(model(x), y)
        >>> loss_and_grad = nn.value_and_grad(model, loss_fn)
        >>> loss, grads = loss_and_grad(model, mx.ones((4, 3)), mx.zeros((4, 1)))
        >>> grads["weight"].shape
        (1, 3)
    """

    def with_parameters(parameters: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        writes = model._swap(parameters)
        try:
            return fn(*args, **kwargs)
        finally:
            for container, key, before, during in writes:
                if container[key] is during:  # else fn has assigned it: keep that
                    container[key] = before

    transformed = mx.value_and_grad(with_parameters)

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return transformed(model.trainable_parameters(), *args, **kwargs)

    return wrapped
