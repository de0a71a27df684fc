"""What Lazuli finds on this machine, and whether it works: the first thing to run, and to paste into a bug report.

A line is a fact or a check. A check that fails says what to do; the last line is ``ready`` or the number of checks that failed.
"""

from __future__ import annotations

import ctypes.util
import difflib
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

#: What the fast instruction sets need of the processor, by the names of the kernel's list.
INSTRUCTION_SETS = {
    "AVX-512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "AVX2": {"avx2", "fma", "f16c", "bmi2"},
}

#: Libraries that an NVIDIA GPU would be used through.
GPU_LIBRARIES = ("cuda", "nvrtc", "cublasLt")

#: The environment variables that are looked at.
VARIABLES = (
    "LAZULI_CPU_ISA",
    "LAZULI_DISABLE_COMPILE",
    "LAZULI_LOG",
    "LAZULI_NUM_THREADS",
    "LAZULI_TRACEBACK",
    "MLX_DISABLE_COMPILE",
)


class Failed(Exception):
    """A check that failed; its text says what to do."""


def _processor() -> str:
    flags: set[str] = set()
    name = platform.processor() or platform.machine()
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        if key.strip() == "flags":
            flags = set(value.split())
            break
    found = [title for title, needed in INSTRUCTION_SETS.items() if needed <= flags]
    return f"{name}, {', '.join(found) if found else 'neither AVX2 nor AVX-512'}"


def _backend() -> str:
    import lazuli.core as mx

    info = mx.device_info()
    return f"{info['device_name']}, {info['architecture']} code, {info['threads']} threads"


def _huge_pages() -> str:
    state = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = state[state.find("[") + 1 : state.find("]")] if "[" in state else ""
    if chosen in ("madvise", "always"):
        return f"on ({chosen})"
    return f"off ({chosen or 'not known'}): large arrays will be slower to make; see transparent_hugepage in the kernel's manual"


def _memory() -> str:
    fields = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    gib = [int(fields[key].split()[0]) / 2**20 for key in ("MemTotal", "MemAvailable") if key in fields]
    return "{:.1f} GiB, {:.1f} free".format(*gib) if len(gib) == 2 else "not known"


def _caches() -> str:
    return "none on disk: code is generated in microseconds, and kept by each process for itself"


def _gpu() -> str:
    found = {name: ctypes.util.find_library(name) for name in GPU_LIBRARIES}
    there = ", ".join(f"lib{name} {'found' if path else 'missing'}" for name, path in found.items())
    return f"not used: arrays live on the CPU ({there})"


def _environment() -> str:
    found = []
    for name, value in sorted(os.environ.items()):
        if name in VARIABLES:
            found.append(f"{name}={value}")
        elif name.startswith("LAZULI_"):
            meant = difflib.get_close_matches(name, VARIABLES, 1)
            found.append(f"{name} is set, and is no variable of Lazuli's" + "".join(f": did you mean {m}?" for m in meant))
    return ", ".join(found) or "no variable of Lazuli's is set"


def _kernel() -> str:
    import lazuli.core as mx

    def gelu(x: mx.array) -> mx.array:
        return x * (1 + mx.erf(x / 2**0.5)) / 2

    x = mx.arange(-4096, 4096, dtype=mx.float32) / 512
    mx.eval(x)
    compiled = mx.compile(gelu)
    before = mx.compile_stats()
    begin = time.perf_counter()
    result = compiled(x)
    mx.eval(result)
    took = time.perf_counter() - begin
    made = {name: count - before[name] for name, count in mx.compile_stats().items()}
    if not mx.array_equal(result, gelu(x)).item():
        raise Failed("a compiled kernel gives other numbers than its operations one by one: please report this")
    if made["traces"] == 0:
        return "compilation is turned off by the environment; operations one by one are right"
    return f"gelu traced, compiled ({made['kernels']} new kernel) and run in {took * 1e3:.2f} ms; the same bits as uncompiled"


def _gradient() -> str:
    import lazuli.core as mx

    slope = mx.grad(lambda x: mx.sum(mx.sin(x)))(mx.zeros((3,)))
    if not mx.array_equal(slope, mx.ones((3,))).item():
        raise Failed(f"the gradient of sin at 0 is {slope}, not 1: please report this")
    return "the gradient of sin at 0 is 1"


def _numpy() -> str:
    try:
        import numpy
    except ImportError:
        return "not installed, and not needed"
    import lazuli.core as mx

    if numpy.asarray(mx.array([1.0, 2.0])).tolist() != [1.0, 2.0]:
        raise Failed("arrays do not reach NumPy intact: please report this, with NumPy's version")
    return f"{numpy.__version__}, shares memory with Lazuli"


CHECKS: dict[str, Callable[[], str]] = {
    "processor": _processor,
    "memory": _memory,
    "huge pages": _huge_pages,
    "backend": _backend,
    "GPU": _gpu,
    "caches": _caches,
    "environment": _environment,
    "NumPy": _numpy,
    "kernel": _kernel,
    "gradient": _gradient,
}


def report() -> Iterator[tuple[str, str, bool]]:
    """Runs the checks: the name of each, what was found, and whether it is well."""
    from lazuli import __version__

    yield "Lazuli", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}", True
    for name, check in CHECKS.items():
        try:
            yield name, check(), True
        except Exception as error:  # whatever goes wrong is what is looked for
            text = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            yield name, text, False


def main() -> int:
    """Prints the report; 0 if all is well, else 1."""
    failed = 0
    for name, found, well in report():
        failed += not well
        mark = " " if well else "!"
        print(f"{mark} {name:<12}{found}")
    print("ready" if not failed else f"{failed} of {len(CHECKS)} checks failed")
    return int(failed > 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
