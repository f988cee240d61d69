"""The binary files of CIFAR-10 and CIFAR-100: records of labels and an image, one after another.

    CIFAR-10    1 byte label                               3,072 bytes image
    CIFAR-100   1 byte superclass   1 byte class           3,072 bytes image

An image is its red, its green and its blue plane, 32 rows of 32 bytes each.

Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from funcnet.data.dataset import DataError, Split
from funcnet.data.opening import FIRST_BYTES, opened, what_it_is
from funcnet.shapes import Array, UInt8
from funcnet.tree import freeze

__all__ = ["read_cifar10", "read_cifar100"]

_IMAGE = 3 * 32 * 32


def read_cifar10(path: Path | str, *, mmap: bool = False) -> Split:
    """The images (n, 32, 32, 3) and labels (n,) of one CIFAR-10 file, uint8, read-only.

    With ``mmap=True`` both are views of the file, which is read from disk as it is used; that the labels are in range
    is then left to the loss to check.

    Raises:
        DataError: for a file that is missing, truncated, no file, too large for the memory, or something else.
    """
    return _read(Path(path), "CIFAR-10", (10,), mmap)


def read_cifar100(path: Path | str, *, mmap: bool = False) -> Split:
    """The images (n, 32, 32, 3) and class labels (n,) of one CIFAR-100 file, uint8, read-only.

    With ``mmap=True`` both are views of the file, which is read from disk as it is used; that the labels are in range
    is then left to the loss to check.

    Raises:
        DataError: for a file that is missing, truncated, no file, too large for the memory, or something else.
    """
    return _read(Path(path), "CIFAR-100", (20, 100), mmap)


def _read(path: Path, kind: str, label_counts: tuple[int, ...], mmap: bool) -> Split:
    record = len(label_counts) + _IMAGE
    with opened(path) as file:
        head = file.read(FIRST_BYTES)
        size = file.seek(0, 2)
        if size == 0 or size % record:
            whole, rest = divmod(size, record)
            found = f"{size:,} bytes, which is {whole:,} records and {rest:,} bytes over" if size else "an empty file"
            raise DataError(f"{path}: expected {kind} records of {record:,} bytes, found {found}{what_it_is(head)}")
        file.seek(0)
        try:
            content = np.asarray(np.memmap(file, np.uint8, mode="r")) if mmap else np.fromfile(file, np.uint8, size)
            rows = content.reshape(size // record, record)
            for column, count in enumerate(() if mmap else label_counts):  # a look at each would read the whole file
                if (highest := int(rows[:, column].max())) >= count:
                    raise DataError(
                        f"{path}: expected {kind} labels from 0 to {count - 1}, found {highest}{what_it_is(head)}"
                    )
            planes = rows[:, len(label_counts) :].reshape(-1, 3, 32, 32)
            labels = rows[:, len(label_counts) - 1]
            if mmap:
                return Split(planes.transpose(0, 2, 3, 1), labels)
            return Split(freeze(_channels_last(planes)), freeze(labels.copy()))
        except MemoryError:
            raise DataError(f"{path}: its {size // record:,} images do not fit into the memory") from None
        except ValueError:
            raise DataError(f"{path}: expected {size:,} bytes, found fewer: the file became shorter") from None


def _channels_last(planes: UInt8[Array, "n 3 32 32"]) -> UInt8[Array, "n 32 32 3"]:
    images = np.empty((len(planes), 32, 32, 3), np.uint8)
    for channel in range(3):  # takes a third of the time that a copy of the transposed array takes
        images[..., channel] = planes[:, channel]
    return images
