"""How figures look: sizes, colours, and what every pair of axes has in common.

Each figure is a matplotlib figure of its own: no pyplot, no global state, so threads may draw at the same time.
"""

from __future__ import annotations

import functools
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

__all__ = [
    "BLUE",
    "COLUMN",
    "DASHDOT",
    "DASHED",
    "DOTTED",
    "GREY",
    "INK",
    "PAGE",
    "PALETTE",
    "SHARES",
    "SIGNED",
    "SOLID",
    "curve",
    "drawable",
    "finish",
    "from_zero",
    "is_narrow",
    "legend",
    "new_figure",
    "plain",
    "share_axis",
]

# Okabe & Ito, "Color universal design" (2008): told apart by every kind of colour vision, and in print by the dashes.
BLUE = "#0072b2"
PALETTE = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#999999")
# Of text and of lines that carry no data; pages on a dark ground exchange them for light ones.
INK, GREY = "#1b1f24", "#8a939c"
SOLID, DASHED, DOTTED, DASHDOT = "-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))

# Widths in inches: of a page's text, and of one of its two columns. The latter is also that of a telephone.
PAGE, COLUMN = 6.0, 3.6

# Colours that begin with nothing at all, so that they can be seen on a light ground and on a dark one: of shares from 0
# to 1, and of numbers from below 0 (blue) to above 0 (red).
_SHADE, _RED = to_rgb("#1a6fae"), to_rgb("#d6402f")
SHARES = ListedColormap([(*_SHADE, k / 255) for k in range(256)])
SIGNED = ListedColormap([(*(_RED if k > 127.5 else _SHADE), abs(k - 127.5) / 127.5) for k in range(256)])


def new_figure(height: float, width: float = PAGE) -> Figure:
    """An empty figure, its sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def is_narrow(axes: Axes) -> bool:
    """Whether the axes are those of a figure as wide as a column."""
    figure = axes.get_figure(root=True)
    return figure is not None and bool(figure.get_figwidth() < (COLUMN + PAGE) / 2)


def finish(axes: Axes, title: str, x: str, y: str) -> None:
    """Titles, a quiet grid, and no frame that is not an axis."""
    narrow = is_narrow(axes)
    axes.set_title(title, fontsize=10 if narrow else 11, color=INK)
    axes.set_xlabel(x, fontsize=9 if narrow else 9.5, color=INK)
    axes.set_ylabel(y, fontsize=9 if narrow else 9.5, color=INK)
    axes.tick_params(which="both", labelsize=8.5 if narrow else 9, color=GREY, labelcolor=INK)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def from_zero(axes: Axes) -> None:
    """Begin the vertical axis at 0 if nothing is below it, and leave some room above the highest value."""
    low, high = axes.dataLim.intervaly
    if low >= 0 and high > 0:
        axes.set_ylim(0, 1.05 * high)


def share_axis(axes: Axes) -> None:
    """Keep the vertical axis within 0 and 1, beyond which there are no shares."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 1))


def curve(epochs: int, style: Any = SOLID) -> dict[str, Any]:
    """How a curve over that many epochs looks: a dot an epoch, as long as there is room between them.

    With dashes and dots it has squares, since dots on dashes hide those of the line. Of a single epoch there is no line
    whose dashes could tell what it is: a ring, or an empty square, stands for one with dashes.
    """
    dot, size = ("s", 3) if style == DASHDOT else (".", 5)
    if epochs == 1 and style in (DASHED, DASHDOT):
        ring = "s" if style == DASHDOT else "o"
        return {"linestyle": style, "linewidth": 1.6, "markersize": 9, "marker": ring, "markerfacecolor": "none"}
    return {"linestyle": style, "linewidth": 1.6, "markersize": size, "marker": dot if epochs <= 40 else ""}


def legend(axes: Axes, columns: int = 2) -> None:
    """What the axes show, named below all axes of their figure, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure, narrow = axes.get_figure(root=False), is_narrow(axes)
    if narrow:  # as many columns as the names leave room for
        columns = min(columns, max(1, 46 // (max(map(len, labels), default=1) + 7)))
    if figure is not None:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, fontsize=8 if narrow else 8.5, frameon=False,
            handlelength=2.0 if narrow else 2.8, labelcolor=INK,
        )  # fmt: skip


def plain(text: str, width: int = 60) -> str:
    """The text so that matplotlib draws it letter for letter. If it is longer than ``width``, its middle is left out.

    Dollars do not begin mathematics, a control character becomes a space, and a letter that the font lacks a question
    mark.
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
