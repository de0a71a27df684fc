"""Names of other libraries are answered with Lazuli's, and the answers are names that exist."""

import importlib
import inspect
import re

import pytest

import lazuli.core as mx
import lazuli.nn as nn
import lazuli.optimizers as optim
import lazuli.utils
from lazuli import _spelling

x = mx.array([1.0, 2.0])

SAID = {
    "mx.concatenate": lambda: mx.cat,
    "mx.expand_dims": lambda: mx.unsqueeze,
    "mx.compile": lambda: mx.jit,
    "lazuli.utils: tree_map": lambda: mx.tree,
    "unroll it": lambda: mx.fori_loop,
    "mx.eval(x)": lambda: x.block_until_ready(),
    "mx.eye(n)[x]": lambda: nn.one_hot,
    "mx.random.split(key, n)[i]": lambda: mx.random.fold_in,
    "arrays that are joined are one argument": lambda: mx.concatenate(x, x),
    "arrays that are joined are one argument ": lambda: mx.stack(x, x),
    "give the shape as shape=": lambda: mx.random.uniform(mx.random.key(0), (2,)),
    "mx.random.normal": lambda: mx.randn,
    "mx.sum": lambda: mx.summ,
    "use axis": lambda: mx.sum(x, dim=0),
    "use axis ": lambda: x.sum(dim=0),
    "use keepdims": lambda: mx.mean(x, axis=0, keepdim=True),
    "use start_axis": lambda: mx.flatten(x, start_dim=1),
    "use shape": lambda: mx.random.uniform(size=(2,)),
    "need not be moved": lambda: x.cuda(),
    "numpy.array(x)": lambda: x.numpy(),
    "mx.stop_gradient(x)": lambda: x.detach(),
    "mx.grad": lambda: x.backward(),
    "x.reshape": lambda: x.reshap(1),
    "x.astype(mx.float32)": lambda: x.float(),
    "mx.tanh(x)": lambda: x.tanh(),
    "x = mx.exp(x)": lambda: x.exp_(),
    "mx.float32": lambda: mx.zeros(2, dtype="float32"),
    "mx.float16": lambda: x.astype("half"),
    "are its parameters": lambda: nn.Parameter,
    "nn.MultiHeadAttention": lambda: nn.MultiheadAttention,
    "nn.Linear": lambda: nn.Linea,
    "use nn.ReLU": lambda: nn.ReLu,
    "__call__": lambda: nn.Linear(1, 1).forward,
    "tree_flatten": lambda: nn.Linear(1, 1).named_parameters(),
    "learning_rate": lambda: optim.StepLR,
    "optim.AdamW": lambda: optim.Adamw,
    "mx.random.permutation": lambda: mx.random.shuffle,
    "mx.random.normal ": lambda: mx.normal,
    "mx.random.uniform": lambda: mx.random.rand,
    "mx.linalg.norm": lambda: mx.norm,
    "nn.log_softmax": lambda: mx.log_softmax,
    "nn.losses.mse_loss": lambda: nn.losses.mse,
    "nn.init.glorot_uniform": lambda: nn.init.xavier_uniform_,
    "lazuli.utils.tree_map": lambda: mx.tree_map,
    "mx.ones": lambda: lazuli.ones,
    "mx.vmap": lambda: mx.apply_along_axis,
    "import lazuli.nn": lambda: mx.nn,
    "x = mx.add(x, ...)": lambda: x.add_(1),
    "mx.pow(x, ...)": lambda: x.pow_,
    "x[:] = value": lambda: x.fill_(1),
    "mx.multiply": lambda: x.mul_(1),
    "x.split(n, axis)": lambda: x.chunk(2),
    "mx.take_along_axis": lambda: x.gather(0, x),
    "x[index] = values": lambda: x.at[0].set(1),
    "x.at[index].multiply(values)": lambda: x.at[0].mul(1),
    "decompositions": lambda: mx.linalg.svd,
    "convolutions": lambda: nn.Conv2d,
    "a shape is one argument": lambda: mx.zeros(2, 3),
    "x.reshape": lambda: x.view(2, 1),
    "optim.clip_grad_norm": lambda: nn.utils.clip_grad_norm_,
    "x == y": lambda: x.eq(x),
    "ddof": lambda: mx.std(x, unbiased=True),
    "'requires_grad': mx.grad": lambda: mx.zeros(2, requires_grad=True),
    "one graph": lambda: mx.full(2, 1, fullgraph=True),
    "num_parameters": lambda: nn.Linear(1, 1).num_parameters(),
    "fresh gradients": lambda: optim.SGD(0.1).zero_grad(),
    "optim.MultiOptimizer": lambda: optim.SGD(0.1).param_groups,
    "update(model, gradients)": lambda: optim.SGD(nn.Linear(1, 1).parameters()),
}

