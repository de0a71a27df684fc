"""Optimizers on modules and on trees: states, versions, errors. Values are in test_nn_values.py."""

import copy
import pickle

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten, tree_map, tree_unflatten

ALL = {
    "SGD": lambda: optim.SGD(0.1, momentum=0.9),
    "RMSprop": lambda: optim.RMSprop(0.1),
    "Adagrad": lambda: optim.Adagrad(0.1),
    "AdaDelta": lambda: optim.AdaDelta(0.1),
    "Adam": lambda: optim.Adam(0.1),
    "AdamW": lambda: optim.AdamW(0.1),
    "Adamax": lambda: optim.Adamax(0.1),
    "Lion": lambda: optim.Lion(0.1),
    "Adafactor": lambda: optim.Adafactor(0.1),
    "Muon": lambda: optim.Muon(0.1),
    "MultiOptimizer": lambda: optim.MultiOptimizer(
        [optim.Adam(0.1), optim.SGD(0.2)], [lambda path, g: "w" in path]
    ),
}

each = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def parameters():
    return {"w": mx.ones((2, 3)), "rest": [{"b": mx.zeros(3)}, {}]}


def ones(tree):
    return tree_map(mx.ones_like, tree)


def check_equal(a, b):
    """Two trees have the same structure and the same arrays."""
    a, b = tree_flatten(a, destination={}), tree_flatten(b, destination={})
    assert a.keys() == b.keys()
    for path in a:
        assert (a[path] == b[path]).all().item(), path


@each
def test_a_tree_is_updated_as_a_module(make):
    layer = nn.Linear(3, 2)
    tree = layer.parameters()
    by_tree, by_module = make(), make()
    for _ in range(3):
        before, given = tree, tree_map(lambda p: p, tree)
        tree = by_tree.update(tree, ones(tree))
        check_equal(before, given)  # a tree is not changed in place
        assert by_module.update(layer, ones(layer.parameters())) is None
    check_equal(tree, layer.parameters())
    check_equal(by_tree.state, by_module.state)


@each
def test_parameters_without_gradients_stay(make):
    tree, optimizer = parameters(), make()
    out = optimizer.update(tree, {"rest": [{"b": mx.ones(3)}]})
    assert out["w"] is tree["w"] and out["rest"][1] == {}
    assert not (out["rest"][0]["b"] == tree["rest"][0]["b"]).any().item()
    # Their state comes with their first gradient; what is there is kept.
    assert optimizer.step.item() == 1
    out = optimizer.update(out, ones(out))
    assert not (out["w"] == tree["w"]).any().item()
    assert optimizer.step.item() == 2


@each
def test_trees_of_other_kinds(make):
    for tree in ([mx.ones((2, 2)), {"a": mx.ones(2)}], (mx.ones(2), (mx.ones(2),)), mx.ones(2)):
        optimizer = make()
        out = optimizer.update(tree, ones(tree))
        assert type(out) is type(tree)
        assert len(tree_flatten(out)) == len(tree_flatten(tree))
        for (_, new), (_, old) in zip(tree_flatten(out), tree_flatten(tree)):
            assert not (new == old).any().item()


@each
def test_state_can_be_saved_and_set(make):
    tree, one = parameters(), make()
    for _ in range(2):
        tree = one.update(tree, ones(tree))
    for restore in (lambda s: s, copy.deepcopy, lambda s: tree_unflatten(tree_flatten(s))):
        other = make()
        other.state = tree_map(lambda a: a + 0, restore(one.state))
        check_equal(other.state, one.state)
        check_equal(copy.deepcopy(one).update(tree, ones(tree)), other.update(tree, ones(tree)))


@each
def test_init_makes_what_a_step_needs(make):
    tree, optimizer = parameters(), make()
    optimizer.init(tree)
    before = sorted(path for path, _ in tree_flatten(optimizer.state))
    optimizer.update(tree, ones(tree))
    assert sorted(path for path, _ in tree_flatten(optimizer.state)) == before


@each
def test_no_steps_on_empty_trees(make):
    optimizer = make()
    assert optimizer.update({}, {}) == {}
    assert optimizer.step.item() == 1 and optimizer.step.dtype == mx.uint64


