"""Figures of how a run went, epoch by epoch.

Each is drawn for the width of a page, or with ``width=COLUMN`` for that of a column or a telephone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from funcnet.record import RunRecord
from funcnet.report.epochs import draw_curve, grouped, places, set_epochs
from funcnet.report.style import (
    BLUE,
    DASHDOT,
    DASHED,
    DOTTED,
    INK,
    PAGE,
    PALETTE,
    SOLID,
    curve,
    finish,
    from_zero,
    legend,
    new_figure,
    plain,
    share_axis,
)
from funcnet.report.tables import loss_label
from funcnet.training import EpochNumbers, Numbers
from funcnet.tree import exact_sum

__all__ = [
    "accuracy_figure",
    "has_accuracy",
    "loss_figure",
    "norms_figure",
    "overview_figure",
    "parts_figure",
    "rate_figure",
    "updates_figure",
]

_TOTAL, _DATA, *_PENALTIES = PALETTE
_STYLES = {"training": SOLID, "validation": DASHDOT, "testing": DASHED}


def overview_figure(run: RunRecord) -> Figure:
    """Loss, with its parts, and accuracy after each epoch, side by side."""
    figure = new_figure(height=4.6, width=11)
    figure.suptitle(plain(run.dataset), fontsize=13, color=INK)
    draw = [_draw_loss, *([_draw_accuracy] if has_accuracy(run) else [])]
    for part, draw_part in zip(figure.subfigures(1, len(draw), squeeze=False).flat, draw, strict=True):
        draw_part(part.subplots(), run)
    return figure


def loss_figure(run: RunRecord, width: float = PAGE) -> Figure:
    """The total loss and what it is the sum of, in each part of the data, after each epoch."""
    figure = new_figure(3.8 if width == PAGE else 3.4, width)
    _draw_loss(figure.subplots(), run)
    return figure


def accuracy_figure(run: RunRecord, width: float = PAGE) -> Figure:
    """The share of right answers in each part of the data."""
    figure = new_figure(2.6, width)
    _draw_accuracy(figure.subplots(), run)
    return figure


def has_accuracy(run: RunRecord) -> bool:
    """Whether the run's loss knows right answers from wrong ones."""
    return not all(math.isnan(e.accuracy) for _, side in run.parts for e in side)


def parts_figure(run: RunRecord, width: float = PAGE) -> Figure:
    """The training loss as the stack of its parts: what it is made of, and which part moves."""
    figure = new_figure(3.8 if width == PAGE else 3.4, width)
    axes = figure.subplots()
    penalties = _penalty_curves(run)
    labels = [loss_label(run), *(label for label, _ in penalties)]
    stack = [[e.data_loss for e in run.train], *(values for _, values in penalties)]
    colours = [_DATA, *_PENALTIES[: len(penalties)]]
    if run.epochs == 1:  # an area needs two ends
        base = 0.0
        for (value,), colour, label in zip(stack, colours, labels, strict=True):
            axes.bar([1], [value], bottom=base, color=colour, width=0.4, label=plain(label))
            base += value
    else:
        # Means of groups, since medians do not add up.
        parts = [grouped(values, statistics.fmean) for values in stack]
        axes.stackplot(places(run.epochs), parts, colors=colours, alpha=0.85, labels=list(map(plain, labels)))
    for name, side in run.parts[1:]:
        axes.plot(
            places(run.epochs), grouped([e.loss for e in side], statistics.fmean), color=INK, label=f"total, {name}",
            **curve(run.epochs, _STYLES[name]),
        )  # fmt: skip
    _finish(axes, "Parts of the Training Loss", "Loss", run)
    from_zero(axes)
    legend(axes)
    return figure


def rate_figure(run: RunRecord, width: float = PAGE) -> Figure:
    """The learning rate of each epoch's last step."""
    figure = new_figure(2.0 if width == PAGE else 2.6, width)
    axes = figure.subplots()
    draw_curve(axes, [e.learning_rate for e in run.history], BLUE, "learning rate")
    _finish(axes, "Learning Rate at Each Epoch's End", "Learning rate", run)
    from_zero(axes)
    return figure


