"""How funcnet's time and memory grow, and what becomes of them with a set that the memory does not hold.

    pip install -e '.[bench]' && python tests/benchmarks/scale.py

Every network, batch and set has a process of its own; the processes of a sweep take turns. Times are stated as ratios
within a sweep. The set that is too large is a mapped file of four times the memory that its process may use, which
takes a control group for memory (Linux, as root); elsewhere that part is left out and says so. Writes reports/scale.md
and reports/scale.png.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import numpy as np
from compare import RESULTS
from mapped import BATCH, CLASSES, HIDDEN, INPUTS
from matplotlib.figure import Figure
from tqdm import tqdm
from turns import Point, Timing, answer, ratio, results_folder, round_count, running, take_turns
from workloads import Workload

from funcnet.environment import environment
from funcnet.files import write_whole
from funcnet.report.style import BLUE, GREY, finish, new_figure
from funcnet.table import Table, to_markdown

MIB = 2**20
LIMIT, SET = 256 * MIB, 1024 * MIB


@attrs.frozen
class Sweep:
    """What grows, and the workloads it grows in; times are those of a step, or of an epoch if examples grow."""

    name: str
    values: tuple[int, ...]
    workloads: tuple[Workload, ...]

    def times(self, timings: Sequence[Timing]) -> list[float]:
        """Over that of the first."""
        each = [1 if self.name == "examples" else timing.point.workload.steps for timing in timings]
        seconds = [statistics.median(t.seconds["epoch"]) / steps for t, steps in zip(timings, each, strict=True)]
        return [s / seconds[0] for s in seconds]


def sweep(name: str, values: Sequence[int], workload_of: Callable[[int], Workload]) -> Sweep:
    """The workloads of the values."""
    return Sweep(name, tuple(values), tuple(map(workload_of, values)))


SWEEPS = (
    sweep("width", (128, 256, 512, 1024, 2048), lambda v: Workload((784, v, 10), 128, 2560)),
    sweep("layers", (2, 4, 8, 12, 16), lambda v: Workload((*[512] * v, 10), 128, 2560)),
    sweep("batch", (64, 128, 256, 512, 1024), lambda v: Workload((784, 512, 10), v, 20 * v)),
    sweep("examples", (10_000, 20_000, 40_000, 60_000, 80_000), lambda v: Workload((784, 256, 10), 128, v)),
)


def line(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, float]:
    """The straight line through the points, by least relative squares, and how far off one is at the most."""
    design = np.stack([np.ones(len(x)), np.asarray(x, float)], axis=1) / np.asarray(y)[:, None]
    (base, slope), *_ = np.linalg.lstsq(design, np.ones(len(x)), rcond=None)
    fitted = base + slope * np.asarray(x, float)
    return fitted, float(np.max(np.abs(np.asarray(y) / fitted - 1)))


def plot(measured: Sequence[tuple[Sweep, list[Timing]]]) -> Figure:
    """A column a sweep: time above, memory below, each with its straight line."""
    figure = new_figure(height=5.2, width=11)
    axes = figure.subplots(2, len(measured), squeeze=False)
    for column, (s, timings) in enumerate(measured):
        what = "an epoch" if s.name == "examples" else "a step"
        for row, (values, title, unit) in enumerate(
            (
                (s.times(timings), f"Time of {what}", "times the first"),
                ([t.peak / MIB for t in timings], "Peak Memory", "MiB, libraries included"),
            )
        ):
            at = axes[row, column]
            at.plot(s.values, line(s.values, values)[0], color=GREY, linewidth=1)
            at.plot(s.values, values, "o", color=BLUE, markersize=5)
            at.set_ylim(0, 1.1 * max(values))
            at.set_xlim(left=0)
            finish(at, title, s.name, unit if column == 0 else "")
    return figure


@contextmanager
def memory_group(limit: int) -> Iterator[Path | None]:
    """The folder of a control group whose processes may use so much memory, files in memory included; None without."""
    listed = Path("/proc/self/cgroup")
    lines = listed.read_text().splitlines() if listed.exists() else []
    own = {controllers: path for _, controllers, path in (text.split(":", 2) for text in lines)}
    # Version 1 has a tree for every controller, version 2 one for all.
    for controllers, root, name in (
        ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("", "/sys/fs/cgroup", "memory.max"),
    ):  # fmt: skip
        group = Path(f"{root}{own.get(controllers, '')}") / f"funcnet-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit))
        except OSError:
            group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


def larger_than_memory(rounds: int) -> str:
    """Epochs over a mapped file in a process that may hold a quarter of it, against epochs over an array."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder, ExitStack() as stack:
        group = stack.enter_context(memory_group(LIMIT))
        if group is None:
            return "No control group for memory could be made here: the set larger than the memory was left out.\n"
        path = Path(folder) / "images"
        with path.open("wb") as file:
            for i in range(SET // (16 * MIB)):
                file.write(np.random.default_rng(i).bytes(16 * MIB))
            file.flush()
            os.fsync(file.fileno())
        workers = {
            kind: stack.enter_context(running("mapped.py", str(path), kind, *where))
            for kind, where in (("array", ()), ("mapped", (str(group),)))
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in workers}
        memory: dict[str, list[float]] = {kind: [] for kind in workers}
        for _ in tqdm(range(rounds), desc="larger than memory", unit="round", leave=False, disable=None):
            for kind, worker in workers.items():
                taken, own = answer(worker, "epoch").split()
                seconds[kind].append(float(taken))
                memory[kind].append(float(own) / MIB)
        for worker in workers.values():  # before its group can be removed
            worker.kill()
            worker.wait()
    middle, low, high = ratio(seconds["mapped"], seconds["array"])
    table = Table(
        "A set larger than the memory",
        ("", "time of an epoch", *(f"MiB after epoch {i + 1}" for i in range(rounds))),
        (
            ("array in memory", "1", *(f"{m:.0f}" for m in memory["array"])),
            ("mapped file", f"{middle:.2f} ({low:.2f} to {high:.2f})", *(f"{m:.0f}" for m in memory["mapped"])),
        ),
    )
    return (
        f"{to_markdown(table)}\n{INPUTS}-{HIDDEN}-{CLASSES} at batch {BATCH} on {SET // INPUTS:,} examples, a file of "
        f"{SET // MIB} MiB. The process that maps it may hold {LIMIT // MIB} MiB, its share of the file included; "
        "stated is what it holds besides (RssAnon). Before its turn the file is put out of memory.\n"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=round_count, default=9)
    parser.add_argument("--out", type=results_folder, default=RESULTS, help="where scale.md and scale.png go")
    options = parser.parse_args()
    measured = [(s, take_turns([Point("funcnet", w) for w in s.workloads], ["epoch"], options.rounds)) for s in SWEEPS]
    parts = []
    for s, timings in measured:
        times, peaks = s.times(timings), [timing.peak / MIB for timing in timings]
        table = Table(
            s.name.capitalize(),
            ("", *(f"{v:,}" for v in s.values), "off the line, at most"),
            (
                ("time of an epoch" if s.name == "examples" else "time of a step", *(f"{t:.2f}" for t in times),
                 f"{line(s.values, times)[1]:.0%}"),
                ("peak memory, MiB", *(f"{p:.0f}" for p in peaks), f"{line(s.values, peaks)[1]:.0%}"),
            ),
        )  # fmt: skip
        w = s.workloads[0]
        parts.append(f"{to_markdown(table)}\nThe first is {w.name}, on {w.examples:,} examples.\n")
    text = (
        "# How time and memory grow\n\nMade by `python tests/benchmarks/scale.py`: epochs of training, from bytes, in "
        f"processes of their own that take turns, {options.rounds} rounds. Times are medians, over that of the first; "
        "memory is all that the process held.\n\n![Time and memory](scale.png)\n\n"
        + "\n".join(parts)
        + "\n"
        + larger_than_memory(3)
        + "\n"
        + to_markdown(Table("Measured on", ("", ""), environment(), text=2))
    )
    write_whole(options.out / "scale.md", text)
    plot(measured).savefig(options.out / "scale.png", dpi=160)
    print(text)


if __name__ == "__main__":
    main()
