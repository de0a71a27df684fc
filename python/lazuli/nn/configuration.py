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
  containers and objects by what is in them: their items, their attributes and the values that their
  classes hold; partial applications and bound methods by what they are made of, numbers and arrays of
  numpy's and other buffers by their bits (of many, by a hash of them). Functions compare by identity, and
  so do objects of Python's machinery and of classes written in C, as far as their attributes do not show them.
- Of arrays, modules and optimizers in attributes the version says only where they are: those are in ``_reached``,
  and ``compile`` tells which of them it captures.
- What can change without being assigned makes a module ``_loose``, or the state of an optimizer:
  ``compile`` has its version brought up to date at every call. So it does where attributes are others than those
  that were ``_seen``: those written past ``__setattr__``.
- A version is never used for two configurations: forgetting interned ones only costs a trace.

For the reader of versions: modules and optimizer states are dictionaries of a subclass, and have
``_version`` in their ``__dict__``; dictionaries without one have nothing but their items.

Absent: changes of what functions refer to, inside objects of Python's machinery (a lock, a logger, a file), of what classes
written in C keep to themselves, of elements of buffers of more than a MiB, of values that a class is given when none of its modules
holds values, and beyond the first 1,024 values that objects hold: looking at all would take longer than the call.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import functools
import hashlib
import sys
import threading
import types
import weakref
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
    """Compares by ``is``, without keeping the object alive. A dead object equals nothing, so a recycled address confuses nobody."""

    __slots__ = ("_hash", "_get")

    def __init__(self, value: Any):
        self._hash = id(value)
        self._get = weakref.ref(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Identity):
            return NotImplemented
        value = self._get()
        return value is not None and value is other._get()

    def __hash__(self) -> int:
        return self._hash


#: Classes of values that never change, compared by type and value.
_VALUES = (int, bool, str, bytes, type(None), type(...), range, mx.Dtype)
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType)
_CONTAINERS = (tuple, list, collections.deque, set, frozenset, dict)
_BUFFERS = (bytearray, memoryview, array.array)
#: Classes of which objects show all that they are: their contents and attributes.
_WHOLE = (object, int, float, complex, str, bytes, *_CONTAINERS)
#: Of the modules that come with Python, those whose objects are data.
_DATA = ("argparse", "collections", "configparser", "types")

_looked_into: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _looks_into(cls: type) -> bool:
    """Whether objects of a class are looked into: of any that is neither Lazuli's nor of Python's machinery (a lock, a logger, a file)."""
    known = _looked_into.get(cls)
    if known is None:
        package = str(cls.__module__).partition(".")[0]
        is_own = package == "lazuli" or package in sys.stdlib_module_names and package not in _DATA
        known = _looked_into[cls] = not is_own or issubclass(cls, enum.Enum)
    return known


def _is_whole(cls: type) -> bool:
    """Whether objects of a class without weak references can be told apart by all that they hold: no part is in C alone."""
    return all(base in _WHOLE or base.__module__ in ("abc", "typing", "enum") or _reach.is_users(base.__module__) for base in cls.__mro__)


#: By class: how much it and its bases hold, and the names of the values among that.
_names_of_values: weakref.WeakKeyDictionary[type, tuple[int, list[tuple[type, str]]]] = weakref.WeakKeyDictionary()
_NOT_OF_CLASSES = frozenset({"_outside_configuration", "_changed_by_itself", "_never_trained"})


def _values_of_class(cls: type) -> list[tuple[type, str, Any]]:
    """What a class of the user's, or one that it derives from, holds for its objects besides methods and the like: the class, names and values."""
    held = sum(len(vars(base)) for base in cls.__mro__)
    known = _names_of_values.get(cls)
    if known is None or known[0] != held:
        names = [
            (base, name)
            for base in cls.__mro__
            if _reach.is_users(base.__module__)
            for name, value in vars(base).items()
            if not (name.startswith(("__", "_abc_")) or name in _NOT_OF_CLASSES or hasattr(type(value), "__get__"))
        ]
        known = _names_of_values[cls] = held, names
    return [(base, name, vars(base)[name]) for base, name in known[1] if name in vars(base)]


