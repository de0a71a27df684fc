"""Function transformations: signatures for people and type checkers around the binding's functions."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from typing import Any, ParamSpec, TypeVar

from lazuli import _lazuli

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["checkpoint", "compile_disabled", "compile_mode", "cond", "custom_function", "grad", "value_and_grad", "vmap"]


def _function(op: str, fun: Any) -> None:
    if not callable(fun):
        raise TypeError(f"[{op}] takes a function, not {type(fun).__name__}")


def value_and_grad(
    fun: Callable[P, R],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] = (),
) -> Callable[P, tuple[R, Any]]:
    """Returns a function that computes the value of ``fun`` and its gradient.

    Args:
        fun: returns a scalar array, or a tuple that begins with one.
        argnums: positional arguments (arrays or trees of them) to differentiate; the first by default, none if
            ``argnames`` is given.
        argnames: keyword arguments to differentiate.

    Returns:
        A function that returns the value and the gradients. A single gradient stands by itself, several
        positional ones are a tuple; with ``argnames`` the gradients are a pair of those by position and a dict
        of those by name.

    Raises:
        TypeError: ``fun`` is no function.
        ValueError: when called: an argument to differentiate is not there, is or holds a number that is no array, or is of
            integers. (A gradient in integers would be rounded to 0; MLX returns such.)

    Example:
        >>> import lazuli.core as mx
        >>> mx.value_and_grad(lambda x: (x * x).sum())(mx.array([1.0, 2.0]))
        (array(5, dtype=float32), array([2, 4], dtype=float32))
    """
    _function("grad", fun)
    names = [argnames] if isinstance(argnames, str) else list(argnames)
    if argnums is None:
        argnums = [] if names else 0
    single = isinstance(argnums, int)
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if not numbers and not names:
        raise ValueError("[grad] nothing to differentiate: give argnums or argnames")

    @functools.wraps(fun)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> tuple[R, Any]:
        value, gradients = _lazuli._value_and_grad(fun, numbers, names, args, kwargs)
        by_position, by_name = gradients[: len(numbers)], gradients[len(numbers) :]
        positional = None if not numbers else by_position[0] if single else tuple(by_position)
        return value, (positional, dict(zip(names, by_name))) if names else positional

    return wrapper


def grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] = (),
) -> Callable[P, Any]:
    """Returns a function that computes the gradient of ``fun``; see :func:`value_and_grad`.

    Example:
        >>> import lazuli.core as mx
        >>> mx.grad(mx.exp)(mx.array(1.0))
        array(2.71828, dtype=float32)
    """
    both = value_and_grad(fun, argnums, argnames)

    @functools.wraps(fun)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        return both(*args, **kwargs)[1]

    return wrapper


def vmap(fun: Callable[P, R], in_axes: Any = 0, out_axes: Any = 0) -> Callable[P, R]:
    """Returns ``fun`` over a batch: mapped along an axis of its arguments, without a loop.

    Args:
        fun: a function of arrays and trees of arrays.
        in_axes: the axis of each argument to map along, or ``None`` to pass it whole: one value for all, or a tree
            like the arguments.
        out_axes: where the batch goes in each result, likewise.

    Example:
        >>> import lazuli.core as mx
        >>> mx.vmap(lambda x: x.sum())(mx.ones((3, 4)))
        array([4, 4, 4], dtype=float32)
    """
    _function("vmap", fun)

    @functools.wraps(fun)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return _lazuli._vmap(fun, in_axes, out_axes, args, kwargs)

    return wrapper


class _Scope(ContextDecorator):
    """A mode of this thread. Scopes may end in any order, as those of generators and coroutines do."""

    #: The live scopes of a thread: each with the mode to go back to.
    _live = threading.local()

    def __init__(self, mode: str) -> None:
        # A mode that there is not is refused here, before the scope is entered.
        _lazuli._replace_compile_scope(_lazuli._replace_compile_scope(mode))
        self._mode = mode

    def __enter__(self) -> None:
        live = self._live.__dict__.setdefault("scopes", [])
        live.append((self, _lazuli._replace_compile_scope(self._mode)))

    def __exit__(self, *exception: object) -> None:
        live = self._live.__dict__.get("scopes", [])
        at = max((i for i, (scope, _) in enumerate(live) if scope is self), default=None)
        if at is None:
            raise RuntimeError(f"[compile_mode] the scope of {self._mode!r} was not entered on this thread, which leaves it")
        _, before = live.pop(at)
        if at == len(live):
            _lazuli._replace_compile_scope(before)
        else:  # the next one goes back to where this one would
            live[at] = (live[at][0], before)


def compile_mode(mode: str) -> _Scope:
    """Within this context, on this thread, compiled functions run in ``mode``.

    Args:
        mode: ``"enabled"``; ``"disabled"``, as plain functions; ``"no_simplify"`` or ``"no_fuse"``, without
            that stage; ``"verify"``, each call fused, unfused and as a plain function, which raises
            :class:`VerificationError` if the results differ.

    Raises:
        ValueError: if there is no such mode.

    Example:
        >>> import lazuli.core as mx
        >>> f = mx.compile(lambda x: mx.exp(-x))
        >>> with mx.compile_mode("verify"):
        ...     f(mx.array(0.0))
        array(1, dtype=float32)
    """
    return _Scope(mode)


def compile_disabled() -> _Scope:
    """Within this context, on this thread, compiled functions run as plain ones."""
    return _Scope("disabled")


class _Doc:
    """The documentation of a class if the class is asked, of the function if a compiled function is."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, compiled: Any, owner: type) -> str | None:
        return self._text if compiled is None else compiled.__wrapped__.__doc__


