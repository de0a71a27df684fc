"""``mx.debug.print``: what is printed, when, and how often."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn

X = mx.array(3.0)
ROW = mx.array([1.0, 2.0])


def square(x):
    y = mx.square(x)
    mx.debug.print("{} squared is {y:.1f}", x, y=y)
    return y


def check(capsys, call, want):
    capsys.readouterr()
    call()
    assert capsys.readouterr().out == want


OF_SQUARE = "3.0 squared is 9.0\n"
EACH = "1.0 squared is 1.0\n2.0 squared is 4.0\n"

CALLS = {
    "at once": (lambda: square(X), OF_SQUARE),
    "compiled": (lambda: mx.compile(square)(X), OF_SQUARE),
    "compiled within": (lambda: mx.compile(lambda x: mx.compile(square)(x))(X), OF_SQUARE),
    "result not used": (lambda: mx.compile(lambda x: (square(x), x)[1])(X), OF_SQUARE),
    "no result": (lambda: mx.compile(lambda x: mx.debug.print("{}", x))(X), "3.0\n"),
    "no argument": (lambda: mx.compile(lambda: mx.debug.print("hello"))(), "hello\n"),
    "gradient": (lambda: mx.grad(square)(X), OF_SQUARE),
    "compiled gradient": (lambda: mx.compile(mx.grad(square))(X), OF_SQUARE),
    "gradient of compiled": (lambda: mx.grad(mx.compile(square))(X), OF_SQUARE),
    "jvp": (lambda: mx.jvp(square, [X], [X]), OF_SQUARE),
    "checkpoint": (lambda: mx.grad(mx.checkpoint(square))(X), OF_SQUARE),
    "compiled checkpoint": (lambda: mx.compile(mx.grad(mx.checkpoint(square)))(X), OF_SQUARE),
    "batch": (lambda: mx.vmap(square)(ROW), EACH),
    "compiled batch": (lambda: mx.compile(mx.vmap(square))(ROW), EACH),
    "batch of gradients": (lambda: mx.vmap(mx.grad(square))(ROW), EACH),
    "batches of batches": (lambda: mx.vmap(mx.vmap(lambda x: mx.debug.print("{}", x) or x))(mx.array([[1, 2], [3, 4]])), "1\n2\n3\n4\n"),
    "not of the batch": (lambda: mx.vmap(lambda x: x + square(X))(ROW), OF_SQUARE),
    "shapeless": (lambda: mx.compile(lambda x: square(x.sum()), shapeless=True)(ROW), OF_SQUARE),
}


@pytest.mark.parametrize("mode", ["enabled", "no_simplify", "no_fuse", "disabled", "verify"])
@pytest.mark.parametrize("name", CALLS)
def test_prints_happen_once_a_call(capsys, name, mode):
    call, want = CALLS[name]
    with mx.compile_mode(mode):
        check(capsys, call, want)
        check(capsys, call, want)


def test_prints_happen_at_every_call_in_the_order_of_the_program(capsys):
    @mx.compile
    def f(x):
        mx.debug.print("first {}", x)
        y = mx.exp(x)
        mx.debug.print("second {:.2f}", y)
        return x

    def program():
        for i in range(3):
            print("call", i)
            f(mx.array(float(i)))

    want = "".join(f"call {i}\nfirst {float(i)}\nsecond {np.exp(i):.2f}\n" for i in range(3))
    check(capsys, program, want)
    check(capsys, lambda: f.explain(X), "")


FORMATS = [
    ("{} {}", (X, 1), {}, "3.0 1"),
    ("{1} {0}", (X, "a"), {}, "a 3.0"),
    ("{x!r} {x}", (), {"x": X}, "array(3, dtype=float32) 3.0"),
    ("{}", (ROW,), {}, "array([1, 2], dtype=float32)"),
    ("{{{x:>8.2f}}}", (), {"x": X}, "{    3.00}"),
    ("{x.shape} {x.dtype} {x[1]:.1f}", (), {"x": ROW}, "(2,) lazuli.core.float32 2.0"),
    ("{}", ({"w": [ROW, None], "n": 2},), {}, "{'w': [array([1, 2], dtype=float32), None], 'n': 2}"),
    ("{0[w]:.1f}", ({"w": X},), {}, "3.0"),
    ("{:{width}}", (X,), {"width": 6}, "   3.0"),
    ("{}", (mx.array(True),), {}, "True"),
    ("{:d} {:x} {:,}", (mx.array(5), mx.array(255), mx.array(12345)), {}, "5 ff 12,345"),
    ("plain", (), {"ordered": True}, "plain"),
    ("a\nb", (), {}, "a\nb"),
]


@pytest.mark.parametrize("case", FORMATS, ids=lambda case: repr(case[0]))
def test_formats(capsys, case):
    fmt, args, kwargs, want = case
    check(capsys, lambda: mx.debug.print(fmt, *args, **kwargs), want + "\n")
    arrays = {k: v for k, v in kwargs.items() if isinstance(v, mx.array)}
    rest = {k: v for k, v in kwargs.items() if k not in arrays}
    compiled = mx.compile(lambda args, arrays: mx.debug.print(fmt, *args, **arrays, **rest))
    check(capsys, lambda: compiled(args, arrays), want + "\n")


@pytest.mark.parametrize("spec", ["", ".3f", "8.2f", "<8", "+.1e", "g", ".4g", "010.3f", ".2%", "_", ",.1f", "^12", "e", ".3"])
@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, -2.5, 1 / 3, 1e-7, 123456.789, 1e20, float("inf"), float("-inf"), float("nan")])
def test_numbers_are_formatted_as_python_does(capsys, spec, number):
    x = mx.array(number)
    check(capsys, lambda: mx.debug.print("{:" + spec + "}", x), format(x, spec) + "\n")


@pytest.mark.parametrize("spec", ["", "d", "5", "<5", "+", "x", "#x", "b", "o", "_", ",", "05", ".2f", "%"])
@pytest.mark.parametrize("number", [0, 1, -7, 255, 1234567, True])
def test_integers_are_formatted_as_python_does(capsys, spec, number):
    x = mx.array(number)
    check(capsys, lambda: mx.debug.print("{:" + spec + "}", x), format(x, spec) + "\n")


@pytest.mark.parametrize("spec", ["", ".2f", "20", "<20.1e"])
@pytest.mark.parametrize("number", [1 + 2j, -0.5j, 3 + 0j, 0j])
def test_complex_numbers_are_formatted_as_python_does(capsys, spec, number):
    x = mx.array(number)
    check(capsys, lambda: mx.debug.print("{:" + spec + "}", x), format(x, spec) + "\n")


WRONG = {
    "not mentioned": (lambda: mx.debug.print("x", X), ValueError, "does not mention argument 0"),
    "name not mentioned": (lambda: mx.debug.print("x", x=X), ValueError, "does not mention 'x'"),
    "not given": (lambda: mx.debug.print("{} {}", X), IndexError, "names argument 1, and 1 were given"),
    "name not given": (lambda: mx.debug.print("{y}", x=X), KeyError, "names 'y', which was not given"),
    "format of an array": (lambda: mx.debug.print("{:.2f}", ROW), ValueError, r"a format is for numbers, and value 0 is an array of shape \(2,\)"),
    "format of another type": (lambda: mx.debug.print("{:d}", X), ValueError, "value 0 is of float32: the type 'd' is for integers"),
    "no format": (lambda: mx.debug.print("{:q}", X), ValueError, "'q' is not one of numbers"),
    "a brace": (lambda: mx.debug.print("{", X), ValueError, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_while_tracing(name):
    call, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        call()
    with pytest.raises(error, match=text):
        mx.compile(lambda: call())()


class Broken:
    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        pass


@pytest.mark.parametrize("error", [BrokenPipeError("gone"), KeyboardInterrupt(), ZeroDivisionError("odd")], ids=lambda e: type(e).__name__)
def test_an_error_of_stdout_is_that_of_the_call_and_state_stays(monkeypatch, error):
    state = {"n": mx.array(1.0)}

    def step(x):
        state["n"] = state["n"] + x
        mx.debug.print("{}", state["n"])

    compiled = mx.compile(step, inputs=state, outputs=state)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Broken(error))
        for call in (lambda: compiled(X), lambda: mx.debug.print("{}", X), lambda: mx.vmap(square)(ROW)):
            with pytest.raises(type(error)) as found:
                call()
            assert found.value is error
    assert state["n"].item() == 1
    compiled(X)
    assert state["n"].item() == 4


def test_stdout_may_be_none_or_compute(monkeypatch):
    seen = []

    class Computing:
        def write(self, text):
            seen.append((text, mx.sum(mx.ones((3,))).item()))

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        mx.debug.print("{}", X)
        patch.setattr(sys, "stdout", Computing())
        mx.compile(square)(X)
    assert seen == [(OF_SQUARE, 3.0)]


def test_threads_print_whole_lines(capsys):
    compiled = mx.compile(square)

    def work():
        for _ in range(50):
            compiled(X)
            mx.async_eval(mx.exp(mx.ones((1000,))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    check(capsys, lambda: [t.start() for t in threads] and [t.join() for t in threads], OF_SQUARE * 200)


def test_a_training_step_prints(capsys):
    model = nn.Linear(2, 1)
    x, y = mx.ones((4, 2)), mx.zeros((4, 1))
    losses = []

    def loss_fn(model):
        loss = mx.mean((model(x) - y) ** 2)
        mx.debug.print("loss {:.4f}", loss)
        return loss

    step = mx.compile(lambda: nn.value_and_grad(model, loss_fn)(model)[0], inputs=model.state)
    check(capsys, lambda: losses.append(f"loss {step().item():.4f}\n"), f"loss {loss_fn_value(model, x, y):.4f}\n")
    assert len(losses) == 1


def loss_fn_value(model, x, y):
    return mx.mean((model(x) - y) ** 2).item()


def test_an_exported_function_prints(capsys, tmp_path):
    file = str(tmp_path / "f.safetensors")
    mx.export_function(file, square, X)
    f = mx.import_function(file)
    check(capsys, lambda: f(mx.array(2.0)), "2.0 squared is 4.0\n")


def test_prints_while_python_ends_are_harmless():
    program = "import lazuli.core as mx, atexit\natexit.register(lambda: mx.debug.print('{}', mx.array(1)))\nmx.debug.print('a')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "a\n1\n"), done.stderr
