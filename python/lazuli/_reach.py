"""What state a function can reach: modules and optimizers, with the names that its author has for them.

``compile`` looks here before it traces a function, to notice state that the function changes without having
captured it, and to name it. Nothing here changes anything.

Reached are: captured variables and defaults, global variables that the function's code names, the object of a
bound method, the contents of a ``functools.partial``, and what functions and objects found so reach in turn.
Absent: what is reached by a call of ``globals()``, through modules of Python, or through containers of more
than a few levels.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from lazuli import _lazuli

_DEEP = 6
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)


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

    def containers(self) -> list[Any]:
        """All lists and dicts that are state: of modules, of optimizers, of input captures."""
        for name, value in _variables(self.fun):
            for path, state in _states(name, value, 0):
                self._note(state, path, f"{path}.state" if not path.endswith(".state") else path)
        if self.inputs is not None:
            self._note(self.inputs, "inputs", "the same tree")
        return [container for container, _, _ in self._named.values()]

    def _note(self, tree: Any, path: str, capture: str) -> None:
        if isinstance(tree, tuple):
            for i, child in enumerate(tree):
                self._note(child, f"{path}[{i}]", capture)
        if not isinstance(tree, (dict, list)) or id(tree) in self._named:
            return
        self._named[id(tree)] = tree, path, capture
        for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            self._note(child, _item(tree, path, key), capture)

    def name_of_item(self, container: Any, key: Any) -> tuple[str, str]:
        """The name of an item, and what to do in order to capture it."""
        _, path, capture = self._named[id(container)]
        return _item(container, path, key), f"add {capture} to outputs="

    def name_of_array(self, array: Any, at: str) -> tuple[str, str]:
        """The name of an array that was updated in place at a line, and what to do in order to capture it."""
        for container, path, capture in self._named.values():
            for key, child in container.items() if isinstance(container, dict) else enumerate(container):
                if child is array:
                    return _item(container, path, key), f"add {capture} to outputs="
        for name, value in _variables(self.fun):
            for path, child in _leaves(name, value, 0):
                if child is array:
                    return f"{path} (in place, at {at})", f"add [{path}] to outputs=, or pass the array as an argument"
        return f"an array of shape {array.shape} (in place, at {at})", "add it to outputs=, or pass it as an argument"


def _item(container: Any, path: str, key: Any) -> str:
    """The name of an item: an attribute of a module, an item of anything else."""
    if _is_state(container) and not path.endswith(".state") and isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}"
    return f"{path}[{key!r}]"


def _is_state(value: Any) -> bool:
    """Whether ``value`` is a module or an optimizer's state: a dictionary with a version of its attributes."""
    return isinstance(value, dict) and "_version" in getattr(value, "__dict__", ())


def _variables(fun: Any) -> Iterator[tuple[str, Any]]:
    """What a function reaches by name, and what the functions among it reach."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", fun)]
    for name, value in todo:  # which grows
        if id(value) in seen or isinstance(value, _IMMUTABLE):
            continue
        seen.add(id(value))
        if isinstance(value, types.MethodType):
            todo += [("self", value.__self__), ("", value.__func__)]
        elif isinstance(value, functools.partial):
            todo += [("", value.func), ("args", value.args), ("keywords", value.keywords)]
        elif isinstance(value, _lazuli.CompiledFunction):
            todo.append(("", value.__wrapped__))
        elif isinstance(value, types.FunctionType):
            todo += _names_in(value)
        elif name or value is fun:
            yield name or type(value).__name__, value


def _names_in(fun: types.FunctionType) -> Iterator[tuple[str, Any]]:
    cells = fun.__closure__ or ()
    for name, cell in zip(fun.__code__.co_freevars, cells):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            pass
    yield from ((f"{fun.__name__}'s default", value) for value in fun.__defaults__ or ())
    yield from (fun.__kwdefaults__ or {}).items()
    if not (fun.__module__ or "").startswith("lazuli."):
        for name in _global_names(fun.__code__):
            if name in fun.__globals__:
                yield name, fun.__globals__[name]


def _global_names(code: types.CodeType) -> dict[str, None]:
    """In the order in which the code names them."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def _states(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Modules and optimizers' states in a value."""
    if depth > _DEEP or isinstance(value, (_IMMUTABLE, _lazuli.array, types.FunctionType)):
        return
    if _is_state(value):
        yield path, value
    elif isinstance(value, (dict, list, tuple)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _states(f"{path}[{key!r}]", child, depth + 1)
    elif type(value).__module__ != "builtins":
        for key, child in getattr(value, "__dict__", {}).items():
            if key == "_state" and _is_state(child):
                yield f"{path}.state", child
            else:
                yield from _states(f"{path}.{key}", child, depth + 1)


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEEP:
        return
    if isinstance(value, (list, tuple, dict)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(f"{path}[{key!r}]", child, depth + 1)
    elif isinstance(value, _lazuli.array):
        yield path, value
    elif not isinstance(value, _IMMUTABLE) and type(value).__module__ != "builtins":
        for key, child in getattr(value, "__dict__", {}).items():
            yield from _leaves(f"{path}.{key}", child, depth + 1)
