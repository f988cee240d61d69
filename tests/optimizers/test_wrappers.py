import pickle

import numpy as np
import pytest
from descent import LOSSES, both_paths, grads_of, params_of, path, slope

from funcnet import tree
from funcnet.optimizers import (
    Moment,
    Optimizer,
    accumulate,
    adam,
    apply_updates,
    average,
    compose,
    lookahead,
    momentum,
    reduce_on_plateau,
    sgd,
)


def test_accumulated_gradients() -> None:
    """v <- 0.8 v + mean of three, w <- w - rate v; the rate by the number of the update."""
    w, v, sums, expected = 1.5, 0.0, 0.0, []
    for step in range(12):
        sums += slope(w, step)
        if step % 3 == 2:
            v, sums = 0.8 * v + sums / 3, 0.0
            w -= 0.1 * (step // 3 + 1) * v
        expected.append(w)
    optimizer = accumulate(momentum(lambda group: 0.1 * (group + 1), 0.8), 3)
    assert path(optimizer, 12) == pytest.approx(expected, rel=1e-12)
    assert [optimizer.rate(step) for step in (0, 2, 3, 8)] == pytest.approx([0.1, 0.1, 0.2, 0.3])
    assert repr(optimizer) == "accumulate(momentum(0.8), 3)"
    assert path(accumulate(adam(0.1), 1)) == pytest.approx(path(adam(0.1)))


def test_the_optimizer_inside_is_told_the_group_and_its_mean_loss() -> None:
    told = []

    def update(grads: tuple[()], opt_state: tuple[()], params: tuple[()], now: Moment) -> tuple[object, object]:
        told.append((now.step, now.rate, float(now.loss)))
        return grads, opt_state

    optimizer = accumulate(Optimizer("spy", lambda params: (), update, lambda group: group + 1.0), 3)
    params = (np.zeros(1),)
    state = optimizer.init(params)
    for step in range(6):
        _, state = optimizer.update(params, state, params, step, loss=LOSSES[step])
    assert told[2] == pytest.approx((0, 1.0, sum(LOSSES[:3]) / 3))
    assert told[5] == pytest.approx((1, 2.0, sum(LOSSES[3:6]) / 3))


def test_what_is_not_trained_does_not_accumulate() -> None:
    params, grads = params_of(np, "float32"), grads_of(np, "float32", 0)
    optimizer = accumulate(adam(0.1), 2)
    state = optimizer.init(params)
    for step in range(4):
        updates, state = optimizer.update(grads, state, params, step)
        assert updates[1].running is None
        assert updates[3].weight is None
        assert all((leaf == 0).all() == (step % 2 == 0) for leaf in tree.leaves(updates))


def test_no_gradient_is_left_of_the_group_before() -> None:
    optimizer = accumulate(sgd(1.0), 2)
    params = (np.zeros(1),)
    state = optimizer.init(params)
    _, state = optimizer.update((np.array([np.nan]),), state, params, 0)
    _, state = optimizer.update((np.array([1.0]),), state, params, 1)
    _, state = optimizer.update((np.array([1.0]),), state, params, 2)
    updates, _ = optimizer.update((np.array([3.0]),), state, params, 3)
    assert updates[0].tolist() == [-2.0]


def test_lookahead() -> None:
    """Algorithm 1 of the paper, with momentum as the inner optimizer."""
    fast = slow = 1.5
    v, expected = 0.0, []
    for step in range(10):
        v = 0.8 * v + slope(fast, step)
        fast -= 0.1 * v
        if step % 3 == 2:
            slow += 0.4 * (fast - slow)
            fast = slow
        expected.append((fast, slow))
    optimizer = lookahead(momentum(0.1, 0.8), 3, 0.4)
    assert both_paths(optimizer, 10) == [pytest.approx(pair, rel=1e-12) for pair in expected]
    assert repr(optimizer) == "lookahead(momentum(0.8), 3, 0.4)"
    assert optimizer.rate(7) == 0.1


def test_the_share_of_lookahead_may_be_scheduled() -> None:
    """As in a speed record: an average of the last weights, since at first the slow ones follow the fast ones."""

    def share(step: int) -> float:
        return 1 - 0.95**5 * ((step + 1) / 10) ** 3

    fast = slow = 1.5
    expected = []
    for step in range(10):
        fast -= 0.1 * slope(fast, step)
        if step % 2 == 1:
            slow += share(step) * (fast - slow)
            fast = slow
        expected.append((fast, slow))
    optimizer = lookahead(sgd(0.1), 2, share)
    assert both_paths(optimizer, 10) == [pytest.approx(pair, rel=1e-12) for pair in expected]
    assert repr(optimizer) == "lookahead(sgd, 2, scheduled)"
    for wrong in (0.0, 1.1, np.nan):
        with pytest.raises(ValueError, match=rf"the share of a look ahead lies in \(0, 1\], got {wrong}"):
            path(lookahead(sgd(0.1), 2, lambda step, wrong=wrong: wrong))


def test_the_average_of_the_parameters() -> None:
    w, s, expected = 1.5, 0.0, []
    for step in range(10):
        w -= 0.1 * slope(w, step)
        s = 0.7 * s + 0.3 * w
        expected.append((w, s / (1 - 0.7 ** (step + 1))))
    optimizer = average(sgd(0.1), 0.7)
    assert both_paths(optimizer, 10) == [pytest.approx(pair, rel=1e-12) for pair in expected]
    assert repr(optimizer) == "average(sgd, 0.7)"
    assert [a for _, a in both_paths(average(sgd(0.1), 0.0))] == pytest.approx(path(sgd(0.1)))


def test_averages_of_what_is_trained_alone() -> None:
    params, grads = params_of(np, "float32"), grads_of(np, "float32", 0)
    for optimizer in (average(sgd(0.1), 0.5), lookahead(sgd(0.1), 2), accumulate(average(sgd(0.1), 0.5), 1)):
        state = optimizer.init(params)
        assert tree.equal(optimizer.evaluated(params, state), params)
        updates, state = optimizer.update(grads, state, params, 0)
        moved = apply_updates(params, updates)
        evaluated = optimizer.evaluated(moved, state)
        assert evaluated[1].running is moved[1].running
        assert tree.equal(evaluated[3].weight, params[3].weight)
        assert {leaf.dtype for leaf in tree.leaves((evaluated, state))} == {np.dtype(np.float32)}


def test_the_state_begins_with_copies() -> None:
    """An engine that writes over the parameters does not write over an average."""
    params = params_of(np, "float32")
    for state in (average(sgd(0.1)).init(params), lookahead(sgd(0.1)).init(params)):
        for leaf in tree.leaves(state):
            assert not any(np.shares_memory(leaf, other) for other in tree.leaves(params))


def test_wrappers_within_wrappers() -> None:
    """Averaging within accumulation counts updates; around it, steps."""
    outside = both_paths(average(accumulate(sgd(0.1), 2), 0.5), 4)
    inside = both_paths(accumulate(average(sgd(0.1), 0.5), 2), 4)
    w = [pair[0] for pair in outside]
    assert [pair[0] for pair in inside] == w
    assert outside[3][1] == pytest.approx((w[0] + 2 * w[1] + 4 * w[2] + 8 * w[3]) / 15)
    assert inside[3][1] == pytest.approx((w[1] + 2 * w[3]) / 3)
    assert inside[2][1] == inside[1][1]
    fast = both_paths(average(lookahead(sgd(0.1), 2), 0.5), 4)
    assert [pair[0] for pair in fast] == path(lookahead(sgd(0.1), 2), 4)


def test_a_plateau_in_groups() -> None:
    grouped = accumulate(compose(sgd(0.1), reduce_on_plateau(0.5, 1)), 2)
    params = (np.ones(1),)
    state, found = grouped.init(params), []
    for step, loss in enumerate([1.0, 3.0, 2.5, 1.5, 0.1, 4.1]):
        updates, state = grouped.update(params, state, params, step, loss=loss)
        found.append(float(updates[0][0]))
    assert found == pytest.approx([0, -0.1, 0, -0.05, 0, -0.025])


def test_a_network_without_parameters() -> None:
    for optimizer in (accumulate(sgd(0.1), 2), average(sgd(0.1)), lookahead(sgd(0.1))):
        updates, state = optimizer.update(((), None), optimizer.init(((), None)), ((), None), 0)
        assert updates == ((), None)
        assert optimizer.evaluated(((), None), state) == ((), None)


def test_states_can_be_pickled_and_compared() -> None:
    params, grads = params_of(np, "float32"), grads_of(np, "float32", 0)
    optimizer = average(accumulate(adam(0.1), 2), 0.5)
    _, state = optimizer.update(grads, optimizer.init(params), params, 0, loss=0.5)
    again = pickle.loads(pickle.dumps(state))
    assert again == state
    assert tree.equal(again, state)
    assert again != optimizer.init(params)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="the number of gradients to accumulate is a whole number from 1 up, got 0"):
        accumulate(sgd(0.1), 0)
    with pytest.raises(ValueError, match="the number of steps between looks ahead is a whole number from 1 up, got 0"):
        lookahead(sgd(0.1), 0)
    for share in (0, 1.1):
        with pytest.raises(ValueError, match=rf"the share of a look ahead lies in \(0, 1\], got {share}"):
            lookahead(sgd(0.1), 5, share)
    with pytest.raises(ValueError, match=r"the decay of an average lies in \[0, 1\), got 1"):
        average(sgd(0.1), 1)
    with pytest.raises(ValueError, match=r"an average goes around lookahead, .* got average\(sgd, 0.9\)"):
        lookahead(average(sgd(0.1), 0.9))
