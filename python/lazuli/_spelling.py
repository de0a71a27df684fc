"""How Lazuli spells what other libraries call differently: one table, from which the errors for unknown names are made.

Nothing here is an alias: a program that uses another library's name is told the one to use.
"""

from __future__ import annotations

import difflib
from typing import Any

# Functions of torch, numpy and jax.numpy: what ``mx.NAME`` should be.
FUNCTIONS = {
    "absolute": "mx.abs(x)",
    "append": "mx.concatenate([x, y])",
    "as_tensor": "mx.asarray(x)",
    "astensor": "mx.asarray(x)",
    "autograd": "mx.grad and mx.value_and_grad",
    "bmm": "mx.matmul(x, y), or x @ y: leading axes are batches",
    "cat": "mx.concatenate",
    "chunk": "mx.split",
    "column_stack": "mx.stack(arrays, axis=1) or mx.concatenate(arrays, axis=1)",
    "copy": "x itself: arrays do not change unless assigned to; mx.array(x) is another handle",
    "cross": "mx.linalg.cross",
    "cuda": "the default device: arrays need not be moved",
    "device": "mx.Device, mx.cpu",
    "device_get": "x.tolist() or numpy.asarray(x)",
    "device_put": "x itself: arrays need not be moved",
    "dot": "mx.matmul(x, y), x @ y or mx.inner(x, y)",
    "dstack": "mx.stack(arrays, axis=2)",
    "fabs": "mx.abs(x)",
    "fix": "mx.trunc(x)",
    "float": "mx.float32",
    "double": "mx.float64",
    "half": "mx.float16",
    "int": "mx.int32",
    "long": "mx.int64",
    "bool": "mx.bool_",
    "from_numpy": "mx.array(x)",
    "fromiter": "mx.array(list(values))",
    "FloatTensor": "mx.array(values)",
    "LongTensor": "mx.array(values, dtype=mx.int64)",
    "gather": "mx.take_along_axis(x, indices, axis)",
    "ge": "mx.greater_equal",
    "gt": "mx.greater",
    "hstack": "mx.concatenate(arrays, axis=1), for vectors axis=0",
    "index_select": "mx.take(x, indices, axis)",
    "jit": "mx.compile",
    "le": "mx.less_equal",
    "lt": "mx.less",
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
    "no_grad": "nothing: gradients are computed only by mx.grad; mx.stop_gradient(x) cuts them",
    "nonzero": "mx.where(condition, x, y): the number of results may not depend on values",
    "numel": "x.size",
    "permute": "mx.transpose(x, axes)",
    "pmap": "mx.vmap",
    "rand": "mx.random.uniform(shape=shape)",
    "randint": "mx.random.randint",
    "randn": "mx.random.normal(shape)",
    "randperm": "mx.random.permutation(n)",
    "ravel": "mx.flatten(x)",
    "relu": "nn.relu, or mx.maximum(x, 0)",
    "save_checkpoint": "mx.savez",
    "scatter": "x.at[index].add(values), or x[index] = values",
    "select": "mx.where(condition, x, y)",
    "sigmoid_": "mx.sigmoid",
    "tensor": "mx.array",
    "Tensor": "mx.array",
    "true_divide": "mx.divide",
    "unsqueeze": "mx.expand_dims(x, axis)",
    "vsplit": "mx.split(x, n, axis=0)",
    "hsplit": "mx.split(x, n, axis=1)",
    "vstack": "mx.concatenate(arrays, axis=0), for vectors mx.stack(arrays)",
    "with_no_grad": "mx.stop_gradient(x)",
}

