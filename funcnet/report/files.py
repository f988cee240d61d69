"""Everything a report consists of, written to a folder."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from funcnet.record import RunRecord
from funcnet.report.curves import loss_figure
from funcnet.report.pages import write_pdf
from funcnet.report.tables import loss_label, summary_table, to_markdown
from funcnet.step import Evaluation

__all__ = ["summary", "write_report"]


def write_report(runs: Sequence[RunRecord], folder: Path | str, title: str = "Lab report") -> tuple[Path, ...]:
    """Write ``report.pdf``, ``summary.md``, ``summary.json`` and a ``loss-<dataset>.png`` for each run.

    A file appears whole or not at all; one of that name is replaced. Returns the paths.

    Raises:
        ValueError: for no runs, a run without epochs, or two runs on one data set (their pictures would have one name).
        OSError: where the folder cannot be made or written to.
    """
    names = [_file_name(run.dataset) for run in runs]
    if not runs or not all(run.epochs for run in runs):
        raise ValueError("a report needs at least one run, each with at least one epoch")
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"a report has one run a data set, got {', '.join(run.dataset for run in runs)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[Path], object]] = {
        "report.pdf": lambda path: write_pdf(path, title, runs),
        **{f"loss-{name}.png": _png_writer(run) for name, run in zip(names, runs, strict=True)},
        "summary.md": lambda path: path.write_text(
            f"# {title}\n\n" + "\n".join(to_markdown(summary_table(run)) for run in runs), encoding="utf-8"
        ),
        "summary.json": lambda path: path.write_text(json.dumps(summary(runs), indent=1) + "\n", encoding="utf-8"),
    }
    for name, write in writers.items():
        unfinished = folder / f".{os.getpid()}-{name}"
        try:
            write(unfinished)
            unfinished.replace(folder / name)
        finally:
            unfinished.unlink(missing_ok=True)
    return tuple(folder / name for name in writers)


def _file_name(dataset: str) -> str:
    """The name of a data set as a part of a file's name, which no name can lead astray."""
    return re.sub(r"[^\w.,+-]+", "-", dataset)[:80] or "-"


def _png_writer(run: RunRecord) -> Callable[[Path], object]:
    return lambda path: loss_figure(run).savefig(path, dpi=200, format="png")


def summary(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """The runs as ``summary.json`` holds them; what is not a number is null there.

    The data loss goes by its name: ``train_cross_entropy``, or ``train_mean_squared_error``.
    """
    return [
        {
            "dataset": run.dataset,
            "epochs": run.epochs,
            "seed": run.seed,
            "history": {
                f"{part}_{quantity}": [_quantities(e, _key(run))[quantity] for e in evaluations]
                for part, evaluations in (("train", run.train), ("test", run.test))
                for quantity in _quantities(evaluations[0], _key(run))
            },
            "final": {"train": _quantities(run.train[-1], _key(run)), "test": _quantities(run.test[-1], _key(run))},
        }
        for run in runs
    ]


def _key(run: RunRecord) -> str:
    return re.sub(r"\W+", "_", loss_label(run))


def _quantities(evaluation: Evaluation, data_loss: str) -> dict[str, float | None]:
    numbers = {
        "loss": evaluation.loss,
        data_loss: evaluation.data_loss,
        "penalty": evaluation.penalty,
        "accuracy": evaluation.accuracy,
    }
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
