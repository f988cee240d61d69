import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check import Rule, check_optimizer
from funcnet.check.strategies import keys
from funcnet.layers.linear import LinearParams
from funcnet.optimizers import Optimizer, momentum, nesterov, one_cycle, sgd
from funcnet.random import Key, make_key

MAKERS = [sgd, momentum, nesterov]


def record(key: Key, dtype: type = np.float32) -> tuple[object, ...]:
    return ((), LinearParams(random.normal(key, (3, 2), dtype), random.normal(key, (2,), dtype)))


def run(optimizer: Optimizer, w: float, gradients: list[float]) -> list[float]:
    """Where w goes under these gradients."""
    params, path = (tree.freeze(np.array([w])),), []
    state = optimizer.init(params)
    for step, g in enumerate(gradients):
        params, state = optimizer.update((np.array([g]),), state, params, step)
        path.append(float(params[0][0]))
    return path


def test_the_update_rules_on_numbers() -> None:
    assert run(sgd(0.1), 1.0, [1, 2]) == pytest.approx([0.9, 0.7])
    # v: 1, then 0.5 + 2 = 2.5
    assert run(momentum(0.1, 0.5), 1.0, [1, 2]) == pytest.approx([0.9, 0.65])
    # g + 0.5 v: 1.5, then 2 + 1.25 = 3.25
    assert run(nesterov(0.1, 0.5), 1.0, [1, 2]) == pytest.approx([0.85, 0.525])


def test_the_rate_follows_the_schedule() -> None:
    for maker in MAKERS:
        optimizer = maker(lambda step: 0.1 * (step + 1))
        first, second = run(optimizer, 0.0, [1, 0])
        plain = run(maker(0.1), 0.0, [1, 0])
        assert first == pytest.approx(plain[0])
        assert second - first == pytest.approx(2 * (plain[1] - plain[0]))
        assert optimizer.learning_rate(4) == pytest.approx(0.5)


@settings(max_examples=10)
@given(keys())
def test_proof(key: Key) -> None:
    """The rules in plain numbers, and that updates are pure and keep structure and dtype."""

    def by_rule(decay: float, of_gradient: float, of_velocity: float) -> Rule:
        def rule(w: float, gradients: Sequence[float]) -> float:
            v = 0.0
            for g in gradients:
                v = decay * v + g
                w -= 0.1 * (of_gradient * g + of_velocity * v)
            return w

        return rule

    check_optimizer(sgd(0.1), rule=by_rule(0.0, 1, 0), key=key)
    check_optimizer(momentum(0.1, 0.8), rule=by_rule(0.8, 0, 1), key=key)
    check_optimizer(nesterov(0.1, 0.8), rule=by_rule(0.8, 1, 0.8), key=key)
    check_optimizer(nesterov(one_cycle(0.1, 4)), key=key)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_quadratic_is_minimised(maker: object) -> None:
    """f(w) = w^T diag(1, 10) w / 2."""
    optimizer = maker(0.05)
    params = (tree.freeze(np.array([1.0, 1.0])),)
    state = optimizer.init(params)
    for step in range(300):
        params, state = optimizer.update((np.array([1.0, 10.0]) * params[0],), state, params, step)
    assert tree.norm(params) < 1e-4


def test_one_cycle_climbs_and_falls() -> None:
    rate = one_cycle(0.5, 1000, warmup=0.25)
    rates = np.array([rate(step) for step in range(1000)])
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates.max() == pytest.approx(0.5)
    assert rates.argmax() == 250
    assert rates[-1] == pytest.approx(0.5 / 250_000)
    assert (np.diff(rates[:251]) > 0).all()
    assert (np.diff(rates[250:]) < 0).all()
    assert rate(5000) == rates[-1]


@given(st.integers(1, 12), st.floats(0.01, 0.99))
def test_one_cycle_is_sound_for_any_length(steps: int, warmup: float) -> None:
    rates = [one_cycle(1.0, steps, warmup=warmup)(step) for step in range(steps + 3)]
    assert all(0 < r <= 1 for r in rates)


@given(st.integers(2, 12), st.floats(0.01, 0.99))
def test_the_last_step_of_a_cycle_is_on_the_way_down(steps: int, warmup: float) -> None:
    rate = one_cycle(1.0, steps, warmup=warmup)
    rates = [rate(step) for step in range(steps)]
    assert rates[-1] == pytest.approx(1 / 250_000)
    assert max(rates) > 0.05  # well above where it began, however few the steps


def test_a_cycle_of_few_steps_has_its_peak() -> None:
    assert [one_cycle(1.0, 1)(step) for step in range(3)] == [1, 1, 1]
    assert [one_cycle(1.0, 2)(step) for step in range(2)] == pytest.approx([1, 1 / 250_000])
    assert [one_cycle(1.0, 3, warmup=0.9)(step) for step in range(3)] == pytest.approx([1 / 25, 1, 1 / 250_000])


def test_a_schedule_is_asked_once_an_update() -> None:
    asked = []
    optimizer = sgd(lambda step: asked.append(step) or 0.1)
    params = record(make_key(0))
    optimizer.update(params, (), params, 7)
    assert asked == [7]


@pytest.mark.usefixtures("as_users_run")
def test_numpy_numbers_do_not_turn_float32_into_float64() -> None:
    """As in a sweep over np.logspace(...)."""
    rate, decay = np.float64(0.1), np.float64(0.9)
    for optimizer in (
        sgd(rate), sgd(lambda step: rate), momentum(rate, decay), nesterov(rate, decay), sgd(one_cycle(rate, 9)),
    ):  # fmt: skip
        params = record(make_key(0))
        params, state = optimizer.update(params, optimizer.init(params), params, 0)
        assert {leaf.dtype for leaf in tree.leaves((params, state))} == {np.dtype(np.float32)}


def test_the_rates_of_a_schedule_are_checked_too() -> None:
    with pytest.raises(ValueError, match="finite and positive, got nan"):
        run(sgd(lambda step: math.nan), 1.0, [1])


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_are_finite_and_positive(rate: float) -> None:
    for maker in (*MAKERS, lambda r: one_cycle(r, 10)):
        with pytest.raises(ValueError, match="a learning rate is finite and positive"):
            maker(rate)


def test_other_settings_are_checked() -> None:
    for maker in (momentum, nesterov):
        with pytest.raises(ValueError, match=r"lies in \[0, 1\), got 1"):
            maker(0.1, 1)
    with pytest.raises(ValueError, match="steps of a cycle is a whole number from 1 up, got 0"):
        one_cycle(0.1, 0)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        one_cycle(0.1, 5, warmup=1)


def test_gradients_of_another_network_are_refused() -> None:
    params = (np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="trees differ"):
        sgd(0.1).update((np.zeros(2),), (), params, 0)


def test_past_its_last_step_a_cycle_stays_where_it_ended() -> None:
    for steps, warmup in ((1, 0.3), (10, 0.99), (10, 0.3)):
        rate = one_cycle(1.0, steps, warmup=warmup)
        assert rate(steps) == rate(steps + 5) == rate(steps - 1)


@pytest.mark.usefixtures("as_users_run")
def test_a_word_is_no_rate() -> None:
    for wrong in ("0.1", None):
        with pytest.raises(ValueError, match="a learning rate is finite and positive, got"):
            sgd(wrong)
