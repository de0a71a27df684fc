"""Captured trees, and what functions return."""

import collections
import dataclasses
import re
import types
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten, tree_map, tree_unflatten

X = mx.array([1.0, 2.0])


def traces():
    return mx.compile_stats()["traces"]


class Pair(NamedTuple):
    a: object
    b: object


class MyList(list):
    pass


class MyTuple(tuple):
    pass


class Row(dict):
    pass


class Counting(dict):
    """Counts what is put in."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.count = getattr(self, "count", 0) + 1

    def __repr__(self):
        return f"{dict(self)} of {self.count}"


class Of2(tuple):
    """Made of two values, not of one iterable."""

    def __new__(cls, a, b):
        new = super().__new__(cls, (a, b))
        new.name = "two"
        return new

    def __repr__(self):
        return f"{self.name}: {tuple(self)}"


def counting(x):
    counts = Counting()
    counts["x"] = x
    counts["x"] = x + 1
    return counts


# ---- results -----------------------------------------------------------------------------------


SHARED = {"set": {1, 2}}

RESULTS = {
    "nothing": lambda x: None,
    "no arrays": lambda x: (1, "a", 2.5, [True, {}], ()),
    "an input as is": lambda x: x,
    "the same array twice": lambda x: (lambda y: (y, [y]))(x + 1),
    "a constant array": lambda x: mx.zeros((2,)),
    "a named tuple": lambda x: Pair(x + 1, {"b": Pair(x, None)}),
    "a derived tuple": lambda x: MyTuple((x, 1)),
    "a derived list": lambda x: MyList([x, 1]),
    "a derived dict": lambda x: Row(x=x, n=1),
    "a derived dict that counts": counting,
    "a derived tuple with a constructor of its own": lambda x: Of2(x, x + 1),
    "an ordered dict": lambda x: collections.OrderedDict(b=x, a=x + 1),
    "a defaultdict": lambda x: collections.defaultdict(list, {"x": x}),
    "a set of its own": lambda x: (x, {1, 2}, frozenset((3,)), bytearray(b"x"), collections.deque((1,))),
    "a set that others hold": lambda x: (SHARED["set"], [SHARED["set"]]),
    "dtypes, slices and the like": lambda x: (mx.float32, slice(1), ..., b"x", 1 << 70),
}


@pytest.mark.parametrize("what", RESULTS)
def test_what_a_function_returns_comes_back(what):
    f = RESULTS[what]
    compiled = mx.compile(f)
    for x in (X, X + 1):
        got, expected = compiled(x), f(x)
        assert type(got) is type(expected)
        assert repr(got) == repr(expected)
        if isinstance(expected, collections.defaultdict):
            assert got["more"] == []


@pytest.mark.parametrize("make", [counting, lambda x: Of2(x, x * 2)])
def test_objects_of_derived_classes_arrive_as_they_are(make):
    compiled = mx.compile(lambda v: (type(v).__name__, dict(vars(v)), list(v), v["x"] if isinstance(v, dict) else v[1]))
    for x in (X, X + 1):
        assert repr(compiled(make(x))) == repr(compiled.__wrapped__(make(x)))


def test_results_are_new_containers_at_every_call():
    compiled = mx.compile(lambda x: {"x": [x]})
    first, second = compiled(X), compiled(X)
    first["x"].append(1)
    assert len(second["x"]) == 1 and len(compiled(X)["x"]) == 1


def test_what_a_caller_does_to_a_result_is_not_seen_by_the_next():
    compiled = mx.compile(lambda x: ({1}, collections.deque((1,)), bytearray(b"a"), np.zeros(1)))
    first = compiled(X)
    first[0].add(2), first[1].append(2), first[2].append(2), first[3].fill(2)
    assert repr(compiled(X)) == repr(compiled.__wrapped__(X))


@pytest.mark.parametrize("kind", [set, frozenset, collections.deque])
def test_arrays_in_what_is_no_tree_are_refused_as_results(kind):
    with pytest.raises(ValueError, match=rf"the result\[1\] of '.*' is a {kind.__name__} of arrays.*return a list"):
        mx.compile(lambda x: (x, kind([x])))(X)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Held:
    def __init__(self, x):
        self.parts = [1, {"w": x}]

    def method(self):
        return self.parts


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda x: types.SimpleNamespace(x=x + 1), "a SimpleNamespace that holds an array, .x,"),
        (lambda x: Slotted(x), "a Slotted that holds an array, .x,"),
        (lambda x: Held(x * 2), "a Held that holds an array, .parts[1]['w'],"),
        (lambda x: lambda: x, "a function that holds an array, x,"),
        (lambda x: mx.compile(lambda: x), "a CompiledFunction that holds an array, x,"),
        (lambda x: partial(mx.add, x), "a partial that holds an array, .args[0],"),
        (lambda x: Held(x).method, "a method that holds an array, .parts[1]['w'],"),
    ],
)
def test_arrays_in_objects_that_are_no_trees_are_refused_as_results(make, what):
    compiled = mx.compile(lambda x: (x, make(x)))
    for _ in range(2):
        with pytest.raises(ValueError, match=re.escape(f"the result[1] of '<lambda>' is {what}") + ".*register_tree_node"):
            compiled(X)


def test_objects_without_placeholders_are_results():
    held = Held(mx.ones(2))
    for result in (held, Slotted(3), held.method, Held, types, lambda: held, mx.float32, nn.Linear(1, 1).__call__):
        assert mx.compile(lambda x: (x, result))(X)[1] == result


# ---- captures ------------------------------------------------------------------------------------


def run_both(make):
    """What a function with state does compiled, and plain: its results and its state, over a few calls."""
    logs = []
    for compiled in (False, True):
        step, state, show = make()
        if compiled:
            step = mx.compile(step, inputs=state, outputs=state)
        log = []
        for n in range(7):
            result = step(mx.array(float(n)))
            log.append((repr(result), show()))
        logs.append(log)
    assert logs[1] == logs[0]


def update_in_list():
    state = [mx.array(1.0), [mx.array(2.0)]]

    def step(x):
        state[0] = state[0] + x
        state[1][0] = state[0] * 2
        return state[1][0]

    return step, state, lambda: repr(state)


def update_in_place():
    state = {"w": mx.array([1.0, 2.0]), "same": mx.array([5.0])}
    alias = state["w"]

    def step(x):
        state["w"] += x
        state["w"][0] = x
        return state["w"].sum()

    return step, state, lambda: repr((state, alias, state["w"] is alias))


def growing():
    state = {"history": []}

    def step(x):
        state["history"].append(x * 2)
        return len(state["history"])

    return step, state, lambda: repr(state)


def shrinking():
    state = {"queue": [mx.array(float(n)) for n in range(9)], "gone": mx.array(0.0)}

    def step(x):
        state.pop("gone", None)
        return state["queue"].pop(0) + x

    return step, state, lambda: repr(state)


def constants():
    state = {"n": 0, "name": "a", "w": mx.array(1.0)}

    def step(x):
        state["n"] += 1
        state["name"] = "b"
        state["w"] = state["w"] * state["n"]
        return state["n"]

    return step, state, lambda: repr(state)


def swap():
    state = [mx.array(1.0), mx.array(2.0)]
    first, second = state

    def step(x):
        state[0], state[1] = state[1], state[0] + x
        return state[0]

    return step, state, lambda: repr((state, first, second))


def in_a_tuple():
    state = ([mx.array(1.0)], {"b": mx.array(2.0)})

    def step(x):
        state[0][0] = state[0][0] + state[1]["b"]
        state[1]["b"] = x
        return None

    return step, state, lambda: repr(state)


def new_containers():
    state = {}

    def step(x):
        state.setdefault("deep", {"list": [x]})
        state["deep"] = {"list": [*state["deep"]["list"][-1:], x]}
        return len(state["deep"]["list"])

    return step, state, lambda: repr(state)


def one_container_in_two_places():
    history = []
    state = {"a": history, "b": history}

    def step(x):
        state["a"].append(x)
        if len(history) == 2:
            state["b"] = list(history)  # from now on they are two
        return len(state["b"])

    return step, state, lambda: repr((state, history, state["a"] is history))


def modules_that_are_one_and_then_two():
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    one.weight = two.weight = mx.array([[1.0]])
    one.bias = two.bias = mx.array([0.0])
    state, steps = [one, one], []

    def step(x):
        state[0].weight = state[0].weight * 2
        return state[1](x.reshape(1, 1))

    def show():
        steps.append(repr(tree_flatten(state)))
        if len(steps) == 2:
            one.weight, state[1] = two.weight, two
        return steps[-1]

    return step, state, show


def a_single_array():
    state = mx.array([1.0, 1.0])

    def step(x):
        nonlocal state
        state *= 2
        return state + x

    return step, [state], lambda: repr(state)


def a_module():
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm(2))
    model.layers[0].weight = mx.array([[1.0], [2.0]])
    model.layers[0].bias = mx.array([0.0, 1.0])

    def step(x):
        out = model(mx.stack([x, x + 1]).reshape(2, 1))
        model.layers[0].bias = model.layers[0].bias * 0.5
        return out

    return step, model.state, lambda: repr(tree_flatten(model.state))


def attributes_of_a_module():
    class Turns(nn.Module):
        def __init__(self):
            super().__init__()
            self.n, self.gone, self.scale = 0, 1, mx.array(2.0)
            self.inner = nn.Linear(2, 2)

        def __call__(self, x):
            self.n = (self.n + 1) % 3
            self.inner.last = f"{self.n} of 3"
            if self.n == 2:
                del self.gone
                self.inner.eval()
                self.scale = self.scale + x.sum()
            elif not hasattr(self, "gone"):
                self.gone = -1
                self.inner.train()
            return x * self.scale * self.n

    model = Turns()
    model.inner.update({"weight": mx.ones((2, 2)), "bias": mx.ones((2,))})

    def f(x):
        y = model(x)
        return y + model.inner(mx.stack([x, x + 1])), model.n

    return f, [model.state, {"seen": []}], lambda: (model.n, getattr(model, "gone", None), model.inner.last, model.inner.training, model.scale.item())


def an_optimizer():
    model, optimizer = nn.Linear(1, 1), optim.Adam(0.1)
    model.weight, model.bias = mx.array([[1.0]]), mx.array([0.5])

    def step(x):
        loss, grads = nn.value_and_grad(model, lambda x: (model(x) ** 2).sum())(x.reshape(1, 1))
        optimizer.update(model, grads)
        return loss

    return step, [model.state, optimizer.state], lambda: repr(tree_flatten([model.state, optimizer.state]))


def the_random_state():
    mx.random.seed(11)
    state = [mx.random.state, {"sum": mx.array(0.0)}]

    def step(x):
        state[1]["sum"] = state[1]["sum"] + mx.random.normal() * x
        return mx.random.uniform()

    return step, state, lambda: repr((state[1], mx.random.state[0]))


STATES = [
    update_in_list,
    update_in_place,
    growing,
    shrinking,
    constants,
    swap,
    in_a_tuple,
    new_containers,
    one_container_in_two_places,
    modules_that_are_one_and_then_two,
    a_single_array,
    a_module,
    attributes_of_a_module,
    an_optimizer,
    the_random_state,
]


@pytest.mark.parametrize("make", STATES)
def test_a_compiled_function_does_to_its_state_what_the_function_does(make):
    run_both(make)


def swaps(s, x):
    s["a"], s["b"] = s["b"], s["a"]
    s["a"][0] = s["a"][0] + x


def shifts(s, x):
    # What goes stays as it was, and what stays is the same object in another place.
    gone = s["layers"].pop(0)
    s["layers"].append({"x": gone["x"] * x})
    s["layers"][0]["x"] += 1
    s["layers"][0]["seen"] = x


def nests(s, x):
    s["new"] = {"was": s["a"], "pair": (s["b"], [s["layers"]])}
    s["a"].append(x)
    s["b"] = [s.get("old", x)]


def returns(s, x):
    s["layers"][0], s["layers"][1] = s["layers"][1], s["layers"][0]
    s["layers"] = s["layers"][::-1]
    s["layers"][-1]["x"] = x


@pytest.mark.parametrize("captured", [["inputs", "outputs"], ["outputs"]], ids=str)
@pytest.mark.parametrize("change", [swaps, shifts, nests, returns])
def test_containers_that_are_moved_stay_the_same_objects(change, captured):
    def run(compile):
        state = {"a": [mx.array(1.0)], "b": [mx.array(2.0)], "layers": [{"x": mx.array(3.0 + i)} for i in range(3)]}
        known = [state, state["a"], state["b"], state["layers"], *state["layers"]]
        step = compile(lambda x: change(state, x), **dict.fromkeys(captured, state))

        def which(v):
            number = next((i for i, k in enumerate(known) if k is v), None)
            if isinstance(v, dict):
                return number, {k: which(x) for k, x in v.items()}
            return (number, type(v), [which(x) for x in v]) if isinstance(v, (list, tuple)) else v.item()

        # State that is no input is what it was at the trace.
        for _ in range(3 if len(captured) == 2 else 1):
            step(mx.array(10.0))
            yield [which(k) for k in known]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mx.CaptureWarning)
        assert list(run(mx.compile)) == list(run(lambda f, **_: f))


def test_arrays_of_output_captures_that_are_updated_and_dropped_are_updated():
    def run(compile):
        state = {"a": mx.array(1.0), "list": []}

        def step(x):
            a, (b,) = state["a"], state["list"]
            a += x
            b *= x
            state["a"] = x
            del state["list"][:]

        step = compile(step, outputs=state)
        for start in (1.0, 1.0):
            a, b = state["a"], mx.array(2.0)
            state["list"].append(b)
            a[...] = start
            step(mx.array(3.0))
            yield a.item(), b.item(), state["a"].item(), len(state["list"])

    with pytest.warns(mx.CaptureWarning):
        assert list(run(mx.compile)) == list(run(lambda f, **_: f))


def test_state_that_grows_costs_one_more_trace():
    step, state, _ = an_optimizer()
    compiled = mx.compile(step, inputs=state, outputs=state)
    counts = []
    for n in range(4):
        before = traces()
        compiled(mx.array(1.0))
        counts.append(traces() - before)
    assert counts == [1, 1, 0, 0]


def test_outputs_without_inputs_start_from_the_traced_value():
    state = []

    @partial(mx.compile, outputs=state)
    def here(x):
        state.append(x)
        return len(state)

    assert here(X) == 1 and here(X + 1) == 1
    assert len(state) == 1 and state[0].tolist() == [2, 3]


def test_an_array_that_is_an_argument_and_captured():
    w = mx.array(2.0)
    state = {"w": w}
    compiled = mx.compile(lambda x: x * state["w"], inputs=state)
    assert compiled(w).item() == 4
    assert compiled(mx.array(3.0)).item() == 6


# Functions that are given what they have captured, or a part of it: what they do to the one they do to the other.
GIVEN_AND_CAPTURED = {
    "an array": lambda state, x: (x.__setitem__(0, 5.0), state["w"] * 2 + x)[1],
    "an array that is replaced": lambda state, x: (x.__setitem__(0, 5.0), state.update(w=state["w"] * 2 + x))[0],
    "an array that comes back": lambda state, x: (x.__iadd__(1), x)[1],
    "the container": lambda state, d: (d["d"].update(v=d["w"]), d["d"]["l"].append(1), state["d"]["v"] * len(state["d"]["l"]))[2],
    "a container in it": lambda state, d: (d.update(v=state["w"]), d["l"].append(1), state["d"]["v"] * len(state["d"]["l"]))[2],
}


@pytest.mark.parametrize("what", GIVEN_AND_CAPTURED)
def test_what_is_given_and_captured_is_one_object(what):
    f = GIVEN_AND_CAPTURED[what]
    pick = {"the container": lambda s: s, "a container in it": lambda s: s["d"]}.get(what, lambda s: s["w"])
    logs = []
    for compiled in (False, True):
        state = {"w": mx.array([1.0, 2.0]), "d": {"l": []}}
        step = partial(f, state)
        step = mx.compile(lambda x: f(state, x), inputs=state, outputs=state) if compiled else step
        logs.append([])
        for _ in range(3):
            kept = state["w"]
            result = step(pick(state))
            logs[-1].append(repr((result, state, kept, result is kept, state["w"] is kept)))
    assert logs[1] == logs[0]


def test_an_argument_that_is_captured_as_input_alone_is_updated_in_place():
    state = {"w": mx.array([1.0, 2.0])}

    @partial(mx.compile, inputs=state)
    def step(x):
        x[0] = state["w"][1] + 1
        return state["w"].sum()

    assert [step(state["w"]).item() for _ in range(2)] == [5, 5]
    assert state["w"].tolist() == [3, 2]
    assert step(mx.array([0.0, 0.0])).item() == 5 and state["w"].tolist() == [3, 2]


def test_tied_arrays_stay_tied():
    w = mx.array(2.0)
    state = {"a": w, "b": w}

    def step(x):
        state["a"] += x
        return state["b"]

    compiled = mx.compile(step, inputs=state, outputs=state)
    assert compiled(mx.array(1.0)).item() == 3
    assert compiled(mx.array(1.0)).item() == 4
    assert state["a"] is state["b"]


def test_a_new_container_that_stands_in_two_places_is_one():
    def step(state, x):
        if "a" not in state:
            new = [x, {"y": x * 2}]
            state["a"] = state["b"] = new
            state["t"] = (new[1], [new[1]])
        state["a"][0] = state["a"][0] + x
        state["b"][1]["y"] = state["t"][1][0]["y"] * 2
        return state["b"], state["b"], state["t"][0]

    plain, state = {}, {}
    compiled = mx.compile(lambda x: step(state, x), inputs=state, outputs=state)
    for x in range(4):
        if x == 2:  # as at the first call
            plain.clear()
            state.clear()
        want, got = step(plain, mx.array(float(x))), compiled(mx.array(float(x)))
        assert repr(got) == repr(want) and repr(state) == repr(plain)
        assert got[0] is got[1] and state["a"] is state["b"]
        assert state["a"][1] is state["t"][0] and state["t"][1][0] is state["t"][0]


def test_an_output_capture_that_changed_its_structure_is_an_error():
    state = {"x": [mx.array(0.0)]}

    def step(x):
        state["x"][0] = x

    compiled = mx.compile(step, outputs=state)
    compiled(X)
    state["x"] = []
    with pytest.raises(ValueError, match="a list of 1.*inputs="):
        compiled(X)


def test_an_output_capture_that_changed_leaves_all_state_as_it_was():
    state = {"a": mx.array(1.0), "x": [mx.array(2.0)], "t": (mx.array(3.0),), "z": mx.array(4.0)}

    def step(x):
        state["a"] = x
        state["x"][0] = x
        state["z"] = x
        return x

    compiled = mx.compile(step, outputs=state)
    compiled(mx.array(5.0))
    for changed in ([], None, {"x": X}):
        state["x"] = changed
        before = repr(state)
        with pytest.raises(ValueError, match="outputs= had.*inputs="):
            compiled(mx.array(7.0))
        assert repr(state) == before
    state["x"] = [X]
    compiled(mx.array(8.0))
    assert [state["a"].item(), state["x"][0].item(), state["z"].item()] == [8, 8, 8]


def test_state_that_is_no_longer_an_output_is_put_back_and_named():
    state = {"m": {"w": mx.array(1.0)}}

    def step(x):
        state["m"]["w"] = state["m"]["w"] + x
        return state["m"]["w"]

    for outputs in (state["m"], [state["m"]], ({"m": state["m"]},)):
        compiled = mx.compile(step, inputs=state, outputs=outputs)
        compiled(mx.array(1.0))
    kept, state["m"] = state["m"], {"w": mx.array(10.0)}
    with pytest.raises(ValueError, match=r"inputs\['m'\]\['w'\] is updated in 'step'.*outputs="):
        compiled(mx.array(1.0))
    assert (kept["w"].item(), state["m"]["w"].item()) == (4, 10)
    state["m"] = kept
    before = traces()
    assert compiled(mx.array(1.0)).item() == 5 and traces() == before


# ---- nodes of the user's -------------------------------------------------------------------------------


@mx.register_tree_node
@dataclasses.dataclass
class State:
    w: mx.array
    scale: float = 2.0


@mx.register_tree_node
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    w: mx.array


class Point:
    def __init__(self, x, y, name):
        self.x, self.y, self.name = x, y, name

    def __repr__(self):
        return f"Point({self.x}, {self.y}, {self.name!r})"


mx.register_tree_node(Point, lambda p: ([p.x, p.y], p.name), lambda name, xy: Point(*xy, name))


def test_registered_classes_are_nodes_of_arguments_and_results():
    @mx.compile
    def here(p, s, f):
        return Point(p.y, p.x * s.scale, p.name + "!"), State(s.w + 1, 3.0), Frozen(f.w)

    args = Point(X, X + 1, "p"), State(X), Frozen(X)
    for _ in range(2):
        assert repr(here(*args)) == repr(here.__wrapped__(*args))
    before = traces()
    here(Point(X, X, "p"), State(X), Frozen(X))  # one array in all places
    here(*args)
    assert traces() == before + 1
    here(Point(X, X + 1, "q"), State(X), Frozen(X))
    here(args[0], State(X, 3.0), Frozen(X))
    assert traces() == before + 3
    assert repr(here(args[0], State(X, 3.0), Frozen(X))) == repr(here.__wrapped__(args[0], State(X, 3.0), Frozen(X)))


def test_registered_classes_are_nodes_of_transformations_and_utilities():
    state = State(X, 3.0)
    grads = mx.grad(lambda s: (s.w**2).sum() * s.scale)(state)
    assert repr(grads) == repr(State(X * 6, 3.0))
    mapped = mx.vmap(lambda p: p.x + p.y)(Point(X, X, "p"))
    assert mapped.tolist() == [2, 4]
    mx.eval([state, Point(X * 2, X, "p")])
    assert repr(tree_map(lambda x: x * 2, Point(1, [2], "p"))) == "Point(2, [4], 'p')"
    assert tree_flatten({"p": Point(1, [2], "n")}) == [("p.0", 1), ("p.1.0", 2)]
    assert tree_unflatten([("a", 1)]) == {"a": 1}


def test_registered_classes_can_be_captured():
    state, frozen = State(mx.array(1.0)), Frozen(mx.array(1.0))
    captured = {"s": state, "f": [frozen]}

    def step(x):
        state.w = state.w + x
        captured["f"][0] = Frozen(captured["f"][0].w * 2)
        return state.w

    compiled = mx.compile(step, inputs=captured, outputs=captured)
    assert [compiled(mx.array(1.0)).item() for _ in range(3)] == [2, 3, 4]
    assert state.w.item() == 4 and captured["s"] is state
    assert captured["f"][0].w.item() == 8


def test_what_registration_refuses():
    class Plain:
        pass

    with pytest.raises(TypeError, match="Plain.*no dataclass"):
        mx.register_tree_node(Plain)
    with pytest.raises(TypeError, match="both"):
        mx.register_tree_node(Plain, lambda p: ((), None))
    mx.register_tree_node(Plain, lambda p: 3, lambda aux, children: Plain())
    with pytest.raises(TypeError, match="flatten of Plain must return a pair"):
        mx.compile(lambda p: None)(Plain())
