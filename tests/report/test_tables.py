"""The tables of a report, cell by cell."""

import math

import attrs
import pytest
from runs import dated_run, run_record, whole_run, with_end

from funcnet.combinators import chain, frozen, parallel, residual
from funcnet.examination import Answers, LayerFacts, describe
from funcnet.layer import AnyLayer
from funcnet.layers.activations import relu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.record import RunRecord
from funcnet.report.sentences import about_loss
from funcnet.report.tables import (
    class_names,
    class_table,
    confusions_table,
    data_table,
    date,
    environment_table,
    history_table,
    interval,
    model_table,
    number,
    numbers,
    runs_table,
    settings_table,
    summary_table,
    units_table,
)
from funcnet.table import Table


def test_the_summary_is_the_labs_table_with_the_parts_of_the_loss() -> None:
    table = summary_table(run_record())
    assert table.title == "cifar-10"
    assert table.columns == ("", "Final Loss", "Cross-entropy", "Penalty", "Accuracy", "95% interval")
    assert table.rows == (
        ("Training", "6.750", "0.500", "6.250", "0.700", ""),  # training examples are no sample of new ones
        ("Testing", "7.250", "1.000", "6.250", "0.450", "0.258 to 0.658"),
    )


def test_what_is_not_a_number_is_a_dash() -> None:
    run = run_record()
    blank = with_end(run, train=attrs.evolve(run.train[-1], accuracy=math.nan))
    assert summary_table(blank).rows[0] == ("Training", "6.750", "0.500", "6.250", "-", "")


def test_weighted_accuracies_have_no_interval() -> None:
    run = run_record()
    said = "loss and accuracy are means weighted by these"
    for name, shown in (("training weights", True), ("testing weights", False)):
        weighted = attrs.evolve(run, settings=(*run.settings, (name, said)))
        assert weighted.weighted == (name.removesuffix(" weights"),)
        assert (summary_table(weighted).rows[1][-1] != "-") == shown
        assert f"In {name.removesuffix(' weights')}, loss and accuracy are means weighted" in about_loss(weighted)
    assert "weighted" not in about_loss(run)


def test_settings() -> None:
    assert settings_table(run_record()).rows == (
        ("epochs", "3"),
        ("seed", "7"),
        ("network", "chain(flatten, linear(8))"),
        ("duration", "0.30 s of training steps"),
        ("training speed", "1,000 examples per second (median over the epochs)"),
    )
    early = attrs.evolve(run_record(), planned_epochs=20, command="python train.py")
    assert settings_table(early).rows[0] == ("epochs", "3 of 20")
    assert settings_table(early).rows[-1] == ("command", "python train.py")


def test_environment_and_data() -> None:
    run = whole_run()
    assert environment_table(run).rows == run.environment
    assert data_table(run).rows == (
        ("training examples", "100"),
        ("testing examples", "20"),
        ("one example", "uint8 of shape 2 x 2 x 3"),
        ("classes", "3"),
        ("SHA-256 of the training set", "ab" * 32),
        ("SHA-256 of the testing set", "cd" * 32),
    )


def test_when_a_run_was_made_and_on_what() -> None:
    run = dated_run()
    assert settings_table(run).rows[3:-2] == (
        ("learning-rate schedule", "ends after 120 steps"),
        ("started", "2026-11-28, 10:15 (UTC+01:00)"),
        ("steps", "120"),
        ("duration", "1.5 s, of which 0.30 s training steps"),
    )
    assert data_table(run).rows[:5] == (
        ("content", "tiny pictures"),
        ("origin", "made by hand"),
        ("training examples", "100"),
        ("testing examples", "20"),
        ("in both sets", "2 testing examples"),
    )
    unknown = attrs.evolve(run, data=attrs.evolve(run.data, common_examples=None))
    assert "in both sets" not in dict(data_table(unknown).rows)
    assert date(attrs.evolve(run, started="yesterday")) == "yesterday"
    assert date(attrs.evolve(run, started="2026-11-28T10:15")) == "2026-11-28, 10:15"


def test_units_that_rectify() -> None:
    assert units_table(whole_run()).columns == ("Layer", "Units", "Always 0")
    assert units_table(whole_run()).rows == (("[2] relu", "40", "1"),)
    assert units_table(dated_run()).columns[-1] == "Not finite"
    assert units_table(dated_run()).rows == (("[2] relu", "40", "1", "3"),)


def test_the_network() -> None:
    table = model_table(whole_run())
    assert table.columns == ("Layer", "Output shape", "Parameters", "Multiply-adds", "Bytes for the backward pass")
    assert table.rows == (
        ("[0] flatten", "12", "0", "0", "0"),
        ("[1] linear(3)", "3", "39", "36", "48"),
        ("total", "", "39", "36", "48"),
    )


