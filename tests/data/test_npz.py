import pickle
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from funcnet.data.dataset import DataError
from funcnet.data.npz import read_npz

IMAGES = np.random.Generator(np.random.Philox(0)).integers(0, 256, (60, 4, 5), np.uint8)
LABELS = np.arange(60) % 3
PARTS = {"x_train": IMAGES[:50], "y_train": LABELS[:50], "x_test": IMAGES[50:], "y_test": LABELS[50:]}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_four_arrays_are_the_parts(tmp_path: Path, save: object) -> None:
    save(tmp_path / "mine.npz", **PARTS)
    data = read_npz(tmp_path / "mine.npz")
    assert np.array_equal(data.train.x, IMAGES[:50, :, :, None])
    assert np.array_equal(data.test.x, IMAGES[50:, :, :, None])
    assert (data.train.y.tolist(), data.test.y.tolist()) == (LABELS[:50].tolist(), LABELS[50:].tolist())
    assert (data.name, data.classes, data.train.x.dtype) == ("mine", ("0", "1", "2"), np.uint8)
    assert data.origin == "arrays in the file mine.npz"
    assert not data.train.x.flags.writeable
    assert not data.train.y.flags.writeable


def test_of_two_arrays_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=IMAGES, y=LABELS, notes=np.zeros(2))
    data, again = (
        read_npz(tmp_path / "mine.npz", test_share=0.25),
        read_npz(str(tmp_path / "mine.npz"), test_share=0.25),
    )
    assert np.bincount(data.test.y).tolist() == [5, 5, 5]
    assert np.array_equal(data.test.x, again.test.x)
    examples = [example.tobytes() for part in (data.train, data.test) for example in part.x]
    assert sorted(examples) == sorted(example.tobytes() for example in IMAGES)
    labels = {example.tobytes(): label for example, label in zip(IMAGES, LABELS, strict=True)}
    for part in (data.train, data.test):
        assert [labels[example.tobytes()] for example in part.x] == part.y.tolist()
    assert data.origin == (
        "arrays in the file mine.npz; 15 of its 60 examples, the same share of each class, held out at random for "
        "testing; not read: notes"
    )
    assert len(read_npz(tmp_path / "mine.npz").test) == 12


def test_small_classes_are_in_both_parts_if_they_can_be(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.zeros((6, 2)), y=[0, 0, 1, 2, 2, 2])
    for share, held in ((0.01, [0, 2]), (0.99, [0, 2, 2])):
        data = read_npz(tmp_path / "mine.npz", test_share=share)
        assert data.test.y.tolist() == held
        assert set(data.train.y.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.asfortranarray(IMAGES[:, 0] / 3), np.float32),
        (IMAGES[:, 0].astype(">f4"), np.float32),
        (IMAGES[:, 0].astype(np.float16), np.float32),
        (IMAGES[:, 0] > 100, np.float32),
        (IMAGES[:, 0].astype(">i2"), np.int16),
        (IMAGES.reshape(60, 2, 2, 5), np.uint8),
    ],
)
def test_any_numbers_are_read_as_numpy_reads_them(tmp_path: Path, array: np.ndarray, dtype: type) -> None:
    np.savez(tmp_path / "mine.npz", x_train=array, y_train=LABELS, x_test=array[:9], y_test=LABELS[:9])
    train = read_npz(tmp_path / "mine.npz").train
    assert np.array_equal(train.x, np.load(tmp_path / "mine.npz")["x_train"].astype(dtype))
    assert train.x.dtype == dtype
    assert train.x.dtype.isnative
    assert train.x.flags.c_contiguous


def test_names_of_classes_and_columns_of_labels(tmp_path: Path) -> None:
    for names in (["cat", "dög", "cow"], [b"cat", "dög".encode(), b"cow"]):
        np.savez(tmp_path / "mine.npz", X=IMAGES, Y=LABELS[:, None].astype(np.uint8), classes=names)
        data = read_npz(tmp_path / "mine.npz")
        assert data.classes == ("cat", "dög", "cow")
        assert data.train.y.shape == (48,)


@pytest.mark.parametrize("number", [0x110000, 0xFFFFFFFF])
def test_names_of_numbers_that_stand_for_no_letters(tmp_path: Path, number: int) -> None:
    names = np.array([97, 98, 99, number, 100, 101], np.uint32).view("<U2")
    np.savez(tmp_path / "mine.npz", x=IMAGES, y=LABELS, classes=names)
    with pytest.raises(DataError, match="expected names of classes, found what is no text"):
        read_npz(tmp_path / "mine.npz")


def test_numbers_to_predict_have_no_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.zeros((10, 3)), y=np.arange(10) / 4)
    data = read_npz(tmp_path / "mine.npz")
    assert (data.classes, data.train.y.dtype, len(data.test)) == ((), np.float32, 2)
    assert data.origin.endswith("2 of its 10 examples held out at random for testing")


