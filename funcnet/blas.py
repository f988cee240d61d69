"""Products and sums of large arrays, by the BLAS that NumPy itself multiplies with.

    product(a, b)                  a b, fresh, in a fast order in memory
    scale(y, a)                    y <- a y, in place, as are the others
    add_scaled(y, a, x)            y <- y + a x
    keep_and_add(y, keep, x)       y <- keep y + x
    add_product(y, keep, a, b)     y <- keep y + a b

A step spends its time in three products and, after them, in sweeps over the parameters: their gradients, velocities
and penalties. NumPy's own sweeps run on one core and make a new array each, whose every page the system must first
clear, and ``np.matmul`` cannot add to what is there. BLAS does both, on all cores, in place.

It must be the very library that NumPy uses: a second one (SciPy's, say) has threads of its own, and those that still
spin after one library's work slow the other down. Three products and the update of 784-256-10, 3072-512-10 and
784-1024-10, over the bare products (Intel Xeon, 2 cores, OpenBLAS 0.3.31):

    plain NumPy                     1.63  2.09  1.51
    NumPy in place, in blocks       1.76  1.58  1.25
    SciPy's BLAS for the update     1.75  2.18  1.93
    this                            1.14  1.18  1.07

Where that library is none that can be called so, NumPy does the same in blocks that fit a cache.

The order in memory counts as much. OpenBLAS, which reads matrices column by column, shares a product between its
threads by the columns of the result if it has more of them than rows; each thread then works for itself. Otherwise it
shares the rows, and each thread waits for what the other has packed. So the shorter axis of a result should run along
memory, and a square result, or one whose order is given, is made in strips that are shorter than wide. A core then
also finds the weights that it reads, and those that it updates, where it left them: in its own cache. Only of two
factors that lie row by row, the result should too. What this takes, over the time of NumPy's own products (AMD EPYC,
Zen 4, OpenBLAS 0.3.31; with its 2 cores on one cache, and on two, as the host moved them):

    32 x 512 times 512 x 512       0.87  0.69        784 x 256 times 256 x 1024     0.90  0.71
    256 x 784 times 784 x 1024     1.00  0.85        512 x 32 times 32 x 512        0.73  0.28
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs
import numpy as np

from funcnet.shapes import Array, Float, Num, expect

__all__ = ["add_product", "add_scaled", "fast_order", "keep_and_add", "product", "scale", "twin_of", "with_twin"]

F = TypeVar("F", bound=Callable[..., Any])

_COLUMN_MAJOR, _PLAIN, _TRANSPOSED = 102, 111, 112
_BLOCK = 1 << 15  # entries: several arrays of that many fit a core's own cache
_SMALL = 1 << 12  # below, a call costs more than it saves
_STRIPS = 8  # of more and narrower ones, each has too little to do
_KERNEL = 16  # rows that a kernel makes at once


def scale(y: Float[Array, "*shape"], factor: float) -> None:
    """y <- factor y, in place; y is writable."""
    routines = _routines(y.dtype.char) if y.size > _SMALL and y.flags.forc else None
    if routines is not None:
        routines.scal(y.size, factor, y.ctypes.data, 1)
    else:
        y *= y.dtype.type(factor)


def add_scaled(y: Float[Array, "*shape"], factor: float, x: Float[Array, "*shape"]) -> None:
    """y <- y + factor x, in place.

    Both have the same shape and dtype; y is writable.

    Raises:
        ShapeError: where they do not.
    """
    expect("a sum in place", "what is added", x, y.shape, y.dtype)
    routines = _routines(y.dtype.char) if y.size > _SMALL and _alike(y, x) else None
    if routines is not None:
        routines.axpy(y.size, factor, x.ctypes.data, 1, y.ctypes.data, 1)
        return
    same = y.dtype.type(factor)
    if y.size <= _BLOCK or not _alike(y, x):
        y += same * x
        return
    flat_y, flat_x = y.ravel(order="K"), x.ravel(order="K")
    for begin in range(0, y.size, _BLOCK):
        flat_y[begin : begin + _BLOCK] += same * flat_x[begin : begin + _BLOCK]


def keep_and_add(y: Float[Array, "*shape"], keep: float, x: Float[Array, "*shape"]) -> None:
    """y <- keep y + x, in place; of ``keep`` 0, nothing of the old y is left, not even what is not a number."""
    expect("a sum in place", "what is added", x, y.shape, y.dtype)
    if keep == 0:
        y[...] = x
        return
    if y.size <= _SMALL:
        y *= y.dtype.type(keep)
        y += x
        return
    if keep != 1:
        scale(y, keep)
    add_scaled(y, 1.0, x)


def product(a: Num[Array, "m k"], b: Num[Array, "k n"], order: Literal["C", "F"] | None = None) -> Num[Array, "m n"]:
    """a b, fresh, in that order in memory, or in the one in which it is made fastest."""
    m, n = len(a), b.shape[1]
    if order is None:
        order = "C" if m == 1 or (a.flags.c_contiguous and b.flags.c_contiguous) else fast_order(m, n)
    if m != n or m * n <= _SMALL:
        # dot makes the same call of BLAS, half a microsecond sooner: it shows in batches of one.
        return a.dot(b) if order == "C" else np.matmul(a, b, order=order)
    y = np.empty((m, n), np.result_type(a, b), order)
    add_product(y, 0.0, a, b)
    return y


def fast_order(m: int, n: int) -> Literal["C", "F"]:
    """The order in memory in which a product m x n is made fastest, unless both factors lie row by row."""
    return "C" if n < m else "F"


def add_product(y: Float[Array, "m n"], keep: float, a: Float[Array, "m k"], b: Float[Array, "k n"]) -> None:
    """y <- keep y + a b, in place; of ``keep`` 0, nothing of the old y is left, not even what is not a number.

    All have the same dtype; y is writable.
    """
    if y.flags.c_contiguous and not y.flags.f_contiguous:
        y, a, b = y.T, b.T, a.T
    routines = _routines(y.dtype.char) if min(y.size, a.size, b.size) > 0 and y.flags.f_contiguous else None
    left, right = _operand(a), _operand(b)
    if routines is None or left is None or right is None:
        keep_and_add(y, keep, a @ b)
        return
    (m, n), k = y.shape, len(b)
    rows = _strip(m, n)
    at_y, at_a, at_b, stride = y.ctypes.data, a.ctypes.data, b.ctypes.data, a.strides[0]
    for begin in range(0, m, rows):
        routines.gemm(
            _COLUMN_MAJOR, left[0], right[0], min(rows, m - begin), n, k, 1.0, at_a + begin * stride, left[1],
            at_b, right[1], keep, at_y + begin * y.itemsize, m,
        )  # fmt: skip


def _strip(m: int, n: int) -> int:
    """How many rows of a product m x n that lies column by column are made at a time."""
    strips = m // n + 1
    return m if m * n <= _SMALL or strips > _STRIPS else math.ceil(m / (strips * _KERNEL)) * _KERNEL


def _alike(y: Array, x: Array) -> bool:
    """Whether both lie without gaps and in the same order."""
    return bool((y.flags.c_contiguous and x.flags.c_contiguous) or (y.flags.f_contiguous and x.flags.f_contiguous))


def _operand(array: Array) -> tuple[int, int] | None:
    """How BLAS, which reads by columns, reads a matrix: as it is, or transposed; and the length of what it reads."""
    if array.flags.f_contiguous:
        return _PLAIN, array.shape[0]
    return (_TRANSPOSED, array.shape[1]) if array.flags.c_contiguous else None


def with_twin(function: F, twin: Callable[..., Any]) -> F:
    """The function itself, with a twin that does the same in place, for whom a fresh result is too slow.

    It is bound to the function, not to the record that holds it: a function that takes this one's place in such a
    record (``attrs.evolve(penalty, grad=...)``) has no twin, so the two never disagree.
    """
    function.twin = twin  # type: ignore[attr-defined]
    return function


def twin_of(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The twin of a function, if it has one."""
    return getattr(function, "twin", None)


