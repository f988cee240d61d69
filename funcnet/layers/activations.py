"""Activations: functions f applied to every entry, each beside its slope f'.

    y = f(x),    dx = f'(x) dy

Each keeps for the vjp what f' is read off: the output where that will do, else the input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import attrs
import numpy as np

from funcnet.inplace import fresh, with_bound, with_over
from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.rows import all_of, by_rows, in_rows
from funcnet.shapes import Array, Float, Num, Shape, expect, expect_float
from funcnet.tree import freeze

__all__ = ["ActivationResiduals", "gelu", "leaky_relu", "logistic", "relu", "sigmoid", "softplus", "tanh"]


@attrs.frozen(eq=False)
class ActivationResiduals:
    """What the slope is read off: the output or the input, and what was made beside the output."""

    kept: tuple[Float[Array, "batch ..."], ...]


def _activation(
    name: str,
    f: Callable[..., object],
    slope: Callable[..., Num[Array, "..."]],
    *,
    keep_input: bool = False,
    beside: int = 0,
) -> Layer[tuple[()], ActivationResiduals]:
    """The layer of f, which ``f(x, y)`` makes in y, and of its ``slope``, a function of what is kept.

    That is y, so that y may be made over x; or x, if ``keep_input`` says so. As many further arrays as ``beside`` says
    are made beside y, by ``f(x, y, ...)``, and kept too.
    """

    def init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
        return (), in_shape

    def made_in(x: Array, y: Array) -> tuple[Array, ActivationResiduals]:
        others = [np.empty_like(y) for _ in range(beside)] if beside else ()
        by_rows(f, x, y, *others)
        for made in (y, *others):
            freeze(made)
        return y, ActivationResiduals((x if keep_input else y, *others))

    def forward(
        params: tuple[()], x: Float[Array, "batch *shape"]
    ) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
        expect_float(name, "x", x, kinds="fc")
        return made_in(x, np.empty_like(x, x.dtype.newbyteorder("=")))

    def forward_over(
        params: tuple[()], x: Float[Array, "batch *shape"]
    ) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
        expect_float(name, "x", x, kinds="fc")
        return made_in(x, x)

    def bind(params: tuple[()], over: bool) -> Callable[[Array], Array]:
        return functools.partial(alone, over)

    def alone(over: bool, x: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
        expect_float(name, "x", x, kinds="fc")
        y = x if over else np.empty_like(x, x.dtype.newbyteorder("="))
        by_rows(f_alone if beside else f, x, y)
        return y

    def f_alone(x: Array, y: Array) -> None:
        f(x, y, *[np.empty_like(y) for _ in range(beside)])

    def vjp(
        params: tuple[()], residuals: ActivationResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        expect(name, "dy", dy, residuals.kept[0].shape, residuals.kept[0].dtype)
        return (), slope(*residuals.kept) * dy if need_dx else None

    def vjp_over(
        params: tuple[()], residuals: ActivationResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        expect(name, "dy", dy, residuals.kept[0].shape, residuals.kept[0].dtype)
        dy *= slope(*residuals.kept)
        return (), dy

    if not keep_input:
        forward = with_over(forward, forward_over)
    return Layer(name, init, with_bound(forward, bind), fresh(with_over(vjp, vjp_over)))


def relu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = max(x, 0), with slope 0 at the kink x = 0.

    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines" (ICML 2010).
    """
    return _activation("relu", lambda x, y: np.maximum(x, all_of(0, x), out=y), lambda y: y > 0)


def leaky_relu(negative_slope: float = 0.01) -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x above 0 and ``negative_slope`` x below, with the lower slope at the kink x = 0.

    Maas, Hannun & Ng, "Rectifier nonlinearities improve neural network acoustic models" (ICML 2013).

    Raises:
        ValueError: for a negative slope outside [0, 1).
    """
    if not 0 <= negative_slope < 1:
        raise ValueError(f"the negative slope of a leaky ReLU lies in [0, 1), got {negative_slope}")
    negative_slope = float(negative_slope)  # a NumPy float64 would turn float32 into float64

    @in_rows
    def slope(y: Array, result: Array) -> None:
        np.maximum((y > 0).astype(y.dtype), all_of(negative_slope, y), out=result)

    return _activation(f"leaky_relu({negative_slope:g})", lambda x, y: np.maximum(x, negative_slope * x, out=y), slope)


def tanh() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = tanh x, f' = 1 - y^2."""
    return _activation("tanh", lambda x, y: np.tanh(x, out=y), lambda y: 1 - y * y)


def logistic(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-x)), without overflow and exact to rounding in both tails."""
    return in_rows(_logistic)(x)


def _logistic(x: Array, y: Array) -> None:
    np.negative(x, out=y)
    np.minimum(y, all_of(_largest_exponent(y.dtype), y), out=y)
    np.exp(y, out=y)
    y += 1
    np.reciprocal(y, out=y)


@functools.cache
def _largest_exponent(dtype: np.dtype) -> float:
    """Nearly the largest number whose exp does not overflow; 1 over that is the smallest that logistic gives."""
    return 0.99 * math.log(np.finfo(dtype).max)


def sigmoid() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = 1 / (1 + exp(-x)), f' = y (1 - y)."""
    return _activation("sigmoid", _logistic, lambda y: y * (1 - y))


def softplus() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = log(1 + exp x), f' = 1 / (1 + exp(-x)).

    Computed as max(x, 0) + log(1 + e) with e = exp(-|x|), so that exp cannot overflow.

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (NIPS 2000).
    """

    def f(x: Array, y: Array) -> None:
        e = np.minimum(x, -x)  # -|x|, but analytic
        np.exp(e, out=e)
        np.maximum(x, all_of(0, x), out=y)
        y += log1p_of(e)

    return _activation("softplus", f, logistic, keep_input=True)


def log1p_of(e: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + e) for e in [0, 1], exact to rounding; NumPy's log1p takes three times as long without AVX-512.

    What is lost of a small e in u = 1 + e is added again, to first order: log u + (e - (u - 1)) / u.
    """
    u = 1 + e
    lost = u - 1
    np.subtract(e, lost, out=lost)
    lost /= u
    lost += np.log(u, out=u)
    return lost


def gelu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), the tanh form of the GELU.

    Computed as f = x s with s = 1 / (1 + exp(-2u)), the same without cancellation where tanh u is near -1. s is kept:

        f' = s (1 + x (1 - s) 2u'),    2u' = 2 sqrt(2/pi) (1 + 0.134145 x^2)

    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)" (2016), section 2.
    """
    scale, cubic = 2 * math.sqrt(2 / math.pi), 0.044715

    def f(x: Array, y: Array, s: Array) -> None:
        np.multiply(x, x, out=s)
        s *= scale * cubic
        s += scale
        s *= x
        _logistic(s, s)
        np.multiply(x, s, out=y)

    @in_rows
    def slope(x: Array, s: Array, result: Array) -> None:
        np.multiply(x, x, out=result)
        result *= 3 * scale * cubic
        result += scale
        result *= x
        result *= 1 - s
        result += 1
        result *= s

    return _activation("gelu", f, slope, keep_input=True, beside=1)
