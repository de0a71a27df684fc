"""``mx.cond``: the same as calling the function that is chosen, compiled or not, and however it is transformed."""

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten

W = mx.array([0.5, -1.5, 2.0])
POSITIVE, NEGATIVE = mx.array([1.0, 2.0, -0.5]), mx.array([-1.0, 0.25, -0.5])


def choice(x):
    def yes(x):
        return mx.sin(x * W).sum() + x

    def no(x):
        return mx.square(x - W) * mx.exp(x).mean()

    return 2 * mx.cond(x.sum() > 0, yes, no, x) + W


def nested(x):
    return mx.cond(mx.max(x) > 1, choice, lambda x: mx.cond(x[0] < 0, lambda: W, lambda: x * 2), x)


def trees(x):
    out = mx.cond(x.sum() > 0, lambda d: {"a": d["x"], "n": (1, None)}, lambda d: {"a": -d["x"], "n": (2, None)}, {"x": x})
    return out["a"] * out["n"][0]


def numbers(x):
    return mx.cond(x.sum() > 0, lambda: 1.0, lambda: -2.5) * x


def updates(x):
    y = mx.array(x)
    z = mx.zeros((3,))

    def yes():
        y[0] = 10.0
        z[1:] = x[1:]

    def no():
        y[2] = -10.0

    mx.cond(x.sum() > 0, yes, no)
    return y * 2 + z


def checkpointed(x):
    return mx.checkpoint(choice)(x) + x


def custom(x):
    @mx.custom_function
    def f(x):
        return choice(x)

    @f.vjp
    def f_vjp(x, ct, out):
        return mx.cond(x.sum() > 0, lambda: ct * 2, lambda: ct * out)

    return f(x)


def passes(x):
    # One branch passes its operand on, the other reaches what that one does not.
    y = mx.cond(x.sum() > 0, lambda x: x, lambda x: mx.sin(x) * W + x, x)
    return mx.tanh(y) * x + y * y * mx.cos(x)


FUNCTIONS = [choice, nested, trees, numbers, updates, checkpointed, custom, passes]
TRANSFORMS = {
    "value": lambda f: f,
    "gradient": lambda f: mx.grad(lambda x: f(x).sum()),
    "gradient twice": lambda f: mx.grad(lambda x: mx.square(mx.grad(lambda x: f(x).sum())(x)).sum()),
    "gradient thrice": lambda f: mx.grad(lambda x: mx.grad(lambda x: mx.grad(lambda x: mx.sin(f(x)).sum())(x).sum())(x).sum()),
    "jvp of a gradient": lambda f: lambda x: mx.jvp(mx.grad(lambda x: f(x).sum()), [x], [mx.cos(x)])[1][0],
    "jvp": lambda f: lambda x: mx.jvp(f, [x], [mx.cos(x)])[1][0],
    "batch": lambda f: lambda x: mx.vmap(f)(mx.stack([x, -x, x * 3])),
    "batch of gradients": lambda f: lambda x: mx.vmap(mx.grad(lambda x: f(x).sum()))(mx.stack([x, -x])),
}


@pytest.mark.parametrize("mode", ["no_simplify", "no_fuse", "enabled", "verify"])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_compiled_gives_the_bits_of_the_plain_function(function, transform, mode):
    f = TRANSFORMS[transform](function)
    for x in (POSITIVE, NEGATIVE):
        want = f(x)
        with mx.compile_mode(mode):
            assert mx.array_equal(mx.compile(f)(x), want, equal_nan=True).item()


def test_derivatives_add_up_in_one_order():
    a = mx.random.normal((100,), key=mx.random.key(9))

    def f(x):
        y = mx.cond(x.sum() > 0, lambda x: mx.sin(x) * x * mx.cos(a), lambda x: mx.exp(x) * x + passes(x[:3]).sum(), x)
        z = mx.cond(y.max() > 2, lambda x, y: x + a, lambda x, y: x * x * y, x, y)
        return (y * x * z + mx.tanh(x) * z).sum()

    for order in range(1, 4):
        for x in (mx.random.normal((100,), key=mx.random.key(k)) for k in range(4)):
            assert mx.array_equal(mx.compile(f)(x), f(x)).item()
        f = (lambda f: lambda x: mx.grad(f)(x).sum())(f)


