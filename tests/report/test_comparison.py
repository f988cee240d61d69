import math

import attrs
import numpy as np
from runs import facts, run_record

from funcnet.examination import LayerFacts
from funcnet.record import RunRecord
from funcnet.report.comparison import comparison_figure, recipes, settings_differences
from funcnet.report.style import COLUMN


def seeded(seed: int, rate: str = "0.1", shift: float = 0.0, epochs: int = 3) -> RunRecord:
    run = attrs.evolve(
        run_record(epochs=epochs), seed=seed, settings=(("network", "n"), ("rate", rate)), planned_epochs=3
    )
    return attrs.evolve(
        run,
        history=tuple(
            attrs.evolve(e, test=attrs.evolve(e.test, data_loss=e.test.data_loss + shift)) for e in run.history
        ),
    )


def test_runs_that_differ_in_the_seed_alone_are_of_one_recipe() -> None:
    runs = [seeded(0), seeded(1, "0.2"), seeded(2)]
    assert [(label, [run.seed for run in group]) for label, group in recipes(runs)] == [
        ("1: rate 0.1", [0, 2]),
        ("2: rate 0.2", [1]),
    ]


def test_one_recipe_goes_by_its_data_set() -> None:
    assert [label for label, _ in recipes([seeded(0), seeded(1)])] == ["cifar-10"]


def test_epochs_and_data_sets_set_recipes_apart() -> None:
    runs = [seeded(0), attrs.evolve(seeded(0), planned_epochs=9), attrs.evolve(seeded(0), dataset="other")]
    assert [label for label, _ in recipes(runs)] == [
        "1: data set cifar-10, epochs 3",
        "2: data set cifar-10, epochs 9",
        "3: data set other, epochs 3",
    ]


def test_what_sets_recipes_apart_as_a_table() -> None:
    table = settings_differences([seeded(0), seeded(1, "0.2"), seeded(2)])
    assert (table.columns, table.rows) == (
        ("", "Seeds", "rate"),
        (("recipe 1", "0, 2", "0.1"), ("recipe 2", "1", "0.2")),
    )


def test_a_setting_that_one_recipe_lacks() -> None:
    bare = attrs.evolve(seeded(1), settings=(("network", "n"),))
    assert settings_differences([seeded(0), bare]).rows == (("recipe 1", "0", "0.1"), ("recipe 2", "1", "-"))


def test_the_mean_and_the_band() -> None:
    figure = comparison_figure([seeded(0), seeded(1, shift=1.0), seeded(2, "0.2")])
    total, data, accuracy = figure.axes
    titles = ["Testing Loss, Total", "Testing Loss, Without Penalties", "Testing Accuracy"]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert [axes.get_ylabel() for axes in figure.axes] == ["Loss", "Loss", "Accuracy"]
    mean, single = data.lines
    np.testing.assert_allclose(mean.get_ydata(), [3.5, 2.0, 1.5])
    np.testing.assert_allclose(single.get_ydata(), [3.0, 1.5, 1.0])
    (band,) = data.collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    assert (low, high) == (1.0, 4.0)
    np.testing.assert_allclose(total.lines[0].get_ydata(), [5.75, 6.25, 7.75])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [0.25, 0.35, 0.45])
    assert [axes.get_ylim()[0] for axes in (total, data)] == [0, 0]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["1: rate 0.1 (2 runs)", "2: rate 0.2"]


def test_a_mean_is_that_of_all_runs_or_not_there() -> None:
    """It would move for no other reason than that a run ended."""
    _, data, _ = comparison_figure([seeded(0), seeded(1, shift=1.0, epochs=2), seeded(0, "0.2")]).axes
    np.testing.assert_allclose(data.lines[0].get_ydata(), [3.5, 2.0])
    np.testing.assert_allclose(data.lines[1].get_ydata(), [3.0, 1.5, 1.0])


def test_runs_whose_maker_did_not_say_are_told_apart_by_their_numbers() -> None:
    one = seeded(0)
    faster = tuple(attrs.evolve(e, learning_rate=0.5) for e in one.history)
    wider = (LayerFacts("[0]", "linear(9)", (9,), 1, 1, 1),)
    runs = [one, attrs.evolve(one, history=faster), attrs.evolve(one, layers=wider), attrs.evolve(one, loss_name="mse")]
    assert len(recipes(runs)) == 4
    assert settings_differences(runs).columns[2:] == ("layers", "loss", "rate after the first epoch")


def test_without_accuracy_there_is_none() -> None:
    run = seeded(0)
    blank = tuple(
        attrs.evolve(e, test=attrs.evolve(e.test, accuracy=math.nan), train=attrs.evolve(e.train, accuracy=math.nan))
        for e in run.history
    )
    assert len(comparison_figure([run, attrs.evolve(run, history=blank)]).axes) == 2


def test_other_data_or_another_coefficient_sets_recipes_apart() -> None:
    one = attrs.evolve(seeded(0), data=facts())
    fewer = attrs.evolve(seeded(1), data=attrs.evolve(facts(), train_examples=50, train_sha256="ef" * 32))
    assert [label for label, _ in recipes([one, fewer])] == [
        "1: training set 100 examples (abababab)",
        "2: training set 50 examples (efefefef)",
    ]
    halves = tuple(
        attrs.evolve(e, parameter_norms=tuple((path, norm / 2) for path, norm in e.parameter_norms))
        for e in one.history
    )
    stronger = attrs.evolve(one, seed=1, history=halves)
    assert [label for label, _ in recipes([one, stronger])] == [
        "1: penalised [1].weight (l2 0.04), [3].weight (l2 0.005)",
        "2: penalised [1].weight (l2 0.16), [3].weight (l2 0.02)",
    ]


def test_two_runs_of_one_seed_are_no_two_draws() -> None:
    groups = recipes([seeded(0), seeded(1), seeded(0, shift=1.0)])
    assert [(label, [run.seed for run in group]) for label, group in groups] == [
        ("1: no recorded difference", [0, 1]),
        ("2: no recorded difference", [0]),
    ]


def test_many_settings_are_listed() -> None:
    settings = tuple((f"s{k}", "a") for k in range(5)), tuple((f"s{k}", "b") for k in range(5))
    runs = [attrs.evolve(seeded(seed), settings=s) for seed, s in enumerate(settings)]
    table = settings_differences(runs)
    assert table.columns == ("", "Seeds", "Differences")
    assert table.rows[1] == ("recipe 2", "1", "s0 b, s1 b, s2 b, s3 b, s4 b")
    few = [attrs.evolve(run, settings=run.settings[:4]) for run in runs]
    assert settings_differences(few).columns == ("", "Seeds", "s0", "s1", "s2", "s3")


def test_a_band_of_thousands_of_epochs_is_drawn_in_groups() -> None:
    runs = [seeded(seed, shift=seed, epochs=2000) for seed in (0, 1)]
    _, data, accuracy = comparison_figure(runs, width=COLUMN).axes
    assert data.get_xscale() == "log"
    assert len(data.lines[0].get_xdata()) < 200
    assert accuracy.get_ylim()[1] <= 1


def test_there_is_room_for_the_names_of_many_recipes() -> None:
    figure = comparison_figure([seeded(k, f"0.{k}") for k in range(1, 33)])
    figure.draw_without_rendering()
    assert min(axes.get_position().height * figure.get_figheight() for axes in figure.axes) > 1.2
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [f"recipe {k}" for k in range(1, 33)]
