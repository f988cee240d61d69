"""Texts that every output can hold."""

from __future__ import annotations

import re

__all__ = ["printable"]

# Control characters but for tab and line ends, and the halves of letters that UTF-8 has no bytes for.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with ``\x1b`` or ``\udcff`` in place of what a terminal would obey or UTF-8 cannot hold.

    Python makes such halves of letters from arguments and names of files that are not in the locale's encoding.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
