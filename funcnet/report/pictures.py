"""Figures made of pictures: augmented examples, the mistakes a classifier was surest of, a first layer's weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from funcnet.examination import Answers, Picture
from funcnet.report.labels import labels
from funcnet.report.style import GREY, INK, PAGE, SIGNED

__all__ = ["augmented_figure", "filters_figure", "mistakes_figure"]

_GAP = 0.04  # inches around a picture


def augmented_figure(rows: tuple[tuple[Picture, ...], ...], width: float = PAGE) -> Figure:
    """Training images as they are, and in the rows below as they were augmented."""
    a_row = len(rows[0])
    return _gallery([picture for row in rows for picture in row], "gray", a_row, width / max(a_row, 4), width)


def mistakes_figure(answers: Answers, names: tuple[str, ...], width: float = PAGE) -> Figure:
    """The wrong answers given with the most confidence: the picture, what was predicted, and what it is."""
    shown = [(mistake, mistake.picture) for mistake in answers.mistakes if mistake.picture is not None]
    shortened = labels(names, 15)
    titles = [f"{shortened[m.predicted]}\n({shortened[m.true]})\n{m.confidence:.0%}" for m, _ in shown]
    pictures = [picture for _, picture in shown]
    if width == PAGE:
        return _gallery(pictures, "gray", a_row=6, height=1.25, width=width, titles=titles, size=6.5)
    return _gallery(pictures, "gray", a_row=3, height=1.55, width=width, titles=titles, size=7.5)


def filters_figure(filters: tuple[Picture, ...], width: float = PAGE) -> Figure:
    """The first layer's weights as pictures, each on its own scale: red above 0 and blue below, or in their colours."""
    return _gallery(
        filters, SIGNED, a_row=9 if width == PAGE else 6, height=0.67 if width == PAGE else 0.6, width=width
    )


def _gallery(
    pictures: Sequence[Picture],
    colours: Any,
    a_row: int,
    height: float,
    width: float,
    titles: Sequence[str] = (),
    size: float = 0.0,
) -> Figure:
    """Pictures in rows of a height in inches, each below its title of three lines.

    All of them share one pair of axes, whose unit is the inch: a pair for each would take most of the time of a report.
    """
    rows = max(1, math.ceil(len(pictures) / a_row))
    figure = Figure(figsize=(width, height * rows))
    figure.suppressComposite = True  # one image for all of them would be resampled, and larger
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    title = 3 * 1.25 * size / 72
    across, down = width / a_row - 2 * _GAP, height - title - 2 * _GAP
    for place, picture in enumerate(pictures):
        row, column = divmod(place, a_row)
        scale = min(down / picture.shape[0], across / picture.shape[1])
        high, wide = scale * picture.shape[0], scale * picture.shape[1]
        left, top = (column + 0.5) * width / a_row - wide / 2, row * height + _GAP + title
        axes.imshow(
            picture.array, cmap=colours, vmin=0, vmax=255, interpolation="nearest",
            extent=(left, left + wide, top + high, top),
        )  # fmt: skip
        axes.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=GREY, linewidth=0.6))
        if titles:
            axes.text(
                left + wide / 2, top - _GAP / 2, titles[place], fontsize=size, color=INK, ha="center", va="bottom"
            )  # fmt: skip
    axes.set(xlim=(0, width), ylim=(height * rows, 0))
    return figure
