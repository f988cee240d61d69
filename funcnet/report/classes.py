"""Figures of how a classifier answered: which classes it confuses, and whether its confidence can be believed."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from funcnet.examination import Answers
from funcnet.report.labels import labels
from funcnet.report.statistics import ClassScore, calibration_error, class_scores
from funcnet.report.style import BLUE, DASHED, GREY, INK, PALETTE, finish, legend, new_figure

__all__ = ["class_figure", "confusion_figure", "reliability_figure"]

_FEW = 20  # classes whose names all find room
_ENDS = 10  # of more, how many of the best and of the worst are shown


def confusion_figure(answers: Answers, names: tuple[str, ...]) -> Figure:
    """The confusion matrix: of each true class (row), the share predicted as each class (column)."""
    counts = np.array(answers.confusion)
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = classes <= _FEW
    figure = new_figure(height=5.6 if few else 6.0)
    axes = figure.subplots()
    mesh = axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, rasterized=not few)
    finish(axes, "Confusion Matrix", "Predicted", "True")
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    ticks = range(0, classes, 1 if few else 10)
    shown = labels(names, 16) if few else [str(k) for k in ticks]
    axes.set_xticks([k + 0.5 for k in ticks], shown, rotation=45 if few else 0, ha="right" if few else "center")
    axes.set_yticks([k + 0.5 for k in ticks], shown)
    if few:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                # Not the ink of the page, which a dark one exchanges: the cells stay as they are.
                colour = "#ffffff" if shares[row, column] > 0.55 else "#000000"
                axes.text(
                    column + 0.5, row + 0.5, str(count), ha="center", va="center", color=colour,
                    fontsize=8.5 if classes <= 12 else 6,
                )  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8)
    bar.set_label("Share of the true class", fontsize=9.5, color=INK)
    bar.ax.tick_params(labelsize=9, color=GREY, labelcolor=INK)
    bar.outline.set_edgecolor(GREY)
    return figure


def class_figure(answers: Answers, names: tuple[str, ...]) -> Figure:
    """Precision, recall and F1 of each class, best F1 first; of many classes the best and the worst.

    What was neither there nor predicted is neither good nor bad, and left out.
    """
    scores = class_scores(answers)
    met = (k for k, score in enumerate(scores) if not math.isnan(score.f1))
    order = sorted(met, key=lambda k: -scores[k].f1)
    few = len(order) <= _FEW
    chosen = order if few else [*order[:_ENDS], *order[-_ENDS:]]
    figure = new_figure(height=1.5 + 0.24 * len(chosen))
    axes = figure.subplots()
    places = range(len(chosen))
    for marker, colour, label, column in (
        (">", PALETTE[1], "precision", [scores[k].precision for k in chosen]),
        ("<", PALETTE[2], "recall", [scores[k].recall for k in chosen]),
        ("o", BLUE, "F1", [scores[k].f1 for k in chosen]),
    ):
        axes.plot(column, places, marker, color=colour, label=label, markersize=6 if marker == "o" else 5)
    title = "Precision, Recall and F1 of Each Class" if few else f"The {_ENDS} Best and the {_ENDS} Worst Classes"
    finish(axes, title, "Share", "")
    shortened = labels(names, 20)
    axes.set_yticks(places, [f"{shortened[k]} ({scores[k].examples:,})" for k in chosen])
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    lowest = min((share for k in chosen for share in _scores(scores[k]) if not math.isnan(share)), default=0.0)
    axes.set_xlim(math.floor(lowest * 10) / 10 - 0.01, 1.01)
    if not few:
        axes.axhline(_ENDS - 0.5, color=GREY, linewidth=0.8)
    legend(axes, columns=3)
    return figure


def _scores(score: ClassScore) -> tuple[float, float, float]:
    return score.precision, score.recall, score.f1


def reliability_figure(answers: Answers) -> Figure:
    """The reliability diagram: the share of right answers among those given with a confidence.

    Niculescu-Mizil & Caruana, "Predicting good probabilities with supervised learning" (ICML 2005), section 4. Below
    it, how many answers were given with that confidence.
    """
    figure = new_figure(height=5.0)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    bins, width = answers.bins, 1 / len(answers.bins)
    middles = [(i + 0.5) * width for i in range(len(bins))]
    met = [i for i, b in enumerate(bins) if b.count]
    upper.bar([middles[i] for i in met], [bins[i].accuracy for i in met], width * 0.92, color=BLUE, label="accuracy")
    upper.plot(
        [bins[i].confidence for i in met], [bins[i].confidence for i in met], "o", color=PALETTE[1], markersize=4,
        label="mean confidence",
    )  # fmt: skip
    upper.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle=DASHED, label="confidence that can be believed")
    finish(upper, f"Reliability (expected calibration error {calibration_error(bins):.3f})", "", "Accuracy")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.bar(middles, [b.count for b in bins], width * 0.92, color=GREY)
    finish(lower, "", "Confidence", "Answers")
    legend(upper, columns=3)
    return figure
