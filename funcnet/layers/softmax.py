"""The logarithm of the softmax, over the last axis.

    y = x - log(sum of exp x),    dx = dy - exp(y) (sum of dy)

x is shifted by its largest entry, so that no exponential overflows. Goodfellow, Bengio & Courville, Deep Learning
(2016), equations 4.1 and 6.30.
"""

from __future__ import annotations

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe
from funcnet.tree import Record

__all__ = ["LogSoftmaxResiduals", "log_softmax"]


@attrs.frozen(eq=False)
class LogSoftmaxResiduals(Record):
    """The output: the logarithms of shares that add up to 1."""

    y: Float[Array, "batch *axes classes"]


def log_softmax() -> Layer[tuple[()], LogSoftmaxResiduals]:
    """The logarithm of the softmax over the last axis: (batch, ..., classes), kept.

    The loss ``softmax_cross_entropy`` takes the logits themselves and needs no such layer before it.
    """
    return Layer("log_softmax", log_softmax_init, log_softmax_forward, log_softmax_vjp, recipe=log_softmax)


def log_softmax_init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    if not in_shape or in_shape[-1] < 1:
        raise ShapeError("log_softmax", "an input shape with a last axis, of classes", describe(in_shape))
    return (), in_shape


def log_softmax_forward(
    params: tuple[()], x: Float[Array, "batch *axes classes"]
) -> tuple[Float[Array, "batch *axes classes"], LogSoftmaxResiduals]:
    """y = x - log(sum of exp x)."""
    xp = namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    y = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    return y, LogSoftmaxResiduals(y)


def log_softmax_vjp(
    params: tuple[()], residuals: LogSoftmaxResiduals, dy: Float[Array, "batch *axes classes"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch *axes classes"] | None]:
    """dx = dy - exp(y) (sum of dy)."""
    if not need_dx:
        return (), None
    xp = namespace(dy)
    return (), dy - xp.exp(residuals.y) * xp.sum(dy, axis=-1, keepdims=True)
