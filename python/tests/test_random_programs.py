"""Random programs: compiled they give the bits that they give as plain Python, at every call.

A program is source text that anybody can run. Its function updates captured state and arguments, draws random numbers, and is called
several times, with arrays of several extents. ``python python/tests/test_random_programs.py --seeds 10000`` runs more than the suite does. A
program that fails is printed with as few statements as still fail.

Absent: what programs raise. A statement that is refused while a program is made is left out.
"""

import argparse
import inspect
import math
import random
import re
import sys
import textwrap
import warnings

import pytest

import lazuli.core as mx


def values(seed, shape, dtype):
    """Numbers of both signs, small and large, a few of them special."""
    r = random.Random(f"{seed} {dtype}")
    special = [0.0, -0.0, 1.0, -7.25, 100.0, 1e-8, 1e-40, 3e38, math.inf, -math.inf, math.nan]
    number = lambda: r.choice(special[: 6 if seed % 3 else 11]) if r.random() < 0.2 else r.uniform(-3, 3)
    return mx.array([number() for _ in range(math.prod(shape))]).reshape(shape).astype(dtype)


# The arrays that a statement is about, by the letter that stands for them in it: conditions on `x`, then on `y` beside `x`.
floats = lambda x: x.dtype in (mx.float32, mx.float16, mx.bfloat16)
integers = lambda x: mx.issubdtype(x.dtype, mx.integer)
axes = lambda x: x.ndim > 0
several = lambda x: axes(x) and x.shape[0] > 0
smooth = lambda x: floats(x) and several(x)
square = lambda x: x.ndim > 1 and floats(x)
number = lambda x: not integers(x) and x.dtype != mx.bool_
anything = lambda *_: True
its = lambda condition: lambda x, y: condition(y)
alike = lambda x, y: x.dtype == y.dtype
row = lambda x, y: alike(x, y) and y.ndim < x.ndim

# What else is filled in.
WORDS = {
    "unary": "exp log sqrt rsqrt sin cos tan tanh sinh sigmoid erf expm1 log1p arctan floor ceil round reciprocal cbrt erfc softplus isnan "
             "isfinite nan_to_num stop_gradient logical_not abs negative square sign",
    "whole": "bitwise_invert abs negative square sign logical_not sqrt",
    "binary": "add subtract multiply divide maximum minimum power arctan2 logaddexp remainder floor_divide equal less greater_equal logical_and",
    "bits": "bitwise_and bitwise_or bitwise_xor left_shift right_shift",
    "reduce": "sum mean prod max min argmax argmin any all logsumexp var std",
    "scan": "cumsum cumprod cummax cummin logcumsumexp",
    "rows": "softmax sort argsort",
    "update": "add subtract multiply divide maximum minimum",
    "operator": "+ - * / // ** % < == >=",
    "inplace": "+= -= *= /=",
    "literal": "0 1 2 -1 3 0.5 -0.0 1.0 1e30 True False float('inf')",
    "dtype": "mx.float32 mx.float16 mx.bfloat16 mx.int32 mx.int8 mx.uint8 mx.int64 mx.bool_",
    "index": "0 -1 ... None 1: :-1 ::2 ::-1 [0,-1] mx.array([0,-1])",
    "draw": "uniform normal gumbel laplace",
    "flag": "True False",
    "few": "1 2 3",
    "wrap": "compile mx.checkpoint",
}

