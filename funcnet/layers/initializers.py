"""Initial weights: functions of (key, shape, fan_in, fan_out).

Weights are (in, out) of a linear layer and (*window, depth, filters) of a convolution. Options are bound by
``functools.partial``: ``linear(10, init=partial(constant, value=0.1))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from funcnet import random
from funcnet.arrays import namespace
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, expect, expect_float

__all__ = [
    "Initializer",
    "constant",
    "dirac",
    "fan_in_uniform",
    "filled",
    "given",
    "glorot",
    "he",
    "lecun",
    "orthogonal",
    "truncated_normal",
    "weights",
    "zeros",
]

Initializer: TypeAlias = Callable[[Key, Shape, int, int], Array]


def weights(layer: str, init: Initializer, key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """The initial weights of ``layer``, made by ``init`` and checked: ``init`` may be a user's.

    Raises:
        ShapeError: for weights of another shape, or not of a floating-point dtype.
    """
    made = init(key, shape, fan_in, fan_out)
    expect_float(layer, "the initial weight", made)
    expect(layer, "the initial weight", made, shape, made.dtype)
    return made


# --- drawn, by the number of inputs and outputs


def he(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """Normal with variance 2 / fan_in, which keeps the size of activations through layers of ReLUs.

    He, Zhang, Ren & Sun, "Delving deep into rectifiers" (ICCV 2015), eq. 10.
    """
    return random.normal(key, shape) * math.sqrt(2.0 / max(fan_in, 1))


def glorot(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """Uniform on +-sqrt(6 / (fan_in + fan_out)), a compromise between the forward and the backward pass.

    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks" (AISTATS 2010), eq. 16.
    """
    bound = math.sqrt(6.0 / max(fan_in + fan_out, 1))
    return random.uniform(key, shape, -bound, bound)


def lecun(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """Normal with variance 1 / fan_in, which keeps the size of activations through layers that are nearly linear.

    LeCun, Bottou, Orr & Müller, "Efficient BackProp" (1998), eq. 16.
    """
    return random.normal(key, shape) * math.sqrt(1.0 / max(fan_in, 1))


def fan_in_uniform(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """Uniform on +-1 / sqrt(fan_in): PyTorch's default for linear layers and convolutions.

    Glorot & Bengio (2010), eq. 1, who call it the commonly used heuristic.
    """
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    return random.uniform(key, shape, -bound, bound)


def truncated_normal(
    key: Key, shape: Shape, fan_in: int, fan_out: int, *, deviation: float = 0.02
) -> Float[Array, "..."]:
    """Normal with mean 0 and this standard deviation, of which what lies beyond two deviations is cut off.

    What is left has a standard deviation of 0.88 ``deviation``. Devlin et al., "BERT" (NAACL 2019), appendix A.2, and
    its code, for the deviation of 0.02.
    """
    return random.truncated_normal(key, shape) * float(deviation)  # a NumPy float64 would turn float32 into float64


def orthogonal(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """A matrix with orthonormal columns, or rows if these are fewer: uniform among all such matrices.

    It has a row for each entry of a filter and a column for each filter. It is the Q of the QR decomposition of a
    normal matrix, with signs such that R has a positive diagonal. LAPACK computes it in float64, so it is the same on
    two machines to rounding.

    Saxe, McClelland & Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks"
    (ICLR 2014), section 3; Mezzadri, "How to generate random matrices from the classical compact groups" (Notices of
    the AMS 54, 2007), section 5, for the signs.
    """
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = random.normal(key, (max(rows, columns), min(rows, columns)), "float64")
    xp = namespace(drawn)
    q, r = xp.linalg.qr(drawn)
    q = q * xp.where(xp.linalg.diagonal(r) < 0, -1.0, 1.0)
    return xp.reshape(xp.astype(q if rows >= columns else xp.matrix_transpose(q), xp.float32), shape)


# --- the same for every key


def filled(shape: Shape, value: float) -> Float[Array, "..."]:
    """An array of this value, in float32."""
    like = random.uniform(Key(0, 0), ())
    return namespace(like).full(shape, value, dtype=like.dtype)


def zeros(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Float[Array, "..."]:
    """Zeros: for the last layer of a residual branch, which is then the identity at the start."""
    return filled(shape, 0.0)


def constant(key: Key, shape: Shape, fan_in: int, fan_out: int, *, value: float) -> Float[Array, "..."]:
    """The same value everywhere."""
    return filled(shape, value)


def given(key: Key, shape: Shape, fan_in: int, fan_out: int, *, values: Array | None = None) -> Float[Array, "..."]:
    """A copy of these values: ``partial(given, values=array)``.

    Raises:
        ValueError: without values. The network of a model that was read from a file has none: it has params.
    """
    if values is None:
        raise ValueError("the initial values are not known: a file of a model holds its params, not what they were")
    return namespace(values).asarray(values, copy=True)


def dirac(key: Key, shape: Shape, fan_in: int, fan_out: int, *, rest: Initializer = zeros) -> Float[Array, "..."]:
    """Filters that pass their input on: filter i of a group is 1 at the centre of channel i, and 0 elsewhere.

    So a convolution with the padding "same" starts as the identity. If a group has more filters than channels, ``rest``
    draws the filters beyond: ``partial(dirac, rest=he)``. The centre of a window of k entries is entry (k - 1) // 2, as
    "same" pads. PyTorch's ``dirac_`` takes entry k // 2, which differs for even windows.

    Zagoruyko & Komodakis, "DiracNets" (2017), section 3.1.
    """
    *window, depth, filters = shape
    others = rest(key, shape, fan_in, fan_out)
    xp, area = namespace(others), math.prod(window)
    of_group = fan_out // area
    channel = xp.reshape(xp.arange(depth), (depth, 1))
    place = xp.arange(filters) % of_group  # within the group
    centre = 0
    for k in window:
        centre = centre * k + (k - 1) // 2
    at_centre = xp.reshape(xp.arange(area) == centre, (area, 1, 1))
    ones = xp.reshape(xp.logical_and(at_centre, channel == place), shape)
    return xp.where(place < depth, xp.astype(ones, others.dtype), others)
