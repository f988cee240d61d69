"""Names of classes in tables and figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import whole_run

from funcnet.report.labels import distinct, label_key, labels, names_of

NAMES = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(["", "1", "0: 1", "a b", "a  b", "猫"])), max_size=8)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("cat", "dog"), ("cat", "dog")),
        (("cat", "", " "), ("cat", "1", "2")),
        (("cat", "dog", "cat"), ("0: cat", "dog", "2: cat")),
        (("a b", "a  b"), ("0: a b", "1: a b")),
        (("1", ""), ("0: 1", "1: 1")),
        (("3", "3", "0: 3"), ("0: 3", "1: 3", "2: 0: 3")),
    ],
)
def test_names_are_told_apart(names: tuple[str, ...], shown: tuple[str, ...]) -> None:
    assert distinct(names) == shown


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("cat", "US$"), ("cat", r"US\$")),
        (("a shirt with long sleeves", "a shirt with short sleeves"), ("0: a sh\u2026eves", "1: a sh\u2026eves")),
        (("猫", "犬", "cat"), ("0", "1", "cat")),
        (("1", "猫"), ("0: 1", "1: 1")),
        (("cat\x07",), ("0",)),
        (("", "dog"), ("0", "dog")),
    ],
)
def test_labels_are_drawable_and_told_apart(names: tuple[str, ...], shown: tuple[str, ...]) -> None:
    assert labels(names, 12) == shown


@given(NAMES, st.integers(1, 20))
def test_no_two_classes_look_alike(names: list[str], width: int) -> None:
    for shown in (distinct(names), labels(names, width), labels(distinct(names), width)):
        assert len(shown) == len(set(shown)) == len(names)
        assert all(shown)


def test_the_key_says_what_the_font_lacks() -> None:
    assert label_key(("cat", "dog")) == ""
    assert label_key(("cat", "猫", "犬x")) == (
        "Names that the font of the figures cannot draw are shown there by their numbers: 1 = 猫, 2 = 犬x."
    )
    assert label_key(("猫",) * 41).endswith("0 is the first class in the table of classes, 1 the second.")


def test_names_that_do_not_fit_are_numbers() -> None:
    run = whole_run()
    assert names_of(run, 3) == run.data.classes
    assert names_of(run, 2) == ("0", "1")
