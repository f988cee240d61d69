"""The IDX format of MNIST and its kin: a header of big-endian numbers, then bytes.

    bytes 0-1  zero          byte 2  type (8: unsigned byte)          byte 3  number of axes
    4 bytes an axis: its length                                       then the entries, last axis fastest

LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from funcnet.data.dataset import DataError
from funcnet.data.opening import DEFLATE, FIRST_BYTES, GZIP, fill, opened, what_it_is
from funcnet.shapes import Array, Shape, UInt8
from funcnet.tree import freeze

__all__ = ["idx_header", "idx_shape", "read_idx"]


def read_idx(path: Path | str, *, mmap: bool = False) -> UInt8[Array, "..."]:
    """The array of an IDX file of unsigned bytes, read-only; plain or gzip, whatever its name.

    No more is read, or unpacked, than the header says. With ``mmap=True`` the array is a view of the (plain) file,
    which is read from disk as it is used.

    Raises:
        DataError: for a file that is missing, truncated, too long, damaged, too large for the memory, no file, or
            something else; and for asking to map a compressed file.
    """
    path = Path(path)
    with _idx(path) as (file, content, size):
        if mmap and content is not file:
            raise DataError(f"{path}: a compressed file cannot be memory-mapped; unpack it first (gunzip {path.name})")
        start, shape = _header(path, content)
        count = math.prod(shape)
        if content is file and size != start + count:  # said before it is read
            raise _wrong_size(path, start, shape, size)
        if content is not file and start + count > size * DEFLATE:
            raise _wrong_size(path, start, shape, None)
        try:
            if mmap:
                array = np.asarray(np.memmap(file, np.uint8, mode="r"))[start:]
            else:
                array = np.empty(count, np.uint8)
                if (found := fill(content, array)) < count:
                    raise _wrong_size(path, start, shape, start + found)
                if content.read(1):
                    raise _wrong_size(path, start, shape, None, "something follows the array")
            return freeze(array.reshape(shape))
        except MemoryError:
            raise DataError(f"{path}: an array of {count:,} bytes does not fit into the memory") from None
        except ValueError:  # an axis of length 0, beside others whose product no array can have
            raise DataError(f"{path}: expected an array, found a header of {len(shape)} axes, {shape}") from None


def idx_shape(path: Path) -> Shape:
    """The shape of an IDX file's array, by its header alone.

    Raises:
        DataError: as ``read_idx``.
    """
    with _idx(path) as (_, content, _):
        return _header(path, content)[1]


def idx_header(shape: Shape) -> bytes:
    """The header of a file with an array of that shape."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


@contextmanager
def _idx(path: Path) -> Iterator[tuple[BufferedIOBase, BufferedIOBase, int]]:
    """The opened file, its content (the file itself, unless it is compressed), and the size of the file."""
    import gzip  # imported where they are needed
    import zlib

    with opened(path) as file:
        compressed = file.read(2) == GZIP
        size = file.seek(0, 2)
        file.seek(0)
        try:
            if compressed:
                with gzip.open(file) as content:
                    yield file, content, size
            else:
                yield file, file, size
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: expected a whole gzip file, found a truncated or damaged one ({error})") from None


def _header(path: Path, content: BufferedIOBase) -> tuple[int, Shape]:
    """How long the header is, and the shape of the array. What follows is not read."""
    magic = content.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        kind = what_it_is(magic + content.read(FIRST_BYTES - 4))
        raise DataError(
            f"{path}: expected an IDX file (starting with two zero bytes), found one starting {magic!r}{kind}"
        )
    if magic[2] != 8:
        raise DataError(f"{path}: expected entries of unsigned bytes (IDX type 8), found IDX type {magic[2]}")
    axes = magic[3]
    lengths = content.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(
            f"{path}: expected a header of {4 + 4 * axes} bytes, found {4 + len(lengths)} bytes (truncated)"
        )
    return 4 + 4 * axes, struct.unpack(f">{axes}I", lengths)


def _wrong_size(path: Path, start: int, shape: Shape, found: int | None, why: str = "truncated") -> DataError:
    expected = start + math.prod(shape)
    if found is not None and found > expected:
        why = "something follows the array"
    given = f"{found:,}" if found is not None else "more" if why != "truncated" else "fewer"
    return DataError(f"{path}: expected {expected:,} bytes for an array of shape {shape}, found {given} ({why})")
