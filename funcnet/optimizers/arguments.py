"""Checks of what optimizers and schedules are made of. Each returns a Python number.

NumPy's numbers are converted: a float64 of NumPy would turn float32 arrays into float64 ones.
"""

from __future__ import annotations

import math

__all__ = ["decay_rate", "not_negative", "positive", "positive_rate"]


def positive_rate(rate: float) -> float:
    """The learning rate as a float.

    Raises:
        ValueError: for one that is not finite and positive.
    """
    return positive("a learning rate", rate)


def positive(what: str, value: float) -> float:
    """The value as a float, named ``what``.

    Raises:
        ValueError: for one that is not finite and positive.
    """
    if isinstance(value, str | None) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{what} is finite and positive, got {value!r}")
    return float(value)


def not_negative(what: str, value: float) -> float:
    """The value as a float, named ``what``.

    Raises:
        ValueError: for one that is not finite, or below 0.
    """
    if isinstance(value, str | None) or not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what} is finite and from 0 up, got {value!r}")
    return float(value)


def decay_rate(name: str, decay: float) -> float:
    """The decay of a moving average or of a velocity, named ``name``, as a float.

    Raises:
        ValueError: for one outside [0, 1).
    """
    if isinstance(decay, str | None) or not 0 <= decay < 1:
        raise ValueError(f"the decay of {name} lies in [0, 1), got {decay}")
    return float(decay)
