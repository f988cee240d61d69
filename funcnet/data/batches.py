"""From a split to batches: shuffled by key, gathered, normalised a batch at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import attrs
import numpy as np

from funcnet import random
from funcnet.arrays import shielded
from funcnet.data.augment import Augmentation, Examples, expect_augmentation
from funcnet.data.buffer_pool import buffer_pool
from funcnet.data.dataset import Split, rows_of
from funcnet.data.mapped import mapped_rows, read_in_order
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, UInt8, describe, expect, whole_number
from funcnet.step import Batch
from funcnet.tree import Record, array_field, freeze

__all__ = ["Normalization", "batch_count", "batches", "normalization"]

# Augmentations draw from the children of this child of an epoch's key, by the numbers of the batches.
_AUGMENTATIONS = 2**32 - 1
_FEW = 4  # channels: grey, with transparency, red green blue, both


@attrs.frozen
class Normalization(Record):
    """x -> x scale + shift, from uint8 to float32.

    Scale and shift have the shape of one example, so that NumPy's loops run along whole examples, not along channels.
    They may be one number, broadcast to that shape: applying it takes less than half the time.
    """

    scale: Float[Array, "..."] = array_field()
    shift: Float[Array, "..."] = array_field()

    @shielded
    def __call__(
        self, x: UInt8[Array, "batch ..."], y: Float[Array, "batch ..."] | None = None
    ) -> Float[Array, "batch ..."]:
        """The normalised images, in a new array or in ``y``, which must be writable."""
        expect("normalization", "x", x, ("batch", *self.scale.shape), np.dtype(np.uint8))
        y = np.empty(x.shape, np.float32) if y is None else y
        expect("normalization", "y", y, x.shape, np.dtype(np.float32))
        y[...] = x  # converted first: NumPy computes products of mixed dtypes in small buffers
        y *= self.scale
        y += self.shift
        return y


def normalization(x: UInt8[Array, "n ..."]) -> Normalization:
    """The normalization that gives the images ``x`` mean 0 and deviation 1, over all images and pixels of a channel.

    Images of shape (n, height, width, channels) have a mean and deviation for every channel, others one of each. The
    statistics are exact: they are computed from the count of each of the 256 values. A channel of one value is only
    shifted.

    If the shape does not tell whether the channels are the last axis, they are taken to be, with a warning.

    Raises:
        ShapeError: for another dtype, no images, or images whose channels are the first axis, by their shape.
    """
    if x.dtype != np.uint8 or x.size == 0:
        raise ShapeError("normalization", "uint8 images, at least one", f"{x.dtype} of shape {describe(x.shape)}")
    if x.ndim == 4:
        _expect_channels_last(x.shape)
    channels = x.shape[3] if x.ndim == 4 else 1
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(x), 1024):  # in blocks, so that a mapped file and bincount's copy need not fit in memory
        block = x[start : start + 1024].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(block[:, channel], minlength=256)
    values = np.arange(256)
    per_channel = counts[0].sum()
    mean = counts @ values / per_channel
    deviation = np.sqrt(counts @ values**2 / per_channel - mean**2)
    scale = 1 / np.where(deviation > 0, deviation, 1)

    def of_an_example(of_channels: Array) -> Array:
        numbers = of_channels if channels > 1 else of_channels[0]
        whole = np.broadcast_to(freeze(np.array(numbers, np.float32)), x.shape[1:])
        return whole if channels == 1 else freeze(whole.copy())

    return Normalization(of_an_example(scale), of_an_example(-mean * scale))


def _expect_channels_last(shape: Shape) -> None:
    """Images have few channels, 1 to 4, and are often square. So the shape tells in most cases which axis they are."""
    _, first, middle, last = shape
    expected = "images of shape (n, height, width, channels)"
    if first <= _FEW < last or (first != middle == last > _FEW):
        given = f"shape {describe(shape)} (channels first? x.transpose(0, 2, 3, 1) puts them last)"
        raise ShapeError("normalization", expected, given)
    if (last <= _FEW and first > _FEW) or first == last == 1 or (first == middle != last):
        return
    warnings.warn(
        f"normalization: {describe(shape)} is taken for {expected}: {first} x {middle} pixels of {last} channels."
        " If the channels are the first axis, x.transpose(0, 2, 3, 1) puts them last",
        stacklevel=3,
    )


def batch_count(split: Split, size: int) -> int:
    """The number of batches of ``size`` in the split. The last one counts too, though it may be smaller.

    Raises:
        ValueError: for a size below 1.
    """
    return -(-len(split) // whole_number("the size of a batch", size, 1))


def batches(
    split: Split,
    size: int,
    *,
    normalize: Normalization | None = None,
    key: Key | None = None,
    start: int = 0,
    augment: Augmentation | None = None,
    epoch: int = 0,
) -> Iterator[Batch]:
    """The split as batches of ``size`` (the last may be smaller), each example once, from batch ``start`` on.

    In the split's own order, or shuffled by ``key``. ``normalize`` turns the gathered rows into float32; without it
    the rows are returned as they are. If shuffled examples lie in a mapped file, the system is asked for the rows of
    the next batch while a batch is in use.

    ``augment`` changes each batch after that, in the epoch of this number, from 0. What it draws depends on ``key`` and
    on the number of the batch. The order of the examples does not depend on it.

    Raises:
        ValueError: for a size below 1, a start or an epoch below 0, or an augmentation without a key.
        TypeError: for what is no augmentation.
    """
    size, epoch = whole_number("the size of a batch", size, 1), whole_number("the number of an epoch", epoch, 0)
    expect_augmentation(augment)
    start = whole_number("the first batch", start, 0)
    made = _batches(split, size, normalize, key, size * start)  # checked at once
    if augment is None:
        return made
    if key is None:
        raise ValueError("an augmentation draws random numbers, so batches(..., augment=...) needs a key")
    return _augmented(made, augment, len(split), size, key, start, epoch)


def _batches(split: Split, size: int, normalize: Normalization | None, key: Key | None, start: int) -> Iterator[Batch]:
    new = buffer_pool((min(size, len(split)), *split.in_shape), np.dtype(np.float32))
    for x, y, weight in _in_order(split, size, start) if key is None else _shuffled(split, size, key, start):
        yield Batch(x if normalize is None else normalize(x, new()[: len(x)]), y, weight)


def _augmented(
    made: Iterator[Batch], augment: Augmentation, examples: int, size: int, key: Key, start: int, epoch: int
) -> Iterator[Batch]:
    order, draws = random.permutation(key, examples), random.fold_in(key, _AUGMENTATIONS)
    for number, batch in enumerate(made, start):
        rows = order[size * number : size * (number + 1)]
        changed = augment(random.fold_in(draws, number), Examples(batch.x, batch.y, rows, epoch))
        yield attrs.evolve(batch, x=changed.x, y=changed.y)


def _in_order(split: Split, size: int, start: int) -> Iterator[tuple[Array, Array, Array | None]]:
    read_in_order(split.x)
    for begin in range(start, len(split), size):
        rows = slice(begin, begin + size)
        yield split.x[rows], split.y[rows], None if split.weight is None else split.weight[rows]


def _shuffled(split: Split, size: int, key: Key, start: int) -> Iterator[tuple[Array, Array, Array | None]]:
    order = random.permutation(key, len(split))
    with mapped_rows(split.x) as mapped:
        if mapped is not None:
            mapped.ask(order[start : start + size])
        for begin in range(start, len(split), size):
            rows = order[begin : begin + size]
            if mapped is not None:
                mapped.ask(order[begin + size : begin + 2 * size])
            x = rows_of(split.x, rows) if mapped is None else mapped.take(rows)
            yield x, rows_of(split.y, rows), None if split.weight is None else rows_of(split.weight, rows)
