"""Functions with derivatives of their own, and checkpoints."""

import gc
import types
import weakref

import lazuli.core as mx
import lazuli.nn as nn
import pytest
from lazuli.utils import tree_flatten


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


# ---- state -------------------------------------------------------------------------------------


def with_a_module():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2), nn.Dropout(0.5))
    model.layers[0].update({"weight": mx.array([[1.0, 2.0], [3.0, 4.0]]), "bias": mx.ones((2,))})
    return model, lambda: model, model.state


def with_plain_state():
    model = nn.Linear(2, 2)
    model.update({"weight": mx.array([[1.0, 2.0], [3.0, 4.0]]), "bias": mx.ones((2,))})
    state = {"a": mx.array(1.0), "rows": [mx.array(2.0)], "in place": mx.zeros((2,)), "n": 0}
    total = mx.array(0.0)

    def f(x):
        nonlocal total
        y = model(x)
        state["a"] = state["a"] + y.sum()
        state["rows"].append(y * 2)
        state["in place"][1] = y.mean()
        state["new"] = [state["a"] * 3, mx.arange(3)]
        state["n"] += 1
        total = total + y.max()
        return y

    return model, lambda: f, [model.state, state, lambda: total]


def with_an_object():
    model, holder = nn.Linear(2, 2), types.SimpleNamespace(h=mx.array(1.0), table=None)
    model.update({"weight": mx.array([[1.0, 2.0], [3.0, 4.0]]), "bias": mx.ones((2,))})

    def f(x):
        holder.h = holder.h + model(x).sum()
        holder.table = mx.arange(2) if holder.table is None else holder.table
        return model(x) * holder.h

    return model, lambda: f, [model.state, holder]


def shown(state):
    return repr([v() if callable(v) and not isinstance(v, nn.Module) else vars(v) if isinstance(v, types.SimpleNamespace) else v for v in state])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("make", [with_a_module, with_plain_state, with_an_object])
def test_a_checkpoint_updates_state_as_its_function_does(make, compiled):
    logs = []
    for checkpointed in (False, True):
        mx.random.seed(4)
        model, function, state = make()
        state = [state] if isinstance(state, nn.Module) else state
        f = function()
        g = nn.utils.checkpoint(model, f) if checkpointed else f
        step = nn.value_and_grad(model, lambda x: (g(x) * x).sum())
        if compiled and make is with_a_module:
            state = [*state, mx.random.state]
            step = mx.compile(step, inputs=state, outputs=state)
        elif compiled:
            continue
        log = []
        for n in range(3):
            loss, grads = step(mx.array([[1.0, 2.0], [0.5, n - 1.0], [3.0, n]]))
            log.append((loss.item(), shown([grads]), [tree_flatten(dict(s)) if isinstance(s, nn.Module) else shown([s]) for s in state]))
        logs.append(repr(log))
    assert not logs or logs[1] == logs[0]


def test_a_checkpoint_passes_on_gradients_through_what_it_leaves_in_state():
    state = {}

    def f(x):
        state["square"] = x * x
        return mx.sin(x)

    for g in (f, mx.checkpoint(f)):
        for transform in (lambda h: h, mx.compile):
            state.clear()
            got = transform(mx.grad(lambda x: g(x) + state.pop("square") * 3))(mx.array(0.0)), transform(mx.grad(lambda x: g(x) + state.pop("square") * 3))(mx.array(2.0))
            assert [v.item() for v in got] == pytest.approx([1.0, 12.0 - 0.41614684])


def test_a_checkpoint_that_raises_leaves_no_placeholder():
    state = {"a": mx.array(1.0)}

    def f(x):
        state["a"] = state["a"] + x
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        mx.grad(mx.checkpoint(f))(mx.array(1.0))
    assert state["a"].item() == 1


