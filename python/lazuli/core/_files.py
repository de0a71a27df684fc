"""Arrays in files: numpy's ``.npy`` and ``.npz``, and safetensors. Nothing here needs numpy.

Arrays in Fortran order are read, and written row by row. Absent: GGUF.
"""

from __future__ import annotations

import ast
import io
import json
import math
import os
import struct
import zipfile
from contextlib import contextmanager
from typing import Any, BinaryIO, Iterator

from lazuli._lazuli import array

__all__ = ["load", "save", "save_safetensors", "savez", "savez_compressed"]

# dtype: (type string of numpy, name in safetensors)
_NAMES = {
    "bool": ("|b1", "BOOL"),
    "uint8": ("|u1", "U8"),
    "int8": ("|i1", "I8"),
    "uint16": ("<u2", "U16"),
    "int16": ("<i2", "I16"),
    "uint32": ("<u4", "U32"),
    "int32": ("<i4", "I32"),
    "uint64": ("<u8", "U64"),
    "int64": ("<i8", "I64"),
    "float16": ("<f2", "F16"),
    "bfloat16": (None, "BF16"),
    "float32": ("<f4", "F32"),
    "float64": ("<f8", "F64"),
    "complex64": ("<c8", "C64"),
}
_OF_NUMPY = {names[0]: dtype for dtype, names in _NAMES.items() if names[0]}
_OF_SAFETENSORS = {names[1]: dtype for dtype, names in _NAMES.items()}
_NPY = b"\x93NUMPY"


def _parts(a: array) -> tuple[list[int], str, bytes]:
    """Shape, dtype and row-major bytes of an array: the state that pickle keeps."""
    if not isinstance(a, array):
        raise TypeError(f"[save] can only save arrays, not {type(a).__name__}")
    return a.__getstate__()


def _array(shape: list[int], dtype: str, data: bytes) -> array:
    out = array(0)
    out.__setstate__((shape, dtype, data))
    return out


@contextmanager
def _opened(file: Any, mode: str, suffix: str = "") -> Iterator[BinaryIO]:
    """An open file as it is, or the one at a path, which gets ``suffix`` if it lacks it."""
    if hasattr(file, "read") or hasattr(file, "write"):
        yield file
        return
    path = os.fspath(file)
    if suffix and not path.endswith(suffix):
        path += suffix
    with open(path, mode) as opened:
        yield opened


def _write_npy(file: BinaryIO, a: array) -> None:
    shape, dtype, data = _parts(a)
    code = _NAMES[dtype][0]
    if code is None:
        raise ValueError(f"[save] numpy's format has no {dtype}: cast with astype(float32), or use save_safetensors")
    header = repr({"descr": code, "fortran_order": False, "shape": tuple(shape)}).encode()
    fill = -(len(_NPY) + 4 + len(header) + 1) % 64
    header += b" " * fill + b"\n"
    file.write(_NPY + b"\x01\x00" + struct.pack("<H", len(header)) + header + data)


def _read_npy(file: BinaryIO) -> array:
    start = file.read(8)
    if start[:6] != _NPY or len(start) != 8:
        raise ValueError("[load] this is no .npy file")
    size, form = (2, "<H") if start[6] == 1 else (4, "<I")
    try:
        header = ast.literal_eval(file.read(struct.unpack(form, file.read(size))[0]).decode("latin1").strip())
        code, shape, reverse = header["descr"], list(header["shape"]), header["fortran_order"]
    except (struct.error, ValueError, SyntaxError, KeyError, TypeError) as e:
        raise ValueError("[load] the header of the .npy file cannot be read") from e
    dtype = _OF_NUMPY.get(code)
    if dtype is None:
        raise ValueError(f"[load] arrays of numpy's type {code!r} have no dtype here")
    items = math.prod(shape)
    data = file.read(items * int(code[2:]))
    if not reverse:
        return _array(shape, dtype, data)
    return _array(shape[::-1], dtype, data).transpose()


def save(file: Any, arr: array) -> None:
    """Writes an array to a ``.npy`` file.

    Args:
        file: a path (the extension is added if it is missing) or a file open for writing bytes.
        arr: of any dtype but bfloat16, which the format does not have.

    Example:
        >>> import io, lazuli.core as mx
        >>> file = io.BytesIO()
        >>> mx.save(file, mx.array([1, 2]))
        >>> _ = file.seek(0)
        >>> mx.load(file)
        array([1, 2], dtype=int32)
    """
    with _opened(file, "wb", ".npy") as out:
        _write_npy(out, arr)


def _savez(file: Any, args: tuple[array, ...], kwargs: dict[str, array], compression: int) -> None:
    arrays = {f"arr_{i}": a for i, a in enumerate(args)}
    both = arrays.keys() & kwargs.keys()
    if both:
        raise ValueError(f"[savez] {sorted(both)} name both positional and keyword arrays")
    with _opened(file, "wb", ".npz") as out, zipfile.ZipFile(out, "w", compression) as archive:
        for name, a in {**arrays, **kwargs}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                _write_npy(entry, a)


