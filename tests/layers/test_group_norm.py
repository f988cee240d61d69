"""Group and instance normalization: the proof, what they have in common with layer normalization, and PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check import check_layer
from funcnet.check.strategies import keys, sizes
from funcnet.layers.group_norm import group_norm, instance_norm
from funcnet.layers.layer_norm import NormParams, layer_norm
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError

PARAMS = NormParams(*random.normal(make_key(7), (2, 6), np.float64))


@settings(max_examples=6)
@given(st.integers(1, 3), sizes(2), st.booleans(), st.booleans(), sizes(3), sizes(3), sizes(), keys())
def test_proof(
    groups: int, of_group: int, scale: bool, shift: bool, height: int, width: int, batch: int, key: Key
) -> None:
    image = (height, width, groups * of_group)
    check_layer(group_norm(groups, scale=scale, shift=shift), image, batch=batch, key=key)
    check_layer(instance_norm(scale=scale, shift=shift), image, batch=batch, key=key)


def test_each_group_has_mean_0_and_variance_1() -> None:
    x = 5 + 2 * random.normal(make_key(0), (4, 3, 5, 6), np.float64)
    y, _ = group_norm(2, epsilon=1e-9, scale=False, shift=False).forward(NormParams(), x)
    parts = y.reshape(4, 15, 2, 3)
    np.testing.assert_allclose(parts.mean(axis=(1, 3)), 0, atol=1e-9)
    np.testing.assert_allclose(parts.var(axis=(1, 3)), 1, rtol=1e-6)


def test_the_relatives() -> None:
    x = random.normal(make_key(0), (4, 6), np.float64)
    np.testing.assert_allclose(group_norm(1).forward(PARAMS, x)[0], layer_norm().forward(PARAMS, x)[0], rtol=1e-12)
    x = random.normal(make_key(0), (4, 3, 5, 6), np.float64)
    assert np.array_equal(instance_norm().forward(PARAMS, x)[0], group_norm(6).forward(PARAMS, x)[0])


def test_an_image_of_one_entry_is_its_shift() -> None:
    y, _ = instance_norm().forward(PARAMS, np.full((2, 1, 1, 6), 3.0))
    np.testing.assert_allclose(y, np.broadcast_to(PARAMS.shift, y.shape))


@pytest.mark.usefixtures("as_users_run")
def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="the number of groups of a group_norm is a whole number from 1 up, got 0"):
        group_norm(0)
    with pytest.raises(ValueError, match="the epsilon of a group_norm is positive, got -1"):
        group_norm(2, epsilon=-1)
    wanted = r"group_norm\(4\): expected examples of shape \(height, width, channels\), a multiple of its 4 groups"
    with pytest.raises(ShapeError, match=wanted):
        group_norm(4).init(make_key(0), (3, 3, 6))
    with pytest.raises(ShapeError, match=wanted):
        group_norm(4, scale=False, shift=False).forward(NormParams(), np.ones((2, 3, 3, 6)))


@pytest.mark.parametrize("groups", [1, 2, 3, None])
def test_pytorch_agrees(groups: int | None) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    x, dy = (random.normal(make_key(n), (3, 4, 2, 6), np.float64) for n in range(2))
    layer = instance_norm(epsilon=1e-3) if groups is None else group_norm(groups, epsilon=1e-3)
    y, residuals = layer.forward(PARAMS, x)
    dparams, dx = layer.vjp(PARAMS, residuals, dy)
    theirs: list[Any] = [torch.tensor(array.copy(), requires_grad=True) for array in (x, PARAMS.scale, PARAMS.shift)]
    given_x, weight, bias = theirs[0].permute(0, 3, 1, 2), *theirs[1:]
    functional = torch.nn.functional
    if groups is None:
        made = functional.instance_norm(given_x, weight=weight, bias=bias, eps=1e-3)
    else:
        made = functional.group_norm(given_x, groups, weight, bias, eps=1e-3)
    made.permute(0, 2, 3, 1).backward(torch.tensor(dy))
    np.testing.assert_allclose(y, made.detach().permute(0, 2, 3, 1).numpy(), rtol=1e-11, atol=1e-12)
    for found, other in zip((dx, *tree.leaves(dparams)), theirs, strict=True):
        np.testing.assert_allclose(found, other.grad.numpy(), rtol=1e-10, atol=1e-12)
