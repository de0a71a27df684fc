"""Functions that travel through files: what is loaded does what was saved, and damage is an error."""

import subprocess
import sys

import pytest

import lazuli.core as mx
import lazuli.nn as nn
from lazuli.utils import tree_flatten


@pytest.fixture
def file(tmp_path):
    return tmp_path / "function.safetensors"


def loaded(file, fun, *args, **kwargs):
    mx.export_function(file, fun, *args, **kwargs)
    return mx.import_function(file)


def same(got, want):
    want = want if isinstance(want, (tuple, list)) else (want,)
    assert isinstance(got, tuple) and len(got) == len(want)
    for g, w in zip(got, want):
        assert g.dtype == w.dtype and g.shape == w.shape
        assert mx.array_equal(g, w, equal_nan=True).item()


SCALE = mx.array([0.5, 2.0])

FUNCTIONS = {
    "elementwise": (lambda x: mx.exp(-x) + 1.5, [mx.array([1.0, -2.0])]),
    "constants": (lambda x: x * SCALE, [mx.array([1.0, -2.0])]),
    "calls": (lambda x: mx.softmax(x, axis=-1), [mx.array([[1.0, -2.0], [0.0, 3.0]])]),
    "matmul": (lambda x, y: x @ y, [mx.ones((2, 3)), mx.ones((3, 2))]),
    "several results": (lambda x: (x, x + 1, [x][0]), [mx.array([1, 2])]),
    "gathers": (lambda x, i: x[i] + x[:, ::-1][0], [mx.ones((4, 2)), mx.array([1, 2])]),
    "a gradient": (mx.grad(lambda x: mx.sum(mx.sin(x) ** 2)), [mx.array([0.3, 0.4])]),
    "random bits": (lambda x: x + mx.random.normal((2,), key=mx.random.key(3)), [mx.zeros((2,))]),
    "complex": (lambda x: x * x, [mx.array([1 + 2j])]),
    "nothing given": (lambda: mx.arange(3), []),
    "an input as is": (lambda x: x, [mx.array(2.0)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_loaded_does_what_was_saved(name, file):
    fun, args = FUNCTIONS[name]
    same(loaded(file, fun, *args)(*args), fun(*args))


def captured_state():
    state = {"a": mx.array(1.0)}

    def f(x):
        state["a"] = state["a"] + x
        return state["a"] * 2

    return mx.compile(f, inputs=state, outputs=state), lambda: state, r"\['a'\]"


def plain_state():
    state, total = {"rows": [mx.array(1.0)]}, mx.zeros((2,))

    def f(x):
        state["rows"].append(x * 2)
        total[0] = x
        return x + total

    return f, lambda: (state, total), r"rows'\]\[1\] \(and 1 more\)"


def normalized():
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm(2))
    return lambda x: model(mx.stack([x, x + 1]).reshape(2, 1)), lambda: tree_flatten(model.state), r"running_mean \(and 1 more\)"


@pytest.mark.parametrize("shapeless", [False, True])
@pytest.mark.parametrize("make", [captured_state, plain_state, normalized])
def test_state_is_put_back_and_named(make, shapeless, file):
    fun, state, what = make()
    before = repr(state())
    with pytest.warns(mx.CaptureWarning, match=rf"\[export_function\] .*{what} is updated in .*put back"):
        mx.export_function(file, fun, mx.array(2.0), shapeless=shapeless)
    assert repr(state()) == before
    (got,) = mx.import_function(file)(mx.array(3.0))
    assert mx.allclose(got, fun(mx.array(3.0))).item() and repr(state()) != before


def test_arguments_come_by_position_and_name_or_in_containers(file):
    x, y = mx.array(1.0), mx.array(2.0)
    f = loaded(file, lambda a, *, w: a - w, x, w=y)
    for result in [f(x, w=y), f((x,), {"w": y}), f([x], {"w": y}), f((x,), w=y)]:
        same(result, mx.array(-1.0))


def test_several_traces_in_one_file(file):
    with mx.exporter(file, lambda *xs: sum(xs), metadata="a sum") as export:
        for n in (1, 2, 3):
            export(*[mx.array(1)] * n)
        export(mx.ones((2,)))
    f, text = mx.import_function(file, return_metadata=True)
    assert text == "a sum" and "4 traced" in repr(f)
    same(f(mx.array(2), mx.array(3)), mx.array(5))
    same(f(mx.array([2.0, 3.0])), mx.array([2.0, 3.0]))
    with pytest.raises(ValueError, match=r"no trace fits \(f32\[3\]\); there are \(i32\[\]\), \(i32\[\], i32\[\]\)"):
        f(mx.ones((3,)))
    with pytest.raises(ValueError, match="is written"):
        export(mx.array(1))


def test_a_failed_block_writes_nothing(file):
    with pytest.raises(RuntimeError, match="stop"), mx.exporter(file, lambda x: x) as export:
        export(mx.array(1))
        raise RuntimeError("stop")
    assert not file.exists()


def test_shapeless_traces_hold_for_other_extents(file):
    f = loaded(file, lambda x: x - mx.mean(x, axis=-1, keepdims=True), mx.ones((2, 3)), shapeless=True)
    x = mx.arange(20, dtype=mx.float32).reshape(4, 5)
    same(f(x), x - mx.mean(x, axis=-1, keepdims=True))


# Operations that decide by extents, and transformations: a file holds how their bodies are made for other shapes.
MADE_ANEW = {
    "a gradient": mx.grad(lambda x: (mx.sin(x) * x).mean()),
    "value and gradient": mx.value_and_grad(lambda x: (x @ x.T).var()),
    "a gradient of a gradient": mx.grad(lambda x: (mx.grad(lambda y: (y**3).mean())(x) ** 2).sum()),
    "jvp": lambda x: mx.jvp(lambda x: mx.softmax(x, -1), [x], [x * 2]),
    "vmap": mx.vmap(lambda x: x.sum() / x.shape[0], in_axes=1),
    "vmap of a gradient": mx.vmap(mx.grad(lambda x: mx.logsumexp(x))),
    "a gradient of an update": mx.grad(lambda x: (x.at[1:, mx.array([0, 0])].add(x[1:, :2]) ** 2).sum()),
    "array_equal": lambda x: mx.array_equal(x, x + 0),
    "broadcast_arrays": lambda x: mx.broadcast_arrays(x, x[:1], x[:, :1]),
    "diagonals": lambda x: (mx.diagonal(x, 1), mx.diag(x[0], -2), mx.trace(x)),
    "index updates": lambda x: x.at[None, ..., ::2].multiply(3).at[-1].maximum(0.5),
    "median": lambda x: (mx.median(x), mx.median(x, axis=0, keepdims=True)),
    "meshgrid": lambda x: mx.meshgrid(x[0], x[:, 0], indexing="ij", sparse=True),
    "pad": lambda x: mx.pad(x, ((1, 2), (0, 3)), mode="edge"),
    "roll and tile": lambda x: mx.tile(mx.roll(x, -3, axis=1), (2, 1, 2)),
    "split": lambda x: mx.split(mx.concatenate([x, x, x]), 3),
}


@pytest.mark.parametrize("name", MADE_ANEW)
def test_shapeless_traces_make_bodies_anew(name, file):
    def fun(x):
        out = MADE_ANEW[name](x)
        flat = tree_flatten(out)
        return [a for _, a in flat] if isinstance(out, (tuple, list)) else out

    f = loaded(file, fun, mx.random.normal((3, 5)), shapeless=True)
    for shape in [(3, 5), (4, 7), (2, 3)]:
        x = mx.random.normal(shape)
        same(f(x), fun(x))


def test_shapeless_traces_keep_their_guards(file):
    f = loaded(file, lambda x: x.reshape(x.shape[0] * x.shape[1], -1), mx.ones((2, 3, 4)), shapeless=True)
    same(f(mx.ones((2, 3, 7))), mx.ones((6, 7)))
    with pytest.raises(ValueError, match="no trace fits"):
        f(mx.ones((5, 5, 3)))


def test_what_is_loaded_is_transformed_and_compiled(file):
    f = loaded(file, lambda x: mx.sum(x**3), mx.array([1.0, 2.0]))
    x = mx.array([1.0, 2.0])
    for got, want in [
        (mx.grad(lambda x: f(x)[0])(x), 3 * x**2),
        (mx.compile(lambda x: f(x)[0] * 2)(x), mx.array(18.0)),
        (mx.vmap(lambda x: f(x)[0])(mx.ones((3, 2))), mx.full((3,), 2.0)),
    ]:
        same((got,), want)


def test_a_model_is_loaded_without_its_code(file):
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2))
    x = mx.random.normal((3, 4))
    mx.export_function(file, model, x)
    code = (
        "import sys, lazuli.core as mx\n"
        "x = mx.array(eval(sys.argv[2]))\n"
        "print(mx.import_function(sys.argv[1])(x)[0].tolist(), 'lazuli.nn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), repr(x.tolist())], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{model(x).tolist()} False\n"


@pytest.mark.parametrize("f", [lambda x: x * SCALE, lambda x: mx.grad(lambda x: mx.roll(x * SCALE, 1).var())(x)])
def test_damaged_files_are_errors(f, file, tmp_path):
    mx.export_function(file, f, mx.ones((2,)), shapeless=True)
    whole = file.read_bytes()
    for size in [0, 1, 7, 8, 9, len(whole) // 3, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:size])
        with pytest.raises(OSError, match="import_function"):
            mx.import_function(file)
    want = f(mx.ones((2,))).tolist()
    for at in range(0, len(whole), 7):
        for changed in (whole[at] ^ 0x15, whole[at] ^ 1, ord("9")):
            file.write_bytes(whole[:at] + bytes([changed]) + whole[at + 1 :])
            try:
                got = mx.import_function(file)(mx.ones((2,)))
            except OSError:
                continue
            assert [x.tolist() for x in got] == [want]  # what was changed means nothing
    with pytest.raises(OSError, match="import_function"):
        mx.import_function(tmp_path / "absent")
    mx.save_safetensors(str(file), {"w": mx.ones((2,))})
    with pytest.raises(OSError, match="holds arrays, and no function"):
        mx.import_function(file)


WRONG = {
    "a number": (lambda x: x, [1.0], "found float"),
    "a dict as result": (lambda x: {"y": x}, [mx.array(1.0)], "found dict"),
    "no function": (3, [mx.array(1.0)], "callable"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_exported_is_refused(name, file):
    fun, args, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        mx.export_function(file, fun, *args)
    with pytest.raises(ZeroDivisionError):
        mx.export_function(file, lambda x: x / (1 / 0), mx.array(1.0))


@pytest.mark.parametrize("name", ["a]b", "with (", "two\nlines", '"', "f(x), g"])
def test_functions_may_have_any_name(name, file):
    def square(x):
        return x * x

    square.__name__ = name
    own = mx.custom_function(square)
    own.vjp(lambda x, cotangent, _: 3 * cotangent)
    f = loaded(file, lambda x: own(x) + mx.checkpoint(square)(x), mx.ones((2,)), shapeless=True)
    x = mx.array([1.0, 2.0, 3.0])
    same(f(x), 2 * x * x)
    same((mx.grad(lambda x: f(x)[0].sum())(x),), 3 + 2 * x)


@pytest.mark.parametrize("name", ["/my graph v1/model.py", "/two\nlines.py", "/graph ", "x.py:3"])
def test_functions_may_stand_in_any_file(name, file):
    scope = {}
    exec(compile("def f(x):\n    assert x.shape[0] == 3\n    return abs(x).sum()", name, "exec"), scope)
    f = loaded(file, scope["f"], mx.ones((3, 2)), shapeless=True)
    same(f(mx.ones((3, 4))), mx.array(12.0))
    with pytest.raises(ValueError, match="no trace fits"):
        f(mx.ones((4, 4)))


def test_arguments_have_names_of_their_own(file):
    x = mx.array(1.0)
    for arguments, message in [
        (({"w": x}, {"w": x}), "'w'"),
        (({}, {"": x}), 'no argument can be named ""'),
        (({}, {"a\nb": x}), "a name is one line"),
        (({3: x}, {}), r"\[export_function\] .* int"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            mx.export_function(file, lambda **named: sum(named.values()), arguments[0], **arguments[1])
    f = loaded(file, lambda w: w + 1, w=x)
    with pytest.raises(ValueError, match=r"\[import_function\] two arguments are named 'w'"):
        f({"w": x}, w=x)


def test_what_could_not_be_read_back_is_not_written(file):
    def choices(depth, x):
        return x if depth == 0 else mx.cond(x.sum() > 0, lambda x: choices(depth - 1, x), lambda x: -x, x)

    same(loaded(file, lambda x: choices(200, x), mx.ones((2,)))(mx.ones((2,))), mx.ones((2,)))
