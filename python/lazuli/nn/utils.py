"""Transformations of functions that use a module: gradients by its parameters, checkpoints.

Absent: averaging over processes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import lazuli.core as mx
from lazuli import _spelling
from lazuli.nn.layers.base import Module

__all__ = ["checkpoint", "value_and_grad"]

P = ParamSpec("P")
R = TypeVar("R")


def _of_parameters(model: Module, fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` with parameters of the model as a first argument, which are in the model while it runs."""

    def with_parameters(parameters: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        writes = model._swap(parameters)
        try:
            return fn(*args, **kwargs)
        finally:
            for container, key, before, during in writes:
                if container[key] is during:  # else fn has assigned it: keep that
                    container[key] = before

    return with_parameters


def value_and_grad(
    model: Module, fn: Callable[P, R]
) -> Callable[P, tuple[R, dict[str, Any]]]:
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
    if not isinstance(model, Module):
        raise TypeError(f"[nn.value_and_grad] takes the module first, nn.value_and_grad(model, fn), not {type(model).__name__}")
    transformed = mx.value_and_grad(_of_parameters(model, fn))

    @wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> tuple[R, dict[str, Any]]:
        return transformed(model.trainable_parameters(), *args, **kwargs)

    return wrapped


def checkpoint(module: Module, fn: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """``fn`` as a function that keeps no intermediate values for gradients: reverse mode computes them again, see :func:`lazuli.core.checkpoint`.
    State that it updates (running statistics) has the new values behind the call.

    Args:
        module: the module that ``fn`` uses, whose trainable parameters are differentiated with it.
        fn: a function of arrays. Default: the module itself.

    Example:
        >>> layer = nn.Sequential(nn.Linear(3, 3), nn.GELU())
        >>> def loss_fn(x):
        ...     return mx.mean(nn.utils.checkpoint(layer)(x))
        >>> value, gradients = nn.value_and_grad(layer, loss_fn)(mx.ones((2, 3)))
        >>> gradients["layers"][0]["weight"].shape
        (3, 3)
    """
    fn = module.__call__ if fn is None else fn
    transformed = mx.checkpoint(_of_parameters(module, fn))

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return transformed(module.trainable_parameters(), *args, **kwargs)

    return wrapped


_spelling.answer(__name__, "nn.utils", lambda: __all__)
