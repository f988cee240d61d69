"""Reports of runs with a validation part, by which they are judged in place of testing."""

import math

import attrs
import numpy as np
import pytest
from runs import dated_run, epoch_numbers, evaluation, facts, healthy_run, run_record

from funcnet.record import RunRecord
from funcnet.report import sentences
from funcnet.report.comparison import comparison_figure, recipes
from funcnet.report.curves import accuracy_figure, loss_figure, parts_figure
from funcnet.report.document import Paragraph, document
from funcnet.report.files import summary
from funcnet.report.findings import findings, verdict
from funcnet.report.tables import data_table, history_table, runs_table, summary_table
from funcnet.run_file import run_of_json, run_to_json
from funcnet.step import Evaluation

PENALTIES = (1.0, 0.5)


def held(run: RunRecord, *validation: Evaluation) -> RunRecord:
    """The run with these evaluations of a validation part."""
    pairs = zip(run.history, validation, strict=True)
    return attrs.evolve(run, history=tuple(attrs.evolve(epoch, validation=part) for epoch, part in pairs))


def falling(run: RunRecord) -> RunRecord:
    """The run with a validation part a little behind its testing part."""
    return held(run, *(attrs.evolve(e, data_loss=e.data_loss + 0.25, accuracy=e.accuracy - 0.01) for e in run.test))


def judged_by(validation: list[float], testing: list[float]) -> RunRecord:
    """A run whose training loss falls, with these losses."""
    history = tuple(
        attrs.evolve(
            epoch_numbers(
                k + 1,
                evaluation(1.0 * 0.8**k, 0.7 + 0.02 * k, 1000, PENALTIES),
                evaluation(b, 0.7 + 0.02 * k, 500, PENALTIES),
            ),
            validation=evaluation(a, 0.7 + 0.02 * k, 500, PENALTIES),
        )
        for k, (a, b) in enumerate(zip(validation, testing, strict=True))
    )
    return attrs.evolve(run_record(), history=history, planned_epochs=len(history))


def test_tables_have_a_row_and_columns_for_it() -> None:
    run = falling(run_record())
    table = summary_table(run)
    assert [row[0] for row in table.rows] == ["Training", "Validation", "Testing"]
    assert table.rows[1] == ("Validation", "7.500", "1.250", "6.250", "0.440", "")
    assert (table.rows[0], table.rows[2]) == summary_table(run_record()).rows
    columns = history_table(run).columns
    assert "validation cross-entropy" in columns
    assert history_table(run).rows[0][columns.index("validation accuracy")] == "0.24"
    both = runs_table((run, run_record()))
    assert both.columns[-3:-1] == ("Validation accuracy", "Validation loss")
    assert [row[-3:-1] for row in both.rows] == [("0.440", "7.500"), ("-", "-")]
    assert "Validation loss" not in runs_table((run_record(), run_record())).columns
    (told,) = summary([run])
    assert told["history"]["validation_cross_entropy"] == [3.25, 1.75, 1.25]
    assert list(told["final"]) == ["train", "validation", "test"]
    assert "Validation cross-entropy" in run._repr_markdown_()


def test_curves_have_a_line_for_it() -> None:
    run = falling(run_record())
    for figure, lines in (
        (loss_figure(run), ("total, {}", "cross-entropy, {}")),
        (parts_figure(run), ("total, {}",)),
        (accuracy_figure(run), ("{}",)),
    ):
        drawn = {line.get_label(): line for axes in figure.axes for line in axes.lines}
        for name in lines:  # each part has dashes of its own
            names = [name.format(part) for part in ("validation", "testing", "training")]
            there = [drawn[label] for label in names if label in drawn]
            assert len({str(line._dash_pattern) for line in there}) == len(there) > 1
    (axes,) = loss_figure(run).axes
    (line,) = [line for line in axes.lines if line.get_label() == "cross-entropy, validation"]
    np.testing.assert_allclose(line.get_ydata(), [3.25, 1.75, 1.25])


