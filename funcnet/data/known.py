"""Checksums of the examples in a data set. They tell which set it is, whatever its files are called and how packed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from funcnet.data.dataset import Split, examples_as_bytes
from funcnet.data.idx import idx_header
from funcnet.shapes import Array

__all__ = ["idx_sums", "record_sums"]

_BLOCK = 4096


def idx_sums(split: Split) -> tuple[str, ...]:
    """The MD5 checksums of the two unpacked IDX files, of the images and of the labels. These are published."""
    return tuple(map(_md5, (split.x, split.y)))


def _md5(array: Array) -> str:
    digest = hashlib.md5(idx_header(array.shape), usedforsecurity=False)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def record_sums(split: Split) -> tuple[str, ...]:
    """One checksum of the examples, which does not depend on their order: people keep these sets in several.

    It is the SHA-256 of the sorted SHA-256 sums of the examples, each an image, channels last, and its label.
    """
    return (hashlib.sha256(b"".join(sorted(_of_examples(split)))).hexdigest(),)


def _of_examples(split: Split) -> Iterator[bytes]:
    for begin in range(0, len(split), _BLOCK):
        x, y = split.x[begin : begin + _BLOCK], split.y[begin : begin + _BLOCK]
        rows = np.concatenate([x.reshape(len(x), -1), y[:, None]], axis=1)
        yield from (hashlib.sha256(example).digest() for example in examples_as_bytes(rows))
