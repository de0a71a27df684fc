"""Training with batches of many sizes and lengths: a shapeless step gives the losses and the parameters of the plain one, bit for bit, from one trace."""

import math

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
from lazuli.utils import tree_flatten, tree_map

# Batch sizes and lengths, some of them again, some equal to each other and to widths of the models.
SIZES = [(8, 5), (3, 7), (8, 5), (12, 12), (1, 6), (5, 2), (3, 7), (16, 11), (12, 3), (2, 16), (33, 4), (8, 6)]


def numbers(*shape):
    return mx.random.normal(shape)


def tokens(most, *shape):
    return mx.random.randint(0, most, shape)


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)]
        self.norm, self.dropout = nn.LayerNorm(12), nn.Dropout(0.25)

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = self.dropout(self.norm(nn.gelu(layer(x))))
        return self.layers[-1](x)


class Language(nn.Module):
    # Embeddings, a block of attention that looks back only and leaves padding out, and their product with the table.
    def __init__(self):
        super().__init__()
        self.table, self.positions = nn.Embedding(11, 12), nn.Embedding(32, 12)
        self.norm = nn.RMSNorm(12)
        self.query, self.key, self.value = (nn.Linear(12, 12, bias=False) for _ in range(3))
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)

    def __call__(self, ids, is_there):
        n, length = ids.shape
        where = mx.arange(length)
        x = self.table(ids) + self.positions(where)
        y = self.norm(x)
        heads = lambda a: a.reshape(n, length, 3, 4).transpose(0, 2, 1, 3)
        q, k, v = heads(self.query(y)), heads(self.key(y)), heads(self.value(y))
        scores = q @ k.swapaxes(-1, -2) / math.sqrt(4)
        allowed = (where[:, None] >= where[None]) & is_there[:, None, None]
        weights = mx.softmax(mx.where(allowed, scores, -1e9), axis=-1)
        x = x + (weights @ v).transpose(0, 2, 1, 3).reshape(n, length, 12)
        return self.table.as_linear(x + self.down(nn.silu(self.up(x))))


class Recurrent(nn.Module):
    # Five steps of a cell, and a state that is thrown away.
    def __init__(self):
        super().__init__()
        self.into, self.over, self.out = nn.Linear(4, 24), nn.Linear(8, 24, bias=False), nn.Linear(8, 2)

    def __call__(self, x):
        h = mx.zeros((x.shape[0], 8))
        for t in range(5):
            a, b = mx.split(self.into(x[:, t]), [16], axis=-1)
            c, d = mx.split(self.over(h), [16], axis=-1)
            reset, update = mx.split(mx.sigmoid(a + c), 2, axis=-1)
            h = (1 - update) * mx.tanh(b + reset * d) + update * h
        return self.out(h)


def regression(model, x, y):
    return nn.losses.mse_loss(model(x), y)


def classification(model, x, labels):
    p = nn.losses.cross_entropy(model(x), labels, label_smoothing=0.1)
    return p.mean() + 1e-3 * sum(mx.square(w).sum() for _, w in tree_flatten(model.trainable_parameters()))


def language(model, ids, is_there):
    losses = nn.losses.cross_entropy(model(ids[:, :-1], is_there[:, :-1]), ids[:, 1:]) * is_there[:, 1:]
    return losses.sum() / is_there[:, 1:].sum()


def huber(model, x, y):
    return nn.losses.huber_loss(model(x), y, reduction="sum") / x.shape[0]


