"""Layer and RMS normalization: the proof, numbers by hand, what they do not see, and PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check import check_layer
from funcnet.check.strategies import keys, sizes
from funcnet.layers.layer_norm import NormParams, layer_norm, rms_norm
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError

SWITCHES = {"both": (True, True), "scale": (True, False), "shift": (False, True), "none": (False, False)}


def params_for(features: int, scale: bool = True, shift: bool = True) -> NormParams:
    drawn = random.normal(make_key(features), (2, features), np.float64)
    return NormParams(drawn[0] if scale else None, drawn[1] if shift else None)


@settings(max_examples=4)
@given(st.sampled_from(sorted(SWITCHES)), sizes(), sizes(), sizes(), keys())
def test_proof(switches: str, rows: int, features: int, batch: int, key: Key) -> None:
    scale, shift = SWITCHES[switches]
    for layer in (layer_norm(scale=scale, shift=shift), rms_norm(scale=scale)):
        check_layer(layer, (rows, features), batch=batch, key=key)
        check_layer(layer, (features,), batch=batch, key=key)


def test_the_equations_on_numbers() -> None:
    x = np.array([[2.0, 6.0]])
    params = NormParams(np.array([3.0, 3.0]), np.array([10.0, 10.0]))
    np.testing.assert_allclose(layer_norm(epsilon=1e-12).forward(params, x)[0], [[7, 13]])
    y, _ = rms_norm(epsilon=1e-12).forward(NormParams(np.ones(2)), np.array([[6.0, 8.0]]))
    np.testing.assert_allclose(y, [[6 / 50**0.5, 8 / 50**0.5]])


def test_what_the_last_axis_has_in_common_is_not_seen() -> None:
    x, dy = random.normal(make_key(0), (2, 4, 3, 5), np.float64)
    for layer, other in ((layer_norm(epsilon=1e-12), 3 * x + 7), (rms_norm(epsilon=1e-12), 3 * x)):
        params = params_for(5, shift=layer.name == "layer_norm")
        y, residuals = layer.forward(params, x)
        np.testing.assert_allclose(layer.forward(params, other)[0], y, rtol=1e-9, atol=1e-9)
        _, dx = layer.vjp(params, residuals, dy)
        np.testing.assert_allclose((dx * x).sum(axis=-1), 0, atol=1e-9)
    assert np.isfinite(layer_norm().forward(params_for(1), np.ones((2, 1)))[0]).all()


def test_init() -> None:
    params, out_shape = layer_norm().init(make_key(0), (4, 3))
    assert (params.scale.tolist(), params.shift.tolist(), out_shape) == ([1] * 3, [0] * 3, (4, 3))
    assert rms_norm().init(make_key(0), (3,))[0].shift is None
    assert tree.leaves(layer_norm(scale=False, shift=False).init(make_key(0), (3,))[0]) == []
    layer = layer_norm(epsilon=np.float64(1e-3))
    assert layer.forward(params, np.ones((2, 4, 3), np.float32))[0].dtype == np.float32


@pytest.mark.usefixtures("as_users_run")
def test_what_is_refused() -> None:
    for layer in (layer_norm, rms_norm):
        with pytest.raises(ValueError, match=r"the epsilon of an? .* normalization is positive, got 0"):
            layer(epsilon=0)
        with pytest.raises(ShapeError, match=r"_norm: expected an input shape with a last axis, of features"):
            layer().init(make_key(0), ())
    with pytest.raises(ShapeError, match="layer_norm: expected params without a shift"):
        layer_norm(shift=False).forward(params_for(3), np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"layer_norm: expected x of shape \(batch, \.\.\., 3\), got shape \(2, 4\)"):
        layer_norm().forward(params_for(3), np.ones((2, 4)))


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2, 5)])
@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_pytorch_agrees(kind: str, shape: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    x, dy = (random.normal(make_key(n), shape, np.float64) for n in range(2))
    layer: Any = layer_norm(epsilon=1e-3) if kind == "layer_norm" else rms_norm(epsilon=1e-3)
    params = params_for(5, shift=kind == "layer_norm")
    y, residuals = layer.forward(params, x)
    dparams, dx = layer.vjp(params, residuals, dy)
    own = [x, *tree.leaves(params)]
    theirs = [torch.tensor(array.copy(), requires_grad=True) for array in own]
    made = getattr(torch.nn.functional, kind)(theirs[0], (5,), *theirs[1:], eps=1e-3)
    made.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, made.detach().numpy(), rtol=1e-11, atol=1e-12)
    for found, other in zip((dx, *tree.leaves(dparams)), theirs, strict=True):
        np.testing.assert_allclose(found, other.grad.numpy(), rtol=1e-11, atol=1e-12)
