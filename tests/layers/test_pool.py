"""Pooling: the proof, numbers by hand, ties, padding, and PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random
from funcnet.check import check_layer
from funcnet.check.strategies import keys, sizes
from funcnet.layers.pool import avg_pool2d, global_avg_pool, global_max_pool, max_pool2d
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError

LENGTHS = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDINGS = st.sampled_from(["same", "valid", "reflect"])


def image(*rows: list[float]) -> Any:
    return np.array(rows, np.float64)[None, :, :, None]


def gradient(layer: Any, x: Any, dy: Any) -> Any:
    return layer.vjp((), layer.forward((), x)[1], dy)[1]


@settings(max_examples=6)
@given(LENGTHS, LENGTHS, PADDINGS, st.booleans(), sizes(), keys())
def test_proof_of_the_mean(
    size: Any, stride: Any, padding: str, count_padding: bool, batch: int, key: Key
) -> None:  # fmt: skip
    layer = avg_pool2d(size, stride=stride, padding=padding, count_padding=count_padding)
    check_layer(layer, (5, 6, 2), batch=batch, key=key)


@settings(max_examples=6)
@given(LENGTHS, LENGTHS, PADDINGS, sizes(), keys())
def test_proof_of_the_maximum(size: Any, stride: Any, padding: str, batch: int, key: Key) -> None:
    check_layer(max_pool2d(size, stride=stride, padding=padding), (5, 6, 2), batch=batch, key=key)


@settings(max_examples=5)
@given(st.sampled_from([global_avg_pool(), global_max_pool()]), sizes(), sizes(), keys())
def test_proof_of_the_global_ones(layer: Any, side: int, batch: int, key: Key) -> None:
    check_layer(layer, (side, 2, 3), batch=batch, key=key)


def test_the_largest_of_every_window() -> None:
    x = image([1, 2, 5, 9], [4, 3, 7, 6])
    y, _ = max_pool2d().forward((), x)
    assert y.ravel().tolist() == [4, 9]
    dx = gradient(max_pool2d(), x, np.array([1.0, 2]).reshape(1, 1, 2, 1))
    assert dx[0, :, :, 0].tolist() == [[0, 0, 0, 2], [1, 0, 0, 0]]


@pytest.mark.parametrize("layer", [max_pool2d(), global_max_pool()], ids=str)
def test_of_entries_that_tie_the_first_gets_all(layer: Any) -> None:
    x = image([1, 3], [3, 3])
    dx = gradient(layer, x, np.full_like(layer.forward((), x)[0], 7))
    assert dx[0, :, :, 0].tolist() == [[0, 7], [0, 0]]


def test_windows_that_overlap_add_up() -> None:
    dx = gradient(max_pool2d((1, 2), stride=1), image([1, 5, 2]), np.array([1.0, 10]).reshape(1, 1, 2, 1))
    assert dx.ravel().tolist() == [0, 11, 0]


def test_what_pads_is_never_the_largest() -> None:
    y, _ = max_pool2d((1, 3), stride=1, padding="same").forward((), image([-4, -2, -9]))
    assert y.ravel().tolist() == [-2, -2, -2]


def test_a_number_that_is_none_is_passed_on() -> None:
    x = image([1, np.nan], [3, 2])
    assert np.isnan(max_pool2d().forward((), x)[0]).all()
    assert not gradient(max_pool2d(), x, np.ones((1, 1, 1, 1))).any()


def test_padding_counts_in_a_mean_if_it_is_said() -> None:
    x = image([3, 6, 9])
    options: dict[str, Any] = {"stride": 1, "padding": "same"}
    assert avg_pool2d((1, 3), **options).forward((), x)[0].ravel().tolist() == [4.5, 6, 7.5]
    assert avg_pool2d((1, 3), **options, count_padding=True).forward((), x)[0].ravel().tolist() == [3, 6, 5]
    dy = np.array([6.0, 0, 0]).reshape(1, 1, 3, 1)
    assert gradient(avg_pool2d((1, 3), **options), x, dy).ravel().tolist() == [3, 3, 0]
    assert gradient(avg_pool2d((1, 3), **options, count_padding=True), x, dy).ravel().tolist() == [2, 2, 0]


def test_the_mean_and_the_maximum_of_an_image() -> None:
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    assert global_avg_pool().forward((), x)[0].tolist() == [[5, 6]]
    assert global_max_pool().forward((), x)[0].tolist() == [[10, 11]]
    assert gradient(global_avg_pool(), x, np.array([[6.0, 12]]))[0, 1, 2].tolist() == [1, 2]
    sequence = np.arange(6.0).reshape(1, 3, 2)
    assert global_avg_pool().forward((), sequence)[0].tolist() == [[2, 3]]


def test_a_padding_as_large_as_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="the padding of max_pool2d is smaller than its window, got 2"):
        max_pool2d(2, padding=2)
    with pytest.raises(ValueError, match="the padding of avg_pool2d is smaller than its window"):
        avg_pool2d((3, 1), padding=1)


@pytest.mark.usefixtures("as_users_run")
def test_a_wrong_input_is_refused_at_the_door() -> None:
    with pytest.raises(ShapeError, match=r"max_pool2d: expected an image that a window of \(2, 2\) fits into, got \(1"):
        max_pool2d().forward((), np.zeros((2, 1, 5, 3)))
    with pytest.raises(ShapeError, match=r"global_avg_pool: expected examples of shape \(height, width, channels\)"):
        global_avg_pool().init(make_key(0), (5,))
    x = np.zeros((2, 4, 4, 3))
    with pytest.raises(ShapeError, match=r"expected dy of shape \(2, 2, 2, 3\), got shape \(2, 3, 2, 3\)"):
        gradient(avg_pool2d(), x, np.zeros((2, 3, 2, 3)))


@pytest.mark.parametrize("kind", ["max", "mean", "mean with padding"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), ((2, 3), (1, 2), 1), (1, 3, 0), (2, 5, 0)]
)
def test_pytorch_agrees(kind: str, size: Any, stride: Any, padding: int) -> None:
    """Also where entries tie."""
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    options: dict[str, Any] = {"stride": stride, "padding": padding}
    count = kind == "mean with padding"
    layer: Any = max_pool2d(size, **options) if kind == "max" else avg_pool2d(size, **options, count_padding=count)
    x = np.round(2 * random.normal(make_key(0), (3, 7, 6, 2), np.float64))
    y, residuals = layer.forward((), x)
    dy = random.normal(make_key(1), y.shape, np.float64)
    theirs = torch.tensor(x, requires_grad=True)
    given = theirs.permute(0, 3, 1, 2)
    if kind == "max":
        made = torch.nn.functional.max_pool2d(given, size, **options)
    else:
        made = torch.nn.functional.avg_pool2d(given, size, **options, count_include_pad=count)
    made.permute(0, 2, 3, 1).backward(torch.tensor(dy))
    np.testing.assert_allclose(y, made.detach().permute(0, 2, 3, 1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.vjp((), residuals, dy)[1], theirs.grad.numpy(), rtol=1e-12, atol=1e-12)