def layers_of(net: AnyLayer, in_shape: tuple[int, ...]) -> Table:
    return model_table(attrs.evolve(whole_run(), layers=describe(net, in_shape)))


def test_a_network_of_combinators_is_a_tree() -> None:
    side = parallel(linear(2), chain(linear(3), relu()), merge="concatenation")
    table = layers_of(chain(residual(linear(4)), side, frozen(linear(2))), (4,))
    assert table.columns[2:4] == ("Parameters", "Not trained")
    assert table.rows == (
        ("[0] residual (sum)", "4", "", "", "", ""),
        ("│ [0] linear(4)", "4", "20", "0", "16", "16"),
        ("│ [1] identity", "4", "0", "0", "0", "0"),
        ("[1] parallel (concatenation)", "5", "", "", "", ""),
        ("│ [0] linear(2)", "2", "10", "0", "8", "16"),
        ("│ [1] chain", "3", "", "", "", ""),
        ("│ │ [0] linear(3)", "3", "15", "0", "12", "0"),
        ("│ │ [1] relu", "3", "0", "0", "0", "12"),
        ("[2] frozen", "2", "", "", "", ""),
        ("│ .params linear(2)", "2", "12", "12", "10", "20"),
        ("total", "", "57", "12", "46", "64"),
    )


def test_a_network_that_is_no_chain_has_a_row() -> None:
    assert [row[0] for row in layers_of(residual(linear(4), relu()), (4,)).rows] == [
        "residual (sum)", "│ [0] chain", "│ │ [0] linear(4)", "│ │ [1] relu", "│ [1] identity", "total"
    ]  # fmt: skip
    assert [row[0] for row in layers_of(linear(4), (4,)).rows] == ["linear(4)", "total"]
    assert [row[0] for row in layers_of(chain(flatten(), linear(4)), (4,)).rows] == [
        "[0] flatten", "[1] linear(4)", "total"
    ]  # fmt: skip


def test_layers_of_a_run_that_does_not_know_its_combinators_have_whole_paths() -> None:
    old = attrs.evolve(whole_run(), layers=(LayerFacts("[1][0]", "relu", (3,), 0, 0, 12),))
    assert model_table(old).rows[0] == ("[1][0] relu", "3", "0", "0", "12")


def test_an_interval_is_of_answers_that_stand_alone() -> None:
    """Of an example with several answers, or none, the number of examples says nothing."""
    run = whole_run()
    assert interval(run, run.test[-1]) is not None
    assert interval(attrs.evolve(run, examination=None), run.test[-1]) is not None
    several = attrs.evolve(run, examination=attrs.evolve(run.examination, answers=None))
    assert interval(several, run.test[-1]) is None
    assert summary_table(several).rows[1][5] == "-"


def test_a_run_may_have_gone_on_past_its_plan() -> None:
    run = whole_run()
    assert settings_table(attrs.evolve(run, planned_epochs=run.epochs - 1)).rows[0] == ("epochs", f"{run.epochs}")
    assert settings_table(attrs.evolve(run, planned_epochs=9)).rows[0] == ("epochs", f"{run.epochs} of 9")


def test_a_network_without_layers() -> None:
    assert model_table(RunRecord("d", seed=0)).rows == (("total", "", "0", "0", "0"),)


def test_classes() -> None:
    table = class_table(whole_run())
    assert table.columns == ("Class", "F1", "Recall", "Precision", "Examples", "Predicted")
    assert table.rows == (
        ("cat", "0.824", "0.875", "0.778", "8", "9"),
        ("dog", "0.615", "0.667", "0.571", "6", "7"),
        ("US$ & <co>", "0.800", "0.667", "1.000", "6", "4"),
    )


def test_examples_without_an_answer_count_as_not_recognised() -> None:
    table = class_table(dated_run())
    assert table.columns[-1] == "No answer"
    assert table.rows[0] == ("cat", "0.737", "0.700", "0.778", "10", "9", "2")  # 7 of 8 + 2
    assert confusions_table(dated_run()).rows[1] == ("US$ & <co>", "dog", "2", "28.6%")  # of 6 + 1


