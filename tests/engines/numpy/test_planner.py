"""Which buffers may be written over, and what runs by which kernel."""

from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest

from funcnet import tree
from funcnet.combinators import chain, frozen, parallel, residual
from funcnet.engines.numpy.blas import fast_order
from funcnet.engines.numpy.planner import kernel_names, plan
from funcnet.engines.running import copy_state
from funcnet.layer import AnyLayer, Layer
from funcnet.layers.activations import (
    forward_keeping_input,
    forward_keeping_output,
    leaky_relu,
    relu,
    sigmoid,
    softplus,
    tanh,
    tanh_of,
)
from funcnet.layers.dropout import dropout
from funcnet.layers.gated import gelu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten, identity
from funcnet.optimizers import sgd
from funcnet.random import make_key
from funcnet.shapes import ShapeError
from funcnet.step import init_state

LAYERS = [
    linear(3), linear(3, bias=False), relu(), leaky_relu(), tanh(), sigmoid(), softplus(), gelu(), flatten(),
    identity(), chain(linear(3), relu()),
    residual(tanh()), residual(flatten()), parallel(tanh(), identity()), frozen(linear(3)),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_what_a_kernel_calls_owned_is_held_by_nothing_else(layer: AnyLayer) -> None:
    """Neither by what it was given nor by what it keeps: the next layer may write over it."""
    params, out_shape = layer.init(make_key(0), (4,))
    x, dy = np.ones((5, 4), np.float32), np.ones((5, *out_shape), np.float32)
    kernel = plan(layer)
    y, kept = kernel.forward(params, x, False, None)
    held = [x, dy, *arrays_in(params), *arrays_in(kept)]
    if kernel.y == "own":
        assert y.flags.writeable
        assert not any(np.shares_memory(y, array) for array in held)
    accumulator = tree.map(np.copy, tree.trained(params))
    with tree.writable(tree.leaves(accumulator)):
        dx = kernel.backward(params, kept, dy, False, accumulator, 0.5, True)
    held += [y, *tree.leaves(accumulator)]
    if kernel.dx == "own":
        assert dx.flags.writeable
        assert not any(np.shares_memory(dx, array) for array in held)
    predicted = kernel.predict(params, x, False)
    if kernel.prediction == "own":
        assert predicted.flags.writeable
        assert not any(np.shares_memory(predicted, array) for array in (x, *arrays_in(params)))


def arrays_in(record: Any) -> list[np.ndarray]:
    """Those of params or residuals, whatever records they are in."""
    if isinstance(record, np.ndarray):
        return [record]
    if attrs.has(type(record)):
        record = [getattr(record, field.name) for field in attrs.fields(type(record))]
    return [array for part in record for array in arrays_in(part)] if isinstance(record, list | tuple) else []


@pytest.mark.parametrize("order", "CF")
def test_over_memory_that_is_given_up_a_network_computes_the_same(order: str) -> None:
    """What its layers do one by one; and nobody else's arrays are written to."""
    blocks = residual(relu(), linear(9), relu()), parallel(relu(), tanh(), merge="concatenation")
    net = chain(
        relu(), linear(9), relu(), chain(linear(9), relu(), *blocks), relu(), frozen(linear(4)), linear(2), gelu()
    )
    params, _ = net.init(make_key(0), (6,))
    x = np.asarray(np.random.default_rng(0).standard_normal((4, 6)), np.float32, order=order)
    dy = np.asarray(np.random.default_rng(1).standard_normal((4, 2)), np.float32, order=order)
    before = x.copy(), dy.copy()

    kernel = plan(net)
    y, kept = kernel.forward(params, x, False, None)
    wanted, residuals = net.forward(params, x)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)
    accumulator = tree.map(np.zeros_like, tree.trained(params))
    with tree.writable(tree.leaves(accumulator)):
        dx = kernel.backward(params, kept, dy, False, accumulator, 0.0, True)
    wanted_dparams, wanted_dx = net.vjp(params, residuals, dy)
    np.testing.assert_allclose(dx, wanted_dx, rtol=1e-5, atol=1e-6)
    for found, gradient in zip(tree.leaves(accumulator), tree.leaves(wanted_dparams), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-6)
    assert np.array_equal(x, before[0])
    assert np.array_equal(dy, before[1])


def test_a_layer_whose_function_was_replaced_has_no_kernel() -> None:
    own = attrs.evolve(relu(), vjp=lambda params, residuals, dy, need_dx=True: ((), dy))
    other_slope = attrs.evolve(relu(), vjp=tanh().pure_vjp)
    net = chain(linear(3), own, residual(other_slope, gelu()), dropout())
    assert kernel_names(net) == (
        ("linear(3)", "linear"), ("relu", ""), ("relu", ""), ("gelu", "gelu"), ("identity", "identity"),
        ("dropout(0.5)", ""),
    )  # fmt: skip


@pytest.mark.parametrize(("inputs", "width"), [(5, 30), (30, 5), (70, 70)])
def test_weights_lie_in_memory_as_their_gradients_are_made_fastest(inputs: int, width: int) -> None:
    """Else every sweep over both would jump through one of them."""
    params, _ = linear(width).init(make_key(0), (inputs,))
    state = copy_state(init_state(params, sgd(0.1), make_key(0)))
    weight = state.params.weight
    assert weight.flags.c_contiguous == (fast_order(inputs, width) == "C")
    assert np.array_equal(weight, params.weight)
    assert not weight.flags.writeable
    assert weight.ctypes.data % 64 == 0


def test_functions_in_other_pairs_or_with_keywords_have_no_kernel() -> None:
    swapped = attrs.evolve(tanh(), forward=partial(forward_keeping_input, tanh_of))
    by_keyword = attrs.evolve(tanh(), forward=partial(forward_keeping_output, f=tanh_of))
    advancing = attrs.evolve(tanh(), advance=lambda params, residuals: params)
    assert [plan(layer).name for layer in (tanh(), swapped, by_keyword, advancing)] == ["tanh", "", "", ""]


def test_a_gradient_that_does_not_fit_an_activation_is_refused() -> None:
    """NumPy would broadcast it."""
    mine = Layer("mine", relu().init, lambda p, x: (x, ()), lambda p, r, dy, need_dx=True: ((), dy[:, :1]))
    net = chain(linear(3), relu(), mine)
    params, _ = net.init(make_key(0), (2,))
    x = np.ones((4, 2), np.float32)
    y, kept = plan(net).forward(params, x, False, None)
    accumulator = tree.map(np.copy, params)
    with pytest.raises(ShapeError, match=r"chain\[1\].*expected dy of shape \(4, 3\), got shape \(4, 1\)"):
        plan(net).backward(params, kept, np.ones_like(y), False, accumulator, 0.0, False)
