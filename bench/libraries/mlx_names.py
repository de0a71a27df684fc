"""MLX and Lazuli: one text for both, which is the point of sharing the names."""

import importlib
import itertools
from functools import partial

import formulas
from rows import Told


def programs(package):
    mx = importlib.import_module(f"{package}.core")
    def uniform(*shape):
        x = mx.random.uniform(shape=shape)
        mx.eval(x)
        return x

    def both(function, *arguments):
        compiled = mx.compile(function)
        return {
            "eager": lambda: mx.eval(function(*arguments)),
            "compiled": lambda: mx.eval(compiled(*arguments)),
        }

    def formula(formula, shape):
        return both(partial(getattr(formulas, formula), mx), uniform(*shape))

    def scalars():
        return both(partial(formulas.exp_add, mx), mx.array(1.0), mx.array(2.0))

    def matmul(n):
        return both(lambda a, b: a @ b, uniform(n, n), uniform(n, n))

    def train_step(layers, optimizer, **compile):
        """A step of training of an MLP; compiled with these options, if there are any."""
        nn = importlib.import_module(f"{package}.nn")
        optimizers = importlib.import_module(f"{package}.optimizers")

        class MLP(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [nn.Linear(*sizes) for sizes in itertools.pairwise(layers)]

            def __call__(self, x):
                for layer in self.layers[:-1]:
                    x = nn.relu(layer(x))
                return self.layers[-1](x)

        def loss(model, x, y):
            return nn.losses.cross_entropy(model(x), y, reduction="mean")

        model = MLP()
        opt = {
            "sgd": lambda: optimizers.SGD(learning_rate=0.01, momentum=0.9),
            "adam": lambda: optimizers.Adam(learning_rate=0.001),
        }[optimizer]()
        state = [model.state, opt.state]
        value_and_grad = nn.value_and_grad(model, loss)

        def step(x, y):
            value, gradients = value_and_grad(model, x, y)
            opt.update(model, gradients)
            return value

        step = mx.compile(step, inputs=state, outputs=state, **compile) if compile else step
        return lambda x, y: mx.eval(step(x, y), state)

    def batch(rows, features):
        x, y = uniform(rows, features), mx.random.randint(0, 10, (rows,))
        mx.eval(y)
        return x, y

    def train_mlp(optimizer):
        x, y = batch(256, 784)
        steps = {
            "eager": train_step((784, 256, 256, 10), optimizer),
            "compiled": train_step((784, 256, 256, 10), optimizer, shapeless=False),
        }
        return {mode: partial(step, x, y) for mode, step in steps.items()}

    def transformer():
        parameters = {name: uniform(*shape) * 0.05 for name, shape in formulas.WEIGHTS.items()}
        mx.eval(parameters)
        return both(mx.value_and_grad(partial(formulas.transformer_loss, mx)), parameters, uniform(4, 256, 256))

    def run(function, x):
        mx.eval(function(x))

    def first_call():
        x = uniform(1000)
        return {"compiled": lambda: mx.eval(mx.compile(partial(formulas.gelu, mx))(x))}

    def fresh_function():
        x, numbers = uniform(1000), itertools.count(1)
        return {"compiled": (run, lambda: (mx.compile(partial(formulas.fresh(next(numbers)), mx)), x))}

    def fresh_lambda():
        x = uniform(1000)
        return {"compiled": (run, lambda: (mx.compile(lambda x: mx.exp(mx.abs(x))), x))}

    def new_shape():
        compiled, lengths = mx.compile(partial(formulas.gelu, mx)), itertools.count(1000)
        return {"compiled": (run, lambda: (compiled, uniform(next(lengths))))}

    def shapes(run, first, call):
        """A call for a number that is new each time, from the first on; and of Lazuli one for the number that was new last, which differs in nothing else."""
        numbers, latest = itertools.count(first), [first]

        def new():
            latest[0] = next(numbers)
            return call(latest[0])

        modes = {"compiled": (run, new)}
        return modes | {"repeated": (run, lambda: call(latest[0]))} if package == "lazuli" else modes

    def shapeless():
        compiled = mx.compile(partial(formulas.gelu, mx), shapeless=True)
        return shapes(run, 1000, lambda length: (compiled, uniform(length)))

    def shapeless_step():
        step = train_step((32, 64, 64, 10), "adam", shapeless=True)
        return shapes(step, 16, lambda rows: batch(rows, 32))

    def deep(operations):
        # What MLX does not finish in a minute is not asked of it.
        if package == "mlx" and operations > 1000:
            return {}
        x = uniform(64, 64)

        def fresh():
            return (mx.compile(lambda x: formulas.deep(mx, x, operations)), x)

        def stages(compiled, x):
            times = compiled.explain(x).times
            return Told(times["simplify"] + times["lower"])

        modes = {"compiled": (run, fresh)}
        return modes | {"simplify and fuse": (stages, fresh)} if package == "lazuli" else modes

    return {function.__name__: function for function in (
        formula, scalars, matmul, train_mlp, transformer, first_call, fresh_function, fresh_lambda, new_shape,
        shapeless, shapeless_step, deep,
    )}  # fmt: skip
