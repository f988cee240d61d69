"""Optimizers, transformations and schedules against Optax's, where it is installed."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

if os.environ.get("FUNCNET_ORACLES") != "1":  # where it is 1, the imports below fail without
    pytest.importorskip("optax", reason="Optax is not installed")

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from funcnet import optimizers as ours
from funcnet.optimizers import Optimizer, apply_updates, clip_by_value, compose, reduce_on_plateau

STEPS = 7
LOSSES = [1.0, 0.9, 0.95, 0.9, 0.92, 0.5, 0.6]


def gradient(w: Any, step: int) -> Any:
    return 0.5 * w + np.array([[0.3, -1.0], [2.0, 0.1]]) * np.cos(step + 1.0)


def start() -> np.ndarray:
    return np.array([[1.0, -0.5], [0.2, 3.0]])


def path(optimizer: Optimizer) -> np.ndarray:
    params, found = (start(),), []
    state = optimizer.init(params)
    for step in range(STEPS):
        updates, state = optimizer.update((gradient(params[0], step),), state, params, step, loss=LOSSES[step])
        params = apply_updates(params, updates)
        found.append(params[0])
    return np.array(found)


def optax_path(optimizer: Any) -> np.ndarray:
    with jax.enable_x64(True):
        params, found = jnp.asarray(start()), []
        state = optimizer.init(params)
        update = optax.with_extra_args_support(optimizer).update
        for step in range(STEPS):
            updates, state = update(gradient(params, step), state, params, value=LOSSES[step])
            params = optax.apply_updates(params, updates)
            found.append(np.asarray(params))
        return np.array(found)


PAIRS: dict[str, tuple[Optimizer, Callable[[], Any]]] = {
    "sgd": (ours.sgd(0.1), lambda: optax.sgd(0.1)),
    "sgd with coupled decay": (
        ours.sgd(0.1, weight_decay=0.2),
        lambda: optax.chain(optax.add_decayed_weights(0.2), optax.sgd(0.1)),
    ),
    "momentum": (ours.momentum(0.1), lambda: optax.sgd(0.1, 0.9)),
    "nesterov": (ours.nesterov(0.1, 0.8), lambda: optax.sgd(0.1, 0.8, nesterov=True)),
    "adam": (ours.adam(0.1), lambda: optax.adam(0.1)),
    "adam on a schedule": (
        ours.adam(ours.cosine(0.1, 5, 0.01)), lambda: optax.adam(optax.cosine_decay_schedule(0.1, 5, 0.1)),
    ),
    "adamw": (ours.adamw(0.1), lambda: optax.adamw(0.1)),
    "adamw with its settings": (
        ours.adamw(0.1, 0.7, 0.8, 0.1, weight_decay=0.2),
        lambda: optax.adamw(0.1, 0.7, 0.8, 0.1, weight_decay=0.2),
    ),
    "rmsprop": (ours.rmsprop(0.1), lambda: optax.rmsprop(0.1)),
    "rmsprop, epsilon outside": (
        ours.rmsprop(0.1, 0.8, 0.1, inside_root=False),
        lambda: optax.rmsprop(0.1, 0.8, 0.1, eps_in_sqrt=False),
    ),
    "lion": (ours.lion(0.1), lambda: optax.lion(0.1)),
    "adagrad": (ours.adagrad(0.1), lambda: optax.adagrad(0.1)),
    "lamb": (ours.lamb(0.1), lambda: optax.lamb(0.1)),
    "lamb with its settings": (
        ours.lamb(0.1, 0.7, 0.8, 0.1, weight_decay=0.2), lambda: optax.lamb(0.1, 0.7, 0.8, 0.1, weight_decay=0.2),
    ),
    "muon without Nesterov": (
        compose(ours.trace(0.8), ours.orthogonalize(), ours.add_decayed_weights(0.2), ours.scale_by_learning_rate(0.1)),
        lambda: contrib.muon(0.1, beta=0.8, eps=0.0, nesterov=False, weight_decay=0.2),
    ),
    "clipping by norm": (
        compose(ours.clip_by_global_norm(1.5), ours.sgd(0.1)),
        lambda: optax.chain(optax.clip_by_global_norm(1.5), optax.sgd(0.1)),
    ),
    "clipping by value": (
        compose(clip_by_value(0.5), ours.sgd(0.1)), lambda: optax.chain(optax.clip(0.5), optax.sgd(0.1)),
    ),
    "plateau": (
        compose(ours.sgd(0.1), reduce_on_plateau(0.5, 2, threshold=0.01, cooldown=1)),
        lambda: optax.chain(
            optax.sgd(0.1), contrib.reduce_on_plateau(factor=0.5, patience=2, rtol=0.01, cooldown=1)
        ),
    ),
    "plateau of means": (
        compose(ours.sgd(0.1), reduce_on_plateau(0.5, 1, threshold=0.1, every=2, lowest=0.3)),
        lambda: optax.chain(
            optax.sgd(0.1),
            contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.1, accumulation_size=2, min_scale=0.3),
        ),
    ),
    "accumulation": (
        ours.accumulate(ours.adam(0.1), 3), lambda: optax.MultiSteps(optax.adam(0.1), 3).gradient_transformation(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_optimizers(name: str) -> None:
    optimizer, reference = PAIRS[name]
    with jax.enable_x64(True):
        made = reference()
    # MultiSteps holds its sums in float32
    np.testing.assert_allclose(path(optimizer), optax_path(made), rtol=1e-5 if name == "accumulation" else 1e-10)


def test_orthogonalized_filters() -> None:
    g = np.random.default_rng(0).standard_normal((3, 3, 4, 50))
    found, _ = ours.orthogonalize(3).update((g,), (), (g,), 0)
    with jax.enable_x64(True):
        axes = contrib.MuonDimensionNumbers((0, 1, 2), 3)
        other = contrib.scale_by_muon(ns_steps=3, beta=0.0, eps=0.0, nesterov=False, weight_dimension_numbers=axes)
        expected, _ = other.update(jnp.asarray(g), other.init(jnp.asarray(g)))
    np.testing.assert_allclose(found[0], np.sqrt(50 / 36) * np.asarray(expected), rtol=1e-10, atol=1e-12)


def test_optimizers_for_arrays_of_their_own() -> None:
    optimizer = ours.by_path(ours.adam(0.1), ("[1]", ours.momentum(lambda step: 0.2 / (step + 1))))
    params = (start(), start())
    state = optimizer.init(params)
    with jax.enable_x64(True):
        parts = {"rest": optax.adam(0.1), "own": optax.sgd(lambda step: 0.2 / (step + 1), 0.9)}
        other = optax.partition(parts, ("rest", "own"))
        theirs = (jnp.asarray(start()), jnp.asarray(start()))
        other_state = other.init(theirs)
        for step in range(STEPS):
            updates, state = optimizer.update(tuple(gradient(w, step) for w in params), state, params, step)
            params = apply_updates(params, updates)
            updates, other_state = other.update(tuple(gradient(w, step) for w in theirs), other_state, theirs)
            theirs = optax.apply_updates(theirs, updates)
            np.testing.assert_allclose(np.array(params), np.array(theirs), rtol=1e-10)


def test_lookahead() -> None:
    optimizer, params = ours.lookahead(ours.momentum(0.1), 3, 0.4), (start(),)
    state = optimizer.init(params)
    with jax.enable_x64(True):
        other = optax.lookahead(optax.sgd(0.1, 0.9), 3, 0.4)
        pair = optax.LookaheadParams.init_synced(jnp.asarray(start()))
        other_state = other.init(pair)
        for step in range(STEPS):
            updates, state = optimizer.update((gradient(params[0], step),), state, params, step)
            params = apply_updates(params, updates)
            updates, other_state = other.update(gradient(pair.fast, step), other_state, pair)
            pair = optax.apply_updates(pair, updates)
            np.testing.assert_allclose(params[0], pair.fast, rtol=1e-10)
            np.testing.assert_allclose(optimizer.evaluated(params, state)[0], pair.slow, rtol=1e-10)


def test_average() -> None:
    optimizer, params = ours.average(ours.sgd(0.1), 0.8), (start(),)
    state = optimizer.init(params)
    with jax.enable_x64(True):
        other = optax.ema(0.8)
        other_state = other.init(jnp.asarray(start()))
        for step in range(STEPS):
            updates, state = optimizer.update((gradient(params[0], step),), state, params, step)
            params = apply_updates(params, updates)
            expected, other_state = other.update(jnp.asarray(params[0]), other_state)
            np.testing.assert_allclose(optimizer.evaluated(params, state)[0], expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (ours.step_decay(0.5, 3, 0.2), lambda: optax.exponential_decay(0.5, 3, 0.2, staircase=True)),
        (ours.exponential(0.5, 3, 0.2), lambda: optax.exponential_decay(0.5, 3, 0.2)),
        (ours.polynomial(0.5, 8, 0.1, 2.0), lambda: optax.polynomial_schedule(0.5, 0.1, 2.0, 8)),
        (ours.cosine(0.5, 8, 0.1), lambda: optax.cosine_decay_schedule(0.5, 8, 0.2)),
        (ours.linear_warmup(0.5, 5), lambda: optax.linear_schedule(0.1, 0.5, 4)),
        (
            ours.piecewise_linear([0.1, 0.5, 0.05], [0, 3, 9]),
            lambda: optax.piecewise_interpolate_schedule("linear", 0.1, {3: 5.0, 9: 0.1}),
        ),
        (ours.piecewise([0.5, 0.1, 0.05], [2, 6]), lambda: optax.piecewise_constant_schedule(0.5, {2: 0.2, 6: 0.5})),
        (
            ours.joined([ours.linear_warmup(0.5, 5), ours.cosine(0.5, 6, 0.1)], [5]),
            lambda: optax.join_schedules(
                [optax.linear_schedule(0.1, 0.5, 4), optax.cosine_decay_schedule(0.5, 6, 0.2)], [5]
            ),
        ),
    ],
)
def test_schedules(schedule: Callable[[int], float], reference: Callable[[], Callable[[int], Any]]) -> None:
    with jax.enable_x64(True):
        other = reference()
        assert [schedule(step) for step in range(12)] == pytest.approx([float(other(step)) for step in range(12)])
