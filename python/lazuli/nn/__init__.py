"""Neural networks: modules, layers, activation functions, losses and initialisers.

Everything here is Python over the public operations of :mod:`lazuli.core`, under MLX's names and
with its meaning, to be read, subclassed and compiled. Nothing is compiled in advance.

Example:
    >>> import lazuli.core as mx
    >>> import lazuli.nn as nn
    >>> import lazuli.optimizers as optim
    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    >>> optimizer = optim.SGD(learning_rate=0.1)
    >>> def loss_fn(model, x, y):
    ...     return nn.losses.mse_loss(model(x), y)
    >>> loss, grads = nn.value_and_grad(model, loss_fn)(model, mx.ones((8, 4)), mx.ones((8, 1)))
    >>> optimizer.update(model, grads)

Absent so far: convolution, pooling and upsampling (they wait for the core operations), quantized
and sharded layers, ``nn.utils.checkpoint``, ``nn.init.orthogonal``.
"""

from typing import Any as _Any

from lazuli.nn import init as init
from lazuli.nn import losses as losses
from lazuli.nn.layers import *  # noqa: F403
from lazuli.nn.layers import Module as Module
from lazuli.nn.utils import value_and_grad as value_and_grad


def __getattr__(name: str) -> _Any:
    from lazuli import _spelling

    known = [n for n in globals() if not n.startswith("_")]
    raise AttributeError(_spelling.unknown_name(__name__, "nn", name, known, _spelling.MODULES, _spelling.FUNCTIONS))
