"""``funcnet doctor``: which BLAS does the products here, whether it can, how fast, and what holds it back."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from funcnet.cli.terminal import complain, say
from funcnet.environment import PINS, environment

__all__ = ["add_to", "product_rate"]

_SIZE, _ROUNDS = 2048, 7
# Rates of one machine differ by so much from one minute to the next.
_NOISE = 0.1


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    doctor = commands.add_parser(
        "doctor",
        help="say which BLAS does the products here, how fast, and what holds it back",
        description="Training time is spent in products of matrices. Says which BLAS does them here, with which "
        "kernels and how many threads, what rate they reach, and whether a setting in the environment holds them back; "
        "and whether they can be made at all: some BLAS crash with the kernels for some processors.",
    )
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    for name, value in environment():
        say(f"{name + ':':<34} {value}")
    if not _survives():
        complain(
            "funcnet: error: products of a few hundred rows kill a process here: the BLAS is broken with these kernels "
            "(as in https://github.com/OpenMathLib/OpenBLAS/issues/6026). Unset OPENBLAS_CORETYPE if it is set, or "
            "install another version of NumPy."
        )
        return 1
    rate = product_rate()
    say(f"{f'a float32 product of {_SIZE} cubed:':<34} {rate:.0f} GFLOP/s")
    pinned = [name for name in PINS if name in os.environ]
    if pinned:
        say(_verdict(pinned, rate, _rate_without(pinned)))
    return 0


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


def _rate_without(pinned: list[str]) -> float | None:
    """The rate in a fresh process, since a BLAS reads its settings once; None where that is killed by its products."""
    free = {name: value for name, value in os.environ.items() if name not in pinned}
    code = "from funcnet.cli.doctor import product_rate; print(product_rate())"
    measured = subprocess.run([sys.executable, "-c", code], capture_output=True, env=free)
    return float(measured.stdout) if measured.returncode == 0 else None
