"""The arithmetic of the rows, written once for every library.

``xp`` is the library's namespace of functions; ``x`` its array. Methods are used where all libraries share them.
"""

import math


def gelu(xp, x):
    return x * (1 + xp.erf(x / math.sqrt(2))) / 2


def chain30(xp, x):
    for _ in range(10):
        x = xp.abs(x * 1.01 - 0.37)
    return x


def softmax(xp, x):
    return xp.softmax(x, -1)


def layer_norm(xp, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * xp.rsqrt(variance + 1e-5)


def logsumexp(xp, x):
    return xp.logsumexp(x, -1)


def sum_all(xp, x):
    return x.sum()


def mean_rows(xp, x):
    return x.mean(axis=0)


def rotary(xp, x):
    """A rotary embedding by one angle: half of each row turned into the other."""
    half = x.shape[-1] // 2
    turned = xp.concatenate([-x[..., half:], x[..., :half]], -1)
    return x * 0.8 + turned * 0.6


def argmax(xp, x):
    return xp.argmax(x, -1)


def rows_of_argmax(xp, x):
    return x[xp.argmax(x, -1)]


def exp_add(xp, x, y):
    return xp.exp(-x) + y


FRESH = ("sin", "cos", "tanh", "abs")


def fresh(number):
    """A formula of ten operations that no smaller number has."""
    names = [FRESH[number // 4**place % 4] for place in range(10)]

    def formula(xp, x):
        for name in names:
            x = getattr(xp, name)(x) * 0.5
        return x

    return formula


def deep(xp, x, operations):
    """A function of so many operations, in blocks of ten: elementwise chains, a mean over rows, a transposition."""
    for _ in range(operations // 10):
        y = xp.abs(x * 1.01 - 0.37)
        z = xp.exp(-y)
        x = xp.swapaxes((z - z.mean(axis=-1, keepdims=True)) * y + x, 0, 1)
    return x


def transformer(xp, p, x):
    """A pre-norm transformer block of 8 heads, from primitives; ``p`` holds its weights by name."""
    batch, length, width = x.shape
    heads = 8

    def split(y):
        return xp.swapaxes(y.reshape(batch, length, heads, width // heads), 1, 2)

    y = layer_norm(xp, x)
    q, k, v = split(y @ p["q"]), split(y @ p["k"]), split(y @ p["v"])
    weights = xp.softmax((q @ xp.swapaxes(k, 2, 3)) * (width // heads) ** -0.5, -1)
    x = x + xp.swapaxes(weights @ v, 1, 2).reshape(batch, length, width) @ p["o"]
    return x + gelu(xp, layer_norm(xp, x) @ p["up"]) @ p["down"]


def transformer_loss(xp, p, x):
    return (transformer(xp, p, x) ** 2).mean()


WEIGHTS = {"q": (256, 256), "k": (256, 256), "v": (256, 256), "o": (256, 256), "up": (256, 1024), "down": (1024, 256)}
