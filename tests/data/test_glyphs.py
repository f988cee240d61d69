import hashlib

import numpy as np
import pytest

from funcnet.data.glyphs import CLASSES, glyphs, glyphs_dataset
from funcnet.random import make_key


def test_the_bits_never_change() -> None:
    split = glyphs(make_key(0), 600)
    digest = hashlib.sha256(split.x.tobytes() + split.y.tobytes()).hexdigest()
    assert digest == "1d225e2484066d451988109f1c617b5f8218a0168f3fb26ff639ec0a174d1e92"


def test_images_and_labels() -> None:
    split = glyphs(make_key(1), 1000)
    assert (split.x.shape, split.x.dtype, split.y.dtype) == ((1000, 28, 28), np.uint8, np.uint8)
    assert set(split.y.tolist()) == set(range(len(CLASSES)))
    assert not split.x.flags.writeable
    # Ink in the middle, none at the rim.
    assert split.x[:, 8:20, 8:20].mean() > 5 * split.x[:, [0, -1]].mean()


def test_the_first_images_do_not_depend_on_the_count() -> None:
    few, many = glyphs(make_key(2), 37), glyphs(make_key(2), 700)
    assert np.array_equal(few.x, many.x[:37])
    assert np.array_equal(few.y, many.y[:37])


def test_keys_give_different_images() -> None:
    a, b = glyphs(make_key(0), 20), glyphs(make_key(1), 20)
    assert not np.array_equal(a.x, b.x)
    data = glyphs_dataset(make_key(0), 20, 20)
    assert not np.array_equal(data.train.x, data.test.x)


def test_the_same_digit_never_looks_the_same_twice() -> None:
    split = glyphs(make_key(3), 400)
    assert len({image.tobytes() for image in split.x}) == 400


def test_digits_keep_their_holes() -> None:
    """The middle of a 0 is empty, that of an 8 is not: a filled outline would show."""
    split = glyphs(make_key(4), 3000)
    middle = split.x[:, 13:15, 13:15].mean(axis=(1, 2))
    assert np.median(middle[split.y == 0]) < 60
    assert np.median(middle[split.y == 8]) > 120


def test_any_number_of_images() -> None:
    assert glyphs(make_key(0), 0).x.shape == (0, 28, 28)
    with pytest.raises(ValueError, match="cannot be negative, got -1"):
        glyphs(make_key(0), -1)
