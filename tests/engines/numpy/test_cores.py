"""Work divided among the cores: every part once, errors raised, BLAS's threads put back."""

import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from funcnet.engines.numpy import cores
from funcnet.engines.numpy.cores import on_all_cores, one_blas_thread, scratch, shares

THREE = pytest.mark.usefixtures("three_cores")


@THREE
@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_every_place_is_in_one_part(count: int) -> None:
    seen = np.zeros(count, int)

    def f(begin: int, end: int) -> None:
        seen[begin:end] += 1

    on_all_cores(f, count)
    assert seen.tolist() == [1] * count
    assert len(shares(count)) == min(3, count)
    assert all(begin < end for begin, end in shares(count))


@THREE
def test_parts_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=20)
    on_all_cores(lambda begin, end: together.wait(), 3)


@THREE
@pytest.mark.parametrize("where", [0, 2])
def test_an_error_is_raised_after_all_parts_have_ended(where: int) -> None:
    ended = []

    def f(begin: int, end: int) -> None:
        if begin == where:
            raise ValueError("part")
        ended.append(begin)

    with pytest.raises(ValueError, match="part"):
        on_all_cores(f, 3)
    assert sorted(ended) == [begin for begin in range(3) if begin != where]


@THREE
def test_floating_point_errors_are_ignored_in_every_part() -> None:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        on_all_cores(lambda begin, end: np.zeros(1) / np.zeros(1) if begin else None, 3)


@THREE
def test_the_memory_of_a_part_is_its_own() -> None:
    together = threading.Barrier(3, timeout=20)
    addresses = []

    def f(begin: int, end: int) -> None:
        addresses.append(scratch("test", (3, 5), np.dtype(np.float32)).ctypes.data)
        together.wait()

    on_all_cores(f, 3)
    assert len(set(addresses)) == 3


def test_memory_is_used_again_and_grows() -> None:
    small = scratch("test", (2, 3), np.dtype(np.float32))
    assert (small.shape, small.dtype) == ((2, 3), np.float32)
    assert scratch("test", (3, 2), np.dtype(np.float32)).ctypes.data == small.ctypes.data
    assert scratch("test", (50, 20), np.dtype(np.float64)).shape == (50, 20)


@pytest.mark.skipif(cores._BLAS._control is None, reason="NumPy's BLAS is not OpenBLAS")
def test_blas_has_one_thread_within_and_its_own_after() -> None:
    control = cores._BLAS._control
    before = control.get_num_threads()
    with one_blas_thread():
        assert control.get_num_threads() == 1
        with one_blas_thread():
            assert cores._BLAS.threads() == before
        assert control.get_num_threads() == 1
    assert control.get_num_threads() == before
    with pytest.raises(ValueError, match="x"), one_blas_thread():
        raise ValueError("x")
    assert control.get_num_threads() == before


FORKS = """
import os
import numpy as np
from funcnet.engines.numpy import cores
cores._BLAS.threads = lambda: 3
cores.on_all_cores(lambda begin, end: None, 3)
child = os.fork()
done = np.zeros(3)
cores.on_all_cores(lambda begin, end: done[begin:end].fill(1), 3)
if not child:
    os._exit(0 if done.all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """In a process without other libraries, whose threads a fork would not survive."""
    assert subprocess.run([sys.executable, "-c", FORKS], timeout=60).returncode == 0
