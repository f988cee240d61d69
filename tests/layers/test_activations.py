import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.inplace import over_of
from funcnet.layer import AnyLayer, make_predict
from funcnet.layers.activations import gelu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.linear import LinearParams
from funcnet.random import Key
from funcnet.shapes import Array, Shape, ShapeError

ALL = [relu(), leaky_relu(), leaky_relu(0.3), leaky_relu(0), tanh(), sigmoid(), softplus(), gelu()]


@pytest.mark.parametrize("layer", ALL, ids=str)
@settings(max_examples=8)
@given(shapes(), sizes(), keys())
def test_proof(layer: AnyLayer, shape: Shape, batch: int, key: Key) -> None:
    check_layer(layer, shape, batch=batch, key=key)


def both(layer: AnyLayer, x: list[float]) -> tuple[Array, Array]:
    """f and its slope."""
    array = np.array(x)
    y, residuals = layer.forward((), array)
    return y, layer.vjp((), residuals, np.ones_like(array))[1]


def test_known_values() -> None:
    x = np.array([-2.0, -0.5, 0.5, 3.0])
    assert both(relu(), x)[0].tolist() == [0, 0, 0.5, 3]
    assert both(leaky_relu(0.5), x)[0].tolist() == [-1, -0.25, 0.5, 3]
    np.testing.assert_allclose(both(tanh(), x)[0], np.tanh(x))
    np.testing.assert_allclose(both(sigmoid(), x)[0], 1 / (1 + np.exp(-x)))
    np.testing.assert_allclose(both(softplus(), x)[0], np.log(1 + np.exp(x)))
    # The values of the exact GELU, x Phi(x), which the tanh form follows to three decimals.
    np.testing.assert_allclose(both(gelu(), x)[0], [-0.0455, -0.1543, 0.3457, 2.9960], atol=6e-4)


def test_kinks_take_the_lower_slope() -> None:
    assert both(relu(), [0.0, -0.0])[1].tolist() == [0, 0]
    assert both(leaky_relu(0.25), [0.0, -0.0])[1].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_nothing_overflows(layer: AnyLayer, dtype: type) -> None:
    """Warnings are errors here: an overflow would show."""
    x = np.array([-1e4, -100, 100, 1e4], dtype)
    y, residuals = layer.forward((), x)
    dx = layer.vjp((), residuals, np.ones_like(x))[1]
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def test_sigmoid_and_the_slope_of_softplus_are_exact_in_both_tails() -> None:
    x = [-700.0, -40, 0, 40]
    for found in (both(sigmoid(), x)[0], both(softplus(), x)[1]):
        np.testing.assert_allclose(found, [np.exp(-700.0), np.exp(-40.0), 0.5, 1], rtol=1e-15)


@pytest.mark.usefixtures("as_users_run")
def test_a_numpy_slope_does_not_turn_float32_into_float64() -> None:
    y, _ = leaky_relu(np.float64(0.1)).forward((), np.ones((2, 2), np.float32))
    assert y.dtype == np.float32


@pytest.mark.parametrize("slope", [-0.1, 1, 2])
def test_leaky_relu_has_a_smaller_slope_below(slope: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\)"):
        leaky_relu(slope)


def test_gelu_by_its_definition() -> None:
    x = 1.7
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    assert both(gelu(), [x])[0][0] == pytest.approx(x * (1 + math.tanh(u)) / 2, rel=1e-14)


def test_a_slope_of_0_is_relu_at_infinity_too() -> None:
    layer = leaky_relu(0)
    y, slope = both(layer, [-math.inf, -1, 0, 2, math.inf])
    assert (layer.name, list(y), list(slope)) == ("leaky_relu(0)", [0, 0, 0, 2, math.inf], [0, 0, 0, 1, 1])


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.usefixtures("as_users_run")
def test_the_params_of_another_layer_are_refused(layer: AnyLayer) -> None:
    x, foreign = np.ones((2, 3)), LinearParams(np.ones((3, 3)), np.ones(3))
    _, residuals = layer.forward((), x)
    for use in (
        lambda: layer.forward(foreign, x),
        lambda: over_of(layer.forward)(foreign, x.copy()),
        lambda: make_predict(layer, foreign),
        lambda: layer.vjp(foreign, residuals, x),
        lambda: over_of(layer.vjp)(foreign, residuals, x.copy()),
    ):
        with pytest.raises(ShapeError, match="expected no params, the empty tuple, got a LinearParams"):
            use()


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.usefixtures("as_users_run")
def test_only_floating_point_enters(layer: AnyLayer) -> None:
    with pytest.raises(ShapeError, match="floating-point dtype, got dtype uint8"):
        layer.forward((), np.zeros((2, 3), np.uint8))
    _, residuals = layer.forward((), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"expected dy of shape \(2, 3\), got shape \(2, 2\)"):
        layer.vjp((), residuals, np.zeros((2, 2)))


