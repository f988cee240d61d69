"""Activations: functions f applied to every entry, each beside its slope f'.

    y = f(x),    dx = f'(x) dy

If f' can be computed from y, the residual is y. Otherwise it is x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.shapes import Array, Float, Num, Shape
from funcnet.tree import Record

__all__ = ["ActivationResiduals", "gelu", "leaky_relu", "relu", "sigmoid", "softplus", "tanh"]


@attrs.frozen(eq=False)
class ActivationResiduals(Record):
    """What the slope is computed from: the output, or the input."""

    kept: Float[Array, "batch *shape"]


def relu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = max(x, 0), with slope 0 at the kink x = 0.

    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines" (ICML 2010).
    """
    return attrs.evolve(_of_output("relu", relu_of, relu_slope, relu), rectifies=True)


def relu_of(x: Array) -> Array:
    """max(x, 0)."""
    return namespace(x).maximum(x, 0)


def relu_slope(y: Array) -> Array:
    """1 above 0, else 0."""
    return namespace(y).astype(y > 0, y.dtype)


def leaky_relu(negative_slope: float = 0.01) -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x above 0 and ``negative_slope`` x below, with the lower slope at the kink x = 0.

    Maas, Hannun & Ng, "Rectifier nonlinearities improve neural network acoustic models" (ICML 2013).

    Raises:
        ValueError: for a negative slope outside [0, 1).
    """
    if not 0 <= negative_slope < 1:
        raise ValueError(f"the negative slope of a leaky ReLU lies in [0, 1), got {negative_slope}")
    negative_slope = float(negative_slope)  # a NumPy float64 would turn float32 into float64
    name, recipe = f"leaky_relu({negative_slope:g})", partial(leaky_relu, negative_slope)
    if not negative_slope:
        return attrs.evolve(relu(), name=name, recipe=recipe)  # 0 times infinity would be NaN
    f, slope = partial(leaky_relu_of, negative_slope), partial(leaky_relu_slope, negative_slope)
    return _of_output(name, f, slope, recipe)


def leaky_relu_of(negative_slope: float, x: Array) -> Array:
    """The larger of x and its multiple."""
    return namespace(x).maximum(x, negative_slope * x)


def leaky_relu_slope(negative_slope: float, y: Array) -> Array:
    """1 above 0, else the negative slope."""
    xp = namespace(y)
    return xp.where(y > 0, xp.ones_like(y), xp.full_like(y, negative_slope))


def tanh() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = tanh x, f' = 1 - y^2."""
    return _of_output("tanh", tanh_of, tanh_slope, tanh)


def tanh_of(x: Array) -> Array:
    """The hyperbolic tangent."""
    return namespace(x).tanh(x)


def tanh_slope(y: Array) -> Array:
    """1 - y^2."""
    return 1 - y * y


def sigmoid() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = 1 / (1 + exp(-x)), f' = y (1 - y).

    Computed with e = exp(-|x|), which cannot overflow: f = max([x > 0], e) / (1 + e).
    """
    return _of_output("sigmoid", sigmoid_of, sigmoid_slope, sigmoid)


def sigmoid_of(x: Array) -> Array:
    """1 / (1 + exp(-x)), exact to rounding in both tails."""
    xp = namespace(x)
    e = exp_of_minus_size(x)
    return xp.where(x > 0, xp.ones_like(e), e) / (1 + e)


def exp_of_minus_size(x: Array) -> Array:
    """exp(-|x|)."""
    xp = namespace(x)
    return xp.exp(xp.minimum(x, -x))  # -|x| in an analytic form, as the complex step needs it


def sigmoid_slope(y: Array) -> Array:
    """y (1 - y)."""
    return y * (1 - y)


def softplus() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = log(1 + exp x), f' = 1 / (1 + exp(-x)).

    Computed with e = exp(-|x|), which cannot overflow: f = max(x, 0) + log(1 + e).

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (NIPS 2000).
    """
    return _of_input("softplus", softplus_of, sigmoid_of, softplus)


def softplus_of(x: Array) -> Array:
    """log(1 + exp x)."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(exp_of_minus_size(x))


def gelu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), the tanh form of the GELU.

    Computed as f = x s with s = 1 / (1 + exp(-2u)), the same without cancellation where tanh u is near -1, and

        f' = s + s (1 - s) x 2u',    2u' = 2 sqrt(2/pi) (1 + 0.134145 x^2)

    For x so large that s (1 - s) is 0, u' is that of a smaller x: nothing overflows, and every finite x is safe.

    Hendrycks & Gimpel, "Gaussian error linear units (GELUs)" (2016), section 2.
    """
    return _of_input("gelu", gelu_of, gelu_slope, gelu)


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


def _of_output(
    name: str,
    f: Callable[[Array], Array],
    slope: Callable[[Array], Num[Array, "..."]],
    recipe: Callable[[], Layer[tuple[()], ActivationResiduals]],
) -> Layer[tuple[()], ActivationResiduals]:
    """The layer of f, whose slope is computed from the output."""
    return Layer(
        name, activation_init, partial(forward_keeping_output, f), partial(activation_vjp, slope), recipe=recipe
    )


def _of_input(
    name: str,
    f: Callable[[Array], Array],
    slope: Callable[[Array], Num[Array, "..."]],
    recipe: Callable[[], Layer[tuple[()], ActivationResiduals]],
) -> Layer[tuple[()], ActivationResiduals]:
    """The layer of f, whose slope is computed from the input."""
    return Layer(
        name, activation_init, partial(forward_keeping_input, f), partial(activation_vjp, slope), recipe=recipe
    )


def activation_init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params, and any shape."""
    return (), in_shape


def forward_keeping_output(
    f: Callable[[Array], Array], params: tuple[()], x: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
    """y = f(x), and y is kept."""
    y = f(x)
    return y, ActivationResiduals(y)


def forward_keeping_input(
    f: Callable[[Array], Array], params: tuple[()], x: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], ActivationResiduals]:
    """y = f(x), and x is kept."""
    return f(x), ActivationResiduals(x)


def activation_vjp(
    slope: Callable[[Array], Array],
    params: tuple[()],
    residuals: ActivationResiduals,
    dy: Float[Array, "batch *shape"],
    *,
    need_dx: bool = True,
) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
    """dx = f'(x) dy."""
    return (), slope(residuals.kept) * dy if need_dx else None
