"""Everything a report consists of, written to a folder."""

from __future__ import annotations

import functools
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from matplotlib.figure import Figure

from funcnet.arrays import shielded
from funcnet.files import write_whole
from funcnet.record import RunRecord
from funcnet.report.curves import overview_figure
from funcnet.report.document import Document, Plot, document
from funcnet.report.pages import to_html_page, to_markdown_page, to_pdf
from funcnet.report.style import PAGE
from funcnet.report.tables import class_table, history_table, loss_label, summary_table
from funcnet.run_file import file_names, run_file_name, run_to_json
from funcnet.step import Evaluation
from funcnet.table import Table, to_csv, to_latex, to_markdown
from funcnet.text import printable

__all__ = ["summary", "write_report"]

_RESOLUTION = 200  # dots an inch
_TEX = "% Needs the packages booktabs and longtable; for names in other scripts than Latin, XeLaTeX or LuaLaTeX.\n"

Watch: TypeAlias = Callable[[Path], object]


@shielded
def write_report(
    runs: Sequence[RunRecord], folder: Path | str, title: str = "Lab report", *, watch: Watch | None = None
) -> tuple[Path, ...]:
    """Write the report on ``runs``; see the README for its files. Returns their paths.

    A file appears whole or not at all; one of that name is replaced. ``watch`` is called with every file written.

    Raises:
        ValueError: for no runs, or a run without epochs.
        OSError: where the folder cannot be made or written to.
    """
    content = document(runs, title)
    # A figure goes into several files, and is drawn once.
    blocks = (attrs.evolve(b, draw=functools.cache(b.draw)) if isinstance(b, Plot) else b for b in content.blocks)
    folder, written = Path(folder), []
    for name, make in _contents(runs, attrs.evolve(content, blocks=tuple(blocks))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, make())
        written.append(path)
        if watch is not None:
            watch(path)
    return tuple(written)


def _contents(runs: Sequence[RunRecord], content: Document) -> Iterator[tuple[str, Callable[[], bytes | str]]]:
    """The files by name, each with what makes its content; first the runs, from which all else can be made again."""
    names = file_names(runs)
    for name, run in zip(names, runs, strict=True):
        yield run_file_name(name), functools.partial(run_to_json, run)
    yield "report.pdf", lambda: to_pdf(content)
    yield "report.html", lambda: to_html_page(content)
    yield "report.md", lambda: to_markdown_page(content, "figures")
    for name, run in zip(names, runs, strict=True):
        yield f"loss-{name}.png", functools.partial(_png, overview_figure, run)
    yield "summary.md", lambda: f"# {content.title}\n\n" + "\n".join(to_markdown(summary_table(run)) for run in runs)
    yield "summary.json", lambda: json.dumps(summary(runs), indent=1) + "\n"
    for block in content.blocks:
        if isinstance(block, Plot):
            yield f"figures/{block.name}.png", functools.partial(_png, block.draw, width=PAGE)
    yield "tables.tex", lambda: "\n".join((_TEX, *(to_latex(b) for b in content.blocks if isinstance(b, Table))))
    for name, run in zip(names, runs, strict=True):
        yield f"history-{name}.csv", functools.partial(_csv, history_table, run)
        if run.examination and run.examination.answers:
            yield f"classes-{name}.csv", functools.partial(_csv, class_table, run)


def _png(draw: Callable[..., Figure], *arguments: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    draw(*arguments, **options).savefig(content, dpi=_RESOLUTION, format="png")
    return content.getvalue()


def _csv(table: Callable[[RunRecord], Table], run: RunRecord) -> str:
    return to_csv(table(run))


def summary(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """The runs as ``summary.json`` holds them; what is not a number is null there.

    The data loss goes by its name: ``train_cross_entropy``, or ``train_mean_squared_error``.

    Raises:
        ValueError: for a run without epochs.
    """
    for run in runs:
        if not run.epochs:
            raise ValueError(f"the run on {run.dataset} has no epochs to summarise")
    return [
        {
            "dataset": printable(run.dataset),
            "epochs": run.epochs,
            "seed": run.seed,
            "history": {
                f"{part}_{quantity}": [_quantities(e, _key(run))[quantity] for e in evaluations]
                for part, evaluations in _parts(run)
                for quantity in _quantities(evaluations[0], _key(run))
            },
            "final": {part: _quantities(evaluations[-1], _key(run)) for part, evaluations in _parts(run)},
        }
        for run in runs
    ]


def _parts(run: RunRecord) -> list[tuple[str, tuple[Evaluation, ...]]]:
    names = {"training": "train", "testing": "test"}
    return [(names.get(part, part), evaluations) for part, evaluations in run.parts]


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
