"""The linear (dense, fully connected) layer.

    y  = x W + b
    dW = x^T dy,    db = sum of dy over the batch,    dx = dy W^T

Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation" (2008),
section 2.2; Goodfellow, Bengio & Courville, Deep Learning (2016), section 6.5.4.
"""

from __future__ import annotations

from functools import partial

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.initializers import Initializer, he, weights
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe, whole_number
from funcnet.tree import Record, array_field

__all__ = ["LinearParams", "LinearResiduals", "linear"]


@attrs.frozen
class LinearParams(Record):
    """The weight matrix, and the bias if the layer has one. Both have one dtype."""

    weight: Float[Array, "in out"] = array_field()
    bias: Float[Array, "out"] | None = array_field(default=None)


@attrs.frozen(eq=False)
class LinearResiduals(Record):
    """The input, from which the weight's gradient is computed."""

    x: Float[Array, "batch in"]


def linear(width: int, *, bias: bool = True, init: Initializer = he) -> Layer[LinearParams, LinearResiduals]:
    """A linear layer of ``width`` outputs: (batch, in) to (batch, width). The bias starts at zero.

    Raises:
        ValueError: for a width that is no whole number from 1 up.
    """
    width = whole_number("the width of a linear layer", width, 1)
    known = {"out": width, "bias": width if bias else None}
    start = partial(linear_init, width, bias, init)
    return Layer(
        f"linear({width})",
        start,
        linear_forward,
        linear_vjp,
        linear_multiply_adds,
        known=known,
        recipe=partial(linear, width, bias=bias, init=init),
    )


def linear_init(width: int, bias: bool, init: Initializer, key: Key, in_shape: Shape) -> tuple[LinearParams, Shape]:
    """Weights by ``init``, a bias of zeros."""
    if len(in_shape) != 1:
        raise ShapeError(f"linear({width})", "an input shape of one axis (put flatten() before it)", describe(in_shape))
    weight = weights(f"linear({width})", init, key, (in_shape[0], width), in_shape[0], width)
    return LinearParams(weight, namespace(weight).zeros_like(weight[0, :]) if bias else None), (width,)


def linear_forward(
    params: LinearParams, x: Float[Array, "batch in"]
) -> tuple[Float[Array, "batch out"], LinearResiduals]:
    """y = x W + b."""
    y = x @ params.weight
    return y if params.bias is None else y + params.bias, LinearResiduals(x)


def linear_vjp(
    params: LinearParams, residuals: LinearResiduals, dy: Float[Array, "batch out"], *, need_dx: bool = True
) -> tuple[LinearParams, Float[Array, "batch in"] | None]:
    """dW = x^T dy, db = sum of dy over the batch, dx = dy W^T."""
    dbias = None if params.bias is None else namespace(dy).sum(dy, axis=0)
    return LinearParams(residuals.x.T @ dy, dbias), dy @ params.weight.T if need_dx else None


def linear_multiply_adds(params: LinearParams, in_shape: Shape) -> int:
    """One multiplication and addition for every weight."""
    return params.weight.size
