import itertools
import math
from collections.abc import Callable

import attrs
import numpy as np
import pytest
from matplotlib.figure import Figure
from runs import examination

from funcnet.examination import Answers, Bin
from funcnet.report.classes import class_figure, confusion_figure, group_size, recall_figure, reliability_figure
from funcnet.report.style import COLUMN, PAGE

ANSWERS = examination().answers
NAMES = ("cat", "dog", "US$ & <co>")


def many(classes: int) -> Answers:
    """Each class recognised a little better than the one before it."""
    confusion = np.zeros((classes, classes), int)
    for k in range(classes):
        confusion[k, k], confusion[k, 0] = k, confusion[k, 0] + classes - k
    return attrs.evolve(ANSWERS, confusion=tuple(map(tuple, confusion.tolist())))


def test_the_confusion_matrix_has_counts_on_shares() -> None:
    axes, bar = confusion_figure(ANSWERS, NAMES).axes
    (mesh,) = axes.collections
    np.testing.assert_allclose(
        np.asarray(mesh.get_array()).reshape(3, 3), [[7 / 8, 1 / 8, 0], [1 / 3, 2 / 3, 0], [0, 1 / 3, 2 / 3]]
    )
    counts = {text.get_position(): text.get_text() for text in axes.texts}  # (column, row)
    assert counts == {
        (0.5, 0.5): "7", (1.5, 0.5): "1", (0.5, 1.5): "2", (1.5, 1.5): "4", (1.5, 2.5): "2", (2.5, 2.5): "4",
    }  # fmt: skip
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("Predicted", "True", "Share of the true class")
    names = ["cat", "dog", r"US\$ & <co>"]
    assert [t.get_text() for t in axes.get_xticklabels()] == [t.get_text() for t in axes.get_yticklabels()] == names
    assert axes.yaxis_inverted()


def test_a_class_without_examples_has_an_empty_row() -> None:
    empty = attrs.evolve(ANSWERS, confusion=((1, 1), (0, 0)), mistakes=())
    np.testing.assert_allclose(
        np.asarray(confusion_figure(empty, ("a", "b")).axes[0].collections[0].get_array()).ravel(), [0.5, 0.5, 0, 0]
    )


@pytest.mark.parametrize(("classes", "step"), [(21, 5), (100, 10), (150, 20), (1000, 100), (2400, 500)])
def test_many_classes_go_by_number(classes: int, step: int) -> None:
    axes, _ = confusion_figure(many(classes), tuple(map(str, range(classes)))).axes
    assert [t.get_text() for t in axes.get_xticklabels()] == [str(k) for k in range(0, classes, step)]
    assert not axes.texts


def test_very_many_classes_are_put_into_groups_of_neighbours() -> None:
    """Of 250 classes three make a row, and the last stands alone; unanswered examples count in their rows."""
    answers = attrs.evolve(many(250), unanswered=(0, 50, *(0,) * 248))
    assert [group_size(k) for k in (20, 100, 101, 250, 1000)] == [1, 1, 2, 3, 10]
    axes, _ = confusion_figure(answers, tuple(map(str, range(250)))).axes
    shares = np.asarray(axes.collections[0].get_array()).reshape(84, 84)
    np.testing.assert_allclose(shares[:2, :2], [[750 / 800, 0], [(247 + 246 + 245) / 750, 12 / 750]])
    assert shares[83, 83] == pytest.approx(249 / 250)
    assert axes.get_xticks()[1] == pytest.approx(50.5 / 3)


@pytest.mark.parametrize("width", [PAGE, COLUMN])
@pytest.mark.parametrize("classes", [3, 10, 20, 21, 300, 1000])
@pytest.mark.parametrize("draw", [confusion_figure, class_figure])
def test_no_label_is_cut_or_covers_another(draw: Callable[..., Figure], classes: int, width: float) -> None:
    figure = draw(many(classes), tuple(f"class number {k}" for k in range(classes)), width)
    figure.draw_without_rendering()
    edge = figure.bbox
    for axes in figure.axes:
        title = axes.title.get_window_extent()
        assert edge.x0 <= title.x0 <= title.x1 <= edge.x1
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
            labels = [label for place, label in ticks if low <= place <= high]
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            assert all(edge.x0 <= box.x0 <= box.x1 <= edge.x1 for box in boxes)
            if not labels or labels[0].get_rotation() == 0:
                assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    if figure.get_suptitle():
        box = figure._suptitle.get_window_extent()
        assert edge.x0 <= box.x0 <= box.x1 <= edge.x1


