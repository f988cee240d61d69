"""Convolutions: the proof, numbers by hand, sums in loops, PyTorch, and what the door refuses."""

import itertools
import re
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check import check_layer
from funcnet.check.strategies import keys, sizes
from funcnet.layers.conv import (
    ConvParams,
    ConvTransposeParams,
    conv1d,
    conv2d,
    conv_transpose2d,
    depthwise_conv2d,
)
from funcnet.layers.windows import Windows
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError

LENGTHS = st.tuples(st.integers(1, 3), st.integers(1, 3))
BORDERS = st.tuples(*(st.tuples(st.integers(0, 2), st.integers(0, 2)),) * 2)


def moved(layer: Any, in_shape: tuple[int, ...]) -> Any:
    """Params in float64, with a bias that is not zero."""
    params, _ = layer.init(make_key(0), in_shape)
    draws = itertools.count(1)
    return tree.map(lambda array: random.normal(make_key(next(draws)), array.shape, np.float64), params)


def in_loops(x: Any, weight: Any, sliding: Windows, groups: int) -> Any:
    """The sum of the first equation, number by number."""
    (top, bottom), (left, right) = sliding.amounts(x.shape[1:3])
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    (kh, kw), (sh, sw), (dh, dw) = sliding.size, sliding.stride, sliding.dilation
    high, wide = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(
        padded.shape[1:3], sliding.size, sliding.stride, sliding.dilation, strict=True))  # fmt: skip
    depth, filters = weight.shape[2:]
    y = np.zeros((len(x), high, wide, filters))
    for n, i, j, o in np.ndindex(y.shape):
        first = o // (filters // groups) * depth
        for p, q, c in np.ndindex(kh, kw, depth):
            y[n, i, j, o] += padded[n, sh * i + dh * p, sw * j + dw * q, first + c] * weight[p, q, c, o]
    return y


@settings(max_examples=8)
@given(
    LENGTHS, LENGTHS, LENGTHS, st.sampled_from(["same", "valid", "reflect", ((0, 2), (1, 0))]),
    st.sampled_from([1, 2]), st.booleans(), sizes(), keys(),
)  # fmt: skip
def test_proof(
    kernel: Any, stride: Any, dilation: Any, padding: Any, groups: int, bias: bool, batch: int, key: Key
) -> None:
    layer = conv2d(
        2 * groups, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
    )  # fmt: skip
    check_layer(layer, (7, 8, 2 * groups), batch=batch, key=key)


@settings(max_examples=6)
@given(LENGTHS, LENGTHS, st.sampled_from(["same", "valid"]), st.booleans(), sizes(), keys())
def test_proof_of_the_transposed(
    kernel: Any, stride: Any, padding: Any, bias: bool, batch: int, key: Key
) -> None:  # fmt: skip
    layer = conv_transpose2d(3, kernel, stride=stride, padding=padding, bias=bias)
    check_layer(layer, (2, 3, 2), batch=batch, key=key)