# Statements: how often, the text, the condition on `x`, the condition on `y`. `{v}` is the new array and `{f}`, `{g}` are new functions: a
# line that begins with `def` takes arrays such as are named in `{f:...}`, and is filled with statements of its own.
STATEMENTS = [
    (6, "{v} = mx.{unary}({x})", number),
    (2, "{v} = mx.{whole}({x})", integers),
    (6, "{v} = mx.{binary}({x}, {y})", anything, alike),
    (1, "{v} = mx.{binary}({x}, {y})", anything, anything),
    (2, "{v} = mx.{bits}({x}, {y})", integers, alike),
    (4, "{v} = {x} {operator} {literal}", anything),
    (2, "{v} = {literal} {operator} {x}", anything),
    (2, "{v} = mx.where({x} > {literal}, {x}, {y})", anything, alike),
    (1, "{v} = mx.clip({x}, -1, {literal})", anything),
    (4, "{v} = mx.{reduce}({x}, axis={axis}, keepdims={flag})", axes),
    (1, "{v} = mx.{reduce}({x})", anything),
    (2, "{v} = mx.{scan}({x}, axis={axis}, reverse={flag}, inclusive={flag})", axes),
    (3, "{v} = mx.{rows}({x}, axis={axis})", axes),
    (1, "{v} = mx.sort(mx.topk({x}, {few}, axis={axis}), axis={axis})", axes),
    (1, "{v} = mx.fast.layer_norm({x}, None, None, 1e-5)", smooth),
    (1, "{v} = mx.fast.rms_norm({x}, None, 1e-5)", smooth),
    (3, "{v} = {x}.astype({dtype})", anything),
    (2, "{v} = {x}.reshape(-1)", anything),
    (2, "{v} = {x}.reshape({x}.shape[{axis}], -1)", axes),
    (2, "{v} = {x}.T", anything),
    (1, "{v} = mx.swapaxes({x}, 0, {axis})", axes),
    (1, "{v} = mx.expand_dims({x}, {axis})", axes),
    (1, "{v} = mx.broadcast_to({x}, {y}.shape)", anything, row),
    (4, "{v} = {x}[{index}]", axes),
    (1, "{v} = {x}[..., {index}]", axes),
    (2, "{v} = mx.take({x}, {y}, axis={axis})", axes, its(integers)),
    (1, "{v} = {x}[{y} % {x}.shape[0]]", several, its(integers)),
    (1, "{v} = mx.take_along_axis({x}, mx.argsort({x}, axis={axis}), axis={axis})", axes),
    (1, "{v} = mx.put_along_axis({x}, mx.argmax({x}, axis={axis}, keepdims=True), mx.array(1, {x}.dtype), axis={axis})", several),
    (2, "{v} = mx.concatenate([{x}, {y}], axis={axis})", axes, alike),
    (1, "{v} = mx.stack([{x}, {y}], axis={axis})", axes, alike),
    (1, "{v} = mx.split({x}, {few}, axis={axis})[-1]", axes),
    (1, "{v} = mx.pad({x}, {few})", axes),
    (1, "{v} = mx.roll({x}, {few}, axis={axis})", axes),
    (1, "{v} = mx.repeat({x}, {few}, axis={axis})", axes),
    (1, "{v} = mx.tile({x}, ({few}, 1))", axes),
    (1, "{v} = mx.tril({x}, {few})", square),
    (3, "{v} = {x} @ {y}", lambda x: floats(x) and axes(x), lambda x, y: alike(x, y) and axes(y)),
    (2, "{v} = {x} @ mx.swapaxes({x}, -1, -2)", square),
    (1, "{v} = mx.einsum('ij,kj->ik', {x}, {x})", square),
    (1, "{v} = mx.real({x} + 1j * {y}) * mx.abs({x} - 2j)", floats, its(floats)),
    (2, "{v} = {x} * {x}.shape[{axis}]", axes),
    (2, "{v} = {x}.sum() / {x}.shape[{axis}]", axes),
    (1, "{v} = {x} * ({x}.shape[{axis}] + 1)", axes),
    (1, "{v} = {x} + mx.zeros({x}.shape)", anything),
    (1, "{v} = mx.full({x}.shape, {literal})", anything),
    (1, "{v} = mx.arange({x}.shape[{axis}]) - 1", axes),
    (1, "{v} = {x} if {x}.shape[{axis}] > {few} else {x} * 2", axes),
    (1, "{v} = mx.random.{draw}(shape={x}.shape, key=mx.random.key({few}))", anything),
    (1, "{v} = mx.random.randint(0, 7, {x}.shape, key=mx.random.split(mx.random.key({few}))[0])", anything),
    (1, "{v} = mx.random.permutation({x}, key=mx.random.key({few}))", axes),
    (2, "{v} = {x}.at[{index}].{update}({y})", several, row),
    (2, "{v} = mx.array({x})\n{v}[{index}] = {literal}", several),
    (1, "{v} = mx.abs({x})\n{v}[{index}] {inplace} {y}", smooth, row),
    (2, "def {f:x}\n{v} = {wrap}({f})({x})", anything),
    (1, "def {f:x,y}\n{v} = compile({f})(*[{x}, {y}])", anything, anything),
    (2, "def {f:x[0]}\n{v} = mx.vmap({f})({x})", several),
    (1, "def {f:x[0],y}\n{v} = mx.vmap(compile({f}), in_axes=(0, None))({x}, {y})", several, anything),
    (3, "def {f:x}\n{v} = mx.grad(lambda p: {f}(p).astype(mx.float32).sum())({x})", floats),
    (1, "def {f:x}\n{v} = mx.grad(compile({f}))({x}) if {f}({x}).ndim == 0 else {x}", floats),
    (1, "def {f:x}\n{v} = compile(mx.grad(lambda p: mx.checkpoint({f})(p).astype(mx.float32).mean()))({x})", floats),
    (1, "def {f:x,y}\n{v} = mx.value_and_grad(lambda p, q: {f}(p, q).sum(), argnums=(0, 1))({x}, {y})[1][{flag}]", floats, alike),
    (1, "def {f:x}\n{v} = mx.grad(lambda p: mx.grad(lambda q: {f}(q).sum())(p).sum())({x})", floats),
    (1, "def {f:x}\n{v} = mx.grad(lambda p: mx.grad(lambda q: mx.grad(lambda r: ({f}(r) * {x}.shape[{axis}]).sum())(q).sum())(p).sum())({x})", smooth),
    (2, "{v} = mx.cond({x}.sum() > {literal}, lambda p: mx.abs(p) * p * p, lambda p: p, {x})", floats),
    (1, "{v} = mx.cond({x}.sum() > {literal}, lambda p: p + {y}, lambda p: {y} * p, {x}) * {x}", floats, alike),
    (2, "def {f:x}\n{v} = mx.cond({y}.sum() > {literal}, {f}, lambda p: {f}(p * p), {x})", floats, alike),
    (1, "def {f:x[0]}\n{v} = mx.vmap(mx.grad(lambda p: {f}(p).sum()))({x})", smooth),
    (1, "def {f:x}\n{v} = mx.jvp({f}, [{x}], [mx.ones_like({x})])[1][0]", floats),
    (1, "def {f:x}\n{v} = mx.vjp({f}, [{x}], [mx.ones_like({f}({x}))])[1][0]", floats),
    (3, "{v} = before({x}, {y})", floats, its(floats)),
    (1, "def {f:x}\n{g} = mx.custom_function({f})\n{g}.vjp(lambda p, c, o: 2 * p)\n{v} = mx.grad(lambda p: {g}(p).sum())({x})", floats),
]
# Those that a function within the function does not do: what they change is not its own.
OUTER = [
    (2, "state['total'] = state['total'] + {x}.sum()", floats),
    (1, "state['count'] += 1", anything),
    (1, "state['rows'][{few}] = mx.array({x}.max()).astype(mx.float32)", several),
    (1, "{v} = {x} * state['rows'].mean() + state['total']", floats),
    (3, "{v} = mx.random.{draw}(shape={x}.shape)", anything),
    (1, "{v} = mx.where(mx.random.bernoulli(0.5, {x}.shape), {x}, 0)", anything),
    (1, "a {inplace} {literal}", anything),
    (1, "a[{index}] = {literal}", anything),
    (1, "b[{index}] {inplace} {x}.sum()", floats),
]

