"""Every peer against funcnet, in turns.

    pip install -e '.[bench]' && python tests/benchmarks/compare.py

Each library runs in a process of its own, as its users have it; the processes take turns, round by round, so that
what slows the machine down slows all of them. Stated are ratios of medians to funcnet's, with the quartiles of the
rounds, never bare times. Writes reports/benchmarks.md and reports/benchmarks.png.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
from matplotlib.figure import Figure
from peers import PEERS
from tqdm import tqdm
from workloads import INFERENCE, TRAINING, Workload

from funcnet.environment import environment
from funcnet.files import write_whole
from funcnet.report.style import PALETTE, finish, legend, new_figure
from funcnet.table import Table, to_markdown

RESULTS = Path(__file__).parents[2] / "reports"
# The processes wait for each other's thread pools to fall asleep: some spin for a fifth of a second.
_SETTLE = 0.3
# What pins a BLAS to kernels that it would not choose; nobody's users have it.
_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@attrs.frozen
class Timing:
    """One peer's rounds on one workload, in seconds, the loss that they agree on, and its memory.

    Attributes:
        peer: its name.
        version: what it is.
        pools: the thread pools of its process, with their kernels.
        loss: of the last batch of the first epoch.
        peak: the most memory the process held, in bytes.
        seconds: those of the rounds.
    """

    peer: str
    version: str
    pools: str
    loss: float
    peak: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.seconds)


@contextmanager
def running(peer: str, kind: str, workload: Workload) -> Iterator[subprocess.Popen[str]]:
    """A peer's process, ready for its rounds."""
    command = [
        sys.executable, str(Path(__file__).with_name("peers.py")), peer, kind, "-".join(map(str, workload.sizes)),
        str(workload.batch), str(workload.examples),
    ]  # fmt: skip
    unpinned = {name: value for name, value in os.environ.items() if name not in _PINS}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=unpinned) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    """The next line that the process says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args[2]} ended: see its message above")  # type: ignore[index]
    return line.strip()


def compare(kind: str, workload: Workload, peers: Sequence[str], rounds: int) -> list[Timing]:
    """Rounds of every peer, in turns."""
    with ExitStack() as stack:
        processes = {peer: stack.enter_context(running(peer, kind, workload)) for peer in peers}
        said = {peer: [answer(process) for _ in range(4)] for peer, process in processes.items()}
        seconds: dict[str, list[float]] = {peer: [] for peer in peers}
        for _ in tqdm(range(rounds), desc=f"{kind} {workload.name}", unit="round", leave=False):
            for peer, process in processes.items():
                time.sleep(_SETTLE)
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
                seconds[peer].append(float(answer(process)))
    return [
        Timing(peer, version, pools, float(loss), int(peak), tuple(seconds[peer]))
        for peer, (version, pools, loss, peak) in said.items()
    ]


def ratio_cells(timings: Sequence[Timing], peers: Sequence[str]) -> list[str]:
    """For each peer its time over funcnet's: the ratio of medians, and the quartiles of the rounds' own ratios."""
    by_peer = {timing.peer: timing for timing in timings}
    own, cells = by_peer["funcnet"], []
    for peer in peers:
        ratios = [a / b for a, b in zip(by_peer[peer].seconds, own.seconds, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        cells.append(f"{by_peer[peer].median / own.median:.2f} ({low:.2f} to {high:.2f})")
    return cells


def memory_cells(timings: Sequence[Timing], peers: Sequence[str]) -> list[str]:
    """For each peer its process's peak over funcnet's; then funcnet's in MiB."""
    peak = {timing.peer: timing.peak for timing in timings}
    return [*(f"{peak[peer] / peak['funcnet']:.2f}" for peer in peers), f"{peak['funcnet'] / 2**20:.0f}"]


def expect_one_arithmetic(timings: Sequence[Timing]) -> None:
    """The losses after the first epoch agree, of all peers that state one."""
    losses = {timing.peer: timing.loss for timing in timings if not math.isnan(timing.loss)}
    if losses and max(losses.values()) - min(losses.values()) > 1e-2 * max(losses.values()):
        raise RuntimeError(f"the peers do not compute the same: {losses}")


