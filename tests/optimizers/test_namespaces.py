"""The same functions on NumPy, on array-api-strict, and under jax.jit, with everything traced that may be."""

import importlib
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
from descent import LOSSES, grads_of, params_of
from oracles import oracle

from funcnet import tree
from funcnet.optimizers import (
    Moment,
    Optimizer,
    accumulate,
    adagrad,
    adam,
    adamw,
    add_decayed_weights,
    apply_updates,
    average,
    by_path,
    clip_by_global_norm,
    clip_by_value,
    compose,
    lamb,
    lion,
    lookahead,
    momentum,
    muon,
    nesterov,
    one_cycle,
    orthogonalize,
    polynomial,
    reduce_on_plateau,
    rmsprop,
    scale_by_adagrad,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_rms,
    scale_by_trust_ratio,
    sgd,
    trace,
    until,
    weights_only,
)

STEPS = 6
OPTIMIZERS = [
    scale_by_learning_rate(0.1),
    trace(0.9),
    trace(0.9, nesterov=True),
    scale_by_adam(0.8, 0.9),
    scale_by_adam(0.0, 0.9),
    scale_by_rms(),
    scale_by_rms(0.8, 0.1, inside_root=False),
    scale_by_lion(),
    scale_by_adagrad(),
    add_decayed_weights(0.1),
    add_decayed_weights(0.1, weights_only),
    clip_by_global_norm(1.0),
    clip_by_value(0.5),
    reduce_on_plateau(0.5, 1, threshold=0.1, cooldown=1, lowest=0.1),
    reduce_on_plateau(0.5, 1, every=2),
    compose(clip_by_global_norm(1.0), adamw(one_cycle(0.1, STEPS), mask=weights_only), reduce_on_plateau(0.5, 1)),
    sgd(0.1),
    momentum(one_cycle(0.1, STEPS)),
    nesterov(0.1, weight_decay=0.1),
    adam(0.1),
    rmsprop(0.1),
    lion(0.1),
    adagrad(0.1),
    accumulate(adam(one_cycle(0.1, 3)), 2),
    accumulate(compose(sgd(0.1), reduce_on_plateau(0.5, 1)), 3),
    lookahead(momentum(0.1), 2),
    lookahead(momentum(0.1), 2, polynomial(0.9, STEPS)),
    average(adam(0.1), 0.9),
    accumulate(average(lookahead(momentum(0.1), 2), 0.5), 2),
    by_path(add_decayed_weights(0.0), (weights_only, orthogonalize())),
    scale_by_trust_ratio(),
    muon(one_cycle(0.1, STEPS), others=adamw(polynomial(0.1, STEPS)), weight_decay=0.1),
    lamb(0.1, weight_decay=0.1),
    by_path(adam(0.1), ("[1].weight", muon(0.1)), ("*.bias", sgd(until(0.1, 3)))),
    accumulate(compose(clip_by_value(1.0), by_path(adam(0.1), (weights_only, sgd(until(0.1, 2))))), 2),
]
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=[f"{i}-{o}" for i, o in enumerate(OPTIMIZERS)])
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def run(optimizer: Optimizer, xp: Any, dtype: str) -> list[Any]:
    """Updates, state, parameters and parameters for evaluation, after each step."""
    return run_from(params_of(xp, dtype), optimizer, xp, dtype)


def run_from(params: Any, optimizer: Optimizer, xp: Any, dtype: str) -> list[Any]:
    found = []
    state = optimizer.init(params)
    for step in range(STEPS):
        updates, state = optimizer.update(grads_of(xp, dtype, step), state, params, step, loss=LOSSES[step])
        params = apply_updates(params, updates)
        found.append((updates, state, params, optimizer.evaluated(params, state)))
    return found


def expect_close(found: Any, expected: Any, rel: float) -> None:
    tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), b, rtol=rel, atol=rel) or b, found, expected)
    tree.map(lambda b, a: b, expected, found)  # None in the same places


def expect_kind(arrays: list[Any], kind: type, dtype: Any) -> None:
    for array in arrays:
        assert isinstance(array, kind)
        assert (
            array.dtype in (dtype, np.int32)
            if kind is np.ndarray
            else "int32" in str(array.dtype) or (array.dtype == dtype)
        )


@each_optimizer
@each_dtype
def test_numpy(optimizer: Optimizer, dtype: str) -> None:
    """float32 stays float32, and is near float64."""
    found = run(optimizer, np, dtype)
    expect_kind(tree.leaves(tuple(found)), np.ndarray, np.dtype(dtype))
    expect_close(tuple(found), tuple(run(optimizer, np, "float64")), 2e-5)


