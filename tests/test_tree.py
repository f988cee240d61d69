import copy
import math
import pickle
from pathlib import Path
from typing import NamedTuple

import attrs
import numpy as np
import pytest

from funcnet import aligned, tree
from funcnet.layers.linear import LinearParams


def params(scale: float = 1.0) -> tuple[object, ...]:
    return ((), LinearParams(np.full((2, 3), scale, np.float32), np.arange(3, dtype=np.float32)), None)


def test_paths_read_as_python_would() -> None:
    named = tree.named_leaves((params(), params()))
    assert [path for path, _ in named] == ["[0][1].weight", "[0][1].bias", "[1][1].weight", "[1][1].bias"]
    assert [path for path, _ in tree.named_leaves(params()[1])] == ["weight", "bias"]
    assert tree.named_leaves(np.zeros(1))[0][0] == ""


def test_map_keeps_the_structure_and_freezes() -> None:
    doubled = tree.map(lambda a, b: a + b, params(), params(3.0))
    assert tree.equal(doubled[1].weight, np.full((2, 3), 4, np.float32))
    assert doubled[0] == ()
    assert doubled[2] is None
    assert not doubled[1].weight.flags.writeable


def test_map_named_tells_the_path() -> None:
    seen = []
    tree.map_named(lambda path, a: seen.append(path) or a, params())
    assert seen == ["[1].weight", "[1].bias"]


@pytest.mark.parametrize(
    "other",
    [((), None, None), ((), LinearParams(np.ones((2, 3)))), ((), LinearParams(np.ones((2, 3)), None), None)],
)
def test_map_refuses_another_structure(other: object) -> None:
    with pytest.raises(ValueError, match="trees differ at "):
        tree.map(lambda a, b: a, params(), other)


def test_numbers_and_words_are_structure() -> None:
    node = (LinearParams(np.ones((2, 3))), (2, 3), "name")
    assert [path for path, _ in tree.named_leaves(node)] == ["[0].weight"]
    assert tree.map(np.negative, node)[1:] == ((2, 3), "name")


def test_what_is_no_tree_is_named() -> None:
    with pytest.raises(TypeError, match=r"\[1\] is a list"):
        tree.leaves(((), [np.zeros(1)]))


def test_a_record_copies_what_others_could_still_write_to() -> None:
    mine = np.ones((2, 2))
    record = LinearParams(mine, tree.freeze(mine[0]))
    mine[:] = 5
    assert record.weight.max() == 1
    assert record.bias.max() == 1
    assert mine.flags.writeable


def test_a_record_does_not_copy_finished_arrays() -> None:
    finished = tree.freeze(np.ones((2, 2)))
    assert LinearParams(finished).weight is finished


