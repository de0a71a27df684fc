"""The mode that runs each call fused, unfused and as a plain function."""

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten

X = mx.array([1.0, 2.0])


def test_a_pure_function_passes_and_gives_what_it_gives():
    calls = []

    @mx.compile
    def here(x, d):
        calls.append(1)
        return {"y": mx.exp(x) * d["n"], "n": (1, "a", None)}

    with mx.compile_mode("verify"):
        for x in (X, X + 1):
            got = here(x, {"n": 3})
            assert mx.array_equal(got["y"], mx.exp(x) * 3) and got["n"] == (1, "a", None)
    assert len(calls) == 3  # a trace, and a plain run at each call
    here(X, {"n": 3})
    assert len(calls) == 3  # what was verified is what runs when compilation is enabled


def impure_global():
    state = [mx.array(1.0)]
    compiled = mx.compile(lambda x: x + state[0])
    compiled(X)
    state[0] = mx.array(1.5)
    return compiled, r"array 0 of the result differs most at element 0: 2 compiled, 2.5 as a plain function, \d+ ULP apart.*'add' at"


def impure_number():
    n = [0]

    def here(x):
        n[0] += 1
        return mx.exp(x) * n[0]

    return mx.compile(here), r"'here' is impure: array 0 of the result.*'multiply' at .*test_compile_verify"


def impure_structure():
    n = []

    def here(x):
        n.append(1)
        return [x] * len(n)

    return mx.compile(here), "'here' is impure: it returns or updates something else"


def impure_constant():
    n = [0]

    def here(x):
        n[0] += 1
        return x, n[0]

    return mx.compile(here), "'here' is impure: it returns or updates something else"


def impure_random():
    def here(x):
        return x + mx.random.uniform()

    return mx.compile(here), r"'here' is impure.*inputs="


@pytest.mark.filterwarnings("ignore::lazuli.core.CaptureWarning")
@pytest.mark.parametrize("make", [impure_global, impure_number, impure_structure, impure_constant, impure_random])
def test_an_impure_function_is_told(make):
    compiled, text = make()
    with mx.compile_mode("verify"), pytest.raises(mx.VerificationError, match=text) as found:
        for _ in range(2):
            compiled(X)
    assert isinstance(found.value, RuntimeError) and "Fused and unfused agree" in str(found.value)


def test_state_and_keys_move_on_once():
    def train(mode):
        mx.random.seed(3)
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm(4), nn.Linear(4, 1))
        optimizer = optim.Adam(0.1)
        state = [model.state, optimizer.state, mx.random.state]
        x = mx.random.normal((8, 4))

        def loss_fn(x):
            return (model(x) ** 2).mean()

        def step(x):
            loss, grads = nn.value_and_grad(model, loss_fn)(x)
            optimizer.update(model, grads)
            return loss

        step = mx.compile(step, inputs=state, outputs=state)
        losses = []
        for _ in range(4):
            with mx.compile_mode(mode):
                losses.append(step(x).item())
        return losses, [(k, v.tolist()) for k, v in tree_flatten(state[:2])], mx.random.state[0].tolist()

    assert train("verify") == train("enabled")


def test_the_largest_difference_is_reported():
    factors = [mx.array([1.0, 1.0, 1.0])]
    compiled = mx.compile(lambda x: (mx.abs(x), x * factors[0]))
    x = mx.array([2.0, 4.0, 8.0])
    compiled(x)
    factors[0] = mx.array([1.0, 1.5, 1.0 + 2**-23])  # elements 1 and 2 differ, the former by half a binade
    text = rf"array 1 of the result differs most at element 1: 4 compiled, 6 as a plain function, {1 << 22} ULP apart, made by 'multiply' at .*test_compile_verify"
    with mx.compile_mode("verify"), pytest.raises(mx.VerificationError, match=text):
        compiled(x)


def test_what_is_not_captured_moves_on_once_too(capfd):
    @mx.compile
    def here(x):
        mx.debug.print("ran")
        return mx.sin(x)

    key = mx.random.state[0].tolist()
    state = {"n": mx.array(0)}

    def outer(x):
        state["n"] += 1
        return here(x) + state["n"]

    compiled = mx.compile(outer, inputs=state, outputs=state)
    with mx.compile_mode("verify"):
        for n in (1, 2, 3):
            assert mx.array_equal(compiled(X), mx.sin(X) + n)
            assert state["n"].item() == n
    mx.synchronize()
    assert capfd.readouterr().out.split() == ["ran"] * 3
    assert mx.random.state[0].tolist() == key


def test_arguments_are_updated_once():
    @mx.compile
    def here(x):
        x += 1
        return x * 2

    with mx.compile_mode("verify"):
        for _ in range(2):
            x = mx.array([1.0])
            assert here(x).tolist() == [4]
            assert x.tolist() == [2]


def test_an_impure_function_leaves_state_alone():
    state, n = {"w": mx.array(1.0)}, [0.0]

    def here(x):
        n[0] += 1
        state["w"] = state["w"] + x * n[0]
        return state["w"]

    compiled = mx.compile(here, inputs=state, outputs=state)
    with mx.compile_mode("verify"), pytest.raises(mx.VerificationError, match="updated array|array 0 of the result"):
        compiled(mx.array(1.0))
    assert state["w"].item() == 1


def test_functions_within_transformations_and_shapeless_ones():
    f = mx.compile(lambda x: mx.sin(x).sum(), shapeless=True)
    with mx.compile_mode("verify"):
        assert mx.array_equal(mx.grad(f)(X), mx.cos(X))
        assert [f(mx.ones((n,))).item() for n in (2, 3)] == [mx.sin(mx.ones((n,))).sum().item() for n in (2, 3)]
