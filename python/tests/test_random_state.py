"""Random programs that change state, compiled and plain: they leave the same values, in the same objects.

A program is a list of operations on a captured tree and two arguments: updates in place, replaced and tied arrays, lists and dicts that grow and
shrink, constants, an argument that is put into the state, or captured, or passed twice. It runs four times, as itself, compiled, and compiled within a
compiled function. ``run(seed, ...)`` of a seed that failed shows what happened.
"""

import random
import warnings

import pytest

import lazuli.core as mx


def array_of(value):
    """What stands at a place, or something else where that is no array."""
    return value if isinstance(value, mx.array) else mx.array([1.0, 1.0])


class Machine:
    """State, and what a program does to it."""

    def __init__(self):
        a = lambda x, y: mx.array([x, y])
        self.state = {"a": a(1.0, 2.0), "b": a(3.0, 4.0), "list": [a(5.0, 6.0), a(7.0, 8.0)], "dict": {"x": a(9.0, 1.0)}, "n": 1}
        self.state["tuple"] = (a(2.0, 2.0), [a(3.0, 3.0)])

    def get(self, i):
        values = [self.state.get("a"), self.state.get("b"), *self.state["list"][:1]]
        return array_of(values[i] if i < len(values) else None)

    def run(self, program, x, y):
        for operation, by, i, j in program:
            x, y = OPERATIONS[operation](self.state, self.get, x, y, by, i, j) or (x, y)
        return self.get(0) + self.state["n"], x, self.state["list"][:1], self.get(1)


def put(state, i, value):
    state["ab"[i % 2]] = value


def grow(items, value):
    if len(items) < 4:
        items.append(value)


def shrink(items, i):
    if len(items) > 1:
        items.pop(i % len(items))


# What each does: with the state, what gives an array of it, the arguments, a number and two places. A pair is new arguments.
OPERATIONS = {
    "add": lambda s, get, x, y, by, i, j: put(s, i, get(j) + x),
    "update in place": lambda s, get, x, y, by, i, j: (get(i).__iadd__(y * by), None)[1],
    "set an item": lambda s, get, x, y, by, i, j: get(i).__setitem__(0, by),
    "append": lambda s, get, x, y, by, i, j: grow(s["list"], x * by),
    "pop": lambda s, get, x, y, by, i, j: shrink(s["list"], i),
    "swap": lambda s, get, x, y, by, i, j: s.update(a=get(1), b=get(0)),
    "tie": lambda s, get, x, y, by, i, j: put(s, i, get(j)),
    "new key": lambda s, get, x, y, by, i, j: s.update({f"k{i}": get(j) * 2}),
    "drop a key": lambda s, get, x, y, by, i, j: (s.pop(f"k{i}", None), None)[1],
    "count": lambda s, get, x, y, by, i, j: s.update(n=(s["n"] + 1) % 3),
    "nest": lambda s, get, x, y, by, i, j: s["dict"].update(x=s["dict"]["x"] + get(i), y=x),
    "clear": lambda s, get, x, y, by, i, j: (s["dict"].clear(), s["dict"].update(x=get(i)))[0],
    "update an argument": lambda s, get, x, y, by, i, j: (x.__iadd__(by), y),
    "keep an argument": lambda s, get, x, y, by, i, j: put(s, i, x),
    "pass one for both": lambda s, get, x, y, by, i, j: (x, x),
    "update behind a tuple": lambda s, get, x, y, by, i, j: s["tuple"][1].__setitem__(0, s["tuple"][1][0] * get(i)),
    "keep of a tuple": lambda s, get, x, y, by, i, j: s.update(kept=s["tuple"][0]),
    "refill": lambda s, get, x, y, by, i, j: s["list"].__setitem__(slice(None), [v * 0.5 for v in s["list"]]),
    "repeat": lambda s, get, x, y, by, i, j: s["list"].__setitem__(0, s["list"][-1]),
    "branch": lambda s, get, x, y, by, i, j: put(s, i, get(j) * s["n"]) if s["n"] == 1 else None,
}


def objects(tree, seen, found):
    """Which arrays of a tree are one object."""
    if isinstance(tree, mx.array):
        found.append(seen.setdefault(id(tree), len(seen)))
    elif isinstance(tree, (dict, list, tuple)):
        for child in tree.values() if isinstance(tree, dict) else tree:
            objects(child, seen, found)
    return found


def compiled(machine, step):
    return mx.compile(step, inputs=machine.state, outputs=machine.state)


WAYS = {
    "plain": lambda machine, step: step,
    "compiled": compiled,
    "compiled within": lambda machine, step: compiled(machine, (lambda inner: lambda x, y: inner(x, y))(compiled(machine, step))),
}


def run(seed, way):
    """What four runs of a program give and leave behind."""
    r = random.Random(seed)
    program = [(r.choice(list(OPERATIONS)), r.random(), r.randrange(3), r.randrange(3)) for _ in range(r.randint(1, 6))]
    machine, log = Machine(), [program]
    step = WAYS[way](machine, lambda x, y: machine.run(program, x, y))
    kept = [machine.state["a"], machine.state["b"], *machine.state["list"]]
    for n in range(4):
        x, y = mx.array([1.0, float(n)]), mx.array([0.5, 2.0])
        x = array_of(machine.state["a"]) if seed % 3 == 2 and n == 2 else x
        result = step(x, x if seed % 3 == 1 else y)
        everything = (result, machine.state, x, y, kept)
        log.append((repr(everything), objects(everything, {}, [])))
    return log


@pytest.mark.parametrize("seeds", range(10))
def test_programs_do_to_state_what_they_do_plainly(seeds):
    for seed in range(seeds * 20, seeds * 20 + 20):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain = run(seed, "plain")
            for way in ("compiled", "compiled within"):
                assert run(seed, way) == plain, (seed, way)


def test_a_seed_in_a_function_that_captures_the_state_is_set_at_every_call():
    def fun():
        mx.random.seed(5)
        return mx.random.uniform(shape=(2,))

    compiled = mx.compile(fun, inputs=mx.random.state, outputs=mx.random.state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            mx.random.seed(1)
            plain, after = fun(), mx.random.state[0]
            mx.random.seed(2)
            assert mx.array_equal(compiled(), plain) and mx.array_equal(mx.random.state[0], after)
    for captured in ({}, {"inputs": mx.random.state}):
        with pytest.warns(mx.CaptureWarning, match="draws random numbers without capturing"):
            mx.compile(lambda x: x * fun(), **captured)(mx.ones(2))