def import_ratio(rounds: int) -> str:
    """The time of ``import funcnet`` over that of ``import numpy``, each in fresh processes."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    seconds: dict[str, list[float]] = {"numpy": [], "funcnet": []}
    for _ in tqdm(range(rounds + 1), desc="import", unit="round", leave=False):
        for module, taken in seconds.items():
            shown = subprocess.run([sys.executable, "-c", code.format(module)], check=True, capture_output=True)
            taken.append(float(shown.stdout))
    return f"{statistics.median(seconds['funcnet'][1:]) / statistics.median(seconds['numpy'][1:]):.2f}"


def plot(rows: Sequence[tuple[str, Sequence[Timing]]], peers: Sequence[str]) -> Figure:
    """A row a workload, a mark a peer: its time over funcnet's."""
    figure = new_figure(height=1.4 + 0.5 * len(rows), width=8)
    axes = figure.subplots()
    for place, peer in enumerate(peers):
        ratios = []
        for _, timings in rows:
            median = {timing.peer: timing.median for timing in timings}
            ratios.append(median[peer] / median["funcnet"])
        marker = "osD^vPX"[place % 7]
        axes.plot(ratios, range(len(rows)), marker, color=PALETTE[place % len(PALETTE)], label=peer.replace("_", " "))
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    finish(axes, "Time of a Peer over funcnet's", "ratio; right of the line, funcnet is faster", "")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    legend(axes, columns=4)
    return figure


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--only", default="", help="the workloads whose names have this in them")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where benchmarks.md and benchmarks.png go")
    options = parser.parse_args()
    peers = list(dict.fromkeys(["products", "funcnet", *options.peers]))
    others = [peer for peer in peers if peer != "funcnet"]
    measured: list[tuple[str, list[Timing]]] = []
    for kind, workloads in (("train", TRAINING), ("predict", INFERENCE)):
        for workload in workloads:
            if options.only not in f"{kind} {workload.name}":
                continue
            timings = compare(kind, workload, peers, options.rounds)
            expect_one_arithmetic(timings)
            measured.append((f"{kind} {workload.name}", timings))
            print(f"{kind} {workload.name}:", dict(zip(others, ratio_cells(timings, others), strict=True)), flush=True)
    columns = ("", *(peer.replace("_", " ") for peer in others))
    times = Table(
        "Time of a peer over funcnet's",
        columns,
        tuple((name, *ratio_cells(timings, others)) for name, timings in measured),
    )
    memory = Table(
        "Peak memory of a peer's process over that of funcnet's",
        (*columns, "funcnet, MiB"),
        tuple((name, *memory_cells(timings, others)) for name, timings in measured),
    )
    libraries = {timing.peer: (timing.version, timing.pools) for _, timings in measured for timing in timings}
    versions = Table("Libraries", ("", "version", "thread pools"), tuple((k, *v) for k, v in libraries.items()), text=3)
    machine = Table("Measured on", ("", ""), environment(), text=2)
    text = (
        "# Benchmarks\n\nMade by `python tests/benchmarks/compare.py`: whole epochs (shuffled, gathered, normalised), "
        f"and logits in batches; {options.rounds} rounds in turns, each library in a process of its own. Above 1, "
        "funcnet is faster; in brackets the quartiles of the rounds. *products* are the bare matrix products of the "
        f"steps in NumPy.\n\n{to_markdown(times)}\n![Times of the peers over funcnet's](benchmarks.png)\n\n{to_markdown(memory)}\n"
        f"`import funcnet` takes {import_ratio(options.rounds)} times as long as `import numpy`.\n\n"
        f"{to_markdown(versions)}\n{to_markdown(machine)}"
    )
    write_whole(options.out / "benchmarks.md", text)
    plot(measured, others).savefig(options.out / "benchmarks.png", dpi=200)
    print(text)


if __name__ == "__main__":
    main()
