"""Functions with derivatives of their own, and checkpoints."""

import lazuli.core as mx
import pytest


def make():
    calls = []

    @mx.custom_function
    def f(x, y):
        return mx.sin(x) * y

    @f.vjp
    def f_vjp(primals, cotangent, output):
        calls.append("vjp")
        x, y = primals
        assert output.shape == x.shape
        return 10 * cotangent * mx.cos(x) * y, 10 * cotangent * mx.sin(x)

    @f.jvp
    def f_jvp(primals, tangents):
        calls.append("jvp")
        x, y = primals
        dx, dy = tangents
        return 100 * (dx * mx.cos(x) * y + dy * mx.sin(x))

    return f, calls


def test_rules_are_used():
    f, calls = make()
    x, y = mx.array(0.0), mx.array(2.0)
    assert f(x, y).item() == 0.0 and calls == []
    assert mx.grad(f, argnums=(0, 1))(x, y)[0].item() == 20.0
    out, tangents = mx.jvp(f, [x, y], [mx.array(1.0), mx.array(0.0)])
    assert tangents[0].item() == 200.0
    assert mx.compile(mx.grad(f))(x, y).item() == 20.0
    assert mx.grad(lambda x: mx.grad(f)(x, y))(x).item() == 0.0
    xs = mx.array([0.0, 0.0, 0.0])
    assert mx.vmap(mx.grad(f), in_axes=(0, None))(xs, y).tolist() == [20.0] * 3
    per_point = mx.grad(lambda y: mx.vmap(f, in_axes=(0, None))(xs + 1.0, y).sum())(y)
    assert abs(per_point.item() - 30 * 0.8414710) < 1e-4


def test_what_has_no_rule_follows_from_the_function():
    @mx.custom_function
    def f(x):
        return x * x

    assert mx.grad(f)(mx.array(3.0)).item() == 6.0
    f.jvp(lambda x, dx: dx * 7)
    assert mx.grad(f)(mx.array(3.0)).item() == 6.0
    assert mx.jvp(f, [mx.array(3.0)], [mx.array(1.0)])[1][0].item() == 7.0


def test_captured_arrays_and_trees():
    w = mx.array(3.0)

    @mx.custom_function
    def f(p):
        return {"out": p["a"] * w + p["b"]}

    @f.vjp
    def _(p, cotangent, output):
        return {"a": cotangent["out"] * w * 2, "b": cotangent["out"] + output["out"] * 0}

    g = mx.grad(lambda p: f(p)["out"])({"a": mx.array(1.0), "b": mx.array(2.0)})
    assert g["a"].item() == 6.0 and g["b"].item() == 1.0


def test_wrong_rules_are_errors():
    @mx.custom_function
    def f(x, y):
        return x + y

    f.vjp(lambda primals, cotangent, output: cotangent)
    with pytest.raises(ValueError, match="gave 1 arrays for 2"):
        mx.grad(f)(mx.array(1.0), mx.array(2.0))

    @f.vjp
    def _(primals, cotangent, output):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mx.grad(f)(mx.array(1.0), mx.array(2.0))


def test_checkpoint():
    w = mx.array([0.5, 2.0])

    def loss(w, checkpointed):
        layer = lambda x: mx.tanh(x * w)  # noqa: E731
        if checkpointed:
            layer = mx.checkpoint(layer)
        x = mx.array([1.0, -1.0])
        for _ in range(3):
            x = layer(x)
        return x.sum()

    want = mx.grad(loss)(w, False)
    assert mx.grad(loss)(w, True).tolist() == want.tolist()
    assert mx.compile(lambda w: mx.grad(loss)(w, True))(w).tolist() == want.tolist()
