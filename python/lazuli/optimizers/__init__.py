"""Optimizers, learning-rate schedules and gradient clipping.

Names, arguments, defaults and the layout of states are MLX's. Beyond it, ``optimizer.update`` takes
a tree of parameters as well as a module, and returns the updated tree.

Example:
    >>> import lazuli.core as mx
    >>> import lazuli.nn as nn
    >>> import lazuli.optimizers as optim
    >>> model = nn.Linear(3, 1)
    >>> optimizer = optim.Adam(learning_rate=1e-3)
    >>> state = [model.state, optimizer.state]
    >>> def step(x, y):
    ...     loss_fn = lambda: nn.losses.mse_loss(model(x), y)
    ...     loss, grads = nn.value_and_grad(model, loss_fn)()
    ...     optimizer.update(model, grads)
    ...     return loss
    >>> step = mx.compile(step, inputs=state, outputs=state)
    >>> losses = [step(mx.ones((4, 3)), mx.zeros((4, 1))).item() for _ in range(3)]
    >>> losses[0] > losses[2]
    True
"""

from lazuli import _spelling as _spelling
from lazuli.optimizers.algorithms import *  # noqa: F403
from lazuli.optimizers.base import MultiOptimizer as MultiOptimizer
from lazuli.optimizers.base import Optimizer as Optimizer
from lazuli.optimizers.base import clip_grad_norm as clip_grad_norm
from lazuli.optimizers.schedulers import *  # noqa: F403

_spelling.answer(__name__, "optim", lambda: list(globals()), _spelling.OPTIMIZERS)
