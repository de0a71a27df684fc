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
  containers, records (dataclasses, namespaces) and objects of the user's own classes by what is in
  them, partial applications and bound methods by what they are made of, arrays of numpy by their
  elements (of many, by a hash of them). Anything else compares
  by identity: functions, arrays, objects of other classes.
- What can change without being assigned makes a module ``_loose``, or the state of an optimizer:
  ``compile`` has its version brought up to date at every call.
- A version is never used for two configurations: forgetting interned ones only costs a trace.

For the reader of versions: modules and optimizer states are dictionaries of a subclass, and have
``_version`` in their ``__dict__``; dictionaries without one have nothing but their items.

Absent: changes inside objects of classes that were installed (a tokenizer, a file), of elements of
numpy arrays of more than a MiB, and beyond the first 1,024 values that objects of the user's hold:
looking at all would take longer than the call.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import hashlib
import sys
import threading
import types
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import lazuli.core as mx
from lazuli import _reach
from lazuli._members import members

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


_looked_into: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _looks_into(cls: type) -> bool:
    """Whether objects of a class are looked into: one of the user's own, of which two objects can be told apart, by identity or by all that they hold."""
    known = _looked_into.get(cls)
    if known is None:
        own = _reach.is_users(cls.__module__) and cls.__module__ != "builtins"
        is_data = not issubclass(cls, (type, enum.Enum, Configured, mx.array))
        is_all = all(base is object or base.__module__ in ("abc", "typing") or _reach.is_users(base.__module__) for base in cls.__mro__)
        known = _looked_into[cls] = own and is_data and (cls.__weakrefoffset__ > 0 or is_all)
    return known


def _parts(value: Any) -> tuple[Any, dict[str, Any]] | None:
    """What an object that is no container is made of, if that is looked at, behind what tells it from others of the same parts: its class or itself."""
    kind = type(value)
    if kind is functools.partial:
        return kind, {"func": value.func, "args": value.args, "keywords": value.keywords}
    if kind is types.MethodType:
        return kind, {"self": value.__self__, "function": value.__func__}
    record = _record(value)
    if record is not None:
        return kind, record
    if not _looks_into(kind):
        return None
    parts = {name: getattr(value, name) for name in members(kind) if hasattr(value, name)}
    parts |= getattr(value, "__dict__", {})
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        parts["items of it"] = list(value)
    elif isinstance(value, dict):
        parts["items of it"] = dict(value)
    return value if kind.__weakrefoffset__ else kind, parts


#: The largest numpy array whose elements are looked at, in bytes.
_ELEMENTS = 1 << 20


def _is_elements(value: Any) -> bool:
    """Whether ``value`` is an array of numpy's whose elements are looked at."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.nbytes <= _ELEMENTS and not value.dtype.hasobject


def _can_change(value: Any) -> bool:
    """Whether what a value is can change without an assignment to the attribute."""
    if type(value) in (tuple, frozenset):
        return any(map(_can_change, value))
    if type(value) is types.MethodType:
        return _can_change(value.__self__)
    return type(value) in (list, set, dict, collections.deque) or _is_elements(value) or _parts(value) is not None


_DEEP = 32
_MANY = 1024


class _Look:
    """One look at the attributes of an object.

    What is met again is not gone through again. Of what objects of the user's hold, so many values are looked at in all.
    """

    def __init__(self) -> None:
        #: By id: what was met, which lives at least as long as this, and its number.
        self.met: dict[int, tuple[Any, int]] = {}
        self.depth = 0
        self.objects = 0
        self.left = _MANY

    def key(self, value: Any) -> Any:
        """What a value is, by type."""
        kind = type(value)
        if self.objects:
            self.left -= 1
        if kind in (int, bool, str, bytes, type(None), mx.Dtype):
            return kind, value
        if kind in (float, complex):
            return kind, repr(value)  # tells -0.0 from 0.0, and NaN equals NaN
        if _is_elements(value):
            return kind, value.shape, value.dtype.str, hashlib.blake2b(value.tobytes(), digest_size=32).digest()
        if id(value) in self.met:
            return "again", self.met[id(value)][1]
        parts = _parts(value)
        is_container = kind in (tuple, list, collections.deque, set, frozenset, dict)
        if not is_container and parts is None or self.depth >= _DEEP or self.left < 0:
            return _Identity(value)
        self.met[id(value)] = value, len(self.met)
        self.depth += 1
        self.objects += not is_container
        try:
            if parts is not None:
                which, attributes = parts
                return _Identity(which), tuple((name, self.key(v)) for name, v in attributes.items())
            if kind is dict:
                return kind, tuple((self.key(k), self.key(v)) for k, v in value.items())
            keys = (self.key(v) for v in value)
            return kind, frozenset(keys) if kind in (set, frozenset) else tuple(keys)
        finally:
            self.depth -= 1
            self.objects -= not is_container


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

    ``_version`` is an ``int`` in ``__dict__``. Names in ``_outside_configuration`` do not count; when
    the contents of those in ``_changed_by_itself`` change, the class says so.
    """

    _outside_configuration: frozenset[str] = frozenset({"_version"})
    _changed_by_itself: frozenset[str] = frozenset()
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
        if any(_can_change(value) for name, value in attributes.items() if name not in self._changed_by_itself):
            own["_loose"] = True
        look = _Look()
        configuration = frozenset((name, look.key(value)) for name, value in attributes.items())
        own["_version"] = _version_of((type(self), configuration))
