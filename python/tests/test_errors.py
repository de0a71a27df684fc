"""Bad arguments to every public function: always a Python exception of a fitting type with a text, never a crash or a wrong type.

The arguments are drawn from a fixed seed. What a function may do with arguments that make sense by accident is not tested here.
"""

import inspect
import math
import random
import re
import types

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
import lazuli.utils

FITTING = (TypeError, ValueError, IndexError, NotImplementedError, OverflowError, MemoryError, RecursionError, BufferError, OSError, AttributeError, KeyError)

# Functions that change the process or the disk, or run what they are given for long.
LEFT_OUT = {"save", "savez", "savez_compressed", "save_safetensors", "load", "set_default_device", "set_default_stream", "set_cache_limit",
            "set_printoptions", "seed", "enable_compile", "disable_compile", "set_compile_mode", "compile_mode", "printoptions"}  # fmt: skip


def recursive():
    loop = []
    loop.append(loop)
    return loop


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError("hostile")

    def __len__(self):
        raise ValueError("hostile")


class LyingBuffer:
    def __array__(self, *args, **kwargs):
        return "not an array"


def bad_values():
    return [
        None, "a", b"abc", "", object(), Hostile(), LyingBuffer(), recursive(), {"a": recursive()}, {}, (), [], [[]], {1, 2}, range(3), ...,
        slice(None), True, -1, 0, 2**31, 2**40, 2**63, -(2**63), 2**70, -(2**70), 1e308, -1e308, math.nan, math.inf, -0.0, 1 + 2j, int, float,
        "float32", mx.float32, mx.bool_, mx.complex64, mx.floating, mx.cpu, lambda x: x, print, mx, type, NotImplemented,
        mx.array(1.0), mx.array(True), mx.array([1, 2, 3]), mx.array([[1.0, 2.0], [3.0, mx.nan]]), mx.zeros((0, 3)), mx.array([1 + 2j]),
        mx.zeros((1, 1, 1, 1, 1)), mx.array([1, 2], dtype=mx.uint8), mx.array([1.0], dtype=mx.bfloat16), mx.array([2**40]),
        (1, 2), (-1, -1), (0, 0), (2**40, 2**40), (1,) * 70, [1.5], ["a"], [None], [[1, 2], [3]], [mx.array(1), "a"], (5,), [mx.array([1]), mx.array([1, 2])],
    ]  # fmt: skip


def functions():
    packages = {"mx": mx, "mx.random": mx.random, "mx.linalg": mx.linalg, "mx.fast": mx.fast, "nn.losses": nn.losses, "nn.init": nn.init, "utils": lazuli.utils}
    for prefix, package in packages.items():
        for name, value in vars(package).items():
            ours = (getattr(value, "__module__", None) or "").startswith("lazuli")
            if not name.startswith("_") and callable(value) and not isinstance(value, types.ModuleType) and ours and name not in LEFT_OUT:
                if not (inspect.isclass(value) and (issubclass(value, Exception) or value.__name__ in ("array", "Dtype"))) or value is mx.array:
                    yield f"{prefix}.{name}", value
    for prefix, package in {"nn": nn, "optim": optim}.items():
        for name, value in vars(package).items():
            if inspect.isclass(value) or inspect.isfunction(value):
                yield f"{prefix}.{name}", value
    for name in dir(mx.array):
        method = getattr(mx.array, name)
        if callable(method) and name not in ("__class__", "__init_subclass__", "__subclasshook__", "__new__", "__getattr__", "__getattribute__"):
            yield f"array.{name}", method


FUNCTIONS = dict(functions())


def touch(value):
    """Runs what a result stands for."""
    if isinstance(value, mx.array) and value.size < 1e6:
        value.tolist()
    elif isinstance(value, (list, tuple)):
        for v in value[:8]:
            touch(v) if v is not value else None


