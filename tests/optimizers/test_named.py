"""The optimizers with names, against recurrences of one number, written from their papers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from descent import grads_of, params_of, path, recurrence

from funcnet import tree
from funcnet.optimizers import (
    Optimizer,
    adagrad,
    adam,
    adamw,
    apply_updates,
    lion,
    momentum,
    nesterov,
    one_cycle,
    rmsprop,
    sgd,
    weights_only,
)  # fmt: skip

MAKERS = [sgd, momentum, nesterov, adam, adamw, rmsprop, lion, adagrad]
WITH_DECAY = [sgd, momentum, nesterov, adam, adamw, lion]


def by_velocity(rate: float, decay: float, of_gradient: float, of_velocity: float, coupled: float = 0.0) -> list[float]:
    v = 0.0

    def move(w: float, g: float, t: int) -> float:
        nonlocal v
        g += coupled * w
        v = decay * v + g
        return w - rate * (of_gradient * g + of_velocity * v)

    return recurrence(move)


def by_adam(
    rate: Callable[[int], float], b1: float, b2: float, eps: float, coupled: float, decoupled: float
) -> list[float]:
    m = v = 0.0

    def move(w: float, g: float, t: int) -> float:
        nonlocal m, v
        g += coupled * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        return w - rate(t - 1) * (m_hat / (math.sqrt(v_hat) + eps) + decoupled * w)

    return recurrence(move)


def by_rmsprop(rate: float, decay: float, eps: float, inside: bool) -> list[float]:
    v = 0.0

    def move(w: float, g: float, t: int) -> float:
        nonlocal v
        v = decay * v + (1 - decay) * g**2
        return w - rate * g / (math.sqrt(v + eps) if inside else math.sqrt(v) + eps)

    return recurrence(move)


def by_lion(rate: float, b1: float, b2: float, decoupled: float) -> list[float]:
    m = 0.0

    def move(w: float, g: float, t: int) -> float:
        nonlocal m
        c = b1 * m + (1 - b1) * g
        m = b2 * m + (1 - b2) * g
        return w - rate * (math.copysign(1, c) + decoupled * w)

    return recurrence(move)


def by_adagrad(rate: float, initial: float, eps: float) -> list[float]:
    s = initial

    def move(w: float, g: float, t: int) -> float:
        nonlocal s
        s += g**2
        return w - rate * g / math.sqrt(s + eps)

    return recurrence(move)


def always(rate: float) -> Callable[[int], float]:
    return lambda step: rate


RULES = [
    (sgd(0.1), by_velocity(0.1, 0, 1, 0)),
    (sgd(0.1, weight_decay=0.3), by_velocity(0.1, 0, 1, 0, 0.3)),
    (momentum(0.1, 0.8), by_velocity(0.1, 0.8, 0, 1)),
    (momentum(0.1), by_velocity(0.1, 0.9, 0, 1)),
    (momentum(0.1, 0.8, weight_decay=0.3), by_velocity(0.1, 0.8, 0, 1, 0.3)),
    (nesterov(0.1, 0.8), by_velocity(0.1, 0.8, 1, 0.8)),
    (nesterov(0.1, weight_decay=0.3), by_velocity(0.1, 0.9, 1, 0.9, 0.3)),
    (adam(0.1), by_adam(always(0.1), 0.9, 0.999, 1e-8, 0, 0)),
    (adam(0.1, 0.7, 0.8, 0.01, weight_decay=0.3), by_adam(always(0.1), 0.7, 0.8, 0.01, 0.3, 0)),
    (adam(0.1, 0.0, 0.0, 0.5), by_adam(always(0.1), 0, 0, 0.5, 0, 0)),
    (adam(one_cycle(0.1, 8)), by_adam(one_cycle(0.1, 8), 0.9, 0.999, 1e-8, 0, 0)),
    (adamw(0.1), by_adam(always(0.1), 0.9, 0.999, 1e-8, 0, 1e-4)),
    (adamw(0.1, 0.7, 0.8, 0.01, weight_decay=0.3), by_adam(always(0.1), 0.7, 0.8, 0.01, 0, 0.3)),
    (adamw(one_cycle(0.1, 8)), by_adam(one_cycle(0.1, 8), 0.9, 0.999, 1e-8, 0, 1e-4)),
    (rmsprop(0.1), by_rmsprop(0.1, 0.9, 1e-8, True)),
    (rmsprop(0.1, 0.7, 0.2), by_rmsprop(0.1, 0.7, 0.2, True)),
    (rmsprop(0.1, 0.7, 0.2, inside_root=False), by_rmsprop(0.1, 0.7, 0.2, False)),
    (lion(0.1), by_lion(0.1, 0.9, 0.99, 1e-3)),
    (lion(0.1, 0.5, 0.6, weight_decay=0.3), by_lion(0.1, 0.5, 0.6, 0.3)),
    (adagrad(0.1), by_adagrad(0.1, 0.1, 1e-7)),
    (adagrad(0.1, 0.0, 0.5), by_adagrad(0.1, 0, 0.5)),
]


@pytest.mark.parametrize(("optimizer", "expected"), RULES, ids=[f"{i}-{rule[0]}" for i, rule in enumerate(RULES)])
def test_the_rule_of_the_paper(optimizer: Optimizer, expected: list[float]) -> None:
    assert path(optimizer) == pytest.approx(expected, rel=1e-12)


def run(optimizer: Optimizer, w: float, gradients: list[float]) -> list[float]:
    """Where w goes under these gradients."""
    params, found = (np.array([w]),), []
    state = optimizer.init(params)
    for step, g in enumerate(gradients):
        updates, state = optimizer.update((np.array([g]),), state, params, step)
        params = apply_updates(params, updates)
        found.append(float(params[0][0]))
    return found


def test_the_update_rules_on_numbers() -> None:
    assert run(sgd(0.1), 1.0, [1, 2]) == pytest.approx([0.9, 0.7])
    # v: 1, then 0.5 + 2 = 2.5
    assert run(momentum(0.1, 0.5), 1.0, [1, 2]) == pytest.approx([0.9, 0.65])
    # g + 0.5 v: 1.5, then 2 + 1.25 = 3.25
    assert run(nesterov(0.1, 0.5), 1.0, [1, 2]) == pytest.approx([0.85, 0.525])


def test_the_rate_follows_the_schedule() -> None:
    for maker in (sgd, momentum, nesterov):
        optimizer = maker(lambda step: 0.1 * (step + 1))
        first, second = run(optimizer, 0.0, [1, 0])
        plain = run(maker(0.1), 0.0, [1, 0])
        assert first == pytest.approx(plain[0])
        assert second - first == pytest.approx(2 * (plain[1] - plain[0]))
        assert optimizer.learning_rate(4) == pytest.approx(0.5)


@pytest.mark.parametrize("maker", MAKERS)
def test_a_quadratic_is_minimised(maker: Callable[..., Optimizer]) -> None:
    """f(w) = w^T diag(1, 10) w / 2."""
    optimizer = maker(lambda step: 0.08 * 0.97**step) if maker is not adagrad else adagrad(0.5)
    params = (tree.freeze(np.array([1.0, 1.0])),)
    state = optimizer.init(params)
    for step in range(120):
        updates, state = optimizer.update((np.array([1.0, 10.0]) * params[0],), state, params, step)
        params = apply_updates(params, updates)
    assert tree.norm(params) < 0.1


@pytest.mark.parametrize("maker", WITH_DECAY)
def test_a_mask_chooses_what_decays(maker: Callable[..., Optimizer]) -> None:
    """What is masked moves as without the decay, the rest as with it."""
    plain, masked, full, by_path = (
        apply_updates(params, optimizer.update(grads, optimizer.init(params), params, 0)[0])
        for params, grads in [(params_of(np, "float64"), grads_of(np, "float64", 0))]
        for optimizer in (
            maker(0.1, weight_decay=0.0),
            maker(0.1, weight_decay=0.5, mask=weights_only),
            maker(0.1, weight_decay=0.5),
            maker(0.1, weight_decay=0.5, mask=lambda path, array: path == "[2].weight"),
        )
    )
    assert tree.equal(masked[1].weight, full[1].weight)
    assert tree.equal(masked[1].bias, plain[1].bias)
    assert tree.equal((by_path[1], by_path[2]), (plain[1], full[2]))
    if maker is not adam:  # whose first step is +-rate, whatever the gradient
        assert not tree.equal(full[1].bias, plain[1].bias)


def test_names() -> None:
    optimizers = [maker(0.1) for maker in MAKERS]
    assert [optimizer.name for optimizer in optimizers] == [
        "sgd", "momentum(0.9)", "nesterov(0.9)", "adam(0.9, 0.999)", "adamw(0.9, 0.999), weight decay 0.0001",
        "rmsprop(0.9)", "lion(0.9, 0.99), weight decay 0.001", "adagrad",
    ]  # fmt: skip
    assert repr(adamw(0.1, weight_decay=0.01)) == "adamw(0.9, 0.999), weight decay 0.01"
    assert str(sgd(0.1, weight_decay=5e-4)) == "sgd, weight decay 0.0005"


def test_the_parts_of_an_optimizer() -> None:
    assert [part.name for part in momentum(0.1).parts] == ["momentum trace(0.9)", "learning rate"]
    names = [part.name for part in nesterov(0.1, weight_decay=0.01).parts]
    assert names == ["weight decay 0.01", "nesterov trace(0.9)", "learning rate"]
    assert [part.name for part in adamw(0.1).parts] == [
        "adam scaling(0.9, 0.999)",
        "weight decay 0.0001",
        "learning rate",
    ]


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("maker", MAKERS)
def test_numpy_numbers_do_not_turn_float32_into_float64(maker: Callable[..., Optimizer]) -> None:
    """As in a sweep over np.logspace(...)."""
    rate, half = np.float64(0.1), np.float64(0.5)
    for optimizer in (
        maker(rate), maker(lambda step: rate), maker(one_cycle(rate, 9)),
        *(() if maker is sgd else (maker(rate, half),)),
        *((maker(rate, weight_decay=half),) if maker in WITH_DECAY else ()),
    ):  # fmt: skip
        params = params_of(np, "float32")
        updates, state = optimizer.update(grads_of(np, "float32", 0), optimizer.init(params), params, np.int64(0))
        assert {leaf.dtype for leaf in tree.leaves((updates, state))} == {np.dtype(np.float32)}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_are_finite_and_positive(maker: Callable[..., Optimizer], rate: float) -> None:
    with pytest.raises(ValueError, match="a learning rate is finite and positive, got"):
        maker(rate)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("wrong", ["0.1", None])
def test_a_word_is_no_rate(wrong: object) -> None:
    for maker in MAKERS:
        with pytest.raises(ValueError, match="a learning rate is finite and positive, got"):
            maker(wrong)


def test_other_settings_are_checked() -> None:
    for maker in (momentum, nesterov, rmsprop):
        with pytest.raises(ValueError, match=rf"the decay of {maker.__name__} lies in \[0, 1\), got 1"):
            maker(0.1, 1)
    for maker, name in ((adam, "Adam's"), (adamw, "Adam's"), (lion, "lion's")):
        for wrong in ((1.0, 0.5), (0.5, -0.1)):
            with pytest.raises(ValueError, match=rf"the decay of {name} .* lies in \[0, 1\), got"):
                maker(0.1, *wrong)
    for maker in WITH_DECAY:
        for decay in (-0.1, math.nan, math.inf):
            with pytest.raises(ValueError, match="a weight decay is finite and from 0 up, got"):
                maker(0.1, weight_decay=decay)
    for maker, name in ((adam, "Adam"), (rmsprop, "rmsprop"), (adagrad, "adagrad")):
        with pytest.raises(ValueError, match=f"{name}'s epsilon is finite and positive, got 0"):
            maker(0.1, epsilon=0)
    with pytest.raises(ValueError, match="adagrad's initial sum is finite and from 0 up, got -1"):
        adagrad(0.1, -1)
