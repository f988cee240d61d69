"""Glyphs: an image set that is generated, not downloaded. Digits as the fonts that matplotlib ships draw them.

Each digit of each font is turned once into a field of distances to its outline. An image then samples that field
through a random rotation, scale and shift, and inks what lies within a random distance of the outline (so strokes
come thin and thick), with random noise over it. All images of a call are computed together.

The outlines are exact and the arithmetic is basic (a rotation by the angle 2 arctan t has the cosine
(1 - t^2) / (1 + t^2) and the sine 2 t / (1 + t^2)), so the same key gives the same bits everywhere.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from funcnet import random
from funcnet.data.dataset import Dataset, Split
from funcnet.random import Key
from funcnet.shapes import Array, Float, Integer
from funcnet.tree import freeze

__all__ = ["CLASSES", "glyphs", "glyphs_dataset"]

CLASSES = tuple("0123456789")

_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmb10", "cmss10", "cmtt10",
)  # fmt: skip
_SIDE = 28  # pixels of an image
_GRID = 64  # points of a field along each axis
_REACH = 0.8  # a field covers -0.8 .. 0.8 glyph heights both ways
_BLOCK = 500  # images at a time: their temporaries take a few megabytes


def glyphs(key: Key, count: int) -> Split:
    """``count`` images (count, 28, 28) uint8 of digits, white on black, with labels (count,) uint8.

    The first images do not depend on the count.

    Raises:
        ValueError: for a negative count.
    """
    if count < 0:
        raise ValueError(f"the number of images cannot be negative, got {count}")
    label_key, font_key, look_key, noise_key = random.split(key, 4)
    labels = random.randint(label_key, (count,), 0, len(CLASSES))
    fonts = random.randint(font_key, (count,), 0, len(_FONTS))
    look = random.uniform(look_key, (count, 7), -1.0, 1.0)
    images = np.empty((count, _SIDE, _SIDE), np.uint8)
    for block, start in enumerate(range(0, count, _BLOCK)):
        rows = slice(start, start + _BLOCK)
        ink = _ink(fonts[rows] * len(CLASSES) + labels[rows], look[rows])
        noise = random.uniform(random.fold_in(noise_key, block), ink.shape, -1.0, 1.0)
        ink += noise * (0.06 + 0.05 * look[rows, 6, None, None])
        images[rows] = np.clip(ink * 255.0, 0.0, 255.0)
    return Split(freeze(images), freeze(labels.astype(np.uint8)))


def glyphs_dataset(key: Key, train: int = 10_000, test: int = 2_000) -> Dataset:
    """``glyphs`` as a data set of ``train`` and ``test`` images."""
    train_key, test_key = random.split(key)
    return Dataset("glyphs", glyphs(train_key, train), glyphs(test_key, test), CLASSES)


def _ink(glyph: Integer[Array, "n"], look: Float[Array, "n 7"]) -> Float[Array, "n side side"]:
    """How much ink each pixel holds, 0 to 1 (times the contrast of the image)."""
    turn, size, aspect, shift_x, shift_y, stroke, contrast = (look[:, i, None, None] for i in range(7))
    t = 0.12 * turn  # +-14 degrees
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    per_pixel = 1 / (18 + 3 * size)  # glyph heights a pixel: glyphs of 15 to 21 pixels
    pixels = np.arange(_SIDE, dtype=np.float32) - (_SIDE - 1) / 2
    x = (pixels[None, None, :] - 2.5 * shift_x) * per_pixel * (1 + 0.15 * aspect)
    y = (pixels[None, :, None] - 2.5 * shift_y) * per_pixel
    to_grid = (_GRID - 1) / (2 * _REACH)
    column = (cos * x + sin * y + _REACH) * to_grid
    row = (cos * y - sin * x + _REACH) * to_grid
    distance = _interpolate(_fields(), glyph, row, column)
    ink = 0.5 + (0.025 * stroke - distance) / per_pixel
    return np.clip(ink, 0.0, 1.0) * (0.85 + 0.15 * contrast)


def _interpolate(
    fields: Float[Array, "glyphs grid grid"],
    glyph: Integer[Array, "n"],
    row: Float[Array, "n side side"],
    column: Float[Array, "n side side"],
) -> Float[Array, "n side side"]:
    """Each image's field at (row, column), linear between the four points around it."""
    row, column = np.clip(row, 0, _GRID - 1.001), np.clip(column, 0, _GRID - 1.001)
    top, left = row.astype(np.int32), column.astype(np.int32)
    down, right = row - top, column - left
    flat, at = fields.reshape(-1), (glyph[:, None, None] * _GRID + top) * _GRID + left
    above = flat.take(at) * (1 - right) + flat.take(at + 1) * right
    below = flat.take(at + _GRID) * (1 - right) + flat.take(at + _GRID + 1) * right
    return above * (1 - down) + below * down


@functools.cache
def _fields() -> Float[Array, "glyphs grid grid"]:
    """The signed distance to the outline, in glyph heights and negative inside, of every digit in every font."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return freeze(np.stack([_field(folder / f"{font}.ttf", digit) for font in _FONTS for digit in CLASSES]))


def _field(font: Path, text: str) -> Float[Array, "grid grid"]:
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as MplPath
    from matplotlib.textpath import TextPath

    outline = TextPath((0, 0), text, size=100, prop=FontProperties(fname=font))
    low, high = outline.vertices.min(axis=0), outline.vertices.max(axis=0)
    line = np.linspace(-_REACH, _REACH, _GRID)
    x, y = np.meshgrid(line, -line)  # rows of an image run downwards
    points = (low + high) / 2 + np.stack([x.ravel(), y.ravel()], axis=1) * (high[1] - low[1])
    contours = [MplPath(contour).contains_points(points) for contour in outline.to_polygons()]
    inside = np.logical_xor.reduce(contours).reshape(_GRID, _GRID)  # a contour within a contour is a hole
    return ((_distance(inside) - _distance(~inside)) * (line[1] - line[0])).astype(np.float32)


def _distance(mask: Array) -> Float[Array, "grid grid"]:
    """From every point to the edge of the mask, in grid steps, 0 within it.

    First along each column, then over the columns of each row: Felzenszwalb & Huttenlocher, "Distance transforms of
    sampled functions" (2012), eq. 3, with the minimum taken outright.
    """
    steps = np.arange(_GRID)
    between = (steps[:, None] - steps) ** 2
    along = np.where(mask[None, :, :], between[:, :, None], 4 * _GRID**2).min(axis=1)
    squared = (along[:, None, :] + between[None, :, :]).min(axis=2)
    return np.maximum(np.sqrt(squared) - 0.5, 0.0)
