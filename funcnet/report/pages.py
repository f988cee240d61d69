"""The report as a PDF: a summary of all runs, then a page for each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report.curves import draw_accuracy, draw_loss, has_accuracy, plain
from funcnet.report.curves import title as heading
from funcnet.report.tables import Table, settings_table, summary_table

__all__ = ["write_pdf"]

_A4 = (8.27, 11.69)
_RUNS_A_PAGE = 6
_LINE = 0.0215  # of the height of a page
_TEXT_WIDTH = 62  # letters


def write_pdf(path: Path | str, title: str, runs: Sequence[RunRecord]) -> None:
    """Write the report of ``runs``, each with at least one epoch, as vector graphics and text."""
    with PdfPages(path, metadata={"Title": title, "Creator": "funcnet"}) as pdf:
        for first in range(0, len(runs), _RUNS_A_PAGE):
            pdf.savefig(_summary_page(title, runs[first : first + _RUNS_A_PAGE]))
        for run in runs:
            for page in _run_pages(run):
                pdf.savefig(page)


def _summary_page(title: str, runs: Sequence[RunRecord]) -> Figure:
    page = Figure(figsize=_A4)
    page.text(0.1, 0.95, textwrap.fill(plain(title), 38), fontsize=20, weight="bold", va="top")
    page.text(
        0.1,
        0.88,
        "Final loss and accuracy, over the whole training and testing sets with the parameters at\n"
        "the end of the last epoch. The final loss is the data loss plus the penalties on the weights.",
        fontsize=9.5,
        va="top",
        linespacing=1.5,
    )
    top = 0.81
    for run in runs:
        top = _draw_table(page, summary_table(run), top) - 0.025
    return page


def _run_pages(run: RunRecord) -> Iterator[Figure]:
    """The page of a run, and another for its settings where they are many."""
    page = Figure(figsize=_A4)
    page.text(0.1, 0.94, heading(run), fontsize=16, weight="bold")
    draw_loss(page.add_axes((0.12, 0.61, 0.78, 0.28)), run)
    if has_accuracy(run):
        draw_accuracy(page.add_axes((0.12, 0.37, 0.78, 0.165)), run)
    top = _draw_table(page, summary_table(run), 0.305) - 0.025
    settings = settings_table(run)
    if top - _height(settings) > 0.03:
        _draw_table(page, settings, top)
        yield page
    else:
        yield page
        further = Figure(figsize=_A4)
        further.text(0.1, 0.94, heading(run), fontsize=16, weight="bold")
        _draw_table(further, settings, 0.9)
        yield further


def _lines(table: Table) -> list[tuple[str, ...]]:
    """The rows to be drawn: without headings, the second column is running text, which may take several lines."""
    if any(table.columns):
        return [table.columns, *table.rows]
    wrapped = [(name, textwrap.wrap(text, _TEXT_WIDTH) or [""]) for name, text in table.rows]
    return [(name if i == 0 else "", line) for name, lines in wrapped for i, line in enumerate(lines)]


def _height(table: Table) -> float:
    return _LINE * (len(_lines(table)) + 1)


def _draw_table(page: Figure, table: Table, top: float) -> float:
    """Draw the table below ``top``, with rules above and below as in books, and return where it ends."""
    lines, height = _lines(table), _height(table)
    axes = page.add_axes((0.1, top - height, 0.8, height))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(lines) + 1, 0))
    axes.text(0, 0.4, plain(textwrap.shorten(table.title, 70)), fontsize=11, weight="bold", va="center")
    headed = any(table.columns)
    width = 0.88 / max(1, len(table.columns) - 1)
    for i, line in enumerate(lines):
        for column, cell in enumerate(line):
            # Names and running text start on the left, numbers end on the right.
            left = column == 0 or not headed
            x = 0.0 if column == 0 else 0.12 + width * column if headed else 0.34
            axes.text(x, i + 1.5, plain(cell), fontsize=9.5, va="center", ha="left" if left else "right")
    for y, weight in [(1, 1.2), (len(lines) + 1, 1.2), *([(2, 0.6)] if headed else [])]:
        axes.plot((0, 1), (y, y), color="black", linewidth=weight, clip_on=False)
    return top - height