@settings(max_examples=25)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)), LENGTHS, LENGTHS, LENGTHS, st.one_of(st.just("same"), BORDERS),
    st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_the_sum_of_the_equation(
    image: Any, kernel: Any, stride: Any, dilation: Any, padding: Any, groups: int
) -> None:  # fmt: skip
    layer = conv2d(6, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    try:
        _, out_shape = layer.init(make_key(0), (*image, 2 * groups))
    except ShapeError:
        return  # the window does not fit
    params = moved(layer, (*image, 2 * groups))
    x = random.normal(make_key(9), (2, *image, 2 * groups), np.float64)
    y, _ = layer.forward(params, x)
    assert y.shape == (2, *out_shape)
    wanted = in_loops(x, params.weight, layer.pure_forward.args[0], groups) + params.bias
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


def test_the_equations_on_numbers() -> None:
    """A window of (1, -1) over 1 2 4 is 1 - 2, 2 - 4; the padding of "same" adds 4 - 0 after them."""
    params = ConvParams(np.array([[[1.0]], [[-1.0]]]), np.array([10.0]))
    x = np.array([[[1.0], [2.0], [4.0]]])
    y, residuals = conv1d(1, 2, padding="valid").forward(params, x)
    assert y.ravel().tolist() == [9, 8]
    assert conv1d(1, 2).forward(params, x)[0].ravel().tolist() == [9, 8, 14]
    dparams, dx = conv1d(1, 2, padding="valid").vjp(params, residuals, np.array([[[1.0], [3.0]]]))
    assert dparams.weight.ravel().tolist() == [1 + 2 * 3, 2 + 4 * 3]
    assert dparams.bias.tolist() == [4]
    assert dx.ravel().tolist() == [1, -1 + 3, -3]


def test_reflection_leaves_out_the_border() -> None:
    params = ConvParams(np.ones((3, 1, 1)), None)
    x = np.array([[[1.0], [2.0], [4.0]]])
    layer = conv1d(1, padding="reflect", bias=False)
    y, residuals = layer.forward(params, x)
    assert y.ravel().tolist() == [2 + 1 + 2, 1 + 2 + 4, 2 + 4 + 2]
    _, dx = layer.vjp(params, residuals, np.array([[[1.0], [0.0], [10.0]]]))
    assert dx.ravel().tolist() == [1, 2 + 20, 10]


def test_each_channel_has_its_own_filters() -> None:
    layer = depthwise_conv2d(1, multiplier=2, bias=False)
    params = ConvParams(np.array([[[[1.0, 2, 3, 4]]]]), None)
    assert layer.forward(params, np.array([[[[1.0, 10]]]]))[0].ravel().tolist() == [1, 2, 30, 40]
    assert layer.init(make_key(0), (5, 4, 2))[1] == (5, 4, 4)


def test_the_transposed_one_is_the_adjoint() -> None:
    """<conv x, y> = <x, transposed conv y>."""
    weight = random.normal(make_key(0), (3, 2, 4, 5), np.float64)
    conv = conv2d(5, (3, 2), stride=(2, 1), bias=False)
    transposed = conv_transpose2d(4, (3, 2), stride=(2, 1), bias=False)
    x, y = (random.normal(make_key(k), (2, *shape), np.float64) for k, shape in ((1, (6, 3, 4)), (2, (3, 3, 5))))
    there = conv.forward(ConvParams(weight), x)[0]
    back = transposed.forward(ConvTransposeParams(weight), y)[0]
    assert back.shape == x.shape
    assert np.vdot(there, y) == pytest.approx(np.vdot(x, back))


@pytest.mark.parametrize(
    ("layer", "in_shape", "out_shape"),
    [
        (conv2d(4), (5, 6, 2), (5, 6, 4)),
        (conv2d(4, stride=2), (5, 6, 2), (3, 3, 4)),
        (conv2d(4, padding="valid"), (5, 6, 2), (3, 4, 4)),
        (conv2d(4, (1, 3), padding=1), (5, 6, 2), (7, 6, 4)),
        (conv2d(4, 2, stride=5, padding="valid"), (7, 6, 2), (2, 1, 4)),
        (conv1d(4, 5, dilation=2, padding="valid"), (9, 2), (1, 4)),
        (conv_transpose2d(4, stride=2), (3, 2, 2), (6, 4, 4)),
        (conv_transpose2d(4, stride=2, padding="valid"), (3, 2, 2), (7, 5, 4)),
        (conv_transpose2d(4, stride=2, padding=1), (3, 2, 2), (5, 3, 4)),
    ],
    ids=str,
)
def test_shapes_and_multiply_adds(layer: Any, in_shape: Any, out_shape: Any) -> None:
    params, found = layer.init(make_key(0), in_shape)
    assert found == layer.out_shape(in_shape) == out_shape
    assert layer.forward(params, np.zeros((1, *in_shape), np.float32))[0].shape == (1, *out_shape)
    places = in_shape[:-1] if "transpose" in layer.name else out_shape[:-1]
    assert layer.multiply_adds(params, in_shape) == np.prod(places) * params.weight.size


def test_filters_by_he_have_the_variance_of_their_window() -> None:
    params, _ = conv2d(64, 3, groups=2).init(make_key(0), (4, 4, 64))
    assert params.weight.shape == (3, 3, 32, 64)
    assert params.weight.std() == pytest.approx(np.sqrt(2 / (9 * 32)), rel=0.02)
    assert not params.bias.any()


def test_no_examples_give_zero_gradients() -> None:
    params, _ = conv2d(3).init(make_key(0), (4, 4, 2))
    y, residuals = conv2d(3).forward(params, np.zeros((0, 4, 4, 2), np.float32))
    dparams, dx = conv2d(3).vjp(params, residuals, y)
    assert dx.shape == (0, 4, 4, 2)
    assert tree.norm(dparams) == 0


# --- what is refused


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "the number of filters of a conv2d is a whole number from 1 up, got 0"),
        ({"filters": 4, "groups": 3}, "the filters of a convolution are a multiple of its groups, got 4 and 3"),
        ({"filters": 4, "kernel": (1, 2, 3)}, "the window of conv2d(4) is one number, or 2: one an axis"),
        ({"filters": 4, "kernel": 1.5}, "the window of conv2d(4) is a whole number from 1 up, got 1.5"),
        ({"filters": 4, "stride": 0}, "the stride of conv2d(4) is a whole number from 1 up, got 0"),
        ({"filters": 4, "padding": "full"}, "the padding of conv2d(4) is same, valid, reflect or numbers of entries"),
        ({"filters": 4, "padding": -1}, "the padding of conv2d(4) is a whole number from 0 up, got -1"),
        ({"filters": 4, "padding": (1, 2, 3)}, "the padding of conv2d(4) has an entry for each of 2 axes"),
    ],
)
def test_wrong_arguments(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        conv2d(**arguments)


@pytest.mark.parametrize(
    ("layer", "in_shape", "message"),
    [
        (conv2d(4), (784,), "conv2d(4): expected examples of shape (height, width, channels), got (784,)"),
        (conv1d(4), (5, 5, 3), "conv1d(4): expected examples of shape (length, channels), got (5, 5, 3)"),
        (conv2d(4, 5, padding="valid"), (4, 9, 3), "an image that a window of (5, 5) fits into, got (4, 9)"),
        (conv2d(4, 2, dilation=4, padding="valid"), (4, 9, 3), "a window of (5, 5) fits into"),
        (conv2d(4, 5, padding="reflect"), (9, 2, 3), "to reflect, got (9, 2)"),
        (conv2d(4, groups=2), (5, 5, 3), "expected channels that are a multiple of its 2 groups, got 3 channels"),
        (conv_transpose2d(4, 1, padding=1), (2, 1, 3), "an image of which the padding leaves something"),
    ],
    ids=str,
)
def test_examples_that_do_not_fit(layer: Any, in_shape: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer.init(make_key(0), in_shape)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 5, 5), "expected x of shape (batch, ..., 3), got shape (2, 3, 5, 5) (channels first?"),
        ((2, 2, 5, 3), "expected an image that a window of (3, 3) fits into, got (2, 5)"),
        ((5, 5, 3), "got (5, 3) (is the batch axis missing? x[None] is a batch of one)"),
    ],
)
def test_a_wrong_input_is_refused_at_the_door(shape: Any, message: str) -> None:
    layer = conv2d(4, padding="valid")
    params, _ = layer.init(make_key(0), (5, 5, 3))
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer.forward(params, np.zeros(shape, np.float32))


