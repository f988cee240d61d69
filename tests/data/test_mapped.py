import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from funcnet import tree
from funcnet.data import mapped
from funcnet.data.batches import batches
from funcnet.data.dataset import Split
from funcnet.data.mapped import mapped_rows
from funcnet.random import make_key

PAGE = mmap.PAGESIZE

needs_advice = pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no advice on memory")


class Spy(mmap.mmap):
    """A mapping that remembers what it was told, and what it was asked for."""

    told: list[int]
    asked: list[tuple[int, int]]

    def madvise(self, option: int, *where: Any) -> None:
        super().madvise(option, *where)
        if option == mmap.MADV_WILLNEED:
            begin, length = where
            self.asked.append((begin, begin + length))
        else:
            assert not where
            self.told.append(option)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "rows of  bytes"
    np.random.default_rng(0).integers(0, 256, 64 * 3000, np.uint8).tofile(made)
    return made


@pytest.fixture
def spy(path: Path) -> Spy:
    with path.open("rb") as file:
        mapping = Spy(file.fileno(), 0, prot=mmap.PROT_READ)
    mapping.told, mapping.asked = [], []
    return mapping


@pytest.fixture
def _told_which_file(path: Path) -> None:
    """Some systems do not say what is mapped, and some file systems (overlays) tell of another file."""
    maps, status = Path("/proc/self/maps"), path.stat()
    images = np.memmap(path, np.uint8, "r")
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x} {status.st_ino} "
    if not maps.exists() or not any(str(path) in line and device in line for line in maps.read_text().splitlines()):
        pytest.skip("this system does not tell which file is mapped")
    del images


@pytest.fixture
def _without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_file_at", lambda address: None)


@needs_advice
@pytest.mark.usefixtures("_without_the_file")
def test_rows_are_asked_for_by_the_pages_they_lie_on(spy: Spy) -> None:
    rows = np.ndarray((60, 3000), np.uint8, spy, offset=1000)
    with mapped_rows(rows.view()) as found:
        assert found is not None
        found.ask(np.array([0, 59, 7]))
    for row, (begin, end) in zip((0, 59, 7), spy.asked, strict=True):
        first = 1000 + row * 3000
        assert begin % PAGE == 0
        assert begin <= first < begin + PAGE
        assert end == first + 3000