_lazuli.CompiledFunction.__doc__ = _Doc(_lazuli.CompiledFunction.__doc__)  # type: ignore[assignment]


def _reduce_compiled(compiled: Any, options: tuple[Any, bool, bool]) -> Any:
    """How a compiled function is pickled: by name if the name leads to it, else by the function it compiles."""
    fun = options[0]
    module, name = getattr(fun, "__module__", None), getattr(fun, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str):
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is compiled:
            return _named, (module, name)
    return _compile_again, options


def _copy_captured(tree: Any, memo: dict[int, Any]) -> Any:
    """A deep copy of a captured tree; the state of an optimizer is that of the optimizer's copy."""

    def note(value: Any) -> None:
        owner = getattr(value, "_owner", lambda: None)()
        if owner is not None and owner.state is value:
            memo[id(value)] = copy.deepcopy(owner, memo).state
        elif type(value) in (list, tuple):
            for item in value:
                note(item)
        elif type(value) is dict:
            for item in value.values():
                note(item)

    note(tree)
    return copy.deepcopy(tree, memo)


def _named(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _compile_again(fun: Callable[..., Any], shapeless: bool, traced_scalars: bool) -> Any:
    return _lazuli.compile(fun, shapeless=shapeless, traced_scalars=traced_scalars)


def checkpoint(fun: Callable[P, R]) -> Callable[P, R]:
    """Returns ``fun`` as a function that keeps none of its intermediate values for gradients: reverse mode
    computes them again from the arguments, which takes less memory and more time.

    State that ``fun`` updates (arrays in modules, lists and dicts, variables) has the new values behind the call. Within a transformation
    the function is traced, also where nothing is compiled: it cannot read values of its arguments then.

    Example:
        >>> import lazuli.core as mx
        >>> mx.grad(mx.checkpoint(lambda x: mx.exp(mx.sin(x))))(mx.array(0.0))
        array(1, dtype=float32)
    """
    _function("checkpoint", fun)

    @functools.wraps(fun)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return _lazuli._custom(fun, args, kwargs, recompute=True)

    return wrapper


def cond(pred: Any, true_fun: Callable[..., R], false_fun: Callable[..., R], *operands: Any) -> R:
    """Calls ``true_fun(*operands)`` if ``pred`` is true, else ``false_fun(*operands)``: a branch on a value, in compiled functions too.

    In plain code the function that is chosen is simply called. In a function that is compiled, vectorised or differentiated both are
    called, to be traced, and only what the one does that the value chooses is run. What they reach through their closures is passed
    along; an array that one of them updates in place (``x[0] = ...``, ``mx.random.state``) is updated if that one is chosen. Other
    side effects happen at the trace, as those of compiled functions.

    Derivatives go through the branch that is taken. Under :func:`vmap`, a predicate that differs from point to point makes both
    branches run for all points (with what they print), and results are selected.

    Args:
        pred: an array without axes, or a number; numbers other than 0 are true.
        true_fun: takes the operands.
        false_fun: takes the same, and returns the same: arrays of equal shapes and dtypes in equal containers. Numbers in
            results become arrays.
        *operands: arrays, trees of them, and constants.

    Raises:
        ValueError: if ``pred`` has axes; if what the functions return does not agree; if one replaces arrays of a module,
            another container or a variable.

    Example:
        >>> import lazuli.core as mx
        >>> @mx.compile
        ... def root(x):
        ...     return mx.cond(x > 0, mx.sqrt, lambda x: -x, x)
        >>> root(mx.array(4.0)), root(mx.array(-4.0))
        (array(2, dtype=float32), array(4, dtype=float32))
    """
    _function("cond", true_fun)
    _function("cond", false_fun)
    return _lazuli._cond(pred, true_fun, false_fun, operands)


class custom_function:
    """A function with derivatives and a vectorisation of its own, as a decorator.

    The rule of reverse mode is set with :meth:`vjp`, that of forward mode with :meth:`jvp`, that of batches with :meth:`vmap`.
    What has no rule is derived from the operations of the function; without a rule for batches the function and its
    derivatives are vectorised. Derivatives are traced when the function is called within a transformation; the rule for
    batches is called when the call meets a batch, within the call of what :func:`vmap` returned. Where they are traced, neither
    the function nor a rule can read values of its arguments, or update state with what depends on them (``ValueError``).

    Example:
        >>> import lazuli.core as mx
        >>> @mx.custom_function
        ... def f(x, y):
        ...     return mx.sin(x) * y
        >>> @f.vjp
        ... def f_vjp(primals, cotangent, output):
        ...     x, y = primals
        ...     return cotangent * mx.cos(x) * y, cotangent * mx.sin(x)
        >>> mx.grad(f)(mx.array(0.0), mx.array(2.0))
        array(2, dtype=float32)

        >>> @mx.custom_function
        ... def total(x):
        ...     return x.sum()
        >>> @total.vmap
        ... def total_vmap(x, axis):
        ...     return x.sum(axis=[i for i in range(x.ndim) if i != axis]), 0
        >>> mx.vmap(total)(mx.ones((2, 3)))
        array([3, 3], dtype=float32)
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun)
        self._fun = fun
        self._vjp: Callable[..., Any] | None = None
        self._jvp: Callable[..., Any] | None = None
        self._vmap: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function on arrays and trees of arrays; keyword arguments have no derivative by a rule, and a rule for batches
        does not take them."""
        return _lazuli._custom(self._fun, args, kwargs, vjp=self._vjp, jvp=self._jvp, vmap=self._vmap)

    def vjp(self, rule: Callable[..., Any]) -> custom_function:
        """Sets the rule of reverse mode, a decorator.

        Args:
            rule: called with the primals (a tuple of the positional arguments, or the only one itself), the cotangents
                and the outputs (both like what the function returns); returns cotangents like the primals.
        """
        self._vjp = rule
        return self

    def jvp(self, rule: Callable[..., Any]) -> custom_function:
        """Sets the rule of forward mode, a decorator.

        Args:
            rule: called with the primals and their tangents (each a tuple, or the only one itself); returns
                tangents like what the function returns.
        """
        self._jvp = rule
        return self

    def vmap(self, rule: Callable[..., Any]) -> custom_function:
        """Sets the rule for batches, a decorator.

        Args:
            rule: called with the inputs (a tuple of the positional arguments, or the only one itself), which have the batch as one
                more axis or are the same for all points, and with a tree like them that says where: an axis from 0 on, or
                ``None``. It returns a pair: what the function returns, for the whole batch, and where each array of
                that has the batch: an axis, ``None`` for one that all points share, or a tree of both.

        In nested batches the innermost calls the rule, and what the rule does is vectorised further. The derivative of a batched
        call is that of the function (:meth:`vjp`, :meth:`jvp`) over the batch, or, if it has none, that of what the rule
        does. An array that the function reaches through its closure must not differ from point to point.

        Raises:
            ValueError: when the batched function is called: the rule returns another structure, or shapes that do not fit; the function
                is given arguments by name.
        """
        self._vmap = rule
        return self
