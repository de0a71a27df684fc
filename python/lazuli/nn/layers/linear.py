"""Linear maps: ``Identity``, ``Linear``, ``Bilinear``. Quantized and sharded ones are absent."""

from __future__ import annotations

import math
from typing import Any

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["Bilinear", "Identity", "Linear"]


def misfit(layer: Module, x: Any, features: int, error: Exception) -> Exception:
    """What is said of an input that a layer's product with its weight refuses: its shape, or what the product says if that is not the reason."""
    if type(error) not in (TypeError, ValueError) or getattr(x, "ndim", 0) > 0 and x.shape[-1] == features:
        return error
    what = f"one of shape {tuple(x.shape)}" if hasattr(x, "shape") else type(x).__name__
    return type(error)(f"[{type(layer).__name__}] takes an array of shape (..., {features}), not {what}")


class Identity(Module):
    """Returns its input. Takes and ignores any constructor arguments, to stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, x: mx.array) -> mx.array:
        return x


class Linear(Module):
    """An affine map of the last axis: ``x @ weight.T + bias``.

    Shapes: ``(..., input_dims)`` to ``(..., output_dims)``; ``weight`` is
    ``(output_dims, input_dims)`` and ``bias`` is ``(output_dims,)``. Both start uniform in ±k,
    k = 1/√input_dims.

    Args:
        input_dims: length of the input's last axis.
        output_dims: length of the output's last axis.
        bias: whether to add a bias.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> layer(mx.zeros((3, 4))).shape
        (3, 2)
    """

    def __init__(self, input_dims: int, output_dims: int, bias: bool = True) -> None:
        super().__init__()
        for name, dims in (("input_dims", input_dims), ("output_dims", output_dims)):
            if not hasattr(dims, "__index__"):
                raise TypeError(f"[Linear] {name} is the length of an axis, an int, not {dims!r}")
            if dims < 0:
                raise ValueError(f"[Linear] {name} is the length of an axis, and not negative: {dims!r}")
        k = math.sqrt(1 / max(input_dims, 1))
        self.weight = mx.random.uniform(low=-k, high=k, shape=(output_dims, input_dims))
        if bias:
            self.bias = mx.random.uniform(low=-k, high=k, shape=(output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        try:
            y = x @ self["weight"].T
        except (TypeError, ValueError) as error:
            raise misfit(self, x, self["weight"].shape[1], error) from None
        return y + self["bias"] if "bias" in self else y


class Bilinear(Module):
    """A bilinear map of the last axes of two inputs: ``y[i] = x2 @ weight[i] @ x1 + bias[i]``.

    Shapes: ``(..., input1_dims)`` and ``(..., input2_dims)`` to ``(..., output_dims)``; ``weight``
    is ``(output_dims, input2_dims, input1_dims)``. Weight and bias start uniform in ±k,
    k = 1/√input1_dims.

    Args:
        input1_dims: length of the first input's last axis.
        input2_dims: length of the second input's last axis.
        output_dims: length of the output's last axis.
        bias: whether to add a bias.
    """

    def __init__(
        self, input1_dims: int, input2_dims: int, output_dims: int, bias: bool = True
    ) -> None:
        super().__init__()
        k = math.sqrt(1 / input1_dims)
        shape = (output_dims, input2_dims, input1_dims)
        self.weight = mx.random.uniform(low=-k, high=k, shape=shape)
        if bias:
            self.bias = mx.random.uniform(low=-k, high=k, shape=(output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input2_dims, input1_dims = self.weight.shape
        return (
            f"input1_dims={input1_dims}, input2_dims={input2_dims}, "
            f"output_dims={output_dims}, bias={'bias' in self}"
        )

    def __call__(self, x1: mx.array, x2: mx.array) -> mx.array:
        output_dims, input2_dims, input1_dims = self.weight.shape
        # One matmul for all outputs: (..., input1) times (input1, output·input2).
        flat = x1 @ self.weight.reshape(output_dims * input2_dims, input1_dims).T
        rows = flat.reshape(*flat.shape[:-1], output_dims, input2_dims)
        y = (rows @ x2[..., None]).squeeze(-1)
        return y + self.bias if "bias" in self else y
