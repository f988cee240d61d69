"""Activations that multiply the input by a gate g, which goes from 0 to 1.

    f(x) = x g(x),    f' = g + x g',    dx = f'(x) dy

Each gate and its slope are written such that no finite x overflows. Far below 0, f and f' are 0. Far above, f is x and
f' is 1.
"""

from __future__ import annotations

import math

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.activations import ActivationResiduals, exp_of_minus_size, of_input, sigmoid_of
from funcnet.shapes import Array

__all__ = ["gelu", "hard_swish", "mish", "silu"]


def silu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x s with s = 1 / (1 + exp(-x)), f' = s + x s (1 - s): the sigmoid linear unit, or swish.

    Elfwing, Uchibe & Doya, "Sigmoid-weighted linear units for neural network function approximation in reinforcement
    learning" (Neural Networks 107, 2018), eq. 4 and 5; Ramachandran, Zoph & Le, "Searching for activation functions"
    (2017), section 4, with beta = 1.
    """
    return of_input("silu", silu_of, silu_slope, silu)


def silu_of(x: Array) -> Array:
    """x s."""
    return x * sigmoid_of(x)


def silu_slope(x: Array) -> Array:
    """s + s (1 - s) x."""
    s = sigmoid_of(x)
    return s + s * (1 - s) * x


def mish() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x t with t = tanh(log(1 + exp x)), f' = t + x (1 - t^2) / (1 + exp(-x)).

    Computed as t = a / (a + b) with e = exp(-|x|), which cannot overflow:

        a = 1 + 2e,    b = 2e^2    above 0
        a = e (2 + e), b = 2       below

    Misra, "Mish: a self regularized non-monotonic activation function" (BMVC 2020), section 3.
    """
    return of_input("mish", mish_of, mish_slope, mish)


def mish_gate(x: Array) -> Array:
    """t = tanh(log(1 + exp x))."""
    xp, e = namespace(x), exp_of_minus_size(x)
    a = xp.where(x > 0, 1 + 2 * e, e * (2 + e))
    b = xp.where(x > 0, 2 * e * e, 2 * xp.ones_like(e))
    return a / (a + b)


def mish_of(x: Array) -> Array:
    """x t."""
    return x * mish_gate(x)


def mish_slope(x: Array) -> Array:
    """t + (1 - t^2) / (1 + exp(-x)) x."""
    t = mish_gate(x)
    return t + (1 - t * t) * sigmoid_of(x) * x


def hard_swish() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x max(0, min(x + 3, 6)) / 6, with the slopes 0 and 1 of the outer sides at the kinks x = -3 and x = 3.

    Howard et al., "Searching for MobileNetV3" (ICCV 2019), section 5.2.
    """
    return of_input("hard_swish", hard_swish_of, hard_swish_slope, hard_swish)


def hard_swish_of(x: Array) -> Array:
    """x max(0, min(x + 3, 6)) / 6."""
    xp = namespace(x)
    return x * (xp.maximum(xp.minimum(x + 3, 6), 0) / 6)


def hard_swish_slope(x: Array) -> Array:
    """x / 3 + 1 / 2 between the kinks, 0 below and 1 above."""
    xp = namespace(x)
    inside = xp.logical_and(x > -3, x < 3)
    return xp.where(inside, x / 3 + 0.5, xp.astype(x > 0, x.dtype))


def gelu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), the tanh form of the GELU.

    Computed as f = x s with s = 1 / (1 + exp(-2u)), the same without cancellation where tanh u is near -1, and

        f' = s + s (1 - s) x 2u',    2u' = 2 sqrt(2/pi) (1 + 0.134145 x^2)

    For x so large that s (1 - s) is 0, u' is that of a smaller x: nothing overflows, and every finite x is safe.

    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)" (2016), section 2.
    """
    return of_input("gelu", gelu_of, gelu_slope, gelu)


GELU_SCALE, GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715
GELU_FAR = 1e4  # an x^2 beyond which s is 0 or 1, in float64 too


def gelu_gate(x: Array) -> Array:
    """s = 1 / (1 + exp(-2u))."""
    return sigmoid_of(GELU_SCALE * x * (1 + GELU_CUBIC * x * x))


def gelu_of(x: Array) -> Array:
    """x s."""
    return x * gelu_gate(x)


def gelu_slope(x: Array) -> Array:
    """s + s (1 - s) x 2u'."""
    s = gelu_gate(x)
    square = namespace(x).minimum(x * x, GELU_FAR)
    return s + s * (1 - s) * x * GELU_SCALE * (1 + 3 * GELU_CUBIC * square)
