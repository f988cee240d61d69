import pickle
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.layers.norm import BatchNormParams, BatchNormResiduals, RunningNormResiduals
from funcnet.shapes import Array

SHAPES = [(7, 3), (5, 4, 2, 3)]
ENGINES = [(fn.engines.plain(), False), (fn.engines.numpy(), False), (fn.engines.numpy(), True)]
rng = np.random.default_rng(0)


def params_for(features: int, dtype: Any = np.float64) -> BatchNormParams:
    """Params of which none is 0 or 1."""
    draws = np.random.default_rng(features)
    scale, shift, mean = draws.standard_normal((3, features)).astype(dtype)
    return BatchNormParams(scale, shift, mean, draws.uniform(0.5, 2, features).astype(dtype))


def over_all_but_the_last(x: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def test_the_equations_on_numbers() -> None:
    """A batch of two lies one deviation below its mean and one above."""
    params, out_shape = fn.batch_norm(epsilon=1e-12).init(fn.make_key(0), (1,))
    assert out_shape == (1,)
    params = BatchNormParams(np.array([3.0]), np.array([10.0]), np.zeros(1), np.ones(1))
    y, residuals = fn.batch_norm(epsilon=1e-12).forward(params, np.array([[2.0], [6.0]]))
    np.testing.assert_allclose(y, [[7], [13]])
    np.testing.assert_allclose(residuals.mean, [4])
    np.testing.assert_allclose(residuals.variance, [4])
    dparams, dx = fn.batch_norm(epsilon=1e-12).vjp(params, residuals, np.array([[1.0], [5.0]]))
    np.testing.assert_allclose(dparams.shift, [6])
    np.testing.assert_allclose(dparams.scale, [4])
    np.testing.assert_allclose(dx, [[0], [0]], atol=1e-9)  # two numbers have no third direction to move in


@pytest.mark.parametrize("shape", SHAPES)
def test_the_output_has_mean_shift_and_deviation_scale(shape: tuple[int, ...]) -> None:
    params, x = params_for(3), 5 + 2 * rng.standard_normal(shape)
    y, _ = fn.batch_norm(epsilon=1e-9).forward(params, x)
    np.testing.assert_allclose(y.mean(axis=over_all_but_the_last(y)), params.shift, atol=1e-7)
    np.testing.assert_allclose(y.std(axis=over_all_but_the_last(y)), abs(params.scale), rtol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_adding_to_the_input_or_scaling_it_changes_nothing(shape: tuple[int, ...]) -> None:
    """And so the gradient is orthogonal to both directions."""
    layer, params, x, dy = fn.batch_norm(epsilon=1e-12), params_for(3), *rng.standard_normal((2, *shape))
    y, residuals = layer.forward(params, x)
    np.testing.assert_allclose(layer.forward(params, 3 * x - 8)[0], y, rtol=1e-9, atol=1e-9)
    _, dx = layer.vjp(params, residuals, dy)
    axes = over_all_but_the_last(x)
    np.testing.assert_allclose(dx.sum(axis=axes), 0, atol=1e-12)
    np.testing.assert_allclose((dx * x).sum(axis=axes), 0, atol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.floats(0, 0.9), st.floats(1e-6, 1))
def test_with_a_batchs_own_statistics_predict_is_forward(
    seed: int, shape: tuple[int, ...], keep: float, epsilon: float
) -> None:
    """No mistake that forward and advance share satisfies this, nor one that advance and predict do."""
    layer, params = fn.batch_norm(keep=keep, epsilon=epsilon), params_for(3)
    x = 3 * np.random.default_rng(seed).standard_normal(shape) + 1
    y, residuals = layer.forward(params, x)
    axes = over_all_but_the_last(x)
    own = attrs.evolve(params, mean=x.mean(axis=axes), variance=x.var(axis=axes))
    np.testing.assert_allclose(layer.predict(own, x), y, rtol=1e-9, atol=1e-9)
    # Moved to the end by advance, many times or, with nothing kept, at once.
    for _ in range(1 if keep == 0 else 200):
        params = layer.advance(params, residuals)
    np.testing.assert_allclose(layer.predict(params, x), y, rtol=1e-6, atol=1e-6)


def test_one_step_keeps_its_share() -> None:
    layer, params, x = fn.batch_norm(keep=0.8), params_for(3), rng.standard_normal((9, 3))
    _, residuals = layer.forward(params, x)
    moved = layer.advance(params, residuals)
    np.testing.assert_allclose(moved.mean, 0.8 * params.mean + 0.2 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moved.variance, 0.8 * params.variance + 0.2 * x.var(axis=0), rtol=1e-12)
    assert moved.scale is params.scale
    assert moved.shift is params.shift


def test_running_statistics_are_no_gradients_business() -> None:
    layer, params, x = fn.batch_norm(), params_for(3), rng.standard_normal((9, 3))
    y, residuals = layer.forward(params, x)
    dparams, _ = layer.vjp(params, residuals, y)
    assert dparams.mean is None
    assert dparams.variance is None
    assert [path for path, _ in tree.named_leaves(tree.trained(params))] == ["scale", "shift"]
    other = attrs.evolve(params, mean=params.mean + 1, variance=params.variance * 2)
    assert np.array_equal(layer.forward(other, x)[0], y)  # training does not look at them
    assert not np.allclose(layer.predict(other, x), layer.predict(params, x))  # inference does


def test_dx_is_not_computed_for_nobody() -> None:
    for layer in (fn.batch_norm(), fn.frozen(fn.batch_norm())):
        params, _ = layer.init(fn.make_key(0), (3,))
        y, residuals = layer.forward(params, np.ones((2, 3), np.float32))
        assert layer.vjp(params, residuals, y, need_dx=False)[1] is None


def test_init() -> None:
    params, out_shape = fn.batch_norm().init(fn.make_key(0), (4, 4, 3))
    assert out_shape == (4, 4, 3)
    for array, value in ((params.scale, 1), (params.shift, 0), (params.mean, 0), (params.variance, 1)):
        assert array.tolist() == [value] * 3
        assert array.dtype == np.float32
    # A state is given up to a donating step array by array.
    assert len({array.ctypes.data for array in tree.leaves(params)}) == 4


def test_a_scale_that_is_fixed_at_1() -> None:
    """As with a scale of ones, of which no gradient is asked."""
    layer, x = fn.batch_norm(scale=False), rng.standard_normal((9, 3))
    params, _ = layer.init(fn.make_key(0), (3,))
    assert params.scale is None
    assert [path for path, _ in tree.named_leaves(tree.trained(params))] == ["shift"]
    without = attrs.evolve(params_for(3), scale=None)
    ones = attrs.evolve(without, scale=np.ones(3))
    for one, other in ((layer, fn.batch_norm()), (layer.frozen, fn.batch_norm().frozen)):
        y, residuals = one.forward(without, x)
        wanted, other_residuals = other.forward(ones, x)
        assert np.array_equal(y, wanted)
        dparams, dx = one.vjp(without, residuals, x)
        other_dparams, other_dx = other.vjp(ones, other_residuals, x)
        assert np.array_equal(dx, other_dx)
        assert tree.equal(dparams, attrs.evolve(other_dparams, scale=None))
    assert np.array_equal(layer.predict(without, x), fn.batch_norm().predict(ones, x))


@pytest.mark.usefixtures("as_users_run")
def test_params_of_a_layer_with_a_scale_are_refused_by_one_without() -> None:
    with pytest.raises(fn.ShapeError, match="batch_norm: expected params without a scale, got the opposite"):
        fn.batch_norm(scale=False).forward(params_for(3), np.ones((2, 3)))
    with pytest.raises(fn.ShapeError, match="batch_norm: expected params with a scale, got the opposite"):
        fn.batch_norm().forward(attrs.evolve(params_for(3), scale=None), np.ones((2, 3)))


@pytest.mark.usefixtures("as_users_run")
def test_arguments_are_checked() -> None:
    for keep in (-0.1, 1, 2):
        with pytest.raises(ValueError, match=r"share of the running statistics to keep lies in \[0, 1\)"):
            fn.batch_norm(keep=keep)
    for epsilon in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="epsilon of a batch normalization is positive"):
            fn.batch_norm(epsilon=epsilon)
    with pytest.raises(fn.ShapeError, match=r"batch_norm: expected an input shape with a last axis, of features"):
        fn.batch_norm().init(fn.make_key(0), ())


def test_numbers_of_numpy_keep_float32() -> None:
    layer = fn.batch_norm(keep=np.float64(0.5), epsilon=np.float64(1e-3))
    params, _ = layer.init(fn.make_key(0), (3,))
    y, residuals = layer.forward(params, np.ones((2, 3), np.float32))
    assert y.dtype == np.float32
    assert {array.dtype for array in tree.leaves(layer.advance(params, residuals))} == {np.dtype(np.float32)}


# --- in training steps


@pytest.mark.parametrize(("engine", "donate"), ENGINES)
def test_steps_advance_the_running_statistics(engine: fn.engines.Engine, donate: bool) -> None:
    """Against a computation by hand, beside the network: of what reaches the layer in each step."""
    before = fn.linear(3)
    net = fn.chain(before, fn.batch_norm(keep=0.7), fn.relu(), fn.linear(2))
    params, _ = net.init(fn.make_key(0), (4,))
    optimizer = fn.momentum(0.1, weight_decay=0.01)
    state = fn.init_state(tree.map(lambda a: a.astype(np.float64), params), optimizer, fn.make_key(1))
    step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer, donate=donate, engine=engine)
    mean, variance = np.zeros(3), np.ones(3)
    if donate:
        state = fn.copy_state(state, engine=engine)
    for number in range(5):
        x = np.random.default_rng(number).standard_normal((8, 4))
        reaches = x @ np.array(state.params[0].weight) + np.array(state.params[0].bias)
        mean = 0.7 * mean + 0.3 * reaches.mean(axis=0)
        variance = 0.7 * variance + 0.3 * reaches.var(axis=0)
        state, _ = step(state, fn.Batch(x, np.arange(8) % 2))
    np.testing.assert_allclose(state.params[1].mean, mean, rtol=1e-12)
    np.testing.assert_allclose(state.params[1].variance, variance, rtol=1e-12)


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_evaluation_uses_the_running_statistics(engine: fn.engines.Engine) -> None:
    """An example's answer does not depend on its neighbours."""
    net = fn.chain(fn.batch_norm(), fn.linear(2))
    params = (params_for(3), net.init(fn.make_key(0), (3,))[0][1])
    params = tree.map(lambda a: a.astype(np.float64), params)
    x = rng.standard_normal((6, 3))
    predict = fn.make_predict(net, params, engine=engine)
    together = predict(x)
    for place in range(6):
        np.testing.assert_allclose(predict(x[place : place + 1])[0], together[place], rtol=1e-12)
    normal = (x - params[0].mean) / np.sqrt(params[0].variance + 1e-5)
    by_hand = (params[0].scale * normal + params[0].shift) @ params[1].weight + params[1].bias
    np.testing.assert_allclose(together, by_hand, rtol=1e-12)
    labels = np.arange(6) % 2
    batches = [fn.Batch(x[:1], labels[:1]), fn.Batch(x[1:], labels[1:])]
    found = fn.evaluate(net, params, batches, fn.softmax_cross_entropy(), engine=engine)
    assert found.data_loss == pytest.approx(fn.softmax_cross_entropy()(by_hand, labels)[0])


