"""The user's view of compilation: each test is one thing a page about ``compile`` promises, run as a user would write it."""

import math
from functools import partial

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim


def traces():
    return mx.compile_stats()["traces"]


def shown(capsys, *values):
    """What ``print`` shows of values."""
    capsys.readouterr()
    for value in values:
        print(value)
    return capsys.readouterr().out.splitlines()


def fun(x, y):
    return mx.exp(-x) + y


def gelu(x):
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def test_a_compiled_function_gives_what_the_function_gives(capsys):
    x, y = mx.array(1.0), mx.array(2.0)
    results = shown(capsys, fun(x, y), mx.compile(fun)(x, y))
    assert results == ["array(2.36788, dtype=float32)"] * 2


def test_a_function_is_traced_once_however_often_it_is_wrapped():
    def here(x, y):
        return mx.exp(-x) + y

    x, y = mx.array(1.0), mx.array(2.0)
    before = traces()
    compiled = mx.compile(here)
    compiled(x, y)
    assert traces() == before + 1
    compiled(x, y)
    mx.compile(here)(x, y)
    assert traces() == before + 1


RETRACES = [
    ("shape", [mx.zeros((3,))], 1),
    ("rank", [mx.zeros((2, 1))], 1),
    ("dtype", [mx.zeros((2,), mx.int32)], 1),
    ("number of inputs", [mx.zeros((2,)), mx.zeros((2,))], 1),
    ("nothing but the values", [mx.ones((2,))], 0),
]


@pytest.mark.parametrize("what, args, expected", RETRACES, ids=[r[0] for r in RETRACES])
def test_what_makes_a_new_trace(what, args, expected):
    def here(*xs):
        return sum(mx.abs(x) for x in xs)

    compiled = mx.compile(here)
    compiled(mx.zeros((2,)))
    before = traces()
    compiled(*args)
    assert traces() == before + expected, what


def test_a_lambda_made_anew_is_traced_anew():
    for turn in range(6):
        out = mx.compile(lambda x: mx.exp(mx.abs(x)))(mx.array(1.0))
        assert out.item() == pytest.approx(math.e)
        if turn == 0:
            before = mx.compile_stats()
    after = mx.compile_stats()
    assert after["traces"] == before["traces"] + 5
    assert after["kernels"] == before["kernels"], "code is generated once"


@pytest.mark.parametrize("f", [nn.gelu, gelu])
@pytest.mark.parametrize("shape", [(), (7,), (32, 10, 41)])
def test_fusing_gelu_changes_no_bit(f, shape):
    x = mx.random.uniform(-3, 3, shape=shape)
    assert mx.array_equal(f(x), mx.compile(f)(x))


def print_inside(x):
    z = -x
    print(z)
    return mx.exp(z)


def test_a_placeholder_cannot_be_printed():
    with pytest.raises(mx.TracerError):
        mx.compile(print_inside)(mx.array(5.0))


def test_without_compilation_values_can_be_printed(capsys):
    compiled = mx.compile(print_inside)
    mx.disable_compile()
    try:
        out = compiled(mx.array(5.0))
    finally:
        mx.enable_compile()
    assert capsys.readouterr().out == "array(-5, dtype=float32)\n"
    assert out.item() == pytest.approx(math.exp(-5))
    with pytest.raises(mx.TracerError):
        compiled(mx.array(5.0))


def test_a_placeholder_that_got_out_cannot_be_read():
    state = []

    @mx.compile
    def leak(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z)

    out = leak(mx.array(1.0), mx.array(2.0))
    assert out.item() == pytest.approx(math.exp(3))
    with pytest.raises(mx.LeakedTracerError):
        print(state)


def test_state_may_be_returned(capsys):
    state = []

    @mx.compile
    def give(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z), state

    _, state = give(mx.array(1.0), mx.array(2.0))
    assert shown(capsys, state) == ["[array(3, dtype=float32)]"]


def test_state_may_be_captured_as_output(capsys):
    state = []

    @partial(mx.compile, outputs=state)
    def update(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z), state

    update(mx.array(1.0), mx.array(2.0))
    assert shown(capsys, state) == ["[array(3, dtype=float32)]"]