@pytest.mark.usefixtures("as_users_run")
def test_params_of_another_layer_and_a_wrong_dy_are_refused() -> None:
    layer = conv2d(4, groups=2)
    params, _ = layer.init(make_key(0), (5, 5, 6))
    x = np.zeros((2, 5, 5, 6), np.float32)
    with pytest.raises(ShapeError, match=r"params.weight of shape \(3, 3, depth, 4\), got shape \(1, 3, 3, 4\)"):
        layer.forward(attrs.evolve(params, weight=params.weight[:1]), x)
    with pytest.raises(ShapeError, match=r"expected x of shape \(batch, \.\.\., 6\), got shape \(2, 5, 5, 3\)"):
        layer.forward(params, x[..., :3])
    _, residuals = layer.forward(params, x)
    with pytest.raises(ShapeError, match=r"expected dy of shape \(2, 5, 5, 4\), got shape \(2, 5, 4, 4\)"):
        layer.vjp(params, residuals, np.zeros((2, 5, 4, 4), np.float32))


# --- PyTorch


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [
        (3, 1, 1, 1, 1), ((2, 3), (2, 1), 0, (1, 2), 2), (1, 3, 0, 1, 1), (3, 1, ((1, 2), (0, 1)), 1, 2),
        (5, 1, "reflect", 1, 1), (2, 9, 0, 1, 1), (4, 2, 2, 1, 4),
    ],
)  # fmt: skip
def test_pytorch_agrees(kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    layer = conv2d(8, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    in_shape = (9, 8, 4)
    params = moved(layer, in_shape)
    x = random.normal(make_key(9), (3, *in_shape), np.float64)
    y, residuals = layer.forward(params, x)
    dy = random.normal(make_key(10), y.shape, np.float64)
    dparams, dx = layer.vjp(params, residuals, dy)

    sliding = layer.pure_forward.args[0]
    rows, columns = sliding.amounts(in_shape[:2])
    theirs = [torch.tensor(a.copy(), requires_grad=True) for a in (x, params.weight, params.bias)]
    padded = torch.nn.functional.pad(
        theirs[0].permute(0, 3, 1, 2), (*columns, *rows), mode="reflect" if padding == "reflect" else "constant"
    )
    made = torch.nn.functional.conv2d(
        padded, theirs[1].permute(3, 2, 0, 1), theirs[2], sliding.stride, 0, sliding.dilation, groups
    )
    made.permute(0, 2, 3, 1).backward(torch.tensor(dy))
    np.testing.assert_allclose(y, made.detach().permute(0, 2, 3, 1).numpy(), rtol=1e-12, atol=1e-12)
    for own, other in zip((dx, dparams.weight, dparams.bias), theirs, strict=True):
        np.testing.assert_allclose(own, other.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 2, 0, 1), (2, 2, 0, 2), (4, 2, 1, 1)])
def test_pytorch_agrees_on_the_transposed(kernel: int, stride: int, padding: int, dilation: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    layer = conv_transpose2d(5, kernel, stride=stride, padding=padding, dilation=dilation)
    params = moved(layer, (4, 3, 2))
    x = random.normal(make_key(9), (2, 4, 3, 2), np.float64)
    y, residuals = layer.forward(params, x)
    dy = random.normal(make_key(10), y.shape, np.float64)
    dparams, dx = layer.vjp(params, residuals, dy)
    theirs = [torch.tensor(a.copy(), requires_grad=True) for a in (x, params.weight, params.bias)]
    made = torch.nn.functional.conv_transpose2d(
        theirs[0].permute(0, 3, 1, 2), theirs[1].permute(3, 2, 0, 1), theirs[2], stride, padding, dilation=dilation
    )
    made.permute(0, 2, 3, 1).backward(torch.tensor(dy))
    np.testing.assert_allclose(y, made.detach().permute(0, 2, 3, 1).numpy(), rtol=1e-12, atol=1e-12)
    for own, other in zip((dx, dparams.weight, dparams.bias), theirs, strict=True):
        np.testing.assert_allclose(own, other.grad.numpy(), rtol=1e-12, atol=1e-12)
