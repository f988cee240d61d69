"""Augmentation: training examples changed at random, anew in each epoch.

An augmentation is a pure function of a key and of a batch of ``Examples``. The same key gives the same result. It is
applied after normalisation, to the floating-point images (batch, height, width, channels) or (batch, height, width)
that the network takes. So 0 is the mean of a channel, and 1 its deviation.

    examples = augment.compose(augment.flip(), augment.shift(4), augment.cutout(8))(key, examples)

The functions use the array's own namespace, as equations do. They move pixels by one gather, and they paint boxes by
one ``where``: no loop goes over images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import attrs

from funcnet import random
from funcnet.arrays import is_array, namespace, shielded
from funcnet.optimizers.arguments import not_negative, positive
from funcnet.random import Key, expect_key
from funcnet.shapes import Array, Float, Integer, Num, ShapeError, describe, expect_float, kind_of, whole_number
from funcnet.tree import Record, readonly_view
from funcnet.views import reflected

__all__ = [
    "Augmentation",
    "Examples",
    "alternating_flip",
    "brightness_contrast",
    "compose",
    "cutmix",
    "cutout",
    "expect_augmentation",
    "flip",
    "mixup",
    "random_erasing",
    "rotate",
    "shift",
]


@attrs.frozen(eq=False)
class Examples(Record):
    """A batch of training examples, and what an augmentation may know of them.

    Attributes:
        x: the examples, as the network takes them.
        y: their targets.
        rows: the place of each example in the training set.
        epoch: how many epochs were made before this one.
    """

    x: Float[Array, "batch ..."] = attrs.field(converter=readonly_view)
    y: Num[Array, "batch ..."] = attrs.field(converter=readonly_view)
    rows: Integer[Array, "batch"] = attrs.field(converter=readonly_view)
    epoch: int = 0


@attrs.frozen(repr=False, eq=False)
class Augmentation:
    """A pure function of a key and examples, and its name. Calling it checks what it is given and what it returns.

    Attributes:
        name: how settings of a run call it.
        function: ``(key, examples) -> examples``, with x of the same shape and dtype.
        images: whether it takes images alone.

    Raises:
        TypeError: for what is no function.
    """

    name: str
    function: Callable[[Any, Examples], Examples] = attrs.field(validator=attrs.validators.is_callable())
    images: bool = False

    @shielded
    def __call__(self, key: Key, examples: Examples) -> Examples:
        """The augmented examples. Those given stay as they are.

        Raises:
            TypeError: for what is no key, or where no ``Examples`` are given or returned.
            ShapeError: for x that is not floating-point or holds no images, or where the x returned is not like it.
        """
        if not is_array(key):  # a key of jax.random is an array
            expect_key(key)
        _expect_examples(self.name, "is given", examples)
        x = examples.x
        expect_float(self.name, "x", x)
        if self.images and x.ndim not in (3, 4):
            wanted = "images of shape (batch, height, width, channels) or (batch, height, width)"
            raise ShapeError(self.name, wanted, describe(x.shape))
        made = self.function(key, examples)
        _expect_examples(self.name, "returns", made)
        if made.x.shape != x.shape or made.x.dtype != x.dtype or made.y.shape[:1] != x.shape[:1]:
            given = f"{made.x.dtype} of shape {describe(made.x.shape)}, and y of shape {describe(made.y.shape)}"
            raise ShapeError(self.name, f"to return x of {x.dtype} and shape {describe(x.shape)}, as given", given)
        return made

    def __repr__(self) -> str:
        return self.name


def _expect_examples(name: str, what: str, examples: object) -> None:
    if not isinstance(examples, Examples):
        raise TypeError(f"{name} {what} {kind_of(examples)}, where Examples(x, y, rows) are expected")


def expect_augmentation(augment: object) -> None:
    """Require an augmentation, or None.

    Raises:
        TypeError: for anything else, saying how one is made.
    """
    if not isinstance(augment, Augmentation | None):
        raise TypeError(f"an augmentation is made by a call, such as data.augment.flip(); got {augment!r:.80}")


def compose(*parts: Augmentation) -> Augmentation:
    """One augmentation after the other. The part at place i gets the key ``fold_in(key, i)``.

    Raises:
        ValueError: for no parts.
        TypeError: for what is no augmentation.
    """
    if not parts:
        raise ValueError("compose needs at least one augmentation")
    for part in parts:
        if part is None:
            raise TypeError("compose takes augmentations, got None")
        expect_augmentation(part)
    return Augmentation(", ".join(map(str, parts)), partial(_composed, parts))


def _composed(parts: tuple[Augmentation, ...], key: Any, examples: Examples) -> Examples:
    for place, part in enumerate(parts):
        examples = part(random.fold_in(key, place), examples)
    return examples


# --- mirror images


def flip(probability: float = 0.5) -> Augmentation:
    """Mirrors each image about its vertical axis with this probability.

    Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks" (NeurIPS 2012),
    section 4.1.

    Raises:
        ValueError: for a probability outside [0, 1].
    """
    probability = _share("the probability of a flip", probability)
    return Augmentation(f"flip({probability:g})", partial(_flip, probability), images=True)


def _flip(probability: float, key: Any, examples: Examples) -> Examples:
    return attrs.evolve(examples, x=_mirrored(examples.x, _draws(key, examples.x) < probability))


def alternating_flip(seed: int = 0) -> Augmentation:
    """Mirrors an image in every other epoch: one half of the images in even epochs, the others in odd ones.

    Two epochs in a row show each image both ways, where independent flips show a half of them one way twice. Jordan,
    "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024, arXiv:2404.00498), section 3.6.

    Which half an image is in is a random bit of its own, a hash of its row and ``seed``. The key is not used.

    Raises:
        ValueError: for a seed that is no whole number, negative, or needs more than 64 bits.
    """
    word = random.make_key(seed).low % 2**32
    name = f"alternating_flip({seed or ''})"
    return Augmentation(name, partial(_alternating_flip, word), images=True)


def _alternating_flip(word: int, key: Any, examples: Examples) -> Examples:
    turn = (_bits(word, examples.rows) + examples.epoch) % 2
    return attrs.evolve(examples, x=_mirrored(examples.x, turn == 1))


def _bits(word: Any, rows: Integer[Array, "batch"]) -> Integer[Array, "batch"]:
    """A random bit for each row: the lowest one of its hash by the last part of MurmurHash3 (Appleby 2011)."""
    xp = namespace(rows)
    word, one, other = (xp.asarray(number, dtype=xp.uint32) for number in (word, 0x85EBCA6B, 0xC2B2AE35))
    h = xp.astype(rows, xp.uint32) ^ word
    h = (h ^ (h >> 16)) * one
    h = (h ^ (h >> 13)) * other
    return xp.astype((h ^ (h >> 16)) & 1, xp.arange(1).dtype)


def _mirrored(x: Float[Array, "batch height width ..."], chosen: Array) -> Float[Array, "batch height width ..."]:
    """The images, with the chosen ones mirrored."""
    xp = namespace(x)
    rows, columns = xp.arange(x.shape[1])[None, :, None], xp.arange(x.shape[2])[None, None, :]
    return _gathered(x, rows, xp.where(chosen[:, None, None], x.shape[2] - 1 - columns, columns))


# --- moved images


def shift(pixels: int, padding: Literal["zero", "reflect"] = "zero") -> Augmentation:
    """Moves each image by whole numbers from -pixels to pixels, drawn for each axis. This is padding and cropping.

    What comes in from outside is 0, or the image reflected about its border. Padding by 0: He, Zhang, Ren & Sun, "Deep
    residual learning" (CVPR 2016), section 4.2. The images are normalised, so their 0 is the mean of a channel; they
    pad with black where raw images are padded. Reflected: Jordan (2024, arXiv:2404.00498), section 3.1.

    Raises:
        ValueError: for pixels that are no whole number from 1 up, or another padding.
    """
    pixels = whole_number("the pixels of a shift", pixels, 1)
    if padding not in ("zero", "reflect"):
        raise ValueError(f"the padding of a shift is zero or reflect, got {padding!r}")
    name = f"shift({pixels}{', reflect' if padding == 'reflect' else ''})"
    return Augmentation(name, partial(_shift, pixels, padding), images=True)


def _shift(pixels: int, padding: str, key: Any, examples: Examples) -> Examples:
    x = examples.x
    xp, (height, width) = namespace(x), x.shape[1:3]
    down, right = (_whole(random.fold_in(key, place), x, 2 * pixels + 1) - pixels for place in range(2))
    rows = xp.arange(height)[None, :, None] + down[:, None, None]
    columns = xp.arange(width)[None, None, :] + right[:, None, None]
    if padding == "zero":
        return attrs.evolve(examples, x=_gathered_or_zero(x, rows, columns))
    return attrs.evolve(examples, x=_gathered(x, reflected(rows, height), reflected(columns, width)))


def rotate(degrees: float) -> Augmentation:
    """Turns each image about its centre by an angle drawn from -degrees to degrees, with bilinear interpolation.

    What comes in from outside is 0. Simard, Steinkraus & Platt, "Best practices for convolutional neural networks
    applied to visual document analysis" (ICDAR 2003), section 2. The angle's cosine is that of the machine, so its
    last bit may differ between machines.

    Raises:
        ValueError: for degrees that are not positive, or above 180.
    """
    degrees = positive("the largest angle of a rotation", degrees)
    if degrees > 180:
        raise ValueError(f"the largest angle of a rotation is at most 180 degrees, got {degrees:g}")
    return Augmentation(f"rotate({degrees:g})", partial(_rotate, math.radians(degrees)), images=True)


def _rotate(largest: float, key: Any, examples: Examples) -> Examples:
    x = examples.x
    xp, (height, width) = namespace(x), x.shape[1:3]
    angle = (2 * largest) * (_draws(key, x) - 0.5)
    cosine, sine = (function(angle)[:, None, None] for function in (xp.cos, xp.sin))
    i, j = (xp.astype(xp.arange(length), x.dtype) - (length - 1) / 2 for length in (height, width))
    i, j = i[None, :, None], j[None, None, :]
    row = cosine * i + sine * j + (height - 1) / 2  # where each pixel comes from
    column = cosine * j - sine * i + (width - 1) / 2
    above, left = xp.floor(row), xp.floor(column)
    down, right = (xp.reshape(part, (*part.shape, *(1 for _ in x.shape[3:]))) for part in (row - above, column - left))
    above, left = (xp.astype(place, xp.arange(1).dtype) for place in (above, left))
    lines, columns = [_lines(x, above + step) for step in (0, 1)], [_columns(x, left + step) for step in (0, 1)]
    pixels = _pixels_and_zero(x)

    def between_columns(line: Array) -> Array:
        one, other = (_taken(x, pixels, line, column) for column in columns)
        return one + right * (other - one)

    upper, lower = (between_columns(line) for line in lines)
    return attrs.evolve(examples, x=upper + down * (lower - upper))


# --- boxes painted over


def cutout(size: int) -> Augmentation:
    """Sets a square of ``size`` pixels a side to 0, the mean of the normalised images.

    The centre of the square is drawn from all pixels. So a part of it may lie outside. DeVries & Taylor, "Improved
    regularization of convolutional neural networks with cutout" (2017, arXiv:1708.04552), section 3.2.

    Raises:
        ValueError: for a size that is no whole number from 1 up.
    """
    size = whole_number("the size of a cutout", size, 1)
    return Augmentation(f"cutout({size})", partial(_cutout, size), images=True)


def _cutout(size: int, key: Any, examples: Examples) -> Examples:
    x = examples.x
    ends = []
    for place, length in enumerate(x.shape[1:3]):
        low = _whole(random.fold_in(key, place), x, length) - size // 2
        ends.append((low, low + size))
    return attrs.evolve(examples, x=_painted(x, ends, namespace(x).zeros_like(x[:1, ...])))


def random_erasing(
    probability: float = 0.5, area: tuple[float, float] = (0.02, 0.4), aspect: float = 0.3
) -> Augmentation:
    """Paints noise over a random rectangle of an image, with this probability.

    The rectangle has a share of the image's area drawn from ``area``, and height / width drawn from aspect to
    1 / aspect. Zhong, Zheng, Kang, Li & Yang, "Random erasing data augmentation" (AAAI 2020), algorithm 1. Where the
    paper draws again until the rectangle fits, one that is too high or too wide is cut to the image here.

    The noise is uniform with mean 0 and deviation 1, as the normalised images. It is drawn once for a batch: each
    image shows another part of it.

    Raises:
        ValueError: for a probability or shares outside [0, 1], shares that are not from low to high, or an aspect
            outside (0, 1].
    """
    probability = _share("the probability of an erasing", probability)
    low, high = (_share("a share of the area", share) for share in area)
    if low > high:
        raise ValueError(f"the shares of the area go from low to high, got {area}")
    if not 0 < aspect <= 1:
        raise ValueError(f"the aspect of a rectangle lies in (0, 1], got {aspect}")
    name = f"random_erasing({probability:g}, ({low:g}, {high:g}), {aspect:g})"
    return Augmentation(name, partial(_random_erasing, probability, low, high, float(aspect)), images=True)


def _random_erasing(
    probability: float, low: float, high: float, aspect: float, key: Any, examples: Examples
) -> Examples:
    x = examples.x
    xp, (height, width) = namespace(x), x.shape[1:3]
    chosen, share, ratio, down, right = (_draws(random.fold_in(key, place), x) for place in range(5))
    pixels = (low + (high - low) * share) * (height * width)
    ratio = aspect + (1 / aspect - aspect) * ratio
    ends = []
    for length, side, place in (
        (height, xp.sqrt(pixels * ratio), down),
        (width, xp.sqrt(pixels / ratio), right),
    ):
        side = xp.where(chosen < probability, xp.clip(xp.round(side), 1, length), xp.zeros_like(side))
        begin = xp.floor(place * (length - side + 1))
        begin = xp.where(begin + side > length, length - side, begin)  # rounding
        ends.append((begin, begin + side))
    end = math.sqrt(3)
    noise = random.uniform(random.fold_in(key, 5), (1, *x.shape[1:]), -end, end, like=x)
    return attrs.evolve(examples, x=_painted(x, ends, noise))


# --- mixed examples, with mixed targets


def mixup(alpha: float, *, classes: int) -> Augmentation:
    """Mixes each example with its neighbour in the batch, and their targets in the same shares.

        x = s x_1 + (1 - s) x_2,   y = s y_1 + (1 - s) y_2,   s from Beta(alpha, alpha)

    Zhang, Cisse, Dauphin & Lopez-Paz, "mixup: beyond empirical risk minimization" (ICLR 2018), section 2. A share is
    drawn for each pair. The neighbour of the last example is the first. Batches are shuffled, so a neighbour is a
    random example.

    Labels become shares (batch, classes) in the dtype of x, which ``softmax_cross_entropy`` takes. A prediction of
    mixed labels counts as right if it names the class of the largest share. Floating-point targets are mixed as they
    are. The weight of an example stays that of its row.

    Raises:
        ValueError: for an alpha that is not positive, or classes that are no whole number from 1 up.
    """
    alpha = positive("the alpha of mixup", alpha)
    classes = whole_number("the number of classes", classes, 1)
    return Augmentation(f"mixup({alpha:g})", partial(_mixup, alpha, classes))


def _mixup(alpha: float, classes: int, key: Any, examples: Examples) -> Examples:
    share = _symmetric_beta(alpha, key, examples.x)
    return attrs.evolve(
        examples, x=_mixed(share, examples.x), y=_mixed(share, _as_shares(examples.y, classes, examples.x))
    )


def cutmix(alpha: float = 1.0, *, classes: int) -> Augmentation:
    """Pastes a box of the neighbour in the batch into each image. The targets are mixed by the shares of the area.

    The box has a share 1 - s of the image's area and the image's proportions, with s from Beta(alpha, alpha). Its
    centre is drawn from all pixels, and what lies outside is cut off. The shares of the targets are those of the
    pixels. Yun, Han, Oh, Chun, Choe & Yoo, "CutMix: regularization strategy to train strong classifiers with
    localizable features" (ICCV 2019), section 3.1 and algorithm A1. A box is drawn for each pair.

    Neighbours and targets are those of ``mixup``.

    Raises:
        ValueError: for an alpha that is not positive, or classes that are no whole number from 1 up.
    """
    alpha = positive("the alpha of cutmix", alpha)
    classes = whole_number("the number of classes", classes, 1)
    return Augmentation(f"cutmix({alpha:g})", partial(_cutmix, alpha, classes), images=True)


def _cutmix(alpha: float, classes: int, key: Any, examples: Examples) -> Examples:
    x = examples.x
    xp = namespace(x)
    side = xp.sqrt(1 - _symmetric_beta(alpha, random.fold_in(key, 0), x))
    ends = []
    for place, length in enumerate(x.shape[1:3]):
        pixels = xp.floor(side * length)
        centre = xp.astype(_whole(random.fold_in(key, 1 + place), x, length), x.dtype)
        low = xp.clip(centre - xp.floor(pixels / 2), 0, length)
        ends.append((low, xp.clip(low + pixels, 0, length)))
    (top, bottom), (left, right) = ends
    share = 1 - (bottom - top) * (right - left) / math.prod(x.shape[1:3])
    return attrs.evolve(
        examples,
        x=_painted(x, ends, xp.roll(x, -1, axis=0)),
        y=_mixed(share, _as_shares(examples.y, classes, x)),
    )


def _as_shares(y: Num[Array, "batch ..."], classes: int, x: Array) -> Array:
    """Labels as rows of shares, one of them 1. Other targets as they are."""
    xp = namespace(y)
    if not xp.isdtype(y.dtype, "integral"):
        return y
    places = xp.arange(classes)
    return xp.astype(xp.astype(y, places.dtype)[..., None] == places, x.dtype)


def _mixed(share: Float[Array, "batch"], array: Num[Array, "batch ..."]) -> Array:
    """Each entry, and the next one, in these shares."""
    xp = namespace(array)
    rows = xp.reshape(array, (array.shape[0], math.prod(array.shape[1:])))
    share = xp.astype(share, array.dtype)[:, None]
    return xp.reshape(share * rows + (1 - share) * xp.roll(rows, -1, axis=0), array.shape)


def _symmetric_beta(alpha: float, key: Any, x: Array) -> Float[Array, "batch"]:
    """Numbers from Beta(alpha, alpha), from two uniform numbers each.

        T = sqrt(2 alpha (U^(-1/alpha) - 1)) cos(2 pi V)    has Student's distribution of 2 alpha degrees of freedom
        B = (1 + T / sqrt(2 alpha + T^2)) / 2

    T: Bailey, "Polar generation of random variates with the t-distribution" (Mathematics of Computation 62, 1994).
    B: Devroye, Non-Uniform Random Variate Generation (1986), chapter IX. Power and cosine are those of the machine, so
    the last bit may differ between machines.
    """
    xp = namespace(x)
    u, v = (_draws(random.fold_in(key, place), x) for place in range(2))
    power, cosine = u ** (1 / alpha), xp.cos((2 * math.pi) * v)
    # T / sqrt(2 alpha + T^2), with both sides of the fraction times U^(1 / alpha). The power may underflow to 0.
    below = power + (1 - power) * cosine * cosine
    ratio = xp.sqrt(1 - power) * cosine / xp.sqrt(xp.where(below > 0, below, xp.ones_like(below)))
    return xp.clip(0.5 + 0.5 * ratio, 0, 1)


# --- colours


def brightness_contrast(brightness: float = 0.2, contrast: float = 0.2) -> Augmentation:
    """Scales the differences from an image's mean by a factor from 1 - contrast to 1 + contrast, and adds a number.

    The number is drawn from -brightness to brightness. Its unit is the deviation of the normalised images. Howard,
    "Some improvements on deep convolutional neural network based image classification" (2013, arXiv:1312.5402),
    section 2.2.

    Raises:
        ValueError: for a brightness that is negative, or a contrast outside [0, 1].
    """
    brightness, contrast = not_negative("the brightness", brightness), _share("the contrast", contrast)
    name = f"brightness_contrast({brightness:g}, {contrast:g})"
    return Augmentation(name, partial(_brightness_contrast, brightness, contrast), images=True)


def _brightness_contrast(brightness: float, contrast: float, key: Any, examples: Examples) -> Examples:
    x = examples.x
    xp = namespace(x)
    images = xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    factor, more = (2 * _draws(random.fold_in(key, place), x)[:, None] - 1 for place in range(2))
    factor = 1 + contrast * factor
    made = factor * images + ((1 - factor) * xp.mean(images, axis=1, keepdims=True) + brightness * more)
    return attrs.evolve(examples, x=xp.reshape(made, x.shape))


# --- what they have in common


def _share(what: str, value: float) -> float:
    if isinstance(value, str | None) or not 0 <= value <= 1:
        raise ValueError(f"{what} lies in [0, 1], got {value!r}")
    return float(value)


def _draws(key: Any, x: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
    """A number from [0, 1) for each example."""
    return random.uniform(key, (x.shape[0],), like=x)


def _whole(key: Any, x: Float[Array, "batch ..."], count: int) -> Integer[Array, "batch"]:
    """A whole number from 0 to count - 1 for each example."""
    xp = namespace(x)
    places = xp.astype(xp.floor(_draws(key, x) * count), xp.arange(1).dtype)
    return xp.where(places < count, places, count - 1)  # a product may be rounded up


# A pixel is found in two steps: its line among the lines of all images, and its column. Rows and columns are arrays of
# axes (batch, height, width), with 1 in place of a length where all is the same.


def _gathered(x: Float[Array, "batch height width ..."], rows: Array, columns: Array) -> Array:
    """The images of the pixels at these places."""
    xp = namespace(x)
    return _taken(x, _pixels(x), xp.arange(x.shape[0])[:, None, None] * x.shape[1] + rows, columns)


def _gathered_or_zero(x: Float[Array, "batch height width ..."], rows: Array, columns: Array) -> Array:
    """The same, with 0 for places outside the image."""
    return _taken(x, _pixels_and_zero(x), _lines(x, rows), _columns(x, columns))


def _taken(x: Array, pixels: Array, lines: Array, columns: Array) -> Array:
    """The pixels at these places, in the shape of x. A place beyond the last pixel is that of the last one."""
    xp = namespace(x)
    places = xp.minimum(lines * x.shape[2] + columns, pixels.shape[0] - 1)
    return xp.reshape(xp.take(pixels, xp.reshape(places, (-1,)), axis=0), x.shape)


def _pixels(x: Array) -> Array:
    """The pixels of all images: one axis for the batch, height and width."""
    return namespace(x).reshape(x, (math.prod(x.shape[:3]), *x.shape[3:]))


def _pixels_and_zero(x: Array) -> Array:
    """The pixels of all images, and one more, a 0."""
    xp, pixels = namespace(x), _pixels(x)
    return xp.concat([pixels, xp.zeros_like(pixels[:1, ...])], axis=0)


def _lines(x: Array, rows: Array) -> Array:
    """The lines of these rows. Rows outside the image are beyond the last line."""
    xp, (n, height) = namespace(x), x.shape[:2]
    return xp.where(_within(rows, 0, height), xp.arange(n)[:, None, None] * height + rows, n * height)


def _columns(x: Array, columns: Array) -> Array:
    """The columns. Those outside the image are beyond the last pixel."""
    return namespace(x).where(_within(columns, 0, x.shape[2]), columns, math.prod(x.shape[:3]))


def _within(places: Array, low: Any, high: Any) -> Array:
    """Which places lie from ``low`` to before ``high``."""
    return namespace(places).logical_and(places >= low, places < high)


def _painted(
    x: Float[Array, "batch height width ..."],
    box: Sequence[tuple[Array, Array]],
    paint: Float[Array, "_ height width ..."],
) -> Float[Array, "batch height width ..."]:
    """The images, with ``paint`` in the box: from the first row to before the second, and so for the columns."""
    xp, (height, width) = namespace(x), x.shape[1:3]
    channels = math.prod(x.shape[3:])

    def within(ends: Any, length: int, times: int) -> Array:
        low, high = (end[:, None] for end in ends)
        return _within(xp.astype(xp.arange(length * times)[None, :] // times, low.dtype), low, high)

    rows, columns = within(box[0], height, 1), within(box[1], width, channels)
    # Width and channels are one axis here: loops along the channels alone take twice as long.
    inside = xp.logical_and(rows[:, :, None], columns[:, None, :])
    new, old = (xp.reshape(images, (images.shape[0], height, width * channels)) for images in (paint, x))
    return xp.reshape(xp.where(inside, new, old), x.shape)
