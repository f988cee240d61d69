"""Whether an analytic gradient is the derivative of a function: entry by entry, and along random directions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.check import differences
from funcnet.check.diagnosis import likely_cause, ratio
from funcnet.check.verdict import CheckError, Claim, Property
from funcnet.random import Key
from funcnet.shapes import Array
from funcnet.tree import Tree

__all__ = ["Gradient", "prove_gradient"]

_SAFETY = 10.0  # times the estimated error: the tolerance
_ENTRIES = 64  # of each array; the random directions move all entries
_DIRECTIONS = 3
_SAME = 1e-7
_TOO_ROUGH = 1e-4  # a derivative that could not be measured better than this, beside the largest, is left out


@attrs.frozen(eq=False)
class Gradient:
    """What is to be proven: that ``analytic`` is the gradient of <cotangent, f> at ``at``.

    Attributes:
        f: from a tree like ``at`` to an array, batch first; also of complex numbers, if it is to be tried with those.
        at: the tree of float64 inputs.
        cotangent: an array like f's.
        analytic: a tree like ``at``.
        rounding: for each path of ``at``, what rounding may do to the analytic gradient there.
        batch: the number of examples.
    """

    f: Callable[[Tree], Array]
    at: Tree
    cotangent: Array
    analytic: Tree
    rounding: Mapping[str, float]
    batch: int = 1

    def along(self, direction: Tree, *, dtype: type = np.float64) -> Callable[[complex], Array]:
        """t -> f(at + t direction), flat."""
        at, direction = (tree.map(lambda a: a.astype(dtype), node) for node in (self.at, direction))
        return lambda t: np.asarray(self.f(tree.map(lambda a, d: a + t * d, at, direction))).ravel()

    def along_entry(
        self, path: str, index: int, scale: float, *, dtype: type = np.float64
    ) -> Callable[[complex], Array]:
        """t -> f at the point where one entry is moved by t scale, flat."""
        at = tree.map(lambda a: a.astype(dtype), self.at)
        leaf = dict(tree.named_leaves(at))[path]

        def moved(t: complex) -> Array:
            changed = leaf.copy()
            changed.flat[index] += t * scale
            return np.asarray(self.f(tree.map_named(lambda p, a: changed if p == path else a, at))).ravel()

        return moved


@attrs.frozen(eq=False)
class _Leaf:
    """What was measured of one array: (entries, outputs) derivatives, errors and kinks, and of which entries."""

    path: str
    entries: Array
    columns: Array
    errors: Array
    on_kink: Array
    kinks: int
    analytic_function: bool


def prove_gradient(claim: Claim, gradient: Gradient, key: Key) -> tuple[Property, ...]:
    """Prove it, entry by entry (of at most 64 entries an array) and along random directions through all entries.

    Raises:
        CheckError: with the worst entry and the likely cause.
    """
    leaves = tree.leaves(gradient.at)
    if not leaves:
        return ()  # without parameters there is no gradient to prove
    keys = random.split(key, len(leaves) + 1)
    measured = [
        _measure(gradient, path, leaf, leaf_key)
        for (path, leaf), leaf_key in zip(tree.named_leaves(gradient.at), keys[1:], strict=True)
    ]
    entries = _prove_entries(claim, gradient, measured)
    complex_step = all(leaf.analytic_function for leaf in measured)
    return entries, _prove_directions(claim, gradient, complex_step, keys[0])


def _measure(gradient: Gradient, path: str, leaf: Array, key: Key) -> _Leaf:
    count = leaf.size
    entries = np.arange(count) if count <= _ENTRIES else np.sort(random.permutation(key, count)[:_ENTRIES])
    signs = 2.0 * random.randint(random.fold_in(key, 1), leaf.shape, 0, 2) - 1
    jitter = tree.map_named(lambda p, a: signs if p == path else np.zeros_like(a), gradient.at)
    noise = differences.noise(gradient.along(jitter))
    columns, errors, on_kink, kinks, analytic = [], [], [], 0, count > 0
    for i in entries:
        # The step is proportional to the entry. The factor is a power of two, so that it adds no rounding error.
        scale = 2.0 ** max(0, math.frexp(float(leaf.flat[i]))[1])
        found = differences.derivative(gradient.along_entry(path, int(i), scale), noise)
        value, error = found.value / scale, found.error / scale
        if analytic:
            exact = _complex_step(gradient.along_entry(path, int(i), 1.0, dtype=np.complex128))
            # If a function is not analytic, its complex step is wholly wrong, not only in the last digits.
            slack = _SAFETY * error + _SAME * np.abs(value).max(initial=0) + gradient.rounding[path]
            analytic = exact is not None and bool((np.abs(exact - value) <= slack).all())
            if analytic and exact is not None:
                # Where the two agree, the complex step is the one without cancellation.
                value, error = exact, _error_of(exact, value, error)
        columns.append(value)
        errors.append(error)
        on_kink.append(found.on_kink)
        kinks += found.kinks
    outputs = gradient.cotangent.size
    return _Leaf(
        path,
        entries,
        np.array(columns).reshape(len(entries), outputs),
        np.array(errors).reshape(len(entries), outputs),
        np.array(on_kink, bool).reshape(len(entries), outputs),
        kinks,
        analytic,
    )


def _error_of(exact: Array, measured: Array, error: Array) -> Array:
    """The complex step's error: 0 if it agrees with the differences, else the distance; infinite where theirs is."""
    apart = np.abs(exact - measured)
    return np.where(np.isfinite(error), np.where(apart > _SAFETY * error, apart, 0.0), error)


