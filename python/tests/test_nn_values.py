"""Activations, layers, losses, initialisers and optimizers against values of MLX.

A case is an expression over the names of :func:`namespace`; its value is a tree of arrays. What it
must be stands in ``nn_values.json``, made by running this file with MLX 0.32.4 in the place of
lazuli (``sys.modules["lazuli.nn"] = mlx.nn`` and so on) and ``UPDATE_EXPECT=1``. Parameters are
set by a formula, so no case depends on a random generator.
"""

import json
import math
import os
import pathlib

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim  # noqa: F401  (used by the cases)
from lazuli.utils import tree_flatten, tree_map_with_path

REFERENCE = pathlib.Path(__file__).with_name("nn_values.json")
RELATIVE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def wave(*shape, phase=0.0, dtype=mx.float32):
    """An array of a bounded, aperiodic sequence."""
    n = math.prod(shape)
    values = [round(1.7 * math.sin(1.3 * i + phase + 0.1 * i * i), 4) for i in range(n)]
    return mx.array(values).reshape(shape).astype(dtype)


def filled(module):
    """The module, with parameters that depend on their paths and shapes only."""

    def value(path, p):
        return wave(*p.shape, phase=sum(map(ord, path)) % 17, dtype=p.dtype) * 0.5

    module.update(tree_map_with_path(value, module.parameters()))
    return module


def half(module):
    module.set_dtype(mx.float16)
    return module


def called(module, *args, **kwargs):
    """What a module computes, and its parameters if it is in training mode and changes them."""
    before = dict(tree_flatten(module.parameters()))
    out = module(*args, **kwargs)
    changed = {k: p for k, p in tree_flatten(module.parameters()) if p is not before[k]}
    return [out, changed] if changed else out


