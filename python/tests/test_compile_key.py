"""When a call of a compiled function reuses a trace.

Where MLX 0.32.4 was found to confuse two calls (and to return the first one's numbers for the second), the case says so.
"""

import collections
import enum
import functools
import math
import struct
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim


def traces():
    return mx.compile_stats()["traces"]


def traced(call):
    """How many traces a call costs."""
    before = traces()
    call()
    return traces() - before


A, B = mx.array([1.0, 2.0]), mx.array([3.0, 4.0])
NAN, OTHER_NAN = math.nan, struct.unpack("d", struct.pack("Q", 0x7FF8000000000123))[0]


class Pair(NamedTuple):
    a: object
    b: object


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Millis(int):
    pass


class MyList(list):
    pass


def helper(x):
    return x


class Thing:
    def method(self):
        return 1


THING, OTHER_THING = Thing(), Thing()

# Two calls, and whether they share a trace.
PAIRS = [
    ("an int and a float", (A, 1), (A, 1.0), False),
    ("an int and a bool", (A, 1), (A, True), False),  # MLX: confused
    ("a float and its negative zero", (A, 0.0), (A, -0.0), False),
    ("the same float", (A, 0.5), (A, 0.5), True),
    ("two NaNs", (A, NAN), (A, OTHER_NAN), True),
    ("a NaN and a number", (A, NAN), (A, 0.0), False),
    ("big ints", (A, 1 << 80), (A, 1 << 80), True),  # MLX: RuntimeError std::bad_cast
    ("other big ints", (A, 1 << 80), (A, (1 << 80) + 1), False),
    ("ints beyond 64 bits and their remainders", (A, 5), (A, (1 << 64) + 5), False),
    ("complex numbers", (A, 1j), (A, 1j), True),
    ("other complex numbers", (A, complex(0.0, 1)), (A, complex(-0.0, 1)), False),
    ("a complex and a float", (A, 1.0), (A, 1 + 0j), False),
    ("texts", (A, "sum"), (A, "sum"), True),
    ("other texts", (A, "sum"), (A, "mean"), False),
    ("a text and bytes", (A, "sum"), (A, b"sum"), False),
    ("surrogates", (A, "\ud800"), (A, "\ud800"), True),
    ("dtypes", (A, mx.float32), (A, mx.float32), True),
    ("other dtypes", (A, mx.float32), (A, mx.float16), False),
    ("slices", (A, slice(0, 1)), (A, slice(0, 1)), True),
    ("other slices", (A, slice(0, 1)), (A, slice(0, 2)), False),
    ("a slice and its parts", (A, slice(0, 1, None)), (A, (0, 1, None)), False),
    ("ellipses", (A, ...), (A, ...), True),
    ("None and False", (A, None), (A, False), False),
    ("enum members", (A, Colour.RED), (A, Colour.RED), True),
    ("other enum members", (A, Colour.RED), (A, Colour.BLUE), False),
    ("an int and an IntEnum", (A, 1), (A, Level.LOW), False),
    ("a derived int", (A, Millis(3)), (A, Millis(3)), True),
    ("an int and a derived one", (A, 3), (A, Millis(3)), False),
    ("functions", (A, helper), (A, helper), True),
    ("other functions", (A, helper), (A, lambda x: x), False),
    ("methods of one object", (A, THING.method), (A, THING.method), True),
    ("methods of two objects", (A, THING.method), (A, OTHER_THING.method), False),
    ("a tuple and a list", ((A,),), ([A],), False),  # MLX: confused
    ("[[a], b] and [[a, b]]", ([[A], B],), ([[A, B]],), False),  # MLX: confused
    ("[[], a] and [a, []]", ([[], A],), ([A, []],), False),
    ("a named tuple and a tuple", (Pair(A, B),), ((A, B),), False),
    ("named tuples", (Pair(A, B),), (Pair(B, A),), True),
    ("a list and a derived one", ([A],), (MyList([A]),), False),
    ("dicts", ({"a": A, "b": B},), ({"b": A, "a": B},), True),
    ("dicts with other keys", ({"a": A},), ({"b": A},), False),
    ("dicts with keys 1 and '1'", ({1: A},), ({"1": A},), False),
    ("dicts with keys 1 and True", ({1: A},), ({True: A},), False),
    ("an ordered dict and a dict", ({"a": A},), (collections.OrderedDict(a=A),), False),
    ("two arrays and one twice", (A, B), (A, A), False),  # MLX: confused
    ("one array twice", (A, A), (B, B), True),
    ("which of three arrays are one", (A, A, B), (A, B, A), False),  # MLX: confused
    ("dtypes of arrays", (A,), (A.astype(mx.int32),), False),
    ("shapes of arrays", (A,), (mx.zeros((3,)),), False),
    ("ranks of arrays", (A,), (mx.zeros((2, 1)),), False),
    ("values of arrays", (A,), (B,), True),
    ("numpy arrays", (np.ones(2, np.float32),), (A,), True),
    ("numpy scalars", (np.float32(1),), (np.float32(2),), True),
    ("a numpy scalar and a number", (A, np.float32(1)), (A, 1.0), False),
    ("a number of arguments", (A,), (A, B), False),
]


