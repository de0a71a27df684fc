"""Arrays, operations, transformations and compilation: ``import lazuli.core as mx``.

Operations are lazy: they record what to do, and :func:`eval`, printing or reading a value runs it.

Of MLX's functions these are absent so far: ``fft``, the decompositions of ``linalg``, convolutions, quantization, and distributed work.
"""

import math as _math
from typing import Any as _Any

from lazuli import __version__ as __version__
from lazuli import _lazuli
from lazuli import _spelling as _spelling
from lazuli import _traceback as _traceback
from lazuli._errors import (
    CaptureWarning,
    LeakedTracerError,
    RecompileWarning,
    ShapeGuardError,
    TracerError,
    VerificationError,
)
from lazuli._lazuli import *  # noqa: F403
from lazuli._lazuli import Dtype as Dtype
from lazuli._lazuli import _dtype as _dtype
from lazuli._lazuli import array as array
from lazuli.core import cuda as cuda
from lazuli.core import debug as debug
from lazuli.core import fast as fast
from lazuli.core import linalg as linalg
from lazuli.core import metal as metal
from lazuli.core import random as random
from lazuli.core._devices import *  # noqa: F403
from lazuli.core._dtypes import *  # noqa: F403
from lazuli.core._einsum import *  # noqa: F403
from lazuli.core._export import *  # noqa: F403
from lazuli.core._files import *  # noqa: F403
from lazuli.core._functions import *  # noqa: F403
from lazuli.core._ordering import *  # noqa: F403
from lazuli.core._printing import *  # noqa: F403
from lazuli.core._transforms import *  # noqa: F403
from lazuli.core._trees import *  # noqa: F403
from lazuli.core._windows import *  # noqa: F403

_traceback.install()

ArrayLike = _Any
"""What functions take as an array: an array, a number, nested lists of numbers, an object with a buffer, DLPack or ``__array__``."""

e: float = _math.e
pi: float = _math.pi
inf: float = _math.inf
nan: float = _math.nan
euler_gamma: float = 0.57721566490153286060651209008240243
newaxis: None = None

__all__ = [name for name in globals() if not name.startswith("_")]

_spelling.answer(__name__, "mx", lambda: __all__, _spelling.FUNCTIONS, _spelling.ATTRIBUTES)
