"""What attributes of captured modules and optimizers hold: a change of it, however deep and however made, is never overlooked."""

import argparse
import array
import collections
import dataclasses
import enum
import functools
import math
import sys
import types
import weakref

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli import _reach


def traced(call):
    """How many traces a call costs."""
    before = mx.compile_stats()["traces"]
    call()
    return mx.compile_stats()["traces"] - before


class Holder:
    def __init__(self, value):
        self.v = value


class Model(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.w, self.held = mx.ones(2), held


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = mx.ones(2)

    def __call__(self):
        return self.w * (2.0 if self.training else 3.0)


@dataclasses.dataclass
class Options:
    net: nn.Module | None = None

    def __post_init__(self):
        self.extra = 1.0


class MoreOptions(Options):
    pass


class Millis(int):
    pass


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Grid(np.ndarray):
    pass


class Scales:
    scale = 1.0


def with_attribute(value):
    value.extra = 1.0
    return value


def extra(value):
    return value.extra


SEEN, KEPT = {"a": 1.0}, Net()

# What a module holds, what the function reads of it, and how that changes.
HELD = {
    "a namespace of arguments": (argparse.Namespace(extra=1.0), extra, lambda v: setattr(v, "extra", 2.0)),
    "a dataclass beside its fields": (Options(), extra, lambda v: setattr(v, "extra", 2.0)),
    "a class derived from a dataclass": (MoreOptions(), extra, lambda v: setattr(v, "extra", 2.0)),
    "a module in a dataclass": (Options(Net()), lambda v: v.net(), lambda v: v.net.eval()),
    "weights in a dataclass": (Options(Net()), lambda v: v.net(), lambda v: v.net.update({"w": mx.zeros(2)})),
    "a module in an object": (Holder(Net()), lambda v: v.v(), lambda v: v.v.eval()),
    "weights in an object": (Holder(Net()), lambda v: v.v(), lambda v: setattr(v.v, "w", mx.zeros(2))),
    "weights updated in place": (Holder(Net()), lambda v: v.v(), lambda v: v.v.w.__setitem__(0, 5.0)),
    "an optimizer in an object": (Holder(optim.SGD(0.1)), lambda v: v.v.momentum, lambda v: setattr(v.v, "momentum", 0.5)),
    "its learning rate": (Holder(optim.SGD(0.1)), lambda v: v.v.learning_rate, lambda v: setattr(v.v, "learning_rate", 0.5)),
    "its state": (Holder(optim.SGD(0.1)), lambda v: v.v.learning_rate, lambda v: setattr(v.v, "state", {"learning_rate": mx.array(0.5)})),
    "an array updated in place": (Holder(mx.ones(2)), lambda v: v.v, lambda v: v.v.__setitem__(0, 5.0)),
    "an array in a list": (Holder([mx.ones(2)]), lambda v: v.v[0], lambda v: v.v.__setitem__(0, mx.zeros(2))),
    "an ordered dict": (Holder(collections.OrderedDict(a=1.0)), lambda v: v.v["a"], lambda v: v.v.update(a=2.0)),
    "its order": (Holder(collections.OrderedDict(a=1.0, b=3.0)), lambda v: [*v.v.values()][0], lambda v: v.v.move_to_end("a")),
    "a counter": (Holder(collections.Counter("aa")), lambda v: v.v["a"], lambda v: v.v.update("a")),
    "a dict with defaults": (Holder(collections.defaultdict(int)), lambda v: v.v.get(1, 1), lambda v: v.v.update({1: 5})),
    "a UserDict": (collections.UserDict(a=1.0), lambda v: v["a"], lambda v: v.update(a=2.0)),
    "a UserList": (collections.UserList([1.0]), lambda v: v[0], lambda v: v.insert(0, 2.0)),
    "a view of a dict": (types.MappingProxyType(SEEN), lambda v: v["a"], lambda v: SEEN.update(a=2.0)),
    "a bytearray": (bytearray(b"ab"), lambda v: v[0], lambda v: v.reverse()),
    "an array of Python's": (array.array("d", [1.0]), lambda v: v[0], lambda v: v.__setitem__(0, 2.0)),
    "an array of objects": (np.array([1.0, None], dtype=object), lambda v: v[0], lambda v: v.__setitem__(0, 2.0)),
    "a masked array": (np.ma.array([1.0, 2.0]), lambda v: float(v.sum()), lambda v: v.__setitem__(0, np.ma.masked)),
    "an array of a derived class": (np.ones(2).view(Grid), lambda v: float(v[0]), lambda v: v.__setitem__(0, 2.0)),
    "an attribute of such": (with_attribute(np.ones(2).view(Grid)), extra, lambda v: setattr(v, "extra", 2.0)),
    "an attribute of an int": (with_attribute(Millis(1)), extra, lambda v: setattr(v, "extra", 2.0)),
    "an attribute of a member": (with_attribute(Colour.RED), extra, lambda v: setattr(v, "extra", 2.0)),
    "an attribute of a number's member": (with_attribute(Level.LOW), extra, lambda v: setattr(v, "extra", 2.0)),
    "an attribute of an object's class": (Scales(), lambda v: v.scale, lambda v: setattr(Scales, "scale", 2.0)),
    "an attribute of a class": (Scales, lambda v: v.scale, lambda v: setattr(Scales, "scale", 3.0)),
    "a module that is referred to weakly": (weakref.ref(KEPT), lambda v: v()(), lambda v: v().eval()),
    "what is referred to weakly": (weakref.ref(Colour), lambda v: v().RED.extra, lambda v: setattr(v().RED, "extra", 7.0)),
}


@pytest.mark.parametrize("what", HELD)
def test_what_is_held_is_part_of_the_key(what):
    held, read, change = HELD[what]
    model = Model(held)
    compiled = mx.compile(lambda x: x * read(model.held), inputs=model)
    plain = lambda x: x * read(model.held)
    for act in (lambda v: None, change):
        act(held)
        assert mx.array_equal(compiled(mx.ones(2)), plain(mx.ones(2)))
        assert traced(lambda: compiled(mx.ones(2))) == 0


class Own(nn.Module):
    scale = 2.0

    def __init__(self):
        super().__init__()
        self.by = 3.0


@pytest.mark.parametrize(
    "write",
    [
        lambda m, o: m.__dict__.update(by=5.0),
        lambda m, o: object.__setattr__(m, "by", 5.0),
        lambda m, o: object.__delattr__(m, "by"),
        lambda m, o: setattr(Own, "scale", Own.scale + 1.0),
        lambda m, o: o.__dict__.update(momentum=0.75),
    ],
)
def test_what_is_written_past_an_object_is_part_of_the_key(write):
    model, optimizer = Own(), optim.SGD(0.1, momentum=0.5)
    fun = lambda x: x * getattr(model, "by", 1.0) * model.scale * optimizer.momentum
    compiled = mx.compile(fun, inputs=[model, optimizer.state])
    for act in (lambda m, o: None, write):
        act(model, optimizer)
        assert mx.array_equal(compiled(mx.ones(2)), fun(mx.ones(2)))
        assert traced(lambda: compiled(mx.ones(2))) == 0


NUMBERS = [np.float32(3), np.float64(3), np.float16(3), np.longdouble(3), np.complex64(3), np.int64(3), np.int32(3), np.uint8(3), np.bool_(True)]


def test_numbers_of_numpys_are_values_wherever_it_is_installed(monkeypatch):
    is_users = _reach.is_users
    monkeypatch.setattr(_reach, "is_users", lambda module: module == "numpy" or is_users(module))
    module = nn.Module()

    def version(value):
        module.value = value
        return module._version

    assert len({version(n) for n in NUMBERS}) == len(NUMBERS)
    for n in NUMBERS:
        assert version(n) == version(type(n)(n)) != version(type(n)(0))
    assert version(np.float32(0)) != version(np.float32(-0.0)) and version(np.float32(math.nan)) == version(np.float32(math.nan))
    assert version(np.datetime64(3, "s")) != version(np.datetime64(3, "D"))
    assert not module._loose


def test_whose_a_module_is(tmp_path, monkeypatch):
    def check(file, is_users):
        module = types.ModuleType("some_package.part")
        module.__file__ = str(tmp_path / file / "some_package" / "part.py")
        monkeypatch.setitem(sys.modules, "some_package.part", module)
        assert _reach.is_users("some_package.part") is is_users

    (tmp_path / "target" / "other-1.0.dist-info").mkdir(parents=True)
    check("target", False)
    check("dist-packages", False)
    check("project", True)
    assert not _reach.is_users("lazuli.nn") and not _reach.is_users("json") and not _reach.is_users("numpy")
    sys.modules["some_package.part"].__file__ = str(tmp_path / f"part{_reach._IN_C[0]}")
    assert not _reach.is_users("some_package.part")


def test_objects_that_show_nothing_count_by_identity():
    model = Model(object())  # cannot be referred to weakly either
    compiled = mx.compile(lambda x: x * id(model.held), inputs=model)
    assert traced(lambda: [compiled(mx.ones(2)) for _ in range(2)]) == 1
    for _ in range(20):
        model.held = object()  # at an address that was another's, now and then
        assert traced(lambda: compiled(mx.ones(2))) == 1


def test_a_weak_reference_stays_weak():
    net = Net()
    model, alive = Model(weakref.ref(net)), weakref.ref(net)
    compiled = mx.compile(lambda x: x if model.held() is None else x * model.held()(), inputs=model)
    assert compiled(mx.ones(2)).tolist() == [2.0, 2.0]
    del net
    assert alive() is None and compiled(mx.array([3.0, 3.0])).tolist() == [3.0, 3.0]


class Training(nn.Module):
    """Holds, in objects, what is captured with it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.held = Holder({"owner": self, "layer": self.layer, "weight": self.layer.weight, "again": functools.partial(print, self)})

    def __call__(self, x):
        return self.layer(x).sum()


def test_captured_state_that_attributes_lead_to_is_no_reason_to_trace():
    def run(compiled):
        mx.random.seed(1)
        model, optimizer = Training(), optim.Adam(0.1)

        def step(x):
            loss, grads = nn.value_and_grad(model, lambda x: model(x))(x)
            optimizer.update(model, grads)
            return loss

        state = [model.state, optimizer.state]
        call = mx.compile(step, inputs=state, outputs=state) if compiled else step
        return [call(mx.ones((1, 2))).item() for _ in range(6)]

    assert traced(lambda: run(True)) <= 3  # the optimizer's state grows at the first
    assert run(True) == pytest.approx(run(False), rel=1e-6)