@pytest.mark.usefixtures("_told_which_file")
def test_rows_are_asked_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mapping that begins inside of the file, and an array that begins inside of the mapping."""
    asked = []
    rows = np.memmap(path, np.uint8, "r", offset=PAGE + 1000, shape=(20, 3000))
    with mapped_rows(rows[2:]) as found:
        assert found is not None
        monkeypatch.setattr(os, "posix_fadvise", lambda file, *what: asked.append(what))
        found.ask(np.array([0, 17, 7]))
        taken = found.take(np.array([0, 17, 7]))
    assert asked == [(PAGE + 1000 + row * 3000, 3000, os.POSIX_FADV_WILLNEED) for row in (2, 19, 9)]
    assert np.array_equal(taken, rows[[2, 19, 9]])


@needs_advice
@pytest.mark.usefixtures("_without_the_file")
def test_a_batch_is_asked_for_before_the_one_before_it_is_out(spy: Spy) -> None:
    split = Split(np.ndarray((64, 3000), np.uint8, spy), np.arange(64))
    asked = [len(spy.asked) for _ in batches(split, 10, key=make_key(0))]
    assert asked == [20, 30, 40, 50, 60, 64, 64]
    assert len(set(spy.asked)) == 64
    assert spy.told == [mmap.MADV_RANDOM]


@needs_advice
def test_what_is_read_in_order_is_left_to_the_system(spy: Spy) -> None:
    split = Split(np.ndarray((64, 3000), np.uint8, spy), np.arange(64))
    assert len(list(batches(split, 10))) == 7
    assert spy.asked == []
    assert spy.told == [mmap.MADV_SEQUENTIAL]


def same_batches(images: np.ndarray, others: np.ndarray) -> Iterator[bool]:
    labels = np.arange(len(images))
    for a, b in zip(
        batches(Split(images, labels), 8, key=make_key(1)),
        batches(Split(others, labels), 8, key=make_key(1)),
        strict=True,
    ):
        yield tree.equal((a.x, a.y), (np.asarray(b.x), b.y))


@pytest.mark.parametrize("of", ["bytes", "npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_batches_of_a_mapped_file_are_those_of_an_array(tmp_path: Path, of: str, dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 7)).astype(dtype)
    path = tmp_path / "images.npy"
    if of == "npy":
        np.save(path, images)
        mapped = np.load(path, mmap_mode="r")
    else:
        images.tofile(path)
        mapped = np.memmap(path, dtype, "r", shape=images.shape)
    assert all(same_batches(images, mapped))


def test_what_was_changed_in_memory_alone_is_seen(path: Path) -> None:
    images = np.memmap(path, np.uint8, "c", shape=(64, 3000))
    images[7] = 5
    assert all(same_batches(np.array(images), images))


@pytest.mark.parametrize(
    "gone", ["removed", "replaced", "replaced by one of the name that the system gives to it then"]
)
def test_a_file_that_is_no_longer_the_one_that_was_mapped(path: Path, gone: str) -> None:
    images = np.memmap(path, np.uint8, "r", shape=(64, 3000))
    before = np.array(images)
    path.unlink()
    if gone != "removed":
        np.zeros_like(before).tofile(path if gone == "replaced" else path.with_name(f"{path.name} (deleted)"))
    assert all(same_batches(before, images))


@pytest.mark.usefixtures("_told_which_file")
def test_a_file_that_became_shorter_is_an_error(path: Path) -> None:
    """And no end of the process, as touching the mapping would be."""
    images = np.memmap(path, np.uint8, "r", shape=(64, 3000))
    os.truncate(path, 30 * 3000 + 1)
    with mapped_rows(images) as rows:
        assert rows is not None
        assert rows.take(np.array([29])).shape == (1, 3000)
        with pytest.raises(OSError, match="row 30 of a mapped file ends after 1 of 3000 bytes"):
            rows.take(np.array([3, 30]))


@pytest.mark.usefixtures("_told_which_file")
def test_no_file_stays_open(path: Path) -> None:
    images = np.memmap(path, np.uint8, "r", shape=(64, 3000))

    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(3):
        unfinished = batches(Split(images, np.arange(64)), 8, key=make_key(0))
        next(unfinished)
        assert count() == before + 1
        unfinished.close()
    assert count() == before


@pytest.mark.parametrize("lay", [lambda array: array, lambda array: array.T])
def test_arrays_in_memory_are_no_mapped_ones(lay: Any) -> None:
    with mapped_rows(lay(np.zeros((3, 4)))) as rows:
        assert rows is None


@needs_advice
def test_rows_that_do_not_lie_side_by_side_are_not_asked_for(spy: Spy) -> None:
    with mapped_rows(np.ndarray((64, 3000), np.uint8, spy).T) as rows:
        assert rows is None
    assert spy.asked == spy.told == []


@pytest.mark.parametrize(
    "cuts", [(np.s_[::64],), (np.s_[63:64],), (np.s_[::-1], np.s_[:1]), (np.s_[5:6, 10:20],), (np.s_[:, :0],)]
)
def test_a_single_row_may_have_any_stride(path: Path, cuts: Any) -> None:
    images = np.memmap(path, np.uint8, "r", shape=(64, 3000))
    for cut in cuts:
        images = images[cut]
    (batch,) = batches(Split(images, np.zeros(len(images), int)), 64, key=make_key(0))
    assert sorted(batch.x.tolist()) == sorted(np.array(images).tolist())


@pytest.mark.usefixtures("_told_which_file")
@pytest.mark.parametrize("name", [b"a\rb", "a\u2028b".encode(), b"\xff"])
def test_the_names_of_other_mapped_files_may_be_anything(tmp_path: Path, path: Path, name: bytes) -> None:
    other = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118, a name that is no text
    try:
        with open(other, "wb") as file:  # noqa: PTH123
            file.write(bytes(PAGE))
    except OSError:
        pytest.skip("this file system takes no such name")
    images = np.memmap(path, np.uint8, "r", shape=(64, 3000))
    with open(other, "rb") as file:  # noqa: PTH123
        # Many, of which some lie before the images: the system tells of them in this order.
        others = [mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) for _ in range(300)]
    assert min(np.frombuffer(other, np.uint8).ctypes.data for other in others) < images.ctypes.data
    (batch,) = batches(Split(images, np.zeros(64, int)), 64, key=make_key(0))
    assert sorted(batch.x.tolist()) == sorted(np.array(images).tolist())
    del others