def test_both_functions_are_called_where_derivatives_are_taken_and_one_runs(capsys):
    called = []

    def f(x):
        def yes(x):
            called.append("yes")
            mx.debug.print("runs yes")
            return mx.log(x)

        def no(x):
            called.append("no")
            mx.debug.print("runs no")
            return x

        return mx.cond(x > 0, yes, no, x)

    f(mx.array(2.0))
    assert called == ["yes"]
    assert mx.grad(f)(mx.array(2.0)).item() == 0.5 and mx.grad(f)(mx.array(-1.0)).item() == 1
    assert called == ["yes", "yes", "no", "yes", "no"]
    assert capsys.readouterr().out == "runs yes\nruns yes\nruns no\n"


def test_what_a_branch_draws_and_counts_under_a_derivative_is_what_it_does_alone():
    count = mx.array(0)

    def f(x):
        def yes():
            count[...] = count + 1
            return mx.random.uniform(shape=(3,)) + mx.random.uniform(shape=(3,))

        return (mx.cond(x.sum() > 0, yes, lambda: mx.random.uniform(shape=(3,))) * x).sum()

    state = [mx.random.state, count]
    results = []
    for g in (f, mx.grad(f), mx.compile(mx.grad(f), inputs=state, outputs=state)):
        mx.random.seed(3)
        before = count.item()
        first = [g(x) for x in (POSITIVE, NEGATIVE, POSITIVE)]
        results.append(([a.tolist() for a in first[1:]], mx.random.uniform().item(), count.item() - before))
    assert results[1] == results[2] and results[0][1:] == results[1][1:]
    assert results[0][2] == 2


def test_state_that_branches_move_on_under_derivatives_does_not_keep_what_went_before():
    mx.random.seed(0)
    count = mx.array(0)

    def step(x):
        def yes(x):
            count[...] = count + 1
            return x * mx.random.uniform(shape=(100_000,))

        return mx.cond(x.sum() > -1e9, yes, lambda x: x, x).sum()

    def run():
        mx.eval(mx.grad(step)(mx.ones((100_000,))), count, mx.random.state)

    run()
    before = mx.get_active_memory()
    for _ in range(20):
        run()
    assert mx.get_active_memory() < before + 1_000_000


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_batch_is_a_loop(function):
    xs = [POSITIVE, NEGATIVE, POSITIVE * 3]
    got = mx.vmap(function)(mx.stack(xs))
    assert mx.array_equal(got, mx.stack([function(x) for x in xs])).item()


def test_one_trace_serves_both_branches_and_only_one_runs(capsys):
    @mx.compile
    def f(x):
        def yes(x):
            mx.debug.print("yes {:.0f}", x)
            return mx.log(x)

        def no(x):
            mx.debug.print("no")
            return x

        return mx.cond(x > 0, yes, no, x)

    before = mx.compile_stats()["traces"]
    assert f(mx.array(1.0)).item() == 0 and f(mx.array(-1.0)).item() == -1
    assert mx.compile_stats()["traces"] == before + 1
    assert capsys.readouterr().out == "yes 1\nno\n"


def test_explain_shows_both_branches():
    f = mx.compile(lambda x: mx.cond(x.sum() > 0, lambda x: x @ x, lambda x: mx.exp(x) + 1, x))
    text = str(f.explain(mx.ones((4, 4))))
    first, _, rest = text.partition("if true:")
    yes, _, no = rest.partition("if false:")
    assert "1 branch" in first.splitlines()[0]
    assert "matmul" in yes and "exp add" in no
    assert "if true" in f.explain(mx.ones((4, 4))).to_html() if hasattr(f.explain(mx.ones((4, 4))), "to_html") else True


