"""Convolution with filters of 3 x 3 by the minimal filtering algorithm F(4 x 4, 3 x 3).

The output is cut into tiles of 4 x 4. A tile y depends on 6 x 6 entries d of the padded image. With g the filter,

    y = A^T [ (G g G^T) * (B^T d B) ] A

where * multiplies entry by entry: 36 multiplications in place of 144. Over channels and filters, each of the 36 entries
is a matrix product of all tiles. The vjp is the same sum read backward:

    dg = G^T [ (B^T d B) * (A dy A^T) ] G,        dd = B [ (G g G^T) * (A dy A^T) ] B^T

Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), section 4; Winograd, Arithmetic
complexity of computations (1980). Each transformation is one product with a Kronecker square. That of B^T, say, is
36 x 36.

The rounding error is larger than that of the sum over the window: in float32, about 2e-6 of the output's size against
3e-7, for 64 to 256 channels.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcnet.engines.numpy import blas
from funcnet.engines.numpy.cores import blocks, on_all_cores, scratch, shares, total_of
from funcnet.layers.windows import Windows
from funcnet.shapes import Array, Float, Shape
from funcnet.tree import freeze

__all__ = ["pays", "winograd_backward", "winograd_forward"]

_TILE, _REACH, _WINDOW = 4, 6, 3
_A = [[1, 0, 0, 0], [1, 1, 1, 1], [1, -1, 1, -1], [1, 2, 4, 8], [1, -2, 4, -8], [0, 0, 0, 1]]
_B = [[4, 0, 0, 0, 0, 0], [0, -4, 4, -2, 2, 4], [-5, -4, -4, -1, -1, 0], [0, 1, -1, 2, -2, -5], [1, 1, 1, 1, 1, 0],
      [0, 0, 0, 0, 0, 1]]  # fmt: skip
_G = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
      [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_TILES = 128  # tiles of a block: rows of each of the 36 products


def pays(sliding: Windows, in_shape: Shape, out_shape: Shape) -> bool:
    """Whether this needs clearly less arithmetic than patches do, for batches of these shapes."""
    if sliding.size != (3, 3) or sliding.stride != (1, 1) or sliding.dilation != (1, 1) or sliding.padding == "reflect":
        return False
    (height, width, filters), channels = out_shape[1:], in_shape[-1]
    tiles = -(-height // _TILE) * -(-width // _TILE)
    both = 36 * channels * filters + 36 * 36 * channels + 16 * 36 * filters
    return 1.5 * tiles * both < 9 * height * width * channels * filters


def winograd_forward(sliding: Windows, weight: Array, bias: Array | None, x: Array, y: Array) -> None:
    """Write the convolution of x to y."""
    filters = _transformed_filters(weight)

    def part(begin: int, end: int) -> None:
        tiles = _Tiles(sliding, x, y.shape)
        for some in blocks(begin, end, tiles.images):
            tiles.write(_product("products", tiles.of_image(x[some]), filters), y[some])
            if bias is not None:
                y[some] += bias

    on_all_cores(part, len(x))


def winograd_backward(
    sliding: Windows, weight: Array, x: Array, dy: Array, dx: Array | None, need_dweight: bool
) -> Array | None:
    """The gradient of the filters, if it is needed. That of x is written to dx, if it is not None."""
    filters = _transformed_filters(weight)
    backward = filters.transpose(0, 2, 1)
    sums = {begin: np.zeros(filters.shape, x.dtype) for begin, _ in shares(len(x)) if need_dweight}

    def part(begin: int, end: int) -> None:
        tiles = _Tiles(sliding, x, dy.shape)
        for some in blocks(begin, end, tiles.images):
            of_dy = tiles.of_gradient(dy[some])
            if need_dweight:
                of_x = tiles.of_image(x[some])
                for total, left, right in zip(sums[begin], of_x, of_dy, strict=True):
                    blas.gemm(total, 1.0, left.T, right, divide=False)
            if dx is not None:
                dx[some] = tiles.image_of(_product("products", of_dy, backward))

    on_all_cores(part, len(x))
    if not need_dweight:
        return None
    total = total_of(sums.values(), filters).reshape(36, -1)
    return (_squared("G", x.dtype, transpose=True) @ total).reshape(weight.shape)


def _transformed_filters(weight: Float[Array, "3 3 channels filters"]) -> Float[Array, "36 channels filters"]:
    made = _product("filters", _squared("G", weight.dtype), np.ascontiguousarray(weight).reshape(9, -1))
    return made.reshape(36, *weight.shape[2:])


@functools.cache
def _squared(name: str, dtype: Any, *, transpose: bool = False) -> Array:
    """The Kronecker square of one of the matrices."""
    matrix = np.array({"A": _A, "B": _B, "G": _G}[name])
    square = np.kron(matrix, matrix)
    return freeze(np.ascontiguousarray(square.T if transpose else square, dtype))


def _product(name: str, left: Array, right: Array) -> Array:
    """A matrix product in this core's scratch memory."""
    shape = (*left.shape[:-1], right.shape[-1])
    return np.matmul(left, right, out=scratch(name, shape, left.dtype))


