"""When a call of a compiled function reuses a trace.

Where MLX 0.32.4 was found to confuse two calls (and to return the first one's numbers for the second), the case says so.
"""

import collections
import dataclasses
import enum
import functools
import itertools
import math
import struct
import types
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


class MyDict(dict):
    pass


class Attributed(dict):
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


OD = collections.OrderedDict


def default(**entries):
    return collections.defaultdict(list, entries)


def rearranged(ordered):
    ordered.move_to_end("a")
    return ordered


def helper(x):
    return x


class Thing:
    def method(self):
        return 1


THING, OTHER_THING = Thing(), Thing()
LIST, DICT = [A], {"a": A}

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
    ("dicts", ({"a": A, "b": B},), ({"a": B, "b": A},), True),
    ("dicts in another order", ({"a": A, "b": B},), ({"b": B, "a": A},), False),
    ("nested dicts in another order", ([{"n": {"a": A, "b": B}}],), ([{"n": {"b": B, "a": A}}],), False),
    ("dicts in another order, of keys that are no strings", ({1: A, (2, "x"): B},), ({(2, "x"): B, 1: A},), False),
    ("default dicts in another order", (default(a=A, b=B),), (default(b=B, a=A),), False),
    ("ordered dicts in another order", (OD(a=A, b=B),), (OD(b=B, a=A),), False),
    ("ordered dicts of which one was rearranged", (OD(a=A, b=B),), (rearranged(OD(a=A, b=B)),), False),
    ("attributes in another order", (Attributed(x=1, y=2),), (Attributed(y=2, x=1),), False),
    ("attributes", (Attributed(x=1, y=2),), (Attributed(x=1, y=2),), True),
    ("the same array in two places of dicts", ({"a": A, "b": A},), ({"a": B, "b": B},), True),
    ("dicts with other keys", ({"a": A},), ({"b": A},), False),
    ("dicts with keys 1 and '1'", ({1: A},), ({"1": A},), False),
    ("dicts with keys 1 and True", ({1: A},), ({True: A},), False),
    ("an ordered dict and a dict", ({"a": A},), (collections.OrderedDict(a=A),), False),
    ("two arrays and one twice", (A, B), (A, A), False),  # MLX: confused
    ("one array twice", (A, A), (B, B), True),
    ("which of three arrays are one", (A, A, B), (A, B, A), False),  # MLX: confused
    ("one list twice and two lists", (LIST, LIST), ([A], [A]), False),
    ("one dict twice and two dicts", ([DICT, DICT],), ([{"a": A}, {"a": A}],), False),
    ("one empty list twice and two", ([LIST[1:]] * 2,), ([[], []],), False),
    ("which of three lists are one", (LIST, LIST, [A]), (LIST, [A], LIST), False),
    ("one tuple twice and two tuples", ((A,), (A,)), ((LIST[0],),) * 2, True),
    ("dtypes of arrays", (A,), (A.astype(mx.int32),), False),
    ("shapes of arrays", (A,), (mx.zeros((3,)),), False),
    ("ranks of arrays", (A,), (mx.zeros((2, 1)),), False),
    ("values of arrays", (A,), (B,), True),
    ("numpy arrays", (np.ones(2, np.float32),), (A,), True),
    ("numpy scalars", (np.float32(1),), (np.float32(2),), True),
    ("numpy scalars of float64", (A, np.float64(1)), (A, np.float64(1)), True),
    ("other numpy scalars of float64", (A, np.float64(1)), (A, np.float64(2)), True),
    ("numpy integers", (A, np.int64(1)), (A, np.int64(1)), True),
    ("other numpy integers", (A, np.int64(1)), (A, np.int64(2)), False),
    ("numpy integers of two dtypes", (A, np.int64(1)), (A, np.int32(1)), False),
    ("numpy bools", (A, np.True_), (A, np.bool_(1)), True),
    ("other numpy bools", (A, np.True_), (A, np.False_), False),
    ("a numpy integer and a number", (A, np.int64(1)), (A, 1), False),
    ("a numpy bool and a bool", (A, np.True_), (A, True), False),
    ("a float of numpy's and one of Python's", (A, np.float64(1)), (A, 1.0), False),
    ("numpy's complex zeros by sign", (A, np.complex128(0)), (A, np.complex128(-0.0)), True),
    ("a numpy scalar and a number", (A, np.float32(1)), (A, 1.0), False),
    ("texts of numpy's", (A, np.str_("a")), (A, np.str_("a")), True),
    ("other texts of numpy's", (A, np.str_("a")), (A, np.str_("b")), False),
    ("bytes of numpy's", (A, np.bytes_(b"a")), (A, np.bytes_(b"b")), False),
    ("a text of numpy's and one of Python's", (A, np.str_("a")), (A, "a"), False),
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


