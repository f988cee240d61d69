import numpy as np
import pytest
from hypothesis import given, settings

from funcnet import random
from funcnet.check import check_layer
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.layers.softmax import log_softmax
from funcnet.random import Key, make_key
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=6)
@given(shapes(2), sizes(), keys())
def test_proof(shape: Shape, batch: int, key: Key) -> None:
    check_layer(log_softmax(), shape, batch=batch, key=key)
    check_layer(log_softmax(), shape[:1], batch=batch, key=key)


def test_shares_add_up_to_1_and_large_logits_do_not_overflow() -> None:
    x = np.array([[1e30, 0.0], [-1e4, -1e4], [88, 89]], np.float32)
    y, residuals = log_softmax().forward((), x)
    np.testing.assert_allclose(np.exp(y).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(y[:2], [[0, -1e30], [-np.log(2)] * 2], rtol=1e-6)
    assert np.isfinite(log_softmax().vjp((), residuals, np.ones_like(y))[1]).all()


@pytest.mark.parametrize("shape", [(), (3, 0)])
def test_examples_without_classes_are_refused(shape: Shape) -> None:
    with pytest.raises(ShapeError, match="log_softmax: expected an input shape with a last axis, of classes"):
        log_softmax().init(make_key(0), shape)


def test_pytorch_agrees() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    x, dy = (10 * random.normal(make_key(n), (3, 4, 5), np.float64) for n in range(2))
    y, residuals = log_softmax().forward((), x)
    their_x = torch.tensor(x, requires_grad=True)
    theirs = torch.log_softmax(their_x, -1)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(log_softmax().vjp((), residuals, dy)[1], their_x.grad.numpy(), rtol=1e-10, atol=1e-12)
