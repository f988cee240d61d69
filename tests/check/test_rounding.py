import math

import numpy as np
import pytest

from funcnet.check import CheckError
from funcnet.check.rounding import agree, conditions, tolerance
from funcnet.check.verdict import Claim
from funcnet.random import make_key

CLAIM = Claim("f", "two arrays", make_key(0), "check(f)")


def test_the_condition_of_a_difference_is_that_of_its_terms() -> None:
    a, b = np.array([1.0]), np.array([1.0 - 2**-10])
    found = conditions(lambda jiggle: {"sum": jiggle(a) + jiggle(b), "difference": jiggle(a) - jiggle(b)}, make_key(0))
    assert found["sum"] == pytest.approx(2, rel=0.01)
    assert found["difference"] == pytest.approx(2, rel=0.01)  # though it is 2**-10 itself


def test_the_tolerance_grows_with_the_sums_and_the_precision() -> None:
    assert tolerance(1, 4, np.float64) == pytest.approx(2 * tolerance(1, 1, np.float64))
    assert tolerance(1, 1, np.float32) == pytest.approx(2**29 * tolerance(1, 1, np.float64))


def test_agreement_reports_the_entry_that_comes_closest() -> None:
    found = agree(CLAIM, "p", "b", {"y": np.array([[1, 2.5]])}, {"y": np.array([[1, 2.0]])}, {"y": 1.0})
    assert (found.name, found.compared, found.worst, found.where) == ("p", 2, 0.5, "y[0, 1]")


@pytest.mark.parametrize("wrong", [3.5, math.nan, math.inf])
def test_disagreement_is_refuted(wrong: float) -> None:
    with pytest.raises(CheckError) as caught:
        agree(CLAIM, "p", "they differ", {"y": np.array([1, wrong])}, {"y": np.array([1, 2.0])}, {"y": 1.0})
    refutation = caught.value.refutation
    assert (refutation.broken, refutation.where, refutation.numeric, refutation.tolerance) == (
        "they differ", "y[1]", 2.0, 1.0
    )  # fmt: skip


def test_nothing_to_compare_agrees() -> None:
    assert agree(CLAIM, "p", "b", {"y": np.zeros((0, 2))}, {"y": np.zeros((0, 2))}, {"y": 1.0}).compared == 0
