r"""The ``.npz`` files of NumPy: a zip archive with an array in each file.

    NAME.npy    6 bytes \x93NUMPY    2 bytes version    2 or 4 bytes length of the header (little-endian)
                {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }    then the entries

NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays" (Kern, 2007). ``np.load`` takes the header for
Python and compiles it. Here it is matched, since arrays of numbers and texts need no more.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from funcnet.data.dataset import DataError, Dataset, Split
from funcnet.data.opening import DEFLATE, FIRST_BYTES, fill, opened, what_it_is
from funcnet.data.parts import TEST_SHARE, are_labels, divided, expect_share, said_divided
from funcnet.shapes import Array, Shape
from funcnet.text import printable
from funcnet.tree import freeze

if TYPE_CHECKING:
    import zipfile

__all__ = ["read_npz"]

_PARTS, _WHOLE, _CLASSES = ("x_train", "y_train", "x_test", "y_test"), ("x", "y"), "classes"
_MOST_CLASSES = 1 << 16
_LONGEST_HEADER = 1 << 12
_DTYPE = re.compile(rb"'descr': *'([<>|=]?[biufcSUO][0-9]{0,6})'")
_ORDER = re.compile(rb"'fortran_order': *(True|False)")
_SHAPE = re.compile(rb"'shape': *\(([0-9L, ]*)\)")


def read_npz(path: Path | str, *, test_share: float = TEST_SHARE) -> Dataset:
    """The data set in a ``.npz`` file, as ``np.savez`` and ``np.savez_compressed`` write it.

    Its arrays are called ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as in the ``mnist.npz`` of Keras. Or they
    are ``x`` and ``y``. Then ``test_share`` of the examples of each class is held out for testing, always the same
    ones. Capital letters make no difference. Whole numbers in y, one an example, are labels that count from 0.
    ``classes`` may hold the names of the classes; without, their numbers are their names.

    Images (n, height, width) of bytes become (n, height, width, 1). Numbers with a fraction become float32. Labels
    (n, 1) become (n,). The data set has the name of the file.

    Raises:
        DataError: for a file that is missing, truncated, damaged, too large for the memory, no file, or something
            else; for arrays that are missing, hold something other than finite numbers, or do not go together.
        ValueError: for a share that does not lie between 0 and 1.
    """
    path, share = Path(path), expect_share(test_share)
    arrays, others = _read(path)
    names = _PARTS if _PARTS[0] in arrays else _WHOLE
    try:
        splits = [
            Split(_examples(x, arrays[x]), _targets(y, arrays[y])) for x, y in zip(names[::2], names[1::2], strict=True)
        ]
        train, test = splits if len(splits) == 2 else divided(splits[0], share)
        classes = _classes(train, test, arrays.get(_CLASSES))
        origin = [f"arrays in the file {path.name}"]
        if names is _WHOLE:
            origin.append(said_divided(train, test))
        if others:
            origin.append(f"not read: {', '.join(others)}"[:200])
        return Dataset(printable(path.stem), train, test, classes, origin=printable("; ".join(origin)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read(path: Path) -> tuple[dict[str, Array], list[str]]:
    """The arrays that a data set needs, by their names, and the names of the others."""
    import zipfile  # imported where they are needed
    import zlib

    with opened(path) as file:
        head = file.read(FIRST_BYTES)
        size = file.seek(0, 2)
        try:
            with zipfile.ZipFile(file) as archive:
                members = {member.filename.removesuffix(".npy").lower(): member for member in archive.infolist()}
                names = next((names for names in (_PARTS, _WHOLE) if members.keys() >= set(names)), None)
                if names is None:
                    found = ", ".join(members) or "none"
                    raise DataError(
                        f"{path}: expected arrays x_train, y_train, x_test and y_test, or x and y, found {found:.200}"
                    )
                wanted = [name for name in (*names, _CLASSES) if name in members]
                arrays = {name: _array(path, name, archive, members[name], size) for name in wanted}
                return arrays, sorted(members.keys() - set(wanted))
        except MemoryError:
            raise DataError(f"{path}: its arrays do not fit into the memory") from None
        # What zipfile raises for damaged archives. RuntimeError: for one with a password. NotImplementedError is one.
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            RuntimeError,
            ValueError,
            ArithmeticError,
            struct.error,
        ) as error:
            if head.startswith(b"PK"):
                said = f"found a truncated or damaged one ({error})"
            else:
                said = f"found something else{what_it_is(head)}"
            raise DataError(f"{path}: expected a whole .npz file, {said}") from None


def _array(path: Path, name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> Array:
    """The array in a file of an archive of ``size`` bytes. No more is unpacked than its header says."""
    with cast(BufferedIOBase, archive.open(member)) as content:
        start, dtype, order, shape = _header(path, name, content)
        count = math.prod(shape) * dtype.itemsize
        if member.file_size != start + count or member.file_size > min(member.compress_size, size) * DEFLATE:
            raise DataError(
                f"{path}: {name} of shape {shape} and dtype {dtype} takes {start + count:,} bytes; the archive says "
                f"{member.file_size:,}, packed into {member.compress_size:,}, which cannot be"
            )
        array = np.empty(count, np.uint8)
        if (found := fill(content, array)) < count or content.read(1):  # which looks at the checksum, too
            raise DataError(f"{path}: expected {count:,} bytes in {name}, found {found:,}")
    entries = array.view(dtype) if count else np.empty(0, dtype)
    return entries.reshape(shape) if order == "C" else entries.reshape(shape[::-1]).T


def _header(path: Path, name: str, content: BufferedIOBase) -> tuple[int, np.dtype, str, Shape]:
    """How long the header is; the dtype, the order (C or F) and the shape of the array."""
    magic = content.read(8)
    wide = magic[6:7] != b"\1"  # the length has four bytes since version 2
    length = content.read(4 if wide else 2)
    if magic[:6] != b"\x93NUMPY" or len(length) < (4 if wide else 2):
        raise DataError(f"{path}: expected an array of NumPy in {name}, found something else")
    size = int.from_bytes(length, "little")
    text = content.read(min(size, _LONGEST_HEADER))
    dtype, order, shape = (pattern.search(text) for pattern in (_DTYPE, _ORDER, _SHAPE))
    if len(text) < size or dtype is None or order is None or shape is None:
        raise DataError(f"{path}: expected an array of numbers in {name}, found the header {text.strip()!r:.100}")
    code = dtype[1].decode()
    if code.lstrip("<>|=")[0] == "O":
        raise DataError(
            f"{path}: {name} holds objects of Python, which are never read, since they can run any program: save an "
            "array of numbers, such as np.asarray(x, np.float32)"
        )
    try:
        made = np.dtype(code)
    except TypeError:
        raise DataError(f"{path}: expected an array of numbers in {name}, found dtype {code}") from None
    lengths = tuple(int(length) for length in shape[1].decode().replace("L", "").split(",") if length.strip())
    return len(magic) + len(length) + len(text), made, "F" if order[1] == b"True" else "C", lengths


def _examples(name: str, x: Array) -> Array:
    """Whole numbers as they are, with an axis for the channel of grey images; all else as float32."""
    if x.ndim and not len(x):
        raise DataError(f"{name} holds no examples")
    if x.dtype.kind not in "iu":
        return freeze(_as_float32(name, x))
    x = np.asarray(x, x.dtype.newbyteorder("="), order="C")
    return freeze(x[..., None] if x.dtype == np.uint8 and x.ndim == 3 else x)


def _targets(name: str, y: Array) -> Array:
    """Whole numbers as int64, all else as float32."""
    if y.dtype.kind not in "biu":
        return freeze(_as_float32(name, y))
    y = np.asarray(y, np.int64, order="C")
    return freeze(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y)


def _as_float32(name: str, array: Array) -> Array:
    if array.dtype.kind in "US":
        raise DataError(
            f"expected {name} of numbers, found texts: np.unique({name}, return_inverse=True) makes the names of the "
            "classes and the labels of them"
        )
    if array.dtype.kind not in "bf":
        raise DataError(f"expected {name} of numbers, found dtype {array.dtype}")
    with np.errstate(all="ignore"):
        made = np.asarray(array, np.float32, order="C")
    if not np.isfinite(made).all():
        place = tuple(np.argwhere(~np.isfinite(made))[0].tolist())
        where = f"{name}[{', '.join(map(str, place))}]"
        raise DataError(f"expected finite numbers of float32, found {array[place]} at {where}")
    return made


def _classes(train: Split, test: Split, given: Array | None) -> tuple[str, ...]:
    """The names of the classes: those given, or the numbers of the labels. Empty if the targets are no labels."""
    labelled = are_labels(train.y) and are_labels(test.y)
    if given is not None and (given.ndim != 1 or not labelled):
        raise DataError(
            "classes are one name for each class, and y holds their labels, a whole number for each example"
        )
    if not labelled:
        return ()
    least, most = (int(limit([limit(split.y) for split in (train, test)])) for limit in (np.min, np.max))
    highest = _MOST_CLASSES - 1 if given is None else len(given) - 1
    if least < 0 or most > highest:
        raise DataError(
            f"expected labels from 0 to {highest:,}, found labels from {least:,} to {most:,}. Numbers to predict are "
            "no labels: y.astype(np.float32)"
        )
    unknown = np.setdiff1d(test.y, train.y)
    if len(unknown):
        raise DataError(f"there are testing examples of the class {unknown[0]}, but none to train on")
    if given is None:
        return tuple(map(str, range(most + 1)))
    given = given.astype(given.dtype.newbyteorder("="))
    if given.dtype.kind == "U" and given.nbytes and given.view(np.uint32).max() > sys.maxunicode:
        raise DataError("expected names of classes, found what is no text")  # NumPy would make strings of it
    names = given.tolist()
    return tuple(printable(name.decode(errors="replace") if isinstance(name, bytes) else str(name)) for name in names)
