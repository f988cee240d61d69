import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from funcnet.report.epochs import LONG, draw_curve, grouped, groups, places, set_epochs


def ticks(epochs: int, most: int) -> list[float]:
    axes = Figure().subplots()
    axes.plot(range(1, epochs + 1), range(epochs))
    set_epochs(axes, epochs, most)
    return list(axes.get_xticks())


@pytest.mark.parametrize(
    ("epochs", "most", "expected"),
    [
        (1, 8, [1]),
        (2, 8, [1, 2]),
        (3, 8, [1, 2, 3]),
        (5, 5, [1, 2, 4, 5]),
        (20, 8, [1, 5, 10, 15, 20]),
        (45, 8, [1, 10, 20, 30, 40, 45]),
        (100, 8, [1, 20, 40, 60, 80, 100]),
        (101, 8, [1, 20, 40, 60, 80, 101]),
        (5000, 8, [1, 10, 100, 1000, 5000]),
        (1500, 8, [1, 10, 100, 1500]),
    ],
)
def test_the_first_and_the_last_epoch_have_a_tick(epochs: int, most: int, expected: list[int]) -> None:
    assert ticks(epochs, most) == expected


@pytest.mark.parametrize("epochs", range(1, 400))
def test_there_are_no_more_ticks_than_there_is_room_for(epochs: int) -> None:
    for most in (5, 8):
        shown = ticks(epochs, most)
        assert len(shown) <= most
        assert (shown[0], shown[-1]) == (1, epochs)
        assert shown == sorted(set(shown))


def test_few_epochs_stand_for_themselves() -> None:
    assert places(3) == [1, 2, 3]
    assert grouped([5.0, math.nan, 1.0])[::2] == [5.0, 1.0]
    assert len(groups(LONG)) == LONG


@pytest.mark.parametrize("epochs", [LONG + 1, 5000, 100_000])
def test_every_epoch_is_in_one_group(epochs: int) -> None:
    parts = groups(epochs)
    assert [k for part in parts for k in part] == list(range(1, epochs + 1))
    assert len(parts) <= 200
    assert all(part[0] <= place <= part[-1] for part, place in zip(parts, places(epochs), strict=True))


def test_a_group_is_drawn_as_its_median_in_a_band_from_its_lowest_to_its_highest() -> None:
    values = [float(k) for k in range(1, 1001)]
    values[700] = -50.0  # an outlier does not move the curve, and is seen in the band
    axes = Figure().subplots()
    draw_curve(axes, values, "#0072b2", "x")
    (line,), (band,) = axes.lines, axes.collections
    place = next(k for k, part in enumerate(groups(1000)) if 701 in part)
    assert line.get_ydata()[place] == pytest.approx(np.median(grouped_values(values, place)))
    assert band.get_paths()[0].vertices[:, 1].min() == -50.0


def grouped_values(values: list[float], place: int) -> list[float]:
    return [values[k - 1] for k in groups(len(values))[place]]


def test_what_is_not_finite_leaves_a_gap() -> None:
    values = [1.0] * 1000
    last = groups(1000)[-1]
    for k in last:
        values[k - 1] = math.nan
    values[1] = math.inf
    drawn = grouped(values)
    assert math.isnan(drawn[-1])
    assert math.isnan(drawn[1])
    assert set(drawn[2:-1]) == {1.0}


def test_a_short_curve_has_no_band() -> None:
    axes = Figure().subplots()
    draw_curve(axes, [1.0, 2.0], "#0072b2", "x")
    assert not axes.collections
    assert axes.lines[0].get_ydata().tolist() == [1.0, 2.0]
