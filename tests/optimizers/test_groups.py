"""Optimizers for arrays of their own."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
from descent import LayerParams, grads_of, params_of

import funcnet as fn
from funcnet import tree
from funcnet.check import check_optimizer
from funcnet.optimizers import (
    Optimizer,
    accumulate,
    adam,
    apply_updates,
    average,
    by_path,
    clip_by_global_norm,
    compose,
    lookahead,
    momentum,
    nesterov,
    reduce_on_plateau,
    scale_by_learning_rate,
    sgd,
    trace,
    until,
    weights_only,
)
from funcnet.step import make_update


def moved(optimizer: Optimizer, steps: int = 4) -> Any:
    """The parameters after some steps; what has no gradient in ``grads_of`` is taken out."""
    params = params_of(np, "float64")
    state = optimizer.init(params)
    for step in range(steps):
        updates, state = optimizer.update(grads_of(np, "float64", step), state, params, step, loss=1.0)
        params = apply_updates(params, updates)
    return params


def test_each_array_goes_where_its_own_optimizer_takes_it() -> None:
    rest, fast, slow = adam(0.1), nesterov(lambda step: 0.3 / (step + 1)), sgd(0.01)
    found = moved(by_path(rest, ("[1].weight", fast), (weights_only, slow)))
    assert tree.equal(found[1].weight, moved(fast)[1].weight)
    assert tree.equal(found[1].bias, moved(rest)[1].bias)
    assert tree.equal(found[2], moved(slow)[2])
    assert tree.equal(found[3], moved(rest)[3])
    assert found[1].running.tolist() == [9.0, 9.0]


def test_the_first_exception_that_fits_is_taken() -> None:
    found = moved(by_path(sgd(0.1), ("[1].*", sgd(0.2)), ("*.bias", sgd(0.4))))
    assert tree.equal(found[1], moved(sgd(0.2))[1])
    assert tree.equal(found[2], moved(sgd(0.1))[2])
    assert tree.equal(found[3].bias, moved(sgd(0.4))[3].bias)


def test_a_path_is_taken_to_the_letter() -> None:
    """Brackets, dots and question marks mean themselves: only ``*`` does not."""
    params = (np.zeros(1),) * 11
    for pattern in ("[1]", "*1]", "[1*"):
        optimizer = by_path(sgd(1.0), (pattern, sgd(2.0)))
        updates, _ = optimizer.update((np.ones(1),) * 11, optimizer.init(params), params, 0)
        twice = [i for i, update in enumerate(updates) if update == -2.0]
        assert twice == ([1, 10] if pattern == "[1*" else [1])


def test_a_mask_is_asked_for_what_is_trained() -> None:
    asked: list[tuple[str, Any]] = []
    params = params_of(np, "float64")
    optimizer = by_path(sgd(0.1), (lambda path, array: bool(asked.append((path, array))), sgd(0.2)))
    state = optimizer.init(params)
    assert [path for path, _ in asked] == ["[1].weight", "[1].bias", "[2].weight", "[3].weight", "[3].bias"]
    asked.clear()
    optimizer.update(grads_of(np, "float64", 0), state, params, 0)
    assert [path for path, _ in asked] == ["[1].weight", "[1].bias", "[2].weight", "[3].bias"]
    assert all(array is dict(tree.named_leaves(params))[path] for path, array in asked)


def test_an_array_is_trained_for_a_part_of_the_run() -> None:
    optimizer = by_path(momentum(0.1), ("[1].bias", momentum(until(0.1, 3))))
    assert tree.equal(moved(optimizer, 3), moved(momentum(0.1), 3))
    assert tree.equal(moved(optimizer, 7)[1].bias, moved(momentum(0.1), 3)[1].bias)
    assert tree.equal(moved(optimizer, 7)[1].weight, moved(momentum(0.1), 7)[1].weight)


def test_rates_of_their_own() -> None:
    optimizer = by_path(momentum(lambda step: 0.1 + step), ("[1].bias", sgd(lambda step: 64 * (0.1 + step))))
    assert optimizer.rate(2) == pytest.approx(2.1)
    now = optimizer.moment(2, 0.5)
    assert (now.step, now.rate, now.loss, now.numbers) == (2, pytest.approx(2.1), 0.5, (pytest.approx(64 * 2.1),))
    for rate in (-0.1, math.nan, math.inf):
        wrong = by_path(sgd(0.1), ("[1].bias", sgd(lambda step, rate=rate: rate)))
        with pytest.raises(ValueError, match="a rate is finite and from 0 up, got"):
            moved(wrong)
    with pytest.raises(ValueError, match="a learning rate is finite and positive, got 0"):
        moved(sgd(until(0.1, 2)))


def test_within_chains_and_wrappers_each_part_is_told_its_own_numbers() -> None:
    def falling(rate: float) -> Any:
        return lambda step: rate / (step + 1)

    two = by_path(sgd(falling(0.1)), ("[1].bias", sgd(falling(0.7))))
    of_weights = by_path(sgd(falling(0.1)), ("[2].*", sgd(falling(0.7))))
    of_biases = by_path(sgd(falling(0.5)), ("[1].*", sgd(0.3)))
    inner = by_path(sgd(0.2), (weights_only, of_weights), ("*.bias", of_biases))
    assert tree.equal(moved(inner)[1].bias, moved(sgd(0.3))[1].bias)
    assert tree.equal(moved(inner)[2], moved(sgd(falling(0.7)))[2])
    assert tree.equal(moved(inner)[1].weight, moved(sgd(falling(0.1)))[1].weight)
    assert tree.equal(moved(inner)[3].bias, moved(sgd(falling(0.5)))[3].bias)

    parts = by_path(trace(0.9), ("[1].bias", compose(trace(0.5), scale_by_learning_rate(falling(3.0)))))
    chain = compose(lookahead(parts, 2, falling(0.9)), name="mine")
    assert [len(part.schedules) for part in (parts, chain)] == [1, 2]
    assert chain.moment(1).numbers == pytest.approx((0.45, 1.5))
    grouped = accumulate(average(compose(two, reduce_on_plateau()), 0.5), 2)
    assert [grouped.moment(step).numbers for step in (0, 1, 2)] == [(0.7,), (0.7,), (0.35,)]
    expected = moved(accumulate(sgd(falling(0.7)), 2), 6)
    assert moved(grouped, 6)[1].bias == pytest.approx(expected[1].bias)


def test_clipping_within_a_group_takes_its_norm() -> None:
    params, clipped = (np.zeros(1), np.zeros(1)), compose(clip_by_global_norm(1.0), sgd(1.0))
    optimizer = by_path(clipped, ("[1]", clipped))
    updates, _ = optimizer.update((np.array([3.0]), np.array([4.0])), optimizer.init(params), params, 0)
    assert updates == (pytest.approx([-1.0]), pytest.approx([-1.0]))


@pytest.mark.parametrize(
    "others", [momentum(0.2), nesterov(0.2), adam(0.2), sgd(0.2, weight_decay=0.1), by_path(sgd(0.1))], ids=str
)
def test_the_engine_updates_in_place(others: Optimizer) -> None:
    """By a kernel of each group."""
    for optimizer in (by_path(momentum(0.1), ("*.bias", others)), by_path(others, (weights_only, momentum(0.1)))):
        (kernels,) = [p for p in check_optimizer(optimizer, key=fn.make_key(0)).properties if p.name == "kernels"]
        assert kernels.compared > 0


@pytest.mark.parametrize("donate", [True, False])
def test_steps_of_both_engines(donate: bool) -> None:
    net = fn.chain(fn.linear(5), fn.relu(), fn.linear(3))
    start, _ = net.init(fn.make_key(0), (4,))
    batch = fn.Batch(np.cos(np.arange(24, dtype=np.float32)).reshape(6, 4), np.arange(6) % 3)
    for main in (momentum(0.1), fn.muon(0.1)):
        optimizer = by_path(main, ("[0].bias", sgd(until(0.5, 2))), ("[2].*", adam(0.1)))
        found = []
        for engine in (fn.engines.numpy(), fn.engines.plain()):
            step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer, engine=engine, donate=donate)
            state = fn.copy_state(fn.init_state(start, optimizer, fn.make_key(1)))
            for _ in range(4):
                state, _ = step(state, batch)
            found.append(state)
        for a, b in zip(tree.leaves(found[0]), tree.leaves(found[1]), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_pure_step_asks_the_schedules_unless_it_is_given_their_numbers() -> None:
    net, loss = fn.linear(2), fn.mean_squared_error()
    params, _ = net.init(fn.make_key(0), (3,))
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)
    optimizer = by_path(sgd(0.1), ("weight", sgd(lambda step: 0.25 * step)))
    update, state = make_update(net, loss, optimizer), optimizer.init(params)
    still, _, _ = update(params, state, x, y, 0.1, 0)
    asked, _, _ = update(params, state, x, y, 0.1, 2)
    given, _, _ = update(params, state, x, y, 0.1, 0, numbers=(0.5,))
    assert tree.equal(still.weight, params.weight)
    assert tree.equal(asked, given)
    assert not tree.equal(asked.weight, params.weight)


def test_a_path_that_chooses_nothing_is_refused() -> None:
    params = params_of(np, "float64")
    for wrong in ("[1].bais", "[1].running", "[2].bias", "[0]"):
        with pytest.raises(ValueError, match=r"chooses none of the arrays .*; the paths are \[1\].weight, "):
            by_path(sgd(0.1), (wrong, sgd(0.2))).init(params)
    with pytest.raises(ValueError, match="and not chosen before"):
        by_path(sgd(0.1), ("*.bias", sgd(0.2)), ("[1].bias", sgd(0.2))).init(params)
    by_path(sgd(0.1), (lambda path, array: False, sgd(0.2))).init(params)


@pytest.mark.usefixtures("as_users_run")
def test_settings_are_checked() -> None:
    for wrong in (("[0]",), ("[0]", sgd(0.1), 1), (3, sgd(0.1)), "ab", sgd(0.1)):
        with pytest.raises(TypeError, match="an exception is a path or a mask, and an optimizer"):
            by_path(sgd(0.1), wrong)
    with pytest.raises(TypeError, match="an optimizer is made by a call"):
        by_path(sgd(0.1), ("[0]", 0.1))
    with pytest.raises(ValueError, match=r"an average goes around by_path, .* got average\(sgd, 0.999\)"):
        by_path(sgd(0.1), ("[0]", average(sgd(0.1))))


def test_names_parts_and_pickles() -> None:
    optimizer = by_path(adam(0.1), ("[1].bias", sgd(until(0.1, 2))), (weights_only, momentum(0.1)))
    assert str(optimizer) == "by_path(adam(0.9, 0.999); [1].bias: sgd; weights_only: momentum(0.9))"
    assert [part.name for part in optimizer.parts] == ["adam(0.9, 0.999)", "sgd", "momentum(0.9)"]
    assert tree.equal(moved(pickle.loads(pickle.dumps(optimizer))), moved(optimizer))


def test_a_network_without_parameters() -> None:
    optimizer = by_path(momentum(0.1), (weights_only, adam(0.1)))
    updates, _ = optimizer.update(((), None), optimizer.init(((), None)), ((), None), 0)
    assert updates == ((), None)


def test_what_a_group_leaves_out_has_no_state() -> None:
    state = by_path(momentum(0.1), (weights_only, adam(0.1))).init(params_of(np, "float32"))
    assert isinstance(state[0][0].velocity[1], LayerParams)
    assert state[0][0].velocity[1].weight is None
    assert state[1][0].first_moment[1].bias is None
    assert state[1][0].first_moment[1].weight.shape == (3, 2)
