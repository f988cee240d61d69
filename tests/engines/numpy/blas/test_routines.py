"""The routines of NumPy's own BLAS, and when they are not to be called."""

import attrs
import numpy as np
import pytest

from funcnet.engines.numpy.blas import routines as routines_file
from funcnet.engines.numpy.blas.routines import numpys_library, routines


@pytest.mark.parametrize(("cores", "batches"), [(1, False), (2, True), (4, True), (5, False)])
def test_with_one_core_or_many_products_are_left_whole(
    cores: int, batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = routines("f")
    if here is None or here.gemm_batch is None:
        pytest.skip("NumPy's BLAS makes no batches of products")
    routines.cache_clear()
    monkeypatch.setattr(routines_file, "numpys_library", lambda: attrs.evolve(here.library, cores=cores))
    found = routines("f")
    routines.cache_clear()
    assert found is not None
    assert (found.gemm_batch is not None) == batches


@pytest.mark.parametrize("check", ["_right", "_right_in_batches"])
def test_a_library_that_does_something_else_is_not_trusted(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = routines("f")
    if here is None or here.gemm_batch is None:
        pytest.skip("NumPy's BLAS makes no batches of products")
    routines.cache_clear()
    monkeypatch.setattr(routines_file, check, lambda called, char: False)
    assert routines("f") is None
    routines.cache_clear()


@pytest.mark.parametrize("name", ["scal", "axpy", "ger", "gemm", "gemm_batch"])
@pytest.mark.parametrize("char", "fd")
def test_every_routine_is_tried(name: str, char: str) -> None:
    here = routines(char)
    if here is None or here.gemm_batch is None:
        pytest.skip("NumPy's BLAS makes no batches of products")
    assert routines_file._right(here, char)
    assert not routines_file._right(attrs.evolve(here, **{name: lambda *arguments: None}), char)


def test_numbers_that_no_blas_has() -> None:
    assert routines(np.dtype(np.float16).char) is None
    assert routines(np.dtype(np.int32).char) is None


OPENBLAS = {"internal_api": "openblas", "filepath": "/a", "num_threads": 2}


@pytest.mark.parametrize(
    "pools",
    [[], [{"internal_api": "mkl", "filepath": "/x"}], [OPENBLAS, OPENBLAS | {"filepath": "/b"}]],
)
def test_without_one_library_to_call_there_is_none(
    pools: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools)
    assert numpys_library() is None


@pytest.mark.parametrize(
    ("version", "architecture", "small"),
    [
        ("0.3.34.237.2", "SkylakeX", True),
        ("0.3.35", "SkylakeX", True),
        ("0.4", "Cooperlake", True),
        ("0.3.34.237.2", "Haswell", False),  # no kernels for small products
        ("0.3.34.106.0", "SkylakeX", False),  # crashes
        ("0.3.34", "SkylakeX", False),  # which of the two, it does not say
        ("0.3.31.dev", "SkylakeX", False),
        (None, None, False),
    ],
)
def test_small_products_in_batches(
    version: str | None, architecture: str | None, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = OPENBLAS | {"version": version, "architecture": architecture}
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [pool])
    library = numpys_library()
    assert library is not None
    assert (library.path, library.cores, library.small) == ("/a", 2, small)
