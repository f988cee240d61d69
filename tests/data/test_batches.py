import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet import random
from funcnet.check.strategies import keys
from funcnet.data.batches import batch_count, batches, normalization
from funcnet.data.dataset import Split
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError

image_shapes = st.sampled_from([(), (3,), (2, 3), (5, 3, 1), (5, 6, 3)])


def images(key: Key, count: int, shape: tuple[int, ...]) -> np.ndarray:
    return random.randint(key, (count, *shape), 0, 256).astype(np.uint8)


@given(st.integers(1, 40), image_shapes, keys())
def test_normalised_images_have_mean_0_and_deviation_1(count: int, shape: tuple[int, ...], key: Key) -> None:
    x = images(key, count, shape)
    y = normalization(x)(x)
    assert (y.dtype, y.shape) == (np.float32, x.shape)
    axes = tuple(range(x.ndim - 1)) if len(shape) == 3 else None
    np.testing.assert_allclose(y.mean(axes, dtype=np.float64), 0, atol=2e-6)
    deviation = x.std(axes)
    np.testing.assert_allclose(y.std(axes, dtype=np.float64), np.where(deviation > 0, 1, 0), atol=1e-5)


def test_weights_go_with_their_examples() -> None:
    x = np.arange(14, dtype=np.uint8).reshape(7, 2)
    weight = np.arange(7, dtype=np.float32)
    split = Split(x, np.arange(7), weight)
    for key in (None, make_key(0)):
        made = list(batches(split, 3, normalize=normalization(x), key=key))
        assert [len(batch.weight) for batch in made] == [3, 3, 1]
        for batch in made:
            assert batch.weight.tolist() == batch.y.tolist()
            assert (batch.weight.dtype, batch.weight.flags.writeable) == (np.float32, False)
    assert next(batches(Split(x, np.arange(7)), 3)).weight is None


