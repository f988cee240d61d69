"""In-place sums and products, by NumPy's own BLAS and by NumPy alone, against fresh ones."""

import itertools
import math

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet import blas
from funcnet.shapes import ShapeError
from funcnet.tree import freeze

SIZES = st.sampled_from([1, 2, 3, 17, 64, 129])
DTYPES = st.sampled_from([np.float32, np.float64])


@pytest.fixture(params=["BLAS", "NumPy alone"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "BLAS":
        if blas._routines("f") is None:
            pytest.skip("NumPy's BLAS is none that can be called from here")
        monkeypatch.setattr(blas, "_SMALL", 0)
    else:
        monkeypatch.setattr(blas, "_routines", lambda char: None)
        monkeypatch.setattr(blas, "_BLOCK", 50)


def numbers(seed: int, shape: tuple[int, ...], dtype: type, order: str = "C") -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype, order=order)


def expect_close(found: np.ndarray, wanted: np.ndarray, terms: int) -> None:
    bound = terms * np.finfo(found.dtype).eps * max(1.0, np.abs(wanted).max(initial=0.0)) * 4
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


@given(m=SIZES, n=SIZES, dtype=DTYPES, factor=st.sampled_from([0.0, 1.0, -0.25, 3.7]))
def test_sums(m: int, n: int, dtype: type, factor: float) -> None:
    x, y = numbers(0, (m, n), dtype), numbers(1, (m, n), dtype)
    for change, wanted in (
        (lambda total: blas.scale(total, factor), factor * y),
        (lambda total: blas.add_scaled(total, factor, x), y + factor * x),
        (lambda total: blas.keep_and_add(total, factor, x), factor * y + x),
    ):
        total = y.copy()
        change(total)
        assert total.dtype == dtype
        expect_close(total, wanted, 3)


@given(
    m=SIZES, k=SIZES, n=SIZES, dtype=DTYPES, keep=st.sampled_from([0.0, 1.0, 0.9]),
    orders=st.tuples(st.sampled_from("CF"), st.sampled_from("CF"), st.sampled_from("CF")),
)  # fmt: skip
def test_products(m: int, k: int, n: int, dtype: type, keep: float, orders: tuple[str, str, str]) -> None:
    a, b = numbers(0, (m, k), dtype, orders[0]), numbers(1, (k, n), dtype, orders[1])
    y = numbers(2, (m, n), dtype, orders[2])
    total = y.copy(order="K")
    blas.add_product(total, keep, a, b)
    exact = a.astype(np.float64) @ b
    expect_close(total, keep * y + exact, k + 2)
    fresh = blas.product(a, b)
    assert fresh.dtype == dtype
    assert fresh.base is None
    expect_close(fresh, exact, k + 2)


@pytest.mark.parametrize(("m", "n"), [(3, 40), (40, 3), (129, 129), (1, 9), (300, 200)])
def test_the_order_of_a_fresh_product(m: int, n: int) -> None:
    """Its shorter axis runs along memory; of factors that lie row by row, the result does too."""
    a, b = np.ones((m, 5), np.float32), np.ones((5, n), np.float32)
    y = blas.product(a, np.asfortranarray(b))
    assert (y == 5).all()
    assert y.flags.f_contiguous if m <= n else y.flags.c_contiguous
    assert blas.product(a, b).flags.c_contiguous


def read(array: np.ndarray) -> tuple[int, int]:
    found = blas._operand(array)
    assert found is not None
    return found


def routines(dtype: type, cores: int, **others: object) -> blas._Routines:
    found = blas._routines(np.dtype(dtype).char)
    if found is None or found.gemm_batch is None:
        pytest.skip("NumPy's BLAS makes no batches of products")
    return attrs.evolve(found, cores=cores, **others)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_products_in_parts(dtype: type, cores: int) -> None:
    """A part a core, whichever matrix is the largest and however each lies in memory."""
    axes = set()
    for (m, k, n), (lie_a, lie_b) in itertools.product(
        itertools.permutations((97, 301, 613)), itertools.product("CF", repeat=2)
    ):
        a, b = numbers(0, (m, k), dtype, lie_a), numbers(1, (k, n), dtype, lie_b)
        y = numbers(2, (m, n), dtype, "F")
        in_parts = blas._in_parts(routines(dtype, cores), m, n, k, read(a), read(b))
        assert in_parts is not None
        axes.add(blas._slowest_axis(m, n, k, read(a)[0], read(b)[0]))
        exact = a.astype(np.float64) @ b
        for keep in (0.0, 0.9):
            total = y.copy(order="F")
            in_parts(total, keep, a, b)
            expect_close(total, keep * y + exact, k + 3)
    assert axes == {"m", "n", "k"}


@given(
    m=st.integers(1, 900), n=st.integers(1, 900), k=st.integers(1, 900), cores=st.integers(2, 4),
    orders=st.tuples(st.sampled_from("CF"), st.sampled_from("CF")),
)  # fmt: skip
def test_parts_are_large_and_make_up_the_whole(m: int, n: int, k: int, cores: int, orders: tuple[str, str]) -> None:
    """OpenBLAS crashes where a part has 100^3 multiplications or fewer."""
    calls = []
    spied = routines(np.float32, cores, gemm_batch=lambda *arguments: calls.append(arguments))
    a, b = (np.empty(shape, np.float32, order) for shape, order in zip(((m, k), (k, n)), orders, strict=True))
    y = np.zeros((m, n), np.float32, "F")
    in_parts = blas._in_parts(spied, m, n, k, read(a), read(b))
    if in_parts is None:
        return
    with np.errstate(all="ignore"):  # of the sums along k, none was made
        in_parts(y, 0.5, a, b)
    [arguments] = calls
    lengths = [np.array(list(lengths)) for lengths in arguments[3:6]]
    assert (lengths[0] * lengths[1] * lengths[2] > 100**3).all()
    assert (lengths[0] * lengths[1] * lengths[2]).sum() == m * n * k
    assert 2 <= len(lengths[0]) <= cores


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
    assert blas._slowest_axis(m, n, k, left, right) == axis


@pytest.mark.parametrize(("cores", "batches"), [(1, False), (2, True), (4, True), (5, False)])
def test_with_one_core_or_many_products_are_left_whole(
    cores: int, batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    routines(np.float32, 2)
    path, _ = blas._numpys_library()
    monkeypatch.undo()
    blas._routines.cache_clear()
    monkeypatch.setattr(blas, "_numpys_library", lambda: (path, cores))
    found = blas._routines("f")
    blas._routines.cache_clear()
    assert found is not None
    assert (found.gemm_batch is not None) == batches


def test_a_large_product_of_two_dtypes() -> None:
    a, b = numbers(0, (200, 200), np.float32), numbers(1, (200, 200), np.float64)
    np.testing.assert_allclose(blas.product(a, b), a.astype(np.float64) @ b, rtol=1e-12, atol=1e-12)
    large, small = np.full((200, 200), 3), np.full((200, 200), 2, np.int8)
    assert (blas.product(large, small) == 1200).all()


def test_a_product_too_small_for_parts_has_none() -> None:
    assert blas._in_parts(routines(np.float32, 2), 100, 100, 200, (111, 100), (111, 200)) is None
    assert blas._in_parts(routines(np.float32, 2, gemm_batch=None), 500, 500, 500, (111, 500), (111, 500)) is None


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_products_of_nothing(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    total = np.full((m, n), 2, np.float32)
    blas.add_product(total, 0.5, np.ones((m, k), np.float32), np.ones((k, n), np.float32))
    assert (total == 1).all()


def test_memory_of_any_order() -> None:
    """What is no matrix to BLAS is left to NumPy."""
    a, b = numbers(0, (8, 6), np.float32)[::2, ::2], numbers(1, (6, 10), np.float32)[::2]
    total = np.zeros((10, 4), np.float32).T
    blas.add_product(total, 1.0, a, b)
    expect_close(total, a @ b, 3)
    x = numbers(2, (10, 4), np.float32).T
    blas.add_scaled(total, 2.0, x)
    expect_close(total, a @ b + 2 * x, 4)
    blas.scale(total, 0.5)
    expect_close(total, (a @ b + 2 * x) / 2, 4)


def test_what_is_not_kept_leaves_nothing() -> None:
    ones = np.ones((3, 3), np.float32)
    for change in (lambda y: blas.keep_and_add(y, 0.0, ones), lambda y: blas.add_product(y, 0.0, ones, ones / 3)):
        y = np.full((3, 3), math.nan, np.float32)
        change(y)
        np.testing.assert_allclose(y, 1, rtol=1e-6)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("x", [np.ones((2, 1), np.float32), np.ones((2, 2))])
def test_what_does_not_fit_is_refused(x: np.ndarray) -> None:
    """And not broadcast, or read as numbers of another size."""
    y = np.ones((2, 2), np.float32)
    for add in (lambda: blas.add_scaled(y, 1.0, x), lambda: blas.keep_and_add(y, 0.5, x)):
        with pytest.raises(ShapeError, match="what is added"):
            add()
    assert (y == 1).all()


@pytest.mark.parametrize("size", [5, 200])
def test_what_is_read_only_is_not_written_to(size: int) -> None:
    """Not by BLAS either, which knows of addresses alone: sums, products, and products in parts."""
    x = numbers(0, (size, size), np.float32)
    y = freeze(x.copy())
    for change in (
        lambda: blas.scale(y, 2.0),
        lambda: blas.add_scaled(y, 2.0, x),
        lambda: blas.keep_and_add(y, 0.5, x),
        lambda: blas.add_product(y, 0.5, x, x),
    ):
        with pytest.raises((ValueError, BufferError), match=r"read-only|not writable"):
            change()
        assert (y == x).all()


def test_numbers_that_no_blas_has() -> None:
    y = np.ones(3, np.float16)
    blas.add_scaled(y, 2.0, y.copy())
    assert (y.dtype, y.tolist()) == (np.float16, [3, 3, 3])


def test_a_library_that_does_something_else_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    blas._routines.cache_clear()
    monkeypatch.setattr(blas, "_right", lambda routines, char: False)
    assert blas._routines("f") is None
    blas._routines.cache_clear()


@pytest.mark.parametrize(
    "pools",
    [
        [],
        [{"internal_api": "mkl", "filepath": "/x"}],
        [{"internal_api": "openblas", "filepath": p, "num_threads": 2} for p in ("/a", "/b")],
    ],
)
def test_without_one_library_to_call_there_is_none(
    pools: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools)
    assert blas._numpys_library() is None


def test_a_function_put_in_place_of_another_has_no_twin() -> None:
    first = blas.with_twin(lambda: 1, lambda: 2)
    assert blas.twin_of(first)() == 2
    assert blas.twin_of(lambda: 3) is None
