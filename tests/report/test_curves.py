import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import attrs
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from runs import epoch_numbers, evaluation, run_record, whole_run

from funcnet.report.curves import (
    accuracy_figure,
    loss_figure,
    norms_figure,
    overview_figure,
    parts_figure,
    rate_figure,
    updates_figure,
)
from funcnet.report.style import COLUMN, plain
from funcnet.step import PenaltyValue


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_loss_is_drawn_with_its_parts() -> None:
    figure = loss_figure(run_record())
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Loss After Each Epoch", "Epochs", "Loss")
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines) == [
        "total, training",
        "total, testing",
        "cross-entropy, training",
        "cross-entropy, testing",
        "l2 penalty of [1].weight",
        "l2 penalty of [3].weight",
    ]
    np.testing.assert_allclose(lines["total, training"], [3.75, 5, 6.75])
    np.testing.assert_allclose(lines["total, testing"], [5.25, 5.75, 7.25])
    np.testing.assert_allclose(lines["cross-entropy, training"], [1.5, 0.75, 0.5])
    np.testing.assert_allclose(lines["cross-entropy, testing"], [3, 1.5, 1])
    np.testing.assert_allclose(lines["l2 penalty of [1].weight"], [2, 4, 6])
    np.testing.assert_allclose(lines["l2 penalty of [3].weight"], [0.25, 0.25, 0.25])
    assert all(line.get_xdata().tolist() == [1, 2, 3] for line in axes.lines)
    assert legend_of(figure) == list(lines)


def test_accuracy() -> None:
    (axes,) = accuracy_figure(run_record()).axes
    assert (axes.get_title(), axes.get_ylabel()) == ("Accuracy After Each Epoch", "Accuracy")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.5, 0.6, 0.7])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.25, 0.35, 0.45])


def test_the_overview_has_loss_and_accuracy_each_with_its_legend() -> None:
    figure = overview_figure(run_record("one"))
    assert figure.get_suptitle() == "one"
    assert [axes.get_title() for axes in figure.axes] == ["Loss After Each Epoch", "Accuracy After Each Epoch"]
    left, right = figure.subfigs
    assert (len(legend_of(left)), legend_of(right)) == (6, ["training", "testing"])


def test_the_parts_are_stacked_up_to_the_total() -> None:
    figure = parts_figure(run_record())
    (axes,) = figure.axes
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
    np.testing.assert_allclose(tops, [1.5, 6.5, 6.75])  # cross-entropy alone; with the first penalty; with both
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata(), [5.25, 5.75, 7.25])
    assert legend_of(figure) == [
        "cross-entropy", "l2 penalty of [1].weight", "l2 penalty of [3].weight", "total, testing",
    ]  # fmt: skip
    assert axes.get_ylim()[0] == 0


def test_the_parts_of_one_epoch_are_bars() -> None:
    (axes,) = parts_figure(run_record(epochs=1)).axes
    assert [(bar.get_y(), bar.get_height()) for bar in axes.patches] == [(0, 1.5), (1.5, 2.0), (3.5, 0.25)]


def test_losses_that_hardly_differ_stay_clear_of_the_edge() -> None:
    flat = [evaluation(2.303 + 1e-6 * e) for e in range(3)]
    history = tuple(epoch_numbers(place, e, e) for place, e in enumerate(flat, 1))
    (axes,) = loss_figure(attrs.evolve(run_record(), history=history)).axes
    assert axes.get_ylim() == pytest.approx((0, 1.05 * 2.303), rel=1e-3)


def test_a_run_without_penalties_has_one_part() -> None:
    run = run_record()
    bare = attrs.evolve(
        run,
        history=tuple(
            attrs.evolve(e, train=attrs.evolve(e.train, penalties=()), test=attrs.evolve(e.test, penalties=()))
            for e in run.history
        ),
    )
    assert legend_of(parts_figure(bare)) == ["cross-entropy", "total, testing"]
    assert legend_of(loss_figure(bare)) == ["cross-entropy, training", "cross-entropy, testing"]


