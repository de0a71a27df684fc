"""Files of arrays against numpy's own, and ``einsum`` and ``linalg.norm`` against numpy's values."""

import math

import numpy as np
import pytest

import lazuli.core as mx

EXTENTS = dict(zip("abcdijklmhq", [2, 3, 2, 3, 4, 4, 5, 3, 2, 2, 3]))
EINSUMS = (
    "ij,jk->ik ij->ji ii->i ii ij,ij bij,bjk->bik i,j ij,j ...ij,jk->...ik ijk,kl,lm->im i,i-> ab,cd-> ij-> bhqd,bhkd->bhqk"
).split()
NORMS = [
    (None, None), (1, 0), (3, 1), (math.inf, 2), (-math.inf, 2), (0, 0), ("fro", (0, 1)), (1, (0, 1)), (-1, (1, 2)),
    (math.inf, (2, 0)), (-math.inf, (0, 2)), (2, 1),
]  # fmt: skip


def check(result, expected):
    result = np.array(result)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("subscripts", EINSUMS)
def test_einsum(subscripts):
    rng = np.random.default_rng(0)
    terms = subscripts.split("->")[0].replace("...", "a").split(",")
    operands = [rng.random([EXTENTS[c] for c in term], dtype=np.float32) for term in terms]
    check(mx.einsum(subscripts, *map(mx.array, operands)), np.asarray(np.einsum(subscripts, *operands)))


@pytest.mark.parametrize("subscripts, operands", [("ij,j", 1), ("i", 1), ("ij->k", 1), ("ij,jk", 2)])
def test_einsum_refuses(subscripts, operands):
    with pytest.raises(ValueError, match="einsum"):
        mx.einsum(subscripts, *[mx.ones((2, 3))] * operands)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("ord, axis", NORMS)
def test_norm(ord, axis, keepdims):
    a = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    check(mx.linalg.norm(mx.array(a), ord, axis, keepdims), np.asarray(np.linalg.norm(a, ord, axis, keepdims)))


def test_numpy_reads_what_save_writes(tmp_path):
    x = mx.arange(6).reshape(2, 3)
    mx.save(tmp_path / "a", x)
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.array(x))
    mx.savez_compressed(tmp_path / "z", x, b=x.T)
    archive = np.load(tmp_path / "z.npz")
    assert sorted(archive) == ["arr_0", "b"]
    assert np.array_equal(archive["b"], np.array(x).T)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "i8", "f2", "f4", "f8", "c8"])
def test_load_reads_what_numpy_writes(tmp_path, dtype, order):
    a = np.asarray(np.arange(6).reshape(2, 3).astype(dtype), order=order)
    np.save(tmp_path / "a.npy", a)
    loaded = mx.load(tmp_path / "a.npy")
    assert np.array(loaded).dtype == a.dtype
    assert np.array_equal(np.array(loaded), a)


def test_safetensors_round_trip(tmp_path):
    x = mx.arange(6).reshape(2, 3)
    arrays = {"x": x, "half": x.astype(mx.bfloat16), "one": mx.array(1 + 2j), "none": mx.zeros((0, 2))}
    mx.save_safetensors(tmp_path / "s", arrays, {"k": "v"})
    loaded, metadata = mx.load(tmp_path / "s.safetensors", return_metadata=True)
    assert metadata == {"k": "v"}
    for name, a in arrays.items():
        assert loaded[name].dtype == a.dtype
        assert loaded[name].tolist() == a.tolist()


@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_a_damaged_file_is_an_error(tmp_path, name):
    path = tmp_path / name
    whole = tmp_path / f"whole-{name}"
    (mx.save if name.endswith("npy") else lambda f, a: mx.save_safetensors(f, {"a": a}))(whole, mx.arange(6))
    for length in [0, 5, 9, len(whole.read_bytes()) - 1]:
        path.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(ValueError):
            mx.load(path)


@pytest.mark.parametrize("ragged", [[1, [2]], [[1], 2], [[1, 2], [3]], [[1, 2], [[3], [4]]], [1, []], [[], 1]])
def test_rows_have_one_length_and_depth(ragged):
    with pytest.raises(ValueError):
        mx.array(ragged)


def test_doubles_of_numpy_are_float32_unless_asked_for():
    assert mx.array(np.zeros(2)).dtype == mx.float32
    assert mx.array(np.zeros(2), mx.float64).dtype == mx.float64
