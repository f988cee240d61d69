"""Every peer against funcnet, in turns.

    pip install -e '.[bench]' && python tests/benchmarks/compare.py

Each library runs in a process of its own, as its users have it; the processes take turns, round by round, so that
what slows the machine down slows all of them. Stated are ratios to funcnet's time, never bare times. Writes
reports/benchmarks.md and reports/benchmarks.png.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
from matplotlib.figure import Figure
from peers import PEERS
from turns import Point, Timing, ratio, results_folder, round_count, take_turns
from workloads import ACTIVATIONS, INFERENCE, TRAINING, Workload

from funcnet.environment import environment
from funcnet.files import write_whole
from funcnet.report.style import PALETTE, finish, legend, new_figure
from funcnet.table import Table, to_markdown

RESULTS = Path(__file__).parents[2] / "reports"
BASELINES = ("products", "products_laid_out")
# Those that have every activation.
FRAMEWORKS = ("torch_eager", "torch_compile", "jax_jit")
# So many steps show that all compute the same: the losses agree to 2e-7 on every workload. After a hundred, a ReLU that
# one rounding switched on may have changed the deepest network's by 1 in 400.
_SHORT, _ROUNDING = 10, 1e-5

# What a script that trains a network by hand names.
NAMES = "chain, linear, relu, softmax_cross_entropy, momentum, l2, each_weight, make_key, make_step, start, Batch"
IMPORTS = {"numpy": "import numpy", "funcnet": "import funcnet", "names": f"from funcnet import {NAMES}"}


@attrs.frozen
class Row:
    """One kind of round on one workload: the timings of funcnet and of everything beside it."""

    kind: str
    workload: Workload
    timings: dict[str, Timing]

    @property
    def name(self) -> str:
        """``epoch: 784-256-10, batch 128``."""
        return f"{self.kind}: {self.workload.name}"

    def ratios(self, peers: Sequence[str]) -> list[tuple[float, float, float]]:
        """For each peer its time over funcnet's: the median of the rounds' own ratios, and their quartiles."""
        own = self.timings["funcnet"].seconds[self.kind]
        return [ratio(self.timings[peer].seconds[self.kind], own) for peer in peers]


def expect_one_arithmetic(timings: Sequence[Timing]) -> None:
    """The losses after a first, short epoch agree, of all peers that state one."""
    losses = {timing.point.peer: timing.loss for timing in timings if not math.isnan(timing.loss)}
    if losses and max(losses.values()) - min(losses.values()) > _ROUNDING * max(losses.values()):
        raise RuntimeError(f"the peers do not compute the same: {losses}")


def import_ratios(rounds: int) -> tuple[float, float]:
    """The times of ``import funcnet``, and of importing the names of a script, over that of ``import numpy``."""
    code = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds + 1):  # the first fills the system's cache of files
        for name, statement in IMPORTS.items():
            shown = subprocess.run([sys.executable, "-c", code.format(statement)], check=True, capture_output=True)
            seconds[name].append(float(shown.stdout))
    median = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    return median["funcnet"] / median["numpy"], median["names"] / median["numpy"]


def plot(rows: Sequence[Row], peers: Sequence[str]) -> Figure:
    """A row a workload, a mark a peer: its time over funcnet's, with the quartiles of the rounds."""
    figure = new_figure(height=1.4 + 0.42 * len(rows), width=8)
    axes = figure.subplots()
    for place, peer in enumerate(peers):
        middle, low, high = zip(*(row.ratios([peer])[0] for row in rows), strict=True)
        spread = [[m - a for m, a in zip(middle, low, strict=True)], [b - m for m, b in zip(middle, high, strict=True)]]
        axes.errorbar(
            middle, range(len(rows)), xerr=spread, fmt="osD^vPX*"[place % 8], color=PALETTE[place % len(PALETTE)],
            elinewidth=0.8, markersize=5, label=peer.replace("_", " "),
        )  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    ticks = [0.5, 0.7, 1, 1.5, 2, 3, 5, 10]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    finish(axes, "Time of a Peer over funcnet's", "ratio (log scale); right of the line, funcnet is faster", "")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    legend(axes, columns=4)
    return figure


def table_of_times(title: str, rows: Sequence[Row], peers: Sequence[str]) -> Table:
    """A row a workload, a column a peer: its time over funcnet's, and the quartiles."""
    columns = ("", *(peer.replace("_", " ") for peer in peers))
    cells = ((row.name, *(f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in row.ratios(peers))) for row in rows)
    return Table(title, columns, tuple(cells))


