"""Looking into functions while they run: ``mx.debug.print``."""

import re
import string
from typing import Any

from lazuli import _lazuli, _spelling
from lazuli.utils import tree_map

__all__ = ["print"]


def print(fmt: str, *args: Any, ordered: bool = True, **kwargs: Any) -> None:
    """Prints ``fmt.format(*args, **kwargs)``, whose arrays may be without values yet.

    Otherwise than the built-in ``print``, it can be used in functions that are compiled or transformed:

    - in a compiled function it prints at every call, in the order of the program, whatever becomes of the function's results;
      the call runs at once then, as if its results were read;
    - in a function that is differentiated it prints the values of the primals, once;
    - in a function that :func:`vmap` maps it prints a line for each element of the batch, if what it prints depends on the batch;
    - otherwise it prints at once.

    A function saved with :func:`export_function` prints where it is called. Text goes to ``sys.stdout``. If that raises, so does the call.

    Args:
        fmt: as of ``str.format``: ``{}``, ``{0}``, ``{name}``, ``{x.shape}``, ``{loss:.3f}`` (a format is for arrays without axes), ``{x!r}``.
        *args: arrays, containers of arrays, and whatever else ``str.format`` takes.
        ordered: accepted for programs that come from JAX: prints are always in order.
        **kwargs: the same by name.

    Raises:
        ValueError: if ``fmt`` is not well formed or does not fit an array, or an argument is not in it.
        IndexError, KeyError: if ``fmt`` names an argument that is not there.

    Example:
        >>> import lazuli.core as mx
        >>> @mx.compile
        ... def f(x):
        ...     y = mx.square(x)
        ...     mx.debug.print("x = {}, y = {y:.2f}", x, y=y)
        ...     return y + 1
        >>> y = f(mx.array(2.0))
        x = 2.0, y = 4.00
        >>> y = f(mx.array(3.0))
        x = 3.0, y = 9.00
    """
    arrays: list[_lazuli.array] = []

    def stand_in(tree: Any) -> Any:
        return tree_map(lambda leaf: _Value(leaf, arrays) if isinstance(leaf, _lazuli.array) else leaf, tree)

    text = _Formatter().vformat(fmt, [stand_in(a) for a in args], {name: stand_in(a) for name, a in kwargs.items()})
    _lazuli._debug_print(_numbered(text), arrays)


class _Value:
    """An array in the arguments of a format: its text is a mark, in place of which the value is printed later."""

    def __init__(self, array: _lazuli.array, arrays: list[_lazuli.array]) -> None:
        self._array = array
        self._arrays = arrays

    def _mark(self, how: str) -> str:
        self._arrays.append(self._array)
        return f"\0{len(self._arrays) - 1}{how}\0"

    def __format__(self, spec: str) -> str:
        return self._mark(f":{spec}" if spec else "")

    def __repr__(self) -> str:
        return self._mark("!r")

    def _of(self, found: Any) -> Any:
        return _Value(found, self._arrays) if isinstance(found, _lazuli.array) else found

    def __getattr__(self, name: str) -> Any:
        return self._of(getattr(self._array, name))

    def __getitem__(self, at: Any) -> Any:
        return self._of(self._array[at])


class _Formatter(string.Formatter):
    def get_value(self, key: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(key, int) and key >= len(args):
            raise IndexError(f"[debug.print] the format names argument {key}, and {len(args)} were given: pass one for each {{}}")
        if isinstance(key, str) and key not in kwargs:
            raise KeyError(f"[debug.print] the format names {key!r}, which was not given: pass {key}=")
        return super().get_value(key, args, kwargs)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(value, "r" if conversion == "a" and isinstance(value, _Value) else conversion)

    def check_unused_args(self, used_args: Any, args: Any, kwargs: Any) -> None:
        unused = [f"argument {i}" for i in range(len(args)) if i not in used_args]
        unused += [f"'{name}'" for name in kwargs if name not in used_args]
        if unused:
            raise ValueError(f"[debug.print] the format does not mention {', '.join(unused)}: add {{}} or {{name}}, or leave it out")


def _numbered(text: str) -> str:
    """The text as the format of a print: marks become numbered fields, braces are doubled."""
    parts = re.split(r"\0(\d+(?:[:!][^\0]*)?)\0", text)
    return "".join(f"{{{part}}}" if i % 2 else part.replace("{", "{{").replace("}", "}}") for i, part in enumerate(parts))


_spelling.answer(__name__, "mx.debug", lambda: __all__)