# --- frozen


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_is_affine_in_x(shape: tuple[int, ...]) -> None:
    """It has running statistics in training too, and those of the batch move nothing."""
    layer, inner, x = fn.frozen(fn.batch_norm()), params_for(3), rng.standard_normal(shape)
    params = fn.combinators.FrozenParams(inner)
    y, residuals = layer.forward(params, x)
    assert isinstance(residuals, RunningNormResiduals)
    np.testing.assert_allclose(y, fn.batch_norm().predict(inner, x), rtol=1e-12)
    np.testing.assert_allclose(y[:1], layer.forward(params, x[:1])[0], rtol=1e-12)
    dparams, dx = layer.vjp(params, residuals, np.ones_like(y))
    assert dparams.params is None
    np.testing.assert_allclose(dx, np.broadcast_to(inner.scale / np.sqrt(inner.variance + 1e-5), shape), rtol=1e-12)
    assert layer.advance(params, residuals) is params


@pytest.mark.usefixtures("as_users_run")
def test_residuals_of_training_are_not_those_of_the_frozen_layer() -> None:
    params, x = params_for(3), rng.standard_normal((4, 3))
    _, residuals = fn.batch_norm().forward(params, x)
    with pytest.raises(fn.ShapeError, match="expected RunningNormResiduals, got a BatchNormResiduals"):
        fn.frozen(fn.batch_norm()).vjp(fn.combinators.FrozenParams(params), residuals, x)