def _contents(value: Any) -> Any:
    """What an object of a class derived from one of Python's is, as an object of the latter."""
    kind = type(value)
    if issubclass(kind, collections.OrderedDict):  # which has an order of its own
        return list(collections.OrderedDict.items(value))
    if issubclass(kind, dict):
        return list(dict.items(value))
    for base in (list, tuple, set, frozenset, collections.deque):
        if issubclass(kind, base):
            return base(base.__iter__(value))
    if issubclass(kind, int):
        return int.__add__(value, 0)
    for base in (float, complex):
        if issubclass(kind, base):
            return base.__repr__(value)
    if issubclass(kind, str):
        return str.__getitem__(value, slice(None))
    return bytes(value) if issubclass(kind, (bytes, bytearray)) else None


#: The largest array of numpy's, or other buffer, whose elements are looked at, in bytes.
_ELEMENTS = 1 << 20
_DEEP = 32
_MANY = 1024
_next_number = count(1)


class _Look:
    """One look at the attributes of an object.

    What is met again is not gone through again. Of what objects hold, so many values are looked at in all.

    Args:
        held: what the look before this one held.
    """

    def __init__(self, held: dict[int, tuple[Any, int]]) -> None:
        #: By id: what was met, which lives at least as long as this, and its number.
        self.met: dict[int, tuple[Any, int]] = {}
        self.depth = 0
        self.objects = 0
        self.left = _MANY
        #: Whether any of it can change without an assignment to the attribute.
        self.is_loose = False
        #: Arrays, modules and states of optimizers: what is in them, those who capture know.
        self.state: list[Any] = []
        #: Whether what is looked at is only referred to weakly: then so it is here.
        self.weakly = 0
        #: By id: objects that cannot be referred to weakly, and numbers in place of their addresses.
        self.held = held
        self.holds: dict[int, tuple[Any, int]] = {}

    def key(self, value: Any) -> Any:
        """What a value is, by type."""
        kind = type(value)
        if self.objects:
            self.left -= 1
        if kind in _VALUES:
            return kind, value
        if kind in (float, complex):
            return kind, repr(value)  # tells -0.0 from 0.0, and NaN equals NaN
        if id(value) in self.met:
            return "again", self.met[id(value)][1]
        self.met[id(value)] = value, len(self.met)
        if issubclass(kind, mx.array):
            return kind, self._state(value)
        if issubclass(kind, Configured):
            return self._configured(value)
        if kind in _CODE or self.depth >= _DEEP or self.left < 0:
            return self._itself(value)
        is_container = kind in _CONTAINERS
        self.depth += 1
        self.objects += not is_container
        try:
            return self._container(value) if is_container else self._object(value)
        finally:
            self.depth -= 1
            self.objects -= not is_container

    def _itself(self, value: Any) -> Any:
        if type(value).__weakrefoffset__:
            return _Identity(value)
        known = self.held.get(id(value))
        self.holds[id(value)] = known if known is not None and known[0] is value else (value, next(_next_number))
        return "held", self.holds[id(value)][1]

    def _configured(self, value: Configured) -> Any:
        state = value if isinstance(value, dict) else value.__dict__.get("_state")
        if state is not value:
            self.is_loose = True  # another state may be set
        return self._itself(value), None if state is None else self._state(state)

    def _state(self, value: Any) -> int:
        """Adds state; its place."""
        self.state.append(weakref.ref(value) if self.weakly else value)
        return len(self.state)

    def _container(self, value: Any) -> Any:
        kind = type(value)
        self.is_loose = self.is_loose or kind not in (tuple, frozenset)
        if kind is dict:
            return kind, tuple((self.key(k), self.key(v)) for k, v in value.items())
        keys = (self.key(v) for v in value)
        if kind is collections.deque:
            return kind, value.maxlen, tuple(keys)
        return kind, frozenset(keys) if kind in (set, frozenset) else tuple(keys)

    def _object(self, value: Any) -> Any:
        """An object that is no container: its class or itself, what it contains, and its attributes."""
        kind = type(value)
        if kind is functools.partial:
            return kind, self.key(value.func), self.key(value.args), self.key(value.keywords)
        if kind is types.MethodType:
            return kind, self.key(value.__self__), self.key(value.__func__)
        if kind is weakref.ref:
            self.weakly += 1
            try:
                return kind, self.key(value())
            finally:
                self.weakly -= 1
        if issubclass(kind, type):
            return self._itself(value), self._attributes([(name, v) for _, name, v in _values_of_class(value)])
        if kind in _BUFFERS:
            return kind, self._elements(memoryview(value)) or self._itself(value)
        if kind is types.MappingProxyType:
            self.is_loose = True
            return kind, self.key(list(value.items()))
        numpy = sys.modules.get("numpy")
        elements: Any = None
        if numpy is not None and issubclass(kind, numpy.generic):
            if kind.__module__ == "numpy" and not value.dtype.hasobject:
                return self._scalar(numpy, value)
            elements = self._scalar(numpy, value)
        elif numpy is not None and issubclass(kind, numpy.ndarray):
            elements = self._elements(value)
            if elements is None or kind is numpy.ndarray:
                return elements or self._itself(value)
        elif numpy is not None and issubclass(kind, numpy.dtype):
            return kind, value
        elif not _looks_into(kind):
            return self._itself(value)
        else:
            contents = _contents(value)
            elements = None if contents is None else self.key(contents)
        attributes = [(name, getattr(value, name)) for name in members(kind) if hasattr(value, name)]
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            attributes += own.items()
        # Members of enumerations are set up by names of its own.
        is_enum = isinstance(value, enum.Enum)
        attributes += [] if is_enum else [(name, v) for _, name, v in _values_of_class(kind)]
        if is_enum:
            attributes = [(name, v) for name, v in attributes if name not in ("_inverted_", "__objclass__")]
        return self._which(value), elements, self._attributes(attributes, is_loose=isinstance(own, dict))

    def _which(self, value: Any) -> Any:
        """What tells an object from others of the same contents and attributes: itself, or only its class."""
        kind = type(value)
        is_record = dataclasses.is_dataclass(kind) or kind is types.SimpleNamespace or f"{kind.__module__}.{kind.__name__}" == "argparse.Namespace"
        if is_record or not kind.__weakrefoffset__ and _is_whole(kind):
            return _Identity(kind)
        return self._itself(value)

    def _attributes(self, attributes: list[tuple[Any, Any]], is_loose: bool = False) -> Any:
        self.is_loose = self.is_loose or is_loose or bool(attributes)
        return tuple((name, self.key(v)) for name, v in attributes)

    def _scalar(self, numpy: Any, value: Any) -> Any:
        """A number of numpy's: its type and bits."""
        if value.dtype.hasobject:
            return self.key(value.tolist())
        is_float = isinstance(value, numpy.inexact)  # a long double has bytes that mean nothing
        return type(value), str(value.dtype), repr(value) if is_float else value.tobytes()

    def _elements(self, value: Any) -> Any:
        """The elements of a buffer, by a hash of them; ``None`` if they are too many."""
        if value.nbytes > _ELEMENTS:
            return None
        self.is_loose = True
        if isinstance(value, memoryview):
            return value.format, value.shape, hashlib.blake2b(value.tobytes(), digest_size=32).digest()
        if value.dtype.hasobject:
            return value.shape, self.key(value.tolist())
        dtype = value.dtype.str if value.dtype.names is None else str(value.dtype)
        return type(value), value.shape, dtype, hashlib.blake2b(value.tobytes(), digest_size=32).digest()


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
    _reached: tuple = ()

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if key not in self._outside_configuration:
            self._configuration_changed()

    def __delattr__(self, key: str) -> None:
        object.__delattr__(self, key)
        self._configuration_changed()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _reach.KEPT_BY_LOOKS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A version means nothing in another process: a pickle does not carry it.
        self.__dict__.update(state)
        self._configuration_changed()

    def _configuration_changed(self) -> None:
        """Bring ``_version`` up to date; for use after changing an attribute's value in place."""
        own = self.__dict__
        outside, by_itself = self._outside_configuration, self._changed_by_itself
        look = _Look(own.get("_held", {}))
        configuration, seen = [], []
        for name, value in list(own.items()):
            if name in _reach.KEPT_BY_LOOKS:
                continue
            seen += name, value
            if name in outside:
                continue
            if name in by_itself:
                configuration.append((name, tuple((k, look.key(v)) for k, v in value.items())))
            else:
                configuration.append((name, look.key(value)))
        of_class = _values_of_class(type(self))
        key = type(self), frozenset(configuration), tuple((name, look.key(value)) for _, name, value in of_class)
        own["_version"] = _version_of(key)
        own["_seen"] = tuple(seen)
        in_class = tuple(part for one in of_class for part in one)
        kept = {"_seen_in_class": in_class, "_loose": look.is_loose, "_reached": tuple(look.state), "_held": look.holds}
        for name, value in kept.items():
            if value:
                own[name] = value
            else:
                own.pop(name, None)
