import numpy as np
import pytest
from hypothesis import given, settings

from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.reshape import flatten, identity
from funcnet.random import Key, make_key
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=10)
@given(shapes(), sizes(), keys())
def test_proof(shape: Shape, batch: int, key: Key) -> None:
    check_layer(flatten(), shape, batch=batch, key=key)
    check_layer(identity(), shape, batch=batch, key=key)


def test_flatten_keeps_the_order() -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    y, residuals = flatten().forward((), x)
    assert y.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert np.array_equal(flatten().vjp((), residuals, y)[1], x)
    assert flatten().init(make_key(0), (3, 2)) == ((), (6,))


def test_flatten_takes_no_examples() -> None:
    assert flatten().forward((), np.zeros((0, 3, 2)))[0].shape == (0, 6)


def test_views_cannot_be_used_to_write() -> None:
    x = np.zeros((2, 3))
    for layer in (flatten(), identity()):
        y, _ = layer.forward((), x)
        assert np.shares_memory(x, y)
        assert not y.flags.writeable
    assert x.flags.writeable


@pytest.mark.usefixtures("as_users_run")
def test_the_params_of_another_layer_are_refused() -> None:
    for layer in (flatten(), identity()):
        _, residuals = layer.forward((), np.zeros((2, 3)))
        said = f"{layer}: expected no params, the empty tuple"
        with pytest.raises(ShapeError, match=said):
            layer.forward((np.ones(3),), np.zeros((2, 3)))
        with pytest.raises(ShapeError, match=said):
            layer.vjp(None, residuals, np.zeros((2, 3)))


@pytest.mark.usefixtures("as_users_run")
def test_a_gradient_of_another_shape_is_refused() -> None:
    _, residuals = flatten().forward((), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"expected dy of shape \(2, 3\), got shape \(2, 4\)"):
        flatten().vjp((), residuals, np.zeros((2, 4)))
