import math

import attrs
import numpy as np
from runs import examination

from funcnet.examination import Answers
from funcnet.report.classes import class_figure, confusion_figure, reliability_figure

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


def test_many_classes_go_by_number() -> None:
    axes, _ = confusion_figure(many(100), tuple(map(str, range(100)))).axes
    assert [t.get_text() for t in axes.get_xticklabels()] == [str(k) for k in range(0, 100, 10)]
    assert not axes.texts


def test_scores_of_each_class_the_best_first() -> None:
    figure = class_figure(ANSWERS, NAMES)
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat (8)", r"US\$ & <co> (6)", "dog (6)"]
    lines = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_allclose(lines["precision"], [7 / 9, 1, 4 / 7])
    np.testing.assert_allclose(lines["recall"], [7 / 8, 4 / 6, 4 / 6])
    np.testing.assert_allclose(lines["F1"], [14 / 17, 8 / 10, 8 / 13])
    low, high = axes.get_xlim()
    assert low <= 4 / 7 < 1 <= high
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["precision", "recall", "F1"]


def test_of_many_classes_the_best_and_the_worst() -> None:
    (axes,) = class_figure(many(100), tuple(f"c{k}" for k in range(100))).axes
    names = [t.get_text().split()[0] for t in axes.get_yticklabels()]
    assert names[:10] == [f"c{k}" for k in range(99, 89, -1)]
    assert names[10:] == [f"c{k}" for k in (*range(9, 1, -1), 0, 1)]  # one class takes all that is not recognised
    assert axes.get_title() == "The 10 Best and the 10 Worst Classes"


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
    assert [(round(bar.get_x() + bar.get_width() / 2, 4), round(bar.get_height(), 4)) for bar in upper.patches] == [
        (0.6333, 0.5),
        (0.9667, 0.9167),
    ]
    means, diagonal = upper.lines
    np.testing.assert_allclose(means.get_xdata(), [0.65, 0.95])
    np.testing.assert_allclose(means.get_ydata(), [0.65, 0.95])
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert [bar.get_height() for bar in lower.patches] == [0] * 9 + [8] + [0] * 4 + [12]
    # (8 |0.65 - 0.5| + 12 |0.95 - 11/12|) / 20
    assert upper.get_title() == "Reliability (expected calibration error 0.080)"
