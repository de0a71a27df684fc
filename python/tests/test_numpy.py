"""Arrays among Python's and numpy's values: conversions, operators, protocols."""

import copy
import math
import pickle

import pytest

import lazuli.core as mx

np = pytest.importorskip("numpy")

DTYPES = ["bool_", "uint8", "int16", "uint32", "int64", "float16", "bfloat16", "float32", "float64", "complex64"]


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_and_pickles(dtype):
    x = mx.array([[0, 1, 2], [3, 4, 5]]).astype(getattr(mx, dtype)).T
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.deepcopy({"a": [x]})["a"][0]):
        assert y is not x and same(x, y)
    y = copy.deepcopy(x)
    y[0] = 0
    assert x.tolist() != y.tolist() or dtype == "bool_"
    assert pickle.loads(pickle.dumps(x.dtype)) == x.dtype


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bfloat16"])
def test_numpy_sees_the_elements(dtype):
    x = mx.array([[0, 1, 2], [3, 4, 5]]).astype(getattr(mx, dtype))
    for y in (np.asarray(x), np.array(x), np.asarray(x.T).T, np.asarray(memoryview(x))):
        assert y.dtype == getattr(np, dtype) and y.tolist() == x.tolist()
    assert bytes(x) == np.array(x).tobytes()
    assert same(mx.array(np.array(x)), x.astype(mx.float32) if dtype == "float64" else x)


@pytest.mark.parametrize("value, name", [
    (np.timedelta64(5, "s"), r"timedelta64\[s\]"),
    (np.datetime64("2020-01-01"), r"datetime64\[D\]"),
    (np.array([1, 2], "m8[ms]"), r"timedelta64\[ms\]"),
    (np.array(["2020-01-01"], "M8[D]"), r"datetime64\[D\]"),
])  # fmt: skip
def test_times_are_refused(value, name):
    for make in (mx.array, mx.asarray, lambda v: mx.array([v]), lambda v: mx.add(mx.ones(1), v)):
        with pytest.raises(TypeError, match=rf"^\[array\] {name} of numpy's has no dtype here: .*astype\('int64'\)"):
            make(value)
    with pytest.raises(ValueError, match=rf"args\[0\]\['w'\]\[1\] is of type {type(value).__name__}, of which no array.*{name}"):
        mx.compile(lambda tree: tree["w"][0])({"w": [mx.ones(1), value]})


def test_integers_that_fit_uint64_alone():
    top = 2**64 - 1
    for value in ([2**63, 1], [[top], [0]], (2**63,)):
        assert mx.array(value, dtype=mx.uint64).tolist() == np.array(value, dtype=np.uint64).tolist()
    assert mx.array(top, dtype=mx.uint64).item() == top
    with pytest.raises(ValueError, match=r"the integer 9223372036854775808 fits uint64 only: .*dtype=mx.uint64"):
        mx.array([2**63])
    with pytest.raises(ValueError, match="does not fit 64 bits"):
        mx.array([2**64], dtype=mx.uint64)


def test_numbers():
    assert (int(mx.array(3.7)), float(mx.array([[2]])), complex(mx.array(1)), bool(mx.array([0.0]))) == (3, 2.0, 1 + 0j, False)
    assert [10, 20, 30][mx.array(1)] == 20 and list(range(5))[mx.array(1) : mx.array(3)] == [1, 2]
    assert same(round(mx.array(2.5)), mx.array(2.0)) and abs(round(mx.array(1.256), 2).item() - 1.26) < 1e-6
    assert f"{mx.array(3.14159):.2f}" == "3.14" and f"{mx.array(7):03d}" == "007" and f"{mx.array([1, 2])}" == "array([1, 2], dtype=int32)"
    assert f"{mx.array(0.5)}" == "0.5" and f"{mx.array(True)}" == "True"
    assert math.sqrt(mx.array(4.0)) == 2.0 and math.isnan(mx.array(math.nan))
    assert np.zeros(mx.array(3)).shape == (3,)
    for bad, error in ((lambda: float(mx.array([1, 2])), ValueError), (lambda: [1][mx.array(0.0)], TypeError), (lambda: f"{mx.array([1.0]):.2f}", TypeError),
                       (lambda: len(mx.array(1)), TypeError), (lambda: list(mx.array(1)), TypeError), (lambda: bool(mx.array([])), ValueError)):  # fmt: skip
        with pytest.raises(error):
            bad()


