"""Functions that MLX ships as kernels. Here they are composed of primitives and fused like everything else."""

import lazuli._lazuli as _lazuli

rms_norm = _lazuli._rms_norm
layer_norm = _lazuli._layer_norm


def scaled_dot_product_attention(q, k, v, *, scale, mask=None, stream=None):
    """softmax(q kᵀ · scale + mask) v over the last two axes.

    Args:
        q: queries, shape ``(batch, heads, length, dim)``.
        k: keys, shape ``(batch, kv_heads, kv_length, dim)``; ``heads`` is a multiple of ``kv_heads``.
        v: values, shape ``(batch, kv_heads, kv_length, value_dim)``.
        scale: factor of the scores, usually ``1 / sqrt(dim)``.
        mask: ``None``, ``"causal"``, a bool array (True is kept) or an array that is added to the scores.
    """
    if k.shape[1] != q.shape[1]:
        groups = q.shape[1] // k.shape[1]
        k, v = _lazuli.repeat(k, groups, 1), _lazuli.repeat(v, groups, 1)
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(f'[scaled_dot_product_attention] mask is "causal", an array or None, not {mask!r}')
        n, m = scores.shape[-2:]
        mask = _lazuli.arange(m) <= _lazuli.expand_dims(_lazuli.arange(n) + m - n, 1)
    if mask is not None:
        if mask.dtype == _lazuli.bool_:
            scores = _lazuli.where(mask, scores, -float("inf"))
        else:
            scores = scores + mask
    return _lazuli.softmax(scores, -1, precise=True) @ v