def test_shapeless():
    f = mx.compile(lambda x: mx.cond(x.sum() > 0, lambda x: x / x.shape[0], mx.zeros_like, x), shapeless=True)
    before = mx.compile_stats()["traces"]
    for x in ([1.0, 3.0], [1.0, 2.0, 3.0], [-1.0, 0.0, 0.0, 0.0]):
        want = [v / len(x) if sum(x) > 0 else 0 for v in x]
        assert f(mx.array(x)).tolist() == pytest.approx(want)
    assert mx.compile_stats()["traces"] == before + 1


def test_random_numbers_go_on_from_the_branch_that_ran():
    def draw(x):
        y = mx.cond(x > 0, lambda: mx.random.uniform(shape=(2,)) + mx.random.uniform(shape=(2,)), lambda: mx.zeros((2,)))
        return y, mx.random.uniform(shape=(2,))

    compiled = mx.compile(draw, inputs=mx.random.state, outputs=mx.random.state)
    for x in (1.0, -1.0):
        results = []
        for f in (draw, compiled):
            mx.random.seed(3)
            results.append([*f(mx.array(x)), mx.random.uniform(shape=(2,))])
        for a, b in zip(*results):
            assert mx.array_equal(a, b).item()


def test_the_key_stays_usable_where_it_is_not_captured():
    mx.random.seed(0)
    with pytest.warns(mx.CaptureWarning):
        mx.compile(lambda x: mx.cond(x > 0, lambda: mx.random.uniform(), lambda: mx.array(0.0)))(mx.array(1.0))
    assert 0 <= mx.random.uniform().item() < 1


def test_a_training_step_with_a_skipped_update():
    def train(compiled):
        mx.random.seed(0)
        model, optimizer = nn.Linear(2, 1), optim.SGD(learning_rate=0.1)
        state = [model.state, optimizer.state]

        def step(x, y, limit):
            loss, grads = nn.value_and_grad(model, lambda m: mx.mean((m(x) - y) ** 2))(model)
            grads = mx.cond(loss < limit, lambda g: g, lambda g: {k: v * 0 for k, v in g.items()}, grads)
            optimizer.update(model, grads)
            return loss

        step = mx.compile(step, inputs=state, outputs=state) if compiled else step
        x, y = mx.ones((4, 2)), mx.zeros((4, 1))
        losses = [step(x, y, mx.array(limit)).item() for limit in (9.0, 0.0, 9.0, 9.0)]
        return losses, [v.tolist() for _, v in tree_flatten(model.parameters())]

    assert train(True) == train(False)


def test_an_exported_function_branches(tmp_path):
    file = str(tmp_path / "f.safetensors")
    mx.export_function(file, choice, POSITIVE)
    f = mx.import_function(file)
    for x in (POSITIVE, NEGATIVE):
        (got,) = f(x)
        assert mx.array_equal(got, choice(x)).item()


@pytest.mark.parametrize("predicate", [True, False, 0, 2.5, mx.array(True), mx.array(0), mx.array(-1.5)])
def test_predicates(predicate):
    want = 1 if bool(predicate) else 2
    assert mx.cond(predicate, lambda: 1, lambda: 2).item() == want
    assert mx.compile(lambda p: mx.cond(p, lambda: 1, lambda: 2))(predicate).item() == want
    assert mx.compile(lambda: mx.cond(predicate, lambda: 1, lambda: 2))().item() == want


MODEL = nn.Linear(3, 3)


def replaces(x):
    def yes():
        MODEL.weight = MODEL.weight * 2
        return x

    return mx.cond(x.sum() > 0, yes, lambda: x)


STATE = {"a": mx.array(1.0), "rows": [mx.array(2.0), {"b": mx.array(3.0)}], "n": 0}
ROW = STATE["rows"]
COUNT = mx.array(0.0)


def branch(change):
    """A function that does something to state if its argument is positive."""

    def f(x):
        def yes():
            change(x)
            return x

        return mx.cond(x.sum() > 0, yes, lambda: x)

    return f


def assigns_a_global(x):
    def yes():
        global COUNT
        COUNT = x * 10
        return x

    return mx.cond(x.sum() > 0, yes, lambda: x)


def assigns_a_variable():
    z = mx.array(5.0)

    def f(x):
        def yes():
            nonlocal z
            z = x * 10
            return x

        return mx.cond(x.sum() > 0, yes, lambda: x)

    return f


