import itertools
import math

import attrs
import numpy as np
import pytest
from runs import examination

from funcnet.examination import Picture
from funcnet.report.pictures import augmented_figure, filters_figure, mistakes_figure
from funcnet.report.style import COLUMN

ANSWERS = examination().answers


def test_a_mistake_with_what_was_predicted_and_what_it_is() -> None:
    figure = mistakes_figure(ANSWERS, ("cat", "dog", "US$"))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["dog\n(US\\$)\n97%", "cat\n(dog)\n66%"]
    first, second = axes.images
    np.testing.assert_array_equal(first.get_array(), np.arange(12).reshape(2, 2, 3))
    for image, text in zip((first, second), axes.texts, strict=True):
        left, right, bottom, top = image.get_extent()
        assert left < text.get_position()[0] < right
        assert top - 0.1 < text.get_position()[1] < top < bottom  # y goes down
    assert not axes.axison


def test_long_names_do_not_overlap() -> None:
    mistakes = tuple(attrs.evolve(ANSWERS.mistakes[0], confidence=1.0) for _ in range(12))
    names = ("Pullover (wool)", "Trouser and top", "Ankle boot wide")
    figure = mistakes_figure(attrs.evolve(ANSWERS, mistakes=mistakes), names)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [part.get_window_extent() for part in (*axes.texts, *axes.images)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_as_many_rows_as_it_takes() -> None:
    mistakes = ANSWERS.mistakes[:1] * 13 + (attrs.evolve(ANSWERS.mistakes[0], picture=None),)
    figure = mistakes_figure(attrs.evolve(ANSWERS, mistakes=mistakes), ("cat", "dog", "cow"))
    (axes,) = figure.axes
    assert len(axes.images) == 13
    assert len({image.get_extent()[3] for image in axes.images}) == 3
    assert figure.get_figheight() == 3 * 1.25


def test_a_picture_keeps_its_shape() -> None:
    figure = filters_figure((Picture((2, 6), bytes(range(12))),))
    figure.draw_without_rendering()
    box = figure.axes[0].images[0].get_window_extent()
    assert box.width == pytest.approx(3 * box.height)
    assert figure.bbox.containsx(box.x1)


def test_grey_weights_are_red_above_zero_blue_below_and_nothing_at_zero() -> None:
    """What is 0 lets the page through, on a dark one too."""
    (axes, *_) = filters_figure((Picture((1, 3), bytes([0, 128, 255])),)).axes
    (image,) = axes.images
    low, middle, high = image.cmap(image.norm(image.get_array()))[0]
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert low[3] == high[3] == 1
    assert middle[3] < 0.01
    assert image.get_interpolation() == "nearest"


def test_a_telephone_has_fewer_pictures_in_a_row() -> None:
    twelve = attrs.evolve(ANSWERS, mistakes=ANSWERS.mistakes[:1] * 12)
    wide, narrow = (
        mistakes_figure(twelve, ("cat", "dog", "US$")),
        mistakes_figure(twelve, ("cat", "dog", "US$"), COLUMN),
    )
    columns = [len({image.get_extent()[0] for image in figure.axes[0].images}) for figure in (wide, narrow)]
    assert columns == [6, 3]


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3)])
def test_augmented_images_stand_below_the_originals(shape: tuple[int, ...]) -> None:
    size = math.prod(shape)
    rows = tuple(tuple(Picture(shape, bytes([10 * row + place] * size)) for place in range(5)) for row in range(3))
    for width in (7.0, 3.6):
        (axes,) = augmented_figure(rows, width=width).axes
        places: dict[tuple[float, float], int] = {}
        for image in axes.images:
            left, _, _, top = image.get_extent()
            places[round(top, 3), round(left, 3)] = int(np.asarray(image.get_array()).max())
        assert [places[place] for place in sorted(places)] == [
            10 * row + place for row in range(3) for place in range(5)
        ]
