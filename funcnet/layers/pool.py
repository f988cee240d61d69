"""Pooling of images (batch, height, width, channels): the maximum or the mean of every window, channel by channel.

    max        y[n, i, c] = max over p of  X[n, s i + p, c],     dX gets dy at the first entry that is the maximum
    average    y[n, i, c] = mean over p of X[n, s i + p, c],     dX gets dy / (number of entries) at each

X is x with its padding, i a place of the window, p an entry of it and s the stride. What pads a maximum is never one.
Padding counts in a mean if ``count_padding`` says so. Among entries that tie for a maximum, the first in the order of
rows gets all of dy, as in PyTorch and TensorFlow.

Goodfellow, Bengio & Courville, Deep Learning (2016), section 9.3; Lin, Chen & Yan, "Network in network" (ICLR 2014),
section 3.2, for the global mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial, reduce
from operator import add

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.windows import Padding, Windows, windows
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe
from funcnet.tree import Record, static_field

__all__ = ["MaxPoolResiduals", "PoolResiduals", "avg_pool2d", "global_avg_pool", "global_max_pool", "max_pool2d"]


@attrs.frozen(eq=False)
class MaxPoolResiduals(Record):
    """Input and output, which tell where the maxima are."""

    x: Float[Array, "batch *image channels"]
    y: Float[Array, "batch *out channels"]

    @property
    def in_shape(self) -> Shape:
        """The shape of the input, with the batch axis."""
        return self.x.shape


@attrs.frozen
class PoolResiduals(Record):
    """The shape to go back to, with the batch axis."""

    in_shape: Shape = static_field()


def max_pool2d(
    size: int | Sequence[int] = 2, *, stride: int | Sequence[int] | None = None, padding: Padding = "valid"
) -> Layer[tuple[()], MaxPoolResiduals]:
    """The largest entry of every window: (batch, height, width, channels) to (batch, height', width', channels).

    Args:
        size: of the window: one number, or (height, width).
        stride: by how much the window moves; None for the size of the window.
        padding: as of ``conv2d``.

    Raises:
        ValueError: for arguments that are none of these, or a padding as large as the window.
    """
    sliding = _pooling("max_pool2d", size, stride, padding)
    return Layer(
        "max_pool2d",
        partial(pool_init, "max_pool2d", sliding),
        partial(max_pool_forward, sliding),
        partial(max_pool_vjp, sliding),
        out_shape=partial(pool_shape, "max_pool2d", sliding),
        recipe=partial(max_pool2d, size, stride=stride, padding=padding),
    )


def avg_pool2d(
    size: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    count_padding: bool = False,
) -> Layer[tuple[()], PoolResiduals]:
    """The mean of every window: (batch, height, width, channels) to (batch, height', width', channels).

    Args:
        size: of the window: one number, or (height, width).
        stride: by how much the window moves; None for the size of the window.
        padding: as of ``conv2d``.
        count_padding: whether zeros of the padding count as entries of a window.

    Raises:
        ValueError: for arguments that are none of these, or a padding as large as the window.
    """
    sliding = _pooling("avg_pool2d", size, stride, padding)
    return Layer(
        "avg_pool2d",
        partial(pool_init, "avg_pool2d", sliding),
        partial(avg_pool_forward, sliding, count_padding),
        partial(avg_pool_vjp, sliding, count_padding),
        out_shape=partial(pool_shape, "avg_pool2d", sliding),
        recipe=partial(avg_pool2d, size, stride=stride, padding=padding, count_padding=count_padding),
    )


def _pooling(name: str, size: int | Sequence[int], stride: int | Sequence[int] | None, padding: Padding) -> Windows:
    sliding = windows(name, 2, size, size if stride is None else stride, 1, padding)
    if not isinstance(sliding.padding, str) and any(
        max(ends) >= k for ends, k in zip(sliding.padding, sliding.size, strict=True)
    ):
        raise ValueError(f"the padding of {name} is smaller than its window, got {padding!r} for {sliding.size}")
    return sliding


def pool_shape(name: str, sliding: Windows, in_shape: Shape) -> Shape:
    """The shape of the output for one of the input."""
    return (*sliding.out_image(name, in_shape), in_shape[-1])


def pool_init(name: str, sliding: Windows, key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    return (), pool_shape(name, sliding, in_shape)


def max_pool_forward(
    sliding: Windows, params: tuple[()], x: Float[Array, "batch *image channels"]
) -> tuple[Float[Array, "batch *out channels"], MaxPoolResiduals]:
    """y, the largest entry of every window."""
    y = reduce(namespace(x).maximum, _entries(sliding, sliding.padded(x, -math.inf)))
    return y, MaxPoolResiduals(x, y)


def max_pool_vjp(
    sliding: Windows,
    params: tuple[()],
    residuals: MaxPoolResiduals,
    dy: Float[Array, "batch *out channels"],
    *,
    need_dx: bool = True,
) -> tuple[tuple[()], Float[Array, "batch *image channels"] | None]:
    """dX, dy at the first entry of each window that is the maximum; dx is dX without the padding."""
    if not need_dx:
        return (), None
    xp, y = namespace(dy), residuals.y
    padded, zeros = sliding.padded(residuals.x, -math.inf), xp.zeros_like(dy)
    parts, found = [], y != y  # nothing is found yet; NaN is never equal to y
    for place, entry in zip(sliding.places(), _entries(sliding, padded), strict=True):
        first = (entry == y) & ~found
        found = found | first
        parts.append(sliding.spread(xp.where(first, dy, zeros), place, padded.shape[1:-1]))
    return (), sliding.unpadded(reduce(add, parts), residuals.x.shape[1:-1])


def avg_pool_forward(
    sliding: Windows, count_padding: bool, params: tuple[()], x: Float[Array, "batch *image channels"]
) -> tuple[Float[Array, "batch *out channels"], PoolResiduals]:
    """y, the mean of every window."""
    total = reduce(add, _entries(sliding, sliding.padded(x)))
    return total / _counts(sliding, count_padding, x.shape, x), PoolResiduals(x.shape)


def avg_pool_vjp(
    sliding: Windows,
    count_padding: bool,
    params: tuple[()],
    residuals: PoolResiduals,
    dy: Float[Array, "batch *out channels"],
    *,
    need_dx: bool = True,
) -> tuple[tuple[()], Float[Array, "batch *image channels"] | None]:
    """dX, dy over the number of entries at each entry of a window; dx is dX without the padding."""
    if not need_dx:
        return (), None
    share = dy / _counts(sliding, count_padding, residuals.in_shape, dy)
    image = residuals.in_shape[1:-1]
    padded = tuple(n + low + high for n, (low, high) in zip(image, sliding.amounts(image), strict=True))
    return (), sliding.unpadded(reduce(add, (sliding.spread(share, p, padded) for p in sliding.places())), image)


def _entries(sliding: Windows, padded: Array) -> list[Array]:
    """Each entry of all windows, row by row."""
    out = sliding.out(padded.shape[1:-1])
    return [sliding.cut(padded, place, out) for place in sliding.places()]


def _counts(sliding: Windows, count_padding: bool, in_shape: Shape, like: Array) -> Array:
    """How many entries of each window count: (1, *out, 1)."""
    ones = namespace(like).ones((1, *in_shape[1:-1], 1), dtype=like.dtype)
    return reduce(add, _entries(sliding, sliding.padded(ones, 1.0 if count_padding else 0.0)))


# --- global: a window as large as the image


def global_avg_pool() -> Layer[tuple[()], PoolResiduals]:
    """The mean of each channel over the whole image: (batch, height, width, channels) to (batch, channels)."""
    return Layer(
        "global_avg_pool",
        partial(global_init, "global_avg_pool"),
        global_avg_forward,
        global_avg_vjp,
        out_shape=partial(global_shape, "global_avg_pool"),
        recipe=global_avg_pool,
    )


def global_max_pool() -> Layer[tuple[()], MaxPoolResiduals]:
    """The maximum of each channel over the whole image: (batch, height, width, channels) to (batch, channels)."""
    return Layer(
        "global_max_pool",
        partial(global_init, "global_max_pool"),
        global_max_forward,
        global_max_vjp,
        out_shape=partial(global_shape, "global_max_pool"),
        recipe=global_max_pool,
    )


def global_shape(name: str, in_shape: Shape) -> Shape:
    """The channels."""
    if len(in_shape) < 2 or min(in_shape[:-1]) < 1:
        raise ShapeError(name, "examples of shape (height, width, channels)", describe(in_shape))
    return in_shape[-1:]


def global_init(name: str, key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    return (), global_shape(name, in_shape)


def global_avg_forward(
    params: tuple[()], x: Float[Array, "batch *image channels"]
) -> tuple[Float[Array, "batch channels"], PoolResiduals]:
    """y, the mean over the image."""
    return namespace(x).mean(x, axis=tuple(range(1, x.ndim - 1))), PoolResiduals(x.shape)


def global_avg_vjp(
    params: tuple[()], residuals: PoolResiduals, dy: Float[Array, "batch channels"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch *image channels"] | None]:
    """dx = dy over the number of entries, everywhere."""
    if not need_dx:
        return (), None
    xp, (batch, *image, channels) = namespace(dy), residuals.in_shape
    share = xp.reshape(dy / math.prod(image), (batch, *(1 for _ in image), channels))
    return (), share + xp.zeros(residuals.in_shape, dtype=dy.dtype)


def global_max_forward(
    params: tuple[()], x: Float[Array, "batch *image channels"]
) -> tuple[Float[Array, "batch channels"], MaxPoolResiduals]:
    """y, the maximum over the image."""
    y = namespace(x).max(x, axis=tuple(range(1, x.ndim - 1)))
    return y, MaxPoolResiduals(x, y)


def global_max_vjp(
    params: tuple[()], residuals: MaxPoolResiduals, dy: Float[Array, "batch channels"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch *image channels"] | None]:
    """dx = dy at the first entry that is the maximum."""
    if not need_dx:
        return (), None
    x, xp = residuals.x, namespace(dy)
    rows = xp.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))
    places = xp.reshape(xp.arange(rows.shape[1]), (1, rows.shape[1], 1))
    first = places == xp.argmax(rows, axis=1, keepdims=True)
    dy = xp.expand_dims(dy, axis=1)
    return (), xp.reshape(xp.where(first, dy, xp.zeros_like(dy)), x.shape)
