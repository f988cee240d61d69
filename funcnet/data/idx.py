"""The IDX format of MNIST and its kin: a header of big-endian numbers, then bytes.

    bytes 0-1  zero          byte 2  type (8: unsigned byte)          byte 3  number of axes
    4 bytes an axis: its length                                       then the entries, last axis fastest

LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from funcnet.data.dataset import DataError
from funcnet.shapes import Array, Shape, UInt8
from funcnet.tree import freeze

__all__ = ["read_idx"]


def read_idx(path: Path | str, *, mmap: bool = False) -> UInt8[Array, "..."]:
    """The array of an IDX file of unsigned bytes, read-only; plain, or gzip if the name ends in ``.gz``.

    With ``mmap=True`` the array is a view of the (plain) file, which is read from disk as it is used.

    Raises:
        DataError: for a file that is missing, truncated, too long, damaged, or something else; and for asking to map a
            compressed file.
    """
    import gzip  # imported where they are needed
    import zlib

    path = Path(path)
    compressed = path.suffix == ".gz"
    if mmap and compressed:
        raise DataError(f"{path}: a compressed file cannot be memory-mapped; unpack it first (gunzip {path.name})")
    try:
        if compressed:
            with gzip.open(path) as file:
                content = file.read()
            array = np.frombuffer(content, np.uint8)
        elif mmap:
            array = np.asarray(np.memmap(path, np.uint8, mode="r")) if path.stat().st_size else np.empty(0, np.uint8)
        else:
            array = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: expected a whole gzip file, found a truncated or damaged one ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    start, shape = _header(path, array)
    expected = start + math.prod(shape)
    if len(array) != expected:
        raise DataError(
            f"{path}: expected {expected:,} bytes for an array of shape {shape}, found {len(array):,}"
            f" ({'truncated' if len(array) < expected else 'something follows the array'})"
        )
    try:
        return freeze(array[start:].reshape(shape))
    except ValueError:  # no entries, and still more than an array can have
        raise DataError(f"{path}: expected an array, found a header of {len(shape)} axes, {shape}") from None


def _header(path: Path, content: UInt8[Array, "bytes"]) -> tuple[int, Shape]:
    """Where the entries start, and the shape of the array."""
    magic = content[:4].tobytes()
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: expected an IDX file (starting with two zero bytes), found one starting {magic!r}")
    if magic[2] != 8:
        raise DataError(f"{path}: expected entries of unsigned bytes (IDX type 8), found IDX type {magic[2]}")
    axes, start = magic[3], 4 + 4 * magic[3]
    if len(content) < start:
        raise DataError(f"{path}: expected a header of {start} bytes, found {len(content)} bytes (truncated)")
    return start, struct.unpack(f">{axes}I", content[4:start].tobytes())
