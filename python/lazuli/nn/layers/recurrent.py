"""Recurrent layers: ``RNN``, ``GRU``, ``LSTM``.

Inputs are ``(..., length, input_size)``, states ``(..., hidden_size)``. A layer returns its state
at every step, ``(..., length, hidden_size)``. The loop over the sequence runs in Python: a
compiled function unrolls it. A state that is not given is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import lazuli.core as mx
from lazuli.nn.layers.activations import tanh
from lazuli.nn.layers.base import Module
from lazuli.nn.layers.linear import misfit

__all__ = ["GRU", "LSTM", "RNN"]


def _uniform(hidden_size: int, *shape: int) -> mx.array:
    k = 1 / math.sqrt(max(hidden_size, 1))
    return mx.random.uniform(low=-k, high=k, shape=shape)


class _Recurrent(Module):
    """What the layers share: checks of what they are given."""

    hidden_size: int

    def _project(self, x: mx.array, weight: mx.array, **states: mx.array | None) -> mx.array:
        """``x @ weight.T``, where ``states`` have the layer's features."""
        for name, state in states.items():
            if state is not None and (state.ndim == 0 or state.shape[-1] != self.hidden_size):
                kind, shape = type(self).__name__, tuple(state.shape)
                raise ValueError(f"[{kind}] {name} has shape (..., {self.hidden_size}), not {shape}")
        if getattr(x, "ndim", 2) < 2:
            raise ValueError(f"[{type(self).__name__}] takes an array of shape (..., length, {weight.shape[1]}), not one of shape {tuple(x.shape)}")
        try:
            return x @ weight.T
        except (TypeError, ValueError) as error:
            raise misfit(self, x, weight.shape[1], error) from None


class RNN(_Recurrent):
    """Elman's layer: h ← tanh(Wxh x + Whh h + bias).

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether to use a bias.
        nonlinearity: what to use for tanh.

    Raises:
        ValueError: ``nonlinearity`` is not callable.

    Example:
        >>> nn.RNN(3, 5)(mx.zeros((2, 7, 3))).shape
        (2, 7, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Callable[[mx.array], mx.array] | None = None,
    ) -> None:
        super().__init__()
        self.nonlinearity = nonlinearity or tanh
        if not callable(self.nonlinearity):
            raise ValueError(f"[RNN] nonlinearity must be callable, got {nonlinearity!r}")
        self.hidden_size = hidden_size
        self.Wxh = _uniform(hidden_size, hidden_size, input_size)
        self.Whh = _uniform(hidden_size, hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wxh.shape[1]}, hidden_size={self.hidden_size}, "
            f"nonlinearity={self.nonlinearity}, bias={self.bias is not None}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        x = self._project(x, self.Wxh, hidden=hidden)
        if self.bias is not None:
            x = x + self.bias
        states = []
        for t in range(x.shape[-2]):
            inputs = x[..., t, :]
            hidden = self.nonlinearity(inputs if hidden is None else inputs + hidden @ self.Whh.T)
            states.append(hidden)
        return mx.stack(states, axis=-2)


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al., arXiv:1406.1078).

    With r, z, n stacked in this order in ``Wx``, ``Wh`` and ``b``::

        r = σ(Wx_r x + Wh_r h + b_r)
        z = σ(Wx_z x + Wh_z h + b_z)
        n = tanh(Wx_n x + b_n + r · (Wh_n h + bhn))
        h ← (1 − z) · n + z · h

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether to use the biases ``b`` and ``bhn``.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 3 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 3 * hidden_size, hidden_size)
        self.b = _uniform(hidden_size, 3 * hidden_size) if bias else None
        self.bhn = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={self.b is not None}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        x = self._project(x, self.Wx, hidden=hidden)
        if self.b is not None:
            x = x + self.b
        gates = 2 * self.hidden_size
        states = []
        for t in range(x.shape[-2]):
            x_rz, x_n = x[..., t, :gates], x[..., t, gates:]
            h_n = self.bhn
            if hidden is not None:
                projected = hidden @ self.Wh.T
                x_rz = x_rz + projected[..., :gates]
                h_n = projected[..., gates:] if h_n is None else projected[..., gates:] + h_n
            r, z = mx.split(mx.sigmoid(x_rz), 2, axis=-1)
            n = mx.tanh(x_n if h_n is None else x_n + r * h_n)
            new = (1 - z) * n
            hidden = new if hidden is None else new + z * hidden
            states.append(hidden)
        return mx.stack(states, axis=-2)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; gates as in Gers et al., 2000).

    With i, f, g, o stacked in this order in ``Wx``, ``Wh`` and ``bias``::

        i, f, o = σ(Wx x + Wh h + bias)
        g = tanh(Wx_g x + Wh_g h + bias_g)
        c ← f · c + i · g
        h ← o · tanh(c)

    Returns the states h and c at every step.

    Args:
        input_size: features of the input.
        hidden_size: features of the states.
        bias: whether to use a bias.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 4 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 4 * hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, 4 * hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={self.bias is not None}"
        )

    def __call__(
        self, x: mx.array, hidden: mx.array | None = None, cell: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        x = self._project(x, self.Wx, hidden=hidden, cell=cell)
        if self.bias is not None:
            x = x + self.bias
        hiddens, cells = [], []
        for t in range(x.shape[-2]):
            gates = x[..., t, :] if hidden is None else x[..., t, :] + hidden @ self.Wh.T
            i, f, g, o = mx.split(gates, 4, axis=-1)
            new = mx.sigmoid(i) * mx.tanh(g)
            cell = new if cell is None else mx.sigmoid(f) * cell + new
            hidden = mx.sigmoid(o) * mx.tanh(cell)
            hiddens.append(hidden)
            cells.append(cell)
        return mx.stack(hiddens, axis=-2), mx.stack(cells, axis=-2)
