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

What remains is the way of numbers from core to core, so a product is shared by what lies where: the largest of its
three matrices is cut, as it lies in memory, into as many parts as there are cores, and each core makes its part by
itself. It then finds in its own cache that part of the weights which it read, and updated, before. OpenBLAS by itself
has its threads wait for each other and pack for each other. A step made so, over one whose products OpenBLAS shares
out (AMD EPYC, Zen 4, OpenBLAS 0.3.31; with its 2 cores on one cache, and on two, as the host moved them):

    784-256-10, batch 128          1.00  0.82        784-1024-10, batch 256         1.00  0.97
    3072-512-10, batch 128         0.99  0.80        6 layers of 512, batch 32      0.90  0.51

The order in memory counts too. Kernels copy what they multiply into an order of their own, and do so fastest where the
shorter axis of a matrix runs along memory: 32 x 512 times 512 x 512 takes 0.69 times as long as row by row. Only a
product of two factors that lie row by row is made row by row.
"""

from __future__ import annotations

import functools
import itertools
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
# The fewest multiplications of a part. Where a batch has a product of 100^3 or fewer, OpenBLAS crashes, up to the
# version that has https://github.com/OpenMathLib/OpenBLAS/pull/5980; and to share fewer would gain little.
_PART = 1 << 20
_MOST_PARTS = 4  # measured with 2; with many, sums of parts along k, which one core adds up, would cost too much


def scale(y: Float[Array, "*shape"], factor: float) -> None:
    """y <- factor y, in place; y is writable."""
    routines = _routines(y.dtype.char) if y.size > _SMALL and y.flags.forc else None
    if routines is not None:
        routines.scal(y.size, factor, routines.memory(y, True), 1)
    else:
        y *= float(factor)


def add_scaled(y: Float[Array, "*shape"], factor: float, x: Float[Array, "*shape"]) -> None:
    """y <- y + factor x, in place.

    Both have the same shape and dtype; y is writable.

    Raises:
        ShapeError: where they do not.
    """
    expect("a sum in place", "what is added", x, y.shape, y.dtype)
    factor, size = float(factor), y.size  # a NumPy float64 would turn float32 into float64
    if size <= _SMALL or not _alike(y, x):
        y += factor * x
    elif (routines := _routines(y.dtype.char)) is not None:
        routines.axpy(size, factor, routines.memory(x), 1, routines.memory(y, True), 1)
    else:
        flat_y, flat_x = y.ravel(order="K"), x.ravel(order="K")
        for begin in range(0, size, _BLOCK):
            flat_y[begin : begin + _BLOCK] += factor * flat_x[begin : begin + _BLOCK]


def keep_and_add(y: Float[Array, "*shape"], keep: float, x: Float[Array, "*shape"]) -> None:
    """y <- keep y + x, in place; of ``keep`` 0, nothing of the old y is left, not even what is not a number."""
    expect("a sum in place", "what is added", x, y.shape, y.dtype)
    if keep == 0:
        y[...] = x
        return
    if y.size <= _SMALL:
        y *= float(keep)
        y += x
        return
    if keep != 1:
        scale(y, keep)
    add_scaled(y, 1.0, x)


def product(a: Num[Array, "m k"], b: Num[Array, "k n"], order: Literal["C", "F"] | None = None) -> Num[Array, "m n"]:
    """a b, fresh, in that order in memory, or in the one in which it is made fastest."""
    (m, k), n = a.shape, b.shape[1]
    if m == 1:  # in either order; dot makes the same call of BLAS as matmul, half a microsecond sooner
        return a.dot(b)
    if order is None:
        order = "C" if a.flags.c_contiguous and b.flags.c_contiguous else fast_order(m, n)
    if m * n * k < 2 * _PART or a.dtype != b.dtype:
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
    if y.size <= _SMALL:
        keep_and_add(y, keep, a.dot(b))
        return
    if y.flags.c_contiguous and not y.flags.f_contiguous:
        y, a, b = y.T, b.T, a.T
    routines = _routines(y.dtype.char) if len(b) > 0 and y.flags.f_contiguous else None
    left, right = _operand(a), _operand(b)
    if routines is None or left is None or right is None:
        keep_and_add(y, keep, a @ b)
        return
    (m, n), k = y.shape, len(b)
    in_parts = _in_parts(routines, m, n, k, left, right)
    if in_parts is not None:
        in_parts(y, keep, a, b)
        return
    at_a, at_b, at_y = routines.memory(a), routines.memory(b), routines.memory(y, True)
    routines.gemm(_COLUMN_MAJOR, left[0], right[0], m, n, k, 1.0, at_a, left[1], at_b, right[1], keep, at_y, m)


@functools.lru_cache(1 << 8)
def _in_parts(
    routines: _Routines, m: int, n: int, k: int, left: tuple[int, int], right: tuple[int, int]
) -> Callable[[Array, float, Array, Array], None] | None:
    """``add_product`` for matrices of these sizes that BLAS reads so, a part a core; None where they are too small."""
    axis = _slowest_axis(m, n, k, left[0], right[0])
    length = {"m": m, "n": n, "k": k}[axis]
    widths = _widths(length, routines.cores)
    if routines.gemm_batch is None or len(widths) == 1 or min(widths) * (m * n * k // length) < _PART:
        return None
    gemm_batch, memory, count = routines.gemm_batch, routines.memory, len(widths)
    new = routines.ffi.new
    kinds, wholes, reals, pointers = (
        routines.ffi.typeof(f"{name}[{count}]") for name in ("int", routines.whole, routines.real, "void *")
    )
    # What is the same every time, an entry a part.
    sizes = {"m": [m] * count, "n": [n] * count, "k": [k] * count} | {axis: widths}
    head = [new(kinds, [way] * count) for way, _ in (left, right)] + [new(wholes, sizes[name]) for name in "mnk"]
    long_a, long_b, long_y = (new(wholes, [long] * count) for long in (left[1], right[1], m))
    ones, one_each = new(reals, [1.0] * count), new(wholes, [1] * count)
    # Where the parts begin, in bytes: a step along m and along k in a, along k and along n in b.
    a_m, a_k = (1, left[1]) if left[0] == _PLAIN else (left[1], 1)
    b_k, b_n = (1, right[1]) if right[0] == _PLAIN else (right[1], 1)
    steps = {"m": (a_m, 0, 1), "n": (0, b_n, m), "k": (a_k, b_k, 0)}[axis]
    begins = [0, *itertools.accumulate(widths[:-1])]
    from_a, from_b, from_y = ([begin * step * routines.ffi.sizeof(routines.real) for begin in begins] for step in steps)

    def add(y: Array, keep: float, a: Array, b: Array) -> None:
        at_a, at_b, at_y = memory(a), memory(b), memory(y, True)
        others: list[Array] = []
        if axis == "k":  # Each part is a sum of its own, and the first is y.
            others = [np.empty_like(y) for _ in begins[1:]]
            keeps, to = [keep, *[0.0] * len(others)], [at_y, *map(memory, others)]
        else:
            keeps, to = [keep] * count, [at_y + begin for begin in from_y]
        gemm_batch(
            _COLUMN_MAJOR, *head, ones, new(pointers, [at_a + begin for begin in from_a]), long_a,
            new(pointers, [at_b + begin for begin in from_b]), long_b, new(reals, keeps), new(pointers, to), long_y,
            count, one_each,
        )  # fmt: skip
        for other in others:
            y += other

    return add


def _slowest_axis(m: int, n: int, k: int, left: int, right: int) -> Literal["m", "n", "k"]:
    """The axis that cuts the largest of y, a and b into parts that each lie in one piece; y lies by columns."""
    if m * n >= max(m, n) * k:
        return "n"
    if m < n:
        return "n" if right == _PLAIN else "k"
    return "k" if left == _PLAIN else "m"


def _widths(length: int, cores: int) -> tuple[int, ...]:
    """The widths of parts: what kernels make at once (16 rows, 4 columns) stays together."""
    unit = 16 if length >= 128 * cores else 4
    width = -(-length // (cores * unit)) * unit
    return (*[width] * (length // width), *([length % width] if length % width else []))


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


@attrs.frozen(eq=False)
class _Routines:
    """NumPy's own routines for one dtype.

    Attributes:
        scal, axpy, gemm: as BLAS calls them.
        gemm_batch: several products at once; None where OpenBLAS has none, or too many cores for it.
        ffi: what makes the numbers that C reads, in its types ``whole`` and ``real``.
        memory: ``memory(array, write=False)``: where an array without gaps lies; BufferError for one that is to be
            written to and is read-only.
        cores: the threads that BLAS has.
    """

    scal: Callable[..., None]
    axpy: Callable[..., None]
    gemm: Callable[..., None]
    gemm_batch: Callable[..., None] | None
    ffi: Any
    whole: str
    real: str
    memory: Callable[..., Any]
    cores: int


_DECLARATIONS = """
    void {scal}({whole} n, {real} factor, void *x, {whole} step);
    void {axpy}({whole} n, {real} factor, void *x, {whole} step_x, void *y, {whole} step_y);
    void {gemm}(int order, int left, int right, {whole} m, {whole} n, {whole} k, {real} factor,
                void *a, {whole} long_a, void *b, {whole} long_b, {real} keep, void *y, {whole} long_y);
    void {gemm_batch}(int order, int *left, int *right, {whole} *m, {whole} *n, {whole} *k, {real} *factor,
                      void **a, {whole} *long_a, void **b, {whole} *long_b, {real} *keep, void **y, {whole} *long_y,
                      {whole} groups, {whole} *group_size);