@each_optimizer
def test_updates_are_pure_and_their_results_are_read_only(optimizer: Optimizer) -> None:
    params = params_of(np, "float32")
    state = optimizer.init(params)
    for step in range(3):
        grads = grads_of(np, "float32", step)
        before = tree.map(np.copy, (params, grads, state))
        first = optimizer.update(grads, state, params, step, loss=0.5)
        again = optimizer.update(grads, state, params, step, loss=0.5)
        assert tree.equal(first, again)
        assert tree.equal((params, grads, state), before)
        assert not any(leaf.flags.writeable for leaf in tree.leaves((first, apply_updates(params, first[0]))))
        state = first[1]


@each_optimizer
def test_what_is_not_trained_has_no_updates(optimizer: Optimizer) -> None:
    (updates, _, params, evaluated), *_ = run(optimizer, np, "float32")
    for moved in (params, evaluated):
        assert tree.equal(moved[1].running, params_of(np, "float32")[1].running)
        assert tree.equal(moved[3].weight, params_of(np, "float32")[3].weight)
    assert updates[1].running is None
    assert updates[3].weight is None


@each_optimizer
def test_the_structure_of_the_state_never_changes(optimizer: Optimizer) -> None:
    """So it can be carried through a compiled loop. What is trained has a gradient here."""
    params = params_of(np, "float32")
    state = optimizer.init(params)
    _, after = optimizer.update(tree.trained(params), state, params, 0, loss=0.5)
    tree.map(lambda a, b: a, after, state)
    tree.map(lambda a, b: a, state, after)


@pytest.mark.usefixtures("as_users_run")  # tree.readonly takes all arrays, and is annotated with NumPy's
@each_optimizer
@each_dtype
def test_strict(optimizer: Optimizer, dtype: str) -> None:
    """Nothing but the standard is used."""
    strict = importlib.import_module("array_api_strict")
    found = run(optimizer, strict, dtype)
    expect_kind(tree.leaves(tuple(found)), type(strict.asarray(0.0)), getattr(strict, dtype))
    expect_close(tuple(found), tuple(run(optimizer, np, dtype)), 2e-5 if dtype == "float32" else 1e-12)


def all_moved(params: Any) -> Any:
    """The parameters without the one that is trained and has no gradient."""
    return (*params[:3], attrs.evolve(params[3], weight=None))


@pytest.fixture(params=["float32", "float64"])
def jax_dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    jax = oracle("jax")
    with jax.enable_x64(True) if request.param == "float64" else nullcontext():
        yield request.param


@pytest.mark.usefixtures("as_users_run")
@each_optimizer
def test_under_jit(optimizer: Optimizer, jax_dtype: str) -> None:
    """Traced: gradients, state, parameters, step, rate and loss. One compilation does for all steps."""
    import jax
    import jax.numpy as jnp

    compiled = []

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles faster
    def step_of(grads: Any, state: Any, params: Any, now: Moment) -> Any:
        compiled.append(1)
        updates, state = optimizer.pure_update(grads, state, params, now)
        params = apply_updates(params, updates)
        return updates, state, params, optimizer.evaluated(params, state)

    params, found = all_moved(params_of(jnp, jax_dtype)), []
    state = optimizer.init(params)
    for step in range(STEPS):
        now = optimizer.moment(step, LOSSES[step])
        found.append(step_of(grads_of(jnp, jax_dtype, step), state, params, now))
        _, state, params, _ = found[-1]
    expect_kind(tree.leaves(tuple(found)), jax.Array, np.dtype(jax_dtype))
    expected = run_from(all_moved(params_of(np, jax_dtype)), optimizer, np, jax_dtype)
    expect_close(tuple(found), tuple(expected), 2e-5 if jax_dtype == "float32" else 1e-12)
    assert compiled == [1]


@pytest.mark.usefixtures("as_users_run")
def test_strong_numbers_leave_the_dtype_alone(jax_dtype: str) -> None:
    """A step may be given the rate and the loss as arrays, of float32 or float64."""
    import jax
    import jax.numpy as jnp

    optimizer = compose(adam(0.1), reduce_on_plateau(0.5, 1))
    params, grads = params_of(jnp, "float32"), grads_of(jnp, "float32", 0)
    for dtype in (jnp.float32, jax_dtype):
        now = Moment(jnp.asarray(0), jnp.asarray(0.1, dtype), jnp.asarray(0.5, dtype))
        results = jax.jit(optimizer.pure_update)(grads, optimizer.init(params), params, now)
        expect_kind(tree.leaves(results), jax.Array, np.dtype(np.float32))
