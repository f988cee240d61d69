from pathlib import Path

import lab7
import numpy as np
import pytest
from runs import run_record

from funcnet.report.document import Heading, Plot
from funcnet.report.pages import to_markdown_page
from funcnet.run_file import read_run
from funcnet.table import Table

REPORTS = Path(__file__).parents[2] / "reports"


def test_the_labs_curves_are_carried_whole() -> None:
    losses = lab7.lab_losses()
    assert {name: len(curve) for name, curve in losses.items()} == dict.fromkeys(lab7.SETS, 20)
    for name, first in (("fashion-mnist", 505.242), ("cifar-10", 7795.271), ("cifar-100", 15924.797)):
        assert losses[name] == sorted(losses[name])
        assert losses[name][0] == pytest.approx(first, abs=1e-3)
        assert losses[name][-1] == pytest.approx(lab7.LAB[name].train_loss, abs=1e-3)


def test_the_layout_is_the_labs_with_both_sides() -> None:
    runs = {name: run_record(name) for name in lab7.SETS}
    content = lab7.lab_report(runs)
    assert content.blocks[0].text.startswith("Lab 7 is a student's exercise")
    assert [b.text for b in content.blocks if isinstance(b, Heading) and b.level == 1][:3] == [
        "Training Curves", "Summary Tables", "Reflection",
    ]  # fmt: skip
    plots = [block for block in content.blocks if isinstance(block, Plot)]
    for plot, name in zip(plots, lab7.SETS, strict=True):
        figure = plot.draw()
        assert [part.get_suptitle() for part in figure.subfigs] == ["The lab", "funcnet"]
        for axes, losses in zip(figure.axes, (lab7.lab_losses()[name], [3.75, 5, 6.75]), strict=True):
            assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == (
                "Loss After Each Epoch",
                "Epochs",
                "Loss",
            )
            assert axes.lines[0].get_label() == name
            np.testing.assert_allclose(axes.lines[0].get_ydata(), losses)
            assert axes.get_ylim()[0] == 0  # so that no rise looks steeper than it is
            assert axes.get_xticks()[-1] == len(losses)
    first = next(block for block in content.blocks if isinstance(block, Table) and block.title == "fashion-mnist")
    assert first == Table(
        "fashion-mnist",
        ("", "Lab: Final Loss", "Lab: Accuracy", "funcnet: Final Loss", "funcnet: Accuracy"),
        (
            ("Training", "1785.199", "0.921", "6.750", "0.700"),
            ("Testing", "1785.199", "0.861", "7.250", "0.450"),
        ),
    )


def test_the_pages_kept_are_those_of_the_runs_kept() -> None:
    runs = {name: read_run(lab7.RUNS / f"run-{name}.json") for name in lab7.SETS}
    assert (REPORTS / "lab7.md").read_text() == to_markdown_page(lab7.lab_report(runs), "lab7")
    for name, run in runs.items():
        assert run.epochs == 20
        losses = [epoch.loss for epoch in run.train]
        assert losses[-1] < losses[0] / 2
        assert run.test[-1].accuracy > lab7.LAB[name].test_accuracy
        assert (lab7.RUNS / f"lab7-{name}.png").exists()


def test_training_again_gives_the_runs_kept(data_folder: Path) -> None:
    """The first epoch of the smallest set, to the digits that every machine agrees on."""
    kept = read_run(lab7.RUNS / "run-fashion-mnist.json")
    dataset, recipe = lab7.load("fashion-mnist", data_folder), lab7.RECIPES["fashion-mnist"]
    first = next(lab7.run_lab(dataset, recipe, epochs=lab7.EPOCHS, seed=lab7.SEED))
    assert first.train.loss == pytest.approx(kept.train[0].loss, rel=0.01)
    assert first.test.accuracy == pytest.approx(kept.test[0].accuracy, abs=0.01)
