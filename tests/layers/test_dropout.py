import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import random, tree

KEYS = random.split(fn.make_key(0), 400)
x = np.random.default_rng(0).standard_normal((5, 8))


def test_the_mean_over_many_keys_is_what_predict_says() -> None:
    """Whatever scale were wrong in forward and vjp alike would show here."""
    layer = fn.dropout(0.3)
    mean = np.mean([layer.forward((), x, key)[0] for key in KEYS], axis=0)
    deviation = np.abs(x) * math.sqrt(0.3 / 0.7 / len(KEYS))
    assert (np.abs(mean - layer.predict((), x)) <= 4.5 * deviation).all()


def test_so_is_the_mean_of_the_gradients() -> None:
    layer = fn.dropout(0.3)
    dy = np.ones_like(x)
    mean = np.mean([layer.vjp((), layer.forward((), x, key)[1], dy)[1] for key in KEYS], axis=0)
    assert np.abs(mean - 1).max() <= 4.5 * math.sqrt(0.3 / 0.7 / len(KEYS))


@settings(max_examples=20)
@given(st.just(0.0) | st.floats(0.02, 0.95), st.integers(0, 2**32))
def test_the_share_of_zeros_is_the_rate(rate: float, seed: int) -> None:
    many = np.ones((100, 200), np.float32)
    y, _ = fn.dropout(rate).forward((), many, fn.make_key(seed))
    deviation = math.sqrt(rate * (1 - rate) / many.size)
    assert abs((y == 0).mean() - rate) <= 6 * deviation
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_entries_are_dropped_one_by_one() -> None:
    """Neither whole examples nor whole features, nor in a pattern: neighbours say nothing of one another."""
    mask = fn.dropout(0.5).forward((), np.ones((200, 200)), fn.make_key(3))[0] > 0
    for axis in (0, 1):
        assert np.abs(mask.mean(axis=axis) - 0.5).max() < 5 * 0.5 / math.sqrt(200)
        agree = np.mean(mask == np.roll(mask, 1, axis=axis))
        assert abs(agree - 0.5) < 5 * 0.5 / 200


def test_a_key_is_a_mask() -> None:
    layer, key = fn.dropout(0.5), fn.make_key(0)
    y, residuals = layer.forward((), x, key)
    again, _ = layer.forward((), x, key)
    assert np.array_equal(y, again)
    assert np.array_equal(residuals.mask * x, y)
    masks = {(layer.forward((), x, other)[0] != 0).tobytes() for other in KEYS[:50]}
    assert len(masks) == 50
    # The mask does not depend on x, so the layer is linear in it.
    np.testing.assert_allclose(layer.forward((), 2 * x + 1, key)[0], 2 * y + residuals.mask, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dx_is_dropped_where_y_was(dtype: type) -> None:
    layer = fn.dropout(0.5)
    y, residuals = layer.forward((), x.astype(dtype), fn.make_key(1))
    dparams, dx = layer.vjp((), residuals, np.ones_like(y))
    assert dparams == ()
    assert y.dtype == dx.dtype == dtype
    assert np.array_equal(dx == 0, y == 0)
    assert set(dx.ravel().tolist()) == {0.0, 2.0}
    assert layer.vjp((), residuals, y, need_dx=False)[1] is None


def test_a_rate_of_0_does_nothing() -> None:
    y, _ = fn.dropout(0).forward((), x, fn.make_key(0))
    assert np.array_equal(y, x)


def test_predict_does_nothing() -> None:
    assert np.array_equal(fn.dropout(0.9).predict((), x), x)
    frozen = fn.frozen(fn.dropout(0.9))
    assert np.array_equal(frozen.forward(frozen.init(fn.make_key(0), (8,))[0], x)[0], x)
    assert not frozen.draws


def test_an_infinity_is_dropped_to_no_number_only_where_it_stands() -> None:
    """0 times infinity is no number: a loss that is not finite is seen, and not hidden by chance."""
    y, _ = fn.dropout(0.5).forward((), np.full((1, 50), np.inf), fn.make_key(0))
    assert not np.isfinite(y).any()


@pytest.mark.usefixtures("as_users_run")
def test_a_layer_that_draws_needs_a_key() -> None:
    layer = fn.dropout(0.5)
    with pytest.raises(TypeError, match=r"dropout\(0\.5\) draws random numbers: forward\(params, x, key\) takes a key"):
        layer.forward((), x)
    for seed in (0, "0", 1.5, (1, 2)):
        with pytest.raises(TypeError, match=r"expected a key \(make_key\(0\) makes the one of the seed 0\), got"):
            layer.forward((), x, seed)
    net = fn.chain(fn.linear(8), layer)
    params, _ = net.init(fn.make_key(0), (8,))
    with pytest.raises(TypeError, match=r"chain\(linear\(8\), dropout\(0\.5\)\) draws random numbers"):
        net.forward(params, x.astype(np.float32))


@pytest.mark.usefixtures("as_users_run")
def test_a_layer_that_draws_and_says_not_how_it_predicts_is_named() -> None:
    with pytest.raises(ValueError, match="noisy draws random numbers in forward, so it must say what predict does"):
        fn.Layer("noisy", lambda key, shape: ((), shape), lambda p, x, key: (x, ()), lambda *_, need_dx: _, draws=True)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r"the rate of a dropout lies in \[0, 1\), got"):
        fn.dropout(rate)


