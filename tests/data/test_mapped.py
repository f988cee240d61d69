import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from funcnet import tree
from funcnet.data.batches import batches
from funcnet.data.dataset import Split
from funcnet.data.mapped import read_ahead
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
def spy(tmp_path: Path) -> Spy:
    path = tmp_path / "rows"
    np.arange(64 * 3000, dtype=np.uint32).astype(np.uint8).tofile(path)
    with path.open("rb") as file:
        mapping = Spy(file.fileno(), 0, prot=mmap.PROT_READ)
    mapping.told, mapping.asked = [], []
    return mapping


@needs_advice
def test_rows_are_asked_for_by_the_pages_they_lie_on(spy: Spy) -> None:
    rows = np.ndarray((60, 3000), np.uint8, spy, offset=1000)
    read_ahead(rows.view())(np.array([0, 59, 7]))
    for row, (begin, end) in zip((0, 59, 7), spy.asked, strict=True):
        first = 1000 + row * 3000
        assert begin % PAGE == 0
        assert begin <= first < begin + PAGE
        assert end == first + 3000


@needs_advice
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


@pytest.mark.parametrize("of", ["bytes", "npy"])
def test_batches_of_a_mapped_file_are_those_of_an_array(tmp_path: Path, of: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 7), np.uint8)
    path = tmp_path / "images.npy"
    if of == "npy":
        np.save(path, images)
        mapped = np.load(path, mmap_mode="r")
    else:
        images.tofile(path)
        mapped = np.memmap(path, np.uint8, "r", shape=images.shape)
    labels = np.arange(50)
    for a, b in zip(
        batches(Split(images, labels), 8, key=make_key(1)),
        batches(Split(mapped, labels), 8, key=make_key(1)),
        strict=True,
    ):
        assert tree.equal((a.x, a.y), (np.asarray(b.x), b.y))


def test_arrays_in_memory_are_not_asked_for() -> None:
    read_ahead(np.zeros((3, 4)))(np.array([2, 0]))
    read_ahead(np.zeros((3, 4)).T)(np.array([2, 0]))


@needs_advice
def test_rows_that_do_not_lie_side_by_side_are_not_asked_for(spy: Spy) -> None:
    read_ahead(np.ndarray((64, 3000), np.uint8, spy).T)(np.array([2, 0]))
    assert spy.asked == []