# Attributes and methods of torch's, numpy's and jax's arrays.
ATTRIBUTES = {
    "argsort": "mx.argsort(x)",
    "backward": "mx.grad(f)(x): gradients are of functions",
    "bool": "x.astype(mx.bool_)",
    "byte": "x.astype(mx.uint8)",
    "clamp": "mx.clip(x, low, high)",
    "clip": "mx.clip(x, low, high)",
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
    "float": "x.astype(mx.float32)",
    "grad": "mx.grad(f)(x): gradients are of functions, and arrays hold none",
    "half": "x.astype(mx.float16)",
    "int": "x.astype(mx.int32)",
    "long": "x.astype(mx.int64)",
    "masked_fill": "mx.where(mask, value, x)",
    "matmul": "x @ y",
    "mm": "x @ y",
    "norm": "mx.linalg.norm(x)",
    "numel": "x.size",
    "numpy": "numpy.array(x)",
    "permute": "x.transpose(axes)",
    "ravel": "x.flatten()",
    "relu": "nn.relu(x), or mx.maximum(x, 0)",
    "repeat": "mx.repeat(x, repeats, axis), or mx.tile(x, reps)",
    "requires_grad": "mx.grad(f, argnums): which arguments to differentiate is said there",
    "requires_grad_": "mx.grad(f, argnums): which arguments to differentiate is said there",
    "sigmoid": "mx.sigmoid(x)",
    "softmax": "mx.softmax(x, axis)",
    "sort": "mx.sort(x, axis)",
    "t": "x.T",
    "take": "mx.take(x, indices, axis)",
    "tanh": "mx.tanh(x)",
    "to": "x.astype(dtype): arrays need not be moved",
    "tobytes": "bytes(x)",
    "type": "x.astype(dtype), or x.dtype",
    "unsqueeze": "mx.expand_dims(x, axis)",
    "zero_": "mx.zeros_like(x)",
}

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

# Keyword arguments.
ARGUMENTS = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "dim0": "axis1",
    "dim1": "axis2",
    "start_dim": "start_axis",
    "end_dim": "end_axis",
    "unbiased": "ddof=1",
    "correction": "ddof",
    "descending": "nothing: sort -x, or reverse the result with [::-1]",
    "input": "a, the first argument",
    "x": "a, the first argument",
    "x1": "a, the first argument",
    "x2": "b, the second argument",
    "other": "b, the second argument",
    "size": "shape",
    "device": "stream",
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
}

DTYPES = {"bool": "bool_", "float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64"}


def unknown_name(module: str, prefix: str, name: str, known: list[str], *tables: dict[str, str]) -> str:
    """The text of the error for a name that a module does not have."""
    text = f"module {module!r} has no attribute {name!r}"
    found = next((table[name] for table in tables if name in table), None)
    if found is None:
        close = _close(name, known)
        found = f"{prefix}.{close}" if close else None
    return f"{text}: use {found}" if found else text


def _close(name: str, known: list[str]) -> str | None:
    """The known name most like a name, if one is; case counts last."""
    public = {k.lower(): k for k in known if not k.startswith("_")}
    close = difflib.get_close_matches(name.lower(), public, n=1, cutoff=0.8)
    return public[close[0]] if close else None


def unknown_attribute(name: str) -> str:
    """The text of the error for an attribute that arrays do not have."""
    import lazuli.core as mx

    text = f"'lazuli.core.array' object has no attribute {name!r}"
    found = ATTRIBUTES.get(name)
    if found is None and name.endswith("_") and hasattr(mx, name[:-1]):
        found = f"x = mx.{name[:-1]}(x): functions return new arrays"
    if found is None and callable(getattr(mx, name, None)):
        found = f"mx.{name}(x)"
    if found is None:
        close = _close(name, dir(mx.array))
        found = f"x.{close}" if close else None
    return f"{text}: use {found}" if found else text


def unknown_arguments(function: str, names: list[str]) -> str:
    """The text of the error for keyword arguments that a function does not have."""
    name = names[0]
    text = f"{function}() got an unexpected keyword argument {name!r}"
    return f"{text}: use {ARGUMENTS[name]}" if name in ARGUMENTS else text


def no_dtype(value: Any) -> str:
    """The text of the error for something given as a dtype that is none."""
    import lazuli.core as mx

    name = value if isinstance(value, str) else getattr(value, "__name__", None) or str(value).split(".")[-1]
    name = DTYPES.get(name, name)
    text = f"a dtype is one of Lazuli's, like mx.float32, not {value!r}"
    return f"{text}: use mx.{name}" if isinstance(getattr(mx, name, None), mx.Dtype) else text