# --- PyTorch


def in_torch(torch: Any, shape: tuple[int, ...], params: BatchNormParams, keep: float, epsilon: float) -> Any:
    """PyTorch's layer with these params."""
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    layer = kind(shape[-1], eps=epsilon, momentum=1 - keep, dtype=torch.float64)
    with torch.no_grad():
        for own, array in (
            (layer.weight, params.scale),
            (layer.bias, params.shift),
            (layer.running_mean, params.mean),
            (layer.running_var, params.variance),
        ):
            own.copy_(torch.tensor(np.array(array)))
    return layer


def channels_first(array: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def channels_last(array: Any) -> Array:
    return np.moveaxis(array.detach().numpy(), 1, -1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_in_torch(shape: tuple[int, ...], training: bool) -> None:
    """Forward, all gradients, and the running statistics after three steps."""
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    keep, epsilon = 0.8, 1e-3
    layer, params = fn.batch_norm(keep=keep, epsilon=epsilon), params_for(shape[-1])
    theirs = in_torch(torch, shape, params, keep, epsilon).train(training)
    # In evaluation PyTorch's layer is our frozen one.
    ours = layer if training else layer.frozen
    for seed in range(3):
        x, dy = np.random.default_rng(seed).standard_normal((2, *shape)) * 2 + 1
        their_x = torch.tensor(channels_first(x), requires_grad=True)
        theirs.zero_grad()
        their_y = theirs(their_x)
        their_y.backward(torch.tensor(channels_first(dy)))
        y, residuals = ours.forward(params, x)
        dparams, dx = ours.vjp(params, residuals, dy)
        np.testing.assert_allclose(y, channels_last(their_y), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dx, channels_last(their_x.grad), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dparams.scale, theirs.weight.grad.numpy(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dparams.shift, theirs.bias.grad.numpy(), rtol=1e-9, atol=1e-9)
        params = ours.advance(params, residuals)
    np.testing.assert_allclose(params.mean, theirs.running_mean.numpy(), rtol=1e-9)
    if not training:
        np.testing.assert_array_equal(params.variance, theirs.running_var.numpy())
        np.testing.assert_allclose(layer.predict(params, x), channels_last(their_y), rtol=1e-9)
        return
    # The documented difference: they move theirs by the unbiased variance, n / (n - 1) times ours. What was there at
    # the start weighs the same in both.
    n = x.size // shape[-1]
    start = keep**3 * params_for(shape[-1]).variance
    np.testing.assert_allclose((params.variance - start) * n / (n - 1), theirs.running_var.numpy() - start, rtol=1e-9)


def test_pickling() -> None:
    layer = pickle.loads(pickle.dumps(fn.batch_norm(keep=0.5)))
    params, x = params_for(3), rng.standard_normal((4, 3))
    y, residuals = layer.forward(pickle.loads(pickle.dumps(params)), x)
    assert isinstance(residuals, BatchNormResiduals)
    assert np.array_equal(y, fn.batch_norm().forward(params, x)[0])
    assert tree.equal(layer.advance(params, residuals), fn.batch_norm(keep=0.5).advance(params, residuals))
