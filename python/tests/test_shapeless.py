"""Shapeless functions: traced for one shape and called with another they give what plain functions give, bit for bit, or raise ShapeGuardError."""

import copy
import functools
import inspect
import json
import math
import numbers
import pickle
import warnings
from functools import partial

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten


def values(shape, salt=0):
    """Numbers without a pattern, of both signs."""
    n = math.prod(shape)
    return mx.array([((i * 37 + salt * 11) % 23) / 4 - 2.5 for i in range(n)]).reshape(shape)


def bits(tree):
    arrays = [(k, v) for k, v in tree_flatten({"": tree}) if isinstance(v, mx.array)]
    return [(k, a.shape, str(a.dtype), bytes(memoryview(a.astype(mx.float32) if a.dtype == mx.bfloat16 else a))) for k, a in arrays]


def outcome(f, args):
    """What a call comes to: its bits, or the class of what it raised."""
    mx.random.seed(7)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mx.CaptureWarning)  # the same numbers at every call is what is asked for
            return bits(f(*args))
    except Exception as e:  # whatever it is, it is compared
        return type(e)


def holds(f, calls, **kwargs):
    """Whether ``f``, traced for the first arguments, takes the others; never with another result than a plain call."""
    compiled, refused = mx.compile(f, shapeless=True, **kwargs), 0
    for k, args in enumerate(calls):
        got, plain = outcome(compiled, args), outcome(f, args)
        if got is mx.ShapeGuardError and k > 0:
            refused += 1
            continue
        assert got == plain or isinstance(got, type) and isinstance(plain, type), (k, got, plain)
    return refused == 0


SHAPES = [(2, 3), (4, 5), (7, 2)]


def square(shapes=SHAPES):
    return [(values(s),) for s in shapes]


@pytest.mark.parametrize("f", [
    lambda x: x + mx.zeros(x.shape),
    lambda x: x.reshape(x.shape[1], x.shape[0]),
    lambda x: x.reshape(x.shape[0], -1)[-1],
    lambda x: x.sum() / x.shape[0],
    lambda x: x.shape[1] - x,
    lambda x: mx.full(x.shape, 2) * mx.ones(x.shape[:1] + (1,)) + mx.arange(x.shape[1]),
    lambda x: mx.broadcast_to(x, (3, *x.shape)),
    lambda x: x * (3 if isinstance(x.shape[0], int) and x.shape[0] < 100 and x.shape == x.shape else 4),
    lambda x: x + mx.random.normal(x.shape, key=mx.random.key(3)),
    lambda x: mx.grad(lambda x: (x * x).mean())(x),
    lambda x: mx.vmap(lambda x: x.sum() / x.shape[0])(x),
    lambda x: mx.compile(lambda x: x.sum() / x.shape[0])(x),
    lambda x: x * len(x.shape),
])
def test_extents_that_are_passed_on_stay_open(f):
    assert holds(f, square())


@pytest.mark.parametrize("read", [
    lambda n: n + 1, lambda n: 2 * n, lambda n: n * n, lambda n: 7 - n, lambda n: n // 2, lambda n: 1 / n, lambda n: -n,
    lambda n: n % 2, lambda n: divmod(n, 2)[0], lambda n: n ** 2, lambda n: 2 ** n, lambda n: round(n), lambda n: abs(n),
    lambda n: math.floor(n), lambda n: n << 1, lambda n: n & 1, lambda n: int(n), lambda n: float(n), lambda n: math.sqrt(n),
    lambda n: math.prod((n, 2)), lambda n: math.gcd(n, 6), lambda n: len(range(n)), lambda n: [0, 1, 2, 3, 4, 5, 6, 7][n],
    lambda n: len([0, 1, 2, 3, 4, 5, 6, 7][:n]), lambda n: len([0] * n), lambda n: len(n * [0]), lambda n: len("a" * n), lambda n: len(bytes(n)),
    lambda n: {2: 1}.get(n, 5), lambda n: hash(n), lambda n: len(f"{n}") and int(f"{n}"), lambda n: int("%d" % n), lambda n: int(str(n)),
    lambda n: int(repr(n)), lambda n: int(f"{n:4d}"), lambda n: n.bit_length() + n.real, lambda n: int(json.dumps([int(n)])[1:-1]),
    lambda n: np.zeros(n).size, lambda n: np.arange(n).sum(), lambda n: n < 2.5, lambda n: pickle.loads(pickle.dumps(n)), lambda n: ord(chr(n)),
    lambda n: sum(1 for _ in range(n)), lambda n: max(n, 3), lambda n: n > 3, lambda n: n == 2, lambda n: n != 2, lambda n: copy.copy(n) + 0,
])
def test_numbers_that_are_read_are_guarded(read):
    f = lambda x: x * float(read(x.shape[0]))
    calls = square([(2, 3), (2, 7), (5, 3)])
    compiled = mx.compile(f, shapeless=True)
    assert bits(compiled(*calls[0])) == bits(f(*calls[0]))
    assert bits(compiled(*calls[1])) == bits(f(*calls[1]))
    with pytest.raises(mx.ShapeGuardError, match=r"dimension 0 of array argument 0 .*2.*5.*test_shapeless.py:\d+") as refused:
        compiled(*calls[2])
    assert isinstance(refused.value, ValueError)
    auto = mx.compile(f, shapeless="auto")
    for args in calls + calls:
        assert bits(auto(*args)) == bits(f(*args))


