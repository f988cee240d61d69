"""Batch normalization in chunks of rows, which all cores share.

A pass over the input finds the statistics: the mean and the squared deviations of each chunk, which are then put
together (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983, eq. 2.1). A second pass
normalises, over the input if it is owned. The vjp is two passes as well. NumPy's equation takes eight.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from funcnet.engines.numpy import blas
from funcnet.engines.numpy.chunks import by_rows
from funcnet.engines.numpy.cores import on_all_cores, scratch
from funcnet.engines.numpy.kernel import LayerKernel, bound
from funcnet.layer import AnyLayer
from funcnet.layers.norm import BatchNormParams, BatchNormResiduals
from funcnet.random import Key
from funcnet.shapes import Array, Float, expect

__all__ = ["batch_norm_kernel"]

_CHUNK = 1 << 14  # entries


def batch_norm_kernel(layer: AnyLayer) -> LayerKernel:
    """The kernel of batch normalization."""
    arguments = bound(layer.pure_forward)
    forward, predict, backward = (partial(function, *arguments) for function in (_forward, _predict, _backward))
    return LayerKernel("batch_norm", forward, predict, backward, y="own", prediction="own", dx="own")


def _rows(x: Array) -> Float[Array, "rows features"]:
    return x.reshape(-1, x.shape[-1])


def _forward(
    epsilon: float, params: BatchNormParams, x: Array, owned: bool, key: Key | None
) -> tuple[Array, BatchNormResiduals]:
    x = np.ascontiguousarray(x)
    mean, variance = _statistics(_rows(x))
    normalized, y = x if owned else np.empty_like(x), np.empty_like(x)
    vectors = (mean, np.sqrt(variance + epsilon), *_affine(params))
    by_rows(_normalize, *map(_rows, (x, normalized, y)), along=vectors)
    return y, BatchNormResiduals(normalized, mean, variance)


def _predict(epsilon: float, params: BatchNormParams, x: Array, owned: bool) -> Array:
    x = np.ascontiguousarray(x)
    y = x if owned else np.empty_like(x)
    vectors = (params.mean, np.sqrt(params.variance + epsilon), *_affine(params))
    by_rows(_normalize, *map(_rows, (x, y, y)), along=vectors)
    return y


def _affine(params: BatchNormParams) -> tuple[Array, ...]:
    return (params.shift,) if params.scale is None else (params.shift, params.scale)


def _normalize(
    x: Array, n: Array, y: Array, mean: Array, deviation: Array, shift: Array, scale: Array | None = None
) -> None:
    """Write n, and y = scale n + shift. y may be n itself."""
    np.subtract(x, mean, out=n)
    n /= deviation
    if scale is None:
        np.add(n, shift, out=y)
    else:
        np.multiply(n, scale, out=y)
        y += shift


def _backward(
    epsilon: float,
    params: BatchNormParams,
    residuals: BatchNormResiduals,
    dy: Array,
    owned: bool,
    accumulator: BatchNormParams | None,
    beta: float,
    need_dx: bool,
) -> Array | None:
    n = residuals.normalized
    expect("batch_norm", "dy", dy, n.shape, n.dtype)
    owned, dy = owned and dy.flags.c_contiguous, np.ascontiguousarray(dy)
    dshift, dscale = _sums(_rows(dy), _rows(n))
    if accumulator is not None:
        if accumulator.scale is not None:
            blas.axpby(accumulator.scale, beta, dscale)
        blas.axpby(accumulator.shift, beta, dshift)
    if not need_dx:
        return None
    dx = dy if owned else np.empty_like(dy)
    rows = _rows(n).shape[0]
    slope = 1 / np.sqrt(residuals.variance + epsilon)
    if params.scale is not None:
        slope *= params.scale

    def dx_of(dy: Array, n: Array, dx: Array, slope: Array, of_mean: Array, of_n: Array) -> None:
        by_n = n * of_n
        np.multiply(dy, slope, out=dx)
        dx -= by_n
        dx -= of_mean

    by_rows(dx_of, *map(_rows, (dy, n, dx)), along=(slope, slope * (dshift / rows), slope * (dscale / rows)))
    return dx


def _statistics(rows: Float[Array, "rows features"]) -> tuple[Float[Array, "features"], Float[Array, "features"]]:
    """Mean and variance of each feature.

    Each chunk's deviations are from its own mean. That mean is rounded, so they have a sum, which corrects both.
    """
    count, features = rows.shape
    height = max(1, _CHUNK // max(1, features))
    chunks = -(-count // height)
    means, sums, squares = np.empty((3, chunks, features), rows.dtype)

    def some(begin: int, end: int) -> None:
        for place in range(begin, end):
            chunk = rows[place * height : (place + 1) * height]
            means[place] = blas.sum_of_rows(chunk)
            means[place] /= len(chunk)
            off = np.subtract(chunk, means[place], out=scratch("off", chunk.shape, chunk.dtype))
            sums[place] = blas.sum_of_rows(off)
            off *= off
            squares[place] = blas.sum_of_rows(off)

    on_all_cores(some, chunks)
    sizes = np.minimum(height, count - height * np.arange(chunks))[:, None]
    rest = sums.astype(np.float64) / sizes
    of_chunks = means + rest
    mean = np.sum(sizes * of_chunks, axis=0) / count
    variance = np.sum(squares + sizes * ((of_chunks - mean) ** 2 - rest**2), axis=0) / count
    return mean.astype(rows.dtype), variance.astype(rows.dtype)


def _sums(dy: Float[Array, "rows features"], n: Float[Array, "rows features"]) -> tuple[Array, Array]:
    """The sums of dy and of dy n over the rows."""
    count, features = dy.shape
    height = max(1, _CHUNK // max(1, features))
    chunks = -(-count // height)
    of_dy, of_both = np.empty((2, chunks, features), dy.dtype)

    def some(begin: int, end: int) -> None:
        for place in range(begin, end):
            rows = slice(place * height, (place + 1) * height)
            of_dy[place] = blas.sum_of_rows(dy[rows])
            both = np.multiply(dy[rows], n[rows], out=scratch("off", dy[rows].shape, dy.dtype))
            of_both[place] = blas.sum_of_rows(both)

    on_all_cores(some, chunks)
    first, second = (np.sum(part, axis=0, dtype=np.float64).astype(dy.dtype) for part in (of_dy, of_both))
    return first, second
