"""The likely cause of a wrong gradient, where the numbers point to one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from funcnet.shapes import Array, Float, Shape

__all__ = ["likely_cause", "likely_cause_of_shape", "ratio"]

_CLOSE = 1e-5  # relative; a mistake of one of the kinds below fits far better, and chance far worse


def ratio(analytic: Float[Array, "n"], numeric: Float[Array, "n"]) -> float | None:
    """The factor between the two, where it is the same in every entry; None where it is not, or there is too little."""
    if not numeric.any():
        return None
    factor = float(np.vdot(analytic, numeric) / np.vdot(numeric, numeric))
    return factor if _close(analytic, factor * numeric) and math.isfinite(factor) else None


def likely_cause(
    analytic: Float[Array, "..."],
    numeric: Float[Array, "..."],
    wrong: Array,
    shares: Sequence[Array],
    cotangent: Array,
    batch: int,
) -> str | None:
    """What kind of mistake turns the right gradient (numeric) into the given one (analytic), or None.

    ``wrong`` marks the wrong entries; ``shares`` are the contributions of each example, which add up to ``numeric``;
    ``cotangent`` is dy; ``batch`` is the number of examples.
    """
    if not analytic.any():
        return "the gradient is zero: it is never computed, or computed of something else"
    factor = ratio(analytic.ravel(), numeric.ravel())
    if factor is not None and math.isclose(factor, 1, rel_tol=1e-3):
        return "right to the first digits: a lower precision inside, or a small term that is missing"
    if factor is not None and numeric.size > 1 and wrong[numeric.ravel() != 0].all():
        return _cause_of_factor(factor, batch, numeric.size)
    if numeric.ndim == 2 and len(set(numeric.shape)) == 1 and len(numeric) > 1 and _close(analytic, numeric.T):
        return "the matrix is transposed"
    for i, share in enumerate(shares):
        if len(shares) > 1 and _close(analytic, share):
            return f"the sum over the batch is missing: only example {i} counts"
    if analytic.shape == cotangent.shape and analytic.size > 1 and _close(analytic, cotangent):
        return "dy is passed on as it is: the layer's own slope is missing"
    if numeric.size > 2 and _close(np.sort(analytic.ravel()), np.sort(numeric.ravel())):
        return "the right numbers in the wrong places: axes or an order mixed up"
    for axis in range(cotangent.ndim):
        summed = cotangent.sum(axis=tuple(i for i in range(cotangent.ndim) if i != axis))
        if summed.shape == analytic.shape and analytic.size > 1 and _close(analytic, summed):
            return "dy is summed over the wrong axis"
    count = int(wrong.sum())
    if count <= wrong.size // 2:
        return f"only {count} of {wrong.size} entries {'is' if count == 1 else 'are'} wrong: what treats them apart?"
    return None


def _cause_of_factor(factor: float, batch: int, entries: int) -> str:
    named = {-1.0: "a flipped sign"}
    for count, what in ((entries, "number of entries"), (batch, "batch")):
        if count > 1:
            named |= {
                1.0 / count: f"a factor of 1/{count}, the {what}: a mean is taken where a sum belongs",
                float(count): f"a factor of {count}, the {what}: a factor of 1/{what.replace(' ', '_')} is missing",
            }
    named |= {2.0: "a factor of 2 too many", 0.5: "a factor of 2 is missing"}
    for known, what in named.items():
        if math.isclose(factor, known, rel_tol=_CLOSE):
            return what
        if math.isclose(factor, -known, rel_tol=_CLOSE):
            return f"{what}, and a flipped sign"
    return f"a constant factor of {factor:.6g}"


def likely_cause_of_shape(given: Shape, wanted: Shape, batch: int) -> str | None:
    """What may have gone wrong where a gradient has not the shape of its parameter."""
    if given == (batch, *wanted) and batch > 1:
        return "the sum over the batch is missing"
    if given == wanted[::-1]:
        return "the matrix is transposed"
    if given in ((1, *wanted), (*wanted, 1)):
        return "keepdims=True, or an axis too many"
    return None


def _close(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).max(initial=0) <= _CLOSE * np.abs(b).max(initial=0))