def test_other_reads_are_guarded():
    for f in [
        lambda x: x * len(x), lambda x: x * x.size, lambda x: x * x.nbytes, lambda x: mx.stack([r + 1 for r in x]),
        lambda x: x * sum(x.shape), lambda x: x * (x.shape[0] in (2, 9)), lambda x: mx.array([x.shape[0]]) * x, lambda x: x * mx.array(x.shape)[0],
    ]:
        compiled, calls = mx.compile(f, shapeless=True), square([(2, 3), (5, 3)])
        assert bits(compiled(*calls[0])) == bits(f(*calls[0]))
        with pytest.raises(mx.ShapeGuardError):
            compiled(*calls[1])


def either(run, other=lambda x: x * 2, catch=Exception):
    """What ``run`` gives, or ``other`` if it is refused."""

    def f(x):
        try:
            return run(x)
        except catch:
            return other(x)

    return f


def unused(run):
    """A function that makes no use of what ``run`` gives."""
    return lambda x: (run(x), x * 2)[1]


# What is refused for some of the shapes, and is or is not for others.
REFUSALS = {
    "reshape": (lambda x: x.reshape(3, -1).sum(0), [(4,), (6,), (8,), (9,)]),
    "index": (lambda x: x[5], [(4,), (8,), (5,)]),
    "broadcast": (lambda x: x + mx.ones((3,)), [(4,), (3,), (1,), (2,)]),
    "matmul": (lambda x: (x @ x).sum(0), [(2, 3), (3, 3), (3, 2), (2, 2)]),
    "unpacking": (lambda x: (lambda a, b: a + b)(*x), [(3, 2), (2, 2), (4, 2)]),
    "split": (lambda x: mx.split(x, 2)[0], [(4,), (5,), (6,)]),
    "squeeze": (lambda x: mx.squeeze(x, 0), [(3, 2), (1, 2), (2, 2)]),
    "concatenate": (lambda x: mx.concatenate([x, mx.ones((1, 3))]), [(2, 2), (2, 3), (3, 2)]),
    "view": (lambda x: mx.view(x.astype(mx.int8), mx.int32), [(3,), (8,), (5,)]),
    "max": (lambda x: x.max(0), [(0, 2), (3, 2), (2, 2)]),
    "topk": (lambda x: mx.sort(mx.topk(x, 4)), [(3,), (6,), (2,)]),
    "einsum": (lambda x: mx.einsum("ij,jk->ik", x, x), [(2, 3), (3, 3), (4, 3)]),
    "vmap": (lambda x: mx.vmap(lambda x: x.reshape(2, -1).sum(0))(x), [(2, 3), (2, 4), (3, 4)]),
    "grad": (lambda x: mx.grad(lambda x: x.reshape(2, -1).sum())(x), [(3,), (4,), (5,)]),
    "an integer that does not fit": (lambda x: x.astype(mx.int8) + x.shape[0], [(100,), (200,), (127,), (128,)]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_guarded(name):
    run, shapes = REFUSALS[name]
    update = lambda x: (x.__setitem__(5, 1.0), x)[1]
    for order in (shapes, shapes[::-1]):
        calls = [(values(s),) for s in order]
        for f in (either(run), unused(either(run)), either(unused(run)), unused(run), either(lambda x: update(x + 0) + run(x))):
            holds(f, calls)
            auto = mx.compile(f, shapeless="auto")
            for args in calls + calls:
                got, plain = outcome(auto, args), outcome(f, args)
                assert got == plain or isinstance(got, type) and isinstance(plain, type), (args[0].shape, got, plain)


@pytest.mark.parametrize("f", [
    lambda x: x / (x @ x),
    lambda x: mx.compile(lambda x: x ** 3 / x.mean())(x),
    lambda x: mx.roll(x * x, 1) / x,
    lambda x: mx.cumsum(x / (x @ x)) * x,
    lambda x: mx.arctan2(mx.einsum("ij,kj->ik", x[None], x[None] * x.shape[0])[0], x),
    lambda x: mx.sin(x * x.shape[0]) * mx.zeros_like(x * x) + x.reshape(x.shape) * mx.broadcast_to(x, x.shape) * mx.arange(x.shape[0]) * x,
    lambda x: mx.cond(x[0] > 0, lambda x: x.reshape(x.shape[0]) * x * x.shape[0], lambda x: x, x) * mx.checkpoint(lambda x: x * x.shape[0] * x)(x),
])
def test_derivatives_of_derivatives_have_the_same_bits(f):
    # What is added up where a value is used several times is added up in one order.
    grad = lambda f: mx.grad(lambda x: f(x).sum())
    calls = [(values((n,)) + 0.1,) for n in (3, 16, 33, 2)]
    for g in (grad(f), grad(grad(f)), grad(mx.compile(grad(f))), lambda x: mx.jvp(grad(f), [x], [x])[1][0]):
        assert holds(g, calls)
    assert holds(mx.vmap(grad(grad(f))), [(mx.stack([x, x + 1]),) for x, in calls])


def test_kernels_hold_for_other_shapes():
    def step(x, w):
        loss = lambda w: nn.losses.cross_entropy(mx.tanh(x @ w) @ w, mx.argmax(x, axis=1), reduction="mean")
        loss, gradient = mx.value_and_grad(loss)(w)
        return loss, w - 0.1 * gradient

    f = mx.compile(step, shapeless=True)
    w = values((6, 6), 3)
    for k, n in enumerate((9, 10, 15, 11)):
        before = mx.compile_stats()["kernels"]
        got = f(values((n, 6)), w)
        mx.eval(got)
        assert k == 0 or mx.compile_stats()["kernels"] == before
        assert bits(got) == bits(step(values((n, 6)), w))


def test_a_comparison_guards_its_outcome():
    f = mx.compile(lambda x, w: x @ w if x.shape[-1] == w.shape[0] and x.shape[0] < 10 else x, shapeless=True)
    for n, k in [(2, 3), (4, 5), (9, 2)]:
        x, w = values((n, k)), values((k, 2), 1)
        assert bits(f(x, w)) == bits(x @ w)
    with pytest.raises(mx.ShapeGuardError, match=r"less than 10 .*\(2 and 10\).*\(11 and 10\)"):
        f(values((11, 2)), values((2, 2)))


def test_outside_of_a_trace_shapes_are_tuples_of_ints():
    seen = []
    mx.compile(lambda x: seen.append(x.shape) or x)(values((2, 3)))
    assert all(type(n) is int for n in seen[0] + values((2, 3)).shape)
    mx.compile(lambda x: seen.append(x.shape) or x, shapeless=True)(values((2, 3)))
    assert all(isinstance(n, int) and type(n) is not int for n in seen[1])
    assert seen[1] == (2, 3)  # a Dim that outlived its trace is a number


def test_extents_in_results_and_state_are_numbers():
    state = {"count": 0, "total": mx.zeros(3)}

    @partial(mx.compile, inputs=state, outputs=state, shapeless="auto")
    def f(x):
        state["count"], state["total"] = x.shape[0], state["total"] + x.sum(0)
        return x.shape, {"rows": x.shape[0]}, [x.T.shape[1]]

    for n in (2, 5, 2):
        shape, rows, last = f(values((n, 3)))
        assert (shape, rows, last, state["count"]) == ((n, 3), {"rows": n}, [n], n)
        assert all(type(m) is int for m in (*shape, rows["rows"], *last, state["count"]))
    with pytest.raises(mx.ShapeGuardError, match="dimension 0 of array argument 0 was 2"):
        g = mx.compile(lambda x: (x, x.shape[0]), shapeless=True)
        g(values((2, 3))), g(values((5, 3)))


def test_an_extent_has_all_that_a_number_has():
    seen = []

    def here(x):
        n = x.shape[0]
        assert n.__class__ is int and isinstance(n, int) and isinstance(n, numbers.Integral)
        seen.extend((name, hasattr(n, name)) for name in dir(int))
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift", "and", "or", "xor"):
            for side in (f"__{name}__", f"__r{name}__"):
                got, want = getattr(n, side)(2), getattr(3, side)(2)
                assert (got, type(got)) == (want, type(want)), side
        for name in ("neg", "pos", "abs", "invert", "int", "float", "index", "trunc", "floor", "ceil", "round", "bool", "hash", "str", "repr"):
            got, want = getattr(n, f"__{name}__")(), getattr(3, f"__{name}__")()
            assert (got, type(got)) == (want, type(want)), name
        return x

    mx.compile(here, shapeless=True)(values((3, 2)))
    assert seen and all(has for _, has in seen), [name for name, has in seen if not has]


# Of a function, calls one after the other, and how many traces there are after each.
X, Y = (2, 3), (4, 5)
TRACES = {
    "elementwise": (lambda x, y: mx.abs(x + y), [(X, X), (Y, Y), (Y, (1, 5)), ((5,), Y), ((), (2, 1, 2)), ((0, 3), X[1:])], [1, 1, 1, 1, 1, 1]),
    "rank": (lambda x: x.sum(0), [(X,), (Y,), ((2, 3, 4),), ((5,),), ((9, 8, 7),)], [1, 1, 2, 3, 3]),
    "0, 1 or more": (lambda x, y: (x + y).sum(0), [(X, X), (Y, Y), (Y, (1, 5)), (Y, (4, 1)), (X, (1, 3)), ((0, 3), (1, 3)), ((0, 5), (1, 5))], [1, 1, 2, 3, 3, 4, 4]),
    "rank that is read": (lambda x: x * x.ndim, [((),), ((3,),), ((4,),), (X,)], [1, 2, 2, 3]),
}


@pytest.mark.parametrize("name", TRACES)
def test_what_a_trace_holds_for(name):
    f, calls, expected = TRACES[name]
    compiled, counts = mx.compile(f, shapeless=True), []
    before = mx.compile_stats()["traces"]
    for shapes in calls:
        args = [values(s, i) for i, s in enumerate(shapes)]
        assert bits(compiled(*args)) == bits(f(*args)), shapes
        counts.append(mx.compile_stats()["traces"] - before)
    assert counts == expected


def test_auto_traces_again_where_true_refuses():
    f = lambda x: x * (x.shape[0] + 1)
    auto, counts = mx.compile(f, shapeless="auto"), []
    before = mx.compile_stats()["traces"]
    for shape in [(2, 3), (2, 9), (5, 3), (2, 4), (5, 1), (5, 2)]:
        assert bits(auto(values(shape))) == bits(f(values(shape)))
        counts.append(mx.compile_stats()["traces"] - before)
    assert counts == [1, 1, 2, 2, 3, 3]


def test_auto_says_what_made_it_trace_again():
    f = mx.compile(lambda x: x * (x.shape[0] + 1) if x.shape[1] < 9 else x, shapeless="auto")
    causes = [f.explain(mx.ones(shape)).cause for shape in [(2, 3), (5, 3), (5, 9)]]
    assert causes == [
        "for the first call",
        "dimension 0 of array argument 0 was 2, is 5",
        "whether dimension 1 of array argument 0 is less than 9 was true, is false",
    ]
    with pytest.warns(mx.RecompileWarning, match="dimension 0 of array argument 0 took 32 values: its number is read"):
        for n in range(6, 46):
            f(mx.ones((n, 3)))


@pytest.mark.parametrize("f", [
    lambda x: mx.checkpoint(lambda x: x * (x.shape[0] + 1))(x),
    lambda x: mx.grad(lambda x: mx.checkpoint(lambda x: x * float(x.shape[0]))(x).sum())(x),
    lambda x: with_rule(lambda x, n: x * n)(x),
    lambda x: mx.cond(x.sum() > 0, lambda x: x * (x.shape[0] + 1), lambda x: x, x),
    lambda x: mx.vmap(lambda r: r * (r.shape[0] + 1), in_axes=1, out_axes=1)(x),
])
def test_numbers_that_are_read_within_other_traces_are_guarded(f):
    assert not holds(f, square())


def with_rule(rule):
    @mx.custom_function
    def f(x):
        return mx.sin(x)

    f.vjp(lambda x, c, o: rule(c, x.shape[0] * 2))
    return mx.grad(lambda x: f(x).sum())


def test_an_elementwise_function_is_free_in_rank():
    traces = []
    f = mx.compile(lambda x, y: traces.append(1) or mx.abs(x + y), shapeless=True)
    for shape in [(), (3,), (2, 3), (2, 1, 3)]:
        assert bits(f(values(shape), mx.array(0.5))) == bits(mx.abs(values(shape) + 0.5))
    assert len(traces) == 1


def test_state_is_shapeless_too():
    state = {"total": mx.zeros((2,))}

    def step(x):
        state["total"] = state["total"] + x.sum(1) / x.shape[1]
        return state["total"]

    step = mx.compile(step, inputs=state, outputs=state, shapeless=True)
    step(values((2, 3)))
    state["total"] = mx.zeros((5,))
    assert mx.array_equal(step(values((5, 4))), values((5, 4)).sum(1) / 4)


# Every public function, in every way of these that it takes. Index arrays are made of the array, so that they follow it.
PATTERNS = {
    "x": lambda f, x: f(x),
    "x,x": lambda f, x: f(x, x * 2 - 1),
    "x,x,x": lambda f, x: f(x, x + 1, x * 2),
    "x,x.T": lambda f, x: f(x, x.T),
    "x,0": lambda f, x: f(x, 0),
    "x,1": lambda f, x: f(x, 1),
    "x,-1": lambda f, x: f(x, -1),
    "x,0,1": lambda f, x: f(x, 0, 1),
    "x,axis=0": lambda f, x: f(x, axis=0),
    "x,axis=-1": lambda f, x: f(x, axis=-1),
    "x,axis=(0, 1)": lambda f, x: f(x, axis=(0, 1)),
    "x,keepdims": lambda f, x: f(x, keepdims=True),
    "x,row": lambda f, x: f(x, x[0]),
    "row": lambda f, x: f(x[0]),
    "row,row": lambda f, x: f(x[0], x[-1]),
    "[x,x]": lambda f, x: f([x, x + 1]),
    "[x,x],1": lambda f, x: f([x, x + 1], 1),
    "*x": lambda f, x: f(x[0], x[:, 0]),
    "int": lambda f, x: f((x * 4).astype(mx.int32)),
    "int,int": lambda f, x: f((x * 4).astype(mx.int32), mx.abs(x).astype(mx.int32)),
    "bool": lambda f, x: f(x > 0),
    "bool,x,x": lambda f, x: f(x > 0, x, x + 1),
    "complex": lambda f, x: f(x + 1j),
    "x,indices": lambda f, x: f(x, mx.argsort(x[:, 0])),
    "x,indices,0": lambda f, x: f(x, mx.argsort(x, axis=0), axis=0),
    "x,indices,x,1": lambda f, x: f(x, mx.argsort(x, axis=1), x, axis=1),
    "x,dtype": lambda f, x: f(x, mx.float16),
    "x,int32": lambda f, x: f(x, mx.int32),
    "shape": lambda f, x: f(x.shape),
    "shape,x": lambda f, x: f(x.shape, x.sum()),
    "x,shape": lambda f, x: f(x, x.shape),
    "x,flipped": lambda f, x: f(x, (x.shape[1], -1)),
    "x,(3,shape)": lambda f, x: f(x, (3, *x.shape)),
    "flat,0,shape": lambda f, x: f(x.flatten(), 0, x.shape),
    "n": lambda f, x: f(x.shape[0]),
    "n,m": lambda f, x: f(x.shape[0], x.shape[1]),
    "0,n": lambda f, x: f(0, x.shape[0]),
    "0,1,n": lambda f, x: f(0, 1, x.shape[0]),
    "x,(1,2)": lambda f, x: f(x, (1, 2)),
    "x,pads": lambda f, x: f(x, [(1, 0), (2, 3)], mode="edge"),
    "ij,x,x": lambda f, x: f("ij,ij->i", x, x),
    "ij,jk": lambda f, x: f("ij,jk", x, x.T),
    "key,shape": lambda f, x: f(shape=x.shape, key=mx.random.key(1)),
    "0,1,shape": lambda f, x: f(0, 9, shape=x.shape, key=mx.random.key(1)),
    "x,key": lambda f, x: f(x, key=mx.random.key(1)),
    "n,key": lambda f, x: f(x.shape[0], key=mx.random.key(1)),
    "qkv": lambda f, x: f(x[None, None], x[None, None], x[None, None], scale=0.5),
    "rope": lambda f, x: f(mx.concatenate([x, x], -1)[None], 4, traditional=False, base=100.0, scale=1.0, offset=0),
    "x,start": lambda f, x: f(x, mx.array([0, 1]), (0, 1), (1, 2)),
    "x,x,start": lambda f, x: f(x, x[:1, :2], mx.array([0, 1]), (0, 1)),
    "x,w,eps": lambda f, x: f(x, x[0], 1e-5),
    "x,w,b,eps": lambda f, x: f(x, x[0], x[-1], 1e-5),
}

# What takes no arrays, or is no function of their values.
NOT_SWEPT = {
    "array", "Dtype", "Device", "Stream", "DeviceType", "Dim", "ArrayAt", "ArrayIterator", "CompiledFunction", "array_namespace_info",
    "async_eval", "eval", "synchronize", "compile", "disable_compile", "enable_compile", "checkpoint", "cond", "custom_function", "grad", "jvp", "vjp", "vmap",
    "value_and_grad", "load", "save", "savez", "savez_compressed", "save_safetensors", "issubdtype", "result_type", "finfo", "iinfo", "default_device",
    "set_default_device", "default_stream", "set_default_stream", "new_stream", "new_thread_local_stream", "stream", "get_active_memory", "get_peak_memory", "get_cache_memory",
    "reset_peak_memory", "set_memory_limit", "set_cache_limit", "set_wired_limit", "clear_cache", "set_compile_mode", "get_compile_mode", "compile_stats",
    "export_to_dot", "export_function", "exporter", "import_function", "compile_disabled", "compile_mode", "seed", "is_available", "device_count", "device_info", "dtype", "DtypeCategory", "from_dlpack",
    "get_printoptions", "set_printoptions", "printoptions", "can_cast", "isdtype",
}


def public(module):
    for name in sorted(dir(module)):
        f = getattr(module, name)
        if not name.startswith("_") and callable(f) and not inspect.isclass(f) and name not in NOT_SWEPT:
            yield name, f


def sweep(module):
    """The ways in which functions of a module hold for other shapes and are refused, and the functions that take no pattern."""
    held, refused, idle = set(), set(), set()
    for name, f in public(module):
        idle.add(name)
        for pattern, call in PATTERNS.items():
            run = lambda x: call(f, x)
            x = square()[0]
            # Arguments that have to be numbers can't be read of a traced array.
            if isinstance(outcome(run, x), type) or outcome(mx.compile(run), x) in (TypeError, mx.TracerError):
                continue
            idle.discard(name)
            (held if holds(run, square()) else refused).add(f"{name}({pattern})")
    return held, refused, idle


# Ways that hand extents, or arrays made of them, to arguments that are numbers: only the functions named below are asked to hold for others.
OF_SHAPES = [p for p in PATTERNS if "shape" in p or p.split(",")[0] == "n" or p.endswith(",n") or "flipped" in p]

# Iterating over an array, or counting out its elements in Python, reads its extents.
READ = {
    # Whether a vector has two components or three decides what its cross product is.
    mx.linalg: {f"cross({p})" for p in ("*x", "int,int", "row,row", "x,(1,2)", "x,indices", "x,indices,0", "x,row", "x,x")},
    mx: {
        *(f"{f}({p})" for f in ("concat", "concatenate") for p in ("bool", "complex", "int", "x", "x,-1", "x,0", "x,axis=-1", "x,axis=0")),
        *(f"{f}({p})" for f in ("stack", "unstack") for p in ("bool", "complex", "int", "row", "x", "x,axis=-1", "x,axis=0")),
        *(f"stack({p})" for p in ("x,-1", "x,0", "x,1")),
        *(f"as_strided({p})" for p in ("[x,x]", "bool", "complex", "int", "row", "x", "x,(1,2)")),
        *(f"unique({p})" for p in ("[x,x],1", "x,0", "x,0,1", "x,1")), "searchsorted(*x)", "searchsorted(row,row)",
    },
}
TAKE_EXTENTS = {
    mx: ["zeros(shape)", "ones(shape)", "empty(shape)", "full(shape,x)", "reshape(x,shape)", "reshape(x,flipped)", "broadcast_to(x,shape)",
         "broadcast_to(x,(3,shape))", "unflatten(flat,0,shape)", "eye(n)", "eye(n,m)", "identity(n)", "tri(n,m)", "arange(n)", "arange(0,n)"],
    mx.random: ["normal(key,shape)", "uniform(0,1,shape)", "randint(0,1,shape)", "gumbel(key,shape)", "laplace(key,shape)", "permutation(n,key)", "bernoulli(key,shape)"],
}


@pytest.mark.parametrize("module", [mx, mx.linalg, mx.random, mx.fast])
def test_every_function_follows_the_shape_or_refuses(module):
    held, refused, idle = sweep(module)
    assert {"split", "register_tree_node"} >= idle
    assert {r for r in refused if r.split("(", 1)[1][:-1] not in OF_SHAPES} == READ.get(module, set())
    assert held >= set(TAKE_EXTENTS.get(module, []))


FLOATS = [(2, 4, 6), (5, 7, 6), (3, 2, 6)]
CLASSES = [(2, 4), (5, 7), (3, 2)]
LAYERS = {
    "Linear": lambda: nn.Linear(6, 3), "Bilinear": lambda: (lambda f: lambda x: f(x, x + 1))(nn.Bilinear(6, 6, 2)), "Identity": lambda: nn.Identity(),
    "LayerNorm": lambda: nn.LayerNorm(6), "RMSNorm": lambda: nn.RMSNorm(6), "InstanceNorm": lambda: nn.InstanceNorm(6, affine=True),
    "GroupNorm": lambda: nn.GroupNorm(2, 6), "BatchNorm": lambda: nn.BatchNorm(6), "Dropout": lambda: nn.Dropout(0.3), "Dropout2d": lambda: nn.Dropout2d(0.3),
    "MultiHeadAttention": lambda: (lambda f: lambda x: f(x, x, x, nn.MultiHeadAttention.create_additive_causal_mask(x.shape[1])))(nn.MultiHeadAttention(6, 2)),
    "TransformerEncoderLayer": lambda: (lambda f: lambda x: f(x, None))(nn.TransformerEncoderLayer(6, 2)), "RoPE": lambda: nn.RoPE(4),
    "SinusoidalPositionalEncoding": lambda: nn.SinusoidalPositionalEncoding(6), "Sequential": lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)),
    "ALiBi": lambda: (lambda f: lambda x: f(mx.stack([x, x, x], 1)))(nn.ALiBi()), "GLU": lambda: nn.GLU(), "PReLU": lambda: nn.PReLU(), "Softmax": lambda: nn.Softmax(), "LogSoftmax": lambda: nn.LogSoftmax(), "Softmin": lambda: nn.Softmin(),
}
# They run a step in Python for each position.
LAYERS_THAT_READ = {"RNN": lambda: nn.RNN(6, 3), "GRU": lambda: nn.GRU(6, 3), "LSTM": lambda: nn.LSTM(6, 3)}


