"""Functions that MLX ships as kernels. Here they are composed of primitives and fused like everything else."""

from __future__ import annotations

import math
from typing import Any

import lazuli._lazuli as _c
from lazuli import _spelling
from lazuli._lazuli import array

__all__ = ["cross_entropy", "layer_norm", "rms_norm", "rope", "scaled_dot_product_attention"]

rms_norm = _c._fast.rms_norm
layer_norm = _c._fast.layer_norm


def scaled_dot_product_attention(
    q: array,
    k: array,
    v: array,
    *,
    scale: float,
    mask: Any = None,
    sinks: array | None = None,
    force_fused: bool = False,
    stream: Any = None,
) -> array:
    """``softmax(q kᵀ · scale + mask) v`` over the last two axes; the softmax is computed in float32.

    Args:
        q: queries, of shape ``(batch, heads, length, dim)``.
        k: keys, of shape ``(batch, kv_heads, kv_length, dim)``; ``heads`` is a multiple of ``kv_heads``.
        v: values, of shape ``(batch, kv_heads, kv_length, value_dim)``.
        scale: factor of the scores, usually ``1 / sqrt(dim)``.
        mask: ``None``, ``"causal"``, a bool array (True is kept) or an array that is added to the scores.
        sinks: a score for each head that takes part in the softmax and has no value.
        force_fused: has no effect: fusing is the compiler's choice.

    Returns:
        array: of shape ``(batch, heads, length, value_dim)``.

    Raises:
        ValueError: shapes do not fit, or there is no such mask.

    Example:
        >>> import lazuli.core as mx
        >>> q = k = v = mx.ones((1, 2, 3, 4))
        >>> mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask="causal").shape
        (1, 2, 3, 4)
    """
    if not (q.ndim == k.ndim == v.ndim == 4):
        raise ValueError(
            "[scaled_dot_product_attention] q, k and v have 4 dimensions (batch, heads, length, dim), "
            f"not {q.ndim}, {k.ndim} and {v.ndim}"
        )
    if k.shape[1] != q.shape[1]:
        groups, rest = divmod(q.shape[1], k.shape[1] or 1)
        if rest or not groups:
            raise ValueError(
                f"[scaled_dot_product_attention] {q.shape[1]} heads of queries are no multiple of {k.shape[1]} of keys"
            )
        k, v = _c.repeat(k, groups, 1), _c.repeat(v, groups, 1)
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(f'[scaled_dot_product_attention] mask is "causal", an array or None, not {mask!r}')
        n, m = scores.shape[-2:]
        mask = _c.arange(m) <= _c.expand_dims(_c.arange(n) + m - n, 1)
    if mask is not None:
        if mask.dtype == _c.bool_:
            scores = _c.where(mask, scores, -math.inf)
        else:
            scores = scores + mask
    if sinks is not None:
        sink = _c.broadcast_to(sinks.astype(scores.dtype).reshape(-1, 1, 1), (*scores.shape[:-1], 1))
        weights = _c.softmax(_c.concatenate([sink, scores], -1), -1, precise=True)[..., 1:]
    else:
        weights = _c.softmax(scores, -1, precise=True)
    return weights @ v


def rope(
    a: array,
    dims: int,
    *,
    traditional: bool,
    base: float | None,
    scale: float,
    offset: int | array,
    freqs: array | None = None,
    stream: Any = None,
) -> array:
    """Rotates pairs of features by angles that grow with the position (Su et al., arXiv:2104.09864).

    Args:
        a: of shape ``(batch, ..., positions, features)``; at least 3 dimensions.
        dims: how many features to rotate, even; those behind are left alone.
        traditional: whether pair i is features (2i, 2i + 1), as in the paper; otherwise it is (i, i + dims / 2).
        base: of the geometric progression of angles, ``base ** (-2i / dims)`` for pair i.
        scale: of the positions.
        offset: number of the first position: one, or one for each of the batch.
        freqs: in place of ``base``: of shape ``(dims / 2,)``, positions to a radian of each pair.

    Raises:
        ValueError: not exactly one of ``base`` and ``freqs`` is given, or ``dims`` is odd.

    Example:
        >>> import lazuli.core as mx
        >>> x = mx.array([[[1.0, 0.0], [1.0, 0.0]]])
        >>> mx.fast.rope(x, 2, traditional=True, base=10000.0, scale=1.0, offset=0)
        array([[[1, 0],
                [0.540302, 0.841471]]], dtype=float32)
    """
    if (base is None) == (freqs is None):
        raise ValueError("[rope] exactly one of base and freqs must be given")
    if dims % 2 or not 0 <= dims <= a.shape[-1]:
        raise ValueError(f"[rope] dims is even and at most the {a.shape[-1]} features, not {dims}")
    if a.ndim < 3:
        raise ValueError(f"[rope] the array has the shape (batch, ..., positions, features), not {a.shape}")
    half = dims // 2
    start = _c.array(offset)
    if start.ndim:
        start = start.reshape([-1] + [1] * (a.ndim - 2))
    positions = (_c.arange(a.shape[-2]).astype(_c.float32) + start) * scale
    if freqs is None:
        turns = _c.exp(_c.arange(half).astype(_c.float32) * (-math.log(base) / max(half, 1)))
    else:
        turns = _c.reciprocal(freqs)
    angles = _c.expand_dims(positions, -1) * turns
    cos, sin = _c.cos(angles), _c.sin(angles)
    turned, rest = a[..., :dims], a[..., dims:]
    x, y = (turned[..., 0::2], turned[..., 1::2]) if traditional else (turned[..., :half], turned[..., half:])
    pair = [x * cos - y * sin, x * sin + y * cos]
    turned = _c.stack(pair, -1).reshape(turned.shape) if traditional else _c.concatenate(pair, -1)
    return _c.concatenate([turned.astype(a.dtype), rest], -1)


def cross_entropy(logits: array, targets: array, *, stream: Any = None) -> array:
    """``logsumexp(logits, -1) - logits[..., target]``, computed in float32.

    Args:
        logits: unnormalised, of shape ``(..., classes)``.
        targets: integers, of shape ``(...)``: the classes.

    Returns:
        array: float32, of the shape of ``targets``.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import lazuli.core as mx
        >>> mx.fast.cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
        array([0.693147], dtype=float32)
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"[cross_entropy] targets have the shape {logits.shape[:-1]} for these logits, not {targets.shape}")
    logits = logits.astype(_c.float32)
    chosen = _c.take_along_axis(logits, _c.expand_dims(targets, -1), -1).squeeze(-1)
    return _c.logsumexp(logits, -1) - chosen

_spelling.answer(__name__, "mx.fast", lambda: __all__)
