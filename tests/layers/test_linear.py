import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import tree
from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.initializers import glorot, he
from funcnet.layers.linear import LinearParams, LinearResiduals, linear
from funcnet.random import Key, make_key
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=15)
@given(sizes(), shapes(axes=1), sizes(), st.booleans(), st.sampled_from([he, glorot]), keys())
def test_proof(width: int, in_shape: Shape, batch: int, bias: bool, init: object, key: Key) -> None:
    check_layer(linear(width, bias=bias, init=init), in_shape, batch=batch, key=key)


def test_the_equations_on_numbers() -> None:
    params = LinearParams(np.array([[1.0, 2], [3, 4]]), np.array([10.0, 20]))
    y, residuals = linear(2).forward(params, np.array([[1.0, 1], [0, 2]]))
    assert y.tolist() == [[14, 26], [16, 28]]
    dparams, dx = linear(2).vjp(params, residuals, np.array([[1.0, 0], [1, 1]]))
    assert dparams.weight.tolist() == [[1, 0], [3, 2]]
    assert dparams.bias.tolist() == [2, 1]
    assert dx.tolist() == [[1, 3], [3, 7]]


def test_no_examples_give_no_rows_and_zero_gradients() -> None:
    params, _ = linear(3).init(make_key(0), (2,))
    y, residuals = linear(3).forward(params, np.zeros((0, 2), np.float32))
    assert y.shape == (0, 3)
    dparams, dx = linear(3).vjp(params, residuals, y)
    assert dx.shape == (0, 2)
    assert tree.norm(dparams) == 0
    assert dparams.weight.shape == (2, 3)


def test_dx_is_not_computed_for_nobody() -> None:
    params, _ = linear(3).init(make_key(0), (2,))
    _, residuals = linear(3).forward(params, np.ones((1, 2), np.float32))
    assert linear(3).vjp(params, residuals, np.ones((1, 3), np.float32), need_dx=False)[1] is None


def test_init_infers_the_width_and_starts_biases_at_zero() -> None:
    params, out_shape = linear(3).init(make_key(0), (5,))
    assert out_shape == (3,)
    assert params.weight.shape == (5, 3)
    assert params.bias.tolist() == [0, 0, 0]
    assert {a.dtype for a in tree.leaves(params)} == {np.dtype(np.float32)}
    assert linear(3, bias=False).init(make_key(0), (5,))[0].bias is None


@pytest.mark.usefixtures("as_users_run")
def test_a_wrong_input_is_refused_at_the_door() -> None:
    params, _ = linear(3).init(make_key(0), (5,))
    with pytest.raises(ShapeError, match=r"linear\(3\): expected x of shape \(batch, 5\), got shape \(2, 4\)"):
        linear(3).forward(params, np.zeros((2, 4), np.float32))
    with pytest.raises(ShapeError, match="expected x of dtype float32, as the params, got dtype float64"):
        linear(3).forward(params, np.zeros((2, 5)))
    with pytest.raises(ShapeError, match=r"one axis \(put flatten\(\) before it\), got \(28, 28\)"):
        linear(3).init(make_key(0), (28, 28))
    _, residuals = linear(3).forward(params, np.zeros((2, 5), np.float32))
    with pytest.raises(ShapeError, match=r"expected dy of shape \(2, 3\), got shape \(1, 3\)"):
        linear(3).vjp(params, residuals, np.zeros((1, 3), np.float32))


def test_a_layer_has_a_width() -> None:
    with pytest.raises(ValueError, match="width of a linear layer is a whole number from 1 up, got 0"):
        linear(0)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("width", [2.0, True, "2"])
def test_a_width_is_a_whole_number(width: object) -> None:
    with pytest.raises(ValueError, match="width of a linear layer is a whole number"):
        linear(width)


@pytest.mark.usefixtures("as_users_run")
def test_the_parameters_of_another_layer_are_refused() -> None:
    x = np.zeros((2, 5), np.float32)
    mine, _ = linear(3).init(make_key(0), (5,))
    for layer, params, message in (
        (linear(4), mine, r"linear\(4\): expected params.weight of shape \(in, 4\), got shape \(5, 3\)"),
        (linear(3, bias=False), mine, "expected params without a bias"),
        (linear(3), LinearParams(mine.weight), "expected params with a bias"),
        (
            linear(3),
            LinearParams(mine.weight, np.zeros(1, np.float32)),
            r"params.bias of shape \(3,\), got shape \(1,\)",
        ),
        (
            linear(3),
            LinearParams(mine.weight, np.zeros((3, 1), np.float32)),
            r"params.bias of shape \(3,\), got shape \(3, 1\)",
        ),
        (linear(3), LinearParams(mine.weight, np.zeros(3)), "params.bias of dtype float32"),
        (
            linear(3, bias=False),
            LinearParams(mine.weight.astype(np.float64)),
            "x of dtype float64, as the params, got dtype float32",
        ),
        (linear(3), (), r"expected LinearParams, got a tuple"),
    ):
        with pytest.raises(ShapeError, match=message):
            layer.forward(params, x)


@pytest.mark.usefixtures("as_users_run")
def test_an_initializer_is_checked_and_keeps_its_array() -> None:
    mine = np.ones((5, 3), np.float32)
    params, _ = linear(3, init=lambda *_: mine).init(make_key(0), (5,))
    mine[0, 0] = 7
    assert params.weight[0, 0] == 1
    with pytest.raises(ShapeError, match=r"the initial weight of shape \(4, 3\), got shape \(5, 3\)"):
        linear(3, init=lambda *_: mine).init(make_key(0), (4,))
    with pytest.raises(ShapeError, match="the initial weight of a floating-point dtype, got dtype int64"):
        linear(3, init=lambda *_: np.ones((5, 3), int)).init(make_key(0), (5,))


@pytest.mark.usefixtures("as_users_run")
def test_lists_are_no_arrays() -> None:
    params, _ = linear(1).init(make_key(0), (1,))
    with pytest.raises(ShapeError, match="expected x as a NumPy array, got a list"):
        linear(1).forward(params, [[1.0]])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("width", "dtype"), [(200, np.float32), (784, np.float64)])
def test_residuals_of_another_network_are_refused(order: str, width: int, dtype: type) -> None:
    """Before BLAS reads beyond them."""
    layer = linear(64)
    params, _ = layer.init(make_key(0), (784,))
    residuals = LinearResiduals(np.ones((128, width), dtype, order))
    dy = np.ones((128, 64), np.float32)
    with pytest.raises(ShapeError, match=r"linear\(64\): expected x of"):
        layer.vjp(params, residuals, dy)


@pytest.mark.parametrize("width", [4, 200])
def test_the_bytes_of_another_machine_are_taken_at_every_size(width: int) -> None:
    layer = linear(width)
    params, _ = layer.init(make_key(0), (width,))
    foreign = tree.map(lambda a: a.astype(a.dtype.newbyteorder("S")), params)
    x, dy = np.random.default_rng(0).standard_normal((2, width, width)).astype(np.float32)
    swapped = (a.astype(a.dtype.newbyteorder("S")) for a in (x, dy))
    x_swapped, dy_swapped = swapped
    y, residuals = layer.forward(foreign, x_swapped)
    dparams, dx = layer.vjp(foreign, residuals, dy_swapped)
    wanted_y, wanted_residuals = layer.forward(params, x)
    wanted, wanted_dx = layer.vjp(params, wanted_residuals, dy)
    for found, other in ((y, wanted_y), (dx, wanted_dx), (dparams.weight, wanted.weight), (dparams.bias, wanted.bias)):
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-4)
