"""One library in a process of its own, timed on request.

``python bench/worker.py LIBRARY`` answers each line of its input with one line, fields separated by tabs:

- ``rows``: the names and the sampling of all rows, ``name`` and ``sampling`` in turn;
- ``version``: the library's version; an error if it is not installed;
- ``open ROW``: makes the row's program and data, and answers with its modes (none: the library has no such program);
- ``time MODE SECONDS``: seconds per call of one sample, which lasts about that long; with 0 seconds, one call;
- ``close``: lets go of the row.

An error is answered with ``error`` and its message. The library is imported by the first ``open``.
"""

import gc
import importlib
import os
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Callable

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rows import ROWS, Told  # noqa: E402

ADAPTERS = {
    "lazuli": ("libraries.mlx_names", "lazuli"),
    "mlx": ("libraries.mlx_names", "mlx"),
    "jax": ("libraries.jax_xla", None),
    "torch": ("libraries.pytorch", None),
    "numexpr": ("libraries.numexpr_vm", None),
    "limit": ("libraries.limits", None),
}


def time_sample(run: Callable, prepare: Callable | None, seconds: float) -> float:
    """Seconds per call: of one call if ``seconds`` is 0, else of as many as fill the time, after one unmeasured."""
    arguments = prepare() if prepare else ()
    start = time.perf_counter()
    result = run(*arguments)
    elapsed = time.perf_counter() - start
    if isinstance(result, Told):
        return float(result)
    if seconds == 0 or elapsed > seconds:
        return elapsed
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            run(*arguments)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds / 2:
            return elapsed / calls
        calls = max(2 * calls, int(0.75 * calls * seconds / max(elapsed, 1e-9)))


@dataclass
class Worker:
    library: str
    modes: dict[str, Any]

    def answer(self, line: str) -> list[str]:
        request, _, rest = line.partition(" ")
        if request == "rows":
            return [field for row in ROWS for field in (row.name, row.sampling)]
        if request == "version":
            return [version("numpy" if self.library == "limit" else self.library)]
        if request == "open":
            row = next(row for row in ROWS if row.name == rest)
            module, argument = ADAPTERS[self.library]
            adapter = importlib.import_module(module)
            programs = adapter.programs(argument) if argument else adapter.programs()
            if self.library == "limit":
                self.modes = programs[row.limit[0]](row.limit[1]) if row.limit else {}
            elif row.program in programs:
                self.modes = programs[row.program](**row.parameters)
            return list(self.modes)
        if request == "time":
            mode, seconds = rest.rsplit(" ", 1)
            program = self.modes[mode]
            run, prepare = program if isinstance(program, tuple) else (program, None)
            return [repr(time_sample(run, prepare, float(seconds)))]
        if request == "close":
            self.modes = {}
            gc.collect()
            return []
        raise ValueError(f"unknown request {request!r}")


def main() -> None:
    worker = Worker(sys.argv[1], {})
    # Replies own the standard output; what a library prints goes to the standard error.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = ["ok", *worker.answer(line.rstrip("\n"))]
        except Exception as error:
            reply = ["error", f"{type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")]
        replies.write("\t".join(reply) + "\n")


if __name__ == "__main__":
    main()
