import math
from functools import partial
from typing import Any

import numpy as np
import pytest

from funcnet import tree
from funcnet.layers.conv import ConvParams, conv2d, depthwise_conv2d
from funcnet.layers.initializers import (
    constant,
    dirac,
    fan_in_uniform,
    given,
    glorot,
    he,
    lecun,
    orthogonal,
    truncated_normal,
    zeros,
)
from funcnet.layers.linear import linear
from funcnet.random import make_key, normal
from funcnet.shapes import ShapeError

ALL = [he, glorot, lecun, fan_in_uniform, truncated_normal, orthogonal, zeros, partial(constant, value=0.5), dirac]


@pytest.mark.parametrize(("init", "variance"), [(he, 2 / 500), (lecun, 1 / 500)])
def test_normal_ones_have_the_variance_of_their_papers(init: Any, variance: float) -> None:
    w = init(make_key(0), (500, 400), 500, 400)
    assert w.std() == pytest.approx(math.sqrt(variance), rel=0.01)
    assert abs(w.mean()) < 1e-3
    kurtosis = np.mean(w.astype(np.float64) ** 4) / np.mean(w.astype(np.float64) ** 2) ** 2
    assert kurtosis == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(("init", "bound"), [(glorot, math.sqrt(6 / 900)), (fan_in_uniform, 1 / math.sqrt(500))])
def test_uniform_ones_have_the_bounds_of_their_papers(init: Any, bound: float) -> None:
    w = init(make_key(0), (500, 400), 500, 400)
    assert np.abs(w).max() <= bound
    assert np.abs(w).max() > 0.999 * bound
    assert w.var() == pytest.approx(bound**2 / 3, rel=0.01)


def test_two_deviations_are_the_end() -> None:
    """The variance of a normal number within +-2 is 1 - 4 phi(2) / (2 Phi(2) - 1)."""
    w = truncated_normal(make_key(0), (500, 400), 500, 400, deviation=np.float64(0.1))
    assert w.dtype == np.float32
    assert 0.1999 < np.abs(w).max() <= 0.2
    left_out = 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
    assert w.var() == pytest.approx(0.01 * (1 - left_out), rel=0.01)
    assert abs(w.mean()) < 1e-3
    assert truncated_normal(make_key(0), (500, 400), 500, 400).std() == pytest.approx(0.02 * 0.8796, rel=0.01)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (3, 3, 2, 5), (2, 1, 2, 9), (1, 1)])
def test_an_orthogonal_matrix_keeps_lengths(shape: tuple[int, ...]) -> None:
    w = orthogonal(make_key(0), shape, 0, 0).astype(np.float64)
    rows = w.reshape(-1, shape[-1])
    product = rows.T @ rows if len(rows) >= shape[-1] else rows @ rows.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_orthogonal_matrices_are_uniform() -> None:
    """Entries of a uniform 3 x 3 matrix have mean 0, mean square 1/3, and its trace has mean 0 and mean square 1.

    The Q of LAPACK itself, without the signs, has a first entry that is never positive.
    """
    drawn = np.array([orthogonal(make_key(n), (3, 3), 3, 3) for n in range(1500)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / 3, atol=0.03)
    traces = np.trace(drawn, axis1=1, axis2=2)
    assert abs(traces.mean()) < 0.1
    assert np.mean(traces**2) == pytest.approx(1, abs=0.15)


def test_the_same_everywhere() -> None:
    assert zeros(make_key(0), (2, 3), 2, 3).tolist() == [[0] * 3] * 2
    assert constant(make_key(0), (2,), 2, 3, value=np.float64(0.5)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (conv2d(3, init=dirac), 3), (conv2d(3, (1, 4), init=dirac), 3), (conv2d(4, 5, groups=2, init=dirac), 4),
        (conv2d(3, 3, dilation=2, init=dirac), 3), (depthwise_conv2d(init=dirac), 3),
    ],
)  # fmt: skip
def test_dirac_is_the_identity(layer: Any, channels: int) -> None:
    x = normal(make_key(0), (2, 5, 6, channels))
    params, _ = layer.init(make_key(1), x.shape[1:])
    assert np.array_equal(layer.forward(params, x)[0], x)


def test_the_filters_beyond_are_zero_or_those_of_another() -> None:
    first = dirac(make_key(0), (3, 3, 2, 5), 18, 45)
    mixed = dirac(make_key(0), (3, 3, 2, 5), 18, 45, rest=he)
    assert not first[..., 2:].any()
    assert np.array_equal(mixed[..., :2], first[..., :2])
    assert np.array_equal(mixed[..., 2:], he(make_key(0), (3, 3, 2, 5), 18, 45)[..., 2:])
    # Of each group the filters beyond its channels.
    grouped = dirac(make_key(0), (1, 1, 1, 4), 1, 2)[0, 0, 0]
    assert grouped.tolist() == [1, 0, 1, 0]
    assert dirac(make_key(0), (2, 3), 2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_given_values_are_copied() -> None:
    values = np.ones((2, 3), np.float32)
    layer = linear(3, init=partial(given, values=values))
    params, _ = layer.init(make_key(0), (2,))
    assert np.array_equal(params.weight, values)
    assert not np.shares_memory(params.weight, values)
    with pytest.raises(
        ShapeError, match=r"linear\(3\): expected the initial weight of shape \(4, 3\), got shape \(2, 3"
    ):
        layer.init(make_key(0), (4,))
    with pytest.raises(ValueError, match="the initial values are not known: a file of a model holds its params"):
        linear(3, init=given).init(make_key(0), (2,))


@pytest.mark.parametrize("init", ALL)
def test_dtype_and_no_inputs(init: Any) -> None:
    assert init(make_key(0), (4, 3), 4, 3).dtype == np.float32
    assert init(make_key(0), (0, 3), 0, 3).shape == (0, 3)


@pytest.mark.parametrize("shape", [(3, 3, 4, 4), (3, 5, 4, 6), (1, 1, 4, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_pytorch_has_the_same_dirac(shape: Any, groups: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    *window, depth, filters = shape
    theirs = torch.nn.init.dirac_(torch.empty(filters, depth, *window), groups=groups)
    area = math.prod(window)
    ours = dirac(make_key(0), shape, area * depth, area * filters // groups)
    assert np.array_equal(ours, theirs.permute(2, 3, 1, 0).numpy())


def test_pytorchs_default_bound() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    theirs = torch.nn.Conv2d(50, 60, 3).weight.detach().numpy()
    params, _ = conv2d(60, init=fan_in_uniform).init(make_key(0), (4, 4, 50))
    assert isinstance(params, ConvParams)
    assert np.abs(theirs).max() == pytest.approx(np.abs(params.weight).max(), rel=1e-3)
    assert tree.leaves(params)[0].std() == pytest.approx(theirs.std(), rel=0.02)