def test_partly_frozen_lists():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = [mx.zeros(1), mx.zeros(1)]

    model = Pair()
    model.freeze(keys="pair.0")
    optim.SGD(1.0).update(model, ones(model.trainable_parameters()))
    assert [p.item() for p in model.pair] == [0.0, -1.0]


def test_states_have_the_known_keys():
    optimizer = optim.Adam(0.1)
    optimizer.init({"layer": {"w": mx.ones((2, 3))}})
    assert sorted(path for path, _ in tree_flatten(optimizer.state)) == [
        "layer.w.m", "layer.w.v", "learning_rate", "step",
    ]  # fmt: skip
    optimizer = optim.Adafactor(beta_1=0.9)
    optimizer.init({"w": mx.ones((4, 2, 3)), "b": mx.ones(3)})
    assert {path: a.shape for path, a in tree_flatten(optimizer.state)} == {
        "step": (),
        "w.exp_avg_sq_row": (4, 2),
        "w.exp_avg_sq_col": (4, 3),
        "w.exp_avg": (4, 2, 3),
        "b.exp_avg_sq": (3,),
        "b.exp_avg": (3,),
    }


def test_learning_rate():
    optimizer = optim.SGD(0.5)
    assert optimizer.learning_rate.item() == 0.5
    optimizer.learning_rate = 0.25
    assert optimizer.update(mx.array(1.0), mx.array(1.0)).item() == 0.75
    optimizer.learning_rate = lambda step: 0.5 / (step + 1)
    rates = []
    for _ in range(3):
        optimizer.update({}, {})
        rates.append(optimizer.learning_rate.item())
    assert rates == pytest.approx([0.25, 0.5 / 3, 0.125])
    several = ALL["MultiOptimizer"]()
    several.learning_rate = 0.375
    assert [o.learning_rate.item() for o in several.optimizers] == [0.375, 0.375]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_state_drives_a_step(compiled):
    """A new learning rate, set between steps, takes effect: also on a compiled step."""
    model, optimizer = nn.Linear(1, 1, bias=False), optim.SGD(0.5)
    model.weight = mx.zeros((1, 1))

    def step(x):
        loss, grads = nn.value_and_grad(model, lambda x: model(x).sum())(x)
        optimizer.update(model, grads)
        return loss

    if compiled:
        state = [model.state, optimizer.state]
        step = mx.compile(step, inputs=state, outputs=state)
    x = mx.ones((1, 1))
    step(x)
    assert model.weight.item() == -0.5
    optimizer.learning_rate = 0.25
    step(x)
    assert model.weight.item() == -0.75 and optimizer.step.item() == 2


@each
def test_version(make):
    one, same = make(), make()
    filters = isinstance(one, optim.MultiOptimizer)  # whose filters compare by identity
    assert filters or one.state._version == same.state._version
    before = one.state._version
    one.update(parameters(), ones(parameters()))
    one.learning_rate = 0.7
    assert one.state._version == before == one._version
    one.extra = 1.0
    assert one.state._version not in (before, same.state._version)
    del one.extra
    assert one.state._version == before


def test_version_tells_of_hyperparameters():
    makes = [
        lambda: optim.SGD(0.1),
        lambda: optim.SGD(0.1, momentum=0.8),
        lambda: optim.SGD(0.1, momentum=0.9),
        lambda: optim.SGD(optim.cosine_decay(0.1, 10)),
        lambda: optim.SGD(optim.cosine_decay(0.1, 10)),
        lambda: optim.Adam(0.1),
        lambda: optim.Adam(0.1, bias_correction=True),
        lambda: optim.Adam(0.1, betas=[0.9, 0.99]),
    ]
    kept = [make() for make in makes]
    assert len({optimizer.state._version for optimizer in kept}) == len(makes)
    assert optim.SGD(0.1).state._version == optim.SGD(0.2).state._version


def test_copies():
    optimizer = optim.Adam(0.1)
    optimizer.init({"w": mx.ones(2)})
    other = copy.deepcopy(optimizer)
    other.eps = 1e-3
    assert other.state._version == other._version != optimizer._version
    other.update({"w": mx.ones(2)}, {"w": mx.ones(2)})
    assert optimizer.step.item() == 0 and other.step.item() == 1
    assert type(copy.deepcopy(optimizer.state)) is dict
    assert type(pickle.loads(pickle.dumps(type(optimizer.state)(a=1)))) is dict


