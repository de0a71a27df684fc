"""JAX on the CPU: ``jit`` only, since nobody runs it op by op."""

import itertools
from functools import partial
from types import SimpleNamespace

import formulas
import jax
import jax.numpy as jnp
import numpy as np

xp = SimpleNamespace(
    erf=jax.scipy.special.erf, abs=jnp.abs, exp=jnp.exp, sin=jnp.sin, cos=jnp.cos, tanh=jnp.tanh, rsqrt=jax.lax.rsqrt,
    softmax=jax.nn.softmax, logsumexp=jax.scipy.special.logsumexp, swapaxes=jnp.swapaxes, argmax=jnp.argmax,
    concatenate=jnp.concatenate,
)  # fmt: skip


def uniform(*shape):
    return jax.random.uniform(jax.random.key(0), shape).block_until_ready()


def jit(function, *arguments):
    compiled = jax.jit(function)
    return {"jit": lambda: jax.block_until_ready(compiled(*arguments))}


def formula(formula, shape):
    return jit(partial(getattr(formulas, formula), xp), uniform(*shape))


def scalars():
    return jit(partial(formulas.exp_add, xp), jnp.float32(1.0), jnp.float32(2.0))


def matmul(n):
    return jit(lambda a, b: a @ b, uniform(n, n), uniform(n, n))


def train_mlp(optimizer):
    sizes = [(784, 256), (256, 256), (256, 10)]
    parameters = [(uniform(m, n) * 0.05, jnp.zeros(n)) for m, n in sizes]
    x, y = uniform(256, 784), jnp.asarray(np.random.default_rng(0).integers(0, 10, 256))

    def loss(parameters, x, y):
        for w, b in parameters[:-1]:
            x = jnp.maximum(x @ w + b, 0)
        w, b = parameters[-1]
        logits = x @ w + b
        return jnp.mean(xp.logsumexp(logits, -1) - jnp.take_along_axis(logits, y[:, None], -1)[:, 0])

    def sgd(p, g, state):
        velocity = 0.9 * state[0] + g
        return p - 0.01 * velocity, (velocity,)

    def adam(p, g, state):
        m, v = 0.9 * state[0] + 0.1 * g, 0.999 * state[1] + 0.001 * g * g
        return p - 0.001 * m / (jnp.sqrt(v) + 1e-8), (m, v)

    update, states = {"sgd": (sgd, 1), "adam": (adam, 2)}[optimizer]
    leaves, structure = jax.tree.flatten(parameters)
    carried = [leaves, [tuple(jnp.zeros_like(leaf) for _ in range(states)) for leaf in leaves]]

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(leaves, states, x, y):
        value, gradients = jax.value_and_grad(lambda leaves: loss(jax.tree.unflatten(structure, leaves), x, y))(leaves)
        updated = [update(p, g, s) for p, g, s in zip(leaves, gradients, states)]
        return value, [p for p, _ in updated], [s for _, s in updated]

    def run():
        value, carried[0], carried[1] = step(*carried, x, y)
        jax.block_until_ready((value, carried))

    return {"jit": run}


def transformer():
    parameters = {name: uniform(*shape) * 0.05 for name, shape in formulas.WEIGHTS.items()}
    return jit(jax.value_and_grad(partial(formulas.transformer_loss, xp)), parameters, uniform(4, 256, 256))


def run(function, x):
    jax.block_until_ready(function(x))


def first_call():
    x = uniform(1000)
    return {"jit": lambda: run(jax.jit(partial(formulas.gelu, xp)), x)}


def fresh_function():
    x, numbers = uniform(1000), itertools.count(1)
    return {"jit": (run, lambda: (jax.jit(partial(formulas.fresh(next(numbers)), xp)), x))}


def fresh_lambda():
    x = uniform(1000)
    return {"jit": (run, lambda: (jax.jit(lambda x: jnp.exp(jnp.abs(x))), x))}


def new_shape():
    compiled, lengths = jax.jit(partial(formulas.gelu, xp)), itertools.count(1000)
    return {"jit": (run, lambda: (compiled, uniform(next(lengths))))}


def deep(operations):
    # XLA takes seconds for a thousand operations.
    if operations > 1000:
        return {}
    x = uniform(64, 64)
    return {"jit": (run, lambda: (jax.jit(lambda x: formulas.deep(xp, x, operations)), x))}


def programs():
    return {function.__name__: function for function in (
        formula, scalars, matmul, train_mlp, transformer, first_call, fresh_function, fresh_lambda, new_shape, deep,
    )}  # fmt: skip
