"""Activations: functions f applied to every entry, each beside its slope f'.

    y = f(x),    dx = f'(x) dy

Each keeps one array for the vjp: the output where f' can be read off it, else f' itself, which costs least while what
f was made of is at hand. So neither needs the input any more, and y may be made over it.
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
from funcnet.rows import all_of, by_rows
from funcnet.shapes import Array, Float, Num, Shape, expect, expect_float, expect_no_params
from funcnet.tree import freeze

__all__ = ["ActivationResiduals", "gelu", "leaky_relu", "relu", "sigmoid", "softplus", "tanh"]


@attrs.frozen(eq=False)
class ActivationResiduals:
    """What the slope is read off: the output, or the slope itself."""

    kept: Float[Array, "batch ..."]


def _activation(
    name: str,
    f: Callable[[Array, Array], object],
    *,
    slope: Callable[[Array], Num[Array, "..."]] = lambda kept: kept,
    f_and_slope: Callable[[Array, Array, Array], object] | None = None,
) -> Layer[tuple[()], ActivationResiduals]:
    """The layer of f, which ``f(x, y)`` makes in y, maybe over x, and of its slope.

    That is ``slope(y)`` or, where it cannot be read off y, what ``f_and_slope(x, y, slope)`` makes beside y.
    """

    def init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
        return (), in_shape

    def made_in(x: Array, y: Array) -> tuple[Array, ActivationResiduals]:
        kept = y
        if f_and_slope is None:
            by_rows(f, x, y)
        else:
            kept = np.empty_like(y)
            by_rows(f_and_slope, x, y, kept)
        return freeze(y), ActivationResiduals(freeze(kept))

    def forward(
        params: tuple[()], x: Float[Array, "batch *shape"]
    ) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
        expect_no_params(name, params)
        expect_float(name, "x", x, kinds="fc")
        return made_in(x, np.empty_like(x, x.dtype.newbyteorder("=")))

    def forward_over(
        params: tuple[()], x: Float[Array, "batch *shape"]
    ) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
        expect_no_params(name, params)
        expect_float(name, "x", x, kinds="fc")
        return made_in(x, x)

    def bind(params: tuple[()], over: bool) -> Callable[[Array], Array]:
        expect_no_params(name, params)
        return functools.partial(alone, over)

    def alone(over: bool, x: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
        expect_float(name, "x", x, kinds="fc")
        y = x if over else np.empty_like(x, x.dtype.newbyteorder("="))
        by_rows(f, x, y)
        return y

    def dx_of(kept: Array, dy: Array, dx: Array) -> None:
        np.multiply(slope(kept), dy, out=dx)

    def vjp(
        params: tuple[()], residuals: ActivationResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        kept = residuals.kept
        expect_no_params(name, params)
        expect(name, "dy", dy, kept.shape, kept.dtype)
        if not need_dx:
            return (), None
        dx = np.empty_like(kept)
        by_rows(dx_of, kept, dy, dx)
        return (), dx

    def vjp_over(
        params: tuple[()], residuals: ActivationResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        kept = residuals.kept
        expect_no_params(name, params)
        expect(name, "dy", dy, kept.shape, kept.dtype)
        by_rows(dx_of, kept, dy, dy)
        return (), dy

    return Layer(name, init, with_bound(with_over(forward, forward_over), bind), fresh(with_over(vjp, vjp_over)))


def relu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = max(x, 0), with slope 0 at the kink x = 0.

    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines" (ICML 2010).
    """
    return _activation("relu", lambda x, y: np.maximum(x, all_of(0, x), out=y), slope=lambda y: y > 0)


def leaky_relu(negative_slope: float = 0.01) -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x above 0 and ``negative_slope`` x below, with the lower slope at the kink x = 0.

    Maas, Hannun & Ng, "Rectifier nonlinearities improve neural network acoustic models" (ICML 2013).

    Raises:
        ValueError: for a negative slope outside [0, 1).
    """
    if not 0 <= negative_slope < 1:
        raise ValueError(f"the negative slope of a leaky ReLU lies in [0, 1), got {negative_slope}")
    negative_slope = float(negative_slope)  # a NumPy float64 would turn float32 into float64

    if not negative_slope:
        return attrs.evolve(relu(), name="leaky_relu(0)")  # 0 times an infinity would be no number

    def slope(y: Array) -> Array:
        above = (y > 0).astype(y.dtype)
        return np.asarray(np.maximum(above, all_of(negative_slope, y), out=above))

    return _activation(
        f"leaky_relu({negative_slope:g})", lambda x, y: np.maximum(x, negative_slope * x, out=y), slope=slope
    )


def tanh() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = tanh x, f' = 1 - y^2."""
    return _activation("tanh", lambda x, y: np.tanh(x, out=y), slope=lambda y: 1 - y * y)


def _logistic(x: Array, y: Array) -> None:
    """1 / (1 + exp(-x)) in y, without overflow and exact to rounding in both tails, as far as exp reaches."""
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
    return _activation("sigmoid", _logistic, slope=lambda y: y * (1 - y))


def softplus() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = log(1 + exp x), f' = 1 / (1 + exp(-x)).

    Computed with e = exp(-|x|), which cannot overflow: f = max(x, 0) + log(1 + e), f' = max([x > 0], e) / (1 + e).

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (NIPS 2000).
    """

    def f(x: Array, y: Array) -> None:
        e = exp_of_size(x)
        np.maximum(x, all_of(0, x), out=y)
        y += log1p_of(e)

    def f_and_slope(x: Array, y: Array, slope: Array) -> None:
        e = exp_of_size(x)
        np.maximum((x > 0).astype(x.dtype), e, out=slope)
        slope /= 1 + e
        np.maximum(x, all_of(0, x), out=y)
        y += log1p_of(e)

    def exp_of_size(x: Array) -> Array:
        e = np.minimum(x, -x)  # -|x|, but analytic
        return np.exp(e, out=e)

    return _activation("softplus", f, f_and_slope=f_and_slope)


def log1p_of(e: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + e) for e in [0, 1], to about 1 ulp in float64 and 4 in float32; NumPy's takes thrice as long (AVX2).

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

    Computed as f = x s with s = 1 / (1 + exp(-2u)), the same without cancellation where tanh u is near -1, and

        f' = s (1 + x (1 - s) 2u'),    2u' = 2 sqrt(2/pi) (1 + 0.134145 x^2)

    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)" (2016), section 2.
    """
    scale, cubic = 2 * math.sqrt(2 / math.pi), 0.044715

    def gate(x: Array) -> Array:
        s = x * x
        s *= scale * cubic
        s += scale
        s *= x
        _logistic(s, s)
        return s

    def f_and_slope(x: Array, y: Array, slope: Array) -> None:
        s = gate(x)
        np.multiply(x, x, out=slope)
        slope *= 3 * scale * cubic
        slope += scale
        slope *= x
        slope *= 1 - s
        slope += 1
        slope *= s
        np.multiply(x, s, out=y)

    return _activation("gelu", lambda x, y: np.multiply(x, gate(x), out=y), f_and_slope=f_and_slope)
