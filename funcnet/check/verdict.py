"""What a check says: the report of what held, or the error that refutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from funcnet.random import Key, expect_key

__all__ = [
    "CheckError",
    "CheckReport",
    "Claim",
    "Property",
    "Refutation",
    "call_again",
    "expect_subject",
    "reproducible",
]


@attrs.frozen
class Claim:
    """What is being checked.

    Attributes:
        subject: the layer, loss, penalty or optimizer.
        inputs: what it is given, in words.
        key: the key that the inputs are drawn with.
        call: the call that checks the same case again.
    """

    subject: str
    inputs: str
    key: Key
    call: str

    def refuted(self, broken: str, **evidence: Any) -> CheckError:
        """The error to raise. The evidence is what ``Refutation`` has fields for."""
        return CheckError(Refutation(self, broken, **evidence))


@attrs.frozen
class Property:
    """A property that held.

    Attributes:
        name: the property.
        compared: how many numbers were compared, or calls made where the property is not about numbers.
        worst: the largest error found, as a share of its own tolerance: below 1. It is 0 for properties that hold
            exactly or not at all.
        where: the entry with that error, such as ``params.weight[2, 1]``.
        note: what a reader should know about how it was measured.
    """

    name: str
    compared: int
    worst: float = 0.0
    where: str = ""
    note: str = ""


@attrs.frozen
class CheckReport:
    """All that was checked of a subject on one random case, and held.

    Attributes:
        claim: the subject, its inputs and how to check it again.
        properties: what held, in the order of checking.
    """

    claim: Claim
    properties: tuple[Property, ...]

    @property
    def compared(self) -> int:
        """How many numbers were compared in all."""
        return sum(p.compared for p in self.properties)

    @property
    def worst(self) -> Property:
        """The property that came closest to its tolerance."""
        return max(self.properties, key=lambda p: p.worst)

    def __str__(self) -> str:
        width = max(len(p.name) for p in self.properties)
        lines = [f"{self.claim.subject} on {self.claim.inputs}: all held"]
        for p in self.properties:
            worst = f"worst error {p.worst:.1e} of its tolerance, at {p.where}" if p.worst else ""
            told = "; ".join(filter(None, [worst, p.note]))
            lines.append(f"  {p.name:<{width}}  {p.compared:>6,} compared{'; ' if told else ''}{told}")
        return "\n".join([*lines, f"  again: {self.claim.call}"])


@attrs.frozen
class Refutation:
    """What was refuted, and the evidence.

    Attributes:
        claim: the subject, its inputs and how to check it again.
        broken: the property that does not hold.
        where: the worst entry, by its path in the record and its index: ``params.weight[2, 1]``.
        analytic: what the subject's own derivative gave there.
        numeric: what it should be.
        tolerance: how far the two may lie apart, from the estimated error of both.
        ratio: analytic / numeric where that is the same in all wrong entries, else None.
        cause: the likely cause where the evidence names one, else None.
        detail: anything else that was seen.
    """

    claim: Claim
    broken: str
    where: str | None = None
    analytic: float | None = None
    numeric: float | None = None
    tolerance: float | None = None
    ratio: float | None = None
    cause: str | None = None
    detail: str | None = None

    def __str__(self) -> str:
        off = ""
        if self.tolerance is not None:
            off = f"  (may be off by {self.tolerance:.1e})"
        lines = [
            ("where", self.where),
            ("analytic", _number(self.analytic)),
            ("numeric", None if self.numeric is None else f"{_number(self.numeric)}{off}"),
            ("ratio", None if self.ratio is None else f"{self.ratio:.6g}, in every wrong entry"),
            ("seen", self.detail),
            ("likely", self.cause),
            ("inputs", self.claim.inputs),
            ("again", self.claim.call),
        ]
        return "\n".join(
            [f"{self.claim.subject}: {self.broken}", *(f"  {name:<9} {told}" for name, told in lines if told)]
        )


class CheckError(AssertionError):
    """A property does not hold. ``refutation`` has the evidence as fields; the message shows it."""

    def __init__(self, refutation: Refutation) -> None:
        super().__init__(refutation)
        self.refutation = refutation

    def __str__(self) -> str:
        return str(self.refutation)


def call_again(function: str, *arguments: object, **options: object) -> str:
    """The call as a line of code, to be copied; functions are shown by their names."""
    shown = [*map(_shown, arguments), *(f"{name}={_shown(value)}" for name, value in options.items())]
    return f"{function}({', '.join(shown)})"


def _shown(value: object) -> str:
    return str(getattr(value, "__name__", repr(value)))


def expect_subject(check: str, kind: type, subject: object, key: object) -> None:
    """Require that there is something to prove, and a key to draw the case from.

    Raises:
        TypeError: where there is not, saying what may have been forgotten.
    """
    if not isinstance(subject, kind):
        hint = f" (call it to make the {kind.__name__.lower()})" if callable(subject) else ""
        a = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{check} checks {a} {kind.__name__}, got a {type(subject).__name__}{hint}")
    expect_key(key)


@contextmanager
def reproducible(claim: Claim) -> Iterator[None]:
    """A context that adds a note to errors of the subject's own functions: how to see the error again.

    NumPy's floating-point warnings are off, as in ``funcnet.contract``: results are checked, not flags.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except CheckError:
        raise
    except Exception as error:
        error.add_note(f"raised while checking {claim.subject} on {claim.inputs}; again: {claim.call}")
        raise


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.10g}"
