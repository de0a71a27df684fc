"""Random numbers: an explicit ``key``, or the implicit one in ``state``.

``state`` is a list that holds the implicit key. A compiled function that draws random numbers captures it::

    @partial(mx.compile, inputs=mx.random.state, outputs=mx.random.state)
"""

from lazuli import _spelling
from lazuli._lazuli import _random

__all__ = [
    "bernoulli",
    "categorical",
    "gumbel",
    "key",
    "laplace",
    "normal",
    "permutation",
    "randint",
    "seed",
    "split",
    "state",
    "truncated_normal",
    "uniform",
]

bernoulli = _random.bernoulli
categorical = _random.categorical
gumbel = _random.gumbel
key = _random.key
laplace = _random.laplace
normal = _random.normal
permutation = _random.permutation
randint = _random.randint
seed = _random.seed
split = _random.split
state = _random.state
truncated_normal = _random.truncated_normal
uniform = _random.uniform

_spelling.answer(__name__, "mx.random", lambda: __all__, _spelling.RANDOM)