class _Tiles:
    """A core's blocks of images, cut into tiles."""

    def __init__(self, sliding: Windows, x: Array, out_shape: Shape) -> None:
        self.sliding, self.image, self.dtype = sliding, x.shape[1:-1], x.dtype
        self.amounts = sliding.amounts(self.image)
        self.out = out_shape[1:-1]
        self.tiles = tuple(-(-n // _TILE) for n in self.out)  # along each axis
        self.images = max(1, _TILES // (self.tiles[0] * self.tiles[1]))
        self.padded = tuple(_TILE * n + _WINDOW - 1 for n in self.tiles)

    def _inside(self, padded: Array) -> Array:
        """The image within what its tiles reach."""
        (top, _), (left, _) = self.amounts
        height, width = self.image
        return padded[:, top : top + height, left : left + width]

    def _zeros(self, count: int, channels: int) -> Array:
        padded = scratch("padded", (count, *self.padded, channels), self.dtype)
        padded[...] = 0
        return padded

    def of_image(self, x: Float[Array, "images height width channels"]) -> Float[Array, "36 tiles channels"]:
        """B^T d B of all tiles."""
        count, channels = len(x), x.shape[-1]
        padded = self._zeros(count, channels)
        self._inside(padded)[...] = x
        image, row, column, entry = padded.strides
        shape = (_REACH, _REACH, count, *self.tiles, channels)
        overlapping = as_strided(padded, shape, (row, column, image, _TILE * row, _TILE * column, entry))
        tiles = scratch("tiles", shape, self.dtype)
        np.copyto(tiles, overlapping)
        return _product("of_image", _squared("B", self.dtype, transpose=True), tiles.reshape(36, -1)).reshape(
            36, -1, channels
        )

    def image_of(self, of_dd: Float[Array, "36 tiles channels"]) -> Float[Array, "images height width channels"]:
        """The sum of the dd, which overlap, without the padding."""
        channels = of_dd.shape[-1]
        dd = _product("tiles", _squared("B", self.dtype), of_dd.reshape(36, -1))
        dd = dd.reshape(_REACH, _REACH, -1, *self.tiles, channels)
        padded = self._zeros(dd.shape[2], channels)
        height, width = (_TILE * n for n in self.tiles)
        for i in range(_REACH):
            for j in range(_REACH):
                padded[:, i : i + height : _TILE, j : j + width : _TILE] += dd[i, j]
        return self._inside(padded)

    def of_gradient(self, dy: Float[Array, "images height width filters"]) -> Float[Array, "36 tiles filters"]:
        """A dy A^T of all tiles."""
        count, filters = len(dy), dy.shape[-1]
        shape = (count, self.tiles[0], _TILE, self.tiles[1], _TILE, filters)
        height, width = self.out
        if self.out != (shape[1] * _TILE, shape[3] * _TILE):
            whole = scratch("padded", (count, shape[1] * _TILE, shape[3] * _TILE, filters), self.dtype)
            whole[:, height:] = 0
            whole[:, :, width:] = 0
            whole[:, :height, :width] = dy
            dy = whole
        tiles = scratch("tiles", (_TILE, _TILE, count, *self.tiles, filters), self.dtype)
        np.copyto(tiles, dy.reshape(shape).transpose(2, 4, 0, 1, 3, 5))
        return _product("of_gradient", _squared("A", self.dtype), tiles.reshape(16, -1)).reshape(36, -1, filters)

    def write(self, products: Float[Array, "36 tiles filters"], y: Float[Array, "images height width filters"]) -> None:
        """Write A^T products A to where it belongs. What reaches beyond the border is left out."""
        height, width, filters = y.shape[1:]
        made = _product("tiles", _squared("A", self.dtype, transpose=True), products.reshape(36, -1))
        made = made.reshape(_TILE, _TILE, len(y), *self.tiles, filters)
        for i in range(_TILE):
            for j in range(_TILE):
                rows, columns = -(-(height - i) // _TILE), -(-(width - j) // _TILE)
                y[:, i::_TILE, j::_TILE] = made[i, j, :, :rows, :columns]
