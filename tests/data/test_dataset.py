import copy
import pickle

import numpy as np
import pytest

from funcnet.data.dataset import DataError, Dataset, Split, hold_out
from funcnet.random import make_key
from funcnet.shapes import ShapeError


def split(count: int) -> Split:
    return Split(np.arange(count * 2, dtype=np.uint8).reshape(count, 2), np.arange(count))


def test_rows_go_together() -> None:
    taken = split(5).take(np.array([3, 0]))
    assert taken.x.tolist() == [[6, 7], [0, 1]]
    assert taken.y.tolist() == [3, 0]
    assert (len(split(5)), split(5).in_shape) == (5, (2,))


def test_rows_of_a_view_are_gathered_without_copying_it_whole() -> None:
    view = np.arange(12, dtype=np.uint8).reshape(2, 6).T
    assert not view.flags.c_contiguous
    assert Split(view, np.arange(6)).take(np.array([5, 1])).x.tolist() == [[5, 11], [1, 7]]


def test_examples_and_targets_agree() -> None:
    with pytest.raises(DataError, match="3 examples but 2 targets"):
        Split(np.zeros((3, 1)), np.zeros(2))


def test_weights_are_taken_and_held_out_with_their_examples() -> None:
    weighted = Split(np.zeros((5, 2)), np.arange(5), np.arange(5.0))
    assert weighted.take(np.array([3, 0])).weight.tolist() == [3, 0]
    held = hold_out(Dataset("d", weighted, split_of_floats(), ()), 2, make_key(0))
    for part in (held.train, held.validation):
        assert part.weight.tolist() == part.y.tolist()