def _complex_step(f: Callable[[complex], Array]) -> Array | None:
    """The derivative by the complex step, or None if the function does not take complex numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as the warning of a discarded imaginary part
        try:
            return differences.complex_step(f)
        except Exception:
            return None


def _prove_entries(claim: Claim, gradient: Gradient, measured: list[_Leaf]) -> Property:
    analytic = dict(tree.named_leaves(gradient.analytic))
    dy = gradient.cotangent.ravel()
    worst, where, compared, left_out = 0.0, "", 0, 0
    size = _size(gradient)
    for leaf in measured:
        numeric, estimate = leaf.columns @ dy, leaf.errors @ np.abs(dy)
        rounding = 2 * gradient.rounding[leaf.path]  # of the analytic gradient and of the measured one
        largest = np.abs(numeric[np.isfinite(estimate)]).max(initial=0)
        usable = np.isfinite(estimate) & (estimate <= _TOO_ROUGH * largest + _SAME * size + rounding)
        # Entries on a kink do not count: the function has slopes on both sides, and only the input is to blame.
        wanted = usable | ~(leaf.on_kink & (dy != 0)).any(axis=1)
        if 2 * usable.sum() < wanted.sum():
            raise claim.refuted(
                "the function could not be differentiated where it was tried",
                where=leaf.path,
                detail=f"differences converge in {usable.sum()} of {wanted.sum()} entries",
                cause="jumps everywhere, or a lower precision than that of the inputs inside",
            )
        error, tolerance = np.abs(_entries(analytic, leaf) - numeric), _SAFETY * estimate + rounding
        wrong = usable & ~(error <= tolerance)
        if wrong.any():
            raise _refuted(claim, gradient, analytic, leaf, numeric, tolerance, wrong)
        share = np.where(usable, error / tolerance, 0)
        compared, left_out = compared + int(usable.sum()), left_out + int((~usable).sum())
        if share.max(initial=0) >= worst and share.size:
            worst, where = float(share.max()), _place(leaf, analytic, int(share.argmax()))
    return Property("gradient, entry by entry", compared, worst, where, _note(measured, left_out))


def _size(gradient: Gradient) -> float:
    """The size of <cotangent, f>, beside which a derivative of zero can be measured."""
    return float(np.abs(gradient.cotangent).ravel() @ np.abs(gradient.f(gradient.at)).ravel())


def _entries(analytic: Mapping[str, Array], leaf: _Leaf) -> Array:
    return analytic[leaf.path].ravel()[leaf.entries]


def _place(leaf: _Leaf, analytic: Mapping[str, Array], i: int) -> str:
    index = np.unravel_index(leaf.entries[i], analytic[leaf.path].shape)
    return f"{leaf.path}{list(map(int, index)) if index else ''}"


def _note(measured: list[_Leaf], left_out: int) -> str:
    exact = sum(leaf.analytic_function for leaf in measured)
    told = [f"confirmed by the complex step in {exact} of {len(measured)} arrays" if exact else ""]
    if kinks := sum(leaf.kinks for leaf in measured):
        told.append(f"shorter steps in {kinks} entries, to keep clear of kinks")
    if left_out:
        told.append(f"{left_out} entries on a kink left out")
    return ", ".join(filter(None, told))


def _refuted(
    claim: Claim,
    gradient: Gradient,
    analytic: Mapping[str, Array],
    leaf: _Leaf,
    numeric: Array,
    tolerance: Array,
    wrong: Array,
) -> CheckError:
    given = _entries(analytic, leaf)
    error = np.abs(given - numeric)
    i = int(np.argmax(np.where(wrong, np.where(np.isnan(error), math.inf, error), -1)))
    # A loss has one output for all examples.
    examples = gradient.batch if len(gradient.cotangent) == gradient.batch and gradient.cotangent.size else 1
    shape = analytic[leaf.path].shape if leaf.entries.size == analytic[leaf.path].size else given.shape
    by_example = leaf.columns.reshape(given.size, examples, -1) * gradient.cotangent.reshape(1, examples, -1)
    shares = [share.reshape(shape) for share in by_example.sum(axis=2).T]
    return claim.refuted(
        "the gradient is not the derivative of the function",
        where=_place(leaf, analytic, i),
        analytic=float(given[i]),
        numeric=float(numeric[i]),
        tolerance=float(tolerance[i]),
        ratio=ratio(given[wrong], numeric[wrong]) if wrong.sum() > 1 else None,
        cause=likely_cause(
            given.reshape(shape), numeric.reshape(shape), wrong, shares, gradient.cotangent, gradient.batch
        ),
        detail=f"{wrong.sum()} of {wrong.size} entries of {leaf.path} are wrong",
    )


def _prove_directions(claim: Claim, gradient: Gradient, complex_step: bool, key: Key) -> Property:
    """<dy, J t> = <J^T dy, t>, for random tangents t of all inputs together."""
    dy = gradient.cotangent.ravel()
    size = _size(gradient)
    worst, where, compared = 0.0, "", 0
    for number, direction_key in enumerate(random.split(key, _DIRECTIONS)):
        leaf_keys = iter(random.split(direction_key, len(tree.leaves(gradient.at)) + 1))
        tangent = tree.map(lambda a: random.normal(next(leaf_keys), a.shape, np.float64), gradient.at)  # noqa: B023
        f = gradient.along(tangent)
        found = differences.derivative(f, differences.noise(f))
        value, error = found.value, found.error
        if complex_step:
            exact = _complex_step(gradient.along(tangent, dtype=np.complex128))
            if exact is not None:
                value, error = exact, _error_of(exact, value, error)
        numeric, estimate = float(dy @ value), float(np.abs(dy) @ error)
        moved = list(zip(tree.named_leaves(gradient.analytic), tree.leaves(tangent), strict=True))
        analytic = math.fsum(float(np.vdot(g, t)) for (_, g), t in moved)
        rounding = math.fsum(2 * gradient.rounding[path] * float(np.abs(t).sum()) for (path, _), t in moved)
        tolerance = _SAFETY * estimate + rounding + 1e-300  # never 0
        if not math.isfinite(estimate) or estimate > _TOO_ROUGH * abs(numeric) + _SAME * size + rounding:
            continue
        if not abs(analytic - numeric) <= tolerance:
            raise claim.refuted(
                "the adjoint identity <dy, J t> = <J^T dy, t> does not hold",
                where=f"along random direction {number}",
                analytic=analytic,
                numeric=numeric,
                tolerance=tolerance,
            )
        compared += 1
        if abs(analytic - numeric) / tolerance >= worst:
            worst, where = abs(analytic - numeric) / tolerance, f"direction {number}"
    note = "" if compared == _DIRECTIONS else f"kinks in the way of {_DIRECTIONS - compared} of {_DIRECTIONS}"
    return Property("adjoint identity, along random directions", compared, worst, where, note)
