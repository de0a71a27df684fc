"""NumExpr: formulas as strings, run by a virtual machine over blocks that stay in cache. It has no ``erf``."""

import itertools
import os

import formulas
import numexpr
import numpy as np

numexpr.set_num_threads(os.cpu_count())
F32 = np.float32
CONSTANTS = {"half": F32(0.5), "c1": F32(1.01), "c2": F32(0.37)}


def uniform(*shape):
    return np.random.default_rng(0).random(shape, dtype=F32)


def evaluate(text, x, out=None):
    return numexpr.evaluate(text, {"x": x, **CONSTANTS}, out=out, casting="unsafe")


def formula(formula, shape):
    texts = {"sum_all": "sum(x)"}
    chain = "x"
    for _ in range(10):
        chain = f"abs({chain} * c1 - c2)"
    texts["chain30"] = chain
    if formula not in texts:
        return {}
    x, text = uniform(*shape), texts[formula]
    return {"evaluate": lambda: evaluate(text, x)}


def scalars():
    x, y = F32(1.0), F32(2.0)
    return {"evaluate": lambda: numexpr.evaluate("exp(-x) + y", {"x": x, "y": y})}


def fresh_text(number):
    text = "x"
    for place in range(10):
        text = f"{formulas.FRESH[number // 4**place % 4]}({text}) * half"
    return text


def first_call():
    x = uniform(1000)
    return {"evaluate": lambda: evaluate(fresh_text(1), x)}


def fresh_function():
    x, numbers = uniform(1000), itertools.count(1)
    return {"evaluate": (evaluate, lambda: (fresh_text(next(numbers)), x))}


def new_shape():
    lengths = itertools.count(1000)
    return {"evaluate": (evaluate, lambda: ("abs(x * c1 - c2)", uniform(next(lengths))))}


def programs():
    return {function.__name__: function for function in (
        formula, scalars, first_call, fresh_function, new_shape,
    )}  # fmt: skip
