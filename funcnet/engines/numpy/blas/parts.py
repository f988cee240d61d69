"""A product shared between cores, by what lies where.

    y <- beta y + a b

A product of large matrices waits for numbers that move from one core's cache to another's. So the largest of its three
matrices is cut, as it lies in memory, into as many parts as there are cores, and each core makes its part by itself.
It then finds in its own cache that part of the weights which it read, and updated, before. OpenBLAS by itself has its
threads wait for each other and pack for each other. A step made so, over one whose products OpenBLAS shares out (AMD
EPYC, Zen 4, OpenBLAS 0.3.31; with its 2 cores on one cache, and on two, as the host moved them):

    784-256-10, batch 128          1.00  0.82        784-1024-10, batch 256         1.00  0.97
    3072-512-10, batch 128         0.99  0.80        6 layers of 512, batch 32      0.90  0.51

Where OpenBLAS has kernels for small products, which multiply matrices as they lie instead of packing them first, a
part is cut again, into pieces so small. Products in their places in a step, and the step, over those in whole parts
(OpenBLAS 0.3.34):

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

# The fewest multiplications of a part. To share fewer gains little, and 100^3 or fewer may crash: see routines.py.
PART = 1 << 20
_PIECE = 100**3  # the most multiplications that BLAS takes for a small product
_LARGEST, _FARTHEST, _SHORTEST, _SHORTEST_TRANSPOSED = 1 << 25, 1000, 128, 256

_M, _N, _K = range(3)
Operand: TypeAlias = tuple[int, int]
# A box of the products of all m rows by all n columns in all k terms: where it begins, how large it is, and which of
# the sums it adds to.
Box: TypeAlias = tuple[tuple[int, int, int], tuple[int, int, int], int]


def read(array: Array) -> Operand | None:
    """How BLAS, which reads by columns, reads a matrix: as it is, or transposed; and the length of what it reads."""
    if array.flags.f_contiguous:
        return PLAIN, array.shape[0]
    return (TRANSPOSED, array.shape[1]) if array.flags.c_contiguous else None


@functools.lru_cache(1 << 8)
def in_parts(
    routines: Routines, m: int, n: int, k: int, left: Operand, right: Operand
) -> Callable[[Array, float, Array, Array], None] | None:
    """``gemm(y, beta, a, b)`` for matrices of these sizes that BLAS reads so; None where they are too small.

    y lies by columns.
    """
    boxes = _boxes(routines, (m, n, k), left, right)
    if routines.gemm_batch is None or not boxes:
        return None
    gemm_batch, memory, ffi = routines.gemm_batch, routines.memory, routines.ffi
    count, sums = len(boxes), 1 + max(total for _, _, total in boxes)

    new, cast = ffi.new, ffi.cast
    ways, wholes, reals = (ffi.typeof(f"{kind}[{count}]") for kind in ("int", routines.whole, routines.real))
    address, addresses = ffi.typeof("intptr_t"), ffi.typeof(f"intptr_t[{3 * count}]")
    # What is the same every time, an entry a box.
    head = [new(ways, [way] * count) for way, _ in (left, right)]
    head += [new(wholes, [size[axis] for _, size, _ in boxes]) for axis in (_M, _N, _K)]
    long_a, long_b, long_y = (new(wholes, [long] * count) for long in (left[1], right[1], m))
    ones, one_each = new(reals, [1.0] * count), new(wholes, [1] * count)
    # Where boxes begin: in which of the arrays a, b, y and the other sums, and how many bytes into it.
    a_m, a_k = (1, left[1]) if left[0] == PLAIN else (left[1], 1)
    b_k, b_n = (1, right[1]) if right[0] == PLAIN else (right[1], 1)
    size = ffi.sizeof(routines.real)
    begins = [(0, (i * a_m + q * a_k) * size) for (i, _, q), _, _ in boxes]
    begins += [(1, (q * b_k + j * b_n) * size) for (_, j, q), _, _ in boxes]
    begins += [(2 + total, (i + j * m) * size) for (i, j, _), _, total in boxes]

    # The arrays of the next step mostly lie where those of this one did.
    @functools.lru_cache(1 << 6)
    def pointers(*starts: int) -> tuple[Any, Any, Any]:
        all_of_them = new(addresses, [starts[array] + begin for array, begin in begins])
        return all_of_them, all_of_them + count, all_of_them + 2 * count

    @functools.lru_cache(1 << 2)
    def betas(beta: float) -> Any:
        return new(reals, [0.0 if total else beta for _, _, total in boxes])

    def add(y: Array, beta: float, a: Array, b: Array) -> None:
        # Parts along k are sums of their own, and the first is y.
        others = [np.empty_like(y) for _ in range(sums - 1)]
        at = [memory(a), memory(b), *(memory(total, True) for total in (y, *others))]
        in_a, in_b, in_y = pointers(*(int(cast(address, start)) for start in at))
        gemm_batch(COLUMN_MAJOR, *head, ones, in_a, long_a, in_b, long_b, betas(beta), in_y, long_y, count, one_each)
        for other in others:
            y += other

    return add


def _boxes(routines: Routines, sizes: tuple[int, int, int], left: Operand, right: Operand) -> list[Box]:
    """What is made by one call each, in the order in which cores take them, in turns; none where one would do."""
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
    """The axis that cuts the largest of y, a and b into parts that each lie in one piece; y lies by columns."""
    if m * n >= max(m, n) * k:
        return _N
    if m < n:
        return _N if right == PLAIN else _K
    return _K if left == PLAIN else _M


def _widths(axis: int, length: int, cores: int) -> tuple[int, ...]:
    """The widths of parts: what kernels make at once (16 rows, 4 columns) stays together, sums are cut evenly."""
    unit = 16 if axis == _M and length >= 128 * cores else 4
    width = -(-length // (cores * unit)) * unit
    return (*[width] * (length // width), *([length % width] if length % width else []))


def _gains_by_pieces(m: int, n: int, k: int, shortest: int, left: Operand, right: Operand) -> bool:
    """Whether packing costs more than it saves: while all fits the caches, and sums are long and their terms near.

    ``shortest`` is the fewest terms of a sum in a part. In pieces, products with weights of 1,024 x 1,024 would take
    two to four times as long, and gradients of 512 x 512 weights by a batch of 32 half as long again.
    """
    near = max(left[1], right[1], m) <= _FARTHEST
    return m * n * k <= _LARGEST and near and shortest >= (_SHORTEST if left[0] == PLAIN else _SHORTEST_TRANSPOSED)


def _piece(m: int, n: int, k: int) -> tuple[int, int]:
    """The height and width of pieces of m x n, sums of k products, each about as high as wide and of one size."""
    area = _PIECE // k
    height = 16
    while 2 * height <= m and 4 * height**2 <= 2 * area:
        height *= 2
    width = min(n, area // height)
    return _evened(m, max(height, area // width), 16), _evened(n, width, 4)


def _evened(length: int, most: int, unit: int) -> int:
    """The width of pieces of at most so much, all of one width as far as whole units allow."""
    most = max(unit, most // unit * unit)
    count = -(-length // most)
    return min(length, -(-length // (count * unit)) * unit)