@pytest.mark.parametrize("first, second, shared", [p[1:] for p in PAIRS], ids=[p[0] for p in PAIRS])
def test_which_calls_share_a_trace(first, second, shared):
    def here(*args):
        return args

    compiled = mx.compile(here)
    assert traced(lambda: compiled(*first)) == 1
    assert traced(lambda: compiled(*second)) == (0 if shared else 1)
    assert traced(lambda: (compiled(*first), compiled(*second))) == 0


def test_keyword_arguments_in_any_order_and_not_confused_with_positional_ones():
    @mx.compile
    def here(*args, **kwargs):
        return sum(args, mx.array(0)) + sum((k == "a") * v for k, v in kwargs.items())

    assert traced(lambda: here(a=A, b=B)) == 1
    assert traced(lambda: here(b=B, a=A)) == 0
    assert traced(lambda: here({"a": A, "b": B}["a"], b=B)) == 1
    assert mx.array_equal(here(a=A, b=B), A) and mx.array_equal(here(b=A, a=B), B)


def test_dicts_in_another_order_give_the_same_numbers():
    @mx.compile
    def here(d):
        return d["a"] - d["b"]

    assert mx.array_equal(here({"a": A, "b": B}), A - B)
    assert mx.array_equal(here({"b": B, "a": A}), A - B)


def test_the_mode_is_part_of_the_key_and_traces_wait_for_its_return():
    compiled = mx.compile(lambda x: mx.exp(x) + 1)
    assert traced(lambda: compiled(A)) == 1
    with mx.compile_mode("no_fuse"):
        assert traced(lambda: compiled(A)) == 1
    assert traced(lambda: compiled(A)) == 0


def test_shapeless_is_part_of_the_key():
    def here(x):
        return x + 1

    assert traced(lambda: mx.compile(here)(A)) == 1
    assert traced(lambda: mx.compile(here, shapeless=True)(A)) == 1
    assert traced(lambda: mx.compile(here, shapeless=True)(mx.zeros((5, 2)))) == 0
    assert traced(lambda: mx.compile(here)(mx.zeros((5, 2)))) == 1


REFUSED = [
    ((A, object()), r"args\[1\] is of type object"),
    (({"w": [A, B, THING]},), r"args\[0\]\['w'\]\[2\] is of type Thing.*register_tree_node"),
    (({3: THING},), r"args\[0\]\[3\] is of type Thing"),
    ((optim.SGD(0.1),), r"args\[0\] is of type SGD.*Capture its state"),
    ((slice(0, THING),), r"args\[0\] is of type slice"),
]