"""


@functools.cache
def _routines(char: str) -> _Routines | None:
    """NumPy's own routines for float32 ("f") or float64 ("d"); None where they cannot be called, or not trusted."""
    letter, real = {"f": ("s", "float"), "d": ("d", "double")}.get(char, (None, None))
    found = _numpys_library()
    if letter is None or real is None or found is None:
        return None
    from cffi import FFI  # imported where it is needed

    path, cores = found
    ffi = FFI()
    library, from_buffer = ffi.dlopen(path), ffi.from_buffer

    def memory(array: Array, write: bool = False) -> Any:
        return from_buffer(array if array.flags.c_contiguous else array.T, require_writable=write)

    for pattern, whole in (
        ("scipy_cblas_{}64_", "int64_t"), ("cblas_{}64_", "int64_t"), ("scipy_cblas_{}", "int"), ("cblas_{}", "int"),
    ):  # fmt: skip
        names = {name: pattern.format(letter + name) for name in ("scal", "axpy", "gemm", "gemm_batch")}
        ffi.cdef(_DECLARATIONS.format(whole=whole, real=real, **names))
        scal, axpy, gemm, gemm_batch = (getattr(library, name, None) for name in names.values())
        if scal is not None and axpy is not None and gemm is not None:
            if not 1 < cores <= _MOST_PARTS:
                gemm_batch = None
            routines = _Routines(scal, axpy, gemm, gemm_batch, ffi, whole, real, memory, cores)
            return routines if _right(routines, char) else None
    return None


