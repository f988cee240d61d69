"""Names of classes: told apart in tables, and shortened and drawable in figures.

An empty name tells nothing, a name given twice stands for two classes, and letters that the font of figures lacks show
as boxes. In these cases the class's number stands for it or before it. Numbers are labels: they count from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from funcnet.record import RunRecord
from funcnet.report.style import drawable, plain

__all__ = ["distinct", "label_key", "labels", "names_of"]

_KEY = 40  # names, more than a paragraph should hold


def names_of(run: RunRecord, classes: int) -> tuple[str, ...]:
    """A name for each of so many classes, no two alike: the data set's, or the number where it names more or fewer."""
    names = run.data.classes if run.data else ()
    return distinct(names if len(names) == classes else [""] * classes)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, no two alike: a number for an empty one, and the number before one that is there more than once."""
    shown = [" ".join(name.split()) or str(number) for number, name in enumerate(names)]
    return _told_apart(shown, shown)


def labels(names: Sequence[str], width: int) -> tuple[str, ...]:
    """The names as figures show them, no two alike, of about ``width`` letters at most.

    A name that the font of figures cannot draw becomes its number. Names that are alike when shortened get their
    numbers before them.
    """
    drawn = [name if drawable(name) else str(number) for number, name in enumerate(names)]
    shortened = [plain(name, width) for name in drawn]
    # A label with a number is no longer than one without.
    numbered = [plain(name, max(width - len(f"{number}: "), 1)) for number, name in enumerate(drawn)]
    return _told_apart(shortened, numbered)


def _told_apart(names: Sequence[str], numbered: Sequence[str]) -> tuple[str, ...]:
    """``names``, with a number and the name from ``numbered`` in place of each that is there more than once."""
    shown = list(names)
    # A number may make a name like a third one, which then gets a number of its own.
    while twice := {name for name, count in Counter(shown).items() if count > 1}:
        shown = [f"{number}: {numbered[number]}" if name in twice else name for number, name in enumerate(shown)]
    return tuple(shown)


def label_key(names: Sequence[str]) -> str:
    """What the numbers in the figures' labels stand for, in a sentence; empty where every name can be drawn."""
    hidden = [f"{number} = {name}" for number, name in enumerate(names) if not drawable(name)]
    if not hidden:
        return ""
    key = ", ".join(hidden) if len(hidden) <= _KEY else "0 is the first class in the table of classes, 1 the second"
    return f"Names that the font of the figures cannot draw are shown there by their numbers: {key}."
