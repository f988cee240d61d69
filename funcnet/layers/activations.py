"""Activations: functions f applied to every entry, each beside its slope f'.

    y = f(x),    dx = f'(x) dy

Each keeps one array for the vjp: the output where f' can be read off it, the input where it cannot.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import attrs
import numpy as np

from funcnet.inplace import fresh, with_over
from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.shapes import Array, Float, Num, Shape, expect, expect_float
from funcnet.tree import freeze

__all__ = ["ActivationResiduals", "gelu", "leaky_relu", "logistic", "relu", "sigmoid", "softplus", "tanh"]

_SMALL = 1 << 12  # entries: fewer are done before a loop has begun
_ROW = 1 << 14  # so many that a loop over rows costs nothing, and few enough for a core's own cache


@attrs.frozen(eq=False)
class ActivationResiduals:
    """The input or the output, whichever the slope is read off."""

    kept: Float[Array, "batch ..."]


Forward: TypeAlias = Callable[[tuple[()], Array], tuple[Array, ActivationResiduals]]


def _activation(
    name: str,
    f: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    slope: Callable[[Float[Array, "..."]], Num[Array, "..."]],
    *,
    keep_input: bool,
    over: Callable[[Float[Array, "..."]], Float[Array, "..."]] | None = None,
) -> Layer[tuple[()], ActivationResiduals]:
    """The layer of f, whose ``slope`` is a function of its input or of its output.

    ``over(x)`` is f(x) written over x, for an f whose input is not kept.
    """

    def init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
        return (), in_shape

    def forward_by(f: Callable[[Float[Array, "..."]], Float[Array, "..."]]) -> Forward:
        def forward(
            params: tuple[()], x: Float[Array, "batch *shape"]
        ) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
            expect_float(name, "x", x, kinds="fc")
            y = freeze(f(x))
            return y, ActivationResiduals(x if keep_input else y)

        return forward

    def vjp(
        params: tuple[()], residuals: ActivationResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        kept = residuals.kept
        expect(name, "dy", dy, kept.shape, kept.dtype)
        return (), slope(kept) * dy if need_dx else None

    def vjp_over(
        params: tuple[()], residuals: ActivationResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        kept = residuals.kept
        expect(name, "dy", dy, kept.shape, kept.dtype)
        dy *= slope(kept)
        return (), dy

    forward = forward_by(f) if over is None else with_over(forward_by(f), forward_by(over))
    return Layer(name, init, forward, fresh(with_over(vjp, vjp_over)))


def relu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = max(x, 0), with slope 0 at the kink x = 0.

    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines" (ICML 2010).
    """
    return _activation(
        "relu",
        _positive_part,
        lambda y: y > 0,
        keep_input=False,
        over=lambda x: _positive_part(x, x),
    )


def _positive_part(x: Float[Array, "*shape"], y: Float[Array, "*shape"] | None = None) -> Float[Array, "*shape"]:
    """max(x, 0), against a row of zeros: against a single 0, it takes NumPy two to three times as long.

    It is made in y, which may be x; without one, in a fresh array.
    """
    if x.size < _SMALL or not x.flags.forc:
        return np.maximum(x, _zeros((), x.dtype), out=y)
    y = np.empty_like(x) if y is None else y
    zeros = _zeros((_ROW,), x.dtype)
    flat_x, flat_y = x.ravel(order="K"), y.ravel(order="K")
    for begin in range(0, x.size, _ROW):
        part = flat_x[begin : begin + _ROW]
        np.maximum(part, zeros[: part.size], out=flat_y[begin : begin + _ROW])
    return y


@functools.cache
def _zeros(shape: Shape, dtype: np.dtype) -> Array:
    """Made once: a single one too, which NumPy would make of a number every time."""
    return freeze(np.zeros(shape, dtype))


def leaky_relu(negative_slope: float = 0.01) -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x above 0 and ``negative_slope`` x below, with the lower slope at the kink x = 0.

    Maas, Hannun & Ng, "Rectifier nonlinearities improve neural network acoustic models" (ICML 2013).

    Raises:
        ValueError: for a negative slope outside [0, 1).
    """
    if not 0 <= negative_slope < 1:
        raise ValueError(f"the negative slope of a leaky ReLU lies in [0, 1), got {negative_slope}")
    negative_slope = float(negative_slope)  # a NumPy float64 would turn float32 into float64
    return _activation(
        f"leaky_relu({negative_slope:g})",
        lambda x: np.maximum(x, negative_slope * x),
        lambda y: np.where(y > 0, y.dtype.type(1), y.dtype.type(negative_slope)),
        keep_input=False,
    )


def tanh() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = tanh x, f' = 1 - y^2."""
    return _activation("tanh", np.tanh, lambda y: 1 - y * y, keep_input=False)


def logistic(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-x)), without overflow and exact to rounding in both tails."""
    e = np.exp(np.minimum(x, -x))  # -|x|, but analytic
    return np.where(x >= 0, x.dtype.type(1), e) / (1 + e)


def sigmoid() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = 1 / (1 + exp(-x)), f' = y (1 - y)."""
    return _activation("sigmoid", logistic, lambda y: y * (1 - y), keep_input=False)


def softplus() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = log(1 + exp x), f' = 1 / (1 + exp(-x)).

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (NIPS 2000).
    """
    return _activation(
        "softplus",
        # The same written so that exp cannot overflow and a small exp is not lost beside the 1.
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(np.minimum(x, -x))),
        logistic,
        keep_input=True,
    )


def gelu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), the tanh form of the GELU.

    Computed as f = x s with e = exp(-2u) and s = 1 / (1 + e), the same without cancellation where tanh u is near -1:

        f' = s (1 + x s e 2u'),    2u' = 2 sqrt(2/pi) (1 + 0.134145 x^2)

    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)" (2016), section 2.
    """
    scale, cubic = 2 * math.sqrt(2 / math.pi), 0.044715

    def e_of(x: Float[Array, "..."]) -> Float[Array, "..."]:
        e = np.asarray(x * x)
        e *= -scale * cubic
        e -= scale
        e *= x
        # Cut off before exp overflows: s is 0 there to the last digit.
        np.minimum(e, 0.9 * math.log(np.finfo(e.dtype).max), out=e)
        return np.exp(e, out=e)

    def f(x: Float[Array, "..."]) -> Float[Array, "..."]:
        e = e_of(x)
        e += 1
        return np.divide(x, e, out=e)

    def slope(x: Float[Array, "..."]) -> Float[Array, "..."]:
        e = e_of(x)
        s = 1 + e
        np.reciprocal(s, out=s)
        result = x * x
        result *= 3 * scale * cubic
        result += scale
        result *= x
        result *= s  # before e, which may be large where s is small
        result *= e
        result += 1
        result *= s
        return result

    return _activation("gelu", f, slope, keep_input=True)
