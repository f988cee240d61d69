"""Maxima of windows that do not overlap: which entry it was is kept, in a byte, in place of the input.

All cores share the images.
"""

from __future__ import annotations

import math
from functools import partial

import attrs
import numpy as np

from funcnet.engines.numpy.cores import blocks, on_all_cores
from funcnet.engines.numpy.kernel import LayerKernel, bound
from funcnet.layer import AnyLayer
from funcnet.layers.windows import Windows
from funcnet.random import Key
from funcnet.shapes import Array, Shape, expect

__all__ = ["max_pool_kernel"]

_BLOCK = 1 << 17  # entries


def max_pool_kernel(layer: AnyLayer) -> LayerKernel | None:
    """The kernel of max-pooling; None for windows that overlap, leave gaps or are padded."""
    (sliding,) = bound(layer.pure_forward)
    if sliding.size != sliding.stride or sliding.padding not in ("valid", ((0, 0), (0, 0))):
        return None
    if sliding.size[0] * sliding.size[1] > 256:
        return None
    arguments = (sliding,)
    forward, predict, backward = (partial(function, *arguments) for function in (_forward, _predict, _backward))
    return LayerKernel("max_pool2d", forward, predict, backward, y="own", prediction="own", dx="own")


@attrs.frozen(eq=False)
class _Chosen:
    """The place of each maximum in its window, row by row, and the shape of the input."""

    place: Array
    in_shape: Shape


def _forward(sliding: Windows, params: tuple[()], x: Array, owned: bool, key: Key | None) -> tuple[Array, _Chosen]:
    out = sliding.out_image("max_pool2d", x.shape[1:])
    y = np.empty((len(x), *out, x.shape[-1]), x.dtype)
    chosen = np.zeros(y.shape, np.uint8)

    def part(begin: int, end: int) -> None:
        for some in blocks(begin, end, _images(x.shape)):
            largest, which = y[some], chosen[some]
            for number, place in enumerate(sliding.places()):
                entry = sliding.cut(x[some], place, out)
                if not number:
                    largest[...] = entry
                    continue
                larger = (entry > largest).view(np.uint8)
                larger *= number
                np.maximum(which, larger, out=which)
                np.maximum(largest, entry, out=largest)

    on_all_cores(part, len(x))
    return y, _Chosen(chosen, x.shape)


def _predict(sliding: Windows, params: tuple[()], x: Array, owned: bool) -> Array:
    return _forward(sliding, params, x, owned, None)[0]


def _backward(
    sliding: Windows,
    params: tuple[()],
    residuals: _Chosen,
    dy: Array,
    owned: bool,
    accumulator: tuple[()] | None,
    beta: float,
    need_dx: bool,
) -> Array | None:
    if not need_dx:
        return None
    chosen = residuals.place
    expect("max_pool2d", "dy", dy, chosen.shape, dy.dtype)
    dx = np.empty(residuals.in_shape, dy.dtype)
    out = dy.shape[1:-1]
    height, width = (m * s for m, s in zip(out, sliding.stride, strict=True))
    outside = np.s_[:, height:], np.s_[:, :, width:]  # what no window reaches

    def part(begin: int, end: int) -> None:
        for some in blocks(begin, end, _images(dx.shape)):
            for border in outside:
                dx[some][border] = 0
            for number, place in enumerate(sliding.places()):
                # NumPy multiplies by a truth value in a seventh of the time that it needs to copy where it is true.
                np.multiply(dy[some], chosen[some] == number, out=sliding.cut(dx[some], place, out))

    on_all_cores(part, len(dx))
    return dx


def _images(shape: Shape) -> int:
    """How many images of a batch of this shape a core's cache holds."""
    return max(1, _BLOCK // max(1, math.prod(shape[1:])))
