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

__all__ = ["ActivationResiduals", "elu", "leaky_relu", "relu", "sigmoid", "softplus", "tanh"]


@attrs.frozen(eq=False)
class ActivationResiduals(Record):
    """What the slope is computed from: the output, or the input."""

    kept: Float[Array, "batch *shape"]


def relu() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = max(x, 0), with slope 0 at the kink x = 0.

    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines" (ICML 2010).
    """
    return attrs.evolve(of_output("relu", relu_of, relu_slope, relu), rectifies=True)


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
    return of_output(name, f, slope, recipe)


def leaky_relu_of(negative_slope: float, x: Array) -> Array:
    """The larger of x and its multiple."""
    return namespace(x).maximum(x, negative_slope * x)


def leaky_relu_slope(negative_slope: float, y: Array) -> Array:
    """1 above 0, else the negative slope."""
    xp = namespace(y)
    return xp.where(y > 0, xp.ones_like(y), xp.full_like(y, negative_slope))


def tanh() -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = tanh x, f' = 1 - y^2."""
    return of_output("tanh", tanh_of, tanh_slope, tanh)


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
    return of_output("sigmoid", sigmoid_of, sigmoid_slope, sigmoid)


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
    return of_input("softplus", softplus_of, sigmoid_of, softplus)


def softplus_of(x: Array) -> Array:
    """log(1 + exp x)."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(exp_of_minus_size(x))


def elu(alpha: float = 1.0) -> Layer[tuple[()], ActivationResiduals]:
    """f(x) = x above 0 and alpha (exp(x) - 1) below, f' = 1 and y + alpha, with the lower slope alpha at x = 0.

    Clevert, Unterthiner & Hochreiter, "Fast and accurate deep network learning by exponential linear units (ELUs)"
    (ICLR 2016), eq. 15.

    Raises:
        ValueError: for an alpha that is not positive and finite.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"the alpha of an ELU is positive and finite, got {alpha}")
    alpha = float(alpha)
    return of_output(f"elu({alpha:g})", partial(elu_of, alpha), partial(elu_slope, alpha), partial(elu, alpha))


def elu_of(alpha: float, x: Array) -> Array:
    """x above 0, alpha (exp(x) - 1) below."""
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


def elu_slope(alpha: float, y: Array) -> Array:
    """1 above 0, y + alpha below."""
    xp = namespace(y)
    return xp.where(y > 0, xp.ones_like(y), y + alpha)


def of_output(
    name: str,
    f: Callable[[Array], Array],
    slope: Callable[[Array], Num[Array, "..."]],
    recipe: Callable[[], Layer[tuple[()], ActivationResiduals]],
) -> Layer[tuple[()], ActivationResiduals]:
    """The layer of f, whose slope is computed from the output."""
    return Layer(
        name, activation_init, partial(forward_keeping_output, f), partial(activation_vjp, slope), recipe=recipe
    )


def of_input(
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
