import math
import pickle
from typing import Any

import numpy as np
import pytest
from descent import grads_of, params_of, path

from funcnet import optimizers, tree
from funcnet.optimizers import (
    Moment,
    Optimizer,
    accumulate,
    adamw,
    apply_updates,
    average,
    clip_by_global_norm,
    clip_by_value,
    compose,
    expect_optimizer,
    lookahead,
    momentum,
    one_cycle,
    scale_by_adam,
    scale_by_learning_rate,
    sgd,
    trace,
)


def test_a_chain_applies_its_parts_in_order() -> None:
    grads, params = (np.array([4.0]),), (np.array([1.0]),)
    clipped_first = compose(clip_by_value(1.0), scale_by_learning_rate(0.5))
    clipped_last = compose(scale_by_learning_rate(0.5), clip_by_value(1.0))
    assert clipped_first.update(grads, clipped_first.init(params), params, 0)[0][0].tolist() == [-0.5]
    assert clipped_last.update(grads, clipped_last.init(params), params, 0)[0][0].tolist() == [-1.0]


def test_a_chain_in_a_chain_is_one_chain() -> None:
    nested = compose(compose(clip_by_value(1.0), trace(0.9)), scale_by_learning_rate(0.1))
    assert path(nested) == path(compose(clip_by_value(1.0), trace(0.9), scale_by_learning_rate(0.1)))
    assert path(compose(clip_by_value(9.0), momentum(0.1, 0.8))) == path(momentum(0.1, 0.8))
    assert compose(clip_by_value(9.0), momentum(0.1, 0.8)).rate(3) == 0.1


def test_the_name_and_the_parts_of_a_chain() -> None:
    parts = (clip_by_global_norm(1.0), sgd(0.1))
    chain = compose(*parts)
    assert repr(chain) == str(chain) == chain.name == "compose(clip by global norm 1, sgd)"
    assert chain.parts == parts
    assert compose(*parts, name="mine").name == "mine"
    assert len(chain.init((np.zeros(2),))) == 2


def test_a_chain_of_nothing_passes_gradients_on() -> None:
    grads = (np.array([4.0]),)
    assert compose().update(grads, (), grads, 0) == (grads, ())
    assert compose().evaluated(grads, ()) is grads


def test_a_chain_has_one_learning_rate() -> None:
    with pytest.raises(ValueError, match=r"a chain has one learning rate, got those of sgd and of momentum\(0.9\)"):
        compose(sgd(0.1), clip_by_value(1.0), momentum(0.1))
    assert math.isnan(compose(trace(0.9)).rate(0))
    schedule = one_cycle(0.1, 10)
    assert compose(trace(0.9), scale_by_learning_rate(schedule)).learning_rate is schedule


def test_what_averages_comes_last_in_a_chain() -> None:
    for averaging in (average(trace(0.9)), lookahead(trace(0.9)), accumulate(average(trace(0.9)), 2)):
        with pytest.raises(ValueError, match=r"goes around the whole chain, or at its end; got .*trace\(0.9\)"):
            compose(averaging, scale_by_learning_rate(0.1))
    chain = compose(clip_by_value(1.0), average(sgd(0.1), 0.5))
    params = (np.array([1.0]),)
    state = chain.init(params)
    for step in range(3):
        updates, state = chain.update((np.array([4.0]),), state, params, step)
        params = apply_updates(params, updates)
    # 0.9, 0.8 and 0.7 with weights 1, 2 and 4
    assert chain.evaluated(params, state)[0].tolist() == pytest.approx([(0.9 + 2 * 0.8 + 4 * 0.7) / 7])


def test_updates_are_added_where_there_are_any() -> None:
    params = params_of(np, "float32")
    grads = grads_of(np, "float32", 0)
    moved = apply_updates(params, grads)
    assert tree.equal(moved[1].weight, params[1].weight + grads[1].weight)
    assert moved[1].running is params[1].running
    assert moved[3].weight is params[3].weight
    assert moved[3].bias == params[3].bias + grads[3].bias


def test_gradients_of_another_network_are_refused() -> None:
    params = (np.zeros(2), np.zeros(2))
    optimizer = momentum(0.1)
    with pytest.raises(ValueError, match="trees differ at the root: tuple of 1 against tuple of 2"):
        optimizer.update((np.zeros(2),), optimizer.init(params), params, 0)
    with pytest.raises(ValueError, match="trees differ at the root: tuple of 1 against tuple of 2"):
        apply_updates(params, (np.zeros(2),))


def test_a_schedule_is_asked_once_an_update() -> None:
    asked: list[int] = []
    optimizer = sgd(lambda step: asked.append(step) or 0.1)
    params = (np.zeros(2),)
    optimizer.update(params, optimizer.init(params), params, 7)
    assert asked == [7]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0, -0.1])
def test_the_rates_of_a_schedule_are_checked_too(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"a learning rate is finite and positive, got {wrong}"):
        path(sgd(lambda step: wrong))


def told(grads: Any, opt_state: Any, params: Any, now: Moment) -> tuple[Any, Any]:
    return now, opt_state


def test_what_an_update_is_told() -> None:
    spy = Optimizer("spy", lambda params: (), told)
    now, _ = spy.update((), (), (), 3)
    assert (now.step, math.isnan(now.rate), math.isnan(now.loss)) == (3, True, True)
    spy = Optimizer("spy", lambda params: (), update=told, learning_rate=lambda step: 0.1 * step)
    assert spy.update((), (), (), 3, loss=0.5)[0] == Moment(3, 0.1 * 3, 0.5)


def test_the_trained_parameters_are_evaluated_unless_said_otherwise() -> None:
    params = (np.zeros(2),)
    assert sgd(0.1).evaluated(params, ((),)) is params
    assert Optimizer("odd", tuple, told, evaluated=lambda params, state: state).evaluated(params, 5) == 5


def test_optimizers_are_themselves_alone() -> None:
    one = sgd(0.1)
    assert one == one
    assert one != sgd(0.1)
    assert len({one, sgd(0.1)}) == 2


@pytest.mark.usefixtures("as_users_run")
def test_what_is_no_optimizer() -> None:
    expect_optimizer(sgd(0.1))
    for wrong in (sgd, 0.1, None):
        with pytest.raises(TypeError, match=r"an optimizer is made by a call, such as momentum\(0.1\); got"):
            expect_optimizer(wrong)
        for wrapper in (average, lookahead, lambda inner: accumulate(inner, 2)):
            with pytest.raises(TypeError, match=r"an optimizer is made by a call"):
                wrapper(wrong)
        with pytest.raises(TypeError, match=r"an optimizer is made by a call"):
            compose(sgd(0.1), wrong)


def test_optimizers_can_be_pickled() -> None:
    optimizer = average(accumulate(compose(clip_by_global_norm(1.0), adamw(one_cycle(0.1, 9))), 2), 0.5)
    again = pickle.loads(pickle.dumps(optimizer))
    assert repr(again) == repr(optimizer)
    assert path(again) == path(optimizer)
    assert again.rate(5) == optimizer.rate(5)


def test_an_engine_recognises_transformations_by_their_functions() -> None:
    again = pickle.loads(pickle.dumps(scale_by_adam(0.8, 0.9, 0.1)))
    assert again.pure_update.func is scale_by_adam().pure_update.func
    assert again.pure_update.args == (0.8, 0.9, 0.1)


def test_the_public_names_are_exported() -> None:
    for module in ("groups", "named", "optimizer", "schedules", "transformations", "wrappers"):
        home = getattr(optimizers, module)
        for name in home.__all__:
            if not name.endswith("State"):
                assert getattr(optimizers, name) is getattr(home, name)
