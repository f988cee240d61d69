from typing import Any

import numpy as np
import pytest

from funcnet.engines.numpy.chunks import all_of, by_chunks, same_layout
from funcnet.shapes import Array

SHAPES: list[tuple[int, ...]] = [
    (),
    (0,),
    (1,),
    (4096,),
    (4097,),
    (3, 1366),
    (32768,),
    (32769,),
    (7, 5001),
    (4, 5, 1000),
]
LAYS: dict[str, Any] = {
    "by rows": lambda x: x,
    "by columns": lambda x: np.asarray(x, order="F"),
    "with gaps": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lay_x", LAYS)
@pytest.mark.parametrize("lay_z", LAYS)
def test_every_entry_is_made_once_of_its_own(shape: tuple[int, ...], lay_x: str, lay_z: str) -> None:
    draw = np.random.default_rng(0)
    x, z = (LAYS[lay](draw.standard_normal(shape)) for lay in (lay_x, lay_z))
    total, calls = LAYS[lay_z](np.ones(shape)), LAYS[lay_x](np.zeros(shape))

    def f(x: Array, z: Array, total: Array, calls: Array) -> None:
        total += x * z
        calls += 1

    before = x.copy(), z.copy()
    by_chunks(f, x, z, total, calls)
    np.testing.assert_array_equal(total, 1 + x * z)
    np.testing.assert_array_equal(calls, 1)
    np.testing.assert_array_equal((x, z), before)


def test_large_arrays_that_lie_alike_go_by_rows_and_others_whole() -> None:
    seen: list[tuple[int, ...]] = []

    def look(x: Array, y: Array) -> None:
        seen.append(x.shape)

    by_chunks(look, np.zeros((4, 1024)), np.zeros((4, 1024)))
    by_chunks(look, np.zeros((3, 12000)), np.zeros((3, 12000)))
    by_chunks(look, np.zeros((3, 12000)), np.zeros((12000, 3)).T)
    assert seen == [(4, 1024), (32768,), (3232,), (3, 12000)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_of_one_number_against_arrays_of_every_size(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    smaller = np.minimum(x, all_of(0.5, x))
    assert smaller.dtype == np.float32
    np.testing.assert_array_equal(smaller, np.where(x < 0.5, x, np.float32(0.5)))
    assert not all_of(0.5, x).flags.writeable


def test_what_lies_alike() -> None:
    x = np.zeros((3, 4))
    assert same_layout((x, x, np.zeros((3, 4))))
    assert same_layout((x.T, x.T))
    assert same_layout((np.zeros((1, 4)), np.asfortranarray(np.zeros((1, 4)))))
    assert not same_layout((x, np.asfortranarray(x)))
    assert not same_layout((x[:, ::2], x[:, ::2]))
