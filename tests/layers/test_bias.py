import numpy as np
import pytest
from hypothesis import given, settings

from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.bias import BiasParams, bias
from funcnet.random import Key, make_key
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=4)
@given(shapes(2), sizes(), keys())
def test_proof(shape: Shape, batch: int, key: Key) -> None:
    check_layer(bias(), shape, batch=batch, key=key)


def test_a_bias() -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    y, residuals = bias().forward(BiasParams(np.array([10.0, 20.0])), x)
    assert y[0, 1].tolist() == [12, 23]
    assert bias().vjp(BiasParams(np.zeros(2)), residuals, x)[0].bias.tolist() == [30, 36]
    assert bias().init(make_key(0), (3, 2))[0].bias.tolist() == [0, 0]
    with pytest.raises(ShapeError, match="bias: expected an input shape with a last axis, of features"):
        bias().init(make_key(0), ())