def _numpys_library() -> tuple[str, int] | None:
    """The OpenBLAS that NumPy has loaded, and its threads; None where it uses another, or more than one may be it."""
    from pathlib import Path  # imported where they are needed

    from threadpoolctl import threadpool_info

    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}
    home = Path(np.__file__).parent.parent
    own = [path for path in pools if Path(path).is_relative_to(home) and "numpy" in path] or list(pools)
    return (own[0], pools[own[0]]) if len(own) == 1 else None


def _right(routines: _Routines, char: str) -> bool:
    """Whether the routines do what they are taken for, on numbers without rounding."""
    a, b = np.arange(6, dtype=char).reshape(2, 3), np.arange(12, dtype=char).reshape(3, 4)
    y, x = np.ones((2, 4), char), np.arange(8, dtype=char).reshape(2, 4)
    wanted = 5 * (a @ b + 2 + 3 * x)
    at_a, at_b, at_x, at_y = map(routines.memory, (a, b, x, y))
    # The transposed of y = 2 y + a b: what lies row by row, read by columns.
    routines.gemm(_COLUMN_MAJOR, _PLAIN, _PLAIN, 4, 2, 3, 1.0, at_b, 4, at_a, 3, 2.0, at_y, 4)
    routines.axpy(8, 3.0, at_x, 1, at_y, 1)
    routines.scal(8, 5.0, at_y, 1)
    c, z = np.tile(np.eye(4, dtype=char), (32, 32)).T, np.ones((128, 128), char).T
    in_parts = _in_parts(routines, *z.shape, 128, (_PLAIN, 128), (_PLAIN, 128))
    if in_parts is not None:
        in_parts(z, 2.0, c, c)
    return np.array_equal(y, wanted) and (in_parts is None or np.array_equal(z, 2 + 32 * c))
