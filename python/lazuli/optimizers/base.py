"""``Optimizer``: the base class, which walks trees; and what works on any optimizer.

A subclass states what one parameter needs: ``init_single`` makes its state, ``apply_single``
computes its next value. Everything that changes from step to step is an array in
``Optimizer.state``, a dictionary to hand to ``compile`` or to save::

    {"step": ..., "learning_rate": ..., <the tree of parameters, each leaf a dict of arrays>}

Invariants:

- What a step computes depends on that state and on attributes summed up in ``state._version`` (see
  :mod:`lazuli.nn.configuration`), and on nothing else: there is no hidden "initialised" flag.
- State for a parameter is made when its first gradient comes; what is there is never remade.

Absent: parameter groups (use :class:`MultiOptimizer`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import lazuli.core as mx
from lazuli import _spelling
from lazuli.nn.configuration import Configured
from lazuli.nn.layers.base import Module
from lazuli.utils import _rebuild, tree_flatten, tree_map, tree_map_with_path, tree_merge, tree_reduce

__all__ = ["MultiOptimizer", "Optimizer", "clip_grad_norm"]

Schedule = Callable[[mx.array], mx.array]


class OptimizerState(dict):
    """A dictionary that carries the ``_version`` of its optimizer's attributes.

    ``compile`` sees only the state that it captures, not the optimizer, and has it look at its
    attributes again where they can change unseen. Copies and pickles are plain dictionaries.
    """

    _version: int
    _loose = False
    _reached: tuple = ()
    _owner: weakref.ref[Optimizer]

    def _belong_to(self, optimizer: Optimizer) -> None:
        """Take over the version of the optimizer's attributes."""
        self._version, self._loose, self._reached = optimizer._version, optimizer._loose, optimizer._reached
        self._owner = weakref.ref(optimizer)

    def _configuration_changed(self) -> None:
        optimizer = self._owner()
        if optimizer is not None:
            optimizer._configuration_changed()
            self._belong_to(optimizer)

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