@pytest.mark.parametrize("captured, second", [(False, 2), (True, 6)])
def test_arrays_from_outside_are_constants_unless_captured(capsys, captured, second):
    state = [mx.array(1.0)]

    def plus(x):
        return x + state[0]

    plus = mx.compile(plus, inputs=state) if captured else mx.compile(plus)
    first = plus(mx.array(1.0))
    state[0] = mx.array(5.0)
    assert shown(capsys, first, plus(mx.array(1.0))) == [
        "array(2, dtype=float32)",
        f"array({second}, dtype=float32)",
    ]


def train(compiled, model=None, inputs=()):
    """Losses of ten steps of a linear classifier, by a plain or a compiled step."""
    mx.random.seed(0)
    x = mx.random.uniform(shape=(4, 10))
    y = mx.array([0, 1, 0, 1])
    model = model() if model else nn.Linear(10, 1)
    optimizer = optim.SGD(learning_rate=0.1, momentum=0.8)

    def loss_fn(model, x, y):
        return nn.losses.binary_cross_entropy(model(x).squeeze(), y)

    def step(x, y):
        loss, grads = nn.value_and_grad(model, loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return loss

    state = [model.state, optimizer.state, *inputs]
    if compiled:
        step = mx.compile(step, inputs=state, outputs=state)
    losses = []
    for _ in range(10):
        losses.append(step(x, y).item())
        mx.eval(state)
    return losses


def test_a_compiled_training_step_gives_the_same_losses():
    plain = train(False)
    assert train(True) == plain
    assert plain[-1] < plain[0]


def test_dropout_draws_anew_at_each_step_when_the_key_is_captured():
    def model():
        return nn.Sequential(nn.Linear(10, 10), nn.Dropout(0.5), nn.Linear(10, 1))

    plain = train(False, model, [mx.random.state])
    assert train(True, model, [mx.random.state]) == plain
    assert len(set(plain)) == len(plain)


def test_transformed_functions_compile(capsys):
    derivative = mx.grad(mx.exp)
    x = mx.array(1.0)
    assert shown(capsys, derivative(x), mx.compile(derivative)(x)) == ["array(2.71828, dtype=float32)"] * 2


def test_compiled_functions_transform_and_nest():
    @mx.compile
    def inner(x):
        return mx.exp(-mx.abs(x))

    def outer(x):
        return inner(inner(x))

    x = mx.array(0.5)
    expected = math.exp(-math.exp(-0.5))
    assert outer(x).item() == pytest.approx(expected)
    assert mx.compile(outer)(x).item() == pytest.approx(expected)
    # d/dx e^(-e^(-x)) = e^(-x) e^(-e^(-x)) for positive x
    assert mx.grad(inner)(x).item() == pytest.approx(-math.exp(-0.5))
    assert mx.compile(mx.grad(outer))(x).item() == pytest.approx(math.exp(-0.5) * expected)


def test_a_shapeless_function_takes_other_shapes_without_a_new_trace(capsys):
    compiled = mx.compile(lambda x, y: mx.abs(x + y), shapeless=True)
    first = compiled(mx.array(1.0), mx.array(-2.0))
    before = traces()
    second = compiled(mx.array([1.0, -6.0]), mx.array([-2.0, 3.0]))
    assert shown(capsys, first, second) == ["array(1, dtype=float32)", "array([1, 3], dtype=float32)"]
    assert traces() == before


def test_a_shapeless_function_that_fixed_a_shape_refuses_another():
    compiled = mx.compile(lambda x: x.reshape(x.shape[0] * x.shape[1], -1), shapeless=True)
    x = mx.random.uniform(shape=(2, 3, 4))
    assert mx.array_equal(compiled(x), x.reshape(6, 4))
    with pytest.raises(mx.ShapeGuardError, match=r"dimension 0 of .* was 2 .* now 5.*test_page.py:\d+"):
        compiled(mx.random.uniform(shape=(5, 5, 3)))


def test_flatten_fixes_no_shape():
    compiled = mx.compile(lambda x: x.flatten(0, 1), shapeless=True)
    for shape in [(2, 3, 4), (5, 5, 3)]:
        x = mx.random.uniform(shape=shape)
        assert mx.array_equal(compiled(x), x.reshape(-1, shape[2]))
