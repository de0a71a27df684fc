"""``python -m lazuli doctor`` finds this machine well, and says so when it is not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lazuli.core as mx
from lazuli import doctor

ROOT = Path(__file__).parents[2]


def test_this_machine_is_ready():
    done = subprocess.run([sys.executable, "-m", "lazuli", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "ready"
    assert [line[2:14].strip() for line in lines[:-1]] == ["Lazuli", *doctor.CHECKS]
    assert mx.__version__ in lines[0]


def test_what_fails_is_named(monkeypatch, capsys):
    def broken():
        raise doctor.Failed("do this")

    monkeypatch.setitem(doctor.CHECKS, "kernel", broken)
    monkeypatch.setitem(doctor.CHECKS, "NumPy", lambda: 1 / 0)
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "! kernel      do this" in out and "! NumPy       ZeroDivisionError" in out
    assert out.splitlines()[-1] == f"2 of {len(doctor.CHECKS)} checks failed"


def test_other_words_are_met_with_the_usage():
    done = subprocess.run([sys.executable, "-m", "lazuli", "cure"], capture_output=True, text=True)
    assert done.returncode == 2 and "python -m lazuli doctor" in done.stderr


ENVIRONMENTS = {
    "nothing": ({}, "no variable of Lazuli's is set"),
    "known": ({"LAZULI_LOG": "kernels", "LAZULI_NUM_THREADS": "1"}, "LAZULI_LOG=kernels, LAZULI_NUM_THREADS=1"),
    "unknown": (
        {"LAZULI_THREADS": "1"},
        "LAZULI_THREADS is set, and is no variable of Lazuli's: did you mean LAZULI_NUM_THREADS?",
    ),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_variables_are_shown(case, monkeypatch):
    variables, shown = ENVIRONMENTS[case]
    for name in doctor.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert doctor._environment() == shown


def test_variables_are_those_that_the_sources_read_and_the_guide_names():
    sources = [*ROOT.glob("crates/*/src/**/*.rs"), *ROOT.glob("python/lazuli/**/*.py")]
    read = {name for path in sources for name in re.findall(r"\b(?:LAZULI|MLX)_[A-Z_]+\b", path.read_text())}
    assert sorted(read) == sorted(doctor.VARIABLES)
    guide = (ROOT / "docs/index.md").read_text()
    assert [name for name in doctor.VARIABLES if f"`{name}=" not in guide] == []


@pytest.mark.parametrize("value", ["1", "0"])
def test_compilation_that_is_turned_off_is_no_fault(value):
    environment = {"LAZULI_DISABLE_COMPILE": value, "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    program = "from lazuli import doctor; print(doctor.CHECKS['kernel']())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert ("turned off" in done.stdout) == (value == "1"), done.stdout + done.stderr


WRONG = {
    "LAZULI_CPU_ISA": ("sse", "asks for 'sse', which is none of: avx512, avx2, interpreter"),
    "LAZULI_NUM_THREADS": ("many", "is 'many', and no number of threads: there is one for each processor"),
}


@pytest.mark.parametrize("name", WRONG)
def test_values_that_mean_nothing_are_complained_of(name):
    value, complaint = WRONG[name]
    program = "import lazuli.core as mx; mx.eval(mx.ones((2,)) + 1)"
    for set_to, said in [(value, f"lazuli: {name} {complaint}\n"), ("", "")]:
        environment = {name: set_to, "PATH": "", "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, said)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_goes_away_ends_it_quietly():
    done = subprocess.Popen([sys.executable, "-m", "lazuli", "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done.stdout.close()
    assert done.stderr.read() == ""
    assert done.wait() == 141