class Optimizer(Configured):
    """Base class of optimizers.

    Args:
        schedulers: by name, functions from the step to a value kept in the state.

    Example:
        >>> class SignDescent(optim.Optimizer):
        ...     def __init__(self, learning_rate):
        ...         super().__init__()
        ...         self._maybe_schedule("learning_rate", learning_rate)
        ...
        ...     def apply_single(self, gradient, parameter, state):
        ...         return parameter - self.learning_rate * mx.sign(gradient)
        >>> SignDescent(0.5).update({"w": mx.array([1.0, 2.0])}, {"w": mx.array([3.0, -4.0])})
        {'w': array([0.5, 2.5], dtype=float32)}
    """

    _outside_configuration = frozenset({"_version", "_state"})
    _changed_by_itself = frozenset({"_schedulers"})
    _state: OptimizerState

    def __init__(self, schedulers: Mapping[str, Schedule] | None = None) -> None:
        self._schedulers = dict(schedulers or {})
        self.state = {"step": mx.array(0, mx.uint64)}

    def __getattr__(self, name: str) -> Any:
        # Called only when the usual look-up has failed.
        raise AttributeError(_spelling.unknown_method(type(self).__name__, name, _spelling.OPTIMIZER_METHODS))

    def _configuration_changed(self) -> None:
        super()._configuration_changed()
        if "_state" in self.__dict__:
            self._state._belong_to(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_state" in state:
            state = state | {"_state": OptimizerState(state["_state"])}
        super().__setstate__(state)

    # ---- state -----------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """All arrays that a step reads and changes; may be set, to continue from a saved state."""
        return self._state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._state = OptimizerState(state)
        self._state._belong_to(self)

    @property
    def step(self) -> mx.array:
        """How many steps were made, a uint64 scalar."""
        return self.state["step"]

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate; set it to a number, an array or a schedule."""
        return self.state["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array | Schedule) -> None:
        self._maybe_schedule("learning_rate", learning_rate)

    def _maybe_schedule(self, name: str, value: float | mx.array | Schedule) -> None:
        """Keep ``value`` as ``state[name]``; a function of the step is evaluated at every step."""
        if callable(value):
            self._schedulers[name] = value
            self._configuration_changed()
            value = value(self.step)
        elif isinstance(value, (dict, list, tuple)):
            raise TypeError(
                f"[{type(self).__name__}] {name} is a number, an array or a schedule, not {type(value).__name__}: "
                "parameters are given to update(model, gradients)"
            )
        self.state[name] = _as_array(value)

    def init(self, parameters: Any) -> None:
        """Make the state for a tree of parameters, where there is none yet.

        :meth:`update` does so by itself; call this to have the state, or to compile, before.

        Raises:
            ValueError: a parameter at the top of the tree has the name of something in the state.

        Example:
            >>> optimizer = optim.SGD(learning_rate=0.1, momentum=0.9)
            >>> optimizer.init(nn.Linear(2, 2).trainable_parameters())
            >>> list(optimizer.state)
            ['step', 'learning_rate', 'weight', 'bias']
        """
        parameters = _as_dict(parameters)
        for name in parameters:
            if isinstance(self.state.get(name), mx.array):
                raise ValueError(
                    f"[{type(self).__name__}] a parameter named {name!r} collides with that name "
                    "in the optimizer's state; put the parameters one level deeper, "
                    "as {'parameters': ...}"
                )
        self._fill(self.state, parameters)

    def _fill(self, state: Any, parameters: Any) -> Any:
        """The state of a tree: ``state``, with what is missing added in place."""
        if isinstance(parameters, dict):
            state = {} if state is None else state
            for key, child in parameters.items():
                state[key] = self._fill(state.get(key), child)
        elif isinstance(parameters, (list, tuple)):
            state = state or []
            state.extend({} for _ in range(len(parameters) - len(state)))
            for i, child in enumerate(parameters):
                state[i] = self._fill(state[i], child)
        elif not state:
            state = {}
            self.init_single(parameters, state)
        return state

    def init_single(self, parameter: mx.array, state: dict[str, mx.array]) -> None:
        """Put what ``parameter`` needs from step to step into the empty dictionary ``state``."""

    # ---- stepping --------------------------------------------------------------------------

    def update(self, model: Any, gradients: Any) -> Any:
        """Make one step.

        Args:
            model: a :class:`lazuli.nn.Module`, which is changed in place; or a tree of
                parameters, which is not.
            gradients: a tree of gradients with the structure of the parameters, or a part of it:
                parameters without a gradient stay as they are.

        Returns:
            ``None`` for a module; for a tree, the tree of updated parameters.

        Example:
            >>> optimizer = optim.SGD(learning_rate=0.5)
            >>> optimizer.update({"w": mx.array(1.0), "b": mx.array(2.0)}, {"w": mx.array(4.0)})
            {'w': array(-1, dtype=float32), 'b': array(2, dtype=float32)}
        """
        if isinstance(gradients, Module) or not isinstance(gradients, (dict, list, tuple, mx.array)):
            kind = type(gradients).__name__
            raise TypeError(
                f"[{type(self).__name__}.update] takes the model, and then gradients: a tree like the parameters, as "
                f"nn.value_and_grad(model, fn) returns it, not {kind}"
            )
        try:
            updated = self.apply_gradients(gradients, model)
        except KeyError:
            name = _without_parameter(gradients, model)
            if name is None:
                raise
            raise KeyError(
                f"[{type(self).__name__}.update] there is a gradient {name}, and no such parameter: gradients have the structure of "
                "the parameters, or a part of it"
            ) from None
        except ValueError as error:
            found = _of_another_shape(gradients, model) if type(error) is ValueError else None
            if found is None:
                raise
            raise ValueError(f"[{type(self).__name__}.update] {found}") from None
        if isinstance(model, Module):
            model.update(updated)
            return None
        return _overlay(model, updated)

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        """Make one step, and return the updated parameters in the structure of ``gradients``.

        Args:
            gradients: a tree of gradients.
            parameters: a tree with a parameter for each gradient, and possibly more.
        """
        if not isinstance(gradients, dict):
            return self.apply_gradients(_as_dict(gradients), _as_dict(parameters))[_ROOT]
        self.init(gradients)
        for name, schedule in self._schedulers.items():
            self.state[name] = _as_array(schedule(self.step))
        self.state["step"] = self.step + 1
        return tree_map(self.apply_single, gradients, parameters, self.state)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, mx.array]
    ) -> mx.array:
        """The next value of ``parameter``; changes what ``init_single`` put into ``state``."""
        raise NotImplementedError(f"{type(self).__name__} does not implement apply_single")


def _of_another_shape(gradients: Any, parameters: Any) -> str | None:
    """What is wrong with the first gradient that has another shape than its parameter."""
    known = dict(tree_flatten(parameters))
    for name, gradient in tree_flatten(gradients):
        parameter = known.get(name)
        if isinstance(parameter, mx.array) and isinstance(gradient, mx.array) and gradient.shape != parameter.shape:
            return f"the gradient of {name or 'the parameter'} has shape {gradient.shape}, and the parameter {parameter.shape}"
    return None


def _without_parameter(gradients: Any, parameters: Any) -> str | None:
    """The first name in a tree of gradients that the parameters do not have."""
    if not isinstance(gradients, dict) or not isinstance(parameters, dict):
        return None
    for key, below in gradients.items():
        if key not in parameters:
            return repr(key)
        found = _without_parameter(below, parameters[key])
        if found is not None:
            return f"{key!r}.{found}"
    return None


def _as_array(value: Any) -> mx.array:
    return value if isinstance(value, mx.array) else mx.array(value)


#: Where the state keeps a tree of parameters that is not a dictionary.
_ROOT = "parameters"


def _as_dict(tree: Any) -> dict[str, Any]:
    return tree if isinstance(tree, dict) else {_ROOT: tree}


def _overlay(tree: Any, updates: Any) -> Any:
    """``tree`` with the leaves of ``updates`` in their places."""
    if type(updates) is dict and not updates:
        return tree
    if isinstance(tree, dict):
        return {
            key: _overlay(child, updates[key]) if key in updates else child
            for key, child in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        placed = [_overlay(child, update) for child, update in zip(tree, updates)]
        return _rebuild(tree, [*placed, *tree[len(placed) :]])
    return updates


def _part(tree: Any, owners: Any, owner: int) -> Any:
    """What belongs to ``owner``; nothing, in its place in a list or tuple, is ``{}``."""
    if isinstance(tree, dict):
        parts = {key: _part(child, owners[key], owner) for key, child in tree.items()}
        return {key: part for key, part in parts.items() if type(part) is not dict or part}
    if isinstance(tree, (list, tuple)):
        return _rebuild(tree, [_part(child, o, owner) for child, o in zip(tree, owners)])
    return tree if owners == owner else {}


class MultiOptimizer(Optimizer):
    """Hands each parameter to the first of several optimizers whose filter takes it.

    Args:
        optimizers: the optimizers.
        filters: a predicate of path and gradient for each optimizer but the last, which gets what
            no filter takes.

    Raises:
        ValueError: there is not one filter fewer than optimizers.

    Example:
        >>> optimizer = optim.MultiOptimizer(
        ...     [optim.Adam(1e-3), optim.SGD(1e-2)], [lambda path, g: path.endswith("weight")]
        ... )
        >>> model = nn.Linear(2, 2)
        >>> optimizer.init(model.trainable_parameters())
        >>> [list(state) for state in optimizer.state["states"]]
        [['step', 'learning_rate', 'weight'], ['step', 'learning_rate', 'bias']]
    """

    def __init__(
        self,
        optimizers: list[Optimizer],
        filters: list[Callable[[str, mx.array], bool]] | None = None,
    ) -> None:
        filters = list(filters or ())
        if len(filters) != len(optimizers) - 1:
            raise ValueError(
                f"[MultiOptimizer] {len(optimizers)} optimizers need {len(optimizers) - 1} "
                f"filters, got {len(filters)}"
            )
        self.optimizers = list(optimizers)
        self.filters = filters

    @property
    def state(self) -> dict[str, Any]:
        """The states of the optimizers, as ``{"states": [...]}``."""
        state = OptimizerState(states=[optimizer.state for optimizer in self.optimizers])
        state._belong_to(self)
        return state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        states = state.get("states")
        if not isinstance(states, list) or len(states) != len(self.optimizers):
            raise ValueError(
                f"[MultiOptimizer] expected a state {{'states': [...]}} of {len(self.optimizers)} "
                "optimizers"
            )
        for optimizer, its_state in zip(self.optimizers, states):
            optimizer.state = its_state

    @property
    def step(self) -> mx.array:
        """How many steps were made, a uint64 scalar."""
        return self.optimizers[0].step

    @property
    def learning_rate(self) -> mx.array:
        """The first optimizer's learning rate; setting it sets it for all."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array | Schedule) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate

    def _split(self, tree: Any) -> list[Any]:
        """For each optimizer, the part of ``tree`` that it handles."""

        def owner(path: str | None, leaf: Any) -> int:
            takers = (i for i, takes in enumerate(self.filters) if takes(path or "", leaf))
            return next(takers, len(self.filters))

        owners = tree_map_with_path(owner, tree)
        return [_part(tree, owners, i) for i in range(len(self.optimizers))]

    def init(self, parameters: Any) -> None:
        """Make the state for a tree of parameters, each in its optimizer."""
        for optimizer, part in zip(self.optimizers, self._split(parameters)):
            optimizer.init(part)

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        """Make one step of each optimizer, and return the updated parameters."""
        updated: Any = {}
        for optimizer, part in zip(self.optimizers, self._split(gradients)):
            updated = tree_merge(updated, optimizer.apply_gradients(part, parameters))
        return updated


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, mx.array]:
    """Scale gradients down so that the norm of all of them together is at most ``max_norm``.

    Pascanu et al., arXiv:1211.5063.

    Args:
        grads: a tree of gradients.
        max_norm: the largest norm to leave alone.

    Returns:
        The scaled tree, and the norm before (a float32 scalar).

    Example:
        >>> optim.clip_grad_norm({"w": mx.array([3.0, 4.0])}, max_norm=10.0)
        ({'w': array([3, 4], dtype=float32)}, array(5, dtype=float32))
    """

    def add_square(total: mx.array, g: mx.array) -> mx.array:
        return total + mx.sum(mx.square(g.astype(mx.float32)))

    norm = mx.sqrt(tree_reduce(add_square, grads, mx.array(0.0)))
    factor = mx.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * factor.astype(g.dtype), grads), norm