def attempt(name, function, args, kwargs):
    try:
        touch(function(*args, **kwargs))
    except FITTING as e:
        assert "panicked" not in str(e) and "bug in Lazuli" not in str(e), f"{name}{args}{kwargs}: {e}"
    except RuntimeError as e:
        pytest.fail(f"{name}{args}{kwargs}: {e}")


# NotImplemented is among the arguments.
@pytest.mark.filterwarnings("ignore:NotImplemented should not be used in a boolean context")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_arguments(name):
    function = FUNCTIONS[name]
    draw = random.Random(name)
    mx.random.seed(0)
    for _ in range(40):
        values = bad_values()
        args = [draw.choice(values) for _ in range(draw.choice([0, 1, 1, 2, 2, 2, 3, 3, 4, 5]))]
        if name.startswith("array.") and draw.random() < 0.9:
            args = [draw.choice([v for v in values if isinstance(v, mx.array)]), *args[1:]]
        kwargs = {}
        if draw.random() < 0.3:
            kwargs[draw.choice(["axis", "dtype", "shape", "keepdims", "stream", "dim", "nonsense", "a", "k", "key"])] = draw.choice(values)
        if too_large(args) or too_large(kwargs.values()):
            continue
        attempt(name, function, args, kwargs)


def too_large(values):
    """Whether values ask for more work than a test should do, without being wrong."""
    return any(isinstance(v, (int, float)) and not isinstance(v, bool) and 2**20 < abs(v) < 2**62 for v in values)


HUGE = {
    "zeros": lambda: mx.zeros((2**40, 2**40)),
    "zeros, a product that wraps": lambda: mx.zeros((2**32, 2**32)),
    "zeros, beyond memory": lambda: mx.eval(mx.zeros((2**44,)) + 1),
    "ones, negative": lambda: mx.ones((-1, 2)),
    "arange": lambda: mx.arange(0, 1e30),
    "arange, NaN": lambda: mx.arange(mx.nan),
    "eye": lambda: mx.eval(mx.eye(2**31, 2**31)),
    "linspace": lambda: mx.eval(mx.linspace(0, 1, 2**50)),
    "broadcast": lambda: mx.broadcast_to(mx.array(1), (2**62, 2**62)),
    "tile": lambda: mx.tile(mx.ones((1000,)), (2**60, 2**60)),
    "repeat": lambda: mx.repeat(mx.ones((1000,)), 2**62),
    "pad": lambda: mx.pad(mx.ones((10,)), (2**62, 2**62)),
    "uniform": lambda: mx.random.uniform(shape=(2**40, 2**40)),
    "axis": lambda: mx.sum(mx.ones(3), axis=2**40),
    "reshape": lambda: mx.reshape(mx.ones(4), (2**40, 2**40)),
    "index": lambda: mx.ones(3)[2**62],
    "index, wide": lambda: mx.ones(3)[2**70],
    "slice": lambda: mx.ones(3)[:: -(2**63)].tolist(),
    "depth": lambda: mx.array(nested(1000)),
    "itself": lambda: mx.array(recursive()),
    "tree": lambda: mx.eval(recursive()),
}


def nested(depth):
    out = []
    for _ in range(depth):
        out = [out]
    return out


@pytest.mark.parametrize("case", HUGE)
def test_sizes_beyond_reason(case):
    try:
        HUGE[case]()
    except (ValueError, MemoryError, IndexError, OverflowError, RecursionError) as e:
        assert str(e)


def test_a_long_chain():
    x = mx.array(0.0)
    for _ in range(200_000):
        x = x + 1
    assert x.item() == 200_000
    x = mx.array(0.0)
    for _ in range(200_000):
        x = x + 1
    del x


