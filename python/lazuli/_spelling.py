"""How Lazuli spells what other libraries call differently: one table, from which the errors for unknown names are made.

Nothing here is an alias: a program that uses another library's name is told the one to use. An entry that begins with ``nothing:`` says why there
is no such name. A name that stands in no table is looked for in the other modules, and among those that are spelled like it.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

# Functions of torch, numpy and jax.numpy: what ``mx.NAME`` should be.
FUNCTIONS = {
    "absolute": "mx.abs(x)",
    "append": "mx.concatenate([x, y])",
    "apply_along_axis": "mx.vmap(f, in_axes=axis)",
    "argwhere": "mx.where(condition, x, y): the number of results may not depend on values",
    "average": "mx.mean(x), or mx.sum(w * x) / mx.sum(w)",
    "as_tensor": "mx.asarray(x)",
    "astensor": "mx.asarray(x)",
    "autograd": "mx.grad and mx.value_and_grad",
    "bincount": "mx.zeros((n,)).at[x].add(1)",
    "bmm": "mx.matmul(x, y), or x @ y: leading axes are batches",
    "cat": "mx.concatenate",
    "chunk": "mx.split",
    "clamp": "mx.clip(x, low, high)",
    "column_stack": "mx.stack(arrays, axis=1) or mx.concatenate(arrays, axis=1)",
    "copy": "x itself: arrays do not change unless assigned to; mx.array(x) is another handle",
    "convolve": "mx.as_strided(x, (x.size - n + 1, n), (1, 1)) @ kernel[::-1] for the n taps of a kernel",
    "cov": "(x - x.mean(1, keepdims=True)) @ x.T / (n - 1)",
    "cross": "mx.linalg.cross",
    "depends": "mx.eval(dependencies), or return them beside what is computed",
    "device": "mx.Device, mx.cpu",
    "device_get": "x.tolist() or numpy.asarray(x)",
    "device_put": "x itself: arrays need not be moved",
    "disable_jit": "mx.compile_disabled()",
    "digitize": "mx.searchsorted(bins, x)",
    "dot": "mx.matmul(x, y), x @ y or mx.inner(x, y)",
    "dstack": "mx.stack(arrays, axis=2)",
    "eq": "mx.equal(x, y), or x == y",
    "eval_shape": "mx.compile(f).explain(x), which computes nothing",
    "fabs": "mx.abs(x)",
    "fix": "mx.trunc(x)",
    "fliplr": "mx.flip(x, 1)",
    "flipud": "mx.flip(x, 0)",
    "fromfunction": "mx.meshgrid(mx.arange(n), mx.arange(m), indexing='ij')",
    "float": "mx.float32",
    "double": "mx.float64",
    "half": "mx.float16",
    "int": "mx.int32",
    "long": "mx.int64",
    "bool": "mx.bool_",
    "fori_loop": "a Python loop: compiled functions unroll it",
    "from_numpy": "mx.array(x)",
    "fromiter": "mx.array(list(values))",
    "FloatTensor": "mx.array(values)",
    "LongTensor": "mx.array(values, dtype=mx.int64)",
    "gather": "mx.take_along_axis(x, indices, axis)",
    "ge": "mx.greater_equal",
    "hessian": "mx.vmap of mx.jvp of mx.grad(f), over the rows of mx.eye(n)",
    "gt": "mx.greater",
    "hstack": "mx.concatenate(arrays, axis=1), for vectors axis=0",
    "index_select": "mx.take(x, indices, axis)",
    "inference_mode": "nothing: gradients are computed only by mx.grad; mx.stop_gradient(x) cuts them",
    "jacfwd": "mx.vmap of mx.jvp(f, [x], [v]), over the rows v of mx.eye(n)",
    "jacobian": "mx.vmap of mx.jvp(f, [x], [v]), over the rows v of mx.eye(n)",
    "jacrev": "mx.vmap of mx.vjp(f, [x], [v]), over the rows v of mx.eye(n)",
    "jit": "mx.compile",
    "lax": "mx: its functions are in one module",
    "le": "mx.less_equal",
    "lt": "mx.less",
    "make_jaxpr": "mx.compile(f).lower(x)",
    "manual_seed": "mx.random.seed",
    "masked_fill": "mx.where(mask, value, x)",
    "mm": "mx.matmul(x, y), or x @ y",
    "mod": "mx.remainder",
    "mul": "mx.multiply",
    "div": "mx.divide",
    "sub": "mx.subtract",
    "ndarray": "mx.array",
    "ne": "mx.not_equal",
    "neg": "mx.negative",
    "nn": "import lazuli.nn as nn",
    "no_grad": "nothing: gradients are computed only by mx.grad; mx.stop_gradient(x) cuts them",
    "nonzero": "mx.where(condition, x, y): the number of results may not depend on values",
    "numel": "x.size",
    "optim": "import lazuli.optimizers as optim",
    "permute": "mx.transpose(x, axes)",
    "one_hot": "mx.eye(n)[x]",
    "pmap": "mx.vmap",
    "pure_callback": "nothing: compiled functions call nothing of Python's but mx.debug.print",
    "rand": "mx.random.uniform(shape=shape)",
    "randint": "mx.random.randint",
    "randn": "mx.random.normal(shape)",
    "randperm": "mx.random.permutation(n)",
    "ravel": "mx.flatten(x)",
    "relu": "nn.relu, or mx.maximum(x, 0)",
    "s_": "slices: x[1:2], slice(1, 2)",
    "save_checkpoint": "mx.savez",
    "scatter": "x.at[index].add(values), or x[index] = values",
    "scan": "a Python loop: compiled functions unroll it",
    "select": "mx.where(condition, x, y)",
    "set_grad_enabled": "nothing: gradients are computed only by mx.grad; mx.stop_gradient(x) cuts them",
    "set_wired_limit": "nothing: there is no backend for GPUs yet, and no memory of theirs to keep",
    "sigmoid_": "mx.sigmoid",
    "switch": "mx.cond, one in the other",
    "tensor": "mx.array",
    "Tensor": "mx.array",
    "tree": "lazuli.utils: tree_map, tree_flatten, ...",
    "tree_leaves": "[leaf for _, leaf in tree_flatten(tree)], of lazuli.utils",
    "tree_util": "lazuli.utils: tree_map, tree_flatten, ...",
    "true_divide": "mx.divide",
    "unsqueeze": "mx.expand_dims(x, axis)",
    "vectorize": "mx.vmap",
    "vsplit": "mx.split(x, n, axis=0)",
    "hsplit": "mx.split(x, n, axis=1)",
    "vstack": "mx.concatenate(arrays, axis=0), for vectors mx.stack(arrays)",
    "while_loop": "a Python loop over x.item() outside of compiled functions; inside, a loop of known length with mx.where",
    "with_no_grad": "mx.stop_gradient(x)",
}

# Of random numbers.
RANDOM = {
    "choice": "mx.random.randint, or mx.random.categorical(mx.log(p))",
    "default_rng": "mx.random.key(seed), and key= of each function",
    "exponential": "-mx.log(mx.random.uniform(shape=shape))",
    "fold_in": "mx.random.split(key, n)[i]",
    "manual_seed": "mx.random.seed",
    "multinomial": "mx.random.categorical(mx.log(p), num_samples=n)",
    "PRNGKey": "mx.random.key",
    "rand": "mx.random.uniform(shape=shape)",
    "randn": "mx.random.normal(shape)",
    "random": "mx.random.uniform(shape=shape)",
    "random_sample": "mx.random.uniform(shape=shape)",
    "randperm": "mx.random.permutation(n)",
    "shuffle": "mx.random.permutation(x)",
    "standard_normal": "mx.random.normal(shape)",
}

# Attributes and methods of torch's, numpy's and jax's arrays.
ATTRIBUTES = {
    "argsort": "mx.argsort(x)",
    "backward": "mx.grad(f)(x): gradients are of functions",
    "block_until_ready": "mx.eval(x)",
    "bool": "x.astype(mx.bool_)",
    "byte": "x.astype(mx.uint8)",
    "clamp": "mx.clip(x, low, high)",
    "clip": "mx.clip(x, low, high)",
    "chunk": "x.split(n, axis)",
    "clone": "mx.array(x): arrays do not change unless assigned to",
    "contiguous": "x itself: its memory is laid out as needed",
    "copy": "mx.array(x): arrays do not change unless assigned to",
    "cpu": "x itself: arrays need not be moved",
    "cuda": "x itself: arrays need not be moved",
    "data": "x itself, or mx.stop_gradient(x) within a differentiated function",
    "detach": "mx.stop_gradient(x)",
    "device": "mx.default_device(): all arrays are there",
    "dim": "x.ndim",
    "dot": "x @ y",
    "double": "x.astype(mx.float64)",
    "expand": "mx.broadcast_to(x, shape)",
    "fill": "x[:] = value",
    "float": "x.astype(mx.float32)",
    "grad": "mx.grad(f)(x): gradients are of functions, and arrays hold none",
    "half": "x.astype(mx.float16)",
    "int": "x.astype(mx.int32)",
    "is_contiguous": "nothing: memory is laid out as needed",
    "is_cuda": "nothing: arrays need not be moved",
    "long": "x.astype(mx.int64)",
    "masked_fill": "mx.where(mask, value, x)",
    "matmul": "x @ y",
    "mm": "x @ y",
    "nelement": "x.size",
    "new_ones": "mx.ones(shape, x.dtype)",
    "new_zeros": "mx.zeros(shape, x.dtype)",
    "norm": "mx.linalg.norm(x)",
    "numel": "x.size",
    "numpy": "numpy.array(x)",
    "permute": "x.transpose(axes)",
    "ravel": "x.flatten()",
    "register_hook": "mx.custom_function, with a rule of its own",
    "relu": "nn.relu(x), or mx.maximum(x, 0)",
    "repeat": "mx.repeat(x, repeats, axis), or mx.tile(x, reps)",
    "requires_grad": "mx.grad(f, argnums): which arguments to differentiate is said there",
    "requires_grad_": "mx.grad(f, argnums): which arguments to differentiate is said there",
    "retain_grad": "mx.grad(f, argnums): which arguments to differentiate is said there",
    "sigmoid": "mx.sigmoid(x)",
    "softmax": "mx.softmax(x, axis)",
    "sort": "mx.sort(x, axis)",
    "storage": "memoryview(x)",
    "stride": "nothing: memory is laid out as needed",
    "strides": "nothing: memory is laid out as needed",
    "t": "x.T",
    "take": "mx.take(x, indices, axis)",
    "tanh": "mx.tanh(x)",
    "to": "x.astype(dtype): arrays need not be moved",
    "tobytes": "bytes(x)",
    "type": "x.astype(dtype), or x.dtype",
    "unsqueeze": "mx.expand_dims(x, axis)",
    "zero_": "mx.zeros_like(x)",
}

# Methods that end in an underscore, without it.
IN_PLACE = {
    "bernoulli": "mx.random.bernoulli(p, x.shape)",
    "copy": "x[:] = y",
    "fill": "x[:] = value",
    "index_add": "x.at[indices].add(values)",
    "index_copy": "x[indices] = values",
    "normal": "mx.random.normal(x.shape)",
    "scatter": "x[indices] = values, or mx.put_along_axis",
    "scatter_add": "x.at[indices].add(values)",
    "uniform": "mx.random.uniform(shape=x.shape)",
    "zero": "mx.zeros_like(x)",
}

# Methods of ``x.at[index]``.
UPDATES = {
    "apply": "x[index] = f(x[index])",
    "div": "x.at[index].divide(values)",
    "get": "x[index]",
    "max": "x.at[index].maximum(values)",
    "min": "x.at[index].minimum(values)",
    "mul": "x.at[index].multiply(values)",
    "power": "x[index] = x[index] ** values",
    "set": "x[index] = values",
    "sub": "x.at[index].subtract(values)",
}

# Of the module of losses.
LOSSES = {
    "bce_loss": "nn.losses.binary_cross_entropy",
    "binary_cross_entropy_with_logits": "nn.losses.binary_cross_entropy, which takes logits by default",
    "l2_loss": "nn.losses.mse_loss",
}

# Of the module of initialisers.
INITIALISERS = {
    "kaiming_normal_": "nn.init.he_normal()(x), which returns an array",
    "kaiming_uniform_": "nn.init.he_uniform()(x), which returns an array",
    "ones_": "nn.init.constant(1.0)(x), which returns an array",
    "xavier_normal_": "nn.init.glorot_normal()(x), which returns an array",
    "xavier_uniform_": "nn.init.glorot_uniform()(x), which returns an array",
    "zeros_": "nn.init.constant(0.0)(x), which returns an array",
}

# Names that other libraries have and Lazuli does not, and why.
ABSENT = {
    reason: set(names.split())
    for reason, names in {
        "there are no convolutions and poolings yet": (
            "conv1d conv2d conv3d conv_general conv_transpose1d conv_transpose2d conv_transpose3d convolution Conv1d Conv2d Conv3d "
            "ConvTranspose1d ConvTranspose2d ConvTranspose3d AvgPool1d AvgPool2d AvgPool3d MaxPool1d MaxPool2d MaxPool3d Upsample "
            "AdaptiveAvgPool1d AdaptiveAvgPool2d max_pool2d avg_pool2d interpolate"
        ),
        "there are no Fourier transforms yet: numpy.fft takes numpy.array(x), outside of compiled functions": "fft rfft ifft irfft",
        "there are no decompositions yet: numpy.linalg takes numpy.array(x), outside of compiled functions": (
            "cholesky cholesky_inv det eig eigh eigvals eigvalsh inv lstsq lu lu_factor matrix_rank pinv qr slogdet solve solve_triangular svd tri_inv"
        ),
        "there are no quantized types yet": (
            "quantize dequantize quantized_matmul gather_qmm QuantizedLinear QuantizedEmbedding to_fp8 from_fp8 QQLinear qqmm"
        ),
        "there is one process and one device": "distributed average_gradients DataParallel DistributedDataParallel ShardedToAllLinear AllToShardedLinear",
    }.items()
}

# Of linear algebra: what means something else in another module.
LINALG = {"cond": "nothing: " + next(reason for reason, names in ABSENT.items() if "svd" in names)}

# Attributes of modules: what torch's modules have.
MODULES = {
    "Parameter": "mx.array: arrays that are attributes of a module are its parameters",
    "BatchNorm1d": "nn.BatchNorm",
    "BatchNorm2d": "nn.BatchNorm",
    "BCELoss": "nn.losses.binary_cross_entropy(inputs, targets, with_logits=False)",
    "BCEWithLogitsLoss": "nn.losses.binary_cross_entropy",
    "CrossEntropyLoss": "nn.losses.cross_entropy",
    "MSELoss": "nn.losses.mse_loss",
    "L1Loss": "nn.losses.l1_loss",
    "NLLLoss": "nn.losses.nll_loss",
    "functional": "nn itself: nn.relu, nn.losses.cross_entropy, ...",
    "ModuleList": "a list: modules in lists and dicts are found",
    "ModuleDict": "a dict: modules in lists and dicts are found",
    "ParameterList": "a list: arrays in lists and dicts are found",
    "MultiheadAttention": "nn.MultiHeadAttention",
    "Flatten": "x.flatten(1)",
    "Swish": "nn.SiLU",
    "LSTMCell": "nn.LSTM",
    "GRUCell": "nn.GRU",
}

# Methods of torch's modules.
METHODS = {
    "forward": "__call__: define it, and call the module",
    "cuda": "the module itself: arrays need not be moved",
    "cpu": "the module itself: arrays need not be moved",
    "to": "set_dtype(dtype): arrays need not be moved",
    "half": "set_dtype(mx.float16)",
    "float": "set_dtype(mx.float32)",
    "named_parameters": "tree_flatten(model.parameters()), of lazuli.utils",
    "num_parameters": "sum(p.size for _, p in tree_flatten(model.parameters())), of lazuli.utils",
    "state_dict": "parameters()",
    "load_state_dict": "update(parameters), or load_weights(file)",
    "zero_grad": "nothing: nn.value_and_grad returns fresh gradients",
    "requires_grad_": "freeze() and unfreeze()",
    "register_buffer": "an attribute whose name begins with an underscore",
    "register_parameter": "an attribute that holds an array",
}

# Classes of torch's and optax's optimizers.
OPTIMIZERS = {
    "lr_scheduler": "schedules given as learning_rate: optim.cosine_decay, optim.step_decay, ...",
    "StepLR": "optim.step_decay, given as learning_rate",
    "CosineAnnealingLR": "optim.cosine_decay, given as learning_rate",
    "ExponentialLR": "optim.exponential_decay, given as learning_rate",
    "adam": "optim.Adam",
    "adamw": "optim.AdamW",
    "sgd": "optim.SGD",
    "RMSProp": "optim.RMSprop",
}

# Attributes of torch's optimizers.
OPTIMIZER_METHODS = {
    "load_state_dict": "optimizer.state = state",
    "param_groups": "optim.MultiOptimizer, or optimizer.learning_rate",
    "state_dict": "optimizer.state",
    "zero_grad": "nothing: nn.value_and_grad returns fresh gradients",
}

# Keyword arguments of constructors; the test of the tables looks whether some class has what is recommended.
CONSTRUCTORS = {
    "approximate": "approx",
    "d_model": "dims",
    "embed_dim": "dims",
    "embedding_dim": "dims",
    "in_features": "input_dims",
    "lr": "learning_rate",
    "nhead": "num_heads",
    "normalized_shape": "dims",
    "out_features": "output_dims",
    "num_channels": "dims",
    "rate": "p",
    "use_bias": "bias",
}

# Keyword arguments.
ARGUMENTS = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "dim0": "axis1",
    "dim1": "axis2",
    "start_dim": "start_axis",
    "end_dim": "end_axis",
    "unbiased": "ddof: 1 for unbiased=True, and 0 for False",
    "correction": "ddof",
    "descending": "nothing: sort -x, or reverse the result with [::-1]",
    "input": "a, the first argument",
    "x": "a, the first argument",
    "x1": "a, the first argument",
    "x2": "b, the second argument",
    "other": "b, the second argument",
    "size": "shape",
    "device": "nothing: arrays need not be moved",
    "out": "nothing: functions return new arrays",
    "where": "nothing: use mx.where on the argument",
    "requires_grad": "nothing: mx.grad(f, argnums) says what to differentiate",
    "min": "a_min",
    "max": "a_max",
    "decimal": "decimals",
    "sections": "indices_or_sections",
    "split_size_or_sections": "indices_or_sections",
    "index": "indices",
    "src": "values",
    "fill_value": "vals",
    "steps": "num",
    "num_classes": "n",
    "order": "nothing: arrays have no memory order to choose",
    "mean": "loc",
    "std": "scale",
    "generator": "key",
    "rng": "key",
    "minval": "low",
    "maxval": "high",
    "alpha": "mx.add(x, alpha * y)",
    "axis_name": "nothing: axes have no names",
    "backend": "nothing: there is one",
    "diagonal": "k",
    "donate_argnums": "nothing: memory is re-used where nobody else can see it",
    "dynamic": "shapeless",
    "has_aux": "nothing: the function may return more after the loss, which mx.value_and_grad passes on",
    "fullgraph": "nothing: a compiled function is always one graph",
    "in_dims": "in_axes",
    "out_dims": "out_axes",
    "mode": "nothing: mx.compile_mode says how compiled functions run",
    "static_argnames": "nothing: Python values are constants of a trace",
    "static_argnums": "nothing: Python values are constants of a trace",
}

DTYPES = {"bool": "bool_", "float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64"}


def _said(text: str, found: str | None) -> str:
    """The text of an error with what is to be used instead, or with the reason why there is no such name."""
    if found is None:
        return text
    return f"{text}: {found.removeprefix('nothing: ')}" if found.startswith("nothing: ") else f"{text}: use {found}"


def absent(name: str) -> str | None:
    """Why there is no such name, if the reason is that Lazuli does not have what it stands for."""
    return next((f"nothing: {reason}" for reason, names in ABSENT.items() if name in names), None)


# Where public names are, and how programs spell these modules.
PLACES = {
    "mx": "lazuli.core",
    "mx.random": "lazuli.core.random",
    "mx.linalg": "lazuli.core.linalg",
    "mx.fast": "lazuli.core.fast",
    "nn": "lazuli.nn",
    "nn.losses": "lazuli.nn.losses",
    "nn.init": "lazuli.nn.init",
    "nn.utils": "lazuli.nn.utils",
    "optim": "lazuli.optimizers",
    "lazuli.utils": "lazuli.utils",
}


def _elsewhere(name: str) -> str | None:
    """A name with the module that has it."""
    for prefix, path in PLACES.items():
        value = vars(importlib.import_module(path)).get(name)
        if callable(value) and (getattr(value, "__module__", None) or path).startswith("lazuli"):
            return f"{prefix}.{name}"
    return None


def unknown_name(module: str, prefix: str, name: str, known: Sequence[str], *tables: dict[str, str]) -> str:
    """The text of the error for a name that a module does not have."""
    found = next((table[name] for table in tables if name in table), None) or absent(name) or _elsewhere(name.removesuffix("_"))
    if found is None and (close := _close(name, known)):
        found = f"{prefix}.{close}"
    alias = (found or "").partition(".")[0]
    if module == "lazuli" and alias in PLACES:  # perhaps it was imported as mx itself
        found = f"{found}, after 'import {PLACES[alias]} as {alias}'"
    return _said(f"module {module!r} has no attribute {name!r}", found)


def answer(module: str, prefix: str, public: Callable[[], Sequence[str]], *tables: dict[str, str]) -> None:
    """Gives a module its ``__getattr__``, which is called for names that it does not have, and its ``__dir__``, which completion shows: public names. Type checkers
    see neither, and say which names these are."""

    def __getattr__(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        raise AttributeError(unknown_name(module, prefix, name, public(), *tables))

    def __dir__() -> list[str]:
        own = vars(sys.modules[module])
        names = (name for name in public() if not name.startswith("_") and name != "annotations")
        return sorted({*names, *(name for name in own if name.startswith("__") and name.endswith("__"))})

    vars(sys.modules[module]).update(__getattr__=__getattr__, __dir__=__dir__)


def _close(name: str, known: Sequence[str]) -> str | None:
    """The known name most like a name, if one is, or the only one of which it is a word; case counts last."""
    if len(name) < 3:
        return None
    # Of names that differ by case alone the one that begins as the name does: nn.ReLU is a class, nn.relu a function.
    public = {k.lower(): k for k in sorted(known, key=lambda k: k[0].isupper() == name[0].isupper()) if not k.startswith("_")}
    close = difflib.get_close_matches(name.lower(), public, n=1, cutoff=0.8)
    if not close:
        close = [k for k in public if name.lower() in k.split("_")]
    return public[close[0]] if len(close) == 1 else None


def _call(function: str) -> str:
    """A call of a function of arrays, as an example."""
    import lazuli.core as mx

    several = len(inspect.signature(getattr(mx, function)).parameters) > 2  # besides the stream
    return f"mx.{function}(x, ...)" if several else f"mx.{function}(x)"


def unknown_attribute(name: str) -> str:
    """The text of the error for an attribute that arrays do not have."""
    import lazuli.core as mx

    text = f"'lazuli.core.array' object has no attribute {name!r}"
    plain = name.removesuffix("_")
    found = ATTRIBUTES.get(name)
    if found is None and name != plain:
        if plain in IN_PLACE:
            found = IN_PLACE[plain]
        elif callable(getattr(mx, plain, None)):
            found = f"x = {_call(plain)}: functions return new arrays"
        elif plain in ATTRIBUTES or plain in FUNCTIONS:
            found = ATTRIBUTES.get(plain) or FUNCTIONS[plain]
    if found is None:
        found = FUNCTIONS.get(name)
    if found is None and callable(getattr(mx, name, None)):
        found = _call(name)
    if found is None and (close := _close(name, dir(mx.array))):
        found = f"x.{close}"
    return _said(text, found)


def unknown_update(name: str) -> str:
    """The text of the error for a method that ``x.at[index]`` does not have."""
    return _said(f"'lazuli.core.ArrayAt' object has no attribute {name!r}", UPDATES.get(name))


def unknown_method(kind: str, name: str, table: dict[str, str]) -> str:
    """The text of the error for an attribute that an object of a class does not have."""
    return _said(f"{kind!r} object has no attribute {name!r}", table.get(name))


def unknown_arguments(function: str, names: list[str]) -> str:
    """The text of the error for keyword arguments that a function does not have."""
    name = names[0]
    return _said(f"{function}() got an unexpected keyword argument {name!r}", ARGUMENTS.get(name))


@functools.cache
def _parameters(called: str) -> frozenset[str]:
    """Names of the parameters of what is called so in Lazuli; none if nothing is."""
    for path in PLACES.values():
        found = vars(importlib.import_module(path)).get(called)
        if callable(found):
            return frozenset(inspect.signature(found).parameters)
    return frozenset()


def advice(error: BaseException) -> str | None:
    """What a constructor or a function of Python's calls an argument that it was called with in vain."""
    if not isinstance(error, TypeError):
        return None
    match = re.match(r"(\w+)(?:\.__(?:init|new)__)?\(\) got an unexpected keyword argument '(\w+)'$", str(error))
    if match is None:
        return None
    called, name = match.groups()
    here = CONSTRUCTORS.get(name) or ARGUMENTS.get(name, "")
    if here in _parameters(called):
        return f"({called} calls it {here})"
    if _parameters(called) and here.startswith("nothing: "):
        return f"({here.removeprefix('nothing: ')})"
    return None


def no_dtype(value: Any) -> str:
    """The text of the error for something given as a dtype that is none."""
    import lazuli.core as mx

    text = f"a dtype is one of Lazuli's, like mx.float32, not {value!r}"
    if isinstance(value, int):
        return f"{text}: a shape is one argument, like mx.zeros((2, 3)); x.reshape(2, 3) changes that of an array"
    name = value if isinstance(value, str) else getattr(value, "__name__", None) or str(value).split(".")[-1]
    name = DTYPES.get(name, name)
    return _said(text, f"mx.{name}" if isinstance(getattr(mx, name, None), mx.Dtype) else None)
