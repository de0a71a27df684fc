"""The rows of the benchmark, as data.

A row names a program that each library adapter implements (``bench/libraries``), its parameters, the least work that
any machine must do for it (its limit, measured in the same run), and how it is sampled.
"""

from dataclasses import dataclass, field
from typing import Any

GIGANTIC, MILLION, SQUARE = (32, 1000, 4096), (1_000_000,), (4096, 4096)
MLP = [(256, 784, 256), (256, 256, 256), (256, 256, 10)]
BLOCK = 4 * 256


def training(layers):
    """The matrix products of a training step: forward, weights' gradients, and inputs' but for the first."""
    forward = [(m, k, n) for m, k, n in layers]
    weights = [(k, m, n) for m, k, n in layers]
    inputs = [(m, n, k) for m, k, n in layers[1:]]
    return forward + weights + inputs


def transformer_products():
    """Those of a block of width 256 and 8 heads on 4 sequences of 256: projections, attention, feed-forward."""
    dense = [(BLOCK, 256, 256)] * 4 + [(BLOCK, 256, 1024), (BLOCK, 1024, 256)]
    heads = [(256, 32, 256), (256, 256, 32)] * 32
    return 3 * (dense + heads)  # forward, and twice as much backward


class Told(float):
    """Seconds that a library tells of a part of a call; they count in place of the call's."""


@dataclass(frozen=True)
class Row:
    name: str
    program: str
    parameters: dict[str, Any] = field(default_factory=dict)
    limit: tuple[str, Any] | None = None
    # "steady": many calls a sample, after warm-up. "each": one call a sample. "process": one call, in a new process.
    sampling: str = "steady"


def elementwise(name, formula, shape):
    """A formula whose least work is to copy its input, if that does not fit the caches."""
    count = 1
    for extent in shape:
        count *= extent
    return Row(name, "formula", {"formula": formula, "shape": shape}, ("copy", 4 * count) if count > 10**7 else None)


def reduction(name, formula):
    return Row(name, "formula", {"formula": formula, "shape": SQUARE}, ("read", 4 * 4096**2))


def small(formula, *shape):
    """A formula on so little that what a call costs decides."""
    name = f"{formula.replace('_', ' ')} {'x'.join(map(str, shape))}"
    return Row(name, "formula", {"formula": formula, "shape": shape})


ROWS = [
    elementwise("gelu (32, 1000, 4096)", "gelu", GIGANTIC),
    elementwise("gelu 1M", "gelu", MILLION),
    elementwise("gelu 100k", "gelu", (100_000,)),
    elementwise("gelu 1k", "gelu", (1_000,)),
    small("gelu", 1),
    small("softmax", 64, 64),
    small("layer_norm", 64, 64),
    small("logsumexp", 16, 16),
    small("sum_all", 1_000),
    small("rotary", 4, 8, 256, 64),
    small("argmax", 256, 1000),
    small("rows_of_argmax", 1000, 1000),
    Row("matmul 64", "matmul", {"n": 64}),
    Row("exp(-x) + y, scalars", "scalars", limit=("scalars", None)),
    elementwise("chain30 100M", "chain30", (100_000_000,)),
    elementwise("chain30 1M", "chain30", MILLION),
    elementwise("softmax 4096x4096", "softmax", SQUARE),
    elementwise("layer norm 4096x4096", "layer_norm", SQUARE),
    reduction("logsumexp 4096x4096", "logsumexp"),
    reduction("sum of 4096x4096", "sum_all"),
    reduction("mean over axis 0 of 4096x4096", "mean_rows"),
    Row("train step MLP, SGD", "train_mlp", {"optimizer": "sgd"}, ("matmuls", training(MLP))),
    Row("train step MLP, Adam", "train_mlp", {"optimizer": "adam"}, ("matmuls", training(MLP))),
    Row("transformer block, gradients", "transformer", limit=("matmuls", transformer_products())),
    Row("matmul 2048", "matmul", {"n": 2048}, ("matmuls", [(2048, 2048, 2048)])),
    Row("first compiled call, new process", "first_call", sampling="process"),
    Row("fresh function", "fresh_function", sampling="each"),
    Row("fresh lambda, same arithmetic", "fresh_lambda", sampling="each"),
    Row("new shape, same function", "new_shape", sampling="each"),
    Row("new shape, shapeless function", "shapeless", sampling="each"),
    Row("new batch, shapeless train step", "shapeless_step", sampling="each"),
    *(
        Row(f"fresh function of {count // 1000}k ops", "deep", {"operations": count}, sampling="each")
        for count in (1_000, 10_000, 100_000)
    ),
]
