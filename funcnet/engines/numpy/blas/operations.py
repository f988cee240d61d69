"""Products and sums of large arrays, by the BLAS library that NumPy itself uses.

    product(a, b)          a b, a new array, in a fast memory order
    sum_of_rows(x)         the sum over axis 0, a new array
    scale(y, a)            y <- a y, in place, as are the following
    axpy(y, a, x)          y <- y + a x
    add_bias(y, row)       y <- y + row, for every row of y
    axpby(y, beta, x)      y <- beta y + x
    gemm(y, beta, a, b)    y <- beta y + a b

A step spends its time in three matrix products and then in passes over the parameters: their gradients, velocities and
penalties. NumPy's passes run on one core, and each makes a new array, whose pages the system must first clear.
``np.matmul`` cannot add to an existing array. BLAS runs on all cores and works in place.

It must be the same library that NumPy uses. A second one (SciPy's, say) has threads of its own. Threads that still spin
after one library's work slow the other down. The table has the time of three products and the update of 784-256-10,
3072-512-10 and 784-1024-10, over that of the products alone (Intel Xeon, 2 cores, OpenBLAS 0.3.31):

    plain NumPy                     1.63  2.09  1.51
    NumPy in place, in blocks       1.76  1.58  1.25
    SciPy's BLAS for the update     1.75  2.18  1.93
    this                            1.14  1.18  1.07

If NumPy's library cannot be called in this way, NumPy does the same in chunks that fit a cache.

The memory order of a product counts too. BLAS's kernels copy their operands into an order of their own. They do so
fastest if the shorter axis of a matrix is contiguous: 32 x 512 times 512 x 512 then takes 0.69 times as long as in
row-major order. A product of two row-major factors is the exception: it is made row-major.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from funcnet.engines.numpy.blas.parts import PART, in_parts, read
from funcnet.engines.numpy.blas.routines import COLUMN_MAJOR, Routines, routines
from funcnet.engines.numpy.chunks import by_chunks, same_layout
from funcnet.shapes import Array, Float, Num, ShapeError, describe, expect
from funcnet.tree import freeze

__all__ = ["add_bias", "axpby", "axpy", "fast_order", "gemm", "product", "scale", "sum_of_rows"]

_SMALL = 1 << 12  # entries; for smaller arrays a BLAS call costs more than it saves


def scale(y: Float[Array, "*shape"], factor: float) -> None:
    """y <- factor y, in place; y is writable."""
    called = _routines(y) if y.size > _SMALL and y.flags.forc else None
    if called is not None:
        called.scal(y.size, factor, called.memory(y, True), 1)
    else:
        y *= float(factor)


def axpy(y: Float[Array, "*shape"], factor: float, x: Float[Array, "*shape"]) -> None:
    """y <- y + factor x, in place.

    Both have the same shape and dtype; y is writable.

    Raises:
        ShapeError: where they do not.
    """
    expect("a sum in place", "what is added", x, y.shape, y.dtype)
    factor, size = float(factor), y.size  # a NumPy float64 would turn float32 into float64
    if size <= _SMALL or not same_layout((y, x)):
        y += factor * x
    elif (called := _routines(y)) is not None:
        called.axpy(size, factor, called.memory(x), 1, called.memory(y, True), 1)
    else:
        by_chunks(lambda y, x: np.add(y, factor * x, out=y), y, x)


def add_bias(y: Float[Array, "m n"], row: Float[Array, "n"]) -> None:
    """y <- y + row, in place, for every row of y. The row has the length and dtype of y's rows; y is writable.

    BLAS does this on all cores, as an outer product with ones, in 0.3 of the time that NumPy takes for 1,024 x 256.

    Raises:
        ShapeError: for a row that does not fit, where BLAS is called: BLAS would not notice.
    """
    fast = y.size > _SMALL and y.flags.forc and row.flags.c_contiguous and row.dtype.isnative
    called = _routines(y) if fast else None
    if called is None:
        y += row if len(y) > 1 else row[None]  # in one shape, NumPy adds a row of 256 in a third of the time
        return
    m, n = y.shape
    expect("a sum in place", "what is added", row, (n,), y.dtype)
    ones, at_row, at_y = called.memory(_ones(m, y.dtype)), called.memory(row), called.memory(y, True)
    if y.flags.f_contiguous:
        called.ger(COLUMN_MAJOR, m, n, 1.0, ones, 1, at_row, 1, at_y, m)
    else:
        called.ger(COLUMN_MAJOR, n, m, 1.0, at_row, 1, ones, 1, at_y, n)


def sum_of_rows(x: Float[Array, "m n"]) -> Float[Array, "n"]:
    """The sum of the rows of x, a new array. BLAS takes a quarter of the time of NumPy's sum for 128 x 256."""
    if len(x) < 8:
        # NumPy is as fast for so few rows. Given 5 rows, OpenBLAS 0.3.31 reads memory beyond them. The result is right,
        # but if that memory holds NaN, NumPy warns of an invalid value.
        return np.asarray(np.add.reduce(x, axis=0))
    return _ones(len(x), x.dtype).dot(x)


