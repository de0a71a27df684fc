"""Names of other libraries are answered with Lazuli's, and the answers are names that exist."""

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
    "__call__": lambda: nn.Linear(1, 1).forward,
    "tree_flatten": lambda: nn.Linear(1, 1).named_parameters(),
    "learning_rate": lambda: optim.StepLR,
    "optim.AdamW": lambda: optim.Adamw,
}


@pytest.mark.parametrize("text", SAID)
def test_the_error_says_how_it_is_spelled(text):
    with pytest.raises((AttributeError, TypeError)) as e:
        SAID[text]()
    assert text.strip() in str(e.value)


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
    for text in TABLES[table].values():
        for root, path in re.findall(r"\b(mx|nn|optim|x)((?:\.\w+)+)", text):
            value = names[root]
            for part in path[1:].split("."):
                assert hasattr(value, part), f"{root}{path}"
                value = getattr(value, part)
    own = {"FUNCTIONS": mx, "ATTRIBUTES": x, "MODULES": nn, "METHODS": nn.Module(), "OPTIMIZERS": optim}.get(table)
    if own is not None:
        assert not {name for name in TABLES[table] if hasattr(own, name)}
    assert "tree_flatten" in dir(lazuli.utils)