def test_state_that_custom_functions_update_is_put_back_and_named():
    state, total = {"a": mx.array(1.0)}, mx.array(0.0)

    def replaces(*args):
        state["a"] = state["a"] + args[-1]

    def updates(*args):
        total[...] = args[-1]

    for change, what in [(replaces, r"state\['a'\]"), (updates, r"total \(in place, at .*\)")]:
        for where in ("function", "vjp", "jvp"):

            @mx.custom_function
            def f(x):
                if where == "function":
                    change(x)
                return x * 2

            f.vjp(lambda primals, ct, out: (where == "vjp" and change(ct)) or ct * 2)
            f.jvp(lambda primals, tangents: (where == "jvp" and change(tangents)) or tangents * 2)
            by = "'f'" if where == "function" else f"the {where} of 'f'"
            for g in (mx.grad(f), mx.compile(mx.grad(f))):
                with pytest.raises(ValueError, match=rf"\[custom_function\] {what} is updated in {by}.*put back"):
                    g(mx.array(3.0))
                assert state["a"].item() == 1 and total.item() == 0
    # Called alone, it is a function like any.
    f = mx.custom_function(lambda x: replaces(x) or x)
    f.vjp(lambda primals, ct, out: ct)
    f(mx.array(2.0))
    assert state["a"].item() == 3


def test_reading_a_value_in_a_checkpoint_names_it():
    with pytest.raises(mx.TracerError, match=r"\[checkpoint\] 'f' reads the value.*while checkpoint traces the function"):

        def f(x):
            return x if x > 0 else -x

        mx.grad(mx.checkpoint(f))(mx.array(1.0))


# ---- rules of vmap ---------------------------------------------------------------------------


def product(x, y):
    return mx.sin(x) * y


def with_rule(derivative):
    """The product with a rule of vmap (and derivatives), and what the rule was called with."""
    calls = []
    f = mx.custom_function(product)

    @f.vmap
    def _(inputs, axes):
        assert isinstance(inputs, tuple) and isinstance(axes, tuple)
        calls.append(([x.shape for x in inputs], axes))
        x, y = [mx.moveaxis(a, axis, 0) if axis is not None else a[None] for a, axis in zip(inputs, axes)]
        return product(x, y), 0

    if derivative:
        f.vjp(lambda primals, ct, out: (ct * mx.cos(primals[0]) * primals[1] + 0 * out, ct * mx.sin(primals[0])))
        f.jvp(lambda p, t: t[0] * mx.cos(p[0]) * p[1] + t[1] * mx.sin(p[0]))
    return f, calls


def total(f):
    return lambda *args: f(*args).sum()


def between(f):
    """With operations before and behind, and a second call."""
    return lambda x, y: f(mx.exp(x), y * 2) + f(y, x).sum() * x


def another(f):
    """Within a function that has a derivative of its own."""
    g = mx.custom_function(lambda x, y: f(x, y) * 3)
    return g.vjp(lambda primals, ct, out: (ct * 2 + out, f(*primals) * ct))


def checkpointed(f):
    return mx.checkpoint(lambda x, y: f(mx.exp(x), y) * x)


def chosen(f):
    return lambda x, y: mx.cond(x.sum() > 1, f, lambda x, y: x - f(y, x), x, y)


def chosen_for_all(f):
    return lambda x, y: mx.cond(y.sum() > 1, lambda x: f(x, x), lambda x: x - f(x, x), x)


def tangents(f):
    return lambda x, y: mx.jvp(f, [x, y], [mx.cos(x), y * 2])[1][0]


X, Y = mx.arange(6.0).reshape(2, 3) / 3, mx.array([[1.0, -1.0, 0.5], [2.0, 0.25, -3.0]])
V, W = mx.array([0.5, 1.5, -2.0]), mx.array([1.0, 2.0, 3.0])
ON = "the rule is called"

