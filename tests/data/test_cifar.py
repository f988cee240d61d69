import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest

from funcnet.data.cifar import read_cifar10, read_cifar100
from funcnet.data.dataset import DataError

PIXELS = np.random.Generator(np.random.Philox(0)).integers(0, 256, (4, 3, 32, 32), np.uint8)


def records(*label_columns: list[int]) -> bytes:
    columns = [np.array(column, np.uint8).reshape(-1, 1) for column in label_columns]
    return np.concatenate([*columns, PIXELS.reshape(4, -1)], axis=1).tobytes()


@pytest.mark.parametrize("mmap", [False, True])
def test_images_are_channels_last(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "batch.bin"
    path.write_bytes(records([3, 0, 9, 1]))
    split = read_cifar10(path, mmap=mmap)
    assert split.y.tolist() == [3, 0, 9, 1]
    assert split.x.shape == (4, 32, 32, 3)
    assert split.x.dtype == np.uint8
    for row, column, channel in ((0, 0, 0), (5, 7, 1), (31, 30, 2)):
        assert split.x[2, row, column, channel] == PIXELS[2, channel, row, column]
    assert not split.x.flags.writeable
    assert not split.y.flags.writeable
    assert split.x.flags.c_contiguous is not mmap


def test_cifar100_has_the_class_after_the_superclass(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(records([19, 0, 0, 1], [99, 0, 50, 7]))
    split = read_cifar100(path)
    assert split.y.tolist() == [99, 0, 50, 7]
    assert split.x[3, 1, 2, 0] == PIXELS[3, 0, 1, 2]


def test_a_mapped_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "batch.bin"
    path.write_bytes(records([0, 0, 0, 0]))
    split = read_cifar10(path, mmap=True)
    with path.open("r+b") as file:
        file.write(b"\x07")
    assert split.y[0] == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected CIFAR-10 records of 3,073 bytes, found an empty file"),
        (records([1, 2, 3, 4])[:-1], "found 12,291 bytes, which is 3 records and 3,072 bytes over"),
        (records([1, 2, 3, 4], [1, 2, 3, 4]), "found 12,296 bytes, which is 4 records and 4 bytes over"),
    ],
)
@pytest.mark.parametrize("mmap", [False, True])
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, message: str, mmap: bool) -> None:
    path = tmp_path / "batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_cifar10(path, mmap=mmap)
    assert str(caught.value).startswith(f"{path}: ")


def test_wrong_labels_of_cifar10_are_named(tmp_path: Path) -> None:
    path = tmp_path / "batch.bin"
    path.write_bytes(records([1, 2, 10, 4]))
    with pytest.raises(DataError, match="expected CIFAR-10 labels from 0 to 9, found 10"):
        read_cifar10(path)


def test_wrong_labels_of_cifar100_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(records([20, 0, 0, 0], [0, 0, 0, 0]))
    with pytest.raises(DataError, match="labels from 0 to 19, found 20"):
        read_cifar100(path)
    with pytest.raises(DataError, match="there is no such file"):
        read_cifar100(tmp_path / "nothing.bin")


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (pickle.dumps({b"batch_label": b"training batch 1 of 5"}, 2), "a pickle of Python, which is never read"),
        (gzip.compress(bytes(10)), "a gzip file: unpack it"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page.*download it again"),
        (b"PK\x03\x04....", "a zip archive: unpack it"),
        (b"name".ljust(257, b"\0") + b"ustar".ljust(300, b"\0"), "a tar archive: unpack it"),
        (b"MATLAB 5.0 MAT-file", "a file of MATLAB: get the binary version"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"", "the file is empty: download it again"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_something_else_is_named_as_what_it_is(tmp_path: Path, content: bytes, kind: str, mmap: bool) -> None:
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match=kind):
        read_cifar10(tmp_path / "data_batch_1", mmap=mmap)


def test_a_pickle_that_is_as_long_as_records_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({}, 2).ljust(3073, b"."))
    with pytest.raises(DataError, match=r"expected CIFAR-10 labels .*, found 128 \(it is a pickle of Python"):
        read_cifar10(tmp_path / "data_batch_1")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(it is a folder, not a file\)"):
        read_cifar10(tmp_path)
