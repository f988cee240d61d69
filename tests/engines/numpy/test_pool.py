"""The kernel of max-pooling: ties, borders that no window reaches, blocks."""

from typing import Any

import numpy as np
import pytest
from against_equations import differences

from funcnet.engines.numpy import pool as kernels
from funcnet.engines.numpy.planner import plan
from funcnet.layers.pool import max_pool2d
from funcnet.random import make_key

pytestmark = pytest.mark.usefixtures("three_cores")


@pytest.mark.parametrize("size", [1, 2, 3, (1, 3), (2, 1)])
@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (1, 3, 3, 1), (7, 6, 7, 2), (5, 8, 9, 3)])
@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_the_equations(size: Any, shape: tuple[int, ...], lay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries tie: whole numbers from 0 to 3."""
    monkeypatch.setattr(kernels, "_BLOCK", 100)
    draws, layer = np.random.default_rng(0), max_pool2d(size)
    x = draws.integers(0, 4, shape).astype(np.float32)
    dy = draws.standard_normal((len(x), *layer.init(make_key(0), shape[1:])[1])).astype(np.float32)
    assert max(differences(layer, (), lay(x), lay(dy)).values()) == 0


@pytest.mark.parametrize(
    "layer", [max_pool2d(3, stride=2), max_pool2d(2, padding=1), max_pool2d(2, padding="same"), max_pool2d(17)], ids=str
)
def test_others_have_no_kernel(layer: Any) -> None:
    assert not plan(layer).name
