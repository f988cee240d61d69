"""Derivatives measured from a function's values alone, each with an estimate of its own error.

Central differences D(h) = (f(h) - f(-h)) / 2h have an error of c2 h^2 + c4 h^4 + ..., of which extrapolation removes
one term after the other (Richardson, "The approximate arithmetical solution by finite differences", 1911):

    E(h) = D(h) + (D(h) - D(2h)) / 3,    R(h) = E(h) + (E(h) - E(2h)) / 15

From four steps, each half of the one before, come two values of R. Their difference estimates the truncation error of
the first, which is some 64 times that of the second, the result: an estimate on the safe side. The rounding error is
what the function's own noise makes of it: noise / h, with the noise measured by differences of high order on closely
spaced points (Moré & Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011).

Where the four do not converge, as on both sides of a kink, the next rung tries with steps 16 times shorter. So
the steps stay clear of kinks. A derivative that converges on no rung, or stands on a kink, is reported as not measured.
A fifth step, in no simple ratio to the four, must not contradict them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np

from funcnet.shapes import Array, Bool, Float

__all__ = ["Measured", "complex_step", "derivative", "noise"]

_EPS = float(np.finfo(np.float64).eps)
# About 1/20, with few binary digits, so that x + h is exact for most x. It is no simple fraction, since a function's
# period might divide that: sin(2 pi 64 x) is the same at x, x + 1/16 and x - 1/16.
_FIRST_STEP = 54323581 * 2.0**-30
_CLOSE = _FIRST_STEP * 2.0**-32  # and no power of two either: with those, what is linear has no rounding errors
_ODD = 0.0772542  # times the first of four steps: shorter than the last, in no simple ratio to any
_SHRINK = 16.0
_RUNGS = 6
_GOAL = 1e-9  # a rung that promises a relative error below this is good enough
_TOO_NOISY = 1e-5  # noise over the function's size: above this, no derivative can be measured
_TINY_STEP = 2.0**-300  # of the complex step, whose error is of the order of its square


@attrs.frozen(eq=False)
class Measured:
    """A derivative of several outputs.

    Attributes:
        value: of each output.
        error: the estimated error of each; infinite where it could not be measured.
        kinks: whether steps had to be shortened to keep clear of a kink.
        on_kink: whether each stands on one: the slopes to its two sides are there, and differ.
    """

    value: Float[Array, "outputs"]
    error: Float[Array, "outputs"]
    kinks: bool
    on_kink: Bool[Array, "outputs"]


def derivative(f: Callable[[float], Float[Array, "outputs"]], noise: Float[Array, "outputs"]) -> Measured:
    """df/dt at t = 0, where ``f`` gives all outputs as one float64 array and ``noise`` is that of each."""
    f = _anywhere(f)
    middle = f(0.0)
    value = np.zeros_like(middle)
    error = np.full_like(middle, math.inf)
    kinks = False
    for rung in range(_RUNGS):
        found, found_error, kinked = _rung(f, middle, _FIRST_STEP / _SHRINK**rung, noise)
        kinks |= bool(np.isinf(found_error).any())
        better = found_error < error
        value, error = np.where(better, found, value), np.where(better, found_error, error)
        if (error <= _GOAL * (np.abs(value) + np.abs(value).max(initial=0)) + 10 * noise / _FIRST_STEP).all():
            break
    # The size is that at 0 or nearby. A function that is 0 throughout, as rectifiers of zeros are, is not hidden.
    size = np.fmax(np.abs(middle), np.abs(f(_FIRST_STEP))).max(initial=0)
    hidden = (noise > _TOO_NOISY * size) & (size > 0)
    return Measured(value, np.where(hidden, math.inf, error), kinks, kinked & np.isinf(error))


def _rung(f: Callable[[float], Array], middle: Array, h: float, noise: Array) -> tuple[Array, Array, Array]:
    """The derivative, its error, and whether there is a kink."""
    (d1, _, size), (d2, _, _), (d3, gap3, _), (d4, gap4, _) = (_central(f, middle, h / 2**k) for k in range(4))
    d5, _, _ = _central(f, middle, _ODD * h)
    e2, e3, e4 = d2 + (d2 - d1) / 3, d3 + (d3 - d2) / 3, d4 + (d4 - d3) / 3
    r3, r4 = e3 + (e3 - e2) / 15, e4 + (e4 - e3) / 15
    rounding = 10 * (noise + _EPS * size) / h  # D(h/8) has 5.7 of it, and weighs 1.5 in R
    error = np.abs(r4 - r3) + rounding
    # A smooth function's differences agree far better with each extrapolation; and its one-sided slopes approach each
    # other with h, while on a kink they stay apart. (At a jump they grow, but so do the error and the noise.)
    diverges = np.abs(r4 - r3) > np.abs(e4 - e3) / 2 + 4 * rounding
    apart = (gap4 > 0.75 * gap3) & (gap4 > 10 * error)
    # If all four steps just miss the function's period, they agree on another, slower function. The fifth does not.
    aliased = np.abs(d5 - r4) > np.abs(d4 - r4) + 10 * rounding
    bad = diverges | apart | aliased | ~np.isfinite(error)
    return r4, np.where(bad, math.inf, error), apart & np.isfinite(error)


def _central(f: Callable[[float], Array], middle: Array, h: float) -> tuple[Array, Array, Array]:
    """The central difference, how far the slopes to the right and to the left lie apart, and the size of f there."""
    right, left = f(h), f(-h)
    return (right - left) / (2 * h), np.abs(right - 2 * middle + left) / h, np.maximum(np.abs(right), np.abs(left))


def _anywhere(f: Callable[[float], Array]) -> Callable[[float], Array]:
    """f, but NaN where it refuses its argument: a step may lead out of the domain."""
    middle = f(0.0)

    def safe(t: float) -> Array:
        with np.errstate(all="ignore"):
            try:
                return f(t) if t else middle
            except Exception:  # whatever it raises there, it went well at 0
                return np.full_like(middle, math.nan)

    return safe


def complex_step(f: Callable[[complex], Array]) -> Float[Array, "outputs"]:
    """df/dt at t = 0 as the imaginary part of f(ih) / h: no difference, so no cancellation, and any h will do.

    It is the derivative only of an f that is analytic. Squire & Trapp, "Using complex variables to estimate derivatives
    of real functions", SIAM Review 40 (1998).
    """
    return np.imag(f(1j * _TINY_STEP)) / _TINY_STEP


def noise(f: Callable[[float], Float[Array, "outputs"]]) -> Float[Array, "outputs"]:
    """The size of the rounding errors in each output of f near t = 0 (Moré & Wild 2011, eq. 2.3 and section 3).

    On points so close that f is a straight line but for its rounding errors, the differences of order k have the
    variance of those errors times (2k)! / (k!)^2.
    """
    f = _anywhere(f)
    samples = np.array([f(_CLOSE * i) for i in range(7)])
    level = _EPS * np.abs(samples).max(axis=0)
    for order in range(2, 6):
        differences = np.diff(samples, n=order, axis=0)
        scale = math.factorial(order) ** 2 / math.factorial(2 * order)
        level = np.maximum(level, np.sqrt(scale * np.mean(differences * differences, axis=0)))
    return level
