"""Convolution kernels: patches and tiles, of every window and size, divided among cores."""

from typing import Any

import numpy as np
import pytest
from against_equations import differences

from funcnet import tree
from funcnet.engines.numpy import conv as kernels
from funcnet.engines.numpy import winograd
from funcnet.engines.numpy.planner import plan
from funcnet.layers.conv import conv1d, conv2d, depthwise_conv2d
from funcnet.random import make_key
from funcnet.shapes import ShapeError

pytestmark = pytest.mark.usefixtures("three_cores")

WINDOWS: list[dict[str, Any]] = [
    {},
    {"bias": False, "padding": "valid"},
    {"kernel": (2, 3), "padding": ((0, 2), (1, 0))},
    {"kernel": 2, "stride": 2, "padding": "valid"},
    {"stride": (2, 3)},
    {"dilation": 2, "padding": "reflect"},
    {"kernel": 1},
    {"kernel": 1, "stride": 3, "padding": "valid"},
    {"kernel": (1, 2), "stride": (3, 4)},
]
TILES: list[dict[str, Any]] = [{}, {"padding": "valid", "bias": False}, {"padding": ((2, 0), (1, 3))}]
IMAGES = [(1, 3, 3, 1), (2, 4, 5, 3), (7, 9, 8, 2), (5, 3, 17, 4)]


def case(options: dict[str, Any], shape: tuple[int, ...], dtype: Any = np.float64) -> tuple[Any, ...]:
    """A layer of 3 filters with params, x and dy, all drawn."""
    draws, layer = np.random.default_rng(0), conv2d(3, **options)
    params, out = layer.init(make_key(0), shape[1:])
    params = tree.map(lambda array: draws.standard_normal(array.shape).astype(dtype), params)
    x, dy = (draws.standard_normal((shape[0], *rest)).astype(dtype) for rest in (shape[1:], out))
    return layer, params, x, dy


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_patches(options: dict[str, Any], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "pays", lambda *shapes: False)
    monkeypatch.setattr(kernels, "_PATCHES", 600)  # more blocks than one
    assert max(differences(*case(options, shape)).values()) < 1e-13


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("options", TILES, ids=str)
def test_tiles(options: dict[str, Any], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "pays", lambda *shapes: True)
    monkeypatch.setattr(winograd, "_TILES", 5)
    assert max(differences(*case(options, shape)).values()) < 1e-12


@pytest.mark.parametrize("tiles", [False, True])
def test_single_precision(tiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "pays", lambda *shapes: tiles)
    assert max(differences(*case({}, (4, 12, 12, 32), np.float32)).values()) < (2e-5 if tiles else 2e-6)


def test_tiles_are_for_windows_of_three_that_touch_every_entry() -> None:
    wide, narrow = ((8, 16, 16, 128), (8, 16, 16, 128)), ((8, 16, 16, 8), (8, 16, 16, 8))

    def pays(shapes: Any, **options: Any) -> bool:
        return winograd.pays(conv2d(8, **options).pure_forward.args[0], *shapes)

    assert pays(wide)
    assert not pays(narrow)
    assert not any(
        pays(wide, **options)
        for options in ({"kernel": 5}, {"stride": 2}, {"dilation": 2}, {"padding": "reflect"}, {"kernel": (3, 1)})
    )


def test_arrays_of_any_order_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for tiles in (False, True):
        monkeypatch.setattr(kernels, "pays", lambda *shapes, tiles=tiles: tiles)
        layer, params, x, dy = case({}, (3, 6, 5, 2))
        laid = np.asfortranarray(x), np.repeat(dy, 2, axis=1)[:, ::2]
        params = tree.map(np.asfortranarray, params)
        assert max(differences(layer, params, *laid).values()) < 1e-12


def test_no_images() -> None:
    layer, params, x, dy = case({}, (0, 4, 4, 2))
    assert differences(layer, params, x, dy).keys() == {"y", "dx", "prediction", "weight", "bias"}


def test_a_dy_of_another_shape_is_refused() -> None:
    layer, params, x, dy = case({}, (2, 4, 4, 2))
    _, kept = plan(layer).forward(params, x, False, None)
    with pytest.raises(ShapeError, match="dy"):
        plan(layer).backward(params, kept, dy[:, :1], False, None, 0.0, True)


@pytest.mark.parametrize("layer", [conv1d(3), conv2d(4, groups=2), depthwise_conv2d(2)], ids=str)
def test_others_have_no_kernel(layer: Any) -> None:
    assert not plan(layer).name
