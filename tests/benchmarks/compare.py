"""Every peer against funcnet, in turns.

    pip install -e '.[bench]' && python tests/benchmarks/compare.py
    python tests/benchmarks/compare.py --against PATH

Each library runs in a process of its own, as its users have it; the processes take turns, round by round, so that
what slows the machine down slows all of them. Stated are ratios to funcnet's time, never bare times. Writes
reports/benchmarks.md and reports/benchmarks.png.

PATH is another checkout of funcnet, such as the version before. It takes turns with this one, in processes of its own
that run the same code. Stated is this checkout's time over the other's, new over old: below 1 the new one is faster.
Writes reports/benchmarks_against.md, and nothing else unless --peers are named too. Of a second checkout of the same
version, whatever is not 1 is noise.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
from matplotlib.figure import Figure
from peers import PEERS
from turns import CHECKOUT, Point, Timing, environment_of, ratio, results_folder, round_count, take_turns
from workloads import ACTIVATIONS, ADAM, INFERENCE, TRAINING, Workload

from funcnet.environment import environment
from funcnet.files import write_whole
from funcnet.report.style import PALETTE, finish, legend, new_figure
from funcnet.table import Table, to_markdown

RESULTS = CHECKOUT / "reports"
BASELINES = ("products", "products_laid_out")
# Those that have every activation and optimizer.
FRAMEWORKS = ("torch_eager", "torch_compile", "jax_jit")
# The funcnet of the other checkout.
BEFORE = "funcnet_before"
# So many steps show that all compute the same: the losses agree to 2e-7 on every workload, and to 6e-7 with Adam. After
# a hundred, a ReLU that one rounding switched on may have changed the deepest network's by 1 in 400.
_SHORT, _ROUNDING = 10, 1e-5

# What a script that trains a network by hand names.
NAMES = "chain, linear, relu, softmax_cross_entropy, momentum, l2, each_weight, make_key, make_step, init_state, Batch"
IMPORTS = {"numpy": "import numpy", "funcnet": "import funcnet", "names": f"from funcnet import {NAMES}"}


@attrs.frozen
class Checkout:
    """A checkout of funcnet: where it is, the public names it has, and its revision as git describes it."""

    root: Path
    names: frozenset[str]
    revision: str

    def runs(self, workload: Workload) -> bool:
        """Whether it has the workload's activation and optimizer."""
        return {workload.activation, workload.optimizer} <= self.names


