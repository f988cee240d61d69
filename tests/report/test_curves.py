import math
import subprocess
import sys

import attrs
import matplotlib
import numpy as np
from runs import run_record

from funcnet.report.curves import loss_figure


def test_loss_is_drawn_with_its_parts() -> None:
    left, right = loss_figure(run_record()).axes
    assert (left.get_title(), left.get_xlabel(), left.get_ylabel()) == ("Loss After Each Epoch", "Epochs", "Loss")
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
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
    assert all(line.get_xdata().tolist() == [1, 2, 3] for line in left.lines)
    np.testing.assert_allclose(lines["l2 penalty of [3].weight"], [0.25, 0.25, 0.25])
    assert [text.get_text() for text in left.get_legend().get_texts()] == list(lines)

    assert (right.get_title(), right.get_ylabel()) == ("Accuracy After Each Epoch", "Accuracy")
    np.testing.assert_allclose(right.lines[0].get_ydata(), [0.5, 0.6, 0.7])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.25, 0.35, 0.45])


def test_one_epoch_can_be_seen() -> None:
    figure = loss_figure(run_record(epochs=1))
    assert all(line.get_marker() == "." for axes in figure.axes for line in axes.lines)
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    ticks = [t for t in figure.axes[0].get_xticks() if low <= t <= high]
    assert ticks == [1]


def test_drawing_touches_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    loss_figure(run_record())
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; from runs import run_record; from funcnet.report import loss_figure; loss_figure(run_record());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_run_without_accuracy_shows_its_loss_by_name() -> None:
    blank = tuple(attrs.evolve(e, accuracy=math.nan) for e in run_record().train)
    (axes,) = loss_figure(attrs.evolve(run_record(), train=blank, test=blank, loss_name="mean squared error")).axes
    assert axes.lines[2].get_label() == "mean squared error, training"


def test_names_are_no_mathematics() -> None:
    figure = loss_figure(run_record("cost $x^$ in US$"))
    figure.canvas.draw()
    assert figure.get_suptitle() == r"cost \$x^\$ in US\$"


def test_many_epochs_are_lines_without_dots() -> None:
    assert {line.get_marker() for line in loss_figure(run_record(epochs=200)).axes[0].lines} == {""}
