"""Functions in files: traced here, called where the Python that made them is not needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Protocol, overload, runtime_checkable

from lazuli import _lazuli
from lazuli._lazuli import ImportedFunction, array


@runtime_checkable
class SupportsWrite(Protocol):
    """A file that takes text."""

    def write(self, text: str, /) -> Any: ...


__all__ = ["FunctionExporter", "ImportedFunction", "export_function", "export_to_dot", "exporter", "import_function"]


def export_to_dot(file: str | os.PathLike[str] | SupportsWrite, *args: Any, **kwargs: array) -> None:
    """Writes what is to be run for arrays in Graphviz's DOT language: a box for each operation that was recorded and has not been run.

    ``explain(...).to_dot()`` of a compiled function has the kernels.

    Args:
        file: path of the file, or an object with ``write``.
        args: arrays, and trees of them.
        kwargs: arrays of the graph, by the names that they get there; others are called A, B, ...

    Raises:
        OSError: if the file cannot be written.

    Example:
        >>> import io
        >>> import lazuli.core as mx
        >>> x, file = mx.array(1.0), io.StringIO()
        >>> mx.export_to_dot(file, mx.exp(x), x=x)
        >>> print(file.getvalue(), end="")
        digraph {
        { rank=source; "x"; }
        { rank=sink; "A"; }
        { 1 [label="Exp", shape=rectangle]; }
        "x" -> 1
        1 -> "A"
        }
    """
    text = _lazuli._dot(args, list(kwargs.items()))
    if isinstance(file, SupportsWrite):
        file.write(text)
        return
    with open(file, "w") as f:
        f.write(text)


def export_function(
    file: str | os.PathLike[str],
    fun: Callable[..., Any],
    *args: Any,
    shapeless: bool = False,
    metadata: str | None = None,
    **kwargs: array,
) -> None:
    """Traces a function and saves what it does to a file, with the arrays that it reaches.

    Args:
        file: path of the file, which is a ``.safetensors`` file whatever its name.
        fun: a function of arrays that returns an array, or a tuple or list of arrays.
        args: example arrays; or one tuple of them.
        shapeless: save a trace that holds for other extents too.
        metadata: a text to save along; :func:`import_function` gives it back.
        kwargs: example arrays by name; or one dict of them as the last of ``args``.

    Raises:
        ValueError: if an argument or a result is no array.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile, os
        >>> import lazuli.core as mx
        >>> file = os.path.join(tempfile.mkdtemp(), "scaled.safetensors")
        >>> mx.export_function(file, lambda x, by: x * by, mx.ones((2,)), by=mx.array(3.0))
        >>> scaled = mx.import_function(file)
        >>> scaled(mx.array([1.0, 2.0]), by=mx.array(10.0))
        (array([10, 20], dtype=float32),)
    """
    traced = _lazuli._export_trace(fun, args, kwargs, shapeless)
    _lazuli._export_save(os.fspath(file), [traced], metadata or "")


class FunctionExporter:
    """Traces a function for each call, and saves all traces to one file when it is closed. Made by :func:`exporter`."""

    def __init__(self, file: str | os.PathLike[str], fun: Callable[..., Any], shapeless: bool, metadata: str | None):
        self._file, self._fun, self._shapeless, self._metadata = os.fspath(file), fun, shapeless, metadata or ""
        self._traces: list[Any] | None = []

    def __call__(self, *args: Any, **kwargs: array) -> None:
        """Traces the function for arrays like these."""
        if self._traces is None:
            raise ValueError(f"[exporter] {self._file} is written: make another exporter for more traces")
        self._traces.append(_lazuli._export_trace(self._fun, args, kwargs, self._shapeless))

    def close(self) -> None:
        """Writes the file. Further traces are refused."""
        if self._traces is not None:
            traces, self._traces = self._traces, None
            _lazuli._export_save(self._file, traces, self._metadata)

    def __enter__(self) -> FunctionExporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def exporter(
    file: str | os.PathLike[str],
    fun: Callable[..., Any],
    *,
    shapeless: bool = False,
    metadata: str | None = None,
) -> FunctionExporter:
    """Saves several traces of a function in one file: for other shapes, dtypes, or numbers of arguments.

    Args:
        file: path of the file.
        fun: a function of arrays that returns an array, or a tuple or list of arrays.
        shapeless: save traces that hold for other extents too.
        metadata: a text to save along.

    Returns:
        An object to be called with example arrays once for each trace, as a context manager: the file is written at its end.

    Example:
        >>> import tempfile, os
        >>> import lazuli.core as mx
        >>> file = os.path.join(tempfile.mkdtemp(), "total.safetensors")
        >>> with mx.exporter(file, lambda *xs: sum(xs)) as export:
        ...     export(mx.array(1))
        ...     export(mx.array(1), mx.array(2))
        >>> mx.import_function(file)(mx.array(3), mx.array(4))
        (array(7, dtype=int32),)
    """
    return FunctionExporter(file, fun, shapeless, metadata)


@overload
def import_function(
    file: str | os.PathLike[str], return_metadata: Literal[False] = False
) -> ImportedFunction: ...
@overload
def import_function(
    file: str | os.PathLike[str], return_metadata: Literal[True]
) -> tuple[ImportedFunction, str]: ...
def import_function(
    file: str | os.PathLike[str], return_metadata: bool = False
) -> ImportedFunction | tuple[ImportedFunction, str]:
    """Reads a function that :func:`export_function` or :func:`exporter` saved, from Python or Rust.

    Args:
        file: path of the file.
        return_metadata: also return the text that was saved with it.

    Returns:
        A function of arrays (by position and by name, or one tuple and one dict of them) that gives a tuple of arrays; with
        ``return_metadata`` a pair of it and the text. It can be differentiated, vectorised and compiled.

    Raises:
        OSError: if the file cannot be read, is damaged, or holds no function.
        ValueError: when it is called with arrays that no trace fits.

    Example:
        >>> import tempfile, os
        >>> import lazuli.core as mx
        >>> file = os.path.join(tempfile.mkdtemp(), "abs.safetensors")
        >>> mx.export_function(file, mx.abs, mx.array(-1.0), metadata="absolute")
        >>> mx.import_function(file, return_metadata=True)[1]
        'absolute'
    """
    imported = _lazuli._import_function(os.fspath(file))
    return (imported, imported.metadata) if return_metadata else imported