def test_channels_have_statistics_of_their_own() -> None:
    x = np.zeros((2, 1, 1, 2), np.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = (0, 2), (100, 200)
    y = normalization(x)(x)
    assert y[:, 0, 0].tolist() == [[-1, -1], [1, 1]]


def test_statistics_do_not_depend_on_how_the_images_lie() -> None:
    x = images(make_key(0), 1500, (4, 4, 3))
    planar = np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert normalization(x) == normalization(planar)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("x", [np.zeros((3, 2)), np.zeros((0, 2), np.uint8)])
def test_statistics_are_of_bytes_and_of_something(x: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="expected uint8 images, at least one"):
        normalization(x)


@given(st.integers(0, 30), st.integers(1, 35), keys(), st.booleans())
def test_every_example_comes_once_with_its_target(count: int, size: int, key: Key, shuffled: bool) -> None:
    x = np.arange(count, dtype=np.float32).reshape(count, 1)
    split = Split(x, np.arange(count))
    parts = list(batches(split, size, key=key if shuffled else None))
    assert len(parts) == batch_count(split, size)
    assert [len(b) for b in parts[:-1]] == [size] * (len(parts) - 1)
    rows = [row for b in parts for row in b.y.tolist()]
    assert [row for b in parts for row in b.x[:, 0].tolist()] == rows
    assert sorted(rows) == list(range(count))
    assert shuffled or rows == list(range(count))


@given(st.integers(0, 30), st.integers(1, 10), st.integers(0, 31), keys(), st.booleans())
def test_batches_from_a_place_on_are_the_same(count: int, size: int, start: int, key: Key, shuffled: bool) -> None:
    split = Split(np.arange(count, dtype=np.float32).reshape(count, 1), np.arange(count))
    chosen = key if shuffled else None
    whole = [b.y.tolist() for b in batches(split, size, key=chosen)]
    assert [b.y.tolist() for b in batches(split, size, key=chosen, start=start)] == whole[start:]


@given(st.integers(1, 60), st.integers(1, 5), keys(), st.booleans())
def test_batches_that_are_kept_stay_as_they_were(count: int, size: int, key: Key, shuffled: bool) -> None:
    """Though the memory of those that are not is used again: here a part of every other batch is kept."""
    x = images(key, count, (2, 2))
    normalize = normalization(x)
    kept = [
        (batch.x[:, 0], normalize(x[batch.y])[:, 0])
        for number, batch in enumerate(
            batches(Split(x, np.arange(count)), size, normalize=normalize, key=key if shuffled else None)
        )
        if number % 2 == 0
    ]
    for part, wanted in kept:
        np.testing.assert_array_equal(part, wanted)


def test_a_batch_larger_than_the_set_is_the_set() -> None:
    """And takes no more memory, however large it was to be."""
    x = images(make_key(0), 3, (2, 2))
    (batch,) = batches(Split(x, np.arange(3)), 10**15, normalize=normalization(x))
    np.testing.assert_array_equal(batch.x, normalization(x)(x))


def test_the_order_is_the_keys() -> None:
    split = Split(np.zeros((50, 1)), np.arange(50))

    def order(seed: int) -> list[int]:
        return [row for b in batches(split, 8, key=make_key(seed)) for row in b.y.tolist()]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_batches_have_a_size() -> None:
    with pytest.raises(ValueError, match="the size of a batch is a whole number from 1 up, got 0"):
        batches(Split(np.zeros((5, 1)), np.zeros(5)), 0)
    with pytest.raises(ValueError, match="the first batch is a whole number from 0 up, got -1"):
        batches(Split(np.zeros((5, 1)), np.zeros(5)), 1, start=-1)


def test_a_batch_cannot_be_written_through() -> None:
    """It may be a view of the whole set."""
    batch = next(batches(Split(np.zeros((5, 1)), np.zeros(5)), 2))
    assert not batch.x.flags.writeable
    assert not batch.y.flags.writeable


def test_a_normalization_is_of_one_shape() -> None:
    normalize = normalization(images(make_key(0), 3, (4, 4, 3)))
    with pytest.raises(ShapeError, match=r"expected x of shape \(batch, 4, 4, 3\), got shape \(3, 1, 4, 3\)"):
        normalize(np.zeros((3, 1, 4, 3), np.uint8))


def test_images_are_normalised_over_an_array_of_their_shape() -> None:
    x = images(make_key(0), 3, (4, 4))
    normalize = normalization(x)
    y = np.empty(x.shape, np.float32)
    assert normalize(x, y) is y
    np.testing.assert_array_equal(y, normalize(x))


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("wrong", [np.empty((5, 4, 4), np.float32), np.empty((3, 4, 4))])
def test_images_are_not_normalised_over_an_array_that_does_not_fit(wrong: np.ndarray) -> None:
    """One image would fill an array of many."""
    x = images(make_key(0), 3, (4, 4))
    with pytest.raises(ShapeError, match=r"normalization: expected y"):
        normalization(x)(x, wrong)


@pytest.mark.parametrize("shape", [(28, 28), (8, 8, 3)])
def test_images_of_another_shape_are_not_normalised(shape: tuple[int, ...]) -> None:
    """Of one channel too, whose numbers would fit any shape."""
    normalize = normalization(np.arange(2 * math.prod(shape)).astype(np.uint8).reshape(2, *shape))
    assert normalize.scale.shape == normalize.shift.shape == shape
    with pytest.raises(ShapeError, match="normalization: expected x of shape"):
        normalize(np.zeros((2, 4, *shape[1:]), np.uint8))


@pytest.mark.usefixtures("as_users_run")
def test_batches_of_no_size_cannot_be_counted() -> None:
    split = Split(np.zeros((50, 1)), np.zeros(50))
    assert [batch_count(split, size) for size in (1, 49, 50, 51)] == [50, 2, 1, 1]
    for size in (0, -3, 2.5):
        with pytest.raises(ValueError, match="the size of a batch is a whole number from 1 up"):
            batch_count(split, size)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 28, 30), (2, 100, 80), (3, 8, 8), (16, 64, 64)])
def test_images_with_channels_first_are_refused(shape: tuple[int, ...]) -> None:
    """Their statistics would be those of columns."""
    with pytest.raises(ShapeError) as caught:
        normalization(np.zeros((2, *shape), np.uint8))
    assert caught.value.given.endswith("(channels first? x.transpose(0, 2, 3, 1) puts them last)")
    right = normalization(np.ones((2, *shape), np.uint8).transpose(0, 2, 3, 1))
    assert right.scale.shape == (*shape[1:], shape[0])


@pytest.mark.parametrize("shape", [(3, 5, 3), (2, 3, 3), (8, 8, 8), (5, 6, 7), (2, 3, 4), (16, 8, 9)])
def test_images_whose_channels_may_be_any_axis_are_warned_of(shape: tuple[int, ...]) -> None:
    first, middle, last = shape
    with pytest.warns(UserWarning, match=f"{first} x {middle} pixels of {last} channels.*transpose") as caught:
        made = normalization(np.ones((2, *shape), np.uint8))
    assert made.scale.shape == shape
    assert Path(caught[0].filename).name != "batches.py"


@pytest.mark.parametrize(
    "shape",
    [(28, 28, 1), (32, 32, 3), (5, 4, 4), (3, 3, 1), (8, 8, 16), (1, 28, 1), (1, 1, 1), (28, 28), (7,), (2, 3, 4, 5)],
)
def test_other_shapes_pass_without_a_word(shape: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normalization(np.ones((2, *shape), np.uint8)).scale.shape == shape
