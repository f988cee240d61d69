"""Data sets as values: examples with their targets, in parts for training, validation and testing, and class names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from funcnet import random
from funcnet.arrays import is_array
from funcnet.random import Key
from funcnet.shapes import Array, Float, Integer, Num, Shape, ShapeError, is_plain, kind_of, whole_number
from funcnet.tree import Record, readonly_view

__all__ = ["DataError", "Dataset", "Split", "examples_as_bytes", "hold_out", "rows_of"]


class DataError(Exception):
    """A file or folder does not hold the data it should. The message says which, what was expected and found."""


def _numbers(name: str, array: Array) -> Array:
    """A read-only view of an array of numbers, with an axis of examples."""
    if not (is_array(array) and is_plain(array)):
        raise TypeError(f"{name} is an array of NumPy, got {kind_of(array)}: np.asarray({name}) makes one")
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biufc":
        hint = (
            f"np.unique({name}, return_inverse=True)[1] are numbers for them, in the order of the alphabet"
            if array.dtype.kind in "US"
            else f"{name}.astype(np.float32) makes such, if they are all numbers"
        )
        raise DataError(f"expected {name} of numbers, got dtype {array.dtype}: {hint}")
    if not array.shape:
        raise DataError(f"expected {name} of shape (n, ...), one entry for each example, got shape ()")
    return readonly_view(array)


def _x(array: Array) -> Array:
    return _numbers("x", array)


def _y(array: Array) -> Array:
    return _numbers("y", array)


def _agree(split: Split, attribute: attrs.Attribute[Array], y: Array) -> None:
    if len(split.x) != len(y):
        raise DataError(f"there are {len(split.x)} examples but {len(y)} targets")


def _weight(array: Array | None) -> Array | None:
    return None if array is None else _numbers("weight", array)


def _one_an_example(split: Split, attribute: attrs.Attribute[Array | None], weight: Array | None) -> None:
    if weight is None:
        return
    if weight.shape != (len(split.x),):
        raise DataError(f"expected weights of shape ({len(split.x)},), one for each example, got shape {weight.shape}")
    if weight.dtype.kind != "f":
        raise DataError(f"expected weights of floating-point numbers, got {weight.dtype}: weight.astype(np.float32)")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise DataError(
            f"expected weights that are finite and not negative, found {weight.min():g} to {weight.max():g}"
        )


@attrs.frozen(eq=False)
class Split(Record):
    """Examples ``x`` (n, ...) and their targets ``y`` (n, ...): labels or shares of classes, or numbers to predict.

    Images are uint8 as they were read, channels last, and become floating-point batch by batch. The arrays may be
    views of a memory-mapped file. ``weight`` (n,) says how much each example counts in losses and accuracies: it is
    finite and not negative, in the dtype of the network. None stands for the same weight everywhere.

    Raises:
        DataError: where x, y and weight differ in length, or hold something other than such numbers.
        TypeError: for anything but arrays.
    """

    x: Num[Array, "n ..."] = attrs.field(converter=_x)
    y: Num[Array, "n ..."] = attrs.field(converter=_y, validator=_agree)
    weight: Float[Array, "n"] | None = attrs.field(default=None, converter=_weight, validator=_one_an_example)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def in_shape(self) -> Shape:
        """The shape of one example, which a network's init starts from."""
        return self.x.shape[1:]

    def take(self, rows: Integer[Array, "rows"]) -> Split:
        """The examples at ``rows``, in that order, copied.

        Raises:
            ShapeError: where rows are no whole numbers (of a mask, np.flatnonzero makes them).
        """
        if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu":
            given = str(rows.dtype) if isinstance(rows, np.ndarray) else f"a {type(rows).__name__}"
            raise ShapeError("take", "an array of rows of an integer dtype (for a mask: np.flatnonzero(mask))", given)
        weight = None if self.weight is None else rows_of(self.weight, rows)
        return Split(rows_of(self.x, rows), rows_of(self.y, rows), weight)

    def __repr__(self) -> str:
        return f"Split({len(self)} x {self.in_shape} {self.x.dtype})"


