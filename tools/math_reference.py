"""Reference values of the elementary functions in f64, computed with mpmath.

    python tools/math_reference.py OUT_DIR [POINTS [SEED]] [NAME ...]

writes one file NAME.bin for each function. A record is, in little-endian order, the operands (f64 each), the correctly rounded
result (f64), and what the exact result exceeds it by, in units of its last place (f32). The points mix numbers of every exponent, numbers
spread evenly over the interesting interval, neighbours of the function's hard points, and edges. Needs mpmath only.
"""

import math
import random
import struct
import sys

from mpmath import mp, mpf

mp.prec = 240
INF = math.inf


def ulp(y):
    return mpf(2) ** (max(math.frexp(y)[1], -1021) - 53)


def rounded(v):
    """Nearest f64 of an mpf, subnormals included, and the rest in units of its last place."""
    if mp.isnan(v):
        return math.nan, 0.0
    if mp.isinf(v):
        return float(v), 0.0
    _, e = mp.frexp(v) if v else (0, -1100)
    unit = mpf(2) ** (max(int(e), -1021) - 53)
    y = float(mp.nint(v / unit) * unit)
    if math.isinf(y):
        return y, 0.0
    return y, float((v - mpf(y)) / ulp(y))


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def erfinv(x):
    a = abs(x)
    if a < mpf(2) ** -60:
        return x * mp.sqrt(mp.pi) / 2
    if a < 0.5:
        return mp.erfinv(x)
    # erfc(y) = 1 - a by Newton on the logarithm, which is nearly a parabola.
    c = 1 - a
    y = mp.sqrt(-mp.log(c))
    for _ in range(100):
        g = mp.erfc(y)
        step = (mp.log(g) - mp.log(c)) * g * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
        y += step
        if abs(step) < mpf(2) ** -200:
            break
    return mp.sign(x) * y


def logaddexp(a, b):
    return max(a, b) + mp.log1p(mp.exp(-abs(a - b)))


def power(x, y):
    if x < 0 and y == mp.floor(y):
        return mp.power(-x, y) * (-1 if int(y) % 2 else 1)
    return mp.power(x, y)


def cbrt(x):
    return mp.sign(x) * mp.cbrt(abs(x))


# name: function, interval of the numbers spread evenly, (least, greatest) exponent of the others, signs, hard points.
ALL = (-1074, 1023)
UNARY = {
    "exp": (mp.exp, (-746, 710), (-60, 9), True, [0.0, 709.78, -745.13, -708.4]),
    "exp2": (lambda x: mp.power(2, x), (-1076, 1025), (-60, 10), True, [0.0, 1024.0, -1074.0, -1022.0, 0.5]),
    "expm1": (mp.expm1, (-40, 40), (-80, 9), True, [0.0, 0.3466, -0.3466, 709.78]),
    "log": (mp.log, (0, 4), ALL, False, [1.0, math.sqrt(0.5), math.sqrt(2)]),
    "log2": (lambda x: mp.log(x) / mp.log(2), (0, 4), ALL, False, [1.0, math.sqrt(0.5), math.sqrt(2)]),
    "log10": (lambda x: mp.log(x) / mp.log(10), (0, 4), ALL, False, [1.0, math.sqrt(0.5), math.sqrt(2), 10.0]),
    "log1p": (mp.log1p, (-1, 4), (-80, 1023), False, [-0.25, 0.5, -0.999999, 1e-10]),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), (-40, 40), (-20, 9), True, [0.0, -709.0, -740.0, 36.0]),
    "softplus": (softplus, (-40, 40), (-20, 9), True, [0.0, -0.6931, -709.0, 30.0]),
    "sinh": (mp.sinh, (-10, 10), (-80, 9), True, [0.3466, 18.0, 710.4]),
    "cosh": (mp.cosh, (-10, 10), (-40, 9), True, [0.3466, 18.0, 710.4]),
    "tanh": (mp.tanh, (-20, 20), (-80, 5), True, [0.1733, 19.0, 0.5]),
    "asinh": (mp.asinh, (-5, 5), (-80, 1023), True, [0.5, 1.0, 1e150]),
    "acosh": (mp.acosh, (1, 5), (0, 1023), False, [1.0000001, 1.25, 1e150]),
    "atanh": (mp.atanh, (-1, 1), (-80, -1), True, [0.2, 0.99999, 0.5]),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), (0, 4), ALL, False, [1.0, 2.0]),
    "cbrt": (cbrt, (-8, 8), ALL, True, [1.0, 8.0]),
    "erf": (mp.erf, (-6, 6), (-300, 3), True, [1.0, 0.5, 5.9]),
    "erfc": (mp.erfc, (-6, 27.5), (-40, 4), True, [0.5, 1.0, 26.5, -0.5]),
    "erfinv": (erfinv, (-1, 1), (-300, -1), True, [0.99, 0.999, 0.9999999]),
    "sin": (mp.sin, (-100, 100), (-60, 1023), True, [k * math.pi / 2 for k in (1, 2, 3, 4, 1000, 10**6, 10**9)]),
    "cos": (mp.cos, (-100, 100), (-30, 1023), True, [k * math.pi / 2 for k in (1, 2, 3, 4, 1000, 10**6, 10**9)]),
    "tan": (mp.tan, (-100, 100), (-60, 1023), True, [k * math.pi / 4 for k in (1, 2, 3, 4, 1000, 10**6, 10**9)]),
    "asin": (mp.asin, (-1, 1), (-80, -1), True, [0.5, 0.999999]),
    "acos": (mp.acos, (-1, 1), (-80, -1), True, [0.5, 0.999999, -0.999999]),
    "atan": (mp.atan, (-5, 5), (-80, 200), True, [1.0, 0.5]),
}
BINARY = {"logaddexp": logaddexp, "pow": power, "atan2": mp.atan2}

