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
    lamb,
    lion,
    momentum,
    muon,
    nesterov,
    one_cycle,
    orthogonalize,
    rmsprop,
    scale_by_trust_ratio,
    sgd,
    weights_only,
)  # fmt: skip

MAKERS = [sgd, momentum, nesterov, adam, adamw, rmsprop, lion, adagrad, lamb, muon]
WITH_DECAY = [sgd, momentum, nesterov, adam, adamw, lion, lamb, muon]


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


def by_lamb(rate: float, b1: float, b2: float, eps: float, decoupled: float) -> list[float]:
    m = v = 0.0

    def move(w: float, g: float, t: int) -> float:
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        r = m / (1 - b1**t) / (math.sqrt(v / (1 - b2**t)) + eps) + decoupled * w
        return w - rate * abs(w) / abs(r) * r

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
    (lamb(0.1), by_lamb(0.1, 0.9, 0.999, 1e-6, 0)),
    (lamb(0.1, 0.7, 0.8, 0.01, weight_decay=0.3), by_lamb(0.1, 0.7, 0.8, 0.01, 0.3)),
    (muon(0.1), by_adam(always(3e-4), 0.9, 0.95, 1e-10, 0, 0)),
    (muon(0.1, weight_decay=0.3), by_adam(always(3e-4), 0.9, 0.95, 1e-10, 0, 0.3)),
    (muon(0.1, others=lion(0.1)), by_lion(0.1, 0.9, 0.99, 1e-3)),
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
    """f(W) = trace(W^T diag(1, 10) W) / 2."""
    optimizer = maker(lambda step: 0.08 * 0.97**step) if maker is not adagrad else adagrad(0.5)
    params = (tree.freeze(np.eye(2)),)
    state = optimizer.init(params)
    for step in range(120):
        updates, state = optimizer.update((np.diag([1.0, 10.0]) @ params[0],), state, params, step)
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