@pytest.mark.parametrize("args, text", REFUSED)
def test_other_leaves_are_refused_with_their_path(args, text):
    with pytest.raises(ValueError, match=text):
        mx.compile(lambda *args: None)(*args)
    with pytest.raises(ValueError, match=text.replace(r"args\[0\]", "kwargs.'k'.", 1) if "args\\[0" in text else "kwargs"):
        mx.compile(lambda **kwargs: None)(k=args[0], l=args[-1])


def test_a_tree_that_contains_itself_is_an_error():
    loop = [A]
    loop.append(loop)
    with pytest.raises(RecursionError, match="hold itself"):
        mx.compile(lambda x: x)(loop)


# ---- captured trees ------------------------------------------------------------------------


def test_constants_in_captured_trees_are_part_of_the_key():
    # MLX: the first value for ever.
    state = {"scale": 2.0, "w": A}
    compiled = mx.compile(lambda x: x * state["w"] * state["scale"], inputs=state)
    assert mx.array_equal(compiled(B), B * A * 2)
    state["scale"] = 5.0
    assert mx.array_equal(compiled(B), B * A * 5)
    state["scale"] = 2.0
    assert traced(lambda: compiled(B)) == 0


def test_attributes_of_captured_modules_are_part_of_the_key():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.LayerNorm(2))
    compiled = mx.compile(lambda x: model(x), inputs=[model.state, mx.random.state], outputs=mx.random.state)
    x = mx.ones((1, 2))
    assert traced(lambda: compiled(x)) == 1
    model.eval()
    assert traced(lambda: compiled(x)) == 1
    assert mx.array_equal(compiled(x), model(x))
    model.layers[2].eps = 1.0
    assert traced(lambda: compiled(x)) == 1
    assert mx.array_equal(compiled(x), model(x))
    model.layers[2].eps = 1e-5
    model.train()
    assert traced(lambda: compiled(x)) == 0


