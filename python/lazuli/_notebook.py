"""How arrays look in notebooks: a table of their last two axes, tinted by value, under a line that says what they are."""

from __future__ import annotations

import html
from typing import Any

#: The most rows and columns that are shown; of longer axes the first and last.
MOST = 12


def view(a: Any) -> str:
    """An array as HTML. Of an array in a trace, which has no values, what is known of it.

    Args:
        a: an array of any shape and dtype.
    """
    import lazuli.core as mx

    title = f"{a.dtype.__repr__().removeprefix('lazuli.core.')} {tuple(int(n) for n in a.shape)}"
    try:
        table = _table(mx, a) if a.size else "no elements"
    except mx.TracerError:
        table = html.escape(mx.describe(a))
    return f"<div><small style='opacity: .7'>array of {html.escape(title)}</small>{table}</div>"


def _table(mx: Any, a: Any) -> str:
    # One matrix: the first of those that the outer axes count.
    note = ""
    if a.ndim > 2:
        note = f"<small style='opacity: .7'>, of which [{', '.join('0' for _ in a.shape[:-2])}] is</small>"
    matrix = a.reshape(-1, a.shape[-1])[: a.shape[-2]] if a.ndim > 2 else a.reshape(1, -1) if a.ndim < 2 else a
    rows, columns = _shown(matrix.shape[0]), _shown(matrix.shape[1])
    low, high = _range(mx, matrix)
    body = []
    for i in rows:
        cells = [_cell(matrix[i, j].item(), low, high) if i is not None and j is not None else "<td>…</td>" for j in columns]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"{note}<table style='font-family: monospace; border-collapse: collapse'>{''.join(body)}</table>"


def _shown(extent: int) -> list[int | None]:
    """The indices that are shown; ``None`` where some are left out."""
    if extent <= MOST:
        return list(range(extent))
    half = MOST // 2
    return [*range(half), None, *range(extent - half, extent)]


def _range(mx: Any, matrix: Any) -> tuple[float, float]:
    """The finite range of a matrix of real numbers; nothing for others."""
    if matrix.dtype == mx.complex64:
        return 0.0, 0.0
    matrix = matrix.astype(mx.float32)
    finite = mx.isfinite(matrix)
    low = mx.min(mx.where(finite, matrix, mx.inf)).item()
    high = mx.max(mx.where(finite, matrix, -mx.inf)).item()
    return (low, high) if low < high else (0.0, 0.0)


def _cell(value: Any, low: float, high: float) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    tint = ""
    if low < high and not isinstance(value, complex) and low <= value <= high:
        tint = f"; background: rgb(29 78 216 / {0.35 * (value - low) / (high - low):.2f})"
    return f"<td style='text-align: right; padding: 1px 6px{tint}'>{html.escape(text)}</td>"