def test_sentences_say_what_it_is_and_how_it_went() -> None:
    run = falling(attrs.evolve(dated_run(), data=attrs.evolve(facts(), validation_examples=7, validation_sha256="ef")))
    assert "100 examples in 3 classes are for training, 7 for validation and 20 for testing." in sentences.about_data(
        run
    )
    assert ("validation examples", "7") in data_table(run).rows
    assert ("SHA-256 of the validation set", "ef") in data_table(run).rows
    assert "the validation loss is 7.500, the testing loss is 7.250" in sentences.about_loss(run)
    assert (
        "rose from 0.240 to 0.440 in validation and rose from 0.250 to 0.450 in testing, a final gap of 0.260 in "
        in (sentences.about_accuracy(run))
    )
    assert "training, validation and testing sets" in sentences.how_measured([run, run_record()])
    assert "validation" not in sentences.how_measured([run_record()])
    assert "ended at 1.250 in validation and 1.000 in testing, with an accuracy of 0.450" in verdict(run)


def test_a_run_is_judged_by_it_and_not_by_testing() -> None:
    flat, rising = [0.5] * 6, [0.5, 0.4, 0.4, 0.5, 0.6, 0.7]
    assert findings(judged_by(flat, rising)) == ()
    (found,) = findings(judged_by(rising, flat))
    assert found.text.startswith("The cross-entropy in validation rose from 0.400 to 0.700 since epoch 2")
    assert "a validation cross-entropy that rises" in found.threshold
    run = healthy_run()
    gap = held(run, *(attrs.evolve(e, accuracy=e.accuracy - 0.2) for e in run.test))
    assert "validation accuracy 0.620" in findings(gap)[0].text
    (found,) = findings(held(run, *run.test[:-1], attrs.evolve(run.test[-1], data_loss=math.inf)))
    assert "the cross-entropy in validation is inf" in found.text
    assert findings(falling(run)) == ()


def test_the_chosen_epoch_is_told_with_what_chose_it() -> None:
    run = judged_by([0.5, 0.3, 0.4], [0.2, 0.3, 0.1])
    assert (run.best, sentences.about_choice(run)) == (None, "")
    chosen = attrs.evolve(run, chosen_by="validation loss", ended="No better")
    assert chosen.best.epoch == 2
    said = sentences.about_choice(chosen)
    assert said == (
        "Epoch 2 was chosen, as the best of 3 epochs by its cross-entropy in validation. Its cross-entropy is 0.800 "
        "in training (accuracy 0.720), 0.300 in validation (accuracy 0.720) and 0.300 in testing (accuracy 0.720). All "
        "else in this report is of the network after the last epoch."
    )
    assert Paragraph(said) in document([chosen], "T").blocks
    assert sum(block == Paragraph(said) for block in document([chosen, run], "T").blocks) == 1
    assert attrs.evolve(run, chosen_by="validation accuracy").best.epoch == 3
    with pytest.raises(ValueError, match="chosen_by"):
        attrs.evolve(run, chosen_by="testing loss")
    assert run_of_json(run_to_json(chosen).encode(), "run.json") == chosen


def test_recipes_are_compared_by_it_if_all_runs_have_it() -> None:
    one, other = falling(run_record()), falling(attrs.evolve(run_record(), seed=8, settings=(("network", "else"),)))
    figure = comparison_figure([one, other])
    assert [axes.get_title() for axes in figure.axes] == [
        "Validation Loss, Total", "Validation Loss, Without Penalties", "Validation Accuracy",
    ]  # fmt: skip
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [3.25, 1.75, 1.25])
    assert "data loss in validation is 1.250 for recipe 1, 1.250 for recipe 2" in sentences.about_comparison(
        (one, other)
    )
    bare = attrs.evolve(other, history=run_record().history)
    assert comparison_figure([one, bare]).axes[0].get_title() == "Testing Loss, Total"
    assert "data loss in testing is 1.000" in sentences.about_comparison((one, bare))
    data = attrs.evolve(facts(), validation_examples=9, validation_sha256="ef" * 32)
    apart = recipes([attrs.evolve(one, data=facts()), attrs.evolve(one, seed=8, data=data)])
    assert apart[1][0] == "2: validation set 9 examples (efefefef)"
