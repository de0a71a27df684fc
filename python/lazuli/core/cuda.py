"""Whether this build uses GPUs of this kind, for programs that ask."""

from lazuli import _spelling

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether arrays can live on such a GPU: there is no backend for GPUs yet.

    Example:
        >>> import lazuli.core as mx
        >>> mx.cuda.is_available()
        False
    """
    return False


_spelling.answer(__name__, "mx.cuda", lambda: __all__)
