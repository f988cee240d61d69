import numpy as np
import pytest
from hypothesis import given, settings

from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.reshape import flatten, identity, reshape, transpose
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


# --- reshape and transpose


@settings(max_examples=6)
@given(shapes(3), sizes(), keys())
def test_proof_of_reshape_and_transpose(shape: Shape, batch: int, key: Key) -> None:
    check_layer(reshape(shape[0], -1), shape, batch=batch, key=key)
    check_layer(transpose(1, 2, 0), shape, batch=batch, key=key)


def test_reshape_keeps_the_order() -> None:
    x = np.arange(12.0).reshape(2, 6)
    y, residuals = reshape(2, -1).forward((), x)
    assert y[1].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert np.array_equal(reshape(2, -1).vjp((), residuals, y)[1], x)
    assert reshape(3, 2).init(make_key(0), (6,)) == ((), (3, 2))
    assert reshape(-1).init(make_key(0), (2, 3)) == ((), (6,))
    assert reshape().init(make_key(0), (1, 1)) == ((), ())
    assert reshape(-1, 3).forward((), np.zeros((0, 6)))[0].shape == (0, 2, 3)


def test_transpose_puts_axes_where_it_says() -> None:
    x = np.arange(48.0).reshape(2, 2, 3, 4)
    y, residuals = transpose(2, 0, 1).forward((), x)
    assert transpose(2, 0, 1).init(make_key(0), (2, 3, 4)) == ((), y.shape[1:])
    assert np.array_equal(y, x.transpose(0, 3, 1, 2))
    assert np.array_equal(transpose(2, 0, 1).vjp((), residuals, y)[1], x)


@pytest.mark.usefixtures("as_users_run")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one length of a reshape may be -1, got \(-1, -1\)"):
        reshape(-1, -1)
    with pytest.raises(ValueError, match="a length of a reshape is a whole number from 1 up, got 0"):
        reshape(2, 0)
    for axes in ((), (1, 2), (0, 0), (-1, 0)):
        with pytest.raises(ValueError, match=r"the axes of a transpose are 0, 1, 2, ..., each once"):
            transpose(*axes)
    with pytest.raises(ShapeError, match=r"reshape\(4, -1\): expected examples of a multiple of 4 entries, got \(6,\)"):
        reshape(4, -1).init(make_key(0), (6,))
    with pytest.raises(ShapeError, match=r"reshape\(2, 2\): expected examples of 4 entries, got \(8,\), which has 8"):
        reshape(2, 2).forward((), np.zeros((3, 8)))
    with pytest.raises(ShapeError, match=r"transpose\(1, 0\): expected examples of 2 axes, got \(2, 3, 4\)"):
        transpose(1, 0).forward((), np.zeros((5, 2, 3, 4)))
    _, residuals = transpose(1, 0).forward((), np.zeros((5, 2, 3)))
    with pytest.raises(ShapeError, match=r"expected dy of shape \(5, 3, 2\), got shape \(5, 2, 3\)"):
        transpose(1, 0).vjp((), residuals, np.zeros((5, 2, 3)))
