"""``funcnet doctor``: which BLAS computes the products here, whether it can, how fast, and what slows it down."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time

import numpy as np

from funcnet.cli.processors import affinity, cpu_quota
from funcnet.cli.terminal import complain, room, say
from funcnet.environment import PINS, environment

__all__ = ["add_to", "product_rate", "threads_rate"]

_SIZE, _ROUNDS = 2048, 7
# Eight threads compute products of this size, for so many seconds. A setting is advised if it gains this factor.
_THREADS, _SMALL, _SECONDS, _MUCH = 8, 256, 0.5, 2.0
_OPENBLAS = "OPENBLAS_NUM_THREADS"
# Rates of one machine differ by this much from one minute to the next.
_NOISE = 0.1


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    doctor = commands.add_parser(
        "doctor",
        help="say which BLAS computes the products here, how fast, and what slows it down",
        description="Training time is spent in products of matrices. This command says which BLAS computes them here, "
        "with which kernels and how many threads, and at what rate. It says whether a setting in the environment, a "
        "CPU quota or threads beside those of the BLAS slow them down. It also tries whether they can be computed at "
        "all: some BLAS crash with the kernels for some processors.",
    )
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    for name, value in environment():
        _tell(name, value)
    if not _survives():
        complain(
            "funcnet: error: products of a few hundred rows kill a process here: the BLAS is broken with these kernels "
            "(as in https://github.com/OpenMathLib/OpenBLAS/issues/6026). Unset OPENBLAS_CORETYPE if it is set, or "
            "install another version of NumPy."
        )
        return 1
    rate = product_rate()
    _tell(f"a float32 product of {_SIZE} cubed", f"{rate:.0f} GFLOP/s")
    pinned = [name for name in PINS if name in os.environ]
    if pinned:
        say(_verdict(pinned, rate, _rate_without(pinned)))
    library, threads = _blas_threads()
    limits = ((affinity(), "its CPU affinity"), (cpu_quota(), "the CPU quota of its control group"))
    known = [(processors, by) for processors, by in limits if processors is not None]
    if known and threads > min(known)[0]:
        say(_too_many_threads(library, threads, *min(known)))
    if library == "openblas" and threads > 1:
        say(_beside_threads(threads, threads_rate(), _measured("threads_rate", {**os.environ, _OPENBLAS: "1"})))
    return 0


def _tell(name: str, value: str) -> None:
    """A line, or two where one is too long for the terminal."""
    line, width = f"{name + ':':<34} {value}", room(sys.stdout)
    say(line if width is None or len(line) <= width else f"{name}:\n  {value}")


def _blas_threads() -> tuple[str, int]:
    """The BLAS and how many threads it uses; no name and 0 where that is not known."""
    from threadpoolctl import threadpool_info  # imported where it is needed

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(((str(p["internal_api"]), int(p["num_threads"])) for p in pools), key=lambda p: p[1], default=("", 0))


def _too_many_threads(library: str, threads: int, processors: float, by: str) -> str:
    setting = {"openblas": _OPENBLAS, "mkl": "MKL_NUM_THREADS"}.get(library, "OMP_NUM_THREADS")
    return (
        f"\nThe BLAS uses {threads} threads, but {by} gives this process {processors:g} "
        f"processor{'' if processors == 1 else 's'}. Threads in excess of them only wait for one another. Set "
        f"{setting}={max(1, int(processors))}."
    )


def _beside_threads(threads: int, rate: float, alone: float | None) -> str:
    """Whether OpenBLAS's own threads slow down products that several threads of Python compute at once."""
    text = (
        f"\n{_THREADS} threads that compute products of {_SMALL} cubed at once reach {rate:.1f} GFLOP/s with {threads} "
        f"threads of OpenBLAS"
    )
    if alone is None:
        return f"{text}. With {_OPENBLAS}=1, products kill a process here."
    text += f", and {alone:.1f} GFLOP/s with {_OPENBLAS}=1. "
    if alone > _MUCH * rate:
        return f"{text}Set {_OPENBLAS}=1 where several threads, or several processes on these processors, compute."
    return f"{text}OpenBLAS's own threads do no harm beside others."


def _survives() -> bool:
    """Whether products of either dtype can be made, tried by a process that may be lost."""
    code = "import numpy as np\nfor dtype in 'fd': np.ones((500, 500), dtype) @ np.ones((500, 10), dtype)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def _verdict(pinned: list[str], rate: float, free: float | None) -> str:
    names = " and ".join(pinned)
    is_, holds, makes, it = ("is", "holds", "makes", "it") if len(pinned) == 1 else ("are", "hold", "make", "them")
    if free is None:
        return f"\n{names} {is_} needed: without {it}, products kill a process here."
    if free > rate * (1 + _NOISE):
        return f"\n{names} {holds} the BLAS back: without {it}, products reach {free:.0f} GFLOP/s. Unset {names}."
    if rate > free * (1 + _NOISE):
        return f"\n{names} {makes} products faster: without {it}, they reach {free:.0f} GFLOP/s."
    return f"\n{names} {is_} set, and {makes} no difference: without {it}, products reach {free:.0f} GFLOP/s."


def product_rate() -> float:
    """Billions of floating-point operations a second, in a large product of float32 matrices."""
    a = np.ones((_SIZE, _SIZE), np.float32)
    result = a @ a
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        np.matmul(a, a, out=result)
        seconds.append(time.perf_counter() - began)
    return 2 * _SIZE**3 / statistics.median(seconds) / 1e9


def threads_rate() -> float:
    """Billions of floating-point operations a second, of several threads that compute products of small matrices."""
    products = []

    def compute() -> None:
        a = np.ones((_SMALL, _SMALL), np.float32)
        result = a @ a
        done, end = 0, time.perf_counter() + _SECONDS
        while time.perf_counter() < end:
            np.matmul(a, a, out=result)
            done += 1
        products.append(done)

    began = time.perf_counter()
    threads = [threading.Thread(target=compute) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 2 * _SMALL**3 * sum(products) / (time.perf_counter() - began) / 1e9


def _rate_without(pinned: list[str]) -> float | None:
    return _measured("product_rate", {name: value for name, value in os.environ.items() if name not in pinned})


def _measured(function: str, settings: dict[str, str]) -> float | None:
    """A rate in a fresh process, since a BLAS reads its settings once; None where that is killed by its products."""
    code = f"from funcnet.cli.doctor import {function}; print({function}())"
    settings = {**settings, "PYTHONIOENCODING": "ascii"}  # not the encoding of this process
    measured = subprocess.run([sys.executable, "-c", code], capture_output=True, env=settings)
    return float(measured.stdout) if measured.returncode == 0 else None
