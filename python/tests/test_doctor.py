"""``python -m lazuli doctor`` finds this machine well, and says so when it is not."""

import subprocess
import sys

from lazuli import doctor


def test_this_machine_is_ready():
    done = subprocess.run([sys.executable, "-m", "lazuli", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "ready"
    assert [line[2:14].strip() for line in lines[:-1]] == ["Lazuli", *doctor.CHECKS]


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
