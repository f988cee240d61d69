"""Files of data, opened: an error names the file, and what lies in its place is recognised by its first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from funcnet.data.dataset import DataError
from funcnet.files import open_file
from funcnet.shapes import Array, UInt8

__all__ = ["DEFLATE", "FIRST_BYTES", "GZIP", "fill", "opened", "what_it_is"]

FIRST_BYTES = 512  # enough for every kind below
GZIP = b"\x1f\x8b"
DEFLATE = 1032  # the most bytes that one byte of a gzip file or a zip archive can stand for
_PIECE = 1 << 20

_OTHER = "get the binary version of the set"
_PICKLE = f"a pickle of Python, which is never read, since it can run any program: {_OTHER}"
_KINDS = (
    (b"PK", "a zip archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!", "a rar archive: unpack it"),
    (b"\xfd7zXZ\x00", "an xz file: unpack it"),
    (b"BZh", "a bzip2 file: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it"),
    (b"\x93NUMPY", "an array of NumPy: np.load reads it"),
    (b"version https://git-lfs", "a pointer of Git LFS: git lfs pull brings the file"),
    (b"\x89HDF\r\n", f"an HDF5 file: {_OTHER}"),
    (b"MATLAB ", f"a file of MATLAB: {_OTHER}"),
    (b"PAR1", f"a Parquet file: {_OTHER}"),
    (b"\x89PNG", f"a PNG picture: {_OTHER}"),
    (b"\xff\xd8\xff", f"a JPEG picture: {_OTHER}"),
    *((b"\x80" + bytes([protocol]), _PICKLE) for protocol in (2, 3, 4, 5)),
    (b"(dp", _PICKLE),
    (b"(lp", _PICKLE),
)
_WEB = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A context with the opened file. What the system refuses, there or while it is read, is a ``DataError``.

    Raises:
        DataError: for a file that is missing, cannot be read, or is a folder, a pipe, a socket or a device.
    """
    try:
        with open_file(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path!s:.400}: cannot be read ({error.strerror or error})") from None


def what_it_is(head: bytes) -> str:
    """What a file is that begins with ``head``, and what to do with it, in brackets; empty if that is unknown."""
    if not head:
        return " (the file is empty: download it again)"
    if head.lstrip().lower().startswith(_WEB):
        return " (it is a web page, which a server sends in the place of a file it does not have: download it again)"
    if head[257:262] == b"ustar":
        return " (it is a tar archive: unpack it with tar -xf)"
    if head.startswith(GZIP):
        return " (it is a gzip file: unpack it with gunzip, or tar -xzf if its name ends in .tar.gz)"
    return next((f" (it is {kind})" for begin, kind in _KINDS if head.startswith(begin)), "")


def fill(content: BufferedIOBase, array: UInt8[Array, "bytes"]) -> int:
    """Read into the array until it is full or the content ends; the number of bytes read."""
    filled = 0
    while filled < len(array):
        read = content.readinto(array[filled : filled + _PIECE].data)
        if not read:
            break
        filled += read
    return filled
