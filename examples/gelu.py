"""The README's example: a function op by op and compiled."""

from timeit import timeit

import lazuli.core as mx


def gelu(x):
    return x * (1 + mx.erf(x / 2**0.5)) / 2


x = mx.random.uniform(shape=(1000, 4096))
fast = mx.compile(gelu)
print(fast(x)[:1, :4])
for function in (gelu, fast):
    print(f"{timeit(lambda: mx.eval(function(x)), number=100) * 10:.2f} ms")
