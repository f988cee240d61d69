"""Learning rates as functions of the step: ``schedule(step) -> rate``, with ``step`` counting from 0.

They are pure functions of Python numbers. They run outside ``jax.jit``: an update is given the rate as a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from funcnet.optimizers.arguments import not_negative, positive, positive_rate
from funcnet.optimizers.optimizer import Schedule
from funcnet.shapes import whole_number

__all__ = [
    "constant", "cosine", "end_of_schedule", "exponential", "joined", "linear_warmup", "one_cycle", "piecewise",
    "piecewise_linear", "polynomial", "step_decay", "until",
]  # fmt: skip


def constant(rate: float) -> Schedule:
    """The same rate at every step.

    Raises:
        ValueError: for a rate that is not finite and positive.
    """
    return partial(_constant, positive_rate(rate))


def _constant(rate: float, step: int) -> float:
    return rate


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """rate factor^floor(step / every): the rate is multiplied by ``factor`` after each ``every`` steps.

    Raises:
        ValueError: for a rate or a factor that is not finite and positive, or ``every`` below 1.
    """
    every = whole_number("the number of steps between decays", every, 1)
    return partial(_step_decay, positive_rate(rate), every, positive("the factor of a decay", factor))


def _step_decay(rate: float, every: int, factor: float, step: int) -> float:
    return rate * factor ** (step // every)


def exponential(rate: float, every: int, factor: float) -> Schedule:
    """rate factor^(step / every): the rate falls smoothly, by ``factor`` in each ``every`` steps.

    Raises:
        ValueError: for a rate or a factor that is not finite and positive, or ``every`` below 1.
    """
    every = whole_number("the number of steps of a decay", every, 1)
    return partial(_exponential, positive_rate(rate), every, positive("the factor of a decay", factor))


def _exponential(rate: float, every: int, factor: float, step: int) -> float:
    return rate * factor ** (step / every)


def polynomial(rate: float, steps: int, end: float = 0.0, power: float = 1.0) -> Schedule:
    """end + (rate - end) (1 - step/steps)^power, for the first ``steps`` steps. The power 1 makes a straight line.

    From step ``steps`` on the rate is ``end``. If that is 0, the rate stays that of the last step before it: a learning
    rate is positive.

    Raises:
        ValueError: for a rate or a power that is not finite and positive, an end below 0, or fewer than 1 step.
    """
    steps = whole_number("the number of steps of a decay", steps, 1)
    end = not_negative("the rate at the end", end)
    return partial(_polynomial, positive_rate(rate), steps, end, positive("the power of a polynomial", power))


def _polynomial(rate: float, steps: int, end: float, power: float, step: int) -> float:
    return end + (rate - end) * (1 - _share_done(steps, end, step)) ** power


def cosine(rate: float, steps: int, end: float = 0.0) -> Schedule:
    """end + (rate - end) (1 + cos(pi step/steps)) / 2, for the first ``steps`` steps.

    From step ``steps`` on the rate is ``end``. If that is 0, the rate stays that of the last step before it: a learning
    rate is positive.

    Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017), eq. 5, without restarts.

    Raises:
        ValueError: for a rate that is not finite and positive, an end below 0, or fewer than 1 step.
    """
    steps = whole_number("the number of steps of a decay", steps, 1)
    return partial(_cosine, positive_rate(rate), steps, not_negative("the rate at the end", end))


def _cosine(rate: float, steps: int, end: float, step: int) -> float:
    return _half_cosine(rate, end, _share_done(steps, end, step))


def _share_done(steps: int, end: float, step: int) -> float:
    """The share of the decay before this step: below 1 for ever where the rate would end at 0."""
    return min(step, steps if end > 0 else steps - 1) / steps


def linear_warmup(rate: float, steps: int) -> Schedule:
    """rate min(step + 1, steps) / steps: the rate climbs from rate/steps to ``rate``, and stays there.

    It stands before another schedule: ``joined([linear_warmup(0.1, 500), cosine(0.1, 9500)], [500])``.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017), section 2.2.

    Raises:
        ValueError: for a rate that is not finite and positive, or fewer than 1 step.
    """
    return partial(_linear_warmup, positive_rate(rate), whole_number("the number of steps of a warm-up", steps, 1))


def _linear_warmup(rate: float, steps: int, step: int) -> float:
    return rate * min(step + 1, steps) / steps


def one_cycle(peak: float, steps: int, *, warmup: float = 0.3) -> Schedule:
    """A rate that climbs from peak/25 to ``peak`` over the first ``warmup`` of the steps, then falls to peak/250,000.

    Both ways along half a cosine; the last step is on the way down, however long the warm-up, and a single step is
    made at the peak. Past the last step the rate stays where it ended.

    Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates" (2018), with
    the cosine of Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017), eq. 5.

    Raises:
        ValueError: for a peak that is not finite and positive, fewer than 1 step, or a warm-up outside (0, 1).
    """
    peak, steps = positive_rate(peak), whole_number("the number of steps of a cycle", steps, 1)
    if not 0 < warmup < 1:
        raise ValueError(f"the warm-up is a share of the steps between 0 and 1, got {warmup}")
    last = steps - 1
    return partial(_one_cycle, peak, last, max(0.0, min(float(warmup) * steps, last - 1)))


def _one_cycle(peak: float, last: int, turn: float, step: int) -> float:
    start, end, step = peak / 25, peak / 250_000, min(step, last)
    if step <= turn and turn > 0:
        return _half_cosine(start, peak, step / turn)
    return _half_cosine(peak, end, (step - turn) / max(last - turn, 1))


def _half_cosine(a: float, b: float, share: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


def piecewise(rates: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """A constant rate between boundaries: ``rates[i]`` from step ``boundaries[i - 1]`` on.

    ``piecewise([0.1, 0.01], [1000])`` is 0.1 in the first 1000 steps and 0.01 after them.

    Raises:
        ValueError: for a rate that is not finite and positive, or boundaries that do not ascend from 1 up or are not
            one fewer than the rates.
    """
    return joined([constant(rate) for rate in rates], boundaries)


def piecewise_linear(rates: Sequence[float], steps: Sequence[int]) -> Schedule:
    """Straight lines: ``rates[i]`` at step ``steps[i]``. Before the first of these steps the rate is the first one, and
    after the last it is the last.

    ``piecewise_linear([0.1, 0.5, 0.05], [0, 200, 1000])`` is a triangle: the rate climbs for 200 steps, then falls.

    Raises:
        ValueError: for a rate that is not finite and positive, or steps that do not ascend from 0 up or are not as many
            as the rates.
    """
    corners = tuple(whole_number("a step of straight lines", step, 0) for step in steps)
    if len(rates) != len(corners) or not corners:
        raise ValueError(f"each rate has its step, got {len(rates)} rates and {len(corners)} steps")
    if any(here >= there for here, there in pairwise(corners)):
        raise ValueError(f"the steps of straight lines ascend, got {corners}")
    return partial(_piecewise_linear, tuple(map(positive_rate, rates)), corners)


def _piecewise_linear(rates: tuple[float, ...], corners: tuple[int, ...], step: int) -> float:
    step = min(max(step, corners[0]), corners[-1])
    lines = zip(pairwise(corners), pairwise(rates), strict=True)
    for (begin, end), (first, last) in lines:
        if step < end:
            return first + (last - first) * ((step - begin) / (end - begin))
    return rates[-1]


def until(learning_rate: float | Schedule, steps: int) -> Schedule:
    """The rate for the first ``steps`` steps, and 0 after them: for arrays that are trained for a part of the run.

    It is for an exception of ``by_path``, since the learning rate of all arrays is positive.

    Raises:
        ValueError: for a rate that is not finite and positive, or fewer than 1 step.
    """
    schedule = learning_rate if callable(learning_rate) else constant(learning_rate)
    return partial(_until, schedule, whole_number("the number of steps of training", steps, 1))


def _until(schedule: Schedule, steps: int, step: int) -> float:
    return schedule(step) if step < steps else 0.0


def joined(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another: ``schedules[i]`` from step ``boundaries[i - 1]`` on, which is its step 0.

    Raises:
        ValueError: for boundaries that do not ascend from 1 up, or are not one fewer than the schedules.
    """
    starts = (0, *(whole_number("a boundary between schedules", boundary, 1) for boundary in boundaries))
    if len(schedules) != len(starts):
        raise ValueError(f"{len(schedules)} rates or schedules have one boundary fewer, got {len(boundaries)}")
    if any(here >= there for here, there in pairwise(starts)):
        raise ValueError(f"the boundaries between schedules ascend, got {tuple(boundaries)}")
    return partial(_joined, tuple(schedules), starts)