PROGRAM = '''\
import math
import random
import lazuli.core as mx

{helpers}
def run(compile):
    # What each call gives, and what it leaves in its arguments and in the state.
    state = {{"total": mx.array(0.5), "count": mx.array(0), "rows": mx.ones((4,))}}
    captured = [state, mx.random.state]
    mx.random.seed(7)

    def before(p, q):
{before}

    def fun(a, b, tree, *, w):
        (c,), d = tree["c"], tree["d"]
{fun}

    before, fun = compile(before), compile(fun, inputs=captured, outputs=captured)
    for k, (n, m) in enumerate({extents}):
{call}

for name, mode in [("plain", lambda f, **captured: f), ("compiled", {mode})]:
    for got in run(mode):
        print(name, got)
'''
CALLS = [
    "yield fun({args}, w={w}), state, mx.random.state",
    "args = [{args}]\nyield fun(*args, w={w}), args, state, mx.random.state",
    "args = [{args}]\nmx.eval(args)\nyield fun(*args, w={w}), args, state, mx.random.state",
]
TREES = ["{x}", "({x}, {y})", "[{x}, None, {x}]", "{{'y': {y}, 'n': 2.5}}", "a", "(('text', [{x}]), {y})", "{x}.shape[:1]", "()"]
EXTENTS = ["[(2, 3), (2, 3), (4, 5), (2, 3)]", "[(3, 3), (5, 5), (3, 3), (1, 1)]", "[(4, 1), (4, 6), (4, 1), (3, 2)]", "[(2, 3)] * 3 + [(0, 3)]"]
SHAPES = ["(n, m)", "(n, m)", "(m, n)", "(n,)", "(m,)", "()", "(2, n, m)", "(n, 1)"]
DTYPES = ["float32"] * 6 + ["float16", "bfloat16", "int32", "int8", "uint8", "bool_"]


