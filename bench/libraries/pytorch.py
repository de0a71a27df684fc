"""PyTorch on the CPU: op by op, through ``torch.compile``, and its own hand-written kernel where it has one."""

import itertools
import os
from functools import partial

import formulas
import torch

torch.set_num_threads(os.cpu_count())

def compile_anew(function):
    """``torch.compile`` gives up on a function after a few recompilations; a reset keeps each compilation fresh."""
    torch._dynamo.reset()
    return torch.compile(function)


def without_gradients(function):
    def run(*arguments):
        with torch.no_grad():
            return function(*arguments)

    return run


def both(function, *arguments):
    compiled = torch.compile(function)
    return {
        "eager": without_gradients(lambda: function(*arguments)),
        "compiled": without_gradients(lambda: compiled(*arguments)),
    }


def formula(formula, shape):
    x = torch.rand(*shape)
    modes = both(partial(getattr(formulas, formula), torch), x)
    if formula == "gelu":
        out = torch.empty_like(x)
        modes["F.gelu"] = without_gradients(lambda: torch.nn.functional.gelu(x))
        modes["F.gelu, out="] = without_gradients(lambda: torch._C._nn.gelu(x, out=out))
    if formula == "layer_norm":
        modes["F.layer_norm"] = without_gradients(lambda: torch.nn.functional.layer_norm(x, x.shape[-1:]))
    return modes


def scalars():
    return both(partial(formulas.exp_add, torch), torch.tensor(1.0), torch.tensor(2.0))


def matmul(n):
    return both(lambda a, b: a @ b, torch.rand(n, n), torch.rand(n, n))


def train_step(layers, optimizer, **compile):
    """A step of training of an MLP; compiled with these options, if there are any."""
    model = torch.nn.Sequential()
    for inputs, outputs in itertools.pairwise(layers):
        model.extend([torch.nn.Linear(inputs, outputs), torch.nn.ReLU()])
    model.pop(-1)
    opt = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
        "adam": lambda: torch.optim.Adam(model.parameters(), lr=0.001),
    }[optimizer]()

    def step(x, y):
        opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return torch.compile(step, **compile) if compile else step


def batch(rows, features):
    return torch.rand(rows, features), torch.randint(0, 10, (rows,))


def train_mlp(optimizer):
    x, y = batch(256, 784)
    steps = {
        "eager": train_step((784, 256, 256, 10), optimizer),
        "compiled": train_step((784, 256, 256, 10), optimizer, dynamic=None),
    }
    return {mode: partial(step, x, y) for mode, step in steps.items()}


def transformer():
    parameters = {name: (torch.rand(*shape) * 0.05).requires_grad_() for name, shape in formulas.WEIGHTS.items()}
    x, weights = torch.rand(4, 256, 256), list(parameters.values())
    loss = partial(formulas.transformer_loss, torch)
    compiled = torch.compile(loss)
    return {
        "eager": lambda: torch.autograd.grad(loss(parameters, x), weights),
        "compiled": lambda: torch.autograd.grad(compiled(parameters, x), weights),
    }


@without_gradients
def run(function, x):
    function(x)


def first_call():
    x = torch.rand(1000)
    return {"compiled": lambda: run(torch.compile(partial(formulas.gelu, torch)), x)}


def fresh_function():
    x, numbers = torch.rand(1000), itertools.count(1)
    return {"compiled": (run, lambda: (compile_anew(partial(formulas.fresh(next(numbers)), torch)), x))}


def fresh_lambda():
    x = torch.rand(1000)
    return {"compiled": (run, lambda: (compile_anew(lambda x: torch.exp(torch.abs(x))), x))}


def new_shape():
    lengths = itertools.count(1000)
    compiled = torch.compile(partial(formulas.gelu, torch), dynamic=False)
    torch._dynamo.config.recompile_limit = 1 << 20
    return {"compiled": (run, lambda: (compiled, torch.rand(next(lengths))))}


def shapeless():
    compiled, lengths = torch.compile(partial(formulas.gelu, torch), dynamic=True), itertools.count(1000)
    return {"compiled": (run, lambda: (compiled, torch.rand(next(lengths))))}


def shapeless_step():
    step, rows = train_step((32, 64, 64, 10), "adam", dynamic=True), itertools.count(16)
    return {"compiled": (step, lambda: batch(next(rows), 32))}


def programs():
    return {function.__name__: function for function in (
        formula, scalars, matmul, train_mlp, transformer, first_call, fresh_function, fresh_lambda, new_shape,
        shapeless, shapeless_step,
    )}  # fmt: skip