class Holder:
    def __init__(self):
        self.h = mx.array(1.0)


HOLDER = Holder()

CHANGES = {
    "an item of a dict": (branch(lambda x: STATE.update(a=x)), r"STATE\['a'\] is replaced"),
    "an item by a constant": (branch(lambda x: STATE.update(a=W)), r"STATE\['a'\] is replaced"),
    "a new item": (branch(lambda x: STATE.update(new=x * 2)), r"STATE\['new'\] is replaced"),
    "no array any more": (branch(lambda x: STATE.update(a=None)), r"STATE\['a'\] is replaced"),
    "an item of a list": (branch(lambda x: ROW.__setitem__(0, x)), r"\[0\] is replaced"),
    "a list that shrinks": (branch(lambda x: ROW.insert(0, ROW.pop(0)) or ROW[1].clear()), r"\['b'\] is replaced"),
    "a list that grows": (branch(lambda x: ROW.append(x + 1)), r"\[2\] is replaced"),
    "a captured variable": (assigns_a_variable(), "z is replaced in 'yes'"),
    "a global variable": (assigns_a_global, "COUNT is replaced in 'yes'"),
    "an attribute": (branch(lambda x: setattr(HOLDER, "h", x)), r"HOLDER\.h is replaced"),
}


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("what", CHANGES)
def test_a_branch_that_replaces_state_is_refused_and_state_put_back(what, captured):
    function, text = CHANGES[what]

    def state():
        return repr((STATE, HOLDER.h, COUNT, [c.cell_contents for c in function.__closure__ or () if isinstance(c.cell_contents, mx.array)]))

    before = state()
    captures = {"inputs": STATE, "outputs": STATE} if captured else {}
    for g in (mx.compile(function, **captures), mx.grad(lambda x: function(x).sum())):
        with pytest.raises(ValueError, match=rf"\[cond\] .*{text}.*return the new value from both functions.*put back"):
            g(POSITIVE)
        assert state() == before


def test_what_a_branch_does_to_other_state_happens_at_the_trace():
    function = branch(lambda x: STATE.update(n=STATE["n"] + 1))
    mx.compile(function)(NEGATIVE)
    assert STATE["n"] == 1


REFUSED = {
    "predicate": (lambda x: mx.cond(x, lambda: 1, lambda: 2), r"the predicate has shape \(3,\).*where to choose by element"),
    "shapes": (lambda x: mx.cond(x.sum() > 0, lambda x: x, mx.sum, x), r"array 0 of the result is float32 of shape \(3,\) from '<lambda>' and float32 of shape \(\) from 'sum'"),
    "dtypes": (lambda x: mx.cond(x.sum() > 0, lambda: 1, lambda: 1.5), "is int32 of shape .* and float32 of shape .*astype"),
    "structure": (lambda x: mx.cond(x.sum() > 0, lambda: [x], lambda: (x, 1)), r"'<lambda>' returns \[array\] and '<lambda>' \(array, array\)"),
    "constants": (lambda x: mx.cond(x.sum() > 0, lambda: "a", lambda: "b"), "returns 'a' and '<lambda>' 'b'"),
    "state": (replaces, "weight is replaced in 'yes'.*return the new value.*put back"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_agree_is_refused(name):
    function, text = REFUSED[name]
    weight = MODEL.weight
    with pytest.raises(ValueError, match=text):
        mx.compile(function)(POSITIVE)
    assert MODEL.weight is weight


def test_functions_are_functions_and_their_errors_their_own():
    with pytest.raises(TypeError, match=r"\[cond\] takes a function, not int"):
        mx.cond(True, 1, lambda: 2)
    with pytest.raises(ZeroDivisionError):
        mx.compile(lambda x: mx.cond(x > 0, lambda: 1 / 0, lambda: 2))(mx.array(1.0))
    with pytest.raises(mx.TracerError, match="mx.cond"):
        mx.compile(lambda x: mx.cond(x > 0, lambda: 1 if x > 1 else 2, lambda: 2))(mx.array(1.0))