def _joined(schedules: tuple[Schedule, ...], starts: tuple[int, ...], step: int) -> float:
    current = sum(step >= start for start in starts) - 1
    return schedules[current](step - starts[current])


def end_of_schedule(schedule: Schedule | None) -> int | None:
    """The number of steps after which a rate of this module has come to its end; None for one that has no end.

    A schedule has no end if it stays at a usual rate: a constant rate, a warm-up, a decay to a hundredth of its first
    rate or more. A function of your own has none either.
    """
    if not isinstance(schedule, partial):
        return None
    of_kind = _ENDS.get(schedule.func)
    return None if of_kind is None else of_kind(*schedule.args)


def _if_low(steps: int, end: float) -> int | None:
    """The steps, if the last rate over the first or highest one is below a hundredth."""
    return steps if end < 0.01 else None


def _end_of_joined(schedules: tuple[Schedule, ...], starts: tuple[int, ...]) -> int | None:
    last = end_of_schedule(schedules[-1])
    return None if last is None else starts[-1] + last


# For the arguments that are bound in a schedule: its number of steps.
_ENDS: dict[Any, Callable[..., int | None]] = {
    _polynomial: lambda rate, steps, end, power: _if_low(steps, end / rate),
    _cosine: lambda rate, steps, end: _if_low(steps, end / rate),
    _one_cycle: lambda peak, last, turn: last + 1,
    _piecewise_linear: lambda rates, corners: _if_low(corners[-1], rates[-1] / max(rates)),
    _joined: _end_of_joined,
}
