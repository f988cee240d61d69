import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.data.buffer_pool import buffer_pool

FLOAT = np.dtype(np.float32)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80))
def test_what_is_referred_to_is_not_given_out_again(takes: list[tuple[bool, int]]) -> None:
    """Every array, or only a view of it, is kept until one of the takes after it lets it go."""
    new = buffer_pool((2, 3), FLOAT)
    kept: list[tuple[int, np.ndarray]] = []
    for number, (view, place) in enumerate(takes):
        array = new()
        assert (array.shape, array.dtype, array.flags.writeable) == ((2, 3), FLOAT, True)
        array[...] = number
        kept.append((number, array[1:].T if view else array))
        del array
        if place < len(kept):
            del kept[place]
        assert all((part == number).all() for number, part in kept)


@pytest.mark.parametrize(("length", "count"), [(1, 16), (1 << 17, 16), (1 << 18, 8), (1 << 20, 2), (1 << 22, 2)])
def test_memory_comes_round_in_turn(length: int, count: int) -> None:
    """16 arrays, fewer of those that 8 MiB do not hold, and at least two."""
    new = buffer_pool((length,), FLOAT)
    first = [address(new()) for _ in range(count)]
    assert len(set(first)) == count
    assert [address(new()) for _ in range(2 * count)] == first * 2


def test_an_array_without_entries() -> None:
    new = buffer_pool((0, 3), FLOAT)
    assert {new().shape for _ in range(40)} == {(0, 3)}
