import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.text import duration, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("µ猫 é\t\n\r", "µ猫 é\t\n\r"),
        ("\udcc2\ud800", "\\udcc2\\ud800"),
        ("\x1b[31m\x00\x7f\x9b", "\\x1b[31m\\x00\\x7f\\x9b"),
    ],
)
def test_what_no_output_can_hold_is_written_with_a_backslash(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(categories=None)))
def test_every_text_can_be_written_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown == printable(shown)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.254, "0.25 s"), (7.46, "7.5 s"), (192.3, "3 min 12 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_times_have_their_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
