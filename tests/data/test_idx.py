import gzip
import os
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from funcnet.data.dataset import DataError
from funcnet.data.idx import read_idx


def idx_bytes(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_plain_file_is_read(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(IMAGES))
    array = read_idx(path, mmap=mmap)
    assert np.array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert not array.flags.writeable


def test_a_mapped_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(IMAGES))
    mapped = read_idx(path, mmap=True)
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\xff")
    assert mapped[0, 0, 0] == 255


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES)))
    array = read_idx(str(path))
    assert np.array_equal(array, IMAGES)
    assert not array.flags.writeable
    with pytest.raises(DataError, match=r"images.gz: a compressed file cannot be memory-mapped.*gunzip images.gz"):
        read_idx(path, mmap=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 4), max_size=4).map(tuple))
def test_any_number_of_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "array"
    array = np.ones(shape, np.uint8)
    path.write_bytes(idx_bytes(array))
    for mmap in (False, True):
        assert np.array_equal(read_idx(path, mmap=mmap), array)


WRONG = {
    "": (b"", "expected an IDX file .*, found one starting b''"),
    "foreign": (b"\x89PNG\r\n\x1a\n", r"expected an IDX file .*, found one starting b'\\x89PNG'"),
    "floats": (idx_bytes(IMAGES, kind=13), r"unsigned bytes \(IDX type 8\), found IDX type 13"),
    "half a header": (idx_bytes(IMAGES)[:9], r"header of 16 bytes, found 9 bytes \(truncated\)"),
    "too many axes": (bytes([0, 0, 8, 70]) + bytes(280), "expected an array, found a header of 70 axes"),
    "too large": (bytes([0, 0, 8, 4, 0, 0, 0, 0]) + b"\xff" * 12, "expected an array, found a header of 4 axes"),
    "truncated": (idx_bytes(IMAGES)[:-5], r"expected 40 bytes .* of shape \(2, 3, 4\), found 35 \(truncated\)"),
    "too long": (idx_bytes(IMAGES) + b"more", r"expected 40 bytes .*, found 44 \(something follows the array\)"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("mmap", [False, True])
def test_a_wrong_file_is_named(tmp_path: Path, name: str, mmap: bool) -> None:
    content, message = WRONG[name]
    path = tmp_path / f"{name}file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, mmap=mmap)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [gzip.compress(idx_bytes(IMAGES))[:-9], b"\x1f\x8b", b"\x1f\x8b\x08\x00" + b"x" * 40],
    ids=["truncated", "no header", "damaged"],
)
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a whole gzip file, found a truncated or damaged one"):
        read_idx(path)


@pytest.mark.parametrize("name", ["images", "images.gz", "images.idx3-ubyte"])
def test_how_a_file_is_packed_is_seen_from_its_first_bytes(tmp_path: Path, name: str) -> None:
    for content in (idx_bytes(IMAGES), gzip.compress(idx_bytes(IMAGES))):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_idx(tmp_path / name), IMAGES)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (gzip.compress(b"<html></html>"), "a web page"),
        (b"PAR1", "a Parquet file"),
        (gzip.compress(b"train/".ljust(257, b"\0") + b"ustar".ljust(300, b"\0")), "a tar archive"),
    ],
    ids=["xml", "html in gzip", "parquet", "tar.gz"],
)
def test_something_else_is_named_as_what_it_is(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "images.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"expected an IDX file .*it is {kind}"):
        read_idx(tmp_path / "images.gz")


def packed(shape: tuple[int, ...], entries: int) -> bytes:
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    return gzip.compress(header + bytes(entries))


def peak_of(path: Path) -> tuple[str, int]:
    """What reading the file says, and how many bytes it holds at most."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_idx(path)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10, 28, 28), "expected 7,856 bytes .* found more .something follows the array"),
        ((10**6, 2000, 28), "expected 56,000,000,016 bytes .* found fewer .truncated"),
    ],
)
def test_no_more_is_unpacked_than_the_header_says(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    """A file of 64 KB that unpacks to 64 MB, and one whose header says 56 GB."""
    (tmp_path / "images.gz").write_bytes(packed(shape, 1 << 26))
    said, peak = peak_of(tmp_path / "images.gz")
    assert re.search(message, said)
    assert peak < 1 << 20


@pytest.mark.parametrize("mmap", [False, True])
def test_a_pipe_is_refused(tmp_path: Path, mmap: bool) -> None:
    """It would be waited for without end."""
    os.mkfifo(tmp_path / "images")
    with pytest.raises(DataError, match=r"images: cannot be read \(it is a pipe, not a file\)"):
        read_idx(tmp_path / "images", mmap=mmap)


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "a" * 5000, "/dev/zero"])
def test_what_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_missing_file_is_named(tmp_path: Path, mmap: bool) -> None:
    with pytest.raises(DataError, match=r"nothing: there is no such file"):
        read_idx(tmp_path / "nothing", mmap=mmap)
    with pytest.raises(DataError, match=r"cannot be read \(it is a folder, not a file\)"):
        read_idx(tmp_path, mmap=mmap)
