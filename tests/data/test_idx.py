import gzip
import struct
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
    [gzip.compress(idx_bytes(IMAGES))[:-9], b"not gzip", b"\x1f\x8b\x08\x00" + b"x" * 40],
    ids=["truncated", "not gzip", "damaged"],
)
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a whole gzip file, found a truncated or damaged one"):
        read_idx(path)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_missing_file_is_named(tmp_path: Path, mmap: bool) -> None:
    with pytest.raises(DataError, match=r"nothing: there is no such file"):
        read_idx(tmp_path / "nothing", mmap=mmap)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        read_idx(tmp_path, mmap=mmap)
