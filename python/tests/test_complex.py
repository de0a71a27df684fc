"""Statistics of complex numbers against numpy's, their gradients against differences, and what is left where an axis is empty."""

import pytest

import lazuli.core as mx

np = pytest.importorskip("numpy")

Z = np.array([[1 + 2j, 3 - 1j, 0.5j], [2 + 0j, -1 + 1j, 2 + 3j], [80 + 1j, 80 - 1j, -90 + 2j]], np.complex64)
"""With equal real parts, and with numbers whose exponential overflows."""


def top(z, axis):
    """The number that is first by its real part, then by its imaginary part."""
    flat = z.reshape(-1, 1) if axis is None else np.moveaxis(z, axis, 0)
    best = np.sort(flat, axis=0)[-1]
    return best.reshape((1,) * z.ndim) if axis is None else np.expand_dims(best, axis)


def exponentials(z, axis):
    e = np.exp(z - top(z, axis))
    return e, e.sum(axis=axis, keepdims=True)


def softmax(z, axis):
    e, total = exponentials(z, axis)
    return e / total


def logsumexp(z, axis):
    out = np.log(exponentials(z, axis)[1]) + top(z, axis)
    return np.squeeze(out, axis=axis)


def logaddexp(a, b):
    return logsumexp(np.stack([a, b]), 0)


# What Lazuli's function is against; the latter in double precision.
FUNCTIONS = {
    "var": (lambda z: mx.var(z), lambda z: np.var(z)),
    "var of rows": (lambda z: mx.var(z, axis=1, ddof=1), lambda z: np.var(z, axis=1, ddof=1)),
    "std": (lambda z: z.std(0, keepdims=True), lambda z: np.std(z, axis=0, keepdims=True)),
    "softmax": (lambda z: mx.softmax(z, axis=-1), lambda z: softmax(z, -1)),
    "softmax of all": (lambda z: mx.softmax(z[:2], precise=True), lambda z: softmax(z[:2], None)),
    "logsumexp": (lambda z: mx.logsumexp(z, axis=1), lambda z: logsumexp(z, 1)),
    "logsumexp of all": (lambda z: z.logsumexp(), lambda z: logsumexp(z, None)),
    "logaddexp": (lambda z: mx.logaddexp(z[0], z[2]), lambda z: logaddexp(z[0], z[2])),
}


def check(name, got, want):
    got = np.array(got)
    assert got.shape == want.shape and np.iscomplexobj(got) == np.iscomplexobj(want), (name, got, want)
    assert np.allclose(got, want, rtol=2e-5, atol=2e-5), (name, got, want)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_statistics_of_complex_numbers_are_numpys(name):
    ours, numpys = FUNCTIONS[name]
    z = mx.array(Z)
    for f in (ours, mx.compile(ours), mx.compile(ours, shapeless=True)):
        check(name, f(z), numpys(Z.astype(complex)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_statistics_of_complex_numbers(name):
    ours, numpys = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    z, weights = Z.astype(complex), None
    z[2] = [1 + 1j, -1 + 0.5j, 0.25 - 1j]
    if name.startswith("logsumexp of all"):
        z = z * 0.5
    value = numpys(z)
    weights = rng.normal(size=value.shape) + 1j * rng.normal(size=value.shape)
    # A real function of all parts.
    loss = lambda z: np.sum((numpys(z) * weights).real)
    w = mx.array(weights.astype(np.complex64))
    got = mx.grad(lambda z: mx.real(ours(z) * w).sum())(mx.array(z.astype(np.complex64)))
    want, h = np.zeros_like(z), 1e-6
    for k in np.ndindex(z.shape):
        for unit in (1, 1j):
            step = np.zeros_like(z)
            step[k] = h * unit
            want[k] += unit * (loss(z + step) - loss(z - step)) / (2 * h)
    # Which of two conjugates a gradient is, is a convention: that of the gradient of a product.
    product = mx.grad(lambda z: mx.real(z * mx.array(1j)))(mx.array(0j)).item()
    check(name, got, want.conj() if product == 1j else want)


@pytest.mark.parametrize("shape, axis", [((0,), 0), ((0, 3), 0), ((0, 3), 1), ((3, 0), -1), ((3, 0), 0), ((2, 0, 3), None), ((0, 2), (0, 1))])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.complex64, mx.int32])
def test_a_softmax_of_nothing_is_empty(shape, axis, dtype):
    f = lambda x: mx.softmax(x, axis=axis)
    x = mx.zeros(shape, dtype)
    for g in (f, mx.compile(f), mx.compile(f, shapeless=True), mx.vmap(f) if axis not in (None, (0, 1)) and len(shape) > 1 and shape[0] else f):
        got = g(x)
        assert got.shape == shape and got.dtype == (dtype if dtype != mx.int32 else mx.float32)
    if dtype != mx.int32:
        assert mx.grad(lambda x: mx.abs(f(x)).sum())(x).shape == shape


def test_a_trace_of_nothing_holds_for_nothing_else():
    f = lambda x: mx.softmax(x[2:], axis=0)
    for sizes in ((2, 5, 3, 2), (5, 2, 4)):
        compiled = mx.compile(f, shapeless="auto")
        for n in sizes:
            x = mx.arange(n) * 1.0
            assert compiled(x).tolist() == f(x).tolist()


def test_a_sum_of_no_exponentials_is_refused():
    for axis in (0, None):
        with pytest.raises(ValueError, match=r"^\[logsumexp\] an axis of f32\[0,3\] is empty"):
            mx.logsumexp(mx.zeros((0, 3)), axis=axis)
    assert mx.logsumexp(mx.zeros((0, 3)), axis=1).shape == (0,)


@pytest.mark.parametrize("mask", [None, "causal", mx.zeros((3, 0)), mx.zeros((3, 0), mx.bool_)])
def test_attention_to_no_keys_is_zero(mask):
    q, k, v = mx.ones((1, 2, 3, 4)), mx.ones((1, 1, 0, 4)), mx.ones((1, 1, 0, 5))
    attend = lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask=mask)
    for f in (attend, mx.compile(attend)):
        assert mx.array_equal(f(q, k, v), mx.zeros((1, 2, 3, 5)))
    assert mx.array_equal(mx.grad(lambda q: attend(q, k, v).sum())(q), mx.zeros_like(q))
