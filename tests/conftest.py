"""Annotations of the package are enforced in the tests: jaxtyping's shapes by beartype's checks."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import config, install_import_hook
from threadpoolctl import threadpool_limits

# Tests that run side by side have one BLAS thread each, and so do the processes that they start. A BLAS with more has
# threads that spin while they wait and take the other workers' cores: all tests take 1.3 times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    threadpool_limits(int(os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")), "blas")
    os.environ.pop("COLUMNS", None)  # xdist sets it, and what the commands say would be broken into lines

# Not those of the checker and of trees, which say little of shapes: a proof calls them so often that it takes twice the
# time. mypy checks them.
_PACKAGE = Path(__file__).parent.parent / "funcnet"
_MODULES = {path.stem for path in _PACKAGE.iterdir()} - {"__init__", "__main__", "check", "tree", "arrays"}
install_import_hook([f"funcnet.{name}" for name in sorted(_MODULES)], "typecheck.checked")

settings.register_profile("funcnet", deadline=None, max_examples=25, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("funcnet")

DATA = os.environ.get("FUNCNET_DATA")


@pytest.fixture
def data_folder() -> Path:
    """The folder with the real data sets; tests that need it skip without."""
    if not DATA:
        pytest.skip("the real data sets are not here: FUNCNET_DATA names no folder")
    return Path(DATA)


@pytest.fixture(autouse=True)
def _no_hidden_randomness() -> Iterator[None]:
    """No test, and so nothing it calls, may touch NumPy's global random state."""
    before = np.random.get_state()  # noqa: NPY002
    yield
    after = np.random.get_state()  # noqa: NPY002
    assert before[2:] == after[2:]
    assert np.array_equal(before[1], after[1])


@pytest.fixture
def as_users_run() -> Iterator[None]:
    """Annotations are not enforced, as outside the tests: what is wrong must be caught at the layers' doors."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
