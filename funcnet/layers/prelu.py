"""ReLU with a learned slope below 0, one for each channel.

    y = x above 0, a x below;    dx = dy above 0, a dy below;    da = sum of dy x over all entries below

The sum goes over all axes but the last, that of the channels. At the kink x = 0 the slope is the lower one, a.

He, Zhang, Ren & Sun, "Delving deep into rectifiers" (ICCV 2015), eq. 1, 9 and 10.
"""

from __future__ import annotations

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.initializers import filled
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe
from funcnet.tree import Record, array_field

__all__ = ["PReLUParams", "PReLUResiduals", "prelu"]

_START = 0.25


@attrs.frozen
class PReLUParams(Record):
    """The slope of each channel below 0."""

    slope: Float[Array, "channels"] = array_field()


@attrs.frozen(eq=False)
class PReLUResiduals(Record):
    """The input."""

    x: Float[Array, "batch *axes channels"]


def prelu() -> Layer[PReLUParams, PReLUResiduals]:
    """A leaky ReLU of (batch, ..., channels) with a learned slope for each channel, which starts at 0.25."""
    return Layer("prelu", prelu_init, prelu_forward, prelu_vjp, recipe=prelu)


def prelu_init(key: Key, in_shape: Shape) -> tuple[PReLUParams, Shape]:
    """Slopes of 0.25."""
    if not in_shape:
        raise ShapeError("prelu", "an input shape with a last axis, of channels", describe(in_shape))
    return PReLUParams(filled(in_shape[-1:], _START)), in_shape


def prelu_forward(
    params: PReLUParams, x: Float[Array, "batch *axes channels"]
) -> tuple[Float[Array, "batch *axes channels"], PReLUResiduals]:
    """y = x above 0, a x below."""
    return namespace(x).where(x > 0, x, params.slope * x), PReLUResiduals(x)


def prelu_vjp(
    params: PReLUParams, residuals: PReLUResiduals, dy: Float[Array, "batch *axes channels"], *, need_dx: bool = True
) -> tuple[PReLUParams, Float[Array, "batch *axes channels"] | None]:
    """da = sum of dy x below 0; dx = dy above 0, a dy below."""
    x, xp = residuals.x, namespace(dy)
    below = xp.where(x > 0, xp.zeros_like(dy), x * dy)
    dparams = PReLUParams(xp.sum(below, axis=tuple(range(dy.ndim - 1))))
    return dparams, xp.where(x > 0, dy, params.slope * dy) if need_dx else None
