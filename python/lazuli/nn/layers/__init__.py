"""The layers, by kind: one module each."""

from lazuli.nn.layers.activations import *  # noqa: F403
from lazuli.nn.layers.base import Module as Module
from lazuli.nn.layers.containers import *  # noqa: F403
from lazuli.nn.layers.dropout import *  # noqa: F403
from lazuli.nn.layers.embedding import *  # noqa: F403
from lazuli.nn.layers.linear import *  # noqa: F403
from lazuli.nn.layers.normalization import *  # noqa: F403
from lazuli.nn.layers.positional_encoding import *  # noqa: F403
from lazuli.nn.layers.recurrent import *  # noqa: F403
from lazuli.nn.layers.transformer import *  # noqa: F403
