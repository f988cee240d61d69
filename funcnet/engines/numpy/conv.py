"""Convolution of images by matrix products of blocks of images, each core with images of its own.

The windows of a block are copied into the rows of a matrix, the patches. With the filters as a matrix W, whose column
is a filter,

    y = patches W + b        dW = sum over blocks of patches^T dy        dpatches = dy W^T

and dx is the sum of the dpatches, each where its window was. A block is so small that its patches stay in the core's
cache between the copy and the product. Filters of 3 x 3 need less arithmetic in another way: see ``winograd``.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcnet.engines.numpy import blas
from funcnet.engines.numpy.cores import blocks, on_all_cores, scratch, shares, total_of
from funcnet.engines.numpy.kernel import LayerKernel, base, bound
from funcnet.engines.numpy.winograd import pays, winograd_backward, winograd_forward
from funcnet.layer import AnyLayer
from funcnet.layers.conv import ConvParams, ConvResiduals, channels_of
from funcnet.layers.windows import Windows
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, expect

__all__ = ["conv_kernel"]

_PATCHES = 1 << 19  # entries of a block's patches: 2 MB in float32


def conv_kernel(layer: AnyLayer) -> LayerKernel | None:
    """The kernel of a convolution of images in one group; None for another."""
    sliding = bound(layer.pure_forward)[0]
    channels = layer.known.get("channels")
    if len(sliding.size) != 2 or base(channels) is not channels_of or bound(channels) != (1,):
        return None
    arguments = (sliding,)
    forward, predict, backward = (partial(function, *arguments) for function in (_forward, _predict, _backward))
    return LayerKernel("conv2d", forward, predict, backward, y="own", prediction="own", dx="own", divides=True)


def _forward(
    sliding: Windows, params: ConvParams, x: Array, owned: bool, key: Key | None
) -> tuple[Array, ConvResiduals]:
    return _predict(sliding, params, x, owned), ConvResiduals(x)


def _predict(sliding: Windows, params: ConvParams, x: Array, owned: bool) -> Array:
    out = sliding.out_image("conv2d", x.shape[1:])
    y = np.empty((len(x), *out, params.weight.shape[-1]), x.dtype)
    forward = winograd_forward if pays(sliding, x.shape, y.shape) else _by_patches
    forward(sliding, params.weight, params.bias, x, y)
    return y


def _backward(
    sliding: Windows,
    params: ConvParams,
    residuals: ConvResiduals,
    dy: Array,
    owned: bool,
    accumulator: ConvParams | None,
    beta: float,
    need_dx: bool,
) -> Array | None:
    x, weight = residuals.x, params.weight
    out = sliding.out_image("conv2d", x.shape[1:])
    expect("conv2d", "dy", dy, (len(x), *out, weight.shape[-1]), x.dtype)
    dy = np.ascontiguousarray(dy)
    if accumulator is not None and accumulator.bias is not None:
        blas.axpby(accumulator.bias, beta, blas.sum_of_rows(dy.reshape(-1, dy.shape[-1])))
    dx = np.empty(x.shape, x.dtype) if need_dx else None
    backward = winograd_backward if pays(sliding, x.shape, dy.shape) else _back_by_patches
    dweight = backward(sliding, weight, x, dy, dx, accumulator is not None)
    if accumulator is not None and dweight is not None:
        blas.axpby(accumulator.weight, beta, dweight)
    return dx


def _by_patches(sliding: Windows, weight: Array, bias: Array | None, x: Array, y: Array) -> None:
    matrix = np.ascontiguousarray(weight).reshape(-1, weight.shape[-1])

    def part(begin: int, end: int) -> None:
        own = _Blocks(sliding, x, y.shape[1:-1])
        for some in blocks(begin, end, own.images):
            rows = y[some].reshape(-1, y.shape[-1])
            np.matmul(own.patches(x[some]), matrix, out=rows)
            if bias is not None:
                rows += bias

    on_all_cores(part, len(x))


def _back_by_patches(
    sliding: Windows, weight: Array, x: Array, dy: Array, dx: Array | None, need_dweight: bool
) -> Array | None:
    matrix = np.ascontiguousarray(weight).reshape(-1, weight.shape[-1])
    sums = {begin: np.zeros(matrix.shape, x.dtype) for begin, _ in shares(len(x)) if need_dweight}

    def part(begin: int, end: int) -> None:
        own = _Blocks(sliding, x, dy.shape[1:-1])
        for some in blocks(begin, end, own.images):
            rows = dy[some].reshape(-1, dy.shape[-1])
            if need_dweight:
                blas.gemm(sums[begin], 1.0, own.patches(x[some]).T, rows, divide=False)
            if dx is not None:
                dx[some] = own.image_of(rows, matrix.T)

    on_all_cores(part, len(x))
    return total_of(sums.values(), matrix).reshape(weight.shape) if need_dweight else None


class _Blocks:
    """A core's blocks of images and their patches."""

    def __init__(self, sliding: Windows, x: Array, out: Shape) -> None:
        self.sliding, self.out, self.dtype = sliding, out, x.dtype
        self.image, self.channels = x.shape[1:-1], x.shape[-1]
        self.amounts = sliding.amounts(self.image)
        self.padded = tuple(n + low + high for n, (low, high) in zip(self.image, self.amounts, strict=True))
        self.entries = math.prod(sliding.size) * self.channels
        self.images = max(1, min(len(x), _PATCHES // (math.prod(out) * self.entries)))

    def patches(self, x: Float[Array, "images *image channels"]) -> Float[Array, "rows entries"]:
        """The windows of some images: a row each."""
        windows = self._windows(self._padded(x))
        if windows.flags.c_contiguous:  # windows of one entry, at each place
            return windows.reshape(-1, self.entries)
        patches = scratch("patches", windows.shape, self.dtype)
        np.copyto(patches, windows)
        return patches.reshape(-1, self.entries)

    def _padded(self, x: Array) -> Array:
        if self.padded == self.image:
            return np.ascontiguousarray(x)
        if self.sliding.padding == "reflect":
            return np.ascontiguousarray(self.sliding.padded(x))
        padded = scratch("padded", (len(x), *self.padded, self.channels), self.dtype)
        padded[...] = 0
        self.sliding.unpadded(padded, self.image)[...] = x  # a view, since nothing is reflected
        return padded

    def _windows(self, padded: Array) -> Array:
        """A view of all windows, (images, *out, *window, channels), which overlap."""
        image, *axes, channel = padded.strides
        steps = (s * stride for s, stride in zip(self.sliding.stride, axes, strict=True))
        within = (d * stride for d, stride in zip(self.sliding.dilation, axes, strict=True))
        shape = (len(padded), *self.out, *self.sliding.size, self.channels)
        return as_strided(padded, shape, (image, *steps, *within, channel), writeable=False)

    def image_of(
        self, rows: Float[Array, "rows filters"], matrix: Float[Array, "filters entries"]
    ) -> Float[Array, "images *image channels"]:
        """The sum of the gradients of the patches, ``rows @ matrix``, each where its window was."""
        dpatches = np.matmul(rows, matrix, out=scratch("patches", (len(rows), self.entries), self.dtype))
        windows = dpatches.reshape(-1, *self.out, *self.sliding.size, self.channels)
        total = scratch("padded", (len(windows), *self.padded, self.channels), self.dtype)
        total[...] = 0
        for row, column in self.sliding.places():
            cut = self.sliding.cut(total, (row, column), self.out)
            cut += windows[:, :, :, row, column]
        return self.sliding.unpadded(total, self.image)
