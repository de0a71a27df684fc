"""What a compiled function does to its arguments: arrays are updated in place, containers and modules are copies."""

import copy
import re

import numpy as np
import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim


def same(x, values):
    assert x.tolist() == values


def test_arguments_are_updated_in_place_at_every_call():
    # MLX loses the update.
    @mx.compile
    def here(x, y):
        x[0] = 7.0
        y += x
        return x.sum()

    for _ in range(3):
        x, y = mx.array([1.0, 2.0]), mx.array([1.0, 1.0])
        alias = x
        assert here(x, y).item() == 9
        same(alias, [7, 2])
        same(y, [8, 3])


def test_arguments_are_updated_in_place_within_other_functions_and_transformations():
    @mx.compile
    def inner(x):
        x[0] = 3 * x[1]
        return (x * x).sum()

    def outer(x):
        y = x * 2
        return inner(y) + y[0], y

    plain = inner.__wrapped__
    for f in (outer, mx.compile(outer)):
        for _ in range(2):
            total, y = f(mx.array([1.0, 2.0]))
            assert total.item() == 172
            same(y, [12, 4])
    for transform in (mx.grad, lambda f: mx.vmap(f, in_axes=1), lambda f: mx.grad(lambda x: mx.grad(f)(x * x).sum())):
        x = lambda: mx.ones((2, 2)) if transform not in (mx.grad,) else mx.array([1.0, 2.0])
        assert mx.array_equal(transform(inner)(x()), transform(plain)(x()))


@pytest.mark.parametrize("update", [lambda x: x.__setitem__(0, 7.0), lambda x: x.__iadd__(1)])
def test_an_update_of_a_numpy_array_in_place_is_refused(update):
    # It would be an update of the array that the trace made of it, and lost.
    def culprit(d):
        update(d["w"])
        return mx.array(d["w"])

    given = {"w": np.array([1.0, 2.0], np.float32)}
    with pytest.raises(ValueError, match=r"'culprit' updates args\[0\]\['w'\] in place.*ndarray.*mx.array"):
        mx.compile(culprit)(given)
    assert given["w"].tolist() == [1, 2]
    # Numbers cannot be updated: the function gives its variable another.
    same(mx.compile(lambda n: n.__iadd__(1))(np.float32(1)), 2)
    same(mx.compile(lambda n: n.__iadd__(1), traced_scalars=True)(1), 2)


def test_an_array_that_is_passed_twice_is_updated_once():
    @mx.compile
    def here(x, y):
        x[0] = 7.0
        return x + y

    for _ in range(2):
        x = mx.array([1.0, 2.0])
        same(here(x, x), [14, 4])
        same(x, [7, 2])


def test_two_objects_of_one_array_are_two():
    @mx.compile
    def here(x, y):
        x[0] = 7.0
        return x + y

    for _ in range(2):
        x = mx.array([1.0, 2.0])
        y = mx.array(x)
        same(here(x, y), [8, 4])
        same(y, [1, 2])


def test_items_of_argument_containers_are_a_side_effect():
    @mx.compile
    def here(d):
        d["w"] = d["w"] + 1
        return d["w"]

    d = {"w": mx.array(1.0)}
    assert here(d).item() == 2
    assert d["w"].item() == 1


def train(model, x):
    grads = nn.value_and_grad(model, lambda m: m(x).sum())(model)[1]
    optim.SGD(0.1).update(model, grads)


@pytest.mark.parametrize(
    ("step", "arguments", "name"),
    [
        (train, lambda m, x: ([m, x], {}), "args[0].weight (and 2 more)"),
        (train, lambda m, x: ([], {"x": x, "model": m}), "kwargs['model'].weight (and 2 more)"),
        (lambda ms, x: train(ms["a"][0], x), lambda m, x: ([{"a": [m]}, x], {}), "args[0]['a'][0].weight (and 2 more)"),
        (lambda x, m: setattr(m, "bias", x[0, :1]), lambda m, x: ([x, m], {}), "args[1].bias"),
        (lambda m, x: setattr(m, "seen", x), lambda m, x: ([m, x], {}), "args[0].seen"),
        (lambda m, x: m.cache.append(x), lambda m, x: ([m, x], {}), "args[0].cache[1]"),
    ],
)
def test_a_module_among_the_arguments_that_is_updated_is_refused(step, arguments, name):
    # In MLX it arrives as a dict.
    model = nn.Linear(2, 1)
    model.cache = [mx.zeros(2)]
    before = dict(model)
    args, kwargs = arguments(model, mx.ones((3, 2)))
    for _ in range(2):
        message = re.escape(f"{name} is updated in '") + ".*copy of a module.*inputs= and outputs="
        with pytest.raises(ValueError, match=message):
            mx.compile(step)(*args, **kwargs)
    assert all(model[k] is v for k, v in before.items()) and len(model.cache) == 1


def test_a_module_among_the_arguments_can_be_updated_and_returned():
    def module(model, x):
        train(model, x)
        return model

    def parameters(model, x):
        return module(model, x).parameters()

    x, plain = mx.ones((3, 2)), nn.Linear(2, 1)
    new, given = copy.deepcopy(plain), copy.deepcopy(plain)
    for _ in range(2):
        train(plain, x)
        new = mx.compile(module)(new, x)
        given.update(mx.compile(parameters)(given, x))
    for one in (new, given):
        assert one.weight.tolist() == plain.weight.tolist()
        assert one.bias.tolist() == plain.bias.tolist()