def test_accuracy_stays_within_its_axis() -> None:
    """No tick beyond 1, and what lies on the edge is not cut."""
    run = run_record(epochs=9)  # accuracy goes up to 1
    (axes,) = accuracy_figure(run).axes
    assert axes.get_ylim()[1] == 1
    assert not any(line.get_clip_on() for line in axes.lines)


def test_rate() -> None:
    run = run_record()
    rates = (0.1, 0.05, 0.0)
    run = attrs.evolve(
        run, history=tuple(attrs.evolve(e, learning_rate=r) for e, r in zip(run.history, rates, strict=True))
    )
    (axes,) = rate_figure(run).axes
    assert axes.lines[0].get_ydata().tolist() == list(rates)


def test_norms_array_by_array() -> None:
    figure = norms_figure(run_record())
    upper, lower = figure.axes
    assert (upper.get_title(), lower.get_title()) == ("Gradient Norms", "Parameter Norms")
    assert legend_of(figure) == ["[1].weight", "[1].bias", "[3].weight", "[3].bias"]
    assert [line.get_ydata().tolist() for line in upper.lines] == [[0.25] * 3] * 4
    assert [line.get_ydata()[0] for line in lower.lines] == [10, 1, 10, 1]
    assert (upper.get_yscale(), lower.get_yscale()) == ("log", "log")


def test_update_ratios_have_gaps_where_there_is_none() -> None:
    """A bias that is still zero has no ratio, and what is zero has no place on a logarithmic axis."""
    run = run_record()
    first, second, third = run.history
    run = attrs.evolve(
        run,
        history=(
            attrs.evolve(first, update_ratios=(("a", 0.5),)),
            attrs.evolve(second, update_ratios=(("a", 0.0), ("b", 0.25))),
            third,
        ),
    )
    (axes,) = updates_figure(attrs.evolve(run, history=run.history[:2])).axes
    a, b = (line.get_ydata() for line in axes.lines)
    np.testing.assert_array_equal(a, [0.5, math.nan])
    np.testing.assert_array_equal(b, [math.nan, 0.25])


def test_all_zeros_are_drawn_too() -> None:
    run = run_record(epochs=1)
    run = attrs.evolve(run, history=(attrs.evolve(run.history[0], update_ratios=(("a", 0.0),)),))
    updates_figure(run).draw_without_rendering()


def test_one_epoch_can_be_seen() -> None:
    figure = overview_figure(run_record(epochs=1))
    looks = {line.get_label().split(", ")[-1]: line.get_marker() for axes in figure.axes for line in axes.lines}
    assert (looks["training"], looks["testing"]) == (".", "o")  # what dashes tell apart where there are lines
    (testing,) = parts_figure(run_record(epochs=1)).axes[0].lines
    assert testing.get_marker() == "o"
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    ticks = [t for t in figure.axes[0].get_xticks() if low <= t <= high]
    assert ticks == [1]


def test_drawing_touches_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    overview_figure(run_record())
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; from runs import whole_run; from funcnet.report import document\n"
        "for block in document([whole_run()], 'T').blocks: getattr(block, 'draw', int)()\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_run_without_accuracy_shows_its_loss_by_name() -> None:
    run = run_record()
    blank = tuple(
        attrs.evolve(
            e, train=attrs.evolve(e.train, accuracy=math.nan), test=attrs.evolve(e.test, accuracy=math.nan)
        )
        for e in run.history
    )  # fmt: skip
    (axes,) = overview_figure(attrs.evolve(run, history=blank, loss_name="mean squared error")).axes
    assert axes.lines[2].get_label() == "mean squared error, training"


def test_names_are_no_mathematics() -> None:
    figure = overview_figure(run_record("cost $x^$ in US$"))
    figure.draw_without_rendering()
    assert figure.get_suptitle() == r"cost \$x^\$ in US\$"