def test_keyword_arguments_are_not_confused_with_positional_ones():
    @mx.compile
    def here(*args, **kwargs):
        return sum(args, mx.array(0)) + sum((k == "a") * v for k, v in kwargs.items())

    assert traced(lambda: here(a=A, b=B)) == 1
    assert traced(lambda: here({"a": A, "b": B}["a"], b=B)) == 1
    assert mx.array_equal(here(a=A, b=B), A) and mx.array_equal(here(b=A, a=B), B)


def weighed(d):
    """A number that depends on the order of a dict."""
    return sum(((i + 1) * v for i, v in enumerate(d.values())), mx.array(0.0))


def weighed_attributes(d):
    return weighed(vars(d)) * A


# The function, and the calls: each pair differs by an order alone, and gives other numbers.
ORDERS = [
    ("a dict", weighed, ({"a": A, "b": B},), ({"b": B, "a": A},)),
    ("a nested dict", lambda t: weighed(t[0]["n"]), ([{"n": {"a": A, "b": B}}],), ([{"n": {"b": B, "a": A}}],)),
    ("a dict with keys that are no strings", weighed, ({1: A, None: B},), ({None: B, 1: A},)),
    ("a dict with functions for keys", weighed, ({helper: A, weighed: B},), ({weighed: B, helper: A},)),
    ("a derived dict", weighed, (MyDict(a=A, b=B),), (MyDict(b=B, a=A),)),
    ("a default dict", weighed, (default(a=A, b=B),), (default(b=B, a=A),)),
    ("an ordered dict", weighed, (OD(a=A, b=B),), (OD(b=B, a=A),)),
    ("an ordered dict, rearranged", weighed, (OD(a=A, b=B),), (rearranged(OD(a=A, b=B)),)),
    ("a dict of one array", weighed, ({"a": A, "b": A, "c": B},), ({"a": A, "c": B, "b": A},)),
    ("a dict of numbers", lambda d: A * weighed(d), ({"a": 1, "b": 2},), ({"b": 2, "a": 1},)),
    ("a dict of numpy arrays", weighed, ({"a": np.ones(2), "b": np.zeros(2)},), ({"b": np.zeros(2), "a": np.ones(2)},)),
    ("attributes", weighed_attributes, (Attributed(x=1, y=2),), (Attributed(y=2, x=1),)),
]


@pytest.mark.parametrize("shapeless", [False, True])
@pytest.mark.parametrize("fun, first, second", [o[1:] for o in ORDERS], ids=[o[0] for o in ORDERS])
def test_an_order_that_a_function_can_see_is_looked_at(fun, first, second, shapeless):
    compiled = mx.compile(fun, shapeless=shapeless)
    assert not mx.array_equal(fun(*first), fun(*second))
    for args in (first, second, first):
        assert mx.array_equal(compiled(*args), fun(*args))


def test_what_is_returned_keeps_the_order_of_each_call():
    compiled = mx.compile(lambda d: {k: v + 1 for k, v in d.items()})
    assert list(compiled({"a": A, "b": B})) == ["a", "b"]
    assert list(compiled({"b": B, "a": A})) == ["b", "a"]
    assert list(mx.compile(lambda d: d)(rearranged(OD(a=A, b=B)))) == ["b", "a"]


class Called:
    def __call__(self, a, b):
        return a - b

    def method(self, a, b):
        return a - b

    def all_of(self, **kwargs):
        return weighed(kwargs)