# What is made of the function, its arguments, and whether the rule is called.
TRANSFORMED = [
    ("vmap", lambda f: mx.vmap(f), (X, Y), ON),
    ("a batch elsewhere", lambda f: mx.vmap(f, in_axes=(1, 0)), (X, Y.T), ON),
    ("one for all", lambda f: mx.vmap(f, in_axes=(0, None)), (X, V), ON),
    ("the first for all", lambda f: mx.vmap(f, in_axes=(None, -1)), (V, X.T), ON),
    ("out_axes", lambda f: mx.vmap(f, out_axes=1), (X, Y), ON),
    ("a number", lambda f: mx.vmap(lambda x: f(x, W * 1)), (X,), ON),
    ("twice", lambda f: mx.vmap(mx.vmap(f)), (X, Y), ON),
    ("twice, one for all", lambda f: mx.vmap(mx.vmap(f, in_axes=(0, None))), (X, V[:2]), ON),
    ("twice, the inner for all", lambda f: mx.vmap(mx.vmap(f, in_axes=(None, 0)), in_axes=(0, None)), (X, Y), ON),
    ("between", lambda f: mx.vmap(between(f)), (X, Y), ON),
    ("between, one for all", lambda f: mx.vmap(between(f), in_axes=(None, 0), out_axes=1), (V, Y), ON),
    ("grad within", lambda f: mx.vmap(mx.grad(total(f), argnums=(0, 1))), (X, Y), None),
    ("grad within, one for all", lambda f: mx.vmap(mx.grad(f, argnums=1), in_axes=(0, None)), (V, W[0]), None),
    ("grad around", lambda f: mx.grad(total(mx.vmap(f)), argnums=(0, 1)), (X, Y), ON),
    ("grad around, one for all", lambda f: mx.grad(total(mx.vmap(f, in_axes=(0, None))), argnums=(0, 1)), (X, V), ON),
    ("grad around, between", lambda f: mx.grad(total(mx.vmap(between(f))), argnums=(0, 1)), (X, Y), ON),
    ("jvp around", lambda f: tangents(mx.vmap(f)), (X, Y), ON),
    ("jvp within", lambda f: mx.vmap(tangents(f)), (X, Y), None),
    ("a batch of gradients of a batch", lambda f: mx.vmap(mx.grad(total(mx.vmap(f)))), (X, Y), ON),
    ("second derivatives", lambda f: mx.vmap(mx.grad(mx.grad(f))), (V, W), None),
    ("in another function", lambda f: mx.vmap(another(f)), (X, Y), ON),
    ("in another function, gradients", lambda f: mx.grad(total(mx.vmap(another(f))), argnums=(0, 1)), (X, Y), ON),
    ("in another function, one for all", lambda f: mx.grad(total(mx.vmap(another(f), in_axes=(0, None))), 1), (X, V), ON),
    ("checkpointed", lambda f: mx.vmap(checkpointed(f)), (X, Y), ON),
    ("checkpointed, gradients", lambda f: mx.grad(total(mx.vmap(checkpointed(f)))), (X, Y), ON),
    ("in a choice", lambda f: mx.vmap(chosen(f)), (X, Y), ON),
    ("in one choice for all", lambda f: mx.vmap(chosen_for_all(f), in_axes=(0, None)), (X, V), ON),
    ("in a choice, gradients", lambda f: mx.grad(total(mx.vmap(chosen(f)))), (X, Y), ON),
    ("in one choice for all, gradients", lambda f: mx.grad(total(mx.vmap(chosen_for_all(f), in_axes=(0, None)))), (X, V), ON),
    ("compiled within", lambda f: mx.vmap(mx.compile(f)), (X, Y), ON),
    ("compiled within, between", lambda f: mx.vmap(mx.compile(between(f))), (X, Y), ON),
    ("compiled within, gradients", lambda f: mx.vmap(mx.compile(mx.grad(total(f)))), (X, Y), None),
]


