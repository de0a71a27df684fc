"""What this machine can do at best, measured with NumPy beside the libraries in the same run.

- ``copy``: as many bytes as the row reads and writes, into a buffer that is there, by one thread a core (the C library's
  copy streams past the caches);
- ``read``: as many bytes as the row reads, by a dot product of the data with itself;
- ``matmuls``: the row's matrix products alone, by NumPy's BLAS, into buffers that are there;
- ``scalars``: the same arithmetic on NumPy's scalars, the cheapest call that Python offers.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

F32 = np.float32


def copy(size):
    source, target = np.ones(size // 4, F32), np.zeros(size // 4, F32)
    cores = os.cpu_count()
    pool = ThreadPoolExecutor(cores)
    parts = list(zip(np.array_split(target, cores), np.array_split(source, cores)))
    return {"limit": lambda: list(pool.map(lambda part: np.copyto(*part), parts))}


def read(size):
    data = np.ones(size // 4, F32)
    cores = os.cpu_count()
    pool = ThreadPoolExecutor(cores)
    parts = np.array_split(data, cores)
    return {"limit": lambda: list(pool.map(lambda part: np.dot(part, part), parts))}


def matmuls(products):
    random = np.random.default_rng(0)
    work = [
        (random.random((m, k), dtype=F32), random.random((k, n), dtype=F32), np.zeros((m, n), F32))
        for m, k, n in products
    ]

    def run():
        for a, b, out in work:
            np.matmul(a, b, out=out)

    return {"limit": run}


def scalars(_):
    x, y = F32(1.0), F32(2.0)
    return {"limit": lambda: np.exp(-x) + y}


def programs():
    return {"copy": copy, "read": read, "matmuls": matmuls, "scalars": scalars}