def minus(a, b, c=0):
    return a - b - c


def all_of(**kwargs):
    return weighed(kwargs)


# Whether the order of keyword arguments is looked at: only where the function has **kwargs, or is not known not to.
KEYWORDS = [
    ("a function", minus, False),
    ("a method", Called().method, False),
    ("an object", Called(), False),
    ("a partial", functools.partial(minus, c=2.0), False),
    ("a partial of a method", functools.partial(Called().method), False),
    ("**kwargs", all_of, True),
    ("**kwargs of a method", Called().all_of, True),
    ("**kwargs of a partial", functools.partial(all_of, c=2.0), True),
    ("a wrapper", functools.wraps(minus)(lambda *args, **kwargs: weighed(kwargs)), True),
]


@pytest.mark.parametrize("fun, seen", [k[1:] for k in KEYWORDS], ids=[k[0] for k in KEYWORDS])
def test_the_order_of_keyword_arguments_is_looked_at_where_it_can_be_seen(fun, seen):
    compiled = mx.compile(fun)
    for arguments in ({"a": A, "b": B}, {"b": B, "a": A}):
        assert mx.array_equal(compiled(**arguments), fun(**arguments))
    assert traced(lambda: [compiled(a=A, b=B), compiled(b=B, a=A)]) == 0
    assert len(compiled.why()) == int(seen)


@pytest.mark.parametrize("fun, shared", [(minus, True), (all_of, False)])
def test_the_order_of_what_a_partial_holds(fun, shared):
    one, two = functools.partial(fun, a=A, b=B), functools.partial(fun, b=B, a=A)
    assert traced(lambda: mx.compile(one)()) == 1
    assert traced(lambda: mx.compile(two)()) == (0 if shared else 1)
    assert mx.array_equal(mx.compile(two)(), two())


@pytest.mark.parametrize("cls", [dict, MyDict, OD])
def test_the_order_of_captured_dicts_is_looked_at(cls):
    state = cls(a=A, b=B)
    compiled = mx.compile(lambda: weighed(state), inputs=state)
    assert mx.array_equal(compiled(), weighed(state))
    state["a"] = state.pop("a")
    assert mx.array_equal(compiled(), weighed(state)) and list(state) == ["b", "a"]
    assert compiled.why()[0][0] == "the order of the keys of inputs was ['a', 'b'], is ['b', 'a']"


@pytest.mark.parametrize("cls", [dict, MyDict, OD])
def test_a_call_leaves_captured_dicts_in_the_order_in_which_the_function_does(cls):
    def step(state):
        first = next(iter(state))
        state[first] = state.pop(first) + 1  # now the last
        state.setdefault("new", A)
        return weighed(state)

    plain, captured = cls(a=A, b=B, c=A), cls(a=A, b=B, c=A)
    compiled = mx.compile(lambda: step(captured), inputs=captured, outputs=captured)
    for _ in range(9):
        assert mx.array_equal(compiled(), step(plain))
        assert list(captured) == list(plain)
        assert all(mx.array_equal(captured[k], plain[k]) for k in plain)


def test_a_captured_ordered_dict_is_put_back_whole_after_an_error():
    state = rearranged(OD(a=A, b=B))

    def fail():
        state["c"] = A
        del state["a"]
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        mx.compile(fail, inputs=state, outputs=state)()
    assert list(state.items()) == [("b", B), ("a", A)]


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


def test_there_is_one_device_and_one_stream():
    assert mx.device_count(mx.cpu) == 1 and mx.device_count(mx.gpu) == 0
    for set_default in (mx.set_default_device, mx.set_default_stream, mx.stream):
        with pytest.raises(ValueError, match="no GPU"):
            set_default(mx.gpu)
    assert mx.new_stream(mx.cpu) == mx.default_stream(mx.cpu)