def test_errors_name_the_function():
    cases = {
        "[add]": lambda: mx.ones(2) + mx.ones(3),
        "[matmul]": lambda: mx.ones((2, 3)) @ mx.ones((2, 3)),
        "[reshape]": lambda: mx.ones(6).reshape(4, 2),
        "[concatenate]": lambda: mx.concatenate([mx.ones((2, 3)), mx.ones((3, 2))]),
        "[flip]": lambda: mx.flip(mx.ones(2), 3),
        "[flip] ": lambda: mx.flip("a"),
        "[tensordot]": lambda: mx.tensordot(mx.ones((2, 3)), mx.ones((2, 3)), 1),
        "[take_along_axis]": lambda: mx.take_along_axis(mx.ones(2), mx.array([0.5]), 0),
        "[negative]": lambda: -mx.array([True]),
    }
    for text, call in cases.items():
        with pytest.raises((TypeError, ValueError, IndexError)) as e:
            call()
        assert str(e.value).startswith(text.strip()), str(e.value)


def square(x):
    return x * x


REFUSED = {
    "[grad] args[0] is a number of type float": lambda: mx.grad(square)(2.0),
    "[grad] args[1] is a number of type int": lambda: mx.grad(lambda x, y: x * y, argnums=(0, 1))(mx.array(1.0), 2),
    "[grad] args[0]['b'][0] is a number of type int": lambda: mx.grad(lambda d: d["a"])({"a": mx.array(1.0), "b": [3]}),
    "[grad] x is a number of type float64": lambda: mx.grad(square, argnames="x")(x=np.float64(2.0)),
    "[grad] args[0] is a number of type ndarray": lambda: mx.grad(lambda x: mx.sum(mx.array(x)))(np.ones(2)),
    "[jvp] primals are a list of arrays, not array": lambda: mx.jvp(square, mx.array(1.0), mx.array(1.0)),
    "[vjp] cotangents are a list of arrays, not of float": lambda: mx.vjp(square, [mx.array(1.0)], [1.0]),
    "it has length 1 for 2 of the arguments": lambda: mx.vmap(mx.add, in_axes=(0,))(mx.ones(2), mx.ones(2)),
    "out_axes is an int, None, or a tree of them like the results; it has a value of type tuple": lambda: mx.vmap(square, out_axes=(0, 1))(mx.ones(2)),
    "the result of '<lambda>' is a map, which runs only when": lambda: mx.compile(lambda x: map(mx.exp, [x]))(mx.ones(2)),
    "the result['a'] of '<lambda>' is a generator": lambda: mx.compile(lambda x: {"a": (y for y in x)})(mx.ones(2)),
    "into shape (4, -1): the sizes must agree": lambda: mx.ones(6).reshape(4, -1),
    "expected an int or a sequence of ints, not ((5,),)": lambda: mx.ones(((5,),)),
    "one integer, not an array of several: arrays that are joined are one argument, [x, y]": lambda: mx.concatenate(mx.ones(2), mx.ones(2)),
    "an integer, not an array of float32": lambda: [1, 2][mx.array(1.0)],
    "'<lambda>' reads the value of an array with index()": lambda: mx.compile(lambda x: mx.zeros(6).reshape(x, -1))(mx.array(2)),
    "'<lambda>' reads the value of an array with index() ": lambda: mx.compile(lambda x: mx.zeros(x))(mx.array(2)),
    "expected an int or a sequence of ints, not tuple": lambda: mx.compile(lambda x: mx.zeros((x, 2)))(mx.array(2.0)),
    "[grad] args[0] has dtype int32": lambda: mx.grad(square)(mx.array(2)),
    "[grad] args[1]['b'][0] has dtype bool": lambda: mx.value_and_grad(lambda x, d: x, argnums=1)(mx.array(1.0), {"a": mx.array(1.0), "b": [mx.array(True)]}),
    "[grad] x has dtype int32, and gradients are those of float and complex arrays": lambda: mx.grad(square, argnames="x")(x=mx.array(2)),
    "[explain] missing a required argument: 'y', for minus(x, y): explain takes": lambda: mx.compile(minus).explain(mx.ones(2)),
    "[lower] too many positional arguments, for minus(x, y): lower takes": lambda: mx.compile(minus).lower(*mx.ones(3)),
    "[explain] got an unexpected keyword argument 'z', for minus(x, y)": lambda: mx.compile(minus).explain(mx.ones(2), mx.ones(2), z=1),
    "module 'lazuli.core.linalg' has no attribute 'cond': there are no decompositions yet": lambda: mx.linalg.cond,
    "module 'lazuli' has no attribute 'compile': use mx.compile, after 'import lazuli.core as mx'": lambda: lazuli.compile,
    "module 'lazuli' has no attribute 'Adam': use optim.Adam, after 'import lazuli.optimizers as optim'": lambda: lazuli.Adam,
    "none named 0: write model.layers[0]": lambda: nn.Sequential()[0],
    "Linear has no parameter or module named 'w'; it has weight, bias": lambda: nn.Linear(2, 2)["w"],
    "layers are given one by one, nn.Sequential(*layers)": lambda: nn.Sequential([nn.ReLU()]),
    "layer 1 is the class ReLU: make a layer of it": lambda: nn.Sequential(nn.ReLU(), nn.ReLU),
    "layer 0 is of type array: layers are modules, or functions of one array": lambda: nn.Sequential(mx.ones(2)),
    "'Torch' object is not callable: define Torch.__call__, in the place of forward": lambda: Torch()(mx.ones(2)),
    "[Linear] takes an array of shape (..., 4), not one of shape (3, 5)": lambda: nn.Linear(4, 2)(mx.ones((3, 5))),
    "[Linear] takes an array of shape (..., 4), not one of shape ()": lambda: nn.Linear(4, 2, bias=False)(mx.array(1.0)),
    "[Linear] takes an array of shape (..., 4), not NoneType": lambda: nn.Linear(4, 2)(None),
    "[Linear] input_dims is the length of an axis, an int, not '4'": lambda: nn.Linear("4", 2),
    "[Linear] output_dims is the length of an axis, and not negative: -2": lambda: nn.Linear(4, -2),
    "[LayerNorm] takes an array of shape (..., 4), not one of shape (2, 5)": lambda: nn.LayerNorm(4)(mx.ones((2, 5))),
    "[LayerNorm] takes an array of shape (..., 4), not one of shape (2, 1)": lambda: nn.LayerNorm(4)(mx.ones((2, 1))),
    "[RMSNorm] takes an array of shape (..., 4), not one of shape (2, 5)": lambda: nn.RMSNorm(4)(mx.ones((2, 5))),
    "[InstanceNorm] takes an array of shape (..., 4), not one of shape (2, 3, 1)": lambda: nn.InstanceNorm(4, affine=True)(mx.ones((2, 3, 1))),
    "[GroupNorm] takes an array of shape (..., 4), not one of shape (2, 1)": lambda: nn.GroupNorm(2, 4)(mx.ones((2, 1))),
    "[BatchNorm] takes an array of shape (..., 4), not one of shape (2, 3)": lambda: nn.BatchNorm(4)(mx.ones((2, 3))),
    "[BatchNorm] takes an array of shape (..., 4), not one of shape (2, 1)": lambda: nn.BatchNorm(4, affine=False).eval()(mx.ones((2, 1))),
    "[layer_norm] bias (1,) must have one axis, of the extent of the last axis of x (2, 4)": lambda: mx.fast.layer_norm(mx.ones((2, 4)), mx.ones(4), mx.ones(1)),
    "[rms_norm] weight (4,) must have one axis, of the extent of the last axis of x (2, 1)": lambda: mx.fast.rms_norm(mx.ones((2, 1)), mx.ones(4)),
    "[RNN] takes an array of shape (..., 4), not one of shape (2, 3, 5)": lambda: nn.RNN(4, 2)(mx.ones((2, 3, 5))),
    "[GRU] hidden has shape (..., 2), not (2, 4)": lambda: nn.GRU(4, 2)(mx.ones((2, 3, 4)), mx.ones((2, 4))),
    "[LSTM] cell has shape (..., 2), not (1,)": lambda: nn.LSTM(4, 2)(mx.ones((2, 3, 4)), cell=mx.ones(1)),
    "[LSTM] takes an array of shape (..., length, 4), not one of shape (4,)": lambda: nn.LSTM(4, 2)(mx.ones(4)),
    "[nn.value_and_grad] takes the module first": lambda: nn.value_and_grad(square, nn.ReLU()),
    "[cross_entropy] targets must be an array, not list: give mx.array(targets)": lambda: nn.losses.cross_entropy(mx.ones((2, 2)), [0, 1]),
    "are class indices, of an integer dtype, not float32": lambda: nn.losses.cross_entropy(mx.ones((2, 3)), mx.ones(2)),
    "[mse_loss] targets must be an array, not float": lambda: nn.losses.mse_loss(mx.array(1.0), 1.0),
    "[SGD.update] takes the model, and then gradients": lambda: optim.SGD(0.1).update({"weight": mx.ones(2)}, nn.Linear(2, 2)),
    "the gradient of l.w has shape (2,), and the parameter (3,)": lambda: optim.SGD(0.1).update({"l": {"w": mx.ones(3)}}, {"l": {"w": mx.ones(2)}}),
    "there is a gradient 'l'.'v', and no such parameter": lambda: optim.SGD(0.1).update({"l": {"w": mx.ones(2)}}, {"l": {"v": mx.ones(2)}}),
}