@pytest.mark.parametrize("name", LAYERS | LAYERS_THAT_READ)
def test_layers(name):
    mx.random.seed(3)
    layer = (LAYERS | LAYERS_THAT_READ)[name]()
    if isinstance(layer, nn.BatchNorm):
        layer.eval()
    assert holds(layer, square(FLOATS)) == (name in LAYERS)


def test_gradients_of_a_model():
    model = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 3))

    def gradients(x, y):
        loss = lambda m: nn.losses.cross_entropy(m(x), y, reduction="mean")
        return nn.value_and_grad(model, loss)(model)

    def batch(n):
        return values((n, 6)), mx.array([i % 3 for i in range(n)])

    assert holds(gradients, [batch(4), batch(9), batch(2)])


@pytest.mark.parametrize("name", [n for n in sorted(dir(nn)) if n not in ("value_and_grad", "quantize") and inspect.isroutine(getattr(nn, n)) or "Compiled" in type(getattr(nn, n)).__name__])
def test_activations(name):
    f = getattr(nn, name)
    more = (mx.array(0.25),) if name == "prelu" else ()
    assert holds(lambda x: f(x, *more), square(FLOATS))


@pytest.mark.parametrize("name", sorted(n for n in dir(nn.losses) if inspect.isfunction(getattr(nn.losses, n)) and not n.startswith("_")))
def test_losses(name):
    f = getattr(nn.losses, name)
    for reduction in ("none", "mean"):
        def loss(x):
            y = mx.sin(x)
            if name in ("cross_entropy", "nll_loss"):
                return f(x, mx.argmax(y, axis=-1), reduction=reduction)
            more = [mx.abs(x) + 1] if name in ("gaussian_nll_loss", "margin_ranking_loss", "triplet_loss") else []
            return f(mx.sigmoid(x) if "cross" in name else x, y, *more, reduction=reduction)

        assert holds(loss, square(FLOATS))