@attrs.frozen
class _Routines:
    scal: Callable[..., None]
    axpy: Callable[..., None]
    gemm: Callable[..., None]


@functools.cache
def _routines(char: str) -> _Routines | None:
    """NumPy's own routines for float32 ("f") or float64 ("d"); None where they cannot be called, or not trusted."""
    letter, real = {"f": ("s", ctypes.c_float), "d": ("d", ctypes.c_double)}.get(char, (None, None))
    library = _numpys_library()
    if letter is None or library is None:
        return None
    for pattern, whole in (
        ("scipy_cblas_{}64_", ctypes.c_int64), ("cblas_{}64_", ctypes.c_int64),
        ("scipy_cblas_{}", ctypes.c_int), ("cblas_{}", ctypes.c_int),
    ):  # fmt: skip
        names = (pattern.format(letter + name) for name in ("scal", "axpy", "gemm"))
        scal, axpy, gemm = (getattr(library, name, None) for name in names)
        if scal is not None and axpy is not None and gemm is not None:
            kind, address = ctypes.c_int, ctypes.c_void_p
            scal.argtypes = [whole, real, address, whole]
            axpy.argtypes = [whole, real, address, whole, address, whole]
            gemm.argtypes = [kind, kind, kind, *[whole] * 3, real, address, whole, address, whole, real, address, whole]
            scal.restype = axpy.restype = gemm.restype = None
            routines = _Routines(scal, axpy, gemm)
            return routines if _right(routines, char) else None
    return None


def _numpys_library() -> Any:
    """The OpenBLAS that NumPy has loaded; None where it uses another one, or more than one may be it."""
    from pathlib import Path  # imported where they are needed

    from threadpoolctl import threadpool_info

    paths = [pool["filepath"] for pool in threadpool_info() if pool["internal_api"] == "openblas"]
    home = Path(np.__file__).parent.parent
    own = [path for path in paths if Path(path).is_relative_to(home) and "numpy" in path] or paths
    return ctypes.CDLL(own[0]) if len(own) == 1 else None


def _right(routines: _Routines, char: str) -> bool:
    """Whether the routines do what they are taken for, on numbers without rounding."""
    a, b = np.arange(6, dtype=char).reshape(2, 3), np.arange(12, dtype=char).reshape(3, 4)
    y = np.ones((2, 4), char)
    # The transposed of y = 2 y + a b: what lies row by row, read by columns.
    routines.gemm(
        _COLUMN_MAJOR, _PLAIN, _PLAIN, 4, 2, 3, 1.0, b.ctypes.data, 4, a.ctypes.data, 3, 2.0, y.ctypes.data, 4
    )
    x = np.arange(8, dtype=char).reshape(2, 4)
    wanted = 5 * (a @ b + 2 + 3 * x)
    routines.axpy(8, 3.0, x.ctypes.data, 1, y.ctypes.data, 1)
    routines.scal(8, 5.0, y.ctypes.data, 1)
    return bool(np.array_equal(y, wanted))
