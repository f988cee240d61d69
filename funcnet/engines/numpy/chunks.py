"""Functions of the entries of large arrays, in chunks that fit a core's own cache.

    by_chunks(f, *arrays)                 f(*arrays), which writes to some of them, chunk by chunk
    by_rows(f, *arrays, along=vectors)    f(*arrays, *vectors) in chunks of whole rows, each with the same vectors
    all_of(number, x)                     a chunk filled with one number, for np.minimum and np.maximum
    same_layout(arrays)                   whether arrays are contiguous and in one order

A layer's outputs are larger than a core's own cache. So are the temporary arrays that NumPy makes to compute a function
of them. Each goes out to memory and comes back, and the system clears pages for it. The table has the time of a step
with chunks over one with whole arrays (AMD EPYC, Zen 4 with AVX2 alone, 2 cores, NumPy 2.5; for softplus and the loss,
``log1p_of`` is a part of the gain):

    784-256-10, batch 128     sigmoid 0.88    softplus 0.74    gelu 0.91    leaky_relu 0.97
    784-1024-10, batch 256    sigmoid 0.84    softplus 0.74    gelu 0.96    leaky_relu 0.85
    784-256-784, batch 128    binary cross-entropy 0.62

Two threads that shared the chunks of such a step took 0.99 to 1.07 times as long as one thread: they wait for each
other, and BLAS's threads wait for them. The arrays of images are much larger, and there all cores share the chunks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from funcnet.engines.numpy.cores import on_all_cores
from funcnet.shapes import Array, Float, Shape
from funcnet.tree import freeze

__all__ = ["all_of", "by_chunks", "by_rows", "same_layout"]

_SMALL = 1 << 12  # entries; fewer are computed without a loop
_CHUNK = 1 << 15  # so many that the loop costs nothing, and few enough that several chunks fit a cache
_LARGE = 1 << 20  # entries; in larger arrays, all cores share the chunks


def by_chunks(f: Callable[..., object], *arrays: Float[Array, "*shape"]) -> None:
    """Call f(*arrays) chunk by chunk. f writes to some of the arrays, entry by entry.

    All arrays have one shape. If they are small, or differ in layout, f is called once with the whole arrays.
    """
    size = arrays[0].size
    if size <= _SMALL or not same_layout(arrays):
        f(*arrays)
        return
    flat = [array.ravel(order="K") for array in arrays]

    def some(begin: int, end: int) -> None:
        for place in range(begin * _CHUNK, min(end * _CHUNK, size), _CHUNK):
            f(*[array[place : place + _CHUNK] for array in flat])

    chunks = -(-size // _CHUNK)
    if size > _LARGE:
        on_all_cores(some, chunks)
    else:
        some(0, chunks)


def by_rows(
    f: Callable[..., object], *arrays: Float[Array, "rows channels"], along: Sequence[Float[Array, "channels"]]
) -> None:
    """Call f(*arrays, *vectors) chunk by chunk. A chunk is some whole rows, and a vector is as long as a row.

    f is given flat arrays: the rows of the chunk one after the other, and each vector repeated for every row. NumPy is
    slow where it must broadcast a vector to many short rows. The arrays are C-contiguous.
    """
    rows, channels = arrays[0].shape
    height = max(1, _CHUNK // 2 // max(1, channels))
    repeated = [np.tile(vector, height) for vector in along]
    size = height * channels
    flat = [array.reshape(-1) for array in arrays]

    def some(begin: int, end: int) -> None:
        for place in range(begin * size, min(end * size, rows * channels), size):
            chunk = [array[place : place + size] for array in flat]
            f(*chunk, *(vector[: chunk[0].size] for vector in repeated))

    on_all_cores(some, -(-rows // height))


def all_of(number: float, x: Float[Array, "*shape"]) -> Float[Array, "..."]:
    """An array filled with one number, for ``np.maximum`` and ``np.minimum``, as long as x if x is a chunk.

    With a single number they take three times as long.
    """
    if x.ndim != 1 or x.size > _CHUNK:
        return _full((), number, x.dtype)
    return _full((_CHUNK,), number, x.dtype)[: x.size]


@functools.lru_cache(32)
def _full(shape: Shape, number: float, dtype: np.dtype) -> Array:
    return freeze(np.full(shape, number, dtype))


def same_layout(arrays: Sequence[Array]) -> bool:
    """Whether all arrays are contiguous and in the same order, row-major or column-major."""
    flags = [array.flags for array in arrays]
    return False not in [f.c_contiguous for f in flags] or False not in [f.f_contiguous for f in flags]
