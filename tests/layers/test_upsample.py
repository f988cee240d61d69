import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random
from funcnet.check import check_layer
from funcnet.check.strategies import keys, sizes
from funcnet.layers.upsample import upsample2d
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError

METHODS = ["nearest", "bilinear"]


@settings(max_examples=8)
@given(st.integers(1, 3), st.sampled_from(METHODS), sizes(3), sizes(3), sizes(2), sizes(), keys())
def test_proof(factor: int, method: Any, height: int, width: int, channels: int, batch: int, key: Key) -> None:
    check_layer(upsample2d(factor, method=method), (height, width, channels), batch=batch, key=key)


def test_the_weights_on_numbers() -> None:
    x = np.array([1.0, 5.0]).reshape(1, 1, 2, 1)
    for method, row in (("nearest", [1, 1, 5, 5]), ("bilinear", [1, 2, 4, 5])):
        y, residuals = upsample2d(method=method).forward((), x)
        assert y[0, :, :, 0].tolist() == [row, row]
        assert upsample2d(method=method).vjp((), residuals, np.ones_like(y))[1].ravel().tolist() == [4, 4]


@pytest.mark.usefixtures("as_users_run")
def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="the factor of an upsample2d is a whole number from 1 up"):
        upsample2d(1.5)
    with pytest.raises(ValueError, match="the method of an upsample2d is nearest or bilinear, got 'cubic'"):
        upsample2d(method="cubic")
    with pytest.raises(ShapeError, match=re.escape("upsample2d(2): expected examples of shape (height, width, cha")):
        upsample2d().init(make_key(0), (4, 4))
    _, residuals = upsample2d().forward((), np.ones((2, 3, 3, 1)))
    with pytest.raises(ShapeError, match=r"expected dy of shape \(2, 6, 6, 1\), got shape \(2, 6, 5, 1\)"):
        upsample2d().vjp((), residuals, np.ones((2, 6, 5, 1)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_pytorch_agrees(method: Any, factor: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    x = random.normal(make_key(0), (2, 4, 3, 2), np.float64)
    y, residuals = upsample2d(factor, method=method).forward((), x)
    dy = random.normal(make_key(1), y.shape, np.float64)
    theirs = torch.tensor(x, requires_grad=True)
    options: dict[str, Any] = {"align_corners": False} if method == "bilinear" else {}
    made = torch.nn.functional.interpolate(theirs.permute(0, 3, 1, 2), scale_factor=factor, mode=method, **options)
    made.permute(0, 2, 3, 1).backward(torch.tensor(dy))
    np.testing.assert_allclose(y, made.detach().permute(0, 2, 3, 1).numpy(), rtol=1e-12, atol=1e-12)
    dx = upsample2d(factor, method=method).vjp((), residuals, dy)[1]
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=1e-12, atol=1e-12)