def test_many_epochs_are_lines_without_dots() -> None:
    assert {line.get_marker() for line in loss_figure(run_record(epochs=200)).axes[0].lines} == {""}


def test_a_deep_network_has_room_for_its_curves() -> None:
    """Forty arrays: the colour goes by depth, and three of them are named."""
    paths = [f"[{k}].weight" for k in range(40)]
    numbers = tuple((path, 0.1) for path in paths)
    deep = tuple(
        attrs.evolve(e, gradient_norms=numbers, parameter_norms=numbers, update_ratios=numbers)
        for e in run_record().history
    )
    for draw in (norms_figure, updates_figure):
        figure = draw(attrs.evolve(run_record(), history=deep))
        figure.draw_without_rendering()
        assert legend_of(figure) == [paths[0], paths[20], paths[39]]
        assert len({line.get_color() for line in figure.axes[0].lines}) == 40
        assert all(axes.get_window_extent().height > 120 for axes in figure.axes)


def test_of_many_penalties_the_largest_are_named() -> None:
    values = (1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0)
    penalties = tuple(PenaltyValue(f"[{k}].weight", "l2", v) for k, v in enumerate(values))
    many = tuple(
        attrs.evolve(
            e, train=attrs.evolve(e.train, penalties=penalties), test=attrs.evolve(e.test, penalties=penalties)
        )
        for e in run_record().history
    )
    figure = parts_figure(attrs.evolve(run_record(), history=many))
    assert legend_of(figure)[1:-1] == [
        "l2 penalty of [1].weight", "l2 penalty of [3].weight", "l2 penalty of [5].weight", "l2 penalty of [7].weight",
        "l2 penalty of [6].weight", "3 other penalties",
    ]  # fmt: skip
    assert figure.axes[0].collections[-1].get_paths()[0].vertices[:, 1].max() == pytest.approx(1.5 + sum(values))


def test_what_is_below_zero_is_shown() -> None:
    run = run_record()
    below = attrs.evolve(
        run, history=tuple(attrs.evolve(e, test=attrs.evolve(e.test, data_loss=-50.0)) for e in run.history)
    )
    assert loss_figure(below).axes[0].get_ylim()[0] < -43
    assert loss_figure(run).axes[0].get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 9, "short"),
        ("Hypertrophic cardiomyopathy", 9, "Hype\u2026athy"),
        ("a  b\nc\x00", 9, "a b c "),
        ("\u6570 1$", 9, r"? 1\$"),
    ],
)
def test_names_are_cut_in_the_middle(text: str, width: int, shown: str) -> None:
    assert plain(text, width) == shown


FIGURES = (overview_figure, loss_figure, parts_figure, accuracy_figure, rate_figure, norms_figure, updates_figure)
DRAWN = [(draw, {}) for draw in FIGURES] + [(draw, {"width": COLUMN}) for draw in FIGURES[1:]]


@pytest.mark.parametrize(("draw", "size"), DRAWN)
@pytest.mark.parametrize("epochs", [1, 2, 3, 45, 5000])
def test_nothing_overlaps_and_nothing_is_cut(draw: Callable[..., Figure], size: dict[str, float], epochs: int) -> None:
    """Every text within the figure, no legend over any axes, and a tick at the last epoch."""
    figure = draw(whole_run("a data set of a rather long name", epochs), **size)
    figure.draw_without_rendering()
    edge = figure.bbox
    for part in (figure, *figure.subfigs):
        for legend in part.legends:
            box = legend.get_window_extent()
            assert edge.x0 <= box.x0
            assert box.x1 <= edge.x1
            assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    for axes in figure.axes:
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent()
            assert not text.get_text() or (edge.x0 <= box.x0 and box.x1 <= edge.x1 and box.y1 <= edge.y1)
        labels = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(labels))
        assert axes.get_xticks()[-1] == epochs