LAYS: list[Any] = [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2]]


@pytest.mark.parametrize("shape", [(1, 5), (7, 5001), (300, 257)])
@pytest.mark.parametrize("lay", LAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_of_every_size_and_order_in_memory(shape: tuple[int, int], lay: Any, dtype: type) -> None:
    """Large arrays go by parts: each entry is still that of the definition, and what is no number stays none."""
    x = lay(np.random.default_rng(0).standard_normal(shape).astype(dtype))
    x[0, 0], x[-1, -1], x[0, 2], x[-1, 1] = math.nan, -math.inf, math.inf, -0.0
    y, _ = relu().forward((), x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.where(x > 0, x, 0) + np.where(np.isnan(x), math.nan, 0))
    given_up = x.copy(order="K") if x.flags.forc else lay(x)
    over, residuals = over_of(relu().forward)((), given_up)
    assert over is given_up is residuals.kept
    assert not over.flags.writeable
    np.testing.assert_array_equal(over, y)


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("shape", [(7, 5001), (300, 257)])
@pytest.mark.parametrize("lay", LAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_size_and_order_in_memory(layer: AnyLayer, shape: tuple[int, int], lay: Any, dtype: type) -> None:
    """Large arrays go by rows: each entry is what it is in a small one, and what is no number stays none."""
    x, dy = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    x[0, 0], x[-1, -1], x[0, 2], x[-1, 1] = math.nan, -50, 50, -0.0

    def both_of(x: Array, dy: Array) -> tuple[Array, Array]:
        y, residuals = layer.forward((), x)
        return y, layer.vjp((), residuals, dy)[1]

    small = [both_of(*part) for part in zip(*(np.array_split(a.ravel(), 20) for a in (x, dy)), strict=True)]
    wanted_y, wanted_dx = (np.concatenate(parts).reshape(shape) for parts in zip(*small, strict=True))
    y, dx = both_of(lay(x), lay(dy))
    mixed = both_of(lay(x), dy)[1]
    for made in (y, dx):
        assert made.strides == np.empty_like(lay(x)).strides
    for found, wanted in ((y, wanted_y), (dx, wanted_dx), (mixed, wanted_dx)):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("lay", LAYS)
def test_an_input_that_is_given_up_is_written_over(layer: AnyLayer, lay: Any) -> None:
    """By the output, which is what is kept or stands beside it."""
    x = np.random.default_rng(0).standard_normal((7, 5001))
    wanted, given_up = layer.forward((), lay(x))[0], lay(x)
    y, residuals = over_of(layer.forward)((), given_up)
    assert y is given_up
    assert not y.flags.writeable
    assert not residuals.kept.flags.writeable
    kept_apart = layer.name in ("softplus", "gelu")
    assert (residuals.kept is y) != kept_apart
    assert np.shares_memory(residuals.kept, y) != kept_apart
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_over_memory_that_is_given_up_all_is_the_same(layer: AnyLayer, dtype: type) -> None:
    """Bit for bit, forward and back; and what is kept of the way forward is not written over."""
    x, dy = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(dtype)
    y, residuals = layer.forward((), x)
    _, dx = layer.vjp((), residuals, dy)
    over_y, over_residuals = over_of(layer.forward)((), x.copy())
    kept = over_residuals.kept.copy()
    assert not over_residuals.kept.flags.writeable
    _, over_dx = over_of(layer.vjp)((), over_residuals, dy.copy())
    for found, wanted in ((over_y, y), (over_dx, dx), (over_residuals.kept, kept), (kept, residuals.kept)):
        assert found.dtype == dtype
        assert np.array_equal(found, wanted)
    with pytest.raises(ShapeError, match=r"expected dy of shape \(7, 5\), got shape \(7, 4\)"):
        over_of(layer.vjp)((), residuals, dy[:, 1:].copy())


@pytest.mark.parametrize("layer", ALL, ids=str)
def test_the_bytes_of_another_machine_become_those_of_this_one(layer: AnyLayer) -> None:
    x = np.random.default_rng(0).standard_normal((3, 2000)).astype(np.float32)
    y, _ = layer.forward((), x.astype(">f4"))
    assert y.dtype.isnative
    np.testing.assert_array_equal(y, layer.forward((), x)[0])
