"""Arrays that are put together from parts, and parts that begin at positions which are data."""

import lazuli.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [2, 17, 3000])
def test_any_number_of_parts_is_joined(axis, count):
    parts = [np.full((2, 3), k, np.float32) for k in range(count)]
    joined = mx.compile(lambda xs: mx.concatenate([-x for x in xs], axis) + 1)
    assert np.array_equal(joined([mx.array(p) for p in parts]), 1 - np.concatenate(parts, axis))
    assert len(joined.explain([mx.array(p) for p in parts]).kernels) == 1


PUT_TOGETHER = [
    ("rotation", lambda x: mx.concatenate([-x[:, 2:], x[:, :2]], 1) * 0.5 + x),
    ("stack", lambda x: mx.stack([x, mx.exp(x)], -1).reshape(-1)),
    ("two borders", lambda x: mx.pad(x, 1) * 2 + mx.pad(x, ((0, 2), (2, 0)), constant_values=3)),
    ("border in a sum", lambda x: mx.pad(x, ((1, 0), (0, 1)), constant_values=x[0, 0]).sum(axis=0)),
    ("joined twice", lambda x: mx.concatenate([mx.concatenate([x, x * 2], 0), mx.roll(x, 1, 1)], 0)),
    ("turned", lambda x: mx.concatenate([x, x + 1], 0).T + mx.concatenate([x.T, x.T], 1)),
    ("gradient of differences", mx.grad(lambda x: ((x[1:] - x[:-1]) ** 2).sum() + (x[:, 2:] * x[:, :-2]).sum())),
    ("before a product", lambda x: mx.concatenate([x, x], 1) @ mx.concatenate([x, x * 2], 1).T),
]


@pytest.mark.parametrize(("name", "function"), PUT_TOGETHER, ids=[name for name, _ in PUT_TOGETHER])
def test_what_is_put_together_is_that_of_plain_python(name, function):
    compiled, shapeless = mx.compile(function), mx.compile(function, shapeless="auto")
    for rows, columns in [(4, 5), (3, 3), (1, 7), (6, 5), (40, 33)]:
        x = mx.array(np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32))
        plain = np.array(function(x))
        assert np.array_equal(compiled(x), plain) and np.array_equal(shapeless(x), plain)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2), ()])
def test_parts_begin_at_positions_that_are_data(axes):
    shape, size = (4, 5, 20), (2, 5, 17)
    a = np.arange(400, dtype=np.float32).reshape(shape)
    u = -np.ones(size, np.float32)
    for begin in (-3, 0, 1, 100):
        starts = [min(max(begin, 0), shape[k] - size[k]) if k in axes else 0 for k in range(3)]
        at = tuple(slice(s, s + n) for s, n in zip(starts, size))
        begins = mx.array([begin] * len(axes), dtype=mx.int32)
        want = a.copy()
        want[at] = u
        for wrap in (lambda f: f, mx.compile):
            assert np.array_equal(wrap(lambda x, b: mx.slice(x, b, axes, size))(mx.array(a), begins), a[at])
            updated = wrap(lambda x, u, b: mx.slice_update(x, u, b, axes))(mx.array(a), mx.array(u), begins)
            assert np.array_equal(updated, want)


def test_parts_may_be_empty_and_of_any_extent():
    assert mx.slice(mx.zeros((0,)), mx.array([0]), [0], [0]).shape == (0,)
    assert mx.slice_update(mx.zeros((0, 4)), mx.zeros((0, 2)), mx.array([1]), [1]).shape == (0, 4)
    rows = mx.compile(lambda x: mx.slice(x, mx.array([1]), [0], [2, x.shape[1]]), shapeless=True)
    for n in (2, 3, 50):
        assert np.array_equal(rows(mx.arange(4 * n).reshape(4, n)), np.arange(4 * n).reshape(4, n)[1:3])


def test_rows_at_positions_outside_are_those_at_the_ends():
    x = np.arange(60, dtype=np.float32).reshape(3, 20)
    rows = mx.compile(lambda x, i: x[i] * 2)
    assert np.array_equal(rows(mx.array(x), mx.array([-1, 0, 2, -3])), x[[-1, 0, 2, -3]] * 2)
    for at in (7, -9, 2**62, -(2**62)):
        row = np.array(rows(mx.array(x), mx.array([at], dtype=mx.int64)))
        assert any(np.array_equal(row[0], r * 2) for r in x)
