"""Texts as people read them, and as every output can hold them."""

from __future__ import annotations

import re

__all__ = ["duration", "printable"]

# Control characters but for tab and line ends, and the halves of letters that UTF-8 has no bytes for.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with ``\x1b`` or ``\udcff`` in place of what a terminal would obey or UTF-8 cannot hold.

    Python makes such halves of letters from arguments and names of files that are not in the locale's encoding.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def duration(seconds: float) -> str:
    """A time with its units: ``0.25 s``, ``7.5 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