def test_containers():
    x = mx.array([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and len(x) == 2
    a, b = x
    assert a.tolist() == [1, 2]
    assert 3 in x and 7 not in x
    assert {x: 1}[x] == 1 and hash(x) != hash(mx.array([[1, 2], [3, 4]]))
    assert (x == x).tolist() == [[True, True], [True, True]] and (x == "a") is False and (x != None) is True  # noqa: E711
    with pytest.raises(TypeError):
        x < "a"


def test_operators_between_numpy_and_lazuli():
    x, n = mx.array([1.0, 2.0]), np.array([3.0, 4.0], dtype=np.float32)
    for z in (x + n, n + x, x * n, n * x, n - x, n @ x, x @ n, n < x, np.float32(2) * x, np.int64(2) * x, x / np.float64(2), n // x, n**x):
        assert isinstance(z, mx.array)
    assert (n - x).tolist() == [2, 2] and (np.float64(2) / x).dtype == mx.float32
    # numpy's scalars are numbers: they do not widen an array.
    i = mx.array([1, 2])
    assert (i * np.int64(2)).dtype == mx.int32 and (np.int64(2) * i).dtype == mx.int32 and (i * np.float64(2)).dtype == mx.float32
    n += x
    assert isinstance(n, np.ndarray) or isinstance(n, mx.array)
    assert np.sin(x).tolist() == pytest.approx([math.sin(1), math.sin(2)])
    assert np.add(x, 1).tolist() == [2, 3] and np.sum(x) == 3 and np.max(x) == 2 and np.allclose(x, [1, 2])


def test_functions_of_numpy_that_are_methods_give_lazulis():
    x = mx.array([[1.0, 2.0, 4.0], [8.0, 3.0, 0.0]])
    for function in (np.sum, np.mean, np.var, np.std, np.max, np.min, np.prod, np.any, np.all, np.argmax, np.argmin):
        for arguments in ({}, {"axis": 0}, {"axis": 1, "keepdims": True}):
            got, want = function(x, **arguments), function(np.array(x), **arguments)
            assert isinstance(got, mx.array) and got.shape == want.shape
            assert got.tolist() == pytest.approx(want.tolist()) if want.ndim < 2 else np.allclose(got, want)
    assert np.std(x, ddof=1).item() == pytest.approx(np.std(np.array(x), ddof=1))
    with pytest.raises(TypeError, match="'dtype'"):
        np.mean(x, dtype=np.float64)


def test_what_arrays_are_made_of():
    f = mx.array
    for value, dtype, shape in [
        (np.arange(3), mx.int64, (3,)), (np.arange(3.0), mx.float32, (3,)), (np.float64(1.5), mx.float32, ()), (np.int8(1), mx.int8, ()),
        (np.array([1j]), mx.complex64, (1,)), (np.array([True]), mx.bool_, (1,)), ([np.arange(2), np.arange(2)], mx.int64, (2, 2)),
        ([f(1), 2], mx.int32, (2,)), ([f(1), 2.5], mx.float32, (2,)), ([f(1.0).astype(mx.float16), 2], mx.float16, (2,)),
        ([[1, True], [2.5, 3]], mx.float32, (2, 2)), ([2**40, 1], mx.int64, (2,)), ([], mx.float32, (0,)), ([[]], mx.float32, (1, 0)),
        (b"abc", mx.uint8, (3,)), (memoryview(b"abc"), mx.uint8, (3,)), (bytearray(b"ab"), mx.uint8, (2,)), ((1, 2), mx.int32, (2,)),
    ]:  # fmt: skip
        x = f(value)
        assert (x.dtype, x.shape) == (dtype, shape), value
    assert mx.arange(2**33, 2**33 + 2).tolist() == [2**33, 2**33 + 1]
    for value in ("abc", None, {}, {1, 2}, object(), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError, match="array"):
            f(value)
    for value in ([1, [2]], [[1, 2], [3]], 2**64):
        with pytest.raises(ValueError):
            f(value)


UPDATES = {
    "int": (1, 9), "slice": (slice(1, 3), 9), "step": (slice(None, None, 2), [9, 8, 7]), "backwards": (slice(None, None, -1), [0, 1, 2, 3, 4, 5]),
    "list": ([0, 2], [9, 8]), "mask": ("mask", 9), "ellipsis": (..., 9), "negative": (-1, 9), "empty": (slice(3, 3), 9),
}  # fmt: skip


@pytest.mark.parametrize("case", UPDATES)
def test_updates_in_place(case):
    index, value = UPDATES[case]
    want, got = np.arange(6), mx.arange(6)
    kept, alias = got + 0, got
    if index == "mask":
        want[want % 2 == 0] = value
        got[got % 2 == 0] = value
    else:
        want[index] = value
        got[index] = mx.array(value)
    assert got.tolist() == want.tolist() and alias is got and kept.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("name,call", [("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("maximum", np.maximum), ("minimum", np.minimum)])
def test_updates_at_an_index(name, call):
    want, x = np.arange(6), mx.arange(6)
    y = getattr(x.at[mx.array([1, 1, 4])], name)(2)
    call.at(want, [1, 1, 4], 2)
    assert y.tolist() == want.tolist() and x.tolist() == list(range(6))


def test_in_place_operators():
    x = y = mx.array([4.0, 9.0])
    for operator in ("+=", "-=", "*=", "/=", "//=", "%=", "**="):
        a, b = mx.array([7.0, 9.0]), np.array([7.0, 9.0], dtype=np.float32)
        names = {"a": a, "b": b}
        exec(f"a {operator} 2.0; b {operator} 2.0", names)
        assert names["a"] is a and names["a"].tolist() == names["b"].tolist(), operator
    x += 1
    assert y is x and y.tolist() == [5, 10]


def test_masks_cannot_choose():
    x = mx.arange(4)
    for index in (x > 1, [True, False, True, False], (x > 1, 0)):
        with pytest.raises(IndexError, match="mask"):
            x[index]


NOTHING = {
    "softmax": lambda x: mx.softmax(x, -1), "rms_norm": lambda x: mx.fast.rms_norm(x), "layer_norm": lambda x: mx.fast.layer_norm(x),
    "layer_norm with weights": lambda x: mx.fast.layer_norm(x, mx.ones(x.shape[-1]), mx.ones(x.shape[-1])), "centred": lambda x: x - x.mean(-1, keepdims=True),
    "scaled": lambda x: x / (1 + x.sum(-1, keepdims=True)), "cumsum": lambda x: mx.cumsum(x, -1), "sort": lambda x: mx.sort(x, -1), "product": lambda x: x @ x.T @ x,
    "sum": lambda x: x.sum(-1), "var": lambda x: x.var(0), "reshape": lambda x: x.reshape(x.shape[::-1]), "take": lambda x: mx.take(x, mx.array([], dtype=mx.int32), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("compiled", [False, True])
def test_arrays_without_elements(name, shape, compiled):
    f = mx.compile(NOTHING[name]) if compiled else NOTHING[name]
    for x in (mx.zeros(shape), mx.array(np.zeros(shape, np.float32))):
        try:
            y = f(x)
        except ValueError:  # what has no value for them
            assert name == "take" or (name in ("softmax", "product") and (shape[-1] == 0 or len(shape) != 2))
        else:
            assert np.asarray(y).shape == y.shape and y.size <= 4


def test_printing():
    for text, x in {
        "array([0, 1, 2, 3, 4, 5], dtype=int32)": mx.arange(6),
        "array([0, 1, 2, ..., 4, 5, 6], dtype=int32)": mx.arange(7),
        "array([[0, 1],\n       [2, 3],\n       [4, 5],\n       ...,\n       [8, 9],\n       [10, 11],\n       [12, 13]], dtype=int32)": mx.arange(14).reshape(7, 2),
        "array([True, False], dtype=bool)": mx.array([True, False]),
        "array([], dtype=float32)": mx.array([]),
        "array(1+2j, dtype=complex64)": mx.array(1 + 2j),
        "array([0.333333, 1e-07, 1e+10, nan, -inf], dtype=float32)": mx.array([1 / 3, 1e-7, 1e10, math.nan, -math.inf]),
    }.items():
        assert repr(x) == str(x) == text
    with mx.printoptions(precision=3):
        assert repr(mx.array([1 / 3, 100.5])) == "array([0.333, 100.500], dtype=float32)"
    assert repr(mx.array([1 / 3])) == "array([0.333333], dtype=float32)"


def test_the_new_functions_against_numpy():
    a = np.array([3.0, 1.0, 2.0, 2.0, np.nan], dtype=np.float32)
    s, v = np.sort(a), np.array([[0.0, 2.0, 5.0], [np.nan, 1.0, 2.5]], dtype=np.float32)
    for side in ("left", "right"):
        assert mx.searchsorted(mx.array(s), mx.array(v), side).tolist() == np.searchsorted(s, v, side).tolist()
    assert mx.searchsorted(mx.array([]), mx.array(v)).tolist() == np.searchsorted([], v).tolist()
    n = np.random.default_rng(0).integers(0, 9, (5, 6))
    values, index, inverse, counts = np.unique(n, return_index=True, return_inverse=True, return_counts=True)
    got = mx.unique(mx.array(n), len(values), True, True, True)
    for x, want in zip(got, (values, index, inverse, counts)):
        assert x.tolist() == want.reshape(x.shape).tolist()
    more = mx.unique(mx.array(n), len(values) + 2, True, True, True, fill_value=-1)
    assert more[0].tolist() == [*values.tolist(), -1, -1] and more[3].tolist() == [*counts.tolist(), 0, 0]
    assert mx.unique(mx.array(n), 2).tolist() == values[:2].tolist()
    for name in ("hanning", "hamming", "blackman", "bartlett"):
        for m in (0, 1, 2, 5, 8):
            assert np.allclose(np.array(getattr(mx, name)(m)), getattr(np, name)(m), atol=1e-6), (name, m)
    assert mx.trunc(mx.array([1.5, -1.5, -0.2])).tolist() == [1, -1, -0.0] and mx.trunc(mx.array([True])).dtype == mx.bool_
    p, q = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([[7.0, 8, 10], [1, 0, 2]])
    assert mx.linalg.cross(mx.array(p), mx.array(q)).tolist() == np.cross(p, q).tolist()
    assert mx.linalg.cross(mx.array(p.T), mx.array(q.T), axis=0).tolist() == np.cross(p.T, q.T, axis=0).tolist()
    assert mx.count_nonzero(mx.array(n), axis=1).tolist() == np.count_nonzero(n, axis=1).tolist()
    assert mx.slice(mx.array(n), mx.array([4, 1]), (0, 1), (2, 3)).tolist() == n[3:5, 1:4].tolist()
    assert mx.linspace(0, 1, 4, endpoint=False).tolist() == [0, 0.25, 0.5, 0.75]
    assert [x.tolist() for x in mx.minmax(mx.array(n), axis=0)] == [n.min(0).tolist(), n.max(0).tolist()]
    assert mx.as_strided(mx.arange(6), (4,), (-1,), 4).tolist() == [4, 3, 2, 1]
    with pytest.raises(ValueError):
        mx.as_strided(mx.arange(6), (4,), (2,))


@pytest.mark.parametrize("axis", [0, 1])
def test_complex_numbers_are_sorted_by_their_parts(axis):
    a = np.random.default_rng(0).integers(-2, 3, (7, 40, 2)).astype(np.float32)
    a = (a[..., 0] + 1j * a[..., 1]).astype(np.complex64)
    x = mx.array(a)
    assert np.array_equal(np.array(mx.sort(x, axis)), np.sort(a, axis))
    assert np.array_equal(np.array(mx.argsort(x, axis)), np.argsort(a, axis, kind="stable"))
    assert np.array_equal(np.array(mx.compile(lambda x: mx.sort(x, axis) * 2)(x)), np.sort(a, axis) * 2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "scan, x, first, second",
    [
        # p = (a, ab, abc): the gradient of their sum is (1 + b + bc, a + ac, ab).
        ("cumprod", [2, 0, 3], [1, 8, 0], [8, 10, 4]),
        ("cumprod", [0, 0, 3], [1, 0, 0], [8, 4, 0]),
        # With s = sigmoid(1): (0, 2 − s, s), and the second by s (1 − s).
        ("logcumsumexp", [-math.inf, 1, 2], [0, 1.2689414, 0.7310586], [0, -0.1966119, 0.1966119]),
        ("logcumsumexp", [-math.inf, -math.inf, 1], [0, 0, 1], [0, 0, 0]),
        ("logcumsumexp", [1, -math.inf], [2, 0], [0, 0]),
    ],
)
def test_derivatives_of_scans_at_zeros_and_infinities(scan, x, first, second, reverse):
    weights = mx.arange(1.0, len(x) + 1)
    x, weights, first, second = [np.flip(np.array(v)) if reverse else np.array(v) for v in (x, weights, first, second)]

    def sums(x):
        y = getattr(mx, scan)(x, 0, reverse=reverse)
        return mx.where(mx.isinf(y), 0, y).sum() if scan == "logcumsumexp" else y.sum()

    def weighted(x):
        return (mx.grad(sums)(x) * mx.array(weights)).sum()

    x = mx.array(x.astype(np.float32))
    for got, want in [(mx.grad(sums)(x), first), (mx.grad(weighted)(x), second)]:
        np.testing.assert_allclose(np.array(got), want, rtol=1e-5, atol=1e-6)
    assert np.array_equal(np.array(mx.compile(mx.grad(weighted))(x)), np.array(mx.grad(weighted)(x)), equal_nan=True)