@pytest.mark.parametrize("name", sorted(n for n in dir(optim) if inspect.isclass(getattr(optim, n)) and n not in ("Optimizer", "MultiOptimizer")))
def test_optimizers(name):
    def updated(p, g):
        optimizer = getattr(optim, name)(learning_rate=0.1)
        p = optimizer.apply_gradients({"w": g}, {"w": p})
        return optimizer.apply_gradients({"w": g}, p)["w"]

    holds(updated, [(values(s), values(s, 1)) for s in SHAPES])


@functools.lru_cache(None)
def doubled(n):
    return 2.0 * n


@functools.lru_cache(None)
def area(shape):
    return shape[0] * shape[1]


@pytest.mark.parametrize("fun", [lambda x: x * doubled(x.shape[0]), lambda x: x * area(x.shape)])
def test_what_is_remembered_by_an_extent_is_found_in_later_traces(fun):
    compiled = mx.compile(fun, shapeless="auto")
    for shape in ((3, 2), (4, 2), (3, 2)):
        for dtype in (mx.float32, mx.float16, mx.int32):
            x = mx.ones(shape, dtype=dtype)
            assert bits(compiled(x)) == bits(fun(x))


@pytest.mark.parametrize("use", [int, bool, str, hash, lambda n: n == 3, lambda n: n + 1, lambda n: mx.zeros(n), lambda n: mx.ones(3) * n])
def test_an_extent_that_got_out_is_an_error_in_a_later_trace(use):
    kept = []
    mx.compile(lambda x: kept.append(x.shape[0]) or x, shapeless=True)(mx.ones(3))
    use(kept[0])  # outside it is the number that it was
    again = []
    mx.compile(lambda x: again.append(x.shape[0]) or x, shapeless=True)(mx.ones(3))
    with pytest.raises(mx.LeakedTracerError, match=r"this extent was left behind by a trace that is over, made at .*test_shapeless.py:\d+, in which it was 3: .*int\(n\)"):
        mx.compile(lambda x: (use(again[0]), x)[1], shapeless=True)(mx.ones(3))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: mx.array(np.arange(x.shape[0])),
        lambda x: mx.array(np.array(x.shape)),
        lambda x: mx.array(np.array(x.shape[0])),
        lambda x: x + np.full(2, x.shape[0]),
        lambda x: x + np.ones(2) * x.shape[0],
        lambda x: mx.array(np.array([[n, 1.5] for n in x.shape])),
    ],
)
def test_arrays_that_numpy_makes_of_extents_read_their_numbers(fun):
    assert not holds(fun, [(values(s),) for s in ((3, 2), (4, 2))])
    x = values((0, 2))
    assert bits(mx.compile(fun, shapeless=True)(x)) == bits(fun(x))


@pytest.mark.parametrize("shapeless", [2, 1, 0.5, "yes", [], object])
def test_what_shapeless_can_be(shapeless):
    with pytest.raises(ValueError, match=r'^\[compile\] shapeless is True, False or "auto", not '):
        mx.compile(lambda x: x, shapeless=shapeless)


def test_shapeless_can_be_numpys_bools():
    assert "shapeless" in repr(mx.compile(lambda x: x, shapeless=np.True_)) and "shapeless" not in repr(mx.compile(lambda x: x, shapeless=np.False_))