def test_functional_training():
    """A pure loss of a tree of parameters, compiled with its gradient, and a step on the tree."""
    mx.random.seed(0)
    model, optimizer = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), optim.SGD(0.5)
    before = model.parameters()
    x, y = mx.random.normal((16, 4)), mx.random.randint(0, 3, (16,))

    def loss_fn(parameters, x, y):
        return mx.mean(nn.losses.cross_entropy(model.apply(parameters, x), y))

    loss_and_grad = mx.compile(mx.value_and_grad(loss_fn))
    parameters, losses = before, []
    for _ in range(20):
        loss, grads = loss_and_grad(parameters, x, y)
        parameters = optimizer.update(parameters, grads)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    check_equal(model.parameters(), before)


def test_filters_see_paths_of_any_tree():
    """Keys that look like indices, and tuples, keep their kind through a MultiOptimizer."""
    tree = {"0": mx.ones(2), "layers": ({"1": mx.ones(2)}, mx.ones(2))}
    seen = []

    def first(path, gradient):
        seen.append(path)
        return path == "layers.0.1"

    optimizer = optim.MultiOptimizer([optim.SGD(1.0), optim.SGD(0.5)], [first])
    out = optimizer.update(tree, ones(tree))
    assert sorted(set(seen)) == ["0", "layers.0.1", "layers.1"]
    assert tree_map(lambda p: p[0].item(), out) == {"0": 0.5, "layers": ({"1": 0.0}, 0.5)}


def test_clip_grad_norm():
    grads = {"a": mx.array([3.0, 0.0]), "b": [mx.array([[4.0]], dtype=mx.float16)]}
    for limit, factor in ((10.0, 1.0), (5.1, 1.0), (1.0, 0.2), (0.0, 0.0)):
        clipped, norm = optim.clip_grad_norm(grads, limit)
        assert norm.item() == 5.0 and norm.dtype == mx.float32
        assert clipped["a"].tolist() == pytest.approx([3 * factor, 0])
        assert clipped["b"][0].dtype == mx.float16
    assert optim.clip_grad_norm({}, 1.0)[1].item() == 0.0
    # In half precision the squares of these would overflow.
    _, norm = optim.clip_grad_norm([mx.full((4,), 300.0, dtype=mx.float16)], 1.0)
    assert norm.item() == pytest.approx(600.0)


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (lambda: optim.SGD(0.1, nesterov=True), ValueError, "nesterov needs a momentum"),
        (lambda: optim.SGD(0.1, 0.9, nesterov=True, dampening=0.1), ValueError, "no dampening"),
        (lambda: optim.RMSprop(0.1, alpha=-1), ValueError, r"\[RMSprop\] alpha must be ≥ 0"),
        (lambda: optim.RMSprop(0.1, eps=-1), ValueError, r"\[RMSprop\] eps must be ≥ 0"),
        (lambda: optim.Adagrad(0.1, eps=-1), ValueError, r"\[Adagrad\] eps"),
        (lambda: optim.AdaDelta(0.1, rho=-1), ValueError, r"\[AdaDelta\] rho"),
        (lambda: optim.Adamax(0.1, eps=-1), ValueError, r"\[Adamax\] eps"),
        (lambda: optim.Adafactor(relative_step=False), ValueError, "give a learning_rate"),
        (lambda: optim.MultiOptimizer([optim.SGD(0.1)] * 2), ValueError, "need 1 filters, got 0"),
        (lambda: setattr(ALL["MultiOptimizer"](), "state", {}), ValueError, "of 2 optimizers"),
        (lambda: optim.linear_schedule(0, 1, 0), ValueError, "steps must be at least 1, got 0"),
        (lambda: optim.join_schedules([], []), ValueError, "at least one schedule"),
        (lambda: optim.join_schedules([abs], [1]), ValueError, "need 0 boundaries, got 1"),
        (lambda: optim.SGD(0.1).update({"step": mx.ones(1)}, {"step": mx.ones(1)}), ValueError,
         "a parameter named 'step' collides"),
        (lambda: optim.Optimizer().update({"w": mx.ones(1)}, {"w": mx.ones(1)}),
         NotImplementedError, "Optimizer does not implement apply_single"),
        (lambda: optim.SGD(0.1).update({}, {"w": mx.ones(1)}), KeyError, "w"),
    ],
)  # fmt: skip
def test_errors(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
