"""Whitening filters: what they do to the patches they were made of, what is refused, and PyTorch."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.check import check_layer
from funcnet.shapes import Array

SMOOTH = np.cumsum(np.cumsum(fn.random.normal(fn.make_key(0), (600, 9, 8, 2), np.float64), axis=1), axis=2)
IMAGES = ((SMOOTH - SMOOTH.mean()) / SMOOTH.std()).astype(np.float32) + np.float32(0.5)


def responses(layer: Any, images: Array = IMAGES) -> Array:
    params, out_shape = layer.init(fn.make_key(1), images.shape[1:])
    y, _ = layer.forward(params, images)
    assert y.shape[1:] == out_shape
    return y.reshape(-1, out_shape[-1]).astype(np.float64)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_outputs_are_uncorrelated_with_variance_1(size: int) -> None:
    found = responses(fn.patch_whitening(IMAGES, size, epsilon=1e-9))
    half = 2 * size * size
    np.testing.assert_allclose(found[:, half:], -found[:, :half], atol=1e-3)
    np.testing.assert_allclose(np.cov(found[:, :half].T), np.eye(half), atol=2e-2)


def test_epsilon_holds_down_what_varies_little() -> None:
    wide, narrow = (responses(fn.patch_whitening(IMAGES, epsilon=e)).var(axis=0)[:8] for e in (1e-9, 0.1))
    assert (narrow < wide).all()
    assert (np.diff(narrow) < 1e-6).all()  # the largest eigenvalue first
    assert narrow[0] > 0.8 > 0.1 > narrow[-1]


def test_it_is_a_frozen_layer_that_needs_no_key() -> None:
    layer = fn.patch_whitening(IMAGES)
    assert layer.name == "frozen(conv2d(16))"
    (params, _), (again, _) = (layer.init(fn.make_key(seed), (9, 8, 2)) for seed in range(2))
    assert tree.equal(params, again)
    assert tree.leaves(tree.trained(params)) == []
    assert tree.equal(pickle.loads(pickle.dumps(layer)).init(fn.make_key(0), (9, 8, 2))[0], params)
    assert tree.equal(fn.patch_whitening(IMAGES.astype(np.float64)).init(fn.make_key(0), (9, 8, 2))[0], params)
    check_layer(fn.chain(layer, fn.bias(), fn.gelu()), (4, 3, 2), key=fn.make_key(0))


def test_a_model_with_it_comes_back(tmp_path: Path) -> None:
    net = fn.chain(fn.patch_whitening(IMAGES), fn.bias(), fn.flatten(), fn.linear(3))
    params, _ = net.init(fn.make_key(0), (9, 8, 2))
    fn.save_model(tmp_path / "m", fn.Model(net, params, (9, 8, 2)))
    for back in (fn.load_model(tmp_path / "m"), fn.load_model(tmp_path / "m", net)):
        assert tree.equal(back.params, params)
        fn.save_model(tmp_path / "again", back)
    with pytest.raises(ValueError, match="the initial values are not known"):
        fn.load_model(tmp_path / "m").net.init(fn.make_key(0), (9, 8, 2))


@pytest.mark.usefixtures("as_users_run")
def test_what_is_refused() -> None:
    with pytest.raises(
        fn.ShapeError, match="patch_whitening: expected images of a floating-point dtype, got dtype uint8"
    ):
        fn.patch_whitening(IMAGES.astype(np.uint8))
    for images in (IMAGES[0], IMAGES[:0]):
        with pytest.raises(fn.ShapeError, match=r"expected images of shape \(batch, height, width, channels\)"):
            fn.patch_whitening(images)
    with pytest.raises(fn.ShapeError, match=r"patch_whitening: expected an image that a window of \(9, 9\) fits into"):
        fn.patch_whitening(IMAGES, 9)
    with pytest.raises(ValueError, match="the size of a patch is a whole number from 1 up, got 0"):
        fn.patch_whitening(IMAGES, 0)
    with pytest.raises(ValueError, match="the epsilon of a patch_whitening is positive, got 0"):
        fn.patch_whitening(IMAGES, epsilon=0)


def test_pytorch_agrees() -> None:
    """By its unfold, cov and eigh. They divide by one patch less."""
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    images = torch.tensor(IMAGES[:50], dtype=torch.float64).permute(0, 3, 1, 2)
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 8)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T, correction=0))
    theirs = (vectors / torch.sqrt(values + 5e-4)).flip(1).reshape(2, 2, 2, 8).permute(1, 2, 0, 3).numpy()
    ours = fn.patch_whitening(IMAGES[:50]).init(fn.make_key(0), (9, 8, 2))[0].params.weight[..., :8]
    np.testing.assert_allclose(ours, theirs * np.sign(theirs[0, 0, 0]), rtol=1e-4, atol=1e-5)
