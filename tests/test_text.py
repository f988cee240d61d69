import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.text import printable


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
