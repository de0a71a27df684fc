"""Running plans: memory that is given up and memory that never is, forks, interruption, work in the background."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import lazuli.core as mx
import numpy as np
import pytest

N = 1 << 18


@pytest.fixture(params=["compiled", "eager"])
def step(request):
    def plus_one(x):
        return x + 1

    return mx.compile(plus_one) if request.param == "compiled" else plus_one


def test_state_that_is_replaced_gives_its_memory(step):
    x = step(mx.zeros((N,)))
    mx.eval(x)
    x = step(x)
    mx.eval(x)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    for _ in range(3):
        x = step(x)
        mx.eval(x)
    assert mx.get_peak_memory() - before < 2 * N
    assert np.array(x).tolist() == [5.0] * N


# Each takes an array and gives a function that reads it as it was seen.
OWNERS = {
    "variable": lambda x: lambda: np.array(x),
    "numpy": lambda x: (lambda a: lambda: a)(np.array(x, copy=False)),
    "memoryview": lambda x: (lambda m: lambda: np.frombuffer(m, np.float32))(memoryview(x)),
    "view": lambda x: (lambda v: lambda: np.array(v))(x.reshape(-1, 2).T),
    "pending": lambda x: (lambda v: lambda: np.array(v) / 3)(x * 3),
    "list": lambda x: (lambda xs: lambda: np.array(xs[0]))([x]),
    "constant": lambda x: (lambda f: lambda: np.array(f(mx.array(0.0))))(mx.compile(lambda y: x + y)),
    "thread": lambda x: (lambda box: lambda: np.array(box.pop()))([x]),
}


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("start", [mx.eval, mx.async_eval])
def test_what_others_can_see_is_never_overwritten(step, owner, start):
    x = mx.full((N,), 2.0)
    mx.eval(x)
    read = OWNERS[owner](x)
    for _ in range(3):
        x = step(x)
        start(x)
    assert (read() == 2).all()
    assert (np.array(x) == 5).all()


def test_tied_arrays_are_both_kept():
    w = mx.zeros((N,))
    state = {"a": w, "b": w}

    def update():
        state["a"] = state["a"] + 1
        state["b"] = state["b"] + 2

    update = mx.compile(update, inputs=state, outputs=state)
    for n in range(1, 4):
        update()
        mx.eval(state)
        assert (np.array(state["a"]) == n).all() and (np.array(state["b"]) == 2 * n).all()
    assert (np.array(w) == 0).all() or w is state["a"] or w is state["b"]


def test_running_out_of_memory_changes_nothing():
    x = mx.ones((N,))
    mx.eval(x)
    old = mx.set_memory_limit(mx.get_active_memory() + 100)
    try:
        y = x.reshape(512, -1).T @ x.reshape(512, -1)
        with pytest.raises(MemoryError, match="limit"):
            mx.eval(y)
        with pytest.raises(MemoryError, match="limit"):
            mx.async_eval(y)
    finally:
        mx.set_memory_limit(old)
    assert (np.array(y) == 512).all() and (np.array(x) == 1).all()


def test_running_out_of_memory_leaves_donated_state_as_it_was():
    state = {"w": mx.full((N,), 3.0), "m": mx.full((N,), 5.0)}
    mx.eval(state)

    def step(x):
        state["m"] = state["m"] + x
        state["w"] = state["w"] * 2
        return x.reshape(512, -1).T @ x.reshape(512, -1)

    step = mx.compile(step, inputs=state, outputs=state)
    x = mx.ones((N,))
    mx.eval(x)
    result = step(x)
    old = mx.set_memory_limit(mx.get_active_memory() + 100)
    try:
        for _ in range(2):
            with pytest.raises(MemoryError, match="limit"):
                mx.eval(result, state)
    finally:
        mx.set_memory_limit(old)
    assert (np.array(result) == 512).all()
    assert (np.array(state["w"]) == 6).all() and (np.array(state["m"]) == 6).all()


def test_threads_evaluate_shared_arrays():
    step = mx.compile(lambda x: x * 2 + 1)
    shared = mx.ones((N,))
    wrong = []

    def work(k):
        x = shared
        for i in range(10):
            x = step(x) if (i + k) % 3 else x * 2 + 1
            (mx.eval, mx.async_eval)[i % 2](x)
        if not (np.array(x) == 2047).all() or not (np.array(shared) == 1).all():
            wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def _child(x, pipe):
    y = (x @ x.T).sum() + mx.compile(lambda a: mx.exp(a).sum())(x)
    mx.async_eval(y)
    pipe.send(y.item())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes():
    x = mx.zeros((256, 256))
    mx.eval(x @ x)
    # Queued, and perhaps not done, when the child is made.
    later = mx.exp(x @ x)
    mx.async_eval(later)
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    child = context.Process(target=_child, args=(later, theirs))
    child.start()
    assert mine.poll(60), "the child hangs"
    assert mine.recv() == pytest.approx(256**3 + np.e * 256**2, rel=1e-4)
    child.join(60)
    assert child.exitcode == 0
    assert (np.array(later) == 1).all()


# What is done again and again until it is interrupted.
INTERRUPTED = {
    "eval": "mx.eval(chain(x))",
    "compiled": "mx.eval(compiled(x))",
    "reading": "y = chain(x); mx.async_eval(y); y.max().item()",
    "synchronize": "mx.async_eval(chain(x)); mx.synchronize()",
    "tracing": "mx.compile(lambda x: [x := x + 1 for _ in range(50)][-1])(x)",
    "donated": "x = one_more(x); mx.eval(x)",
}


@pytest.mark.parametrize("what", INTERRUPTED)
def test_ctrl_c_interrupts(what):
    program = f"""
import lazuli.core as mx
def chain(a):
    for _ in range(8):
        a = mx.tanh(a @ a)
    return a
compiled = mx.compile(chain)
one_more = mx.compile(lambda x: x + 1)
x = mx.ones((1000, 1000))
mx.eval(x)
print("ready", flush=True)
try:
    while True:
        {INTERRUPTED[what]}
except KeyboardInterrupt:
    assert mx.compile(lambda y: y * 2)(mx.array(21)).item() == 42
    assert x.max().item() >= 1
    print("interrupted")
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    try:
        child.wait(0.5)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=120)
    assert out == "interrupted\n" and child.returncode == 0