def _names(classes: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise TypeError(f"classes are the names of the classes, such as ('cat', 'dog'), got {classes!r:.40}")
    return tuple(classes)


def _is_split(dataset: Dataset, attribute: attrs.Attribute[Split], part: Split) -> None:
    if not isinstance(part, Split):
        raise TypeError(f"{attribute.name} is a Split, got {kind_of(part)}: Split(x, y) makes one")


def _alike(dataset: Dataset, attribute: attrs.Attribute[Split], part: Split) -> None:
    train, name = dataset.train, "testing" if attribute.name == "test" else attribute.name
    if (part.in_shape, part.x.dtype) != (train.in_shape, train.x.dtype):
        raise DataError(
            f"{dataset.name}: expected {name} examples like those for training, {train.x.dtype} of shape "
            f"{train.in_shape}, found {part.x.dtype} of shape {part.in_shape}"
        )


def _is_split_or_none(dataset: Dataset, attribute: attrs.Attribute[Any], part: Split | None) -> None:
    if part is not None:
        _is_split(dataset, attribute, part)
        _alike(dataset, attribute, part)


@attrs.frozen(eq=False)
class Dataset:
    """A training and a testing part, and the names of the classes in the order of their labels.

    ``validation`` is a part to choose by: a rate, a width, the epoch to stop after. So the testing part still tells how
    the network does on examples that nothing was chosen by. ``hold_out`` makes one of training examples.

    ``description`` says in a few words what the examples are, and ``origin`` where they come from. Reports show both.

    Raises:
        DataError: where the examples of the parts differ in shape or dtype.
        TypeError: for parts that are no ``Split``.
    """

    name: str
    train: Split = attrs.field(validator=_is_split)
    test: Split = attrs.field(validator=(_is_split, _alike))
    classes: tuple[str, ...] = attrs.field(converter=_names)
    description: str = attrs.field(default="", kw_only=True)
    origin: str = attrs.field(default="", kw_only=True)
    validation: Split | None = attrs.field(default=None, kw_only=True, validator=_is_split_or_none)

    @property
    def parts(self) -> tuple[tuple[str, Split], ...]:
        """The parts that there are, by the names that messages and reports use."""
        validation = () if self.validation is None else (("validation", self.validation),)
        return ("training", self.train), *validation, ("testing", self.test)


def hold_out(dataset: Dataset, count: int, key: Key) -> Dataset:
    """The data set with ``count`` of its training examples as its validation part. The testing part stays as it is.

    Examples are drawn class by class, so that each class keeps its share in both parts, to within one example. At least
    one example of each class stays for training. Where the targets are no labels, or there are more different ones than
    examples left for training, the examples are drawn without regard for them. Both parts keep their order.

    Raises:
        ValueError: where count leaves no examples on one side, or the data set has a validation part already.
    """
    examples = len(dataset.train)
    if dataset.validation is not None:
        raise ValueError(f"{dataset.name} has a validation part already, of {len(dataset.validation)} examples")
    if not 0 < whole_number("the number of examples to hold out", count, 0) < examples:
        raise ValueError(f"can hold out 1 to {examples - 1} of {examples} examples, not {count}")
    order, held = random.permutation(key, examples), np.zeros(examples, bool)
    _, labels, sizes = np.unique(_labels(dataset.train), return_inverse=True, return_counts=True)
    if len(sizes) > examples - count:
        labels, sizes = np.zeros(examples, int), np.array([examples])
    for label, number in enumerate(_shares(sizes.tolist(), count)):
        held[order[labels[order] == label][:number]] = True
    origin = f"{count:,} of the training examples of {dataset.name} were held out at random for validation"
    return attrs.evolve(
        dataset,
        train=dataset.train.take(np.flatnonzero(~held)),
        validation=dataset.train.take(np.flatnonzero(held)),
        origin=f"{dataset.origin.rstrip('.')}; {origin}" if dataset.origin else origin,
    )


def _labels(split: Split) -> Integer[Array, "n"]:
    """The labels; the same for all examples where the targets are none."""
    return split.y if split.y.ndim == 1 and split.y.dtype.kind in "iu" else np.zeros(len(split), int)


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """``count`` shared out in proportion to sizes, by largest remainders, so that at least 1 of each size is left."""
    examples = sum(sizes)
    shares = [count * size // examples for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda k: -(count * sizes[k] % examples))
    while rest := count - sum(shares):
        for k in [k for k in by_remainder if shares[k] < sizes[k] - 1][:rest]:
            shares[k] += 1
    return shares


def rows_of(array: Num[Array, "n ..."], rows: Integer[Array, "rows"]) -> Num[Array, "rows ..."]:
    """The rows of an array, in that order, copied."""
    # take() is about twice as fast as an index, but copies a whole array first where it is not contiguous.
    return array.take(rows, axis=0) if array.flags.c_contiguous else array[rows]


def examples_as_bytes(rows: Num[Array, "rows ..."]) -> Iterator[bytes]:
    """The bytes of each row."""
    content, size = rows.tobytes(), rows[0].nbytes
    return (content[i * size : (i + 1) * size] for i in range(len(rows)))