def split_of_floats() -> Split:
    return Split(np.zeros((1, 2)), np.zeros(1, int))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(2), r"expected weights of shape \(3,\), one for each example, got shape \(2,\)"),
        (np.ones((3, 1)), r"got shape \(3, 1\)"),
        (np.ones(3, int), r"weights of floating-point numbers, got int64: weight.astype\(np.float32\)"),
        (np.array([1, -1, 0.0]), "weights that are finite and not negative, found -1 to 1"),
        (np.array([1, np.nan, 0]), "weights that are finite and not negative, found nan to nan"),
        (np.array([1, np.inf, 0]), "weights that are finite and not negative, found 0 to inf"),
    ],
)
@pytest.mark.usefixtures("as_users_run")
def test_wrong_weights_are_refused(weight: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(np.zeros((3, 1)), np.zeros(3), weight)
    with pytest.raises(TypeError, match="weight is an array of NumPy, got a list"):
        Split(np.zeros((1, 1)), np.zeros(1), [1.0])


def labelled(*sizes: int) -> Dataset:
    """Classes of these sizes, each example with a number of its own, and a testing part of one."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    train = Split(np.arange(len(y), dtype=np.float32)[:, None], y)
    return Dataset("d", train, train.take(np.array([0])), tuple(map(str, range(len(sizes)))))


def held_sizes(dataset: Dataset, count: int) -> list[int]:
    held = hold_out(dataset, count, make_key(0))
    return np.bincount(held.validation.y, minlength=len(dataset.classes)).tolist()


def test_what_is_held_out_is_for_validation_and_the_testing_part_stays() -> None:
    data = labelled(6, 4)
    held = hold_out(data, 4, make_key(0))
    assert (len(held.train), len(held.validation), held.test) == (6, 4, data.test)
    assert sorted([*held.train.x[:, 0].tolist(), *held.validation.x[:, 0].tolist()]) == list(range(10))
    for part in (held.train, held.validation):  # examples keep their order and their labels
        assert (np.diff(part.x[:, 0]) > 0).all()
        assert part.y.tolist() == data.train.y[part.x[:, 0].astype(int)].tolist()
    assert (held.name, held.classes) == ("d", data.classes)
    assert [name for name, _ in held.parts] == ["training", "validation", "testing"]
    assert [name for name, _ in data.parts] == ["training", "testing"]
    with pytest.raises(ValueError, match="d has a validation part already, of 4 examples"):
        hold_out(held, 1, make_key(0))


def test_each_class_keeps_its_share() -> None:
    assert held_sizes(labelled(600, 300, 100), 100) == [60, 30, 10]
    assert held_sizes(labelled(10, 10, 10), 10) == [4, 3, 3]
    assert held_sizes(labelled(50, 30, 20), 7) == [4, 2, 1]  # of 3.5, 2.1 and 1.4


def test_rare_classes_stay_in_training() -> None:
    assert held_sizes(labelled(1, 2, 97), 50) == [0, 1, 49]
    assert held_sizes(labelled(1, 1, 10), 9) == [0, 0, 9]
    assert held_sizes(labelled(2, 2, 2), 3) == [1, 1, 1]


def test_other_keys_hold_out_others_and_the_same_key_the_same() -> None:
    rows = [hold_out(labelled(60, 40), 50, make_key(seed)).validation.x[:, 0].tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


def test_targets_that_are_no_labels_are_held_out_without_regard_for_them() -> None:
    x = np.zeros((10, 1), np.float32)
    for y in (np.linspace(0, 1, 10), np.zeros((10, 2)), np.arange(10), np.arange(10) % 4):
        held = hold_out(Dataset("d", Split(x, y), Split(x, y), ()), 8, make_key(0))
        assert (len(held.train), len(held.validation)) == (2, 8)


@pytest.mark.parametrize("count", [0, 10, 11])
def test_both_parts_keep_examples(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 9 of 10 examples, not {count}"):
        hold_out(Dataset("d", split(10), split(3), ()), count, make_key(0))


@pytest.mark.usefixtures("as_users_run")
def test_a_mask_is_not_taken_for_rows() -> None:
    with pytest.raises(ShapeError, match=r"np.flatnonzero\(mask\)"):
        split(3).take(np.array([True, False, True]))


def test_the_parts_are_alike() -> None:
    with pytest.raises(DataError, match=r"d: .* uint8 of shape \(2,\), found float64 of shape \(3,\)"):
        Dataset("d", split(5), Split(np.zeros((4, 3)), np.zeros(4)), ())
    with pytest.raises(DataError, match=r"d: expected validation examples like those for training, uint8"):
        Dataset("d", split(5), split(4), (), validation=Split(np.zeros((4, 3)), np.zeros(4)))


def test_a_split_cannot_be_written_through() -> None:
    mine = np.zeros((3, 2))
    part = Split(mine, np.zeros(3))
    assert not part.x.flags.writeable
    assert mine.flags.writeable


@pytest.mark.usefixtures("as_users_run")
def test_lists_are_no_arrays() -> None:
    with pytest.raises(TypeError, match=r"x is an array of NumPy, got a list: np.asarray\(x\) makes one"):
        Split([[1, 2]], [1])
    with pytest.raises(TypeError, match=r"y is an array of NumPy, got a list: np.asarray\(y\) makes one"):
        Split(np.zeros((1, 2)), [1])
    with pytest.raises(ShapeError, match=r"take: expected an array of rows of an integer dtype .*, got a list"):
        Split(np.zeros((2, 2)), np.zeros(2)).take([1])


@pytest.mark.usefixtures("as_users_run")
def test_examples_are_held_out_in_whole_numbers() -> None:
    split = Split(np.zeros((4, 2)), np.zeros(4))
    for count in (2.5, True):
        with pytest.raises(ValueError, match="the number of examples to hold out is a whole number"):
            hold_out(Dataset("d", split, split, ()), count, make_key(0))


def test_a_split_comes_back_as_read_only_as_before() -> None:
    split = Split(np.zeros((4, 2)), np.zeros(4))
    for other in (pickle.loads(pickle.dumps(split)), copy.deepcopy(split)):
        assert not other.x.flags.writeable
        assert not other.y.flags.writeable


def test_the_parts_are_of_one_dtype() -> None:
    train, test = (Split(np.zeros((4, 2), dtype), np.zeros(4)) for dtype in (np.uint8, np.float32))
    with pytest.raises(DataError, match="expected testing examples like those for training, uint8"):
        Dataset("d", train, test, ())


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(2), np.array(["cat", "dog"]), r"expected y of numbers, got dtype <U3: np.unique\(y, return_inverse"),
        (np.array([1, "a"], object), np.zeros(2), r"expected x of numbers, got dtype object: x.astype\(np.float32\)"),
        (np.zeros(()), np.zeros(1), r"expected x of shape \(n, ...\), one entry for each example, got shape \(\)"),
    ],
)
def test_what_is_no_numbers_is_refused(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(x, y)


@pytest.mark.usefixtures("as_users_run")
def test_an_array_with_a_mask_does_not_lose_it() -> None:
    with pytest.raises(TypeError, match="x is an array of NumPy, got a MaskedArray"):
        Split(np.ma.masked_array([1.0, 2.0], [True, False]), np.zeros(2))


@pytest.mark.usefixtures("as_users_run")
def test_parts_and_classes_are_what_they_are_named() -> None:
    pair = (np.zeros((2, 2)), np.zeros(2))
    with pytest.raises(TypeError, match=r"train is a Split, got a tuple: Split\(x, y\) makes one"):
        Dataset("d", pair, split(2), ())
    with pytest.raises(TypeError, match=r"test is a Split, got a tuple"):
        Dataset("d", split(2), pair, ())
    with pytest.raises(TypeError, match=r"validation is a Split, got a tuple"):
        Dataset("d", split(2), split(2), (), validation=pair)
    with pytest.raises(TypeError, match=r"classes are the names of the classes, .*, got 'ab'"):
        Dataset("d", split(2), split(2), "ab")
    assert Dataset("d", split(2), split(2), ["a", "b"]).classes == ("a", "b")


def test_what_is_held_out_says_so() -> None:
    data = Dataset("d", split(10), split(3), ("a",), description="pairs", origin="made up")
    held = hold_out(data, 4, make_key(0))
    assert held.description == "pairs"
    assert held.origin == "made up; 4 of the training examples of d were held out at random for validation"
