"""Upsampling of images (batch, height, width, channels) by a whole number f.

    y[n, i, j, c] = sum over k, l of  A[i, k] B[j, l] x[n, k, l, c],    dx[n, k, l, c] = the same sum over i, j of dy

A and B are the weights along the two axes. For an axis of n entries, row i of the f n rows is

    nearest     1 at i // f
    bilinear    max(0, 1 - |s - k|) at k, with s = (i + 1/2) / f - 1/2, moved into 0 to n - 1

So s is the place of the centre of the new entry among the old ones, and what lies beyond the border is as the border.
This is PyTorch's ``align_corners=False``. Gonzalez & Woods, Digital Image Processing (4th ed., 2018), section 2.4.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.reshape import RearrangedResiduals
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe, whole_number

__all__ = ["upsample2d"]


def upsample2d(
    factor: int = 2, *, method: Literal["nearest", "bilinear"] = "nearest"
) -> Layer[tuple[()], RearrangedResiduals]:
    """Larger images: (batch, height, width, channels) to (batch, factor height, factor width, channels).

    Args:
        factor: how many entries of the output there are for one of the input, along each axis.
        method: ``nearest`` repeats each entry. ``bilinear`` interpolates between the four nearest ones.

    Raises:
        ValueError: for a factor that is no whole number from 1 up, or another method.
    """
    factor = whole_number("the factor of an upsample2d", factor, 1)
    if method not in ("nearest", "bilinear"):
        raise ValueError(f"the method of an upsample2d is nearest or bilinear, got {method!r}")
    name = f"upsample2d({factor})"
    return Layer(
        name,
        partial(upsample_init, name, factor),
        partial(upsample_forward, factor, method),
        partial(upsample_vjp, factor, method),
        out_shape=partial(upsample_shape, name, factor),
        recipe=partial(upsample2d, factor, method=method),
    )


def upsample_shape(name: str, factor: int, in_shape: Shape) -> Shape:
    """Height and width times the factor."""
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise ShapeError(name, "examples of shape (height, width, channels)", describe(in_shape))
    height, width, channels = in_shape
    return (factor * height, factor * width, channels)


def upsample_init(name: str, factor: int, key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    return (), upsample_shape(name, factor, in_shape)


def upsample_forward(
    factor: int, method: str, params: tuple[()], x: Float[Array, "batch height width channels"]
) -> tuple[Float[Array, "batch high wide channels"], RearrangedResiduals]:
    """y, along one axis after the other."""
    rows, columns = (_weights(factor, method, n, x) for n in x.shape[1:3])
    return _along_both(rows, columns, x), RearrangedResiduals(x.shape)


def upsample_vjp(
    factor: int,
    method: str,
    params: tuple[()],
    residuals: RearrangedResiduals,
    dy: Float[Array, "batch high wide channels"],
    *,
    need_dx: bool = True,
) -> tuple[tuple[()], Float[Array, "batch height width channels"] | None]:
    """dx, by the transposed weights."""
    if not need_dx:
        return (), None
    transpose = namespace(dy).matrix_transpose
    rows, columns = (transpose(_weights(factor, method, n, dy)) for n in residuals.in_shape[1:3])
    return (), _along_both(rows, columns, dy)


def _along_both(rows: Array, columns: Array, x: Array) -> Array:
    """The sum over k, l of rows[i, k] columns[j, l] x[n, k, l, c]."""
    xp, (batch, height, width, channels) = namespace(x), x.shape
    x = rows @ xp.reshape(x, (batch, height, width * channels))
    return columns @ xp.reshape(x, (batch, rows.shape[0], width, channels))


def _weights(factor: int, method: str, length: int, like: Array) -> Array:
    """The weights along an axis: (factor length, length)."""
    xp, dtype = namespace(like), like.dtype
    old = xp.arange(length)
    new = xp.reshape(xp.arange(factor * length), (factor * length, 1))
    if method == "nearest":
        return xp.astype(new // factor == old, dtype)
    place: Any = (xp.astype(new, dtype) + 0.5) / factor - 0.5
    place = xp.maximum(xp.minimum(place, length - 1.0), 0.0)
    return xp.maximum(1 - xp.abs(place - xp.astype(old, dtype)), 0.0)