def norms_figure(run: RunRecord, width: float = PAGE) -> Figure:
    """The norm of the total loss's gradient, and of the parameters, array by array."""
    beside = width == PAGE
    figure = new_figure(2.8 if beside else 5.2, width)
    first, second = figure.subplots(1, 2) if beside else figure.subplots(2, 1)
    _draw_numbers(first, run, lambda epoch: epoch.gradient_norms)
    _finish(first, "Gradient Norms", "Norm", run, ticks=5)
    _draw_numbers(second, run, lambda epoch: epoch.parameter_norms)
    _finish(second, "Parameter Norms", "Norm", run, ticks=5)
    legend(second, columns=4 if beside else 2)
    return figure


def updates_figure(run: RunRecord, width: float = PAGE) -> Figure:
    """How much a step changes each array, relative to its size."""
    figure = new_figure(2.6, width)
    axes = figure.subplots()
    _draw_numbers(axes, run, lambda epoch: epoch.update_ratios)
    _finish(axes, "Update-to-Weight Ratio of a Step", "Update / weight", run)
    legend(axes, columns=4 if width == PAGE else 2)
    return figure


def _finish(axes: Axes, title: str, y: str, run: RunRecord, ticks: int = 8) -> None:
    finish(axes, title, "Epochs", y)
    set_epochs(axes, run.epochs, ticks)


def _draw_loss(axes: Axes, run: RunRecord) -> None:
    data_loss = loss_label(run)

    def line(values: Sequence[float], colour: str, style: object, label: str) -> None:
        draw_curve(axes, values, colour, plain(label), style)

    if any(e.penalties for e in run.train):  # else the total is the data loss
        for name, side in run.parts:
            line([e.loss for e in side], _TOTAL, _STYLES[name], f"total, {name}")
    for name, side in run.parts:
        line([e.data_loss for e in side], _DATA, _STYLES[name], f"{data_loss}, {name}")
    for (label, values), colour in zip(_penalty_curves(run), _PENALTIES, strict=False):
        line(values, colour, DOTTED, label)
    _finish(axes, "Loss After Each Epoch", "Loss", run)
    from_zero(axes)
    legend(axes)


def _penalty_curves(run: RunRecord) -> list[tuple[str, list[float]]]:
    """Every penalty's name and values; of more than there are colours for, the largest, and the sum of the others."""
    columns = [list(column) for column in zip(*(e.penalties for e in run.train), strict=True)]
    curves = [(f"{c[0].name} penalty of {c[0].path}", [p.value for p in c]) for c in columns]
    if len(curves) <= len(_PENALTIES):
        return curves
    kept = sorted(curves, key=lambda named: -max(named[1]))[: len(_PENALTIES) - 1]
    others = [values for label, values in curves if label not in {label for label, _ in kept}]
    return [*kept, (f"{len(others)} other penalties", [exact_sum(v) for v in zip(*others, strict=True)])]


def _draw_accuracy(axes: Axes, run: RunRecord) -> None:
    for name, side in run.parts:
        draw_curve(axes, [e.accuracy for e in side], BLUE, name, _STYLES[name], clip=False)
    _finish(axes, "Accuracy After Each Epoch", "Accuracy", run)
    share_axis(axes)
    legend(axes)


def _draw_numbers(axes: Axes, run: RunRecord, numbers: Callable[[EpochNumbers], Numbers]) -> None:
    """A line an array, on a logarithmic axis: what matters is by which factor they differ and change."""
    paths = dict.fromkeys(path for epoch in run.history for path, _ in numbers(epoch))
    many = len(paths) > len(PALETTE)
    named = {0, len(paths) // 2, len(paths) - 1} if many else range(len(paths))
    for i, path in enumerate(paths):
        # What is 0, or not there, has no place on a logarithmic axis: the line has a gap.
        values = [dict(numbers(epoch)).get(path, 0.0) or math.nan for epoch in run.history]
        # Of many, the colour goes by depth, from what is seen on a dark page to what is seen on a light one, and the
        # first, the middle and the last are named.
        colour = colormaps["viridis"](0.3 + 0.45 * i / (len(paths) - 1)) if many else PALETTE[i]
        draw_curve(axes, values, colour, plain(path) if i in named else "_")
    if any(value > 0 for epoch in run.history for _, value in numbers(epoch)):
        axes.set_yscale("log")