@pytest.mark.parametrize("compiled", [None, False, True], ids=["plain", "compiled", "shapeless"])
@pytest.mark.parametrize("derivative", [False, True], ids=["", "derivative"])
@pytest.mark.parametrize("make, args, on", [t[1:] for t in TRANSFORMED], ids=[t[0] for t in TRANSFORMED])
def test_rules_of_vmap_compose(make, args, on, derivative, compiled):
    f, calls = with_rule(derivative)
    plain = mx.custom_function(product)
    if derivative:
        plain.vjp(f._vjp).jvp(f._jvp)
    want, run = make(plain), make(f)
    if compiled is not None:
        run = mx.compile(run, shapeless=compiled)
    for _ in range(2):
        for a, b in zip(leaves(run(*args)), leaves(want(*args))):
            assert a.shape == b.shape and mx.allclose(a, b, rtol=1e-5, atol=1e-6)
    assert not on or calls
    if compiled is not None:
        made = len(calls)
        run(*args)
        assert len(calls) == made


def leaves(tree):
    return [tree] if isinstance(tree, mx.array) else list(tree)


def test_what_a_rule_of_vmap_is_given():
    f, calls = with_rule(False)

    def given(call):
        calls.clear()
        call()
        return calls

    assert given(lambda: f(V, W)) == []
    assert given(lambda: mx.grad(f)(V[0], W[0])) == []
    assert given(lambda: mx.vmap(f)(X, Y)) == [([(2, 3), (2, 3)], (0, 0))]
    assert given(lambda: mx.vmap(f, in_axes=(-1, 0))(X, Y.T)) == [([(2, 3), (3, 2)], (1, 0))]
    assert given(lambda: mx.vmap(f, in_axes=(None, 0))(V, X)) == [([(3,), (2, 3)], (None, 0))]
    # The innermost batch calls it; the outer one vectorises what it did.
    assert given(lambda: mx.vmap(mx.vmap(f))(X, Y)) == [([(3,), (3,)], (0, 0))]
    assert given(lambda: mx.vmap(lambda x: f(mx.exp(x), mx.array(2.0)))(X)) == [([(2, 3), ()], (0, None))]


def test_trees_and_constants_in_rules_of_vmap():
    seen = []

    @mx.custom_function
    def f(p, n):
        return {"sum": p["a"] + p["b"][0], "n": mx.array(n)}

    @f.vmap
    def _(inputs, axes):
        seen.append(axes)
        p, n = inputs
        return {"sum": p["a"] + p["b"][0][:, None], "n": mx.array(n)}, {"sum": 0, "n": None}

    run = mx.vmap(lambda p: f(p, 3), out_axes={"sum": 0, "n": None})
    out = run({"a": X, "b": [V[:2]]})
    assert seen == [({"a": 0, "b": [0]}, None)]
    assert mx.array_equal(out["sum"], X + V[:2, None]) and out["n"].item() == 3
    assert mx.vmap(lambda p: f(p, 3))({"a": X, "b": [V[:2]]})["n"].tolist() == [3, 3]


@pytest.mark.parametrize("shapeless", [False, True])
def test_a_rule_of_vmap_is_its_own_function(shapeless):
    # Other numbers than those of the function: where the rule is used shows. MLX does the same.
    w = mx.array(100.0)
    f = mx.custom_function(product).vmap(lambda inputs, axes: (product(*inputs) * w, 0))
    run = mx.compile(mx.vmap(f), shapeless=shapeless)
    for n in (3, 5):
        x = mx.ones((n, 2)) * w
        assert mx.allclose(run(x, x), product(x, x) * 100)
    assert mx.allclose(mx.grad(lambda w: mx.vmap(mx.custom_function(product).vmap(lambda i, a: (i[0] * w, 0)))(V, W).sum())(w), V.sum())


