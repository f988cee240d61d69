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
from funcnet.tree import freeze

__all__ = ["read_cifar10", "read_cifar100"]

_IMAGE = 3 * 32 * 32


def read_cifar10(path: Path | str, *, mmap: bool = False) -> Split:
    """The images (n, 32, 32, 3) and labels (n,) of one CIFAR-10 file, uint8, read-only.

    With ``mmap=True`` both are views of the file, which is read from disk as it is used; that the labels are in range
    is then left to the loss to check.

    Raises:
        DataError: for a file that is missing, truncated, or something else.
    """
    return _read(Path(path), "CIFAR-10", (10,), mmap)


def read_cifar100(path: Path | str, *, mmap: bool = False) -> Split:
    """The images (n, 32, 32, 3) and class labels (n,) of one CIFAR-100 file, uint8, read-only.

    With ``mmap=True`` both are views of the file, which is read from disk as it is used; that the labels are in range
    is then left to the loss to check.

    Raises:
        DataError: for a file that is missing, truncated, or something else.
    """
    return _read(Path(path), "CIFAR-100", (20, 100), mmap)


def _read(path: Path, kind: str, label_counts: tuple[int, ...], mmap: bool) -> Split:
    record = len(label_counts) + _IMAGE
    if path.is_dir():
        raise DataError(f"{path}: expected a file, found a folder")
    try:
        size = path.stat().st_size
        if size == 0 or size % record:
            raise DataError(f"{path}: expected {kind} records of {record:,} bytes, found {_in_records(size, record)}")
        content = np.asarray(np.memmap(path, np.uint8, mode="r")) if mmap else np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    rows = content.reshape(-1, record)
    for column, count in enumerate(() if mmap else label_counts):  # a look at each would read the whole file
        if (highest := int(rows[:, column].max())) >= count:
            raise DataError(f"{path}: expected {kind} labels from 0 to {count - 1}, found {highest}")
    images = rows[:, len(label_counts) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = rows[:, len(label_counts) - 1]
    if mmap:
        return Split(images, labels)
    return Split(freeze(np.ascontiguousarray(images)), freeze(labels.copy()))


def _in_records(size: int, record: int) -> str:
    whole, rest = divmod(size, record)
    return f"{size:,} bytes, which is {whole:,} records and {rest:,} bytes over" if size else "an empty file"
