import numpy as np
import pytest

from funcnet import random
from funcnet.check.diagnosis import likely_cause, likely_cause_of_shape, ratio
from funcnet.random import make_key

RIGHT = random.normal(make_key(0), (4, 4), np.float64)
DY = random.normal(make_key(1), (3, 4), np.float64)
SHARES = [0.2 * RIGHT, 0.3 * RIGHT + 1, 0.5 * RIGHT - 1]


def cause(given: np.ndarray, right: np.ndarray = RIGHT) -> str | None:
    return likely_cause(given, right, np.ones(right.size, bool), [share[: len(right)] for share in SHARES], DY, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (-RIGHT, "a flipped sign"),
        (RIGHT / 3, "a factor of 1/3, the batch: a mean is taken where a sum belongs"),
        (3 * RIGHT, "a factor of 3, the batch: a factor of 1/batch is missing"),
        (-3 * RIGHT, "a factor of 3, the batch: a factor of 1/batch is missing, and a flipped sign"),
        (RIGHT / 16, "a factor of 1/16, the number of entries"),
        (RIGHT / 2, "a factor of 2 is missing"),
        (1.7 * RIGHT, "a constant factor of 1.7"),
        (0 * RIGHT, "never computed"),
        (RIGHT.T, "the matrix is transposed"),
        (SHARES[1], "the sum over the batch is missing: only example 1 counts"),
        (RIGHT[::-1], "the right numbers in the wrong places"),
    ],
)
def test_each_mistake_is_told_from_the_others(given: np.ndarray, said: str) -> None:
    assert said in cause(given)


def test_chance_is_no_cause() -> None:
    assert cause(random.normal(make_key(2), (4, 4), np.float64)) is None


def test_a_sum_over_the_wrong_axis() -> None:
    right, given = DY.sum(axis=0)[:3], DY.sum(axis=1)
    assert likely_cause(given, right, np.ones(3, bool), [], DY, 3) == "dy is summed over the wrong axis"


def test_a_few_wrong_entries_are_counted() -> None:
    given, wrong = RIGHT.copy(), np.zeros(16, bool)
    given[0, 1] += 1
    wrong[1] = True
    assert likely_cause(given, RIGHT, wrong, [], DY, 3).startswith("only 1 of 16 entries is wrong")


def test_a_ratio_is_one_for_all_entries_or_none() -> None:
    assert ratio(RIGHT.ravel() * 0.25, RIGHT.ravel()) == pytest.approx(0.25)
    assert ratio(RIGHT.ravel() + 0.1, RIGHT.ravel()) is None
    assert ratio(np.ones(2), np.zeros(2)) is None


def test_shapes_tell_too() -> None:
    assert likely_cause_of_shape((3, 4), (4,), 3) == "the sum over the batch is missing"
    assert likely_cause_of_shape((5, 4), (4, 5), 3) == "the matrix is transposed"
    assert likely_cause_of_shape((1, 4), (4,), 3).startswith("keepdims=True")
    assert likely_cause_of_shape((7,), (4,), 3) is None
