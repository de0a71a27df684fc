"""Einstein summation: contracted from left to right, each pair by one matmul."""

from __future__ import annotations

import string
from collections import Counter
from typing import Any

from lazuli._lazuli import array, broadcast_to, diagonal, expand_dims

__all__ = ["einsum"]


def _error(text: str) -> ValueError:
    return ValueError(f"[einsum] {text}")


def _parse(subscripts: str, operands: tuple[array, ...]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, one letter an axis: an ellipsis becomes letters of its own."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise _error(f"{subscripts!r} names {len(terms)} operands, and {len(operands)} were given")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    width = 0
    for term, a in zip(terms, operands):
        named = term.replace("...", "")
        if not all(c in string.ascii_letters for c in named) or term.count("...") > 1:
            raise _error(f"{term!r} is not a list of letters with at most one ellipsis")
        extra = a.ndim - len(named)
        if extra < 0 or (extra and "..." not in term):
            raise _error(f"{term!r} names {len(named)} axes of an array of shape {a.shape}")
        width = max(width, extra)
    rest = "".join(spare[:width])
    terms = [t.replace("...", rest[width - (a.ndim - len(t.replace("...", ""))) :]) for t, a in zip(terms, operands)]
    if arrow:
        result = result.replace("...", rest)
    else:
        counts = Counter("".join(terms))
        result = rest + "".join(sorted(c for c, n in counts.items() if n == 1 and c not in rest))
    if len(set(result)) != len(result) or not set(result) <= set("".join(terms)):
        raise _error(f"the result {result!r} must name axes of the operands, each once")
    return terms, result


def _reduced(a: array, labels: str, needed: set[str]) -> tuple[array, str]:
    """An operand with repeated labels replaced by diagonals and labels that nobody needs summed."""
    for c in sorted(set(labels)):
        while labels.count(c) > 1:
            i, j = labels.index(c), labels.rindex(c)
            if a.shape[i] != a.shape[j]:
                raise _error(f"axes {i} and {j}, both {c!r}, of an array of shape {a.shape} differ")
            a, labels = diagonal(a, 0, i, j), labels[:i] + labels[i + 1 : j] + labels[j + 1 :] + c
    gone = [i for i, c in enumerate(labels) if c not in needed]
    if gone:
        a, labels = a.sum(gone), "".join(c for c in labels if c in needed)
    return a, labels


def _contracted(a: array, x: str, b: array, y: str, needed: set[str]) -> tuple[array, str]:
    """The product of two operands, summed over the labels that both have and nobody else needs."""
    extent: dict[str, int] = {}
    for labels, v in ((x, a), (y, b)):
        for c, n in zip(labels, v.shape):
            if extent.setdefault(c, n) == 1:
                extent[c] = n
            elif n not in (1, extent[c]):
                raise _error(f"axis {c!r} has extents {extent[c]} and {n}")
    both = [c for c in x if c in y]
    batch, inner = [c for c in both if c in needed], [c for c in both if c not in needed]
    rows, columns = [c for c in x if c not in y], [c for c in y if c not in x]

    def matrices(v: array, labels: str, first: list[str], second: list[str]) -> array:
        order = batch + first + second
        v = v.transpose([labels.index(c) for c in order]) if order else v
        v = broadcast_to(v, [extent[c] for c in order])  # an axis of extent 1 stretches
        return _merged(_merged(v, len(batch) + len(first), len(second)), len(batch), len(first))

    out = matrices(a, x, rows, inner) @ matrices(b, y, inner, columns)
    labels = "".join(batch + rows + columns)
    return out.reshape([extent[c] for c in labels]), labels


def _merged(v: array, start: int, n: int) -> array:
    """``n`` axes from ``start`` on as one; a new one if there are none."""
    return v.flatten(start, start + n - 1) if n else expand_dims(v, start)


def einsum(subscripts: str, *operands: array, stream: Any = None) -> array:
    """Sums of products over named axes.

    Args:
        subscripts: a letter for each axis of each operand, operands separated by commas, and after ``->`` the axes
            of the result (by default those that occur once, in alphabetical order). ``...`` stands for axes that
            broadcast.
        operands: float arrays.

    Example:
        >>> import lazuli.core as mx
        >>> mx.einsum("ij,j->i", mx.array([[1.0, 2.0], [3.0, 4.0]]), mx.array([1.0, 10.0]))
        array([21, 43], dtype=float32)
    """
    terms, result = _parse(subscripts, operands)
    later = [set("".join(terms[i + 1 :])) | set(result) for i in range(len(terms))]
    others = [set("".join(terms[:i] + terms[i + 1 :])) | set(result) for i in range(len(terms))]
    a, labels = _reduced(operands[0], terms[0], others[0])
    for i in range(1, len(terms)):
        b, y = _reduced(operands[i], terms[i], others[i])
        a, labels = _contracted(a, labels, b, y, later[i])
    a, labels = _reduced(a, labels, set(result))
    return a.transpose([labels.index(c) for c in result]) if result else a
