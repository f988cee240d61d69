import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.engines.numpy.planner import plan
from funcnet.layer import AnyLayer
from funcnet.layers.activations import elu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.gated import gelu, hard_swish, mish, silu
from funcnet.layers.linear import LinearParams
from funcnet.random import Key
from funcnet.shapes import Array, Shape, ShapeError

ALL = [
    relu(), leaky_relu(), leaky_relu(0.3), leaky_relu(0), tanh(), sigmoid(), softplus(), elu(), elu(0.3), gelu(),
    silu(), mish(), hard_swish(),
]  # fmt: skip


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
    np.testing.assert_allclose(both(elu(2), x)[0], [2 * np.expm1(-2), 2 * np.expm1(-0.5), 0.5, 3])
    np.testing.assert_allclose(both(silu(), x)[0], x / (1 + np.exp(-x)))
    np.testing.assert_allclose(both(mish(), x)[0], x * np.tanh(np.log1p(np.exp(x))))
    np.testing.assert_allclose(both(hard_swish(), x)[0], [-1 / 3, -1.25 / 6, 1.75 / 6, 3])
    # The values of the exact GELU, x Phi(x), which the tanh form follows to three decimals.
    np.testing.assert_allclose(both(gelu(), x)[0], [-0.0455, -0.1543, 0.3457, 2.9960], atol=6e-4)


def test_kinks_take_the_lower_slope() -> None:
    assert both(relu(), [0.0, -0.0])[1].tolist() == [0, 0]
    assert both(leaky_relu(0.25), [0.0, -0.0])[1].tolist() == [0.25, 0.25]
    assert both(elu(0.25), [0.0, -0.0])[1].tolist() == [0.25, 0.25]


def test_the_kinks_of_hard_swish_take_the_outer_slopes() -> None:
    assert both(hard_swish(), [-3.0, 3.0])[1].tolist() == [0, 1]


def by_equations(layer: AnyLayer, x: Array) -> tuple[Array, Array]:
    """f and its slope."""
    y, residuals = layer.forward((), x)
    return y, layer.vjp((), residuals, np.ones_like(x))[1]


def by_kernel(layer: AnyLayer, x: Array) -> tuple[Array, Array]:
    """The same by the NumPy engine's kernel."""
    kernel = plan(layer)
    with np.errstate(all="ignore"):
        y, kept = kernel.forward((), x, False, None)
        return y, kernel.backward((), kept, np.ones_like(x), False, None, 0.0, True)


# f and its slope far below 0 and far above it.
LIMITS: dict[str, tuple[Any, Any]] = {
    "relu": (lambda x: np.maximum(x, 0), (0, 1)),
    "leaky_relu(0.01)": (lambda x: np.maximum(x, 0.01 * x), (0.01, 1)),
    "leaky_relu(0.3)": (lambda x: np.maximum(x, 0.3 * x), (0.3, 1)),
    "leaky_relu(0)": (lambda x: np.maximum(x, 0), (0, 1)),
    "tanh": (np.sign, (0, 0)),
    "sigmoid": (lambda x: x > 0, (0, 0)),
    "softplus": (lambda x: np.maximum(x, 0), (0, 1)),
    "elu(1)": (lambda x: np.maximum(x, -1), (0, 1)),
    "elu(0.3)": (lambda x: np.maximum(x, -0.3), (0, 1)),
    "gelu": (lambda x: np.maximum(x, 0), (0, 1)),
    "silu": (lambda x: np.maximum(x, 0), (0, 1)),
    "mish": (lambda x: np.maximum(x, 0), (0, 1)),
    "hard_swish": (lambda x: np.maximum(x, 0), (0, 1)),
}


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("made", [by_equations, by_kernel])
def test_far_out_f_and_its_slope_are_their_limits(
    layer: AnyLayer, dtype: type, made: Callable[[AnyLayer, Array], tuple[Array, Array]]
) -> None:
    """Up to the largest number there is, though x^2 and x^3 overflow long before."""
    largest = float(np.finfo(dtype).max)
    sizes = [800.0, 1e4, 1e10, 1e13, 2e13, 1e19, 2e19, 1e25, *(largest ** (i / 20) for i in range(4, 21))]
    far = np.array(sorted([*sizes, *(-size for size in sizes)]), dtype)
    y, slope = made(layer, far)
    of_x, (below, above) = LIMITS[layer.name]
    np.testing.assert_allclose(y, of_x(far.astype(np.float64)), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope, np.where(far > 0, above, below), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("made", [by_equations, by_kernel])
def test_float32_is_that_of_float64_from_one_tail_to_the_other(
    layer: AnyLayer, made: Callable[[AnyLayer, Array], tuple[Array, Array]]
) -> None:
    """Where tanh and the sigmoid have come to an end, their slopes are right to rounding of 1 only."""
    x = np.concatenate([np.linspace(-120, 120, 4801), [-1e-30, 1e-30, 0.0]]).astype(np.float32)
    wanted = by_equations(layer, x.astype(np.float64))
    for found, exact in zip(made(layer, x), wanted, strict=True):
        np.testing.assert_allclose(found, exact, rtol=3e-5, atol=1.2e-7 if found is not wanted[0] else 0)
    np.testing.assert_allclose(made(layer, x)[0], wanted[0], rtol=3e-5, atol=1e-36)


def test_sigmoid_and_the_slope_of_softplus_are_exact_in_both_tails() -> None:
    x = [-700.0, -40, 0, 40]
    for found in (both(sigmoid(), x)[0], both(softplus(), x)[1]):
        np.testing.assert_allclose(found, [np.exp(-700.0), np.exp(-40.0), 0.5, 1], rtol=1e-15)


@pytest.mark.usefixtures("as_users_run")
def test_a_numpy_slope_does_not_turn_float32_into_float64() -> None:
    for layer in (leaky_relu(np.float64(0.1)), elu(np.float64(0.1))):
        assert layer.forward((), np.ones((2, 2), np.float32))[0].dtype == np.float32


@pytest.mark.parametrize("slope", [-0.1, 1, 2])
def test_leaky_relu_has_a_smaller_slope_below(slope: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\)"):
        leaky_relu(slope)


@pytest.mark.parametrize("alpha", [0, -1, math.inf, math.nan])
def test_the_alpha_of_an_elu_is_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match="the alpha of an ELU is positive and finite"):
        elu(alpha)


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
        lambda: layer.predict(foreign, x),
        lambda: layer.vjp(foreign, residuals, x),
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