def singular(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.svd(matrix.reshape(-1, matrix.shape[-1]), compute_uv=False)


def orthogonal(g: np.ndarray, iterations: int = 5) -> np.ndarray:
    updates, _ = orthogonalize(iterations).update((g,), (), (g,), 0)
    return updates[0]


RNG = np.random.default_rng(0)
MATRICES = [RNG.standard_normal(shape) for shape in ((6, 6), (40, 12), (12, 40), (1, 5), (5, 1), (3, 3, 4, 8), (3, 64))]


@pytest.mark.parametrize("g", MATRICES, ids=lambda g: str(g.shape))
def test_an_orthogonalized_matrix(g: np.ndarray) -> None:
    """Its singular values are near 1, times the factor of its shape; its singular vectors are those of g."""
    found = orthogonal(g)
    columns = g.shape[-1]
    rows = g.size // columns
    assert found.shape == g.shape
    factor = math.sqrt(max(1, columns / rows))
    values = singular(found) / factor
    given = singular(g) / np.linalg.norm(g)
    assert (values < 1.14).all()
    assert (values[given > 0.01] > 0.68).all()
    u, s, vt = np.linalg.svd(g.reshape(rows, columns), full_matrices=False)
    s = s / math.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    np.testing.assert_allclose(found.reshape(rows, columns), factor * (u * s) @ vt, rtol=1e-10, atol=1e-12)


def test_rotations_and_the_size_do_not_matter_to_an_orthogonalized_matrix() -> None:
    g = MATRICES[1]
    u, v = (np.linalg.qr(RNG.standard_normal((n, n)))[0] for n in g.shape)
    np.testing.assert_allclose(orthogonal(u @ g @ v), u @ orthogonal(g) @ v, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(orthogonal(1e-3 * g), orthogonal(g), rtol=1e-10)
    np.testing.assert_allclose(orthogonal(-g), -orthogonal(g), rtol=1e-12)
    np.testing.assert_allclose(orthogonal(g.T), orthogonal(g).T * math.sqrt(40 / 12), rtol=1e-10)
    assert (orthogonal(0 * g) == 0).all()


def test_the_matrix_of_a_filter_bank() -> None:
    """A column for each filter, a row for all else."""
    g = MATRICES[5]
    assert np.array_equal(orthogonal(g).reshape(36, 8), orthogonal(g.reshape(36, 8)))


def test_muon_in_numpy() -> None:
    """The reference's rule, with its moving average in place of the velocity."""
    rate, decay, w, m = 0.1, 0.8, MATRICES[2], np.zeros((12, 40))
    optimizer, params = muon(rate, decay, weight_decay=0.3), (w,)
    state = optimizer.init(params)
    for step in range(4):
        g = np.cos(w + step)
        updates, state = optimizer.update((g,), state, params, step)
        params = apply_updates(params, updates)
        m = decay * m + (1 - decay) * g
        w = w * (1 - rate * 0.3) - rate * orthogonal((1 - decay) * g + decay * m)
        np.testing.assert_allclose(params[0], w, rtol=1e-9, atol=1e-11)


def test_which_arrays_are_orthogonalized() -> None:
    params, grads = params_of(np, "float64"), grads_of(np, "float64", 0)
    others = sgd(0.3)

    def updates_of(optimizer: Optimizer) -> tuple[object, ...]:
        return optimizer.update(grads, optimizer.init(params), params, 0)[0]

    every, first = updates_of(muon(0.1, others=others)), updates_of(
        muon(0.1, others=others, matrices=lambda path, array: path in ("[1].weight", "[1].bias"))
    )  # fmt: skip
    plain = updates_of(others)
    assert singular(every[1].weight) == pytest.approx(0.1 * np.ones(2), rel=0.35)
    assert tree.equal(first[1].weight, every[1].weight)
    assert tree.equal(first[2], plain[2])
    assert not tree.equal(every[2], plain[2])
    assert tree.equal((every[1].bias, every[3]), (plain[1].bias, plain[3]))
    assert tree.equal(first[1].bias, plain[1].bias)


def test_a_trust_ratio() -> None:
    """Each array is moved by its own size; where a norm is 0 the update is left as it is."""
    w, g = (np.array([3.0, 4.0]), np.zeros(2), np.ones(2)), (np.array([[0.6, 0.8]])[0], np.ones(2), np.zeros(2))
    updates, _ = scale_by_trust_ratio().update(g, (), w, 0)
    assert [update.tolist() for update in updates] == [pytest.approx([3.0, 4.0]), [1.0, 1.0], [0.0, 0.0]]
    half = tuple(np.float32(a) for a in w), tuple(np.float32(a) for a in g)
    assert {u.dtype for u in scale_by_trust_ratio().update(half[1], (), half[0], 0)[0]} == {np.dtype(np.float32)}


def test_names() -> None:
    optimizers = [maker(0.1) for maker in MAKERS]
    assert [optimizer.name for optimizer in optimizers] == [
        "sgd", "momentum(0.9)", "nesterov(0.9)", "adam(0.9, 0.999)", "adamw(0.9, 0.999), weight decay 0.0001",
        "rmsprop(0.9)", "lion(0.9, 0.99), weight decay 0.001", "adagrad", "lamb(0.9, 0.999)",
        "muon(0.95), others by adamw(0.9, 0.95)",
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
    with pytest.raises(ValueError, match=r"the decay of nesterov lies in \[0, 1\), got 1"):
        muon(0.1, 1)
    with pytest.raises(ValueError, match="the number of iterations is a whole number from 1 up, got 0"):
        muon(0.1, iterations=0)
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
    for maker, name in ((adam, "Adam"), (lamb, "Adam"), (rmsprop, "rmsprop"), (adagrad, "adagrad")):
        with pytest.raises(ValueError, match=f"{name}'s epsilon is finite and positive, got 0"):
            maker(0.1, epsilon=0)
    with pytest.raises(ValueError, match="adagrad's initial sum is finite and from 0 up, got -1"):
        adagrad(0.1, -1)
