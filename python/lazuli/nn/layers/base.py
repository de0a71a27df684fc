"""``Module``: the base class of everything that has parameters.

A module is a dictionary. Assigning an array, a module, a list, a tuple or a dictionary to an
attribute stores it as an item; any other value (numbers, flags, functions) is a plain attribute.
The items are the module's *state*, the tree that ``compile`` captures; parameters are the arrays
of that tree reached through modules, lists and dictionaries, under names that do not begin with
an underscore.

Invariants:

- What is not in the state is summed up in ``_version`` (see :mod:`lazuli.nn.configuration`):
  plain attributes, ``training`` and what is frozen.
- ``update``, ``update_modules`` and ``load_weights`` check before they write: a call that raises
  has changed nothing.

Absent: hooks, parameter classes, devices. Arrays inside tuples and sets are not parameters.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

import lazuli.core as mx
from lazuli import _spelling
from lazuli.nn.configuration import Configured
from lazuli.utils import tree_flatten, tree_unflatten

__all__ = ["Module"]

Filter = Callable[["Module", str, Any], bool]
#: A container, a key of it, and the values there before and after.
Write = tuple[Any, Any, Any, Any]


class Module(Configured, dict):
    """Base class of layers and models.

    A subclass creates its layers and arrays in ``__init__`` (after ``super().__init__()``) and
    computes in ``__call__``.

    Example:
        >>> class MLP(nn.Module):
        ...     def __init__(self, dims: int, classes: int):
        ...         super().__init__()
        ...         self.hidden = nn.Linear(dims, 64)
        ...         self.out = nn.Linear(64, classes)
        ...
        ...     def __call__(self, x):
        ...         return self.out(nn.relu(self.hidden(x)))
        >>> model = MLP(10, 5)
        >>> model(mx.zeros((3, 10))).shape
        (3, 5)
    """

    _outside_configuration = frozenset({"_version"})
    _no_grad: frozenset[str]
    _training: bool

    #: Names of arrays that a layer updates itself; unfreezing leaves them frozen.
    _never_trained: frozenset[str] = frozenset()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__new__(cls)
        module.__dict__.update(_no_grad=frozenset(), _training=True)
        module._configuration_changed()
        return module

    def __init__(self) -> None:
        """Make a module without items, in training mode, with nothing frozen."""

    # ---- attributes ------------------------------------------------------------------------

    def __getattr__(self, key: str) -> Any:
        # Called only when the usual look-up has failed.
        if key in self:
            return self[key]
        raise AttributeError(_spelling.unknown_method(type(self).__name__, key, _spelling.METHODS))

    def __missing__(self, key: Any) -> Any:
        names = ", ".join(map(str, self)) or "nothing"
        raise KeyError(f"{type(self).__name__} has no parameter or module named {key!r}; it has {names}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes: a subclass defines it."""
        name = type(self).__name__
        also = ", in the place of forward" if hasattr(type(self), "forward") else ""
        raise TypeError(f"'{name}' object is not callable: define {name}.__call__{also}")

    def __setattr__(self, key: str, value: Any) -> None:
        if isinstance(getattr(type(self), key, None), property):
            object.__setattr__(self, key, value)
        elif isinstance(value, (mx.array, dict, list, tuple)):
            if key in self.__dict__:
                super().__delattr__(key)
            self[key] = value
        else:
            self.pop(key, None)
            super().__setattr__(key, value)

    def __delattr__(self, key: str) -> None:
        if key in self:
            del self[key]
        elif key in self.__dict__:
            super().__delattr__(key)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")

    @property
    def training(self) -> bool:
        """Whether the module is in training mode; set by :meth:`train` and :meth:`eval`."""
        return self._training

    @property
    def state(self) -> Self:
        """The tree of everything the module holds, parameters or not, for ``compile`` to capture.

        It is the module itself, so what a compiled function writes is seen by the module.
        """
        return self

    # ---- printing --------------------------------------------------------------------------

    def _extra_repr(self) -> str:
        """What a subclass wants between the parentheses of its ``repr``."""
        return ""

    def __repr__(self) -> str:
        children = tree_flatten(self.children(), is_leaf=self.is_module)
        lines = [
            f"  ({path}): {child!r}".replace("\n", "\n  ")
            for path, child in children
            if self.is_module(child)
        ]
        body = self._extra_repr()
        if lines:
            body = "\n".join([body, *lines, ""])
        return f"{type(self).__name__}({body})"

    # ---- walking the tree ------------------------------------------------------------------

    @staticmethod
    def is_module(value: Any) -> bool:
        """Whether ``value`` is a :class:`Module`."""
        return isinstance(value, Module)

    @staticmethod
    def valid_child_filter(module: Module, key: str, value: Any) -> bool:
        """A filter for :meth:`filter_and_map`: what may contain modules."""
        return isinstance(value, (dict, list))

    @staticmethod
    def valid_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """A filter for :meth:`filter_and_map`: parameters and what may contain them."""
        return isinstance(value, (dict, list, mx.array)) and not key.startswith("_")

    @staticmethod
    def trainable_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """A filter for :meth:`filter_and_map`: parameters that are not frozen."""
        return Module.valid_parameter_filter(module, key, value) and key not in module._no_grad

    def filter_and_map(
        self,
        filter_fn: Filter,
        map_fn: Callable[[Any], Any] | None = None,
        is_leaf_fn: Filter | None = None,
    ) -> dict[str, Any]:
        """The part of the state that a filter selects, as a tree of dictionaries and lists.

        Args:
            filter_fn: called as ``filter_fn(module, key, value)`` with the module that holds the
                value, before descending into it. Inside a list or dictionary the key is the path
                from the module (``"layers.0"``), and what is dropped there leaves ``{}``.
            map_fn: applied to each selected leaf.
            is_leaf_fn: whether not to descend into a value. Default: modules, dictionaries and
                lists are descended into.
        """
        if is_leaf_fn is None:
            is_leaf_fn = _is_no_container

        def visit(module: Module, key: str, value: Any) -> Any:
            if is_leaf_fn(module, key, value):
                return value if map_fn is None else map_fn(value)
            if isinstance(value, Module):
                return select(value)
            if isinstance(value, dict):
                return {k: inside(module, f"{key}.{k}", v) for k, v in value.items()}
            if isinstance(value, list):
                return [inside(module, f"{key}.{i}", v) for i, v in enumerate(value)]
            raise TypeError(
                f"[Module.filter_and_map] {key!r} of {type(module).__name__} is a "
                f"{type(value).__name__}, neither a leaf by is_leaf_fn nor a container"
            )

        def inside(module: Module, key: str, value: Any) -> Any:
            return visit(module, key, value) if filter_fn(module, key, value) else {}

        def select(module: Module) -> dict[str, Any]:
            return {k: visit(module, k, v) for k, v in module.items() if filter_fn(module, k, v)}

        return select(self)

    def parameters(self) -> dict[str, Any]:
        """All parameters, as a tree of dictionaries and lists with the module's structure."""
        return self.filter_and_map(self.valid_parameter_filter)

    def trainable_parameters(self) -> dict[str, Any]:
        """The parameters that are not frozen, as a tree of dictionaries and lists."""
        return self.filter_and_map(self.trainable_parameter_filter)

    def children(self) -> dict[str, Any]:
        """The modules directly below this one, as a tree."""
        return self.filter_and_map(
            self.valid_child_filter, is_leaf_fn=lambda _m, _k, v: isinstance(v, Module)
        )

    def leaf_modules(self) -> dict[str, Any]:
        """The modules below this one that contain no further modules, as a tree."""

        def is_leaf(_module: Module, _key: str, value: Any) -> bool:
            return isinstance(value, Module) and not tree_flatten(value.children())

        return self.filter_and_map(self.valid_child_filter, is_leaf_fn=is_leaf)

    def modules(self) -> list[Module]:
        """This module and all modules below it, each one before those in it."""
        return [module for _, module in self.named_modules()]

    def named_modules(self) -> list[tuple[str, Module]]:
        """As :meth:`modules`, with their paths (``""`` for this one)."""
        found: list[tuple[str, Module]] = []
        pending: list[tuple[str, Module]] = [("", self)]
        while pending:
            path, module = pending.pop()
            found.append((path, module))
            prefix = f".{path}" if path else ""
            children = tree_flatten(module.children(), prefix=prefix, is_leaf=self.is_module)
            pending.extend((p, m) for p, m in children if self.is_module(m))
        return found

    # ---- changing the tree -----------------------------------------------------------------

    def update(  # type: ignore[override]
        self, parameters: dict[str, Any], strict: bool = True
    ) -> Self:
        """Replace parameters by those of a tree.

        Args:
            parameters: a tree such as :meth:`parameters` returns, or a part of one: places that it
                does not name stay as they are.
            strict: if true, every place named must exist and every leaf be an array for an array.
                If false, places that do not exist are passed over, and leaves are not checked.

        Returns:
            The module.

        Raises:
            ValueError: ``parameters`` does not fit the module, which is then unchanged.

        Example:
            >>> layer = nn.Linear(2, 3)
            >>> layer.update({"bias": mx.ones(3)}).bias
            array([1, 1, 1], dtype=float32)
        """

        self._swap(parameters, strict)
        return self

    def _swap(self, parameters: dict[str, Any], strict: bool = True) -> list[Write]:
        """:meth:`update`, telling what it has written."""

        def fits(current: Any, new: Any) -> bool:
            return isinstance(current, mx.array)

        def accepts(current: Any, new: Any) -> bool:
            return isinstance(new, mx.array)

        return self._replace("update", "parameter", parameters, strict, fits, accepts)

    def update_modules(self, modules: dict[str, Any], strict: bool = True) -> Self:
        """Replace modules below this one by those of a tree: :meth:`update` for modules.

        Args:
            modules: a tree of modules, as :meth:`children` or :meth:`leaf_modules` return.
                ``{}`` stands for a place to leave as it is.
            strict: if true, every place named must exist and hold a module.

        Returns:
            The module.

        Example:
            >>> model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            >>> model.update_modules({"layers": [{}, nn.ReLU()]})
            Sequential(
              (layers.0): Linear(input_dims=2, output_dims=2, bias=True)
              (layers.1): ReLU()
            )
        """

        def fits(current: Any, new: Any) -> bool:
            return isinstance(current, Module) and isinstance(new, Module)

        def accepts(current: Any, new: Any) -> bool:
            return True

        self._replace("update_modules", "sub-module", modules, strict, fits, accepts)
        return self

    def _replace(
        self,
        op: str,
        noun: str,
        tree: Any,
        strict: bool,
        fits: Callable[[Any, Any], bool],
        accepts: Callable[[Any, Any], bool],
    ) -> list[Write]:
        """Write the leaves of ``tree`` into the places of this module that they name.

        A place ``fits`` if it is to be overwritten, as opposed to descended into; what it gets
        must be something that it ``accepts``. All is checked before anything is written.
        """
        writes: list[Write] = []

        def complain(path: str, problem: str) -> None:
            if strict:
                raise ValueError(f"[Module.{op}] {type(self).__name__} {problem.format(path)}")

        def visit(place: Any, new: Any, path: str) -> None:
            if isinstance(new, dict) and isinstance(place, dict):
                entries = [(k, v, k in place) for k, v in new.items()]
            elif isinstance(new, list) and isinstance(place, list):
                entries = [(i, v, i < len(place)) for i, v in enumerate(new)]
            else:
                return complain(
                    path,
                    f"holds {type(place).__name__} at {{!r}}, got {type(new).__name__}",
                )
            for key, value, exists in entries:
                below = f"{path}.{key}" if path else str(key)
                if type(value) is dict and not value:
                    continue  # an empty branch says nothing, wherever it stands
                if not exists:
                    complain(below, f"does not have a {noun} named {{!r}}")
                elif not fits(place[key], value):
                    visit(place[key], value, below)
                elif strict and not accepts(place[key], value):
                    complain(below, f"expects an array for {{!r}}, got {type(value).__name__}")
                else:
                    writes.append((place, key, place[key], value))

        visit(self, tree, "")
        for container, key, _, value in writes:
            container[key] = value
        return writes

    def apply(self, fn_or_parameters: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Map over the parameters, or call the module with other parameters.

        ``apply(map_fn, filter_fn=None)`` replaces each parameter ``p`` that the filter selects
        (see :meth:`filter_and_map`; default: all) by ``map_fn(p)`` and returns the module.

        ``apply(parameters, *args, **kwargs)``, with a tree as :meth:`parameters` returns it, is
        ``self(*args, **kwargs)`` computed with those parameters: a function of its arguments that
        can be differentiated and compiled. All arrays of the module, running statistics among
        them, are put back afterwards, whatever happens. Two threads must not call it on one
        module at a time.

        Raises:
            ValueError: the tree of parameters does not fit the module.
            TypeError: the first argument is neither a dictionary nor callable.

        Example:
            >>> layer = nn.Linear(2, 1)
            >>> def loss(params, x):
            ...     return layer.apply(params, x).sum()
            >>> grads = mx.grad(loss)(layer.parameters(), mx.ones((4, 2)))
            >>> grads["weight"]
            array([[4, 4]], dtype=float32)
            >>> _ = layer.apply(lambda p: p.astype(mx.float16))
            >>> layer.bias.dtype == mx.float16
            True
        """
        if isinstance(fn_or_parameters, dict):
            before = self.filter_and_map(_may_hold_arrays)
            self.update(fn_or_parameters)
            try:
                return self(*args, **kwargs)  # type: ignore[operator]
            finally:
                self.update(before, strict=False)
        if callable(fn_or_parameters):
            return self._map_parameters(fn_or_parameters, *args, **kwargs)
        raise TypeError(
            "[Module.apply] expected a function on arrays or a tree of parameters, "
            f"got a {type(fn_or_parameters).__name__}"
        )

    def _map_parameters(
        self, map_fn: Callable[[mx.array], mx.array], filter_fn: Filter | None = None
    ) -> Self:
        return self.update(self.filter_and_map(filter_fn or self.valid_parameter_filter, map_fn))

    def apply_to_modules(self, apply_fn: Callable[[str, Module], Any]) -> Self:
        """Call ``apply_fn(path, module)`` for this module and all below it; returns the module."""
        for path, module in self.named_modules():
            apply_fn(path, module)
        return self

    def set_dtype(
        self,
        dtype: mx.Dtype,
        predicate: Callable[[mx.Dtype], bool] | None = lambda d: mx.issubdtype(d, mx.floating),
    ) -> Self:
        """Cast parameters to ``dtype``.

        Args:
            dtype: the new dtype.
            predicate: says by its dtype whether to cast a parameter. Default: floating ones;
                ``None``: all.

        Returns:
            The module.
        """

        def cast(p: mx.array) -> mx.array:
            return p.astype(dtype) if predicate is None or predicate(p.dtype) else p

        return self._map_parameters(cast)

    # ---- freezing and modes ----------------------------------------------------------------

    def freeze(
        self,
        *,
        recurse: bool = True,
        keys: str | list[str] | None = None,
        strict: bool = False,
    ) -> Self:
        """Exclude parameters from :meth:`trainable_parameters`, hence from training.

        Args:
            recurse: also in the modules below.
            keys: names of the parameters to freeze. Default: all.
            strict: whether each module must have an item under each of ``keys``.

        Returns:
            The module.

        Raises:
            KeyError: ``strict``, and a module lacks one of ``keys``.

        Example:
            >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
            >>> _ = model.layers[0].freeze()
            >>> [name for name, _ in tree_flatten(model.trainable_parameters())]
            ['layers.1.weight', 'layers.1.bias']
        """
        return self._set_frozen(True, recurse, keys, strict)

    def unfreeze(
        self,
        *,
        recurse: bool = True,
        keys: str | list[str] | None = None,
        strict: bool = False,
    ) -> Self:
        """Undo :meth:`freeze`, with the same arguments."""
        return self._set_frozen(False, recurse, keys, strict)

    def _set_frozen(
        self, frozen: bool, recurse: bool, keys: str | list[str] | None, strict: bool
    ) -> Self:
        names = {keys} if isinstance(keys, str) else None if keys is None else set(keys)
        modules = self.modules() if recurse else [self]
        if strict and names is not None:
            for module in modules:
                for name in sorted(names - module.keys()):
                    raise KeyError(
                        f"[Module.{'freeze' if frozen else 'unfreeze'}] "
                        f"{type(module).__name__} does not contain {name!r}"
                    )
        for module in modules:
            if frozen:
                module._no_grad |= _own_parameter_names(module) if names is None else names
            else:
                module._no_grad -= module._no_grad if names is None else names
            module._no_grad |= module._never_trained & module.keys()
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode (or, with ``mode=False``, evaluation mode) here and below.

        Layers such as :class:`Dropout` and :class:`BatchNorm` compute something else in each.
        """
        for module in self.modules():
            module._set_training_mode(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    def _set_training_mode(self, mode: bool) -> None:
        if mode != self._training:
            self._training = bool(mode)

    # ---- weight files ----------------------------------------------------------------------

    def load_weights(
        self,
        file_or_weights: str | os.PathLike[str] | list[tuple[str, mx.array]],
        strict: bool = True,
    ) -> Self:
        """Replace parameters by those of an ``.npz`` or ``.safetensors`` file or of a list.

        Args:
            file_or_weights: a file name, or pairs of parameter path and array.
            strict: whether names, types and shapes must match the module's exactly. If false,
                only what the module has is taken, and shapes are not checked.

        Returns:
            The module.

        Raises:
            ValueError: ``strict``, and the weights do not match; the module is then unchanged.

        Example:
            >>> layer = nn.Linear(2, 1)
            >>> _ = layer.load_weights([("weight", mx.ones((1, 2)))], strict=False)
            >>> layer.weight
            array([[1, 1]], dtype=float32)
        """
        if isinstance(file_or_weights, (str, os.PathLike)):
            weights = list(mx.load(os.fspath(file_or_weights)).items())  # type: ignore[union-attr]
        else:
            weights = list(file_or_weights)
        if strict:
            self._check_weights(dict(weights))
        if weights:
            self.update(tree_unflatten(weights), strict=False)
        return self

    def _check_weights(self, weights: dict[str, Any]) -> None:
        parameters = tree_flatten(self.parameters(), destination={})
        for problem, names in (
            ("not in the module", sorted(weights.keys() - parameters.keys())),
            ("missing", sorted(parameters.keys() - weights.keys())),
        ):
            if names:
                raise ValueError(
                    f"[Module.load_weights] {len(names)} parameters are {problem}: "
                    f"{', '.join(names)}; strict=False takes what matches"
                )
        for name, parameter in parameters.items():
            weight = weights[name]
            if not isinstance(weight, mx.array):
                raise ValueError(
                    f"[Module.load_weights] expected an array for {name!r}, "
                    f"got a {type(weight).__name__}"
                )
            if weight.shape != parameter.shape:
                raise ValueError(
                    f"[Module.load_weights] expected shape {parameter.shape} for {name!r}, "
                    f"got {weight.shape}"
                )

    def save_weights(self, file: str | os.PathLike[str]) -> None:
        """Write all parameters to ``file``, whose ending says how: ``.npz`` or ``.safetensors``.

        Raises:
            ValueError: the name has another ending.
        """
        file = os.fspath(file)
        weights = tree_flatten(self.parameters(), destination={})
        if file.endswith(".npz"):
            mx.savez(file, **weights)
        elif file.endswith(".safetensors"):
            mx.save_safetensors(file, weights)
        else:
            raise ValueError(
                f"[Module.save_weights] unknown file ending of {file!r}; "
                "use '.npz' or '.safetensors'"
            )


def _may_hold_arrays(_module: Module, _key: str, value: Any) -> bool:
    return isinstance(value, (dict, list, mx.array))


def _is_no_container(_module: Module, _key: str, value: Any) -> bool:
    return not isinstance(value, (Module, dict, list))


def _own_parameter_names(module: Module) -> frozenset[str]:
    """Paths of the arrays of ``module`` itself: ``"weight"``, ``"scales.0"``."""
    own = module.filter_and_map(
        lambda m, k, v: not isinstance(v, Module) and m.valid_parameter_filter(m, k, v)
    )
    return frozenset(path for path, leaf in tree_flatten(own) if isinstance(leaf, mx.array))