def savez(file: Any, *args: array, **kwargs: array) -> None:
    """Writes arrays to an ``.npz`` file: positional ones as ``arr_0``, ``arr_1``, ..., the others by name.

    Args:
        file: a path (the extension is added if it is missing) or a file open for writing bytes.

    Example:
        >>> import io, lazuli.core as mx
        >>> file = io.BytesIO()
        >>> mx.savez(file, mx.array([1]), b=mx.array([2]))
        >>> _ = file.seek(0)
        >>> mx.load(file)
        {'arr_0': array([1], dtype=int32), 'b': array([2], dtype=int32)}
    """
    _savez(file, args, kwargs, zipfile.ZIP_STORED)


def savez_compressed(file: Any, *args: array, **kwargs: array) -> None:
    """As :func:`savez`, compressed.

    Example:
        >>> import io, lazuli.core as mx
        >>> file = io.BytesIO()
        >>> mx.savez_compressed(file, a=mx.zeros(3))
        >>> _ = file.seek(0)
        >>> mx.load(file)["a"]
        array([0, 0, 0], dtype=float32)
    """
    _savez(file, args, kwargs, zipfile.ZIP_DEFLATED)


def save_safetensors(file: Any, arrays: dict[str, array], metadata: dict[str, str] | None = None) -> None:
    """Writes named arrays to a ``.safetensors`` file.

    Args:
        file: a path (the extension is added if it is missing) or a file open for writing bytes.
        arrays: by name, of any dtype.
        metadata: strings by name, kept with the arrays.

    Example:
        >>> import io, lazuli.core as mx
        >>> file = io.BytesIO()
        >>> mx.save_safetensors(file, {"w": mx.array([1.0], dtype=mx.bfloat16)})
        >>> _ = file.seek(0)
        >>> mx.load(file)
        {'w': array([1], dtype=bfloat16)}
    """
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    chunks, offset = [], 0
    for name, a in arrays.items():
        shape, dtype, data = _parts(a)
        end = offset + len(data)
        header[name] = {"dtype": _NAMES[dtype][1], "shape": list(shape), "data_offsets": [offset, end]}
        chunks.append(data)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with _opened(file, "wb", ".safetensors") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(chunks)


def _read_safetensors(file: BinaryIO) -> tuple[dict[str, array], dict[str, str]]:
    try:
        length = struct.unpack("<Q", file.read(8))[0]
        raw = file.read(min(length, 100_000_000))
        header = json.loads(raw)
        metadata = header.pop("__metadata__", {})
        rows = {n: (r["dtype"], list(r["shape"]), *r["data_offsets"]) for n, r in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError("[load] the header of the .safetensors file cannot be read") from e
    data = file.read()
    arrays = {}
    for name, (code, shape, start, end) in rows.items():
        if code not in _OF_SAFETENSORS:
            raise ValueError(f"[load] {name!r} is of type {code}, which has no dtype here")
        if not 0 <= start <= end <= len(data):
            raise ValueError(f"[load] {name!r} lies outside the file, which has been cut or damaged")
        arrays[name] = _array(shape, _OF_SAFETENSORS[code], data[start:end])
    return arrays, metadata


def load(file: Any, /, format: str | None = None, return_metadata: bool = False, *, stream: Any = None) -> Any:
    """Reads a ``.npy``, ``.npz`` or ``.safetensors`` file.

    Args:
        file: a path or a file open for reading bytes.
        format: ``"npy"``, ``"npz"`` or ``"safetensors"``; follows from the extension, or from the first bytes of an
            open file.
        return_metadata: return the metadata of a ``.safetensors`` file beside the arrays.

    Returns:
        An array (``.npy``) or a dict of arrays by name; with ``return_metadata`` a pair of it and a dict of strings.

    Raises:
        ValueError: the file is damaged, or of another format.

    Example:
        >>> import io, lazuli.core as mx
        >>> file = io.BytesIO()
        >>> mx.save(file, mx.array([1.5]))
        >>> _ = file.seek(0)
        >>> mx.load(file)
        array([1.5], dtype=float32)
    """
    with _opened(file, "rb") as opened:
        if format is None:
            name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else ""
            format = os.path.splitext(name)[1][1:] if name else _guess(opened)
        if format == "npy":
            return _read_npy(opened)
        if format == "npz":
            with zipfile.ZipFile(opened) as archive:
                names = [n for n in archive.namelist() if n.endswith(".npy")]
                return {n[:-4]: _read_npy(io.BytesIO(archive.read(n))) for n in names}
        if format == "safetensors":
            arrays, metadata = _read_safetensors(opened)
            return (arrays, metadata) if return_metadata else arrays
    raise ValueError(f'[load] format {format!r} is not known: use "npy", "npz" or "safetensors"')


def _guess(file: BinaryIO) -> str:
    at = file.tell()
    start = file.read(6)
    file.seek(at)
    return "npy" if start == _NPY else "npz" if start[:2] == b"PK" else "safetensors"
