import math

import numpy as np
import pytest
from hypothesis import given, settings

from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.scaling import scaling
from funcnet.random import Key
from funcnet.shapes import Shape


@settings(max_examples=4)
@given(shapes(1), sizes(), keys())
def test_proof(shape: Shape, batch: int, key: Key) -> None:
    check_layer(scaling(-0.3), shape, batch=batch, key=key)


@pytest.mark.usefixtures("as_users_run")
def test_a_factor() -> None:
    x = np.array([[1, -2]], np.float32)
    y, residuals = scaling(np.float64(0.5)).forward((), x)
    assert (y.tolist(), y.dtype) == ([[0.5, -1]], np.float32)
    assert scaling(0.5).vjp((), residuals, x)[1].tolist() == [[0.5, -1]]
    for factor in (math.inf, math.nan):
        with pytest.raises(ValueError, match="the factor of a scaling is finite"):
            scaling(factor)