def minus(x, y):
    return x - y


class Torch(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize("text", REFUSED)
def test_errors_say_what_is_wrong(text):
    with pytest.raises(FITTING) as e:
        REFUSED[text]()
    assert text in (e.value.args[0] if isinstance(e.value, KeyError) else str(e.value))


# How a file begins, and what is said of it.
FILES = [
    (b"\x93NUMPY\x01\x00" + bytes(100), "is an array of numpy (.npy), and no file in the format that export_function writes"),
    (b"PK\x03\x04" + bytes(100), "is an archive (.npz of numpy, .pt of torch, .zip)"),
    (b"import lazuli\n" * 20, "is text, and no file in the format that export_function writes"),
    (b"", "is empty"),
    (bytes(range(256)), "is damaged, or in another format than safetensors"),
]


@pytest.mark.parametrize("content, text", FILES)
def test_files_that_hold_no_function(content, text, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(OSError, match=re.escape(f"[import_function] {file}: {text}")):
        mx.import_function(str(file))


@pytest.mark.parametrize("module", [mx, mx.linalg, mx.random, mx.fast, mx.debug, nn, nn.losses, nn.init, optim], ids=lambda m: m.__name__)
def test_completion_shows_public_names_alone(module):
    names = [name for name in dir(module) if not name.startswith("__")]
    assert names and not [name for name in names if name.startswith("_") or name in ("annotations", "Any", "Sequence", "Callable", "math")]
    assert set(getattr(module, "__all__", names)) <= set(names)


def test_integers_do_not_wrap_silently():
    x = mx.array([1, 2], dtype=mx.uint8)
    for call in (
        lambda: x + 300, lambda: x * -1, lambda: 256 - x, lambda: mx.maximum(x, 1000), lambda: mx.where(True, x, -5), lambda: x == 300,
        lambda: mx.full_like(x, 256), lambda: mx.full(2, 256, mx.uint8), lambda: x.at[0].add(300), lambda: mx.clip(x, 0, 300),
        lambda: x.__setitem__(0, 300), lambda: x.__iadd__(300), lambda: mx.array([1]) + 2**31, lambda: mx.pad(x, 1, constant_values=300),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="does not fit"):
            call()
    assert (x + 255).tolist() == [0, 1]
    assert (mx.array([1], dtype=mx.int64) + 2**40).tolist() == [2**40 + 1]
    assert (mx.array([1.0]) + 2**40).item() == 2**40
