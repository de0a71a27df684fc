"""What meets a person first: tracebacks that end in their own program, arrays in notebooks, word of a long first call."""

import re
import subprocess
import sys
import textwrap

import pytest

import lazuli.core as mx
import lazuli.nn as nn
from lazuli import _notebook, _traceback


def fails(tmp_path, code, **environment):
    """What a program writes to its terminal when it fails."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment or None)
    assert done.returncode == 1
    return done.stderr


PROGRAMS = {
    "a layer": """
        import lazuli.core as mx
        import lazuli.nn as nn
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        model(mx.ones((2, 5)))
    """,
    "a gradient": """
        import lazuli.core as mx
        def loss(x):
            return mx.sum(x @ mx.ones((7,)))
        mx.grad(loss)(mx.ones((5,)))
    """,
    "a compiled function": """
        import lazuli.core as mx
        import lazuli.nn as nn
        model = nn.LayerNorm(4)
        @mx.compile
        def step(x):
            return model(x)
        step(mx.ones((2, 5)))
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_tracebacks_end_in_the_users_program(name, tmp_path):
    shown = fails(tmp_path, PROGRAMS[name])
    files = [line.split('"')[1] for line in shown.splitlines() if line.startswith("  File ")]
    assert files and all(file.endswith("program.py") for file in files), shown
    if name != "a gradient":
        assert _traceback.NOTE in shown


def test_all_frames_are_shown_on_request(tmp_path):
    import os

    shown = fails(tmp_path, PROGRAMS["a layer"], **{**os.environ, "LAZULI_TRACEBACK": "full"})
    assert "lazuli/nn/layers" in shown.replace(os.sep, "/") and _traceback.NOTE not in shown


def test_exceptions_that_fail_when_they_are_shown_are_shown_as_without_lazuli(tmp_path):
    shown = fails(
        tmp_path,
        """
        import lazuli.core as mx
        class Broken(TypeError):
            def __str__(self):
                return 1 / 0
        raise Broken
        """,
    )
    assert "Broken: <exception str() failed>" in shown and "excepthook" not in shown


def test_exceptions_that_are_caught_are_whole():
    with pytest.raises(ValueError) as caught:
        nn.Linear(3, 4)(mx.ones((2, 5)))
    assert any(str(entry.path).startswith(_traceback.FOLDERS) for entry in caught.traceback)


def test_the_hook_leaves_other_errors_alone():
    try:
        raise KeyError("x")
    except KeyError as error:
        before = error.__traceback__
        assert _traceback.shorten(error).__traceback__ is before


VIEWS = [
    (mx.array(3.5), ["array of float32 ()", "3.5"]),
    (mx.array([1, 2]), ["int32 (2,)", ">1<", ">2<"]),
    (mx.array([[True, False]]), ["bool (1, 2)", "True"]),
    (mx.zeros((0, 3)), ["float32 (0, 3)", "no elements"]),
    (mx.arange(1000).reshape(10, 100), ["int32 (10, 100)", "…", ">999<"]),
    (mx.ones((2, 3, 4)), ["float32 (2, 3, 4)", "of which [0] is"]),
    (mx.array([1 + 2j]), ["complex64", "(1+2j)"]),
    (mx.array([mx.nan, mx.inf, 1.0, 2.0]), ["nan", "inf"]),
]


@pytest.mark.parametrize("a, parts", VIEWS, ids=lambda v: str(v)[:20])
def test_arrays_are_tables_in_notebooks(a, parts):
    page = a._repr_html_()
    assert page == _notebook.view(a)
    for part in parts:
        assert part in page, page
    assert page.count("<tr>") <= _notebook.MOST + 1


def test_placeholders_are_described_in_notebooks():
    seen = []

    @mx.compile
    def f(x):
        seen.append(x._repr_html_())
        return x

    f(mx.ones((3,)))
    assert "float32 (3,)" in seen[0] and "<table" not in seen[0]


# How often a function that sleeps first adds 1, and how its trace is told of; another is compiled before.
@pytest.mark.parametrize(("times", "told"), [(300, "16 operations"), (1, "1 operation")])
def test_a_long_trace_says_so(tmp_path, times, told):
    program = tmp_path / "program.py"
    program.write_text(
        "import time, lazuli.core as mx\n"
        "def quick(x):\n"
        "    return x + 1\n"
        "def slow(x):\n"
        "    time.sleep(1.1)\n"
        f"    for _ in range({times}):\n"
        "        x = x + 1\n"
        "    return x\n"
        "for f in (quick, slow):\n"
        "    mx.eval(mx.compile(f)(mx.ones((2,))))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert re.fullmatch(rf"lazuli: compiling 'slow': tracing, {told} so far \([0-9.]+ s\)\n", done.stderr)
