"""Products in parts and in pieces, against NumPy's: by BLAS, and by NumPy in its place where BLAS makes no pieces."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.engines.numpy.blas import parts
from funcnet.engines.numpy.blas.parts import PART, in_parts, read
from funcnet.engines.numpy.blas.routines import PLAIN, Routines, routines

ORDERS = st.tuples(st.sampled_from("CF"), st.sampled_from("CF"))
LENGTHS = st.integers(1, 900)


def routines_of(dtype: type, cores: int, small: bool = False, **others: object) -> Routines:
    found = routines(np.dtype(dtype).char)
    if found is None or found.gemm_batch is None:
        pytest.skip("NumPy's BLAS makes no batches of products")
    return attrs.evolve(found, library=attrs.evolve(found.library, cores=cores, small=small), **others)


def by_numpy(called: Routines, sizes: list[tuple[int, int, int]]) -> Callable[..., None]:
    """What a batch does, entry after entry, for matrices read by columns; notes the sizes of each."""
    dtype = np.dtype(np.float32 if called.real == "float" else np.float64)

    def matrix(address: int, rows: int, columns: int, long: int) -> np.ndarray:
        length = dtype.itemsize * (long * (columns - 1) + rows)
        memory = called.ffi.buffer(called.ffi.cast("char *", address), length)
        return np.lib.stride_tricks.as_strided(
            np.frombuffer(memory, dtype), (rows, columns), (dtype.itemsize, long * dtype.itemsize)
        )

    def gemm_batch(order: int, *arguments: Any) -> None:
        *lists, groups, group_sizes = arguments
        assert list(group_sizes) == [1] * groups
        for i in range(groups):
            left, right, m, n, k, factor, a, long_a, b, long_b, keep, y, long_y = (values[i] for values in lists)
            sizes.append((m, n, k))
            at_a = matrix(a, m, k, long_a) if left == PLAIN else matrix(a, k, m, long_a).T
            at_b = matrix(b, k, n, long_b) if right == PLAIN else matrix(b, n, k, long_b).T
            total = matrix(y, m, n, long_y)
            assert factor == 1
            total[...] = at_a @ at_b + (keep * total if keep else 0)

    return gemm_batch


def numbers(seed: int, shape: tuple[int, ...], dtype: type, order: str = "C") -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype, order=order)


def readable(array: np.ndarray) -> tuple[int, int]:
    found = read(array)
    assert found is not None
    return found


def expect_product(called: Routines, m: int, n: int, k: int, orders: tuple[str, str], dtype: type) -> bool:
    """Whether the product is made in parts; if so, it is right."""
    a, b, y = (
        numbers(seed, shape, dtype, order)
        for seed, (shape, order) in enumerate(zip(((m, k), (k, n), (m, n)), (*orders, "F"), strict=True))
    )
    add = in_parts(called, m, n, k, readable(a), readable(b))
    if add is None:
        return False
    exact = a.astype(np.float64) @ b
    for keep in (0.0, 0.9):
        total = y.copy(order="F")
        add(total, keep, a, b)
        bound = 4 * (k + 3) * np.finfo(dtype).eps * max(1.0, np.abs(exact).max())
        np.testing.assert_allclose(total, keep * y + exact, rtol=0, atol=bound)
    return True


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_products_in_parts(dtype: type, cores: int) -> None:
    """A part a core, whichever matrix is largest and however each lies in memory; in pieces where BLAS can."""
    axes = set()
    called = routines_of(dtype, cores)
    real = routines(np.dtype(dtype).char)
    assert real is not None
    for (m, k, n), orders in itertools.product(
        [*itertools.permutations((97, 301, 613)), (128, 784, 256)], itertools.product("CF", repeat=2)
    ):
        assert expect_product(called, m, n, k, orders, dtype)
        assert expect_product(
            attrs.evolve(called, library=attrs.evolve(real.library, cores=cores)), m, n, k, orders, dtype
        )
        left, right = (PLAIN if order == "F" else 112 for order in orders)
        axes.add(parts._slowest_axis(m, n, k, left, right))
    assert axes == {0, 1, 2}


@given(m=LENGTHS, n=LENGTHS, k=LENGTHS, cores=st.integers(2, 4), orders=ORDERS)
def test_parts_are_large_and_make_up_the_whole(m: int, n: int, k: int, cores: int, orders: tuple[str, str]) -> None:
    """OpenBLAS crashes where a part has 100^3 multiplications or fewer."""
    made: list[tuple[int, int, int]] = []
    called = routines_of(np.float32, cores)
    if expect_product(attrs.evolve(called, gemm_batch=by_numpy(called, made)), m, n, k, orders, np.float32):
        once = made[: len(made) // 2]  # made twice, once for each ``keep``
        assert all(math.prod(sizes) >= PART > 100**3 for sizes in once)
        assert sum(map(math.prod, once)) == m * n * k
        assert 2 <= len(once) <= cores


@given(m=LENGTHS, n=LENGTHS, k=LENGTHS, cores=st.integers(2, 4), orders=ORDERS)
def test_pieces_are_small_and_make_up_the_whole(m: int, n: int, k: int, cores: int, orders: tuple[str, str]) -> None:
    """A part is cut no further, or into pieces that BLAS has kernels for."""
    made: list[tuple[int, int, int]] = []
    called = routines_of(np.float32, cores, small=True)
    if expect_product(attrs.evolve(called, gemm_batch=by_numpy(called, made)), m, n, k, orders, np.float32):
        once = made[: len(made) // 2]
        assert len(once) <= cores or all(math.prod(sizes) <= 100**3 for sizes in once)
        assert sum(map(math.prod, once)) == m * n * k


def test_pieces_of_one_part_are_taken_by_one_core() -> None:
    """Cores take them in turns, so every second piece lies in the same half of the weights, the second factor."""
    called = routines_of(np.float32, 2, small=True)
    boxes = parts._boxes(called, (128, 256, 784), (PLAIN, 128), (PLAIN, 784))
    assert len(boxes) > 8
    for core, (low, high) in enumerate(((0, 128), (128, 256))):
        for (_, j, _), (_, width, _), _ in boxes[core::2]:
            assert low <= j < j + width <= high


@pytest.mark.parametrize(
    ("m", "n", "k", "left", "pieces"),
    [
        (128, 256, 784, PLAIN, True),
        (128, 256, 784, 112, True),
        (512, 512, 32, PLAIN, False),  # too few products side by side
        (256, 784, 128, PLAIN, True),
        (256, 784, 128, 112, False),
        (32, 1024, 1024, PLAIN, False),  # too far apart
        (256, 900, 900, PLAIN, False),  # too large for the caches
    ],
)
def test_which_products_are_cut_into_pieces(m: int, n: int, k: int, left: int, pieces: bool) -> None:
    called = routines_of(np.float32, 2, small=True)
    boxes = parts._boxes(called, (m, n, k), (left, m if left == PLAIN else k), (PLAIN, k))
    assert (len(boxes) > 2) == pieces


@pytest.mark.parametrize(
    ("m", "n", "k", "left", "right", "axis"),
    [
        (40, 50, 3, 111, 112, "n"),  # the result, which lies by columns, is the largest
        (3, 50, 40, 111, 111, "n"),
        (3, 50, 40, 111, 112, "k"),
        (50, 3, 40, 111, 111, "k"),
        (50, 3, 40, 112, 111, "m"),
    ],
)
def test_each_part_of_the_largest_matrix_lies_in_one_piece(
    m: int, n: int, k: int, left: int, right: int, axis: str
) -> None:
    assert "mnk"[parts._slowest_axis(m, n, k, left, right)] == axis


def test_a_product_too_small_for_parts_has_none() -> None:
    assert in_parts(routines_of(np.float32, 2), 100, 100, 200, (PLAIN, 100), (PLAIN, 200)) is None
    assert in_parts(routines_of(np.float32, 2, gemm_batch=None), 500, 500, 500, (PLAIN, 500), (PLAIN, 500)) is None


@pytest.mark.parametrize("name", ["a", "b", "y"])
def test_arrays_that_move_are_found_again(name: str) -> None:
    """Where arrays lie is remembered for the next step, when they may lie elsewhere."""
    called = routines_of(np.float32, 2)
    a, b, y = (numbers(seed, (200, 200), np.float32, "F") for seed in range(3))
    add = in_parts(called, 200, 200, 200, readable(a), readable(b))
    assert add is not None
    for _ in range(3):
        moved = {"a": a, "b": b, "y": y}
        moved[name] = numbers(3, (200, 200), np.float32, "F")
        wanted = moved["y"] / 2 + moved["a"] @ moved["b"]
        add(moved["y"], 0.5, moved["a"], moved["b"])
        np.testing.assert_allclose(moved["y"], wanted, rtol=0, atol=1e-3)
        add(y, 0.0, a, b)
        np.testing.assert_allclose(y, a @ b, rtol=0, atol=1e-3)
