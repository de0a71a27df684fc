"""Dropout (Hinton et al., arXiv:1207.0580), elementwise and by channel.

All of it draws from the global random state: a compiled training step must capture
``mx.random.state``.
"""

from __future__ import annotations

import lazuli.core as mx
from lazuli.nn.layers.base import Module

__all__ = ["Dropout", "Dropout2d", "Dropout3d"]


class Dropout(Module):
    """In training, zero each element with probability ``p`` and scale the others by 1/(1 − p).

    In evaluation mode, or with ``p == 0``, the identity.

    Args:
        p: the probability, in [0, 1).

    Raises:
        ValueError: ``p`` is not in [0, 1).

    Example:
        >>> layer = nn.Dropout(0.5)
        >>> layer.eval()(mx.ones(3))
        array([1, 1, 1], dtype=float32)
    """

    #: How many axes before the channels (the last axis) live or die together.
    _shared_axes = 0

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"[{type(self).__name__}] probability p must be in [0, 1), got {p}")
        super().__init__()
        self._p_1 = 1 - p

    def _extra_repr(self) -> str:
        return f"p={1 - self._p_1}"

    def __call__(self, x: mx.array) -> mx.array:
        if self._p_1 == 1 or not self.training:
            return x
        shape = list(x.shape)
        if self._shared_axes:
            if x.ndim not in (self._shared_axes + 1, self._shared_axes + 2):
                raise ValueError(
                    f"[{type(self).__name__}] expected {self._shared_axes + 1} axes, or "
                    f"{self._shared_axes + 2} with a batch, channels last; got shape {x.shape}"
                )
            shape[-1 - self._shared_axes : -1] = [1] * self._shared_axes
        keep = mx.random.bernoulli(self._p_1, shape)
        return (keep * x) * (1 / self._p_1)


class Dropout2d(Dropout):
    """:class:`Dropout` of whole channels of images (Tompson et al., CVPR 2015).

    Shape: ``(N, H, W, C)`` or ``(H, W, C)``; each of the N × C channels is kept or zeroed whole.

    Args:
        p: the probability to zero a channel, in [0, 1).
    """

    _shared_axes = 2


class Dropout3d(Dropout):
    """:class:`Dropout` of whole channels of volumes.

    Shape: ``(N, D, H, W, C)`` or ``(D, H, W, C)``; each channel is kept or zeroed whole.

    Args:
        p: the probability to zero a channel, in [0, 1).
    """

    _shared_axes = 3
