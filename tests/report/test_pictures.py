import itertools

import attrs
import numpy as np
from runs import examination

from funcnet.examination import Picture
from funcnet.report.pictures import filters_figure, mistakes_figure

ANSWERS = examination().answers


def test_a_mistake_with_what_was_predicted_and_what_it_is() -> None:
    figure = mistakes_figure(ANSWERS, ("cat", "dog", "US$"))
    first, second, *rest = figure.axes
    assert first.get_title() == "dog\nis US\\$\n97%"
    assert second.get_title() == "cat\nis dog\n66%"
    np.testing.assert_array_equal(first.images[0].get_array(), np.arange(12).reshape(2, 2, 3))
    assert not any(axes.images for axes in rest)
    assert not any(axes.axison for axes in figure.axes)


def test_long_names_do_not_overlap() -> None:
    mistakes = tuple(attrs.evolve(ANSWERS.mistakes[0], confidence=1.0) for _ in range(12))
    names = ("Pullover (wool)", "Trouser and top", "Ankle boot wide")
    figure = mistakes_figure(attrs.evolve(ANSWERS, mistakes=mistakes), names)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_as_many_rows_as_it_takes() -> None:
    mistakes = ANSWERS.mistakes[:1] * 13 + (attrs.evolve(ANSWERS.mistakes[0], picture=None),)
    figure = mistakes_figure(attrs.evolve(ANSWERS, mistakes=mistakes), ("cat", "dog", "cow"))
    assert len(figure.axes) == 18
    assert sum(bool(axes.images) for axes in figure.axes) == 13


def test_grey_weights_are_red_above_zero_and_blue_below() -> None:
    (axes, *_) = filters_figure((Picture((1, 3), bytes([0, 128, 255])),)).axes
    (image,) = axes.images
    low, middle, high = image.cmap(image.norm(image.get_array()))[0, :, :3]
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert min(middle) > 0.9
    assert image.get_interpolation() == "nearest"
