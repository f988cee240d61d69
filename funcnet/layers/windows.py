"""Windows that slide over images: what convolution and pooling have in common.

An image is (height, width), or (length,) for a sequence: arrays are (batch, *image, channels). A window of ``size``
k moves by ``stride`` s, and its entries are ``dilation`` d apart. With ``low`` and ``high`` entries of padding, an axis
of n entries has

    m = (n + low + high - d (k - 1) - 1) // s + 1

places for it. Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), relationship 14.

``cut`` and ``spread`` are adjoints of one another, and so are ``padded`` and ``unpadded``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from funcnet.arrays import namespace
from funcnet.shapes import Array, Shape, ShapeError, describe, whole_number

__all__ = ["Padding", "Windows", "windows"]

Amounts: TypeAlias = tuple[tuple[int, int], ...]
Padding: TypeAlias = str | int | Sequence[int | Sequence[int]]


@attrs.frozen
class Windows:
    """Windows over the axes of an image.

    Attributes:
        size: how many entries a window has along each axis.
        stride: by how many entries it moves.
        dilation: how many entries lie from one of its entries to the next.
        padding: ``same``, ``valid``, ``reflect``, or the entries before and after each axis.
    """

    size: Shape
    stride: Shape
    dilation: Shape
    padding: str | Amounts

    def out_image(self, layer: str, in_shape: Shape) -> Shape:
        """How many places the windows have along each axis of an example.

        Raises:
            ShapeError: for an image of too few entries or another number of axes, naming ``layer``.
        """
        image = self._image(layer, in_shape)
        amounts = self.amounts(image)
        if self.padding == "reflect" and any(n <= max(ends) for n, ends in zip(image, amounts, strict=True)):
            raise ShapeError(layer, f"an image with more entries than the {amounts} to reflect", describe(image))
        out = self.out(tuple(n + low + high for n, (low, high) in zip(image, amounts, strict=True)))
        if min(out) < 1:
            reach = tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))
            raise ShapeError(layer, f"an image that a window of {describe(reach)} fits into", describe(image))
        return out

    def in_image(self, layer: str, in_shape: Shape) -> Shape:
        """The other way: the smallest image that has as many places as an example has entries.

        With ``same`` it is stride times as long.

        Raises:
            ShapeError: for an image of too few entries or another number of axes, naming ``layer``.
        """
        places = self._image(layer, in_shape)
        if self.padding == "same":
            return tuple(m * s for m, s in zip(places, self.stride, strict=True))
        found = tuple(
            s * (m - 1) + d * (k - 1) + 1 - low - high
            for m, k, s, d, (low, high) in zip(
                places, self.size, self.stride, self.dilation, self.amounts(places), strict=True
            )
        )
        if min(found) < 1:
            raise ShapeError(layer, "an image of which the padding leaves something", describe(places))
        return found

    def _image(self, layer: str, in_shape: Shape) -> Shape:
        if len(in_shape) != len(self.size) + 1 or min(in_shape) < 1:
            axes = "length" if len(self.size) == 1 else "height, width"
            grey = len(in_shape) == len(self.size) and min(in_shape) > 0
            hint = f" (no channels? reshape({', '.join(map(str, in_shape))}, 1) before it adds one)" if grey else ""
            raise ShapeError(layer, f"examples of shape ({axes}, channels)", f"{describe(in_shape)}{hint}")
        return in_shape[:-1]

    def out(self, padded: Shape) -> Shape:
        """How many places the windows have along each axis of an image with its padding."""
        return tuple(
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(padded, self.size, self.stride, self.dilation, strict=True)
        )

    def amounts(self, image: Shape) -> Amounts:
        """The entries of padding before and after each axis.

        ``same`` and ``reflect`` give n / stride places, rounded up. If their padding is odd, the larger part comes
        after the axis, as in TensorFlow and JAX.
        """
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return tuple((0, 0) for _ in image)
        wanted = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(image, self.size, self.stride, self.dilation, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in wanted)

    def places(self) -> Iterator[Shape]:
        """The entries of a window, row by row."""
        return itertools.product(*map(range, self.size))

    def cut(self, padded: Array, place: Shape, out: Shape) -> Array:
        """The entry at this place of every window: (batch, *out, channels)."""
        starts = [d * p for d, p in zip(self.dilation, place, strict=True)]
        spans = zip(starts, self.stride, out, strict=True)
        return padded[(slice(None), *(slice(a, a + s * (m - 1) + 1, s) for a, s, m in spans), slice(None))]

    def spread(self, values: Array, place: Shape, padded: Shape) -> Array:
        """``values`` where ``cut`` took them from, and zeros elsewhere."""
        for axis, (length, p, s, d) in enumerate(zip(padded, place, self.stride, self.dilation, strict=True), 1):
            values = placed(values, axis, d * p, s, length)
        return values

    def padded(self, x: Array, fill: float = 0.0) -> Array:
        """x with its padding: of ``fill``, or reflected."""
        for axis, (low, high) in enumerate(self.amounts(x.shape[1:-1]), 1):
            xp, n = namespace(x), x.shape[axis]
            if self.padding == "reflect":
                ends = _along(x, axis, 1, low + 1), _along(x, axis, n - 1 - high, n - 1)
                before, after = (xp.flip(end, axis=axis) for end in ends)
            else:
                before, after = (_filled(x, axis, count, fill) for count in (low, high))
            x = xp.concat([before, x, after], axis=axis)
        return x

    def unpadded(self, dx: Array, image: Shape) -> Array:
        """The gradient of x from that of ``padded(x)``: without the padding, whose reflected part is added."""
        for axis, (n, (low, high)) in enumerate(zip(image, self.amounts(image), strict=True), 1):
            inside = _along(dx, axis, low, low + n)
            if self.padding == "reflect":
                flip = namespace(dx).flip
                before, after = _along(dx, axis, 0, low), _along(dx, axis, low + n, low + n + high)
                inside = inside + placed(flip(before, axis=axis), axis, 1, 1, n)
                inside = inside + placed(flip(after, axis=axis), axis, n - 1 - high, 1, n)
            dx = inside
        return dx


def windows(layer: str, axes: int, size: Any, stride: Any, dilation: Any, padding: Padding) -> Windows:
    """The windows of a layer, from what its user says: one number for all axes, or one for each.

    Raises:
        ValueError: for a number that is no whole number from 1 up, or a padding that is none.
    """
    return Windows(
        _each(f"the window of {layer}", axes, size, 1),
        _each(f"the stride of {layer}", axes, stride, 1),
        _each(f"the dilation of {layer}", axes, dilation, 1),
        _padding(layer, axes, padding),
    )


def _each(what: str, axes: int, value: Any, low: int) -> Shape:
    if not isinstance(value, tuple | list):
        return (whole_number(what, value, low),) * axes
    if len(value) != axes:
        raise ValueError(f"{what} is one number, or {axes}: one an axis; got {value!r}")
    return tuple(whole_number(what, entry, low) for entry in value)


def _padding(layer: str, axes: int, padding: Padding) -> str | Amounts:
    what = f"the padding of {layer}"
    if isinstance(padding, str):
        if padding not in ("same", "valid", "reflect"):
            raise ValueError(f"{what} is same, valid, reflect or numbers of entries, got {padding!r}")
        return padding
    if not isinstance(padding, tuple | list):
        return ((whole_number(what, padding, 0),) * 2,) * axes
    if len(padding) != axes:
        raise ValueError(f"{what} has an entry for each of {axes} axes, got {padding!r}")
    before_after = [_each(what, 2, entry, 0) for entry in padding]
    return tuple((low, high) for low, high in before_after)


def placed(values: Array, axis: int, start: int, step: int, length: int) -> Array:
    """An axis of zeros of this length, with the values at start, start + step, start + 2 step, ..."""
    xp, count = namespace(values), values.shape[axis]
    end = start + step * (count - 1) + 1 if count else start
    if step > 1 and count > 1:
        apart = xp.expand_dims(values, axis=axis + 1)
        apart = xp.concat([apart, _filled(apart, axis + 1, step - 1, 0.0)], axis=axis + 1)
        shape = (*values.shape[:axis], count * step, *values.shape[axis + 1 :])
        values = _along(xp.reshape(apart, shape), axis, 0, end - start)
    before, after = _filled(values, axis, start, 0.0), _filled(values, axis, length - end, 0.0)
    return xp.concat([before, values, after], axis=axis)


def _along(x: Array, axis: int, start: int, end: int) -> Array:
    return x[(*(slice(None),) * axis, slice(start, end), *(slice(None),) * (x.ndim - axis - 1))]


def _filled(x: Array, axis: int, count: int, fill: float) -> Array:
    """As much of an axis, like x otherwise."""
    return namespace(x).full((*x.shape[:axis], count, *x.shape[axis + 1 :]), fill, dtype=x.dtype)
