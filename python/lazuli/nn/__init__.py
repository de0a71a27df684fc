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
and sharded layers, ``nn.init.orthogonal``.
"""

from lazuli import _spelling as _spelling
from lazuli.nn import init as init
from lazuli.nn import losses as losses
from lazuli.nn.layers import *  # noqa: F403
from lazuli.nn.layers import Module as Module
from lazuli.nn.utils import value_and_grad as value_and_grad
from lazuli.nn import utils as utils  # last: it is made of layers, which use it

_spelling.answer(__name__, "nn", lambda: list(globals()), _spelling.MODULES, _spelling.FUNCTIONS)
