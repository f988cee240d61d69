"""Figures of how a classifier answered: which classes it confuses, and how far its confidence agrees with its accuracy.

Each is drawn for the width of a page, or with ``width=COLUMN`` for that of a column or a telephone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from funcnet.examination import Answers, Bin
from funcnet.report.epochs import steps
from funcnet.report.labels import labels
from funcnet.report.statistics import ClassScore, class_scores, class_sizes, wilson_interval
from funcnet.report.style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    PAGE,
    PALETTE,
    SHARES,
    finish,
    is_narrow,
    legend,
    new_figure,
)

__all__ = ["FEW", "class_figure", "confusion_figure", "group_size", "recall_figure", "reliability_figure"]

FEW = 20  # classes whose names all find room
_ENDS = 10  # of more, how many of the best and of the worst are shown
_CELLS = 100  # rows and columns of a confusion matrix that can still be seen
_DARK = 0.78  # the share above which a cell is too dark for dark ink


def group_size(classes: int) -> int:
    """How many neighbouring classes stand in one row of the confusion matrix: more than one where they are too many."""
    return math.ceil(classes / _CELLS)


def confusion_figure(answers: Answers, names: tuple[str, ...], width: float = PAGE) -> Figure:
    """The confusion matrix: of each true class (row), the share predicted as each class (column).

    More than 100 classes are put into groups of neighbours.
    """
    counts, size = np.array(answers.confusion), group_size(len(answers.confusion))
    starts = np.arange(0, len(counts), size)
    sizes = np.add.reduceat(class_sizes(answers), starts)
    shares = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1) / np.maximum(sizes, 1)[:, None]
    classes, few = len(counts), len(counts) <= FEW
    figure = new_figure(_side_height(width, 0.94 if few else 0.9), width)
    axes = figure.subplots()
    mesh = axes.pcolormesh(shares, cmap=SHARES, vmin=0, vmax=1, rasterized=not few)
    finish(axes, "Confusion Matrix", "Predicted", "True")
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    ticks = range(0, classes, 1 if few else _tick_step(classes, 10 if width == PAGE else 5))
    shown = labels(names, 16) if few else [str(k) for k in ticks]
    axes.set_xticks(
        [(k + 0.5) / size for k in ticks], shown, rotation=45 if few else 0, ha="right" if few else "center"
    )
    axes.set_yticks([(k + 0.5) / size for k in ticks], shown)
    if width < PAGE and 12 < classes <= FEW:
        axes.tick_params(labelsize=6)
    if classes <= (FEW if width == PAGE else 12):
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(
                    column + 0.5, row + 0.5, str(count), ha="center", va="center",
                    color="#ffffff" if shares[row, column] > _DARK else INK,
                    fontsize=6.5 if width < PAGE or classes > 12 else 8.5,
                )  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # as vectors, its steps would show
    bar.set_label("Share of the true class", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8.5, color=GREY, labelcolor=INK)
    bar.outline.set_edgecolor(GREY)
    return figure


def _side_height(width: float, share: float) -> float:
    """The height of a figure: the same for those that may stand side by side."""
    return share * width if width == PAGE else 3.6


def _tick_step(classes: int, most: int) -> int:
    """The smallest of 5, 10, 20, 50, ... by which there are ``most`` ticks or fewer."""
    return next(step for step in steps() if step >= 5 and classes <= most * step)


def recall_figure(answers: Answers, width: float = PAGE) -> Figure:
    """How many classes have which recall: the classes with examples, in ten bins."""
    figure = new_figure(_side_height(width, 0.5), width)
    axes = figure.subplots()
    recalls = [score.recall for score in class_scores(answers) if score.examples]
    axes.hist(recalls, bins=10, range=(0, 1), color=BLUE, rwidth=0.92)
    finish(axes, "Recall, Class by Class", "Recall", "Classes")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def class_figure(answers: Answers, names: tuple[str, ...], width: float = PAGE) -> Figure:
    """Precision, recall and F1 of each class, best F1 first; of many classes the best and the worst.

    What was neither there nor predicted is neither good nor bad, and left out.
    """
    scores = class_scores(answers)
    met = (k for k, score in enumerate(scores) if not math.isnan(score.f1))
    order = sorted(met, key=lambda k: -scores[k].f1)
    few = len(order) <= FEW
    chosen = order if few else [*order[:_ENDS], *order[-_ENDS:]]
    height = 1.3 + (0.24 if len(chosen) <= 12 else 0.19) * len(chosen)
    figure = new_figure(height if width == PAGE else max(height, _side_height(width, 1)), width)
    axes = figure.subplots()
    places = range(len(chosen))
    for marker, colour, label, column in (
        (">", PALETTE[1], "precision", [scores[k].precision for k in chosen]),
        ("<", PALETTE[2], "recall", [scores[k].recall for k in chosen]),
        ("o", BLUE, "F1", [scores[k].f1 for k in chosen]),
    ):
        axes.plot(
            column, places, marker, color=colour, label=label, markersize=6 if marker == "o" else 5, clip_on=False
        )
    title = "Precision, Recall and F1, Class by Class" if few else f"The {_ENDS} Best and the {_ENDS} Worst Classes"
    figure.suptitle(title, fontsize=11 if width == PAGE else 10, color=INK)  # the axes may leave too little room for it
    finish(axes, "", "Share", "")
    shortened = labels(names, 20)
    axes.set_yticks(places, [f"{shortened[k]} ({scores[k].examples:,})" for k in chosen])
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    lowest = min((share for k in chosen for share in _scores(scores[k]) if not math.isnan(share)), default=0.0)
    axes.set_xlim(max(0.0, math.floor(lowest * 10 - 0.2) / 10), 1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if not few:
        axes.axhline(_ENDS - 0.5, color=GREY, linewidth=0.8)
    legend(axes, columns=3)
    return figure


def _scores(score: ClassScore) -> tuple[float, float, float]:
    return score.precision, score.recall, score.f1


def reliability_figure(answers: Answers, width: float = PAGE) -> Figure:
    """The reliability diagram: the share of right answers among those given with a confidence.

    Niculescu-Mizil & Caruana, "Predicting good probabilities with supervised learning" (ICML 2005), section 4. Below
    it, how many answers were given with that confidence. A dot stands at the mean confidence of a bin, with the 95%
    interval of its accuracy. A bin is the paler the fewer answers it has.
    """
    figure = new_figure(3.2 if width == PAGE else 3.9, width)
    upper, lower = figure.subplots(2, 1, height_ratios=(2.6, 1), sharex=True)
    bins, step = answers.bins, 1 / len(answers.bins)
    met = [(k, b) for k, b in enumerate(bins) if b.count]
    most = max((b.count for b in bins), default=0)
    for k, b in met:
        upper.bar((k + 0.5) * step, b.accuracy, step * 0.92, color=BLUE, alpha=0.15 + 0.6 * math.sqrt(b.count / most))
    upper.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle=DASHED, label="perfect calibration")
    upper.errorbar(
        [b.confidence for _, b in met], [b.accuracy for _, b in met], _error_bars([b for _, b in met]), fmt="o",
        color=PALETTE[1], markersize=4, elinewidth=1.2, capsize=2, label="accuracy, 95% interval", clip_on=False,
    )  # fmt: skip
    finish(upper, "Reliability", "", "Accuracy")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.bar([(k + 0.5) * step for k in range(len(bins))], [b.count for b in bins], step * 0.92, color=GREY)
    for k, b in met:
        lower.annotate(
            f"{b.count:,}", ((k + 0.5) * step, b.count), (0, 2), textcoords="offset points", ha="center", va="bottom",
            fontsize=6.5, color=INK, rotation=90 if is_narrow(lower) else 0,
        )  # fmt: skip
    finish(lower, "", "Confidence", "Answers")
    lower.set_ylim(0, 1.3 * most if width == PAGE else 1.9 * most)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    legend(upper)
    return figure


def _error_bars(bins: list[Bin]) -> Any:
    """How far the ends of the accuracies' 95% intervals are below and above them."""
    ends = [(b.accuracy, *wilson_interval(b.accuracy, b.count)) for b in bins]
    return [[max(0.0, middle - low) for middle, low, _ in ends], [max(0.0, high - middle) for middle, _, high in ends]]
