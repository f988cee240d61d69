"""Randomness as a value: keys that split, and pure draws from a key.

A ``Key`` names a stream of random bits. Drawing twice from one key gives the same numbers twice. So a function that
needs several draws splits its key first. Streams come from the counter-based generator Philox4x64-10
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), of which NumPy guarantees the raw bits.

``fold_in`` and ``uniform`` also take a key of ``jax.random`` and then draw by JAX, so that they work under ``jax.jit``.
JAX draws other numbers, but the same key gives the same numbers each time.

All that is computed from the raw bits uses only additions, multiplications, divisions and square roots, which IEEE 754
rounds the same way everywhere. No library's ``log`` or ``cos`` is used. So the same key gives the same bits on every
machine, with every version of NumPy.
"""

from __future__ import annotations

import importlib
import math
import operator
from typing import Any, TypeVar

import attrs
import numpy as np

from funcnet.arrays import is_array, namespace, shielded
from funcnet.shapes import Array, Float, Integer, Shape, UInt64, whole_number
from funcnet.tree import Record, static_field

__all__ = [
    "Key",
    "expect_key",
    "fold_in",
    "make_key",
    "normal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]

K = TypeVar("K")
_WORD = 2**64
# The top word of Philox's 256-bit counter separates the bits for numbers from the bits for keys.
_NUMBERS, _KEYS = 0, 1
_BLOCK = 8192
_WORD_OF_A_KEY = [attrs.validators.instance_of(int), attrs.validators.ge(0), attrs.validators.lt(_WORD)]


@attrs.frozen
class Key(Record):
    """The 128 bits that name one stream. Under ``jax.jit`` a key is part of the structure, never traced."""

    high: int = static_field(validator=_WORD_OF_A_KEY)
    low: int = static_field(validator=_WORD_OF_A_KEY)


def expect_key(key: object) -> None:
    """Require a key.

    Raises:
        TypeError: for anything else, such as a seed.
    """
    if not isinstance(key, Key):
        raise TypeError(f"expected a key (make_key(0) makes the one of the seed 0), got {key!r:.80}")


def make_key(seed: int) -> Key:
    """The key of a seed.

    Raises:
        ValueError: for a seed that is no whole number, negative, or needs more than 64 bits.
    """
    return fold_in(Key(0, 0), _word("a seed", seed))


def fold_in(key: K, number: int) -> K:
    """The key's ``number``-th child: another key for every number from 0 to 2**64 - 1.

    Raises:
        ValueError: for any other number.
    """
    if not isinstance(key, Key):
        child: K = _of_jax(key).fold_in(key, number)
        return child
    high, low = _philox(key, _KEYS, _word("the number of a child of a key", number)).random_raw(2).tolist()
    return Key(high, low)  # type: ignore[return-value]


def _of_jax(key: object) -> Any:
    """The module ``jax.random``, for a key that can only be one of JAX's."""
    if not is_array(key):
        expect_key(key)
    return importlib.import_module("jax.random")


def _word(what: str, number: int) -> int:
    if (number := whole_number(what, number, 0)) >= _WORD:
        raise ValueError(f"{what} is at most 2**64 - 1, got {number}")
    return number


def split(key: Key, count: int = 2) -> tuple[Key, ...]:
    """``count`` independent keys; the first ones do not depend on how many there are."""
    return tuple(fold_in(key, i) for i in range(count))


@shielded
def uniform(
    key: Key, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: Any = np.float32, *, like: Any = None
) -> Float[Array, "..."]:
    """Numbers from the uniform distribution on [low, high).

    With ``like`` they are an array of that array's namespace and dtype; the key may then be one of ``jax.random``.

    Raises:
        ValueError: for an empty range, or one that is not finite in the dtype.
    """
    if not low < high:
        raise ValueError(f"no number lies in [{low}, {high})")
    if like is not None and not isinstance(like, np.ndarray):
        return _uniform_like(key, shape, low, high, like)
    dtype = dtype if like is None else like.dtype
    if not max(-low, high, high - low) <= float(np.finfo(dtype).max):
        raise ValueError(f"the range [{low}, {high}) is not finite in {np.dtype(dtype)}")
    numbers = np.asarray(low + (high - low) * _unit(key, shape), dtype)  # arithmetic on a 0-d array makes a scalar
    return np.minimum(numbers, np.nextafter(np.asarray(high, dtype), np.asarray(low, dtype)), out=numbers)


def _uniform_like(key: Any, shape: Shape, low: float, high: float, like: Any) -> Any:
    if not isinstance(key, Key):
        return _of_jax(key).uniform(key, shape, like.dtype, low, high)
    xp = namespace(like)
    return xp.astype(xp.asarray(uniform(key, shape, low, high)), like.dtype)


def randint(key: Key, shape: Shape, low: int, high: int) -> Integer[Array, "..."]:
    """Whole numbers from low to high - 1 (the bias, below (high - low) / 2**53, cannot be seen).

    Raises:
        ValueError: for an empty range, or one of more than 2**53 numbers or beyond those of 64 bits.
        TypeError: for bounds that are no whole numbers.
    """
    low, high = operator.index(low), operator.index(high)
    if low >= high:
        raise ValueError(f"no whole number lies in [{low}, {high})")
    if high - low > 2**53 or low < -(2**63) or high > 2**63:
        raise ValueError(f"the range [{low}, {high}) has more than 2**53 numbers, or ones of more than 64 bits")
    return np.asarray(low + (_unit(key, shape) * (high - low)).astype(np.int64))


def permutation(key: Key, count: int) -> Integer[Array, "count"]:
    """The numbers 0 to count - 1 in random order."""
    # This sorts random 64-bit numbers by their 16-bit words, the lowest word first. NumPy sorts 16-bit integers without
    # comparisons, which takes a third of the time.
    words = _bits(key, count).astype("<u8", copy=False).view("<u2").reshape(count, 4)
    return np.lexsort(words.T)


@shielded
def normal(key: Key, shape: Shape, dtype: Any = np.float32) -> Float[Array, "..."]:
    """Numbers from the standard normal distribution, by inverting its distribution function."""
    return _normal(_inner(key, shape), shape, dtype)


_BEYOND_2 = 0.02275013194817920720  # the probability that a standard normal number is below -2


@shielded
def truncated_normal(key: Key, shape: Shape, dtype: Any = np.float32) -> Float[Array, "..."]:
    """Numbers from the standard normal distribution between -2 and 2, by inverting its distribution function."""
    return _normal(_BEYOND_2 + (1 - 2 * _BEYOND_2) * _inner(key, shape), shape, dtype)


def _inner(key: Key, shape: Shape) -> Float[Array, "n"]:
    """Odd multiples of 2**-53, which are exact in float64, and never 0 or 1."""
    return (_bits(key, math.prod(shape)) >> np.uint64(12)) * 2.0**-52 + 2.0**-53


def _normal(p: Float[Array, "n"], shape: Shape, dtype: Any) -> Float[Array, "..."]:
    """The quantiles of the standard normal distribution at p."""
    z = np.empty(p.shape, dtype)
    for start in range(0, p.size, _BLOCK):  # blocks whose temporaries stay in the cache: 3 times faster
        block = slice(start, start + _BLOCK)
        z[block] = _normal_quantile(p[block])
    return z.reshape(shape)


def _philox(key: Key, purpose: int, start: int) -> np.random.Philox:
    expect_key(key)
    words = np.array([key.high, key.low], np.uint64)
    return np.random.Philox(key=words, counter=np.array([0, start, 0, purpose], np.uint64))


def _bits(key: Key, count: int) -> UInt64[Array, "count"]:
    return _philox(key, _NUMBERS, 0).random_raw(count)


def _unit(key: Key, shape: Shape) -> Float[Array, "..."]:
    """Multiples of 2**-53 in [0, 1), float64."""
    return ((_bits(key, math.prod(shape)) >> np.uint64(11)) * 2.0**-53).reshape(shape)


def _log(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The natural logarithm of positive numbers from basic arithmetic: x = m 2^e, log m = 2 artanh((m-1)/(m+1))."""
    m, e = np.frexp(x)
    small = m < math.sqrt(0.5)
    m, e = np.where(small, 2.0 * m, m), e - small
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    series = np.zeros_like(s)
    for power in range(21, 0, -2):
        series = series * s2 + 1.0 / power
    return 2.0 * s * series + e * math.log(2.0)


# Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988):
# rational approximations, relative error about 1e-16. Coefficients from the constant term upwards.
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_SHOULDER = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Float[Array, "n"]) -> Float[Array, "n"]:
    above, below = (np.zeros_like(x), np.zeros_like(x))
    for a, b in zip(*(reversed(c) for c in coefficients), strict=True):
        above, below = above * x + a, below * x + b
    return above / below


def _normal_quantile(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """The z at which the standard normal distribution function reaches p, for 0 < p < 1."""
    q = p - 0.5
    z = np.empty_like(q)
    centre = np.abs(q) <= 0.425
    z[centre] = q[centre] * _ratio(_CENTRE, 0.180625 - q[centre] ** 2)
    outer = q[~centre]
    r = np.sqrt(-_log(np.minimum(p[~centre], 1.0 - p[~centre])))
    shoulder = r <= 5.0
    outer_z = np.where(shoulder, _ratio(_SHOULDER, r - 1.6), _ratio(_TAIL, r - 5.0))
    z[~centre] = np.where(outer < 0.0, -outer_z, outer_z)
    return z
