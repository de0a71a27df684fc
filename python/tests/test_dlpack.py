"""DLPack both ways, against numpy and against an exporter written here: values, sharing, lifetime, what is refused."""

import ctypes
import gc
import sys
import threading

import pytest

import lazuli.core as mx

np = pytest.importorskip("numpy")

DTYPES = [
    "bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
    "complex64",
]  # fmt: skip
SHAPES = [(), (1,), (5,), (0,), (2, 3), (2, 0, 3), (2, 3, 4)]


def values(shape, dtype):
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    return np.asarray(numbers % 2 if dtype == "bool_" else numbers).astype(getattr(np, dtype))


def address(a):
    return np.asarray(a).__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_and_back(dtype, shape):
    want = values(shape, dtype)
    x = mx.from_dlpack(want)
    assert x.dtype == getattr(mx, dtype) and x.shape == shape
    out = np.from_dlpack(x)
    assert out.dtype == want.dtype and out.shape == shape
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(np.array(x + x), want + want)


VIEWS = {
    "transposed": lambda a: a.T,
    "steps": lambda a: a[:, ::2],
    "reversed": lambda a: a[::-1, ::-1],
    "part": lambda a: a[1:, 2:],
    "broadcast": lambda a: np.broadcast_to(a[0], (3, *a[0].shape)),
    "one element": lambda a: a[1:2, 3:4],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize("copy", [None, True, False])
def test_strides(view, copy):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    want = view(base)
    x = mx.from_dlpack(want, copy=copy)
    assert x.tolist() == want.tolist()
    np.testing.assert_array_equal(np.array(mx.exp(x) @ mx.ones(x.shape[1])), np.array(mx.exp(mx.array(want)) @ mx.ones(x.shape[1])))
    np.testing.assert_array_equal(np.array(x.sum(0)), want.sum(0))


def test_memory_is_shared_both_ways():
    a = np.arange(4, dtype=np.float32)
    x = mx.from_dlpack(a)
    a[0] = 7
    assert x.tolist() == [7, 1, 2, 3]
    y = mx.array([1.0, 2.0])
    mx.eval(y)
    out = np.from_dlpack(y)
    assert address(y) == address(out)
    assert not out.flags.writeable
    assert mx.array(a).tolist() == [7, 1, 2, 3]
    a[0] = 8
    assert mx.array(a).tolist() == [8, 1, 2, 3]


def test_copies_are_apart():
    a = np.arange(4, dtype=np.float32)
    copies = [mx.from_dlpack(a, copy=True), mx.array(a), mx.asarray(a, copy=True), mx.asarray(a, dtype=mx.int32)]
    a[:] = 9
    assert all(c.tolist() == [0, 1, 2, 3] for c in copies)


def test_what_is_lent_is_not_written_to():
    """A compiled update may use the memory of what it replaces, but not what somebody outside looks at."""
    x = mx.arange(4.0)
    mx.eval(x)
    seen, capsule = np.from_dlpack(x), x.__dlpack__(max_version=(1, 0))
    view = memoryview(x)
    state = [x]
    del x

    def step():
        state[0] = state[0] * 2 + 1

    step = mx.compile(step, inputs=state, outputs=state)
    for _ in range(3):
        step()
        mx.eval(state)
    assert seen.tolist() == view.tolist() == [0, 1, 2, 3]
    assert state[0].tolist() == [7, 15, 23, 31]
    del capsule
    borrowed = np.arange(4, dtype=np.float32)
    state = [mx.from_dlpack(borrowed)]

    def again():
        state[0] = state[0] + 1

    again = mx.compile(again, inputs=state, outputs=state)
    for _ in range(3):
        again()
        mx.eval(state)
    assert borrowed.tolist() == [0, 1, 2, 3]
    assert state[0].tolist() == [3, 4, 5, 6]


def test_the_memory_outlives_the_array():
    x = mx.arange(1000.0)
    out = np.from_dlpack(x)
    del x
    gc.collect()
    mx.eval(mx.zeros(1000) + 5)
    assert out.tolist() == list(range(1000))


def test_an_exporter_lives_as_long_as_its_array():
    before = sys.getrefcount(base := np.arange(1000, dtype=np.float32))
    x = mx.from_dlpack(base)
    part = x[::2] + 0
    assert sys.getrefcount(base) > before
    del x
    assert part.tolist() == list(range(0, 1000, 2))
    del part
    for _ in range(3):
        gc.collect()
    assert sys.getrefcount(base) == before


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER)]


