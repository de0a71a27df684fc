"""What a Module is: attributes, trees, freezing, printing, weights, versions, functional calls."""

import copy
import math
import pickle
import threading

import pytest

import lazuli.core as mx
import lazuli.nn as nn
from lazuli.utils import tree_flatten, tree_map


class Model(nn.Module):
    """A module with something of every kind in it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.layers = [nn.Linear(3, 3), nn.ReLU(), {"x": nn.Dropout(0.25)}]
        self.width = 3
        self.scale = mx.ones(2)
        self.pair = [mx.zeros(1), mx.zeros(1)]
        self.options = {"name": "m", "offset": mx.zeros(2)}
        self._cache = mx.zeros(4)
        self.fixed = (mx.zeros(1), nn.Linear(1, 1))

    def __call__(self, x):
        return self.layers[0](self.first(x)) * self.width


PARAMETERS = [
    "first.bias",
    "first.weight",
    "layers.0.bias",
    "layers.0.weight",
    "options.offset",
    "pair.0",
    "pair.1",
    "scale",
]


def names(tree):
    return sorted(path for path, leaf in tree_flatten(tree) if isinstance(leaf, mx.array))


def shapes(tree):
    return tree_map(lambda p: p.shape if isinstance(p, mx.array) else p, tree)


# ---- attributes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, is_item",
    [
        (3, False),
        ("text", False),
        (None, False),
        (nn.relu, False),
        ([1, 2], True),
        ({"a": 1}, True),
        ((1,), True),
        ("an array", True),
        ("a module", True),
    ],
)
def test_assignment(value, is_item):
    value = {"an array": mx.ones(1), "a module": nn.ReLU()}.get(str(value), value)
    for before in (0, mx.zeros(1)):
        module = nn.Module()
        module.thing = before
        module.thing = value
        assert module.thing is value
        assert ("thing" in module) == is_item
        assert ("thing" in vars(module)) != is_item
        del module.thing
        assert not hasattr(module, "thing")


def test_missing_attribute():
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        nn.Linear(1, 1).wieght
    with pytest.raises(AttributeError, match="no attribute 'wieght'"):
        del nn.Linear(1, 1).wieght


def test_properties_are_respected():
    class WithProperty(nn.Module):
        @property
        def double(self):
            return self.half * 2

        @double.setter
        def double(self, value):
            self.half = value / 2

    module = WithProperty()
    module.double = mx.array(4.0)
    assert module.half.item() == 2.0 and "double" not in module
    with pytest.raises(AttributeError):
        module.training = False


def test_copies_are_independent():
    model = Model()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(nn.ReLU()))):
        assert type(other) in (Model, nn.ReLU)
        other.eval()
        assert model.training and not other.training
    assert copy.deepcopy(model)._version == model._version


# ---- walking -------------------------------------------------------------------------------


def test_parameters():
    model = Model()
    assert names(model.parameters()) == PARAMETERS
    assert names(model.trainable_parameters()) == PARAMETERS
    assert shapes(model.parameters()) == {
        "first": {"weight": (3, 2), "bias": (3,)},
        "layers": [{"weight": (3, 3), "bias": (3,)}, {}, {"x": {}}],
        "scale": (2,),
        "pair": [(1,), (1,)],
        "options": {"name": {}, "offset": (2,)},
    }
    assert model.state is model


def test_modules():
    model = Model()
    found = dict(model.named_modules())
    assert sorted(found) == ["", "first", "layers.0", "layers.1", "layers.2.x"]
    assert found[""] is model and found["layers.2.x"] is model.layers[2]["x"]
    assert model.modules()[0] is model and len(model.modules()) == 5
    assert model.children()["layers"][1] is model.layers[1]
    assert nn.Sequential(Model()).leaf_modules()["layers"][0]["first"].weight.shape == (3, 2)
    visited = []
    assert model.apply_to_modules(lambda path, module: visited.append(path)) is model
    assert sorted(visited) == sorted(found)


def test_filter_and_map():
    model = Model()
    weights = model.filter_and_map(
        lambda m, k, v: isinstance(v, nn.Module) or k == "weight", lambda v: v.shape
    )
    assert weights == {"first": {"weight": (3, 2)}}


@pytest.mark.parametrize(
    "make, printed",
    [
        (lambda: nn.Linear(2, 3), "Linear(input_dims=2, output_dims=3, bias=True)"),
        (lambda: nn.Bilinear(2, 3, 4, False),
         "Bilinear(input1_dims=2, input2_dims=3, output_dims=4, bias=False)"),
        (lambda: nn.Embedding(3, 4), "Embedding(3, 4)"),
        (lambda: nn.Dropout(0.25), "Dropout(p=0.25)"),
        (lambda: nn.LayerNorm(3), "LayerNorm(3, eps=1e-05, affine=True)"),
        (lambda: nn.RMSNorm(3), "RMSNorm(3, eps=1e-05)"),
        (lambda: nn.GroupNorm(2, 4),
         "GroupNorm(2, 4, eps=1e-05, affine=True, pytorch_compatible=False)"),
        (lambda: nn.BatchNorm(3),
         "BatchNorm(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
        (lambda: nn.InstanceNorm(3), "InstanceNorm(3, eps=1e-05, affine=False)"),
        (lambda: nn.RoPE(4), "RoPE(4, traditional=False)"),
        (lambda: nn.GRU(2, 3), "GRU(input_dims=2, hidden_size=3, bias=True)"),
        (lambda: nn.GELU("fast"), "GELU()"),
        (lambda: nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.ReLU())),
         "Sequential(\n"
         "  (layers.0): Linear(input_dims=1, output_dims=2, bias=True)\n"
         "  (layers.1): Sequential(\n"
         "    (layers.0): ReLU()\n"
         "  )\n"
         ")"),
    ],
)  # fmt: skip
def test_repr(make, printed):
    assert repr(make()) == printed


# ---- replacing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters, strict, changed",
    [
        ({}, True, []),
        ({"scale": "new"}, True, ["scale"]),
        ({"_cache": "new"}, True, ["_cache"]),
        ({"pair": ["new"]}, True, ["pair.0"]),
        ({"pair": [{}, "new"]}, True, ["pair.1"]),
        ({"layers": [{"bias": "new"}]}, True, ["layers.0.bias"]),
        ({"nope": "new"}, True, "does not have a parameter named 'nope'"),
        ({"width": "new"}, True, "does not have a parameter named 'width'"),
        ({"first": {"nope": "new"}}, True, "named 'first.nope'"),
        ({"scale": "new", "pair": ["new"] * 3}, True, "named 'pair.2'"),
        ({"scale": "new", "first": "new"}, True, "holds Linear at 'first', got array"),
        ({"scale": 3}, True, "expects an array for 'scale', got int"),
        ({"pair": {"0": "new"}}, True, "holds list at 'pair', got dict"),
        ({"fixed": ["new"]}, True, "holds tuple at 'fixed', got list"),
        ({"nope": "new", "scale": "new"}, False, ["scale"]),
        ({"pair": ["new"] * 3}, False, ["pair.0", "pair.1"]),
        ({"first": "new"}, False, []),
    ],
)
def test_update(parameters, strict, changed):
    model, new = Model(), mx.full((2,), 7.0)
    before = dict(tree_flatten(dict(model)))
    tree = tree_map(lambda leaf: new if isinstance(leaf, str) else leaf, parameters)
    if isinstance(changed, str):
        with pytest.raises(ValueError, match=changed):
            model.update(tree, strict=strict)
        changed = []
    else:
        assert model.update(tree, strict=strict) is model
    after = dict(tree_flatten(dict(model)))
    assert sorted(path for path in after if after[path] is not before[path]) == changed
    assert all(after[path] is new for path in changed)


def test_update_modules():
    model, new = Model(), nn.ReLU()
    assert model.update_modules({"layers": [{}, {}, {"x": new}]}) is model
    assert model.layers[2]["x"] is new and isinstance(model.layers[0], nn.Linear)
    for tree, message in (
        ({"nope": new}, "does not have a sub-module named 'nope'"),
        ({"first": mx.zeros(1)}, "holds Linear at 'first'"),
        ({"scale": new}, "at 'scale'"),
        ({"first": new, "layers": [{}] * 3 + [new]}, "named 'layers.3'"),
    ):
        with pytest.raises(ValueError, match=message):
            model.update_modules(tree)
    assert isinstance(model.first, nn.Linear)


def test_apply_maps_over_parameters():
    model = Model()
    assert model.apply(lambda p: p + 1, lambda module, key, value: key == "scale") is model
    assert model.scale.tolist() == [2.0, 2.0]
    model.apply(lambda p: p * 0)
    assert all((p == 0).all().item() for _, p in tree_flatten(model.parameters())
               if isinstance(p, mx.array))  # fmt: skip


def test_set_dtype():
    model = Model()
    model.pair[0] = mx.array(1)
    assert model.set_dtype(mx.float16) is model
    assert model.first.weight.dtype == mx.float16 and model.pair[0].dtype == mx.int32
    model.set_dtype(mx.float32, predicate=None)
    assert model.pair[0].dtype == mx.float32


# ---- functional calls and gradients --------------------------------------------------------


def test_apply_calls_with_other_parameters():
    layer = nn.Linear(2, 1)
    before = dict(layer)
    doubled = tree_map(lambda p: p * 2, layer.parameters())
    x = mx.ones((1, 2))
    assert mx.allclose(layer.apply(doubled, x), 2 * layer(x)).item()
    assert mx.allclose(layer.apply({"bias": mx.zeros(1)}, x), x @ layer.weight.T).item()
    assert all(layer[name] is before[name] for name in before)


def test_apply_puts_everything_back():
    norm = nn.BatchNorm(2)
    before = dict(norm)
    norm.apply({"weight": mx.zeros(2)}, mx.ones((4, 2)))
    assert all(norm[name] is before[name] for name in before)
    with pytest.raises(ValueError):
        norm.apply(norm.parameters(), mx.ones(2))
    assert all(norm[name] is before[name] for name in before)
    for bad in (3, "weights", mx.zeros(1)):
        with pytest.raises(TypeError, match="expected a function on arrays or a tree"):
            norm.apply(bad)


def test_apply_under_transforms():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    params, x = model.parameters(), mx.ones((4, 2))

    def loss(params, x):
        return mx.mean(mx.square(model.apply(params, x)))

    expected, _ = nn.value_and_grad(model, lambda: mx.mean(mx.square(model(x))))()
    for transform in (lambda f: f, mx.compile):
        value, grads = transform(mx.value_and_grad(loss))(params, x)
        assert mx.allclose(value, expected).item()
        assert names(grads) == names(params)
    assert all(
        a is b for (_, a), (_, b) in zip(tree_flatten(params), tree_flatten(model.parameters()))
    )


def test_value_and_grad_leaves_parameters_alone():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3))
    model.layers[0].freeze(keys="bias")
    before = dict(tree_flatten(model.parameters()))
    loss_and_grad = nn.value_and_grad(model, lambda model, x: (model(x).sum(), "extra"))
    (loss, extra), grads = loss_and_grad(model, mx.random.normal((4, 2)))
    assert extra == "extra" and loss.shape == ()
    assert names(grads) == ["layers.0.weight", "layers.1.bias", "layers.1.weight"]
    after = dict(tree_flatten(model.parameters()))
    changed = sorted(path for path in after if after[path] is not before[path])
    assert changed == ["layers.1.running_mean", "layers.1.running_var"]


def test_value_and_grad_after_an_error():
    layer = nn.Linear(1, 1)
    before = dict(layer)

    def fails():
        raise KeyError("no")

    with pytest.raises(KeyError):
        nn.value_and_grad(layer, fails)()
    assert all(layer[name] is before[name] for name in before)


# ---- freezing, modes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps, trainable",
    [
        ([("freeze", {})], []),
        ([("freeze", {}), ("unfreeze", {})], PARAMETERS),
        ([("freeze", {"keys": "bias"})], [p for p in PARAMETERS if "bias" not in p]),
        ([("freeze", {}), ("unfreeze", {"keys": ["bias"]})], ["first.bias", "layers.0.bias"]),
        ([("freeze", {"recurse": False})], [p for p in PARAMETERS if p[:5] in ("first", "layer")]),
        ([("freeze", {"keys": "pair.1"})], [p for p in PARAMETERS if p != "pair.1"]),
        ([("freeze", {"keys": "pair"})], [p for p in PARAMETERS if "pair" not in p]),
        ([("freeze", {"keys": "pair"}), ("unfreeze", {})], PARAMETERS),
        ([("freeze", {"keys": "nope"})], PARAMETERS),
    ],
)
def test_freeze(steps, trainable):
    model = Model()
    for method, kwargs in steps:
        assert getattr(model, method)(**kwargs) is model
    assert names(model.trainable_parameters()) == trainable
    assert names(model.parameters()) == PARAMETERS


@pytest.mark.parametrize("method", ["freeze", "unfreeze"])
def test_freeze_strict(method):
    layer = nn.Linear(1, 1)
    with pytest.raises(KeyError, match="does not contain 'nope'"):
        getattr(layer, method)(keys=["bias", "nope"], strict=True)
    assert names(layer.trainable_parameters()) == ["bias", "weight"]


def test_running_statistics_are_never_trained():
    for model in (nn.BatchNorm(2), nn.Sequential(nn.BatchNorm(2))):
        for method in (model.unfreeze, model.freeze, model.unfreeze):
            method()
        assert not any("running" in name for name in names(model.trainable_parameters()))
        assert len(names(model.trainable_parameters())) == 2


def test_training_mode():
    model = Model()
    assert model.training and model.layers[2]["x"].training
    assert model.eval() is model
    assert not model.training and not model.layers[2]["x"].training
    assert model.train().layers[2]["x"].training
    assert not model.train(False).training


def test_dropout_in_training():
    mx.random.seed(0)
    for layer, x, pooled in (
        (nn.Dropout(0.25), mx.ones((100, 100)), None),
        (nn.Dropout2d(0.25), mx.ones((100, 2, 3, 100)), (1, 2)),
        (nn.Dropout2d(0.25), mx.ones((2, 3, 10000)), (0, 1)),
        (nn.Dropout3d(0.25), mx.ones((100, 2, 2, 3, 100)), (1, 2, 3)),
    ):
        y = layer(x)
        assert y.dtype == x.dtype and y.shape == x.shape
        kept = y != 0
        assert mx.allclose(y, kept / 0.75).item()
        assert abs(kept.astype(mx.float32).mean().item() - 0.75) < 0.03
        if pooled is not None:  # channels live or die whole
            assert (kept.min(axis=pooled) == kept.max(axis=pooled)).all().item()


# ---- weights -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights, strict, problem",
    [
        ({"weight": (1, 2), "bias": (1,)}, True, None),
        ({"weight": (1, 2)}, False, None),
        ({"weight": (5, 2), "nope": (1,)}, False, None),
        ({"weight": (1, 2)}, True, "1 parameters are missing: bias"),
        ({"weight": (1, 2), "bias": (1,), "b": (1,), "a": (1,)}, True, "2 .* not in .*: a, b"),
        ({"weight": (1, 3), "bias": (1,)}, True, r"shape \(1, 2\) for 'weight', got \(1, 3\)"),
        ({"weight": None, "bias": (1,)}, True, "expected an array for 'weight', got a NoneType"),
    ],
)
def test_load_weights(weights, strict, problem):
    layer = nn.Linear(2, 1)
    before = dict(layer)
    new = [(name, shape and mx.full(shape, 7.0)) for name, shape in weights.items()]
    if problem is not None:
        with pytest.raises(ValueError, match=problem):
            layer.load_weights(new, strict=strict)
        assert all(layer[name] is before[name] for name in before)
    else:
        assert layer.load_weights(new, strict=strict) is layer
        assert all(layer[name] is w for name, w in new if name in before)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_weight_files(tmp_path, ending):
    writer = {"npz": "savez", "safetensors": "save_safetensors"}[ending]
    if not (hasattr(mx, "load") and hasattr(mx, writer)):
        pytest.skip(f"lazuli.core has no {writer} or no load")
    model, file = Model(), tmp_path / f"weights.{ending}"
    model.options = {}
    model.save_weights(file)
    other = Model()
    other.options = {}
    other.load_weights(file)
    for (name, p), (_, q) in zip(
        tree_flatten(model.parameters()), tree_flatten(other.parameters())
    ):
        assert (p == q).all().item(), name


def test_weight_files_of_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match="unknown file ending .* use '.npz' or '.safetensors'"):
        nn.Linear(1, 1).save_weights(tmp_path / "weights.pt")


# ---- versions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.eval(),
        lambda m: m.freeze(),
        lambda m: m.first.freeze(keys="bias"),
        lambda m: setattr(m, "width", 4),
        lambda m: setattr(m, "width", 3.0),
        lambda m: setattr(m, "width", True),
        lambda m: setattr(m, "width", nn.relu),
        lambda m: setattr(m, "width", mx.array(3)),
        lambda m: setattr(m, "depth", 1),
        lambda m: delattr(m, "width"),
        lambda m: setattr(m.layers[2]["x"], "_p_1", 0.5),
    ],
)
def test_version_tells_of(change):
    def versions(module):
        return [m._version for m in module.modules()]

    changed, same = Model(), Model()
    assert versions(changed) == versions(same)
    change(changed)
    assert versions(changed) != versions(same)
    change(same)
    assert versions(changed) == versions(same)


def test_version_is_of_values():
    class Opaque:
        def __eq__(self, other):
            return True

    module = nn.Module()

    def version(value):
        module.value = value
        return module._version

    distinct = [1, 1.0, True, "1", b"1", None, 0.0, -0.0, float("nan"), 1j, mx.float32, nn.relu,
                frozenset({1}), frozenset({1.0}), Opaque(), Opaque()]  # fmt: skip
    assert len({version(value) for value in distinct}) == len(distinct)
    for value in distinct:
        assert version(value) == version(value)
    assert version(float("nan")) == version(float("nan"))
    assert version(int("1" * 30)) == version(int("1" * 30))
    weakly = object()  # cannot be referred to weakly: the module that has it holds it
    assert version(weakly) == version(weakly) != version(object())


def test_version_comes_back():
    model = Model()
    training = [m._version for m in model.modules()]
    evaluating = [m._version for m in model.eval().modules()]
    assert training == [m._version for m in model.train().modules()]
    assert evaluating == [m._version for m in model.eval().modules()]


def test_version_ignores_arrays():
    layer = nn.BatchNorm(2)
    version = layer._version
    layer(mx.random.normal((4, 2)))
    layer.update({"weight": mx.zeros(2)})
    layer.extra = [mx.zeros(1)]
    assert layer._version == version
    assert "_version" not in layer and nn.ReLU()._version != nn.Tanh()._version


def test_version_of_recycled_addresses():
    module, seen = nn.Module(), set()
    for _ in range(200):
        module.function = lambda x: x  # the one before is collected: its address is free again
        assert module._version not in seen
        seen.add(module._version)


def test_version_from_threads():
    modules = [nn.Module() for _ in range(8)]

    def work(module):
        for i in range(500):
            module.value = i

    threads = [threading.Thread(target=work, args=(m,)) for m in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({m._version for m in modules}) == 1


# ---- errors of layers, losses, initialisers ------------------------------------------------


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: nn.Dropout(1.0), r"\[Dropout\] probability p must be in \[0, 1\), got 1.0"),
        (lambda: nn.Dropout2d(0.5)(mx.zeros((2, 2))), r"\[Dropout2d\] expected 3 axes, or 4"),
        (lambda: nn.GELU("exact"), r"\[GELU\] approx must be one of .*, got 'exact'"),
        (lambda: nn.GroupNorm(3, 8), "3 groups do not divide 8 channels"),
        (lambda: nn.InstanceNorm(8)(mx.zeros((4, 8))), r"shape \(N, ..., 8\), got \(4, 8\)"),
        (lambda: nn.BatchNorm(8)(mx.zeros(8)), r"2, 3 or 4 axes, got shape \(8,\)"),
        (lambda: nn.BatchNorm(8)(mx.zeros((1, 8))), "more than one value per channel"),
        (lambda: nn.MultiHeadAttention(5, 2), "2 heads do not divide 5 features"),
        (lambda: nn.RoPE(3), "dims must be even, got 3"),
        (lambda: nn.SinusoidalPositionalEncoding(5), "positive and even, got 5"),
        (lambda: nn.RNN(1, 1, nonlinearity=3), "nonlinearity must be callable, got 3"),
        (lambda: nn.losses.mse_loss(mx.zeros(2), mx.zeros(3)),
         r"\[mse_loss\] shapes must be the same, got predictions \(2,\), targets \(3,\)"),
        (lambda: nn.losses.mse_loss(mx.zeros(2), mx.zeros(2), "max"),
         r"\[mse_loss\] reduction must be 'none', 'mean' or 'sum', got 'max'"),
        (lambda: nn.losses.cross_entropy(mx.zeros((2, 3)), mx.zeros(3, dtype=mx.int32)),
         r"logits \(2, 3\) take class indices of shape \(2,\) .* got targets \(3,\)"),
        (lambda: nn.losses.cross_entropy(mx.zeros((2, 3)), mx.array([0, 1]), mx.zeros(3)),
         r"weights \(3,\), losses \(2,\)"),
        (lambda: nn.losses.cross_entropy(mx.zeros((2, 3)), mx.array([0, 1]), label_smoothing=1.0),
         r"label_smoothing must be in \[0, 1\), got 1.0"),
        (lambda: nn.init.identity()(mx.zeros((2, 3))), r"square matrix, got shape \(2, 3\)"),
        (lambda: nn.init.sparse(0.5)(mx.zeros(3)), r"expected a matrix, got shape \(3,\)"),
        (lambda: nn.init.he_normal()(mx.zeros(3)), r"at least 2 axes, got shape \(3,\)"),
        (lambda: nn.init.he_uniform()(mx.zeros((2, 2)), "fan"), "'fan_in' or 'fan_out', got 'fan'"),
    ],
)  # fmt: skip
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize(
    "function, at",
    [
        *(
            (function, [-1e4, -100.0, -0.0, 0.0, 100.0, 1e4])
            for function in (nn.elu, nn.celu, nn.selu, nn.softplus, nn.log_sigmoid, nn.silu,
                             nn.mish, nn.gelu, nn.gelu_approx, nn.log_softmax)
        ),
        (lambda p: nn.losses.binary_cross_entropy(p, mx.array([0, 1, 0, 1]), with_logits=False),
         [0.0, 0.0, 1.0, 1.0]),
        (lambda x: nn.losses.cosine_similarity_loss(x[None], mx.ones((1, 2))), [0.0, 0.0]),
        (lambda x: nn.losses.triplet_loss(x, mx.zeros(2), mx.zeros(2)), [0.0, 0.0]),
        (lambda x: nn.losses.cross_entropy(x, mx.array(1)), [-math.inf, 0.0, 1e4]),
    ],
)  # fmt: skip
def test_gradients_are_finite(function, at):
    gradient = mx.grad(lambda x: function(x).sum())(mx.array(at))
    assert all(math.isfinite(g) for g in gradient.tolist())


@pytest.mark.parametrize(
    "initializer, low, high, mean, std",
    [
        (nn.init.uniform(-1, 3), -1, 3, 1, 4 / 12**0.5),
        (nn.init.normal(2.0, 0.5), -1, 5, 2, 0.5),
        (nn.init.glorot_uniform(), -(0.02**0.5), 0.02**0.5, 0, (0.02 / 3) ** 0.5),
        (nn.init.glorot_normal(), -1, 1, 0, (2 / 300) ** 0.5),
        (nn.init.he_uniform(), -(0.03**0.5), 0.03**0.5, 0, 0.1),
        (nn.init.he_normal(), -1, 1, 0, 0.1),
        (lambda a: nn.init.he_normal()(a, mode="fan_out", gain=2.0), -2, 2, 0, 2 / 200**0.5),
    ],
)
def test_initializers(initializer, low, high, mean, std):
    mx.random.seed(0)
    a = initializer(mx.zeros((200, 100)))
    assert a.shape == (200, 100) and a.dtype == mx.float32
    assert low <= a.min().item() and a.max().item() <= high
    assert abs(a.mean().item() - mean) < 0.03 * max(std, 0.1)
    assert abs(a.var().item() ** 0.5 - std) < 0.03 * std


def test_sparse_initializer():
    a = nn.init.sparse(0.3)(mx.zeros((50, 10)))
    assert (a == 0).sum(axis=1).tolist() == [3] * 50
    assert len({tuple(row) for row in (a == 0).tolist()}) > 1


@pytest.mark.parametrize("compiled", [False, True])
def test_checkpoints_change_no_bit(compiled):
    """The same layer computed again: its dropout drops the same, and the random state moves on as it does without."""

    def run(checkpoint):
        mx.random.seed(0)
        model = nn.TransformerEncoder(2, 8, 2, dropout=0.2, checkpoint=checkpoint)
        x = mx.random.normal((2, 3, 8))
        loss_and_grad = nn.value_and_grad(model, lambda m, x: mx.mean(m(x) ** 3))
        state = [model.state, mx.random.state]
        step = lambda x: loss_and_grad(model, x)  # noqa: E731
        step = mx.compile(step, inputs=state, outputs=state) if compiled else step
        return step(x), step(x), mx.array(mx.random.state[0])

    for (path, a), (_, b) in zip(tree_flatten(run(False)), tree_flatten(run(True)), strict=True):
        assert mx.array_equal(a, b), path
