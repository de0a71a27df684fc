"""What state a function can reach: modules and optimizers, with the names that its author has for them.

``compile`` looks here before it traces a function, to notice state that the function changes without having
captured it, and to name it. Nothing here changes anything.

Reached are: captured variables and defaults, global variables that the function's code names, attributes of the
user's modules that it names, its own attributes, the object of a bound method, the contents of a
``functools.partial``, classes of the user with their methods, and what functions and objects found so reach in turn.
Absent: what is reached by a call of ``globals()``, by methods of built-in objects, through containers of more than a
few levels, and what lies beyond the first thousand parts of an object or some thousands of objects.
"""

from __future__ import annotations

import collections
import functools
import importlib.machinery
import itertools
import os
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lazuli import _lazuli

#: What is noted of a module or optimizer when its attributes are looked at: its version, the attributes that it had (names and values), those of its
#: class (class, name and value), whether they can change unseen, state in them, and objects that are held for their addresses.
KEPT_BY_LOOKS = frozenset({"_version", "_seen", "_seen_in_class", "_loose", "_reached", "_held"})
#: How many containers and attributes deep a value is looked into.
_DEEP = 6
#: How deep containers and objects are nested that are looked into for state.
_NESTED = 256
#: How many parts of one object are looked at, and how many objects in all, nearest first: a few milliseconds.
_WIDE, _MANY = 1_000, 10_000
_NOT_USERS = frozenset({"lazuli", *sys.stdlib_module_names})
_IN_C = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_SITES = frozenset({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
#: What to do about arrays in an object that is no part of a captured tree.
_NO_STATE = "no tree of arrays holds it, so that none can be captured with it: assign it to an attribute of a module, or keep it in a list or dict"


class Reach:
    """The state that a function reaches.

    Args:
        fun: the function.
        inputs: the tree given as ``inputs=``, or ``None``.
    """

    def __init__(self, fun: Any, inputs: Any):
        self.fun = fun
        self.inputs = inputs
        #: By id: a container, its name, the name of what to capture.
        self._named: dict[int, tuple[Any, str, str]] = {}
        #: Those of them that are the attributes of an object.
        self._attributes: set[int] = set()

    def containers(self, all: bool = False) -> list[Any]:
        """All lists and dicts that are state: of modules, of optimizers, of input captures. With ``all``, plain ones and the
        attributes of the user's objects too."""
        for found in _reached(self.fun):
            if isinstance(found.value, _Captured):
                self._note(found.value.tree, found.name(), f"what '{found.value.by}' captures")
            elif _is_state(found.value):
                path = found.name()
                self._note(found.value, path, path if path.endswith(".state") else f"{path}.state")
            elif all:
                self._note(found.value, found.name(), "it")
        if self.inputs is not None:
            self._note(self.inputs, "inputs", "the same tree")
        return [container for container, _, _ in self._named.values()]

    def variables(self) -> Iterator[tuple[str, Any]]:
        """The variables that functions within reach share: the name of each, and what holds it, a cell or the dict of the globals."""
        for found in _reached(self.fun):
            fun = found.value
            if isinstance(fun, types.FunctionType):
                yield from zip(fun.__code__.co_freevars, fun.__closure__ or ())
                if not _is_own(fun):
                    names = (name for name in fun.__code__.co_names if name in fun.__globals__)
                    yield from ((name, fun.__globals__) for name in names if not _is_fixed(fun.__globals__[name]))

    def _note(self, tree: Any, path: str, capture: str, depth: int = 0) -> None:
        if depth >= _NESTED:
            return
        depth += 1
        if isinstance(tree, tuple):
            for i, child in enumerate(tree):
                self._note(child, f"{path}[{i}]", capture, depth)
        elif isinstance(tree, functools.partial):
            self._note(tree.args, f"{path}.args", capture, depth)
            self._note(tree.keywords, f"{path}.keywords", capture, depth)
        elif _is_object(tree):
            self._attributes.add(id(vars(tree)))
            self._note(vars(tree), path, _NO_STATE, depth)
        if not isinstance(tree, (dict, list)) or id(tree) in self._named:
            return
        if capture is _NO_STATE and (_is_state(tree) or len(self._named) >= _MANY):
            return  # state that can be captured is found by itself
        self._named[id(tree)] = tree, path, capture
        for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if not isinstance(child, _IMMUTABLE):
                self._note(child, self._item(tree, path, key), capture, depth)
        if _is_state(tree):
            for name, child in vars(tree).items():
                if not isinstance(child, _IMMUTABLE) and name not in KEPT_BY_LOOKS:
                    self._note(child, f"{path}.{name}", _NO_STATE, depth)

    def _item(self, container: Any, path: str, key: Any) -> str:
        return f"{path}.{key}" if id(container) in self._attributes else _item(container, path, key)

    def name_of_item(self, container: Any, key: Any) -> tuple[str, str]:
        """The name of an item, and what to do in order to capture it; of a variable, if there is no container."""
        if container is None:
            return str(key), "return it"
        unnamed = container, f"a {type(container).__name__}", "it"
        _, path, capture = self._named.get(id(container), unnamed)
        return self._item(container, path, key), capture if capture is _NO_STATE else f"add {capture} to outputs="

    def name_of_array(self, array: Any, at: str) -> tuple[str, str]:
        """The name of an array that was updated in place at a line, and what to do in order to capture it."""
        for path, child, capture in self._in_states():
            if child is array:
                return path, f"add {capture} to outputs="
        for path, child in self._in_variables():
            if child is array:
                return f"{path} (in place, at {at})", f"add [{path}] to outputs=, or pass the array as an argument"
        return f"an array of shape {array.shape} (in place, at {at})", "add it to outputs=, or pass it as an argument"


    def arrays(self) -> Iterator[tuple[str, Any]]:
        """All arrays within reach, with their names; those of modules and optimizers by attribute, first."""
        self.containers()
        yield from ((path, child) for path, child, _ in self._in_states() if isinstance(child, _lazuli.array))
        yield from self._in_variables()

    def _in_states(self) -> Iterator[tuple[str, Any, str]]:
        """What is in the containers: its name, itself, what to capture."""
        for container, path, capture in self._named.values():
            for key, child in container.items() if isinstance(container, dict) else enumerate(container):
                yield self._item(container, path, key), child, capture

    def _in_variables(self) -> Iterator[tuple[str, Any]]:
        """The arrays that the function reaches, by the shortest way."""
        for found in _reached(self.fun):
            if isinstance(found.value, _lazuli.array):
                yield found.name(), found.value


def arrays_within(value: Any) -> list[tuple[str, Any]]:
    """The arrays that an object holds in its attributes, or a function in its closure, with their names; but for those of modules and optimizers."""

    def visit(child: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        if isinstance(child, _lazuli.array):
            yield path, child
        elif isinstance(child, (list, tuple, dict)) and not _is_state(child) and depth < _DEEP:
            for key, part in child.items() if isinstance(child, dict) else enumerate(child):
                yield from visit(part, f"{path}[{key!r}]", depth + 1)

    if isinstance(value, _lazuli.CompiledFunction):
        value = value.__wrapped__
    if isinstance(value, types.MethodType):
        value = value.__self__
    if isinstance(value, (type, types.ModuleType)) or _is_state(value):
        return []
    if isinstance(value, types.FunctionType):
        parts = [(name, child) for name, child in _names_in(value) if name in value.__code__.co_freevars]
    elif isinstance(value, functools.partial):
        parts = [(".args", value.args), (".keywords", value.keywords)]
    else:
        parts = [(f".{name}", child) for name, child in _parts(value) if isinstance(name, _Attribute)]
    return [found for name, child in parts for found in visit(child, name, 0)]


def name_in_arguments(args: tuple, kwargs: dict[str, Any] | None, container: Any, key: Any) -> str:
    """The name of an item of a container among the arguments of a call."""
    reach = Reach(None, None)
    reach._note(args, "args", "it")
    reach._note(kwargs or {}, "kwargs", "it")
    return reach.name_of_item(container, key)[0]


class _Captured:
    """What a compiled function within reach captures as ``outputs=``."""

    def __init__(self, name: str, tree: Any):
        self.by, self.tree = name, tree


def _item(container: Any, path: str, key: Any) -> str:
    """The name of an item: an attribute of a module, an item of anything else."""
    if _is_state(container) and not path.endswith(".state") and isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}"
    return f"{path}[{key!r}]"


def _is_state(value: Any) -> bool:
    """Whether ``value`` is a module or an optimizer's state: a dictionary with a version of its attributes."""
    return isinstance(value, dict) and "_version" in getattr(value, "__dict__", ())


class _Found(NamedTuple):
    """An object, and the way there: a name, or a part of another object."""

    value: Any
    whole: _Found | None
    step: Any
    depth: int = 0

    def name(self) -> str:
        if self.whole is None:
            return self.step or getattr(self.value, "__name__", type(self.value).__name__)
        of, path = self.whole.value, self.whole.name()
        if isinstance(self.step, _Attribute):
            return f"{path}.state" if self.step == "_state" and _is_state(self.value) else f"{path}.{self.step}"
        return _item(of, path, self.step)


class _Attribute(str):
    """The name of an attribute, where a string is the key of an item."""


def _reached(fun: Any) -> Iterator[_Found]:
    """What a function reaches by name, and what the values and functions among it reach: the nearest first, each once."""
    seen: set[int] = set()
    classes: set[int] = set()
    todo = [_Found(fun, None, "")]
    for found in todo:  # which grows, and keeps alive what ``seen`` tells apart
        value = found.value
        is_class = isinstance(value, type) and is_users(value.__module__)
        if id(value) in seen or isinstance(value, _IMMUTABLE) and not is_class:
            continue
        seen.add(id(value))
        if len(seen) > _MANY:
            return
        named: Iterable[tuple[str, Any]] = ()
        if isinstance(value, _lazuli.array):
            yield found
        elif isinstance(value, types.MethodType):
            named = [("self", value.__self__), ("", value.__func__)]
        elif isinstance(value, functools.partial):
            named = [("", value.func), ("args", value.args), ("keywords", value.keywords)]
        elif isinstance(value, _lazuli.CompiledFunction):
            named = [("", value.__wrapped__)]
            if value._outputs is not None:
                name = found.name()
                yield _Found(_Captured(name, value._outputs), None, f"{name}.outputs")
        elif isinstance(value, types.FunctionType):
            named = _names_in(value)
            yield found
        elif is_class:
            named = _attributes_of(value)
        else:
            yield found
            cls = type(value)
            if id(cls) not in classes:
                classes.add(id(cls))
                named = [("", cls)] if is_users(cls.__module__) else ()
            if found.depth < _DEEP:
                parts = (_Found(child, found, step, found.depth + 1) for step, child in _parts(value))
                todo += itertools.islice(parts, _WIDE)
        todo += (_Found(child, None, name) for name, child in named)


def _names_in(fun: types.FunctionType) -> Iterator[tuple[str, Any]]:
    cells = fun.__closure__ or ()
    for name, cell in zip(fun.__code__.co_freevars, cells):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            pass
    yield from ((f"{fun.__name__}'s default", value) for value in fun.__defaults__ or ())
    yield from (fun.__kwdefaults__ or {}).items()
    yield from ((f"{fun.__name__}.{name}", value) for name, value in fun.__dict__.items())
    if not _is_own(fun):
        names = _global_names(fun.__code__)
        for name in names:
            if name in fun.__globals__:
                value = fun.__globals__[name]
                yield name, value
                if isinstance(value, types.ModuleType) and is_users(value.__name__):
                    yield from ((f"{name}.{k}", vars(value)[k]) for k in names if k in vars(value))


def _is_own(fun: types.FunctionType) -> bool:
    """Whether a function is Lazuli's own."""
    return (fun.__module__ or "").startswith("lazuli.")


def _is_object(value: Any) -> bool:
    """Whether ``value`` is a plain object of the user's with attributes: neither a container nor a module nor a node of trees."""
    cls = type(value)
    if isinstance(value, (type, types.ModuleType, types.FunctionType, dict, *_SEQUENCES)) or not isinstance(getattr(value, "__dict__", None), dict):
        return False
    is_plain = cls is types.SimpleNamespace or cls.__module__ != "builtins" and is_users(cls.__module__)
    return is_plain and _lazuli._tree_node_parts(value) is None


def _is_fixed(value: Any) -> bool:
    """Whether what a global variable stands for is no state: a function, a class, a module."""
    return callable(value) or isinstance(value, types.ModuleType)


def is_users(module: Any) -> bool:
    """Whether a module is neither Lazuli's nor one that comes with Python or was installed. Modules written in C are installed ones."""
    if not isinstance(module, str) or module.partition(".")[0] in _NOT_USERS:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(file, str):
        return True
    depth = module.count(".") + 1 + (os.path.basename(file).startswith("__init__."))
    root = file
    for _ in range(depth):
        root = os.path.dirname(root)
    return not file.endswith(_IN_C) and not _is_of_installed(root)


@functools.cache
def _is_of_installed(directory: str) -> bool:
    """Whether a directory is one that packages are installed into: of Python itself, or by ``pip install --target``."""
    parts = directory.replace("\\", "/").split("/")
    if "site-packages" in parts or "dist-packages" in parts or directory in _SITES:
        return True
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(directory or "."))
    except OSError:  # an archive
        return False


def _attributes_of(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class and those that it derives from hold: values, methods and properties."""
    for base in cls.__mro__:
        if is_users(base.__module__):
            for name, value in vars(base).items():
                if isinstance(value, (staticmethod, classmethod)):
                    yield "", value.__func__
                elif isinstance(value, property):
                    yield from (("", f) for f in (value.fget, value.fset) if f is not None)
                elif not (name.startswith("__") and name.endswith("__")) or isinstance(value, types.FunctionType):
                    yield f"{cls.__name__}.{name}", value


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """The items of a container; the attributes of an object."""
    if isinstance(value, dict):
        yield from ((key, child) for key, child in value.items() if not isinstance(child, _IMMUTABLE))
    elif isinstance(value, _SEQUENCES):
        yield from ((i, child) for i, child in enumerate(value) if not isinstance(child, _IMMUTABLE))
    if type(value).__module__ != "builtins":
        yield from ((_Attribute(key), child) for key, child in getattr(value, "__dict__", {}).items() if key not in KEPT_BY_LOOKS)
        slots = (name for base in type(value).__mro__ for name in getattr(base, "__slots__", ()))
        yield from ((_Attribute(name), getattr(value, name)) for name in slots if hasattr(value, name))


def _global_names(code: types.CodeType) -> dict[str, None]:
    """In the order in which the code names them."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names