class Exporter:
    """Gives capsules without a version, counts how often they are given back, and on which thread."""

    def __init__(self, code=2, bits=32, shape=(3,), strides=None, device=1, offset=0, lanes=1, length=16):
        self.memory = (ctypes.c_uint8 * (length + 16))()
        self.given_back = 0
        self.shape = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        self.strides = None if strides is None else (ctypes.c_int64 * max(len(strides), 1))(*strides)
        start = ctypes.addressof(self.memory)
        start += -start % 16
        ctypes.memmove(start, (ctypes.c_float * 4)(1, 2, 3, 4), 16)
        self.managed = Managed()
        self.managed.tensor = Tensor(start, device, 0, len(shape), code, bits, lanes, self.shape, self.strides, offset)
        self.device = device
        self.managed.deleter = self.deleter = DELETER(self.delete)

    def delete(self, _):
        self.given_back += 1

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self):
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return make(ctypes.addressof(self.managed), b"dltensor", None)


def test_what_is_given_is_given_back_once():
    e = Exporter()
    x = mx.from_dlpack(e)
    assert x.tolist() == [1, 2, 3]
    y = x * 2
    assert e.given_back == 0
    del x
    assert y.tolist() == [2, 4, 6]
    del y
    for _ in range(3):
        gc.collect()
    assert e.given_back == 1
    e = Exporter()
    assert mx.array(e).tolist() == [1, 2, 3]
    assert e.given_back == 1


def test_an_array_may_die_on_another_thread():
    e = Exporter()
    held = [mx.from_dlpack(e)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    for _ in range(1000):
        if e.given_back:
            break
    assert e.given_back == 1


EXPORTED = {
    "offset": (Exporter(offset=4, shape=(2,)), [2, 3]),
    "strides": (Exporter(shape=(2,), strides=(2,)), [1, 3]),
    "backwards": (Exporter(shape=(2,), strides=(-1,), offset=4), [2, 1]),
    "a number": (Exporter(shape=()), 1),
    "nothing": (Exporter(shape=(0, 3)), []),
    "not aligned": (Exporter(code=1, bits=16, shape=(1,), offset=3), [(0x3F << 0) | (0x00 << 8)]),
    "bfloat16": (Exporter(code=4, bits=16, shape=(2,)), [0, 1]),
    "complex128": (Exporter(code=5, bits=128, shape=(1,)), None),
}


@pytest.mark.parametrize("case", EXPORTED)
def test_exporters_without_versions(case):
    exporter, want = EXPORTED[case]
    x = mx.from_dlpack(exporter)
    assert want is None or x.tolist() == want
    del x
    gc.collect()
    assert exporter.given_back == 1


REFUSED = {
    "another device": (lambda: Exporter(device=2), ValueError),
    "no dtype": (lambda: Exporter(code=3), TypeError),
    "vectors": (lambda: Exporter(lanes=4), TypeError),
    "float8": (lambda: Exporter(bits=8), TypeError),
    "a negative extent": (lambda: Exporter(shape=(-1,)), BufferError),
    "no support": (lambda: [1, 2], TypeError),
    "no array": (lambda: None, TypeError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_refused(case):
    make, error = REFUSED[case]
    exporter = make()
    with pytest.raises(error, match="from_dlpack"):
        mx.from_dlpack(exporter)
    gc.collect()
    if isinstance(exporter, Exporter) and case != "another device":
        assert exporter.given_back == 1


def test_never_copying():
    with pytest.raises(ValueError, match="not aligned"):
        mx.from_dlpack(Exporter(code=1, bits=16, shape=(1,), offset=3), copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        mx.asarray([1, 2], copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        mx.asarray(np.arange(3.0), copy=False)
    x = mx.array([1.0])
    assert mx.asarray(x, copy=False).tolist() == [1]


def test_exporting():
    x = mx.array([1.0, 2.0])
    assert x.__dlpack_device__() == (1, 0)
    assert '"dltensor"' in repr(x.__dlpack__())
    assert '"dltensor_versioned"' in repr(x.__dlpack__(max_version=(1, 2)))
    with pytest.raises(BufferError, match="read-only"):
        x.__dlpack__(copy=False)
    with pytest.raises(BufferError, match="CPU"):
        x.__dlpack__(dl_device=(2, 0))
    old = mx.from_dlpack(Old(x))
    assert old.tolist() == [1, 2] and address(old) != address(x)

    @mx.compile
    def f(x):
        np.from_dlpack(x)
        return x

    with pytest.raises(mx.TracerError):
        f(x)


class Old:
    """A consumer's view of an exporter that knows no versions."""

    def __init__(self, x):
        self.x = x

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()

    def __dlpack__(self):
        return self.x.__dlpack__()


def test_capsules_that_nobody_takes():
    x = mx.zeros(1 << 16)
    mx.eval(x)
    mx.synchronize()
    before = mx.get_active_memory()
    for version in (None, (1, 0)):
        for copy in (None, True):
            capsules = [x.__dlpack__(max_version=version, copy=copy) for _ in range(4)]
            del capsules
    gc.collect()
    assert mx.get_active_memory() == before


def test_bfloat16():
    x = mx.array([1.5, -2.0], dtype=mx.bfloat16)
    assert mx.from_dlpack(x).dtype == mx.bfloat16
    assert np.asarray(x).dtype == np.float32 and np.asarray(x).tolist() == [1.5, -2.0]
