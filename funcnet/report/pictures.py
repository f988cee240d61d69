"""Figures made of pictures: the mistakes a classifier was surest of, and the weights of a first layer."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from funcnet.examination import Answers, Picture
from funcnet.report.labels import labels
from funcnet.report.style import GREY, INK, PAGE, SIGNED, new_figure

__all__ = ["filters_figure", "mistakes_figure"]


def mistakes_figure(answers: Answers, names: tuple[str, ...], width: float = PAGE) -> Figure:
    """The wrong answers given with the most confidence: the picture, what was predicted, and what it is."""
    shown = [mistake for mistake in answers.mistakes if mistake.picture is not None]
    figure, places = _grid(len(shown), 6, row_height=1.25) if width == PAGE else _grid(len(shown), 3, 1.55, width)
    shortened = labels(names, 15)
    for axes, mistake in zip(places, shown, strict=True):
        _show(axes, mistake.picture, cmap="gray")
        axes.set_title(
            f"{shortened[mistake.predicted]}\n({shortened[mistake.true]})\n{mistake.confidence:.0%}",
            fontsize=6.5 if width == PAGE else 7.5, color=INK, pad=3,
        )  # fmt: skip
    return figure


def filters_figure(filters: tuple[Picture, ...], width: float = PAGE) -> Figure:
    """The first layer's weights as pictures, each on its own scale: red above 0 and blue below, or in their colours."""
    figure, places = _grid(len(filters), 9, row_height=0.67) if width == PAGE else _grid(len(filters), 6, 0.6, width)
    for axes, picture in zip(places, filters, strict=True):
        _show(axes, picture, cmap=SIGNED)
    return figure


def _grid(count: int, a_row: int, row_height: float, width: float = PAGE) -> tuple[Figure, list[Axes]]:
    rows = max(1, math.ceil(count / a_row))
    figure = new_figure(row_height * rows, width)
    figure.get_layout_engine().set(wspace=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
    places = list(figure.subplots(rows, a_row, squeeze=False).flat)
    for axes in places:
        axes.set_axis_off()
    return figure, places[:count]


def _show(axes: Axes, picture: Picture | None, cmap: Any) -> None:
    if picture is not None:
        axes.imshow(picture.array, cmap=cmap, vmin=0, vmax=255, interpolation="nearest")
        axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=GREY, linewidth=0.6))