# Arguments that Python's own functions do not have: what is noted when the error is shown.
NOTED = {
    "(SGD calls it learning_rate)": lambda: optim.SGD(lr=0.1),
    "(Linear calls it input_dims)": lambda: nn.Linear(in_features=1, out_features=1),
    "(Linear calls it bias)": lambda: nn.Linear(1, 1, use_bias=False),
    "(Dropout calls it p)": lambda: nn.Dropout(rate=0.5),
    "(compile calls it shapeless)": lambda: mx.compile(print, dynamic=True),
    "(a compiled function is always one graph)": lambda: mx.compile(print, fullgraph=True),
    "(Python values are constants of a trace)": lambda: mx.compile(print, static_argnums=0),
    "(vmap calls it in_axes)": lambda: mx.vmap(print, in_dims=0),
    "(vmap calls it out_axes)": lambda: mx.vmap(print, out_dims=0),
    "(LayerNorm calls it dims)": lambda: nn.LayerNorm(normalized_shape=2),
    "(topk calls it axis)": lambda: mx.topk(x, 1, dim=0),
    "(the function may return more after the loss, which mx.value_and_grad passes on)": lambda: mx.grad(lambda x: x, has_aux=True),
    "(arrays need not be moved)": lambda: nn.Linear(1, 1, device="cuda"),
    "(mx.grad(f, argnums) says what to differentiate)": lambda: mx.array(1.0, requires_grad=True),
    "(mx.compile_mode says how compiled functions run)": lambda: mx.compile(print, mode="max-autotune"),
    None: lambda: nn.Linear(1, 1, nonsense=1),
}


@pytest.mark.parametrize("text", SAID)
def test_the_error_says_how_it_is_spelled(text):
    with pytest.raises((AttributeError, TypeError)) as e:
        SAID[text]()
    assert text.strip() in str(e.value)


@pytest.mark.parametrize("note", NOTED)
def test_the_note_says_how_the_argument_is_spelled(note):
    with pytest.raises(TypeError) as e:
        NOTED[note]()
    assert _spelling.advice(e.value) == note


def test_arguments_of_other_functions_are_left_alone():
    def train(epochs):
        pass

    with pytest.raises(TypeError) as e:
        train(lr=0.1)
    assert _spelling.advice(e.value) is None


def test_submodules_are_those_of_the_package():
    """A module of the binding of the same name would hide what Python adds to it."""
    import lazuli._lazuli
    import lazuli.core.fast

    assert mx.fast is lazuli.core.fast and mx.fast.scaled_dot_product_attention
    public = [name for name, value in vars(lazuli._lazuli).items() if inspect.ismodule(value) and not name.startswith("_")]
    assert not public


@pytest.mark.parametrize("look", [lambda: mx.qqqq, lambda: x.qqqq, lambda: nn.qqqq, lambda: optim.qqqq, lambda: mx.sum(x, qqqq=1)])
def test_unknown_names_are_said_to_be_unknown(look):
    with pytest.raises((AttributeError, TypeError), match="qqqq") as e:
        look()
    assert "use" not in str(e.value)


def test_looking_for_names_is_quiet():
    assert not hasattr(mx, "cat") and not hasattr(x, "numpy") and not hasattr(x, "__cuda_array_interface__")
    assert getattr(nn, "Parameter", None) is None


TABLES = {name: table for name, table in vars(_spelling).items() if name.isupper() and isinstance(table, dict)}


@pytest.mark.parametrize("table", TABLES)
def test_what_is_recommended_exists(table):
    """Every ``mx.name`` in the table is there; no entry is about a name that is Lazuli's own."""
    names = {"mx": mx, "nn": nn, "optim": optim, "x": x}
    for text in [] if table in ("ABSENT", "PLACES") else TABLES[table].values():
        for root, path in re.findall(r"\b(mx|nn|optim|x)((?:\.\w+)+)", text):
            value = names[root]
            for part in path[1:].split("."):
                assert hasattr(value, part), f"{root}{path}"
                value = getattr(value, part)
    owners = {"FUNCTIONS": mx, "ATTRIBUTES": x, "MODULES": nn, "METHODS": nn.Module(), "OPTIMIZERS": optim, "RANDOM": mx.random, "LOSSES": nn.losses}
    owners |= {"INITIALISERS": nn.init, "UPDATES": x.at[0], "OPTIMIZER_METHODS": optim.SGD(0.1)}
    own = owners.get(table)
    if own is not None:
        assert not {name for name in TABLES[table] if hasattr(own, name)}
    assert "tree_flatten" in dir(lazuli.utils)


def test_what_is_absent_is_absent():
    places = [importlib.import_module(path) for path in _spelling.PLACES.values()]
    for names in _spelling.ABSENT.values():
        assert not {name for name in names for place in places if hasattr(place, name)}
    for parameter in _spelling.CONSTRUCTORS.values():
        assert any(parameter in inspect.signature(c).parameters for c in [*vars(nn).values(), *vars(optim).values()] if inspect.isclass(c))


def test_functions_of_memory_are_where_older_programs_look_for_them():
    names = [name for name in mx.metal.__all__ if name != "is_available"]
    assert names and all(getattr(mx.metal, name) is getattr(mx, name) for name in names)
