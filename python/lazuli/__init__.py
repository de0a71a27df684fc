"""Lazuli: lazy arrays, gradients, and functions compiled to fused machine code.

The package speaks MLX's names::

    import lazuli.core as mx
    import lazuli.nn as nn
    import lazuli.optimizers as optim
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lazuli")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"

__all__ = ["__version__"]

from lazuli import _spelling  # noqa: E402: modules import the version from here

_spelling.answer(__name__, "lazuli", lambda: ["core", "nn", "optimizers", "utils"], _spelling.FUNCTIONS)
