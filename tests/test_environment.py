import platform

import numpy as np
import pytest

from funcnet.environment import environment


def test_what_a_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    told = dict(environment())
    assert list(told) == [
        "funcnet", "Python", "NumPy", "BLAS", "processor", "system", "BLAS settings in the environment",
    ]  # fmt: skip
    assert (told["NumPy"], told["Python"]) == (np.__version__, platform.python_version())
    assert "logical cores" in told["processor"]
    assert told["BLAS settings in the environment"] == "OPENBLAS_CORETYPE=Haswell, OMP_NUM_THREADS=3"


def test_the_blas_in_use_with_its_kernels_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = [
        {"user_api": "openmp", "internal_api": "openmp", "version": None, "num_threads": 9},
        {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "num_threads": 1, "architecture": "Zen"},
        {"user_api": "blas", "internal_api": "mkl", "version": "2025", "num_threads": 2},
    ]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools)
    assert dict(environment())["BLAS"] == "openblas 0.3, Zen kernels, 1 thread; mkl 2025, unknown kernels, 2 threads"


def test_a_blas_that_says_nothing_is_the_one_numpy_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_info", list)
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert dict(environment())["BLAS"] == f"{built['name']} {built['version']}"


def test_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert dict(environment())["BLAS settings in the environment"] == "none"


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC", "AMD EPYC (family 25, model 17)"),
        ("model name\t: ARMv8 Processor rev 1 (v8l)", "ARMv8 Processor rev 1 (v8l)"),
        ("Features : fp", platform.processor() or platform.machine()),
    ],
)
def test_the_processor_and_its_generation(lines: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    told = f"processor\t: 0\n{lines}\nflags\t\t: fpu\n\nprocessor\t: 1\nmodel name\t: another\n"
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, encoding: told)
    assert dict(environment())["processor"].startswith(f"{name}, ")
