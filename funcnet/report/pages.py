"""The report as a PDF: a summary of all runs, then a page for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report.curves import draw_accuracy, draw_loss
from funcnet.report.tables import Table, settings_table, summary_table

__all__ = ["write_pdf"]

_A4 = (8.27, 11.69)
_RUNS_A_PAGE = 6


def write_pdf(path: Path | str, title: str, runs: Sequence[RunRecord]) -> None:
    """Write the report of ``runs``, each with at least one epoch, as vector graphics and text."""
    with PdfPages(path, metadata={"Title": title, "Creator": "funcnet"}) as pdf:
        for first in range(0, len(runs), _RUNS_A_PAGE):
            pdf.savefig(_summary_page(title, runs[first : first + _RUNS_A_PAGE]))
        for run in runs:
            pdf.savefig(_run_page(run))


def _summary_page(title: str, runs: Sequence[RunRecord]) -> Figure:
    page = Figure(figsize=_A4)
    page.text(0.1, 0.93, title, fontsize=20, weight="bold")
    page.text(
        0.1, 0.89,
        "Final loss and accuracy, over the whole training and testing sets with the parameters at\n"
        "the end of the last epoch. The loss is the cross-entropy plus the penalties on the weights.",
        fontsize=9.5, va="top", linespacing=1.5,
    )  # fmt: skip
    for i, run in enumerate(runs):
        _draw_table(page.add_axes((0.1, 0.73 - 0.125 * i, 0.8, 0.1)), summary_table(run))
    return page


def _run_page(run: RunRecord) -> Figure:
    page = Figure(figsize=_A4)
    page.text(0.1, 0.94, run.dataset, fontsize=16, weight="bold")
    draw_loss(page.add_axes((0.12, 0.61, 0.78, 0.28)), run)
    draw_accuracy(page.add_axes((0.12, 0.37, 0.78, 0.165)), run)
    _draw_table(page.add_axes((0.1, 0.215, 0.8, 0.085)), summary_table(run))
    _draw_table(page.add_axes((0.1, 0.045, 0.8, 0.145)), settings_table(run))
    return page


def _draw_table(axes: Axes, table: Table) -> None:
    """The table with rules above and below, as in books."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    headed = any(table.columns)
    lines = [table.columns, *table.rows] if headed else list(table.rows)
    height = 1 / (len(lines) + 1)
    axes.text(0, 1 - height / 2, table.title, fontsize=11, weight="bold", va="center")
    width = 0.8 / max(1, len(table.columns) - 1)
    for i, line in enumerate(lines):
        y = 1 - (i + 1.5) * height
        for column, cell in enumerate(line):
            # Names and running text start on the left, numbers end on the right.
            left = column == 0 or not headed
            x = (0.34 if column else 0.0) if not headed else 0.2 + width * column if column else 0.0
            axes.text(x, y, cell, fontsize=9.5, va="center", ha="left" if left else "right")
    for y, weight in ((1 - height, 1.2), (1 - 2 * height, 0.6), (0, 1.2)):
        if headed or weight > 1:
            axes.axhline(y, color="black", linewidth=weight)
