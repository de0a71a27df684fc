"""Turning the compiler off and on, in whole or in part."""

import os
import subprocess
import sys
import threading

import pytest

import lazuli.core as mx

X = mx.array([1.0, 2.0])


def counted():
    calls = []

    @mx.compile
    def here(x):
        calls.append(1)
        return mx.exp(-x) + 1

    here(X)
    return here, calls


def test_disable_and_enable_act_at_once_on_existing_functions_and_all_threads():
    here, calls = counted()
    try:
        mx.disable_compile()
        assert mx.get_compile_mode() == "disabled"
        here(X)
        thread = threading.Thread(target=lambda: here(X))
        thread.start()
        thread.join()
        assert len(calls) == 3
    finally:
        mx.enable_compile()
    here(X)
    assert len(calls) == 3


def test_a_scope_belongs_to_its_thread():
    here, calls = counted()
    with mx.compile_disabled():
        here(X)
        thread = threading.Thread(target=lambda: here(X))
        thread.start()
        thread.join()
        with mx.compile_mode("enabled"):
            here(X)
    assert len(calls) == 2
    with pytest.raises(KeyError), mx.compile_disabled():
        raise KeyError
    assert mx.get_compile_mode() == "enabled"


def test_scopes_may_end_in_any_order():
    def within(mode):
        with mx.compile_mode(mode):
            yield mx.get_compile_mode()

    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]):
        scopes = [within(mode) for mode in ("disabled", "verify", "no_fuse")]
        assert [next(scope) for scope in scopes] == ["disabled", "verify", "no_fuse"]
        for k, n in enumerate(order):
            scopes[n].close()
            left = max(order[k + 1 :], default=None)
            assert mx.get_compile_mode() == ("enabled" if left is None else ["disabled", "verify", "no_fuse"][left])
    scope = mx.compile_disabled()
    with scope:
        with scope:
            assert mx.get_compile_mode() == "disabled"
        assert mx.get_compile_mode() == "disabled"
    assert mx.get_compile_mode() == "enabled" and scope(mx.get_compile_mode)() == "disabled"
    with pytest.raises(RuntimeError, match="not entered on this thread"):
        scope.__exit__(None, None, None)


def test_disabling_within_a_training_loop_changes_nothing_but_speed():
    def losses(switch):
        state = {"w": mx.array([1.0, 2.0])}

        def step(x):
            noise = mx.random.normal(x.shape)
            state["w"] = state["w"] - 0.1 * mx.grad(lambda w: ((w - x + noise) ** 2).sum())(state["w"])
            return state["w"].sum()

        compiled = mx.compile(step, inputs=[state, mx.random.state], outputs=[state, mx.random.state])
        mx.random.seed(3)
        out = []
        for n in range(6):
            if switch:
                switch(n)
            out.append(compiled(X).item())
        return out, state["w"].tolist(), mx.random.state[0].tolist()

    try:
        expected = losses(None)
        assert expected == losses(lambda n: (mx.disable_compile if n % 2 else mx.enable_compile)())
        assert expected == losses(lambda n: mx.set_compile_mode(["no_fuse", "disabled", "verify", "no_simplify"][n % 4]))
    finally:
        mx.enable_compile()


@pytest.mark.parametrize("mode", ["no_simplify", "no_fuse", "enabled", "disabled", "verify"])
def test_all_modes_give_the_same_bits(mode):
    def here(x):
        y = mx.softmax(x * 2 + 1, axis=-1)
        return y.sum(axis=0), mx.tanh(y) * x

    x = mx.random.normal((7, 33))
    expected = here(x)
    with mx.compile_mode(mode):
        got = mx.compile(lambda x: here(x))(x)
    assert all(mx.array_equal(a, b) for a, b in zip(got, expected))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r'named "fast".*"no_fuse"'):
        mx.set_compile_mode("fast")
    with pytest.raises(ValueError, match="named"):
        mx.compile_mode("fast")
    assert mx.get_compile_mode() == "enabled"


PROGRAM = "import lazuli.core as mx; print(mx.get_compile_mode()); mx.enable_compile(); print(mx.get_compile_mode())"
VARIABLES = [
    ({}, "enabled"),
    ({"LAZULI_DISABLE_COMPILE": "1"}, "disabled"),
    ({"MLX_DISABLE_COMPILE": "1"}, "disabled"),
    *[({f"{whose}_DISABLE_COMPILE": no}, "enabled") for whose in ("LAZULI", "MLX") for no in ("0", "false", "False", "")],
    ({"MLX_DISABLE_COMPILE": "0", "LAZULI_DISABLE_COMPILE": "yes"}, "disabled"),
]


@pytest.mark.parametrize("variables, expected", VARIABLES)
def test_the_environment_turns_compilation_off_until_a_call_overrides_it(variables, expected):
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_DISABLE_COMPILE")}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=clean | variables, capture_output=True, text=True)
    assert run.stdout.split() == [expected, "enabled"], run.stderr