X = np.zeros((4, 2))
NAN = np.array([[0, 1], [np.nan, 0]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "expected arrays x_train, y_train, x_test and y_test, or x and y, found x$"),
        ({"x": X, "y": [0, 1]}, "there are 4 examples but 2 targets"),
        ({"x": X, "y": ["a", "b", "a", "b"]}, r"expected y of numbers, found texts: np.unique\(y, return_inverse"),
        ({"x": X + 1j, "y": [0, 1, 0, 1]}, "expected x of numbers, found dtype complex128"),
        ({"x": np.array([None, 1]), "y": [0, 1]}, "x holds objects of Python, which are never read"),
        ({"x": np.zeros(4, [("a", "f4")]), "y": [0, 1, 0, 1]}, "expected an array of numbers in x, found the header"),
        ({"x": NAN, "y": [0, 0]}, r"expected finite numbers of float32, found nan at x\[1, 0\]"),
        ({"x": X + 1e300, "y": [0, 1, 0, 1]}, r"expected finite numbers of float32, found 1e\+300 at x\[0, 0\]"),
        ({"x": X, "y": [0, 1, -1, 1]}, r"labels from 0 to 65,535, found labels from -1 to 1. .* y.astype"),
        ({"x": X, "y": [0, 1, 1, 10**9]}, "labels from 0 to 65,535, found labels from 0 to 1,000,000,000"),
        ({"x": X, "y": [0, 1, 2, 1], "classes": ["a", "b"]}, "labels from 0 to 1, found labels from 0 to 2"),
        ({"x": X, "y": X[:, 0], "classes": ["a", "b"]}, "classes are one name for each class, and y holds"),
        ({"x": X[:0], "y": X[:0, 0]}, "x holds no examples"),
        ({"x": X[0, 0], "y": X[0, 0]}, r"expected x of shape \(n, ...\)"),
        ({"x": X[:1], "y": [0]}, "of 1 examples none can be held out for testing"),
        ({**PARTS, "x_test": IMAGES[50:, :3]}, r"expected testing examples like those for training"),
        ({**PARTS, "y_test": LABELS[50:] + 1}, "there are testing examples of the class 3, but none to train on"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_go_together(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "mine.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    with pytest.raises(DataError, match=message) as caught:
        read_npz(tmp_path / "mine.npz")
    assert str(caught.value).startswith(f"{tmp_path / 'mine.npz'}: ")


def test_a_file_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **PARTS)
    whole = path.read_bytes()
    for content, message in (
        (whole[:-30], "expected a whole .npz file, found a truncated or damaged one"),
        (whole[:600] + bytes(200) + whole[800:], r"found a truncated or damaged one \(Bad CRC-32"),
        (b"<html>", "found something else .it is a web page"),
        (pickle.dumps({}, 2), "a pickle of Python, which is never read"),
        (b"", "found something else .the file is empty"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_npz(path)
    with pytest.raises(DataError, match=r"cannot be read \(it is a folder, not a file\)"):
        read_npz(tmp_path)
    with pytest.raises(DataError, match="there is no such file"):
        read_npz(tmp_path / "nothing")


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def peak_of(path: Path) -> tuple[str, int]:
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_npz(path)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(10,)", r"x of shape \(10,\) and dtype uint8 takes .* bytes; the archive says 67,1"),
        (f"({1 << 40},)", "which cannot be"),
        ("(99999999999, 99999999999, 99999999999)", "which cannot be"),
    ],
)
def test_no_more_is_unpacked_than_the_header_says(tmp_path: Path, shape: str, message: str) -> None:
    """An archive of 65 KB that unpacks to 64 MB."""
    with zipfile.ZipFile(tmp_path / "mine.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header(shape) + bytes(1 << 26))
        archive.writestr("y.npy", header("(3,)") + bytes(3))
    said, peak = peak_of(tmp_path / "mine.npz")
    assert re.search(message, said)
    assert peak < 1 << 20


def test_a_size_that_the_archive_only_claims(tmp_path: Path) -> None:
    """The sizes in its directory are numbers that anybody can write."""
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", header(f"({1 << 30},)") + bytes(8))
        archive.writestr("y.npy", header("(3,)") + bytes(3))
        size = len(header(f"({1 << 30},)"))
    content = (tmp_path / "mine.npz").read_bytes()
    claimed = content.replace(struct.pack("<LL", size + 8, size + 8), struct.pack("<LL", *[size + (1 << 30)] * 2))
    assert claimed != content
    (tmp_path / "mine.npz").write_bytes(claimed)
    said, peak = peak_of(tmp_path / "mine.npz")
    assert "which cannot be" in said
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "descr",
    [
        "'|O'",
        "'nonsense'",
        "'|a4'",
        "'<i3'",
        "'<f99'",
        "[('a', '<f4')]",
        "__import__('os').abort()",
        "'<M8[s]'",
        "'|V8'",
    ],
)
def test_a_header_is_not_run(tmp_path: Path, descr: str) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", header("(2,)", descr) + bytes(16))
        archive.writestr("y.npy", header("(2,)") + bytes(2))
    with pytest.raises(DataError, match=r"x holds objects of Python|x of shape|of numbers"):
        read_npz(tmp_path / "mine.npz")


@pytest.mark.parametrize("share", [0, 1, -0.5, "half", True, float("nan")])
@pytest.mark.usefixtures("as_users_run")
def test_a_share_lies_between_0_and_1(tmp_path: Path, share: object) -> None:
    with pytest.raises(ValueError, match="the share that is held out for testing lies between 0 and 1, got"):
        read_npz(tmp_path / "mine.npz", test_share=share)


def test_a_version_of_the_format_with_long_headers(tmp_path: Path) -> None:
    """``np.save`` writes it if the names of fields need it; the length has four bytes."""
    text = b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n"
    content = b"\x93NUMPY\x02\x00" + struct.pack("<L", len(text)) + text + struct.pack("<qq", 3, 4)
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", header("(2,)") + bytes(2))
    data = read_npz(tmp_path / "mine.npz")
    assert {*data.train.x.tolist(), *data.test.x.tolist()} == {3, 4}


def test_more_axes_than_an_array_can_have(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x.npy", header(f"({'1, ' * 70})") + bytes(1))
        archive.writestr("y.npy", header("(1,)") + bytes(1))
    with pytest.raises(DataError, match="found a truncated or damaged one"):
        read_npz(tmp_path / "mine.npz")
