import numpy as np
import pytest
from hypothesis import given, settings

from funcnet import random
from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.prelu import PReLUParams, prelu
from funcnet.random import Key, make_key
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=6)
@given(shapes(2), sizes(), keys())
def test_proof(shape: Shape, batch: int, key: Key) -> None:
    check_layer(prelu(), shape, batch=batch, key=key)
    check_layer(prelu(), shape[:1], batch=batch, key=key)


def test_the_equations_on_numbers() -> None:
    params, x = PReLUParams(np.array([0.5, 10.0])), np.array([[-2.0, -1.0], [4.0, 0.0]])
    y, residuals = prelu().forward(params, x)
    assert y.tolist() == [[-1, -10], [4, 0]]
    dparams, dx = prelu().vjp(params, residuals, np.array([[3.0, 5.0], [7.0, 1.0]]))
    assert dparams.slope.tolist() == [-6, -5]
    assert dx.tolist() == [[1.5, 50], [7, 10]]  # the lower slope at the kink


def test_slopes_start_at_a_quarter() -> None:
    params, out_shape = prelu().init(make_key(0), (4, 3))
    assert (params.slope.tolist(), params.slope.dtype, out_shape) == ([0.25] * 3, np.float32, (4, 3))
    with pytest.raises(ShapeError, match="prelu: expected an input shape with a last axis, of channels"):
        prelu().init(make_key(0), ())


def test_pytorch_agrees() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    slope, x, dy = (random.normal(make_key(n), s, np.float64) for n, s in enumerate([(2,), (3, 5, 4, 2), (3, 5, 4, 2)]))
    y, residuals = prelu().forward(PReLUParams(slope), x)
    dparams, dx = prelu().vjp(PReLUParams(slope), residuals, dy)
    their_x, their_slope = (torch.tensor(array.copy(), requires_grad=True) for array in (x, slope))
    theirs = torch.nn.functional.prelu(their_x.permute(0, 3, 1, 2), their_slope).permute(0, 2, 3, 1)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, their_x.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dparams.slope, their_slope.grad.numpy(), rtol=1e-12)
