import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.optimizers import (
    Schedule,
    constant,
    cosine,
    end_of_schedule,
    exponential,
    joined,
    linear_warmup,
    one_cycle,
    piecewise,
    piecewise_linear,
    polynomial,
    step_decay,
    until,
)  # fmt: skip

SCHEDULES = [
    constant(0.5),
    step_decay(0.5, 3),
    exponential(0.5, 3, 0.5),
    polynomial(0.5, 10),
    polynomial(0.5, 10, 0.1, 2.0),
    cosine(0.5, 10),
    cosine(0.5, 10, 0.1),
    linear_warmup(0.5, 4),
    one_cycle(0.5, 10),
    piecewise([0.5, 0.1], [3]),
    piecewise_linear([0.1, 0.5, 0.05], [0, 4, 20]),
    joined([linear_warmup(0.5, 4), cosine(0.5, 6)], [4]),
]


BITS = [
    "0x1.89374bc6a7f00p-7",
    "0x1.7f0f9ae873ac2p-4",
    "0x1.f75cd4f4a747ep-3",
    "0x1.303fa645e6e05p-2",
    "0x1.a8c2d809c6bf9p-3",
    "0x1.110fbc9db3e8ap-4",
    "0x1.421f5f40d8376p-20",
]


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


@pytest.mark.usefixtures("as_users_run")  # who may count steps in NumPy's whole numbers
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.func.__name__)
def test_schedules_give_positive_floats_for_ever_and_can_be_pickled(schedule: Schedule) -> None:
    found = rates(schedule, 40)
    assert all(type(rate) is float and 0 < rate <= 0.5 for rate in found)
    assert rates(pickle.loads(pickle.dumps(schedule)), 40) == found
    assert [schedule(np.int64(step)) for step in range(40)] == pytest.approx(found, rel=1e-14)


def test_each_by_its_equation() -> None:
    assert rates(constant(0.5), 3) == [0.5] * 3
    assert rates(step_decay(1.0, 2, 0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert step_decay(1.0, 5)(5) == pytest.approx(0.1)
    assert rates(exponential(1.0, 2, 0.25), 4) == pytest.approx([1, 0.5, 0.25, 0.125])
    assert rates(polynomial(1.0, 4, 0.2), 6) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert rates(polynomial(1.0, 4), 6) == pytest.approx([1, 0.75, 0.5, 0.25, 0.25, 0.25])
    assert rates(polynomial(1.0, 4, power=2), 4) == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16])
    root = math.sqrt(0.5)
    assert rates(cosine(1.0, 4), 6) == pytest.approx([1, (1 + root) / 2, 0.5, (1 - root) / 2, *[(1 - root) / 2] * 2])
    assert rates(cosine(1.0, 2, 0.2), 4) == pytest.approx([1, 0.6, 0.2, 0.2])
    assert rates(linear_warmup(1.0, 4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert rates(piecewise([3, 2, 1], [1, 3]), 5) == [3, 2, 2, 1, 1]
    assert rates(piecewise_linear([1, 3, 2], [1, 3, 5]), 7) == pytest.approx([1, 1, 2, 3, 2.5, 2, 2])
    assert rates(until(cosine(1.0, 2, 0.2), 2), 5) == pytest.approx([1, 0.6, 0, 0, 0])
    assert rates(until(0.5, 1), 3) == [0.5, 0, 0]
    assert rates(joined([linear_warmup(1.0, 2), step_decay(1.0, 1, 0.5)], [2]), 5) == [0.5, 1, 1, 0.5, 0.25]


def test_the_shortest_ones() -> None:
    assert rates(polynomial(1.0, 1), 2) == rates(cosine(1.0, 1), 2) == rates(linear_warmup(1.0, 1), 2) == [1, 1]
    assert rates(cosine(1.0, 1, 0.5), 3) == rates(polynomial(1.0, 1, 0.5), 3) == [1, 0.5, 0.5]
    assert rates(piecewise([2], []), 2) == [2, 2]


def test_one_cycle_climbs_and_falls() -> None:
    rate = one_cycle(0.5, 1000, warmup=0.25)
    found = np.array(rates(rate, 1000))
    assert found[0] == pytest.approx(0.5 / 25)
    assert found.max() == pytest.approx(0.5)
    assert found.argmax() == 250
    assert found[-1] == pytest.approx(0.5 / 250_000)
    assert (np.diff(found[:251]) > 0).all()
    assert (np.diff(found[250:]) < 0).all()
    assert rate(5000) == found[-1]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True), st.data())
def test_straight_lines_go_through_their_corners(steps: list[int], data: st.DataObject) -> None:
    """As NumPy's interpolation does."""
    found = data.draw(st.lists(st.floats(1e-3, 10), min_size=len(steps), max_size=len(steps)))
    schedule = piecewise_linear(found, sorted(steps))
    assert rates(schedule, 45) == pytest.approx(np.interp(np.arange(45), sorted(steps), found).tolist())


def test_the_triangle_of_a_speed_record() -> None:
    """From 0.2 of the peak to the peak at 23% of the steps, then down to 0.07 of it."""
    found = np.array(rates(piecewise_linear([0.2, 1.0, 0.07], [0, 230, 1000]), 1001))
    assert found.argmax() == 230
    assert found[[0, 115, 230, 1000]] == pytest.approx([0.2, 0.6, 1.0, 0.07])
    assert np.diff(found[:231]) == pytest.approx(0.8 / 230)
    assert np.diff(found[230:]) == pytest.approx(-0.93 / 770)


@given(st.integers(1, 12), st.floats(0.01, 0.99))
def test_one_cycle_is_sound_for_any_length(steps: int, warmup: float) -> None:
    assert all(0 < rate <= 1 for rate in rates(one_cycle(1.0, steps, warmup=warmup), steps + 3))