def checkout(text: str) -> Checkout:
    """A checkout, as a command's argument: one whose funcnet a process does import when it is told so."""
    root = Path(text).resolve()
    code = "import funcnet; print(funcnet.__file__, *dir(funcnet), sep='\\n')"
    command = [sys.executable, "-P", "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment_of(root)).stdout.splitlines()
    if not shown or Path(shown[0]).resolve() != root / "funcnet" / "__init__.py":
        raise argparse.ArgumentTypeError(f"there is no funcnet to import at {text}")
    return Checkout(root, frozenset(shown[1:]), revision(root))


def revision(root: Path) -> str:
    """How git describes what is checked out there; without git, that it is unknown."""
    command = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown revision"


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

    def over_before(self) -> tuple[float, float, float]:
        """funcnet's time over that of the other checkout: below 1, the new one is faster."""
        return ratio(self.timings["funcnet"].seconds[self.kind], self.timings[BEFORE].seconds[self.kind])


def quartiles(found: tuple[float, float, float]) -> str:
    """``1.20 (1.15 to 1.31)``: the median, and in brackets the quartiles."""
    middle, low, high = found
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


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
            command = [sys.executable, "-P", "-c", code.format(statement)]
            shown = subprocess.run(command, check=True, capture_output=True, env=environment_of(CHECKOUT))
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
    return Table(title, columns, tuple((row.name, *map(quartiles, row.ratios(peers))) for row in rows))


def measured_on(rows: Iterable[Row], leave_out: str = "") -> str:
    """Which libraries, and which machine, as Markdown."""
    timings = [timing for row in rows for timing in row.timings.values() if timing.point.peer != leave_out]
    libraries = {timing.point.peer: (timing.version, timing.pools) for timing in timings}
    versions = Table("Libraries", ("", "version", "thread pools"), tuple((k, *v) for k, v in libraries.items()), text=3)
    return f"{to_markdown(versions)}\n{to_markdown(Table('Measured on', ('', ''), environment(), text=2))}"


def page(
    rows: Sequence[Row],
    activations: Sequence[Row],
    adam: Sequence[Row],
    peers: Sequence[str],
    rounds: int,
    imports: tuple[float, float],
) -> str:
    """The results as Markdown."""
    times = table_of_times("Time of a peer over funcnet's", rows, peers)
    frameworks = [peer for peer in peers if peer in FRAMEWORKS]
    with_others = table_of_times("With other activations", activations, frameworks)
    with_adam = table_of_times("With Adam", adam, frameworks)
    limits = []
    for row in rows:
        if row.kind == "epoch":
            own = row.timings["funcnet"].seconds
            steps = next(r for r in rows if r.kind == "steps" and r.workload == row.workload)
            over = [ratio(own["steps"], steps.timings[name].seconds["steps"]) for name in BASELINES]
            cells = [*over, ratio(own["epoch"], own["steps"])]
            limits.append((row.workload.name, *map(quartiles, cells)))
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
    picture = "![Times of the peers over funcnet's](benchmarks.png)\n\n" if rows else ""
    return (
        "# Benchmarks\n\nMade by `python tests/benchmarks/compare.py`: whole epochs (shuffled, gathered, normalised), "
        f"steps on a batch at hand, and logits in batches; {rounds} rounds in turns, each library in a process of its "
        "own. Stated is the median of the rounds' ratios to funcnet's time, and in brackets their quartiles; above 1, "
        "funcnet is faster. *products* are the bare matrix products of the steps, by NumPy, of arrays that lie row by "
        "row; *products laid out* the same in the orders in memory that funcnet makes them in.\n\n"
        f"{to_markdown(times)}\n{picture}{to_markdown(beside)}\n"
        f"{to_markdown(with_others)}\n"
        f"{to_markdown(with_adam)}\n"
        f"{to_markdown(memory)}\n`import funcnet` takes {imports[0]:.2f} times as long as `import numpy`, since "
        "nothing is imported before it is asked for; with the names that a training script asks for, and NumPy with "
        f"them, it takes {imports[1]:.2f} times as long.\n\n{measured_on((*rows, *activations, *adam), BEFORE)}"
    )


def page_against(rows: Sequence[Row], revisions: tuple[str, str], left_out: Sequence[Workload], rounds: int) -> str:
    """The results against the other checkout as Markdown; the revisions are this one's and the other's."""
    times = Table(
        "Time of this checkout over the other's",
        ("", "new over old"),
        tuple((row.name, quartiles(row.over_before())) for row in rows),
    )
    by_name = {row.workload.name: row.timings for row in rows}
    memory = Table(
        "Peak memory of this checkout's process over that of the other's",
        ("", "new over old"),
        tuple((name, f"{timings['funcnet'].peak / timings[BEFORE].peak:.2f}") for name, timings in by_name.items()),
    )
    lacking = f"{said_of(left_out)}\n\n" if left_out else ""
    return (
        "# Against another checkout\n\nMade by `python tests/benchmarks/compare.py --against PATH`, of this checkout, "
        f"{revisions[0]} (new), and another, {revisions[1]} (old): whole epochs (shuffled, gathered, normalised), "
        f"steps on a batch at hand, and logits in batches; {rounds} rounds in turns, each in a process of its own. "
        "Stated is the median of the rounds' ratios, new over old, and in brackets their quartiles; below 1, the new "
        f"one is faster.\n\n{to_markdown(times)}\n{lacking}{to_markdown(memory)}\n"
        f"{measured_on(attrs.evolve(row, timings={k: row.timings[k] for k in ('funcnet', BEFORE)}) for row in rows)}"
    )


def said_of(left_out: Sequence[Workload]) -> str:
    """What is said of workloads that the other checkout cannot run."""
    return f"Left out, since the other checkout has no such part: {'; '.join(w.name for w in left_out)}."


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """The parser, and what it read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [peer for peer in PEERS if peer != BEFORE]
    parser.add_argument("--rounds", type=round_count, default=9)
    parser.add_argument("--peers", nargs="+", choices=choices, help="all, unless there is another checkout")
    parser.add_argument("--against", type=checkout, metavar="PATH", help="another checkout of funcnet")
    parser.add_argument("--only", default="", help="only the workloads whose names have this in them")
    parser.add_argument("--out", type=results_folder, default=RESULTS, help="where the results go")
    options = parser.parse_args()
    if options.peers is None and options.against is None:
        options.peers = choices
    return parser, options


def main() -> None:
    """Measure, print and write."""
    parser, options = arguments()
    against: Checkout | None = options.against
    peers = list(dict.fromkeys([*BASELINES, "funcnet", *options.peers] if options.peers else ["funcnet"]))
    frameworks = [peer for peer in peers if peer in ("funcnet", *FRAMEWORKS)]
    sweeps = [
        (kinds, workload, some)
        for kinds, workloads, some in (
            (("epoch", "steps"), TRAINING, peers),
            (("predict",), INFERENCE, peers),
            (("steps",), ACTIVATIONS, frameworks),
            (("steps",), ADAM, frameworks),
        )
        for workload in workloads
        if options.only in workload.name
    ]
    if not sweeps:
        names = [workload.name for workload in (*TRAINING, *INFERENCE, *ACTIVATIONS, *ADAM)]
        parser.error(f"no workload has {options.only!r} in its name; they are {'; '.join(names)}")
    left_out = [workload for _, workload, _ in sweeps if against and not against.runs(workload)]
    if not options.peers:
        sweeps = [sweep for sweep in sweeps if sweep[1] not in left_out]
        if not sweeps:
            parser.error(said_of(left_out))
    rows: list[Row] = []
    for kinds, workload, some in sweeps:
        points = [Point(peer, workload) for peer in some]
        if against and workload not in left_out:
            points.append(Point(BEFORE, workload, against.root))
        if "predict" not in kinds:
            short = attrs.evolve(workload, examples=_SHORT * workload.batch)
            expect_one_arithmetic(take_turns([attrs.evolve(p, workload=short) for p in points], ["epoch"], 0))
        timings = take_turns(points, kinds, options.rounds)
        by_peer = {timing.point.peer: timing for timing in timings}
        others = [peer for peer in some if peer != "funcnet"]
        for kind in kinds:
            row = Row(kind, workload, by_peer)
            rows.append(row)
            found = dict(zip(others, row.ratios(others), strict=True))
            if BEFORE in by_peer:
                found["new over old"] = row.over_before()
            print(f"{row.name}:", *(f"{name} {m:.2f} ({a:.2f}-{b:.2f})" for name, (m, a, b) in found.items()))
        sys.stdout.flush()
    if against and not (both := [row for row in rows if BEFORE in row.timings]):
        print(said_of(left_out))
    elif against:
        text = page_against(both, (revision(CHECKOUT), against.revision), left_out, options.rounds)
        write_whole(options.out / "benchmarks_against.md", text)
        print(text)
    if options.peers:
        others = [peer for peer in peers if peer != "funcnet"]
        activations = [row for row in rows if row.workload in ACTIVATIONS]
        adam = [row for row in rows if row.workload in ADAM]
        rows = [row for row in rows if row.workload not in (*ACTIVATIONS, *ADAM)]
        text = page(rows, activations, adam, others, options.rounds, import_ratios(options.rounds))
        write_whole(options.out / "benchmarks.md", text)
        if rows:
            plot(rows, others).savefig(options.out / "benchmarks.png", dpi=200)
        print(text)


if __name__ == "__main__":
    main()