def test_a_rate_of_numpys_keeps_float32() -> None:
    y, _ = fn.dropout(np.float64(0.5)).forward((), x.astype(np.float32), fn.make_key(0))
    assert y.dtype == np.float32


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_the_scale_is_that_of_torch(rate: float) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    theirs = torch.nn.functional.dropout(torch.ones(100, 100, dtype=torch.float64), rate, training=True).numpy()
    ours, _ = fn.dropout(rate).forward((), np.ones((100, 100)), fn.make_key(0))
    np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-15)


def test_pickling() -> None:
    layer = pickle.loads(pickle.dumps(fn.dropout(0.25)))
    assert str(layer) == "dropout(0.25)"
    assert np.array_equal(layer.forward((), x, KEYS[0])[0], fn.dropout(0.25).forward((), x, KEYS[0])[0])


# --- in training steps


def training(engine: fn.engines.Engine, donate: bool) -> tuple[fn.TrainState, fn.step.Step, list[fn.Batch]]:
    net = fn.chain(fn.linear(16), fn.relu(), fn.dropout(0.5), fn.residual(fn.linear(16), fn.dropout(0.2)), fn.linear(3))
    optimizer = fn.adam(0.01)
    state = fn.init_state(net.init(fn.make_key(0), (4,))[0], optimizer, fn.make_key(1))
    step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer, donate=donate, engine=engine)
    rng = np.random.default_rng(2)
    batches = [fn.Batch(rng.standard_normal((8, 4)).astype(np.float32), np.arange(8) % 3) for _ in range(6)]
    return fn.copy_state(state, engine=engine), step, batches


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_a_resumed_run_draws_what_it_would_have_drawn(engine: fn.engines.Engine, donate: bool) -> None:
    state, step, batches = training(engine, donate)
    kept, losses = None, []
    for number, batch in enumerate(batches):
        if number == 3:
            kept = pickle.loads(pickle.dumps(state))
        state, metrics = step(state, batch)
        losses.append(metrics.data_loss)
    resumed, resumed_losses = fn.copy_state(kept, engine=engine), []
    for batch in batches[3:]:
        resumed, metrics = step(resumed, batch)
        resumed_losses.append(metrics.data_loss)
    assert resumed_losses == losses[3:]
    assert tree.equal(resumed.params, state.params)
    assert tree.equal(resumed.opt_state, state.opt_state)
    assert resumed.key == state.key
    assert resumed.step == state.step == 6


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_every_step_draws_anew_and_by_the_runs_key(engine: fn.engines.Engine) -> None:
    state, step, (batch, *_) = training(engine, False)

    def loss_at(number: int, seed: int) -> float:
        changed = fn.TrainState(state.params, state.opt_state, fn.make_key(seed), number)
        return step(changed, batch)[1].data_loss

    assert loss_at(0, 0) == loss_at(0, 0)
    assert len({loss_at(number, seed) for number in range(4) for seed in range(4)}) == 16


def test_the_engines_draw_the_same() -> None:
    (plain, plain_step, batches), (state, step, _) = (
        training(fn.engines.plain(), False),
        training(fn.engines.numpy(), True),
    )
    for batch in batches:
        plain, wanted = plain_step(plain, batch)
        state, found = step(state, batch)
        assert found.data_loss == pytest.approx(wanted.data_loss, rel=1e-4)


def test_the_gradient_is_that_of_the_mask_that_was_drawn() -> None:
    """By differences, with the key held."""
    net, key = fn.chain(fn.linear(6), fn.dropout(0.5), fn.linear(3)), fn.make_key(5)
    params = tree.map(lambda a: a.astype(np.float64), net.init(fn.make_key(0), (8,))[0])
    batch = fn.Batch(x, np.arange(5) % 3)
    grad = fn.make_grad(net, fn.softmax_cross_entropy())
    _, grads = grad(params, batch, key)
    direction = tree.map(lambda a: np.random.default_rng(a.size).standard_normal(a.shape), params)

    def loss_at(t: float) -> float:
        return grad(tree.map(lambda p, d: p + t * d, params, direction), batch, key)[0].data_loss

    slope = sum(float((g * d).sum()) for g, d in zip(tree.leaves(grads), tree.leaves(direction), strict=True))
    assert (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-6)
    assert loss_at(0) == loss_at(0)


@pytest.mark.usefixtures("as_users_run")
def test_a_gradient_of_a_network_that_draws_needs_a_key() -> None:
    net = fn.chain(fn.dropout(0.5), fn.linear(3))
    params, _ = net.init(fn.make_key(0), (8,))
    with pytest.raises(TypeError, match=r"chain\(dropout\(0\.5\), linear\(3\)\) draws random numbers"):
        fn.make_grad(net, fn.softmax_cross_entropy())(params, fn.Batch(x.astype(np.float32), np.arange(5) % 3))
