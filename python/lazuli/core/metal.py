"""Whether this build uses GPUs of this kind, for programs that ask; and the functions of memory, which had their place here before they were ``mx``'s."""

from lazuli import _spelling
from lazuli._lazuli import (
    clear_cache,
    device_info,
    get_active_memory,
    get_cache_memory,
    get_peak_memory,
    reset_peak_memory,
    set_cache_limit,
    set_memory_limit,
)

__all__ = [
    "clear_cache",
    "device_info",
    "get_active_memory",
    "get_cache_memory",
    "get_peak_memory",
    "is_available",
    "reset_peak_memory",
    "set_cache_limit",
    "set_memory_limit",
]


def is_available() -> bool:
    """Whether arrays can live on such a GPU: there is no backend for GPUs yet.

    Example:
        >>> import lazuli.core as mx
        >>> mx.metal.is_available()
        False
    """
    return False


_spelling.answer(__name__, "mx.metal", lambda: __all__)
