"""A compiled function does what the function does: calls that a key might confuse, objects that are passed on, functions of the user's that
run while a call is read."""

import collections
import enum
import functools
import sys
import threading

import numpy as np
import pytest

import lazuli.core as mx

A, B = mx.array([1.0, 2.0]), mx.array([3.0, 5.0])
N, M = np.array([1, 2], np.float32), np.array([3, 5], np.float32)


def shown(v):
    """A result as what can be compared."""
    if isinstance(v, mx.array):
        return str(v.dtype), v.tolist()
    if isinstance(v, (list, tuple)):
        return type(v), [shown(x) for x in v]
    if isinstance(v, dict):
        return type(v), {k: shown(x) for k, x in v.items()}
    return v


def check(f, *calls, **options):
    """Calls a function plainly and compiled with each of these arguments."""
    compiled = mx.compile(f, **options)
    for call in calls:
        assert shown(compiled(*call)) == shown(f(*call)), call


def having(cls, *args, **attributes):
    made = cls(*args)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


class MyDict(dict):
    pass


class MyList(list):
    pass


class MyTuple(tuple):
    pass


class MyText(str):
    pass


class MyInt(int):
    pass


class MyFloat(float):
    pass


class Slotted(list):
    __slots__ = ("scale",)


class Key:
    """Keys that say the same, and are not the same."""

    def __init__(self, n):
        self.n = n

    def __str__(self):
        return "key"

    def __hash__(self):
        return 7


class Name(enum.StrEnum):
    A = "a"


class Maker:
    """A node whose children are made when it is taken apart."""

    def __init__(self, data):
        self.data = data


class Holder:
    """A node that holds an array in what it is made with."""

    def __init__(self, data, scale):
        self.data, self.scale = data, scale


mx.register_tree_node(Maker, lambda m: ([mx.array(m.data)], None), lambda _, children: Maker(children[0]))
mx.register_tree_node(Holder, lambda h: ([h.data], h.scale), lambda scale, children: Holder(children[0], scale))


NODE = Holder(A, 1)


def scaled(d):
    return d["x" if isinstance(d, dict) else 0] * d.scale


def grown(a, b):
    """What b is while a has an item more: more, if the two are one."""
    a["x"] = 1
    n = len(b)
    del a["x"]
    return A * n


def minus(x, y):
    return mx.array(x) - 2 * mx.array(y)


# A function, and calls of it that are not one.
ONE, OTHER = {}, {}

CONFUSABLE = {
    "one dict twice, then two": (grown, (ONE, ONE), (ONE, OTHER), (OTHER, ONE)),
    "two dicts, then one twice": (grown, (ONE, OTHER), (OTHER, OTHER)),
    "one dict in two lists, then two": (lambda a, b: grown(a[0], b[0]), ([ONE], [ONE]), ([ONE], [OTHER])),
    "one node twice, then two": (lambda a, b: mx.array(a is b), (NODE, NODE), (NODE, Holder(A, 1))),
    "one numpy array twice, then two": (minus, (N, N), (N, M), (M, N)),
    "two numpy arrays, then one twice": (minus, (N, M), (N, N)),
    "texts that UTF-8 cannot hold": (lambda x, s: x * ord(s), (A, "\ud800"), (A, "\ud801"), (A, "\\ud800"[0])),
    "keys that UTF-8 cannot hold": (lambda d: sum(v * ord(k) for k, v in d.items()), ({"\ud800": A},), ({"\ud801": A},)),
    "attributes of a dict": (scaled, (having(MyDict, {"x": A}, scale=2),), (having(MyDict, {"x": A}, scale=3),)),
    "attributes of a list": (scaled, (having(MyList, [A], scale=2),), (having(MyList, [A], scale=3),), (having(MyList, [A], scale=3.0),)),
    "attributes of a tuple": (scaled, (having(MyTuple, [A], scale=2),), (having(MyTuple, [A], scale=3),)),
    "slots of a list": (scaled, (having(Slotted, [A], scale=2),), (having(Slotted, [A], scale=3),)),
    "arrays in attributes": (scaled, (having(MyList, [A], scale=A),), (having(MyList, [A], scale=B),), (having(MyList, [B], scale=A),)),
    "attributes of a text": (lambda x, s: x * s.n, (A, having(MyText, "a", n=2)), (A, having(MyText, "a", n=3))),
    "attributes of an int": (lambda x, s: x * s.n, (A, having(MyInt, 1, n=2)), (A, having(MyInt, 1, n=3))),
    "attributes of a float": (lambda x, s: x * s.n, (A, having(MyFloat, 1, n=2)), (A, having(MyFloat, 1, n=3))),
    "factories of dicts": (
        lambda d: d["x"] * d.default_factory(),
        (collections.defaultdict(lambda: 2, x=A),), (collections.defaultdict(lambda: 3, x=A),),
    ),
    "keys of one text": (lambda d: sum(v * k.n for k, v in d.items()), ({Key(2): A},), ({Key(3): A},)),
    "keys 1, 1.0 and True": (lambda d: [type(k).__name__ for k in d], ({1: A},), ({1.0: A},), ({True: A},)),
    "keys in tuples": (lambda d: [type(k[0]).__name__ for k in d], ({(1,): A},), ({(1.0,): A},), ({(True,): A},)),
    "a text and a member of an enumeration as a key": (lambda d: [type(k).__name__ for k in d], ({"a": A},), ({Name.A: A},)),
    "a node that makes its children": (lambda m: mx.array(m.data) * 2, (Maker([1.0, 2.0]),), (Maker([3.0, 4.0]),)),
}


