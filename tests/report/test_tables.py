import math

import attrs
import pytest
from runs import run_record

from funcnet.record import RunRecord
from funcnet.report.tables import Table, settings_table, summary_table, to_markdown


def test_the_summary_is_the_labs_table_with_the_parts_of_the_loss() -> None:
    table = summary_table(run_record())
    assert table.title == "cifar-10"
    assert table.columns == ("", "Final Loss", "Accuracy", "Cross-entropy", "Penalty")
    assert table.rows == (
        ("Training", "6.750", "0.700", "0.500", "6.250"),
        ("Testing", "7.250", "0.450", "1.000", "6.250"),
    )


def test_markdown() -> None:
    assert to_markdown(Table("T", ("", "a|b"), (("x", "1"), ("y", "2")))) == (
        "## T\n\n|  | a\\|b |\n| :--- | ---: |\n| x | 1 |\n| y | 2 |\n"
    )


def test_what_is_not_a_number_is_a_dash() -> None:
    run = run_record()
    blank = attrs.evolve(run, train=(*run.train[:-1], attrs.evolve(run.train[-1], accuracy=math.nan)))
    assert summary_table(blank).rows[0] == ("Training", "6.750", "-", "0.500", "6.250")


def test_settings() -> None:
    assert settings_table(run_record()).rows == (
        ("epochs", "3"),
        ("seed", "7"),
        ("network", "chain(flatten, linear(8))"),
        ("training examples a second", "1,000 (median over the epochs)"),
    )


def test_a_run_without_epochs_has_no_summary() -> None:
    with pytest.raises(ValueError, match="the run on glyphs has no epochs"):
        summary_table(RunRecord("glyphs", seed=0))


def test_the_loss_goes_by_its_name() -> None:
    run = attrs.evolve(run_record(), loss_name="mean squared error")
    assert summary_table(run).columns[3] == "Mean squared error"


@pytest.mark.parametrize(
    ("value", "shown"), [(2e4, "20000.000"), (1e30, "1.00e+30"), (1e-5, "1.00e-05"), (0.0, "0.000")]
)
def test_very_large_and_small_losses_stay_readable(value: float, shown: str) -> None:
    run = run_record()
    changed = attrs.evolve(run, train=(*run.train[:-1], attrs.evolve(run.train[-1], data_loss=value)))
    assert summary_table(changed).rows[0][3] == shown
