"""NumPy's own BLAS routines, found in the library that it has loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from funcnet.shapes import Array

__all__ = ["COLUMN_MAJOR", "PLAIN", "TRANSPOSED", "Library", "Routines", "numpys_library", "routines"]

COLUMN_MAJOR, PLAIN, TRANSPOSED = 102, 111, 112
_MOST_CORES = 4  # for gemm_batch, measured with 2; with many, one core would add up many sums of parts along k
# Before https://github.com/OpenMathLib/OpenBLAS/pull/5980, OpenBLAS crashes if a product of a batch has 100^3
# multiplications or fewer. It has fast kernels for such small products on these processors.
_SMALL_SINCE, _SMALL_KERNELS = (0, 3, 34, 237), {"skylakex", "cooperlake", "sapphirerapids"}

_DECLARATIONS = """
    void {scal}({whole} n, {real} factor, void *x, {whole} step);
    void {axpy}({whole} n, {real} factor, void *x, {whole} step_x, void *y, {whole} step_y);
    void {ger}(int order, {whole} m, {whole} n, {real} factor, void *x, {whole} step_x, void *y, {whole} step_y,
               void *a, {whole} long_a);
    void {gemm}(int order, int left, int right, {whole} m, {whole} n, {whole} k, {real} factor,
                void *a, {whole} long_a, void *b, {whole} long_b, {real} beta, void *y, {whole} long_y);
    void {gemm_batch}(int order, int *left, int *right, {whole} *m, {whole} *n, {whole} *k, {real} *factor,
                      intptr_t *a, {whole} *long_a, intptr_t *b, {whole} *long_b, {real} *beta, intptr_t *y,
                      {whole} *long_y, {whole} groups, {whole} *group_size);
"""


@attrs.frozen
class Library:
    """A BLAS in memory.

    Attributes:
        path: its file.
        cores: the threads that it has.
        small: whether ``gemm_batch`` may have products of 100^3 multiplications or fewer, and is fast on them.
    """

    path: str
    cores: int
    small: bool


@attrs.frozen(eq=False)
class Routines:
    """NumPy's own routines for one dtype.

    Attributes:
        scal, axpy, ger, gemm: as BLAS calls them.
        gemm_batch: several products at once; None where OpenBLAS has none, or too many cores for it.
        ffi: the cffi object that makes numbers for C, of the types ``whole`` and ``real``.
        memory: ``memory(array, write=False)``: the address of a contiguous array. It raises BufferError with ``write``
            for a read-only array.
        library: the library that holds them.
    """

    scal: Callable[..., None]
    axpy: Callable[..., None]
    ger: Callable[..., None]
    gemm: Callable[..., None]
    gemm_batch: Callable[..., None] | None
    ffi: Any
    whole: str
    real: str
    memory: Callable[..., Any]
    library: Library


@functools.cache
def routines(char: str) -> Routines | None:
    """NumPy's own routines for float32 ("f") or float64 ("d"); None if they cannot be called or fail a test."""
    letter, real = {"f": ("s", "float"), "d": ("d", "double")}.get(char, (None, None))
    found = numpys_library()
    if letter is None or real is None or found is None:
        return None
    from cffi import FFI  # imported where it is needed

    ffi = FFI()
    library, from_buffer = ffi.dlopen(found.path), ffi.from_buffer

    def memory(array: Array, write: bool = False) -> Any:
        return from_buffer(array if array.flags.c_contiguous else array.T, require_writable=write)

    for pattern, whole in (
        ("scipy_cblas_{}64_", "int64_t"), ("cblas_{}64_", "int64_t"), ("scipy_cblas_{}", "int"), ("cblas_{}", "int"),
    ):  # fmt: skip
        names = {name: pattern.format(letter + name) for name in ("scal", "axpy", "ger", "gemm", "gemm_batch")}
        ffi.cdef(_DECLARATIONS.format(whole=whole, real=real, **names))
        scal, axpy, ger, gemm, gemm_batch = (getattr(library, name, None) for name in names.values())
        if scal and axpy and ger and gemm:
            if not 1 < found.cores <= _MOST_CORES:
                gemm_batch = None
            called = Routines(scal, axpy, ger, gemm, gemm_batch, ffi, whole, real, memory, found)
            return called if _right(called, char) else None
    return None


def numpys_library() -> Library | None:
    """The OpenBLAS that NumPy has loaded; None if NumPy uses another BLAS, or if more than one may be NumPy's."""
    from pathlib import Path  # imported where they are needed

    from threadpoolctl import threadpool_info

    pools = {pool["filepath"]: pool for pool in threadpool_info() if pool["internal_api"] == "openblas"}
    # It lies in ``numpy`` or ``numpy.libs``. The paths that threadpoolctl gives have their links resolved.
    home = Path(np.__file__).resolve().parent.parent
    inside = {path: Path(path).relative_to(home).parts[0] for path in pools if Path(path).is_relative_to(home)}
    own = [path for path, folder in inside.items() if folder.startswith("numpy")] or list(pools)
    if len(own) != 1:
        return None
    pool = pools[own[0]]
    version = tuple(int(part) for part in str(pool.get("version")).split(".") if part.isdecimal())
    small = version >= _SMALL_SINCE and str(pool.get("architecture")).lower() in _SMALL_KERNELS
    return Library(own[0], pool["num_threads"], small)


def _right(called: Routines, char: str) -> bool:
    """Whether the routines compute what they should, on whole numbers, which are not rounded."""
    a, b = np.arange(6, dtype=char).reshape(2, 3), np.arange(12, dtype=char).reshape(3, 4)
    y, x = np.ones((2, 4), char), np.arange(8, dtype=char).reshape(2, 4)
    wanted = 5 * (a @ b + 2 + 3 * x + np.outer(a[:, 1], b[2]))
    at_a, at_b, at_x, at_y, column, row = map(called.memory, (a, b, x, y, a[:, 1].copy(), b[2]))
    # The transpose of y <- 2 y + a b: row-major matrices, read as column-major ones.
    called.gemm(COLUMN_MAJOR, PLAIN, PLAIN, 4, 2, 3, 1.0, at_b, 4, at_a, 3, 2.0, at_y, 4)
    called.axpy(8, 3.0, at_x, 1, at_y, 1)
    called.ger(COLUMN_MAJOR, 4, 2, 1.0, row, 1, column, 1, at_y, 4)
    called.scal(8, 5.0, at_y, 1)
    return np.array_equal(y, wanted) and (called.gemm_batch is None or _right_in_batches(called, char))


def _right_in_batches(called: Routines, char: str) -> bool:
    assert called.gemm_batch is not None
    c, z = np.tile(np.eye(4, dtype=char), (32, 32)), np.ones((128, 128), char)
    new = called.ffi.new
    plain, at_c, at_z = (
        new("int[1]", [PLAIN]),
        *(new("intptr_t[1]", [int(called.ffi.cast("intptr_t", called.memory(array)))]) for array in (c, z)),
    )
    size, once = (new(f"{called.whole}[1]", [number]) for number in (128, 1))
    one, beta = (new(f"{called.real}[1]", [number]) for number in (1.0, 2.0))
    called.gemm_batch(
        COLUMN_MAJOR, plain, plain, size, size, size, one, at_c, size, at_c, size, beta, at_z, size, 1, once
    )
    return np.array_equal(z, 2 + 32 * c)