@pytest.mark.parametrize("name", CONFUSABLE)
def test_calls_are_not_confused(name):
    check(*CONFUSABLE[name])


def test_numbers_that_are_traced_are_not_confused():
    check(minus, (1, 1), (1, 2), (2, 1), (2, 2), traced_scalars=True)
    check(lambda d: minus(d["b"], d["a"]), ({"b": 1, "a": 1},), ({"b": 1, "a": 2},), traced_scalars=True)
    f = mx.compile(lambda x, y: minus(x, y), traced_scalars=True)
    before = mx.compile_stats()["traces"]
    f(1, 1), f(1, 2), f(1000, 1000)
    assert mx.compile_stats()["traces"] - before == 1


DTYPES = ["bool_", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64"]
NUMPYS = [np.float64(1.1), np.float32(1.1), np.float16(1.1), np.int64(2), np.int32(2), np.uint8(3), np.bool_(True), np.complex128(1 + 0.1j), np.complex64(0.1j)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_numpys_count_as_in_the_plain_function(dtype):
    x = mx.array([0, 1, 3]).astype(getattr(mx, dtype))
    for number in NUMPYS:
        check(lambda x, n: (x * n, n * x, x - n, mx.where(x == 0, n, x), [mx.array(n), mx.add(n, n)]), (x, number), (x, type(number)(0)))
        check(lambda n, x: {"a": x + n}, (number, x))


def shown_as_arrays(v):
    """As :func:`shown`; a number is the array that it is for a traced function's caller."""
    if isinstance(v, (list, tuple)):
        return [shown_as_arrays(x) for x in v]
    return shown(v if isinstance(v, mx.array) else mx.array(v))


# Functions of an array and a number that give the same bits, of the same dtypes, whether the number is traced or not.
WEAK = {
    "beside an array": lambda x, k: (x * k, k * x, x - k, k - x, x / (k + 2), x == k, mx.add(x, k), mx.maximum(k, x)),
    "chosen": lambda x, k: (mx.where(x == 0, x, k), mx.where(x == 0, k, 1), mx.full((2,), k), mx.array([k, 2]), mx.array([k, x[0]])),
    "arithmetic": lambda x, k: (x * (k + 1), x * (1 - k), x - k * 2 * k, x + (-k), x * abs(k), x * (k / 3), x + (3 * k - k) // 2, x * (k % 2 + 1)),
    "comparisons": lambda x, k: (x + (k > 1), mx.where(k < 1.1, x, -x), (k == 2) | (x == 1)),
    "updates": lambda x, k: (lambda y: y.at[0].add(k))(x),
    "in place": lambda x, k: x * step(k),
    "functions": lambda x, k: (mx.exp(k), mx.multiply(k, k), mx.result_type(k, x) == x.dtype, k),
    "gradients": lambda x, k: mx.grad(lambda z, k: mx.real(z * k).sum())(x * 1.5, k),
    "batches": lambda x, k: (mx.vmap(lambda z: z * k)(x), mx.vmap(lambda z, k: z * k, in_axes=(0, None))(x, k)),
    "branches": lambda x, k: (mx.cond(x[0] == 1, lambda z, k: z * k, lambda z, k: z - k, x, k), mx.checkpoint(lambda z, k: z * k)(x, k)),
    "within another": lambda x, k: mx.compile(lambda z, k: (z * k, z - (k + 1)))(x, k),
    "containers": lambda x, k: (lambda d: x * d["k"] + d["l"][0])({"k": k, "l": [k]}),
}


def step(k):
    k += 1
    k *= 2
    return k


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WEAK)
def test_numbers_that_are_traced_count_as_in_the_plain_function(name, dtype):
    f, x = WEAK[name], mx.array([1, 0, 3]).astype(getattr(mx, dtype))
    compiled = mx.compile(f, traced_scalars=True)
    for k in (2.5, 0.1, 3, 2, True, np.float64(1.1)):
        try:
            want = shown_as_arrays(f(x, k))
        except (ValueError, TypeError) as e:  # of dtypes that the operations are not defined on, or that cannot hold the number, which then wraps
            if "does not fit" not in str(e):
                with pytest.raises(type(e)):
                    compiled(x, k)
            continue
        assert shown_as_arrays(compiled(x, k)) == want, k


def test_random_numbers_that_are_traced_give_the_bits_of_the_plain_function():
    rng = np.random.default_rng(0)
    for dtype in ("float16", "bfloat16", "float32", "float64", "complex64"):
        x = mx.array(rng.normal(size=9)).astype(getattr(mx, dtype))
        f = lambda x, k, n: (x * k, x * (1 - k), x / (k * n + 1), x - k / n * 0.3)
        compiled = mx.compile(f, traced_scalars=True)
        before = mx.compile_stats()["traces"]
        for k, n in zip(rng.normal(size=50).tolist(), rng.integers(1, 1 << 20, size=50).tolist()):
            assert shown(compiled(x, k, n)) == shown(f(x, k, n))
        assert mx.compile_stats()["traces"] - before == 1


def test_a_number_that_is_traced_is_no_array_of_its_dtype():
    x = mx.array([1.0, 2.0], mx.float16)
    f = mx.compile(lambda x, k: x * k, traced_scalars=True)
    for k in (np.int64(2), np.int32(2), np.bool_(True)):
        assert shown(f(x, k)) == shown(x * k)
    for k, dtype in ((2.5, mx.float16), (mx.array(2.5), mx.float32), (mx.array(2.5, mx.float64), mx.float64), (np.float32(2.5), mx.float32), (2.5, mx.float16)):
        assert f(x, k).dtype == dtype and f(x, k).tolist() == [2.5, 5.0]
    assert type(f(2, 3)) is mx.array and f(2, 3).dtype == mx.int32 and f(2, 0.5).dtype == mx.float32
    with mx.compile_mode("verify"):
        assert f(x, 0.1).tolist() == (x * 0.1).tolist()
    # What the function returns is an array for good.
    assert (mx.compile(lambda k: k, traced_scalars=True)(2.5) * x).dtype == mx.float32


def test_integers_of_numpys_are_read_as_in_the_plain_function():
    x = mx.array([[1.0, 2.0], [3.0, 4.0]])
    check(lambda x, i: (mx.concatenate([x] * i), x[:i], x[i - 1], x.reshape(i, -1), x if i else -x, mx.zeros(i)), (x, np.int64(2)), (x, np.int32(1)), (x, np.uint8(2)))
    check(lambda x, b: (x if b else -x, x * b), (x, np.bool_(True)), (x, np.bool_(False)))
    check(lambda x, n: (n, x), (x, np.int64(2)))
    state = {"k": np.float64(0.5), "n": np.int64(2), "x": mx.array([1.0, 2.0], mx.bfloat16)}
    step = mx.compile(lambda x: x * state["k"] + state["x"] * state["n"], inputs=state)
    for k in (0.5, 2.5):
        state["k"] = np.float64(k)
        assert shown(step(state["x"])) == shown(step.__wrapped__(state["x"]))


def test_an_array_that_a_node_is_made_with_is_looked_at():
    f, holder = mx.compile(lambda h: h.data * h.scale), Holder(A, mx.array([2.0, 2.0]))
    assert f(holder).tolist() == [2, 4]
    holder.scale[0] = 5.0
    assert f(holder).tolist() == [5, 4]


def test_what_a_partial_holds_is_looked_at():
    def times(items, x, k=1):
        return x * len(items) * k

    items = [1, 2]
    f = functools.partial(times, items, k=2)
    compiled = mx.compile(f)
    items.append(3)
    assert compiled(A).tolist() == f(A).tolist() == [6, 12]
    f.keywords["k"] = 5
    assert compiled(A).tolist() == f(A).tolist() == [15, 30]
    for other in (functools.partial(times, [1, 2], k=2), functools.partial(times, [1, 2, 3], k=2)):
        assert mx.compile(other)(A).tolist() == other(A).tolist()
    w = mx.array([1.0, 1.0])
    f = functools.partial(lambda w, x: x * w, w)
    assert mx.compile(f)(A).tolist() == [1, 2]
    w[0] = 7.0
    assert mx.compile(f)(A).tolist() == [7, 2]


def test_captured_nodes_hold_their_arrays():
    state = [Maker([1.0, 2.0])]
    with pytest.raises(ValueError, match="captured object of Maker cannot be followed.*makes new arrays"):
        mx.compile(lambda x: x * mx.array(state[0].data), inputs=state)(A)


def passed_on(f, arguments=1):
    """What a function returns and is given, after what it returned was updated in place."""
    given = [mx.array([1.0, 2.0]) * 1 for _ in range(arguments)]
    returned = f(*given)
    for i, x in enumerate(returned):
        x[0] = 10.0 * (i + 1)
    return [x.tolist() for x in (*returned, *given)]


@pytest.mark.parametrize("f", [
    lambda x: (x, x * 2),
    lambda x: (x * 2, x),
    lambda x: (lambda y: (y, x, y, x))(x + 1),
    lambda x: (x[:], x),
    lambda x: (mx.stop_gradient(x), x + 0),
])
def test_arrays_that_are_passed_on_are_the_same_objects(f):
    compiled = mx.compile(f)
    for g in (compiled, compiled, mx.compile(lambda x: compiled(x))):
        assert passed_on(g) == passed_on(f)
    x = mx.array([1.0, 2.0])
    assert [a is x for a in compiled(x)] == [a is x for a in f(x)]


def test_captured_arrays_that_are_passed_on_are_the_same_objects():
    def run(compile):
        state = {"a": mx.array([1.0, 2.0]), "l": [mx.array([0.0, 0.0])]}

        def step(x):
            state["a"] += x
            state["l"].append(state["a"])
            state["b"] = x
            return state["a"], state["l"][0], x

        step = compile(step, state)
        seen = []
        for k in range(4):
            x = mx.array([1.0, 1.0])
            a, first, same = step(x)
            same[1] = 7.0
            first[0] = k
            seen += [a is state["a"], first is state["l"][0], same is x, state["b"] is x, state["l"][-1] is a]
            seen += [v.tolist() for v in (a, first, x, state["b"], *state["l"])]
        return seen

    assert run(lambda f, state: mx.compile(f, inputs=state, outputs=state)) == run(lambda f, _: f)


def test_an_array_of_one_element_is_no_number():
    for x in (mx.array([3]), mx.array([[True]]), mx.array([5.0])):
        f = lambda x: mx.random.permutation(x, key=mx.random.key(1))
        check(f, (x,))


# ---- the user's code while a call is read ---------------------------------------------------------


def test_a_container_that_changes_while_it_is_read():
    class Grows:
        def __init__(self, into):
            self.into = into

        def __str__(self):
            self.into[len(self.into)] = 1
            return "grows"

    d = {}
    d[Grows(d)] = d[Grows(d)] = A
    mx.compile(lambda d: B)(d)

    class Growing:
        pass

    held = {"a": Growing(), "b": A}
    grow = lambda _: (held.update({len(held): 1}), ([], None))[1]
    mx.register_tree_node(Growing, grow, lambda aux, children: Growing())
    mx.compile(lambda d: d)(held)
    mx.compile(lambda x: held)(B)


class Trouble(Exception):
    pass


def trouble(*_):
    raise Trouble


def raising(method):
    """An object whose method of this name raises."""
    return type("Raising", (), {method: trouble, "__hash__": trouble if method == "__hash__" else object.__hash__})()


class Broken:
    pass


mx.register_tree_node(Broken, trouble, trouble)


@pytest.mark.parametrize("call", [
    lambda f: f({raising("__str__"): A}),
    lambda f: f(raising("__array__")),
    lambda f: f(raising("__getattr__")),
    lambda f: f([A, Broken()]),
    lambda f: mx.compile(lambda x: Broken())(A),
    lambda f: mx.compile(lambda x: (_ for _ in ()).throw(Trouble()))(A),
    lambda f: mx.compile(lambda x: trouble() if isinstance(x, mx.array) else x)(A),
    lambda f: mx.compile(lambda x: mx.grad(trouble)(x))(A),
    lambda f: mx.compile(lambda x: mx.vmap(trouble)(x))(A),
    lambda f: mx.compile(lambda x: mx.compile(trouble)(x), shapeless=True)(A),
])
def test_what_the_user_raises_arrives_and_the_next_call_works(call):
    f = mx.compile(lambda *args: (A, args))
    for _ in range(2):
        with pytest.raises((Trouble, ValueError)):
            call(f)
        assert f(B)[0].tolist() == [1, 2]
        assert mx.compile(lambda x: x.shape[0] * x)(B).tolist() == [6, 10]


def parted(f):
    # The same in other orders, if equations were taken as calls come.
    g = lambda x, a: (mx.sin(x * 2.1) * mx.cos(a), a * x)
    return lambda x: (f(g)(x, mx.tanh(x))[0] * mx.exp(x)).sum()


def nested(f):
    h = f(lambda x: x * x.shape[0] / mx.sqrt(x @ x))
    return lambda x: (mx.tanh(x) * mx.checkpoint(lambda x: h(x) * x)(x) * h(x)).sum()


def prints(f):
    def g(x, a):
        mx.debug.print("")
        return mx.sin(x * 2.1) * mx.cos(a)

    return lambda x: (f(g)(x, mx.tanh(x)) * mx.exp(x)).sum()


@pytest.mark.parametrize("shapeless", [False, True])
@pytest.mark.parametrize("f", [parted, nested, prints])
def test_derivatives_through_compiled_functions_have_the_bits_of_plain_ones(f, shapeless, capfd):
    plain, compiled = f(lambda g: g), f(lambda g: mx.compile(g, shapeless=shapeless))
    for _ in range(3):
        for k in range(3):
            x = mx.random.normal((100,), key=mx.random.key(k))
            for g in (compiled, mx.compile(compiled), mx.compile(plain)):
                assert mx.array_equal(g(x), plain(x)).item()
        plain, compiled = [(lambda g: lambda x: mx.grad(g)(x).sum())(g) for g in (plain, compiled)]


def test_recursion_without_end_is_an_error_whatever_pythons_limit_is():
    step = mx.compile(lambda x: step(x))
    through = {
        "compile": lambda x: step(x),
        "grad": lambda x: mx.grad(lambda y: through["grad"](y).sum())(x),
        "vmap": lambda x: mx.vmap(through["vmap"])(x[None])[0],
        "jvp": lambda x: mx.jvp(through["jvp"], [x], [x])[0][0],
        "vjp": lambda x: mx.vjp(through["vjp"], [x], [x])[0][0],
        "checkpoint": lambda x: mx.checkpoint(through["checkpoint"])(x),
    }
    limit = sys.getrecursionlimit()
    failures = []

    def all_of_them():
        for name, f in through.items():
            try:
                f(A)
            except RecursionError:
                continue
            except BaseException as e:
                failures.append((name, e))
            else:
                failures.append(name)

    sys.setrecursionlimit(100_000)
    try:
        thread = threading.Thread(target=all_of_them)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
    assert failures == []


def shifted(x):
    """Values that are moved along an axis again and again, and used more than once at each place."""
    return (mx.roll(x * x, 1) / mx.checkpoint(lambda x: mx.roll(x * x, 2) * x)(x)).sum()


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_moved_values_are_computed_once_at_each_place(times):
    f = shifted
    for _ in range(times):
        f = (lambda f: lambda x: mx.grad(lambda x: f(x).sum())(x))(f)
    x = mx.array([0.5, -1.25, 2.0, 0.75, -0.5, 1.5, 3.0, -2.0])
    assert mx.array_equal(mx.compile(f)(x), f(x)).item()
