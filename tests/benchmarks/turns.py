"""Processes that take turns: what slows the machine down for a while slows all of them."""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import attrs
from tqdm import tqdm
from workloads import Workload

# Seconds, in which the thread pools of the last process fall asleep: some spin for a fifth of a second.
_SETTLE = 0.3
# Whose funcnet is measured, unless another is named.
CHECKOUT = Path(__file__).resolve().parents[2]
# What pins a BLAS to kernels that it would not choose; nobody's users have it.
_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@attrs.frozen
class Point:
    """What a process does: a peer's work on a workload, with the funcnet of a checkout."""

    peer: str
    workload: Workload
    checkout: Path = CHECKOUT


@attrs.frozen
class Timing:
    """One process's rounds.

    Attributes:
        point: what it did.
        version: what the peer is.
        pools: the thread pools of its process, with their kernels.
        loss: of the last batch of the first epoch.
        peak: the most memory the process held, in bytes.
        seconds: those of the rounds, by their kind.
    """

    point: Point
    version: str
    pools: str
    loss: float
    peak: int
    seconds: dict[str, tuple[float, ...]]


def round_count(text: str) -> int:
    """How many rounds, as a command's argument."""
    count = int(text)
    if count < 2:
        raise argparse.ArgumentTypeError(f"quartiles need 2 rounds or more, got {count}")
    return count


def results_folder(text: str) -> Path:
    """A folder for results, as a command's argument: made before anything is measured, or refused then."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"no folder can be made at {path}: {error.strerror}") from None
    return path


def ratio(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """The median of the rounds' own ratios, and their quartiles."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(one, other, strict=True)], n=4)
    return middle, low, high


def environment_of(checkout: Path) -> dict[str, str]:
    """The variables of a process that imports the funcnet of the checkout, and whose BLAS is not pinned."""
    unpinned = {name: value for name, value in os.environ.items() if name not in _PINS}
    before = os.environ.get("PYTHONPATH")
    return {**unpinned, "PYTHONPATH": os.pathsep.join([str(checkout), before] if before else [str(checkout)])}


@contextmanager
def running(script: str, *arguments: str, checkout: Path = CHECKOUT) -> Iterator[subprocess.Popen[str]]:
    """A script's process, which answers every line with one."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    env = environment_of(checkout)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str], question: str = "") -> str:
    """The next line that the process says; after a question, if there is one."""
    assert process.stdin is not None
    assert process.stdout is not None
    if question:
        _settle()
        process.stdin.write(question + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended: see its message above")
    return line.strip()


def _settle() -> None:
    """Let what still runs come to rest, while all cores are busy with what needs no memory.

    The host of a virtual machine places cores anew that were idle, on one cache or on two. The quartiles of a step of
    784-256-10 over its products lay at 1.15 and 1.40 after sleeps of this length, and at 1.19 and 1.21 after work.
    """
    end = time.perf_counter() + _SETTLE

    def work() -> None:
        while time.perf_counter() < end:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1000)  # lets the other threads work meanwhile

    threads = [Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def take_turns(points: Sequence[Point], kinds: Sequence[str], rounds: int) -> list[Timing]:
    """Rounds of every kind of every point, in turns.

    A process's rounds of several kinds follow each other, since they are compared with each other too.
    """
    with ExitStack() as stack:
        processes, said = [], []
        for point in points:
            arguments = (point.peer, *point.workload.arguments, *kinds)
            process = stack.enter_context(running("peers.py", *arguments, checkout=point.checkout))
            processes.append(process)
            said.append([answer(process) for _ in range(4)])
        seconds: list[dict[str, list[float]]] = [{kind: [] for kind in kinds} for _ in points]
        for _ in tqdm(range(rounds), desc=points[0].workload.name, unit="round", leave=False, disable=None):
            for process, taken in zip(processes, seconds, strict=True):
                for kind in kinds:
                    taken[kind].append(float(answer(process, kind)))
    return [
        Timing(point, version, pools, float(loss), int(peak), {kind: tuple(s) for kind, s in taken.items()})
        for point, (version, pools, loss, peak), taken in zip(points, said, seconds, strict=True)
    ]
