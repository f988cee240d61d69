"""How figures look: sizes, colours, and what every pair of axes has in common.

Each figure is a matplotlib figure of its own: no pyplot, no global state, so threads may draw at the same time.
"""

from __future__ import annotations

import functools
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

__all__ = [
    "BLUE",
    "DASHED",
    "DOTTED",
    "GREY",
    "INK",
    "PALETTE",
    "SOLID",
    "curve",
    "drawable",
    "finish",
    "legend",
    "new_figure",
    "plain",
]

# Okabe & Ito, "Color universal design" (2008): told apart by every kind of colour vision, and in print by the dashes.
BLUE = "#0072b2"
PALETTE = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#999999")
# Of text and of lines that carry no data; pages on a dark ground exchange them for light ones.
INK, GREY = "#1b1f24", "#8a939c"
SOLID, DASHED, DOTTED = "-", (0, (4, 2)), (0, (1, 1.5))

_WIDTH = 6.0  # inches: most of the text's width on paper, and still legible on the width of a telephone


def new_figure(height: float, width: float = _WIDTH) -> Figure:
    """An empty figure, its sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def finish(axes: Axes, title: str, x: str, y: str) -> None:
    """Titles, a quiet grid, and no frame that is not an axis."""
    axes.set_title(title, fontsize=11, color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)
    axes.tick_params(which="both", labelsize=9, color=GREY, labelcolor=INK)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    if x == "Epochs":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def curve(epochs: int, style: Any = SOLID) -> dict[str, Any]:
    """How a curve over that many epochs looks: a dot an epoch, as long as there is room between them.

    Of a single epoch there is no line whose dashes could tell what it is: a ring stands for one with dashes.
    """
    if epochs == 1 and style == DASHED:
        return {"linestyle": style, "linewidth": 1.6, "markersize": 9, "marker": "o", "markerfacecolor": "none"}
    return {"linestyle": style, "linewidth": 1.6, "markersize": 5, "marker": "." if epochs <= 40 else ""}


def legend(axes: Axes, columns: int = 2) -> None:
    """What the axes show, named below all axes of their figure, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=False)
    if figure is not None:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False, handlelength=2.8,
            labelcolor=INK,
        )  # fmt: skip


def plain(text: str, width: int = 60) -> str:
    """The text as matplotlib shows it letter for letter, and no longer than ``width``: what is too much in the middle.

    Dollars are no mathematics, what has no shape is a space, and what the font lacks a question mark.
    """
    letters = _letters()
    shown = "".join(c if ord(c) in letters else "?" if c.isprintable() else " " for c in " ".join(text.split()))
    if len(shown) > width:
        shown = f"{shown[: width // 2]}\u2026{shown[len(shown) - (width - 1) // 2 :]}"
    return shown.replace("$", r"\$")


def drawable(text: str) -> bool:
    """Whether the font of figures has every letter of the text, and there is one."""
    return bool(text.strip()) and all(ord(letter) in _letters() or letter.isspace() for letter in text)


@functools.cache
def _letters() -> frozenset[int]:
    """What matplotlib's own font has: the one that is there on every machine."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
