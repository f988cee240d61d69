import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.check.differences import complex_step, derivative, noise

FUNCTIONS = {
    "exp": (np.exp, np.exp),
    "sin": (np.sin, np.cos),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "sharp": (lambda x: np.tanh(30 * x), lambda x: 30 * (1 - np.tanh(30 * x) ** 2)),
}
points = st.floats(-2, 2)


@given(st.sampled_from(sorted(FUNCTIONS)), points)
def test_the_estimated_error_covers_the_error(name: str, x: float) -> None:
    f, slope = FUNCTIONS[name]
    values = lambda t: np.array([f(x + t), 3.0, 2 * f(x + t)])  # noqa: E731
    found = derivative(values, noise(values))
    wanted = np.array([slope(x), 0, 2 * slope(x)])
    assert (np.abs(found.value - wanted) <= 10 * found.error).all()
    assert (found.error <= 1e-6 * max(1, abs(slope(x)))).all()  # and it is no idle estimate


@given(st.floats(1e-6, 1), st.sampled_from([-1, 1]))
def test_kinks_are_kept_away_from(distance: float, side: int) -> None:
    values = lambda t: np.array([abs(side * distance + t)])  # noqa: E731
    found = derivative(values, noise(values))
    assert found.value == pytest.approx([side], rel=1e-6)
    assert found.kinks or distance > 54323581 * 2.0**-30 / 4  # within the longest steps, not just within the first
    assert not found.kinks or distance < 54323581 * 2.0**-30
    assert not found.on_kink.any()


def test_on_a_kink_there_is_no_derivative() -> None:
    """Though the central differences of max(t, 0) all agree on 1/2."""
    values = lambda t: np.array([max(t, 0.0), t])  # noqa: E731
    found = derivative(values, noise(values))
    assert found.error[0] == math.inf
    assert found.on_kink.tolist() == [True, False]
    assert found.value[1] == pytest.approx(1)


def test_at_a_jump_there_is_no_derivative() -> None:
    values = lambda t: np.array([float(t > 0)])  # noqa: E731
    found = derivative(values, noise(values))
    assert found.error == [math.inf]
    assert not found.on_kink.any()
    alone = lambda t: np.array([float(t == 0)])  # noqa: E731, the same to both sides
    found = derivative(alone, noise(alone))
    assert found.error == [math.inf]
    assert not found.on_kink.any()


@given(st.floats(50, 20_000), points)
def test_a_fast_function_is_not_taken_for_a_slow_one(frequency: float, x: float) -> None:
    for w in (frequency, 993.5, 1987.0):  # the last two: all four steps are near a whole number of periods
        values = lambda t, w=w: np.array([np.sin(w * (x + t))])  # noqa: E731
        found = derivative(values, noise(values))
        assert np.abs(found.value - w * np.cos(w * x)) <= 10 * found.error + 1e-12 * w


def test_the_noise_of_lower_precision_is_measured() -> None:
    phases = np.linspace(0, 1, 20)
    single = noise(lambda t: np.sin(1e5 * t + phases).astype(np.float32).astype(np.float64))
    double = noise(lambda t: np.sin(t + phases))
    assert 1e-9 < np.median(single) < 1e-6
    assert 1e-17 < np.median(double) < 1e-14
    found = derivative(lambda t: np.array([float(np.float32(math.exp(1 + t)))]), np.array([1e-7]))
    assert abs(found.value[0] - math.e) < 10 * found.error[0] < 1e-3


def test_the_complex_step_is_exact() -> None:
    assert complex_step(lambda t: np.exp(np.array([0.5, -3.0]) + t)) == pytest.approx(np.exp([0.5, -3.0]), rel=1e-15)