def page(
    rows: Sequence[Row], activations: Sequence[Row], peers: Sequence[str], rounds: int, imports: tuple[float, float]
) -> str:
    """The results as Markdown."""
    times = table_of_times("Time of a peer over funcnet's", rows, peers)
    frameworks = [peer for peer in peers if peer in FRAMEWORKS]
    others = table_of_times("With other activations", activations, frameworks)
    limits = []
    for row in rows:
        if row.kind == "epoch":
            own = row.timings["funcnet"].seconds
            steps = next(r for r in rows if r.kind == "steps" and r.workload == row.workload)
            over = [ratio(own["steps"], steps.timings[name].seconds["steps"]) for name in BASELINES]
            cells = [*over, ratio(own["epoch"], own["steps"])]
            limits.append((row.workload.name, *(f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in cells)))
    beside = Table(
        "What funcnet adds to the products, and an epoch to its steps",
        ("", "step / products", "step / products laid out", "epoch / steps"),
        tuple(limits),
    )
    memory = Table(
        "Peak memory of a peer's process over that of funcnet's",
        (*times.columns, "funcnet, MiB"),
        tuple(
            (row.workload.name, *(f"{row.timings[peer].peak / row.timings['funcnet'].peak:.2f}" for peer in peers),
             f"{row.timings['funcnet'].peak / 2**20:.0f}")
            for row in rows if row.kind != "steps"
        ),
    )  # fmt: skip
    timings = [timing for row in (*rows, *activations) for timing in row.timings.values()]
    libraries = {timing.point.peer: (timing.version, timing.pools) for timing in timings}
    versions = Table("Libraries", ("", "version", "thread pools"), tuple((k, *v) for k, v in libraries.items()), text=3)
    machine = Table("Measured on", ("", ""), environment(), text=2)
    picture = "![Times of the peers over funcnet's](benchmarks.png)\n\n" if rows else ""
    return (
        "# Benchmarks\n\nMade by `python tests/benchmarks/compare.py`: whole epochs (shuffled, gathered, normalised), "
        f"steps on a batch at hand, and logits in batches; {rounds} rounds in turns, each library in a process of its "
        "own. Stated is the median of the rounds' ratios to funcnet's time, and in brackets their quartiles; above 1, "
        "funcnet is faster. *products* are the bare matrix products of the steps, by NumPy, of arrays that lie row by "
        "row; *products laid out* the same in the orders in memory that funcnet makes them in.\n\n"
        f"{to_markdown(times)}\n{picture}{to_markdown(beside)}\n"
        f"{to_markdown(others)}\n"
        f"{to_markdown(memory)}\n`import funcnet` takes {imports[0]:.2f} times as long as `import numpy`, since "
        "nothing is imported before it is asked for; with the names that a training script asks for, and NumPy with "
        f"them, it takes {imports[1]:.2f} times as long.\n\n{to_markdown(versions)}\n{to_markdown(machine)}"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=round_count, default=9)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--only", default="", help="only the workloads whose names have this in them")
    parser.add_argument("--out", type=results_folder, default=RESULTS, help="where benchmarks.md and benchmarks.png go")
    options = parser.parse_args()
    peers = list(dict.fromkeys([*BASELINES, "funcnet", *options.peers]))
    frameworks = [peer for peer in peers if peer in ("funcnet", *FRAMEWORKS)]
    sweeps = [
        (kinds, workload, some)
        for kinds, workloads, some in (
            (("epoch", "steps"), TRAINING, peers),
            (("predict",), INFERENCE, peers),
            (("steps",), ACTIVATIONS, frameworks),
        )
        for workload in workloads
        if options.only in workload.name
    ]
    if not sweeps:
        names = [workload.name for workload in (*TRAINING, *INFERENCE, *ACTIVATIONS)]
        parser.error(f"no workload has {options.only!r} in its name; they are {'; '.join(names)}")
    rows: list[Row] = []
    for kinds, workload, some in sweeps:
        if "predict" not in kinds:
            short = attrs.evolve(workload, examples=_SHORT * workload.batch)
            expect_one_arithmetic(take_turns([Point(peer, short) for peer in some], ["epoch"], 0))
        timings = take_turns([Point(peer, workload) for peer in some], kinds, options.rounds)
        by_peer = {timing.point.peer: timing for timing in timings}
        others = [peer for peer in some if peer != "funcnet"]
        for kind in kinds:
            rows.append(Row(kind, workload, by_peer))
            found = zip(others, rows[-1].ratios(others), strict=True)
            print(f"{rows[-1].name}:", *(f"{peer} {m:.2f} ({a:.2f}-{b:.2f})" for peer, (m, a, b) in found))
        sys.stdout.flush()
    others = [peer for peer in peers if peer != "funcnet"]
    activations = [row for row in rows if row.workload in ACTIVATIONS]
    rows = [row for row in rows if row.workload not in ACTIVATIONS]
    text = page(rows, activations, others, options.rounds, import_ratios(options.rounds))
    write_whole(options.out / "benchmarks.md", text)
    if rows:
        plot(rows, others).savefig(options.out / "benchmarks.png", dpi=200)
    print(text)


if __name__ == "__main__":
    main()