def test_records_cannot_be_changed() -> None:
    record = LinearParams(np.ones((2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        record.weight[0, 0] = 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.weight = np.ones((2, 2))


def test_a_record_holds_nothing_but_arrays() -> None:
    with pytest.raises(TypeError, match="a record holds arrays, got list"):
        LinearParams([[1.0]])


def test_equality_is_of_dtype_and_content() -> None:
    assert params() == params()
    assert params() != params(2.0)
    assert tree.equal(params(), params())
    assert not tree.equal(params(), params(2.0))
    assert not tree.equal(np.zeros(2, np.float32), np.zeros(2, np.float64))
    assert LinearParams(np.ones((2, 2))) != LinearParams(np.ones((2, 2)), np.ones(2))


def test_norm_and_bytes() -> None:
    assert tree.norm(params()) == pytest.approx(np.sqrt(6 + 0 + 1 + 4))
    assert tree.norm(()) == 0
    for count in (1, 8193):  # sums go by blocks, of which the last may be short
        assert tree.norm(np.ones(count)) == pytest.approx(np.sqrt(count))
    assert tree.norm(np.asfortranarray(np.arange(6.0).reshape(2, 3))) == pytest.approx(np.sqrt(55))


def test_records_stay_read_only_when_they_travel_or_are_copied() -> None:
    for other in (pickle.loads(pickle.dumps(params())), copy.deepcopy(params())):
        assert other == params()
        assert not any(leaf.flags.writeable for leaf in tree.leaves(other))


def test_numbers_and_names_take_part_in_equality() -> None:
    assert not tree.equal((3,), (4,))
    assert not tree.equal(None, ())
    assert tree.equal((3, "a", None), (3, "a", None))
    with pytest.raises(ValueError, match=r"trees differ at \[0\]: 1 against 2"):
        tree.map(lambda a: a, (1,), (2,))


@attrs.frozen(kw_only=True)
class Named(tree.Record):
    _weight: np.ndarray = tree.array_field()
    shape: tuple[int, ...]


def test_records_that_take_their_fields_by_name_alone() -> None:
    record = Named(weight=np.ones(2), shape=(2,))
    for other in (tree.map(np.copy, record), pickle.loads(pickle.dumps(record)), copy.deepcopy(record)):
        assert tree.equal(other, record)
        assert not any(leaf.flags.writeable for leaf in tree.leaves(other))


class Pair(NamedTuple):
    first: np.ndarray
    second: np.ndarray


def test_named_tuples_keep_their_names() -> None:
    pair = tree.map(np.negative, Pair(np.ones(2), np.zeros(1)))
    assert type(pair) is Pair
    assert pair.first.tolist() == [-1, -1]


def test_map_freezes_only_what_it_made() -> None:
    mine = np.ones(3)
    (same,) = tree.map(lambda a: a, (mine,))
    (part,) = tree.map(lambda a: a[:2], (mine,))
    mine[:] = 5
    assert (same.tolist(), part.tolist()) == ([1, 1, 1], [1, 1])
    assert not same.flags.writeable


def test_norms_neither_overflow_nor_vanish() -> None:
    assert tree.norm(np.full(3, 1e20, np.float32)) == pytest.approx(1e20 * np.sqrt(3))
    assert tree.norm(np.full(4, 1e-25, np.float32)) == pytest.approx(2e-25)
    # In float64 there is no wider type. A sum beyond all floats is infinite, of several arrays too.
    assert tree.norm((np.full(1, 1.2e154), np.full(1, 1.2e154))) == math.inf


def test_records_of_views_are_copied_once_and_stay_read_only() -> None:
    params = LinearParams(np.ones((4, 3), np.float32))
    assert params.weight.__array_interface__["data"][0] % 64 == 0
    assert LinearParams(params.weight).weight is params.weight
    assert LinearParams(params.weight[:2]).weight.base is params.weight
    with pytest.raises(ValueError, match="read-only"):
        params.weight[:2][0] = 5
    writable = aligned.copy(params.weight)
    part = LinearParams(writable[:2])
    writable[:] = 5
    assert (part.weight == 1).all()
    assert pickle.loads(pickle.dumps(params)) == params


def test_a_mapped_tree_takes_what_was_made_for_it() -> None:
    made = []
    (mapped,) = tree.map(lambda a: made.append(aligned.copy(a)) or made[-1], (np.ones(3),))
    assert mapped is made[0]
    assert not mapped.flags.writeable


def test_a_part_of_what_others_write_to_is_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.ones((4, 3), np.float32))
    mapped = np.load(tmp_path / "w.npy", mmap_mode="r")
    bytes_of = bytearray(np.ones(6, np.float32).tobytes())
    loose = np.frombuffer(bytes_of, np.float32)
    loose.flags.writeable = False
    params = LinearParams(mapped[:2]), LinearParams(loose.reshape(2, 3))
    np.load(tmp_path / "w.npy", mmap_mode="r+")[:] = 5
    bytes_of[:] = bytes(len(bytes_of))
    for record in params:
        assert (record.weight == 1).all()


def test_nothing_is_not_equal_to_an_array() -> None:
    weight = np.ones((2, 3), np.float32)
    assert LinearParams(weight) != LinearParams(weight, np.zeros(3, np.float32))
    assert LinearParams(weight, np.zeros(3, np.float32)) != LinearParams(weight)


def test_a_sum_of_millions_of_squares_is_exact_to_its_last_digits() -> None:
    many = np.full(3_000_000, 0.1, np.float32)
    assert tree.squared_norm(many) == pytest.approx(3_000_000 * float(np.float32(0.1)) ** 2, rel=2e-6)


def test_a_number_of_numpys_is_an_array_of_no_axes() -> None:
    """What an operation on such an array makes."""
    params = LinearParams(np.ones((1, 1), np.float32), np.float32(2))
    assert (params.bias.shape, params.bias.flags.writeable, float(params.bias)) == ((), False, 2)


@pytest.mark.usefixtures("as_users_run")
def test_a_list_is_no_array() -> None:
    with pytest.raises(TypeError, match=r"a record holds arrays, got list: \[1, 2\]"):
        tree.readonly_view([1, 2])


def test_arrays_are_finished_again_even_if_the_first_was_all_that_was_opened() -> None:
    arrays = [tree.freeze(np.zeros(2)), tree.freeze(np.frombuffer(b"12345678", np.uint8))]
    with pytest.raises(ValueError, match="cannot set WRITEABLE"), tree.writable(arrays):
        pass
    assert not arrays[0].flags.writeable


def test_a_sum_of_squares_beyond_all_numbers_is_infinite() -> None:
    assert tree.squared_norm(np.full(20_000, 1e154)) == math.inf


def test_only_some_leaves() -> None:
    node = (params(), Pair(np.zeros(1), np.ones(2)), (2, "name"))
    left = tree.only(node, {"[0][1].bias", "[1][0]", "[9]"})
    assert left[0][1].weight is None
    assert left[0][1].bias is node[0][1].bias
    assert left[1] == Pair(node[1].first, None)
    assert left[2] == (2, "name")
    assert tree.equal(tree.combine(left, node), node)
    assert tree.only(node[0], ()) == ((), LinearParams(None, None), None)
