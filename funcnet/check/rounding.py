"""How far two right computations of the same numbers may lie apart.

A stable computation gives the exact result of slightly different inputs, so its error is the unit roundoff times the
condition of the problem: how much the result moves when the inputs do (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 1.6). The condition is measured here, by moving all inputs and residuals at random by a
small relative amount. Sums of n terms gather about sqrt(n) roundoffs (Higham & Mary, "A new approach to probabilistic
rounding error analysis", SIAM J. Sci. Comput. 41, 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np

from funcnet import random, tree
from funcnet.check.verdict import Claim, Property
from funcnet.random import Key
from funcnet.shapes import Array

__all__ = ["Jiggle", "Numbers", "agree", "conditions", "float32_agrees", "tolerance", "tolerances"]

T = TypeVar("T")
Numbers: TypeAlias = Mapping[str, Array]
Jiggle: TypeAlias = Callable[[Any], Any]

_MOVE = 2.0**-18  # far above the unit roundoff of float32, 2^-24, and still small beside 1
_DRAWS = 4
_MARGIN = 32.0  # the constants that such estimates leave out
_UNDERFLOW = 1e-30  # below this, float32 has lost digits, or everything


def conditions(results: Callable[[Jiggle], Numbers], key: Key) -> dict[str, float]:
    """For each array of results: its largest entry, or the largest change by unit relative changes of the inputs.

    ``results(jiggle)`` computes them, applying ``jiggle`` to every tree that goes in.
    """
    still = results(lambda node: node)
    found = {path: float(np.abs(array).max(initial=0)) for path, array in still.items()}
    for draw in range(_DRAWS):
        moved = results(_jiggler(random.fold_in(key, draw)))
        for path, array in still.items():
            change = float(np.abs(moved[path] - array).max(initial=0)) / _MOVE
            found[path] = max(found[path], change)
    return found


def _jiggler(key: Key) -> Jiggle:
    calls = iter(range(1 << 32))

    def jiggle(node: T) -> T:
        def move(leaf: Array) -> Array:
            if leaf.dtype.kind != "f":
                return leaf
            signs = random.randint(random.fold_in(key, next(calls)), leaf.shape, 0, 2) * 2 - 1
            return np.asarray(leaf * (1 + _MOVE * signs), leaf.dtype)

        return tree.map(move, node)

    return jiggle


def tolerance(condition: float, terms: int, dtype: Any) -> float:
    """What rounding in ``dtype`` may do to a result of this condition, whose sums have up to so many terms."""
    return _MARGIN * math.sqrt(terms) * float(np.finfo(dtype).eps) * condition + _UNDERFLOW


def tolerances(found: Mapping[str, float], terms: int, floor: float = 0.0) -> tuple[dict[str, float], dict[str, float]]:
    """For each path, the tolerance in float64 and that in float32; ``floor`` adds so many roundoffs."""
    double, single = (
        {path: tolerance(c, max(1, terms), dtype) + floor * float(np.finfo(dtype).eps) for path, c in found.items()}
        for dtype in (np.float64, np.float32)
    )
    return double, single


def agree(
    claim: Claim, name: str, broken: str, got: Numbers, wanted: Numbers, within: Mapping[str, float], **evidence: Any
) -> Property:
    """The property ``name``, that two computations gave the same numbers, or the claim is refuted as ``broken``."""
    worst, where, compared = 0.0, "", 0
    for path, array in wanted.items():
        share = np.abs(got[path] - array) / within[path]
        compared += share.size
        if not share.size:
            continue
        i = np.unravel_index(np.nanargmax(np.where(np.isnan(share), math.inf, share)), share.shape)
        place = f"{path}{list(map(int, i)) if i else ''}"
        if not share[i] <= 1:
            raise claim.refuted(
                broken,
                where=place,
                analytic=float(got[path][i]),
                numeric=float(array[i]),
                tolerance=within[path],
                **evidence,
            )
        if share[i] >= worst:
            worst, where = float(share[i]), place
    return Property(name, compared, worst, where)


def float32_agrees(claim: Claim, single: Numbers, double: Numbers, within: Mapping[str, float]) -> Property:
    """The property that float32 gives what float64 gives, but for rounding."""
    return agree(
        claim,
        "float32 against float64",
        "float32 is further from float64 than rounding explains",
        single,
        double,
        within,
        cause="a lower precision inside, or a formula that cancels",
    )