# The f64 closest to a multiple of pi/2 (J.-M. Muller, Elementary Functions, ch. 11), and neighbours in difficulty.
TRIG_HARD = [6381956970095103.0 * 2.0**797, 6411027962775774.0 * 2.0**-45, 6616621720001234.0 * 2.0**842]


def anywhere(rng, exponents, signed):
    v = math.ldexp(1 + rng.random(), rng.randint(*exponents))
    return -v if signed and rng.random() < 0.5 else v


def near(rng, v, signed):
    v = v + v * rng.uniform(-1, 1) * 2.0 ** rng.randint(-52, -3) if v else rng.uniform(-1, 1) * 2.0 ** rng.randint(-60, 0)
    return -v if signed and rng.random() < 0.5 else v


def unary_points(rng, name, n):
    function, interval, exponents, signed, hard = UNARY[name]
    if name in ("sin", "cos", "tan"):
        yield from TRIG_HARD
    for i in range(n):
        kind = i % 3
        if kind == 0:
            yield anywhere(rng, exponents, signed)
        elif kind == 1:
            yield rng.uniform(*interval)
        else:
            yield near(rng, rng.choice(hard), signed)


def binary_points(rng, name, n):
    for i in range(n):
        if name == "pow":
            # x anywhere, near 1 or an integer, y so that the result is in range.
            x = [anywhere(rng, (-300, 300), False), near(rng, 1.0, False), rng.uniform(0, 10)][i % 3]
            bits = math.log2(x) if x > 0 else 0
            if i % 6 == 5:
                yield -x, float(rng.randint(-20, 20))
            else:
                yield x, (rng.uniform(-1080, 1030) / bits if bits and abs(bits) > 1e-300 else rng.uniform(-5, 5))
        elif name == "atan2":
            x = anywhere(rng, [(-1000, 1000), (-10, 10)][i % 2], True)
            yield math.ldexp(rng.uniform(1, 2), math.frexp(x)[1] + rng.randint(-6, 6)) * rng.choice((1, -1)), x
        else:
            x = rng.uniform(-1, 1) * (1, 20, 700)[i % 3]
            yield x, x + rng.uniform(-40, 40)


def records(name, n, seed):
    rng = random.Random(f"{name} {seed}")
    if name in BINARY:
        for a, b in binary_points(rng, name, n):
            yield (a, b, *rounded(BINARY[name](mpf(a), mpf(b))))
        return
    for x in unary_points(rng, name, n):
        inside = not (name in ("atanh", "asin", "acos", "erfinv") and abs(x) >= 1) and not (name == "acosh" and x <= 1)
        if inside and not (name == "log1p" and x <= -1) and math.isfinite(x):
            yield (x, *rounded(UNARY[name][0](mpf(x))))


def main():
    args = sys.argv[1:]
    numbers = [int(a) for a in args[1:] if a.isdigit()]
    n, seed = (numbers + [500, 1][len(numbers):])[:2]
    names = [a for a in args[1:] if not a.isdigit()] or [*UNARY, *BINARY]
    for name in names:
        with open(f"{args[0]}/{name}.bin", "wb") as out:
            for *values, rest in records(name, n, seed):
                out.write(struct.pack(f"<{len(values)}df", *values, rest))


if __name__ == "__main__":
    main()
