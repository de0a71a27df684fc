"""Indexing with new axes beside index arrays, against NumPy's shapes and elements."""

import pytest

import lazuli.core as mx

np = pytest.importorskip("numpy")

SHAPE = (3, 4, 5)
INDICES = {
    "array, new": ([0, 1], None),
    "new, array": (None, [0, 1]),
    "array, new, slice": ([0, 1], None, slice(None, None, 2)),
    "slice, array, new": (slice(None), [0, 2], None),
    "new, slice, array": (None, slice(None), [0, 2]),
    "arrays, new, slice": ([0, 1], [1], None, slice(None, None, 2)),
    "apart, new": ([0, 1], slice(None), [1, 2], None),
    "new, apart": (None, [0, 1], slice(None), [1, 2]),
    "new between": ([0, 1], None, [1, 2]),
    "int, new, array": (0, None, [1, 2]),
    "ellipsis, array, new": (..., [1, 2], None),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_new_axes(index):
    want = np.arange(60).reshape(SHAPE)
    got = mx.arange(60).reshape(SHAPE)
    assert np.array_equal(np.array(got[index]), want[index])
    value = np.arange(want[index].size).reshape(want[index].shape)
    want[index] = value
    got[index] = mx.array(value)
    assert np.array_equal(np.array(got), want)