# Of each loop the model, the optimizer, the loss, and a batch of n rows of this length.
LOOPS = {
    "perceptron": (Perceptron, lambda: optim.SGD(0.05, momentum=0.9), regression, lambda n, _: (numbers(n, 6), numbers(n, 3))),
    "classifier": (
        Perceptron, lambda: optim.AdamW(optim.cosine_decay(1e-2, 8)), classification, lambda n, _: (numbers(n, 6), tokens(3, n)),
    ),
    "language": (
        Language, lambda: optim.Adam(3e-3), language,
        lambda n, length: (tokens(11, n, length), mx.arange(length)[None] <= 2 + tokens(9, n, 1)),
    ),
    "recurrent": (Recurrent, lambda: optim.RMSprop(1e-2), huber, lambda n, _: (numbers(n, 5, 4), numbers(n, 2))),
    "convolved": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)), lambda: optim.Lion(1e-3),
        # Windows of three along the sequence, and the mean over it.
        lambda model, x, y: mx.square(model(mx.maximum(x[:, 2:], x[:, 1:-1] * x[:, :-2])).squeeze(-1).mean(axis=1) - y).mean(),
        lambda n, length: (numbers(n, length + 2, 4), numbers(n)),
    ),
    "pairs": (
        lambda: nn.Linear(6, 4), lambda: optim.Adagrad(0.1),
        # Each row is to be nearer to its own than to the others of the batch.
        lambda model, x, y: nn.losses.cross_entropy(10 * (model(x) @ model(y).T), mx.arange(x.shape[0])).mean(),
        lambda n, _: (numbers(n, 6), numbers(n, 6)),
    ),
}


def clipped(grads):
    norm = mx.sqrt(sum(mx.square(g).sum() for _, g in tree_flatten(grads)))
    return tree_map(lambda g: g * mx.minimum(1.0, 1.0 / (norm + 1e-6)), grads)


def losses_and_state(name, compiled, dtype):
    # What each step of the loop gives, and what the model and the optimizer are after all.
    make, optimizer, loss, batch = LOOPS[name]
    mx.random.seed(3)
    model, opt = make(), optimizer()
    model.set_dtype(dtype)
    opt.init(model.trainable_parameters())
    batches = [batch(*size) for size in SIZES]
    mx.eval(model, opt.state, batches)
    state = [model.state, opt.state, mx.random.state]

    def step(*batch):
        value, grads = nn.value_and_grad(model, loss)(model, *batch)
        opt.update(model, clipped(grads))
        return value

    def score(*batch):
        return loss(model, *batch)

    step, score = compiled(step, inputs=state, outputs=state), compiled(score, inputs=state, outputs=[mx.random.state])
    given = [(step(*b), score(*b)) for b in batches]
    mx.eval(given, state)
    return [(k, a.shape, str(a.dtype), bytes(memoryview(a.astype(mx.float32)))) for k, a in tree_flatten([given, model.parameters(), opt.state])]


@pytest.mark.parametrize(("shapeless", "dtype"), [(True, mx.float32), ("auto", mx.float32), (True, mx.bfloat16)])
@pytest.mark.parametrize("name", LOOPS)
def test_loops_give_what_plain_ones_give(name, shapeless, dtype):
    before = mx.compile_stats()["traces"]
    got = losses_and_state(name, lambda f, **captured: mx.compile(f, shapeless=shapeless, **captured), dtype)
    traces = mx.compile_stats()["traces"] - before
    plain = losses_and_state(name, lambda f, **captured: f, dtype)
    assert [k for k, *_ in got] == [k for k, *_ in plain]
    assert [k for k, g, p in zip((k for k, *_ in got), got, plain) if g != p] == []
    assert traces <= 4, "the step and the score, each for many rows and for one"


def test_steps_with_gradients_that_are_added_up():
    # Two batches a step, of one size or of two.
    def run(compiled):
        mx.random.seed(5)
        model, opt = Perceptron(), optim.SGD(0.1)
        model.eval()
        total = tree_map(mx.zeros_like, model.trainable_parameters())
        batches = [(numbers(n, 6), numbers(n, 3)) for n, _ in SIZES]
        state = [model.state, opt.state, {"total": total}]

        def add(x, y):
            value, grads = nn.value_and_grad(model, regression)(model, x, y)
            state[2]["total"] = tree_map(mx.add, state[2]["total"], grads)
            return value

        def update():
            opt.update(model, tree_map(lambda g: g / 2, state[2]["total"]))
            state[2]["total"] = tree_map(mx.zeros_like, state[2]["total"])

        add, update = compiled(add, inputs=state, outputs=state), compiled(update, inputs=state, outputs=state)
        values = []
        for k, batch in enumerate(batches):
            values.append(add(*batch))
            if k % 2:
                update()
        return [bytes(memoryview(a)) for _, a in tree_flatten([values, model.parameters()])]

    assert run(lambda f, **captured: mx.compile(f, shapeless=True, **captured)) == run(lambda f, **captured: f)
