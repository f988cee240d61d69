"""Activations in place, at every size and in every order in memory. That they are the equations, the checker proves."""

import math
from typing import Any

import numpy as np
import pytest

from funcnet.engines.numpy.planner import plan
from funcnet.layer import AnyLayer
from funcnet.layers.activations import leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.gated import gelu
from funcnet.shapes import Array

ALL = [relu(), leaky_relu(), leaky_relu(0.3), leaky_relu(0), tanh(), sigmoid(), softplus(), gelu()]


@np.errstate(all="ignore")  # as the engine does
def forward(layer: AnyLayer, x: Array, *, owned: bool = False) -> tuple[Array, Array]:
    """y, and what is kept."""
    return plan(layer).forward((), x, owned, None)


def backward(layer: AnyLayer, kept: Array, dy: Array, *, owned: bool = False) -> Array:
    """dx."""
    return plan(layer).backward((), kept, dy, owned, (), 0.0, True)


LAYS: list[Any] = [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2]]


@pytest.mark.parametrize("shape", [(1, 5), (7, 5001), (300, 257)])
@pytest.mark.parametrize("lay", LAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_of_every_size_and_order_in_memory(shape: tuple[int, int], lay: Any, dtype: type) -> None:
    """Large arrays go by chunks: each entry is still that of the definition, and what is no number stays none."""
    x = lay(np.random.default_rng(0).standard_normal(shape).astype(dtype))
    x[0, 0], x[-1, -1], x[0, 2], x[-1, 1] = math.nan, -math.inf, math.inf, -0.0
    y, _ = forward(relu(), x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.where(x > 0, x, 0) + np.where(np.isnan(x), math.nan, 0))
    given_up = x.copy(order="K") if x.flags.forc else lay(x)
    over, kept = forward(relu(), given_up, owned=True)
    assert over is given_up is kept
    assert not over.flags.writeable
    np.testing.assert_array_equal(over, y)


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("shape", [(7, 5001), (300, 257)])
@pytest.mark.parametrize("lay", LAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_size_and_order_in_memory(layer: AnyLayer, shape: tuple[int, int], lay: Any, dtype: type) -> None:
    """Large arrays go by chunks: each entry is what it is in a small one, and what is no number stays none."""
    x, dy = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    x[0, 0], x[-1, -1], x[0, 2], x[-1, 1] = math.nan, -50, 50, -0.0

    def both_of(x: Array, dy: Array) -> tuple[Array, Array]:
        y, kept = forward(layer, x)
        return y, backward(layer, kept, dy)

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
    wanted, given_up = forward(layer, lay(x))[0], lay(x)
    y, kept = forward(layer, given_up, owned=True)
    assert y is given_up
    assert not y.flags.writeable
    assert not kept.flags.writeable
    kept_apart = layer.name in ("softplus", "gelu")
    assert (kept is y) != kept_apart
    assert np.shares_memory(kept, y) != kept_apart
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("layer", ALL, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_over_memory_that_is_given_up_all_is_the_same(layer: AnyLayer, dtype: type) -> None:
    """Bit for bit, forward and back; and what is kept of the way forward is not written over."""
    x, dy = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(dtype)
    y, kept = forward(layer, x)
    dx = backward(layer, kept, dy)
    over_y, over_kept = forward(layer, x.copy(), owned=True)
    before = over_kept.copy()
    assert not over_kept.flags.writeable
    over_dx = backward(layer, over_kept, dy.copy(), owned=True)
    for found, wanted in ((over_y, y), (over_dx, dx), (over_kept, before), (before, kept)):
        assert found.dtype == dtype
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("layer", ALL, ids=str)
def test_the_bytes_of_another_machine_become_those_of_this_one(layer: AnyLayer) -> None:
    x = np.random.default_rng(0).standard_normal((3, 2000)).astype(np.float32)
    y, _ = forward(layer, x.astype(">f4"))
    assert y.dtype.isnative
    np.testing.assert_array_equal(y, forward(layer, x)[0])
