"""Numbers computed from records: intervals, precision and recall, calibration."""

from __future__ import annotations

import math

import attrs

from funcnet.examination import Answers, Bin

__all__ = ["ClassScore", "calibration_error", "class_scores", "class_sizes", "two_proportion_z", "wilson_interval"]

_Z95 = 1.959963984540054  # the normal distribution's 97.5% point


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share seen in ``count`` examples.

    Wilson, "Probable inference, the law of succession, and statistical inference" (1927): unlike share +- 2 deviations
    it stays within [0, 1] and holds for shares near 0 and 1.

    Raises:
        ValueError: for a share outside [0, 1] or no examples.
    """
    if not (0 <= share <= 1 and count > 0):
        raise ValueError(f"an interval needs a share in [0, 1] of at least one example, got {share} of {count}")
    spread = _Z95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def two_proportion_z(a: float, a_count: int, b: float, b_count: int) -> float:
    """By how many standard deviations share ``a`` exceeds share ``b``, were both of one population.

    Agresti, Categorical Data Analysis (3rd ed., 2013), section 3.2 (the pooled score test); 0 where both are 0 or 1.
    """
    pooled = (a * a_count + b * b_count) / (a_count + b_count)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / a_count + 1 / b_count))
    return (a - b) / deviation if deviation else 0.0


@attrs.frozen
class ClassScore:
    """How a class was recognised.

    Attributes:
        examples: how many examples the class has, those without an answer among them.
        predicted: how many examples were taken for it.
        precision: the share of these that are of the class; not a number for none.
        recall: the share of the class's examples that were recognised; not a number for none.
        f1: the harmonic mean of the two; not a number where both are none.
    """

    examples: int
    predicted: int
    precision: float
    recall: float
    f1: float


def class_scores(answers: Answers) -> tuple[ClassScore, ...]:
    """The scores of every class: van Rijsbergen, Information Retrieval (2nd ed., 1979), chapter 7.

    An example without an answer is one that was not recognised.
    """
    rows = class_sizes(answers)
    columns = [sum(column) for column in zip(*answers.confusion, strict=True)]
    return tuple(
        ClassScore(
            row, column, _share(right, column), _share(right, row), _share(2 * right, row + column)
        )
        for row, column, right in zip(rows, columns, (answers.confusion[k][k] for k in range(len(rows))), strict=True)
    )  # fmt: skip


def class_sizes(answers: Answers) -> tuple[int, ...]:
    """How many examples each class has, those without an answer among them."""
    answered = [sum(row) for row in answers.confusion]
    return tuple(map(sum, zip(answered, answers.unanswered or (0,) * len(answered), strict=True)))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """The expected calibration error: the mean gap between confidence and accuracy, each bin weighed by its examples.

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks" (ICML 2017), eq. 3.
    """
    total = sum(b.count for b in bins)
    return math.fsum(b.count * abs(b.confidence - b.accuracy) for b in bins) / total if total else math.nan