def test_the_derivative_of_a_batch_is_that_of_the_function():
    # MLX 0.32.4 differentiates the rule, or the function, whatever the function's own derivative says.
    f = mx.custom_function(product)
    f.vjp(lambda primals, ct, out: (7 * ct, 9 * ct + 0 * out))
    for _ in range(2):
        assert mx.grad(total(mx.vmap(f)), argnums=(0, 1))(V, W)[0].tolist() == [7.0] * 3
        assert mx.grad(total(mx.vmap(f, in_axes=(0, None))), argnums=1)(V, W[0]).item() == 27.0
        assert mx.vmap(mx.grad(f))(V, W).tolist() == [7.0] * 3
        f.vmap(lambda inputs, axes: (product(*inputs), 0))


def test_a_rule_of_vmap_lives_as_long_as_what_may_call_it():
    def make():
        @mx.compile
        def run(x):
            f = mx.custom_function(lambda x: x * 2)
            f.vmap(lambda x, axis: (x * 2 + len(calls) * (run is None), axis))
            return f(x)

        calls = []
        return run

    run = make()
    assert run(V).tolist() == (V * 2).tolist()
    gc.collect()
    assert mx.vmap(run)(X).tolist() == (X * 2).tolist()
    assert mx.vmap(lambda x: make()(x) + 1)(X).tolist() == (X * 2 + 1).tolist()
    # A cycle of the compiled function and the rule does not keep either.
    alive = weakref.ref(run)
    del run
    gc.collect()
    assert alive() is None


WRONG = [
    (lambda i, a: product(*i), r"vmap of 'product' must return a pair"),
    (lambda i, a: ([product(*i)], 0), r"returned \[array\] for what the function returns as array"),
    (lambda i, a: (product(*i), (0, 0)), r"the axes that the rule of 'product' returns"),
    (lambda i, a: (product(*i), 2), r"gave axis 2 for array 0, which has shape \(2, 3\)"),
    (lambda i, a: (product(*i), None), r"gave array 0 the shape \(2, 3\) and the axis None: the function gives \(3,\) for a point"),
    (lambda i, a: (product(*i).T, 0), r"shape \(3, 2\) and the axis 0: .*\(3,\) for a point, .* with the batch of 2 at axis 0"),
    (lambda i, a: (product(*i)[:1], 0), r"shape \(1, 3\) and the axis 0"),
    (lambda i, a: 1 / 0, "division by zero"),
]


@pytest.mark.parametrize("rule, text", WRONG)
def test_wrong_rules_of_vmap_are_errors(rule, text):
    f = mx.custom_function(product).vmap(rule)
    for run in (mx.vmap(f), mx.compile(mx.vmap(f)), mx.vmap(mx.compile(f)), mx.compile(mx.vmap(f), shapeless=True)):
        with pytest.raises((ValueError, ZeroDivisionError), match=text):
            run(X, Y)
    f.vmap(lambda inputs, axes: (product(*inputs), 0))
    assert mx.allclose(mx.vmap(f)(X, Y), product(X, Y))


def test_a_shapeless_function_is_refused_where_a_rule_of_vmap_fits_one_shape_alone():
    f = mx.custom_function(lambda x: x * 2)
    f.vmap(lambda x, axis: (mx.zeros((2, 3)), 0))
    run = mx.compile(mx.vmap(f), shapeless=True)
    assert run(X).tolist() == [[0.0] * 3] * 2
    with pytest.raises(mx.ShapeGuardError):
        run(mx.ones((5, 3)))


def test_what_differs_from_point_to_point_is_passed_to_a_rule_of_vmap():
    def run(x, y):
        f = mx.custom_function(lambda x: x * y)
        f.vmap(lambda x, axis: (x, axis))
        return f(x)

    with pytest.raises(ValueError, match="reaches an array that differs from point to point .* pass it as an argument"):
        mx.vmap(run)(X, Y)
    named = mx.custom_function(lambda x, y=2.0: x * y).vmap(lambda x, axis: (x, axis))
    with pytest.raises(ValueError, match="'y' by name"):
        mx.vmap(lambda x: named(x, y=3.0))(X)