@given(st.integers(2, 12), st.floats(0.01, 0.99))
def test_the_last_step_of_a_cycle_is_on_the_way_down(steps: int, warmup: float) -> None:
    found = rates(one_cycle(1.0, steps, warmup=warmup), steps)
    assert found[-1] == pytest.approx(1 / 250_000)
    assert max(found) > 0.05  # well above where it began, however few the steps


def test_a_cycle_of_few_steps_has_its_peak() -> None:
    assert rates(one_cycle(1.0, 1), 3) == [1, 1, 1]
    assert rates(one_cycle(1.0, 2), 2) == pytest.approx([1, 1 / 250_000])
    assert rates(one_cycle(1.0, 3, warmup=0.9), 3) == pytest.approx([1 / 25, 1, 1 / 250_000])


def test_past_its_last_step_a_cycle_stays_where_it_ended() -> None:
    for steps, warmup in ((1, 0.3), (10, 0.99), (10, 0.3)):
        rate = one_cycle(1.0, steps, warmup=warmup)
        assert rate(steps) == rate(steps + 5) == rate(steps - 1)


def test_one_cycle_has_the_bits_it_always_had() -> None:
    """Runs that are resumed, and records that are read again, count on them."""
    found = [rate.hex() for rate in rates(one_cycle(0.3, 7, warmup=0.4), 7)]
    assert found == BITS


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_are_finite_and_positive(rate: float) -> None:
    for make in (
        constant, lambda r: step_decay(r, 3), lambda r: exponential(r, 3, 0.5), lambda r: polynomial(r, 3),
        lambda r: cosine(r, 3), lambda r: linear_warmup(r, 3), lambda r: one_cycle(r, 3), lambda r: piecewise([r], []),
        lambda r: piecewise_linear([1.0, r], [0, 5]), lambda r: until(r, 5),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="a learning rate is finite and positive, got"):
            make(rate)


def test_other_settings_are_checked() -> None:
    for make, what in (
        (lambda n: step_decay(1.0, n), "steps between decays"),
        (lambda n: exponential(1.0, n, 0.5), "steps of a decay"),
        (lambda n: polynomial(1.0, n), "steps of a decay"), (lambda n: cosine(1.0, n), "steps of a decay"),
        (lambda n: linear_warmup(1.0, n), "steps of a warm-up"), (lambda n: one_cycle(1.0, n), "steps of a cycle"),
        (lambda n: until(1.0, n), "steps of training"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"the number of {what} is a whole number from 1 up, got 0"):
            make(0)
    for make in (lambda: step_decay(1.0, 3, 0.0), lambda: exponential(1.0, 3, math.inf)):
        with pytest.raises(ValueError, match="the factor of a decay is finite and positive, got"):
            make()
    for make in (polynomial, cosine):
        with pytest.raises(ValueError, match="the rate at the end is finite and from 0 up, got -1"):
            make(1.0, 3, -1)
    with pytest.raises(ValueError, match="the power of a polynomial is finite and positive, got 0"):
        polynomial(1.0, 3, power=0)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        one_cycle(0.1, 5, warmup=1)
    with pytest.raises(ValueError, match="a boundary between schedules is a whole number from 1 up, got 0"):
        piecewise([1, 2], [0])
    with pytest.raises(ValueError, match=r"the boundaries between schedules ascend, got \(3, 3\)"):
        piecewise([1, 2, 3], [3, 3])
    with pytest.raises(ValueError, match=r"the steps of straight lines ascend, got \(0, 3, 3\)"):
        piecewise_linear([1, 2, 3], [0, 3, 3])
    with pytest.raises(ValueError, match="a step of straight lines is a whole number from 0 up, got -1"):
        piecewise_linear([1, 2], [-1, 3])
    for wrong in ([], [1]):
        with pytest.raises(ValueError, match=f"each rate has its step, got {len(wrong)} rates and 0 steps"):
            piecewise_linear(wrong, [])
    with pytest.raises(ValueError, match="3 rates or schedules have one boundary fewer, got 1"):
        joined([constant(1.0)] * 3, [5])
    with pytest.raises(ValueError, match="0 rates or schedules have one boundary fewer, got 0"):
        joined([], [])


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (one_cycle(0.1, 50), 50),
        (one_cycle(0.1, 1), 1),
        (cosine(0.1, 40), 40),
        (cosine(0.1, 40, end=0.01), None),
        (polynomial(0.1, 30), 30),
        (polynomial(0.1, 30, end=0.0005, power=2), 30),
        (joined([linear_warmup(0.1, 10), cosine(0.1, 40)], [10]), 50),
        (joined([cosine(0.1, 40), constant(0.1)], [40]), None),
        (piecewise_linear([0.1, 0.0005], [0, 30]), 30),
        (piecewise_linear([0.02, 0.1, 0.007], [0, 10, 30]), None),
        (constant(0.1), None),
        (linear_warmup(0.1, 10), None),
        (exponential(0.1, 10, 0.5), None),
        (step_decay(0.1, 10), None),
        (lambda step: 0.1, None),
        (None, None),
    ],
)
def test_the_end_of_a_schedule(schedule: Schedule | None, end: int | None) -> None:
    """From its end on, the rate stays where it is, at less than a hundredth of what it was."""
    assert end_of_schedule(schedule) == end
    if schedule is not None and end is not None:
        rates = [schedule(step) for step in range(end + 5)]
        assert len(set(rates[end - 1 :])) == 1 or rates[end] < 0.01 * max(rates)
        assert rates[end - 1] < 0.06 * max(rates) or end == 1