def test_of_very_many_classes_the_worst_are_listed() -> None:
    confusion = [[0] * 150 for _ in range(150)]
    for k in range(150):
        confusion[k][k], confusion[k][(k + 1) % 150] = k, 150 - k
    run = whole_run()
    answers = attrs.evolve(run.examination.answers, confusion=tuple(map(tuple, confusion)), mistakes=())
    many = attrs.evolve(run, examination=attrs.evolve(run.examination, answers=answers))
    assert len(class_table(many).rows) == 150
    some = class_table(many, whole=False)
    assert some.title == "The 20 classes of lowest F1 among 150, in testing"
    assert [row[0] for row in some.rows[:3]] == ["0", "1", "2"]
    assert len(some.rows) == 20
    assert class_table(run, whole=False) == class_table(run)


def test_mistakes_the_most_frequent_first() -> None:
    assert confusions_table(whole_run()).rows == (
        ("dog", "cat", "2", "33.3%"),
        ("US$ & <co>", "dog", "2", "33.3%"),
        ("cat", "dog", "1", "12.5%"),
    )


def test_classes_without_names_go_by_number() -> None:
    run = whole_run()
    assert class_names(attrs.evolve(run, data=None)) == ("0", "1", "2")
    assert class_names(attrs.evolve(run, data=attrs.evolve(run.data, classes=("one", "two")))) == ("0", "1", "2")
    alike = attrs.evolve(run, data=attrs.evolve(run.data, classes=("cat", "", "cat")))
    assert class_names(alike) == ("0: cat", "1", "2: cat")
    assert [row[0] for row in class_table(alike).rows] == ["0: cat", "1", "2: cat"]


def test_history_in_full_precision() -> None:
    table = history_table(run_record(epochs=3))
    assert table.columns == (
        "epoch",
        "training loss", "training cross-entropy", "training l2 of [1].weight", "training l2 of [3].weight",
        "training accuracy",
        "testing loss", "testing cross-entropy", "testing l2 of [1].weight", "testing l2 of [3].weight",
        "testing accuracy",
        "learning rate", "examples a second",
    )  # fmt: skip
    third = table.rows[2]
    assert third == ("3", "6.75", "0.5", "6.0", "0.25", "0.7", "7.25", "1.0", "6.0", "0.25", "0.45", "0.1", "1000.0")


def test_runs_a_line_each() -> None:
    table = runs_table((run_record("one"), run_record("two", epochs=1)))
    assert table.rows == (
        ("1: one, seed 7", "0.450", "0.258 to 0.658", "7.250", "0.700", "6.750", "3"),
        ("2: two, seed 7", "0.250", "0.112 to 0.469", "5.250", "0.500", "3.750", "1"),
    )


def test_what_a_run_does_not_have() -> None:
    empty, bare = RunRecord("glyphs", seed=0), run_record()
    for make in (summary_table, lambda run: runs_table((run,))):
        with pytest.raises(ValueError, match=r"on glyphs,? has no epochs"):
            make(empty)
    with pytest.raises(ValueError, match="the run on cifar-10 says nothing about its data"):
        data_table(bare)
    for make in (class_table, confusions_table, class_names):
        with pytest.raises(ValueError, match="the run on cifar-10 has no answers to classes"):
            make(bare)


def test_the_loss_goes_by_its_name() -> None:
    run = attrs.evolve(run_record(), loss_name="mean squared error")
    assert summary_table(run).columns[2] == "Mean squared error"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2e4, "20000.000"),
        (999999.0, "999999.000"),
        (1234567.0, "1.23e+06"),
        (0.01, "0.010"),
        (0.00949, "0.00949"),
        (0.0006, "0.0006"),
        (4.9e-5, "4.9e-05"),
        (0.0, "0.000"),
        (-0.25, "-0.250"),
        (math.nan, "-"),
        (math.inf, "inf"),
    ],
)
def test_very_large_and_small_numbers_stay_readable(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.00721, 0.0439], ("0.0072", "0.0439")),
        ([12.5, 0.01], ("12.500", "0.010")),
        ([0.0, 0.5], ("0.000", "0.500")),
        ([2e-9, 5.0], ("2.00e-09", "5.00e+00")),
        ([3e7, 5.0], ("3.00e+07", "5.00e+00")),
        ([math.nan, 1.0, math.inf], ("-", "1.000", "inf")),
        ([0.0, math.nan], ("0.000", "-")),
    ],
)
def test_a_column_has_one_number_of_decimals(values: list[float], shown: tuple[str, ...]) -> None:
    assert numbers(values) == shown


def test_of_many_mistakes_the_most_frequent_twelve_are_listed() -> None:
    run = whole_run()
    answers = Answers(tuple((5,) * 5 for _ in range(5)), run.examination.answers.bins, ())
    many = attrs.evolve(run, examination=attrs.evolve(run.examination, answers=answers))
    assert len(confusions_table(many).rows) == 12
