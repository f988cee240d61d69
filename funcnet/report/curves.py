"""Figures from runs. Each is a matplotlib figure of its own: no pyplot, no global state."""

from __future__ import annotations

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from funcnet.record import RunRecord
from funcnet.report.tables import loss_label

__all__ = ["draw_accuracy", "draw_loss", "has_accuracy", "loss_figure", "plain", "title"]

# Okabe & Ito, "Color universal design" (2008): told apart by every kind of colour vision, and in print by the dashes.
_TOTAL, _CROSS_ENTROPY, _ACCURACY = "#0072B2", "#D55E00", "#0072B2"
_PENALTIES = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_TRAIN, _TEST = "-", (0, (4, 2))


def loss_figure(run: RunRecord) -> Figure:
    """Loss, with its parts, and accuracy after each epoch, side by side."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title(run), fontsize=13)
    if has_accuracy(run):
        left, right = figure.subplots(1, 2)
        draw_accuracy(right, run)
    else:
        left = figure.subplots()
    draw_loss(left, run)
    return figure


def has_accuracy(run: RunRecord) -> bool:
    """Whether the run's loss knows right answers from wrong ones."""
    return not all(math.isnan(e.accuracy) for e in (*run.train, *run.test))


def title(run: RunRecord) -> str:
    """The data set's name, short enough for a heading."""
    return plain(textwrap.shorten(run.dataset, 60, placeholder="...") if " " in run.dataset else run.dataset[:60])


def plain(text: str) -> str:
    """The text as matplotlib shows it letter for letter: dollars are no mathematics, and what has no shape a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("$", r"\$")


def draw_loss(axes: Axes, run: RunRecord) -> None:
    """The total loss and what it is the sum of: the data loss, and the penalty on each weight matrix."""
    epochs = range(1, run.epochs + 1)
    data_loss = loss_label(run)

    def line(values: list[float], colour: str, style: object, label: str) -> None:
        axes.plot(
            epochs, values, color=colour, linestyle=style, marker=_marker(run), markersize=5, linewidth=1.6, label=label
        )

    line([e.loss for e in run.train], _TOTAL, _TRAIN, "total, training")
    line([e.loss for e in run.test], _TOTAL, _TEST, "total, testing")
    line([e.data_loss for e in run.train], _CROSS_ENTROPY, _TRAIN, f"{data_loss}, training")
    line([e.data_loss for e in run.test], _CROSS_ENTROPY, _TEST, f"{data_loss}, testing")
    for i, penalty in enumerate(run.train[0].penalties if run.train else ()):
        values = [e.penalties[i].value for e in run.train]
        line(values, _PENALTIES[i % len(_PENALTIES)], (0, (1, 1.5)), plain(f"{penalty.name} penalty of {penalty.path}"))
    _finish(axes, "Loss After Each Epoch", "Loss")
    axes.set_ylim(bottom=0)


def draw_accuracy(axes: Axes, run: RunRecord) -> None:
    """The share of right answers, in training and testing."""
    epochs = range(1, run.epochs + 1)
    for split, style, label in ((run.train, _TRAIN, "training"), (run.test, _TEST, "testing")):
        axes.plot(
            epochs, [e.accuracy for e in split], color=_ACCURACY, linestyle=style, marker=_marker(run), markersize=5,
            linewidth=1.6, label=label,
        )  # fmt: skip
    _finish(axes, "Accuracy After Each Epoch", "Accuracy")


def _marker(run: RunRecord) -> str:
    """A dot an epoch, as long as there is room between them."""
    return "." if run.epochs <= 40 else ""


def _finish(axes: Axes, title: str, y: str) -> None:
    axes.set(title=title, xlabel="Epochs", ylabel=y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    few = len(axes.lines) <= 8
    axes.legend(fontsize=8 if few else 6, ncols=1 if few else 2, framealpha=0.8, handlelength=3)