def test_cells_let_the_page_through_where_there_is_nothing() -> None:
    """So a heat map is dark on a dark page."""
    (mesh,) = confusion_figure(ANSWERS, NAMES).axes[0].collections
    clear, full = mesh.cmap([0.0, 1.0])
    assert (clear[3], full[3]) == (0, 1)


def test_how_many_classes_have_which_recall() -> None:
    (axes,) = recall_figure(attrs.evolve(ANSWERS, confusion=((9, 1, 0), (5, 5, 0), (0, 0, 0)), mistakes=())).axes
    assert [bar.get_height() for bar in axes.patches] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]


def test_scores_of_each_class_the_best_first() -> None:
    figure = class_figure(ANSWERS, NAMES)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat (8)", r"US\$ & <co> (6)", "dog (6)"]
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_allclose(lines["precision"], [7 / 9, 1, 4 / 7])
    np.testing.assert_allclose(lines["recall"], [7 / 8, 4 / 6, 4 / 6])
    np.testing.assert_allclose(lines["F1"], [14 / 17, 8 / 10, 8 / 13])
    low, high = axes.get_xlim()
    assert low <= 4 / 7
    assert high == 1  # there are no shares beyond
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["precision", "recall", "F1"]


def test_of_many_classes_the_best_and_the_worst() -> None:
    figure = class_figure(many(100), tuple(f"c{k}" for k in range(100)))
    (axes,) = figure.axes
    names = [t.get_text().split()[0] for t in axes.get_yticklabels()]
    assert names[:10] == [f"c{k}" for k in range(99, 89, -1)]
    assert names[10:] == [f"c{k}" for k in (*range(9, 1, -1), 0, 1)]  # one class takes all that is not recognised
    assert figure.get_suptitle() == "The 10 Best and the 10 Worst Classes"


def test_the_lowest_share_is_within_the_figure() -> None:
    answers = attrs.evolve(ANSWERS, confusion=((1, 9), (0, 10)), mistakes=())
    (axes,) = class_figure(answers, ("a", "b")).axes
    low, _ = axes.get_xlim()
    assert low < min(share for line in axes.lines for share in line.get_xdata())


def test_classes_without_a_score_come_last() -> None:
    (axes,) = class_figure(attrs.evolve(ANSWERS, confusion=((0, 0), (1, 1)), mistakes=()), ("none", "some")).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["some (2)", "none (0)"]
    recall = next(line.get_xdata() for line in axes.lines if line.get_label() == "recall")
    assert (recall[0], math.isnan(recall[1])) == (0.5, True)


def test_reliability() -> None:
    upper, lower = reliability_figure(ANSWERS).axes
    bars = upper.patches
    assert [(round(bar.get_x() + bar.get_width() / 2, 4), round(bar.get_height(), 4)) for bar in bars] == [
        (0.6333, 0.5),
        (0.9667, 0.9167),
    ]
    diagonal, dots = upper.lines[0], next(line for line in upper.lines if line.get_marker() == "o")
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert diagonal.get_label() == "perfect calibration"
    assert list(dots.get_xdata()) == [0.65, 0.95]
    assert list(dots.get_ydata()) == [0.5, 11 / 12]
    assert [bar.get_height() for bar in lower.patches] == [0] * 9 + [8] + [0] * 4 + [12]
    assert [text.get_text() for text in lower.texts] == ["8", "12"]
    assert upper.get_ylim() == (0, 1)


def test_bins_of_few_answers_are_paler_and_have_wide_intervals() -> None:
    bins = (Bin(2, 0.4, 0.5), Bin(1900, 0.9, 0.5))
    upper, _ = reliability_figure(attrs.evolve(ANSWERS, bins=bins)).axes
    few, many_ = upper.patches
    assert few.get_alpha() < many_.get_alpha() / 3
    (segments,) = (c.get_segments() for c in upper.collections)
    lengths = [end[1] - start[1] for start, end in segments]
    assert lengths[0] > 0.8  # Wilson's interval of 1 in 2
    assert lengths[1] < 0.05
