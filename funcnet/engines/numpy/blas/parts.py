"""One matrix product divided among the cores, by the memory layout of its matrices.

    y <- beta y + a b

A product of large matrices waits for data that move from one core's cache to another's. So the largest of its three
matrices is cut into contiguous parts, one for each core, and each core computes its part by itself. A core then finds
in its own cache the part of the weights that it read and updated before. Without this, OpenBLAS's threads wait for each
other and pack operands for each other. The table has the time of a step so divided, over one whose products OpenBLAS
divides (AMD EPYC, Zen 4, OpenBLAS 0.3.31; with its 2 cores on one cache, and on two, as the host moved them):

    784-256-10, batch 128          1.00  0.82        784-1024-10, batch 256         1.00  0.97
    3072-512-10, batch 128         0.99  0.80        6 layers of 512, batch 32      0.90  0.51

On some processors OpenBLAS has kernels for small products, which do not pack the matrices first. There a part is cut
again, into pieces small enough for these kernels. The table has the time of products at their places in a step, and of
the step, over those in whole parts (OpenBLAS 0.3.34):

    128 x 784 x 256    forward 0.90, weights 0.92          784-256-10, batch 128        0.91
    32 x 512 x 512     forward 0.82, inputs 0.82           6 layers of 512, batch 32    0.90
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from funcnet.engines.numpy.blas.routines import COLUMN_MAJOR, PLAIN, TRANSPOSED, Routines
from funcnet.shapes import Array

__all__ = ["PART", "in_parts", "read"]

# The fewest multiplications of a part. Smaller parts gain little, and 100^3 or fewer may crash: see routines.py.
PART = 1 << 20
_PIECE = 100**3  # the most multiplications of a product that OpenBLAS takes as small
_LARGEST, _FARTHEST, _SHORTEST, _SHORTEST_TRANSPOSED = 1 << 25, 1000, 128, 256

_M, _N, _K = range(3)
Operand: TypeAlias = tuple[int, int]
# A box of the m x n x k multiplications, made by one call: where it begins, its size, and the number of the array that
# it is added to (0 is y).
Box: TypeAlias = tuple[tuple[int, int, int], tuple[int, int, int], int]


def read(array: Array) -> Operand | None:
    """How column-major BLAS reads a matrix: as it is or transposed, and its leading dimension. None if it has gaps."""
    if array.flags.f_contiguous:
        return PLAIN, array.shape[0]
    return (TRANSPOSED, array.shape[1]) if array.flags.c_contiguous else None


@functools.lru_cache(1 << 8)
def in_parts(
    routines: Routines, m: int, n: int, k: int, left: Operand, right: Operand
) -> Callable[[Array, float, Array, Array], None] | None:
    """``gemm(y, beta, a, b)`` for matrices of these sizes and layouts; None if they are too small to divide.

    y is column-major.
    """
    boxes = _boxes(routines, (m, n, k), left, right)
    if routines.gemm_batch is None or not boxes:
        return None
    gemm_batch, memory, ffi = routines.gemm_batch, routines.memory, routines.ffi
    count, sums = len(boxes), 1 + max(total for _, _, total in boxes)

    new, cast = ffi.new, ffi.cast
    ways, wholes, reals = (ffi.typeof(f"{kind}[{count}]") for kind in ("int", routines.whole, routines.real))
    address, addresses = ffi.typeof("intptr_t"), ffi.typeof(f"intptr_t[{3 * count}]")
    # The arguments that are the same in every call, with an entry for each box.
    head = [new(ways, [way] * count) for way, _ in (left, right)]
    head += [new(wholes, [size[axis] for _, size, _ in boxes]) for axis in (_M, _N, _K)]
    long_a, long_b, long_y = (new(wholes, [long] * count) for long in (left[1], right[1], m))
    ones, one_each = new(reals, [1.0] * count), new(wholes, [1] * count)
    # Where each box begins: in which array (a, b, y or another sum), and at which byte of it.
    a_m, a_k = (1, left[1]) if left[0] == PLAIN else (left[1], 1)
    b_k, b_n = (1, right[1]) if right[0] == PLAIN else (right[1], 1)
    size = ffi.sizeof(routines.real)
    begins = [(0, (i * a_m + q * a_k) * size) for (i, _, q), _, _ in boxes]
    begins += [(1, (q * b_k + j * b_n) * size) for (_, j, q), _, _ in boxes]
    begins += [(2 + total, (i + j * m) * size) for (i, j, _), _, total in boxes]

    # The arrays of the next step mostly have the addresses of this step's.
    @functools.lru_cache(1 << 6)
    def pointers(*starts: int) -> tuple[Any, Any, Any]:
        all_of_them = new(addresses, [starts[array] + begin for array, begin in begins])
        return all_of_them, all_of_them + count, all_of_them + 2 * count

    @functools.lru_cache(1 << 2)
    def betas(beta: float) -> Any:
        return new(reals, [0.0 if total else beta for _, _, total in boxes])

    def add(y: Array, beta: float, a: Array, b: Array) -> None:
        # Each part along k has a sum of its own. The first is y; the others are added to it.
        others = [np.empty_like(y) for _ in range(sums - 1)]
        at = [memory(a), memory(b), *(memory(total, True) for total in (y, *others))]
        in_a, in_b, in_y = pointers(*(int(cast(address, start)) for start in at))
        gemm_batch(COLUMN_MAJOR, *head, ones, in_a, long_a, in_b, long_b, betas(beta), in_y, long_y, count, one_each)
        for other in others:
            y += other

    return add


def _boxes(routines: Routines, sizes: tuple[int, int, int], left: Operand, right: Operand) -> list[Box]:
    """The boxes, in the order in which the cores take them, in turns. Empty if one call is enough."""
    axis = _slowest_axis(*sizes, left[0], right[0])
    widths = _widths(axis, sizes[axis], routines.library.cores)
    if len(widths) == 1 or min(widths) * (math.prod(sizes) // sizes[axis]) < PART:
        return []
    shortest = min(widths) if axis == _K else sizes[_K]
    in_pieces = routines.library.small and _gains_by_pieces(*sizes, shortest, left, right)
    parts = []
    for core, (begin, width) in enumerate(zip(itertools.accumulate(widths[:-1], initial=0), widths, strict=True)):
        where, size = [0, 0, 0], list(sizes)
        where[axis], size[axis] = begin, width
        height, width = _piece(*size) if in_pieces else (size[_M], size[_N])
        last_m, last_n = where[_M] + size[_M], where[_N] + size[_N]
        total = core if axis == _K else 0
        parts.append(
            [
                ((i, j, where[_K]), (min(height, last_m - i), min(width, last_n - j), size[_K]), total)
                for j in range(where[_N], last_n, width)
                for i in range(where[_M], last_m, height)
            ]
        )
    return [box for turn in itertools.zip_longest(*parts) for box in turn if box is not None]


def _slowest_axis(m: int, n: int, k: int, left: int, right: int) -> int:
    """The axis along which the largest of y, a and b is cut into contiguous parts. y is column-major."""
    if m * n >= max(m, n) * k:
        return _N
    if m < n:
        return _N if right == PLAIN else _K
    return _K if left == PLAIN else _M


def _widths(axis: int, length: int, cores: int) -> tuple[int, ...]:
    """The widths of the parts, in multiples of what BLAS kernels compute at once: 16 rows or 4 columns."""
    unit = 16 if axis == _M and length >= 128 * cores else 4
    width = -(-length // (cores * unit)) * unit
    return (*[width] * (length // width), *([length % width] if length % width else []))


def _gains_by_pieces(m: int, n: int, k: int, shortest: int, left: Operand, right: Operand) -> bool:
    """Whether pieces are faster: all matrices fit the caches, and sums are long, with terms near each other in memory.

    ``shortest`` is the fewest terms of a sum in a part. Elsewhere packing saves more than it costs: in pieces, products
    with weights of 1,024 x 1,024 would take two to four times as long, and gradients of 512 x 512 weights by a batch of
    32 would take 1.5 times as long.
    """
    near = max(left[1], right[1], m) <= _FARTHEST
    return m * n * k <= _LARGEST and near and shortest >= (_SHORTEST if left[0] == PLAIN else _SHORTEST_TRANSPOSED)


def _piece(m: int, n: int, k: int) -> tuple[int, int]:
    """The height and width of pieces of an m x n product with sums of k terms. They are nearly square and equal."""
    area = _PIECE // k
    height = 16
    while 2 * height <= m and 4 * height**2 <= 2 * area:
        height *= 2
    width = min(n, area // height)
    return _evened(m, max(height, area // width), 16), _evened(n, width, 4)


def _evened(length: int, most: int, unit: int) -> int:
    """The width of pieces of at most ``most``, as equal as multiples of ``unit`` allow."""
    most = max(unit, most // unit * unit)
    count = -(-length // most)
    return min(length, -(-length // (count * unit)) * unit)