REFUSED = [
    ((A, object()), r"args\[1\] is of type object"),
    (({"w": [A, B, THING]},), r"args\[0\]\['w'\]\[2\] is of type Thing.*register_tree_node"),
    (({3: THING},), r"args\[0\]\[3\] is of type Thing"),
    ((optim.SGD(0.1),), r"args\[0\] is of type SGD.*Capture its state"),
    ((slice(0, THING),), r"args\[0\] is of type slice"),
    (({"w": np.array(["a"])},), r"args\[0\]\['w'\] is of type ndarray, of which no array can be made: .*no dtype"),
    (({"w": np.array([None])},), r"args\[0\]\['w'\] is of type ndarray, of which no array can be made"),
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


@dataclasses.dataclass
class Options:
    scale: float = 2.0
    parts: list = dataclasses.field(default_factory=lambda: [1.0])


class Plain:
    def __init__(self, scale):
        self.scale = scale
        self.me = self

    def scaled(self, x):
        return x * self.scale


class Slots:
    __slots__ = ("scale",)


class Rows(list):
    pass


class Configured(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain = Plain(2.0)
        self.slots = Slots()
        self.slots.scale = 3.0
        self.rows = Rows([1.0])
        self.method = Plain(0.5).scaled
        self.part = functools.partial(Plain.scaled, Plain(1.5))
        self.options = Options()
        self.space = types.SimpleNamespace(nested=Options())
        self.set, self.queue = {1}, collections.deque([1.0])
        self.mask = np.array([1.0, 1.0])
        self.space.rows = np.arange(4.0).reshape(2, 2).T

    def __call__(self, x):
        x = x * self.options.scale * self.options.parts[0] * self.space.nested.scale
        x = self.part(self.method(x * self.plain.scale * self.slots.scale * self.rows[0]))
        return x * len(self.set) * self.queue[0] * float(self.mask.sum()) + float(self.space.rows[0, 1])


CHANGES = {
    "a dataclass": lambda m: setattr(m.options, "scale", 3.0),
    "a list in one": lambda m: m.options.parts.insert(0, 5.0),
    "a namespace": lambda m: setattr(m.space.nested, "scale", 7.0),
    "a set": lambda m: m.set.add(2),
    "a queue": lambda m: m.queue.appendleft(11.0),
    "an object": lambda m: setattr(m.plain, "scale", 4.0),
    "an object with slots": lambda m: setattr(m.slots, "scale", 5.0),
    "an object of a list's class": lambda m: m.rows.insert(0, 6.0),
    "the object of a method": lambda m: setattr(m.method.__self__, "scale", 7.0),
    "an object in a partial": lambda m: setattr(m.part.args[0], "scale", 8.0),
    "another object": lambda m: setattr(m, "plain", Plain(9.0)),
    "a numpy array": lambda m: m.mask.__setitem__(0, 3.0),
    "a numpy array in a namespace": lambda m: m.space.rows.__setitem__((0, 1), -1.0),
    "an object of itself": lambda m: setattr(m.space, "me", m.space),
}


def test_what_is_in_attributes_of_captured_modules_is_part_of_the_key():
    model = Configured()
    compiled = mx.compile(lambda x: model(x), inputs=model.state)
    for change in CHANGES.values():
        assert mx.array_equal(compiled(A), model(A))
        change(model)
        assert mx.array_equal(compiled(A), model(A))
        assert traced(lambda: compiled(A)) == 0
    assert not nn.Linear(2, 2)._loose  # nothing in it can change unseen


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


class Tuned(optim.Optimizer):
    def __init__(self):
        super().__init__()
        self.options, self.plain = {"scale": 2.0}, Plain(3.0)

    def init_single(self, parameter, state):
        pass

    def apply_single(self, gradient, parameter, state):
        return parameter - gradient * self.options["scale"] * self.plain.scale


def test_what_is_in_attributes_of_captured_optimizers_is_part_of_the_key():
    for wrap in (lambda o: o, lambda o: optim.MultiOptimizer([o], [])):
        tuned = Tuned()
        optimizer, model = wrap(tuned), {"w": mx.array([1.0, 2.0])}
        optimizer.init(model)
        compiled = mx.compile(lambda x: optimizer.apply_gradients({"w": x}, model)["w"], inputs=[optimizer.state, model], outputs=optimizer.state)
        for change in (lambda: None, lambda: tuned.options.update(scale=5.0), lambda: setattr(tuned.plain, "scale", 7.0)):
            change()
            assert mx.array_equal(compiled(A), model["w"] - A * tuned.options["scale"] * tuned.plain.scale)
            assert traced(lambda: compiled(A)) == 0
    assert not optim.Adam(0.1).state._loose and not optim.SGD(lambda step: 0.1).state._loose


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
    # numpy's too, which are constants otherwise.
    assert mx.array_equal(compiled(A, np.int64(2), np.True_), A * 2)
    assert traced(lambda: [compiled(A, np.int64(n), np.bool_(n > 3)) for n in range(6)]) == 0
    assert mx.array_equal(compiled(A, np.int64(7), np.True_), A * 7)


def test_the_least_recently_used_trace_goes():
    compiled = mx.compile(lambda x, n: x + n, cache_size=2)
    assert traced(lambda: [compiled(A, n) for n in (1, 2)]) == 2
    assert traced(lambda: [compiled(A, n) for n in (1, 3)]) == 1
    assert traced(lambda: compiled(A, 1)) == 0
    assert traced(lambda: compiled(A, 2)) == 1


@pytest.mark.parametrize("size", [0, -1])
def test_a_cache_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match=rf"^\[compile\] cache_size is {size}: 1 trace at least"):
        mx.compile(lambda x: x, cache_size=size)


def test_the_last_1024_signatures_are_kept():
    compiled = mx.compile(lambda x, n: n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mx.RecompileWarning)
        assert traced(lambda: [compiled(A, n) for n in range(1000)]) == 1000
        assert traced(lambda: [compiled(A, n) for n in range(1000)]) == 0
        assert traced(lambda: [compiled(A, n) for n in range(1000, 1025)]) == 25
    assert traced(lambda: [compiled(A, n) for n in range(1, 1025)]) == 0
    assert traced(lambda: compiled(A, 0)) == 1


def nth_order(n):
    return next(itertools.islice(itertools.permutations("abcde"), n, None))


KEEPS_CHANGING = [
    (lambda c, n: c(A, n), r"args\[1\] took 32 values: pass it as mx.array\(…\)"),
    (lambda c, n: c(mx.zeros((n,)), 0), r"args\[0\].shape\[0\] took 32 values: shapeless=True"),
    (lambda c, n: c(A, lambda: n), r"args\[1\] took 32 values: .*identity"),
    (lambda c, n: c(A, n=n), r"kwargs\['n'\] took 32 values"),
    (lambda c, n: c(A, dict.fromkeys(nth_order(n), 1)), r"the order of the keys of args\[1\] took 32 values: give them in one"),
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


REORDERED = [
    ({"a": A, "b": 1}, {"b": 1, "a": A}, "args[0] was ['a', 'b'], is ['b', 'a']"),
    ({"n": [{1: A, "b": B}]}, {"n": [{"b": B, 1: A}]}, "args[0]['n'][0] was [1, 'b'], is ['b', 1]"),
    ({"s": {}, "l": [], "a": A}, {"s": {}, "a": A, "l": []}, "args[0] was ['s', 'l', 'a'], is ['s', 'a', 'l']"),
    (OD(a=A, b=B), OD(b=B, a=A), "args[0] was ['a', 'b'], is ['b', 'a']"),
    (Attributed(x=1, y=2), Attributed(y=2, x=1), "args[0] was ['x', 'y'], is ['y', 'x']"),
    (
        {str(i): 0 for i in range(11)},
        {str(i): 0 for i in [0, *reversed(range(1, 11))]},
        "args[0] was […, '1', '2', '3', '4', '5', '6', '7', '8', …], is […, '10', '9', '8', '7', '6', '5', '4', '3', …]",
    ),
]


@pytest.mark.parametrize("first, second, text", REORDERED)
def test_why_a_call_with_another_order_traced(first, second, text):
    compiled = mx.compile(lambda d: mx.ones(2))
    compiled(first), compiled(second)
    what = "attributes" if isinstance(first, Attributed) else "keys"
    assert [why for why, _ in compiled.why()] == [f"the order of the {what} of {text}"]
    assert f"the order of the {what}" in str(compiled.explain(second))


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
