"""The kernel of batch normalization, of one chunk of rows and of many."""

from typing import Any

import numpy as np
import pytest
from against_equations import differences

from funcnet import tree
from funcnet.engines.numpy import chunks
from funcnet.engines.numpy import norm as kernels
from funcnet.engines.numpy.planner import plan
from funcnet.layers.norm import batch_norm
from funcnet.random import make_key

pytestmark = pytest.mark.usefixtures("three_cores")


def case(shape: tuple[int, ...], dtype: Any = np.float64, mean: float = 3.0) -> tuple[Any, ...]:
    draws = np.random.default_rng(0)
    params, _ = batch_norm().init(make_key(0), shape[1:])
    params = tree.map(lambda array: draws.uniform(0.5, 2, array.shape).astype(dtype), params)
    x, dy = draws.standard_normal((2, *shape)).astype(dtype)
    return batch_norm(), params, x + np.asarray(mean, dtype), dy


@pytest.mark.parametrize("shape", [(1, 1), (9, 3), (40, 5), (4, 3, 7, 2)])
def test_the_equations(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_CHUNK", 24)
    monkeypatch.setattr(chunks, "_CHUNK", 32)
    assert max(differences(*case(shape)).values()) < 1e-13


def test_single_precision_far_from_zero() -> None:
    """The deviations of each chunk are from its own mean, so that large means cost no digits."""
    _, params, x, _ = case((50, 20, 20, 3), np.float32, mean=1000.0)
    _, residuals = plan(batch_norm()).forward(params, x, False, None)
    wanted = x.astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(residuals.mean, wanted.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(residuals.variance, wanted.var(axis=0), rtol=1e-5)


def test_arrays_of_any_order_in_memory() -> None:
    layer, params, x, dy = case((6, 4, 3))
    assert max(differences(layer, params, np.asfortranarray(x), np.repeat(dy, 2, axis=1)[:, ::2]).values()) < 1e-13
