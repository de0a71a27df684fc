"""The attributes that objects of a class have beside their ``__dict__``: slots, and members of classes written in C."""

from __future__ import annotations

import types
from weakref import WeakKeyDictionary

_known: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


def members(cls: type) -> tuple[str, ...]:
    """Their names, sorted."""
    names = _known.get(cls)
    if names is None:
        found = {
            name
            for base in cls.__mro__
            for name, value in vars(base).items()
            if isinstance(value, types.MemberDescriptorType) and not name.startswith("__")
        }
        names = _known[cls] = tuple(sorted(found))
    return names