def held(f, **captured):
    # Traced for the first shapes and called with others; where it is refused, the plain function is called.
    compiled, calls = mx.compile(f, shapeless=True, **captured), []

    def call(*args, **kwargs):
        calls.append(1)
        try:
            return compiled(*args, **kwargs)
        except mx.ShapeGuardError:
            if len(calls) == 1:
                raise
            return f(*args, **kwargs)

    return call


def verified(f, **captured):
    compiled = mx.compile(f, **captured)

    def call(*args, **kwargs):
        with mx.compile_mode("verify"):
            return compiled(*args, **kwargs)

    return call


def within(f, **captured):
    # Only what the function calls is compiled.
    return f if captured else mx.compile(f)


def auto(f, **captured):
    return mx.compile(f, shapeless="auto", **captured)


MODES = {"mx.compile": mx.compile, "held": held, "auto": auto, "within": within, "verified": verified}


class Maker:
    # Makes the statements of one program, and runs each to see that it is not refused and what it gives.
    def __init__(self, seed):
        self.random, self.names = random.Random(seed), 0
        self.scope = {"mx": mx, "values": values, "compile": lambda f: f, "state": {"total": mx.array(0.5), "count": mx.array(0), "rows": mx.ones((4,))}}

    def name(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def pick(self, pool, condition):
        # The name of an array that meets it, of those made last rather than first.
        fit = [name for name in pool if condition(self.scope[name])]
        return fit and fit[max(self.random.randrange(len(fit)) for _ in range(2))]

    def fill(self, text, pool, condition, beside, depth):
        names = {"x": self.pick(pool, condition)}
        x = names["x"] and self.scope[names["x"]]
        names["y"] = names["x"] and self.pick(pool, lambda y: beside(x, y))
        if not names["x"] or not names["y"]:
            return None, None

        # What a compiled function is given and reaches as well would be refused.
        around = [] if "compile" in text or "wrap" in text else pool

        def word(match):
            key, arguments = match.groups()
            if key == "axis":
                return str(self.random.randrange(-x.ndim, x.ndim) if x.ndim else 0)
            if arguments:
                names[key] = self.name(key)
                return names[key] + self.function([re.sub("[xy]", lambda m: names[m[0]], a) for a in arguments.split(",")], around, depth)
            return names[key] if key in names else self.random.choice(WORDS[key].split()) if key in WORDS else names.setdefault(key, self.name(key))

        return re.sub(r"\{(\w+)(?::([^}]*))?\}", word, text), names.get("v")

    def function(self, arguments, pool, depth):
        # Parameters and body; it may use what is around it.
        parameters = [self.name("p") for _ in arguments]
        for parameter, argument in zip(parameters, arguments):
            self.scope[parameter] = mx.array(eval(argument, self.scope))
        around = self.random.sample(pool, min(len(pool), self.random.choice([0, 0, 1])))
        lines, pool = self.block(around + parameters, self.random.randint(1, 4), depth + 1)
        return f"({', '.join(parameters)}):\n" + textwrap.indent("\n".join([*lines, f"return {pool[-1]}"]), "    ")

    def block(self, pool, size, depth):
        rows = STATEMENTS + (OUTER if depth == 0 else [])
        table = [row for row in rows if (depth < 2 or "def" not in row[1]) and ("before" in self.scope or "before" not in row[1])]
        lines, pool = [], list(pool)
        for _ in range(8 * size):
            _, text, *conditions = self.random.choices(table, [row[0] for row in table])[0]
            text, v = self.fill(text, pool, *(conditions + [anything])[:2], depth)
            if text is None or not self.runs(text, v):
                continue
            lines += text.split("\n")
            pool += [v] if v else []
            if len(lines) >= size:
                break
        return lines, pool

    def runs(self, text, v):
        try:
            exec(text, self.scope)
            mx.eval(self.scope.get(v, ()))
        except (ValueError, TypeError, IndexError, NotImplementedError):  # refused
            return False
        return v is None or isinstance(self.scope[v], mx.array) and self.scope[v].size < 3000

    def program(self):
        r = self.random
        extents = r.choice(EXTENTS)
        texts = [f"values(5 * k + {i}, {r.choice(SHAPES)}, mx.{r.choice(DTYPES)})" for i in range(5)]
        n, m = eval(extents)[0]
        self.scope |= dict(zip("abcdw", [eval(t, {"values": values, "mx": mx, "n": n, "m": m, "k": 0}) for t in texts]))
        self.scope |= {"p": values(8, (n, m), mx.float32), "q": values(9, (n, m), mx.float32)}
        before, names = self.block(["p", "q"], r.randint(1, 5), 1)
        before.append(f"return {names[-1]}")
        exec("def before(p, q):\n" + textwrap.indent("\n".join(before), "    "), self.scope)
        fun, names = self.block(["a", "b", "c", "d", "w"], r.randint(2, 14), 0)
        leaves = [r.choice(TREES).format(x=r.choice(names), y=names[-1]) for _ in range(r.randint(1, 3))]
        fun += ["return {", *(f"    {i}: {leaf}," for i, leaf in enumerate(leaves)), "}"]
        if r.random() < 0.2:
            texts[0], texts[3] = f"x := {texts[0]}", "x"
        args, w = "{}, {}, {{'c': [{}], 'd': {}}}".format(*texts[:4]), texts[4]
        return {"extents": extents, "before": before, "fun": fun, "call": r.choice(CALLS).format(args=args, w=w).split("\n")}


def source(program, mode):
    parts = {k: textwrap.indent("\n".join(v), "        ") for k, v in program.items() if k != "extents"}
    helpers = [inspect.getsource(f) for f in (values, MODES[mode]) if f is not mx.compile]
    return PROGRAM.format(helpers="\n\n".join(helpers), extents=program["extents"], mode=mode, **parts)


def bits(tree):
    if isinstance(tree, mx.array):
        numbers = tree.astype(mx.float32) if tree.dtype == mx.bfloat16 else tree
        numbers = mx.where(mx.isnan(numbers), mx.array(math.nan, numbers.dtype), numbers) if floats(numbers) else numbers
        return tree.shape, str(tree.dtype), bytes(memoryview(numbers))
    if isinstance(tree, dict):
        return {k: bits(v) for k, v in tree.items()}
    return tree.__class__, [bits(t) for t in tree] if isinstance(tree, (list, tuple)) else repr(tree)


def outcomes(run, mode):
    # What the calls come to, up to the first that raises.
    try:
        for got in run(mode):
            yield bits(got), got
    except Exception as e:
        yield "raises", e


def difference(program, mode):
    # The first call that differs, or nothing.
    scope = {}
    try:
        exec(source(program, mode).split("\nfor name, mode")[0], scope)
    except SyntaxError:  # while statements are dropped
        return None
    # One after the other, as they draw from the same state.
    calls = zip(list(outcomes(scope["run"], lambda f, **captured: f)), list(outcomes(scope["run"], MODES[mode])))
    return next(((k, plain[1], got[1]) for k, (plain, got) in enumerate(calls) if plain[0] != got[0]), None)


def shrunk(program, mode):
    # With as few lines as still differ.
    size = 16
    while size:
        for part in ("fun", "before"):
            at = 0
            while at < len(program[part]):
                fewer = program | {part: program[part][:at] + program[part][at + size :]}
                if difference(fewer, mode):
                    program = fewer
                else:
                    at += 1
        size //= 2
    return program


def report(seed):
    # Of the first mode in which the program of the seed fails: what it prints, and a shorter program.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of random numbers and traces
        program = Maker(seed).program()
        for mode in MODES:
            if difference(program, mode):
                program = shrunk(program, mode)
                call, plain, got = difference(program, mode)
                return f"# seed {seed}, call {call}\n# plain gives {plain}\n# {mode} gives {got}\n{source(program, mode)}"
    return None


@pytest.mark.parametrize("first", range(0, 300, 30))
def test_programs_give_the_bits_of_plain_python(first):
    assert not [print(text) for text in map(report, range(first, first + 30)) if text]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    found = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        if text := report(seed):
            found += 1
            print(text, flush=True)
    sys.exit(f"{found} of {arguments.seeds} programs fail" if found else None)
