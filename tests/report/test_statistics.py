import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.examination import Answers, Bin
from funcnet.report.statistics import (
    ClassScore,
    calibration_error,
    class_scores,
    class_sizes,
    two_proportion_z,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_as_published(hits: int, count: int, low: float, high: float) -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3."""
    assert wilson_interval(hits / count, count) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(count=st.integers(1, 10**6), share=st.floats(0, 1))
def test_the_ends_are_where_the_score_test_rejects(share: float, count: int) -> None:
    z = statistics.NormalDist().inv_cdf(0.975)
    low, high = wilson_interval(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / count), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("share", "count"), [(-0.1, 5), (1.1, 5), (math.nan, 5), (0.5, 0)])
def test_no_interval(share: float, count: int) -> None:
    with pytest.raises(ValueError, match="an interval needs a share in"):
        wilson_interval(share, count)


def test_two_shares() -> None:
    """Its square is Pearson's chi-squared of the table of two by two, 50, 50 and 30, 70: 100/12."""
    assert two_proportion_z(0.5, 100, 0.3, 100) ** 2 == pytest.approx(100 / 12)
    # 50 of 100 and 10 of 300: pooled 0.15.
    assert two_proportion_z(0.5, 100, 1 / 30, 300) == pytest.approx(
        (0.5 - 1 / 30) / (0.15 * 0.85 * (0.01 + 1 / 300)) ** 0.5
    )
    assert two_proportion_z(0.3, 100, 0.5, 100) == -two_proportion_z(0.5, 100, 0.3, 100)
    assert two_proportion_z(1.0, 10, 1.0, 20) == two_proportion_z(0.0, 10, 0.0, 20) == 0


def test_scores_by_hand() -> None:
    answers = Answers(((7, 1, 0, 0), (2, 4, 0, 0), (0, 2, 0, 0), (0, 0, 0, 0)), (Bin(0, 0.0, 0.0),), ())
    cat, dog, cow, nothing = class_scores(answers)
    assert cat == ClassScore(8, 9, 7 / 9, 7 / 8, 14 / 17)
    assert dog == ClassScore(6, 7, 4 / 7, 4 / 6, 8 / 13)
    assert (cow.examples, cow.predicted, cow.recall, cow.f1) == (2, 0, 0.0, 0.0)
    assert math.isnan(cow.precision)
    assert all(map(math.isnan, (nothing.precision, nothing.recall, nothing.f1)))


def test_an_example_without_an_answer_was_not_recognised() -> None:
    answers = Answers(((7, 1), (2, 4)), (Bin(0, 0.0, 0.0),), (), (2, 0))
    assert class_sizes(answers) == (10, 6)
    cat, dog = class_scores(answers)
    assert cat == ClassScore(10, 9, 7 / 9, 7 / 10, 14 / 19)
    assert dog == ClassScore(6, 5, 4 / 5, 4 / 6, 8 / 11)
    (cat, _) = class_scores(Answers(((0, 0), (0, 4)), (Bin(0, 0.0, 0.0),), (), (3, 0)))
    assert (cat.examples, cat.recall, cat.f1) == (3, 0, 0)


def test_calibration_error() -> None:
    assert calibration_error((Bin(0, 0.0, 0.0), Bin(3, 0.6, 0.5), Bin(1, 0.9, 1.0))) == pytest.approx((0.3 + 0.1) / 4)
    assert math.isnan(calibration_error((Bin(0, 0.0, 0.0),)))
