"""A bias alone, on the last axis.

    y = x + b;    db = sum of dy over all axes but the last,    dx = dy

It is for layers whose own bias cannot be used, such as a frozen convolution.
"""

from __future__ import annotations

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.initializers import filled
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe
from funcnet.tree import Record, array_field

__all__ = ["BiasParams", "bias"]


@attrs.frozen
class BiasParams(Record):
    """The bias of each feature."""

    bias: Float[Array, "features"] = array_field()


def bias() -> Layer[BiasParams, tuple[()]]:
    """y = x + b for (batch, ..., features). The bias starts at zero."""
    return Layer("bias", bias_init, bias_forward, bias_vjp, recipe=bias)


def bias_init(key: Key, in_shape: Shape) -> tuple[BiasParams, Shape]:
    """A bias of zeros."""
    if not in_shape:
        raise ShapeError("bias", "an input shape with a last axis, of features", describe(in_shape))
    return BiasParams(filled(in_shape[-1:], 0.0)), in_shape


def bias_forward(
    params: BiasParams, x: Float[Array, "batch *axes features"]
) -> tuple[Float[Array, "batch *axes features"], tuple[()]]:
    """y = x + b."""
    return x + params.bias, ()


def bias_vjp(
    params: BiasParams, residuals: tuple[()], dy: Float[Array, "batch *axes features"], *, need_dx: bool = True
) -> tuple[BiasParams, Float[Array, "batch *axes features"] | None]:
    """db = sum of dy, dx = dy."""
    return BiasParams(namespace(dy).sum(dy, axis=tuple(range(dy.ndim - 1)))), dy
