"""Tracebacks that end where the user's program does, and say how Lazuli spells what was called by another name.

An uncaught exception is shown without the frames of Lazuli's own Python files, in scripts and in IPython; a note says so. ``LAZULI_TRACEBACK=full`` in the
environment leaves all of them in. Exceptions that are caught are left alone: their tracebacks are whole.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

from lazuli import _spelling

# Where the package's files are, as the names of its frames begin: as it was imported, and with links followed.
FOLDERS = tuple(dict.fromkeys(str(file.parent) + os.sep for file in (Path(__file__), Path(__file__).resolve())))
NOTE = "(frames of Lazuli are left out: LAZULI_TRACEBACK=full shows them)"


def is_ours(traceback: types.TracebackType) -> bool:
    """Whether a frame is of the package."""
    return traceback.tb_frame.f_code.co_filename.startswith(FOLDERS)


def advise(error: BaseException) -> None:
    """Notes how Lazuli spells an argument that one of its Python functions does not have; the binding's say so themselves."""
    note = _spelling.advice(error)
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def shown(error: BaseException, traceback: types.TracebackType | None) -> BaseException:
    """The exception as it is shown: shortened, unless it fails at something that it is asked for."""
    error = error.with_traceback(traceback)
    try:
        return shorten(error)
    except Exception:
        return error.with_traceback(traceback)


def shorten(error: BaseException) -> BaseException:
    """Leaves the package's frames out of the traceback of an exception, and of those that led to it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        todo += [one.__cause__, one.__context__]
        advise(one)
        frames = []
        traceback = one.__traceback__
        while traceback is not None:
            frames.append(traceback)
            traceback = traceback.tb_next
        users = [t for t in frames if not is_ours(t)]
        if not users or len(users) == len(frames):
            continue
        short = None
        for t in reversed(users):
            short = types.TracebackType(short, t.tb_frame, t.tb_lasti, t.tb_lineno)
        one.__traceback__ = short
        if NOTE not in getattr(one, "__notes__", ()):
            one.add_note(NOTE)
    return error


def install() -> None:
    """Shortens what is shown of uncaught exceptions, from now on."""
    if os.environ.get("LAZULI_TRACEBACK") == "full":
        return
    show = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None) -> Any:
        short = shown(error, traceback)
        return show(kind, short, short.__traceback__)

    sys.excepthook = excepthook
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:

        def custom(shell: Any, kind: Any, error: Any, traceback: Any, tb_offset: Any = None) -> None:
            short = shown(error, traceback)
            shell.showtraceback((kind, short, short.__traceback__), tb_offset=tb_offset)

        shell.set_custom_exc((Exception,), custom)