class Net(nn.Module):
    """Parameters of 0, 1, 2 and 4 axes, in lists and in dictionaries."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(6, 5), {"out": nn.Linear(5, 3)}]
        self.scale = mx.array(1.5)
        self.kernel = mx.zeros((3, 2, 2, 3))

    def __call__(self, x):
        y = self.layers[1]["out"](mx.tanh(self.layers[0](x)))
        return y * self.scale + self.kernel.sum(axis=(1, 2, 3))


def trained(optimizer, steps=4, compiled=False, dtype=mx.float32):
    """Losses of some steps on a small problem; then parameters, and the learning rate."""
    model = filled(Net())
    model.set_dtype(dtype)
    x, y = wave(4, 6, dtype=dtype), mx.array([0, 2, 1, 2])

    def loss_fn(model):
        return nn.losses.cross_entropy(model(x), y, reduction="mean")

    def step():
        loss, grads = nn.value_and_grad(model, loss_fn)(model)
        optimizer.update(model, grads)
        return loss

    if compiled:
        state = [model.state, optimizer.state]
        step = mx.compile(step, inputs=state, outputs=state)
    losses = [step() for _ in range(steps)]
    rate = optimizer.learning_rate if "learning_rate" in optimizer.state else None
    return {"losses": losses, "parameters": model.parameters(), "rate": rate}


def scheduled(schedule):
    return [schedule(mx.array(step, mx.uint64)) for step in range(12)]


def namespace():
    x = mx.array([i / 4 for i in range(-12, 12)]).reshape(4, 6)
    a, b, c = wave(4, 6), wave(4, 6, phase=1.0), wave(4, 6, phase=2.0)
    return {
        **{name: value for name, value in globals().items() if not name.startswith("_")},
        **{"x": x, "a": a, "b": b, "c": c},
        "sequence": wave(2, 3, 4),
        "image": wave(2, 3, 2, 4),
        "labels": mx.array([0, 3, 5, 2]),
        "probabilities": mx.softmax(b, axis=-1),
        "bits": (b > 0).astype(mx.float32),
        "signs": mx.sign(b),
        "factors": mx.array([1.0, 2.0, 0.5, 0.0]),
        "causal": nn.MultiHeadAttention.create_additive_causal_mask(3),
    }


def gradient(function):
    return f"mx.grad(lambda x: (nn.{function}(x) * wave(6)).sum())(x)"


POINTWISE = (
    "relu relu2 relu6 leaky_relu elu celu selu sigmoid tanh softplus softsign log_sigmoid silu "
    "mish gelu gelu_approx gelu_fast_approx softmax softmin log_softmax hard_tanh hardswish "
    "hard_shrink softshrink"
).split()

LAYER_OF = {
    "ReLU": "relu", "ReLU2": "relu2", "ReLU6": "relu6", "LeakyReLU": "leaky_relu", "ELU": "elu",
    "CELU": "celu", "SELU": "selu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus",
    "Softsign": "softsign", "LogSigmoid": "log_sigmoid", "SiLU": "silu", "Mish": "mish",
    "GELU": "gelu", "Softmax": "softmax", "Softmin": "softmin", "LogSoftmax": "log_softmax",
    "HardTanh": "hard_tanh", "Hardswish": "hardswish", "HardShrink": "hard_shrink",
    "Softshrink": "softshrink", "Step": "step", "GLU": "glu",
}  # fmt: skip

ACTIVATIONS = [
    *(f"nn.{f}(x)" for f in POINTWISE),
    *(f"nn.{f}(x.astype(mx.float16))" for f in POINTWISE),
    *(gradient(f) for f in POINTWISE),
    "nn.step(x)",
    "nn.glu(x)",
    "nn.glu(x, axis=0)",
    "nn.prelu(x, mx.array([0.3]))",
    "nn.leaky_relu(x, 0.2)",
    "nn.elu(x, 0.5)",
    "nn.celu(x, 0.5)",
    "nn.softmax(x, axis=0)",
    "nn.log_softmax(x * 1000)",
    "nn.softplus(x * 1000)",
    "nn.hard_tanh(x, -0.5, 2.0)",
    "nn.hard_shrink(x, 1.0)",
    "nn.softshrink(x, 1.0)",
    "nn.relu6(mx.arange(-2, 9))",
    "nn.LeakyReLU(0.2)(x)",
    "nn.ELU(0.5)(x)",
    "nn.CELU(0.5)(x)",
    "nn.Step(1.0)(x)",
    "nn.HardShrink(1.0)(x)",
    "nn.Softshrink(1.0)(x)",
    "nn.GLU(0)(x)",
    "nn.PReLU(6, 0.1)(x)",
    *(f"nn.GELU({approx!r})(x)" for approx in ("none", "precise", "tanh", "fast")),
]

LAYERS = [
    "filled(nn.Linear(4, 3))(sequence)",
    "filled(nn.Linear(4, 3, bias=False))(sequence)",
    "half(filled(nn.Linear(4, 3)))(sequence.astype(mx.float16))",
    "filled(nn.Bilinear(4, 2, 3))(sequence, sequence[..., :2])",
    "filled(nn.Bilinear(4, 2, 3, bias=False))(sequence, sequence[..., :2])",
    "filled(nn.Embedding(5, 3))(mx.array([[1, 2], [0, 4]]))",
    "filled(nn.Embedding(5, 4)).as_linear(sequence)",
    "nn.Identity(1, two=3)(x)",
    "filled(nn.LayerNorm(4))(sequence)",
    "filled(nn.LayerNorm(4, bias=False))(sequence)",
    "nn.LayerNorm(4, affine=False, eps=0.1)(sequence)",
    "filled(nn.LayerNorm(4))((sequence * 300).astype(mx.float16))",
    "half(filled(nn.LayerNorm(4)))((sequence * 300).astype(mx.float16))",
    "filled(nn.RMSNorm(4))(sequence)",
    "half(filled(nn.RMSNorm(4, eps=0.1)))((sequence * 300).astype(mx.float16))",
    "filled(nn.InstanceNorm(4, affine=True))(image)",
    "nn.InstanceNorm(4)(sequence)",
    "filled(nn.GroupNorm(2, 4))(sequence)",
    "filled(nn.GroupNorm(2, 4, pytorch_compatible=True))(image)",
    "nn.GroupNorm(2, 4, affine=False)(image)",
    "called(nn.BatchNorm(4), sequence)",
    "called(nn.BatchNorm(4, momentum=0.3, eps=0.1), image)",
    "called(nn.BatchNorm(4), sequence[0])",
    "called(nn.BatchNorm(4, affine=False, track_running_stats=False), image)",
    "called(filled(nn.BatchNorm(4, track_running_stats=False)), image)",
    "filled(nn.RoPE(4))(sequence)",
    "nn.RoPE(4, traditional=True, base=100, scale=0.5)(sequence)",
    "nn.RoPE(2)(sequence, offset=3)",
    "nn.RoPE(2, traditional=True)(sequence, offset=3)",
    "nn.RoPE(4)(image)",
    "nn.SinusoidalPositionalEncoding(6)(mx.array([[0.0, 1.0, 5.0]]))",
    "nn.SinusoidalPositionalEncoding(2)(mx.array([1.0, 2.0]))",
    "nn.SinusoidalPositionalEncoding(4, 0.1, 2.0, 1.0, True, True)(mx.array([0.0, 1.0, 5.0]))",
    *(f"nn.ALiBi()(mx.zeros((1, {heads}, 2, 3)))" for heads in (1, 2, 3, 5, 6, 8, 12)),
    "nn.ALiBi()(mx.zeros((1, 2, 2, 3)), offset=1, mask=mx.ones((2, 3)))",
    "nn.MultiHeadAttention.create_additive_causal_mask(3)",
    "nn.MultiHeadAttention.create_additive_causal_mask(3, mx.float16)",
    "filled(nn.MultiHeadAttention(4, 2))(sequence, sequence, sequence)",
    "filled(nn.MultiHeadAttention(4, 2, bias=True))(sequence, sequence, sequence, causal)",
    "filled(nn.MultiHeadAttention(4, 2))(sequence, sequence, sequence, causal == 0)",
    "filled(nn.MultiHeadAttention(4, 2, key_input_dims=2, value_dims=6, value_output_dims=3))"
    "(sequence, sequence[:, :2, :2], sequence[:, :2, :2])",
    "filled(nn.TransformerEncoderLayer(4, 2))(sequence, causal)",
    "filled(nn.TransformerEncoderLayer(4, 2, 5, norm_first=False))(sequence, None)",
    "filled(nn.TransformerEncoderLayer(4, 2, 5, 0.5, nn.gelu)).eval()(sequence, None)",
    "filled(nn.TransformerDecoderLayer(4, 2))(sequence, sequence[:, :2], causal, None)",
    "filled(nn.TransformerDecoderLayer(4, 2, norm_first=False))(sequence, sequence, None, causal)",
    "filled(nn.Transformer(4, 2, 2, 2, 6))(sequence, sequence[:, :2], causal, None, None)",
    "filled(nn.RNN(4, 3))(sequence)",
    "filled(nn.RNN(4, 3, bias=False, nonlinearity=nn.relu))(sequence[0], mx.ones(3))",
    "filled(nn.GRU(4, 3))(sequence)",
    "filled(nn.GRU(4, 3, bias=False))(sequence[0], mx.ones(3))",
    "filled(nn.GRU(4, 3))(sequence, mx.ones((2, 3)))",
    "filled(nn.LSTM(4, 3))(sequence)",
    "filled(nn.LSTM(4, 3, bias=False))(sequence[0], mx.ones(3), mx.ones(3))",
    "filled(nn.Sequential(nn.Linear(4, 3), nn.tanh, nn.Linear(3, 2)))(sequence)",
    "nn.Dropout(0.5).eval()(x)",
    "nn.Dropout(0.0)(x)",
]

LOSSES = [
    "cross_entropy(a, labels)",
    "cross_entropy(a.astype(mx.float16), labels)",
    "cross_entropy(a * 1000, labels)",
    "cross_entropy(a, probabilities)",
    "cross_entropy(a, labels, factors)",
    "cross_entropy(a, labels, label_smoothing=0.2)",
    "cross_entropy(a, probabilities, label_smoothing=0.2)",
    "cross_entropy(a.T, labels, axis=0)",
    "cross_entropy(a[0], mx.array(2))",
    "cross_entropy(sequence, mx.array([[0, 1, 2], [3, 2, 1]]))",
    "cross_entropy(sequence, mx.array([[0, 1, 2, 2], [1, 1, 2, 1]]), axis=1)",
    "cross_entropy(a, labels, reduction='mean')",
    "cross_entropy(a, labels, reduction='sum')",
    "binary_cross_entropy(a, bits)",
    "binary_cross_entropy(a * 1000, bits, reduction='none')",
    "binary_cross_entropy(a, bits.astype(mx.int32), mx.abs(c), reduction='sum')",
    "binary_cross_entropy(probabilities, bits, with_logits=False)",
    "binary_cross_entropy(1 - bits, bits, with_logits=False, reduction='none')",
    "l1_loss(a, b)",
    "l1_loss(a, b, reduction='none')",
    "mse_loss(a, b)",
    "mse_loss(a, b, reduction='sum')",
    "nll_loss(a, labels)",
    "nll_loss(a.T, labels, axis=0, reduction='mean')",
    "kl_div_loss(a, b)",
    "kl_div_loss(a, b, axis=0, reduction='sum')",
    "gaussian_nll_loss(a, b, c)",
    "gaussian_nll_loss(a, b, c, full=True, eps=0.1, reduction='none')",
    "smooth_l1_loss(a, b)",
    "smooth_l1_loss(a, b, beta=0.5, reduction='none')",
    "triplet_loss(a, b, c)",
    "triplet_loss(a, b, c, axis=0, p=3, margin=0.5, eps=1e-3)",
    "hinge_loss(a, signs)",
    "huber_loss(a, b)",
    "huber_loss(a, b, delta=0.3, reduction='mean')",
    "log_cosh_loss(a, b)",
    "log_cosh_loss(a * 1000, b)",
    "cosine_similarity_loss(a, b)",
    "cosine_similarity_loss(a, a * 0, axis=0)",
    "margin_ranking_loss(a, b, signs)",
    "margin_ranking_loss(a, b, signs, margin=0.4, reduction='mean')",
]

OPTIMIZERS = [
    "SGD(0.1)",
    "SGD(0.1, momentum=0.9)",
    "SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1)",
    "SGD(0.1, momentum=0.9, dampening=0.3)",
    "SGD(0.1, weight_decay=0.3)",
    "SGD(optim.cosine_decay(0.1, 3))",
    "RMSprop(0.01)",
    "Adagrad(0.1)",
    "AdaDelta(optim.step_decay(0.9, 0.5, 2))",
    "Adam(0.01)",
    "Adam(0.01, betas=[0.8, 0.9], bias_correction=True)",
    "AdamW(0.01, weight_decay=0.2)",
    "AdamW(optim.join_schedules([optim.linear_schedule(0.001, 0.01, 2),"
    " optim.exponential_decay(0.01, 0.9)], [2]), bias_correction=True)",
    "Adamax(0.01)",
    "Lion(0.001)",
    "Lion(0.001, weight_decay=0.5)",
    "Adafactor()",
    "Adafactor(0.01, relative_step=False, beta_1=0.9, weight_decay=0.1)",
    "Adafactor(warmup_init=True, scale_parameter=False)",
    "Muon(0.02)",
    "Muon(0.02, nesterov=False, weight_decay=0.0)",
    "MultiOptimizer([optim.Adam(0.01), optim.SGD(0.1, momentum=0.5)],"
    " [lambda path, g: 'weight' in path])",
]

SCHEDULES = [
    "exponential_decay(0.1, 0.9)",
    "step_decay(0.1, 0.9, 3)",
    "cosine_decay(0.1, 10, 0.01)",
    "linear_schedule(0.1, 0.5, 10)",
    "join_schedules([optim.linear_schedule(0, 1, 5), optim.cosine_decay(1.0, 10)], [4])",
]

INITIALISERS = [
    "constant(0.3)(mx.zeros((2, 3)))",
    "constant(3, mx.int32)(mx.zeros((2,)))",
    "identity()(mx.zeros((3, 3)))",
    "identity(mx.float16)(mx.zeros((2, 2)))",
]

CASES = [
    *ACTIVATIONS,
    *LAYERS,
    *(f"nn.losses.{case}" for case in LOSSES),
    *(f"nn.init.{case}" for case in INITIALISERS),
    *(f"scheduled(optim.{case})" for case in SCHEDULES),
    *(f"trained(optim.{case})" for case in OPTIMIZERS),
    "trained(optim.Adam(0.01), steps=1, dtype=mx.bfloat16)",
    "trained(optim.SGD(0.1, momentum=0.9), steps=2, dtype=mx.float16)",
    "optim.clip_grad_norm({'a': a, 'b': [b]}, 1.0)",
    "optim.clip_grad_norm({'a': a, 'b': [b]}, 1000.0)",
    "optim.clip_grad_norm({'a': a.astype(mx.float16)}, 1.0)",
]


def described(tree):
    """The leaves of a tree as ``[path, dtype, shape, values]``."""
    return [
        [path, str(leaf.dtype).rpartition(".")[2], list(leaf.shape), numbers(leaf)]
        for path, leaf in sorted(tree_flatten(tree), key=lambda item: item[0])
        if leaf is not None
    ]


def numbers(array):
    flat = array.reshape(-1)
    return [float(f"{v:.7g}") for v in flat.astype(mx.float32).tolist()]


def check(actual, expected, message=""):
    """Two lists of :func:`described` leaves agree: paths, dtypes, shapes exactly, values nearly."""
    assert [leaf[:3] for leaf in actual] == [leaf[:3] for leaf in expected], message
    for (path, dtype, _, got), (_, _, _, want) in zip(actual, expected):
        size = max((abs(v) for v in want if math.isfinite(v)), default=0.0)
        tolerance = RELATIVE.get(dtype, 0.0)
        for i, (u, v) in enumerate(zip(got, want)):
            near = u == v or abs(u - v) <= tolerance * (abs(v) + 0.1 * min(size, 1.0))
            assert near, f"{message} {path}[{i}]: {u}, expected {v}"


if os.environ.get("UPDATE_EXPECT"):
    values = {case: described(eval(case, namespace())) for case in CASES}
    lines = ",\n".join(f"{json.dumps(case)}: {json.dumps(v)}" for case, v in values.items())
    REFERENCE.write_text("{\n" + lines + "\n}\n")

EXPECTED = json.loads(REFERENCE.read_text())


def test_every_expected_value_has_a_case():
    assert sorted(EXPECTED) == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_value(case):
    check(described(eval(case, namespace())), EXPECTED[case], case)


@pytest.mark.parametrize("layer, function", LAYER_OF.items())
def test_layer_is_its_function(layer, function):
    x = namespace()["x"]
    check(described(getattr(nn, layer)()(x)), described(getattr(nn, function)(x)), layer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_compiled_steps_are_the_same(optimizer):
    case = f"trained(optim.{optimizer})"
    compiled = eval(f"trained(optim.{optimizer}, compiled=True)", namespace())
    check(described(compiled), EXPECTED[case], f"compiled {case}")
