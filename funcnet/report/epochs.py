"""The axis of epochs: its ticks, and the curves of runs of thousands of epochs.

A run of more than ``LONG`` epochs has a logarithmic axis, on which its epochs are put into groups. A point of its curve
is the median of a group. A band shows the lowest and the highest value of each group.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from funcnet.report.style import SOLID, curve, is_narrow

__all__ = ["LONG", "draw_band", "draw_curve", "grouped", "places", "set_epochs", "steps"]

LONG = 300
_GROUPS = 200


def groups(epochs: int) -> tuple[range, ...]:
    """The epochs 1 to ``epochs`` in groups: of one each, or evenly spaced on a logarithmic axis."""
    if epochs <= LONG:
        return tuple(range(k, k + 1) for k in range(1, epochs + 1))
    edges = sorted({round((epochs + 1) ** (k / _GROUPS)) for k in range(_GROUPS + 1)})
    return tuple(range(a, b) for a, b in itertools.pairwise(edges))


def places(epochs: int) -> list[float]:
    """Where the groups stand on the axis."""
    return [group[0] if len(group) == 1 else math.sqrt(group[0] * group[-1]) for group in groups(epochs)]


def grouped(values: Sequence[float], summary: Callable[[list[float]], float] = statistics.median) -> list[float]:
    """The values of the epochs, summed up group by group; NaN for a group without a finite value."""
    if len(values) <= LONG:
        return list(values)
    finite = ([v for v in values[group[0] - 1 : group[-1]] if math.isfinite(v)] for group in groups(len(values)))
    return [summary(some) if some else math.nan for some in finite]


def draw_curve(
    axes: Axes, values: Sequence[float], colour: Any, label: str, style: Any = SOLID, *, clip: bool = True
) -> None:
    """A value of every epoch as a curve, with the band of the groups where there are any.

    ``clip=False`` is for values at the edge of their axis, such as a share of 1.
    """
    look = curve(len(values), style)
    axes.plot(places(len(values)), grouped(values), color=colour, label=label, clip_on=clip, **look)
    if len(values) > LONG:
        draw_band(axes, values, values, colour)


def draw_band(axes: Axes, low: Sequence[float], high: Sequence[float], colour: Any) -> None:
    """The band from the lowest to the highest value of every epoch or group."""
    axes.fill_between(places(len(low)), grouped(low, min), grouped(high, max), color=colour, alpha=0.2, lw=0)


def set_epochs(axes: Axes, epochs: int, most: int = 8) -> None:
    """Give the horizontal axis whole epochs, with ticks at the first and the last.

    There are ``most`` ticks or fewer, and in a narrow figure 5 or fewer. On a logarithmic axis there is one a decade.
    """
    most = min(most, 5) if is_narrow(axes) else most
    if epochs > LONG:
        axes.set_xscale("log")
        decades = (10**k for k in range(len(str(epochs))))
        ticks = [1, *(t for t in decades if 1 < t < epochs / 2), epochs]
    else:
        step = next(s for s in steps() if epochs / s <= most - 1)
        ticks = [t for t in range(step, epochs, step) if epochs - t >= 0.5 * step]
        ticks = [*([1] if not ticks or ticks[0] > 1.6 else []), *ticks, epochs]
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(ticks))))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def steps() -> Iterator[int]:
    """From tick to tick: 1, 2, 5, 10, 20, 50, ..."""
    scale = 1
    while True:
        yield from (scale, 2 * scale, 5 * scale)
        scale *= 10
