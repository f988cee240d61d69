"""Random initial weights: functions of (key, shape, fan_in, fan_out)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from funcnet import random
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, expect, expect_float

__all__ = ["Initializer", "glorot", "he", "weights"]

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
