"""Version numbers for what an object is set to, as distinct from the arrays that it holds.

``compile`` re-uses a trace only if the modules and optimizers that it captures would compute the
same. The arrays in them are visible in the captured tree; attributes such as ``training``, ``eps``
or ``momentum`` are not. :class:`Configured` condenses those of one object into an integer,
``_version``, that the look-up can compare without walking attributes.

Invariants:

- Equal versions mean equal class and equal attributes, also across objects: a version is the index
  of an interned configuration, so turning ``training`` off and on again comes back to the
  first version, and to the trace made for it.
- Values compare by type and bits (``1``, ``1.0`` and ``True`` differ, ``0.0`` and ``-0.0`` too),
  containers and records (dataclasses, namespaces) by what is in them. Anything else compares by
  identity.
- What can change without being assigned makes a module ``_loose``: ``compile`` has its version
  brought up to date at every call.
- A version is never used for two configurations: forgetting interned ones only costs a trace.

For the reader of versions: modules and optimizer states are dictionaries of a subclass, and have
``_version`` in their ``__dict__``; dictionaries without one have nothing but their items.

Absent: changes *inside* an object that is no container or record, and inside an attribute of an
optimizer, are not seen.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import types
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import lazuli.core as mx

_INTERNED_AT_MOST = 4096

_interned: dict[tuple, int] = {}
_next_version = count(1)
_lock = threading.RLock()  # re-entrant: a collection inside it may run anybody's __del__


class _Identity:
    """Compares by ``is``, without keeping the object alive.

    A dead object equals nothing, so a recycled address confuses nobody; nor does an object that
    cannot be referred to weakly, for which every look at it is a change.
    """

    __slots__ = ("_hash", "_get")

    def __init__(self, value: Any):
        self._hash = id(value)
        try:
            self._get: Callable[[], Any] = weakref.ref(value)
        except TypeError:
            self._get = lambda: None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Identity):
            return NotImplemented
        value = self._get()
        return value is not None and value is other._get()

    def __hash__(self) -> int:
        return self._hash


def _record(value: Any) -> dict[str, Any] | None:
    """The attributes of a dataclass's object or a namespace."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    return vars(value) if type(value) is types.SimpleNamespace else None


def _can_change(value: Any) -> bool:
    """Whether what a value is can change without an assignment to the attribute."""
    if type(value) in (tuple, frozenset):
        return any(map(_can_change, value))
    return type(value) in (list, set, dict, collections.deque) or _record(value) is not None


_DEEP = 8


def _key(value: Any, within: tuple[int, ...] = ()) -> Any:
    """What a value is, by type; ``within`` are the ids of the containers around it."""
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None), mx.Dtype):
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)  # tells -0.0 from 0.0, and NaN equals NaN
    record = _record(value)
    if record is None and kind not in (tuple, list, collections.deque, set, frozenset, dict):
        return _Identity(value)
    if id(value) in within:
        return "again", within.index(id(value))
    if len(within) >= _DEEP:
        return _Identity(value)
    within += (id(value),)
    if record is not None:
        return _Identity(kind), tuple((name, _key(v, within)) for name, v in record.items())
    if kind is dict:
        return kind, tuple((_key(k, within), _key(v, within)) for k, v in value.items())
    keys = (_key(v, within) for v in value)
    return kind, frozenset(keys) if kind in (set, frozenset) else tuple(keys)


def _version_of(configuration: tuple) -> int:
    with _lock:
        version = _interned.get(configuration)
        if version is None:
            if len(_interned) >= _INTERNED_AT_MOST:
                _interned.clear()
            version = _interned[configuration] = next(_next_version)
        return version


class Configured:
    """A mixin: objects whose attribute writes keep ``_version`` up to date.

    ``_version`` is an ``int`` in ``__dict__``. Names in ``_outside_configuration`` do not count.
    """

    _outside_configuration: frozenset[str] = frozenset({"_version"})
    _version: int
    _loose: bool = False

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if key not in self._outside_configuration:
            self._configuration_changed()

    def __delattr__(self, key: str) -> None:
        object.__delattr__(self, key)
        self._configuration_changed()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_version", "_loose")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A version means nothing in another process: a pickle does not carry it.
        self.__dict__.update(state)
        self._configuration_changed()

    def _configuration_changed(self) -> None:
        """Bring ``_version`` up to date; for use after changing an attribute's value in place."""
        own = self.__dict__
        own.pop("_loose", None)
        attributes = {name: value for name, value in own.items() if name not in self._outside_configuration}
        if any(map(_can_change, attributes.values())):
            own["_loose"] = True
        configuration = frozenset((name, _key(value)) for name, value in attributes.items())
        own["_version"] = _version_of((type(self), configuration))