def test_attributes_of_captured_optimizers_are_part_of_the_key():
    model, optimizer = nn.Linear(2, 1), optim.SGD(0.1, momentum=0.9)

    def step(x):
        loss, grads = nn.value_and_grad(model, lambda x: model(x).sum())(x)
        optimizer.update(model, grads)
        return loss

    state = [model.state, optimizer.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    x = mx.ones((1, 2))
    assert traced(lambda: compiled(x)) == 1
    assert traced(lambda: compiled(x)) == 1  # its state has grown
    assert traced(lambda: compiled(x)) == 0
    optimizer.momentum = 0.5
    assert traced(lambda: compiled(x)) == 1
    optimizer.learning_rate = 0.01  # an array: no reason to trace
    assert traced(lambda: compiled(x)) == 0


def test_numpy_arrays_cannot_be_captured():
    state = [np.ones(2)]
    with pytest.raises(ValueError, match=r"inputs\[0\] is of type ndarray.*mx.array"):
        mx.compile(lambda x: x + state[0], inputs=state)(A)


# ---- the cache -----------------------------------------------------------------------------


def test_numbers_can_be_traced():
    compiled = mx.compile(lambda x, n, flag: mx.where(flag, x * n, x), traced_scalars=True)
    assert mx.array_equal(compiled(A, 2, True), A * 2)
    assert traced(lambda: [compiled(A, n, n > 3) for n in range(6)]) == 0
    assert mx.array_equal(compiled(A, 7, True), A * 7)
    assert traced(lambda: compiled(A, 2.5, True)) == 1  # an int is another dtype than a float
    assert mx.array_equal(compiled(A, 2.5, True), A * 2.5)


def test_the_least_recently_used_trace_goes():
    compiled = mx.compile(lambda x, n: x + n, cache_size=2)
    assert traced(lambda: [compiled(A, n) for n in (1, 2)]) == 2
    assert traced(lambda: [compiled(A, n) for n in (1, 3)]) == 1
    assert traced(lambda: compiled(A, 1)) == 0
    assert traced(lambda: compiled(A, 2)) == 1


def test_a_thousand_signatures_are_kept():
    compiled = mx.compile(lambda x, n: n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mx.RecompileWarning)
        assert traced(lambda: [compiled(A, n) for n in range(1000)]) == 1000
    assert traced(lambda: [compiled(A, n) for n in range(1000)]) == 0


KEEPS_CHANGING = [
    (lambda c, n: c(A, n), r"args\[1\] took 32 values: pass it as mx.array\(…\)"),
    (lambda c, n: c(mx.zeros((n,)), 0), r"args\[0\].shape\[0\] took 32 values: shapeless=True"),
    (lambda c, n: c(A, lambda: n), r"args\[1\] took 32 values: .*identity"),
    (lambda c, n: c(A, n=n), r"kwargs\['n'\] took 32 values"),
]


@pytest.mark.parametrize("call, text", KEEPS_CHANGING)
def test_many_traces_warn_once_at_the_callers_line(call, text):
    compiled = mx.compile(lambda x, n: x)
    kept = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for n in range(40):
            kept.append(call(compiled, n))
    assert [w.category for w in found] == [mx.RecompileWarning]
    assert found[0].filename == __file__
    with pytest.raises(mx.RecompileWarning, match=text):
        raise found[0].message


def test_why_a_call_traced():
    compiled = mx.compile(lambda x, d: x)
    compiled(A, {"n": 1})
    assert compiled.why() == []
    compiled(A, {"n": 2})
    assert compiled.why() == [("args[1]['n'] was 1, is 2", "pass it as mx.array(…), or compile with traced_scalars=True")]
    compiled(mx.zeros((3,), mx.float16), {"n": 2})
    assert [text for text, _ in compiled.why()] == [
        "args[0].dtype was float32, is float16",
        "args[0].shape[0] was 2, is 3",
    ]
    compiled(mx.zeros((3,), mx.float16), {"m": 2})
    assert compiled.why()[0][0] == "args[1]['m'] was the key 'n', is the key 'm'"


# ---- which functions are one ---------------------------------------------------------------


class Layer:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return x * self.scale

    def forward(self, x):
        return x * self.scale

    @mx.compile
    def decorated(self_scale, x):
        return self_scale * x


def test_a_bound_method_is_its_object_and_its_function():
    one, two = Layer(2.0), Layer(3.0)
    assert traced(lambda: mx.compile(one.forward)(A)) == 1
    assert traced(lambda: mx.compile(one.forward)(B)) == 0
    assert traced(lambda: mx.compile(two.forward)(A)) == 1
    assert mx.array_equal(mx.compile(two.forward)(A), A * 3)
    assert traced(lambda: [mx.compile(one)(A), mx.compile(one)(A)]) == 1
    assert traced(lambda: mx.compile(two)(A)) == 1


def test_a_partial_is_its_contents():
    def here(x, n, by=None):
        return x * n if by is None else x * by

    assert traced(lambda: mx.compile(functools.partial(here, n=2))(A)) == 1
    assert traced(lambda: mx.compile(functools.partial(here, n=2))(A)) == 0
    assert traced(lambda: mx.compile(functools.partial(here, n=2.0))(A)) == 1
    assert traced(lambda: mx.compile(functools.partial(functools.partial(here), n=2))(A)) <= 1
    assert traced(lambda: mx.compile(functools.partial(here, n=2, by=B))(A)) == 1
    assert traced(lambda: mx.compile(functools.partial(here, n=2, by=B))(A)) == 0
    assert mx.array_equal(mx.compile(functools.partial(here, n=2, by=A))(B), A * B)


def test_functions_at_a_recycled_address_are_not_confused():
    # MLX keys by id(): a new function at the address of a dead one gets its trace.
    seen = set()
    for n in range(200):

        def here(x, n=n):
            return x + n

        seen.add(id(here))
        assert mx.compile(here)(mx.array(0)).item() == n
        del here
    assert len(seen) < 200  # addresses were recycled, so this tests something


def test_a_function_and_its_wrapper_are_two():
    def here(x):
        return x * x

    x = mx.array(3.0)
    assert mx.compile(here)(x).item() == 9
    assert mx.compile(mx.grad(here))(x).item() == 6
