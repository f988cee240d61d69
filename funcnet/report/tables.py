"""Tables as values, and as Markdown."""

from __future__ import annotations

import math

import attrs

from funcnet.record import RunRecord

__all__ = ["Table", "loss_label", "settings_table", "summary_table", "to_markdown"]


@attrs.frozen
class Table:
    """A title, a heading for each column, and rows of as many cells. The first column names the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def summary_table(run: RunRecord) -> Table:
    """How the run ended: loss and accuracy in training and testing, with the parts of the loss beside.

    Raises:
        ValueError: for a run without epochs.
    """
    if not run.epochs:
        raise ValueError(f"the run on {run.dataset} has no epochs to summarise")
    rows = tuple(
        (name, *map(_number, (end.loss, end.accuracy, end.data_loss, end.penalty)))
        for name, end in (("Training", run.train[-1]), ("Testing", run.test[-1]))
    )
    return Table(run.dataset, ("", "Final Loss", "Accuracy", loss_label(run).capitalize(), "Penalty"), rows)


def loss_label(run: RunRecord) -> str:
    """What reports call the run's data loss: ``cross-entropy``, ``mean squared error``."""
    return run.loss_name.removeprefix("softmax ")


def settings_table(run: RunRecord) -> Table:
    """What the run was made with."""
    speed = sorted(run.examples_per_second)[run.epochs // 2] if run.epochs else math.nan
    rows = (
        ("epochs", str(run.epochs)),
        ("seed", str(run.seed)),
        *run.settings,
        ("training examples a second", f"{speed:,.0f} (median over the epochs)"),
    )
    return Table("Settings", ("", ""), rows)


def to_markdown(table: Table) -> str:
    """The table under its title, numbers to the right."""
    lines = [table.columns, (":---", *("---:" for _ in table.columns[1:])), *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {table.title}\n\n{body}\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value == 0 or 0.0005 <= abs(value) < 1e6 else f"{value:.2e}"