@functools.lru_cache(8)
def _ones(length: int, dtype: np.dtype) -> Array:
    return freeze(np.ones(length, dtype))


def axpby(y: Float[Array, "*shape"], beta: float, x: Float[Array, "*shape"]) -> None:
    """y <- beta y + x, in place. With ``beta`` 0 the old y is ignored, even where it is NaN.

    Raises:
        ShapeError: where shapes or dtypes differ.
    """
    expect("a sum in place", "what is added", x, y.shape, y.dtype)
    if beta == 0:
        y[...] = x
        return
    if y.size <= _SMALL:
        y *= float(beta)
        y += x
        return
    if beta != 1:
        scale(y, beta)
    axpy(y, 1.0, x)


def product(a: Num[Array, "m k"], b: Num[Array, "k n"], order: Literal["C", "F"] | None = None) -> Num[Array, "m n"]:
    """a b, a new array in this memory order; if None, in the order in which the product is fastest."""
    if len(a) == 1:  # one row has both orders; dot makes the same BLAS call as matmul, half a microsecond sooner
        return a.dot(b)
    (m, k), n = a.shape, b.shape[1]
    if order is None:
        order = "C" if a.flags.c_contiguous and b.flags.c_contiguous else fast_order(m, n)
    if m * n * k < 2 * PART or a.dtype != b.dtype or not a.dtype.isnative:
        return a.dot(b) if order == "C" else np.matmul(a, b, order=order)
    y = np.empty((m, n), np.result_type(a, b), order)
    gemm(y, 0.0, a, b)
    return y


def fast_order(m: int, n: int) -> Literal["C", "F"]:
    """The memory order in which an m x n product is fastest, unless both factors are row-major."""
    return "C" if n < m else "F"


def gemm(
    y: Float[Array, "m n"], beta: float, a: Float[Array, "m k"], b: Float[Array, "k n"], *, divide: bool = True
) -> None:
    """y <- beta y + a b, in place. With ``beta`` 0 the old y is ignored, even where it is NaN.

    All have the same dtype; y is writable. Without ``divide``, the product is one call of BLAS.

    Raises:
        ShapeError: where shapes or dtypes do not fit. BLAS would not notice.
    """
    if y.shape != (len(a), b.shape[1]) or a.shape[1] != len(b) or not y.dtype == a.dtype == b.dtype:
        given = ", ".join(f"{array.dtype} of shape {describe(array.shape)}" for array in (y, a, b))
        raise ShapeError("a product in place", "matrices (m, n), (m, k) and (k, n) of one dtype", given)
    if y.size <= _SMALL:
        axpby(y, beta, a.dot(b).astype(y.dtype, copy=False))
        return
    if y.flags.c_contiguous and not y.flags.f_contiguous:
        y, a, b = y.T, b.T, a.T
    called = _routines(y) if len(b) > 0 and y.flags.f_contiguous else None
    left, right = read(a), read(b)
    if called is None or left is None or right is None:
        axpby(y, beta, (a @ b).astype(y.dtype, copy=False))  # NumPy's product has this machine's byte order
        return
    (m, n), k = y.shape, len(b)
    make = in_parts(called, m, n, k, left, right) if divide else None
    if make is not None:
        make(y, beta, a, b)
        return
    at_a, at_b, at_y = called.memory(a), called.memory(b), called.memory(y, True)
    called.gemm(COLUMN_MAJOR, left[0], right[0], m, n, k, 1.0, at_a, left[1], at_b, right[1], beta, at_y, m)


def _routines(y: Array) -> Routines | None:
    """NumPy's own routines for the dtype of y; None if y has another byte order than this machine."""
    return routines(y.dtype.char) if y.dtype.isnative else None
