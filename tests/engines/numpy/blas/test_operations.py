"""In-place sums and products, by NumPy's own BLAS and by NumPy alone, against fresh ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.engines.numpy import blas
from funcnet.engines.numpy.blas import operations
from funcnet.shapes import ShapeError
from funcnet.tree import freeze

SIZES = st.sampled_from([1, 2, 3, 17, 64, 129])
DTYPES = st.sampled_from([np.float32, np.float64])


@pytest.fixture(params=["BLAS", "NumPy alone"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "BLAS":
        if operations.routines("f") is None:
            pytest.skip("NumPy's BLAS is none that can be called from here")
        monkeypatch.setattr(operations, "_SMALL", 0)
    else:
        monkeypatch.setattr(operations, "routines", lambda char: None)


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
        (lambda total: blas.axpy(total, factor, x), y + factor * x),
        (lambda total: blas.axpby(total, factor, x), factor * y + x),
    ):
        total = y.copy()
        change(total)
        assert total.dtype == dtype
        expect_close(total, wanted, 3)


@given(m=SIZES, n=SIZES, dtype=DTYPES, order=st.sampled_from("CF"), apart=st.sampled_from([1, 2]))
def test_rows(m: int, n: int, dtype: type, order: str, apart: int) -> None:
    """Of a row whose numbers lie apart, too."""
    y, row = numbers(0, (m, n), dtype, order), numbers(1, (apart * n,), dtype)[::apart]
    total = y.copy(order="K")
    blas.add_bias(total, row)
    np.testing.assert_array_equal(total, y + row)
    assert blas.sum_of_rows(y).dtype == dtype
    expect_close(blas.sum_of_rows(y), y.astype(np.float64).sum(axis=0), m)


@given(
    m=SIZES, k=SIZES, n=SIZES, dtype=DTYPES, keep=st.sampled_from([0.0, 1.0, 0.9]),
    orders=st.tuples(st.sampled_from("CF"), st.sampled_from("CF"), st.sampled_from("CF")),
)  # fmt: skip
def test_products(m: int, k: int, n: int, dtype: type, keep: float, orders: tuple[str, str, str]) -> None:
    a, b = numbers(0, (m, k), dtype, orders[0]), numbers(1, (k, n), dtype, orders[1])
    y = numbers(2, (m, n), dtype, orders[2])
    total = y.copy(order="K")
    blas.gemm(total, keep, a, b)
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


def test_a_large_product_of_two_dtypes() -> None:
    a, b = numbers(0, (200, 200), np.float32), numbers(1, (200, 200), np.float64)
    np.testing.assert_allclose(blas.product(a, b), a.astype(np.float64) @ b, rtol=1e-12, atol=1e-12)
    large, small = np.full((200, 200), 3), np.full((200, 200), 2, np.int8)
    assert (blas.product(large, small) == 1200).all()


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_products_of_nothing(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    total = np.full((m, n), 2, np.float32)
    blas.gemm(total, 0.5, np.ones((m, k), np.float32), np.ones((k, n), np.float32))
    assert (total == 1).all()


def test_memory_of_any_order() -> None:
    """What is no matrix to BLAS is left to NumPy."""
    a, b = numbers(0, (8, 6), np.float32)[::2, ::2], numbers(1, (6, 10), np.float32)[::2]
    total = np.zeros((10, 4), np.float32).T
    blas.gemm(total, 1.0, a, b)
    expect_close(total, a @ b, 3)
    x = numbers(2, (10, 4), np.float32).T
    blas.axpy(total, 2.0, x)
    expect_close(total, a @ b + 2 * x, 4)
    blas.scale(total, 0.5)
    expect_close(total, (a @ b + 2 * x) / 2, 4)


def test_what_is_not_kept_leaves_nothing() -> None:
    ones = np.ones((3, 3), np.float32)
    for change in (lambda y: blas.axpby(y, 0.0, ones), lambda y: blas.gemm(y, 0.0, ones, ones / 3)):
        y = np.full((3, 3), math.nan, np.float32)
        change(y)
        np.testing.assert_allclose(y, 1, rtol=1e-6)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("x", [np.ones((2, 1), np.float32), np.ones((2, 2))])
def test_what_does_not_fit_is_refused(x: np.ndarray) -> None:
    """And not broadcast, or read as numbers of another size."""
    y = np.ones((2, 2), np.float32)
    for add in (lambda: blas.axpy(y, 1.0, x), lambda: blas.axpby(y, 0.5, x)):
        with pytest.raises(ShapeError, match="what is added"):
            add()
    assert (y == 1).all()


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("row", [np.ones(199, np.float32), np.ones(200)])
def test_a_row_that_does_not_fit_is_refused(row: np.ndarray) -> None:
    """And not read beyond its end, or as numbers of another size."""
    if operations.routines("f") is None:
        pytest.skip("what NumPy takes, NumPy adds")
    y = np.ones((200, 200), np.float32)
    with pytest.raises(ShapeError, match="what is added"):
        blas.add_bias(y, row)
    assert (y == 1).all()


@pytest.mark.parametrize("size", [5, 200])
def test_what_is_read_only_is_not_written_to(size: int) -> None:
    """Not by BLAS either, which knows of addresses alone: sums, products, and products in parts."""
    x = numbers(0, (size, size), np.float32)
    y = freeze(x.copy())
    for change in (
        lambda: blas.scale(y, 2.0),
        lambda: blas.axpy(y, 2.0, x),
        lambda: blas.axpby(y, 0.5, x),
        lambda: blas.add_bias(y, x[0]),
        lambda: blas.gemm(y, 0.5, x, x),
    ):
        with pytest.raises((ValueError, BufferError), match=r"read-only|not writable"):
            change()
        assert (y == x).all()


def test_numbers_that_no_blas_has() -> None:
    y = np.ones(3, np.float16)
    blas.axpy(y, 2.0, y.copy())
    assert (y.dtype, y.tolist()) == (np.float16, [3, 3, 3])


@pytest.mark.parametrize("dtype", [">f4", "<f4"])
def test_the_bytes_of_another_machine_are_numbers_too(dtype: str) -> None:
    y, x = (numbers(seed, (40, 30), np.float32).astype(dtype) for seed in (0, 1))
    a, b = numbers(2, (40, 50), np.float32).astype(dtype), numbers(3, (50, 30), np.float32).astype(dtype)
    wanted = 2 * y + 3 * x + x[0]
    blas.scale(y, 2.0)
    blas.axpy(y, 3.0, x)
    blas.add_bias(y, x[0].copy())
    expect_close(y, wanted, 3)
    blas.gemm(y, 1.0, a, b)
    expect_close(y, wanted + a @ b, 50)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("m", "k", "other_k", "n", "dtype"), [(64, 200, 100, 64, "f"), (64, 200, 200, 30, "f"), (64, 200, 200, 64, "d")]
)
def test_a_product_that_does_not_fit_is_refused_before_anything_is_read(
    m: int, k: int, other_k: int, n: int, dtype: str
) -> None:
    y = np.zeros((64, 64), np.float32)
    with pytest.raises(ShapeError, match="a product in place: expected matrices"):
        blas.gemm(y, 0.0, np.ones((m, k), np.float32, order="F"), np.ones((other_k, n), dtype))
    assert not y.any()


@pytest.mark.parametrize("size", [151, 2 * (1 << 15) + 1])
def test_sums_reach_to_the_last_entry(size: int) -> None:
    y, x = np.zeros(size, np.float32), np.ones(size, np.float32)  # NumPy alone goes by rows: two of them and one entry
    blas.axpy(y, 2.0, x)
    assert (y == 2).all()
